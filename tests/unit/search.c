/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Searches of our tables, filled directly: pages, views, scopes, patterns and what cannot be put
 * into a statement. That they find what MLflow finds is tests/serve/test_search.py's.
 */
#include "domain/track/search.h"

#include <mantik/project.h>

#include "domain/track/track.h"
#include "runs.h"

static int64_t add(struct platform *p, const char *name, const char *experiment, const char *text)
{
	int64_t id = make_runs(p, (struct made_run){.project_id = 1,
						    .experiment = experiment,
						    .name = name,
						    .status = MK_FINISHED});

	if (text)
		CHECK_INT(mk_run_value_set(&p->call, p->m, id, MK_TAG, "t", text), 0);
	return id;
}

static int count(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	return mk_domain_run(call, conn, "UPDATE runs SET started = id * 1000000000 WHERE ?1 = ?1",
			     *(const int64_t *)arg, 0);
}

/* Six runs, three seconds apart by their number, 1 … 6; 6 is of another experiment. */
static bool fill(struct platform *p)
{
	static const char *const texts[] = {"100%", "a*b", "[x]", "A?B", NULL};
	int64_t id = 0;

	if (!platform_init(p))
		return false;
	CHECK_INT(mk_project_make(&p->call, p->m, "p", &id), 0);
	CHECK_INT(id, 1);
	for (int i = 0; i < 5; i++)
		CHECK_INT(add(p, "r", "e", texts[i]), i + 1);
	CHECK_INT(add(p, "r", "f", "other"), 6);
	CHECK_INT(mk_domain_write(&p->call, p->m, MK_KILLSAFE, count, &id), 0);
	return true;
}

/* The rows that are found, "5 4 3 +" with + when there are more; or the error's name. */
static char *found(struct platform *p, struct mk_search search)
{
	static const int64_t first[] = {1};
	struct mk_buf out = MK_BUF(4096);
	struct mk_found rows = {};

	if (!search.experiments) {
		search.experiments = first;
		search.n_experiments = 1;
	}
	if (!search.limit)
		search.limit = 100;

	int r = mk_search(&p->call, p->m, &search, &rows);

	if (r < 0)
		(void)mk_buf_puts(&out, r == -EINVAL ? "EINVAL" : p->call.error.text);
	for (size_t i = 0; i < rows.n; i++)
		(void)mk_buf_printf(&out, "%s%lld", i ? " " : "", (long long)rows.ids[i]);
	if (rows.more)
		(void)mk_buf_puts(&out, " +");
	mk_found_free(&rows);
	mk_list_free(&search.order_by);
	return mk_buf_steal(&out);
}

#define CHECK_FOUND(want, ...)                                                            \
	do {                                                                              \
		_cleanup_free_ char *rows_ = found(&p, (struct mk_search){__VA_ARGS__});  \
		CHECK_TEXT(rows_, want);                                                  \
	} while (0)

static void pages(void)
{
	_cleanup_(platform_done) struct platform p;
	static const int64_t both[] = {1, 2, 77}, none[] = {77};

	NEED(fill(&p));
	CHECK_FOUND("5 4 3 2 1", .of = MK_SEARCH_RUNS);
	CHECK_FOUND("5 4 +", .of = MK_SEARCH_RUNS, .limit = 2);
	CHECK_FOUND("3 2 +", .of = MK_SEARCH_RUNS, .limit = 2, .offset = 2);
	CHECK_FOUND("1", .of = MK_SEARCH_RUNS, .limit = 2, .offset = 4);
	CHECK_FOUND("", .of = MK_SEARCH_RUNS, .limit = 2, .offset = 5);
	CHECK_FOUND("5 4 3 2 1", .of = MK_SEARCH_RUNS, .limit = 5);
	CHECK_FOUND("6 5 4 3 2 1", .of = MK_SEARCH_RUNS, .experiments = both, .n_experiments = 3);
	CHECK_FOUND("", .of = MK_SEARCH_RUNS, .experiments = none, .n_experiments = 1);
	CHECK_INT(mk_run_delete(&p.call, p.m, 4), 0);
	CHECK_FOUND("5 3 2 1", .of = MK_SEARCH_RUNS);
	CHECK_FOUND("4", .of = MK_SEARCH_RUNS, .view = MK_VIEW_DELETED);
	CHECK_FOUND("5 4 3 2 1", .of = MK_SEARCH_RUNS, .view = MK_VIEW_ALL);
	CHECK_FOUND("5 3 2 1", .of = MK_SEARCH_RUNS, .scope = 1);
	CHECK_FOUND("", .of = MK_SEARCH_RUNS, .scope = 2);
}

