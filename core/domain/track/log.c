/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See track.h. What is logged to a run: metrics, params, tags, what it read and wrote. A batch is
 * one transaction: all of it or nothing. Its points are taken key by key, so that a summary is read
 * and written once however many points of it came.
 */
#include "domain/track/track.h"

#include <errno.h>
#include <string.h>

#include "domain/domain.h"
#include "domain/logged.h"
#include "domain/track/row.h"

enum { TEXT_LIMIT = 16 << 20 };

/* --- params -------------------------------------------------------------------------------- */

/* 1 it has another value (in *ret), 0 it has none, 2 it has this one. */
static int look_param(struct mk_call *call, struct mk_conn *conn, int64_t id,
		      const struct mk_pair *param, char **ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn, "SELECT value FROM params WHERE run_id = ? AND key = ?",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	mk_bind_text(stmt, 2, param->key);
	r = mk_step(call, stmt);
	if (r <= 0)
		return r;
	if (strcmp(mk_col_text(stmt, 0), param->value) == 0)
		return 2;
	*ret = mk_col_dup(stmt, 0);
	return 1;
}

static int put_param(struct mk_call *call, struct mk_conn *conn, int64_t id,
		     const struct mk_pair *param)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn, "INSERT INTO params (run_id, key, value) VALUES (?, ?, ?)",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	mk_bind_text(stmt, 2, param->key);
	mk_bind_text(stmt, 3, param->value);
	return mk_exec(call, stmt);
}

/* *ret_changed: some were new. */
static int put_params(struct mk_call *call, struct mk_conn *conn, const struct mk_track_row *run,
		      const struct mk_track_batch *batch, bool *ret_changed)
{
	_cleanup_buf_ struct mk_buf others = MK_BUF(TEXT_LIMIT);

	for (size_t i = 0; batch->params && i < batch->params->n; i++) {
		const struct mk_pair *param = &batch->params->v[i];
		_cleanup_free_ char *old = NULL;
		int r = look_param(call, conn, run->id, param, &old);

		if (r == 0) {
			r = put_param(call, conn, run->id, param);
			*ret_changed = true;
		}
		if (r < 0)
			return r;
		if (r == 1 && batch->one_param)
			return mk_fail(call, EINVAL,
				       "Changing param values is not allowed. Param with key='%s' was "
				       "already logged with value='%s' for run ID='%s'. Attempted "
				       "logging new value '%s'.",
				       param->key, old, run->uid, param->value);
		if (r == 1)
			(void)mk_buf_printf(&others,
					    "%s{'key': '%s', 'old_value': '%s', 'new_value': '%s'}",
					    others.len ? ", " : "", param->key, old, param->value);
	}
	if (!others.len)
		return 0;
	return mk_fail(call, EINVAL,
		       "Changing param values is not allowed. Params were already logged='[%s]' for "
		       "run ID='%s'.",
		       mk_buf_text(&others), run->uid);
}

/* --- metrics ------------------------------------------------------------------------------- */

static int by_key(const void *a, const void *b)
{
	const struct mk_track_metric *x = *(const struct mk_track_metric *const *)a;
	const struct mk_track_metric *y = *(const struct mk_track_metric *const *)b;
	int r = strcmp(x->key, y->key);

	return r ? r : (x > y) - (x < y); /* in the order they came */
}

static int put_model_point(struct mk_call *call, struct mk_conn *conn, int64_t run_id,
			   const struct mk_track_metric *metric)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "INSERT INTO model_points (model_id, run_id, key, step, time, value,"
			   " dataset_name, dataset_digest, minus)"
			   " SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9 WHERE NOT EXISTS (SELECT 1 FROM"
			   " model_points WHERE model_id = ?1 AND key = ?3 AND step = ?4"
			   " AND time = ?5 AND run_id = ?2 AND value IS ?6 AND dataset_name = ?7"
			   " AND dataset_digest = ?8)",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, metric->model_id);
	mk_bind_int(stmt, 2, run_id);
	mk_bind_text(stmt, 3, metric->key);
	mk_bind_int(stmt, 4, metric->point.step);
	mk_bind_int(stmt, 5, metric->point.time);
	mk_bind_value(stmt, 6, metric->point.value);
	mk_bind_text(stmt, 7, metric->dataset_name ? metric->dataset_name : "");
	mk_bind_text(stmt, 8, metric->dataset_digest ? metric->dataset_digest : "");
	mk_bind_minus(stmt, 9, metric->point.value);
	return mk_exec(call, stmt);
}

