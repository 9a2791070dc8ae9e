/* SPDX-License-Identifier: Apache-2.0 */
/* See mantik/upload.h and upload.h. */
#include "domain/outbox/upload.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <mantik/name.h>

#include "base/file.h"
#include "domain/blob.h"
#include "domain/domain.h"
#include "domain/index/index.h"
#include "domain/outbox/outbox.h"
#include "domain/outbox/staged.h"

/* --- may it be put? -------------------------------------------------------------------------- */

/* What the mirrored run says where its artifacts are; "" nothing. */
static int artifact_uri(struct mk_call *call, struct mantik *m, int64_t run_id, char **ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db, "SELECT coalesce(artifact_uri, '') FROM runs WHERE id = ?1",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, run_id);
	r = mk_step(call, stmt);
	if (r < 0)
		return r;
	*ret = r > 0 ? mk_col_dup(stmt, 0) : mk_strdup("");
	return 0;
}

static int check_store(struct mk_call *call, struct mantik *m, int64_t run_id, const char *path,
		       struct mk_place *ret)
{
	const struct mk_tracking_ops *ops;
	struct mk_tracking *store;
	_cleanup_free_ char *uri = NULL;
	int r = mk_place_of_run(call, m, run_id, ret);

	if (r < 0)
		return r;
	if (r == 0)
		return mk_fail(
			call, EPERM,
			"artifacts are what the job left that `artifacts:` of its spec names: "
			"nothing is added to them here");
	r = artifact_uri(call, m, run_id, &uri);
	if (r == 0)
		r = mk_index_store(call, m, ret->connection, &ops, &store);
	if (r < 0)
		return r;
	if (!ops->put || !ops->put_check)
		return mk_fail(call, EOPNOTSUPP, "%s: this tracking store is only read",
			       ret->connection);
	return ops->put_check(call, store, uri, path);
}

int mk_upload_takes(struct mk_call *call, struct mantik *m, int64_t run_id)
{
	_cleanup_place_ struct mk_place place = {};
	int r = check_store(call, m, run_id, "x", &place);

	if (r == -EPERM || r == -EOPNOTSUPP) {
		mk_error_clear(call);
		return 0;
	}
	return r < 0 ? r : 1;
}

static int check_parents(struct mk_call *call, struct mantik *m, const struct mk_place *place,
			 const char *path)
{
	for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
		_cleanup_free_ char *part = mk_strndup(path, (size_t)(slash - path));
		struct mk_dirent entry;
		int r = mk_index_files_stat(call, m, place, part, &entry);

		if (r == -ENOENT) {
			mk_error_clear(call);
			return 0;
		}
		if (r < 0)
			return r;
		if (!entry.is_dir)
			return mk_fail(call, ENOTDIR, "%s is a file", part);
	}
	return 0;
}

int mk_upload_check(struct mk_call *call, struct mantik *m, int64_t run_id, const char *path)
{
	_cleanup_place_ struct mk_place place = {};
	struct mk_dirent entry;
	int r = check_store(call, m, run_id, path ? path : "x", &place);

	if (r < 0 || !path)
		return r;
	r = check_parents(call, m, &place, path);
	if (r == 0)
		r = mk_index_files_stat(call, m, &place, path, &entry);
	if (r == -ENOENT) {
		mk_error_clear(call);
		return 0;
	}
	return r < 0 ? r
		     : mk_fail(call, EEXIST,
			       "%s is an artifact already: artifacts stay as they were logged; "
			       "copy it "
			       "under another name",
			       path);
}

/* --- what is on its way ---------------------------------------------------------------------- */

static void split(const char *path, char **ret_dir, const char **ret_name)
{
	const char *slash = strrchr(path, '/');

	*ret_dir = mk_strndup(path, slash ? (size_t)(slash - path) : 0);
	*ret_name = slash ? slash + 1 : path;
}

int mk_upload_find(struct mk_call *call, struct mantik *m, const struct mk_place *place,
		   const char *path, struct mk_dirent *ret, char **ret_file)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	_cleanup_free_ char *dir = NULL;
	const char *name;
	int r = mk_db_read(call, m->db,
			   "SELECT 0, size, mtime, CASE sent WHEN 0 THEN file END FROM uploads"
			   " WHERE project_id = ?1 AND place = ?2 AND dir = ?3 AND name = ?4"
			   " UNION ALL SELECT 1, 0, mtime, NULL FROM uploads"
			   " WHERE project_id = ?1 AND place = ?2"
			   " AND (dir = ?5 OR substr(dir, 1, length(?5) + 1) = ?5 || '/') LIMIT 1",
			   &stmt);

	if (r < 0)
		return r;
	split(path, &dir, &name);
	mk_bind_int(stmt, 1, place->project_id);
	mk_bind_text(stmt, 2, place->key);
	mk_bind_text(stmt, 3, dir);
	mk_bind_text(stmt, 4, name);
	mk_bind_text(stmt, 5, path);
	r = mk_step(call, stmt);
	if (r <= 0)
		return r;
	*ret = (struct mk_dirent){
		.name = name,
		.is_dir = mk_col_int(stmt, 0),
		.size = mk_col_int(stmt, 1),
		.mtime = mk_col_int(stmt, 2),
	};
	if (!ret_file)
		return 1;
	*ret_file = mk_col_dup(stmt, 3);
	if (*ret_file)
		mantik_keep(m); /* should mantikd have been killed */
	return 1;
}

