/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections: connections/<name>.yaml, credentials and defaults for a remote. The file in
 * <config>/connections/ is the file of the mount, but for its secrets: what is written as
 * `password: hunter2` is kept in the vault and shown as `password: (set)`; `(set)` written back
 * keeps it, the key left out forgets it. A secret belongs to the server (scheme, host and port) it
 * was set for and is never sent to another: a url changed to one wants its secret again.
 *
 *	kind: mlflow
 *	url: https://mlflow.example.org/prefix
 *	user: ana
 *	password: (set)          or token: (set), token_file: PATH, token_command: [prog, arg]
 *	ca: PATH                 client_cert: PATH, client_key: PATH
 *	workspace: team-a
 *
 * Kinds there are now: mlflow, git (credentials for https remotes at or below that url). The table of
 * keys of each kind is in core/vault/connection_keys.c; an unknown key is refused with the nearest
 * one.
 */
#ifndef MANTIK_CONNECTION_H
#define MANTIK_CONNECTION_H

#include <mantik/text.h>

enum mk_connection_type {
	MK_CONNECTION_TEXT,
	MK_CONNECTION_URL,
	MK_CONNECTION_PATH,    /* absolute, or from `~/` on */
	MK_CONNECTION_SECRET,  /* in the vault; shown as (set) */
	MK_CONNECTION_COMMAND, /* a program and its arguments, as a list */
};
struct mk_connection_key {
	const char *name;
	enum mk_connection_type type;
	bool needed;
	const char *help; /* one sentence without a full stop */
};
/* The kinds, in the order of the manual; NULL after the last. */
const char *mk_connection_kind(size_t i);
/* The keys of a kind in the order they are shown; NULL: there is no such kind. */
const struct mk_connection_key *mk_connection_keys(const char *kind, size_t *ret_n);

/* A name is the file's without `.yaml`: 1 to 100 bytes that need no escape as a directory entry,
 * no `:`, no `-` at the beginning. EINVAL. */
int mk_connection_name_check(struct mk_call *call, const char *name) _must_check_;

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
/* One by its name. ENOENT. */
int mk_connection_find(struct mk_call *call, struct mantik *m, const char *name,
		       struct mk_connection *ret) _must_check_;
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
/* A secret alone: `mantikctl login`. key: "password" or "token", NULL: the one the connection asks
 * for. The line `key: (set)` is added to the text where there is none. */
int mk_connection_secret(struct mk_call *call, struct mantik *m, const char *name, const char *key,
			 const char *secret) _must_check_;
/* Which of the two mantikctl login is to ask for. */
int mk_connection_login_key(struct mk_call *call, struct mantik *m, const char *name,
			    const char **ret) _must_check_;
/*
 * The mlflow connection with this url, made and named like its host if there is none yet:
 * `mantikfs --tracking URL`. MLFLOW_TRACKING_USERNAME and _PASSWORD (each else from
 * ~/.mlflow/credentials), else _TOKEN, with _SERVER_CERT_PATH, _CLIENT_CERT_PATH and MLFLOW_WORKSPACE
 * say how a new one logs in, unless MLFLOW_TRACKING_URI names another server; a password or token of
 * the environment also replaces what is set, if it is the same user's. EKEYREJECTED: longer than a
 * password is.
 */
int mk_connection_tracking(struct mk_call *call, struct mantik *m, const char *url,
			   char **ret_name) _must_check_;
/* Whether it can be used as far as this machine goes: its file is understood, and what it says is set
 * is in the vault, which opens. The error is the sentence. */
int mk_connection_check(struct mk_call *call, struct mantik *m, const char *name) _must_check_;
/* Asks a person for the passphrase of the vault and appends it to ret; fresh: a new one, to be
 * typed twice. Set by mantikctl on a terminal, before there are threads. */
typedef int mk_connection_ask(struct mk_call *call, void *arg, bool fresh, struct mk_buf *ret);
void mk_connection_asker(struct mantik *m, mk_connection_ask *ask, void *arg);
/* .mantik/connections/<name>: kind, url, health, last error, latency, requests, bytes as YAML. */
int mk_connection_health(struct mk_call *call, struct mantik *m, const char *name,
			 struct mk_buf *ret) _must_check_;

#endif
