/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one document of a run spec (or of its defaults) may say, key by key: see spec.h. The first
 * thing wrong is told with its line and, where it can be guessed, with what to write instead.
 */
#include "format/spec.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

enum shape { TEXT, TEXTS, MAP, TEXTS_MAP /* of texts or lists */, TEXT_MAP, TEXT_OR_MAP, LATER };

/* Every key of a spec. LATER: known, and refused until it works. */
static const struct {
	const char *key;
	enum shape shape;
} keys[] = {
	{"name", TEXT},
	{"experiment", TEXT},
	{"code", MAP},
	{"mlproject", TEXT},
	{"entry_point", TEXT},
	{"command", TEXT},
	{"script", TEXT},
	{"parameters", TEXT_MAP},
	{"sweep", TEXTS_MAP},
	{"after", TEXTS},
	{"site", TEXTS},
	{"account", TEXT},
	{"backend_config", TEXT_OR_MAP},
	{"override", MAP},
	{"artifacts", TEXTS},
	{"data", LATER},
	{"schedule", LATER},
};
static const char *const code_keys[] = {"repository", "branch", "commit", "path"};

/* What people write at the top, and where it belongs: %s is the value. Words of other tools count. */
static const struct {
	const char *key; /* in any case */
	const char *instead;
} elsewhere[] = {
	{"branch", "write code: {branch: %s}"}, /* these two beside `code: NAME`, too */
	{"commit", "write code: {commit: %s}"},
	{"repository", "write code: {repository: %s}"},
	{"repo", "write code: {repository: %s}"},
	{"path", "write code: {path: %s}"},
	{"uri", "the address of a repository stands in its repository.yaml"},
	{"project", "a run belongs to the project whose runs/new it is written to"},
	{"run_name", "write name: %s"},
	{"params", "write parameters: %s"},
	{"backend", "write backend_config: %s"},
	{"depends_on", "write after: %s"},
	{"Resources", "write override: {Resources: %s}"},
	{"Environment", "write override: {Environment: %s}"},
	{"Exclude", "write override: {Exclude: %s}"},
	{"queue", "write override: {Resources: {Queue: %s}}"},
	{"partition", "write override: {Resources: {Queue: %s}}"},
	{"nodes", "write override: {Resources: {Nodes: %s}}"},
	{"runtime", "write override: {Resources: {Runtime: %s}}"},
	{"time", "write override: {Resources: {Runtime: %s}}"},
	{"walltime", "write override: {Resources: {Runtime: %s}}"},
	{"modules", "write override: {Environment: {Modules: %s}}"},
	{"variables", "write override: {Environment: {Variables: %s}}"},
	{"env", "write override: {Environment: {Variables: %s}}"},
	{"python", "write override: {Environment: {Python: %s}}"},
	{"image", "write override: {Environment: {Apptainer: {Path: %s}}}"},
};

enum {
	N_KEYS = sizeof(keys) / sizeof(*keys),
	N_CODE_KEYS = sizeof(code_keys) / sizeof(*code_keys),
	N_OF_CODE = 2,
	N_ELSEWHERE = sizeof(elsewhere) / sizeof(*elsewhere),
};

/* --- one document ------------------------------------------------------------------------ */

static int check_text(struct mk_call *call, const char *source, const char *key,
		      const struct mk_doc *value)
{
	if (value->type == MK_DOC_LIST)
		return mk_doc_fail(call, source, value, "%s must be a text, not a list", key);
	if (value->type == MK_DOC_MAP)
		return mk_doc_fail(call, source, value, "%s must be a text, not a map", key);
	if (value->type == MK_DOC_SCALAR && !value->text[0])
		return mk_doc_fail(call, source, value, "%s is empty", key);
	return 0;
}

static int check_texts(struct mk_call *call, const char *source, const char *key,
		       const struct mk_doc *value, bool may_be_empty)
{
	if (value->type == MK_DOC_MAP)
		return mk_doc_fail(call, source, value,
				   "%s must be a text or a list of texts, not a map", key);
	if (value->type != MK_DOC_LIST)
		return may_be_empty ? 0 : check_text(call, source, key, value);
	for (size_t i = 0; i < value->n; i++) {
		const struct mk_doc *item = value->items[i];

		if (item->type != MK_DOC_SCALAR)
			return mk_doc_fail(call, source, item, "%s: item %zu is not a text", key,
					   i + 1);
		if (!may_be_empty && !item->text[0])
			return mk_doc_fail(call, source, item, "%s: item %zu is empty", key, i + 1);
	}
	return 0;
}