int mk_upload_list(struct mk_call *call, struct mantik *m, const struct mk_place *place,
		   const char *dir, mk_dirent_emit *emit, void *arg)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	_cleanup_free_ char *below = mk_strf("%s%s", dir, *dir ? "/" : "");
	int r = mk_db_read(call, m->db,
			   "WITH found AS (SELECT name, 0 AS is_dir, size, mtime, sent = 0 AS waits"
			   " FROM uploads"
			   " WHERE project_id = ?1 AND place = ?2 AND dir = ?3"
			   " UNION ALL SELECT substr(rest, 1, instr(rest || '/', '/') - 1), 1, 0,"
			   " max(mtime), 0 FROM"
			   " (SELECT substr(dir, length(?4) + 1) AS rest, mtime FROM uploads"
			   "  WHERE project_id = ?1 AND place = ?2 AND dir <> ?3"
			   "  AND substr(dir, 1, length(?4)) = ?4) GROUP BY 1)"
			   " SELECT * FROM found WHERE waits OR name NOT IN (SELECT name FROM files"
			   " WHERE project_id = ?1 AND place = ?2 AND dir = ?3)",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, place->project_id);
	mk_bind_text(stmt, 2, place->key);
	mk_bind_text(stmt, 3, dir);
	mk_bind_text(stmt, 4, below);
	while ((r = mk_step(call, stmt)) > 0) {
		const struct mk_dirent it = {
			.name = mk_col_text(stmt, 0),
			.is_dir = mk_col_int(stmt, 1),
			.size = mk_col_int(stmt, 2),
			.mtime = mk_col_int(stmt, 3),
		};

		r = emit(arg, &it);
		if (r)
			return r;
	}
	return r;
}

int mk_upload_settle(struct mk_call *call, struct mk_conn *conn, int64_t project_id,
		     const char *place, const char *dir, int64_t asked)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "DELETE FROM uploads WHERE project_id = ?1 AND place = ?2 AND dir = ?3"
			   " AND sent <> 0 AND sent < ?4",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, project_id);
	mk_bind_text(stmt, 2, place);
	mk_bind_text(stmt, 3, dir);
	mk_bind_int(stmt, 4, asked);
	return mk_exec(call, stmt);
}

/* ENOENT when somebody has removed it. */
static int open_file(struct mk_call *call, struct mantik *m, const char *file)
{
	_cleanup_free_ char *path = mk_strf("%s/uploads/%s", m->data_dir, file);
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return mk_fail(call, errno,
			       "%s, a file on its way to a tracking server: %s", path,
			       strerror(errno));
	return fd;
}

int mk_upload_open(struct mk_call *call, struct mantik *m, const char *file, int64_t size,
		   struct mk_blob **ret)
{
	int fd = open_file(call, m, file);

	if (fd < 0)
		return fd;
	*ret = mk_blob_of_fd(fd, size, false);
	return 0;
}

/* --- putting --------------------------------------------------------------------------------- */

static const char lane[] = "disk:uploads";

struct putting {
	const struct mk_place *place;
	int64_t run_id;
	const char *path;
	struct mk_staged_stat stat;
	struct mk_out row;
};

static int insert(struct mk_call *call, struct mk_conn *conn, const struct putting *p)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	_cleanup_free_ char *dir = NULL;
	const char *name;
	int r = mk_prepare(call, conn,
			   "INSERT INTO uploads (project_id, run_id, place, dir, name, file, size,"
			   " mtime) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8 WHERE NOT EXISTS"
			   " (SELECT 1 FROM files WHERE project_id = ?1 AND place = ?3"
			   " AND dir = ?4 AND name = ?5)",
			   &stmt);

	if (r < 0)
		return r;
	split(p->path, &dir, &name);
	mk_bind_int(stmt, 1, p->place->project_id);
	mk_bind_int(stmt, 2, p->run_id);
	mk_bind_text(stmt, 3, p->place->key);
	mk_bind_text(stmt, 4, dir);
	mk_bind_text(stmt, 5, name);
	mk_bind_text(stmt, 6, p->row.value);
	mk_bind_int(stmt, 7, p->stat.size);
	mk_bind_int(stmt, 8, p->stat.mtime);
	r = mk_exec(call, stmt);
	if (r < 0 && r != -EEXIST)
		return r;
	if (r == 0 && mk_rows_changed(conn))
		return 0;
	mk_error_clear(call);
	return mk_fail(call, EEXIST, "%s: somebody else has copied to it", p->path);
}

