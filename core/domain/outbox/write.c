/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a user does to a store's runs (to its experiments: experiment.c): checked against what
 * is known here, then one transaction of the change and its row in the outbox, then mantikd is told.
 * Nobody waits.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "connect/tracking/tracking.h"
#include "domain/domain.h"
#include "domain/index/index.h"
#include "domain/logged.h"
#include "domain/outbox/write.h"

/* Is it a store's? */
int mk_out_is_store(struct mk_call *call, struct mantik *m, const char *sql, int64_t id)
{
	struct mk_conn *conn;
	int64_t one;
	int r = mk_db_reader(call, m->db, &conn);

	return r < 0 ? r : mk_domain_int(call, conn, sql, id, 0, &one);
}

static int is_store_run(struct mk_call *call, struct mantik *m, int64_t id)
{
	return mk_out_is_store(call, m, "SELECT 1 FROM runs WHERE id = ?1 AND remote_id IS NOT NULL", id);
}

/* A store without a server is never written to. One that cannot be opened now (its connection is
 * gone, its password) may be another time. */
static int can_be_written(struct mk_call *call, struct mantik *m, const struct mk_out_edit *edit)
{
	static const char run[] = "SELECT connection FROM projects WHERE id ="
				  " (SELECT project_id FROM runs WHERE id = ?1)",
			  experiment[] = "SELECT connection FROM projects WHERE id ="
					 " (SELECT project_id FROM experiments WHERE id = ?1)",
			  project[] = "SELECT connection FROM projects WHERE id = ?1";
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	const struct mk_tracking_ops *ops;
	struct mk_tracking *store;
	bool made = edit->row.verb == MK_OUT_EXPERIMENT_MAKE;
	int r = mk_db_read(call, m->db,
			   made					   ? project
			   : edit->row.verb < MK_OUT_EXPERIMENT_MAKE ? run
								     : experiment,
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, made ? edit->row.project_id : edit->id);
	r = mk_step(call, stmt);
	if (r <= 0)
		return r;

	_cleanup_free_ char *connection = mk_col_dup(stmt, 0);

	mk_reset(&stmt);
	r = mk_index_store(call, m, connection, &ops, &store);
	if (r < 0) {
		mk_error_clear(call);
		return 0;
	}
	return ops->log ? 0
			: mk_fail(call, EROFS,
				  "connections/%s.yaml is a store without a server: it is only read",
				  connection);
}

/* The row is durable: should mantikd not start now, the next one finds it. */
int mk_outbox_write(struct mk_call *call, struct mantik *m, enum mk_durable durable, mk_db_fn *fn,
		    void *arg, struct mk_out *row)
{
	int64_t first = call->unsent.first, last = call->unsent.last;
	int64_t wait = mantik_option_duration(m, "submit_wait");
	int r;

	row->wanted = durable == MK_DURABLE ? mk_now_real() + wait : 0;
	r = mk_domain_write(call, m, durable, fn, arg);
	if (r < 0) {
		call->unsent.first = first;
		call->unsent.last = last;
		return r;
	}
	if (call->unsent.last != last)
		call->unsent.until = mk_now_mono() + wait;

	_cleanup_call_ struct mk_call own;

	mk_call_init(&own);
	(void)!mantik_poke(&own, m);
	return 1;
}

int mk_out_write(struct mk_call *call, struct mantik *m, enum mk_durable durable, mk_db_fn *fn,
		      struct mk_out_edit *edit)
{
	int r = can_be_written(call, m, edit);

	return r < 0 ? r : mk_outbox_write(call, m, durable, fn, edit, &edit->row);
}

int mk_out_put(struct mk_call *call, struct mk_conn *conn, struct mk_out *row)
{
	int r = mk_outbox_put(call, conn, row);

	return r < 0 ? r : mk_outbox_apply(call, conn, row);
}

/* The row's object and project. EROFS: the run is deleted, if it has to be alive. */
static int begin_run(struct mk_call *call, struct mk_conn *conn, struct mk_out_edit *edit, bool alive,
		     int64_t *ret_deleted)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_domain_need(call, conn, "SELECT project_id, deleted FROM runs WHERE id = ?1",
			       "run", edit->id, &stmt);

	if (r < 0)
		return r;
	edit->row.project_id = mk_col_int(stmt, 0);
	edit->row.of = edit->id;
	if (ret_deleted)
		*ret_deleted = mk_col_int(stmt, 1);
	if (alive && mk_col_int(stmt, 1))
		return mk_fail(call, EROFS, "the run is deleted; `echo restore > ctl` first");
	return 0;
}

/* --- tags and params ------------------------------------------------------------------------ */

