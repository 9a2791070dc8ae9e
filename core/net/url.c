/* SPDX-License-Identifier: Apache-2.0 */
/*
 * URLs: libcurl's parser takes them apart, so that what is checked here and what goes to the wire
 * is one and the same. Any thread, no I/O.
 */
#include "http.h"

#include <errno.h>
#include <string.h>

#include <curl/curl.h>

#include "base/file.h"

enum { MAX_URL = 4096 };

static void curl_freep(char **s)
{
	curl_free(*s);
	*s = NULL;
}

static void url_freep(CURLU **u)
{
	curl_url_cleanup(*u);
	*u = NULL;
}

#define _cleanup_curl_ _cleanup_(curl_freep)
#define _cleanup_url_  _cleanup_(url_freep)

static CURLU *parse(const char *url)
{
	CURLU *u = curl_url();

	if (u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK)
		return u;
	curl_url_cleanup(u);
	return NULL;
}

/* A part, or NULL when there is none. */
static char *part(CURLU *u, CURLUPart which, unsigned int flags)
{
	char *text = NULL;

	return curl_url_get(u, which, &text, flags) == CURLUE_OK ? text : NULL;
}

static void lower(char *s)
{
	for (; *s; s++)
		if (*s >= 'A' && *s <= 'Z')
			*s = (char)(*s - 'A' + 'a');
}

int mk_url_base(struct mk_call *call, const char *url, char **ret)
{
	if (strlen(url) > MAX_URL)
		return mk_fail(call, EINVAL, "a URL of more than %d bytes", MAX_URL);
	if (!strstr(url, "://"))
		return mk_fail(call, EINVAL, "\"%s\" is no URL: does it begin with https://?", url);

	_cleanup_url_ CURLU *u = parse(url);
	_cleanup_curl_ char *scheme = u ? part(u, CURLUPART_SCHEME, 0) : NULL;

	if (!scheme)
		return mk_fail(call, EINVAL, "\"%s\" is no URL", url);
	if (strcasecmp(scheme, "http") != 0 && strcasecmp(scheme, "https") != 0)
		return mk_fail(call, EINVAL, "\"%s\": a URL here is http:// or https://", url);

	_cleanup_curl_ char *user = part(u, CURLUPART_USER, 0);
	_cleanup_curl_ char *password = part(u, CURLUPART_PASSWORD, 0);

	if (user || password) /* the text may hold a secret: it is not said again */
		return mk_fail(call, EINVAL,
			       "a URL here has no user and password in it: write them as user: and "
			       "password:");

	_cleanup_curl_ char *query = part(u, CURLUPART_QUERY, 0);
	_cleanup_curl_ char *fragment = part(u, CURLUPART_FRAGMENT, 0);

	/* MLflow's own pages are http://host:5000/#/experiments/0: copied from a browser. */
	if (query || fragment || strpbrk(url, "?#"))
		return mk_fail(call, EINVAL, "\"%s\": a URL here ends before its %s", url,
			       fragment || strchr(url, '#') ? "#" : "?");

	_cleanup_curl_ char *host = part(u, CURLUPART_HOST, 0);
	_cleanup_curl_ char *port = part(u, CURLUPART_PORT, CURLU_NO_DEFAULT_PORT);
	_cleanup_curl_ char *path = part(u, CURLUPART_PATH, 0);

	if (!host || !*host)
		return mk_fail(call, EINVAL, "\"%s\" names no host", url);
	lower(scheme);
	lower(host);

	char *text = mk_strf("%s://%s%s%s%s", scheme, host, port ? ":" : "", port ? port : "",
			     path ? path : "");
	size_t len = strlen(text);

	while (len && text[len - 1] == '/')
		text[--len] = 0;
	*ret = text;
	return 0;
}

char *mk_url_origin(const char *url)
{
	_cleanup_url_ CURLU *u = parse(url);

	if (!u)
		return NULL;

	_cleanup_curl_ char *scheme = part(u, CURLUPART_SCHEME, 0);
	_cleanup_curl_ char *host = part(u, CURLUPART_HOST, 0);
	_cleanup_curl_ char *port = part(u, CURLUPART_PORT, CURLU_DEFAULT_PORT);

	if (!scheme || !host || !*host || !port)
		return NULL;

	char *origin = mk_strf("%s://%s:%s", scheme, host, port);

	lower(origin);
	return origin;
}

bool mk_url_is_loopback(const char *url)
{
	_cleanup_url_ CURLU *u = parse(url);
	_cleanup_curl_ char *host = u ? part(u, CURLUPART_HOST, 0) : NULL;

	if (!host)
		return false;
	return strcasecmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0 ||
	       (strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") == strlen(host));
}

void mk_url_put(struct mk_buf *url, const char *text, bool slash)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		    strchr("-._~", c) || (slash && c == '/'))
			(void)mk_buf_putc(url, (char)c);
		else
			(void)mk_buf_printf(url, "%%%02X", c);
	}
}
