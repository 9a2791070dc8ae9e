/* SPDX-License-Identifier: Apache-2.0 */
/* See serving.h. */
#include "vault/serving.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include <mantik/serve.h>

#include "base/file.h"
#include "net/http.h"

enum { RANDOM = 32, MAX_FILE = 4096 };

static const char prefix[] = "http://127.0.0.1:";

/* A file of ours without its newline. What others could write or read is not believed. */
static int read_own(struct mk_call *call, const struct mantik *m, const char *name,
		    struct mk_buf *ret)
{
	_cleanup_free_ char *path = mk_strf("%s/%s", m->data_dir, name);
	struct stat st;
	int r = mk_file_read(call, AT_FDCWD, path, ret);

	if (r < 0)
		return r;
	if (lstat(path, &st) < 0)
		return mk_fail(call, errno, "%s: %s", path, strerror(errno));
	if (st.st_uid != geteuid() || (st.st_mode & 077))
		return mk_fail(call, EACCES, "%s: is open to others; remove it", path);
	while (ret->len && ret->data[ret->len - 1] == '\n')
		mk_buf_truncate(ret, ret->len - 1);
	return 0;
}

static int write_own(struct mk_call *call, const struct mantik *m, const char *name,
		     struct mk_buf *text)
{
	_cleanup_free_ char *path = mk_strf("%s/%s", m->data_dir, name);

	(void)mk_buf_putc(text, '\n');

	int r = mk_file_write(call, AT_FDCWD, path, mk_buf_text(text), text->len, 0600, true);

	mk_buf_truncate(text, text->len - 1);
	return r;
}

int mk_serving_port(struct mk_call *call, const struct mantik *m, int *ret)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF(MAX_FILE);
	int r = read_own(call, m, "serve.address", &text);

	if (r < 0)
		return r;

	const char *s = mk_buf_text(&text);
	char *end = NULL;
	long port = strncmp(s, prefix, strlen(prefix)) == 0 ? strtol(s + strlen(prefix), &end, 10) : 0;

	if (port <= 0 || port > 65535 || *end)
		return mk_fail(call, EINVAL, "%s/serve.address: is not %sPORT; remove it",
			       m->data_dir, prefix);
	*ret = (int)port;
	return 0;
}

int mk_serving_remember(struct mk_call *call, const struct mantik *m, int port)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF(MAX_FILE);

	(void)mk_buf_printf(&text, "%s%d", prefix, port);
	return write_own(call, m, "serve.address", &text);
}

/*
 * /proc/net/tcp: `sl local_address rem_address st … uid`; the address in the machine's byte order, 0A
 * is LISTEN. Where it cannot be read (a container without /proc) everybody is believed.
 */
int mk_serving_listens(struct mk_call *call, int port)
{
	FILE *file = fopen("/proc/net/tcp", "re");
	char line[512];
	int r = 0;

	if (!file)
		return 1;
	while (r == 0 && fgets(line, sizeof(line), file)) {
		unsigned address, at, state, uid;

		if (sscanf(line, " %*u: %x:%x %*x:%*x %x %*x:%*x %*x:%*x %*x %u", &address, &at,
			   &state, &uid) != 4 ||
		    (int)at != port || state != 0x0a ||
		    (address && address != htonl(INADDR_LOOPBACK)))
			continue;
		r = uid == geteuid() ? 1 :
				       mk_fail(call, EACCES,
					       "port %d of this machine is another user's (uid %u) while "
					       "mantikd does not run; start it: mantikctl serve",
					       port, uid);
	}
	(void)fclose(file);
	return r;
}

int mk_serving_url(struct mk_call *call, const struct mantik *m, const char *project,
		   struct mk_buf *ret)
{
	int port = 0;
	int r = mk_serving_port(call, m, &port);

	if (r < 0)
		return r;
	(void)mk_buf_printf(ret, "%s%d", prefix, port);
	if (project) {
		(void)mk_buf_puts(ret, "/projects/");
		mk_url_put(ret, project, false);
	}
	return mk_buf_check(ret) < 0 ? mk_fail(call, ENOMEM, "out of memory") : 0;
}

/* The lower case one counts where both are set. */
static const char *either(const char *(*get)(const void *arg, const char *name), const void *arg,
			  const char *lower, const char *upper)
{
	const char *value = get(arg, lower);

	if (!value || !*value)
		value = get(arg, upper);
	return value && *value ? value : NULL;
}

static bool listed(const char *list, const char *host)
{
	for (const char *p = list; *p; p += strspn(p, ", ")) {
		size_t n = strcspn(p, ", ");

		if (n == strlen(host) && strncmp(p, host, n) == 0)
			return true;
		p += n;
	}
	return false;
}

int mantik_serving_no_proxy(const char *(*get)(const void *arg, const char *name), const void *arg,
			    char **ret)
{
	const char *list = either(get, arg, "no_proxy", "NO_PROXY");

	if (!either(get, arg, "http_proxy", "HTTP_PROXY") &&
	    !either(get, arg, "all_proxy", "ALL_PROXY"))
		return 0;
	if (list && (strcmp(list, "*") == 0 || listed(list, "127.0.0.1")))
		return 0;
	char *value = mk_strf("%s%s127.0.0.1", list ? list : "", list ? "," : "");
	if (!value)
		return -ENOMEM;
	*ret = value;
	return 1;
}

int mk_serving_token(struct mk_call *call, const struct mantik *m, struct mk_buf *ret)
{
	_cleanup_wipe_ struct mk_buf text = MK_BUF_SECRET(MAX_FILE);
	int r = read_own(call, m, "serve.token", &text);

	if (r < 0)
		return r;
	if (text.len != 2 * RANDOM || strspn(text.data, "0123456789abcdef") != text.len)
		return mk_fail(call, EINVAL, "%s/serve.token: is not %d hex digits; remove it",
			       m->data_dir, 2 * RANDOM);
	return mk_buf_put(ret, text.data, text.len) < 0 ? mk_fail(call, ENOMEM, "out of memory") : 0;
}

int mk_serving_token_make(struct mk_call *call, const struct mantik *m, struct mk_buf *ret)
{
	_cleanup_wipe_ struct mk_buf text = MK_BUF_SECRET(MAX_FILE);
	unsigned char bytes[RANDOM];

	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		return mk_fail(call, EIO, "no random bytes: %s", strerror(errno));
	for (size_t i = 0; i < sizeof(bytes); i++)
		(void)mk_buf_printf(&text, "%02x", bytes[i]);
	explicit_bzero(bytes, sizeof(bytes));

	int r = write_own(call, m, "serve.token", &text);

	if (r == 0 && mk_buf_put(ret, text.data, text.len) < 0)
		r = mk_fail(call, ENOMEM, "out of memory");
	return r;
}
