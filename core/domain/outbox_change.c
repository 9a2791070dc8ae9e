/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the rows of the outbox do to the mirror: put on top of what the store says, made final when
 * the store has them, taken back when it refuses. Everything here is inside a transaction.
 */
#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mantik/error.h>
#include <mantik/name.h>

#include "base/file.h"
#include "domain/domain.h"
#include "domain/logged.h"
#include "domain/model_out.h"
#include "domain/outbox.h"
#include "domain/upload.h"

static bool is_run(const struct mk_out *row)
{
	return mk_out_noun(row) == MK_OUT_OF_RUN;
}

/* Has no row among runs and experiments. */
static bool is_apart(const struct mk_out *row)
{
	return mk_out_noun(row) == MK_OUT_OF_MODEL || mk_out_noun(row) == MK_OUT_OF_FILE;
}

static int touch(struct mk_call *call, struct mk_conn *conn, const struct mk_out *row)
{
	int r;

	if (is_apart(row))
		return 0; /* what shows them looks each time */
	if (is_run(row))
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
	[MK_OUT_EXPERIMENT_TAG] = {"INSERT INTO experiment_tags VALUES (?1, ?2, ?3)"
				   " ON CONFLICT DO UPDATE SET value = excluded.value",
				   "DELETE FROM experiment_tags WHERE experiment_id = ?1 AND key = ?2"},
};

/* What the leaderboard needs of the tags. */
static int set_primary(struct mk_call *call, struct mk_conn *conn, int64_t experiment_id)
{
	return mk_domain_run(
		call, conn,
		"UPDATE experiments SET metric = (SELECT nullif(value, '') FROM experiment_tags"
		" WHERE experiment_id = ?1 AND key = 'mlflow.experiment.primaryMetric.name'),"
		" maximize = ifnull((SELECT lower(value) = 'true' FROM experiment_tags WHERE"
		" experiment_id = ?1 AND key = 'mlflow.experiment.primaryMetric.greaterIsBetter'), 0)"
		" WHERE id = ?1",
		experiment_id, 0);
}

static int set_pair(struct mk_call *call, struct mk_conn *conn, const struct mk_out *row,
		    const char *value)
{
	enum mk_out_verb verb = row->verb == MK_OUT_TAG_REMOVE ? MK_OUT_TAG : row->verb;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = value ? mk_prepare(call, conn, pairs[verb].set, &stmt)
		      : mk_prepare(call, conn, pairs[verb].unset, &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, row->of);
	mk_bind_text(stmt, 2, row->key);
	if (value)
		mk_bind_text(stmt, 3, value);
	r = mk_exec(call, stmt);
	return r < 0 || verb != MK_OUT_EXPERIMENT_TAG ? r : set_primary(call, conn, row->of);
}

static int set_name(struct mk_call *call, struct mk_conn *conn, int64_t id, const char *name)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn, "UPDATE experiments SET name = ?2 WHERE id = ?1", &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	mk_bind_text(stmt, 2, name);
	return mk_exec(call, stmt);
}

static int set_deleted(struct mk_call *call, struct mk_conn *conn, int64_t id, int64_t time)
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
		return set_pair(call, conn, row, row->value);
	case MK_OUT_TAG_REMOVE:
		return set_pair(call, conn, row, NULL);
	case MK_OUT_DELETE:
		return set_deleted(call, conn, row->of, mk_now_real());
	case MK_OUT_RESTORE:
		return set_deleted(call, conn, row->of, 0);
	case MK_OUT_EXPERIMENT_RENAME:
		return set_name(call, conn, row->of, row->value);
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

/* --- points ---------------------------------------------------------------------------------- */