static void texts(void)
{
	_cleanup_(platform_done) struct platform p;

	NEED(fill(&p));
	CHECK_FOUND("1", .of = MK_SEARCH_RUNS, .filter = "tags.t LIKE '100%'");
	CHECK_FOUND("2", .of = MK_SEARCH_RUNS, .filter = "tags.t LIKE 'a*b'");
	CHECK_FOUND("4 2", .of = MK_SEARCH_RUNS, .filter = "tags.t ILIKE 'a_b'");
	CHECK_FOUND("4", .of = MK_SEARCH_RUNS, .filter = "tags.t LIKE 'A?B'");
	CHECK_FOUND("3", .of = MK_SEARCH_RUNS, .filter = "tags.t LIKE '[x]'");
	CHECK_FOUND("", .of = MK_SEARCH_RUNS, .filter = "tags.t LIKE '[a-z]'");
	CHECK_FOUND("", .of = MK_SEARCH_RUNS, .filter = "tags.t LIKE '*'");
	CHECK_FOUND("5", .of = MK_SEARCH_RUNS, .filter = "tags.t IS NULL");
	CHECK_FOUND("", .of = MK_SEARCH_RUNS,
		    .filter = "tags.t = \"x' OR 1 = 1; DROP TABLE runs; --\"");
	CHECK_FOUND("", .of = MK_SEARCH_RUNS, .filter = "tags.`t' OR '1` = 'x'");
	CHECK_FOUND("", .of = MK_SEARCH_RUNS, .filter = "run_id IN ('\"]', '\\x01')");
	CHECK_FOUND("5 4 3 2 1", .of = MK_SEARCH_RUNS, .filter = "run_id NOT IN ('\"],[\"')");
	CHECK_FOUND("EINVAL", .of = MK_SEARCH_RUNS, .filter = "tags.t == 'x'");
}

static void limits(void)
{
	_cleanup_(platform_done) struct platform p;
	_cleanup_buf_ struct mk_buf filter = MK_BUF(1 << 20);

	NEED(fill(&p));
	for (int i = 0; i < MK_FILTER_CLAUSES; i++)
		(void)mk_buf_printf(&filter, "tags.t != 'x%d' AND metrics.m%d > %d AND ", i, i, i);
	CHECK_FOUND("EINVAL", .of = MK_SEARCH_RUNS, .filter = mk_buf_text(&filter));
	mk_buf_truncate(&filter, 0);
	for (int i = 0; i < MK_FILTER_CLAUSES; i++)
		(void)mk_buf_printf(&filter, "tags.t != 'x%d' AND ", i);
	CHECK_FOUND("4 3 2 1", .of = MK_SEARCH_RUNS, .filter = mk_buf_text(&filter));
	mk_buf_truncate(&filter, 0);
	(void)mk_buf_puts(&filter, "tags.t LIKE '");
	for (int i = 0; i < 15000; i++)
		(void)mk_buf_putc(&filter, '*');
	(void)mk_buf_putc(&filter, '\'');
	CHECK_FOUND("", .of = MK_SEARCH_RUNS, .filter = mk_buf_text(&filter));
	mk_buf_truncate(&filter, filter.len - 1);
	for (int i = 0; i < 2000; i++)
		(void)mk_buf_putc(&filter, '*');
	(void)mk_buf_putc(&filter, '\'');
	CHECK_FOUND("EINVAL", .of = MK_SEARCH_RUNS, .filter = mk_buf_text(&filter));

	/* 64 terms of an ORDER BY are the end of SQLite 3.40. */
	for (int n = 24; n <= 25; n++) {
		struct mk_list order = {};

		for (int i = 0; i < n; i++) {
			char text[32];

			snprintf(text, sizeof(text), "metrics.m%d DESC", i);
			CHECK_INT(mk_list_add(&order, text), 0);
		}
		CHECK_FOUND(n == 24 ? "5 4 3 2 1" : "EINVAL", .of = MK_SEARCH_RUNS,
			    .order_by = order);
	}

	struct mk_list twice = {};

	CHECK_INT(mk_list_add(&twice, "created"), 0);
	CHECK_INT(mk_list_add(&twice, "attributes.start_time DESC"), 0);
	CHECK_FOUND("EINVAL", .of = MK_SEARCH_RUNS, .order_by = twice);
}

/* Rows of a store's project are not ours to find, whatever the scope. */
static int make_foreign(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	int64_t id = *(const int64_t *)arg;
	int r = mk_domain_run(call, conn, "UPDATE projects SET connection = 'c' WHERE id = ?1", id, 0);

	if (r == 0)
		r = mk_domain_run(call, conn, "UPDATE experiments SET remote_id = 'e' || id"
				  " WHERE project_id = ?1", id, 0);
	if (r == 0)
		r = mk_domain_run(call, conn, "UPDATE runs SET remote_id = uid WHERE project_id = ?1",
				  id, 0);
	return r;
}

static void mirrored(void)
{
	_cleanup_(platform_done) struct platform p;
	int64_t id = 1;

	NEED(fill(&p));
	CHECK_FOUND("2 1", .of = MK_SEARCH_EXPERIMENTS, .filter = "name LIKE 'p/%'");
	CHECK_FOUND("1", .of = MK_SEARCH_EXPERIMENTS, .filter = "name = 'e'", .scope = 1);
	CHECK_INT(mk_domain_write(&p.call, p.m, MK_KILLSAFE, make_foreign, &id), 0);
	CHECK_FOUND("", .of = MK_SEARCH_EXPERIMENTS);
	CHECK_FOUND("", .of = MK_SEARCH_EXPERIMENTS, .scope = 1);
	CHECK_FOUND("", .of = MK_SEARCH_RUNS);
}

int main(void)
{
	return RUN(TEST(pages), TEST(texts), TEST(limits), TEST(mirrored));
}
