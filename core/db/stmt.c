/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prepared statements, kept by their connection under the address of their text. A statement that
 * is in use (a listing whose emit lists again) is prepared a second time for that use alone.
 */
#include "db/db_internal.h"

#include <assert.h>
#include <stdlib.h>

static struct mk_stmt **slot_of(struct mk_conn *conn, const char *sql)
{
	uint64_t key = (uintptr_t)sql;

	return &conn->stmts[(key * UINT64_C(0x9E3779B97F4A7C15)) >> 32 & (STMT_SLOTS - 1)];
}

static int prepare(struct mk_call *call, struct mk_conn *conn, const char *sql, bool cached,
		   struct mk_stmt **ret)
{
	sqlite3_stmt *s = NULL;

	conn->call = call;

	int rc = sqlite3_prepare_v3(conn->sql, sql, -1, cached ? SQLITE_PREPARE_PERSISTENT : 0, &s,
				    NULL);

	conn->call = NULL;
	if (rc != SQLITE_OK)
		return mk_conn_fail(call, conn, rc);

	struct mk_stmt *stmt = mk_new(struct mk_stmt);

	*stmt = (struct mk_stmt){
		.s = s,
		.conn = conn,
		.sql = sql,
		.busy = true,
		.cached = cached,
	};
	*ret = stmt;
	return 0;
}

int mk_prepare(struct mk_call *call, struct mk_conn *conn, const char *sql, struct mk_stmt **ret)
{
	struct mk_stmt **slot = slot_of(conn, sql);
	bool cached = true;

	for (struct mk_stmt *stmt = *slot; stmt; stmt = stmt->next) {
		if (stmt->sql != sql)
			continue;
		if (stmt->busy) {
			cached = false;
			continue;
		}
		stmt->busy = true;
		*ret = stmt;
		return 0;
	}

	int r = prepare(call, conn, sql, cached, ret);

	if (r == 0 && cached) {
		(*ret)->next = *slot;
		*slot = *ret;
	}
	return r;
}

int mk_prepare_once(struct mk_call *call, struct mk_conn *conn, const char *sql,
		    struct mk_stmt **ret)
{
	return prepare(call, conn, sql, false, ret);
}

void mk_reset(struct mk_stmt **stmt_p)
{
	struct mk_stmt *stmt = *stmt_p;

	*stmt_p = NULL;
	if (!stmt)
		return;
	if (!stmt->cached) {
		sqlite3_finalize(stmt->s);
		free(stmt);
		return;
	}
	sqlite3_reset(stmt->s);
	sqlite3_clear_bindings(stmt->s);
	stmt->busy = false;
}

void mk_rewind(struct mk_stmt *stmt)
{
	sqlite3_reset(stmt->s);
}

/* A parameter that is not there, or binding between steps, is our own bug. */
static void bound(int rc)
{
	assert(rc == SQLITE_OK);
	(void)rc;
}

void mk_bind_int(struct mk_stmt *stmt, int i, int64_t v)
{
	bound(sqlite3_bind_int64(stmt->s, i, v));
}

void mk_bind_double(struct mk_stmt *stmt, int i, double v)
{
	bound(sqlite3_bind_double(stmt->s, i, v));
}

void mk_bind_text(struct mk_stmt *stmt, int i, const char *s)
{
	bound(sqlite3_bind_text(stmt->s, i, s, -1, SQLITE_STATIC));
}

void mk_bind_blob(struct mk_stmt *stmt, int i, const void *data, size_t len)
{
	/* A NULL pointer would bind NULL instead of an empty blob. */
	bound(sqlite3_bind_blob64(stmt->s, i, len ? data : "", len, SQLITE_STATIC));
}

void mk_bind_null(struct mk_stmt *stmt, int i)
{
	bound(sqlite3_bind_null(stmt->s, i));
}

int mk_step(struct mk_call *call, struct mk_stmt *stmt)
{
	stmt->conn->call = call;

	int rc = sqlite3_step(stmt->s);

	stmt->conn->call = NULL;
	if (rc == SQLITE_ROW)
		return 1;
	if (rc == SQLITE_DONE)
		return 0;
	return mk_conn_fail(call, stmt->conn, rc);
}

int mk_exec(struct mk_call *call, struct mk_stmt *stmt)
{
	int r = mk_step(call, stmt);

	sqlite3_reset(stmt->s);
	return r < 0 ? r : 0;
}

int64_t mk_col_int(struct mk_stmt *stmt, int i)
{
	return sqlite3_column_int64(stmt->s, i);
}

double mk_col_double(struct mk_stmt *stmt, int i)
{
	return sqlite3_column_double(stmt->s, i);
}

const char *mk_col_text(struct mk_stmt *stmt, int i)
{
	return (const char *)sqlite3_column_text(stmt->s, i);
}

const void *mk_col_blob(struct mk_stmt *stmt, int i, size_t *ret_len)
{
	const void *data = sqlite3_column_blob(stmt->s, i);

	*ret_len = (size_t)sqlite3_column_bytes(stmt->s, i);
	return data;
}

bool mk_col_null(struct mk_stmt *stmt, int i)
{
	return sqlite3_column_type(stmt->s, i) == SQLITE_NULL;
}

char *mk_col_dup(struct mk_stmt *stmt, int i)
{
	return mk_strdup(mk_col_text(stmt, i));
}

int64_t mk_last_id(struct mk_conn *conn)
{
	return sqlite3_last_insert_rowid(conn->sql);
}

int64_t mk_rows_changed(struct mk_conn *conn)
{
	return sqlite3_changes64(conn->sql);
}
