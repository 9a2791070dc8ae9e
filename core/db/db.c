/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening and closing the database, what kind of file system it lies on, and the number that says
 * that somebody committed. Called by domain/platform.c; the other files of this room are
 *
 *   conn.c        one connection: its settings, its waits, SQLite's results as errno and sentence
 *   stmt.c        prepared statements
 *   reader.c      a read-only connection per thread
 *   writer.c      the thread that commits in groups
 *   migrations.c  versions of the schema, migrations/ the versions themselves
 *   fstype.c      which file systems are local
 */
#include "db/db_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "db/fstype.h"

/* The file is made by us, so that nobody else can read what SQLite will put there. Never opened
 * when it exists: closing a descriptor of a file drops the locks SQLite holds on it. */
static int make_file(struct mk_call *call, const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0 && errno == EEXIST)
		return 0;
	if (fd < 0)
		return mk_fail(call, errno, "%s: cannot be made: %s", path, strerror(errno));
	close(fd);
	return 0;
}

static int check_rights(struct mk_call *call, const char *path, bool read_only)
{
	if (access(path, R_OK) < 0)
		return mk_fail(call, errno, "%s: cannot be read: %s", path, strerror(errno));
	if (!read_only && access(path, W_OK) < 0)
		return mk_fail(call, EROFS,
			       "%s: cannot be written (%s); make it writable, or open "
			       "the platform for reading only",
			       path, strerror(errno));
	return 0;
}

static int choose_journal(struct mk_call *call, struct mk_db *db, enum mk_db_journal journal)
{
	if (journal != MK_JOURNAL_AUTO) {
		db->network = journal == MK_JOURNAL_ROLLBACK;
		return 0;
	}

	struct mk_fstype type;
	int r = mk_fstype(call, db->path, &type);

	if (r < 0)
		return r;
	db->network = !type.is_local;
	return 0;
}

void mk_db_close(struct mk_db *db)
{
	if (!db)
		return;
	mk_writer_stop(db);
	mk_readers_close(db);
	mk_conn_close(db->watch);
	mk_conn_close(db->writer); /* last: its close checkpoints the log */
	pthread_mutex_destroy(&db->lock);
	pthread_cond_destroy(&db->wake);
	pthread_mutex_destroy(&db->generation_lock);
	free(db->path);
	free(db);
}

static void mk_db_closep(struct mk_db **db)
{
	mk_db_close(*db);
}

static struct mk_db *new_db(const char *path, bool read_only)
{
	static _Atomic uint64_t last_id;
	struct mk_db *db = mk_new(struct mk_db);
	pthread_condattr_t attr;

	db->id = ++last_id;
	db->path = mk_strdup(path);
	db->read_only = read_only;
	db->queue_end = &db->queue;
	db->synchronous = -1;
	db->generation = 1;
	pthread_mutex_init(&db->lock, NULL);
	pthread_mutex_init(&db->generation_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&db->wake, &attr);
	pthread_condattr_destroy(&attr);
	return db;
}

int mk_db_open_guarded(struct mk_call *call, const char *path, bool read_only,
		       enum mk_db_journal journal, mk_db_guard *guard, void *arg,
		       struct mk_db **ret)
{
	enum { PATH_MAX_SQLITE = 500 }; /* 512 in its os_unix.c, with what it puts behind the name */
	_cleanup_(mk_db_closep) struct mk_db *db = NULL;
	int r;

	if (strlen(path) > PATH_MAX_SQLITE)
		return mk_fail(call, ENAMETOOLONG,
			       "%s: longer than %d bytes; set data_dir or MANTIK_DATA_DIR to a shorter "
			       "path",
			       path, PATH_MAX_SQLITE);
	db = new_db(path, read_only);
	r = read_only ? 0 : make_file(call, path);

	if (r < 0)
		return r;
	r = check_rights(call, path, read_only);
	if (r < 0)
		return r;
	r = choose_journal(call, db, journal);
	if (r < 0)
		return r;
	r = mk_conn_open(call, db, !read_only, &db->writer);
	if (r < 0)
		return r;
	r = mk_migrate(call, db, !read_only, guard, arg);
	if (r < 0)
		return r;
	r = mk_conn_open(call, db, false, &db->watch);
	if (r < 0)
		return r;
	if (!read_only) {
		r = mk_writer_start(call, db);
		if (r < 0)
			return r;
	}
	*ret = mk_steal(&db);
	return 0;
}

