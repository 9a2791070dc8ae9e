/* SPDX-License-Identifier: Apache-2.0 */
/* core/connect/compute/local: the keeper of a job, with real processes. */
#include <poll.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/file.h"
#include "connect/compute/local/cgroup.h"
#include "connect/compute/local/local.h"
#include "test.h"
#include "tmpdir.h"

struct job {
	char *dir; /* record and working directory */
	struct mk_call call;
	int fd;
};

static void job_done(struct job *job)
{
	/* A shepherd killed early left its group behind. */
	_cleanup_free_ char *group = mk_cgroup_make(strrchr(job->dir, '/') + 1);

	if (group)
		mk_cgroup_remove(group);
	mk_closep(&job->fd);
	mk_call_done(&job->call);
	tmpdir_remove(job->dir);
}

static void write_text(const struct job *job, const char *name, const char *text, mode_t mode)
{
	_cleanup_free_ char *path = tmpdir_path(job->dir, name);

	CHECK(tmpdir_write(path, text, strlen(text)));
	CHECK_INT(chmod(path, mode), 0);
}

static char *text_of(struct job *job, const char *name)
{
	struct mk_buf buf = MK_BUF(MK_LIMIT_TEXT);

	if (mk_file_read(&job->call, job->fd, name, &buf) < 0)
		mk_buf_free(&buf);
	return mk_buf_steal(&buf);
}

#define CHECK_FILE(job, name, want)                           \
	do {                                                  \
		_cleanup_free_ char *t_ = text_of(job, name); \
		CHECK_TEXT(t_, want);                         \
	} while (0)

