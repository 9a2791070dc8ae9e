/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows of the outbox that a store refuses: the mirror shows again what was there before them, and
 * who wrote is told, by the errno of the write while somebody waits for it, else by .mantik/errors.
 *
 * But a file was somebody's only copy, perhaps (mv): its bytes stay until its writer has heard of the
 * refusal, and where he was told before that they are safe, until somebody gives them up.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mantik/error.h>
#include <mantik/name.h>

#include "base/file.h"
#include "domain/delete.h"
#include "domain/domain.h"
#include "domain/outbox/change.h"
#include "domain/outbox/model_out.h"
#include "domain/outbox/upload.h"

/* --- where it was written --------------------------------------------------------------------- */

int mk_out_path(struct mk_call *call, struct mk_conn *conn, const struct mk_out *row,
		struct mk_buf *ret)
{
	static const char *const folders[MK_OUT_VERBS] = {
		[MK_OUT_POINT] = "/metrics/", [MK_OUT_PARAM] = "/params/",
		[MK_OUT_TAG] = "/tags/",      [MK_OUT_TAG_REMOVE] = "/tags/",
	};
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;

	if (mk_out_noun(row) == MK_OUT_OF_FILE)
		return mk_upload_out_path(call, conn, row->of, ret);
	if (mk_out_noun(row) == MK_OUT_OF_MODEL)
		return mk_model_out_path(call, conn, row, ret);

	int r = mk_out_is_run(row)
			? mk_prepare(call, conn,
				     "SELECT p.name, o.dir, o.deleted <> 0 FROM runs o JOIN projects p"
				     " ON p.id = o.project_id WHERE o.id = ?1",
				     &stmt)
			: mk_prepare(call, conn,
				     "SELECT p.name, o.name, 0 FROM experiments o JOIN projects p"
				     " ON p.id = o.project_id WHERE o.id = ?1",
				     &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, row->of);
	r = mk_step(call, stmt);
	if (r <= 0)
		return r;

	const char *project = mk_col_text(stmt, 0), *name = mk_col_text(stmt, 1);

	(void)mk_buf_puts(ret, "/projects/");
	(void)mk_name_escape(ret, project, strlen(project));
	(void)mk_buf_puts(ret, !mk_out_is_run(row)	       ? "/experiments/"
			       : mk_col_int(stmt, 2) ? "/runs/deleted/"
						     : "/runs/");
	if (mk_out_is_run(row))
		(void)mk_buf_puts(ret, name);
	else
		(void)mk_name_escape(ret, name, strlen(name));
	if (folders[row->verb]) {
		(void)mk_buf_puts(ret, folders[row->verb]);
		(void)mk_key_escape(ret, row->key);
	} else if (row->verb == MK_OUT_EXPERIMENT_TAG) {
		(void)mk_buf_puts(ret, "/experiment.yaml");
	}
	return 0;
}

/* --- what was there before ------------------------------------------------------------------- */

static int restore_before(struct mk_call *call, struct mk_conn *conn, const struct mk_out *row)
{
	int r = mk_out_is_covered(call, conn, row);

	if (r != 0)
		return r < 0 ? r : 0;
	return row->verb == MK_OUT_EXPERIMENT_RENAME ? mk_out_set_name(call, conn, row->of, row->before)
						     : mk_out_set_pair(call, conn, row, row->before);
}

static int take_back(struct mk_call *call, struct mk_conn *conn, const struct mk_out *row)
{
	switch (row->verb) {
	case MK_OUT_POINT:
		return mk_out_point_refused(call, conn, row);
	case MK_OUT_PARAM:
	case MK_OUT_TAG:
	case MK_OUT_TAG_REMOVE:
	case MK_OUT_EXPERIMENT_TAG:
	case MK_OUT_EXPERIMENT_RENAME:
		return restore_before(call, conn, row);
	case MK_OUT_DELETE:
		return mk_out_set_deleted(call, conn, row->of, 0);
	case MK_OUT_RESTORE:
		return mk_out_set_deleted(call, conn, row->of, mk_now_real());
	case MK_OUT_EXPERIMENT_MAKE:
		/* what was to be done to it goes with it */
		return mk_domain_run(call, conn,
				     "DELETE FROM outbox WHERE object = 'experiment:' || ?1"
				     " AND id <> ?2",
				     row->of, row->id);
	case MK_OUT_EXPERIMENT_DELETE: /* those that went with it */
		return mk_experiment_move(call, conn, row->of, 0, row->created);
	case MK_OUT_EXPERIMENT_RESTORE:
		return mk_experiment_move(call, conn, row->of, mk_now_real(), 0);
	case MK_OUT_FILE:
		return mk_upload_out_take_back(call, conn, row->of);
	case MK_OUT_ALIAS_SET:
	case MK_OUT_ALIAS_REMOVE:
	case MK_OUT_MODEL_DESCRIBE:
	case MK_OUT_VERSION_DESCRIBE:
		return mk_model_out_take_back(call, conn, row);
	case MK_OUT_VERBS:
		break;
	}
	return 0;
}

