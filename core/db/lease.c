/* SPDX-License-Identifier: Apache-2.0 */
/* The lease: see lease.h. The record is a small text, one `key: value` a line, replaced whole. */
#include "db/lease.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/proc.h"
#include "db/fstype.h"

enum { RECORD_MAX = 4096 };

struct mk_lease {
	int lock_fd; /* flock held as long as this lives */
	char *path;
	struct mk_lease_info self;
};

void mk_lease_info_free(struct mk_lease_info *info)
{
	free(info->host);
	free(info->boot_id);
	*info = (struct mk_lease_info){};
}

static int read_small(const char *path, char *out, size_t size)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;

	size_t len = 0;

	while (len < size - 1) {
		ssize_t n = read(fd, out + len, size - 1 - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		len += (size_t)n;
	}
	out[len] = 0;
	return (int)len;
}

static int self_info(struct mk_call *call, struct mk_lease_info *ret)
{
	char host[256], boot[37];
	int r = mk_boot_id(boot);

	if (r < 0)
		return mk_fail(call, -r, "the boot id of this machine: %s", strerror(-r));
	if (gethostname(host, sizeof(host)) < 0)
		return mk_fail(call, errno, "the name of this machine: %s", strerror(errno));
	host[sizeof(host) - 1] = 0;
	*ret = (struct mk_lease_info){
		.state = MK_LEASE_HERE,
		.host = mk_strdup(host),
		.boot_id = mk_strdup(boot),
		.pid = getpid(),
		.pid_start = mk_proc_start(getpid()),
		.since = mk_now_real(),
		.heartbeat = mk_now_real(),
	};
	return 0;
}

static char *record_path(const char *data_dir)
{
	_cleanup_buf_ struct mk_buf path = MK_BUF(8192);

	(void)mk_buf_printf(&path, "%s/lease", data_dir);
	return mk_buf_steal(&path);
}

/* The value behind "key: " at the beginning of a line; NULL when it is not there. */
static char *record_value(const char *text, const char *key)
{
	size_t len = strlen(key);

	for (const char *line = text; line && *line;) {
		const char *end = strchr(line, '\n');

		if (strncmp(line, key, len) == 0 && strncmp(line + len, ": ", 2) == 0 && end)
			return mk_strndup(line + len + 2, (size_t)(end - line) - len - 2);
		line = end ? end + 1 : NULL;
	}
	return NULL;
}

static bool record_number(const char *text, const char *key, int64_t *ret)
{
	_cleanup_free_ char *value = record_value(text, key);
	char *end;

	if (!value || !*value)
		return false;
	errno = 0;
	*ret = strtoll(value, &end, 10);
	return !errno && !*end && *ret >= 0;
}

/* 1 read, 0 no record. */
static int record_read(struct mk_call *call, const char *path, struct mk_lease_info *ret)
{
	_cleanup_lease_info_ struct mk_lease_info info = {};
	char text[RECORD_MAX];
	int64_t pid, start;
	struct stat st;
	int r = read_small(path, text, sizeof(text));

	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return mk_fail(call, -r, "%s: cannot be read: %s", path, strerror(-r));
	info.host = record_value(text, "host");
	info.boot_id = record_value(text, "boot_id");
	if (!info.host || !info.boot_id || !record_number(text, "pid", &pid) ||
	    !record_number(text, "pid_start", &start) || pid != (pid_t)pid || !start ||
	    !record_number(text, "since", &info.since) ||
	    !record_number(text, "heartbeat", &info.heartbeat))
		return mk_fail(call, EUCLEAN,
			       "%s: damaged; remove it if no other machine uses this "
			       "platform",
			       path);
	info.pid = (pid_t)pid;
	info.pid_start = (uint64_t)start;
	/* The file server's clock, should the other machine's be wrong. */
	if (stat(path, &st) == 0 && st.st_mtim.tv_sec * MK_SEC > info.heartbeat)
		info.heartbeat = st.st_mtim.tv_sec * MK_SEC;
	*ret = info;
	info = (struct mk_lease_info){};
	return 1;
}

