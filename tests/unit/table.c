/* SPDX-License-Identifier: Apache-2.0 */
/* runs.tsv and leaderboard.tsv to the byte, and that they change only with their generation. */
#include <mantik/project.h>
#include <mantik/run.h>

#include "domain/goal.h"
#include "domain/track/track.h"
#include "runs.h"

static int fix_times(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	return mk_domain_run(
		call, conn,
		"UPDATE runs SET submitted = 1700000000000000000,"
		" started = CASE WHEN status >= 1 THEN 1700000002000000000 END,"
		" ended = CASE WHEN status >= 2 THEN 1700000005500000000 END,"
		" as_of = 1700000006000000000, user = 'ana', nodes = '2', reason ="
		" CASE WHEN status = 3 THEN 'a' || char(9) || 'b' || char(10) || 'c\\d' END"
		" WHERE ?1 = ?1",
		0, 0);
}

static char *render(struct platform *p, enum mk_table table, int64_t id, bool *ret_live)
{
	struct mk_buf buf = MK_BUF(MK_LIMIT_TABLE);
	int r = mk_table_render(&p->call, p->m, table, id, &buf, ret_live);

	CHECK_INT(r, 0);
	if (r < 0)
		(void)mk_buf_puts(&buf, p->call.error.text);
	return mk_buf_steal(&buf);
}

static uint64_t generation(struct platform *p, enum mk_table table, int64_t id)
{
	uint64_t g = 0;
	int64_t changed = 0;

	CHECK_INT(mk_table_generation(&p->call, p->m, table, id, &g, &changed), 0);
	CHECK(changed > 0);
	return g;
}

static int64_t add(struct platform *p, const char *name, const char *uid, enum mk_status status,
		   const char *lr, const char *acc)
{
	int64_t id = make_runs(p, (struct made_run){.project_id = 1,
						    .experiment = "e",
						    .name = name,
						    .status = status,
						    .uid = uid});

	if (lr)
		CHECK_INT(mk_run_value_set(&p->call, p->m, id, MK_PARAM, "lr", lr), 0);
	if (acc)
		CHECK_INT(mk_run_log_metric(&p->call, p->m, id, "acc", acc, strlen(acc)), 0);
	return id;
}

#define HEADER                                                                                   \
	"run\tstatus\tstarted\twaited\tduration\tnodes\tsite\tuser\tcommit\texit_code\treason\t" \
	"as_of"
#define STARTED "2023-11-14T22:13:22.000Z"
#define AS_OF	"2023-11-14T22:13:26.000Z"

static void make_four(struct platform *p)
{
	make_project(p, "rain");
	add(p, "a", "aaaaaaaa000000000000000000000000", MK_FINISHED, "1e-5", "0.5\n0.25");
	add(p, "b", "bbbbbbbb000000000000000000000000", MK_FAILED, NULL, NULL);
	add(p, "c", "cccccccc000000000000000000000000", MK_FINISHED, "1", "nan");
	add(p, "d", "dddddddd000000000000000000000000", MK_RUNNING, NULL, "0.75");
	add(p, "f", "ffffffff000000000000000000000000", MK_FINISHED, "2", "0.4\n0.4");
	add(p, "g", "00000001000000000000000000000000", MK_SCHEDULED, NULL, NULL);
	CHECK_INT(mk_db_write(&p->call, p->m->db, MK_KILLSAFE, fix_times, NULL), 0);
}

