/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making, removing and renaming names. Nothing is destroyed by accident: what the tree makes
 * cannot be unlinked, a directory goes only if a mkdir left it untouched, and every name the tree
 * does not know is refused.
 *
 * rename is three things: an edit (a file of an editor over a text, or a text out of the way to be
 * created anew), a name of an editor's own file, or the row's verb (projects, runs to deleted/).
 */
#include "row.h"

#include <fcntl.h>

#include <mantik/outbox.h>
#include <stdio.h>

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#endif

static int begin(struct mk_call *call, struct fs_tree *tree, struct fs_node *parent,
		 const char *name, struct fs_at *dir)
{
	int r = fs_may_write(call, tree);

	if (r < 0)
		return r;
	if (strlen(name) > MK_NAME_MAX)
		return mk_fail(call, ENAMETOOLONG, "a name has at most %d bytes", MK_NAME_MAX);
	fs_at_node(call, parent, tree, dir);
	return 0;
}

/* The same for a name that is to be made. */
static int begin_new(struct mk_call *call, struct fs_tree *tree, struct fs_node *parent,
		     const char *name, struct fs_at *dir)
{
	struct fs_child child;
	int r = begin(call, tree, parent, name, dir);

	if (r < 0)
		return r;
	r = fs_at_find(dir, name, &child);
	if (r == 0)
		return mk_fail(call, EEXIST, "%s is there already", name);
	if (r != -ENOENT)
		return r;
	mk_error_clear(call);
	return 0;
}

static int find(struct fs_at *dir, const char *name, struct fs_child *child, struct fs_at *at)
{
	int r = fs_at_find(dir, name, child);

	if (r == -ENOENT && !dir->call->error.code)
		return mk_fail(dir->call, ENOENT, "%s: no such file or directory", name);
	if (r < 0)
		return r;
	fs_at_child(dir, child, at);
	return 0;
}

static int entry(struct fs_at *dir, const struct fs_child *child, struct fs_entry *ret)
{
	struct fs_at at;
	struct fs_stat st;
	struct fs_node *node;
	int r;

	fs_at_child(dir, child, &at);
	r = fs_at_stat(&at, &st);
	if (r < 0)
		return r;
	r = fs_node_get(&at, &node);
	if (r < 0)
		return r;
	*ret = (struct fs_entry){.node = node};
	fs_attr_fill(&at, &st, &ret->attr);
	node->told = fs_digest(&st);
	return 0;
}

int fs_mkdir(struct mk_call *call, struct fs_tree *tree, struct fs_node *parent, const char *name,
	     struct fs_entry *ret)
{
	struct fs_at dir, at;
	struct fs_child child;
	int r;

	if (mk_outbox_waits(call)) { /* made in an earlier run of this */
		r = mk_outbox_wait(call, tree->m);
		if (r == 0)
			r = begin(call, tree, parent, name, &dir);
		if (r == 0)
			r = find(&dir, name, &child, &at);
		return r < 0 ? r : entry(&dir, &child, ret);
	}
	r = begin_new(call, tree, parent, name, &dir);
	if (r < 0)
		return r;
	child = (struct fs_child){.name = name};
	if (dir.scratch ||
	    (dir.row->flags & FS_SCRATCH && !dir.row->put && fs_scratch_name(name)))
		r = fs_scratch_make(&dir, name, S_IFDIR | 0755, &child);
	else if (dir.row->make)
		r = dir.row->make(&dir, name, &child);
	else
		r = mk_fail(call, EPERM, "%s: no directory can be made here: %s", name,
			    fs_at_hint(&dir));
	if (r == 0)
		r = mk_outbox_wait(call, tree->m);
	return r < 0 ? r : entry(&dir, &child, ret);
}

int fs_symlink(struct mk_call *call, struct fs_tree *tree, struct fs_node *parent,
	       const char *name, const char *target, struct fs_entry *ret)
{
	struct fs_at dir;
	struct fs_child child;
	int r = begin_new(call, tree, parent, name, &dir);

	if (r < 0)
		return r;
	if (!dir.scratch &&
	    !(dir.row->flags & FS_SCRATCH && !dir.row->put && fs_scratch_name(name)))
		return mk_fail(call, EPERM, "%s: no link can be made here: %s", name,
			       fs_at_hint(&dir));
	r = fs_scratch_make(&dir, name, S_IFLNK | 0777, &child);
	if (r < 0)
		return r;
	r = fs_scratch_set(call, tree, child.scratch, target, strlen(target));
	if (r < 0) {
		fs_scratch_remove(tree, child.scratch);
		return r;
	}
	return entry(&dir, &child, ret);
}

