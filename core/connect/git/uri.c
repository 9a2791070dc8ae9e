/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a repository comes from, as a user wrote it: checked before any program sees it, the host
 * found for the lane, secrets taken out (argv can be read by everybody on the machine).
 *
 *	https://user:token@host/path   http ssh git file
 *	user@host:path                 ssh, as git has it
 *	/path  ~/path                  a local repository
 */
#include <errno.h>
#include <string.h>

#include "connect/git/git.h"

enum { MAX_URI = 4096, MAX_LANE = 100, LEAST_TOKEN = 10 /* letters behind its prefix */ };

static const char *const schemes[] = {"https", "http", "ssh", "git", "file"};

/* What forges call a token: alone before the `@` it is a secret, not a name. */
static const char *const token_prefixes[] = {"ghp_",	    "gho_",   "ghs_",  "ghu_",
					     "github_pat_", "glpat-", "gldt-", "ATCTT"};

void mk_origin_free(struct mk_origin *origin)
{
	free(origin->label);
	free(origin->uri);
	free(origin->shown);
	free(origin->host);
	free(origin->path);
	free(origin->lane);
	free(origin->user);
	if (origin->password)
		explicit_bzero(origin->password, strlen(origin->password));
	free(origin->password);
	free(origin->connection);
	*origin = (struct mk_origin){};
}

void mk_origin_copy(struct mk_origin *to, const struct mk_origin *from)
{
	*to = (struct mk_origin){
		.label = mk_strdup(from->label),
		.uri = mk_strdup(from->uri),
		.shown = mk_strdup(from->shown),
		.host = mk_strdup(from->host),
		.path = mk_strdup(from->path),
		.lane = mk_strdup(from->lane),
		.user = mk_strdup(from->user),
		.password = mk_strdup(from->password),
		.connection = mk_strdup(from->connection),
	};
}

static char *join(const char *a, const char *b, const char *c)
{
	struct mk_buf text = MK_BUF(2 * MAX_URI);

	(void)mk_buf_puts(&text, a);
	(void)mk_buf_puts(&text, b);
	(void)mk_buf_puts(&text, c);
	return mk_buf_steal(&text);
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static char *decode(const char *s, size_t n)
{
	char *text = mk_strndup(s, n), *to = text;

	for (const char *p = text; *p; p++) {
		if (*p == '%' && hex(p[1]) >= 0 && hex(p[2]) >= 0 && (p[1] != '0' || p[2] != '0')) {
			*to++ = (char)(hex(p[1]) * 16 + hex(p[2]));
			p += 2;
		} else {
			*to++ = *p;
		}
	}
	*to = 0;
	return text;
}

/* --- secrets where none belong -------------------------------------------------------------- */

static const char *const token_letters =
	"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";

/* The first thing in a text that looks like a forge's token; *ret its length. */
static const char *find_token(const char *text, size_t *ret)
{
	for (size_t i = 0; i < sizeof(token_prefixes) / sizeof(*token_prefixes); i++) {
		const char *at = strstr(text, token_prefixes[i]);
		size_t n = at ? strspn(at, token_letters) : 0;

		if (n >= strlen(token_prefixes[i]) + LEAST_TOKEN) {
			*ret = n;
			return at;
		}
	}
	return NULL;
}

/* For the sentence about a uri that cannot be read: what stands between a `:` and the last `@`, and
 * whatever looks like a token, as ***. */
static char *redact(const char *uri)
{
	struct mk_buf text = MK_BUF(2 * MAX_URI);
	const char *at = strrchr(uri, '@'), *colon = strchr(uri, ':'), *token;
	_cleanup_free_ char *plain = NULL;
	size_t n;

	if (colon && strncmp(colon, "://", 3) == 0)
		colon = strchr(colon + 1, ':');
	if (at && colon && colon < at)
		(void)mk_buf_printf(&text, "%.*s***%s", (int)(colon + 1 - uri), uri, at);
	else
		(void)mk_buf_puts(&text, uri);
	plain = mk_buf_steal(&text);
	text = MK_BUF(2 * MAX_URI);

	const char *rest = plain;

	for (; (token = find_token(rest, &n)); rest = token + n)
		(void)mk_buf_printf(&text, "%.*s***", (int)(token - rest), rest);
	(void)mk_buf_puts(&text, rest);
	return mk_buf_steal(&text);
}

static int parse_local(struct mk_call *call, const char *uri, const char *path,
		       struct mk_origin *origin)
{
	if (path[0] != '/') {
		_cleanup_free_ char *shown = redact(uri);

		return mk_fail(call, EINVAL,
			       "%s: uri %s: the path of a local repository must be absolute",
			       origin->label, shown);
	}
	origin->uri = mk_strdup(path);
	origin->shown = mk_strdup(uri);
	origin->path = mk_strdup(path);
	origin->lane = mk_strdup("git:file");
	return 0;
}

/* A name for ssh or a resolver: nothing that an option or a shell could be. */
static int check_host(struct mk_call *call, const char *uri, struct mk_origin *origin)
{
	const char *host = origin->host;

	if (!*host)
		return mk_fail(call, EINVAL, "%s: uri %s names no host", origin->label, uri);
	if (*host == '-')
		return mk_fail(call, EINVAL, "%s: uri %s: a host cannot begin with -",
			       origin->label, uri);
	for (; *host; host++)
		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
			    ".-_[]:%",
			    *host))
			return mk_fail(call, EINVAL, "%s: uri %s: not a host name", origin->label,
				       uri);
	return 0;
}

