/* SPDX-License-Identifier: Apache-2.0 */
/* Experiments of a project: made by mkdir or by the first run that names them. */
#include <mantik/project.h>

#include <errno.h>
#include <stdlib.h>

#include "domain/domain.h"

#define COLUMNS "id, project_id, name, created, changed, touched, metric, maximize, best"

void mk_experiment_free(struct mk_experiment *experiment)
{
	free(experiment->name);
	free(experiment->metric);
	*experiment = (struct mk_experiment){};
}

/* Texts belong to the statement. */
static struct mk_experiment row(struct mk_stmt *stmt)
{
	return (struct mk_experiment){
		.id = mk_col_int(stmt, 0),
		.project_id = mk_col_int(stmt, 1),
		.name = (char *)mk_col_text(stmt, 2),
		.created = mk_col_int(stmt, 3),
		.changed = mk_col_int(stmt, 4),
		.touched = mk_col_int(stmt, 5),
		.metric = (char *)mk_col_text(stmt, 6),
		.maximize = mk_col_int(stmt, 7),
		.best = mk_col_int(stmt, 8),
	};
}

int mk_experiment_list(struct mk_call *call, struct mantik *m, int64_t project_id,
		       mk_experiment_emit *emit, void *arg)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db,
			   "SELECT " COLUMNS " FROM experiments WHERE project_id = ?"
			   " ORDER BY name",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, project_id);
	while ((r = mk_step(call, stmt)) > 0) {
		struct mk_experiment experiment = row(stmt);

		r = emit(arg, &experiment);
		if (r != 0)
			return r;
	}
	return r;
}

static int one(struct mk_call *call, struct mk_stmt *stmt, const char *name, int64_t id,
	       struct mk_experiment *ret)
{
	int r = mk_step(call, stmt);

	if (r < 0)
		return r;
	if (r == 0)
		return name ? mk_fail(call, ENOENT, "experiment \"%s\": there is none", name)
			    : mk_fail(call, ENOENT, "experiment %lld: there is none",
				      (long long)id);

	struct mk_experiment experiment = row(stmt);

	experiment.name = mk_strdup(experiment.name);
	experiment.metric = mk_strdup(experiment.metric);
	*ret = experiment;
	return 0;
}

int mk_experiment_find(struct mk_call *call, struct mantik *m, int64_t project_id, const char *name,
		       struct mk_experiment *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db,
			   "SELECT " COLUMNS " FROM experiments"
			   " WHERE project_id = ? AND name = ?",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, project_id);
	mk_bind_text(stmt, 2, name);
	return one(call, stmt, name, 0, ret);
}

int mk_experiment_get(struct mk_call *call, struct mantik *m, int64_t id, struct mk_experiment *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db, "SELECT " COLUMNS " FROM experiments WHERE id = ?", &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	return one(call, stmt, NULL, id, ret);
}

struct make {
	int64_t project_id;
	const char *name;
	int64_t id;
};

static int make(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	struct make *a = arg;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int64_t now = mk_now_real(), there;
	int r = mk_domain_int(call, conn, "SELECT id FROM projects WHERE id = ?1", a->project_id, 0,
			      &there);

	if (r < 0)
		return r;
	if (r == 0)
		return mk_fail(call, ENOENT, "project %lld: there is none",
			       (long long)a->project_id);
	r = mk_prepare(call, conn,
		       "INSERT INTO experiments (project_id, name, created, changed)"
		       " VALUES (?, ?, ?, ?)",
		       &stmt);
	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, a->project_id);
	mk_bind_text(stmt, 2, a->name);
	mk_bind_int(stmt, 3, now);
	mk_bind_int(stmt, 4, now);
	r = mk_exec(call, stmt);
	if (r == -EEXIST)
		return mk_fail(call, EEXIST, "experiment \"%s\" exists already", a->name);
	if (r < 0)
		return r;
	a->id = mk_last_id(conn);
	r = mk_db_changed(call, conn, "experiment", a->id);
	return r < 0 ? r : mk_project_touch(call, conn, a->project_id, false);
}

