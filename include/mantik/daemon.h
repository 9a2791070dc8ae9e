/* SPDX-License-Identifier: Apache-2.0 */
/* What tools/mantikd.c is the main() of. */
#ifndef MANTIK_DAEMON_H
#define MANTIK_DAEMON_H

#include <mantik/mantik.h>

/* What answers others while mantikd lives: the tracking server. */
struct mk_daemon_service {
	const char *name;
	const char *idle; /* option: it is work for so long after it was last asked */
	/* port 0: its own choice. Blocks shortly. */
	int (*start)(struct mk_call *call, struct mantik *m, int port, void **ret);
	void (*stop)(void *service);
	int64_t (*last)(const void *service); /* mono: last asked; 0 never */
	int (*port)(const void *service);
};
/* core/serve; linked by mantikd only. */
extern const struct mk_daemon_service mk_serve_service;

struct mk_daemon_options {
	int64_t idle;	  /* ns; INT64_MAX: until it is told to end */
	bool own_log;	  /* stderr is our log file, which is kept small */
	const struct mk_daemon_service *service; /* or NULL */
	int port;	  /* of the service; not 0: it must get this one, and serve */
	bool replace;	  /* ends the mantikd of this machine that does the work, and waits for it */
	/* The service listens; in the loop's thread. Or NULL. */
	void (*ready)(void *arg, int port);
	void *ready_arg;
};
/*
 * Takes the lease and works until nothing has been left to do for `idle` ns, or SIGTERM or SIGINT.
 * Waits for a mantikd that is about to go. EBUSY: another one does the work. SIGTERM and SIGINT are
 * blocked in all threads.
 */
int mk_daemon_run(struct mk_call *call, struct mantik *m,
		  const struct mk_daemon_options *options) _must_check_;
/* Where mantikd is: beside this program, $MANTIKD, or where it is installed; NULL: nowhere. Owned by
 * the caller. */
char *mantik_daemon_path(void);
/* The journal's steps by number, NULL after the last: what MK_ABORT_AT takes (tests). */
const char *mk_daemon_step(int i);
/* A mantikd that a job started is no part of the job: it leaves the job's control group. */
void mk_daemon_leave_job(void);
/* Keeper of one local job; the exit code of its process. Single-threaded. */
int mk_shepherd_main(const char *record);

#endif
