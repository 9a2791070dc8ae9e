/* SPDX-License-Identifier: Apache-2.0 */
/*
 * experiment.yaml of an experiment that a tracking store has: made from what the store says, in the
 * words of one of ours. Its tags without a meaning here stand below `tags`. Written back, what
 * differs is set at the store; tags can be changed and added there, but not taken away.
 */
#include "domain/texts.h"

#include <errno.h>
#include <string.h>

#include <mantik/connection.h>

#include "base/doc.h"
#include "domain/domain.h"
#include "domain/goal.h"
#include "domain/outbox/outbox.h"

struct owner {
	char *connection, *name, *remote_id, *metric;
	bool maximize;
	int64_t changed;
};

static void owner_done(struct owner *owner)
{
	free(owner->connection);
	free(owner->name);
	free(owner->remote_id);
	free(owner->metric);
}

/* 1 a store's, 0 ours, or none. */
static int get_owner(struct mk_call *call, struct mantik *m, enum mk_text_kind kind, int64_t id,
		     struct owner *ret)
{
	static const char experiment[] =
		"SELECT p.connection, e.name, e.remote_id, e.metric, e.maximize, e.changed"
		" FROM experiments e JOIN projects p ON p.id = e.project_id"
		" WHERE e.id = ?1 AND p.connection IS NOT NULL";
	static const char project[] =
		"SELECT connection, name, NULL, NULL, 0, changed FROM projects"
		" WHERE id = ?1 AND connection IS NOT NULL";
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db, kind == MK_TEXT_EXPERIMENT ? experiment : project, &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	r = mk_step(call, stmt);
	if (r > 0)
		*ret = (struct owner){
			.connection = mk_col_dup(stmt, 0),
			.name = mk_col_dup(stmt, 1),
			.remote_id = mk_col_dup(stmt, 2),
			.metric = mk_col_dup(stmt, 3),
			.maximize = mk_col_int(stmt, 4),
			.changed = mk_col_int(stmt, 5),
		};
	return r;
}

static const char note[] = "mlflow.note.content", primary[] = "mlflow.experiment.primaryMetric.",
		  primary_name[] = "mlflow.experiment.primaryMetric.name",
		  primary_goal[] = "mlflow.experiment.primaryMetric.greaterIsBetter";

static void put_line(struct mk_buf *ret, const char *key, const char *value)
{
	(void)mk_buf_printf(ret, "%s: ", key);
	mk_yaml_scalar(ret, value, false);
	(void)mk_buf_putc(ret, '\n');
}

/* The note and the primary metric stand in lines of their own; the rest of what MLflow keeps as
 * tags is shown as they are. */
static int put_tags(struct mk_call *call, struct mantik *m, int64_t id, const struct owner *owner,
		    struct mk_buf *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	_cleanup_buf_ struct mk_buf others = MK_BUF(MK_LIMIT_TEXT);
	const char *word = owner->maximize ? "maximize" : "minimize";
	bool guessed = true;
	int r = mk_db_read(call, m->db,
			   "SELECT key, value FROM experiment_tags WHERE experiment_id = ?1"
			   " ORDER BY key",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	while ((r = mk_step(call, stmt)) > 0) {
		const char *key = mk_col_text(stmt, 0), *value = mk_col_text(stmt, 1);

		if (strcmp(key, note) == 0) {
			put_line(ret, "note", value);
		} else if (strncmp(key, primary, sizeof(primary) - 1) != 0) {
			(void)mk_buf_puts(&others, "  ");
			mk_yaml_scalar(&others, key, false);
			(void)mk_buf_puts(&others, ": ");
			mk_yaml_scalar(&others, value, false);
			(void)mk_buf_putc(&others, '\n');
		} else if (strcmp(key, primary_goal) == 0) {
			guessed = !*value;
		}
	}
	if (owner->metric) {
		(void)mk_buf_puts(ret, "primary_metric: {name: ");
		mk_yaml_scalar(ret, owner->metric, false);
		if (guessed)
			(void)mk_buf_printf(ret, ", of: last}  # goal: %s, guessed from the name\n",
					    word);
		else
			(void)mk_buf_printf(ret, ", goal: %s, of: last}\n", word);
	}
	if (others.len)
		(void)mk_buf_printf(ret, "tags:\n%s", mk_buf_text(&others));
	return r < 0 ? r : mk_buf_check(&others);
}

static int put_text(struct mk_call *call, struct mantik *m, int64_t id, const struct owner *owner,
		    struct mk_buf *ret)
{
	_cleanup_(mk_connection_free) struct mk_connection connection = {};
	int r = mk_connection_find(call, m, owner->connection, &connection);

	if (r == -ENOENT)
		mk_error_clear(call);
	else if (r < 0)
		return r;
	(void)mk_buf_printf(ret, "# Of the tracking server of connections/%s.yaml. Can be changed here: note,\n"
			    "# primary_metric, tags; and the name with mv.\n",
			    owner->connection);
	put_line(ret, "name", owner->name);
	if (owner->remote_id)
		put_line(ret, "id", owner->remote_id);
	put_line(ret, "tracking_server",
		 connection.url && *connection.url ? connection.url : owner->connection);
	r = put_tags(call, m, id, owner, ret);
	if (r < 0)
		return r;
	return mk_buf_check(ret) < 0 ? mk_fail(call, EFBIG, "experiment.yaml is too long") : 0;
}

/* Differs when the text does. */
static uint64_t generation_of(const struct mk_buf *text)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < text->len; i++)
		hash = (hash ^ (unsigned char)text->data[i]) * UINT64_C(0x100000001b3);
	return hash | 1;
}

