/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handles: opening, creating, letting go. What a handle reads is settled when it is opened:
 *
 *	text    the rendered text of the row. Read through the page cache if the row does not
 *	        change while read; then all who have it open see one text. Else direct_io and a
 *	        text of the handle's own, rendered anew when read from the beginning again, and
 *	        longer when what was appended is read
 *	commit  a text being written (commit.c)      append   lines to log (commit.c)
 *	blob    bytes of a log, artifact or commit   scratch  a file of an editor
 *	        or what is on its way to a store (staged.c)
 *	wait    parks until there is a text
 *
 * file.c reads and writes through them.
 */
#include "row.h"

#include <fcntl.h>

int fs_handle_new(struct fs_at *at, enum fs_handle_kind kind, int flags, struct fs_handle **ret)
{
	struct fs_handle *handle = mk_new(struct fs_handle);

	handle->node = at->node;
	handle->kind = kind;
	handle->flags = flags;

	bool staged = kind == FS_H_SCRATCH && at->scratch->file;
	bool writes = (flags & O_ACCMODE) != O_RDONLY;

	if (kind == FS_H_COMMIT || kind == FS_H_APPEND || (staged && writes))
		handle->opener = fs_who_group(at->call); /* /proc costs more than an open */
	handle->staged.limit = MK_LIMIT_TEXT;
	handle->staged.secret = at->row->flags & FS_SECRET;
	pthread_mutex_init(&handle->lock, NULL);
	fs_lock(at->tree);
	at->node->refs++;
	at->tree->n_handles++;
	if (staged)
		at->scratch->opens++;
	if (((kind == FS_H_COMMIT || staged) && writes) || kind == FS_H_APPEND) {
		handle->next_writer = at->tree->writers;
		at->tree->writers = handle;
	}
	fs_unlock(at->tree);
	*ret = handle;
	return 0;
}

static void handle_free(struct fs_tree *tree, struct fs_handle *handle)
{
	fs_dir_close(handle);
	fs_text_unref(handle->text);
	mk_blob_close(handle->blob);
	mk_buf_free(&handle->staged);
	free(handle->failed_text);
	free(handle->spoiled_text);
	free(handle->answer);
	pthread_mutex_destroy(&handle->lock);
	fs_lock(tree);
	tree->n_handles--;
	if (handle->kind == FS_H_SCRATCH) {
		struct fs_scratch *s = handle->node->aux;

		/* Put, or given up: what the kernel still knows of it needs no bytes. */
		if (s->file && --s->opens == 0 && !s->parent)
			mk_staged_empty(s->file);
	}
	for (struct fs_handle **p = &tree->writers; *p; p = &(*p)->next_writer)
		if (*p == handle) {
			*p = handle->next_writer;
			break;
		}
	fs_unlock(tree);
	fs_node_unref(tree, handle->node);
	free(handle);
}

/* --- the one text of a node that is open through the page cache --------------------------- */

static struct fs_file **file_bucket(struct fs_tree *tree, const struct fs_node *node)
{
	return &tree->files[(uintptr_t)node / 64 % FS_FILE_BUCKETS];
}

/* Joins those who have it open, or begins with this text. */
static void file_join(struct fs_tree *tree, struct fs_handle *handle)
{
	fs_lock(tree);

	struct fs_file *file = *file_bucket(tree, handle->node);

	while (file && file->node != handle->node)
		file = file->next;
	if (!file) {
		file = mk_new(struct fs_file);
		file->node = handle->node;
		file->text = fs_text_ref(handle->text);
		file->next = *file_bucket(tree, handle->node);
		*file_bucket(tree, handle->node) = file;
	} else if (file->text != handle->text) {
		fs_text_unref(handle->text);
		handle->text = fs_text_ref(file->text);
	}
	file->opens++;
	handle->file = file;
	fs_unlock(tree);
}

static void file_leave(struct fs_tree *tree, struct fs_handle *handle)
{
	struct fs_file *file = handle->file;

	if (!file)
		return;
	fs_lock(tree);
	if (--file->opens == 0) {
		struct fs_file **p = file_bucket(tree, handle->node);

		while (*p != file)
			p = &(*p)->next;
		*p = file->next;
		fs_text_unref(file->text);
		free(file);
	}
	fs_unlock(tree);
	handle->file = NULL;
}

