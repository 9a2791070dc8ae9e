/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Artifacts: what the spec's globs match in the job's directory is copied into the record when the
 * job has ended, and outlives the working directory.
 *
 *	<record>/collecting/    being filled; thrown away and begun anew after a kill
 *	<record>/collected/     complete: the same directory, renamed
 *	<record>/artifacts/     where its files are moved, beside what the job sent to the tracking
 *				server while it ran; a file of that stays, whatever matches
 *
 * The job's files are foreign: every path is opened below the working directory (openat2,
 * RESOLVE_BENEATH), so that no link leads out of it. `*` and `?` stop at `/`, `**` does not; a
 * directory that matches is copied with all in it; a link to a file becomes the file, a link to a
 * directory stays a link if it leads to something that was copied, too. Runs in a lane thread.
 */
#include "engine/engine.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/file.h"

enum { MAX_DEPTH = 64, MAX_FILES = 100000, MAX_LINKS = 4096, COPY_PART = 8 << 20 };

struct collect {
	struct mk_call *call;
	const struct job *job;
	int from; /* the job's directory */
	int to;	  /* collecting/ */
	int files;
	int left_out;
	struct mk_pairs links; /* to be made when all is copied: path, target */
};

static int open_beneath(int dir, const char *path, uint64_t flags)
{
	struct open_how how = {
		.flags = flags | O_CLOEXEC | (flags & O_PATH ? 0 : O_NONBLOCK | O_NOCTTY),
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};
	int fd = (int)syscall(SYS_openat2, dir, path, &how, sizeof(how));

	return fd < 0 ? -errno : fd;
}

/* Not a reason to lose the rest: noted, and the others go on. */
static void leave_out(struct collect *c, const char *path, const char *why)
{
	if (c->left_out++ < 20)
		engine_note(c->job, "submission", "artifacts: %s left out: %s", path, why);
}

/* The directories above a path, in collecting/. */
static int make_parents(struct collect *c, const char *path)
{
	for (const char *slash = path; (slash = strchr(slash, '/')); slash++) {
		_cleanup_free_ char *parent = mk_strndup(path, (size_t)(slash - path));

		if (mkdirat(c->to, parent, 0700) < 0 && errno != EEXIST)
			return mk_fail(c->call, errno, "%s: %s", parent, strerror(errno));
	}
	return 0;
}

/* The bytes from `at` to `end`, in parts between which a cancel is seen. */
static int copy_range(struct collect *c, const char *path, int from, int to, off_t at, off_t end)
{
	off_t out = at;

	while (at < end) {
		size_t len = end - at < COPY_PART ? (size_t)(end - at) : COPY_PART;
		int r = mk_call_check(c->call, path);

		if (r < 0)
			return r;

		ssize_t n = copy_file_range(from, &at, to, &out, len, 0);

		if (n == 0)
			return 0;
		if (n > 0 || errno == EINTR)
			continue;
		if (errno != EXDEV && errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP)
			return mk_fail(c->call, errno, "%s: %s", path, strerror(errno));

		char part[65536];

		n = pread(from, part, len < sizeof(part) ? len : sizeof(part), at);
		if (n == 0)
			return 0;
		if (n < 0)
			return mk_fail(c->call, errno, "%s: %s", path, strerror(errno));
		for (ssize_t done = 0; done < n;) {
			ssize_t w = pwrite(to, part + done, (size_t)(n - done), out);

			if (w < 0 && errno != EINTR)
				return mk_fail(c->call, errno, "%s: %s", path, strerror(errno));
			done += w > 0 ? w : 0;
			out += w > 0 ? w : 0;
		}
		at += n;
	}
	return 0;
}

/* Holes stay holes: a file that a job made sparse may be larger than the disk. */
static int copy_bytes(struct collect *c, const char *path, int from, int to, off_t size)
{
	for (off_t at = 0; at < size;) {
		off_t data = lseek(from, at, SEEK_DATA);

		if (data < 0 && errno == ENXIO)
			break; /* a hole up to the end */
		if (data < 0)
			data = at;

		off_t hole = lseek(from, data, SEEK_HOLE);

		if (hole <= data)
			hole = size;

		int r = copy_range(c, path, from, to, data, hole);

		if (r < 0)
			return r;
		at = hole;
	}
	if (ftruncate(to, size) < 0)
		return mk_fail(c->call, errno, "%s: %s", path, strerror(errno));
	return 0;
}

static int copy_file(struct collect *c, const char *path, int from, const struct stat *st)
{
	struct timespec times[2] = {st->st_mtim, st->st_mtim};
	int r = make_parents(c, path);

	if (r < 0)
		return r;

	_cleanup_close_ int to = openat(c->to, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
					st->st_mode & 0100 ? 0700 : 0600);

	if (to < 0)
		return mk_fail(c->call, errno, "%s: %s", path, strerror(errno));
	r = copy_bytes(c, path, from, to, st->st_size);
	if (r < 0)
		return r;
	(void)futimens(to, times);
	if (fsync(to) < 0)
		return mk_fail(c->call, errno, "%s: %s", path, strerror(errno));
	return 0;
}

