/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the fields of a search are in our tables: one row of `places` for each thing that can be
 * searched, with a table of its attributes. The statement is put together from those texts.
 */
#include "domain/track/search.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/options.h"
#include "domain/track/search_sql.h"
#include "domain/track/track.h"

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
	/* What decides in the end: those that no order has named are added, in this order. */
	struct {
		const char *name;
		bool descending;
	} last[4];
	const char *scope;    /* the column of the project; NULL: a place has none */
	const char *deleted;  /* of what can be deleted softly */
	const char *experiment;
	const char *prompts;  /* the tag of prompts: FROM … WHERE … */
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

/* ?1 as above. */
static const struct column model_columns[] = {
	{"name", "CASE WHEN o.project_id = ?1 THEN o.name ELSE p.name || '.' || o.name END"},
	{"last_updated_timestamp", "(o.changed / 1000000)"},
	{},
};

static const struct column version_columns[] = {
	{"name", "CASE WHEN o.project_id = ?1 THEN o.name ELSE p.name || '.' || o.name END"},
	{"version_number", "CAST(v.version AS INTEGER)"},
	{"run_id", "coalesce(v.run_id, '')"},
	{"source_path", "v.source"},
	{"creation_timestamp", "(v.created / 1000000)"},
	{"last_updated_timestamp", "(v.changed / 1000000)"},
	{},
};

/* ?2 as above. */
static const struct column logged_columns[] = {
	{"name", "l.name"},
	{"model_id", "l.model_id"},
	{"model_type", "l.model_type"},
	{"status", "CAST(l.status AS TEXT)"},
	{"source_run_id", "l.source_run"},
	{"experiment_id", "CASE l.experiment_id WHEN ?2 THEN '0' ELSE CAST(l.experiment_id AS TEXT) END"},
	{"artifact_location", "'mlflow-artifacts:/' || l.experiment_id || '/models/' || l.model_id ||"
			      " '/artifacts'"},
	{"creation_timestamp_ms", "(l.created / 1000000)"},
	{"last_updated_timestamp_ms", "(l.changed / 1000000)"},
	{},
};

#define MODELS_OF_OURS "p.connection IS NULL AND o.gone = 0"

