/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logging metrics as text: lines become points (metric_append.c takes those).
 * A whole write is one transaction, so it is there or not; the harvest of a file moves its position
 * in the same transaction.
 *
 *	0.5                      value
 *	3 0.5                    step value
 *	3 0.5 2026-11-21T12:00Z  step value time; also seconds or milliseconds since 1970
 */
#include <mantik/run.h>

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "domain/domain.h"
#include "domain/logged.h"
#include "domain/outbox/outbox.h"

enum {
	LINE_MAX = 256,		/* no valid line is longer */
	UNFINISHED_MAX = 65536, /* a line without an end is given up then */
	POINTS_MAX = 1 << 20,	/* of one write */
};

/* --- parsing ------------------------------------------------------------------------------- */

/* A decimal number or nan, inf, infinity with a sign; what strtod takes beyond that (hex,
 * `nan(…)`) is refused. */
static bool parse_double(const char *word, double *ret)
{
	char *end;

	for (const char *s = word; *s; s++)
		if (strchr("xXpP(", *s))
			return false;
	*ret = strtod(word, &end);
	if (end == word || *end)
		return false;
	if (isnan(*ret))
		*ret = NAN;
	return true;
}

static bool parse_step(const char *word, int64_t *ret)
{
	char *end;
	const char *digits = word + (*word == '-' || *word == '+');

	if (!isdigit((unsigned char)*digits))
		return false;
	errno = 0;
	*ret = strtoll(word, &end, 10);
	return !errno && !*end;
}

/* N digits of *s as a number; false if they are not there. */
static bool take_digits(const char **s, int n, int *ret)
{
	*ret = 0;
	for (; n; n--, (*s)++) {
		if (!isdigit((unsigned char)**s))
			return false;
		*ret = *ret * 10 + (**s - '0');
	}
	return true;
}

/* RFC 3339 with the seconds, the fraction and the offset optional (no offset: UTC). */
static bool parse_iso(const char *s, int64_t *ret)
{
	struct tm tm = {};
	int offset = 0, hours, minutes;
	int64_t fraction = 0;

	if (!take_digits(&s, 4, &tm.tm_year) || *s++ != '-' || !take_digits(&s, 2, &tm.tm_mon) ||
	    *s++ != '-' || !take_digits(&s, 2, &tm.tm_mday))
		return false;
	if (*s == 'T' || *s == 't') {
		s++;
		if (!take_digits(&s, 2, &tm.tm_hour) || *s++ != ':' ||
		    !take_digits(&s, 2, &tm.tm_min))
			return false;
		if (*s == ':') {
			s++;
			if (!take_digits(&s, 2, &tm.tm_sec))
				return false;
		}
		if (*s == '.') {
			int64_t unit = MK_SEC / 10;

			for (s++; isdigit((unsigned char)*s); s++, unit /= 10)
				fraction += (*s - '0') * unit;
		}
	}
	if (*s == '+' || *s == '-') {
		int sign = *s++ == '+' ? 1 : -1;

		if (!take_digits(&s, 2, &hours))
			return false;
		s += *s == ':';
		if (!take_digits(&s, 2, &minutes))
			return false;
		offset = sign * (hours * 3600 + minutes * 60);
	} else if (*s == 'Z' || *s == 'z') {
		s++;
	}
	if (*s || tm.tm_year < 1970 || tm.tm_year > 2261 || tm.tm_mon < 1 || tm.tm_mon > 12 ||
	    tm.tm_mday < 1 || tm.tm_mday > 31 || tm.tm_hour > 23 || tm.tm_min > 59 ||
	    tm.tm_sec > 60)
		return false;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	*ret = ((int64_t)timegm(&tm) - offset) * MK_SEC + fraction;
	return *ret > 0;
}

