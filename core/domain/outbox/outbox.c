/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of the outbox, and waiting for what becomes of one: see outbox.h. */
#include "domain/outbox/outbox.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "domain/domain.h"
#include "domain/logged.h"
#include "domain/outbox/upload.h"

void mk_outs_free(struct mk_outs *rows)
{
	for (size_t i = 0; i < rows->n; i++) {
		free(rows->v[i].object);
		free(rows->v[i].remote_id);
		free(rows->v[i].key);
		free(rows->v[i].value);
		free(rows->v[i].before);
	}
	free(rows->v);
	*rows = (struct mk_outs){};
}

int mk_outbox_put(struct mk_call *call, struct mk_conn *conn, struct mk_out *row)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "INSERT INTO outbox (project_id, verb, object, key, value, before, step,"
			   " number, time, created, wanted)"
			   " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
			   &stmt);

	if (r < 0)
		return r;
	row->created = mk_now_real();
	mk_bind_int(stmt, 1, row->project_id);
	mk_bind_int(stmt, 2, row->verb);
	mk_bind_text(stmt, 3, row->object);
	mk_bind_text(stmt, 4, row->key ? row->key : "");
	mk_bind_text(stmt, 5, row->value);
	mk_bind_text(stmt, 6, row->before);
	if (row->verb == MK_OUT_POINT) {
		mk_bind_int(stmt, 7, row->point.step);
		mk_bind_value(stmt, 8, row->point.value);
		mk_bind_int(stmt, 9, row->point.time);
	}
	mk_bind_int(stmt, 10, row->created);
	mk_bind_int(stmt, 11, row->wanted);
	r = mk_exec(call, stmt);
	if (r < 0)
		return r;
	row->id = mk_last_id(conn);
	if (row->wanted) {
		if (!call->unsent.first)
			call->unsent.first = row->id;
		call->unsent.last = row->id;
	}
	return 0;
}

/* --- looking ------------------------------------------------------------------------------- */

static int read_number(struct mk_call *call, struct mantik *m, const char *sql, int64_t a,
		       int64_t b, int64_t *ret)
{
	struct mk_conn *conn;
	int r = mk_db_reader(call, m->db, &conn);

	return r < 0 ? r : mk_domain_int(call, conn, sql, a, b, ret);
}

int mk_outbox_count(struct mk_call *call, struct mantik *m, int64_t run_id, int64_t *ret)
{
	int r = read_number(call, m,
			    "SELECT (SELECT count(*) FROM outbox WHERE object = 'run:' || ?1"
			    " AND code = 0)"
			    " + (SELECT count(*) FROM uploads WHERE run_id = ?1 AND sent = 0)",
			    run_id, 0, ret);

	return r < 0 ? r : 0;
}

int mk_outbox_any(struct mk_call *call, struct mantik *m, int64_t project_id)
{
	int64_t one;

	return read_number(call, m,
			   "SELECT 1 FROM outbox WHERE project_id = ?1 AND code = 0"
			   " AND (refused = 0 OR try_at <= ?2) LIMIT 1",
			   project_id, mk_now_real(), &one);
}

int mk_outbox_queues(struct mk_call *call, struct mantik *m, struct mk_out_queue **ret,
		     size_t *ret_n)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db,
			   "SELECT DISTINCT o.project_id, o.verb = ?1 FROM outbox o JOIN projects p"
			   " ON p.id = o.project_id WHERE p.connection IS NOT NULL AND o.code = 0"
			   " AND (o.refused = 0 OR o.try_at <= ?2)",
			   &stmt);

	if (r == 0) {
		mk_bind_int(stmt, 1, MK_OUT_FILE);
		mk_bind_int(stmt, 2, mk_now_real());
	}
	while (r == 0 && (r = mk_step(call, stmt)) > 0) {
		struct mk_out_queue *v = reallocarray(*ret, *ret_n + 1, sizeof(*v));

		if (!v)
			return mk_fail(call, ENOMEM, "out of memory for the outbox");
		*ret = v;
		v[(*ret_n)++] = (struct mk_out_queue){mk_col_int(stmt, 0), mk_col_int(stmt, 1)};
		r = 0;
	}
	return r;
}

