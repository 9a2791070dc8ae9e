/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See files.h. What a store lists is foreign: names that are no names of files are left out,
 * paths that are not below the directory that was asked, too.
 */
#include "domain/index/files.h"

#include <errno.h>
#include <string.h>

#include <mantik/model.h>
#include <mantik/name.h>

#include "cache/blobs.h"
#include "domain/blob.h"
#include "domain/domain.h"
#include "domain/index/ask.h"
#include "domain/index/index.h"
#include "domain/index/store.h"
#include "domain/outbox/upload.h"

enum { MOST_PAGES = 10000, MOST_FILES = 1000000, PATH = 64 << 10 };
static const int64_t fresh_live = 3 * MK_SEC;

static struct mk_t_place store_place(const struct mk_question *q)
{
	return (struct mk_t_place){.root = q->root, .id = q->remote_id, .version = q->version};
}

static struct mk_question *question_at(struct mantik *m, const struct mk_place *place,
				       const char *what, const char *path)
{
	_cleanup_free_ char *connection = mk_strdup(place->connection);
	struct mk_question *q = mk_index_question(m, place->project_id, &connection, what);

	q->root = place->root;
	q->remote_id = mk_strdup(place->id);
	q->version = place->version ? mk_strdup(place->version) : NULL;
	q->place = mk_strdup(place->key);
	q->key = mk_strdup(path);
	return q;
}

/* --- a listing ----------------------------------------------------------------------------- */

struct file {
	char *name;
	bool is_dir;
	int64_t size;
};

struct listing {
	const struct mk_question *q;
	struct mk_call *call;
	struct file *v;
	size_t n, cap;
};

static void listing_free(struct listing *listing)
{
	for (size_t i = 0; i < listing->n; i++)
		free(listing->v[i].name);
	free(listing->v);
}

/* The name below the directory that was asked, or NULL for what is none. */
static const char *name_in(const char *dir, const char *path)
{
	size_t len = strlen(dir);

	if (len && (strncmp(path, dir, len) != 0 || path[len] != '/'))
		return NULL;

	const char *name = len ? path + len + 1 : path;

	if (!*name || strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return NULL;
	return name;
}

static int add_file(void *arg, const struct mk_t_file *file)
{
	struct listing *listing = arg;
	const char *name = name_in(listing->q->key, file->path);

	if (!name)
		return 0;
	if (listing->n == MOST_FILES)
		return mk_fail(listing->call, EREMOTEIO, "%s: a directory of more than %d files",
			       listing->q->connection, MOST_FILES);
	if (listing->n == listing->cap) {
		size_t cap = listing->cap ? listing->cap * 2 : 64;
		struct file *v = realloc(listing->v, cap * sizeof(*v));

		if (!v)
			return mk_fail(listing->call, ENOMEM, "out of memory for a listing");
		listing->v = v;
		listing->cap = cap;
	}
	listing->v[listing->n++] = (struct file){
		.name = mk_strdup(name),
		.is_dir = file->is_dir,
		.size = file->is_dir || file->size < -1 ? -1 : file->size,
	};
	return 0;
}

static int put_listing(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct listing *listing = arg;
	const struct mk_question *q = listing->q;
	_cleanup_stmt_ struct mk_stmt *clear = NULL, *insert = NULL;
	int r = mk_prepare(call, conn,
			   "DELETE FROM files WHERE project_id = ?1 AND place = ?2 AND dir = ?3",
			   &clear);

	if (r < 0)
		return r;
	mk_bind_int(clear, 1, q->project_id);
	mk_bind_text(clear, 2, q->place);
	mk_bind_text(clear, 3, q->key);
	r = mk_exec(call, clear);
	if (r == 0)
		r = mk_prepare(call, conn,
			       "INSERT OR REPLACE INTO files VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
			       &insert);
	for (size_t i = 0; r == 0 && i < listing->n; i++) {
		const struct file *file = &listing->v[i];

		mk_bind_int(insert, 1, q->project_id);
		mk_bind_text(insert, 2, q->place);
		mk_bind_text(insert, 3, q->key);
		mk_bind_text(insert, 4, file->name);
		mk_bind_int(insert, 5, file->is_dir);
		mk_bind_int(insert, 6, file->size);
		r = mk_step(call, insert);
		mk_rewind(insert);
	}
	if (r == 0)
		r = mk_upload_settle(call, conn, q->project_id, q->place, q->key, q->asked);
	return r < 0 ? r : mk_mark_set(call, conn, q->project_id, q->what, q->asked, NULL);
}

int mk_fly_files(struct mk_call *call, struct mk_flight *flight, void *arg)
{
	struct mk_question *q = arg;
	_cleanup_(listing_free) struct listing listing = {.q = q, .call = call};
	const struct mk_t_place place = store_place(q);
	_cleanup_free_ char *token = NULL;
	int r, pages = 0;

	q->asked = mk_now_real();
	do {
		r = q->ops->files(call, q->store, &place, q->key, &token, add_file, &listing);
		mk_flight_moved(flight);
		if (r == 0 && ++pages == MOST_PAGES)
			r = mk_fail(call, EREMOTEIO, "%s: a list of more than %d pages",
				    q->connection, MOST_PAGES);
	} while (r == 0 && token);
	return r < 0 ? r : mk_domain_write(call, q->m, MK_KILLSAFE, put_listing, &listing);
}

/* 1 found, 0 not, by the mirror alone. */
static int find(struct mk_call *call, struct mantik *m, const struct mk_place *place,
		const char *dir, const char *name, struct mk_dirent *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db,
			   "SELECT is_dir, size FROM files WHERE project_id = ?1 AND place = ?2"
			   " AND dir = ?3 AND name = ?4",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, place->project_id);
	mk_bind_text(stmt, 2, place->key);
	mk_bind_text(stmt, 3, dir);
	mk_bind_text(stmt, 4, name);
	r = mk_step(call, stmt);
	if (r > 0)
		*ret = (struct mk_dirent){
			.name = name,
			.is_dir = mk_col_int(stmt, 0),
			.size = mk_col_int(stmt, 0) ? 0 : mk_col_int(stmt, 1),
			.mtime = place->mtime,
		};
	return r;
}

