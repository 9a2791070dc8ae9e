/* SPDX-License-Identifier: Apache-2.0 */
/* The mirror of a tracking store, against a store of our own making that counts what it is asked. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "connect/tracking/tracking.h"
#include "domain/index/index.h"
#include "domain/index/store.h"
#include "runs.h"

enum { PAGE = 1000 };

struct mk_tracking {
	int n_runs, n_deleted; /* run i of experiment i % 2; the last n_deleted are deleted */
	int n_points;
	double first_value;
	int64_t made; /* when its experiments were; 0: 5 */
	bool again;   /* the number of the third was given again since */
	bool swapped; /* the experiments have exchanged their names */
	int fails;    /* errno of every answer */
	int slow_ms;
	bool live; /* run 0 */
	bool no_run;
	bool purged; /* the last run is gone for good */
	_Atomic int asked, asked_run, asked_history, asked_tail;
};

static int answer(struct mk_call *call, struct mk_tracking *t)
{
	atomic_fetch_add(&t->asked, 1);
	if (t->slow_ms)
		usleep((useconds_t)t->slow_ms * 1000);
	return t->fails ? mk_fail(call, t->fails, "fake: does not answer") : 0;
}

static void store_close(struct mk_tracking *t)
{
	(void)t;
}

static int store_experiments(struct mk_call *call, struct mk_tracking *t, char **token,
			     mk_t_experiment_emit *emit, void *arg)
{
	int64_t made = t->made ? t->made : 5;
	const struct mk_t_experiment all[] = {
		{.id = "1", .name = t->swapped ? "wind" : "rain", .created = made, .updated = 7},
		{.id = "2", .name = t->swapped ? "rain" : "wind", .created = made, .updated = 7},
		{.id = "3", .name = "old", .created = t->again ? 8 : made, .updated = 7, .deleted = true},
	};
	int r = answer(call, t);

	for (size_t i = 0; r == 0 && i < 3; i++)
		r = emit(arg, &all[i]);
	free(mk_steal(token));
	return r;
}

static double value_of(const struct mk_tracking *t, int i)
{
	return i ? t->first_value + i : t->first_value; /* which may be -0.0 */
}

static int emit_run(struct mk_tracking *t, int i, mk_t_run_emit *emit, void *arg)
{
	char id[33], name[32], value[32];
	const struct mk_t_pair params[] = {{"lr", value}, {"opt/name", "adam"}};
	const struct mk_t_pair tags[] = {{"mlflow.runName", name}};
	const struct mk_t_metric metrics[] = {
		{"loss", {t->n_points - 1, value_of(t, t->n_points - 1), 1000 * MK_SEC}}};
	struct mk_t_run run = {
		.id = id,
		.experiment_id = i % 2 ? "2" : "1",
		.name = name,
		.user = mk_domain_user(),
		.status = i == 0 && t->live ? MK_RUNNING : MK_FINISHED,
		.started = (1000 + (int64_t)i) * 4000 * MK_SEC,
		.ended = (1001 + (int64_t)i) * 4000 * MK_SEC,
		.deleted = i >= t->n_runs - t->n_deleted,
		.artifact_uri = "mlflow-artifacts:/1",
		.params = params,
		.n_params = 2,
		.tags = tags,
		.n_tags = 1,
		.metrics = metrics,
		.n_metrics = 1,
	};

	(void)snprintf(id, sizeof(id), "%032x", i + 1);
	(void)snprintf(name, sizeof(name), "run-%d", i);
	(void)snprintf(value, sizeof(value), "%d", i);
	return emit(arg, &run);
}

static bool is_asked_by_id(const struct mk_t_query *query, int i)
{
	bool is = query->n_ids == 0;

	for (size_t k = 0; k < query->n_ids; k++)
		is |= strtol(query->run_ids[k], NULL, 16) - 1 == i;
	return is;
}

