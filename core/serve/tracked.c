/* SPDX-License-Identifier: Apache-2.0 */
/* See tracked.h. One run at a time; pages of many are routes_search.c's. */
#include "serve/tracked.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "domain/domain.h"

int serve_made(struct serve_request *rq, const json_t *made)
{
	return made ? 0 : mk_fail(rq->call, ENOMEM, "out of memory for an answer");
}

const char *serve_id(int64_t id, char out[24])
{
	(void)snprintf(out, 24, "%lld", (long long)id);
	return out;
}

json_t *serve_number(double value)
{
	if (isfinite(value))
		return json_real(value);
	return json_string(isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity");
}

json_t *serve_time(int64_t ns)
{
	return json_integer(ns / MK_MS - (ns % MK_MS < 0));
}

static json_t *pairs_json(const struct mk_pairs *pairs)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < pairs->n; i++)
		if (json_array_append_new(list, json_pack("{s:s, s:s}", "key", pairs->v[i].key,
							  "value", pairs->v[i].value)) < 0) {
			json_decref(list);
			return NULL;
		}
	return list;
}

/* Takes the value; an empty list is left out. -1: out of memory. */
static int put_list(json_t *object, const char *name, json_t *list)
{
	if (list && !json_array_size(list)) {
		json_decref(list);
		return 0;
	}
	return json_object_set_new(object, name, list);
}

static int put_text(json_t *object, const char *name, const char *text)
{
	return text ? json_object_set_new(object, name, json_string(text)) : 0;
}

json_t *serve_experiment_json(const struct mk_track_experiment *experiment)
{
	json_t *object = json_pack(
		"{s:s, s:s, s:s, s:s, s:o, s:o}", "experiment_id", experiment->shown, "name",
		experiment->name, "artifact_location", experiment->artifact_location,
		"lifecycle_stage", experiment->deleted ? "deleted" : "active", "last_update_time",
		serve_time(experiment->updated), "creation_time", serve_time(experiment->created));

	if (object && put_list(object, "tags", pairs_json(&experiment->tags)) < 0) {
		json_decref(object);
		return NULL;
	}
	return object;
}

/* --- runs ---------------------------------------------------------------------------------- */

int serve_run_of(struct serve_request *rq, int64_t *ret)
{
	const char *uid = "";
	int r = serve_text(rq, "run_id", true, &uid);

	return r < 0 ? r : mk_track_run(rq->call, rq->m, rq->project_id, uid, ret);
}

/* MLflow has no word for a job nobody knows any more. */
static const char *status_name(enum mk_status status)
{
	return mk_status_name(status == MK_UNKNOWN ? MK_FAILED : status);
}

static json_t *info_json(const struct mk_run *run, int64_t zero)
{
	char id[24];
	_cleanup_free_ char *uri =
		run->artifact_uri ? mk_strdup(run->artifact_uri) :
				    mk_track_artifacts(NULL, run->experiment_id, run->uid);
	json_t *info = json_pack(
		"{s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:s, s:s}", "run_id", run->uid, "run_uuid",
		run->uid, "run_name", run->name, "experiment_id",
		serve_id(run->experiment_id == zero ? 0 : run->experiment_id, id), "user_id",
		run->user, "status", status_name(run->status), "start_time",
		serve_time(run->started ? run->started : run->api ? 0 : run->submitted),
		"artifact_uri", uri, "lifecycle_stage", run->deleted ? "deleted" : "active");

	if (info && run->ended &&
	    json_object_set_new(info, "end_time", serve_time(run->ended)) < 0) {
		json_decref(info);
		return NULL;
	}
	return info;
}

static int look(struct serve_request *rq, int64_t id, json_t **ret)
{
	_cleanup_(mk_run_free) struct mk_run run = {};
	int64_t zero;
	int r = mk_run_peek(rq->call, rq->m, id, &run);

	if (r == 0)
		r = mk_track_default(rq->call, rq->m, rq->project_id, false, &zero);
	if (r < 0)
		return r;
	*ret = info_json(&run, zero);
	return serve_made(rq, *ret);
}

int serve_run_info(struct serve_request *rq, int64_t id, json_t **ret)
{
	return look(rq, id, ret);
}

static int metrics_json(struct serve_request *rq, int64_t id, json_t *data)
{
	_cleanup_(mk_metrics_free) struct mk_metrics metrics = {};
	int r = mk_run_metrics(rq->call, rq->m, id, &metrics);
	json_t *list = r < 0 ? NULL : json_array();

	if (r < 0)
		return r;
	for (size_t i = 0; i < metrics.n; i++) {
		const struct mk_metric *metric = &metrics.v[i];

		if (json_array_append_new(
			    list, json_pack("{s:s, s:o, s:o, s:I}", "key", metric->key, "value",
					    serve_number(metric->last.value), "timestamp",
					    serve_time(metric->last.time), "step",
					    (json_int_t)metric->last.step)) < 0) {
			json_decref(list);
			list = NULL;
			break;
		}
	}
	return put_list(data, "metrics", list) < 0 ? serve_made(rq, NULL) : 0;
}

