/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The embedded tracking server from outside: mantikd answers MLflow's REST API on a port of
 * 127.0.0.1 that stays the same. What MLflow's clients need to find and enter it:
 *
 *	MLFLOW_TRACKING_URI=http://127.0.0.1:PORT		all projects
 *	MLFLOW_TRACKING_URI=http://127.0.0.1:PORT/projects/P	one of them
 *	MLFLOW_TRACKING_TOKEN=…					<data>/serve.token
 */
#ifndef MANTIK_SERVE_H
#define MANTIK_SERVE_H

#include <mantik/mantik.h>

/*
 * Address and token of the server, once it answers; starts mantikd if need be and tells it that it
 * will be asked, so that it stays. project: name, or NULL. Waits at most 10 s or the call's deadline.
 * ret_token is one that holds a secret.
 * EROFS  another host does the work, the text says which
 * EACCES the port is another user's while no mantikd could be started
 */
int mantik_serving(struct mk_call *call, struct mantik *m, const char *project,
		   struct mk_buf *ret_url, struct mk_buf *ret_token) _must_check_;

/*
 * MLflow's clients ask a proxy even for 127.0.0.1, and send it the token. get: the variables of the
 * client, NULL for one that is not set. 1 and its no_proxy that spares the server; 0 nothing to change:
 * no proxy is set or it is spared already; -ENOMEM.
 */
int mantik_serving_no_proxy(const char *(*get)(const void *arg, const char *name), const void *arg,
			    char **ret) _must_check_;

#endif
