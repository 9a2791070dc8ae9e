/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request as its sender sees it: who is asking is said, redirects are followed, what may be
 * repeated is repeated. http_wire.c sends it once; http_error.c has the words for what was not
 * wanted.
 *
 *	mk_http_send: try_again? { authorised: 401 once more { followed: redirects { the wire } } }
 */
#include "http.h"

#include <mantik/trace.h>

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/random.h>

#include "base/file.h"
#include "health.h"
#include "http_wire.h"

enum {
	MAX_REDIRECTS = 5,
	MAX_TRIES = 7,
	MAX_PATIENCE_S = 120, /* for a Retry-After */
	UNATTENDED_S = 6,     /* all tries of a call without a deadline */
	MAX_AUTHORIZATION = 64 << 10,
};

void mk_http_answer_free(struct mk_http_answer *answer)
{
	free(answer->type);
	free(answer->etag);
	free(answer->last_modified);
	mk_buf_free(&answer->body);
	*answer = (struct mk_http_answer){};
}

static const char *method_of(const struct mk_http_request *request)
{
	return request->method ? request->method : "GET";
}

static bool is_repeatable(const struct mk_http_request *request)
{
	const char *method = method_of(request);

	return request->repeatable || strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
}

/* `mlflow: GET http://host/path`: a query may hold what is nobody's business, and is long. */
static char *label_of(const struct mk_http_request *request)
{
	size_t len = strcspn(request->url, "?#");

	return mk_strf("%s: %s %.*s%s", request->peer->remote, method_of(request),
		       (int)(len > 300 ? 300 : len), request->url, len > 300 ? "…" : "");
}

/* --- one answer: redirects, then who is asking ----------------------------------------------- */

static int next_stop(struct mk_call *call, struct mk_wire *wire, char **url)
{
	_cleanup_free_ char *from = mk_url_origin(*url);
	_cleanup_free_ char *to = mk_url_origin(wire->redirect);

	if (!from || !to || strcmp(from, to) != 0) {
		_cleanup_free_ char *where =
			mk_strndup(wire->redirect, strcspn(wire->redirect, "?#"));

		return mk_fail(call, EREMOTEIO,
			       "%s: redirected to another server, %.300s: if that is right, write "
			       "it as url: in connections/%s.yaml",
			       wire->label, where, wire->request->peer->remote);
	}
	if (wire->answer.status == 303 && strcmp(wire->method, "HEAD") != 0) {
		wire->method = "GET";
		wire->with_body = false;
	}
	free(*url);
	*url = mk_steal(&wire->redirect);
	wire->url = *url;
	return 0;
}

/* -EREMOTEIO and the like with what the wire knows of it, or 0 with wire->answer. */
static int follow(struct mk_call *call, struct mk_wire *wire)
{
	const struct mk_http_request *request = wire->request;
	_cleanup_free_ char *url = mk_strdup(request->url);

	wire->url = url;
	wire->method = method_of(request);
	wire->with_body = request->body || request->source;
	for (int hops = 0;; hops++) {
		int64_t ms = wire->ms, bytes = wire->bytes;

		mk_wire_free(wire);
		wire->unanswered = wire->unreachable = false;
		wire->ms = wire->bytes = 0;

		int r = mk_wire_send(call, wire);

		wire->ms += ms;
		wire->bytes += bytes;
		if (r < 0)
			return r;

		int status = wire->answer.status;

		if (!wire->redirect || (status != 301 && status != 302 && status != 303 &&
					status != 307 && status != 308))
			return 0;
		if (hops == MAX_REDIRECTS)
			return mk_fail(call, EREMOTEIO, "%s: redirected more than %d times",
				       wire->label, MAX_REDIRECTS);
		r = next_stop(call, wire, &url);
		if (r < 0)
			return r;
	}
}

/* What the hook says, for the origin of the request and no other. */
static int authorize(struct mk_call *call, const struct mk_http_request *request, bool again,
		     struct mk_buf *ret)
{
	const struct mk_http_peer *peer = request->peer;
	_cleanup_free_ char *origin = mk_url_origin(request->url);

	mk_buf_wipe(ret);
	*ret = MK_BUF_SECRET(MAX_AUTHORIZATION);
	if (!peer->auth || !origin)
		return 0;

	int r = peer->auth(call, peer->auth_arg, origin, again, ret);

	if (r < 0)
		return r;
	if (mk_buf_check(ret) < 0 || strpbrk(mk_buf_text(ret), "\r\n") ||
	    strlen(mk_buf_text(ret)) != ret->len)
		return mk_fail(
			call, EKEYREJECTED,
			"%s: its password or token cannot be sent (it is longer than %d bytes "
			"or of more than one line)",
			peer->remote, MAX_AUTHORIZATION);
	return 0;
}

/* With what is known of who is asking; an answer of 401 once more, unless the same would be said.
 */
