/* SPDX-License-Identifier: Apache-2.0 */
/* Writing to a tracking store: the outbox and its sender, against a store of our own making that
 * takes, refuses, loses answers, loses questions, or is away. (Experiments: outbox_experiment.c.) */
#include <math.h>

#include "domain/index/another.h"
#include "outbox.h"

static void shown_at_once_and_sent_once(void)
{
	STORE(p, t);

	CHECK_INT(mk_run_value_set(&p.call, p.m, run, MK_TAG, "team", "b"), 0);
	CHECK_INT(mk_run_value_set(&p.call, p.m, run, MK_PARAM, "lr", "0.1"), 0);
	CHECK_INT(log_lines(&p, run, "loss", "0.5\n0.25\n7 0.125\n0.0625\n"), 0);
	CHECK_TEXT(value(&p, run, MK_TAG, "team"), "b");
	CHECK_TEXT(value(&p, run, MK_PARAM, "lr"), "0.1");
	CHECK_HISTORY(&p, run, "loss", "0\t0.5 1\t0.25 7\t0.125 8\t0.0625 ");
	CHECK_INT(t->said, 0);
	CHECK_INT(unsent(&p, run), 6);
	later(&p);
	CHECK_INT(send(&p), 0);
	CHECK_INT(unsent(&p, run), 0);
	CHECK_INT(told(&p), 0);
	CHECK_TEXT(t->tags[0][1], "b");
	CHECK_TEXT(t->params[0][1], "0.1");
	CHECK_INT(t->n_points, 4);
	CHECK_INT(t->points[3].point.step, 8);
	CHECK_INT(t->batches, 1);
	CHECK_INT(t->points[0].point.time % MK_MS, 0);
	CHECK_HISTORY(&p, run, "loss", "0\t0.5 1\t0.25 7\t0.125 8\t0.0625 ");
	CHECK_INT(send(&p), 0);
	CHECK_INT(t->said, 3);
	/* a zero has no sign on its way */
	CHECK_INT(log_lines(&p, run, "zero", "-0.0\n"), 0);
	CHECK_HISTORY(&p, run, "zero", "0\t0 ");
	CHECK_INT(send(&p), 0);
	/* the same again is nothing */
	CHECK_INT(mk_run_value_set(&p.call, p.m, run, MK_TAG, "team", "b"), 0);
	CHECK_INT(unsent(&p, run), 0);
}

static void a_refresh_takes_nothing_back(void)
{
	STORE(p, t);
	_cleanup_(mk_run_free) struct mk_run r = {};

	CHECK_INT(mk_run_value_set(&p.call, p.m, run, MK_TAG, "team", "b"), 0);
	CHECK_INT(mk_run_value_set(&p.call, p.m, run, MK_TAG, "mine", "1"), 0);
	CHECK_INT(log_lines(&p, run, "loss", "5 0.5\n"), 0);
	CHECK_INT(mk_run_delete(&p.call, p.m, run), 0);
	later(&p);
	(void)set(t->tags, &t->n_tags, "theirs", "2", false); /* so that there is news */
	CHECK_INT(mk_index_run(&p.call, p.m, run), 0);
	CHECK_TEXT(value(&p, run, MK_TAG, "theirs"), "2");
	CHECK_TEXT(value(&p, run, MK_TAG, "team"), "b");
	CHECK_TEXT(value(&p, run, MK_TAG, "mine"), "1");
	CHECK_INT(mk_run_peek(&p.call, p.m, run, &r), 0);
	CHECK(r.deleted);
	CHECK_HISTORY(&p, run, "loss", "5\t0.5 ");
	CHECK_INT(send(&p), 0);
	CHECK(t->deleted);
	CHECK_INT(t->n_points, 1); /* before it was deleted */
	CHECK_INT(unsent(&p, run), 0);
}

static struct platform *the_platform;
static int64_t the_run;

static void write_and_send(struct mk_tracking *t)
{
	_cleanup_call_ struct mk_call call;

	t->meanwhile = NULL;
	mk_call_init(&call);
	CHECK_INT(mk_run_value_set(&call, the_platform->m, the_run, MK_TAG, "team", "new"), 0);
	CHECK_INT(send(the_platform), 0);
}

