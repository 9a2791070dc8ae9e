/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starts a program of our own that is to outlive us: mantikd, and the shepherd of a job. It gets a
 * session of its own, /dev/null as input and output, no other descriptor of ours (above all never
 * /dev/fuse) and default signals. Programs that are waited for: net/exec.h.
 */
#ifndef MK_SPAWN_H
#define MK_SPAWN_H

#include <mantik/call.h>

struct mk_spawn {
	const char *path;
	const char *const *argv; /* NULL-terminated */
	char *const *env;	 /* NULL: ours */
	bool keep_stderr;	 /* ours, a log file */
	bool hold_signals;	 /* TERM, INT and HUP wait until it asks for them */
};

/* Gives its pid: a child of ours, to be reaped by whoever watches it. EBUSY: no process can be had
 * now. */
int mk_spawn(struct mk_call *call, const struct mk_spawn *spawn, pid_t *ret) _must_check_;

#endif
