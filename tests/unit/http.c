/* SPDX-License-Identifier: Apache-2.0 */
/* URLs, the breaker, threads; what goes over the wire is in tests/net. */
#include "net/http.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "net/health.h"
#include "test.h"
#include "tmpdir.h"

static struct mk_call call;

static const char *base(const char *url)
{
	static char *text;

	free(text);
	text = NULL;
	if (mk_url_base(&call, url, &text) < 0)
		return call.error.text;
	return text;
}

static void takes_a_url_apart(void)
{
	CHECK_TEXT(base("http://host:5000"), "http://host:5000");
	CHECK_TEXT(base("HTTPS://Host.Example/a/B//"), "https://host.example/a/B");
	CHECK_TEXT(base("https://host:443/"), "https://host");
	CHECK_TEXT(base("http://[::1]:5000/"), "http://[::1]:5000");
	CHECK_TEXT(base("http://h/a/../b"), "http://h/b");
	CHECK_TEXT(base("localhost:5000"),
		   "\"localhost:5000\" is no URL: does it begin with https://?");
	CHECK_TEXT(base("ftp://h/"), "\"ftp://h/\": a URL here is http:// or https://");
	CHECK_TEXT(base("sqlite:///mlflow.db"), "\"sqlite:///mlflow.db\" is no URL");
	CHECK_TEXT(base("http://ana:secret@h/"), "a URL here has no user and password in it: write "
						 "them as user: and password:");
	CHECK_TEXT(base("http://h/#/experiments/0"),
		   "\"http://h/#/experiments/0\": a URL here ends before its #");
	CHECK_TEXT(base("http://h/?x=1"), "\"http://h/?x=1\": a URL here ends before its ?");
	CHECK_TEXT(base("http://h:99999/"), "\"http://h:99999/\" is no URL");
	CHECK_TEXT(base("http://a b/"), "\"http://a b/\" is no URL");
	CHECK_TEXT(base("http://h/\n"), "\"http://h/ \" is no URL");
}

static void origins(void)
{
	_cleanup_free_ char *a = mk_url_origin("https://Host/x?y#z");
	_cleanup_free_ char *b = mk_url_origin("http://[::1]/");
	_cleanup_free_ char *c = mk_url_origin("HTTP://h:8080");

	CHECK_TEXT(a, "https://host:443");
	CHECK_TEXT(b, "http://[::1]:80");
	CHECK_TEXT(c, "http://h:8080");
	CHECK(!mk_url_origin("databricks"));
	CHECK(!mk_url_origin(""));
	CHECK(mk_url_is_loopback("http://127.0.0.1:5000/x"));
	CHECK(mk_url_is_loopback("http://localhost/"));
	CHECK(mk_url_is_loopback("http://[::1]:1/"));
	CHECK(!mk_url_is_loopback("http://127.0.0.1.example.org/"));
	CHECK(!mk_url_is_loopback("http://localhost.example.org/"));
}

static void encodes(void)
{
	_cleanup_buf_ struct mk_buf buf = MK_BUF(1000);

	mk_url_put(&buf, "a b/ü%?#&=+~.-_", true);
	CHECK_TEXT(mk_buf_text(&buf), "a%20b/%C3%BC%25%3F%23%26%3D%2B~.-_");
	mk_buf_truncate(&buf, 0);
	mk_url_put(&buf, "a/b", false);
	CHECK_TEXT(mk_buf_text(&buf), "a%2Fb");
}

static void breaker_opens_and_closes(void)
{
	struct mk_health health;

	mk_health_get("b", &health);
	CHECK(!health.known);
	CHECK_INT(mk_health_check(&call, "b"), 0);
	mk_health_note("b", EHOSTUNREACH, "connection refused", 3, 0);
	CHECK_INT(mk_health_check(&call, "b"), -EHOSTUNREACH);
	CHECK(strncmp(call.error.text, "b: down since 20", 16) == 0);
	CHECK(strstr(call.error.text, "(connection refused), asked again in 1 s"));
	CHECK_INT(mk_health_check(&call, "another"), 0);

	/* What failed at the same time does not make it longer. */
	for (int i = 0; i < 10; i++)
		mk_health_note("b", ETIMEDOUT, "no answer", 3, 0);
	mk_health_get("b", &health);
	CHECK(health.known && health.down_since && health.failures == 11);
	CHECK_TEXT(health.error, "no answer");
	CHECK_INT(mk_health_check(&call, "b"), -EHOSTUNREACH);
	CHECK(strstr(call.error.text, "(no answer), asked again in 1 s"));

	int64_t until = mk_now_mono() + 3 * MK_SEC;

	while (mk_health_check(&call, "b") < 0 && mk_now_mono() < until)
		usleep(10000);
	CHECK(mk_now_mono() < until);
	/* One asks; the others are told no until it knows. */
	CHECK_INT(mk_health_check(&call, "b"), -EHOSTUNREACH);
	mk_health_note("b", EINTR, NULL, 0, 0);
	CHECK_INT(mk_health_check(&call, "b"), 0);
	mk_health_note("b", ETIMEDOUT, "no answer", 3, 0);
	CHECK_INT(mk_health_check(&call, "b"), -EHOSTUNREACH);
	CHECK(strstr(call.error.text, "(no answer), asked again in 2 s"));
	mk_health_note("b", 0, NULL, 7, 100);
	CHECK_INT(mk_health_check(&call, "b"), 0);
	mk_health_get("b", &health);
	CHECK(!health.down_since && health.ms == 7 && health.bytes == 100 && health.last);

	mk_health_note("b", EREMOTEIO, "half an answer", 7, 100); /* it is there, at least */
	CHECK_INT(mk_health_check(&call, "b"), 0);
	mk_health_note("b", ETIMEDOUT, "no answer", 7, 0);
	CHECK_INT(mk_health_check(&call, "b"), -EHOSTUNREACH);
	mk_health_reset("b");
	CHECK_INT(mk_health_check(&call, "b"), 0);
}

