/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metrics: a file per key, `<ms> <value> <step>` a line, appended. What is behind the last newline
 * is being written and is no point yet. A line that is no point (a writer died in the middle of it)
 * is left out, told once, and the others are shown; so is one longer than a point can be.
 *
 *	2 words   no step: 0          3 words   a step
 *	5 words   step, and the name and digest of a dataset (a name may have blanks: more words)
 */
#include "filestore.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

enum {
	LINE = 4096,
	PART = 1 << 20,
	PAGE = 250000,
	MOST_POINTS = 50 * 1000 * 1000,
};

/* --- a line ---------------------------------------------------------------------------------- */

static const char *end_of(const char *s, const char *end)
{
	while (s < end && *s != ' ')
		s++;
	return s;
}

/* What Python's int() and float() write; nothing else strtod would take. */
static bool take_int(const char *s, const char *end, int64_t *ret)
{
	char word[32], *stop;
	size_t len = (size_t)(end - s);

	if (!len || len >= sizeof(word))
		return false;
	memcpy(word, s, len);
	word[len] = 0;
	if (!isdigit((unsigned char)word[*word == '-']))
		return false;
	errno = 0;
	*ret = strtoll(word, &stop, 10);
	return !errno && !*stop;
}

static bool take_double(const char *s, const char *end, double *ret)
{
	char word[512], *stop;
	size_t len = (size_t)(end - s);

	if (!len || len >= sizeof(word))
		return false;
	memcpy(word, s, len);
	word[len] = 0;
	if (strpbrk(word, "xXpP(") || isspace((unsigned char)*word))
		return false;
	*ret = strtod(word, &stop);
	if (isnan(*ret))
		*ret = NAN;
	return !*stop;
}

bool mk_fs_point(const char *line, size_t len, struct mk_point *ret)
{
	const char *end, *s = line, *word;
	struct mk_point point = {};
	int64_t ms;

	while (len && isspace((unsigned char)line[len - 1])) /* "\r\n" */
		len--;
	end = line + len;
	word = end_of(s, end);
	if (!take_int(s, word, &ms) || word == end)
		return false;
	point.time = mk_local_time(ms);
	s = word + 1;
	word = end_of(s, end);
	if (!take_double(s, word, &point.value))
		return false;
	if (word < end) {
		int more = 0;

		s = word + 1;
		word = end_of(s, end);
		if (!take_int(s, word, &point.step))
			return false;
		for (s = word; s < end; s++)
			more += *s == ' ';
		if (more == 1)
			return false;
	}
	*ret = point;
	return true;
}

/* --- a file ---------------------------------------------------------------------------------- */

struct scan {
	struct mk_call *call;
	struct mk_tracking *t;
	const char *where; /* "0/<run>/metrics/loss" */
	int64_t offset;	   /* of what is taken next; after: behind the last newline taken */
	int (*point)(void *arg, const struct mk_point *point); /* > 0: enough */
	void *arg;
	bool too_long; /* in a line that is longer than any */
};

static void refuse_line(struct scan *s, int64_t offset, const char *why)
{
	_cleanup_free_ char *what = mk_strf("%s: at byte %lld", s->where, (long long)offset);

	mk_local_refuse(&s->t->local, what, "%s", why);
}

/* Whole lines of data; gives how many bytes they were, or what point() gave if that is not 0. */
static int take_lines(struct scan *s, const char *data, size_t len, size_t *ret_done)
{
	size_t done = 0;
	int r = 0;

	while (r == 0 && done < len) {
		const char *line = data + done, *eol = memchr(line, '\n', len - done);
		struct mk_point point;

		if (!eol)
			break;
		if (s->too_long)
			s->too_long = false;
		else if (eol - line <= LINE && mk_fs_point(line, (size_t)(eol - line), &point))
			r = s->point(s->arg, &point);
		else
			refuse_line(s, s->offset + (int64_t)done, "a line that is no point");
		done = (size_t)(eol + 1 - data);
	}
	*ret_done = done;
	return r;
}

static int scan(struct scan *s, int fd)
{
	_cleanup_free_ char *data = malloc(PART);
	int r = data ? 0 : mk_fail(s->call, ENOMEM, "out of memory for a metric");

	while (r == 0) {
		ssize_t n = pread(fd, data, PART, s->offset);
		size_t done;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return mk_fail(s->call, EREMOTEIO, "%s: %s: %s", s->t->local.connection,
				       s->where, strerror(errno));
		r = take_lines(s, data, (size_t)n, &done);
		s->offset += (int64_t)done;
		if (r == 0 && done == 0) {
			if (n < PART)
				break;
			/* A part of a file without one newline. */
			if (!s->too_long)
				refuse_line(s, s->offset, "a line without an end");
			s->too_long = true;
			s->offset += n;
		}
		if (r == 0)
			r = mk_call_check(s->call, s->where);
	}
	return r;
}

