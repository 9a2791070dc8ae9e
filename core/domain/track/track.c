/* SPDX-License-Identifier: Apache-2.0 */
/* See track.h. Scopes, and experiments as they are read; experiment.c changes them. */
#include "domain/track/track.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/options.h"
#include "domain/domain.h"

enum { ID_DIGITS = 18 };

bool mk_track_time(int64_t ms, int64_t *ret)
{
	return !__builtin_mul_overflow(ms, (int64_t)MK_MS, ret);
}

/* --- scopes -------------------------------------------------------------------------------- */

static const char *default_project(const struct mantik *m)
{
	const char *name = mk_options_text(m->options, "tracking_project");

	return *name ? name : "default";
}

/* 1 and the row, 0 not there yet. */
static int find_project(struct mk_call *call, struct mantik *m, int64_t scope, int64_t *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r;

	if (scope) {
		*ret = scope;
		return 1;
	}
	r = mk_db_read(call, m->db,
		       "SELECT id FROM projects WHERE name = ? AND connection IS NULL AND deleted = 0",
		       &stmt);
	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, default_project(m));
	r = mk_step(call, stmt);
	if (r > 0)
		*ret = mk_col_int(stmt, 0);
	return r;
}

struct ensure {
	const char *project; /* NULL: project_id is known */
	const char *experiment;
	int64_t project_id, experiment_id;
};

static int ensure(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	struct ensure *e = arg;
	int r = e->project ? mk_project_ensure(call, conn, e->project, &e->project_id) : 0;

	if (r < 0 || !e->experiment)
		return r;
	r = mk_experiment_ensure(call, conn, e->project_id, e->experiment, &e->experiment_id);
	return r < 0 ? r :
		       mk_domain_run(call, conn, "UPDATE experiments SET touched = 1 WHERE id = ?1",
				     e->experiment_id, 0);
}

int mk_track_project(struct mk_call *call, struct mantik *m, int64_t scope, int64_t *ret)
{
	struct ensure e = {.project = default_project(m)};
	int r = find_project(call, m, scope, ret);

	if (r)
		return r < 0 ? r : 0;
	r = mk_domain_write(call, m, MK_DURABLE, ensure, &e);
	if (r == 0)
		*ret = e.project_id;
	return r;
}

int mk_track_default(struct mk_call *call, struct mantik *m, int64_t scope, bool make,
		     int64_t *ret)
{
	struct ensure e = {.experiment = MK_TRACK_DEFAULT};
	int r = find_project(call, m, scope, &e.project_id);

	if (r < 0)
		return r;
	if (r == 0)
		e.project = default_project(m);

	_cleanup_stmt_ struct mk_stmt *stmt = NULL;

	*ret = 0;
	if (r > 0) {
		r = mk_db_read(call, m->db,
			       "SELECT id FROM experiments WHERE project_id = ? AND name = ?",
			       &stmt);
		if (r < 0)
			return r;
		mk_bind_int(stmt, 1, e.project_id);
		mk_bind_text(stmt, 2, MK_TRACK_DEFAULT);
		r = mk_step(call, stmt);
		if (r < 0)
			return r;
		if (r > 0)
			*ret = mk_col_int(stmt, 0);
		mk_reset(&stmt);
	}
	if (*ret || !make)
		return 0;
	r = mk_domain_write(call, m, MK_DURABLE, ensure, &e);
	if (r == 0)
		*ret = e.experiment_id;
	return r;
}

/* --- reading ------------------------------------------------------------------------------- */

void mk_track_experiment_free(struct mk_track_experiment *experiment)
{
	free(experiment->name);
	free(experiment->artifact_location);
	mk_pairs_free(&experiment->tags);
	*experiment = (struct mk_track_experiment){};
}

static int none(struct mk_call *call, const char *id)
{
	return mk_fail(call, ENOENT, "No Experiment with id=%s exists", id);
}

int mk_track_experiment_id(struct mk_call *call, struct mantik *m, int64_t scope, const char *text,
			   int64_t *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	size_t len = strlen(text);
	int64_t id = 0;
	int r;

	if (!*text || strcmp(text, "0") == 0)
		return mk_track_default(call, m, scope, true, ret);
	if (strspn(text, "0123456789") != len)
		return mk_fail(call, EINVAL,
			       "Invalid experiment ID '%.100s'. Experiment ID must be a valid integer.",
			       text);
	for (size_t i = 0; i < len && len <= ID_DIGITS; i++)
		id = id * 10 + (text[i] - '0');
	r = mk_db_read(call, m->db,
		       "SELECT e.id FROM experiments e JOIN projects p ON p.id = e.project_id"
		       " WHERE e.id = ?1 AND (?2 = 0 OR e.project_id = ?2) AND e.remote_id IS NULL"
		       " AND p.connection IS NULL",
		       &stmt);
	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	mk_bind_int(stmt, 2, scope);
	r = mk_step(call, stmt);
	if (r < 0)
		return r;
	if (r == 0)
		return none(call, text);
	*ret = id;
	return 0;
}

