/* SPDX-License-Identifier: Apache-2.0 */
/* mantikctl rerun: submits a run's own spec again, its commit pinned. */
#include "cmd.h"

#include <mantik/run.h>

static int rerun(struct ctl *ctl, int64_t id)
{
	_cleanup_(mk_run_free) struct mk_run run = {};
	_cleanup_buf_ struct mk_buf spec = MK_BUF(MK_LIMIT_TEXT), answer = MK_BUF(MK_LIMIT_TEXT);
	int r = mk_run_get(&ctl->call, ctl->m, id, &run);

	if (r == 0)
		r = mk_run_text(&ctl->call, ctl->m, id, MK_RUN_SPEC, &spec);
	if (r < 0)
		return r;

	const struct mk_submit_options options = {.source = "spec.yaml", .rerun_of = run.dir};

	r = mk_submit(&ctl->call, ctl->m, run.project_id, mk_buf_text(&spec), spec.len, &options,
		      &answer);
	if (r < 0)
		return mk_prefix(&ctl->call, r, "%s", run.dir);
	return ctl_print(ctl, mk_buf_text(&answer), answer.len);
}

static int run(struct ctl *ctl)
{
	return ctl_each_run(ctl, rerun);
}

const struct cmd cmd_rerun = {
	.name = "rerun",
	.operands = "RUN ...",
	.min = 1,
	.max = -1,
	.needs = CTL_WRITE,
	.help = "submits runs again, exactly as they were",
	.more = "Prints the name of each new run.",
	.options = CTL_NO_OPTIONS,
	.run = run,
};
