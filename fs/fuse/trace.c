/* SPDX-License-Identifier: Apache-2.0 */
/* An answered operation as a line of the trace. No contents, no secrets. */
#include "op.h"

#include <string.h>

#include <mantik/trace.h>

void trace_op(const struct op *op, int r, const char *path)
{
	_cleanup_buf_ struct mk_buf line = MK_BUF(1 << 15);
	int64_t took = (mk_now_mono() - op->arrived) / 1000;

	/* Who follows the trace is not traced: it would never end. */
	if (strcmp(path, "/.mantik/trace") == 0)
		return;
	(void)mk_buf_printf(&line, "pid %d %s %s", (int)op->call.pid, op->verb->name, path);
	if (op->data || op->len)
		(void)mk_buf_printf(&line, " %zu at %lld", op->len, (long long)op->offset);
	if (op->punts)
		(void)mk_buf_printf(&line, " lane %s %d punts", op->lane, op->punts);
	mk_trace(MK_TRACE_FUSE, op->call.number, "%s %lld us: %s", mk_buf_text(&line),
		 (long long)took, r < 0 ? strerrorname_np(-r) : "ok");
}
