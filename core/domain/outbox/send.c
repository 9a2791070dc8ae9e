/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sending the outbox of one project to its store, in a thread that may wait for it:
 *
 *	next -> asked -> the store -+-> 0            done
 *	          ^                 +-> refused      refused, with its words
 *	          |                 +-> nobody knows it stays, and is tried again
 *	          +-- settle <------------------------+
 *
 * Most verbs may be said twice. Points may not: those that were sent and not answered are first
 * looked for in the history, and only what is not there after the store had time to finish is sent
 * again. Points that are the same to the store (step, value, millisecond) are one to it.
 */
#include "domain/outbox/send.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "connect/tracking/tracking.h"
#include "domain/domain.h"
#include "domain/index/another.h"
#include "domain/index/index.h"
#include "domain/outbox/upload.h"

enum { FAILURES = 3, WHOLE_AFTER = 4 };
static const int64_t linger = 200 * MK_MS;    /* what a loop writes is sent together */
static const int64_t settle_time = 5 * MK_SEC; /* a store may still be at work so long */
static const int64_t longest = 60 * MK_SEC;
static const int64_t same = 30 * MK_SEC; /* not asked who it is again */

struct sending {
	struct mantik *m;
	struct mk_out_queue queue;
	struct mk_out_seen *seen;
	const struct mk_tracking_ops *ops;
	struct mk_tracking *store;
	size_t most;  /* points of a batch */
	bool one_key; /* … after one of several was refused */
	int failures; /* in a row */
};

/* The store has heard it and says no. */
static bool is_refusal(int r)
{
	switch (-r) {
	case EINVAL:
	case ENOENT:
	case EACCES:
	case EPERM:
	case EEXIST:
	case EOPNOTSUPP:
	case E2BIG:
	case EFBIG:
	case ENAMETOOLONG:
	case EISDIR:
	case ENOTDIR:
	case EILSEQ:
	case EROFS:
	case ENOTEMPTY:
		return true;
	}
	return false;
}

/* The login was refused, or somebody in front of the store says no (a proxy, a host check, a page to
 * log in at): what is written is not at fault and waits. */
static bool is_at_the_door(const struct mk_call *call, int r)
{
	return (r == -EACCES && call->error.status == 401) ||
	       (call->error.status && !call->error.remote);
}

/* No other object would fare better. */
static bool is_away(int r)
{
	return r == -EHOSTUNREACH || r == -ENOKEY || r == -EKEYEXPIRED;
}

static int64_t backoff(int tries)
{
	int64_t wait = MK_SEC / 2 << (tries < 8 ? tries : 8);

	return wait < longest ? wait : longest;
}

/* --- points ---------------------------------------------------------------------------------- */

/* Everything the store has of a key behind what we know that it has. */
static int read_back(struct mk_call *call, const struct sending *s, const struct mk_out *row,
		     struct mk_point **ret, size_t *n)
{
	_cleanup_free_ char *token = NULL;
	struct mk_point last = {};
	int64_t known = 0;
	int r = row->tries < WHOLE_AFTER ? mk_outbox_known(call, s->m, row->of, row->key, &known, &last)
					 : 0;

	if (r == 0 && known && s->ops->tail) {
		r = s->ops->tail(call, s->store, row->remote_id, row->key, known, &last, ret, n);
		if (r != -ESTALE)
			return r;
		mk_error_clear(call);
		*n = 0;
		r = 0;
	}
	if (r < 0)
		return r;
	do
		r = s->ops->history(call, s->store, row->remote_id, row->key, &token, ret, n);
	while (r == 0 && token);
	return r;
}

