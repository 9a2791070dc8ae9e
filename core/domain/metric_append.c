/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Appending points to the history of a key, inside a writing transaction, with its summary kept
 * exact: count, length of the text, least and greatest value, and the last point. The last one is
 * MLflow's: the greatest by step, then time, then value (NaN counts as 0), not the one that came
 * last.
 *
 * A history is in the order logged. Most points are greater than all before them (`late` is 0);
 * the others say where they would have stood: late = 1 + the seq of the greatest point before them.
 * That way it is cheap to tell whether a point is there already, however long the history:
 *
 *	greater than the last		no
 *	late ones			by the index points_late
 *	those in order			by halves: a late one that is met sends us to the one before
 *
 * Histories of databases of before know no order yet: it is found out with the first append.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "domain/domain.h"
#include "domain/logged.h"

struct summary {
	int64_t id; /* 0: a new key */
	int64_t count, bytes;
	struct mk_point last;
	double min, max; /* NAN: none yet */
	int64_t min_step, max_step;
	int64_t head; /* seq of `last`; -1: not known */
	bool mixed;
};

/* A point to be inserted: its seq is that of the first one and its place in the array. */
struct placed {
	struct mk_point point;
	int64_t late;
};

/* -0.0 is 0 here: a point that differs in nothing else is there already. */
#define ORDER(a, b) (((a) > (b)) - ((a) < (b)))

static int compare(const struct mk_point *a, const struct mk_point *b)
{
	int by_step = ORDER(a->step, b->step), by_time = ORDER(a->time, b->time);
	double x = isnan(a->value) ? 0 : a->value, y = isnan(b->value) ? 0 : b->value;

	return by_step ? by_step : by_time ? by_time : ORDER(x, y);
}

static bool same(const struct mk_point *a, const struct mk_point *b)
{
	return compare(a, b) == 0 && isnan(a->value) == isnan(b->value);
}

/* --- the summary --------------------------------------------------------------------------- */

/* *ret is empty for a new key. */
static int read_summary(struct mk_call *call, struct mk_conn *conn, int64_t run_id, const char *key,
			struct summary *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(
		call, conn,
		"SELECT id, count, bytes, last_step, last_value, last_time, min, min_step,"
		" max, max_step, ifnull(head, -1), mixed, minus FROM metrics"
		" WHERE run_id = ? AND key = ?",
		&stmt);

	if (r < 0)
		return r;
	*ret = (struct summary){.min = NAN, .max = NAN, .head = -1};
	mk_bind_int(stmt, 1, run_id);
	mk_bind_text(stmt, 2, key);
	r = mk_step(call, stmt);
	if (r <= 0)
		return r;
	*ret = (struct summary){
		.id = mk_col_int(stmt, 0),
		.count = mk_col_int(stmt, 1),
		.bytes = mk_col_int(stmt, 2),
		.last = {mk_col_int(stmt, 3), mk_col_value_minus(stmt, 4, 12, MK_MINUS_LAST),
			 mk_col_int(stmt, 5)},
		.min = mk_col_value_minus(stmt, 6, 12, MK_MINUS_MIN),
		.min_step = mk_col_int(stmt, 7),
		.max = mk_col_value_minus(stmt, 8, 12, MK_MINUS_MAX),
		.max_step = mk_col_int(stmt, 9),
		.head = mk_col_int(stmt, 10),
		.mixed = mk_col_int(stmt, 11),
	};
	return 0;
}

/* Of a new key it sets the id. */
static int write_summary(struct mk_call *call, struct mk_conn *conn, int64_t run_id, const char *key,
			 struct summary *s)
{
	static const char insert[] =
		"INSERT INTO metrics (run_id, key, count, bytes, last_step, last_value, last_time,"
		" min, min_step, max, max_step, head, mixed, minus)"
		" VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
	static const char update[] =
		"UPDATE metrics SET count = ?3, bytes = ?4, last_step = ?5, last_value = ?6,"
		" last_time = ?7, min = ?8, min_step = ?9, max = ?10, max_step = ?11, head = ?12,"
		" mixed = ?13, minus = ?14 WHERE id = ?1";
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn, s->id ? update : insert, &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, s->id ? s->id : run_id);
	if (!s->id)
		mk_bind_text(stmt, 2, key);
	mk_bind_int(stmt, 3, s->count);
	mk_bind_int(stmt, 4, s->bytes);
	mk_bind_int(stmt, 5, s->last.step);
	mk_bind_value(stmt, 6, s->last.value);
	mk_bind_int(stmt, 7, s->last.time);
	mk_bind_value(stmt, 8, s->min);
	mk_bind_int(stmt, 9, s->min_step);
	mk_bind_value(stmt, 10, s->max);
	mk_bind_int(stmt, 11, s->max_step);
	mk_bind_int(stmt, 12, s->head);
	mk_bind_int(stmt, 13, s->mixed);
	mk_bind_int(stmt, 14, (mk_is_minus_zero(s->last.value) ? MK_MINUS_LAST : 0) |
				      (mk_is_minus_zero(s->min) ? MK_MINUS_MIN : 0) |
				      (mk_is_minus_zero(s->max) ? MK_MINUS_MAX : 0));
	r = mk_exec(call, stmt);
	if (r == 0 && !s->id)
		s->id = mk_last_id(conn);
	return r;
}

