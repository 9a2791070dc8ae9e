/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories. Offsets are:
 *
 *	1, 2              after `.` and `..`
 *	3 …               after the nth fixed row
 *	SCRATCH + id      after a file of an editor
 *	DYNAMIC + cookie  after what `list` gives: the cookie of a paged list (a run's id, so that
 *	                  what comes and goes meanwhile moves nobody), else a place in the snapshot
 *	                  this handle took at its beginning
 *
 * A listing costs no remote and renders nothing: rows whose size only a text tells come without
 * attributes.
 */
#include "row.h"

#include <fcntl.h>

static const uint64_t SCRATCH = UINT64_C(1) << 32, DYNAMIC = UINT64_C(1) << 48;

struct fs_dirname {
	struct fs_child child;
	char *name;
};

static void forget_names(struct fs_handle *handle)
{
	for (size_t i = 0; i < handle->n_names; i++)
		free(handle->names[i].name);
	free(handle->names);
	handle->names = NULL;
	handle->n_names = 0;
	handle->listed = false;
}

void fs_dir_close(struct fs_handle *handle)
{
	forget_names(handle);
}

struct collect {
	struct mk_call *call;
	struct fs_dirname *names;
	size_t n, cap;
};

static int collect(void *arg, const struct fs_child *child)
{
	struct collect *c = arg;

	if (c->n == c->cap) {
		size_t cap = c->cap ? c->cap * 2 : 32;
		void *names = realloc(c->names, cap * sizeof(*c->names));

		if (!names)
			return mk_fail(c->call, ENOMEM, "out of memory for a listing");
		c->names = names;
		c->cap = cap;
	}
	c->names[c->n] = (struct fs_dirname){.child = *child, .name = mk_strdup(child->name)};
	c->n++;
	return 0;
}

/* The snapshot of an unpaged directory. */
static int snapshot(struct fs_at *at, struct fs_handle *handle)
{
	struct collect c = {.call = at->call};
	int r = at->row->list(at, 0, collect, &c);

	pthread_mutex_lock(&handle->lock);
	if (r < 0) {
		for (size_t i = 0; i < c.n; i++)
			free(c.names[i].name);
		free(c.names);
	} else {
		forget_names(handle);
		handle->names = c.names;
		handle->n_names = c.n;
		handle->listed = true;
	}
	pthread_mutex_unlock(&handle->lock);
	return r < 0 ? r : 0;
}

/*
 * The listing is asked for here and not at the first reading: the kernel lets one process at a time
 * read a directory (libfuse 3.14 does not get it PARALLEL_DIROPS) and the others would wait for a
 * slow remote in a lock that no signal ends. Here each waits on its own.
 */
int fs_opendir(struct mk_call *call, struct fs_tree *tree, struct fs_node *node,
	       struct fs_handle **ret)
{
	struct fs_at at;
	struct fs_handle *handle;

	fs_at_node(call, node, tree, &at);
	if (!S_ISDIR(at.row->mode))
		return mk_fail(call, ENOTDIR, "%s is not a directory", at.name);

	int r = fs_handle_new(&at, FS_H_DIR, O_RDONLY | O_DIRECTORY, &handle);

	if (r < 0)
		return r;
	if (at.row->list && !(at.row->flags & FS_PAGED)) {
		r = snapshot(&at, handle);
		if (r < 0) {
			fs_drop(tree, handle);
			return r;
		}
		handle->unread = true;
	}
	*ret = handle;
	return 0;
}

struct reading {
	struct fs_at *dir;
	bool plus;
	bool full;
	bool given;    /* something was: an error must wait for the next reading */
	uint64_t base; /* of the offsets */
	fs_dirent_emit *emit;
	void *arg;
};

/* Attributes of a child, if they cost next to nothing. 1: yes. */
static int cheap_stat(struct fs_at *at, const struct fs_child *child, struct fs_stat *st)
{
	if (child->known) {
		*st = child->stat;
		return 1;
	}
	if (at->row->flags & FS_REMOTE)
		return 0;
	if (at->row->stat || S_ISDIR(at->row->mode) || at->scratch) {
		*st = (struct fs_stat){.size = -1, .live = at->row->class == FS_LIVE};
		if (at->scratch) {
			fs_scratch_stat(at, st);
		} else if (at->row->stat) {
			int r = at->row->stat(at, st);

			if (r < 0)
				return r;
		}
		if (!st->mtime)
			st->mtime = at->tree->started;
		if (S_ISDIR(at->row->mode))
			st->size = 0;
		return st->size >= 0;
	}
	return 0;
}

