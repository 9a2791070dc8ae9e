/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logged models of MLflow 3: /api/2.0/mlflow/logged-models, and below it, a model's id and what is
 * of it. Their files come and go by routes_artifacts.c.
 */
#include <errno.h>
#include <string.h>

#include "domain/track/logged_model.h"
#include "domain/track/track.h"
#include "serve/files.h"
#include "serve/models.h"

#define ROOT "/api/2.0/mlflow/logged-models"

static int answer_model(struct serve_request *rq, const char *id, bool deleted, json_t **ret)
{
	json_t *model = NULL;
	int r = serve_logged_json(rq, id, deleted, &model);

	return r < 0 ? r : serve_wrapped(rq, "model", model, ret);
}

static int create(struct serve_request *rq, json_t **ret)
{
	static const char bad[] = "/:.%\"'";
	_cleanup_pairs_ struct mk_pairs tags = {}, params = {};
	_cleanup_free_ char *id = NULL;
	const char *experiment, *name = NULL, *type = "", *run = "";
	struct mk_logged_new new = {.tags = &tags, .params = &params};
	int r = serve_text(rq, "experiment_id", true, &experiment);

	if (r > 0)
		r = serve_text(rq, "name", false, &name);
	if (r >= 0)
		r = serve_text(rq, "model_type", false, &type);
	if (r >= 0)
		r = serve_text(rq, "source_run_id", false, &run);
	if (r >= 0)
		r = serve_model_pairs(rq, "tags", &tags);
	if (r == 0)
		r = serve_model_pairs(rq, "params", &params);
	if (r < 0)
		return r;
	if (name && strpbrk(name, bad))
		return serve_fail(rq, "INVALID_PARAMETER_VALUE",
				  "Invalid model name ('%s') provided. Model name must be a non-empty "
				  "string and cannot contain the following characters: ('/', ':', "
				  "'.', '%%', '\"', \"'\")",
				  name);
	r = mk_track_experiment_id(rq->call, rq->m, rq->project_id, experiment, &new.experiment_id);
	if (r < 0)
		return r;
	new.name = name && *name ? name : NULL;
	new.model_type = type;
	new.source_run = run;
	r = mk_logged_model_make(rq->call, rq->m, &new, &id);
	return r < 0 ? r : answer_model(rq, id, false, ret);
}

/* --- below a model's id -------------------------------------------------------------------- */

static int status_arg(struct serve_request *rq, enum mk_logged_status *ret)
{
	static const struct {
		const char *name;
		enum mk_logged_status status;
	} names[] = {
		{"LOGGED_MODEL_PENDING", MK_LOGGED_PENDING},
		{"LOGGED_MODEL_READY", MK_LOGGED_READY},
		{"LOGGED_MODEL_UPLOAD_FAILED", MK_LOGGED_FAILED},
		{"1", MK_LOGGED_PENDING},
		{"2", MK_LOGGED_READY},
		{"3", MK_LOGGED_FAILED},
	};
	const json_t *value = json_object_get(rq->in, "status");
	const char *text = NULL;
	int r = 1;

	if (json_is_integer(value)) {
		static const char *const digits[] = {"0", "1", "2", "3"};
		int64_t n = json_integer_value(value);

		text = n >= 0 && n < 4 ? digits[n] : "?";
	} else {
		r = serve_text(rq, "status", true, &text);
	}
	for (size_t i = 0; r > 0 && i < sizeof(names) / sizeof(*names); i++)
		if (strcmp(names[i].name, text) == 0) {
			*ret = names[i].status;
			return 0;
		}
	return r < 0 ? r
		     : serve_fail(rq, "INVALID_PARAMETER_VALUE",
				  "Invalid value %s for parameter 'status' supplied: it is one of "
				  "LOGGED_MODEL_PENDING, LOGGED_MODEL_READY, "
				  "LOGGED_MODEL_UPLOAD_FAILED",
				  text);
}

static int finish(struct serve_request *rq, const char *id, json_t **ret)
{
	enum mk_logged_status status;
	int r = status_arg(rq, &status);

	if (r == 0)
		r = mk_logged_model_finish(rq->call, rq->m, rq->project_id, id, status);
	return r < 0 ? r : answer_model(rq, id, false, ret);
}

