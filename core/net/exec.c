/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Running a program to its end, in the calling thread.
 *
 *	spawn --> poll(stdout, stderr, pidfd, cancel) --> exit --> drain --> reap
 *	               |  cancelled, out of time, silent, too much
 *	               +--> TERM to the group --2 s--> KILL to the group --> reap
 *
 * A program that leaves children behind (an ssh ControlMaster keeps stderr open) has ended when it
 * has ended: pipes are drained of what is there, never read to their end.
 */
#include <mantik/trace.h>

#include "exec.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

enum {
	ERR_TAIL = 4096,     /* bytes of stderr kept */
	TERM_MS = 2000,	     /* between TERM and KILL */
	KILL_MS = 5000,	     /* after KILL a process may still hang in the kernel: left behind */
	BLIND_MS = 50,	     /* between looks where the kernel has no pidfd (before 5.3) */
	MAX_ENVIRON = 65536, /* variables */
};

/* Which package has a program, for the sentence that says it is missing. */
static const struct {
	const char *program, *package;
} packages[] = {
	{"git", "git"},
	{"python3", "python3"},
	{"ssh", "openssh-client"},
	{"tar", "tar"},
	{"apptainer", "apptainer"},
	{"sbatch", "slurm-client"},
	{"bash", "bash"},
	{"sh", "dash"},
	{"git-lfs", "git-lfs"},
	{"systemd-run", "systemd"},
};

struct program {
	const struct mk_exec *exec;
	pid_t pid;
	int pidfd; /* -1: no such thing here */
	int out, err;
	bool over; /* stdout is more than its buffer may hold */
	bool ended;
	siginfo_t end;
	int64_t heard;	     /* when it last wrote something */
	char tail[ERR_TAIL]; /* ring of stderr's last bytes */
	size_t tail_len;     /* bytes ever written to it */
};

static bool env_matches(const char *entry, const char *variable)
{
	size_t n = strcspn(entry, "=");

	if (n && entry[n] == 0 && entry[n - 1] == '*')
		return strncmp(entry, variable, n - 1) == 0;
	return strncmp(entry, variable, n) == 0 && variable[n] == '=';
}

/* The inherited variables that nothing in `over` names, then what `over` sets. */
static char **build_environment(const char *const *over)
{
	size_t n = 0, n_over = 0;

	while (environ && environ[n] && n < MAX_ENVIRON)
		n++;
	while (over && over[n_over])
		n_over++;

	char **env = mk_alloc((n + n_over + 1) * sizeof(*env));
	size_t k = 0;

	for (size_t i = 0; i < n; i++) {
		bool named = false;

		for (size_t j = 0; j < n_over && !named; j++)
			named = env_matches(over[j], environ[i]);
		if (!named)
			env[k++] = environ[i];
	}
	for (size_t j = 0; j < n_over; j++)
		if (strchr(over[j], '='))
			env[k++] = (char *)over[j];
	return env;
}

/* A descriptor that reads `input` from its beginning: no pipe, so nothing to feed or to break. */
static int open_input(struct mk_call *call, const struct mk_exec *exec)
{
	if (!exec->input) {
		int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

		return fd >= 0 ? fd : mk_fail(call, errno, "/dev/null: %s", strerror(errno));
	}

	_cleanup_close_ int fd = memfd_create("input", MFD_CLOEXEC);
	if (fd < 0)
		return mk_fail(call, errno, "input of %s: %s", exec->argv[0], strerror(errno));

	for (size_t done = 0; done < exec->input_len;) {
		ssize_t n = pwrite(fd, exec->input + done, exec->input_len - done, (off_t)done);
		if (n <= 0)
			return mk_fail(call, n ? errno : EIO, "input of %s: %s", exec->argv[0],
				       strerror(n ? errno : EIO));
		done += (size_t)n;
	}
	return mk_steal_fd(&fd);
}