/* It says what was there, we write and it takes that, then its answer comes. */
static void an_old_answer_is_not_stored(void)
{
	STORE(p, t);

	the_platform = &p;
	the_run = run;
	later(&p);
	t->meanwhile = write_and_send;
	(void)set(t->tags, &t->n_tags, "x", "y", false);
	CHECK_INT(mk_index_run(&p.call, p.m, run), 0);
	CHECK_TEXT(t->tags[0][1], "new");
	CHECK_TEXT(value(&p, run, MK_TAG, "team"), "new");
	later(&p);
	CHECK_INT(mk_index_run(&p.call, p.m, run), 0);
	CHECK_TEXT(value(&p, run, MK_TAG, "x"), "y");
	CHECK_TEXT(value(&p, run, MK_TAG, "team"), "new");
}

static void a_refusal_takes_it_back(void)
{
	STORE(p, t);

	t->refuse_key = "bad";
	CHECK_INT(mk_run_value_set(&p.call, p.m, run, MK_TAG, "bad", "1"), 0);
	CHECK_INT(send(&p), 0);
	CHECK_INT(told(&p), -EINVAL);
	CHECK(p.call.error.text && strstr(p.call.error.text, "fake: not bad"));
	CHECK_TEXT(value(&p, run, MK_TAG, "bad"), "(none)");
	CHECK_TEXT(last_error(&p), ""); /* who wrote has heard it */

	/* nobody waits any more: .mantik/errors; what was written above it stays */
	t->refuse_key = "team";
	CHECK_INT(mk_run_value_set(&p.call, p.m, run, MK_TAG, "team", "b"), 0);
	later(&p);
	CHECK_INT(send(&p), 0);
	CHECK_TEXT(value(&p, run, MK_TAG, "team"), "a");
	CHECK_TEXT(last_error(&p), "/projects/p/runs/train.00000000/tags/team EINVAL what was written "
				   "here was taken back: fake: not team");
	CHECK_INT(told(&p), 0);
	CHECK_INT(unsent(&p, run), 0);
}

static void what_is_above_a_refused_one_stays(void)
{
	STORE(p, t);

	t->refuse_key = "team";
	CHECK_INT(mk_run_value_set(&p.call, p.m, run, MK_TAG, "team", "b"), 0);
	CHECK_INT(mk_run_value_set(&p.call, p.m, run, MK_TAG, "team", "c"), 0);
	t->lose_before = 0;
	CHECK_INT(send(&p), 0); /* both are refused */
	CHECK_TEXT(value(&p, run, MK_TAG, "team"), "a");
	CHECK_INT(told(&p), -EINVAL);
	mk_error_clear(&p.call);
}

static void of_two_metrics_the_bad_one_is_refused(void)
{
	STORE(p, t);

	t->refuse_key = "bad";
	CHECK_INT(log_lines(&p, run, "loss", "1\n2\n"), 0);
	CHECK_INT(log_lines(&p, run, "bad", "1\n2\n3\n"), 0);
	CHECK_INT(log_lines(&p, run, "loss", "3\n"), 0);
	later(&p);
	CHECK_INT(send(&p), 0);
	CHECK_INT(unsent(&p, run), 0);
	CHECK_HISTORY(&p, run, "loss", "0\t1 1\t2 2\t3 ");
	CHECK_HISTORY(&p, run, "bad", "ENOENT");
	CHECK_INT(t->n_points, 3);
	CHECK_TEXT(last_error(&p),
		   "/projects/p/runs/train.00000000/metrics/bad EINVAL 3 points written here were taken "
		   "back: fake: not bad");
	CHECK_INT(told(&p), 0);
}

static void what_is_too_large_goes_in_parts(void)
{
	STORE(p, t);

	t->most = 3;
	CHECK_INT(log_lines(&p, run, "loss", "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n"), 0);
	later(&p);
	CHECK_INT(send(&p), 0);
	CHECK_INT(unsent(&p, run), 0);
	CHECK_INT(t->n_points, 10);
	CHECK_HISTORY(&p, run, "loss", "0\t0 1\t1 2\t2 3\t3 4\t4 5\t5 6\t6 7\t7 8\t8 9\t9 ");
	/* one that is refused alone is refused */
	t->most = 0;
	t->refuse_key = "loss";
	CHECK_INT(log_lines(&p, run, "loss", "10\n"), 0);
	later(&p);
	CHECK_INT(send(&p), 0);
	CHECK_INT(t->n_points, 10);
}

