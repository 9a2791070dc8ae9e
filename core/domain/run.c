/* SPDX-License-Identifier: Apache-2.0 */
/* Reading runs: by row, by name, by anything that opens one, and as a long listing. */
#include <mantik/name.h>
#include <mantik/run.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "domain/domain.h"
#include "domain/index/index.h"

const char *mk_status_name(enum mk_status status)
{
	static const char *const names[] = {
		[MK_SCHEDULED] = "SCHEDULED", [MK_RUNNING] = "RUNNING", [MK_FINISHED] = "FINISHED",
		[MK_FAILED] = "FAILED",	      [MK_KILLED] = "KILLED",	[MK_UNKNOWN] = "UNKNOWN",
	};

	return (unsigned)status <= MK_UNKNOWN ? names[status] : "UNKNOWN";
}

void mk_run_free(struct mk_run *run)
{
	char **texts[] = {
		&run->project,	   &run->experiment,  &run->name,	    &run->dir,
		&run->reason,	   &run->raw_status,  &run->site,	    &run->job_id,
		&run->queue,	   &run->account,     &run->nodes,	    &run->user,
		&run->repository,  &run->branch,      &run->commit,	    &run->mlproject,
		&run->entry_point, &run->environment, &run->infrastructure, &run->rerun_of,
		&run->workdir,	   &run->remote_id,   &run->artifact_uri,   &run->parent,
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		free(*texts[i]);
	*run = (struct mk_run){};
}

enum { UID_LEN = 32, SHORT_LEN = 8 };

static const char get_sql[] =
	"SELECT r.id, r.uid, r.project_id, r.experiment_id, p.name, e.name, r.name, r.dir, "
	"r.status,"
	" r.reason, r.raw_status, r.site, r.job_id, r.queue, r.account, r.nodes, r.exit_code,"
	" r.signal, r.submitted, r.started, r.ended, r.changed, r.as_of, r.user, r.repository,"
	" r.branch, r.commit_id, r.dirty, r.mlproject, r.entry_point, r.environment,"
	" r.infrastructure, r.rerun_of, r.workdir, r.cancel_asked, r.deleted, r.generation,"
	" r.spec_len, r.script_len, r.remote_id, r.artifact_uri, r.parent, r.api"
	" FROM runs r JOIN projects p ON p.id = r.project_id"
	" JOIN experiments e ON e.id = r.experiment_id WHERE r.id = ?";

static void fill(struct mk_stmt *stmt, struct mk_run *run)
{
	int c = 0;

	run->id = mk_col_int(stmt, c++);

	const char *uid = mk_col_text(stmt, c++);

	memcpy(run->uid, uid, strnlen(uid, sizeof(run->uid) - 1));
	run->project_id = mk_col_int(stmt, c++);
	run->experiment_id = mk_col_int(stmt, c++);
	run->project = mk_col_dup(stmt, c++);
	run->experiment = mk_col_dup(stmt, c++);
	run->name = mk_col_dup(stmt, c++);
	run->dir = mk_col_dup(stmt, c++);
	run->status = (enum mk_status)mk_col_int(stmt, c++);
	run->reason = mk_col_dup(stmt, c++);
	run->raw_status = mk_col_dup(stmt, c++);
	run->site = mk_col_dup(stmt, c++);
	run->job_id = mk_col_dup(stmt, c++);
	run->queue = mk_col_dup(stmt, c++);
	run->account = mk_col_dup(stmt, c++);
	run->nodes = mk_col_dup(stmt, c++);
	run->exit_code = mk_col_null(stmt, c) ? -1 : (int)mk_col_int(stmt, c);
	c++;
	run->signal = (int)mk_col_int(stmt, c++);
	run->submitted = mk_col_int(stmt, c++);
	run->started = mk_col_int(stmt, c++);
	run->ended = mk_col_int(stmt, c++);
	run->changed = mk_col_int(stmt, c++);
	run->as_of = mk_col_int(stmt, c++);
	run->user = mk_col_dup(stmt, c++);
	run->repository = mk_col_dup(stmt, c++);
	run->branch = mk_col_dup(stmt, c++);
	run->commit = mk_col_dup(stmt, c++);
	run->dirty = mk_col_int(stmt, c++);
	run->mlproject = mk_col_dup(stmt, c++);
	run->entry_point = mk_col_dup(stmt, c++);
	run->environment = mk_col_dup(stmt, c++);
	run->infrastructure = mk_col_dup(stmt, c++);
	run->rerun_of = mk_col_dup(stmt, c++);
	run->workdir = mk_col_dup(stmt, c++);
	run->cancel_asked = mk_col_int(stmt, c++);
	run->deleted = mk_col_int(stmt, c++);
	run->generation = (uint64_t)mk_col_int(stmt, c++);
	run->spec_len = (size_t)mk_col_int(stmt, c++);
	run->script_len = (size_t)mk_col_int(stmt, c++);
	run->remote_id = mk_col_dup(stmt, c++);
	run->artifact_uri = mk_col_dup(stmt, c++);
	run->parent = mk_col_dup(stmt, c++);
	run->api = mk_col_int(stmt, c++);
}

int mk_run_get_in(struct mk_call *call, struct mk_conn *conn, int64_t id, struct mk_run *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_domain_need(call, conn, get_sql, "run", id, &stmt);

	if (r < 0)
		return r;
	*ret = (struct mk_run){};
	fill(stmt, ret);
	return 0;
}

int mk_run_peek(struct mk_call *call, struct mantik *m, int64_t id, struct mk_run *ret)
{
	struct mk_conn *conn;
	int r = mk_db_reader(call, m->db, &conn);

	return r < 0 ? r : mk_run_get_in(call, conn, id, ret);
}

int mk_run_get(struct mk_call *call, struct mantik *m, int64_t id, struct mk_run *ret)
{
	_cleanup_(mk_run_free) struct mk_run run = {};
	int r = mk_run_peek(call, m, id, &run);

	if (r == 0 && mk_run_is_old(&run)) {
		r = mk_index_run(call, m, id);
		mk_run_free(&run);
		if (r == 0)
			r = mk_run_peek(call, m, id, &run);
	}
	if (r < 0)
		return r;
	*ret = run;
	run = (struct mk_run){};
	return 0;
}

/* Is a foreign run of this name there by now? 1: look again. */
static int look_at_store(struct mk_call *call, struct mantik *m, int64_t project_id)
{
	int r = project_id ? mk_index_foreign(call, m, project_id) : 0;

	if (r <= 0)
		return r;
	mk_error_clear(call);
	r = mk_index_runs(call, m, project_id, 0);
	return r < 0 ? r : 1;
}

static int find_dir(struct mk_call *call, struct mantik *m, int64_t project_id, const char *dir,
		bool deleted, int64_t *ret_id)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db,
			   "SELECT id, deleted FROM runs WHERE project_id = ? AND dir = ?", &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, project_id);
	mk_bind_text(stmt, 2, dir);
	r = mk_step(call, stmt);
	if (r < 0)
		return r;
	if (r == 0 || (mk_col_int(stmt, 1) != 0) != deleted)
		return mk_fail(call, ENOENT, "run \"%s\": there is none", dir);
	*ret_id = mk_col_int(stmt, 0);
	return 0;
}

