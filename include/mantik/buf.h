/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Growing bytes with a limit declared at birth, always followed by a NUL that does not count.
 *
 * The functions return 0, -EFBIG at the limit or -ENOMEM; after the first refusal the buffer keeps
 * it in `error`, later puts do nothing, so that a text may be written in one go and checked once
 * with mk_buf_check().
 */
#ifndef MANTIK_BUF_H
#define MANTIK_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include <mantik/cleanup.h>

struct mk_buf {
	char *data; /* NULL until the first byte */
	size_t len;
	size_t cap;
	size_t limit; /* most bytes it may hold */
	int error;    /* sticky, negative errno */
	bool secret;  /* nothing of it is left behind in memory when it grows or is freed */
};

#define MK_BUF(limit_)                      \
	(struct mk_buf)                     \
	{                                   \
		.limit = (size_t)(limit_)   \
	}

/* One that holds a secret. */
#define MK_BUF_SECRET(limit_)                               \
	(struct mk_buf)                                     \
	{                                                   \
		.limit = (size_t)(limit_), .secret = true   \
	}

enum {
	MK_LIMIT_TEXT = 1 << 20,      /* a spec or another text of ours */
	MK_LIMIT_BODY = 8 << 20,      /* a remote's answer */
	MK_LIMIT_TABLE = 1 << 30,     /* runs.tsv and the like */
};

int mk_buf_put(struct mk_buf *buf, const void *data, size_t len);
int mk_buf_puts(struct mk_buf *buf, const char *s);
int mk_buf_putc(struct mk_buf *buf, char c);
int mk_buf_printf(struct mk_buf *buf, const char *fmt, ...) _printf_(2, 3);
int mk_buf_vprintf(struct mk_buf *buf, const char *fmt, va_list ap) _printf_(2, 0);
/* Makes room for len more bytes and returns where they go; the caller adds to ->len. */
char *mk_buf_room(struct mk_buf *buf, size_t len);
void mk_buf_truncate(struct mk_buf *buf, size_t len);
/* The text, "" when empty; owned by the buffer. */
const char *mk_buf_text(const struct mk_buf *buf);
/* Hands the (NUL-terminated) bytes to the caller and empties the buffer. Never NULL. */
char *mk_buf_steal(struct mk_buf *buf);
void mk_buf_free(struct mk_buf *buf);
/* Overwrites what it holds, then as mk_buf_free. */
void mk_buf_wipe(struct mk_buf *buf);
static inline int mk_buf_check(const struct mk_buf *buf)
{
	return buf->error;
}

#define _cleanup_buf_ _cleanup_(mk_buf_free)
#define _cleanup_wipe_ _cleanup_(mk_buf_wipe)

/* An ordered list of strings it owns; at most 1e6 of them. */
struct mk_list {
	char **v;
	size_t n;
	size_t cap;
};

int mk_list_add(struct mk_list *list, const char *s) _must_check_;
int mk_list_add_n(struct mk_list *list, const char *s, size_t n) _must_check_;
bool mk_list_has(const struct mk_list *list, const char *s);
void mk_list_sort(struct mk_list *list);
void mk_list_free(struct mk_list *list);
#define _cleanup_list_ _cleanup_(mk_list_free)

/* Keys with texts, in the order they were added; a key occurs once. */
struct mk_pair {
	char *key;
	char *value;
};

struct mk_pairs {
	struct mk_pair *v;
	size_t n;
	size_t cap;
};

/* add: the key is known to be new. */
int mk_pairs_add(struct mk_pairs *pairs, const char *key, const char *value) _must_check_;
int mk_pairs_set(struct mk_pairs *pairs, const char *key, const char *value) _must_check_;
const char *mk_pairs_get(const struct mk_pairs *pairs, const char *key);
void mk_pairs_free(struct mk_pairs *pairs);
#define _cleanup_pairs_ _cleanup_(mk_pairs_free)

#endif
