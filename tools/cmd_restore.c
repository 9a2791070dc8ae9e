/* SPDX-License-Identifier: Apache-2.0 */
/* mantikctl restore: brings deleted runs, experiments and projects back. */
#include "cmd.h"

#include <mantik/project.h>
#include <mantik/run.h>

static int restore(struct ctl *ctl, const struct ctl_runs *runs)
{
	int r = runs->run	? mk_run_restore(&ctl->call, ctl->m, runs->run)
		: runs->itself	? mk_project_restore(&ctl->call, ctl->m, runs->project,
						     runs->experiment)
				: mk_run_restore_all(&ctl->call, ctl->m, runs->project,
						     runs->experiment);

	return r < 0 ? r : 0;
}

static int run(struct ctl *ctl)
{
	return ctl_each_runs(ctl, true, restore);
}

const struct cmd cmd_restore = {
	.name = "restore",
	.operands = "PATH ...",
	.min = 1,
	.max = -1,
	.needs = CTL_WRITE,
	.help = "brings deleted runs, experiments and projects back",
	.more = "PATH is a run, by any of its names, or the path of an experiment or of a project: it and all "
		"its runs that are deleted, of a tracking server at the server.",
	.options = CTL_NO_OPTIONS,
	.run = run,
};
