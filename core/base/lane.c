/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads that wait for remotes. One lock protects everything here; it is held for list work only,
 * never while work runs. The queue of a lane is in order of arrival.
 *
 *	mk_lane_run -> queue -> thread: idle -> work -> idle ... -> ended (30 s idle, or stuck and
 *	returned, or mk_lanes_free) -> joined by the next caller who passes by
 *
 * A lane exists while it has a thread or something queued, so names that are used once cost
 * nothing later. Threads have all signals blocked: signals belong to the main thread.
 */
#include <mantik/lane.h>

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { IDLE_SECONDS = 30 };

struct lane_thread {
	pthread_t id;
	struct mk_lanes *lanes;
	struct lane *lane;
	const struct mk_lane_work *running; /* NULL: idle */
	bool stuck;			    /* replaced: ends when its work returns */
	struct lane_thread *next;	    /* of the lane, or of the ended ones */
};

struct lane {
	char *name;
	struct mk_lane_work *first, **last;
	struct lane_thread *threads;
	int n_threads;
	int n_stuck;
	int n_idle;
	pthread_cond_t work; /* something queued, or closing */
	struct lane *next;
};

struct mk_lanes {
	pthread_mutex_t lock; /* everything below and in the lanes */
	pthread_cond_t fewer; /* a thread ended */
	struct lane *lanes;
	struct lane_thread *ended; /* to be joined */
	int per_lane;
	int n_threads;
	bool closing;
};

struct mk_lanes *mk_lanes_new(int threads_per_lane)
{
	assert(threads_per_lane > 0 && threads_per_lane <= MK_LANE_MAX_THREADS);

	struct mk_lanes *lanes = mk_new(struct mk_lanes);

	lanes->per_lane = threads_per_lane;
	pthread_mutex_init(&lanes->lock, NULL);
	pthread_cond_init(&lanes->fewer, NULL);
	return lanes;
}

static struct lane *find_lane(struct mk_lanes *lanes, const char *name)
{
	for (struct lane *lane = lanes->lanes; lane; lane = lane->next)
		if (strcmp(lane->name, name) == 0)
			return lane;
	return NULL;
}

static struct lane *make_lane(struct mk_lanes *lanes, const char *name)
{
	struct lane *lane = mk_new(struct lane);
	pthread_condattr_t attr;

	lane->name = mk_strdup(name);
	lane->last = &lane->first;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&lane->work, &attr);
	pthread_condattr_destroy(&attr);
	lane->next = lanes->lanes;
	lanes->lanes = lane;
	return lane;
}

/* Forgets a lane that has neither threads nor work. */
static void drop_lane(struct mk_lanes *lanes, struct lane *lane)
{
	struct lane **at = &lanes->lanes;

	if (lane->n_threads || lane->first)
		return;
	while (*at != lane)
		at = &(*at)->next;
	*at = lane->next;
	pthread_cond_destroy(&lane->work);
	free(lane->name);
	free(lane);
}

/* Waits for work; NULL when the thread should end. Called with the lock held. */
static struct mk_lane_work *next_work(struct mk_lanes *lanes, struct lane *lane)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += IDLE_SECONDS;
	while (!lane->first && !lanes->closing) {
		lane->n_idle++;

		int r = pthread_cond_timedwait(&lane->work, &lanes->lock, &until);

		lane->n_idle--;
		if (r == ETIMEDOUT)
			break;
	}

	struct mk_lane_work *work = lane->first;

	if (!work)
		return NULL;
	lane->first = work->next;
	if (!lane->first)
		lane->last = &lane->first;
	work->next = NULL;
	return work;
}

static void *thread_main(void *arg)
{
	struct lane_thread *self = arg;
	struct mk_lanes *lanes = self->lanes;
	struct lane *lane = self->lane;
	struct mk_lane_work *work;

	pthread_mutex_lock(&lanes->lock);
	while (!self->stuck && (work = next_work(lanes, lane))) {
		self->running = work;
		pthread_mutex_unlock(&lanes->lock);
		work->run(work);
		pthread_mutex_lock(&lanes->lock);
		self->running = NULL;
		if (self->stuck && lane->n_threads - lane->n_stuck < lanes->per_lane) {
			self->stuck = false; /* nobody could take its place: it is needed */
			lane->n_stuck--;
		}
	}

	struct lane_thread **at = &lane->threads;

	while (*at != self)
		at = &(*at)->next;
	*at = self->next;
	lane->n_threads--;
	lane->n_stuck -= self->stuck;
	drop_lane(lanes, lane);
	self->next = lanes->ended;
	lanes->ended = self;
	lanes->n_threads--;
	pthread_cond_broadcast(&lanes->fewer);
	pthread_mutex_unlock(&lanes->lock);
	return NULL;
}

