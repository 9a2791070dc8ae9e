/* SPDX-License-Identifier: Apache-2.0 */
/* A tracking store that keeps what it is told, refuses a key, loses answers, loses questions, or is
 * away: one run called `train` in the experiment `rain`. */
#ifndef TEST_WRITABLE_STORE_H
#define TEST_WRITABLE_STORE_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "connect/tracking/tracking.h"

#define RUN_ID "0000000000000000000000000000000a"

struct mk_tracking {
	/* what it does with the next writes */
	int away;	/* errno of every answer */
	int lose_after; /* so many answers are lost, though it took what was said */
	int lose_before; /* … and did not */
	const char *refuse_key;
	size_t most;	  /* points of a batch; 0: any */
	bool refuse_move; /* of an experiment */
	void (*meanwhile)(struct mk_tracking *t); /* during a question about the run */

	/* what it has */
	struct mk_t_logged_point points[5000];
	int n_points;
	char tags[8][2][64];
	int n_tags;
	char params[8][2][64];
	int n_params;
	char names[4][64];
	bool gone[4]; /* deleted experiments */
	int64_t made; /* when its experiments were; 0: 5 */
	int n_names;
	int lives_in; /* the run, in names; 0 is rain */
	bool deleted;
	int said, batches, read_back;
};

/* EACCES is that of a server that does not know the login. */
static int is_away(struct mk_call *call, const struct mk_tracking *t)
{
	int r = mk_fail(call, t->away, "fake: is away");

	if (t->away == EACCES)
		mk_error_detail(call, "fake", 401, "who are you?");
	return r;
}

static int hear(struct mk_call *call, struct mk_tracking *t)
{
	t->said++;
	if (t->away)
		return is_away(call, t);
	if (t->lose_before > 0) {
		t->lose_before--;
		return mk_fail(call, ETIMEDOUT, "fake: did not hear it");
	}
	return 0;
}

static int answer(struct mk_call *call, struct mk_tracking *t)
{
	if (t->lose_after <= 0)
		return 0;
	t->lose_after--;
	return mk_fail(call, ETIMEDOUT, "fake: the answer is lost");
}

static void store_close(struct mk_tracking *t)
{
	(void)t;
}

static int store_experiments(struct mk_call *call, struct mk_tracking *t, char **token,
			     mk_t_experiment_emit *emit, void *arg)
{
	int r = t->away ? is_away(call, t) : 0;

	free(mk_steal(token));
	for (int i = 0; r == 0 && i < t->n_names; i++) {
		char id[16];
		const struct mk_t_experiment experiment = {
			.id = id, .name = t->names[i], .created = t->made ? t->made : 5,
			.updated = 7, .deleted = t->gone[i]};

		(void)snprintf(id, sizeof(id), "%d", i + 1);
		r = emit(arg, &experiment);
	}
	return r;
}

static int store_run(struct mk_call *call, struct mk_tracking *t, const char *id,
		     mk_t_run_emit *emit, void *arg)
{
	struct mk_t_pair tags[8], params[8];
	struct mk_t_metric metrics[8];
	size_t n_metrics = 0;
	const struct mk_t_run run = {
		.id = RUN_ID,
		.experiment_id = "1",
		.name = "train",
		.user = "ana",
		.status = MK_FINISHED,
		.started = 1000 * MK_SEC,
		.ended = 2000 * MK_SEC,
		.deleted = t->deleted,
		.artifact_uri = "",
		.params = params,
		.n_params = (size_t)t->n_params,
		.tags = tags,
		.n_tags = (size_t)t->n_tags,
		.metrics = metrics,
	};

	(void)id;
	if (t->away)
		return is_away(call, t);
	for (int i = 0; i < t->n_tags; i++)
		tags[i] = (struct mk_t_pair){t->tags[i][0], t->tags[i][1]};
	for (int i = 0; i < t->n_params; i++)
		params[i] = (struct mk_t_pair){t->params[i][0], t->params[i][1]};
	for (int i = 0; i < t->n_points; i++) {
		size_t k = 0;

		while (k < n_metrics && strcmp(metrics[k].key, t->points[i].key) != 0)
			k++;
		if (k == n_metrics)
			metrics[n_metrics++] = (struct mk_t_metric){t->points[i].key, t->points[i].point};
		else if (t->points[i].point.step >= metrics[k].last.step)
			metrics[k].last = t->points[i].point;
	}

	struct mk_t_run whole = run;
	char copy[8][2][64];

	whole.n_metrics = n_metrics;
	memcpy(copy, t->tags, sizeof(copy)); /* what it says is of now, whatever comes meanwhile */
	for (int i = 0; i < t->n_tags; i++)
		tags[i] = (struct mk_t_pair){copy[i][0], copy[i][1]};
	if (t->meanwhile)
		t->meanwhile(t);
	return emit(arg, &whole);
}

static int store_runs(struct mk_call *call, struct mk_tracking *t, const struct mk_t_query *query,
		      char **token, mk_t_run_emit *emit, void *arg)
{
	bool among = false;

	free(mk_steal(token));
	for (size_t i = 0; i < query->n_experiments; i++)
		among |= strtol(query->experiment_ids[i], NULL, 10) == t->lives_in + 1;
	return !among || query->deleted != t->deleted ? 0 : store_run(call, t, RUN_ID, emit, arg);
}

static int store_history(struct mk_call *call, struct mk_tracking *t, const char *run_id,
			 const char *key, char **token, struct mk_point **points, size_t *n)
{
	(void)run_id;
	free(mk_steal(token));
	t->read_back++;
	if (t->away)
		return is_away(call, t);
	*points = realloc(*points, (*n + (size_t)t->n_points + 1) * sizeof(**points));
	for (int i = 0; i < t->n_points; i++)
		if (strcmp(t->points[i].key, key) == 0)
			(*points)[(*n)++] = t->points[i].point;
	return 0;
}