/* --- the last point -------------------------------------------------------------------------- */

/* As MLflow's max(): the first of the highest (step, time, value). */
static bool is_later(const struct mk_point *a, const struct mk_point *b)
{
	if (a->step != b->step)
		return a->step > b->step;
	if (a->time != b->time)
		return a->time > b->time;
	return a->value > b->value;
}

static void recall(struct mk_fs_seen *seen, void *arg)
{
	struct mk_fs_seen *to = arg;
	char *path = to->path;

	*to = *seen;
	to->path = path;
	to->text = NULL;
}

static void remember(struct mk_fs_seen *seen, void *arg)
{
	const struct mk_fs_seen *from = arg;

	seen->last = from->last;
	seen->has_last = from->has_last;
	seen->offset = from->offset;
	seen->inode = from->inode;
	memcpy(seen->tail, from->tail, sizeof(seen->tail));
}

static int keep_last(void *arg, const struct mk_point *point)
{
	struct mk_fs_seen *it = arg;

	if (!it->has_last || is_later(point, &it->last))
		it->last = *point;
	it->has_last = true;
	return 0;
}

static void read_tail(int fd, int64_t offset, char tail[24])
{
	memset(tail, 0, 24);
	if (offset >= 24)
		(void)!pread(fd, tail, 24, offset - 24);
	else
		(void)!pread(fd, tail, (size_t)offset, 0);
}

struct lasts {
	struct mk_call *call;
	struct mk_tracking *t;
	const char *where;
	struct mk_arena *arena;
	struct mk_t_metric *v;
	size_t n, cap;
};

static int add_metric(struct lasts *l, const char *path, const struct mk_point *last)
{
	struct mk_t_metric *metric = mk_arena_grow(l->arena, &l->v, &l->n, &l->cap, sizeof(*l->v));
	const char *key = path + strlen("metrics/");

	if (!metric)
		return -ENOMEM;
	metric->key = mk_arena_text(l->arena, key, strlen(key));
	metric->last = *last;
	return metric->key ? 0 : -ENOMEM;
}

static int take_last(void *arg, int dir, const char *path)
{
	struct lasts *l = arg;
	_cleanup_free_ char *where = mk_strf("%s/%s", l->where, path);
	_cleanup_close_ int fd = mk_local_open(dir, path, O_RDONLY | O_NOFOLLOW);
	struct mk_fs_seen it = {.path = where};
	char tail[24];
	struct stat st;
	int r = 0;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return 0;
	mk_fs_seen(l->t, where, recall, &it);
	read_tail(fd, it.offset, tail);
	if (it.inode != st.st_ino || st.st_size < it.offset || memcmp(tail, it.tail, sizeof(tail)) != 0)
		it = (struct mk_fs_seen){.path = where};
	if (st.st_size > it.offset) {
		struct scan s = {.call = l->call, .t = l->t, .where = where, .offset = it.offset,
				 .point = keep_last, .arg = &it};

		r = scan(&s, fd);
		/* What was skipped of a line without an end is looked at again: it may end. */
		if (!s.too_long)
			it.offset = s.offset;
		it.inode = st.st_ino;
		read_tail(fd, it.offset, it.tail);
		if (r == 0 && !s.too_long)
			mk_fs_seen(l->t, where, remember, &it);
	}
	if (r < 0)
		return r;
	return it.has_last ? add_metric(l, path, &it.last) : 0;
}

int mk_fs_metrics(struct mk_call *call, struct mk_tracking *t, int dir, const char *where,
		  struct mk_arena *arena, struct mk_t_metric **ret, size_t *ret_n)
{
	struct lasts l = {.call = call, .t = t, .where = where, .arena = arena};
	int r = mk_fs_walk(call, t, dir, "metrics", where, take_last, &l);

	if (r == -ENOMEM)
		return mk_fail(call, ENOMEM, "out of memory for %s/metrics", where);
	*ret = l.v;
	*ret_n = l.n;
	return r;
}

/* --- the history ----------------------------------------------------------------------------- */

struct points {
	struct mk_point **v;
	size_t *n, cap, most; /* of this page */
	size_t taken;
};

static int add_point(void *arg, const struct mk_point *point)
{
	struct points *p = arg;

	if (*p->n == MOST_POINTS)
		return -EFBIG;
	if (*p->n >= p->cap) {
		size_t cap = *p->n < 1000 ? 1000 : *p->n + *p->n / 2;
		struct mk_point *more = realloc(*p->v, cap * sizeof(*more));

		if (!more)
			return -ENOMEM;
		*p->v = more;
		p->cap = cap;
	}
	(*p->v)[(*p->n)++] = *point;
	return ++p->taken == p->most;
}

