/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections: connections/<name>.yaml, credentials and defaults for a remote. The file in
 * <config>/connections/ is the file of the mount, but for its secrets: what is written as
 * `password: hunter2` is kept in the vault and shown as `password: (set)`; `(set)` written back
 * keeps it, the key left out forgets it.
 *
 *	kind: mlflow
 *	url: https://mlflow.example.org/prefix
 *	user: ana
 *	password: (set)          or token: (set), token_file: PATH, token_command: [prog, arg]
 *	ca: PATH                 client_cert: PATH, client_key: PATH
 *	workspace: team-a
 *
 * Kinds there are now: mlflow, git (credentials for https remotes of that url). The table of keys
 * of each kind is in core/domain/connection.c; an unknown key is refused with the nearest one.
 */
#ifndef MANTIK_CONNECTION_H
#define MANTIK_CONNECTION_H

#include <mantik/text.h>

struct mk_connection {
	char *name;
	char *kind;
	char *url; /* as mk_url_base gives it */
};
void mk_connection_free(struct mk_connection *connection);

typedef int mk_connection_emit(void *arg, const struct mk_connection *connection);
/* By name. A file that cannot be understood is listed with kind "" (its text says why: saving it
 * again gives the error). Local disk only. */
int mk_connection_list(struct mk_call *call, struct mantik *m, mk_connection_emit *emit,
		       void *arg) _must_check_;
/* The text as it is shown; generation changes with every change. ENOENT. */
int mk_connection_get(struct mk_call *call, struct mantik *m, const char *name,
		      struct mk_text *ret) _must_check_;
/*
 * Validates and stores (0600, atomically). seen 0: not checked. Nothing is changed on error:
 * EINVAL with line and key; EFBIG; EBUSY changed since it was read; EROFS.
 */
int mk_connection_put(struct mk_call *call, struct mantik *m, const char *name, const char *text,
		      size_t len, uint64_t seen) _must_check_;
/* Removes the file and its secrets. What was mirrored stays, dated. ENOENT. */
int mk_connection_remove(struct mk_call *call, struct mantik *m, const char *name) _must_check_;
/* A secret alone: `mantikctl login`. key: "password" or "token". */
int mk_connection_secret(struct mk_call *call, struct mantik *m, const char *name, const char *key,
			 const char *secret) _must_check_;
/* The mlflow connection with this url, made and named like its host if there is none yet:
 * `mantikfs --tracking URL`. */
int mk_connection_tracking(struct mk_call *call, struct mantik *m, const char *url,
			   char **ret_name) _must_check_;
/* .mantik/connections/<name>: kind, url, health, last error, latency, requests, bytes as YAML. */
int mk_connection_health(struct mk_call *call, struct mantik *m, const char *name,
			 struct mk_buf *ret) _must_check_;

#endif
