/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a run logs from a command line: log-metric, log-param, set-tag.
 *
 * With -r the run's record is written. Inside a job, without -r, the value goes into the files of
 * $MANTIK_RUN_DIR, which work on every site, with or without access to the database.
 */
#include "ctl.h"

#include <mantik/run.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* dir/metrics/train/loss: makes what is missing below dir. */
static int make_parents(struct ctl *ctl, const char *path, size_t from)
{
	_cleanup_free_ char *copy = mk_strdup(path);

	for (char *slash = copy + from; (slash = strchr(slash + 1, '/')); *slash = '/') {
		*slash = '\0';
		if (mkdir(copy, 0777) < 0 && errno != EEXIST)
			return mk_fail(&ctl->call, errno, "%s: %s", copy, strerror(errno));
	}
	return 0;
}

static int check_key(struct ctl *ctl, const char *key)
{
	_cleanup_free_ char *copy = mk_strdup(key);
	char *rest = copy;

	for (char *part; (part = strsep(&rest, "/"));)
		if (!*part || strcmp(part, ".") == 0 || strcmp(part, "..") == 0)
			return mk_fail(&ctl->call, EINVAL, "\"%s\" is no key", key);
	return 0;
}

static int into_run_dir(struct ctl *ctl, const char *dir, const char *kind, const char *key,
			const char *text, size_t len, bool append)
{
	_cleanup_buf_ struct mk_buf path = MK_BUF(MK_LIMIT_TEXT);
	_cleanup_close_ int fd = -1;
	int r = check_key(ctl, key);

	if (r < 0)
		return r;
	mk_buf_printf(&path, "%s/%s/%s", dir, kind, key);
	r = make_parents(ctl, mk_buf_text(&path), strlen(dir));
	if (r < 0)
		return r;
	fd = open(mk_buf_text(&path),
		  O_WRONLY | O_CREAT | O_CLOEXEC | (append ? O_APPEND : O_TRUNC), 0666);
	/* One write, so that lines of several processes do not mix. */
	if (fd < 0 || write(fd, text, len) != (ssize_t)len)
		return mk_fail(&ctl->call, errno, "%s: %s", mk_buf_text(&path), strerror(errno));
	return 0;
}

/* NULL: with -r, else where a job logs. */
static int choose(struct ctl *ctl, const char **ret_dir)
{
	const char *dir = getenv("MANTIK_RUN_DIR");

	*ret_dir = ctl_option(ctl, "run") ? NULL : dir;
	if (!ctl_option(ctl, "run") && (!dir || *dir != '/'))
		return ctl_usage(ctl, "%s: name a run with -r: this is not a job, MANTIK_RUN_DIR is not set",
				 ctl->cmd->name);
	return 0;
}

static int open_run(struct ctl *ctl, int64_t *ret_id)
{
	int r = mantik_open(&ctl->call, &ctl->options, &ctl->m);

	return r < 0 ? r : ctl_run(ctl, ctl_option(ctl, "run"), ret_id);
}

int ctl_log_lines(struct ctl *ctl, const char *key, const char *lines, size_t len)
{
	const char *dir;
	int64_t id = 0;
	int r = choose(ctl, &dir);

	if (r != 0)
		return r;
	if (dir)
		return into_run_dir(ctl, dir, "metrics", key, lines, len, true);
	r = open_run(ctl, &id);
	return r < 0 ? r : mk_run_log_metric(&ctl->call, ctl->m, id, key, lines, len);
}

int ctl_set_value(struct ctl *ctl, bool is_tag, const char *key, const char *value)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF(MK_LIMIT_TEXT);
	const char *dir;
	int64_t id = 0;
	int r = choose(ctl, &dir);

	if (r != 0)
		return r;
	mk_buf_printf(&text, "%s\n", value);
	if (mk_buf_check(&text) < 0)
		return mk_fail(&ctl->call, EFBIG, "%s: the value is too long", key);
	if (dir)
		return into_run_dir(ctl, dir, is_tag ? "tags" : "params", key, mk_buf_text(&text),
				    text.len, false);
	r = open_run(ctl, &id);
	if (r < 0)
		return r;
	return mk_run_value_set(&ctl->call, ctl->m, id, is_tag ? MK_TAG : MK_PARAM, key, value);
}