/* Moves the rows of one key (from `first` on) that are in the store to the front of `there`. */
static int find_there(struct mk_call *call, const struct sending *s, struct mk_outs *rows,
		      size_t first, bool *looked, struct mk_outs *there)
{
	_cleanup_free_ struct mk_point *points = NULL;
	struct mk_out *row = &rows->v[first];
	size_t n = 0;
	int r;

	row->remote_id = row->remote_id ? row->remote_id : mk_strdup(rows->v[0].remote_id);
	r = read_back(call, s, row, &points, &n);
	for (size_t i = first; r == 0 && i < rows->n; i++) {
		if (looked[i] || strcmp(rows->v[i].key, row->key) != 0)
			continue;
		looked[i] = true;
		for (size_t k = 0; k < n; k++)
			if (mk_out_same(&points[k], &rows->v[i].point)) {
				there->v[there->n++] = rows->v[i]; /* still the others' texts */
				points[k] = points[--n];
				break;
			}
	}
	return r;
}

/* What was sent and not answered: done if it is there; sent again when it surely is not. */
static int settle(struct mk_call *call, struct sending *s, struct mk_outs *rows, bool *ret_send)
{
	_cleanup_free_ bool *looked = calloc(rows->n, sizeof(*looked));
	struct mk_outs there = {.v = calloc(rows->n, sizeof(*there.v))};
	int64_t now = mk_now_real(), asked = rows->v[0].asked;
	int r = looked && there.v ? 0 : mk_fail(call, ENOMEM, "out of memory for the outbox");

	*ret_send = false;
	for (size_t i = 0; r == 0 && i < rows->n; i++)
		if (!looked[i])
			r = find_there(call, s, rows, i, looked, &there);
	if (r == 0)
		r = mk_outbox_done(call, s->m, there.v, there.n, NULL);
	if (r == 0 && !there.n && (now < asked || now >= asked + settle_time))
		*ret_send = true;
	else if (r == 0 && !there.n)
		r = mk_outbox_later(call, s->m, rows->v, now + MK_SEC / 2, NULL);
	free(there.v);
	return r;
}

static int log_points(struct mk_call *call, const struct sending *s, const struct mk_outs *rows)
{
	struct mk_t_logged_point *points = calloc(rows->n, sizeof(*points));
	struct mk_t_batch batch = {.points = points, .n_points = rows->n};
	int r;

	if (!points)
		return mk_fail(call, ENOMEM, "out of memory for a batch");
	for (size_t i = 0; i < rows->n; i++)
		points[i] = (struct mk_t_logged_point){rows->v[i].key, rows->v[i].point};
	r = s->ops->log(call, s->store, rows->v[0].remote_id, &batch);
	free(points);
	return r;
}

static bool has_one_key(const struct mk_outs *rows)
{
	for (size_t i = 1; i < rows->n; i++)
		if (strcmp(rows->v[i].key, rows->v[0].key) != 0)
			return false;
	return true;
}

/* --- verbs ----------------------------------------------------------------------------------- */

/* Made, and the answer was lost: it is the one of this name. */
struct named {
	const char *name;
	char *id;
};

static int look_for_name(void *arg, const struct mk_t_experiment *experiment)
{
	struct named *named = arg;

	if (!experiment->deleted && strcmp(experiment->name, named->name) == 0 && !named->id)
		named->id = mk_strdup(experiment->id);
	return 0;
}

static int make_experiment(struct mk_call *call, const struct sending *s, const struct mk_out *row,
			   char **ret_id)
{
	struct named named = {.name = row->value};
	_cleanup_free_ char *token = NULL;
	int r;

	if (row->remote_id) /* a listing has brought it */
		return 0;
	r = s->ops->experiment_make(call, s->store, row->value, ret_id);
	if (r != -EEXIST || !row->asked)
		return r;

	_cleanup_free_ char *words = mk_strdup(call->error.text);

	mk_error_clear(call);
	do
		r = s->ops->experiments(call, s->store, &token, look_for_name, &named);
	while (r == 0 && token);
	if (r < 0) {
		free(named.id);
		return r;
	}
	*ret_id = named.id;
	return named.id ? 0 : mk_fail(call, EEXIST, "%s", words);
}

static int see_run(void *arg, const struct mk_t_run *run)
{
	int *n = arg;

	(void)run;
	++*n;
	return 0;
}

