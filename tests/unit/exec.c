/* SPDX-License-Identifier: Apache-2.0 */
/* Programs are run to their end or ended: with real programs, real signals, real clocks. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "net/exec.h"
#include "test.h"

#define SH(text)                       \
	(const char *const[])          \
	{                              \
		"sh", "-c", text, NULL \
	}

static int64_t ms_since(int64_t begin)
{
	return (mk_now_mono() - begin) / MK_MS;
}

static void gives_what_it_wrote(void)
{
	_cleanup_call_ struct mk_call call;
	_cleanup_buf_ struct mk_buf out = MK_BUF(1000), err = MK_BUF(1000);

	mk_call_init(&call);
	CHECK_INT(mk_exec_run(&call, &(struct mk_exec){.argv = SH("cat; echo b >&2"),
						       .input = "a\0c",
						       .input_len = 3,
						       .out = &out,
						       .err = &err}),
		  0);
	CHECK_INT(out.len, 3);
	CHECK(out.len == 3 && memcmp(out.data, "a\0c", 3) == 0);
	CHECK_TEXT(mk_buf_text(&err), "b\n");
}

static void tells_why_it_failed(void)
{
	_cleanup_call_ struct mk_call call;
	int status = 0, sig = 0;

	mk_call_init(&call);
	CHECK_INT(mk_exec_run(&call, &(struct mk_exec){.argv = SH("echo no such repo >&2; exit 3"),
						       .remote = "git:x"}),
		  -EREMOTEIO);
	CHECK_TEXT(call.error.detail, "no such repo\n");
	CHECK_TEXT(call.error.remote, "git:x");
	CHECK_INT(call.error.status, 3);
	CHECK_INT(
		mk_exec_run(&call, &(struct mk_exec){.argv = SH("exit 3"), .ret_status = &status}),
		0);
	CHECK_INT(status, 3);
	CHECK_INT(mk_exec_run(&call, &(struct mk_exec){.argv = SH("kill -9 $$")}), -EREMOTEIO);
	CHECK_INT(
		mk_exec_run(&call, &(struct mk_exec){.argv = SH("kill -9 $$"), .ret_signal = &sig}),
		0);
	CHECK_INT(sig, 9);
}

static void names_a_missing_program(void)
{
	_cleanup_call_ struct mk_call call;
	const char *const missing[] = {"no-such-program-here", NULL};

	mk_call_init(&call);
	CHECK_INT(mk_exec_run(&call, &(struct mk_exec){.argv = missing}), -ENOENT);
	CHECK_TEXT(call.error.text, "the program no-such-program-here is not installed");
	CHECK_INT(mk_exec_run(&call, &(struct mk_exec){.argv = SH("true"), .dir = "/no/such"}),
		  -ENOENT);
	CHECK_TEXT(call.error.text, "cannot start sh in /no/such: No such file or directory");
}

static void builds_the_environment(void)
{
	_cleanup_call_ struct mk_call call;
	_cleanup_buf_ struct mk_buf out = MK_BUF(1000);
	const char *const env[] = {"MK_T_*", "MK_T_B=new", "MK_GONE", "MK_EMPTY=", NULL};

	setenv("MK_T_A", "old", 1);
	setenv("MK_T_B", "old", 1);
	setenv("MK_GONE", "old", 1);
	setenv("MK_KEPT", "kept", 1);
	mk_call_init(&call);
	CHECK_INT(
		mk_exec_run(
			&call,
			&(struct mk_exec){
				.argv = SH("echo $MK_T_A.$MK_T_B.$MK_GONE.$MK_KEPT.${MK_EMPTY-x}"),
				.env = env,
				.out = &out}),
		0);
	CHECK_TEXT(mk_buf_text(&out), ".new..kept.\n");
}

/* Signals as at login, its own group, nothing open but 0, 1, 2. */
static void hands_nothing_on(void)
{
	_cleanup_call_ struct mk_call call;
	_cleanup_buf_ struct mk_buf out = MK_BUF(10000);
	sigset_t usr1;
	int fd = open("/dev/null", O_RDONLY); /* on purpose without CLOEXEC */

	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &usr1, NULL);
	signal(SIGPIPE, SIG_IGN);
	mk_call_init(&call);
	/* ls has 3 for the directory itself; 32 and 33 are the C library's own, ignored by it */
	const char *script = "ls /proc/self/fd | tr '\\n' ' '; grep SigBlk /proc/self/status;"
			     "ign=$(sed -n 's/SigIgn:.*\\(........\\)$/\\1/p' /proc/self/status);"
			     "echo $((0x$ign & 0x7fffffff));"
			     "[ $(ps -o pgid= -p $$) = $$ ] && echo own";
	CHECK_INT(mk_exec_run(&call, &(struct mk_exec){.argv = SH(script), .out = &out}), 0);
	CHECK_TEXT(mk_buf_text(&out), "0 1 2 3 SigBlk:\t0000000000000000\n0\nown\n");
	signal(SIGPIPE, SIG_DFL);
	pthread_sigmask(SIG_UNBLOCK, &usr1, NULL);
	close(fd);
}

static void ends_at_the_limit_of_output(void)
{
	_cleanup_call_ struct mk_call call;
	_cleanup_buf_ struct mk_buf out = MK_BUF(100000);
	int64_t begin = mk_now_mono();

	mk_call_init(&call);
	CHECK_INT(mk_exec_run(&call, &(struct mk_exec){.argv = SH("yes"), .out = &out}), -EFBIG);
	CHECK(ms_since(begin) < 1500);
}

