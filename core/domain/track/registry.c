/* SPDX-License-Identifier: Apache-2.0 */
/* Registered models: see registry.h. Their versions are in registry_version.c. */
#include "domain/track/registry.h"

#include <errno.h>
#include <string.h>

#include "domain/domain.h"
#include "domain/track/track.h"

void mk_registered_free(struct mk_registered *model)
{
	free(model->name);
	free(model->description);
	mk_pairs_free(&model->tags);
	mk_pairs_free(&model->aliases);
	*model = (struct mk_registered){};
}

static int gone(struct mk_call *call, int64_t id)
{
	return mk_fail(call, ENOENT, "Registered Model %lld was deleted", (long long)id);
}

/* --- reading ------------------------------------------------------------------------------- */

/* What has a plain name in this scope. */
static int home_of(struct mk_call *call, struct mantik *m, int64_t scope, int64_t *ret)
{
	return mk_track_project(call, m, scope, ret);
}

int mk_registered_find(struct mk_call *call, struct mantik *m, int64_t scope, const char *name,
		       int64_t *ret)
{
	static const char plain[] =
		"SELECT o.id FROM models o JOIN projects p ON p.id = o.project_id"
		" WHERE o.project_id = ?1 AND o.name = ?2 AND o.gone = 0 AND p.connection IS NULL";
	static const char of_project[] =
		"SELECT o.id FROM models o JOIN projects p ON p.id = o.project_id"
		" WHERE o.project_id != ?1 AND p.name || '.' || o.name = ?2 AND o.gone = 0"
		" AND p.connection IS NULL ORDER BY o.id";
	const char *const sql[] = {plain, scope ? NULL : of_project};
	int64_t home;
	int r = home_of(call, m, scope, &home);

	for (size_t i = 0; r == 0 && i < 2 && sql[i]; i++) {
		_cleanup_stmt_ struct mk_stmt *stmt = NULL;

		r = mk_db_read(call, m->db, sql[i], &stmt);
		if (r < 0)
			return r;
		mk_bind_int(stmt, 1, home);
		mk_bind_text(stmt, 2, name);
		r = mk_step(call, stmt);
		if (r > 0)
			*ret = mk_col_int(stmt, 0);
	}
	return r < 0 ? r : r > 0 ? 0 : mk_fail(call, ENOENT, "Registered Model with name=%s not found",
					       name);
}

int mk_registry_pairs(struct mk_call *call, struct mantik *m, const char *sql, int64_t id,
		      struct mk_pairs *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db, sql, &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	while ((r = mk_step(call, stmt)) > 0)
		if (mk_pairs_add(ret, mk_col_text(stmt, 0), mk_col_text(stmt, 1)) < 0)
			return mk_fail(call, ENOMEM, "out of memory for the tags of a model");
	return r;
}

int mk_registered_get(struct mk_call *call, struct mantik *m, int64_t scope, int64_t id,
		      struct mk_registered *ret)
{
	static const char sql[] =
		"SELECT o.id, o.project_id, iif(o.project_id = ?2, o.name, p.name || '.' || o.name),"
		" o.description, o.created, o.changed FROM models o"
		" JOIN projects p ON p.id = o.project_id WHERE o.id = ?1";
	_cleanup_registered_ struct mk_registered model = {};
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int64_t home;
	int r = home_of(call, m, scope, &home);

	if (r == 0)
		r = mk_db_read(call, m->db, sql, &stmt);
	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	mk_bind_int(stmt, 2, home);
	r = mk_step(call, stmt);
	if (r <= 0)
		return r < 0 ? r : gone(call, id);
	model = (struct mk_registered){
		.id = mk_col_int(stmt, 0),
		.project_id = mk_col_int(stmt, 1),
		.name = mk_col_dup(stmt, 2),
		.description = mk_col_dup(stmt, 3),
		.created = mk_col_int(stmt, 4),
		.changed = mk_col_int(stmt, 5),
	};
	mk_reset(&stmt);
	r = mk_registry_pairs(call, m,
			      "SELECT key, value FROM model_tags WHERE model_id = ?1 ORDER BY key",
			      id, &model.tags);
	if (r == 0)
		r = mk_registry_pairs(call, m,
				      "SELECT a.alias, v.version FROM model_aliases a"
				      " JOIN model_versions v ON v.id = a.version_id"
				      " WHERE a.model_id = ?1 ORDER BY a.alias",
				      id, &model.aliases);
	if (r < 0)
		return r;
	*ret = model;
	model = (struct mk_registered){};
	return 0;
}