static void lost_answers_double_nothing(void)
{
	STORE(p, t);
	char lines[20];

	/* an infinity comes back as the largest number, a NaN is none */
	CHECK_INT(log_lines(&p, run, "acc", "1\nnan\n-1\n"), 0);
	for (int i = 0; i < 2500; i++) {
		(void)snprintf(lines, sizeof(lines), "%d\n", i);
		CHECK_INT(log_lines(&p, run, "loss", lines), 0);
	}
	t->lose_after = 1000; /* every one */
	for (int i = 0; i < 20 && unsent(&p, run); i++) {
		later(&p);
		CHECK_INT(send(&p), 0);
	}
	CHECK_INT(unsent(&p, run), 0);
	CHECK_INT(t->n_points, 2503);
	for (int i = 0; i < 2500; i++)
		NEED(t->points[i + 3].point.step == i && t->points[i + 3].point.value == i);
	CHECK_INT(t->batches, 3);
}

static void lost_questions_lose_nothing(void)
{
	STORE(p, t);

	CHECK_INT(log_lines(&p, run, "loss", "1\n2\n3\n"), 0);
	t->lose_before = 1;
	later(&p);
	CHECK_INT(send(&p), 0);
	CHECK_INT(t->n_points, 0);
	CHECK_INT(unsent(&p, run), 3);
	CHECK_HISTORY(&p, run, "loss", "0\t1 1\t2 2\t3 ");
	later(&p); /* it had time enough: it has not got them */
	CHECK_INT(send(&p), 0);
	CHECK_INT(t->n_points, 3);
	CHECK_INT(unsent(&p, run), 0);
}

/* The answer is lost, then somebody reads the history: nothing is there twice. */
static void what_arrived_is_not_shown_twice(void)
{
	STORE(p, t);

	CHECK_INT(log_lines(&p, run, "loss", "1\n2\n3\n"), 0);
	t->lose_after = 1;
	later(&p);
	CHECK_INT(send(&p), 0);
	CHECK_INT(t->n_points, 3);
	CHECK_INT(unsent(&p, run), 3);
	t->points[t->n_points++] = (struct mk_t_logged_point){"loss", {9, 9, 5 * MK_SEC}};
	later(&p);
	CHECK_INT(mk_index_run(&p.call, p.m, run), 0);
	CHECK_HISTORY(&p, run, "loss", "9\t9 0\t1 1\t2 2\t3 "); /* what is unsent is behind */
	CHECK_INT(log_lines(&p, run, "loss", "4\n"), 0);
	CHECK_HISTORY(&p, run, "loss", "9\t9 0\t1 1\t2 2\t3 10\t4 ");
	later(&p);
	CHECK_INT(send(&p), 0);
	CHECK_INT(t->n_points, 5);
	CHECK_HISTORY(&p, run, "loss", "0\t1 1\t2 2\t3 9\t9 10\t4 ");
}

static void others_log_between(void)
{
	STORE(p, t);

	CHECK_INT(log_lines(&p, run, "loss", "0 1\n2 3\n"), 0);
	later(&p);
	CHECK_INT(send(&p), 0);
	t->points[t->n_points++] = (struct mk_t_logged_point){"loss", {1, 2, 5 * MK_SEC}};
	CHECK_HISTORY(&p, run, "loss", "0\t1 2\t3 1\t2 ");
}