static void keeps_the_end_of_stderr(void)
{
	_cleanup_call_ struct mk_call call;
	_cleanup_buf_ struct mk_buf err = MK_BUF(10000);

	mk_call_init(&call);
	CHECK_INT(mk_exec_run(&call, &(struct mk_exec){.argv = SH("seq 100000 >&2; echo last >&2"),
						       .err = &err}),
		  0);
	CHECK_INT(err.len, 4096);
	CHECK(err.len > 5 && strcmp(err.data + err.len - 5, "last\n") == 0);
}

static void writes_to_a_descriptor(void)
{
	_cleanup_call_ struct mk_call call;
	FILE *file = tmpfile();
	struct stat st;

	NEED(file);
	mk_call_init(&call);
	CHECK_INT(mk_exec_run(&call, &(struct mk_exec){.argv = SH("printf 12345"),
						       .out_fd = fileno(file)}),
		  0);
	CHECK_INT(fstat(fileno(file), &st), 0);
	CHECK_INT(st.st_size, 5);
	fclose(file);
}

static void dies_at_the_deadline(void)
{
	_cleanup_call_ struct mk_call call;
	int64_t begin = mk_now_mono();

	mk_call_init(&call);
	call.deadline = begin + 200 * MK_MS;
	CHECK_INT(mk_exec_run(&call, &(struct mk_exec){.argv = SH("sleep 100"), .remote = "git:x"}),
		  -ETIMEDOUT);
	CHECK_TEXT(call.error.text, "no answer in time from git:x");
	CHECK(ms_since(begin) >= 200 && ms_since(begin) < 1500);
}

static void dies_when_silent(void)
{
	_cleanup_call_ struct mk_call call;
	int64_t begin = mk_now_mono();
	const char *const argv[] = {"sh", "-c",
				    "for i in 1 2 3 4 5 6; do echo $i >&2; sleep 0.1; done;"
				    "sleep 100",
				    NULL};

	mk_call_init(&call);
	CHECK_INT(mk_exec_run(&call, &(struct mk_exec){.argv = argv, .idle = 300 * MK_MS}),
		  -ETIMEDOUT);
	CHECK(ms_since(begin) >= 700 && ms_since(begin) < 3000); /* not while it talked */
	CHECK_TEXT(call.error.detail, "1\n2\n3\n4\n5\n6\n");
}

static void *cancel_soon(void *arg)
{
	usleep(200000);
	mk_call_cancel(arg);
	return NULL;
}

/* TERM is ignored by the whole family: the group gets KILL after two seconds and nobody stays. */
static void kills_what_ignores_term(void)
{
	_cleanup_call_ struct mk_call call;
	_cleanup_buf_ struct mk_buf out = MK_BUF(1000);
	pthread_t thread;
	int64_t begin = mk_now_mono();

	mk_call_init(&call);
	NEED(pthread_create(&thread, NULL, cancel_soon, &call) == 0);
	CHECK_INT(
		mk_exec_run(&call,
			    &(struct mk_exec){.argv = SH("trap '' TERM; sleep 100 & echo $!; wait;"
							 "sleep 100"),
					      .out = &out}),
		-EINTR);
	pthread_join(thread, NULL);
	CHECK(ms_since(begin) >= 2000 && ms_since(begin) < 4000);

	/* Somebody else's child now: gone as soon as that one reaps. */
	pid_t child = (pid_t)strtol(mk_buf_text(&out), NULL, 10);
	bool gone = false;

	NEED(child > 1);
	for (int i = 0; i < 100 && !gone; i++) {
		char path[64], state[256] = "";
		snprintf(path, sizeof(path), "/proc/%d/stat", (int)child);
		FILE *f = fopen(path, "r");
		gone = !f || !fgets(state, sizeof(state), f) || strstr(state, ") Z ");
		if (f)
			fclose(f);
		if (!gone)
			usleep(20000);
	}
	CHECK(gone);
}

/* An ssh ControlMaster keeps stderr open long after git has ended. */
static void does_not_wait_for_what_it_left(void)
{
	_cleanup_call_ struct mk_call call;
	_cleanup_buf_ struct mk_buf out = MK_BUF(1000);
	int64_t begin = mk_now_mono();

	mk_call_init(&call);
	CHECK_INT(mk_exec_run(&call,
			      &(struct mk_exec){.argv = SH("sleep 3 & echo done"), .out = &out}),
		  0);
	CHECK_TEXT(mk_buf_text(&out), "done\n");
	CHECK(ms_since(begin) < 2000);
}

static void reaps_only_its_own(void)
{
	_cleanup_call_ struct mk_call call;
	pid_t other = fork();
	int status;

	if (other == 0)
		_exit(7);
	mk_call_init(&call);
	CHECK_INT(mk_exec_run(&call, &(struct mk_exec){.argv = SH("true")}), 0);
	CHECK_INT(waitpid(other, &status, 0), other);
	CHECK_INT(WEXITSTATUS(status), 7);
	CHECK_INT(waitpid(-1, &status, WNOHANG), -1); /* and leaves none */
}

static void punts_where_it_may_not_wait(void)
{
	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);
	call.may_wait = NULL;
	CHECK_INT(mk_exec_run(&call, &(struct mk_exec){.argv = SH("true"), .remote = "git:x"}),
		  MK_PUNT);
	CHECK_TEXT(call.punt, "git:x");
}

int main(void)
{
	return RUN(TEST(gives_what_it_wrote), TEST(tells_why_it_failed),
		   TEST(names_a_missing_program), TEST(builds_the_environment),
		   TEST(hands_nothing_on), TEST(ends_at_the_limit_of_output),
		   TEST(keeps_the_end_of_stderr), TEST(writes_to_a_descriptor),
		   TEST(dies_at_the_deadline), TEST(dies_when_silent),
		   TEST(kills_what_ignores_term), TEST(does_not_wait_for_what_it_left),
		   TEST(reaps_only_its_own), TEST(punts_where_it_may_not_wait));
}
