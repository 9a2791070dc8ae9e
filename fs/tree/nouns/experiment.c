/* SPDX-License-Identifier: Apache-2.0 */
/* The runs of an experiment as links, and the tables. */
#include "../noun.h"

struct emitting {
	fs_emit *emit;
	void *arg;
	const struct fs_row *row;
};

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
	r = fs_run_peek(at, id, &run);
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
	int r = fs_run_peek(at, at->object, &run);

	if (r < 0)
		return r;
	st->size = (int64_t)(sizeof(up) - 1 + strlen(run->run.dir));
	st->mtime = run->run.changed;
	return 0;
}

/* The path of a run never changes, and the link has its name: `ls -l` of ten thousand asks nobody. */
int fs_experiment_run_link(struct fs_at *at, struct mk_buf *target)
{
	return mk_buf_printf(target, "%s%s", up, at->name);
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
