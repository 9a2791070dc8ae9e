/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Repositories of a project: rows that mkdir makes and repository.yaml fills (text.c). Their
 * contents are code.c's.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include <mantik/code.h>

#include "domain/code.h"
#include "domain/domain.h"

#define COLUMNS                                                                                 \
	"id, project_id, name, uri, default_branch, created, changed, fetched, error, touched " \
	"FROM repositories WHERE hidden = 0 AND "

void mk_repository_free(struct mk_repository *repository)
{
	free(repository->name);
	free(repository->uri);
	free(repository->default_branch);
	free(repository->error);
	*repository = (struct mk_repository){};
}

static struct mk_repository copy_row(struct mk_stmt *stmt)
{
	return (struct mk_repository){
		.id = mk_col_int(stmt, 0),
		.project_id = mk_col_int(stmt, 1),
		.name = mk_col_dup(stmt, 2),
		.uri = mk_col_dup(stmt, 3),
		.default_branch = mk_col_dup(stmt, 4),
		.created = mk_col_int(stmt, 5),
		.changed = mk_col_int(stmt, 6),
		.fetched = mk_col_int(stmt, 7),
		.error = mk_col_dup(stmt, 8),
		.touched = mk_col_int(stmt, 9),
	};
}

int mk_repository_list(struct mk_call *call, struct mantik *m, int64_t project_id,
		       mk_repository_emit *emit, void *arg)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db, "SELECT " COLUMNS "project_id = ?1 ORDER BY name", &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, project_id);
	while ((r = mk_step(call, stmt)) > 0) {
		_cleanup_(mk_repository_free) struct mk_repository repository = copy_row(stmt);

		r = emit(arg, &repository);
		if (r)
			return r;
	}
	return r;
}

int mk_repository_find(struct mk_call *call, struct mantik *m, int64_t project_id, const char *name,
		       struct mk_repository *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db, "SELECT " COLUMNS "project_id = ?1 AND name = ?2", &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, project_id);
	mk_bind_text(stmt, 2, name);
	r = mk_step(call, stmt);
	if (r < 0)
		return r;
	if (r == 0)
		return mk_fail(call, ENOENT, "no repository \"%s\" in this project", name);
	*ret = copy_row(stmt);
	return 0;
}

int mk_repository_get(struct mk_call *call, struct mantik *m, int64_t id, struct mk_repository *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db, "SELECT " COLUMNS "id = ?1", &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	r = mk_step(call, stmt);
	if (r < 0)
		return r;
	if (r == 0)
		return mk_fail(call, ENOENT, "repository %lld: there is none", (long long)id);
	*ret = copy_row(stmt);
	return 0;
}

struct make {
	int64_t project_id, id;
	const char *name;
	bool hidden;
};

/* The mirror's name says nothing of the repository's: both may be renamed, the mirror stays. */
static int make(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	struct make *make = arg;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int64_t now = mk_now_real(), there;
	unsigned char random[8];
	char mirror[32];
	int r = mk_domain_int(call, conn, "SELECT 1 FROM projects WHERE id = ?1", make->project_id,
			      0, &there);

	if (r < 0)
		return r;
	if (r == 0)
		return mk_fail(call, ENOENT, "repository \"%s\": the project is gone", make->name);
	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return mk_fail(call, EIO, "no random numbers: %s", strerror(errno));
	for (int i = 0; i < 8; i++)
		(void)snprintf(mirror + 2 * i, 3, "%02x", random[i]);
	(void)snprintf(mirror + 16, sizeof(mirror) - 16, ".git");
	r = mk_prepare(call, conn,
		       "INSERT INTO repositories (project_id, name, mirror, hidden, created, "
		       "changed) VALUES (?1, ?2, ?3, ?4, ?5, ?5)",
		       &stmt);
	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, make->project_id);
	mk_bind_text(stmt, 2, make->name);
	mk_bind_text(stmt, 3, mirror);
	mk_bind_int(stmt, 4, make->hidden);
	mk_bind_int(stmt, 5, now);
	r = mk_exec(call, stmt);
	if (r == -EEXIST)
		return mk_fail(call, EEXIST, "repository \"%s\" exists", make->name);
	if (r < 0)
		return r;
	make->id = mk_last_id(conn);
	r = mk_db_changed(call, conn, "repository", make->id);
	return r < 0 || make->hidden ? r : mk_project_touch(call, conn, make->project_id, false);
}