static int check_map(struct mk_call *call, const char *source, const char *key,
		     const struct mk_doc *value)
{
	if (value->type == MK_DOC_MAP || value->type == MK_DOC_NULL)
		return 0;
	return mk_doc_fail(call, source, value, "%s must be a map of keys and values, not a %s",
			   key, value->type == MK_DOC_LIST ? "list" : "text");
}

static int check_parameters(struct mk_call *call, const char *source, const struct mk_doc *map)
{
	for (size_t i = 0; i < map->n; i++) {
		const struct mk_doc *value = map->items[i];
		const char *key = map->keys[i]->text;

		if (value->type == MK_DOC_LIST)
			return mk_doc_fail(
				call, source, value,
				"parameters: %s must be a text: a list as one value needs "
				"quotes, a run for each value is made by sweep:",
				key);
		if (value->type == MK_DOC_MAP)
			return mk_doc_fail(
				call, source, value,
				"parameters: %s must be a text: a map as one value needs "
				"quotes",
				key);
	}
	return 0;
}

static int check_sweep(struct mk_call *call, const char *source, const struct mk_doc *map)
{
	for (size_t i = 0; i < map->n; i++) {
		const struct mk_doc *value = map->items[i];
		_cleanup_buf_ struct mk_buf key = MK_BUF(4096);

		(void)mk_buf_printf(&key, "sweep: %s", map->keys[i]->text);
		if (value->type == MK_DOC_LIST && !value->n)
			return mk_doc_fail(call, source, value, "%s has no values",
					   mk_buf_text(&key));

		int r = check_texts(call, source, mk_buf_text(&key), value, true);

		if (r < 0)
			return r;
	}
	return 0;
}

/* A pattern is looked for below the working directory: nothing else could ever match. */
static int check_artifacts(struct mk_call *call, const char *source, const struct mk_doc *value)
{
	for (size_t i = 0; i < mk_spec_count(value); i++) {
		const struct mk_doc *item = mk_spec_item(value, i);
		const char *s = item->text;

		if (item->type != MK_DOC_SCALAR)
			continue;
		if (*s == '/')
			return mk_doc_fail(call, source, item,
					   "artifacts: \"%s\" is absolute: what is copied out lies in "
					   "the working directory, \"%s\"",
					   s, s + strspn(s, "/"));
		for (size_t n; *s; s += n + (s[n] == '/')) {
			n = strcspn(s, "/");
			if (n == 2 && memcmp(s, "..", 2) == 0)
				return mk_doc_fail(call, source, item,
						   "artifacts: \"%s\" leads out of the working "
						   "directory",
						   item->text);
		}
	}
	return 0;
}

static bool is_given(struct mk_doc *map, const char *key)
{
	const struct mk_doc *value = mk_doc_get(map, key);

	return value && value->type != MK_DOC_NULL;
}

static int check_code(struct mk_call *call, const char *source, struct mk_doc *code)
{
	for (size_t i = 0; i < N_CODE_KEYS; i++) {
		const struct mk_doc *value = mk_doc_get(code, code_keys[i]);
		int r = value ? check_text(call, source, code_keys[i], value) : 0;

		if (r < 0)
			return r;
	}

	int r = mk_doc_leftover(call, source, code);

	if (r < 0 || !is_given(code, "path"))
		return r;

	const struct mk_doc *path = mk_doc_get(code, "path");

	if (is_given(code, "repository") || is_given(code, "branch"))
		return mk_doc_fail(
			call, source, path,
			"code: path is a directory of this machine: it has no repository "
			"and no branch");
	if (path->text[0] != '/')
		return mk_doc_fail(call, source, path,
				   "code: path must be absolute, beginning with /, not \"%s\"",
				   path->text);
	return 0;
}

/* `code: NAME`, as everybody writes it first. */
static int check_code_is_map(struct mk_call *call, const char *source, const struct mk_doc *code)
{
	if (code->type != MK_DOC_SCALAR)
		return check_map(call, source, "code", code);
	return mk_doc_fail(call, source, code,
			   "code must be a map of keys and values: write code: {%s: %s}",
			   strchr("/~.", code->text[0]) ? "path" : "repository", code->text);
}

