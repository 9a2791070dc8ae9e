/* SPDX-License-Identifier: Apache-2.0 */
/* mantikctl restore: brings deleted runs back. */
#include "cmd.h"

#include <mantik/run.h>

static int restore(struct ctl *ctl, int64_t id)
{
	return mk_run_restore(&ctl->call, ctl->m, id);
}

static int run(struct ctl *ctl)
{
	return ctl_each_run(ctl, restore);
}

const struct cmd cmd_restore = {
	.name = "restore",
	.operands = "RUN ...",
	.min = 1,
	.max = -1,
	.needs = CTL_WRITE,
	.help = "brings deleted runs back",
	.options = CTL_NO_OPTIONS,
	.run = run,
};
