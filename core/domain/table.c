/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runs.tsv and leaderboard.tsv: fixed columns, then params.<key>, then metrics.<key>, each sorted.
 *
 * All is read in one snapshot. Which keys there are is not known before the last run was read, but
 * runs of one experiment mostly have the same: the columns are guessed from the first and the last
 * run, and only if a run has a key more, all keys are collected and the table is rendered again.
 *
 * Nothing here depends on the time of rendering, so the table changes only with its generation
 * (duration and waited of a live run count to its as_of).
 */
#include <mantik/project.h>
#include <mantik/run.h>

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "domain/domain.h"
#include "domain/index/index.h"
#include "domain/logged.h"
#include "domain/tsv.h"

static const char fixed_header[] = "run\tstatus\tstarted\twaited\tduration\tnodes\tsite\tuser\t"
				   "commit\texit_code\treason\tas_of";

#define FIXED                                                                               \
	"r.id, r.dir, r.status, r.submitted, r.started, r.ended, r.as_of, r.nodes, r.site," \
	" r.user, r.commit_id, r.exit_code, r.reason"
enum {
	ID,
	DIR,
	STATUS,
	SUBMITTED,
	STARTED,
	ENDED,
	AS_OF,
	NODES,
	SITE,
	USER,
	COMMIT,
	EXIT_CODE,
	REASON,
	EXTRA, /* the experiment's name, or the value the leaderboard is sorted by */
};

static const char project_sql[] = "SELECT " FIXED ", e.name FROM runs r"
				  " JOIN experiments e ON e.id = r.experiment_id"
				  " WHERE r.project_id = ?1 AND r.deleted = 0 ORDER BY r.id";
static const char experiment_sql[] = "SELECT " FIXED ", NULL FROM runs r"
				     " WHERE r.experiment_id = ?1 AND r.deleted = 0 ORDER BY r.id";
/* ?2 the primary metric. Runs without it or with NaN come last; without a primary metric at all
 * the newest come first. */
#define LEADERBOARD(value, minus, order)                                 \
	"SELECT " FIXED ", " value ", p.minus & " minus " FROM runs r"   \
	" LEFT JOIN metrics p ON p.run_id = r.id AND p.key = ?2"         \
	" WHERE r.experiment_id = ?1 AND r.deleted = 0 AND r.status = 2" \
	" ORDER BY p.id IS NULL, " value " IS NULL, " value " " order ", r.id DESC"
static const char *const leaderboard_sql[2][2] = {
	/* [best][maximize] */
	{LEADERBOARD("p.last_value", "1", "ASC"), LEADERBOARD("p.last_value", "1", "DESC")},
	{LEADERBOARD("p.min", "2", "ASC"), LEADERBOARD("p.max", "4", "DESC")},
};

/* --- columns of params or metrics ------------------------------------------------------------ */

struct columns {
	struct mk_list keys; /* sorted */
	bool more;	     /* a run had a key that is not among them */
};

static void columns_free(struct columns *columns)
{
	mk_list_free(&columns->keys);
}

/* The index of a key, or -1 - where it belongs. */
static ssize_t search(const struct columns *columns, const char *key)
{
	size_t low = 0, high = columns->keys.n;

	while (low < high) {
		size_t mid = (low + high) / 2;
		int c = strcmp(columns->keys.v[mid], key);

		if (c == 0)
			return (ssize_t)mid;
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return -1 - (ssize_t)low;
}

static int add(struct columns *columns, const char *key)
{
	ssize_t at = search(columns, key);

	if (at >= 0)
		return 0;
	at = -1 - at;

	int r = mk_list_add(&columns->keys, key);

	if (r < 0)
		return r;

	char **v = columns->keys.v;
	char *last = v[columns->keys.n - 1];

	memmove(v + at + 1, v + at, (columns->keys.n - 1 - (size_t)at) * sizeof(*v));
	v[at] = last;
	return 0;
}

struct table {
	struct mk_call *call;
	struct mk_conn *conn;
	enum mk_table kind;
	int64_t id;
	const char *metric; /* the primary one, or NULL */
	bool best;
	struct columns params, metrics;
	struct mk_stmt *params_of, *metrics_of;
	struct mk_point_writer time;
	struct mk_buf *out;
	bool live;
};

/* Adds the keys of one run, or (id 0) of all runs of the table. */
static int collect(struct table *t, struct columns *columns, const char *sql, int64_t id)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(t->call, t->conn, sql, &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id ? id : t->id);
	while ((r = mk_step(t->call, stmt)) > 0) {
		r = add(columns, mk_col_text(stmt, 0));
		if (r < 0)
			return mk_fail(t->call, -r, "too many columns");
	}
	return r;
}

