/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs: one, or a page of an experiment's. A page whose answer is over its limit (runs with
 * thousands of params) is asked for again with a tenth of the runs.
 */
#include "mlflow.h"

#include <errno.h>
#include <string.h>

enum { PAGE = 1000, MAX_PAGE = 32 << 20, MAX_ASKED = 100 };

struct taking {
	struct mk_call *call;
	struct mk_tracking *t;
	mk_t_run_emit *emit;
	void *arg;
	size_t taken;
};

static struct mk_t_metric *read_metrics(json_t *list, size_t *ret_n)
{
	size_t n = json_array_size(list), k = 0;
	struct mk_t_metric *metrics = mk_alloc((n + 1) * sizeof(*metrics));

	for (size_t i = 0; i < n; i++) {
		json_t *m = json_array_get(list, i);
		const char *key = mk_mlflow_text(m, "key");

		if (!*key || strlen(key) > 1000)
			continue;
		metrics[k++] = (struct mk_t_metric){
			.key = key,
			.last =
				{
					.step = mk_mlflow_number(m, "step", 0),
					.value = mk_mlflow_double(m, "value"),
					.time = mk_mlflow_time(m, "timestamp"),
				},
		};
	}
	*ret_n = k;
	return metrics;
}

static struct mk_t_dataset *read_datasets(json_t *list, size_t *ret_n)
{
	size_t n = json_array_size(list), k = 0;
	struct mk_t_dataset *datasets = mk_alloc((n + 1) * sizeof(*datasets));

	for (size_t i = 0; i < n; i++) {
		json_t *input = json_array_get(list, i);
		json_t *d = json_object_get(input, "dataset");

		if (!json_is_object(d))
			continue;
		datasets[k++] = (struct mk_t_dataset){
			.name = mk_mlflow_text(d, "name"),
			.digest = mk_mlflow_text(d, "digest"),
			.source_type = mk_mlflow_text(d, "source_type"),
			.source = mk_mlflow_text(d, "source"),
			.context =
				mk_mlflow_tag(mk_mlflow_list(input, "tags"), "mlflow.data.context"),
		};
	}
	*ret_n = k;
	return datasets;
}

static const char **read_models(json_t *list, size_t *ret_n)
{
	size_t n = json_array_size(list), k = 0;
	const char **models = mk_alloc((n + 1) * sizeof(*models));

	for (size_t i = 0; i < n; i++) {
		const char *id = mk_mlflow_text(json_array_get(list, i), "model_id");

		if (mk_mlflow_is_id(id))
			models[k++] = id;
	}
	*ret_n = k;
	return models;
}

/* The first of two that says something. */
static const char *either(const char *a, const char *b)
{
	return *a ? a : b;
}

static int take(void *arg, json_t *r)
{
	struct taking *taking = arg;
	json_t *info = json_object_get(r, "info"), *data = json_object_get(r, "data");
	json_t *tag_list = mk_mlflow_list(data, "tags");
	_cleanup_free_ struct mk_t_pair *params = NULL, *tags = NULL;
	_cleanup_free_ struct mk_t_metric *metrics = NULL;
	_cleanup_free_ struct mk_t_dataset *datasets = NULL;
	_cleanup_free_ const char **models = NULL;
	struct mk_t_run run = {
		.id = either(mk_mlflow_text(info, "run_id"), mk_mlflow_text(info, "run_uuid")),
		.experiment_id = mk_mlflow_text(info, "experiment_id"),
		.name = either(mk_mlflow_text(info, "run_name"),
			       mk_mlflow_tag(tag_list, "mlflow.runName")),
		.user = either(mk_mlflow_text(info, "user_id"),
			       mk_mlflow_tag(tag_list, "mlflow.user")),
		.status = mk_t_status(mk_mlflow_text(info, "status")),
		.started = mk_mlflow_time(info, "start_time"),
		.ended = mk_mlflow_time(info, "end_time"),
		.deleted = strcmp(mk_mlflow_text(info, "lifecycle_stage"), "deleted") == 0,
		.artifact_uri = mk_mlflow_text(info, "artifact_uri"),
	};

	if (!mk_mlflow_is_id(run.id) || !mk_mlflow_is_id(run.experiment_id))
		return mk_fail(taking->call, EREMOTEIO, "%s: a run without a proper id: \"%.60s\"",
			       taking->t->peer.remote, run.id);
	mk_mlflow_pairs(mk_mlflow_list(data, "params"), &params, &run.n_params);
	mk_mlflow_pairs(tag_list, &tags, &run.n_tags);
	metrics = read_metrics(mk_mlflow_list(data, "metrics"), &run.n_metrics);
	datasets = read_datasets(mk_mlflow_list(json_object_get(r, "inputs"), "dataset_inputs"),
				 &run.n_datasets);
	models = read_models(mk_mlflow_list(json_object_get(r, "outputs"), "model_outputs"),
			     &run.n_models);
	run.params = params;
	run.tags = tags;
	run.metrics = metrics;
	run.datasets = datasets;
	run.models = models;
	taking->taken++;
	return taking->emit(taking->arg, &run);
}

