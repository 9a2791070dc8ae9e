/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The journal's transactions. Called by mantikd's own thread only (it holds the lease). They are
 * safe against kills, not against power loss: after that, the site and the records on disk are
 * asked again from an earlier step.
 */
#include "engine/journal.h"

#include <signal.h>
#include <string.h>

#include "domain/domain.h"

static const char *const step_names[] = {
	[MK_STEP_ACCEPTED] = "ACCEPTED",   [MK_STEP_STAGING] = "STAGING",
	[MK_STEP_STAGED] = "STAGED",	   [MK_STEP_SUBMITTING] = "SUBMITTING",
	[MK_STEP_SUBMITTED] = "SUBMITTED", [MK_STEP_RUNNING] = "RUNNING",
	[MK_STEP_ENDED] = "ENDED",	   [MK_STEP_HARVESTED] = "HARVESTED",
	[MK_STEP_COLLECTED] = "COLLECTED", [MK_STEP_DONE] = "DONE",
};
_Static_assert(sizeof(step_names) / sizeof(*step_names) == MK_STEPS, "a step without a name");

const char *mk_journal_step_name(enum mk_journal_step step)
{
	return step < MK_STEPS ? step_names[step] : NULL;
}

static void abort_point(const char *when, enum mk_journal_step step)
{
	static const char *at;
	static bool asked;

	if (!asked) {
		at = getenv("MK_ABORT_AT");
		asked = true;
	}
	if (!at)
		return;

	size_t len = strlen(when);

	if (strncmp(at, when, len) == 0 && strcmp(at + len, step_names[step]) == 0)
		(void)raise(SIGKILL);
}

static void bind_time(struct mk_stmt *stmt, int i, int64_t time)
{
	if (time)
		mk_bind_int(stmt, i, time);
	else
		mk_bind_null(stmt, i);
}

/* NULL keeps, "" clears, anything else sets. */
#define TEXT(column, n) \
	column " = CASE WHEN " n " IS NULL THEN " column " WHEN " n " = '' THEN NULL ELSE " n " END"

static int write_change(struct mk_call *call, struct mk_conn *conn, const struct mk_run_change *c)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int64_t now = mk_now_real();
	int r = mk_prepare(call, conn,
			   "UPDATE runs SET as_of = ?2,"
			   " status = coalesce(?3, status), started = coalesce(?4, started),"
			   " ended = coalesce(?5, ended),"
			   " exit_code = CASE WHEN ?6 THEN ?7 ELSE exit_code END,"
			   " signal = CASE WHEN ?6 THEN ?8 ELSE signal END, " TEXT(
				   "reason", "?9") ", " TEXT("raw_status", "?10") ", " TEXT("job_id",
											"?11") ", "
			   TEXT("queue", "?12") ", " TEXT("nodes", "?13") ", " TEXT("workdir", "?14") ", "
			   TEXT("environment", "?15") ", " TEXT("infrastructure", "?16")
			   " WHERE id = ?1", &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, c->run_id);
	mk_bind_int(stmt, 2, now);
	if (c->set_status)
		mk_bind_int(stmt, 3, c->status);
	else
		mk_bind_null(stmt, 3);
	bind_time(stmt, 4, c->started);
	bind_time(stmt, 5, c->ended);
	mk_bind_int(stmt, 6, c->set_exit);
	if (c->exit_code >= 0)
		mk_bind_int(stmt, 7, c->exit_code);
	else
		mk_bind_null(stmt, 7);
	if (c->signal > 0)
		mk_bind_int(stmt, 8, c->signal);
	else
		mk_bind_null(stmt, 8);

	const char *const texts[] = {c->reason, c->raw_status, c->job_id,      c->queue,
				     c->nodes,	c->workdir,    c->environment, c->infrastructure};

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		mk_bind_text(stmt, 9 + (int)i, texts[i]);
	r = mk_exec(call, stmt);
	if (r < 0)
		return r;
	return mk_run_touch(call, conn, c->run_id, MK_TOUCH_ROW);
}

static int delete_intents(struct mk_call *call, struct mk_conn *conn, int64_t run_id,
			  const char *verb)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn, "DELETE FROM intents WHERE run_id = ?1 AND verb = ?2", &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, run_id);
	mk_bind_text(stmt, 2, verb);
	return mk_exec(call, stmt);
}

struct step_write {
	enum mk_journal_step step;
	const struct mk_run_change *change;
};

