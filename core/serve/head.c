/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the head of a request says: who asks, for what, with how much to come. In the poll thread,
 * before anything of it is believed or kept.
 */
#include "serve/frame.h"

#include <microhttpd.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* For the head of an answer: the name of a file, escaped, is the longest in it. */
enum { ROOM = 4096 };

const char *serve_header(struct exchange *x, const char *name)
{
	return MHD_lookup_connection_value(x->conn, MHD_HEADER_KIND, name);
}

void *serve_take_query(void *cls, const char *uri, struct MHD_Connection *conn)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(conn, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	struct serve_link *link = info->socket_context;
	char *query = strchr(uri, '?'); /* in the connection's own memory, which may be written */

	free(link->query);
	link->query = query ? mk_strdup(query + 1) : NULL;
	if (query && query[1])
		query[1] = 0;
	return NULL;
}

/* Generously: 64 bytes for each field, its text and what is between them. */
static enum MHD_Result weigh(void *arg, enum MHD_ValueKind kind, const char *key, size_t key_len,
			     const char *value, size_t value_len)
{
	*(size_t *)arg += 64 + key_len + value_len + 8;
	return MHD_YES;
}

bool serve_head_fits(struct exchange *x, const char *url)
{
	static const char body[] = "{\"error_code\":\"INVALID_PARAMETER_VALUE\","
				   "\"message\":\"the head of a request is too long\"}";
	size_t weight = strlen(url) + (x->query ? strlen(x->query) : 0);
	char answer[512];

	(void)MHD_get_connection_values_n(x->conn, MHD_HEADER_KIND | MHD_COOKIE_KIND, weigh, &weight);
	if (weight < SERVE_MEMORY - ROOM)
		return true;

	int n = snprintf(answer, sizeof(answer),
			 "HTTP/1.1 431 Request Header Fields Too Large\r\n"
			 "Content-Type: application/json\r\nConnection: close\r\n"
			 "Content-Length: %zu\r\n\r\n%s",
			 strlen(body), body);

	(void)send(x->link->fd, answer, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT);
	return false;
}

static int add_argument(struct exchange *x, const char *key, size_t key_len, const char *value,
			size_t value_len)
{
	_cleanup_buf_ struct mk_buf name = MK_BUF(1 << 16), text = MK_BUF(1 << 16);

	if (serve_decode(key, key_len, &name) < 0 || serve_decode(value, value_len, &text) < 0)
		return serve_fail(&x->rq, "INVALID_PARAMETER_VALUE",
				  "an argument of the query is not UTF-8, or holds a NUL");

	json_t *old = json_object_get(x->rq.in, mk_buf_text(&name));
	json_t *new = json_stringn(mk_buf_text(&text), text.len);

	if (json_is_array(old)) {
		(void)json_array_append_new(old, new);
	} else if (old) {
		json_t *list = json_array();

		(void)json_array_append(list, old);
		(void)json_array_append_new(list, new);
		(void)json_object_set_new(x->rq.in, mk_buf_text(&name), list);
	} else {
		(void)json_object_set_new(x->rq.in, mk_buf_text(&name), new);
	}
	return 0;
}

/* `a=1&b=2`, a plus is a blank. */
static int read_query(struct exchange *x)
{
	int r = 0;

	for (char *s = x->query; s && *s; s++)
		if (*s == '+')
			*s = ' ';
	for (const char *s = x->query; r == 0 && s && *s;) {
		size_t n = strcspn(s, "&"), key = strcspn(s, "&=");

		if (n)
			r = add_argument(x, s, key, s + key + (key < n), n - key - (key < n));
		s += n + (s[n] == '&');
	}
	return r;
}

static void wipe(char *secret)
{
	if (secret)
		explicit_bzero(secret, strlen(secret));
	MHD_free(secret);
}

/* The token; a job's ends in its run: <token>.<run id>. */
static bool is_token(struct exchange *x, const char *text)
{
	const char *dot = strchr(text, '.');

	if (!dot || strlen(dot + 1) != sizeof(x->job) - 1 ||
	    strspn(dot + 1, "0123456789abcdef") != sizeof(x->job) - 1)
		return serve_same_secret(x->serve->token, text);

	_cleanup_wipe_ struct mk_buf token = MK_BUF_SECRET(256);
	bool good = mk_buf_put(&token, text, (size_t)(dot - text)) == 0 &&
		    serve_same_secret(x->serve->token, mk_buf_text(&token));

	if (good)
		memcpy(x->job, dot + 1, sizeof(x->job));
	return good;
}

/* `Bearer <token>`, or Basic with any name and the token as password. */
static bool has_token(struct exchange *x)
{
	static const char scheme[] = "Bearer ";
	const char *value = serve_header(x, MHD_HTTP_HEADER_AUTHORIZATION);
	char *password = NULL;
	bool good = false;

	if (!value)
		return false;
	if (strncasecmp(value, scheme, strlen(scheme)) == 0) {
		value += strlen(scheme);
		return is_token(x, value + strspn(value, " "));
	}

	char *user = MHD_basic_auth_get_username_password(x->conn, &password);

	if (password)
		good = is_token(x, password);
	/* Who takes the one for the other has his token in the wrong one. What libmicrohttpd keeps of
	 * the head itself is wiped with the end of the request. */
	wipe(user);
	wipe(password);
	return good;
}

