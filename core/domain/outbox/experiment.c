/* SPDX-License-Identifier: Apache-2.0 */
/* What a user does to a store's experiments: see write.c. */
#include <errno.h>
#include <string.h>

#include "base/file.h"
#include "connect/tracking/tracking.h"
#include "domain/domain.h"
#include "domain/outbox/write.h"

static int is_store_experiment(struct mk_call *call, struct mantik *m, int64_t id)
{
	return mk_out_is_store(call, m,
			       "SELECT 1 FROM experiments e JOIN projects p ON p.id = e.project_id"
			       " WHERE e.id = ?1 AND p.connection IS NOT NULL",
			       id);
}

static int name_is_taken(struct mk_call *call, struct mk_conn *conn, int64_t project_id,
			 int64_t but, const char *name)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "SELECT deleted FROM experiments WHERE project_id = ?1 AND name = ?2"
			   " AND id <> ?3",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, project_id);
	mk_bind_text(stmt, 2, name);
	mk_bind_int(stmt, 3, but);
	r = mk_step(call, stmt);
	if (r <= 0)
		return r;
	return mk_fail(call, EEXIST,
		       mk_col_int(stmt, 0) ? "experiment \"%s\": its tracking server keeps a deleted "
					     "one of this name: `mantikctl restore` brings it back"
					   : "experiment \"%s\" exists already",
		       name);
}

static int write_made(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	struct mk_out_edit *edit = arg;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	_cleanup_free_ char *object = NULL;
	int64_t now = mk_now_real();
	int r = name_is_taken(call, conn, edit->row.project_id, 0, edit->row.value);

	if (r == 0)
		r = mk_prepare(call, conn,
			       "INSERT INTO experiments (project_id, name, created, changed)"
			       " VALUES (?1, ?2, ?3, ?3)",
			       &stmt);
	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, edit->row.project_id);
	mk_bind_text(stmt, 2, edit->row.value);
	mk_bind_int(stmt, 3, now);
	r = mk_exec(call, stmt);
	if (r < 0)
		return r;
	edit->made = mk_last_id(conn);
	object = mk_strf("experiment:%lld", (long long)edit->made);
	edit->row.object = object;
	r = mk_outbox_put(call, conn, &edit->row);
	edit->row.object = NULL;
	if (r == 0)
		r = mk_experiment_touch(call, conn, edit->made, false);
	return r < 0 ? r : mk_project_touch(call, conn, edit->row.project_id, false);
}

static int check_name(struct mk_call *call, const char *name)
{
	size_t characters = 0;
	int r = mk_domain_name(call, "experiment", name);

	for (const char *s = name; *s; s++)
		characters += (*s & 0xc0) != 0x80;
	return r < 0 || characters <= MK_T_MAX_NAME
		       ? r
		       : mk_fail(call, EINVAL, "experiment: the name has %zu characters", characters);
}

int mk_store_experiment_make(struct mk_call *call, struct mantik *m, int64_t project_id,
			     const char *name, int64_t *ret_id)
{
	int r = mk_out_is_store(call, m,
				"SELECT 1 FROM projects WHERE id = ?1 AND connection IS NOT NULL",
				project_id);
	struct mk_out_edit edit = {
		.row = {.project_id = project_id,
			.verb = MK_OUT_EXPERIMENT_MAKE,
			.value = (char *)name},
	};

	if (r <= 0)
		return r;
	r = check_name(call, name);
	if (r == 0)
		r = mk_out_write(call, m, MK_DURABLE, write_made, &edit);
	if (r > 0)
		*ret_id = edit.made;
	return r;
}

/* The experiment's project, name and whether it is deleted. */
static int begin_experiment(struct mk_call *call, struct mk_conn *conn, struct mk_out_edit *edit,
			    char **ret_name)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_domain_need(call, conn,
			       "SELECT project_id, name FROM experiments WHERE id = ?1 AND deleted = 0",
			       "experiment", edit->id, &stmt);

	if (r < 0)
		return r;
	edit->row.project_id = mk_col_int(stmt, 0);
	edit->row.of = edit->id;
	*ret_name = mk_col_dup(stmt, 1);
	return 0;
}

static int write_renamed(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	struct mk_out_edit *edit = arg;
	_cleanup_free_ char *before = NULL;
	int r = begin_experiment(call, conn, edit, &before);

	if (r == 0 && strcmp(before, edit->row.value) == 0)
		return 0;
	if (r == 0)
		r = name_is_taken(call, conn, edit->row.project_id, edit->id, edit->row.value);
	if (r < 0)
		return r;
	edit->row.before = before;
	r = mk_out_put(call, conn, &edit->row);
	edit->row.before = NULL;
	if (r == 0)
		r = mk_experiment_touch(call, conn, edit->id, true);
	return r < 0 ? r : mk_project_touch(call, conn, edit->row.project_id, true);
}

int mk_store_experiment_rename(struct mk_call *call, struct mantik *m, int64_t id, const char *name)
{
	_cleanup_free_ char *object = mk_strf("experiment:%lld", (long long)id);
	int r = is_store_experiment(call, m, id);
	struct mk_out_edit edit = {
		.id = id,
		.row = {.verb = MK_OUT_EXPERIMENT_RENAME, .object = object, .value = (char *)name},
	};

	if (r <= 0)
		return r;
	r = check_name(call, name);
	return r < 0 ? r : mk_out_write(call, m, MK_DURABLE, write_renamed, &edit);
}

static int tag_before(struct mk_call *call, struct mk_conn *conn, int64_t id, const char *key,
		      char **ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "SELECT value FROM experiment_tags WHERE experiment_id = ?1 AND key = ?2",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	mk_bind_text(stmt, 2, key);
	r = mk_step(call, stmt);
	if (r > 0)
		*ret = mk_col_dup(stmt, 0);
	return r;
}

