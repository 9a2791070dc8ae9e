/* SPDX-License-Identifier: Apache-2.0 */
/* Registered models and their versions, logged models, and the files of all. */
#include "filestore.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

enum { MOST_MODELS = 100000 };

/* A model's folder is its name. */
static bool is_name(const char *name)
{
	return *name && *name != '.' && !strchr(name, '/') && strlen(name) <= 255;
}

/* --- registered ------------------------------------------------------------------------------ */

static int take_model(struct mk_call *call, struct mk_tracking *t, int root, const char *name,
		      mk_t_model_emit *emit, void *arg)
{
	_cleanup_arena_ struct mk_arena arena = {};
	_cleanup_(mk_doc_freep) struct mk_doc *meta = NULL;
	_cleanup_free_ char *path = mk_strf("models/%s", name), *file = mk_strf("%s/meta.yaml", path);
	_cleanup_close_ int dir = -1;
	struct mk_t_pair *tags = NULL;
	struct mk_t_model model = {.name = name};
	int r = mk_fs_meta(call, t, root, file, path, "name", &meta);

	if (r <= 0)
		return r;
	if (strcmp(mk_fs_text(meta, "name"), name) != 0) {
		mk_local_refuse(&t->local, path, "meta.yaml is that of model %.100s",
				mk_fs_text(meta, "name"));
		return 0;
	}
	dir = mk_local_open(root, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
	if (dir < 0)
		return 0;
	r = mk_fs_pairs(call, t, dir, "tags", path, &arena, &tags, &model.n_tags);
	if (r < 0)
		return r;
	model.description = mk_fs_text(meta, "description");
	model.created = mk_fs_ms(meta, "creation_timestamp");
	model.updated = mk_fs_ms(meta, "last_updated_timestamp");
	model.tags = tags;
	return emit(arg, &model);
}

static int models(struct mk_call *call, struct mk_tracking *t, char **token, mk_t_model_emit *emit,
		  void *arg)
{
	_cleanup_list_ struct mk_list names = {};
	_cleanup_close_ int root = -1;
	int r = mk_local_root(call, &t->local, &root);

	mk_freep(token);
	if (r == 0)
		r = mk_fs_dirs(call, t, root, "models", &names);
	for (size_t i = 0; r >= 0 && i < names.n && i < MOST_MODELS; i++) {
		if (!is_name(names.v[i]))
			continue;
		r = take_model(call, t, root, names.v[i], emit, arg);
		if (r == -EBUSY) {
			mk_error_clear(call);
			r = 0;
		}
	}
	return r;
}

int mk_fs_models(struct mk_call *call, struct mk_tracking *t, char **token, mk_t_model_emit *emit,
		 void *arg)
{
	int64_t began = mk_now_mono();

	return mk_local_note(call, &t->local, models(call, t, token, emit, arg), began);
}

/* --- versions -------------------------------------------------------------------------------- */

static int take_version(struct mk_call *call, struct mk_tracking *t, int dir, const char *name,
			const char *folder, const struct mk_t_pair *aliases, size_t n_aliases,
			mk_t_version_emit *emit, void *arg)
{
	_cleanup_arena_ struct mk_arena arena = {};
	_cleanup_(mk_doc_freep) struct mk_doc *meta = NULL;
	_cleanup_free_ char *file = mk_strf("%s/meta.yaml", folder);
	_cleanup_free_ char *where = mk_strf("models/%s/%s", name, folder);
	_cleanup_free_ char *tag_folder = mk_strf("%s/tags", folder);
	_cleanup_free_ const char **mine = mk_alloc((n_aliases + 1) * sizeof(*mine));
	const char *number = folder + strlen("version-");
	struct mk_t_pair *tags = NULL;
	struct mk_t_version version = {.version = number, .aliases = mine};
	int r = mk_fs_meta(call, t, dir, file, where, "version", &meta);

	if (r <= 0)
		return r;
	if (strcmp(mk_fs_text(meta, "version"), number) != 0) {
		mk_local_refuse(&t->local, where, "meta.yaml is that of version %.40s",
				mk_fs_text(meta, "version"));
		return 0;
	}
	/* A deleted version stays, under another stage. */
	if (strcmp(mk_fs_text(meta, "current_stage"), "Deleted_Internal") == 0)
		return 0;
	r = mk_fs_pairs(call, t, dir, tag_folder, where, &arena, &tags, &version.n_tags);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n_aliases; i++)
		if (strcmp(aliases[i].value, number) == 0)
			mine[version.n_aliases++] = aliases[i].key;
	version.run_id = mk_fs_text(meta, "run_id");
	version.stage = mk_fs_text(meta, "current_stage");
	version.status = mk_fs_text(meta, "status");
	version.description = mk_fs_text(meta, "description");
	version.source = mk_fs_text(meta, "source");
	version.created = mk_fs_ms(meta, "creation_timestamp");
	version.updated = mk_fs_ms(meta, "last_updated_timestamp");
	version.tags = tags;
	return emit(arg, &version);
}

