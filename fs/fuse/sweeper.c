/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One thread that looks after the ops that were not answered inline:
 *
 *	interrupted   the kernel says so once per request, for any signal. Each 200 ms: do the asker's
 *	              signals mean to end the wait (signals.c)? Then the call is cancelled.
 *	cancelled     queued: answered EINTR. Parked: run again inline, it knows whether something
 *	              durable has happened. Running: it has 100 ms to come back by itself, then EINTR
 *	              is answered for it, unless it changes something: then only if the asker is dying.
 *	out of time   the same with ETIMEDOUT
 *	parked        run again inline when the database has changed or its time has come
 *
 * An op answered while it runs is late: its result is dropped, its thread replaced. FORGETs wait
 * until no late op is left, because the kernel believes that nobody uses the nodes any more.
 *
 * The lock protects the list and the states of the ops in it; it is held for list work only.
 */
#include "op.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>

enum {
	LOOK_MS = 200,
	GRACE_MS = 100,	      /* for a cancelled op to come back by itself */
	DYING_GRACE_MS = 20,  /* the same when nobody waits for what it says */
	RERUN_GRACE_MS = 1000, /* for a parked one to be run again */
	POLL_LEAST_MS = 50,   /* for changes of the database, while something is parked */
	POLL_MOST_MS = 500,
	STOP_GRACE_MS = 2000,
	MOST_REPLIES = 64, /* in one round */
};

struct forget {
	struct forget *next;
	uint64_t node, n;
};

struct sweeper {
	struct mount *mount;
	pthread_t thread;
	int wake; /* eventfd */
	_Atomic int n_late; /* answered, still running; read without the lock */

	pthread_mutex_t telling; /* taken before lock: one tells the gauges at a time */
	pthread_mutex_t lock; /* everything below, and states of listed ops */
	struct op *ops;
	int n_ops, n_parked;
	struct forget *forgets;
	int64_t wakes_at; /* when the thread looks by itself; 0: never */
	bool stopping;
};

/* What to do with one op, decided under the lock, done without it. */
struct decision {
	struct op *op;
	enum { REPLY_QUEUED, REPLY_LATE, RERUN } what;
	int error;
};

/* For stats.json. Counted and told in one go: whoever comes last tells the newest. */
static void gauges(struct sweeper *sweeper)
{
	struct fs_tree *tree = sweeper->mount->tree;

	pthread_mutex_lock(&sweeper->telling);
	pthread_mutex_lock(&sweeper->lock);

	int n_ops = sweeper->n_ops, n_parked = sweeper->n_parked;

	pthread_mutex_unlock(&sweeper->lock);
	fs_gauge(tree, "waiting", n_ops - n_parked);
	fs_gauge(tree, "parked", n_parked);
	fs_gauge(tree, "late", atomic_load(&sweeper->n_late));
	fs_gauge(tree, "lane_threads", mk_lanes_threads(sweeper->mount->lanes));
	pthread_mutex_unlock(&sweeper->telling);
}

/* --- states ---------------------------------------------------------------------------------- */

static void wake(struct sweeper *sweeper)
{
	(void)eventfd_write(sweeper->wake, 1);
}

static void list(struct sweeper *sweeper, struct op *op)
{
	if (op->listed)
		return;
	op->listed = true;
	atomic_fetch_add(&op->refs, 1);
	op->prev = NULL;
	op->next = sweeper->ops;
	if (op->next)
		op->next->prev = op;
	sweeper->ops = op;
	sweeper->n_ops++;
}

/* The list's reference is the caller's then. */
static void unlist(struct sweeper *sweeper, struct op *op)
{
	if (op->prev)
		op->prev->next = op->next;
	else
		sweeper->ops = op->next;
	if (op->next)
		op->next->prev = op->prev;
	sweeper->n_ops--;
}

static void set_state(struct sweeper *sweeper, struct op *op, enum op_state state)
{
	sweeper->n_parked += (state == OP_PARKED) - (op->state == OP_PARKED);
	op->state = state;
}