static int guess_columns(struct table *t)
{
	static const char *const ends[] = {
		"SELECT min(id) FROM runs WHERE experiment_id = ?1 AND deleted = 0",
		"SELECT max(id) FROM runs WHERE experiment_id = ?1 AND deleted = 0",
	};
	int r = 0;

	for (size_t i = 0; r >= 0 && i < 2; i++) {
		int64_t id = 0;

		r = mk_domain_int(t->call, t->conn, ends[i], t->id, 0, &id);
		if (r > 0 && id)
			r = collect(t, &t->params, "SELECT key FROM params WHERE run_id = ?1", id);
		if (r >= 0 && id)
			r = collect(t, &t->metrics, "SELECT key FROM metrics WHERE run_id = ?1",
				    id);
	}
	return r < 0 ? r : 0;
}

static int all_columns(struct table *t)
{
	int r = collect(t, &t->params,
			"SELECT DISTINCT p.key FROM runs r JOIN params p ON p.run_id = r.id"
			" WHERE r.experiment_id = ?1 AND r.deleted = 0",
			0);

	if (r == 0)
		r = collect(t, &t->metrics,
			    "SELECT DISTINCT m.key FROM runs r JOIN metrics m ON m.run_id = r.id"
			    " WHERE r.experiment_id = ?1 AND r.deleted = 0",
			    0);
	t->params.more = t->metrics.more = false;
	return r;
}

/* --- cells ----------------------------------------------------------------------------------- */

static void tab(struct mk_buf *out)
{
	(void)mk_buf_putc(out, '\t');
}

static void put_time(struct table *t, int64_t time)
{
	char text[32];

	tab(t->out);
	if (time > 0)
		(void)mk_buf_put(t->out, text, mk_time_put(&t->time, time, text));
}

/* Seconds with at most three decimals; empty when an end is not known. */
static void put_seconds(struct mk_buf *out, int64_t from, int64_t to)
{
	char text[32];

	tab(out);
	if (from > 0 && to >= from)
		(void)mk_buf_put(out, text,
				 mk_double_put((double)((to - from) / MK_MS) / 1000, text));
}

static void put_text(struct mk_buf *out, const char *text)
{
	tab(out);
	mk_tsv_put(out, text);
}

static void put_fixed(struct table *t, struct mk_stmt *row)
{
	enum mk_status status = (enum mk_status)mk_col_int(row, STATUS);
	int64_t started = mk_col_int(row, STARTED), ended = mk_col_int(row, ENDED);
	int64_t as_of = mk_col_int(row, AS_OF);
	int64_t until = ended ? ended : mk_status_final(status) ? 0 : as_of;
	char exit_code[32];

	t->live = t->live || !mk_status_final(status);
	mk_tsv_put(t->out, mk_col_text(row, DIR));
	put_text(t->out, mk_status_name(status));
	put_time(t, started);
	put_seconds(t->out, mk_col_int(row, SUBMITTED), started ? started : until);
	put_seconds(t->out, started, until);
	put_text(t->out, mk_col_text(row, NODES));
	put_text(t->out, mk_col_text(row, SITE));
	put_text(t->out, mk_col_text(row, USER));
	put_text(t->out, mk_col_text(row, COMMIT));
	(void)snprintf(exit_code, sizeof(exit_code), "%lld", (long long)mk_col_int(row, EXIT_CODE));
	put_text(t->out, mk_col_null(row, EXIT_CODE) ? "" : exit_code);
	put_text(t->out, mk_col_text(row, REASON));
	put_time(t, as_of);
}

/* The mark of a -0.0 is in the next column. */
static void put_double(struct mk_buf *out, struct mk_stmt *stmt, int column)
{
	char text[32];
	double value = mk_col_value_minus(stmt, column, column + 1, -1);

	(void)mk_buf_put(out, text, mk_double_put(value, text));
}

