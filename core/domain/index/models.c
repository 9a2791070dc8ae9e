/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registered models of a store: their names are one question, the versions of each another one,
 * asked when somebody looks at that model. What the store has no more is `gone`: not listed, its row
 * kept, so that what is open stays what it was.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "domain/domain.h"
#include "domain/index/ask.h"
#include "domain/index/index.h"
#include "domain/index/page.h"
#include "domain/index/store.h"
#include "domain/outbox/outbox.h"

enum { MOST_PAGES = 1000 };

struct put {
	const struct mk_question *q;
	const struct mk_page *page;
};

/* Everybody gone: who is there comes back with their row. */
static int put_all(struct mk_call *call, struct mk_conn *conn, const struct put *put,
		   const char *all_gone, int64_t of,
		   int (*one)(struct mk_call *call, struct mk_conn *conn, const struct put *put,
			      size_t i),
		   size_t n)
{
	int r = mk_domain_run(call, conn, all_gone, of, 0);

	for (size_t i = 0; r == 0 && i < n; i++)
		r = one(call, conn, put, i);
	return r < 0 ? r
		     : mk_mark_set(call, conn, put->q->project_id, put->q->what, put->q->asked,
				   NULL);
}

static int turn(struct mk_call *call, struct mk_flight *flight, const struct mk_question *q, int page)
{
	mk_flight_moved(flight);
	return page < MOST_PAGES ? 0
				 : mk_fail(call, EREMOTEIO, "%s: a list of more than %d pages",
					   q->connection, MOST_PAGES);
}

/* --- names --------------------------------------------------------------------------------- */

static int put_model(struct mk_call *call, struct mk_conn *conn, const struct put *put, size_t i)
{
	const struct mk_t_model *model = &put->page->models[i].model;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "INSERT INTO models (project_id, name, description, created, changed)"
			   " VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE SET gone = 0,"
			   " description = excluded.description, changed = excluded.changed",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, put->q->project_id);
	mk_bind_text(stmt, 2, model->name);
	mk_bind_text(stmt, 3, model->description);
	mk_bind_int(stmt, 4, model->created);
	mk_bind_int(stmt, 5, model->updated ? model->updated : model->created);
	return mk_exec(call, stmt);
}

/* What was asked before something was written is not what the store says now: it is asked again. */
static int is_older(struct mk_call *call, struct mk_conn *conn, const struct put *put,
		    const char *sql, int64_t id)
{
	int64_t written = 0;
	int r = mk_domain_int(call, conn, sql, id, 0, &written);

	return r < 0 ? r : written >= put->q->asked;
}

static int overlay_models(struct mk_call *call, struct mk_conn *conn, int64_t project_id)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "SELECT DISTINCT m.id FROM models m JOIN outbox o"
			   " ON o.object = 'model:' || m.id WHERE m.project_id = ?1",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, project_id);
	while ((r = mk_step(call, stmt)) > 0) {
		r = mk_outbox_overlay(call, conn, "model", mk_col_int(stmt, 0));
		if (r < 0)
			return r;
	}
	return r;
}

static int put_models(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct put *put = arg;
	int r = is_older(call, conn, put, "SELECT max(written) FROM models WHERE project_id = ?1",
			 put->q->project_id);

	if (r != 0)
		return r < 0 ? r : 0;
	r = put_all(call, conn, put, "UPDATE models SET gone = 1 WHERE project_id = ?1",
		       put->q->project_id, put_model, put->page->n_models);
	return r < 0 ? r : overlay_models(call, conn, put->q->project_id);
}

int mk_fly_models(struct mk_call *call, struct mk_flight *flight, void *arg)
{
	struct mk_question *q = arg;
	_cleanup_page_ struct mk_page page = {};
	_cleanup_free_ char *token = NULL;
	struct put put = {.q = q, .page = &page};
	int r = mk_fly_who(call, flight, q, mk_fresh_list), n = 0;

	if (r < 0)
		return r;
	q->asked = mk_now_real();
	do {
		r = q->ops->models(call, q->store, &token, mk_page_add_model, &page);
		if (r == 0)
			r = turn(call, flight, q, ++n);
	} while (r == 0 && token);
	return r < 0 ? r : mk_domain_write(call, q->m, MK_KILLSAFE, put_models, &put);
}

