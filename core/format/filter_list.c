/* SPDX-License-Identifier: Apache-2.0 */
/* The list of an IN. MLflow hands it to Python's reader of literals: this reads as much of those. */
#include "format/filter_list.h"

#include <errno.h>
#include <string.h>

enum { MAX_TEXT = 1 << 20 };

bool mk_is_quoted(const char *text, size_t len, char quote)
{
	return len >= 2 && text[0] == quote && text[len - 1] == quote;
}

struct at {
	const char *s, *end;
};

static void skip_space(struct at *at)
{
	while (at->s < at->end && strchr(" \t\n\r\f", *at->s) && *at->s)
		at->s++;
}

static void put_char(struct mk_buf *buf, unsigned c)
{
	if (c < 0x80) {
		(void)mk_buf_putc(buf, (char)c);
		return;
	}
	if (c >= 0x10000) {
		(void)mk_buf_putc(buf, (char)(0xF0 | c >> 18));
		(void)mk_buf_putc(buf, (char)(0x80 | (c >> 12 & 0x3F)));
	} else if (c >= 0x800) {
		(void)mk_buf_putc(buf, (char)(0xE0 | c >> 12));
	}
	if (c >= 0x800)
		(void)mk_buf_putc(buf, (char)(0x80 | (c >> 6 & 0x3F)));
	else
		(void)mk_buf_putc(buf, (char)(0xC0 | c >> 6));
	(void)mk_buf_putc(buf, (char)(0x80 | (c & 0x3F)));
}

static int digit_of(char c, int base)
{
	int d = c >= '0' && c <= '9' ? c - '0'
		: c >= 'a' && c <= 'f' ? c - 'a' + 10
		: c >= 'A' && c <= 'F' ? c - 'A' + 10
				       : base;

	return d < base ? d : -1;
}

/* Behind the backslash. False: no such character. */
static bool read_escape(struct at *at, struct mk_buf *buf)
{
	static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
	char c = *at->s++;
	const char *one = c ? strchr(from, c) : NULL;
	int least = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
	int base = least ? 16 : 8, most = least ? least : 3, n = 0;
	unsigned value = 0;

	if (c == '\n')
		return true;
	if (one) {
		(void)mk_buf_putc(buf, to[one - from]);
		return true;
	}
	if (!least)
		at->s--;
	for (; n < most && at->s < at->end && digit_of(*at->s, base) >= 0; n++)
		value = value << (base == 16 ? 4 : 3) | (unsigned)digit_of(*at->s++, base);
	if (n < least || (n > 0 && (value == 0 || value > 0x10FFFF ||
				    (value >= 0xD800 && value < 0xE000))))
		return false;
	if (n == 0) /* not an escape: both stay */
		(void)mk_buf_putc(buf, '\\');
	else
		put_char(buf, value);
	return true;
}

/* 1 a text, 0 something else, EINVAL a text without its end. */
static int read_text(struct at *at, struct mk_buf *buf)
{
	if (at->s >= at->end || (*at->s != '\'' && *at->s != '"'))
		return 0;

	char quote = *at->s++;

	while (at->s < at->end && *at->s != quote) {
		if (*at->s == '\n')
			return -EINVAL;
		if (*at->s == '\\' && at->s + 1 < at->end) {
			at->s++;
			if (!read_escape(at, buf))
				return -EINVAL;
		} else {
			(void)mk_buf_putc(buf, *at->s++);
		}
	}
	if (at->s >= at->end)
		return -EINVAL;
	at->s++;
	return 1;
}

static int read_item(struct at *at, struct mk_list *ret)
{
	_cleanup_buf_ struct mk_buf buf = MK_BUF(MAX_TEXT);
	int n = 0, r;

	while ((r = read_text(at, &buf)) > 0) {
		skip_space(at);
		n++;
	}
	if (r < 0 || n == 0)
		return -EINVAL;
	r = mk_buf_check(&buf);
	return r < 0 ? r : mk_list_add(ret, mk_buf_text(&buf));
}

static int bad_list(struct mk_call *call)
{
	return mk_fail(call, EINVAL,
		       "While parsing a list in the query, expected a non-empty list of string"
		       " values, but got ill-formed list: write ('a', 'b')");
}

int mk_filter_list(struct mk_call *call, const char *text, size_t len, struct mk_list *ret)
{
	_cleanup_list_ struct mk_list list = {};
	struct at at = {text + 1, text + len - 1};

	skip_space(&at);
	/* Brackets around the brackets change nothing. */
	while (at.s < at.end && *at.s == '(') {
		const char *end = at.end;

		while (end > at.s && strchr(" \t\n\r\f", end[-1]))
			end--;
		if (end == at.s || end[-1] != ')')
			return bad_list(call);
		at = (struct at){at.s + 1, end - 1};
		skip_space(&at);
	}
	do {
		int r = read_item(&at, &list);

		if (r == -EINVAL)
			return bad_list(call);
		if (r < 0)
			return mk_fail(call, -r, "a list in the filter is too long");
		if (at.s == at.end)
			break;
		if (*at.s++ != ',')
			return bad_list(call);
		skip_space(&at);
	} while (at.s < at.end);
	*ret = list;
	list = (struct mk_list){};
	return 0;
}
