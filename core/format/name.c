/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names between what a person gave and a directory entry: see mantik/name.h. Pure text, any thread.
 *
 * Unescaping decodes and then escapes again: what does not come back the same is no entry of ours,
 * so that a name can never be reached in two ways.
 */
#include <mantik/name.h>

#include <errno.h>
#include <string.h>

#include "base/hash.h"

/* Behind a cut name: `%~` and 16 digits of its hash. `%~` is escaped wherever a name holds it. */
enum { HASH_DIGITS = 16, CUT_LEN = 2 + HASH_DIGITS };

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

static bool needs_escape(const char *name, size_t len, size_t i, bool is_key)
{
	unsigned char c = (unsigned char)name[i];

	if (c < 0x20 || c == 0x7f || c == '/' || (c == '.' && i == 0))
		return true;
	if (c != '%')
		return false;
	if (i + 1 == len)
		return is_key;
	if (name[i + 1] == '~')
		return true;
	return i + 2 < len && hex_value(name[i + 1]) >= 0 && hex_value(name[i + 2]) >= 0;
}

/* The escaped bytes of name[i] into out; returns how many. */
static size_t escape_byte(const char *name, size_t len, size_t i, bool is_key, char out[3])
{
	static const char digits[] = "0123456789ABCDEF";

	if (!needs_escape(name, len, i, is_key)) {
		out[0] = name[i];
		return 1;
	}
	out[0] = '%';
	out[1] = digits[(unsigned char)name[i] >> 4];
	out[2] = digits[(unsigned char)name[i] & 15];
	return 3;
}

/* Adds the escaped name in at most `most` bytes. */
static int escape(struct mk_buf *buf, const char *name, size_t len, size_t most, bool is_key)
{
	size_t begin = buf->len, fits = buf->len;

	if (!len)
		return mk_buf_putc(buf, '%');
	for (size_t i = 0; i < len; i++) {
		char out[3];
		size_t n = escape_byte(name, len, i, is_key, out);

		if (mk_buf_put(buf, out, n) < 0)
			return mk_buf_check(buf);
		/* A place to cut: not inside an escape, nor (as far as it is UTF-8) a character. */
		bool ends_char = i + 1 == len || ((unsigned char)name[i + 1] & 0xc0) != 0x80;

		if (ends_char && buf->len - begin <= most - CUT_LEN)
			fits = buf->len;
		if (buf->len - begin <= most)
			continue;

		char hash[65];

		/* Continuation bytes without end: then anywhere will do. */
		if (fits == begin)
			fits = begin + most - CUT_LEN;
		mk_sha256_hex(name, len, hash);
		mk_buf_truncate(buf, fits);
		(void)mk_buf_puts(buf, "%~");
		return mk_buf_put(buf, hash, HASH_DIGITS);
	}
	return mk_buf_check(buf);
}

int mk_name_escape(struct mk_buf *buf, const char *name, size_t len)
{
	return escape(buf, name, len, MK_NAME_MAX, false);
}

static bool is_cut(const char *entry, size_t len)
{
	if (len < CUT_LEN + 1 || memcmp(entry + len - CUT_LEN, "%~", 2) != 0)
		return false;
	for (size_t i = len - HASH_DIGITS; i < len; i++)
		if (hex_value(entry[i]) < 0)
			return false;
	return true;
}

/* What an entry reads as; whether it is one of ours is another question. */
static void decode(struct mk_buf *name, const char *entry, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		int high = -1, low = -1;

		if (entry[i] == '%' && i + 2 < len) {
			high = hex_value(entry[i + 1]);
			low = hex_value(entry[i + 2]);
		}
		if (high >= 0 && low >= 0) {
			(void)mk_buf_putc(name, (char)(high << 4 | low));
			i += 2;
		} else {
			(void)mk_buf_putc(name, entry[i]);
		}
	}
}

static int unescape(struct mk_buf *buf, const char *entry, size_t len, bool is_key)
{
	_cleanup_buf_ struct mk_buf name = MK_BUF(MK_NAME_MAX), again = MK_BUF(MK_NAME_MAX);

	if (!len || len > MK_NAME_MAX)
		return -EINVAL;
	if (is_cut(entry, len))
		return -ENOENT;
	decode(&name, entry, len);
	if (is_key && len == 1 && entry[0] == '%')
		mk_buf_truncate(&name, 0);
	if (mk_buf_check(&name) < 0)
		return mk_buf_check(&name);
	if (escape(&again, mk_buf_text(&name), name.len, MK_NAME_MAX, is_key) < 0 ||
	    again.len != len || memcmp(again.data, entry, len) != 0)
		return -EINVAL;
	return mk_buf_put(buf, mk_buf_text(&name), name.len);
}

int mk_name_unescape(struct mk_buf *buf, const char *entry, size_t len)
{
	return unescape(buf, entry, len, false);
}

bool mk_name_is(const char *entry, const char *name)
{
	_cleanup_buf_ struct mk_buf own = MK_BUF(MK_NAME_MAX + 3);

	return mk_name_escape(&own, name, strlen(name)) == 0 &&
	       strcmp(mk_buf_text(&own), entry) == 0;
}

int mk_key_escape(struct mk_buf *buf, const char *key)
{
	for (;;) {
		size_t n = strcspn(key, "/");

		if (escape(buf, key, n, MK_NAME_MAX, true) < 0 || !key[n])
			return mk_buf_check(buf);
		(void)mk_buf_putc(buf, '/');
		key += n + 1;
	}
}

int mk_key_part(struct mk_buf *buf, const char *part, size_t len, bool marked)
{
	int r = escape(buf, part, len, MK_NAME_MAX - marked, true);

	return r == 0 && marked ? mk_buf_putc(buf, '%') : r;
}

int mk_key_part_read(struct mk_buf *buf, const char *entry, size_t len)
{
	_cleanup_buf_ struct mk_buf part = MK_BUF(MK_NAME_MAX);
	int r = unescape(&part, entry, len, true);

	if (r == -ENOENT)
		decode(&part, entry, len - CUT_LEN);
	else if (r < 0)
		return r;
	/* An escaped `/` or NUL inside a part: no key has that. */
	if (memchr(mk_buf_text(&part), '/', part.len) || memchr(mk_buf_text(&part), 0, part.len))
		return -EINVAL;
	if (mk_buf_put(buf, mk_buf_text(&part), part.len) < 0)
		return mk_buf_check(buf);
	return r;
}

int mk_key_unescape(struct mk_buf *buf, const char *path)
{
	_cleanup_buf_ struct mk_buf key = MK_BUF(MK_LIMIT_TEXT);

	for (;;) {
		size_t n = strcspn(path, "/");
		int r = mk_key_part_read(&key, path, n);

		if (r < 0)
			return r;
		if (!path[n])
			return mk_buf_put(buf, mk_buf_text(&key), key.len);
		(void)mk_buf_putc(&key, '/');
		path += n + 1;
	}
}

int mk_name_run_dir(struct mk_buf *buf, const char *name, const char *uid, int digits)
{
	size_t n = strlen(uid);

	if (digits > 0 && (size_t)digits < n)
		n = (size_t)digits;
	if (escape(buf, name, strlen(name), MK_NAME_MAX - 1 - n, false) < 0)
		return mk_buf_check(buf);
	(void)mk_buf_putc(buf, '.');
	return mk_buf_put(buf, uid, n);
}