/* One more thread if there is work for it. Called with the lock held. */
static int add_thread(struct mk_lanes *lanes, struct lane *lane)
{
	struct lane_thread *thread = mk_new(struct lane_thread);
	sigset_t all, before;

	thread->lanes = lanes;
	thread->lane = lane;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);

	int r = pthread_create(&thread->id, NULL, thread_main, thread);

	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r) {
		free(thread);
		return -EAGAIN;
	}
	thread->next = lane->threads;
	lane->threads = thread;
	lane->n_threads++;
	lanes->n_threads++;
	return 0;
}

static bool wants_thread(const struct mk_lanes *lanes, const struct lane *lane)
{
	return !lane->n_idle && lane->n_threads - lane->n_stuck < lanes->per_lane &&
	       lane->n_threads < MK_LANE_MAX_THREADS;
}

static void join_ended(struct lane_thread *ended)
{
	while (ended) {
		struct lane_thread *next = ended->next;

		(void)pthread_join(ended->id, NULL);
		free(ended);
		ended = next;
	}
}

int mk_lane_run(struct mk_lanes *lanes, const char *remote, struct mk_lane_work *work)
{
	int r = 0;

	pthread_mutex_lock(&lanes->lock);
	assert(!lanes->closing);

	struct lane_thread *ended = mk_steal(&lanes->ended);
	struct lane *lane = find_lane(lanes, remote);

	if (!lane)
		lane = make_lane(lanes, remote);
	if (wants_thread(lanes, lane))
		r = add_thread(lanes, lane);
	if (lane->n_threads == 0) {
		drop_lane(lanes, lane);
	} else { /* fewer threads than wanted are still threads */
		r = 0;
		work->next = NULL;
		*lane->last = work;
		lane->last = &work->next;
		pthread_cond_signal(&lane->work);
	}
	pthread_mutex_unlock(&lanes->lock);
	join_ended(ended);
	return r;
}

bool mk_lane_take_back(struct mk_lanes *lanes, const char *remote, struct mk_lane_work *work)
{
	bool found = false;

	pthread_mutex_lock(&lanes->lock);

	struct lane *lane = find_lane(lanes, remote);
	struct mk_lane_work **at = lane ? &lane->first : NULL;

	while (at && *at && *at != work)
		at = &(*at)->next;
	if (at && *at) {
		found = true;
		*at = work->next;
		if (!*at)
			lane->last = at;
		work->next = NULL;
	}
	pthread_mutex_unlock(&lanes->lock);
	return found;
}

void mk_lane_replace_thread(struct mk_lanes *lanes, const char *remote,
			    const struct mk_lane_work *work)
{
	pthread_mutex_lock(&lanes->lock);

	struct lane *lane = find_lane(lanes, remote);
	struct lane_thread *thread = lane ? lane->threads : NULL;

	while (thread && thread->running != work)
		thread = thread->next;
	if (thread && !thread->stuck) {
		thread->stuck = true;
		lane->n_stuck++;
		/* Not to be had now: the next mk_lane_run tries again. */
		if (lane->first && wants_thread(lanes, lane))
			(void)add_thread(lanes, lane);
	}
	pthread_mutex_unlock(&lanes->lock);
}

int mk_lanes_threads(struct mk_lanes *lanes)
{
	pthread_mutex_lock(&lanes->lock);

	int n = lanes->n_threads;

	pthread_mutex_unlock(&lanes->lock);
	return n;
}

void mk_lanes_free(struct mk_lanes *lanes)
{
	if (!lanes)
		return;
	pthread_mutex_lock(&lanes->lock);
	lanes->closing = true;
	for (struct lane *lane = lanes->lanes; lane; lane = lane->next)
		pthread_cond_broadcast(&lane->work);
	while (lanes->n_threads)
		pthread_cond_wait(&lanes->fewer, &lanes->lock);

	struct lane_thread *ended = mk_steal(&lanes->ended);

	pthread_mutex_unlock(&lanes->lock);
	join_ended(ended);
	assert(!lanes->lanes);
	pthread_cond_destroy(&lanes->fewer);
	pthread_mutex_destroy(&lanes->lock);
	free(lanes);
}