/* 1 open, 0 there is no such metric. ENOENT: no such run. */
static int open_metric(struct mk_call *call, struct mk_tracking *t, const char *run_id,
		       const char *key, int *ret, char **ret_where)
{
	_cleanup_close_ int root = -1;
	_cleanup_free_ char *run = NULL, *path = NULL;
	struct stat st;
	int r = mk_local_root(call, &t->local, &root);

	if (r == 0)
		r = mk_fs_find(call, t, root, "", run_id, &run);
	if (r < 0)
		return r;
	path = mk_strf("%s/metrics/%s", run, key);

	int fd = mk_local_open(root, path, O_RDONLY | O_NOFOLLOW);

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		r = fd == -ENOENT || fd == -ENOTDIR || fd >= 0
			    ? 0
			    : mk_fail(call, EREMOTEIO, "%s: %s: %s", t->local.connection, path,
				      strerror(-fd));
		mk_closep(&fd);
		return r;
	}
	*ret = fd;
	*ret_where = mk_steal(&path);
	return 1;
}

static int fail_points(struct mk_call *call, const struct mk_tracking *t, const char *key, int r)
{
	if (r == -EFBIG)
		return mk_fail(call, EFBIG, "%s: metric %.100s: more than %d points",
			       t->local.connection, key, MOST_POINTS);
	if (r == -ENOMEM)
		return mk_fail(call, ENOMEM, "%s: metric %.100s: out of memory", t->local.connection,
			       key);
	return r;
}

static int history(struct mk_call *call, struct mk_tracking *t, const char *run_id, const char *key,
		   char **token, struct mk_point **points, size_t *n)
{
	_cleanup_close_ int fd = -1;
	_cleanup_free_ char *where = NULL;
	struct points p = {.v = points, .n = n, .cap = *n, .most = PAGE};
	struct scan s = {.call = call, .t = t, .point = add_point, .arg = &p};
	int r = open_metric(call, t, run_id, key, &fd, &where);

	if (r > 0) {
		s.where = where;
		s.offset = *token ? strtoll(*token, NULL, 10) : 0;
		r = scan(&s, fd);
	}
	if (r < 0)
		return fail_points(call, t, key, r);
	mk_freep(token);
	if (r > 0)
		*token = mk_strf("%lld", (long long)s.offset);
	return 0;
}

int mk_fs_history(struct mk_call *call, struct mk_tracking *t, const char *run_id,
		  const char *key, char **token, struct mk_point **points, size_t *n)
{
	int64_t began = mk_now_mono();

	return mk_local_note(call, &t->local, history(call, t, run_id, key, token, points, n), began);
}

static bool is_same(const struct mk_point *a, const struct mk_point *b)
{
	return a->step == b->step && a->time == b->time &&
	       (a->value == b->value || (isnan(a->value) && isnan(b->value)));
}

struct tail {
	int64_t known;
	const struct mk_point *last;
	bool differs;
	struct points more;
};

static int after_known(void *arg, const struct mk_point *point)
{
	struct tail *tail = arg;

	if (tail->known > 1) {
		tail->known--;
		return 0;
	}
	if (tail->known == 1) {
		tail->known = 0;
		tail->differs = !is_same(point, tail->last);
		return tail->differs;
	}
	return add_point(&tail->more, point);
}

static int tail(struct mk_call *call, struct mk_tracking *t, const char *run_id, const char *key,
		int64_t known, const struct mk_point *last, struct mk_point **points, size_t *n)
{
	_cleanup_close_ int fd = -1;
	_cleanup_free_ char *where = NULL;
	size_t before = *n;
	struct tail tail = {known, last, false, {.v = points, .n = n, .cap = *n}};
	struct scan s = {.call = call, .t = t, .point = after_known, .arg = &tail};
	int r;

	if (known < 1)
		return mk_fail(call, EINVAL, "%s: the end of nothing", t->local.connection);
	r = open_metric(call, t, run_id, key, &fd, &where);
	if (r > 0) {
		s.where = where;
		r = scan(&s, fd);
	}
	if (r < 0) {
		*n = before;
		return fail_points(call, t, key, r);
	}
	if (tail.known || tail.differs)
		return mk_fail(call, ESTALE,
			       "%s: metric %.100s of run %.40s does not go on where it ended",
			       t->local.connection, key, run_id);
	return 0;
}

int mk_fs_tail(struct mk_call *call, struct mk_tracking *t, const char *run_id, const char *key,
	       int64_t known, const struct mk_point *last, struct mk_point **points, size_t *n)
{
	int64_t began = mk_now_mono();

	return mk_local_note(call, &t->local, tail(call, t, run_id, key, known, last, points, n), began);
}
