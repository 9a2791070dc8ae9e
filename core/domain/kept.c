/* SPDX-License-Identifier: Apache-2.0 */
/* See kept.h. Everything is opened beneath its directory by openat2. */
#include "domain/kept.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <mantik/run.h>

#include "base/file.h"
#include "domain/blob.h"

static const char artifacts[] = "artifacts";

void mk_kept_free(struct mk_kept *kept)
{
	free(kept->record);
	free(kept->below);
	free(kept->what);
	*kept = (struct mk_kept){};
}

int mk_kept_of_run(struct mk_call *call, struct mantik *m, int64_t run_id, struct mk_kept *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db, "SELECT uid, status FROM runs WHERE id = ?1", &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, run_id);
	r = mk_step(call, stmt);
	if (r <= 0)
		return r < 0 ? r : mk_fail(call, ENOENT, "no run %lld", (long long)run_id);
	*ret = (struct mk_kept){
		.record = mk_strf("%s/runs/%s", m->data_dir, mk_col_text(stmt, 0)),
		.below = mk_strdup(artifacts),
		.what = mk_strf("run %.8s", mk_col_text(stmt, 0)),
		.run_id = run_id,
		.live = !mk_status_final((enum mk_status)mk_col_int(stmt, 1)),
	};
	return 0;
}

void mk_kept_of_model(struct mantik *m, const char *model_id, struct mk_kept *ret)
{
	*ret = (struct mk_kept){
		.record = mk_strf("%s/models/%s", m->data_dir, model_id),
		.below = mk_strdup(artifacts),
		.what = mk_strf("model %s", model_id),
	};
}

void mk_kept_down(struct mk_kept *kept, const char *path)
{
	if (!*path)
		return;

	char *below = mk_strf("%s/%s", kept->below, path);

	free(kept->below);
	kept->below = below;
}

int mk_open_beneath(int dir, const char *name, uint64_t flags, bool links)
{
	struct open_how how = {
		.flags = flags | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS |
			   (links ? 0 : RESOLVE_NO_SYMLINKS),
	};

	return (int)syscall(SYS_openat2, dir, name, &how, sizeof(how));
}

static bool is_nothing(int code)
{
	return code == ENOENT || code == ENOTDIR || code == ELOOP || code == EXDEV;
}

