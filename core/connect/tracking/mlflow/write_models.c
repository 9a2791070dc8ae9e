/* SPDX-License-Identifier: Apache-2.0 */
/* What a registered model and its versions are told: aliases and descriptions. */
#include "mlflow.h"

#include <string.h>

enum { MAX_MODEL = 1000, MAX_DESCRIPTION = 5000 };

/* {"name": model} and what else names it. */
static int begin(struct mk_call *call, struct mk_tracking *t, const char *model, json_t *body)
{
	return mk_mlflow_put_text(call, t, body, "name", model, MAX_MODEL, "a model's name");
}

static int check_version(struct mk_call *call, struct mk_tracking *t, const char *version)
{
	if (mk_mlflow_is_id(version))
		return 0;
	return mk_fail(call, ENOENT, "%s: \"%.60s\" is no version", t->peer.remote, version);
}

int mk_mlflow_alias_set(struct mk_call *call, struct mk_tracking *t, const char *model,
			const char *alias, const char *version)
{
	_cleanup_free_ char *what = mk_strf("alias %.100s of model %.200s", alias, model);
	_cleanup_json_ json_t *body = json_pack("{s:s}", "version", version);
	int r = check_version(call, t, version);

	if (r == 0)
		r = begin(call, t, model, body);
	if (r == 0)
		r = mk_mlflow_put_text(call, t, body, "alias", alias, MK_T_MAX_KEY, "an alias");
	return r < 0 ? r
		     : mk_mlflow_change(call, t, what, "mlflow/registered-models/alias", NULL,
					body);
}

int mk_mlflow_alias_remove(struct mk_call *call, struct mk_tracking *t, const char *model,
			   const char *alias)
{
	_cleanup_free_ char *what = mk_strf("alias %.100s of model %.200s", alias, model);
	_cleanup_json_ json_t *body = json_object();
	int r = begin(call, t, model, body);

	if (r == 0)
		r = mk_mlflow_put_text(call, t, body, "alias", alias, MK_T_MAX_KEY, "an alias");
	return r < 0 ? r
		     : mk_mlflow_change(call, t, what, "mlflow/registered-models/alias", "DELETE",
					body);
}

int mk_mlflow_model_describe(struct mk_call *call, struct mk_tracking *t, const char *model,
			     const char *text)
{
	_cleanup_free_ char *what = mk_strf("the description of model %.200s", model);
	_cleanup_json_ json_t *body = json_object();
	int r = begin(call, t, model, body);

	if (r == 0)
		r = mk_mlflow_put_text(call, t, body, "description", text, MAX_DESCRIPTION, what);
	return r < 0 ? r
		     : mk_mlflow_change(call, t, what, "mlflow/registered-models/update", "PATCH",
					body);
}

int mk_mlflow_version_describe(struct mk_call *call, struct mk_tracking *t, const char *model,
			       const char *version, const char *text)
{
	_cleanup_free_ char *what =
		mk_strf("the description of model %.200s version %.40s", model, version);
	_cleanup_json_ json_t *body = json_pack("{s:s}", "version", version);
	int r = check_version(call, t, version);

	if (r == 0)
		r = begin(call, t, model, body);
	if (r == 0)
		r = mk_mlflow_put_text(call, t, body, "description", text, MAX_DESCRIPTION, what);
	return r < 0 ? r
		     : mk_mlflow_change(call, t, what, "mlflow/model-versions/update", "PATCH",
					body);
}
