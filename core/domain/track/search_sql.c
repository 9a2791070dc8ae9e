/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The statement of a search. Parameters are numbered as they come, so its parts may be written in
 * any order; lists go in as one text of JSON, so that a thousand ids are one parameter.
 */
#include "domain/track/search_sql.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	MAX_SQL = 1 << 20,
	MAX_LIST = 4 << 20,
	MAX_PATTERN = 16000, /* SQLite refuses patterns of 50 000 bytes; ours grow up to three times */
};

void mk_query_free(struct mk_query *query)
{
	mk_buf_free(&query->joins);
	mk_buf_free(&query->where);
	mk_buf_free(&query->order);
	free(query->binds);
	mk_list_free(&query->own);
}

static size_t add(struct mk_query *query, struct mk_query_bind bind)
{
	struct mk_query_bind *v =
		reallocarray(query->binds, query->n_binds + 1, sizeof(*query->binds));

	if (!v)
		abort(); /* a few for each comparison */
	query->binds = v;
	v[query->n_binds++] = bind;
	return query->n_binds;
}

size_t mk_query_int(struct mk_query *query, int64_t value)
{
	return add(query, (struct mk_query_bind){.is = BIND_INT, .integer = value});
}

size_t mk_query_real(struct mk_query *query, double value)
{
	return add(query, (struct mk_query_bind){.is = BIND_REAL, .real = value});
}

size_t mk_query_text(struct mk_query *query, const char *text)
{
	return add(query, (struct mk_query_bind){.is = BIND_TEXT, .text = text});
}

int mk_query_own(struct mk_query *query, const char *text, size_t *ret)
{
	int r = mk_list_add(&query->own, text);

	if (r < 0)
		return mk_fail(query->call, -r, "the search is too long");
	*ret = mk_query_text(query, query->own.v[query->own.n - 1]);
	return 0;
}

static void put_json(struct mk_buf *out, const char *text)
{
	(void)mk_buf_putc(out, '"');
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c < 0x20)
			(void)mk_buf_printf(out, "\\u%04x", c);
		else if (c == '"' || c == '\\')
			(void)mk_buf_printf(out, "\\%c", c);
		else
			(void)mk_buf_putc(out, (char)c);
	}
	(void)mk_buf_putc(out, '"');
}

static int own_json(struct mk_query *query, struct mk_buf *json, size_t *ret)
{
	(void)mk_buf_putc(json, ']');

	int r = mk_buf_check(json);

	if (r < 0)
		return mk_fail(query->call, EINVAL, "Invalid search: a list of more than %d MiB",
			       MAX_LIST >> 20);
	return mk_query_own(query, mk_buf_text(json), ret);
}

int mk_query_texts(struct mk_query *query, const struct mk_list *list, size_t *ret)
{
	_cleanup_buf_ struct mk_buf json = MK_BUF(MAX_LIST);

	(void)mk_buf_putc(&json, '[');
	for (size_t i = 0; i < list->n; i++) {
		if (i)
			(void)mk_buf_putc(&json, ',');
		put_json(&json, list->v[i]);
	}
	return own_json(query, &json, ret);
}

int mk_query_ints(struct mk_query *query, const int64_t *v, size_t n, size_t *ret)
{
	_cleanup_buf_ struct mk_buf json = MK_BUF(MAX_LIST);

	(void)mk_buf_putc(&json, '[');
	for (size_t i = 0; i < n; i++)
		(void)mk_buf_printf(&json, "%s%lld", i ? "," : "", (long long)v[i]);
	return own_json(query, &json, ret);
}

/*
 * LIKE of SQLite does not tell the case of ASCII letters apart: that is ILIKE. LIKE is GLOB with
 * the pattern written for it.
 */
static int glob_pattern(struct mk_query *query, const char *like, size_t *ret)
{
	_cleanup_buf_ struct mk_buf glob = MK_BUF(3 * MAX_PATTERN + 1);

	for (; *like; like++) {
		if (*like == '%')
			(void)mk_buf_putc(&glob, '*');
		else if (*like == '_')
			(void)mk_buf_putc(&glob, '?');
		else if (strchr("*?[", *like))
			(void)mk_buf_printf(&glob, "[%c]", *like);
		else
			(void)mk_buf_putc(&glob, *like);
	}
	return mk_query_own(query, mk_buf_text(&glob), ret);
}

static int bind_value(struct mk_query *query, const struct mk_filter_clause *c, size_t *ret)
{
	switch (c->is) {
	case MK_VALUE_INT:
		*ret = mk_query_int(query, c->integer);
		return 0;
	case MK_VALUE_REAL:
		*ret = mk_query_real(query, c->real);
		return 0;
	case MK_VALUE_LIST:
		return mk_query_texts(query, &c->list, ret);
	default:
		if (c->op != MK_OP_LIKE && c->op != MK_OP_ILIKE) {
			*ret = mk_query_text(query, c->text);
			return 0;
		}
		if (strlen(c->text) > MAX_PATTERN)
			return mk_fail(query->call, EINVAL, "Invalid pattern: longer than %d bytes",
				       MAX_PATTERN);
		if (c->op == MK_OP_LIKE)
			return glob_pattern(query, c->text, ret);
		*ret = mk_query_text(query, c->text);
		return 0;
	}
}