int mk_out_forget_said(struct mk_call *call, struct mk_conn *conn, const struct mk_out *row)
{
	int r;

	if (mk_out_is_apart(row))
		return 0; /* it is soon */

	if (mk_out_is_run(row))
		return mk_domain_run(call, conn,
				     "UPDATE runs SET remote_digest = 0, as_of = 0 WHERE id = ?1",
				     row->of, 0);
	r = mk_domain_run(call, conn, "UPDATE experiments SET remote_digest = -1 WHERE id = ?1",
			  row->of, 0);
	if (r == 0)
		r = mk_domain_run(call, conn,
				  "DELETE FROM marks WHERE project_id = ?1 AND what = 'experiments'",
				  row->project_id, 0);
	if (r == 0 && row->verb == MK_OUT_EXPERIMENT_MAKE)
		r = mk_domain_run(call, conn,
				  "DELETE FROM experiment_tags WHERE experiment_id = ?1", row->of, 0);
	if (r == 0 && row->verb == MK_OUT_EXPERIMENT_MAKE)
		r = mk_domain_run(call, conn,
				  "DELETE FROM experiments WHERE id = ?1 AND remote_id IS NULL",
				  row->of, 0);
	return r;
}

/* --- refused --------------------------------------------------------------------------------- */

/* Of several one line tells. */
static int tell(struct mk_call *call, struct mk_conn *conn, const struct mk_outs *rows,
		const struct mk_error *error)
{
	_cleanup_buf_ struct mk_buf path = MK_BUF(16 << 10), text = MK_BUF(16 << 10);
	int r = mk_out_path(call, conn, rows->v, &path);

	if (r < 0)
		return r;
	if (rows->v[0].refused)
		(void)mk_buf_puts(&text, "refused, and kept here (`mantikctl discard` gives it up): ");
	else if (rows->n > 1)
		(void)mk_buf_printf(&text, "%zu %s written here were taken back: ", rows->n,
				    rows->v[0].verb == MK_OUT_POINT ? "points" : "changes");
	else
		(void)mk_buf_puts(&text, "what was written here was taken back: ");
	(void)mk_buf_puts(&text, error->text ? error->text : strerror(error->code));

	struct mk_error shown = *error;

	shown.text = (char *)mk_buf_text(&text);
	return mk_error_put(call, conn, mk_buf_text(&path), &shown);
}

static int keep_for_asker(struct mk_call *call, struct mk_conn *conn, int64_t id,
			  const struct mk_error *error)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "UPDATE outbox SET code = ?2, text = ?3, detail = ?4 WHERE id = ?1", &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	mk_bind_int(stmt, 2, error->code);
	mk_bind_text(stmt, 3, error->text);
	mk_bind_text(stmt, 4, error->detail);
	return mk_exec(call, stmt);
}

int mk_out_undo(struct mk_call *call, struct mk_conn *conn, const struct mk_outs *rows,
		const struct mk_error *error, bool asker)
{
	int r = asker ? 0 : tell(call, conn, rows, error);

	for (size_t i = rows->n; r == 0 && i-- > 0;) { /* the newest is on top */
		r = asker ? keep_for_asker(call, conn, rows->v[i].id, error)
			  : mk_domain_run(call, conn, "DELETE FROM outbox WHERE id = ?1",
					  rows->v[i].id, 0);
		if (r == 0 && mk_rows_changed(conn))
			r = take_back(call, conn, &rows->v[i]);
	}
	if (r == 0)
		r = mk_out_touch(call, conn, rows->v);
	return r < 0 ? r : mk_out_forget_said(call, conn, rows->v);
}