int mk_outbox_known(struct mk_call *call, struct mantik *m, int64_t run_id, const char *key,
		    int64_t *ret_n, struct mk_point *ret_last)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db,
			   "SELECT p.seq + 1, p.step, p.value, p.time, p.minus FROM points p"
			   " JOIN metrics s ON s.id = p.metric_id"
			   " WHERE s.run_id = ?1 AND s.key = ?2 AND p.seq = s.count - 1",
			   &stmt);

	if (r < 0)
		return r;
	*ret_n = 0;
	mk_bind_int(stmt, 1, run_id);
	mk_bind_text(stmt, 2, key);
	r = mk_step(call, stmt);
	if (r <= 0)
		return r;
	*ret_n = mk_col_int(stmt, 0);
	*ret_last = (struct mk_point){
		mk_col_int(stmt, 1),
		mk_col_value_minus(stmt, 2, 4, 1),
		mk_col_int(stmt, 3),
	};
	return 0;
}

/* --- what is next --------------------------------------------------------------------------- */

#define COLUMNS                                                                              \
	"id, project_id, verb, object, key, value, before, step, number, time, created, wanted," \
	" asked, tries, refused"

static int add_row(struct mk_call *call, struct mk_stmt *stmt, struct mk_outs *rows)
{
	if (!(rows->n & (rows->n - 1))) {
		void *v = reallocarray(rows->v, rows->n ? rows->n * 2 : 1, sizeof(*rows->v));

		if (!v)
			return mk_fail(call, ENOMEM, "out of memory for the outbox");
		rows->v = v;
	}

	struct mk_out *row = &rows->v[rows->n++];
	const char *colon;

	*row = (struct mk_out){
		.id = mk_col_int(stmt, 0),
		.project_id = mk_col_int(stmt, 1),
		.verb = (enum mk_out_verb)mk_col_int(stmt, 2),
		.object = mk_col_dup(stmt, 3),
		.key = mk_col_dup(stmt, 4),
		.value = mk_col_dup(stmt, 5),
		.before = mk_col_dup(stmt, 6),
		.point = {mk_col_int(stmt, 7), mk_col_value(stmt, 8),
			  mk_col_int(stmt, 9)},
		.created = mk_col_int(stmt, 10),
		.wanted = mk_col_int(stmt, 11),
		.asked = mk_col_int(stmt, 12),
		.tries = (int)mk_col_int(stmt, 13),
		.refused = (int)mk_col_int(stmt, 14),
	};
	colon = strchr(row->object, ':');
	row->of = colon ? strtoll(colon + 1, NULL, 10) : 0;
	return 0;
}

int mk_outbox_rows(struct mk_call *call, struct mk_conn *conn, const char *object, const char *key,
		   enum mk_out_verb verb, struct mk_outs *rows)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "SELECT " COLUMNS " FROM outbox WHERE object = ?1 AND key = ?2 AND verb = ?3"
			   " AND code = 0 ORDER BY id",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, object);
	mk_bind_text(stmt, 2, key);
	mk_bind_int(stmt, 3, verb);
	while ((r = mk_step(call, stmt)) > 0) {
		r = add_row(call, stmt, rows);
		if (r < 0)
			return r;
	}
	return r;
}

