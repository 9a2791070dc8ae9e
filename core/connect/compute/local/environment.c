/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The environment of a local job: built from this table and the plan, nothing else is inherited, so
 * that a run does not depend on which terminal happened to start mantikd. The man page prints the
 * table.
 */
#include "connect/compute/local/local.h"

#include <errno.h>
#include <pwd.h>
#include <string.h>
#include <unistd.h>

#include <mantik/serve.h>

#include "base/file.h"
#include "vault/serving.h"

#define DEFAULT_PATH "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"

enum source {
	FROM_PASSWD_HOME,
	FROM_PASSWD_NAME,
	FROM_PASSWD_SHELL,
	FIXED,	     /* value */
	FROM_DAEMON, /* mantikd's own, else value; NULL: left out */
	RUN_UID,
	RUN_DIR,
	RUN_WORKDIR,
	DATA_DIR,
	CACHE_DIR,
	CONFIG_DIR,
};

static const struct {
	const char *name;
	enum source source;
	const char *value;
} table[] = {
	{"HOME", FROM_PASSWD_HOME, NULL},
	{"USER", FROM_PASSWD_NAME, NULL},
	{"LOGNAME", FROM_PASSWD_NAME, NULL},
	{"SHELL", FROM_PASSWD_SHELL, NULL},
	{"PATH", FIXED, DEFAULT_PATH},
	{"LANG", FROM_DAEMON, "C.UTF-8"},
	{"TMPDIR", FROM_DAEMON, "/tmp"},
	{"TZ", FROM_DAEMON, NULL},
	{"MANTIK_RUN_ID", RUN_UID, NULL},
	{"MANTIK_RUN_DIR", RUN_DIR, NULL},
	{"MANTIK_WORKING_DIRECTORY", RUN_WORKDIR, NULL},
	/* So that mantikctl in a job finds the platform it belongs to. */
	{"MANTIK_DATA_DIR", DATA_DIR, NULL},
	{"MANTIK_CACHE_DIR", CACHE_DIR, NULL},
	{"MANTIK_CONFIG_DIR", CONFIG_DIR, NULL},
};

static const char *planned(const struct mk_job_order *order, const char *name)
{
	return mk_pairs_get(&order->plan->variables, name);
}

/*
 * What makes MLflow's clients log into this very run, through the server of the mantikd that starts
 * it. A job with a tracking server of its own gets none of it: our token is not for others.
 */
static int put_tracking(struct mk_call *call, struct mk_site *site, const struct mk_job_order *order,
			struct mk_pairs *ret)
{
	_cleanup_wipe_ struct mk_buf token = MK_BUF_SECRET(256);
	_cleanup_buf_ struct mk_buf url = MK_BUF(1 << 16);
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int port = 0;

	if (planned(order, "MLFLOW_TRACKING_URI"))
		return 0;

	int r = mk_db_read(call, site->m->db,
			   "SELECT p.name, r.experiment_id FROM runs r"
			   " JOIN projects p ON p.id = r.project_id WHERE r.id = ?",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, order->run_id);
	r = mk_step(call, stmt);
	if (r <= 0)
		return r; /* deleted by now: it will not be started */

	_cleanup_free_ char *experiment = mk_strf("%lld", (long long)mk_col_int(stmt, 1));

