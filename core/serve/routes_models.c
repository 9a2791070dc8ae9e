/* SPDX-License-Identifier: Apache-2.0 */
/* Registered models: theirs, their tags and aliases. Versions: routes_versions.c. */
#include <errno.h>
#include <string.h>

#include "domain/track/registry.h"
#include "serve/models.h"

#define ROOT "/api/2.0/mlflow/registered-models/"

static int answer_model(struct serve_request *rq, int64_t id, json_t **ret)
{
	json_t *model = NULL;
	int r = serve_registered_json(rq, id, &model);

	return r < 0 ? r : serve_wrapped(rq, "registered_model", model, ret);
}

static int create(struct serve_request *rq, json_t **ret)
{
	_cleanup_pairs_ struct mk_pairs tags = {};
	const char *name, *description = "", *prompt;
	int64_t id;
	int r = serve_text(rq, "name", true, &name);

	if (r > 0)
		r = serve_text(rq, "description", false, &description);
	if (r >= 0)
		r = serve_model_pairs(rq, "tags", &tags);
	if (r == 0)
		r = serve_model_name(rq, name);
	if (r < 0)
		return r;
	prompt = mk_pairs_get(&tags, "mlflow.prompt.is_prompt");
	if (prompt && strcasecmp(prompt, "true") == 0)
		return serve_fail(rq, "NOT_IMPLEMENTED",
				  "prompts are not offered by mantikd: it has MLflow's experiments, "
				  "runs, metrics, artifacts and models");
	r = mk_registered_make(rq->call, rq->m, rq->project_id, name, description, &tags, &id);
	return r < 0 ? r : answer_model(rq, id, ret);
}

static int get(struct serve_request *rq, json_t **ret)
{
	const char *name;
	int64_t id;
	int r = serve_model_arg(rq, &id, &name);

	return r < 0 ? r : answer_model(rq, id, ret);
}

static int update(struct serve_request *rq, json_t **ret)
{
	const char *name, *description = "";
	int64_t id;
	int r = serve_text(rq, "description", false, &description);

	if (r >= 0)
		r = serve_model_arg(rq, &id, &name);
	if (r == 0)
		r = mk_registered_describe(rq->call, rq->m, id, description);
	return r < 0 ? r : answer_model(rq, id, ret);
}

static int rename_model(struct serve_request *rq, json_t **ret)
{
	const char *name, *new_name;
	int64_t id;
	int r = serve_text(rq, "name", true, &name);

	if (r > 0)
		r = serve_text(rq, "new_name", true, &new_name);
	if (r > 0)
		r = serve_model_name(rq, new_name);
	if (r == 0)
		r = serve_model_arg(rq, &id, &name);
	if (r == 0)
		r = mk_registered_rename(rq->call, rq->m, id, new_name);
	return r < 0 ? r : answer_model(rq, id, ret);
}

static int delete_model(struct serve_request *rq, json_t **ret)
{
	const char *name;
	int64_t id;
	int r = serve_model_arg(rq, &id, &name);

	(void)ret;
	return r < 0 ? r : mk_registered_remove(rq->call, rq->m, id);
}

/* --- tags and aliases ---------------------------------------------------------------------- */

static int set_tag(struct serve_request *rq, json_t **ret)
{
	const char *name, *key, *value = "";
	int64_t id;
	int r = serve_text(rq, "key", true, &key);

	(void)ret;
	if (r > 0)
		r = serve_text(rq, "value", false, &value);
	if (r >= 0)
		r = serve_tag_check(rq, key, value);
	if (r == 0)
		r = serve_model_arg(rq, &id, &name);
	return r < 0 ? r : mk_registered_tag(rq->call, rq->m, id, key, value);
}

static int delete_tag(struct serve_request *rq, json_t **ret)
{
	const char *name, *key;
	int64_t id;
	int r = serve_text(rq, "key", true, &key);

	(void)ret;
	if (r > 0)
		r = serve_model_arg(rq, &id, &name);
	return r < 0 ? r : mk_registered_tag(rq->call, rq->m, id, key, NULL);
}

/* `v3` and `latest` would hide a version's own name. */
static bool is_reserved(const char *alias)
{
	return (*alias == 'v' || *alias == 'V') && alias[1] &&
	       !alias[1 + strspn(alias + 1, "0123456789")];
}

static int check_alias(struct serve_request *rq, const char *alias, bool new)
{
	for (const char *s = alias; *s; s++)
		if (!((unsigned char)*s >= 0x80 || (*s >= '0' && *s <= '9') ||
		      (*s >= 'A' && *s <= 'Z') || (*s >= 'a' && *s <= 'z') || *s == '_' ||
		      *s == '-'))
			return serve_fail(rq, "INVALID_PARAMETER_VALUE",
					  "Invalid alias name: '%s'. Names may only contain "
					  "alphanumerics, underscores (_), and dashes (-).",
					  alias);
	if (strlen(alias) > 255)
		return serve_fail(rq, "INVALID_PARAMETER_VALUE",
				  "'Registered model alias name' exceeds the maximum length of 255 "
				  "characters");
	if (new && strcasecmp(alias, "latest") == 0)
		return serve_fail(rq, "INVALID_PARAMETER_VALUE",
				  "'latest' alias name (case insensitive) is reserved.");
	if (new && is_reserved(alias))
		return serve_fail(rq, "INVALID_PARAMETER_VALUE",
				  "Version alias name '%s' is reserved.", alias);
	return 0;
}

static int set_alias(struct serve_request *rq, json_t **ret)
{
	const char *name, *alias;
	int64_t id, version;
	int r = serve_text(rq, "alias", true, &alias);

	(void)ret;
	if (r > 0)
		r = check_alias(rq, alias, true);
	if (r == 0)
		r = serve_version_arg(rq, &id, &name, &version);
	return r < 0 ? r : mk_registered_alias(rq->call, rq->m, id, alias, version);
}

static int delete_alias(struct serve_request *rq, json_t **ret)
{
	const char *name, *alias;
	int64_t id;
	int r = serve_text(rq, "alias", true, &alias);

	(void)ret;
	if (r > 0)
		r = check_alias(rq, alias, false);
	if (r == 0)
		r = serve_model_arg(rq, &id, &name);
	return r < 0 ? r : mk_registered_alias(rq->call, rq->m, id, alias, 0);
}

static int get_alias(struct serve_request *rq, json_t **ret)
{
	const char *name, *alias;
	int64_t id, version;
	json_t *object = NULL;
	int r = serve_text(rq, "alias", true, &alias);

	if (r > 0)
		r = check_alias(rq, alias, false);
	if (r == 0)
		r = serve_model_arg(rq, &id, &name);
	if (r == 0)
		r = mk_registered_version_by_alias(rq->call, rq->m, id, name, alias, &version);
	if (r == 0)
		r = serve_version_json(rq, version, true, &object);
	return r < 0 ? r : serve_wrapped(rq, "model_version", object, ret);
}

const struct serve_route serve_models[] = {
	{"POST", ROOT "create", create},
	{"GET", ROOT "get", get},
	{"PATCH", ROOT "update", update},
	{"POST", ROOT "rename", rename_model},
	{"DELETE", ROOT "delete", delete_model},
	{"POST", ROOT "set-tag", set_tag},
	{"DELETE", ROOT "delete-tag", delete_tag},
	{"POST", ROOT "alias", set_alias},
	{"GET", ROOT "alias", get_alias},
	{"DELETE", ROOT "alias", delete_alias},
	{},
};
