/* SPDX-License-Identifier: Apache-2.0 */
/* Experiments of MLflow's API: what a request says becomes a call of core/domain/track/track.h. */
#include <errno.h>
#include <string.h>

#include "domain/track/track.h"
#include "serve/check.h"
#include "serve/tracked.h"

#define AT "/api/2.0/mlflow/experiments/"

enum { SEARCH_EXPERIMENTS = 20, SEARCH_DATASETS = 1000 };

static int experiment_of(struct serve_request *rq, int64_t *ret)
{
	const char *id = "";
	int r = serve_text(rq, "experiment_id", true, &id);

	return r < 0 ? r : mk_track_experiment_id(rq->call, rq->m, rq->project_id, id, ret);
}

static int answer(struct serve_request *rq, int64_t id, json_t **ret)
{
	_cleanup_(mk_track_experiment_free) struct mk_track_experiment experiment = {};
	int r = mk_track_experiment_get(rq->call, rq->m, rq->project_id, id, &experiment);

	if (r < 0)
		return r;
	*ret = json_pack("{s:o}", "experiment", serve_experiment_json(&experiment));
	return serve_made(rq, *ret);
}

static int create(struct serve_request *rq, json_t **ret)
{
	_cleanup_pairs_ struct mk_pairs tags = {};
	const char *name = "", *location = NULL;
	int64_t id;
	int r = serve_text(rq, "name", true, &name);

	if (r >= 0)
		r = serve_text(rq, "artifact_location", false, &location);
	if (r >= 0)
		r = serve_check_experiment_name(rq, name);
	if (r == 0)
		r = serve_pairs(rq, "tags", SERVE_PAIRS_TAGS, SIZE_MAX, &tags);
	for (size_t i = 0; r == 0 && i < tags.n; i++)
		r = serve_check_length(rq, "value", tags.v[i].value, SERVE_EXPERIMENT_TAG_MAX);
	if (r == 0 && location && strncmp(location, "runs:", 5) == 0)
		return serve_fail(rq, "INVALID_PARAMETER_VALUE",
				  "Artifact location cannot be a runs:/ URI. Given: '%s'", location);
	if (r == 0 && location && strpbrk(location, "#;"))
		return serve_fail(rq, "INVALID_PARAMETER_VALUE",
				  "'artifact_location' URL can't include fragments or params.");
	if (r == 0)
		r = mk_track_experiment_make(rq->call, rq->m, rq->project_id, name,
					     location && *location ? location : NULL, &tags, &id);
	if (r < 0)
		return r;

	char text[24];

	*ret = json_pack("{s:s}", "experiment_id", serve_id(id, text));
	return serve_made(rq, *ret);
}

static int get(struct serve_request *rq, json_t **ret)
{
	int64_t id;
	int r = experiment_of(rq, &id);

	return r < 0 ? r : answer(rq, id, ret);
}

static int get_by_name(struct serve_request *rq, json_t **ret)
{
	const char *name = "";
	int64_t id;
	int r = serve_text(rq, "experiment_name", true, &name);

	if (r >= 0)
		r = mk_track_experiment_find(rq->call, rq->m, rq->project_id, name, &id);
	return r < 0 ? r : answer(rq, id, ret);
}

static int update(struct serve_request *rq, json_t **ret)
{
	const char *name = "";
	int64_t id;
	int r = serve_text(rq, "new_name", true, &name);

	if (r >= 0)
		r = experiment_of(rq, &id);
	if (r >= 0)
		r = serve_check_experiment_name(rq, name);
	if (r == 0)
		r = mk_track_experiment_rename(rq->call, rq->m, rq->project_id, id, name);
	return serve_state(rq, r);
}

static int delete_it(struct serve_request *rq, json_t **ret)
{
	int64_t id;
	int r = experiment_of(rq, &id);

	return r < 0 ? r : serve_state(rq, mk_track_experiment_delete(rq->call, rq->m, id));
}

static int restore(struct serve_request *rq, json_t **ret)
{
	int64_t id;
	int r = experiment_of(rq, &id);

	return r < 0 ? r : mk_track_experiment_restore(rq->call, rq->m, id);
}

