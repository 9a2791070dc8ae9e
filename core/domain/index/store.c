/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See store.h. A run that has not changed costs one look (its digest); one that has is
 * written anew: the row, params and tags whole, the last point of each metric. A metric whose last
 * point moved is not `whole` any more: its history is asked for when it is read.
 */
#include "domain/index/store.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/hash.h"
#include "domain/domain.h"
#include "domain/logged.h"
#include "domain/outbox/outbox.h"

/* --- marks --------------------------------------------------------------------------------- */

int mk_mark_get(struct mk_call *call, struct mantik *m, int64_t project_id, const char *what,
		struct mk_mark *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db,
			   "SELECT time, value FROM marks WHERE project_id = ?1 AND what = ?2", &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, project_id);
	mk_bind_text(stmt, 2, what);
	r = mk_step(call, stmt);
	if (r < 0)
		return r;
	*ret = (struct mk_mark){};
	if (r > 0)
		*ret = (struct mk_mark){mk_col_int(stmt, 0), mk_col_dup(stmt, 1)};
	return 0;
}

int mk_mark_set(struct mk_call *call, struct mk_conn *conn, int64_t project_id, const char *what,
		int64_t time, const char *value)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "INSERT INTO marks (project_id, what, time, value) VALUES (?1, ?2, ?3, ?4)"
			   " ON CONFLICT DO UPDATE SET time = excluded.time, value = excluded.value",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, project_id);
	mk_bind_text(stmt, 2, what);
	mk_bind_int(stmt, 3, time);
	mk_bind_text(stmt, 4, value);
	return mk_exec(call, stmt);
}

/* --- runs ---------------------------------------------------------------------------------- */

struct known {
	int64_t id, digest, written;
};

/* 1 known, 0 new. */
static int find_run(struct mk_call *call, struct mk_conn *conn, int64_t project_id,
		    const char *remote_id, struct known *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "SELECT id, remote_digest, written FROM runs WHERE project_id = ?1"
			   " AND remote_id = ?2",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, project_id);
	mk_bind_text(stmt, 2, remote_id);
	r = mk_step(call, stmt);
	if (r > 0)
		*ret = (struct known){mk_col_int(stmt, 0), mk_col_int(stmt, 1),
				       mk_col_int(stmt, 2)};
	return r;
}

/* The store's id where it is one of ours in form and nobody has it (two connections may show one
 * store), else one made of both. */
static int choose_uid(struct mk_call *call, struct mk_conn *conn, int64_t project_id,
		      const char *remote_id, char uid[33])
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	bool fits = strlen(remote_id) == 32 && strspn(remote_id, "0123456789abcdef") == 32;
	int r = mk_prepare(call, conn, "SELECT 1 FROM runs WHERE uid = ?1", &stmt);

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, remote_id);
	r = fits ? mk_step(call, stmt) : 1;
	if (r < 0)
		return r;
	if (r == 0) {
		memcpy(uid, remote_id, 33);
		return 0;
	}

	_cleanup_buf_ struct mk_buf both = MK_BUF(4096);
	char hex[65];

	r = mk_buf_printf(&both, "%lld/%s", (long long)project_id, remote_id);
	if (r < 0)
		return mk_fail(call, EREMOTEIO, "a run's id of %zu bytes", strlen(remote_id));
	mk_sha256_hex(mk_buf_text(&both), both.len, hex);
	memcpy(uid, hex, 32);
	uid[32] = 0;
	return 0;
}

static int insert_run(struct mk_call *call, struct mk_conn *conn, int64_t project_id,
		      int64_t experiment_id, const char *site, const struct mk_t_run *run,
		      int64_t *ret_id)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	_cleanup_free_ char *dir = NULL;
	char uid[33];
	const char *name = *run->name ? run->name : "run";
	int r = choose_uid(call, conn, project_id, run->id, uid);

	if (r == 0)
		r = mk_run_choose_dir(call, conn, project_id, name, uid, &dir);
	if (r == 0)
		r = mk_prepare(call, conn,
			       "INSERT INTO runs (uid, project_id, experiment_id, name, dir, status,"
			       " site, submitted, changed, user, spec_len, remote_id)"
			       " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9, 0, ?10)",
			       &stmt);
	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, uid);
	mk_bind_int(stmt, 2, project_id);
	mk_bind_int(stmt, 3, experiment_id);
	mk_bind_text(stmt, 4, name);
	mk_bind_text(stmt, 5, dir);
	mk_bind_int(stmt, 6, run->status);
	mk_bind_text(stmt, 7, site);
	mk_bind_int(stmt, 8, run->started);
	mk_bind_text(stmt, 9, run->user);
	mk_bind_text(stmt, 10, run->id);
	r = mk_exec(call, stmt);
	if (r == 0)
		*ret_id = mk_last_id(conn);
	return r;
}

