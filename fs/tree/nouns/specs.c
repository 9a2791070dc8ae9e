/* SPDX-License-Identifier: Apache-2.0 */
/* code/<repository>/specs/<branch>/<MLproject path>/<entry point>.yaml: specs ready to copy. */
#include "../noun.h"

#include <mantik/spec.h>

struct emitting {
	fs_emit *emit;
	void *arg;
	const struct fs_row *row;
};

static int emit_name(struct emitting *e, const char *name, const char *suffix)
{
	_cleanup_buf_ struct mk_buf entry = MK_BUF(4096);

	if (mk_name_escape(&entry, name, strlen(name)) < 0 || mk_buf_puts(&entry, suffix) < 0 ||
	    entry.len > MK_NAME_MAX)
		return 0;

	struct fs_child child = {.row = e->row, .name = mk_buf_text(&entry)};

	return e->emit(e->arg, &child);
}

static int emit_branch(void *arg, const char *name, const struct mk_oid *commit, int64_t time)
{
	return emit_name(arg, name, "");
}

int fs_spec_branches_list(struct fs_at *at, uint64_t after, fs_emit *emit, void *arg)
{
	struct emitting e = {emit, arg, fs_placeholder(at->row, 0)};

	return mk_code_refs(at->call, at->m, at->object, MK_BRANCHES, emit_branch, &e);
}

int fs_spec_branches_find(struct fs_at *at, const char *name, struct fs_child *child)
{
	struct mk_oid oid;

	child->row = fs_placeholder(at->row, 0);
	return fs_ref_find(at, MK_BRANCHES, name, &oid, NULL);
}

/* Entry of the directory `up` above (0: this one). */
static void entry_above(const struct fs_at *at, int up, char out[MK_NAME_MAX + 1])
{
	fs_lock(at->tree);

	const struct fs_node *node = at->node;
	const char *name = node ? node->name : at->name;

	for (; up > 0; up--) {
		node = node ? node->parent : at->parent;
		name = node ? node->name : "";
	}
	fs_name_copy(out, name);
	fs_unlock(at->tree);
}

int fs_spec_projects_list(struct fs_at *at, uint64_t after, fs_emit *emit, void *arg)
{
	struct emitting e = {emit, arg, fs_placeholder(at->row, 0)};
	_cleanup_list_ struct mk_list paths = {};
	struct mk_oid commit;
	int r = fs_ref_find(at, MK_BRANCHES, at->name, &commit, NULL);

	if (r < 0)
		return r;
	r = mk_code_mlprojects(at->call, at->m, at->object, &commit, &paths);
	for (size_t i = 0; i < paths.n && r == 0; i++)
		r = emit_name(&e, paths.v[i], "");
	return r;
}

/* The path an entry stands for; cut ones are found among those of the commit. */
static int mlproject_of(struct fs_at *at, const struct mk_oid *commit, const char *entry,
			struct mk_buf *path)
{
	_cleanup_list_ struct mk_list paths = {};
	int r = mk_code_mlprojects(at->call, at->m, at->object, commit, &paths);

	if (r < 0)
		return r;
	for (size_t i = 0; i < paths.n; i++)
		if (mk_name_is(entry, paths.v[i]))
			return mk_buf_puts(path, paths.v[i]);
	return -ENOENT;
}

int fs_spec_projects_find(struct fs_at *at, const char *name, struct fs_child *child)
{
	_cleanup_buf_ struct mk_buf path = MK_BUF(64 << 10);
	struct mk_oid commit;
	int r = fs_ref_find(at, MK_BRANCHES, at->name, &commit, NULL);

	if (r < 0)
		return r;
	child->row = fs_placeholder(at->row, 0);
	return mlproject_of(at, &commit, name, &path);
}

/* Branch, commit and MLproject of a directory `up` above: 0 the MLproject's own. */
static int context(struct fs_at *at, int up, struct mk_oid *commit, struct mk_buf *branch,
		   struct mk_buf *mlproject)
{
	char entry[MK_NAME_MAX + 1];

	entry_above(at, up + 1, entry);

	int r = fs_ref_find(at, MK_BRANCHES, entry, commit, branch);

	if (r < 0)
		return r;
	entry_above(at, up, entry);
	return mlproject_of(at, commit, entry, mlproject);
}

static int entry_points(struct fs_at *at, struct mk_list *ret)
{
	_cleanup_buf_ struct mk_buf branch = MK_BUF(4096), mlproject = MK_BUF(64 << 10);
	struct mk_oid commit;
	int r = context(at, 0, &commit, &branch, &mlproject);

	return r < 0 ? r :
		       mk_spec_entry_points(at->call, at->m, at->object, &commit,
					    mk_buf_text(&mlproject), ret);
}

int fs_spec_entries_list(struct fs_at *at, uint64_t after, fs_emit *emit, void *arg)
{
	struct emitting e = {emit, arg, fs_placeholder(at->row, 0)};
	_cleanup_list_ struct mk_list names = {};
	int r = entry_points(at, &names);

	for (size_t i = 0; i < names.n && r == 0; i++)
		r = emit_name(&e, names.v[i], ".yaml");
	return r;
}

static bool is_entry(const char *file, const char *entry_point)
{
	_cleanup_buf_ struct mk_buf name = MK_BUF(4096);

	return mk_name_escape(&name, entry_point, strlen(entry_point)) == 0 &&
	       mk_buf_puts(&name, ".yaml") == 0 && strcmp(mk_buf_text(&name), file) == 0;
}

int fs_spec_entries_find(struct fs_at *at, const char *name, struct fs_child *child)
{
	_cleanup_list_ struct mk_list names = {};
	int r = entry_points(at, &names);

	if (r < 0)
		return r;
	for (size_t i = 0; i < names.n; i++) {
		if (!is_entry(name, names.v[i]))
			continue;
		child->row = fs_placeholder(at->row, 0);
		return 0;
	}
	return -ENOENT;
}

int fs_spec_entry_stat(struct fs_at *at, struct fs_stat *st)
{
	char entry[MK_NAME_MAX + 1];
	struct mk_oid commit;

	entry_above(at, 2, entry);

	int r = fs_ref_find(at, MK_BRANCHES, entry, &commit, NULL);

	if (r < 0)
		return r;
	/* The same commit gives the same spec. */
	st->generation = mk_ino((const char *)commit.b, sizeof(commit.b));
	return 0;
}

int fs_spec_entry_show(struct fs_at *at, struct mk_buf *text)
{
	_cleanup_buf_ struct mk_buf branch = MK_BUF(4096), mlproject = MK_BUF(64 << 10);
	_cleanup_list_ struct mk_list names = {};
	struct mk_oid commit;
	int r = context(at, 1, &commit, &branch, &mlproject);

	if (r < 0)
		return r;
	r = mk_spec_entry_points(at->call, at->m, at->object, &commit, mk_buf_text(&mlproject),
				 &names);
	if (r < 0)
		return r;
	for (size_t i = 0; i < names.n; i++)
		if (is_entry(at->name, names.v[i]))
			return mk_spec_template(at->call, at->m, at->object, mk_buf_text(&branch),
						&commit, mk_buf_text(&mlproject), names.v[i], text);
	return -ENOENT;
}
