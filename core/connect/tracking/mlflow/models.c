/* SPDX-License-Identifier: Apache-2.0 */
/* The registry: models, and the versions of one with the aliases that name them; logged models. */
#include "mlflow.h"

#include <errno.h>
#include <string.h>

enum { PAGE_MODELS = 100, PAGE_VERSIONS = 200, MAX_LIST = 32 << 20 };

struct taking {
	struct mk_call *call;
	struct mk_tracking *t;
	mk_t_model_emit *model;
	mk_t_version_emit *version;
	void *arg;
	json_t *aliases; /* [{"alias", "version"}] of the model */
};

static int take_model(void *arg, json_t *m)
{
	struct taking *taking = arg;
	_cleanup_free_ struct mk_t_pair *tags = NULL;
	struct mk_t_model model = {
		.name = mk_mlflow_text(m, "name"),
		.description = mk_mlflow_text(m, "description"),
		.created = mk_mlflow_time(m, "creation_timestamp"),
		.updated = mk_mlflow_time(m, "last_updated_timestamp"),
	};

	if (!*model.name || strlen(model.name) > 1000)
		return mk_fail(taking->call, EREMOTEIO, "%s: a model with a name of %zu bytes",
			       taking->t->peer.remote, strlen(model.name));
	mk_mlflow_pairs(mk_mlflow_list(m, "tags"), &tags, &model.n_tags);
	model.tags = tags;
	return taking->model(taking->arg, &model);
}

int mk_mlflow_models(struct mk_call *call, struct mk_tracking *t, char **token,
		     mk_t_model_emit *emit, void *arg)
{
	struct taking taking = {.call = call, .t = t, .model = emit, .arg = arg};
	_cleanup_buf_ struct mk_buf query = {};
	_cleanup_free_ char *page = mk_strf("%d", PAGE_MODELS);
	_cleanup_json_ json_t *answer = NULL;

	mk_mlflow_arg(&query, "max_results", page);
	if (*token)
		mk_mlflow_arg(&query, "page_token", *token);

	int r = mk_mlflow_ask(call, t,
			      &(struct mk_mlflow_ask){
				      .what = "models",
				      .route = "mlflow/registered-models/search",
				      .query = &query,
				      .limit = MAX_LIST,
				      .list = "registered_models",
				      .element = take_model,
				      .arg = &taking,
			      },
			      &answer);

	return r < 0 ? r : mk_mlflow_next(call, t, answer, token);
}

/* --- versions -------------------------------------------------------------------------------- */

static int take_version(void *arg, json_t *v)
{
	struct taking *taking = arg;
	json_t *own = mk_mlflow_list(v, "aliases");
	size_t most = json_array_size(taking->aliases) + json_array_size(own), n = 0;
	_cleanup_free_ const char **aliases = mk_alloc((most + 1) * sizeof(*aliases));
	_cleanup_free_ struct mk_t_pair *tags = NULL;
	struct mk_t_version version = {
		.version = mk_mlflow_text(v, "version"),
		.run_id = mk_mlflow_text(v, "run_id"),
		.stage = mk_mlflow_text(v, "current_stage"),
		.status = mk_mlflow_text(v, "status"),
		.description = mk_mlflow_text(v, "description"),
		.source = mk_mlflow_text(v, "source"),
		.created = mk_mlflow_time(v, "creation_timestamp"),
		.updated = mk_mlflow_time(v, "last_updated_timestamp"),
	};

	if (!mk_mlflow_is_id(version.version))
		return mk_fail(taking->call, EREMOTEIO, "%s: a model's version \"%.40s\"",
			       taking->t->peer.remote, version.version);
	for (size_t i = 0; i < json_array_size(taking->aliases); i++) {
		json_t *a = json_array_get(taking->aliases, i);
		const char *alias = mk_mlflow_text(a, "alias");

		if (*alias && strcmp(mk_mlflow_text(a, "version"), version.version) == 0)
			aliases[n++] = alias;
	}
	version.aliases = aliases;
	version.n_aliases = n;
	mk_mlflow_pairs(mk_mlflow_list(v, "tags"), &tags, &version.n_tags);
	version.tags = tags;
	return taking->version(taking->arg, &version);
}

