/* SPDX-License-Identifier: Apache-2.0 */
/* logs/, code.diff and artifacts/ of a run: bytes that lie elsewhere. */
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

/* --- artifacts: names are as the job wrote them, and file names already ------------------- */

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

static int emit_artifact(void *arg, const struct mk_dirent *entry)
{
	struct emitting *e = arg;
	struct fs_child child = {.name = entry->name};

	if (strlen(entry->name) > MK_NAME_MAX)
		return 0;
	fill(e->at, entry, e->live, &child);
	return e->emit(e->arg, &child);
}

int fs_artifacts_list(struct fs_at *at, uint64_t after, fs_emit *emit, void *arg)
{
	_cleanup_buf_ struct mk_buf path = MK_BUF(64 << 10);
	struct emitting e = {at, emit, arg, is_live(at)};
	int r = fs_at_below(at, NULL, &path);

	return r < 0 ? r :
		       mk_run_artifact_list(at->call, at->m, at->object, mk_buf_text(&path),
					    emit_artifact, &e);
}

int fs_artifacts_find(struct fs_at *at, const char *name, struct fs_child *child)
{
	_cleanup_buf_ struct mk_buf path = MK_BUF(64 << 10);
	struct mk_dirent entry;
	int r = fs_at_below(at, name, &path);

	if (r < 0)
		return r;
	r = mk_run_artifact_stat(at->call, at->m, at->object, mk_buf_text(&path), &entry);
	if (r < 0)
		return r;
	fill(at, &entry, is_live(at), child);
	return 0;
}

int fs_artifact_stat(struct fs_at *at, struct fs_stat *st)
{
	_cleanup_buf_ struct mk_buf path = MK_BUF(64 << 10);
	struct mk_dirent entry;
	int r = fs_at_below(at, NULL, &path);

	if (r < 0)
		return r;
	r = mk_run_artifact_stat(at->call, at->m, at->object, mk_buf_text(&path), &entry);
	if (r < 0)
		return r;
	st->size = entry.is_dir ? 0 : entry.size;
	st->mtime = entry.mtime;
	st->live = is_live(at);
	if (!entry.is_dir && !entry.is_link && entry.executable)
		st->mode = S_IFREG | 0555;
	return 0;
}

int fs_artifact_bytes(struct fs_at *at, struct mk_blob **ret)
{
	_cleanup_buf_ struct mk_buf path = MK_BUF(64 << 10);
	int r = fs_at_below(at, NULL, &path);

	return r < 0 ? r :
		       mk_run_artifact_open(at->call, at->m, at->object, mk_buf_text(&path), ret);
}

/* Its text as it is: who asks the kernel to follow it goes where the kernel leads; we never do. */
int fs_artifact_link(struct fs_at *at, struct mk_buf *target)
{
	_cleanup_(mk_blob_closep) struct mk_blob *blob = NULL;
	char text[4096];
	int r = fs_artifact_bytes(at, &blob);

	if (r < 0)
		return r;

	ssize_t n = mk_blob_read(at->call, blob, text, sizeof(text), 0);

	return n < 0 ? (int)n : mk_buf_put(target, text, (size_t)n);
}