int mk_text_of_store(struct mk_call *call, struct mantik *m, enum mk_text_kind kind, int64_t owner_id,
		     struct mk_text *ret)
{
	_cleanup_(owner_done) struct owner owner = {};
	_cleanup_buf_ struct mk_buf text = MK_BUF(MK_LIMIT_TEXT);
	int r;

	if (kind != MK_TEXT_EXPERIMENT && kind != MK_TEXT_DEFAULTS)
		return 0;
	r = get_owner(call, m, kind, owner_id, &owner);
	if (r <= 0)
		return r;
	if (kind == MK_TEXT_DEFAULTS)
		return mk_fail(call, ENOENT,
			       "this project shows the tracking server of connections/%s.yaml: no runs "
			       "are made here, so nothing can be a default for them",
			       owner.connection);
	r = put_text(call, m, owner_id, &owner, &text);
	if (r < 0)
		return r;
	*ret = (struct mk_text){
		.len = text.len,
		.generation = generation_of(&text),
		.changed = owner.changed,
		.who = mk_strdup(""),
	};
	ret->text = mk_buf_steal(&text);
	return 1;
}

/* --- written back ---------------------------------------------------------------------------- */

static int must_stay(struct mk_call *call, const char *name, struct mk_doc *map, const char *key,
		     const char *is, const char *hint)
{
	const char *text;
	int r = mk_doc_text(call, name, map, key, &text);

	if (r <= 0 || (is && strcmp(text, is) == 0))
		return r < 0 ? r : 0;
	return mk_doc_fail(call, name, mk_doc_get(map, key), "%s cannot be changed here%s", key, hint);
}

static int read_primary(struct mk_call *call, const char *name, struct mk_doc *map,
			const struct owner *owner, struct mk_pairs *ret)
{
	const char *metric = "", *goal = NULL, *of = "last";
	struct mk_doc *doc;
	int r = mk_doc_map(call, name, map, "primary_metric", &doc);

	if (r == 0 && !owner->metric)
		return 0;
	if (r > 0)
		r = mk_doc_text(call, name, doc, "name", &metric);
	if (r > 0)
		r = mk_doc_text(call, name, doc, "goal", &goal);
	if (r >= 0 && *metric)
		r = mk_doc_text(call, name, doc, "of", &of);
	if (r >= 0 && *metric)
		r = mk_doc_leftover(call, name, doc);
	if (r < 0)
		return r;
	/* Left out it stays as it is; of another metric it is guessed. */
	if (!goal && *metric && strcmp(metric, owner->metric ? owner->metric : "") != 0)
		goal = mk_goal_guess(metric) ? "maximize" : "minimize";
	if (goal && strcmp(goal, "minimize") != 0 && strcmp(goal, "maximize") != 0)
		return mk_doc_fail(call, name, mk_doc_get(doc, "goal"),
				   "goal is \"%s\", not one of minimize, maximize", goal);
	if (strcmp(of, "last") != 0)
		return mk_doc_fail(call, name, mk_doc_get(doc, "of"),
				   "of: a tracking server knows only the last value");
	r = mk_pairs_set(ret, primary_name, metric);
	if (r == 0 && *metric && goal)
		r = mk_pairs_set(ret, primary_goal, strcmp(goal, "maximize") == 0 ? "True" : "False");
	return r;
}

