/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Filters and orders as clauses, each written down and compared as a text. What they mean for real
 * data, and that the real server takes and refuses the same ones, is tests/serve/test_search.py's.
 */
#include "format/filter.h"

#include "test.h"

static const char *const operators[] = {"=",  "!=",   "<",     "<=", ">",      ">=",
					"LIKE", "ILIKE", "IN", "NOT IN", "NULL", "NOT NULL"};

static void put_clause(const struct mk_filter_clause *c, struct mk_buf *out)
{
	(void)mk_buf_printf(out, "%s%c[%s] %s", out->len ? "; " : "", "ampTd"[c->field.kind],
			    c->field.key, operators[c->op]);
	if (c->is == MK_VALUE_TEXT)
		(void)mk_buf_printf(out, " [%s]", c->text);
	if (c->is == MK_VALUE_INT)
		(void)mk_buf_printf(out, " %lld", (long long)c->integer);
	if (c->is == MK_VALUE_REAL)
		(void)mk_buf_printf(out, " %g", c->real);
	for (size_t i = 0; i < c->list.n; i++)
		(void)mk_buf_printf(out, " [%s]", c->list.v[i]);
}

static char *parsed(enum mk_searched of, const char *text)
{
	struct mk_buf out = MK_BUF(1 << 16);
	_cleanup_call_ struct mk_call call;
	struct mk_filter filter = {};

	mk_call_init(&call);
	if (mk_filter_parse(&call, of, text, &filter) < 0) {
		CHECK(call.error.text && call.error.code == EINVAL);
		(void)mk_buf_puts(&out, "bad");
	}
	for (size_t i = 0; i < filter.n; i++)
		put_clause(&filter.v[i], &out);
	mk_filter_free(&filter);
	return mk_buf_steal(&out);
}

static char *ordered(enum mk_searched of, const char *text)
{
	struct mk_buf out = MK_BUF(1 << 16);
	_cleanup_call_ struct mk_call call;
	struct mk_order order = {};

	mk_call_init(&call);
	if (mk_order_parse(&call, of, text, &order) < 0)
		(void)mk_buf_puts(&out, "bad");
	else
		(void)mk_buf_printf(&out, "%c[%s] %s", "ampTd"[order.field.kind], order.field.key,
				    order.descending ? "down" : "up");
	mk_order_free(&order);
	return mk_buf_steal(&out);
}

struct want {
	const char *text, *clauses;
};

#define CHECK_ALL(of, table, f)                                                      \
	for (size_t i_ = 0; i_ < sizeof(table) / sizeof(table[0]); i_++) {           \
		_cleanup_free_ char *got_ = f(of, table[i_].text);                   \
		if (strcmp(got_, table[i_].clauses) != 0)                            \
			printf("# of: %s\n", table[i_].text);                        \
		CHECK_TEXT(got_, table[i_].clauses);                                 \
	}

