/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST /graphql: four questions of MLflow's web pages (3.x), which they ask in no other way. Nobody
 * else speaks it, so queries are not parsed: the name of the operation says what is wanted, and all
 * fields of it are told, with the type names that the page's cache wants. The answers are those of
 * the REST routes, renamed by the tables below.
 *
 *	{"data": {"mlflowGetRun": {"__typename": …, "run": {…}, "apiError": null}}}
 */
#include "serve/frame.h"

#include <errno.h>
#include <string.h>

enum kind { TEXT, LONG, NUMBER, MANY, ONE }; /* LONG: an integer, as a text */

struct shape {
	const char *type;
	const struct field {
		const char *name, *from; /* here, and in REST */
		enum kind kind;
		const struct shape *shape;
	} *fields; /* ends without a name */
};

#define FIELDS(...) (const struct field[]){__VA_ARGS__, {}}

static const struct shape run_tag = {"MlflowRunTag", FIELDS({"key", "key"}, {"value", "value"})};
static const struct shape param = {"MlflowParam", FIELDS({"key", "key"}, {"value", "value"})};
static const struct shape input_tag = {"MlflowInputTag", FIELDS({"key", "key"}, {"value", "value"})};
static const struct shape experiment_tag = {"MlflowExperimentTag",
					    FIELDS({"key", "key"}, {"value", "value"})};
static const struct shape metric = {
	"MlflowMetricExtension",
	FIELDS({"key", "key"}, {"value", "value", NUMBER}, {"step", "step", LONG},
	       {"timestamp", "timestamp", LONG})};
static const struct shape point = {
	"MlflowMetricWithRunId",
	FIELDS({"key", "key"}, {"value", "value", NUMBER}, {"step", "step", LONG},
	       {"timestamp", "timestamp", LONG}, {"runId", "run_id"})};
static const struct shape run_data = {"MlflowRunData",
				      FIELDS({"metrics", "metrics", MANY, &metric},
					     {"params", "params", MANY, &param},
					     {"tags", "tags", MANY, &run_tag})};
static const struct shape run_info = {
	"MlflowRunInfo",
	FIELDS({"runName", "run_name"}, {"status", "status"}, {"runUuid", "run_uuid"},
	       {"runId", "run_id"}, {"experimentId", "experiment_id"},
	       {"artifactUri", "artifact_uri"}, {"endTime", "end_time", LONG},
	       {"lifecycleStage", "lifecycle_stage"}, {"startTime", "start_time", LONG},
	       {"userId", "user_id"})};
static const struct shape experiment = {
	"MlflowExperiment",
	FIELDS({"experimentId", "experiment_id"}, {"name", "name"},
	       {"tags", "tags", MANY, &experiment_tag}, {"artifactLocation", "artifact_location"},
	       {"lifecycleStage", "lifecycle_stage"}, {"lastUpdateTime", "last_update_time", LONG},
	       {"creationTime", "creation_time", LONG},
	       {"effectiveTraceArchivalRetention", "effective_trace_archival_retention"})};
static const struct shape model_version = {
	"MlflowModelVersion",
	FIELDS({"name", "name"}, {"version", "version"}, {"status", "status"}, {"source", "source"},
	       {"creationTimestamp", "creation_timestamp", LONG})};
static const struct shape dataset = {
	"MlflowDataset", FIELDS({"digest", "digest"}, {"name", "name"}, {"profile", "profile"},
				{"schema", "schema"}, {"source", "source"},
				{"sourceType", "source_type"})};
static const struct shape dataset_input = {"MlflowDatasetInput",
					   FIELDS({"dataset", "dataset", ONE, &dataset},
						  {"tags", "tags", MANY, &input_tag})};
static const struct shape model_input = {"MlflowModelInput", FIELDS({"modelId", "model_id"})};
static const struct shape model_output = {"MlflowModelOutput",
					  FIELDS({"modelId", "model_id"}, {"step", "step", LONG})};
static const struct shape run_inputs = {"MlflowRunInputs",
					FIELDS({"datasetInputs", "dataset_inputs", MANY, &dataset_input},
					       {"modelInputs", "model_inputs", MANY, &model_input})};
