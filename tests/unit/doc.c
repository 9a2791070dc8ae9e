/* SPDX-License-Identifier: Apache-2.0 */
/* core/base/doc: reading, refusing, asking, writing and merging documents. */
#include "base/doc.h"

#include <sys/resource.h>
#include <sys/wait.h>

#include "test.h"

#define N(a) (sizeof(a) / sizeof(*(a)))
#define _cleanup_doc_ _cleanup_(mk_doc_freep)

static struct mk_doc *parse(struct mk_call *call, const char *text)
{
	struct mk_doc *doc = NULL;

	mk_error_clear(call);
	(void)!mk_doc_parse(call, "t.yaml", text, strlen(text), &doc);
	return doc;
}

/* The tree in one line: {key: value}, [items], texts as they are, quoted ones in quotes, ~ null. */
static void show(struct mk_buf *buf, const struct mk_doc *doc)
{
	bool is_map = doc->type == MK_DOC_MAP;

	if (doc->type == MK_DOC_NULL)
		(void)mk_buf_puts(buf, "~");
	else if (doc->type == MK_DOC_SCALAR)
		(void)mk_buf_printf(buf, doc->quoted ? "\"%s\"" : "%s", doc->text);
	if (doc->type == MK_DOC_NULL || doc->type == MK_DOC_SCALAR)
		return;
	(void)mk_buf_putc(buf, is_map ? '{' : '[');
	for (size_t i = 0; i < doc->n; i++) {
		if (i)
			(void)mk_buf_puts(buf, ", ");
		if (is_map)
			(void)mk_buf_printf(buf, "%s: ", doc->keys[i]->text);
		show(buf, doc->items[i]);
	}
	(void)mk_buf_putc(buf, is_map ? '}' : ']');
}

static void texts_become_trees(void)
{
	static const struct {
		const char *text, *tree;
	} rows[] = {
		{"", "~"},
		{"# only a comment\n", "~"},
		{"a: 7e-6\nb: '7'\nc: null\nd:\ne: \"null\"\n",
		 "{a: 7e-6, b: \"7\", c: ~, d: ~, e: \"null\"}"},
		{"{\"a\":1,\"b\":[true,null,\"x\\/y\"]}", "{a: 1, b: [true, ~, \"x/y\"]}"},
		{"{\n\t\"a\": 1,\n\t\"b\": {}\n}\n", "{a: 1, b: {}}"},
		{"- a\n- [b, c]\n- {d: e}\n", "[a, [b, c], {d: e}]"},
		{"a: |\n  one\n  two\nb: >\n  x\n  y\n", "{a: \"one\ntwo\n\", b: \"x y\n\"}"},
		{"a: &x 5\nb: *x\n*x : c\n", "{a: 5, b: 5, 5: c}"},
		{"a: !!str 5\nb: !!int \"5\"\n", "{a: \"5\", b: 5}"},
		{"yes: 1\n~: 2\n", "{yes: 1, ~: 2}"},
		{"\xef\xbb\xbf"
		 "a: 1\n",
		 "{a: 1}"},
		{"name: regen-雨-ü\n", "{name: regen-雨-ü}"},
	};
	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);
	for (size_t i = 0; i < N(rows); i++) {
		_cleanup_doc_ struct mk_doc *doc = parse(&call, rows[i].text);
		_cleanup_buf_ struct mk_buf tree = MK_BUF(1000);

		CHECK_TEXT(call.error.text, NULL);
		NEED(doc);
		show(&tree, doc);
		CHECK_TEXT(mk_buf_text(&tree), rows[i].tree);
	}
}

