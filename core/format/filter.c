/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the words of a filter to its clauses, and from those of an order to its field.
 *
 * Nothing is nested: a clause is a field, an operator and a value, one behind the other. So this
 * goes through the words once, from left to right.
 */
#include "format/filter.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "format/filter_fields.h"
#include "format/filter_lex.h"
#include "format/filter_list.h"

enum { MAX_TEXT = 1 << 20 };

struct reader {
	struct mk_call *call;
	enum mk_searched of;
	const char *text;
	struct mk_tokens tokens;
	size_t at;
};

static void done(struct reader *r)
{
	mk_tokens_free(&r->tokens);
}

static const struct mk_token *peek(const struct reader *r, size_t ahead)
{
	return &r->tokens.v[r->at + ahead < r->tokens.n ? r->at + ahead : r->tokens.n];
}

static int too_short(int len)
{
	return len < 200 ? len : 200;
}

static int bad(struct reader *r, size_t token, const char *what)
{
	const struct mk_token *t = &r->tokens.v[token];

	if (t->is == LEX_END)
		return mk_fail(r->call, EINVAL, "Invalid clause(s) in filter string: %s at its end",
			       what);
	return mk_fail(r->call, EINVAL, "Invalid clause(s) in filter string: '%.*s': %s",
		       too_short((int)(t->end - t->begin)), r->text + t->begin, what);
}

/* The words from r->at that are one field: names with dots between. 0: none. */
static size_t chain(const struct reader *r)
{
	enum mk_lex is = peek(r, 0)->is;
	size_t n = 1;

	if (is != LEX_NAME && is != LEX_SYMBOL)
		return 0;
	while (peek(r, n)->is == LEX_DOT) {
		is = peek(r, ++n)->is;
		if (is == LEX_NAME || is == LEX_SYMBOL || is == LEX_STRING || is == LEX_STAR)
			n++;
		if (is == LEX_STRING || is == LEX_STAR)
			break;
	}
	return n;
}

/* --- values ---------------------------------------------------------------------------------- */

static int read_int(struct mk_call *call, const char *text, int64_t *ret)
{
	char *end;

	errno = 0;

	long long value = strtoll(text, &end, 10);

	while (isspace((unsigned char)*end))
		end++;
	if (end == text || *end || errno)
		return mk_fail(call, EINVAL, "Invalid value for numeric attribute: '%.200s'", text);
	*ret = value;
	return 0;
}

/* A number as its own word: of metrics and times. */
static int number_value(struct reader *r, const struct mk_attribute *a, size_t begin, size_t n,
			struct mk_filter_clause *c)
{
	const struct mk_token *t = &r->tokens.v[begin];
	_cleanup_free_ char *text = mk_strndup(r->text + t->begin, t->end - t->begin);
	char *end;

	if (r->of == MK_SEARCH_LOGGED && n == 1 && t->is == LEX_NAME && !strpbrk(text, "`[x")) {
		/* Python's float() takes a few words, too. */
		c->is = MK_VALUE_REAL;
		c->real = strtod(text, &end);
		if (*end == '\0' && end != text)
			return 0;
	}
	if (n != 1 || (t->is != LEX_INT && t->is != LEX_FLOAT))
		return mk_fail(r->call, EINVAL, "Expected numeric value type for %s. Found %.200s",
			       a ? a->name : "metric", text);
	if (!a || (t->is == LEX_FLOAT && r->of != MK_SEARCH_EXPERIMENTS &&
		   r->of != MK_SEARCH_VERSIONS) || r->of == MK_SEARCH_LOGGED) {
		c->is = MK_VALUE_REAL;
		c->real = strtod(text, &end);
		return 0;
	}
	c->is = MK_VALUE_INT;
	return read_int(r->call, text, &c->integer);
}

static int list_value(struct reader *r, size_t begin, size_t n, struct mk_filter_clause *c)
{
	const struct mk_token *v = &r->tokens.v[begin];

	if (c->op != MK_OP_IN && c->op != MK_OP_NOT_IN)
		return bad(r, begin, "a list goes with IN or NOT IN");
	c->is = MK_VALUE_LIST;
	return mk_filter_list(r->call, r->text + v->begin, v[n - 1].end - v->begin, &c->list);
}

static int text_value(struct reader *r, const struct mk_attribute *a, size_t begin, size_t n,
		      struct mk_filter_clause *c)
{
	const struct mk_token *v = &r->tokens.v[begin];
	const char *s = r->text + v->begin;
	size_t len = v[n - 1].end - v->begin;
	bool single = mk_is_quoted(s, len, '\'');

