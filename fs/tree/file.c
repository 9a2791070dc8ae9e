/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Open files: read, write, flush, release, and a new size, each by the kind of the handle (open.c).
 */
#include "row.h"

/* --- read ---------------------------------------------------------------------------------- */

static ssize_t read_bytes(const char *data, size_t all, void *buf, size_t len, int64_t offset)
{
	if (offset < 0 || (uint64_t)offset >= all)
		return 0;
	if (len > all - (size_t)offset)
		len = all - (size_t)offset;
	memcpy(buf, data + offset, len);
	return (ssize_t)len;
}

/* A live text is rendered anew when it is read from the beginning again, or past its end. */
static int refresh_text(struct fs_at *at, struct fs_handle *handle, size_t len, int64_t offset)
{
	pthread_mutex_lock(&handle->lock);

	bool fresh = handle->text && (handle->cached || !handle->read_once ||
				      (offset != 0 && (!at->row->append ||
						       offset + (int64_t)len <=
							       (int64_t)handle->text->len)));
	size_t had = handle->text ? handle->text->len : 0;

	handle->read_once = true;
	pthread_mutex_unlock(&handle->lock);
	if (fresh)
		return 0;

	struct fs_stat st = {.size = -1, .live = at->row->class == FS_LIVE};
	struct fs_text *text;
	int r = at->row->stat ? at->row->stat(at, &st) : 0;

	if (r == -ENOENT && at->row->append) { /* created, nothing logged yet */
		mk_error_clear(at->call);
		return 0;
	}
	if (r < 0)
		return r;
	if (offset != 0 && st.size == (int64_t)had)
		return 0;
	r = fs_text_get(at, &st, &text);
	if (r < 0)
		return r;
	pthread_mutex_lock(&handle->lock);
	fs_text_unref(handle->text);
	handle->text = text;
	pthread_mutex_unlock(&handle->lock);
	return 0;
}

static ssize_t read_text(struct fs_at *at, struct fs_handle *handle, void *buf, size_t len,
			 int64_t offset)
{
	int r = refresh_text(at, handle, len, offset);

	if (r < 0)
		return r;
	pthread_mutex_lock(&handle->lock);

	struct fs_text *text = fs_text_ref(handle->text);

	pthread_mutex_unlock(&handle->lock);

	ssize_t n = text ? read_bytes(text->data, text->len, buf, len, offset) : 0;

	fs_text_unref(text);
	return n;
}

static ssize_t read_wait(struct fs_at *at, struct fs_handle *handle, void *buf, size_t len,
			 int64_t offset)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF(4096);
	int r = at->row->wait(at, &text);

	return r < 0 ? r : read_bytes(mk_buf_text(&text), text.len, buf, len, offset);
}

ssize_t fs_read(struct mk_call *call, struct fs_tree *tree, struct fs_handle *handle, void *buf,
		size_t len, int64_t offset)
{
	struct fs_at at;

	fs_at_node(call, handle->node, tree, &at);
	switch (handle->kind) {
	case FS_H_SCRATCH:
		return at.scratch->file ?
			       mk_staged_read(call, at.scratch->file, buf, len, offset) :
			       fs_scratch_read(tree, at.scratch, buf, len, offset);
	case FS_H_COMMIT:
		return fs_commit_read(&at, handle, buf, len, offset);
	case FS_H_WAIT:
		return read_wait(&at, handle, buf, len, offset);
	case FS_H_BLOB:
		return mk_blob_read(call, handle->blob, buf, len, offset);
	case FS_H_TEXT:
	case FS_H_APPEND:
		return read_text(&at, handle, buf, len, offset);
	default:
		return mk_fail(call, EISDIR, "%s is a directory", at.name);
	}
}

int fs_read_where(struct fs_tree *tree, struct fs_handle *handle, size_t len, int64_t offset,
		  const char **ret_mem, size_t *ret_len, int *ret_fd)
{
	if (handle->kind == FS_H_BLOB) {
		*ret_fd = mk_blob_fd(handle->blob);
		return *ret_fd >= 0 ? 2 : 0;
	}
	/* Only what this handle never replaces. */
	if (handle->kind != FS_H_TEXT || !handle->cached)
		return 0;

	const struct fs_text *text = handle->text;

	if (offset < 0 || (uint64_t)offset >= text->len) {
		*ret_mem = "";
		*ret_len = 0;
		return 1;
	}
	*ret_mem = text->data + offset;
	*ret_len = len < text->len - (size_t)offset ? len : text->len - (size_t)offset;
	return 1;
}

/* --- write, flush, release ----------------------------------------------------------------- */

ssize_t fs_write(struct mk_call *call, struct fs_tree *tree, struct fs_handle *handle,
		 const void *data, size_t len, int64_t offset)
{
	struct fs_at at;

	fs_at_node(call, handle->node, tree, &at);
	switch (handle->kind) {
	case FS_H_SCRATCH:
		return at.scratch->file ?
			       fs_staged_write(&at, handle, data, len, offset) :
			       fs_scratch_write(call, tree, at.scratch, data, len, offset);
	case FS_H_COMMIT:
		return fs_commit_write(&at, handle, data, len, offset);
	case FS_H_APPEND:
		return fs_append_write(&at, handle, data, len);
	default:
		return mk_fail(call, EBADF, "%s is not open for writing", at.name);
	}
}