static int store_runs(struct mk_call *call, struct mk_tracking *t, const struct mk_t_query *query,
		      char **token, mk_t_run_emit *emit, void *arg)
{
	int begin = *token ? (int)strtol(*token, NULL, 10) : t->n_runs - 1, n = 0, i;
	int r = answer(call, t);

	free(mk_steal(token));
	for (i = begin; r == 0 && i >= 0 && n < PAGE; i--) {
		bool asked = false;

		for (size_t e = 0; e < query->n_experiments; e++)
			asked |= strcmp(query->experiment_ids[e], i % 2 ? "2" : "1") == 0;
		if (!asked || !is_asked_by_id(query, i) || (t->purged && i == t->n_runs - 1) ||
		    query->deleted != (i >= t->n_runs - t->n_deleted) ||
		    (1000 + (int64_t)i) * 4000 * MK_SEC < query->started_since)
			continue;
		r = emit_run(t, i, emit, arg);
		n++;
	}
	if (r == 0 && i >= 0 && n == PAGE) {
		char text[16];

		(void)snprintf(text, sizeof(text), "%d", i);
		*token = mk_strdup(text);
	}
	return r;
}

static int store_run(struct mk_call *call, struct mk_tracking *t, const char *id,
		     mk_t_run_emit *emit, void *arg)
{
	int r = answer(call, t);

	atomic_fetch_add(&t->asked_run, 1);
	if (r == 0 && t->no_run)
		r = mk_fail(call, ENOENT, "fake: no such run");
	return r < 0 ? r : emit_run(t, (int)strtol(id, NULL, 16) - 1, emit, arg);
}

static int store_history(struct mk_call *call, struct mk_tracking *t, const char *run_id,
			 const char *key, char **token, struct mk_point **points, size_t *n)
{
	int r = answer(call, t);

	(void)run_id;
	(void)key;
	atomic_fetch_add(&t->asked_history, 1);
	free(mk_steal(token));
	if (r < 0)
		return r;
	*points = realloc(*points, (*n + (size_t)t->n_points) * sizeof(**points));
	for (int i = 0; i < t->n_points; i++)
		(*points)[(*n)++] = (struct mk_point){i, value_of(t, i), 1000 * MK_SEC};
	return 0;
}

static int store_tail(struct mk_call *call, struct mk_tracking *t, const char *run_id,
		      const char *key, int64_t known, const struct mk_point *last,
		      struct mk_point **points, size_t *n)
{
	int r = answer(call, t);

	(void)run_id;
	(void)key;
	atomic_fetch_add(&t->asked_tail, 1);
	if (r < 0)
		return r;
	if (known > t->n_points || last->value != value_of(t, (int)known - 1) ||
	    signbit(last->value) != signbit(value_of(t, (int)known - 1)))
		return mk_fail(call, ESTALE, "fake: does not go on from there");
	*points = realloc(*points, (*n + (size_t)t->n_points) * sizeof(**points));
	for (int64_t i = known; i < t->n_points; i++)
		(*points)[(*n)++] =
			(struct mk_point){i, t->first_value + (double)i, 1000 * MK_SEC};
	return 0;
}

static const struct mk_tracking_ops fake = {
	.kind = "fake",
	.close = store_close,
	.experiments = store_experiments,
	.runs = store_runs,
	.run = store_run,
	.history = store_history,
	.tail = store_tail,
};

/* --- a platform with such a store ------------------------------------------------------------ */

static int insert(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "INSERT INTO projects (name, created, changed, connection)"
			   " VALUES ('p' || ?1, 1, 1, ?1)",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, arg);
	r = mk_exec(call, stmt);
	return r < 0 ? r : (int)mk_last_id(conn);
}

static int64_t add_store(struct platform *p, const char *name, struct mk_tracking *t)
{
	if (mk_index_add(&p->call, p->m, name, &fake, t) < 0)
		return 0;
	return mk_db_write(&p->call, p->m->db, MK_KILLSAFE, insert, (void *)name);
}

static int age(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	(void)arg;
	int r = mk_domain_run(call, conn, "UPDATE marks SET time = time - 60000000000 WHERE ?1 = 0", 0, 0);

	return r < 0 ? r : mk_domain_run(call, conn, "UPDATE runs SET as_of = as_of - 60000000000 WHERE ?1 = 0", 0, 0);
}

/* A minute goes by. */
static void later(struct platform *p)
{
	CHECK_INT(mk_db_write(&p->call, p->m->db, MK_KILLSAFE, age, NULL), 0);
}

static int count_run(void *arg, const struct mk_run_entry *entry)
{
	(void)entry;
	++*(int *)arg;
	return 0;
}

static int count_runs(struct platform *p, int64_t project, bool deleted)
{
	const struct mk_run_query query = {.project_id = project, .deleted = deleted};
	int n = 0, r = mk_run_list(&p->call, p->m, &query, count_run, &n);

	return r < 0 ? r : n;
}