/* What is made by the tree stays; why, and what to do instead. */
static int refuse_removal(struct fs_at *at, int code)
{
	int64_t run = fs_at_object(at, FS_RUN);

	fs_remover_note(at, run ? run : FS_TOP);
	if (at->row->flags & FS_ORDER)
		return mk_fail(at->call, code, "%s stays: it is not replaced, but written to: cp FILE %s",
			       fs_at_title(at), fs_at_title(at));
	if (at->row->kind == FS_RUN)
		return mk_fail(at->call, code,
			       "run %s stays: a run goes by `echo delete > ctl` or by mv to runs/deleted/",
			       at->name);
	if (run)
		return mk_fail(at->call, code,
			       "%s stays: it belongs to its run, which goes as a whole (echo delete > "
			       "ctl, or mv it to runs/deleted/)",
			       at->name);
	if (at->has_git || fs_at_object(at, FS_REPOSITORY))
		return mk_fail(at->call, code, "%s stays: %s", at->name, fs_at_hint(at));
	if (at->row->commit)
		return mk_fail(at->call, code, "%s stays: it belongs to its directory; edit it instead",
			       at->name);
	return mk_fail(at->call, code, "%s stays: it is part of the tree", at->name);
}

static bool scratch_is_empty(struct fs_tree *tree, struct fs_scratch *dir)
{
	bool is_empty = true;

	fs_lock(tree);
	for (struct fs_scratch *s = tree->scratch; s; s = s->next)
		if (s->parent && s->parent->aux == dir && S_ISDIR(dir->mode) &&
		    s->parent->row == &fs_scratch_rows[1])
			is_empty = false;
	fs_unlock(tree);
	return is_empty;
}

static int remove_child(struct mk_call *call, struct fs_tree *tree, struct fs_node *parent,
			const char *name, bool is_dir)
{
	struct fs_at dir, at;
	struct fs_child child;
	int r;

	if (mk_outbox_waits(call)) { /* removed in an earlier run of this */
		r = mk_outbox_wait(call, tree->m);
		if (r == 0)
			fs_node_detach(tree, parent, name);
		return r;
	}
	r = begin(call, tree, parent, name, &dir);
	if (r < 0)
		return r;
	r = find(&dir, name, &child, &at);
	if (r < 0)
		return r;
	if (is_dir && !S_ISDIR(at.row->mode))
		return mk_fail(call, ENOTDIR, "%s is not a directory", name);
	if (!is_dir && S_ISDIR(at.row->mode))
		return mk_fail(call, EISDIR, "%s is a directory", name);
	if (child.scratch) {
		if (is_dir && !scratch_is_empty(tree, child.scratch))
			return mk_fail(call, ENOTEMPTY, "%s is not empty", name);
		fs_scratch_remove(tree, child.scratch);
	} else {
		r = at.row->remove ? at.row->remove(&at)
				   : refuse_removal(&at, is_dir ? ENOTEMPTY : EPERM);
		if (r == 0)
			r = mk_outbox_wait(call, tree->m);
		if (r < 0)
			return r;
	}
	fs_node_detach(tree, parent, name);
	return 0;
}

int fs_unlink(struct mk_call *call, struct fs_tree *tree, struct fs_node *parent,
	      const char *name)
{
	return remove_child(call, tree, parent, name, false);
}

int fs_rmdir(struct mk_call *call, struct fs_tree *tree, struct fs_node *parent,
	     const char *name)
{
	return remove_child(call, tree, parent, name, true);
}

