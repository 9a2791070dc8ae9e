/* SPDX-License-Identifier: Apache-2.0 */
/* mantikctl delete: moves runs to runs/deleted, from where they come back; asks on a terminal. */
#include "cmd.h"

#include <mantik/run.h>

static int delete(struct ctl *ctl, const struct ctl_runs *runs)
{
	int r = runs->run ? mk_run_delete(&ctl->call, ctl->m, runs->run)
			  : mk_run_delete_all(&ctl->call, ctl->m, runs->project, runs->experiment);

	return r < 0 ? r : 0;
}

static int run(struct ctl *ctl)
{
	int n = 0;
	int r = ctl_count_runs(ctl, false, &n);

	if (r < 0)
		return r;
	if (n && !ctl_confirm(ctl, "delete %d run%s (restore brings %s back)?", n, n == 1 ? "" : "s",
			      n == 1 ? "it" : "them"))
		return CTL_FAILED;
	return ctl_each_runs(ctl, delete);
}

const struct cmd cmd_delete = {
	.name = "delete",
	.operands = "PATH ...",
	.min = 1,
	.max = -1,
	.needs = CTL_WRITE,
	.help = "moves ended runs to runs/deleted",
	.more = "PATH is a run, by any of its names, or the path of an experiment or of a project: all its "
		"runs, or none of them when one has not ended. Experiments and projects themselves stay. "
		"On a terminal it asks first. Nothing is lost until gc: restore brings runs back.",
	.options =
		(const struct cmd_option[]){
			{'y', "yes", NULL, "does not ask"},
			{},
		},
	.run = run,
};
