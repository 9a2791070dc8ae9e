/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Submission over a real git repository: what becomes a run, and what is refused with which
 * sentence and leaves everything as it was.
 */
#include <mantik/code.h>
#include <mantik/text.h>

#include <signal.h>
#include <sys/wait.h>

#include "core.h"
#include "format/plan.h"
#include "platform.h"

#define N(a) (sizeof(a) / sizeof(*(a)))

struct world {
	struct platform p;
	int64_t project;
	char *up; /* the upstream repository */
	char head[41];
};

static const char fill_repository[] =
	"mkdir -p '%1$s' && cd '%1$s' && git init -q -b main . && mkdir -p configs sub && "
	"printf 'name: p\\nentry_points:\\n  train:\\n    parameters:\\n      lr: {type: float, "
	"default: 7e-6}\\n      epochs: int\\n    command: \"python train.py --lr {lr} --epochs "
	"{epochs}\"\\n  eval:\\n    command: echo eval\\n' > MLproject && "
	"printf 'Resources:\\n  Runtime: 2h\\nExclude: [\"*.sif\"]\\n' > configs/local.yaml && "
	"printf 'UnicoreApiUrl: https://s.example/JUWELS/rest/core\\nResources: {Queue: q}\\n' > "
	"configs/far.yaml && printf 'Resources: {Queue: batch}\\n' > configs/queue.yaml && "
	"printf 'Resorces: {}\\n' > configs/bad.yaml && "
	"git add -A && git -c user.name=a -c user.email=a@b commit -q -m one && git branch dev && "
	"git rev-parse HEAD > ../head";

static void world_done(struct world *w)
{
	platform_done(&w->p);
	free(w->up);
}

static bool make_repository(struct world *w, const char *name)
{
	_cleanup_buf_ struct mk_buf yaml = MK_BUF(4096);
	int64_t id = 0;

	(void)mk_buf_printf(&yaml, "uri: %s\n", w->up);
	CHECK_INT(mk_repository_make(&w->p.call, w->p.m, w->project, name, &id), 0);
	CHECK_INT(mk_text_put(&w->p.call, w->p.m, MK_TEXT_REPOSITORY, id, yaml.data, yaml.len, 0),
		  0);
	return id > 0;
}

static bool world_init(struct world *w)
{
	_cleanup_buf_ struct mk_buf script = MK_BUF(8192);
	_cleanup_free_ char *head = NULL;

	*w = (struct world){};
	if (!platform_init(&w->p))
		return false;
	w->up = tmpdir_path(w->p.dir, "up");
	head = tmpdir_path(w->p.dir, "head");
	(void)mk_buf_printf(&script, fill_repository, w->up);
	CHECK_INT(system(mk_buf_text(&script)), 0);

	FILE *f = fopen(head, "r");

	CHECK(f && fread(w->head, 1, 40, f) == 40);
	if (f)
		fclose(f);
	CHECK_INT(mk_project_make(&w->p.call, w->p.m, "demo", &w->project), 0);
	return make_repository(w, "code");
}

#define WORLD(w)                              \
	_cleanup_(world_done) struct world w; \
	NEED(world_init(&w))

static int submit(struct world *w, const char *text, struct mk_buf *answer)
{
	const struct mk_submit_options options = {.source = "runs/new"};

	mk_error_clear(&w->p.call);
	mk_buf_truncate(answer, 0);
	return mk_submit(&w->p.call, w->p.m, w->project, text, strlen(text), &options, answer);
}

static int64_t count(struct world *w, const char *sql)
{
	struct mk_conn *conn;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;

	if (mk_db_reader(&w->p.call, w->p.m->db, &conn) < 0 ||
	    mk_prepare(&w->p.call, conn, sql, &stmt) < 0 || mk_step(&w->p.call, stmt) <= 0)
		return -1;
	return mk_col_int(stmt, 0);
}

