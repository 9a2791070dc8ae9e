/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Versions of registered models. What a version is made of must be of the run or logged model that
 * the request names, as MLflow demands it: else somebody could register, and then read, the files of
 * another.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "domain/track/artifact.h"
#include "domain/track/logged_model.h"
#include "domain/track/registry.h"
#include "serve/models.h"

#define ROOT "/api/2.0/mlflow/model-versions/"
#define MODEL_ROOT "/api/2.0/mlflow/registered-models/"

static const char *const stages[] = {"None", "Staging", "Production", "Archived"};

static int answer_version(struct serve_request *rq, int64_t id, json_t **ret)
{
	json_t *version = NULL;
	int r = serve_version_json(rq, id, true, &version);

	return r < 0 ? r : serve_wrapped(rq, "model_version", version, ret);
}

/* --- what a version is made of ------------------------------------------------------------- */

struct source {
	char *source, *storage, *run_id, *logged;
};

static void source_done(struct source *source)
{
	free(source->source);
	free(source->storage);
	free(source->run_id);
	free(source->logged);
}

static void replace(char **text, char *with)
{
	free(*text);
	*text = with;
}

static int not_of(struct serve_request *rq, const char *source, const char *parameter)
{
	return serve_fail(rq, "INVALID_PARAMETER_VALUE",
			  "Invalid model version source: '%s'. The %s request parameter must identify"
			  " the resource that contains the source.",
			  source, parameter);
}

