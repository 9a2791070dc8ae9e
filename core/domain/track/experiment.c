/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See track.h. Experiments: made, renamed, deleted, brought back, tagged. What is checked before a
 * change is checked again in its transaction where it matters (names are unique by the table).
 */
#include "domain/track/track.h"

#include <errno.h>
#include <string.h>

#include "domain/delete.h"
#include "domain/domain.h"
#include "domain/goal.h"
#include "domain/texts.h"

struct change {
	int64_t id, project_id;
	const char *name; /* new, below its project */
	const char *artifact_location;
	const struct mk_pairs *tags;
	const char *key, *value;
};

struct state {
	int64_t project_id;
	bool deleted;
};

static int look(struct mk_call *call, struct mk_conn *conn, int64_t id, struct state *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_domain_row(call, conn,
			      "SELECT project_id, deleted > 0 FROM experiments"
			      " WHERE id = ?1 AND remote_id IS NULL",
			      id, &stmt);

	if (r < 0)
		return r;
	if (r == 0)
		return mk_fail(call, ENOENT, "No Experiment with id=%lld exists", (long long)id);
	*ret = (struct state){mk_col_int(stmt, 0), mk_col_int(stmt, 1)};
	return 0;
}

/* Its own row was changed by its client. */
static int changed(struct mk_call *call, struct mk_conn *conn, int64_t id, int64_t project_id)
{
	int r = mk_domain_run(call, conn, "UPDATE experiments SET remote_updated = ?2 WHERE id = ?1",
			      id, mk_now_real());

	if (r == 0)
		r = mk_experiment_touch(call, conn, id, true);
	return r < 0 ? r : mk_project_touch(call, conn, project_id, true);
}

static int exists(struct mk_call *call, const char *name)
{
	return mk_fail(call, EEXIST, "Experiment(name=%s) already exists.", name);
}

static int make(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	struct change *c = arg;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int64_t now = mk_now_real();
	int r = mk_prepare(call, conn,
			   "INSERT INTO experiments (project_id, name, created, changed, touched,"
			   " remote_updated, artifact_location) VALUES (?1, ?2, ?3, ?3, 1, ?3, ?4)",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, c->project_id);
	mk_bind_text(stmt, 2, c->name);
	mk_bind_int(stmt, 3, now);
	mk_bind_text(stmt, 4, c->artifact_location);
	r = mk_exec(call, stmt);
	if (r == -EEXIST)
		return exists(call, c->name);
	if (r < 0)
		return r;
	c->id = mk_last_id(conn);
	for (size_t i = 0; r == 0 && c->tags && i < c->tags->n; i++)
		r = mk_experiment_tag_set(call, conn, c->id, c->tags->v[i].key,
					  c->tags->v[i].value);
	if (r == 0 && c->tags && c->tags->n)
		r = mk_goal_follow_tags(call, conn, c->id);
	if (r == 0)
		r = mk_db_changed(call, conn, "experiment", c->id);
	if (r == 0)
		r = mk_domain_run(call, conn, "UPDATE projects SET touched = 1 WHERE id = ?1",
				  c->project_id, 0);
	return r < 0 ? r : mk_project_touch(call, conn, c->project_id, false);
}

/* `<project>/<name>` of a project there is, where such names are meant; else all of it is a name. */
static int split_name(struct mk_call *call, struct mantik *m, int64_t scope, const char *name,
		      int64_t *ret_project, const char **ret_name)
{
	const char *slash = scope ? NULL : strchr(name, '/');
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;

	*ret_name = name;
	if (slash && slash[1]) {
		_cleanup_free_ char *project = mk_strndup(name, (size_t)(slash - name));
		int r = mk_db_read(call, m->db,
				   "SELECT id FROM projects WHERE name = ? AND connection IS NULL"
				   " AND deleted = 0",
				   &stmt);

		if (r < 0)
			return r;
		mk_bind_text(stmt, 1, project);
		r = mk_step(call, stmt);
		if (r > 0) {
			*ret_project = mk_col_int(stmt, 0);
			*ret_name = slash + 1;
		}
		mk_reset(&stmt);
		if (r)
			return r < 0 ? r : 0;
	}
	return mk_track_project(call, m, scope, ret_project);
}

int mk_track_experiment_make(struct mk_call *call, struct mantik *m, int64_t scope,
			     const char *name, const char *artifact_location,
			     const struct mk_pairs *tags, int64_t *ret)
{
	struct change c = {.artifact_location = artifact_location, .tags = tags};
	int64_t there;
	int r = mk_track_experiment_find(call, m, scope, name, &there);

	if (r == 0)
		return exists(call, name);
	if (r == -ENOENT) {
		mk_error_clear(call);
		r = split_name(call, m, scope, name, &c.project_id, &c.name);
	}
	if (r == 0)
		r = mk_domain_write(call, m, MK_DURABLE, make, &c);
	if (r == 0)
		*ret = c.id;
	return r;
}