static int put(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	struct putting *p = arg;
	_cleanup_free_ char *object = NULL;
	int r = insert(call, conn, p);

	if (r < 0)
		return r;
	object = mk_strf("file:%lld", (long long)mk_last_id(conn));
	p->row.object = object;
	r = mk_outbox_put(call, conn, &p->row);
	p->row.object = NULL;
	return r;
}

int mk_upload_put(struct mk_call *call, struct mantik *m, int64_t run_id, const char *path,
		  struct mk_staged *staged)
{
	_cleanup_place_ struct mk_place place = {};
	struct putting p = {.place = &place, .run_id = run_id, .path = path};
	int r = 0;

	/* Before the lane of the disk, where the store cannot be asked: there the mirror is enough. */
	if (call->may_wait == MK_ANY || mk_call_may_wait(call, lane) < 0)
		r = mk_upload_check(call, m, run_id, path);
	if (r == 0)
		r = mk_call_may_wait(call, lane);
	if (r == 0)
		r = mk_place_of_run(call, m, run_id, &place);
	if (r < 0)
		return r;
	if (r == 0)
		return mk_fail(call, ENOENT, "the run of %s is gone", path);
	mk_staged_stat(staged, &p.stat);
	r = mk_staged_keep(call, staged);
	if (r < 0)
		return r;
	p.row = (struct mk_out){
		.project_id = place.project_id,
		.verb = MK_OUT_FILE,
		.key = (char *)path,
		.value = staged->file,
	};
	r = mk_outbox_write(call, m, MK_DURABLE, put, &p, &p.row);
	if (r < 0)
		return r;
	mk_staged_give(staged);
	return 0;
}

/* --- sending --------------------------------------------------------------------------------- */

struct sending {
	int64_t id, run_id, size;
	char *path, *file;
};

static void sending_free(struct sending *s)
{
	free(s->path);
	free(s->file);
}

