/* SPDX-License-Identifier: Apache-2.0 */
/* A directory of a C test's own below /var/tmp (a root /tmp may be closed to other users), and
 * small helpers about files. */
#ifndef TEST_TMPDIR_H
#define TEST_TMPDIR_H

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <signal.h>
#include <unistd.h>

static inline char *tmpdir_make(void)
{
	char *dir = strdup("/var/tmp/mkt.XXXXXX");

	if (!dir || !mkdtemp(dir)) {
		perror("/var/tmp");
		abort();
	}
	return dir;
}

static inline int tmpdir_remove_one(const char *path, const struct stat *st, int type,
				    struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

/* Also frees the name. */
static inline void tmpdir_remove(char *dir)
{
	if (dir)
		nftw(dir, tmpdir_remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(dir);
}

static inline void tmpdir_removep(char **dir)
{
	tmpdir_remove(*dir);
	*dir = NULL;
}

static inline char *tmpdir_path(const char *dir, const char *name)
{
	char *path = NULL;

	if (asprintf(&path, "%s/%s", dir, name) < 0)
		abort();
	return path;
}

static inline int tmpdir_write(const char *path, const void *data, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ssize_t n = fd < 0 ? -1 : write(fd, data, len);

	if (fd >= 0)
		close(fd);
	return n == (ssize_t)len;
}

#endif
