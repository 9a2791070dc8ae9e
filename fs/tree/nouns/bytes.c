/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes that lie elsewhere: logs/, code.diff and artifacts/ of a run, and the files of models
 * (which: enum fs_files_kind). Names are as they were given where they lie, and file names already.
 */
#include "../noun.h"

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

struct emitting {
	struct fs_at *at;
	fs_emit *emit;
	void *arg;
	bool live;
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
	return e->emit(e->arg, &child);
}

int fs_files_list(struct fs_at *at, uint64_t after, fs_emit *emit, void *arg)
{
	WHERE(where);
	struct emitting e = {at, emit, arg, may_change(at)};
	int r = find_where(at, NULL, &where);

	(void)after;
	if (r < 0)
		return r;
	return at->row->which == FS_FILES_ARTIFACTS ?
		       mk_run_artifact_list(at->call, at->m, at->object, mk_buf_text(&where.path),
					    emit_file, &e) :
		       mk_files_list(at->call, at->m, &where.files, mk_buf_text(&where.path),
				     emit_file, &e);
}

static int get_stat(struct fs_at *at, const char *name, struct mk_dirent *ret)
{
	WHERE(where);
	int r = find_where(at, name, &where);

	if (r == 0)
		r = at->row->which == FS_FILES_ARTIFACTS ?
			    mk_run_artifact_stat(at->call, at->m, at->object,
						 mk_buf_text(&where.path), ret) :
			    mk_files_stat(at->call, at->m, &where.files, mk_buf_text(&where.path),
					  ret);
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
