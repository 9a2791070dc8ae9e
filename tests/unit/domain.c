/* SPDX-License-Identifier: Apache-2.0 */
/* Projects, experiments, runs, params and tags. */
#include <mantik/blob.h>
#include <mantik/project.h>
#include <mantik/run.h>

#include <sys/stat.h>

#include "runs.h"

static int add_project(void *arg, const struct mk_project *project)
{
	return mk_list_add(arg, project->name);
}

static int add_experiment(void *arg, const struct mk_experiment *experiment)
{
	return mk_list_add(arg, experiment->name);
}

static int add_run(void *arg, const struct mk_run_entry *entry)
{
	return mk_list_add(arg, entry->dir);
}

static void projects_come_and_go(void)
{
	PLATFORM(p);
	_cleanup_list_ struct mk_list names = {};
	_cleanup_(mk_project_free) struct mk_project project = {};
	int64_t a = make_project(&p, "rain"), b = make_project(&p, "a project with blanks"), e;

	CHECK_INT(mk_project_make(&p.call, p.m, "rain", &e), -EEXIST);
	CHECK_INT(mk_project_list(&p.call, p.m, add_project, &names), 0);
	NEED(names.n == 2);
	CHECK_TEXT(names.v[0], "a project with blanks");
	CHECK_INT(mk_project_find(&p.call, p.m, "rain", &project), 0);
	CHECK_INT(project.id, a);
	CHECK(!project.touched && project.created > 0);
	CHECK_INT(mk_project_rename(&p.call, p.m, a, "a project with blanks"), -EEXIST);
	CHECK_INT(mk_project_rename(&p.call, p.m, a, "wind"), 0);
	CHECK_INT(mk_project_rename(&p.call, p.m, 99, "nobody"), -ENOENT);
	mk_project_free(&project);
	CHECK_INT(mk_project_find(&p.call, p.m, "rain", &project), -ENOENT);
	CHECK_INT(mk_project_get(&p.call, p.m, a, &project), 0);
	CHECK_TEXT(project.name, "wind");
	CHECK_INT(mk_experiment_make(&p.call, p.m, a, "e", &e), 0);
	CHECK_INT(mk_project_remove(&p.call, p.m, a), -ENOTEMPTY);
	CHECK_INT(mk_experiment_remove(&p.call, p.m, e), 0);
	CHECK_INT(mk_project_remove(&p.call, p.m, a), 0);
	CHECK_INT(mk_project_remove(&p.call, p.m, a), -ENOENT);
	CHECK_INT(mk_project_remove(&p.call, p.m, b), 0);
	CHECK(make_project(&p, "rain") > b); /* ids are never used again */
}

static void names_are_checked(void)
{
	static const struct {
		const char *name;
		int result;
	} cases[] = {
		{"", -EINVAL},
		{"two\nlines", -EINVAL},
		{"tab\tbed", -EINVAL},
		{"del\x7f", -EINVAL},
		{"not utf-8 \xff", -EINVAL},
		{"overlong \xc0\xaf", -EINVAL},
		{"surrogate \xed\xa0\x80", -EINVAL},
		{"cut \xe2\x82", -EINVAL},
		{"..", 0},
		{"feature/x", 0},
		{"-rf", 0},
		{"quote's \"$(touch x)\"", 0},
		{"\xe9\x9b\xa8 \xf0\x9f\x8c\xa7", 0},
	};
	PLATFORM(p);
	char long_name[257];
	int64_t id;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		CHECK_INT(mk_project_make(&p.call, p.m, cases[i].name, &id), cases[i].result);
	memset(long_name, 'x', 256);
	long_name[256] = 0;
	CHECK_INT(mk_project_make(&p.call, p.m, long_name, &id), -EINVAL);
	long_name[255] = 0;
	CHECK_INT(mk_project_make(&p.call, p.m, long_name, &id), 0);
}

