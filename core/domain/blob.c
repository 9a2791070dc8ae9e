/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sources of bytes. Three sorts: memory, a descriptor of a local file, and a file of a tracking
 * store (index/files.c), which is what the runs of one have. What a run of ours left behind lies
 * in <data>/runs/<uid>/ and was written by a job, so it is foreign: it is opened beneath that
 * directory and through no link (artifacts/: kept.c).
 *
 *	<data>/runs/<uid>/{stdout,stderr,scheduler,submission}
 *	                  /artifacts/...
 */
#include "domain/blob.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <mantik/run.h>

#include "cache/blobs.h"
#include "core.h"
#include "domain/index/files.h"
#include "domain/kept.h"

struct mk_blob {
	struct mk_cached *cached; /* a remote file; NULL: data or fd */
	int64_t mtime;		  /* … its */
	bool live;		  /* … this may not be its last version */
	char *data;	/* NULL: fd */
	_Atomic int fd; /* -1 while a late file does not exist; set once */
	int64_t size;	/* of a growing one: the longest seen */
	bool growing;
	char *late; /* a record: its file `late_name` did not exist yet when this was opened */
	const char *late_name;
};

static const char *const log_files[] = {
	[MK_LOG_STDOUT] = "stdout",
	[MK_LOG_STDERR] = "stderr",
	[MK_LOG_SCHEDULER] = "scheduler",
	[MK_LOG_SUBMISSION] = "submission",
	[MK_LOG_DIFF] = "code.diff",
};

struct mk_blob *mk_blob_of_memory(char *data, size_t len)
{
	struct mk_blob *blob = mk_new(struct mk_blob);

	*blob = (struct mk_blob){.data = data, .fd = -1, .size = (int64_t)len};
	return blob;
}

struct mk_blob *mk_blob_of_fd(int fd, int64_t size, bool growing)
{
	struct mk_blob *blob = mk_new(struct mk_blob);

	*blob = (struct mk_blob){.fd = fd, .size = size, .growing = growing};
	return blob;
}

struct mk_blob *mk_blob_of_cached(struct mk_cached *cached, int64_t mtime, bool live)
{
	struct mk_blob *blob = mk_new(struct mk_blob);

	*blob = (struct mk_blob){
		.cached = cached,
		.mtime = mtime,
		.live = live,
		.fd = -1,
		.size = mk_cached_size(cached),
	};
	return blob;
}

/* A log that has not begun: empty until its file appears in the record. */
static struct mk_blob *blob_of_late(const char *record, const char *name)
{
	struct mk_blob *blob = mk_new(struct mk_blob);

	*blob = (struct mk_blob){
		.fd = -1, .growing = true, .late = mk_strdup(record), .late_name = name};
	return blob;
}

/* The descriptor, or -1 while there is no file. */
static int blob_fd(struct mk_blob *blob)
{
	struct stat st;
	int none = -1;

	if (blob->fd >= 0 || !blob->late)
		return blob->fd;

	_cleanup_close_ int dir =
		open(blob->late, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	_cleanup_close_ int fd =
		dir < 0 ? -1 : mk_open_beneath(dir, blob->late_name, O_RDONLY | O_NONBLOCK, false);

	/* Several threads read through one handle: the first to open it wins. */
	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
	    atomic_compare_exchange_strong(&blob->fd, &none, fd))
		return mk_steal_fd(&fd);
	return blob->fd;
}

static int64_t mtime_of(const struct stat *st)
{
	return (int64_t)st->st_mtim.tv_sec * MK_SEC + st->st_mtim.tv_nsec;
}