static bool parse_time(const char *word, int64_t *ret)
{
	double number;

	if (strchr(word, ':') || (strlen(word) >= 10 && word[4] == '-' && word[7] == '-'))
		return parse_iso(word, ret);
	if (!parse_double(word, &number) || !(number > 0))
		return false;
	if (number >= 1e11) /* seconds would be the year 5138 */
		number /= 1000;
	if (number >= 9e9)
		return false;
	*ret = (int64_t)llround(number * 1e6) * 1000;
	return *ret > 0;
}

int mk_metric_parse(const char *line, size_t len, struct mk_logged *ret, const char **ret_why)
{
	char text[LINE_MAX];
	char *words[4];
	int n = 0;
	struct mk_logged point = {};

	if (len >= sizeof(text) || memchr(line, 0, len)) {
		*ret_why = "not a number";
		return -EINVAL;
	}
	memcpy(text, line, len);
	text[len] = 0;
	for (char *s = text; n < 4;) {
		s += strspn(s, " \t\r");
		if (!*s)
			break;
		words[n++] = s;
		s += strcspn(s, " \t\r");
		if (*s)
			*s++ = 0;
	}
	*ret_why = n == 0 ? "empty" : n > 3 ? "more than step, value and time" : NULL;
	if (!*ret_why && n > 1 && !parse_step(words[0], &point.step))
		*ret_why = "the step is not an integer";
	if (!*ret_why && !parse_double(words[n > 1], &point.value))
		*ret_why = "the value is not a number";
	if (!*ret_why && n > 2 && !parse_time(words[2], &point.time))
		*ret_why = "the time is neither ISO 8601 nor seconds since 1970";
	if (*ret_why)
		return -EINVAL;
	point.has_step = n > 1;
	*ret = point;
	return 0;
}

/* --- a write to metrics/<key> --------------------------------------------------------------- */

struct points {
	struct mk_logged *v;
	size_t n, cap;
};

static void points_free(struct points *points)
{
	free(points->v);
}
#define _cleanup_points_ _cleanup_(points_free)

static int add_point(struct mk_call *call, struct points *points, const struct mk_logged *point)
{
	if (points->n == points->cap) {
		size_t cap = points->cap ? points->cap * 2 : 16;
		void *v = cap > POINTS_MAX ? NULL : realloc(points->v, cap * sizeof(*points->v));

		if (!v)
			return mk_fail(call, cap > POINTS_MAX ? EFBIG : ENOMEM,
				       "more points than one write may hold (%d)", POINTS_MAX);
		points->v = v;
		points->cap = cap;
	}
	points->v[points->n++] = *point;
	return 0;
}

static bool is_blank(const char *line, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!strchr(" \t\r", line[i]) || !line[i])
			return false;
	return true;
}

/* Every line must be good; blank ones are skipped. */
static int parse_all(struct mk_call *call, const char *key, const char *text, size_t len,
		     struct points *ret)
{
	for (size_t at = 0, number = 1; at < len; number++) {
		const char *line = text + at;
		const char *end = memchr(line, '\n', len - at);
		size_t n = end ? (size_t)(end - line) : len - at;
		struct mk_logged point;
		const char *why;

		at += n + (end != NULL);
		if (is_blank(line, n))
			continue;
		if (mk_metric_parse(line, n, &point, &why) < 0)
			return mk_fail(call, EINVAL,
				       "metric \"%s\": line %zu: %s: \"%.*s\"; a line is "
				       "`value`, `step value` or `step value time`",
				       key, number, why, (int)(n < 80 ? n : 80), line);

		int r = add_point(call, ret, &point);

		if (r < 0)
			return r;
	}
	return 0;
}

struct append {
	int64_t run_id;
	const char *key;
	struct points points;
};

static int append(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct append *a = arg;
	int r = mk_logging_allowed(call, conn, a->run_id);

	if (r < 0)
		return r;
	return mk_metric_append(call, conn, a->run_id, a->key, a->points.v, a->points.n);
}