/* A file nobody waits for: who wrote it thinks that it is safe, and so it is. It rests for a day. */
static int keep_file(struct mk_call *call, struct mk_conn *conn, const struct mk_out *row,
		     const struct mk_error *error)
{
	static const int64_t rest = 24 * 3600 * MK_SEC;
	struct mk_out kept = *row;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "UPDATE outbox SET refused = ?2, text = ?3, detail = ?4, try_at = ?5,"
			   " tries = tries + 1, code = 0, wanted = 0, asked = 0 WHERE id = ?1",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, row->id);
	mk_bind_int(stmt, 2, error->code);
	mk_bind_text(stmt, 3, error->text ? error->text : strerror(error->code));
	mk_bind_text(stmt, 4, error->detail);
	mk_bind_int(stmt, 5, mk_now_real() + rest);
	r = mk_exec(call, stmt);
	if (r < 0 || row->refused) /* it was told the day before */
		return r;
	kept.refused = error->code;
	return tell(call, conn, &(struct mk_outs){&kept, 1}, error);
}

struct refused {
	const struct mk_outs *rows;
	const struct mk_error *error;
	bool is_kept; /* a file */
};

static int write_refused(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct refused *refused = arg;
	const struct mk_outs *rows = refused->rows;
	int64_t wanted = 0;
	int r = mk_domain_int(call, conn, "SELECT wanted FROM outbox WHERE id = ?1", rows->v[0].id,
			      0, &wanted);

	if (r <= 0)
		return r;
	bool asker = wanted >= mk_now_real();

	if (!refused->is_kept)
		r = mk_out_undo(call, conn, rows, refused->error, asker);
	else if (asker) /* it goes when he has heard it */
		r = keep_for_asker(call, conn, rows->v[0].id, refused->error);
	else
		r = keep_file(call, conn, &rows->v[0], refused->error);
	return r < 0 ? r : mk_out_answered(call, conn, rows->v);
}

int mk_outbox_refused(struct mk_call *call, struct mantik *m, const struct mk_outs *rows,
		      const struct mk_error *error)
{
	struct refused refused = {
		.rows = rows,
		.error = error,
		.is_kept = rows->v[0].verb == MK_OUT_FILE && mk_upload_is_kept(m, rows->v[0].value),
	};

	return mk_domain_write(call, m, MK_DURABLE, write_refused, &refused);
}

/* --- refusals nobody came for ---------------------------------------------------------------- */

static int write_unclaimed(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int64_t late = mk_now_real() - 5 * MK_SEC;
	int r = mk_prepare(call, conn,
			   "SELECT id, project_id, verb, object, key, code, text, detail FROM outbox"
			   " WHERE code <> 0 AND wanted < ?1",
			   &stmt);

	(void)arg;
	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, late);
	while ((r = mk_step(call, stmt)) > 0) {
		const char *object = mk_col_text(stmt, 3), *colon = strchr(object, ':');
		struct mk_out row = {
			.id = mk_col_int(stmt, 0),
			.project_id = mk_col_int(stmt, 1),
			.verb = (enum mk_out_verb)mk_col_int(stmt, 2),
			.object = (char *)object,
			.of = colon ? strtoll(colon + 1, NULL, 10) : 0,
			.key = (char *)mk_col_text(stmt, 4),
		};
		const struct mk_error error = {.code = (int)mk_col_int(stmt, 5),
					       .text = (char *)mk_col_text(stmt, 6),
					       .detail = (char *)mk_col_text(stmt, 7)};

		r = row.verb == MK_OUT_FILE ? keep_file(call, conn, &row, &error)
					    : tell(call, conn, &(struct mk_outs){&row, 1}, &error);
		if (r < 0)
			return r;
	}
	return r < 0 ? r : mk_domain_run(call, conn,
					 "DELETE FROM outbox WHERE code <> 0 AND wanted < ?1", late, 0);
}

int mk_outbox_unclaimed(struct mk_call *call, struct mantik *m)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db, "SELECT 1 FROM outbox WHERE code <> 0 AND wanted < ?1", &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, mk_now_real() - 5 * MK_SEC);
	r = mk_step(call, stmt);
	mk_reset(&stmt);
	return r <= 0 ? r : mk_domain_write(call, m, MK_KILLSAFE, write_unclaimed, NULL);
}
