/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON as servers send it. jansson reads what is JSON; what some send besides (bare NaN and
 * Infinity, numbers no double can hold, halves of surrogate pairs) is mended first, and only when
 * jansson refused the text. Any member may be absent, of another type, or of another shape than
 * the documentation says.
 */
#include "mlflow.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/utf8.h"

enum {
	MAX_DEPTH = 64,
	MAX_KEY = 1000,		/* bytes: 250 characters */
	MAX_REST = 1 << 20,	/* an answer without its list */
	MAX_PART = 64 << 20,	/* one element */
	FLAGS = JSON_ALLOW_NUL, /* in a value; see clean() */
};

/* --- texts and numbers ----------------------------------------------------------------------- */

/* C's texts end at a NUL: U+FFFD in its place. */
static void clean(json_t *o, const char *key, const json_t *value)
{
	_cleanup_buf_ struct mk_buf buf = MK_BUF(4 * json_string_length(value) + 4);
	const char *s = json_string_value(value);

	for (size_t i = 0; i < json_string_length(value); i++)
		(void)(s[i] ? mk_buf_putc(&buf, s[i]) : mk_buf_puts(&buf, "\xef\xbf\xbd"));
	(void)json_object_set_new(o, key, json_string(mk_buf_text(&buf)));
}

const char *mk_mlflow_text(json_t *o, const char *key)
{
	const json_t *value = json_object_get(o, key);

	if (json_is_integer(value)) {
		_cleanup_free_ char *digits = mk_strf("%lld", (long long)json_integer_value(value));

		(void)json_object_set_new(o, key, json_string(digits));
	} else if (json_is_string(value) &&
		   strlen(json_string_value(value)) != json_string_length(value)) {
		clean(o, key, value);
	}

	const char *text = json_string_value(json_object_get(o, key));

	return text ? text : "";
}

static bool whole(double value, int64_t *ret)
{
	if (!(value >= -9223372036854775808.0 && value < 9223372036854775808.0) ||
	    value != floor(value))
		return false;
	*ret = (int64_t)value;
	return true;
}

int64_t mk_mlflow_number(const json_t *o, const char *key, int64_t none)
{
	const json_t *value = json_object_get(o, key);
	int64_t n = none;

	if (json_is_integer(value))
		return json_integer_value(value);
	if (json_is_real(value))
		return whole(json_real_value(value), &n) ? n : none;
	if (!json_is_string(value) || !*json_string_value(value))
		return none;

	char *end;

	errno = 0;
	n = strtoll(json_string_value(value), &end, 10);
	if (!errno && !*end)
		return n;

	double real = strtod(json_string_value(value), &end);

	return !*end && whole(real, &n) ? n : none;
}

double mk_mlflow_double(const json_t *o, const char *key)
{
	const json_t *value = json_object_get(o, key);
	char *end;

	if (json_is_number(value))
		return json_number_value(value);
	if (!json_is_string(value) || !*json_string_value(value))
		return NAN;

	double real = strtod(json_string_value(value), &end); /* "NaN", "-Infinity", "1e5" */

	return *end ? NAN : real;
}

int64_t mk_mlflow_time(const json_t *o, const char *key)
{
	int64_t ms = mk_mlflow_number(o, key, 0);

	if (ms > INT64_MAX / MK_MS)
		return INT64_MAX;
	if (ms < INT64_MIN / MK_MS)
		return INT64_MIN;
	return ms * MK_MS;
}

json_t *mk_mlflow_list(const json_t *o, const char *key)
{
	json_t *list = json_object_get(o, key);

	return json_is_array(list) ? list : NULL;
}

bool mk_mlflow_is_id(const char *text)
{
	size_t len = strlen(text);

	return len >= 1 && len <= 256 && text[0] != '-' && text[0] != '_' &&
	       strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") ==
		       len;
}

void mk_mlflow_pairs(json_t *list, struct mk_t_pair **ret, size_t *ret_n)
{
	size_t n = json_array_size(list), k = 0;
	struct mk_t_pair *pairs = mk_alloc((n + 1) * sizeof(*pairs));

	for (size_t i = 0; i < n; i++) {
		json_t *pair = json_array_get(list, i);
		const char *key = mk_mlflow_text(pair, "key");

		if (*key && strlen(key) <= MAX_KEY)
			pairs[k++] = (struct mk_t_pair){key, mk_mlflow_text(pair, "value")};
	}
	*ret = pairs;
	*ret_n = k;
}

