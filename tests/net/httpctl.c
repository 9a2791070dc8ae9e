/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/net/http.h from a command line, for tests with real servers: httpctl OPTION… URL
 *
 * Prints a line of JSON for each time it is sent (times=N): what came, or the error.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "base/doc.h"
#include "memory.h"
#include "net/health.h"
#include "net/http.h"
#include "net/http_wire.h"

static struct mk_call call;
static struct mk_http_peer peer = {.remote = "mlflow"};
static struct mk_http_request request;
static const char *auths[16];
static size_t n_auths, n_asked;
static int64_t sunk, sink_stops = -1;
static uint64_t sum = 1469598103934665603u; /* FNV-1a of what was sunk */

static int give_auth(struct mk_call *c, void *arg, const char *origin, bool again,
		     struct mk_buf *ret)
{
	size_t i = n_asked < n_auths ? n_asked : n_auths - 1;

	if (n_asked++ && !again)
		i = 0;
	if (strcmp(auths[i], "expired") == 0)
		return mk_fail(c, EKEYEXPIRED, "the token has expired");
	return mk_buf_puts(ret, auths[i]);
}

static int take(void *arg, const struct mk_http_answer *head, const void *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		sum = (sum ^ ((const unsigned char *)data)[i]) * 1099511628211u;
	sunk += (int64_t)len;
	return sink_stops >= 0 && sunk > sink_stops ? mk_fail(&call, ENOSPC, "the disk is full")
						    : 0;
}

static ssize_t give(void *arg, int64_t offset, void *buf, size_t len)
{
	for (size_t i = 0; i < len; i++)
		((unsigned char *)buf)[i] = (unsigned char)((offset + (int64_t)i) % 251);
	return (ssize_t)len;
}

static void *cancel_later(void *arg)
{
	usleep((useconds_t)(intptr_t)arg * 1000);
	mk_call_cancel(&call);
	return NULL;
}

static void put(struct mk_buf *out, const char *key, const char *value)
{
	(void)mk_buf_printf(out, ", \"%s\": ", key);
	if (value)
		mk_json_string(out, value);
	else
		(void)mk_buf_puts(out, "null");
}

static void send_once(void)
{
	_cleanup_buf_ struct mk_buf out = MK_BUF(MK_LIMIT_BODY);
	_cleanup_answer_ struct mk_http_answer answer = {};
	struct mk_health health;
	int64_t began = mk_now_mono();

	sunk = 0;
	n_asked = 0;

	int r = mk_http_send(&call, &request, &answer);

	(void)mk_buf_printf(&out, "{\"ms\": %lld, \"kib\": %ld, \"auths\": %zu, \"sunk\": %lld",
			    (long long)((mk_now_mono() - began) / MK_MS), memory_peak_kib(), n_asked,
			    (long long)sunk);
	(void)mk_buf_printf(&out, ", \"sum\": \"%llx\"", (unsigned long long)sum);
	put(&out, "error", r < 0 ? strerrorname_np(-r) : NULL);
	put(&out, "text", call.error.text);
	put(&out, "detail", call.error.detail);
	if (r == 0) {
		(void)mk_buf_printf(
			&out,
			", \"status\": %d, \"length\": %lld, \"begin\": %lld, \"total\": %lld, "
			"\"retry_after\": %lld, \"kept\": %zu",
			answer.status, (long long)answer.length, (long long)answer.range_begin,
			(long long)answer.total, (long long)answer.retry_after, answer.body.len);
		put(&out, "type", answer.type);
		put(&out, "etag", answer.etag);
		if (answer.body.len < 100000)
			put(&out, "body", mk_buf_text(&answer.body));
		if (answer.status >= 300) {
			r = mk_http_fail(&call, &request, &answer, "asking", NULL);
			put(&out, "fail", strerrorname_np(-r));
			put(&out, "fail_text", call.error.text);
		}
	}
	mk_health_get(peer.remote, &health);
	(void)mk_buf_printf(&out, ", \"down\": %s, \"requests\": %lld",
			    health.down_since ? "true" : "false", (long long)health.requests);
	put(&out, "health", health.error);
	puts(mk_buf_text(&out)[0] ? (mk_buf_puts(&out, "}"), mk_buf_text(&out)) : "");
	fflush(stdout);
}

