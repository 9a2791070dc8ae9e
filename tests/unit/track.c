/* SPDX-License-Identifier: Apache-2.0 */
/* Runs and experiments made through MLflow's API: order of histories, nothing twice, all or
 * nothing, whose word counts for a job. The answers of the server are tests/serve's. */
#include "domain/track/track.h"

#include <math.h>

#include "core.h"
#include "domain/domain.h"
#include "runs.h"

#define T(ms) (INT64_C(1700000000000) * MK_MS + (ms) * MK_MS)

static int64_t new_run(struct platform *p)
{
	int64_t experiment = 0, id = 0;

	CHECK_INT(mk_track_default(&p->call, p->m, 0, true, &experiment), 0);
	CHECK_INT(mk_track_run_make(&p->call, p->m,
				    &(struct mk_track_new){.experiment_id = experiment, .name = "r"},
				    &id),
		  0);
	return id;
}
#define A_RUN(p, id)               \
	PLATFORM(p);               \
	int64_t id = new_run(&p);  \
	NEED(id)

static int log_points(struct platform *p, int64_t id, const struct mk_track_metric *metrics, size_t n)
{
	return mk_track_log(&p->call, p->m,
			    &(struct mk_track_batch){
				    .run_id = id, .metrics = metrics, .n_metrics = n});
}

static struct mk_track_metric at(int64_t step, double value, int64_t ms)
{
	return (struct mk_track_metric){.key = "m", .point = {step, value, T(ms)}};
}

static int add(void *arg, const struct mk_point *point)
{
	return mk_buf_printf(arg, "%s%lld:%g", ((struct mk_buf *)arg)->len ? " " : "",
			     (long long)point->step, point->value);
}

static char *history(struct platform *p, int64_t id, int64_t offset, int64_t limit)
{
	struct mk_buf out = MK_BUF(1 << 20);

	CHECK_INT(mk_track_history(&p->call, p->m, id, "m", offset, limit, add, &out), 0);
	return mk_buf_steal(&out);
}
#define CHECK_HISTORY(id, offset, limit, want)                                \
	do {                                                                  \
		_cleanup_free_ char *text_ = history(&p, id, offset, limit);  \
		CHECK_TEXT(text_, want);                                       \
	} while (0)

static void a_point_is_there_once(void)
{
	A_RUN(p, id);

	struct mk_track_metric points[100];

	for (int i = 0; i < 100; i++)
		points[i] = at(i, i / 4.0, i);
	CHECK_INT(log_points(&p, id, points, 60), 0);
	CHECK_INT(log_points(&p, id, points + 30, 70), 0); /* a lost answer: half of it again */
	CHECK_INT(log_points(&p, id, points, 100), 0);

	struct mk_metric metric = {};

	CHECK_INT(mk_run_metric(&p.call, p.m, id, "m", &metric), 0);
	CHECK_INT(metric.count, 100);
	CHECK_INT(metric.last.step, 99);
	mk_metric_free(&metric);
	/* Late ones: by the index; among those in order: by halves. */
	struct mk_track_metric late[] = {at(5, 0.5, 500), at(5, NAN, 5), at(-1, 0, 0),
					 at(7, 7 / 4.0, 7), at(50, NAN, 50), at(5, 0.5, 500)};

	for (int i = 0; i < 3; i++)
		CHECK_INT(log_points(&p, id, late, 6), 0);
	CHECK_INT(mk_run_metric(&p.call, p.m, id, "m", &metric), 0);
	CHECK_INT(metric.count, 104);
	CHECK_INT(metric.last.step, 99);
	mk_metric_free(&metric);
	CHECK_HISTORY(id, 0, 4, "-1:0 0:0 1:0.25 2:0.5");
	CHECK_HISTORY(id, 5, 3, "4:1 5:nan 5:1.25"); /* NaN counts as 0 */
}

