/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The breaker of each remote: a short table under one lock, filled by mk_http_send.
 *
 *	            no connection, no answer in time
 *	  CLOSED ------------------------------------> OPEN 1 s, 2 s … 60 s: everybody fails at once
 *	     ^                                           |  time is up: the next one asks, for all
 *	     |  any answer                               v
 *	     +------------------------------------- PROBING (at most 10 s) -- none --> OPEN, longer
 */
#include "health.h"

#include <errno.h>
#include <mantik/mantik.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { MAX_REMOTES = 1000, PROBE_S = 10, LONGEST_S = 60 };

struct remote {
	char *name;
	struct mk_health health;
	int64_t wait; /* ns, how long it was given up for the last time; 0: closed */
	int64_t open; /* monotonic: fails at once until then */
	bool probing; /* somebody was let through to ask */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* protects the two below */
static struct remote remotes[MAX_REMOTES];
static size_t n_remotes;

/* Under the lock. Never forgotten: a connection's name is used again and again. A thousand and
 * first has no breaker. */
static struct remote *find(const char *name, bool make)
{
	for (size_t i = 0; i < n_remotes; i++)
		if (strcmp(remotes[i].name, name) == 0)
			return &remotes[i];
	if (!make || n_remotes == MAX_REMOTES)
		return NULL;
	remotes[n_remotes].name = mk_strdup(name);
	return &remotes[n_remotes++];
}

int mk_health_check(struct mk_call *call, const char *remote)
{
	int64_t now = mk_now_mono(), left = 0;
	struct mk_health health = {};
	char since[32];

	pthread_mutex_lock(&lock);

	struct remote *r = find(remote, false);

	if (r && r->wait) {
		left = r->open - now;
		health = r->health;
		if (left <= 0) { /* this one asks; the others fail until it knows */
			r->open = now + PROBE_S * MK_SEC;
			r->probing = true;
		}
	}
	pthread_mutex_unlock(&lock);
	if (left <= 0)
		return 0;
	mk_time_text(health.down_since, false, since);
	return mk_fail(call, EHOSTUNREACH, "%s: down since %s (%s), asked again in %lld s", remote,
		       since, health.error, (long long)((left + MK_SEC - 1) / MK_SEC));
}

static void note_error(struct remote *r, const char *text)
{
	r->health.failures++;
	(void)snprintf(r->health.error, sizeof(r->health.error), "%s", text ? text : "");
}

static void opens(struct remote *r)
{
	if (!r->health.down_since)
		r->health.down_since = mk_now_real();
	r->wait = r->wait ? r->wait * 2 : MK_SEC;
	if (r->wait > LONGEST_S * MK_SEC)
		r->wait = LONGEST_S * MK_SEC;
	r->open = mk_now_mono() + r->wait;
	r->probing = false;
}

void mk_health_note(const char *remote, int code, const char *text, int64_t ms, int64_t bytes)
{
	pthread_mutex_lock(&lock);

	struct remote *r = find(remote, true);

	if (r) {
		r->health.known = true;
		r->health.requests++;
		r->health.bytes += bytes;
		if (code == 0) {
			r->health.last = mk_now_real();
			r->health.ms = ms;
			r->health.down_since = 0;
			r->wait = 0;
			r->probing = false;
		} else if (code == EHOSTUNREACH || code == ETIMEDOUT) {
			note_error(r, text);
			if (!r->wait || r->probing) /* others of the same moment count once */
				opens(r);
		} else {
			if (code != EINTR)
				note_error(r, text);
			if (r->probing) /* nothing was learnt: the next one asks */
				r->open = mk_now_mono();
			r->probing = false;
		}
	}
	pthread_mutex_unlock(&lock);
}

void mk_health_reset(const char *remote)
{
	pthread_mutex_lock(&lock);

	struct remote *r = find(remote, false);

	if (r) {
		r->health.down_since = 0;
		r->wait = 0;
		r->probing = false;
	}
	pthread_mutex_unlock(&lock);
}

void mk_health_get(const char *remote, struct mk_health *ret)
{
	pthread_mutex_lock(&lock);

	struct remote *r = find(remote, false);

	*ret = r ? r->health : (struct mk_health){};
	pthread_mutex_unlock(&lock);
}
