/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two servers behind one address, one after the other (a tunnel that leads elsewhere today, a store
 * that was made anew). Experiments are numbered from 0 everywhere, but made at different times: a server
 * of which no experiment was made when the one of that number here was is not the one we know. (One
 * alone may differ: a number is given again after `mlflow gc`.) What is mirrored of the one we know is
 * forgotten then: it would be mixed with the other's. But what waits to be sent is for that one only.
 */
#include "domain/index/another.h"

#include <errno.h>

#include "base/file.h"
#include "domain/domain.h"

enum { RUNS_AT_ONCE = 200 };

/* 1: an experiment that tells it, and when that of its number was made here. */
static int find_other(struct mk_call *call, struct mantik *m, int64_t project_id,
		      const struct mk_page *page, const struct mk_t_experiment **ret, int64_t *ret_was)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db,
			   "SELECT remote_created FROM experiments WHERE project_id = ?1"
			   " AND remote_id = ?2 AND remote_created > 0",
			   &stmt);

	for (size_t i = 0; r == 0 && i < page->n_experiments; i++) {
		const struct mk_t_experiment *experiment = &page->experiments[i];

		if (experiment->created <= 0)
			continue;
		mk_bind_int(stmt, 1, project_id);
		mk_bind_text(stmt, 2, experiment->id);
		r = mk_step(call, stmt);
		if (r > 0 && mk_col_int(stmt, 0) == experiment->created)
			return 0;
		if (r > 0) {
			*ret = experiment;
			*ret_was = mk_col_int(stmt, 0);
			r = 0;
		}
		mk_rewind(stmt);
	}
	return r < 0 ? r : *ret != NULL;
}

static int count_unsent(struct mk_call *call, struct mantik *m, int64_t project_id, int64_t *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db,
			   "SELECT count(*) FROM outbox WHERE project_id = ?1", &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, project_id);
	r = mk_step(call, stmt);
	*ret = r > 0 ? mk_col_int(stmt, 0) : 0;
	return r < 0 ? r : 0;
}

int mk_index_is_another(struct mk_call *call, struct mantik *m, int64_t project_id,
			const char *connection, const struct mk_page *page)
{
	const struct mk_t_experiment *other = NULL;
	char is[32], was[32];
	int64_t time = 0, n = 0;
	int r = find_other(call, m, project_id, page, &other, &time);

	if (r <= 0)
		return r;
	r = count_unsent(call, m, project_id, &n);
	if (r < 0 || n == 0)
		return r < 0 ? r : 1;
	mk_time_text(other->created, true, is);
	mk_time_text(time, true, was);
	return mk_fail(call, EHOSTUNREACH,
		       "%s: another server answers there than before (its experiment %s was made %s, "
		       "not %s), and what waits in .mantik/unsent is for that one: let the address lead "
		       "there again, or give it up with `mantikctl discard`; a server of its own needs a "
		       "connection of its own",
		       connection, other->id, is, was);
}

/* --- forgotten ----------------------------------------------------------------------------- */

/* Written since it was looked: that is for the server before, and needs its run. */
static int nothing_waits(struct mk_call *call, struct mk_conn *conn, int64_t project_id)
{
	int64_t id;
	int r = mk_domain_int(call, conn, "SELECT id FROM outbox WHERE project_id = ?1 LIMIT 1",
			      project_id, 0, &id);

	return r <= 0 ? r
		      : mk_fail(call, EHOSTUNREACH,
				"another server answers there than before, and something was just "
				"written for that one");
}

struct forgetting {
	int64_t project_id;
	int64_t n; /* runs that went */
};

static int forget_runs(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	struct forgetting *f = arg;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int64_t ids[RUNS_AT_ONCE];
	int r = nothing_waits(call, conn, f->project_id);

	f->n = 0;
	if (r == 0)
		r = mk_prepare(call, conn, "SELECT id FROM runs WHERE project_id = ?1 LIMIT ?2", &stmt);
	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, f->project_id);
	mk_bind_int(stmt, 2, RUNS_AT_ONCE);
	while ((r = mk_step(call, stmt)) > 0)
		ids[f->n++] = mk_col_int(stmt, 0);
	for (int64_t i = 0; r == 0 && i < f->n; i++)
		r = mk_run_remove_rows(call, conn, ids[i]);
	return r < 0 ? r : mk_project_touch(call, conn, f->project_id, true);
}

static int forget_rest(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	static const char *const sql[] = {
		"DELETE FROM experiment_tags WHERE experiment_id IN"
		" (SELECT id FROM experiments WHERE project_id = ?1)",
		"DELETE FROM texts WHERE kind = 3 AND owner IN"
		" (SELECT id FROM experiments WHERE project_id = ?1)",
		"DELETE FROM experiments WHERE project_id = ?1",
		"DELETE FROM model_versions WHERE model_id IN"
		" (SELECT id FROM models WHERE project_id = ?1)",
		"DELETE FROM models WHERE project_id = ?1",
		"DELETE FROM logged_models WHERE project_id = ?1",
		"DELETE FROM files WHERE project_id = ?1",
		"DELETE FROM uploads WHERE project_id = ?1",
		"DELETE FROM marks WHERE project_id = ?1",
	};
	const struct forgetting *f = arg;
	int r = nothing_waits(call, conn, f->project_id);

	for (size_t i = 0; r == 0 && i < sizeof(sql) / sizeof(*sql); i++)
		r = mk_domain_run(call, conn, sql[i], f->project_id, 0);
	if (r == 0)
		r = mk_db_changed(call, conn, "project", f->project_id);
	return r < 0 ? r : mk_project_touch(call, conn, f->project_id, true);
}

int mk_index_forget(struct mk_call *call, struct mantik *m, int64_t project_id)
{
	struct forgetting f = {.project_id = project_id};
	int r;

	/* The experiments last: until they are gone it is told each time. */
	do
		r = mk_domain_write(call, m, MK_KILLSAFE, forget_runs, &f);
	while (r == 0 && f.n == RUNS_AT_ONCE);
	return r < 0 ? r : mk_domain_write(call, m, MK_KILLSAFE, forget_rest, &f);
}
