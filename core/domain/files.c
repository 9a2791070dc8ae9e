/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files of models: of one a run logged, of a registered version. They lie in a tracking store
 * (index/files.c) or here (kept.c); a version's may lie where we cannot look: it has none then.
 */
#include <mantik/blob.h>

#include <errno.h>
#include <string.h>

#include <mantik/model.h>

#include "domain/index/files.h"
#include "domain/track/artifact.h"

/* A store's or, with ours, here. */
struct where {
	bool ours;
	bool elsewhere; /* ours, but there are no files we can look at */
	struct mk_place place;
	struct mk_kept kept;
};

static void where_done(struct where *where)
{
	mk_place_free(&where->place);
	mk_kept_free(&where->kept);
}

/* 1 and the text, 0 a store's (or none). */
static int text_of_ours(struct mk_call *call, struct mantik *m, const char *sql, int64_t id,
			char **ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db, sql, &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	r = mk_step(call, stmt);
	if (r > 0)
		*ret = mk_col_dup(stmt, 0);
	return r;
}

static int find_run_model(struct mk_call *call, struct mantik *m, const struct mk_files *files,
			  struct where *ret)
{
	_cleanup_artifact_ struct mk_artifact artifact = {};
	_cleanup_pairs_ struct mk_pairs models = {};
	_cleanup_free_ char *uid = NULL;
	int r = text_of_ours(call, m,
			     "SELECT r.uid FROM runs r JOIN projects p ON p.id = r.project_id"
			     " WHERE r.id = ?1 AND p.connection IS NULL",
			     files->id, &uid);

	if (r <= 0)
		return r < 0 ? r
			     : mk_place_of_run_model(call, m, files->id, files->name, &ret->place);
	ret->ours = true;
	r = mk_run_models(call, m, files->id, &models);
	if (r < 0)
		return r;

	const char *id = mk_pairs_get(&models, files->name);

	if (!id)
		return mk_fail(call, ENOENT, "the run logged no model %s", files->name);
	r = mk_artifact_of_model(call, m, 0, id, "", &artifact);
	if (r == 0) {
		ret->kept = artifact.kept;
		artifact.kept = (struct mk_kept){};
	}
	return r;
}

static int find_version(struct mk_call *call, struct mantik *m, const struct mk_files *files,
			struct where *ret)
{
	_cleanup_free_ char *storage = NULL;
	int r = text_of_ours(call, m,
			     "SELECT v.storage FROM model_versions v JOIN models o"
			     " ON o.id = v.model_id JOIN projects p ON p.id = o.project_id"
			     " WHERE v.id = ?1 AND p.connection IS NULL",
			     files->id, &storage);

	if (r <= 0)
		return r < 0 ? r : mk_place_of_version(call, m, files->id, &ret->place);
	ret->ours = true;
	r = mk_artifact_of_uri(call, m, storage, &ret->kept);
	/* At s3://… and the like; or its run is gone for good. model.yaml says what it was made of. */
	ret->elsewhere = r == -EXDEV || r == -EOPNOTSUPP || r == -ENOENT;
	if (ret->elsewhere)
		mk_error_clear(call);
	return ret->elsewhere ? 0 : r;
}

static int find(struct mk_call *call, struct mantik *m, const struct mk_files *files,
		struct where *ret)
{
	return files->of == MK_FILES_VERSION ? find_version(call, m, files, ret)
					     : find_run_model(call, m, files, ret);
}

static int no_file(struct mk_call *call, const char *path)
{
	return mk_fail(call, ENOENT, "there is no file %s", path);
}

int mk_files_list(struct mk_call *call, struct mantik *m, const struct mk_files *files,
		  const char *path, mk_dirent_emit *emit, void *arg)
{
	_cleanup_(where_done) struct where where = {};
	int r = find(call, m, files, &where);

	if (r < 0)
		return r;
	if (where.elsewhere)
		return *path ? no_file(call, path) : 0;
	return where.ours ? mk_kept_list(call, &where.kept, path, emit, arg)
			  : mk_index_files_list(call, m, &where.place, path, emit, arg);
}

int mk_files_stat(struct mk_call *call, struct mantik *m, const struct mk_files *files,
		  const char *path, struct mk_dirent *ret)
{
	_cleanup_(where_done) struct where where = {};
	int r = find(call, m, files, &where);

	if (r < 0)
		return r;
	if (where.elsewhere && *path)
		return no_file(call, path);
	if (where.elsewhere) {
		*ret = (struct mk_dirent){.name = path, .is_dir = true};
		return 0;
	}
	return where.ours ? mk_kept_stat(call, &where.kept, path, ret)
			  : mk_index_files_stat(call, m, &where.place, path, ret);
}

int mk_files_open(struct mk_call *call, struct mantik *m, const struct mk_files *files,
		  const char *path, struct mk_blob **ret)
{
	_cleanup_(where_done) struct where where = {};
	int r = find(call, m, files, &where);

	if (r < 0)
		return r;
	if (where.elsewhere)
		return no_file(call, path);
	return where.ours ? mk_kept_open(call, &where.kept, path, ret)
			  : mk_index_files_open(call, m, &where.place, path, ret);
}
