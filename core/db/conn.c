/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection to the database, used by one thread at a time (SQLite's multi-thread mode): its
 * settings, what it does while another program holds the lock, and how SQLite's results become
 * errno and a sentence that says what to do.
 */
#include "db/db_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int fail_open(struct mk_call *call, struct mk_conn *conn, int system_errno)
{
	int code = system_errno ? system_errno : EIO;

	return mk_fail(call, code == EACCES || code == EPERM ? EROFS : code,
		       "%s: cannot be opened: %s; its directory must exist and be writable",
		       conn->path, strerror(code));
}

static int fail_io(struct mk_call *call, struct mk_conn *conn, int rc)
{
	int code = conn->sql ? sqlite3_system_errno(conn->sql) : 0;

	if (code == ENOSPC || code == EDQUOT)
		return mk_fail(call, code, "%s: %s; nothing was changed", conn->path,
			       strerror(code));
	if (code == ENOLCK || rc == SQLITE_IOERR_LOCK || rc == SQLITE_IOERR_RDLOCK)
		return mk_fail(call, ENOLCK,
			       "%s: its file system gives no locks; set data_dir to a "
			       "directory of another file system",
			       conn->path);
	return mk_fail(call, EIO, "%s: %s%s%s", conn->path, sqlite3_errstr(rc), code ? ": " : "",
		       code ? strerror(code) : "");
}

int mk_conn_fail(struct mk_call *call, struct mk_conn *conn, int rc)
{
	int extended = conn->sql ? sqlite3_extended_errcode(conn->sql) : rc;

	if ((extended & 0xff) != (rc & 0xff))
		extended = rc;
	switch (rc & 0xff) {
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		if (!conn->is_writer && mk_call_check(call, "the database") < 0)
			return -call->error.code;
		return mk_fail(call, EBUSY,
			       "%s: locked by another program for more than %d s; `fuser "
			       "%s` names it",
			       conn->path, conn->busy_limit_ms / 1000, conn->path);
	case SQLITE_READONLY:
	case SQLITE_PERM:
	case SQLITE_AUTH:
		return mk_fail(call, EROFS, "%s: cannot be written", conn->path);
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return mk_fail(
			call, EUCLEAN,
			"%s: the database is damaged (%s); the file is kept as it "
			"is; put a backup in its place, or move it away to begin with an empty "
			"platform",
			conn->path, conn->sql ? sqlite3_errmsg(conn->sql) : sqlite3_errstr(rc));
	case SQLITE_FULL:
		return mk_fail(call, ENOSPC, "%s: no space left on its disk; nothing was changed",
			       conn->path);
	case SQLITE_IOERR:
		return fail_io(call, conn, extended);
	case SQLITE_CANTOPEN:
		return fail_open(call, conn, conn->sql ? sqlite3_system_errno(conn->sql) : 0);
	case SQLITE_INTERRUPT:
		if (mk_call_check(call, "the database") < 0)
			return -call->error.code;
		return mk_fail(call, EINTR, "%s: interrupted", conn->path);
	case SQLITE_NOMEM:
		return mk_fail(call, ENOMEM, "%s: out of memory", conn->path);
	case SQLITE_TOOBIG:
		return mk_fail(call, EFBIG, "%s: a value is too large for the database",
			       conn->path);
	case SQLITE_CONSTRAINT:
		if (extended == SQLITE_CONSTRAINT_UNIQUE ||
		    extended == SQLITE_CONSTRAINT_PRIMARYKEY || extended == SQLITE_CONSTRAINT_ROWID)
			return mk_fail(call, EEXIST, "%s", sqlite3_errmsg(conn->sql));
		return mk_fail(call, EINVAL, "%s", sqlite3_errmsg(conn->sql));
	}
	return mk_fail(call, EIO, "%s: %s", conn->path,
		       conn->sql ? sqlite3_errmsg(conn->sql) : sqlite3_errstr(rc));
}

/* There is no event for a lock of another program: look again, ever more rarely. */
static int while_busy(void *arg, int tries)
{
	struct mk_conn *conn = arg;
	int64_t now = mk_now_mono();
	int ms = tries < 6 ? 1 << tries : 50;

	if (tries == 0)
		conn->busy_since = now;
	if (now - conn->busy_since > conn->busy_limit_ms * MK_MS)
		return 0;
	if (!conn->call || conn->is_writer) {
		(void)poll(NULL, 0, ms);
		return 1;
	}
	ms = mk_call_left_ms(conn->call, ms);
	if (!ms || conn->call->cancelled)
		return 0;

	struct pollfd p = {.fd = mk_call_cancel_fd(conn->call), .events = POLLIN};

	(void)poll(&p, 1, ms);
	return 1;
}

/* A long statement of a reader ends when its call does. */
static int while_running(void *arg)
{
	struct mk_conn *conn = arg;

	if (!conn->call || conn->is_writer)
		return 0;
	return conn->call->cancelled || mk_call_left_ms(conn->call, 1) == 0;
}

int mk_conn_run(struct mk_call *call, struct mk_conn *conn, const char *sql)
{
	conn->call = call;

	int rc = sqlite3_exec(conn->sql, sql, NULL, NULL, NULL);

	conn->call = NULL;
	return rc == SQLITE_OK ? 0 : mk_conn_fail(call, conn, rc);
}

int mk_conn_int(struct mk_call *call, struct mk_conn *conn, const char *sql, int64_t *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn, sql, &stmt);

	if (r < 0)
		return r;
	r = mk_step(call, stmt);
	if (r < 0)
		return r;
	*ret = r ? mk_col_int(stmt, 0) : 0;
	return 0;
}

