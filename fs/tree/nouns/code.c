/* SPDX-License-Identifier: Apache-2.0 */
/*
 * code/<repository>/: what its remote calls branches and tags, as links to commits; the trees of
 * commits, read from the mirror. A node of a tree holds its object id, size and the commit's time,
 * so that stat never asks again.
 */
#include "../noun.h"

struct emitting {
	struct fs_at *at;
	fs_emit *emit;
	void *arg;
	const struct fs_row *row;
};

/*
 * repository.yaml: a new uri is asked first, then the text is stored and the fetch begun, all within
 * 5 s. What the remote refuses for good is not stored; one that does not answer in time is, and what
 * it says stands in .mantik/errors and is what branches/ then fails with. Run again in a lane, the
 * text is the one that is there already.
 */
int fs_repository_commit(struct fs_at *at, struct fs_commit *commit)
{
	enum { ANSWER_WITHIN_S = 5 };
	int64_t deadline = at->call->deadline, limit = mk_now_mono() + ANSWER_WITHIN_S * MK_SEC;
	int r;

	if (deadline && deadline < limit)
		limit = deadline;
	at->call->deadline = limit;
	r = mk_code_check_remote(at->call, at->m, at->object, commit->text, commit->len);
	at->call->deadline = deadline;
	if (r == 0)
		r = fs_editable_commit(at, commit);
	if (r < 0)
		return r;
	at->call->deadline = limit;
	r = mk_code_refresh(at->call, at->m, at->object);
	at->call->deadline = deadline;
	if (r == MK_PUNT || r == MK_PARK)
		return r;
	if (r < 0 && r != -ETIMEDOUT && r != -EINTR) {
		_cleanup_free_ char *path =
			at->node ? fs_node_path(at->tree, at->node) : mk_strdup(at->name);

		fs_record_error(at->tree, path, &at->call->error);
	}
	mk_error_clear(at->call);
	return 0;
}

/* --- branches/ tags/ ----------------------------------------------------------------------- */

static const char up[] = "../commits/";

static int emit_ref(void *arg, const char *name, const struct mk_oid *commit, int64_t time)
{
	struct emitting *e = arg;
	_cleanup_buf_ struct mk_buf entry = MK_BUF(4096);

	if (mk_name_escape(&entry, name, strlen(name)) < 0)
		return 0;

	struct fs_child child = {
		.row = e->row,
		.name = mk_buf_text(&entry),
		.known = true,
		.stat = {.size = sizeof(up) - 1 + 40, .mtime = time},
	};

	return e->emit(e->arg, &child);
}

int fs_refs_list(struct fs_at *at, uint64_t after, fs_emit *emit, void *arg)
{
	struct emitting e = {at, emit, arg, fs_placeholder(at->row, 0)};

	return mk_code_refs(at->call, at->m, at->object, at->row->which, emit_ref, &e);
}

struct seeking_ref {
	const char *entry;
	struct mk_oid oid;
	struct mk_buf *name;
	bool found;
};

static int seek_ref(void *arg, const char *name, const struct mk_oid *commit, int64_t time)
{
	struct seeking_ref *s = arg;

	if (s->found || !mk_name_is(s->entry, name))
		return 0;
	s->found = true;
	s->oid = *commit;
	return s->name ? mk_buf_puts(s->name, name) : 0;
}

int fs_ref_find(struct fs_at *at, enum mk_refs kind, const char *entry, struct mk_oid *ret,
		struct mk_buf *name)
{
	_cleanup_buf_ struct mk_buf real = MK_BUF(4096);
	int r = mk_name_unescape(&real, entry, strlen(entry));

	if (r == -EINVAL)
		return -ENOENT;
	if (r == -ENOENT) {
		struct seeking_ref s = {.entry = entry, .name = name};

		r = mk_code_refs(at->call, at->m, at->object, kind, seek_ref, &s);
		if (r == 0 && !s.found)
			return -ENOENT;
		*ret = s.oid;
		return r;
	}
	r = mk_code_ref(at->call, at->m, at->object, kind, mk_buf_text(&real), ret);
	if (r == 0 && name)
		r = mk_buf_puts(name, mk_buf_text(&real));
	return r;
}

int fs_refs_find(struct fs_at *at, const char *name, struct fs_child *child)
{
	struct mk_oid oid;
	int r = fs_ref_find(at, at->row->which, name, &oid, NULL);

	if (r < 0)
		return r;
	child->row = fs_placeholder(at->row, 0);
	child->known = true;
	child->stat = (struct fs_stat){.size = sizeof(up) - 1 + 40, .mtime = at->tree->started};
	return 0;
}

