/* SPDX-License-Identifier: Apache-2.0 */
/* Experiments of a project: made by mkdir or by the first run that names them. */
#include <mantik/project.h>

#include <errno.h>
#include <stdlib.h>

#include "domain/domain.h"
#include "domain/index/index.h"
#include "domain/noun.h"
#include "domain/outbox/outbox.h"

#define SELECT                                                                            \
	"SELECT id, project_id, name, created, changed, touched, metric, maximize, best " \
	"FROM experiments "

void mk_experiment_free(struct mk_experiment *experiment)
{
	free(experiment->name);
	free(experiment->metric);
	*experiment = (struct mk_experiment){};
}

static void copy(struct mk_stmt *stmt, void *ret)
{
	*(struct mk_experiment *)ret = (struct mk_experiment){
		.id = mk_col_int(stmt, 0),
		.project_id = mk_col_int(stmt, 1),
		.name = mk_col_dup(stmt, 2),
		.created = mk_col_int(stmt, 3),
		.changed = mk_col_int(stmt, 4),
		.touched = mk_col_int(stmt, 5),
		.metric = mk_col_dup(stmt, 6),
		.maximize = mk_col_int(stmt, 7),
		.best = mk_col_int(stmt, 8),
	};
}

static int renamed(struct mk_call *call, struct mk_conn *conn, int64_t id)
{
	return mk_experiment_touch(call, conn, id, true);
}

static const struct mk_noun noun = {
	.what = "experiment",
	.find = SELECT "WHERE project_id = ?1 AND name = ?2 AND deleted = 0",
	.get = SELECT "WHERE id = ?1",
	.make = "INSERT INTO experiments (project_id, name, created, changed)"
		" SELECT id, ?2, ?3, ?3 FROM projects WHERE id = ?1 AND deleted = 0",
	.restore = "UPDATE experiments SET deleted = 0 WHERE project_id = ?1 AND name = ?2"
		   " AND deleted > 0 AND remote_id IS NULL RETURNING id",
	.rename = "UPDATE experiments SET name = ?2, changed = max(changed + 1, ?3) WHERE id = ?1",
	.look = "SELECT touched OR EXISTS (SELECT 1 FROM runs WHERE experiment_id = ?1), project_id"
		" FROM experiments WHERE id = ?1",
	.remove = "DELETE FROM experiments WHERE id = ?1",
	.not_empty = "the experiment is not empty; `mantikctl delete` takes it away with all its "
		     "runs, `echo delete > ctl` one run",
	.in_tables = true,
	.copy = copy,
	.renamed = renamed,
};

int mk_experiment_list(struct mk_call *call, struct mantik *m, int64_t project_id,
		       mk_experiment_emit *emit, void *arg)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_index_experiments(call, m, project_id);

	if (r == 0)
		r = mk_db_read(call, m->db,
			       SELECT "WHERE project_id = ?1 AND deleted = 0 ORDER BY name", &stmt);
	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, project_id);
	while ((r = mk_step(call, stmt)) > 0) {
		_cleanup_(mk_experiment_free) struct mk_experiment experiment = {};

		copy(stmt, &experiment);
		r = emit(arg, &experiment);
		if (r != 0)
			return r;
	}
	return r;
}

int mk_experiment_find(struct mk_call *call, struct mantik *m, int64_t project_id, const char *name,
		       struct mk_experiment *ret)
{
	int r = mk_noun_find(call, m, &noun, project_id, name, ret);

	if (r != -ENOENT)
		return r;
	mk_error_clear(call);
	r = mk_index_experiments(call, m, project_id);
	return r < 0 ? r : mk_noun_find(call, m, &noun, project_id, name, ret);
}

int mk_experiment_find_deleted(struct mk_call *call, struct mantik *m, int64_t project_id,
			       const char *name, struct mk_experiment *ret)
{
	static const struct mk_noun deleted = {
		.what = "deleted experiment",
		.find = SELECT "WHERE project_id = ?1 AND name = ?2 AND deleted > 0",
		.copy = copy,
	};

	return mk_noun_find(call, m, &deleted, project_id, name, ret);
}

int mk_experiment_get(struct mk_call *call, struct mantik *m, int64_t id, struct mk_experiment *ret)
{
	return mk_noun_get(call, m, &noun, id, ret);
}

int mk_experiment_make(struct mk_call *call, struct mantik *m, int64_t project_id, const char *name,
		       int64_t *ret_id)
{
	int r = mk_store_experiment_make(call, m, project_id, name, ret_id);

	if (r != 0)
		return r < 0 ? r : 0;
	return mk_noun_make(call, m, &noun, project_id, name, ret_id);
}

int mk_experiment_ensure(struct mk_call *call, struct mk_conn *conn, int64_t project_id,
			 const char *name, int64_t *ret_id)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "SELECT id FROM experiments WHERE project_id = ?1 AND name = ?2"
			   " AND deleted = 0",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, project_id);
	mk_bind_text(stmt, 2, name);
	r = mk_step(call, stmt);
	if (r < 0)
		return r;
	if (r == 0)
		return mk_noun_insert(call, conn, &noun, project_id, name, ret_id);
	*ret_id = mk_col_int(stmt, 0);
	return 0;
}

int mk_experiment_remove(struct mk_call *call, struct mantik *m, int64_t id)
{
	int r = mk_store_experiment_move(call, m, id, true, true);

	if (r != 0)
		return r < 0 ? r : 0;
	return mk_noun_remove(call, m, &noun, id);
}

int mk_experiment_rename(struct mk_call *call, struct mantik *m, int64_t id, const char *name)
{
	int r = mk_store_experiment_rename(call, m, id, name);

	if (r != 0)
		return r < 0 ? r : 0;
	return mk_noun_rename(call, m, &noun, id, name);
}

int mk_experiment_tag_set(struct mk_call *call, struct mk_conn *conn, int64_t id, const char *key,
			  const char *value)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   value ? "INSERT INTO experiment_tags (experiment_id, key, value)"
				   " VALUES (?1, ?2, ?3)"
				   " ON CONFLICT DO UPDATE SET value = excluded.value"
				 : "DELETE FROM experiment_tags WHERE experiment_id = ?1 AND key = ?2",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	mk_bind_text(stmt, 2, key);
	if (value)
		mk_bind_text(stmt, 3, value);
	return mk_exec(call, stmt);
}