/* A link to a directory stays one (`latest -> step-100`): followed, it could lead in circles. */
static int keep_link(struct collect *c, const char *path)
{
	char target[4096];
	ssize_t n = readlinkat(c->from, path, target, sizeof(target) - 1);

	if (n <= 0 || target[0] == '/') {
		leave_out(c, path, "a link to a directory by its whole path");
		return 0;
	}
	if (c->links.n == MAX_LINKS)
		return mk_fail(c->call, E2BIG, "more than %d links to directories", MAX_LINKS);
	c->files++;
	target[n] = 0;

	int r = make_parents(c, path);

	return r < 0 ? r : mk_pairs_set(&c->links, path, target);
}

/* After all files, so that none is written through a link; those that lead nowhere go again. */
static int make_links(struct collect *c)
{
	for (size_t i = 0; i < c->links.n; i++) {
		const char *path = c->links.v[i].key;

		if (symlinkat(c->links.v[i].value, c->to, path) < 0) {
			if (errno == EEXIST) /* another pattern copied what is behind it */
				continue;
			return mk_fail(c->call, errno, "%s: %s", path, strerror(errno));
		}
	}
	for (size_t i = 0; i < c->links.n; i++) {
		const char *path = c->links.v[i].key;
		_cleanup_close_ int fd = open_beneath(c->to, path, O_PATH);

		if (fd >= 0)
			continue;
		leave_out(c, path, "a link to a directory that is no artifact");
		(void)unlinkat(c->to, path, 0);
	}
	return 0;
}

static int take(struct collect *c, const char *path, int depth)
{
	_cleanup_close_ int fd = open_beneath(c->from, path, O_RDONLY);
	struct stat st;

	if (fd == -EXDEV) {
		leave_out(c, path, "a link out of the working directory");
		return 0;
	}
	if (fd < 0 || fstat(fd, &st) < 0) {
		leave_out(c, path, strerror(fd < 0 ? -fd : errno));
		return 0;
	}
	if (S_ISREG(st.st_mode)) {
		if (++c->files > MAX_FILES)
			return mk_fail(c->call, E2BIG, "more than %d files match", MAX_FILES);
		return copy_file(c, path, fd, &st);
	}
	if (!S_ISDIR(st.st_mode)) {
		leave_out(c, path, "not a file");
		return 0;
	}
	if (depth > MAX_DEPTH) {
		leave_out(c, path, "nested too deeply");
		return 0;
	}

	int r = make_parents(c, path);
	DIR *dir = fdopendir(mk_steal_fd(&fd));

	if (r == 0 && mkdirat(c->to, path, 0700) < 0 && errno != EEXIST)
		r = mk_fail(c->call, errno, "%s: %s", path, strerror(errno));
	for (struct dirent *e; r == 0 && dir && (e = readdir(dir));) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
		    strcmp(e->d_name, ".mantik") == 0)
			continue;

		_cleanup_free_ char *child = mk_strf("%s/%s", path, e->d_name);

		if (e->d_type == DT_LNK) {
			_cleanup_close_ int target = open_beneath(c->from, child, O_PATH);

			if (target >= 0 && fstat(target, &st) == 0 && S_ISDIR(st.st_mode)) {
				r = keep_link(c, child);
				continue;
			}
		}
		r = take(c, child, depth + 1);
	}
	if (dir)
		closedir(dir);
	return r;
}

/* Follows a pattern part by part; `path` is what matched so far. */
static int match(struct collect *c, const char *path, const char *pattern, int depth)
{
	size_t len = strcspn(pattern, "/");
	_cleanup_free_ char *part = mk_strndup(pattern, len);
	const char *rest = pattern + len + strspn(pattern + len, "/");
	bool any = strcmp(part, "**") == 0;
	int r = mk_call_check(c->call, "artifacts");

	if (r < 0)
		return r;
	if (!*part || depth > MAX_DEPTH)
		return 0;
	/* `**` may also stand for nothing. */
	if (any && *rest) {
		r = match(c, path, rest, depth + 1);
		if (r < 0)
			return r;
	}

	_cleanup_close_ int fd = open_beneath(c->from, *path ? path : ".", O_RDONLY | O_DIRECTORY);

	if (fd < 0)
		return 0;

	DIR *dir = fdopendir(mk_steal_fd(&fd));

	if (!dir)
		return mk_fail(c->call, errno, "%s: %s", path, strerror(errno));
	for (struct dirent *e; r == 0 && (e = readdir(dir));) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
		    (!*path && strcmp(e->d_name, ".mantik") == 0))
			continue;
		if (any ? e->d_name[0] == '.' : fnmatch(part, e->d_name, FNM_PERIOD) != 0)
			continue;

		_cleanup_free_ char *child =
			mk_strf("%s%s%s", path, *path ? "/" : "", e->d_name);

		if (!*rest)
			r = take(c, child, depth);
		else if (any && e->d_type != DT_LNK)
			r = match(c, child, pattern, depth + 1);
		else if (!any)
			r = match(c, child, rest, depth + 1);
	}
	closedir(dir);
	return r;
}