	c->is = MK_VALUE_TEXT;
	if (r->of == MK_SEARCH_LOGGED) {
		/* Without any quotes, or with more of them: as Python's strip("'"). */
		while (len && s[0] == '\'')
			s++, len--;
		while (len && s[len - 1] == '\'')
			len--;
		c->text = mk_strndup(s, len);
		return 0;
	}
	if (!single && !mk_is_quoted(s, len, '"'))
		return mk_fail(r->call, EINVAL,
			       "Expected a quoted string value for '%s' (e.g. 'my-value'). Got value"
			       " %.*s", c->field.key, too_short((int)len), s);
	c->text = mk_strndup(s + 1, len - 2);
	/* Ids and numbers of versions are written as texts, too. */
	if (!a || !(a->number || (r->of == MK_SEARCH_EXPERIMENTS && a->list)))
		return 0;
	if (a->number && r->of != MK_SEARCH_VERSIONS)
		return mk_fail(r->call, EINVAL,
			       "Expected numeric value type for numeric attribute: %s. Found %.*s",
			       a->name, too_short((int)len), s);
	c->is = MK_VALUE_INT;
	return read_int(r->call, c->text, &c->integer);
}

static int experiment_list(struct mk_call *call, const struct mk_list *list)
{
	for (size_t i = 0; i < list->n; i++) {
		int64_t id;
		int r = read_int(call, list->v[i], &id);

		if (r < 0)
			return r;
	}
	return 0;
}

/* The n words from `begin` are the value of a clause whose field and operator are known. */
static int read_value(struct reader *r, const struct mk_attribute *a, size_t begin, size_t n,
		      struct mk_filter_clause *c)
{
	enum mk_lex is = r->tokens.v[begin].is;
	bool number = c->field.kind == MK_FIELD_METRIC ||
		      (a && a->number && (r->of != MK_SEARCH_VERSIONS || is == LEX_INT ||
					  is == LEX_FLOAT));

	if (is == LEX_OPEN) {
		int q = list_value(r, begin, n, c);

		c->numbers = r->of == MK_SEARCH_EXPERIMENTS;
		return q == 0 && c->numbers ? experiment_list(r->call, &c->list) : q;
	}
	return number ? number_value(r, a, begin, n, c) : text_value(r, a, begin, n, c);
}

/* --- clauses --------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	enum mk_filter_op op;
} operators[] = {
	{"=", MK_OP_EQ},	 {"!=", MK_OP_NE}, {"<", MK_OP_LT},	    {"<=", MK_OP_LE},
	{">", MK_OP_GT},	 {">=", MK_OP_GE}, {"LIKE", MK_OP_LIKE},    {"ILIKE", MK_OP_ILIKE},
};

/* Words of experiments are upper case. */
static int read_operator(struct reader *r, enum mk_filter_op *ret)
{
	const struct mk_token *t = peek(r, 0);
	const char *s = r->text + t->begin;
	size_t len = t->end - t->begin;

	for (size_t i = 0; i < sizeof(operators) / sizeof(operators[0]); i++) {
		const char *name = operators[i].name;
		bool same = r->of == MK_SEARCH_EXPERIMENTS ? strncmp(s, name, len) == 0
							   : strncasecmp(s, name, len) == 0;

		if (same && strlen(name) == len) {
			*ret = operators[i].op;
			return 0;
		}
	}
	return bad(r, r->at, "no operator of filters");
}

/* How many words the value at r->at has, 0: there is none. */
static size_t value_length(const struct reader *r)
{
	enum mk_lex is = peek(r, 0)->is;

	if (is == LEX_STRING || is == LEX_INT || is == LEX_FLOAT)
		return 1;
	if (is != LEX_OPEN)
		return chain(r);

	size_t depth = 0, n = 0;

	do {
		is = peek(r, n++)->is;
		depth += is == LEX_OPEN;
		depth -= is == LEX_CLOSE;
	} while (depth && is != LEX_END);
	return depth ? 0 : n;
}