static void tables_to_the_byte(void)
{
	PLATFORM(p);
	bool live = false;

	make_four(&p);
	CHECK_INT(mk_run_value_set(&p.call, p.m, 4, MK_PARAM, "batch\\size", "a\tb"), 0);

	_cleanup_free_ char *runs = render(&p, MK_TABLE_EXPERIMENT_RUNS, 1, &live);
	_cleanup_free_ char *all = render(&p, MK_TABLE_PROJECT_RUNS, 1, &live);

	CHECK(live);
	CHECK_TEXT(runs,
		   HEADER "\tparams.batch\\\\size\tparams.lr\tmetrics.acc\n"
			  "a.aaaaaaaa\tFINISHED\t" STARTED "\t2\t3.5\t2\tlocal\tana\t\t0\t\t" AS_OF
			  "\t\t1e-5\t0.25\n"
			  "b.bbbbbbbb\tFAILED\t" STARTED
			  "\t2\t3.5\t2\tlocal\tana\t\t1\ta\\tb\\nc\\\\d\t" AS_OF "\t\t\t\n"
			  "c.cccccccc\tFINISHED\t" STARTED "\t2\t3.5\t2\tlocal\tana\t\t0\t\t" AS_OF
			  "\t\t1\tnan\n"
			  "d.dddddddd\tRUNNING\t" STARTED "\t2\t4\t2\tlocal\tana\t\t\t\t" AS_OF
			  "\ta\\tb\t\t0.75\n"
			  "f.ffffffff\tFINISHED\t" STARTED "\t2\t3.5\t2\tlocal\tana\t\t0\t\t" AS_OF
			  "\t\t2\t0.4\n"
			  "g.00000001\tSCHEDULED\t\t6\t\t2\tlocal\tana\t\t\t\t" AS_OF "\t\t\t\n");
	CHECK(strstr(all, HEADER "\texperiment\na.aaaaaaaa\tFINISHED\t" STARTED
				 "\t2\t3.5\t2\tlocal\tana\t\t0\t\t" AS_OF "\te\n") == all);
}

/* The order of the leaderboard for each kind of primary metric: first letters of the runs. */
static void leaderboard_is_sorted(void)
{
	static const struct {
		const char *yaml, *order, *value_of_a;
	} cases[] = {
		{NULL, "fca", "0.25"},
		{"primary_metric: {name: acc, goal: maximize}", "fac", "0.25"},
		{"primary_metric: {name: acc, goal: minimize}", "afc", "0.25"},
		{"primary_metric: {name: acc}", "fac", "0.25"}, /* guessed: more is better */
		{"primary_metric: {name: acc, goal: maximize, of: best}", "afc", "0.5"},
		{"primary_metric: {name: acc, goal: minimize, of: best}", "afc", "0.25"},
		{"primary_metric: {name: none}", "fca", "0.25"},
	};
	PLATFORM(p);

	make_four(&p);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		bool live = true;
		char order[8] = "";

		if (cases[i].yaml)
			CHECK_INT(mk_text_put(&p.call, p.m, MK_TEXT_EXPERIMENT, 1, cases[i].yaml,
					      strlen(cases[i].yaml), 0),
				  0);

		_cleanup_free_ char *text = render(&p, MK_TABLE_LEADERBOARD, 1, &live);

		CHECK(!live);
		for (char *line = strchr(text, '\n') + 1; *line; line = strchr(line, '\n') + 1) {
			order[strlen(order)] = *line;
			if (*line == 'a') {
				_cleanup_free_ char *row = strndup(line, strcspn(line, "\n"));

				CHECK_TEXT(strrchr(row, '\t') + 1, cases[i].value_of_a);
			}
		}
		CHECK_TEXT(order, cases[i].order);
	}
}

static void goals_are_guessed(void)
{
	static const char *const up[] = {"acc", "val_acc", "valAccuracy", "val/macroF1-score", "top5_acc",
					 "R2", "roc_auc", "neg_mean_squared_error", "BLEU"};
	static const char *const down[] = {"loss", "val_loss", "score_loss", "rmse", "mean_squared_error",
					   "neg_log_likelihood", "x", "", "/", "eval/WER", "accident"};

	for (size_t i = 0; i < sizeof(up) / sizeof(*up); i++)
		if (!mk_goal_guess(up[i]))
			CHECK_TEXT(up[i], "guessed wrong");
	for (size_t i = 0; i < sizeof(down) / sizeof(*down); i++)
		if (mk_goal_guess(down[i]))
			CHECK_TEXT(down[i], "guessed wrong");
}