/* Everything a submission could leave behind. */
static int64_t traces(struct world *w)
{
	return count(w, "SELECT (SELECT count(*) FROM runs) + (SELECT count(*) FROM run_texts) +"
			" (SELECT count(*) FROM params) + (SELECT count(*) FROM intents) +"
			" (SELECT count(*) FROM run_after) + (SELECT count(*) FROM experiments) +"
			" (SELECT count(*) FROM submissions) + (SELECT count(*) FROM changes WHERE "
			"kind IN ('run', 'experiment'))");
}

static int get_run(struct world *w, const struct mk_buf *answer, struct mk_run *ret)
{
	_cleanup_free_ char *dir =
		mk_strndup(mk_buf_text(answer), strcspn(mk_buf_text(answer), "\n"));
	int64_t id = 0;
	int r = mk_run_find(&w->p.call, w->p.m, w->project, dir, false, &id);

	return r < 0 ? r : mk_run_get(&w->p.call, w->p.m, id, ret);
}

static void a_spec_becomes_a_run(void)
{
	WORLD(w);
	_cleanup_buf_ struct mk_buf answer = MK_BUF(10000), spec = MK_BUF(10000),
				    again = MK_BUF(10000);
	_cleanup_(mk_run_free) struct mk_run run = {};
	_cleanup_buf_ struct mk_buf script = MK_BUF(10000), value = MK_BUF(100);

	CHECK_INT(
		submit(&w,
		       "name: lr-{lr}\nexperiment: first\ncode: {branch: dev}\nentry_point: train\n"
		       "parameters: {epochs: 3}\nbackend_config: configs/{site}.yaml\n"
		       "artifacts: [out.csv]\n",
		       &answer),
		0);
	CHECK_TEXT(w.p.call.error.text, NULL);
	NEED(get_run(&w, &answer, &run) == 0);
	CHECK_TEXT(run.name, "lr-7e-6");
	CHECK(strncmp(run.dir, "lr-7e-6.", 8) == 0 && strlen(run.dir) == 16);
	CHECK_INT(run.status, MK_SCHEDULED);
	CHECK_TEXT(run.experiment, "first");
	CHECK_TEXT(run.commit, w.head);
	CHECK_TEXT(run.branch, "dev");
	CHECK_TEXT(run.repository, "code");
	CHECK_TEXT(run.entry_point, "train");
	CHECK_TEXT(run.site, "local");
	CHECK(!run.dirty);
	CHECK_INT(count(&w, "SELECT count(*) FROM intents WHERE verb = 'submit' AND step = 0"), 1);
	CHECK_INT(mk_run_value(&w.p.call, w.p.m, run.id, MK_PARAM, "lr", &value), 0);
	CHECK_TEXT(mk_buf_text(&value), "7e-6");
	CHECK_INT(mk_run_text(&w.p.call, w.p.m, run.id, MK_RUN_SCRIPT, &script), 0);
	CHECK(strstr(mk_buf_text(&script), "python train.py --lr 7e-6 --epochs 3"));
	CHECK_INT(run.script_len, script.len);

	/* Its spec.yaml runs it again exactly. */
	CHECK_INT(mk_run_text(&w.p.call, w.p.m, run.id, MK_RUN_SPEC, &spec), 0);
	CHECK(strstr(mk_buf_text(&spec), w.head));
	CHECK_INT(submit(&w, mk_buf_text(&spec), &answer), 0);
	CHECK_TEXT(w.p.call.error.text, NULL);

	_cleanup_(mk_run_free) struct mk_run rerun = {};

	NEED(get_run(&w, &answer, &rerun) == 0);
	CHECK(rerun.id != run.id);
	CHECK_INT(mk_run_text(&w.p.call, w.p.m, rerun.id, MK_RUN_SPEC, &again), 0);
	CHECK_TEXT(mk_buf_text(&again), mk_buf_text(&spec));
	CHECK_INT(count(&w, "SELECT count(DISTINCT script || plan) FROM run_texts,"
			    " (SELECT 1 LIMIT 1)"),
		  1);
}

