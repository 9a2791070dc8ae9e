/* SPDX-License-Identifier: Apache-2.0 */
/* Copying a document, and laying one over another (defaults, override:): see doc.h. */
#include "base/doc.h"

#include <string.h>

struct mk_doc *mk_doc_copy(const struct mk_doc *doc)
{
	struct mk_doc *copy = mk_new(struct mk_doc);

	*copy = (struct mk_doc){.type = doc->type,
				.line = doc->line,
				.column = doc->column,
				.text = mk_strdup(doc->text),
				.quoted = doc->quoted,
				.style = doc->style,
				.source = doc->source};
	if (doc->type != MK_DOC_LIST && doc->type != MK_DOC_MAP)
		return copy;
	copy->items = mk_alloc((doc->n + 1) * sizeof(*copy->items));
	if (doc->type == MK_DOC_MAP) {
		copy->keys = mk_alloc((doc->n + 1) * sizeof(*copy->keys));
		copy->used = mk_alloc(doc->n + 1);
	}
	for (; copy->n < doc->n; copy->n++) {
		copy->items[copy->n] = mk_doc_copy(doc->items[copy->n]);
		if (doc->type == MK_DOC_MAP)
			copy->keys[copy->n] = mk_doc_copy(doc->keys[copy->n]);
	}
	return copy;
}

static void remove_key(struct mk_doc *map, size_t i)
{
	mk_doc_free(map->keys[i]);
	mk_doc_free(map->items[i]);
	map->n--;
	memmove(map->keys + i, map->keys + i + 1, (map->n - i) * sizeof(*map->keys));
	memmove(map->items + i, map->items + i + 1, (map->n - i) * sizeof(*map->items));
	memmove(map->used + i, map->used + i + 1, map->n - i);
}

static size_t find_key(const struct mk_doc *map, const char *key)
{
	size_t i = 0;

	while (i < map->n && strcmp(map->keys[i]->text, key) != 0)
		i++;
	return i;
}

/* A new map of base's keys with room for `more`. */
static struct mk_doc *widen(struct mk_doc *base, const struct mk_doc *over)
{
	struct mk_doc *map = mk_new(struct mk_doc);
	size_t cap = over->n + 1;

	if (base && base->type == MK_DOC_MAP)
		cap += base->n;
	*map = (struct mk_doc){.type = MK_DOC_MAP,
			       .line = base ? base->line : over->line,
			       .column = base ? base->column : over->column,
			       .source = base ? base->source : over->source,
			       .items = mk_alloc(cap * sizeof(*map->items)),
			       .keys = mk_alloc(cap * sizeof(*map->keys)),
			       .used = mk_alloc(cap)};
	if (base && base->type == MK_DOC_MAP) {
		memcpy(map->items, base->items, base->n * sizeof(*map->items));
		memcpy(map->keys, base->keys, base->n * sizeof(*map->keys));
		memcpy(map->used, base->used, base->n);
		map->n = base->n;
		base->n = 0;
	}
	mk_doc_free(base);
	return map;
}

struct mk_doc *mk_doc_merge(struct mk_doc *base, const struct mk_doc *over)
{
	if (!over || over->type == MK_DOC_NULL)
		return base;
	if (over->type != MK_DOC_MAP) {
		mk_doc_free(base);
		return mk_doc_copy(over);
	}

	struct mk_doc *map = widen(base, over);

	for (size_t k = 0; k < over->n; k++) {
		const struct mk_doc *value = over->items[k];
		size_t i = find_key(map, over->keys[k]->text);

		if (value->type == MK_DOC_NULL) {
			if (i < map->n)
				remove_key(map, i);
			continue;
		}
		if (i == map->n) {
			map->keys[i] = mk_doc_copy(over->keys[k]);
			map->items[i] = NULL;
			map->n++;
		}
		/* The line that counts in an error is the one that set the value last. */
		if (value->type != MK_DOC_MAP) {
			map->keys[i]->line = over->keys[k]->line;
			map->keys[i]->source = over->keys[k]->source;
		}
		map->items[i] = mk_doc_merge(map->items[i], value);
	}
	return map;
}