/* --- versions ------------------------------------------------------------------------------ */

static void put_aliases(struct mk_buf *buf, const struct mk_t_version *version)
{
	for (size_t i = 0; i < version->n_aliases; i++) {
		if (i)
			(void)mk_buf_putc(buf, '\n');
		(void)mk_buf_puts(buf, version->aliases[i]);
	}
}

/* Key and value end in a NUL each: they may hold anything else. */
static void put_tags(struct mk_buf *buf, const struct mk_t_version *version)
{
	for (size_t i = 0; i < version->n_tags; i++) {
		(void)mk_buf_put(buf, version->tags[i].key, strlen(version->tags[i].key) + 1);
		(void)mk_buf_put(buf, version->tags[i].value, strlen(version->tags[i].value) + 1);
	}
}

static int put_version(struct mk_call *call, struct mk_conn *conn, const struct put *put, size_t i)
{
	const struct mk_t_version *version = &put->page->models[0].versions[i];
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	_cleanup_buf_ struct mk_buf aliases = MK_BUF(MK_LIMIT_TEXT), tags = MK_BUF(MK_LIMIT_TEXT);
	int r = mk_prepare(call, conn,
			   "INSERT INTO model_versions (model_id, version, run_id, stage,"
			   " status, description, source, aliases, tags, created, changed)"
			   " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
			   " ON CONFLICT DO UPDATE SET run_id = excluded.run_id, gone = 0,"
			   " stage = excluded.stage, status = excluded.status,"
			   " description = excluded.description, source = excluded.source,"
			   " aliases = excluded.aliases, tags = excluded.tags,"
			   " created = excluded.created, changed = excluded.changed",
			   &stmt);

	if (r < 0)
		return r;
	put_aliases(&aliases, version);
	put_tags(&tags, version);
	if (mk_buf_check(&aliases) < 0 || mk_buf_check(&tags) < 0)
		return mk_fail(call, EREMOTEIO, "version %s: too many aliases or tags",
			       version->version);
	mk_bind_int(stmt, 1, put->q->object);
	mk_bind_text(stmt, 2, version->version);
	mk_bind_text(stmt, 3, version->run_id);
	mk_bind_text(stmt, 4, version->stage);
	mk_bind_text(stmt, 5, version->status);
	mk_bind_text(stmt, 6, version->description);
	mk_bind_text(stmt, 7, version->source);
	mk_bind_text(stmt, 8, mk_buf_text(&aliases));
	mk_bind_blob(stmt, 9, tags.data, tags.len);
	mk_bind_int(stmt, 10, version->created);
	mk_bind_int(stmt, 11, version->updated ? version->updated : version->created);
	return mk_exec(call, stmt);
}

static int put_versions(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct put *put = arg;
	int r = is_older(call, conn, put, "SELECT written FROM models WHERE id = ?1", put->q->object);

	if (r != 0)
		return r < 0 ? r : 0;
	r = put_all(call, conn, put, "UPDATE model_versions SET gone = 1 WHERE model_id = ?1",
		    put->q->object, put_version, put->page->models[0].n_versions);
	return r < 0 ? r : mk_outbox_overlay(call, conn, "model", put->q->object);
}

int mk_fly_versions(struct mk_call *call, struct mk_flight *flight, void *arg)
{
	struct mk_question *q = arg;
	_cleanup_page_ struct mk_page page = {};
	_cleanup_free_ char *token = NULL;
	struct put put = {.q = q, .page = &page};
	int n = 0, r = mk_fly_who(call, flight, q, mk_fresh_list);

	if (r < 0)
		return r;
	q->asked = mk_now_real();
	r = mk_page_add_model(&page, &(struct mk_t_model){.name = q->remote_id});
	if (r < 0)
		return mk_fail(call, -r, "out of memory for a model");
	do {
		r = q->ops->versions(call, q->store, q->remote_id, &token, mk_page_add_version,
				     &page);
		if (r == 0)
			r = turn(call, flight, q, ++n);
	} while (r == 0 && token);
	return r < 0 ? r : mk_domain_write(call, q->m, MK_KILLSAFE, put_versions, &put);
}