/* The keys of a run come sorted, as the columns are: one walk along both. */
static int put_params(struct table *t, int64_t run_id)
{
	struct mk_stmt *stmt = t->params_of;
	size_t column = 0;
	int r;

	mk_bind_int(stmt, 1, run_id);
	while ((r = mk_step(t->call, stmt)) > 0) {
		const char *key = mk_col_text(stmt, 0);

		while (column < t->params.keys.n && strcmp(t->params.keys.v[column], key) < 0) {
			tab(t->out);
			column++;
		}
		if (column == t->params.keys.n || strcmp(t->params.keys.v[column], key) != 0) {
			t->params.more = true;
			break;
		}
		put_text(t->out, mk_col_text(stmt, 1));
		column++;
	}
	for (; column < t->params.keys.n; column++)
		tab(t->out);
	mk_rewind(stmt);
	return r < 0 ? r : 0;
}

/* The leaderboard shows of its primary metric the value it is sorted by. */
static int put_metrics(struct table *t, int64_t run_id, struct mk_stmt *row)
{
	struct mk_stmt *stmt = t->metrics_of;
	size_t column = 0;
	int r;

	mk_bind_int(stmt, 1, run_id);
	while ((r = mk_step(t->call, stmt)) > 0) {
		const char *key = mk_col_text(stmt, 0);

		while (column < t->metrics.keys.n && strcmp(t->metrics.keys.v[column], key) < 0) {
			tab(t->out);
			column++;
		}
		if (column == t->metrics.keys.n || strcmp(t->metrics.keys.v[column], key) != 0) {
			t->metrics.more = true;
			break;
		}
		tab(t->out);
		if (t->best && t->metric && strcmp(key, t->metric) == 0)
			put_double(t->out, row, EXTRA);
		else
			put_double(t->out, stmt, 1);
		column++;
	}
	for (; column < t->metrics.keys.n; column++)
		tab(t->out);
	mk_rewind(stmt);
	return r < 0 ? r : 0;
}

static void put_header(struct table *t)
{
	(void)mk_buf_puts(t->out, fixed_header);
	if (t->kind == MK_TABLE_PROJECT_RUNS)
		(void)mk_buf_puts(t->out, "\texperiment");
	for (size_t i = 0; i < t->params.keys.n; i++) {
		(void)mk_buf_puts(t->out, "\tparams.");
		mk_tsv_put(t->out, t->params.keys.v[i]);
	}
	for (size_t i = 0; i < t->metrics.keys.n; i++) {
		(void)mk_buf_puts(t->out, "\tmetrics.");
		mk_tsv_put(t->out, t->metrics.keys.v[i]);
	}
	(void)mk_buf_putc(t->out, '\n');
}

static int put_rows(struct table *t, struct mk_stmt *rows)
{
	bool keys = t->kind != MK_TABLE_PROJECT_RUNS;
	int r;

	mk_bind_int(rows, 1, t->id);
	if (t->kind == MK_TABLE_LEADERBOARD)
		mk_bind_text(rows, 2, t->metric);
	while ((r = mk_step(t->call, rows)) > 0) {
		int64_t id = mk_col_int(rows, ID);

		put_fixed(t, rows);
		if (t->kind == MK_TABLE_PROJECT_RUNS)
			put_text(t->out, mk_col_text(rows, EXTRA));
		if (keys)
			r = put_params(t, id);
		if (keys && r >= 0)
			r = put_metrics(t, id, rows);
		if (r < 0)
			return r;
		if (t->params.more || t->metrics.more)
			return 0;
		(void)mk_buf_putc(t->out, '\n');
	}
	return r;
}

static const char *rows_sql(const struct table *t, bool maximize)
{
	switch (t->kind) {
	case MK_TABLE_PROJECT_RUNS:
		return project_sql;
	case MK_TABLE_EXPERIMENT_RUNS:
		return experiment_sql;
	case MK_TABLE_LEADERBOARD:
		break;
	}
	return leaderboard_sql[t->best][maximize];
}