static bool option(const char *arg, const char *name, const char **value)
{
	size_t n = strlen(name);

	if (strncmp(arg, name, n) != 0 || arg[n] != '=')
		return false;
	*value = arg + n + 1;
	return true;
}

int main(int argc, char **argv)
{
	static const char *headers[8];
	size_t n_headers = 0;
	long times = 1, cancel = 0, deadline = 0, pause = 0;
	bool fork_between = false;
	const char *v;
	pthread_t thread;

	mk_call_init(&call);
	call.number = 42;
	request.peer = &peer;
	for (int i = 1; i < argc; i++) {
		if (option(argv[i], "method", &request.method) ||
		    option(argv[i], "type", &request.content_type) ||
		    option(argv[i], "etag", &request.if_none_match) ||
		    option(argv[i], "ca", &peer.ca_file) ||
		    option(argv[i], "cert", &peer.client_cert) ||
		    option(argv[i], "key", &peer.client_key) ||
		    option(argv[i], "remote", &peer.remote))
			continue;
		if (option(argv[i], "body", &v)) {
			request.body = v;
			request.body_len = strlen(v);
		} else if (option(argv[i], "source", &v)) {
			request.source = give;
			request.source_len = strtoll(v, NULL, 10);
		} else if (option(argv[i], "auth", &v) && n_auths < 16) {
			auths[n_auths++] = v;
			peer.auth = give_auth;
		} else if (option(argv[i], "header", &v) && n_headers < 7) {
			headers[n_headers++] = v;
			peer.headers = headers;
		} else if (option(argv[i], "from", &v)) {
			request.range_from = strtoll(v, NULL, 10);
		} else if (option(argv[i], "len", &v)) {
			request.range_len = strtoll(v, NULL, 10);
		} else if (option(argv[i], "limit", &v)) {
			request.limit = strtoul(v, NULL, 10);
		} else if (option(argv[i], "sink", &v)) {
			request.sink = take;
			sink_stops = strtoll(v, NULL, 10);
		} else if (option(argv[i], "times", &v)) {
			times = strtol(v, NULL, 10);
		} else if (option(argv[i], "deadline", &v)) {
			deadline = strtol(v, NULL, 10);
		} else if (option(argv[i], "cancel", &v)) {
			cancel = strtol(v, NULL, 10);
		} else if (option(argv[i], "pause", &v)) {
			pause = strtol(v, NULL, 10);
		} else if (option(argv[i], "connect", &v)) {
			mk_wire_limits.connect = strtoll(v, NULL, 10) * MK_MS;
		} else if (option(argv[i], "silence", &v)) {
			mk_wire_limits.silence = strtoll(v, NULL, 10) * MK_MS;
		} else if (option(argv[i], "idle", &v)) {
			mk_wire_limits.idle = strtoll(v, NULL, 10) * MK_MS;
		} else if (strcmp(argv[i], "repeatable") == 0) {
			request.repeatable = true;
		} else if (strcmp(argv[i], "fork") == 0) {
			fork_between = true;
		} else if (strcmp(argv[i], "nowait") == 0) {
			call.may_wait = "another";
		} else {
			request.url = argv[i];
		}
	}
	if (cancel && pthread_create(&thread, NULL, cancel_later, (void *)(intptr_t)cancel) == 0)
		pthread_detach(thread);
	for (long i = 0; i < times; i++) {
		if (i && pause)
			usleep((useconds_t)pause * 1000);
		if (deadline)
			call.deadline = mk_now_mono() + deadline * MK_MS;
		send_once();
		if (fork_between) { /* the child asks on connections of its own */
			pid_t pid = fork();

			if (pid == 0) {
				send_once();
				_exit(0);
			}
			waitpid(pid, NULL, 0);
		}
	}
	mk_call_done(&call);
	return 0;
}