static void experiments_belong_to_a_project(void)
{
	PLATFORM(p);
	_cleanup_list_ struct mk_list names = {};
	_cleanup_(mk_experiment_free) struct mk_experiment experiment = {};
	int64_t a = make_project(&p, "a"), b = make_project(&p, "b"), e, f;

	CHECK_INT(mk_experiment_make(&p.call, p.m, a, "x", &e), 0);
	CHECK_INT(mk_experiment_make(&p.call, p.m, a, "x", &f), -EEXIST);
	CHECK_INT(mk_experiment_make(&p.call, p.m, b, "x", &f), 0);
	CHECK_INT(mk_experiment_make(&p.call, p.m, 99, "x", &f), -ENOENT);
	CHECK_INT(mk_experiment_rename(&p.call, p.m, e, "y"), 0);
	CHECK_INT(mk_experiment_list(&p.call, p.m, a, add_experiment, &names), 0);
	NEED(names.n == 1);
	CHECK_TEXT(names.v[0], "y");
	CHECK_INT(mk_experiment_find(&p.call, p.m, a, "x", &experiment), -ENOENT);
	CHECK_INT(mk_experiment_find(&p.call, p.m, a, "y", &experiment), 0);
	CHECK_INT(experiment.id, e);
	NEED(make_runs(&p, (struct made_run){.project_id = a, .experiment = "y", .name = "r"}));
	CHECK_INT(mk_experiment_remove(&p.call, p.m, e), -ENOTEMPTY);
}

static void run_is_read_whole(void)
{
	PLATFORM(p);
	_cleanup_(mk_run_free) struct mk_run run = {};
	_cleanup_buf_ struct mk_buf text = MK_BUF(MK_LIMIT_TEXT);
	int64_t project = make_project(&p, "a"), id, found = 0;

	id = make_runs(&p, (struct made_run){.project_id = project,
					     .experiment = "e",
					     .name = "train",
					     .status = MK_FAILED,
					     .uid = "1a2b3c4d00000000000000000000000f"});
	NEED(id);
	CHECK_INT(mk_run_get(&p.call, p.m, id, &run), 0);
	CHECK_TEXT(run.project, "a");
	CHECK_TEXT(run.experiment, "e");
	CHECK_TEXT(run.dir, "train.1a2b3c4d");
	CHECK_TEXT(run.uid, "1a2b3c4d00000000000000000000000f");
	CHECK_TEXT(run.reason, NULL);
	CHECK_INT(run.status, MK_FAILED);
	CHECK_INT(run.exit_code, 1);
	CHECK_INT(run.generation, 1);
	CHECK_INT(mk_run_text(&p.call, p.m, id, MK_RUN_SPEC, &text), 0);
	CHECK_TEXT(mk_buf_text(&text), "a: 1\n");
	CHECK_INT(mk_run_find(&p.call, p.m, project, "train.1a2b3c4d", false, &found), 0);
	CHECK_INT(found, id);
	CHECK_INT(mk_run_find(&p.call, p.m, project, "train.1a2b3c4d", true, &found), -ENOENT);
	CHECK_INT(mk_run_find(&p.call, p.m, project, "train", false, &found), -ENOENT);
	CHECK_INT(mk_run_latest(&p.call, p.m, project, &found), 0);
	CHECK_INT(found, id);
	CHECK_INT(mk_run_get(&p.call, p.m, 99, &run), -ENOENT);
}