static int read_tags(struct mk_call *call, struct mantik *m, int64_t id, struct mk_pairs *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db,
			   "SELECT key, value FROM experiment_tags WHERE experiment_id = ?"
			   " ORDER BY key",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	while ((r = mk_step(call, stmt)) > 0)
		if (mk_pairs_add(ret, mk_col_text(stmt, 0), mk_col_text(stmt, 1)) < 0)
			return mk_fail(call, ENOMEM, "experiment %lld: too many tags",
				       (long long)id);
	return r;
}

int mk_track_experiment_get(struct mk_call *call, struct mantik *m, int64_t scope, int64_t id,
			    struct mk_track_experiment *ret)
{
	_cleanup_(mk_track_experiment_free) struct mk_track_experiment found = {.id = id};
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int64_t project = 0, zero;
	int r = find_project(call, m, scope, &project);

	if (r >= 0)
		r = mk_track_default(call, m, scope, false, &zero);
	if (r == 0)
		r = mk_db_read(call, m->db,
			       "SELECT e.project_id, e.name, p.name, e.artifact_location, e.created,"
			       " max(e.remote_updated, e.created), e.deleted > 0"
			       " FROM experiments e JOIN projects p ON p.id = e.project_id"
			       " WHERE e.id = ?1 AND (?2 = 0 OR e.project_id = ?2)"
			       " AND e.remote_id IS NULL AND p.connection IS NULL",
			       &stmt);
	if (r < 0)
		return r;
	(void)snprintf(found.shown, sizeof(found.shown), "%lld", id == zero ? 0LL : (long long)id);
	mk_bind_int(stmt, 1, id);
	mk_bind_int(stmt, 2, scope);
	r = mk_step(call, stmt);
	if (r < 0)
		return r;
	if (r == 0)
		return none(call, found.shown);
	found.project_id = mk_col_int(stmt, 0);
	found.name = found.project_id == project ?
			     mk_col_dup(stmt, 1) :
			     mk_strf("%s/%s", mk_col_text(stmt, 2), mk_col_text(stmt, 1));
	found.artifact_location = mk_col_null(stmt, 3) ?
					  mk_strf("mlflow-artifacts:/%lld", (long long)id) :
					  mk_col_dup(stmt, 3);
	found.created = mk_col_int(stmt, 4);
	found.updated = mk_col_int(stmt, 5);
	found.deleted = mk_col_int(stmt, 6);
	mk_reset(&stmt);
	r = read_tags(call, m, id, &found.tags);
	if (r < 0)
		return r;
	*ret = found;
	found = (struct mk_track_experiment){};
	return 0;
}

/* 1 and its row, 0 there is none. Names without a project are the scope's. */
static int look_for(struct mk_call *call, struct mantik *m, int64_t scope, const char *name,
		    int64_t *ret)
{
	static const char plain[] = "SELECT id FROM experiments WHERE project_id = ?1 AND name = ?2";
	static const char full[] =
		"SELECT e.id FROM projects p JOIN experiments e ON e.project_id = p.id"
		" WHERE ?1 = 0 AND p.connection IS NULL"
		" AND substr(?2, 1, length(p.name) + 1) = p.name || '/'"
		" AND e.name = substr(?2, length(p.name) + 2) ORDER BY e.id LIMIT 1";
	int64_t project = 0;
	int r = find_project(call, m, scope, &project);

	if (r < 0)
		return r;
	for (int i = r == 0; i < (scope ? 1 : 2); i++) {
		_cleanup_stmt_ struct mk_stmt *stmt = NULL;

		r = mk_db_read(call, m->db, i == 0 ? plain : full, &stmt);
		if (r < 0)
			return r;
		mk_bind_int(stmt, 1, i == 0 ? project : scope);
		mk_bind_text(stmt, 2, name);
		r = mk_step(call, stmt);
		if (r > 0)
			*ret = mk_col_int(stmt, 0);
		if (r)
			return r;
	}
	return 0;
}

int mk_track_experiment_find(struct mk_call *call, struct mantik *m, int64_t scope,
			     const char *name, int64_t *ret)
{
	int r;

	if (strcmp(name, MK_TRACK_DEFAULT) == 0)
		return mk_track_default(call, m, scope, true, ret);
	r = look_for(call, m, scope, name, ret);
	if (r == 0)
		return mk_fail(call, ENOENT, "Could not find experiment with name '%s'", name);
	return r < 0 ? r : 0;
}
