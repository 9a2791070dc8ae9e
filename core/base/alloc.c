/* SPDX-License-Identifier: Apache-2.0 */
/* Small fixed allocations: out of memory is the end of the program. What has its
 * size from outside uses struct mk_buf, which fails instead. */
#include <mantik/cleanup.h>

#include <string.h>

void *mk_alloc(size_t size)
{
	void *p = calloc(1, size ? size : 1);

	if (!p)
		abort();
	return p;
}

char *mk_strndup(const char *s, size_t n)
{
	if (!s)
		return NULL;
	n = strnlen(s, n);

	char *p = mk_alloc(n + 1);

	memcpy(p, s, n);
	return p;
}

char *mk_strdup(const char *s)
{
	return s ? mk_strndup(s, strlen(s)) : NULL;
}