#define STORE(p, t, ...)                               \
	PLATFORM(p);                                   \
	struct mk_tracking t = {__VA_ARGS__};          \
	t.n_points = 3;                                \
	int64_t project = add_store(&p, "fake", &t);   \
	NEED(project > 0)

/* --- tests --------------------------------------------------------------------------------- */

static void all_of_it_is_mirrored(void)
{
	STORE(p, t, .n_runs = 2500, .n_deleted = 10);
	_cleanup_(mk_experiment_free) struct mk_experiment experiment = {};
	_cleanup_(mk_run_free) struct mk_run run = {};
	_cleanup_pairs_ struct mk_pairs params = {};
	int64_t id;

	CHECK_INT(count_runs(&p, project, false), 2490);
	CHECK_INT(count_runs(&p, project, true), 10);
	CHECK_INT(t.asked, 1 + 3 + 1); /* experiments, three pages, the deleted */
	CHECK_INT(mk_experiment_find(&p.call, p.m, project, "rain", &experiment), 0);
	CHECK_INT(mk_experiment_find(&p.call, p.m, project, "old", &experiment), -ENOENT);
	CHECK_INT(mk_run_find(&p.call, p.m, project, "run-7.00000000", false, &id), 0);
	CHECK_INT(mk_run_get(&p.call, p.m, id, &run), 0);
	CHECK_TEXT(run.experiment, "wind");
	CHECK_TEXT(run.uid, "00000000000000000000000000000008");
	CHECK_INT(run.status, MK_FINISHED);
	CHECK_INT(run.started, 1007 * 4000 * MK_SEC);
	CHECK_INT(run.changed >= run.ended, 1);
	CHECK_INT(mk_run_values(&p.call, p.m, id, MK_PARAM, &params), 0);
	NEED(params.n == 2);
	CHECK_TEXT(mk_pairs_get(&params, "opt/name"), "adam");
	CHECK_INT(t.asked_run, 0); /* the list has told all of it */
	mk_run_free(&run);
	later(&p);
	CHECK_INT(mk_run_peek(&p.call, p.m, id, &run), 0);
	CHECK_INT(t.asked_run, 0);
	mk_run_free(&run);
	CHECK_INT(mk_run_get(&p.call, p.m, id, &run), 0);
	CHECK_INT(t.asked_run, 1);
}

static void the_latest_is_the_newest_start(void)
{
	STORE(p, t, .n_runs = 5);
	_cleanup_(mk_run_free) struct mk_run run = {};
	int64_t id;

	CHECK_INT(count_runs(&p, project, false), 5);
	CHECK_INT(mk_run_latest(&p.call, p.m, project, &id), 0);
	CHECK_INT(mk_run_get(&p.call, p.m, id, &run), 0);
	CHECK_TEXT(run.name, "run-4");
	CHECK_INT(mk_run_latest(&p.call, p.m, 0, &id), 0);
	CHECK_INT(id, 0); /* of ours there is none */
}

static void a_second_look_costs_little(void)
{
	STORE(p, t, .n_runs = 2500);

	CHECK_INT(count_runs(&p, project, false), 2500);
	t.asked = 0;
	CHECK_INT(count_runs(&p, project, false), 2500);
	CHECK_INT(t.asked, 0); /* fresh */
	later(&p);
	CHECK_INT(count_runs(&p, project, false), 2500);
	CHECK_INT(t.asked, 3);
	t.n_runs = 2503;
	t.n_deleted = 1;
	later(&p);
	CHECK_INT(count_runs(&p, project, false), 2502);
	CHECK_INT(count_runs(&p, project, true), 1);
}

static void what_was_restored_is_seen_at_the_next_look(void)
{
	STORE(p, t, .n_runs = 2500, .n_deleted = 120);
	_cleanup_(mk_run_free) struct mk_run run = {};
	int64_t id;

	CHECK_INT(count_runs(&p, project, false), 2380);
	CHECK_INT(count_runs(&p, project, true), 120);
	t.n_deleted = 20;
	later(&p);
	t.asked = 0;
	CHECK_INT(count_runs(&p, project, true), 20);
	CHECK_INT(count_runs(&p, project, false), 2480);
	CHECK_INT(t.asked, 4); /* experiments, runs, the deleted, and those that are missing there */
	later(&p);
	t.asked = 0;
	CHECK_INT(count_runs(&p, project, false), 2480);
	CHECK_INT(t.asked, 3);
	/* One that was purged stays where it was, and is asked for once. */
	t.purged = true;
	for (int asked = 4; asked >= 3; asked--) {
		later(&p);
		t.asked = 0;
		CHECK_INT(count_runs(&p, project, true), 20);
		CHECK_INT(t.asked, asked);
	}
	CHECK_INT(mk_run_find(&p.call, p.m, project, "run-2499.00000000", true, &id), 0);
	CHECK_INT(mk_run_peek(&p.call, p.m, id, &run), 0);
	CHECK_TEXT(run.reason, "gone at the server");
}

