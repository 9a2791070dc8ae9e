/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `mantikfs --tracking URL`: a connection made from an address and from what MLflow's own clients
 * look at, and how a connection is (.mantik/connections/).
 *
 * What the environment says is written down when the connection is made: later programs (mantikd,
 * the next mount) have another environment or none, and a secret in the vault is nobody else's.
 */
#include <mantik/connection.h>

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/doc.h"
#include "base/file.h"
#include "base/protect.h"
#include "core.h"
#include "domain/connection_text.h"
#include "net/health.h"
#include "net/url_local.h"
#include "vault/mlflow_login.h"

enum { MAX_NAMES = 1000 };

/* What else is written down; texts are owned. */
struct settings {
	char *workspace, *ca, *cert;
};

static void settings_done(struct settings *s)
{
	free(s->workspace);
	free(s->ca);
	free(s->cert);
}

static void look_around(const char *origin, struct settings *ret)
{
	ret->workspace = mk_strdup(mk_mlflow_setting(origin, mk_protected, "MLFLOW_WORKSPACE"));
	ret->ca = mk_strdup(
		mk_mlflow_setting(origin, mk_protected, "MLFLOW_TRACKING_SERVER_CERT_PATH"));
	ret->cert = mk_strdup(
		mk_mlflow_setting(origin, mk_protected, "MLFLOW_TRACKING_CLIENT_CERT_PATH"));
}

/* --- the connection ----------------------------------------------------------------------- */

struct finding {
	const char *url;
	char *name;
	struct mk_list names;
};

static int look_at(void *arg, const struct mk_connection *connection)
{
	struct finding *f = arg;

	(void)!mk_list_add(&f->names, connection->name);
	if (!f->name && strcmp(connection->kind, "mlflow") == 0 &&
	    strcmp(connection->url, f->url) == 0)
		f->name = mk_strdup(connection->name);
	return 0;
}

/* What a name cannot hold as `-`, in place. */
static void make_name(char *base)
{
	for (char *c = base; *c; c++)
		if (!isalnum((unsigned char)*c) && !strchr("._-", *c))
			*c = '-';
	memmove(base, base + strspn(base, "-."), strlen(base + strspn(base, "-.")) + 1);
}

/* mlruns of /home/ana/wind/mlruns, mlflow of …/mlflow.db; *ret_other: wind, of the folder it is in. */
static char *name_of_file(const char *url, char **ret_other)
{
	_cleanup_free_ char *path = mk_url_local_path(url);
	char *slash = strrchr(path, '/'), *dot, *name = slash + 1;

	*slash = 0;
	slash = strrchr(path, '/');
	*ret_other = mk_strndup(slash ? slash + 1 : path, 80);
	dot = strrchr(name, '.');
	if (dot > name && mk_url_is_sqlite(url))
		*dot = 0;
	return mk_strndup(name, 80);
}

static char *name_of_server(const char *url, char **ret_other)
{
	_cleanup_free_ char *origin = mk_url_origin(url);
	const char *host = origin ? strstr(origin, "://") + 3 : "mlflow";
	const char *port = strrchr(host, ':');
	size_t len = port ? (size_t)(port - host) : strlen(host);

	*ret_other = port ? mk_strdup(port + 1) : NULL;
	return mk_strndup(host, len < 80 ? len : 80);
}

/* The host, or the name of the file; taken: with its port or folder, then with a number. */
static char *new_name(const char *url, const struct mk_list *taken)
{
	_cleanup_free_ char *other = NULL;
	_cleanup_free_ char *base = mk_url_is_local(url) ? name_of_file(url, &other)
							 : name_of_server(url, &other);

	make_name(base);
	if (other)
		make_name(other);
	if (!*base)
		return mk_strdup("mlflow");
	for (int i = 0; i < MAX_NAMES; i++) {
		_cleanup_free_ char *name = i == 0		       ? mk_strdup(base)
					    : i == 1 && other && *other ? mk_strf("%s-%s", base, other)
								       : mk_strf("%s-%d", base, i + 1);

		if (!mk_list_has(taken, name))
			return mk_steal(&name);
	}
	return mk_strdup("mlflow");
}

static void put_line(struct mk_buf *text, const char *key, const char *value, const char *comment)
{
	if (!value)
		return;
	(void)mk_buf_printf(text, "%s: ", key);
	mk_yaml_scalar(text, value, false);
	(void)mk_buf_printf(text, "%s%s\n", comment ? "  # " : "", comment ? comment : "");
}

static void put_secret(struct mk_buf *text, const char *key, const struct mk_buf *value)
{
	if (!value->len)
		return;
	(void)mk_buf_printf(text, "%s: ", key);
	mk_json_string(text,
		       mk_buf_text(value)); /* a JSON string is one of YAML, whatever is in it */
	(void)mk_buf_putc(text, '\n');
}

static int make(struct mk_call *call, struct mantik *m, const char *name, const char *url,
		const struct mk_mlflow_login *l, const struct settings *more)
{
	_cleanup_wipe_ struct mk_buf text = MK_BUF_SECRET(MK_CONNECTION_MAX);
	_cleanup_free_ char *comment = l->from ? mk_strf("from %s", l->from) : NULL;

	(void)mk_buf_puts(&text, "kind: mlflow\n");
	put_line(&text, "url", url, NULL);
	put_line(&text, "user", l->user.len ? mk_buf_text(&l->user) : NULL, comment);
	put_secret(&text, "password", &l->password);
	put_secret(&text, "token", &l->token);
	put_line(&text, "ca", more->ca, NULL);
	put_line(&text, "client_cert", more->cert, NULL);
	put_line(&text, "workspace", more->workspace, NULL);
	return mk_connection_put(call, m, name, mk_buf_text(&text), text.len, 0);
}

