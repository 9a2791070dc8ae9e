/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mantikd and the outbox: one sender a project (and one for its files), in a lane of its own, never
 * two at a time. A store that does not answer is tried again after 1, 2, 4 … 60 s, or when somebody writes or
 * asks. After ten minutes without an answer mantikd does not stay for its sake: the rows stay, and
 * the next mount or command starts it again.
 */
#include "engine/engine.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/file.h"
#include "domain/outbox/send.h"

static const int64_t stay = 600 * MK_SEC, longest = 60 * MK_SEC;

struct sender {
	struct sender *next;
	struct engine *engine;
	struct mk_out_queue queue;
	struct mk_out_seen seen;
	struct mk_lane_work work;
	struct mk_call call;
	bool at_work, rung;
	int result;
	int64_t due;	 /* mono: 0 when somebody rings */
	int64_t begun;	 /* mono: last try */
	int64_t failing; /* mono: since then; 0 not */
	int fails;
	int64_t due_real; /* told by the task */
};

static struct sender *sender_of(struct mk_lane_work *work)
{
	return (struct sender *)((char *)work - offsetof(struct sender, work));
}

/* In a lane thread. */
static void run_sender(struct mk_lane_work *work)
{
	struct sender *s = sender_of(work);

	s->result = mk_outbox_send(&s->call, s->engine->m, &s->queue, &s->seen, &s->due_real);
	engine_sent(s->engine, s->queue.project_id, s->queue.files);
}

static void start(struct sender *s)
{
	_cleanup_free_ char *lane = mk_strf("outbox:%lld%s", (long long)s->queue.project_id,
					   s->queue.files ? ":files" : "");

	mk_call_init(&s->call);
	s->call.may_wait = MK_ANY;
	s->work = (struct mk_lane_work){.run = run_sender};
	s->at_work = true;
	s->rung = false;
	s->begun = mk_now_mono();
	s->due = 0;
	if (mk_lane_run(s->engine->lanes, lane, &s->work) < 0) {
		mk_call_done(&s->call);
		s->at_work = false;
		s->due = mk_now_mono() + MK_SEC;
	}
}

static struct sender *find(struct engine *e, const struct mk_out_queue *queue)
{
	struct sender *s = e->senders;

	while (s && (s->queue.project_id != queue->project_id || s->queue.files != queue->files))
		s = s->next;
	if (s)
		return s;
	s = mk_new(struct sender);
	*s = (struct sender){.next = e->senders, .engine = e, .queue = *queue};
	e->senders = s;
	return s;
}

/* Somebody may have written: what is not at work begins, but not more often than once a second
 * with a store that fails. */
int outbox_look(struct engine *e)
{
	_cleanup_free_ struct mk_out_queue *queues = NULL;
	size_t n = 0;
	int r = mk_outbox_unclaimed(&e->call, e->m);

	if (r >= 0)
		r = mk_outbox_queues(&e->call, e->m, &queues, &n);
	for (size_t i = 0; r >= 0 && i < n; i++) {
		struct sender *s = find(e, &queues[i]);
		int64_t now = mk_now_mono();

		if (s->at_work)
			s->rung = true;
		else if (s->fails && now < s->begun + MK_SEC)
			s->due = s->due && s->due < s->begun + MK_SEC ? s->due : s->begun + MK_SEC;
		else
			start(s);
	}
	return r < 0 ? r : 0;
}

/* Its thread has come back. */
void outbox_done(struct engine *e, const struct mk_out_queue *queue)
{
	struct sender *s = find(e, queue);
	int64_t now = mk_now_mono();

	if (!s->at_work)
		return;
	s->at_work = false;
	if (s->result < 0) {
		int64_t wait = MK_SEC << (s->fails < 6 ? s->fails : 6);

		if (!s->fails++)
			s->failing = now;
		if (s->fails == 1 && s->result != -EINTR)
			engine_log("outbox: %s", s->call.error.text ? s->call.error.text : strerror(-s->result));
		s->due = now + (wait < longest ? wait : longest);
	} else {
		s->fails = 0;
		s->failing = 0;
		s->due = s->due_real ? now + (s->due_real - mk_now_real()) : 0;
		if (s->due && s->due < now)
			s->due = now;
	}
	mk_call_done(&s->call);
	if (s->rung)
		e->look = true;
}

/* Begins what is due. When the next is, 0 none; *ret_busy: mantikd stays for it. */
int64_t outbox_clock(struct engine *e, bool *ret_busy)
{
	int64_t now = mk_now_mono(), next = 0;

	for (struct sender *s = e->senders; s; s = s->next) {
		if (!s->at_work && s->due && s->due <= now)
			start(s);
		if (!s->at_work && s->due && (!next || s->due < next))
			next = s->due;
		*ret_busy |= (s->at_work || s->due) && (!s->failing || now < s->failing + stay);
	}
	return next;
}

bool outbox_idle(struct engine *e)
{
	_cleanup_free_ struct mk_out_queue *queues = NULL;
	size_t n = 0;

	if (mk_outbox_queues(&e->call, e->m, &queues, &n) < 0)
		return true;
	for (size_t i = 0; i < n; i++) {
		struct sender *s = find(e, &queues[i]);

		if (!s->failing || mk_now_mono() < s->failing + stay)
			return false;
	}
	return true;
}

void outbox_cancel(struct engine *e)
{
	for (struct sender *s = e->senders; s; s = s->next)
		if (s->at_work)
			mk_call_cancel(&s->call);
}

/* Their threads have ended. */
void outbox_free(struct engine *e)
{
	while (e->senders) {
		struct sender *s = e->senders;

		e->senders = s->next;
		if (s->at_work)
			mk_call_done(&s->call);
		mk_out_seen_free(&s->seen);
		free(s);
	}
}
