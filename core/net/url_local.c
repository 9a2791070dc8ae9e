/* SPDX-License-Identifier: Apache-2.0 */
/* See url_local.h. */
#include "net/url_local.h"

#include <errno.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include <mantik/buf.h>

#include "base/file.h"

enum { MAX_PATH = 4096 };

/* What stands behind a scheme, or NULL. */
static const char *behind(const char *url, const char *scheme)
{
	size_t len = strlen(scheme);

	return strncasecmp(url, scheme, len) == 0 ? url + len : NULL;
}

bool mk_url_is_sqlite(const char *url)
{
	return behind(url, "sqlite:") != NULL;
}

bool mk_url_is_local(const char *url)
{
	return behind(url, "file:") || mk_url_is_sqlite(url);
}

static int hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : -1;
}

/* %41 -> A. A % that is none stays. */
static void decode(char *s)
{
	char *out = s;

	for (; *s; s++) {
		if (*s == '%' && hex(s[1]) >= 0 && hex(s[2]) >= 0) {
			*out++ = (char)(hex(s[1]) * 16 + hex(s[2]));
			s += 2;
		} else {
			*out++ = *s;
		}
	}
	*out = 0;
}

/* Parts of an absolute path, one after the other, without those that mean nothing. */
static void tidy(struct mk_buf *ret, const char *path)
{
	for (size_t len; *path; path += len) {
		path += strspn(path, "/");
		len = strcspn(path, "/");
		if (len == 0 || (len == 1 && path[0] == '.'))
			continue;
		if (len == 2 && path[0] == '.' && path[1] == '.') {
			const char *slash = strrchr(mk_buf_text(ret), '/');

			mk_buf_truncate(ret, slash ? (size_t)(slash - ret->data) : 0);
			continue;
		}
		(void)mk_buf_putc(ret, '/');
		(void)mk_buf_put(ret, path, len);
	}
}

static char *make(bool sqlite, const char *absolute)
{
	static const char plain[] = "-._~/!$&'()*+,;=:";
	_cleanup_buf_ struct mk_buf path = MK_BUF(4 * MAX_PATH), url = MK_BUF(16 * MAX_PATH);

	tidy(&path, absolute);
	(void)mk_buf_puts(&url, sqlite ? "sqlite:///" : "file://");
	for (const char *s = path.len ? mk_buf_text(&path) : "/"; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		    strchr(plain, c) || c >= 0x80)
			(void)mk_buf_putc(&url, (char)c);
		else
			(void)mk_buf_printf(&url, "%%%02X", c);
	}
	return mk_buf_steal(&url);
}

/* The decoded path behind the scheme; *ret_absolute: it is meant so. */
static int take(struct mk_call *call, const char *url, char **ret, bool *ret_absolute)
{
	bool sqlite = mk_url_is_sqlite(url);
	const char *path = behind(url, sqlite ? "sqlite:" : "file:");

	if (strlen(url) > MAX_PATH)
		return mk_fail(call, EINVAL, "a URL of more than %d bytes", MAX_PATH);
	if (strpbrk(path, "?#"))
		return mk_fail(call, EINVAL, "\"%s\": must end before its %s", url,
			       strchr(path, '#') ? "#" : "?");
	if (strncmp(path, "//", 2) == 0) {
		size_t host = strcspn(path + 2, "/");

		if (host && (sqlite || strncasecmp(path + 2, "localhost/", 10) != 0))
			return mk_fail(call, EINVAL,
				       "\"%s\" names another machine: write %s and the path", url,
				       sqlite ? "sqlite:///" : "file://");
		path += 2 + host;
		/* sqlite:///x is x, sqlite:////x is /x. */
		if (sqlite && *path == '/')
			path++;
	}
	*ret = mk_strdup(path);
	decode(*ret);
	*ret_absolute = **ret == '/';
	if (!**ret || strcmp(*ret, "/") == 0 || strpbrk(*ret, "\r\n")) {
		mk_freep(ret);
		return mk_fail(call, EINVAL, "\"%s\" names no %s", url, sqlite ? "file" : "folder");
	}
	return 0;
}

int mk_url_local(struct mk_call *call, const char *url, char **ret)
{
	_cleanup_free_ char *path = NULL, *whole = NULL;
	bool absolute;
	int r = take(call, url, &path, &absolute);

	if (r < 0)
		return r;
	if (!absolute && !behind(url, "sqlite:///"))
		return mk_fail(call, EINVAL, "\"%s\": the path must be absolute", url);
	whole = mk_strf("%s%s", absolute ? "" : "/", path);
	*ret = make(mk_url_is_sqlite(url), whole);
	return 0;
}

static int from_here(struct mk_call *call, const char *path, char **ret)
{
	_cleanup_free_ char *here = path[0] == '/' ? NULL : realpath(".", NULL);

	if (path[0] != '/' && !here)
		return mk_fail(call, errno, "%s: the current directory: %s", path, strerror(errno));
	*ret = mk_strf("%s%s%s", here ? here : "", here ? "/" : "", path);
	return 0;
}

int mk_url_typed(struct mk_call *call, const char *text, char **ret)
{
	_cleanup_free_ char *path = NULL, *whole = NULL;
	bool sqlite = mk_url_is_sqlite(text), absolute;
	struct stat st;
	int r;

	if (mk_url_is_local(text)) {
		r = take(call, text, &path, &absolute);
		if (r == 0)
			r = from_here(call, path, &whole);
		if (r < 0)
			return r;
		/* sqlite:///home/ana/mlflow.db: a slash too few, seen by what is there. */
		if (sqlite && !absolute && stat(whole, &st) < 0) {
			_cleanup_free_ char *other = mk_strf("/%s", path);

			if (stat(other, &st) == 0) {
				free(whole);
				whole = mk_steal(&other);
			}
		}
		*ret = make(sqlite, whole);
		return 1;
	}
	if (strstr(text, "://") || (*text != '.' && *text != '/' && !strchr(text, '/') &&
				    stat(text, &st) < 0))
		return 0;
	r = from_here(call, text, &whole);
	if (r < 0)
		return r;

	const char *dot = strrchr(whole, '.');

	if (stat(whole, &st) == 0)
		sqlite = S_ISREG(st.st_mode);
	else
		sqlite = dot && strcmp(dot, ".db") == 0;
	*ret = make(sqlite, whole);
	return 1;
}

char *mk_url_local_path(const char *url)
{
	const char *path = behind(url, mk_url_is_sqlite(url) ? "sqlite:///" : "file://");
	char *ret = mk_strdup(path ? path : "/");

	decode(ret);
	return ret;
}
