/* SPDX-License-Identifier: Apache-2.0 */
/* Where files are: rows of our tables as places in a store (files.h). */
#include "domain/index/files.h"

#include <errno.h>
#include <string.h>

#include <mantik/model.h>
#include <mantik/name.h>
#include <mantik/run.h>

enum { PATH = 64 << 10 };

void mk_place_free(struct mk_place *place)
{
	free(place->connection);
	free(place->id);
	free(place->version);
	free(place->uri);
	free(place->key);
	*place = (struct mk_place){};
}

/* A slash in an id is none in the word. */
static int make_key(struct mk_call *call, struct mk_place *place)
{
	static const char *const kinds[] = {
		[MK_T_RUN] = "run/",
		[MK_T_LOGGED_MODEL] = "model/",
		[MK_T_VERSION] = "version/",
	};
	_cleanup_buf_ struct mk_buf key = MK_BUF(PATH);

	(void)mk_buf_puts(&key, kinds[place->root]);
	(void)mk_name_escape(&key, place->id, strlen(place->id));
	if (place->version) {
		(void)mk_buf_putc(&key, '/');
		(void)mk_name_escape(&key, place->version, strlen(place->version));
	}
	if (mk_buf_check(&key) < 0)
		return mk_fail(call, EREMOTEIO, "an id of %zu bytes", strlen(place->id));
	place->key = mk_buf_steal(&key);
	return 0;
}

/* Rows of project, connection, id, version, time, status (of what makes the files), uri. */
static int get_place(struct mk_call *call, struct mk_stmt *stmt, enum mk_t_root root,
		     struct mk_place *ret)
{
	_cleanup_place_ struct mk_place place = {};
	int r = mk_step(call, stmt);

	if (r <= 0)
		return r;
	place = (struct mk_place){
		.project_id = mk_col_int(stmt, 0),
		.connection = mk_col_dup(stmt, 1),
		.root = root,
		.id = mk_col_dup(stmt, 2),
		.version = mk_col_dup(stmt, 3),
		.mtime = mk_col_int(stmt, 4),
		.live = !mk_status_final((enum mk_status)mk_col_int(stmt, 5)),
		.uri = mk_col_dup(stmt, 6),
	};
	r = make_key(call, &place);
	if (r < 0)
		return r;
	*ret = place;
	place = (struct mk_place){};
	return 1;
}

int mk_place_of_run(struct mk_call *call, struct mantik *m, int64_t run_id, struct mk_place *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db,
			   "SELECT r.project_id, p.connection, r.remote_id, NULL, r.changed, r.status,"
			   " r.artifact_uri"
			   " FROM runs r JOIN projects p ON p.id = r.project_id WHERE r.id = ?1"
			   " AND r.remote_id IS NOT NULL AND p.connection IS NOT NULL",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, run_id);
	return get_place(call, stmt, MK_T_RUN, ret);
}

int mk_place_of_run_model(struct mk_call *call, struct mantik *m, int64_t run_id, const char *name,
			  struct mk_place *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	_cleanup_pairs_ struct mk_pairs models = {};
	const char *id = NULL;
	int r = mk_run_models(call, m, run_id, &models);

	if (r == 0)
		id = mk_pairs_get(&models, name);
	if (r == 0)
		r = mk_db_read(call, m->db,
			       "SELECT r.project_id, p.connection, ?2, NULL, r.changed, r.status, NULL"
			       " FROM runs r JOIN projects p ON p.id = r.project_id"
			       " WHERE r.id = ?1 AND ?2 IS NOT NULL AND p.connection IS NOT NULL",
			       &stmt);
	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, run_id);
	mk_bind_text(stmt, 2, id);
	r = get_place(call, stmt, MK_T_LOGGED_MODEL, ret);
	return r < 0 ? r : r > 0 ? 0 : mk_fail(call, ENOENT, "the run logged no model %s", name);
}

int mk_place_of_version(struct mk_call *call, struct mantik *m, int64_t version_id,
			struct mk_place *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db,
			   "SELECT o.project_id, p.connection, o.name, v.version, v.changed, ?2, NULL"
			   " FROM model_versions v JOIN models o ON o.id = v.model_id"
			   " JOIN projects p ON p.id = o.project_id WHERE v.id = ?1"
			   " AND p.connection IS NOT NULL",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, version_id);
	mk_bind_int(stmt, 2, MK_FINISHED);
	r = get_place(call, stmt, MK_T_VERSION, ret);
	return r < 0 ? r : r > 0 ? 0 : mk_fail(call, ENOENT, "the version is gone");
}