/* One that a rmdir removes has to be empty there, too: somebody may have logged since. */
static int delete_experiment(struct mk_call *call, const struct sending *s, const struct mk_out *row)
{
	const struct mk_t_query query = {
		.experiment_ids = (const char *const[]){row->remote_id},
		.n_experiments = 1,
		.limit = 1,
	};
	_cleanup_free_ char *token = NULL;
	int n = 0, r = row->value ? s->ops->runs(call, s->store, &query, &token, see_run, &n) : 0;

	if (r == 0 && n)
		return mk_fail(call, ENOTEMPTY, "somebody has logged a run to the experiment since: it stays");
	return r < 0 ? r : s->ops->experiment_delete(call, s->store, row->remote_id);
}

static int say(struct mk_call *call, const struct sending *s, const struct mk_out *row, char **ret_id)
{
	const struct mk_tracking_ops *ops = s->ops;
	const struct mk_t_pair pair = {row->key, row->value};
	int r;

	if (!row->remote_id && row->verb != MK_OUT_EXPERIMENT_MAKE)
		return mk_fail(call, ENOENT, "it was not made at the store");
	switch (row->verb) {
	case MK_OUT_PARAM:
		return ops->log(call, s->store, row->remote_id,
				&(struct mk_t_batch){.params = &pair, .n_params = 1});
	case MK_OUT_TAG:
		return ops->tag_set(call, s->store, row->remote_id, row->key, row->value);
	case MK_OUT_TAG_REMOVE:
		r = ops->tag_remove(call, s->store, row->remote_id, row->key);
		return r == -ENOENT ? 0 : r; /* it is not there */
	case MK_OUT_DELETE:
		return ops->run_delete(call, s->store, row->remote_id);
	case MK_OUT_RESTORE:
		return ops->run_restore(call, s->store, row->remote_id);
	case MK_OUT_EXPERIMENT_MAKE:
		return make_experiment(call, s, row, ret_id);
	case MK_OUT_EXPERIMENT_RENAME:
		return ops->experiment_rename(call, s->store, row->remote_id, row->value);
	case MK_OUT_EXPERIMENT_DELETE:
		return delete_experiment(call, s, row);
	case MK_OUT_EXPERIMENT_RESTORE:
		return ops->experiment_restore(call, s->store, row->remote_id);
	case MK_OUT_EXPERIMENT_TAG:
		return ops->experiment_tag(call, s->store, row->remote_id, row->key, row->value);
	case MK_OUT_ALIAS_SET:
		return ops->alias_set(call, s->store, row->remote_id, row->key, row->value);
	case MK_OUT_ALIAS_REMOVE:
		return ops->alias_remove(call, s->store, row->remote_id, row->key);
	case MK_OUT_MODEL_DESCRIBE:
		return ops->model_describe(call, s->store, row->remote_id, row->value);
	case MK_OUT_VERSION_DESCRIBE:
		return ops->version_describe(call, s->store, row->remote_id, row->key, row->value);
	case MK_OUT_POINT:
	case MK_OUT_FILE:
	case MK_OUT_VERBS:
		break;
	}
	return mk_fail(call, EOPNOTSUPP, "a later version of mantikfs wrote this");
}

/* --- one step -------------------------------------------------------------------------------- */

/* Points that were written just now are followed by others. */
static bool rests(struct mk_call *call, const struct mk_outs *rows, size_t most)
{
	int64_t left = rows->v[0].created + linger - mk_now_real();

	if (rows->v[0].verb != MK_OUT_POINT || rows->v[0].asked || rows->n >= most || left <= 0 ||
	    left > linger)
		return false;

	struct pollfd fd = {.fd = mk_call_cancel_fd(call), .events = POLLIN};

	(void)poll(&fd, fd.fd >= 0, (int)(left / MK_MS) + 1);
	return true;
}

/* What was written to its runs before an experiment is deleted goes first: a deleted run takes nothing.
 * 1: not now. */
