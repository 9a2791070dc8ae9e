/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the fields of a search are in our tables: one row of `places` for each thing that can be
 * searched, with a table of its attributes. The statement is put together from those texts.
 */
#include "domain/search.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/options.h"
#include "domain/search_sql.h"
#include "domain/track.h"

enum {
	MAX_PART = 1 << 18,
	MAX_ORDERS = 24, /* two terms each: an ORDER BY of 64 terms crashes SQLite 3.40 */
};

struct column {
	const char *name;
	const char *sql;
};

struct place {
	const char *id;
	const char *from;
	const char *where;
	const struct column *columns;
	/* Tables of keys and values: FROM … WHERE …; `%zu` is the key. NULL: it has none. */
	const char *params, *tags;
	const char *last; /* what decides in the end */
};

static const struct column run_columns[] = {
	{"run_id", "r.uid"},
	{"run_name", "r.name"},
	{"status", "CASE r.status WHEN 0 THEN 'SCHEDULED' WHEN 1 THEN 'RUNNING'"
		   " WHEN 2 THEN 'FINISHED' WHEN 4 THEN 'KILLED' ELSE 'FAILED' END"},
	{"user_id", "r.user"},
	{"artifact_uri", MK_SQL_RUN_ARTIFACTS},
	{"start_time", MK_SQL_RUN_START},
	{"end_time", "(nullif(r.ended, 0) / 1000000)"},
	{},
};

/* ?1: the project whose experiments have plain names; ?2: the row of experiment 0. */
static const struct column experiment_columns[] = {
	{"name", "CASE WHEN e.project_id = ?1 THEN e.name ELSE p.name || '/' || e.name END"},
	{"experiment_id", "CASE e.id WHEN ?2 THEN 0 ELSE e.id END"},
	{"creation_time", "(e.created / 1000000)"},
	{"last_update_time", "(max(e.remote_updated, e.created) / 1000000)"},
	{},
};

static const struct place places[] = {
	[MK_SEARCH_RUNS] = {
		.id = "r.id",
		.from = "runs r",
		.where = "r.remote_id IS NULL",
		.columns = run_columns,
		.params = "params x WHERE x.run_id = r.id AND x.key = ?%zu",
		.tags = "tags x WHERE x.run_id = r.id AND x.key = ?%zu",
		.last = "r.uid",
	},
	[MK_SEARCH_EXPERIMENTS] = {
		.id = "e.id",
		.from = "experiments e JOIN projects p ON p.id = e.project_id",
		.where = "p.connection IS NULL AND e.remote_id IS NULL",
		.columns = experiment_columns,
		.tags = "experiment_tags x WHERE x.experiment_id = e.id AND x.key = ?%zu",
	},
};

static const char *column_of(const struct place *place, const char *name)
{
	const struct column *c = place->columns;

	while (c->name && strcmp(c->name, name) != 0)
		c++;
	return c->sql;
}

static int unknown(struct mk_query *q, const struct mk_field *field)
{
	return mk_fail(q->call, EINVAL, "Invalid attribute key '%s' specified", field->key);
}

/* --- filters --------------------------------------------------------------------------------- */

/* EXISTS (SELECT 1 FROM <table> …): the caller goes on with AND, or closes it. */
static void open_exists(struct mk_query *q, const char *table, const char *key)
{
	size_t n = mk_query_text(q, key);

	(void)mk_buf_puts(&q->where, "EXISTS (SELECT 1 FROM ");
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	(void)mk_buf_printf(&q->where, table, n);
#pragma GCC diagnostic pop
}

static int put_key(struct mk_query *q, const char *table, const struct mk_filter_clause *c)
{
	int r = 0;

	if (c->op == MK_OP_NULL)
		(void)mk_buf_puts(&q->where, "NOT ");
	open_exists(q, table, c->field.key);
	if (c->op != MK_OP_NULL && c->op != MK_OP_NOT_NULL) {
		(void)mk_buf_puts(&q->where, " AND ");
		r = mk_query_compare(q, "x.value", c);
	}
	(void)mk_buf_puts(&q->where, ")");
	return r;
}

/* NaN is NULL here, and different from every number. */
static int put_metric(struct mk_query *q, const struct mk_filter_clause *c)
{
	open_exists(q, "metrics x WHERE x.run_id = r.id AND x.key = ?%zu", c->field.key);
	(void)mk_buf_puts(&q->where, c->op == MK_OP_NE ? " AND (x.last_value IS NULL OR " : " AND (");

	int r = mk_query_compare(q, "x.last_value", c);

	(void)mk_buf_puts(&q->where, "))");
	return r;
}