int mk_run_choose_dir(struct mk_call *call, struct mk_conn *conn, int64_t project_id,
		      const char *name, const char *uid, char **dir)
{
	for (int digits = SHORT_LEN; digits <= UID_LEN; digits++) {
		_cleanup_stmt_ struct mk_stmt *stmt = NULL;
		_cleanup_buf_ struct mk_buf text = MK_BUF(MK_NAME_MAX + 3);
		int r = mk_name_run_dir(&text, name, uid, digits);

		if (r == 0)
			r = mk_prepare(call, conn,
				       "SELECT 1 FROM runs WHERE project_id = ?1 AND dir = ?2",
				       &stmt);
		if (r < 0)
			return r;
		mk_bind_int(stmt, 1, project_id);
		mk_bind_text(stmt, 2, mk_buf_text(&text));
		r = mk_step(call, stmt);
		if (r < 0)
			return r;
		if (r > 0)
			continue;
		free(*dir);
		*dir = mk_buf_steal(&text);
		return 0;
	}
	return mk_fail(call, EEXIST, "run %s: its id is taken", name);
}

int mk_run_find(struct mk_call *call, struct mantik *m, int64_t project_id, const char *dir,
		bool deleted, int64_t *ret_id)
{
	int r = find_dir(call, m, project_id, dir, deleted, ret_id);
	int look = r == -ENOENT ? look_at_store(call, m, project_id) : 0;

	return look < 0 ? look : look > 0 ? find_dir(call, m, project_id, dir, deleted, ret_id) : r;
}

/* --- by anything that opens a run ---------------------------------------------------------- */

/* The lower-case hex digits a name ends in: all of it, or behind its last dot. NULL: none. */
static const char *uid_part(const char *name)
{
	const char *dot = strrchr(name, '.');
	const char *hex = dot ? dot + 1 : name;
	size_t len = strlen(hex);

	if (len > UID_LEN || len < SHORT_LEN || (!dot && len != UID_LEN))
		return NULL;
	return strspn(hex, "0123456789abcdef") == len ? hex : NULL;
}

struct found {
	int64_t id;
	char *dir;
	int n;
};