static void bad_texts_are_refused_with_line_and_remedy(void)
{
	static const struct {
		const char *text, *error;
	} rows[] = {
		{"a: 1\nb: 2\na: 3\n", "t.yaml:3: the key \"a\" is there already, in line 1"},
		{"a:\n\tb: 1\n", "t.yaml:2: a tab in column 1: indent with blanks"},
		{"a: b: c\n",
		 "t.yaml:1: not YAML: mapping values are not allowed in this context (column 5): a text "
		 "that holds \": \" needs quotes, and keys of one map the same indentation"},
		{"a: [1, 2\nb: 3\n",
		 "t.yaml:2: not YAML: did not find expected ',' or ']' (column 2): a bracket is not "
		 "closed"},
		{"a: @x\n", "t.yaml:1: not YAML: found character that cannot start any token (column "
			    "4): a text that begins so needs quotes"},
		{"a: 1\nb: \xff\n", "t.yaml:2: not UTF-8: the byte 0xff"},
		{"a: \xc0\xaf\n", "t.yaml:1: not UTF-8: the byte 0xc0"},
		{"a: \xed\xa0\x80\n", "t.yaml:1: not UTF-8: the byte 0xed"},
		{"a: 1\nb: \x07\n", "t.yaml:2: control characters are not allowed"},
		{"a: \"x\\0y\"\n", "t.yaml:1: a text with a NUL byte"},
		{"a: 1\n---\nb: 2\n", "t.yaml:2: a second document begins here, one is taken"},
		{"a: &x [1]\nb: *x\n", "t.yaml:2: *x repeats a list or map: write it out"},
		{"a: *x\n", "t.yaml:1: *x: no &x before it"},
		{"a: !!python/object:os.system x\n",
		 "t.yaml:1: the tag tag:yaml.org,2002:python/object:os.system is not understood"},
		{"a: !secret x\n", "t.yaml:1: the tag !secret is not understood"},
		{"[a]: 1\n", "t.yaml:1: a key must be a text, not a list or map"},
		{"a: {\n  ? : 1}\n", "t.yaml:2: a value without a key"},
	};
	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);
	for (size_t i = 0; i < N(rows); i++) {
		_cleanup_doc_ struct mk_doc *doc = parse(&call, rows[i].text);

		CHECK(!doc);
		CHECK_INT(call.error.code, EINVAL);
		CHECK_TEXT(call.error.text, rows[i].error);
	}

	struct mk_doc *doc = NULL;

	CHECK_INT(mk_doc_parse(&call, "t.yaml", "a: \0", 4, &doc), -EINVAL);
	CHECK_TEXT(call.error.text, "t.yaml:1: a NUL byte: this is not a text");
}

static void getters_check_types_and_leftovers(void)
{
	_cleanup_call_ struct mk_call call;
	const char *text = "untouched";
	bool truth = false;
	struct mk_doc *part = NULL;
	_cleanup_list_ struct mk_list texts = {};

	mk_call_init(&call);

	_cleanup_doc_ struct mk_doc *doc =
		parse(&call, "owner: 1\ncount: 12\nbig: 99999999999999999999\nyes: On\nl: [a, b]\n"
			     "m: {x: 1}\nnone:\nq: \"true\"\nnested: [[a]]\n");

	NEED(doc);
	CHECK_INT(mk_doc_text(&call, "t", doc, "owner", &text), 1);
	CHECK_TEXT(text, "1");
	text = "untouched";
	CHECK_INT(mk_doc_text(&call, "t", doc, "none", &text), 0);
	CHECK_INT(mk_doc_text(&call, "t", doc, "absent", &text), 0);
	CHECK_INT(mk_doc_text(&call, "t", NULL, "absent", &text), 0);
	CHECK_TEXT(text, "untouched");
	CHECK_INT(mk_doc_text(&call, "t", doc, "l", &text), -EINVAL);
	CHECK_TEXT(call.error.text, "t:5: l must be a text, not a list");
	CHECK_INT(mk_doc_text(&call, "t", doc, "count", &text), 1);
	CHECK_INT(mk_doc_text(&call, "t", doc, "big", &text), 1);
	CHECK_TEXT(text, "99999999999999999999");
	CHECK_INT(mk_doc_bool(&call, "t", doc, "yes", &truth), 1);
	CHECK(truth);
	CHECK_INT(mk_doc_bool(&call, "t", doc, "q", &truth), -EINVAL);
	CHECK_INT(mk_doc_map(&call, "t", doc, "m", &part), 1);
	CHECK_INT(part->n, 1);
	CHECK_INT(mk_doc_map(&call, "t", doc, "l", &part), -EINVAL);
	CHECK_TEXT(call.error.text, "t:5: l must be a map, not a list");
	CHECK_INT(mk_doc_texts(&call, "t", doc, "l", &texts), 1);
	CHECK_INT(mk_doc_texts(&call, "t", doc, "owner", &texts), 1);
	CHECK_INT(texts.n, 3);
	CHECK_INT(mk_doc_texts(&call, "t", doc, "nested", &texts), -EINVAL);
	CHECK_TEXT(call.error.text, "t:9: nested must be a list of texts, item 1 is a list");
	CHECK_INT(mk_doc_leftover(&call, "t", doc), 0);

	_cleanup_doc_ struct mk_doc *bad = parse(&call, "name: a\nonwer: ana\n");

	CHECK(mk_doc_get(bad, "name"));
	CHECK(!mk_doc_get(bad, "owner"));
	CHECK_INT(mk_doc_leftover(&call, "project.yaml", bad), -EINVAL);
	CHECK_TEXT(call.error.text,
		   "project.yaml:2: unknown key \"onwer\", did you mean \"owner\"?");

	mk_doc_set_source(bad, "defaults.yaml");
	CHECK_INT(mk_doc_leftover(&call, "project.yaml", bad), -EINVAL);
	CHECK_TEXT(call.error.text,
		   "defaults.yaml:2: unknown key \"onwer\", did you mean \"owner\"?");
}

