/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Versions of registered models: see registry.h. One that is deleted keeps its row (`gone`), so that
 * its number is not given again and what is open stays what it was.
 */
#include "domain/track/registry.h"

#include <errno.h>
#include <string.h>

#include "base/file.h"
#include "domain/domain.h"
#include "domain/track/track.h"

void mk_registered_version_free(struct mk_registered_version *version)
{
	free(version->name);
	free(version->version);
	free(version->stage);
	free(version->description);
	free(version->source);
	free(version->storage);
	free(version->run_id);
	free(version->run_link);
	free(version->logged);
	mk_pairs_free(&version->tags);
	mk_list_free(&version->aliases);
	*version = (struct mk_registered_version){};
}

static int gone(struct mk_call *call, int64_t id)
{
	return mk_fail(call, ENOENT, "Model Version %lld was deleted", (long long)id);
}

/* --- reading ------------------------------------------------------------------------------- */

int mk_registered_version_find(struct mk_call *call, struct mantik *m, int64_t model_id,
			       const char *name, int64_t version, int64_t *ret)
{
	_cleanup_free_ char *text = mk_strf("%lld", (long long)version);
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db,
			   "SELECT id FROM model_versions WHERE model_id = ?1 AND version = ?2"
			   " AND gone = 0",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, model_id);
	mk_bind_text(stmt, 2, text);
	r = mk_step(call, stmt);
	if (r <= 0)
		return r < 0 ? r
			     : mk_fail(call, ENOENT, "Model Version (name=%s, version=%s) not found",
				       name, text);
	*ret = mk_col_int(stmt, 0);
	return 0;
}

int mk_registered_version_by_alias(struct mk_call *call, struct mantik *m, int64_t model_id,
				   const char *name, const char *alias, int64_t *ret)
{
	static const char latest[] =
		"SELECT id FROM model_versions WHERE model_id = ?1 AND gone = 0"
		" ORDER BY CAST(version AS INTEGER) DESC LIMIT 1";
	static const char named[] =
		"SELECT version_id FROM model_aliases WHERE model_id = ?1 AND alias = ?2";
	bool is_latest = strcasecmp(alias, "latest") == 0;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db, is_latest ? latest : named, &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, model_id);
	if (!is_latest)
		mk_bind_text(stmt, 2, alias);
	r = mk_step(call, stmt);
	if (r < 0)
		return r;
	if (r == 0 && is_latest)
		return mk_fail(call, ENOENT, "Latest version not found for model %s.", name);
	if (r == 0)
		return mk_fail(call, EINVAL, "Registered model alias %s not found.", alias);
	*ret = mk_col_int(stmt, 0);
	return 0;
}

int mk_registered_version_get(struct mk_call *call, struct mantik *m, int64_t scope, int64_t id,
			      struct mk_registered_version *ret)
{
	static const char sql[] =
		"SELECT v.id, v.model_id, iif(o.project_id = ?2, o.name, p.name || '.' || o.name),"
		" v.version, v.stage, v.description, v.source, v.storage, ifnull(v.run_id, ''),"
		" v.run_link, v.logged, v.created, v.changed FROM model_versions v"
		" JOIN models o ON o.id = v.model_id JOIN projects p ON p.id = o.project_id"
		" WHERE v.id = ?1 AND v.gone = 0";
	_cleanup_registered_version_ struct mk_registered_version version = {};
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int64_t home;
	int r = mk_track_project(call, m, scope, &home);