static void runs_open_by_many_names(void)
{
	PLATFORM(p);
	int64_t a = make_project(&p, "a"), b = make_project(&p, "b"), found;
	int64_t one = make_runs(&p, (struct made_run){.project_id = a,
						      .experiment = "e",
						      .name = "x",
						      .job_id = "4711",
						      .uid = "1a2b3c4d00000000000000000000000f"});
	int64_t two = make_runs(&p, (struct made_run){.project_id = b,
						      .experiment = "e",
						      .name = "x",
						      .job_id = "4711",
						      .uid = "1a2b3c4e00000000000000000000000f"});
	const struct {
		const char *name;
		int64_t project, result;
	} cases[] = {
		{"x.1a2b3c4d", a, one},
		{"x.1a2b3c4d", 0, one},
		{"other.1a2b3c4d", a, one},
		{".1a2b3c4d", a, one},
		{"x.1a2b3c4d0000", a, one},
		{"1a2b3c4d00000000000000000000000f", a, one},
		{"1a2b3c4d00000000000000000000000f", b, -ENOENT},
		{"x.1a2b3c4e", 0, two},
		{"x.1a2b3c4", a, -ENOENT}, /* seven digits */
		{"1a2b3c4d", a, -ENOENT},  /* no text */
		{"x.1A2B3C4D", a, -ENOENT},
		{"4711", a, one},
		{"4711", b, two},
		{"4711", 0, -EEXIST},
		{"4712", a, -ENOENT},
		{"", a, -ENOENT},
	};

	NEED(one && two);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		int r = mk_run_resolve(&p.call, p.m, cases[i].project, cases[i].name, &found);

		CHECK_INT(r < 0 ? r : found, cases[i].result);
		if (r == -EEXIST)
			CHECK(strstr(p.call.error.text, "x.1a2b3c4d and x.1a2b3c4e") != NULL);
	}
}

static void listings_choose(void)
{
	PLATFORM(p);
	int64_t a = make_project(&p, "a");
	_cleanup_(mk_experiment_free) struct mk_experiment e = {};
	const struct made_run made[] = {
		{.project_id = a, .experiment = "e", .name = "done", .status = MK_FINISHED},
		{.project_id = a, .experiment = "f", .name = "lives", .status = MK_RUNNING},
		{.project_id = a, .experiment = "e", .name = "waits", .status = MK_SCHEDULED},
	};

	for (size_t i = 0; i < 3; i++)
		NEED(make_runs(&p, made[i]));
	NEED(mk_experiment_find(&p.call, p.m, a, "e", &e) == 0);

	const struct {
		struct mk_run_query query;
		size_t n;
		const char *first;
	} cases[] = {
		{{.project_id = a}, 3, "done"},
		{{}, 3, "done"},
		{{.project_id = a, .live = true}, 2, "lives"},
		{{.live = true}, 2, "lives"},
		{{.project_id = a, .experiment_id = e.id}, 2, "done"},
		{{.experiment_id = e.id, .live = true}, 1, "waits"},
		{{.project_id = a, .after = 1}, 2, "lives"},
		{{.project_id = a, .limit = 1}, 1, "done"},
		{{.project_id = a, .deleted = true}, 0, NULL},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		_cleanup_list_ struct mk_list dirs = {};

		CHECK_INT(mk_run_list(&p.call, p.m, &cases[i].query, add_run, &dirs), 0);
		CHECK_INT(dirs.n, cases[i].n);
		if (dirs.n && cases[i].first)
			CHECK(strncmp(dirs.v[0], cases[i].first, strlen(cases[i].first)) == 0);
	}
}

static void many_runs_are_listed_fast(void)
{
	PLATFORM(p);
	int64_t a = make_project(&p, "a");
	_cleanup_list_ struct mk_list dirs = {};
	struct mk_run_query query = {.project_id = a};

	NEED(make_runs(&p, (struct made_run){.project_id = a,
					     .experiment = "e",
					     .name = "r",
					     .status = MK_FINISHED,
					     .n = 20000}));

	int64_t before = mk_now_mono();

	CHECK_INT(mk_run_list(&p.call, p.m, &query, add_run, &dirs), 0);
	CHECK_INT(dirs.n, 20000);
	CHECK(mk_now_mono() - before < MK_SEC); /* with sanitizers; 100 000 without */
}

