/* SPDX-License-Identifier: Apache-2.0 */
/* Secrets in the text of a connection: found, taken out, hidden. No disk, no vault. Every text ends
 * with a NUL that does not count. */
#ifndef MK_CONNECTION_TEXT_H
#define MK_CONNECTION_TEXT_H

#include <mantik/connection.h>

#include "vault/credentials.h"

enum { MK_CONNECTION_KEYS = 2, MK_CONNECTION_MAX = 1 << 16 };

/* What stands in a text in plain; values are the doc's own. */
struct mk_secret {
	const char *key;
	const char *value; /* NULL: (set) or not there */
	bool is_set;	   /* `(set)` */
	int line;
};

/* The keys that are secret, of all kinds: "password", "token". */
extern const char *const mk_secret_keys[MK_CONNECTION_KEYS];

/*
 * Reads a text: what it says and which secrets are in it. The doc must outlive both and is freed by
 * mk_connection_doc_free(), which wipes it. EINVAL with line and key, never with a value.
 */
struct mk_doc;
int mk_connection_parse(struct mk_call *call, const char *where, const char *text, size_t len,
			struct mk_doc **ret_doc, struct mk_credentials **ret,
			struct mk_secret secrets[MK_CONNECTION_KEYS]) _must_check_;
void mk_connection_doc_free(struct mk_doc **doc);

/*
 * The text with `(set)` in the place of each secret and everything else to the letter. EINVAL when
 * that cannot be done, or when a secret stands in a comment, too.
 */
int mk_connection_hide(struct mk_call *call, const char *where, const char *text, size_t len,
		       struct mk_doc *doc, struct mk_buf *ret) _must_check_;

/* The same for a text nobody can read: whatever follows a secret's key in its line, and the lines
 * indented below it. */
void mk_connection_hide_lines(const char *text, size_t len, struct mk_buf *ret);

/* Adds the line `key: (set)` to a text that has no such key, after `user:` if there is one. */
int mk_connection_add_line(struct mk_call *call, const char *where, const char *text, size_t len,
			   struct mk_doc *doc, const char *key, struct mk_buf *ret) _must_check_;

#endif