	r = mk_serving_port(call, site->m, &port);
	if (r == 0)
		r = mk_serving_listens(call, port);
	if (r == 1)
		r = mk_serving_url(call, site->m, mk_col_text(stmt, 0), &url);
	else if (r == 0)
		r = mk_fail(call, ENOENT, "the tracking server does not run");
	if (r == 0)
		r = mk_serving_token(call, site->m, &token);
	if (r == 0 && mk_buf_printf(&token, ".%s", order->key) < 0) /* so that it knows who asks */
		r = mk_fail(call, ENOMEM, "environment: out of memory");
	if (r < 0) { /* it is a job all the same */
		_cleanup_free_ char *why = mk_strf("without MLFLOW_TRACKING_URI: %s",
						   call->error.text ? call->error.text : "");

		if (order->note)
			order->note(order->note_arg, why);
		mk_error_clear(call);
		return 0;
	}
	if (mk_pairs_set(ret, "MLFLOW_TRACKING_URI", mk_buf_text(&url)) < 0 ||
	    mk_pairs_set(ret, "MLFLOW_TRACKING_TOKEN", mk_buf_text(&token)) < 0 ||
	    /* else those of ~/.mlflow/credentials would be sent instead of the token; clients also
	     * take it for the name of a new run's user */
	    mk_pairs_set(ret, "MLFLOW_TRACKING_USERNAME", mk_pairs_get(ret, "USER")) < 0 ||
	    mk_pairs_set(ret, "MLFLOW_TRACKING_PASSWORD", mk_buf_text(&token)) < 0 ||
	    mk_pairs_set(ret, "MLFLOW_RUN_ID", order->key) < 0 ||
	    mk_pairs_set(ret, "MLFLOW_EXPERIMENT_ID", experiment) < 0)
		return mk_fail(call, ENOMEM, "environment: out of memory");
	return 0;
}

static const char *of_job(const void *arg, const char *name)
{
	return mk_pairs_get(arg, name);
}

int mk_environment(struct mk_call *call, struct mk_site *site, const struct mk_job_order *order,
		   const char *cwd, struct mk_pairs *ret)
{
	_cleanup_free_ char *run_dir = mk_strf("%s/.mantik", order->workdir);
	char space[16384];
	struct passwd entry, *user = NULL;

	(void)getpwuid_r(getuid(), &entry, space, sizeof(space), &user);
	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		const char *value = table[i].value;
		const char *daemon = table[i].source == FROM_DAEMON ? getenv(table[i].name) : NULL;

		switch (table[i].source) {
		case FROM_PASSWD_HOME:
			/* A HOME set by hand is where the user's files are. */
			value = getenv("HOME");
			if (!value || *value != '/')
				value = user ? user->pw_dir : "/";
			break;
		case FROM_PASSWD_NAME:
			value = user ? user->pw_name : "";
			break;
		case FROM_PASSWD_SHELL:
			value = user && *user->pw_shell ? user->pw_shell : "/bin/sh";
			break;
		case FIXED:
			break;
		case FROM_DAEMON:
			value = daemon && *daemon ? daemon : value;
			break;
		case RUN_UID:
			value = order->key;
			break;
		case RUN_DIR:
			value = run_dir;
			break;
		case RUN_WORKDIR:
			value = cwd;
			break;
		case DATA_DIR:
			value = site->m->data_dir;
			break;
		case CACHE_DIR:
			value = site->m->cache_dir;
			break;
		case CONFIG_DIR:
			value = site->m->config_dir;
			break;
		}
		if (value && mk_pairs_set(ret, table[i].name, value) < 0)
			return mk_fail(call, ENOMEM, "environment: out of memory");
	}

	int r = put_tracking(call, site, order, ret);

	if (r < 0)
		return r;
	for (size_t i = 0; i < order->plan->variables.n; i++) {
		const struct mk_pair *v = &order->plan->variables.v[i];

		if (!*v->key || strchr(v->key, '='))
			return mk_fail(call, EINVAL, "a variable cannot be named \"%s\"", v->key);
		if (mk_pairs_set(ret, v->key, v->value) < 0)
			return mk_fail(call, ENOMEM, "environment: out of memory");
	}

	_cleanup_free_ char *spared = NULL;

	r = mantik_serving_no_proxy(of_job, ret, &spared);
	if (r > 0 && !planned(order, "MLFLOW_TRACKING_URI"))
		r = mk_pairs_set(ret, "no_proxy", spared);
	return r < 0 ? mk_fail(call, ENOMEM, "environment: out of memory") : 0;
}
