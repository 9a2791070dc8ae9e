/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading run specs and laying them over their defaults: see spec.h. What a document may say is in
 * spec_check.c, writing in spec_write.c.
 */
#include "format/spec.h"

#include <errno.h>
#include <string.h>

#include "base/utf8.h"

enum { MAX_NAME = 1000 };

/* Every key that has a value of its own here; code: has four. */
static const struct {
	const char *key;
	size_t offset; /* of the node in struct mk_spec */
} keys[] = {
#define KEY(k) {#k, offsetof(struct mk_spec, k)}
	KEY(name),	 KEY(experiment), KEY(mlproject),      KEY(entry_point), KEY(command),
	KEY(script),	 KEY(parameters), KEY(sweep),	       KEY(after),	 KEY(site),
	KEY(account),	 KEY(override),	  KEY(backend_config), KEY(artifacts),
#undef KEY
};
static const char *const code_keys[] = {"repository", "branch", "commit", "path"};

enum { N_KEYS = sizeof(keys) / sizeof(*keys), N_CODE_KEYS = 4 };

void mk_specs_free(struct mk_specs *specs)
{
	for (size_t i = 0; i < specs->n; i++)
		mk_doc_free(specs->v[i]);
	free(specs->v);
	*specs = (struct mk_specs){};
}

void mk_spec_free(struct mk_spec *spec)
{
	mk_doc_free(spec->doc);
	*spec = (struct mk_spec){};
}

size_t mk_spec_count(const struct mk_doc *node)
{
	if (!node)
		return 0;
	return node->type == MK_DOC_LIST ? node->n : 1;
}

const struct mk_doc *mk_spec_item(const struct mk_doc *node, size_t i)
{
	return node->type == MK_DOC_LIST ? node->items[i] : node;
}

/* --- reading ------------------------------------------------------------------------------ */

/* A batch script as the document {script: text}. */
static int read_script(struct mk_call *call, const char *source, const char *text, size_t len,
		       struct mk_doc **ret)
{
	if (len > MK_LIMIT_TEXT)
		return mk_fail(call, EFBIG, "%s: %zu bytes, at most 1 MiB is taken", source, len);

	size_t bad = mk_utf8_bad(text, len), first = 0, line = 1;

	for (size_t i = 0; i < bad; i++)
		line += text[i] == '\n';
	if (bad < len)
		return mk_fail(call, EINVAL, "%s:%zu: the script is not UTF-8: the byte 0x%02x",
			       source, line, (unsigned char)text[bad]);
	while (first < len && text[first] != '\n')
		first++;
	if (first && text[first - 1] == '\r')
		return mk_fail(call, EINVAL,
			       "%s:1: the script has the line ends of Windows: no program would be "
			       "found for it; dos2unix turns them",
			       source);

	struct mk_doc *doc = mk_new(struct mk_doc), *key = mk_new(struct mk_doc);
	struct mk_doc *value = mk_new(struct mk_doc);

	*key = (struct mk_doc){
		.type = MK_DOC_SCALAR, .line = 1, .column = 1, .text = mk_strdup("script")};
	*value = (struct mk_doc){.type = MK_DOC_SCALAR,
				 .line = 1,
				 .column = 1,
				 .text = mk_strndup(text, len),
				 .quoted = true,
				 .style = '|'};
	*doc = (struct mk_doc){.type = MK_DOC_MAP,
			       .line = 1,
			       .column = 1,
			       .n = 1,
			       .keys = mk_alloc(sizeof(*doc->keys)),
			       .items = mk_alloc(sizeof(*doc->items)),
			       .used = mk_alloc(1)};
	doc->keys[0] = key;
	doc->items[0] = value;
	*ret = doc;
	return 0;
}

int mk_specs_read(struct mk_call *call, const char *source, const char *text, size_t len,
		  struct mk_specs *ret)
{
	_cleanup_specs_ struct mk_specs specs = {};
	size_t n = 0;
	int r;