static int record_write(struct mk_call *call, const char *path, const struct mk_lease_info *info)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF(RECORD_MAX), part = MK_BUF(8192);

	(void)mk_buf_printf(&text,
			    "host: %s\nboot_id: %s\npid: %d\npid_start: %llu\nsince: %lld\n"
			    "heartbeat: %lld\n",
			    info->host, info->boot_id, (int)info->pid,
			    (unsigned long long)info->pid_start, (long long)info->since,
			    (long long)info->heartbeat);
	(void)mk_buf_printf(&part, "%s.%s.%d", path, info->host, (int)info->pid);

	_cleanup_close_ int fd =
		open(mk_buf_text(&part), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0)
		return mk_fail(call, errno, "%s: cannot be made: %s", mk_buf_text(&part),
			       strerror(errno));
	if (write(fd, text.data, text.len) != (ssize_t)text.len || fsync(fd) < 0 ||
	    rename(mk_buf_text(&part), path) < 0) {
		int code = errno ? errno : EIO;

		(void)unlink(mk_buf_text(&part));
		return mk_fail(call, code, "%s: cannot be written: %s", path, strerror(code));
	}
	return 0;
}

static void judge(struct mk_lease_info *info, const struct mk_lease_info *self)
{
	bool same_boot = strcmp(info->boot_id, self->boot_id) == 0;
	bool same_host = strcmp(info->host, self->host) == 0;

	if (same_boot && mk_proc_start(info->pid) == info->pid_start)
		info->state = MK_LEASE_HERE;
	else if (same_boot || same_host) /* ended, or this machine was started anew */
		info->state = MK_LEASE_FREE;
	else if (mk_now_real() - info->heartbeat > MK_LEASE_SILENT)
		info->state = MK_LEASE_GONE;
	else
		info->state = MK_LEASE_AWAY;
}

int mk_lease_look(struct mk_call *call, const char *data_dir, struct mk_lease_info *ret)
{
	_cleanup_free_ char *path = record_path(data_dir);
	_cleanup_lease_info_ struct mk_lease_info info = {}, self = {};
	int r = record_read(call, path, &info);

	if (r < 0)
		return r;
	if (r > 0) {
		r = self_info(call, &self);
		if (r < 0)
			return r;
		judge(&info, &self);
	}
	*ret = info;
	info = (struct mk_lease_info){};
	return 0;
}

void mk_lease_text(const struct mk_lease_info *info, struct mk_buf *ret)
{
	char since[32], beat[32];

	mk_time_text(info->since, false, since);
	mk_time_text(info->heartbeat, false, beat);
	switch (info->state) {
	case MK_LEASE_FREE:
		break;
	case MK_LEASE_HERE:
		(void)mk_buf_printf(ret, "in use by process %d of this machine since %s",
				    (int)info->pid, since);
		break;
	case MK_LEASE_AWAY:
		(void)mk_buf_printf(ret, "in use on %s since %s", info->host, since);
		break;
	case MK_LEASE_GONE:
		(void)mk_buf_printf(ret,
				    "in use on %s since %s, silent since %s; if that machine is "
				    "gone, `mantikctl takeover` moves the platform here",
				    info->host, since, beat);
		break;
	}
}

static int fail_held(struct mk_call *call, const struct mk_lease_info *info)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF(4096);

	mk_lease_text(info, &text);
	return mk_fail(call, EBUSY, "%s", mk_buf_text(&text));
}

