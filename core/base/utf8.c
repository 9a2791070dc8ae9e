/* SPDX-License-Identifier: Apache-2.0 */
/* See utf8.h. */
#include "base/utf8.h"

size_t mk_utf8_char(const char *s, size_t len, uint32_t *ret)
{
	static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
	unsigned char c = len ? (unsigned char)*s : 0xff;
	size_t more = c < 0x80 ? 0 : c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
	uint32_t code = more == 0 ? c : c & (0x3fu >> more);

	if ((c >= 0x80 && c < 0xc2) || c > 0xf4 || more >= len)
		return 0;
	for (size_t i = 1; i <= more; i++) {
		if (((unsigned char)s[i] & 0xc0) != 0x80) /* also at the end: a NUL */
			return 0;
		code = code << 6 | ((unsigned char)s[i] & 0x3fu);
	}
	if (code < least[more] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
		return 0;
	*ret = code;
	return more + 1;
}

size_t mk_utf8_bad(const char *text, size_t len)
{
	uint32_t code = 0;
	size_t i = 0;

	for (size_t n; i < len; i += n) {
		n = mk_utf8_char(text + i, len - i, &code);
		if (!n || !code)
			return i;
	}
	return len;
}
