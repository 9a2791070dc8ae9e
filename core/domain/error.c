/* SPDX-License-Identifier: Apache-2.0 */
/* Errors that users met: written by front ends once per failed operation, read when they wonder. */
#include <mantik/error.h>

#include <string.h>

#include "base/utf8.h"
#include "domain/domain.h"
#include "domain/tsv.h"

enum { KEPT = 1000 };

struct record {
	const char *path;
	const struct mk_error *error;
};

int mk_error_put(struct mk_call *call, struct mk_conn *conn, const char *path,
		 const struct mk_error *error)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL, *old = NULL;
	int r = mk_prepare(call, conn,
			   "INSERT INTO errors (time, path, code, text, remote, detail) "
			   "VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, mk_now_real());
	mk_bind_text(stmt, 2, path);
	mk_bind_int(stmt, 3, error->code);
	mk_bind_text(stmt, 4, error->text ? error->text : strerror(error->code));
	mk_bind_text(stmt, 5, error->remote);
	mk_bind_text(stmt, 6, error->detail);
	r = mk_exec(call, stmt);
	if (r < 0)
		return r;
	r = mk_prepare(call, conn, "DELETE FROM errors WHERE id <= ?1", &old);
	if (r < 0)
		return r;
	mk_bind_int(old, 1, mk_last_id(conn) - KEPT);
	return mk_exec(call, old);
}

static int insert(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct record *record = arg;

	return mk_error_put(call, conn, record->path, record->error);
}

/* A path that was asked for may hold anything: what would break a line or a terminal, or is no
 * UTF-8, is written as names in the tree write it, a%0Ab. */
static void put_path(struct mk_buf *out, const char *path)
{
	size_t good = mk_utf8_bad(path, strlen(path));

	for (const char *s = path; *s; s++) {
		bool bad = (unsigned char)*s < 0x20 || *s == 0x7f;

		if (s == path + good) {
			bad = true;
			good += 1 + mk_utf8_bad(s + 1, strlen(s + 1));
		}
		if (bad)
			(void)mk_buf_printf(out, "%%%02X", (unsigned char)*s);
		else
			(void)mk_buf_putc(out, *s);
	}
}

void mk_error_record(struct mantik *m, const char *path, const struct mk_error *error)
{
	_cleanup_buf_ struct mk_buf clean = MK_BUF(64 << 10);

	if (!error->code || m->read_only)
		return;
	put_path(&clean, path);

	struct record record = {mk_buf_text(&clean), error};

	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);
	call.may_wait = MK_ANY;
	call.deadline = mk_now_mono() + 200 * MK_MS;
	(void)!mk_db_write(&call, m->db, MK_KILLSAFE, insert, &record);
}

int mk_error_list(struct mk_call *call, struct mantik *m, const char *path, mk_error_emit *emit,
		  void *arg)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db,
			   "SELECT time, path, code, text, remote, detail FROM errors "
			   "WHERE ?1 IS NULL OR path = ?1 OR "
			   "substr(path, 1, length(?1) + 1) = ?1 || '/' ORDER BY id",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, path);
	while ((r = mk_step(call, stmt)) == 1) {
		const char *name = strerrorname_np((int)mk_col_int(stmt, 2));
		const struct mk_error_entry entry = {
			.time = mk_col_int(stmt, 0),
			.path = mk_col_text(stmt, 1),
			.name = name ? name : "?",
			.text = mk_col_text(stmt, 3),
			.remote = mk_col_text(stmt, 4),
			.detail = mk_col_text(stmt, 5),
		};

		r = emit(arg, &entry);
		if (r != 0)
			return r;
	}
	return r;
}

static int put_line(void *arg, const struct mk_error_entry *entry)
{
	struct mk_buf *out = arg;
	char when[32];

	mk_time_text(entry->time, true, when);
	(void)mk_buf_printf(out, "%s\t", when);
	mk_tsv_put(out, entry->path);
	(void)mk_buf_printf(out, "\t%s\t", entry->name);
	mk_tsv_put(out, entry->text);
	(void)mk_buf_putc(out, '\t');
	mk_tsv_put(out, entry->remote);
	(void)mk_buf_putc(out, '\t');
	mk_tsv_put(out, entry->detail);
	return mk_buf_putc(out, '\n');
}

int mk_error_table(struct mk_call *call, struct mantik *m, struct mk_buf *ret)
{
	(void)mk_buf_puts(ret, "time\tpath\terrno\ttext\tremote\tdetail\n");
	return mk_error_list(call, m, NULL, put_line, ret);
}