/* `sorted` points into the batch, the points of one key beside each other. */
struct sorted {
	const struct mk_track_metric **by_key;
	struct mk_logged *points;
	size_t n;
};

static void sorted_free(struct sorted *sorted)
{
	free(sorted->by_key);
	free(sorted->points);
}

/* On the caller's thread: the writer has others to serve. */
static int sort(struct mk_call *call, const struct mk_track_batch *batch, struct sorted *ret)
{
	bool one_key = true;

	ret->n = batch->n_metrics;
	if (!ret->n)
		return 0;
	ret->by_key = calloc(ret->n, sizeof(*ret->by_key));
	ret->points = calloc(ret->n, sizeof(*ret->points));
	if (!ret->by_key || !ret->points)
		return mk_fail(call, ENOMEM, "out of memory for %zu metrics", ret->n);
	for (size_t i = 0; i < ret->n; i++) {
		ret->by_key[i] = &batch->metrics[i];
		one_key &= strcmp(batch->metrics[i].key, batch->metrics[0].key) == 0;
	}
	if (!one_key)
		qsort(ret->by_key, ret->n, sizeof(*ret->by_key), by_key);
	for (size_t i = 0; i < ret->n; i++)
		ret->points[i] = (struct mk_logged){
			.value = ret->by_key[i]->point.value,
			.step = ret->by_key[i]->point.step,
			.time = ret->by_key[i]->point.time,
			.has_step = true,
			.has_time = true,
		};
	return 0;
}

static int put_metrics(struct mk_call *call, struct mk_conn *conn, int64_t run_id,
		       const struct sorted *sorted)
{
	int r = 0;

	for (size_t i = 0, n; r == 0 && i < sorted->n; i += n) {
		const char *key = sorted->by_key[i]->key;

		for (n = 1; i + n < sorted->n && strcmp(sorted->by_key[i + n]->key, key) == 0; n++)
			;
		r = mk_metric_append_new(call, conn, run_id, key, sorted->points + i, n);
	}
	for (size_t i = 0; r == 0 && i < sorted->n; i++)
		if (sorted->by_key[i]->model_id)
			r = put_model_point(call, conn, run_id, sorted->by_key[i]);
	return r;
}

/* --- a batch ------------------------------------------------------------------------------- */

struct log {
	const struct mk_track_batch *batch;
	struct sorted sorted;
};

static int log_it(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct log *log = arg;
	const struct mk_pairs *tags = log->batch->tags;
	struct mk_track_row run = {};
	bool row = tags && tags->n;
	int r = mk_track_look(call, conn, log->batch->run_id, true, &run);

	if (r == 0)
		r = put_params(call, conn, &run, log->batch, &row);
	if (r == 0)
		r = put_metrics(call, conn, run.id, &log->sorted);
	for (size_t i = 0; r == 0 && tags && i < tags->n; i++)
		r = mk_track_put_tag(call, conn, &run, tags->v[i].key, tags->v[i].value);
	if (r < 0 || (!row && !log->sorted.n))
		return r;
	return mk_run_touch(call, conn, run.id, row ? MK_TOUCH_ROW : MK_TOUCH_LOGGED);
}

int mk_track_log(struct mk_call *call, struct mantik *m, const struct mk_track_batch *batch)
{
	_cleanup_(sorted_free) struct sorted sorted = {};
	int r = sort(call, batch, &sorted);
	struct log log = {batch, sorted};

	return r < 0 ? r : mk_domain_write(call, m, MK_KILLSAFE, log_it, &log);
}

/* --- inputs and outputs ---------------------------------------------------------------------- */

struct inputs {
	int64_t id;
	const struct mk_track_dataset *datasets;
	size_t n_datasets;
	const struct mk_track_model *models;
	size_t n_models;
	bool outputs;
};

/* key NUL value NUL … */
static int pack_tags(struct mk_call *call, const struct mk_pairs *tags, struct mk_buf *ret)
{
	for (size_t i = 0; tags && i < tags->n; i++) {
		(void)mk_buf_put(ret, tags->v[i].key, strlen(tags->v[i].key) + 1);
		(void)mk_buf_put(ret, tags->v[i].value, strlen(tags->v[i].value) + 1);
	}
	return mk_buf_check(ret) < 0 ? mk_fail(call, EINVAL, "The tags of a dataset are too long") : 0;
}