/* A password or token of the environment is newer than what is set: of the same user, in the way
 * the connection logs in anyway. What is only in a file was taken when the connection was made. */
static int renew(struct mk_call *call, struct mantik *m, const char *name,
		 const struct mk_mlflow_login *l)
{
	_cleanup_(mk_credentials_freep) struct mk_credentials *c = NULL;
	const struct mk_buf *secret = l->password.len ? &l->password : &l->token;
	int r = mk_credentials_open(call, m, name, &c);

	if (r < 0)
		return r;
	if (!l->environment || m->read_only)
		return 0;
	if (l->password.len
		    ? !c->has_password || strcmp(c->user, mk_buf_text(&l->user)) != 0
		    : !c->has_token)
		return 0;
	return mk_connection_secret(call, m, name, l->password.len ? "password" : "token",
				    mk_buf_text(secret));
}

/* A new connection to nothing is a slip of the pen. */
static int check_there(struct mk_call *call, const char *url)
{
	_cleanup_free_ char *path = mk_url_local_path(url);
	struct stat st;

	return stat(path, &st) == 0 ? 0 : mk_fail(call, errno, "%s: %s", path, strerror(errno));
}

/* Who asks a server there, for a new connection and for one that is known (name). */
static int of_server(struct mk_call *call, struct mantik *m, const char *url,
		     const struct mk_list *taken, char **name)
{
	_cleanup_(mk_mlflow_login_done) struct mk_mlflow_login login = {};
	_cleanup_(settings_done) struct settings more = {};
	_cleanup_free_ char *origin = mk_url_origin(url);
	int r = mk_mlflow_login(call, origin, mk_protected, &login);

	if (r < 0)
		return r;
	if (*name)
		return renew(call, m, *name, &login);
	look_around(origin, &more);
	*name = new_name(url, taken);
	return make(call, m, *name, url, &login, &more);
}

/* Nobody logs in to a file. */
static int of_store(struct mk_call *call, struct mantik *m, const char *url,
		    const struct mk_list *taken, char **name)
{
	const char *workspace = getenv("MLFLOW_WORKSPACE");
	_cleanup_(settings_done) struct settings more = {};
	int r;

	if (*name)
		return 0;
	r = check_there(call, url);
	if (r < 0)
		return r;
	if (mk_url_is_sqlite(url) && workspace && *workspace)
		more.workspace = mk_strdup(workspace);
	*name = new_name(url, taken);
	return make(call, m, *name, url, &(struct mk_mlflow_login){}, &more);
}

int mk_connection_tracking(struct mk_call *call, struct mantik *m, const char *url, char **ret_name)
{
	_cleanup_free_ char *base = NULL, *name = NULL;
	struct finding f = {};
	int r;

	r = mk_url_typed(call, url, &base);
	if (r < 0)
		return r;
	if (r == 0 && strchr(url, '@'))
		return mk_fail(
			call, EINVAL,
			"the url has a user or password in it, which everybody on this machine "
			"can see; leave it out, and set MLFLOW_TRACKING_USERNAME and "
			"MLFLOW_TRACKING_PASSWORD or use mantikctl login");
	if (r == 0)
		r = mk_url_base(call, url, &base);
	if (r < 0)
		return r;
	f.url = base;
	r = mk_connection_list(call, m, look_at, &f);
	name = mk_steal(&f.name);
	if (r == 0)
		r = (mk_url_is_local(base) ? of_store : of_server)(call, m, base, &f.names, &name);
	mk_list_free(&f.names);
	if (r == 0)
		*ret_name = mk_steal(&name);
	return r;
}

/* --- how it is ---------------------------------------------------------------------------- */

static void put_time(struct mk_buf *ret, const char *key, int64_t time)
{
	char text[32];

	mk_time_text(time, false, text);
	if (time)
		(void)mk_buf_printf(ret, "%s: %s\n", key, text);
}

int mk_connection_health(struct mk_call *call, struct mantik *m, const char *name,
			 struct mk_buf *ret)
{
	_cleanup_(mk_credentials_freep) struct mk_credentials *c = NULL;
	struct mk_health h = {};
	char since[32];
	int r = mk_credentials_open(call, m, name, &c);

	if (r == -ENOENT)
		return r;
	mk_health_get(name, &h);
	mk_time_text(h.down_since, false, since);
	(void)mk_buf_printf(ret, "kind: %s\n", c ? c->kind : "");
	if (c)
		(void)mk_buf_printf(ret, "url: %s\n", c->url);
	(void)mk_buf_puts(ret, "health: ");
	if (r < 0) {
		(void)mk_buf_puts(ret, "its file cannot be used\n");
	} else if (!h.known) {
		(void)mk_buf_puts(ret, "not asked yet\n");
	} else if (h.down_since) {
		(void)mk_buf_printf(ret, "down since %s\n", since);
	} else {
		(void)mk_buf_puts(ret, "ok\n");
	}
	if (r < 0 || *h.error) {
		(void)mk_buf_puts(ret, "last_error: ");
		mk_yaml_scalar(ret, r < 0 ? call->error.text : h.error, false);
		(void)mk_buf_putc(ret, '\n');
	}
	mk_error_clear(call);
	put_time(ret, "last_answer", h.last);
	if (h.last)
		(void)mk_buf_printf(ret, "latency: %.3f\n", (double)h.ms / 1000);
	(void)mk_buf_printf(ret, "requests: %lld\nfailures: %lld\nbytes: %lld\n",
			    (long long)h.requests, (long long)h.failures, (long long)h.bytes);
	return mk_buf_check(ret);
}