static int rename_it(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct change *c = arg;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	struct state state = {};
	int r = look(call, conn, c->id, &state);

	if (r < 0)
		return r;
	if (state.deleted)
		return mk_fail(call, EPERM, "Cannot rename a non-active experiment.");
	if (state.project_id != c->project_id)
		return mk_fail(call, EINVAL, "Experiment %lld stays in its project: it cannot be "
			       "renamed to '%s' of another one", (long long)c->id, c->name);
	r = mk_prepare(call, conn, "UPDATE experiments SET name = ?2 WHERE id = ?1", &stmt);
	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, c->id);
	mk_bind_text(stmt, 2, c->name);
	r = mk_exec(call, stmt);
	if (r == -EEXIST)
		return exists(call, c->name);
	return r < 0 ? r : changed(call, conn, c->id, state.project_id);
}

int mk_track_experiment_rename(struct mk_call *call, struct mantik *m, int64_t scope, int64_t id,
			       const char *name)
{
	struct change c = {.id = id};
	int r = split_name(call, m, scope, name, &c.project_id, &c.name);

	return r < 0 ? r : mk_domain_write(call, m, MK_DURABLE, rename_it, &c);
}

/* EBUSY names one. */
static int no_job_lives(struct mk_call *call, struct mk_conn *conn, int64_t id)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_domain_row(call, conn,
			      "SELECT dir, status FROM runs WHERE experiment_id = ?1 AND status < 2"
			      " AND api = 0 LIMIT 1",
			      id, &stmt);

	if (r <= 0)
		return r;
	return mk_fail(call, EBUSY, "The job of run %s is %s: cancel it first; nothing was deleted.",
		       mk_col_text(stmt, 0),
		       mk_status_name((enum mk_status)mk_col_int(stmt, 1)));
}

static int delete_it(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	int64_t id = *(const int64_t *)arg;
	struct state state = {};
	int r = look(call, conn, id, &state);

	if (r == 0 && state.deleted)
		return mk_fail(call, ENOENT, "No Experiment with id=%lld exists", (long long)id);
	if (r == 0)
		r = no_job_lives(call, conn, id);
	if (r == 0)
		r = mk_experiment_move(call, conn, id, mk_now_real(), 0);
	return r < 0 ? r : changed(call, conn, id, state.project_id);
}

int mk_track_experiment_delete(struct mk_call *call, struct mantik *m, int64_t id)
{
	return mk_domain_write(call, m, MK_DURABLE, delete_it, &id);
}

/* MLflow's: all its runs come back, those too that were deleted before it. */
static int restore_it(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	int64_t id = *(const int64_t *)arg;
	struct state state = {};
	int r = look(call, conn, id, &state);

	if (r == 0 && !state.deleted)
		return mk_fail(call, ENOENT, "No Experiment with id=%lld exists", (long long)id);
	if (r == 0)
		r = mk_experiment_move(call, conn, id, 0, 0);
	return r < 0 ? r : changed(call, conn, id, state.project_id);
}

int mk_track_experiment_restore(struct mk_call *call, struct mantik *m, int64_t id)
{
	return mk_domain_write(call, m, MK_DURABLE, restore_it, &id);
}

static int tagged(struct mk_call *call, struct mk_conn *conn, int64_t id, const struct change *c)
{
	int r = mk_goal_follow_tags(call, conn, id);

	if (r == 0 && strcmp(c->key, "mlflow.note.content") == 0)
		r = mk_note_to_text(call, conn, id, c->value);
	return r < 0 ? r : mk_experiment_touch(call, conn, id, true);
}

static int tag_it(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct change *c = arg;
	struct state state = {};
	int r = look(call, conn, c->id, &state);

	if (r < 0)
		return r;
	if (state.deleted)
		return mk_fail(call, EINVAL,
			       "The experiment %lld must be in the 'active' state. Current state is "
			       "deleted.",
			       (long long)c->id);
	r = mk_experiment_tag_set(call, conn, c->id, c->key, c->value);
	if (r < 0)
		return r;
	if (!c->value && !mk_rows_changed(conn))
		return mk_fail(call, ENOENT, "No tag with name: %s in experiment with id %lld",
			       c->key, (long long)c->id);
	return tagged(call, conn, c->id, c);
}

int mk_track_experiment_tag(struct mk_call *call, struct mantik *m, int64_t id, const char *key,
			    const char *value)
{
	struct change c = {.id = id, .key = key, .value = value};

	return mk_domain_write(call, m, MK_KILLSAFE, tag_it, &c);
}