static void nearest_is_near(void)
{
	static const struct {
		const char *word, *nearest;
	} rows[] = {{"Experiment", "experiment"}, {"experimnt", "experiment"}, {"sight", NULL},
		    {"sites", "site"},		  {"xyz", NULL},	       {"", NULL}};
	_cleanup_list_ struct mk_list list = {};

	CHECK_INT(mk_list_add(&list, "experiment"), 0);
	CHECK_INT(mk_list_add(&list, "site"), 0);
	for (size_t i = 0; i < N(rows); i++)
		CHECK_TEXT(mk_nearest(rows[i].word, &list), rows[i].nearest);
}

static void streams_keep_line_numbers(void)
{
	_cleanup_call_ struct mk_call call;
	static const char text[] = "---\na: 1\n---\n---\nb: 2\n...\n";
	struct mk_doc **docs = NULL;
	size_t n = 0;

	mk_call_init(&call);
	NEED(mk_doc_parse_all(&call, "t", text, strlen(text), &docs, &n) == 0);
	CHECK_INT(n, 3);
	CHECK_INT(docs[0]->keys[0]->line, 2);
	CHECK_INT(docs[1]->type, MK_DOC_NULL);
	CHECK_INT(docs[2]->keys[0]->line, 5);
	for (size_t i = 0; i < n; i++)
		mk_doc_free(docs[i]);
	free(docs);

	_cleanup_buf_ struct mk_buf many = MK_BUF(100000);

	for (int i = 0; i < 1001; i++)
		(void)mk_buf_puts(&many, "--- a\n");
	CHECK_INT(mk_doc_parse_all(&call, "t", many.data, many.len, &docs, &n), -EFBIG);
	CHECK_TEXT(call.error.text, "t:1001: more than 1000 documents");
}

