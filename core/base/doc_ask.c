/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asking a document for typed values, and the sentences for what is wrong with it: see doc.h.
 */
#include "base/doc.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

enum { MAX_SUGGEST = 64 /* bytes of a word that gets a "did you mean" */ };

void mk_doc_set_source(struct mk_doc *doc, const char *source)
{
	if (!doc)
		return;
	doc->source = source;
	for (size_t i = 0; i < doc->n; i++) {
		mk_doc_set_source(doc->items[i], source);
		if (doc->keys)
			mk_doc_set_source(doc->keys[i], source);
	}
}

int mk_doc_fail(struct mk_call *call, const char *name, const struct mk_doc *at, const char *fmt,
		...)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF(4096);
	va_list ap;

	va_start(ap, fmt);
	(void)mk_buf_vprintf(&text, fmt, ap);
	va_end(ap);
	if (at && at->source)
		name = at->source;
	if (!at || !at->line)
		return mk_fail(call, EINVAL, "%s: %s", name, mk_buf_text(&text));
	return mk_fail(call, EINVAL, "%s:%d: %s", name, at->line, mk_buf_text(&text));
}

static size_t min3(size_t a, size_t b, size_t c)
{
	size_t m = a < b ? a : b;

	return m < c ? m : c;
}

/* Edit distance in which two swapped letters count once and case not at all. */
static size_t distance(const char *a, const char *b)
{
	size_t rows[3][MAX_SUGGEST + 1];
	size_t n = strlen(a), m = strlen(b);

	for (size_t j = 0; j <= m; j++)
		rows[0][j] = j;
	for (size_t i = 1; i <= n; i++) {
		size_t *now = rows[i % 3], *last = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];

		now[0] = i;
		for (size_t j = 1; j <= m; j++) {
			int x = tolower((unsigned char)a[i - 1]);
			int y = tolower((unsigned char)b[j - 1]);

			now[j] = min3(last[j] + 1, now[j - 1] + 1, last[j - 1] + (x != y));
			if (i > 1 && j > 1 && x == tolower((unsigned char)b[j - 2]) &&
			    y == tolower((unsigned char)a[i - 2]) && before[j - 2] + 1 < now[j])
				now[j] = before[j - 2] + 1;
		}
	}
	return rows[n % 3][m];
}

const char *mk_nearest(const char *word, const struct mk_list *list)
{
	size_t len = strlen(word);
	size_t best = len / 3 > 1 ? len / 3 : 1;
	const char *nearest = NULL;

	if (len > MAX_SUGGEST)
		return NULL;
	for (size_t i = 0; i < list->n; i++) {
		if (strlen(list->v[i]) > MAX_SUGGEST)
			continue;

		size_t d = distance(word, list->v[i]);

		if (d < best || (d == best && !nearest)) {
			best = d;
			nearest = list->v[i];
		}
	}
	return nearest;
}

static bool is_word(const char *s, const char *const *words)
{
	for (; *words; words++)
		if (strcasecmp(s, *words) == 0)
			return true;
	return false;
}

struct mk_doc *mk_doc_get(struct mk_doc *map, const char *key)
{
	if (!map || map->type != MK_DOC_MAP)
		return NULL;
	if (!mk_list_has(&map->asked, key))
		(void)!mk_list_add(&map->asked, key);
	for (size_t i = 0; i < map->n; i++)
		if (strcmp(map->keys[i]->text, key) == 0) {
			map->used[i] = true;
			return map->items[i];
		}
	return NULL;
}

static const char *type_name(const struct mk_doc *doc)
{
	static const char *const names[] = {"nothing", "a text", "a list", "a map"};

	return names[doc->type];
}

/* 1 and the value, 0 absent or null, -EINVAL of another type. */
static int get_typed(struct mk_call *call, const char *name, struct mk_doc *map, const char *key,
		     enum mk_doc_type type, const char *wanted, struct mk_doc **ret)
{
	struct mk_doc *value;

	if (map && map->type != MK_DOC_MAP && map->type != MK_DOC_NULL)
		return mk_doc_fail(call, name, map, "a map of keys and values is needed here, not %s",
				   type_name(map));
	value = mk_doc_get(map, key);
	if (!value || value->type == MK_DOC_NULL)
		return 0;
	if (value->type != type)
		return mk_doc_fail(call, name, value, "%s must be %s, not %s", key, wanted,
				   type_name(value));
	*ret = value;
	return 1;
}

int mk_doc_text(struct mk_call *call, const char *name, struct mk_doc *map, const char *key,
		const char **ret)
{
	struct mk_doc *value = NULL;
	int r = get_typed(call, name, map, key, MK_DOC_SCALAR, "a text", &value);

	if (r > 0)
		*ret = value->text;
	return r;
}

int mk_doc_bool(struct mk_call *call, const char *name, struct mk_doc *map, const char *key,
		bool *ret)
{
	static const char *const yes[] = {"true", "yes", "on", NULL};
	static const char *const no[] = {"false", "no", "off", NULL};
	struct mk_doc *value = NULL;
	int r = get_typed(call, name, map, key, MK_DOC_SCALAR, "true or false", &value);

	if (r <= 0)
		return r;
	if (value->quoted || (!is_word(value->text, yes) && !is_word(value->text, no)))
		return mk_doc_fail(call, name, value, "%s must be true or false, not \"%s\"", key,
				   value->text);
	*ret = is_word(value->text, yes);
	return 1;
}

int mk_doc_map(struct mk_call *call, const char *name, struct mk_doc *map, const char *key,
	       struct mk_doc **ret)
{
	return get_typed(call, name, map, key, MK_DOC_MAP, "a map", ret);
}

int mk_doc_texts(struct mk_call *call, const char *name, struct mk_doc *map, const char *key,
		 struct mk_list *ret)
{
	struct mk_doc *value = map && map->type == MK_DOC_MAP ? mk_doc_get(map, key) : NULL;
	int r;

	if (!value || value->type != MK_DOC_LIST) {
		r = get_typed(call, name, map, key, MK_DOC_SCALAR, "a text or a list of texts",
			      &value);
		if (r > 0 && mk_list_add(ret, value->text) < 0)
			return mk_fail(call, ENOMEM, "%s: out of memory", name);
		return r;
	}
	for (size_t i = 0; i < value->n; i++)
		if (value->items[i]->type != MK_DOC_SCALAR)
			return mk_doc_fail(call, name, value->items[i],
					   "%s must be a list of texts, item %zu is %s", key, i + 1,
					   type_name(value->items[i]));
	for (size_t i = 0; i < value->n; i++)
		if (mk_list_add(ret, value->items[i]->text) < 0)
			return mk_fail(call, ENOMEM, "%s: out of memory", name);
	return 1;
}

int mk_doc_leftover(struct mk_call *call, const char *name, struct mk_doc *map)
{
	if (!map || map->type != MK_DOC_MAP)
		return 0;
	for (size_t i = 0; i < map->n; i++) {
		if (map->used[i])
			continue;

		const char *nearest = mk_nearest(map->keys[i]->text, &map->asked);

		if (nearest)
			return mk_doc_fail(call, name, map->keys[i],
					   "unknown key \"%s\", did you mean \"%s\"?",
					   map->keys[i]->text, nearest);
		return mk_doc_fail(call, name, map->keys[i], "unknown key \"%s\"",
				   map->keys[i]->text);
	}
	return 0;
}
