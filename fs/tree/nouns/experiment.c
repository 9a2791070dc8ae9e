/* SPDX-License-Identifier: Apache-2.0 */
/* experiments/, the runs of one as links, and the tables. */
#include "../noun.h"

struct emitting {
	fs_emit *emit;
	void *arg;
	const struct fs_row *row;
};

static int emit_experiment(void *arg, const struct mk_experiment *experiment)
{
	struct emitting *e = arg;
	_cleanup_buf_ struct mk_buf name = MK_BUF(4096);
	int r = mk_name_escape(&name, experiment->name, strlen(experiment->name));

	if (r < 0)
		return r;

	struct fs_child child = {
		.row = e->row,
		.name = mk_buf_text(&name),
		.object = experiment->id,
		.known = true,
		.stat = {.size = 0, .mtime = experiment->changed},
	};

	return e->emit(e->arg, &child);
}

int fs_experiments_list(struct fs_at *at, uint64_t after, fs_emit *emit, void *arg)
{
	struct emitting e = {emit, arg, fs_placeholder(at->row, 0)};

	return mk_experiment_list(at->call, at->m, at->object, emit_experiment, &e);
}

struct seeking {
	const char *entry;
	int64_t id;
};

static int seek_experiment(void *arg, const struct mk_experiment *experiment)
{
	struct seeking *s = arg;

	if (mk_name_is(s->entry, experiment->name))
		s->id = experiment->id;
	return 0;
}

int fs_experiments_find(struct fs_at *at, const char *name, struct fs_child *child)
{
	_cleanup_(mk_experiment_free) struct mk_experiment experiment = {};
	_cleanup_buf_ struct mk_buf real = MK_BUF(4096);
	int r = mk_name_unescape(&real, name, strlen(name));

	if (r == -EINVAL)
		return -ENOENT;
	if (r == -ENOENT) {
		struct seeking s = {.entry = name};

		r = mk_experiment_list(at->call, at->m, at->object, seek_experiment, &s);
		if (r < 0)
			return r;
		if (!s.id)
			return -ENOENT;
		r = mk_experiment_get(at->call, at->m, s.id, &experiment);
	} else if (r == 0) {
		r = mk_experiment_find(at->call, at->m, at->object, mk_buf_text(&real),
				       &experiment);
	}
	if (r < 0)
		return r;
	child->row = fs_placeholder(at->row, 0);
	child->object = experiment.id;
	child->known = true;
	child->stat = (struct fs_stat){.size = 0, .mtime = experiment.changed};
	return 0;
}

int fs_experiments_make(struct fs_at *at, const char *name, struct fs_child *child)
{
	_cleanup_buf_ struct mk_buf real = MK_BUF(4096);
	int r = fs_new_name(at, name, &real);

	if (r < 0)
		return r;
	child->row = fs_placeholder(at->row, 0);
	return mk_experiment_make(at->call, at->m, at->object, mk_buf_text(&real),
				  &child->object);
}

int fs_experiment_stat(struct fs_at *at, struct fs_stat *st)
{
	_cleanup_(mk_experiment_free) struct mk_experiment experiment = {};
	int r = mk_experiment_get(at->call, at->m, at->object, &experiment);

	if (r < 0)
		return r;
	st->mtime = experiment.changed;
	return 0;
}

int fs_experiment_remove(struct fs_at *at)
{
	return mk_experiment_remove(at->call, at->m, at->object);
}

int fs_experiment_rename(struct fs_at *at, struct fs_at *to, const char *name)
{
	_cleanup_buf_ struct mk_buf real = MK_BUF(4096);

	if (to->row->find != fs_experiments_find || to->node != at->parent)
		return mk_fail(at->call, EPERM, "an experiment stays in its project");

	int r = fs_new_name(at, name, &real);

	return r < 0 ? r : mk_experiment_rename(at->call, at->m, at->object, mk_buf_text(&real));
}

/* --- runs of an experiment ----------------------------------------------------------------- */

static const char up[] = "../../../runs/";

static int emit_run(void *arg, const struct mk_run_entry *entry)
{
	struct emitting *e = arg;
	struct fs_child child = {
		.row = e->row,
		.name = entry->dir,
		.cookie = (uint64_t)entry->id,
		.object = entry->id,
		.known = true,
		.stat = {.size = (int64_t)(sizeof(up) - 1 + strlen(entry->dir)),
			 .mtime = entry->changed},
	};

	return e->emit(e->arg, &child);
}

int fs_experiment_runs_list(struct fs_at *at, uint64_t after, fs_emit *emit, void *arg)
{
	struct emitting e = {emit, arg, fs_placeholder(at->row, 0)};
	const struct mk_run_query query = {
		.project_id = fs_at_object(at, FS_PROJECT),
		.experiment_id = at->object,
		.after = (int64_t)after,
	};

	return mk_run_list(at->call, at->m, &query, emit_run, &e);
}

int fs_experiment_runs_find(struct fs_at *at, const char *name, struct fs_child *child)
{
	_cleanup_run_ struct fs_run *run = NULL;
	int64_t id;
	int r = mk_run_find(at->call, at->m, fs_at_object(at, FS_PROJECT), name, false, &id);

	if (r < 0)
		return r;
	r = fs_run_get(at, id, &run);
	if (r < 0)
		return r;
	if (run->run.experiment_id != at->object)
		return -ENOENT;
	child->row = fs_placeholder(at->row, 0);
	child->object = id;
	return 0;
}

int fs_experiment_run_stat(struct fs_at *at, struct fs_stat *st)
{
	_cleanup_run_ struct fs_run *run = NULL;
	int r = fs_run_get(at, at->object, &run);

	if (r < 0)
		return r;
	st->size = (int64_t)(sizeof(up) - 1 + strlen(run->run.dir));
	st->mtime = run->run.changed;
	return 0;
}

int fs_experiment_run_link(struct fs_at *at, struct mk_buf *target)
{
	_cleanup_run_ struct fs_run *run = NULL;
	int r = fs_run_get(at, at->object, &run);

	return r < 0 ? r : mk_buf_printf(target, "%s%s", up, run->run.dir);
}

/* --- tables -------------------------------------------------------------------------------- */

int fs_table_stat(struct fs_at *at, struct fs_stat *st)
{
	return mk_table_generation(at->call, at->m, at->row->which, at->object, &st->generation,
				   &st->mtime);
}

int fs_table_show(struct fs_at *at, struct mk_buf *text)
{
	bool live = false;
	int r = mk_table_render(at->call, at->m, at->row->which, at->object, text, &live);

	return r < 0 ? r : live;
}