static void the_same_text_at_once_is_one_submission(void)
{
	WORLD(w);
	_cleanup_buf_ struct mk_buf a = MK_BUF(1000), b = MK_BUF(1000);
	static const char text[] = "entry_point: eval\n";

	CHECK_INT(submit(&w, text, &a), 0);
	CHECK_INT(submit(&w, text, &b), 0);
	CHECK_TEXT(mk_buf_text(&b), mk_buf_text(&a));
	CHECK_INT(count(&w, "SELECT count(*) FROM runs"), 1);
	CHECK_INT(submit(&w, "entry_point: eval\nname: other\n", &b), 0);
	CHECK_INT(count(&w, "SELECT count(*) FROM runs"), 2);

	/* A rerun is meant each time. */
	struct mk_submit_options options = {.source = "spec.yaml", .rerun_of = "x.12345678"};

	for (int i = 0; i < 2; i++)
		CHECK_INT(mk_submit(&w.p.call, w.p.m, w.project, text, strlen(text), &options, &b),
			  0);
	CHECK_INT(count(&w, "SELECT count(*) FROM runs WHERE rerun_of = 'x.12345678'"), 2);
	options = (struct mk_submit_options){.source = "s", .dry_run = true};
	mk_buf_truncate(&b, 0);
	CHECK_INT(mk_submit(&w.p.call, w.p.m, w.project, text, strlen(text), &options, &b), 0);
	CHECK(strstr(mk_buf_text(&b), "eval: experiment default, site local, commit "));
	CHECK_INT(count(&w, "SELECT count(*) FROM runs"), 4);
}

