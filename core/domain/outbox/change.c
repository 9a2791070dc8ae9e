/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the rows of the outbox do to the mirror: put on top of what the store says, and made final
 * when the store has them. (Points: points.c; taken back: refused.c.) Everything here
 * is inside a transaction.
 */
#include "domain/outbox/change.h"

#include <string.h>

#include "base/file.h"
#include "domain/delete.h"
#include "domain/domain.h"
#include "domain/goal.h"
#include "domain/outbox/model_out.h"

bool mk_out_is_run(const struct mk_out *row)
{
	return mk_out_noun(row) == MK_OUT_OF_RUN;
}

/* Has no row among runs and experiments. */
bool mk_out_is_apart(const struct mk_out *row)
{
	return mk_out_noun(row) == MK_OUT_OF_MODEL || mk_out_noun(row) == MK_OUT_OF_FILE;
}

int mk_out_touch(struct mk_call *call, struct mk_conn *conn, const struct mk_out *row)
{
	int r;

	if (mk_out_is_apart(row))
		return 0; /* what shows them looks each time */
	if (mk_out_is_run(row))
		r = mk_run_touch(call, conn, row->of,
				 row->verb == MK_OUT_POINT ? MK_TOUCH_LOGGED : MK_TOUCH_ROW);
	else
		r = mk_experiment_touch(call, conn, row->of, true);
	if (r == 0 && row->verb >= MK_OUT_DELETE) /* a listing is another one */
		r = mk_project_touch(call, conn, row->project_id, true);
	if (r == 0 && (row->verb == MK_OUT_DELETE || row->verb == MK_OUT_RESTORE))
		r = mk_domain_run(call, conn,
				  "UPDATE experiments SET changed = max(changed + 1, ?2),"
				  " runs_generation = max(runs_generation + 1, ?2) WHERE id ="
				  " (SELECT experiment_id FROM runs WHERE id = ?1)",
				  row->of, mk_now_real());
	return r;
}

/* --- pairs ----------------------------------------------------------------------------------- */

static const struct {
	const char *set, *unset;
} pairs[MK_OUT_VERBS] = {
	[MK_OUT_PARAM] = {"INSERT INTO params VALUES (?1, ?2, ?3)"
			  " ON CONFLICT DO UPDATE SET value = excluded.value",
			  "DELETE FROM params WHERE run_id = ?1 AND key = ?2"},
	[MK_OUT_TAG] = {"INSERT INTO tags VALUES (?1, ?2, ?3)"
			" ON CONFLICT DO UPDATE SET value = excluded.value",
			"DELETE FROM tags WHERE run_id = ?1 AND key = ?2"},
};

int mk_out_set_pair(struct mk_call *call, struct mk_conn *conn, const struct mk_out *row,
		    const char *value)
{
	enum mk_out_verb verb = row->verb == MK_OUT_TAG_REMOVE ? MK_OUT_TAG : row->verb;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r;

	if (verb == MK_OUT_EXPERIMENT_TAG) {
		r = mk_experiment_tag_set(call, conn, row->of, row->key, value);
		return r < 0 ? r : mk_goal_follow_tags(call, conn, row->of);
	}
	r = mk_prepare(call, conn, value ? pairs[verb].set : pairs[verb].unset, &stmt);
	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, row->of);
	mk_bind_text(stmt, 2, row->key);
	if (value)
		mk_bind_text(stmt, 3, value);
	return mk_exec(call, stmt);
}

/* The other verb of the same thing, if there are two. */
static enum mk_out_verb counterpart(enum mk_out_verb verb)
{
	switch ((int)verb) {
	case MK_OUT_TAG:
		return MK_OUT_TAG_REMOVE;
	case MK_OUT_TAG_REMOVE:
		return MK_OUT_TAG;
	case MK_OUT_ALIAS_SET:
		return MK_OUT_ALIAS_REMOVE;
	case MK_OUT_ALIAS_REMOVE:
		return MK_OUT_ALIAS_SET;
	}
	return verb;
}

