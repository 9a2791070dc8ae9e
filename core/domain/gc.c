/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of deleted runs: first the working directory, then the record <data>/runs/<uid>, last the
 * rows, so that a kill in between leaves a deleted run that can be ended again, and nothing on disk
 * that nobody knows of.
 */
#include <mantik/run.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/path.h"
#include "domain/domain.h"
#include "domain/track/logged_model.h"

struct ids {
	int64_t *v;
	size_t n, cap;
};

static void ids_free(struct ids *ids)
{
	free(ids->v);
}

/* A registered version that lives off the files of a run: its record, or a model it logged. */
#define NEEDS(uid)                                                                             \
	"gone = 0 AND (instr(storage, '/' || " uid " || '/') > 0 OR EXISTS (SELECT 1 FROM"     \
	" logged_models l WHERE l.source_run = " uid                                           \
	" AND instr(storage, '/models/' || l.model_id || '/') > 0))"

/* Those that may be ended: all deleted before `until`, or of these the one. */
static int find(struct mk_call *call, struct mantik *m, int64_t id, int64_t until, struct ids *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db,
			   "SELECT id FROM runs WHERE deleted > 0 AND (status >= 2 OR api)"
			   " AND remote_id IS NULL AND"
			   " (?1 = 0 OR id = ?1) AND deleted <= ?2"
			   " AND NOT EXISTS (SELECT 1 FROM model_versions WHERE " NEEDS("runs.uid") ")"
			   " ORDER BY id",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	mk_bind_int(stmt, 2, until);
	while ((r = mk_step(call, stmt)) > 0) {
		if (ret->n == ret->cap) {
			size_t cap = ret->cap ? ret->cap * 2 : 64;
			void *v = reallocarray(ret->v, cap, sizeof(*ret->v));

			if (!v)
				return mk_fail(call, ENOMEM, "too many deleted runs at once");
			ret->v = v;
			ret->cap = cap;
		}
		ret->v[ret->n++] = mk_col_int(stmt, 0);
	}
	return r;
}

/* One directory named after the run, wherever it is; nothing else is ever removed. */
static int remove_dir(struct mk_call *call, const char *path, const char *uid)
{
	const char *slash = strrchr(path, '/');
	_cleanup_free_ char *parent = NULL, *real = NULL;

	if (!slash || slash == path || strcmp(slash + 1, uid) != 0)
		return mk_fail(call, EPERM, "%s: is not a directory of this run; remove it by hand",
			       path);
	parent = mk_strndup(path, (size_t)(slash - path));

	int r = mk_path_resolve(call, parent, &real);

	if (r < 0)
		return r;

	_cleanup_close_ int dir = open(real, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0 && errno == ENOENT)
		return 0;
	if (dir < 0)
		return mk_fail(call, errno, "%s: %s", real, strerror(errno));
	return mk_prefix(call, mk_remove_tree(call, dir, uid), "%s", real);
}

int mk_run_remove_rows(struct mk_call *call, struct mk_conn *conn, int64_t id)
{
	static const char *const sql[] = {
		"DELETE FROM points WHERE metric_id IN (SELECT id FROM metrics WHERE run_id = ?1)",
		"DELETE FROM metrics WHERE run_id = ?1",
		"DELETE FROM params WHERE run_id = ?1",
		"DELETE FROM tags WHERE run_id = ?1",
		"DELETE FROM harvest WHERE run_id = ?1",
		"DELETE FROM intents WHERE run_id = ?1",
		"DELETE FROM run_after WHERE run_id = ?1",
		"DELETE FROM run_after WHERE other_id = ?1",
		"DELETE FROM run_texts WHERE run_id = ?1",
		"DELETE FROM run_datasets WHERE run_id = ?1",
		"DELETE FROM run_models WHERE run_id = ?1",
		"DELETE FROM run_model_inputs WHERE run_id = ?1",
		"DELETE FROM model_points WHERE run_id = ?1",
		/* What it logged goes with it (mk_logged_model_gc). */
		"UPDATE logged_models SET deleted = 1 WHERE experiment_id IS NOT NULL"
		" AND source_run = (SELECT uid FROM runs WHERE id = ?1)",
		"DELETE FROM runs WHERE id = ?1",
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(sql) / sizeof(*sql); i++)
		r = mk_domain_run(call, conn, sql[i], id, 0);
	return r < 0 ? r : mk_db_changed(call, conn, "run", id);
}

