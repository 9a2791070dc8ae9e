/* SPDX-License-Identifier: Apache-2.0 */
/* Small files and directories of our own; see file.h. Any thread. */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_STRF = 1 << 20, MAX_DEPTH = 256 };

char *mk_strf(const char *fmt, ...)
{
	struct mk_buf buf = MK_BUF(MAX_STRF);
	va_list ap;

	va_start(ap, fmt);
	(void)mk_buf_vprintf(&buf, fmt, ap);
	va_end(ap);
	return mk_buf_steal(&buf);
}

int mk_file_read(struct mk_call *call, int dirfd, const char *path, struct mk_buf *ret)
{
	_cleanup_close_ int fd =
		openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat st;

	if (fd < 0)
		return mk_fail(call, errno, "%s: %s", path, strerror(errno));
	if (fstat(fd, &st) < 0)
		return mk_fail(call, errno, "%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return mk_fail(call, EINVAL, "%s: not a regular file", path);
	for (;;) {
		char part[16384];
		ssize_t n = read(fd, part, sizeof(part));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return mk_fail(call, errno, "%s: %s", path, strerror(errno));
		if (n == 0)
			return 0;

		int r = mk_buf_put(ret, part, (size_t)n);

		if (r < 0)
			return mk_fail(call, -r, "%s: larger than %zu bytes", path, ret->limit);
	}
}

static int write_all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

/* The directory a path lies in, to be synced after a rename. */
static int sync_parent(int dirfd, const char *path)
{
	const char *slash = strrchr(path, '/');
	_cleanup_free_ char *parent =
		slash ? mk_strndup(path, slash == path ? 1 : (size_t)(slash - path)) : mk_strdup(".");
	_cleanup_close_ int fd = openat(dirfd, parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || fsync(fd) < 0)
		return -errno;
	return 0;
}

int mk_file_write(struct mk_call *call, int dirfd, const char *path, const void *data, size_t len,
		  mode_t mode, bool sync)
{
	_cleanup_free_ char *tmp = mk_strf("%s.tmp%d", path, (int)gettid());
	_cleanup_close_ int fd =
		openat(dirfd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
	int r = 0;

	if (fd < 0)
		return mk_fail(call, errno, "%s: %s", tmp, strerror(errno));
	r = write_all(fd, data, len);
	if (r == 0 && sync && fsync(fd) < 0)
		r = -errno;
	if (r == 0 && renameat(dirfd, tmp, dirfd, path) < 0)
		r = -errno;
	if (r < 0) {
		(void)unlinkat(dirfd, tmp, 0);
		return mk_fail(call, -r, "%s: %s", path, strerror(-r));
	}
	if (sync) {
		r = sync_parent(dirfd, path);
		if (r < 0)
			return mk_fail(call, -r, "%s: %s", path, strerror(-r));
	}
	return 0;
}

int mk_file_append(struct mk_call *call, int dirfd, const char *path, const char *text, size_t len)
{
	_cleanup_close_ int fd = openat(
		dirfd, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);

	if (fd < 0)
		return mk_fail(call, errno, "%s: %s", path, strerror(errno));

	int r = write_all(fd, text, len);

	if (r < 0)
		return mk_fail(call, -r, "%s: %s", path, strerror(-r));
	return 0;
}

int mk_mkdirs(struct mk_call *call, const char *path, mode_t mode)
{
	_cleanup_free_ char *part = mk_strdup(path);

	for (char *p = part + 1;; p++) {
		if (*p && *p != '/')
			continue;

		char kept = *p;

		*p = 0;
		if (mkdir(part, mode) < 0 && errno != EEXIST) {
			/* A parent that cannot be written may exist already. */
			struct stat st;
			int code = errno;

			if (stat(part, &st) < 0 || !S_ISDIR(st.st_mode))
				return mk_fail(call, code, "%s: %s", part, strerror(code));
		}
		*p = kept;
		if (!kept)
			break;
	}

	struct stat st;

	if (stat(path, &st) < 0)
		return mk_fail(call, errno, "%s: %s", path, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return mk_fail(call, ENOTDIR, "%s: not a directory", path);
	return 0;
}

static int remove_tree(struct mk_call *call, int dirfd, const char *name, dev_t device, int depth)
{
	if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return mk_fail(call, errno, "%s: %s", name, strerror(errno));
	if (depth > MAX_DEPTH)
		return mk_fail(call, ELOOP, "%s: nested deeper than %d directories", name, MAX_DEPTH);

	_cleanup_close_ int fd =
		openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0 && errno == EACCES) {
		(void)fchmodat(dirfd, name, 0700, AT_SYMLINK_NOFOLLOW);
		fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	}

	struct stat st;

	/* Somebody else removes it, too. */
	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0 || fstat(fd, &st) < 0)
		return mk_fail(call, errno, "%s: %s", name, strerror(errno));
	if (st.st_dev != device)
		return mk_fail(call, EXDEV, "%s: another file system is mounted here", name);
	(void)fchmod(fd, st.st_mode | 0700);

	DIR *dir = fdopendir(fcntl(fd, F_DUPFD_CLOEXEC, 3));

	if (!dir)
		return mk_fail(call, errno, "%s: %s", name, strerror(errno));

	int r = 0;

	for (struct dirent *e; r == 0 && (e = readdir(dir));) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		r = mk_call_check(call, name);
		if (r == 0)
			r = remove_tree(call, fd, e->d_name, device, depth + 1);
	}
	closedir(dir);
	if (r < 0)
		return r;
	if (unlinkat(dirfd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return mk_fail(call, errno, "%s: %s", name, strerror(errno));
	return 0;
}

int mk_remove_tree(struct mk_call *call, int dirfd, const char *name)
{
	struct stat st;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		if (errno == ENOENT)
			return 0;
		return mk_fail(call, errno, "%s: %s", name, strerror(errno));
	}
	return remove_tree(call, dirfd, name, st.st_dev, 0);
}