int mk_index_versions(struct mk_call *call, struct mantik *m, int64_t model_id)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	_cleanup_free_ char *connection = NULL, *name = NULL;
	char what[64];
	bool seen;
	int r = mk_db_read(call, m->db,
			   "SELECT o.project_id, p.connection, o.name FROM models o"
			   " JOIN projects p ON p.id = o.project_id"
			   " WHERE o.id = ?1 AND p.connection IS NOT NULL",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, model_id);
	r = mk_step(call, stmt);
	if (r <= 0)
		return r;

	int64_t project_id = mk_col_int(stmt, 0);

	connection = mk_col_dup(stmt, 1);
	name = mk_col_dup(stmt, 2);
	mk_reset(&stmt);
	(void)snprintf(what, sizeof(what), "versions:%lld", (long long)model_id);
	r = mk_index_is_fresh(call, m, project_id, what, mk_fresh_list, &seen);
	if (r)
		return r < 0 ? r : 0;

	struct mk_question *q = mk_index_question(m, project_id, &connection, what);

	q->object = model_id;
	q->remote_id = mk_steal(&name);
	return mk_index_ask(call, m, q, seen, mk_fly_versions);
}

/* --- logged by runs ------------------------------------------------------------------------ */

static int take_name(void *arg, const struct mk_t_logged *logged)
{
	char **name = arg;

	free(*name);
	*name = logged->name && *logged->name ? mk_strdup(logged->name) : NULL;
	return 0;
}

struct put_name {
	const struct mk_question *q;
	const char *name;
};

static int put_name(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct put_name *put = arg;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn, "INSERT OR REPLACE INTO logged_models (project_id, model_id,"
			   " name) VALUES (?1, ?2, ?3)",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, put->q->project_id);
	mk_bind_text(stmt, 2, put->q->remote_id);
	mk_bind_text(stmt, 3, put->name);
	return mk_exec(call, stmt);
}

/* One that has none, or is gone, is called by its id. */
int mk_fly_logged(struct mk_call *call, struct mk_flight *flight, void *arg)
{
	struct mk_question *q = arg;
	_cleanup_free_ char *name = NULL;
	int r = q->ops->logged ? q->ops->logged(call, q->store, q->remote_id, take_name, &name) : 0;

	(void)flight;
	if (r == -EOPNOTSUPP || r == -ENOENT) {
		mk_error_clear(call);
		r = 0;
	}
	if (r < 0)
		return r;

	struct put_name put = {q, name ? name : q->remote_id};

	return mk_domain_write(call, q->m, MK_KILLSAFE, put_name, &put);
}

int mk_index_logged(struct mk_call *call, struct mantik *m, int64_t project_id,
		    const char *model_id)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	_cleanup_free_ char *connection = NULL;
	_cleanup_buf_ struct mk_buf what = MK_BUF(4096);
	int r = mk_db_read(call, m->db,
			   "SELECT connection FROM projects WHERE id = ?1 AND connection IS NOT NULL"
			   " AND NOT EXISTS (SELECT 1 FROM logged_models WHERE project_id = ?1"
			   " AND model_id = ?2)",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, project_id);
	mk_bind_text(stmt, 2, model_id);
	r = mk_step(call, stmt);
	if (r <= 0)
		return r;
	connection = mk_col_dup(stmt, 0);
	mk_reset(&stmt);
	if (mk_buf_printf(&what, "logged:%s", model_id) < 0)
		return mk_fail(call, EREMOTEIO, "a model's id of %zu bytes", strlen(model_id));

	struct mk_question *q = mk_index_question(m, project_id, &connection, mk_buf_text(&what));

	q->remote_id = mk_strdup(model_id);
	return mk_index_ask(call, m, q, false, mk_fly_logged);
}
