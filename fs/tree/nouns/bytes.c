/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes that lie elsewhere: logs/, code.diff and artifacts/ of a run, and the files of models
 * (which: enum fs_files_kind). Names are as they were given where they lie, and file names already.
 */
#include "../noun.h"

#include <stdio.h>

static bool is_live(struct fs_at *at)
{
	_cleanup_run_ struct fs_run *run = NULL;

	if (fs_run_get(at, at->object, &run) < 0) {
		mk_error_clear(at->call);
		return false;
	}
	return !mk_status_final(run->run.status);
}

int fs_joblog_stat(struct fs_at *at, struct fs_stat *st)
{
	struct mk_blob_stat blob;
	int r = mk_run_log_stat(at->call, at->m, at->object, at->row->which, &blob);

	if (r < 0)
		return r;
	if (blob.growing) /* tail -f asks once a second */
		mantik_keep(at->m);
	st->size = blob.size;
	st->mtime = blob.mtime;
	st->live = blob.growing;
	return 0;
}

int fs_joblog_bytes(struct fs_at *at, struct mk_blob **ret)
{
	return mk_run_log_open(at->call, at->m, at->object, at->row->which, ret);
}

/* --- files --------------------------------------------------------------------------------- */

/* Where this place (or the name in it) is among the files: path below it, and of models whose.
 * *ret_name keeps the name of a run's model. */
struct where {
	struct mk_files files;
	struct mk_buf path, name;
};

static void where_done(struct where *where)
{
	mk_buf_free(&where->path);
	mk_buf_free(&where->name);
}
#define WHERE(w)                                \
	_cleanup_(where_done) struct where w = {\
		.path = MK_BUF(64 << 10), .name = MK_BUF(64 << 10)}

/* models/<entry>/<path> */
static int split_model(struct where *where)
{
	size_t len = strcspn(mk_buf_text(&where->path), "/");
	int r = mk_name_unescape(&where->name, mk_buf_text(&where->path), len);

	if (r < 0)
		return -ENOENT;

	_cleanup_free_ char *rest =
		mk_strdup(mk_buf_text(&where->path) + len + (len < where->path.len));

	mk_buf_truncate(&where->path, 0);
	where->files.name = mk_buf_text(&where->name);
	return mk_buf_puts(&where->path, rest);
}

/* `model.yaml` of a version is the tree's; a file of that name beside it has the mark of a key
 * beside its directory. */
static const char our_file[] = "model.yaml", marked_file[] = "model.yaml%";

static int find_where(struct fs_at *at, const char *name, struct where *where)
{
	int r = fs_at_below(at, name, &where->path);

	where->files.id = at->object;
	if (r < 0)
		return r;
	switch ((enum fs_files_kind)at->row->which) {
	case FS_FILES_ARTIFACTS:
		break;
	case FS_FILES_RUN_MODEL:
		where->files.of = MK_FILES_RUN_MODEL;
		return split_model(where);
	case FS_FILES_VERSION:
		where->files.of = MK_FILES_VERSION;
		if (strcmp(mk_buf_text(&where->path), marked_file) == 0)
			mk_buf_truncate(&where->path, sizeof(our_file) - 1);
		break;
	}
	return 0;
}

static bool may_change(struct fs_at *at)
{
	return at->row->which != FS_FILES_VERSION && is_live(at);
}

static void fill(struct fs_at *dir, const struct mk_dirent *entry, bool live,
		 struct fs_child *child)
{
	child->row = fs_placeholder(dir->row, entry->is_link ? 2 : entry->is_dir ? 0 : 1);
	child->stat = (struct fs_stat){
		.size = entry->is_dir ? 0 : entry->size,
		.mtime = entry->mtime,
		.live = live,
		.mode = !entry->is_dir && !entry->is_link && entry->executable ? S_IFREG | 0555 : 0,
	};
	child->known = child->stat.size >= 0;
}

/* Copied into, where the store takes it. */
static mode_t mode_of(struct fs_at *at)
{
	return fs_staged_lenient(at) ? S_IFDIR | 0755 : 0;
}

struct emitting {
	struct fs_at *at;
	fs_emit *emit;
	void *arg;
	bool live;
	mode_t dirs; /* mode of directories; 0: the row's */
};

