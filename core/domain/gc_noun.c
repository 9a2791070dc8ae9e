/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of deleted experiments and projects (delete.c marked them) in which no run is left: their
 * texts, repositories and names. Mirrors of their repositories go with mk_code_gc().
 */
#include <mantik/project.h>

#include <errno.h>

#include "domain/domain.h"
#include "domain/track/logged_model.h"

struct ids {
	int64_t *v;
	size_t n;
};

static void ids_free(struct ids *ids)
{
	free(ids->v);
}

/* ?1 project or 0, ?2 experiment or 0, ?3 deleted until then */
static const char find_experiments[] =
	"SELECT id FROM experiments e WHERE deleted > 0 AND deleted <= ?3 AND remote_id IS NULL"
	" AND (?1 = 0 OR project_id = ?1) AND (?2 = 0 OR id = ?2)"
	" AND NOT EXISTS (SELECT 1 FROM runs WHERE experiment_id = e.id)";
static const char find_projects[] =
	"SELECT id FROM projects p WHERE deleted > 0 AND deleted <= ?3 AND connection IS NULL"
	" AND ?2 = 0 AND (?1 = 0 OR id = ?1)"
	" AND NOT EXISTS (SELECT 1 FROM runs WHERE project_id = p.id)"
	" AND NOT EXISTS (SELECT 1 FROM experiments WHERE project_id = p.id)";

static int find(struct mk_call *call, struct mantik *m, const char *sql, const int64_t key[3],
		struct ids *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db, sql, &stmt);

	if (r < 0)
		return r;
	for (int i = 0; i < 3; i++)
		mk_bind_int(stmt, i + 1, key[i]);
	while ((r = mk_step(call, stmt)) > 0) {
		int64_t *v = reallocarray(ret->v, ret->n + 1, sizeof(*v));

		if (!v)
			return mk_fail(call, ENOMEM, "too much is deleted at once");
		ret->v = v;
		ret->v[ret->n++] = mk_col_int(stmt, 0);
	}
	return r;
}

/* The rows of one, if it is still deleted and nothing has come into it: 1. */
struct end {
	int64_t id;
	const char *still; /* ?1 id: a row */
	const char *const *sql;
	const char *what;
	bool done;
};

static int remove_rows(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	struct end *end = arg;
	int64_t there;
	int r = mk_domain_int(call, conn, end->still, end->id, 0, &there);

	end->done = r > 0;
	if (r <= 0)
		return r;
	r = 0;
	for (size_t i = 0; r == 0 && end->sql[i]; i++)
		r = mk_domain_run(call, conn, end->sql[i], end->id, 0);
	return r < 0 ? r : mk_db_changed(call, conn, end->what, end->id);
}

/* How many were ended. */
static int end_all(struct mk_call *call, struct mantik *m, const struct ids *ids, struct end end)
{
	int n = 0, r = 0;

	for (size_t i = 0; r == 0 && i < ids->n; i++) {
		end.id = ids->v[i];
		r = mk_call_check(call, "the end of what is deleted");
		if (r == 0)
			r = mk_domain_write(call, m, MK_DURABLE, remove_rows, &end);
		n += r == 0 && end.done;
	}
	return r < 0 ? r : n;
}

/* Models logged in it that no run logged, or that outlived theirs. */
static int mark_models(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	return mk_domain_run(call, conn,
			     "UPDATE logged_models SET deleted = 1 WHERE experiment_id = ?1"
			     " AND EXISTS (SELECT 1 FROM experiments WHERE id = ?1 AND deleted > 0)",
			     *(int64_t *)arg, 0);
}

static int end_experiments(struct mk_call *call, struct mantik *m, const int64_t key[3])
{
	static const char *const sql[] = {
		"DELETE FROM experiment_tags WHERE experiment_id = ?1",
		"DELETE FROM texts WHERE kind = 3 AND owner = ?1",
		"DELETE FROM experiments WHERE id = ?1",
		NULL,
	};
	_cleanup_(ids_free) struct ids ids = {};
	int r = find(call, m, find_experiments, key, &ids);

	for (size_t i = 0; r == 0 && i < ids.n; i++)
		r = mk_domain_write(call, m, MK_DURABLE, mark_models, &ids.v[i]);
	if (r == 0 && ids.n) {
		r = mk_logged_model_gc(call, m, 1);
		r = r < 0 ? r : 0;
	}
	return r < 0 ? r
		     : end_all(call, m, &ids,
			       (struct end){
				       .what = "experiment",
				       .sql = sql,
				       /* one a registered version is made of stays, and this with it */
				       .still = "SELECT 1 FROM experiments WHERE id = ?1"
						" AND deleted > 0 AND NOT EXISTS (SELECT 1 FROM runs"
						" WHERE experiment_id = ?1) AND NOT EXISTS (SELECT 1"
						" FROM logged_models WHERE experiment_id = ?1)",
			       });
}

static int end_projects(struct mk_call *call, struct mantik *m, const int64_t key[3])
{
	/* (Of registered models only those that were deleted: their numbers are not given again.) */
	static const char *const sql[] = {
		"DELETE FROM texts WHERE kind IN (0, 1, 2) AND owner = ?1",
		"DELETE FROM texts WHERE kind = 4 AND owner IN"
		" (SELECT id FROM repositories WHERE project_id = ?1)",
		"DELETE FROM repositories WHERE project_id = ?1",
		"DELETE FROM version_tags WHERE version_id IN (SELECT v.id FROM model_versions v"
		" JOIN models o ON o.id = v.model_id WHERE o.project_id = ?1)",
		"DELETE FROM model_aliases WHERE model_id IN"
		" (SELECT id FROM models WHERE project_id = ?1)",
		"DELETE FROM model_tags WHERE model_id IN"
		" (SELECT id FROM models WHERE project_id = ?1)",
		"DELETE FROM model_versions WHERE model_id IN"
		" (SELECT id FROM models WHERE project_id = ?1)",
		"DELETE FROM models WHERE project_id = ?1",
		"DELETE FROM submissions WHERE project_id = ?1",
		"DELETE FROM marks WHERE project_id = ?1",
		"DELETE FROM projects WHERE id = ?1",
		NULL,
	};
	_cleanup_(ids_free) struct ids ids = {};
	int r = find(call, m, find_projects, key, &ids);

	return r < 0 ? r
		     : end_all(call, m, &ids,
			       (struct end){
				       .what = "project",
				       .sql = sql,
				       .still = "SELECT 1 FROM projects p WHERE id = ?1"
						" AND deleted > 0 AND NOT EXISTS (SELECT 1 FROM runs"
						" WHERE project_id = p.id) AND NOT EXISTS (SELECT 1"
						" FROM experiments WHERE project_id = p.id)"
						" AND NOT EXISTS (SELECT 1 FROM models"
						" WHERE project_id = p.id AND gone = 0)",
			       });
}

int mk_project_gc(struct mk_call *call, struct mantik *m, int64_t project_id,
		  int64_t experiment_id, int64_t older, int *ret_experiments, int *ret_projects)
{
	const int64_t key[3] = {project_id, experiment_id, mk_now_real() - older};
	int experiments, projects;

	if (m->read_only)
		return mk_fail(call, EROFS, "the platform is open for reading only");
	experiments = end_experiments(call, m, key);
	if (experiments < 0)
		return experiments;
	projects = end_projects(call, m, key);
	if (projects < 0)
		return projects;
	*ret_experiments = experiments;
	*ret_projects = projects;
	return 0;
}
