/* SPDX-License-Identifier: Apache-2.0 */
/* Experiments of a tracking store that are made, renamed, deleted with their runs and brought back. */
#include "outbox.h"

static void experiments_are_made(void)
{
	STORE(p, t);
	_cleanup_(mk_experiment_free) struct mk_experiment experiment = {};
	int64_t id = 0, other = 0;

	CHECK_INT(mk_experiment_make(&p.call, p.m, project, "rain", &id), -EEXIST);
	CHECK_INT(mk_experiment_make(&p.call, p.m, project, "wind", &id), 0);
	CHECK_INT(mk_experiment_find(&p.call, p.m, project, "wind", &experiment), 0);
	t->lose_after = 1; /* it is made, and nobody hears so */
	CHECK_INT(send(&p), 0);
	CHECK_INT(t->n_names, 2);
	later(&p);
	CHECK_INT(send(&p), 0);
	CHECK_INT(told(&p), 0);
	later(&p);
	CHECK_INT(mk_index_experiments(&p.call, p.m, project), 0);
	mk_experiment_free(&experiment);
	CHECK_INT(mk_experiment_find(&p.call, p.m, project, "wind", &experiment), 0);
	CHECK_INT(experiment.id, id);
	CHECK_INT(t->n_names, 2);

	/* a name that is taken since */
	(void)snprintf(t->names[t->n_names++], 64, "hail");
	CHECK_INT(mk_experiment_make(&p.call, p.m, project, "hail", &other), 0);
	CHECK_INT(send(&p), 0);
	CHECK_INT(told(&p), -EEXIST);
	mk_error_clear(&p.call);
	later(&p);
	CHECK_INT(mk_index_experiments(&p.call, p.m, project), 0);
	mk_experiment_free(&experiment);
	CHECK_INT(mk_experiment_find(&p.call, p.m, project, "hail", &experiment), 0);
}

static bool run_is_deleted(struct platform *p, int64_t run)
{
	_cleanup_(mk_run_free) struct mk_run r = {};

	CHECK_INT(mk_run_peek(&p->call, p->m, run, &r), 0);
	return r.deleted;
}

static int find_rain(struct platform *p)
{
	_cleanup_(mk_experiment_free) struct mk_experiment experiment = {};
	int r = mk_experiment_find(&p->call, p->m, 1, "rain", &experiment);

	mk_error_clear(&p->call);
	return r;
}

/* With its run, without the store, and a listing that does not know it yet takes nothing back. */
static void an_experiment_goes_with_its_runs(void)
{
	STORE(p, t);
	_cleanup_(mk_experiment_free) struct mk_experiment experiment = {};

	CHECK_INT(log_lines(&p, run, "loss", "1\n"), 0);
	t->away = EHOSTUNREACH;
	CHECK_INT(mk_project_delete(&p.call, p.m, 1, 1), 0);
	CHECK_INT(mk_project_delete(&p.call, p.m, 1, 1), 0);
	CHECK_INT(find_rain(&p), -ENOENT);
	CHECK(run_is_deleted(&p, run));
	CHECK_INT(mk_run_value_set(&p.call, p.m, run, MK_TAG, "team", "b"), -EROFS);
	mk_error_clear(&p.call);
	CHECK_INT(send(&p), -EHOSTUNREACH);
	t->away = 0;
	later(&p);
	(void)set(t->tags, &t->n_tags, "theirs", "2", false);
	CHECK_INT(mk_index_run(&p.call, p.m, run), 0);
	CHECK_INT(mk_index_experiments(&p.call, p.m, project), 0);
	CHECK_TEXT(value(&p, run, MK_TAG, "theirs"), "2");
	CHECK_INT(find_rain(&p), -ENOENT);
	CHECK(run_is_deleted(&p, run));
	t->lose_before = 1;
	CHECK_INT(send(&p), 0);
	CHECK(!t->gone[0]); /* the point is still to come */
	later(&p);
	CHECK_INT(send(&p), 0);
	CHECK(t->gone[0]);
	CHECK_INT(t->n_points, 1); /* before it was deleted */

	CHECK_INT(mk_experiment_find_deleted(&p.call, p.m, project, "rain", &experiment), 0);
	CHECK_INT(mk_project_restore(&p.call, p.m, 1, experiment.id), 0);
	CHECK_INT(mk_project_restore(&p.call, p.m, 1, experiment.id), -ENOENT);
	mk_error_clear(&p.call);
	later(&p);
	CHECK_INT(mk_index_experiments(&p.call, p.m, project), 0);
	CHECK_INT(mk_index_run(&p.call, p.m, run), 0);
	CHECK_INT(find_rain(&p), 0);
	CHECK(!run_is_deleted(&p, run));
	CHECK_INT(send(&p), 0);
	CHECK(!t->gone[0]);
	CHECK(!run_is_deleted(&p, run));
}

