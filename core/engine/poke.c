/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mantik_poke(): called by mounts and command lines after something durable was written for
 * mantikd to do. Rings when it is there, else starts it.
 *
 *   asker                           mantikd about to go
 *     commit intent                   close and unlink the socket
 *     ring: refused -> start one      look into the journal once more: anything? stay
 *
 * Whatever the order of the two columns, one of them sees the intent: a ring that was taken came
 * after the commit and before the last look; a refused ring starts another mantikd, which waits
 * for the lease.
 *
 * The socket lies in the run directory of whoever started mantikd. Others may have another one: a
 * job, cron and sudo have no $XDG_RUNTIME_DIR. So <data>/doorbell leads to it, too.
 *
 * mantik_keep(): called by who looks at a run that goes on; rings, and starts mantikd in a thread of
 * its own when it was killed. The next one joins that thread, or mantik_close().
 *
 * mantikd itself detaches (tools/mantikd.c); here it is only spawned and its first, short-lived
 * process reaped. It gets no descriptor of ours: a daemon that inherited /dev/fuse would keep a
 * dead mount alive. Nor what marks a job (MANTIK_RUN_ID …): it would end with the job's cancel.
 */
#include "engine/poke.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/file.h"
#include <mantik/daemon.h>

#include "net/spawn.h"

#ifndef MANTIKD_DIRS
#define MANTIKD_DIRS "/usr/local/libexec/mantik:/usr/local/bin:/usr/libexec/mantik:/usr/bin"
#endif

extern char **environ;

static const char socket_name[] = "mantikd", link_name[] = "doorbell";

/* The directory by descriptor, so that a long path fits a socket address. */
static int address(const char *folder, const char *name, struct sockaddr_un *ret, int *ret_dir)
{
	int dir = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0)
		return -errno;
	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	(void)snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d/%s", dir, name);
	*ret_dir = dir;
	return 0;
}

/* <data>/doorbell -> our socket. Whoever has our run directory finds us without. */
static void make_link(const struct mantik *m)
{
	_cleanup_free_ char *target = mk_strf("%s/%s", m->run_dir, socket_name);
	_cleanup_free_ char *path = mk_strf("%s/%s", m->data_dir, link_name);
	_cleanup_free_ char *part = mk_strf("%s.%d", path, (int)getpid());
	char now[4096];
	ssize_t n = readlink(path, now, sizeof(now) - 1);

	if (n > 0) {
		now[n] = 0;
		if (strcmp(now, target) == 0)
			return;
	}
	if (symlink(target, part) < 0 || rename(part, path) < 0)
		(void)unlink(part);
}

