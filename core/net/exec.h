/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The only place that starts programs (git, venv, tools). A program gets its own process group,
 * default signals, closed descriptors and a clean environment plus what is asked for; it ends when
 * the call is cancelled or out of time: TERM to the group, KILL after 2 s, reaped by pid.
 */
#ifndef MK_EXEC_H
#define MK_EXEC_H

#include <mantik/buf.h>
#include <mantik/call.h>

struct mk_exec {
	const char *remote;	  /* whose lane this needs: "git:github.com"; for mk_call_may_wait */
	const char *const *argv;  /* NULL-terminated, argv[0] looked up in PATH */
	/* NULL-terminated, over the inherited environment, or NULL: "K=V" sets, "K" takes away,
	 * "K*" takes away all that begin with K (and are not set here). */
	const char *const *env;
	const char *dir;	  /* working directory or NULL */
	const char *input;	  /* fed to stdin (else /dev/null) */
	size_t input_len;
	struct mk_buf *out;  /* stdout up to its limit (over it: the program is ended, EFBIG) */
	struct mk_buf *err;  /* stderr: the last 4 KiB are kept whatever the limit; NULL: dropped */
	int out_fd;	     /* > 0: stdout goes there instead */
	int pass_fd;	     /* > 0: the program and its children have it as descriptor 3 */
	int64_t idle;	     /* > 0, ns: ended with ETIMEDOUT when it has written nothing that long */
	/* Called once when the program runs: its pid is its process group. */
	void (*started)(void *arg, pid_t pid);
	void *started_arg;
	int *ret_status;     /* exit code; NULL: any but 0 is an error */
	int *ret_signal;     /* that ended it, 0 none; NULL: any is an error */
};

/*
 * 0 when it ran and (ret_status or exit 0). MK_PUNT when this thread may not wait for `remote`.
 * ENOENT program not found (names it and the package to install when known), EINTR, ETIMEDOUT,
 * EFBIG; EREMOTEIO exit code not 0 with stderr's last words as detail and status = exit code.
 */
int mk_exec_run(struct mk_call *call, const struct mk_exec *exec) _must_check_;

#endif
