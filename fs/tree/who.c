/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who asks: thread group, session and whether it is dying, from /proc; and what is remembered
 * about askers: answers to their orders, and which version of a text they have read.
 */
#include "row.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

/* A small file of /proc; its length or -1. */
static ssize_t read_proc(pid_t pid, const char *file, char *buf, size_t size)
{
	char path[384];

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);

	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -1;

	ssize_t n = read(fd, buf, size - 1);

	if (n >= 0)
		buf[n] = 0;
	return n;
}

pid_t fs_who_group(struct mk_call *call)
{
	char buf[1024];

	if (call->tgid || !call->pid)
		return call->tgid;
	if (read_proc(call->pid, "status", buf, sizeof(buf)) <= 0)
		return 0;

	const char *line = strstr(buf, "\nTgid:");

	if (line)
		call->tgid = (pid_t)strtol(line + 6, NULL, 10);
	return call->tgid;
}

static pid_t session_of(struct mk_call *call)
{
	if (!call->sid && call->pid) {
		pid_t sid = getsid(call->pid);

		call->sid = sid > 0 ? sid : 0;
	}
	return call->sid;
}

bool fs_who_killed(struct mk_call *call)
{
	enum { SIGNALED = 0x400 }; /* PF_SIGNALED of the kernel: killed by a signal */
	char buf[1024];

	if (!call->pid || read_proc(call->pid, "stat", buf, sizeof(buf)) <= 0)
		return false;

	/* pid (comm) state ppid pgrp session tty tpgid flags: comm may hold anything. */
	const char *p = strrchr(buf, ')');

	for (int field = 2; p && field < 9; field++) {
		p = strchr(p + 1, ' ');
	}
	return p && strtoul(p + 1, NULL, 10) & SIGNALED;
}

/* Is this mount of the process's, by its mount id, another one than ours? A text has the same inode
 * number in every mount. A mount that cannot be found (detached) may be ours. */
static bool is_elsewhere(pid_t pid, long long mount, unsigned device)
{
	char path[64];
	_cleanup_free_ char *line = NULL;
	size_t size = 0;
	bool elsewhere = false;

	(void)snprintf(path, sizeof(path), "/proc/%d/mountinfo", (int)pid);

	FILE *f = device ? fopen(path, "re") : NULL;

	if (!f)
		return false;
	while (getline(&line, &size, f) > 0) {
		long long id;
		unsigned minor;

		/* proc(5): id parent major:minor … */
		if (sscanf(line, "%lld %*d %*u:%u", &id, &minor) == 2 && id == mount) {
			elsewhere = minor != device;
			break;
		}
	}
	(void)fclose(f);
	return elsewhere;
}

/* One descriptor of a process: open for writing, and this file? fdinfo names the inode since Linux
 * 5.14; an older kernel tells nothing. Reading it never touches the file. */
static bool descriptor_writes(pid_t pid, const char *name, uint64_t ino, unsigned device)
{
	char file[300], buf[1024];

	(void)snprintf(file, sizeof(file), "fdinfo/%s", name);
	if (read_proc(pid, file, buf, sizeof(buf)) <= 0)
		return false;

	const char *flags = strstr(buf, "flags:"), *inode = strstr(buf, "\nino:");
	const char *mount = strstr(buf, "\nmnt_id:");

	return flags && inode && mount && strtoull(inode + 5, NULL, 10) == ino &&
	       (strtoul(flags + 6, NULL, 8) & O_ACCMODE) != O_RDONLY &&
	       !is_elsewhere(pid, strtoll(mount + 8, NULL, 10), device);
}

int fs_who_writes(struct fs_at *at)
{
	pid_t group = fs_who_group(at->call);
	char path[64];
	int n = 0;

	if (!group)
		return 0;
	(void)snprintf(path, sizeof(path), "/proc/%d/fdinfo", (int)group);

	DIR *dir = opendir(path);

	if (!dir)
		return 0;
	for (struct dirent *e; (e = readdir(dir));)
		n += e->d_name[0] != '.' &&
		     descriptor_writes(group, e->d_name, at->ino, at->tree->device);
	closedir(dir);
	return n;
}

/* --- answers ------------------------------------------------------------------------------- */

