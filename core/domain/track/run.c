/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See track.h. Runs: made by an API, changed, deleted and brought back. What is logged to them is
 * in log.c.
 */
#include "domain/track/track.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base/file.h"
#include "domain/domain.h"
#include "domain/track/row.h"

int mk_track_run(struct mk_call *call, struct mantik *m, int64_t scope, const char *uid,
		 int64_t *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db,
			   "SELECT id FROM runs WHERE uid = ?1 AND remote_id IS NULL"
			   " AND (?2 = 0 OR project_id = ?2)",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, uid);
	mk_bind_int(stmt, 2, scope);
	r = mk_step(call, stmt);
	if (r < 0)
		return r;
	if (r == 0)
		return mk_fail(call, ENOENT, "Run with id=%.256s not found", uid);
	*ret = mk_col_int(stmt, 0);
	return 0;
}

char *mk_track_artifacts(const char *location, int64_t experiment_id, const char *uid)
{
	size_t len = location ? strlen(location) : 0;

	if (!location)
		return mk_strf("mlflow-artifacts:/%lld/%s/artifacts", (long long)experiment_id, uid);
	while (len && location[len - 1] == '/')
		len--;
	return mk_strf("%.*s/%s/artifacts", (int)len, location, uid);
}

/* --- its row ------------------------------------------------------------------------------- */

int mk_track_look(struct mk_call *call, struct mk_conn *conn, int64_t id, bool active,
		  struct mk_track_row *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_domain_row(call, conn,
			      "SELECT uid, status, deleted > 0, api, project_id, experiment_id"
			      " FROM runs WHERE id = ?1 AND remote_id IS NULL",
			      id, &stmt);

	if (r < 0)
		return r;
	if (r == 0)
		return mk_fail(call, ENOENT, "Run with id=%lld not found", (long long)id);
	*ret = (struct mk_track_row){
		.id = id,
		.status = (enum mk_status)mk_col_int(stmt, 1),
		.deleted = mk_col_int(stmt, 2),
		.api = mk_col_int(stmt, 3),
		.project_id = mk_col_int(stmt, 4),
		.experiment_id = mk_col_int(stmt, 5),
	};

	const char *uid = mk_col_text(stmt, 0);

	memcpy(ret->uid, uid, strnlen(uid, sizeof(ret->uid) - 1));
	if (active && ret->deleted)
		return mk_fail(call, EINVAL,
			       "The run %s must be in the 'active' state. Current state is deleted.",
			       ret->uid);
	return 0;
}

static int set_column(struct mk_call *call, struct mk_conn *conn, int64_t id, const char *sql,
		      const char *value)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn, sql, &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	mk_bind_text(stmt, 2, value);
	return mk_exec(call, stmt);
}

/* What the row says of some tags. Where the code of a job comes from its own row knows better. */
static const struct {
	const char *key;
	bool any; /* also of a job */
	const char *sql;
} columns[] = {
	{"mlflow.runName", true, "UPDATE runs SET name = ?2 WHERE id = ?1 AND ?2 <> ''"},
	{"mlflow.parentRunId", true, "UPDATE runs SET parent = nullif(?2, '') WHERE id = ?1"},
	{"mlflow.source.git.commit", false, "UPDATE runs SET commit_id = ?2 WHERE id = ?1"},
	{"mlflow.source.git.repoURL", false, "UPDATE runs SET repository = ?2 WHERE id = ?1"},
	{"mlflow.source.git.branch", false, "UPDATE runs SET branch = ?2 WHERE id = ?1"},
	{"mlflow.project.entryPoint", false, "UPDATE runs SET entry_point = ?2 WHERE id = ?1"},
};

int mk_track_put_tag(struct mk_call *call, struct mk_conn *conn, const struct mk_track_row *run,
		     const char *key, const char *value)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "INSERT INTO tags (run_id, key, value) VALUES (?1, ?2, ?3)"
			   " ON CONFLICT DO UPDATE SET value = excluded.value",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, run->id);
	mk_bind_text(stmt, 2, key);
	mk_bind_text(stmt, 3, value);
	r = mk_exec(call, stmt);
	if (strncmp(key, "mlflow.", 7) != 0)
		return r;
	for (size_t i = 0; r == 0 && i < sizeof(columns) / sizeof(*columns); i++)
		if ((columns[i].any || run->api) && strcmp(key, columns[i].key) == 0)
			r = set_column(call, conn, run->id, columns[i].sql, value);
	return r;
}