static bool is_token(const char *user)
{
	for (size_t i = 0; i < sizeof(token_prefixes) / sizeof(*token_prefixes); i++)
		if (strncmp(user, token_prefixes[i], strlen(token_prefixes[i])) == 0)
			return true;
	return false;
}

/* scheme://[user[:password]@]host[:port]/path with `rest` behind the slashes. */
static int parse_url(struct mk_call *call, const char *scheme, const char *rest,
		     struct mk_origin *origin)
{
	size_t authority = strcspn(rest, "/?#");
	const char *at = memrchr(rest, '@', authority);
	const char *host = at ? at + 1 : rest;
	size_t host_len = authority - (size_t)(host - rest);
	const char *colon = at ? memchr(rest, ':', (size_t)(at - rest)) : NULL;
	bool is_web = strncmp(scheme, "http", 4) == 0;
	_cleanup_free_ char *user = NULL;
	_cleanup_free_ char *prefix = join(scheme, "://", "");

	if (at)
		user = mk_strndup(rest, (size_t)((colon ? colon : at) - rest));
	if (at && (colon || (is_web && is_token(user)))) {
		_cleanup_free_ char *plain = join(prefix, host, "");
		_cleanup_free_ char *hidden =
			join(prefix, colon ? user : "***", colon ? ":***@" : "@");

		origin->shown = join(hidden, host, "");
		if (is_web) {
			origin->user = decode(user, strlen(user));
			origin->password =
				colon ? decode(colon + 1, (size_t)(at - colon - 1)) : mk_strdup("");
			origin->uri = mk_steal(&plain);
		}
	} else {
		origin->shown = join(prefix, rest, "");
		origin->uri = mk_strdup(origin->shown);
	}
	/* Without the port: `[::1]:22` or `host:22`. */
	const char *port = memrchr(host, ':', host_len);
	const char *bracket = memrchr(host, ']', host_len);

	if (port && (!bracket || port > bracket))
		host_len = (size_t)(port - host);
	origin->host = mk_strndup(host, host_len);
	if (!origin->uri)
		return mk_fail(call, EINVAL, "%s: uri %s: %s takes no password: use a key",
			       origin->label, origin->shown, scheme);
	if (user && user[0] == '-')
		return mk_fail(call, EINVAL, "%s: uri %s: a user cannot begin with -",
			       origin->label, origin->shown);
	return check_host(call, origin->shown, origin);
}

/* [user@]host:path */
static int parse_scp(struct mk_call *call, const char *uri, const char *colon,
		     struct mk_origin *origin)
{
	const char *at = memchr(uri, '@', (size_t)(colon - uri));
	const char *host = at ? at + 1 : uri;
	_cleanup_free_ char *shown = redact(uri);
	size_t n = (size_t)(colon - uri);