static int fail_to_start(struct mk_call *call, const struct mk_exec *exec, int code)
{
	const char *name = exec->argv[0];

	if (code != ENOENT)
		return mk_fail(call, code, "cannot start %s: %s", name, strerror(code));
	if (exec->dir && access(exec->dir, X_OK) < 0)
		return mk_fail(call, errno, "cannot start %s in %s: %s", name, exec->dir,
			       strerror(errno));
	for (size_t i = 0; i < sizeof(packages) / sizeof(*packages); i++)
		if (strcmp(packages[i].program, name) == 0)
			return mk_fail(call, ENOENT,
				       "the program %s is not installed: install the package %s",
				       name, packages[i].package);
	return mk_fail(call, ENOENT, "the program %s is not installed", name);
}

/* Nothing of ours goes along: signals as at login, no descriptor above 2, its own group. */
static int spawn(struct mk_call *call, const struct mk_exec *exec, int in, int out, int err,
		 pid_t *ret)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t all, none;
	_cleanup_free_ char **env = build_environment(exec->env);

	sigfillset(&all);
	sigemptyset(&none);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF |
						POSIX_SPAWN_SETSIGMASK);
	posix_spawnattr_setpgroup(&attr, 0);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawn_file_actions_adddup2(&actions, in, 0);
	posix_spawn_file_actions_adddup2(&actions, out, 1);
	posix_spawn_file_actions_adddup2(&actions, err, 2);
	if (exec->pass_fd > 0)
		posix_spawn_file_actions_adddup2(&actions, exec->pass_fd, 3);
	posix_spawn_file_actions_addclosefrom_np(&actions, exec->pass_fd > 0 ? 4 : 3);
	if (exec->dir)
		posix_spawn_file_actions_addchdir_np(&actions, exec->dir);

	int r = posix_spawnp(ret, exec->argv[0], &actions, &attr, (char *const *)exec->argv, env);

	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	return r ? fail_to_start(call, exec, r) : 0;
}

/* Descriptors 0 to 2 may be closed in us, and dup2 of a pair that overlaps would lose one. */
static int above_standard(int fd)
{
	if (fd < 0 || fd > 2)
		return fd;

	int high = fcntl(fd, F_DUPFD_CLOEXEC, 3);

	close(fd);
	return high;
}

static int open_pipe(struct mk_call *call, int *ret_read, int *ret_write)
{
	int fd[2];

	if (pipe2(fd, O_CLOEXEC) < 0)
		return mk_fail(call, errno, "pipe: %s", strerror(errno));
	*ret_read = above_standard(fd[0]);
	*ret_write = above_standard(fd[1]);
	if (*ret_read < 0 || *ret_write < 0)
		return mk_fail(call, EMFILE, "pipe: %s", strerror(EMFILE));
	(void)fcntl(*ret_read, F_SETFL, O_NONBLOCK);
	return 0;
}

static int start(struct mk_call *call, struct program *p)
{
	_cleanup_close_ int in = above_standard(open_input(call, p->exec));
	_cleanup_close_ int out = -1, err = -1;
	int r;

	if (in < 0)
		return in;
	r = open_pipe(call, &p->err, &err);
	if (r < 0)
		return r;
	if (p->exec->out_fd <= 0) {
		r = open_pipe(call, &p->out, &out);
		if (r < 0)
			return r;
	}
	r = spawn(call, p->exec, in, out >= 0 ? out : p->exec->out_fd, err, &p->pid);
	if (r < 0)
		return r;
	p->pidfd = pidfd_open(p->pid, 0);
	p->heard = mk_now_mono();
	if (p->exec->started)
		p->exec->started(p->exec->started_arg, p->pid);
	return 0;
}

static void keep_tail(struct program *p, const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		p->tail[p->tail_len++ % ERR_TAIL] = data[i];
}

static void add_tail(const struct program *p, struct mk_buf *buf)
{
	size_t n = p->tail_len < ERR_TAIL ? p->tail_len : ERR_TAIL;

	for (size_t i = p->tail_len - n; i < p->tail_len; i++)
		(void)mk_buf_putc(buf, p->tail[i % ERR_TAIL]);
}