int mk_out_is_covered(struct mk_call *call, struct mk_conn *conn, const struct mk_out *row)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "UPDATE outbox SET before = ?4 WHERE id = (SELECT min(id) FROM outbox"
			   " WHERE object = ?1 AND id > ?2 AND key = ?3 AND code = 0"
			   " AND verb IN (?5, ?6))",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, row->object);
	mk_bind_int(stmt, 2, row->id);
	mk_bind_text(stmt, 3, row->key);
	mk_bind_text(stmt, 4, row->before);
	mk_bind_int(stmt, 5, row->verb);
	mk_bind_int(stmt, 6, counterpart(row->verb));
	r = mk_exec(call, stmt);
	return r < 0 ? r : mk_rows_changed(conn) > 0;
}

int mk_out_set_name(struct mk_call *call, struct mk_conn *conn, int64_t id, const char *name)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn, "UPDATE experiments SET name = ?2 WHERE id = ?1", &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	mk_bind_text(stmt, 2, name);
	return mk_exec(call, stmt);
}

int mk_out_set_deleted(struct mk_call *call, struct mk_conn *conn, int64_t id, int64_t time)
{
	return mk_domain_run(call, conn,
			     "UPDATE runs SET deleted = iif(?2 AND deleted, deleted, ?2) WHERE id = ?1",
			     id, time);
}

int mk_outbox_apply(struct mk_call *call, struct mk_conn *conn, const struct mk_out *row)
{
	switch (row->verb) {
	case MK_OUT_PARAM:
	case MK_OUT_TAG:
	case MK_OUT_EXPERIMENT_TAG:
		return mk_out_set_pair(call, conn, row, row->value);
	case MK_OUT_TAG_REMOVE:
		return mk_out_set_pair(call, conn, row, NULL);
	case MK_OUT_DELETE:
		return mk_out_set_deleted(call, conn, row->of, mk_now_real());
	case MK_OUT_RESTORE:
		return mk_out_set_deleted(call, conn, row->of, 0);
	case MK_OUT_EXPERIMENT_RENAME:
		return mk_out_set_name(call, conn, row->of, row->value);
	case MK_OUT_EXPERIMENT_DELETE:
		return mk_experiment_move(call, conn, row->of, row->created, 0);
	case MK_OUT_EXPERIMENT_RESTORE:
		return mk_experiment_move(call, conn, row->of, 0, 0);
	case MK_OUT_ALIAS_SET:
	case MK_OUT_ALIAS_REMOVE:
	case MK_OUT_MODEL_DESCRIBE:
	case MK_OUT_VERSION_DESCRIBE:
		return mk_model_out_apply(call, conn, row);
	case MK_OUT_POINT:
	case MK_OUT_EXPERIMENT_MAKE:
	case MK_OUT_FILE:
	case MK_OUT_VERBS:
		break;
	}
	return 0;
}

/* --- overlay --------------------------------------------------------------------------------- */

/* An experiment that goes or comes back, seen by one of its runs or by itself: its other runs have
 * rows of their own. */
static int overlay_move(struct mk_call *call, struct mk_conn *conn, const struct mk_out *row,
			bool is_run)
{
	int64_t time = row->verb == MK_OUT_EXPERIMENT_DELETE ? row->created : 0;

	return is_run ? mk_out_set_deleted(call, conn, row->of, time)
		      : mk_experiment_mark(call, conn, row->of, time);
}