static int values_json(struct serve_request *rq, int64_t id, enum mk_value_kind kind, json_t *data)
{
	_cleanup_pairs_ struct mk_pairs pairs = {};
	int r = mk_run_values(rq->call, rq->m, id, kind, &pairs);

	if (r < 0)
		return r;
	return put_list(data, kind == MK_PARAM ? "params" : "tags", pairs_json(&pairs)) < 0 ?
		       serve_made(rq, NULL) :
		       0;
}

/* key NUL value NUL … */
static json_t *packed_json(const char *at, size_t len)
{
	json_t *list = json_array();
	const char *end = at + len;

	while (list && at && at < end) {
		const char *value = at + strlen(at) + 1;

		if (value >= end ||
		    json_array_append_new(list, json_pack("{s:s, s:s}", "key", at, "value", value)) <
			    0)
			break;
		at = value + strlen(value) + 1;
	}
	return list;
}

static json_t *dataset_json(struct mk_stmt *stmt)
{
	static const char *const names[] = {"name",   "digest", "source_type",
					    "source", "schema", "profile"};
	json_t *dataset = json_object(), *input = json_object();
	size_t len;
	const void *tags = mk_col_blob(stmt, 6, &len);
	int r = dataset && input ? 0 : -1;

	for (int i = 0; r == 0 && i < 6; i++)
		if (i < 4 || *mk_col_text(stmt, i))
			r = put_text(dataset, names[i], mk_col_text(stmt, i));
	if (r == 0)
		r = put_list(input, "tags", packed_json(tags, len));
	if (r == 0)
		r = json_object_set_new(input, "dataset", dataset);
	else
		json_decref(dataset);
	if (r == 0)
		return input;
	json_decref(input);
	return NULL;
}

static json_t *input_json(struct mk_stmt *stmt)
{
	return json_pack("{s:s}", "model_id", mk_col_text(stmt, 0));
}

static json_t *output_json(struct mk_stmt *stmt)
{
	return json_pack("{s:s, s:I}", "model_id", mk_col_text(stmt, 0), "step",
			 (json_int_t)mk_col_int(stmt, 1));
}

/* A list under a name of `to`, of the rows of a statement of one run. */
static int rows_json(struct serve_request *rq, int64_t id, const char *sql,
		     json_t *(*row)(struct mk_stmt *stmt), json_t *to, const char *name)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(rq->call, rq->m->db, sql, &stmt);
	json_t *list = json_array();

	if (r == 0)
		mk_bind_int(stmt, 1, id);
	while (r >= 0 && (r = mk_step(rq->call, stmt)) > 0)
		if (json_array_append_new(list, row(stmt)) < 0)
			r = serve_made(rq, NULL);
	if (r < 0) {
		json_decref(list);
		return r;
	}
	return put_list(to, name, list) < 0 ? serve_made(rq, NULL) : 0;
}

int serve_run(struct serve_request *rq, int64_t id, json_t **ret)
{
	json_t *info = NULL, *data = json_object(), *inputs = json_object(),
	       *outputs = json_object();
	int r = look(rq, id, &info);

	if (r == 0)
		r = metrics_json(rq, id, data);
	if (r == 0)
		r = values_json(rq, id, MK_PARAM, data);
	if (r == 0)
		r = values_json(rq, id, MK_TAG, data);
	if (r == 0)
		r = rows_json(rq, id,
			      "SELECT name, digest, source_type, source, schema, profile, tags"
			      " FROM run_datasets WHERE run_id = ? ORDER BY seq",
			      dataset_json, inputs, "dataset_inputs");
	if (r == 0)
		r = rows_json(rq, id, "SELECT model_id FROM run_model_inputs WHERE run_id = ?",
			      input_json, inputs, "model_inputs");
	if (r == 0)
		r = rows_json(rq, id, "SELECT model_id, step FROM run_models WHERE run_id = ?",
			      output_json, outputs, "model_outputs");
	if (r == 0) {
		*ret = json_pack("{s:O, s:O, s:O, s:O}", "info", info, "data", data, "inputs",
				 inputs, "outputs", outputs);
		r = serve_made(rq, *ret);
	}
	json_decref(info);
	json_decref(data);
	json_decref(inputs);
	json_decref(outputs);
	return r;
}