/* --- made ---------------------------------------------------------------------------------- */

/* A name for one that has none, like MLflow's: quiet-heron-417. */
static int make_name(struct mk_call *call, char **ret)
{
	static const char *const how[] = {
		"able",	  "amber", "bold",  "brave", "bright", "brisk", "calm",	 "clear",
		"clever", "crisp", "eager", "early", "fair",   "fond",	"gentle", "glad",
		"grand",  "happy", "keen",  "kind",  "lively", "loyal", "merry", "noble",
		"plain",  "proud", "quick", "quiet", "rapid",  "smart", "solid", "warm",
	};
	static const char *const what[] = {
		"auk",	  "bear",  "crane", "crow",  "deer",  "duck",  "eagle", "egret",
		"falcon", "finch", "fox",   "goat",  "goose", "hare",  "hawk",	"heron",
		"ibis",	  "jay",   "kite",  "koi",   "lark",  "loon",  "lynx",	"mole",
		"newt",	  "otter", "owl",   "perch", "robin", "stork", "swan",	"wren",
	};
	unsigned char bytes[4];

	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		return mk_fail(call, EIO, "no random number for a run: %s", strerror(errno));
	*ret = mk_strf("%s-%s-%d", how[bytes[0] % 32], what[bytes[1] % 32],
		       (bytes[2] << 8 | bytes[3]) % 1000);
	return 0;
}

struct make {
	const struct mk_track_new *new;
	char uid[33];
	const char *name;
	char *made_up;
	const char *user;
	int64_t id;
};

static int insert_row(struct mk_call *call, struct mk_conn *conn, struct make *make,
		      int64_t project_id, const char *location)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	_cleanup_free_ char *dir = NULL, *uri = NULL;
	int r = mk_run_choose_dir(call, conn, project_id, make->name, make->uid, &dir);

	if (location)
		uri = mk_track_artifacts(location, make->new->experiment_id, make->uid);
	if (r == 0)
		r = mk_prepare(call, conn,
			       "INSERT INTO runs (uid, project_id, experiment_id, name, dir, status,"
			       " site, submitted, started, changed, user, spec_len, artifact_uri, api)"
			       " VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'mlflow', ?7, ?8, ?11, ?9, 0, ?10, 1)",
			       &stmt);
	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, make->uid);
	mk_bind_int(stmt, 2, project_id);
	mk_bind_int(stmt, 3, make->new->experiment_id);
	mk_bind_text(stmt, 4, make->name);
	mk_bind_text(stmt, 5, dir);
	mk_bind_int(stmt, 6, MK_RUNNING);
	/* Nobody waited for it. */
	mk_bind_int(stmt, 7, make->new->start ? make->new->start : mk_now_real());
	mk_bind_int(stmt, 8, make->new->start);
	mk_bind_text(stmt, 9, make->user);
	mk_bind_text(stmt, 10, uri);
	mk_bind_int(stmt, 11, mk_now_real());
	r = mk_exec(call, stmt);
	if (r == 0)
		make->id = mk_last_id(conn);
	return r;
}

/* info.yaml of the run it is nested in names it. */
static int tell_parent(struct mk_call *call, struct mk_conn *conn, int64_t project_id,
		       const char *parent)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "SELECT id FROM runs WHERE uid = ? AND project_id = ?"
			   " AND remote_id IS NULL",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, parent);
	mk_bind_int(stmt, 2, project_id);
	r = mk_step(call, stmt);
	return r <= 0 ? r : mk_run_touch(call, conn, mk_col_int(stmt, 0), MK_TOUCH_ROW);
}

