/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Load for a tracking server, the same bytes for ours and for MLflow's: clients of one kept
 * connection each send one request after the other and wait for its answer.
 *
 *	rest PORT TOKEN CLIENTS SECONDS metric|batch|run	prints requests per second
 *
 * metric: one log-metric. batch: log-batch of 1000 points, 100 steps of 10 keys. run: runs/create
 * with the three tags a client sets. TOKEN `-`: none. Each client logs to a run of its own. An answer
 * that is not 200 ends it all.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_REQUEST = 1 << 20, MAX_ANSWER = 1 << 20, MAX_CLIENTS = 256, KEYS = 10, POINTS = 1000 };

static int port, kind;
static const char *token;
static double until;

struct client {
	pthread_t thread;
	int fd;
	char *body, *request, *answer;
	size_t len; /* of body */
	char run[64];
	long step, done;
};

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void die(const char *what, const char *more)
{
	fprintf(stderr, "rest: %s %s\n", what, more);
	exit(1);
}

static long number(const char *text)
{
	char *end;
	long n = strtol(text, &end, 10);

	if (end == text || *end)
		die("not a number:", text);
	return n;
}

static void dial(struct client *c)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons((uint16_t)port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int yes = 1;

	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(c->fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		die("connect", "");
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
}

static void put(struct client *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	c->len += (size_t)vsnprintf(c->body + c->len, MAX_REQUEST - c->len, fmt, ap);
	va_end(ap);
	if (c->len >= MAX_REQUEST)
		die("too long", "");
}

/* Sends the body, gives the text of the answer. */
static const char *ask(struct client *c, const char *path)
{
	int n = snprintf(c->request, MAX_REQUEST,
			 "POST /api/2.0/mlflow/%s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
			 "Content-Type: application/json\r\nAuthorization: Bearer %s\r\n"
			 "Content-Length: %zu\r\n\r\n",
			 path, port, token, c->len);
	size_t len = (size_t)n, got = 0, want = 0;

	memcpy(c->request + len, c->body, c->len);
	len += c->len;
	for (size_t at = 0; at < len;) {
		ssize_t r = send(c->fd, c->request + at, len - at, MSG_NOSIGNAL);

		if (r <= 0)
			die("send", path);
		at += (size_t)r;
	}
	for (char *end = NULL; !end || got < want;) {
		ssize_t r = recv(c->fd, c->answer + got, MAX_ANSWER - 1 - got, 0);

		if (r <= 0)
			die("no answer to", path);
		got += (size_t)r;
		c->answer[got] = 0;
		if (!end && (end = strstr(c->answer, "\r\n\r\n"))) {
			const char *field = strcasestr(c->answer, "\r\nContent-Length:");

			if (!field || field > end)
				die("no length in the answer to", path);
			want = (size_t)(end - c->answer) + 4 + strtoul(field + 17, NULL, 10);
		}
	}
	if (strncmp(c->answer + 9, "200", 3) != 0)
		die(path, c->answer);
	c->len = 0;
	return c->answer;
}

static void create(struct client *c)
{
	put(c, "{\"experiment_id\":\"0\",\"start_time\":1700000000000,\"user_id\":\"ana\",\"tags\":["
	       "{\"key\":\"mlflow.user\",\"value\":\"ana\"},"
	       "{\"key\":\"mlflow.source.name\",\"value\":\"train.py\"},"
	       "{\"key\":\"mlflow.source.type\",\"value\":\"LOCAL\"}]}");
	ask(c, "runs/create");
}

static void begin(struct client *c)
{
	c->body = malloc(MAX_REQUEST);
	c->request = malloc(MAX_REQUEST * 2);
	c->answer = malloc(MAX_ANSWER);
	dial(c);
	create(c);

	const char *id = strstr(c->answer, "\"run_id\"");

	if (!id || sscanf(id, "\"run_id\" : \"%63[^\"]", c->run) + sscanf(id, "\"run_id\": \"%63[^\"]", c->run) +
				  sscanf(id, "\"run_id\":\"%63[^\"]", c->run) < 1)
		die("no run in", c->answer);
}

static void batch(struct client *c)
{
	put(c, "{\"run_id\":\"%s\",\"metrics\":[", c->run);
	for (int i = 0; i < POINTS; i++)
		put(c, "%s{\"key\":\"m%d\",\"value\":%.6f,\"timestamp\":%ld,\"step\":%ld}", i ? "," : "",
		    i % KEYS, (double)(i * 7 % 1000) / 3, 1700000000000 + c->step + i / KEYS,
		    c->step + i / KEYS);
	c->step += POINTS / KEYS;
	put(c, "]}");
	ask(c, "runs/log-batch");
}

static void metric(struct client *c)
{
	put(c, "{\"run_id\":\"%s\",\"key\":\"loss\",\"value\":%.6f,\"timestamp\":%ld,\"step\":%ld}",
	    c->run, (double)(c->step % 1000) / 3, 1700000000000 + c->step, c->step);
	c->step++;
	ask(c, "runs/log-metric");
}

static void *work(void *arg)
{
	static void (*const kinds[])(struct client *) = {metric, batch, create};
	struct client *c = arg;

	while (now() < until) {
		kinds[kind](c);
		c->done++;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	static const char *const names[] = {"metric", "batch", "run"};
	static struct client clients[MAX_CLIENTS];

	if (argc != 6)
		die("usage: rest PORT TOKEN CLIENTS SECONDS", "metric|batch|run");
	port = (int)number(argv[1]);
	token = argv[2];
	while (kind < 3 && strcmp(names[kind], argv[5]) != 0)
		kind++;

	int n = (int)number(argv[3]);
	long done = 0;

	if (kind == 3 || n < 1 || n > MAX_CLIENTS)
		die("usage", "");
	for (int i = 0; i < n; i++)
		begin(&clients[i]);

	double began = now();

	until = began + (double)number(argv[4]);
	for (int i = 0; i < n; i++)
		pthread_create(&clients[i].thread, NULL, work, &clients[i]);
	for (int i = 0; i < n; i++)
		pthread_join(clients[i].thread, NULL);

	double took = now() - began;

	for (int i = 0; i < n; i++)
		done += clients[i].done;
	printf("%.2f\n", (double)done / took);
	return 0;
}
