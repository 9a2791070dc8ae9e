/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The history of one metric of a store: asked for whole the first time, then only what came after
 * the last point we have, as long as the store's history goes on from there. Points that are here
 * already and the same stay as they are, so a file that is followed only grows.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "domain/domain.h"
#include "domain/index/fly.h"
#include "domain/logged.h"
#include "domain/outbox/outbox.h"

enum {
	POINTS_MAX = 50 << 20, /* of one metric */
	SIGN_OF_LIFE = 1000,   /* points that are written between two: a slow disk is no silent store */
};

static bool same_value(double a, double b)
{
	return (a == b && signbit(a) == signbit(b)) || (isnan(a) && isnan(b));
}

/* How many of the points are there already, the same and in the same places. */
static int count_same(struct mk_call *call, struct mk_conn *conn, int64_t metric_id,
		      const struct mk_point *points, size_t n, size_t *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "SELECT seq, step, value, time, minus FROM points WHERE metric_id = ?1"
			   " ORDER BY seq",
			   &stmt);
	size_t same = 0;

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, metric_id);
	while ((r = mk_step(call, stmt)) > 0 && same < n) {
		double value = mk_col_value_minus(stmt, 2, 4, 1);

		if (mk_col_int(stmt, 0) != (int64_t)same ||
		    mk_col_int(stmt, 1) != points[same].step ||
		    !same_value(value, points[same].value) ||
		    mk_col_int(stmt, 3) != points[same].time)
			break;
		same++;
	}
	*ret = same;
	return r < 0 ? r : 0;
}

struct summary {
	int64_t bytes, min_step, max_step;
	double min, max;
};

static struct summary sum_up(struct mk_flight *flight, const struct mk_point *points, size_t n)
{
	struct summary s = {.min = NAN, .max = NAN};
	struct mk_point_writer writer = {};
	char line[96];

	for (size_t i = 0; i < n; i++) {
		if (i % SIGN_OF_LIFE == 0)
			mk_flight_moved(flight);
		s.bytes += (int64_t)mk_point_write(&writer, &points[i], line);
		if (isnan(points[i].value))
			continue;
		if (isnan(s.min) || points[i].value < s.min) {
			s.min = points[i].value;
			s.min_step = points[i].step;
		}
		if (isnan(s.max) || points[i].value > s.max) {
			s.max = points[i].value;
			s.max_step = points[i].step;
		}
	}
	return s;
}

static int write_summary(struct mk_call *call, struct mk_flight *flight, struct mk_conn *conn,
			 int64_t metric_id, const struct mk_point *points, size_t n)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	struct summary s = sum_up(flight, points, n);
	int r = mk_prepare(call, conn,
			   "UPDATE metrics SET count = ?2, bytes = ?3, min = ?4, min_step = ?5,"
			   " max = ?6, max_step = ?7, minus = (minus & 1) | ?8, whole = 1"
			   " WHERE id = ?1",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, metric_id);
	mk_bind_int(stmt, 2, (int64_t)n);
	mk_bind_int(stmt, 3, s.bytes);
	mk_bind_value(stmt, 4, s.min);
	mk_bind_int(stmt, 5, s.min_step);
	mk_bind_value(stmt, 6, s.max);
	mk_bind_int(stmt, 7, s.max_step);
	mk_bind_int(stmt, 8, (mk_is_minus_zero(s.min) ? MK_MINUS_MIN : 0) |
				     (mk_is_minus_zero(s.max) ? MK_MINUS_MAX : 0));
	return mk_exec(call, stmt);
}

static int put_points(struct mk_call *call, struct mk_flight *flight, struct mk_conn *conn,
		      int64_t run_id, const char *key, struct mk_point *points, size_t n)
{
	_cleanup_stmt_ struct mk_stmt *find = NULL, *insert = NULL;
	size_t same = 0;
	int r = mk_prepare(call, conn, "SELECT id FROM metrics WHERE run_id = ?1 AND key = ?2", &find);

	if (r < 0)
		return r;
	mk_bind_int(find, 1, run_id);
	mk_bind_text(find, 2, key);
	r = mk_step(call, find);
	if (r <= 0)
		return r < 0 ? r : mk_fail(call, ENOENT, "metric \"%s\": there is none", key);

	int64_t id = mk_col_int(find, 0);

	r = mk_outbox_subtract(call, conn, run_id, key, points, &n);
	if (r == 0)
		r = count_same(call, conn, id, points, n, &same);
	if (r == 0)
		r = mk_domain_run(call, conn, "DELETE FROM points WHERE metric_id = ?1 AND seq >= ?2",
				  id, (int64_t)same);
	if (r == 0)
		r = mk_prepare(call, conn,
			       "INSERT INTO points (metric_id, seq, step, value, time, minus)"
			       " VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
			       &insert);
	for (size_t i = same; r == 0 && i < n; i++) {
		mk_bind_int(insert, 1, id);
		mk_bind_int(insert, 2, (int64_t)i);
		mk_bind_int(insert, 3, points[i].step);
		mk_bind_value(insert, 4, points[i].value);
		mk_bind_int(insert, 5, points[i].time);
		mk_bind_minus(insert, 6, points[i].value);
		r = mk_step(call, insert);
		mk_rewind(insert);
		if (i % SIGN_OF_LIFE == 0)
			mk_flight_moved(flight);
	}
	if (r == 0)
		r = write_summary(call, flight, conn, id, points, n);
	if (r == 0)
		r = mk_db_changed(call, conn, "run", run_id);
	return r;
}