const char *mk_mlflow_tag(json_t *tags, const char *key)
{
	for (size_t i = 0; i < json_array_size(tags); i++) {
		json_t *pair = json_array_get(tags, i);

		if (strcmp(mk_mlflow_text(pair, "key"), key) == 0)
			return mk_mlflow_text(pair, "value");
	}
	return "";
}

void mk_mlflow_base64(struct mk_buf *ret, const char *text, size_t len)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *data = (const unsigned char *)text;

	for (size_t i = 0; i < len; i += 3) {
		unsigned int bits = (unsigned int)data[i] << 16 |
				    (i + 1 < len ? (unsigned int)data[i + 1] << 8 : 0) |
				    (i + 2 < len ? (unsigned int)data[i + 2] : 0);

		(void)mk_buf_putc(ret, digits[bits >> 18]);
		(void)mk_buf_putc(ret, digits[bits >> 12 & 63]);
		(void)mk_buf_putc(ret, i + 1 < len ? digits[bits >> 6 & 63] : '=');
		(void)mk_buf_putc(ret, i + 2 < len ? digits[bits & 63] : '=');
	}
}

/* --- parsing --------------------------------------------------------------------------------- */

/* jansson calls itself for each level. */
static bool is_too_deep(const char *text, size_t len)
{
	bool in_string = false;
	int depth = 0;

	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (in_string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
		} else if (c == '"') {
			in_string = true;
		} else if (c == '{' || c == '[') {
			if (++depth > MAX_DEPTH)
				return true;
		} else if (c == '}' || c == ']') {
			depth--;
		}
	}
	return false;
}

/* The value of \uXXXX at s, or -1. */
static int unit(const char *s, const char *end)
{
	int value = 0;

	if (end - s < 6 || s[0] != '\\' || s[1] != 'u')
		return -1;
	for (int i = 2; i < 6; i++) {
		const char *digits = "0123456789abcdef";
		const char *digit = s[i] ? strchr(digits, s[i] | 0x20) : NULL;

		if (!digit || (s[i] < '0'))
			return -1;
		value = value * 16 + (int)(digit - digits);
	}
	return value;
}

/* Copies a string from its first quote on; what follows it. */
static const char *mend_string(const char *s, const char *end, struct mk_buf *ret)
{
	(void)mk_buf_putc(ret, *s++);
	while (s < end && *s != '"') {
		int high = unit(s, end), low = high >= 0 ? unit(s + 6, end) : -1;

		if (high >= 0xd800 && high < 0xdc00 && low >= 0xdc00 && low < 0xe000) {
			(void)mk_buf_put(ret, s, 12);
			s += 12;
		} else if (high >= 0xd800 && high < 0xe000) {
			(void)mk_buf_puts(ret, "\\ufffd");
			s += 6;
		} else {
			size_t n = *s == '\\' && s + 1 < end ? 2 : 1;

			(void)mk_buf_put(ret, s, n);
			s += n;
		}
	}
	if (s < end)
		(void)mk_buf_putc(ret, *s++);
	return s;
}

/* Bare words and numbers become texts: the getters above read those as well. */
static void mend(const char *text, size_t len, struct mk_buf *ret)
{
	const char *s = text, *end = text + len;

	while (s < end) {
		size_t n = 0;

		while (s + n < end && s[n] && !strchr("{}[],: \t\r\n\"", s[n]))
			n++;
		if (n == 4 && (memcmp(s, "true", 4) == 0 || memcmp(s, "null", 4) == 0)) {
			(void)mk_buf_put(ret, s, n);
		} else if (n == 5 && memcmp(s, "false", 5) == 0) {
			(void)mk_buf_put(ret, s, n);
		} else if (n) {
			(void)mk_buf_putc(ret, '"');
			(void)mk_buf_put(ret, s, n);
			(void)mk_buf_putc(ret, '"');
		} else if (*s == '"') {
			s = mend_string(s, end, ret);
		} else {
			(void)mk_buf_putc(ret, *s++);
		}
		s += n;
	}
}

json_t *mk_mlflow_parse(const char *text, size_t len, const char **ret_why)
{
	json_error_t error;

	if (is_too_deep(text, len)) {
		*ret_why = "nested more than 64 deep";
		return NULL;
	}

	json_t *json = json_loadb(text, len, FLAGS, &error);

	if (json)
		return json;

	_cleanup_buf_ struct mk_buf mended = MK_BUF(3 * len + 64);

	mend(text, len, &mended);
	json = json_loadb(mk_buf_text(&mended), mended.len, FLAGS, &error);
	if (!json)
		*ret_why = "not JSON";
	return json;
}

/* --- a list as it comes in ------------------------------------------------------------------- */

