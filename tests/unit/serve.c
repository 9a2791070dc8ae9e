/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/serve: the frame, driven by routes of the test over real sockets. Run under the thread
 * sanitizer, too: what the poll threads and the workers hand each other is what it is about.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/file.h"
#include "platform.h"
#include "serve/frame.h"
#include "serving.h"
#include "test.h"

static const char token[] = SERVING_TOKEN;

enum { CLIENTS = 64, REQUESTS = 50 };

static _Atomic int handled, undone, begun_sinks;
static _Atomic int64_t sunk;
static _Atomic bool hold; /* /slow waits for it to be taken away */

/* --- routes ---------------------------------------------------------------------------------- */

static int echo(struct serve_request *rq, json_t **ret)
{
	const char *text = "";
	int64_t n = 0;
	int r = serve_text(rq, "text", true, &text);

	if (r >= 0)
		r = serve_int(rq, "n", false, &n);
	if (r < 0)
		return r;
	atomic_fetch_add(&handled, 1);
	*ret = json_pack("{s:s, s:I, s:I, s:s}", "text", text, "n", (json_int_t)n, "project",
			 (json_int_t)rq->project_id, "rest", rq->rest);
	return 0;
}

static int slow(struct serve_request *rq, json_t **ret)
{
	for (int i = 0; atomic_load(&hold) && i < WAIT_MS; i++) {
		int r = mk_call_check(rq->call, "the test");

		if (r < 0)
			return r;
		poll(NULL, 0, 1);
	}
	atomic_fetch_add(&handled, 1);
	return 0;
}

static int absent(struct serve_request *rq, json_t **ret)
{
	return mk_fail(rq->call, ENOENT, "No Run with id=%s exists", "x");
}

static int words(struct serve_request *rq, json_t **ret)
{
	return serve_fail(rq, "RESOURCE_ALREADY_EXISTS", "there is \"one\"");
}

static int big(struct serve_request *rq, json_t **ret)
{
	for (int i = 0; i < 100000; i++)
		(void)mk_buf_printf(rq->out, "%s{\"row\":%d}", i ? "," : "[", i);
	return mk_buf_puts(rq->out, "]");
}

static int file(struct serve_request *rq, json_t **ret)
{
	int fd = memfd_create("file", 0);

	if (fd < 0 || write(fd, "0123456789", 10) != 10)
		return mk_fail(rq->call, errno, "memfd");
	*rq->file = (struct serve_file){.fd = fd, .size = 10, .name = mk_strdup("a b.txt")};
	return 0;
}

static int sink_begin(struct serve_request *rq, int64_t length, void **ret)
{
	if (strcmp(rq->rest, "refused") == 0)
		return mk_fail(rq->call, ENOENT, "no such run");
	*ret = mk_alloc(sizeof(int64_t));
	atomic_fetch_add(&begun_sinks, 1);
	return 0;
}

static int sink_data(struct serve_request *rq, void *state, const void *data, size_t len)
{
	*(int64_t *)state += (int64_t)len;
	for (size_t i = 0; i < len; i++)
		if (((const char *)data)[i] != 'x')
			return mk_fail(rq->call, EINVAL, "not an x");
	return 0;
}

static int sink_end(struct serve_request *rq, void *state, bool complete, json_t **ret)
{
	if (complete)
		atomic_store(&sunk, *(int64_t *)state);
	else
		atomic_fetch_add(&undone, 1);
	free(state);
	return 0;
}

static const struct serve_sink sink = {sink_begin, sink_data, sink_end};
static const struct serve_route routes[] = {
	{"POST", "/api/2.0/echo", echo},
	{"GET", "/api/2.0/echo", echo},
	{"POST", "/api/2.0/slow", slow},
	{"GET", "/api/2.0/absent", absent},
	{"GET", "/api/2.0/words", words},
	{"GET", "/api/2.0/big", big},
	{"GET", "/api/2.0/file", file},
	{"PUT", "/api/2.0/sink/*", .sink = &sink},
	{"GET", "/api/2.0/open/*", echo},
	{"GET", "/api/2.0/open/deep/*", echo},
	{"GET", "/health", absent},
	{},
};
static const struct serve_route *const tables[] = {routes, NULL};

