/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Editable texts: read, compared with what the writer had seen, stored to the letter with what they
 * mean. One that nobody wrote yet is its template, generation 1.
 */
#include "domain/texts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "domain/domain.h"

/* Where the owners of a kind live. */
struct owner {
	const char *noun;
	const char *get;   /* ?1 kind, ?2 owner */
	const char *touch; /* ?1 owner, ?2 now */
};
#define OWNER(noun_, table)                                                                 \
	{                                                                                   \
		.noun = noun_,                                                              \
		.get = "SELECT o.name, o.created, t.generation, t.changed, t.who, t.text"   \
		       " FROM " table " o LEFT JOIN texts t ON t.kind = ?1"                 \
		       " AND t.owner = o.id WHERE o.id = ?2",                               \
		.touch = "UPDATE " table " SET touched = 1, changed = max(changed + 1, ?2)" \
			 " WHERE id = ?1",                                                  \
	}

static const struct owner projects = OWNER("project", "projects");
static const struct owner experiments = OWNER("experiment", "experiments");
static const struct owner repositories = OWNER("repository", "repositories");

static const struct owner *const owners[MK_TEXT_KINDS] = {
	[MK_TEXT_PROJECT] = &projects,	      [MK_TEXT_README] = &projects,
	[MK_TEXT_DEFAULTS] = &projects,	      [MK_TEXT_EXPERIMENT] = &experiments,
	[MK_TEXT_REPOSITORY] = &repositories,
};

void mk_text_free(struct mk_text *text)
{
	free(text->text);
	free(text->who);
	*text = (struct mk_text){};
}

/* A text that nobody wrote shows the note that a client of MLflow's API set. */
static int show_note(struct mk_call *call, struct mk_conn *conn, int64_t experiment_id,
		     struct mk_buf *text, struct mk_text *ret)
{
	_cleanup_free_ char *note = NULL;
	int r = mk_note_get(call, conn, experiment_id, &note);

	if (r > 0 && mk_note_put(text, note) > 0)
		ret->generation = mk_ino(note, strlen(note)) >> 2 | 2;
	return r < 0 ? r : 0;
}

static int read_text(struct mk_call *call, struct mk_conn *conn, enum mk_text_kind kind,
		     int64_t owner, bool whole, struct mk_text *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn, owners[kind]->get, &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, kind);
	mk_bind_int(stmt, 2, owner);
	r = mk_step(call, stmt);
	if (r < 0)
		return r;
	if (r == 0)
		return mk_fail(call, ENOENT, "%s: the %s is gone", mk_text_name(kind),
			       owners[kind]->noun);

	struct mk_text text = {.generation = 1, .changed = mk_col_int(stmt, 1)};

	if (mk_col_null(stmt, 2)) {
		_cleanup_buf_ struct mk_buf buf = MK_BUF(MK_LIMIT_TEXT);

		mk_text_template(kind, mk_col_text(stmt, 0), owner, &buf);
		r = kind == MK_TEXT_EXPERIMENT ? show_note(call, conn, owner, &buf, &text) : 0;
		if (r < 0)
			return r;
		text.len = buf.len;
		if (whole)
			text.text = mk_buf_steal(&buf);
	} else {
		const void *data = mk_col_blob(stmt, 5, &text.len);

		text.generation = (uint64_t)mk_col_int(stmt, 2);
		text.changed = mk_col_int(stmt, 3);
		if (whole) {
			_cleanup_buf_ struct mk_buf buf = MK_BUF(MK_LIMIT_TEXT);

			r = mk_buf_put(&buf, data, text.len);
			if (r < 0)
				return mk_fail(call, -r, "%s: too long", mk_text_name(kind));
			text.text = mk_buf_steal(&buf);
		}
	}
	text.who = mk_strdup(mk_col_text(stmt, 4) ? mk_col_text(stmt, 4) : "");
	*ret = text;
	return 0;
}

int mk_text_get(struct mk_call *call, struct mantik *m, enum mk_text_kind kind, int64_t owner,
		struct mk_text *ret)
{
	struct mk_conn *conn;
	int r = mk_text_of_store(call, m, kind, owner, ret);

	if (r)
		return r < 0 ? r : 0;
	r = mk_db_reader(call, m->db, &conn);
	return r < 0 ? r : read_text(call, conn, kind, owner, true, ret);
}

int mk_text_stat(struct mk_call *call, struct mantik *m, enum mk_text_kind kind, int64_t owner,
		 struct mk_text *ret)
{
	struct mk_conn *conn;
	int r = mk_text_of_store(call, m, kind, owner, ret);

	if (r)
		return r < 0 ? r : 0;
	r = mk_db_reader(call, m->db, &conn);
	return r < 0 ? r : read_text(call, conn, kind, owner, false, ret);
}

struct put {
	enum mk_text_kind kind;
	int64_t owner;
	const char *text;
	size_t len;
	uint64_t seen;
	const char *who;
	const struct mk_meaning *meaning;
};

static int store(struct mk_call *call, struct mk_conn *conn, const struct put *a,
		 uint64_t generation, int64_t now)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "INSERT INTO texts (kind, owner, text, generation, changed, who)"
			   " VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE SET"
			   " text = excluded.text, generation = excluded.generation,"
			   " changed = excluded.changed, who = excluded.who",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, a->kind);
	mk_bind_int(stmt, 2, a->owner);
	mk_bind_blob(stmt, 3, a->text, a->len);
	mk_bind_int(stmt, 4, (int64_t)generation);
	mk_bind_int(stmt, 5, now);
	mk_bind_text(stmt, 6, a->who);
	return mk_exec(call, stmt);
}