static bool change(struct sweeper *sweeper, struct op *op, enum op_state state, const char *lane)
{
	pthread_mutex_lock(&sweeper->lock);

	bool ours = op->state != OP_ANSWERED;

	if (ours) {
		list(sweeper, op);
		set_state(sweeper, op, state);
		if (lane) {
			(void)snprintf(op->lane, sizeof(op->lane), "%s", lane);
			op->rerun = false;
			op->punts++;
		}
	}

	/* Its deadline, an interrupt that came before it was listed, an event before it was parked. */
	bool look = ours && (atomic_load(&op->interrupted) || state == OP_PARKED ||
			     sweeper->stopping ||
			     (op->call.deadline &&
			      (!sweeper->wakes_at || op->call.deadline < sweeper->wakes_at)));
	pthread_mutex_unlock(&sweeper->lock);
	gauges(sweeper);
	if (look)
		wake(sweeper);
	return ours;
}

bool sweeper_queued(struct sweeper *sweeper, struct op *op, const char *lane)
{
	return change(sweeper, op, OP_QUEUED, lane);
}

bool sweeper_running(struct sweeper *sweeper, struct op *op)
{
	return change(sweeper, op, OP_RUNNING, NULL);
}

bool sweeper_parked(struct sweeper *sweeper, struct op *op)
{
	return change(sweeper, op, OP_PARKED, NULL);
}

bool sweeper_claim(struct sweeper *sweeper, struct op *op)
{
	pthread_mutex_lock(&sweeper->lock);

	bool ours = op->state != OP_ANSWERED;

	if (ours) {
		set_state(sweeper, op, OP_ANSWERED);
		unlist(sweeper, op);
	}

	pthread_mutex_unlock(&sweeper->lock);
	gauges(sweeper);
	if (ours)
		op_unref(op); /* the list's */
	return ours;
}

void sweeper_interrupt(struct sweeper *sweeper)
{
	wake(sweeper);
}

/* --- late ops and forgets -------------------------------------------------------------------- */

static void forget_now(struct mount *mount, uint64_t id, uint64_t n)
{
	struct fs_node *node = fs_node_by_id(mount->tree, id);

	if (node)
		fs_forget(mount->tree, node, n);
}

void sweeper_forget(struct sweeper *sweeper, uint64_t node, uint64_t n)
{
	if (atomic_load(&sweeper->n_late)) {
		struct forget *forget = mk_new(struct forget);

		*forget = (struct forget){NULL, node, n};
		pthread_mutex_lock(&sweeper->lock);
		if (atomic_load(&sweeper->n_late)) {
			forget->next = sweeper->forgets;
			sweeper->forgets = mk_steal(&forget);
		}
		pthread_mutex_unlock(&sweeper->lock);
		if (!forget)
			return;
		free(forget);
	}
	forget_now(sweeper->mount, node, n);
}

void sweeper_late_done(struct sweeper *sweeper)
{
	struct forget *forgets = NULL;

	pthread_mutex_lock(&sweeper->lock);
	if (atomic_fetch_sub(&sweeper->n_late, 1) == 1)
		forgets = mk_steal(&sweeper->forgets);

	pthread_mutex_unlock(&sweeper->lock);
	gauges(sweeper);
	while (forgets) {
		struct forget *next = forgets->next;

		forget_now(sweeper->mount, forgets->node, forgets->n);
		free(forgets);
		forgets = next;
	}
}

/* --- decisions ------------------------------------------------------------------------------- */

static void earlier(int64_t *at, int64_t t)
{
	if (!*at || t < *at)
		*at = t;
}

/* Interrupted: is it meant for us? Called with the lock held; /proc does not wait. */
static void look_at_asker(struct op *op, int64_t now)
{
	if (!atomic_load(&op->interrupted) || op->dying || now < op->next_look)
		return;
	op->next_look = now + LOOK_MS * MK_MS;

	enum asker asker = asker_look(op->call.pid);

	if (asker == ASKER_WAITS)
		return;
	op->dying = asker == ASKER_DYING;
	if (!op->cancelled_at) {
		op->cancelled_at = now;
		mk_call_cancel(&op->call);
	}
}