/* The last thing that happened to it, as far as the store tells: its mtime. */
static int64_t changed_at(const struct mk_t_run *run)
{
	int64_t t = run->ended > run->started ? run->ended : run->started;

	for (size_t i = 0; i < run->n_metrics; i++)
		if (run->metrics[i].last.time > t)
			t = run->metrics[i].last.time;
	return t;
}

static const char *tag(const struct mk_t_run *run, const char *key)
{
	for (size_t i = 0; i < run->n_tags; i++)
		if (strcmp(run->tags[i].key, key) == 0)
			return run->tags[i].value;
	return NULL;
}

static int update_run(struct mk_call *call, struct mk_conn *conn, int64_t id,
		      int64_t experiment_id, const struct mk_t_run *run, int64_t digest,
		      int64_t as_of)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(
		call, conn,
		"UPDATE runs SET experiment_id = ?2, name = ?3, status = ?4, started = ?5,"
		" ended = ?6, changed = max(changed + 1, ?7), user = ?8, artifact_uri = ?9,"
		" deleted = CASE WHEN ?10 THEN iif(deleted, deleted, ?11) ELSE 0 END,"
		" generation = generation + 1, remote_digest = ?12, parent = ?13,"
		" commit_id = ?14, repository = ?15, branch = ?16, entry_point = ?17, as_of = ?18"
		" WHERE id = ?1",
		&stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	mk_bind_int(stmt, 2, experiment_id);
	mk_bind_text(stmt, 3, *run->name ? run->name : "run");
	mk_bind_int(stmt, 4, run->status);
	mk_bind_int(stmt, 5, run->started);
	mk_bind_int(stmt, 6, run->ended);
	mk_bind_int(stmt, 7, changed_at(run));
	mk_bind_text(stmt, 8, run->user);
	mk_bind_text(stmt, 9, run->artifact_uri);
	mk_bind_int(stmt, 10, run->deleted);
	mk_bind_int(stmt, 11, mk_now_real());
	mk_bind_int(stmt, 12, digest);
	mk_bind_text(stmt, 13, tag(run, "mlflow.parentRunId"));
	mk_bind_text(stmt, 14, tag(run, "mlflow.source.git.commit"));
	mk_bind_text(stmt, 15, tag(run, "mlflow.source.git.repoURL"));
	mk_bind_text(stmt, 16, tag(run, "mlflow.source.git.branch"));
	mk_bind_text(stmt, 17, tag(run, "mlflow.project.entryPoint"));
	mk_bind_int(stmt, 18, as_of);
	return mk_exec(call, stmt);
}

static int put_pairs(struct mk_call *call, struct mk_conn *conn, int64_t id, const char *clear,
		     const char *insert, const struct mk_t_pair *pairs, size_t n)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_domain_run(call, conn, clear, id, 0);

	if (r == 0)
		r = mk_prepare(call, conn, insert, &stmt);
	for (size_t i = 0; r == 0 && i < n; i++) {
		mk_bind_int(stmt, 1, id);
		mk_bind_text(stmt, 2, pairs[i].key);
		mk_bind_text(stmt, 3, pairs[i].value);
		r = mk_step(call, stmt);
		mk_rewind(stmt);
	}
	return r;
}

static int put_metrics(struct mk_call *call, struct mk_conn *conn, int64_t id,
		       const struct mk_t_run *run)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "INSERT INTO metrics (run_id, key, count, bytes, last_step, last_value,"
			   " last_time, whole, minus) VALUES (?1, ?2, 0, 0, ?3, ?4, ?5, 0, ?6)"
			   " ON CONFLICT DO UPDATE SET last_step = excluded.last_step,"
			   " last_value = excluded.last_value, last_time = excluded.last_time,"
			   " whole = 0, minus = minus & 6 | excluded.minus WHERE last_step <> excluded.last_step"
			   " OR last_value IS NOT excluded.last_value"
			   " OR last_time <> excluded.last_time"
			   " OR (minus & 1) <> excluded.minus",
			   &stmt);

	for (size_t i = 0; r == 0 && i < run->n_metrics; i++) {
		const struct mk_t_metric *metric = &run->metrics[i];

		mk_bind_int(stmt, 1, id);
		mk_bind_text(stmt, 2, metric->key);
		mk_bind_int(stmt, 3, metric->last.step);
		mk_bind_value(stmt, 4, metric->last.value);
		mk_bind_int(stmt, 5, metric->last.time);
		mk_bind_int(stmt, 6, mk_is_minus_zero(metric->last.value) ? MK_MINUS_LAST : 0);
		r = mk_step(call, stmt);
		mk_rewind(stmt);
	}
	return r;
}