static int value_before(struct mk_call *call, struct mk_conn *conn, const struct mk_out_edit *edit,
			char **ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = edit->row.verb == MK_OUT_PARAM
			? mk_prepare(call, conn,
				     "SELECT value FROM params WHERE run_id = ?1 AND key = ?2", &stmt)
			: mk_prepare(call, conn,
				     "SELECT value FROM tags WHERE run_id = ?1 AND key = ?2", &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, edit->id);
	mk_bind_text(stmt, 2, edit->row.key);
	r = mk_step(call, stmt);
	if (r > 0)
		*ret = mk_col_dup(stmt, 0);
	return r;
}

static int write_value(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	struct mk_out_edit *edit = arg;
	struct mk_out *row = &edit->row;
	_cleanup_free_ char *before = NULL;
	int r = begin_run(call, conn, edit, true, NULL);

	if (r == 0)
		r = value_before(call, conn, edit, &before);
	if (r < 0)
		return r;
	if (r == 0 && edit->remove)
		return mk_fail(call, ENOENT, "tag \"%s\": there is none", row->key);
	if (before && row->value && strcmp(before, row->value) == 0)
		return 0;
	if (before && row->verb == MK_OUT_PARAM)
		return mk_fail(call, EEXIST, "param \"%s\" is already \"%.200s\"; params never change",
			       row->key, before);
	row->before = before;
	r = mk_out_put(call, conn, row);
	row->before = NULL;
	return r < 0 ? r : mk_run_touch(call, conn, edit->id, MK_TOUCH_ROW);
}

int mk_store_value_set(struct mk_call *call, struct mantik *m, int64_t run_id,
		       enum mk_value_kind kind, const char *key, const char *value)
{
	_cleanup_free_ char *object = mk_strf("run:%lld", (long long)run_id);
	size_t characters = 0;
	int r = is_store_run(call, m, run_id);

	if (r <= 0)
		return r;
	for (const char *s = value; *s; s++)
		characters += (*s & 0xc0) != 0x80;
	if (kind == MK_PARAM && characters > MK_T_MAX_PARAM)
		return mk_fail(call, EINVAL,
			       "param \"%s\": the value has %zu characters, its tracking server would "
			       "keep %d",
			       key, characters, MK_T_MAX_PARAM);

	struct mk_out_edit edit = {
		.id = run_id,
		.row = {.verb = kind == MK_PARAM ? MK_OUT_PARAM : MK_OUT_TAG,
			.object = object,
			.key = (char *)key,
			.value = (char *)value},
	};

	return mk_out_write(call, m, MK_DURABLE, write_value, &edit);
}

int mk_store_tag_remove(struct mk_call *call, struct mantik *m, int64_t run_id, const char *key)
{
	_cleanup_free_ char *object = mk_strf("run:%lld", (long long)run_id);
	int r = is_store_run(call, m, run_id);
	struct mk_out_edit edit = {
		.id = run_id,
		.remove = true,
		.row = {.verb = MK_OUT_TAG_REMOVE, .object = object, .key = (char *)key},
	};

	return r <= 0 ? r : mk_out_write(call, m, MK_DURABLE, write_value, &edit);
}

/* --- points ---------------------------------------------------------------------------------- */

/* The metric's row, made if it is new here; its last point. 1: it has one, 0: not. */
static int begin_metric(struct mk_call *call, struct mk_conn *conn, const struct mk_out_edit *edit,
			int64_t *ret_id, struct mk_point *ret_last)
{
	_cleanup_stmt_ struct mk_stmt *find = NULL, *make = NULL;
	int r = mk_prepare(call, conn,
			   "SELECT id, last_step, last_time FROM metrics"
			   " WHERE run_id = ?1 AND key = ?2",
			   &find);

	if (r < 0)
		return r;
	mk_bind_int(find, 1, edit->id);
	mk_bind_text(find, 2, edit->row.key);
	r = mk_step(call, find);
	if (r > 0) {
		*ret_id = mk_col_int(find, 0);
		*ret_last = (struct mk_point){.step = mk_col_int(find, 1), .time = mk_col_int(find, 2)};
	}
	if (r != 0)
		return r;
	r = mk_prepare(call, conn,
		       "INSERT INTO metrics (run_id, key, count, bytes, last_step, last_time)"
		       " VALUES (?1, ?2, 0, 0, 0, 0)",
		       &make);
	if (r < 0)
		return r;
	mk_bind_int(make, 1, edit->id);
	mk_bind_text(make, 2, edit->row.key);
	r = mk_exec(call, make);
	*ret_id = mk_last_id(conn);
	return r;
}

static int end_metric(struct mk_call *call, struct mk_conn *conn, int64_t id, size_t n,
		      int64_t bytes, const struct mk_point *last)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "UPDATE metrics SET unsent = unsent + ?2, unsent_bytes = unsent_bytes + ?3,"
			   " minus = minus & 6, last_step = ?4, last_value = ?5, last_time = ?6"
			   " WHERE id = ?1",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	mk_bind_int(stmt, 2, (int64_t)n);
	mk_bind_int(stmt, 3, bytes);
	mk_bind_int(stmt, 4, last->step);
	mk_bind_value(stmt, 5, last->value);
	mk_bind_int(stmt, 6, last->time);
	return mk_exec(call, stmt);
}