/* An editor's file over a text: a save. */
static int rename_over(struct fs_at *from, struct fs_at *to)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF(MK_LIMIT_TEXT), answer = MK_BUF(MK_LIMIT_TEXT);
	uint64_t seen = 0;
	int r;

	text.secret = to->row->flags & FS_SECRET;
	if (!S_ISREG(from->scratch->mode))
		return mk_fail(from->call, EPERM, "%s is no file", from->name);
	if (!to->row->commit)
		return mk_fail(from->call, EPERM, "%s is made by the tree and cannot be replaced: %s",
			       to->name, fs_at_hint(to));
	r = fs_scratch_copy(from->call, from->tree, from->scratch, &text);
	if (r < 0)
		return r;
	if (!fs_away_take(from->tree, to->ino, &seen))
		seen = fs_reader_seen(to);
	r = fs_commit_text(to, mk_buf_text(&text), text.len, seen, &answer);
	if (to->row->flags & FS_ORDER && r >= 0)
		fs_answer_put(to, mk_buf_text(&answer));
	else if (to->row->flags & FS_ORDER && r != MK_PUNT && r != MK_PARK)
		fs_answer_refused(to);
	if (r < 0)
		return r;
	fs_scratch_remove(from->tree, from->scratch);
	return 0;
}

/* A text out of the way: the editor keeps its copy and creates the text anew. */
static int rename_away(struct fs_at *from, struct fs_at *to_dir, const char *new_name)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF(MK_LIMIT_TEXT);
	struct fs_stat st = {};
	struct fs_child child;
	struct fs_scratch *old;
	int r = from->row->stat ? from->row->stat(from, &st) : 0;

	if (r < 0)
		return r;
	r = from->row->show(from, &text);
	if (r < 0)
		return r;
	fs_lock(from->tree);
	old = fs_scratch_find(from->tree, to_dir->node, new_name);
	fs_unlock(from->tree);
	if (old)
		fs_scratch_remove(from->tree, old);
	fs_node_detach(from->tree, to_dir->node, new_name);
	r = fs_scratch_make(to_dir, new_name, S_IFREG | 0644, &child);
	if (r < 0)
		return r;
	r = fs_scratch_set(from->call, from->tree, child.scratch, mk_buf_text(&text), text.len);
	if (r < 0) {
		fs_scratch_remove(from->tree, child.scratch);
		return r;
	}

	uint64_t seen = fs_reader_seen(from);

	fs_away_set(from->tree, from->ino, seen ? seen : st.generation);
	return 0;
}

static bool is_below(struct fs_tree *tree, const struct fs_node *node,
		     const struct fs_scratch *dir)
{
	bool below = false;

	fs_lock(tree);
	for (; node && !below; node = node->parent)
		below = node->row == &fs_scratch_rows[1] && node->aux == dir;
	fs_unlock(tree);
	return below;
}

void fs_move_node(struct fs_at *from, struct fs_at *to_dir, const char *new_name,
		  const struct fs_row *row)
{
	fs_lock(from->tree);

	struct fs_node *node = fs_node_edge(from->tree, from->parent, from->name);

	if (node)
		node->refs++;
	fs_unlock(from->tree);
	if (!node)
		return;
	fs_node_move(from->tree, node, to_dir->node, new_name);
	if (row) {
		fs_lock(from->tree);
		node->row = row;
		fs_unlock(from->tree);
	}
	fs_node_unref(from->tree, node);
}

static int rename_scratch(struct fs_at *from, struct fs_at *to_dir, const char *new_name)
{
	if (!to_dir->scratch && !(to_dir->row->flags & FS_SCRATCH &&
				   (fs_scratch_name(new_name) || fs_scratch_random(new_name))))
		return mk_fail(from->call, EPERM, "%s: the tree knows no such name here: %s",
			       new_name, fs_at_hint(to_dir));

	if (is_below(from->tree, to_dir->node, from->scratch))
		return mk_fail(from->call, EINVAL, "%s cannot be moved into itself", from->name);

	int r = fs_scratch_rename(from->call, from->tree, from->scratch, to_dir->node, new_name);

	if (r < 0)
		return r;
	fs_move_node(from, to_dir, new_name, NULL);
	return 0;
}

/* (A run in deleted/ is another row.) */
static void moved(struct fs_at *from, struct fs_at *to_dir, const char *new_name)
{
	fs_move_node(from, to_dir, new_name,
		  from->parent == to_dir->node ? NULL : fs_placeholder(to_dir->row, 0));
}

static int rename_object(struct fs_at *from, struct fs_at *to_dir, const char *new_name)
{
	int r;

	if (!from->row->rename)
		return mk_fail(from->call, EPERM, "%s keeps its name and place: it is part of the tree; cp makes a copy "
			       "elsewhere",
			       from->name);
	r = from->row->rename(from, to_dir, new_name);
	if (r == 0)
		r = mk_outbox_wait(from->call, from->tree->m);
	if (r < 0)
		return r;
	moved(from, to_dir, new_name);
	return 0;
}