/* Keys of points are looked up, not kept: they belong to who says them. */
static const char *keep(const char *key)
{
	static const char *const known[] = {"loss", "acc", "bad"};

	for (size_t i = 0; i < 3; i++)
		if (strcmp(known[i], key) == 0)
			return known[i];
	return "?";
}

static int set(char (*v)[2][64], int *n, const char *key, const char *value, bool fixed)
{
	int i = 0;

	while (i < *n && strcmp(v[i][0], key) != 0)
		i++;
	if (i < *n && fixed && strcmp(v[i][1], value) != 0)
		return -EINVAL;
	(void)snprintf(v[i][0], 64, "%s", key);
	(void)snprintf(v[i][1], 64, "%s", value);
	*n += i == *n;
	return 0;
}

static int store_log(struct mk_call *call, struct mk_tracking *t, const char *run_id,
		     const struct mk_t_batch *batch)
{
	int r = hear(call, t);

	(void)run_id;
	if (r < 0)
		return r;
	t->batches += batch->n_points > 0;
	if (t->most && batch->n_points > t->most)
		return mk_fail(call, E2BIG, "fake: at most %zu points", t->most);
	for (size_t i = 0; i < batch->n_points; i++)
		if (t->refuse_key && strcmp(batch->points[i].key, t->refuse_key) == 0)
			return mk_fail(call, EINVAL, "fake: not %s", t->refuse_key);
	if (t->deleted)
		return mk_fail(call, EINVAL, "fake: must be in the 'active' state");
	for (size_t i = 0; i < batch->n_points; i++) {
		t->points[t->n_points] = batch->points[i];
		t->points[t->n_points++].key = keep(batch->points[i].key);
	}
	for (size_t i = 0; i < batch->n_params; i++)
		if (set(t->params, &t->n_params, batch->params[i].key, batch->params[i].value, true) < 0)
			return mk_fail(call, EINVAL, "fake: params are fixed");
	return answer(call, t);
}

static int store_tag_set(struct mk_call *call, struct mk_tracking *t, const char *run_id,
			 const char *key, const char *value)
{
	int r = hear(call, t);

	(void)run_id;
	if (r < 0)
		return r;
	if (t->refuse_key && strcmp(key, t->refuse_key) == 0)
		return mk_fail(call, EINVAL, "fake: not %s", key);
	(void)set(t->tags, &t->n_tags, key, value, false);
	return answer(call, t);
}

static int store_tag_remove(struct mk_call *call, struct mk_tracking *t, const char *run_id,
			    const char *key)
{
	int r = hear(call, t), i = 0;

	(void)run_id;
	if (r < 0)
		return r;
	while (i < t->n_tags && strcmp(t->tags[i][0], key) != 0)
		i++;
	if (i == t->n_tags)
		return mk_fail(call, ENOENT, "fake: no such tag");
	memcpy(t->tags[i], t->tags[--t->n_tags], sizeof(t->tags[i]));
	return answer(call, t);
}

static int store_delete(struct mk_call *call, struct mk_tracking *t, const char *run_id)
{
	int r = hear(call, t);

	(void)run_id;
	t->deleted |= r == 0;
	return r < 0 ? r : answer(call, t);
}

static int store_restore(struct mk_call *call, struct mk_tracking *t, const char *run_id)
{
	int r = hear(call, t);

	(void)run_id;
	t->deleted &= r != 0;
	return r < 0 ? r : answer(call, t);
}

static int store_make(struct mk_call *call, struct mk_tracking *t, const char *name, char **ret_id)
{
	int r = hear(call, t);

	if (r < 0)
		return r;
	for (int i = 0; i < t->n_names; i++)
		if (strcmp(t->names[i], name) == 0)
			return mk_fail(call, EEXIST, "fake: there is one called %s", name);
	(void)snprintf(t->names[t->n_names++], 64, "%s", name);
	r = answer(call, t);
	if (r == 0) {
		char id[16];

		(void)snprintf(id, sizeof(id), "%d", t->n_names);
		*ret_id = mk_strdup(id);
	}
	return r;
}

/* With its runs, and all of them back. */
static int store_move(struct mk_call *call, struct mk_tracking *t, const char *id, bool gone)
{
	int r = hear(call, t), i = (int)strtol(id, NULL, 10) - 1;

	if (r < 0)
		return r;
	if (t->refuse_move)
		return mk_fail(call, EPERM, "fake: experiment %s stays", id);
	t->gone[i] = gone;
	if (i == t->lives_in)
		t->deleted = gone;
	return answer(call, t);
}

static int store_experiment_delete(struct mk_call *call, struct mk_tracking *t, const char *id)
{
	return store_move(call, t, id, true);
}

static int store_experiment_restore(struct mk_call *call, struct mk_tracking *t, const char *id)
{
	return store_move(call, t, id, false);
}

static const struct mk_tracking_ops fake = {
	.kind = "fake",
	.close = store_close,
	.experiments = store_experiments,
	.runs = store_runs,
	.run = store_run,
	.history = store_history,
	.log = store_log,
	.tag_set = store_tag_set,
	.tag_remove = store_tag_remove,
	.run_delete = store_delete,
	.run_restore = store_restore,
	.experiment_make = store_make,
	.experiment_delete = store_experiment_delete,
	.experiment_restore = store_experiment_restore,
};

/* One without a server. */
static const struct mk_tracking_ops plain = {
	.kind = "plain",
	.close = store_close,
	.experiments = store_experiments,
	.runs = store_runs,
	.run = store_run,
	.history = store_history,
};
static const struct mk_tracking_ops *the_ops = &fake;

#endif
