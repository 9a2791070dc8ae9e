/* SPDX-License-Identifier: Apache-2.0 */
/* Metrics: lines, summaries, the exact length of a history, the harvest of files. */
#include <mantik/run.h>

#include <math.h>

#include "domain/logged.h"
#include "runs.h"

static int64_t run_of(struct platform *p)
{
	return make_runs(p, (struct made_run){.project_id = make_project(p, "a"),
					      .experiment = "e",
					      .name = "r",
					      .status = MK_RUNNING});
}
#define RUN_OF(p, id)            \
	PLATFORM(p);             \
	int64_t id = run_of(&p); \
	NEED(id)

static int log_text(struct platform *p, int64_t id, const char *key, const char *text)
{
	return mk_run_log_metric(&p->call, p->m, id, key, text, strlen(text));
}

/* The history as the tree shows it; its length must be what the summary says. */
static char *history(struct platform *p, int64_t id, const char *key)
{
	struct mk_metric metric = {};
	struct mk_buf buf = MK_BUF(MK_LIMIT_TABLE);
	int r = mk_run_metric(&p->call, p->m, id, key, &metric);

	if (r == 0) {
		buf.limit = (size_t)metric.bytes; /* not one byte more is needed */
		r = mk_run_history(&p->call, p->m, id, key, metric.bytes, &buf);
		CHECK_INT(buf.len, metric.bytes);
	}
	if (r < 0)
		(void)mk_buf_puts(&buf, p->call.error.text);
	mk_metric_free(&metric);
	return mk_buf_steal(&buf);
}

