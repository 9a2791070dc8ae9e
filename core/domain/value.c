/* SPDX-License-Identifier: Apache-2.0 */
/* Params and tags of a run: a key, a text. A param is written once, a tag may change. */
#include <mantik/run.h>

#include <errno.h>
#include <string.h>

#include "base/utf8.h"
#include "domain/domain.h"
#include "domain/logged.h"
#include "domain/outbox/outbox.h"

enum { KEY_MAX = 250, VALUE_MAX = 8000 };

static const char *const nouns[] = {[MK_PARAM] = "param", [MK_TAG] = "tag"};

int mk_key_check(struct mk_call *call, const char *noun, const char *key)
{
	size_t len = strlen(key);

	if (len == 0)
		return mk_fail(call, EINVAL, "%s: the key is empty", noun);
	if (len > KEY_MAX)
		return mk_fail(call, EINVAL, "%s: the key has %zu bytes, at most %d are possible",
			       noun, len, KEY_MAX);
	if (mk_utf8_bad(key, len) != len)
		return mk_fail(call, EINVAL, "%s: the key is not UTF-8", noun);
	for (const char *s = key; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			return mk_fail(call, EINVAL, "%s \"%s\": the key holds a control character",
				       noun, key);
	for (const char *part = key; part;) {
		size_t n = strcspn(part, "/");

		if (n == 0 || (n == 1 && part[0] == '.') ||
		    (n == 2 && part[0] == '.' && part[1] == '.'))
			return mk_fail(call, EINVAL,
				       "%s \"%s\": no part of a key may be empty, . or "
				       "..",
				       noun, key);
		part = part[n] ? part + n + 1 : NULL;
	}
	return 0;
}

int mk_logging_allowed(struct mk_call *call, struct mk_conn *conn, int64_t run_id)
{
	int64_t state = 0; /* 1 deleted, 2 a store's */
	int r = mk_domain_int(call, conn,
			      "SELECT (deleted <> 0) + 2 * (remote_id IS NOT NULL) FROM runs"
			      " WHERE id = ?1",
			      run_id, 0, &state);

	if (r < 0)
		return r;
	if (r == 0)
		return mk_fail(call, ENOENT, "run %lld: there is none", (long long)run_id);
	if (state & 2)
		return mk_fail(call, EROFS, "the run is its tracking server's: it is only read here");
	if (state & 1)
		return mk_fail(call, EROFS, "the run is deleted; `echo restore > ctl` first");
	return 0;
}

int mk_run_values(struct mk_call *call, struct mantik *m, int64_t id, enum mk_value_kind kind,
		  struct mk_pairs *ret)
{
	static const char *const sql[] = {
		[MK_PARAM] = "SELECT key, value FROM params WHERE run_id = ? ORDER BY key",
		[MK_TAG] = "SELECT key, value FROM tags WHERE run_id = ? ORDER BY key",
	};
	_cleanup_pairs_ struct mk_pairs pairs = {};
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db, sql[kind], &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	while ((r = mk_step(call, stmt)) > 0) {
		r = mk_pairs_add(&pairs, mk_col_text(stmt, 0), mk_col_text(stmt, 1));
		if (r < 0)
			return mk_fail(call, -r, "run %lld: too many %ss", (long long)id,
				       nouns[kind]);
	}
	if (r < 0)
		return r;
	*ret = pairs;
	pairs = (struct mk_pairs){};
	return 0;
}

static int read_value(struct mk_call *call, struct mk_conn *conn, int64_t id,
		      enum mk_value_kind kind, const char *key, struct mk_buf *ret)
{
	static const char *const sql[] = {
		[MK_PARAM] = "SELECT value FROM params WHERE run_id = ? AND key = ?",
		[MK_TAG] = "SELECT value FROM tags WHERE run_id = ? AND key = ?",
	};
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn, sql[kind], &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	mk_bind_text(stmt, 2, key);
	r = mk_step(call, stmt);
	if (r < 0)
		return r;
	if (r == 0)
		return mk_fail(call, ENOENT, "%s \"%s\": there is none", nouns[kind], key);
	r = mk_buf_puts(ret, mk_col_text(stmt, 0));
	return r < 0 ? mk_fail(call, -r, "%s \"%s\": too long", nouns[kind], key) : 0;
}

int mk_run_value(struct mk_call *call, struct mantik *m, int64_t id, enum mk_value_kind kind,
		 const char *key, struct mk_buf *ret)
{
	struct mk_conn *conn;
	int r = mk_db_reader(call, m->db, &conn);

	return r < 0 ? r : read_value(call, conn, id, kind, key, ret);
}

int mk_value_set(struct mk_call *call, struct mk_conn *conn, int64_t id, enum mk_value_kind kind,
		 const char *key, const char *value)
{
	static const char *const sql[] = {
		[MK_PARAM] = "INSERT INTO params (run_id, key, value) VALUES (?1, ?2, ?3)",
		[MK_TAG] = "INSERT INTO tags (run_id, key, value) VALUES (?1, ?2, ?3)"
			   " ON CONFLICT DO UPDATE SET value = excluded.value",
	};
	_cleanup_buf_ struct mk_buf before = MK_BUF(MK_LIMIT_TEXT);
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_logging_allowed(call, conn, id);

	if (r < 0)
		return r;
	r = read_value(call, conn, id, kind, key, &before);
	if (r == 0 && strcmp(mk_buf_text(&before), value) == 0)
		return 0;
	if (r == 0 && kind == MK_PARAM)
		return mk_fail(call, EEXIST, "param \"%s\" is already \"%s\"; params never change",
			       key, mk_buf_text(&before));
	if (r < 0 && r != -ENOENT)
		return r;
	mk_error_clear(call);
	r = mk_prepare(call, conn, sql[kind], &stmt);
	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	mk_bind_text(stmt, 2, key);
	mk_bind_text(stmt, 3, value);
	r = mk_exec(call, stmt);
	return r < 0 ? r : mk_run_touch(call, conn, id, MK_TOUCH_ROW);
}

int mk_value_check(struct mk_call *call, enum mk_value_kind kind, const char *key,
		   const char *value)
{
	size_t len = strlen(value);
	int r = mk_key_check(call, nouns[kind], key);

	if (r < 0)
		return r;
	if (len > VALUE_MAX)
		return mk_fail(call, EINVAL,
			       "%s \"%s\": the value has %zu bytes, at most %d are "
			       "possible",
			       nouns[kind], key, len, VALUE_MAX);
	if (mk_utf8_bad(value, len) != len)
		return mk_fail(call, EINVAL, "%s \"%s\": the value is not UTF-8", nouns[kind], key);
	return 0;
}

struct set {
	int64_t id;
	enum mk_value_kind kind;
	const char *key, *value;
};

static int set(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct set *a = arg;

	return mk_value_set(call, conn, a->id, a->kind, a->key, a->value);
}

int mk_run_value_set(struct mk_call *call, struct mantik *m, int64_t id, enum mk_value_kind kind,
		     const char *key, const char *value)
{
	struct set a = {.id = id, .kind = kind, .key = key, .value = value};
	int r = mk_value_check(call, kind, key, value);

	if (r == 0)
		r = mk_store_value_set(call, m, id, kind, key, value);
	if (r != 0)
		return r < 0 ? r : 0;
	return mk_domain_write(call, m, MK_KILLSAFE, set, &a);
}

static int remove_tag(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct set *a = arg;
	_cleanup_buf_ struct mk_buf before = MK_BUF(MK_LIMIT_TEXT);
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_logging_allowed(call, conn, a->id);

	if (r == 0)
		r = read_value(call, conn, a->id, MK_TAG, a->key, &before);
	if (r == 0)
		r = mk_prepare(call, conn, "DELETE FROM tags WHERE run_id = ? AND key = ?", &stmt);
	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, a->id);
	mk_bind_text(stmt, 2, a->key);
	r = mk_exec(call, stmt);
	return r < 0 ? r : mk_run_touch(call, conn, a->id, MK_TOUCH_ROW);
}

int mk_run_tag_remove(struct mk_call *call, struct mantik *m, int64_t id, const char *key)
{
	struct set a = {.id = id, .kind = MK_TAG, .key = key};
	int r = mk_store_tag_remove(call, m, id, key);

	if (r != 0)
		return r < 0 ? r : 0;
	return mk_domain_write(call, m, MK_KILLSAFE, remove_tag, &a);
}
