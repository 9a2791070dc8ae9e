/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a run and an experiment are told. A request that is the same when it comes twice may be
 * repeated by core/net; a batch and a new experiment are sent once, and whoever asked looks what
 * has become of them.
 *
 * Servers cut what is too long and say 200, and take a body they cannot read for an empty one (a
 * bare NaN stores 0 at 1970): so lengths are checked here, texts are UTF-8 or refused, and numbers
 * that JSON has not go as texts.
 */
#include "mlflow.h"

#include <math.h>
#include <string.h>

#include "base/utf8.h"

/* --- a question that changes something ------------------------------------------------------- */

/* Characters of UTF-8. */
static size_t count(const char *text)
{
	size_t n = 0;

	for (const char *s = text; *s; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

int mk_mlflow_put_text(struct mk_call *call, struct mk_tracking *t, json_t *body, const char *key,
		       const char *text, size_t max, const char *what)
{
	size_t len = strlen(text);

	if (mk_utf8_bad(text, len) < len)
		return mk_fail(call, EILSEQ,
			       "%s: %s is not UTF-8, and a tracking server takes nothing "
			       "else",
			       t->peer.remote, what);
	if (count(text) > max)
		return mk_fail(call, EINVAL,
			       "%s: %s has %zu characters: a tracking server keeps "
			       "%zu and would cut off the rest",
			       t->peer.remote, what, count(text), max);
	if (json_object_set_new(body, key, json_stringn(text, len)) < 0)
		return mk_fail(call, ENOMEM, "%s: %s: no memory", t->peer.remote, what);
	return 0;
}

static int change(struct mk_call *call, struct mk_tracking *t, const char *what, const char *route,
		  const char *method, json_t *body, bool once, json_t **ret)
{
	_cleanup_json_ json_t *answer = NULL;
	int r = mk_mlflow_ask(call, t,
			      &(struct mk_mlflow_ask){
				      .what = what,
				      .route = route,
				      .method = method,
				      .body = body,
				      .once = once,
				      .changes = true,
			      },
			      &answer);

	if (r == 0 && ret)
		*ret = mk_steal(&answer);
	return r;
}

int mk_mlflow_change(struct mk_call *call, struct mk_tracking *t, const char *what,
		     const char *route, const char *method, json_t *body)
{
	return change(call, t, what, route, method, body, false, NULL);
}

static int check_id(struct mk_call *call, struct mk_tracking *t, const char *id)
{
	if (mk_mlflow_is_id(id))
		return 0;
	return mk_fail(call, ENOENT, "%s: \"%.60s\" is no id", t->peer.remote, id);
}

static int check_key(struct mk_call *call, struct mk_tracking *t, const char *key)
{
	return *key ? 0
		    : mk_fail(call, EINVAL, "%s: a key has at least one character", t->peer.remote);
}

/* --- a batch --------------------------------------------------------------------------------- */

static json_t *number_of(double value)
{
	if (isnan(value))
		return json_string("NaN");
	if (isinf(value))
		return json_string(value > 0 ? "Infinity" : "-Infinity");
	return json_real(value); /* 17 digits: the same double again */
}

static int64_t ms_of(int64_t ns)
{
	return ns / MK_MS - (ns % MK_MS < 0);
}

static int put_points(struct mk_call *call, struct mk_tracking *t, const struct mk_t_batch *batch,
		      json_t *list)
{
	for (size_t i = 0; i < batch->n_points; i++) {
		const struct mk_t_logged_point *p = &batch->points[i];
		json_t *metric = json_object();
		int r = json_array_append_new(list, metric);

		if (r < 0)
			return mk_fail(call, ENOMEM, "%s: no memory for a batch", t->peer.remote);
		r = check_key(call, t, p->key);
		if (r == 0)
			r = mk_mlflow_put_text(call, t, metric, "key", p->key, MK_T_MAX_KEY,
					       "a metric's name");
		if (r < 0)
			return r;
		if (json_object_set_new(metric, "value", number_of(p->point.value)) < 0 ||
		    json_object_set_new(metric, "timestamp", json_integer(ms_of(p->point.time))) <
			    0 ||
		    json_object_set_new(metric, "step", json_integer(p->point.step)) < 0)
			return mk_fail(call, ENOMEM, "%s: no memory for a batch", t->peer.remote);
	}
	return 0;
}

static int put_pairs(struct mk_call *call, struct mk_tracking *t, const struct mk_t_pair *pairs,
		     size_t n, const char *kind, size_t max, json_t *list)
{
	for (size_t i = 0; i < n; i++) {
		_cleanup_free_ char *what = mk_strf("%s %.100s", kind, pairs[i].key);
		json_t *pair = json_object();
		int r = json_array_append_new(list, pair);

		if (r < 0)
			return mk_fail(call, ENOMEM, "%s: no memory for a batch", t->peer.remote);
		r = check_key(call, t, pairs[i].key);
		if (r == 0)
			r = mk_mlflow_put_text(call, t, pair, "key", pairs[i].key, MK_T_MAX_KEY,
					       "a key");
		if (r == 0)
			r = mk_mlflow_put_text(call, t, pair, "value", pairs[i].value, max, what);
		if (r < 0)
			return r;
	}
	return 0;
}

static int check_batch(struct mk_call *call, struct mk_tracking *t, const struct mk_t_batch *batch)
{
	size_t all = batch->n_points + batch->n_params + batch->n_tags;

	if (batch->n_points <= MK_T_MAX_POINTS && batch->n_params <= MK_T_MAX_PARAMS &&
	    batch->n_tags <= MK_T_MAX_TAGS && all <= MK_T_MAX_TOGETHER)
		return 0;
	return mk_fail(call, E2BIG, "%s: a batch of %zu points, %zu params and %zu tags",
		       t->peer.remote, batch->n_points, batch->n_params, batch->n_tags);
}

int mk_mlflow_log(struct mk_call *call, struct mk_tracking *t, const char *run_id,
		  const struct mk_t_batch *batch)
{
	_cleanup_free_ char *what = mk_strf("run %.40s", run_id);
	json_t *points = json_array(), *params = json_array(), *tags = json_array();
	_cleanup_json_ json_t *body = json_pack("{s:o, s:o, s:o, s:s}", "metrics", points, "params",
						params, "tags", tags, "run_id", run_id);
	int r = check_id(call, t, run_id);

	if (r == 0)
		r = check_batch(call, t, batch);
	if (r == 0)
		r = put_points(call, t, batch, points);
	if (r == 0)
		r = put_pairs(call, t, batch->params, batch->n_params, "param", MK_T_MAX_PARAM,
			      params);
	if (r == 0)
		r = put_pairs(call, t, batch->tags, batch->n_tags, "tag", MK_T_MAX_TAG, tags);
	if (r < 0)
		return r;
	if (json_dumpb(body, NULL, 0, JSON_COMPACT) > MK_T_MAX_REQUEST)
		return mk_fail(call, E2BIG, "%s: %s: more than %d bytes in one batch",
			       t->peer.remote, what, MK_T_MAX_REQUEST);
	/* What is stored once however often it is said may be said again. */
	return change(call, t, what, "mlflow/runs/log-batch", NULL, body, batch->n_points > 0,
		      NULL);
}

/* --- runs ------------------------------------------------------------------------------------ */

int mk_mlflow_tag_set(struct mk_call *call, struct mk_tracking *t, const char *run_id,
		      const char *key, const char *value)
{
	_cleanup_free_ char *what = mk_strf("tag %.100s of run %.40s", key, run_id);
	_cleanup_json_ json_t *body = json_pack("{s:s}", "run_id", run_id);
	int r = check_id(call, t, run_id);

	if (r == 0)
		r = check_key(call, t, key);
	if (r == 0)
		r = mk_mlflow_put_text(call, t, body, "key", key, MK_T_MAX_KEY, "a tag's name");
	if (r == 0)
		r = mk_mlflow_put_text(call, t, body, "value", value, MK_T_MAX_TAG, what);
	return r < 0 ? r : mk_mlflow_change(call, t, what, "mlflow/runs/set-tag", NULL, body);
}

int mk_mlflow_tag_remove(struct mk_call *call, struct mk_tracking *t, const char *run_id,
			 const char *key)
{
	_cleanup_free_ char *what = mk_strf("tag %.100s of run %.40s", key, run_id);
	_cleanup_json_ json_t *body = json_pack("{s:s}", "run_id", run_id);
	int r = check_id(call, t, run_id);

	if (r == 0)
		r = mk_mlflow_put_text(call, t, body, "key", key, MK_T_MAX_KEY, "a tag's name");
	return r < 0 ? r : mk_mlflow_change(call, t, what, "mlflow/runs/delete-tag", NULL, body);
}

int mk_mlflow_run_rename(struct mk_call *call, struct mk_tracking *t, const char *run_id,
			 const char *name)
{
	_cleanup_free_ char *what = mk_strf("the name of run %.40s", run_id);
	_cleanup_json_ json_t *body = json_pack("{s:s}", "run_id", run_id);
	int r = check_id(call, t, run_id);

	if (r < 0)
		return r;
	if (!*name) /* the server would say 200 and keep the old one */
		return mk_fail(call, EINVAL, "%s: %s cannot be empty", t->peer.remote, what);
	r = mk_mlflow_put_text(call, t, body, "run_name", name, MK_T_MAX_TAG, what);
	return r < 0 ? r : mk_mlflow_change(call, t, what, "mlflow/runs/update", NULL, body);
}

static int say_id(struct mk_call *call, struct mk_tracking *t, const char *kind, const char *key,
		  const char *id, const char *route)
{
	_cleanup_free_ char *what = mk_strf("%s %.40s", kind, id);
	_cleanup_json_ json_t *body = json_pack("{s:s}", key, id);
	int r = check_id(call, t, id);

	return r < 0 ? r : mk_mlflow_change(call, t, what, route, NULL, body);
}

int mk_mlflow_run_delete(struct mk_call *call, struct mk_tracking *t, const char *run_id)
{
	return say_id(call, t, "run", "run_id", run_id, "mlflow/runs/delete");
}

int mk_mlflow_run_restore(struct mk_call *call, struct mk_tracking *t, const char *run_id)
{
	return say_id(call, t, "run", "run_id", run_id, "mlflow/runs/restore");
}

/* --- experiments ----------------------------------------------------------------------------- */

/* *ret: the experiment, deleted ones, too. */
static int get_experiment(struct mk_call *call, struct mk_tracking *t, const char *route,
			  const char *key, const char *value, json_t **ret)
{
	_cleanup_buf_ struct mk_buf query = {};
	_cleanup_free_ char *what = mk_strf("experiment %.100s", value);
	_cleanup_json_ json_t *answer = NULL;

	mk_mlflow_arg(&query, key, value);

	int r = mk_mlflow_ask(
		call, t, &(struct mk_mlflow_ask){.what = what, .route = route, .query = &query},
		&answer);

	if (r == 0)
		*ret = json_incref(json_object_get(answer, "experiment"));
	return r;
}

/* What a server says of a name that is taken is the SQL it tried. r: what came of it; id: who may
 * have the name. */
static int judge_name(struct mk_call *call, struct mk_tracking *t, const char *name, const char *id,
		      int r)
{
	_cleanup_json_ json_t *taken = NULL;

	if (r != -EEXIST && r != -EINVAL)
		return r;

	struct mk_error said = call->error;

	call->error = (struct mk_error){};

	int asked = get_experiment(call, t, "mlflow/experiments/get-by-name", "experiment_name",
				   name, &taken);
	const char *owner = mk_mlflow_text(taken, "experiment_id");

	if (asked < 0 || !*owner || strcmp(owner, id) == 0) {
		mk_error_clear(call);
		call->error = said;
		return r;
	}
	mk_error_clear(call);
	call->error = said;
	if (strcmp(mk_mlflow_text(taken, "lifecycle_stage"), "deleted") == 0)
		return mk_fail(call, EEXIST,
			       "%s: a deleted experiment (%s) has the name \"%.200s\": restore it, "
			       "or take another name",
			       t->peer.remote, owner, name);
	return mk_fail(call, EEXIST, "%s: experiment %s has the name \"%.200s\" already",
		       t->peer.remote, owner, name);
}

static int check_name(struct mk_call *call, struct mk_tracking *t, json_t *body, const char *key,
		      const char *name)
{
	if (!*name)
		return mk_fail(call, EINVAL, "%s: an experiment's name cannot be empty",
			       t->peer.remote);
	return mk_mlflow_put_text(call, t, body, key, name, MK_T_MAX_NAME, "an experiment's name");
}

int mk_mlflow_experiment_make(struct mk_call *call, struct mk_tracking *t, const char *name,
			      char **ret_id)
{
	_cleanup_free_ char *what = mk_strf("experiment %.100s", name);
	_cleanup_json_ json_t *body = json_object(), *answer = NULL;
	int r = check_name(call, t, body, "name", name);

	if (r < 0)
		return r;
	r = change(call, t, what, "mlflow/experiments/create", NULL, body, true, &answer);
	if (r < 0)
		return judge_name(call, t, name, "", r);

	const char *id = mk_mlflow_text(answer, "experiment_id");

	if (!mk_mlflow_is_id(id))
		return mk_fail(call, EREMOTEIO, "%s: %s: made, but without a proper id: \"%.60s\"",
			       t->peer.remote, what, id);
	*ret_id = mk_strdup(id);
	return 0;
}

int mk_mlflow_experiment_rename(struct mk_call *call, struct mk_tracking *t, const char *id,
				const char *name)
{
	_cleanup_free_ char *what = mk_strf("experiment %.40s", id);
	_cleanup_json_ json_t *body = json_pack("{s:s}", "experiment_id", id);
	int r = check_id(call, t, id);

	if (r == 0)
		r = check_name(call, t, body, "new_name", name);
	if (r < 0)
		return r;
	r = mk_mlflow_change(call, t, what, "mlflow/experiments/update", NULL, body);
	return judge_name(call, t, name, id, r);
}

int mk_mlflow_experiment_tag(struct mk_call *call, struct mk_tracking *t, const char *id,
			     const char *key, const char *value)
{
	_cleanup_free_ char *what = mk_strf("%.100s of experiment %.40s", key, id);
	_cleanup_json_ json_t *body = json_pack("{s:s}", "experiment_id", id);
	int r = check_id(call, t, id);

	if (r == 0)
		r = check_key(call, t, key);
	if (r == 0)
		r = mk_mlflow_put_text(call, t, body, "key", key, MK_T_MAX_KEY, "a tag's name");
	if (r == 0)
		r = mk_mlflow_put_text(call, t, body, "value", value, MK_T_MAX_NOTE, what);
	return r < 0 ? r
		     : mk_mlflow_change(call, t, what, "mlflow/experiments/set-experiment-tag",
					NULL, body);
}

/* Of an experiment that is so already a server says that there is none. */
static int set_stage(struct mk_call *call, struct mk_tracking *t, const char *id, bool deleted)
{
	_cleanup_json_ json_t *experiment = NULL;
	int r = say_id(call, t, "experiment", "experiment_id", id,
		       deleted ? "mlflow/experiments/delete" : "mlflow/experiments/restore");

	if (r != -ENOENT || !mk_mlflow_is_id(id))
		return r;
	r = get_experiment(call, t, "mlflow/experiments/get", "experiment_id", id, &experiment);
	if (r < 0)
		return r;

	const char *stage = mk_mlflow_text(experiment, "lifecycle_stage");

	if (strcmp(stage, deleted ? "deleted" : "active") == 0) {
		mk_error_clear(call);
		return 0;
	}
	return mk_fail(call, EREMOTEIO, "%s: experiment %.40s is %.40s and stays so",
		       t->peer.remote, id, stage);
}

int mk_mlflow_experiment_delete(struct mk_call *call, struct mk_tracking *t, const char *id)
{
	return set_stage(call, t, id, true);
}

int mk_mlflow_experiment_restore(struct mk_call *call, struct mk_tracking *t, const char *id)
{
	return set_stage(call, t, id, false);
}
