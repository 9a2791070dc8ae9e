/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A read-only connection per thread and database. The thread and the database both know it:
 *
 *   thread ends     the key's destructor closes its connections
 *   database closes mk_readers_close() closes those of all threads; the threads drop the empty
 *                   shells when they next ask or end
 *
 * so a connection has two references, and one lock for the whole process (held for a few
 * instructions, and while connections are closed) parts the two cases.
 */
#include "db/db_internal.h"

#include <stdlib.h>

/* Protects conn->db, ->refs, ->next_of_db, ->sql against closing, and db->readers. */
static pthread_mutex_t readers_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t key; /* value: the thread's list, the newest first */

/* With the lock: closes what costs memory and descriptors, keeps the shell for the other side. */
static void drop(struct mk_conn *conn)
{
	if (conn->db) {
		struct mk_conn **p = &conn->db->readers;

		while (*p != conn)
			p = &(*p)->next_of_db;
		*p = conn->next_of_db;
		conn->db = NULL;
		conn->refs--;
	}
	if (--conn->refs == 0)
		mk_conn_close(conn);
}

static void thread_ends(void *arg)
{
	pthread_mutex_lock(&readers_lock);
	for (struct mk_conn *conn = arg, *next; conn; conn = next) {
		next = conn->next_of_thread;
		drop(conn);
	}
	pthread_mutex_unlock(&readers_lock);
}

static void make_key(void)
{
	if (pthread_key_create(&key, thread_ends) != 0)
		abort();
}

/* The shells of closed databases leave the thread's list. */
static void forget_closed(void)
{
	struct mk_conn *list = pthread_getspecific(key);
	struct mk_conn **p = &list;

	pthread_mutex_lock(&readers_lock);
	while (*p) {
		struct mk_conn *conn = *p;

		if (conn->db) {
			p = &conn->next_of_thread;
			continue;
		}
		*p = conn->next_of_thread;
		drop(conn);
	}
	pthread_mutex_unlock(&readers_lock);
	(void)pthread_setspecific(key, list);
}

int mk_db_may_wait(struct mk_call *call, const struct mk_db *db)
{
	if (!db->network || call->may_wait)
		return 0;
	return mk_call_may_wait(call, "db");
}

int mk_db_reader(struct mk_call *call, struct mk_db *db, struct mk_conn **ret)
{
	int r = mk_db_may_wait(call, db);

	if (r < 0)
		return r;
	pthread_once(&key_once, make_key);
	for (struct mk_conn *conn = pthread_getspecific(key); conn; conn = conn->next_of_thread)
		if (conn->db_id == db->id) {
			*ret = conn;
			return 0;
		}
	forget_closed();

	struct mk_conn *conn;

	r = mk_conn_open(call, db, false, &conn);

	if (r < 0)
		return r;
	conn->refs = 2;
	conn->db = db;
	pthread_mutex_lock(&readers_lock);
	conn->next_of_db = db->readers;
	db->readers = conn;
	pthread_mutex_unlock(&readers_lock);
	conn->next_of_thread = pthread_getspecific(key);
	if (pthread_setspecific(key, conn) != 0)
		abort();
	*ret = conn;
	return 0;
}

int mk_db_read(struct mk_call *call, struct mk_db *db, const char *sql, struct mk_stmt **ret)
{
	struct mk_conn *conn;
	int r = mk_db_reader(call, db, &conn);

	return r < 0 ? r : mk_prepare(call, conn, sql, ret);
}

void mk_readers_close(struct mk_db *db)
{
	pthread_mutex_lock(&readers_lock);
	for (struct mk_conn *conn = db->readers, *next; conn; conn = next) {
		next = conn->next_of_db;
		conn->db = NULL;
		mk_conn_empty(conn);
		if (--conn->refs == 0)
			mk_conn_close(conn);
	}
	db->readers = NULL;
	pthread_mutex_unlock(&readers_lock);
}

int mk_db_snapshot_begin(struct mk_call *call, struct mk_conn *conn)
{
	if (conn->snapshots == 0) {
		int r = mk_conn_run(call, conn, "BEGIN");

		if (r < 0)
			return r;
	}
	conn->snapshots++;
	return 0;
}

void mk_db_snapshot_end(struct mk_conn *conn)
{
	if (--conn->snapshots > 0)
		return;
	/* A statement still open makes this fail as busy; it then ends with that statement. */
	(void)sqlite3_exec(conn->sql, "COMMIT", NULL, NULL, NULL);
}
