/* SPDX-License-Identifier: Apache-2.0 */
/* See logged_model.h. */
#include "domain/track/logged_model.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/file.h"
#include "domain/domain.h"
#include "domain/logged.h"
#include "domain/track/registry.h"

void mk_logged_model_free(struct mk_logged_model *model)
{
	free(model->id);
	free(model->name);
	free(model->source_run);
	free(model->model_type);
	mk_pairs_free(&model->tags);
	mk_pairs_free(&model->params);
	*model = (struct mk_logged_model){};
}

static int none(struct mk_call *call, const char *id)
{
	return mk_fail(call, ENOENT, "Logged model with ID '%s' not found.", id);
}

/* --- reading ------------------------------------------------------------------------------- */

static int get_pairs(struct mk_call *call, struct mantik *m, const char *sql, const char *id,
		     struct mk_pairs *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db, sql, &stmt);

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, id);
	while ((r = mk_step(call, stmt)) > 0)
		if (mk_pairs_add(ret, mk_col_text(stmt, 0), mk_col_text(stmt, 1)) < 0)
			return mk_fail(call, ENOMEM, "out of memory for the tags of a model");
	return r;
}

int mk_logged_model_get(struct mk_call *call, struct mantik *m, int64_t scope, const char *id,
			bool deleted, struct mk_logged_model *ret)
{
	static const char sql[] =
		"SELECT model_id, project_id, experiment_id, name, source_run, model_type, status,"
		" created, changed, deleted FROM logged_models WHERE model_id = ?1"
		" AND experiment_id IS NOT NULL AND (?2 = 0 OR project_id = ?2)"
		" AND (?3 OR deleted = 0)";
	_cleanup_logged_model_ struct mk_logged_model model = {};
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db, sql, &stmt);

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, id);
	mk_bind_int(stmt, 2, scope);
	mk_bind_int(stmt, 3, deleted);
	r = mk_step(call, stmt);
	if (r <= 0)
		return r < 0 ? r : none(call, id);
	model = (struct mk_logged_model){
		.id = mk_col_dup(stmt, 0),
		.project_id = mk_col_int(stmt, 1),
		.experiment_id = mk_col_int(stmt, 2),
		.name = mk_col_dup(stmt, 3),
		.source_run = mk_col_dup(stmt, 4),
		.model_type = mk_col_dup(stmt, 5),
		.status = (enum mk_logged_status)mk_col_int(stmt, 6),
		.created = mk_col_int(stmt, 7),
		.changed = mk_col_int(stmt, 8),
		.deleted = mk_col_int(stmt, 9) != 0,
	};
	mk_reset(&stmt);
	r = get_pairs(call, m,
		      "SELECT key, value FROM logged_model_tags WHERE model_id = ?1 ORDER BY key",
		      id, &model.tags);
	if (r == 0)
		r = get_pairs(call, m,
			      "SELECT key, value FROM logged_model_params WHERE model_id = ?1"
			      " ORDER BY key",
			      id, &model.params);
	if (r < 0)
		return r;
	*ret = model;
	model = (struct mk_logged_model){};
	return 0;
}

int mk_logged_model_metrics(struct mk_call *call, struct mantik *m, const char *id,
			    mk_model_metric_emit *emit, void *arg)
{
	static const char sql[] =
		"SELECT p.key, r.uid, p.dataset_name, p.dataset_digest, p.value, p.time, p.step,"
		" p.minus"
		" FROM model_points p JOIN runs r ON r.id = p.run_id WHERE p.model_id = ?1"
		" ORDER BY p.key, p.step, p.time LIMIT 100000";
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db, sql, &stmt);

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, id);
	while ((r = mk_step(call, stmt)) > 0) {
		struct mk_model_metric metric = {
			.key = mk_col_text(stmt, 0),
			.run = mk_col_text(stmt, 1),
			.dataset_name = mk_col_text(stmt, 2),
			.dataset_digest = mk_col_text(stmt, 3),
			.value = mk_col_value_minus(stmt, 4, 7, 1),
			.time = mk_col_int(stmt, 5),
			.step = mk_col_int(stmt, 6),
		};

		r = emit(arg, &metric);
		if (r)
			return r;
	}
	return r;
}