static int write_step(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct step_write *w = arg;
	int r = 0;

	if (w->change->visible)
		r = write_change(call, conn, w->change);
	if (r < 0)
		return r;
	if (w->step == MK_STEP_DONE) {
		r = delete_intents(call, conn, w->change->run_id, "cancel");
		if (r < 0)
			return r;
		return delete_intents(call, conn, w->change->run_id, "submit");
	}

	_cleanup_stmt_ struct mk_stmt *stmt = NULL;

	r = mk_prepare(call, conn,
		       "UPDATE intents SET step = ?2, try_at = 0, tries = 0, reason = NULL"
		       " WHERE run_id = ?1 AND verb = 'submit'",
		       &stmt);
	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, w->change->run_id);
	mk_bind_int(stmt, 2, w->step);
	return mk_exec(call, stmt);
}

int mk_journal_write(struct mk_call *call, struct mantik *m, enum mk_journal_step step,
		     const struct mk_run_change *change)
{
	struct step_write w = {.step = step, .change = change};

	abort_point("before:", step);

	int r = mk_db_write(call, m->db, MK_KILLSAFE, write_step, &w);

	if (r < 0)
		return r;
	abort_point("", step);
	return 0;
}

static int write_change_fn(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	return write_change(call, conn, arg);
}

int mk_journal_change(struct mk_call *call, struct mantik *m, const struct mk_run_change *change)
{
	struct mk_run_change copy = *change;

	return mk_db_write(call, m->db, MK_KILLSAFE, write_change_fn, &copy);
}

struct verb_write {
	int64_t run_id;
	const char *verb;
	int64_t try_at;
	const char *reason;
};

static int close_verb(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct verb_write *w = arg;

	return delete_intents(call, conn, w->run_id, w->verb);
}

int mk_journal_close(struct mk_call *call, struct mantik *m, int64_t run_id, const char *verb)
{
	struct verb_write w = {.run_id = run_id, .verb = verb};

	return mk_db_write(call, m->db, MK_KILLSAFE, close_verb, &w);
}

static int put_off(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct verb_write *w = arg;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "UPDATE intents SET try_at = ?3, tries = tries + 1, reason = ?4"
			   " WHERE run_id = ?1 AND verb = ?2",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, w->run_id);
	mk_bind_text(stmt, 2, w->verb);
	mk_bind_int(stmt, 3, w->try_at);
	mk_bind_text(stmt, 4, w->reason);
	r = mk_exec(call, stmt);
	if (r < 0)
		return r;

	if (!w->reason)
		return 0;

	struct mk_run_change c = {.run_id = w->run_id, .visible = true, .reason = w->reason};

	return write_change(call, conn, &c);
}

int mk_journal_later(struct mk_call *call, struct mantik *m, int64_t run_id, const char *verb,
		     int64_t try_at, const char *reason)
{
	struct verb_write w = {.run_id = run_id, .verb = verb, .try_at = try_at, .reason = reason};

	return mk_db_write(call, m->db, MK_KILLSAFE, put_off, &w);
}

int mk_journal_list(struct mk_call *call, struct mantik *m, const char *verb, bool begun,
		    mk_intent_emit *emit, void *arg)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(
		call, m->db,
		"SELECT i.run_id, i.verb, i.step, i.try_at, i.tries, r.uid, r.name, r.dir,"
		" r.site, r.job_id, r.workdir, r.status, r.cancel_asked"
		" FROM intents i JOIN runs r ON r.id = i.run_id"
		" WHERE i.verb = ?1 AND (NOT ?2 OR i.step > 0) ORDER BY i.id",
		&stmt);

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, verb);
	mk_bind_int(stmt, 2, begun);
	while ((r = mk_step(call, stmt)) > 0) {
		struct mk_intent intent = {
			.run_id = mk_col_int(stmt, 0),
			.verb = mk_col_text(stmt, 1),
			.step = (enum mk_journal_step)mk_col_int(stmt, 2),
			.try_at = mk_col_int(stmt, 3),
			.tries = (int)mk_col_int(stmt, 4),
			.uid = mk_col_text(stmt, 5),
			.name = mk_col_text(stmt, 6),
			.dir = mk_col_text(stmt, 7),
			.site = mk_col_text(stmt, 8),
			.job_id = mk_col_text(stmt, 9),
			.workdir = mk_col_text(stmt, 10),
			.status = (enum mk_status)mk_col_int(stmt, 11),
			.cancel_asked = mk_col_int(stmt, 12) != 0,
		};

		r = emit(arg, &intent);
		if (r)
			return r;
	}
	return r;
}
