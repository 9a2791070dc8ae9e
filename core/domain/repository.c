/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Repositories of a project: rows that mkdir makes and repository.yaml fills (text.c). Their
 * contents are code.c's. The mirror's name says nothing of the repository's: that may be renamed,
 * the mirror stays.
 */
#include <mantik/code.h>

#include <errno.h>
#include <stdlib.h>

#include "domain/code.h"
#include "domain/domain.h"
#include "domain/noun.h"

#define SELECT                                                                         \
	"SELECT id, project_id, name, uri, default_branch, created, changed, fetched," \
	" error, touched FROM repositories WHERE hidden = 0 AND "
#define NEW_MIRROR "lower(hex(randomblob(8))) || '.git'"

void mk_repository_free(struct mk_repository *repository)
{
	free(repository->name);
	free(repository->uri);
	free(repository->default_branch);
	free(repository->error);
	*repository = (struct mk_repository){};
}

static void copy(struct mk_stmt *stmt, void *ret)
{
	*(struct mk_repository *)ret = (struct mk_repository){
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

static int renamed(struct mk_call *call, struct mk_conn *conn, int64_t id)
{
	return mk_db_changed(call, conn, "repository", id);
}

static const struct mk_noun noun = {
	.what = "repository",
	.find = SELECT "project_id = ?1 AND name = ?2",
	.get = SELECT "id = ?1",
	.make = "INSERT INTO repositories (project_id, name, mirror, created, changed)"
		" SELECT id, ?2, " NEW_MIRROR ", ?3, ?3 FROM projects WHERE id = ?1"
		" AND deleted = 0",
	.rename = "UPDATE repositories SET name = ?2, changed = max(changed + 1, ?3), touched = 1"
		  " WHERE id = ?1",
	.look = "SELECT touched OR EXISTS (SELECT 1 FROM runs WHERE repository_id = ?1), project_id"
		" FROM repositories WHERE id = ?1 AND hidden = 0",
	.remove = "DELETE FROM repositories WHERE id = ?1",
	.not_empty = "the repository is not empty: only what a mkdir left untouched can be removed",
	.copy = copy,
	.renamed = renamed,
};

int mk_repository_list(struct mk_call *call, struct mantik *m, int64_t project_id,
		       mk_repository_emit *emit, void *arg)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db, SELECT "project_id = ?1 ORDER BY name", &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, project_id);
	while ((r = mk_step(call, stmt)) > 0) {
		_cleanup_(mk_repository_free) struct mk_repository repository = {};

		copy(stmt, &repository);
		r = emit(arg, &repository);
		if (r != 0)
			return r;
	}
	return r;
}

int mk_repository_find(struct mk_call *call, struct mantik *m, int64_t project_id, const char *name,
		       struct mk_repository *ret)
{
	return mk_noun_find(call, m, &noun, project_id, name, ret);
}

int mk_repository_get(struct mk_call *call, struct mantik *m, int64_t id, struct mk_repository *ret)
{
	return mk_noun_get(call, m, &noun, id, ret);
}

int mk_repository_make(struct mk_call *call, struct mantik *m, int64_t project_id, const char *name,
		       int64_t *ret_id)
{
	return mk_noun_make(call, m, &noun, project_id, name, ret_id);
}

int mk_repository_remove(struct mk_call *call, struct mantik *m, int64_t id)
{
	return mk_noun_remove(call, m, &noun, id);
}

int mk_repository_rename(struct mk_call *call, struct mantik *m, int64_t id, const char *name)
{
	return mk_noun_rename(call, m, &noun, id, name);
}

/* --- the one private mirror of a project's `code: path` snapshots; its name is nobody's ------ */

struct hidden {
	int64_t project_id, id;
};

/* 1 and its id, or 0: there is none yet. */
static int find_hidden(struct mk_call *call, struct mk_conn *conn, struct hidden *hidden)
{
	return mk_domain_int(call, conn,
			     "SELECT id FROM repositories WHERE project_id = ?1 AND hidden = 1",
			     hidden->project_id, 0, &hidden->id);
}

static int ensure_hidden(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	struct hidden *hidden = arg;
	int r = find_hidden(call, conn, hidden);

	if (r != 0)
		return r < 0 ? r : 0;
	r = mk_domain_run(
		call, conn,
		"INSERT INTO repositories (project_id, name, mirror, hidden, created, changed)"
		" SELECT id, char(1) || 'snapshots', " NEW_MIRROR
		", 1, ?2, ?2 FROM projects WHERE id = ?1",
		hidden->project_id, mk_now_real());
	if (r < 0)
		return r;
	if (!mk_rows_changed(conn))
		return mk_fail(call, ENOENT, "project %lld: there is none",
			       (long long)hidden->project_id);
	hidden->id = mk_last_id(conn);
	return mk_db_changed(call, conn, "repository", hidden->id);
}

int mk_repository_ensure_hidden(struct mk_call *call, struct mantik *m, int64_t project_id,
				int64_t *ret_id)
{
	struct hidden hidden = {.project_id = project_id};
	struct mk_conn *conn;
	int r = mk_db_reader(call, m->db, &conn);

	if (r == 0)
		r = find_hidden(call, conn, &hidden);
	if (r == 0)
		r = mk_domain_write(call, m, MK_DURABLE, ensure_hidden, &hidden);
	if (r < 0)
		return r;
	*ret_id = hidden.id;
	return 0;
}