/* --- a server and its clients ------------------------------------------------------------------ */

struct server {
	struct platform p;
	struct serve *serve;
	int port;
};
#define dial(s) serving_dial((s)->port)
#define ask(s, ...) serving_ask((s)->port, __VA_ARGS__)
#define hear(...) serving_hear(__VA_ARGS__)
#define say(...) serving_say(__VA_ARGS__)
#define once(s, ...) serving_once((s)->port, __VA_ARGS__)
#define expect(s, ...) serving_expect((s)->port, __VA_ARGS__)

static struct serve_limits quick(void)
{
	struct serve_limits limits = serve_limits;

	limits.body = 1 << 20;
	limits.swallow = 4 << 20;
	limits.bodies = 8 << 20;
	limits.stop = 2 * MK_SEC;
	return limits;
}

static bool server_begin(struct server *s, const struct serve_limits *limits)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	*s = (struct server){};
	if (!platform_init(&s->p) || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(fd, 1024) < 0 ||
	    serve_open(&s->p.call, s->p.m, limits, tables, fd, token, &s->serve) < 0) {
		printf("# %s\n", s->p.call.error.text ? s->p.call.error.text : strerror(errno));
		return false;
	}
	s->port = serve_port(s->serve);
	return true;
}

static void server_end(struct server *s)
{
	serve_stop(s->serve);
	platform_done(&s->p);
}

#define SERVER(s)                                                   \
	struct server s;                                            \
	struct serve_limits limits_ = quick();                      \
	NEED(server_begin(&s, &limits_))

static bool becomes(_Atomic int *what, int value)
{
	for (int i = 0; i < WAIT_MS; i++) {
		if (atomic_load(what) >= value)
			return true;
		poll(NULL, 0, 1);
	}
	return false;
}

/* --- what is asked ----------------------------------------------------------------------------- */

static void routes_are_found_and_arguments_read(void)
{
	SERVER(s);
	expect(&s, "POST", "/api/2.0/echo", NULL, "{\"text\":\"a\",\"n\":\"7\"}", 200,
	       "{\"text\":\"a\",\"n\":7,\"project\":0,\"rest\":\"\"}");
	expect(&s, "POST", "/ajax-api/2.0/echo", NULL, "{\"text\":\"a\",\"n\":7}", 200, "\"n\":7");
	expect(&s, "GET", "/api/2.0/echo?text=a+%2B%20b%25&n=-3", NULL, NULL, 200,
	       "\"text\":\"a + b%\",\"n\":-3");
	expect(&s, "POST", "/api/2.0/echo", NULL, "{\"n\":7}", 400,
	       "Missing value for required parameter 'text'.");
	expect(&s, "POST", "/api/2.0/echo", NULL, "{\"text\":\"a\",\"n\":[1]}", 400,
	       "Invalid value [1] for parameter 'n' supplied:  Hint: Value was of type 'list'.");
	expect(&s, "POST", "/api/2.0/echo", NULL, "{\"text\":\"a\",\"n\":\"b\xc3\xbc\"}", 400,
	       "Invalid value \\\"b\\\\u00fc\\\" for parameter 'n' supplied");
	expect(&s, "POST", "//api/2.0/echo", NULL, "{\"text\":\"a\",\"n\":7}", 200, "\"n\":7");
	expect(&s, "POST", "/api/2.0/echo", NULL, "{\"text\":\"\"}", 400, "Missing value");
	expect(&s, "POST", "/api/2.0/echo", NULL, "{\"text\":\"a\",\"n\":NaN}", 400,
	       "{\"error_code\":\"BAD_REQUEST\"");
	expect(&s, "POST", "/api/2.0/echo", NULL, "[1]", 400, "not a JSON object");
	expect(&s, "POST", "/api/2.0/echo", NULL, "{\"text\":\"a\",\"n\":99999999999999999999}", 400,
	       "BAD_REQUEST");
	expect(&s, "POST", "/api/2.0/echo", "Content-Type: text/plain\r\n", "{\"text\":\"a\"}", 400,
	       "Content-Type must be one of ['application/json']");
	expect(&s, "POST", "/api/2.0/echo", "Content-Type: application/json; charset=utf-8\r\n",
	       "{\"text\":\"a\"}", 200, NULL);
	expect(&s, "GET", "/api/2.0/open/a%2Fb/100%2525?text=x", NULL, NULL, 200,
	       "\"rest\":\"a/b/100%25\"");
	expect(&s, "GET", "/api/2.0/open/deep/c?text=x", NULL, NULL, 200, "\"rest\":\"c\"");
	expect(&s, "GET", "/api/2.0/absent", NULL, NULL, 404,
	       "{\"error_code\":\"RESOURCE_DOES_NOT_EXIST\",\"message\":\"No Run with id=x exists\"}");
	expect(&s, "GET", "/api/2.0/words", NULL, NULL, 400,
	       "{\"error_code\":\"RESOURCE_ALREADY_EXISTS\",\"message\":\"there is \\\"one\\\"\"}");
	expect(&s, "GET", "/api/2.0/nothing", NULL, NULL, 404, "\"error_code\":\"ENDPOINT_NOT_FOUND\"");
	expect(&s, "DELETE", "/api/2.0/echo", NULL, "{}", 404, "does not take DELETE");
	expect(&s, "GET", "/api/2.0/echo?text=%ff", NULL, NULL, 400, "INVALID_PARAMETER_VALUE");
	expect(&s, "GET", "/api/2.0/echo?text=a%00b", NULL, NULL, 400, "INVALID_PARAMETER_VALUE");
	server_end(&s);
}

