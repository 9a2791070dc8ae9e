/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See track.h. Histories as MLflow's API pages and samples them. One that was logged in order (most
 * are) is walked as it lies; another is sorted by the database for every page.
 */
#include "domain/track/track.h"

#include "domain/domain.h"
#include "domain/logged.h"

struct key {
	int64_t id, count;
	bool mixed; /* or its order is not known */
};

/* 1, or 0: nothing was logged under it. */
static int find(struct mk_call *call, struct mantik *m, int64_t run_id, const char *key,
		struct key *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db,
			   "SELECT id, count, mixed OR head IS NULL FROM metrics"
			   " WHERE run_id = ? AND key = ?",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, run_id);
	mk_bind_text(stmt, 2, key);
	r = mk_step(call, stmt);
	if (r > 0)
		*ret = (struct key){mk_col_int(stmt, 0), mk_col_int(stmt, 1),
				    mk_col_int(stmt, 2)};
	return r;
}

static struct mk_point row(struct mk_stmt *stmt)
{
	return (struct mk_point){
		.step = mk_col_int(stmt, 0),
		.value = mk_col_value_minus(stmt, 1, 3, 1),
		.time = mk_col_int(stmt, 2),
	};
}

int mk_track_history(struct mk_call *call, struct mantik *m, int64_t run_id, const char *key,
		     int64_t offset, int64_t limit, mk_track_point *emit, void *arg)
{
	static const char as_it_lies[] = "SELECT step, value, time, minus FROM points WHERE metric_id = ?1"
					 " AND seq >= ?2 ORDER BY seq LIMIT ?3";
	static const char sorted[] = "SELECT step, value, time, minus FROM points WHERE metric_id = ?1"
				     " ORDER BY time, step, ifnull(value, 0) LIMIT ?3 OFFSET ?2";
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	struct key found = {};
	int r = find(call, m, run_id, key, &found);

	if (r <= 0)
		return r;
	r = mk_db_read(call, m->db, found.mixed ? sorted : as_it_lies, &stmt);
	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, found.id);
	mk_bind_int(stmt, 2, offset);
	mk_bind_int(stmt, 3, limit);
	while ((r = mk_step(call, stmt)) > 0) {
		struct mk_point point = row(stmt);

		r = emit(arg, &point);
		if (r)
			return r;
	}
	return r;
}

/* --- a sample ------------------------------------------------------------------------------ */

/* The place of the first of bucket i, when n points go into `limit` buckets of the same size, the
 * larger ones first. */
static int64_t bucket(int64_t n, int64_t limit, int64_t i)
{
	int64_t larger = n % limit;

	return i * (n / limit) + (i < larger ? i : larger);
}

/* Whether the point at this place is shown, and which bucket comes next. */
static bool wanted(int64_t n, int64_t limit, int64_t at, int64_t *next)
{
	if (n <= limit)
		return true;
	/* The last point takes the place of the last bucket's. */
	if (at == n - 1)
		return true;
	if (*next >= limit - 1 || at != bucket(n, limit, *next))
		return false;
	(*next)++;
	return true;
}

static int count(struct mk_call *call, struct mantik *m, int64_t id,
		 const struct mk_track_sample *sample, int64_t *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db,
			   "SELECT count(*) FROM points WHERE metric_id = ?1"
			   " AND step BETWEEN ?2 AND ?3",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	mk_bind_int(stmt, 2, sample->first);
	mk_bind_int(stmt, 3, sample->last);
	r = mk_step(call, stmt);
	*ret = r > 0 ? mk_col_int(stmt, 0) : 0;
	return r < 0 ? r : 0;
}

/* One probe a point. */
static int pick(struct mk_call *call, struct mantik *m, const struct key *key, int64_t limit,
		mk_track_point *emit, void *arg)
{
	int64_t n = key->count;
	int r = 0;

	for (int64_t i = 0; r == 0 && i < limit; i++) {
		_cleanup_stmt_ struct mk_stmt *stmt = NULL;

		r = mk_db_read(call, m->db,
			       "SELECT step, value, time, minus FROM points WHERE metric_id = ? AND seq = ?",
			       &stmt);
		if (r < 0)
			return r;
		mk_bind_int(stmt, 1, key->id);
		mk_bind_int(stmt, 2, i == limit - 1 ? n - 1 : bucket(n, limit, i));
		r = mk_step(call, stmt);
		if (r > 0) {
			struct mk_point point = row(stmt);

			r = emit(arg, &point);
		}
	}
	return r;
}

int mk_track_sample(struct mk_call *call, struct mantik *m, int64_t run_id, const char *key,
		    const struct mk_track_sample *sample, mk_track_point *emit, void *arg)
{
	static const char as_it_lies[] = "SELECT step, value, time, minus FROM points WHERE metric_id = ?1"
					 " AND step BETWEEN ?2 AND ?3 ORDER BY seq";
	static const char sorted[] = "SELECT step, value, time, minus FROM points WHERE metric_id = ?1"
				     " AND step BETWEEN ?2 AND ?3"
				     " ORDER BY step, time, ifnull(value, 0), value IS NULL";
	struct mk_track_sample range = *sample;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	struct key found = {};
	int64_t n, next = 0;
	int r = find(call, m, run_id, key, &found);

	if (r <= 0)
		return r;
	if (!range.has_steps) {
		range.first = INT64_MIN;
		range.last = INT64_MAX;
		if (!found.mixed && found.count > range.limit)
			return pick(call, m, &found, range.limit, emit, arg);
	}
	r = count(call, m, found.id, &range, &n);
	if (r == 0)
		r = mk_db_read(call, m->db, found.mixed ? sorted : as_it_lies, &stmt);
	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, found.id);
	mk_bind_int(stmt, 2, range.first);
	mk_bind_int(stmt, 3, range.last);
	for (int64_t at = 0; (r = mk_step(call, stmt)) > 0; at++) {
		struct mk_point point = row(stmt);

		if (!wanted(n, range.limit, at, &next))
			continue;
		r = emit(arg, &point);
		if (r)
			return r;
	}
	return r;
}
