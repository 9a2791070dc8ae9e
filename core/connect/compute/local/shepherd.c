/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shepherd: one small process per local job, `mantikd --shepherd RECORD`, that needs nobody. It
 * survives unmount, a killed mantikd and logout, because it is in a session of its own and holds
 * nothing of theirs; all it has to say stands in the record directory (local.h).
 *
 *	claim   exactly one shepherd of the run gets it
 *	  |     fork: the job's process waits
 *	state   RUNNING with the job's pid, on disk
 *	  |     go
 *	started taken by the job's process, on disk; then exec
 *	  |
 *	state   ENDED when the job and everything it left behind is gone
 *
 * So whoever finds a dead shepherd knows: no `started` = nothing ever ran, it may be started anew;
 * `started` = it ran, never again.
 *
 * As a subreaper the shepherd inherits every process of the job that loses its parent: setsid and
 * double forks escape nothing, and "no children" means "nothing left". A mantikd that the job's own
 * mantikctl started is inherited, too, but is none of the job's. Single-threaded; may block.
 */
#include "connect/compute/local/local.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/file.h"
#include "base/protect.h"
#include "connect/compute/local/cgroup.h"
#include "net/spawn.h"

enum {
	FULL_DISK_MS = 1000, /* between looks whether there is room again */
	MAX_LAUNCH = 4 << 20,
	KILL_AGAIN_MS = 50,   /* between two rounds of SIGKILL */
	LEFTOVER_MS = 2000,   /* what the job left running has this long after its end */
};

struct launch {
	struct mk_buf text;
	const char *cwd;
	const char *script;
	int64_t runtime_ms; /* 0 none */
	int64_t grace_ms;
	const char *doorbell; /* of mantikd; NULL: nobody is to be told */
	const char *data, *cache, *config;
	char **env;
};

struct shepherd {
	struct mk_call call;
	int record; /* directory */
	const char *uid;
	struct launch launch;
	struct mk_state state;
	char *cgroup;
	int go[2];   /* parent -> child: a byte, then exec */
	int fail[2]; /* child -> parent: errno of what went wrong before exec */
	bool leader_gone;
	bool ending;
	int64_t kill_at; /* mono: from here on SIGKILL */
};

/* The launch file: `name=value` NUL…, an empty one, then the environment (as /proc/PID/environ). */
static int read_launch(struct shepherd *s)
{
	struct launch *l = &s->launch;

	l->text = MK_BUF(MAX_LAUNCH);

	int r = mk_file_read(&s->call, s->record, "launch", &l->text);

	if (r < 0)
		return r;

	size_t n = 0; /* strings */

	for (size_t i = 0; i < l->text.len; i++)
		n += l->text.data[i] == 0;
	l->env = calloc(n + 1, sizeof(*l->env));
	if (!l->env)
		return mk_fail(&s->call, ENOMEM, "launch: out of memory");

	const char *runtime = NULL, *grace = NULL;
	const struct {
		const char *name;
		const char **value;
	} table[] = {
		{"cwd=", &l->cwd},	     {"script=", &l->script}, {"runtime_ms=", &runtime},
		{"grace_ms=", &grace},	     {"data=", &l->data},     {"cache=", &l->cache},
		{"doorbell=", &l->doorbell}, {"config=", &l->config},
	};
	bool head = true;
	size_t n_env = 0;

	for (char *p = l->text.data, *end = p + l->text.len; p < end; p += strlen(p) + 1) {
		if (!head) {
			l->env[n_env++] = p;
			continue;
		}
		head = *p;
		for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
			if (strncmp(p, table[i].name, strlen(table[i].name)) == 0)
				*table[i].value = p + strlen(table[i].name);
	}
	l->runtime_ms = runtime ? strtoll(runtime, NULL, 10) : 0;
	l->grace_ms = grace ? strtoll(grace, NULL, 10) : 0;
	if (!l->cwd || !l->script || head)
		return mk_fail(&s->call, EINVAL, "launch: incomplete");
	return 0;
}