static void a_scope_is_a_project(void)
{
	SERVER(s);
	int64_t id = 0;
	_cleanup_free_ char *want = NULL;

	NEED(mk_project_make(&s.p.call, s.p.m, "my demo", &id) == 0);
	want = mk_strf("\"project\":%lld", (long long)id);
	expect(&s, "GET", "/projects/my%20demo/api/2.0/echo?text=a", NULL, NULL, 200, want);
	expect(&s, "POST", "/projects/my%20demo/ajax-api/2.0/echo", NULL, "{\"text\":\"a\"}", 200, want);
	expect(&s, "GET", "/projects/other/api/2.0/echo?text=a", NULL, NULL, 404,
	       "there is no project other");
	expect(&s, "GET", "/projects/my%20demo/api/2.0/none", NULL, NULL, 404, "ENDPOINT_NOT_FOUND");
	server_end(&s);
}

static void paths_do_not_climb(void)
{
	static const char *const paths[] = {
		"/api/2.0/open/../../x",     "/api/2.0/open/%2e%2e/x", "/api/2.0/open/..%2fx",
		"/api/2.0/open/a/./b",	     "/api/2.0/open/a%00b",    "/api/2.0/open/%c0%ae%c0%ae/x",
		"/projects/../api/2.0/echo", "/projects/%2e%2e/api/2.0/echo",
	};

	SERVER(s);
	for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++)
		expect(&s, "GET", paths[i], NULL, NULL, 400,
		       "{\"error_code\":\"INVALID_PARAMETER_VALUE\",\"message\":\"the path ");
	expect(&s, "GET", "/api/2.0/open/%252e%252e/..x?text=a", NULL, NULL, 200,
	       "\"rest\":\"%2e%2e/..x\"");
	server_end(&s);
}