/* The store's name of the object: the same for all rows. */
static int find_remote(struct mk_call *call, struct mk_conn *conn, struct mk_outs *rows)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = 0;

	switch (mk_out_noun(&rows->v[0])) {
	case MK_OUT_OF_RUN:
		r = mk_prepare(call, conn, "SELECT remote_id FROM runs WHERE id = ?1", &stmt);
		break;
	case MK_OUT_OF_EXPERIMENT:
		r = mk_prepare(call, conn, "SELECT remote_id FROM experiments WHERE id = ?1", &stmt);
		break;
	case MK_OUT_OF_MODEL:
		r = mk_prepare(call, conn, "SELECT name FROM models WHERE id = ?1", &stmt);
		break;
	case MK_OUT_OF_FILE:
		r = mk_prepare(call, conn, "SELECT name FROM uploads WHERE id = ?1", &stmt);
		break;
	}
	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, rows->v[0].of);
	r = mk_step(call, stmt);
	if (r > 0)
		rows->v[0].remote_id = mk_col_dup(stmt, 0);
	return r < 0 ? r : 0;
}

/* Points of the first one's run, as they follow it. Those that were sent before are settled by
 * themselves first. */
static int gather(struct mk_call *call, struct mk_conn *conn, size_t most, bool one_key,
		  struct mk_outs *rows)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "SELECT " COLUMNS " FROM outbox WHERE object = ?1 AND id > ?2 AND code = 0"
			   " ORDER BY id LIMIT ?3",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, rows->v[0].object);
	mk_bind_int(stmt, 2, rows->v[0].id);
	mk_bind_int(stmt, 3, (int64_t)most - 1);
	while ((r = mk_step(call, stmt)) > 0) {
		const char *key = mk_col_text(stmt, 4);

		if (mk_col_int(stmt, 2) != MK_OUT_POINT ||
		    !mk_col_int(stmt, 12) != !rows->v[0].asked ||
		    (one_key && strcmp(key, rows->v[0].key) != 0))
			break;
		r = add_row(call, stmt, rows);
		if (r < 0)
			return r;
	}
	return r < 0 ? r : 0;
}

enum mk_out_noun mk_out_noun(const struct mk_out *row)
{
	switch (row->object[0]) {
	case 'r':
		return MK_OUT_OF_RUN;
	case 'm':
		return MK_OUT_OF_MODEL;
	case 'f':
		return MK_OUT_OF_FILE;
	default:
		return MK_OUT_OF_EXPERIMENT;
	}
}

static int look_next(struct mk_call *call, struct mk_conn *conn, const struct mk_out_queue *queue,
		     size_t most, bool one_key, struct mk_outs *ret, int64_t *ret_due)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL, *due = NULL;
	int64_t now = mk_now_real();
	int r = mk_prepare(call, conn,
			   "SELECT " COLUMNS " FROM outbox o WHERE project_id = ?1 AND code = 0"
			   " AND (verb = ?4) = ?3 AND try_at <= ?2 AND NOT EXISTS (SELECT 1 FROM outbox e"
			   " WHERE e.object = o.object AND e.id < o.id AND e.code = 0 AND e.try_at > ?2)"
			   " ORDER BY id LIMIT 1",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, queue->project_id);
	mk_bind_int(stmt, 2, now);
	mk_bind_int(stmt, 3, queue->files);
	mk_bind_int(stmt, 4, MK_OUT_FILE);
	r = mk_step(call, stmt);
	if (r > 0) {
		r = add_row(call, stmt, ret);
		mk_reset(&stmt);
		if (r == 0 && ret->v[0].verb == MK_OUT_POINT && most > 1)
			r = gather(call, conn, most, one_key, ret);
		return r < 0 ? r : find_remote(call, conn, ret);
	}
	if (r == 0)
		r = mk_prepare(call, conn,
			       "SELECT min(try_at) FROM outbox WHERE project_id = ?1 AND code = 0"
			       " AND (verb = ?4) = ?3 AND try_at > ?2 AND refused = 0",
			       &due);
	if (r < 0)
		return r;
	mk_bind_int(due, 1, queue->project_id);
	mk_bind_int(due, 2, now);
	mk_bind_int(due, 3, queue->files);
	mk_bind_int(due, 4, MK_OUT_FILE);
	r = mk_step(call, due);
	if (r > 0)
		*ret_due = mk_col_null(due, 0) ? 0 : mk_col_int(due, 0);
	return r < 0 ? r : 0;
}

