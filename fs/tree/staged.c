/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that are copied into artifacts/ of a run of a tracking store. While one is written it is a
 * scratch file (scratch.c) whose bytes are on disk (mantik/upload.h): this mount sees it, nobody
 * else does. Then
 *
 *	close by its writer (the rules of commit.c: not a child's, not a copy's)   it is put: an
 *	    artifact from then on, durable, sent by mantikd
 *	a name of an editor or of rsync (`.f.XXXXXX`)    it waits to be renamed to what it is to be
 *	its writer was killed, or a write was refused    it is gone
 *
 * What was put is not changed any more; a descriptor that is still open reads it.
 */
#include "row.h"

#include <fcntl.h>

#include <mantik/outbox.h>

static bool is_temporary(const struct fs_scratch *s)
{
	return fs_scratch_name(s->name) || fs_scratch_random(s->name);
}

int fs_staged_make(struct fs_at *dir, const char *name, mode_t mode, int flags,
		   struct fs_child *child)
{
	bool temporary = fs_scratch_name(name) || (flags & O_EXCL && fs_scratch_random(name));
	struct mk_staged *file;
	int r = dir->row->may_put(dir, temporary ? NULL : name);

	if (r < 0)
		return r;
	r = mk_staged_new(dir->call, dir->m, &file);
	if (r < 0)
		return r;
	r = fs_scratch_make(dir, name, S_IFREG | (mode & 0777), child);
	if (r < 0) {
		mk_staged_free(file);
		return r;
	}
	fs_lock(dir->tree);
	child->scratch->file = file;
	fs_unlock(dir->tree);
	return 0;
}

/* Its bytes become the artifact of its name. 0 also when they are that already, or may not be yet. */
static int put(struct fs_at *at)
{
	struct fs_scratch *s = at->scratch;
	struct fs_tree *tree = at->tree;
	struct fs_node *parent = NULL;
	struct fs_at dir;
	char name[MK_NAME_MAX + 1];
	bool busy;

	if (mk_outbox_waits(at->call)) /* put in an earlier run: only the store's answer is missing */
		return mk_outbox_wait(at->call, at->m);
	fs_lock(tree);
	busy = s->busy;
	if (!busy && !s->put && s->parent && !is_temporary(s)) {
		parent = s->parent;
		parent->refs++;
		fs_name_copy(name, s->name);
		s->busy = true;
	}
	fs_unlock(tree);
	if (busy) { /* another descriptor's close */
		at->call->park.key = 0;
		at->call->park.until = mk_now_mono() + 20 * MK_MS;
		return MK_PARK;
	}
	if (!parent)
		return 0;
	fs_at_node(at->call, parent, tree, &dir);

	int r = dir.row->put(&dir, name, s->file);

	fs_lock(tree);
	s->busy = false;
	if (r >= 0)
		s->put = true;
	fs_unlock(tree);
	if (r != MK_PUNT && r != MK_PARK) { /* refused or not, this name leads elsewhere now */
		fs_scratch_remove(tree, s);
		fs_node_detach(tree, parent, name);
	}
	fs_node_unref(tree, parent);
	return r < 0 ? r : mk_outbox_wait(at->call, at->m);
}

/* A refused write: what is there is half a file. This, and the close, say why. */
static int spoil(struct fs_at *at, struct fs_handle *handle, int r)
{
	pthread_mutex_lock(&handle->lock);
	handle->spoiled = r;
	free(handle->spoiled_text);
	handle->spoiled_text = mk_strdup(at->call->error.text);
	pthread_mutex_unlock(&handle->lock);
	return r;
}

/* What an earlier write or close was refused with, or 0. */
static int say_again(struct fs_at *at, struct fs_handle *handle)
{
	int r = 0;

	pthread_mutex_lock(&handle->lock);
	if (handle->spoiled)
		r = mk_fail(at->call, -handle->spoiled, "%s",
			    handle->spoiled_text ? handle->spoiled_text : "refused");
	pthread_mutex_unlock(&handle->lock);
	return r;
}

static int may_change(struct fs_at *at)
{
	bool put;

	fs_lock(at->tree);
	put = at->scratch->put || at->scratch->busy;
	fs_unlock(at->tree);
	return put ? mk_fail(at->call, EPERM,
			     "%s was closed and is on its way to its tracking server: it stays as it "
			     "is",
			     at->name)
		   : 0;
}

