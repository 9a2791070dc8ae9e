/* SPDX-License-Identifier: Apache-2.0 */
/* See paging.h. MLflow's token of a page is {"offset": N} in base64: so is ours, clients that count
 * on it exist. */
#include "serve/paging.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/file.h"

enum { MAX_TOKEN = 1 << 20 };

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *serve_token_make(const char *text)
{
	size_t len = strlen(text);
	char *token = mk_alloc((len + 2) / 3 * 4 + 1), *at = token;

	for (size_t i = 0; i < len; i += 3) {
		unsigned bits = 0;

		for (size_t k = 0; k < 3; k++)
			bits = bits << 8 | (i + k < len ? (unsigned char)text[i + k] : 0);
		for (size_t k = 0; k < 4; k++)
			*at++ = i + k <= len ? alphabet[bits >> (18 - 6 * k) & 63] : '=';
	}
	return token;
}

static int bad(struct serve_request *rq, const char *why)
{
	return serve_fail(rq, "INVALID_PARAMETER_VALUE", "Invalid page token, %s", why);
}

int serve_token_read(struct serve_request *rq, const char *token, struct mk_buf *ret)
{
	unsigned bits = 0;
	int n = 0;

	for (; *token && *token != '='; token++) {
		const char *digit = strchr(alphabet, *token);

		if (!digit) /* as Python: what is not of the alphabet is not there */
			continue;
		bits = bits << 6 | (unsigned)(digit - alphabet);
		if (++n % 4 == 0)
			for (int shift = 16; shift >= 0; shift -= 8)
				(void)mk_buf_putc(ret, (char)(bits >> shift & 255));
	}
	if (n % 4 == 1 || (n % 4 && strlen(token) < (size_t)(4 - n % 4)))
		return bad(rq, "could not base64-decode");
	if (n % 4 == 3)
		(void)mk_buf_putc(ret, (char)(bits >> 10 & 255));
	if (n % 4)
		(void)mk_buf_putc(ret, (char)(bits >> (n % 4 == 3 ? 2 : 4) & 255));
	return mk_buf_check(ret) < 0 ? bad(rq, "it is too long") : 0;
}

char *serve_page_token(int64_t offset)
{
	_cleanup_free_ char *text = mk_strf("{\"offset\": %lld}", (long long)offset);

	return serve_token_make(text);
}

static int read_offset(struct serve_request *rq, const char *token, int64_t *ret)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF(MAX_TOKEN);
	int r = serve_token_read(rq, token, &text);

	if (r < 0)
		return r;

	json_t *parsed = json_loadb(mk_buf_text(&text), text.len, 0, NULL);
	json_t *offset = json_object_get(parsed, "offset");

	if (json_is_integer(offset) && json_integer_value(offset) > 0)
		*ret = json_integer_value(offset);
	else
		r = bad(rq, "it has no offset");
	json_decref(parsed);
	return r;
}

int serve_page(struct serve_request *rq, int64_t standard, int64_t most, int64_t *ret_limit,
	       int64_t *ret_offset)
{
	const char *token = "";
	int64_t limit = standard, offset = 0;
	int r = serve_int(rq, "max_results", false, &limit);

	if (r < 0)
		return r;
	if (limit < 1)
		return serve_fail(rq, "INVALID_PARAMETER_VALUE",
				  "Invalid value %lld for parameter 'max_results' supplied. It must be "
				  "a positive integer",
				  (long long)limit);
	if (limit > most)
		return serve_fail(rq, "INVALID_PARAMETER_VALUE",
				  "Invalid value %lld for parameter 'max_results' supplied. It must be "
				  "at most %lld",
				  (long long)limit, (long long)most);
	r = serve_text(rq, "page_token", false, &token);
	if (r >= 0 && *token)
		r = read_offset(rq, token, &offset);
	if (r < 0)
		return r;
	*ret_limit = limit;
	*ret_offset = offset;
	return 0;
}

/* --- JSON ------------------------------------------------------------------------------------ */

void serve_put_text(struct mk_buf *out, const char *text)
{
	static const char plain[256] = {['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r',
					['\t'] = 't', ['"'] = '"',  ['\\'] = '\\'};

	(void)mk_buf_putc(out, '"');
	for (;;) {
		const char *from = text;

		while ((unsigned char)*text >= 0x20 && *text != '"' && *text != '\\')
			text++;
		(void)mk_buf_put(out, from, (size_t)(text - from));
		if (!*text)
			break;

		unsigned char c = (unsigned char)*text++;

		if (plain[c])
			(void)mk_buf_put(out, (char[]){'\\', plain[c]}, 2);
		else
			(void)mk_buf_printf(out, "\\u%04x", c);
	}
	(void)mk_buf_putc(out, '"');
}

void serve_put_number(struct mk_buf *out, double value)
{
	char text[32];

	if (isfinite(value)) {
		size_t n = mk_double_put(value, text);

		(void)mk_buf_put(out, text, n);
		/* Readers that tell ints from floats see the latter. */
		if (!memchr(text, '.', n) && !memchr(text, 'e', n))
			(void)mk_buf_put(out, ".0", 2);
		return;
	}
	(void)mk_buf_puts(out, isnan(value) ? "\"NaN\""
			       : value > 0 ? "\"Infinity\""
					   : "\"-Infinity\"");
}
