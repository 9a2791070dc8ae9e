/* SPDX-License-Identifier: Apache-2.0 */
/* mantikctl delete: moves runs to runs/deleted, from where they come back, and takes experiments and
 * projects out of the tree; asks on a terminal. */
#include "cmd.h"

#include <mantik/project.h>
#include <mantik/run.h>

static int delete(struct ctl *ctl, const struct ctl_runs *runs)
{
	int r = runs->run	? mk_run_delete(&ctl->call, ctl->m, runs->run)
		: runs->itself	? mk_project_delete(&ctl->call, ctl->m, runs->project,
						    runs->experiment)
				: mk_run_delete_all(&ctl->call, ctl->m, runs->project,
						    runs->experiment);

	return r < 0 ? r : 0;
}

static int run(struct ctl *ctl)
{
	int n = 0, others = 0;
	int r = ctl_count_runs(ctl, &n, &others);

	if (r < 0)
		return r;
	if (n + others && !ctl_confirm(ctl, "delete %d run%s%s (restore brings %s back)?", n,
				       n == 1 ? "" : "s",
				       others == 0   ? ""
				       : others == 1 ? " and what is named"
						     : " and all that is named",
				       n + others == 1 ? "it" : "them"))
		return CTL_FAILED;
	return ctl_each_runs(ctl, false, delete);
}

const struct cmd cmd_delete = {
	.name = "delete",
	.operands = "PATH ...",
	.min = 1,
	.max = -1,
	.needs = CTL_WRITE,
	.help = "moves ended runs to runs/deleted, takes experiments and projects out of the tree",
	.more = "PATH is a run, by any of its names, or the path of an experiment or of a project, which goes "
		"with all its runs, or not at all when one has not ended; the path of its runs directory means "
		"only these. An experiment of a tracking server is deleted there, as MLflow does it. A project with "
		"registered models stays. On a terminal it asks first. Nothing is "
		"lost until gc: restore brings all back.",
	.options =
		(const struct cmd_option[]){
			{'y', "yes", NULL, "does not ask"},
			{},
		},
	.run = run,
};
