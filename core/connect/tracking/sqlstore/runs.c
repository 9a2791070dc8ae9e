/* SPDX-License-Identifier: Apache-2.0 */
/* Experiments and runs. The token of a page is the last run given: `<start in ms> <id>`. */
#include "sqlstore.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

enum { PAGE = 1000 };

/* --- experiments ----------------------------------------------------------------------------- */

struct experiments {
	struct mk_t_experiment *v;
	size_t n, cap;
};

static int read_experiments(struct mk_sql *sql, void *arg)
{
#define EXPERIMENTS                                                                       \
	"SELECT experiment_id, name, artifact_location, lifecycle_stage, creation_time,"  \
	" last_update_time FROM experiments"
	struct experiments *e = arg;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL, *tags = NULL;
	int r = sql->schema.workspaces
			? mk_prepare(sql->call, sql->conn,
				     EXPERIMENTS " WHERE workspace = ?1 ORDER BY experiment_id", &stmt)
			: mk_prepare(sql->call, sql->conn,
				     EXPERIMENTS " WHERE ?1 IS NOT NULL ORDER BY experiment_id", &stmt);

	*e = (struct experiments){};
	if (r == 0)
		r = mk_prepare(sql->call, sql->conn,
			       "SELECT key, value FROM experiment_tags WHERE experiment_id = ?1"
			       " ORDER BY key", &tags);
	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, sql->workspace);
	while ((r = mk_step(sql->call, stmt)) > 0) {
		const char *stage = mk_sql_text(sql, stmt, 3);
		struct mk_t_experiment *to;
		struct mk_t_pair *pairs = NULL;

		r = stage ? mk_sql_grow(sql, &e->v, &e->n, &e->cap, sizeof(*to), &to) : -ENOMEM;
		if (r < 0)
			return r;
		*to = (struct mk_t_experiment){
			.id = mk_sql_text(sql, stmt, 0),
			.name = mk_sql_text(sql, stmt, 1),
			.artifact_location = mk_sql_text(sql, stmt, 2),
			.deleted = strcmp(stage, "deleted") == 0,
			.created = mk_sql_time(stmt, 4),
			.updated = mk_sql_time(stmt, 5),
		};
		if (!to->id || !to->name || !to->artifact_location)
			return -ENOMEM;
		mk_bind_text(tags, 1, to->id);
		r = mk_sql_pairs(sql, tags, &pairs, &to->n_tags);
		mk_rewind(tags);
		if (r < 0)
			return r;
		to->tags = pairs;
	}
	return r;
}

int mk_sql_experiments(struct mk_call *call, struct mk_tracking *t, char **token,
		       mk_t_experiment_emit *emit, void *arg)
{
	_cleanup_arena_ struct mk_arena arena = {};
	struct experiments e = {};
	int r = mk_sql_read(call, t, &arena, read_experiments, &e);

	mk_freep(token);
	for (size_t i = 0; r >= 0 && i < e.n; i++) {
		const char *id = e.v[i].id, *name = e.v[i].name;

		if (!mk_local_is_id(id) || !*name || strlen(name) > 2000) {
			_cleanup_free_ char *what = mk_strf("experiment %.60s", id);

			mk_local_refuse(&t->local, what, "a name of %zu bytes", strlen(name));
			continue;
		}
		r = emit(arg, &e.v[i]);
	}
	return r;
}

/* --- what belongs to a run ------------------------------------------------------------------- */

struct runs {
	const struct mk_t_query *query; /* NULL: the run `id` */
	const char *id;
	const char *token;
	struct mk_t_run *v;
	size_t n, cap;
};

static int read_metrics(struct mk_sql *sql, struct mk_t_run *run)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	struct mk_t_metric *v = NULL, *to;
	size_t cap = 0;
	int r = mk_prepare(sql->call, sql->conn,
			   "SELECT key, value, timestamp, step, is_nan FROM latest_metrics"
			   " WHERE run_uuid = ?1 ORDER BY key", &stmt);

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, run->id);
	while ((r = mk_step(sql->call, stmt)) > 0) {
		r = mk_sql_grow(sql, &v, &run->n_metrics, &cap, sizeof(*v), &to);
		if (r < 0)
			return r;
		*to = (struct mk_t_metric){
			.key = mk_sql_text(sql, stmt, 0),
			.last = {
				.value = mk_col_int(stmt, 4) ? NAN : mk_col_double(stmt, 1),
				.time = mk_sql_time(stmt, 2),
				.step = mk_col_int(stmt, 3),
			},
		};
		if (!to->key)
			return -ENOMEM;
		if (!*to->key || strlen(to->key) > 1000)
			run->n_metrics--;
	}
	run->metrics = v;
	return r;
}