int mk_repository_make(struct mk_call *call, struct mantik *m, int64_t project_id, const char *name,
		       int64_t *ret_id)
{
	struct make it = {.project_id = project_id, .name = name};
	int r = mk_domain_name(call, "repository", name);

	if (r == 0)
		r = mk_domain_write(call, m, MK_DURABLE, make, &it);
	if (r == 0)
		*ret_id = it.id;
	return r;
}

/* The one private mirror of a project's `code: path` snapshots; its name is nobody's. */
static int ensure_hidden(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	struct make *it = arg;
	int r = mk_domain_int(call, conn,
			      "SELECT id FROM repositories WHERE project_id = ?1 AND hidden = 1",
			      it->project_id, 0, &it->id);

	return r ? (r < 0 ? r : 0) : make(call, conn, it);
}

int mk_repository_ensure_hidden(struct mk_call *call, struct mantik *m, int64_t project_id,
				int64_t *ret_id)
{
	struct make it = {.project_id = project_id, .name = "\1snapshots", .hidden = true};
	struct mk_conn *conn;
	int r = mk_db_reader(call, m->db, &conn);

	if (r == 0)
		r = mk_domain_int(
			call, conn,
			"SELECT id FROM repositories WHERE project_id = ?1 AND hidden = 1",
			project_id, 0, &it.id);
	if (r == 0)
		r = mk_domain_write(call, m, MK_DURABLE, ensure_hidden, &it);
	if (r < 0)
		return r;
	*ret_id = it.id;
	return 0;
}

struct edit {
	int64_t id, project_id;
	const char *name;
	char mirror[64]; /* of a removed one */
};

static int remove_row(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	static const char *const sql[] = {
		"DELETE FROM texts WHERE kind = ?2 AND owner = ?1",
		"DELETE FROM repositories WHERE id = ?1",
	};
	struct edit *edit = arg;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(
		call, conn,
		"SELECT touched OR EXISTS (SELECT 1 FROM runs WHERE repository_id = ?1),"
		" name, mirror, project_id FROM repositories WHERE id = ?1 AND hidden = 0",
		&stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, edit->id);
	r = mk_step(call, stmt);
	if (r < 0)
		return r;
	if (r == 0)
		return mk_fail(call, ENOENT, "repository %lld: there is none", (long long)edit->id);
	if (mk_col_int(stmt, 0))
		return mk_fail(call, ENOTEMPTY,
			       "repository \"%s\" is not empty: only what a mkdir left untouched "
			       "can be removed",
			       mk_col_text(stmt, 1));
	(void)snprintf(edit->mirror, sizeof(edit->mirror), "%s", mk_col_text(stmt, 2));
	edit->project_id = mk_col_int(stmt, 3);
	mk_reset(&stmt);
	r = mk_domain_run(call, conn, sql[0], edit->id, MK_TEXT_REPOSITORY);
	if (r == 0)
		r = mk_domain_run(call, conn, sql[1], edit->id, 0);
	if (r == 0)
		r = mk_project_touch(call, conn, edit->project_id, false);
	return r < 0 ? r : mk_db_changed(call, conn, "repository", edit->id);
}

int mk_repository_remove(struct mk_call *call, struct mantik *m, int64_t id)
{
	struct edit edit = {.id = id};

	return mk_domain_write(call, m, MK_DURABLE, remove_row, &edit);
}

static int rename_row(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	struct edit *edit = arg;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "UPDATE repositories SET name = ?2, changed = ?3, touched = 1 "
			   "WHERE id = ?1 AND hidden = 0",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, edit->id);
	mk_bind_text(stmt, 2, edit->name);
	mk_bind_int(stmt, 3, mk_now_real());
	r = mk_exec(call, stmt);
	if (r == -EEXIST)
		return mk_fail(call, EEXIST, "repository \"%s\" exists", edit->name);
	if (r < 0)
		return r;
	if (!mk_rows_changed(conn))
		return mk_fail(call, ENOENT, "repository %lld: there is none", (long long)edit->id);
	r = mk_domain_int(call, conn, "SELECT project_id FROM repositories WHERE id = ?1", edit->id,
			  0, &edit->project_id);
	if (r > 0)
		r = mk_project_touch(call, conn, edit->project_id, false);
	return r < 0 ? r : mk_db_changed(call, conn, "repository", edit->id);
}

int mk_repository_rename(struct mk_call *call, struct mantik *m, int64_t id, const char *name)
{
	struct edit edit = {.id = id, .name = name};
	int r = mk_domain_name(call, "repository", name);

	return r < 0 ? r : mk_domain_write(call, m, MK_DURABLE, rename_row, &edit);
}
