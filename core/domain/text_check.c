/* SPDX-License-Identifier: Apache-2.0 */
/* What the editable texts may say. Every key must be known; what later parts of the platform will
 * use (labels, members) is checked for its form now. */
#include "domain/texts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <mantik/code.h>

#include "base/doc.h"
#include "domain/goal.h"
#include "format/spec.h"

static const char *const names[MK_TEXT_KINDS] = {
	[MK_TEXT_PROJECT] = "project.yaml",	  [MK_TEXT_README] = "README.md",
	[MK_TEXT_DEFAULTS] = "defaults.yaml",	  [MK_TEXT_EXPERIMENT] = "experiment.yaml",
	[MK_TEXT_REPOSITORY] = "repository.yaml",
};

const char *mk_text_name(enum mk_text_kind kind)
{
	return names[kind];
}

void mk_meaning_free(struct mk_meaning *meaning)
{
	free(meaning->site);
	free(meaning->metric);
	free(meaning->note);
	free(meaning->uri);
	free(meaning->platform);
	free(meaning->connection);
	free(meaning->default_branch);
	*meaning = (struct mk_meaning){};
}

/* A text that may be left out; copied to *ret (may be NULL: only its type counts). */
static int text_key(struct mk_call *call, const char *name, struct mk_doc *map, const char *key,
		    char **ret)
{
	const char *text;
	int r = mk_doc_text(call, name, map, key, &text);

	if (r > 0 && ret)
		*ret = mk_strdup(text);
	return r < 0 ? r : 0;
}

/* Several texts of no meaning to us; NULL-terminated. */
static int text_keys(struct mk_call *call, const char *name, struct mk_doc *map,
		     const char *const *keys)
{
	int r = 0;

	for (size_t i = 0; r == 0 && keys[i]; i++)
		r = text_key(call, name, map, keys[i], NULL);
	return r;
}

/* One of several words. *ret: its index; untouched when left out. */
static int word_key(struct mk_call *call, const char *name, struct mk_doc *map, const char *key,
		    const char *const *words, int *ret)
{
	const char *text;
	int r = mk_doc_text(call, name, map, key, &text);
	_cleanup_buf_ struct mk_buf list = MK_BUF(1024);

	if (r <= 0)
		return r;
	for (int i = 0; words[i]; i++) {
		if (strcmp(words[i], text) == 0) {
			*ret = i;
			return 0;
		}
		(void)mk_buf_printf(&list, "%s%s", i ? ", " : "", words[i]);
	}
	return mk_doc_fail(call, name, mk_doc_get(map, key), "%s is \"%s\", not one of %s", key,
			   text, mk_buf_text(&list));
}

static int labels_key(struct mk_call *call, const char *name, struct mk_doc *map)
{
	_cleanup_list_ struct mk_list labels = {};
	int r = mk_doc_texts(call, name, map, "labels", &labels);

	return r < 0 ? r : 0;
}

static int members_key(struct mk_call *call, const char *name, struct mk_doc *map)
{
	static const char *const roles[] = {"Guest",	  "Reporter", "Researcher",
					    "Maintainer", "Owner",    NULL};
	struct mk_doc *members;
	int r = mk_doc_map(call, name, map, "members", &members), role;

	for (size_t i = 0; r > 0 && i < members->n; i++)
		if (word_key(call, name, members, members->keys[i]->text, roles, &role) < 0)
			return -EINVAL;
	return r < 0 ? r : 0;
}

static int check_project(struct mk_call *call, const char *name, struct mk_doc *map,
			 struct mk_meaning *ret)
{
	static const char *const texts[] = {"name", "summary", "owner", NULL};
	bool is_public;
	int r = text_keys(call, name, map, texts);

	if (r == 0)
		r = text_key(call, name, map, "site", &ret->site);
	if (r == 0)
		r = mk_doc_bool(call, name, map, "public", &is_public);
	if (r >= 0)
		r = labels_key(call, name, map);
	return r < 0 ? r : members_key(call, name, map);
}

