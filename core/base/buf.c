/* SPDX-License-Identifier: Apache-2.0 */
/* Bounded growing bytes, lists of strings and ordered pairs: see mantik/buf.h. */
#include <mantik/buf.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { MAX_ITEMS = 1000000 };

/* realloc() would leave a copy of a secret where it moved away from. */
static char *enlarge(struct mk_buf *buf, size_t cap)
{
	if (!buf->secret)
		return realloc(buf->data, cap);

	char *data = malloc(cap);

	if (!data)
		return NULL;
	if (buf->data) {
		memcpy(data, buf->data, buf->len + 1);
		explicit_bzero(buf->data, buf->cap);
		free(buf->data);
	}
	return data;
}

char *mk_buf_room(struct mk_buf *buf, size_t len)
{
	if (buf->error)
		return NULL;
	if (len > buf->limit || buf->len > buf->limit - len) {
		buf->error = -EFBIG;
		return NULL;
	}

	size_t need = buf->len + len + 1;

	if (need > buf->cap) {
		size_t cap = buf->cap ? buf->cap : 64;

		while (cap < need)
			cap += cap / 2;

		char *data = enlarge(buf, cap);

		if (!data) {
			buf->error = -ENOMEM;
			return NULL;
		}
		buf->data = data;
		buf->cap = cap;
	}
	buf->data[buf->len + len] = 0;
	return buf->data + buf->len;
}

int mk_buf_put(struct mk_buf *buf, const void *data, size_t len)
{
	char *room = mk_buf_room(buf, len);

	if (!room)
		return buf->error;
	if (len)
		memcpy(room, data, len);
	buf->len += len;
	return 0;
}

int mk_buf_puts(struct mk_buf *buf, const char *s)
{
	return mk_buf_put(buf, s, strlen(s));
}

int mk_buf_putc(struct mk_buf *buf, char c)
{
	return mk_buf_put(buf, &c, 1);
}

int mk_buf_vprintf(struct mk_buf *buf, const char *fmt, va_list ap)
{
	char small[256];
	va_list again;

	va_copy(again, ap);

	int n = vsnprintf(small, sizeof(small), fmt, ap);

	if (n < 0) {
		va_end(again);
		return buf->error = -EINVAL;
	}
	if ((size_t)n < sizeof(small)) {
		va_end(again);

		int r = mk_buf_put(buf, small, (size_t)n);

		if (buf->secret)
			explicit_bzero(small, sizeof(small));
		return r;
	}

	char *room = mk_buf_room(buf, (size_t)n);

	if (room) {
		vsnprintf(room, (size_t)n + 1, fmt, again);
		buf->len += (size_t)n;
	}
	va_end(again);
	return buf->error;
}

int mk_buf_printf(struct mk_buf *buf, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);

	int r = mk_buf_vprintf(buf, fmt, ap);

	va_end(ap);
	return r;
}

void mk_buf_truncate(struct mk_buf *buf, size_t len)
{
	if (len >= buf->len)
		return;
	buf->len = len;
	buf->data[len] = 0;
}

const char *mk_buf_text(const struct mk_buf *buf)
{
	return buf->data ? buf->data : "";
}

char *mk_buf_steal(struct mk_buf *buf)
{
	char *data = buf->data ? buf->data : mk_strdup("");

	buf->data = NULL;
	buf->len = buf->cap = 0;
	return data;
}

void mk_buf_wipe(struct mk_buf *buf)
{
	if (buf->data)
		explicit_bzero(buf->data, buf->cap);
	free(buf->data);
	buf->data = NULL;
	buf->len = buf->cap = 0;
	buf->error = 0;
}

void mk_buf_free(struct mk_buf *buf)
{
	if (buf->secret) {
		mk_buf_wipe(buf);
		return;
	}
	free(buf->data);
	buf->data = NULL;
	buf->len = buf->cap = 0;
	buf->error = 0;
}

/* Room for one more of `size` bytes each; 0 or -EFBIG, -ENOMEM. */
static int grow(void **v, size_t *cap, size_t n, size_t size)
{
	if (n < *cap)
		return 0;
	if (n >= MAX_ITEMS)
		return -EFBIG;

	size_t more = *cap ? *cap * 2 : 8;
	void *p = realloc(*v, more * size);

	if (!p)
		return -ENOMEM;
	*v = p;
	*cap = more;
	return 0;
}

int mk_list_add_n(struct mk_list *list, const char *s, size_t n)
{
	int r = grow((void **)&list->v, &list->cap, list->n, sizeof(*list->v));

	if (r < 0)
		return r;
	list->v[list->n++] = mk_strndup(s, n);
	return 0;
}

int mk_list_add(struct mk_list *list, const char *s)
{
	return mk_list_add_n(list, s, strlen(s));
}

bool mk_list_has(const struct mk_list *list, const char *s)
{
	for (size_t i = 0; i < list->n; i++)
		if (strcmp(list->v[i], s) == 0)
			return true;
	return false;
}

static int compare_texts(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void mk_list_sort(struct mk_list *list)
{
	if (list->n)
		qsort(list->v, list->n, sizeof(*list->v), compare_texts);
}

void mk_list_free(struct mk_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		free(list->v[i]);
	free(list->v);
	*list = (struct mk_list){};
}

int mk_pairs_add(struct mk_pairs *pairs, const char *key, const char *value)
{
	int r = grow((void **)&pairs->v, &pairs->cap, pairs->n, sizeof(*pairs->v));

	if (r < 0)
		return r;
	pairs->v[pairs->n++] =
		(struct mk_pair){.key = mk_strdup(key), .value = mk_strdup(value)};
	return 0;
}

int mk_pairs_set(struct mk_pairs *pairs, const char *key, const char *value)
{
	for (size_t i = 0; i < pairs->n; i++)
		if (strcmp(pairs->v[i].key, key) == 0) {
			free(pairs->v[i].value);
			pairs->v[i].value = mk_strdup(value);
			return 0;
		}
	return mk_pairs_add(pairs, key, value);
}

const char *mk_pairs_get(const struct mk_pairs *pairs, const char *key)
{
	for (size_t i = 0; i < pairs->n; i++)
		if (strcmp(pairs->v[i].key, key) == 0)
			return pairs->v[i].value;
	return NULL;
}

void mk_pairs_free(struct mk_pairs *pairs)
{
	for (size_t i = 0; i < pairs->n; i++) {
		free(pairs->v[i].key);
		free(pairs->v[i].value);
	}
	free(pairs->v);
	*pairs = (struct mk_pairs){};
}