void mk_conn_empty(struct mk_conn *conn)
{
	for (size_t i = 0; i < STMT_SLOTS; i++) {
		for (struct mk_stmt *stmt = conn->stmts[i], *next; stmt; stmt = next) {
			next = stmt->next;
			sqlite3_finalize(stmt->s);
			free(stmt);
		}
		conn->stmts[i] = NULL;
	}
	sqlite3_close_v2(conn->sql);
	conn->sql = NULL;
}

void mk_conn_close(struct mk_conn *conn)
{
	if (!conn)
		return;
	mk_conn_empty(conn);
	free(conn->path);
	free(conn);
}

void mk_conn_closep(struct mk_conn **conn)
{
	mk_conn_close(*conn);
	*conn = NULL;
}

static void configure_once(void)
{
	/* Its counters are a lock that all threads would share. */
	(void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
	(void)sqlite3_config(SQLITE_CONFIG_MULTITHREAD);
}

/* `file:` address of a path, for immutable=1. */
static int open_immutable(struct mk_conn *conn)
{
	_cleanup_buf_ struct mk_buf uri = MK_BUF(32768);

	(void)mk_buf_puts(&uri, "file:");
	for (const char *s = conn->path; *s; s++)
		if (strchr("?#%", *s))
			(void)mk_buf_printf(&uri, "%%%02x", (unsigned char)*s);
		else
			(void)mk_buf_putc(&uri, *s);
	(void)mk_buf_puts(&uri, "?immutable=1");
	if (mk_buf_check(&uri) < 0)
		return SQLITE_CANTOPEN;
	return sqlite3_open_v2(mk_buf_text(&uri), &conn->sql,
			       SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_URI, NULL);
}

static int open_file(struct mk_conn *conn, bool write, bool immutable)
{
	sqlite3_close_v2(conn->sql);
	conn->sql = NULL;

	int rc = immutable
			 ? open_immutable(conn)
			 : sqlite3_open_v2(conn->path, &conn->sql,
					   (write ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY) |
						   SQLITE_OPEN_NOMUTEX,
					   NULL);

	if (rc != SQLITE_OK)
		return rc;
	sqlite3_extended_result_codes(conn->sql, 1);
	conn->busy_limit_ms = BUSY_LIMIT_MS;
	sqlite3_busy_handler(conn->sql, while_busy, conn);
	sqlite3_progress_handler(conn->sql, 20000, while_running, conn);
	/* The first look at the file: is it one, may it be read, is there a lock. */
	return sqlite3_exec(conn->sql, "PRAGMA schema_version", NULL, NULL, NULL);
}

static bool log_is_empty(const char *path)
{
	_cleanup_buf_ struct mk_buf name = MK_BUF(8192);

	return mk_buf_printf(&name, "%s-wal", path) == 0 && access(mk_buf_text(&name), F_OK) < 0 &&
	       errno == ENOENT;
}

static int settings(struct mk_call *call, struct mk_conn *conn, struct mk_db *db, bool write)
{
	_cleanup_buf_ struct mk_buf sql = MK_BUF(1024);

	(void)mk_buf_printf(&sql,
			    "PRAGMA cache_size=-%d;PRAGMA foreign_keys=ON;"
			    "PRAGMA trusted_schema=OFF;PRAGMA cell_size_check=ON;",
			    CACHE_KIB);
	if (write)
		(void)mk_buf_printf(&sql, "PRAGMA journal_mode=%s;PRAGMA journal_size_limit=%d;",
				    db->network ? "TRUNCATE" : "WAL", WAL_LIMIT);
	return mk_conn_run(call, conn, mk_buf_text(&sql));
}

int mk_conn_open(struct mk_call *call, struct mk_db *db, bool write, struct mk_conn **ret)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	_cleanup_(mk_conn_closep) struct mk_conn *conn = mk_new(struct mk_conn);

	pthread_once(&once, configure_once);
	conn->path = mk_strdup(db->path);
	conn->db_id = db->id;
	conn->call = call;

	int rc = open_file(conn, write, db->immutable);

	/* A log needs two more files; on a read-only medium they cannot be made, and without a
	 * log nothing can change. */
	if (db->read_only && !db->writer && rc != SQLITE_OK && log_is_empty(db->path) &&
	    ((rc & 0xff) == SQLITE_CANTOPEN || (rc & 0xff) == SQLITE_READONLY)) {
		rc = open_file(conn, false, true);
		db->immutable = rc == SQLITE_OK;
	}
	if (rc != SQLITE_OK)
		return mk_conn_fail(call, conn, rc);

	int r = settings(call, conn, db, write);

	if (r < 0)
		return r;
	conn->call = NULL;
	*ret = mk_steal(&conn);
	return 0;
}