/* 0 when this process is now the shepherd of the run, -EEXIST when another is. */
static int claim(struct shepherd *s)
{
	_cleanup_free_ char *mine = mk_strf("claim.%d", (int)getpid());
	int r = mk_state_write(&s->call, s->record, mine, &s->state, false);

	if (r < 0)
		return r;
	if (linkat(s->record, mine, s->record, "claim", 0) < 0)
		r = mk_fail(&s->call, errno, "claim: %s", strerror(errno));
	(void)unlinkat(s->record, mine, 0);
	return r;
}

static bool cancel_asked(struct shepherd *s)
{
	return faccessat(s->record, "cancel", F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* --- the job's process, until exec ---------------------------------------------------------- */

static void child_fails(struct shepherd *s, int code)
{
	(void)!write(s->fail[1], &code, sizeof(code));
	_exit(127);
}

static void child_output(struct shepherd *s, const char *name, int fd)
{
	int file = openat(s->record, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (file < 0 || dup2(file, fd) < 0)
		child_fails(s, errno);
}

/* A work directory on a file system mounted noexec: the script's interpreter reads it. */
static void exec_interpreter(struct shepherd *s)
{
	char line[256];
	int fd = open(s->launch.script, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);

	if (n < 3 || line[0] != '#' || line[1] != '!')
		return;
	line[n] = 0;
	line[strcspn(line, "\r\n")] = 0;

	char *name = line + 2 + strspn(line + 2, " \t");
	char *arg = name + strcspn(name, " \t");

	if (*arg)
		*arg++ = 0;
	arg += strspn(arg, " \t");

	char *argv[] = {name, *arg ? arg : (char *)s->launch.script,
			*arg ? (char *)s->launch.script : NULL, NULL};

	execve(name, argv, s->launch.env);
}

static void child(struct shepherd *s)
{
	char byte;
	pid_t parent = s->state.shepherd.pid;

	/* Dies with the shepherd as long as nothing of the job has run. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(125);
	close(s->go[1]);
	if (read(s->go[0], &byte, 1) != 1)
		_exit(125);
	(void)setsid();

	/* On disk before anything runs, with the record that holds it: after a power loss a job that
	 * ran must not look as if it had not. */
	int started = openat(s->record, "started", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int above = openat(s->record, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (started < 0 || above < 0 || fsync(s->record) < 0 || fsync(above) < 0)
		child_fails(s, errno);
	prctl(PR_SET_PDEATHSIG, 0);

	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	if (null < 0 || dup2(null, 0) < 0)
		child_fails(s, errno);
	child_output(s, "stdout", 1);
	child_output(s, "stderr", 2);
	if (chdir(s->launch.cwd) < 0)
		child_fails(s, errno);
	(void)close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
	for (int sig = 1; sig < NSIG; sig++)
		(void)signal(sig, SIG_DFL);

	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	(void)umask(022);
	mk_limits_restore();

	char *argv[] = {(char *)s->launch.script, NULL};

	execve(s->launch.script, argv, s->launch.env);
	if (errno == EACCES || errno == ENOEXEC)
		exec_interpreter(s);
	child_fails(s, errno);
}

/* --- watching ------------------------------------------------------------------------------- */

static int signal_job(const struct shepherd *s, int sig)
{
	return mk_process_signal_all(getpid(), s->state.job.pid, NULL, sig);
}

/* Twice: who forks while the first look goes on can be missed by one. */
static bool only_daemons(const struct shepherd *s)
{
	return mk_process_only_daemons(getpid(), s->state.job.pid) &&
	       mk_process_only_daemons(getpid(), s->state.job.pid);
}

static void begin_end(struct shepherd *s, enum mk_cause cause, int64_t grace_ms)
{
	if (s->ending)
		return;
	s->ending = true;
	s->state.cause = cause;
	s->kill_at = mk_now_mono() + grace_ms * MK_MS;
	(void)signal_job(s, SIGTERM);
	/* A stopped process takes its TERM only when it goes on. */
	(void)signal_job(s, SIGCONT);
}

static void kill_all(struct shepherd *s)
{
	if (s->cgroup)
		mk_cgroup_kill(s->cgroup);
	(void)signal_job(s, SIGKILL);
}

/* Reaps what ended. True when nothing is left. */
static bool reap(struct shepherd *s)
{
	for (;;) {
		int status;
		pid_t pid = waitpid(-1, &status, WNOHANG);

		if (pid < 0 && errno == EINTR)
			continue;
		if (pid < 0)
			return true; /* ECHILD: a subreaper without children has no descendants */
		if (pid == 0)
			return s->leader_gone && only_daemons(s);
		if (pid != s->state.job.pid)
			continue;
		s->leader_gone = true;
		s->state.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
		s->state.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
		s->state.ended = mk_now_real();
	}
}

static int wait_ms(const struct shepherd *s, int64_t runtime_end)
{
	int64_t now = mk_now_mono();
	int64_t until = 0;

	if (s->ending)
		until = now < s->kill_at ? s->kill_at : now + KILL_AGAIN_MS * MK_MS;
	else if (runtime_end)
		until = runtime_end;
	if (!until)
		return -1;

	int64_t ms = (until - now + MK_MS - 1) / MK_MS;

	return ms < 0 ? 0 : ms > 3600000 ? 3600000 : (int)ms;
}

static void watch(struct shepherd *s, int signals)
{
	int64_t limit = s->launch.runtime_ms;
	int64_t runtime_end = limit ? mk_now_mono() + limit * MK_MS : 0;

	/* The cancel may have come before there was anybody to be signalled. */
	if (cancel_asked(s))
		begin_end(s, MK_CAUSE_CANCEL, s->launch.grace_ms);
	while (!reap(s)) {
		if (s->leader_gone)
			begin_end(s, MK_CAUSE_EXIT,
				  s->launch.grace_ms < LEFTOVER_MS ? s->launch.grace_ms : LEFTOVER_MS);
		if (!s->ending && runtime_end && mk_now_mono() >= runtime_end)
			begin_end(s, MK_CAUSE_RUNTIME, s->launch.grace_ms);
		if (s->ending && mk_now_mono() >= s->kill_at)
			kill_all(s);

		struct pollfd p = {.fd = signals, .events = POLLIN};
		struct signalfd_siginfo info;

		if (poll(&p, 1, wait_ms(s, runtime_end)) <= 0)
			continue;
		while (read(signals, &info, sizeof(info)) == sizeof(info))
			if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT)
				begin_end(s, cancel_asked(s) ? MK_CAUSE_CANCEL : MK_CAUSE_STOPPED,
					  s->launch.grace_ms);
	}
}

static int start(struct shepherd *s)
{
	pid_t pid;
	int code = 0;
	int r;

	if (pipe2(s->go, O_CLOEXEC) < 0 || pipe2(s->fail, O_CLOEXEC) < 0)
		return mk_fail(&s->call, errno, "pipe: %s", strerror(errno));
	s->cgroup = mk_cgroup_make(s->uid);
	pid = fork();
	if (pid < 0)
		return mk_fail(&s->call, errno, "cannot start a process: %s", strerror(errno));
	if (pid == 0)
		child(s);
	close(s->go[0]);
	close(s->fail[1]);
	if (s->cgroup && mk_cgroup_join(s->cgroup, pid) < 0) {
		mk_cgroup_remove(s->cgroup);
		free(mk_steal(&s->cgroup));
	}
	s->state.phase = MK_PHASE_RUNNING;
	s->state.job = (struct mk_process){.pid = pid, .start = mk_process_start(pid)};
	s->state.started = mk_now_real();
	s->state.cgroup = s->cgroup ? mk_strdup(s->cgroup) : NULL;
	r = mk_state_write(&s->call, s->record, "state", &s->state, true);
	if (r == 0 && !cancel_asked(s) && write(s->go[1], "g", 1) != 1)
		r = mk_fail(&s->call, errno, "go: %s", strerror(errno));
	close(s->go[1]); /* without the byte it ends by itself */
	if (r < 0)
		return r;
	if (read(s->fail[0], &code, sizeof(code)) == sizeof(code)) {
		s->state.cause = MK_CAUSE_EXEC;
		s->ending = true;
		return mk_fail(&s->call, code, "%s", strerror(code));
	}
	return 0;
}

static void finish(struct shepherd *s)
{
	if (s->cgroup)
		mk_cgroup_remove(s->cgroup);
	s->state.phase = MK_PHASE_ENDED;
	/* What never ran has no exit code. */
	if (faccessat(s->record, "started", F_OK, AT_SYMLINK_NOFOLLOW) < 0) {
		s->state.exit_code = -1;
		s->state.signal = 0;
	}
	if (!s->state.ended || s->state.cause != MK_CAUSE_EXIT)
		s->state.ended = mk_now_real();
	/* On a full disk there is no other way to say how it ended than to wait for room; whoever
	 * removes the record does not want to know any more. */
	while (mk_state_write(&s->call, s->record, "state", &s->state, true) < 0 &&
	       (s->call.error.code == ENOSPC || s->call.error.code == EDQUOT ||
		s->call.error.code == EIO))
		(void)poll(NULL, 0, FULL_DISK_MS);
}

/*
 * mantikd sees our end by itself. If it was killed, nobody would record what became of the run or
 * start the next one until a person comes back: so it is started. The doorbell is only tried, not
 * rung.
 */
static void wake_mantikd(struct shepherd *s)
{
	struct launch *l = &s->launch;
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	const char *name = l->doorbell ? strrchr(l->doorbell, '/') : NULL;

	if (!name || !l->data || !l->cache || !l->config)
		return;

	_cleanup_free_ char *dir_path = mk_strndup(l->doorbell, (size_t)(name - l->doorbell));
	_cleanup_close_ int dir = open(dir_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	(void)snprintf(to.sun_path, sizeof(to.sun_path), "/proc/self/fd/%d%s", dir, name);
	if (dir >= 0 && fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
		return;

	const char *const argv[] = {"mantikd", "--data",   l->data,   "--cache",
				    l->cache,  "--config", l->config, NULL};
	struct mk_spawn spawn = {.path = "/proc/self/exe", .argv = argv};
	pid_t pid;

	if (mk_spawn(&s->call, &spawn, &pid) == 0)
		(void)waitpid(pid, NULL, 0); /* it detaches */
}

/* Everything held until exit on purpose: the process is over then. */
int mk_shepherd_main(const char *record)
{
	struct shepherd s = {.state.exit_code = -1};
	const char *slash = strrchr(record, '/');
	sigset_t wanted;
	int r;

	mk_call_init(&s.call);
	s.uid = slash ? slash + 1 : record;
	sigemptyset(&wanted);
	for (size_t i = 0; i < 4; i++)
		sigaddset(&wanted, (const int[]){SIGCHLD, SIGTERM, SIGINT, SIGHUP}[i]);
	sigprocmask(SIG_SETMASK, &wanted, NULL);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	prctl(PR_SET_NAME, "mantik-shepherd");
	(void)umask(077);
	(void)chdir("/");
	(void)unsetenv("MK_ABORT_AT"); /* is for the mantikd that started us alone */

	int signals = signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK);

	s.record = open(record, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s.record < 0 || signals < 0) {
		(void)fprintf(stderr, "shepherd of %s: %s\n", s.uid, strerror(errno));
		return 1;
	}
	s.state.host = mk_local_host();
	s.state.boot_id = mk_local_boot();
	s.state.shepherd = (struct mk_process){.pid = getpid(), .start = mk_process_start(getpid())};
	r = claim(&s);
	if (r == -EEXIST)
		return 0; /* another has it: all is well */
	if (r == 0)
		r = read_launch(&s);
	if (r == 0)
		r = start(&s);
	if (r < 0) {
		s.state.cause = MK_CAUSE_EXEC;
		s.state.text = mk_strdup(s.call.error.text);
		s.ending = true;
		(void)fprintf(stderr, "shepherd of %s: %s\n", s.uid, s.state.text);
	}
	watch(&s, signals);
	finish(&s);
	wake_mantikd(&s);
	return r < 0;
}