int mk_run_log_metric(struct mk_call *call, struct mantik *m, int64_t id, const char *key,
		      const char *lines, size_t len)
{
	_cleanup_points_ struct points points = {};
	int r = mk_key_check(call, "metric", key);

	if (r == 0)
		r = parse_all(call, key, lines, len, &points);
	if (r < 0 || points.n == 0)
		return r;

	r = mk_store_log(call, m, id, key, points.v, points.n);
	if (r != 0)
		return r < 0 ? r : 0;

	struct append a = {.run_id = id, .key = key, .points = points};

	return mk_domain_write(call, m, MK_KILLSAFE, append, &a);
}

/* --- harvest -------------------------------------------------------------------------------- */

int mk_harvest_offset(struct mk_call *call, struct mk_conn *conn, int64_t run_id, const char *path,
		      int64_t *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn, "SELECT offset FROM harvest WHERE run_id = ? AND path = ?",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, run_id);
	mk_bind_text(stmt, 2, path);
	r = mk_step(call, stmt);
	if (r < 0)
		return r;
	*ret = r ? mk_col_int(stmt, 0) : 0;
	return 0;
}

int mk_harvest_advance(struct mk_call *call, struct mk_conn *conn, int64_t run_id, const char *path,
		       int64_t offset)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "INSERT INTO harvest (run_id, path, offset) VALUES (?, ?, ?)"
			   " ON CONFLICT DO UPDATE SET offset = excluded.offset",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, run_id);
	mk_bind_text(stmt, 2, path);
	mk_bind_int(stmt, 3, offset);
	return mk_exec(call, stmt);
}

/* The good points of the whole lines; *ret_used: bytes up to the end of the last one. */
static int parse_good(struct mk_call *call, const struct mk_harvest *h, struct points *ret,
		      size_t *ret_used)
{
	size_t at = 0;

	while (at < h->len) {
		const char *line = h->data + at;
		const char *end = memchr(line, '\n', h->len - at);
		size_t n = end ? (size_t)(end - line) : h->len - at;
		struct mk_logged point;
		const char *why;

		if (!end && !h->last && n <= UNFINISHED_MAX)
			break;
		if (is_blank(line, n)) {
			at += n + (end != NULL);
			continue;
		}
		if (mk_metric_parse(line, n, &point, &why) == 0) {
			int r = add_point(call, ret, &point);

			if (r == -EFBIG) /* the rest next time */
				break;
			if (r < 0)
				return r;
		} else if (h->bad) {
			h->bad(h->arg, h->offset + (int64_t)at, line, n, why);
		}
		at += n + (end != NULL);
	}
	*ret_used = at;
	return 0;
}

int mk_metric_append_harvest(struct mk_call *call, struct mk_conn *conn, const struct mk_harvest *h)
{
	_cleanup_points_ struct points points = {};
	size_t used = 0;
	int64_t offset = 0;
	int r = mk_logging_allowed(call, conn, h->run_id);

	if (r == 0)
		r = mk_key_check(call, "metric", h->key);
	if (r == 0)
		r = mk_harvest_offset(call, conn, h->run_id, h->path, &offset);
	if (r < 0)
		return r;
	if (offset != h->offset)
		return mk_fail(call, ESTALE, "%s: read up to %lld already, not to %lld", h->path,
			       (long long)offset, (long long)h->offset);
	r = parse_good(call, h, &points, &used);
	if (r < 0 || used == 0)
		return r;
	r = mk_metric_append(call, conn, h->run_id, h->key, points.v, points.n);
	if (r == 0)
		r = mk_harvest_advance(call, conn, h->run_id, h->path, offset + (int64_t)used);
	return r < 0 ? r : (int)used;
}

static int harvest(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	return mk_metric_append_harvest(call, conn, arg);
}

int mk_metric_harvest(struct mk_call *call, struct mantik *m, const struct mk_harvest *h)
{
	return mk_domain_write(call, m, MK_KILLSAFE, harvest, (void *)h);
}