/* The last point by the store's rule, the highest step, of all that is known here. */
static int set_last(struct mk_call *call, struct mk_conn *conn, int64_t run_id)
{
	return mk_domain_run(
		call, conn,
		"UPDATE metrics SET minus = minus & 6,"
		" (last_step, last_value, last_time) = (SELECT step, number, time"
		" FROM outbox WHERE object = 'run:' || ?1 AND verb = 0 AND key = metrics.key"
		" AND code = 0 ORDER BY step DESC, time DESC, id DESC LIMIT 1)"
		" WHERE run_id = ?1 AND unsent > 0 AND (last_step, last_time) <="
		" (SELECT step, time FROM outbox WHERE object = 'run:' || ?1 AND verb = 0"
		" AND key = metrics.key AND code = 0 ORDER BY step DESC, time DESC, id DESC LIMIT 1)",
		run_id, 0);
}

bool mk_out_same(const struct mk_point *a, const struct mk_point *b)
{
	double x = a->value, y = b->value;

	if (isinf(x))
		x = x > 0 ? DBL_MAX : -DBL_MAX;
	if (isinf(y))
		y = y > 0 ? DBL_MAX : -DBL_MAX;
	return a->step == b->step && a->time / MK_MS == b->time / MK_MS &&
	       (x == y || (isnan(x) && isnan(y)));
}

int mk_outbox_subtract(struct mk_call *call, struct mk_conn *conn, int64_t run_id, const char *key,
		       struct mk_point *points, size_t *n)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "SELECT step, number, time FROM outbox WHERE object = 'run:' || ?1"
			   " AND verb = 0 AND key = ?2 AND code = 0 AND asked > 0 ORDER BY id DESC",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, run_id);
	mk_bind_text(stmt, 2, key);
	while ((r = mk_step(call, stmt)) > 0) {
		struct mk_point sent = {mk_col_int(stmt, 0),
					mk_col_value(stmt, 1),
					mk_col_int(stmt, 2)};

		for (size_t i = *n; i-- > 0;)
			if (mk_out_same(&points[i], &sent)) {
				memmove(points + i, points + i + 1, (*n - i - 1) * sizeof(*points));
				--*n;
				break;
			}
	}
	return r;
}

static size_t line_length(const struct mk_point *point)
{
	struct mk_point_writer writer = {};
	char line[96];

	return mk_point_write(&writer, point, line);
}

struct metric {
	int64_t id, count, bytes, unsent, unsent_bytes;
	bool whole;
};

static int get_metric(struct mk_call *call, struct mk_conn *conn, int64_t run_id, const char *key,
		      struct metric *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "SELECT id, count, bytes, unsent, unsent_bytes, whole FROM metrics"
			   " WHERE run_id = ?1 AND key = ?2",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, run_id);
	mk_bind_text(stmt, 2, key);
	r = mk_step(call, stmt);
	if (r > 0)
		*ret = (struct metric){mk_col_int(stmt, 0), mk_col_int(stmt, 1), mk_col_int(stmt, 2),
				       mk_col_int(stmt, 3), mk_col_int(stmt, 4),
				       mk_col_int(stmt, 5) != 0};
	return r;
}

static int put_metric(struct mk_call *call, struct mk_conn *conn, const struct metric *metric)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "UPDATE metrics SET count = ?2, bytes = ?3, unsent = max(0, ?4),"
			   " unsent_bytes = iif(?4 > 0, ?5, 0), whole = ?6 WHERE id = ?1",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, metric->id);
	mk_bind_int(stmt, 2, metric->count);
	mk_bind_int(stmt, 3, metric->bytes);
	mk_bind_int(stmt, 4, metric->unsent);
	mk_bind_int(stmt, 5, metric->unsent_bytes);
	mk_bind_int(stmt, 6, metric->whole);
	return mk_exec(call, stmt);
}

static int insert_point(struct mk_call *call, struct mk_conn *conn, int64_t metric_id, int64_t seq,
			const struct mk_point *point)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "INSERT OR REPLACE INTO points (metric_id, seq, step, value, time)"
			   " VALUES (?1, ?2, ?3, ?4, ?5)",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, metric_id);
	mk_bind_int(stmt, 2, seq);
	mk_bind_int(stmt, 3, point->step);
	mk_bind_value(stmt, 4, point->value);
	mk_bind_int(stmt, 5, point->time);
	return mk_exec(call, stmt);
}

