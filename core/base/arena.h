/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that is given piece by piece and freed at once: a page of things and all their texts. */
#ifndef MK_ARENA_H
#define MK_ARENA_H

#include <stddef.h>

#include <mantik/cleanup.h>

struct mk_arena_block;
struct mk_arena {
	struct mk_arena_block *blocks;
	size_t total; /* bytes asked for */
};
/* 16-byte aligned, not cleared. NULL: out of memory. */
void *mk_arena_take(struct mk_arena *arena, size_t size);
/* A copy that ends in NUL. */
char *mk_arena_text(struct mk_arena *arena, const char *text, size_t len);
void mk_arena_free(struct mk_arena *arena);
#define _cleanup_arena_ _cleanup_(mk_arena_free)

/* Room for one more in an array that doubles in the arena; the new item (not cleared) or NULL. */
void *mk_arena_grow(struct mk_arena *arena, void *items, size_t *n, size_t *cap, size_t size);

#endif