/* Told to anybody, as MLflow's server tells it. */
static bool is_open(const char *raw)
{
	return strcmp(raw, "/health") == 0 || strcmp(raw, "/version") == 0;
}

/* Who asks: an error, or 0. */
int serve_may_ask(struct exchange *x, const char *raw)
{
	const char *host = serve_header(x, MHD_HTTP_HEADER_HOST);
	const char *origin = serve_header(x, MHD_HTTP_HEADER_ORIGIN);
	int port = x->serve->port;

	if (!serve_host_ours(host, port))
		return serve_fail(&x->rq, "PERMISSION_DENIED",
				  "this server is asked as 127.0.0.1:%d, localhost:%d or [::1]:%d, "
				  "not as %s; from another machine use a tunnel: ssh -L "
				  "%d:127.0.0.1:%d",
				  port, port, port, host ? host : "nobody", port, port);
	if (is_open(raw) && !has_token(x))
		return 0;
	if (origin && !serve_origin_ours(origin, port))
		return serve_fail(&x->rq, "PERMISSION_DENIED",
				  "a page of %s may not ask this server", origin);
	if (!has_token(x))
		return serve_fail(&x->rq, "UNAUTHENTICATED",
				  "this server wants its token: eval \"$(mantikctl env)\" sets "
				  "MLFLOW_TRACKING_TOKEN; in a browser it is the password, of any "
				  "user");
	serve_link_known(&x->serve->sweep, x->link);
	atomic_store(&x->serve->last, mk_now_mono());
	return 0;
}

/* What is wanted: an error, or 0 with the route. */
int serve_find_route(struct exchange *x, const char *raw)
{
	const char *why = NULL;
	bool other;

	if (serve_where_read(raw, &x->where, &why) < 0)
		return serve_fail(&x->rq, "INVALID_PARAMETER_VALUE", "%s", why);
	x->rq.path = x->where.path;
	x->rq.scope = x->where.scope;
	x->route = serve_routes_find(x->serve->routes, x->rq.method, x->rq.path, &x->rq.rest,
				     &other);
	return x->route ? 0 : serve_unknown(&x->rq, other);
}

int64_t serve_announced(struct exchange *x)
{
	const char *text = serve_header(x, MHD_HTTP_HEADER_CONTENT_LENGTH);
	int64_t length = 0;

	if (!text)
		return serve_header(x, MHD_HTTP_HEADER_TRANSFER_ENCODING) ? -1 : 0;
	/* libmicrohttpd has refused what is no number. */
	for (; *text >= '0' && *text <= '9'; text++)
		if (__builtin_mul_overflow(length, 10, &length) ||
		    __builtin_add_overflow(length, *text - '0', &length))
			return INT64_MAX;
	return length;
}

int serve_too_big(struct exchange *x)
{
	return serve_fail(&x->rq, "RESOURCE_LIMIT_EXCEEDED",
			  "a request may have %zu MiB, this one has more",
			  x->serve->limits.body >> 20);
}

/* Of a body that is kept: a JSON object of a bearable size; else the query. */
int serve_check_body(struct exchange *x)
{
	const char *type = serve_header(x, MHD_HTTP_HEADER_CONTENT_TYPE);
	static const char json[] = "application/json";

	/* Arguments of what has no JSON: a GET, a file, a DELETE that says all in its path. */
	if (strcmp(x->rq.method, "GET") == 0 || x->route->sink ||
	    (strcmp(x->rq.method, "DELETE") == 0 && !x->length && !type)) {
		x->rq.in = json_object();
		if (!x->rq.in)
			return mk_fail(&x->call, ENOMEM, "out of memory");
		return read_query(x);
	}
	if (!type || strncasecmp(type, json, strlen(json)) != 0 ||
	    (type[strlen(json)] && !strchr("; ", type[strlen(json)])))
		return serve_fail(&x->rq, "INVALID_PARAMETER_VALUE",
				  "Bad Request. Content-Type must be one of ['application/json'].");
	return x->length > (int64_t)x->serve->limits.body ? serve_too_big(x) : 0;
}

void serve_name_request(struct exchange *x)
{
	const char *theirs = serve_header(x, "X-Request-ID");
	size_t n = theirs ? strlen(theirs) : 0;

	x->call.number = atomic_fetch_add(&x->serve->number, 1) + 1;
	if (n && n <= SERVE_MAX_ID && strspn(theirs, "0123456789abcdefghijklmnopqrstuvwxyz"
					       "ABCDEFGHIJKLMNOPQRSTUVWXYZ._-") == n)
		memcpy(x->id, theirs, n + 1);
	else
		(void)snprintf(x->id, sizeof(x->id), "%llu", (unsigned long long)x->call.number);
}