int mk_outbox_next(struct mk_call *call, struct mantik *m, const struct mk_out_queue *queue,
		   size_t most, bool one_key, struct mk_outs *ret, int64_t *ret_due)
{
	_cleanup_outs_ struct mk_outs rows = {};
	struct mk_conn *conn;
	int64_t due = 0;
	int r = mk_db_reader(call, m->db, &conn);

	if (r == 0)
		r = mk_db_snapshot_begin(call, conn);
	if (r < 0)
		return r;
	r = look_next(call, conn, queue, most, one_key, &rows, &due);
	mk_db_snapshot_end(conn);
	if (r < 0)
		return r;
	*ret = rows;
	rows = (struct mk_outs){};
	*ret_due = due;
	return 0;
}

/* --- marks of the sender --------------------------------------------------------------------- */

struct asked {
	const struct mk_outs *rows;
	int64_t time;
};

static int write_asked(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct asked *asked = arg;
	int64_t n = 0;

	for (size_t i = 0; i < asked->rows->n; i++) {
		int r = mk_domain_run(call, conn, "UPDATE outbox SET asked = ?2 WHERE id = ?1",
				      asked->rows->v[i].id, asked->time);

		if (r < 0)
			return r;
		n += mk_rows_changed(conn) > 0;
	}
	return n == (int64_t)asked->rows->n;
}

int mk_outbox_asked(struct mk_call *call, struct mantik *m, const struct mk_outs *rows, bool asked)
{
	/* Durable: a power loss must not bring back "it was never sent". */
	return mk_domain_write(call, m, MK_DURABLE, write_asked,
			       &(struct asked){rows, asked ? mk_now_real() : 0});
}

struct later {
	const struct mk_out *row;
	int64_t try_at;
	const char *words;
};

static int write_later(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct later *later = arg;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "UPDATE outbox SET tries = tries + 1, try_at = ?2, text = ifnull(?3, text),"
			   " refused = 0 WHERE id = ?1",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, later->row->id);
	mk_bind_int(stmt, 2, later->try_at);
	mk_bind_text(stmt, 3, later->words);
	return mk_exec(call, stmt);
}

int mk_outbox_later(struct mk_call *call, struct mantik *m, const struct mk_out *row,
		    int64_t try_at, const char *words)
{
	return mk_domain_write(call, m, MK_KILLSAFE, write_later,
			       &(struct later){row, try_at, words});
}

struct away {
	int64_t project_id;
	const char *text;
};

static int write_away(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct away *away = arg;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "INSERT INTO outbox_away (project_id, since, text) VALUES (?1, ?2, ?3)"
			   " ON CONFLICT DO UPDATE SET text = excluded.text",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, away->project_id);
	mk_bind_int(stmt, 2, mk_now_real());
	mk_bind_text(stmt, 3, away->text);
	return mk_exec(call, stmt);
}

int mk_outbox_away(struct mk_call *call, struct mantik *m, int64_t project_id, const char *text)
{
	return mk_domain_write(call, m, MK_KILLSAFE, write_away, &(struct away){project_id, text});
}

/* --- waiting -------------------------------------------------------------------------------- */

/* 1: there is nothing to be waited for any more. */
static int is_decided(struct mk_call *call, struct mantik *m)
{
	static const char sql[] =
		"SELECT 1 FROM outbox o WHERE id BETWEEN ?1 AND ?2 AND code = 0 AND NOT EXISTS"
		" (SELECT 1 FROM outbox_away a WHERE a.project_id = o.project_id)"
		" AND NOT EXISTS (SELECT 1 FROM outbox e WHERE e.object = o.object AND e.id <= o.id"
		"  AND e.code = 0 AND e.tries > 0)"
		" AND NOT EXISTS (SELECT 1 FROM outbox e WHERE e.id BETWEEN ?1 AND ?2 AND e.code <> 0)"
		" LIMIT 1";
	int64_t one;
	int r = read_number(call, m, sql, call->unsent.first, call->unsent.last, &one);

	return r < 0 ? r : r == 0;
}

