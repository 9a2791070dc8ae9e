/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state file of a job: `key value` lines, so that a person can read it, replaced atomically.
 * Written by the shepherd, read by mantikd.
 */
#include "connect/compute/local/local.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"

enum { MAX_STATE = 16384 };

static const char *const phases[] = {"claimed", "running", "ended"};
static const char *const causes[] = {"exit", "cancel", "runtime", "stopped", "exec"};

void mk_state_free(struct mk_state *state)
{
	free(state->host);
	free(state->boot_id);
	free(state->text);
	free(state->cgroup);
	*state = (struct mk_state){};
}

static char *first_line(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	char text[256];
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (n <= 0)
		return mk_strdup("unknown");
	text[n] = 0;
	return mk_strndup(text, strcspn(text, " \n"));
}

char *mk_local_host(void)
{
	char name[256] = "";

	if (gethostname(name, sizeof(name) - 1) < 0 || !*name)
		return mk_strdup("localhost");
	return mk_strdup(name);
}

char *mk_local_boot(void)
{
	const char *other = getenv("MK_BOOT_ID_FILE");

	return first_line(other ? other : "/proc/sys/kernel/random/boot_id");
}

int mk_state_write(struct mk_call *call, int dirfd, const char *name, const struct mk_state *state,
		   bool sync)
{
	_cleanup_buf_ struct mk_buf buf = MK_BUF(MAX_STATE);

	(void)mk_buf_printf(&buf, "phase %s\nhost %s\nboot %s\nshepherd %d %" PRIu64 "\n",
			    phases[state->phase], state->host, state->boot_id,
			    (int)state->shepherd.pid, state->shepherd.start);
	if (state->job.pid)
		(void)mk_buf_printf(&buf, "job %d %" PRIu64 "\n", (int)state->job.pid,
				    state->job.start);
	if (state->started)
		(void)mk_buf_printf(&buf, "started %" PRId64 "\n", state->started);
	if (state->cgroup)
		(void)mk_buf_printf(&buf, "cgroup %s\n", state->cgroup);
	if (state->phase == MK_PHASE_ENDED) {
		(void)mk_buf_printf(&buf, "ended %" PRId64 "\ncause %s\n", state->ended,
				    causes[state->cause]);
		if (state->exit_code >= 0)
			(void)mk_buf_printf(&buf, "exit %d\n", state->exit_code);
		if (state->signal > 0)
			(void)mk_buf_printf(&buf, "signal %d\n", state->signal);
		if (state->text)
			(void)mk_buf_printf(&buf, "text %s\n", state->text);
	}

	int r = mk_buf_check(&buf);

	if (r < 0)
		return mk_fail(call, -r, "%s: too long", name);
	return mk_file_write(call, dirfd, name, buf.data, buf.len, 0600, sync);
}

static int word_index(const char *const *words, size_t n, const char *word)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(words[i], word) == 0)
			return (int)i;
	return -EINVAL;
}

static int read_process(const char *value, struct mk_process *ret)
{
	int pid;
	unsigned long long start;

	if (sscanf(value, "%d %llu", &pid, &start) != 2 || pid <= 0)
		return -EINVAL;
	*ret = (struct mk_process){.pid = pid, .start = start};
	return 0;
}

static int read_line(struct mk_state *s, const char *key, const char *value)
{
	int r = 0;

	if (strcmp(key, "phase") == 0) {
		r = word_index(phases, sizeof(phases) / sizeof(*phases), value);
		if (r >= 0)
			s->phase = (enum mk_phase)r;
	} else if (strcmp(key, "cause") == 0) {
		r = word_index(causes, sizeof(causes) / sizeof(*causes), value);
		if (r >= 0)
			s->cause = (enum mk_cause)r;
	} else if (strcmp(key, "host") == 0 && !s->host) {
		s->host = mk_strdup(value);
	} else if (strcmp(key, "boot") == 0 && !s->boot_id) {
		s->boot_id = mk_strdup(value);
	} else if (strcmp(key, "shepherd") == 0) {
		r = read_process(value, &s->shepherd);
	} else if (strcmp(key, "job") == 0) {
		r = read_process(value, &s->job);
	} else if (strcmp(key, "started") == 0) {
		s->started = strtoll(value, NULL, 10);
	} else if (strcmp(key, "ended") == 0) {
		s->ended = strtoll(value, NULL, 10);
	} else if (strcmp(key, "exit") == 0) {
		s->exit_code = (int)strtol(value, NULL, 10);
	} else if (strcmp(key, "signal") == 0) {
		s->signal = (int)strtol(value, NULL, 10);
	} else if (strcmp(key, "text") == 0 && !s->text) {
		s->text = mk_strdup(value);
	} else if (strcmp(key, "cgroup") == 0 && !s->cgroup) {
		s->cgroup = mk_strdup(value);
	}
	return r < 0 ? r : 0;
}

int mk_state_read(struct mk_call *call, int dirfd, const char *name, struct mk_state *ret)
{
	_cleanup_buf_ struct mk_buf buf = MK_BUF(MAX_STATE);
	_cleanup_state_ struct mk_state s = {.exit_code = -1};
	int r = mk_file_read(call, dirfd, name, &buf);

	if (r < 0)
		return r;
	if (buf.len == 0)
		return mk_fail(call, ENOENT, "%s: empty", name);
	for (char *line = buf.data, *next; *line; line = next) {
		next = line + strcspn(line, "\n");
		if (*next)
			*next++ = 0;

		char *value = strchr(line, ' ');

		if (!value)
			return mk_fail(call, EINVAL, "%s: damaged line \"%s\"", name, line);
		*value++ = 0;
		r = read_line(&s, line, value);
		if (r < 0)
			return mk_fail(call, EINVAL, "%s: %s: \"%s\" is not understood", name, line,
				       value);
	}
	if (!s.host || !s.boot_id || !s.shepherd.pid)
		return mk_fail(call, EINVAL, "%s: incomplete", name);
	*ret = s;
	s = (struct mk_state){};
	return 0;
}