static void only_who_may(void)
{
	static const char *const wrong[] = {
		"Authorization: \r\n",
		"Authorization: Bearer\r\n",
		"Authorization: Bearer 0123\r\n",
		"Authorization: Bearer 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdee\r\n",
		"Authorization: Basic !!!!\r\n",
		"Authorization: Basic bWU6bm8=\r\n",
		"Authorization: Digest x\r\n",
	};
	static const char *const hosts[] = {"evil.example:%d",	      "127.0.0.1:1%d", "127.0.0.1",
					    "127.0.0.1.evil.com:%d", "127.0.0.1:%dx", "192.168.0.1:%d"};
	static const char *const good[] = {"127.0.0.1:%d", "LocalHost:%d", "[::1]:%d"};
	/* me:<token> */
	static const char basic[] =
		"Authorization: Basic bWU6MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJj"
		"ZGVmMDEyMzQ1Njc4OWFiY2RlZg==\r\n";

	SERVER(s);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		expect(&s, "GET", "/api/2.0/echo?text=a", wrong[i], NULL, 401, "UNAUTHENTICATED");
	expect(&s, "GET", "/api/2.0/echo?text=a", basic, NULL, 200, NULL);
	expect(&s, "GET", "/nowhere", wrong[0], NULL, 401, NULL);
	expect(&s, "GET", "/health", wrong[0], NULL, 404, "No Run"); /* the handler was asked */
	for (size_t i = 0; i < sizeof(hosts) / sizeof(*hosts) + sizeof(good) / sizeof(*good); i++) {
		bool is_good = i >= sizeof(hosts) / sizeof(*hosts);
		const char *format = is_good ? good[i - sizeof(hosts) / sizeof(*hosts)] : hosts[i];
		_cleanup_buf_ struct mk_buf line = MK_BUF(1024);

		(void)mk_buf_puts(&line, "Host: ");
		for (const char *c = format; *c; c++)
			if (*c == '%')
				(void)mk_buf_printf(&line, "%d", (c++, s.port));
			else
				(void)mk_buf_putc(&line, *c);
		(void)mk_buf_puts(&line, "\r\n");
		expect(&s, "GET", "/api/2.0/echo?text=a", mk_buf_text(&line), NULL,
		       is_good ? 200 : 403, is_good ? NULL : "ssh -L");
	}
	expect(&s, "POST", "/api/2.0/echo", "Origin: http://evil.example\r\n", "{\"text\":\"a\"}", 403,
	       "a page of http://evil.example may not");
	expect(&s, "POST", "/api/2.0/echo", "Origin: null\r\n", "{\"text\":\"a\"}", 403, NULL);

	_cleanup_free_ char *own = mk_strf("Origin: http://127.0.0.1:%d\r\n", s.port);

	expect(&s, "POST", "/api/2.0/echo", own, "{\"text\":\"a\"}", 200, NULL);

	_cleanup_reply_ struct reply reply =
		once(&s, "GET", "/api/2.0/echo?text=a", "Authorization: x\r\n", NULL);

	CHECK(reply.head && strstr(reply.head, "WWW-Authenticate: Basic realm=\"mantik\""));
	CHECK(reply.head && !strcasestr(reply.head, "Access-Control"));
	server_end(&s);
}

/* --- connections --------------------------------------------------------------------------------- */

static void a_connection_is_kept(void)
{
	SERVER(s);
	_cleanup_close_ int fd = dial(&s);

	for (int i = 0; i < 100; i++) {
		_cleanup_free_ char *body = mk_strf("{\"text\":\"a\",\"n\":%d}", i);
		_cleanup_free_ char *want = mk_strf("\"n\":%d,", i);
		_cleanup_reply_ struct reply reply =
			i % 3 == 1 ? ask(&s, fd, "GET", "/api/2.0/absent", NULL, NULL) :
				     ask(&s, fd, "POST", "/api/2.0/echo",
					 i % 3 ? "Authorization: no\r\n" : "X-Request-ID: run-7\r\n",
					 body);

		CHECK_INT(reply.status, i % 3 == 1 ? 404 : i % 3 ? 401 : 200);
		if (i % 3 == 0) {
			CHECK(strstr(reply.body, want) != NULL);
			CHECK(strstr(reply.head, "X-Request-ID: run-7\r\n") != NULL);
		}
	}
	CHECK(serve_last(s.serve) > 0);
	server_end(&s);
}