/* 1: the store has no such directory, as far as the listing of its parent tells, or it has no
 * parent. *ret_fresh: that listing is not old. */
static int is_none(struct mk_call *call, struct mantik *m, const struct mk_place *place,
		   const char *dir, bool *ret_fresh)
{
	_cleanup_free_ char *path = mk_strdup(dir);
	_cleanup_free_ char *parent = mk_strdup("");

	for (char *name = path; *name;) {
		_cleanup_buf_ struct mk_buf what = MK_BUF(PATH);
		size_t len = strcspn(name, "/");
		bool last = !name[len], seen = false;
		struct mk_dirent it;

		if (mk_buf_printf(&what, "files:%s/%s", place->key, parent) < 0)
			return 0;

		int r = mk_index_is_fresh(call, m, place->project_id, mk_buf_text(&what),
					  place->live ? fresh_live : mk_fresh_list, &seen);

		if (r < 0 || (r == 0 && !seen))
			return r;
		*ret_fresh = r;
		name[len] = 0;
		r = find(call, m, place, parent, name, &it);
		if (r <= 0)
			return r < 0 ? r : 1;
		free(parent);
		parent = mk_strdup(path); /* up to here */
		if (last)
			break;
		name[len] = '/';
		name += len + 1;
	}
	return 0;
}

/* Brings the mirror of a directory up to date. One that is only made here is not asked for. */
static int look(struct mk_call *call, struct mantik *m, const struct mk_place *place,
		const char *dir)
{
	_cleanup_buf_ struct mk_buf what = MK_BUF(PATH);
	bool seen, fresh = false;

	if (mk_buf_printf(&what, "files:%s/%s", place->key, dir) < 0)
		return mk_fail(call, ENAMETOOLONG, "a path of %zu bytes", strlen(dir));

	int r = mk_index_is_fresh(call, m, place->project_id, mk_buf_text(&what),
				  place->live ? fresh_live : mk_fresh_list, &seen);

	if (r)
		return r < 0 ? r : 0;
	r = is_none(call, m, place, dir, &fresh);
	if (r < 0 || (r > 0 && fresh))
		return r < 0 ? r : 0;
	return mk_index_ask(call, m, question_at(m, place, mk_buf_text(&what), dir), seen || r > 0,
			    mk_fly_files);
}

/* --- one entry ----------------------------------------------------------------------------- */

/* As find(), the directory being listed when that is due. path: not "". ENOENT. */
static int entry(struct mk_call *call, struct mantik *m, const struct mk_place *place,
		 const char *path, struct mk_dirent *ret)
{
	const char *slash = strrchr(path, '/');
	_cleanup_free_ char *dir = slash ? mk_strndup(path, (size_t)(slash - path)) : mk_strdup("");
	_cleanup_free_ char *file = NULL;
	int r = mk_upload_find(call, m, place, path, ret, &file);

	if (r < 0 || file)
		return r < 0 ? r : 0;
	r = look(call, m, place, dir);
	if (r == 0)
		r = find(call, m, place, dir, slash ? slash + 1 : path, ret);
	if (r == 0)
		r = mk_upload_find(call, m, place, path, ret, NULL);
	return r < 0 ? r : r > 0 ? 0 : mk_fail(call, ENOENT, "%s: there is no file %s",
					       place->connection, path);
}