static int check_value(struct mk_call *call, const char *source, size_t key, struct mk_doc *value)
{
	const char *name = keys[key].key;
	int r = 0;

	switch (keys[key].shape) {
	case TEXT:
		return check_text(call, source, name, value);
	case TEXTS:
		r = check_texts(call, source, name, value, false);
		if (r == 0 && strcmp(name, "artifacts") == 0)
			r = check_artifacts(call, source, value);
		return r;
	case TEXT_OR_MAP:
		if (value->type == MK_DOC_LIST)
			return mk_doc_fail(
				call, source, value,
				"%s must be a path in the repository or a map, not a list", name);
		return value->type == MK_DOC_MAP ? 0 : check_text(call, source, name, value);
	case MAP:
		r = strcmp(name, "code") == 0 ? check_code_is_map(call, source, value)
					      : check_map(call, source, name, value);
		break;
	case TEXT_MAP:
	case TEXTS_MAP:
		r = check_map(call, source, name, value);
		break;
	case LATER:
		if (value->type != MK_DOC_NULL)
			return mk_fail(call, EOPNOTSUPP, "not supported yet: %s (line %d)", name,
				       value->line);
		break;
	}
	if (r < 0 || value->type != MK_DOC_MAP)
		return r;
	if (keys[key].shape == TEXT_MAP)
		return check_parameters(call, source, value);
	if (keys[key].shape == TEXTS_MAP)
		return check_sweep(call, source, value);
	return strcmp(name, "code") == 0 ? check_code(call, source, value) : 0;
}

/* Two keys that cannot both be meant. */
static int check_pair(struct mk_call *call, const char *source, struct mk_doc *doc, const char *a,
		      const char *b)
{
	if (!is_given(doc, a) || !is_given(doc, b))
		return 0;
	return mk_doc_fail(call, source, mk_doc_get(doc, a), "%s and %s: only one can be meant", a,
			   b);
}

static void put_filled(struct mk_buf *buf, const char *format, const char *value)
{
	const char *hole = strstr(format, "%s");

	(void)mk_buf_put(buf, format, hole ? (size_t)(hole - format) : strlen(format));
	if (hole)
		(void)mk_buf_printf(buf, "%s%s", value, hole + 2);
}

/* Keys that belong elsewhere, with the line to write instead; then all that nobody knows. */
static int check_unknown(struct mk_call *call, const char *source, struct mk_doc *doc)
{
	const struct mk_doc *code = mk_doc_get(doc, "code");

	for (size_t i = 0; i < doc->n; i++) {
		const char *key = doc->keys[i]->text;
		_cleanup_buf_ struct mk_buf value = MK_BUF(4096), text = MK_BUF(8192);
		size_t k = 0;

		if (doc->used[i])
			continue;
		while (k < N_ELSEWHERE && strcasecmp(key, elsewhere[k].key) != 0)
			k++;
		if (k == N_ELSEWHERE)
			continue;
		if (doc->items[i]->type == MK_DOC_SCALAR)
			mk_yaml_scalar(&value, doc->items[i]->text, !doc->items[i]->quoted);
		else
			(void)mk_buf_puts(&value, "…");
		if (k < N_OF_CODE && code && code->type == MK_DOC_SCALAR)
			return mk_doc_fail(call, source, doc->keys[i],
					   "unknown key \"%s\": write code: {repository: %s, %s: %s}",
					   key, code->text, elsewhere[k].key, mk_buf_text(&value));
		put_filled(&text, elsewhere[k].instead, mk_buf_text(&value));
		return mk_doc_fail(call, source, doc->keys[i], "unknown key \"%s\": %s", key,
				   mk_buf_text(&text));
	}
	return mk_doc_leftover(call, source, doc);
}

int mk_spec_check(struct mk_call *call, const char *source, struct mk_doc *doc)
{
	int r = check_map(call, source, "a spec", doc);

	if (r < 0 || doc->type == MK_DOC_NULL)
		return r;
	for (size_t i = 0; i < N_KEYS; i++)
		(void)mk_doc_get(doc, keys[i].key);
	r = check_unknown(call, source, doc);
	for (size_t i = 0; r == 0 && i < N_KEYS; i++) {
		struct mk_doc *value = mk_doc_get(doc, keys[i].key);

		if (value)
			r = check_value(call, source, i, value);
	}

	static const char *const pairs[][2] = {
		{"command", "entry_point"}, {"command", "mlproject"}, {"script", "command"},
		{"script", "entry_point"},  {"script", "mlproject"},
	};

	for (size_t i = 0; r == 0 && i < sizeof(pairs) / sizeof(*pairs); i++)
		r = check_pair(call, source, doc, pairs[i][0], pairs[i][1]);
	if (r == 0 && is_given(doc, "script") &&
	    strncmp(mk_doc_get(doc, "script")->text, "#!", 2) != 0)
		return mk_doc_fail(call, source, mk_doc_get(doc, "script"),
				   "script must begin with #! and the program that runs it");
	return r;
}