static void large_answers_come_whole(void)
{
	SERVER(s);
	_cleanup_reply_ struct reply reply = once(&s, "GET", "/api/2.0/big", NULL, NULL);

	CHECK_INT(reply.status, 200);
	CHECK(reply.len > 1000000 && reply.body[reply.len - 1] == ']');
	server_end(&s);
}

static void files_and_their_parts(void)
{
	static const struct {
		const char *headers;
		int status;
		const char *body, *head;
	} cases[] = {
		{NULL, 200, "0123456789", "filename*=UTF-8''a%20b.txt\r\n"},
		{"Range: bytes=2-4\r\n", 206, "234", "Content-Range: bytes 2-4/10\r\n"},
		{"Range: bytes=7-\r\n", 206, "789", "Content-Range: bytes 7-9/10\r\n"},
		{"Range: bytes=-2\r\n", 206, "89", "Content-Range: bytes 8-9/10\r\n"},
		{"Range: bytes=-99\r\n", 206, "0123456789", "Content-Range: bytes 0-9/10\r\n"},
		{"Range: bytes=5-99\r\n", 206, "56789", "Content-Range: bytes 5-9/10\r\n"},
		{"Range: bytes=10-\r\n", 416, "", "Content-Range: bytes */10\r\n"},
		{"Range: bytes=0-1,4-5\r\n", 200, "0123456789", NULL},
		{"Range: lines=0-1\r\n", 200, "0123456789", NULL},
		{"Range: bytes=99999999999999999999-\r\n", 200, "0123456789", NULL},
		{"Range: bytes=2-4\r\nIf-Range: \"x\"\r\n", 200, "0123456789", NULL},
	};

	SERVER(s);
	_cleanup_close_ int fd = dial(&s);

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		_cleanup_reply_ struct reply reply =
			ask(&s, fd, "GET", "/api/2.0/file", cases[i].headers, NULL);

		CHECK_INT(reply.status, cases[i].status);
		CHECK_TEXT(reply.body, cases[i].body);
		if (cases[i].head)
			CHECK(strstr(reply.head, cases[i].head) != NULL);
	}

	_cleanup_reply_ struct reply reply = ask(&s, fd, "HEAD", "/api/2.0/file", NULL, NULL);

	CHECK_INT(reply.status, 200);
	CHECK(strstr(reply.head, "Content-Length: 10\r\n") != NULL);
	server_end(&s);
}

/* --- bodies ----------------------------------------------------------------------------------------- */

static char *long_json(size_t len)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF(len + 64);

	(void)mk_buf_puts(&text, "{\"text\":\"");
	memset(mk_buf_room(&text, len), 'x', len);
	text.len += len;
	text.data[text.len] = 0;
	(void)mk_buf_puts(&text, "\"}");
	return mk_buf_steal(&text);
}

static void too_much_is_refused_in_words(void)
{
	SERVER(s);
	_cleanup_free_ char *fits = long_json((1 << 20) - 20);
	_cleanup_free_ char *over = long_json((1 << 20) + 20);
	_cleanup_free_ char *chunk = mk_strf("Transfer-Encoding: chunked\r\n\r\n%zx\r\n", strlen(over));
	_cleanup_free_ char *head = mk_strf("POST /api/2.0/echo HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
					    "Authorization: Bearer %s\r\n"
					    "Content-Type: application/json\r\n",
					    s.port, token);
	_cleanup_close_ int fd = dial(&s);

	expect(&s, "POST", "/api/2.0/echo", NULL, fits, 200, NULL);
	expect(&s, "POST", "/api/2.0/echo", NULL, over, 413, "RESOURCE_LIMIT_EXCEEDED");
	/* whose size nobody said */
	CHECK(say(fd, head, strlen(head)) && say(fd, chunk, strlen(chunk)) &&
	      say(fd, over, strlen(over)) && say(fd, "\r\n0\r\n\r\n", 7));

	_cleanup_reply_ struct reply reply = hear(fd, true);

	CHECK_INT(reply.status, 413);

	/* and that more is announced than is worth hearing is told at once */
	_cleanup_close_ int other = dial(&s);

	CHECK(say(other, head, strlen(head)) && say(other, "Content-Length: 999999999999\r\n\r\n", 32));

	_cleanup_reply_ struct reply at_once = hear(other, true);

	CHECK_INT(at_once.status, 413);
	/* who waits to be told to send */
	_cleanup_close_ int third = dial(&s);

	CHECK(say(third, head, strlen(head)) &&
	      say(third, "Content-Length: 1048999\r\nExpect: 100-continue\r\n\r\n", 49));

	_cleanup_reply_ struct reply expecting = hear(third, true);

	CHECK_INT(expecting.status, 413);

	/* a head that has no end */
	_cleanup_free_ char *endless = long_json(200000);
	_cleanup_free_ char *line = mk_strf("X-Endless: %s\r\n", endless);

	expect(&s, "GET", "/api/2.0/echo?text=a", line, NULL, 431, NULL);
	server_end(&s);
}

