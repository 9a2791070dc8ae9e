/* SPDX-License-Identifier: Apache-2.0 */
/* The experiments of the mirror: a listing is always complete, so that what it does not name is
 * gone. One is written anew when its name, its tags or its time of change are others. */
#include <string.h>
#include <strings.h>

#include "domain/delete.h"
#include "domain/domain.h"
#include "domain/goal.h"
#include "domain/index/store.h"
#include "domain/outbox/outbox.h"

/* Names are free to be exchanged at the store between two listings: whoever has the wanted one
 * here steps aside until its own line comes. */
static int free_name(struct mk_call *call, struct mk_conn *conn, int64_t project_id,
		     const struct mk_t_experiment *experiment)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "UPDATE experiments SET name = name || ' (' || ifnull(remote_id, id) || ')'"
			   " WHERE project_id = ?1 AND name = ?2 AND remote_id IS NOT ?3",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, project_id);
	mk_bind_text(stmt, 2, experiment->name);
	mk_bind_text(stmt, 3, experiment->id);
	return mk_exec(call, stmt);
}

/* What its tags say, and what the leaderboard needs of them. */
static int put_tags(struct mk_call *call, struct mk_conn *conn, int64_t id,
		    const struct mk_t_experiment *experiment)
{
	_cleanup_stmt_ struct mk_stmt *insert = NULL;
	int r = mk_domain_run(call, conn, "DELETE FROM experiment_tags WHERE experiment_id = ?1", id,
			      0);

	if (r == 0)
		r = mk_prepare(call, conn,
			       "INSERT OR REPLACE INTO experiment_tags VALUES (?1, ?2, ?3)", &insert);
	for (size_t i = 0; r == 0 && i < experiment->n_tags; i++) {
		const struct mk_t_pair *tag = &experiment->tags[i];

		mk_bind_int(insert, 1, id);
		mk_bind_text(insert, 2, tag->key);
		mk_bind_text(insert, 3, tag->value);
		r = mk_step(call, insert);
		mk_rewind(insert);
	}
	return r < 0 ? r : mk_goal_follow_tags(call, conn, id);
}

int mk_index_experiment_id(struct mk_call *call, struct mk_conn *conn, int64_t project_id,
			   const char *remote_id, int64_t *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "SELECT id FROM experiments WHERE project_id = ?1 AND remote_id = ?2",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, project_id);
	mk_bind_text(stmt, 2, remote_id);
	r = mk_step(call, stmt);
	if (r > 0)
		*ret = mk_col_int(stmt, 0);
	return r;
}

/* One made here and not yet known to be there: this is it, whoever made it. */
static int adopt(struct mk_call *call, struct mk_conn *conn, int64_t project_id,
		 const struct mk_t_experiment *experiment)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r;

	if (experiment->deleted)
		return 0;
	r = mk_prepare(call, conn,
		       "UPDATE experiments SET remote_id = ?3, touched = 1 WHERE project_id = ?1"
		       " AND name = ?2 AND remote_id IS NULL AND NOT EXISTS (SELECT 1 FROM experiments"
		       " WHERE project_id = ?1 AND remote_id = ?3)",
		       &stmt);
	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, project_id);
	mk_bind_text(stmt, 2, experiment->name);
	mk_bind_text(stmt, 3, experiment->id);
	return mk_exec(call, stmt);
}

/* 1: the store took something for it from here since it was asked. */
static int written_since(struct mk_call *call, struct mk_conn *conn, int64_t project_id,
			 const struct mk_t_experiment *experiment, int64_t asked)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "SELECT 1 FROM experiments WHERE project_id = ?1 AND remote_id = ?2"
			   " AND written >= ?3",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, project_id);
	mk_bind_text(stmt, 2, experiment->id);
	mk_bind_int(stmt, 3, asked);
	return mk_step(call, stmt);
}