int fs_ref_link(struct fs_at *at, struct mk_buf *target)
{
	char text[41];
	struct mk_oid oid;
	enum mk_refs kind = MK_BRANCHES;

	fs_lock(at->tree);

	const struct fs_node *dir = at->node ? at->node->parent : at->parent;

	if (dir)
		kind = dir->row->which;
	fs_unlock(at->tree);

	int r = fs_ref_find(at, kind, at->name, &oid, NULL);

	if (r < 0)
		return r;
	mk_oid_text(&oid, text);
	return mk_buf_printf(target, "%s%s", up, text);
}

/* --- commits/ ------------------------------------------------------------------------------ */

static int emit_commit(void *arg, const char *name, const struct mk_oid *commit, int64_t time)
{
	struct emitting *e = arg;
	char text[41];

	mk_oid_text(commit, text);

	struct fs_child child = {.row = e->row, .name = text};

	/* Its tree is looked up when it is opened. */
	return e->emit(e->arg, &child);
}

int fs_commits_list(struct fs_at *at, uint64_t after, fs_emit *emit, void *arg)
{
	struct emitting e = {at, emit, arg, fs_placeholder(at->row, 0)};

	return mk_code_commits(at->call, at->m, at->object, emit_commit, &e);
}

int fs_commits_find(struct fs_at *at, const char *name, struct fs_child *child)
{
	struct mk_oid oid;

	if (mk_oid_parse(name, &oid) < 0)
		return -ENOENT;
	child->row = fs_placeholder(at->row, 0);
	child->has_git = true;
	child->git.mode = child->row->mode;
	return mk_code_commit(at->call, at->m, at->object, &oid, &child->git.oid,
			      &child->git.time);
}

static void fill(struct fs_at *dir, const struct mk_tree_entry *entry, struct fs_child *child)
{
	bool is_dir = entry->type == MK_TREE_DIR || entry->type == MK_TREE_SUBMODULE;

	child->row = fs_placeholder(dir->row, is_dir ? 0 : entry->type == MK_TREE_LINK ? 2 : 1);
	child->has_git = true;
	child->git = (struct fs_git){
		.oid = entry->oid,
		.mode = entry->type == MK_TREE_EXEC	   ? S_IFREG | 0555
			: entry->type == MK_TREE_SUBMODULE ? S_IFDIR | 0555 | S_ISVTX
							   : child->row->mode,
		.time = dir->git.time,
		.size = is_dir ? 0 : entry->size,
	};
}

/* Names of a commit come from a file system and go to one unchanged (`.gitignore`, `a%20b`); what
 * only a malicious tree holds is left out. */
static bool is_file_name(const char *name)
{
	return *name && strlen(name) <= MK_NAME_MAX && !strchr(name, '/') &&
	       strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static int emit_git(void *arg, const struct mk_tree_entry *entry)
{
	struct emitting *e = arg;
	struct fs_child child = {.name = entry->name};

	if (!is_file_name(entry->name))
		return 0;
	fill(e->at, entry, &child);
	return e->emit(e->arg, &child);
}

/* A submodule is an empty directory: its commit is in another repository. */
static bool is_submodule(const struct fs_at *at)
{
	return at->git.mode & S_ISVTX;
}

int fs_git_list(struct fs_at *at, uint64_t after, fs_emit *emit, void *arg)
{
	struct emitting e = {at, emit, arg, NULL};

	if (is_submodule(at))
		return 0;
	return mk_code_tree(at->call, at->m, at->object, &at->git.oid, emit_git, &e);
}

int fs_git_find(struct fs_at *at, const char *name, struct fs_child *child)
{
	struct mk_tree_entry entry;
	int r;

	if (!is_file_name(name) || is_submodule(at))
		return -ENOENT;
	r = mk_code_tree_find(at->call, at->m, at->object, &at->git.oid, name, &entry);
	if (r < 0)
		return r;
	fill(at, &entry, child);
	return 0;
}

int fs_git_stat(struct fs_at *at, struct fs_stat *st)
{
	if (!at->has_git) /* a commit in a listing: only opening it tells */
		return -EREMOTE;
	st->size = at->git.size;
	st->mtime = at->git.time;
	st->generation = 1;
	st->mode = at->git.mode & ~(mode_t)S_ISVTX;
	return 0;
}

int fs_git_bytes(struct fs_at *at, struct mk_blob **ret)
{
	return mk_code_blob_open(at->call, at->m, at->object, &at->git.oid, ret);
}

int fs_git_link(struct fs_at *at, struct mk_buf *target)
{
	_cleanup_(mk_blob_closep) struct mk_blob *blob = NULL;
	char text[4096];
	int r = mk_code_blob_open(at->call, at->m, at->object, &at->git.oid, &blob);

	if (r < 0)
		return r;

	ssize_t n = mk_blob_read(at->call, blob, text, sizeof(text), 0);

	return n < 0 ? (int)n : mk_buf_put(target, text, (size_t)n);
}

int fs_code_log_show(struct fs_at *at, struct mk_buf *text)
{
	return mk_code_log(at->call, at->m, at->object, text);
}
