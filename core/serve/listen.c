/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The listener: 127.0.0.1 and nothing else, on a port that stays the same from one mantikd to the
 * next, because jobs and notebooks have it in their environment.
 *
 * While no mantikd runs anybody on the machine may take the port, and clients then show him the
 * token. So a mantikd that finds its port taken, or was given another one, makes a new token: what
 * the stranger heard opens nothing. Ports are looked for below those the kernel gives to outgoing
 * connections, so that none of those is in the way.
 */
#include "serve/frame.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include <mantik/daemon.h>

#include "vault/serving.h"

enum { FIRST_PORT = 20000, PORTS = 10000, TRIES = 200, BACKLOG = 1024 };

/*
 * body: log-inputs may carry a data set's profile of 16 MiB, its schema and its source, escaped;
 * nothing else has 1 MiB (1000 metrics have 150 KiB). connections: 64 clients with 4 each, twice; a
 * pool of 160 KiB each (SERVE_MEMORY), which a query of 3500 runs fits in. idle: the reference client keeps
 * connections between calls; one that is closed at the wrong moment is a request sent twice.
 * swallow, window, rate: as slow as a remote may be to us.
 */
const struct serve_limits serve_limits = {
	.body = 32u << 20,
	.bodies = 256u << 20,
	.swallow = 64 << 20,
	.connections = 512,
	.idle = 300 * MK_SEC,
	.head = 15 * MK_SEC,
	.window = 30 * MK_SEC,
	.rate = 1024,
	.request = 60 * MK_SEC,
	.stop = 5 * MK_SEC,
};

/* A listening socket, or -errno. port 0: any. */
static int listen_at(int port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		.sin_port = htons((uint16_t)port),
	};
	_cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int yes = 1;

	if (fd < 0)
		return -errno;
	/* Connections of the one before may still be in TIME_WAIT. */
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, BACKLOG) < 0)
		return -errno;
	return mk_steal_fd(&fd);
}

static int port_of(int fd)
{
	struct sockaddr_in address = {};
	socklen_t len = sizeof(address);

	return getsockname(fd, (struct sockaddr *)&address, &len) < 0 ? 0 : ntohs(address.sin_port);
}

/* The one remembered, else one that nobody has. */
static int listen_somewhere(struct mk_call *call, const struct mantik *m, int remembered)
{
	uint64_t start = mk_ino(m->data_dir, strlen(m->data_dir)) % PORTS;
	int fd = remembered ? listen_at(remembered) : -EADDRINUSE;

	for (int i = 0; fd < 0 && i < TRIES; i++)
		fd = listen_at(FIRST_PORT + (int)((start + (uint64_t)i) % PORTS));
	if (fd < 0)
		fd = listen_at(0);
	return fd < 0 ? mk_fail(call, -fd, "the tracking server has no port: %s", strerror(-fd)) : fd;
}

static void serve_free(struct serve *serve)
{
	serve_routes_free(serve->routes);
	if (serve->token)
		explicit_bzero(serve->token, strlen(serve->token));
	free(serve->token);
	free(serve);
}

int serve_open(struct mk_call *call, struct mantik *m, const struct serve_limits *limits,
	       const struct serve_route *const *tables, int fd, const char *token,
	       struct serve **ret)
{
	struct serve *serve = mk_new(struct serve);

	serve->m = m;
	serve->limits = *limits;
	serve->port = port_of(fd);
	serve->token = mk_strdup(token);
	serve->routes = serve_routes_new(tables);
	pthread_mutex_init(&serve->lock, NULL);
	serve_jobs_init(&serve->jobs);

	int r = serve_pool_init(call, &serve->pool);

	if (r < 0) {
		close(fd);
		serve_free(serve);
		return r;
	}
	r = serve_sweep_init(call, &serve->sweep, &serve->limits);
	if (r == 0)
		r = serve_http_start(call, serve, fd);
	else
		close(fd);
	if (r < 0) {
		serve_sweep_done(&serve->sweep);
		serve_pool_done(&serve->pool);
		serve_free(serve);
		return r;
	}
	*ret = serve;
	return 0;
}

int serve_start(struct mk_call *call, struct mantik *m, int wanted, struct serve **ret)
{
	_cleanup_wipe_ struct mk_buf token = MK_BUF_SECRET(256);
	int remembered = 0;
	int r = mk_serving_port(call, m, &remembered);

	if (r < 0)
		mk_error_clear(call); /* none yet, or none that can be believed */

	_cleanup_close_ int fd = wanted ? listen_at(wanted) : listen_somewhere(call, m, remembered);

	if (fd < 0)
		return wanted ? mk_fail(call, -fd, "port %d: %s", wanted, strerror(-fd)) : fd;

	int port = port_of(fd);

	r = port == remembered ? mk_serving_token(call, m, &token) : -ENOENT;
	if (r < 0) {
		mk_error_clear(call);
		r = mk_serving_token_make(call, m, &token);
	}
	if (r < 0)
		return r;

	struct serve *serve = NULL;

	r = serve_open(call, m, &serve_limits, serve_tables, mk_steal_fd(&fd), mk_buf_text(&token),
		       &serve);
	if (r < 0)
		return r;
	if (port != remembered)
		r = mk_serving_remember(call, m, port);
	if (r < 0) {
		serve_stop(serve);
		return r;
	}
	*ret = serve;
	return 0;
}

void serve_stop(struct serve *serve)
{
	if (!serve)
		return;
	if (!serve_http_stop(serve))
		return; /* a handler that does not end, of a process that does */
	serve_sweep_done(&serve->sweep);
	serve_pool_done(&serve->pool);
	serve_jobs_done(&serve->jobs);
	pthread_mutex_destroy(&serve->lock);
	serve_free(serve);
}

int64_t serve_last(const struct serve *serve)
{
	return atomic_load(&serve->under_way) ? mk_now_mono() : atomic_load(&serve->last);
}

int serve_port(const struct serve *serve)
{
	return serve->port;
}

/* As mantikd knows it, who knows no rooms. */

static int start(struct mk_call *call, struct mantik *m, int port, void **ret)
{
	struct serve *serve = NULL;
	int r = serve_start(call, m, port, &serve);

	if (r == 0)
		*ret = serve;
	return r;
}

static void stop(void *service)
{
	serve_stop(service);
}

static int64_t last(const void *service)
{
	return serve_last(service);
}

static int port(const void *service)
{
	return serve_port(service);
}

const struct mk_daemon_service mk_serve_service = {
	.name = "tracking server",
	.idle = "serve_idle",
	.start = start,
	.stop = stop,
	.last = last,
	.port = port,
};