int mk_db_open_as(struct mk_call *call, const char *path, bool read_only,
		  enum mk_db_journal journal, struct mk_db **ret)
{
	return mk_db_open_guarded(call, path, read_only, journal, NULL, NULL, ret);
}

int mk_db_open(struct mk_call *call, const char *path, bool read_only, struct mk_db **ret)
{
	return mk_db_open_as(call, path, read_only, MK_JOURNAL_AUTO, ret);
}

bool mk_db_network(const struct mk_db *db)
{
	return db->network;
}

/* On a network file system a look costs a round trip and may hang: at most one a second, and never
 * two threads waiting. Own commits count at once there (writer.c). */
static bool may_look(struct mk_db *db)
{
	if (!db->network) {
		pthread_mutex_lock(&db->generation_lock);
		return true;
	}
	if (pthread_mutex_trylock(&db->generation_lock) != 0)
		return false;
	if (mk_now_mono() - db->watched < MK_SEC) {
		pthread_mutex_unlock(&db->generation_lock);
		return false;
	}
	return true;
}

uint64_t mk_db_generation(struct mk_db *db)
{
	if (!may_look(db))
		return db->generation;

	_cleanup_call_ struct mk_call call;
	int64_t version = 0;

	mk_call_init(&call);
	call.deadline = mk_now_mono() + MK_SEC;
	if (mk_conn_int(&call, db->watch, "PRAGMA data_version", &version) < 0)
		version = db->data_version + 1; /* cannot tell: those who ask look for themselves */
	if (version != db->data_version)
		db->generation++;
	db->data_version = version;
	db->watched = mk_now_mono();
	pthread_mutex_unlock(&db->generation_lock);
	return db->generation;
}

int mk_db_changed(struct mk_call *call, struct mk_conn *conn, const char *kind, int64_t key)
{
	enum { KEPT = 10000 };
	_cleanup_stmt_ struct mk_stmt *add = NULL, *prune = NULL;
	int r = mk_prepare(call, conn, "INSERT INTO changes (kind, key) VALUES (?, ?)", &add);

	if (r < 0)
		return r;
	mk_bind_text(add, 1, kind);
	mk_bind_int(add, 2, key);
	r = mk_exec(call, add);
	if (r < 0)
		return r;

	int64_t seq = mk_last_id(conn);

	if (seq % 1000)
		return 0;
	r = mk_prepare(call, conn, "DELETE FROM changes WHERE seq <= ?", &prune);
	if (r < 0)
		return r;
	mk_bind_int(prune, 1, seq - KEPT);
	return mk_exec(call, prune);
}

/* VACUUM INTO writes one consistent state to a new file while others read and write. */
int mk_db_copy(struct mk_call *call, struct mk_db *db, const char *path, bool replace)
{
	_cleanup_(mk_conn_closep) struct mk_conn *conn = NULL;
	_cleanup_free_ char *part = NULL;
	_cleanup_buf_ struct mk_buf sql = MK_BUF(16384);
	_cleanup_close_ int fd = -1;
	int r = mk_conn_open(call, db, false, &conn);

	if (r < 0)
		return r;

	_cleanup_buf_ struct mk_buf name = MK_BUF(8192);

	if (mk_buf_printf(&name, "%s.part%d", path, (int)getpid()) < 0)
		return mk_fail(call, ENAMETOOLONG, "%s: the name is too long", path);
	part = mk_buf_steal(&name);
	/* Made by us first, so that nobody else can read it meanwhile; VACUUM INTO takes an empty
	 * file. */
	fd = open(part, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return mk_fail(call, errno, "%s: cannot be made: %s", path, strerror(errno));
	(void)mk_buf_puts(&sql, "VACUUM INTO '");
	for (const char *s = part; *s; s++) {
		if (*s == '\'')
			(void)mk_buf_putc(&sql, '\'');
		(void)mk_buf_putc(&sql, *s);
	}
	(void)mk_buf_puts(&sql, "'");
	r = mk_conn_run(call, conn, mk_buf_text(&sql));
	if (r == 0 && fdatasync(fd) < 0)
		r = mk_fail(call, errno, "%s: %s", part, strerror(errno));
	if (r == 0 && replace && rename(part, path) < 0)
		r = mk_fail(call, errno, "%s: %s", path, strerror(errno));
	if (r == 0 && !replace && link(part, path) < 0)
		r = mk_fail(call, errno,
			    errno == EEXIST ? "%s: exists already" : "%s: cannot be made", path);
	(void)unlink(part);
	return r;
}

int mk_db_backup(struct mk_call *call, struct mk_db *db, const char *path)
{
	return mk_db_copy(call, db, path, false);
}