int mk_mlflow_run(struct mk_call *call, struct mk_tracking *t, const char *id, mk_t_run_emit *emit,
		  void *arg)
{
	struct taking taking = {call, t, emit, arg, 0};
	_cleanup_free_ char *what = mk_strf("run %.40s", id);
	_cleanup_buf_ struct mk_buf query = {};
	_cleanup_json_ json_t *answer = NULL;

	mk_mlflow_arg(&query, "run_id", id);

	int r = mk_mlflow_ask(call, t,
			      &(struct mk_mlflow_ask){
				      .what = what,
				      .route = "mlflow/runs/get",
				      .query = &query,
				      .limit = MAX_PAGE,
			      },
			      &answer);

	return r < 0 ? r : take(&taking, json_object_get(answer, "run"));
}

/* The grammar has no OR, and IN for run_id alone. */
static void filter_of(const struct mk_t_query *query, struct mk_buf *ret)
{
	if (query->started_since > 0)
		(void)mk_buf_printf(ret, "attributes.start_time >= %lld",
				    (long long)(query->started_since / MK_MS));
	if (query->live)
		(void)mk_buf_printf(ret,
				    "%sattributes.status != 'FINISHED' AND attributes.status != "
				    "'FAILED' AND attributes.status != 'KILLED'",
				    ret->len ? " AND " : "");
	for (size_t i = 0; i < query->n_ids; i++)
		(void)mk_buf_printf(ret, "%s'%s'",
				    i	       ? ", "
				    : ret->len ? " AND attributes.run_id IN ("
					       : "attributes.run_id IN (",
				    query->run_ids[i]);
	if (query->n_ids)
		(void)mk_buf_putc(ret, ')');
}

/* Ids go into a filter as they are; one that is not in small letters is never found by a filter. */
static bool may_be_asked(const char *id)
{
	return id[strspn(id, "0123456789abcdefghijklmnopqrstuvwxyz_-")] == 0;
}

static json_t *body_of(const struct mk_t_query *query, const char *token, int limit)
{
	_cleanup_buf_ struct mk_buf filter = MK_BUF(64 << 10);
	json_t *ids = json_array();
	json_t *body =
		json_pack("{s:o, s:i, s:s, s:[s]}", "experiment_ids", ids, "max_results", limit,
			  "run_view_type", query->deleted ? "DELETED_ONLY" : "ACTIVE_ONLY",
			  "order_by", "attributes.start_time DESC");

	for (size_t i = 0; i < query->n_experiments; i++)
		(void)json_array_append_new(ids, json_string(query->experiment_ids[i]));
	filter_of(query, &filter);
	if (filter.len)
		(void)json_object_set_new(body, "filter", json_string(mk_buf_text(&filter)));
	if (token)
		(void)json_object_set_new(body, "page_token", json_string(token));
	return body;
}

int mk_mlflow_runs(struct mk_call *call, struct mk_tracking *t, const struct mk_t_query *query,
		   char **token, mk_t_run_emit *emit, void *arg)
{
	struct taking taking = {call, t, emit, arg, 0};
	int limit = query->limit > 0 && query->limit < PAGE ? query->limit : PAGE;
	int r;

	if (query->n_experiments == 0 || query->n_experiments > MAX_ASKED)
		return mk_fail(call, EINVAL, "%s: runs of %zu experiments in one question",
			       t->peer.remote, query->n_experiments);
	for (size_t i = 0; i < query->n_ids; i++)
		if (i == MAX_ASKED || !may_be_asked(query->run_ids[i]))
			return mk_fail(call, EINVAL, "%s: runs cannot be asked for by %zu ids, \"%.40s\""
				       " among them", t->peer.remote, query->n_ids, query->run_ids[i]);
	for (;; limit = limit >= 10 ? limit / 10 : 1) {
		_cleanup_json_ json_t *body = body_of(query, *token, limit);
		_cleanup_json_ json_t *answer = NULL;

		r = mk_mlflow_ask(call, t,
				  &(struct mk_mlflow_ask){
					  .what = "runs",
					  .route = "mlflow/runs/search",
					  .body = body,
					  .limit = MAX_PAGE,
					  .list = "runs",
					  .element = take,
					  .arg = &taking,
				  },
				  &answer);
		if (r == 0)
			return mk_mlflow_next(call, t, answer, token);
		if (r != -EFBIG || limit == 1 || taking.taken)
			return r;
	}
}