/* 1 it waits, 0 not. */
static int get(struct mk_call *call, struct mantik *m, int64_t id, struct sending *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(
		call, m->db,
		"SELECT run_id, size, dir || CASE dir WHEN '' THEN '' ELSE '/' END || name,"
		" file FROM uploads WHERE id = ?1 AND sent = 0",
		&stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	r = mk_step(call, stmt);
	if (r > 0)
		*ret = (struct sending){
			.id = id,
			.run_id = mk_col_int(stmt, 0),
			.size = mk_col_int(stmt, 1),
			.path = mk_col_dup(stmt, 2),
			.file = mk_col_dup(stmt, 3),
		};
	return r;
}

static int note_sent(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct sending *s = arg;

	return mk_domain_run(call, conn, "UPDATE uploads SET sent = ?2 WHERE id = ?1", s->id,
			     mk_now_real());
}

void mk_upload_forget(struct mantik *m, const char *file)
{
	_cleanup_free_ char *path = mk_strf("%s/uploads/%s", m->data_dir, file);

	(void)unlink(path);
}

bool mk_upload_is_kept(struct mantik *m, const char *file)
{
	_cleanup_free_ char *path = mk_strf("%s/uploads/%s", m->data_dir, file);

	return faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT;
}

/* 1 it waits, and where it goes; 0 it is gone. */
static int prepare(struct mk_call *call, struct mantik *m, int64_t id, struct sending *s,
		   struct mk_place *place, const struct mk_tracking_ops **ret_ops,
		   struct mk_tracking **ret_store)
{
	int r = get(call, m, id, s);

	if (r > 0)
		r = mk_place_of_run(call, m, s->run_id, place);
	if (r <= 0)
		return r;
	r = mk_index_store(call, m, place->connection, ret_ops, ret_store);
	if (r < 0)
		return r;
	return (*ret_ops)->put ? 1
			       : mk_fail(call, EOPNOTSUPP, "%s: this tracking store is only read",
					 place->connection);
}

void mk_upload_seen_free(struct mk_upload_seen *seen)
{
	free(seen->dir);
	mk_list_free(&seen->paths);
	*seen = (struct mk_upload_seen){};
}

static int add_path(void *arg, const struct mk_t_file *file)
{
	struct mk_upload_seen *seen = arg;

	return mk_list_add(&seen->paths, file->path);
}

static int see(struct mk_call *call, const struct mk_tracking_ops *ops, struct mk_tracking *store,
	       const struct mk_place *place, const struct sending *s, struct mk_upload_seen *seen)
{
	const struct mk_t_place there = {.root = MK_T_RUN, .id = place->id};
	_cleanup_free_ char *dir = NULL, *token = NULL;
	const char *name;
	int64_t now = mk_now_mono();
	int r;

	split(s->path, &dir, &name);
	if (seen->dir && seen->run_id == s->run_id && strcmp(seen->dir, dir) == 0 && now < seen->until)
		return 0;
	mk_upload_seen_free(seen);
	do
		r = ops->files(call, store, &there, dir, &token, add_path, seen);
	while (r == 0 && token);
	if (r < 0)
		return r;
	seen->run_id = s->run_id;
	seen->until = now + 60 * MK_SEC;
	seen->dir = mk_steal(&dir);
	return 0;
}

int mk_upload_ask(struct mk_call *call, struct mantik *m, int64_t id, struct mk_upload_seen *seen)
{
	_cleanup_(sending_free) struct sending s = {};
	_cleanup_place_ struct mk_place place = {};
	const struct mk_tracking_ops *ops;
	struct mk_tracking *store;
	int r = prepare(call, m, id, &s, &place, &ops, &store);

	if (r > 0)
		r = see(call, ops, store, &place, &s, seen);
	if (r < 0 || !s.path || !mk_list_has(&seen->paths, s.path))
		return r;
	return mk_fail(call, EEXIST,
		       "%s: somebody else has logged %s since: that stays as it was logged; copy yours "
		       "under another name",
		       place.connection, s.path);
}

int mk_upload_send(struct mk_call *call, struct mantik *m, int64_t id)
{
	_cleanup_(sending_free) struct sending s = {};
	_cleanup_place_ struct mk_place place = {};
	const struct mk_tracking_ops *ops;
	struct mk_tracking *store;
	int r = prepare(call, m, id, &s, &place, &ops, &store);

	if (r <= 0)
		return r;

	_cleanup_close_ int fd = open_file(call, m, s.file);

	if (fd < 0)
		return fd;
	r = ops->put(call, store, &(struct mk_t_place){.root = MK_T_RUN, .id = place.id}, s.path,
		     fd, s.size);
	if (r == 0)
		r = mk_domain_write(call, m, MK_DURABLE, note_sent, &s);
	if (r == 0)
		mk_upload_forget(m, s.file);
	return r;
}

int mk_upload_out_take_back(struct mk_call *call, struct mk_conn *conn, int64_t id)
{
	/* What the store has there shows again: its listings are asked for anew ('0' follows '/'). */
	int r = mk_domain_run(call, conn,
			      "DELETE FROM marks WHERE project_id ="
			      " (SELECT project_id FROM uploads WHERE id = ?1)"
			      " AND what >= (SELECT 'files:' || place || '/' FROM uploads WHERE id = ?1)"
			      " AND what < (SELECT 'files:' || place || '0' FROM uploads WHERE id = ?1)",
			      id, 0);

	return r < 0 ? r
		     : mk_domain_run(call, conn, "DELETE FROM uploads WHERE id = ?1 AND sent = 0", id, 0);
}

int mk_upload_out_path(struct mk_call *call, struct mk_conn *conn, int64_t id, struct mk_buf *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "SELECT p.name, r.dir, u.dir || CASE u.dir WHEN '' THEN '' ELSE '/' END"
			   " || u.name, r.deleted FROM uploads u JOIN runs r ON r.id = u.run_id"
			   " JOIN projects p ON p.id = u.project_id WHERE u.id = ?1",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	r = mk_step(call, stmt);
	if (r <= 0)
		return r;
	(void)mk_buf_puts(ret, "/projects/");
	(void)mk_name_escape(ret, mk_col_text(stmt, 0), strlen(mk_col_text(stmt, 0)));
	(void)mk_buf_printf(ret, "/runs/%s%s/artifacts/%s", mk_col_int(stmt, 3) ? "deleted/" : "",
			    mk_col_text(stmt, 1), mk_col_text(stmt, 2));
	return 0;
}

/* 1: a row waits with it. */
static int is_known(struct mk_call *call, struct mantik *m, const char *file)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db, "SELECT 1 FROM uploads WHERE file = ?1 AND sent = 0", &stmt);

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, file);
	return mk_step(call, stmt);
}

void mk_upload_sweep(struct mk_call *call, struct mantik *m)
{
	static const int64_t old = 24 * 3600; /* s: who is at work has written since */
	_cleanup_free_ char *path = mk_strf("%s/uploads", m->data_dir);
	DIR *dir = opendir(path);
	struct dirent *entry;

	if (!dir)
		return;
	while ((entry = readdir(dir))) {
		struct stat st;

		if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    !S_ISREG(st.st_mode) || mk_now_real() / MK_SEC - st.st_ctim.tv_sec < old)
			continue;
		if (is_known(call, m, entry->d_name) == 0)
			(void)unlinkat(dirfd(dir), entry->d_name, 0);
		mk_error_clear(call);
	}
	closedir(dir);
}
