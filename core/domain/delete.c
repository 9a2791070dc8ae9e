/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deleting and bringing back everything below an experiment or a project, and these themselves: a
 * mark with the time, in one transaction, so that nothing is ever half deleted. What is marked is in
 * no listing and opens by no name; its name stays taken, and whoever makes one of that name has it
 * back. The end for good is gc.c and gc_noun.c.
 */
#include "domain/delete.h"

#include <errno.h>

#include <mantik/project.h>
#include <mantik/run.h>

#include "domain/domain.h"
#include "domain/index/index.h"
#include "domain/outbox/outbox.h"

struct below {
	int64_t project_id, experiment_id; /* 0: all of the project */
	bool restore;
	bool itself; /* not only the runs */
	int n;
};

/* ?1 project, ?2 experiment or 0, ?3 now */
static int run_below(struct mk_call *call, struct mk_conn *conn, const char *sql,
		     const struct below *below, int64_t now)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn, sql, &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, below->project_id);
	mk_bind_int(stmt, 2, below->experiment_id);
	mk_bind_int(stmt, 3, now);
	return mk_exec(call, stmt);
}

#define RUNS_BELOW " WHERE project_id = ?1 AND (?2 = 0 OR experiment_id = ?2)"
#define BELOW	   " WHERE project_id = ?1 AND (?2 = 0 OR id = ?2)"

/* EBUSY names the first that is live. */
static int none_is_live(struct mk_call *call, struct mk_conn *conn, const struct below *below)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "SELECT dir, status FROM runs" RUNS_BELOW
			   " AND status < 2 AND api = 0 LIMIT 1",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, below->project_id);
	mk_bind_int(stmt, 2, below->experiment_id);
	r = mk_step(call, stmt);
	if (r <= 0)
		return r;
	return mk_fail(call, EBUSY, "%s is %s; `mantikctl cancel` ends it; nothing was deleted",
		       mk_col_text(stmt, 0),
		       mk_status_name((enum mk_status)mk_col_int(stmt, 1)));
}

/* Others may be served from a registered model by its name: it does not vanish with its project. */
static int no_model_is_registered(struct mk_call *call, struct mk_conn *conn, int64_t project_id)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_domain_row(call, conn,
			      "SELECT name FROM models WHERE project_id = ?1 AND gone = 0 LIMIT 1",
			      project_id, &stmt);

	if (r <= 0)
		return r;
	return mk_fail(call, EBUSY,
		       "the model \"%s\" is registered in it: delete it first (MLflow's "
		       "delete_registered_model); nothing was deleted",
		       mk_col_text(stmt, 0));
}

int mk_experiment_mark(struct mk_call *call, struct mk_conn *conn, int64_t id, int64_t time)
{
	return mk_domain_run(
		call, conn,
		"UPDATE experiments SET deleted = iif(?2 AND deleted, deleted, ?2) WHERE id = ?1", id,
		time);
}

int mk_experiment_move(struct mk_call *call, struct mk_conn *conn, int64_t id, int64_t time,
		       int64_t since)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_experiment_mark(call, conn, id, time);

	if (r == 0)
		r = mk_prepare(call, conn,
			       "UPDATE runs SET deleted = ?2, changed = max(changed + 1, ?4),"
			       " generation = generation + 1 WHERE experiment_id = ?1"
			       " AND (deleted > 0) = (?2 = 0) AND (?3 = 0 OR deleted = ?3)",
			       &stmt);
	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	mk_bind_int(stmt, 2, time);
	mk_bind_int(stmt, 3, since);
	mk_bind_int(stmt, 4, mk_now_real());
	return mk_exec(call, stmt);
}

int mk_deleted_back(struct mk_call *call, struct mk_conn *conn, int64_t project_id,
		    int64_t experiment_id)
{
	const struct below below = {project_id, experiment_id};
	int r = run_below(call, conn,
			  "UPDATE experiments SET deleted = 0" BELOW " AND deleted > 0 AND EXISTS"
			  " (SELECT 1 FROM runs WHERE experiment_id = experiments.id"
			  " AND runs.deleted = 0) AND ?3 = 0",
			  &below, 0);

	return r < 0 ? r
		     : run_below(call, conn,
				 "UPDATE projects SET deleted = 0 WHERE id = ?1 AND deleted > 0"
				 " AND ?2 = ?2 AND ?3 = 0 AND EXISTS (SELECT 1 FROM runs"
				 " WHERE project_id = projects.id AND runs.deleted = 0)",
				 &below, 0);
}

