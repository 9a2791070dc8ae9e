/* SPDX-License-Identifier: Apache-2.0 */
/* See arena.h: blocks that only grow. */
#include "base/arena.h"

#include <string.h>

enum { BLOCK = 64 << 10 };

struct mk_arena_block {
	struct mk_arena_block *next;
	size_t used, size;
	_Alignas(16) char data[];
};

void *mk_arena_take(struct mk_arena *arena, size_t size)
{
	struct mk_arena_block *block = arena->blocks;

	size = (size + 15) & ~(size_t)15;
	if (!block || block->size - block->used < size) {
		size_t room = size > BLOCK ? size : BLOCK;

		block = malloc(sizeof(*block) + room);
		if (!block)
			return NULL;
		*block = (struct mk_arena_block){.next = arena->blocks, .size = room};
		arena->blocks = block;
	}
	block->used += size;
	arena->total += size;
	return block->data + block->used - size;
}

char *mk_arena_text(struct mk_arena *arena, const char *text, size_t len)
{
	char *to = mk_arena_take(arena, len + 1);

	if (!to)
		return NULL;
	if (len)
		memcpy(to, text, len);
	to[len] = 0;
	return to;
}

void mk_arena_free(struct mk_arena *arena)
{
	while (arena->blocks) {
		struct mk_arena_block *next = arena->blocks->next;

		free(arena->blocks);
		arena->blocks = next;
	}
	*arena = (struct mk_arena){};
}

void *mk_arena_grow(struct mk_arena *arena, void *items, size_t *n, size_t *cap, size_t size)
{
	char *v; /* *items, whatever its type */

	memcpy(&v, items, sizeof(v));
	if (*n == *cap) {
		size_t more = *cap ? *cap * 2 : 16;
		char *to = mk_arena_take(arena, more * size);

		if (!to)
			return NULL;
		if (*n)
			memcpy(to, v, *n * size);
		memcpy(items, &to, sizeof(to));
		v = to;
		*cap = more;
	}
	return v + (*n)++ * size;
}
