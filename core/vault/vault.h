/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Secrets of connections: passwords and tokens, sealed in <config>/vault with AES-256-GCM. They can
 * be written and used, never read: others ask the vault to act.
 *
 *	connections/mlflow.yaml   password: (set)          what a person sees
 *	<config>/vault            mlflow/password -> …     sealed, 0600, replaced atomically
 *	<config>/vault.key        32 random bytes, 0600    option vault_key: file
 *	                          or scrypt of a passphrase, or what a command prints
 *
 * The whole file is one sealed text: a random nonce of 12 bytes and a new salt each time it is
 * written, header authenticated. Any thread; local disk only, except vault_key: command, which is a
 * program and may take 10 s (lane "vault", asked once per process).
 */
#ifndef MK_VAULT_H
#define MK_VAULT_H

#include <mantik/buf.h>
#include <mantik/mantik.h>

/* ENOKEY the key is missing or asks for a passphrase nobody gave; EKEYREJECTED it is the wrong one;
 * EUCLEAN the vault is damaged (kept as it is). */
int mk_vault_put(struct mk_call *call, struct mantik *m, const char *connection, const char *key,
		 const char *secret) _must_check_; /* NULL: removes it */
int mk_vault_has(struct mk_call *call, struct mantik *m, const char *connection,
		 const char *key) _must_check_; /* 1 yes, 0 no */
/* All of a connection's. */
int mk_vault_forget(struct mk_call *call, struct mantik *m, const char *connection) _must_check_;
/* For the one use of a secret: appends it to a buffer the caller wipes (mk_buf_wipe). Only vault/
 * and connect/ may call it. ENOENT: it is not set. */
int mk_vault_use(struct mk_call *call, struct mantik *m, const char *connection, const char *key,
		 struct mk_buf *ret) _must_check_;

#endif