/* rename() that replaces nothing, also where the file system cannot promise that. */
static int rename_new(int from, int to, const char *name)
{
	struct stat st;

	if (renameat2(from, name, to, name, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -1;
	if (fstatat(to, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		errno = EEXIST;
		return -1;
	}
	return renameat(from, name, to, name);
}

/* Entries of `from` go to `to`; directories that are there already are filled. A kill in between is
 * no harm: what is left in `from` is moved by the next mantikd. */
static int move_in(struct mk_call *call, const struct job *job, int from, int to, const char *path)
{
	int fd = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	int r = 0;

	if (!dir) {
		mk_closep(&fd);
		return mk_fail(call, errno, "artifacts/%s: %s", path, strerror(errno));
	}
	for (struct dirent *e; r == 0 && (e = readdir(dir));) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (rename_new(from, to, e->d_name) == 0)
			continue;
		if (errno != EEXIST) {
			r = mk_fail(call, errno, "artifacts/%s%s: %s", path, e->d_name,
				    strerror(errno));
			break;
		}

		const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
		_cleanup_close_ int sub_from = openat(from, e->d_name, flags);
		_cleanup_close_ int sub_to = openat(to, e->d_name, flags);
		_cleanup_free_ char *below = mk_strf("%s%s/", path, e->d_name);

		if (sub_from >= 0 && sub_to >= 0)
			r = move_in(call, job, sub_from, sub_to, below);
		else
			engine_note(job, "submission", "artifacts: %s%s left out: the job logged a "
						       "file of this name", path, e->d_name);
	}
	closedir(dir);
	(void)fsync(to);
	return r;
}

static int move_all(struct mk_call *call, const struct job *job, int record)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

	if (mkdirat(record, "artifacts", 0700) < 0 && errno != EEXIST)
		return mk_fail(call, errno, "artifacts: %s", strerror(errno));

	_cleanup_close_ int from = openat(record, "collected", flags);
	_cleanup_close_ int to = openat(record, "artifacts", flags);

	if (from < 0 || to < 0)
		return mk_fail(call, errno, "artifacts: %s", strerror(errno));

	int r = move_in(call, job, from, to, "");

	(void)fsync(record);
	return r;
}

static void collect_end(struct collect *c)
{
	mk_pairs_free(&c->links);
}

static int collect(struct mk_call *call, const struct job *job, int record)
{
	_cleanup_close_ int workdir = open(job->workdir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int from = -1, to = -1;
	const char *sub = job->plan.directory && *job->plan.directory ? job->plan.directory : ".";
	int r;

	if (workdir < 0)
		return mk_fail(call, errno, "%s: %s", job->workdir, strerror(errno));
	from = open_beneath(workdir, sub, O_RDONLY | O_DIRECTORY);
	if (from < 0)
		return mk_fail(call, -from, "%s/%s: %s", job->workdir, sub, strerror(-from));
	if (mkdirat(record, "collecting", 0700) < 0)
		return mk_fail(call, errno, "collecting: %s", strerror(errno));
	to = openat(record, "collecting", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (to < 0)
		return mk_fail(call, errno, "collecting: %s", strerror(errno));

	_cleanup_(collect_end) struct collect c = {
		.call = call, .job = job, .from = from, .to = to};

	for (size_t i = 0; i < job->plan.artifacts.n; i++) {
		int before = c.files;
		const char *pattern = job->plan.artifacts.v[i];

		while (strncmp(pattern, "./", 2) == 0)
			pattern += 2 + strspn(pattern + 2, "/");
		r = match(&c, "", pattern, 0);
		if (r < 0)
			return r;
		if (c.files == before)
			engine_note(job, "submission", "artifacts: nothing matches %s", pattern);
	}
	r = make_links(&c);
	if (r == 0)
		r = store_copy(call, job, to, &c.files);
	if (r < 0)
		return r;
	if (c.left_out > 20)
		engine_note(job, "submission", "artifacts: %d in all left out", c.left_out);
	if (c.files == 0)
		return mk_remove_tree(call, record, "collecting");
	(void)fsync(to);
	if (renameat(record, "collecting", record, "collected") < 0)
		return mk_fail(call, errno, "artifacts: %s", strerror(errno));
	(void)fsync(record);
	return move_all(call, job, record);
}

int artifacts_collect(struct mk_call *call, const struct job *job)
{
	_cleanup_close_ int record = -1;
	int r;

	if (!job->plan.artifacts.n && !job->store)
		return 0;
	record = open(job->record, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (record < 0)
		return mk_fail(call, errno, "%s: %s", job->record, strerror(errno));
	/* Copied by a mantikd before us that was killed before it could say so. */
	if (faccessat(record, "collected", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return move_all(call, job, record);
	r = mk_remove_tree(call, record, "collecting");
	if (r < 0)
		return r;
	r = collect(call, job, record);
	if (r < 0 && r != -EINTR) {
		_cleanup_call_ struct mk_call quiet;

		mk_call_init(&quiet);
		(void)!mk_remove_tree(&quiet, record, "collecting");
	}
	return r;
}