/* Whatever the order, against the plain way: compare with all. */
static void any_order(void)
{
	A_RUN(p, id);

	struct mk_point known[400];
	size_t n = 0;
	uint32_t seed = 5;

	for (int round = 0; round < 120; round++) {
		struct mk_track_metric some[5];

		for (int i = 0; i < 5; i++) {
			seed = seed * 1664525 + 1013904223;
			some[i] = at(seed >> 28, seed >> 9 & 1 ? NAN : (double)(seed >> 10 & 1),
				     seed >> 24 & 7);

			bool there = false;

			for (size_t k = 0; k < n; k++)
				there |= known[k].step == some[i].point.step &&
					 known[k].time == some[i].point.time &&
					 (known[k].value == some[i].point.value ||
					  (isnan(known[k].value) && isnan(some[i].point.value)));
			if (!there)
				known[n++] = some[i].point;
		}
		CHECK_INT(log_points(&p, id, some, 5), 0);
	}

	struct mk_metric metric = {};

	CHECK_INT(mk_run_metric(&p.call, p.m, id, "m", &metric), 0);
	CHECK_INT(metric.count, n);
	CHECK_INT(metric.last.step, 15);
	mk_metric_free(&metric);
}

static int forget_order(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	int r = mk_domain_run(call, conn, "UPDATE points SET late = 0 WHERE ?1", 1, 0);

	return r < 0 ? r : mk_domain_run(call, conn, "UPDATE metrics SET head = NULL, mixed = 0,"
					 " last_step = 3 WHERE ?1", 1, 0);
}

/* A database of before: the order is found out with the first append. */
static void an_old_history(void)
{
	A_RUN(p, id);

	struct mk_track_metric points[] = {at(1, 1, 1), at(5, 5, 5), at(3, 3, 3)};

	CHECK_INT(log_points(&p, id, points, 3), 0);
	CHECK_INT(mk_domain_write(&p.call, p.m, MK_KILLSAFE, forget_order, NULL), 0);
	CHECK_HISTORY(id, 0, -1, "1:1 3:3 5:5");
	CHECK_INT(log_points(&p, id, points, 3), 0);
	CHECK_INT(mk_run_log_metric(&p.call, p.m, id, "m", "0.5", 3), 0); /* the step after the last */
	CHECK_HISTORY(id, 0, -1, "1:1 3:3 5:5 6:0.5");
}

static void ten_thousand_or_nothing(void)
{
	A_RUN(p, id);

	_cleanup_free_ struct mk_track_metric *many = calloc(10000, sizeof(*many));
	struct mk_pairs params = {};
	struct mk_track_batch batch = {
		.run_id = id, .metrics = many, .n_metrics = 10000, .params = &params};

	for (int i = 0; i < 10000; i++)
		many[i] = at(i, i, i);
	CHECK_INT(mk_pairs_add(&params, "p", "1"), 0);
	CHECK_INT(mk_track_log(&p.call, p.m, &(struct mk_track_batch){.run_id = id, .params = &params}),
		  0);
	free(params.v[0].value);
	params.v[0].value = mk_strdup("2"); /* what is already there says otherwise */
	CHECK_INT(mk_track_log(&p.call, p.m, &batch), -EINVAL);
	CHECK(strstr(p.call.error.text, "Changing param values is not allowed"));
	CHECK_HISTORY(id, 0, -1, "");
	free(params.v[0].value);
	params.v[0].value = mk_strdup("1");
	CHECK_INT(mk_track_log(&p.call, p.m, &batch), 0);
	CHECK_HISTORY(id, 9998, -1, "9998:9998 9999:9999");
	mk_pairs_free(&params);
}

static void samples(void)
{
	A_RUN(p, id);

	struct mk_track_metric points[100];
	static const struct {
		struct mk_track_sample sample;
		const char *want;
	} cases[] = {
		{{.limit = 1}, "99:99"},
		{{.limit = 2}, "0:0 99:99"},
		{{.limit = 7}, "0:0 15:15 30:30 44:44 58:58 72:72 99:99"},
		{{.limit = 3, .has_steps = true, .first = 10, .last = 19}, "10:10 14:14 19:19"},
		{{.limit = 9, .has_steps = true, .first = 97, .last = 500}, "97:97 98:98 99:99"},
		{{.limit = 9, .has_steps = true, .first = 200, .last = 500}, ""},
	};

	for (int i = 0; i < 100; i++)
		points[i] = at(i, i, i);
	for (int mixed = 0; mixed < 2; mixed++) {
		/* the second time in another order */
		int64_t run = mixed ? new_run(&p) : id;

		for (int i = 0; i < 100; i++)
			CHECK_INT(log_points(&p, run, &points[mixed ? 99 - i : i], 1), 0);
		for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
			struct mk_buf out = MK_BUF(1 << 20);

			CHECK_INT(mk_track_sample(&p.call, p.m, run, "m", &cases[i].sample, add,
						  &out),
				  0);
			CHECK_TEXT(mk_buf_text(&out), cases[i].want);
			mk_buf_free(&out);
		}
	}
}