static void params_never_change(void)
{
	PLATFORM(p);
	int64_t a = make_project(&p, "a");
	int64_t id =
		make_runs(&p, (struct made_run){.project_id = a, .experiment = "e", .name = "r"});
	_cleanup_pairs_ struct mk_pairs pairs = {};
	_cleanup_buf_ struct mk_buf value = MK_BUF(MK_LIMIT_TEXT);
	_cleanup_(mk_run_free) struct mk_run run = {};

	NEED(id);
	CHECK_INT(mk_run_value_set(&p.call, p.m, id, MK_PARAM, "train/lr", "1e-5"), 0);
	CHECK_INT(mk_run_value_set(&p.call, p.m, id, MK_PARAM, "train/lr", "1e-5"), 0);
	CHECK_INT(mk_run_value_set(&p.call, p.m, id, MK_PARAM, "train/lr", "2"), -EEXIST);
	CHECK_TEXT(p.call.error.text,
		   "param \"train/lr\" is already \"1e-5\"; params never change");
	CHECK_INT(mk_run_value_set(&p.call, p.m, id, MK_PARAM, "a", ""), 0);
	CHECK_INT(mk_run_value_set(&p.call, p.m, id, MK_TAG, "note", "1"), 0);
	CHECK_INT(mk_run_value_set(&p.call, p.m, id, MK_TAG, "note", "two\nlines"), 0);
	CHECK_INT(mk_run_value_set(&p.call, p.m, 99, MK_TAG, "note", "1"), -ENOENT);
	CHECK_INT(mk_run_values(&p.call, p.m, id, MK_PARAM, &pairs), 0);
	NEED(pairs.n == 2);
	CHECK_TEXT(pairs.v[0].key, "a");
	CHECK_TEXT(pairs.v[1].value, "1e-5");
	CHECK_INT(mk_run_value(&p.call, p.m, id, MK_TAG, "note", &value), 0);
	CHECK_TEXT(mk_buf_text(&value), "two\nlines");
	CHECK_INT(mk_run_value(&p.call, p.m, id, MK_TAG, "none", &value), -ENOENT);
	CHECK_INT(mk_run_get(&p.call, p.m, id, &run), 0);
	CHECK_INT(run.generation, 5);
}

static void keys_are_checked(void)
{
	static const char *const bad[] = {"",	    "/a",  "a/",   "a//b", ".",
					  "a/../b", "a/.", "a\nb", "\xff", NULL};
	PLATFORM(p);
	int64_t a = make_project(&p, "a");
	int64_t id =
		make_runs(&p, (struct made_run){.project_id = a, .experiment = "e", .name = "r"});
	char big[8002];

	NEED(id);
	for (size_t i = 0; bad[i]; i++)
		CHECK_INT(mk_run_value_set(&p.call, p.m, id, MK_TAG, bad[i], "1"), -EINVAL);
	memset(big, 'x', sizeof(big));
	big[8001] = 0;
	CHECK_INT(mk_run_value_set(&p.call, p.m, id, MK_TAG, "k", big), -EINVAL);
	big[8000] = 0;
	CHECK_INT(mk_run_value_set(&p.call, p.m, id, MK_TAG, "k", big), 0);
	big[251] = 0;
	CHECK_INT(mk_run_value_set(&p.call, p.m, id, MK_TAG, big, "1"), -EINVAL);
	big[250] = 0;
	CHECK_INT(mk_run_value_set(&p.call, p.m, id, MK_TAG, big, "1"), 0);
	CHECK_INT(mk_run_value_set(&p.call, p.m, id, MK_TAG, "a..b/.c", "1"), 0);
}

static void reading_only_is_erofs(void)
{
	PLATFORM(p);
	struct mantik_options options = {
		.data_dir = p.data,
		.cache_dir = p.cache,
		.config_dir = p.config,
		.read_only = true,
	};
	struct mantik *reader = NULL;
	int64_t id;

	make_project(&p, "a");
	NEED(mantik_open(&p.call, &options, &reader) == 0);
	CHECK_INT(mk_project_make(&p.call, reader, "b", &id), -EROFS);
	CHECK_INT(mk_project_remove(&p.call, reader, 1), -EROFS);
	mantik_close(reader);
}

static enum mk_status set_to;

static int set_status(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	int r = mk_domain_run(call, conn, "UPDATE runs SET status = ?2 WHERE id = ?1",
			      *(int64_t *)arg, set_to);

	return r < 0 ? r : mk_run_touch(call, conn, *(int64_t *)arg, MK_TOUCH_ROW);
}