	if (r == 0)
		r = mk_db_read(call, m->db, sql, &stmt);
	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	mk_bind_int(stmt, 2, home);
	r = mk_step(call, stmt);
	if (r <= 0)
		return r < 0 ? r : gone(call, id);
	version = (struct mk_registered_version){
		.id = mk_col_int(stmt, 0),
		.model_id = mk_col_int(stmt, 1),
		.name = mk_col_dup(stmt, 2),
		.version = mk_col_dup(stmt, 3),
		.stage = mk_col_dup(stmt, 4),
		.description = mk_col_dup(stmt, 5),
		.source = mk_col_dup(stmt, 6),
		.storage = mk_col_dup(stmt, 7),
		.run_id = mk_col_dup(stmt, 8),
		.run_link = mk_col_dup(stmt, 9),
		.logged = mk_col_dup(stmt, 10),
		.created = mk_col_int(stmt, 11),
		.changed = mk_col_int(stmt, 12),
	};
	mk_reset(&stmt);
	r = mk_registry_pairs(call, m,
			      "SELECT key, value FROM version_tags WHERE version_id = ?1"
			      " ORDER BY key",
			      id, &version.tags);
	if (r == 0)
		r = mk_db_read(call, m->db,
			       "SELECT alias FROM model_aliases WHERE model_id = ?1"
			       " AND version_id = ?2 ORDER BY alias",
			       &stmt);
	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, version.model_id);
	mk_bind_int(stmt, 2, id);
	while ((r = mk_step(call, stmt)) > 0)
		if (mk_list_add(&version.aliases, mk_col_text(stmt, 0)) < 0)
			return mk_fail(call, ENOMEM, "out of memory for the aliases of a version");
	if (r < 0)
		return r;
	*ret = version;
	version = (struct mk_registered_version){};
	return 0;
}

int mk_registered_latest(struct mk_call *call, struct mantik *m, int64_t model_id,
			 mk_id_emit *emit, void *arg)
{
	static const char sql[] =
		"SELECT id FROM (SELECT id, first, row_number() OVER (PARTITION BY stage"
		" ORDER BY number DESC) AS place FROM (SELECT id, stage, CAST(version AS INTEGER)"
		" AS number, min(CAST(version AS INTEGER)) OVER (PARTITION BY stage) AS first"
		" FROM model_versions WHERE model_id = ?1 AND gone = 0)) WHERE place = 1"
		" ORDER BY first";
	int64_t ids[16]; /* there are four stages */
	size_t n = 0;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db, sql, &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, model_id);
	while ((r = mk_step(call, stmt)) > 0 && n < sizeof(ids) / sizeof(*ids))
		ids[n++] = mk_col_int(stmt, 0);
	mk_reset(&stmt);
	r = r < 0 ? r : 0;
	for (size_t i = 0; r == 0 && i < n; i++)
		r = emit(arg, ids[i]);
	return r;
}

/* --- changes ------------------------------------------------------------------------------- */

struct edit {
	int64_t id;
	const char *key, *value;
	bool archive;
};

/* The version, its model and the project they stand in. */
static int touch(struct mk_call *call, struct mk_conn *conn, int64_t id)
{
	static const char *const sql[] = {
		"UPDATE model_versions SET changed = max(changed + 1, ?2) WHERE id = ?1",
		"UPDATE models SET changed = max(changed, ?2)"
		" WHERE id = (SELECT model_id FROM model_versions WHERE id = ?1)",
	};
	int64_t project_id, now = mk_now_real();
	int r = 0;

	for (size_t i = 0; r == 0 && i < 2; i++)
		r = mk_domain_run(call, conn, sql[i], id, now);
	if (r == 0)
		r = mk_domain_int(call, conn,
				  "SELECT o.project_id FROM models o JOIN model_versions v"
				  " ON v.model_id = o.id WHERE v.id = ?1",
				  id, 0, &project_id);
	return r < 0 ? r : r == 0 ? gone(call, id) : mk_project_touch(call, conn, project_id, false);
}