static int open_model(struct mk_call *call, struct mk_tracking *t, const char *model, int *ret)
{
	_cleanup_free_ char *path = mk_strf("models/%s", model), *meta = mk_strf("%s/meta.yaml", path);
	_cleanup_close_ int root = -1, file = -1;
	int fd, r = mk_local_root(call, &t->local, &root);

	if (r < 0)
		return r;
	fd = is_name(model) ? mk_local_open(root, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW) : -ENOENT;
	if (fd >= 0)
		file = mk_local_open(root, meta, O_PATH | O_NOFOLLOW);
	if (file < 0) {
		mk_closep(&fd);
		return mk_fail(call, ENOENT, "%s: model %.200s: there is none", t->local.connection,
			       model);
	}
	*ret = fd;
	return 0;
}

static int versions(struct mk_call *call, struct mk_tracking *t, const char *model, char **token,
		    mk_t_version_emit *emit, void *arg)
{
	_cleanup_arena_ struct mk_arena arena = {};
	_cleanup_list_ struct mk_list names = {};
	_cleanup_free_ char *where = mk_strf("models/%.200s", model);
	_cleanup_close_ int dir = -1;
	struct mk_t_pair *aliases = NULL;
	size_t n = 0;
	int r = open_model(call, t, model, &dir);

	mk_freep(token);
	if (r == 0)
		r = mk_fs_pairs(call, t, dir, "aliases", where, &arena, &aliases, &n);
	if (r == 0)
		r = mk_fs_dirs(call, t, dir, ".", &names);
	for (size_t i = 0; r >= 0 && i < names.n; i++) {
		const char *number = names.v[i] + strlen("version-");

		if (strncmp(names.v[i], "version-", strlen("version-")) != 0 ||
		    !mk_local_is_id(number))
			continue;
		r = take_version(call, t, dir, model, names.v[i], aliases, n, emit, arg);
	}
	return r;
}

int mk_fs_versions(struct mk_call *call, struct mk_tracking *t, const char *model, char **token,
		   mk_t_version_emit *emit, void *arg)
{
	int64_t began = mk_now_mono();

	return mk_local_note(call, &t->local, versions(call, t, model, token, emit, arg), began);
}

/* --- logged ---------------------------------------------------------------------------------- */

static const char *logged_status(const char *number)
{
	return strcmp(number, "1") == 0	  ? "LOGGED_MODEL_PENDING"
	       : strcmp(number, "2") == 0 ? "LOGGED_MODEL_READY"
	       : strcmp(number, "3") == 0 ? "LOGGED_MODEL_UPLOAD_FAILED"
					  : number;
}