static void a_store_that_is_away_gets_it_later(void)
{
	STORE(p, t);

	t->away = EHOSTUNREACH;
	CHECK_INT(mk_run_value_set(&p.call, p.m, run, MK_TAG, "team", "b"), 0);
	CHECK_INT(log_lines(&p, run, "loss", "1\n"), 0);
	CHECK_INT(send(&p), -EHOSTUNREACH);

	int64_t begun = mk_now_mono();

	CHECK_INT(told(&p), 0); /* it is known that there is nothing to wait for */
	CHECK_INT(mk_run_value_set(&p.call, p.m, run, MK_TAG, "other", "c"), 0);
	CHECK_INT(told(&p), 0);
	CHECK(mk_now_mono() - begun < MK_SEC);
	CHECK_TEXT(value(&p, run, MK_TAG, "team"), "b");
	CHECK_HISTORY(&p, run, "loss", "0\t1 ");
	CHECK_INT(unsent(&p, run), 3);
	t->away = 0;
	later(&p);
	CHECK_INT(send(&p), 0);
	CHECK_INT(unsent(&p, run), 0);
	CHECK_TEXT(t->tags[0][1], "b");
	CHECK_INT(t->n_tags, 2);
	CHECK_INT(t->n_points, 1);
}

/* A password that was changed at the server takes back nothing of what was acknowledged. */
static void a_refused_login_refuses_no_write(void)
{
	STORE(p, t);

	t->away = EACCES;
	CHECK_INT(mk_run_value_set(&p.call, p.m, run, MK_TAG, "team", "b"), 0);
	CHECK_INT(log_lines(&p, run, "loss", "1\n"), 0);
	CHECK_INT(send(&p), -EKEYEXPIRED);
	CHECK_TEXT(value(&p, run, MK_TAG, "team"), "b");
	CHECK_INT(unsent(&p, run), 2);
	t->away = 0;
	later(&p);
	CHECK_INT(send(&p), 0);
	CHECK_INT(unsent(&p, run), 0);
	CHECK_TEXT(t->tags[0][1], "b");
	CHECK_INT(t->n_points, 1);
}

/* Who waits in a mount parks, and is 0 when interrupted: it is durable. */
/* Two servers behind one address, one after the other: what is written for the one does not go to the
 * other, whose experiments have the same ids. */
static void another_server_gets_nothing(void)
{
	STORE(p, t);

	CHECK_INT(mk_run_value_set(&p.call, p.m, run, MK_TAG, "team", "b"), 0);
	t->made = 9;
	CHECK_INT(send(&p), -EHOSTUNREACH);
	CHECK_INT(t->said, 0);
	CHECK_INT(told(&p), 0); /* it waits */
	/* and its run is shown as it was, not the other's */
	later(&p);
	CHECK_INT(mk_index_experiments(&p.call, p.m, project), 0);
	CHECK_TEXT(value(&p, run, MK_TAG, "team"), "b");
	CHECK_INT(unsent(&p, run), 1);
	/* written while the mirror is being forgotten: its run stays */
	CHECK_INT(mk_index_forget(&p.call, p.m, project), -EHOSTUNREACH);
	CHECK_TEXT(value(&p, run, MK_TAG, "team"), "b");
	/* the address leads to it again */
	t->made = 5;
	CHECK_INT(send(&p), 0);
	CHECK_TEXT(t->tags[0][1], "b");
	CHECK_INT(unsent(&p, run), 0);
}

static void waiting_parks(void)
{
	STORE(p, t);

	p.call.may_wait = NULL;
	CHECK_INT(mk_run_value_set(&p.call, p.m, run, MK_TAG, "team", "b"), 0);
	CHECK(mk_outbox_waits(&p.call));
	CHECK_INT(told(&p), MK_PARK);
	CHECK(p.call.park.until > mk_now_mono());
	CHECK_INT(send(&p), 0);
	CHECK_INT(told(&p), 0);
	CHECK(!mk_outbox_waits(&p.call));
	CHECK_INT(mk_run_value_set(&p.call, p.m, run, MK_TAG, "team", "c"), 0);
	CHECK_INT(told(&p), MK_PARK);
	mk_call_cancel(&p.call);
	CHECK_INT(told(&p), 0);
	CHECK_INT(unsent(&p, run), 1);
	CHECK_INT(t->n_tags, 1);
}