int mk_experiment_make(struct mk_call *call, struct mantik *m, int64_t project_id, const char *name,
		       int64_t *ret_id)
{
	struct make a = {.project_id = project_id, .name = name};
	int r = mk_domain_name(call, "experiment", name);

	if (r == 0)
		r = mk_domain_write(call, m, MK_DURABLE, make, &a);
	if (r == 0)
		*ret_id = a.id;
	return r;
}

int mk_experiment_ensure(struct mk_call *call, struct mk_conn *conn, int64_t project_id,
			 const char *name, int64_t *ret_id)
{
	struct make a = {.project_id = project_id, .name = name};
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "SELECT id FROM experiments WHERE project_id = ? AND name = ?", &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, project_id);
	mk_bind_text(stmt, 2, name);
	r = mk_step(call, stmt);
	if (r < 0)
		return r;
	if (r > 0) {
		*ret_id = mk_col_int(stmt, 0);
		return 0;
	}
	r = mk_domain_name(call, "experiment", name);
	if (r == 0)
		r = make(call, conn, &a);
	if (r == 0)
		*ret_id = a.id;
	return r;
}

static int remove_untouched(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	int64_t id = *(int64_t *)arg, touched, project_id = 0;
	int r = mk_domain_int(
		call, conn,
		"SELECT touched OR EXISTS (SELECT 1 FROM runs WHERE experiment_id = ?1)"
		" FROM experiments WHERE id = ?1",
		id, 0, &touched);

	if (r < 0)
		return r;
	if (r == 0)
		return mk_fail(call, ENOENT, "experiment %lld: there is none", (long long)id);
	if (touched)
		return mk_fail(call, ENOTEMPTY,
			       "the experiment is not empty; its runs go by "
			       "`echo delete > ctl`");
	r = mk_domain_int(call, conn, "SELECT project_id FROM experiments WHERE id = ?1", id, 0,
			  &project_id);
	if (r < 0)
		return r;
	r = mk_domain_run(call, conn, "DELETE FROM experiments WHERE id = ?1", id, 0);
	if (r < 0)
		return r;
	r = mk_db_changed(call, conn, "experiment", id);
	return r < 0 ? r : mk_project_touch(call, conn, project_id, false);
}

int mk_experiment_remove(struct mk_call *call, struct mantik *m, int64_t id)
{
	return mk_domain_write(call, m, MK_DURABLE, remove_untouched, &id);
}

struct rename {
	int64_t id;
	const char *name;
};

static int rename_experiment(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct rename *a = arg;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int64_t project_id = 0;
	int r = mk_prepare(call, conn, "UPDATE experiments SET name = ? WHERE id = ?", &stmt);

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, a->name);
	mk_bind_int(stmt, 2, a->id);
	r = mk_exec(call, stmt);
	if (r == -EEXIST)
		return mk_fail(call, EEXIST, "experiment \"%s\" exists already", a->name);
	if (r < 0)
		return r;
	if (!mk_rows_changed(conn))
		return mk_fail(call, ENOENT, "experiment %lld: there is none", (long long)a->id);
	r = mk_experiment_touch(call, conn, a->id, true);
	if (r == 0)
		r = mk_domain_int(call, conn, "SELECT project_id FROM experiments WHERE id = ?1",
				  a->id, 0, &project_id);
	/* runs.tsv of the project shows the experiment's name */
	return r < 0 ? r : mk_project_touch(call, conn, project_id, true);
}

int mk_experiment_rename(struct mk_call *call, struct mantik *m, int64_t id, const char *name)
{
	struct rename a = {.id = id, .name = name};
	int r = mk_domain_name(call, "experiment", name);

	return r < 0 ? r : mk_domain_write(call, m, MK_DURABLE, rename_experiment, &a);
}
