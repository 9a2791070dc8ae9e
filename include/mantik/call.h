/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The context of one operation, made by the front end (a FUSE request, a command line, a job of
 * mantikd) and the first parameter of everything that can fail or wait. It says who asks, how long
 * it may take, which remote this thread may wait for, and carries the error back.
 *
 * Core keeps no pointer to a call beyond the operation. One thread works on a call at a time;
 * only mk_call_cancel() may come from another.
 *
 * Results: 0 or positive, or a negative errno with the text in call->error. Two more negative
 * codes are not errors and never reach a user:
 *   MK_PUNT  this thread may not wait for what is needed; nothing has happened yet; call->punt
 *            names the remote whose lane may run the same operation again
 *   MK_PARK  the operation waits for an event and holds no thread meanwhile; run it again inline
 *            when call->park.key changes or at call->park.until
 */
#ifndef MANTIK_CALL_H
#define MANTIK_CALL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <mantik/cleanup.h>

enum { MK_PUNT = -0x10001, MK_PARK = -0x10002 };

struct mk_error {
	int code;	    /* positive errno, 0 = none */
	char *text;	    /* one line for humans, without secrets: what, where, what to do */
	char *remote;	    /* name of the remote, or NULL */
	int status;	    /* HTTP status or exit code of a program, 0 = none */
	char *detail;	    /* the remote's own words, at most 4 KiB, or NULL */
	const char *origin; /* static: file:line of the mk_fail */
};

/* Value of may_wait for a command line or a thread of mantikd: it may wait for anything. */
extern const char MK_ANY[];

struct mk_call {
	uid_t uid;
	gid_t gid;
	pid_t pid;  /* thread id of the asker as FUSE gives it; 0 = unknown */
	pid_t tgid; /* its thread group; 0 = not looked up yet */
	pid_t sid;  /* its session; 0 = not looked up yet */
	_Atomic int64_t deadline; /* CLOCK_MONOTONIC ns, 0 = none; its own thread may put it off while
				   * a watchdog reads it */
	const char *may_wait; /* NULL = nothing, MK_ANY, or the name of one remote */
	uint64_t number;      /* of the operation; travels as X-Request-ID */

	char punt[128]; /* with MK_PUNT */
	struct {
		int64_t key;   /* with MK_PARK: 0 = any change of the database, else a run's id */
		int64_t until; /* CLOCK_MONOTONIC ns, 0 = no time */
	} park;

	struct { /* what it wrote to a tracking store and waits to hear about: mantik/outbox.h */
		int64_t first, last; /* 0: nothing */
		int64_t until;	     /* CLOCK_MONOTONIC ns */
	} unsent;

	struct mk_error error;

	_Atomic bool cancelled; /* set by mk_call_cancel, never cleared */
	pthread_mutex_t lock;	/* protects cancel_fd against mk_call_cancel */
	int cancel_fd;		/* eventfd, -1 until asked for */
};

/* A call that may wait for anything, without a deadline, asked by this process. */
void mk_call_init(struct mk_call *call);
void mk_call_done(struct mk_call *call);
#define _cleanup_call_ _cleanup_(mk_call_done)

/* From any thread: makes every wait of this call end with -EINTR. */
void mk_call_cancel(struct mk_call *call);
/* A descriptor that becomes readable when the call is cancelled, for poll(); owned by the call.
 * -1 when out of descriptors: then wake every 100 ms and look at `cancelled`. */
int mk_call_cancel_fd(struct mk_call *call);
/* 0; -EINTR when cancelled; -ETIMEDOUT past the deadline. Sets a text that says what was waited
 * for. */
int mk_call_check(struct mk_call *call, const char *what) _must_check_;
/* Milliseconds left for poll(): at most `most`, 0 when out of time. */
int mk_call_left_ms(const struct mk_call *call, int most);
/* 0 if this thread may wait for `remote`; MK_PUNT (and ->punt) if not. */
int mk_call_may_wait(struct mk_call *call, const char *remote) _must_check_;

/* Sets the error (replacing an older one) and returns -code. code is a positive errno. */
int mk_fail_at(struct mk_call *call, const char *origin, int code, const char *fmt, ...)
	_printf_(4, 5);
#define MK_STR_(x) #x
#define MK_STR(x) MK_STR_(x)
#define mk_fail(call, code, ...) mk_fail_at(call, __FILE__ ":" MK_STR(__LINE__), code, __VA_ARGS__)
/* Puts "text: " before the error's text; returns r unchanged: return mk_prefix(call, r, "…"). */
int mk_prefix(struct mk_call *call, int r, const char *fmt, ...) _printf_(3, 4);
void mk_error_detail(struct mk_call *call, const char *remote, int status, const char *detail);
void mk_error_clear(struct mk_call *call);
/* Moves the error from one call to another. */
void mk_error_move(struct mk_call *to, struct mk_call *from);

/* CLOCK_MONOTONIC and CLOCK_REALTIME in nanoseconds. */
int64_t mk_now_mono(void);
int64_t mk_now_real(void);
#define MK_MS INT64_C(1000000)
#define MK_SEC INT64_C(1000000000)

#endif
