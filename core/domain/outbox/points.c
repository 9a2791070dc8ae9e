/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unsent points and the mirror: they are behind those the store has told, and counted apart from
 * them (`unsent`), until the store has them or refuses them. Everything here is inside a
 * transaction.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "domain/domain.h"
#include "domain/logged.h"
#include "domain/outbox/change.h"

/* The last point by the store's rule, the highest step, of all that is known here. */
int mk_out_points_last(struct mk_call *call, struct mk_conn *conn, int64_t run_id)
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
int mk_out_point_taken(struct mk_call *call, struct mk_conn *conn, const struct mk_out *row)
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
int mk_out_point_refused(struct mk_call *call, struct mk_conn *conn, const struct mk_out *row)
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
	return r < 0 ? r : mk_out_points_last(call, conn, row->of);
}
