/* SPDX-License-Identifier: Apache-2.0 */
/* mantikctl backup: the database as one consistent state, while everything goes on. */
#include "cmd.h"

static int run(struct ctl *ctl)
{
	return mantik_backup(&ctl->call, ctl->m, ctl->operands[0]);
}

const struct cmd cmd_backup = {
	.name = "backup",
	.operands = "FILE",
	.min = 1,
	.max = 1,
	.needs = CTL_READ,
	.help = "writes the database to a new file",
	.more = "One consistent state, while mounts and jobs go on. To restore it, stop all, and put it in the "
		"place of mantik.db in the data directory. Logs and artifacts are files below runs/ there, "
		"to be saved by any backup program.",
	.options = CTL_NO_OPTIONS,
	.run = run,
};
