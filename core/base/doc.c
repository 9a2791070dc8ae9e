/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading YAML and JSON into struct mk_doc: see doc.h. Asking is in doc_ask.c, merging in
 * doc_merge.c, writing in doc_write.c.
 *
 * libyaml gives events; a recursive descent over them (at most MAX_DEPTH deep) builds the tree.
 * Everything that could cost more than the text is long is bounded here: depth, nodes, keys, names
 * that aliases use, and the bytes that aliases copy.
 */
#include "base/doc.h"

#include <errno.h>
#include <string.h>

#include <yaml.h>

#include "base/utf8.h"

enum {
	MAX_DEPTH = 64,
	MAX_NODES = 100000,
	MAX_KEYS = 10000,
	MAX_DOCS = 1000,
	MAX_ANCHORS = 1000,
};

struct anchor {
	char *name;
	const struct mk_doc *node; /* SCALAR or NULL, or NULL for a list or map */
};

struct reader {
	struct mk_call *call;
	const char *name;
	const char *text;
	size_t len;
	yaml_parser_t parser;
	yaml_event_t event; /* the current one */
	bool has_event;
	size_t n_nodes;
	size_t copied; /* bytes by aliases */
	struct anchor *anchors;
	size_t n_anchors;
};

void mk_doc_free(struct mk_doc *doc)
{
	if (!doc)
		return;
	for (size_t i = 0; i < doc->n; i++) {
		mk_doc_free(doc->items[i]);
		if (doc->keys)
			mk_doc_free(doc->keys[i]);
	}
	free(doc->items);
	free(doc->keys);
	free(doc->used);
	free(doc->text);
	mk_list_free(&doc->asked);
	free(doc);
}

static bool is_null(const char *s)
{
	return !*s || strcmp(s, "~") == 0 || strcmp(s, "null") == 0 || strcmp(s, "Null") == 0 ||
	       strcmp(s, "NULL") == 0;
}

static int fail_line(struct reader *r, size_t line, const char *what)
{
	return mk_fail(r->call, EINVAL, "%s:%zu: %s", r->name, line, what);
}

static size_t line_of(const struct reader *r, size_t offset)
{
	size_t line = 1;

	for (size_t i = 0; i < offset && i < r->len; i++)
		line += r->text[i] == '\n';
	return line;
}