/* Out of time: cancelled, but a little later, so that a run that keeps its own deadline can say
 * whom it waited for. */
static void look_at_clock(struct op *op, int64_t now)
{
	if (op->cancelled_at || !op->call.deadline || now < op->call.deadline)
		return;
	if (op->state == OP_RUNNING && now < op->call.deadline + GRACE_MS * MK_MS)
		return;
	op->timed_out = true;
	op->cancelled_at = now;
	mk_call_cancel(&op->call);
}

static bool event_came(const struct op *op, int64_t now, uint64_t generation)
{
	return op->generation != generation || op->cancelled_at ||
	       (op->call.park.until && now >= op->call.park.until);
}

/* May it be answered though it runs? */
static bool may_leave_running(const struct op *op, int64_t now, bool stopping)
{
	int64_t waited = now - op->cancelled_at;

	if (waited < (op->dying ? DYING_GRACE_MS : GRACE_MS) * MK_MS)
		return false;
	return op->dying || !(op->verb->flags & VERB_CHANGES) ||
	       (stopping && waited >= STOP_GRACE_MS * MK_MS);
}

/* Fills ret and gives true if something is to be done; else *next is when to look again at the
 * latest. Called with the lock held. */
static bool decide(struct sweeper *sweeper, struct op *op, int64_t now, uint64_t generation,
		   int64_t *next, struct decision *ret)
{
	look_at_asker(op, now);
	look_at_clock(op, now);
	if (sweeper->stopping && !op->cancelled_at) {
		op->cancelled_at = now;
		mk_call_cancel(&op->call);
	}
	*ret = (struct decision){op, REPLY_QUEUED, 0};
	switch (op->state) {
	case OP_QUEUED:
		if (op->cancelled_at &&
		    (!op->rerun || now - op->cancelled_at >= RERUN_GRACE_MS * MK_MS))
			ret->error = op->timed_out ? ETIMEDOUT : EINTR;
		break;
	case OP_PARKED:
		if (event_came(op, now, generation)) {
			ret->what = RERUN;
			op->rerun = true;
			set_state(sweeper, op, OP_QUEUED);
			atomic_fetch_add(&op->refs, 1); /* while we act */
			return true;
		} else if (op->call.park.until) {
			earlier(next, op->call.park.until);
		}
		break;
	case OP_RUNNING:
		if (op->cancelled_at && may_leave_running(op, now, sweeper->stopping)) {
			ret->what = REPLY_LATE;
			ret->error = op->timed_out ? ETIMEDOUT : EINTR;
			atomic_fetch_add(&sweeper->n_late, 1);
		}
		break;
	case OP_ANSWERED:
		return false;
	}
	if (ret->error) {
		set_state(sweeper, op, OP_ANSWERED);
		unlist(sweeper, op);
		return true;
	}
	if (op->cancelled_at)
		earlier(next, now + DYING_GRACE_MS * MK_MS);
	else if (op->call.deadline)
		earlier(next, now < op->call.deadline ? op->call.deadline
						      : op->call.deadline + GRACE_MS * MK_MS);
	if (atomic_load(&op->interrupted) && !op->dying)
		earlier(next, op->next_look);
	return false;
}