void mk_mlflow_split_init(struct mk_mlflow_split *split, const char *name,
			  int (*element)(void *arg, json_t *element), void *arg)
{
	*split = (struct mk_mlflow_split){
		.name = name,
		.element = element,
		.arg = arg,
		.rest = MK_BUF(MAX_REST),
		.part = MK_BUF(MAX_PART),
	};
}

void mk_mlflow_split_free(struct mk_mlflow_split *split)
{
	mk_buf_free(&split->rest);
	mk_buf_free(&split->part);
}

/* Does what was seen end with `"name":`? */
static bool names_list(const struct mk_mlflow_split *split)
{
	const char *text = mk_buf_text(&split->rest);
	size_t len = split->rest.len, n = strlen(split->name);

	while (len && strchr(" \t\r\n", text[len - 1]))
		len--;
	if (!len || text[--len] != ':')
		return false;
	while (len && strchr(" \t\r\n", text[len - 1]))
		len--;
	return len >= n + 2 && text[len - 1] == '"' && text[len - n - 2] == '"' &&
	       memcmp(text + len - 1 - n, split->name, n) == 0;
}

static int take_element(struct mk_mlflow_split *split)
{
	if (mk_buf_check(&split->part) < 0) {
		split->why = "an entry of more than 64 MiB";
		return mk_buf_check(&split->part);
	}

	_cleanup_json_ json_t *element =
		mk_mlflow_parse(mk_buf_text(&split->part), split->part.len, &split->why);

	mk_buf_truncate(&split->part, 0);
	if (!element)
		return -EBADMSG;
	return split->element(split->arg, element);
}

static int nonsense(struct mk_mlflow_split *split, const char *why)
{
	split->why = why;
	return -EBADMSG;
}

/* One character outside of strings. */
static int step(struct mk_mlflow_split *split, char c)
{
	bool in_element = split->in_list && split->depth > 2;

	switch (c) {
	case '{':
	case '[':
		if (split->depth == 0 && c != '{')
			return nonsense(split, "no object");
		if (split->in_list && split->depth == 2 && c != '{')
			return nonsense(split, "no object in a list of objects");
		if (!split->in_list && split->depth == 1 && c == '[' && names_list(split)) {
			split->in_list = true;
			(void)mk_buf_putc(&split->rest, '[');
			split->depth++;
			return 0;
		}
		if (++split->depth > MAX_DEPTH)
			return nonsense(split, "nested more than 64 deep");
		(void)mk_buf_putc(split->in_list ? &split->part : &split->rest, c);
		return 0;
	case '}':
	case ']':
		if (split->depth == 0)
			return nonsense(split, "not JSON");
		split->depth--;
		if (split->in_list && split->depth == 1) {
			split->in_list = false;
			(void)mk_buf_putc(&split->rest, ']');
			return 0;
		}
		(void)mk_buf_putc(split->in_list ? &split->part : &split->rest, c);
		split->ended = split->depth == 0;
		return split->in_list && split->depth == 2 ? take_element(split) : 0;
	default:
		if (split->in_list && !in_element)
			return strchr(", \t\r\n", c) && c
				       ? 0
				       : nonsense(split, "no object in a list of objects");
		(void)mk_buf_putc(in_element ? &split->part : &split->rest, c);
		split->in_string = c == '"';
		return 0;
	}
}

int mk_mlflow_split_feed(struct mk_mlflow_split *split, const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		struct mk_buf *to = split->in_list ? &split->part : &split->rest;

		if (!split->in_string) {
			int r = step(split, data[i]);

			if (r < 0)
				return r;
			continue;
		}

		/* The inside of a string at once, as far as it goes here. */
		size_t n = 0;

		while (i + n < len && split->in_string) {
			char c = data[i + n++];

			if (split->escaped)
				split->escaped = false;
			else if (c == '\\')
				split->escaped = true;
			else if (c == '"')
				split->in_string = false;
		}
		(void)mk_buf_put(to, data + i, n);
		i += n - 1;
	}
	if (mk_buf_check(&split->rest) < 0 || mk_buf_check(&split->part) < 0) {
		split->why = "more than it may be";
		return mk_buf_check(&split->rest) < 0 ? mk_buf_check(&split->rest)
						      : mk_buf_check(&split->part);
	}
	return 0;
}

json_t *mk_mlflow_split_end(struct mk_mlflow_split *split)
{
	if (!split->ended) {
		split->why = "not a whole JSON object";
		return NULL;
	}

	json_t *json = mk_mlflow_parse(mk_buf_text(&split->rest), split->rest.len, &split->why);

	if (json && !json_is_object(json)) {
		json_decref(json);
		json = NULL;
		split->why = "no object";
	}
	return json;
}
