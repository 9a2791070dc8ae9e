/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The only room with sqlite3.h: everything durable and ours passes here.
 *
 * One writer thread per process commits queued writes in groups: several
 * callers share one transaction and one fsync, each in a savepoint of its own, so that one that
 * fails takes nothing of the others with it. Reading needs no queue: each thread has a read-only
 * connection with its prepared statements.
 *
 * A write that is still queued when its call is cancelled never happens (EINTR); one that has
 * begun is waited for, its result is the truth.
 */
#ifndef MK_DB_H
#define MK_DB_H

#include <mantik/mantik.h>

struct mk_db;
struct mk_conn; /* a connection: a thread's own, or the writer's */
struct mk_stmt;

/* Errors as mantik_open(). `network`: the file lies on a network file system: rollback journal
 * instead of WAL, and reads wait (lane `db`). */
int mk_db_open(struct mk_call *call, const char *path, bool read_only, struct mk_db **ret)
	_must_check_;
/* The same with the journal chosen by the configuration instead of by the file system. */
enum mk_db_journal { MK_JOURNAL_AUTO, MK_JOURNAL_WAL, MK_JOURNAL_ROLLBACK };
int mk_db_open_as(struct mk_call *call, const char *path, bool read_only,
		  enum mk_db_journal journal, struct mk_db **ret) _must_check_;
/* The same; guard is asked before the schema of an older version is changed: what it refuses with
 * is the result. */
typedef int mk_db_guard(struct mk_call *call, void *arg);
int mk_db_open_guarded(struct mk_call *call, const char *path, bool read_only,
		       enum mk_db_journal journal, mk_db_guard *guard, void *arg,
		       struct mk_db **ret) _must_check_;
bool mk_db_network(const struct mk_db *db);
/* One consistent state in a new file (mode 0600), while others read and write. EEXIST. */
int mk_db_backup(struct mk_call *call, struct mk_db *db, const char *path) _must_check_;
/* Finishes what is queued. No thread may be using the database any more. */
void mk_db_close(struct mk_db *db);
/* PRAGMA data_version plus own commits: changes whenever anybody committed. */
uint64_t mk_db_generation(struct mk_db *db);

/* This thread's own read-only connection. Kept until the thread ends. Inside a read transaction
 * only between the first mk_step() and mk_reset() of a statement; for a consistent view over
 * several statements use mk_db_snapshot_begin/end. */
int mk_db_reader(struct mk_call *call, struct mk_db *db, struct mk_conn **ret) _must_check_;
int mk_db_snapshot_begin(struct mk_call *call, struct mk_conn *conn) _must_check_;
void mk_db_snapshot_end(struct mk_conn *conn);

enum mk_durable {
	MK_DURABLE,   /* survives power loss: fsync before it returns (submissions, texts) */
	MK_KILLSAFE,  /* survives a kill -9; power loss within a second (metrics) */
};
typedef int mk_db_fn(struct mk_call *call, struct mk_conn *conn, void *arg);
/* Runs fn in the writer thread and returns its result once committed. A negative result rolls fn's
 * changes back. fn must not wait for anything but the database and must not call mk_db_write. */
int mk_db_write(struct mk_call *call, struct mk_db *db, enum mk_durable durable, mk_db_fn *fn,
		void *arg) _must_check_;

/* For one question: prepared on this thread's own reader. */
int mk_db_read(struct mk_call *call, struct mk_db *db, const char *sql,
	       struct mk_stmt **ret) _must_check_;
/* Prepared and cached per connection by the address of the sql text, which must be static.
 * A statement of a reader is reset by mk_reset; use _cleanup_stmt_. */
int mk_prepare(struct mk_call *call, struct mk_conn *conn, const char *sql,
	       struct mk_stmt **ret) _must_check_;
/* The same for a text that is made for this once: prepared each time, gone with mk_reset. */
int mk_prepare_once(struct mk_call *call, struct mk_conn *conn, const char *sql,
		    struct mk_stmt **ret) _must_check_;
/* Positions from 1. Text and blob are not copied: they must live until mk_reset. NULL text = NULL. */
void mk_bind_int(struct mk_stmt *stmt, int i, int64_t v);
void mk_bind_double(struct mk_stmt *stmt, int i, double v);
void mk_bind_text(struct mk_stmt *stmt, int i, const char *s);
void mk_bind_blob(struct mk_stmt *stmt, int i, const void *data, size_t len);
void mk_bind_null(struct mk_stmt *stmt, int i);
/* 1 a row, 0 done, or an error. */
int mk_step(struct mk_call *call, struct mk_stmt *stmt) _must_check_;
/* For statements that give no rows: steps once and resets. EEXIST for a broken UNIQUE. */
int mk_exec(struct mk_call *call, struct mk_stmt *stmt) _must_check_;
/* Ready to be bound and stepped again; the bindings stay. */
void mk_rewind(struct mk_stmt *stmt);
/* Columns from 0; text is NULL for NULL, valid until the next step or reset. */
int64_t mk_col_int(struct mk_stmt *stmt, int i);
double mk_col_double(struct mk_stmt *stmt, int i);
const char *mk_col_text(struct mk_stmt *stmt, int i);
const void *mk_col_blob(struct mk_stmt *stmt, int i, size_t *ret_len);
bool mk_col_null(struct mk_stmt *stmt, int i);
char *mk_col_dup(struct mk_stmt *stmt, int i); /* NULL for NULL */
int64_t mk_last_id(struct mk_conn *conn);
int64_t mk_rows_changed(struct mk_conn *conn);
void mk_reset(struct mk_stmt **stmt); /* also clears bindings and *stmt; NULL is fine */
#define _cleanup_stmt_ _cleanup_(mk_reset)

/* Says what changed, in the writing transaction, for the other programs. kind: "run", "project",
 * "experiment", "repository", "text", "queue". */
int mk_db_changed(struct mk_call *call, struct mk_conn *conn, const char *kind,
		  int64_t key) _must_check_;

#endif
