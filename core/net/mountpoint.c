/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mount points from outside: the kernel's list says what is mounted where, a child that may hang in
 * our place asks whether it answers. Here and not in base because fusermount3 is a program.
 */
#include <mantik/mountpoint.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/path.h"
#include "net/exec.h"

enum { MAX_LINKS = 40, ANSWER_MS = 2000, UMOUNT_SECONDS = 10 };

struct entry {
	bool found, ours;
	unsigned minor;
};

/* The topmost mount at path. proc(5): id parent major:minor root point options … - type source. */
static int find_entry(struct mk_call *call, const char *path, struct entry *ret)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	_cleanup_free_ char *line = NULL;
	size_t size = 0;

	if (!f)
		return mk_fail(call, errno, "/proc/self/mountinfo: %s", strerror(errno));
	*ret = (struct entry){};
	while (getline(&line, &size, f) > 0) {
		unsigned minor;
		int at = 0, end = 0;
		const char *type = strstr(line, " - ");

		if (!type || sscanf(line, "%*d %*d %*u:%u %*s %n%*s%n", &minor, &at, &end) != 1 ||
		    !end)
			continue;

		bool ours = strncmp(type + 3, "fuse.mantikfs ", 14) == 0;

		line[end] = 0;
		mk_mountinfo_unescape(line + at);
		if (strcmp(line + at, path) == 0)
			*ret = (struct entry){true, ours, minor};
	}
	(void)fclose(f);
	return 0;
}

/* folder and the last name of a path, without slashes at its end. */
static void split(const char *path, char **ret_folder, char **ret_name)
{
	size_t len = strlen(path);

	while (len > 1 && path[len - 1] == '/')
		len--;

	_cleanup_free_ char *plain = mk_strndup(path, len);
	char *slash = strrchr(plain, '/');

	*ret_name = mk_strdup(slash ? slash + 1 : plain);
	*ret_folder = !slash ? mk_strdup(".") : slash == plain ? mk_strdup("/")
							       : mk_strndup(plain, (size_t)(slash - plain));
}

static int resolve(struct mk_call *call, const char *path, int links, char **ret)
{
	_cleanup_free_ char *folder = NULL, *name = NULL, *real = NULL;
	_cleanup_buf_ struct mk_buf text = MK_BUF(8192);
	struct entry entry;
	char target[4096];

	split(path, &folder, &name);
	if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return mk_path_resolve(call, path, ret);

	int r = mk_path_resolve(call, folder, &real);

	if (r < 0)
		return r;
	(void)mk_buf_puts(&text, strcmp(real, "/") == 0 ? "" : real);
	(void)mk_buf_putc(&text, '/');
	(void)mk_buf_puts(&text, name);
	if (mk_buf_check(&text) < 0)
		return mk_fail(call, ENAMETOOLONG, "%s: the path is too long", path);
	r = find_entry(call, mk_buf_text(&text), &entry);
	if (r < 0)
		return r;

	ssize_t n = entry.found ? -1 : readlink(mk_buf_text(&text), target, sizeof(target) - 1);

	if (n < 0) {
		*ret = mk_buf_steal(&text);
		return 0;
	}
	if (links == MAX_LINKS)
		return mk_fail(call, ELOOP, "%s: too many symbolic links", path);
	target[n] = 0;
	if (target[0] == '/')
		return resolve(call, target, links + 1, ret);
	mk_buf_truncate(&text, 0);
	(void)mk_buf_printf(&text, "%s/%s", real, target);
	return resolve(call, mk_buf_text(&text), links + 1, ret);
}

int mk_mount_resolve(struct mk_call *call, const char *path, char **ret)
{
	return resolve(call, path, 0, ret);
}

/* What stat(2) says, asked by a child: 0, an errno, or ETIMEDOUT. */
static int ask(struct mk_call *call, const char *path, int *ret)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return mk_fail(call, errno, "a pipe: %s", strerror(errno));

	_cleanup_close_ int from = ends[0];
	_cleanup_close_ int to = ends[1];
	pid_t child = fork();

	if (child < 0)
		return mk_fail(call, errno, "a process: %s", strerror(errno));
	if (child == 0) {
		struct stat st;
		int answer = stat(path, &st) < 0 ? errno : 0;

		_exit(write(to, &answer, sizeof(answer)) < 0);
	}
	mk_closep(&to);

	struct pollfd p = {.fd = from, .events = POLLIN};
	int answer = ETIMEDOUT;

	if (poll(&p, 1, mk_call_left_ms(call, ANSWER_MS)) > 0 &&
	    read(from, &answer, sizeof(answer)) != sizeof(answer))
		answer = EIO;
	/* One that hangs cannot be killed before the mount is gone: then init reaps it. */
	(void)kill(child, SIGKILL);
	(void)waitpid(child, NULL, answer == ETIMEDOUT ? WNOHANG : 0);
	*ret = answer;
	return 0;
}

int mk_mount_device(struct mk_call *call, const char *path, unsigned *ret)
{
	struct entry entry;
	int r = find_entry(call, path, &entry);

	if (r < 0)
		return r;
	if (!entry.found)
		return mk_fail(call, ENOENT, "%s: nothing is mounted there", path);
	*ret = entry.minor;
	return 0;
}

int mk_mount_look(struct mk_call *call, const char *path, enum mk_mount_state *ret)
{
	struct entry entry;
	int answer = 0;
	int r = find_entry(call, path, &entry);

	if (r == 0 && entry.ours)
		r = ask(call, path, &answer);
	if (r < 0)
		return r;
	*ret = !entry.found		? MK_MOUNT_NONE
	       : !entry.ours		? MK_MOUNT_OTHER
	       : answer == ENOTCONN	? MK_MOUNT_STALE
	       : answer == ECONNABORTED ? MK_MOUNT_STALE
	       : answer == ETIMEDOUT	? MK_MOUNT_SILENT
					: MK_MOUNT_LIVE;
	return 0;
}

int mk_mount_remove(struct mk_call *call, const char *path, bool lazy)
{
	if (umount2(path, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) == 0)
		return 0;
	if (errno != EPERM)
		return mk_fail(call, errno, "%s: %s", path,
			       errno == EINVAL	? "nothing is mounted there"
			       : errno == EBUSY ? "in use: a program has it as its directory or "
						  "has a file open there"
						: strerror(errno));

	const char *argv[] = {"fusermount3", "-u", lazy ? "-qz" : "-q", "--", path, NULL};
	struct mk_exec exec = {.remote = "fusermount3", .argv = argv};
	int64_t deadline = call->deadline;

	call->deadline = mk_now_mono() + UMOUNT_SECONDS * MK_SEC;

	int r = mk_exec_run(call, &exec);

	call->deadline = deadline;
	if (r == -EREMOTEIO && access("/etc/mtab", R_OK) < 0)
		return mk_fail(call, EPERM,
			       "%s: fusermount3 unmounts only what /etc/mtab tells, and it is missing: as "
			       "root \"ln -s ../proc/self/mounts /etc/mtab\"", path);
	if (r == -EREMOTEIO)
		return mk_fail(call, EBUSY, "%s: cannot be unmounted: %s", path,
			       call->error.detail && *call->error.detail
				       ? call->error.detail
				       : "in use, or mounted by somebody else");
	return r;
}

int mk_mount_clean(struct mk_call *call, const char *path)
{
	enum mk_mount_state state;
	int r = mk_mount_look(call, path, &state);

	if (r < 0 || state != MK_MOUNT_STALE)
		return r;
	r = mk_mount_remove(call, path, true);
	return r < 0 ? r : 1;
}
