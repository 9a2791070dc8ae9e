/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Folders of keys: a file is a value, `a/b` a file in a folder. Sorted, so that what did not change is
 * given in the same order. No link is followed; a value that is empty and new may be one that is
 * just being written, and is looked at once more.
 */
#include "filestore.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>

#include "base/file.h"
#include "base/utf8.h"

enum { MOST_KEYS = 100000, MOST_DEPTH = 32, MOST_VALUE = 1 << 20, MOST_NAME = 1000, TRIES = 5 };

struct walk {
	struct mk_call *call;
	struct mk_tracking *t;
	const char *where;
	struct mk_list paths;
};

static void refuse(const struct walk *w, const char *path, const char *why)
{
	_cleanup_free_ char *what = mk_strf("%s/%s", w->where, path);

	mk_local_refuse(&w->t->local, what, "%s", why);
}

static int collect(struct walk *w, int parent, const char *name, const char *path, int depth);

static int take(struct walk *w, int dir, const char *name, const char *path, int depth)
{
	_cleanup_close_ int fd = mk_local_open(dir, name, O_PATH | O_NOFOLLOW);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0) {
		if (fd != -ENOENT)
			refuse(w, path, fd == -EXDEV ? "another file system is mounted there" : strerror(-fd));
		return 0;
	}
	if (S_ISDIR(st.st_mode))
		return collect(w, dir, name, path, depth + 1);
	if (!S_ISREG(st.st_mode)) {
		refuse(w, path, S_ISLNK(st.st_mode) ? "a link" : "no file");
		return 0;
	}
	if (strlen(path) > MOST_NAME || mk_utf8_bad(path, strlen(path)) < strlen(path)) {
		refuse(w, "…", strlen(path) > MOST_NAME ? "a key that is too long" : "a key that is no UTF-8");
		return 0;
	}
	if (w->paths.n == MOST_KEYS) {
		refuse(w, "…", "more than 100000 keys");
		return -E2BIG;
	}
	return mk_list_add(&w->paths, path);
}

/* path "" the folder itself. */
static int collect(struct walk *w, int parent, const char *name, const char *path, int depth)
{
	int fd = mk_local_open(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	int r = mk_call_check(w->call, w->where);

	if (!dir) {
		if (fd != -ENOENT)
			refuse(w, path, fd == -EXDEV || fd == -ELOOP || fd == -ENOTDIR ? "a link, or no folder"
										       : strerror(fd < 0 ? -fd : errno));
		mk_closep(&fd);
		return r;
	}
	if (depth > MOST_DEPTH) {
		refuse(w, path, "folders in folders, too deep");
		closedir(dir);
		return r;
	}
	for (struct dirent *e; r >= 0 && (e = readdir(dir));) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;

		_cleanup_free_ char *child = mk_strf("%s%s%s", path, *path ? "/" : "", e->d_name);

		r = take(w, fd, e->d_name, child, depth);
	}
	closedir(dir);
	return r;
}

int mk_fs_walk(struct mk_call *call, struct mk_tracking *t, int dir, const char *name,
	       const char *where, mk_fs_file *emit, void *arg)
{
	_cleanup_free_ char *whole = mk_strf("%s/%s", where, name);
	struct walk w = {.call = call, .t = t, .where = whole};
	int r = collect(&w, dir, name, "", 0);

	/* What was found before there were too many is shown. */
	if (r == -E2BIG)
		r = 0;
	mk_list_sort(&w.paths);
	for (size_t i = 0; r >= 0 && i < w.paths.n; i++) {
		_cleanup_free_ char *path = mk_strf("%s/%s", name, w.paths.v[i]);

		r = emit(arg, dir, path);
	}
	mk_list_free(&w.paths);
	return r < 0 ? r : 0;
}