static int emit_file(void *arg, const struct mk_dirent *entry)
{
	struct emitting *e = arg;
	struct fs_child child = {.name = entry->name};

	if (strlen(entry->name) > MK_NAME_MAX)
		return 0;
	if (e->at->row->kind == FS_VERSION && strcmp(entry->name, our_file) == 0)
		child.name = marked_file;
	fill(e->at, entry, e->live, &child);
	if (entry->is_dir)
		child.stat.mode = e->dirs;
	return e->emit(e->arg, &child);
}

/* A directory of artifacts that mkdir made, and nothing is in it at the store: this mount's. */
static bool is_made(struct fs_at *at, const char *path)
{
	return at->row->which == FS_FILES_ARTIFACTS && *path && fs_keydir_is(at, path);
}

static int list_files(struct fs_at *at, const struct where *where, mk_dirent_emit *emit, void *arg)
{
	const char *path = mk_buf_text(&where->path);
	int r = at->row->which == FS_FILES_ARTIFACTS ?
			mk_run_artifact_list(at->call, at->m, at->object, path, emit, arg) :
			mk_files_list(at->call, at->m, &where->files, path, emit, arg);

	if (r == -ENOENT && is_made(at, path)) {
		mk_error_clear(at->call);
		r = 0;
	}
	return r;
}

static void fill_made(struct fs_at *at, struct fs_child *child)
{
	child->row = fs_placeholder(at->row, 0);
	child->stat = (struct fs_stat){
		.size = 0,
		.mtime = at->tree->started,
		.mode = S_IFDIR | 0755,
	};
	child->known = true;
}

/* Those that mkdir made and that no file has made real. */
static int list_made(struct fs_at *at, const char *path, fs_emit *emit, void *arg)
{
	_cleanup_free_ char *below = NULL;
	_cleanup_list_ struct mk_list made = {};
	int r;

	if (at->row->which != FS_FILES_ARTIFACTS || asprintf(&below, "%s%s", path, *path ? "/" : "") < 0)
		return 0;
	r = fs_keydirs(at, below, &made);
	for (size_t i = 0; i < made.n && r == 0; i++) {
		_cleanup_free_ char *whole = NULL;
		struct fs_child child = {.name = made.v[i]};
		struct mk_dirent entry;

		if (asprintf(&whole, "%s%s", below, made.v[i]) < 0)
			return -ENOMEM;
		r = mk_run_artifact_stat(at->call, at->m, at->object, whole, &entry);
		if (r == -ENOENT) {
			mk_error_clear(at->call);
			fill_made(at, &child);
			r = emit(arg, &child);
		}
	}
	return r;
}

int fs_files_list(struct fs_at *at, uint64_t after, fs_emit *emit, void *arg)
{
	WHERE(where);
	struct emitting e = {at, emit, arg, may_change(at), mode_of(at)};
	int r = find_where(at, NULL, &where);

	(void)after;
	if (r == 0)
		r = list_files(at, &where, emit_file, &e);
	return r ? r : list_made(at, mk_buf_text(&where.path), emit, arg);
}

static int get_stat(struct fs_at *at, const char *name, struct mk_dirent *ret)
{
	WHERE(where);
	int r = find_where(at, name, &where);

	*ret = (struct mk_dirent){};
	if (r == 0)
		r = at->row->which == FS_FILES_ARTIFACTS ?
			    mk_run_artifact_stat(at->call, at->m, at->object,
						 mk_buf_text(&where.path), ret) :
			    mk_files_stat(at->call, at->m, &where.files, mk_buf_text(&where.path),
					  ret);
	if (r == -ENOENT && is_made(at, mk_buf_text(&where.path))) {
		mk_error_clear(at->call);
		*ret = (struct mk_dirent){.is_dir = true, .mtime = at->tree->started};
		r = 0;
	}
	ret->name = NULL; /* it was the end of the path */
	return r;
}

int fs_files_find(struct fs_at *at, const char *name, struct fs_child *child)
{
	struct mk_dirent entry;
	int r = get_stat(at, name, &entry);

	if (r < 0)
		return r;
	fill(at, &entry, may_change(at), child);
	if (entry.is_dir)
		child->stat.mode = mode_of(at);
	return 0;
}

