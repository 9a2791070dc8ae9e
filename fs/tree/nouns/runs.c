/* SPDX-License-Identifier: Apache-2.0 */
/* runs/ of a project: the runs, those in deleted/, `latest`, and `new`, where runs are made. */
#include "../noun.h"

struct emitting {
	fs_emit *emit;
	void *arg;
	const struct fs_row *row;
};

static int emit_run(void *arg, const struct mk_run_entry *entry)
{
	struct emitting *e = arg;
	struct fs_child child = {
		.row = e->row,
		.name = entry->dir,
		.cookie = (uint64_t)entry->id,
		.object = entry->id,
		.known = true,
		.stat = {.size = 0, .mtime = entry->changed},
	};

	return e->emit(e->arg, &child);
}

int fs_runs_list(struct fs_at *at, uint64_t after, fs_emit *emit, void *arg)
{
	struct emitting e = {emit, arg, fs_placeholder(at->row, 0)};
	const struct mk_run_query query = {
		.project_id = at->object,
		.deleted = at->row->which == 1,
		.after = (int64_t)after,
	};

	return mk_run_list(at->call, at->m, &query, emit_run, &e);
}

int fs_runs_find(struct fs_at *at, const char *name, struct fs_child *child)
{
	bool deleted = at->row->which == 1;
	int64_t id;
	int r = mk_run_find(at->call, at->m, at->object, name, deleted, &id);

	if (r == 0) {
		child->row = fs_placeholder(at->row, 0);
		child->object = id;
		return 0;
	}
	if (r != -ENOENT || deleted)
		return r;
	mk_error_clear(at->call);
	r = mk_run_resolve(at->call, at->m, at->object, name, &id);
	if (r < 0)
		return r;

	_cleanup_run_ struct fs_run *run = NULL;

	r = fs_run_get(at, id, &run);
	if (r < 0)
		return r;
	if (run->run.deleted || strcmp(run->run.dir, name) == 0)
		return -ENOENT;
	child->row = fs_placeholder(at->row, 1);
	child->object = id;
	return 0;
}

int fs_run_dir_rename(struct fs_at *at, struct fs_at *to, const char *name)
{
	bool from_deleted = at->parent->row->which == 1;

	if (strcmp(name, at->name) != 0)
		return mk_fail(at->call, EPERM, "%s: a run keeps its name for ever", at->name);
	if (to->row->find != fs_runs_find || fs_at_object(to, FS_PROJECT) != fs_at_object(at, FS_PROJECT))
		return mk_fail(at->call, EPERM, "%s: a run stays in its project", at->name);
	if (to->node == at->parent)
		return 0;
	return from_deleted ? mk_run_restore(at->call, at->m, at->object) :
			      mk_run_delete(at->call, at->m, at->object);
}

int fs_run_alias_link(struct fs_at *at, struct mk_buf *target)
{
	_cleanup_run_ struct fs_run *run = NULL;
	int r = fs_run_get(at, at->object, &run);

	return r < 0 ? r : mk_buf_puts(target, run->run.dir);
}

static int latest(struct fs_at *at, struct fs_run **ret)
{
	int64_t id;
	int r = mk_run_latest(at->call, at->m, at->object, &id);

	if (r < 0)
		return r;
	return id ? fs_run_get(at, id, ret) : -ENOENT;
}

int fs_latest_stat(struct fs_at *at, struct fs_stat *st)
{
	_cleanup_run_ struct fs_run *run = NULL;
	int r = latest(at, &run);

	if (r < 0)
		return r;
	st->size = (int64_t)strlen(run->run.dir);
	st->mtime = run->run.submitted;
	return 0;
}

int fs_latest_link(struct fs_at *at, struct mk_buf *target)
{
	_cleanup_run_ struct fs_run *run = NULL;
	int r = latest(at, &run);

	return r < 0 ? r : mk_buf_puts(target, run->run.dir);
}

/* --- new ----------------------------------------------------------------------------------- */

int fs_new_stat(struct fs_at *at, struct fs_stat *st)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF(MK_LIMIT_TEXT);
	int r = fs_answer_get(at, &text);

	st->size = (int64_t)text.len;
	return r;
}

int fs_new_show(struct fs_at *at, struct mk_buf *text)
{
	return fs_answer_get(at, text);
}

int fs_new_commit(struct fs_at *at, struct fs_commit *commit)
{
	const struct mk_submit_options options = {.source = "runs/new"};

	(void)fs_who_group(at->call); /* who submits it: the same text twice is one submission */
	return mk_submit(at->call, at->m, at->object, commit->text, commit->len, &options,
			 commit->answer);
}