/* Without the lock. */
static void act(struct sweeper *sweeper, struct decision *decision)
{
	struct op *op = decision->op;
	struct mount *mount = sweeper->mount;

	if (decision->what == RERUN) {
		op_queue(op);
		op_unref(op); /* ours, not the runner's */
		return;
	}
	if (decision->what == REPLY_LATE)
		mk_lane_replace_thread(mount->lanes, op->rerun ? INLINE_LANE : op->lane,
				       &op->work);
	else if (mk_lane_take_back(mount->lanes, op->rerun ? INLINE_LANE : op->lane, &op->work))
		op_unref(op); /* the runner's: it does not run any more */
	fuse_req_interrupt_func(op->req, NULL, NULL);

	/* The op's own call may be in use by its thread. */
	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);
	if (decision->error == ETIMEDOUT)
		(void)mk_fail(&call, ETIMEDOUT, "no answer from %s in %g s", op->lane,
			      (double)mount->metadata_timeout / MK_SEC);
	else
		(void)mk_fail(&call, EINTR, "interrupted");
	op_reply_error(op, -decision->error, &call.error);
	op_unref(op);
}

/* --- the thread ------------------------------------------------------------------------------ */

/* One look at all ops; gives when to look again, 0 for never. */
static int64_t sweep(struct sweeper *sweeper)
{
	struct decision decisions[MOST_REPLIES];
	size_t n = 0;
	int64_t next = 0, now = mk_now_mono();
	uint64_t generation = mantik_generation(sweeper->mount->m);

	pthread_mutex_lock(&sweeper->lock);
	for (struct op *op = sweeper->ops, *after; op && n < MOST_REPLIES; op = after) {
		after = op->next;
		n += decide(sweeper, op, now, generation, &next, &decisions[n]);
	}
	if (n == MOST_REPLIES)
		next = now;
	if (sweeper->n_parked) {
		int ms = sweeper->n_parked;

		ms = ms < POLL_LEAST_MS ? POLL_LEAST_MS : ms > POLL_MOST_MS ? POLL_MOST_MS : ms;
		earlier(&next, now + ms * MK_MS);
	}
	sweeper->wakes_at = next;

	pthread_mutex_unlock(&sweeper->lock);
	gauges(sweeper);
	for (size_t i = 0; i < n; i++)
		act(sweeper, &decisions[i]);
	return next;
}

static bool may_end(struct sweeper *sweeper)
{
	pthread_mutex_lock(&sweeper->lock);

	bool end = sweeper->stopping && !sweeper->n_ops;

	pthread_mutex_unlock(&sweeper->lock);
	return end;
}

static void *thread_main(void *arg)
{
	struct sweeper *sweeper = arg;

	for (;;) {
		int64_t next = sweep(sweeper), left = next ? next - mk_now_mono() : 0;
		struct pollfd fd = {.fd = sweeper->wake, .events = POLLIN};
		eventfd_t value;

		if (may_end(sweeper)) /* the sweep may have answered the last one */
			return NULL;
		if (next && left <= 0)
			continue;
		if (poll(&fd, 1, next ? (int)((left + MK_MS - 1) / MK_MS) : -1) > 0)
			(void)eventfd_read(sweeper->wake, &value);
	}
}

struct sweeper *sweeper_new(struct mount *mount)
{
	struct sweeper *sweeper = mk_new(struct sweeper);
	sigset_t all, before;

	sweeper->mount = mount;
	sweeper->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_mutex_init(&sweeper->telling, NULL);
	pthread_mutex_init(&sweeper->lock, NULL);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (sweeper->wake < 0 || pthread_create(&sweeper->thread, NULL, thread_main, sweeper))
		abort(); /* at the start: as good as out of memory */
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return sweeper;
}

void sweeper_stop(struct sweeper *sweeper)
{
	pthread_mutex_lock(&sweeper->lock);
	sweeper->stopping = true;
	pthread_mutex_unlock(&sweeper->lock);
	wake(sweeper);
	(void)pthread_join(sweeper->thread, NULL);
}

void sweeper_free(struct sweeper *sweeper)
{
	if (!sweeper)
		return;
	while (sweeper->forgets) {
		struct forget *next = sweeper->forgets->next;

		free(sweeper->forgets);
		sweeper->forgets = next;
	}
	close(sweeper->wake);
	pthread_mutex_destroy(&sweeper->telling);
	pthread_mutex_destroy(&sweeper->lock);
	free(sweeper);
}
