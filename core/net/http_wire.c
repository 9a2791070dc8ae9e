/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libcurl, used in one way: an easy handle in a multi handle of this thread, driven by
 * curl_multi_poll() with the call's cancel descriptor beside the sockets.
 *
 *	arm (options) -> perform/poll … -> head -> body: kept or sunk -> judge (CURLcode -> errno)
 *	                    | cancelled, out of time, silent, too slow
 *	                    +--> handle removed, its connection closed
 *
 * The handles live as long as their thread and keep its connections; after a fork the child leaves
 * the parent's alone (closing a TLS connection would speak on it).
 */
#include "http_wire.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#include <curl/curl.h>
#include <mantik/mantik.h>

#include "base/file.h"

enum {
	MAX_HEADER = 16 << 10,	/* a line */
	MAX_HEADERS = 64 << 10, /* all of them */
	SLOWEST = 1 << 10,	/* bytes a second */
	CHUNK = 256 << 10,	/* of a sunk body */
	MAX_CONNECTIONS = 8,	/* kept open by a thread */
};

struct mk_wire_limits mk_wire_limits = {
	.connect = 5 * MK_SEC,
	.silence = 120 * MK_SEC,
	.idle = 30 * MK_SEC,
};

/* --- handles of a thread ------------------------------------------------------------------- */

struct handles {
	CURLM *multi;
	CURL *easy;
	pid_t pid; /* who made them */
	bool busy;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static CURLcode global;

static void drop_handles(void *arg)
{
	struct handles *h = arg;

	if (h->pid == getpid()) {
		curl_easy_cleanup(h->easy);
		curl_multi_cleanup(h->multi);
	}
	free(h);
}

static void begin(void)
{
	global = curl_global_init(CURL_GLOBAL_DEFAULT);
	if (pthread_key_create(&key, drop_handles) != 0)
		global = CURLE_OUT_OF_MEMORY;
}

static struct handles *own_handles(void)
{
	(void)pthread_once(&once, begin);
	if (global != CURLE_OK)
		return NULL;

	struct handles *h = pthread_getspecific(key);

	if (h && h->pid == getpid())
		return h;
	if (!h) {
		h = mk_new(struct handles);
		if (pthread_setspecific(key, h) != 0) {
			free(h);
			return NULL;
		}
	}
	*h = (struct handles){
		.multi = curl_multi_init(), .easy = curl_easy_init(), .pid = getpid()};
	if (h->multi)
		curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, (long)MAX_CONNECTIONS);
	return h->multi && h->easy ? h : NULL;
}

/* --- what curl calls ----------------------------------------------------------------------- */

struct exchange {
	struct mk_call *call;
	struct mk_wire *wire;
	CURL *easy;
	struct curl_slist *headers;
	size_t header_bytes;
	bool big_header;
	bool has_head; /* the answer's head is complete */
	bool enough;   /* of a body nobody asked for: ended by us, and a success */
	int result;    /* of the sink or the source */
	int64_t sent;
	/* Moving: bytes since `since`, while there should be some. */
	bool moving;
	int64_t since, moved;
	char words[CURL_ERROR_SIZE];
};

static void moves(struct exchange *x, size_t n)
{
	if (!x->moving) {
		x->moving = true;
		x->since = mk_now_mono();
		x->moved = 0;
	}
	x->moved += (int64_t)n;
	x->wire->bytes += (int64_t)n;
}

static size_t on_header(char *data, size_t size, size_t n, void *arg)
{
	struct exchange *x = arg;

	x->header_bytes += size * n;
	if (size * n <= MAX_HEADER && x->header_bytes <= MAX_HEADERS)
		return size * n;
	x->big_header = true;
	return 0;
}

static void read_head(struct exchange *x)
{
	if (x->has_head)
		return;
	x->has_head = true;
	mk_wire_read_head(x->easy, &x->wire->answer);
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
	struct exchange *x = arg;
	struct mk_http_answer *answer = &x->wire->answer;
	const struct mk_http_request *request = x->wire->request;
	size_t len = size * n;

	read_head(x);
	moves(x, len);

	bool good = answer->status >= 200 && answer->status < 300;

	if (good && request->sink) {
		int64_t before = mk_now_mono();

		x->wire->sunk = true;
		x->result = request->sink(request->sink_arg, answer, data, len);
		x->since += mk_now_mono() - before; /* its time is not the remote's */
		return x->result < 0 ? 0 : len;
	}
	if (!good && len > answer->body.limit - answer->body.len) {
		(void)mk_buf_put(&answer->body, data, answer->body.limit - answer->body.len);
		x->enough = true;
		return 0;
	}
	return mk_buf_put(&answer->body, data, len) < 0 ? 0 : len;
}

