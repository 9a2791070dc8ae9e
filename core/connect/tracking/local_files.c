/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Artifacts that are directories of this machine. A link to a file below the same directory is that
 * file; one that leads out, and one to a directory (it could lead in circles), is left out. The
 * version of a file is its inode, size and time of change: it is looked at before and after its bytes
 * are given.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "base/path.h"
#include "base/utf8.h"
#include "connect/tracking/local.h"
#include "net/url_local.h"

enum { PART = 1 << 20, CHECK_EACH = 256 };

static const char *after(const char *text, const char *prefix)
{
	size_t len = strlen(prefix);

	return strncmp(text, prefix, len) == 0 ? text + len : NULL;
}

/* --- where they are -------------------------------------------------------------------------- */

/* Does a path end in <id>/artifacts, as MLflow makes them? Else it may be anything of this user. */
static bool is_named_so(const char *path, const char *id)
{
	_cleanup_free_ char *end = mk_strf("/%s/artifacts", id);
	size_t len = strlen(path), n = strlen(end);

	while (len && path[len - 1] == '/')
		len--;
	return len >= n && strncmp(path + len - n, end, n) == 0;
}

/* The absolute path a uri names on this machine, NULL: none. A relative one (old releases) is seen
 * from where the store is. */
static char *path_of(const struct mk_local *local, const char *uri)
{
	const char *slash = strrchr(local->path, '/');
	_cleanup_free_ char *url = NULL;

	if (after(uri, "file:")) {
		_cleanup_call_ struct mk_call quiet;

		mk_call_init(&quiet);
		if (mk_url_local(&quiet, uri, &url) < 0)
			return NULL;
		return mk_url_local_path(url);
	}
	if (*uri == '/')
		return mk_strdup(uri);
	if (!*uri || strchr(uri, ':'))
		return NULL;
	return mk_strf("%.*s/%s", (int)(slash - local->path), local->path, uri);
}

