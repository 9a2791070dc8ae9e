/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plans as JSON (plan.h). A text that is not UTF-8 cannot be kept in JSON: the specs and configs a
 * plan is made from are UTF-8 already, so such a text is refused, not changed.
 */
#include "format/plan.h"

#include <errno.h>
#include <stdlib.h>

#include <jansson.h>

void mk_plan_free(struct mk_plan *plan)
{
	free(plan->commit);
	free(plan->directory);
	free(plan->script);
	mk_pairs_free(&plan->variables);
	mk_list_free(&plan->exclude);
	mk_list_free(&plan->artifacts);
	free(plan->python_env);
	free(plan->conda_env);
	free(plan->queue);
	*plan = (struct mk_plan){};
}

static void decrefp(json_t **json)
{
	json_decref(*json);
}
#define _cleanup_json_ _cleanup_(decrefp)

/* Absent texts are absent keys. The text fields of a plan, both ways. */
#define TEXTS(plan)                                                                       \
	{                                                                                 \
		{"commit", &(plan)->commit}, {"directory", &(plan)->directory},           \
			{"script", &(plan)->script}, {"python_env", &(plan)->python_env}, \
			{"conda_env", &(plan)->conda_env}, {"queue", &(plan)->queue},     \
	}
#define LISTS(plan)                                     \
	{                                               \
		{"exclude", &(plan)->exclude},          \
		{                                       \
			"artifacts", &(plan)->artifacts \
		}                                       \
	}

static json_t *list_json(const struct mk_list *list)
{
	json_t *array = json_array();

	for (size_t i = 0; array && i < list->n; i++) {
		if (json_array_append_new(array, json_string(list->v[i])) < 0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

/* Variables keep their order: an array of [name, value]. */
static json_t *pairs_json(const struct mk_pairs *pairs)
{
	json_t *array = json_array();

	for (size_t i = 0; array && i < pairs->n; i++) {
		if (json_array_append_new(
			    array, json_pack("[s, s]", pairs->v[i].key, pairs->v[i].value)) < 0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

int mk_plan_write(struct mk_call *call, const struct mk_plan *plan, struct mk_buf *ret)
{
	const struct {
		const char *key;
		char *const *text;
	} texts[] = TEXTS(plan);
	const struct {
		const char *key;
		const struct mk_list *list;
	} lists[] = LISTS(plan);
	_cleanup_json_ json_t *top = json_object();
	int bad = 0;

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		if (*texts[i].text)
			bad |= json_object_set_new(top, texts[i].key, json_string(*texts[i].text));
	for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++)
		bad |= json_object_set_new(top, lists[i].key, list_json(lists[i].list));
	bad |= json_object_set_new(top, "variables", pairs_json(&plan->variables));
	bad |= json_object_set_new(top, "repository_id", json_integer(plan->repository_id));
	bad |= json_object_set_new(top, "runtime", json_integer(plan->runtime));
	if (bad)
		return mk_fail(call, EINVAL, "a text of the run's plan is not UTF-8");

	_cleanup_free_ char *text = json_dumps(top, JSON_SORT_KEYS | JSON_COMPACT);

	if (!text)
		return mk_fail(call, ENOMEM, "no memory for the run's plan");
	if (mk_buf_puts(ret, text) < 0)
		return mk_fail(call, EFBIG, "the run's plan is too long");
	return 0;
}

static int bad_plan(struct mk_call *call, const char *what)
{
	return mk_fail(call, EINVAL, "not a plan: %s", what);
}

static int read_list(struct mk_call *call, json_t *top, const char *key, struct mk_list *ret)
{
	json_t *array = json_object_get(top, key), *item;
	size_t i;

	if (!json_is_array(array))
		return bad_plan(call, key);
	json_array_foreach(array, i, item)
	{
		if (!json_is_string(item))
			return bad_plan(call, key);

		int r = mk_list_add(ret, json_string_value(item));

		if (r < 0)
			return r;
	}
	return 0;
}

static int read_pairs(struct mk_call *call, json_t *top, const char *key, struct mk_pairs *ret)
{
	json_t *array = json_object_get(top, key), *item;
	size_t i;

	if (!json_is_array(array))
		return bad_plan(call, key);
	json_array_foreach(array, i, item)
	{
		const char *name = json_string_value(json_array_get(item, 0));
		const char *value = json_string_value(json_array_get(item, 1));

		if (!name || !value)
			return bad_plan(call, key);

		int r = mk_pairs_set(ret, name, value);

		if (r < 0)
			return r;
	}
	return 0;
}

static int read_number(struct mk_call *call, json_t *top, const char *key, int64_t *ret)
{
	json_t *value = json_object_get(top, key);

	if (!json_is_integer(value))
		return bad_plan(call, key);
	*ret = json_integer_value(value);
	return 0;
}

static int read_plan(struct mk_call *call, json_t *top, struct mk_plan *plan)
{
	const struct {
		const char *key;
		char **text;
	} texts[] = TEXTS(plan);
	const struct {
		const char *key;
		struct mk_list *list;
	} lists[] = LISTS(plan);
	int r;

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		json_t *value = json_object_get(top, texts[i].key);

		if (value && !json_is_string(value))
			return bad_plan(call, texts[i].key);
		*texts[i].text = mk_strdup(json_string_value(value));
	}
	for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++) {
		r = read_list(call, top, lists[i].key, lists[i].list);
		if (r < 0)
			return r;
	}
	r = read_pairs(call, top, "variables", &plan->variables);
	if (r < 0)
		return r;
	r = read_number(call, top, "repository_id", &plan->repository_id);
	if (r < 0)
		return r;
	r = read_number(call, top, "runtime", &plan->runtime);
	if (r < 0)
		return r;
	if (!plan->script)
		return bad_plan(call, "script");
	return 0;
}

int mk_plan_read(struct mk_call *call, const char *json, struct mk_plan *ret)
{
	_cleanup_(mk_plan_free) struct mk_plan plan = {};
	json_error_t error;
	_cleanup_json_ json_t *top = json_loads(json, JSON_REJECT_DUPLICATES, &error);

	if (!json_is_object(top))
		return bad_plan(call, top ? "no object" : error.text);

	int r = read_plan(call, top, &plan);

	if (r < 0)
		return r;
	*ret = plan;
	plan = (struct mk_plan){};
	return 0;
}
