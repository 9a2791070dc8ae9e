/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mantikctl log: what a job wrote. Its two streams go to ours, so that `mantikctl log -f run` is as
 * if the job ran here. Following ends with the run, after a last look.
 */
#include "cmd.h"

#include <mantik/blob.h>
#include <mantik/run.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 1 << 16 };

static const struct {
	const char *name;
	enum mk_log log;
} logs[] = {
	{"stdout", MK_LOG_STDOUT},
	{"stderr", MK_LOG_STDERR},
	{"scheduler", MK_LOG_SCHEDULER},
	{"submission", MK_LOG_SUBMISSION},
};

struct stream {
	struct mk_blob *blob;
	int64_t offset;
	int fd;
};

static void close_stream(struct stream *s)
{
	mk_blob_close(s->blob);
}

static int write_all(struct ctl *ctl, int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return mk_fail(&ctl->call, errno, "output: %s", strerror(errno));
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Copies what there is from the offset on. */
static int drain(struct ctl *ctl, struct stream *s)
{
	_cleanup_free_ char *chunk = mk_alloc(CHUNK);

	for (;;) {
		ssize_t n = mk_blob_read(&ctl->call, s->blob, chunk, CHUNK, s->offset);
		int r;

		if (n <= 0)
			return (int)n;
		r = write_all(ctl, s->fd, chunk, (size_t)n);
		if (r < 0)
			return r;
		s->offset += n;
		r = mk_call_check(&ctl->call, "a log");
		if (r < 0)
			return r;
	}
}

/* Where the last `lines` lines begin: reads backwards. */
static int last_lines(struct ctl *ctl, struct stream *s, long lines)
{
	_cleanup_free_ char *chunk = mk_alloc(CHUNK);
	struct mk_blob_stat st = {};
	int64_t end;
	int r = mk_blob_stat(&ctl->call, s->blob, &st);

	if (r < 0)
		return r;
	end = st.size;
	s->offset = lines ? 0 : end;
	for (bool last = true; lines && end > 0;) {
		const int64_t begin = end > CHUNK ? end - CHUNK : 0;
		ssize_t n = mk_blob_read(&ctl->call, s->blob, chunk, (size_t)(end - begin), begin);

		if (n < 0)
			return (int)n;
		for (ssize_t i = n - 1; i >= 0; i--) {
			if (chunk[i] == '\n' && !last && --lines == 0) {
				s->offset = begin + i + 1;
				return 0;
			}
			last = false;
		}
		end = begin;
	}
	return 0;
}

static int open_stream(struct ctl *ctl, int64_t id, enum mk_log log, int fd, struct stream *s)
{
	const char *lines = ctl_option(ctl, "lines");
	int r = mk_run_log_open(&ctl->call, ctl->m, id, log, &s->blob);

	s->fd = fd;
	if (r < 0 || !lines)
		return r;
	return last_lines(ctl, s, strtol(lines, NULL, 10));
}

static int show(struct ctl *ctl, int64_t id, struct stream *streams, size_t n)
{
	for (;;) {
		_cleanup_(mk_run_free) struct mk_run run = {};
		int r = mk_run_get(&ctl->call, ctl->m, id, &run); /* before the last look */

		for (size_t i = 0; r == 0 && i < n; i++)
			r = drain(ctl, &streams[i]);
		if (r < 0 || !ctl_option(ctl, "follow") || mk_status_final(run.status))
			return r;

		uint64_t generation = mantik_generation(ctl->m);

		r = ctl_wait_change(ctl, &generation, 100);
		if (r < 0)
			return r;
	}
}

static int run(struct ctl *ctl)
{
	_cleanup_(close_stream) struct stream out = {}, err = {};
	struct stream *streams[] = {&out, &err}, used[2];
	const char *only = ctl_option(ctl, "log"), *lines = ctl_option(ctl, "lines");
	int64_t id = 0;
	size_t n = 0;
	int r;

	if (lines && (!*lines || lines[strspn(lines, "0123456789")] || strlen(lines) > 15))
		return ctl_usage(ctl, "log: --lines takes a number, not \"%s\"", lines);
	r = ctl_run(ctl, ctl->operands[0], &id);
	if (r < 0)
		return r;
	for (size_t i = 0; i < sizeof(logs) / sizeof(*logs); i++) {
		if (only ? strcmp(only, logs[i].name) != 0 : i > 1)
			continue;
		r = open_stream(ctl, id, logs[i].log, only || i == 0 ? STDOUT_FILENO : STDERR_FILENO,
				streams[n]);
		if (r < 0)
			return r;
		used[n] = *streams[n];
		n++;
	}
	if (n == 0)
		return ctl_usage(ctl, "log: there are stdout, stderr, scheduler and submission, no "
				      "\"%s\"", only);
	return show(ctl, id, used, n);
}

const struct cmd cmd_log = {
	.name = "log",
	.operands = "RUN",
	.min = 1,
	.max = 1,
	.needs = CTL_READ,
	.help = "prints what a job wrote",
	.more = "Without -l its standard output and error, each to ours.",
	.options =
		(const struct cmd_option[]){
			{'f', "follow", NULL, "goes on until the run has ended"},
			{'l', "log", "NAME", "only stdout, stderr, scheduler or submission"},
			{'n', "lines", "N", "begins at the last N lines"},
			{},
		},
	.run = run,
};
