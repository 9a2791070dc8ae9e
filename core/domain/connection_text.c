/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a secret stands in a text, the parser tells: from where to where, in characters. It is cut
 * out there, whatever its style, and `(set)` put in its place:
 *
 *	password: hunter2  # old        password: (set)  # old
 *	password: "hun\ter2"            password: (set)
 *	password: |                     password: (set)
 *	  hunter2
 *	{"password":"x"}                {"password":"(set)"}
 *
 * What came of it is parsed again: unless it says the same but for the secrets, the text is
 * refused. So it does not matter what YAML can do that was not thought of here.
 */
#include "domain/connection_text.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "base/doc.h"

const char *const mk_secret_keys[MK_CONNECTION_KEYS] = {"password", "token"};

static void wipe_doc(struct mk_doc *doc)
{
	if (!doc)
		return;
	if (doc->text)
		explicit_bzero(doc->text, strlen(doc->text));
	for (size_t i = 0; i < doc->n; i++)
		wipe_doc(doc->items[i]);
}

void mk_connection_doc_free(struct mk_doc **doc)
{
	wipe_doc(*doc);
	mk_doc_free(*doc);
	*doc = NULL;
}

static struct mk_doc *value_of(const struct mk_doc *doc, const char *key)
{
	for (size_t i = 0; doc->type == MK_DOC_MAP && i < doc->n; i++)
		if (strcmp(doc->keys[i]->text, key) == 0)
			return doc->items[i];
	return NULL;
}

static bool is_secret(const char *key)
{
	for (size_t i = 0; i < MK_CONNECTION_KEYS; i++)
		if (strcmp(mk_secret_keys[i], key) == 0)
			return true;
	return false;
}

static bool is_plain_secret(const struct mk_doc *node)
{
	return node && node->type == MK_DOC_SCALAR && *node->text &&
	       strcmp(node->text, "(set)") != 0;
}

static int line_of(const char *text, const char *at)
{
	int line = 1;

	for (const char *c = text; c < at; c++)
		line += *c == '\n';
	return line;
}

/* Where a line's key ends when it is one of a secret: behind the colon and the blanks after it;
 * NULL: it is none. `password : x`, `"password":x`, `{kind: git, token: x}`. */
static const char *behind_key(const char *word, const char *key)
{
	word += strlen(key);
	word += *word == '"' || *word == '\'';
	word += strspn(word, " \t");
	if (*word != ':')
		return NULL;
	word++;
	return word + strspn(word, " \t");
}

/* Not the end of a longer word, and not in a comment. */
static bool begins_word(const char *text, const char *at)
{
	if (at > text && !strchr(" \t\n\r\"'{,", at[-1]))
		return false;
	while (at > text && at[-1] != '\n')
		if (*--at == '#')
			return false;
	return true;
}

/*
 * An unquoted secret that begins with one of these is no text to YAML, and part of it would come
 * back in an error or stay in the file: `#` a comment, `!` a tag, `&` an anchor, `*` an alias.
 */
static int check_quotes(struct mk_call *call, const char *where, const char *text)
{
	for (size_t i = 0; i < MK_CONNECTION_KEYS; i++) {
		const char *key = mk_secret_keys[i];

		for (const char *at = text; (at = strstr(at, key)); at++) {
			const char *value = begins_word(text, at) ? behind_key(at, key) : NULL;

			if (value && *value && strchr("#!&*", *value))
				return mk_fail(call, EINVAL,
					       "%s:%d: %s: one that begins with %c must stand "
					       "between quotes: '%c…'",
					       where, line_of(text, at), key, *value, *value);
		}
	}
	return 0;
}

/* The parser repeats tags and aliases: behind a key that is spelt wrong they may be a secret. */
static int without_words(struct mk_call *call, int r)
{
	const char *text = call->error.text ? call->error.text : "";
	const char *at = strstr(text, ": the tag ");

	if (!at)
		at = strstr(text, ": *");
	if (!at)
		return r;

	_cleanup_free_ char *where = mk_strndup(text, (size_t)(at - text));

	return mk_fail(call, -r, "%s: a text that begins with ! or * must stand between quotes", where);
}

/* The end of the last line of a block is not part of a secret. */
static void trim_block(struct mk_doc *node)
{
	size_t len = node && node->text ? strlen(node->text) : 0;

	while (len && (node->style == '|' || node->style == '>') && node->text[len - 1] == '\n')
		node->text[--len] = 0;
}

int mk_connection_parse(struct mk_call *call, const char *where, const char *text, size_t len,
			struct mk_doc **ret_doc, struct mk_credentials **ret,
			struct mk_secret secrets[MK_CONNECTION_KEYS])
{
	_cleanup_(mk_connection_doc_free) struct mk_doc *doc = NULL;
	const char *plain;
	int r;