static int read_datasets(struct mk_sql *sql, struct mk_t_run *run)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	struct mk_t_dataset *v = NULL, *to;
	size_t cap = 0;
	int r = mk_prepare(sql->call, sql->conn,
			   "SELECT d.name, d.digest, d.dataset_source_type, d.dataset_source,"
			   " (SELECT value FROM input_tags t WHERE t.input_uuid = i.input_uuid"
			   " AND t.name = 'mlflow.data.context')"
			   " FROM inputs i JOIN datasets d ON d.dataset_uuid = i.source_id"
			   " WHERE i.destination_type = 'RUN' AND i.destination_id = ?1"
			   " AND i.source_type = 'DATASET' ORDER BY d.name, d.digest", &stmt);

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, run->id);
	while ((r = mk_step(sql->call, stmt)) > 0) {
		r = mk_sql_grow(sql, &v, &run->n_datasets, &cap, sizeof(*v), &to);
		if (r < 0)
			return r;
		*to = (struct mk_t_dataset){
			.name = mk_sql_text(sql, stmt, 0),
			.digest = mk_sql_text(sql, stmt, 1),
			.source_type = mk_sql_text(sql, stmt, 2),
			.source = mk_sql_text(sql, stmt, 3),
			.context = mk_sql_text(sql, stmt, 4),
		};
		if (!to->name || !to->digest || !to->source_type || !to->source || !to->context)
			return -ENOMEM;
	}
	run->datasets = v;
	return r;
}

static int read_outputs(struct mk_sql *sql, struct mk_t_run *run)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	const char **v = NULL, **to;
	size_t cap = 0;
	int r = mk_prepare(sql->call, sql->conn,
			   "SELECT destination_id FROM inputs WHERE source_type = 'RUN_OUTPUT'"
			   " AND source_id = ?1 AND destination_type = 'MODEL_OUTPUT' ORDER BY 1", &stmt);

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, run->id);
	while ((r = mk_step(sql->call, stmt)) > 0) {
		r = mk_sql_grow(sql, &v, &run->n_models, &cap, sizeof(*v), &to);
		if (r < 0)
			return r;
		*to = mk_sql_text(sql, stmt, 0);
		if (!*to)
			return -ENOMEM;
		if (!mk_local_is_id(*to))
			run->n_models--;
	}
	run->models = v;
	return r;
}

static int read_pairs(struct mk_sql *sql, const char *text, const char *id,
		      const struct mk_t_pair **ret, size_t *ret_n)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	struct mk_t_pair *pairs = NULL;
	int r = mk_prepare(sql->call, sql->conn, text, &stmt);

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, id);
	r = mk_sql_pairs(sql, stmt, &pairs, ret_n);
	*ret = pairs;
	return r;
}

static const char *either(const char *a, const struct mk_t_run *run, const char *key)
{
	for (size_t i = 0; !*a && i < run->n_tags; i++)
		if (strcmp(run->tags[i].key, key) == 0)
			return run->tags[i].value;
	return a;
}

static int read_rest(struct mk_sql *sql, struct mk_t_run *run)
{
	static const char params[] = "SELECT key, value FROM params WHERE run_uuid = ?1 ORDER BY key";
	static const char tags[] = "SELECT key, value FROM tags WHERE run_uuid = ?1 ORDER BY key";
	int r = read_pairs(sql, params, run->id, &run->params, &run->n_params);

	if (r == 0)
		r = read_pairs(sql, tags, run->id, &run->tags, &run->n_tags);
	if (r == 0)
		r = read_metrics(sql, run);
	if (r == 0 && sql->schema.datasets)
		r = read_datasets(sql, run);
	if (r == 0 && sql->schema.datasets && sql->schema.logged)
		r = read_outputs(sql, run);
	run->name = either(run->name, run, "mlflow.runName");
	run->user = either(run->user, run, "mlflow.user");
	return r;
}

/* --- runs ------------------------------------------------------------------------------------ */

#define RUN                                                                                    \
	"SELECT run_uuid, experiment_id, name, user_id, status, ifnull(start_time, 0),"        \
	" end_time, lifecycle_stage, artifact_uri FROM runs"

/* ["1","2"] */
static void put_ids(struct mk_buf *buf, const struct mk_t_query *query)
{
	for (size_t i = 0; i < query->n_experiments; i++)
		if (mk_local_is_id(query->experiment_ids[i]))
			(void)mk_buf_printf(buf, "%s\"%s\"", buf->len ? "," : "[",
					    query->experiment_ids[i]);
	(void)mk_buf_puts(buf, buf->len ? "]" : "[]");
}