/* Sent: it stands behind those the store had, until the history is read again: another client may
 * have logged between them. Of a history nobody has read nothing is kept. */
static int keep_point(struct mk_call *call, struct mk_conn *conn, const struct mk_out *row)
{
	struct metric metric;
	int r = get_metric(call, conn, row->of, row->key, &metric);
	int64_t bytes = (int64_t)line_length(&row->point);

	if (r <= 0)
		return r;
	if (metric.whole || metric.count) {
		r = insert_point(call, conn, metric.id, metric.count, &row->point);
		if (r < 0)
			return r;
		metric.count++;
		metric.bytes += bytes;
	}
	metric.unsent--;
	metric.unsent_bytes -= bytes;
	if (metric.unsent <= 0)
		metric.whole = false;
	return put_metric(call, conn, &metric);
}

/* Refused: the last point is again one that is known, or will be told by the store. */
static int drop_point(struct mk_call *call, struct mk_conn *conn, const struct mk_out *row)
{
	struct metric metric;
	int r = get_metric(call, conn, row->of, row->key, &metric);

	if (r <= 0)
		return r;
	metric.unsent--;
	metric.unsent_bytes -= (int64_t)line_length(&row->point);
	if (metric.unsent <= 0 && !metric.count && metric.whole)
		return mk_domain_run(call, conn, "DELETE FROM metrics WHERE id = ?1", metric.id, 0);
	r = put_metric(call, conn, &metric);
	if (r == 0)
		r = mk_domain_run(call, conn,
				  "UPDATE metrics SET minus = minus & 6,"
				  " (last_step, last_value, last_time) = (SELECT step, value, time FROM points WHERE metric_id = ?1"
				  " ORDER BY step DESC, time DESC, seq DESC LIMIT 1)"
				  " WHERE id = ?1 AND count > 0",
				  metric.id, 0);
	return r < 0 ? r : set_last(call, conn, row->of);
}

/* --- overlay --------------------------------------------------------------------------------- */

int mk_outbox_overlay(struct mk_call *call, struct mk_conn *conn, const char *noun, int64_t id)
{
	_cleanup_free_ char *object = mk_strf("%s:%lld", noun, (long long)id);
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "SELECT verb, key, value, project_id FROM outbox WHERE object = ?1"
			   " AND code = 0 AND verb <> 0 ORDER BY id",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, object);
	while ((r = mk_step(call, stmt)) > 0) {
		struct mk_out row = {
			.verb = (enum mk_out_verb)mk_col_int(stmt, 0),
			.of = id,
			.key = (char *)mk_col_text(stmt, 1),
			.value = (char *)mk_col_text(stmt, 2),
			.project_id = mk_col_int(stmt, 3),
		};

		r = mk_outbox_apply(call, conn, &row);
		if (r < 0)
			return r;
	}
	return r < 0 || strcmp(noun, "run") != 0 ? r : set_last(call, conn, id);
}

/* --- done ------------------------------------------------------------------------------------ */

struct done {
	const struct mk_out *rows;
	size_t n;
	const char *remote_id;
};

/* What it said until now is older than this; and it answers. */
static int answered(struct mk_call *call, struct mk_conn *conn, const struct mk_out *row)
{
	int r = mk_domain_run(call, conn, "DELETE FROM outbox_away WHERE project_id = ?1",
			      row->project_id, 0);

	if (r < 0 || mk_out_noun(row) == MK_OUT_OF_FILE)
		return r;
	if (mk_out_noun(row) == MK_OUT_OF_MODEL)
		return mk_model_out_written(call, conn, row);
	return mk_domain_run(call, conn,
			     is_run(row) ? "UPDATE runs SET written = ?2 WHERE id = ?1"
					 : "UPDATE experiments SET written = ?2 WHERE id = ?1",
			     row->of, mk_now_real());
}

