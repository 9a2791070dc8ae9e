/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Typed arguments of a request. MLflow reads them into protobuf messages: a number may come as a
 * text ("5"), null and "" of a required argument are as absent, and unknown ones are ignored. What it
 * says of wrong ones:
 *
 *	Missing value for required parameter 'run_id'. See the API docs for more information about
 *	request parameters.
 *	Invalid value "foo" for parameter 'metrics[0].step' supplied:  Hint: Value was of type 'str'. …
 */
#include "serve/frame.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

#define DOCS "See the API docs for more information about request parameters."

enum { MAX_SHOWN = 200 };

static const json_t *look(const struct serve_request *rq, const char *name)
{
	const json_t *value = json_object_get(rq->in, name);

	/* The name of old. */
	if ((!value || json_is_null(value)) && strcmp(name, "run_id") == 0)
		value = json_object_get(rq->in, "run_uuid");
	return json_is_null(value) ? NULL : value;
}

/* `metrics[3].` before the name of what is in an item of a list. */
static char *place(const struct serve_request *rq)
{
	return rq->list ? mk_strf("%s[%zu].", rq->list, rq->list_i) : mk_strdup("");
}

static int missing(struct serve_request *rq, const char *name, bool required)
{
	if (!required)
		return 0;

	_cleanup_free_ char *at = place(rq);

	return serve_fail(rq, "INVALID_PARAMETER_VALUE",
			  "Missing value for required parameter '%s%s'. " DOCS, at, name);
}

/* The words Python has for it. */
static const char *type_of(const json_t *value)
{
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		return "dict";
	case JSON_ARRAY:
		return "list";
	case JSON_STRING:
		return "str";
	case JSON_INTEGER:
		return "int";
	case JSON_REAL:
		return "float";
	case JSON_TRUE:
	case JSON_FALSE:
		return "bool";
	default:
		return "NoneType";
	}
}

/* jansson writes \u00FC, Python \u00fc. */
char *serve_shown(const json_t *value)
{
	char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS |
					       JSON_ENSURE_ASCII);

	for (char *s = text; s && *s; s++)
		if (*s == '\\' && *++s == 'u')
			for (int i = 0; i < 4; i++, s++)
				if (s[1] >= 'A' && s[1] <= 'F')
					s[1] |= 0x20;
	return text;
}

static int invalid(struct serve_request *rq, const char *name, const json_t *value)
{
	_cleanup_free_ char *at = place(rq);
	_cleanup_free_ char *text = serve_shown(value);

	if (text && strlen(text) > MAX_SHOWN)
		text[MAX_SHOWN] = 0; /* it is ASCII */
	return serve_fail(rq, "INVALID_PARAMETER_VALUE",
			  "Invalid value %s for parameter '%s%s' supplied:  Hint: Value was of type "
			  "'%s'. " DOCS,
			  text ? text : "", at, name, type_of(value));
}

int serve_text(struct serve_request *rq, const char *name, bool required, const char **ret)
{
	const json_t *value = look(rq, name);

	if (!value)
		return missing(rq, name, required);
	if (!json_is_string(value))
		return invalid(rq, name, value);
	if (strlen(json_string_value(value)) != json_string_length(value))
		return serve_fail(rq, "INVALID_PARAMETER_VALUE", "parameter '%s' holds a NUL", name);
	if (!json_string_length(value) && required)
		return missing(rq, name, required);
	*ret = json_string_value(value);
	return 1;
}

int serve_int(struct serve_request *rq, const char *name, bool required, int64_t *ret)
{
	const json_t *value = look(rq, name);
	char *end;

	if (!value)
		return missing(rq, name, required);
	if (json_is_integer(value)) {
		*ret = json_integer_value(value);
		return 1;
	}
	if (json_is_real(value)) { /* 5.0 is 5 */
		double v = json_real_value(value);

		if (!(v >= -0x1p63 && v < 0x1p63) || v != floor(v))
			return invalid(rq, name, value);
		*ret = (int64_t)v;
		return 1;
	}
	if (!json_is_string(value))
		return invalid(rq, name, value);

	const char *text = json_string_value(value);

	if (!*text && required)
		return missing(rq, name, required);
	errno = 0;

	int64_t v = strtoll(text, &end, 10);

	if (errno || end == text || *end || strspn(text, "+-0123456789") != strlen(text))
		return invalid(rq, name, value);
	*ret = v;
	return 1;
}

int serve_double(struct serve_request *rq, const char *name, bool required, double *ret)
{
	static const struct {
		const char *word;
		double value;
	} words[] = {{"NaN", NAN}, {"Infinity", INFINITY}, {"-Infinity", -INFINITY}};
	const json_t *value = look(rq, name);

	if (!value)
		return missing(rq, name, required);
	if (json_is_number(value)) {
		*ret = json_number_value(value);
		return 1;
	}
	if (!json_is_string(value))
		return invalid(rq, name, value);

	const char *text = json_string_value(value);

	if (!*text && required)
		return missing(rq, name, required);
	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		if (strcmp(text, words[i].word) == 0) {
			*ret = words[i].value;
			return 1;
		}

	char *end;
	double v = strtod(text, &end);

	if (end == text || *end || strspn(text, "+-.0123456789eE") != strlen(text) || isinf(v))
		return invalid(rq, name, value);
	*ret = v;
	return 1;
}

int serve_bool(struct serve_request *rq, const char *name, bool *ret)
{
	const json_t *value = look(rq, name);

	if (!value)
		return 0;
	if (json_is_boolean(value)) {
		*ret = json_is_true(value);
		return 1;
	}
	if (json_is_string(value)) {
		const char *text = json_string_value(value);
		bool yes = strcasecmp(text, "true") == 0;

		if (yes || strcasecmp(text, "false") == 0) {
			*ret = yes;
			return 1;
		}
	}
	return invalid(rq, name, value);
}

int serve_list(struct serve_request *rq, const char *name, bool required, json_t **ret)
{
	json_t *value = json_object_get(rq->in, name);

	if (!value || json_is_null(value))
		return missing(rq, name, required);
	if (json_is_string(value) && strcmp(rq->method, "GET") == 0) {
		json_t *list = json_array();

		if (!list || json_array_append(list, value) < 0 ||
		    json_object_set_new(rq->in, name, list) < 0)
			return mk_fail(rq->call, ENOMEM, "out of memory");
		value = list;
	}
	if (!json_is_array(value))
		return invalid(rq, name, value);
	if (!json_array_size(value) && required)
		return missing(rq, name, required);
	*ret = value;
	return 1;
}