static int put_dataset(struct mk_query *q, const struct mk_filter_clause *c)
{
	bool context = strcmp(c->field.key, "context") == 0;
	const char *column = context				      ? "x.context"
			     : strcmp(c->field.key, "name") == 0 ? "x.name"
								     : "x.digest";

	(void)mk_buf_printf(&q->where,
			    "EXISTS (SELECT 1 FROM run_datasets x WHERE x.run_id = r.id AND %s",
			    context ? "x.context != '' AND " : "");

	int r = mk_query_compare(q, column, c);

	(void)mk_buf_puts(&q->where, ")");
	return r;
}

static int put_clause(struct mk_query *q, const struct place *place,
		      const struct mk_filter_clause *c)
{
	const char *column;

	(void)mk_buf_puts(&q->where, " AND ");
	switch (c->field.kind) {
	case MK_FIELD_ATTRIBUTE:
		column = column_of(place, c->field.key);
		return column ? mk_query_compare(q, column, c) : unknown(q, &c->field);
	case MK_FIELD_METRIC:
		return put_metric(q, c);
	case MK_FIELD_PARAM:
		return put_key(q, place->params, c);
	case MK_FIELD_TAG:
		return put_key(q, place->tags, c);
	case MK_FIELD_DATASET:
		return put_dataset(q, c);
	}
	return unknown(q, &c->field);
}

static void put_view(struct mk_query *q, const char *deleted)
{
	if (q->search->view != MK_VIEW_ALL)
		(void)mk_buf_printf(&q->where, " AND %s %s 0", deleted,
				    q->search->view == MK_VIEW_ACTIVE ? "=" : ">");
}

static int put_experiments(struct mk_query *q, const char *column)
{
	size_t n;
	int r = mk_query_ints(q, q->search->experiments, q->search->n_experiments, &n);

	if (r == 0)
		(void)mk_buf_printf(&q->where, " AND %s IN (SELECT value FROM json_each(?%zu))",
				    column, n);
	return r;
}

/* --- orders ---------------------------------------------------------------------------------- */

/* Those without come last, whatever the direction. */
static void put_order(struct mk_query *q, const char *expr, bool descending)
{
	(void)mk_buf_printf(&q->order, "%s%s IS NULL, %s%s", q->order.len ? ", " : "", expr, expr,
			    descending ? " DESC" : "");
}

static int put_joined(struct mk_query *q, const char *table, size_t i, const struct mk_order *o)
{
	size_t key = 0;
	int r = mk_query_own(q, o->field.key, &key);

	(void)mk_buf_printf(&q->joins, " LEFT JOIN %s o%zu ON o%zu.run_id = r.id AND o%zu.key = ?%zu",
			    table, i, i, i, key);
	return r;
}

static int put_field(struct mk_query *q, const struct place *place, size_t i,
		     const struct mk_order *o)
{
	char expr[48];
	const char *column;
	int r;

	switch (o->field.kind) {
	case MK_FIELD_METRIC:
		r = put_joined(q, "metrics", i, o);
		/* First numbers, then NaN, then runs without. */
		(void)mk_buf_printf(&q->order,
				    "%sCASE WHEN o%zu.key IS NULL THEN 2 ELSE o%zu.last_value IS NULL"
				    " END, o%zu.last_value%s",
				    q->order.len ? ", " : "", i, i, i,
				    o->descending ? " DESC" : "");
		return r;
	case MK_FIELD_PARAM:
	case MK_FIELD_TAG:
		r = put_joined(q, o->field.kind == MK_FIELD_TAG ? "tags" : "params", i, o);
		(void)snprintf(expr, sizeof(expr), "o%zu.value", i);
		put_order(q, expr, o->descending);
		return r;
	default:
		column = column_of(place, o->field.key);
		if (!column)
			return unknown(q, &o->field);
		put_order(q, column, o->descending);
		return 0;
	}
}

struct orders {
	struct mk_order v[MAX_ORDERS];
	size_t n;
};

static void free_orders(struct orders *orders)
{
	for (size_t i = 0; i < orders->n; i++)
		mk_order_free(&orders->v[i]);
}

static bool has(const struct orders *orders, enum mk_field_kind kind, const char *key)
{
	for (size_t i = 0; i < orders->n; i++)
		if (orders->v[i].field.kind == kind && strcmp(orders->v[i].field.key, key) == 0)
			return true;
	return false;
}

