/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Artifacts that come by the tracking API, and go: see artifact.h. Runs in the thread of a request,
 * on local disk only.
 *
 * Who works in <data>/incoming holds a lock (flock) on what it has there; what nobody holds was left
 * by a kill.
 */
#include "domain/track/artifact.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "base/file.h"
#include "domain/domain.h"

struct mk_incoming {
	struct mantik *m;
	char *record, *below, *path, *what;
	int64_t run_id;
	int uploads;
	int fd;
	char name[40]; /* in uploads; "": it has none (O_TMPFILE) */
};

static void upload_free(struct mk_incoming *upload)
{
	if (!upload)
		return;
	if (upload->name[0])
		(void)unlinkat(upload->uploads, upload->name, 0);
	mk_closep(&upload->fd);
	mk_closep(&upload->uploads);
	free(upload->record);
	free(upload->below);
	free(upload->path);
	free(upload->what);
	free(upload);
}

static void upload_freep(struct mk_incoming **upload)
{
	upload_free(*upload);
}

static void random_name(char name[40])
{
	unsigned char bytes[16] = {};
	size_t at = 0;

	(void)!getrandom(bytes, sizeof(bytes), 0);
	for (size_t i = 0; i < sizeof(bytes); i++)
		at += (size_t)snprintf(name + at, 40 - at, "%02x", bytes[i]);
}

static int open_uploads(struct mk_call *call, struct mantik *m)
{
	_cleanup_free_ char *path = mk_strf("%s/incoming", m->data_dir);

	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return mk_fail(call, errno, "%s: %s", path, strerror(errno));

	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? mk_fail(call, errno, "%s: %s", path, strerror(errno)) : fd;
}

/* What a kill left there. Failing is no reason not to go on. */
static void sweep(int uploads)
{
	int fd = openat(uploads, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir) {
		mk_closep(&fd);
		return;
	}
	for (struct dirent *e; (e = readdir(dir));) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;

		_cleanup_close_ int left =
			openat(uploads, e->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		_cleanup_call_ struct mk_call quiet;

		mk_call_init(&quiet);
		if (left >= 0 && flock(left, LOCK_EX | LOCK_NB) == 0)
			(void)!mk_remove_tree(&quiet, uploads, e->d_name);
	}
	closedir(dir);
}

static int may_write(struct mk_call *call, const struct mk_artifact *artifact)
{
	if (artifact->model && artifact->deleted)
		return mk_fail(call, ENOENT, "Logged model with ID '%s' not found.", artifact->id);
	if (artifact->deleted)
		return mk_fail(call, EROFS,
			       "The run %s must be in the 'active' state. Current state is"
			       " deleted.",
			       artifact->id);
	return 0;
}