static const struct shape run_outputs = {
	"MlflowRunOutputs", FIELDS({"modelOutputs", "model_outputs", MANY, &model_output})};
static const struct shape run = {
	"MlflowRunExtension",
	FIELDS({"info", "info", ONE, &run_info}, {"experiment", "experiment", ONE, &experiment},
	       {"modelVersions", "model_versions", MANY, &model_version},
	       {"data", "data", ONE, &run_data}, {"inputs", "inputs", ONE, &run_inputs},
	       {"outputs", "outputs", ONE, &run_outputs})};

static const struct shape answers[] = {
	{"MlflowGetRunResponse", FIELDS({"run", "run", ONE, &run})},
	{"MlflowGetExperimentResponse", FIELDS({"experiment", "experiment", ONE, &experiment})},
	{"MlflowSearchRunsResponse",
	 FIELDS({"runs", "runs", MANY, &run}, {"nextPageToken", "next_page_token"})},
	{"MlflowGetMetricHistoryBulkIntervalResponse", FIELDS({"metrics", "metrics", MANY, &point})},
};

static const struct operation {
	const char *name, *field; /* operationName, and the field of the answer */
	const char *variable;	  /* which holds the arguments */
	const char *method, *path;
	const struct shape *answer;
} operations[] = {
	{"GetRun", "mlflowGetRun", "data", "GET", "/api/2.0/mlflow/runs/get", &answers[0]},
	{"MlflowGetExperimentQuery", "mlflowGetExperiment", "input", "GET",
	 "/api/2.0/mlflow/experiments/get", &answers[1]},
	{"SearchRuns", "mlflowSearchRuns", "data", "POST", "/api/2.0/mlflow/runs/search", &answers[2]},
	{"GetMetricHistoryBulkInterval", "mlflowGetMetricHistoryBulkInterval", "data", "GET",
	 "/api/2.0/mlflow/metrics/get-history-bulk-interval", &answers[3]},
};

static json_t *told(const struct shape *shape, const json_t *from);

static json_t *value_of(const struct field *field, const json_t *from)
{
	const json_t *value = json_object_get(from, field->from);
	char number[32];
	json_t *list;
	const json_t *item;
	size_t i;

	switch (field->kind) {
	case TEXT: /* what is not there is empty, as in protobuf */
		return json_is_string(value) ? json_incref((json_t *)value) : json_string("");
	case LONG:
		if (json_is_string(value))
			return json_incref((json_t *)value);
		(void)snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(value));
		return json_string(number);
	case NUMBER: /* as the real one: what is no number is null */
		return json_is_number(value) ? json_incref((json_t *)value) : json_null();
	case MANY:
		list = json_array();
		json_array_foreach(value, i, item)
			(void)json_array_append_new(list, told(field->shape, item));
		return list;
	case ONE:
		break;
	}
	return told(field->shape, value);
}

static json_t *told(const struct shape *shape, const json_t *from)
{
	json_t *object = json_pack("{s:s}", "__typename", shape->type);

	for (const struct field *field = shape->fields; object && field->name; field++)
		(void)json_object_set_new(object, field->name, value_of(field, from));
	return object;
}

/* runName: run_name; as the arguments are written in a query. */
static json_t *snake(const json_t *from)
{
	json_t *to = json_object();
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)from, key, value) {
		_cleanup_buf_ struct mk_buf name = MK_BUF(1024);

		for (const char *c = key; *c; c++) {
			if (*c >= 'A' && *c <= 'Z')
				(void)mk_buf_putc(&name, '_');
			(void)mk_buf_putc(&name, *c >= 'A' && *c <= 'Z' ? (char)(*c | 0x20) : *c);
		}
		(void)json_object_set(to, mk_buf_text(&name), value);
	}
	return to;
}