int mk_logged_model_by_serial(struct mk_call *call, struct mantik *m, int64_t serial, char **ret_id)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db, "SELECT model_id FROM logged_models WHERE serial = ?1",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, serial);
	r = mk_step(call, stmt);
	if (r <= 0)
		return r < 0 ? r : mk_fail(call, ENOENT, "logged model %lld is gone",
					   (long long)serial);
	*ret_id = mk_col_dup(stmt, 0);
	return 0;
}

/* --- changes ------------------------------------------------------------------------------- */

struct edit {
	int64_t scope;
	const char *id, *key;
	const struct mk_pairs *pairs;
	enum mk_logged_status status;
};

/* ENOENT; else `changed` becomes now, or a little later with tags, which are no update to MLflow. */
static int touch(struct mk_call *call, struct mk_conn *conn, const struct edit *edit, bool update)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "UPDATE logged_models SET changed = max(changed + 1, ?3)"
			   " WHERE model_id = ?1 AND experiment_id IS NOT NULL AND deleted = 0"
			   " AND (?2 = 0 OR project_id = ?2)",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, edit->id);
	mk_bind_int(stmt, 2, edit->scope);
	mk_bind_int(stmt, 3, update ? mk_now_real() : 0);
	r = mk_exec(call, stmt);
	return r < 0 ? r : mk_rows_changed(conn) ? 0 : none(call, edit->id);
}

static int put_pairs(struct mk_call *call, struct mk_conn *conn, const char *sql, const char *id,
		     const struct mk_pairs *pairs)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn, sql, &stmt);

	for (size_t i = 0; r == 0 && pairs && i < pairs->n; i++) {
		mk_bind_text(stmt, 1, id);
		mk_bind_text(stmt, 2, pairs->v[i].key);
		mk_bind_text(stmt, 3, pairs->v[i].value);
		r = mk_step(call, stmt);
		mk_rewind(stmt);
	}
	return r;
}

static const char set_tag[] = "INSERT OR REPLACE INTO logged_model_tags VALUES (?1, ?2, ?3)";
static const char set_param[] = "INSERT INTO logged_model_params VALUES (?1, ?2, ?3)";

/* Runs whose models/ shows it have another time. */
static int touch_run(struct mk_call *call, struct mk_conn *conn, const char *uid)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn, "SELECT id FROM runs WHERE uid = ?1 AND remote_id IS NULL",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, uid);
	r = mk_step(call, stmt);
	if (r <= 0)
		return r;

	int64_t id = mk_col_int(stmt, 0);

	mk_reset(&stmt);
	return mk_run_touch(call, conn, id, MK_TOUCH_LOGGED);
}

struct making {
	const struct mk_logged_new *model;
	char id[40];
};

static int make(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	static const char sql[] =
		"INSERT INTO logged_models (project_id, model_id, name, experiment_id, source_run,"
		" model_type, status, created, changed, serial) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7,"
		" ?8, ?8, ifnull(max(serial), 0) + 1 FROM logged_models WHERE serial IS NOT NULL";
	const struct making *making = arg;
	const struct mk_logged_new *model = making->model;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int64_t project_id;
	int r = mk_domain_int(call, conn,
			      "SELECT e.project_id FROM experiments e JOIN projects p"
			      " ON p.id = e.project_id WHERE e.id = ?1 AND e.deleted = 0"
			      " AND p.connection IS NULL",
			      model->experiment_id, 0, &project_id);

	if (r == 0)
		return mk_fail(call, EINVAL,
			       "The experiment %lld must be in the 'active' state. Current state is"
			       " deleted.",
			       (long long)model->experiment_id);
	if (r > 0)
		r = mk_prepare(call, conn, sql, &stmt);
	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, project_id);
	mk_bind_text(stmt, 2, making->id);
	mk_bind_text(stmt, 3, model->name ? model->name : making->id);
	mk_bind_int(stmt, 4, model->experiment_id);
	mk_bind_text(stmt, 5, model->source_run);
	mk_bind_text(stmt, 6, model->model_type);
	mk_bind_int(stmt, 7, MK_LOGGED_PENDING);
	mk_bind_int(stmt, 8, mk_now_real());
	r = mk_exec(call, stmt);
	if (r == 0)
		r = put_pairs(call, conn, set_tag, making->id, model->tags);
	if (r == 0)
		r = put_pairs(call, conn, set_param, making->id, model->params);
	if (r == 0 && *model->source_run)
		r = touch_run(call, conn, model->source_run);
	return r;
}