/* --- changes ------------------------------------------------------------------------------- */

struct edit {
	int64_t project_id, id, version_id;
	const char *name, *value;
	const struct mk_pairs *tags;
};

/* Its time, and that of the project whose models/ it stands in. */
static int touch(struct mk_call *call, struct mk_conn *conn, int64_t id)
{
	int64_t project_id;
	int r = mk_domain_run(call, conn,
			      "UPDATE models SET changed = max(changed, ?2) WHERE id = ?1", id,
			      mk_now_real());

	if (r == 0)
		r = mk_domain_int(call, conn, "SELECT project_id FROM models WHERE id = ?1", id, 0,
				  &project_id);
	if (r == 0)
		return gone(call, id);
	return r < 0 ? r : mk_project_touch(call, conn, project_id, false);
}

/* ?1 id, ?2 key, ?3 value. */
static int put_pair(struct mk_call *call, struct mk_conn *conn, const char *sql, int64_t id,
		    const char *key, const char *value)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn, sql, &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	mk_bind_text(stmt, 2, key);
	if (value)
		mk_bind_text(stmt, 3, value);
	return mk_exec(call, stmt);
}

static const char set_tag[] = "INSERT OR REPLACE INTO model_tags VALUES (?1, ?2, ?3)";

static int make(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	struct edit *edit = arg;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "INSERT INTO models (project_id, name, description, created, changed)"
			   " VALUES (?1, ?2, ?3, ?4, ?4)",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, edit->project_id);
	mk_bind_text(stmt, 2, edit->name);
	mk_bind_text(stmt, 3, edit->value);
	mk_bind_int(stmt, 4, mk_now_real());
	r = mk_exec(call, stmt);
	if (r == -EEXIST)
		return mk_fail(call, EEXIST, "Registered Model (name=%s) already exists.",
			       edit->name);
	if (r < 0)
		return r;
	edit->id = mk_last_id(conn);
	for (size_t i = 0; r == 0 && edit->tags && i < edit->tags->n; i++)
		r = put_pair(call, conn, set_tag, edit->id, edit->tags->v[i].key,
			     edit->tags->v[i].value);
	return r < 0 ? r : mk_project_touch(call, conn, edit->project_id, false);
}

int mk_registered_make(struct mk_call *call, struct mantik *m, int64_t scope, const char *name,
		       const char *description, const struct mk_pairs *tags, int64_t *ret)
{
	struct edit edit = {.name = name, .value = description, .tags = tags};
	int r = home_of(call, m, scope, &edit.project_id);

	if (r == 0)
		r = mk_domain_write(call, m, MK_DURABLE, make, &edit);
	if (r == 0)
		*ret = edit.id;
	return r;
}

static int describe(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct edit *edit = arg;
	int r = put_pair(call, conn, "UPDATE models SET description = ?2 WHERE id = ?1", edit->id,
			 edit->value, NULL);

	/* It stands in each version's model.yaml. */
	if (r == 0)
		r = mk_domain_run(call, conn,
				  "UPDATE model_versions SET changed = changed + 1"
				  " WHERE model_id = ?1",
				  edit->id, 0);
	return r < 0 ? r : touch(call, conn, edit->id);
}

int mk_registered_describe(struct mk_call *call, struct mantik *m, int64_t id,
			   const char *description)
{
	struct edit edit = {.id = id, .value = description};

	return mk_domain_write(call, m, MK_DURABLE, describe, &edit);
}