static void what_is_written_reads_back(void)
{
	static const char *const texts[] = {
		"",	  "a",	   "null",     "~",	   "yes",     "No",	 "7e-6",  "1:30",
		"0x1f",	  "-1",	   "- a",      "a: b",	   "a #b",    "#a",	 "it's",  "\"q\"",
		" lead",  "trail ", "a\nb",    "a\nb\n",   "a\n\n\nb\n\n", "\n",  "a\n  b\n", " a\nb",
		"a\n \nb", "tab\there", "bell\a", "\u2028x", "雨",	      "[x]",	 "{y}",	  "a, b",
		"*a",	  "&a",	   "!a",       "%a",	   "@a",      "`a",	 "? a",	  "...",
		"---",	  "2001-12-14", ".5",  "+.inf",	   "=",	      "<<",	 "a:",	  "a\r\nb",
		"x\ny ",  "deadbeef", "1e5",   "\xc2\x85",   "-x",      "|",	 ">",	  "\xc2\xa0",
	};
	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);
	for (size_t i = 0; i < N(texts); i++) {
		struct mk_doc scalar = {
			.type = MK_DOC_SCALAR, .text = (char *)texts[i], .quoted = true};
		struct mk_doc *items[] = {&scalar, &scalar};
		struct mk_doc list = {.type = MK_DOC_LIST, .items = items, .n = 2};
		struct mk_doc *values[] = {&scalar, &list};
		struct mk_doc key = {.type = MK_DOC_SCALAR, .text = (char *)"k", .quoted = true};
		struct mk_doc *keys[] = {&scalar, &key};
		struct mk_doc map = {.type = MK_DOC_MAP, .items = values, .keys = keys, .n = 2};
		_cleanup_buf_ struct mk_buf yaml = MK_BUF(10000), want = MK_BUF(1000),
					    got = MK_BUF(1000);

		mk_yaml_node(&yaml, &map, 0);

		_cleanup_doc_ struct mk_doc *doc = parse(&call, mk_buf_text(&yaml));

		CHECK_TEXT(call.error.text, NULL);
		if (!doc) {
			printf("# %s\n", mk_buf_text(&yaml));
			continue;
		}
		/* Plain is fine where every reader takes it for a text. */
		CHECK_INT(doc->items[0]->type, MK_DOC_SCALAR);
		CHECK_TEXT(doc->items[0]->text, texts[i]);
		CHECK_TEXT(doc->keys[0]->text, texts[i]);
		CHECK_TEXT(doc->items[1]->items[0]->text, texts[i]);
		CHECK_TEXT(doc->items[1]->items[1]->text, texts[i]);
	}
}

static void blocks_keep_their_kind(void)
{
	static const char *const texts[] = {
		"a\nb\n",	   "a\n  b\n  c\nd\n", "a\n\nb",	     "a\n\n  b\n\nc\n", "a\n",
		"a\n  b\n\n\nc\n\n\n", "a\n\n\nb\nc\n\n", "a\n\tb\n\nc\n",
	};
	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);
	for (size_t i = 0; i < 2 * N(texts); i++) {
		struct mk_doc text = {.type = MK_DOC_SCALAR,
				      .text = (char *)texts[i / 2],
				      .quoted = true,
				      .style = i % 2 ? '>' : '|'};
		struct mk_doc *items[] = {&text, &text};
		struct mk_doc list = {.type = MK_DOC_LIST, .items = items, .n = 2};
		_cleanup_buf_ struct mk_buf yaml = MK_BUF(1000);

		mk_yaml_node(&yaml, &list, 0);

		_cleanup_doc_ struct mk_doc *doc = parse(&call, mk_buf_text(&yaml));

		CHECK_TEXT(call.error.text, NULL);
		NEED(doc && doc->n == 2);
		CHECK_TEXT(doc->items[0]->text, texts[i / 2]);
		CHECK_TEXT(doc->items[1]->text, texts[i / 2]);
		CHECK_INT(doc->items[0]->style, text.style);
	}
}

static void writing_is_for_readers(void)
{
	static const char in[] = "name: run\nlr: 7e-6\nq: '7e-6'\ncommand: |\n  a\n  b\nl: [x, {y: 1, z: "
				 "[]}, [1, 2]]\nn:\nm: {}\n";
	static const char out[] = "name: run\nlr: 7e-6\nq: '7e-6'\ncommand: |\n  a\n  b\nl:\n  - x\n  - y: "
				  "1\n    z: []\n  - - 1\n    - 2\nn: null\nm: {}\n";
	_cleanup_call_ struct mk_call call;
	_cleanup_buf_ struct mk_buf yaml = MK_BUF(1000);

	mk_call_init(&call);

	_cleanup_doc_ struct mk_doc *doc = parse(&call, in);

	NEED(doc);
	mk_yaml_node(&yaml, doc, 0);
	CHECK_TEXT(mk_buf_text(&yaml), out);
}

