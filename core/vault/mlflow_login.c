/* SPDX-License-Identifier: Apache-2.0 */
/* See mlflow_login.h. */
#include "vault/mlflow_login.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "net/http.h"

enum { MAX_FILE = 64 << 10, MAX_SECRET = 32 << 10, MAX_USER = 4096 };

static bool is_meant_for(const char *origin, mk_mlflow_variable *get)
{
	const char *uri = get("MLFLOW_TRACKING_URI");
	_cleanup_free_ char *other = uri && *uri ? mk_url_origin(uri) : NULL;

	return !uri || !*uri || (other && strcmp(origin, other) == 0);
}

const char *mk_mlflow_setting(const char *origin, mk_mlflow_variable *get, const char *name)
{
	const char *value = get(name);

	return value && *value && is_meant_for(origin, get) ? value : NULL;
}

/* The value of `key` in a line `key = value` or `key: value`, as Python's configparser reads it. */
static void value_of(const char *line, const char *key, struct mk_buf *ret)
{
	size_t n = strlen(key), len;

	if (strncasecmp(line, key, n) != 0)
		return;
	line += n + strspn(line + n, " \t");
	if (*line != '=' && *line != ':')
		return;
	line += 1 + strspn(line + 1, " \t");
	len = strlen(line);
	while (len && strchr(" \t\r", line[len - 1]))
		len--;
	mk_buf_truncate(ret, 0);
	for (size_t i = 0; i < len; i++) {
		(void)mk_buf_putc(ret, line[i]);
		if (line[i] == '%' && i + 1 < len && line[i + 1] == '%')
			i++;
	}
}

/* ~/.mlflow/credentials, section [mlflow]; nothing when it cannot be read. */
static void read_file(struct mk_mlflow_login *ret)
{
	const char *home = getenv("HOME");
	_cleanup_free_ char *path = mk_strf("%s/.mlflow/credentials", home ? home : "/nonexistent");
	_cleanup_wipe_ struct mk_buf text = MK_BUF_SECRET(MAX_FILE);
	_cleanup_call_ struct mk_call call;
	bool ours = false;

	mk_call_init(&call);
	if (mk_file_read(&call, AT_FDCWD, path, &text) < 0 || !text.len)
		return;
	for (char *line = text.data, *next; line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = 0;
		if (*line == '[')
			ours = strncmp(line, "[mlflow]", 8) == 0;
		if (!ours)
			continue;
		value_of(line, "mlflow_tracking_username", &ret->user);
		value_of(line, "mlflow_tracking_password", &ret->password);
	}
}

/* Whether the environment says it. */
static bool put(struct mk_buf *ret, const char *value)
{
	if (!value || !*value)
		return false;
	mk_buf_truncate(ret, 0);
	(void)mk_buf_puts(ret, value);
	return true;
}

int mk_mlflow_login(struct mk_call *call, const char *origin, mk_mlflow_variable *get,
		    struct mk_mlflow_login *ret)
{
	bool named;

	*ret = (struct mk_mlflow_login){.user = MK_BUF_SECRET(MAX_USER),
					.password = MK_BUF_SECRET(MAX_SECRET),
					.token = MK_BUF_SECRET(MAX_SECRET)};
	if (!is_meant_for(origin, get))
		return 0;
	read_file(ret);
	named = put(&ret->user, get("MLFLOW_TRACKING_USERNAME"));
	ret->environment = put(&ret->password, get("MLFLOW_TRACKING_PASSWORD"));
	if (mk_buf_check(&ret->user) < 0 || mk_buf_check(&ret->password) < 0)
		return mk_fail(call, EKEYREJECTED,
			       "MLFLOW_TRACKING_PASSWORD or ~/.mlflow/credentials: longer than a "
			       "user's name (%d bytes) or a password (%d) is",
			       MAX_USER, MAX_SECRET);
	if (ret->user.len && ret->password.len) {
		ret->from = named && ret->environment ? "MLFLOW_TRACKING_USERNAME"
						      : "~/.mlflow/credentials";
		return 0;
	}
	mk_buf_wipe(&ret->user);
	mk_buf_wipe(&ret->password);
	ret->environment = put(&ret->token, get("MLFLOW_TRACKING_TOKEN"));
	if (mk_buf_check(&ret->token) < 0)
		return mk_fail(call, EKEYREJECTED, "MLFLOW_TRACKING_TOKEN: longer than %d bytes",
			       MAX_SECRET);
	if (ret->environment)
		ret->from = "MLFLOW_TRACKING_TOKEN";
	return 0;
}

void mk_mlflow_login_done(struct mk_mlflow_login *login)
{
	mk_buf_wipe(&login->user);
	mk_buf_wipe(&login->password);
	mk_buf_wipe(&login->token);
}
