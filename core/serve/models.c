/* SPDX-License-Identifier: Apache-2.0 */
/* See models.h. Times are ns here and ms there. */
#include "serve/models.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "domain/track/artifact.h"
#include "domain/track/logged_model.h"
#include "domain/track/registry.h"
#include "domain/track/track.h"
#include "serve/check.h"

#define MISSING \
	"Missing value for required parameter '%s'. See the API docs for more information about " \
	"request parameters."

enum { MAX_NAME = 256, MAX_TAG_VALUE = 100000 };

static int no_memory(struct serve_request *rq)
{
	return mk_fail(rq->call, ENOMEM, "out of memory for an answer");
}

int serve_wrapped(struct serve_request *rq, const char *key, json_t *value, json_t **ret)
{
	*ret = value ? json_pack("{s:o}", key, value) : NULL;
	return *ret ? 0 : no_memory(rq);
}

/* --- answers ------------------------------------------------------------------------------- */

static json_t *pairs_json(const struct mk_pairs *pairs, const char *key, const char *value)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < pairs->n; i++)
		if (json_array_append_new(list, json_pack("{s:s, s:s}", key, pairs->v[i].key, value,
							  pairs->v[i].value)) < 0) {
			json_decref(list);
			return NULL;
		}
	return list;
}

/* Empty lists are left out, as protobuf does. */
static int put_list(struct serve_request *rq, json_t *object, const char *key, json_t *list)
{
	if (!list)
		return no_memory(rq);
	if (!json_array_size(list)) {
		json_decref(list);
		return 0;
	}
	return json_object_set_new(object, key, list) < 0 ? no_memory(rq) : 0;
}

int serve_version_json(struct serve_request *rq, int64_t id, bool aliases, json_t **ret)
{
	_cleanup_registered_version_ struct mk_registered_version v = {};
	json_t *list, *object;
	int r = mk_registered_version_get(rq->call, rq->m, rq->project_id, id, &v);

	if (r < 0)
		return r;
	object = json_pack("{s:s, s:s, s:I, s:I, s:s, s:s, s:s, s:s, s:s, s:s}", "name", v.name,
			   "version", v.version, "creation_timestamp",
			   (json_int_t)(v.created / MK_MS), "last_updated_timestamp",
			   (json_int_t)(v.changed / MK_MS), "current_stage", v.stage, "description",
			   v.description, "source", v.source, "run_id", v.run_id, "status", "READY",
			   "run_link", v.run_link);
	if (!object)
		return no_memory(rq);
	r = put_list(rq, object, "tags", pairs_json(&v.tags, "key", "value"));
	list = json_array();
	for (size_t i = 0; list && aliases && i < v.aliases.n; i++)
		(void)json_array_append_new(list, json_string(v.aliases.v[i]));
	if (r == 0)
		r = put_list(rq, object, "aliases", list);
	else
		json_decref(list);
	if (r < 0)
		json_decref(object);
	else
		*ret = object;
	return r;
}

struct latest {
	struct serve_request *rq;
	json_t *list;
};

static int add_latest(void *arg, int64_t id)
{
	struct latest *latest = arg;
	json_t *version;
	int r = serve_version_json(latest->rq, id, false, &version);

	if (r == -ENOENT) { /* deleted since */
		mk_error_clear(latest->rq->call);
		return 0;
	}
	if (r == 0 && json_array_append_new(latest->list, version) < 0)
		r = no_memory(latest->rq);
	return r;
}

int serve_registered_json(struct serve_request *rq, int64_t id, json_t **ret)
{
	_cleanup_registered_ struct mk_registered model = {};
	struct latest latest = {.rq = rq};
	json_t *object;
	int r = mk_registered_get(rq->call, rq->m, rq->project_id, id, &model);

	if (r < 0)
		return r;
	object = json_pack("{s:s, s:I, s:I}", "name", model.name, "creation_timestamp",
			   (json_int_t)(model.created / MK_MS), "last_updated_timestamp",
			   (json_int_t)(model.changed / MK_MS));
	latest.list = json_array();
	if (!object || !latest.list)
		r = no_memory(rq);
	if (r == 0 && *model.description &&
	    json_object_set_new(object, "description", json_string(model.description)) < 0)
		r = no_memory(rq);
	if (r == 0)
		r = mk_registered_latest(rq->call, rq->m, id, add_latest, &latest);
	if (r == 0)
		r = put_list(rq, object, "latest_versions", json_incref(latest.list));
	if (r == 0)
		r = put_list(rq, object, "tags", pairs_json(&model.tags, "key", "value"));
	if (r == 0)
		r = put_list(rq, object, "aliases", pairs_json(&model.aliases, "alias", "version"));
	json_decref(latest.list);
	if (r < 0)
		json_decref(object);
	else
		*ret = object;
	return r;
}

