/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files of runs, logged models and versions: where the database says they are. When there is
 * nothing on this machine, the folder was copied here or was a server's: then what stands behind the
 * last mlruns/ or mlartifacts/ of the path is looked for beside the database.
 */
#include "sqlstore.h"

#include <errno.h>
#include <string.h>

#include "base/file.h"

struct ask {
	enum mk_t_root root;
	const char *id, *version;
	bool supported, found;
	const char *uri;		 /* RUN, LOGGED_MODEL */
	const char *source, *run_id;	 /* VERSION */
};

static const char *const questions[] = {
	[MK_T_RUN] = "SELECT artifact_uri, '' FROM runs WHERE run_uuid = ?1",
	[MK_T_LOGGED_MODEL] = "SELECT artifact_location, '' FROM logged_models WHERE model_id = ?1"
			      " AND ifnull(lifecycle_stage, 'active') = 'active'",
	[MK_T_VERSION] = "SELECT source, run_id FROM model_versions WHERE name = ?1 AND version = ?2"
			 " AND ?3 IS NOT NULL",
};
static const char version_in_workspace[] =
	"SELECT source, run_id FROM model_versions WHERE name = ?1 AND version = ?2"
	" AND workspace = ?3";

static int read_place(struct mk_sql *sql, void *arg)
{
	struct ask *a = arg;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	const char *text = a->root == MK_T_VERSION && sql->schema.workspaces ? version_in_workspace
									     : questions[a->root];
	int r;

	a->found = false;
	a->supported = a->root != MK_T_LOGGED_MODEL || sql->schema.logged;
	if (!a->supported)
		return 0;
	r = mk_prepare(sql->call, sql->conn, text, &stmt);
	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, a->id);
	if (a->root == MK_T_VERSION) {
		mk_bind_text(stmt, 2, a->version);
		mk_bind_text(stmt, 3, sql->workspace);
	}
	r = mk_step(sql->call, stmt);
	if (r <= 0)
		return r;
	a->found = true;
	a->uri = a->source = mk_sql_text(sql, stmt, 0);
	a->run_id = mk_sql_text(sql, stmt, 1);
	return a->uri && a->run_id ? 0 : -ENOMEM;
}

/* All owned. */
struct where {
	struct mk_arena arena;
	int folder;
	char *inside, *label;
	struct mk_local_source source;
};

static void where_free(struct where *w)
{
	mk_arena_free(&w->arena);
	mk_closep(&w->folder);
	free(w->inside);
	free(w->label);
	mk_local_source_free(&w->source);
}

static char *inside_of(const char *uri, const char *id)
{
	static const char proxied[] = "mlflow-artifacts:/";
	static const char *const folders[] = {"/mlruns/", "/mlartifacts/"};
	_cleanup_free_ char *end = mk_strf("/%s/artifacts", id), *path = NULL;
	const char *last = NULL;

	for (size_t i = 0; i < 2; i++)
		for (const char *s = uri; (s = strstr(s, folders[i])); s++)
			last = !last || s > last ? s : last;
	if (strncmp(uri, proxied, sizeof(proxied) - 1) == 0) {
		uri += sizeof(proxied) - 1;
		if (strncmp(uri, "/", 1) == 0) /* //host:port/path */
			uri = strchr(uri + 1, '/') ? strchr(uri + 1, '/') + 1 : "";
		path = mk_strf("mlartifacts/%s", uri);
	} else if (last) {
		path = mk_strdup(last + 1);
	}

	size_t len = path ? strlen(path) : 0;

	if (len < strlen(end) || strcmp(path + len - strlen(end), end) != 0 || strstr(path, "/../"))
		return NULL;
	return mk_steal(&path);
}

static int fail_none(struct mk_call *call, const struct mk_tracking *t, const struct ask *a)
{
	if (!a->supported)
		return mk_fail(call, EOPNOTSUPP,
			       "%s: logged model %.60s: this version of MLflow does not have it",
			       t->local.connection, a->id);
	return mk_fail(call, ENOENT, "%s: %s %.200s: there is none", t->local.connection,
		       a->root == MK_T_RUN	     ? "run"
		       : a->root == MK_T_LOGGED_MODEL ? "logged model"
						      : "this version of model",
		       a->id);
}

static int find(struct mk_call *call, struct mk_tracking *t, const struct mk_t_place *place,
		struct where *w, struct mk_local_place *ret)
{
	struct ask a = {.root = place->root, .id = place->id, .version = place->version};
	int r = mk_sql_read(call, t, &w->arena, read_place, &a);

	if (r == 0 && !a.found)
		r = fail_none(call, t, &a);
	if (r == 0 && place->root == MK_T_VERSION) {
		r = mk_local_source(call, &t->local, a.source, a.run_id, &w->source);
		if (r < 0)
			return r;
		a = (struct ask){.root = w->source.is_model ? MK_T_LOGGED_MODEL : MK_T_RUN,
				 .id = w->source.id};
		r = mk_sql_read(call, t, &w->arena, read_place, &a);
		if (r == 0 && !a.found)
			r = fail_none(call, t, &a);
	}
	if (r == 0)
		r = mk_local_root(call, &t->local, &w->folder);
	if (r < 0)
		return r;
	w->inside = inside_of(a.uri, a.id);
	w->label = mk_strf("%s %s", a.root == MK_T_RUN ? "run" : "logged model", a.id);
	*ret = (struct mk_local_place){
		.uri = a.uri,
		.id = a.id,
		.inside_dir = w->folder,
		.inside = w->inside,
		.prefix = w->source.prefix ? w->source.prefix : "",
		.label = w->label,
	};
	return 0;
}

int mk_sql_files(struct mk_call *call, struct mk_tracking *t, const struct mk_t_place *place,
		 const char *path, char **token, mk_t_file_emit *emit, void *arg)
{
	_cleanup_(where_free) struct where w = {.folder = -1};
	struct mk_local_place at;
	int r = find(call, t, place, &w, &at);

	mk_freep(token);
	return r < 0 ? r : mk_local_files(call, &t->local, &at, path, emit, arg);
}

int mk_sql_bytes(struct mk_call *call, struct mk_tracking *t, const struct mk_t_place *place,
		 const char *path, int64_t offset, int64_t len, char **etag,
		 int (*sink)(void *arg, const void *data, size_t len), void *arg,
		 int64_t *ret_total)
{
	_cleanup_(where_free) struct where w = {.folder = -1};
	struct mk_local_place at;
	int r = find(call, t, place, &w, &at);

	return r < 0 ? r : mk_local_read(call, &t->local, &at, path, offset, len, etag, sink, arg,
					 ret_total);
}