static const struct place places[] = {
	[MK_SEARCH_RUNS] = {
		.id = "r.id",
		.from = "runs r",
		.where = "r.remote_id IS NULL",
		.columns = run_columns,
		.params = "params x WHERE x.run_id = r.id AND x.key = ?%zu",
		.tags = "tags x WHERE x.run_id = r.id AND x.key = ?%zu",
		.last = {{"start_time", true}, {"run_id"}},
		.scope = "r.project_id",
		.deleted = "r.deleted",
		.experiment = "r.experiment_id",
	},
	[MK_SEARCH_EXPERIMENTS] = {
		.id = "e.id",
		.from = "experiments e JOIN projects p ON p.id = e.project_id",
		.where = "p.connection IS NULL AND e.remote_id IS NULL",
		.columns = experiment_columns,
		.tags = "experiment_tags x WHERE x.experiment_id = e.id AND x.key = ?%zu",
		.last = {{"experiment_id", true}},
		.scope = "e.project_id",
		.deleted = "e.deleted",
	},
	[MK_SEARCH_MODELS] = {
		.id = "o.id",
		.from = "models o JOIN projects p ON p.id = o.project_id",
		.where = MODELS_OF_OURS,
		.columns = model_columns,
		.tags = "model_tags x WHERE x.model_id = o.id AND x.key = ?%zu",
		.last = {{"name"}},
		.scope = "o.project_id",
		.prompts = "model_tags x WHERE x.model_id = o.id",
	},
	[MK_SEARCH_VERSIONS] = {
		.id = "v.id",
		.from = "model_versions v JOIN models o ON o.id = v.model_id"
			" JOIN projects p ON p.id = o.project_id",
		.where = MODELS_OF_OURS " AND v.gone = 0",
		.columns = version_columns,
		.tags = "version_tags x WHERE x.version_id = v.id AND x.key = ?%zu",
		.last = {{"name"}, {"version_number", true}},
		.scope = "o.project_id",
		.prompts = "version_tags x JOIN model_versions w ON w.id = x.version_id"
			   " WHERE w.model_id = o.id",
	},
	[MK_SEARCH_LOGGED] = {
		.id = "l.serial",
		.from = "logged_models l",
		.where = "l.serial IS NOT NULL AND l.experiment_id IS NOT NULL AND l.deleted = 0",
		.columns = logged_columns,
		.params = "logged_model_params x WHERE x.model_id = l.model_id AND x.key = ?%zu",
		.tags = "logged_model_tags x WHERE x.model_id = l.model_id AND x.key = ?%zu",
		.last = {{"creation_timestamp_ms", true}, {"model_id"}},
		.scope = "l.project_id",
		.experiment = "l.experiment_id",
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

static int put_key(struct mk_query *q, const char *table, const struct mk_filter_clause *c)
{
	int r = 0;

	if (c->op == MK_OP_NULL)
		(void)mk_buf_puts(&q->where, "NOT ");
	mk_query_exists(q, table, c->field.key);
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
	mk_query_exists(q, "metrics x WHERE x.run_id = r.id AND x.key = ?%zu", c->field.key);
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
		return q->search->of == MK_SEARCH_LOGGED ? mk_query_model_metric(q, c)
							  : put_metric(q, c);
	case MK_FIELD_PARAM:
		return put_key(q, place->params, c);
	case MK_FIELD_TAG:
		return put_key(q, place->tags, c);
	case MK_FIELD_DATASET:
		return put_dataset(q, c);
	}
	return unknown(q, &c->field);
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
		mk_query_order(q, expr, o->descending);
		return r;
	default:
		column = column_of(place, o->field.key);
		if (!column)
			return unknown(q, &o->field);
		mk_query_order(q, column, o->descending);
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

/* What is left to tell rows apart. Without any order some have one of their own. */
static int put_last(struct mk_query *q, const struct place *place, const struct orders *orders)
{
	bool own = !orders->n && q->search->of == MK_SEARCH_EXPERIMENTS;

	if (own)
		mk_query_order(q, column_of(place, "creation_time"), true);
	if (!orders->n && q->search->of == MK_SEARCH_VERSIONS)
		mk_query_order(q, column_of(place, "last_updated_timestamp"), true);
	for (size_t i = 0; i < 4 && place->last[i].name; i++)
		if (!has(orders, MK_FIELD_ATTRIBUTE, place->last[i].name))
			mk_query_order(q, column_of(place, place->last[i].name),
				       place->last[i].descending && !own);
	return 0;
}

/* Orders of logged models are no texts. */
static int put_logged_orders(struct mk_query *q, const struct place *place)
{
	_cleanup_(free_orders) struct orders orders = {};

	for (size_t i = 0; i < q->search->n_orders; i++) {
		const struct mk_search_order *o = &q->search->orders[i];
		const char *column = column_of(place, o->field.key);
		int r = 0;

		if (i == MAX_ORDERS)
			return mk_fail(q->call, EINVAL, "`order_by` has too many fields");
		orders.v[orders.n++].field =
			(struct mk_field){o->field.kind, mk_strdup(o->field.key)};
		if (o->field.kind == MK_FIELD_METRIC)
			r = mk_query_model_order(q, o);
		else if (column)
			mk_query_order(q, column, o->descending);
		else
			r = unknown(q, &o->field);
		if (r < 0)
			return r;
	}
	return put_last(q, place, &orders);
}

static int put_orders(struct mk_query *q, const struct place *place)
{
	_cleanup_(free_orders) struct orders orders = {};
	int r = parse_orders(q, &orders);

	for (size_t i = 0; r == 0 && i < orders.n; i++)
		r = put_field(q, place, i, &orders.v[i]);
	if (r < 0)
		return r;

	return put_last(q, place, &orders);
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
	r = mk_db_read(call, m->db, "SELECT id FROM projects WHERE name = ? AND connection IS NULL"
		       " AND deleted = 0",
		       &stmt);
	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, mk_options_text(m->options, "tracking_project"));
	r = mk_step(call, stmt);
	if (r > 0)
		*ret = mk_col_int(stmt, 0);
	return r < 0 ? r : 0;
}

/* What columns speak of as ?1 and ?2. */
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

static int put_scope(struct mk_query *q, const struct place *place)
{
	const struct mk_search *s = q->search;
	int r = 0;

	if (place->deleted && s->view != MK_VIEW_ALL)
		(void)mk_buf_printf(&q->where, " AND %s %s 0", place->deleted,
				    s->view == MK_VIEW_ACTIVE ? "=" : ">");
	if (place->experiment)
		r = put_experiments(q, place->experiment);
	if (r == 0 && s->scope)
		(void)mk_buf_printf(&q->where, " AND %s = ?%zu", place->scope,
				    mk_query_int(q, s->scope));
	return r;
}

static int put_filter(struct mk_query *q, const struct place *place, const struct mk_filter *filter)
{
	bool metrics = false, skip = false;
	int r = 0;

	if (place->prompts)
		mk_query_prompts(q, filter, place->prompts, &skip);
	for (size_t i = 0; r == 0 && i < filter->n; i++) {
		if (skip && mk_query_is_prompt(&filter->v[i]))
			continue;
		metrics |= filter->v[i].field.kind == MK_FIELD_METRIC;
		r = put_clause(q, place, &filter->v[i]);
	}
	if (r == 0 && q->search->n_datasets && !metrics)
		r = mk_query_datasets(q);
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

	if (r == 0)
		r = bind_scope(&q, m);
	if (r < 0)
		return r;
	(void)mk_buf_puts(&q.where, place->where);
	r = put_scope(&q, place);
	if (r == 0)
		r = put_filter(&q, place, &filter);
	if (r == 0)
		r = search->of == MK_SEARCH_LOGGED ? put_logged_orders(&q, place)
						   : put_orders(&q, place);
	return r < 0 ? r : mk_query_run(&q, m, place->id, place->from, ret);
}