int mk_poke_bind(struct mk_call *call, struct mantik *m, int *ret_fd)
{
	_cleanup_close_ int dir = -1;
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un to;
	int r;

	if (fd < 0)
		return mk_fail(call, errno, "mantikd's socket: %s", strerror(errno));
	r = mk_mkdirs(call, m->run_dir, 0700);
	if (r < 0)
		return r;
	mk_poke_unbind(m);
	r = address(m->run_dir, socket_name, &to, &dir);
	if (r == 0 && bind(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		r = -errno;
	if (r < 0)
		return mk_fail(call, -r, "%s: cannot bind mantikd's socket: %s", m->run_dir,
			       strerror(-r));
	(void)chmod(to.sun_path, 0600);
	make_link(m);
	*ret_fd = mk_steal_fd(&fd);
	return 0;
}

void mk_poke_unbind(struct mantik *m)
{
	_cleanup_free_ char *path = mk_strf("%s/%s", m->run_dir, socket_name);

	(void)unlink(path);
}

static int ring(const char *folder, const char *name)
{
	_cleanup_close_ int dir = -1;
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un to;

	if (fd < 0)
		return -errno;
	if (address(folder, name, &to, &dir) < 0)
		return -ENOENT;
	if (sendto(fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&to, sizeof(to)) == 1)
		return 0;
	/* Its queue is full of rings it has not looked at: it will see ours with them. */
	if (errno == EAGAIN || errno == ENOBUFS)
		return 0;
	return -ENOENT;
}

int mk_poke_ring(struct mantik *m)
{
	int r = ring(m->run_dir, socket_name);

	return r == -ENOENT ? ring(m->data_dir, link_name) : r;
}

static bool executable(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

char *mantik_daemon_path(void)
{
	const char *env = getenv("MANTIKD");
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n > 0) {
		self[n] = 0;

		char *slash = strrchr(self, '/');

		if (slash) {
			_cleanup_free_ char *path =
				mk_strf("%.*s/mantikd", (int)(slash - self), self);

			if (executable(path))
				return mk_steal(&path);
		}
	}
	if (env && executable(env))
		return mk_strdup(env);
	for (const char *p = MANTIKD_DIRS; *p;) {
		size_t len = strcspn(p, ":");
		_cleanup_free_ char *path = mk_strf("%.*s/mantikd", (int)len, p);

		if (executable(path))
			return mk_steal(&path);
		p += len + (p[len] == ':');
	}
	return NULL;
}

/* What only the job that we may be in has: not for mantikd. */
static bool is_of_a_job(const char *variable)
{
	static const char *const marks[] = {"MANTIK_RUN_ID=", "MANTIK_RUN_DIR=",
					    "MANTIK_WORKING_DIRECTORY="};

	for (size_t i = 0; i < sizeof(marks) / sizeof(*marks); i++)
		if (strncmp(variable, marks[i], strlen(marks[i])) == 0)
			return true;
	return false;
}

/* The variables are the environment's own; only the array is new. */
static char **clean_environment(void)
{
	size_t n = 0, kept = 0;

	while (environ[n])
		n++;

	char **env = calloc(n + 1, sizeof(*env));

	for (size_t i = 0; env && i < n; i++)
		if (!is_of_a_job(environ[i]))
			env[kept++] = environ[i];
	return env;
}

static int start(struct mk_call *call, struct mantik *m)
{
	_cleanup_free_ char *path = mantik_daemon_path();

	if (!path)
		return mk_fail(call, EIO,
			       "mantikd is not installed beside this program nor in %s (set MANTIKD "
			       "to its path); what was submitted waits for it",
			       MANTIKD_DIRS);

	const char *const argv[] = {path,	   "--data",   m->data_dir,   "--cache",
				    m->cache_dir, "--config", m->config_dir, NULL};
	_cleanup_free_ char **env = clean_environment();
	struct mk_spawn spawn = {.path = path, .argv = argv, .env = env};
	pid_t pid;
	int r = mk_spawn(call, &spawn, &pid);

	if (r < 0)
		return mk_fail(call, EIO, "%s", call->error.text);

	int status = 0;

	/* Only the process that forks the daemon: over in milliseconds. ECHILD: our caller ignores
	 * SIGCHLD. */
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (status)
		return mk_fail(call, EIO, "%s did not start; see %s/mantikd.log", path, m->data_dir);
	return 0;
}

int mantik_poke(struct mk_call *call, struct mantik *m)
{
	if (mk_poke_ring(m) == 0 || m->no_daemon)
		return 0;
	return start(call, m);
}

/* Who looks is a worker of a mount, say, and does not wait for the disk mantikd's program is on. */
static void *keeper(void *arg)
{
	struct mantik *m = arg;
	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);
	(void)!mantik_poke(&call, m);
	atomic_store(&m->keeping, false);
	return NULL;
}

void mantik_keep(struct mantik *m)
{
	int64_t now = mk_now_mono(), last = atomic_load(&m->kept_at);

	if (m->read_only || m->read_only_why || m->no_daemon || now - last < MK_KEEP ||
	    !atomic_compare_exchange_strong(&m->kept_at, &last, now) || mk_poke_ring(m) == 0)
		return;
	pthread_mutex_lock(&m->keep_lock);
	if (!atomic_exchange(&m->keeping, true)) {
		if (m->has_keeper) /* it has come to its end */
			(void)pthread_join(m->keeper, NULL);
		m->has_keeper = pthread_create(&m->keeper, NULL, keeper, m) == 0;
		if (!m->has_keeper)
			atomic_store(&m->keeping, false);
	}
	pthread_mutex_unlock(&m->keep_lock);
}