static int remove_rows(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	int64_t id = *(int64_t *)arg, project_id;
	int r = mk_domain_int(call, conn,
			      "SELECT project_id FROM runs WHERE id = ?1 AND deleted > 0", id, 0,
			      &project_id);

	if (r < 0)
		return r;
	if (r == 0)
		return mk_fail(call, EBUSY, "run %lld: was restored meanwhile; its files are gone",
			       (long long)id);
	r = mk_run_remove_rows(call, conn, id);
	return r < 0 ? r : mk_project_touch(call, conn, project_id, true);
}

static void run_freep(struct mk_run *run)
{
	mk_run_free(run);
}

static int end_run(struct mk_call *call, struct mantik *m, int64_t id)
{
	_cleanup_(run_freep) struct mk_run run = {};
	_cleanup_free_ char *record = NULL;
	int r = mk_run_get(call, m, id, &run);

	if (r < 0)
		return r;
	record = mk_strf("%s/runs/%s", m->data_dir, run.uid);
	if (run.workdir && strcmp(run.site, "local") == 0)
		r = remove_dir(call, run.workdir, run.uid);
	if (r == 0)
		r = remove_dir(call, record, run.uid);
	if (r == 0)
		r = mk_domain_write(call, m, MK_DURABLE, remove_rows, &id);
	return mk_prefix(call, r, "%s", run.dir);
}

/* 1, 0: a registered version is made of its files. */
static int needed(struct mk_call *call, struct mantik *m, int64_t id)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db,
			   "SELECT 1 FROM runs JOIN model_versions ON " NEEDS("runs.uid")
			   " WHERE runs.id = ?1",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	return mk_step(call, stmt);
}

/* Why the one run cannot be ended. */
static int explain(struct mk_call *call, struct mantik *m, int64_t id)
{
	_cleanup_(run_freep) struct mk_run run = {};
	int r = mk_run_get(call, m, id, &run);

	if (r < 0)
		return r;
	if (!mk_status_final(run.status) && !run.api)
		return mk_fail(call, EBUSY, "%s: is %s", run.dir, mk_status_name(run.status));
	if (!run.deleted)
		return mk_fail(call, EBUSY, "%s: is not deleted; `mantikctl delete` it first",
			       run.dir);
	r = needed(call, m, id);
	if (r > 0)
		return mk_fail(call, EBUSY, "%s: a version of a registered model is made of its"
					    " files; delete that version first",
			       run.dir);
	return r < 0 ? r : mk_fail(call, EBUSY, "%s: was deleted later than that", run.dir);
}

int mk_run_gc(struct mk_call *call, struct mantik *m, int64_t id, int64_t older)
{
	_cleanup_(ids_free) struct ids ids = {};
	int r = 0, ended = 0;

	if (m->read_only)
		return mk_fail(call, EROFS, "the platform is open for reading only");
	r = find(call, m, id, mk_now_real() - older, &ids);
	if (r == 0 && id && !ids.n)
		return explain(call, m, id);
	for (size_t i = 0; r == 0 && i < ids.n; i++) {
		r = mk_call_check(call, "the end of deleted runs");
		if (r == 0)
			r = end_run(call, m, ids.v[i]);
		ended += r == 0;
	}
	/* Models: those of these runs, and, when all are meant, those deleted by themselves. */
	if (r == 0)
		r = mk_logged_model_gc(call, m, id ? 1 : mk_now_real() - older);
	return r < 0 ? r : ended;
}