/* ENOENT; EREMOTEIO broken. */
static int get_logged(struct mk_call *call, struct mk_tracking *t, int root, const char *id,
		      char **ret_path, struct mk_doc **ret)
{
	_cleanup_free_ char *path = NULL, *file = NULL;
	_cleanup_(mk_doc_freep) struct mk_doc *meta = NULL;
	int r = mk_fs_find(call, t, root, "models/", id, &path);

	if (r < 0)
		return r;
	file = mk_strf("%s/meta.yaml", path);
	r = mk_fs_meta(call, t, root, file, path, "status", &meta);
	if (r < 0)
		return r;
	if (r == 0 || strcmp(mk_fs_text(meta, "model_id"), id) != 0)
		return mk_fail(call, EREMOTEIO, "%s: logged model %s is broken", t->local.connection,
			       path);
	if (strcmp(mk_fs_text(meta, "lifecycle_stage"), "deleted") == 0)
		return mk_fail(call, ENOENT, "%s: logged model %s was deleted", t->local.connection, id);
	*ret_path = mk_steal(&path);
	*ret = mk_steal(&meta);
	return 0;
}

static int logged(struct mk_call *call, struct mk_tracking *t, const char *id,
		  mk_t_logged_emit *emit, void *arg)
{
	_cleanup_arena_ struct mk_arena arena = {};
	_cleanup_(mk_doc_freep) struct mk_doc *meta = NULL;
	_cleanup_free_ char *path = NULL;
	_cleanup_close_ int root = -1, dir = -1;
	struct mk_t_pair *params = NULL, *tags = NULL;
	struct mk_t_logged logged = {.id = id};
	int r = mk_local_root(call, &t->local, &root);

	if (r == 0)
		r = get_logged(call, t, root, id, &path, &meta);
	if (r < 0)
		return r;
	dir = mk_local_open(root, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
	if (dir < 0)
		return mk_fail(call, EREMOTEIO, "%s: logged model %s: %s", t->local.connection, path,
			       strerror(-dir));
	r = mk_fs_pairs(call, t, dir, "params", path, &arena, &params, &logged.n_params);
	if (r == 0)
		r = mk_fs_pairs(call, t, dir, "tags", path, &arena, &tags, &logged.n_tags);
	if (r < 0)
		return r;
	logged.name = mk_fs_text(meta, "name");
	logged.type = mk_fs_text(meta, "model_type");
	logged.status = logged_status(mk_fs_text(meta, "status"));
	logged.run_id = mk_fs_text(meta, "source_run_id");
	logged.experiment_id = mk_fs_text(meta, "experiment_id");
	logged.created = mk_fs_ms(meta, "creation_timestamp");
	logged.updated = mk_fs_ms(meta, "last_updated_timestamp");
	logged.params = params;
	logged.tags = tags;
	return emit(arg, &logged);
}

int mk_fs_logged(struct mk_call *call, struct mk_tracking *t, const char *id,
		 mk_t_logged_emit *emit, void *arg)
{
	int64_t began = mk_now_mono();

	return mk_local_note(call, &t->local, logged(call, t, id, emit, arg), began);
}

/* --- files ----------------------------------------------------------------------------------- */

/* Where the files of a place are; all owned but root. */
struct where {
	int root;
	char *uri, *id, *inside, *prefix, *label;
};

static void where_free(struct where *w)
{
	mk_closep(&w->root);
	free(w->uri);
	free(w->id);
	free(w->inside);
	free(w->prefix);
	free(w->label);
}

static int find_run(struct mk_call *call, struct mk_tracking *t, const char *id, struct where *ret)
{
	_cleanup_free_ char *path = NULL, *file = NULL;
	_cleanup_(mk_doc_freep) struct mk_doc *meta = NULL;
	int r = mk_fs_find(call, t, ret->root, "", id, &path);

	if (r < 0)
		return r;
	file = mk_strf("%s/meta.yaml", path);
	r = mk_fs_meta(call, t, ret->root, file, path, "user_id", &meta);
	if (r < 0)
		return r;
	ret->label = mk_strf("run %s", id);
	ret->inside = mk_strf("%s/artifacts", path);
	ret->uri = mk_strdup(mk_fs_text(meta, "artifact_uri"));
	ret->id = mk_strdup(id);
	return 0;
}

static int find_logged(struct mk_call *call, struct mk_tracking *t, const char *id,
		       struct where *ret)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_(mk_doc_freep) struct mk_doc *meta = NULL;
	int r = get_logged(call, t, ret->root, id, &path, &meta);

	if (r < 0)
		return r;
	ret->label = mk_strf("logged model %s", id);
	ret->inside = mk_strf("%s/artifacts", path);
	ret->uri = mk_strdup(mk_fs_text(meta, "artifact_location"));
	ret->id = mk_strdup(id);
	return 0;
}

