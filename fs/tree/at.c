/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Places: from a node or a name to (row, object), and what stat(2) says about it. All of lookup and
 * getattr; nothing here is particular to a row.
 */
#include "row.h"

static const struct {
	double attr, entry;
} class_times[] = {
	[FS_FIXED] = {3600, 3600}, [FS_OURS] = {1, 1}, [FS_ENDED] = {1, 1},
	[FS_SLOW] = {5, 5},	   [FS_LIVE] = {0, 1},
};

const struct fs_row *fs_placeholder(const struct fs_row *row, int n)
{
	for (const struct fs_row *child = row->children; child && child->name; child++)
		if (fs_is_placeholder(child) && n-- == 0)
			return child;
	assert(!"no such placeholder");
	return NULL;
}

void fs_at_node(struct mk_call *call, struct fs_node *node, struct fs_tree *tree,
		struct fs_at *ret)
{
	*ret = (struct fs_at){.call = call, .tree = tree, .m = tree->m, .node = node};
	fs_lock(tree);
	ret->row = node->row;
	ret->object = node->object;
	ret->ino = node->ino;
	fs_name_copy(ret->name_buf, node->name);
	if (node->row >= fs_scratch_rows && node->row < fs_scratch_rows + 3) {
		ret->scratch = node->aux;
	} else if (node->aux) {
		ret->git = *(struct fs_git *)node->aux;
		ret->has_git = true;
	}
	fs_unlock(tree);
	ret->name = ret->name_buf;
}

/*
 * Inode numbers follow what is durable: a project keeps its number when it is renamed, a run when
 * it is moved to deleted/; everything else is (the directory's number, its name).
 */
static uint64_t child_ino(const struct fs_at *dir, const struct fs_child *child)
{
	struct {
		uint64_t a, b;
		char name[MK_NAME_MAX + 1];
	} id = {};
	size_t len = strnlen(child->name, MK_NAME_MAX);

	if (child->scratch) {
		id.a = (uint64_t)child->scratch->id;
		id.b = UINT64_MAX;
		len = 0;
	} else if (child->row->kind != FS_PLAIN) {
		id.a = (uint64_t)child->row->kind << 32;
		id.b = (uint64_t)child->object;
		len = 0;
	} else {
		id.a = dir->ino;
		memcpy(id.name, child->name, len);
	}
	return mk_ino((const char *)&id, offsetof(__typeof__(id), name) + len);
}

void fs_at_child(const struct fs_at *dir, const struct fs_child *child, struct fs_at *ret)
{
	*ret = (struct fs_at){
		.call = dir->call,
		.tree = dir->tree,
		.m = dir->m,
		.row = child->row,
		.parent = dir->node,
		.object = child->object ? child->object : dir->object,
		.git = child->git,
		.has_git = child->has_git,
		.scratch = child->scratch,
		.ino = child_ino(dir, child),
	};
	fs_name_copy(ret->name_buf, child->name);
	ret->name = ret->name_buf;
}

int64_t fs_at_object(const struct fs_at *at, enum fs_kind kind)
{
	int64_t object = 0;

	if (at->row->kind == kind)
		return at->object;
	fs_lock(at->tree);
	for (const struct fs_node *node = at->node ? at->node->parent : at->parent; node;
	     node = node->parent) {
		if (node->row->kind == kind) {
			object = node->object;
			break;
		}
	}
	fs_unlock(at->tree);
	return object;
}

const char *fs_at_hint(const struct fs_at *at)
{
	const char *hint = at->row->hint;

	fs_lock(at->tree);
	for (const struct fs_node *node = at->node ? at->node->parent : at->parent; node && !hint;
	     node = node->parent)
		hint = node->row->hint;
	fs_unlock(at->tree);
	return hint ? hint : "man 7 mantikfs tells what is where";
}

int fs_at_below(const struct fs_at *at, const char *name, struct mk_buf *path)
{
	const char *chain[64];
	size_t n = 0;

	if (name)
		chain[n++] = name;
	fs_lock(at->tree);

	const struct fs_node *node = at->node;

	if (!node) {
		chain[n++] = at->name;
		node = at->parent;
	}
	for (; node && !(node->row->flags & FS_KEYS) && n < 64; node = node->parent)
		chain[n++] = node->name;
	if (n == 64) {
		fs_unlock(at->tree);
		return mk_fail(at->call, ENAMETOOLONG, "%s: nested too deeply", at->name);
	}
	while (n--) {
		(void)mk_buf_puts(path, chain[n]);
		if (n)
			(void)mk_buf_putc(path, '/');
	}
	fs_unlock(at->tree);
	return mk_buf_check(path);
}

int fs_at_name(const struct fs_at *at, int up, struct mk_buf *name)
{
	char entry[MK_NAME_MAX + 1];

	fs_lock(at->tree);

	const struct fs_node *node = at->node;
	const char *found = node ? NULL : at->name;

	if (!node && up > 0) {
		found = NULL;
		node = at->parent;
		up--;
	}
	while (node && up-- > 0)
		node = node->parent;
	if (!found)
		found = node ? node->name : "";
	fs_name_copy(entry, found);
	fs_unlock(at->tree);

	int r = mk_name_unescape(name, entry, strlen(entry));

	return r == -EINVAL ? -ENOENT : r;
}

