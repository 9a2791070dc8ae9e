/* SPDX-License-Identifier: Apache-2.0 */
/* mantikctl delete: moves runs to runs/deleted, from where they come back; asks on a terminal. */
#include "cmd.h"

#include <mantik/run.h>

static int delete(struct ctl *ctl, int64_t id)
{
	return mk_run_delete(&ctl->call, ctl->m, id);
}

static int run(struct ctl *ctl)
{
	if (!ctl_confirm(ctl, "delete %d run%s (restore brings them back)?", ctl->n_operands,
			 ctl->n_operands == 1 ? "" : "s"))
		return CTL_FAILED;
	return ctl_each_run(ctl, delete);
}

const struct cmd cmd_delete = {
	.name = "delete",
	.operands = "RUN ...",
	.min = 1,
	.max = -1,
	.needs = CTL_WRITE,
	.help = "moves ended runs to runs/deleted",
	.more = "On a terminal it asks first. Nothing is lost until gc: restore brings a run back.",
	.options =
		(const struct cmd_option[]){
			{'y', "yes", NULL, "does not ask"},
			{},
		},
	.run = run,
};