	if (len >= 2 && memcmp(text, "#!", 2) == 0) {
		specs.v = mk_alloc(sizeof(*specs.v));
		r = read_script(call, source, text, len, &specs.v[0]);
		specs.n = r == 0;
	} else {
		r = mk_doc_parse_all(call, source, text, len, &specs.v, &specs.n);
	}
	if (r < 0)
		return r;
	for (size_t i = 0; i < specs.n; i++) {
		mk_doc_set_source(specs.v[i], source);
		r = mk_spec_check(call, source, specs.v[i]);
		if (r < 0)
			return r;
	}
	/* `---` at the end, or twice: no spec. */
	for (size_t i = 0; i < specs.n; i++) {
		if (specs.v[i]->type == MK_DOC_NULL)
			mk_doc_free(specs.v[i]);
		else
			specs.v[n++] = specs.v[i];
	}
	specs.n = n;
	if (!n)
		return mk_fail(
			call, EINVAL,
			"%s: nothing to run: write a run spec, or a script that begins with #!",
			source);
	*ret = specs;
	specs = (struct mk_specs){};
	return 0;
}

int mk_spec_read_defaults(struct mk_call *call, const char *source, const char *text, size_t len,
			  struct mk_doc **ret)
{
	_cleanup_(mk_doc_freep) struct mk_doc *doc = NULL;
	int r = mk_doc_parse(call, source, text, len, &doc);

	if (r < 0)
		return r;
	mk_doc_set_source(doc, source);
	r = mk_spec_check(call, source, doc);
	if (r == -EOPNOTSUPP)
		return mk_prefix(call, r, "%s", source);
	if (r < 0)
		return r;
	*ret = mk_steal(&doc);
	return 0;
}

int mk_spec_check_defaults(struct mk_call *call, const char *name, const char *text, size_t len)
{
	_cleanup_(mk_doc_freep) struct mk_doc *doc = NULL;
	const struct mk_doc *layers[1];
	_cleanup_spec_ struct mk_spec spec = {};
	int r = mk_spec_read_defaults(call, name, text, len, &doc);

	if (r < 0)
		return r;
	layers[0] = doc;
	return mk_spec_merge(call, layers, 1, &spec);
}

/* --- laying one over another ------------------------------------------------------------- */

static void take_away(struct mk_doc *map, const char *key)
{
	if (!map || map->type != MK_DOC_MAP)
		return;
	for (size_t i = 0; i < map->n; i++) {
		if (strcmp(map->keys[i]->text, key) != 0)
			continue;
		mk_doc_free(map->keys[i]);
		mk_doc_free(map->items[i]);
		map->n--;
		memmove(map->keys + i, map->keys + i + 1, (map->n - i) * sizeof(*map->keys));
		memmove(map->items + i, map->items + i + 1, (map->n - i) * sizeof(*map->items));
		memmove(map->used + i, map->used + i + 1, map->n - i);
		return;
	}
}

static const struct mk_doc *given(const struct mk_doc *map, const char *key)
{
	for (size_t i = 0; map && map->type == MK_DOC_MAP && i < map->n; i++)
		if (strcmp(map->keys[i]->text, key) == 0)
			return map->items[i]->type == MK_DOC_NULL ? NULL : map->items[i];
	return NULL;
}

/* Before `over` is merged: takes from base what it replaces in other ways than by its key. */
static void make_way(struct mk_doc *base, const struct mk_doc *over)
{
	static const char *const whole[] = {"sweep", "backend_config"};
	static const char *const what[] = {"command", "script", "entry_point", "mlproject"};
	const struct mk_doc *parameters = given(over, "parameters"), *sweep = given(over, "sweep");
	bool names_program = given(over, "entry_point") || given(over, "mlproject");

	for (size_t i = 0; i < sizeof(whole) / sizeof(*whole); i++)
		if (given(over, whole[i]))
			take_away(base, whole[i]);
	if (given(over, "code")) {
		struct mk_doc *code = mk_doc_get(base, "code");

		for (size_t i = 1; i < N_CODE_KEYS; i++)
			take_away(code, code_keys[i]);
		if (given(given(over, "code"), "path") || !given(over, "code")->n)
			take_away(code, "repository");
	}
	for (size_t i = 0; i < sizeof(what) / sizeof(*what); i++) {
		bool is_program = i < 2;

		if ((is_program && names_program) || given(over, "command") ||
		    given(over, "script"))
			take_away(base, what[i]);
	}
	for (size_t i = 0; parameters && i < parameters->n; i++)
		take_away(mk_doc_get(base, "sweep"), parameters->keys[i]->text);
	for (size_t i = 0; sweep && i < sweep->n; i++)
		take_away(mk_doc_get(base, "parameters"), sweep->keys[i]->text);
}

