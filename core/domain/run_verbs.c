/* SPDX-License-Identifier: Apache-2.0 */
/* What a user does to a run: each is one durable transaction; cancel and clean are intents that
 * mantikd acts on. */
#include <mantik/run.h>

#include <errno.h>

#include "domain/delete.h"
#include "domain/domain.h"
#include "domain/index/index.h"
#include "domain/outbox/outbox.h"

struct state {
	enum mk_status status;
	bool deleted, has_workdir, api;
	int64_t project_id, experiment_id;
};

static int look(struct mk_call *call, struct mk_conn *conn, int64_t id, struct state *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_domain_need(call, conn,
			       "SELECT status, deleted, workdir IS NOT NULL, project_id,"
			       " experiment_id, remote_id IS NOT NULL, api FROM runs WHERE id = ?1",
			       "run", id, &stmt);

	if (r < 0)
		return r;
	if (mk_col_int(stmt, 5))
		return mk_fail(call, EOPNOTSUPP,
			       "the run is its tracking server's: mantikd does not know its job");
	*ret = (struct state){
		.status = (enum mk_status)mk_col_int(stmt, 0),
		.deleted = mk_col_int(stmt, 1) != 0,
		.has_workdir = mk_col_int(stmt, 2),
		.project_id = mk_col_int(stmt, 3),
		.experiment_id = mk_col_int(stmt, 4),
		.api = mk_col_int(stmt, 6),
	};
	return 0;
}

static int must_have_ended(struct mk_call *call, const struct state *state)
{
	/* One without a job may never be told to have ended. */
	if (mk_status_final(state->status) || state->api)
		return 0;
	return mk_fail(call, EBUSY, "the run is %s; `echo cancel > ctl` ends it",
		       mk_status_name(state->status));
}

/* The listings it stands in are others now, not only a row of them. */
static int moved(struct mk_call *call, struct mk_conn *conn, int64_t id, const struct state *state)
{
	int r = mk_run_touch(call, conn, id, MK_TOUCH_ROW);

	if (r == 0)
		r = mk_project_touch(call, conn, state->project_id, true);
	if (r == 0)
		r = mk_experiment_touch(call, conn, state->experiment_id, true);
	return r;
}

static int cancel(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	int64_t id = *(int64_t *)arg, now = mk_now_real();
	struct state state = {};
	int r = look(call, conn, id, &state);

	if (r < 0)
		return r;
	if (state.api)
		return mk_fail(call, EOPNOTSUPP,
			       "the run is logged by a program of its own: it has no job to cancel");
	if (mk_status_final(state.status))
		return mk_fail(call, ESRCH, "the run has ended already, it is %s",
			       mk_status_name(state.status));
	r = mk_domain_run(call, conn,
			  "UPDATE runs SET cancel_asked = ?2 WHERE id = ?1 AND cancel_asked = 0",
			  id, now);
	if (r == 0)
		r = mk_domain_run(call, conn,
				  "INSERT INTO intents (run_id, verb, step, created)"
				  " VALUES (?1, 'cancel', 0, ?2) ON CONFLICT DO NOTHING",
				  id, now);
	return r < 0 ? r : mk_run_touch(call, conn, id, MK_TOUCH_ROW);
}

static int clean(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	int64_t id = *(int64_t *)arg;
	struct state state = {};
	int r = look(call, conn, id, &state);

	if (r == 0)
		r = must_have_ended(call, &state);
	if (r < 0 || !state.has_workdir)
		return r;
	/* asked again: not later than now */
	return mk_domain_run(call, conn,
			     "INSERT INTO intents (run_id, verb, step, created)"
			     " VALUES (?1, 'clean', 0, ?2) ON CONFLICT DO UPDATE SET try_at = 0",
			     id, mk_now_real());
}

static int delete (struct mk_call *call, struct mk_conn *conn, void *arg)
{
	int64_t id = *(int64_t *)arg;
	struct state state = {};
	int r = look(call, conn, id, &state);

	if (r == 0)
		r = must_have_ended(call, &state);
	if (r < 0 || state.deleted)
		return r;
	r = mk_domain_run(call, conn, "UPDATE runs SET deleted = ?2 WHERE id = ?1", id,
			  mk_now_real());
	return r < 0 ? r : moved(call, conn, id, &state);
}

static int restore(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	int64_t id = *(int64_t *)arg;
	struct state state = {};
	int r = look(call, conn, id, &state);

	if (r < 0)
		return r;
	if (!state.deleted)
		return mk_fail(call, ENOENT, "the run is not deleted");
	r = mk_domain_run(call, conn, "UPDATE runs SET deleted = 0 WHERE id = ?1", id, 0);
	if (r == 0) /* where it stands was perhaps deleted with it */
		r = mk_deleted_back(call, conn, state.project_id, state.experiment_id);
	return r < 0 ? r : moved(call, conn, id, &state);
}

/* The intent is durable: should mantikd not start now, the next one finds it. */
static void poke(struct mantik *m)
{
	_cleanup_call_ struct mk_call own;

	mk_call_init(&own);
	(void)!mantik_poke(&own, m);
}

int mk_run_cancel(struct mk_call *call, struct mantik *m, int64_t id)
{
	int r = mk_domain_write(call, m, MK_DURABLE, cancel, &id);

	if (r == 0)
		poke(m);
	return r;
}

int mk_run_clean(struct mk_call *call, struct mantik *m, int64_t id)
{
	int r = mk_domain_write(call, m, MK_DURABLE, clean, &id);

	if (r == 0)
		poke(m);
	return r;
}

int mk_run_delete(struct mk_call *call, struct mantik *m, int64_t id)
{
	int r = mk_store_run_move(call, m, id, true);

	if (r != 0)
		return r < 0 ? r : 0;
	return mk_domain_write(call, m, MK_DURABLE, delete, &id);
}

int mk_run_restore(struct mk_call *call, struct mantik *m, int64_t id)
{
	int r = mk_store_run_move(call, m, id, false);

	if (r != 0)
		return r < 0 ? r : 0;
	return mk_domain_write(call, m, MK_DURABLE, restore, &id);
}
