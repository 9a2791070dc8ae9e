/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a connector is told of its connection: where to go, and how to say who asks. The file
 * <config>/connections/<name>.yaml is read when it is opened; a secret is fetched from the vault
 * for the one request that needs it and wiped again.
 *
 *	struct mk_credentials *c;
 *	mk_credentials_open(call, m, "mlflow", &c)
 *	mk_credentials_peer(c, &peer)            peer.auth is mk_credentials_auth, peer.auth_arg is c
 *	mk_http_send(… .peer = &peer …)          Authorization comes by itself, its own origin only
 *
 * Which way it says who asks, first match: user and password (Basic), token, token_file,
 * token_command (Bearer), nothing. A token_file is read again, a token_command run again, when
 * what it gave was answered with 401; else a command is run once.
 *
 * Constant once opened but for the token a command gave, which has a lock: any number of threads.
 */
#ifndef MK_CREDENTIALS_H
#define MK_CREDENTIALS_H

#include <mantik/buf.h>
#include <mantik/connection.h>
#include <mantik/mantik.h>

#include "net/http.h"

struct mk_credentials {
	char *name;	   /* of the connection: lane, and name in errors */
	char *kind;	   /* "mlflow", "git" */
	char *url;	   /* as mk_url_base gives it: no slash at its end */
	char *origin;	   /* scheme://host:port of url */
	char *user;	   /* or NULL, as all below */
	char *workspace;   /* X-MLFLOW-WORKSPACE: sent only when this is set */
	char *ca;	   /* paths, absolute */
	char *client_cert;
	char *client_key;
	char *token_file;
	struct mk_list token_command; /* argv; n 0: none */
	bool has_password, has_token; /* (set): in the vault */
	uint64_t generation;	      /* of the file, as mk_credentials_generation */
	struct mk_token *token;	      /* what token_command gave last */
	struct mantik *m;
};

/*
 * Local disk only; never waits. ENOENT there is no such connection; EINVAL its file cannot be
 * understood (file, line, key); ENOKEY a secret stands in it in plain (what to do).
 */
int mk_credentials_open(struct mk_call *call, struct mantik *m, const char *name,
			struct mk_credentials **ret) _must_check_;
void mk_credentials_free(struct mk_credentials *credentials);
static inline void mk_credentials_freep(struct mk_credentials **credentials)
{
	mk_credentials_free(*credentials);
	*credentials = NULL;
}

/*
 * What a text says, by the table of its kind (connection_keys.c); where: how errors begin. *ret_plain:
 * the first key whose secret stands in the text itself, NULL none. EINVAL with line and key, never
 * with a value of the text.
 */
struct mk_doc;
int mk_credentials_parse(struct mk_call *call, const char *where, struct mk_doc *doc,
			 struct mk_credentials **ret, const char **ret_plain) _must_check_;

/* What the vault keeps for a secret: it is bound to the origin it was set for. */
void mk_credentials_bind(struct mk_buf *ret, const char *origin, const char *secret);

/* Differs when the file or a secret of the connection was changed since: one stat(2) each, no
 * error (0: it is gone). A store opened with an older one is to be opened anew. */
uint64_t mk_credentials_generation(struct mantik *m, const char *name);

/* All of a peer but its headers. Texts are borrowed from credentials. */
void mk_credentials_peer(struct mk_credentials *credentials, struct mk_http_peer *ret);

/*
 * The mk_http_auth of a connection; arg: struct mk_credentials. Another origin than its own gets
 * nothing. ENOKEY the vault has no key or wants a passphrase; EKEYEXPIRED what a token_file or
 * token_command gives is empty or fails; EINTR, ETIMEDOUT of a command (10 s).
 */
int mk_credentials_auth(struct mk_call *call, void *arg, const char *origin, bool again,
			struct mk_buf *ret);

/*
 * The git connection for a uri: the one with the longest url the uri is at or below. 1, or 0 when
 * there is none. name: that connection and no other; EINVAL when it is of another kind or for
 * another place. Local disk only.
 */
int mk_credentials_for_git(struct mk_call *call, struct mantik *m, const char *uri, const char *name,
			   struct mk_credentials **ret) _must_check_;

/* User and password for a program that asks for them (git): the user is "" when there is none; a
 * token is the password. 1, or 0 when the connection has neither. The buffers are wiped by the
 * caller (mk_buf_wipe). */
int mk_credentials_login(struct mk_call *call, struct mk_credentials *credentials,
			 struct mk_buf *user, struct mk_buf *password) _must_check_;

#endif