	if (len > MK_CONNECTION_MAX)
		return mk_fail(call, EFBIG, "%s: is over 64 KiB", where);
	if (len && memchr(text, 0, len))
		return mk_fail(call, EINVAL, "%s: holds a NUL byte", where);
	r = check_quotes(call, where, text);
	if (r == 0) {
		r = mk_doc_parse(call, where, text, len, &doc);
		if (r < 0)
			return without_words(call, r);
	}
	for (size_t i = 0; r == 0 && i < MK_CONNECTION_KEYS; i++)
		trim_block(value_of(doc, mk_secret_keys[i]));
	if (r == 0)
		r = mk_credentials_parse(call, where, doc, ret, &plain);
	if (r < 0)
		return r;
	for (size_t i = 0; i < MK_CONNECTION_KEYS; i++) {
		struct mk_doc *node = value_of(doc, mk_secret_keys[i]);

		secrets[i] = (struct mk_secret){
			.key = mk_secret_keys[i],
			.value = is_plain_secret(node) ? node->text : NULL,
			.is_set = node && node->type == MK_DOC_SCALAR &&
				  strcmp(node->text, "(set)") == 0,
			.line = node ? node->line : 0,
		};
	}
	*ret_doc = mk_steal(&doc);
	return 0;
}

/* --- hiding ------------------------------------------------------------------------------- */

/* Byte offset of the nth character. */
static size_t byte_of(const char *text, size_t len, size_t nth)
{
	size_t at = 0;

	for (; nth && at < len; nth--)
		do
			at++;
		while (at < len && ((unsigned char)text[at] & 0xc0) == 0x80);
	return at;
}

/* The comment on the line of a block's `|`, with the blank before it. */
static void put_header_comment(struct mk_buf *ret, const char *begin, const char *end)
{
	const char *eol = memchr(begin, '\n', (size_t)(end - begin));
	const char *hash = memchr(begin, '#', (size_t)((eol ? eol : end) - begin));

	if (hash)
		(void)mk_buf_printf(ret, "  %.*s", (int)((eol ? eol : end) - hash), hash);
}

static void hide(const char *text, size_t len, const struct mk_doc *doc, bool quoted,
		 struct mk_buf *ret)
{
	size_t done = 0;

	/* In the order of the text: a map keeps it. */
	for (size_t i = 0; i < doc->n; i++) {
		const struct mk_doc *node = doc->items[i];

		if (!is_secret(doc->keys[i]->text) || !is_plain_secret(node))
			continue;

		size_t begin = byte_of(text, len, node->begin), end = byte_of(text, len, node->end);

		(void)mk_buf_put(ret, text + done, begin - done);
		(void)mk_buf_puts(ret, quoted ? "\"(set)\"" : "(set)");
		if (node->style == '|' || node->style == '>') {
			put_header_comment(ret, text + begin, text + end);
			(void)mk_buf_putc(ret, '\n');
		}
		done = end;
	}
	(void)mk_buf_put(ret, text + done, len - done);
}

/* Do both say the same, but for the secrets, which the second does not tell? */
static bool says_the_same(const struct mk_doc *a, const struct mk_doc *b, bool top)
{
	if (a->type != b->type || a->n != b->n || !a->text != !b->text)
		return false;
	if (a->text && strcmp(a->text, b->text) != 0)
		return false;
	for (size_t i = 0; i < a->n; i++) {
		if (a->keys && strcmp(a->keys[i]->text, b->keys[i]->text) != 0)
			return false;
		if (top && a->keys && is_secret(a->keys[i]->text) &&
		    a->items[i]->type == MK_DOC_SCALAR) {
			if (b->items[i]->type != MK_DOC_SCALAR ||
			    strcmp(b->items[i]->text, *a->items[i]->text ? "(set)" : "") != 0)
				return false;
		} else if (!says_the_same(a->items[i], b->items[i], false)) {
			return false;
		}
	}
	return true;
}

static bool in_a_value(const char *text, size_t len, const struct mk_doc *doc, size_t begin,
		       size_t end)
{
	if (doc->type == MK_DOC_SCALAR)
		return byte_of(text, len, doc->begin) <= begin &&
		       end <= byte_of(text, len, doc->end);
	for (size_t i = 0; i < doc->n; i++)
		if (in_a_value(text, len, doc->items[i], begin, end))
			return true;
	return false;
}