static int open_path(struct mk_call *call, const char *path, int *ret)
{
	_cleanup_free_ char *real = NULL;
	int r = mk_path_resolve(call, path, &real), fd;

	if (r < 0)
		return r;
	fd = open(real, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return mk_fail(call, errno, "%s: %s", path, strerror(errno));
	*ret = fd;
	return 0;
}

/* Inside a store that was copied here: where it was, its files had another path. */
static int open_inside(struct mk_call *call, const struct mk_local_place *place, int *ret)
{
	int fd = place->inside ? mk_local_open(place->inside_dir, place->inside,
					       O_RDONLY | O_DIRECTORY)
			       : -ENOENT;

	if (fd < 0)
		return mk_fail(call, -fd, "%s", strerror(-fd));
	*ret = fd;
	return 0;
}

/* 1 the directory, 0 there is none (yet). */
static int open_place(struct mk_call *call, struct mk_local *local,
		      const struct mk_local_place *place, int *ret)
{
	_cleanup_free_ char *path = path_of(local, place->uri);
	int r = -ENOENT;

	if (path && is_named_so(path, place->id))
		r = open_path(call, path, ret);
	if (r == -ENOENT || r == -ENOTDIR || r == -EACCES) {
		_cleanup_call_ struct mk_call quiet;

		mk_call_init(&quiet);
		if (open_inside(&quiet, place, ret) == 0) {
			mk_error_clear(call);
			return 1;
		}
	}
	if (r == 0)
		return 1;
	if (r != -ENOENT && r != -ENOTDIR)
		return mk_prefix(call, r, "%s: the files of %s", local->connection, place->label);
	mk_error_clear(call);
	if (path && !is_named_so(path, place->id))
		return mk_fail(call, EOPNOTSUPP,
			       "%s: the files of %s are said to be in %.300s, which is not named as MLflow "
			       "names a directory of artifacts (%s/artifacts)",
			       local->connection, place->label, place->uri, place->id);
	if (path || !*place->uri)
		return 0;
	return mk_fail(call, EOPNOTSUPP,
		       "%s: the files of %s are not on this machine but in %.300s%s", local->connection,
		       place->label, place->uri,
		       after(place->uri, "mlflow-artifacts:")
			       ? ": a server keeps them; connect to it"
			       : "");
}

static int check_path(struct mk_call *call, const struct mk_local *local, const char *path)
{
	for (const char *s = path; *s;) {
		size_t len = strcspn(s, "/");

		if (len == 0 || (len == 1 && *s == '.') || (len == 2 && strncmp(s, "..", 2) == 0) ||
		    (s[len] == '/' && !s[len + 1]))
			return mk_fail(call, EINVAL,
				       "%s: \"%.200s\": a path with an empty part, . or ..",
				       local->connection, path);
		s += len + (s[len] == '/');
	}
	return 0;
}

static char *join(const char *prefix, const char *path)
{
	return mk_strf("%s%s%s", prefix, *prefix && *path ? "/" : "", path);
}

/* --- listing --------------------------------------------------------------------------------- */

struct listing {
	struct mk_call *call;
	struct mk_local *local;
	const struct mk_local_place *place;
	const char *path;
	int root, dir;
	mk_t_file_emit *emit;
	void *arg;
};

static void leave_out(const struct listing *l, const char *path, const char *why)
{
	_cleanup_free_ char *what = mk_strf("%s: file %s", l->place->label, path);

	mk_local_refuse(l->local, what, "%s", why);
}

/* What an entry is; a link to a file is that file. 0: not to be shown. */
static int look(const struct listing *l, const char *name, const char *path, struct stat *ret)
{
	_cleanup_free_ char *whole = join(l->place->prefix, path);
	_cleanup_close_ int fd = mk_local_open(l->dir, name, O_PATH | O_NOFOLLOW);

	if (fd == -ENOENT)
		return 0;
	if (fd < 0 || fstat(fd, ret) < 0) {
		leave_out(l, path, fd == -EXDEV ? "another file system is mounted there"
						: strerror(fd < 0 ? -fd : errno));
		return 0;
	}
	if (!S_ISLNK(ret->st_mode))
		return S_ISREG(ret->st_mode) || S_ISDIR(ret->st_mode);

	_cleanup_close_ int target = mk_local_open(l->root, whole, O_PATH);

	if (target < 0 || fstat(target, ret) < 0) {
		leave_out(l, path,
			  target == -EXDEV ? "a link out of the run's files" : "a link to nothing");
		return 0;
	}
	if (!S_ISREG(ret->st_mode))
		leave_out(l, path, "a link to what is no file");
	return S_ISREG(ret->st_mode);
}

static int show(const struct listing *l, const char *name)
{
	_cleanup_free_ char *path = join(l->path, name);
	struct stat st;

	if (mk_utf8_bad(name, strlen(name)) < strlen(name)) {
		leave_out(l, l->path, "a name in it is no UTF-8");
		return 0;
	}
	if (!look(l, name, path, &st))
		return 0;

	struct mk_t_file file = {
		.path = path,
		.is_dir = S_ISDIR(st.st_mode),
		.size = S_ISDIR(st.st_mode) ? -1 : st.st_size,
	};

	return l->emit(l->arg, &file);
}

int mk_local_files(struct mk_call *call, struct mk_local *local, const struct mk_local_place *place,
		   const char *path, mk_t_file_emit *emit, void *arg)
{
	_cleanup_close_ int root = -1, dir = -1;
	_cleanup_free_ char *whole = join(place->prefix, path);
	struct listing l = {call, local, place, path, -1, -1, emit, arg};
	int r = check_path(call, local, whole), n = 0;

	if (r == 0)
		r = open_place(call, local, place, &root);
	if (r <= 0)
		return r;
	dir = mk_local_open(root, *whole ? whole : ".", O_RDONLY | O_DIRECTORY);
	if (dir == -ENOENT || dir == -ENOTDIR)
		return 0;
	if (dir < 0)
		return mk_fail(call, -dir == EXDEV ? EACCES : -dir, "%s: %s: %s: %s", local->connection,
			       place->label, path,
			       dir == -EXDEV ? "leads out of the run's files" : strerror(-dir));
	l.root = root;
	l.dir = dir;

	/* A descriptor of its own: readdir moves it. */
	int own = dup(dir);
	DIR *d = own < 0 ? NULL : fdopendir(own);

	if (!d) {
		r = mk_fail(call, errno, "%s: %s: %s", local->connection, path, strerror(errno));
		mk_closep(&own);
		return r;
	}
	r = 0;
	for (struct dirent *e; r >= 0 && (e = readdir(d));) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		r = ++n % CHECK_EACH == 0 ? mk_call_check(call, path) : 0;
		if (r == 0)
			r = show(&l, e->d_name);
	}
	closedir(d);
	return r < 0 ? r : 0;
}

/* --- reading --------------------------------------------------------------------------------- */

static char *version_of(const struct stat *st)
{
	return mk_strf("%llx-%llx-%llx.%lx", (unsigned long long)st->st_ino,
		       (unsigned long long)st->st_size, (unsigned long long)st->st_mtim.tv_sec,
		       (unsigned long)st->st_mtim.tv_nsec);
}

static int fail_changed(struct mk_call *call, const struct mk_local *local, const char *path)
{
	return mk_fail(call, ESTALE, "%s: %s has changed while it was read", local->connection, path);
}