/* A listing that came first may have brought it as one of the store's: then that one goes. */
static int set_remote(struct mk_call *call, struct mk_conn *conn, const struct mk_out *row,
		      const char *remote_id)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "UPDATE experiments SET remote_id = ?2, touched = 1 WHERE id = ?1"
			   " AND remote_id IS NULL",
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
	int r = 0;

	for (size_t i = 0; r == 0 && i < done->n; i++) {
		r = mk_domain_run(call, conn, "DELETE FROM outbox WHERE id = ?1", done->rows[i].id, 0);
		if (r == 0 && done->rows[i].verb == MK_OUT_POINT)
			r = keep_point(call, conn, &done->rows[i]);
	}
	if (r == 0 && done->remote_id)
		r = set_remote(call, conn, done->rows, done->remote_id);
	if (r == 0)
		r = answered(call, conn, done->rows);
	return r < 0 ? r : touch(call, conn, done->rows);
}

int mk_outbox_done(struct mk_call *call, struct mantik *m, const struct mk_out *rows, size_t n,
		   const char *remote_id)
{
	struct done done = {rows, n, remote_id};

	return n ? mk_domain_write(call, m, MK_DURABLE, write_done, &done) : 0;
}

/* --- refused --------------------------------------------------------------------------------- */

/* /projects/p/runs/r.12345678/tags/key */
static int path_of(struct mk_call *call, struct mk_conn *conn, const struct mk_out *row,
		   struct mk_buf *ret)
{
	static const char *const folders[MK_OUT_VERBS] = {
		[MK_OUT_POINT] = "/metrics/", [MK_OUT_PARAM] = "/params/",
		[MK_OUT_TAG] = "/tags/",      [MK_OUT_TAG_REMOVE] = "/tags/",
	};
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;

	if (mk_out_noun(row) == MK_OUT_OF_FILE)
		return mk_upload_out_path(call, conn, row->of, ret);
	if (mk_out_noun(row) == MK_OUT_OF_MODEL)
		return mk_model_out_path(call, conn, row, ret);

	int r = is_run(row)
			? mk_prepare(call, conn,
				     "SELECT p.name, o.dir, o.deleted <> 0 FROM runs o JOIN projects p"
				     " ON p.id = o.project_id WHERE o.id = ?1",
				     &stmt)
			: mk_prepare(call, conn,
				     "SELECT p.name, o.name, 0 FROM experiments o JOIN projects p"
				     " ON p.id = o.project_id WHERE o.id = ?1",
				     &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, row->of);
	r = mk_step(call, stmt);
	if (r <= 0)
		return r;

	const char *project = mk_col_text(stmt, 0), *name = mk_col_text(stmt, 1);

	(void)mk_buf_puts(ret, "/projects/");
	(void)mk_name_escape(ret, project, strlen(project));
	(void)mk_buf_puts(ret, !is_run(row)	       ? "/experiments/"
			       : mk_col_int(stmt, 2) ? "/runs/deleted/"
						     : "/runs/");
	if (is_run(row))
		(void)mk_buf_puts(ret, name);
	else
		(void)mk_name_escape(ret, name, strlen(name));
	if (folders[row->verb]) {
		(void)mk_buf_puts(ret, folders[row->verb]);
		(void)mk_key_escape(ret, row->key);
	} else if (row->verb == MK_OUT_EXPERIMENT_TAG) {
		(void)mk_buf_puts(ret, "/experiment.yaml");
	}
	return 0;
}

/* A later unsent change of the same thing is on top: it will not find this one below it. Else what
 * was there before is there again. */