int fs_at_find(struct fs_at *dir, const char *name, struct fs_child *child)
{
	*child = (struct fs_child){.name = name};
	for (const struct fs_row *row = dir->row->children; row && row->name; row++) {
		if (fs_is_placeholder(row) || strcmp(row->name, name) != 0)
			continue;
		child->row = row;
		return 0;
	}
	if (dir->scratch || dir->row->flags & FS_SCRATCH) {
		fs_lock(dir->tree);
		child->scratch = fs_scratch_find(dir->tree, dir->node, name);
		if (child->scratch)
			child->row = &fs_scratch_rows[S_ISREG(child->scratch->mode)   ? 0
						      : S_ISDIR(child->scratch->mode) ? 1
										      : 2];
		fs_unlock(dir->tree);
		if (child->scratch)
			return 0;
	}
	if (!dir->row->find)
		return -ENOENT;

	int r = dir->row->find(dir, name, child);

	if (r == 0)
		assert(child->row);
	return r;
}

int fs_at_stat(struct fs_at *at, struct fs_stat *st)
{
	*st = (struct fs_stat){.size = -1, .live = at->row->class == FS_LIVE};
	if (at->scratch) {
		fs_scratch_stat(at, st);
		return 0;
	}
	if (at->row->stat) {
		int r = at->row->stat(at, st);

		if (r < 0)
			return r;
	}
	if (!st->mtime)
		st->mtime = at->tree->started;
	if (st->size >= 0)
		return 0;
	if (S_ISLNK(at->row->mode) && at->row->link) {
		_cleanup_buf_ struct mk_buf target = MK_BUF(64 << 10);
		int r = at->row->link(at, &target);

		if (r < 0)
			return r;
		st->size = (int64_t)target.len;
	} else if (S_ISREG(at->row->mode) && at->row->show) {
		_cleanup_(fs_text_unrefp) struct fs_text *text = NULL;
		int r = fs_text_get(at, st, &text);

		if (r < 0)
			return r;
	} else {
		st->size = 0;
	}
	return 0;
}

static enum fs_class class_of(const struct fs_at *at, const struct fs_stat *st)
{
	if (st->live && !S_ISDIR(at->row->mode))
		return FS_LIVE;
	return at->row->class;
}

uint32_t fs_digest(const struct fs_stat *st)
{
	uint64_t h = (uint64_t)st->size * UINT64_C(0x9e3779b97f4a7c15) ^
		     st->generation * UINT64_C(0xc2b2ae3d27d4eb4f);

	h ^= h >> 32;
	return h ? (uint32_t)h | 1 : 1;
}

void fs_attr_fill(const struct fs_at *at, const struct fs_stat *st, struct fs_attr *ret)
{
	mode_t mode = at->scratch || st->mode ? st->mode : at->row->mode;

	if (at->tree->read_only && !S_ISLNK(mode))
		mode &= ~(mode_t)0222;
	*ret = (struct fs_attr){
		.st =
			{
				.st_ino = at->ino,
				.st_mode = mode,
				.st_nlink = 1,
				.st_uid = at->tree->uid,
				.st_gid = at->tree->gid,
				.st_size = st->size,
				.st_blksize = 4096,
				.st_blocks = (st->size + 511) / 512,
			},
		.attr_timeout = at->scratch ? 0 : class_times[class_of(at, st)].attr,
		.entry_timeout = at->scratch ? 0 : class_times[at->row->class].entry,
	};
	/* The last three digits of the time carry the generation: FAILED and KILLED have the same
	 * length, and the kernel keeps its pages unless size or mtime differ. */
	ret->st.st_mtim.tv_sec = st->mtime / MK_SEC;
	ret->st.st_mtim.tv_nsec = st->mtime % MK_SEC;
	if (st->generation)
		ret->st.st_mtim.tv_nsec = ret->st.st_mtim.tv_nsec / 1000 * 1000 +
					  (long)(st->generation % 1000);
	ret->st.st_ctim = ret->st.st_atim = ret->st.st_mtim;
}

/* Editors and shells ask for such names again and again. */
static double negative_timeout(const struct fs_at *dir, const char *name)
{
	if (fs_scratch_name(name) || fs_scratch_random(name))
		return 0; /* it may be made at any moment, by others of this mount too */
	return name[0] == '.' || !dir->row->find ? 1 : 0;
}