static void mistakes_are_refused_and_leave_nothing(void)
{
	static const struct {
		const char *text, *error; /* %s: 8 digits of the commit */
		int code;
	} rows[] = {
		{"", "runs/new: nothing to run: write a run spec, or a script that begins with #!",
		 0},
		{"name: a\nentry_point: trian\n",
		 "runs/new:2: MLproject has no entry point \"trian\", did you mean \"train\"?", 0},
		{"code: {repository: cod}\nentry_point: eval\n",
		 "runs/new:1: the project has no repository \"cod\", did you mean \"code\"?", 0},
		{"code: {repository: zzzzz}\nentry_point: eval\n",
		 "runs/new:1: the project has no repository \"zzzzz\"; there is: code", 0},
		{"mlproject: MLprojekt\n",
		 "runs/new:1: commit %s has no file MLprojekt, did you mean \"MLproject\"?", 0},
		{"mlproject: ../MLproject\n",
		 "runs/new:1: mlproject \"../MLproject\" leads out of the repository", 0},
		{"mlproject: /MLproject\n",
		 "runs/new:1: mlproject must be a path in the repository, not the absolute "
		 "\"/MLproject\"",
		 0},
		{"entry_point: eval\nbackend_config: configs/x.yaml\n",
		 "runs/new:2: commit %s has no file configs/x.yaml", 0},
		{"entry_point: eval\nbackend_config: configs/{sit}.yaml\n",
		 "runs/new:2: backend_config: {sit} is no parameter of this run, did you mean "
		 "{site}?",
		 0},
		{"entry_point: eval\nbackend_config: configs/far.yaml\n",
		 "configs/far.yaml names the site https://s.example/JUWELS/rest/core, which is not "
		 "connected here; "
		 "\"site: local\" in the spec runs it on this machine",
		 0},
		{"entry_point: eval\nsite: locl\n", "runs/new:2: no site \"locl\"; there is: local",
		 0},
		{"entry_point: eval\nbackend_config: configs/queue.yaml\n",
		 "runs/new:2: site local has no queue \"batch\"; there is: default", 0},
		{"entry_point: eval\nbackend_config: configs/bad.yaml\n",
		 "configs/bad.yaml:1: unknown key \"Resorces\", did you mean \"Resources\"?", 0},
		{"entry_point: train\n",
		 "runs/new:1: entry point train of MLproject: no value for the parameter epochs",
		 0},
		{"entry_point: train\nparameters: {epochs: 1, epocs: 2}\n",
		 "runs/new:2: entry point train of MLproject has no parameter \"epocs\", did you "
		 "mean "
		 "\"epochs\"?",
		 0},
		{"entry_point: eval\nafter: nothing.12345678\n",
		 "runs/new:2: after: no run \"nothing.12345678\" in this project: write its name "
		 "in runs/, NAME.xxxxxxxx", 0},
		{"entry_point: eval\nname: \"{x\"\n",
		 "runs/new:2: name: a { without }; a brace is {{", 0},
		{"entry_point: eval\nname: \"a\\nb\"\n",
		 "runs/new:2: name holds a line end or another control character", 0},
		{"command: echo {x}\n",
		 "runs/new:1: command: {x} is no parameter; a brace of the command itself is "
		 "written {{ or "
		 "}}",
		 0},
		{"name: x\ndata: [a]\n", "not supported yet: data (line 2)", EOPNOTSUPP},
		{"code: {branch: nope}\nentry_point: eval\n", NULL, 0},
		{"code: {commit: 0000000000000000000000000000000000000001}\nentry_point: eval\n",
		 NULL, 0},
		{"code: {path: /nonexistent/dir}\nentry_point: eval\n", NULL, 0},
		{"entry_point: eval\n---\nentry_point: evil\n",
		 "runs/new:3: MLproject has no entry point \"evil\", did you mean \"eval\"?", 0},
		{"entry_point: eval\nsweep: {zz: [1]}\n",
		 "runs/new:2: entry point eval of MLproject has no parameter \"zz\"", 0},
	};
	WORLD(w);
	_cleanup_buf_ struct mk_buf answer = MK_BUF(1000);

	for (size_t i = 0; i < N(rows); i++) {
		_cleanup_buf_ struct mk_buf want = MK_BUF(1000);
		int64_t before = traces(&w);
		int r = submit(&w, rows[i].text, &answer);

		CHECK_INT(r, -(rows[i].code ? rows[i].code : EINVAL));
		CHECK_INT(w.p.call.error.code, -r);
		CHECK_INT(answer.len, 0);
		CHECK_INT(traces(&w), before);
		if (!rows[i].error) {
			/* The sentence is another room's; that it blames the text is ours. */
			CHECK(strncmp(w.p.call.error.text, "runs/new:1: ", 12) == 0);
			continue;
		}
		for (const char *p = rows[i].error; *p; p++) {
			if (p[0] == '%' && p[1] == 's')
				(void)mk_buf_put(&want, w.head, 8), p++;
			else
				(void)mk_buf_putc(&want, *p);
		}
		CHECK_TEXT(w.p.call.error.text, mk_buf_text(&want));
	}
}

static void sweeps_and_documents_make_many(void)
{
	WORLD(w);
	_cleanup_buf_ struct mk_buf answer = MK_BUF(100000);

	CHECK_INT(submit(&w,
			 "entry_point: train\nname: \"{lr}-{epochs}\"\nsweep: {lr: [1e-5, 3e-5], "
			 "epochs: [1, "
			 "2]}\n---\nentry_point: eval\nexperiment: other\n",
			 &answer),
		  0);
	CHECK_TEXT(w.p.call.error.text, NULL);
	CHECK_INT(count(&w, "SELECT count(*) FROM runs"), 5);
	CHECK_INT(count(&w, "SELECT count(*) FROM params"), 8);
	CHECK_INT(count(&w, "SELECT count(*) FROM experiments WHERE touched = 1"), 2);
	CHECK_INT(count(&w, "SELECT count(*) FROM runs WHERE name = '3e-5-2'"), 1);
	CHECK(strncmp(mk_buf_text(&answer), "1e-5-1.", 7) == 0);
}