static int set_tag(struct serve_request *rq, json_t **ret)
{
	const char *key = "", *value = "";
	int64_t id;
	int r = serve_text(rq, "key", true, &key);

	if (r >= 0)
		r = serve_text(rq, "value", false, &value);
	if (r >= 0)
		r = experiment_of(rq, &id);
	if (r >= 0)
		r = serve_check_key(rq, "key", "name", key);
	if (r == 0)
		r = serve_check_length(rq, "value", value, SERVE_EXPERIMENT_TAG_MAX);
	return r < 0 ? r : mk_track_experiment_tag(rq->call, rq->m, id, key, value);
}

static int delete_tag(struct serve_request *rq, json_t **ret)
{
	const char *key = "";
	int64_t id;
	int r = serve_text(rq, "key", true, &key);

	if (r >= 0)
		r = experiment_of(rq, &id);
	return r < 0 ? r : mk_track_experiment_tag(rq->call, rq->m, id, key, NULL);
}

/* --- data sets ----------------------------------------------------------------------------- */

struct summaries {
	struct serve_request *rq;
	const char *experiment;
	json_t *list;
};

static int add_summary(void *arg, const char *name, const char *digest, const char *context)
{
	const struct summaries *to = arg;
	json_t *one = json_pack("{s:s, s:s, s:s}", "experiment_id", to->experiment, "name", name,
				"digest", digest);

	if (one && *context)
		(void)json_object_set_new(one, "context", json_string(context));
	return json_array_append_new(to->list, one) < 0 ? serve_made(to->rq, NULL) : 0;
}

static bool said_before(const json_t *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (json_equal(json_array_get(list, i), json_array_get(list, n)))
			return true;
	return false;
}

/* Those of one experiment; of one there is not, none. */
static int summarize(struct summaries *to)
{
	struct serve_request *rq = to->rq;
	int64_t id = 0;
	int r = strcmp(to->experiment, "0") == 0 ?
			mk_track_default(rq->call, rq->m, rq->project_id, false, &id) :
			mk_track_experiment_id(rq->call, rq->m, rq->project_id, to->experiment, &id);

	if (r == -ENOENT)
		mk_error_clear(rq->call);
	if (r < 0 || !id)
		return r == -ENOENT ? 0 : r;
	return mk_track_datasets(rq->call, rq->m, id,
				 SEARCH_DATASETS - (int64_t)json_array_size(to->list), add_summary,
				 to);
}

static int search_datasets(struct serve_request *rq, json_t **ret)
{
	struct summaries to = {.rq = rq};
	json_t *ids = NULL, *one;
	size_t i;
	int r = serve_list(rq, "experiment_ids", false, &ids);

	if (r >= 0 && !json_array_size(ids))
		return serve_fail(rq, "INVALID_PARAMETER_VALUE",
				  "SearchDatasets request must specify at least one experiment_id.");
	if (r >= 0 && json_array_size(ids) > SEARCH_EXPERIMENTS)
		return serve_fail(rq, "INVALID_PARAMETER_VALUE",
				  "SearchDatasets request cannot specify more than %d experiment_ids. "
				  "Received %zu experiment_ids.",
				  SEARCH_EXPERIMENTS, json_array_size(ids));
	if (r < 0)
		return r;
	to.list = json_array();
	json_array_foreach(ids, i, one) {
		to.experiment = json_string_value(one);
		if (!to.experiment)
			r = serve_fail(rq, "INVALID_PARAMETER_VALUE",
				       "Invalid value for parameter 'experiment_ids' supplied.");
		else if (!said_before(ids, i))
			r = summarize(&to);
		if (r < 0)
			break;
	}
	*ret = r < 0 ? NULL : json_object();
	if (r == 0 && json_array_size(to.list))
		(void)json_object_set(*ret, "dataset_summaries", to.list);
	json_decref(to.list);
	return r < 0 ? r : serve_made(rq, *ret);
}

const struct serve_route serve_experiments[] = {
	{"POST", AT "create", create, NULL},
	{"GET", AT "get", get, NULL},
	{"GET", AT "get-by-name", get_by_name, NULL},
	{"POST", AT "update", update, NULL},
	{"POST", AT "delete", delete_it, NULL},
	{"POST", AT "restore", restore, NULL},
	{"POST", AT "set-experiment-tag", set_tag, NULL},
	{"POST", AT "delete-experiment-tag", delete_tag, NULL},
	{"POST", AT "search-datasets", search_datasets, NULL},
	{},
};