static int find_version(struct mk_call *call, struct mk_tracking *t, const struct mk_t_place *place,
			struct where *ret)
{
	_cleanup_(mk_doc_freep) struct mk_doc *meta = NULL;
	_cleanup_(mk_local_source_free) struct mk_local_source source = {};
	_cleanup_free_ char *where = NULL, *file = NULL;
	int r = -ENOENT;

	if (is_name(place->id) && mk_local_is_id(place->version)) {
		where = mk_strf("models/%s/version-%s", place->id, place->version);
		file = mk_strf("%s/meta.yaml", where);
		r = mk_fs_meta(call, t, ret->root, file, where, "version", &meta);
	}
	if (r == 0 || r == -ENOENT)
		return mk_fail(call, ENOENT, "%s: version %.20s of model %.200s: there is none",
			       t->local.connection, place->version, place->id);
	if (r < 0)
		return r;

	const char *model = mk_fs_text(meta, "model_id");

	if (mk_local_is_id(model)) {
		r = find_logged(call, t, model, ret);
		ret->prefix = mk_strdup("");
		return r;
	}
	r = mk_local_source(call, &t->local, mk_fs_text(meta, "source"), mk_fs_text(meta, "run_id"),
			    &source);
	if (r < 0)
		return r;
	ret->prefix = mk_steal(&source.prefix);
	return source.is_model ? find_logged(call, t, source.id, ret)
			       : find_run(call, t, source.id, ret);
}

static int find(struct mk_call *call, struct mk_tracking *t, const struct mk_t_place *place,
		struct where *ret, struct mk_local_place *to)
{
	int r = mk_local_root(call, &t->local, &ret->root);

	if (r == 0)
		r = place->root == MK_T_VERSION ? find_version(call, t, place, ret)
		    : place->root == MK_T_RUN	? find_run(call, t, place->id, ret)
						: find_logged(call, t, place->id, ret);
	if (r == 0)
		*to = (struct mk_local_place){
			.uri = ret->uri,
			.id = ret->id,
			.inside_dir = ret->root,
			.inside = ret->inside,
			.prefix = ret->prefix ? ret->prefix : "",
			.label = ret->label,
		};
	return r;
}

int mk_fs_files(struct mk_call *call, struct mk_tracking *t, const struct mk_t_place *place,
		const char *path, char **token, mk_t_file_emit *emit, void *arg)
{
	_cleanup_(where_free) struct where where = {.root = -1};
	struct mk_local_place at;
	int64_t began = mk_now_mono();
	int r = find(call, t, place, &where, &at);

	mk_freep(token);
	if (r == 0)
		r = mk_local_files(call, &t->local, &at, path, emit, arg);
	return mk_local_note(call, &t->local, r, began);
}

int mk_fs_read(struct mk_call *call, struct mk_tracking *t, const struct mk_t_place *place,
	       const char *path, int64_t offset, int64_t len, char **etag,
	       int (*sink)(void *arg, const void *data, size_t len), void *arg, int64_t *ret_total)
{
	_cleanup_(where_free) struct where where = {.root = -1};
	struct mk_local_place at;
	int64_t began = mk_now_mono();
	int r = find(call, t, place, &where, &at);

	if (r == 0)
		r = mk_local_read(call, &t->local, &at, path, offset, len, etag, sink, arg, ret_total);
	return mk_local_note(call, &t->local, r, began);
}