/* Of one that is there still: ?1 id, ?2 and ?3 texts. */
static int change(struct mk_call *call, struct mk_conn *conn, const char *sql,
		  const struct edit *edit)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int64_t there;
	int r = mk_domain_int(call, conn,
			      "SELECT 1 FROM model_versions WHERE id = ?1 AND gone = 0", edit->id, 0,
			      &there);

	if (r <= 0)
		return r < 0 ? r : gone(call, edit->id);
	r = mk_prepare(call, conn, sql, &stmt);
	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, edit->id);
	if (edit->key)
		mk_bind_text(stmt, 2, edit->key);
	if (edit->value)
		mk_bind_text(stmt, 3, edit->value);
	return mk_exec(call, stmt);
}

static int describe(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct edit *edit = arg;
	int r = change(call, conn, "UPDATE model_versions SET description = ?2 WHERE id = ?1", edit);

	return r < 0 ? r : touch(call, conn, edit->id);
}

int mk_registered_version_describe(struct mk_call *call, struct mantik *m, int64_t id,
				   const char *description)
{
	struct edit edit = {.id = id, .key = description};

	return mk_domain_write(call, m, MK_DURABLE, describe, &edit);
}

static int stage(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	static const char others[] =
		"UPDATE model_versions SET stage = 'Archived', changed = max(changed + 1, ?3)"
		" WHERE id != ?1 AND gone = 0 AND stage = ?2 AND model_id ="
		" (SELECT model_id FROM model_versions WHERE id = ?1)";
	const struct edit *edit = arg;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = change(call, conn, "UPDATE model_versions SET stage = ?2 WHERE id = ?1", edit);

	if (r == 0 && edit->archive) {
		r = mk_prepare(call, conn, others, &stmt);
		if (r < 0)
			return r;
		mk_bind_int(stmt, 1, edit->id);
		mk_bind_text(stmt, 2, edit->key);
		mk_bind_int(stmt, 3, mk_now_real());
		r = mk_exec(call, stmt);
	}
	return r < 0 ? r : touch(call, conn, edit->id);
}

int mk_registered_version_stage(struct mk_call *call, struct mantik *m, int64_t id,
				const char *name, bool archive)
{
	struct edit edit = {.id = id, .key = name, .archive = archive};

	return mk_domain_write(call, m, MK_DURABLE, stage, &edit);
}

static int remove_version(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct edit *edit = arg;
	int r = change(call, conn, "DELETE FROM model_aliases WHERE version_id = ?1", edit);

	if (r == 0)
		r = mk_domain_run(call, conn, "DELETE FROM version_tags WHERE version_id = ?1",
				  edit->id, 0);
	if (r == 0)
		r = touch(call, conn, edit->id);
	return r < 0 ? r
		     : mk_domain_run(call, conn, "UPDATE model_versions SET gone = 1 WHERE id = ?1",
				     edit->id, 0);
}

int mk_registered_version_remove(struct mk_call *call, struct mantik *m, int64_t id)
{
	struct edit edit = {.id = id};

	return mk_domain_write(call, m, MK_DURABLE, remove_version, &edit);
}

static const char set_tag[] = "INSERT OR REPLACE INTO version_tags VALUES (?1, ?2, ?3)";

static int tag(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct edit *edit = arg;
	int r = change(call, conn,
		       edit->value ? set_tag
				   : "DELETE FROM version_tags WHERE version_id = ?1 AND key = ?2",
		       edit);

	/* model.yaml shows it; to MLflow, whose times are ms, a tag is no update. */
	return r < 0 ? r
		     : mk_domain_run(call, conn,
				     "UPDATE model_versions SET changed = changed + 1 WHERE id = ?1",
				     edit->id, 0);
}

int mk_registered_version_tag(struct mk_call *call, struct mantik *m, int64_t id, const char *key,
			      const char *value)
{
	struct edit edit = {.id = id, .key = key, .value = value};

	return mk_domain_write(call, m, MK_DURABLE, tag, &edit);
}

/* --- a new one ----------------------------------------------------------------------------- */

struct making {
	const struct mk_version_new *version;
	int64_t id;
};