	/* Else a password would stand in argv, as a part of the path. */
	if (!at && memchr(colon, '@', strcspn(colon, "/")))
		return mk_fail(call, EINVAL,
			       "%s: uri %s: a login needs the scheme: https://USER:TOKEN@HOST/PATH",
			       origin->label, shown);
	for (size_t i = 0; i < sizeof(schemes) / sizeof(*schemes); i++)
		if (strlen(schemes[i]) == n && strncasecmp(uri, schemes[i], n) == 0)
			return mk_fail(call, EINVAL, "%s: uri %s: write %s:// with two slashes",
				       origin->label, shown, schemes[i]);
	origin->uri = mk_strdup(uri);
	origin->shown = mk_strdup(uri);
	origin->host = mk_strndup(host, (size_t)(colon - host));
	if (!colon[1])
		return mk_fail(call, EINVAL, "%s: uri %s names no path", origin->label, shown);
	return check_host(call, shown, origin);
}

static int parse(struct mk_call *call, const char *uri, struct mk_origin *origin)
{
	size_t len = strlen(uri);
	const char *colon = strchr(uri, ':'), *slash = strchr(uri, '/');
	_cleanup_free_ char *shown = redact(uri);

	if (!len || len > MAX_URI)
		return mk_fail(call, EINVAL, "%s: uri is %s", origin->label,
			       len ? "too long" : "empty");
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)uri[i] <= ' ' && uri[i] != ' ')
			return mk_fail(call, EINVAL, "%s: uri holds a control character",
				       origin->label);
	if (uri[0] == '-')
		return mk_fail(call, EINVAL, "%s: uri %s: cannot begin with -", origin->label,
			       shown);
	if (strncmp(uri, "~/", 2) == 0 && getenv("HOME")) {
		_cleanup_free_ char *path = join(getenv("HOME"), uri + 1, "");

		return parse_local(call, uri, path, origin);
	}
	if (uri[0] == '/' || !colon || (slash && slash < colon))
		return parse_local(call, uri, uri, origin);
	if (strncmp(colon, "://", 3) != 0) {
		if (colon[1] == ':')
			return mk_fail(call, EINVAL,
				       "%s: uri %s: remote helpers (%.*s::) are not "
				       "allowed: use https, ssh, git or a path",
				       origin->label, shown, (int)(colon - uri), uri);
		return parse_scp(call, uri, colon, origin);
	}
	for (size_t i = 0; i < sizeof(schemes) / sizeof(*schemes); i++) {
		if (strlen(schemes[i]) != (size_t)(colon - uri) ||
		    strncasecmp(uri, schemes[i], (size_t)(colon - uri)) != 0)
			continue;
		if (strcmp(schemes[i], "file") == 0) {
			_cleanup_free_ char *path = decode(colon + 3, strlen(colon + 3));

			return parse_local(call, uri, path, origin);
		}
		return parse_url(call, schemes[i], colon + 3, origin);
	}
	return mk_fail(call, EINVAL,
		       "%s: uri %.*s://…: not one of https, http, ssh, git, file or a path",
		       origin->label, (int)(colon - uri), uri);
}

int mk_origin_parse(struct mk_call *call, const char *label, const char *uri, struct mk_origin *ret)
{
	_cleanup_origin_ struct mk_origin origin = {.label = mk_strdup(label)};
	int r = parse(call, uri, &origin);

	if (r < 0)
		return r;

	size_t n;

	if (find_token(origin.uri, &n)) {
		_cleanup_free_ char *shown = redact(uri);

		return mk_fail(call, EINVAL,
			       "%s: uri %s: a token stands where none belongs: "
			       "https://USER:TOKEN@HOST/PATH",
			       label, shown);
	}
	/* mk_call.punt holds so much: a longer name would be punted to for ever. */
	if (!origin.lane) {
		_cleanup_free_ char *host = mk_strndup(origin.host, MAX_LANE);

		origin.lane = join("git:", host, "");
	}
	*ret = origin;
	origin = (struct mk_origin){};
	return 0;
}