static int insert(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	struct make *make = arg;
	const struct mk_pairs *tags = make->new->tags;
	struct mk_track_row row = {.api = true};
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	const char *parent;
	int r = mk_prepare(call, conn,
			   "SELECT project_id, deleted > 0, artifact_location FROM experiments"
			   " WHERE id = ? AND remote_id IS NULL",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, make->new->experiment_id);
	r = mk_step(call, stmt);
	if (r < 0)
		return r;
	if (r == 0)
		return mk_fail(call, ENOENT, "No Experiment with id=%lld exists",
			       (long long)make->new->experiment_id);
	if (mk_col_int(stmt, 1))
		return mk_fail(call, EINVAL,
			       "The experiment %lld must be in the 'active' state. Current state is "
			       "deleted.",
			       (long long)make->new->experiment_id);
	row.project_id = mk_col_int(stmt, 0);
	r = insert_row(call, conn, make, row.project_id, mk_col_text(stmt, 2));
	row.id = make->id;
	for (size_t i = 0; r == 0 && tags && i < tags->n; i++)
		r = mk_track_put_tag(call, conn, &row, tags->v[i].key, tags->v[i].value);
	if (r == 0 && !(tags && mk_pairs_get(tags, "mlflow.runName")))
		r = mk_track_put_tag(call, conn, &row, "mlflow.runName", make->name);
	parent = tags ? mk_pairs_get(tags, "mlflow.parentRunId") : NULL;
	if (r == 0 && parent)
		r = tell_parent(call, conn, row.project_id, parent);
	if (r == 0)
		r = mk_experiment_touch(call, conn, make->new->experiment_id, true);
	if (r == 0)
		r = mk_project_touch(call, conn, row.project_id, true);
	return r < 0 ? r : mk_db_changed(call, conn, "run", row.id);
}

int mk_track_run_make(struct mk_call *call, struct mantik *m, const struct mk_track_new *new,
		      int64_t *ret)
{
	const char *tag = new->tags ? mk_pairs_get(new->tags, "mlflow.runName") : NULL;
	_cleanup_free_ char *made_up = NULL;
	struct make make = {.new = new, .name = new->name, .user = new->user};
	int r = mk_domain_uid(call, make.uid);

	if (!make.name || !*make.name)
		make.name = tag;
	if (r == 0 && (!make.name || !*make.name)) {
		r = make_name(call, &made_up);
		make.name = made_up;
	}
	if (!make.user || !*make.user)
		make.user = new->tags ? mk_pairs_get(new->tags, "mlflow.user") : NULL;
	if (!make.user || !*make.user)
		make.user = mk_domain_user();
	if (r == 0)
		r = mk_domain_write(call, m, MK_KILLSAFE, insert, &make);
	if (r == 0)
		*ret = make.id;
	return r;
}

/* --- changed ------------------------------------------------------------------------------- */

/* The listings it stands in are others now, not only a row of them. */
static int moved(struct mk_call *call, struct mk_conn *conn, const struct mk_track_row *run)
{
	int r = mk_run_touch(call, conn, run->id, MK_TOUCH_ROW);

	if (r == 0)
		r = mk_project_touch(call, conn, run->project_id, true);
	return r < 0 ? r : mk_experiment_touch(call, conn, run->experiment_id, true);
}

struct update {
	int64_t id;
	const struct mk_track_update *to;
	const char *key; /* a tag that goes */
};

/* How a job ended is the engine's to say: its client's word is heard and not followed. */
static int update(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct update *u = arg;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	struct mk_track_row run = {};
	int r = mk_track_look(call, conn, u->id, true, &run);

	if (r == 0 && u->to->name && *u->to->name)
		r = mk_track_put_tag(call, conn, &run, "mlflow.runName", u->to->name);
	if (r == 0 && run.api && (u->to->has_status || u->to->has_end)) {
		r = mk_prepare(call, conn,
			       "UPDATE runs SET status = ifnull(?2, status), ended = ifnull(?3, ended)"
			       " WHERE id = ?1",
			       &stmt);
		if (r < 0)
			return r;
		mk_bind_int(stmt, 1, u->id);
		if (u->to->has_status)
			mk_bind_int(stmt, 2, u->to->status);
		if (u->to->has_end)
			mk_bind_int(stmt, 3, u->to->end);
		r = mk_exec(call, stmt);
	}
	return r < 0 ? r : mk_run_touch(call, conn, u->id, MK_TOUCH_ROW);
}

/* Runs whose `after:` names it may start now. Should this fail, mantikd finds out by itself. */
static void tell_waiting(struct mantik *m, int64_t id)
{
	_cleanup_call_ struct mk_call own;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;

	mk_call_init(&own);
	if (mk_db_read(&own, m->db, "SELECT 1 FROM run_after WHERE other_id = ? LIMIT 1", &stmt) < 0)
		return;
	mk_bind_int(stmt, 1, id);
	if (mk_step(&own, stmt) == 1)
		(void)!mantik_poke(&own, m);
}