/* Rows of id and dir; the second one ends the search. */
static int look(struct mk_call *call, struct mk_stmt *stmt, const char *name, struct found *found)
{
	int r;

	while ((r = mk_step(call, stmt)) > 0) {
		int64_t id = mk_col_int(stmt, 0);

		if (found->n && found->id == id)
			continue;
		if (found->n)
			return mk_fail(call, EEXIST,
				       "\"%s\" fits several runs, %s and %s among them", name,
				       found->dir, mk_col_text(stmt, 1));
		found->n = 1;
		found->id = id;
		found->dir = mk_col_dup(stmt, 1);
	}
	return r;
}

static int look_by(struct mk_call *call, struct mk_conn *conn, const char *sql, int64_t project_id,
		   const char *text, const char *end, const char *name, struct found *found)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn, sql, &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, project_id);
	mk_bind_text(stmt, 2, text);
	if (end)
		mk_bind_text(stmt, 3, end);
	return look(call, stmt, name, found);
}

static int resolve(struct mk_call *call, struct mantik *m, int64_t project_id, const char *name,
		   int64_t *ret_id)
{
	static const char by_dir[] = "SELECT id, dir FROM runs"
				     " WHERE project_id = ?1 AND dir = ?2";
	static const char by_any_dir[] =
		"SELECT id, dir FROM runs"
		" WHERE project_id IN (SELECT id FROM projects WHERE ?1 = 0)"
		" AND dir = ?2";
	static const char by_uid[] = "SELECT id, dir FROM runs WHERE uid >= ?2 AND uid < ?3"
				     " AND (?1 = 0 OR project_id = ?1)";
	static const char by_job[] = "SELECT id, dir FROM runs WHERE job_id = ?2"
				     " AND (?1 = 0 OR project_id = ?1)";
	struct mk_conn *conn;
	struct found found = {};
	const char *hex = uid_part(name);
	int r = mk_db_reader(call, m->db, &conn);

	if (r < 0)
		return r;
	r = look_by(call, conn, project_id ? by_dir : by_any_dir, project_id, name, NULL, name,
		    &found);
	if (r == 0 && !found.n && hex) {
		_cleanup_buf_ struct mk_buf end = MK_BUF(64);

		(void)mk_buf_printf(&end, "%sg", hex); /* behind every hex digit */
		r = look_by(call, conn, by_uid, project_id, hex, mk_buf_text(&end), name, &found);
	}
	if (r == 0 && !found.n && *name)
		r = look_by(call, conn, by_job, project_id, name, NULL, name, &found);
	free(found.dir);
	if (r < 0)
		return r;
	if (!found.n)
		return mk_fail(call, ENOENT, "run \"%s\": there is none", name);
	*ret_id = found.id;
	return 0;
}

int mk_run_resolve(struct mk_call *call, struct mantik *m, int64_t project_id, const char *name,
		   int64_t *ret_id)
{
	int r = resolve(call, m, project_id, name, ret_id);
	int look = r == -ENOENT ? look_at_store(call, m, project_id) : 0;

	return look < 0 ? look : look > 0 ? resolve(call, m, project_id, name, ret_id) : r;
}

/* The row of the first run, 0: there is none. */
static int newest(struct mk_call *call, struct mantik *m, int64_t project_id, const char *sql,
		  int64_t *ret_id)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db, sql, &stmt);

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, mk_domain_user());
	mk_bind_int(stmt, 2, project_id);
	r = mk_step(call, stmt);
	if (r < 0)
		return r;
	*ret_id = r > 0 ? mk_col_int(stmt, 0) : 0;
	return 0;
}

/* One that was submitted comes before all that programs logged by themselves: latest/logs is
 * followed while a job logs nested runs. */
int mk_run_latest(struct mk_call *call, struct mantik *m, int64_t project_id, int64_t *ret_id)
{
	static const char *const sql[3][2] = {
		{"SELECT id FROM runs WHERE ?2 = 0 AND deleted = 0 AND user = ?1 AND api = 0"
		 " AND remote_id IS NULL ORDER BY id DESC LIMIT 1",
		 "SELECT id FROM runs WHERE ?2 = 0 AND deleted = 0 AND user = ?1 AND api = 1"
		 " ORDER BY id DESC LIMIT 1"},
		{"SELECT id FROM runs WHERE project_id = ?2 AND deleted = 0 AND user = ?1 AND api = 0"
		 " ORDER BY id DESC LIMIT 1",
		 "SELECT id FROM runs WHERE project_id = ?2 AND deleted = 0 AND user = ?1 AND api = 1"
		 " ORDER BY id DESC LIMIT 1"},
		/* mirrored as they were met: the newest first */
		{"SELECT id FROM runs WHERE project_id = ?2 AND deleted = 0 AND user = ?1"
		 " ORDER BY submitted DESC, id LIMIT 1"},
	};
	int foreign = project_id ? mk_index_foreign(call, m, project_id) : 0;
	int which = foreign ? 2 : project_id != 0;
	int r = foreign < 0 ? foreign : newest(call, m, project_id, sql[which][0], ret_id);

	if (r < 0 || *ret_id || !sql[which][1])
		return r;
	return newest(call, m, project_id, sql[which][1], ret_id);
}