int mk_query_compare(struct mk_query *query, const char *expr,
		     const struct mk_filter_clause *clause)
{
	static const char *const formats[] = {
		[MK_OP_EQ] = "%s = ?%zu",
		[MK_OP_NE] = "%s != ?%zu",
		[MK_OP_LT] = "%s < ?%zu",
		[MK_OP_LE] = "%s <= ?%zu",
		[MK_OP_GT] = "%s > ?%zu",
		[MK_OP_GE] = "%s >= ?%zu",
		[MK_OP_LIKE] = "%s GLOB ?%zu",
		[MK_OP_ILIKE] = "%s LIKE ?%zu",
		[MK_OP_IN] = "%s IN (SELECT value FROM json_each(?%zu))",
		[MK_OP_NOT_IN] = "%s NOT IN (SELECT value FROM json_each(?%zu))",
	};
	static const char *const numbers[] = {
		[MK_OP_IN] = "%s IN (SELECT value + 0 FROM json_each(?%zu))",
		[MK_OP_NOT_IN] = "%s NOT IN (SELECT value + 0 FROM json_each(?%zu))",
	};
	size_t n;
	int r = bind_value(query, clause, &n);

	if (r < 0)
		return r;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	(void)mk_buf_printf(&query->where, (clause->numbers ? numbers : formats)[clause->op], expr,
			    n);
#pragma GCC diagnostic pop
	return 0;
}

void mk_query_exists(struct mk_query *query, const char *table, const char *key)
{
	size_t n = mk_query_text(query, key);

	(void)mk_buf_puts(&query->where, "EXISTS (SELECT 1 FROM ");
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	(void)mk_buf_printf(&query->where, table, n);
#pragma GCC diagnostic pop
}

void mk_query_order(struct mk_query *query, const char *expr, bool descending)
{
	(void)mk_buf_printf(&query->order, "%s%s IS NULL, %s%s", query->order.len ? ", " : "", expr,
			    expr, descending ? " DESC" : "");
}

static void bind_all(const struct mk_query *query, struct mk_stmt *stmt)
{
	for (size_t i = 0; i < query->n_binds; i++) {
		const struct mk_query_bind *b = &query->binds[i];

		if (b->is == BIND_INT)
			mk_bind_int(stmt, (int)i + 1, b->integer);
		else if (b->is == BIND_REAL)
			mk_bind_double(stmt, (int)i + 1, b->real);
		else
			mk_bind_text(stmt, (int)i + 1, b->text);
	}
}

static int collect(struct mk_call *call, struct mk_stmt *stmt, int64_t limit, struct mk_found *ret)
{
	size_t cap = 0;
	int r;

	while ((r = mk_step(call, stmt)) > 0) {
		if (ret->n == (size_t)limit) {
			ret->more = true;
			return 0;
		}
		if (ret->n == cap) {
			int64_t *v = reallocarray(ret->ids, cap = cap ? 2 * cap : 64, sizeof(*v));

			if (!v)
				return mk_fail(call, ENOMEM, "a page of the search: out of memory");
			ret->ids = v;
		}
		ret->ids[ret->n++] = mk_col_int(stmt, 0);
	}
	return r;
}

int mk_query_run(struct mk_query *query, struct mantik *m, const char *id, const char *from,
		 struct mk_found *ret)
{
	_cleanup_(mk_found_free) struct mk_found found = {};
	_cleanup_buf_ struct mk_buf sql = MK_BUF(MAX_SQL);
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	struct mk_conn *conn;
	/* One more than asked for tells whether there is a next page. */
	size_t limit = mk_query_int(query, query->search->limit + 1);
	size_t offset = mk_query_int(query, query->search->offset);

	(void)mk_buf_printf(&sql, "SELECT %s FROM %s%s WHERE %s ORDER BY %s LIMIT ?%zu OFFSET ?%zu",
			    id, from, mk_buf_text(&query->joins), mk_buf_text(&query->where),
			    mk_buf_text(&query->order), limit, offset);

	int r = mk_buf_check(&sql);

	if (r == 0)
		r = mk_buf_check(&query->joins);
	if (r == 0)
		r = mk_buf_check(&query->where);
	if (r == 0)
		r = mk_buf_check(&query->order);
	if (r < 0)
		return mk_fail(query->call, EINVAL, "Invalid search: too long");
	r = mk_db_reader(query->call, m->db, &conn);
	if (r == 0)
		r = mk_prepare_once(query->call, conn, mk_buf_text(&sql), &stmt);
	if (r < 0)
		return r;
	bind_all(query, stmt);
	r = collect(query->call, stmt, query->search->limit, &found);
	if (r < 0)
		return r;
	*ret = found;
	found = (struct mk_found){};
	return 0;
}

void mk_found_free(struct mk_found *found)
{
	free(found->ids);
	*found = (struct mk_found){};
}