static void defaults_fill_what_is_left_out(void)
{
	WORLD(w);
	_cleanup_buf_ struct mk_buf answer = MK_BUF(1000);
	_cleanup_(mk_run_free) struct mk_run run = {}, other = {};
	static const char defaults[] =
		"entry_point: train\nparameters: {epochs: 7}\nexperiment: base\naccount: acc\n";

	CHECK_INT(mk_text_put(&w.p.call, w.p.m, MK_TEXT_DEFAULTS, w.project, defaults,
			      strlen(defaults), 0),
		  0);
	CHECK_INT(submit(&w, "name: a\n", &answer), 0);
	CHECK_TEXT(w.p.call.error.text, NULL);
	NEED(get_run(&w, &answer, &run) == 0);
	CHECK_TEXT(run.entry_point, "train");
	CHECK_TEXT(run.experiment, "base");
	CHECK_TEXT(run.account, "acc");
	/* eval has no epochs: what defaults give to others is no mistake. */
	CHECK_INT(submit(&w, "name: a\nentry_point: eval\n", &answer), 0);
	CHECK_TEXT(w.p.call.error.text, NULL);
	NEED(get_run(&w, &answer, &other) == 0);
	CHECK_TEXT(other.entry_point, "eval");
}

static void commands_and_scripts_need_no_mlproject(void)
{
	WORLD(w);
	_cleanup_buf_ struct mk_buf answer = MK_BUF(1000), script = MK_BUF(10000),
				    spec = MK_BUF(10000);
	_cleanup_(mk_run_free) struct mk_run run = {}, plain = {}, bare = {};
	static const char text[] = "#!/bin/sh\n#SBATCH -N 4\necho \"a: {b}\"\n";

	CHECK_INT(
		submit(&w, "command: echo {x}\nparameters: {x: \"$(touch y); \\\"'\"}\n", &answer),
		0);
	CHECK_TEXT(w.p.call.error.text, NULL);
	NEED(get_run(&w, &answer, &run) == 0);
	CHECK_TEXT(run.name, "command");
	CHECK_TEXT(run.commit, w.head);
	CHECK_INT(mk_run_text(&w.p.call, w.p.m, run.id, MK_RUN_SCRIPT, &script), 0);
	CHECK(strstr(mk_buf_text(&script), "echo '$(touch y); \"'\"'\"''"));

	CHECK_INT(submit(&w, text, &answer), 0);
	CHECK_TEXT(w.p.call.error.text, NULL);
	NEED(get_run(&w, &answer, &plain) == 0);
	mk_buf_truncate(&script, 0);
	CHECK_INT(mk_run_text(&w.p.call, w.p.m, plain.id, MK_RUN_SCRIPT, &script), 0);
	CHECK_TEXT(mk_buf_text(&script), text);
	CHECK_INT(mk_run_text(&w.p.call, w.p.m, plain.id, MK_RUN_SPEC, &spec), 0);
	CHECK_INT(submit(&w, mk_buf_text(&spec), &answer), 0);

	CHECK_INT(submit(&w, "command: 'true'\ncode: {}\n", &answer), 0);
	CHECK_TEXT(w.p.call.error.text, NULL);
	NEED(get_run(&w, &answer, &bare) == 0);
	CHECK_TEXT(bare.commit, NULL);
}