void fs_drop(struct fs_tree *tree, struct fs_handle *handle)
{
	file_leave(tree, handle);
	handle_free(tree, handle);
}

/* --- open ---------------------------------------------------------------------------------- */

static int open_text(struct fs_at *at, struct fs_handle *handle, struct fs_open_reply *reply)
{
	struct fs_stat st = {.size = -1, .live = at->row->class == FS_LIVE};
	int r = at->row->stat ? at->row->stat(at, &st) : 0;

	if (r < 0)
		return r;
	r = fs_text_get(at, &st, &handle->text);
	if (r < 0)
		return r;
	st.size = (int64_t)handle->text->len;
	reply->noflush = true;
	if (at->row->commit && !(at->row->flags & FS_ORDER))
		fs_reader_note(at, st.generation);
	/*
	 * Through the page cache only if the kernel knows this very length: else it would cut the
	 * text at the length of an older one it still believes in.
	 */
	if (st.live || at->node->told != fs_digest(&st)) {
		reply->direct_io = true;
		return 0;
	}
	handle->cached = true;
	file_join(at->tree, handle);
	reply->keep_cache = at->node->served == fs_digest(&st);
	at->node->served = fs_digest(&st);
	return 0;
}

static int open_blob(struct fs_at *at, struct fs_handle *handle, struct fs_open_reply *reply)
{
	struct mk_blob_stat st;
	int r = at->row->bytes(at, &handle->blob);

	if (r < 0)
		return r;
	r = mk_blob_stat(at->call, handle->blob, &st);
	if (r < 0)
		return r;
	reply->noflush = true;
	reply->direct_io = st.growing;
	if (st.growing)
		return 0;

	/* The same length and time: the same version, whose pages the kernel may keep. */
	struct fs_stat version = {.size = st.size, .generation = (uint64_t)st.mtime};

	reply->keep_cache = at->row->class == FS_FIXED || at->node->served == fs_digest(&version);
	at->node->served = fs_digest(&version);
	return 0;
}

static int may_open(struct fs_at *at, int flags)
{
	bool writes = (flags & O_ACCMODE) != O_RDONLY || flags & O_TRUNC;

	if (S_ISDIR(at->row->mode))
		return mk_fail(at->call, EISDIR, "%s is a directory", at->name);
	if (S_ISLNK(at->row->mode))
		return mk_fail(at->call, ELOOP, "%s is a symbolic link", at->name);
	if (!writes)
		return 0;

	int r = fs_may_write(at->call, at->tree);

	if (r < 0)
		return r;
	if (at->scratch && at->scratch->put)
		return mk_fail(at->call, EEXIST, "%s is on its way to its tracking server: it stays "
			       "as it is", at->name);
	if (!at->scratch && fs_staged_lenient(at))
		return mk_fail(at->call, EEXIST,
			       "%s is an artifact already: artifacts stay as they were logged; copy "
			       "it under another name", at->name);
	if (!at->scratch && !at->row->commit && !at->row->append)
		return mk_fail(at->call, EPERM, "%s is made by the tree and cannot be written: %s",
			       at->name, fs_at_hint(at));
	if (at->row->append && flags & O_TRUNC)
		return mk_fail(at->call, EPERM,
			       "%s is append only: write with >> (append), not over what was logged",
			       at->name);
	return 0;
}