int fs_lookup(struct mk_call *call, struct fs_tree *tree, struct fs_node *parent,
	      const char *name, struct fs_entry *ret)
{
	struct fs_at dir, at;
	struct fs_child child;
	struct fs_stat st;
	struct fs_node *node;
	int r;

	*ret = (struct fs_entry){};
	fs_at_node(call, parent, tree, &dir);
	if (!S_ISDIR(dir.row->mode))
		return mk_fail(call, ENOTDIR, "%s is not a directory", dir.name);
	if (strlen(name) > MK_NAME_MAX)
		return mk_fail(call, ENAMETOOLONG, "a name has at most %d bytes", MK_NAME_MAX);
	r = fs_at_find(&dir, name, &child);
	if (r == 0) {
		fs_at_child(&dir, &child, &at);
		if (at.row->commit && fs_away_is(tree, at.ino))
			r = -ENOENT;
		else if (child.known)
			st = child.stat;
		else
			r = fs_at_stat(&at, &st);
	}
	if (r == -ENOENT) {
		ret->attr.entry_timeout = negative_timeout(&dir, name);
		if (!call->error.code)
			r = mk_fail(call, ENOENT, "%s: no such file or directory", name);
		return r;
	}
	if (r < 0)
		return r;
	r = fs_node_get(&at, &node);
	if (r < 0)
		return r;
	ret->node = node;
	fs_attr_fill(&at, &st, &ret->attr);
	node->told = fs_digest(&st);
	return 0;
}

/* The text that open files of a node are read from through the page cache: as long as it is open,
 * stat tells about that one. */
static bool open_text(const struct fs_at *at, struct fs_stat *st)
{
	bool found = false;

	fs_lock(at->tree);
	for (struct fs_file *file = at->tree->files[(uintptr_t)at->node / 64 % FS_FILE_BUCKETS];
	     file; file = file->next) {
		if (file->node != at->node || !file->text)
			continue;
		*st = (struct fs_stat){
			.size = (int64_t)file->text->len,
			.mtime = file->text->mtime,
			.generation = file->text->generation,
			.live = file->text->live,
		};
		found = true;
		break;
	}
	fs_unlock(at->tree);
	return found;
}

static bool is_being_made(struct fs_tree *tree, const struct fs_node *node)
{
	bool found = false;

	fs_lock(tree);
	for (const struct fs_handle *h = tree->writers; h && !found; h = h->next_writer)
		found = h->node == node;
	fs_unlock(tree);
	return found;
}

int fs_getattr(struct mk_call *call, struct fs_tree *tree, struct fs_node *node,
	       struct fs_handle *handle, struct fs_attr *ret)
{
	struct fs_at at;
	struct fs_stat st;
	int r = 0;

	fs_at_node(call, node, tree, &at);
	if (!open_text(&at, &st))
		r = fs_at_stat(&at, &st);
	if (r == -ENOENT && is_being_made(tree, node)) {
		/* Created, not committed yet: a key, or a text on its way. */
		mk_error_clear(call);
		st = (struct fs_stat){.mtime = tree->started, .live = true};
		r = 0;
	}
	if (r == -ENOENT && !call->error.code)
		return mk_fail(call, ENOENT, "%s: no such file or directory", at.name);
	if (r < 0)
		return r;
	fs_attr_fill(&at, &st, ret);
	if (handle && handle->kind == FS_H_COMMIT)
		ret->attr_timeout = 0;
	node->told = fs_digest(&st);
	return 0;
}

int fs_access(struct mk_call *call, struct fs_tree *tree, struct fs_node *node, int mask)
{
	struct fs_at at;

	fs_at_node(call, node, tree, &at);

	struct fs_stat st = {};
	mode_t mode = at.has_git ? at.git.mode : at.row->mode;

	if (at.scratch) {
		fs_scratch_stat(&at, &st);
		mode = st.mode;
	} else if (mask & X_OK && S_ISREG(mode) && at.row->bytes && !at.has_git && at.row->stat) {
		int r = at.row->stat(&at, &st);

		if (r < 0)
			return r;
		mode = st.mode ? st.mode : mode;
	} else if (mask & W_OK && at.row->put) {
		int r = at.row->stat(&at, &st);

		if (r < 0)
			return r;
		mode = st.mode ? st.mode : mode;
	}

	if (mask & W_OK && !S_ISLNK(mode)) {
		int r = fs_may_write(call, tree);

		if (r < 0)
			return r;
	}
	if ((mask & W_OK && !(mode & 0222)) || (mask & X_OK && !(mode & 0111)))
		return mk_fail(call, EACCES, "%s: mode %03o does not allow that", at.name,
			       (unsigned)(mode & 0777));
	return 0;
}

int fs_readlink(struct mk_call *call, struct fs_tree *tree, struct fs_node *node,
		struct mk_buf *ret)
{
	struct fs_at at;

	fs_at_node(call, node, tree, &at);
	if (at.scratch && S_ISLNK(at.scratch->mode))
		return fs_scratch_copy(call, tree, at.scratch, ret);
	if (!at.row->link)
		return mk_fail(call, EINVAL, "%s is no symbolic link", at.name);

	int r = at.row->link(&at, ret);

	if (r == -ENOENT && !call->error.code)
		return mk_fail(call, ENOENT, "%s leads nowhere now", at.name);
	return r;
}

int fs_may_write(struct mk_call *call, struct fs_tree *tree)
{
	if (tree->read_only)
		return mk_fail(call, EROFS, "mounted read-only");
	if (mantik_read_only(tree->m)) {
		const char *why = mantik_read_only_why(tree->m);

		return mk_fail(call, EROFS, "%s", why ? why : "the platform is open for reading only");
	}
	return 0;
}
