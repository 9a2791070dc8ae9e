/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fields of filters and orders: which there are, what they are also called, and what they can be
 * compared with. MLflow has a reader of its own for each kind of thing, and they differ in small
 * ways: where quotes may stand, what an entity is called. The tables here say how.
 */
#include "format/filter_fields.h"

#include <errno.h>
#include <string.h>

#include "format/filter_list.h"

static const struct mk_attribute of_runs[] = {
	{"run_id", .list = true},
	{"run_name"},
	{"run name", "run_name", .where = ASK_FILTER},
	{"Run name", "run_name", .where = ASK_FILTER},
	{"Run Name", "run_name", .where = ASK_FILTER},
	{"status"},
	{"user_id"},
	{"artifact_uri"},
	{"start_time", .number = true},
	{"created", "start_time", .number = true},
	{"Created", "start_time", .number = true},
	{"end_time", .number = true},
	{},
};

static const struct mk_attribute of_experiments[] = {
	{"name"},
	{"experiment_id", .list = true},
	{"creation_time", .number = true},
	{"last_update_time", .number = true},
	{},
};

static const struct mk_attribute of_models[] = {
	{"name", .list = true},
	{"timestamp", "last_updated_timestamp", .number = true, .where = ASK_ORDER},
	{"last_updated_timestamp", .number = true, .where = ASK_ORDER},
	{},
};

static const struct mk_attribute of_versions[] = {
	{"name", .list = true},
	{"run_id", .list = true, .where = ASK_FILTER},
	{"source_path", .where = ASK_FILTER},
	{"version_number", .number = true},
	{"creation_timestamp", .number = true, .where = ASK_ORDER},
	{"last_updated_timestamp", .number = true, .where = ASK_ORDER},
	{},
};

static const struct mk_attribute of_logged[] = {
	{"name", .list = true},
	{"model_id", .list = true},
	{"model_type", .list = true},
	{"status", .list = true},
	{"source_run_id", .list = true},
	{"experiment_id", .list = true},
	{"artifact_location", .list = true},
	{"creation_timestamp_ms", .number = true},
	{"creation_time", "creation_timestamp_ms", .number = true},
	{"creation_timestamp", "creation_timestamp_ms", .number = true},
	{"last_updated_timestamp_ms", .number = true},
	{"last_updated_timestamp", "last_updated_timestamp_ms", .number = true},
	{},
};

const struct mk_attribute *const mk_attributes[] = {
	[MK_SEARCH_RUNS] = of_runs,
	[MK_SEARCH_EXPERIMENTS] = of_experiments,
	[MK_SEARCH_MODELS] = of_models,
	[MK_SEARCH_VERSIONS] = of_versions,
	[MK_SEARCH_LOGGED] = of_logged,
};

/* What stands before the dot. */
static const struct entity {
	const char *name;
	enum mk_field_kind kind;
	unsigned of; /* bits of enum mk_searched */
} entities[] = {
#define RUNS (1u << MK_SEARCH_RUNS)
#define LOGGED (1u << MK_SEARCH_LOGGED)
#define OTHERS (1u << MK_SEARCH_EXPERIMENTS | 1u << MK_SEARCH_MODELS | 1u << MK_SEARCH_VERSIONS)
	{"metrics", MK_FIELD_METRIC, RUNS | LOGGED},
	{"metric", MK_FIELD_METRIC, RUNS},
	{"params", MK_FIELD_PARAM, RUNS | LOGGED},
	{"param", MK_FIELD_PARAM, RUNS},
	{"parameters", MK_FIELD_PARAM, RUNS},
	{"parameter", MK_FIELD_PARAM, RUNS},
	{"tags", MK_FIELD_TAG, RUNS | LOGGED | OTHERS},
	{"tag", MK_FIELD_TAG, RUNS | OTHERS},
	{"attributes", MK_FIELD_ATTRIBUTE, RUNS | LOGGED},
	{"attribute", MK_FIELD_ATTRIBUTE, RUNS | OTHERS},
	{"attr", MK_FIELD_ATTRIBUTE, RUNS},
	{"run", MK_FIELD_ATTRIBUTE, RUNS},
	{"datasets", MK_FIELD_DATASET, RUNS},
	{"dataset", MK_FIELD_DATASET, RUNS},
};

struct slice {
	const char *s;
	size_t len;
};

static struct slice inside(struct slice t, char quote)
{
	return mk_is_quoted(t.s, t.len, quote) ? (struct slice){t.s + 1, t.len - 2} : t;
}

static struct slice unquoted(struct slice t)
{
	return inside(mk_is_quoted(t.s, t.len, '\'') ? inside(t, '\'') : inside(t, '"'), '`');
}

static bool same(struct slice t, const char *s)
{
	return t.len == strlen(s) && memcmp(t.s, s, t.len) == 0;
}

static const struct entity *find_entity(enum mk_searched of, struct slice name)
{
	for (size_t i = 0; i < sizeof(entities) / sizeof(entities[0]); i++)
		if (entities[i].of & 1u << of && same(name, entities[i].name))
			return &entities[i];
	return NULL;
}

static const struct mk_attribute *find_attribute(enum mk_searched of, struct slice key, bool order)
{
	for (const struct mk_attribute *a = mk_attributes[of]; a->name; a++)
		if (a->where != (order ? ASK_FILTER : ASK_ORDER) && same(key, a->name))
			return a;
	return NULL;
}