static int render(struct table *t, bool maximize)
{
	size_t start = t->out->len;
	int r = 0;

	if (t->kind != MK_TABLE_PROJECT_RUNS)
		r = guess_columns(t);
	for (int round = 0; r == 0 && round < 2; round++) {
		_cleanup_stmt_ struct mk_stmt *rows = NULL;

		r = mk_prepare(t->call, t->conn, rows_sql(t, maximize), &rows);
		if (r < 0)
			break;
		put_header(t);
		r = put_rows(t, rows);
		if (r < 0 || (!t->params.more && !t->metrics.more))
			break;
		mk_buf_truncate(t->out, start);
		r = all_columns(t);
	}
	if (r == 0 && mk_buf_check(t->out) < 0)
		r = mk_fail(t->call, -mk_buf_check(t->out), "the table is too long");
	return r;
}

/* --- the story -------------------------------------------------------------------------------- */

static int look_at_experiment(struct table *t, char **ret_metric, bool *ret_maximize)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_domain_need(t->call, t->conn,
			       "SELECT metric, maximize, best FROM experiments WHERE id = ?1",
			       "experiment", t->id, &stmt);

	if (r < 0)
		return r;
	*ret_metric = mk_col_dup(stmt, 0);
	*ret_maximize = mk_col_int(stmt, 1);
	t->best = mk_col_int(stmt, 2);
	return 0;
}

static int render_snapshot(struct table *t)
{
	_cleanup_stmt_ struct mk_stmt *params_of = NULL, *metrics_of = NULL;
	_cleanup_free_ char *metric = NULL;
	bool maximize = false;
	int r = 0;

	if (t->kind == MK_TABLE_LEADERBOARD)
		r = look_at_experiment(t, &metric, &maximize);
	t->metric = metric;
	if (r == 0)
		r = mk_prepare(t->call, t->conn,
			       "SELECT key, value FROM params WHERE run_id = ? ORDER BY key",
			       &params_of);
	if (r == 0)
		r = mk_prepare(t->call, t->conn,
			       "SELECT key, last_value, minus & 1 FROM metrics WHERE run_id = ? ORDER BY key",
			       &metrics_of);
	if (r < 0)
		return r;
	t->params_of = params_of;
	t->metrics_of = metrics_of;
	return render(t, maximize);
}

int mk_table_render(struct mk_call *call, struct mantik *m, enum mk_table table, int64_t id,
		    struct mk_buf *ret, bool *ret_live)
{
	struct mk_conn *conn;
	int r = mk_db_reader(call, m->db, &conn);

	if (r == 0)
		r = mk_db_snapshot_begin(call, conn);
	if (r < 0)
		return r;

	struct table t = {.call = call, .conn = conn, .kind = table, .id = id, .out = ret};

	r = render_snapshot(&t);
	columns_free(&t.params);
	columns_free(&t.metrics);
	mk_db_snapshot_end(conn);
	if (r == 0)
		*ret_live = t.live;
	return r;
}

/* The rows of a foreign project are brought up to date; rendering then asks nobody. */
static int look_at_store(struct mk_call *call, struct mantik *m, enum mk_table table, int64_t id)
{
	_cleanup_(mk_experiment_free) struct mk_experiment experiment = {};

	if (table == MK_TABLE_PROJECT_RUNS)
		return mk_index_runs(call, m, id, 0);

	int r = mk_experiment_get(call, m, id, &experiment);

	return r < 0 ? r : mk_index_runs(call, m, experiment.project_id, id);
}

int mk_table_generation(struct mk_call *call, struct mantik *m, enum mk_table table, int64_t id,
			uint64_t *ret, int64_t *ret_changed)
{
	static const char *const sql[] = {
		[MK_TABLE_PROJECT_RUNS] =
			"SELECT runs_generation, created FROM projects WHERE id = ?",
		[MK_TABLE_EXPERIMENT_RUNS] =
			"SELECT runs_generation, created FROM experiments WHERE id = ?",
		[MK_TABLE_LEADERBOARD] =
			"SELECT runs_generation, created FROM experiments WHERE id = ?",
	};
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = look_at_store(call, m, table, id);

	if (r == 0)
		r = mk_domain_read(call, m, sql[table],
				   table == MK_TABLE_PROJECT_RUNS ? "project" : "experiment", id,
				   &stmt);
	if (r < 0)
		return r;

	int64_t generation = mk_col_int(stmt, 0), created = mk_col_int(stmt, 1);

	*ret = (uint64_t)generation;
	*ret_changed = generation > created ? generation : created;
	return 0;
}
