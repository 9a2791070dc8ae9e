/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One fetch at a time writes into a mirror, among all processes (and hosts, where flock reaches):
 * <data>/git/<name>.lock. In the file stands which git is running, so that whoever comes after a
 * killed program ends the git it left behind, and takes away the `*.lock` files and half packs of
 * the dead before git trips over them.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#include "base/proc.h"
#include "connect/git/internal.h"

enum { LOOK_MS = 50 }; /* flock has no descriptor to poll */

/* mk_exec.started: the file names the git that may be left behind. */
void git_lock_pid(void *arg, pid_t pid)
{
	struct git_lock *lock = arg;
	char text[128], boot[37] = "";

	(void)!mk_boot_id(boot);

	int n = snprintf(text, sizeof(text), "%s %d %llu\n", boot, (int)pid,
			 (unsigned long long)mk_proc_start(pid));

	if (ftruncate(lock->fd, 0) == 0)
		(void)!pwrite(lock->fd, text, (size_t)n, 0);
}

/* The git of a process that was killed still runs, in a group of its own. */
static bool end_left_behind(int fd)
{
	char text[128], boot[37] = "", was[40];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
	unsigned long long ticks;
	int pid;

	if (n <= 0)
		return false; /* ended in order: nothing to clean */
	text[n] = 0;
	(void)!mk_boot_id(boot);
	if (sscanf(text, "%39s %d %llu", was, &pid, &ticks) != 3 || pid <= 1)
		return true;
	/* Another boot or another host: dead, or none of ours to judge; flock said it is free. */
	if (strcmp(boot, was) == 0 && ticks && mk_proc_start(pid) == ticks) {
		(void)kill(-pid, SIGKILL);
		for (int i = 0; i < 100 && mk_proc_start(pid) == ticks; i++)
			(void)poll(NULL, 0, 20);
	}
	return true;
}

static bool is_leftover(const char *name)
{
	size_t n = strlen(name);

	return (n > 5 && strcmp(name + n - 5, ".lock") == 0) || strncmp(name, "tmp_", 4) == 0;
}

/* Only names that git makes for the time of its running. */
static void clean(int dirfd, int depth)
{
	DIR *dir = fdopendir(dirfd);
	struct dirent *entry;

	if (!dir) {
		close(dirfd);
		return;
	}
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		if (entry->d_type == DT_DIR && depth < 64) {
			int fd = openat(dirfd, entry->d_name,
					O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

			if (fd >= 0)
				clean(fd, depth + 1);
		} else if (is_leftover(entry->d_name)) {
			(void)unlinkat(dirfd, entry->d_name, 0);
		}
	}
	closedir(dir);
}

int git_lock_take(struct mk_call *call, struct mk_mirror *mirror, struct git_lock *ret)
{
	struct mk_buf name = MK_BUF(65536);

	(void)mk_buf_printf(&name, "%s.lock", mirror->path);

	_cleanup_free_ char *path = mk_buf_steal(&name);
	_cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		return mk_fail(call, errno, "%s: %s", path, strerror(errno));
	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return mk_fail(call, errno, "%s: %s", path, strerror(errno));

		int r = mk_call_check(call, "another program's fetch of the same repository");
		if (r < 0)
			return r;

		struct pollfd cancel = {.fd = mk_call_cancel_fd(call), .events = POLLIN};

		(void)poll(&cancel, 1, mk_call_left_ms(call, LOOK_MS));
	}
	if (end_left_behind(fd)) {
		int top = open(mirror->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (top >= 0)
			clean(top, 0);
		(void)!ftruncate(fd, 0);
	}
	*ret = (struct git_lock){.mirror = mirror, .fd = mk_steal_fd(&fd)};
	return 0;
}

void git_lock_give(struct git_lock *lock)
{
	if (lock->fd < 0)
		return;
	(void)!ftruncate(lock->fd, 0);
	mk_closep(&lock->fd);
}