static void removed_deleted_and_back(void)
{
	STORE(p, t);

	CHECK_INT(mk_run_tag_remove(&p.call, p.m, run, "nothing"), -ENOENT);
	CHECK_INT(mk_run_tag_remove(&p.call, p.m, run, "team"), 0);
	CHECK_TEXT(value(&p, run, MK_TAG, "team"), "(none)");
	CHECK_INT(mk_run_delete(&p.call, p.m, run), 0);
	CHECK_INT(mk_run_value_set(&p.call, p.m, run, MK_TAG, "team", "b"), -EROFS);
	CHECK_INT(send(&p), 0);
	CHECK(t->deleted);
	CHECK_INT(t->n_tags, 0);
	CHECK_INT(mk_run_restore(&p.call, p.m, run), 0);
	CHECK_INT(mk_run_restore(&p.call, p.m, run), -ENOENT);
	CHECK_INT(send(&p), 0);
	CHECK(!t->deleted);
	CHECK_INT(mk_run_value_set(&p.call, p.m, run, MK_PARAM, "lr", "1"), 0);
	CHECK_INT(mk_run_value_set(&p.call, p.m, run, MK_PARAM, "lr", "2"), -EEXIST);
}

/* Deleted by somebody else while it is written here. */
static void a_run_that_others_delete(void)
{
	STORE(p, t);

	t->deleted = true;
	CHECK_INT(log_lines(&p, run, "loss", "1\n2\n"), 0);
	later(&p);
	CHECK_INT(send(&p), 0);
	CHECK_INT(unsent(&p, run), 0);
	CHECK_HISTORY(&p, run, "loss", "ENOENT");
	CHECK(strstr(last_error(&p), "'active' state") != NULL);
}

static int add_unsent(void *arg, const struct mk_unsent *unsent)
{
	struct mk_buf *text = arg;

	return mk_buf_printf(text, "%s %lld %lld %s; ", unsent->path, (long long)unsent->n,
			     (long long)unsent->tries, unsent->text ? unsent->text : "-");
}

static void what_never_arrives_is_given_up(void)
{
	STORE(p, t);
	_cleanup_buf_ struct mk_buf waits = MK_BUF(10000), left = MK_BUF(10000);
	static const char top[] = "/projects/p/runs/train.00000000";
	char path[100];
	int64_t id = 0;

	CHECK_INT(mk_unsent_discard(&p.call, p.m, top), -ENOENT);
	CHECK_INT(mk_run_value_set(&p.call, p.m, run, MK_TAG, "team", "b"), 0);
	CHECK_INT(mk_run_value_set(&p.call, p.m, run, MK_TAG, "team", "c"), 0);
	CHECK_INT(log_lines(&p, run, "loss", "1\n2\n3\n"), 0);
	CHECK_INT(log_lines(&p, run, "acc", "1\n"), 0);
	CHECK_INT(mk_run_value_set(&p.call, p.m, run, MK_PARAM, "lr", "1"), 0);
	CHECK_INT(mk_experiment_make(&p.call, p.m, project, "wind", &id), 0);
	t->lose_before = 1;
	CHECK_INT(send(&p), 0); /* the run's first row is lost, the others wait behind it */
	CHECK_INT(told(&p), 0);
	CHECK_INT(mk_unsent_list(&p.call, p.m, top, add_unsent, &waits), 0);
	CHECK_TEXT(mk_buf_text(&waits),
		   "/projects/p/runs/train.00000000/tags/team 2 1 fake: did not hear it; "
		   "/projects/p/runs/train.00000000/metrics/loss 3 0 -; "
		   "/projects/p/runs/train.00000000/metrics/acc 1 0 -; "
		   "/projects/p/runs/train.00000000/params/lr 1 0 -; ");
	(void)snprintf(path, sizeof(path), "%s/tags/tea", top);
	CHECK_INT(mk_unsent_discard(&p.call, p.m, path), -ENOENT);
	mk_error_clear(&p.call);
	(void)snprintf(path, sizeof(path), "%s/tags", top);
	CHECK_INT(mk_unsent_discard(&p.call, p.m, path), 1);
	CHECK_TEXT(value(&p, run, MK_TAG, "team"), "a");
	CHECK(strstr(last_error(&p), "/tags/team ECANCELED 2 changes") != NULL);
	(void)snprintf(path, sizeof(path), "%s/metrics/loss", top);
	CHECK_INT(mk_unsent_discard(&p.call, p.m, path), 1);
	CHECK_HISTORY(&p, run, "loss", "ENOENT");
	CHECK_HISTORY(&p, run, "acc", "0\t1 ");
	CHECK_INT(mk_unsent_discard(&p.call, p.m, top), 2);
	CHECK_TEXT(value(&p, run, MK_PARAM, "lr"), "(none)");
	CHECK_INT(unsent(&p, run), 0);
	later(&p);
	CHECK_INT(send(&p), 0);
	CHECK_INT(t->n_points + t->n_params, 0);
	CHECK_TEXT(t->tags[0][1], "a");
	CHECK_INT(mk_unsent_list(&p.call, p.m, NULL, add_unsent, &left), 0);
	CHECK_TEXT(mk_buf_text(&left), "");
}