struct put_history {
	const struct mk_question *q;
	struct mk_flight *flight;
	struct mk_point *points;
	size_t n;
	bool last_try;
};

/* 1: the store took something from here since it was asked, which its answer need not hold. */
enum { ASKED_BEFORE = 1, TRIES = 3 };

static int put_history(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct put_history *put = arg;
	const struct mk_question *q = put->q;
	int64_t written = 0;
	int r = mk_domain_int(call, conn, "SELECT written FROM runs WHERE id = ?1", q->object, 0,
			      &written);

	if (r < 0)
		return r;
	if (q->asked <= written && !put->last_try)
		return ASKED_BEFORE;
	r = put_points(call, put->flight, conn, q->object, q->key, put->points, put->n);
	if (r < 0 || q->asked > written)
		return r;

	/* Somebody logs all the time: it is asked for again at the next look. */
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;

	r = mk_prepare(call, conn, "UPDATE metrics SET whole = 0 WHERE run_id = ?1 AND key = ?2",
		       &stmt);
	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, q->object);
	mk_bind_text(stmt, 2, q->key);
	return mk_exec(call, stmt);
}

/* The points that are here: all but the end need not be asked for. */
static int load(struct mk_call *call, const struct mk_question *q, struct mk_point **ret, size_t *n)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	size_t cap = 0;
	int r = mk_db_read(call, q->m->db,
			   "SELECT step, value, time, minus FROM points WHERE metric_id ="
			   " (SELECT id FROM metrics WHERE run_id = ?1 AND key = ?2) ORDER BY seq",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, q->object);
	mk_bind_text(stmt, 2, q->key);
	while ((r = mk_step(call, stmt)) > 0) {
		if (*n == cap) {
			cap = cap ? cap * 2 : 1024;

			void *v = realloc(*ret, cap * sizeof(**ret));

			if (!v)
				return mk_fail(call, ENOMEM, "metric \"%s\": too long", q->key);
			*ret = v;
		}
		(*ret)[(*n)++] = (struct mk_point){
			.step = mk_col_int(stmt, 0),
			.value = mk_col_value_minus(stmt, 1, 3, 1),
			.time = mk_col_int(stmt, 2),
		};
	}
	return r;
}

static int ask_whole(struct mk_call *call, struct mk_flight *flight, const struct mk_question *q,
		     struct mk_point **points, size_t *n)
{
	_cleanup_free_ char *token = NULL;
	int r;

	*n = 0;
	do {
		r = q->ops->history(call, q->store, q->remote_id, q->key, &token, points, n);
		mk_flight_moved(flight);
		if (r == 0 && *n > POINTS_MAX)
			r = mk_fail(call, EFBIG, "metric \"%s\": more than %d points", q->key,
				    POINTS_MAX);
	} while (r == 0 && token);
	return r;
}

/* The end alone, if it goes on from what is here. */
static int ask(struct mk_call *call, struct mk_flight *flight, struct mk_question *q,
	       struct mk_point **points, size_t *n)
{
	int r;

	q->asked = mk_now_real();
	*n = 0;
	r = load(call, q, points, n);
	if (r < 0)
		return r;
	r = -ESTALE;
	if (*n && q->ops->tail) {
		const struct mk_point last = (*points)[*n - 1];

		r = q->ops->tail(call, q->store, q->remote_id, q->key, (int64_t)*n, &last, points, n);
		mk_flight_moved(flight);
	}
	if (r == -ESTALE) {
		mk_error_clear(call);
		r = ask_whole(call, flight, q, points, n);
	}
	return r;
}

int mk_fly_history(struct mk_call *call, struct mk_flight *flight, void *arg)
{
	struct mk_question *q = arg;
	int r = ASKED_BEFORE;

	for (int i = 0; i < TRIES && r == ASKED_BEFORE; i++) {
		_cleanup_free_ struct mk_point *points = NULL;
		struct put_history put = {.q = q, .flight = flight, .last_try = i == TRIES - 1};

		r = ask(call, flight, q, &points, &put.n);
		if (r < 0)
			return r;
		put.points = points;
		r = mk_domain_write(call, q->m, MK_KILLSAFE, put_history, &put);
	}
	return r;
}