int mk_incoming_begin(struct mk_call *call, struct mantik *m, const struct mk_artifact *artifact,
		      int64_t length, struct mk_incoming **ret)
{
	_cleanup_(upload_freep) struct mk_incoming *upload = NULL;
	int r = may_write(call, artifact);

	if (r == 0 && m->read_only)
		r = mk_fail(call, EROFS, "the platform is open for reading only%s%s",
			    m->read_only_why ? ": " : "", m->read_only_why ? m->read_only_why : "");
	if (r == 0 && !*artifact->path)
		r = mk_fail(call, EINVAL, "Invalid path: it names no file");
	if (r < 0)
		return r;
	upload = mk_new(struct mk_incoming);
	*upload = (struct mk_incoming){
		.m = m,
		.record = mk_strdup(artifact->kept.record),
		.below = mk_strdup(artifact->kept.below),
		.path = mk_strdup(artifact->path),
		.what = mk_strdup(artifact->kept.what),
		.run_id = artifact->kept.run_id,
		.uploads = -1,
		.fd = -1,
	};
	upload->uploads = open_uploads(call, m);
	if (upload->uploads < 0)
		return upload->uploads;
	sweep(upload->uploads);
	upload->fd = openat(upload->uploads, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
	if (upload->fd < 0) {
		random_name(upload->name);
		upload->fd = openat(upload->uploads, upload->name,
				    O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
	}
	if (upload->fd < 0) {
		upload->name[0] = 0;
		return mk_fail(call, errno, "%s/incoming: %s", m->data_dir, strerror(errno));
	}
	(void)flock(upload->fd, LOCK_EX | LOCK_NB);
	/* A disk that is too small says so before a long body is sent. */
	if (length > 0 && fallocate(upload->fd, FALLOC_FL_KEEP_SIZE, 0, length) < 0 &&
	    (errno == ENOSPC || errno == EDQUOT || errno == EFBIG))
		return mk_fail(call, errno, "%s: %s for %lld bytes", m->data_dir, strerror(errno),
			       (long long)length);
	*ret = mk_steal(&upload);
	return 0;
}

int mk_incoming_write(struct mk_call *call, struct mk_incoming *upload, const void *data, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = write(upload->fd, (const char *)data + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return mk_fail(call, n < 0 ? errno : EIO, "%s: %s: %s", upload->what,
				       upload->path, strerror(n < 0 ? errno : EIO));
		done += (size_t)n;
	}
	return 0;
}

/* The directory `name` in `at`, made if it is missing; replaces *at. */
static int go_down(struct mk_call *call, int *at, const char *name, bool make)
{
	bool made = make && mkdirat(*at, name, 0700) == 0;

	if (make && !made && errno != EEXIST)
		return mk_fail(call, errno, "%s: %s", name, strerror(errno));
	/* What says that it is there is in the directory above. */
	if (made && fsync(*at) < 0)
		return mk_fail(call, errno, "%s: %s", name, strerror(errno));

	int next = mk_open_beneath(*at, name, O_RDONLY | O_DIRECTORY, false);

	if (next < 0)
		return mk_fail(call, errno == ELOOP ? ENOTDIR : errno, "%s: %s", name,
			       errno == ELOOP ? "is a link" : strerror(errno));
	mk_closep(at);
	*at = next;
	return 0;
}

/* The directory of a path in a record and, in *ret_name, the last part of it. ENOENT without make. */
static int open_parent(struct mk_call *call, const char *record, const char *below,
		       const char *path, bool make, const char **ret_name)
{
	_cleanup_free_ char *whole = *path ? mk_strf("%s/%s", below, path) : mk_strdup(below);
	_cleanup_close_ int at = -1;
	const char *s = whole;

	if (make) {
		int r = mk_mkdirs(call, record, 0700);

		if (r < 0)
			return r;
	}
	at = open(record, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (at < 0)
		return mk_fail(call, errno, "%s: %s", record, strerror(errno));
	for (const char *slash; (slash = strchr(s, '/')); s = slash + 1) {
		_cleanup_free_ char *name = mk_strndup(s, (size_t)(slash - s));
		int r = go_down(call, &at, name, make);

		if (r < 0)
			return r;
	}
	*ret_name = (*path ? path + strlen(path) : below + strlen(below)) - strlen(s);
	return mk_steal_fd(&at);
}

/* Gives the file its name there. */
static int put_in_place(struct mk_call *call, struct mk_incoming *upload, int dir, const char *name)
{
	char self[64];

	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", upload->fd);
	if (!upload->name[0]) {
		if (linkat(AT_FDCWD, self, dir, name, AT_SYMLINK_FOLLOW) == 0)
			return 0;
		if (errno != EEXIST)
			return mk_fail(call, errno, "%s: %s: %s", upload->what, upload->path,
				       strerror(errno));
		random_name(upload->name);
		if (linkat(AT_FDCWD, self, upload->uploads, upload->name, AT_SYMLINK_FOLLOW) < 0) {
			upload->name[0] = 0;
			return mk_fail(call, errno, "%s: %s: %s", upload->what, upload->path,
				       strerror(errno));
		}
	}
	if (renameat(upload->uploads, upload->name, dir, name) < 0)
		return mk_fail(call, errno, "%s: %s: %s", upload->what, upload->path,
			       strerror(errno));
	upload->name[0] = 0;
	return 0;
}

static int touch(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	return mk_run_touch(call, conn, *(int64_t *)arg, MK_TOUCH_LOGGED);
}

static int keep_file(struct mk_call *call, struct mk_incoming *upload)
{
	const char *name = NULL;
	struct stat st;

	if (fsync(upload->fd) < 0)
		return mk_fail(call, errno, "%s: %s: %s", upload->what, upload->path,
			       strerror(errno));

	_cleanup_close_ int dir = open_parent(call, upload->record, upload->below, upload->path,
					      true, &name);

	if (dir < 0)
		return mk_prefix(call, dir, "%s: %s", upload->what, upload->path);
	/* rename() would say the same of a directory, but only of one that is a directory: a link
	 * of a job's to one is neither written through nor replaced. */
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(st.st_mode))
		return mk_fail(call, EISDIR, "%s: %s is a directory", upload->what, upload->path);

	int r = put_in_place(call, upload, dir, name);

	if (r == 0 && fsync(dir) < 0)
		r = mk_fail(call, errno, "%s: %s: %s", upload->what, upload->path, strerror(errno));
	if (r == 0 && upload->run_id)
		r = mk_domain_write(call, upload->m, MK_KILLSAFE, touch, &upload->run_id);
	return r;
}

int mk_incoming_end(struct mk_call *call, struct mk_incoming *upload, bool keep)
{
	int r = keep ? keep_file(call, upload) : 0;

	upload_free(upload);
	return r;
}

int mk_artifact_remove(struct mk_call *call, struct mantik *m, const struct mk_artifact *artifact)
{
	const char *name = NULL;
	char gone[40];
	struct stat st;
	int r = may_write(call, artifact);

	if (r < 0)
		return r;

	_cleanup_close_ int uploads = open_uploads(call, m);

	if (uploads < 0)
		return uploads;

	_cleanup_close_ int dir = open_parent(call, artifact->kept.record, artifact->kept.below,
					      artifact->path, false, &name);

	if (dir == -ENOENT || dir == -ENOTDIR) {
		mk_error_clear(call);
		return 0;
	}
	if (dir < 0)
		return dir;
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : mk_fail(call, errno, "%s: %s", name, strerror(errno));

	/* Held while it is taken apart, so that no sweep does the same at the same time. */
	_cleanup_close_ int held =
		S_ISLNK(st.st_mode)
			? -1
			: openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (held >= 0)
		(void)flock(held, LOCK_EX | LOCK_NB);
	random_name(gone);
	if (renameat(dir, name, uploads, gone) < 0)
		return errno == ENOENT ? 0 : mk_fail(call, errno, "%s: %s", name, strerror(errno));
	(void)fsync(dir);
	r = mk_remove_tree(call, uploads, gone);
	if (r == 0 && artifact->kept.run_id) {
		int64_t id = artifact->kept.run_id;

		r = mk_domain_write(call, m, MK_KILLSAFE, touch, &id);
	}
	return r;
}