/* Takes what one pipe has now; closes it at its end. */
static void drain(struct program *p, int *fd)
{
	char data[65536];

	while (*fd >= 0) {
		ssize_t n = read(*fd, data, sizeof(data));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			mk_closep(fd);
			return;
		}
		p->heard = mk_now_mono();
		if (fd == &p->err)
			keep_tail(p, data, (size_t)n);
		else if (p->exec->out && mk_buf_put(p->exec->out, data, (size_t)n) < 0)
			p->over = true;
		if (p->exec->out && p->exec->out->secret)
			explicit_bzero(data, (size_t)n);
	}
}

/* Has it ended? Without reaping: until then its pid and group cannot become somebody else's. */
static bool has_ended(struct program *p)
{
	if (p->ended)
		return true;

	siginfo_t end = {0};

	if (waitid(P_PID, (id_t)p->pid, &end, WEXITED | WNOHANG | WNOWAIT) < 0) {
		p->ended = errno == ECHILD; /* somebody ignores SIGCHLD: gone, code unknown */
		return p->ended;
	}
	if (end.si_pid == p->pid) {
		p->end = end;
		p->ended = true;
	}
	return p->ended;
}

/* One look at everything, at most `ms`. */
static void look(struct mk_call *call, struct program *p, int ms, bool cancellable)
{
	int cancel = cancellable ? mk_call_cancel_fd(call) : -1;
	struct pollfd fds[] = {
		{.fd = p->out, .events = POLLIN},
		{.fd = p->err, .events = POLLIN},
		{.fd = p->pidfd, .events = POLLIN},
		{.fd = cancel, .events = POLLIN},
	};

	if (p->pidfd < 0 && ms > BLIND_MS)
		ms = BLIND_MS;
	if (cancellable && cancel < 0 && ms > 100)
		ms = 100;
	(void)poll(fds, sizeof(fds) / sizeof(*fds), ms);
	drain(p, &p->out);
	drain(p, &p->err);
	(void)has_ended(p);
}

static int why_stop(struct mk_call *call, struct program *p)
{
	const char *name = p->exec->remote ? p->exec->remote : p->exec->argv[0];
	int r = mk_call_check(call, name);

	if (r < 0)
		return r;
	if (p->over)
		return mk_fail(call, EFBIG, "%s: more than %zu bytes of output", p->exec->argv[0],
			       p->exec->out->limit);
	if (p->exec->idle > 0 && mk_now_mono() - p->heard >= p->exec->idle)
		return mk_fail(call, ETIMEDOUT, "no answer in %lld s from %s",
			       (long long)(p->exec->idle / MK_SEC), name);
	return 0;
}

static int wait_for_end(struct mk_call *call, struct program *p)
{
	while (!has_ended(p)) {
		int r = why_stop(call, p);
		if (r < 0)
			return r;

		int ms = mk_call_left_ms(call, 60000);

		if (p->exec->idle > 0) {
			int64_t left = (p->heard + p->exec->idle - mk_now_mono()) / MK_MS + 1;

			ms = left < ms ? (int)left : ms;
		}
		look(call, p, ms > 0 ? ms : 0, true);
	}
	drain(p, &p->out);
	drain(p, &p->err);
	return p->over ? why_stop(call, p) : 0;
}

static bool ends_within(struct mk_call *call, struct program *p, int ms)
{
	int64_t until = mk_now_mono() + ms * MK_MS;

	while (!has_ended(p) && mk_now_mono() < until) {
		int64_t left = (until - mk_now_mono()) / MK_MS + 1;

		look(call, p, (int)left, false);
	}
	return p->ended;
}

/* The whole group: what git started must not go on writing into a mirror we then clean up. The
 * leader is reaped only after the last signal, so that the number stays ours. */