static int parse_orders(struct mk_query *q, struct orders *ret)
{
	const struct mk_search *s = q->search;

	for (size_t i = 0; i < s->order_by.n; i++) {
		struct mk_order order;
		int r = mk_order_parse(q->call, s->of, s->order_by.v[i], &order);

		if (r < 0)
			return r;

		bool twice = s->of != MK_SEARCH_EXPERIMENTS &&
			     has(ret, order.field.kind, order.field.key);

		if (!twice && ret->n < MAX_ORDERS) {
			ret->v[ret->n++] = order;
			continue;
		}
		mk_order_free(&order);
		return mk_fail(q->call, EINVAL,
			       twice ? "`order_by` contains duplicate fields: %s"
				     : "`order_by` has too many fields: %s", s->order_by.v[i]);
	}
	return 0;
}

static int put_orders(struct mk_query *q, const struct place *place)
{
	_cleanup_(free_orders) struct orders orders = {};
	int r = parse_orders(q, &orders);

	for (size_t i = 0; r == 0 && i < orders.n; i++)
		r = put_field(q, place, i, &orders.v[i]);
	if (r < 0)
		return r;

	const char *comma = q->order.len ? ", " : "";

	switch (q->search->of) {
	case MK_SEARCH_RUNS:
		if (!has(&orders, MK_FIELD_ATTRIBUTE, "start_time")) {
			(void)mk_buf_printf(&q->order, "%s" MK_SQL_RUN_START " DESC", comma);
			comma = ", ";
		}
		(void)mk_buf_printf(&q->order, "%s%s", comma, place->last);
		break;
	case MK_SEARCH_EXPERIMENTS:
		if (!orders.n)
			(void)mk_buf_printf(&q->order, "%s DESC, %s",
					    column_of(place, "creation_time"),
					    column_of(place, "experiment_id"));
		else
			(void)mk_buf_printf(&q->order, "%s%s DESC", comma,
					    column_of(place, "experiment_id"));
		break;
	default:
		break;
	}
	return 0;
}

/* --- the whole ------------------------------------------------------------------------------- */

/* The project whose experiments have plain names; 0: it is not there. */
static int plain_project(struct mk_call *call, struct mantik *m, int64_t scope, int64_t *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r;

	*ret = scope;
	if (scope)
		return 0;
	r = mk_db_read(call, m->db, "SELECT id FROM projects WHERE name = ? AND connection IS NULL",
		       &stmt);
	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, mk_options_text(m->options, "tracking_project"));
	r = mk_step(call, stmt);
	if (r > 0)
		*ret = mk_col_int(stmt, 0);
	return r < 0 ? r : 0;
}

/* What the columns of experiments speak of as ?1 and ?2. */
static int bind_scope(struct mk_query *q, struct mantik *m)
{
	int64_t project = 0, zero = 0;
	int r = plain_project(q->call, m, q->search->scope, &project);

	if (r == 0)
		r = mk_track_default(q->call, m, q->search->scope, false, &zero);
	if (r < 0)
		return r;
	(void)mk_query_int(q, project);
	(void)mk_query_int(q, zero);
	return 0;
}

static int put_scope(struct mk_query *q)
{
	const struct mk_search *s = q->search;
	int r = 0;

	switch (s->of) {
	case MK_SEARCH_RUNS:
		put_view(q, "r.deleted");
		r = put_experiments(q, "r.experiment_id");
		break;
	case MK_SEARCH_EXPERIMENTS:
		put_view(q, "e.deleted");
		break;
	default:
		break;
	}
	if (r == 0 && s->scope)
		(void)mk_buf_printf(&q->where, " AND %s.project_id = ?%zu",
				    s->of == MK_SEARCH_RUNS ? "r" : "e", mk_query_int(q, s->scope));
	return r;
}

int mk_search(struct mk_call *call, struct mantik *m, const struct mk_search *search,
	      struct mk_found *ret)
{
	const struct place *place = &places[search->of];
	_cleanup_(mk_filter_free) struct mk_filter filter = {};
	_cleanup_(mk_query_free) struct mk_query q = {
		.call = call,
		.search = search,
		.joins = MK_BUF(MAX_PART),
		.where = MK_BUF(MAX_PART),
		.order = MK_BUF(MAX_PART),
	};
	int r = mk_filter_parse(call, search->of, search->filter, &filter);

	if (r == 0 && search->of == MK_SEARCH_EXPERIMENTS)
		r = bind_scope(&q, m);
	if (r < 0)
		return r;
	(void)mk_buf_puts(&q.where, place->where);
	r = put_scope(&q);
	for (size_t i = 0; r == 0 && i < filter.n; i++)
		r = put_clause(&q, place, &filter.v[i]);
	if (r == 0)
		r = put_orders(&q, place);
	return r < 0 ? r : mk_query_run(&q, m, place->id, place->from, ret);
}