static void bind_query(struct mk_stmt *stmt, const struct runs *runs, const struct mk_buf *ids)
{
	const struct mk_t_query *query = runs->query;
	const char *id = runs->token ? strchr(runs->token, ' ') : NULL;
	int64_t since = query->started_since;

	mk_bind_text(stmt, 1, mk_buf_text(ids));
	mk_bind_text(stmt, 2, query->deleted ? "deleted" : "active");
	mk_bind_int(stmt, 3, since / MK_MS + (since % MK_MS > 0));
	mk_bind_int(stmt, 4, query->live);
	mk_bind_int(stmt, 5, runs->token ? strtoll(runs->token, NULL, 10) : INT64_MAX);
	mk_bind_text(stmt, 6, id ? id + 1 : "");
	mk_bind_int(stmt, 7, query->limit > 0 && query->limit < PAGE ? query->limit : PAGE);
}

static int read_runs(struct mk_sql *sql, void *arg)
{
	struct runs *runs = arg;
	_cleanup_buf_ struct mk_buf ids = MK_BUF(1 << 20);
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = runs->query
			? mk_prepare(sql->call, sql->conn,
				     RUN " WHERE experiment_id IN"
				     " (SELECT CAST(value AS INTEGER) FROM json_each(?1))"
				     " AND ifnull(lifecycle_stage, 'active') = ?2"
				     " AND ifnull(start_time, 0) >= ?3"
				     " AND (?4 = 0 OR status IN ('RUNNING', 'SCHEDULED'))"
				     " AND (ifnull(start_time, 0) < ?5"
				     " OR (ifnull(start_time, 0) = ?5 AND run_uuid > ?6))"
				     " ORDER BY ifnull(start_time, 0) DESC, run_uuid LIMIT ?7", &stmt)
			: mk_prepare(sql->call, sql->conn, RUN " WHERE run_uuid = ?1", &stmt);

	runs->v = NULL;
	runs->n = runs->cap = 0;
	if (r < 0)
		return r;
	if (runs->query) {
		put_ids(&ids, runs->query);
		bind_query(stmt, runs, &ids);
	} else {
		mk_bind_text(stmt, 1, runs->id);
	}
	while ((r = mk_step(sql->call, stmt)) > 0) {
		struct mk_t_run *to;

		r = mk_sql_grow(sql, &runs->v, &runs->n, &runs->cap, sizeof(*to), &to);
		if (r < 0)
			return r;
		*to = (struct mk_t_run){
			.id = mk_sql_text(sql, stmt, 0),
			.experiment_id = mk_sql_text(sql, stmt, 1),
			.name = mk_sql_text(sql, stmt, 2),
			.user = mk_sql_text(sql, stmt, 3),
			.started = mk_sql_time(stmt, 5),
			.ended = mk_sql_time(stmt, 6),
			.artifact_uri = mk_sql_text(sql, stmt, 8),
		};

		const char *status = mk_sql_text(sql, stmt, 4), *stage = mk_sql_text(sql, stmt, 7);

		if (!to->id || !to->experiment_id || !to->name || !to->user || !to->artifact_uri ||
		    !status || !stage)
			return -ENOMEM;
		to->status = mk_t_status(status);
		to->deleted = strcmp(stage, "deleted") == 0;
	}
	mk_reset(&stmt);
	for (size_t i = 0; r == 0 && i < runs->n; i++)
		r = read_rest(sql, &runs->v[i]);
	return r;
}

static int give(struct mk_tracking *t, const struct mk_t_run *run, mk_t_run_emit *emit, void *arg)
{
	_cleanup_free_ char *what = NULL;

	if (mk_local_is_id(run->id) && mk_local_is_id(run->experiment_id))
		return emit(arg, run);
	what = mk_strf("run %.60s", run->id);
	mk_local_refuse(&t->local, what, "it or its experiment (%.60s) has no proper id",
			run->experiment_id);
	return 0;
}

int mk_sql_run(struct mk_call *call, struct mk_tracking *t, const char *id, mk_t_run_emit *emit,
	       void *arg)
{
	_cleanup_arena_ struct mk_arena arena = {};
	struct runs runs = {.id = id};
	int r = mk_sql_read(call, t, &arena, read_runs, &runs);

	if (r < 0)
		return r;
	return runs.n ? give(t, &runs.v[0], emit, arg)
		      : mk_fail(call, ENOENT, "%s: run %.60s: there is none", t->local.connection, id);
}

int mk_sql_runs(struct mk_call *call, struct mk_tracking *t, const struct mk_t_query *query,
		char **token, mk_t_run_emit *emit, void *arg)
{
	_cleanup_arena_ struct mk_arena arena = {};
	struct runs runs = {.query = query, .token = *token};
	size_t limit = query->limit > 0 && query->limit < PAGE ? (size_t)query->limit : PAGE;
	int r = mk_sql_read(call, t, &arena, read_runs, &runs);

	mk_freep(token);
	for (size_t i = 0; r >= 0 && i < runs.n; i++)
		r = give(t, &runs.v[i], emit, arg);
	if (r >= 0 && runs.n == limit)
		*token = mk_strf("%lld %s", (long long)(runs.v[runs.n - 1].started / MK_MS),
				 runs.v[runs.n - 1].id);
	return r < 0 ? r : 0;
}
