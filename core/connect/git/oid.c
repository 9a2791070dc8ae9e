/* SPDX-License-Identifier: Apache-2.0 */
/* Object ids as text. */
#include <errno.h>

#include "connect/git/git.h"

void mk_oid_text(const struct mk_oid *oid, char out[41])
{
	static const char digits[] = "0123456789abcdef";

	for (int i = 0; i < 20; i++) {
		out[2 * i] = digits[oid->b[i] >> 4];
		out[2 * i + 1] = digits[oid->b[i] & 15];
	}
	out[40] = 0;
}

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int mk_oid_parse(const char *text, struct mk_oid *ret)
{
	struct mk_oid oid;

	for (int i = 0; i < 20; i++) {
		int high = digit(text[2 * i]);
		int low = high < 0 ? -1 : digit(text[2 * i + 1]);

		if (low < 0)
			return -EINVAL;
		oid.b[i] = (unsigned char)(high * 16 + low);
	}
	if (text[40])
		return -EINVAL;
	*ret = oid;
	return 0;
}
