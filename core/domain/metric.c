/* SPDX-License-Identifier: Apache-2.0 */
/* Reading metrics: summaries, the history of one key, metrics.tsv. */
#include <mantik/run.h>

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "domain/domain.h"
#include "domain/index/index.h"
#include "domain/logged.h"
#include "domain/tsv.h"

void mk_metric_free(struct mk_metric *metric)
{
	free(metric->key);
	*metric = (struct mk_metric){};
}

void mk_metrics_free(struct mk_metrics *metrics)
{
	for (size_t i = 0; i < metrics->n; i++)
		free(metrics->v[i].key);
	free(metrics->v);
	*metrics = (struct mk_metrics){};
}

/* --- a point as a line ---------------------------------------------------------------------- */

static size_t put_int(int64_t v, char *out)
{
	char back[20];
	size_t n = 0, len = 0;
	uint64_t u = v < 0 ? -(uint64_t)v : (uint64_t)v;

	if (v < 0)
		out[len++] = '-';
	do
		back[n++] = (char)('0' + u % 10);
	while (u /= 10);
	while (n)
		out[len++] = back[--n];
	return len;
}

static void put_fixed(char *out, int n, int64_t v)
{
	while (n--) {
		out[n] = (char)('0' + v % 10);
		v /= 10;
	}
}

/* 2026-11-21T12:00:00.123Z, the 24 bytes mk_time_text() gives; time is above 0. */
size_t mk_time_put(struct mk_point_writer *writer, int64_t time, char *out)
{
	int64_t day = time / (86400 * MK_SEC);
	int64_t ms = time % (86400 * MK_SEC) / MK_MS;

	if (day != writer->day || !writer->date[0]) {
		char text[32];

		mk_time_text(day * 86400 * MK_SEC + 1, false, text);
		memcpy(writer->date, text, 11); /* with the T */
		writer->day = day;
	}
	memcpy(out, writer->date, 11);
	put_fixed(out + 11, 2, ms / 3600000);
	out[13] = ':';
	put_fixed(out + 14, 2, ms / 60000 % 60);
	out[16] = ':';
	put_fixed(out + 17, 2, ms / 1000 % 60);
	out[19] = '.';
	put_fixed(out + 20, 3, ms % 1000);
	out[23] = 'Z';
	return 24;
}

size_t mk_point_write(struct mk_point_writer *writer, const struct mk_point *point, char *out)
{
	char *s = out;

	s += put_int(point->step, s);
	*s++ = '\t';
	s += mk_double_put(point->value, s);
	*s++ = '\t';
	s += mk_time_put(writer, point->time > 0 ? point->time : 0, s); /* 1970: an unknown time */
	*s++ = '\n';
	return (size_t)(s - out);
}

/* --- values in the database ----------------------------------------------------------------- */

bool mk_is_minus_zero(double value)
{
	return value == 0 && signbit(value);
}

void mk_bind_value(struct mk_stmt *stmt, int i, double value)
{
	if (isnan(value))
		mk_bind_null(stmt, i);
	else
		mk_bind_double(stmt, i, value);
}

void mk_bind_minus(struct mk_stmt *stmt, int i, double value)
{
	if (mk_is_minus_zero(value))
		mk_bind_int(stmt, i, 1);
	else
		mk_bind_null(stmt, i);
}

double mk_col_value(struct mk_stmt *stmt, int i)
{
	return mk_col_null(stmt, i) ? NAN : mk_col_double(stmt, i);
}

double mk_col_value_minus(struct mk_stmt *stmt, int i, int minus, int64_t bits)
{
	double value = mk_col_value(stmt, i);

	return value == 0 && mk_col_int(stmt, minus) & bits ? -0.0 : value;
}

/* --- summaries ------------------------------------------------------------------------------ */

/* What is unsent stands behind what the store has. */
#define COLUMNS                                                                             \
	"key, count + unsent, bytes + unsent_bytes, last_step, last_value, last_time, min," \
	" min_step, max, max_step,"                                                         \
	" whole, minus"
enum { MINUS = 11 };