static void a_refused_experiment_comes_back_with_its_runs(void)
{
	STORE(p, t);

	t->refuse_move = true;
	CHECK_INT(mk_project_delete(&p.call, p.m, 1, 1), 0);
	CHECK_INT(send(&p), 0);
	CHECK_INT(told(&p), -EPERM);
	CHECK(p.call.error.text && strstr(p.call.error.text, "stays"));
	mk_error_clear(&p.call);
	CHECK_INT(find_rain(&p), 0);
	CHECK(!run_is_deleted(&p, run));
	CHECK(!t->gone[0]);
}

/* rmdir: what mkdir left as it was, here and there. */
static void only_an_empty_experiment_is_removed(void)
{
	STORE(p, t);
	int64_t id = 0;

	CHECK_INT(mk_experiment_remove(&p.call, p.m, 1), -ENOTEMPTY);
	mk_error_clear(&p.call);
	/* the store never hears of one that was not sent */
	CHECK_INT(mk_experiment_make(&p.call, p.m, project, "wind", &id), 0);
	CHECK_INT(mk_experiment_remove(&p.call, p.m, id), 0);
	CHECK_INT(send(&p), 0);
	CHECK_INT(t->said, 0);
	CHECK_INT(told(&p), 0);
	CHECK_INT(mk_experiment_make(&p.call, p.m, project, "wind", &id), 0);
	CHECK_INT(send(&p), 0);
	CHECK_INT(t->n_names, 2);
	CHECK_INT(mk_experiment_remove(&p.call, p.m, id), 0);
	CHECK_INT(send(&p), 0);
	CHECK(t->gone[1]);
	CHECK_INT(told(&p), 0);
	CHECK_INT(mk_experiment_make(&p.call, p.m, project, "wind", &id), -EEXIST);
	CHECK(p.call.error.text && strstr(p.call.error.text, "restore"));
	mk_error_clear(&p.call);
	CHECK_INT(find_rain(&p), 0);
}

/* Somebody logs to it between our mkdir and our rmdir. */
static void what_others_put_in_stays(void)
{
	STORE(p, t);
	int64_t id = 0;

	(void)run;
	CHECK_INT(mk_experiment_make(&p.call, p.m, project, "mine", &id), 0);
	CHECK_INT(send(&p), 0);
	NEED(t->n_names == 2);
	t->lives_in = 1;
	CHECK_INT(mk_experiment_remove(&p.call, p.m, id), 0);
	CHECK_INT(send(&p), 0);
	CHECK_INT(told(&p), -ENOTEMPTY);
	mk_error_clear(&p.call);
	CHECK(!t->gone[1]);
	CHECK_INT(mk_experiment_remove(&p.call, p.m, id), 0); /* it is there again */
	t->lives_in = 0;
	CHECK_INT(send(&p), 0);
	CHECK(t->gone[1]);
}

/* "PATH N TRIES TEXT; …" of all that waits. */

int main(void)
{
	return RUN(TEST(experiments_are_made), TEST(an_experiment_goes_with_its_runs),
		   TEST(a_refused_experiment_comes_back_with_its_runs),
		   TEST(only_an_empty_experiment_is_removed),
		   TEST(what_others_put_in_stays));
}