static int put_experiment(struct mk_call *call, struct mk_conn *conn, int64_t project_id,
			  const struct mk_t_experiment *experiment, int64_t now, int64_t asked,
			  bool *changed)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int64_t id;
	int r = adopt(call, conn, project_id, experiment);

	if (r == 0)
		r = written_since(call, conn, project_id, experiment, asked);
	if (r != 0)
		return r < 0 ? r : 0;
	r = free_name(call, conn, project_id, experiment);
	if (r == 0)
		r = mk_prepare(call, conn,
			       "INSERT INTO experiments (project_id, name, created, changed, touched,"
			       " remote_id, remote_updated, deleted, remote_digest, remote_created)"
			       " VALUES (?1, ?2, ?3, ?4, 1, ?5, ?4, ?6, ?7, ?8)"
			       " ON CONFLICT (project_id, remote_id) WHERE remote_id IS NOT NULL"
			       " DO UPDATE SET name = excluded.name, deleted = excluded.deleted,"
			       " changed = max(changed + 1, excluded.changed),"
			       " remote_updated = excluded.remote_updated,"
			       " remote_digest = excluded.remote_digest,"
			       " remote_created = excluded.remote_created"
			       " WHERE name <> excluded.name OR deleted <> excluded.deleted"
			       " OR remote_updated <> excluded.remote_updated"
			       " OR remote_digest <> excluded.remote_digest"
			       " OR remote_created <> excluded.remote_created",
			       &stmt);
	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, project_id);
	mk_bind_text(stmt, 2, experiment->name);
	mk_bind_int(stmt, 3, experiment->created ? experiment->created : now);
	mk_bind_int(stmt, 4, experiment->updated ? experiment->updated : 1);
	mk_bind_text(stmt, 5, experiment->id);
	mk_bind_int(stmt, 6, experiment->deleted);
	mk_bind_int(stmt, 7, mk_page_tags_digest(experiment));
	mk_bind_int(stmt, 8, experiment->created);
	r = mk_exec(call, stmt);
	if (r < 0 || !mk_rows_changed(conn))
		return r;
	*changed = true;
	r = mk_index_experiment_id(call, conn, project_id, experiment->id, &id);
	if (r > 0)
		r = put_tags(call, conn, id, experiment);
	if (r == 0 && experiment->deleted) /* with its runs, which are not asked for any more */
		r = mk_experiment_move(call, conn, id, now, 0);
	if (r == 0)
		r = mk_outbox_overlay(call, conn, "experiment", id);
	return r < 0 ? r : mk_experiment_touch(call, conn, id, true);
}

static bool listed(const struct mk_page *page, const char *id)
{
	for (size_t i = 0; i < page->n_experiments; i++)
		if (strcmp(page->experiments[i].id, id) == 0)
			return true;
	return false;
}

/* Those the store does not have any more. */
static int drop_others(struct mk_call *call, struct mk_conn *conn, int64_t project_id,
		       const struct mk_page *page, bool *changed)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL, *drop = NULL;
	int r = mk_prepare(call, conn,
			   "SELECT id, remote_id FROM experiments"
			   " WHERE project_id = ?1 AND remote_id IS NOT NULL AND deleted = 0"
			   " AND written < ?2",
			   &stmt);

	if (r == 0)
		r = mk_prepare(call, conn, "UPDATE experiments SET deleted = 1 WHERE id = ?1", &drop);
	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, project_id);
	mk_bind_int(stmt, 2, page->asked);
	while ((r = mk_step(call, stmt)) > 0) {
		if (listed(page, mk_col_text(stmt, 1)))
			continue;
		mk_bind_int(drop, 1, mk_col_int(stmt, 0));
		r = mk_step(call, drop);
		mk_rewind(drop);
		if (r < 0)
			return r;
		*changed = true;
	}
	return r;
}

int mk_index_put_experiments(struct mk_call *call, struct mk_conn *conn, int64_t project_id,
			     const struct mk_page *page)
{
	bool changed = false;
	int64_t now = mk_now_real();
	int r = 0;

	for (size_t i = 0; r == 0 && i < page->n_experiments; i++)
		r = put_experiment(call, conn, project_id, &page->experiments[i], now,
				   page->asked, &changed);
	if (r == 0)
		r = drop_others(call, conn, project_id, page, &changed);
	return r < 0 || !changed ? r : mk_project_touch(call, conn, project_id, true);
}