static void end_group(struct mk_call *call, struct program *p)
{
	(void)kill(-p->pid, SIGTERM);
	(void)kill(-p->pid, SIGCONT);
	if (!ends_within(call, p, TERM_MS)) {
		(void)kill(-p->pid, SIGKILL);
		(void)ends_within(call, p, KILL_MS);
	}
	(void)kill(-p->pid, SIGKILL);
}

static void reap(struct program *p)
{
	siginfo_t end;

	if (p->pid > 0)
		(void)waitid(P_PID, (id_t)p->pid, &end, WEXITED | (p->ended ? 0 : WNOHANG));
	mk_closep(&p->pidfd);
	mk_closep(&p->out);
	mk_closep(&p->err);
}

/* What it had said by then. */
static void add_words(struct mk_call *call, const struct program *p)
{
	_cleanup_buf_ struct mk_buf words = MK_BUF(ERR_TAIL);

	add_tail(p, &words);
	if (words.len)
		mk_error_detail(call, p->exec->remote, 0, mk_buf_text(&words));
}

static int judge(struct mk_call *call, struct program *p)
{
	const struct mk_exec *exec = p->exec;
	const char *name = exec->argv[0];
	int status = p->end.si_code == CLD_EXITED ? p->end.si_status : -1;
	int sig =
		p->end.si_code == CLD_KILLED || p->end.si_code == CLD_DUMPED ? p->end.si_status : 0;
	_cleanup_buf_ struct mk_buf words = MK_BUF(ERR_TAIL);

	add_tail(p, &words);
	if (exec->err) {
		mk_buf_truncate(exec->err, 0);
		exec->err->error = 0;
		(void)mk_buf_put(exec->err, mk_buf_text(&words), words.len);
	}
	if (sig && !exec->ret_signal) {
		(void)mk_fail(call, EREMOTEIO, "%s was ended by signal %d", name, sig);
		mk_error_detail(call, exec->remote, 0, mk_buf_text(&words));
		return -EREMOTEIO;
	}
	if (!sig && status != 0 && !exec->ret_status) {
		(void)mk_fail(call, EREMOTEIO, "%s ended with exit code %d", name, status);
		mk_error_detail(call, exec->remote, status, mk_buf_text(&words));
		return -EREMOTEIO;
	}
	if (exec->ret_status)
		*exec->ret_status = status;
	if (exec->ret_signal)
		*exec->ret_signal = sig;
	return 0;
}

static void trace(const struct mk_call *call, const struct program *p, int64_t began, int r)
{
	_cleanup_buf_ struct mk_buf words = MK_BUF(1 << 15);
	long long us = (mk_now_mono() - began) / 1000;

	for (const char *const *word = p->exec->argv; *word; word++)
		(void)mk_buf_printf(&words, "%s ", *word);
	if (r < 0 && r != -EREMOTEIO)
		mk_trace(MK_TRACE_EXEC, call->number, "%spid %d %lld us: %s", mk_buf_text(&words),
			 (int)p->pid, us, strerrorname_np(-r));
	else
		mk_trace(MK_TRACE_EXEC, call->number, "%spid %d %lld us: %s %d", mk_buf_text(&words),
			 (int)p->pid, us, p->end.si_code == CLD_EXITED ? "exit" : "signal",
			 p->end.si_status);
}

int mk_exec_run(struct mk_call *call, const struct mk_exec *exec)
{
	struct program p = {.exec = exec, .pidfd = -1, .out = -1, .err = -1};
	int64_t began = mk_now_mono();
	int r;

	if (exec->remote) {
		r = mk_call_may_wait(call, exec->remote);
		if (r < 0)
			return r;
	}
	r = mk_call_check(call, exec->remote ? exec->remote : exec->argv[0]);
	if (r < 0)
		return r;
	r = start(call, &p);
	if (r == 0) {
		r = wait_for_end(call, &p);
		if (r < 0) {
			end_group(call, &p);
			add_words(call, &p);
		} else {
			r = judge(call, &p);
		}
	}
	reap(&p);
	if (mk_tracing(MK_TRACE_EXEC))
		trace(call, &p, began, r);
	return r;
}