static int mark(struct mk_call *call, struct mk_conn *conn, const struct below *below)
{
	int64_t time = below->restore ? 0 : mk_now_real();
	int r = 0;

	if (!below->restore && !below->experiment_id)
		r = no_model_is_registered(call, conn, below->project_id);
	if (r == 0)
		r = run_below(call, conn,
			      "UPDATE experiments SET deleted = ?3" BELOW
			      " AND (deleted > 0) = (?3 = 0)",
			      below, time);
	if (r < 0 || (below->experiment_id && !below->restore))
		return r;
	return run_below(call, conn,
			 "UPDATE projects SET deleted = ?3 WHERE id = ?1 AND ?2 = ?2"
			 " AND (deleted > 0) = (?3 = 0)",
			 below, time);
}

/* Each run's row is another one now, and so are the listings of all that hold any. */
static int move_all(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	static const char *const moves[] = {
		"UPDATE runs SET deleted = ?3, changed = max(changed + 1, ?3),"
		" generation = generation + 1" RUNS_BELOW " AND deleted = 0",
		"UPDATE runs SET deleted = 0, changed = max(changed + 1, ?3),"
		" generation = generation + 1" RUNS_BELOW " AND deleted > 0",
	};
	struct below *below = arg;
	int64_t now = mk_now_real();
	int r = below->restore ? 0 : none_is_live(call, conn, below);

	if (r == 0)
		r = run_below(call, conn, moves[below->restore], below, now);
	if (r < 0)
		return r;
	below->n = (int)mk_rows_changed(conn);
	if (below->itself)
		r = mark(call, conn, below);
	else if (below->restore)
		r = mk_deleted_back(call, conn, below->project_id, below->experiment_id);
	if (r == 0)
		r = run_below(call, conn,
			      "UPDATE experiments SET changed = max(changed + 1, ?3),"
			      " runs_generation = max(runs_generation + 1, ?3)" BELOW,
			      below, now);
	return r < 0 ? r : mk_project_touch(call, conn, below->project_id, true);
}

struct collected {
	struct mk_call *call;
	int64_t *v;
	size_t n;
	bool restore;
};

static int collect(void *arg, const struct mk_run_entry *entry)
{
	struct collected *c = arg;
	int64_t *v = reallocarray(c->v, c->n + 1, sizeof(*v));

	if (!v)
		return mk_fail(c->call, ENOMEM, "too many runs at once");
	c->v = v;
	c->v[c->n++] = entry->id;
	if (c->restore || mk_status_final(entry->status))
		return 0;
	return mk_fail(c->call, EBUSY, "%s is %s; nothing was deleted", entry->dir,
		       mk_status_name(entry->status));
}

/* The runs of a tracking store: what it is told is a row of the outbox each. */
static int move_foreign(struct mk_call *call, struct mantik *m, struct below *below)
{
	const struct mk_run_query query = {.project_id = below->project_id,
					   .experiment_id = below->experiment_id,
					   .deleted = below->restore};
	struct collected all = {.call = call, .restore = below->restore};
	int r = mk_run_list(call, m, &query, collect, &all);

	for (size_t i = 0; r == 0 && i < all.n; i++) {
		r = mk_call_check(call, "a move of many runs");
		if (r == 0)
			r = below->restore ? mk_run_restore(call, m, all.v[i])
					   : mk_run_delete(call, m, all.v[i]);
		below->n += r == 0;
	}
	free(all.v);
	return r < 0 ? r : below->n;
}

static int move_below(struct mk_call *call, struct mantik *m, struct below *below)
{
	int r = mk_index_foreign(call, m, below->project_id);

	if (r > 0 && !below->itself)
		return move_foreign(call, m, below);
	if (r > 0 && below->experiment_id) {
		r = mk_store_experiment_move(call, m, below->experiment_id, !below->restore, false);
		return r < 0 ? r : 0;
	}
	if (r > 0)
		return mk_fail(call, EOPNOTSUPP,
			       "a whole tracking server is not deleted: name its `runs`, an experiment or a "
			       "run; `rm` of its file in connections/ takes it out of the tree and deletes "
			       "nothing there");
	if (r == 0)
		r = mk_domain_write(call, m, MK_DURABLE, move_all, below);
	return r < 0 ? r : below->n;
}

int mk_run_delete_all(struct mk_call *call, struct mantik *m, int64_t project_id,
		      int64_t experiment_id)
{
	return move_below(call, m, &(struct below){project_id, experiment_id});
}

int mk_run_restore_all(struct mk_call *call, struct mantik *m, int64_t project_id,
		       int64_t experiment_id)
{
	return move_below(call, m, &(struct below){project_id, experiment_id, .restore = true});
}

int mk_project_delete(struct mk_call *call, struct mantik *m, int64_t project_id,
		      int64_t experiment_id)
{
	return move_below(call, m, &(struct below){project_id, experiment_id, .itself = true});
}

int mk_project_restore(struct mk_call *call, struct mantik *m, int64_t project_id,
		       int64_t experiment_id)
{
	return move_below(call, m, &(struct below){project_id, experiment_id, .restore = true,
						   .itself = true});
}
