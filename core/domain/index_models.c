/* SPDX-License-Identifier: Apache-2.0 */
/* Registered models of a store and their versions, asked all at once: they are few. One that the
 * store has no more is `gone`: not listed, its row kept. */
#include <errno.h>
#include <string.h>

#include "domain/domain.h"
#include "domain/index_fly.h"
#include "domain/index_page.h"
#include "domain/index_store.h"

enum { MOST_PAGES = 1000 };

struct put {
	const struct mk_question *q;
	const struct mk_page *page;
};

static int put_model(struct mk_call *call, struct mk_conn *conn, int64_t project_id,
		     const struct mk_t_model *model, int64_t *ret_id)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "INSERT INTO models (project_id, name, description, created, changed)"
			   " VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE SET gone = 0,"
			   " description = excluded.description, changed = excluded.changed"
			   " RETURNING id",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, project_id);
	mk_bind_text(stmt, 2, model->name);
	mk_bind_text(stmt, 3, model->description);
	mk_bind_int(stmt, 4, model->created);
	mk_bind_int(stmt, 5, model->updated ? model->updated : model->created);
	r = mk_step(call, stmt);
	if (r <= 0)
		return r < 0 ? r : mk_fail(call, EIO, "model \"%s\" was not kept", model->name);
	*ret_id = mk_col_int(stmt, 0);
	return mk_step(call, stmt);
}

static void put_aliases(struct mk_buf *buf, const struct mk_t_version *version)
{
	for (size_t i = 0; i < version->n_aliases; i++) {
		if (i)
			(void)mk_buf_putc(buf, '\n');
		(void)mk_buf_puts(buf, version->aliases[i]);
	}
}

static void put_tags(struct mk_buf *buf, const struct mk_t_version *version)
{
	for (size_t i = 0; i < version->n_tags; i++)
		(void)mk_buf_printf(buf, "%s\t%s\n", version->tags[i].key, version->tags[i].value);
}

static int put_version(struct mk_call *call, struct mk_conn *conn, int64_t model_id,
		       const struct mk_t_version *version)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	_cleanup_buf_ struct mk_buf aliases = MK_BUF(MK_LIMIT_TEXT), tags = MK_BUF(MK_LIMIT_TEXT);
	int r = mk_prepare(call, conn,
			   "INSERT OR REPLACE INTO model_versions (model_id, version, run_id, stage,"
			   " status, description, source, aliases, tags, created, changed)"
			   " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
			   &stmt);

	if (r < 0)
		return r;
	put_aliases(&aliases, version);
	put_tags(&tags, version);
	r = mk_buf_check(&aliases) < 0 ? mk_buf_check(&aliases) : mk_buf_check(&tags);
	if (r < 0)
		return mk_fail(call, EREMOTEIO, "version %s: too many aliases or tags",
			       version->version);
	mk_bind_int(stmt, 1, model_id);
	mk_bind_text(stmt, 2, version->version);
	mk_bind_text(stmt, 3, version->run_id);
	mk_bind_text(stmt, 4, version->stage);
	mk_bind_text(stmt, 5, version->status);
	mk_bind_text(stmt, 6, version->description);
	mk_bind_text(stmt, 7, version->source);
	mk_bind_text(stmt, 8, mk_buf_text(&aliases));
	mk_bind_text(stmt, 9, mk_buf_text(&tags));
	mk_bind_int(stmt, 10, version->created);
	mk_bind_int(stmt, 11, version->updated ? version->updated : version->created);
	return mk_exec(call, stmt);
}

static int put_all(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct put *put = arg;
	int64_t project_id = put->q->project_id;
	int r = mk_domain_run(call, conn, "UPDATE models SET gone = 1 WHERE project_id = ?1",
			      project_id, 0);

	for (size_t i = 0; r == 0 && i < put->page->n_models; i++) {
		const struct mk_page_model *model = &put->page->models[i];
		int64_t id = 0;

		r = put_model(call, conn, project_id, &model->model, &id);
		if (r == 0)
			r = mk_domain_run(call, conn,
					  "DELETE FROM model_versions WHERE model_id = ?1", id, 0);
		for (size_t j = 0; r == 0 && j < model->n_versions; j++)
			r = put_version(call, conn, id, &model->versions[j]);
	}
	if (r == 0)
		r = mk_mark_set(call, conn, project_id, put->q->what, put->q->asked, NULL);
	if (r == 0)
		r = mk_project_touch(call, conn, project_id, false);
	return r;
}

static int ask_versions(struct mk_call *call, struct mk_flight *flight, const struct mk_question *q,
			struct mk_page *page, size_t model)
{
	_cleanup_free_ char *token = NULL;
	int r, n = 0;

	page->model = model;
	do {
		r = q->ops->versions(call, q->store, page->models[model].model.name, &token,
				     mk_page_add_version, page);
		mk_flight_moved(flight);
	} while (r == 0 && token && ++n < MOST_PAGES);
	return r;
}

int mk_fly_models(struct mk_call *call, struct mk_flight *flight, void *arg)
{
	struct mk_question *q = arg;
	_cleanup_page_ struct mk_page page = {};
	_cleanup_free_ char *token = NULL;
	struct put put = {.q = q, .page = &page};
	int r, n = 0;

	q->asked = mk_now_real();
	do {
		r = q->ops->models(call, q->store, &token, mk_page_add_model, &page);
		mk_flight_moved(flight);
	} while (r == 0 && token && ++n < MOST_PAGES);
	for (size_t i = 0; r == 0 && i < page.n_models; i++)
		r = ask_versions(call, flight, q, &page, i);
	return r < 0 ? r : mk_domain_write(call, q->m, MK_KILLSAFE, put_all, &put);
}
