/* SPDX-License-Identifier: Apache-2.0 */
/* projects/, and all editable texts (which: enum mk_text_kind; the owner is the row's object). */
#include "../noun.h"

int fs_new_name(struct fs_at *at, const char *entry, struct mk_buf *ret)
{
	_cleanup_buf_ struct mk_buf right = MK_BUF(4096);
	int r = mk_name_unescape(ret, entry, strlen(entry));

	if (r == 0)
		return 0;
	if (r != -EINVAL && r != -ENOENT)
		return mk_fail(at->call, -r, "%s: no name can be made of it", entry);
	(void)mk_name_escape(&right, entry, strlen(entry));
	return mk_fail(at->call, EINVAL, "%s: to make this very name write %s", entry,
		       mk_buf_text(&right));
}

struct emitting {
	fs_emit *emit;
	void *arg;
	const struct fs_row *row;
};

static int emit_project(void *arg, const struct mk_project *project)
{
	struct emitting *e = arg;
	_cleanup_buf_ struct mk_buf name = MK_BUF(4096);
	int r = mk_name_escape(&name, project->name, strlen(project->name));

	if (r < 0)
		return r;

	struct fs_child child = {
		.row = e->row,
		.name = mk_buf_text(&name),
		.object = project->id,
		.known = true,
		.stat = {.size = 0, .mtime = project->changed},
	};

	return e->emit(e->arg, &child);
}

int fs_projects_list(struct fs_at *at, uint64_t after, fs_emit *emit, void *arg)
{
	struct emitting e = {emit, arg, fs_placeholder(at->row, 0)};

	return mk_project_list(at->call, at->m, emit_project, &e);
}

struct seeking { /* a cut name is found by comparing */
	const char *entry;
	int64_t id;
};

static int seek_project(void *arg, const struct mk_project *project)
{
	struct seeking *s = arg;

	if (mk_name_is(s->entry, project->name))
		s->id = project->id;
	return 0;
}

static int found(struct fs_at *at, const struct mk_project *project, struct fs_child *child)
{
	child->row = fs_placeholder(at->row, 0);
	child->object = project->id;
	child->known = true;
	child->stat = (struct fs_stat){.size = 0, .mtime = project->changed};
	return 0;
}

int fs_projects_find(struct fs_at *at, const char *name, struct fs_child *child)
{
	_cleanup_(mk_project_free) struct mk_project project = {};
	_cleanup_buf_ struct mk_buf real = MK_BUF(4096);
	int r = mk_name_unescape(&real, name, strlen(name));

	if (r == -EINVAL)
		return -ENOENT;
	if (r == -ENOENT) {
		struct seeking s = {.entry = name};

		r = mk_project_list(at->call, at->m, seek_project, &s);
		if (r < 0)
			return r;
		if (!s.id)
			return -ENOENT;
		r = mk_project_get(at->call, at->m, s.id, &project);
	} else if (r == 0) {
		r = mk_project_find(at->call, at->m, mk_buf_text(&real), &project);
	}
	return r < 0 ? r : found(at, &project, child);
}

int fs_projects_make(struct fs_at *at, const char *name, struct fs_child *child)
{
	_cleanup_buf_ struct mk_buf real = MK_BUF(4096);
	int r = fs_new_name(at, name, &real);

	if (r < 0)
		return r;
	child->row = fs_placeholder(at->row, 0);
	return mk_project_make(at->call, at->m, mk_buf_text(&real), &child->object);
}

int fs_project_stat(struct fs_at *at, struct fs_stat *st)
{
	_cleanup_(mk_project_free) struct mk_project project = {};
	int r = mk_project_get(at->call, at->m, at->object, &project);

	if (r < 0)
		return r;
	st->mtime = project.changed;
	return 0;
}

int fs_project_remove(struct fs_at *at)
{
	return mk_project_remove(at->call, at->m, at->object);
}

int fs_project_rename(struct fs_at *at, struct fs_at *to, const char *name)
{
	_cleanup_buf_ struct mk_buf real = MK_BUF(4096);

	if (to->row->find != fs_projects_find)
		return mk_fail(at->call, EPERM, "a project stays in projects/");

	int r = fs_new_name(at, name, &real);

	return r < 0 ? r : mk_project_rename(at->call, at->m, at->object, mk_buf_text(&real));
}

/* --- editable texts ------------------------------------------------------------------------ */

int fs_editable_stat(struct fs_at *at, struct fs_stat *st)
{
	_cleanup_(mk_text_free) struct mk_text text = {};
	int r = mk_text_stat(at->call, at->m, at->row->which, at->object, &text);

	if (r < 0)
		return r;
	st->size = (int64_t)text.len;
	st->mtime = text.changed;
	st->generation = text.generation;
	return 0;
}

int fs_editable_show(struct fs_at *at, struct mk_buf *buf)
{
	_cleanup_(mk_text_free) struct mk_text text = {};
	int r = mk_text_get(at->call, at->m, at->row->which, at->object, &text);

	return r < 0 ? r : mk_buf_put(buf, text.text, text.len);
}

int fs_editable_commit(struct fs_at *at, struct fs_commit *commit)
{
	return mk_text_put(at->call, at->m, at->row->which, at->object, commit->text, commit->len,
			   commit->seen);
}
