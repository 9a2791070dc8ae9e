/* SPDX-License-Identifier: Apache-2.0 */
/* See proc.h. */
#include "base/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <mantik/cleanup.h>

/* One read(2) gives a file of /proc whole. Its length, or a negative errno. */
static ssize_t read_text(const char *path, char *out, size_t size)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, out, size - 1);

	if (n < 0)
		return -errno;
	out[n] = 0;
	return n;
}

int mk_proc_look(pid_t pid, struct mk_proc *ret)
{
	char path[64], text[1024];
	struct mk_proc proc = {};

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (pid <= 0 || read_text(path, text, sizeof(text)) <= 0)
		return -ESRCH;

	/* proc(5): pid (comm) state …; comm may hold anything, also a `)`. */
	const char *behind = strrchr(text, ')');
	unsigned long long start;

	if (!behind || sscanf(behind + 1,
			      " %c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d"
			      " %*d %*d %llu",
			      &proc.state, &proc.parent, &start) != 3)
		return -ESRCH;
	proc.start = start;
	*ret = proc;
	return 0;
}

uint64_t mk_proc_start(pid_t pid)
{
	struct mk_proc proc;

	return mk_proc_look(pid, &proc) < 0 ? 0 : proc.start;
}

int mk_boot_id(char ret[37])
{
	char text[64];
	ssize_t n = read_text("/proc/sys/kernel/random/boot_id", text, sizeof(text));

	if (n < 36)
		return n < 0 ? (int)n : -EIO;
	memcpy(ret, text, 36);
	ret[36] = 0;
	return 0;
}
