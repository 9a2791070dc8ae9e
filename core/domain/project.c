/* SPDX-License-Identifier: Apache-2.0 */
/* Projects: made by mkdir, renamed, and removed as long as nobody put anything in. */
#include <mantik/project.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "domain/domain.h"

#define COLUMNS "id, name, site, created, changed, touched"

void mk_project_free(struct mk_project *project)
{
	free(project->name);
	free(project->site);
	*project = (struct mk_project){};
}

/* Texts belong to the statement. */
static struct mk_project row(struct mk_stmt *stmt)
{
	return (struct mk_project){
		.id = mk_col_int(stmt, 0),
		.name = (char *)mk_col_text(stmt, 1),
		.site = (char *)mk_col_text(stmt, 2),
		.created = mk_col_int(stmt, 3),
		.changed = mk_col_int(stmt, 4),
		.touched = mk_col_int(stmt, 5),
	};
}

int mk_project_list(struct mk_call *call, struct mantik *m, mk_project_emit *emit, void *arg)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db, "SELECT " COLUMNS " FROM projects ORDER BY name", &stmt);

	if (r < 0)
		return r;
	while ((r = mk_step(call, stmt)) > 0) {
		struct mk_project project = row(stmt);

		r = emit(arg, &project);
		if (r != 0)
			return r;
	}
	return r;
}

/* The one row of a bound statement, or `ENOENT what`. */
static int one(struct mk_call *call, struct mk_stmt *stmt, const char *name, int64_t id,
	       struct mk_project *ret)
{
	int r = mk_step(call, stmt);

	if (r < 0)
		return r;
	if (r == 0)
		return name ? mk_fail(call, ENOENT, "project \"%s\": there is none", name)
			    : mk_fail(call, ENOENT, "project %lld: there is none", (long long)id);

	struct mk_project project = row(stmt);

	project.name = mk_strdup(project.name);
	project.site = mk_strdup(project.site);
	*ret = project;
	return 0;
}

int mk_project_find(struct mk_call *call, struct mantik *m, const char *name,
		    struct mk_project *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db, "SELECT " COLUMNS " FROM projects WHERE name = ?", &stmt);

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, name);
	return one(call, stmt, name, 0, ret);
}

int mk_project_get(struct mk_call *call, struct mantik *m, int64_t id, struct mk_project *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db, "SELECT " COLUMNS " FROM projects WHERE id = ?", &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	return one(call, stmt, NULL, id, ret);
}

struct make {
	const char *name;
	int64_t id;
};

static int make(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	struct make *a = arg;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int64_t now = mk_now_real();
	int r = mk_prepare(call, conn,
			   "INSERT INTO projects (name, created, changed) VALUES (?, ?, ?)", &stmt);

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, a->name);
	mk_bind_int(stmt, 2, now);
	mk_bind_int(stmt, 3, now);
	r = mk_exec(call, stmt);
	if (r == -EEXIST)
		return mk_fail(call, EEXIST, "project \"%s\" exists already", a->name);
	if (r < 0)
		return r;
	a->id = mk_last_id(conn);
	return mk_db_changed(call, conn, "project", a->id);
}

int mk_project_make(struct mk_call *call, struct mantik *m, const char *name, int64_t *ret_id)
{
	struct make a = {.name = name};
	int r = mk_domain_name(call, "project", name);

	if (r == 0)
		r = mk_domain_write(call, m, MK_DURABLE, make, &a);
	if (r == 0)
		*ret_id = a.id;
	return r;
}

static int remove_untouched(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	int64_t id = *(int64_t *)arg, touched;
	int r = mk_domain_int(
		call, conn,
		"SELECT touched OR EXISTS (SELECT 1 FROM experiments WHERE project_id = ?1)"
		" OR EXISTS (SELECT 1 FROM repositories WHERE project_id = ?1)"
		" OR EXISTS (SELECT 1 FROM runs WHERE project_id = ?1)"
		" FROM projects WHERE id = ?1",
		id, 0, &touched);

	if (r < 0)
		return r;
	if (r == 0)
		return mk_fail(call, ENOENT, "project %lld: there is none", (long long)id);
	if (touched)
		return mk_fail(call, ENOTEMPTY,
			       "the project is not empty; its runs go by "
			       "`echo delete > ctl`");
	r = mk_domain_run(call, conn, "DELETE FROM projects WHERE id = ?1", id, 0);
	return r < 0 ? r : mk_db_changed(call, conn, "project", id);
}

int mk_project_remove(struct mk_call *call, struct mantik *m, int64_t id)
{
	return mk_domain_write(call, m, MK_DURABLE, remove_untouched, &id);
}

struct rename {
	int64_t id;
	const char *name;
};

static int rename_project(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct rename *a = arg;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn, "UPDATE projects SET name = ? WHERE id = ?", &stmt);

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, a->name);
	mk_bind_int(stmt, 2, a->id);
	r = mk_exec(call, stmt);
	if (r == -EEXIST)
		return mk_fail(call, EEXIST, "project \"%s\" exists already", a->name);
	if (r < 0)
		return r;
	if (!mk_rows_changed(conn))
		return mk_fail(call, ENOENT, "project %lld: there is none", (long long)a->id);
	return mk_project_touch(call, conn, a->id, true);
}

int mk_project_rename(struct mk_call *call, struct mantik *m, int64_t id, const char *name)
{
	struct rename a = {.id = id, .name = name};
	int r = mk_domain_name(call, "project", name);

	return r < 0 ? r : mk_domain_write(call, m, MK_DURABLE, rename_project, &a);
}