static int give(struct mk_call *call, const struct mk_local *local, int fd, const char *path,
		int64_t offset, int64_t end, int (*sink)(void *arg, const void *data, size_t len),
		void *arg)
{
	_cleanup_free_ char *part = malloc(PART);

	if (!part)
		return mk_fail(call, ENOMEM, "out of memory for a file");
	while (offset < end) {
		size_t len = end - offset < PART ? (size_t)(end - offset) : PART;
		int r = mk_call_check(call, path);

		if (r < 0)
			return r;

		ssize_t n = pread(fd, part, len, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return mk_fail(call, EREMOTEIO, "%s: %s: %s", local->connection, path,
				       strerror(errno));
		if (n == 0)
			return fail_changed(call, local, path);
		r = sink(arg, part, (size_t)n);
		if (r < 0)
			return r;
		offset += n;
	}
	return 0;
}

int mk_local_read(struct mk_call *call, struct mk_local *local, const struct mk_local_place *place,
		  const char *path, int64_t offset, int64_t len, char **etag,
		  int (*sink)(void *arg, const void *data, size_t len), void *arg,
		  int64_t *ret_total)
{
	_cleanup_close_ int root = -1, fd = -1;
	_cleanup_free_ char *whole = join(place->prefix, path), *version = NULL;
	struct stat st;
	int r = check_path(call, local, whole);

	if (r < 0)
		return r;
	if (!*path)
		return mk_fail(call, EISDIR, "%s: the root of its files is a directory",
			       local->connection);
	if (offset < 0 || len == 0)
		return mk_fail(call, EINVAL, "%s: %s: nothing to read", local->connection, path);
	r = open_place(call, local, place, &root);
	if (r < 0)
		return r;
	fd = r > 0 ? mk_local_open(root, whole, O_RDONLY) : -ENOENT;
	if (fd == -ENOENT || fd == -ENOTDIR)
		return mk_fail(call, ENOENT, "%s: %s: there is no such file", local->connection, path);
	if (fd < 0)
		return mk_fail(call, -fd == EXDEV ? EACCES : -fd, "%s: %s: %s", local->connection, path,
			       fd == -EXDEV ? "leads out of the run's files" : strerror(-fd));
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return mk_fail(call, EISDIR, "%s: %s is %s", local->connection, path,
			       S_ISDIR(st.st_mode) ? "a directory" : "no file");
	version = version_of(&st);
	if (etag && *etag && strcmp(*etag, version) != 0)
		return fail_changed(call, local, path);
	if (etag && !*etag)
		*etag = mk_strdup(version);

	int64_t end = len < 0 || len > st.st_size - offset ? st.st_size : offset + len;

	r = give(call, local, fd, path, offset, end, sink, arg);
	if (r < 0)
		return r;

	struct stat now;

	if (fstat(fd, &now) == 0) {
		_cleanup_free_ char *after_it = version_of(&now);

		if (strcmp(version, after_it) != 0)
			return fail_changed(call, local, path);
	}
	*ret_total = st.st_size;
	return 0;
}

/* --- versions of models ---------------------------------------------------------------------- */

void mk_local_source_free(struct mk_local_source *source)
{
	free(source->id);
	free(source->prefix);
	*source = (struct mk_local_source){};
}

/* `<id>/path` */
static bool take_id(const char *text, bool is_model, struct mk_local_source *ret)
{
	size_t len = strcspn(text, "/");
	_cleanup_free_ char *id = mk_strndup(text, len);
	const char *rest = text + len;

	if (!mk_local_is_id(id))
		return false;
	rest += strspn(rest, "/");
	for (len = strlen(rest); len && rest[len - 1] == '/';)
		len--;
	ret->is_model = is_model;
	ret->id = mk_steal(&id);
	ret->prefix = mk_strndup(rest, len);
	return true;
}

/* `…/<id>/artifacts/path`: the last such place in it. */
static bool take_path(const char *source, struct mk_local_source *ret)
{
	static const char dir[] = "/artifacts";
	const char *at = NULL, *id, *model;

	for (const char *s = source; (s = strstr(s, dir)); s++)
		if (s[sizeof(dir) - 1] == '/' || !s[sizeof(dir) - 1])
			at = s;
	if (!at)
		return false;
	for (id = at; id > source && id[-1] != '/';)
		id--;

	_cleanup_free_ char *whole =
		mk_strf("%.*s%s", (int)(at - id), id, at + sizeof(dir) - 1);

	model = id - 8;
	return take_id(whole, id - source >= 8 && strncmp(model, "/models/", 8) == 0, ret);
}

int mk_local_source(struct mk_call *call, const struct mk_local *local, const char *source,
		    const char *run_id, struct mk_local_source *ret)
{
	const char *rest = after(source, "models:/m-");

	if (rest && take_id(rest - 2, true, ret))
		return 0;
	rest = after(source, "runs:/");
	if (rest && take_id(rest, false, ret))
		return 0;
	if (take_path(source, ret))
		return 0;
	return mk_fail(call, EOPNOTSUPP,
		       "%s: where the files of this version are (%.300s) is neither a run's nor a logged "
		       "model's%s%s",
		       local->connection, source, *run_id ? "; see run " : "", run_id);
}