static int restore_before(struct mk_call *call, struct mk_conn *conn, const struct mk_out *row)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "UPDATE outbox SET before = ?4 WHERE id = (SELECT min(id) FROM outbox"
			   " WHERE object = ?1 AND id > ?2 AND key = ?3 AND code = 0"
			   " AND (verb = ?5 OR (verb IN (2, 3) AND ?5 IN (2, 3))))",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, row->object);
	mk_bind_int(stmt, 2, row->id);
	mk_bind_text(stmt, 3, row->key);
	mk_bind_text(stmt, 4, row->before);
	mk_bind_int(stmt, 5, row->verb);
	r = mk_exec(call, stmt);
	if (r < 0 || mk_rows_changed(conn))
		return r;
	return row->verb == MK_OUT_EXPERIMENT_RENAME ? set_name(call, conn, row->of, row->before)
						     : set_pair(call, conn, row, row->before);
}

static int take_back(struct mk_call *call, struct mk_conn *conn, const struct mk_out *row)
{
	switch (row->verb) {
	case MK_OUT_POINT:
		return drop_point(call, conn, row);
	case MK_OUT_PARAM:
	case MK_OUT_TAG:
	case MK_OUT_TAG_REMOVE:
	case MK_OUT_EXPERIMENT_TAG:
	case MK_OUT_EXPERIMENT_RENAME:
		return restore_before(call, conn, row);
	case MK_OUT_DELETE:
		return set_deleted(call, conn, row->of, 0);
	case MK_OUT_RESTORE:
		return set_deleted(call, conn, row->of, mk_now_real());
	case MK_OUT_EXPERIMENT_MAKE:
		/* what was to be done to it goes with it */
		return mk_domain_run(call, conn,
				     "DELETE FROM outbox WHERE object = 'experiment:' || ?1"
				     " AND id <> ?2",
				     row->of, row->id);
	case MK_OUT_FILE:
		return mk_upload_out_take_back(call, conn, row->of);
	case MK_OUT_ALIAS_SET:
	case MK_OUT_ALIAS_REMOVE:
	case MK_OUT_MODEL_DESCRIBE:
	case MK_OUT_VERSION_DESCRIBE:
		return mk_model_out_take_back(call, conn, row);
	case MK_OUT_VERBS:
		break;
	}
	return 0;
}

/* The store is asked anew, whatever it said last. */
static int forget_said(struct mk_call *call, struct mk_conn *conn, const struct mk_out *row)
{
	int r;

	if (is_apart(row))
		return 0; /* it is soon */

	if (is_run(row))
		return mk_domain_run(call, conn,
				     "UPDATE runs SET remote_digest = 0, as_of = 0 WHERE id = ?1",
				     row->of, 0);
	r = mk_domain_run(call, conn, "UPDATE experiments SET remote_digest = -1 WHERE id = ?1",
			  row->of, 0);
	if (r == 0)
		r = mk_domain_run(call, conn,
				  "DELETE FROM marks WHERE project_id = ?1 AND what = 'experiments'",
				  row->project_id, 0);
	if (r == 0 && row->verb == MK_OUT_EXPERIMENT_MAKE)
		r = mk_domain_run(call, conn,
				  "DELETE FROM experiment_tags WHERE experiment_id = ?1", row->of, 0);
	if (r == 0 && row->verb == MK_OUT_EXPERIMENT_MAKE)
		r = mk_domain_run(call, conn,
				  "DELETE FROM experiments WHERE id = ?1 AND remote_id IS NULL",
				  row->of, 0);
	return r;
}

struct refused {
	const struct mk_outs *rows;
	const struct mk_error *error;
};

/* Of several points one line tells. */
static int tell(struct mk_call *call, struct mk_conn *conn, const struct mk_outs *rows,
		const struct mk_error *error)
{
	_cleanup_buf_ struct mk_buf path = MK_BUF(16 << 10), text = MK_BUF(16 << 10);
	int r = path_of(call, conn, rows->v, &path);

	if (r < 0)
		return r;
	if (rows->n > 1)
		(void)mk_buf_printf(&text, "%zu points written here were taken back: ", rows->n);
	else
		(void)mk_buf_puts(&text, "what was written here was taken back: ");
	(void)mk_buf_puts(&text, error->text ? error->text : strerror(error->code));

	struct mk_error shown = *error;

	shown.text = (char *)mk_buf_text(&text);
	return mk_error_put(call, conn, mk_buf_text(&path), &shown);
}

