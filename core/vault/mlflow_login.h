/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who asks, as MLflow's own clients find it out: MLFLOW_TRACKING_USERNAME and _PASSWORD, each from
 * ~/.mlflow/credentials where the environment does not say it; both: Basic, else
 * MLFLOW_TRACKING_TOKEN: Bearer. All of it, and the certificates, belong to the server that
 * MLFLOW_TRACKING_URI names: when that is another one, nothing of it is anybody else's.
 *
 * For a connection that is being made (mantikfs --tracking, which keeps it), and for one that says
 * nothing of its own (each request, read anew). Local disk only.
 */
#ifndef MK_MLFLOW_LOGIN_H
#define MK_MLFLOW_LOGIN_H

#include <mantik/buf.h>
#include <mantik/call.h>

struct mk_mlflow_login {
	struct mk_buf user, password; /* both or neither */
	struct mk_buf token;	      /* instead of them */
	bool environment;	      /* the password or token is of the environment */
	const char *from;	      /* for people: where it was found; NULL it was not */
};

/* How a variable is looked up: getenv, or what has been taken out of the environment, too. */
typedef const char *mk_mlflow_variable(const char *name);

/* Its value; NULL: unset, empty, or meant for another server than origin. */
const char *mk_mlflow_setting(const char *origin, mk_mlflow_variable *get, const char *name);
/* Empty texts: nothing was found. Freed (and wiped) with mk_mlflow_login_done, on error, too.
 * EKEYREJECTED: longer than a password is. */
int mk_mlflow_login(struct mk_call *call, const char *origin, mk_mlflow_variable *get,
		    struct mk_mlflow_login *ret) _must_check_;
void mk_mlflow_login_done(struct mk_mlflow_login *login);

#endif
