/* SPDX-License-Identifier: Apache-2.0 */
/* What tools/mantikd.c is the main() of. */
#ifndef MANTIK_DAEMON_H
#define MANTIK_DAEMON_H

#include <mantik/mantik.h>

/*
 * Takes the lease and works until nothing has been left to do for `idle` ns, or SIGTERM or SIGINT.
 * Waits for a mantikd that is about to go. EBUSY: another one does the work. SIGTERM and SIGINT are
 * blocked in all threads. own_log: stderr is our log file, which is kept small.
 */
int mk_daemon_run(struct mk_call *call, struct mantik *m, int64_t idle,
		  bool own_log) _must_check_;
/* The journal's steps by number, NULL after the last: what MK_ABORT_AT takes (tests). */
const char *mk_daemon_step(int i);
/* A mantikd that a job started is no part of the job: it leaves the job's control group. */
void mk_daemon_leave_job(void);
/* Keeper of one local job; the exit code of its process. Single-threaded. */
int mk_shepherd_main(const char *record);

#endif
