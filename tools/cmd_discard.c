/* SPDX-License-Identifier: Apache-2.0 */
/* mantikctl discard: gives up what was written to a tracking server and is not there. */
#include "cmd.h"

#include <mantik/outbox.h>

static int count(void *arg, const struct mk_unsent *unsent)
{
	int *n = arg;

	(void)unsent;
	++*n;
	return 0;
}

static int discard(struct ctl *ctl, const char *operand)
{
	_cleanup_free_ char *path = NULL;
	int n = 0, r = ctl_need_tree_path(ctl, operand, &path);

	if (r == 0)
		r = mk_unsent_list(&ctl->call, ctl->m, path, count, &n);
	if (r < 0)
		return r;
	if (n && !ctl_confirm(ctl, "give up what was written to %d file%s and is not sent?", n,
			      n == 1 ? "" : "s"))
		return CTL_FAILED;
	r = mk_unsent_discard(&ctl->call, ctl->m, path);
	return r < 0 ? r : 0;
}

static int run(struct ctl *ctl)
{
	int r = 0;

	for (int i = 0; r == 0 && i < ctl->n_operands; i++)
		r = discard(ctl, ctl->operands[i]);
	return r;
}

const struct cmd cmd_discard = {
	.name = "discard",
	.operands = "PATH ...",
	.min = 1,
	.max = -1,
	.needs = CTL_WRITE,
	.help = "gives up what a tracking server does not take",
	.more = "What was written to a run or an experiment of a tracking server and has not been taken by it "
		"waits (.mantik/unsent lists it: mantikctl cat .mantik/unsent). This gives up what waits at PATH "
		"and below it: what was there before is there again, copied files that wait are lost. On a "
		"terminal it asks first.",
	.options =
		(const struct cmd_option[]){
			{'y', "yes", NULL, "does not ask"},
			{},
		},
	.run = run,
};
