/* SPDX-License-Identifier: Apache-2.0 */
/* See local.h. */
#include "connect/tracking/local.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include <mantik/error.h>

#include "base/file.h"
#include "base/path.h"
#include "base/utf8.h"
#include "core.h"
#include "net/health.h"
#include "net/url_local.h"
#include "vault/credentials.h"

enum { MOST_REFUSED = 200 };

struct mk_refused {
	struct mk_refused *next;
	char text[];
};

void mk_local_init_at(struct mk_local *local, struct mantik *m, const char *path, bool is_file,
		      mk_local_told *told, void *arg)
{
	*local = (struct mk_local){
		.m = m,
		.connection = mk_strdup(strrchr(path, '/') + 1),
		.path = mk_strdup(path),
		.folder = mk_strdup(path),
		.told = told,
		.told_arg = arg,
	};
	if (is_file)
		*strrchr(local->folder, '/') = 0;
	pthread_mutex_init(&local->lock, NULL);
}

int mk_local_init(struct mk_call *call, struct mk_local *local, struct mantik *m,
		  const char *connection)
{
	_cleanup_(mk_credentials_freep) struct mk_credentials *credentials = NULL;
	int r = mk_credentials_open(call, m, connection, &credentials);

	if (r < 0)
		return r;

	_cleanup_free_ char *path = mk_url_local_path(credentials->url);

	mk_local_init_at(local, m, path, mk_url_is_sqlite(credentials->url), NULL, NULL);
	free(local->connection);
	local->connection = mk_strdup(connection);
	local->workspace = mk_strdup(credentials->workspace);
	mk_health_reset(connection);
	return 0;
}

void mk_local_done(struct mk_local *local)
{
	while (local->refused) {
		struct mk_refused *next = local->refused->next;

		free(local->refused);
		local->refused = next;
	}
	pthread_mutex_destroy(&local->lock);
	free(local->connection);
	free(local->path);
	free(local->folder);
	free(local->workspace);
}

int mk_local_root(struct mk_call *call, const struct mk_local *local, int *ret)
{
	_cleanup_free_ char *real = NULL;
	int fd, r = mk_path_resolve(call, *local->folder ? local->folder : "/", &real);

	if (r == -EXDEV)
		return r;
	fd = r < 0 ? -1 : open(real, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0) {
		int why = r < 0 ? -r : errno;

		return mk_fail(call, why == EACCES ? EACCES : EHOSTUNREACH, "%s: %s: %s%s",
			       local->connection, local->path, strerror(why),
			       why == ENOTDIR ? " (is it a mlflow.db? then its url begins with sqlite:///)"
			       : why == ENOENT ? "; what was seen of it stays"
					       : "");
	}
	*ret = fd;
	return 0;
}

int mk_local_open(int dir, const char *path, int flags)
{
	struct open_how how = {
		.flags = (uint64_t)(flags | O_CLOEXEC |
				    (flags & O_PATH ? 0 : O_NONBLOCK | O_NOCTTY)),
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV |
			   (flags & O_NOFOLLOW && !(flags & O_PATH) ? RESOLVE_NO_SYMLINKS : 0),
	};
	int fd = (int)syscall(SYS_openat2, dir, path, &how, sizeof(how));

	return fd < 0 ? -errno : fd;
}

static bool is_new(struct mk_local *local, const char *what)
{
	bool is_new = true;

	pthread_mutex_lock(&local->lock);
	for (const struct mk_refused *it = local->refused; it && is_new; it = it->next)
		is_new = strcmp(it->text, what) != 0;
	if (is_new && local->n_refused == MOST_REFUSED) {
		is_new = false;
	} else if (is_new) {
		struct mk_refused *it = mk_alloc(sizeof(*it) + strlen(what) + 1);

		memcpy(it->text, what, strlen(what) + 1);
		it->next = local->refused;
		local->refused = it;
		local->n_refused++;
	}
	pthread_mutex_unlock(&local->lock);
	return is_new;
}

void mk_local_refuse(struct mk_local *local, const char *what, const char *fmt, ...)
{
	_cleanup_buf_ struct mk_buf why = MK_BUF(2000);
	_cleanup_free_ char *path = mk_strf("/.mantik/connections/%s", local->connection);
	_cleanup_call_ struct mk_call quiet;
	va_list ap;

	if (!is_new(local, what))
		return;
	va_start(ap, fmt);
	(void)mk_buf_vprintf(&why, fmt, ap);
	va_end(ap);
	mk_call_init(&quiet);
	(void)mk_fail(&quiet, EREMOTEIO, "%s: %.400s: %s; left out", local->connection, what,
		      mk_buf_text(&why));
	if (local->told) {
		local->told(local->told_arg, quiet.error.text);
		return;
	}
	mk_health_note(local->connection, EREMOTEIO, quiet.error.text, 0, 0);
	mk_error_record(local->m, path, &quiet.error);
}

int mk_local_note(struct mk_call *call, struct mk_local *local, int r, int64_t began)
{
	/* A run that is not there is an answer. */
	int code = r >= 0 || r == -ENOENT || r == -ESTALE ? 0 : -r;

	if (!local->told && r != MK_PUNT && r != MK_PARK)
		mk_health_note(local->connection, code, call->error.text,
			       (mk_now_mono() - began) / MK_MS, 0);
	return r;
}

bool mk_local_is_id(const char *text)
{
	static const char alnum[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
	static const char more[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-";
	size_t len = strspn(text, more);

	return len && strchr(alnum, *text) && !text[len] && len <= 256;
}

int64_t mk_local_time(int64_t ms)
{
	if (ms <= 0)
		return 0;
	return ms > INT64_MAX / MK_MS ? INT64_MAX / MK_MS * MK_MS : ms * MK_MS;
}

const char *mk_local_text(struct mk_arena *arena, const char *text, size_t len)
{
	size_t good = mk_utf8_bad(text, len);
	_cleanup_buf_ struct mk_buf clean = MK_BUF(4 * len + 16);

	if (good == len)
		return mk_arena_text(arena, text, len);
	for (;;) {
		(void)mk_buf_put(&clean, text, good);
		if (good == len)
			break;
		(void)mk_buf_puts(&clean, "\xef\xbf\xbd");
		text += good + 1;
		len -= good + 1;
		good = mk_utf8_bad(text, len);
	}
	return mk_buf_check(&clean) < 0 ? NULL : mk_arena_text(arena, mk_buf_text(&clean), clean.len);
}