static size_t on_source(char *data, size_t size, size_t n, void *arg)
{
	struct exchange *x = arg;
	const struct mk_http_request *request = x->wire->request;
	int64_t total = request->source ? request->source_len : (int64_t)request->body_len;
	size_t len = size * n;

	if ((int64_t)len > total - x->sent)
		len = (size_t)(total - x->sent);
	if (!len) {
		x->moving = false; /* now it is the remote's turn, who may think */
		return 0;
	}
	if (!request->source) {
		memcpy(data, (const char *)request->body + x->sent, len);
	} else {
		ssize_t got = request->source(request->source_arg, x->sent, data, len);

		if (got <= 0) {
			x->result = got < 0 ? (int)got : -EIO;
			return CURL_READFUNC_ABORT;
		}
		len = (size_t)got;
		moves(x, len);
	}
	x->sent += (int64_t)len;
	if (x->sent == total)
		x->moving = false;
	return len;
}

/* Sent again from the beginning on a new connection, when the one kept turned out to be closed. Not
 * set for what must not arrive twice: curl then gives up. */
static int on_seek(void *arg, curl_off_t offset, int origin)
{
	struct exchange *x = arg;

	if (origin != SEEK_SET || offset < 0)
		return CURL_SEEKFUNC_CANTSEEK;
	x->sent = offset;
	return CURL_SEEKFUNC_OK;
}

static curl_socket_t on_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/* --- what is asked ------------------------------------------------------------------------- */

static void put_header(struct exchange *x, const char *line)
{
	struct curl_slist *list = curl_slist_append(x->headers, line);

	if (list)
		x->headers = list;
}

static void put_headers(struct exchange *x)
{
	const struct mk_http_request *request = x->wire->request;
	const struct mk_http_peer *peer = request->peer;
	_cleanup_free_ char *number =
		mk_strf("X-Request-ID: %llu", (unsigned long long)x->call->number);

	put_header(x, number);
	put_header(x, "Expect:"); /* one second of waiting for nothing */
	for (size_t i = 0; peer->headers && peer->headers[i]; i++)
		put_header(x, peer->headers[i]);
	if (request->if_none_match) {
		_cleanup_free_ char *line = mk_strf("If-None-Match: %s", request->if_none_match);

		put_header(x, line);
	}
	if (x->wire->with_body) {
		_cleanup_free_ char *line = mk_strf(
			"Content-Type: %s",
			request->content_type ? request->content_type : "application/octet-stream");

		put_header(x, line);
	}
	if (x->wire->authorization[0]) {
		_cleanup_wipe_ struct mk_buf line = MK_BUF_SECRET(1 << 20);

		(void)mk_buf_printf(&line, "Authorization: %s", x->wire->authorization);
		put_header(x, mk_buf_text(&line));
	}
	curl_easy_setopt(x->easy, CURLOPT_HTTPHEADER, x->headers);
}

static void wipe_headers(struct exchange *x)
{
	for (struct curl_slist *h = x->headers; h; h = h->next)
		if (strncmp(h->data, "Authorization:", 14) == 0)
			explicit_bzero(h->data, strlen(h->data));
	curl_slist_free_all(x->headers);
	x->headers = NULL;
}

static void put_body(struct exchange *x)
{
	const struct mk_http_request *request = x->wire->request;
	bool safe = request->repeatable || strcmp(x->wire->method, "GET") == 0;

	if (!x->wire->with_body) {
		if (strcmp(x->wire->method, "HEAD") == 0)
			curl_easy_setopt(x->easy, CURLOPT_NOBODY, 1L);
		else if (strcmp(x->wire->method, "GET") != 0)
			curl_easy_setopt(x->easy, CURLOPT_CUSTOMREQUEST, x->wire->method);
		if (!safe) /* curl would repeat it when a kept connection turns out to be closed */
			curl_easy_setopt(x->easy, CURLOPT_FRESH_CONNECT, 1L);
		return;
	}
	curl_easy_setopt(x->easy, CURLOPT_UPLOAD, 1L);
	curl_easy_setopt(x->easy, CURLOPT_CUSTOMREQUEST, x->wire->method);
	curl_easy_setopt(x->easy, CURLOPT_INFILESIZE_LARGE,
			 request->source ? (curl_off_t)request->source_len
					 : (curl_off_t)request->body_len);
	curl_easy_setopt(x->easy, CURLOPT_READFUNCTION, on_source);
	curl_easy_setopt(x->easy, CURLOPT_READDATA, x);
	if (safe) {
		curl_easy_setopt(x->easy, CURLOPT_SEEKFUNCTION, on_seek);
		curl_easy_setopt(x->easy, CURLOPT_SEEKDATA, x);
	}
}