int mk_track_run_update(struct mk_call *call, struct mantik *m, int64_t id,
			const struct mk_track_update *to)
{
	struct update u = {.id = id, .to = to};
	int r = mk_domain_write(call, m, MK_KILLSAFE, update, &u);

	if (r == 0 && to->has_status && mk_status_final(to->status))
		tell_waiting(m, id);
	return r;
}

static int delete_it(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	struct mk_track_row run = {};
	int r = mk_track_look(call, conn, *(int64_t *)arg, false, &run);

	if (r < 0 || run.deleted)
		return r;
	if (!run.api && !mk_status_final(run.status))
		return mk_fail(call, EBUSY, "The job of run %s is %s: cancel it first.", run.uid,
			       mk_status_name(run.status));
	r = mk_domain_run(call, conn, "UPDATE runs SET deleted = ?2 WHERE id = ?1", run.id,
			  mk_now_real());
	return r < 0 ? r : moved(call, conn, &run);
}

int mk_track_run_delete(struct mk_call *call, struct mantik *m, int64_t id)
{
	return mk_domain_write(call, m, MK_KILLSAFE, delete_it, &id);
}

static int restore_it(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	struct mk_track_row run = {};
	int r = mk_track_look(call, conn, *(int64_t *)arg, false, &run);

	if (r < 0 || !run.deleted)
		return r;
	r = mk_domain_run(call, conn, "UPDATE runs SET deleted = 0 WHERE id = ?1", run.id, 0);
	return r < 0 ? r : moved(call, conn, &run);
}

int mk_track_run_restore(struct mk_call *call, struct mantik *m, int64_t id)
{
	return mk_domain_write(call, m, MK_KILLSAFE, restore_it, &id);
}

static int remove_tag(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct update *u = arg;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	struct mk_track_row run = {};
	int r = mk_track_look(call, conn, u->id, true, &run);

	if (r == 0)
		r = mk_prepare(call, conn, "DELETE FROM tags WHERE run_id = ? AND key = ?", &stmt);
	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, u->id);
	mk_bind_text(stmt, 2, u->key);
	r = mk_exec(call, stmt);
	if (r < 0)
		return r;
	if (!mk_rows_changed(conn))
		return mk_fail(call, ENOENT, "No tag with name: %s in run with id %s", u->key,
			       run.uid);
	if (strcmp(u->key, "mlflow.parentRunId") == 0)
		r = set_column(call, conn, u->id, "UPDATE runs SET parent = NULL WHERE id = ?1",
			       NULL);
	return r < 0 ? r : mk_run_touch(call, conn, u->id, MK_TOUCH_ROW);
}

int mk_track_tag_remove(struct mk_call *call, struct mantik *m, int64_t id, const char *key)
{
	struct update u = {.id = id, .key = key};

	return mk_domain_write(call, m, MK_KILLSAFE, remove_tag, &u);
}

struct move {
	int64_t id, experiment_id;
};

static int move(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct move *to = arg;
	struct mk_track_row run = {};
	int64_t is_fit = 0;
	int r = mk_track_look(call, conn, to->id, true, &run);

	if (r < 0 || run.experiment_id == to->experiment_id)
		return r;
	r = mk_domain_int(call, conn,
			  "SELECT count(*) FROM experiments WHERE id = ?1 AND project_id = ?2"
			  " AND deleted = 0 AND remote_id IS NULL",
			  to->experiment_id, run.project_id, &is_fit);
	if (r > 0 && !is_fit)
		return mk_fail(call, EINVAL,
			       "Run %s cannot be moved to experiment %lld: it is deleted, or of "
			       "another project.",
			       run.uid, (long long)to->experiment_id);
	if (r > 0)
		r = mk_domain_run(call, conn, "UPDATE runs SET experiment_id = ?2 WHERE id = ?1",
				  run.id, to->experiment_id);
	if (r == 0)
		r = moved(call, conn, &run);
	return r < 0 ? r : mk_experiment_touch(call, conn, to->experiment_id, true);
}

int mk_track_run_move(struct mk_call *call, struct mantik *m, int64_t id, int64_t experiment_id)
{
	return mk_domain_write(call, m, MK_KILLSAFE, move, &(struct move){id, experiment_id});
}
