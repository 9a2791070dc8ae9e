/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changing what a store says of a model and its versions: model.yaml is read, what is another in it
 * than it was is told to the store through the outbox, one row for each thing. All a person may
 * change are descriptions and aliases; an alias belongs to one version of its model, and taking it
 * for one takes it from another.
 */
#include <errno.h>
#include <string.h>

#include <mantik/model.h>
#include <mantik/name.h>

#include "base/doc.h"
#include "base/file.h"
#include "connect/tracking/tracking.h"
#include "domain/domain.h"
#include "domain/index/index.h"
#include "domain/outbox/change.h"
#include "domain/outbox/model_out.h"

static const char name[] = "model.yaml"; /* what errors begin with */

struct edit {
	int64_t id; /* of the version */
	struct mk_out row;
	char *version, *model_text, *version_text; /* now */
	struct mk_list had;			   /* aliases now */
	const char *new_model_text, *new_version_text; /* NULL: stays */
	struct mk_list aliases;
	bool has_aliases;
};

static void edit_free(struct edit *edit)
{
	free(edit->row.object);
	free(edit->version);
	free(edit->model_text);
	free(edit->version_text);
	mk_list_free(&edit->had);
	mk_list_free(&edit->aliases);
}

/* --- what the text says ---------------------------------------------------------------------- */

static bool may_change(const char *key)
{
	return strcmp(key, "description") == 0 || strcmp(key, "model_description") == 0 ||
	       strcmp(key, "aliases") == 0;
}

static bool is_same(const struct mk_doc *a, const struct mk_doc *b)
{
	_cleanup_buf_ struct mk_buf x = MK_BUF(2 * MK_LIMIT_TEXT), y = MK_BUF(2 * MK_LIMIT_TEXT);

	mk_yaml_node(&x, a, 0);
	mk_yaml_node(&y, b, 0);
	return x.len == y.len && memcmp(mk_buf_text(&x), mk_buf_text(&y), x.len) == 0;
}

/* Everything else is as it was. */
static int check_rest(struct mk_call *call, struct mk_doc *now, struct mk_doc *doc)
{
	for (size_t i = 0; i < now->n; i++)
		(void)mk_doc_get(doc, now->keys[i]->text);

	int r = mk_doc_leftover(call, name, doc);

	for (size_t i = 0; r == 0 && i < doc->n; i++) {
		const char *key = doc->keys[i]->text;

		if (!may_change(key) && !is_same(doc->items[i], mk_doc_get(now, key)))
			r = mk_doc_fail(call, name, doc->keys[i],
					"%s is not changed here (or has changed since it was read): "
					"description, model_description and aliases can be",
					key);
	}
	return r;
}

/* A description; cleared by nothing after the colon. */
static int read_text(struct mk_call *call, struct mk_doc *doc, const char *key, const char **ret)
{
	int r = mk_doc_text(call, name, doc, key, ret);

	if (r == 0 && mk_doc_get(doc, key))
		*ret = "";
	return r < 0 ? r : 0;
}

static int read_aliases(struct mk_call *call, struct mk_doc *doc, struct edit *edit)
{
	struct mk_doc *at = mk_doc_get(doc, "aliases");
	int r = mk_doc_texts(call, name, doc, "aliases", &edit->aliases);

	edit->has_aliases = at;
	for (size_t i = 0; r >= 0 && i < edit->aliases.n; i++) {
		const char *alias = edit->aliases.v[i];

		if (!*alias || strpbrk(alias, "\n\r") || strlen(alias) > MK_NAME_MAX)
			return mk_doc_fail(call, name, at, "\"%.60s\" is no alias", alias);
		for (size_t k = 0; k < i; k++)
			if (strcmp(edit->aliases.v[k], alias) == 0)
				return mk_doc_fail(call, name, at, "alias %.60s twice", alias);
	}
	return r < 0 ? r : 0;
}

/* --- one transaction ------------------------------------------------------------------------- */

static int load(struct mk_call *call, struct mk_conn *conn, struct edit *edit)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_domain_row(call, conn,
			      "SELECT o.project_id, o.id, o.description, v.version, v.description,"
			      " v.aliases FROM model_versions v JOIN models o ON o.id = v.model_id"
			      " JOIN projects p ON p.id = o.project_id"
			      " WHERE v.id = ?1 AND v.gone = 0 AND p.connection IS NOT NULL",
			      edit->id, &stmt);

	if (r <= 0)
		return r < 0 ? r : mk_fail(call, ENOENT, "%s: the version is gone", name);
	edit->row.project_id = mk_col_int(stmt, 0);
	edit->row.of = mk_col_int(stmt, 1);
	edit->row.object = mk_strf("model:%lld", (long long)edit->row.of);
	edit->model_text = mk_col_dup(stmt, 2);
	edit->version = mk_col_dup(stmt, 3);
	edit->version_text = mk_col_dup(stmt, 4);
	return mk_lines(call, mk_col_text(stmt, 5), &edit->had);
}

