/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A control group for a job, where this user may make one (cgroup v2, a delegated session or root):
 * then the kernel knows every process of the job and kills them at once. Without one nothing is
 * lost but that.
 */
#include "connect/compute/local/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

#define GROUP "mantik-"

static int put(const char *group, const char *file, const char *text)
{
	_cleanup_free_ char *path = mk_strf("%s/%s", group, file);
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
	size_t len = strlen(text);

	if (fd < 0)
		return -errno;
	return write(fd, text, len) == (ssize_t)len ? 0 : -EIO;
}

/* Where the unified hierarchy is mounted: the line of mountinfo whose type is cgroup2. */
static char *mount_point(void)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char *found = NULL;
	char *line = NULL;
	size_t cap = 0;

	while (f && !found && getline(&line, &cap, f) > 0) {
		char point[512];

		if (strstr(line, " - cgroup2 ") && sscanf(line, "%*s %*s %*s %*s %511s", point) == 1)
			found = mk_strdup(point);
	}
	free(line);
	if (f)
		fclose(f);
	return found;
}

static char *own_group(void)
{
	FILE *f = fopen("/proc/self/cgroup", "re");
	char *found = NULL;
	char *line = NULL;
	size_t cap = 0;

	while (f && !found && getline(&line, &cap, f) > 0)
		if (strncmp(line, "0::/", 4) == 0)
			found = mk_strndup(line + 3, strcspn(line + 3, "\n"));
	free(line);
	if (f)
		fclose(f);
	return found;
}

char *mk_cgroup_make(const char *uid)
{
	_cleanup_free_ char *mount = mount_point();
	_cleanup_free_ char *own = own_group();

	if (!mount || !own)
		return NULL;

	_cleanup_free_ char *group =
		mk_strf("%s%s/" GROUP "%s", mount, strcmp(own, "/") == 0 ? "" : own, uid);

	if (mkdir(group, 0700) < 0 && errno != EEXIST)
		return NULL;
	return mk_steal(&group);
}

int mk_cgroup_join(const char *group, pid_t pid)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "%d", (int)pid);
	return put(group, "cgroup.procs", text);
}

void mk_cgroup_kill(const char *group)
{
	(void)put(group, "cgroup.kill", "1");
}

bool mk_cgroup_populated(const char *group)
{
	_cleanup_free_ char *path = mk_strf("%s/cgroup.events", group);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	char text[256];
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (n <= 0)
		return false;
	text[n] = 0;
	return strstr(text, "populated 1") != NULL;
}

void mk_cgroup_remove(const char *group)
{
	(void)rmdir(group);
}

void mk_cgroup_leave(void)
{
	_cleanup_free_ char *mount = mount_point();
	_cleanup_free_ char *own = own_group();
	char *inside = own ? strstr(own, "/" GROUP) : NULL;

	if (!mount || !inside)
		return;
	*inside = 0;

	_cleanup_free_ char *above = mk_strf("%s%s", mount, own);

	(void)mk_cgroup_join(above, getpid());
}
