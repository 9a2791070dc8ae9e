/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who asks: the connection's own words, and for one that has none what MLflow's own client would say
 * (vault/mlflow_login.h), with the certificates it would use.
 *
 * A password or token of the vault that the server refused is not offered again and again, however
 * often somebody looks: what guards a server locks the account of who does. A new login is another
 * store (index.c), which asks at once.
 */
#include "mlflow.h"

#include <errno.h>
#include <string.h>

#include "vault/mlflow_login.h"

enum { MAX_BOTH = 64 << 10 };
static const int64_t first_pause = 15 * MK_SEC, longest_pause = 600 * MK_SEC;

struct mk_mlflow_env {
	struct mk_credentials *credentials;
	mk_http_auth *own; /* the connection's */
	void *own_arg;
	_Atomic int64_t refused; /* when the secret of the vault was, last; 0: never */
	_Atomic int64_t pause;	 /* from then on */
};

static const char *variable(const char *name)
{
	return getenv(name);
}

static int from_environment(struct mk_call *call, const char *origin, struct mk_buf *ret)
{
	_cleanup_(mk_mlflow_login_done) struct mk_mlflow_login login;
	int r = mk_mlflow_login(call, origin, variable, &login);

	if (r < 0)
		return r;
	if (login.user.len) {
		_cleanup_wipe_ struct mk_buf both = MK_BUF_SECRET(MAX_BOTH);

		(void)mk_buf_printf(&both, "%s:%s", mk_buf_text(&login.user),
				    mk_buf_text(&login.password));
		(void)mk_buf_puts(ret, "Basic ");
		mk_mlflow_base64(ret, mk_buf_text(&both), both.len);
		r = mk_buf_check(&both);
	} else if (login.token.len) {
		(void)mk_buf_printf(ret, "Bearer %s", mk_buf_text(&login.token));
	}
	return r < 0 || mk_buf_check(ret) < 0
		       ? mk_fail(call, EKEYREJECTED, "MLFLOW_TRACKING_…: longer than a password is")
		       : 0;
}

/* The server has heard it and said 401. */
static void note_refused(struct mk_mlflow_env *env, int64_t now)
{
	int64_t since = now - env->refused, pause = env->pause;

	if (env->refused && since < MK_SEC) /* several asked at once */
		return;
	pause = env->refused && since < 2 * pause ? 2 * pause : first_pause;
	env->pause = pause < longest_pause ? pause : longest_pause;
	env->refused = now;
}

static int fail_refused(struct mk_call *call, const struct mk_mlflow_env *env, int64_t now)
{
	const char *remote = env->credentials->name;
	int64_t left = env->refused + env->pause - now;

	(void)mk_fail(call, EACCES,
		      "%s: it does not accept the password or token: mantikctl login %s sets a new "
		      "one (asked again in %lld s)",
		      remote, remote, (long long)(left / MK_SEC + 1));
	mk_error_detail(call, remote, 401, "");
	return -EACCES;
}

/* The connection's own words first. */
static int say_who(struct mk_call *call, void *arg, const char *origin, bool again,
		   struct mk_buf *ret)
{
	struct mk_mlflow_env *env = arg;
	bool kept = env->credentials->has_password || env->credentials->has_token;
	int64_t now = mk_now_mono();

	if (kept && again)
		note_refused(env, now);
	else if (kept && env->refused && now - env->refused < env->pause)
		return fail_refused(call, env, now);

	int r = env->own ? env->own(call, env->own_arg, origin, again, ret) : 0;

	if (r < 0 || ret->len || strcmp(origin, env->credentials->origin) != 0)
		return r;
	return from_environment(call, origin, ret);
}

void mk_mlflow_env_free(struct mk_mlflow_env *env)
{
	free(env);
}

static const char *setting(const struct mk_tracking *t, const char *name)
{
	return mk_mlflow_setting(t->credentials->origin, variable, name);
}

void mk_mlflow_env(struct mk_tracking *t)
{
	t->env = mk_new(struct mk_mlflow_env);
	*t->env = (struct mk_mlflow_env){
		.credentials = t->credentials, .own = t->peer.auth, .own_arg = t->peer.auth_arg};
	t->peer.auth = say_who;
	t->peer.auth_arg = t->env;
	if (!t->peer.ca_file)
		t->ca_file = mk_strdup(setting(t, "MLFLOW_TRACKING_SERVER_CERT_PATH"));
	if (t->ca_file)
		t->peer.ca_file = t->ca_file;
	if (!t->peer.client_cert)
		t->client_cert = mk_strdup(setting(t, "MLFLOW_TRACKING_CLIENT_CERT_PATH"));
	if (t->client_cert)
		t->peer.client_cert = t->client_cert;
}