static void runs(void)
{
	static const struct want all[] = {
		{"", ""},
		{"metrics.a > 1", "m[a] > 1"},
		{"metric.a>=-1.5E-3 and metrics.b=.5", "m[a] >= -0.0015; m[b] = 0.5"},
		{"metrics.`a b`!=1.", "m[a b] != 1"},
		{"metrics.\"a.b\" <= 1e400", "m[a.b] <= inf"},
		{"metrics.a.b < 1", "m[a.b] < 1"},
		{"metrics.'q' < 1", "m[q] < 1"},
		{"metrics. > 1", "m[] > 1"},
		{"`metrics`.a > 1", "m[a] > 1"},
		{"params.a = 'x'", "p[a] = [x]"},
		{"param.gr\xc3\xb6\xc3\x9f""e like \"it's\"", "p[gr\xc3\xb6\xc3\x9f""e] LIKE [it's]"},
		{"parameters._x ILIKE '%_'", "p[_x] ILIKE [%_]"},
		{"params.a = 'it''s'", "p[a] = [it''s]"},
		{"params.a = 'x\\'y'", "p[a] = [x\\'y]"},
		{"params.a = 'x\\'", "p[a] = [x\\]"},
		{"params.1a = ''", "p[1a] = []"},
		{"tags.a IS NULL tags.b is not null", "T[a] NULL; T[b] NOT NULL"},
		{"AND tag.a = 'x' AND AND tag.b = 'y' AND", "T[a] = [x]; T[b] = [y]"},
		{"tags.a='x'tags.b='y'", "T[a] = [x]; T[b] = [y]"},
		{"AND", ""},
		{"status = 'FINISHED'", "a[status] = [FINISHED]"},
		{"`status` = 'x' and \"run_id\" = 'y'", "a[status] = [x]; a[run_id] = [y]"},
		{"attr.run_id in ('a', \"b\",)", "a[run_id] IN [a] [b]"},
		{"run.run_id NOT IN (('a' 'b'))", "a[run_id] NOT IN [ab]"},
		{"run_id IN ('\\x41\\u00e9\\101\\n\\q')", "a[run_id] IN [A\xc3\xa9""A\n\\q]"},
		{"created > 5 AND attributes.Created < 1.5", "a[start_time] > 5; a[start_time] < 1.5"},
		{"attributes.`Run name` = 'x'", "a[run_name] = [x]"},
		{"dataset.name = 'a' AND datasets.context IN ('b')", "d[name] = [a]; d[context] IN [b]"},
		{" ", "bad"},
		{"metrics.a", "bad"},
		{"metrics.a >", "bad"},
		{"metrics.a > '1'", "bad"},
		{"metrics.a > NaN", "bad"},
		{"metrics.a > 0x1F", "bad"},
		{"metrics.a > 1_000", "bad"},
		{"metrics.a > 12abc", "bad"},
		{"metrics.a > - 1", "bad"},
		{"metrics.a LIKE 'x'", "bad"},
		{"metrics.a IN (1)", "bad"},
		{"metrics.a IS NULL", "bad"},
		{"metrics.a == 1", "bad"},
		{"metrics.a <> 1", "bad"},
		{"metrics.12a > 1", "bad"},
		{"metrics.a-b > 1", "bad"},
		{"metrics.a b > 1", "bad"},
		{"params.in = 'x'", "bad"},
		{"params.a = x", "bad"},
		{"params.a = `x`", "bad"},
		{"params.a = 1", "bad"},
		{"params.a > 'x'", "bad"},
		{"params.a IN ('x')", "bad"},
		{"params.a NOT LIKE 'x'", "bad"},
		{"params.a = 'x", "bad"},
		{"params.a = 'x' OR params.b = 'y'", "bad"},
		{"NOT params.a = 'x'", "bad"},
		{"(params.a = 'x')", "bad"},
		{"params.a = ('x')", "bad"},
		{"params.a = 'x';", "bad"},
		{"params.a = 'x' -- why", "bad"},
		{"/* why */ params.a = 'x'", "bad"},
		{"params.a = 'x' tags.b IS NULL", "bad"},
		{"tags.a IS NOT  NULL", "bad"},
		{"status IS NULL", "bad"},
		{"status IN ('x')", "bad"},
		{"run_id = ('x')", "bad"},
		{"run_id IN ()", "bad"},
		{"run_id IN (1)", "bad"},
		{"run_id IN ('a', 1)", "bad"},
		{"run_id IN ('a' , , 'b')", "bad"},
		{"run_id IN ('a'", "bad"},
		{"run_id IN 'a'", "bad"},
		{"run_id IN (a)", "bad"},
		{"start_time > '5'", "bad"},
		{"start_time > 99999999999999999999", "bad"},
		{"lifecycle_stage = 'active'", "bad"},
		{"foo.a = 'x'", "bad"},
		{"Metrics.a > 1", "bad"},
		{"datasets.source = 'x'", "bad"},
		{"'a' = params.a", "bad"},
		{"1 = 1", "bad"},
	};

	CHECK_ALL(MK_SEARCH_RUNS, all, parsed);
}