static void status_is(struct platform *p, int64_t id, enum mk_status want)
{
	struct mk_run run = {};

	CHECK_INT(mk_run_peek(&p->call, p->m, id, &run), 0);
	CHECK_INT(run.status, want);
	mk_run_free(&run);
}

static void the_engine_has_the_last_word(void)
{
	A_RUN(p, id);

	int64_t job = make_runs(&p, (struct made_run){.project_id = make_project(&p, "a"),
						      .experiment = "e",
						      .name = "j",
						      .status = MK_RUNNING});
	const struct mk_track_update finished = {
		.has_status = true, .status = MK_FINISHED, .has_end = true, .end = T(5), .name = "n"};

	CHECK_INT(mk_track_run_update(&p.call, p.m, job, &finished), 0);
	status_is(&p, job, MK_RUNNING);
	CHECK_INT(mk_track_run_update(&p.call, p.m, id, &finished), 0);
	status_is(&p, id, MK_FINISHED);
	CHECK_INT(mk_track_run_delete(&p.call, p.m, job), -EBUSY);
	mk_error_clear(&p.call);

	struct mk_run run = {};

	CHECK_INT(mk_run_peek(&p.call, p.m, job, &run), 0);
	CHECK_TEXT(run.name, "n");
	CHECK(!run.api);
	CHECK_INT(mk_track_experiment_delete(&p.call, p.m, run.experiment_id), -EBUSY);
	mk_run_free(&run);
}

static void names_and_scopes(void)
{
	PLATFORM(p);

	int64_t a = make_project(&p, "a"), made, other, id;

	CHECK_INT(mk_track_default(&p.call, p.m, 0, false, &id), 0);
	CHECK_INT(id, 0);
	CHECK_INT(mk_track_experiment_make(&p.call, p.m, 0, "a/x", NULL, NULL, &made), 0);
	CHECK_INT(mk_track_experiment_find(&p.call, p.m, a, "x", &id), 0);
	CHECK_INT(id, made);
	CHECK_INT(mk_track_experiment_make(&p.call, p.m, a, "x", NULL, NULL, &other), -EEXIST);
	CHECK_INT(mk_track_experiment_make(&p.call, p.m, 0, "b/x", NULL, NULL, &other), 0);
	CHECK_INT(mk_track_experiment_id(&p.call, p.m, a, "0", &id), 0);
	CHECK(id != 0 && id != made);

	struct mk_track_experiment seen = {};

	CHECK_INT(mk_track_experiment_get(&p.call, p.m, a, id, &seen), 0);
	CHECK_TEXT(seen.shown, "0");
	CHECK_TEXT(seen.name, "Default");
	mk_track_experiment_free(&seen);
	CHECK_INT(mk_track_experiment_get(&p.call, p.m, 0, id, &seen), 0);
	CHECK_TEXT(seen.name, "a/Default");
	CHECK(strcmp(seen.shown, "0") != 0);
	mk_track_experiment_free(&seen);
	CHECK_INT(mk_track_experiment_get(&p.call, p.m, a, other, &seen), -ENOENT);
	CHECK_INT(mk_track_experiment_rename(&p.call, p.m, 0, made, "b/x"), -EINVAL);
	mk_error_clear(&p.call);
}

static void times(void)
{
	int64_t ns;

	CHECK(mk_track_time(-1, &ns) && ns == -MK_MS);
	CHECK(!mk_track_time(INT64_C(1700000000000000000), &ns));
}

int main(void)
{
	return RUN(TEST(times), TEST(names_and_scopes), TEST(a_point_is_there_once), TEST(any_order),
		   TEST(an_old_history), TEST(ten_thousand_or_nothing), TEST(samples),
		   TEST(the_engine_has_the_last_word));
}