int mk_blob_stat(struct mk_call *call, struct mk_blob *blob, struct mk_blob_stat *ret)
{
	struct stat st;

	if (blob->data || blob->cached) {
		*ret = (struct mk_blob_stat){
			.size = blob->size, .mtime = blob->mtime, .growing = blob->live};
		return 0;
	}

	const int fd = blob_fd(blob);

	if (fd < 0) {
		*ret = (struct mk_blob_stat){.growing = true};
		return 0;
	}
	if (fstat(fd, &st) < 0)
		return mk_fail(call, errno, "an open file: %s", strerror(errno));
	*ret = (struct mk_blob_stat){
		.size = blob->growing ? st.st_size : blob->size,
		.mtime = mtime_of(&st),
		.growing = blob->growing,
		.executable = st.st_mode & 0100,
	};
	return 0;
}

ssize_t mk_blob_read(struct mk_call *call, struct mk_blob *blob, void *buf, size_t len,
		     int64_t offset)
{
	size_t done = 0;

	if (offset < 0)
		return mk_fail(call, EINVAL, "a read before the beginning");
	if (!blob->growing) {
		if (offset >= blob->size)
			return 0;
		if ((uint64_t)len > (uint64_t)(blob->size - offset))
			len = (size_t)(blob->size - offset);
	}
	if (blob->cached)
		return mk_cached_read(call, blob->cached, buf, len, offset);
	if (blob->data) {
		memcpy(buf, blob->data + offset, len);
		return (ssize_t)len;
	}

	const int fd = blob_fd(blob);

	while (fd >= 0 && done < len) {
		ssize_t n = pread(fd, (char *)buf + done, len - done, offset + (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return mk_fail(call, errno, "an open file: %s", strerror(errno));
		if (n == 0 && !blob->growing)
			return mk_fail(call, ESTALE, "the file became shorter while it was read");
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

int mk_blob_fd(struct mk_blob *blob)
{
	return blob->data || blob->cached ? -1 : blob_fd(blob);
}

void mk_blob_close(struct mk_blob *blob)
{
	if (!blob)
		return;
	mk_cached_close(blob->cached);
	free(blob->data);
	if (blob->fd >= 0)
		close(blob->fd);
	free(blob->late);
	free(blob);
}

/* uid and whether it may still write, by the database alone. */
static int run_of(struct mk_call *call, struct mantik *m, int64_t run_id, char uid[33],
		  bool *ret_live)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db, "SELECT uid, status FROM runs WHERE id = ?1", &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, run_id);
	r = mk_step(call, stmt);
	if (r < 0)
		return r;
	if (r == 0)
		return mk_fail(call, ENOENT, "no run %lld", (long long)run_id);
	(void)snprintf(uid, 33, "%s", mk_col_text(stmt, 0));
	*ret_live = !mk_status_final((enum mk_status)mk_col_int(stmt, 1));
	return 0;
}

/* -ENOENT without a text: nothing was recorded yet. */
static int open_record(struct mk_call *call, struct mantik *m, const char *uid)
{
	_cleanup_buf_ struct mk_buf path = MK_BUF(65536);

	(void)mk_buf_printf(&path, "%s/runs/%s", m->data_dir, uid);

	int fd = open(mk_buf_text(&path), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd >= 0)
		return fd;
	return errno == ENOENT
		       ? -ENOENT
		       : mk_fail(call, errno, "%s: %s", mk_buf_text(&path), strerror(errno));
}

int mk_run_log_open(struct mk_call *call, struct mantik *m, int64_t run_id, enum mk_log log,
		    struct mk_blob **ret)
{
	char uid[33];
	bool live;
	struct stat st;
	int r = run_of(call, m, run_id, uid, &live);

	if (r < 0)
		return r;

	_cleanup_close_ int dir = open_record(call, m, uid);

	if (dir < 0 && dir != -ENOENT)
		return dir;

	_cleanup_close_ int fd = -1;

	if (dir >= 0) {
		fd = mk_open_beneath(dir, log_files[log], O_RDONLY | O_NONBLOCK, false);
		if (fd < 0 && errno != ENOENT)
			return mk_fail(call, errno, "run %.8s: %s: %s", uid, log_files[log],
				       strerror(errno));
	}
	if (log == MK_LOG_DIFF) {
		if (fd < 0)
			return -ENOENT;
		live = false;
	}
	if (fd < 0 && live) { /* not begun: whoever follows it must see it begin */
		_cleanup_buf_ struct mk_buf path = MK_BUF(65536);

		(void)mk_buf_printf(&path, "%s/runs/%s", m->data_dir, uid);
		*ret = blob_of_late(mk_buf_text(&path), log_files[log]);
		return 0;
	}
	if (fd < 0) {
		*ret = mk_blob_of_memory(mk_strdup(""), 0);
		return 0;
	}
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return mk_fail(call, EIO, "run %.8s: %s is no file", uid, log_files[log]);
	*ret = mk_blob_of_fd(mk_steal_fd(&fd), st.st_size, live);
	return 0;
}

int mk_run_log_stat(struct mk_call *call, struct mantik *m, int64_t run_id, enum mk_log log,
		    struct mk_blob_stat *ret)
{
	char uid[33];
	bool live;
	struct stat st;
	_cleanup_buf_ struct mk_buf path = MK_BUF(65536);
	int r = run_of(call, m, run_id, uid, &live);

	if (r < 0)
		return r;
	(void)mk_buf_printf(&path, "%s/runs/%s/%s", m->data_dir, uid, log_files[log]);
	if (lstat(mk_buf_text(&path), &st) < 0) {
		if (errno != ENOENT)
			return mk_fail(call, errno, "%s: %s", mk_buf_text(&path), strerror(errno));
		if (log == MK_LOG_DIFF)
			return -ENOENT;
		*ret = (struct mk_blob_stat){.growing = live};
		return 0;
	}
	if (!S_ISREG(st.st_mode))
		return mk_fail(call, EIO, "run %.8s: %s is no file", uid, log_files[log]);
	*ret = (struct mk_blob_stat){.size = st.st_size, .mtime = mtime_of(&st),
				       .growing = live && log != MK_LOG_DIFF};
	return 0;
}

/* --- artifacts: a store's, or ours -------------------------------------------------------- */

int mk_run_artifact_list(struct mk_call *call, struct mantik *m, int64_t run_id, const char *path,
			 mk_dirent_emit *emit, void *arg)
{
	_cleanup_place_ struct mk_place place = {};
	_cleanup_kept_ struct mk_kept kept = {};
	int r = mk_place_of_run(call, m, run_id, &place);

	if (r)
		return r < 0 ? r : mk_index_files_list(call, m, &place, path, emit, arg);
	r = mk_kept_of_run(call, m, run_id, &kept);
	return r < 0 ? r : mk_kept_list(call, &kept, path, emit, arg);
}

int mk_run_artifact_stat(struct mk_call *call, struct mantik *m, int64_t run_id, const char *path,
			 struct mk_dirent *ret)
{
	_cleanup_place_ struct mk_place place = {};
	_cleanup_kept_ struct mk_kept kept = {};
	int r = mk_place_of_run(call, m, run_id, &place);

	if (r)
		return r < 0 ? r : mk_index_files_stat(call, m, &place, path, ret);
	r = mk_kept_of_run(call, m, run_id, &kept);
	return r < 0 ? r : mk_kept_stat(call, &kept, path, ret);
}

int mk_run_artifact_open(struct mk_call *call, struct mantik *m, int64_t run_id, const char *path,
			 struct mk_blob **ret)
{
	_cleanup_place_ struct mk_place place = {};
	_cleanup_kept_ struct mk_kept kept = {};
	int r = mk_place_of_run(call, m, run_id, &place);

	if (r)
		return r < 0 ? r : mk_index_files_open(call, m, &place, path, ret);
	r = mk_kept_of_run(call, m, run_id, &kept);
	return r < 0 ? r : mk_kept_open(call, &kept, path, ret);
}
