/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Anybody on the machine can connect to a port of loopback, and one who says a byte every ten
 * seconds never times out for libmicrohttpd. So each connection is known here with what it is at:
 *
 *	WAITING	for a head, from its beginning or its last answer: limits.idle, or limits.head who
 *		has not shown the token yet; however many bytes of it have come
 *	BODY	must move limits.rate bytes a second, looked at each limits.window
 *	WORK	a handler is at it, or the answer is being sent: libmicrohttpd's time-out
 *
 * Who takes longer is shut down; so is, when three quarters of the connections are taken, the one
 * that has been WAITING longest, strangers first: however many are opened to keep others out, the
 * head of who has something to say comes at once.
 */
#include "serve/frame.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/* With the lock. */
static void show_out(struct serve_link *link)
{
	if (!link->told)
		(void)shutdown(link->fd, SHUT_RDWR); /* its poll thread sees the end and closes */
	link->told = true;
}

static bool overdue(const struct serve_limits *limits, struct serve_link *link, int64_t now)
{
	int64_t age = now - link->since;

	switch (link->state) {
	case LINK_WAITING:
		return age > (link->known ? limits->idle : limits->head);
	case LINK_BODY:
		if (age <= limits->window)
			return false;
		if (link->bytes < limits->rate * (limits->window / MK_MS) / 1000)
			return true;
		link->since = now;
		link->bytes = 0;
		return false;
	case LINK_WORK:
		break;
	}
	return false;
}

/* Who goes first when there is no room: strangers, then who has waited longer. */
static bool before(const struct serve_link *a, const struct serve_link *b)
{
	return a->known != b->known ? b->known : a->since < b->since;
}

static void *sweep(void *arg)
{
	struct serve_sweep *s = arg;

	pthread_mutex_lock(&s->lock);
	while (!s->stop) {
		int64_t now = mk_now_mono(), tick = s->limits->head / 8;
		struct timespec until;

		for (struct serve_link *link = s->links; link; link = link->next)
			if (overdue(s->limits, link, now))
				show_out(link);
		if (!s->links) {
			pthread_cond_wait(&s->wake, &s->lock);
			continue;
		}
		now += tick < 2 * MK_SEC ? tick : 2 * MK_SEC;
		until = (struct timespec){now / MK_SEC, now % MK_SEC};
		(void)pthread_cond_timedwait(&s->wake, &s->lock, &until);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

int serve_sweep_init(struct mk_call *call, struct serve_sweep *s, const struct serve_limits *limits)
{
	pthread_condattr_t attr;

	*s = (struct serve_sweep){.lock = PTHREAD_MUTEX_INITIALIZER, .limits = limits};
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->wake, &attr);
	pthread_condattr_destroy(&attr);

	int r = pthread_create(&s->thread, NULL, sweep, s);

	if (r)
		return mk_fail(call, r, "the tracking server has no thread: %s", strerror(r));
	s->running = true;
	return 0;
}

void serve_sweep_done(struct serve_sweep *s)
{
	if (!s->running)
		return;
	pthread_mutex_lock(&s->lock);
	s->stop = true;
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->thread, NULL);
	s->running = false;
	pthread_cond_destroy(&s->wake);
	pthread_mutex_destroy(&s->lock);
}

struct serve_link *serve_link_new(struct serve_sweep *s, int fd)
{
	struct serve_link *link = mk_new(struct serve_link);

	*link = (struct serve_link){.fd = fd, .since = mk_now_mono()};
	pthread_mutex_lock(&s->lock);

	bool first = !s->links;

	link->next = s->links;
	if (s->links)
		s->links->prev = link;
	s->links = link;
	s->n++;
	if (s->n > s->limits->connections / 4 * 3) {
		struct serve_link *oldest = NULL;

		for (struct serve_link *l = link->next; l; l = l->next)
			if (l->state == LINK_WAITING && !l->told && (!oldest || before(l, oldest)))
				oldest = l;
		if (oldest)
			show_out(oldest);
	}
	if (first)
		pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
	return link;
}

void serve_link_free(struct serve_sweep *s, struct serve_link *link)
{
	pthread_mutex_lock(&s->lock);
	if (link->prev)
		link->prev->next = link->next;
	else
		s->links = link->next;
	if (link->next)
		link->next->prev = link->prev;
	s->n--;
	pthread_mutex_unlock(&s->lock);
	free(link->query);
	free(link);
}

void serve_link_set(struct serve_sweep *s, struct serve_link *link, enum serve_link_state state)
{
	pthread_mutex_lock(&s->lock);
	link->state = state;
	link->since = mk_now_mono();
	link->bytes = 0;
	pthread_mutex_unlock(&s->lock);
}

void serve_link_known(struct serve_sweep *s, struct serve_link *link)
{
	pthread_mutex_lock(&s->lock);
	link->known = true;
	pthread_mutex_unlock(&s->lock);
}

void serve_link_moved(struct serve_sweep *s, struct serve_link *link, size_t bytes)
{
	pthread_mutex_lock(&s->lock);
	link->bytes += (int64_t)bytes;
	pthread_mutex_unlock(&s->lock);
}
