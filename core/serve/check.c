/* SPDX-License-Identifier: Apache-2.0 */
/* See check.h. Pure functions of what a request says. */
#include "serve/check.h"

#include <errno.h>
#include <locale.h>
#include <pthread.h>
#include <string.h>
#include <wctype.h>

#include "base/file.h"

/* --- characters ---------------------------------------------------------------------------- */

static locale_t unicode;

static void find_unicode(void)
{
	unicode = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
}

/* The character at *s, which is moved over it. The text is UTF-8: it came out of JSON. */
static wint_t next(const char **s)
{
	const unsigned char *u = (const unsigned char *)*s;
	int n = *u < 0x80 ? 1 : *u < 0xe0 ? 2 : *u < 0xf0 ? 3 : 4;
	wint_t c = n == 1 ? *u : *u & (0x7fu >> n);

	for (int i = 1; i < n && u[i]; i++)
		c = c << 6 | (u[i] & 0x3fu);
	*s += n;
	return c;
}

/* Numbers that are no digits, ² and ½, are of \w in Python and of nothing in C. */
static bool is_number(wint_t c)
{
	static const uint16_t ranges[][2] = {
		{0xb2, 0xb3},	  {0xb9, 0xb9},	    {0xbc, 0xbe},     {0x9f4, 0x9f9},
		{0xb72, 0xb77},	  {0xbf0, 0xbf2},   {0xc78, 0xc7e},   {0xd58, 0xd5e},
		{0xd70, 0xd78},	  {0xf2a, 0xf33},   {0x1369, 0x137c}, {0x17f0, 0x17f9},
		{0x19da, 0x19da}, {0x2070, 0x2070}, {0x2074, 0x2079}, {0x2080, 0x2089},
		{0x2150, 0x215f}, {0x2189, 0x2189}, {0x2460, 0x249b}, {0x24ea, 0x24ff},
		{0x2776, 0x2793}, {0x2cfd, 0x2cfd}, {0x3192, 0x3195}, {0x3220, 0x3229},
		{0x3248, 0x324f}, {0x3251, 0x325f}, {0x3280, 0x3289}, {0x32b1, 0x32bf},
		{0xa830, 0xa835},
	};

	for (size_t i = 0; i < sizeof(ranges) / sizeof(*ranges); i++)
		if (c >= ranges[i][0] && c <= ranges[i][1])
			return true;
	return false;
}

/* Python's \w and what else a key may hold; marks that join a letter may, too. */
static bool allowed(wint_t c)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	if (c < 0x80)
		return strchr("/_.- :", (int)c) || (c >= '0' && c <= '9') ||
		       ((c | 32) >= 'a' && (c | 32) <= 'z');
	pthread_once(&once, find_unicode);
	return unicode ? iswalnum_l(c, unicode) || is_number(c) : true;
}