static int bad_key(struct mk_call *call, enum mk_searched of, struct slice key, bool order)
{
	_cleanup_buf_ struct mk_buf keys = MK_BUF(1024);

	for (const struct mk_attribute *a = mk_attributes[of]; a->name; a++)
		if (a->where != (order ? ASK_FILTER : ASK_ORDER))
			(void)mk_buf_printf(&keys, "%s'%s'", keys.len ? ", " : "", a->name);
	return mk_fail(call, EINVAL, "Invalid attribute key '%.*s' specified. Valid keys are '{%s}'",
		       (int)(key.len < 200 ? key.len : 200), key.s, mk_buf_text(&keys));
}

static bool is_dataset_key(struct slice key)
{
	return same(key, "name") || same(key, "digest") || same(key, "context");
}

/* Logged models: `[a-z]+.` and a key, else all of it is an attribute; backticks alone are quotes. */
static bool split_logged(struct slice *key, struct slice *entity)
{
	const char *dot = memchr(key->s, '.', key->len);
	size_t n = dot ? (size_t)(dot - key->s) : 0;
	bool two = n > 0 && strspn(key->s, "abcdefghijklmnopqrstuvwxyz") == n &&
		   n + 1 < key->len && !memchr(key->s + n, '\n', key->len - n);

	if (two) {
		*entity = (struct slice){key->s, n};
		*key = (struct slice){key->s + n + 1, key->len - n - 1};
	}
	while (key->len && key->s[0] == '`')
		key->s++, key->len--;
	while (key->len && key->s[key->len - 1] == '`')
		key->len--;
	return two;
}

static bool split(enum mk_searched of, bool order, struct slice *key, struct slice *entity)
{
	if (of == MK_SEARCH_LOGGED)
		return split_logged(key, entity);
	if (of == MK_SEARCH_MODELS && order)
		return false;

	const char *dot = memchr(key->s, '.', key->len);

	if (!dot)
		return false;
	*entity = (struct slice){key->s, (size_t)(dot - key->s)};
	*key = (struct slice){dot + 1, key->len - entity->len - 1};
	if (of == MK_SEARCH_RUNS)
		*entity = inside(*entity, '`');
	return true;
}

int mk_field_read(struct mk_call *call, enum mk_searched of, const char *text, size_t len,
		  bool order, struct mk_field *ret, const struct mk_attribute **ret_attribute)
{
	struct slice key = {text, len}, entity = {"attribute", 9};
	const struct entity *found = NULL;
	enum mk_field_kind kind = MK_FIELD_ATTRIBUTE;

	if (split(of, order, &key, &entity)) {
		found = find_entity(of, entity);
		if (!found)
			return mk_fail(call, EINVAL, "Invalid entity type '%.*s'. Valid values are"
				       " 'attribute', 'metric', 'parameter', 'tag', 'dataset', as far"
				       " as what is searched has them",
				       (int)(entity.len < 200 ? entity.len : 200), entity.s);
		kind = found->kind;
	}

	/* Names of models and versions are looked up as they stand, with their quotes. */
	bool as_it_stands = of == MK_SEARCH_LOGGED || (of == MK_SEARCH_MODELS && order) ||
			    (!order && kind == MK_FIELD_ATTRIBUTE &&
			     (of == MK_SEARCH_MODELS || of == MK_SEARCH_VERSIONS));

	if (!as_it_stands)
		key = unquoted(key);

	const struct mk_attribute *a = NULL;

	/* An order of versions takes any entity for an attribute. */
	if (kind == MK_FIELD_ATTRIBUTE || (order && of == MK_SEARCH_VERSIONS)) {
		a = find_attribute(of, key, order);
		if (!a)
			return bad_key(call, of, key, order);
		/* Behind a dot logged models know the one name only. */
		if (found && of == MK_SEARCH_LOGGED && a->as)
			return bad_key(call, of, key, order);
		kind = MK_FIELD_ATTRIBUTE;
	} else if (kind == MK_FIELD_DATASET && !is_dataset_key(key)) {
		return mk_fail(call, EINVAL, "Invalid dataset key '%.*s' specified. Valid keys are"
			       " 'name', 'digest', 'context'",
			       (int)(key.len < 200 ? key.len : 200), key.s);
	}
	*ret = (struct mk_field){
		.kind = kind,
		.key = a ? mk_strdup(a->as ? a->as : a->name) : mk_strndup(key.s, key.len),
	};
	*ret_attribute = a;
	return 0;
}

bool mk_field_has(enum mk_searched of, const struct mk_field *field,
		  const struct mk_attribute *attribute, enum mk_filter_op op)
{
	bool number = field->kind == MK_FIELD_METRIC || (attribute && attribute->number);
	bool tag = field->kind == MK_FIELD_TAG || field->kind == MK_FIELD_PARAM;

	switch (op) {
	case MK_OP_EQ:
	case MK_OP_NE:
		return true;
	case MK_OP_LT:
	case MK_OP_LE:
	case MK_OP_GT:
	case MK_OP_GE:
		return number;
	case MK_OP_LIKE:
	case MK_OP_ILIKE:
		return !number && !(of == MK_SEARCH_EXPERIMENTS && attribute && attribute->list);
	case MK_OP_IN:
	case MK_OP_NOT_IN:
		return field->kind == MK_FIELD_DATASET || (attribute && attribute->list) ||
		       (of == MK_SEARCH_LOGGED && tag);
	case MK_OP_NULL:
	case MK_OP_NOT_NULL:
		return tag && (of == MK_SEARCH_RUNS || of == MK_SEARCH_EXPERIMENTS);
	}
	return false;
}