static bool is_scratch(struct fs_tree *tree, struct fs_node *parent, const char *name)
{
	fs_lock(tree);

	bool is = fs_scratch_find(tree, parent, name) != NULL;

	fs_unlock(tree);
	return is;
}

int fs_rename(struct mk_call *call, struct fs_tree *tree, struct fs_node *parent,
	      const char *name, struct fs_node *new_parent, const char *new_name, unsigned flags)
{
	struct fs_at from_dir, to_dir, from, to;
	struct fs_child child, there;
	int r;

	if (flags & ~(unsigned)RENAME_NOREPLACE)
		return mk_fail(call, EINVAL, "names cannot be exchanged here");
	r = begin(call, tree, parent, name, &from_dir);
	if (r < 0)
		return r;
	r = begin(call, tree, new_parent, new_name, &to_dir);
	if (r < 0)
		return r;
	if (mk_outbox_waits(call) && !is_scratch(tree, parent, name)) {
		/* Renamed in an earlier run of this: what was here is there. */
		from = from_dir;
		from.parent = parent;
		from.name = name;
		r = mk_outbox_wait(call, tree->m);
		if (r == 0)
			moved(&from, &to_dir, new_name);
		return r;
	}
	r = find(&from_dir, name, &child, &from);
	if (r < 0)
		return r;
	r = fs_at_find(&to_dir, new_name, &there);
	if (r < 0 && r != -ENOENT)
		return r;
	mk_error_clear(call);

	bool is_there = r == 0;

	if (is_there)
		fs_at_child(&to_dir, &there, &to);
	if (is_there && flags & RENAME_NOREPLACE)
		return mk_fail(call, EEXIST, "%s is there already", new_name);
	if (is_there && parent == new_parent && strcmp(name, new_name) == 0)
		return 0;
	if (child.scratch && (child.scratch->file || to_dir.row->put)) {
		if (!child.scratch->file || !to_dir.row->put)
			return mk_fail(call, EPERM, "%s: only cp takes a file there", new_name);
		if (is_there && !there.scratch)
			return mk_fail(call, EEXIST,
				       "%s is an artifact already: artifacts stay as they were logged",
				       new_name);
		return fs_staged_rename(&from, &to_dir, new_name);
	}
	if (child.scratch && is_there && !there.scratch) {
		r = rename_over(&from, &to);
		if (r == 0)
			fs_node_detach(tree, parent, name);
		return r;
	}
	if (child.scratch && !is_there && to_dir.row->create && !fs_scratch_name(new_name) &&
	    !fs_scratch_random(new_name)) { /* rsync's temporary file becomes a new text */
		there = (struct fs_child){.name = new_name};
		r = to_dir.row->create(&to_dir, new_name, &there);
		if (r < 0)
			return r;
		fs_at_child(&to_dir, &there, &to);
		r = rename_over(&from, &to);
		if (r == 0)
			fs_node_detach(tree, parent, name);
		return r;
	}
	if (child.scratch)
		return rename_scratch(&from, &to_dir, new_name);
	if (from.row->commit && !(from.row->flags & FS_ORDER) && to_dir.row->flags & FS_SCRATCH &&
	    parent == new_parent && fs_scratch_name(new_name))
		return rename_away(&from, &to_dir, new_name);
	/* (A link there is only another name of a run: the row's verb says what is wrong.) */
	if (is_there && !S_ISLNK(to.row->mode) &&
	    !(from.row->kind != FS_PLAIN && from.ino == to.ino))
		return mk_fail(call, EEXIST, "%s is there already", new_name);
	return rename_object(&from, &to_dir, new_name);
}

void fs_statfs(struct fs_tree *tree, struct statvfs *ret)
{
	*ret = (struct statvfs){
		.f_bsize = 4096,
		.f_frsize = 4096,
		.f_blocks = 1 << 20, /* not a place to fill: what is written goes elsewhere */
		.f_bfree = 1 << 19,
		.f_bavail = 1 << 19,
		.f_files = 1 << 20,
		.f_ffree = 1 << 19,
		.f_favail = 1 << 19,
		.f_namemax = MK_NAME_MAX,
	};
}
