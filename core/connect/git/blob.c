/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes of a file. Small ones in memory; a big one is written once to <cache>/blobs/<id> by
 * `git cat-file`, whose memory is not ours, and read from there by everybody. A cache file is
 * complete or not there (written aside, renamed).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cache/trim.h"
#include "connect/git/internal.h"

static int cached_fd(const char *path, size_t size)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || (size_t)st.st_size != size)
		return -1;
	(void)futimens(fd, NULL); /* used now: the last to go */
	return mk_steal_fd(&fd);
}

int git_cat_to(struct mk_call *call, struct mk_mirror *mirror, const struct mk_oid *blob, int fd)
{
	char hash[41];
	const char *const args[] = {"cat-file", "blob", hash, NULL};

	mk_oid_text(blob, hash);
	return git_run(call, mirror,
		       &(struct git_command){.args = args, .out_fd = fd, .label = mirror->name});
}

static int write_cached(struct mk_call *call, struct mk_mirror *mirror, const struct mk_oid *blob,
			const char *path, size_t size)
{
	_cleanup_buf_ struct mk_buf fresh = MK_BUF(65536);
	struct stat st = {0};

	(void)mk_buf_printf(&fresh, "%s.new.%d.%lx", path, (int)getpid(),
			    (unsigned long)pthread_self());

	const char *name = mk_buf_text(&fresh);
	_cleanup_close_ int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0)
		return mk_fail(call, errno, "%s: %s", name, strerror(errno));

	int r;

	/* A full disk is told at once, where the file system can. The size stays to be judged. */
	if (fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)size) < 0 &&
	    (errno == ENOSPC || errno == EDQUOT || errno == EFBIG))
		r = mk_fail(call, errno, "a file of %zu bytes: no room in the cache %s: %s", size,
			    mirror->git->cache_dir, strerror(errno));
	else
		r = git_cat_to(call, mirror, blob, fd);
	if (r == 0 && (fstat(fd, &st) < 0 || (size_t)st.st_size != size))
		r = mk_fail(call, EIO, "%s: %lld bytes written, not %zu", name,
			    (long long)st.st_size, size);
	if (r == 0 && rename(name, path) < 0)
		r = mk_fail(call, errno, "%s: %s", path, strerror(errno));
	if (r < 0)
		(void)unlink(name);
	return r;
}

static int open_big(struct mk_call *call, struct mk_mirror *mirror, const struct mk_oid *blob,
		    size_t size, int *ret)
{
	struct mk_git *git = mirror->git;
	_cleanup_buf_ struct mk_buf path = MK_BUF(65536);
	char hash[41];
	int r;

	mk_oid_text(blob, hash);
	(void)mk_buf_printf(&path, "%s/%s", git->cache_dir, hash);
	*ret = cached_fd(mk_buf_text(&path), size);
	if (*ret >= 0)
		return 0;
	/* Seconds of work: not in a thread that others wait for. */
	r = mk_call_may_wait(call, "git:file");
	if (r < 0)
		return r;
	if (mkdir(git->cache_dir, 0700) < 0 && errno == ENOENT) {
		_cleanup_free_ char *parent = mk_strdup(git->cache_dir);

		*strrchr(parent, '/') = 0;
		(void)mkdir(parent, 0700);
		(void)mkdir(git->cache_dir, 0700);
	}
	mk_cache_trim(git->cache_dir, git->cache_limit, (int64_t)size);
	/* Two who want the same at once write it twice; the second rename changes nothing. */
	r = write_cached(call, mirror, blob, mk_buf_text(&path), size);
	if (r < 0)
		return r;
	*ret = cached_fd(mk_buf_text(&path), size);
	return *ret >= 0 ? 0 : mk_fail(call, EIO, "%s vanished", mk_buf_text(&path));
}

int mk_mirror_blob(struct mk_call *call, struct mk_mirror *mirror, const struct mk_oid *blob,
		   struct mk_blob_source *ret)
{
	_cleanup_use_ struct git_use use = {.mirror = mirror};
	_cleanup_(git_odb_freep) git_odb *odb = NULL;
	_cleanup_(git_odb_object_freep) git_odb_object *object = NULL;
	git_object_t type;
	char hash[41];
	size_t size;
	int r = git_take(call, mirror, &use.repo);

	if (r < 0)
		return r;
	mk_oid_text(blob, hash);
	r = git_repository_odb(&odb, use.repo);
	if (r == 0)
		r = git_odb_read_header(&size, &type, odb, git_of(blob));
	if (r < 0)
		return git_fail(call, mirror, r, hash);
	if (type != GIT_OBJECT_BLOB)
		return mk_fail(call, EIO, "mirror %s: %s is no file", mirror->name, hash);
	if (size > BIG_BLOB) {
		int fd;

		r = open_big(call, mirror, blob, size, &fd);
		if (r < 0)
			return r;
		*ret = (struct mk_blob_source){.fd = fd, .size = (int64_t)size};
		return 0;
	}
	r = git_odb_read(&object, odb, git_of(blob));
	if (r < 0)
		return git_fail(call, mirror, r, hash);

	char *data = malloc(size + 1);

	if (!data)
		return mk_fail(call, ENOMEM, "a file of %zu bytes: out of memory", size);
	memcpy(data, git_odb_object_data(object), size);
	data[size] = 0;
	*ret = (struct mk_blob_source){.data = data, .fd = -1, .size = (int64_t)size};
	return 0;
}
