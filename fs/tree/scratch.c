/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files of editors: swap files, backups, locks, temporary copies to be renamed over a text. They
 * live in memory, in directories of editable texts, for this mount only, and are gone with it.
 * A text renamed to such a name is `away` for a moment: the editor is about to create it anew.
 *
 * All functions take tree->lock themselves unless they say otherwise. A removed file whose last
 * reference is gone is freed only after some more have been removed: an operation that found it
 * a moment ago may still look at it.
 */
#include "row.h"

enum { KEEP_REMOVED = 64, AWAY_MS = 3000 };

const struct fs_row fs_scratch_rows[3] = {
	{.name = "{scratch}", .mode = S_IFREG | 0644, .class = FS_OURS},
	{.name = "{scratch}", .mode = S_IFDIR | 0755, .class = FS_OURS, .flags = FS_SCRATCH},
	{.name = "{scratch}", .mode = S_IFLNK | 0777, .class = FS_OURS},
};

static bool ends(const char *name, const char *end)
{
	size_t n = strlen(name), m = strlen(end);

	return n > m && strcmp(name + n - m, end) == 0;
}

static bool all_digits(const char *s)
{
	return s[strspn(s, "0123456789")] == 0;
}

/* `.f.swp` `.f.swo` `.f.swx` `.swp`: vim, nano. */
static bool is_swap(const char *name)
{
	size_t n = strlen(name);

	if (n > 5 && strcmp(name + n - 5, ".swpx") == 0) /* vim tries how long names may be */
		n--;
	return name[0] == '.' && n >= 4 && strncmp(name + n - 4, ".sw", 3) == 0 &&
	       name[n - 1] >= 'a' && name[n - 1] <= 'z';
}

/* After so many bytes, six random letters or digits and nothing else: mkstemp(3). */
static bool is_random(const char *s, size_t after)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

	return strlen(s) == after + 6 && strspn(s + after, letters) == 6;
}

/* `.f.XXXXXX`: rsync and others. */
static bool is_rsync(const char *name)
{
	const char *dot = strrchr(name, '.');

	return name[0] == '.' && dot > name + 1 && is_random(dot, 1);
}

/*
 * Names that people give, too (a param `sediments`): an editor's only when made with O_EXCL, as
 * mkstemp(3) and vim do.
 *
 *	sedXXXXXX  sed -i     XXXXXXXX beginning with XX  perl -i     f.oXXXXXX  patch
 *	4913 and on, in steps of 123  vim tries whether it may write
 */
bool fs_scratch_random(const char *name)
{
	const char *dot = strrchr(name, '.');

	if (strncmp(name, "sed", 3) == 0 && is_random(name, 3))
		return true;
	if (strncmp(name, "XX", 2) == 0 && is_random(name, 2))
		return true;
	if (dot && dot > name && dot[1] && strchr("oirp", dot[1]) && is_random(dot, 2))
		return true;
	return strlen(name) >= 4 && strlen(name) <= 6 && all_digits(name) &&
	       strtoul(name, NULL, 10) >= 4913 && (strtoul(name, NULL, 10) - 4913) % 123 == 0;
}

bool fs_scratch_name(const char *name)
{
	static const char *const exact[] = {".ipynb_checkpoints", ".DS_Store", ".Trash", ".vscode",
					    ".idea"};
	static const char *const begins[] = {".#", ".Trash-", ".nfs", ".goutputstream-", ".~lock.",
					     "._", ".fuse_hidden"};
	size_t n = strlen(name);

	for (size_t i = 0; i < sizeof(exact) / sizeof(*exact); i++)
		if (strcmp(name, exact[i]) == 0)
			return true;
	for (size_t i = 0; i < sizeof(begins) / sizeof(*begins); i++)
		if (strncmp(name, begins[i], strlen(begins[i])) == 0)
			return true;
	if (is_swap(name) || is_rsync(name) || ends(name, "~"))
		return true;
	return n > 2 && name[0] == '#' && name[n - 1] == '#';
}

struct fs_scratch *fs_scratch_find(struct fs_tree *tree, struct fs_node *parent,
				   const char *name)
{
	for (struct fs_scratch *s = tree->scratch; s; s = s->next)
		if (s->parent == parent && strcmp(s->name, name) == 0)
			return s;
	return NULL;
}

static void sweep(struct fs_tree *tree)
{
	size_t removed = 0;

	for (struct fs_scratch **p = &tree->scratch, *s; (s = *p);) {
		if (s->refs == 0 && ++removed > KEEP_REMOVED) {
			*p = s->next;
			free(s->name);
			free(s->data);
			free(s);
			continue;
		}
		p = &s->next;
	}
}