struct metrics {
	struct serve_request *rq;
	const char *model_id;
	json_t *list;
};

static json_t *double_json(double value)
{
	return isnan(value)   ? json_string("NaN")
	       : isinf(value) ? json_string(value > 0 ? "Infinity" : "-Infinity")
			      : json_real(value);
}

static int add_metric(void *arg, const struct mk_model_metric *metric)
{
	struct metrics *metrics = arg;
	json_t *object = json_pack("{s:s, s:o, s:I, s:I}", "key", metric->key, "value",
				   double_json(metric->value), "timestamp",
				   (json_int_t)(metric->time / MK_MS), "step",
				   (json_int_t)metric->step);

	if (!object)
		return no_memory(metrics->rq);
	if (*metric->dataset_name)
		(void)json_object_set_new(object, "dataset_name", json_string(metric->dataset_name));
	if (*metric->dataset_digest)
		(void)json_object_set_new(object, "dataset_digest",
					  json_string(metric->dataset_digest));
	(void)json_object_set_new(object, "model_id", json_string(metrics->model_id));
	(void)json_object_set_new(object, "run_id", json_string(metric->run));
	return json_array_append_new(metrics->list, object) < 0 ? no_memory(metrics->rq) : 0;
}

static const char *const states[] = {
	[MK_LOGGED_UNSPECIFIED] = "LOGGED_MODEL_STATUS_UNSPECIFIED",
	[MK_LOGGED_PENDING] = "LOGGED_MODEL_PENDING",
	[MK_LOGGED_READY] = "LOGGED_MODEL_READY",
	[MK_LOGGED_FAILED] = "LOGGED_MODEL_UPLOAD_FAILED",
};

static int logged_info(struct serve_request *rq, const struct mk_logged_model *model, json_t *info)
{
	struct mk_track_experiment experiment = {};
	_cleanup_artifact_ struct mk_artifact artifact = {};
	int r = mk_track_experiment_get(rq->call, rq->m, rq->project_id, model->experiment_id,
					&experiment);

	if (r == 0)
		r = mk_artifact_of_model(rq->call, rq->m, 0, model->id, "", &artifact);
	if (r == 0) {
		json_t *more = json_pack(
			"{s:s, s:s, s:s, s:I, s:I, s:s, s:s, s:s, s:s}", "model_id", model->id,
			"experiment_id", experiment.shown, "name", model->name,
			"creation_timestamp_ms", (json_int_t)(model->created / MK_MS),
			"last_updated_timestamp_ms", (json_int_t)(model->changed / MK_MS),
			"artifact_uri", artifact.uri, "status", states[model->status],
			"model_type", model->model_type, "source_run_id", model->source_run);

		if (!more || json_object_update(info, more) < 0)
			r = no_memory(rq);
		json_decref(more);
	}
	mk_track_experiment_free(&experiment);
	return r < 0 ? r : put_list(rq, info, "tags", pairs_json(&model->tags, "key", "value"));
}

int serve_logged_json(struct serve_request *rq, const char *model_id, bool deleted, json_t **ret)
{
	_cleanup_logged_model_ struct mk_logged_model model = {};
	struct metrics metrics = {.rq = rq, .model_id = model_id};
	json_t *info = NULL, *data = NULL, *object = NULL;
	int r = mk_logged_model_get(rq->call, rq->m, rq->project_id, model_id, deleted, &model);

	if (r < 0)
		return r;
	info = json_object();
	data = json_object();
	metrics.list = json_array();
	if (!info || !data || !metrics.list)
		r = no_memory(rq);
	if (r == 0)
		r = logged_info(rq, &model, info);
	if (r == 0)
		r = put_list(rq, data, "params", pairs_json(&model.params, "key", "value"));
	if (r == 0)
		r = mk_logged_model_metrics(rq->call, rq->m, model_id, add_metric, &metrics);
	if (r == 0)
		r = put_list(rq, data, "metrics", json_incref(metrics.list));
	if (r == 0) {
		object = json_pack("{s:O, s:O}", "info", info, "data", data);
		r = object ? 0 : no_memory(rq);
	}
	json_decref(info);
	json_decref(data);
	json_decref(metrics.list);
	if (r == 0)
		*ret = object;
	return r;
}