struct leave {
	int64_t first, last;
	int code;
	char *text, *detail;
	char *file; /* whose bytes were kept until now */
};

/* The refusal, if there is one, is ours; from now on nobody waits. */
static int write_leave(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	struct leave *leave = arg;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "SELECT code, text, detail, iif(verb = ?3, value, NULL),"
			   " CAST(substr(object, instr(object, ':') + 1) AS INTEGER) FROM outbox"
			   " WHERE id BETWEEN ?1 AND ?2 AND code <> 0 ORDER BY id LIMIT 1",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, leave->first);
	mk_bind_int(stmt, 2, leave->last);
	mk_bind_int(stmt, 3, MK_OUT_FILE);
	r = mk_step(call, stmt);
	if (r > 0) {
		leave->code = (int)mk_col_int(stmt, 0);
		leave->text = mk_col_dup(stmt, 1);
		leave->detail = mk_col_dup(stmt, 2);
		leave->file = mk_col_dup(stmt, 3);
		if (leave->file)
			r = mk_upload_out_take_back(call, conn, mk_col_int(stmt, 4));
	}
	mk_reset(&stmt);
	if (r >= 0)
		r = mk_domain_run(call, conn,
				  "DELETE FROM outbox WHERE id BETWEEN ?1 AND ?2 AND code <> 0",
				  leave->first, leave->last);
	return r < 0 ? r : mk_domain_run(call, conn,
					 "UPDATE outbox SET wanted = 0 WHERE id BETWEEN ?1 AND ?2",
					 leave->first, leave->last);
}

static int leave(struct mk_call *call, struct mantik *m)
{
	struct leave arg = {.first = call->unsent.first, .last = call->unsent.last};
	_cleanup_call_ struct mk_call own; /* the asker's may be cancelled */
	int64_t one;
	int r = 0;

	mk_call_init(&own);
	own.deadline = mk_now_mono() + MK_SEC;
	call->unsent.first = call->unsent.last = 0;
	r = read_number(&own, m, "SELECT 1 FROM outbox WHERE id BETWEEN ?1 AND ?2 LIMIT 1",
			arg.first, arg.last, &one);
	if (r > 0)
		r = mk_domain_write(&own, m, MK_KILLSAFE, write_leave, &arg);
	if (arg.code && r >= 0) {
		if (arg.file)
			mk_upload_forget(m, arg.file);
		r = mk_fail(call, arg.code, "%s", arg.text ? arg.text : strerror(arg.code));
		if (arg.detail)
			mk_error_detail(call, NULL, 0, arg.detail);
	} else {
		mk_error_clear(call);
		r = 0; /* durable; who could not look will see */
	}
	free(arg.text);
	free(arg.detail);
	free(arg.file);
	return r;
}

int mk_outbox_wait(struct mk_call *call, struct mantik *m)
{
	while (mk_outbox_waits(call)) {
		int64_t now = mk_now_mono(), until = call->unsent.until;
		int r = is_decided(call, m);

		if (call->deadline && call->deadline < until)
			until = call->deadline;
		if (r != 0 || call->cancelled || now >= until)
			break;
		if (call->may_wait != MK_ANY) {
			call->park.key = 0;
			call->park.until = until;
			return MK_PARK;
		}

		struct pollfd fd = {.fd = mk_call_cancel_fd(call), .events = POLLIN};

		(void)poll(&fd, fd.fd >= 0, 10);
	}
	return mk_outbox_waits(call) ? leave(call, m) : 0;
}