/* Words behind a field: what they say, and where its value begins. */
static int read_words(struct reader *r, enum mk_filter_op *ret)
{
	enum mk_lex one = peek(r, 0)->is, two = peek(r, 1)->is, three = peek(r, 2)->is;

	if (one == LEX_COMPARE) {
		int q = read_operator(r, ret);

		r->at++;
		return q;
	}
	if (one == LEX_IN && two == LEX_OPEN) {
		/* Experiments know it in upper case only. */
		if (r->of == MK_SEARCH_EXPERIMENTS &&
		    strncmp(r->text + peek(r, 0)->begin, "IN", 2) != 0)
			return bad(r, r->at, "no operator of filters");
		*ret = MK_OP_IN;
		r->at++;
		return 0;
	}
	if (one == LEX_NOT && two == LEX_IN && three == LEX_OPEN) {
		*ret = MK_OP_NOT_IN;
		r->at += 2;
		return 0;
	}
	if (one == LEX_IS && (two == LEX_NULL || two == LEX_NOT_NULL)) {
		const struct mk_token *t = peek(r, 1);

		/* NOT NULL with one blank between. */
		if (two == LEX_NOT_NULL && t->end - t->begin != 8)
			return bad(r, r->at + 1, "write IS NOT NULL");
		*ret = two == LEX_NULL ? MK_OP_NULL : MK_OP_NOT_NULL;
		r->at += 2;
		return 0;
	}
	return bad(r, r->at, "expected a comparison");
}

static void clause_done(struct mk_filter_clause *c)
{
	free(c->field.key);
	free(c->text);
	mk_list_free(&c->list);
	*c = (struct mk_filter_clause){};
}

/* joined: there was AND before it, or nothing. */
static int read_clause(struct reader *r, bool joined, struct mk_filter_clause *ret)
{
	_cleanup_(clause_done) struct mk_filter_clause c = {};
	size_t begin = r->at, n = chain(r);

	if (n == 0)
		return bad(r, r->at, "expected a comparison such as metrics.loss < 0.1, or AND");
	r->at += n;

	bool word = peek(r, 0)->is != LEX_COMPARE;
	int q = read_words(r, &c.op);

	if (q < 0)
		return q;
	if (word && !joined)
		return bad(r, begin, "AND is missing before it");

	const struct mk_attribute *a;
	const struct mk_token *v = &r->tokens.v[begin];

	q = mk_field_read(r->call, r->of, r->text + v->begin, v[n - 1].end - v->begin, false,
			  &c.field, &a);
	if (q < 0)
		return q;
	if (!mk_field_has(r->of, &c.field, a, c.op))
		return bad(r, begin, "cannot be compared with this operator");
	if (c.op != MK_OP_NULL && c.op != MK_OP_NOT_NULL) {
		n = value_length(r);
		if (n == 0)
			return bad(r, r->at, "expected a value: a number, or a text in quotes");
		q = read_value(r, a, r->at, n, &c);
		if (q < 0)
			return q;
		r->at += n;
	}
	*ret = c;
	c = (struct mk_filter_clause){};
	return 0;
}

static int begin_reader(struct mk_call *call, enum mk_searched of, const char *text,
			struct reader *ret)
{
	size_t len = strlen(text);

	if (len > MAX_TEXT)
		return mk_fail(call, EINVAL, "Invalid filter: longer than %d bytes", MAX_TEXT);
	*ret = (struct reader){.call = call, .of = of, .text = text};

	int r = mk_filter_lex(text, len, &ret->tokens);

	return r < 0 ? mk_fail(call, -r, "a filter of %zu bytes: out of memory", len) : 0;
}

int mk_filter_parse(struct mk_call *call, enum mk_searched of, const char *text,
		    struct mk_filter *ret)
{
	_cleanup_(mk_filter_free) struct mk_filter filter = {};
	_cleanup_(done) struct reader r = {};

	if (!text || !text[0]) {
		*ret = filter;
		return 0;
	}

	int q = begin_reader(call, of, text, &r);

	if (q < 0)
		return q;
	if (r.tokens.n == 0)
		return mk_fail(call, EINVAL, "Invalid filter '%.200s'. Could not be parsed.", text);

	bool joined = true;

	while (r.at < r.tokens.n) {
		if (peek(&r, 0)->is == LEX_AND) {
			joined = true;
			r.at++;
			continue;
		}
		if (filter.n == MK_FILTER_CLAUSES)
			return mk_fail(call, EINVAL, "Invalid filter: more than %d comparisons",
				       MK_FILTER_CLAUSES);
		if (!filter.v)
			filter.v = mk_alloc(MK_FILTER_CLAUSES * sizeof(filter.v[0]));
		q = read_clause(&r, joined, &filter.v[filter.n]);
		if (q < 0)
			return q;

		enum mk_filter_op op = filter.v[filter.n++].op;

		/* Behind IS NULL nothing can be taken for something else. */
		joined = op == MK_OP_NULL || op == MK_OP_NOT_NULL;
	}
	*ret = filter;
	filter = (struct mk_filter){};
	return 0;
}