static struct mk_metric row(struct mk_stmt *stmt)
{
	return (struct mk_metric){
		.key = mk_col_dup(stmt, 0),
		.count = mk_col_int(stmt, 1),
		.bytes = mk_col_int(stmt, 2),
		.last = {mk_col_int(stmt, 3), mk_col_value_minus(stmt, 4, MINUS, MK_MINUS_LAST), mk_col_int(stmt, 5)},
		.min = mk_col_value_minus(stmt, 6, MINUS, MK_MINUS_MIN),
		.min_step = mk_col_int(stmt, 7),
		.max = mk_col_value_minus(stmt, 8, MINUS, MK_MINUS_MAX),
		.max_step = mk_col_int(stmt, 9),
	};
}

int mk_run_metrics(struct mk_call *call, struct mantik *m, int64_t id, struct mk_metrics *ret)
{
	_cleanup_(mk_metrics_free) struct mk_metrics metrics = {};
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	size_t cap = 0;
	int r = mk_db_read(call, m->db,
			   "SELECT " COLUMNS " FROM metrics WHERE run_id = ?"
			   " ORDER BY key",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	while ((r = mk_step(call, stmt)) > 0) {
		if (metrics.n == cap) {
			cap = cap ? cap * 2 : 16;

			void *v = realloc(metrics.v, cap * sizeof(*metrics.v));

			if (!v)
				return mk_fail(call, ENOMEM, "run %lld: too many metrics",
					       (long long)id);
			metrics.v = v;
		}
		metrics.v[metrics.n] = row(stmt);
		if (!mk_col_int(stmt, 10))
			metrics.v[metrics.n].bytes = -1;
		metrics.n++;
	}
	if (r < 0)
		return r;
	*ret = metrics;
	metrics = (struct mk_metrics){};
	return 0;
}

int mk_run_metric(struct mk_call *call, struct mantik *m, int64_t id, const char *key,
		  struct mk_metric *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_index_history(call, m, id, key);

	if (r == 0)
		r = mk_db_read(call, m->db,
			       "SELECT " COLUMNS " FROM metrics WHERE run_id = ?"
			       " AND key = ?",
			       &stmt);
	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	mk_bind_text(stmt, 2, key);
	r = mk_step(call, stmt);
	if (r < 0)
		return r;
	if (r == 0)
		return mk_fail(call, ENOENT, "metric \"%s\": there is none", key);
	*ret = row(stmt);
	return 0;
}

/* --- history -------------------------------------------------------------------------------- */

/* Whole lines of one of the two places until ret has end bytes. 1: a line does not fit. */
static int put_lines(struct mk_call *call, struct mk_stmt *stmt, int64_t id, const char *key,
		     size_t end, struct mk_buf *ret)
{
	struct mk_point_writer writer = {};
	int r = 0;

	mk_bind_int(stmt, 1, id);
	mk_bind_text(stmt, 2, key);
	while (ret->len < end && (r = mk_step(call, stmt)) > 0) {
		struct mk_point point = {
			.step = mk_col_int(stmt, 0),
			.value = mk_col_value_minus(stmt, 1, 3, 1),
			.time = mk_col_int(stmt, 2),
		};

		size_t left = end - ret->len;
		char line[96];

		if (left >= sizeof(line)) {
			ret->len += mk_point_write(&writer, &point, ret->data + ret->len);
			continue;
		}

		size_t n = mk_point_write(&writer, &point, line);

		if (n > left)
			return 1;
		memcpy(ret->data + ret->len, line, n);
		ret->len += n;
	}
	return r < 0 ? r : 0;
}

/* What the store has, then what is unsent: one row moves from there to here, so they are read in
 * one snapshot. */
static int put_history(struct mk_call *call, struct mk_conn *conn, int64_t id, const char *key,
		       size_t end, struct mk_buf *ret)
{
	_cleanup_stmt_ struct mk_stmt *points = NULL, *unsent = NULL;
	int r = mk_prepare(call, conn,
			   "SELECT step, value, time, minus FROM points WHERE metric_id ="
			   " (SELECT id FROM metrics WHERE run_id = ? AND key = ?)"
			   " ORDER BY seq",
			   &points);

	if (r == 0)
		r = put_lines(call, points, id, key, end, ret);
	if (r == 0 && ret->len < end)
		r = mk_prepare(call, conn,
			       "SELECT step, number, time, 0 FROM outbox WHERE object = 'run:' || ?1"
			       " AND verb = 0 AND key = ?2 AND code = 0 ORDER BY id",
			       &unsent);
	return r || !unsent ? r : put_lines(call, unsent, id, key, end, ret);
}

int mk_run_history(struct mk_call *call, struct mantik *m, int64_t id, const char *key,
		   int64_t bytes, struct mk_buf *ret)
{
	size_t start = ret->len, want = bytes > 0 ? (size_t)bytes : 0;
	struct mk_conn *conn;
	int r = mk_db_reader(call, m->db, &conn);

	if (r < 0)
		return r;
	if (!mk_buf_room(ret, want))
		return mk_fail(call, -ret->error, "metric \"%s\": its history has %lld bytes", key,
			       (long long)bytes);
	r = mk_db_snapshot_begin(call, conn);
	if (r < 0)
		return r;
	r = put_history(call, conn, id, key, start + want, ret);
	mk_db_snapshot_end(conn);
	if (want)
		ret->data[ret->len] = 0;
	if (r >= 0 && ret->len - start == want)
		return 0;
	mk_buf_truncate(ret, start);
	if (r < 0)
		return r;
	/* whole lines always add up, unless the points are gone or changed under us */
	return mk_fail(call, ESTALE, "metric \"%s\": its history changed", key);
}

/* All or none, so that the table of an ended run has two texts at most: a part of the histories would
 * be another one with each that is read. */
int mk_run_metrics_complete(struct mk_call *call, struct mantik *m, int64_t id)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db,
			   "SELECT remote_id IS NULL, status, NOT EXISTS (SELECT 1 FROM metrics"
			   " WHERE run_id = ?1 AND (NOT whole OR unsent > 0)) FROM runs WHERE id = ?1",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	r = mk_step(call, stmt);
	if (r <= 0)
		return r;
	return mk_col_int(stmt, 0) ||
	       (mk_status_final((enum mk_status)mk_col_int(stmt, 1)) && mk_col_int(stmt, 2));
}