/* An O_PATH descriptor; a link is opened as itself unless it is followed. ENOENT with a text. */
static int open_path(struct mk_call *call, const struct mk_kept *kept, const char *path)
{
	_cleanup_close_ int record =
		open(kept->record, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (record < 0 && errno != ENOENT)
		return mk_fail(call, errno, "%s: %s", kept->record, strerror(errno));

	/* Beneath `below` itself: `..` would lead to the logs and the state beside it. */
	_cleanup_close_ int top =
		record < 0 ? -1
			   : mk_open_beneath(record, kept->below, O_PATH | O_DIRECTORY, false);

	if (top >= 0) {
		/* NO_SYMLINKS with O_PATH|O_NOFOLLOW allows the last part to be a link. */
		int fd = mk_open_beneath(top, *path ? path : ".",
					 O_PATH | (kept->follow ? 0 : O_NOFOLLOW), kept->follow);

		if (fd >= 0)
			return fd;
		if (!is_nothing(errno))
			return mk_fail(call, errno, "%s: %s/%s: %s", kept->what, kept->below,
				       path, strerror(errno));
	}
	return mk_fail(call, ENOENT, "%s has no artifact %s", kept->what, path);
}

static int64_t mtime_of(const struct stat *st)
{
	return (int64_t)st->st_mtim.tv_sec * MK_SEC + st->st_mtim.tv_nsec;
}

static struct mk_dirent dirent_of(const char *name, const struct stat *st)
{
	return (struct mk_dirent){
		.name = name,
		.is_dir = S_ISDIR(st->st_mode),
		.is_link = S_ISLNK(st->st_mode),
		.executable = S_ISREG(st->st_mode) && st->st_mode & 0100,
		.size = S_ISDIR(st->st_mode) ? 0 : st->st_size,
		.mtime = mtime_of(st),
	};
}

static int stat_at(const struct mk_kept *kept, int dir, const char *name, struct stat *ret)
{
	if (fstatat(dir, name, ret, AT_SYMLINK_NOFOLLOW) < 0)
		return -1;
	if (!kept->follow || !S_ISLNK(ret->st_mode))
		return 0;

	/* One that leads nowhere stays a link. */
	_cleanup_close_ int fd = mk_open_beneath(dir, name, O_PATH, true);

	return fd < 0 ? 0 : fstat(fd, ret);
}

int mk_kept_list(struct mk_call *call, const struct mk_kept *kept, const char *path,
		  mk_dirent_emit *emit, void *arg)
{
	_cleanup_close_ int at = open_path(call, kept, path);
	struct dirent *entry;
	int r = 0;

	if (at == -ENOENT && !*path) { /* nothing was kept (yet) */
		mk_error_clear(call);
		return 0;
	}
	if (at < 0)
		return at;

	int fd = openat(at, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;

	if (!dir) {
		r = mk_fail(call, errno, "%s/%s: %s", kept->below, path, strerror(errno));
		mk_closep(&fd);
		return r;
	}
	while (r == 0 && (errno = 0, entry = readdir(dir))) {
		struct stat st;

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
		    stat_at(kept, fd, entry->d_name, &st) < 0)
			continue; /* gone since */
		if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode) && !S_ISLNK(st.st_mode))
			continue;

		struct mk_dirent it = dirent_of(entry->d_name, &st);

		r = emit(arg, &it);
	}
	if (r == 0 && errno)
		r = mk_fail(call, errno, "%s/%s: %s", kept->below, path, strerror(errno));
	closedir(dir);
	return r;
}

int mk_kept_stat(struct mk_call *call, const struct mk_kept *kept, const char *path,
		  struct mk_dirent *ret)
{
	_cleanup_close_ int at = open_path(call, kept, path);
	const char *slash = strrchr(path, '/');
	struct stat st;

	if (at == -ENOENT && !*path) {
		mk_error_clear(call);
		*ret = (struct mk_dirent){.name = path, .is_dir = true};
		return 0;
	}
	if (at < 0)
		return at;
	if (fstatat(at, "", &st, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0)
		return mk_fail(call, errno, "%s/%s: %s", kept->below, path, strerror(errno));
	*ret = dirent_of(slash ? slash + 1 : path, &st);
	return 0;
}

int mk_kept_open(struct mk_call *call, const struct mk_kept *kept, const char *path,
		  struct mk_blob **ret)
{
	_cleanup_close_ int at = open_path(call, kept, path);
	char self[64], target[4096];
	struct stat st;

	if (at < 0)
		return at;
	if (fstatat(at, "", &st, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0)
		return mk_fail(call, errno, "%s/%s: %s", kept->below, path, strerror(errno));
	if (S_ISLNK(st.st_mode)) { /* its text, for readlink */
		ssize_t n = readlinkat(at, "", target, sizeof(target));

		if (n < 0)
			return mk_fail(call, errno, "%s/%s: %s", kept->below, path,
				       strerror(errno));
		*ret = mk_blob_of_memory(mk_strndup(target, (size_t)n), (size_t)n);
		return 0;
	}
	if (!S_ISREG(st.st_mode))
		return mk_fail(call, S_ISDIR(st.st_mode) ? EISDIR : EACCES, "%s/%s is no file",
			       kept->below, path);
	/* The same file again for reading: by its descriptor, so that nobody can swap it. */
	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", at);

	int fd = open(self, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return mk_fail(call, errno, "%s/%s: %s", kept->below, path, strerror(errno));
	*ret = mk_blob_of_fd(fd, st.st_size, kept->live);
	return 0;
}