void fs_answer_put(struct fs_at *at, const char *text)
{
	struct fs_tree *tree = at->tree;
	pid_t sid = session_of(at->call);
	struct fs_answer *to = NULL;
	char *before = NULL;
	int64_t now = mk_now_real();

	fs_lock(tree);
	for (size_t i = 0; i < FS_ANSWERS; i++) {
		struct fs_answer *answer = &tree->answers[i];

		if (answer->text && answer->ino == at->ino && answer->sid == sid &&
		    answer->uid == at->call->uid) {
			to = answer;
			before = strcmp(to->text, text) == 0 ? mk_steal(&to->before)
							     : mk_steal(&to->text);
			break;
		}
		if (!to || answer->used < to->used)
			to = answer;
	}
	free(to->text);
	free(to->before);
	*to = (struct fs_answer){
		.ino = at->ino,
		.sid = sid,
		.uid = at->call->uid,
		.used = ++tree->tick,
		.time = now,
		.text = mk_strdup(text),
		.before = before,
	};
	fs_unlock(tree);
	mk_answer_put(tree->m, &(struct mk_answer_place){at->ino, at->call->uid, sid}, now, text);
}

void fs_answer_refused(struct fs_at *at)
{
	_cleanup_buf_ struct mk_buf why = MK_BUF(16 << 10);

	if (!at->call->error.text)
		return;
	(void)mk_buf_printf(&why, "error: %s\n", at->call->error.text);
	fs_answer_put(at, mk_buf_text(&why));
}

static bool is_text(const char *answer, const char *text, size_t len)
{
	return answer && len && strlen(answer) == len && memcmp(answer, text, len) == 0;
}

bool fs_answer_is(struct fs_at *at, const char *text, size_t len)
{
	struct fs_tree *tree = at->tree;
	bool found = false;

	fs_lock(tree);
	for (size_t i = 0; i < FS_ANSWERS && !found; i++) {
		const struct fs_answer *answer = &tree->answers[i];

		found = answer->ino == at->ino && answer->uid == at->call->uid &&
			(is_text(answer->text, text, len) || is_text(answer->before, text, len));
	}
	fs_unlock(tree);
	return found;
}

/* What this tree knows best: it may be newer than what could be kept. */
static const struct fs_answer *own_answer(struct fs_at *at, pid_t sid)
{
	const struct fs_answer *best = NULL;

	for (size_t i = 0; i < FS_ANSWERS; i++) {
		const struct fs_answer *answer = &at->tree->answers[i];

		if (!answer->text || answer->ino != at->ino || answer->uid != at->call->uid)
			continue;
		if (sid && answer->sid == sid)
			return answer;
		if (!best || answer->used > best->used)
			best = answer;
	}
	return best;
}

int fs_answer_get(struct fs_at *at, struct mk_buf *ret)
{
	pid_t sid = session_of(at->call);
	_cleanup_order_answer_ struct mk_answer kept = {};
	int r = mk_answer_get(at->call, at->m,
			      &(struct mk_answer_place){at->ino, at->call->uid, sid}, &kept);

	if (r < 0)
		return r;
	fs_lock(at->tree);

	const struct fs_answer *own = own_answer(at, sid);
	bool mine = own && sid && own->sid == sid;

	if (own && (!kept.text || (mine == kept.is_of_session ? own->time >= kept.time : mine)))
		r = mk_buf_puts(ret, own->text);
	else
		r = kept.text ? mk_buf_puts(ret, kept.text) : 0;
	fs_unlock(at->tree);
	return r;
}

/* --- readers ------------------------------------------------------------------------------- */

void fs_reader_note(struct fs_at *at, uint64_t generation)
{
	struct fs_tree *tree = at->tree;
	pid_t group = fs_who_group(at->call);
	struct fs_reader *to = NULL;

	if (!group || !generation)
		return;
	fs_lock(tree);
	for (size_t i = 0; i < FS_READERS && !to; i++)
		if (tree->readers[i].ino == at->ino && tree->readers[i].tgid == group)
			to = &tree->readers[i];
	if (!to)
		to = &tree->readers[tree->next_reader++ % FS_READERS];
	*to = (struct fs_reader){at->ino, group, generation};
	fs_unlock(tree);
}

uint64_t fs_reader_seen(struct fs_at *at)
{
	struct fs_tree *tree = at->tree;
	pid_t group = fs_who_group(at->call);
	uint64_t seen = 0;

	fs_lock(tree);
	for (size_t i = 0; i < FS_READERS && !seen && group; i++)
		if (tree->readers[i].ino == at->ino && tree->readers[i].tgid == group)
			seen = tree->readers[i].generation;
	fs_unlock(tree);
	return seen;
}