int mk_logged_model_make(struct mk_call *call, struct mantik *m, const struct mk_logged_new *model,
			 char **ret_id)
{
	struct making making = {.model = model, .id = "m-"};
	unsigned char bytes[16];
	int r;

	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		return mk_fail(call, EIO, "no random numbers: %s", strerror(errno));
	for (size_t i = 0; i < sizeof(bytes); i++)
		(void)snprintf(making.id + 2 + 2 * i, 3, "%02x", bytes[i]);
	if (model->id)
		(void)snprintf(making.id, sizeof(making.id), "%s", model->id);
	r = mk_domain_write(call, m, MK_KILLSAFE, make, &making);
	if (r == 0)
		*ret_id = mk_strdup(making.id);
	return r;
}

static int finish(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct edit *edit = arg;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = touch(call, conn, edit, true);

	if (r == 0)
		r = mk_prepare(call, conn,
			       "UPDATE logged_models SET status = ?2 WHERE model_id = ?1"
			       " AND experiment_id IS NOT NULL",
			       &stmt);
	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, edit->id);
	mk_bind_int(stmt, 2, edit->status);
	return mk_exec(call, stmt);
}

int mk_logged_model_finish(struct mk_call *call, struct mantik *m, int64_t scope, const char *id,
			   enum mk_logged_status status)
{
	struct edit edit = {.scope = scope, .id = id, .status = status};

	return mk_domain_write(call, m, MK_KILLSAFE, finish, &edit);
}

static int delete_model(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct edit *edit = arg;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = touch(call, conn, edit, true);

	if (r == 0)
		r = mk_prepare(call, conn,
			       "UPDATE logged_models SET deleted = ?2 WHERE model_id = ?1"
			       " AND experiment_id IS NOT NULL",
			       &stmt);
	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, edit->id);
	mk_bind_int(stmt, 2, mk_now_real());
	return mk_exec(call, stmt);
}

int mk_logged_model_delete(struct mk_call *call, struct mantik *m, int64_t scope, const char *id)
{
	struct edit edit = {.scope = scope, .id = id};

	return mk_domain_write(call, m, MK_DURABLE, delete_model, &edit);
}

static int put_tags(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct edit *edit = arg;
	int r = touch(call, conn, edit, false);

	return r < 0 ? r : put_pairs(call, conn, set_tag, edit->id, edit->pairs);
}

int mk_logged_model_tag(struct mk_call *call, struct mantik *m, int64_t scope, const char *id,
			const struct mk_pairs *tags)
{
	struct edit edit = {.scope = scope, .id = id, .pairs = tags};

	return mk_domain_write(call, m, MK_KILLSAFE, put_tags, &edit);
}

static int untag(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct edit *edit = arg;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = touch(call, conn, edit, false);

	if (r == 0)
		r = mk_prepare(call, conn,
			       "DELETE FROM logged_model_tags WHERE model_id = ?1 AND key = ?2",
			       &stmt);
	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, edit->id);
	mk_bind_text(stmt, 2, edit->key);
	r = mk_exec(call, stmt);
	if (r == 0 && !mk_rows_changed(conn))
		r = mk_fail(call, ENOENT, "No tag with key '%s' found for model with ID '%s'.",
			    edit->key, edit->id);
	return r;
}

int mk_logged_model_untag(struct mk_call *call, struct mantik *m, int64_t scope, const char *id,
			  const char *key)
{
	struct edit edit = {.scope = scope, .id = id, .key = key};

	return mk_domain_write(call, m, MK_KILLSAFE, untag, &edit);
}

