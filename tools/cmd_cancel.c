/* SPDX-License-Identifier: Apache-2.0 */
/* mantikctl cancel: the intent is durable when it returns; mantikd ends the job. */
#include "cmd.h"

#include <mantik/run.h>

static int cancel(struct ctl *ctl, int64_t id)
{
	return mk_run_cancel(&ctl->call, ctl->m, id);
}

static int run(struct ctl *ctl)
{
	return ctl_each_run(ctl, cancel);
}

const struct cmd cmd_cancel = {
	.name = "cancel",
	.operands = "RUN ...",
	.min = 1,
	.max = -1,
	.needs = CTL_WRITE,
	.help = "ends runs that have not ended",
	.more = "A run that waits is never started; of one that runs no process is left. Returns once that "
		"is certain to happen; wait tells when it has.",
	.options = CTL_NO_OPTIONS,
	.run = run,
};
