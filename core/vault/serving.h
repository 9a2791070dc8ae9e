/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the embedded tracking server is and what opens it, for who starts clients of it (jobs,
 * mantikctl env) and for the server itself. Two files of the data directory, 0600:
 *
 *	<data>/serve.address	http://127.0.0.1:23456 , kept for the next mantikd
 *	<data>/serve.token	64 hex digits
 *
 * The token is not in the vault: it protects nothing that its owner could not read anyway, and a job
 * started at night has nobody to ask for a passphrase.
 */
#ifndef MK_SERVING_H
#define MK_SERVING_H

#include "core.h"

/* The port of the address; ENOENT none has been served yet. */
int mk_serving_port(struct mk_call *call, const struct mantik *m, int *ret) _must_check_;
/* Remembers the port; only mantikd, once it listens. */
int mk_serving_remember(struct mk_call *call, const struct mantik *m, int port) _must_check_;
/*
 * Who listens on a port of loopback: 1 a process of this user, 0 nobody, EACCES another user's. Asked
 * before a token is given to whoever is there: while no mantikd runs, anybody may take its port.
 */
int mk_serving_listens(struct mk_call *call, int port) _must_check_;
/* The address for clients, of one project when its name is given: http://127.0.0.1:PORT/projects/p */
int mk_serving_url(struct mk_call *call, const struct mantik *m, const char *project,
		   struct mk_buf *ret) _must_check_;
/* The token: 64 hex digits. ENOENT none yet; EACCES the file is open to others. */
int mk_serving_token(struct mk_call *call, const struct mantik *m, struct mk_buf *ret) _must_check_;
/* A new one in its place. */
int mk_serving_token_make(struct mk_call *call, const struct mantik *m,
			  struct mk_buf *ret) _must_check_;

#endif