static int open_at(struct fs_at *at, int flags, struct fs_handle **ret, struct fs_open_reply *reply)
{
	bool writes = (flags & O_ACCMODE) != O_RDONLY;
	struct fs_handle *handle;
	enum fs_handle_kind kind = at->scratch			 ? FS_H_SCRATCH
				   : writes && at->row->append	 ? FS_H_APPEND
				   : writes && at->row->commit	 ? FS_H_COMMIT
				   : at->row->flags & FS_ORDER	 ? FS_H_COMMIT
				   : at->row->wait		 ? FS_H_WAIT
				   : at->row->bytes		 ? FS_H_BLOB
								 : FS_H_TEXT;
	int r = may_open(at, flags);

	if (r < 0)
		return r;
	*reply = (struct fs_open_reply){};
	r = fs_handle_new(at, kind, flags, &handle);
	if (r < 0)
		return r;
	switch (kind) {
	case FS_H_SCRATCH:
		if (flags & O_TRUNC)
			r = at->scratch->file ?
				    fs_staged_resize(at, handle, 0) :
				    fs_scratch_resize(at->call, at->tree, at->scratch, 0);
		/* Not through the page cache: pages of a mapping would come after the close. */
		reply->direct_io = at->scratch->file;
		break;
	case FS_H_COMMIT:
		reply->direct_io = true;
		reply->noflush = !writes;
		r = fs_commit_open(at, handle);
		break;
	case FS_H_APPEND:
		reply->direct_io = true;
		break;
	case FS_H_WAIT:
		reply->direct_io = true;
		reply->noflush = true;
		break;
	case FS_H_BLOB:
		r = open_blob(at, handle, reply);
		break;
	default:
		r = open_text(at, handle, reply);
	}
	if (r < 0) {
		handle_free(at->tree, handle);
		return r == -ENOENT && !at->call->error.code ?
			       mk_fail(at->call, ENOENT, "%s is gone", at->name) :
			       r;
	}
	*ret = handle;
	return 0;
}

int fs_open(struct mk_call *call, struct fs_tree *tree, struct fs_node *node, int flags,
	    struct fs_handle **ret, struct fs_open_reply *reply)
{
	struct fs_at at;

	fs_at_node(call, node, tree, &at);
	return open_at(&at, flags, ret, reply);
}

int fs_create(struct mk_call *call, struct fs_tree *tree, struct fs_node *parent,
	      const char *name, mode_t mode, int flags, struct fs_entry *ret,
	      struct fs_handle **ret_handle, struct fs_open_reply *reply)
{
	struct fs_at dir, at;
	struct fs_child child;
	struct fs_stat st = {.mtime = tree->started, .live = true};
	struct fs_node *node;
	bool created = false;
	int r = fs_may_write(call, tree);

	if (r < 0)
		return r;
	fs_at_node(call, parent, tree, &dir);
	if (strlen(name) > MK_NAME_MAX)
		return mk_fail(call, ENAMETOOLONG, "a name has at most %d bytes", MK_NAME_MAX);
	*ret = (struct fs_entry){};
	r = fs_at_find(&dir, name, &child);
	if (r == 0) {
		fs_at_child(&dir, &child, &at);

		bool away = fs_away_is(tree, at.ino);

		if (flags & O_EXCL && !away)
			return mk_fail(call, EEXIST, "%s is there already", name);
		if (away)
			flags |= O_TRUNC;
	} else if (r == -ENOENT) {
		mk_error_clear(call);
		child = (struct fs_child){.name = name};
		if (dir.row->put)
			r = fs_staged_make(&dir, name, mode, flags, &child);
		else if (dir.scratch ||
		    (dir.row->flags & FS_SCRATCH &&
		     (fs_scratch_name(name) || (flags & O_EXCL && fs_scratch_random(name)))))
			r = fs_scratch_make(&dir, name, S_IFREG | (mode & 0777), &child);
		else if (dir.row->create)
			r = dir.row->create(&dir, name, &child);
		else
			r = mk_fail(call, EPERM, "%s: the tree knows no such name here: %s", name,
				    fs_at_hint(&dir));
		if (r < 0)
			return r;
		fs_at_child(&dir, &child, &at);
		flags &= ~O_TRUNC; /* there is nothing to cut */
		created = true;
	} else {
		return r;
	}
	r = fs_node_get(&at, &node);
	if (r < 0)
		return r;
	fs_at_node(call, node, tree, &at);
	r = open_at(&at, flags & ~O_CREAT, ret_handle, reply);
	if (r < 0) {
		fs_forget(tree, node, 1);
		return r;
	}
	(*ret_handle)->created = created;
	ret->node = node;
	r = fs_at_stat(&at, &st);
	if (r < 0) {
		mk_error_clear(call);
		st = (struct fs_stat){.mtime = tree->started, .live = true};
	}
	fs_attr_fill(&at, &st, &ret->attr);
	ret->attr.attr_timeout = 0;
	if (at.row->kind == FS_PLAIN)
		ret->attr.entry_timeout = 0;
	return 0;
}
