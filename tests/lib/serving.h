/* SPDX-License-Identifier: Apache-2.0 */
/* A client of the tracking server that says exactly what a test wants to be said. */
#ifndef TEST_SERVING_H
#define TEST_SERVING_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <mantik/buf.h>

#include "test.h"

#define SERVING_TOKEN "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

enum { WAIT_MS = 20000 };

static inline int serving_dial(int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				      .sin_port = htons((uint16_t)port)};
	struct timeval wait = {.tv_sec = WAIT_MS / 1000};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		close(fd);
		return -1;
	}
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
	return fd;
}

struct reply {
	int status; /* 0: no answer */
	char *head, *body;
	size_t len;
};

static inline void reply_free(struct reply *reply)
{
	free(reply->head);
	free(reply->body);
	*reply = (struct reply){};
}
#define _cleanup_reply_ _cleanup_(reply_free)

static inline bool serving_say(int fd, const char *text, size_t len)
{
	while (len) {
		ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		text += n;
		len -= (size_t)n;
	}
	return true;
}

/* One answer with a Content-Length, the connection stays. */
static inline struct reply serving_hear(int fd, bool has_body)
{
	struct mk_buf all = MK_BUF(16 << 20);
	struct reply reply = {};
	char *end = NULL;
	size_t head = 0, length = 0;

	for (;;) {
		size_t want = end ? head + length - all.len : 1;
		char *room = mk_buf_room(&all, 65536);
		ssize_t n = room ? recv(fd, room, want < 65536 ? want : 65536, 0) : -1;

		if (n <= 0)
			break;
		all.len += (size_t)n;
		all.data[all.len] = 0;
		if (!end) {
			end = strstr(all.data, "\r\n\r\n");
			if (!end)
				continue;
			head = (size_t)(end - all.data) + 4;
			reply.status = (int)strtol(all.data + 9, NULL, 10);
			reply.head = mk_strndup(all.data, head);

			char *field = strcasestr(reply.head, "\r\nContent-Length:");

			length = has_body && field ? strtoul(field + 17, NULL, 10) : 0;
		}
		if (all.len >= head + length)
			break;
	}
	if (end && all.len == head + length) {
		reply.body = mk_strndup(all.data + head, length);
		reply.len = length;
	} else {
		reply.status = 0;
	}
	mk_buf_free(&all);
	return reply;
}

/* Asks on an open connection; headers: lines with their ends, of which Host and the token are there
 * unless they say otherwise. */
static inline struct reply serving_ask(int port, int fd, const char *method, const char *path,
				       const char *headers, const char *body)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF(64 << 20);

	(void)mk_buf_printf(&text, "%s %s HTTP/1.1\r\n", method, path);
	if (!headers || !strcasestr(headers, "Host:"))
		(void)mk_buf_printf(&text, "Host: 127.0.0.1:%d\r\n", port);
	if (!headers || !strcasestr(headers, "Authorization:"))
		(void)mk_buf_printf(&text, "Authorization: Bearer %s\r\n", SERVING_TOKEN);
	if (body && (!headers || !strcasestr(headers, "Content-Type:")))
		(void)mk_buf_puts(&text, "Content-Type: application/json\r\n");
	if (body)
		(void)mk_buf_printf(&text, "Content-Length: %zu\r\n", strlen(body));
	(void)mk_buf_printf(&text, "%s\r\n%s", headers ? headers : "", body ? body : "");
	if (!serving_say(fd, text.data, text.len))
		return (struct reply){};
	return serving_hear(fd, strcmp(method, "HEAD") != 0);
}

/* The same on a connection of its own. */
static inline struct reply serving_once(int port, const char *method, const char *path,
					const char *headers, const char *body)
{
	_cleanup_close_ int fd = serving_dial(port);

	return serving_ask(port, fd, method, path, headers, body);
}

/* status and error_code, or a part of the body. */
static inline void serving_expect(int port, const char *method, const char *path,
				  const char *headers, const char *body, int status,
				  const char *part)
{
	_cleanup_reply_ struct reply reply = serving_once(port, method, path, headers, body);

	if (reply.status != status || (part && !strstr(reply.body ? reply.body : "", part))) {
		test_bad++;
		printf("# %s %s: %d [%s], not %d [%s]\n", method, path, reply.status,
		       reply.body ? reply.body : "", status, part ? part : "");
	}
}

#endif