void fs_scratch_unref_locked(struct fs_tree *tree, struct fs_scratch *s)
{
	assert(s->refs > 0);
	if (--s->refs > 0)
		return;
	tree->scratch_bytes -= s->cap;
	free(s->data);
	s->data = NULL;
	mk_staged_free(s->file);
	s->file = NULL;
	s->len = s->cap = 0;
	sweep(tree);
}

int fs_scratch_make(struct fs_at *dir, const char *name, mode_t mode, struct fs_child *child)
{
	struct fs_tree *tree = dir->tree;
	int r = 0;

	fs_lock(tree);
	if (fs_scratch_find(tree, dir->node, name)) { /* another thread was first */
		r = mk_fail(dir->call, EEXIST, "%s is there already", name);
	} else if (tree->n_scratch >= FS_SCRATCH_FILES) {
		r = mk_fail(dir->call, ENOSPC, "%s: too many files of editors (at most %d)", name,
			    FS_SCRATCH_FILES);
	} else {
		struct fs_scratch *s = mk_new(struct fs_scratch);

		s->refs = 1;
		s->id = ++tree->last_scratch;
		s->parent = dir->node;
		s->parent->refs++;
		s->name = mk_strdup(name);
		s->mode = mode;
		s->mtime = mk_now_real();
		s->next = tree->scratch;
		tree->scratch = s;
		tree->n_scratch++;
		*child = (struct fs_child){
			.row = &fs_scratch_rows[S_ISREG(mode) ? 0 : S_ISDIR(mode) ? 1 : 2],
			.name = name,
			.scratch = s,
		};
	}
	fs_unlock(tree);
	return r;
}

void fs_scratch_remove(struct fs_tree *tree, struct fs_scratch *s)
{
	struct fs_node *parent;

	fs_lock(tree);
	parent = s->parent;
	s->parent = NULL;
	if (parent) {
		tree->n_scratch--;
		if (s->file && !s->opens) /* the kernel may know it for long */
			mk_staged_empty(s->file);
		fs_scratch_unref_locked(tree, s);
	}
	fs_unlock(tree);
	if (parent)
		fs_node_unref(tree, parent);
}

int fs_scratch_rename(struct mk_call *call, struct fs_tree *tree, struct fs_scratch *s,
		      struct fs_node *parent, const char *name)
{
	struct fs_node *old = NULL, *replaced = NULL;
	int r = 0;

	/* In one piece: another thread may remove either of them. */
	fs_lock(tree);

	struct fs_scratch *there = fs_scratch_find(tree, parent, name);

	if (!s->parent) {
		r = mk_fail(call, ENOENT, "%s is gone", name);
	} else if (there && there != s && S_ISDIR(there->mode)) {
		r = mk_fail(call, EISDIR, "%s is a directory", name);
	} else if (there != s) {
		if (there) {
			replaced = there->parent;
			there->parent = NULL;
			tree->n_scratch--;
			fs_scratch_unref_locked(tree, there);
		}
		old = s->parent;
		parent->refs++;
		s->parent = parent;
		free(s->name);
		s->name = mk_strdup(name);
	}
	fs_unlock(tree);
	fs_node_unref(tree, replaced);
	fs_node_unref(tree, old);
	return r;
}

/* Backups (`x~`) are there for the editor that asks by name, and litter in a listing. */
int fs_scratch_list(struct fs_at *dir, uint64_t after, fs_emit *emit, void *arg)
{
	/* In order of id, one at a time: emit takes the lock. */
	for (;;) {
		char name[MK_NAME_MAX + 1];
		struct fs_child child = {};
		const struct fs_scratch *next = NULL;

		fs_lock(dir->tree);
		for (struct fs_scratch *s = dir->tree->scratch; s; s = s->next)
			if (s->parent == dir->node && (uint64_t)s->id > after &&
			    !ends(s->name, "~") && (!next || s->id < next->id))
				next = s;
		if (next) {
			fs_name_copy(name, next->name);
			child = (struct fs_child){
				.row = &fs_scratch_rows[S_ISREG(next->mode)   ? 0
							: S_ISDIR(next->mode) ? 1
									      : 2],
				.name = name,
				.cookie = (uint64_t)next->id,
				.scratch = (struct fs_scratch *)next,
			};
			after = (uint64_t)next->id;
		}
		fs_unlock(dir->tree);
		if (!next)
			return 0;

		int r = emit(arg, &child);

		if (r)
			return r;
	}
}

void fs_scratch_stat(struct fs_at *at, struct fs_stat *st)
{
	fs_lock(at->tree);
	*st = (struct fs_stat){
		.size = (int64_t)at->scratch->len,
		.mtime = at->scratch->mtime,
		.mode = at->scratch->mode,
	};
	if (at->scratch->file) {
		struct mk_staged_stat staged;

		mk_staged_stat(at->scratch->file, &staged);
		st->size = staged.size;
		st->mtime = staged.mtime;
	}
	fs_unlock(at->tree);
}