static void json_strings_are_json(void)
{
	_cleanup_buf_ struct mk_buf json = MK_BUF(1000);

	mk_json_string(&json, "a\"b\\c\n\x01\xff雨");
	CHECK_TEXT(mk_buf_text(&json), "\"a\\\"b\\\\c\\n\\u0001\\ufffd雨\"");
}

static void merging_replaces_merges_removes(void)
{
	static const struct {
		const char *base, *over, *result;
	} rows[] = {
		{"a: 1", "b: 2", "{a: 1, b: 2}"},
		{"a: 1", "a: [2]", "{a: [2]}"},
		{"a: [1, 2]", "a: [3]", "{a: [3]}"},
		{"a: 1\nb: 2", "a: null", "{b: 2}"},
		{"a: 1", "b: null", "{a: 1}"},
		{"a: {x: 1, y: 2}", "a: {y: 3, z: {n: null, k: 1}}",
		 "{a: {x: 1, y: 3, z: {k: 1}}}"},
		{"a: {x: 1}", "a: 5", "{a: 5}"},
		{"a: 5", "a: {x: 1}", "{a: {x: 1}}"},
		{"a: 1", "", "{a: 1}"},
		{"", "a: 1", "{a: 1}"},
	};
	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);
	for (size_t i = 0; i < N(rows); i++) {
		_cleanup_doc_ struct mk_doc *over = parse(&call, rows[i].over);
		_cleanup_doc_ struct mk_doc *base = parse(&call, rows[i].base);
		_cleanup_buf_ struct mk_buf got = MK_BUF(1000);

		base = mk_doc_merge(base, over);
		show(&got, base);
		CHECK_TEXT(mk_buf_text(&got), rows[i].result);
	}
}

/* What a hostile text may cost: refused within 100 ms and 16 MB. */
static void check_cost(const struct mk_buf *text, int code, const char *error)
{
	pid_t pid = fork();

	if (pid == 0) {
		struct mk_call call;
		struct mk_doc *doc = NULL;
		struct rusage before, after;

		mk_call_init(&call);
		getrusage(RUSAGE_SELF, &before);

		int r = mk_doc_parse(&call, "t", text->data, text->len, &doc);

		getrusage(RUSAGE_SELF, &after);

		/* CPU time: the machine may be busy. */
		double ms = (double)(after.ru_utime.tv_sec - before.ru_utime.tv_sec +
				     after.ru_stime.tv_sec - before.ru_stime.tv_sec) *
				    1e3 +
			    (double)(after.ru_utime.tv_usec - before.ru_utime.tv_usec +
				     after.ru_stime.tv_usec - before.ru_stime.tv_usec) /
				    1e3;
		long kib = after.ru_maxrss - before.ru_maxrss;
#ifdef __SANITIZE_ADDRESS__
		long most_kib = 64 << 10;
#else
		long most_kib = 16 << 10;
#endif
		bool ok = r == -code && call.error.text && strcmp(call.error.text, error) == 0 &&
			  ms < 100 && kib < most_kib;

		if (!ok)
			printf("# %d %s: %.1f ms, %ld KiB\n", r,
			       call.error.text ? call.error.text : "", ms, kib);
		fflush(stdout);
		_exit(!ok);
	}

	int status = -1;

	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK_INT(status, 0);
}