static int keep_for_asker(struct mk_call *call, struct mk_conn *conn, int64_t id,
			  const struct mk_error *error)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "UPDATE outbox SET code = ?2, text = ?3, detail = ?4 WHERE id = ?1", &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	mk_bind_int(stmt, 2, error->code);
	mk_bind_text(stmt, 3, error->text);
	mk_bind_text(stmt, 4, error->detail);
	return mk_exec(call, stmt);
}

static int write_refused(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct refused *refused = arg;
	const struct mk_outs *rows = refused->rows;
	int64_t wanted = 0;
	int r = mk_domain_int(call, conn, "SELECT wanted FROM outbox WHERE id = ?1", rows->v[0].id,
			      0, &wanted);

	if (r <= 0)
		return r;
	r = wanted < mk_now_real() ? tell(call, conn, rows, refused->error) : 0;
	for (size_t i = rows->n; r == 0 && i-- > 0;) { /* the newest is on top */
		r = take_back(call, conn, &rows->v[i]);
		if (r == 0 && wanted < mk_now_real())
			r = mk_domain_run(call, conn, "DELETE FROM outbox WHERE id = ?1",
					  rows->v[i].id, 0);
		else if (r == 0)
			r = keep_for_asker(call, conn, rows->v[i].id, refused->error);
	}
	if (r == 0)
		r = touch(call, conn, rows->v);
	if (r == 0)
		r = answered(call, conn, rows->v);
	return r < 0 ? r : forget_said(call, conn, rows->v);
}

int mk_outbox_refused(struct mk_call *call, struct mantik *m, const struct mk_outs *rows,
		      const struct mk_error *error)
{
	struct refused refused = {rows, error};

	return mk_domain_write(call, m, MK_DURABLE, write_refused, &refused);
}

/* --- refusals nobody came for ---------------------------------------------------------------- */

static int write_unclaimed(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int64_t late = mk_now_real() - 5 * MK_SEC;
	int r = mk_prepare(call, conn,
			   "SELECT id, project_id, verb, object, key, code, text, detail FROM outbox"
			   " WHERE code <> 0 AND wanted < ?1",
			   &stmt);

	(void)arg;
	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, late);
	while ((r = mk_step(call, stmt)) > 0) {
		const char *object = mk_col_text(stmt, 3), *colon = strchr(object, ':');
		struct mk_out row = {
			.id = mk_col_int(stmt, 0),
			.project_id = mk_col_int(stmt, 1),
			.verb = (enum mk_out_verb)mk_col_int(stmt, 2),
			.object = (char *)object,
			.of = colon ? strtoll(colon + 1, NULL, 10) : 0,
			.key = (char *)mk_col_text(stmt, 4),
		};
		const struct mk_error error = {.code = (int)mk_col_int(stmt, 5),
					       .text = (char *)mk_col_text(stmt, 6),
					       .detail = (char *)mk_col_text(stmt, 7)};

		r = tell(call, conn, &(struct mk_outs){&row, 1}, &error);
		if (r < 0)
			return r;
	}
	return r < 0 ? r : mk_domain_run(call, conn,
					 "DELETE FROM outbox WHERE code <> 0 AND wanted < ?1", late, 0);
}

int mk_outbox_unclaimed(struct mk_call *call, struct mantik *m)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db, "SELECT 1 FROM outbox WHERE code <> 0 AND wanted < ?1", &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, mk_now_real() - 5 * MK_SEC);
	r = mk_step(call, stmt);
	mk_reset(&stmt);
	return r <= 0 ? r : mk_domain_write(call, m, MK_KILLSAFE, write_unclaimed, NULL);
}