/* The sender has it in hand: what the store took is not counted here, but asked for. */
static void given_up_while_it_is_sent(void)
{
	STORE(p, t);
	_cleanup_outs_ struct mk_outs rows = {};
	int64_t due;

	CHECK_INT(log_lines(&p, run, "loss", "1\n"), 0);
	later(&p);
	CHECK_INT(send(&p), 0);
	CHECK_HISTORY(&p, run, "loss", "0\t1 ");
	CHECK_INT(log_lines(&p, run, "loss", "2\n3\n"), 0);
	CHECK_INT(mk_outbox_next(&p.call, p.m, &(struct mk_out_queue){1, false}, 10, false, &rows, &due),
		  0);
	NEED(rows.n == 2);
	CHECK_INT(mk_unsent_discard(&p.call, p.m, "/projects/p"), 1);
	CHECK_INT(mk_outbox_asked(&p.call, p.m, &rows, true), 0);
	CHECK_INT(mk_outbox_done(&p.call, p.m, rows.v, rows.n, NULL), 0);
	CHECK_HISTORY(&p, run, "loss", "0\t1 ");
	t->points[t->n_points++] = (struct mk_t_logged_point){"loss", {1, 2, mk_now_real()}};
	later(&p);
	CHECK_INT(mk_index_run(&p.call, p.m, run), 0);
	CHECK_HISTORY(&p, run, "loss", "0\t1 1\t2 ");
}

static void a_store_without_a_server_is_only_read(void)
{
	the_ops = &plain;
	STORE(p, t);
	int64_t id;

	the_ops = &fake;
	CHECK_INT(mk_run_value_set(&p.call, p.m, run, MK_TAG, "team", "b"), -EROFS);
	CHECK(p.call.error.text && strstr(p.call.error.text, "it is only read"));
	CHECK_INT(log_lines(&p, run, "loss", "1\n"), -EROFS);
	CHECK_INT(mk_run_delete(&p.call, p.m, run), -EROFS);
	CHECK_INT(mk_experiment_make(&p.call, p.m, project, "wind", &id), -EROFS);
	CHECK_INT(mk_experiment_rename(&p.call, p.m, 1, "wind"), -EROFS);
	CHECK_INT(mk_project_delete(&p.call, p.m, 1, 1), -EROFS);
	CHECK_INT(unsent(&p, run), 0);
	CHECK_TEXT(value(&p, run, MK_TAG, "team"), "a");
}

int main(void)
{
	return RUN(TEST(shown_at_once_and_sent_once), TEST(a_refresh_takes_nothing_back),
		   TEST(an_old_answer_is_not_stored), TEST(a_refusal_takes_it_back),
		   TEST(what_is_above_a_refused_one_stays),
		   TEST(of_two_metrics_the_bad_one_is_refused),
		   TEST(what_is_too_large_goes_in_parts),
		   TEST(lost_answers_double_nothing), TEST(lost_questions_lose_nothing),
		   TEST(what_arrived_is_not_shown_twice), TEST(others_log_between),
		   TEST(a_store_that_is_away_gets_it_later),
		   TEST(a_refused_login_refuses_no_write),
		   TEST(another_server_gets_nothing), TEST(waiting_parks),
		   TEST(removed_deleted_and_back), TEST(a_run_that_others_delete),
		   TEST(what_never_arrives_is_given_up), TEST(given_up_while_it_is_sent),
		   TEST(a_store_without_a_server_is_only_read));
}
