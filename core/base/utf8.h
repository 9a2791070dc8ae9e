/* SPDX-License-Identifier: Apache-2.0 */
/* UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, at most U+10FFFF. */
#ifndef MK_UTF8_H
#define MK_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* The character that begins at s, of at most len bytes (a NUL ends one, too, so that 4 does for
 * a terminated text): its length, and what it is in *ret; or 0, there is none. NUL is one. */
size_t mk_utf8_char(const char *s, size_t len, uint32_t *ret);
/* The offset of the first byte that is not UTF-8 or is NUL; len when there is none. */
size_t mk_utf8_bad(const char *text, size_t len);

#endif
