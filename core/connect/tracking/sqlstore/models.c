/* SPDX-License-Identifier: Apache-2.0 */
/* Registered models and their versions, logged models. Each question in two texts: with workspaces
 * (from 3.10), and as it was before. */
#include "sqlstore.h"

#include <errno.h>
#include <string.h>

#include "base/file.h"

/* Both statements of a text with " AND_WORKSPACE ": ?9 is the workspace. */
#define BOTH(begin_, end_)                                                                       \
	{                                                                                        \
		begin_ " AND ?9 IS NOT NULL " end_, begin_ " AND workspace = ?9 " end_           \
	}

static int prepare(struct mk_sql *sql, const char *const texts[2], struct mk_stmt **ret)
{
	int r = mk_prepare(sql->call, sql->conn, texts[sql->schema.workspaces], ret);

	if (r == 0)
		mk_bind_text(*ret, 9, sql->workspace);
	return r;
}

/* --- registered ------------------------------------------------------------------------------ */

struct models {
	struct mk_t_model *v;
	size_t n, cap;
};

static int read_models(struct mk_sql *sql, void *arg)
{
	static const char *const models[] = BOTH("SELECT name, description, creation_time,"
						 " last_updated_time FROM registered_models WHERE 1",
						 "ORDER BY name");
	static const char *const tags[] = BOTH("SELECT key, value FROM registered_model_tags"
					       " WHERE name = ?1", "ORDER BY key");
	struct models *m = arg;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL, *tag = NULL;
	int r = prepare(sql, models, &stmt);

	*m = (struct models){};
	if (r == 0)
		r = prepare(sql, tags, &tag);
	if (r < 0)
		return r;
	while ((r = mk_step(sql->call, stmt)) > 0) {
		struct mk_t_model *to;
		struct mk_t_pair *pairs = NULL;

		r = mk_sql_grow(sql, &m->v, &m->n, &m->cap, sizeof(*to), &to);
		if (r < 0)
			return r;
		*to = (struct mk_t_model){
			.name = mk_sql_text(sql, stmt, 0),
			.description = mk_sql_text(sql, stmt, 1),
			.created = mk_sql_time(stmt, 2),
			.updated = mk_sql_time(stmt, 3),
		};
		if (!to->name || !to->description)
			return -ENOMEM;
		mk_bind_text(tag, 1, to->name);
		r = mk_sql_pairs(sql, tag, &pairs, &to->n_tags);
		mk_rewind(tag);
		if (r < 0)
			return r;
		to->tags = pairs;
	}
	return r;
}

int mk_sql_models(struct mk_call *call, struct mk_tracking *t, char **token, mk_t_model_emit *emit,
		  void *arg)
{
	_cleanup_arena_ struct mk_arena arena = {};
	struct models m = {};
	int r = mk_sql_read(call, t, &arena, read_models, &m);

	mk_freep(token);
	for (size_t i = 0; r >= 0 && i < m.n; i++) {
		if (!*m.v[i].name || strlen(m.v[i].name) > 1000)
			mk_local_refuse(&t->local, "a registered model", "a name of %zu bytes",
					strlen(m.v[i].name));
		else
			r = emit(arg, &m.v[i]);
	}
	return r;
}

/* --- versions -------------------------------------------------------------------------------- */

struct versions {
	const char *model;
	bool found;
	struct mk_t_version *v;
	size_t n, cap;
};

static int find_model(struct mk_sql *sql, struct versions *v)
{
	static const char *const texts[] =
		BOTH("SELECT 1 FROM registered_models WHERE name = ?1", "");
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = prepare(sql, texts, &stmt);

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, v->model);
	r = mk_step(sql->call, stmt);
	v->found = r > 0;
	return r < 0 ? r : 0;
}

static int read_aliases(struct mk_sql *sql, const char *model, struct mk_t_version *version)
{
	static const char *const texts[] =
		BOTH("SELECT alias FROM registered_model_aliases WHERE name = ?1 AND version = ?2",
		     "ORDER BY alias");
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	const char **v = NULL, **to;
	size_t cap = 0;
	int r = prepare(sql, texts, &stmt);

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, model);
	mk_bind_text(stmt, 2, version->version);
	while ((r = mk_step(sql->call, stmt)) > 0) {
		r = mk_sql_grow(sql, &v, &version->n_aliases, &cap, sizeof(*v), &to);
		if (r < 0)
			return r;
		*to = mk_sql_text(sql, stmt, 0);
		if (!*to)
			return -ENOMEM;
	}
	version->aliases = v;
	return r;
}

static int read_tags(struct mk_sql *sql, const char *model, struct mk_t_version *version)
{
	static const char *const texts[] =
		BOTH("SELECT key, value FROM model_version_tags WHERE name = ?1 AND version = ?2",
		     "ORDER BY key");
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	struct mk_t_pair *pairs = NULL;
	int r = prepare(sql, texts, &stmt);

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, model);
	mk_bind_text(stmt, 2, version->version);
	r = mk_sql_pairs(sql, stmt, &pairs, &version->n_tags);
	version->tags = pairs;
	return r;
}