static int must_wait(struct mk_call *call, const struct sending *s, const struct mk_outs *rows)
{
	static const char sql[] =
		"SELECT 1 FROM runs r WHERE experiment_id = ?1 AND (EXISTS (SELECT 1 FROM outbox WHERE"
		" object = 'run:' || r.id AND id < ?2 AND code = 0) OR EXISTS (SELECT 1 FROM uploads u"
		" JOIN outbox o ON o.object = 'file:' || u.id WHERE u.run_id = r.id AND u.sent = 0"
		" AND o.refused = 0)) LIMIT 1";
	struct mk_conn *conn;
	int64_t one;
	int r;

	if (rows->v[0].verb != MK_OUT_EXPERIMENT_DELETE)
		return 0;
	r = mk_db_reader(call, s->m->db, &conn);
	if (r == 0)
		r = mk_domain_int(call, conn, sql, rows->v[0].of, rows->v[0].id, &one);
	if (r <= 0)
		return r;
	r = mk_outbox_later(call, s->m, rows->v, mk_now_real() + MK_SEC,
			    "waits for what was written to its runs before");
	return r < 0 ? r : 1;
}

static int refuse(struct mk_call *call, struct sending *s, const struct mk_outs *rows, int r)
{
	struct mk_error error = call->error;

	call->error = (struct mk_error){};
	error.code = -r;
	r = mk_outbox_refused(call, s->m, rows, &error);
	free(error.text);
	free(error.remote);
	free(error.detail);
	return r;
}

/* What others logged stays. What is there once ours was sent may be ours. */
static int send_file(struct mk_call *call, const struct sending *s, const struct mk_outs *rows)
{
	int r = 0;

	if (!rows->v[0].asked) {
		r = mk_upload_ask(call, s->m, rows->v[0].of, &s->seen->files);
		if (r == 0)
			r = mk_outbox_asked(call, s->m, rows, true);
		if (r <= 0)
			return r < 0 ? r : 1;
	}
	return mk_upload_send(call, s->m, rows->v[0].of);
}

static int send_rows(struct mk_call *call, struct sending *s, struct mk_outs *rows, char **ret_id)
{
	bool may_send = true;
	int r = 0;

	if (rows->v[0].verb == MK_OUT_FILE)
		return send_file(call, s, rows);
	if (!s->ops->log)
		return mk_fail(call, EOPNOTSUPP, "a store of kind %s can only be read", s->ops->kind);
	if (rows->v[0].verb != MK_OUT_POINT) {
		if (rows->v[0].verb == MK_OUT_EXPERIMENT_MAKE && !rows->v[0].asked) {
			r = mk_outbox_asked(call, s->m, rows, true);
			if (r <= 0)
				return r < 0 ? r : 1;
		}
		return say(call, s, rows->v, ret_id);
	}
	if (rows->v[0].asked)
		r = settle(call, s, rows, &may_send);
	if (r < 0 || !may_send)
		return r < 0 ? r : 1;
	r = mk_outbox_asked(call, s->m, rows, true);
	if (r <= 0)
		return r < 0 ? r : 1;
	return log_points(call, s, rows);
}

