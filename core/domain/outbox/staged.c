/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes of a file that is being copied into artifacts/: a file without a name in
 * <data>/uploads, which is gone with its descriptor unless it is put. Where the file system knows
 * no such files it has a name of its own, which is removed.
 *
 * It lies in the data directory, not in the cache: once put it is the only copy, and anybody may
 * empty a cache.
 */
#include "domain/outbox/staged.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/file.h"

/* Left for the database and everybody else; how much is given to the disk at a time. */
enum { RESERVE = 256 << 20, CHUNK = 8 << 20 };

int mk_staged_folder(struct mk_call *call, struct mantik *m, char **ret)
{
	_cleanup_free_ char *path = mk_strf("%s/uploads", m->data_dir);
	int r = mk_mkdirs(call, path, 0700);

	if (r == 0)
		*ret = mk_steal(&path);
	return r;
}

static int random_name(struct mk_call *call, const char *prefix, char **ret)
{
	uint64_t bytes[2];

	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		return mk_fail(call, EIO, "no random number for a file: %s", strerror(errno));
	*ret = mk_strf("%s%016llx%016llx", prefix, (unsigned long long)bytes[0],
		       (unsigned long long)bytes[1]);
	return 0;
}

int mk_staged_new(struct mk_call *call, struct mantik *m, struct mk_staged **ret)
{
	_cleanup_free_ char *folder = NULL, *name = NULL, *path = NULL;
	int r = mk_staged_folder(call, m, &folder);

	if (r < 0)
		return r;

	int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
		r = random_name(call, "part.", &name);
		if (r < 0)
			return r;
		path = mk_strf("%s/%s", folder, name);
		fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	}
	if (fd < 0)
		return mk_fail(call, errno, "%s: %s", folder, strerror(errno));

	struct mk_staged *staged = mk_new(struct mk_staged);

	staged->fd = fd;
	staged->path = mk_steal(&path);
	staged->folder = mk_steal(&folder);
	*ret = staged;
	return 0;
}

void mk_staged_free(struct mk_staged *staged)
{
	if (!staged)
		return;
	close(staged->fd);
	if (staged->path)
		(void)unlink(staged->path);
	free(staged->path);
	free(staged->folder);
	free(staged->file);
	free(staged);
}

void mk_staged_empty(struct mk_staged *staged)
{
	_cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	/* In one step: another thread may be about to read it. (Not by cutting it: it may be put.) */
	if (null >= 0)
		(void)dup3(null, staged->fd, O_CLOEXEC);
	if (staged->path)
		(void)unlink(staged->path);
}

static int check_room(struct mk_call *call, struct mk_staged *staged, int64_t end)
{
	struct statvfs vfs;
	struct stat st;

	if (fstat(staged->fd, &st) < 0 || end <= st.st_size || fstatvfs(staged->fd, &vfs) < 0)
		return 0;
	if (vfs.f_bavail * vfs.f_frsize >= (uint64_t)(end - st.st_size) + RESERVE)
		return 0;
	return mk_fail(
		call, ENOSPC,
		"no room to keep the file until its tracking server has it: %s is nearly full",
		staged->folder);
}

ssize_t mk_staged_write(struct mk_call *call, struct mk_staged *staged, const void *data,
			size_t len, int64_t offset)
{
	size_t done = 0;

	if (offset < 0 || offset > INT64_MAX - (int64_t)len)
		return mk_fail(call, EFBIG, "a file of that size");

	int r = check_room(call, staged, offset + (int64_t)len);

	if (r < 0)
		return r;
	while (done < len) {
		ssize_t n = pwrite(staged->fd, (const char *)data + done, len - done,
				   offset + (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return mk_fail(call, n < 0 ? errno : EIO, "%s: %s", staged->folder,
				       strerror(n < 0 ? errno : EIO));
		done += (size_t)n;
	}
	/* The disk begins now with what it would have to do all at once when the file is put. */
	if (offset / CHUNK != (offset + (int64_t)len) / CHUNK)
		(void)sync_file_range(staged->fd, offset / CHUNK * CHUNK, CHUNK,
				      SYNC_FILE_RANGE_WRITE);
	return (ssize_t)len;
}

ssize_t mk_staged_read(struct mk_call *call, struct mk_staged *staged, void *buf, size_t len,
		       int64_t offset)
{
	ssize_t n;

	do
		n = pread(staged->fd, buf, len, offset);
	while (n < 0 && errno == EINTR);
	return n < 0 ? mk_fail(call, errno, "%s: %s", staged->folder, strerror(errno)) : n;
}

int mk_staged_resize(struct mk_call *call, struct mk_staged *staged, int64_t size)
{
	if (size < 0)
		return mk_fail(call, EINVAL, "a size below 0");
	if (ftruncate(staged->fd, size) < 0)
		return mk_fail(call, errno, "%s: %s", staged->folder, strerror(errno));
	return 0;
}

void mk_staged_touch(struct mk_staged *staged, int64_t mtime)
{
	const struct timespec times[2] = {
		{.tv_nsec = UTIME_OMIT},
		{.tv_sec = mtime / MK_SEC, .tv_nsec = mtime % MK_SEC},
	};

	(void)futimens(staged->fd, times);
}

void mk_staged_stat(struct mk_staged *staged, struct mk_staged_stat *ret)
{
	struct stat st = {};

	(void)fstat(staged->fd, &st);
	*ret = (struct mk_staged_stat){
		.size = st.st_size,
		.mtime = (int64_t)st.st_mtim.tv_sec * MK_SEC + st.st_mtim.tv_nsec,
	};
}

int mk_staged_keep(struct mk_call *call, struct mk_staged *staged)
{
	_cleanup_free_ char *self = mk_strf("/proc/self/fd/%d", staged->fd), *name = NULL;
	int r;

	if (staged->file)
		return 0;
	if (fsync(staged->fd) < 0)
		return mk_fail(call, errno, "%s: %s", staged->folder, strerror(errno));
	r = random_name(call, "", &name);
	if (r < 0)
		return r;

	_cleanup_close_ int folder = open(staged->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (folder < 0)
		return mk_fail(call, errno, "%s: %s", staged->folder, strerror(errno));
	r = staged->path ? renameat(AT_FDCWD, staged->path, folder, name)
			 : linkat(AT_FDCWD, self, folder, name, AT_SYMLINK_FOLLOW);
	if (r < 0)
		return mk_fail(call, errno, "%s: %s", staged->folder, strerror(errno));
	free(staged->path);
	staged->path = mk_strf("%s/%s", staged->folder, name); /* until somebody owns it */
	staged->file = mk_steal(&name);
	if (fsync(folder) < 0)
		return mk_fail(call, errno, "%s: %s", staged->folder, strerror(errno));
	return 0;
}

void mk_staged_give(struct mk_staged *staged)
{
	free(staged->path);
	staged->path = NULL;
}
