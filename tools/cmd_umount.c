/* SPDX-License-Identifier: Apache-2.0 */
/* mantikctl umount: ends a mount; jobs go on. */
#include "cmd.h"

#include <mantik/mountpoint.h>

#include <errno.h>

static int run(struct ctl *ctl)
{
	_cleanup_free_ char *where = NULL;
	enum mk_mount_state state;
	const bool lazy = ctl_option(ctl, "lazy");
	int r = ctl_mount_point(ctl, &where);

	if (r == 0)
		r = mk_mount_look(&ctl->call, where, &state);
	if (r < 0)
		return r;
	if (state == MK_MOUNT_NONE || state == MK_MOUNT_OTHER)
		return mk_fail(&ctl->call, ENOENT, "%s: no mantikfs is mounted there", where);
	r = mk_mount_remove(&ctl->call, where, lazy || state != MK_MOUNT_LIVE);
	if (r == -EBUSY && !lazy)
		return mk_fail(&ctl->call, EBUSY,
			       "%s: something is open there; end it, or use --lazy: the mount goes "
			       "when it is closed", where);
	return r;
}

const struct cmd cmd_umount = {
	.name = "umount",
	.operands = "[DIR]",
	.max = 1,
	.help = "ends a mount, usually that at ~/mantik",
	.more = "Jobs go on, and so does all that was submitted.",
	.options =
		(const struct cmd_option[]){
			{'z', "lazy", NULL, "now from sight, in fact when nothing there is open any more"},
			{},
		},
	.run = run,
};