/* The answer of a REST route to arguments, which are taken. Its error stays in rq's call. */
static int ask(struct serve_request *rq, const char *method, const char *path, json_t *in,
	       json_t **ret)
{
	_cleanup_buf_ struct mk_buf out = MK_BUF(MK_LIMIT_BODY * 8);
	const struct serve_route *route = serve_route_of(method, path);
	struct serve_file file = {.fd = -1};
	struct serve_request sub = *rq;
	int r;

	sub.method = method;
	sub.path = path;
	sub.rest = "";
	sub.in = in;
	sub.out = &out;
	sub.file = &file;
	r = !in ? -ENOMEM :
	    route && route->run ?
		   route->run(&sub, ret) :
		   serve_fail(&sub, "ENDPOINT_NOT_FOUND", "%s is not offered", path);
	if (r >= 0 && out.len) {
		*ret = json_loadb(out.data, out.len, 0, NULL);
		r = *ret ? 0 : mk_fail(rq->call, EREMOTEIO, "%s: no JSON", path);
	}
	rq->error_code = sub.error_code;
	json_decref(in);
	return r;
}

/* What a page shows with a run and REST has elsewhere; what is not to be had is left out. */
static void add_around(struct serve_request *rq, json_t *one)
{
	const json_t *info = json_object_get(one, "info");
	const char *id = json_string_value(json_object_get(info, "run_id"));
	const char *in = json_string_value(json_object_get(info, "experiment_id"));
	_cleanup_buf_ struct mk_buf filter = MK_BUF(1024);
	json_t *got = NULL;

	if (!id || !in)
		return;
	if (ask(rq, "GET", "/api/2.0/mlflow/experiments/get", json_pack("{s:s}", "experiment_id", in),
		&got) >= 0)
		(void)json_object_set(one, "experiment", json_object_get(got, "experiment"));
	json_decref(got);
	got = NULL;
	(void)mk_buf_printf(&filter, "run_id='%s'", id);
	if (ask(rq, "GET", "/api/2.0/mlflow/model-versions/search",
		json_pack("{s:s, s:i}", "filter", mk_buf_text(&filter), "max_results", 100), &got) >= 0)
		(void)json_object_set(one, "model_versions", json_object_get(got, "model_versions"));
	json_decref(got);
	mk_error_clear(rq->call);
	rq->error_code = NULL;
}

static json_t *error_of(struct serve_request *rq, int r)
{
	_cleanup_free_ char *body = NULL;

	(void)serve_error_body(rq, r, &body);

	json_t *said = body ? json_loads(body, 0, NULL) : NULL;
	json_t *error = json_pack("{s:s, s:n, s:O?, s:O?}", "__typename", "ApiError", "helpUrl", "code",
				  json_object_get(said, "error_code"), "message",
				  json_object_get(said, "message"));

	json_decref(said);
	mk_error_clear(rq->call);
	rq->error_code = NULL;
	return error;
}

static int answer(struct serve_request *rq, const struct operation *op, json_t **ret)
{
	const json_t *variables = json_object_get(rq->in, "variables");
	const json_t *arguments = json_object_get(variables, op->variable);
	json_t *got = NULL, *item, *error = NULL;
	size_t i;
	int r = ask(rq, op->method, op->path, snake(arguments), &got);

	if (r < 0)
		error = error_of(rq, r);
	if (json_is_object(json_object_get(got, "run")))
		add_around(rq, json_object_get(got, "run"));
	json_array_foreach(json_object_get(got, "runs"), i, item)
		add_around(rq, item);

	json_t *data = told(op->answer, got);

	for (const struct field *field = op->answer->fields; error && field->name; field++)
		(void)json_object_set_new(data, field->name, json_null());
	(void)json_object_set_new(data, "apiError", error ? error : json_null());
	*ret = json_pack("{s:{s:o}}", "data", op->field, data);
	json_decref(got);
	return *ret ? 0 : mk_fail(rq->call, ENOMEM, "out of memory");
}

static int graphql(struct serve_request *rq, json_t **ret)
{
	const char *name = "";
	int r = serve_text(rq, "operationName", true, &name);

	if (r < 0)
		return r;
	for (size_t i = 0; i < sizeof(operations) / sizeof(*operations); i++)
		if (strcmp(operations[i].name, name) == 0)
			return answer(rq, &operations[i], ret);
	return serve_fail(rq, "ENDPOINT_NOT_FOUND", "graphql: %s is not offered", name);
}

const struct serve_route serve_graphql[] = {
	{"POST", "/graphql", graphql},
	{},
};