int mk_fs_dirs(struct mk_call *call, struct mk_tracking *t, int dir, const char *name,
	       struct mk_list *ret)
{
	int fd = mk_local_open(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	int r = 0;

	if (!d) {
		int why = fd < 0 ? -fd : errno;

		mk_closep(&fd);
		if (why == ENOENT || why == ENOTDIR)
			return 0;
		return mk_fail(call, why == ENOMEM || why == EMFILE || why == ENFILE ? why : EREMOTEIO,
			       "%s: %s: %s", t->local.connection, name,
			       why == ELOOP || why == EXDEV ? "is a link" : strerror(why));
	}
	for (struct dirent *e; r >= 0 && (e = readdir(d));) {
		bool is_dir = e->d_type == DT_DIR;

		if (e->d_name[0] == '.')
			continue;
		if (e->d_type == DT_UNKNOWN) {
			_cleanup_close_ int it = mk_local_open(fd, e->d_name, O_PATH | O_NOFOLLOW);
			struct stat st;

			is_dir = it >= 0 && fstat(it, &st) == 0 && S_ISDIR(st.st_mode);
		}
		if (e->d_type == DT_LNK && mk_local_is_id(e->d_name)) {
			_cleanup_free_ char *what = mk_strf("%s/%s", name, e->d_name);

			mk_local_refuse(&t->local, what, "a link");
		}
		if (is_dir)
			r = mk_list_add(ret, e->d_name);
	}
	closedir(d);
	mk_list_sort(ret);
	return r < 0 ? mk_fail(call, -r, "%s: %s: too many entries", t->local.connection, name) : 0;
}

/* --- values ---------------------------------------------------------------------------------- */

struct pairs {
	struct mk_call *call;
	struct mk_tracking *t;
	const char *where;
	size_t skip; /* "params/" */
	struct mk_arena *arena;
	struct mk_t_pair *v;
	size_t n, cap;
};

/* 1 read whole, 0 try again, or -EFBIG, another errno. */
static int read_once(int dir, const char *path, struct mk_buf *text, bool last)
{
	_cleanup_close_ int fd = mk_local_open(dir, path, O_RDONLY | O_NOFOLLOW);
	struct stat st, now;
	ssize_t n;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return -EINVAL;
	mk_buf_truncate(text, 0);
	do {
		char *room = mk_buf_room(text, 4096);

		if (!room)
			return mk_buf_check(text);
		n = read(fd, room, 4096);
		text->len += n > 0 ? (size_t)n : 0;
	} while (n > 0);
	if (n < 0)
		return -errno;
	if (last)
		return 1;
	if (fstat(fd, &now) < 0 || now.st_size != st.st_size || (size_t)now.st_size != text->len)
		return 0;
	return text->len || mk_now_real() - (st.st_mtim.tv_sec * MK_SEC + st.st_mtim.tv_nsec) > MK_SEC;
}

static int take_value(void *arg, int dir, const char *path)
{
	struct pairs *p = arg;
	_cleanup_buf_ struct mk_buf text = MK_BUF(MOST_VALUE);
	const char *key = path + p->skip;
	int r = 0;

	for (int i = 0; r == 0 && i < TRIES; i++) {
		if (i)
			(void)poll(NULL, 0, mk_call_left_ms(p->call, 4));
		r = read_once(dir, path, &text, i == TRIES - 1);
	}
	if (r == -ENOENT) /* it was deleted meanwhile */
		return 0;
	if (r < 0) {
		_cleanup_free_ char *what = mk_strf("%s/%s", p->where, path);

		mk_local_refuse(&p->t->local, what, "%s",
				r == -EFBIG ? "a value of more than 1 MiB" : strerror(-r));
		return 0;
	}

	struct mk_t_pair *pair = mk_arena_grow(p->arena, &p->v, &p->n, &p->cap, sizeof(*p->v));

	if (!pair)
		return -ENOMEM;
	pair->key = mk_arena_text(p->arena, key, strlen(key));
	pair->value = mk_local_text(p->arena, text.data, text.len);
	return pair->key && pair->value ? 0 : -ENOMEM;
}

int mk_fs_pairs(struct mk_call *call, struct mk_tracking *t, int dir, const char *name,
		const char *where, struct mk_arena *arena, struct mk_t_pair **ret, size_t *ret_n)
{
	struct pairs p = {.call = call, .t = t, .where = where, .skip = strlen(name) + 1, .arena = arena};
	int r = mk_fs_walk(call, t, dir, name, where, take_value, &p);

	if (r == -ENOMEM)
		return mk_fail(call, ENOMEM, "out of memory for %s/%s", where, name);
	*ret = p.v;
	*ret_n = p.n;
	return r;
}