static void what_was_seen_is_there_without_the_store(void)
{
	STORE(p, t, .n_runs = 5);
	_cleanup_(mk_run_free) struct mk_run run = {};
	int64_t id;

	CHECK_INT(count_runs(&p, project, false), 5);
	CHECK_INT(mk_run_find(&p.call, p.m, project, "run-1.00000000", false, &id), 0);
	CHECK_INT(mk_run_get(&p.call, p.m, id, &run), 0);
	later(&p);

	int64_t seen = run.as_of - 60 * MK_SEC;

	t.fails = EHOSTUNREACH;
	mk_run_free(&run);
	CHECK_INT(count_runs(&p, project, false), 5);
	CHECK_INT(mk_run_get(&p.call, p.m, id, &run), 0);
	CHECK_INT(run.as_of, seen);
	

	_cleanup_(mk_metric_free) struct mk_metric metric = {};

	CHECK_INT(mk_run_metric(&p.call, p.m, id, "loss", &metric), -EHOSTUNREACH);
}

static void never_seen_is_the_stores_error(void)
{
	STORE(p, t, .n_runs = 5, .fails = ETIMEDOUT);

	CHECK_INT(count_runs(&p, project, false), -ETIMEDOUT);
	CHECK(p.call.error.text && strstr(p.call.error.text, "does not answer"));
}

static void who_may_not_wait_is_sent_to_the_lane(void)
{
	STORE(p, t, .n_runs = 5);

	p.call.may_wait = NULL;
	CHECK_INT(count_runs(&p, project, false), MK_PUNT);
	CHECK_TEXT(p.call.punt, "fake");
	CHECK_INT(t.asked, 0);
	p.call.may_wait = "fake";
	CHECK_INT(count_runs(&p, project, false), 5);
	p.call.may_wait = NULL;
	CHECK_INT(count_runs(&p, project, false), 5); /* fresh: inline */
}

struct asker {
	struct platform *p;
	int64_t project;
	int result;
};

static void *ask_in_thread(void *arg)
{
	struct asker *asker = arg;
	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);
	asker->result = mk_index_experiments(&call, asker->p->m, asker->project);
	return NULL;
}

static void one_asks_for_all(void)
{
	STORE(p, t, .n_runs = 5, .slow_ms = 300);
	struct asker askers[8];
	pthread_t threads[8];

	for (int i = 0; i < 8; i++) {
		askers[i] = (struct asker){&p, project, 1};
		NEED(pthread_create(&threads[i], NULL, ask_in_thread, &askers[i]) == 0);
	}
	for (int i = 0; i < 8; i++) {
		(void)pthread_join(threads[i], NULL);
		CHECK_INT(askers[i].result, 0);
	}
	CHECK_INT(t.asked, 1);
}

static void who_is_interrupted_leaves(void)
{
	STORE(p, t, .n_runs = 5, .slow_ms = 500);

	p.call.deadline = mk_now_mono() + 50 * MK_MS;
	CHECK_INT(mk_index_experiments(&p.call, p.m, project), -ETIMEDOUT);
	p.call.deadline = 0;
	CHECK_INT(mk_index_experiments(&p.call, p.m, project), 0); /* joins what goes on */
	CHECK_INT(t.asked, 1);
}

static void read_history(struct platform *p, int64_t id, struct mk_buf *text, int64_t *ret_count)
{
	_cleanup_(mk_metric_free) struct mk_metric metric = {};

	CHECK_INT(mk_run_metric(&p->call, p->m, id, "loss", &metric), 0);
	CHECK_INT(mk_run_history(&p->call, p->m, id, "loss", metric.bytes, text), 0);
	CHECK_INT(text->len, metric.bytes);
	*ret_count = metric.count;
}