/* On a local file system the lock lies beside the record and holds for containers too. */
static int lock(struct mk_call *call, struct mantik *m, int *ret)
{
	struct mk_fstype type;
	int r = mk_fstype(call, m->data_dir, &type);
	_cleanup_buf_ struct mk_buf path = MK_BUF(8192);

	if (r < 0)
		return r;
	(void)mk_buf_printf(&path, "%s/lease.lock", type.is_local ? m->data_dir : m->run_dir);

	_cleanup_close_ int fd = open(mk_buf_text(&path), O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		return mk_fail(call, errno, "%s: %s", mk_buf_text(&path), strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return mk_fail(call, errno == EWOULDBLOCK ? EBUSY : errno,
			       errno == EWOULDBLOCK ? "%s: another mantikd of this machine holds it"
						    : "%s: cannot be locked",
			       mk_buf_text(&path));
	*ret = mk_steal_fd(&fd);
	return 0;
}

static void lease_free(struct mk_lease *lease)
{
	if (!lease)
		return;
	mk_closep(&lease->lock_fd);
	mk_lease_info_free(&lease->self);
	free(lease->path);
	free(lease);
}

static void lease_freep(struct mk_lease **lease)
{
	lease_free(*lease);
}

int mk_lease_take(struct mk_call *call, struct mantik *m, struct mk_lease **ret)
{
	_cleanup_(lease_freep) struct mk_lease *lease = mk_new(struct mk_lease);
	_cleanup_lease_info_ struct mk_lease_info seen = {};
	int r;

	lease->lock_fd = -1;
	lease->path = record_path(m->data_dir);
	r = self_info(call, &lease->self);
	if (r == 0)
		r = lock(call, m, &lease->lock_fd);
	if (r == 0)
		r = mk_lease_look(call, m->data_dir, &seen);
	if (r < 0)
		return r;
	/* HERE with the lock in our hands: this process itself, or one whose lock lies in another
	 * run directory (a network file system). */
	if (seen.state == MK_LEASE_AWAY || seen.state == MK_LEASE_GONE ||
	    (seen.state == MK_LEASE_HERE && seen.pid != getpid()))
		return fail_held(call, &seen);
	r = record_write(call, lease->path, &lease->self);
	if (r < 0)
		return r;
	r = mk_lease_beat(call, lease); /* two machines at the same moment: the later one has it */
	if (r < 0)
		return r;
	*ret = mk_steal(&lease);
	return 0;
}

static bool is_self(const struct mk_lease_info *a, const struct mk_lease_info *b)
{
	return a->pid == b->pid && a->pid_start == b->pid_start &&
	       strcmp(a->boot_id, b->boot_id) == 0 && strcmp(a->host, b->host) == 0;
}

int mk_lease_beat(struct mk_call *call, struct mk_lease *lease)
{
	_cleanup_lease_info_ struct mk_lease_info seen = {};
	int r = record_read(call, lease->path, &seen);

	if (r < 0)
		return r;
	if (r == 0 || !is_self(&seen, &lease->self))
		return mk_fail(call, ESTALE, "the platform was taken over by %s",
			       r ? seen.host : "another machine");
	lease->self.heartbeat = mk_now_real();
	return record_write(call, lease->path, &lease->self);
}

void mk_lease_release(struct mk_lease *lease)
{
	if (!lease)
		return;

	_cleanup_call_ struct mk_call call;
	_cleanup_lease_info_ struct mk_lease_info seen = {};

	mk_call_init(&call);
	if (record_read(&call, lease->path, &seen) == 1 && is_self(&seen, &lease->self))
		(void)unlink(lease->path);
	lease_free(lease);
}

int mk_lease_takeover(struct mk_call *call, struct mantik *m)
{
	_cleanup_free_ char *path = record_path(m->data_dir);
	_cleanup_lease_info_ struct mk_lease_info seen = {};
	int r = mk_lease_look(call, m->data_dir, &seen);

	if (r < 0)
		return r;
	if (seen.state == MK_LEASE_FREE)
		return 0;
	if (seen.state != MK_LEASE_GONE)
		return fail_held(call, &seen);
	if (unlink(path) < 0 && errno != ENOENT)
		return mk_fail(call, errno, "%s: cannot be removed: %s", path, strerror(errno));
	return 0;
}