int mk_outbox_overlay(struct mk_call *call, struct mk_conn *conn, const char *noun, int64_t id)
{
	_cleanup_free_ char *object = mk_strf("%s:%lld", noun, (long long)id);
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "SELECT verb, key, value, project_id, created FROM outbox WHERE code = 0"
			   " AND verb <> 0 AND (object = ?1 OR (?2 AND verb IN (14, 15) AND object ="
			   " 'experiment:' || (SELECT experiment_id FROM runs WHERE id = ?3)))"
			   " ORDER BY id",
			   &stmt);
	bool is_run = strcmp(noun, "run") == 0;

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, object);
	mk_bind_int(stmt, 2, is_run);
	mk_bind_int(stmt, 3, id);
	while ((r = mk_step(call, stmt)) > 0) {
		struct mk_out row = {
			.verb = (enum mk_out_verb)mk_col_int(stmt, 0),
			.of = id,
			.key = (char *)mk_col_text(stmt, 1),
			.value = (char *)mk_col_text(stmt, 2),
			.project_id = mk_col_int(stmt, 3),
			.created = mk_col_int(stmt, 4),
		};

		if (row.verb == MK_OUT_EXPERIMENT_DELETE || row.verb == MK_OUT_EXPERIMENT_RESTORE)
			r = overlay_move(call, conn, &row, is_run);
		else
			r = mk_outbox_apply(call, conn, &row);
		if (r < 0)
			return r;
	}
	return r < 0 || !is_run ? r : mk_out_points_last(call, conn, id);
}

/* --- done ------------------------------------------------------------------------------------ */

struct done {
	const struct mk_out *rows;
	size_t n;
	const char *remote_id;
};

/* What it said until now is older than this; and it answers. */
int mk_out_answered(struct mk_call *call, struct mk_conn *conn, const struct mk_out *row)
{
	int r = mk_domain_run(call, conn, "DELETE FROM outbox_away WHERE project_id = ?1",
			      row->project_id, 0);

	if (r < 0 || mk_out_noun(row) == MK_OUT_OF_FILE)
		return r;
	if (mk_out_noun(row) == MK_OUT_OF_MODEL)
		return mk_model_out_written(call, conn, row);
	if (row->verb == MK_OUT_EXPERIMENT_DELETE || row->verb == MK_OUT_EXPERIMENT_RESTORE)
		r = mk_domain_run(call, conn, "UPDATE runs SET written = ?2 WHERE experiment_id = ?1",
				  row->of, mk_now_real());
	if (r < 0)
		return r;
	return mk_domain_run(call, conn,
			     mk_out_is_run(row) ? "UPDATE runs SET written = ?2 WHERE id = ?1"
						: "UPDATE experiments SET written = ?2 WHERE id = ?1",
			     row->of, mk_now_real());
}

/* A listing that came first may have brought it as one of the store's: then that one goes. */
static int set_remote(struct mk_call *call, struct mk_conn *conn, const struct mk_out *row,
		      const char *remote_id)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "UPDATE experiments SET remote_id = ?2 WHERE id = ?1 AND remote_id IS NULL",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, row->of);
	mk_bind_text(stmt, 2, remote_id);
	return mk_exec(call, stmt);
}

static int write_done(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct done *done = arg;
	bool given_up = false;
	int r = 0;

	for (size_t i = 0; r == 0 && i < done->n; i++) {
		r = mk_domain_run(call, conn, "DELETE FROM outbox WHERE id = ?1", done->rows[i].id, 0);
		if (r == 0 && !mk_rows_changed(conn))
			given_up = true; /* while it was sent: the store will tell */
		else if (r == 0 && done->rows[i].verb == MK_OUT_POINT)
			r = mk_out_point_taken(call, conn, &done->rows[i]);
	}
	if (r == 0 && given_up)
		r = mk_out_forget_said(call, conn, done->rows);
	if (r == 0 && done->remote_id)
		r = set_remote(call, conn, done->rows, done->remote_id);
	if (r == 0)
		r = mk_out_answered(call, conn, done->rows);
	return r < 0 ? r : mk_out_touch(call, conn, done->rows);
}

int mk_outbox_done(struct mk_call *call, struct mantik *m, const struct mk_out *rows, size_t n,
		   const char *remote_id)
{
	struct done done = {rows, n, remote_id};

	return n ? mk_domain_write(call, m, MK_DURABLE, write_done, &done) : 0;
}
