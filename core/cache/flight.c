/* SPDX-License-Identifier: Apache-2.0 */
/* See flight.h. The list of flights is short: as many as different questions are under way. */
#include "cache/flight.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>

#include <mantik/lane.h>

static const int64_t grace = 5 * MK_SEC;

struct mk_flights {
	struct mk_lanes *lanes;
	pthread_mutex_t lock; /* the list, and all of a flight that is marked so */
	struct mk_flight *first;
};

struct mk_flight {
	struct mk_lane_work work; /* its first member */
	struct mk_flights *all;
	char *remote, *key;
	mk_flight_fn *fn;
	void *arg;
	void (*drop)(void *arg);
	struct mk_call call;
	int landed_fd; /* readable for good once it has landed */
	_Atomic unsigned moves;

	/* under all->lock */
	struct mk_flight *next;
	int refs; /* the thread's and each asker's */
	int askers;
	bool landed;
	int result;
};

static void unref_locked(struct mk_flight *flight)
{
	if (--flight->refs)
		return;
	if (flight->drop)
		flight->drop(flight->arg);
	mk_call_done(&flight->call);
	mk_closep(&flight->landed_fd);
	free(flight->remote);
	free(flight->key);
	free(flight);
}

static void land(struct mk_flight *flight, int result)
{
	struct mk_flights *all = flight->all;

	pthread_mutex_lock(&all->lock);
	flight->landed = true;
	flight->result = result;
	for (struct mk_flight **at = &all->first; *at; at = &(*at)->next)
		if (*at == flight) {
			*at = flight->next;
			break;
		}
	(void)eventfd_write(flight->landed_fd, 1);
	unref_locked(flight);
	pthread_mutex_unlock(&all->lock);
}

static void fly(struct mk_lane_work *work)
{
	struct mk_flight *flight = (struct mk_flight *)work;
	int r = mk_call_check(&flight->call, flight->key);

	land(flight, r < 0 ? r : flight->fn(&flight->call, flight, flight->arg));
}

void mk_flight_moved(struct mk_flight *flight)
{
	atomic_fetch_add(&flight->moves, 1);
}

struct mk_flights *mk_flights_new(int threads)
{
	struct mk_flights *all = mk_new(struct mk_flights);

	all->lanes = mk_lanes_new(threads);
	pthread_mutex_init(&all->lock, NULL);
	return all;
}

void mk_flights_free(struct mk_flights *all)
{
	if (!all)
		return;
	pthread_mutex_lock(&all->lock);
	for (struct mk_flight *flight = all->first; flight; flight = flight->next)
		mk_call_cancel(&flight->call);
	pthread_mutex_unlock(&all->lock);
	mk_lanes_free(all->lanes);
	pthread_mutex_destroy(&all->lock);
	free(all);
}

static struct mk_flight *new_flight(struct mk_flights *all, const char *remote, const char *key,
				    mk_flight_fn *fn, void *arg, void (*drop)(void *arg))
{
	struct mk_flight *flight = mk_new(struct mk_flight);

	flight->work.run = fly;
	flight->all = all;
	flight->remote = mk_strdup(remote);
	flight->key = mk_strdup(key);
	flight->fn = fn;
	flight->arg = arg;
	flight->drop = drop;
	flight->refs = 1; /* its thread's */
	mk_call_init(&flight->call);
	flight->landed_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return flight;
}

/* The one under way (arg is dropped) or a new one, with the asker's reference. */
static struct mk_flight *board(struct mk_flights *all, struct mk_flight *fresh, bool *ret_begun)
{
	struct mk_flight *flight;

	pthread_mutex_lock(&all->lock);
	for (flight = all->first; flight; flight = flight->next)
		if (strcmp(flight->key, fresh->key) == 0 &&
		    !atomic_load(&flight->call.cancelled))
			break;
	*ret_begun = !flight;
	if (flight) {
		unref_locked(fresh);
	} else {
		flight = fresh;
		flight->next = all->first;
		all->first = flight;
	}
	flight->refs++;
	flight->askers++;
	pthread_mutex_unlock(&all->lock);
	return flight;
}

struct grace {
	struct mk_lane_work work;
	struct mk_flight *flight;
};

/* The last asker has left: five more seconds. */
static void watch(struct mk_lane_work *work)
{
	struct grace *g = (struct grace *)work;
	struct mk_flight *flight = g->flight;
	struct mk_flights *all = flight->all;
	struct pollfd fds[] = {
		{.fd = flight->landed_fd, .events = POLLIN},
		{.fd = mk_call_cancel_fd(&flight->call), .events = POLLIN},
	};

	(void)poll(fds, 2, (int)(grace / MK_MS));
	pthread_mutex_lock(&all->lock);
	if (!flight->landed && !flight->askers)
		mk_call_cancel(&flight->call);
	unref_locked(flight);
	pthread_mutex_unlock(&all->lock);
	free(g);
}

static void leave(struct mk_flight *flight)
{
	struct mk_flights *all = flight->all;
	struct grace *g = NULL;

	pthread_mutex_lock(&all->lock);
	if (--flight->askers == 0 && !flight->landed) {
		g = mk_new(struct grace);
		g->work.run = watch;
		g->flight = flight;
		flight->refs++;
	}
	unref_locked(flight);
	pthread_mutex_unlock(&all->lock);
	if (g && mk_lane_run(all->lanes, "(grace)", &g->work) < 0)
		watch(&g->work);
}

static int await(struct mk_call *call, struct mk_flight *flight, int64_t patience)
{
	int64_t until = patience ? mk_now_mono() + patience : INT64_MAX;
	unsigned moves = atomic_load(&flight->moves);
	int64_t time = call->deadline ? call->deadline - mk_now_mono() : 0;

	for (;;) {
		int cancel = mk_call_cancel_fd(call);
		struct pollfd fds[] = {
			{.fd = cancel, .events = POLLIN},
			{.fd = flight->landed_fd, .events = POLLIN},
		};

		(void)poll(fds, 2, mk_call_left_ms(call, cancel < 0 ? 100 : 500));
		if (fds[1].revents)
			return 0;
		if (call->deadline && atomic_load(&flight->moves) != moves) {
			moves = atomic_load(&flight->moves);
			call->deadline = mk_now_mono() + time;
		}

		int r = mk_call_check(call, flight->remote);

		if (r == 0 && mk_now_mono() >= until)
			r = mk_fail(call, ETIMEDOUT, "%s: no answer yet", flight->remote);
		if (r < 0)
			return r;
	}
}

int mk_flight_board(struct mk_call *call, struct mk_flights *all, const char *remote,
		    const char *key, int64_t patience, mk_flight_fn *fn, void *arg,
		    void (*drop)(void *arg))
{
	bool begun;
	struct mk_flight *flight =
		board(all, new_flight(all, remote, key, fn, arg, drop), &begun);

	if (begun) {
		int r = flight->landed_fd < 0 ? -EMFILE
					      : mk_lane_run(all->lanes, remote, &flight->work);

		if (r < 0)
			land(flight, mk_fail(&flight->call, EAGAIN,
					     "%s: no thread can be started to ask", remote));
	}

	int r = await(call, flight, patience);

	if (r == 0) {
		pthread_mutex_lock(&all->lock);
		r = flight->result;
		if (r < 0 && flight->call.error.code) {
			const struct mk_error *error = &flight->call.error;

			(void)mk_fail(call, error->code, "%s", error->text);
			mk_error_detail(call, error->remote, error->status, error->detail);
		}
		pthread_mutex_unlock(&all->lock);
	}
	leave(flight);
	return r;
}