/* --- listing ------------------------------------------------------------------------------- */

/*
 * One statement per kind of listing, so that each walks an index that holds all it shows:
 * runs_project and runs_experiment for what stands in a directory, runs_live for what lives.
 * ?1 the project or experiment, ?2 after, ?3 limit.
 */
#define SELECT_ENTRY "SELECT id, dir, changed, status FROM runs "
#define IN_ORDER     " AND id > ?2 ORDER BY id LIMIT ?3"

static const char *list_sql(const struct mk_run_query *query)
{
	static const char *const sql[3][4] = {
		/* there, deleted, there and live, deleted and live (never) */
		{
			SELECT_ENTRY "WHERE ?1 = 0 AND deleted = 0" IN_ORDER,
			SELECT_ENTRY "WHERE ?1 = 0 AND deleted > 0" IN_ORDER,
			SELECT_ENTRY "WHERE ?1 = 0 AND status < 2 AND deleted = 0" IN_ORDER,
			SELECT_ENTRY "WHERE ?1 = 0 AND status < 2 AND deleted > 0" IN_ORDER,
		},
		{
			SELECT_ENTRY "WHERE project_id = ?1 AND deleted = 0" IN_ORDER,
			SELECT_ENTRY "WHERE project_id = ?1 AND deleted > 0" IN_ORDER,
			SELECT_ENTRY
			"WHERE +project_id = ?1 AND status < 2 AND deleted = 0" IN_ORDER,
			SELECT_ENTRY
			"WHERE +project_id = ?1 AND status < 2 AND deleted > 0" IN_ORDER,
		},
		{
			SELECT_ENTRY "WHERE experiment_id = ?1 AND deleted = 0" IN_ORDER,
			SELECT_ENTRY "WHERE experiment_id = ?1 AND deleted > 0" IN_ORDER,
			SELECT_ENTRY
			"WHERE +experiment_id = ?1 AND status < 2 AND deleted = 0" IN_ORDER,
			SELECT_ENTRY
			"WHERE +experiment_id = ?1 AND status < 2 AND deleted > 0" IN_ORDER,
		},
	};
	int scope = query->experiment_id ? 2 : query->project_id ? 1 : 0;

	return sql[scope][(query->live ? 2 : 0) + (query->deleted ? 1 : 0)];
}

int mk_run_list(struct mk_call *call, struct mantik *m, const struct mk_run_query *query,
		mk_run_emit *emit, void *arg)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	/* Once a listing has begun, what it begun with goes on. */
	int r = query->project_id && !query->after ?
			mk_index_runs(call, m, query->project_id, query->experiment_id) :
			0;

	if (r == 0)
		r = mk_db_read(call, m->db, list_sql(query), &stmt);
	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, query->experiment_id ? query->experiment_id : query->project_id);
	mk_bind_int(stmt, 2, query->after);
	mk_bind_int(stmt, 3, query->limit ? query->limit : -1);
	while ((r = mk_step(call, stmt)) > 0) {
		struct mk_run_entry entry = {
			.id = mk_col_int(stmt, 0),
			.dir = mk_col_text(stmt, 1),
			.changed = mk_col_int(stmt, 2),
			.status = (enum mk_status)mk_col_int(stmt, 3),
		};

		r = emit(arg, &entry);
		if (r != 0)
			return r;
	}
	return r;
}

int mk_run_text(struct mk_call *call, struct mantik *m, int64_t id, enum mk_run_text which,
		struct mk_buf *ret)
{
	static const char *const sql[] = {
		[MK_RUN_SPEC] = "SELECT spec FROM run_texts WHERE run_id = ?",
		[MK_RUN_SCRIPT] = "SELECT script FROM run_texts WHERE run_id = ?",
	};
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	size_t len;
	int r = mk_db_read(call, m->db, sql[which], &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	r = mk_step(call, stmt);
	if (r < 0)
		return r;
	if (r == 0)
		return mk_fail(call, ENOENT,
			       "the run was not submitted here: it has no spec and no job script");

	const void *data = mk_col_blob(stmt, 0, &len);

	r = mk_buf_put(ret, data, len);
	return r < 0 ? mk_fail(call, -r, "run %lld: a text of %zu bytes", (long long)id, len) : 0;
}