static int write_tags(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	struct mk_out_edit *edit = arg;
	_cleanup_free_ char *name = NULL;
	int r = begin_experiment(call, conn, edit, &name);

	for (size_t i = 0; r >= 0 && i < edit->pairs->n; i++) {
		_cleanup_free_ char *before = NULL;

		edit->row.key = edit->pairs->v[i].key;
		edit->row.value = edit->pairs->v[i].value;
		r = tag_before(call, conn, edit->id, edit->row.key, &before);
		if (r < 0 || (before && strcmp(before, edit->row.value) == 0) ||
		    (!before && !*edit->row.value))
			continue;
		edit->row.before = before;
		r = mk_out_put(call, conn, &edit->row);
		edit->row.before = NULL;
	}
	return r < 0 ? r : mk_experiment_touch(call, conn, edit->id, true);
}

int mk_store_experiment_tags(struct mk_call *call, struct mantik *m, int64_t id,
			     const struct mk_pairs *tags)
{
	_cleanup_free_ char *object = mk_strf("experiment:%lld", (long long)id);
	int r = is_store_experiment(call, m, id);
	struct mk_out_edit edit = {
		.id = id,
		.pairs = tags,
		.row = {.verb = MK_OUT_EXPERIMENT_TAG, .object = object},
	};

	return r <= 0 ? r : mk_out_write(call, m, MK_DURABLE, write_tags, &edit);
}

/* --- deleted and back ------------------------------------------------------------------------- */

/* EBUSY names one. */
static int no_run_lives(struct mk_call *call, struct mk_conn *conn, int64_t id)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_domain_row(call, conn,
			      "SELECT dir, status FROM runs WHERE experiment_id = ?1 AND status < 2"
			      " AND deleted = 0 LIMIT 1",
			      id, &stmt);

	return r <= 0 ? r
		      : mk_fail(call, EBUSY,
				"run %s is %s: its tracking server has not been told that it ended; "
				"nothing was deleted",
				mk_col_text(stmt, 0),
				mk_status_name((enum mk_status)mk_col_int(stmt, 1)));
}

/* What a mkdir here left as it was. */
static int must_be_empty(struct mk_call *call, struct mk_conn *conn, int64_t id)
{
	int64_t one;
	int r = mk_domain_int(call, conn,
			      "SELECT 1 FROM experiments e WHERE id = ?1 AND (touched"
			      " OR EXISTS (SELECT 1 FROM runs WHERE experiment_id = e.id)"
			      " OR EXISTS (SELECT 1 FROM experiment_tags WHERE experiment_id = e.id))",
			      id, 0, &one);

	return r <= 0 ? r
		      : mk_fail(call, ENOTEMPTY,
				"the experiment is not empty: `mantikctl delete` of it deletes it with "
				"its runs at its tracking server, and `mantikctl restore` brings it back");
}

/* 1: the store has not heard of it, and will not. */
static int forget_unsent(struct mk_call *call, struct mk_conn *conn, struct mk_out_edit *edit)
{
	int64_t one = 0;
	int r = mk_domain_int(call, conn,
			      "SELECT 1 FROM outbox WHERE object = 'experiment:' || ?1 AND verb = 6"
			      " AND code = 0 AND asked = 0",
			      edit->id, 0, &one);

	if (r > 0)
		r = mk_domain_run(call, conn, "DELETE FROM outbox WHERE object = 'experiment:' || ?1",
				  edit->id, 0);
	if (r == 0 && one == 1)
		r = mk_domain_run(call, conn,
				  "DELETE FROM experiment_tags WHERE experiment_id = ?1", edit->id, 0);
	if (r == 0 && one == 1)
		r = mk_domain_run(call, conn, "DELETE FROM experiments WHERE id = ?1", edit->id, 0);
	return r < 0 ? r : one == 1;
}

static int write_moved(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	struct mk_out_edit *edit = arg;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	bool delete = edit->row.verb == MK_OUT_EXPERIMENT_DELETE, deleted;
	int r = mk_domain_need(call, conn, "SELECT project_id, deleted FROM experiments WHERE id = ?1",
			       "experiment", edit->id, &stmt);

	if (r < 0)
		return r;
	edit->row.project_id = mk_col_int(stmt, 0);
	edit->row.of = edit->id;
	deleted = mk_col_int(stmt, 1);
	mk_reset(&stmt);
	if (!delete && !deleted)
		return mk_fail(call, ENOENT, "the experiment is not deleted");
	if (delete && deleted)
		return 0;
	if (delete)
		r = edit->row.value ? must_be_empty(call, conn, edit->id)
				    : no_run_lives(call, conn, edit->id);
	if (r == 0 && delete)
		r = forget_unsent(call, conn, edit);
	if (r == 0)
		r = mk_out_put(call, conn, &edit->row);
	if (r >= 0)
		r = mk_experiment_touch(call, conn, edit->id, true);
	return r < 0 ? r : mk_project_touch(call, conn, edit->row.project_id, true);
}

int mk_store_experiment_move(struct mk_call *call, struct mantik *m, int64_t id, bool deleted,
			     bool empty)
{
	_cleanup_free_ char *object = mk_strf("experiment:%lld", (long long)id);
	int r = is_store_experiment(call, m, id);
	struct mk_out_edit edit = {
		.id = id,
		.row = {.verb = deleted ? MK_OUT_EXPERIMENT_DELETE : MK_OUT_EXPERIMENT_RESTORE,
			.object = object,
			.value = empty ? (char *)"empty" : NULL},
	};

	return r <= 0 ? r : mk_out_write(call, m, MK_DURABLE, write_moved, &edit);
}