size_t serve_characters(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

size_t serve_cut(const char *text, size_t limit)
{
	const char *s = text;

	for (; *s; s++)
		if (((unsigned char)*s & 0xc0) != 0x80 && limit-- == 0)
			break;
	return (size_t)(s - text);
}

/* --- errors -------------------------------------------------------------------------------- */

/* Invalid value "a\u00fc" for parameter 'key' supplied: why */
static int invalid(struct serve_request *rq, const char *path, const char *value, const char *why)
{
	json_t *text = json_string(value);
	_cleanup_free_ char *shown = text ? serve_shown(text) : NULL;

	json_decref(text);
	return serve_fail(rq, "INVALID_PARAMETER_VALUE",
			  "Invalid value %s for parameter '%s' supplied%s%s", shown ? shown : "\"\"",
			  path, why ? ": " : ".", why ? why : "");
}

int serve_state(struct serve_request *rq, int r)
{
	if (r == -EBUSY || r == -EPERM)
		return serve_fail(rq, "INVALID_STATE", "%s", rq->call->error.text);
	return r;
}

/* --- keys ---------------------------------------------------------------------------------- */

/* Python's posixpath.normpath(). */
static char *normal(const char *path)
{
	_cleanup_buf_ struct mk_buf out = MK_BUF(1 << 20);
	bool slash = *path == '/';
	size_t depth = 0; /* parts that `..` may take back */

	if (slash)
		(void)mk_buf_puts(&out, path[1] == '/' && path[2] != '/' ? "//" : "/");

	size_t root = out.len;

	for (const char *s = path; *s;) {
		size_t n = strcspn(s, "/");
		bool up = n == 2 && s[0] == '.' && s[1] == '.';

		if (n == 0 || (n == 1 && *s == '.') || (up && slash && !depth)) {
			; /* nothing */
		} else if (up && depth) {
			while (out.len > root && out.data[out.len - 1] != '/')
				mk_buf_truncate(&out, out.len - 1);
			if (out.len > root)
				mk_buf_truncate(&out, out.len - 1);
			depth--;
		} else {
			if (out.len > root)
				(void)mk_buf_putc(&out, '/');
			(void)mk_buf_put(&out, s, n);
			depth += !up;
		}
		s += n + (s[n] != 0);
	}
	if (!out.len)
		(void)mk_buf_putc(&out, '.');
	return mk_buf_steal(&out);
}

int serve_check_length(struct serve_request *rq, const char *what, const char *text, size_t limit)
{
	if (serve_characters(text) <= limit)
		return 0;
	return serve_fail(rq, "INVALID_PARAMETER_VALUE",
			  "'%s' exceeds the maximum length of %zu characters", what, limit);
}

int serve_check_key(struct serve_request *rq, const char *what, const char *path, const char *key)
{
	for (const char *s = key; *s;)
		if (!allowed(next(&s)))
			return invalid(rq, path, key,
				       "Names may only contain alphanumerics, underscores (_), dashes "
				       "(-), periods (.), spaces ( ), colon(:) and slashes (/).");

	_cleanup_free_ char *norm = normal(key);

	if (strcmp(norm, key) != 0 || strcmp(norm, ".") == 0 || strncmp(norm, "..", 2) == 0 ||
	    *norm == '/') {
		_cleanup_buf_ struct mk_buf why = MK_BUF(1 << 20);

		(void)mk_buf_printf(&why,
				    "Names may be treated as files in certain cases, and must not "
				    "resolve to other names when treated as such. This name would "
				    "resolve to '%s'",
				    norm);
		return invalid(rq, path, key, mk_buf_text(&why));
	}
	return serve_check_length(rq, what, key, SERVE_KEY_MAX);
}

int serve_check_experiment_name(struct serve_request *rq, const char *name)
{
	if (!*name)
		return serve_fail(rq, "INVALID_PARAMETER_VALUE", "Invalid experiment name: ''");
	return serve_check_length(rq, "name", name, SERVE_EXPERIMENT_NAME_MAX);
}

int serve_check_run_id(struct serve_request *rq, const char *id)
{
	bool good = *id && strchr("-_/.: ", *id) == NULL && (unsigned char)*id < 0x80;

	for (const char *s = id; good && *s;) {
		wint_t c = next(&s);

		good = allowed(c) && (c >= 0x80 || !strchr("/.: ", (int)c));
	}
	return good && serve_characters(id) <= 256 ? 0 : invalid(rq, "run_id", id, NULL);
}

/* --- lists --------------------------------------------------------------------------------- */

int serve_check_count(struct serve_request *rq, const char *what, const json_t *list)
{
	if (json_array_size(list) <= SERVE_LIST_MAX)
		return 0;
	return serve_fail(rq, "INVALID_PARAMETER_VALUE",
			  "A request can contain at most %d %s. Got %zu %s.", SERVE_LIST_MAX, what,
			  json_array_size(list), what);
}

int serve_item(struct serve_request *rq, const char *list, size_t i, json_t *item,
	       struct serve_item *ret)
{
	if (!json_is_object(item))
		return serve_fail(rq, "INVALID_PARAMETER_VALUE",
				  "Invalid value for parameter '%s[%zu]' supplied: not an object.",
				  list, i);
	*ret = (struct serve_item){.rq = rq, .sub = *rq};
	ret->sub.in = item;
	ret->sub.list = list;
	ret->sub.list_i = i;
	ret->sub.error_code = NULL;
	return 0;
}

int serve_item_end(struct serve_item *item, int r)
{
	if (r >= 0)
		return r;
	item->rq->error_code = item->sub.error_code;
	item->rq->status = item->sub.status;

	/* Most say it themselves. */
	_cleanup_free_ char *at = mk_strf("%s[%zu]", item->sub.list, item->sub.list_i);
	const char *text = item->rq->call->error.text;

	return text && strstr(text, at) ? r : mk_prefix(item->rq->call, r, "%s", at);
}

static int pair(struct serve_request *rq, int kind, size_t limit,
		const char *path, char **ret_value, const char **ret_key)
{
	const char *value = "";
	int r = serve_text(rq, "key", true, ret_key);

	if (r >= 0)
		r = serve_text(rq, "value", false, &value);
	if (r >= 0 && kind != SERVE_PAIRS_ANY)
		r = serve_check_key(rq, kind == SERVE_PAIRS_PARAMS ? "Param key" : path, path,
				    *ret_key);
	if (r >= 0)
		*ret_value = mk_strndup(value, serve_cut(value, limit));
	return r;
}

int serve_pairs(struct serve_request *rq, const char *name, int kind, size_t limit,
		struct mk_pairs *ret)
{
	_cleanup_pairs_ struct mk_pairs pairs = {};
	json_t *list = NULL, *one;
	size_t i;
	int r = serve_list(rq, name, false, &list);

	if (r >= 0)
		r = serve_check_count(rq, name, list);
	if (r < 0)
		return r;
	json_array_foreach(list, i, one) {
		_cleanup_free_ char *value = NULL;
		_cleanup_buf_ struct mk_buf path = MK_BUF(256);
		const char *key = "";
		struct serve_item item;

		(void)mk_buf_printf(&path, "%s[%zu].key", name, i);
		r = serve_item(rq, name, i, one, &item);
		if (r == 0)
			r = serve_item_end(&item, pair(&item.sub, kind, limit, mk_buf_text(&path),
						       &value, &key));
		if (r < 0)
			return r;
		if (kind == SERVE_PAIRS_PARAMS && mk_pairs_get(&pairs, key))
			return serve_fail(rq, "INVALID_PARAMETER_VALUE",
					  "Duplicate parameter keys have been submitted: ['%s']. Please "
					  "ensure the request contains only one param value per param "
					  "key.",
					  key);
		if (mk_pairs_set(&pairs, key, value) < 0)
			return mk_fail(rq->call, ENOMEM, "out of memory");
	}
	*ret = pairs;
	pairs = (struct mk_pairs){};
	return 0;
}