static int read_tags(struct mk_call *call, const char *name, struct mk_doc *map, struct mk_pairs *ret)
{
	struct mk_doc *tags;
	int r = mk_doc_map(call, name, map, "tags", &tags);

	for (size_t i = 0; r > 0 && i < tags->n; i++) {
		const char *key = tags->keys[i]->text, *value = "";

		if (strcmp(key, note) == 0 || strncmp(key, primary, sizeof(primary) - 1) == 0)
			return mk_doc_fail(call, name, tags->keys[i],
					   "%s is written as note or primary_metric", key);
		if (mk_doc_text(call, name, tags, key, &value) < 0)
			return -EINVAL;
		if (mk_pairs_set(ret, key, value) < 0)
			return mk_fail(call, ENOMEM, "out of memory for tags");
	}
	return r < 0 ? r : 0;
}

/* A tag the text leaves out cannot be left out at the store. */
static int none_is_gone(struct mk_call *call, struct mantik *m, const char *name, int64_t id,
			const struct mk_pairs *tags)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db, "SELECT key FROM experiment_tags WHERE experiment_id = ?1",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	while ((r = mk_step(call, stmt)) > 0) {
		const char *key = mk_col_text(stmt, 0);

		if (!mk_pairs_get(tags, key) && strncmp(key, primary, sizeof(primary) - 1) != 0)
			return mk_fail(call, EINVAL,
				       "%s: the tag \"%s\" is left out: a tracking server keeps the tags "
				       "of an experiment; they can be changed",
				       name, key);
	}
	return r;
}

static int read_text(struct mk_call *call, struct mantik *m, int64_t id, const char *text, size_t len,
		     struct mk_pairs *ret)
{
	const char *name = mk_text_name(MK_TEXT_EXPERIMENT), *value = "";
	_cleanup_(mk_doc_freep) struct mk_doc *doc = NULL;
	_cleanup_(owner_done) struct owner owner = {};
	int r = get_owner(call, m, MK_TEXT_EXPERIMENT, id, &owner);

	if (r <= 0)
		return r < 0 ? r : mk_fail(call, ENOENT, "%s: the experiment is gone", name);
	r = mk_doc_parse(call, name, text, len, &doc);
	if (r < 0)
		return r;
	if (doc->type != MK_DOC_MAP)
		return mk_doc_fail(call, name, doc, "must be `key: value` lines");
	r = must_stay(call, name, doc, "name", owner.name, ": mv renames an experiment");
	if (r == 0)
		r = must_stay(call, name, doc, "id", owner.remote_id, "");
	if (r == 0)
		r = mk_doc_text(call, name, doc, "tracking_server", &value);
	value = "";
	if (r >= 0)
		r = mk_doc_text(call, name, doc, "note", &value);
	if (r >= 0)
		r = mk_pairs_set(ret, note, value);
	if (r == 0)
		r = read_primary(call, name, doc, &owner, ret);
	if (r == 0)
		r = read_tags(call, name, doc, ret);
	if (r == 0)
		r = mk_doc_leftover(call, name, doc);
	return r < 0 ? r : none_is_gone(call, m, name, id, ret);
}

int mk_text_put_store(struct mk_call *call, struct mantik *m, int64_t id, const char *text, size_t len)
{
	_cleanup_pairs_ struct mk_pairs tags = {};
	int r;

	if (len > MK_LIMIT_TEXT)
		return mk_fail(call, EFBIG, "experiment.yaml has %zu bytes, at most 1 MiB are possible",
			       len);
	r = read_text(call, m, id, text, len, &tags);
	for (size_t i = 0; r == 0 && i < tags.n; i++)
		if (strlen(tags.v[i].value) > 5000)
			r = mk_fail(call, EINVAL,
				    "experiment.yaml: %s has %zu bytes, a tracking server keeps 5000",
				    strcmp(tags.v[i].key, note) == 0 ? "the note" : tags.v[i].key,
				    strlen(tags.v[i].value));
	if (r == 0)
		r = mk_store_experiment_tags(call, m, id, &tags);
	return r < 0 ? r : 0;
}