int fs_flush(struct mk_call *call, struct fs_tree *tree, struct fs_handle *handle)
{
	struct fs_at at;

	if (handle->kind != FS_H_COMMIT && handle->kind != FS_H_APPEND &&
	    handle->kind != FS_H_SCRATCH)
		return 0;
	fs_at_node(call, handle->node, tree, &at);
	if (handle->kind == FS_H_SCRATCH)
		return at.scratch->file ? fs_staged_flush(&at, handle) : 0;
	if (handle->kind == FS_H_APPEND)
		return fs_append_flush(&at, handle);
	return fs_commit_flush(&at, handle, false);
}

int fs_fsync(struct mk_call *call, struct fs_tree *tree, struct fs_handle *handle)
{
	struct fs_at at;

	if (handle->kind != FS_H_COMMIT)
		return 0;
	fs_at_node(call, handle->node, tree, &at);
	return fs_commit_flush(&at, handle, true);
}

bool fs_release_may_wait(struct fs_handle *handle)
{
	if (handle->kind == FS_H_APPEND)
		return handle->staged.len > 0;
	if (handle->kind == FS_H_SCRATCH) /* a staged file is put, which goes to the disk */
		return handle->opener;
	return handle->kind == FS_H_COMMIT && !handle->killed &&
	       (handle->written || handle->created || (handle->truncated && !(handle->node->row->flags & FS_ORDER)));
}

void fs_release(struct mk_call *call, struct fs_tree *tree, struct fs_handle *handle)
{
	struct fs_at at;

	fs_at_node(call, handle->node, tree, &at);
	if (handle->kind == FS_H_COMMIT)
		fs_commit_release(&at, handle);
	else if (handle->kind == FS_H_APPEND)
		fs_append_release(&at, handle);
	else if (handle->kind == FS_H_SCRATCH && at.scratch->file)
		fs_staged_release(&at, handle);
	fs_drop(tree, handle);
}

/* --- size, mode, times ---------------------------------------------------------------------- */

static int set_size(struct fs_at *at, struct fs_handle *handle, int64_t size)
{
	struct fs_stat st;
	int r = fs_may_write(at->call, at->tree);

	if (r < 0)
		return r;
	if (at->scratch && at->scratch->file)
		return fs_staged_resize(at, handle, size);
	if (at->scratch)
		return size < 0 ? -EINVAL :
				  fs_scratch_resize(at->call, at->tree, at->scratch, (size_t)size);
	if (handle && handle->kind == FS_H_COMMIT)
		return fs_commit_resize(at, handle, size);
	if (at->row->append)
		return mk_fail(at->call, EPERM, "%s is append only and cannot be cut", at->name);
	if (!at->row->commit)
		return mk_fail(at->call, EPERM, "%s is made by the tree and cannot be written: %s",
			       at->name, fs_at_hint(at));
	if (at->row->flags & FS_ORDER)
		return 0; /* nothing is kept there that could be cut */
	r = fs_at_stat(at, &st);
	if (r < 0 || st.size == size)
		return r;

	/* truncate(2): an edit like any other. */
	_cleanup_buf_ struct mk_buf text = MK_BUF(MK_LIMIT_TEXT), answer = MK_BUF(MK_LIMIT_TEXT);

	r = at->row->show(at, &text);
	if (r < 0)
		return r;
	if (size < 0 || size > MK_LIMIT_TEXT)
		return mk_fail(at->call, EFBIG, "%s: a text has at most 1 MiB", at->name);
	if ((size_t)size < text.len)
		mk_buf_truncate(&text, (size_t)size);
	while (text.len < (size_t)size && mk_buf_putc(&text, 0) == 0)
		;
	return fs_commit_text(at, mk_buf_text(&text), text.len, st.generation, &answer);
}

int fs_setattr(struct mk_call *call, struct fs_tree *tree, struct fs_node *node,
	       struct fs_handle *handle, int set, const struct stat *st, struct fs_attr *ret)
{
	struct fs_at at;
	int r = 0;

	fs_at_node(call, node, tree, &at);
	if (set & FS_SET_SIZE)
		r = set_size(&at, handle, st->st_size);
	if (r < 0)
		return r;
	if (at.scratch) {
		fs_lock(tree);
		if (set & FS_SET_MODE)
			at.scratch->mode = (at.scratch->mode & S_IFMT) | (st->st_mode & 07777);
		if (set & FS_SET_MTIME)
			at.scratch->mtime = st->st_mtim.tv_sec * MK_SEC + st->st_mtim.tv_nsec;
		if (set & FS_SET_MTIME && at.scratch->file)
			mk_staged_touch(at.scratch->file, at.scratch->mtime);
		fs_unlock(tree);
	} else if (set & (FS_SET_MODE | FS_SET_OWNER | FS_SET_MTIME)) {
		/* Editors, cp -p and rsync set them on what they wrote; mode and times are the
		 * tree's, so nothing comes of it. Elsewhere it is refused. */
		if (!at.row->commit && !at.row->append && !fs_staged_lenient(&at))
			return mk_fail(call, EPERM, "%s: mode, owner and times are the tree's",
				       at.name);
	}
	return fs_getattr(call, tree, node, handle, ret);
}