static void a_history_grows_and_may_change(void)
{
	STORE(p, t, .n_runs = 1, .live = true);
	_cleanup_(mk_metrics_free) struct mk_metrics metrics = {};
	_cleanup_buf_ struct mk_buf a = MK_BUF(10000), b = MK_BUF(10000), c = MK_BUF(10000);
	int64_t id, count;

	CHECK_INT(count_runs(&p, project, false), 1);
	CHECK_INT(mk_run_find(&p.call, p.m, project, "run-0.00000000", false, &id), 0);
	CHECK_INT(mk_run_metrics(&p.call, p.m, id, &metrics), 0);
	NEED(metrics.n == 1);
	CHECK_INT(metrics.v[0].bytes, -1); /* nobody has asked */
	read_history(&p, id, &a, &count);
	CHECK_INT(count, 3);
	read_history(&p, id, &b, &count);
	CHECK_INT(t.asked_history, 1);
	t.n_points = 5;
	later(&p);
	CHECK_INT(mk_index_run(&p.call, p.m, id), 0);
	mk_buf_truncate(&b, 0);
	read_history(&p, id, &b, &count);
	CHECK_INT(count, 5);
	CHECK(b.len > a.len && memcmp(a.data, b.data, a.len) == 0);
	CHECK_INT(t.asked_history, 1); /* the end alone was asked for */
	CHECK_INT(t.asked_tail, 1);
	t.first_value = 100; /* written anew */
	later(&p);
	CHECK_INT(mk_index_run(&p.call, p.m, id), 0);
	read_history(&p, id, &c, &count);
	CHECK_INT(count, 5);
	CHECK(strncmp(mk_buf_text(&c), "0\t100\t", 6) == 0);
	CHECK_INT(t.asked_history, 2); /* the end did not fit */
}

/* All of it came, and writing it down takes longer than the store is given for a page. */
static void a_long_history_is_waited_for(void)
{
	STORE(p, t, .n_runs = 1);
	_cleanup_(mk_metric_free) struct mk_metric metric = {};
	int64_t id, begun;

	t.n_points = 500000;
	CHECK_INT(count_runs(&p, project, false), 1);
	CHECK_INT(mk_run_find(&p.call, p.m, project, "run-0.00000000", false, &id), 0);
	begun = mk_now_mono();
	p.call.deadline = begun + MK_SEC;
	CHECK_INT(mk_index_history(&p.call, p.m, id, "loss"), 0);
	p.call.deadline = 0;
	printf("# written in %lld ms\n", (long long)((mk_now_mono() - begun) / MK_MS));
	CHECK_INT(mk_run_metric(&p.call, p.m, id, "loss", &metric), 0);
	CHECK_INT(metric.count, 500000);
	CHECK_INT(t.asked_history, 1);
}

/* SQLite has one zero, IEEE 754 and file stores have two. */
static void minus_zero_is_kept(void)
{
	STORE(p, t, .n_runs = 1, .first_value = -0.0, .live = true);
	_cleanup_(mk_metric_free) struct mk_metric metric = {};
	_cleanup_(mk_metrics_free) struct mk_metrics metrics = {};
	_cleanup_(mk_experiment_free) struct mk_experiment rain = {};
	_cleanup_buf_ struct mk_buf a = MK_BUF(1000), b = MK_BUF(1000), table = MK_BUF(1000);
	int64_t id, count;
	bool live;

	t.n_points = 1;
	CHECK_INT(count_runs(&p, project, false), 1);
	CHECK_INT(mk_run_find(&p.call, p.m, project, "run-0.00000000", false, &id), 0);
	CHECK_INT(mk_run_metrics(&p.call, p.m, id, &metrics), 0);
	NEED(metrics.n == 1);
	CHECK(signbit(metrics.v[0].last.value));
	CHECK_INT(mk_experiment_find(&p.call, p.m, project, "rain", &rain), 0);
	CHECK_INT(mk_table_render(&p.call, p.m, MK_TABLE_EXPERIMENT_RUNS, rain.id, &table, &live), 0);
	CHECK(strstr(mk_buf_text(&table), "\t-0\n"));
	read_history(&p, id, &a, &count);
	CHECK(strncmp(mk_buf_text(&a), "0\t-0\t", 5) == 0);
	CHECK_INT(mk_run_metric(&p.call, p.m, id, "loss", &metric), 0);
	CHECK(signbit(metric.last.value) && signbit(metric.min) && signbit(metric.max));
	t.first_value = 0; /* another value */
	later(&p);
	CHECK_INT(mk_index_run(&p.call, p.m, id), 0);
	read_history(&p, id, &b, &count);
	CHECK(strncmp(mk_buf_text(&b), "0\t0\t", 4) == 0);
}

