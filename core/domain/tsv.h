/* SPDX-License-Identifier: Apache-2.0 */
/* Values in TSV tables: tab, newline and backslash are `\t` `\n` `\\`; NULL is empty. */
#ifndef MK_TSV_H
#define MK_TSV_H

#include <mantik/buf.h>

static inline void mk_tsv_put(struct mk_buf *buf, const char *text)
{
	if (!text)
		return;
	for (;;) {
		size_t n = 0;

		while (text[n] && text[n] != '\t' && text[n] != '\n' && text[n] != '\\')
			n++;
		(void)mk_buf_put(buf, text, n);
		if (!text[n])
			return;
		(void)mk_buf_puts(buf, text[n] == '\t' ? "\\t" : text[n] == '\n' ? "\\n" : "\\\\");
		text += n + 1;
	}
}

#endif