ssize_t fs_staged_write(struct fs_at *at, struct fs_handle *handle, const void *data, size_t len,
			int64_t offset)
{
	int r = say_again(at, handle);

	if (r == 0)
		r = may_change(at);
	if (r < 0)
		return r;
	if (handle->flags & O_APPEND) {
		struct mk_staged_stat st;

		mk_staged_stat(at->scratch->file, &st);
		offset = st.size;
	}

	ssize_t n = mk_staged_write(at->call, at->scratch->file, data, len, offset);

	return n < 0 ? spoil(at, handle, (int)n) : n;
}

int fs_staged_resize(struct fs_at *at, struct fs_handle *handle, int64_t size)
{
	int r = may_change(at);

	if (r == 0)
		r = mk_staged_resize(at->call, at->scratch->file, size);
	return r < 0 && handle ? spoil(at, handle, r) : r;
}

static bool is_writer(const struct fs_handle *handle)
{
	return (handle->flags & O_ACCMODE) != O_RDONLY;
}

int fs_staged_flush(struct fs_at *at, struct fs_handle *handle)
{
	pid_t group = fs_who_group(at->call);
	int r = say_again(at, handle);

	if (r < 0 || !is_writer(handle))
		return r;
	if (mk_outbox_waits(at->call)) {
		r = put(at);
		return r < 0 && r != MK_PARK ? spoil(at, handle, r) : r;
	}
	if (group && handle->opener && group != handle->opener)
		return 0; /* a child's close is not the end of the file */
	if (fs_who_killed(at->call)) {
		pthread_mutex_lock(&handle->lock);
		handle->killed = true;
		pthread_mutex_unlock(&handle->lock);
		return 0;
	}
	if (!fs_is_last_close(at, handle)) /* bash's dup2 closes a copy */
		return 0;
	r = put(at);
	return r < 0 && r != MK_PUNT && r != MK_PARK ? spoil(at, handle, r) : r;
}

void fs_staged_release(struct fs_at *at, struct fs_handle *handle)
{
	_cleanup_free_ char *path = NULL;
	int r = 0;

	if (!is_writer(handle))
		return;
	if (handle->killed || handle->spoiled) {
		fs_node_detach(at->tree, at->node->parent, at->name);
		fs_scratch_remove(at->tree, at->scratch);
		if (handle->spoiled)
			return;
		r = mk_fail(at->call, EINTR, "writer was killed, nothing kept of it");
	} else {
		r = put(at);
	}
	if (r < 0 && at->call->error.code) {
		path = fs_node_path(at->tree, at->node);
		fs_record_error(at->tree, path, &at->call->error);
	}
}

/* Has it open for writing? */
static bool is_open(struct fs_tree *tree, const struct fs_scratch *s)
{
	bool open = false;

	fs_lock(tree);
	for (const struct fs_handle *h = tree->writers; h && !open; h = h->next_writer)
		open = h->kind == FS_H_SCRATCH && h->node->aux == s && !h->closed;
	fs_unlock(tree);
	return open;
}

int fs_staged_rename(struct fs_at *from, struct fs_at *to_dir, const char *name)
{
	bool temporary = fs_scratch_name(name) || fs_scratch_random(name);
	int r = to_dir->row->may_put(to_dir, temporary ? NULL : name);

	if (r < 0)
		return r;

	/* Put first: as long as that fails the old name stays. */
	if (!temporary && !is_open(from->tree, from->scratch)) {
		r = to_dir->row->put(to_dir, name, from->scratch->file);
		if (r < 0)
			return r;
		fs_lock(from->tree);
		from->scratch->put = true;
		fs_unlock(from->tree);
		fs_scratch_remove(from->tree, from->scratch);
		fs_node_detach(from->tree, from->parent, from->name);
		return mk_outbox_wait(from->call, from->m);
	}
	r = fs_scratch_rename(from->call, from->tree, from->scratch, to_dir->node, name);
	if (r < 0)
		return r;
	fs_move_node(from, to_dir, name, NULL);
	return 0;
}

bool fs_staged_lenient(struct fs_at *at)
{
	if (!(at->row->flags & FS_STAGED))
		return false;

	int r = mk_upload_takes(at->call, at->m, at->object);

	if (r < 0)
		mk_error_clear(at->call);
	return r > 0;
}