static void names_are_exchanged(void)
{
	STORE(p, t, .n_runs = 4);
	_cleanup_(mk_experiment_free) struct mk_experiment a = {}, b = {};

	CHECK_INT(mk_index_experiments(&p.call, p.m, project), 0);
	CHECK_INT(mk_experiment_find(&p.call, p.m, project, "rain", &a), 0);
	t.swapped = true;
	later(&p);
	CHECK_INT(mk_index_experiments(&p.call, p.m, project), 0);
	CHECK_INT(mk_experiment_find(&p.call, p.m, project, "wind", &b), 0);
	CHECK_INT(a.id, b.id);
}

static void a_run_that_is_gone(void)
{
	STORE(p, t, .n_runs = 3);
	_cleanup_(mk_run_free) struct mk_run run = {};
	int64_t id;

	CHECK_INT(count_runs(&p, project, false), 3);
	CHECK_INT(mk_run_find(&p.call, p.m, project, "run-1.00000000", false, &id), 0);
	t.no_run = true;
	later(&p);
	CHECK_INT(mk_run_get(&p.call, p.m, id, &run), 0);
	CHECK(run.deleted);
	CHECK_TEXT(run.reason, "gone at the server");
}

static int count_rows(struct platform *p, const char *sql)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int n = -1;

	CHECK_INT(mk_db_read(&p->call, p->m->db, sql, &stmt), 0);
	if (mk_step(&p->call, stmt) > 0)
		n = (int)mk_col_int(stmt, 0);
	return n;
}

/* A tunnel that leads elsewhere today, a store made anew: the ids of its experiments are the same. */
static void another_server_at_its_address(void)
{
	STORE(p, t, .n_runs = 450, .n_deleted = 2);
	_cleanup_(mk_run_free) struct mk_run run = {};
	int64_t id;

	CHECK_INT(count_runs(&p, project, false), 448);
	CHECK_INT(mk_run_find(&p.call, p.m, project, "run-7.00000000", false, &id), 0);
	t.again = true; /* this is no other server */
	later(&p);
	CHECK_INT(count_runs(&p, project, false), 448);
	CHECK_INT(mk_run_peek(&p.call, p.m, id, &run), 0);
	mk_run_free(&run);
	t.again = false;
	t.made = 9;
	t.n_runs = 3;
	t.n_deleted = 0;
	CHECK_INT(count_runs(&p, project, false), 448); /* it was not asked again yet */
	later(&p);
	CHECK_INT(count_runs(&p, project, false), 3);
	CHECK_INT(count_runs(&p, project, true), 0);
	CHECK_INT(mk_run_peek(&p.call, p.m, id, &run), -ENOENT);
	CHECK_INT(count_rows(&p, "SELECT count(*) FROM runs"), 3);
	CHECK_INT(count_rows(&p, "SELECT count(*) FROM params"), 6);
	CHECK_INT(count_rows(&p, "SELECT count(*) FROM experiments"), 3);
	/* that one is known now */
	later(&p);
	t.asked = 0;
	CHECK_INT(count_runs(&p, project, false), 3);
	CHECK_INT(t.asked, 3);
}

static void two_connections_to_one_store(void)
{
	STORE(p, t, .n_runs = 3);
	struct mk_tracking same = t;
	int64_t other = add_store(&p, "again", &same);

	NEED(other > 0);
	CHECK_INT(count_runs(&p, project, false), 3);
	CHECK_INT(count_runs(&p, other, false), 3);
}

int main(void)
{
	return RUN(TEST(all_of_it_is_mirrored), TEST(the_latest_is_the_newest_start),
		   TEST(a_second_look_costs_little), TEST(what_was_restored_is_seen_at_the_next_look),
		   TEST(what_was_seen_is_there_without_the_store),
		   TEST(never_seen_is_the_stores_error), TEST(who_may_not_wait_is_sent_to_the_lane),
		   TEST(one_asks_for_all), TEST(who_is_interrupted_leaves),
		   TEST(a_history_grows_and_may_change), TEST(a_long_history_is_waited_for),
		   TEST(minus_zero_is_kept), TEST(names_are_exchanged),
		   TEST(a_run_that_is_gone),
		   TEST(another_server_at_its_address), TEST(two_connections_to_one_store));
}