/* The scheme's length; 0: a path of this machine. */
static size_t scheme_of(const char *source)
{
	size_t len = strspn(source, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789+-.");

	return len > 1 && source[len] == ':' ? len : 0;
}

static bool has_scheme(const char *source, const char *scheme)
{
	size_t len = scheme_of(source);

	return len == strlen(scheme) && strncasecmp(source, scheme, len) == 0;
}

static int hex(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
				      : -1;
}

/* True: something was decoded (in place). A NUL stays what it was, to be seen. */
static bool unquote(char *text)
{
	bool any = false;
	char *to = text;

	for (const char *s = text; *s; s++, to++) {
		int high = *s == '%' ? hex(s[1]) : -1, low = high < 0 ? -1 : hex(s[2]);

		*to = *s;
		if (low >= 0 && high * 16 + low != 0) {
			*to = (char)(high * 16 + low);
			s += 2;
			any = true;
		}
	}
	*to = 0;
	return any;
}

/* A part that leads up, however often it was encoded, or a NUL. */
static bool is_relative(const char *source)
{
	_cleanup_free_ char *text = mk_strdup(source);

	while (unquote(text))
		;
	if (strstr(text, "%00"))
		return true;
	for (const char *s = text + scheme_of(text); *s;) {
		size_t len = strcspn(s, "/");

		if ((len == 2 && strncmp(s, "..", 2) == 0) || (len == 1 && *s == '.'))
			return true;
		s += len;
		s += *s == '/';
	}
	return false;
}

/* source is root, or below it. */
static bool is_within(const char *source, const char *root)
{
	size_t len = strlen(root);

	return strncmp(source, root, len) == 0 && (!source[len] || source[len] == '/');
}

/* models:/<name>/<version>, models:/<name>@<alias>: the version's own source. */
static int resolve_version(struct serve_request *rq, const char *text, struct source *s)
{
	_cleanup_registered_version_ struct mk_registered_version version = {};
	size_t len = strcspn(text, "/@");
	_cleanup_free_ char *name = mk_strndup(text, len);
	const char *what = text + len + (text[len] != 0);
	bool alias = text[len] == '@' || strcasecmp(what, "latest") == 0;
	char *end;
	int64_t id, model, number = strtoll(what, &end, 10);
	int r = mk_registered_find(rq->call, rq->m, rq->project_id, name, &model);

	if (r < 0)
		return r;
	if (!*what || (!alias && *end))
		return not_of(rq, s->source, "model_id");
	r = alias ? mk_registered_version_by_alias(rq->call, rq->m, model, name, what, &id)
		  : mk_registered_version_find(rq->call, rq->m, model, name, number, &id);
	if (r == 0)
		r = mk_registered_version_get(rq->call, rq->m, rq->project_id, id, &version);
	if (r < 0)
		return r;
	if ((s->run_id && strcmp(s->run_id, version.run_id) != 0) ||
	    (s->logged && strcmp(s->logged, version.logged) != 0))
		return serve_fail(rq, "INVALID_PARAMETER_VALUE",
				  "Invalid model version source: '%s'. The run_id and model_id request"
				  " parameters must match the referenced model version.",
				  s->source);
	replace(&s->source, mk_strf("models:/%s/%s", name, version.version));
	replace(&s->storage, mk_strdup(version.storage));
	replace(&s->run_id, mk_strdup(version.run_id));
	replace(&s->logged, mk_strdup(version.logged));
	return 0;
}

/* The files a request calls by a URI of ours are those of its run or logged model. */
static int check_owner(struct serve_request *rq, const struct source *s)
{
	_cleanup_artifact_ struct mk_artifact artifact = {};
	const char *parameter = s->logged ? "model_id" : "run_id";
	int r;

	if (!s->logged && !s->run_id)
		return not_of(rq, s->source, parameter);
	r = s->logged ? mk_artifact_of_model(rq->call, rq->m, rq->project_id, s->logged, "",
					     &artifact)
		      : mk_artifact_of_run(rq->call, rq->m, rq->project_id, s->run_id, "", &artifact);
	if (r == -ENOENT) {
		mk_error_clear(rq->call);
		return not_of(rq, s->source, parameter);
	}
	if (r < 0)
		return r;
	return is_within(s->source, artifact.uri) ? 0 : not_of(rq, s->source, parameter);
}

static int check_runs_uri(struct serve_request *rq, const struct source *s)
{
	const char *path = s->source + strlen("runs:");

	path += strspn(path, "/");

	size_t len = strcspn(path, "/");
	_cleanup_artifact_ struct mk_artifact artifact = {};

	if (s->logged)
		return not_of(rq, s->source, "model_id");
	if (!s->run_id || strlen(s->run_id) != len || strncmp(s->run_id, path, len) != 0)
		return not_of(rq, s->source, "run_id");

	int r = mk_artifact_of_run(rq->call, rq->m, rq->project_id, s->run_id, "", &artifact);

	if (r != -ENOENT)
		return r;
	mk_error_clear(rq->call);
	if (rq->project_id) { /* a run of another project */
		r = mk_artifact_of_run(rq->call, rq->m, 0, s->run_id, "", &artifact);
		if (r != -ENOENT)
			return r < 0 ? r : not_of(rq, s->source, "run_id");
		mk_error_clear(rq->call);
	}
	return 0; /* as MLflow's: a run that was elsewhere, or is gone */
}

/* Fills storage, and run_id where the logged model knows it. run_id, logged: NULL when the request
 * does not say. */
static int resolve(struct serve_request *rq, struct source *s)
{
	_cleanup_logged_model_ struct mk_logged_model model = {};
	_cleanup_artifact_ struct mk_artifact artifact = {};
	const char *id = NULL;
	int r = 0;

	if (!scheme_of(s->source) || has_scheme(s->source, "file"))
		return serve_fail(rq, "INVALID_PARAMETER_VALUE",
				  "Invalid model version source: '%s'. To use a local path as a model"
				  " version source, the %s request parameter has to be specified and"
				  " the local path has to be contained within the artifact directory"
				  " of the run specified by the %s.",
				  s->source, s->logged ? "model_id" : "run_id",
				  s->logged ? "model_id" : "run_id");
	if (is_relative(s->source))
		return serve_fail(rq, "INVALID_PARAMETER_VALUE",
				  "Invalid model version source: '%s'. If supplying a source as an"
				  " http, https, local file path, ftp, objectstore, or mlflow-artifacts"
				  " uri, an absolute path must be provided without relative path"
				  " references present. Please provide an absolute path.",
				  s->source);
	if (has_scheme(s->source, "models")) {
		const char *text = s->source + strlen("models:");

		if (strncmp(text, "//", 2) == 0)
			return not_of(rq, s->source, "model_id");
		text += strspn(text, "/");
		if (strpbrk(text, "/@"))
			return resolve_version(rq, text, s);
		if (!s->logged || strcmp(s->logged, text) != 0)
			return not_of(rq, s->source, "model_id");
		id = text;
	} else if (has_scheme(s->source, "runs")) {
		r = check_runs_uri(rq, s);
	} else if (has_scheme(s->source, "mlflow-artifacts") ||
		   strstr(s->source, "/api/2.0/mlflow-artifacts/artifacts")) {
		r = check_owner(rq, s);
	}
	if (r == 0 && s->logged) {
		r = mk_logged_model_get(rq->call, rq->m, rq->project_id, s->logged, false, &model);
		if (r == 0)
			r = mk_artifact_of_model(rq->call, rq->m, rq->project_id, s->logged, "",
						 &artifact);
		if (r < 0)
			return r;
		if (!s->run_id || !*s->run_id)
			replace(&s->run_id, mk_strdup(model.source_run));
	}
	if (r == 0)
		replace(&s->storage, mk_strdup(id ? artifact.uri : s->source));
	return r;
}

static int create(struct serve_request *rq, json_t **ret)
{
	_cleanup_pairs_ struct mk_pairs tags = {};
	_cleanup_(source_done) struct source s = {};
	const char *name, *source, *run_id = "", *link = "", *description = "", *logged = "";
	int64_t model, id;
	int r = serve_text(rq, "name", true, &name);

	if (r > 0)
		r = serve_text(rq, "source", true, &source);
	if (r > 0)
		r = serve_text(rq, "run_id", false, &run_id);
	if (r >= 0)
		r = serve_text(rq, "run_link", false, &link);
	if (r >= 0)
		r = serve_text(rq, "description", false, &description);
	if (r >= 0)
		r = serve_text(rq, "model_id", false, &logged);
	if (r >= 0)
		r = serve_model_pairs(rq, "tags", &tags);
	if (r < 0)
		return r;
	s = (struct source){
		.source = mk_strdup(source),
		.run_id = *run_id ? mk_strdup(run_id) : NULL,
		.logged = *logged ? mk_strdup(logged) : NULL,
	};
	r = resolve(rq, &s);
	if (r == 0)
		r = serve_model_arg(rq, &model, &name);
	if (r < 0)
		return r;

	json_t *quoted = json_string(name);
	_cleanup_free_ char *text =
		quoted ? json_dumps(quoted, JSON_ENCODE_ANY | JSON_ENSURE_ASCII) : NULL;

	json_decref(quoted);
	if (!text)
		return mk_fail(rq->call, ENOMEM, "out of memory for a model's name");

	const struct mk_version_new new = {
		.model_id = model,
		.source = s.source,
		.storage = s.storage,
		.run_id = s.run_id ? s.run_id : "",
		.run_link = link,
		.description = description,
		.logged = s.logged ? s.logged : "",
		.logged_name = text,
		.tags = &tags,
	};

	r = mk_registered_version_make(rq->call, rq->m, &new, &id);
	return r < 0 ? r : answer_version(rq, id, ret);
}

/* --- the rest ------------------------------------------------------------------------------ */

static int get(struct serve_request *rq, json_t **ret)
{
	const char *name;
	int64_t model, id;
	int r = serve_version_arg(rq, &model, &name, &id);

	return r < 0 ? r : answer_version(rq, id, ret);
}

static int update(struct serve_request *rq, json_t **ret)
{
	const char *name, *description = "";
	int64_t model, id;
	int r = serve_text(rq, "description", false, &description);

	if (r >= 0)
		r = serve_version_arg(rq, &model, &name, &id);
	if (r == 0)
		r = mk_registered_version_describe(rq->call, rq->m, id, description);
	return r < 0 ? r : answer_version(rq, id, ret);
}

/* The stage as it is written, whatever the case. */
static int canonical(struct serve_request *rq, const char *text, const char **ret)
{
	for (size_t i = 0; i < sizeof(stages) / sizeof(*stages); i++)
		if (strcasecmp(text, stages[i]) == 0) {
			*ret = stages[i];
			return 0;
		}
	return serve_fail(rq, "INVALID_PARAMETER_VALUE",
			  "Invalid Model Version stage: %s. Value must be one of None, Staging, "
			  "Production, Archived.",
			  text);
}

static int transition(struct serve_request *rq, json_t **ret)
{
	const char *name, *text, *stage;
	bool archive = false;
	int64_t model, id;
	int r = serve_text(rq, "stage", true, &text);

	if (r > 0)
		r = serve_bool(rq, "archive_existing_versions", &archive);
	if (r >= 0)
		r = canonical(rq, text, &stage);
	if (r < 0)
		return r;
	if (archive && strcmp(stage, "Staging") != 0 && strcmp(stage, "Production") != 0)
		return serve_fail(rq, "INVALID_PARAMETER_VALUE",
				  "Model version transition cannot archive existing model versions "
				  "because '%s' is not an Active stage. Valid stages are ['Staging', "
				  "'Production']",
				  text);
	r = serve_version_arg(rq, &model, &name, &id);
	if (r == 0)
		r = mk_registered_version_stage(rq->call, rq->m, id, stage, archive);
	return r < 0 ? r : answer_version(rq, id, ret);
}

static int delete_version(struct serve_request *rq, json_t **ret)
{
	const char *name;
	int64_t model, id;
	int r = serve_version_arg(rq, &model, &name, &id);

	(void)ret;
	return r < 0 ? r : mk_registered_version_remove(rq->call, rq->m, id);
}

static int get_uri(struct serve_request *rq, json_t **ret)
{
	_cleanup_registered_version_ struct mk_registered_version version = {};
	const char *name;
	int64_t model, id;
	int r = serve_version_arg(rq, &model, &name, &id);

	if (r == 0)
		r = mk_registered_version_get(rq->call, rq->m, rq->project_id, id, &version);
	return r < 0 ? r : serve_wrapped(rq, "artifact_uri", json_string(version.storage), ret);
}

static int set_tag(struct serve_request *rq, json_t **ret)
{
	const char *name, *key, *value = "";
	int64_t model, id;
	int r = serve_text(rq, "key", true, &key);

	(void)ret;
	if (r > 0)
		r = serve_text(rq, "value", false, &value);
	if (r >= 0)
		r = serve_tag_check(rq, key, value);
	if (r == 0)
		r = serve_version_arg(rq, &model, &name, &id);
	return r < 0 ? r : mk_registered_version_tag(rq->call, rq->m, id, key, value);
}

static int delete_tag(struct serve_request *rq, json_t **ret)
{
	const char *name, *key;
	int64_t model, id;
	int r = serve_text(rq, "key", true, &key);

	(void)ret;
	if (r > 0)
		r = serve_version_arg(rq, &model, &name, &id);
	return r < 0 ? r : mk_registered_version_tag(rq->call, rq->m, id, key, NULL);
}

struct latest {
	struct serve_request *rq;
	const bool *wanted;
	json_t *list;
};

static int add_latest(void *arg, int64_t id)
{
	struct latest *latest = arg;
	json_t *version = NULL;
	bool wanted = false;
	int r = serve_version_json(latest->rq, id, true, &version);

	if (r == -ENOENT) {
		mk_error_clear(latest->rq->call);
		return 0;
	}
	if (r < 0)
		return r;
	for (size_t i = 0; i < sizeof(stages) / sizeof(*stages); i++)
		if (latest->wanted[i])
			wanted |= strcmp(json_string_value(json_object_get(version, "current_stage")),
					 stages[i]) == 0;
	if (!wanted) {
		json_decref(version);
		return 0;
	}
	return json_array_append_new(latest->list, version) < 0
		       ? mk_fail(latest->rq->call, ENOMEM, "out of memory for an answer")
		       : 0;
}

static int get_latest(struct serve_request *rq, json_t **ret)
{
	bool wanted[sizeof(stages) / sizeof(*stages)] = {};
	struct latest latest = {.rq = rq, .wanted = wanted};
	json_t *list = NULL;
	const char *name;
	int64_t id;
	int r = serve_list(rq, "stages", false, &list);

	for (size_t i = 0; i < sizeof(stages) / sizeof(*stages); i++)
		wanted[i] = r >= 0 && !json_array_size(list);
	for (size_t i = 0; r >= 0 && i < json_array_size(list); i++) {
		const char *text = json_string_value(json_array_get(list, i)), *stage;

		r = canonical(rq, text ? text : "", &stage);
		for (size_t j = 0; r == 0 && j < sizeof(stages) / sizeof(*stages); j++)
			wanted[j] |= stage == stages[j];
	}
	if (r >= 0)
		r = serve_model_arg(rq, &id, &name);
	if (r < 0)
		return r;
	latest.list = json_array();
	r = latest.list ? mk_registered_latest(rq->call, rq->m, id, add_latest, &latest)
			: mk_fail(rq->call, ENOMEM, "out of memory for an answer");
	if (r == 0 && json_array_size(latest.list))
		r = serve_wrapped(rq, "model_versions", json_incref(latest.list), ret);
	json_decref(latest.list);
	return r;
}

const struct serve_route serve_versions[] = {
	{"POST", ROOT "create", create},
	{"GET", ROOT "get", get},
	{"PATCH", ROOT "update", update},
	{"DELETE", ROOT "delete", delete_version},
	{"POST", ROOT "transition-stage", transition},
	{"GET", ROOT "get-download-uri", get_uri},
	{"POST", ROOT "set-tag", set_tag},
	{"DELETE", ROOT "delete-tag", delete_tag},
	{"POST", MODEL_ROOT "get-latest-versions", get_latest},
	{"GET", MODEL_ROOT "get-latest-versions", get_latest},
	{},
};
