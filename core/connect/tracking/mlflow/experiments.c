/* SPDX-License-Identifier: Apache-2.0 */
/* Experiments, active and deleted, a page at a time. */
#include "mlflow.h"

#include <errno.h>
#include <string.h>

enum { PAGE = 1000, MAX_NAME = 2000 /* 500 characters */ };

struct taking {
	struct mk_call *call;
	struct mk_tracking *t;
	mk_t_experiment_emit *emit;
	void *arg;
};

static int take(void *arg, json_t *e)
{
	struct taking *taking = arg;
	_cleanup_free_ struct mk_t_pair *tags = NULL;
	struct mk_t_experiment experiment = {
		.id = mk_mlflow_text(e, "experiment_id"),
		.name = mk_mlflow_text(e, "name"),
		.artifact_location = mk_mlflow_text(e, "artifact_location"),
		.created = mk_mlflow_time(e, "creation_time"),
		.updated = mk_mlflow_time(e, "last_update_time"),
		.deleted = strcmp(mk_mlflow_text(e, "lifecycle_stage"), "deleted") == 0,
	};

	if (!mk_mlflow_is_id(experiment.id) || strlen(experiment.name) > MAX_NAME)
		return mk_fail(taking->call, EREMOTEIO,
			       "%s: an experiment without a proper id and "
			       "name: \"%.60s\", \"%.60s\"",
			       taking->t->peer.remote, experiment.id, experiment.name);
	mk_mlflow_pairs(mk_mlflow_list(e, "tags"), &tags, &experiment.n_tags);
	experiment.tags = tags;
	return taking->emit(taking->arg, &experiment);
}

int mk_mlflow_experiments(struct mk_call *call, struct mk_tracking *t, char **token,
			  mk_t_experiment_emit *emit, void *arg)
{
	struct taking taking = {call, t, emit, arg};
	_cleanup_json_ json_t *body =
		json_pack("{s:i, s:s}", "max_results", PAGE, "view_type", "ALL");
	_cleanup_json_ json_t *answer = NULL;

	if (*token)
		(void)json_object_set_new(body, "page_token", json_string(*token));

	int r = mk_mlflow_ask(call, t,
			      &(struct mk_mlflow_ask){
				      .what = "experiments",
				      .route = "mlflow/experiments/search",
				      .body = body,
				      .limit = 32 << 20,
				      .list = "experiments",
				      .element = take,
				      .arg = &taking,
			      },
			      &answer);

	return r < 0 ? r : mk_mlflow_next(call, t, answer, token);
}
