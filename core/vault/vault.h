/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Secrets of connections: passwords and tokens, sealed in <config>/vault with AES-256-GCM. They can
 * be written and used, never read: others ask the vault to act.
 *
 *	connections/mlflow.yaml   password: (set)          what a person sees
 *	<config>/vault            mlflow/password -> …     sealed, 0600, replaced atomically
 *	<config>/vault.key        32 random bytes, 0600    option vault_key: file
 *	                          or scrypt of a passphrase, or of what a command prints
 *	<config>/vault.lock       one writer at a time, of vault and of connections/
 *
 * The whole file is one sealed text: a random nonce of 12 bytes and a new salt each time it is
 * written, header authenticated. Any thread; local disk only, except vault_key: command, which is a
 * program of this machine and may take 10 s: a thread that may wait for nothing is sent to the lane
 * "vault", any other runs it. What it prints is asked for once per process.
 */
#ifndef MK_VAULT_H
#define MK_VAULT_H

#include <mantik/buf.h>
#include <mantik/mantik.h>

/* ENOKEY the key is missing, readable by others, or asks for a passphrase nobody gave; EKEYREJECTED
 * it is the wrong one; EUCLEAN the vault is damaged (kept as it is); EROFS, EACCES <config> cannot
 * be written. */
int mk_vault_put(struct mk_call *call, struct mantik *m, const char *connection, const char *key,
		 const char *secret) _must_check_; /* NULL: removes it */
/* Several of one connection at once: all or none. What is not named stays. */
struct mk_vault_change {
	const char *key;
	const char *secret; /* NULL: removes it */
};
int mk_vault_change(struct mk_call *call, struct mantik *m, const char *connection,
		    const struct mk_vault_change *changes, size_t n) _must_check_;
int mk_vault_has(struct mk_call *call, struct mantik *m, const char *connection,
		 const char *key) _must_check_; /* 1 yes, 0 no */
/* All of a connection's. */
int mk_vault_forget(struct mk_call *call, struct mantik *m, const char *connection) _must_check_;
/* For the one use of a secret: appends it to a buffer the caller wipes (mk_buf_wipe). Only vault/
 * and connect/ may call it. ENOENT: it is not set. */
int mk_vault_use(struct mk_call *call, struct mantik *m, const char *connection, const char *key,
		 struct mk_buf *ret) _must_check_;

/* Holds what is changed in <config> for one process at a time: 5 s, then EBUSY. Not recursive: the
 * functions above that write take it themselves unless `held`. */
int mk_vault_lock(struct mk_call *call, struct mantik *m, int *ret_fd) _must_check_;
int mk_vault_change_held(struct mk_call *call, struct mantik *m, const char *connection,
			 const struct mk_vault_change *changes, size_t n) _must_check_;
/* Removes all of the connection's, but for those keys (NULL-terminated). */
int mk_vault_keep_held(struct mk_call *call, struct mantik *m, const char *connection,
		       const char *const *keys) _must_check_;

/*
 * Asks a person for the passphrase and appends it; fresh: a new one, to be typed twice. Set by
 * mantikctl on a terminal, before there are threads.
 */
typedef int mk_vault_ask(struct mk_call *call, void *arg, bool fresh, struct mk_buf *ret);
void mk_vault_asker(struct mantik *m, mk_vault_ask *ask, void *arg);

struct mk_vault *mk_vault_new(void);
void mk_vault_free(struct mk_vault *vault);

#endif