/* --- arguments ----------------------------------------------------------------------------- */

int serve_model_name(struct serve_request *rq, const char *name)
{
	if (!name[strspn(name, " \t\r\n\f\v")])
		return serve_fail(rq, "INVALID_PARAMETER_VALUE", MISSING, "name");
	if (strpbrk(name, "/:"))
		return serve_fail(rq, "INVALID_PARAMETER_VALUE",
				  "Invalid model name '%s'. Names cannot contain '/' or ':'.", name);
	if (strcmp(name, ".") == 0 || strncmp(name, "..", 2) == 0)
		return serve_fail(rq, "INVALID_PARAMETER_VALUE",
				  "Invalid value \"%s\" for parameter 'name' supplied: Names may be "
				  "treated as files in certain cases, and must not resolve to other "
				  "names when treated as such. This name would resolve to '%s'",
				  name, name);
	return serve_check_length(rq, "name", name, MAX_NAME);
}

int serve_tag_check(struct serve_request *rq, const char *key, const char *value)
{
	int r = *key ? serve_check_key(rq, "key", "key", key)
		     : serve_fail(rq, "INVALID_PARAMETER_VALUE", MISSING, "key");

	return r < 0 ? r : serve_check_length(rq, "value", value, MAX_TAG_VALUE);
}

int serve_model_pairs(struct serve_request *rq, const char *name, struct mk_pairs *ret)
{
	json_t *list = NULL;
	int r = serve_list(rq, name, false, &list);

	for (size_t i = 0; r > 0 && i < json_array_size(list); i++) {
		const json_t *pair = json_array_get(list, i);
		const json_t *key = json_object_get(pair, "key");
		const json_t *value = json_object_get(pair, "value");

		if (!json_is_string(key) || (value && !json_is_null(value) && !json_is_string(value)))
			return serve_fail(rq, "INVALID_PARAMETER_VALUE",
					  "Invalid value for parameter '%s' supplied: it is a list of "
					  "objects with the texts key and value",
					  name);

		const char *text = json_is_string(value) ? json_string_value(value) : "";

		if (strlen(json_string_value(key)) != json_string_length(key) ||
		    (json_is_string(value) && strlen(text) != json_string_length(value)))
			return serve_fail(rq, "INVALID_PARAMETER_VALUE", "parameter '%s' holds a NUL",
					  name);
		r = serve_tag_check(rq, json_string_value(key), text);
		if (r == 0)
			r = mk_pairs_set(ret, json_string_value(key), text) < 0 ? no_memory(rq) : 1;
	}
	return r < 0 ? r : 0;
}

int serve_model_arg(struct serve_request *rq, int64_t *ret, const char **ret_name)
{
	int r = serve_text(rq, "name", true, ret_name);

	if (r > 0)
		r = serve_model_name(rq, *ret_name);
	return r < 0 ? r
		     : mk_registered_find(rq->call, rq->m, rq->project_id, *ret_name, ret);
}

int serve_version_arg(struct serve_request *rq, int64_t *ret_model, const char **ret_name,
		      int64_t *ret)
{
	const char *text = NULL, *name = NULL;
	char *end;
	/* A number is what some clients send. */
	json_t *value = json_object_get(rq->in, "version");
	int64_t number = 0;
	int r = serve_text(rq, "name", true, &name);

	if (r > 0 && json_is_integer(value))
		number = json_integer_value(value);
	else if (r > 0)
		r = serve_text(rq, "version", true, &text);
	if (r > 0)
		r = serve_model_name(rq, name);
	if (r < 0)
		return r;
	if (text) {
		errno = 0;
		number = strtoll(text, &end, 10);
		if (errno || end == text || *end)
			return serve_fail(rq, "INVALID_PARAMETER_VALUE",
					  "Parameter 'version' must be an integer, got '%s'.", text);
	}
	r = mk_registered_find(rq->call, rq->m, rq->project_id, name, ret_model);
	if (r == -ENOENT)
		return serve_fail(rq, "RESOURCE_DOES_NOT_EXIST",
				  "Model Version (name=%s, version=%lld) not found", name,
				  (long long)number);
	if (r == 0)
		r = mk_registered_version_find(rq->call, rq->m, *ret_model, name, number, ret);
	if (r == 0)
		*ret_name = name;
	return r;
}