/* Lock held. */
static int reserve(struct fs_tree *tree, struct fs_scratch *s, size_t len)
{
	if (len > FS_SCRATCH_FILE)
		return -EFBIG;
	if (len <= s->cap)
		return 0;

	size_t cap = s->cap ? s->cap : 256;

	while (cap < len)
		cap *= 2;
	if (tree->scratch_bytes - s->cap + cap > FS_SCRATCH_BYTES)
		return -ENOSPC;

	char *data = realloc(s->data, cap);

	if (!data)
		return -ENOMEM;
	tree->scratch_bytes += cap - s->cap;
	s->data = data;
	s->cap = cap;
	return 0;
}

static int too_big(struct mk_call *call, int r)
{
	return r < 0 ? mk_fail(call, -r, "an editor's own file is kept in memory: too big") : 0;
}

int fs_scratch_resize(struct mk_call *call, struct fs_tree *tree, struct fs_scratch *s,
		      size_t len)
{
	int r;

	fs_lock(tree);
	r = reserve(tree, s, len);
	if (r == 0) {
		if (len > s->len)
			memset(s->data + s->len, 0, len - s->len);
		s->len = len;
		s->mtime = mk_now_real();
	}
	fs_unlock(tree);
	return too_big(call, r);
}

ssize_t fs_scratch_write(struct mk_call *call, struct fs_tree *tree, struct fs_scratch *s,
			 const void *data, size_t len, int64_t offset)
{
	int r = offset < 0 || offset > FS_SCRATCH_FILE ? -EFBIG : 0;

	fs_lock(tree);
	if (r == 0 && len)
		r = reserve(tree, s, (size_t)offset + len);
	if (r == 0 && len) {
		if ((size_t)offset > s->len)
			memset(s->data + s->len, 0, (size_t)offset - s->len);
		memcpy(s->data + offset, data, len);
		if ((size_t)offset + len > s->len)
			s->len = (size_t)offset + len;
		s->mtime = mk_now_real();
	}
	fs_unlock(tree);
	r = too_big(call, r);
	return r < 0 ? r : (ssize_t)len;
}

ssize_t fs_scratch_read(struct fs_tree *tree, struct fs_scratch *s, void *buf, size_t len,
			int64_t offset)
{
	ssize_t n = 0;

	fs_lock(tree);
	if (offset >= 0 && (uint64_t)offset < s->len) {
		n = (ssize_t)(len < s->len - (size_t)offset ? len : s->len - (size_t)offset);
		memcpy(buf, s->data + offset, (size_t)n);
	}
	fs_unlock(tree);
	return n;
}

int fs_scratch_copy(struct mk_call *call, struct fs_tree *tree, struct fs_scratch *s,
		    struct mk_buf *ret)
{
	int r;

	fs_lock(tree);
	r = mk_buf_put(ret, s->data, s->len);
	fs_unlock(tree);
	return r < 0 ? mk_fail(call, -r, "a text has at most 1 MiB") : 0;
}

int fs_scratch_set(struct mk_call *call, struct fs_tree *tree, struct fs_scratch *s,
		   const char *data, size_t len)
{
	ssize_t n = fs_scratch_write(call, tree, s, data, len, 0);

	return n < 0 ? (int)n : fs_scratch_resize(call, tree, s, len);
}

void fs_scratch_free(struct fs_tree *tree)
{
	for (struct fs_scratch *s = tree->scratch, *next; s; s = next) {
		next = s->next;
		free(s->name);
		free(s->data);
		mk_staged_free(s->file);
		free(s);
	}
}

/* --- texts that are away ------------------------------------------------------------------- */

void fs_away_set(struct fs_tree *tree, uint64_t ino, uint64_t seen)
{
	struct fs_away *to = &tree->away[0];

	fs_lock(tree);
	for (size_t i = 0; i < FS_AWAYS; i++)
		if (tree->away[i].until < to->until)
			to = &tree->away[i];
	*to = (struct fs_away){ino, seen, mk_now_mono() + AWAY_MS * MK_MS};
	fs_unlock(tree);
}

static bool away(struct fs_tree *tree, uint64_t ino, bool take, uint64_t *ret_seen)
{
	bool found = false;

	fs_lock(tree);
	for (size_t i = 0; i < FS_AWAYS && !found; i++) {
		struct fs_away *a = &tree->away[i];

		if (a->ino != ino || a->until < mk_now_mono())
			continue;
		found = true;
		if (ret_seen)
			*ret_seen = a->seen;
		if (take)
			*a = (struct fs_away){};
	}
	fs_unlock(tree);
	return found;
}

bool fs_away_is(struct fs_tree *tree, uint64_t ino)
{
	return away(tree, ino, false, NULL);
}

bool fs_away_take(struct fs_tree *tree, uint64_t ino, uint64_t *ret_seen)
{
	return away(tree, ino, true, ret_seen);
}