/* --- the size of a file, where the list does not tell -------------------------------------- */

struct measure {
	struct mk_flight *flight;
	int64_t bytes, most;
};

static int count(void *arg, const void *data, size_t len)
{
	struct measure *measure = arg;

	(void)data;
	measure->bytes += (int64_t)len;
	mk_flight_moved(measure->flight);
	return measure->most && measure->bytes >= measure->most ? -ECANCELED : 0;
}

struct put_size {
	const struct mk_question *q;
	int64_t size;
};

static int put_size(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct put_size *put = arg;
	const char *path = put->q->key, *slash = strrchr(path, '/');
	_cleanup_free_ char *dir = slash ? mk_strndup(path, (size_t)(slash - path)) : mk_strdup("");
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "UPDATE files SET size = ?5 WHERE project_id = ?1 AND place = ?2"
			   " AND dir = ?3 AND name = ?4",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, put->q->project_id);
	mk_bind_text(stmt, 2, put->q->place);
	mk_bind_text(stmt, 3, dir);
	mk_bind_text(stmt, 4, slash ? slash + 1 : path);
	mk_bind_int(stmt, 5, put->size);
	return mk_exec(call, stmt);
}

/* One byte is asked for; who does not say then how many there are has them counted. */
int mk_fly_size(struct mk_call *call, struct mk_flight *flight, void *arg)
{
	struct mk_question *q = arg;
	const struct mk_t_place place = store_place(q);
	struct measure measure = {.flight = flight, .most = 1};
	struct put_size put = {.q = q, .size = -1};
	_cleanup_free_ char *etag = NULL;
	int r = q->ops->read(call, q->store, &place, q->key, 0, 1, &etag, count, &measure,
			     &put.size);

	if (r == -ECANCELED)
		r = 0;
	if (r == 0 && put.size < 0) {
		measure = (struct measure){.flight = flight};
		r = q->ops->read(call, q->store, &place, q->key, 0, -1, &etag, count, &measure,
				 &put.size);
		put.size = measure.bytes;
	}
	return r < 0 ? r : mk_domain_write(call, q->m, MK_KILLSAFE, put_size, &put);
}

static int ask_size(struct mk_call *call, struct mantik *m, const struct mk_place *place,
		    const char *path)
{
	_cleanup_buf_ struct mk_buf what = MK_BUF(PATH);

	if (mk_buf_printf(&what, "size:%s/%s", place->key, path) < 0)
		return mk_fail(call, ENAMETOOLONG, "a path of %zu bytes", strlen(path));
	return mk_index_ask(call, m, question_at(m, place, mk_buf_text(&what), path), false,
			    mk_fly_size);
}

int mk_index_files_stat(struct mk_call *call, struct mantik *m, const struct mk_place *place,
			const char *path, struct mk_dirent *ret)
{
	if (!*path) {
		*ret = (struct mk_dirent){.name = path, .is_dir = true, .mtime = place->mtime};
		return 0;
	}

	int r = entry(call, m, place, path, ret);

	if (r < 0 || ret->size >= 0)
		return r;
	r = ask_size(call, m, place, path);
	if (r == 0)
		r = entry(call, m, place, path, ret);
	if (r == 0 && ret->size < 0)
		r = mk_fail(call, EREMOTEIO, "%s: does not say how long %s is", place->connection,
			    path);
	return r;
}

/* --- a directory --------------------------------------------------------------------------- */

struct counting { /* what is emitted */
	mk_dirent_emit *emit;
	void *arg;
	bool any;
};

static int count_one(void *arg, const struct mk_dirent *it)
{
	struct counting *counting = arg;

	counting->any = true;
	return counting->emit(counting->arg, it);
}

static int list_mirror(struct mk_call *call, struct mantik *m, const struct mk_place *place,
		       const char *path, mk_dirent_emit *emit, void *arg)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db,
			   "SELECT name, is_dir, size FROM files f WHERE project_id = ?1"
			   " AND place = ?2 AND dir = ?3 AND NOT EXISTS (SELECT 1 FROM uploads u"
			   " WHERE u.project_id = ?1 AND u.place = ?2 AND u.dir = ?3"
			   " AND u.name = f.name AND u.sent = 0) ORDER BY name", /* upload.c's */
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, place->project_id);
	mk_bind_text(stmt, 2, place->key);
	mk_bind_text(stmt, 3, path);
	while ((r = mk_step(call, stmt)) > 0) {
		struct mk_dirent it = {
			.name = mk_col_text(stmt, 0),
			.is_dir = mk_col_int(stmt, 1),
			.size = mk_col_int(stmt, 1) ? 0 : mk_col_int(stmt, 2),
			.mtime = place->mtime,
		};

		r = emit(arg, &it);
		if (r)
			return r;
	}
	return r;
}