/* A head that promises a body of n bytes; more: further lines of it. The connection, with the head said. */
static int begin_put(const struct server *s, const char *path, int n, const char *more)
{
	int fd = dial(s);
	_cleanup_free_ char *head = mk_strf("PUT %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
					    "Authorization: Bearer %s\r\nContent-Length: %d\r\n%s\r\n",
					    path, s->port, token, n, more);

	CHECK(say(fd, head, strlen(head)));
	return fd;
}

/* RFC 9110, 10.1.1: who has the body already may leave the 100 out, so nothing of it is sent before. */
static void who_expects_it_is_told_to_continue(void)
{
	SERVER(s);
	_cleanup_close_ int fd = begin_put(&s, "/api/2.0/sink/a", 3, "Expect: 100-continue\r\n");
	_cleanup_reply_ struct reply first = serving_hear(fd, false), last = {};

	CHECK_INT(first.status, 100);
	CHECK(say(fd, "xxx", 3));
	last = serving_hear(fd, true);
	CHECK_INT(last.status, 200);
	CHECK_INT(atomic_load(&sunk), 3);
	server_end(&s);
}

static void sinks_are_streamed(void)
{
	enum { SIZE = 40 << 20 };
	SERVER(s);
	_cleanup_free_ char *all = mk_alloc(SIZE + 1);
	int undone_before = atomic_load(&undone);

	memset(all, 'x', SIZE);
	expect(&s, "PUT", "/api/2.0/sink/a", "Content-Type: text/plain\r\n", all, 200, "{}");
	CHECK_INT(atomic_load(&sunk), SIZE);
	expect(&s, "PUT", "/api/2.0/sink/empty", NULL, "", 200, "{}");
	CHECK_INT(atomic_load(&sunk), 0);
	CHECK_INT(atomic_load(&undone), undone_before);
	all[20 << 20] = 'y'; /* in the middle of it the sink refuses */
	all[30 << 20] = 0;
	expect(&s, "PUT", "/api/2.0/sink/a", NULL, all, 0, NULL);
	CHECK(becomes(&undone, undone_before + 1));
	all[100] = 'y';
	all[2 << 20] = 0;
	expect(&s, "PUT", "/api/2.0/sink/a", NULL, all, 400, "not an x");
	CHECK(becomes(&undone, undone_before + 2));
	expect(&s, "PUT", "/api/2.0/sink/refused", NULL, "xxx", 404, "no such run");

	/* cut off in the middle */
	int begun = atomic_load(&begun_sinks), fd = begin_put(&s, "/api/2.0/sink/cut", 1000, "");

	CHECK(say(fd, "xxx", 3));
	CHECK(becomes(&begun_sinks, begun + 1));
	close(fd);
	CHECK(becomes(&undone, undone_before + 3));
	server_end(&s);
}

/* --- many ------------------------------------------------------------------------------------------- */

static _Atomic int answered;

