/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding and signalling processes without ever hitting a foreign one. A pid alone means nothing: it
 * may be used again between looking and signalling. So a process is held by a pidfd first, looked
 * at again, and only then signalled through the pidfd.
 *
 * Used by the shepherd (its descendants) and by mantikd (what a killed shepherd left behind).
 */
#include "connect/compute/local/local.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/file.h"
#include "base/proc.h"

enum { MAX_ENVIRON = 4 << 20 };

static int pidfd_open_(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	return fd < 0 ? -errno : fd;
}

static int pidfd_signal_(int fd, int sig)
{
	return syscall(SYS_pidfd_send_signal, fd, sig, NULL, 0) < 0 ? -errno : 0;
}

/* A process that lives: one that is dead and only not yet reaped is none. */
static int look(pid_t pid, struct mk_proc *ret)
{
	int r = mk_proc_look(pid, ret);

	return r < 0 || ret->state == 'Z' || ret->state == 'X' ? -ESRCH : 0;
}

uint64_t mk_process_start(pid_t pid)
{
	struct mk_proc proc;

	return look(pid, &proc) < 0 ? 0 : proc.start;
}

bool mk_process_alive(const struct mk_process *process)
{
	return process->pid > 0 && process->start && mk_process_start(process->pid) == process->start;
}

int mk_process_fd(const struct mk_process *process)
{
	if (process->pid <= 0)
		return -ESRCH;

	_cleanup_close_ int fd = pidfd_open_(process->pid);

	if (fd < 0)
		return fd;
	/* Looked at after it is held: if this is the right one, the descriptor is. */
	if (mk_process_start(process->pid) != process->start)
		return -ESRCH;
	return mk_steal_fd(&fd);
}

int mk_process_signal(const struct mk_process *process, int sig)
{
	_cleanup_close_ int fd = mk_process_fd(process);

	return fd < 0 ? fd : pidfd_signal_(fd, sig);
}

struct entry {
	pid_t pid;
	pid_t parent;
	uint64_t start;
	bool ours;
	bool daemon; /* a mantikd or shepherd */
};

struct table {
	struct entry *v;
	size_t n, cap;
};

static void table_free(struct table *t)
{
	free(t->v);
	*t = (struct table){};
}

static int all_processes(struct table *t)
{
	DIR *dir = opendir("/proc");

	if (!dir)
		return -errno;
	for (struct dirent *e; (e = readdir(dir));) {
		if (!isdigit((unsigned char)e->d_name[0]))
			continue;

		pid_t pid = (pid_t)strtol(e->d_name, NULL, 10);
		struct mk_proc proc;

		if (look(pid, &proc) < 0)
			continue;
		if (t->n == t->cap) {
			size_t cap = t->cap ? 2 * t->cap : 256;
			struct entry *v = reallocarray(t->v, cap, sizeof(*v));

			if (!v)
				break;
			t->v = v;
			t->cap = cap;
		}
		t->v[t->n++] = (struct entry){
			.pid = pid,
			.parent = proc.parent,
			.start = proc.start,
		};
	}
	closedir(dir);
	return 0;
}

static bool environment_has(pid_t pid, const char *uid)
{
	char path[64];
	struct stat st;

	(void)snprintf(path, sizeof(path), "/proc/%d/environ", (int)pid);

	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_uid != geteuid())
		return false;

	_cleanup_buf_ struct mk_buf buf = MK_BUF(MAX_ENVIRON);
	_cleanup_free_ char *mark = mk_strf("MANTIK_RUN_ID=%s", uid);
	char part[16384];
	ssize_t n;

	while ((n = read(fd, part, sizeof(part))) > 0)
		if (mk_buf_put(&buf, part, (size_t)n) < 0)
			break;
	for (const char *p = mk_buf_text(&buf), *end = p + buf.len; p < end; p += strlen(p) + 1)
		if (strcmp(p, mark) == 0)
			return true;
	return false;
}

/* By the name of its program, which a package that was upgraded meanwhile may have replaced. */
static bool is_daemon(pid_t pid)
{
	static const char name[] = "/mantikd", gone[] = " (deleted)";
	char path[64], target[4096];

	(void)snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);

	ssize_t n = readlink(path, target, sizeof(target) - 1);

	if (n <= 0)
		return false;
	target[n] = 0;

	size_t len = (size_t)n;

	if (len > strlen(gone) && strcmp(target + len - strlen(gone), gone) == 0)
		target[len -= strlen(gone)] = 0;
	return len >= strlen(name) && strcmp(target + len - strlen(name), name) == 0;
}

static int by_pid(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	return (x->pid > y->pid) - (x->pid < y->pid);
}

/* Marks the descendants of root: a generation a round, until a round finds none. Below a mantikd
 * that is not the leader nobody is looked for. */
static void mark_descendants(struct table *t, pid_t root, pid_t leader)
{
	qsort(t->v, t->n, sizeof(*t->v), by_pid);
	for (bool more = true; more;) {
		more = false;
		for (size_t i = 0; i < t->n; i++) {
			if (t->v[i].ours || t->v[i].daemon)
				continue;

			struct entry key = {.pid = t->v[i].parent};
			struct entry *parent = bsearch(&key, t->v, t->n, sizeof(key), by_pid);

			if (t->v[i].parent != root && !(parent && parent->ours))
				continue;
			t->v[i].daemon = t->v[i].pid != leader && is_daemon(t->v[i].pid);
			t->v[i].ours = !t->v[i].daemon;
			more |= t->v[i].ours;
		}
	}
}

int mk_process_signal_all(pid_t root, pid_t leader, const char *uid, int sig)
{
	_cleanup_(table_free) struct table t = {};
	int n = 0;

	if (all_processes(&t) < 0)
		return 0;
	if (root > 0 && t.n)
		mark_descendants(&t, root, leader);
	for (size_t i = 0; i < t.n; i++) {
		struct entry *e = &t.v[i];

		if (e->pid <= 1 || e->pid == getpid() || e->pid == root)
			continue;
		if (!e->ours && uid && environment_has(e->pid, uid) && !is_daemon(e->pid))
			e->ours = true;
		if (!e->ours)
			continue;

		struct mk_process process = {.pid = e->pid, .start = e->start};
		int r = sig ? mk_process_signal(&process, sig) : mk_process_alive(&process) ? 0 : -ESRCH;

		n += r != -ESRCH;
	}
	return n;
}

bool mk_process_only_daemons(pid_t root, pid_t leader)
{
	_cleanup_(table_free) struct table t = {};
	bool daemons = false;

	if (all_processes(&t) < 0 || !t.n)
		return false;
	mark_descendants(&t, root, leader);
	for (size_t i = 0; i < t.n; i++) {
		if (t.v[i].ours)
			return false;
		daemons |= t.v[i].daemon;
	}
	return daemons;
}
