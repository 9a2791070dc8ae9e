/* SPDX-License-Identifier: Apache-2.0 */
/* Projects: made by mkdir, renamed, and removed as long as nobody put anything in. */
#include <mantik/project.h>

#include <errno.h>
#include <stdlib.h>

#include "domain/domain.h"
#include "domain/index/index.h"
#include "domain/noun.h"

#define SELECT "SELECT id, name, site, created, changed, touched, connection FROM projects "

void mk_project_free(struct mk_project *project)
{
	free(project->name);
	free(project->site);
	free(project->connection);
	*project = (struct mk_project){};
}

static void copy(struct mk_stmt *stmt, void *ret)
{
	*(struct mk_project *)ret = (struct mk_project){
		.id = mk_col_int(stmt, 0),
		.name = mk_col_dup(stmt, 1),
		.site = mk_col_dup(stmt, 2),
		.created = mk_col_int(stmt, 3),
		.changed = mk_col_int(stmt, 4),
		.touched = mk_col_int(stmt, 5),
		.connection = mk_col_dup(stmt, 6),
	};
}

static int renamed(struct mk_call *call, struct mk_conn *conn, int64_t id)
{
	return mk_project_touch(call, conn, id, true);
}

static const struct mk_noun noun = {
	.what = "project",
	.find = SELECT "WHERE name = ?2 AND deleted = 0",
	.get = SELECT "WHERE id = ?1",
	.make = "INSERT INTO projects (name, created, changed) VALUES (?2, ?3, ?3)",
	.restore = "UPDATE projects SET deleted = 0 WHERE ?1 = 0 AND name = ?2 AND deleted > 0"
		   " RETURNING id",
	.rename = "UPDATE projects SET name = ?2, changed = max(changed + 1, ?3) WHERE id = ?1",
	.look = "SELECT touched OR EXISTS (SELECT 1 FROM experiments WHERE project_id = ?1)"
		" OR EXISTS (SELECT 1 FROM repositories WHERE project_id = ?1)"
		" OR EXISTS (SELECT 1 FROM runs WHERE project_id = ?1), 0"
		" FROM projects WHERE id = ?1",
	.remove = "DELETE FROM projects WHERE id = ?1",
	.not_empty = "the project is not empty; `mantikctl delete` takes it away with all its "
		     "runs, `echo delete > ctl` one run",
	.copy = copy,
	.renamed = renamed,
};

int mk_project_list(struct mk_call *call, struct mantik *m, mk_project_emit *emit, void *arg)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_index_connections(call, m);

	if (r == 0)
		r = mk_db_read(call, m->db, SELECT "WHERE deleted = 0 ORDER BY name", &stmt);
	if (r < 0)
		return r;
	while ((r = mk_step(call, stmt)) > 0) {
		_cleanup_(mk_project_free) struct mk_project project = {};

		copy(stmt, &project);
		r = emit(arg, &project);
		if (r != 0)
			return r;
	}
	return r;
}

int mk_project_find(struct mk_call *call, struct mantik *m, const char *name,
		    struct mk_project *ret)
{
	int r = mk_noun_find(call, m, &noun, 0, name, ret);

	if (r != -ENOENT)
		return r;
	mk_error_clear(call);
	r = mk_index_connections(call, m); /* one may have come */
	return r < 0 ? r : mk_noun_find(call, m, &noun, 0, name, ret);
}

int mk_project_get(struct mk_call *call, struct mantik *m, int64_t id, struct mk_project *ret)
{
	return mk_noun_get(call, m, &noun, id, ret);
}

int mk_project_find_deleted(struct mk_call *call, struct mantik *m, const char *name,
			    struct mk_project *ret)
{
	static const struct mk_noun deleted = {
		.what = "deleted project",
		.find = SELECT "WHERE name = ?2 AND deleted > 0",
		.copy = copy,
	};

	return mk_noun_find(call, m, &deleted, 0, name, ret);
}

int mk_project_make(struct mk_call *call, struct mantik *m, const char *name, int64_t *ret_id)
{
	return mk_noun_make(call, m, &noun, 0, name, ret_id);
}

int mk_project_ensure(struct mk_call *call, struct mk_conn *conn, const char *name,
		      int64_t *ret_id)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "SELECT id, connection FROM projects WHERE name = ? AND deleted = 0", &stmt);

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, name);
	r = mk_step(call, stmt);
	if (r < 0)
		return r;
	if (r == 0)
		return mk_noun_insert(call, conn, &noun, 0, name, ret_id);
	if (!mk_col_null(stmt, 1))
		return mk_fail(call, EEXIST, "project \"%s\" is that of the connection %s", name,
			       mk_col_text(stmt, 1));
	*ret_id = mk_col_int(stmt, 0);
	return 0;
}

int mk_project_remove(struct mk_call *call, struct mantik *m, int64_t id)
{
	return mk_noun_remove(call, m, &noun, id);
}

int mk_project_rename(struct mk_call *call, struct mantik *m, int64_t id, const char *name)
{
	return mk_noun_rename(call, m, &noun, id, name);
}