static int write_points(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	struct mk_out_edit *edit = arg;
	struct mk_out *row = &edit->row;
	struct mk_point_writer writer = {};
	struct mk_point last = {};
	int64_t id, bytes = 0, now = mk_now_real();
	bool any, moved = false;
	int r = begin_run(call, conn, edit, true, NULL);

	if (r == 0)
		r = begin_metric(call, conn, edit, &id, &last);
	if (r < 0)
		return r;
	any = r > 0;

	int64_t step = last.step;

	for (size_t i = 0; i < edit->n; i++) {
		const struct mk_logged *point = &edit->points[i];
		int64_t time = point->time ? point->time : now;
		char line[96];

		if (!point->has_step && any && step == INT64_MAX)
			return mk_fail(call, EINVAL, "metric \"%s\": no step comes after %lld",
				       row->key, (long long)step);
		step = point->has_step ? point->step : any ? step + 1 : 0;
		/* as the store will give it back */
		row->point = (struct mk_point){step, point->value, time / MK_T_TICK * MK_T_TICK};
		if (row->point.value == 0)
			row->point.value = 0; /* neither does the outbox tell -0.0 from 0 */
		r = mk_outbox_put(call, conn, row);
		if (r < 0)
			return r;
		bytes += (int64_t)mk_point_write(&writer, &row->point, line);
		if (!any || step > last.step || (step == last.step && row->point.time >= last.time)) {
			last = row->point;
			moved = true;
		}
		any = true;
	}
	if (!moved) { /* the last one stays: its value is in the row */
		r = mk_domain_run(call, conn,
				  "UPDATE metrics SET unsent_bytes = unsent_bytes + ?2 WHERE id = ?1", id,
				  bytes);
		if (r == 0)
			r = mk_domain_run(call, conn,
					  "UPDATE metrics SET unsent = unsent + ?2 WHERE id = ?1", id,
					  (int64_t)edit->n);
	} else {
		r = end_metric(call, conn, id, edit->n, bytes, &last);
	}
	return r < 0 ? r : mk_run_touch(call, conn, edit->id, MK_TOUCH_LOGGED);
}

int mk_store_log(struct mk_call *call, struct mantik *m, int64_t run_id, const char *key,
		 const struct mk_logged *points, size_t n)
{
	_cleanup_free_ char *object = mk_strf("run:%lld", (long long)run_id);
	int r = is_store_run(call, m, run_id);
	struct mk_out_edit edit = {
		.id = run_id,
		.points = points,
		.n = n,
		.row = {.verb = MK_OUT_POINT, .object = object, .key = (char *)key},
	};

	/* Nobody waits: the lines of a loop are sent together. */
	return r <= 0 ? r : mk_out_write(call, m, MK_KILLSAFE, write_points, &edit);
}

/* --- runs ------------------------------------------------------------------------------------ */

static int write_move(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	struct mk_out_edit *edit = arg;
	int64_t deleted, status = 0, experiment = 0;
	int r = begin_run(call, conn, edit, false, &deleted);

	if (r == 0)
		r = mk_domain_int(call, conn, "SELECT status FROM runs WHERE id = ?1", edit->id, 0,
				  &status);
	if (r >= 0)
		r = mk_domain_int(call, conn, "SELECT experiment_id FROM runs WHERE id = ?1", edit->id,
				  0, &experiment);
	if (r < 0)
		return r;
	if (edit->row.verb == MK_OUT_RESTORE && !deleted)
		return mk_fail(call, ENOENT, "the run is not deleted");
	if (edit->row.verb == MK_OUT_DELETE && deleted)
		return 0;
	if (edit->row.verb == MK_OUT_DELETE && !mk_status_final((enum mk_status)status))
		return mk_fail(call, EBUSY,
			       "the run is %s: its tracking server has not been told that it ended",
			       mk_status_name((enum mk_status)status));
	r = mk_out_put(call, conn, &edit->row);
	if (r == 0)
		r = mk_run_touch(call, conn, edit->id, MK_TOUCH_ROW);
	if (r == 0)
		r = mk_project_touch(call, conn, edit->row.project_id, true);
	return r < 0 ? r : mk_experiment_touch(call, conn, experiment, true);
}

int mk_store_run_move(struct mk_call *call, struct mantik *m, int64_t run_id, bool deleted)
{
	_cleanup_free_ char *object = mk_strf("run:%lld", (long long)run_id);
	int r = is_store_run(call, m, run_id);
	struct mk_out_edit edit = {
		.id = run_id,
		.row = {.verb = deleted ? MK_OUT_DELETE : MK_OUT_RESTORE, .object = object},
	};

	return r <= 0 ? r : mk_out_write(call, m, MK_DURABLE, write_move, &edit);
}
