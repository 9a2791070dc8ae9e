/* SPDX-License-Identifier: Apache-2.0 */
/* mantikctl set-tag: a tag of a run. */
#include "cmd.h"

static int run(struct ctl *ctl)
{
	return ctl_set_value(ctl, true, ctl->operands[0], ctl->operands[1]);
}

const struct cmd cmd_set_tag = {
	.name = "set-tag",
	.operands = "KEY VALUE",
	.min = 2,
	.max = 2,
	.needs = CTL_NOTHING,
	.help = "sets a tag of a run",
	.more = "A tag may be set again. In a job the run is the job's own.",
	.options =
		(const struct cmd_option[]){
			{'r', "run", "RUN", "the run, outside of its job"},
			{},
		},
	.run = run,
};
