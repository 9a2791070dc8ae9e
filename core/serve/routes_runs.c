/* SPDX-License-Identifier: Apache-2.0 */
/* Runs of MLflow's API, their params, tags, inputs and outputs; metrics are routes_metrics.c's. */
#include <errno.h>
#include <string.h>

#include "domain/track/track.h"
#include "serve/check.h"
#include "serve/tracked.h"

#define AT "/api/2.0/mlflow/runs/"

/* A time in ms that is there (1) or not (0). */
static int time_of(struct serve_request *rq, const char *name, int64_t *ret)
{
	int64_t ms = 0;
	int r = serve_int(rq, name, false, &ms);

	if (r > 0 && !mk_track_time(ms, ret))
		return serve_fail(rq, "INVALID_PARAMETER_VALUE",
				  "Invalid value %lld for parameter '%s' supplied: it is not a time in "
				  "milliseconds since 1970.",
				  (long long)ms, name);
	return r;
}

static int create(struct serve_request *rq, json_t **ret)
{
	_cleanup_pairs_ struct mk_pairs tags = {};
	struct mk_track_new new = {.tags = &tags};
	const char *experiment = "", *tag;
	int64_t id;
	int r = serve_text(rq, "experiment_id", false, &experiment);

	if (r >= 0)
		r = serve_text(rq, "run_name", false, &new.name);
	if (r >= 0)
		r = serve_text(rq, "user_id", false, &new.user);
	if (r >= 0)
		r = time_of(rq, "start_time", &new.start);
	if (r >= 0)
		r = serve_pairs(rq, "tags", SERVE_PAIRS_ANY, SERVE_TAG_MAX, &tags);
	if (r >= 0)
		r = mk_track_experiment_id(rq->call, rq->m, rq->project_id, experiment,
					   &new.experiment_id);
	if (r < 0)
		return r;
	tag = mk_pairs_get(&tags, "mlflow.runName");
	if (new.name && *new.name && tag && *tag && strcmp(new.name, tag) != 0)
		return serve_fail(rq, "INVALID_PARAMETER_VALUE",
				  "Both 'run_name' argument and 'mlflow.runName' tag are specified, but "
				  "with different values (run_name='%s', mlflow.runName='%s').",
				  new.name, tag);
	r = mk_track_run_make(rq->call, rq->m, &new, &id);
	if (r < 0)
		return r;

	json_t *run = NULL;

	r = serve_run(rq, id, &run);
	if (r < 0)
		return r;
	(void)json_object_del(run, "outputs"); /* MLflow's answer to this has none */
	*ret = json_pack("{s:o}", "run", run);
	return serve_made(rq, *ret);
}

static int get(struct serve_request *rq, json_t **ret)
{
	json_t *run = NULL;
	int64_t id;
	int r = serve_run_of(rq, &id);

	if (r == 0)
		r = serve_run(rq, id, &run);
	if (r < 0)
		return r;
	*ret = json_pack("{s:o}", "run", run);
	return serve_made(rq, *ret);
}