void mk_filter_free(struct mk_filter *filter)
{
	for (size_t i = 0; i < filter->n; i++)
		clause_done(&filter->v[i]);
	free(filter->v);
	*filter = (struct mk_filter){};
}

/* --- orders ---------------------------------------------------------------------------------- */

static int bad_order(struct mk_call *call, const char *text)
{
	return mk_fail(call, EINVAL, "Invalid order_by clause '%.200s'. Could not be parsed.", text);
}

/*
 * With ASC or DESC behind it a field is read as a shell reads a word: quotes of any kind are taken
 * off, wherever they stand. *ret_end: where it ended in text.
 */
static int unshell(const char *text, size_t len, struct mk_buf *ret, size_t *ret_end)
{
	char quote = 0;
	size_t i = 0;

	for (; i < len && (quote || !strchr(" \t\r\n", text[i])); i++) {
		char c = text[i] == '`' ? '"' : text[i];

		if (quote ? c == quote : c == '\'' || c == '"') {
			quote = quote ? 0 : c;
			continue;
		}
		if (c == '\\' && quote != '\'') {
			char next = i + 1 < len ? text[i + 1] == '`' ? '"' : text[i + 1] : 0;

			if (!next)
				return -EINVAL;
			if (!quote || next == quote || next == '\\') {
				c = next;
				i++;
			}
		}
		(void)mk_buf_putc(ret, c);
	}
	*ret_end = i;
	return quote ? -EINVAL : mk_buf_check(ret);
}

/* The field without direction: still as it stands in the text, quotes and all. */
static int whole_field(struct mk_call *call, const char *text, struct mk_buf *field)
{
	size_t end;

	if (unshell(text, strlen(text), field, &end) < 0 || text[end])
		return bad_order(call, text);
	mk_buf_truncate(field, 0);
	return mk_buf_puts(field, text);
}

int mk_order_parse(struct mk_call *call, enum mk_searched of, const char *text,
		   struct mk_order *ret)
{
	_cleanup_buf_ struct mk_buf field = MK_BUF(MAX_TEXT);
	_cleanup_(done) struct reader r = {};
	int q = begin_reader(call, of, text, &r);

	if (q < 0)
		return q;

	size_t n = chain(&r), len = strlen(text);
	bool direction = peek(&r, n)->is == LEX_ORDER;

	if (n == 0 || n + direction != r.tokens.n || r.tokens.v[0].begin != 0 ||
	    r.tokens.v[r.tokens.n - 1].end != len)
		return bad_order(call, text);

	struct mk_order order = {};

	if (direction) {
		size_t end;
		const struct mk_token *t = peek(&r, n);

		/* Right behind a quote it would be part of the field. */
		if (unshell(text, t->begin, &field, &end) < 0 || end == t->begin)
			return bad_order(call, text);
		while (end < t->begin && isspace((unsigned char)text[end]))
			end++;
		order.descending = strncasecmp(text + t->begin, "desc", 4) == 0;
		if (end != t->begin || t->end - t->begin != (order.descending ? 4 : 3))
			return bad_order(call, text);
	} else {
		q = whole_field(call, text, &field);
		if (q < 0)
			return q;
	}

	const struct mk_attribute *a;

	q = mk_field_read(call, of, mk_buf_text(&field), field.len, true, &order.field, &a);
	if (q < 0)
		return q;
	if (order.field.kind == MK_FIELD_DATASET ||
	    (of != MK_SEARCH_RUNS && order.field.kind != MK_FIELD_ATTRIBUTE)) {
		mk_order_free(&order);
		return mk_fail(call, EINVAL, "Invalid order_by entity in '%.200s'", text);
	}
	*ret = order;
	return 0;
}

void mk_order_free(struct mk_order *order)
{
	free(order->field.key);
	*order = (struct mk_order){};
}

int mk_order_logged(struct mk_call *call, const char *name, struct mk_field *ret)
{
	if (strncmp(name, "metrics.", 8) == 0) {
		*ret = (struct mk_field){MK_FIELD_METRIC, mk_strdup(name + 8)};
		return 0;
	}
	if (strchr(name, '.'))
		return mk_fail(call, EINVAL, "Invalid order by field name: %.200s. Only metrics are"
			       " supported.", name);
	for (const struct mk_attribute *a = mk_attributes[MK_SEARCH_LOGGED]; a->name; a++)
		if (strcmp(a->name, name) == 0) {
			*ret = (struct mk_field){MK_FIELD_ATTRIBUTE,
						 mk_strdup(a->as ? a->as : a->name)};
			return 0;
		}
	return mk_fail(call, EINVAL, "Invalid order by field name: %.200s", name);
}