static int set_workdir(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn, "UPDATE runs SET workdir = ? WHERE id = 1", &stmt);

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, arg);
	return mk_exec(call, stmt);
}

static int64_t number_of(struct platform *p, const char *sql)
{
	struct mk_conn *conn;
	int64_t n = -1;

	if (mk_db_reader(&p->call, p->m->db, &conn) < 0 ||
	    mk_domain_int(&p->call, conn, sql, 0, 0, &n) < 0)
		printf("# %s\n", p->call.error.text);
	return n;
}

static void verbs_keep_their_order(void)
{
	PLATFORM(p);
	int64_t a = make_project(&p, "a"), found;
	int64_t id = make_runs(&p, (struct made_run){.project_id = a,
						     .experiment = "e",
						     .name = "r",
						     .status = MK_RUNNING,
						     .uid = "1a2b3c4d00000000000000000000000f"});

	NEED(id);
	CHECK_INT(mk_run_delete(&p.call, p.m, id), -EBUSY);
	CHECK_TEXT(p.call.error.text, "the run is RUNNING; `echo cancel > ctl` ends it");
	CHECK_INT(mk_run_clean(&p.call, p.m, id), -EBUSY);
	CHECK_INT(mk_run_gc(&p.call, p.m, id, 0), -EBUSY);
	CHECK_INT(mk_run_cancel(&p.call, p.m, id), 0);
	CHECK_INT(mk_run_cancel(&p.call, p.m, id), 0);
	CHECK_INT(number_of(&p, "SELECT count(*) FROM intents WHERE verb = 'cancel'"), 1);
	CHECK_INT(mk_run_cancel(&p.call, p.m, 99), -ENOENT);
	set_to = MK_KILLED;
	CHECK_INT(mk_db_write(&p.call, p.m->db, MK_KILLSAFE, set_status, &id), 0);
	CHECK_INT(mk_run_cancel(&p.call, p.m, id), -ESRCH);
	CHECK_INT(mk_run_restore(&p.call, p.m, id), -ENOENT);
	CHECK_INT(mk_run_clean(&p.call, p.m, id), 0); /* nothing to clean */
	CHECK_INT(number_of(&p, "SELECT count(*) FROM intents WHERE verb = 'clean'"), 0);
	CHECK_INT(mk_run_delete(&p.call, p.m, id), 0);
	CHECK_INT(mk_run_delete(&p.call, p.m, id), 0);
	CHECK_INT(mk_run_find(&p.call, p.m, a, "r.1a2b3c4d", false, &found), -ENOENT);
	CHECK_INT(mk_run_find(&p.call, p.m, a, "r.1a2b3c4d", true, &found), 0);
	CHECK_INT(mk_run_value_set(&p.call, p.m, id, MK_TAG, "k", "v"), -EROFS);
	CHECK_INT(mk_run_log_metric(&p.call, p.m, id, "k", "1", 1), -EROFS);
	CHECK_INT(mk_run_gc(&p.call, p.m, 0, 3600 * MK_SEC), 0); /* too young */
	CHECK_INT(mk_run_restore(&p.call, p.m, id), 0);
	CHECK_INT(mk_run_find(&p.call, p.m, a, "r.1a2b3c4d", false, &found), 0);
	CHECK_INT(mk_run_value_set(&p.call, p.m, id, MK_TAG, "k", "v"), 0);
}

