/* SPDX-License-Identifier: Apache-2.0 */
/* The points of a metric, in the order MLflow gives them: time, step, value. A NaN is 0 there, with a
 * mark. */
#include "sqlstore.h"

#include <errno.h>
#include <math.h>
#include <string.h>

enum { MOST_POINTS = 50 * 1000 * 1000 };

struct ask {
	const char *run_id, *key;
	const struct mk_point *last; /* tail: what comes after it; NULL: all */
	int64_t known;
	struct mk_point **points;
	size_t *n, begin, cap;
	bool differs;
};

/* Points are not of the arena: who asked owns them. */
static int add_point(struct mk_sql *sql, struct ask *a, struct mk_stmt *stmt)
{
	if (*a->n == MOST_POINTS)
		return mk_fail(sql->call, EFBIG, "%s: metric %.100s: more than %d points",
			       sql->t->local.connection, a->key, MOST_POINTS);
	if (*a->n >= a->cap) {
		size_t cap = *a->n < 1000 ? 1000 : *a->n + *a->n / 2;
		struct mk_point *more = realloc(*a->points, cap * sizeof(*more));

		if (!more)
			return -ENOMEM;
		*a->points = more;
		a->cap = cap;
	}
	(*a->points)[(*a->n)++] = (struct mk_point){
		.step = mk_col_int(stmt, 0),
		.value = mk_col_int(stmt, 3) ? NAN : mk_col_double(stmt, 1),
		.time = mk_sql_time(stmt, 2),
	};
	return 0;
}

static void bind_last(struct mk_stmt *stmt, const struct ask *a)
{
	mk_bind_text(stmt, 1, a->run_id);
	mk_bind_text(stmt, 2, a->key);
	if (!a->last)
		return;
	mk_bind_int(stmt, 3, a->last->time / MK_MS);
	mk_bind_int(stmt, 4, a->last->step);
	mk_bind_double(stmt, 5, isnan(a->last->value) ? 0 : a->last->value);
}

/* Is the last one we have where it was: the known-th? */
static int check_known(struct mk_sql *sql, struct ask *a)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(sql->call, sql->conn,
			   "SELECT count(*), sum((timestamp, step, value) = (?3, ?4, ?5)"
			   " AND is_nan = ?6) FROM metrics WHERE run_uuid = ?1 AND +key = ?2"
			   " AND (timestamp, step, value) <= (?3, ?4, ?5)", &stmt);

	if (r < 0)
		return r;
	bind_last(stmt, a);
	mk_bind_int(stmt, 6, isnan(a->last->value));
	r = mk_step(sql->call, stmt);
	if (r < 0)
		return r;
	a->differs = r == 0 || mk_col_int(stmt, 0) != a->known || mk_col_int(stmt, 1) != 1;
	return 0;
}

static int read_points(struct mk_sql *sql, void *arg)
{
#define POINTS(index_, key_, and_)                                                              \
	"SELECT step, value, timestamp, is_nan FROM metrics " index_ " WHERE run_uuid = ?1 AND " \
	key_ " = ?2 " and_ " ORDER BY timestamp, step, value, is_nan"
#define AFTER "AND (timestamp, step, value) > (?3, ?4, ?5)"
#define BY_STEP "INDEXED BY index_metrics_run_uuid_key_step"
	static const char *const texts[2][2] = {
		/* +key: by the index of run_uuid, not through the points of all runs. */
		{POINTS("", "+key", ""), POINTS("", "+key", AFTER)},
		{POINTS(BY_STEP, "key", ""), POINTS(BY_STEP, "key", AFTER)},
	};
	struct ask *a = arg;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r;

	*a->n = a->begin;
	a->differs = false;
	r = a->last ? check_known(sql, a) : 0;
	if (r < 0 || a->differs)
		return r;
	r = mk_prepare(sql->call, sql->conn, texts[sql->schema.step_index][a->last != NULL], &stmt);
	if (r < 0)
		return r;
	bind_last(stmt, a);
	while ((r = mk_step(sql->call, stmt)) > 0) {
		r = add_point(sql, a, stmt);
		if (r < 0)
			return r;
	}
	return r;
}

int mk_sql_history(struct mk_call *call, struct mk_tracking *t, const char *run_id,
		   const char *key, char **token, struct mk_point **points, size_t *n)
{
	_cleanup_arena_ struct mk_arena arena = {};
	struct ask a = {.run_id = run_id, .key = key, .points = points, .n = n, .begin = *n, .cap = *n};
	int r = mk_sql_read(call, t, &arena, read_points, &a);

	mk_freep(token);
	if (r < 0)
		*n = a.begin;
	return r;
}

int mk_sql_tail(struct mk_call *call, struct mk_tracking *t, const char *run_id, const char *key,
		int64_t known, const struct mk_point *last, struct mk_point **points, size_t *n)
{
	_cleanup_arena_ struct mk_arena arena = {};
	const struct mk_point copy = *last; /* it may lie in the points that grow */
	struct ask a = {.run_id = run_id, .key = key, .last = &copy, .known = known,
			.points = points, .n = n, .begin = *n, .cap = *n};
	int r;

	if (known < 1)
		return mk_fail(call, EINVAL, "%s: the end of nothing", t->local.connection);
	r = mk_sql_read(call, t, &arena, read_points, &a);
	if (r < 0)
		*n = a.begin;
	if (r == 0 && a.differs)
		return mk_fail(call, ESTALE,
			       "%s: metric %.100s of run %.40s does not go on where it ended",
			       t->local.connection, key, run_id);
	return r;
}
