/* SPDX-License-Identifier: Apache-2.0 */
/* mantikctl mkdir: makes projects, repositories and experiments where no mount is. */
#include "cmd.h"

#include <errno.h>
#include <string.h>

#include <tree/tree.h>

static int make(struct ctl *ctl, const char *path)
{
	const char *slash = strrchr(path, '/');
	_cleanup_free_ char *above = mk_strndup(path, (size_t)(slash - path));
	_cleanup_(ctl_place_free) struct ctl_place place = {.ctl = ctl};
	struct fs_entry entry = {};
	int r = ctl_walk(ctl, above, true, &place);

	if (r == -ENOENT && ctl_option(ctl, "parents")) {
		mk_error_clear(&ctl->call);
		r = make(ctl, above);
		if (r == 0)
			r = ctl_walk(ctl, above, true, &place);
	}
	if (r < 0)
		return r;
	if (place.local)
		return mk_fail(&ctl->call, EXDEV, "%s lies in %s: use mkdir there", path,
			       place.local);
	CTL_AGAIN(ctl, r, fs_mkdir(&ctl->call, ctl->tree, place.node, slash + 1, &entry));
	if (r == -EEXIST && ctl_option(ctl, "parents")) {
		mk_error_clear(&ctl->call);
		return 0;
	}
	if (r < 0) {
		fs_record_error(ctl->tree, path, &ctl->call.error);
		return mk_prefix(&ctl->call, r, "%s", path);
	}
	fs_forget(ctl->tree, entry.node, 1);
	return 0;
}

static int run(struct ctl *ctl)
{
	for (int i = 0; i < ctl->n_operands; i++) {
		_cleanup_free_ char *path = NULL;
		int r = ctl_need_tree_path(ctl, ctl->operands[i], &path);

		if (r == 0)
			r = make(ctl, path);
		if (r < 0)
			return r;
	}
	return 0;
}

const struct cmd cmd_mkdir = {
	.name = "mkdir",
	.operands = "PATH ...",
	.min = 1,
	.max = -1,
	.needs = CTL_WRITE,
	.help = "makes projects, experiments and repositories",
	.more = "As mkdir in a mount: /projects/NAME is a project, /projects/NAME/experiments/NAME an "
		"experiment, /projects/NAME/code/NAME a repository, to be described by its "
		"repository.yaml.",
	.options =
		(const struct cmd_option[]){
			{'p', "parents", NULL, "also those above; what exists is no error"},
			{},
		},
	.run = run,
};