int mk_index_files_list(struct mk_call *call, struct mantik *m, const struct mk_place *place,
			const char *path, mk_dirent_emit *emit, void *arg)
{
	struct counting counting = {emit, arg, false};
	struct mk_dirent dir;
	int r = look(call, m, place, path);

	if (r == 0)
		r = list_mirror(call, m, place, path, count_one, &counting);
	if (r == 0)
		r = mk_upload_list(call, m, place, path, count_one, &counting);
	/* A store says the same of an empty directory, of a file and of nothing. */
	if (r || counting.any || !*path)
		return r;
	r = entry(call, m, place, path, &dir);
	if (r == 0 && !dir.is_dir)
		r = mk_fail(call, ENOTDIR, "%s is no directory", path);
	return r;
}

/* --- bytes --------------------------------------------------------------------------------- */

struct source {
	struct mantik *m;
	char *connection, *id, *version, *uri, *path;
	enum mk_t_root root;
};

static void source_drop(void *arg)
{
	struct source *source = arg;

	free(source->connection);
	free(source->id);
	free(source->version);
	free(source->uri);
	free(source->path);
	free(source);
}

static int source_fetch(struct mk_call *call, void *arg, int64_t offset, int64_t len, char **etag,
			int (*sink)(void *sink_arg, const void *data, size_t len), void *sink_arg,
			int64_t *ret_total)
{
	const struct source *source = arg;
	const struct mk_t_place place = {source->root, source->id, source->version, source->uri};
	const struct mk_tracking_ops *ops;
	struct mk_tracking *store;
	int r = mk_index_store(call, source->m, source->connection, &ops, &store);

	return r < 0 ? r : ops->read(call, store, &place, source->path, offset, len, etag, sink,
				     sink_arg, ret_total);
}

static int open_cached(struct mk_call *call, struct mantik *m, const struct mk_place *place,
		       const char *path, const char *identity, int64_t size,
		       struct mk_cached **ret)
{
	struct source *source = mk_new(struct source);

	*source = (struct source){
		.m = m,
		.connection = mk_strdup(place->connection),
		.root = place->root,
		.id = mk_strdup(place->id),
		.version = place->version ? mk_strdup(place->version) : NULL,
		.uri = place->uri ? mk_strdup(place->uri) : NULL,
		.path = mk_strdup(path),
	};

	const struct mk_source of_cache = {
		.remote = place->connection,
		.identity = identity,
		.label = path,
		.size = size,
		/* Where the run goes on, or was still going on when the bytes came, they may be
		 * others now though they are as many. */
		.good_since = place->live ? mk_now_real() - fresh_live : place->mtime,
		.fetch = source_fetch,
		.arg = source,
		.drop = source_drop,
	};

	return mk_cached_open(call, m, &of_cache, ret);
}

int mk_index_files_open(struct mk_call *call, struct mantik *m, const struct mk_place *place,
			const char *path, struct mk_blob **ret)
{
	_cleanup_buf_ struct mk_buf identity = MK_BUF(PATH);
	_cleanup_free_ char *here = NULL;
	struct mk_dirent file;
	struct mk_cached *cached;
	int r = mk_upload_find(call, m, place, path, &file, &here);

	if (r > 0 && here)
		return mk_upload_open(call, m, here, file.size, ret);
	if (r >= 0)
		r = mk_index_files_stat(call, m, place, path, &file);
	if (r == 0 && file.is_dir)
		r = mk_fail(call, EISDIR, "%s is a directory", path);
	if (r < 0)
		return r;
	if (mk_buf_printf(&identity, "%s\n%s/%s\n%lld", place->connection, place->key, path,
			  (long long)file.size) < 0)
		return mk_fail(call, ENAMETOOLONG, "a path of %zu bytes", strlen(path));
	r = open_cached(call, m, place, path, mk_buf_text(&identity), file.size, &cached);
	if (r == -ESTALE) { /* that was the old version */
		mk_error_clear(call);
		r = open_cached(call, m, place, path, mk_buf_text(&identity), file.size, &cached);
	}
	if (r == 0)
		*ret = mk_blob_of_cached(cached, file.mtime, place->live);
	return r;
}