static int put(struct mk_call *call, struct mk_conn *conn, struct edit *edit, enum mk_out_verb verb,
	       const char *key, const char *value, const char *before)
{
	struct mk_out row = edit->row;
	int r;

	row.verb = verb;
	row.key = (char *)key;
	row.value = (char *)value;
	row.before = (char *)before;
	r = mk_outbox_put(call, conn, &row);
	return r < 0 ? r : mk_model_out_apply(call, conn, &row);
}

/* Which version has the alias; NULL none. */
static int owner_of(struct mk_call *call, struct mk_conn *conn, int64_t model_id, const char *alias,
		    char **ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "SELECT version, aliases FROM model_versions WHERE model_id = ?1", &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, model_id);
	while ((r = mk_step(call, stmt)) > 0) {
		_cleanup_list_ struct mk_list list = {};

		r = mk_lines(call, mk_col_text(stmt, 1), &list);
		if (r < 0)
			return r;
		if (mk_list_has(&list, alias)) {
			*ret = mk_col_dup(stmt, 0);
			return 0;
		}
	}
	return r;
}

static int put_aliases(struct mk_call *call, struct mk_conn *conn, struct edit *edit)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < edit->had.n; i++)
		if (!mk_list_has(&edit->aliases, edit->had.v[i]))
			r = put(call, conn, edit, MK_OUT_ALIAS_REMOVE, edit->had.v[i], NULL,
				edit->version);
	for (size_t i = 0; r == 0 && i < edit->aliases.n; i++) {
		_cleanup_free_ char *before = NULL;

		if (mk_list_has(&edit->had, edit->aliases.v[i]))
			continue;
		r = owner_of(call, conn, edit->row.of, edit->aliases.v[i], &before);
		if (r == 0)
			r = put(call, conn, edit, MK_OUT_ALIAS_SET, edit->aliases.v[i],
				edit->version, before);
	}
	return r;
}

static int write_edit(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	struct edit *edit = arg;
	int r = load(call, conn, edit);

	if (r == 0 && edit->new_version_text &&
	    strcmp(edit->new_version_text, edit->version_text) != 0)
		r = put(call, conn, edit, MK_OUT_VERSION_DESCRIBE, edit->version,
			edit->new_version_text, edit->version_text);
	if (r == 0 && edit->new_model_text && strcmp(edit->new_model_text, edit->model_text) != 0)
		r = put(call, conn, edit, MK_OUT_MODEL_DESCRIBE, "", edit->new_model_text,
			edit->model_text);
	return r < 0 || !edit->has_aliases ? r : put_aliases(call, conn, edit);
}

/* A store without a server is never written to. */
static int can_be_written(struct mk_call *call, struct mantik *m, int64_t id)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	_cleanup_free_ char *connection = NULL;
	const struct mk_tracking_ops *ops;
	struct mk_tracking *store;
	int r = mk_db_read(call, m->db,
			   "SELECT p.connection FROM model_versions v JOIN models o"
			   " ON o.id = v.model_id JOIN projects p ON p.id = o.project_id"
			   " WHERE v.id = ?1 AND p.connection IS NOT NULL",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	r = mk_step(call, stmt);
	if (r <= 0)
		return r;
	connection = mk_col_dup(stmt, 0);
	mk_reset(&stmt);
	r = mk_index_store(call, m, connection, &ops, &store);
	if (r < 0)
		return r;
	return ops->alias_set ? 0
			      : mk_fail(call, EROFS,
					"%s: connections/%s.yaml is a store that is only read", name,
					connection);
}

int mk_version_put(struct mk_call *call, struct mantik *m, int64_t id, const char *text, size_t len,
		   uint64_t seen)
{
	_cleanup_buf_ struct mk_buf now = MK_BUF(MK_LIMIT_TEXT);
	_cleanup_(mk_doc_freep) struct mk_doc *was = NULL, *doc = NULL;
	_cleanup_(edit_free) struct edit edit = {.id = id};
	int r = mk_version_yaml(call, m, id, &now);

	if (r < 0)
		return r;
	if (now.len == len && memcmp(mk_buf_text(&now), len ? text : "", len) == 0)
		return 0;
	if (seen && seen != mk_version_generation(&now))
		return mk_fail(call, EBUSY, "%s: changed after you had read it; read it again",
			       name);
	r = mk_doc_parse(call, name, mk_buf_text(&now), now.len, &was);
	if (r == 0)
		r = mk_doc_parse(call, name, text, len, &doc);
	if (r < 0)
		return r;
	if (doc->type != MK_DOC_MAP)
		return mk_doc_fail(call, name, doc, "must be `key: value` lines");
	r = check_rest(call, was, doc);
	if (r == 0)
		r = read_text(call, doc, "description", &edit.new_version_text);
	if (r == 0)
		r = read_text(call, doc, "model_description", &edit.new_model_text);
	if (r == 0)
		r = read_aliases(call, doc, &edit);
	if (r == 0)
		r = can_be_written(call, m, id);
	if (r == 0)
		r = mk_outbox_write(call, m, MK_DURABLE, write_edit, &edit, &edit.row);
	return r < 0 ? r : 0;
}

