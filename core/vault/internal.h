/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of vault/ share with nobody else. */
#ifndef MK_VAULT_INTERNAL_H
#define MK_VAULT_INTERNAL_H

#include <pthread.h>

#include "vault/vault.h"

enum {
	VAULT_KEY = 32,
	VAULT_SALT = 16,
	VAULT_NONCE = 12,
	VAULT_TEXT = 1 << 20,	/* most bytes of all secrets together */
	VAULT_SECRET = 1 << 16, /* … of one */
	VAULT_COST = 16,	/* scrypt: N = 2^16, r = 8, p = 1: 64 MiB, a quarter of a second */
	VAULT_COST_MIN = 14,
	VAULT_COST_MAX = 20,
};

/* One per struct mantik. */
struct mk_vault {
	mk_vault_ask *ask; /* set before there are threads */
	void *ask_arg;

	pthread_mutex_t lock; /* protects what follows; held for memory only */
	int cost;	      /* 0: there is no master yet */
	unsigned char salt[VAULT_SALT], master[VAULT_KEY]; /* of a passphrase, asked for once */
	bool asking;		/* a thread asks for the passphrase; who comes now waits for it */
	pthread_cond_t asked;	/* … no more */
	uint64_t n_asked;	/* how often that has ended */
	struct mk_error failed; /* how it ended last */
};

/* How the sealed file says its key is made: cost 0 the key file, else scrypt with this salt. */
struct vault_lock {
	int cost;
	unsigned char salt[VAULT_SALT];
};

/* --- seal.c: bytes in, bytes out --- */

/* How a sealed file is locked. EUCLEAN it is damaged or none of ours. */
int vault_look(struct mk_call *call, const char *path, const struct mk_buf *sealed,
	       struct vault_lock *ret) _must_check_;
/* EKEYREJECTED it was sealed with another key. */
int vault_unseal(struct mk_call *call, const char *path, const struct mk_buf *sealed,
		 const unsigned char key[VAULT_KEY], struct mk_buf *ret) _must_check_;
int vault_seal(struct mk_call *call, const struct vault_lock *lock,
	       const unsigned char key[VAULT_KEY], const struct mk_buf *text,
	       struct mk_buf *ret) _must_check_;

/* --- key.c --- */

/*
 * One thread of a process asks for a passphrase, for all: 0 it is this one, and vault_ask_end() comes
 * after vault_key() and vault_unseal(); 1 there is nothing to ask for, or it is known. Else what the
 * one that asked meanwhile was refused with; EINTR, ETIMEDOUT waiting for it; MK_PUNT.
 */
int vault_ask_begin(struct mk_call *call, struct mantik *m,
		    const struct vault_lock *lock) _must_check_;
void vault_ask_end(const struct mk_call *call, struct mantik *m, int result);
/* The key for a file that is locked so. */
int vault_key(struct mk_call *call, struct mantik *m, const struct vault_lock *lock,
	      unsigned char ret[VAULT_KEY]) _must_check_;
/* The lock and the key to seal with as the options say, made when there is none yet. was: how the
 * file was locked that is replaced, NULL there is none. */
int vault_new_key(struct mk_call *call, struct mantik *m, const struct vault_lock *was,
		  struct vault_lock *ret_lock, unsigned char ret[VAULT_KEY]) _must_check_;
/* The key was right: a passphrase is not asked for again. */
void vault_keep_key(struct mantik *m, const struct vault_lock *lock,
		    const unsigned char key[VAULT_KEY]);

#endif