/* 1 it is there with this value, 0 it is not there, EINVAL another value is. */
static int has_param(struct mk_call *call, struct mk_conn *conn, const char *id,
		     const struct mk_pair *param)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "SELECT value FROM logged_model_params WHERE model_id = ?1 AND key = ?2",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, id);
	mk_bind_text(stmt, 2, param->key);
	r = mk_step(call, stmt);
	if (r <= 0 || strcmp(mk_col_text(stmt, 0), param->value) == 0)
		return r;
	return mk_fail(call, EINVAL,
		       "Changing param values is not allowed. Param with key='%s' was already logged"
		       " with value='%s' for model with ID '%s'.",
		       param->key, mk_col_text(stmt, 0), id);
}

static int put_params(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct edit *edit = arg;
	int r = touch(call, conn, edit, false);

	for (size_t i = 0; r == 0 && i < edit->pairs->n; i++) {
		struct mk_pair *param = &edit->pairs->v[i];

		r = has_param(call, conn, edit->id, param);
		if (r == 0)
			r = put_pairs(call, conn, set_param, edit->id,
				      &(struct mk_pairs){.v = param, .n = 1});
		else if (r > 0)
			r = 0;
	}
	return r;
}

int mk_logged_model_params(struct mk_call *call, struct mantik *m, int64_t scope, const char *id,
			   const struct mk_pairs *params)
{
	struct edit edit = {.scope = scope, .id = id, .pairs = params};

	return mk_domain_write(call, m, MK_KILLSAFE, put_params, &edit);
}

/* --- the end ------------------------------------------------------------------------------- */

static int remove_rows(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	static const char *const sql[] = {
		"DELETE FROM logged_model_tags WHERE model_id = ?1",
		"DELETE FROM logged_model_params WHERE model_id = ?1",
		"DELETE FROM model_points WHERE model_id = ?1",
		"DELETE FROM run_models WHERE model_id = ?1",
		"DELETE FROM run_model_inputs WHERE model_id = ?1",
		"DELETE FROM logged_models WHERE model_id = ?1 AND experiment_id IS NOT NULL",
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(sql) / sizeof(*sql); i++) {
		_cleanup_stmt_ struct mk_stmt *stmt = NULL;

		r = mk_prepare(call, conn, sql[i], &stmt);
		if (r < 0)
			return r;
		mk_bind_text(stmt, 1, arg);
		r = mk_exec(call, stmt);
	}
	return r;
}

int mk_logged_model_gc(struct mk_call *call, struct mantik *m, int64_t until)
{
	_cleanup_free_ char *path = mk_strf("%s/models", m->data_dir);
	_cleanup_list_ struct mk_list ids = {};
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db,
			   "SELECT model_id FROM logged_models l WHERE experiment_id IS NOT NULL"
			   " AND deleted > 0 AND deleted <= ?1 AND NOT EXISTS (SELECT 1"
			   " FROM model_versions v WHERE v.gone = 0"
			   " AND instr(v.storage, '/models/' || l.model_id || '/') > 0)",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, until);
	while ((r = mk_step(call, stmt)) > 0)
		if (mk_list_add(&ids, mk_col_text(stmt, 0)) < 0)
			return mk_fail(call, ENOMEM, "too many deleted models at once");
	mk_reset(&stmt);
	if (r < 0 || !ids.n)
		return r;

	_cleanup_close_ int dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (dir < 0 && errno != ENOENT)
		return mk_fail(call, errno, "%s: %s", path, strerror(errno));
	/* The files first: what is left of a kill is a deleted model, which can be ended again. */
	for (size_t i = 0; r == 0 && i < ids.n; i++) {
		r = mk_call_check(call, "the end of deleted models");
		if (r == 0 && dir >= 0)
			r = mk_remove_tree(call, dir, ids.v[i]);
		if (r == 0)
			r = mk_domain_write(call, m, MK_DURABLE, remove_rows, ids.v[i]);
	}
	return r < 0 ? r : (int)ids.n;
}
