/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Versions of the schema. PRAGMA user_version says which one a database has: 0 is an empty file and
 * gets every row of the table (migrations.h) in order. An older one gets those it lacks:
 *
 *   guard (the lease: no mantikd of the older version works) -> lock -> copy to mantik.db.schemaN
 *   -> rows in order -> foreign keys checked -> commit
 *
 * all in one transaction, so that a kill or a full disk on the way leaves the older database. A
 * database of a newer program is refused: guessing would destroy what it means.
 */
#include "db/db_internal.h"

#include <errno.h>

#include "db/migrations.h"

enum { APPLICATION_ID = 0x6d6e746b }; /* "mntk": `file` and we know our own */

static int newest(void)
{
	int version = 0;

	for (const struct mk_migration *m = mk_migrations; m->version; m++)
		version = m->version;
	return version;
}

static int look(struct mk_call *call, struct mk_conn *conn, int64_t *ret_version)
{
	int64_t application = 0, tables = 0;
	int r = mk_conn_int(call, conn, "PRAGMA user_version", ret_version);

	if (r == 0)
		r = mk_conn_int(call, conn, "PRAGMA application_id", &application);
	if (r == 0)
		r = mk_conn_int(call, conn, "SELECT count(*) FROM sqlite_schema", &tables);
	if (r < 0)
		return r;
	if (application != APPLICATION_ID && (*ret_version || tables))
		return mk_fail(call, EUCLEAN,
			       "%s: the database of another program; set data_dir to a "
			       "directory of its own",
			       conn->path);
	if (*ret_version > newest())
		return mk_fail(call, EPROTO,
			       "%s: made by a newer mantikfs (schema %d, this program "
			       "knows %d); use that version, nothing was changed",
			       conn->path, (int)*ret_version, newest());
	return 0;
}

static int keep_copy(struct mk_call *call, struct mk_db *db, int version)
{
	_cleanup_buf_ struct mk_buf path = MK_BUF(8192);

	if (mk_buf_printf(&path, "%s.schema%d", db->path, version) < 0)
		return mk_fail(call, ENAMETOOLONG, "%s: the name is too long", db->path);
	return mk_prefix(call, mk_db_copy(call, db, mk_buf_text(&path), true),
			 "a copy before its schema is changed");
}

static int apply(struct mk_call *call, struct mk_db *db)
{
	_cleanup_buf_ struct mk_buf sql = MK_BUF(256);
	int64_t version = 0, broken = 0;
	int r = look(call, db->writer, &version); /* again: another program may have been faster */

	if (r == 0 && version && version < newest())
		r = keep_copy(call, db, (int)version);
	for (const struct mk_migration *m = mk_migrations; r == 0 && m->version; m++)
		if (m->version > version)
			r = mk_prefix(call, mk_conn_run(call, db->writer, m->sql), "schema %d",
				      m->version);
	if (r == 0)
		r = mk_conn_int(call, db->writer, "SELECT count(*) FROM pragma_foreign_key_check",
				&broken);
	if (r == 0 && broken)
		r = mk_fail(call, EUCLEAN, "%s: %lld rows name others that do not exist; put a backup "
			    "in its place", db->path, (long long)broken);
	if (r < 0)
		return r;
	(void)mk_buf_printf(&sql, "PRAGMA application_id=%d;PRAGMA user_version=%d", APPLICATION_ID,
			    newest());
	return mk_conn_run(call, db->writer, mk_buf_text(&sql));
}

int mk_migrate(struct mk_call *call, struct mk_db *db, bool write, mk_db_guard *guard, void *arg)
{
	struct mk_conn *conn = db->writer;
	int64_t version = 0;
	int r = look(call, conn, &version);

	if (r < 0 || version == newest())
		return r;
	if (!write)
		return mk_fail(call, EROFS,
			       version ? "%s: has the older schema %d; open it for writing "
					 "once"
				       : "%s: holds no platform yet; open it for writing once",
			       conn->path, (int)version);
	if (version && guard) {
		r = guard(call, arg);
		if (r < 0)
			return mk_prefix(call, r, "%s has the older schema %d, which cannot be brought "
				       "to %d now", conn->path, (int)version, newest());
	}
	/* Somebody else may be doing just this. */
	conn->busy_limit_ms = MIGRATE_LIMIT_MS;
	/* A table that is made anew must not take with it what refers to it. */
	r = mk_conn_run(call, conn, "PRAGMA synchronous=FULL;PRAGMA foreign_keys=OFF;BEGIN IMMEDIATE");
	conn->busy_limit_ms = BUSY_LIMIT_MS;
	if (r < 0)
		return r;
	r = apply(call, db);
	if (r == 0)
		r = mk_conn_run(call, conn, "COMMIT");
	if (r < 0)
		(void)sqlite3_exec(conn->sql, "ROLLBACK", NULL, NULL, NULL);
	(void)sqlite3_exec(conn->sql, "PRAGMA foreign_keys=ON", NULL, NULL, NULL);
	return r;
}

int mk_migrate_check(struct mk_call *call, struct mk_conn *conn)
{
	int64_t version = 0;
	int r = mk_conn_int(call, conn, "PRAGMA user_version", &version);

	if (r < 0 || version == newest())
		return r;
	return mk_fail(call, EPROTO,
		       "%s: was brought to schema %d by another version of mantikfs meanwhile (this "
		       "program knows %d); end it and start that version", conn->path, (int)version,
		       newest());
}