static void *client(void *arg)
{
	const struct server *s = arg;
	_cleanup_close_ int fd = dial(s);

	for (int i = 0; i < REQUESTS; i++) {
		_cleanup_free_ char *body = mk_strf("{\"text\":\"a\",\"n\":%d}", i);
		_cleanup_free_ char *want = mk_strf("\"n\":%d,", i);
		_cleanup_reply_ struct reply reply =
			ask(s, fd, "POST", "/api/2.0/echo", NULL, body);

		if (reply.status == 200 && strstr(reply.body, want))
			atomic_fetch_add(&answered, 1);
	}
	return NULL;
}

static void many_at_once(void)
{
	pthread_t threads[CLIENTS];

	SERVER(s);
	atomic_store(&answered, 0);
	for (int i = 0; i < CLIENTS; i++)
		NEED(pthread_create(&threads[i], NULL, client, &s) == 0);
	for (int i = 0; i < CLIENTS; i++)
		pthread_join(threads[i], NULL);
	CHECK_INT(atomic_load(&answered), CLIENTS * REQUESTS);
	server_end(&s);
}

/* Handlers that take their time are in nobody's way while there are threads. */
static void slow_ones_do_not_stop_others(void)
{
	enum { SLOW = 15 };
	int slow_fd[SLOW];
	_cleanup_free_ char *head = NULL;

	SERVER(s);
	head = mk_strf("POST /api/2.0/slow HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAuthorization: Bearer %s"
		       "\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
		       s.port, token);
	atomic_store(&hold, true);
	for (int i = 0; i < SLOW; i++) {
		slow_fd[i] = dial(&s);
		CHECK(say(slow_fd[i], head, strlen(head)));
	}
	expect(&s, "POST", "/api/2.0/echo", NULL, "{\"text\":\"a\"}", 200, NULL);
	atomic_store(&hold, false);
	for (int i = 0; i < SLOW; i++) {
		_cleanup_reply_ struct reply reply = hear(slow_fd[i], true);

		CHECK_INT(reply.status, 200);
		close(slow_fd[i]);
	}
	server_end(&s);
}

/* --- the slow and the end ------------------------------------------------------------------------------ */

/* True: the other side closed; false: it did not for `ms`. */
static bool closed_within(int fd, int ms)
{
	for (int64_t end = mk_now_mono() + ms * MK_MS; mk_now_mono() < end;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		char c;

		if (poll(&p, 1, 10) == 1 && recv(fd, &c, 1, MSG_DONTWAIT) <= 0 && errno != EAGAIN)
			return true;
	}
	return false;
}

/* A byte of the head from time to time keeps no connection. */
static void drips_are_ended(void)
{
	struct serve_limits limits = quick();
	struct server s;

	limits.head = 400 * MK_MS;
	limits.window = 400 * MK_MS;
	NEED(server_begin(&s, &limits));

	_cleanup_close_ int head = dial(&s), body = dial(&s), good = dial(&s);
	_cleanup_free_ char *text = mk_strf("POST /api/2.0/echo HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
					    "Authorization: Bearer %s\r\nContent-Length: 100000\r\n"
					    "Content-Type: application/json\r\n\r\n",
					    s.port, token);
	bool head_closed = false, body_closed = false;

	CHECK(say(body, text, strlen(text)));

	_cleanup_reply_ struct reply before =
		ask(&s, good, "POST", "/api/2.0/echo", NULL, "{\"text\":\"a\"}");

	CHECK_INT(before.status, 200);
	for (int i = 0; i < 200 && !(head_closed && body_closed); i++) {
		head_closed = head_closed || !say(head, "G", 1) || closed_within(head, 10);
		body_closed = body_closed || !say(body, "x", 1) || closed_within(body, 10);
	}
	CHECK(head_closed);
	CHECK(body_closed);

	/* Who has shown the token may rest longer. */
	_cleanup_reply_ struct reply after =
		ask(&s, good, "POST", "/api/2.0/echo", NULL, "{\"text\":\"a\"}");

	CHECK_INT(after.status, 200);
	server_end(&s);
}

