/* SPDX-License-Identifier: Apache-2.0 */
/* mantikctl cat: files of the tree to standard output. */
#include "cmd.h"

#include <tree/tree.h>

static int to_stdout(struct ctl *ctl, void *arg, const char *data, size_t len)
{
	return ctl_print(ctl, data, len);
}

static int run(struct ctl *ctl)
{
	for (int i = 0; i < ctl->n_operands; i++) {
		_cleanup_(ctl_place_free) struct ctl_place place = {.ctl = ctl};
		_cleanup_free_ char *path = NULL;
		int r = ctl_need_tree_path(ctl, ctl->operands[i], &path);

		if (r == 0)
			r = ctl_walk(ctl, path, true, &place);
		if (r == 0 && place.local)
			r = ctl_spawn(ctl, (const char *[]){"cat", "--", place.local, NULL});
		else if (r == 0)
			r = ctl_read_node(ctl, place.node, to_stdout, NULL);
		if (r != 0)
			return ctl_named(ctl, ctl->operands[i], r);
	}
	return 0;
}

const struct cmd cmd_cat = {
	.name = "cat",
	.operands = "PATH ...",
	.min = 1,
	.max = -1,
	.needs = CTL_READ,
	.help = "prints files of the tree",
	.more = "cat of a run's wait blocks until the run has ended, as in a mount. runs/new and a "
		"run's ctl hold what this terminal session, else this user, was answered last.",
	.options = CTL_NO_OPTIONS,
	.run = run,
};
