/* SPDX-License-Identifier: Apache-2.0 */
/* Answers to orders: <mantik/answer.h>. One row for each file, user and session; the last KEPT. */
#include <mantik/answer.h>

#include <stdlib.h>

#include "base/file.h"
#include "base/proc.h"
#include "core.h"

enum { KEPT = 1000 };

struct given {
	const struct mk_answer_place *place;
	const char *session, *text;
	int64_t time;
};

/* Numbers of sessions begin anew with every boot, and other hosts have theirs. */
static char *session_of(const struct mk_answer_place *place)
{
	char boot[37];

	if (!place->sid || mk_boot_id(boot) < 0)
		return mk_strdup("");
	return mk_strf("%s %d", boot, (int)place->sid);
}

static int insert(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct given *given = arg;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL, *old = NULL;
	int r = mk_prepare(call, conn,
			   "INSERT OR REPLACE INTO answers (ino, uid, session, time, text)"
			   " VALUES (?1, ?2, ?3, ?4, ?5)",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, (int64_t)given->place->ino);
	mk_bind_int(stmt, 2, given->place->uid);
	mk_bind_text(stmt, 3, given->session);
	mk_bind_int(stmt, 4, given->time);
	mk_bind_text(stmt, 5, given->text);
	r = mk_exec(call, stmt);
	if (r < 0)
		return r;
	r = mk_prepare(call, conn, "DELETE FROM answers WHERE id <= ?1", &old);
	if (r < 0)
		return r;
	mk_bind_int(old, 1, mk_last_id(conn) - KEPT);
	return mk_exec(call, old);
}

void mk_answer_put(struct mantik *m, const struct mk_answer_place *place, int64_t time,
		   const char *text)
{
	_cleanup_free_ char *session = session_of(place);
	struct given given = {place, session, text, time};

	if (m->read_only)
		return;

	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);
	call.deadline = mk_now_mono() + 200 * MK_MS;
	(void)!mk_db_write(&call, m->db, MK_KILLSAFE, insert, &given);
}

int mk_answer_get(struct mk_call *call, struct mantik *m, const struct mk_answer_place *place,
		  struct mk_answer *ret)
{
	_cleanup_free_ char *session = session_of(place);
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db,
			   "SELECT text, time, session = ?3 AND ?3 <> '' AS mine FROM answers"
			   " WHERE ino = ?1 AND uid = ?2 ORDER BY mine DESC, id DESC LIMIT 1",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, (int64_t)place->ino);
	mk_bind_int(stmt, 2, place->uid);
	mk_bind_text(stmt, 3, session);
	r = mk_step(call, stmt);
	if (r != 1)
		return r;
	*ret = (struct mk_answer){
		.text = mk_col_dup(stmt, 0),
		.time = mk_col_int(stmt, 1),
		.is_of_session = mk_col_int(stmt, 2) != 0,
	};
	return 1;
}

void mk_answer_free(struct mk_answer *answer)
{
	free(answer->text);
	*answer = (struct mk_answer){};
}