/* Protobuf's way with an enum: its name or its number; MLflow ignores what is neither. */
static bool status_of(const json_t *value, enum mk_status *ret)
{
	static const struct {
		const char *name;
		int number;
		enum mk_status status;
	} all[] = {
		{"RUNNING", 1, MK_RUNNING}, {"SCHEDULED", 2, MK_SCHEDULED},
		{"FINISHED", 3, MK_FINISHED}, {"FAILED", 4, MK_FAILED}, {"KILLED", 5, MK_KILLED},
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		if ((json_is_string(value) && strcmp(json_string_value(value), all[i].name) == 0) ||
		    (json_is_integer(value) && json_integer_value(value) == all[i].number)) {
			*ret = all[i].status;
			return true;
		}
	return false;
}

static int update(struct serve_request *rq, json_t **ret)
{
	const json_t *status = json_object_get(rq->in, "status");
	struct mk_track_update to = {};
	json_t *info = NULL;
	int64_t id;
	int r = serve_text(rq, "run_name", false, &to.name);

	if (r >= 0) {
		r = time_of(rq, "end_time", &to.end);
		to.has_end = r > 0;
	}
	if (r >= 0 && status && !json_is_null(status)) {
		to.has_status = status_of(status, &to.status);
		if (!to.has_status && !json_is_string(status) && !json_is_integer(status))
			return serve_fail(rq, "INVALID_PARAMETER_VALUE",
					  "Invalid value for parameter 'status' supplied.");
	}
	if (r >= 0)
		r = serve_run_of(rq, &id);
	if (r == 0)
		r = mk_track_run_update(rq->call, rq->m, id, &to);
	if (r == 0)
		r = serve_run_info(rq, id, &info);
	if (r < 0)
		return r;
	*ret = json_pack("{s:o}", "run_info", info);
	return serve_made(rq, *ret);
}

static int delete_it(struct serve_request *rq, json_t **ret)
{
	int64_t id;
	int r = serve_run_of(rq, &id);

	return r < 0 ? r : serve_state(rq, mk_track_run_delete(rq->call, rq->m, id));
}

static int restore(struct serve_request *rq, json_t **ret)
{
	int64_t id;
	int r = serve_run_of(rq, &id);

	return r < 0 ? r : mk_track_run_restore(rq->call, rq->m, id);
}

/* --- params and tags ------------------------------------------------------------------------ */

static int log_pair(struct serve_request *rq, enum mk_value_kind kind)
{
	_cleanup_pairs_ struct mk_pairs pairs = {};
	_cleanup_free_ char *cut = NULL;
	struct mk_track_batch batch = {.one_param = true};
	const char *uid, *key = "", *value = "";
	int r = serve_text(rq, "run_id", true, &uid);

	if (r >= 0)
		r = serve_text(rq, "key", true, &key);
	if (r >= 0)
		r = serve_text(rq, "value", false, &value);
	if (r >= 0)
		r = serve_check_key(rq, kind == MK_PARAM ? "Param key" : "key", "key", key);
	if (r == 0)
		r = serve_run_of(rq, &batch.run_id);
	if (r < 0)
		return r;
	cut = mk_strndup(value, serve_cut(value, kind == MK_PARAM ? SERVE_PARAM_MAX :
								    SERVE_TAG_MAX));
	if (mk_pairs_add(&pairs, key, cut) < 0)
		return mk_fail(rq->call, ENOMEM, "out of memory");
	if (kind == MK_PARAM)
		batch.params = &pairs;
	else
		batch.tags = &pairs;
	return mk_track_log(rq->call, rq->m, &batch);
}

static int log_param(struct serve_request *rq, json_t **ret)
{
	return log_pair(rq, MK_PARAM);
}

static int set_tag(struct serve_request *rq, json_t **ret)
{
	return log_pair(rq, MK_TAG);
}

static int delete_tag(struct serve_request *rq, json_t **ret)
{
	const char *uid, *key = "";
	int64_t id;
	int r = serve_text(rq, "run_id", true, &uid);

	if (r >= 0)
		r = serve_text(rq, "key", true, &key);
	if (r >= 0)
		r = serve_run_of(rq, &id);
	return r < 0 ? r : mk_track_tag_remove(rq->call, rq->m, id, key);
}

/* The list of the models a run logged, as clients of 2.x write it: a tag that grows. */
static int log_model(struct serve_request *rq, json_t **ret)
{
	static const char tag[] = "mlflow.log-model.history";
	static const char *const fields[] = {"artifact_path", "flavors", "utc_time_created",
					     "run_id"};
	_cleanup_pairs_ struct mk_pairs pairs = {};
	_cleanup_buf_ struct mk_buf before = MK_BUF(MK_LIMIT_TEXT);
	_cleanup_free_ char *after = NULL;
	struct mk_track_batch batch = {.tags = &pairs};
	const char *text = "";
	int r = serve_text(rq, "model_json", true, &text);

	if (r >= 0)
		r = serve_run_of(rq, &batch.run_id);
	if (r < 0)
		return r;

	json_t *model = json_loads(text, 0, NULL), *list = NULL;

	if (!model)
		return serve_fail(rq, "INVALID_PARAMETER_VALUE",
				  "Malformed model info. \n %s \n is not a valid JSON.", text);
	for (size_t i = 0; r >= 0 && i < sizeof(fields) / sizeof(*fields); i++)
		if (!json_object_get(model, fields[i]))
			r = serve_fail(rq, "INVALID_PARAMETER_VALUE",
				       "Model json is missing mandatory fields: {'%s'}", fields[i]);
	if (r == 0)
		r = mk_run_value(rq->call, rq->m, batch.run_id, MK_TAG, tag, &before);
	if (r == -ENOENT)
		mk_error_clear(rq->call);
	if (r == 0)
		list = json_loads(mk_buf_text(&before), 0, NULL);
	if (r == 0 || r == -ENOENT) {
		if (!json_is_array(list)) {
			json_decref(list);
			list = json_array();
		}
		(void)!json_array_append(list, model);
		after = json_dumps(list, 0);
		r = after && mk_pairs_add(&pairs, tag, after) == 0 ? 0 : serve_made(rq, NULL);
	}
	json_decref(list);
	json_decref(model);
	return r < 0 ? r : mk_track_log(rq->call, rq->m, &batch);
}

/* --- inputs and outputs ---------------------------------------------------------------------- */

struct inputs {
	struct mk_track_dataset *datasets;
	struct mk_pairs *tags; /* of each dataset */
	size_t n_datasets;
	struct mk_track_model *models;
	size_t n_models;
};

static void inputs_free(struct inputs *in)
{
	for (size_t i = 0; in->tags && i < in->n_datasets; i++)
		mk_pairs_free(&in->tags[i]);
	free(in->datasets);
	free(in->tags);
	free(in->models);
}

/* An item of `datasets`: {tags, dataset}. */
static int read_dataset(struct serve_request *rq, struct mk_track_dataset *to,
			struct mk_pairs *tags)
{
	const struct {
		const char *name;
		const char **to;
		size_t limit;
		bool required;
	} fields[] = {
		{"name", &to->name, 500, true},
		{"digest", &to->digest, 36, true},
		{"source_type", &to->source_type, SIZE_MAX, false},
		{"source", &to->source, 65535, false},
		{"schema", &to->schema, 1048575, false},
		{"profile", &to->profile, 16777215, false},
	};
	json_t *dataset = json_object_get(rq->in, "dataset"), *whole = rq->in;
	int r = serve_pairs(rq, "tags", SERVE_PAIRS_ANY, SIZE_MAX, tags);

	if (r == 0 && !json_is_object(dataset))
		return serve_fail(rq, "INVALID_PARAMETER_VALUE", "Dataset cannot be None");
	for (size_t i = 0; r == 0 && i < tags->n; i++) {
		r = serve_check_length(rq, "key", tags->v[i].key, 255);
		if (r == 0)
			r = serve_check_length(rq, "value", tags->v[i].value, 500);
	}
	rq->in = dataset;
	for (size_t i = 0; r >= 0 && i < sizeof(fields) / sizeof(*fields); i++) {
		r = serve_text(rq, fields[i].name, fields[i].required, fields[i].to);
		if (r > 0)
			r = serve_check_length(rq, fields[i].name, *fields[i].to, fields[i].limit);
	}
	rq->in = whole;
	to->tags = tags;
	return r;
}

static int read_models(struct serve_request *rq, bool required, struct inputs *in)
{
	json_t *list = NULL, *one;
	size_t i;
	int r = serve_list(rq, "models", required, &list);

	if (r > 0 && serve_check_count(rq, "models", list) < 0)
		return -EINVAL;
	if (r <= 0)
		return r;
	in->models = calloc(json_array_size(list) + 1, sizeof(*in->models));
	if (!in->models)
		return serve_made(rq, NULL);
	json_array_foreach(list, i, one) {
		struct mk_track_model *to = &in->models[in->n_models++];
		struct serve_item item;

		r = serve_item(rq, "models", i, one, &item);
		if (r == 0) {
			r = serve_text(&item.sub, "model_id", true, &to->model_id);
			if (r >= 0)
				r = serve_int(&item.sub, "step", false, &to->step);
			r = serve_item_end(&item, r);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_datasets(struct serve_request *rq, struct inputs *in)
{
	json_t *list = NULL, *one;
	size_t i;
	int r = serve_list(rq, "datasets", false, &list);

	if (r > 0 && serve_check_count(rq, "datasets", list) < 0)
		return -EINVAL;
	if (r <= 0)
		return r;
	in->datasets = calloc(json_array_size(list) + 1, sizeof(*in->datasets));
	in->tags = calloc(json_array_size(list) + 1, sizeof(*in->tags));
	if (!in->datasets || !in->tags)
		return serve_made(rq, NULL);
	json_array_foreach(list, i, one) {
		struct serve_item item;

		in->n_datasets = i + 1;
		r = serve_item(rq, "datasets", i, one, &item);
		if (r == 0)
			r = serve_item_end(&item, read_dataset(&item.sub, &in->datasets[i],
							       &in->tags[i]));
		if (r < 0)
			return r;
	}
	return 0;
}

static int log_inputs(struct serve_request *rq, json_t **ret)
{
	_cleanup_(inputs_free) struct inputs in = {};
	const char *uid = "";
	int64_t id;
	int r = serve_text(rq, "run_id", true, &uid);

	if (r >= 0)
		r = serve_check_run_id(rq, uid);
	if (r == 0)
		r = read_datasets(rq, &in);
	if (r >= 0)
		r = read_models(rq, false, &in);
	if (r >= 0)
		r = serve_run_of(rq, &id);
	return r < 0 ? r :
		       mk_track_inputs(rq->call, rq->m, id, in.datasets, in.n_datasets, in.models,
				       in.n_models);
}

static int log_outputs(struct serve_request *rq, json_t **ret)
{
	_cleanup_(inputs_free) struct inputs in = {};
	int64_t id;
	int r = read_models(rq, true, &in);

	if (r >= 0)
		r = serve_run_of(rq, &id);
	return r < 0 ? r : mk_track_outputs(rq->call, rq->m, id, in.models, in.n_models);
}

const struct serve_route serve_runs[] = {
	{"POST", AT "create", create, NULL},
	{"GET", AT "get", get, NULL},
	{"POST", AT "update", update, NULL},
	{"POST", AT "delete", delete_it, NULL},
	{"POST", AT "restore", restore, NULL},
	{"POST", AT "log-parameter", log_param, NULL},
	{"POST", AT "set-tag", set_tag, NULL},
	{"POST", AT "delete-tag", delete_tag, NULL},
	{"POST", AT "log-model", log_model, NULL},
	{"POST", AT "log-inputs", log_inputs, NULL},
	{"POST", AT "outputs", log_outputs, NULL},
	{},
};