static int apply_project(struct mk_call *call, struct mk_conn *conn, int64_t owner,
			 const struct mk_meaning *meaning)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn, "UPDATE projects SET site = ?2 WHERE id = ?1", &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, owner);
	mk_bind_text(stmt, 2, meaning->site);
	r = mk_exec(call, stmt);
	return r < 0 ? r : mk_db_changed(call, conn, "project", owner);
}

static int apply_experiment(struct mk_call *call, struct mk_conn *conn, int64_t owner,
			    const struct mk_meaning *meaning)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "UPDATE experiments SET metric = ?2, maximize = ?3, best = ?4"
			   " WHERE id = ?1",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, owner);
	mk_bind_text(stmt, 2, meaning->metric);
	mk_bind_int(stmt, 3, meaning->maximize);
	mk_bind_int(stmt, 4, meaning->best);
	r = mk_exec(call, stmt);
	if (r == 0)
		r = mk_note_to_tag(call, conn, owner, meaning->note);
	return r < 0 ? r : mk_experiment_touch(call, conn, owner, true); /* the leaderboard */
}

/* What was fetched from another address says nothing about this one. */
static int apply_repository(struct mk_call *call, struct mk_conn *conn, int64_t owner,
			    const struct mk_meaning *meaning)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(
		call, conn,
		"UPDATE repositories SET fetched = CASE WHEN uri IS ?2 THEN fetched ELSE 0 END,"
		" error = NULL, uri = ?2, platform = ?3, connection = ?4, default_branch = ?5"
		" WHERE id = ?1",
		&stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, owner);
	mk_bind_text(stmt, 2, meaning->uri);
	mk_bind_text(stmt, 3, meaning->platform);
	mk_bind_text(stmt, 4, meaning->connection);
	mk_bind_text(stmt, 5, meaning->default_branch);
	r = mk_exec(call, stmt);
	return r < 0 ? r : mk_db_changed(call, conn, "repository", owner);
}

static int apply(struct mk_call *call, struct mk_conn *conn, const struct put *a)
{
	switch (a->kind) {
	case MK_TEXT_PROJECT:
		return apply_project(call, conn, a->owner, a->meaning);
	case MK_TEXT_EXPERIMENT:
		return apply_experiment(call, conn, a->owner, a->meaning);
	case MK_TEXT_REPOSITORY:
		return apply_repository(call, conn, a->owner, a->meaning);
	case MK_TEXT_README:
	case MK_TEXT_DEFAULTS:
	case MK_TEXT_KINDS:
		break;
	}
	return mk_db_changed(call, conn, "text", a->owner);
}

static int put(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct put *a = arg;
	_cleanup_(mk_text_free) struct mk_text now = {};
	int64_t time = mk_now_real();
	int r = read_text(call, conn, a->kind, a->owner, true, &now);

	if (r < 0)
		return r;
	if (now.len == a->len && memcmp(now.text, a->len ? a->text : "", a->len) == 0)
		return 0;
	if (a->seen && a->seen != now.generation) {
		char changed[32];

		mk_time_text(now.changed, false, changed);
		return mk_fail(call, EBUSY,
			       "%s: changed by %s at %s, after you had read it; read it "
			       "again",
			       mk_text_name(a->kind), *now.who ? now.who : "somebody", changed);
	}
	r = store(call, conn, a, now.generation + 1, time > now.changed ? time : now.changed + 1);
	if (r == 0)
		r = mk_domain_run(call, conn, owners[a->kind]->touch, a->owner, time);
	return r < 0 ? r : apply(call, conn, a);
}

int mk_text_put(struct mk_call *call, struct mantik *m, enum mk_text_kind kind, int64_t owner,
		const char *text, size_t len, uint64_t seen)
{
	_cleanup_meaning_ struct mk_meaning meaning = {};
	_cleanup_free_ char *who = mk_domain_who(call);
	_cleanup_(mk_text_free) struct mk_text now = {};
	int of_store = mk_text_of_store(call, m, kind, owner, &now);
	int r = of_store ? of_store : mk_text_get(call, m, kind, owner, &now);

	if (r < 0)
		return r;
	/* A template saved as it is need not be valid: an empty uri. */
	if (now.len == len && memcmp(now.text, len ? text : "", len) == 0)
		return 0;
	if (now.fixed)
		return mk_fail(call, EROFS, "%s: shown as its tracking server has it, only read here",
			       mk_text_name(kind));
	if (of_store > 0 && seen && seen != now.generation)
		return mk_fail(call, EBUSY, "%s: changed after you had read it; read it again",
			       mk_text_name(kind));
	if (of_store > 0)
		return mk_text_put_store(call, m, owner, text, len);
	r = mk_text_check(call, kind, text, len, &meaning);
	if (r < 0)
		return r;

	struct put a = {
		.kind = kind,
		.owner = owner,
		.text = text,
		.len = len,
		.seen = seen,
		.who = who,
		.meaning = &meaning,
	};

	return mk_domain_write(call, m, MK_DURABLE, put, &a);
}
