/* SPDX-License-Identifier: Apache-2.0 */
/* mantikctl umount: ends a mount; jobs go on. */
#include "cmd.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>

static int run(struct ctl *ctl)
{
	const char *home = getenv("HOME"), *argv[6] = {"fusermount3", "-u"};
	_cleanup_buf_ struct mk_buf where = MK_BUF(PATH_MAX);
	int n = 2, r;

	if (ctl->n_operands)
		mk_buf_puts(&where, ctl->operands[0]);
	else if (home && *home == '/')
		mk_buf_printf(&where, "%s/mantik", home);
	if (mk_buf_check(&where) < 0)
		return mk_fail(&ctl->call, ENAMETOOLONG, "the mount point's path is too long");
	if (ctl_is_mount(mk_buf_text(&where)) == 0)
		return mk_fail(&ctl->call, ENOENT, "%s: no mantikfs is mounted there",
			       mk_buf_text(&where));
	if (ctl_option(ctl, "lazy"))
		argv[n++] = "-z";
	argv[n++] = "--";
	argv[n++] = mk_buf_text(&where);
	r = ctl_spawn(ctl, argv);
	if (r > 0)
		return mk_fail(&ctl->call, EBUSY,
			       "%s: not unmounted: something is open there (lsof +f -- shows "
			       "it; --lazy unmounts when it is closed)", mk_buf_text(&where));
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
