/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of core/db only. */
#ifndef MK_DB_INTERNAL_H
#define MK_DB_INTERNAL_H

#include <pthread.h>
#include <sqlite3.h>

#include "db/db.h"

enum {
	STMT_SLOTS = 256,     /* of a connection's table of statements; a power of two */
	BUSY_LIMIT_MS = 5000, /* how long another program may keep the file locked */
	MIGRATE_LIMIT_MS = 60000, /* … and while it brings an older schema up: it copies the file */
	CACHE_KIB = 2048,     /* pages kept by one connection */
	WAL_LIMIT = 64 << 20, /* bytes the log may keep after a checkpoint */
};

struct mk_stmt {
	sqlite3_stmt *s;
	struct mk_conn *conn;
	const char *sql; /* the key: its address */
	bool busy;	 /* between mk_prepare and mk_reset */
	bool cached;
	struct mk_stmt *next;
};

struct mk_conn {
	sqlite3 *sql;
	char *path; /* for errors */
	struct mk_call
		*call;	/* of the step that runs now: the busy and progress handlers look at it */
	bool is_writer; /* what has begun is finished: cancel is not looked at */
	int64_t busy_since; /* monotonic; 0 = not waiting */
	int busy_limit_ms;
	int snapshots;	    /* depth of mk_db_snapshot_begin */
	uint64_t db_id;
	/* Protected by the readers' lock in reader.c. */
	struct mk_db *db; /* NULL once the database is closed */
	int refs;	  /* the thread's and the database's */
	struct mk_conn *next_of_thread, *next_of_db;
	struct mk_stmt *stmts[STMT_SLOTS];
};

/* One write waiting for or in the writer thread; lives on its caller's stack. */
struct mk_write {
	struct mk_call *call;
	mk_db_fn *fn;
	void *arg;
	enum mk_durable durable;
	enum { WRITE_QUEUED, WRITE_BEGUN, WRITE_DONE } state;
	int result;
	int done_fd; /* the caller's eventfd, written with state DONE */
	struct mk_write *next;
};

struct mk_db {
	uint64_t id; /* of this opening, never reused in a process */
	char *path;
	bool read_only;
	bool network;
	bool immutable; /* a read-only medium: opened without locks */

	pthread_mutex_t lock; /* protects queue, states of writes, stop */
	pthread_cond_t wake;  /* of the writer thread: queue or stop */
	struct mk_write *queue, **queue_end;
	bool stop;

	/* The writer thread's alone. */
	pthread_t thread;
	bool has_thread;
	struct mk_conn *writer;
	int synchronous;	/* of the writer connection: as PRAGMA synchronous */
	int64_t unsynced_since; /* monotonic, of the oldest commit without an fsync; 0 = none */

	pthread_mutex_t generation_lock; /* protects watch and what it saw */
	struct mk_conn *watch;		 /* sees every commit by PRAGMA data_version */
	int64_t data_version;
	int64_t watched; /* monotonic: last look, for network file systems */
	_Atomic uint64_t generation;

	struct mk_conn *readers; /* the readers' lock */
};

/* A new connection. Errors as mantik_open(). */
int mk_conn_open(struct mk_call *call, struct mk_db *db, bool write,
		 struct mk_conn **ret) _must_check_;
void mk_conn_empty(struct mk_conn *conn); /* closes the file, keeps the struct */
void mk_conn_close(struct mk_conn *conn);
void mk_conn_closep(struct mk_conn **conn);
/* Runs texts without results: PRAGMA, BEGIN, schema. */
int mk_conn_run(struct mk_call *call, struct mk_conn *conn, const char *sql) _must_check_;
/* The first column of the first row of a text. */
int mk_conn_int(struct mk_call *call, struct mk_conn *conn, const char *sql,
		int64_t *ret) _must_check_;
/* The errno and sentence for a result of SQLite. */
int mk_conn_fail(struct mk_call *call, struct mk_conn *conn, int rc) _must_check_;

/* On a network file system a thread that may wait for nothing punts to the lane `db`. One that may
 * wait for some other remote may wait for the database too: what asks git needs both at once. */
int mk_db_may_wait(struct mk_call *call, const struct mk_db *db) _must_check_;
void mk_readers_close(struct mk_db *db);
int mk_writer_start(struct mk_call *call, struct mk_db *db) _must_check_;
void mk_writer_stop(struct mk_db *db);
/* Brings the schema to this program's version; only looks when the connection cannot write. */
int mk_migrate(struct mk_call *call, struct mk_db *db, bool write, mk_db_guard *guard,
	       void *arg) _must_check_;
/* EPROTO when another program has changed the schema since. */
int mk_migrate_check(struct mk_call *call, struct mk_conn *conn) _must_check_;
/* One consistent state as a new file, or (replace) over an older one. */
int mk_db_copy(struct mk_call *call, struct mk_db *db, const char *path, bool replace) _must_check_;

#endif