static void lines_are_parsed(void)
{
	static const struct {
		const char *line;
		const char *why; /* NULL: good */
		double value;
		int64_t step, time;
		bool has_step;
	} cases[] = {
		{"0.5", NULL, 0.5, 0, 0, false},
		{" 3\t0.5 ", NULL, 0.5, 3, 0, true},
		{"3 0.5\r", NULL, 0.5, 3, 0, true},
		{"-1 1e-7", NULL, 1e-7, -1, 0, true},
		{"1 nan", NULL, NAN, 1, 0, true},
		{"1 -inf", NULL, -INFINITY, 1, 0, true},
		{"1 NaN", NULL, NAN, 1, 0, true},
		{"-0.0", NULL, -0.0, 0, 0, false},
		{"1 2 2023-11-14T22:13:20Z", NULL, 2, 1, INT64_C(1700000000) * MK_SEC, true},
		{"1 2 2023-11-14T23:13:20.25+01:00", NULL, 2, 1, INT64_C(1700000000250) * MK_MS,
		 true},
		{"1 2 2023-11-14T22:13", NULL, 2, 1, INT64_C(1699999980) * MK_SEC, true},
		{"1 2 2023-11-14", NULL, 2, 1, INT64_C(1699920000) * MK_SEC, true},
		{"1 2 1700000000", NULL, 2, 1, INT64_C(1700000000) * MK_SEC, true},
		{"1 2 1700000000.25", NULL, 2, 1, INT64_C(1700000000250) * MK_MS, true},
		{"1 2 1700000000250", NULL, 2, 1, INT64_C(1700000000250) * MK_MS, true},
		{"", "empty"},
		{"abc", "the value is not a number"},
		{"0x10", "the value is not a number"},
		{"1,5", "the value is not a number"},
		{"1.5 2", "the step is not an integer"},
		{"99999999999999999999 2", "the step is not an integer"},
		{"1 2 yesterday", "the time is neither ISO 8601 nor seconds since 1970"},
		{"1 2 0", "the time is neither ISO 8601 nor seconds since 1970"},
		{"1 2 1e300", "the time is neither ISO 8601 nor seconds since 1970"},
		{"1 2 2023-13-14T22:13:20Z", "the time is neither ISO 8601 nor seconds since 1970"},
		{"1 2 2023-11-14T22:13:20Zx",
		 "the time is neither ISO 8601 nor seconds since 1970"},
		{"1 2 3 4", "more than step, value and time"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct mk_logged point = {};
		const char *why = NULL;
		int r = mk_metric_parse(cases[i].line, strlen(cases[i].line), &point, &why);

		CHECK_TEXT(r < 0 ? why : NULL, cases[i].why);
		if (r < 0 || cases[i].why)
			continue;
		CHECK(isnan(cases[i].value) ? isnan(point.value) : point.value == cases[i].value);
		CHECK_INT(!signbit(point.value), !signbit(cases[i].value));
		CHECK_INT(point.step, cases[i].step);
		CHECK_INT(point.time, cases[i].time);
		CHECK_INT(point.has_step, cases[i].has_step);
	}
}

static void history_has_the_length_it_says(void)
{
	RUN_OF(p, id);
	_cleanup_free_ char *text = NULL;
	_cleanup_(mk_metric_free) struct mk_metric metric = {};

	CHECK_INT(log_text(&p, id, "train/loss",
			   "1 0.1 1700000000\n2 1e-05 1700000000.5\n"
			   "3 nan 1700086400\n-4 -123456789.125 1700086400\n\n5 -inf 1700086401"),
		  0);
	text = history(&p, id, "train/loss");
	CHECK_TEXT(text, "1\t0.1\t2023-11-14T22:13:20.000Z\n"
			 "2\t1e-05\t2023-11-14T22:13:20.500Z\n"
			 "3\tnan\t2023-11-15T22:13:20.000Z\n"
			 "-4\t-123456789.125\t2023-11-15T22:13:20.000Z\n"
			 "5\t-inf\t2023-11-15T22:13:21.000Z\n");
	CHECK_INT(mk_run_metric(&p.call, p.m, id, "train/loss", &metric), 0);
	CHECK_INT(metric.count, 5);
	CHECK_INT(metric.bytes, (long long)strlen(text));
	CHECK_INT(metric.last.step, 5);
	CHECK(metric.min == -INFINITY && metric.min_step == 5);
	CHECK(metric.max == 0.1 && metric.max_step == 1);
}

static void minus_zero_is_kept(void)
{
	RUN_OF(p, id);
	_cleanup_free_ char *text = NULL;
	_cleanup_(mk_metric_free) struct mk_metric metric = {};
	_cleanup_buf_ struct mk_buf table = MK_BUF(1000);

	/* Each write reads the summary of the one before. */
	CHECK_INT(log_text(&p, id, "z", "1 -0.0 1700000000"), 0);
	CHECK_INT(log_text(&p, id, "z", "2 1 1700000000\n3 -0 1700000000"), 0);
	CHECK_INT(log_text(&p, id, "z", "0 0 1700000000\n-1 nan 1700000000"), 0);
	text = history(&p, id, "z");
	CHECK_TEXT(text, "1\t-0\t2023-11-14T22:13:20.000Z\n2\t1\t2023-11-14T22:13:20.000Z\n"
			 "3\t-0\t2023-11-14T22:13:20.000Z\n0\t0\t2023-11-14T22:13:20.000Z\n"
			 "-1\tnan\t2023-11-14T22:13:20.000Z\n");
	CHECK_INT(mk_run_metrics_table(&p.call, p.m, id, &table), 0);
	CHECK(strstr(mk_buf_text(&table), "z\t-0\t3\t2023-11-14T22:13:20.000Z\t-0\t1\t1\t2\t5\n"));
	CHECK_INT(mk_run_metric(&p.call, p.m, id, "z", &metric), 0);
	CHECK(signbit(metric.last.value) && signbit(metric.min) && !signbit(metric.max));
	CHECK_INT(log_text(&p, id, "z", "4 0 1700000000"), 0);
	mk_metric_free(&metric);
	CHECK_INT(mk_run_metric(&p.call, p.m, id, "z", &metric), 0);
	CHECK(!signbit(metric.last.value) && signbit(metric.min));
}

static void an_older_length_gives_the_beginning(void)
{
	RUN_OF(p, id);
	_cleanup_(mk_metric_free) struct mk_metric metric = {};
	_cleanup_buf_ struct mk_buf buf = MK_BUF(MK_LIMIT_TABLE);

	CHECK_INT(log_text(&p, id, "m", "1 1 1700000000"), 0);
	CHECK_INT(mk_run_metric(&p.call, p.m, id, "m", &metric), 0);
	CHECK_INT(log_text(&p, id, "m", "2 2 1700000000"), 0);
	CHECK_INT(mk_run_history(&p.call, p.m, id, "m", metric.bytes, &buf), 0);
	CHECK_TEXT(mk_buf_text(&buf), "1\t1\t2023-11-14T22:13:20.000Z\n");
	CHECK_INT(mk_run_history(&p.call, p.m, id, "m", metric.bytes - 1, &buf), -ESTALE);
	CHECK_INT(mk_run_history(&p.call, p.m, id, "m", metric.bytes * 3, &buf), -ESTALE);
	CHECK_INT(buf.len, metric.bytes);
}

static void steps_go_on(void)
{
	RUN_OF(p, id);
	_cleanup_(mk_metric_free) struct mk_metric metric = {};
	int64_t before = mk_now_real();

	CHECK_INT(log_text(&p, id, "m", "7\n"), 0);
	CHECK_INT(log_text(&p, id, "m", "8\n10 9\n10\n"), 0);
	CHECK_INT(mk_run_metric(&p.call, p.m, id, "m", &metric), 0);
	CHECK_INT(metric.count, 4);
	CHECK_INT(metric.last.step, 11);
	CHECK(metric.last.value == 10);
	CHECK(metric.last.time >= before && metric.last.time <= mk_now_real());
	mk_metric_free(&metric);
	CHECK_INT(log_text(&p, id, "n", "9223372036854775807 1\n2\n"), -EINVAL);
	CHECK_INT(mk_run_metric(&p.call, p.m, id, "n", &metric), -ENOENT);
}

static void bad_lines_change_nothing(void)
{
	RUN_OF(p, id);
	struct mk_metrics metrics = {};

	CHECK_INT(log_text(&p, id, "m", "1\n2 oops\n3\n"), -EINVAL);
	CHECK_TEXT(p.call.error.text,
		   "metric \"m\": line 2: the value is not a number: \"2 oops\"; a "
		   "line is `value`, `step value` or `step value time`");
	CHECK_INT(log_text(&p, id, "../m", "1\n"), -EINVAL);
	CHECK_INT(log_text(&p, 99, "m", "1\n"), -ENOENT);
	CHECK_INT(log_text(&p, id, "m", "\n \t\n"), 0);
	CHECK_INT(mk_run_metrics(&p.call, p.m, id, &metrics), 0);
	CHECK_INT(metrics.n, 0);
	mk_metrics_free(&metrics);
}

static void table_of_metrics(void)
{
	RUN_OF(p, id);
	_cleanup_buf_ struct mk_buf buf = MK_BUF(MK_LIMIT_TABLE);

	CHECK_INT(log_text(&p, id, "b", "1 0.5 1700000000\n2 0.25 1700000001\n"), 0);
	CHECK_INT(log_text(&p, id, "a", "1 nan 1700000000\n"), 0);
	CHECK_INT(log_text(&p, id, "w\\x", "1 3 1700000000\n"), 0);
	CHECK_INT(mk_run_metrics_table(&p.call, p.m, id, &buf), 0);
	CHECK_TEXT(mk_buf_text(&buf), "key\tlast\tstep\ttime\tmin\tmin_step\tmax\tmax_step\tcount\n"
				      "a\tnan\t1\t2023-11-14T22:13:20.000Z\t\t\t\t\t1\n"
				      "b\t0.25\t2\t2023-11-14T22:13:21.000Z\t0.25\t2\t0.5\t1\t2\n"
				      "w\\\\x\t3\t1\t2023-11-14T22:13:20.000Z\t3\t1\t3\t1\t1\n");
}

struct bad_lines {
	int n;
	int64_t offset;
	char why[64];
};

static void remember_bad(void *arg, int64_t offset, const char *line, size_t len, const char *why)
{
	struct bad_lines *bad = arg;

	bad->n++;
	bad->offset = offset;
	snprintf(bad->why, sizeof(bad->why), "%s", why);
}

static int harvest(struct platform *p, int64_t id, int64_t offset, const char *data, bool last,
		   struct bad_lines *bad)
{
	struct mk_harvest h = {
		.run_id = id,
		.key = "loss",
		.path = "metrics/loss",
		.offset = offset,
		.data = data,
		.len = strlen(data),
		.last = last,
		.bad = remember_bad,
		.arg = bad,
	};

	return mk_metric_harvest(&p->call, p->m, &h);
}

static void harvest_takes_each_line_once(void)
{
	RUN_OF(p, id);
	_cleanup_free_ char *text = NULL;
	struct bad_lines bad = {};

	/* "1 0.5 1700000000\n" is 17 bytes */
	CHECK_INT(harvest(&p, id, 0, "1 0.5 1700000000\n2 0.2", false, &bad), 17);
	CHECK_INT(harvest(&p, id, 0, "1 0.5 1700000000\n2 0.2", false, &bad), -ESTALE);
	CHECK_INT(harvest(&p, id, 17, "2 0.2", false, &bad), 0);
	CHECK_INT(harvest(&p, id, 17, "2 0.25 1700000000\noops\n3 1", false, &bad), 23);
	CHECK_INT(bad.n, 1);
	CHECK_INT(bad.offset, 35);
	CHECK_TEXT(bad.why, "the value is not a number");
	CHECK_INT(harvest(&p, id, 40, "3 1 1700000000", true, &bad), 14);
	CHECK_INT(harvest(&p, id, 54, "", true, &bad), 0);
	text = history(&p, id, "loss");
	CHECK_TEXT(text, "1\t0.5\t2023-11-14T22:13:20.000Z\n"
			 "2\t0.25\t2023-11-14T22:13:20.000Z\n"
			 "3\t1\t2023-11-14T22:13:20.000Z\n");
}

static void endless_line_is_given_up(void)
{
	RUN_OF(p, id);
	_cleanup_free_ char *big = malloc(70001);
	struct bad_lines bad = {};

	memset(big, 'x', 70000);
	big[70000] = 0;
	CHECK_INT(harvest(&p, id, 0, big, false, &bad), 70000);
	CHECK_INT(bad.n, 1);
	CHECK_INT(harvest(&p, id, 70000, "xx\n1 2\n", false, &bad), 7);
	CHECK_INT(bad.n, 2);
}

static void long_history_is_exact(void)
{
	RUN_OF(p, id);
	enum { POINTS = 50000 };
	_cleanup_buf_ struct mk_buf lines = MK_BUF(64 << 20);
	_cleanup_free_ char *text = NULL;
	unsigned long long seed = 88172645463325252ULL;
	size_t newlines = 0;

	for (int i = 0; i < POINTS; i++) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		mk_buf_printf(&lines, "%d %.17g\n", i, (double)seed / 1e19);
	}
	CHECK_INT(mk_run_log_metric(&p.call, p.m, id, "m", lines.data, lines.len), 0);
	text = history(&p, id, "m");
	for (const char *s = text; *s; s++)
		newlines += *s == '\n';
	CHECK_INT(newlines, POINTS);
}

int main(void)
{
	return RUN(TEST(lines_are_parsed), TEST(history_has_the_length_it_says),
		   TEST(an_older_length_gives_the_beginning), TEST(steps_go_on),
		   TEST(minus_zero_is_kept),
		   TEST(bad_lines_change_nothing), TEST(table_of_metrics),
		   TEST(harvest_takes_each_line_once), TEST(endless_line_is_given_up),
		   TEST(long_history_is_exact));
}