static int check_experiment(struct mk_call *call, const char *name, struct mk_doc *map,
			    struct mk_meaning *ret)
{
	static const char *const texts[] = {"id", "tracking", NULL};
	static const char *const goals[] = {"minimize", "maximize", NULL};
	static const char *const of[] = {"last", "best", NULL};
	struct mk_doc *metric;
	int maximize = -1, best = 0;
	int r = text_keys(call, name, map, texts);

	if (r == 0)
		r = text_key(call, name, map, "note", &ret->note);
	if (r == 0)
		r = labels_key(call, name, map);
	if (r == 0)
		r = mk_doc_map(call, name, map, "primary_metric", &metric);
	if (r <= 0)
		return r;
	r = text_key(call, name, metric, "name", &ret->metric);
	if (r == 0 && (!ret->metric || !*ret->metric))
		return mk_doc_fail(call, name, metric, "primary_metric needs a name");
	if (r == 0)
		r = word_key(call, name, metric, "goal", goals, &maximize);
	if (r == 0)
		r = word_key(call, name, metric, "of", of, &best);
	if (r < 0)
		return r;
	ret->maximize = maximize < 0 ? mk_goal_guess(ret->metric) : maximize;
	ret->best = best;
	return mk_doc_leftover(call, name, metric);
}

static int check_repository(struct mk_call *call, const char *name, struct mk_doc *map,
			    struct mk_meaning *ret)
{
	_cleanup_buf_ struct mk_buf where = MK_BUF(4096);
	int r = text_key(call, name, map, "uri", &ret->uri);

	if (r == 0)
		r = text_key(call, name, map, "platform", &ret->platform);
	if (r == 0)
		r = text_key(call, name, map, "connection", &ret->connection);
	if (r == 0)
		r = text_key(call, name, map, "default_branch", &ret->default_branch);
	if (r == 0)
		r = labels_key(call, name, map);
	if (r < 0)
		return r;
	if (!ret->uri || !*ret->uri)
		return mk_doc_fail(call, name, NULL,
				   "uri is missing: the address of a git repository, or "
				   "an absolute path");
	(void)mk_buf_printf(&where, "%s:%d", name, mk_doc_get(map, "uri")->line);
	r = mk_code_check_uri(call, mk_buf_text(&where), ret->uri);
	if (r < 0)
		return r;
	if (ret->default_branch && (!*ret->default_branch || *ret->default_branch == '-'))
		return mk_doc_fail(call, name, mk_doc_get(map, "default_branch"),
				   "default_branch is no name of a branch");
	return 0;
}

typedef int check_fn(struct mk_call *call, const char *name, struct mk_doc *map,
		     struct mk_meaning *ret);
static check_fn *const checks[MK_TEXT_KINDS] = {
	[MK_TEXT_PROJECT] = check_project,
	[MK_TEXT_EXPERIMENT] = check_experiment,
	[MK_TEXT_REPOSITORY] = check_repository,
};

int mk_text_check(struct mk_call *call, enum mk_text_kind kind, const char *text, size_t len,
		  struct mk_meaning *ret)
{
	const char *name = names[kind];
	_cleanup_(mk_doc_freep) struct mk_doc *doc = NULL;
	_cleanup_meaning_ struct mk_meaning meaning = {};
	int r;

	if (len > MK_LIMIT_TEXT)
		return mk_fail(call, EFBIG, "%s: has %zu bytes, at most 1 MiB are possible", name,
			       len);
	if (kind == MK_TEXT_DEFAULTS)
		return mk_spec_check_defaults(call, name, text, len);
	if (!checks[kind])
		return 0;
	r = mk_doc_parse(call, name, text, len, &doc);
	if (r < 0)
		return r;
	if (doc->type != MK_DOC_MAP && doc->type != MK_DOC_NULL)
		return mk_doc_fail(call, name, doc, "must be `key: value` lines");
	r = checks[kind](call, name, doc, &meaning);
	if (r == 0 && doc->type == MK_DOC_MAP)
		r = mk_doc_leftover(call, name, doc);
	if (r < 0)
		return r;
	*ret = meaning;
	meaning = (struct mk_meaning){};
	return 0;
}