/* A secret that was copied into a comment would stay there for everybody to read. */
static int check_comments(struct mk_call *call, const char *where, const struct mk_buf *text,
			  const struct mk_doc *old, const struct mk_doc *doc)
{
	for (size_t i = 0; i < MK_CONNECTION_KEYS; i++) {
		const struct mk_doc *node = value_of(old, mk_secret_keys[i]);
		const char *found, *from = mk_buf_text(text);

		if (!is_plain_secret(node) || strlen(node->text) < 6)
			continue;
		for (; (found = strstr(from, node->text)); from = found + 1) {
			size_t begin = (size_t)(found - mk_buf_text(text));

			if (!in_a_value(mk_buf_text(text), text->len, doc, begin,
					begin + strlen(node->text)))
				return mk_fail(call, EINVAL,
					       "%s:%d: the %s stands in a comment, too, where it "
					       "would stay readable: take it out",
					       where, line_of(mk_buf_text(text), found),
					       mk_secret_keys[i]);
		}
	}
	return 0;
}

int mk_connection_hide(struct mk_call *call, const char *where, const char *text, size_t len,
		       struct mk_doc *doc, struct mk_buf *ret)
{
	for (int quoted = 0; quoted < 2; quoted++) {
		_cleanup_(mk_doc_freep) struct mk_doc *again = NULL;

		mk_buf_truncate(ret, 0);
		hide(text, len, doc, quoted, ret);
		if (mk_buf_check(ret) < 0)
			return mk_fail(call, EFBIG, "%s: is too long", where);
		if (mk_doc_parse(call, where, mk_buf_text(ret), ret->len, &again) == 0 &&
		    says_the_same(doc, again, true))
			return check_comments(call, where, ret, doc, again);
		mk_error_clear(call);
	}
	mk_buf_truncate(ret, 0);
	return mk_fail(
		call, EINVAL,
		"%s: a secret is written in a way that cannot be hidden: write it as one line of "
		"its own, password: '…'",
		where);
}

static size_t indent_of(const char *line, size_t len)
{
	size_t n = 0;

	while (n < len && (line[n] == ' ' || line[n] == '\t'))
		n++;
	return n;
}

void mk_connection_hide_lines(const char *text, size_t len, struct mk_buf *ret)
{
	bool hiding = false;
	size_t indent = 0;

	for (size_t at = 0, n; at < len; at += n) {
		const char *line = text + at, *eol = memchr(line, '\n', len - at), *value = NULL;

		n = eol ? (size_t)(eol - line) + 1 : len - at;
		if (hiding && (indent_of(line, n) > indent || *line == '\n'))
			continue;
		hiding = false;
		for (size_t i = 0; i < MK_CONNECTION_KEYS; i++) {
			const char *key = mk_secret_keys[i];

			for (const char *word = line;
			     (word = memmem(word, n - (size_t)(word - line), key, strlen(key)));
			     word++) {
				const char *v =
					begins_word(line, word) ? behind_key(word, key) : NULL;

				if (v && v < line + n && *v != '\n' && (!value || v < value))
					value = v;
			}
		}
		if (!value) {
			(void)mk_buf_put(ret, line, n);
			continue;
		}
		(void)mk_buf_put(ret, line, (size_t)(value - line));
		(void)mk_buf_puts(ret, "(set)\n");
		hiding = true;
		indent = indent_of(line, n);
	}
}

/* --- adding ------------------------------------------------------------------------------- */

int mk_connection_add_line(struct mk_call *call, const char *where, const char *text, size_t len,
			   struct mk_doc *doc, const char *key, struct mk_buf *ret)
{
	_cleanup_(mk_doc_freep) struct mk_doc *again = NULL;
	const struct mk_doc *user = value_of(doc, "user"), *value;
	size_t at = len;

	/* The line after `user: …`, when that is one line. */
	if (user && user->type == MK_DOC_SCALAR) {
		size_t end = byte_of(text, len, user->end);
		const char *eol = memchr(text + end, '\n', len - end);

		at = eol ? (size_t)(eol - text) + 1 : len;
	}
	(void)mk_buf_put(ret, text, at);
	if (at && text[at - 1] != '\n')
		(void)mk_buf_putc(ret, '\n');
	(void)mk_buf_printf(ret, "%s: (set)\n", key);
	(void)mk_buf_put(ret, text + at, len - at);
	if (mk_buf_check(ret) == 0 &&
	    mk_doc_parse(call, where, mk_buf_text(ret), ret->len, &again) == 0) {
		value = value_of(again, key);
		if (again->n == doc->n + 1 && value && value->text &&
		    strcmp(value->text, "(set)") == 0)
			return 0;
	}
	mk_error_clear(call);
	return mk_fail(call, EINVAL, "%s: add the line `%s: (set)` by hand, then log in again",
		       where, key);
}