static void job_make(struct job *job, const char *script, int runtime_ms, int grace_ms)
{
	_cleanup_buf_ struct mk_buf launch = MK_BUF(4096);
	_cleanup_free_ char *path = NULL;

	*job = (struct job){.dir = tmpdir_make()};
	mk_call_init(&job->call);
	job->fd = open(job->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	write_text(job, "job_script", script, 0700);
	(void)mk_buf_printf(&launch, "cwd=%s%c", job->dir, 0);
	(void)mk_buf_printf(&launch, "script=%s/job_script%c", job->dir, 0);
	(void)mk_buf_printf(&launch, "runtime_ms=%d%cgrace_ms=%d%c%c", runtime_ms, 0, grace_ms, 0, 0);
	(void)mk_buf_printf(&launch, "PATH=/usr/bin:/bin%cA=1%c", 0, 0);
	path = tmpdir_path(job->dir, "launch");
	CHECK(tmpdir_write(path, launch.data, launch.len));
}

#define JOB(job, script, runtime_ms, grace_ms)   \
	_cleanup_(job_done) struct job job = {}; \
	job_make(&job, script, runtime_ms, grace_ms)

/* As mantikd starts it: in a process of its own, a leader of its session. */
static pid_t shepherd(const struct job *job)
{
	pid_t pid = fork();

	if (pid == 0) {
		(void)setsid();
		_exit(mk_shepherd_main(job->dir));
	}
	return pid;
}

static int wait_for(pid_t pid)
{
	int status = -1;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

static void until_file(const struct job *job, const char *name)
{
	for (int i = 0; i < 2000 && faccessat(job->fd, name, F_OK, 0) < 0; i++)
		poll(NULL, 0, 10);
	CHECK_INT(faccessat(job->fd, name, F_OK, 0), 0);
}

static void run_to_end(struct job *job, struct mk_state *ret)
{
	CHECK_INT(wait_for(shepherd(job)), 0);
	CHECK_INT(mk_state_read(&job->call, job->fd, "state", ret), 0);
	CHECK_INT(ret->phase, MK_PHASE_ENDED);
}

static void keeps_output_and_exit_code(void)
{
	JOB(job, "#!/bin/sh\necho out; echo err >&2; pwd; exit 7\n", 0, 1000);
	_cleanup_state_ struct mk_state state = {};
	_cleanup_free_ char *out = mk_strf("out\n%s\n", job.dir);

	run_to_end(&job, &state);
	CHECK_INT(state.cause, MK_CAUSE_EXIT);
	CHECK_INT(state.exit_code, 7);
	CHECK_INT(state.signal, 0);
	CHECK(state.started > 0 && state.ended >= state.started);
	CHECK_FILE(&job, "stdout", out);
	CHECK_FILE(&job, "stderr", "err\n");
}

static void tells_the_signal(void)
{
	JOB(job, "#!/bin/sh\nkill -SEGV $$\n", 0, 1000);
	_cleanup_state_ struct mk_state state = {};

	run_to_end(&job, &state);
	CHECK_INT(state.exit_code, -1);
	CHECK_INT(state.signal, SIGSEGV);
}

static void gives_the_environment_asked_for_and_no_descriptor(void)
{
	JOB(job,
	    "#!/usr/bin/python3 -I\n"
	    "import os, signal\n"
	    "print(sorted((k, v) for k, v in os.environ.items() if k != 'LC_CTYPE'))\n"
	    "print([f for f in range(3, 64) if os.path.exists(f'/proc/self/fd/{f}')])\n"
	    "print(os.getsid(0) == os.getpid(), sorted(signal.pthread_sigmask(0, [])))\n",
	    0, 1000);
	_cleanup_state_ struct mk_state state = {};
	int leak = open("/dev/null", O_RDONLY); /* not close-on-exec, on purpose */

	setenv("LEAKED", "1", 1);
	run_to_end(&job, &state);
	unsetenv("LEAKED");
	close(leak);
	CHECK_INT(state.exit_code, 0);
	CHECK_FILE(&job, "stdout",
		   "[('A', '1'), ('PATH', '/usr/bin:/bin')]\n[]\nTrue []\n");
}

static void two_shepherds_start_one_job(void)
{
	JOB(job, "#!/bin/sh\necho once >> ran\nsleep 0.2\n", 0, 1000);
	pid_t pids[8];

	for (int i = 0; i < 8; i++)
		pids[i] = shepherd(&job);
	for (int i = 0; i < 8; i++)
		CHECK_INT(wait_for(pids[i]), 0);
	CHECK_FILE(&job, "ran", "once\n");
}

static void runs_no_job_that_has_run(void)
{
	JOB(job, "#!/bin/sh\necho once >> ran\n", 0, 1000);
	_cleanup_state_ struct mk_state state = {};

	run_to_end(&job, &state);
	/* Even if somebody takes the claim away. */
	CHECK_INT(unlinkat(job.fd, "claim", 0), 0);
	(void)wait_for(shepherd(&job));
	CHECK_FILE(&job, "ran", "once\n");
}

/* A process that is none of the job's, to be alive afterwards. */
static pid_t bystander(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	return pid;
}

static void cancel_leaves_nothing(void)
{
	/* A session of its own, an orphan of a double fork, both deaf to TERM; and the job too. */
	JOB(job,
	    "#!/bin/bash\n"
	    "trap '' TERM\n"
	    "setsid bash -c 'trap \"\" TERM; echo $$ >> pids; while :; do sleep 100; done' &\n"
	    "( (trap '' TERM; echo $BASHPID >> pids; exec sleep 1000) & )\n"
	    "echo $$ >> pids\n"
	    "while [ $(wc -l < pids) -lt 3 ]; do sleep 0.01; done; : > ready\n"
	    "while :; do sleep 100; done\n",
	    0, 300);
	_cleanup_state_ struct mk_state state = {};
	pid_t other = bystander();
	pid_t keeper = shepherd(&job);

	until_file(&job, "ready");
	write_text(&job, "cancel", "", 0600);
	CHECK_INT(kill(keeper, SIGTERM), 0);
	CHECK_INT(wait_for(keeper), 0);
	NEED(mk_state_read(&job.call, job.fd, "state", &state) == 0);
	CHECK_INT(state.phase, MK_PHASE_ENDED);
	CHECK_INT(state.cause, MK_CAUSE_CANCEL);
	CHECK_INT(state.signal, SIGKILL);

	_cleanup_free_ char *pids = text_of(&job, "pids");

	for (char *p = pids; p && *p; p += strcspn(p, "\n") + 1)
		CHECK(kill((pid_t)strtol(p, NULL, 10), 0) < 0 && errno == ESRCH);
	CHECK_INT(kill(other, 0), 0);
	kill(other, SIGKILL);
	(void)wait_for(other);
}

static void a_polite_job_ends_by_term(void)
{
	JOB(job, "#!/bin/sh\ntrap 'echo bye; exit 3' TERM\n: > ready\nwhile :; do sleep 0.05; done\n",
	    0, 60000);
	_cleanup_state_ struct mk_state state = {};
	pid_t keeper = shepherd(&job);
	int64_t begun = mk_now_mono();

	until_file(&job, "ready");
	CHECK_INT(kill(keeper, SIGTERM), 0);
	CHECK_INT(wait_for(keeper), 0);
	CHECK(mk_now_mono() - begun < 30 * MK_SEC);
	NEED(mk_state_read(&job.call, job.fd, "state", &state) == 0);
	/* Nobody of ours asked: it was a logout or a shutdown. */
	CHECK_INT(state.cause, MK_CAUSE_STOPPED);
	CHECK_INT(state.exit_code, 3);
	CHECK_FILE(&job, "stdout", "bye\n");
}

static void a_stopped_job_can_be_cancelled(void)
{
	JOB(job, "#!/bin/sh\n: > ready\nkill -STOP $$\n", 0, 60000);
	_cleanup_state_ struct mk_state state = {};
	pid_t keeper = shepherd(&job);

	until_file(&job, "ready");
	write_text(&job, "cancel", "", 0600);
	CHECK_INT(kill(keeper, SIGTERM), 0);
	CHECK_INT(wait_for(keeper), 0);
	NEED(mk_state_read(&job.call, job.fd, "state", &state) == 0);
	CHECK_INT(state.signal, SIGTERM);
}

static void keeps_the_runtime_limit(void)
{
	JOB(job, "#!/bin/sh\nsleep 1000\n", 200, 100);
	_cleanup_state_ struct mk_state state = {};

	run_to_end(&job, &state);
	CHECK_INT(state.cause, MK_CAUSE_RUNTIME);
	CHECK(state.ended - state.started >= 200 * MK_MS);
}

static void what_the_job_left_is_ended(void)
{
	JOB(job, "#!/bin/bash\n(setsid sleep 1000 & echo $! > left)\nexit 5\n", 0, 60000);
	_cleanup_state_ struct mk_state state = {};

	run_to_end(&job, &state);
	CHECK_INT(state.cause, MK_CAUSE_EXIT);
	CHECK_INT(state.exit_code, 5);

	_cleanup_free_ char *left = text_of(&job, "left");

	CHECK(kill((pid_t)strtol(left, NULL, 10), 0) < 0 && errno == ESRCH);
}

static void a_cancel_before_the_start_starts_nothing(void)
{
	JOB(job, "#!/bin/sh\necho ran > ran\n", 0, 1000);
	_cleanup_state_ struct mk_state state = {};

	write_text(&job, "cancel", "", 0600);
	run_to_end(&job, &state);
	CHECK_INT(state.cause, MK_CAUSE_CANCEL);
	CHECK_INT(state.exit_code, -1);
	CHECK(faccessat(job.fd, "ran", F_OK, 0) < 0);
	CHECK(faccessat(job.fd, "started", F_OK, 0) < 0);
}

static void says_why_it_cannot_start(void)
{
	JOB(job, "#!/nowhere/interpreter\n", 0, 1000);
	_cleanup_state_ struct mk_state state = {};

	(void)wait_for(shepherd(&job));
	NEED(mk_state_read(&job.call, job.fd, "state", &state) == 0);
	CHECK_INT(state.phase, MK_PHASE_ENDED);
	CHECK_INT(state.cause, MK_CAUSE_EXEC);
	CHECK_TEXT(state.text, "No such file or directory");
}

static void the_job_does_not_begin_without_its_shepherd(void)
{
	/* Killed at any moment: either the job never began, or `started` says that it did. */
	for (int i = 0; i < 40; i++) {
		JOB(job, "#!/bin/sh\necho ran > ran\n", 0, 1000);
		pid_t keeper = shepherd(&job);

		poll(NULL, 0, i % 20);
		kill(keeper, SIGKILL);
		(void)wait_for(keeper);
		if (faccessat(job.fd, "ran", F_OK, 0) == 0)
			CHECK_INT(faccessat(job.fd, "started", F_OK, 0), 0);
		/* An orphaned job may still be at work in its directory. */
		for (int k = 0; k < 100 && faccessat(job.fd, "started", F_OK, 0) == 0 &&
				faccessat(job.fd, "ran", F_OK, 0) < 0;
		     k++)
			poll(NULL, 0, 10);
	}
}

static void states_are_read_strictly(void)
{
	static const struct {
		const char *text;
		int code;
	} table[] = {
		{"", -ENOENT},
		{"phase running\nhost h\nboot b\nshepherd 5 77\njob 6 78\n", 0},
		{"phase running\nhost h\nboot b\n", -EINVAL},
		{"phase dancing\nhost h\nboot b\nshepherd 5 77\n", -EINVAL},
		{"phase running\nhost h\nboot b\nshepherd five 77\n", -EINVAL},
		{"nonsense\n", -EINVAL},
		{"phase running\nhost h\nboot b\nshepherd 5 77\nlater yes\n", 0},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		JOB(job, "", 0, 0);
		_cleanup_state_ struct mk_state state = {};

		write_text(&job, "state", table[i].text, 0600);
		CHECK_INT(mk_state_read(&job.call, job.fd, "state", &state), table[i].code);
	}
}

static void processes_are_told_apart_by_their_start(void)
{
	pid_t other = bystander();
	struct mk_process process = {.pid = other, .start = mk_process_start(other)};

	CHECK(mk_process_alive(&process));
	process.start--;
	CHECK(!mk_process_alive(&process));
	CHECK_INT(mk_process_signal(&process, SIGKILL), -ESRCH);
	CHECK_INT(kill(other, 0), 0);
	process.start++;
	CHECK_INT(mk_process_signal(&process, SIGKILL), 0);
	(void)wait_for(other);
	CHECK(!mk_process_alive(&process));
}

int main(void)
{
	return RUN(TEST(keeps_output_and_exit_code), TEST(tells_the_signal),
		   TEST(gives_the_environment_asked_for_and_no_descriptor),
		   TEST(two_shepherds_start_one_job), TEST(runs_no_job_that_has_run),
		   TEST(cancel_leaves_nothing), TEST(a_polite_job_ends_by_term),
		   TEST(a_stopped_job_can_be_cancelled), TEST(keeps_the_runtime_limit),
		   TEST(what_the_job_left_is_ended), TEST(a_cancel_before_the_start_starts_nothing),
		   TEST(says_why_it_cannot_start),
		   TEST(the_job_does_not_begin_without_its_shepherd),
		   TEST(states_are_read_strictly), TEST(processes_are_told_apart_by_their_start));
}
