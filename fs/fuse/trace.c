/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One line for each answered operation, for `mantikfs --trace` and `echo on > .mantik/trace`:
 *
 *	12:00:00.123456 #17 pid 4711 lookup /projects/a lane git:host 3 punts 1530 us: ENOENT
 *
 * Written with one write(2) each, so that lines of threads never mix. No contents, no secrets.
 */
#include "op.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

struct trace {
	int fd;
};

struct trace *trace_new(int fd)
{
	struct trace *trace = mk_new(struct trace);

	trace->fd = fd;
	return trace;
}

void trace_free(struct trace *trace)
{
	free(trace);
}

void trace_op(struct trace *trace, const struct op *op, int r, const char *path)
{
	_cleanup_buf_ struct mk_buf line = MK_BUF(1 << 16);
	int64_t took = (mk_now_mono() - op->arrived) / 1000, now = mk_now_real();
	time_t seconds = (time_t)(now / MK_SEC);
	struct tm tm;

	gmtime_r(&seconds, &tm);
	(void)mk_buf_printf(&line, "%02d:%02d:%02d.%06d #%llu pid %d %s %s", tm.tm_hour, tm.tm_min,
			    tm.tm_sec, (int)(now % MK_SEC / 1000),
			    (unsigned long long)op->call.number, (int)op->call.pid, op->verb->name,
			    path);
	if (op->data || op->len)
		(void)mk_buf_printf(&line, " %zu at %lld", op->len, (long long)op->offset);
	if (op->punts)
		(void)mk_buf_printf(&line, " lane %s %d punts", op->lane, op->punts);
	(void)mk_buf_printf(&line, " %lld us: %s\n", (long long)took,
			    r < 0 ? strerrorname_np(-r) : "ok");
	if (mk_buf_check(&line) < 0)
		return;
	if (trace)
		(void)!write(trace->fd, line.data, line.len);
	/* Who follows the trace is not traced there: it would never end. */
	if (fs_tracing(op->mount->tree) && strcmp(path, "/.mantik/trace") != 0)
		fs_trace_line(op->mount->tree, line.data, line.len);
}