/* Nobody is asked for what its store has not told yet: `ls -l` of a run would be a request a metric. */
int mk_run_metrics_table(struct mk_call *call, struct mantik *m, int64_t id, struct mk_buf *ret)
{
	_cleanup_(mk_metrics_free) struct mk_metrics metrics = {};
	int complete = mk_run_metrics_complete(call, m, id);
	int r = complete < 0 ? complete : mk_run_metrics(call, m, id, &metrics);

	if (r < 0)
		return r;
	(void)mk_buf_puts(ret, "key\tlast\tstep\ttime\tmin\tmin_step\tmax\tmax_step\tcount\n");
	for (size_t i = 0; i < metrics.n; i++) {
		const struct mk_metric *metric = &metrics.v[i];
		char last[32], min[32], max[32], time[32];

		mk_double_put(metric->last.value, last);
		mk_double_put(metric->min, min);
		mk_double_put(metric->max, max);
		mk_time_text(metric->last.time, true, time);
		mk_tsv_put(ret, metric->key);
		(void)mk_buf_printf(ret, "\t%s\t%lld\t%s\t", last, (long long)metric->last.step,
				    time);
		if (!complete)
			(void)mk_buf_puts(ret, "\t\t\t\t\n");
		else if (isnan(metric->min)) /* no number among them */
			(void)mk_buf_printf(ret, "\t\t\t\t%lld\n", (long long)metric->count);
		else
			(void)mk_buf_printf(ret, "%s\t%lld\t%s\t%lld\t%lld\n", min,
					    (long long)metric->min_step, max,
					    (long long)metric->max_step,
					    (long long)metric->count);
	}
	r = mk_buf_check(ret);
	return r < 0 ? mk_fail(call, -r, "metrics.tsv is too long") : 0;
}