/* However many connections are opened and say nothing, who has something to say is heard. */
static void a_crowd_keeps_nobody_out(void)
{
	enum { CROWD = 200 };
	struct serve_limits limits = quick();
	struct server s;
	int crowd[CROWD];

	limits.connections = 64;
	NEED(server_begin(&s, &limits));

	_cleanup_close_ int friend = dial(&s);
	_cleanup_reply_ struct reply first =
		ask(&s, friend, "POST", "/api/2.0/echo", NULL, "{\"text\":\"a\"}");

	CHECK_INT(first.status, 200);
	for (int i = 0; i < CROWD; i++) {
		crowd[i] = dial(&s);
		(void)say(crowd[i], "GET / HT", 8);
	}
	for (int i = 0; i < 20; i++)
		expect(&s, "POST", "/api/2.0/echo", NULL, "{\"text\":\"a\"}", 200, NULL);

	_cleanup_reply_ struct reply last =
		ask(&s, friend, "POST", "/api/2.0/echo", NULL, "{\"text\":\"a\"}");

	CHECK_INT(last.status, 200);
	for (int i = 0; i < CROWD; i++)
		close(crowd[i]);
	server_end(&s);
}

struct ending {
	struct server *s;
	struct reply reply;
	int fd;
};

static void *end_it(void *arg)
{
	struct ending *e = arg;

	serve_stop(e->s->serve);
	return NULL;
}

static void what_is_under_way_is_ended_first(void)
{
	pthread_t thread;
	_cleanup_free_ char *head = NULL;

	SERVER(s);
	struct ending e = {.s = &s};
	_cleanup_close_ int fd = dial(&s), idle = dial(&s);
	int before = atomic_load(&handled);

	head = mk_strf("POST /api/2.0/slow HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAuthorization: Bearer %s"
		       "\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
		       s.port, token);
	atomic_store(&hold, true);
	CHECK(say(fd, head, strlen(head)));
	while (serve_last(s.serve) == 0)
		poll(NULL, 0, 1);
	NEED(pthread_create(&thread, NULL, end_it, &e) == 0);
	while (dial(&s) >= 0) /* until nobody listens */
		poll(NULL, 0, 1);
	atomic_store(&hold, false);

	_cleanup_reply_ struct reply reply = hear(fd, true);

	pthread_join(thread, NULL);
	CHECK_INT(reply.status, 200);
	CHECK_INT(atomic_load(&handled), before + 1);
	CHECK(reply.head && strcasestr(reply.head, "Connection: close"));
	CHECK(closed_within(idle, 1000));
	platform_done(&s.p);
}

/* A handler that would go on for ever is told to stop, and its client what happened. */
static void the_end_does_not_wait_for_ever(void)
{
	struct serve_limits limits = quick();
	struct server s;

	limits.stop = 300 * MK_MS;
	NEED(server_begin(&s, &limits));

	_cleanup_close_ int fd = dial(&s);
	_cleanup_free_ char *head = mk_strf(
		"POST /api/2.0/slow HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAuthorization: Bearer %s"
		"\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
		s.port, token);
	int64_t begun = mk_now_mono();

	atomic_store(&hold, true);
	CHECK(say(fd, head, strlen(head)));
	while (serve_last(s.serve) == 0)
		poll(NULL, 0, 1);
	serve_stop(s.serve);
	CHECK(mk_now_mono() - begun < 5 * MK_SEC);
	atomic_store(&hold, false);
	platform_done(&s.p);
}

int main(void)
{
	return RUN(TEST(routes_are_found_and_arguments_read), TEST(a_scope_is_a_project),
		   TEST(paths_do_not_climb), TEST(only_who_may), TEST(a_connection_is_kept),
		   TEST(large_answers_come_whole), TEST(files_and_their_parts),
		   TEST(too_much_is_refused_in_words), TEST(sinks_are_streamed),
		   TEST(who_expects_it_is_told_to_continue), TEST(many_at_once),
		   TEST(slow_ones_do_not_stop_others), TEST(drips_are_ended),
		   TEST(a_crowd_keeps_nobody_out), TEST(what_is_under_way_is_ended_first),
		   TEST(the_end_does_not_wait_for_ever));
}
