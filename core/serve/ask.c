/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a request says of itself before anybody acts on it: its path, its Host and Origin, its range,
 * its secret. Pure functions over foreign bytes, fuzzed.
 *
 * A path is decoded once and never again: `100%2525` is the name `100%25`. The scope is cut off
 * before it is decoded, so that a project's name may hold anything.
 */
#include "serve/frame.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int serve_decode(const char *raw, size_t len, struct mk_buf *ret)
{
	size_t from = ret->len;

	for (size_t i = 0; i < len; i++) {
		int high = raw[i] == '%' && i + 2 < len ? hex(raw[i + 1]) : -1;
		int low = high >= 0 ? hex(raw[i + 2]) : -1;

		if (low < 0) {
			(void)mk_buf_putc(ret, raw[i]);
			continue;
		}
		(void)mk_buf_putc(ret, (char)(high << 4 | low));
		i += 2;
	}
	if (mk_buf_check(ret) < 0)
		return mk_buf_check(ret);
	return mk_utf8_bad(mk_buf_text(ret) + from, ret->len - from) < ret->len - from ? -EINVAL : 0;
}

void serve_where_free(struct serve_where *where)
{
	free(where->scope);
	free(where->project);
	free(where->path);
	*where = (struct serve_where){};
}

/* `.` and `..` between slashes. */
static bool climbs(const char *path)
{
	for (const char *s = path; *s;) {
		size_t n = strcspn(s, "/");

		if ((n == 1 && *s == '.') || (n == 2 && s[0] == '.' && s[1] == '.'))
			return true;
		s += n + (s[n] == '/');
	}
	return false;
}

int serve_where_read(const char *raw, struct serve_where *ret, const char **ret_why)
{
	static const char scope[] = "/projects/", ajax[] = "/ajax-api/";
	_cleanup_(serve_where_free) struct serve_where where = {};
	_cleanup_buf_ struct mk_buf project = MK_BUF(4096), path = MK_BUF(1 << 16);

	/* An address that was given with a slash at its end. */
	while (raw[0] == '/' && raw[1] == '/')
		raw++;
	*ret_why = "the path is not UTF-8, or holds a NUL";
	if (strncmp(raw, scope, strlen(scope)) == 0) {
		const char *name = raw + strlen(scope);
		size_t n = strcspn(name, "/");

		if (serve_decode(name, n, &project) < 0)
			return -EINVAL;
		where.scope = mk_strndup(raw, (size_t)(name + n - raw));
		raw = name + n;
		where.project = mk_buf_steal(&project);
	}
	if (strncmp(raw, ajax, strlen(ajax)) == 0) {
		(void)mk_buf_puts(&path, "/api/");
		raw += strlen(ajax);
	}
	if (serve_decode(raw, strlen(raw), &path) < 0)
		return -EINVAL;
	*ret_why = "the path holds `.` or `..`";
	if (climbs(mk_buf_text(&path)) || (where.project && climbs(where.project)))
		return -EINVAL;
	if (!where.scope)
		where.scope = mk_strdup("");
	where.path = mk_buf_steal(&path);
	*ret = where;
	where = (struct serve_where){};
	return 0;
}

bool serve_host_ours(const char *host, int port)
{
	static const char *const names[] = {"127.0.0.1", "localhost", "[::1]"};
	char end[16];

	(void)snprintf(end, sizeof(end), ":%d", port);
	for (size_t i = 0; host && i < sizeof(names) / sizeof(*names); i++) {
		size_t n = strlen(names[i]);

		if (strncasecmp(host, names[i], n) == 0 &&
		    (strcmp(host + n, end) == 0 || (port == 80 && !host[n])))
			return true;
	}
	return false;
}

bool serve_origin_ours(const char *origin, int port)
{
	static const char scheme[] = "http://";

	return strncmp(origin, scheme, strlen(scheme)) == 0 &&
	       serve_host_ours(origin + strlen(scheme), port);
}

bool serve_same_secret(const char *ours, const char *theirs)
{
	size_t n = strlen(ours), m = strlen(theirs);
	volatile unsigned char different = n != m;

	for (size_t i = 0; i < n; i++)
		different |= (unsigned char)(ours[i] ^ (i < m ? theirs[i] : 0));
	return !different;
}

/* Digits that fit; *s is behind them. */
static bool number(const char **s, int64_t *ret)
{
	int64_t v = 0;
	bool any = false;

	for (; **s >= '0' && **s <= '9'; (*s)++, any = true)
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, **s - '0', &v))
			return false;
	*ret = v;
	return any;
}

int serve_range(const char *range, int64_t size, int64_t *ret_from, int64_t *ret_len)
{
	static const char unit[] = "bytes=";
	int64_t from = 0, to = 0;
	bool begins, ends;

	if (!range || strncmp(range, unit, strlen(unit)) != 0)
		return 0;
	range += strlen(unit);
	begins = number(&range, &from);
	if (*range++ != '-')
		return 0;
	ends = number(&range, &to);
	if (*range || (!begins && !ends) || (begins && ends && to < from))
		return 0;
	if (!begins) { /* the last `to` bytes */
		if (to == 0 || size == 0)
			return -ERANGE;
		from = to < size ? size - to : 0;
		to = size - 1;
	} else if (from >= size) {
		return size ? -ERANGE : 0;
	} else if (!ends || to >= size) {
		to = size - 1;
	}
	*ret_from = from;
	*ret_len = to - from + 1;
	return 1;
}