static void others(void)
{
	static const struct want experiments[] = {
		{"name LIKE 'a%' AND tags.k = 'v'", "a[name] LIKE [a%]; T[k] = [v]"},
		{"name like 'a%'", "bad"},
		{"attribute.`name` = 'x'", "a[name] = [x]"},
		{"attributes.name = 'x'", "bad"},
		{"experiment_id = ' 12 '", "a[experiment_id] = 12"},
		{"experiment_id = 'x'", "bad"},
		{"experiment_id LIKE '1'", "bad"},
		{"experiment_id IN ('1', '2')", "a[experiment_id] IN [1] [2]"},
		{"experiment_id not in ('1')", "a[experiment_id] NOT IN [1]"},
		{"experiment_id in ('1')", "bad"},
		{"experiment_id IN ('x')", "bad"},
		{"creation_time > 5", "a[creation_time] > 5"},
		{"creation_time > 5.5", "bad"},
		{"last_update_time = '5'", "bad"},
		{"tag.a IS NULL", "T[a] NULL"},
		{"name IS NULL", "bad"},
		{"params.a = 'x'", "bad"},
	};
	static const struct want models[] = {
		{"name = 'm'", "a[name] = [m]"},
		{"name in ('m', 'n')", "a[name] IN [m] [n]"},
		{"`name` = 'm'", "bad"},
		{"tag.`name` ilike 'm'", "T[name] ILIKE [m]"},
		{"tags.a IS NULL", "bad"},
		{"name > 'm'", "bad"},
		{"timestamp > 5", "bad"},
	};
	static const struct want versions[] = {
		{"version_number > 2", "a[version_number] > 2"},
		{"version_number = '2'", "a[version_number] = 2"},
		{"version_number = '2x'", "bad"},
		{"version_number = 2.5", "bad"},
		{"version_number IN ('2')", "bad"},
		{"name = 2", "bad"},
		{"run_id IN ('a') AND source_path LIKE 'x'", "a[run_id] IN [a]; a[source_path] LIKE [x]"},
		{"source_path IN ('a')", "bad"},
		{"creation_timestamp > 1", "bad"},
	};
	static const struct want logged[] = {
		{"name = 'm'", "a[name] = [m]"},
		{"name = m", "a[name] = [m]"},
		{"params.\"a\" = \"x\"", "p[\"a\"] = [\"x\"]"},
		{"params.`a` IN ('x')", "p[a] IN [x]"},
		{"metrics.a < inf", "m[a] < inf"},
		{"metrics.a < '1'", "bad"},
		{"creation_time > 5", "a[creation_timestamp_ms] > 5"},
		{"attributes.creation_time > 5", "bad"},
		{"tag.a = 'x'", "bad"},
		{"foo = 'x'", "bad"},
		{"tags.a IS NULL", "bad"},
	};

	CHECK_ALL(MK_SEARCH_EXPERIMENTS, experiments, parsed);
	CHECK_ALL(MK_SEARCH_MODELS, models, parsed);
	CHECK_ALL(MK_SEARCH_VERSIONS, versions, parsed);
	CHECK_ALL(MK_SEARCH_LOGGED, logged, parsed);
}

static void orders(void)
{
	static const struct want of_runs[] = {
		{"metrics.a", "m[a] up"},
		{"metrics.a DESC", "m[a] down"},
		{"metrics.`a b`\tasc", "m[a b] up"},
		{"params.\"a b\" Desc", "p[a b] down"},
		{"tag.'a' ASC", "T[a] up"},
		{"start_time", "a[start_time] up"},
		{"attribute.Created DESC", "a[start_time] down"},
		{"", "bad"},
		{" metrics.a", "bad"},
		{"metrics.a ", "bad"},
		{"metrics.a foo", "bad"},
		{"metrics.a DESC ASC", "bad"},
		{"metrics.a DESC NULLS LAST", "bad"},
		{"metrics.`a`DESC", "bad"},
		{"metrics.a, metrics.b", "bad"},
		{"metrics.a b DESC", "bad"},
		{"`run name`", "bad"},
		{"datasets.name", "bad"},
		{"lifecycle_stage", "bad"},
		{"1 DESC", "bad"},
	};
	static const struct want of_models[] = {
		{"timestamp DESC", "a[last_updated_timestamp] down"},
		{"last_updated_timestamp", "a[last_updated_timestamp] up"},
		{"`name` ASC", "a[name] up"},
		{"`name`", "bad"},
		{"attribute.name", "bad"},
		{"creation_timestamp", "bad"},
	};
	static const struct want of_versions[] = {
		{"version_number DESC", "a[version_number] down"},
		{"tag.name", "a[name] up"},
		{"run_id", "bad"},
	};

	CHECK_ALL(MK_SEARCH_RUNS, of_runs, ordered);
	CHECK_ALL(MK_SEARCH_MODELS, of_models, ordered);
	CHECK_ALL(MK_SEARCH_VERSIONS, of_versions, ordered);
}

/* 200 comparisons are read, one more is refused; a text of 2 MiB is. */
static void limits(void)
{
	for (int n = MK_FILTER_CLAUSES; n <= MK_FILTER_CLAUSES + 1; n++) {
		_cleanup_buf_ struct mk_buf text = MK_BUF(1 << 20);

		for (int i = 0; i < n; i++)
			(void)mk_buf_puts(&text, "metrics.a > 1 ");

		_cleanup_free_ char *got = parsed(MK_SEARCH_RUNS, mk_buf_text(&text));

		CHECK_INT(strcmp(got, "bad") == 0, n > MK_FILTER_CLAUSES);
	}

	_cleanup_buf_ struct mk_buf text = MK_BUF(4 << 20);
	char *room = mk_buf_room(&text, 2 << 20);

	memset(room, 'a', 2 << 20);
	text.len += 2 << 20;

	_cleanup_free_ char *got = parsed(MK_SEARCH_RUNS, mk_buf_text(&text));

	CHECK_TEXT(got, "bad");
}

int main(void)
{
	return RUN(TEST(runs), TEST(others), TEST(orders), TEST(limits));
}