/* 1 go on, 0 nothing to be done now, else what keeps all from being sent. */
static int step(struct mk_call *call, struct sending *s, int64_t *ret_due)
{
	_cleanup_outs_ struct mk_outs rows = {};
	_cleanup_free_ char *id = NULL;
	int r = mk_outbox_next(call, s->m, &s->queue, s->most, s->one_key, &rows, ret_due);

	if (r < 0 || !rows.n)
		return r;
	if (rests(call, &rows, s->most))
		return 1;
	r = must_wait(call, s, &rows);
	if (r != 0)
		return r;
	r = send_rows(call, s, &rows, &id);
	if (r == 1)
		return 1;
	if (is_refusal(r) && is_at_the_door(call, r)) {
		r = rows.v[0].verb == MK_OUT_FILE && !rows.v[0].asked
			    ? mk_outbox_asked(call, s->m, &rows, false) /* it did not get in */
			    : 0;
		if (r < 0)
			return r;
		r = -EKEYEXPIRED;
	}
	if (r == 0) {
		s->failures = 0;
		s->one_key = false;
		s->most = MK_T_MAX_POINTS;
		r = mk_outbox_done(call, s->m, rows.v, rows.n, id);
		return r < 0 ? r : 1;
	}
	bool large = r == -E2BIG || r == -EFBIG;

	if ((large && rows.n > 1) || (is_refusal(r) && !has_one_key(&rows))) {
		if (large)
			s->most = rows.n / 2;
		else
			s->one_key = true; /* whose fault is it? */
		mk_error_clear(call);
		r = mk_outbox_asked(call, s->m, &rows, false); /* a batch is taken or not */
		return r < 0 ? r : 1;
	}
	if (is_refusal(r)) {
		s->failures = 0;
		s->one_key = false;
		r = refuse(call, s, &rows, r);
		return r < 0 ? r : 1;
	}
	if (!mk_t_maybe(r) && !is_away(r)) /* ours: the database, memory */
		return r;
	if (call->cancelled)
		return -EINTR;

	_cleanup_free_ char *words = mk_strdup(call->error.text ? call->error.text : strerror(-r));
	/* Looked for soon, not sent again soon. */
	bool lost = rows.v[0].verb == MK_OUT_POINT && !is_away(r) && !rows.v[0].asked;
	int tries = rows.v[0].tries, was = r;

	mk_error_clear(call);
	/* A store that is away is tried again as a whole. */
	r = mk_outbox_later(call, s->m, rows.v,
			    is_away(was) ? 0 : mk_now_real() + (lost ? 300 * MK_MS : backoff(tries)),
			    words);
	if (r == 0 && (is_away(was) || (!lost && ++s->failures >= FAILURES))) {
		r = mk_outbox_away(call, s->m, s->queue.project_id, words);
		return r < 0 ? r : mk_fail(call, -was, "%s", words);
	}
	return r < 0 ? r : 1;
}

void mk_out_seen_free(struct mk_out_seen *seen)
{
	mk_upload_seen_free(&seen->files);
}

/* What waits is for the server we know, not for another that answers in its place now. One that does
 * not let us ask is found out by what is sent. */
static int is_another(struct mk_call *call, struct sending *s, const char *connection)
{
	_cleanup_page_ struct mk_page page = {};
	_cleanup_free_ char *token = NULL;
	int64_t now = mk_now_mono();
	int r;

	if (now < s->seen->same_until)
		return 0;
	do
		r = s->ops->experiments(call, s->store, &token, mk_page_add_experiment, &page);
	while (r == 0 && token && !call->cancelled);
	if (r < 0 && r != -ETIMEDOUT && r != -EINTR && !is_away(r)) {
		mk_error_clear(call);
		return 0;
	}
	if (r < 0 || token)
		return r;
	r = mk_index_is_another(call, s->m, s->queue.project_id, connection, &page);
	if (r == 0)
		s->seen->same_until = now + same;
	return r;
}

int mk_outbox_send(struct mk_call *call, struct mantik *m, const struct mk_out_queue *queue,
		   struct mk_out_seen *seen, int64_t *ret_due)
{
	struct sending s = {.m = m, .queue = *queue, .seen = seen, .most = MK_T_MAX_POINTS};
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	_cleanup_free_ char *connection = NULL;
	int r = mk_db_read(call, m->db,
			   "SELECT connection FROM projects WHERE id = ?1 AND connection IS NOT NULL",
			   &stmt);

	*ret_due = 0;
	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, queue->project_id);
	r = mk_step(call, stmt);
	if (r <= 0)
		return r;
	connection = mk_col_dup(stmt, 0);
	mk_reset(&stmt);
	r = mk_index_store(call, m, connection, &s.ops, &s.store);
	if (r == 0)
		r = is_another(call, &s, connection);
	if (r > 0) /* and nothing waits any more */
		return 0;
	if (r < 0) {
		_cleanup_free_ char *words = mk_strdup(call->error.text);
		_cleanup_call_ struct mk_call own;

		mk_call_init(&own);
		(void)!mk_outbox_away(&own, m, queue->project_id, words ? words : strerror(-r));
		return r;
	}
	do
		r = step(call, &s, ret_due);
	while (r > 0 && !call->cancelled);
	return r;
}