static void directories_are_snapshots(void)
{
	WORLD(w);
	_cleanup_buf_ struct mk_buf answer = MK_BUF(1000), text = MK_BUF(8192),
				    spec = MK_BUF(10000);
	_cleanup_(mk_run_free) struct mk_run run = {}, again = {};

	(void)mk_buf_printf(
		&text, "cd '%s' && echo changed >> configs/local.yaml && echo new > new.py", w.up);
	CHECK_INT(system(mk_buf_text(&text)), 0);
	mk_buf_truncate(&text, 0);
	(void)mk_buf_printf(&text, "code: {path: %s}\nentry_point: eval\n", w.up);
	CHECK_INT(submit(&w, mk_buf_text(&text), &answer), 0);
	CHECK_TEXT(w.p.call.error.text, NULL);
	NEED(get_run(&w, &answer, &run) == 0);
	CHECK(run.dirty);
	CHECK(run.commit && strcmp(run.commit, w.head) != 0);

	_cleanup_free_ char *diff = NULL;
	_cleanup_buf_ struct mk_buf path = MK_BUF(4096);

	(void)mk_buf_printf(&path, "grep -q '^+changed' '%s/runs/%s/code.diff'", w.p.data, run.uid);
	CHECK_INT(system(mk_buf_text(&path)), 0);

	/* Again: the same snapshot, not what the directory holds now. */
	CHECK_INT(mk_run_text(&w.p.call, w.p.m, run.id, MK_RUN_SPEC, &spec), 0);
	mk_buf_truncate(&path, 0);
	(void)mk_buf_printf(&path, "echo more >> '%s/new.py'", w.up);
	CHECK_INT(system(mk_buf_text(&path)), 0);
	CHECK_INT(submit(&w, mk_buf_text(&spec), &answer), 0);
	CHECK_TEXT(w.p.call.error.text, NULL);
	NEED(get_run(&w, &answer, &again) == 0);
	CHECK_TEXT(again.commit, run.commit);
	CHECK(again.dirty);
	mk_buf_truncate(&path, 0);
	(void)mk_buf_printf(&path, "cmp '%s/runs/%s/code.diff' '%s/runs/%s/code.diff'", w.p.data,
			    run.uid, w.p.data, again.uid);
	CHECK_INT(system(mk_buf_text(&path)), 0);
}

static void several_repositories_are_named(void)
{
	WORLD(w);
	_cleanup_buf_ struct mk_buf answer = MK_BUF(1000);

	NEED(make_repository(&w, "b"));
	CHECK_INT(submit(&w, "entry_point: eval\n", &answer), -EINVAL);
	CHECK_TEXT(w.p.call.error.text,
		   "runs/new:1: code: {repository: …} is needed: the project has b, code");
}

static void a_run_waits_for_another(void)
{
	WORLD(w);
	_cleanup_buf_ struct mk_buf answer = MK_BUF(1000), text = MK_BUF(1000);
	_cleanup_(mk_run_free) struct mk_run run = {};

	CHECK_INT(submit(&w, "entry_point: eval\nname: prep\n", &answer), 0);
	(void)mk_buf_printf(&text, "entry_point: eval\nafter: [%.*s]\n", (int)answer.len - 1,
			    mk_buf_text(&answer));
	CHECK_INT(submit(&w, mk_buf_text(&text), &answer), 0);
	CHECK_TEXT(w.p.call.error.text, NULL);
	NEED(get_run(&w, &answer, &run) == 0);
	CHECK(run.reason && strncmp(run.reason, "waits until FINISHED: prep.", 27) == 0);
	CHECK_INT(count(&w, "SELECT count(*) FROM run_after"), 1);
}

static void a_run_nobody_works_on_says_why(void)
{
	WORLD(w);
	_cleanup_buf_ struct mk_buf answer = MK_BUF(1000);
	_cleanup_(mk_run_free) struct mk_run run = {};

	/* No mantikd beside this test, and none installed. */
	unsetenv("MANTIKD");
	w.p.m->no_daemon = false;
	CHECK_INT(submit(&w, "entry_point: eval\n", &answer), 0);
	CHECK_TEXT(w.p.call.error.text, NULL);
	NEED(get_run(&w, &answer, &run) == 0);
	if (!run.reason)
		SKIP("a mantikd is installed");
	CHECK(strstr(run.reason, "mantikd is not installed"));
	CHECK_INT(run.status, MK_SCHEDULED);
}

