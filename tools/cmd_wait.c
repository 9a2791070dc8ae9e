/* SPDX-License-Identifier: Apache-2.0 */
/* mantikctl wait: returns when all runs named have ended, and tells by its exit status how. */
#include "cmd.h"

#include <mantik/run.h>

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const int exit_of[] = {
	[MK_FINISHED] = CTL_OK,
	[MK_FAILED] = CTL_RUN_FAILED,
	[MK_KILLED] = CTL_RUN_KILLED,
	[MK_UNKNOWN] = CTL_RUN_UNKNOWN,
};

static int wait_for(struct ctl *ctl, int64_t id)
{
	uint64_t generation = mantik_generation(ctl->m);

	for (;;) {
		_cleanup_(mk_run_free) struct mk_run run = {};
		int r = mk_run_get(&ctl->call, ctl->m, id, &run);

		if (r < 0)
			return r;
		if (mk_status_final(run.status)) {
			if (ctl->n_operands > 1)
				printf("%s\t", run.dir);
			puts(mk_status_name(run.status));
			return exit_of[run.status];
		}
		r = ctl_wait_change(ctl, &generation, 5000);
		if (r < 0)
			return r;
	}
}

static int run(struct ctl *ctl)
{
	const char *timeout = ctl_option(ctl, "timeout");
	_cleanup_free_ int64_t *ids = mk_alloc((size_t)ctl->n_operands * sizeof(*ids));
	int result = CTL_OK, r;

	if (timeout) {
		char *end;
		const double seconds = strtod(timeout, &end);

		if (end == timeout || *end || !isfinite(seconds) || seconds < 0 || seconds > 1e9)
			return ctl_usage(ctl, "wait: --timeout takes seconds, not \"%s\"", timeout);
		ctl->call.deadline = mk_now_mono() + (int64_t)(seconds * 1e9);
	}
	for (int i = 0; i < ctl->n_operands; i++) {
		r = ctl_run(ctl, ctl->operands[i], &ids[i]);
		if (r < 0)
			return r;
	}
	for (int i = 0; i < ctl->n_operands; i++) {
		r = wait_for(ctl, ids[i]);
		if (r == -ETIMEDOUT && timeout) {
			fprintf(stderr, "mantikctl: %s has not ended after %s s\n",
				ctl->operands[i], timeout);
			return CTL_TIMEOUT;
		}
		if (r < 0)
			return r;
		result = r > result ? r : result;
	}
	return result;
}

const struct cmd cmd_wait = {
	.name = "wait",
	.operands = "RUN ...",
	.min = 1,
	.max = -1,
	.needs = CTL_READ,
	.help = "waits until runs have ended",
	.more = "Prints their final status. The exit status is 0 only if all FINISHED, else that of the worst.",
	.options =
		(const struct cmd_option[]){
			{'t', "timeout", "SECONDS", "gives up after that long, with exit status 124"},
			{},
		},
	.run = run,
};
