/* SPDX-License-Identifier: Apache-2.0 */
/* mantikctl log-param: a parameter of a run. */
#include "cmd.h"

static int run(struct ctl *ctl)
{
	return ctl_set_value(ctl, false, ctl->operands[0], ctl->operands[1]);
}

const struct cmd cmd_log_param = {
	.name = "log-param",
	.operands = "KEY VALUE",
	.min = 2,
	.max = 2,
	.needs = CTL_NOTHING,
	.help = "logs a parameter of a run",
	.more = "A parameter is set once: another value for the same KEY is refused. In a job the run is the job's own.",
	.options =
		(const struct cmd_option[]){
			{'r', "run", "RUN", "the run, outside of its job"},
			{},
		},
	.run = run,
};