/* Submits until it is killed; each answer goes to the pipe once it was given. */
static void submit_for_ever(struct world *w, int fd, int round)
{
	NEED(platform_open(&w->p) == 0);
	for (int i = 0;; i++) {
		_cleanup_buf_ struct mk_buf text = MK_BUF(1000), answer = MK_BUF(10000);

		(void)mk_buf_printf(
			&text,
			"name: k%d-%d\nentry_point: train\ncode: {commit: %s}\nsweep: {epochs: "
			"[1, 2, 3]}\n",
			round, i, w->head);
		NEED(submit(w, mk_buf_text(&text), &answer) == 0);
		if (write(fd, answer.data, answer.len) != (ssize_t)answer.len)
			_exit(1);
	}
}

static void a_kill_loses_nothing_acknowledged_and_halves_nothing(void)
{
	enum { ROUNDS = 12 };
	WORLD(w);
	int64_t acknowledged = 0;

	for (int round = 0; round < ROUNDS; round++) {
		char bytes[4096];
		ssize_t n;
		int fds[2], status;

		mantik_close(mk_steal(&w.p.m));
		NEED(pipe(fds) == 0);

		pid_t pid = fork();

		if (pid == 0) {
			close(fds[0]);
			submit_for_ever(&w, fds[1], round);
			_exit(1);
		}
		close(fds[1]);
		/* Killed at another moment each time, after its first answer. */
		for (int64_t lines = 0, end = 0; (n = read(fds[0], bytes, sizeof(bytes))) > 0;) {
			for (ssize_t i = 0; i < n; i++)
				lines += bytes[i] == '\n';
			acknowledged += lines;
			lines = 0;
			if (!end) {
				end = mk_now_mono() + round * MK_MS;
				while (mk_now_mono() < end)
					;
				kill(pid, SIGKILL);
			}
		}
		close(fds[0]);
		CHECK(waitpid(pid, &status, 0) == pid);
		CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		NEED(platform_open(&w.p) == 0);
		/* All three of a write or none, each with all that belongs to it. */
		CHECK_INT(count(&w, "SELECT count(*) FROM (SELECT 1 FROM runs GROUP BY name HAVING"
				    " count(*) != 3)"),
			  0);
		CHECK_INT(count(&w, "SELECT count(*) FROM runs WHERE"
				    " id NOT IN (SELECT run_id FROM run_texts) OR"
				    " id NOT IN (SELECT run_id FROM intents) OR"
				    " (SELECT count(*) FROM params WHERE run_id = id) != 2"),
			  0);
	}
	CHECK(acknowledged >= 3 * ROUNDS);
	CHECK(count(&w, "SELECT count(*) FROM runs") >= acknowledged);
}

static void who_may_not_wait_is_punted_before_anything(void)
{
	WORLD(w);
	_cleanup_buf_ struct mk_buf answer = MK_BUF(1000);
	int64_t before = traces(&w);

	w.p.call.may_wait = NULL;
	CHECK_INT(submit(&w, "entry_point: eval\n", &answer), MK_PUNT);
	CHECK_TEXT(w.p.call.punt, "git:file");
	CHECK_INT(traces(&w), before);
	w.p.call.may_wait = "git:file";
	CHECK_INT(submit(&w, "entry_point: eval\n", &answer), 0);
}

int main(void)
{
	return RUN(TEST(a_spec_becomes_a_run), TEST(the_same_text_at_once_is_one_submission),
		   TEST(mistakes_are_refused_and_leave_nothing),
		   TEST(sweeps_and_documents_make_many), TEST(defaults_fill_what_is_left_out),
		   TEST(commands_and_scripts_need_no_mlproject), TEST(directories_are_snapshots),
		   TEST(several_repositories_are_named), TEST(a_run_waits_for_another),
		   TEST(a_run_nobody_works_on_says_why),
		   TEST(a_kill_loses_nothing_acknowledged_and_halves_nothing),
		   TEST(who_may_not_wait_is_punted_before_anything));
}
