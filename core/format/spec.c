/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading run specs and laying them over their defaults: see spec.h. Writing is in spec_write.c.
 */
#include "format/spec.h"

#include <errno.h>
#include <string.h>

#include "base/utf8.h"

enum { MAX_NAME = 1000 };

enum shape { TEXT, TEXTS, MAP, TEXTS_MAP /* of texts or lists */, TEXT_MAP, TEXT_OR_MAP, LATER };

/* Every key of a spec. LATER: known, and refused until it works. */
static const struct {
	const char *key;
	enum shape shape;
	size_t offset; /* of the node in struct mk_spec, 0: none */
} keys[] = {
#define KEY(k, shape_)                                  \
	{                                               \
#k, shape_, offsetof(struct mk_spec, k) \
	}
	KEY(name, TEXT),
	KEY(experiment, TEXT),
	{"code", MAP, 0},
	KEY(mlproject, TEXT),
	KEY(entry_point, TEXT),
	KEY(command, TEXT),
	KEY(script, TEXT),
	KEY(parameters, TEXT_MAP),
	KEY(sweep, TEXTS_MAP),
	KEY(after, TEXTS),
	KEY(site, TEXTS),
	KEY(account, TEXT),
	KEY(backend_config, TEXT_OR_MAP),
	KEY(override, MAP),
	KEY(artifacts, TEXTS),
	{"data", LATER, 0},
	{"schedule", LATER, 0},
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

static int check_value(struct mk_call *call, const char *source, size_t key, struct mk_doc *value)
{
	const char *name = keys[key].key;
	int r = 0;

	switch (keys[key].shape) {
	case TEXT:
		return check_text(call, source, name, value);
	case TEXTS:
		return check_texts(call, source, name, value, false);
	case TEXT_OR_MAP:
		if (value->type == MK_DOC_LIST)
			return mk_doc_fail(
				call, source, value,
				"%s must be a path in the repository or a map, not a list", name);
		return value->type == MK_DOC_MAP ? 0 : check_text(call, source, name, value);
	case MAP:
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

static int check_doc(struct mk_call *call, const char *source, struct mk_doc *doc)
{
	int r = check_map(call, source, "a spec", doc);

	if (r < 0 || doc->type == MK_DOC_NULL)
		return r;
	for (size_t i = 0; i < N_KEYS; i++)
		(void)mk_doc_get(doc, keys[i].key);
	r = mk_doc_leftover(call, source, doc);
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
		r = check_doc(call, source, specs.v[i]);
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
	r = check_doc(call, source, doc);
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
		if (keys[i].offset)
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