static void bombs_cost_nothing(void)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF(3 << 20);
	static const struct {
		const char *unit;
		int times;
		const char *error;
	} nests[] = {
		{"[", 10000, "t:1: nested deeper than 64"},
		{"{a: ", 10000, "t:1: nested deeper than 64"},
		{"- ", 10000, "t:1: nested deeper than 64"},
		{"? ", 10000, "t:1: a key must be a text, not a list or map"},
		{"[", 1 << 20, "t:1: nested deeper than 64"},
	};

	for (size_t i = 0; i < N(nests); i++) {
		mk_buf_truncate(&text, 0);
		for (int k = 0; k < nests[i].times; k++)
			(void)mk_buf_puts(&text, nests[i].unit);
		check_cost(&text, EINVAL, nests[i].error);
	}

	mk_buf_truncate(&text, 0);
	(void)mk_buf_puts(&text, "a: &a [x, x, x, x, x, x, x, x, x]\n");
	for (char c = 'b'; c < 'j'; c++)
		(void)mk_buf_printf(&text, "%c: &%c [*%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c]\n", c, c,
				    c - 1, c - 1, c - 1, c - 1, c - 1, c - 1, c - 1, c - 1);
	check_cost(&text, EINVAL, "t:2: *a repeats a list or map: write it out");

	mk_buf_truncate(&text, 0);
	(void)mk_buf_puts(&text, "a: &a ");
	for (int k = 0; k < 100000; k++)
		(void)mk_buf_putc(&text, 'x');
	(void)mk_buf_puts(&text, "\nb: [");
	for (int k = 0; k < 10000; k++)
		(void)mk_buf_puts(&text, "*a, ");
	(void)mk_buf_puts(&text, "]\n");
	check_cost(&text, EFBIG, "t:2: aliases repeat more than 1 MiB");

	mk_buf_truncate(&text, 0);
	for (int k = 0; k < 2 << 20; k++)
		(void)mk_buf_putc(&text, 'x');
	check_cost(&text, EFBIG, "t: 2097152 bytes, at most 1 MiB is taken");
}

static void many_values_have_a_limit(void)
{
	_cleanup_call_ struct mk_call call;
	_cleanup_buf_ struct mk_buf text = MK_BUF(1 << 20);
	struct mk_doc *doc = NULL;

	mk_call_init(&call);
	(void)mk_buf_puts(&text, "[");
	for (int k = 0; k < 100000; k++)
		(void)mk_buf_puts(&text, "1,");
	(void)mk_buf_puts(&text, "]");
	CHECK_INT(mk_doc_parse(&call, "t", text.data, text.len, &doc), -EFBIG);
	CHECK_TEXT(call.error.text, "t:1: more than 100000 values");
	mk_buf_truncate(&text, 0);
	for (int k = 0; k <= 10000; k++)
		(void)mk_buf_printf(&text, "k%d: 1\n", k);
	CHECK_INT(mk_doc_parse(&call, "t", text.data, text.len, &doc), -EFBIG);
	CHECK_TEXT(call.error.text, "t:10001: more than 10000 keys in a map");
}

static void scalars_say_how_they_were_written(void)
{
	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);

	_cleanup_doc_ struct mk_doc *doc =
		parse(&call, "- plain\n- 'a'\n- \"a\"\n- |\n  a\n- >\n  a\n- ~\n");
	_cleanup_doc_ struct mk_doc *copy = NULL;

	NEED(doc && doc->n == 6);
	copy = mk_doc_copy(doc);
	for (size_t i = 0; i < doc->n; i++) {
		CHECK_INT(doc->items[i]->style, "\0'\"|>\0"[i]);
		CHECK_INT(copy->items[i]->style, doc->items[i]->style);
	}
}

int main(void)
{
	return RUN(TEST(scalars_say_how_they_were_written),
		   TEST(texts_become_trees), TEST(bad_texts_are_refused_with_line_and_remedy),
		   TEST(getters_check_types_and_leftovers), TEST(nearest_is_near),
		   TEST(streams_keep_line_numbers), TEST(what_is_written_reads_back),
		   TEST(blocks_keep_their_kind), TEST(writing_is_for_readers), TEST(json_strings_are_json),
		   TEST(merging_replaces_merges_removes), TEST(bombs_cost_nothing),
		   TEST(many_values_have_a_limit));
}
