/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What MLflow's own client takes from the environment, for a connection that says nothing of who is
 * asking: MLFLOW_TRACKING_USERNAME and _PASSWORD, ~/.mlflow/credentials in their place, else
 * MLFLOW_TRACKING_TOKEN; MLFLOW_TRACKING_SERVER_CERT_PATH and _CLIENT_CERT_PATH. They belong to the
 * server MLFLOW_TRACKING_URI names: when that is another one, nothing of it is used.
 */
#include "mlflow.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

enum { MAX_FILE = 64 << 10 };

struct mk_mlflow_env {
	struct mk_credentials *credentials;
	mk_http_auth *own; /* the connection's */
	void *own_arg;
};

static const char *variable(const char *name)
{
	const char *value = getenv(name);

	return value && *value ? value : NULL;
}

static bool is_meant_for(const char *origin)
{
	const char *uri = variable("MLFLOW_TRACKING_URI");
	_cleanup_free_ char *other = uri ? mk_url_origin(uri) : NULL;

	return !uri || (other && strcmp(origin, other) == 0);
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
static void read_file(struct mk_buf *user, struct mk_buf *password)
{
	const char *home = variable("HOME");
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
		value_of(line, "mlflow_tracking_username", user);
		value_of(line, "mlflow_tracking_password", password);
	}
}

static void from_variable(const char *name, struct mk_buf *ret)
{
	const char *value = variable(name);

	if (!value)
		return;
	mk_buf_truncate(ret, 0);
	(void)mk_buf_puts(ret, value);
}

static int from_environment(struct mk_call *call, const char *origin, struct mk_buf *ret)
{
	_cleanup_wipe_ struct mk_buf user = MK_BUF_SECRET(4096), password = MK_BUF_SECRET(MAX_FILE);
	const char *token = variable("MLFLOW_TRACKING_TOKEN");

	if (!is_meant_for(origin))
		return 0;
	read_file(&user, &password);
	from_variable("MLFLOW_TRACKING_USERNAME", &user);
	from_variable("MLFLOW_TRACKING_PASSWORD", &password);
	if (user.len && password.len) {
		(void)mk_buf_putc(&user, ':');
		(void)mk_buf_put(&user, mk_buf_text(&password), password.len);
		(void)mk_buf_puts(ret, "Basic ");
		mk_mlflow_base64(ret, mk_buf_text(&user), user.len);
	} else if (token) {
		(void)mk_buf_printf(ret, "Bearer %s", token);
	}
	return mk_buf_check(&user) < 0 || mk_buf_check(ret) < 0
		       ? mk_fail(call, EKEYREJECTED, "MLFLOW_TRACKING_…: longer than a password is")
		       : 0;
}

/* The connection's own words first. */
static int say_who(struct mk_call *call, void *arg, const char *origin, bool again,
		   struct mk_buf *ret)
{
	struct mk_mlflow_env *env = arg;
	int r = env->own ? env->own(call, env->own_arg, origin, again, ret) : 0;

	if (r < 0 || ret->len || strcmp(origin, env->credentials->origin) != 0)
		return r;
	return from_environment(call, origin, ret);
}

void mk_mlflow_env_free(struct mk_mlflow_env *env)
{
	free(env);
}

void mk_mlflow_env(struct mk_tracking *t)
{
	t->env = mk_new(struct mk_mlflow_env);
	*t->env = (struct mk_mlflow_env){t->credentials, t->peer.auth, t->peer.auth_arg};
	t->peer.auth = say_who;
	t->peer.auth_arg = t->env;
	if (!is_meant_for(t->credentials->origin))
		return;
	if (!t->peer.ca_file)
		t->ca_file = mk_strdup(variable("MLFLOW_TRACKING_SERVER_CERT_PATH"));
	if (t->ca_file)
		t->peer.ca_file = t->ca_file;
	if (!t->peer.client_cert)
		t->client_cert = mk_strdup(variable("MLFLOW_TRACKING_CLIENT_CERT_PATH"));
	if (t->client_cert)
		t->peer.client_cert = t->client_cert;
}