static void put_tls(struct exchange *x)
{
	const struct mk_http_peer *peer = x->wire->request->peer;

	curl_easy_setopt(x->easy, CURLOPT_SSL_VERIFYPEER, 1L);
	curl_easy_setopt(x->easy, CURLOPT_SSL_VERIFYHOST, 2L);
	curl_easy_setopt(x->easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (peer->ca_file) { /* and no other authority */
		curl_easy_setopt(x->easy, CURLOPT_CAINFO, peer->ca_file);
		curl_easy_setopt(x->easy, CURLOPT_CAPATH, NULL);
	}
	if (!peer->client_cert)
		return;
	curl_easy_setopt(x->easy, CURLOPT_SSLCERT, peer->client_cert);
	curl_easy_setopt(x->easy, CURLOPT_SSLKEY,
			 peer->client_key ? peer->client_key : peer->client_cert);
	/* Else OpenSSL would ask for the passphrase of a key on the terminal. */
	curl_easy_setopt(x->easy, CURLOPT_KEYPASSWD, "");
}

static void arm(struct exchange *x)
{
	const struct mk_http_request *request = x->wire->request;

	curl_easy_reset(x->easy);
	curl_easy_setopt(x->easy, CURLOPT_URL, x->wire->url);
	curl_easy_setopt(x->easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(x->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(x->easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(x->easy, CURLOPT_QUICK_EXIT,
			 1L); /* a resolver that hangs is left behind */
	curl_easy_setopt(x->easy, CURLOPT_CONNECTTIMEOUT_MS,
			 (long)(mk_wire_limits.connect / MK_MS));
	curl_easy_setopt(x->easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(x->easy, CURLOPT_OPENSOCKETFUNCTION, on_socket);
	curl_easy_setopt(x->easy, CURLOPT_USERAGENT, "mantikfs/" MANTIK_VERSION);
	curl_easy_setopt(x->easy, CURLOPT_ERRORBUFFER, x->words);
	curl_easy_setopt(x->easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(x->easy, CURLOPT_HEADERDATA, x);
	curl_easy_setopt(x->easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(x->easy, CURLOPT_WRITEDATA, x);
	if (mk_url_is_loopback(x->wire->url))
		curl_easy_setopt(x->easy, CURLOPT_PROXY, "");
	if (request->sink) /* sizes and ranges are those of the thing itself */
		curl_easy_setopt(x->easy, CURLOPT_BUFFERSIZE, (long)CHUNK);
	else
		curl_easy_setopt(x->easy, CURLOPT_ACCEPT_ENCODING, "");
	if (request->range_len > 0) {
		_cleanup_free_ char *end =
			request->range_len > INT64_MAX - request->range_from
				? mk_strdup("") /* to the end */
				: mk_strf("%lld", (long long)(request->range_from +
							      request->range_len - 1));
		_cleanup_free_ char *range =
			mk_strf("%lld-%s", (long long)request->range_from, end);

		curl_easy_setopt(x->easy, CURLOPT_RANGE, range);
	}
	put_tls(x);
	put_body(x);
	put_headers(x);
}

/* --- waiting ------------------------------------------------------------------------------- */

static int too_slow(struct exchange *x, int64_t began)
{
	int64_t now = mk_now_mono();

	if (!x->moving) {
		if (now - began < mk_wire_limits.silence)
			return 0;
		x->wire->unreachable = true;
		return mk_fail(x->call, ETIMEDOUT, "%s: no answer in %lld s", x->wire->label,
			       (long long)(mk_wire_limits.silence / MK_SEC));
	}
	if (now - x->since < mk_wire_limits.idle)
		return 0;
	if (x->moved < SLOWEST * (mk_wire_limits.idle / MK_MS) / 1000)
		return mk_fail(x->call, ETIMEDOUT, "%s: less than %d bytes/s for %lld s",
			       x->wire->label, SLOWEST, (long long)(mk_wire_limits.idle / MK_SEC));
	x->since = now;
	x->moved = 0;
	return 0;
}

static int drive(struct exchange *x, CURLM *multi, CURLcode *ret)
{
	int64_t began = mk_now_mono();
	int cancel = mk_call_cancel_fd(x->call);
	struct curl_waitfd extra = {.fd = cancel, .events = CURL_WAIT_POLLIN};
	int running = 1, left;

	while (running) {
		CURLMcode m = curl_multi_perform(multi, &running);

		if (m != CURLM_OK)
			return mk_fail(x->call, EIO, "%s: %s", x->wire->label,
				       curl_multi_strerror(m));
		if (!running)
			break;

		int r = mk_call_check(x->call, x->wire->label);

		if (r == -ETIMEDOUT && !x->has_head && mk_now_mono() > began + MK_SEC)
			x->wire->unreachable = true;
		if (r == 0)
			r = too_slow(x, began);
		if (r < 0)
			return r;

		int ms = mk_call_left_ms(x->call, cancel >= 0 ? 1000 : 100);

		if (mk_wire_limits.idle < MK_SEC && ms > 50)
			ms = 50;
		(void)curl_multi_poll(multi, &extra, cancel >= 0 ? 1 : 0, ms, NULL);
	}

	CURLMsg *message = curl_multi_info_read(multi, &left);

	*ret = message ? message->data.result : CURLE_RECV_ERROR;
	return 0;
}

/* --- what came of it ----------------------------------------------------------------------- */

static int judge(struct exchange *x, CURLcode code)
{
	struct mk_wire *wire = x->wire;
	const struct mk_http_request *request = wire->request;
	struct mk_buf *body = &wire->answer.body;

	if (x->result < 0) { /* of the sink or the source, with its own words if it had some */
		if (!x->call->error.text && x->result > -4096)
			return mk_fail(x->call, -x->result, "%s: %s", wire->label,
				       strerror(-x->result));
		return x->result;
	}
	if (x->big_header)
		return mk_fail(x->call, EREMOTEIO, "%s: more than %d KiB of headers", wire->label,
			       MAX_HEADERS >> 10);
	if (code != CURLE_OK && x->enough)
		code = CURLE_OK;
	if (code == CURLE_WRITE_ERROR && body->error == -EFBIG) {
		_cleanup_free_ char *length =
			wire->answer.length >= 0
				? mk_strf(" (%lld)", (long long)wire->answer.length)
				: mk_strdup("");

		return mk_fail(x->call, EFBIG, "%s: an answer of more than %zu bytes%s",
			       wire->label, body->limit, length);
	}
	if (code != CURLE_OK)
		return mk_wire_fail(x->call, wire, x->easy, code, x->words);
	read_head(x);
	if (wire->answer.status < 200)
		return mk_fail(x->call, EREMOTEIO, "%s: what is there does not speak HTTP",
			       wire->label);

	char *redirect = NULL;

	if (request->sink && !wire->sunk && wire->answer.status < 300) {
		x->result = request->sink(request->sink_arg, &wire->answer, "", 0);
		if (x->result < 0)
			return judge(x, code);
	}
	curl_easy_getinfo(x->easy, CURLINFO_REDIRECT_URL, &redirect);
	wire->redirect = mk_strdup(redirect);
	return 0;
}

/* OpenSSL writes without MSG_NOSIGNAL: a connection the other side closed must not end us. */
static bool block_sigpipe(sigset_t *old)
{
	sigset_t pipe, pending;

	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	(void)pthread_sigmask(SIG_BLOCK, &pipe, old);
	sigpending(&pending);
	return sigismember(&pending, SIGPIPE) == 1;
}

static void restore_sigpipe(const sigset_t *old, bool was_pending)
{
	struct timespec none = {};
	sigset_t pipe;

	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	if (!was_pending)
		(void)sigtimedwait(&pipe, NULL, &none);
	(void)pthread_sigmask(SIG_SETMASK, old, NULL);
}

void mk_wire_free(struct mk_wire *wire)
{
	mk_http_answer_free(&wire->answer);
	free(wire->redirect);
	wire->redirect = NULL;
}

int mk_wire_send(struct mk_call *call, struct mk_wire *wire)
{
	struct handles *h = own_handles();
	size_t limit = wire->request->limit ? wire->request->limit : MK_LIMIT_BODY;
	struct exchange x = {.call = call, .wire = wire};
	int64_t began = mk_now_mono();
	CURLcode code = CURLE_OK;
	sigset_t old;

	if (!h)
		return mk_fail(call, ENOMEM, "%s: no memory for a connection", wire->label);
	if (h->busy) /* a sink that sends */
		return mk_fail(call, EDEADLK, "%s: sent from within an answer", wire->label);
	h->busy = true;
	wire->answer = (struct mk_http_answer){
		.length = -1,
		.range_begin = -1,
		.total = -1,
		.retry_after = -1,
		.body = MK_BUF(limit),
		.authorized = wire->authorization[0] != 0,
	};
	x.easy = h->easy;
	arm(&x);
	mk_error_clear(call);

	bool pending = block_sigpipe(&old);
	int r = curl_multi_add_handle(h->multi, h->easy) == CURLM_OK
			? drive(&x, h->multi, &code)
			: mk_fail(call, EIO, "%s: no request could be begun", wire->label);

	if (r == 0)
		r = judge(&x, code);
	curl_multi_remove_handle(h->multi, h->easy);
	restore_sigpipe(&old, pending);
	curl_easy_setopt(h->easy, CURLOPT_HTTPHEADER, NULL);
	curl_easy_setopt(h->easy, CURLOPT_ERRORBUFFER, NULL);
	wipe_headers(&x);
	wire->ms = (mk_now_mono() - began) / MK_MS;
	h->busy = false;
	return r;
}