int mk_spec_merge(struct mk_call *call, const struct mk_doc *const *layers, size_t n,
		  struct mk_spec *ret)
{
	_cleanup_spec_ struct mk_spec spec = {};

	for (size_t i = 0; i < n; i++) {
		if (!layers[i] || layers[i]->type != MK_DOC_MAP)
			continue;
		if (spec.doc)
			make_way(spec.doc, layers[i]);
		spec.doc = mk_doc_merge(spec.doc, layers[i]);
	}
	for (size_t i = 0; i < N_KEYS; i++)
		*(const struct mk_doc **)((char *)&spec + keys[i].offset) =
			given(spec.doc, keys[i].key);

	const struct mk_doc *code = given(spec.doc, "code");

	spec.no_code = code && !code->n;
	spec.repository = given(code, "repository");
	spec.branch = given(code, "branch");
	spec.commit = given(code, "commit");
	spec.path = given(code, "path");
	/* An empty list is how a spec says none. */
	if (spec.site && !mk_spec_count(spec.site))
		spec.site = NULL;
	for (size_t i = 0; spec.sweep && i < spec.sweep->n; i++)
		if (given(spec.parameters, spec.sweep->keys[i]->text))
			return mk_doc_fail(
				call, "spec", spec.sweep->keys[i],
				"%s is in parameters and in sweep: only one can be meant",
				spec.sweep->keys[i]->text);
	*ret = spec;
	spec = (struct mk_spec){};
	return 0;
}

/* --- names ------------------------------------------------------------------------------- */

static int fill_one(struct mk_call *call, const struct mk_doc *at, const char *what,
		    const char *key, const struct mk_pairs *values, const char *site,
		    struct mk_buf *ret)
{
	const char *value = mk_pairs_get(values, key);
	_cleanup_list_ struct mk_list known = {};

	if (!value && strcmp(key, "site") == 0)
		value = site;
	if (value)
		return mk_buf_puts(ret, value);
	for (size_t i = 0; i < values->n; i++)
		(void)!mk_list_add(&known, values->v[i].key);
	(void)!mk_list_add(&known, "site");

	const char *nearest = mk_nearest(key, &known);

	if (nearest)
		return mk_doc_fail(call, what, at,
				   "%s: {%s} is no parameter of this run, did you mean {%s}?", what,
				   key, nearest);
	return mk_doc_fail(call, what, at, "%s: {%s} is no parameter of this run", what, key);
}

int mk_spec_fill(struct mk_call *call, const struct mk_doc *at, const char *what,
		 const char *template_text, const struct mk_pairs *values, const char *site,
		 struct mk_buf *ret)
{
	for (const char *p = template_text; *p; p++) {
		if ((*p == '{' || *p == '}') && p[1] == *p) {
			(void)mk_buf_putc(ret, *p++);
			continue;
		}
		if (*p == '}')
			return mk_doc_fail(call, what, at, "%s: a } without {; a brace is }}",
					   what);
		if (*p != '{') {
			(void)mk_buf_putc(ret, *p);
			continue;
		}

		size_t n = strcspn(p + 1, "{}");

		if (p[1 + n] != '}')
			return mk_doc_fail(call, what, at, "%s: a { without }; a brace is {{",
					   what);

		_cleanup_free_ char *key = mk_strndup(p + 1, n);
		int r = fill_one(call, at, what, key, values, site, ret);

		if (r < 0)
			return r;
		p += 1 + n;
	}
	if (mk_buf_check(ret) < 0)
		return mk_doc_fail(call, what, at, "%s is too long", what);
	return 0;
}

int mk_spec_check_name(struct mk_call *call, const struct mk_doc *at, const char *name)
{
	if (!*name)
		return mk_doc_fail(call, "name", at, "name is empty");
	if (strlen(name) > MAX_NAME)
		return mk_doc_fail(call, "name", at, "name has %zu bytes, at most %d are possible",
				   strlen(name), MAX_NAME);
	for (const char *s = name; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			return mk_doc_fail(call, "name", at,
					   "name holds a line end or another control character");
	return 0;
}