static int put_datasets(struct mk_call *call, struct mk_conn *conn, int64_t id,
			const struct mk_t_run *run)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_domain_run(call, conn, "DELETE FROM run_datasets WHERE run_id = ?1", id, 0);

	if (r == 0)
		r = mk_prepare(call, conn, "INSERT INTO run_datasets (run_id, seq, name, digest, source_type,"
			       " source, context) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
			       &stmt);
	for (size_t i = 0; r == 0 && i < run->n_datasets; i++) {
		const struct mk_t_dataset *dataset = &run->datasets[i];

		mk_bind_int(stmt, 1, id);
		mk_bind_int(stmt, 2, (int64_t)i);
		mk_bind_text(stmt, 3, dataset->name);
		mk_bind_text(stmt, 4, dataset->digest);
		mk_bind_text(stmt, 5, dataset->source_type);
		mk_bind_text(stmt, 6, dataset->source);
		mk_bind_text(stmt, 7, dataset->context);
		r = mk_step(call, stmt);
		mk_rewind(stmt);
	}
	return r;
}

static int put_models(struct mk_call *call, struct mk_conn *conn, int64_t id,
		      const struct mk_t_run *run)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_domain_run(call, conn, "DELETE FROM run_models WHERE run_id = ?1", id, 0);

	if (r == 0)
		r = mk_prepare(call, conn, "INSERT OR IGNORE INTO run_models (run_id, model_id, name)"
			       " VALUES (?1, ?2, ?2)",
			       &stmt);
	for (size_t i = 0; r == 0 && i < run->n_models; i++) {
		mk_bind_int(stmt, 1, id);
		mk_bind_text(stmt, 2, run->models[i]);
		r = mk_step(call, stmt);
		mk_rewind(stmt);
	}
	return r;
}

/* 1 it changed something, 0 not. */
static int put_run(struct mk_call *call, struct mk_conn *conn, int64_t project_id,
		   const char *site, const struct mk_t_run *run, int64_t as_of)
{
	struct known known = {};
	int64_t experiment_id, digest = mk_page_digest(run);
	int r = find_run(call, conn, project_id, run->id, &known);

	if (r < 0)
		return r;
	if (r > 0 && as_of <= known.written) /* asked before it took something from here */
		return 0;
	if (r > 0 && known.digest == digest)
		return mk_domain_run(call, conn, "UPDATE runs SET as_of = ?2 WHERE id = ?1", known.id,
				     as_of);

	bool is_new = r == 0;

	r = mk_index_experiment_id(call, conn, project_id, run->experiment_id, &experiment_id);
	if (r <= 0)
		return r;
	r = is_new ? insert_run(call, conn, project_id, experiment_id, site, run, &known.id) : 0;
	if (r == 0)
		r = update_run(call, conn, known.id, experiment_id, run, digest, as_of);
	if (r == 0)
		r = put_pairs(call, conn, known.id, "DELETE FROM params WHERE run_id = ?1",
			      "INSERT OR REPLACE INTO params VALUES (?1, ?2, ?3)", run->params,
			      run->n_params);
	if (r == 0)
		r = put_pairs(call, conn, known.id, "DELETE FROM tags WHERE run_id = ?1",
			      "INSERT OR REPLACE INTO tags VALUES (?1, ?2, ?3)", run->tags,
			      run->n_tags);
	if (r == 0)
		r = put_metrics(call, conn, known.id, run);
	if (r == 0)
		r = mk_outbox_overlay(call, conn, "run", known.id);
	if (r == 0)
		r = put_datasets(call, conn, known.id, run);
	if (r == 0)
		r = put_models(call, conn, known.id, run);
	if (r == 0)
		r = mk_experiment_touch(call, conn, experiment_id, true);
	if (r == 0)
		r = mk_db_changed(call, conn, "run", known.id);
	return r < 0 ? r : 1;
}

int mk_index_put_runs(struct mk_call *call, struct mk_conn *conn, int64_t project_id,
		      const char *site, const struct mk_page *page)
{
	bool changed = false;

	for (size_t i = 0; i < page->n_runs; i++) {
		int r = put_run(call, conn, project_id, site, &page->runs[i], page->asked);

		if (r < 0)
			return r;
		changed |= r > 0;
	}
	return changed ? mk_project_touch(call, conn, project_id, true) : 0;
}
