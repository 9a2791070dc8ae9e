/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mantikd: the user's own daemon, one per data directory. Started by whoever has something for it
 * (mantik_poke), it works off the journal and goes away when nothing is left to do. Killing it
 * loses nothing: jobs have shepherds of their own, the next mantikd goes on from the journal.
 *
 *	mantikd --data DIR --cache DIR --config DIR     in the background
 *	mantikd --foreground …                          in this terminal
 *	mantikd --serve …                               the same, in the place of one that runs
 *	mantikd --shepherd RECORD                       keeper of one local job (shepherd.c)
 *	mantikd --steps                                 the journal's steps, one a line
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <mantik/daemon.h>
#include <mantik/trace.h>

enum { MAX_LOG = 1 << 20 };

static const char usage[] =
	"usage: mantikd [--foreground] [--data DIR] [--cache DIR] [--config DIR] [--idle MS]\n"
	"               [--trace WHAT]\n"
	"       mantikd --serve [--port N] [--project NAME] …\n"
	"       mantikd --shepherd RECORD | --steps | --version | --help\n"
	"\n"
	"The daemon that submits, starts and watches runs. It is started when needed and goes\n"
	"away when nothing is left to do; there is no need to start it by hand.\n";

/* Its log takes the place of standard output and error; the one before is kept once. */
static int open_log(struct mk_call *call, const char *data_dir)
{
	_cleanup_buf_ struct mk_buf path = MK_BUF(4096), old = MK_BUF(4096);
	struct stat st;

	(void)mk_buf_printf(&path, "%s/mantikd.log", data_dir);
	(void)mk_buf_printf(&old, "%s/mantikd.log.1", data_dir);
	if (stat(mk_buf_text(&path), &st) == 0 && st.st_size > MAX_LOG)
		(void)rename(mk_buf_text(&path), mk_buf_text(&old));

	_cleanup_close_ int fd =
		open(mk_buf_text(&path), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	if (fd < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0)
		return mk_fail(call, errno, "%s: %s", mk_buf_text(&path), strerror(errno));
	return 0;
}

struct start {
	struct mantik_options options;
	bool foreground;
	int64_t idle; /* -1: the option */
	bool serve;
	int port;
	const char *project;
};

/* For who started us to serve, in words that can be used. */
static void say_ready(void *arg, int port)
{
	const struct start *start = arg;
	const char *project = start->project;

	(void)printf("serving at http://127.0.0.1:%d%s%s until Ctrl-C\n", port,
		     project ? ", project " : "", project ? project : "");
	(void)printf("clients: eval \"$(mantikctl env%s)\"\n", project ? " -p PROJECT" : "");
	(void)printf("browsers: http://127.0.0.1:%d/login, any user, the password is in serve.token\n",
		     port);
	(void)fflush(stdout);
}

static int work(struct mk_call *call, struct start *start)
{
	_cleanup_(mantik_closep) struct mantik *m = NULL;
	int r = mantik_open(call, &start->options, &m);

	if (r < 0)
		return r;
	if (!start->foreground) {
		r = open_log(call, mantik_data_dir(m));
		if (r < 0)
			return r;
	}

	const struct mk_daemon_options daemon = {
		.idle = start->serve	  ? INT64_MAX :
			start->idle >= 0 ? start->idle :
					   mantik_option_duration(m, "daemon_idle"),
		.own_log = !start->foreground,
		.service = &mk_serve_service,
		.port = start->port,
		.replace = start->serve,
		.ready = start->serve ? say_ready : NULL,
		.ready_arg = start,
	};

	r = mk_daemon_run(call, m, &daemon);
	/* Jobs that go on want to be watched; with none it is gone again in a moment. */
	if (start->serve && r == 0)
		r = mantik_poke(call, m);
	return r;
}

static void fork_on(void)
{
	pid_t pid = fork();

	if (pid)
		_exit(pid < 0);
}

/* A session without a terminal, and not its leader, so that it can never get one. The first
 * process ends at once: whoever started us waits for it only. */
static void detach(void)
{
	fork_on();
	(void)setsid();
	fork_on();
	(void)chdir("/");
	(void)close_range(3, ~0U, 0);

	int null = open("/dev/null", O_RDWR);

	if (null >= 0) {
		(void)dup2(null, 0);
		(void)dup2(null, 1);
		(void)dup2(null, 2);
		if (null > 2)
			close(null);
	}
}

int main(int argc, char **argv)
{
	static const struct option long_options[] = {
		{"data", required_argument, NULL, 'd'},	  {"cache", required_argument, NULL, 'c'},
		{"config", required_argument, NULL, 'C'}, {"idle", required_argument, NULL, 'i'},
		{"foreground", no_argument, NULL, 'f'},	  {"shepherd", required_argument, NULL, 's'},
		{"steps", no_argument, NULL, 'S'},	  {"version", no_argument, NULL, 'V'},
		{"help", no_argument, NULL, 'h'},	  {"serve", no_argument, NULL, 'e'},
		{"port", required_argument, NULL, 'p'},	  {"project", required_argument, NULL, 'P'},
		{"trace", required_argument, NULL, 't'},  {},
	};
	struct start start = {.options.no_daemon = true, .idle = -1};
	unsigned traced;
	_cleanup_call_ struct mk_call call;
	sigset_t blocked;
	int c;

	while ((c = getopt_long(argc, argv, "fh", long_options, NULL)) >= 0) {
		switch (c) {
		case 'd':
			start.options.data_dir = optarg;
			break;
		case 'c':
			start.options.cache_dir = optarg;
			break;
		case 'C':
			start.options.config_dir = optarg;
			break;
		case 'i':
			start.idle = strtoll(optarg, NULL, 10) * MK_MS;
			break;
		case 'f':
			start.foreground = true;
			break;
		case 'e':
			start.serve = start.foreground = true;
			start.options.no_daemon = false;
			break;
		case 'p':
			start.port = (int)strtol(optarg, NULL, 10);
			break;
		case 'P':
			start.project = optarg;
			break;
		case 't':
			if (mk_trace_parse(optarg, strlen(optarg), &traced) < 0) {
				(void)fprintf(stderr, "mantikd: --trace %s: some of %s, all, off\n",
					      optarg, mk_trace_names());
				return 2;
			}
			mk_trace_to(MK_TRACE_LOG, traced, mk_trace_stderr, NULL);
			break;
		case 's':
			_exit(mk_shepherd_main(optarg));
		case 'S':
			for (int i = 0; mk_daemon_step(i); i++)
				puts(mk_daemon_step(i));
			return 0;
		case 'V':
			puts("mantikd " MANTIK_VERSION);
			return 0;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	if (!start.foreground) {
		detach();
		mk_daemon_leave_job();
	}
	(void)umask(077);
	mantik_protect();
	mantik_protect_environment();
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGHUP, SIG_IGN);
	/* Before the first thread, so that all have them blocked and the loop reads them. */
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigaddset(&blocked, SIGINT);
	(void)sigprocmask(SIG_BLOCK, &blocked, NULL);
	/* Started by hand in a job: it has nothing to do with what we start (see mantik_poke()). */
	(void)unsetenv("MANTIK_RUN_ID");
	(void)unsetenv("MANTIK_RUN_DIR");
	(void)unsetenv("MANTIK_WORKING_DIRECTORY");
	mk_call_init(&call);

	int r = work(&call, &start);

	if (r < 0 && (r != -EBUSY || start.serve))
		(void)fprintf(stderr, "mantikd: %s\n", call.error.text);
	return r < 0 ? 1 : 0;
}