/* Searching gives versions without their aliases: those are the model's. */
static int ask_aliases(struct mk_call *call, struct mk_tracking *t, const char *model,
		       const char *what, json_t **ret)
{
	_cleanup_buf_ struct mk_buf query = {};

	mk_mlflow_arg(&query, "name", model);
	return mk_mlflow_ask(call, t,
			     &(struct mk_mlflow_ask){
				     .what = what,
				     .route = "mlflow/registered-models/get",
				     .query = &query,
				     .limit = MAX_LIST,
			     },
			     ret);
}

int mk_mlflow_versions(struct mk_call *call, struct mk_tracking *t, const char *model, char **token,
		       mk_t_version_emit *emit, void *arg)
{
	struct taking taking = {.call = call, .t = t, .version = emit, .arg = arg};
	_cleanup_buf_ struct mk_buf query = {};
	_cleanup_free_ char *page = mk_strf("%d", PAGE_VERSIONS), *filter = NULL;
	_cleanup_free_ char *what = mk_strf("model %.200s", model);
	_cleanup_json_ json_t *answer = NULL, *about = NULL;
	/* The grammar has no escape: the quote that is not in the name. */
	char quote = strchr(model, '\'') ? '"' : '\'';
	int r;

	if (strchr(model, quote))
		return mk_fail(call, EOPNOTSUPP,
			       "%s: %s: a name with both ' and \" cannot be searched for",
			       t->peer.remote, what);
	r = ask_aliases(call, t, model, what, &about);
	if (r < 0)
		return r;
	taking.aliases = mk_mlflow_list(json_object_get(about, "registered_model"), "aliases");
	filter = mk_strf("name=%c%s%c", quote, model, quote);
	mk_mlflow_arg(&query, "filter", filter);
	mk_mlflow_arg(&query, "max_results", page);
	if (*token)
		mk_mlflow_arg(&query, "page_token", *token);
	r = mk_mlflow_ask(call, t,
			  &(struct mk_mlflow_ask){
				  .what = what,
				  .route = "mlflow/model-versions/search",
				  .query = &query,
				  .limit = MAX_LIST,
				  .list = "model_versions",
				  .element = take_version,
				  .arg = &taking,
			  },
			  &answer);
	return r < 0 ? r : mk_mlflow_next(call, t, answer, token);
}

/* --- logged models --------------------------------------------------------------------------- */

int mk_mlflow_logged(struct mk_call *call, struct mk_tracking *t, const char *id,
		     mk_t_logged_emit *emit, void *arg)
{
	_cleanup_free_ char *what = mk_strf("logged model %.60s", id), *route = NULL;
	_cleanup_free_ struct mk_t_pair *params = NULL, *tags = NULL;
	_cleanup_json_ json_t *answer = NULL;

	if (!mk_mlflow_is_id(id))
		return mk_fail(call, ENOENT, "%s: \"%.60s\" is no id", t->peer.remote, id);
	route = mk_strf("mlflow/logged-models/%s", id);

	int r = mk_mlflow_ask(call, t,
			      &(struct mk_mlflow_ask){
				      .what = what,
				      .route = route,
				      .optional = true,
			      },
			      &answer);

	if (r < 0)
		return r;

	json_t *model = json_object_get(answer, "model"), *info = json_object_get(model, "info");
	struct mk_t_logged logged = {
		.id = id,
		.name = mk_mlflow_text(info, "name"),
		.type = mk_mlflow_text(info, "model_type"),
		.status = mk_mlflow_text(info, "status"),
		.run_id = mk_mlflow_text(info, "source_run_id"),
		.experiment_id = mk_mlflow_text(info, "experiment_id"),
		.created = mk_mlflow_time(info, "creation_timestamp_ms"),
		.updated = mk_mlflow_time(info, "last_updated_timestamp_ms"),
	};

	mk_mlflow_pairs(mk_mlflow_list(json_object_get(model, "data"), "params"), &params,
			&logged.n_params);
	mk_mlflow_pairs(mk_mlflow_list(info, "tags"), &tags, &logged.n_tags);
	logged.params = params;
	logged.tags = tags;
	return emit(arg, &logged);
}