static void gc_leaves_nothing_and_nothing_else(void)
{
	PLATFORM(p);
	const char *uid = "1a2b3c4d00000000000000000000000f";
	int64_t a = make_project(&p, "a");
	int64_t id = make_runs(&p, (struct made_run){.project_id = a,
						     .experiment = "e",
						     .name = "r",
						     .status = MK_FINISHED,
						     .uid = uid});
	_cleanup_free_ char *work = tmpdir_path(mantik_work_dir(p.m), uid);
	_cleanup_free_ char *runs = tmpdir_path(p.data, "runs"), *record = tmpdir_path(runs, uid);
	_cleanup_free_ char *inside = tmpdir_path(record, "stdout"), *link = tmpdir_path(work, "l");
	_cleanup_free_ char *other = tmpdir_path(p.dir, "other"), *kept = tmpdir_path(other, "f");

	NEED(id == 1);
	NEED(mkdir(work, 0700) == 0 && mkdir(record, 0700) == 0 && mkdir(other, 0700) == 0);
	NEED(tmpdir_write(inside, "x", 1) && tmpdir_write(kept, "x", 1) &&
	     symlink(other, link) == 0);
	CHECK_INT(mk_run_value_set(&p.call, p.m, id, MK_PARAM, "k", "v"), 0);
	CHECK_INT(mk_run_log_metric(&p.call, p.m, id, "m", "1\n2\n", 4), 0);
	CHECK_INT(mk_run_delete(&p.call, p.m, id), 0);
	CHECK_INT(mk_db_write(&p.call, p.m->db, MK_KILLSAFE, set_workdir, other), 0);
	CHECK_INT(mk_run_gc(&p.call, p.m, id, 0), -EPERM); /* not a directory of ours */
	CHECK_INT(mk_db_write(&p.call, p.m->db, MK_KILLSAFE, set_workdir, work), 0);
	CHECK_INT(mk_run_gc(&p.call, p.m, id, 0), 1);
	CHECK(access(work, F_OK) < 0 && access(record, F_OK) < 0);
	CHECK_INT(access(kept, F_OK), 0);
	CHECK_INT(number_of(&p, "SELECT (SELECT count(*) FROM runs) + (SELECT count(*) FROM points)"
				" + (SELECT count(*) FROM metrics) + (SELECT count(*) FROM params)"
				" + (SELECT count(*) FROM run_texts)"),
		  0);
	CHECK_INT(mk_run_gc(&p.call, p.m, id, 0), -ENOENT);
	CHECK_INT(mk_run_gc(&p.call, p.m, 0, 0), 0);
}

/* tail -f begun right after a submission: the log's file comes later. */
static void log_that_has_not_begun_is_followed(void)
{
	PLATFORM(p);
	const char *uid = "1a2b3c4d00000000000000000000000f";
	int64_t id = make_runs(&p, (struct made_run){.project_id = make_project(&p, "a"),
						     .experiment = "e",
						     .name = "r",
						     .status = MK_SCHEDULED,
						     .uid = uid});
	_cleanup_free_ char *runs = tmpdir_path(p.data, "runs"), *record = tmpdir_path(runs, uid);
	_cleanup_free_ char *file = tmpdir_path(record, "stdout");
	_cleanup_(mk_blob_closep) struct mk_blob *blob = NULL;
	struct mk_blob_stat st = {};
	char text[16] = "";

	NEED(mk_run_log_open(&p.call, p.m, id, MK_LOG_STDOUT, &blob) == 0);
	CHECK_INT(mk_blob_read(&p.call, blob, text, sizeof(text), 0), 0);
	CHECK_INT(mk_blob_stat(&p.call, blob, &st), 0);
	CHECK(st.size == 0 && st.growing);
	NEED(mkdir(record, 0700) == 0 && tmpdir_write(file, "begun\n", 6));
	CHECK_INT(mk_blob_stat(&p.call, blob, &st), 0);
	CHECK_INT(st.size, 6);
	CHECK_INT(mk_blob_read(&p.call, blob, text, sizeof(text), 0), 6);
	CHECK_TEXT(text, "begun\n");
}

int main(void)
{
	return RUN(TEST(projects_come_and_go), TEST(names_are_checked),
		   TEST(experiments_belong_to_a_project), TEST(run_is_read_whole),
		   TEST(runs_open_by_many_names), TEST(listings_choose),
		   TEST(many_runs_are_listed_fast), TEST(params_never_change),
		   TEST(keys_are_checked), TEST(verbs_keep_their_order),
		   TEST(gc_leaves_nothing_and_nothing_else), TEST(reading_only_is_erofs),
		   TEST(log_that_has_not_begun_is_followed));
}