uint64_t mk_version_generation(const struct mk_buf *text)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < text->len; i++)
		hash = (hash ^ (unsigned char)text->data[i]) * UINT64_C(0x100000001b3);
	return hash ? hash : 1;
}

/* --- the outbox ------------------------------------------------------------------------------ */

/* In the aliases of every version of a model: one is at `version` (NULL: nowhere) and nowhere else. */
static int set_alias(struct mk_call *call, struct mk_conn *conn, int64_t model_id,
		     const char *alias, const char *version)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "SELECT id, version, aliases FROM model_versions WHERE model_id = ?1",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, model_id);
	while ((r = mk_step(call, stmt)) > 0) {
		_cleanup_list_ struct mk_list list = {};
		_cleanup_buf_ struct mk_buf text = MK_BUF(MK_LIMIT_TEXT);
		_cleanup_stmt_ struct mk_stmt *update = NULL;
		bool want = version && strcmp(mk_col_text(stmt, 1), version) == 0;

		r = mk_lines(call, mk_col_text(stmt, 2), &list);
		if (r < 0)
			return r;
		if (mk_list_has(&list, alias) == want)
			continue;
		for (size_t i = 0; i < list.n; i++)
			if (strcmp(list.v[i], alias) != 0)
				(void)mk_buf_printf(&text, "%s%s", text.len ? "\n" : "",
						    list.v[i]);
		if (want)
			(void)mk_buf_printf(&text, "%s%s", text.len ? "\n" : "", alias);
		r = mk_prepare(call, conn, "UPDATE model_versions SET aliases = ?2 WHERE id = ?1",
			       &update);
		if (r < 0)
			return r;
		mk_bind_int(update, 1, mk_col_int(stmt, 0));
		mk_bind_text(update, 2, mk_buf_text(&text));
		r = mk_exec(call, update);
		if (r < 0)
			return r;
	}
	return r;
}

static int set_text(struct mk_call *call, struct mk_conn *conn, const struct mk_out *row,
		    const char *text)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = row->verb == MK_OUT_MODEL_DESCRIBE
			? mk_prepare(call, conn,
				     "UPDATE models SET description = ?3 WHERE id = ?1", &stmt)
			: mk_prepare(call, conn,
				     "UPDATE model_versions SET description = ?3"
				     " WHERE model_id = ?1 AND version = ?2",
				     &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, row->of);
	if (row->verb != MK_OUT_MODEL_DESCRIBE)
		mk_bind_text(stmt, 2, row->key);
	mk_bind_text(stmt, 3, text ? text : "");
	return mk_exec(call, stmt);
}

static int set(struct mk_call *call, struct mk_conn *conn, const struct mk_out *row,
	       const char *value)
{
	if (row->verb == MK_OUT_ALIAS_SET || row->verb == MK_OUT_ALIAS_REMOVE)
		return set_alias(call, conn, row->of, row->key, value);
	return set_text(call, conn, row, value);
}

int mk_model_out_apply(struct mk_call *call, struct mk_conn *conn, const struct mk_out *row)
{
	return set(call, conn, row, row->value);
}

int mk_model_out_take_back(struct mk_call *call, struct mk_conn *conn, const struct mk_out *row)
{
	int r = mk_out_is_covered(call, conn, row);

	if (r != 0)
		return r < 0 ? r : 0;
	return set(call, conn, row, row->before);
}

int mk_model_out_written(struct mk_call *call, struct mk_conn *conn, const struct mk_out *row)
{
	return mk_domain_run(call, conn, "UPDATE models SET written = ?2 WHERE id = ?1", row->of,
			     mk_now_real());
}

int mk_model_out_path(struct mk_call *call, struct mk_conn *conn, const struct mk_out *row,
		      struct mk_buf *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "SELECT p.name, o.name FROM models o JOIN projects p"
			   " ON p.id = o.project_id WHERE o.id = ?1",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, row->of);
	r = mk_step(call, stmt);
	if (r <= 0)
		return r;

	const char *version = row->verb == MK_OUT_VERSION_DESCRIBE ? row->key
			      : row->verb == MK_OUT_ALIAS_SET	   ? row->value
								   : row->before;

	(void)mk_buf_puts(ret, "/projects/");
	(void)mk_name_escape(ret, mk_col_text(stmt, 0), strlen(mk_col_text(stmt, 0)));
	(void)mk_buf_puts(ret, "/models/");
	(void)mk_name_escape(ret, mk_col_text(stmt, 1), strlen(mk_col_text(stmt, 1)));
	if (row->verb != MK_OUT_MODEL_DESCRIBE && version) {
		(void)mk_buf_putc(ret, '/');
		(void)mk_name_escape(ret, version, strlen(version));
		(void)mk_buf_puts(ret, "/model.yaml");
	}
	return 0;
}
