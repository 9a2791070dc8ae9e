/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The backend config of a run: a file of its commit or a map in the spec, with override: over it,
 * and the site it is for.
 */
#include "domain/submit/submit.h"

#include <errno.h>
#include <string.h>

#include <mantik/site.h>

#include "base/program.h"

/* The config as one document with override: over it, each value blamed on its own text. */
static int read_backend_doc(struct mk_call *call, struct submission *s, struct common *c,
			    const char *path, struct mk_doc **ret)
{
	const struct mk_doc *given = c->spec.backend_config;
	_cleanup_(mk_doc_freep) struct mk_doc *doc = NULL;
	_cleanup_buf_ struct mk_buf text = MK_BUF(MK_LIMIT_TEXT);

	if (path && !c->code->repository_id)
		return mk_doc_fail(
			call, s->source, given,
			"backend_config is a path in the repository, and this run has none");
	if (path) {
		int r = mk_code_file(call, s->m, c->code->repository_id, &c->code->oid, path,
				     &text);

		if (r == -ENOENT)
			return mk_doc_fail(call, s->source, given, "commit %.8s has no file %s",
					   c->code->commit, path);
		if (r < 0)
			return mk_submission_blame(call, given, r);
		r = mk_doc_parse(call, path, mk_buf_text(&text), text.len, &doc);
		if (r < 0)
			return r;
	} else if (given) {
		doc = mk_doc_copy(given);
	}
	doc = mk_doc_merge(doc, c->spec.override);
	if (!doc) {
		int r = mk_doc_parse(call, s->source, "", 0, &doc);

		if (r < 0)
			return r;
	}
	*ret = mk_steal(&doc);
	return 0;
}

/* The site the backend config names, else the project's, else local. */
static int choose_site(struct mk_call *call, struct submission *s, const struct common *c,
		       const char *source, const struct mk_backend *backend,
		       const struct mk_doc *given, const char **ret)
{
	const char *named = mk_backend_site(backend);

	if (given) {
		*ret = given->text;
		return mk_submission_blame(call, given, mk_site_exists(call, s->m, given->text));
	}
	if (!named) {
		*ret = s->project.site ? s->project.site : "local";
		return mk_submission_blame(call, c->spec.doc, mk_site_exists(call, s->m, *ret));
	}

	int r = mk_site_exists(call, s->m, named);

	if (r == -ENOENT)
		return mk_fail(call, EINVAL,
			       "%s names the site %s, which is not connected here; "
			       "\"site: local\" in the spec runs it on this machine",
			       source, named);
	*ret = named;
	return r;
}

int mk_submission_backend(struct mk_call *call, struct submission *s, struct common *c,
			  const struct mk_pairs *values, const struct mk_doc *site)
{
	const struct mk_doc *given = c->spec.backend_config;
	const char *guess = site ? site->text : s->project.site ? s->project.site : "local";
	_cleanup_buf_ struct mk_buf path = MK_BUF(4096), key = MK_BUF(8192);
	_cleanup_(mk_doc_freep) struct mk_doc *doc = NULL;
	_cleanup_free_ char *clean = NULL;
	const char *source = s->source, *chosen;
	int r;

	if (given && given->type == MK_DOC_SCALAR) {
		r = mk_spec_fill(call, given, "backend_config", given->text, values, guess, &path);
		if (r == 0)
			r = mk_submission_path(call, s, given, "backend_config", mk_buf_text(&path),
					       &clean);
		if (r < 0)
			return r;
		source = clean;
	}
	(void)mk_buf_printf(&key, "%s|%s", clean ? clean : "", site ? site->text : "");
	if (c->backend_key && strcmp(c->backend_key, mk_buf_text(&key)) == 0)
		return 0;

	_cleanup_backend_ struct mk_backend backend = {};

	r = read_backend_doc(call, s, c, clean, &doc);
	if (r == 0)
		r = mk_backend_parse(call, source, doc, &backend);
	if (r == 0)
		r = choose_site(call, s, c, source, &backend, site, &chosen);
	if (r < 0)
		return r;

	_cleanup_free_ char *site_name = mk_strdup(chosen);

	if (strcmp(site_name, "local") == 0) {
		r = mk_backend_localize(call, source, &backend);
		if (r == 0)
			r = mk_backend_check_local(call, source, &backend, mk_program_exists);
		if (r < 0)
			return mk_submission_blame(call, NULL, r);
	}
	free(c->backend_key);
	free(c->backend_path);
	free(c->site);
	mk_backend_free(&c->backend);
	c->backend = backend;
	backend = (struct mk_backend){};
	c->backend_key = mk_buf_steal(&key);
	c->backend_path = mk_steal(&clean);
	c->site = mk_steal(&site_name);
	return 0;
}