int fs_file_stat(struct fs_at *at, struct fs_stat *st)
{
	struct mk_dirent entry;
	int r = get_stat(at, NULL, &entry);

	if (r < 0)
		return r;
	st->size = entry.is_dir ? 0 : entry.size;
	st->mtime = entry.mtime;
	st->live = may_change(at);
	if (!entry.is_dir && !entry.is_link && entry.executable)
		st->mode = S_IFREG | 0555;
	if (entry.is_dir)
		st->mode = mode_of(at);
	return 0;
}

int fs_artifacts_stat(struct fs_at *at, struct fs_stat *st)
{
	int r = fs_run_stat(at, st);

	if (r == 0)
		st->mode = mode_of(at);
	return r;
}

/* --- copying into artifacts/ ----------------------------------------------------------------- */

int fs_files_may_put(struct fs_at *at, const char *name)
{
	WHERE(where);
	int r = name ? find_where(at, name, &where) : 0;

	if (r == 0)
		r = mk_upload_check(at->call, at->m, at->object,
				    name ? mk_buf_text(&where.path) : NULL);
	if (r == 0 && name && is_made(at, mk_buf_text(&where.path)))
		r = mk_fail(at->call, EISDIR, "%s is a directory", name);
	return r;
}

int fs_files_put(struct fs_at *at, const char *name, struct mk_staged *staged)
{
	WHERE(where);
	int r = find_where(at, name, &where);

	return r < 0 ? r
		     : mk_upload_put(at->call, at->m, at->object, mk_buf_text(&where.path),
				     staged);
}

/* A store has no directories but those its files are in: it is this mount's until one is. */
int fs_files_make(struct fs_at *at, const char *name, struct fs_child *child)
{
	WHERE(where);
	int r = fs_files_may_put(at, name);

	if (r == 0)
		r = find_where(at, name, &where);
	if (r < 0)
		return r;
	fs_keydir_add(at, mk_buf_text(&where.path));
	fill_made(at, child);
	return 0;
}

static int count_file(void *arg, const struct mk_dirent *entry)
{
	(void)entry;
	*(bool *)arg = true;
	return 1;
}

int fs_files_remove(struct fs_at *at)
{
	_cleanup_list_ struct mk_list made = {};
	_cleanup_free_ char *below = NULL;
	WHERE(where);
	bool any = false;
	int r = find_where(at, NULL, &where);

	if (r < 0)
		return r;
	if (is_made(at, mk_buf_text(&where.path)))
		r = list_files(at, &where, count_file, &any);
	else
		any = true;
	if (r < 0)
		return r;
	if (asprintf(&below, "%s/", mk_buf_text(&where.path)) < 0)
		return -ENOMEM;
	r = fs_keydirs(at, below, &made);
	if (r < 0)
		return r;
	if (any || made.n)
		return mk_fail(at->call, ENOTEMPTY, "%s stays: there are artifacts in it", at->name);
	fs_keydir_remove(at, mk_buf_text(&where.path));
	return 0;
}

int fs_file_bytes(struct fs_at *at, struct mk_blob **ret)
{
	WHERE(where);
	int r = find_where(at, NULL, &where);

	if (r < 0)
		return r;
	return at->row->which == FS_FILES_ARTIFACTS ?
		       mk_run_artifact_open(at->call, at->m, at->object, mk_buf_text(&where.path),
					    ret) :
		       mk_files_open(at->call, at->m, &where.files, mk_buf_text(&where.path), ret);
}

/* Its text as it is: who asks the kernel to follow it goes where the kernel leads; we never do. */
int fs_file_link(struct fs_at *at, struct mk_buf *target)
{
	_cleanup_(mk_blob_closep) struct mk_blob *blob = NULL;
	char text[4096];
	int r = fs_file_bytes(at, &blob);

	if (r < 0)
		return r;

	ssize_t n = mk_blob_read(at->call, blob, text, sizeof(text), 0);

	return n < 0 ? (int)n : mk_buf_put(target, text, (size_t)n);
}