static void wipes(void)
{
	struct mk_buf buf = MK_BUF(100);

	(void)mk_buf_puts(&buf, "hunter2");
	mk_buf_wipe(&buf);
	CHECK(!buf.data && !buf.len);
	mk_buf_wipe(&buf);
}

/* --- threads --------------------------------------------------------------------------------- */

enum { THREADS = 8, REQUESTS = 20 };

static char url[64];

/* Python's own server over dir; url says where. 0: it did not come up. */
static pid_t start_server(const char *dir)
{
	int out[2];
	char line[200] = "";

	if (pipe(out) < 0)
		return 0;

	pid_t pid = fork();

	if (pid == 0) {
		dup2(out[1], 1);
		close(out[0]);
		if (!freopen("/dev/null", "w", stderr) || chdir(dir) < 0)
			_exit(1);
		execlp("python3", "python3", "-u", "-m", "http.server", "0", "--bind", "127.0.0.1",
		       NULL);
		_exit(127);
	}
	close(out[1]);

	FILE *from = fdopen(out[0], "r");
	const char *port = from && fgets(line, sizeof(line), from) ? strstr(line, " port ") : NULL;

	if (from)
		fclose(from);
	if (port) {
		(void)snprintf(url, sizeof(url), "http://127.0.0.1:%ld/file",
			       strtol(port + 6, NULL, 10));
		return pid;
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return 0;
}

static int count(void *arg, const struct mk_http_answer *head, const void *data, size_t len)
{
	*(size_t *)arg += len;
	return 0;
}

/* One thread's life: its connections are its own and go with it. */
static void *send_some(void *arg)
{
	static const struct mk_http_peer peers[] = {{.remote = "t0"}, {.remote = "t1"}};
	long good = 0;

	for (int i = 0; i < REQUESTS; i++) {
		_cleanup_answer_ struct mk_http_answer answer = {};
		_cleanup_call_ struct mk_call own;
		size_t sunk = 0;
		struct mk_http_request request = {
			.peer = &peers[i % 2],
			.url = url,
			.sink = i % 3 ? count : NULL,
			.sink_arg = &sunk,
		};

		mk_call_init(&own);
		own.deadline = mk_now_mono() + 60 * MK_SEC;
		if (mk_http_send(&own, &request, &answer) == 0 && answer.status == 200 &&
		    sunk + answer.body.len == 100000)
			good++;
	}
	return (void *)good;
}

static void *cancel_soon(void *arg)
{
	usleep(50000);
	mk_call_cancel(arg);
	return NULL;
}

static void many_threads_ask(void)
{
	_cleanup_(tmpdir_removep) char *dir = tmpdir_make();
	_cleanup_free_ char *path = tmpdir_path(dir, "file"), *data = mk_alloc(100000);
	pthread_t threads[THREADS];
	struct mk_health health;
	long good = 0;

	NEED(tmpdir_write(path, data, 100000));

	pid_t pid = start_server(dir);

	if (!pid)
		SKIP("python3 -m http.server does not start");
	for (int i = 0; i < THREADS; i++)
		NEED(pthread_create(&threads[i], NULL, send_some, NULL) == 0);
	for (int i = 0; i < THREADS; i++) {
		void *result = NULL;

		pthread_join(threads[i], &result);
		good += (long)result;
	}
	CHECK_INT(good, THREADS * REQUESTS);
	mk_health_get("t0", &health);
	CHECK_INT(health.requests, THREADS * REQUESTS / 2);
	CHECK(health.bytes == THREADS * REQUESTS / 2 * 100000);

	/* It stops: what waits for an answer is ended by a cancel from another thread. */
	kill(pid, SIGSTOP);

	_cleanup_call_ struct mk_call own;
	_cleanup_answer_ struct mk_http_answer answer = {};
	struct mk_http_peer peer = {.remote = "t2"};
	int64_t began = mk_now_mono();

	mk_call_init(&own);
	NEED(pthread_create(&threads[0], NULL, cancel_soon, &own) == 0);
	CHECK_INT(mk_http_send(&own, &(struct mk_http_request){.peer = &peer, .url = url}, &answer),
		  -EINTR);
	CHECK(mk_now_mono() - began < 5 * MK_SEC);
	pthread_join(threads[0], NULL);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

int main(void)
{
	mk_call_init(&call);

	int r = RUN(TEST(takes_a_url_apart), TEST(origins), TEST(encodes),
		    TEST(breaker_opens_and_closes), TEST(wipes), TEST(many_threads_ask));

	mk_call_done(&call);
	return r;
}