static int ask(struct mk_call *call, struct mk_wire *wire, struct mk_buf *authorization)
{
	const struct mk_http_request *request = wire->request;
	_cleanup_wipe_ struct mk_buf fresh = MK_BUF_SECRET(MAX_AUTHORIZATION);
	int r;

	wire->authorization = mk_buf_text(authorization);
	r = follow(call, wire);
	if (r < 0 || wire->answer.status != 401 || !request->peer->auth)
		return r;
	r = authorize(call, request, true, &fresh);
	if (r < 0)
		return r;
	if (strcmp(mk_buf_text(&fresh), mk_buf_text(authorization)) == 0)
		return 0;
	mk_buf_wipe(authorization);
	*authorization = fresh;
	fresh = MK_BUF_SECRET(MAX_AUTHORIZATION);
	wire->authorization = mk_buf_text(authorization);
	return follow(call, wire);
}

/* --- again ----------------------------------------------------------------------------------- */

static bool asks_for_patience(const struct mk_wire *wire)
{
	switch (wire->answer.status) {
	case 429: /* it was not done */
		return true;
	case 408:
	case 502:
	case 503:
	case 504: /* who knows what the server behind has done */
		return is_repeatable(wire->request);
	default:
		return false;
	}
}

static int64_t delay(const struct mk_wire *wire, int tries)
{
	uint32_t random = 0;
	int64_t ns = (MK_SEC / 2) << tries;

	if (wire->answer.retry_after > MAX_PATIENCE_S)
		return -1;
	if (wire->answer.retry_after > 0)
		return wire->answer.retry_after * MK_SEC;
	(void)!getrandom(&random, sizeof(random), GRND_NONBLOCK);
	return ns * 3 / 4 + ns / 2 * (int64_t)(random & 1023) / 1024;
}

static int wait_a_little(struct mk_call *call, int64_t ns, const char *what)
{
	int64_t until = mk_now_mono() + ns;
	int cancel = mk_call_cancel_fd(call);

	for (;;) {
		int r = mk_call_check(call, what);
		int64_t left = (until - mk_now_mono() + MK_MS - 1) / MK_MS;
		struct pollfd fd = {.fd = cancel, .events = POLLIN};

		if (r < 0)
			return r;
		if (left <= 0)
			return 0;
		if (cancel < 0 && left > 100)
			left = 100;
		(void)poll(&fd, 1, (int)left);
	}
}

/* 1 to go on, 0 to leave it at what there is, or the error of a wait that was ended. begun: the first
 * try; a call without a deadline is one that others wait for who have one. */
static int try_again(struct mk_call *call, const struct mk_wire *wire, int r, int tries,
		     int64_t begun)
{
	int64_t until = call->deadline ? call->deadline : begun + UNATTENDED_S * MK_SEC;
	bool again = r < 0 ? wire->unanswered && is_repeatable(wire->request) && !wire->sunk
			   : asks_for_patience(wire);
	int64_t ns = again ? delay(wire, tries) : -1;

	if (ns < 0 || tries == MAX_TRIES)
		return 0;
	if (mk_now_mono() + ns >= until)
		return 0;
	r = wait_a_little(call, ns, wire->label);
	return r < 0 ? r : 1;
}

static void note(struct mk_call *call, const struct mk_wire *wire, int r)
{
	const char *remote = wire->request->peer->remote;
	const char *text = call->error.text;
	size_t label = strlen(wire->label);
	int code = r == 0 ? 0 : wire->unreachable ? -r : wire->unanswered ? EREMOTEIO : EINTR;

	if (wire->answer.status) /* somebody did answer */
		code = 0;
	if (wire->answer.status == 502 || wire->answer.status == 504) {
		code = EHOSTUNREACH;
		text = wire->answer.status == 502 ? "nobody answers behind its proxy (HTTP 502)"
						  : "nobody answers behind its proxy (HTTP 504)";
	}
	/* The remote's name stands before it anyway. */
	if (text && strncmp(text, wire->label, label) == 0 && text[label] == ':')
		text += label + 2;
	mk_health_note(remote, code, text, wire->ms, wire->bytes);
	if (mk_tracing(MK_TRACE_HTTP))
		mk_trace(MK_TRACE_HTTP, call->number, "%s %d %lld ms%s%s", wire->label,
			 wire->answer.status, (long long)wire->ms, r < 0 ? ": " : "",
			 r < 0 ? strerror(-r) : "");
}

int mk_http_send(struct mk_call *call, const struct mk_http_request *request,
		 struct mk_http_answer *ret)
{
	const char *remote = request->peer->remote;
	_cleanup_wipe_ struct mk_buf authorization = MK_BUF_SECRET(MAX_AUTHORIZATION);
	_cleanup_free_ char *label = label_of(request);
	_cleanup_(mk_wire_free) struct mk_wire wire = {.request = request, .label = label};
	int64_t begun = mk_now_mono();
	int r = mk_call_may_wait(call, remote);

	if (r < 0)
		return r;
	r = mk_call_check(call, label);
	if (r < 0)
		return r;
	r = authorize(call, request, false, &authorization);
	if (r < 0)
		return r;
	r = mk_health_check(call, remote);
	if (r < 0)
		return r;
	for (int tries = 0;; tries++) {
		r = ask(call, &wire, &authorization);
		note(call, &wire, r);

		int again = try_again(call, &wire, r, tries, begun);

		if (again < 0)
			return again;
		if (again == 0)
			break;
		wire.ms = wire.bytes = 0;
	}
	if (r < 0)
		return r;
	mk_error_clear(call);
	*ret = wire.answer;
	wire.answer = (struct mk_http_answer){};
	return 0;
}