/* What `late` of the next point is; the summary's order goes on with it. */
static int64_t place(struct summary *s, const struct mk_point *point)
{
	bool after = s->count == 0 || compare(point, &s->last) > 0;
	int64_t late = after ? 0 : 1 + s->head;

	if (s->count && (!after || point->time < s->last.time))
		s->mixed = true;
	if (after) {
		s->last = *point;
		s->head = s->count;
	}
	return late;
}

static void add_to_summary(struct summary *s, const struct mk_point *point, size_t bytes)
{
	s->count++;
	s->bytes += (int64_t)bytes;
	if (isnan(point->value))
		return;
	if (isnan(s->min) || point->value < s->min) {
		s->min = point->value;
		s->min_step = point->step;
	}
	if (isnan(s->max) || point->value > s->max) {
		s->max = point->value;
		s->max_step = point->step;
	}
}

/* --- the order of a history of before -------------------------------------------------------- */

static int mark_late(struct mk_call *call, struct mk_conn *conn, int64_t id,
		     const int64_t (*marks)[2], size_t n)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "UPDATE points SET late = ?3 WHERE metric_id = ?1 AND seq = ?2", &stmt);

	for (size_t i = 0; r == 0 && i < n; i++) {
		mk_bind_int(stmt, 1, id);
		mk_bind_int(stmt, 2, marks[i][0]);
		mk_bind_int(stmt, 3, marks[i][1]);
		r = mk_step(call, stmt);
		mk_rewind(stmt);
	}
	return r;
}

static int learn_order(struct mk_call *call, struct mk_conn *conn, struct summary *s)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	_cleanup_free_ void *space = NULL;
	struct summary walk = {.head = -1};
	size_t n = 0, cap = 0;
	int r = mk_prepare(call, conn,
			   "SELECT step, value, time, minus FROM points WHERE metric_id = ?"
			   " ORDER BY seq",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, s->id);
	while ((r = mk_step(call, stmt)) > 0) {
		struct mk_point point = {mk_col_int(stmt, 0), mk_col_value_minus(stmt, 1, 3, 1),
					 mk_col_int(stmt, 2)};
		int64_t late = place(&walk, &point);

		if (late && n == cap) {
			void *v = reallocarray(space, cap ? cap * 2 : 64, sizeof(int64_t[2]));

			if (!v)
				return mk_fail(call, ENOMEM, "out of memory for a history");
			space = v;
			cap = cap ? cap * 2 : 64;
		}
		if (late) {
			int64_t(*mark)[2] = (int64_t(*)[2])space + n++;

			(*mark)[0] = walk.count;
			(*mark)[1] = late;
		}
		walk.count++;
	}
	if (r == 0)
		r = mark_late(call, conn, s->id, space, n);
	if (r < 0)
		return r;
	s->last = walk.last;
	s->head = walk.head;
	s->mixed = walk.mixed;
	return 0;
}

/* --- is it there already -------------------------------------------------------------------- */

/* 1 yes, 0 no. */
static int among_late(struct mk_call *call, struct mk_conn *conn, int64_t id,
		      const struct mk_point *point)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "SELECT 1 FROM points WHERE metric_id = ?1 AND time = ?2 AND step = ?3"
			   " AND value IS ?4 AND late > 0 LIMIT 1",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	mk_bind_int(stmt, 2, point->time);
	mk_bind_int(stmt, 3, point->step);
	mk_bind_value(stmt, 4, point->value);
	return mk_step(call, stmt);
}

/* The point of this seq, or the one in order before it: *seq is set to that one's. */
static int in_order_at(struct mk_call *call, struct mk_stmt *stmt, int64_t id, int64_t *seq,
		       struct mk_point *ret)
{
	for (int i = 0; i < 2; i++) {
		mk_bind_int(stmt, 1, id);
		mk_bind_int(stmt, 2, *seq);

		int r = mk_step(call, stmt);

		if (r < 0)
			return r;
		if (r == 0)
			break;

		int64_t late = mk_col_int(stmt, 3);

		*ret = (struct mk_point){mk_col_int(stmt, 0), mk_col_value(stmt, 1),
					 mk_col_int(stmt, 2)};
		mk_rewind(stmt);
		if (!late)
			return 0;
		*seq = late - 1;
	}
	return mk_fail(call, EIO, "the history of a metric is damaged: point %lld is missing",
		       (long long)*seq);
}

