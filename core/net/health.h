/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How remotes are, for this process: whether to ask them at all, and what .mantik/connections/ and
 * site.yaml say of them. The first time-out or refused connection opens the breaker: for 1 s, then
 * 2 s … 60 s, requests fail at once instead of making everybody wait in turn (architecture F3).
 * The first answer closes it; that of a proxy for a server that does not answer (502, 504) is none. When the time is up one request goes through to see. Any thread;
 * never waits.
 */
#ifndef MK_HEALTH_H
#define MK_HEALTH_H

#include <mantik/call.h>

/* 0: ask. -EHOSTUNREACH with `… down since 12:00:03 (connection refused), asked again in 4 s`. */
int mk_health_check(struct mk_call *call, const char *remote) _must_check_;
/* What came of a request: code 0 an answer came, EINTR nothing was learnt, else the errno and its
 * text; EHOSTUNREACH and ETIMEDOUT open the breaker. ms, bytes: for show. */
void mk_health_note(const char *remote, int code, const char *text, int64_t ms, int64_t bytes);

/* The connection was changed: it is asked at once. */
void mk_health_reset(const char *remote);

struct mk_health {
	bool known;	    /* it was asked at all */
	int64_t down_since; /* ns realtime; 0: up */
	int64_t last;	    /* ns realtime of the last answer, 0 never */
	int64_t ms;	    /* the last answer took so long */
	int64_t requests, bytes, failures;
	char error[256];    /* the last one, one line; "" none */
};
void mk_health_get(const char *remote, struct mk_health *ret);

#endif
