/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Versions of the schema. PRAGMA user_version says which one a database has: 0 is an empty file and
 * gets schema.sql (version 1), then every later row of the table in order, all in one transaction.
 * A database of a newer program is refused: guessing would destroy what it means.
 */
#include "db/db_internal.h"

#include <errno.h>

#include "db/schema.h"

enum { APPLICATION_ID = 0x6d6e746b }; /* "mntk": `file` and we know our own */

static const struct {
	int version;
	const char *sql;
} migrations[] = {
	{1, mk_schema_sql},
};
enum { NEWEST = 1 };

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
	if (*ret_version > NEWEST)
		return mk_fail(call, EPROTO,
			       "%s: made by a newer mantikfs (schema %d, this program "
			       "knows %d); use that version, nothing was changed",
			       conn->path, (int)*ret_version, NEWEST);
	return 0;
}

static int apply(struct mk_call *call, struct mk_conn *conn)
{
	int64_t version = 0;
	int r = look(call, conn, &version); /* again: another program may have been faster */

	for (size_t i = 0; r == 0 && i < sizeof(migrations) / sizeof(*migrations); i++)
		if (migrations[i].version > version)
			r = mk_conn_run(call, conn, migrations[i].sql);
	if (r < 0)
		return r;

	_cleanup_buf_ struct mk_buf sql = MK_BUF(256);

	(void)mk_buf_printf(&sql, "PRAGMA application_id=%d;PRAGMA user_version=%d", APPLICATION_ID,
			    NEWEST);
	return mk_conn_run(call, conn, mk_buf_text(&sql));
}

int mk_migrate(struct mk_call *call, struct mk_conn *conn, bool write)
{
	int64_t version = 0;
	int r = look(call, conn, &version);

	if (r < 0 || version == NEWEST)
		return r;
	if (!write)
		return mk_fail(call, EROFS,
			       version ? "%s: has the older schema %d; open it for writing "
					 "once"
				       : "%s: holds no platform yet; open it for writing once",
			       conn->path, (int)version);
	r = mk_conn_run(call, conn, "BEGIN EXCLUSIVE");
	if (r < 0)
		return r;
	r = apply(call, conn);
	if (r == 0)
		r = mk_conn_run(call, conn, "COMMIT");
	if (r < 0)
		(void)sqlite3_exec(conn->sql, "ROLLBACK", NULL, NULL, NULL);
	return r;
}