static int among_ordered(struct mk_call *call, struct mk_conn *conn, int64_t id, int64_t count,
			 const struct mk_point *point)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "SELECT step, value, time, late FROM points WHERE metric_id = ?1"
			   " AND seq = ?2",
			   &stmt);

	for (int64_t low = 0, high = count - 1; r == 0 && low <= high;) {
		int64_t middle = low + (high - low) / 2, at = middle;
		struct mk_point found;

		r = in_order_at(call, stmt, id, &at, &found);
		if (r < 0)
			return r;

		int way = compare(point, &found);

		if (way == 0)
			return same(point, &found);
		if (way > 0)
			low = middle + 1;
		else
			high = at - 1;
	}
	return r;
}

/* `stored` are the points of before this append, `added` those of it so far. */
static int is_there(struct mk_call *call, struct mk_conn *conn, const struct summary *s,
		    int64_t stored, const struct placed *added, size_t n,
		    const struct mk_point *point)
{
	int r;

	if (s->count == 0 || compare(point, &s->last) > 0)
		return 0;
	for (size_t i = n; i; i--)
		if (same(point, &added[i - 1].point))
			return 1;
	if (!stored)
		return 0;
	r = among_late(call, conn, s->id, point);
	return r ? r : among_ordered(call, conn, s->id, stored, point);
}

/* --- the story ----------------------------------------------------------------------------- */

static int insert_points(struct mk_call *call, struct mk_conn *conn, int64_t id, int64_t first,
			 const struct placed *points, size_t n)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "INSERT INTO points (metric_id, seq, step, value, time, late, minus)"
			   " VALUES (?, ?, ?, ?, ?, ?, ?)",
			   &stmt);

	for (size_t i = 0; r == 0 && i < n; i++) {
		mk_bind_int(stmt, 1, id);
		mk_bind_int(stmt, 2, first + (int64_t)i);
		mk_bind_int(stmt, 3, points[i].point.step);
		mk_bind_value(stmt, 4, points[i].point.value);
		mk_bind_int(stmt, 5, points[i].point.time);
		mk_bind_int(stmt, 6, points[i].late);
		mk_bind_minus(stmt, 7, points[i].point.value);
		r = mk_step(call, stmt);
		mk_rewind(stmt);
	}
	return r;
}

static int append(struct mk_call *call, struct mk_conn *conn, int64_t run_id, const char *key,
		  const struct mk_logged *points, size_t n, bool only_new)
{
	struct mk_point_writer writer = {};
	struct placed one, *all = n > 1 ? malloc(n * sizeof(*all)) : &one;
	_cleanup_free_ void *owned = n > 1 ? all : NULL;
	struct summary s;
	size_t n_added = 0;
	int64_t now = mk_now_real();
	int r = read_summary(call, conn, run_id, key, &s);
	int64_t stored = s.count;

	if (!all)
		return mk_fail(call, ENOMEM, "metric \"%s\": out of memory for %zu points", key, n);
	if (r == 0 && s.count && s.head < 0)
		r = learn_order(call, conn, &s);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		char line[96];
		struct mk_point point = {
			.step = points[i].step,
			.value = points[i].value,
			.time = points[i].time || points[i].has_time ? points[i].time : now,
		};

		if (!points[i].has_step) {
			if (s.count && s.last.step == INT64_MAX)
				return mk_fail(call, EINVAL,
					       "metric \"%s\": no step comes after %lld", key,
					       (long long)s.last.step);
			point.step = s.count ? s.last.step + 1 : 0;
		}
		if (only_new) {
			r = is_there(call, conn, &s, stored, all, n_added, &point);
			if (r < 0)
				return r;
			if (r > 0)
				continue;
		}
		all[n_added++] = (struct placed){point, place(&s, &point)};
		add_to_summary(&s, &point, mk_point_write(&writer, &point, line));
	}
	if (!n_added)
		return 0;
	r = write_summary(call, conn, run_id, key, &s);
	return r < 0 ? r : insert_points(call, conn, s.id, stored, all, n_added);
}

int mk_metric_append_new(struct mk_call *call, struct mk_conn *conn, int64_t run_id,
			 const char *key, const struct mk_logged *points, size_t n)
{
	return n ? append(call, conn, run_id, key, points, n, true) : 0;
}

int mk_metric_append(struct mk_call *call, struct mk_conn *conn, int64_t run_id, const char *key,
		     const struct mk_logged *points, size_t n)
{
	int r = n ? append(call, conn, run_id, key, points, n, false) : 0;

	return r < 0 || !n ? r : mk_run_touch(call, conn, run_id, MK_TOUCH_LOGGED);
}