/* 0 taken or left out, 1 the front end's buffer is full, or an error. */
static int give(struct reading *reading, const struct fs_child *child, uint64_t next)
{
	struct fs_dirent entry = {.name = child->name, .next = next};
	struct fs_at at;
	struct fs_stat st = {};
	int known = 0;

	fs_at_child(reading->dir, child, &at);
	if (!child->known && at.row->stat && (reading->plus || at.row->kind == FS_PLAIN)) {
		/* also says whether it is there: workdir, latest */
		known = cheap_stat(&at, child, &st);
		if (known == -ENOENT) {
			mk_error_clear(at.call);
			return 0;
		}
		if (known == MK_PUNT || known == MK_PARK)
			return known;
		if (known < 0) { /* its own stat will say why */
			mk_error_clear(at.call);
			known = 0;
		}
	} else {
		known = cheap_stat(&at, child, &st);
		if (known < 0)
			known = 0;
	}
	if (at.row->commit && fs_away_is(at.tree, at.ino))
		return 0;
	if (known && reading->plus) {
		struct fs_node *node;
		int r = fs_node_get(&at, &node);

		if (r < 0)
			return r;
		entry.entry.node = node;
		fs_attr_fill(&at, &st, &entry.entry.attr);
		node->told = fs_digest(&st);
		r = reading->emit(reading->arg, &entry);
		if (r)
			fs_forget(at.tree, node, 1);
		else
			reading->given = true;
		return r;
	}
	entry.entry.attr.st.st_mode = at.scratch ? at.scratch->mode
				      : st.mode	 ? st.mode
						 : at.row->mode;
	entry.entry.attr.st.st_ino = at.ino;

	int r = reading->emit(reading->arg, &entry);

	reading->given |= r == 0;
	return r;
}

static int give_dot(struct reading *reading, const char *name, uint64_t next)
{
	struct fs_dirent entry = {.name = name, .next = next};

	entry.entry.attr.st.st_mode = S_IFDIR | 0755;
	entry.entry.attr.st.st_ino = reading->dir->ino;
	if (name[1]) {
		fs_lock(reading->dir->tree);
		if (reading->dir->node->parent)
			entry.entry.attr.st.st_ino = reading->dir->node->parent->ino;
		fs_unlock(reading->dir->tree);
	}
	return reading->emit(reading->arg, &entry);
}

static int give_paged(void *arg, const struct fs_child *child)
{
	struct reading *reading = arg;
	int r = give(reading, child, reading->base + child->cookie);

	if (r == 1)
		reading->full = true;
	return r;
}

static int read_fixed(struct reading *reading, uint64_t offset)
{
	uint64_t at = 2;
	int r;

	if (offset < 1 && (r = give_dot(reading, ".", 1)) != 0)
		return r;
	if (offset < 2 && (r = give_dot(reading, "..", 2)) != 0)
		return r;
	for (const struct fs_row *row = reading->dir->row->children; row && row->name; row++) {
		at++;
		if (at <= offset || fs_is_placeholder(row) || row->flags & FS_HIDDEN)
			continue;

		struct fs_child child = {.row = row, .name = row->name};

		r = give(reading, &child, at);
		if (r)
			return r;
	}
	return 0;
}

static int read_dynamic(struct reading *reading, struct fs_handle *handle, uint64_t cookie)
{
	struct fs_at *dir = reading->dir;

	reading->base = DYNAMIC;
	if (dir->row->flags & FS_PAGED) {
		int r = dir->row->list(dir, cookie, give_paged, reading);

		return reading->full ? 1 : r;
	}
	for (size_t i = cookie; i < handle->n_names; i++) {
		struct fs_child child = handle->names[i].child;

		child.name = handle->names[i].name;

		int r = give(reading, &child, DYNAMIC + i + 1);

		if (r)
			return r;
	}
	return 0;
}

int fs_readdir(struct mk_call *call, struct fs_tree *tree, struct fs_handle *handle,
	       uint64_t offset, bool plus, fs_dirent_emit *emit, void *arg)
{
	struct fs_at dir;
	struct reading reading = {.dir = &dir, .plus = plus, .emit = emit, .arg = arg};
	int r;

	fs_at_node(call, handle->node, tree, &dir);
	if (offset == 0 && dir.row->kind == FS_RUN)
		fs_remover_note(&dir, dir.object);
	if (offset == 0 && dir.row == &fs_root_row)
		fs_remover_note(&dir, FS_TOP);
	if (dir.row->list && !(dir.row->flags & FS_PAGED)) {
		pthread_mutex_lock(&handle->lock);

		bool listed = handle->listed && (offset > 0 || handle->unread);

		handle->unread = false;
		pthread_mutex_unlock(&handle->lock);
		/* Before the first entry: what cannot be asked fails, it is never a short list. */
		if (!listed) {
			r = snapshot(&dir, handle);
			if (r < 0)
				return r;
		}
	}
	if (offset < SCRATCH) {
		r = read_fixed(&reading, offset);
		if (r)
			return r > 0 || reading.given ? 0 : r;
		offset = SCRATCH;
	}
	if (offset < DYNAMIC) {
		if (dir.scratch || dir.row->flags & FS_SCRATCH) {
			reading.base = SCRATCH;
			r = fs_scratch_list(&dir, offset - SCRATCH, give_paged, &reading);
			if (r)
				return r > 0 || reading.given ? 0 : r;
		}
		offset = DYNAMIC;
	}
	if (!dir.row->list)
		return 0;
	r = read_dynamic(&reading, handle, offset - DYNAMIC);
	return r > 0 || reading.given ? 0 : r;
}
