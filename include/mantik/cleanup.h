/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scope-bound cleanup: every pointer that owns something is declared with _cleanup_(…), and
 * handed on with mk_steal(). A destructor takes NULL.
 */
#ifndef MANTIK_CLEANUP_H
#define MANTIK_CLEANUP_H

#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))
#define _printf_(a, b) __attribute__((format(printf, a, b)))
#define _must_check_ __attribute__((warn_unused_result))

/* Takes the value out of *p and leaves NULL: the cleanup then has nothing to do. */
#define mk_steal(p)                     \
	({                              \
		__typeof__(p) p_ = (p); \
		__typeof__(*p_) v_ = *p_; \
		*p_ = NULL;             \
		v_;                     \
	})

static inline void mk_freep(void *p)
{
	free(*(void **)p);
	*(void **)p = NULL;
}

static inline void mk_closep(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static inline int mk_steal_fd(int *fd)
{
	int v = *fd;

	*fd = -1;
	return v;
}

#define _cleanup_free_ _cleanup_(mk_freep)
#define _cleanup_close_ _cleanup_(mk_closep)

/* Allocation of small fixed things: aborts when out of memory. */
void *mk_alloc(size_t size);	     /* zeroed */
char *mk_strdup(const char *s);	     /* NULL stays NULL */
char *mk_strndup(const char *s, size_t n);
#define mk_new(type) ((type *)mk_alloc(sizeof(type)))

#endif