/* MLflow's own tags, of an experiment nobody wrote a text for: a word about the goal, then none. */
static void tags_say_the_goal(void)
{
	PLATFORM(p);
	static const char name[] = "mlflow.experiment.primaryMetric.name",
			  greater[] = "mlflow.experiment.primaryMetric.greaterIsBetter";
	static const struct {
		const char *key, *value, *order;
	} steps[] = {{name, "acc", "fac"}, {greater, "False", "afc"}, {greater, "True", "fac"},
		     {greater, "False", "afc"}, {greater, "", "fac"}};
	bool live;

	make_four(&p);
	for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
		CHECK_INT(mk_track_experiment_tag(&p.call, p.m, 1, steps[i].key, steps[i].value), 0);

		_cleanup_free_ char *text = render(&p, MK_TABLE_LEADERBOARD, 1, &live);
		char order[8] = "";

		for (char *line = strchr(text, '\n') + 1; *line; line = strchr(line, '\n') + 1)
			order[strlen(order)] = *line;
		CHECK_TEXT(order, steps[i].order);
	}
}

static void a_late_key_gets_its_column(void)
{
	PLATFORM(p);
	bool live;

	make_four(&p);
	CHECK_INT(mk_run_value_set(&p.call, p.m, 2, MK_PARAM, "only_here", "x"), 0);
	CHECK_INT(mk_run_log_metric(&p.call, p.m, 3, "aaa", "1", 1), 0);

	_cleanup_free_ char *text = render(&p, MK_TABLE_EXPERIMENT_RUNS, 1, &live);

	CHECK(strstr(text, HEADER "\tparams.lr\tparams.only_here\tmetrics.aaa\tmetrics.acc\n") ==
	      text);
	for (char *line = text; *line; line = strchr(line, '\n') + 1) {
		int tabs = 0;

		for (char *s = line; *s != '\n'; s++)
			tabs += *s == '\t';
		CHECK_INT(tabs, 15);
	}
}

static void generation_follows_changes(void)
{
	PLATFORM(p);
	static const char yaml[] = "primary_metric: {name: acc}";

	make_four(&p);

	uint64_t e = generation(&p, MK_TABLE_EXPERIMENT_RUNS, 1);
	uint64_t all = generation(&p, MK_TABLE_PROJECT_RUNS, 1), now;

	CHECK_INT(generation(&p, MK_TABLE_EXPERIMENT_RUNS, 1), e);
	CHECK_INT(mk_run_log_metric(&p.call, p.m, 1, "acc", "1", 1), 0);
	now = generation(&p, MK_TABLE_EXPERIMENT_RUNS, 1);
	CHECK(now > e);
	e = now;
	CHECK(generation(&p, MK_TABLE_PROJECT_RUNS, 1) > all);
	CHECK_INT(mk_run_value_set(&p.call, p.m, 1, MK_PARAM, "new", "1"), 0);
	now = generation(&p, MK_TABLE_EXPERIMENT_RUNS, 1);
	CHECK(now > e);
	e = now;
	CHECK_INT(mk_text_put(&p.call, p.m, MK_TEXT_EXPERIMENT, 1, yaml, strlen(yaml), 0), 0);
	now = generation(&p, MK_TABLE_LEADERBOARD, 1);
	CHECK(now > e);
	e = now;
	CHECK_INT(mk_run_delete(&p.call, p.m, 1), 0);
	CHECK(generation(&p, MK_TABLE_EXPERIMENT_RUNS, 1) > e);
	CHECK_INT(mk_experiment_rename(&p.call, p.m, 1, "other"), 0);
	CHECK(generation(&p, MK_TABLE_PROJECT_RUNS, 1) > all);
}

int main(void)
{
	return RUN(TEST(tables_to_the_byte), TEST(leaderboard_is_sorted), TEST(goals_are_guessed),
		   TEST(tags_say_the_goal),
		   TEST(a_late_key_gets_its_column), TEST(generation_follows_changes));
}
