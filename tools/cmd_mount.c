/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mantikctl mount: what mantikfs does, made convenient: the usual place, made when missing, cleaned
 * of a mount whose daemon is gone, and no second mount where one works.
 */
#include "cmd.h"

#include <mantik/connection.h>
#include <mantik/mountpoint.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* -1: /dev/fuse cannot be used; says what to do. */
static int look_at_fuse(struct ctl *ctl)
{
	_cleanup_close_ int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		return 0;
	if (errno == ENOENT)
		return mk_fail(&ctl->call, ENODEV,
			       "/dev/fuse does not exist: load it with \"modprobe fuse\" as root, in a "
			       "container start it with --device /dev/fuse; until then mantikctl "
			       "ls, cat and cp do the same without a mount");
	return mk_fail(&ctl->call, errno,
		       "/dev/fuse cannot be opened (%s): ask for access to it; until then mantikctl "
		       "ls, cat and cp do the same without a mount", strerror(errno));
}

/* A word for -o; commas in it are escaped. */
static void put_dir(struct mk_buf *out, const char *word, const char *dir)
{
	if (!dir)
		return;
	mk_buf_printf(out, "%s%s=", out->len ? "," : "", word);
	for (; *dir; dir++)
		mk_buf_printf(out, "%s%c", *dir == ',' || *dir == '\\' ? "\\" : "", *dir);
}

/* What a mount that works needs for it is a connection, which it sees by itself. */
static int add_tracking(struct ctl *ctl, const char *url)
{
	_cleanup_free_ char *name = NULL;
	int r = mantik_open(&ctl->call, &ctl->options, &ctl->m);

	if (r == -EBUSY && ctl->m)
		r = 0;
	if (r == 0)
		r = mk_connection_tracking(&ctl->call, ctl->m, url, &name);
	if (r == 0)
		printf("%s is the connection %s\n", url, name);
	return r;
}

static int run(struct ctl *ctl)
{
	const char *option;
	_cleanup_free_ const char **argv =
		mk_alloc((2 * ctl->n_given + 16) * sizeof(*argv));
	_cleanup_free_ char *program = ctl_program("mantikfs");
	_cleanup_free_ char *where = NULL;
	enum mk_mount_state state;
	bool made = false;
	_cleanup_buf_ struct mk_buf dirs = MK_BUF(3 * PATH_MAX);
	size_t n = 0;
	int r;

	r = ctl_mount_point(ctl, &where);
	if (r < 0)
		return r;
	if (mkdir(where, 0777) == 0)
		made = true;
	else if (errno != EEXIST && errno != ENOTCONN)
		return mk_fail(&ctl->call, errno, "%s: %s", where, strerror(errno));
	r = mk_mount_look(&ctl->call, where, &state);
	if (r < 0)
		return r;
	if (state == MK_MOUNT_LIVE) {
		printf("%s is mounted already\n", where);
		option = ctl_option(ctl, "tracking");
		return option ? add_tracking(ctl, option) : 0;
	}
	r = look_at_fuse(ctl);
	if (r < 0) {
		if (made)
			(void)rmdir(where);
		return r;
	}
	r = mk_mount_clean(&ctl->call, where);
	if (r < 0)
		return r;
	if (r > 0)
		fprintf(stderr, "mantikctl: %s: took a mount away whose program was gone\n", where);

	argv[n++] = program;
	for (size_t i = 0; (option = ctl_option_nth(ctl, "option", i)); i++) {
		argv[n++] = "-o";
		argv[n++] = option;
	}
	option = ctl_option(ctl, "tracking");
	if (option) {
		argv[n++] = "--tracking";
		argv[n++] = option;
	}
	put_dir(&dirs, "data", ctl->options.data_dir);
	put_dir(&dirs, "cache", ctl->options.cache_dir);
	put_dir(&dirs, "config", ctl->options.config_dir);
	if (dirs.len) {
		argv[n++] = "-o";
		argv[n++] = mk_buf_text(&dirs);
	}
	argv[n++] = "--";
	argv[n++] = where;
	return ctl_spawn(ctl, argv);
}

const struct cmd cmd_mount = {
	.name = "mount",
	.operands = "[DIR]",
	.max = 1,
	.help = "mounts the platform, usually at ~/mantik",
	.more = "Makes the directory when it is missing, removes a mount whose program is gone, and does "
		"nothing when the platform is mounted there already.",
	.options =
		(const struct cmd_option[]){
			{'o', "option", "OPTION", "for mantikfs, see mantikfs(1); may be repeated"},
			{'t', "tracking", "URL",
			 "an MLflow server, mlruns/ or mlflow.db to show, too"},
			{},
		},
	.run = run,
};