static int read_versions(struct mk_sql *sql, void *arg)
{
	static const char *const texts[] =
		BOTH("SELECT version, run_id, current_stage, status, description, source,"
		     " creation_time, last_updated_time FROM model_versions WHERE name = ?1"
		     " AND ifnull(current_stage, '') <> 'Deleted_Internal'", "ORDER BY version");
	struct versions *v = arg;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = find_model(sql, v);

	v->v = NULL;
	v->n = v->cap = 0;
	if (r < 0 || !v->found)
		return r;
	r = prepare(sql, texts, &stmt);
	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, v->model);
	while ((r = mk_step(sql->call, stmt)) > 0) {
		struct mk_t_version *to;

		r = mk_sql_grow(sql, &v->v, &v->n, &v->cap, sizeof(*to), &to);
		if (r < 0)
			return r;
		*to = (struct mk_t_version){
			.version = mk_sql_text(sql, stmt, 0),
			.run_id = mk_sql_text(sql, stmt, 1),
			.stage = mk_sql_text(sql, stmt, 2),
			.status = mk_sql_text(sql, stmt, 3),
			.description = mk_sql_text(sql, stmt, 4),
			.source = mk_sql_text(sql, stmt, 5),
			.created = mk_sql_time(stmt, 6),
			.updated = mk_sql_time(stmt, 7),
		};
		if (!to->version || !to->run_id || !to->stage || !to->status || !to->description ||
		    !to->source)
			return -ENOMEM;
		r = sql->schema.aliases ? read_aliases(sql, v->model, to) : 0;
		if (r == 0)
			r = read_tags(sql, v->model, to);
		if (r < 0)
			return r;
	}
	return r;
}

int mk_sql_versions(struct mk_call *call, struct mk_tracking *t, const char *model, char **token,
		    mk_t_version_emit *emit, void *arg)
{
	_cleanup_arena_ struct mk_arena arena = {};
	struct versions v = {.model = model};
	int r = mk_sql_read(call, t, &arena, read_versions, &v);

	mk_freep(token);
	if (r == 0 && !v.found)
		return mk_fail(call, ENOENT, "%s: model %.200s: there is none", t->local.connection,
			       model);
	for (size_t i = 0; r >= 0 && i < v.n; i++)
		r = mk_local_is_id(v.v[i].version) ? emit(arg, &v.v[i]) : 0;
	return r;
}

/* --- logged ---------------------------------------------------------------------------------- */

struct one {
	const char *id;
	bool supported, found;
	struct mk_t_logged logged;
};

static const char *status_name(int64_t status)
{
	return status == 1 ? "LOGGED_MODEL_PENDING"
	       : status == 2 ? "LOGGED_MODEL_READY"
	       : status == 3 ? "LOGGED_MODEL_UPLOAD_FAILED" : "";
}

static int pairs_of(struct mk_sql *sql, const char *text, const char *id,
		    const struct mk_t_pair **ret, size_t *ret_n)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	struct mk_t_pair *pairs = NULL;
	int r = mk_prepare(sql->call, sql->conn, text, &stmt);

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, id);
	r = mk_sql_pairs(sql, stmt, &pairs, ret_n);
	*ret = pairs;
	return r;
}

static int read_logged(struct mk_sql *sql, void *arg)
{
	static const char params[] = "SELECT param_key, param_value FROM logged_model_params"
				     " WHERE model_id = ?1 ORDER BY param_key";
	static const char tags[] = "SELECT tag_key, tag_value FROM logged_model_tags"
				   " WHERE model_id = ?1 ORDER BY tag_key";
	struct one *one = arg;
	struct mk_t_logged *to = &one->logged;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r;

	one->supported = sql->schema.logged;
	one->found = false;
	if (!one->supported)
		return 0;
	r = mk_prepare(sql->call, sql->conn,
		       "SELECT name, model_type, status, source_run_id, experiment_id,"
		       " creation_timestamp_ms, last_updated_timestamp_ms FROM logged_models"
		       " WHERE model_id = ?1 AND ifnull(lifecycle_stage, 'active') = 'active'", &stmt);
	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, one->id);
	r = mk_step(sql->call, stmt);
	if (r <= 0)
		return r;
	one->found = true;
	*to = (struct mk_t_logged){
		.id = one->id,
		.name = mk_sql_text(sql, stmt, 0),
		.type = mk_sql_text(sql, stmt, 1),
		.status = status_name(mk_col_int(stmt, 2)),
		.run_id = mk_sql_text(sql, stmt, 3),
		.experiment_id = mk_sql_text(sql, stmt, 4),
		.created = mk_sql_time(stmt, 5),
		.updated = mk_sql_time(stmt, 6),
	};
	if (!to->name || !to->type || !to->run_id || !to->experiment_id)
		return -ENOMEM;
	r = pairs_of(sql, params, one->id, &to->params, &to->n_params);
	return r < 0 ? r : pairs_of(sql, tags, one->id, &to->tags, &to->n_tags);
}

int mk_sql_logged(struct mk_call *call, struct mk_tracking *t, const char *id,
		  mk_t_logged_emit *emit, void *arg)
{
	_cleanup_arena_ struct mk_arena arena = {};
	struct one one = {.id = id};
	int r = mk_sql_read(call, t, &arena, read_logged, &one);

	if (r < 0)
		return r;
	if (!one.supported)
		return mk_fail(call, EOPNOTSUPP,
			       "%s: logged model %.60s: this version of MLflow does not have it",
			       t->local.connection, id);
	return one.found ? emit(arg, &one.logged)
			 : mk_fail(call, ENOENT, "%s: logged model %.60s: there is none",
				   t->local.connection, id);
}