static int show(struct serve_request *rq, const char *id, json_t **ret)
{
	bool deleted = false;
	int r = serve_bool(rq, "allow_deleted", &deleted);

	return r < 0 ? r : answer_model(rq, id, deleted, ret);
}

static int set_tags(struct serve_request *rq, const char *id, json_t **ret)
{
	_cleanup_pairs_ struct mk_pairs tags = {};
	int r = serve_model_pairs(rq, "tags", &tags);

	(void)ret;
	return r < 0 ? r : mk_logged_model_tag(rq->call, rq->m, rq->project_id, id, &tags);
}

static int add_params(struct serve_request *rq, const char *id, json_t **ret)
{
	_cleanup_pairs_ struct mk_pairs params = {};
	int r = serve_model_pairs(rq, "params", &params);

	(void)ret;
	return r < 0 ? r : mk_logged_model_params(rq->call, rq->m, rq->project_id, id, &params);
}

static int delete_model(struct serve_request *rq, const char *id, json_t **ret)
{
	(void)ret;
	return mk_logged_model_delete(rq->call, rq->m, rq->project_id, id);
}

static int list_files(struct serve_request *rq, const char *id, json_t **ret)
{
	_cleanup_artifact_ struct mk_artifact artifact = {};
	_cleanup_logged_model_ struct mk_logged_model model = {};
	const char *path = "";
	int r = serve_text(rq, "artifact_directory_path", false, &path);

	if (r >= 0)
		r = mk_logged_model_get(rq->call, rq->m, rq->project_id, id, false, &model);
	if (r == 0)
		r = mk_artifact_of_model(rq->call, rq->m, rq->project_id, id, path, &artifact);
	return r < 0 ? r : serve_artifact_list(rq, &artifact, SERVE_LIST_ROOTED, ret);
}

static int get_file(struct serve_request *rq, const char *id, json_t **ret)
{
	_cleanup_artifact_ struct mk_artifact artifact = {};
	_cleanup_logged_model_ struct mk_logged_model model = {};
	const char *path;
	int r = serve_text(rq, "artifact_file_path", true, &path);

	(void)ret;
	if (r >= 0)
		r = mk_logged_model_get(rq->call, rq->m, rq->project_id, id, false, &model);
	if (r == 0)
		r = mk_artifact_of_model(rq->call, rq->m, rq->project_id, id, path, &artifact);
	return r < 0 ? r : serve_artifact_open(rq, &artifact);
}

static const struct {
	const char *method;
	const char *below; /* the model's id */
	int (*run)(struct serve_request *rq, const char *id, json_t **ret);
} verbs[] = {
	{"GET", "", show},
	{"PATCH", "", finish},
	{"DELETE", "", delete_model},
	{"PATCH", "tags", set_tags},
	{"POST", "params", add_params},
	{"GET", "artifacts/directories", list_files},
	{"GET", "artifacts/files", get_file},
};

/* <id>, <id>/tags, <id>/tags/<key>, … */
static int of_model(struct serve_request *rq, json_t **ret)
{
	static const char tags[] = "tags/";
	size_t len = strcspn(rq->rest, "/");
	_cleanup_free_ char *id = mk_strndup(rq->rest, len);
	const char *below = rq->rest + len + (rq->rest[len] == '/');

	for (size_t i = 0; *id && i < sizeof(verbs) / sizeof(*verbs); i++)
		if (strcmp(verbs[i].method, rq->method) == 0 && strcmp(verbs[i].below, below) == 0)
			return verbs[i].run(rq, id, ret);
	if (*id && strcmp(rq->method, "DELETE") == 0 && strncmp(below, tags, strlen(tags)) == 0 &&
	    below[strlen(tags)])
		return mk_logged_model_untag(rq->call, rq->m, rq->project_id, id,
					     below + strlen(tags));
	return serve_fail(rq, "ENDPOINT_NOT_FOUND", "there is no %s %s", rq->method, rq->path);
}

const struct serve_route serve_logged[] = {
	{"POST", ROOT, create},
	{"GET", ROOT "/*", of_model},
	{"POST", ROOT "/*", of_model},
	{"PATCH", ROOT "/*", of_model},
	{"DELETE", ROOT "/*", of_model},
	{},
};