static int put_dataset(struct mk_call *call, struct mk_conn *conn, int64_t id,
		       const struct mk_track_dataset *dataset)
{
	_cleanup_buf_ struct mk_buf tags = MK_BUF(TEXT_LIMIT);
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	const char *context =
		dataset->tags ? mk_pairs_get(dataset->tags, "mlflow.data.context") : NULL;
	int r = pack_tags(call, dataset->tags, &tags);

	if (r == 0)
		r = mk_prepare(call, conn,
			       "INSERT INTO run_datasets (run_id, seq, name, digest, source_type,"
			       " source, context, schema, profile, tags)"
			       " SELECT ?1, (SELECT 1 + ifnull(max(seq), -1) FROM run_datasets WHERE"
			       " run_id = ?1), ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9"
			       " WHERE NOT EXISTS (SELECT 1 FROM run_datasets WHERE run_id = ?1"
			       " AND name = ?2 AND digest = ?3)",
			       &stmt);
	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	mk_bind_text(stmt, 2, dataset->name);
	mk_bind_text(stmt, 3, dataset->digest);
	mk_bind_text(stmt, 4, dataset->source_type ? dataset->source_type : "");
	mk_bind_text(stmt, 5, dataset->source ? dataset->source : "");
	mk_bind_text(stmt, 6, context ? context : "");
	mk_bind_text(stmt, 7, dataset->schema ? dataset->schema : "");
	mk_bind_text(stmt, 8, dataset->profile ? dataset->profile : "");
	mk_bind_blob(stmt, 9, mk_buf_text(&tags), tags.len);
	return mk_exec(call, stmt);
}

static int put_model(struct mk_call *call, struct mk_conn *conn, const struct inputs *in, size_t i)
{
	static const char input[] =
		"INSERT OR IGNORE INTO run_model_inputs (run_id, model_id) VALUES (?1, ?2)";
	static const char output[] = "INSERT INTO run_models (run_id, model_id, name, step)"
				     " VALUES (?1, ?2, ?2, ?3)"
				     " ON CONFLICT DO UPDATE SET step = excluded.step";
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn, in->outputs ? output : input, &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, in->id);
	mk_bind_text(stmt, 2, in->models[i].model_id);
	if (in->outputs)
		mk_bind_int(stmt, 3, in->models[i].step);
	return mk_exec(call, stmt);
}

static int put_inputs(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct inputs *in = arg;
	struct mk_track_row run = {};
	int r = mk_track_look(call, conn, in->id, true, &run);

	for (size_t i = 0; r == 0 && i < in->n_datasets; i++)
		r = put_dataset(call, conn, in->id, &in->datasets[i]);
	for (size_t i = 0; r == 0 && i < in->n_models; i++)
		r = put_model(call, conn, in, i);
	return r < 0 ? r : mk_run_touch(call, conn, in->id, MK_TOUCH_ROW);
}

int mk_track_inputs(struct mk_call *call, struct mantik *m, int64_t id,
		    const struct mk_track_dataset *datasets, size_t n_datasets,
		    const struct mk_track_model *models, size_t n_models)
{
	struct inputs in = {id, datasets, n_datasets, models, n_models, false};

	return mk_domain_write(call, m, MK_KILLSAFE, put_inputs, &in);
}

int mk_track_datasets(struct mk_call *call, struct mantik *m, int64_t experiment_id, int64_t limit,
		      mk_track_seen *emit, void *arg)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db,
			   "SELECT DISTINCT d.name, d.digest, d.context FROM runs r"
			   " JOIN run_datasets d ON d.run_id = r.id WHERE r.experiment_id = ?1"
			   " ORDER BY d.name, d.digest, d.context LIMIT ?2",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, experiment_id);
	mk_bind_int(stmt, 2, limit);
	while ((r = mk_step(call, stmt)) > 0) {
		r = emit(arg, mk_col_text(stmt, 0), mk_col_text(stmt, 1), mk_col_text(stmt, 2));
		if (r)
			return r;
	}
	return r;
}

int mk_track_outputs(struct mk_call *call, struct mantik *m, int64_t id,
		     const struct mk_track_model *models, size_t n_models)
{
	struct inputs in = {.id = id, .models = models, .n_models = n_models, .outputs = true};

	return mk_domain_write(call, m, MK_KILLSAFE, put_inputs, &in);
}
