/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Trace: a line for each thing a component does, for who looks for a fault. Off, which it is unless
 * somebody asks, it costs one branch.
 *
 *	12:00:00.123456 fuse #17 pid 4711 lookup /projects/a lane git:host 3 punts 1530 us: ENOENT
 *	12:00:00.122001 exec #17 git --git-dir=/…/r.git fetch … pid 4712 1402 us: exit 128
 *	12:00:00.121000 db 3 writes, durable 640 us: ok
 *	12:00:00.120000 http #17 mlflow: GET http://host:5000/api/2.0/mlflow/runs/get 200 12 ms
 *	12:00:00.119000 serve #3 POST /api/2.0/mlflow/runs/log-metric 200 310 us
 *
 * fuse: answered operations (fs/fuse), with their number, which what they cause carries too. exec:
 * programs that have ended. db: commits. http: requests to remotes (core/net). serve: requests that
 * the tracking server answered. No contents, no query, no header; what stands before the `@` of a URL is starred.
 *
 * The one state of a process that is not in a struct mantik: what is traced was asked for on the
 * command line, before anything was opened. Any thread, never waits for anything but a sink.
 */
#ifndef MANTIK_TRACE_H
#define MANTIK_TRACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <mantik/buf.h>

enum mk_trace_component {
	MK_TRACE_FUSE = 1,
	MK_TRACE_EXEC = 2,
	MK_TRACE_DB = 4,
	MK_TRACE_HTTP = 8,
	MK_TRACE_SERVE = 16,
	MK_TRACE_ALL = 31,
};

extern _Atomic unsigned mk_traced; /* by any sink; read it with mk_tracing() */
static inline bool mk_tracing(enum mk_trace_component component)
{
	return atomic_load_explicit(&mk_traced, memory_order_relaxed) & component;
}

/* Where lines go: two at most, each with what it wants. line ends in a newline. */
enum mk_trace_sink { MK_TRACE_LOG, MK_TRACE_MOUNT, MK_TRACE_SINKS };
typedef void mk_trace_line(void *arg, const char *line, size_t len);
/* components 0: nothing more comes once this returns. */
void mk_trace_to(enum mk_trace_sink sink, unsigned components, mk_trace_line *line, void *arg);
/* A sink for MK_TRACE_LOG: one write(2) a line to standard error. */
mk_trace_line mk_trace_stderr;

/* `on` or `all`, `off`, or components with blanks, commas or colons between. -EINVAL. */
int mk_trace_parse(const char *words, size_t len, unsigned *ret) _must_check_;
/* What can be asked for: `fuse exec db http serve`. */
const char *mk_trace_names(void);

/* number: of the operation it is done for, 0 none. Ask mk_tracing() before making the text. */
void mk_trace(enum mk_trace_component component, uint64_t number, const char *fmt, ...)
	_printf_(3, 4);

#endif