static int rename_model(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct edit *edit = arg;
	int r = put_pair(call, conn, "UPDATE models SET name = ?2 WHERE id = ?1", edit->id,
			 edit->name, NULL);

	if (r == -EEXIST)
		return mk_fail(call, EEXIST, "Registered Model (name=%s) already exists.",
			       edit->name);
	if (r == 0)
		r = mk_domain_run(call, conn,
				  "UPDATE model_versions SET changed = max(changed + 1, ?2)"
				  " WHERE model_id = ?1",
				  edit->id, mk_now_real());
	return r < 0 ? r : touch(call, conn, edit->id);
}

int mk_registered_rename(struct mk_call *call, struct mantik *m, int64_t id, const char *name)
{
	struct edit edit = {.id = id, .name = name};

	return mk_domain_write(call, m, MK_DURABLE, rename_model, &edit);
}

static int remove_model(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	static const char *const sql[] = {
		"DELETE FROM model_aliases WHERE model_id = ?1",
		"DELETE FROM model_tags WHERE model_id = ?1",
		"DELETE FROM version_tags WHERE version_id IN"
		" (SELECT id FROM model_versions WHERE model_id = ?1)",
		"DELETE FROM model_versions WHERE model_id = ?1",
		"DELETE FROM models WHERE id = ?1",
	};
	const struct edit *edit = arg;
	int64_t project_id;
	int r = mk_domain_int(call, conn, "SELECT project_id FROM models WHERE id = ?1", edit->id,
			      0, &project_id);

	if (r <= 0)
		return r < 0 ? r : gone(call, edit->id);
	r = 0;
	for (size_t i = 0; r == 0 && i < sizeof(sql) / sizeof(*sql); i++)
		r = mk_domain_run(call, conn, sql[i], edit->id, 0);
	return r < 0 ? r : mk_project_touch(call, conn, project_id, false);
}

int mk_registered_remove(struct mk_call *call, struct mantik *m, int64_t id)
{
	struct edit edit = {.id = id};

	return mk_domain_write(call, m, MK_DURABLE, remove_model, &edit);
}

static int tag(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct edit *edit = arg;
	int64_t there;
	int r = mk_domain_int(call, conn, "SELECT 1 FROM models WHERE id = ?1", edit->id, 0, &there);

	if (r <= 0)
		return r < 0 ? r : gone(call, edit->id);
	return put_pair(call, conn,
			edit->value ? set_tag
				    : "DELETE FROM model_tags WHERE model_id = ?1 AND key = ?2",
			edit->id, edit->name, edit->value);
}

int mk_registered_tag(struct mk_call *call, struct mantik *m, int64_t id, const char *key,
		      const char *value)
{
	struct edit edit = {.id = id, .name = key, .value = value};

	return mk_domain_write(call, m, MK_DURABLE, tag, &edit);
}

static int put_alias(struct mk_call *call, struct mk_conn *conn, const struct edit *edit)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "INSERT OR REPLACE INTO model_aliases SELECT model_id, ?2, id"
			   " FROM model_versions WHERE id = ?1 AND gone = 0",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, edit->version_id);
	mk_bind_text(stmt, 2, edit->name);
	r = mk_exec(call, stmt);
	return r < 0 ? r : mk_rows_changed(conn) ? 0 : gone(call, edit->id);
}

/* The versions it leaves and comes to are other texts now. */
static int alias(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct edit *edit = arg;
	static const char left[] =
		"UPDATE model_versions SET changed = max(changed + 1, ?3) WHERE id ="
		" (SELECT version_id FROM model_aliases WHERE model_id = ?1 AND alias = ?2)";
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn, left, &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, edit->id);
	mk_bind_text(stmt, 2, edit->name);
	mk_bind_int(stmt, 3, mk_now_real());
	r = mk_exec(call, stmt);
	if (r == 0)
		r = edit->version_id
			    ? put_alias(call, conn, edit)
			    : put_pair(call, conn,
				       "DELETE FROM model_aliases WHERE model_id = ?1 AND alias = ?2",
				       edit->id, edit->name, NULL);
	return r < 0 ? r : touch(call, conn, edit->id);
}

int mk_registered_alias(struct mk_call *call, struct mantik *m, int64_t id, const char *name,
			int64_t version_id)
{
	struct edit edit = {.id = id, .name = name, .version_id = version_id};

	return mk_domain_write(call, m, MK_DURABLE, alias, &edit);
}