/* libyaml's words are for its authors; these add what the writer of the text can do. */
static const char *remedy(const char *problem)
{
	static const struct {
		const char *problem, *remedy;
	} rows[] = {
		{"mapping values are not allowed in this context",
		 "a text that holds \": \" needs quotes, and keys of one map the same indentation"},
		{"did not find expected key",
		 "look at the indentation, and for quotes inside quotes"},
		{"did not find expected '-' indicator", "look at the indentation"},
		{"could not find expected ':'", "a key needs \": \" behind it"},
		{"found unexpected end of stream", "a quote or bracket is not closed"},
		{"did not find expected ',' or ']'", "a bracket is not closed"},
		{"did not find expected ',' or '}'", "a brace is not closed"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		if (strcmp(problem, rows[i].problem) == 0)
			return rows[i].remedy;
	return NULL;
}

static int fail_parser(struct reader *r)
{
	const yaml_parser_t *p = &r->parser;
	const char *problem = p->problem ? p->problem : "not YAML";

	if (p->error == YAML_MEMORY_ERROR)
		return mk_fail(r->call, ENOMEM, "%s: out of memory", r->name);
	if (p->error == YAML_READER_ERROR)
		return fail_line(r, line_of(r, p->problem_offset), problem);

	const yaml_mark_t *mark = &p->problem_mark;
	const char *more = remedy(problem);

	if (p->error == YAML_SCANNER_ERROR && strncmp(problem, "found character", 15) == 0) {
		/* The mark counts characters; the byte is found by its line. */
		const char *line = r->text;

		for (size_t i = 0; i < mark->line && line; i++) {
			line = memchr(line, '\n', (size_t)(r->text + r->len - line));
			line = line ? line + 1 : NULL;
		}
		if (line && mark->column < (size_t)(r->text + r->len - line)) {
			char c = line[mark->column];

			if (c == '\t')
				return mk_fail(r->call, EINVAL,
					       "%s:%zu: a tab in column %zu: indent with blanks",
					       r->name, mark->line + 1, mark->column + 1);
			if (c == '@' || c == '`')
				more = "a text that begins so needs quotes";
			if (c == '%')
				more = "a text that begins with % needs quotes";
		}
	}
	return mk_fail(r->call, EINVAL, "%s:%zu: not YAML: %s (column %zu)%s%s", r->name,
		       mark->line + 1, problem, mark->column + 1, more ? ": " : "",
		       more ? more : "");
}

static int next(struct reader *r)
{
	if (r->has_event)
		yaml_event_delete(&r->event);
	r->has_event = false;
	if (!yaml_parser_parse(&r->parser, &r->event))
		return fail_parser(r);
	r->has_event = true;
	return 0;
}

static size_t event_line(const struct reader *r)
{
	return r->event.start_mark.line + 1;
}

static int new_node(struct reader *r, enum mk_doc_type type, struct mk_doc **ret)
{
	if (++r->n_nodes > MAX_NODES)
		return mk_fail(r->call, EFBIG, "%s:%zu: more than %d values", r->name,
			       event_line(r), MAX_NODES);

	struct mk_doc *node = calloc(1, sizeof(*node));

	if (!node)
		return mk_fail(r->call, ENOMEM, "%s: out of memory", r->name);
	node->type = type;
	node->line = (int)event_line(r);
	node->column = (int)r->event.start_mark.column + 1;
	node->begin = r->event.start_mark.index;
	node->end = r->event.end_mark.index;
	*ret = node;
	return 0;
}

/* What a tag says: -EINVAL for one we do not know. */
enum tag { TAG_NONE, TAG_TEXT, TAG_PLAIN, TAG_NULL };
static int check_tag(struct reader *r, const yaml_char_t *tag_text, const char *const *allowed,
		     enum tag *ret)
{
	const char *tag = (const char *)tag_text;
	static const char core[] = "tag:yaml.org,2002:";

	*ret = TAG_NONE;
	if (!tag)
		return 0;
	if (strcmp(tag, "!") == 0) {
		*ret = TAG_TEXT;
		return 0;
	}
	if (strncmp(tag, core, strlen(core)) == 0)
		for (size_t i = 0; allowed[i]; i++)
			if (strcmp(tag + strlen(core), allowed[i]) == 0) {
				*ret = strcmp(allowed[i], "str") == 0	 ? TAG_TEXT
				       : strcmp(allowed[i], "null") == 0 ? TAG_NULL
									 : TAG_PLAIN;
				return 0;
			}
	return mk_fail(r->call, EINVAL, "%s:%zu: the tag %s is not understood", r->name,
		       event_line(r), tag);
}

static int add_anchor(struct reader *r, const yaml_char_t *name, const struct mk_doc *node)
{
	if (!name)
		return 0;
	if (r->n_anchors == MAX_ANCHORS)
		return mk_fail(r->call, EFBIG, "%s:%zu: more than %d anchors", r->name,
			       event_line(r), MAX_ANCHORS);
	if (!r->anchors)
		r->anchors = mk_alloc(MAX_ANCHORS * sizeof(*r->anchors));
	r->anchors[r->n_anchors++] =
		(struct anchor){.name = mk_strdup((const char *)name), .node = node};
	return 0;
}

static void drop_anchors(struct reader *r)
{
	while (r->n_anchors)
		free(r->anchors[--r->n_anchors].name);
}

static char style_of(yaml_scalar_style_t style)
{
	switch (style) {
	case YAML_SINGLE_QUOTED_SCALAR_STYLE:
		return '\'';
	case YAML_DOUBLE_QUOTED_SCALAR_STYLE:
		return '"';
	case YAML_LITERAL_SCALAR_STYLE:
		return '|';
	case YAML_FOLDED_SCALAR_STYLE:
		return '>';
	default:
		return 0;
	}
}

static int read_scalar(struct reader *r, struct mk_doc **ret)
{
	static const char *const allowed[] = {"str", "int", "float", "bool", "null", NULL};
	const char *value = (const char *)r->event.data.scalar.value;
	size_t len = r->event.data.scalar.length;
	_cleanup_(mk_doc_freep) struct mk_doc *node = NULL;
	enum tag tag;
	int e = check_tag(r, r->event.data.scalar.tag, allowed, &tag);

	if (e < 0)
		return e;
	if (memchr(value, 0, len))
		return fail_line(r, event_line(r), "a text with a NUL byte");
	e = new_node(r, MK_DOC_SCALAR, &node);
	if (e < 0)
		return e;
	node->text = malloc(len + 1);
	if (!node->text)
		return mk_fail(r->call, ENOMEM, "%s: out of memory", r->name);
	memcpy(node->text, value, len + 1);
	node->quoted = r->event.data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
	node->style = style_of(r->event.data.scalar.style);
	if (tag != TAG_NONE)
		node->quoted = tag == TAG_TEXT;
	if (tag == TAG_NULL || (!node->quoted && is_null(node->text)))
		node->type = MK_DOC_NULL;
	e = add_anchor(r, r->event.data.scalar.anchor, node);
	if (e < 0)
		return e;
	*ret = mk_steal(&node);
	return 0;
}

static int read_alias(struct reader *r, struct mk_doc **ret)
{
	const char *name = (const char *)r->event.data.alias.anchor;

	for (size_t i = r->n_anchors; i > 0; i--) {
		const struct mk_doc *node = r->anchors[i - 1].node;

		if (strcmp(r->anchors[i - 1].name, name) != 0)
			continue;
		if (!node)
			return mk_fail(r->call, EINVAL,
				       "%s:%zu: *%s repeats a list or map: write it out", r->name,
				       event_line(r), name);
		r->copied += strlen(node->text);
		if (r->copied > MK_LIMIT_TEXT)
			return mk_fail(r->call, EFBIG, "%s:%zu: aliases repeat more than 1 MiB",
				       r->name, event_line(r));

		int e = new_node(r, node->type, ret);

		if (e < 0)
			return e;
		(*ret)->text = mk_strdup(node->text);
		(*ret)->quoted = node->quoted;
		(*ret)->style = node->style;
		return 0;
	}
	return mk_fail(r->call, EINVAL, "%s:%zu: *%s: no &%s before it", r->name, event_line(r),
		       name, name);
}

/* Room for one more item; capacities are powers of two from 4 on, so n tells. */
static int grow(struct reader *r, struct mk_doc *node)
{
	size_t n = node->n;

	if (n && (n < 4 || (n & (n - 1)) != 0))
		return 0;

	size_t cap = n ? n * 2 : 4;
	void *items = realloc(node->items, cap * sizeof(*node->items));

	if (!items)
		return mk_fail(r->call, ENOMEM, "%s: out of memory", r->name);
	node->items = items;
	if (node->type != MK_DOC_MAP)
		return 0;

	void *keys = realloc(node->keys, cap * sizeof(*node->keys));

	if (!keys)
		return mk_fail(r->call, ENOMEM, "%s: out of memory", r->name);
	node->keys = keys;
	return 0;
}

static int compare_keys(const void *a, const void *b)
{
	const struct mk_doc *x = *(const struct mk_doc *const *)a;
	const struct mk_doc *y = *(const struct mk_doc *const *)b;
	int c = strcmp(x->text, y->text);

	if (c)
		return c;
	return x->line != y->line ? x->line - y->line : x->column - y->column;
}

static int check_duplicates(struct reader *r, const struct mk_doc *map)
{
	if (map->n < 2)
		return 0;

	_cleanup_free_ struct mk_doc **sorted = malloc(map->n * sizeof(*sorted));

	if (!sorted)
		return mk_fail(r->call, ENOMEM, "%s: out of memory", r->name);
	memcpy(sorted, map->keys, map->n * sizeof(*sorted));
	qsort(sorted, map->n, sizeof(*sorted), compare_keys);
	for (size_t i = 1; i < map->n; i++)
		if (strcmp(sorted[i - 1]->text, sorted[i]->text) == 0)
			return mk_doc_fail(r->call, r->name, sorted[i],
					   "the key \"%s\" is there already, in line %d",
					   sorted[i]->text, sorted[i - 1]->line);
	return 0;
}

static int read_node(struct reader *r, int depth, struct mk_doc **ret);

static int read_key(struct reader *r, struct mk_doc **ret)
{
	int e;

	if (r->event.type == YAML_SCALAR_EVENT)
		e = read_scalar(r, ret);
	else if (r->event.type == YAML_ALIAS_EVENT)
		e = read_alias(r, ret);
	else
		return fail_line(r, event_line(r), "a key must be a text, not a list or map");
	if (e < 0)
		return e;
	if ((*ret)->type == MK_DOC_NULL && !(*ret)->text[0])
		return fail_line(r, event_line(r), "a value without a key");
	(*ret)->type = MK_DOC_SCALAR;
	return 0;
}

/* The items up to the end event. r->event is the start event. */
static int read_items(struct reader *r, int depth, struct mk_doc *node)
{
	bool is_map = node->type == MK_DOC_MAP;
	yaml_event_type_t end = is_map ? YAML_MAPPING_END_EVENT : YAML_SEQUENCE_END_EVENT;

	for (;;) {
		_cleanup_(mk_doc_freep) struct mk_doc *key = NULL, *item = NULL;
		int e = next(r);

		if (e < 0)
			return e;
		if (r->event.type == end)
			break;
		if (is_map && node->n == MAX_KEYS)
			return mk_fail(r->call, EFBIG, "%s:%zu: more than %d keys in a map",
				       r->name, event_line(r), MAX_KEYS);
		if (is_map) {
			e = read_key(r, &key);
			if (e < 0)
				return e;
			e = next(r);
			if (e < 0)
				return e;
		}
		e = read_node(r, depth, &item);
		if (e < 0)
			return e;
		e = grow(r, node);
		if (e < 0)
			return e;
		if (is_map)
			node->keys[node->n] = mk_steal(&key);
		node->items[node->n++] = mk_steal(&item);
	}
	if (!is_map)
		return 0;
	node->used = calloc(node->n ? node->n : 1, sizeof(*node->used));
	if (!node->used)
		return mk_fail(r->call, ENOMEM, "%s: out of memory", r->name);
	return check_duplicates(r, node);
}

/* The node whose first event is the current one. */
static int read_node(struct reader *r, int depth, struct mk_doc **ret)
{
	static const char *const list_tags[] = {"seq", NULL}, *const map_tags[] = {"map", NULL};
	bool is_map = r->event.type == YAML_MAPPING_START_EVENT;
	_cleanup_(mk_doc_freep) struct mk_doc *node = NULL;
	enum tag tag;

	if (r->event.type == YAML_SCALAR_EVENT)
		return read_scalar(r, ret);
	if (r->event.type == YAML_ALIAS_EVENT)
		return read_alias(r, ret);
	if (depth == MAX_DEPTH)
		return mk_fail(r->call, EINVAL, "%s:%zu: nested deeper than %d", r->name,
			       event_line(r), MAX_DEPTH);

	int e = is_map ? check_tag(r, r->event.data.mapping_start.tag, map_tags, &tag)
		       : check_tag(r, r->event.data.sequence_start.tag, list_tags, &tag);

	if (e < 0)
		return e;
	e = add_anchor(r,
		       is_map ? r->event.data.mapping_start.anchor
			      : r->event.data.sequence_start.anchor,
		       NULL);
	if (e < 0)
		return e;
	e = new_node(r, is_map ? MK_DOC_MAP : MK_DOC_LIST, &node);
	if (e < 0)
		return e;
	e = read_items(r, depth + 1, node);
	if (e < 0)
		return e;
	*ret = mk_steal(&node);
	return 0;
}

static int check_bytes(struct reader *r)
{
	if (r->len > MK_LIMIT_TEXT)
		return mk_fail(r->call, EFBIG, "%s: %zu bytes, at most 1 MiB is taken", r->name,
			       r->len);

	size_t bad = mk_utf8_bad(r->text, r->len);

	if (bad == r->len)
		return 0;
	if (!r->text[bad])
		return fail_line(r, line_of(r, bad), "a NUL byte: this is not a text");
	return mk_fail(r->call, EINVAL, "%s:%zu: not UTF-8: the byte 0x%02x", r->name,
		       line_of(r, bad), (unsigned char)r->text[bad]);
}

static void free_docs(struct mk_doc **docs, size_t n)
{
	for (size_t i = 0; i < n; i++)
		mk_doc_free(docs[i]);
	free(docs);
}

static int read_stream(struct reader *r, size_t most, struct mk_doc **docs, size_t *n)
{
	int e = next(r); /* stream start */

	while (e == 0) {
		e = next(r);
		if (e < 0)
			return e;
		if (r->event.type == YAML_STREAM_END_EVENT)
			return 0;
		if (*n == most)
			return most == 1 ? fail_line(r, event_line(r),
						     "a second document begins here, one is taken")
					 : mk_fail(r->call, EFBIG, "%s:%zu: more than %zu documents",
						   r->name, event_line(r), most);
		e = next(r);
		if (e < 0)
			return e;
		e = read_node(r, 0, &docs[*n]);
		if (e < 0)
			return e;
		(*n)++;
		drop_anchors(r);
		e = next(r); /* document end */
	}
	return e;
}

static int parse(struct mk_call *call, const char *name, const char *text, size_t len, size_t most,
		 struct mk_doc ***ret, size_t *ret_n)
{
	struct reader r = {.call = call, .name = name, .text = text, .len = len};
	int e = check_bytes(&r);

	if (e < 0)
		return e;
	if (!yaml_parser_initialize(&r.parser))
		return mk_fail(call, ENOMEM, "%s: out of memory", name);
	yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&r.parser, (const unsigned char *)(len ? text : ""), len);

	struct mk_doc **docs = mk_alloc(most * sizeof(*docs));
	size_t n = 0;

	e = read_stream(&r, most, docs, &n);
	if (r.has_event)
		yaml_event_delete(&r.event);
	yaml_parser_delete(&r.parser);
	drop_anchors(&r);
	free(r.anchors);
	if (e < 0) {
		free_docs(docs, n);
		return e;
	}
	*ret = docs;
	*ret_n = n;
	return 0;
}

int mk_doc_parse(struct mk_call *call, const char *name, const char *text, size_t len,
		 struct mk_doc **ret)
{
	struct mk_doc **docs = NULL;
	size_t n = 0;
	int e = parse(call, name, text, len, 1, &docs, &n);

	if (e < 0)
		return e;
	*ret = docs[0];
	free(docs);
	if (n)
		return 0;
	*ret = mk_new(struct mk_doc);
	**ret = (struct mk_doc){
		.type = MK_DOC_NULL, .line = 1, .column = 1, .text = mk_strdup("")};
	return 0;
}

int mk_doc_parse_all(struct mk_call *call, const char *name, const char *text, size_t len,
		     struct mk_doc ***ret, size_t *ret_n)
{
	return parse(call, name, text, len, MAX_DOCS, ret, ret_n);
}