/* As MLflow's client would write it: a JSON list, this one behind those that were there. */
static int tag_logged(struct mk_call *call, struct mk_conn *conn,
		      const struct mk_version_new *version, int64_t number)
{
	static const char sql[] =
		"INSERT INTO logged_model_tags VALUES (?1, 'mlflow.modelVersions', '[' || ?2 || ']')"
		" ON CONFLICT DO UPDATE SET value = CASE WHEN value LIKE '[%]' AND length(value) > 2"
		" THEN substr(value, 1, length(value) - 1) || ', ' || ?2 || ']'"
		" ELSE excluded.value END";
	_cleanup_free_ char *entry = mk_strf("{\"name\": %s, \"version\": %lld}",
					     version->logged_name, (long long)number);
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn, sql, &stmt);

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, version->logged);
	mk_bind_text(stmt, 2, entry);
	return mk_exec(call, stmt);
}

static int make(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	static const char sql[] =
		"INSERT INTO model_versions (model_id, version, run_id, stage, status, description,"
		" source, storage, run_link, logged, tags, created, changed)"
		" SELECT id, ?2, ?3, 'None', 'READY', ?4, ?5, ?6, ?7, ?8, x'', ?9, ?9"
		" FROM models WHERE id = ?1 AND gone = 0";
	struct making *making = arg;
	const struct mk_version_new *v = making->version;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL, *tags = NULL;
	_cleanup_free_ char *number = NULL;
	int64_t last = 0;
	int r = mk_domain_int(call, conn,
			      "SELECT ifnull(max(CAST(version AS INTEGER)), 0) FROM model_versions"
			      " WHERE model_id = ?1",
			      v->model_id, 0, &last);

	if (r >= 0)
		r = mk_prepare(call, conn, sql, &stmt);
	if (r < 0)
		return r;
	number = mk_strf("%lld", (long long)last + 1);
	mk_bind_int(stmt, 1, v->model_id);
	mk_bind_text(stmt, 2, number);
	mk_bind_text(stmt, 3, *v->run_id ? v->run_id : NULL);
	mk_bind_text(stmt, 4, v->description);
	mk_bind_text(stmt, 5, v->source);
	mk_bind_text(stmt, 6, v->storage);
	mk_bind_text(stmt, 7, v->run_link);
	mk_bind_text(stmt, 8, v->logged);
	mk_bind_int(stmt, 9, mk_now_real());
	r = mk_exec(call, stmt);
	if (r < 0)
		return r;
	if (!mk_rows_changed(conn))
		return mk_fail(call, ENOENT, "Registered Model was deleted");
	making->id = mk_last_id(conn);
	r = mk_prepare(call, conn, set_tag, &tags);
	for (size_t i = 0; r == 0 && v->tags && i < v->tags->n; i++) {
		mk_bind_int(tags, 1, making->id);
		mk_bind_text(tags, 2, v->tags->v[i].key);
		mk_bind_text(tags, 3, v->tags->v[i].value);
		r = mk_step(call, tags);
		mk_rewind(tags);
	}
	if (r == 0 && *v->logged)
		r = tag_logged(call, conn, v, last + 1);
	if (r == 0)
		r = mk_domain_run(call, conn,
				  "UPDATE models SET changed = max(changed, ?2) WHERE id = ?1",
				  v->model_id, mk_now_real());

	int64_t project_id;

	if (r == 0)
		r = mk_domain_int(call, conn, "SELECT project_id FROM models WHERE id = ?1",
				  v->model_id, 0, &project_id);
	return r < 0 ? r : mk_project_touch(call, conn, project_id, false);
}

int mk_registered_version_make(struct mk_call *call, struct mantik *m,
			       const struct mk_version_new *version, int64_t *ret)
{
	struct making making = {.version = version};
	int r = mk_domain_write(call, m, MK_DURABLE, make, &making);

	if (r == 0)
		*ret = making.id;
	return r;
}
