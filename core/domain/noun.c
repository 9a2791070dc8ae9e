/* SPDX-License-Identifier: Apache-2.0 */
/* See noun.h. Reads on the caller's thread; each change is one durable transaction. */
#include "domain/noun.h"

#include <errno.h>

#include "domain/domain.h"

int mk_noun_find(struct mk_call *call, struct mantik *m, const struct mk_noun *noun,
		 int64_t project_id, const char *name, void *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db, noun->find, &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, project_id);
	mk_bind_text(stmt, 2, name);
	r = mk_step(call, stmt);
	if (r < 0)
		return r;
	if (r == 0)
		return mk_fail(call, ENOENT, "%s \"%s\": there is none", noun->what, name);
	noun->copy(stmt, ret);
	return 0;
}

int mk_noun_get(struct mk_call *call, struct mantik *m, const struct mk_noun *noun, int64_t id,
		void *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_domain_read(call, m, noun->get, noun->what, id, &stmt);

	if (r == 0)
		noun->copy(stmt, ret);
	return r;
}

struct edit {
	const struct mk_noun *noun;
	int64_t project_id, id;
	const char *name;
};

static int exec_named(struct mk_call *call, struct mk_stmt *stmt, const struct edit *edit)
{
	int r = mk_exec(call, stmt);

	return r == -EEXIST ? mk_fail(call, EEXIST, "%s \"%s\" exists already", edit->noun->what,
				      edit->name)
			    : r;
}

/* 1: edit->id is back; 0: no deleted one has this name. */
static int bring_back(struct mk_call *call, struct mk_conn *conn, struct edit *edit)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = edit->noun->restore ? mk_prepare(call, conn, edit->noun->restore, &stmt) : 0;

	if (r < 0 || !edit->noun->restore)
		return r;
	mk_bind_int(stmt, 1, edit->project_id);
	mk_bind_text(stmt, 2, edit->name);
	r = mk_step(call, stmt);
	if (r <= 0)
		return r;
	edit->id = mk_col_int(stmt, 0);
	mk_rewind(stmt);
	r = edit->noun->renamed(call, conn, edit->id);
	if (r == 0 && edit->project_id)
		r = mk_project_touch(call, conn, edit->project_id, true);
	return r < 0 ? r : 1;
}

static int insert(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	struct edit *edit = arg;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = bring_back(call, conn, edit);

	if (r != 0)
		return r < 0 ? r : 0;
	r = mk_prepare(call, conn, edit->noun->make, &stmt);
	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, edit->project_id);
	mk_bind_text(stmt, 2, edit->name);
	mk_bind_int(stmt, 3, mk_now_real());
	r = exec_named(call, stmt, edit);
	if (r < 0)
		return r;
	if (!mk_rows_changed(conn))
		return mk_fail(call, ENOENT, "project %lld: there is none",
			       (long long)edit->project_id);
	edit->id = mk_last_id(conn);
	r = mk_db_changed(call, conn, edit->noun->what, edit->id);
	if (r == 0 && edit->project_id)
		r = mk_project_touch(call, conn, edit->project_id, false);
	return r;
}

int mk_noun_insert(struct mk_call *call, struct mk_conn *conn, const struct mk_noun *noun,
		   int64_t project_id, const char *name, int64_t *ret_id)
{
	struct edit edit = {.noun = noun, .project_id = project_id, .name = name};
	int r = mk_domain_name(call, noun->what, name);

	if (r == 0)
		r = insert(call, conn, &edit);
	if (r == 0)
		*ret_id = edit.id;
	return r;
}

int mk_noun_make(struct mk_call *call, struct mantik *m, const struct mk_noun *noun,
		 int64_t project_id, const char *name, int64_t *ret_id)
{
	struct edit edit = {.noun = noun, .project_id = project_id, .name = name};
	int r = mk_domain_name(call, noun->what, name);

	if (r == 0)
		r = mk_domain_write(call, m, MK_DURABLE, insert, &edit);
	if (r == 0)
		*ret_id = edit.id;
	return r;
}

/* ENOENT, or fills edit->project_id: 1 something was put in since mkdir, 0 nothing was. */
static int look(struct mk_call *call, struct mk_conn *conn, struct edit *edit)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_domain_need(call, conn, edit->noun->look, edit->noun->what, edit->id, &stmt);

	if (r < 0)
		return r;
	edit->project_id = mk_col_int(stmt, 1);
	return mk_col_int(stmt, 0) != 0;
}

static int remove_untouched(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	struct edit *edit = arg;
	int r = look(call, conn, edit);

	if (r < 0)
		return r;
	if (r > 0)
		return mk_fail(call, ENOTEMPTY, "%s", edit->noun->not_empty);
	r = mk_domain_run(call, conn, edit->noun->remove, edit->id, 0);
	if (r == 0)
		r = mk_db_changed(call, conn, edit->noun->what, edit->id);
	if (r == 0 && edit->project_id)
		r = mk_project_touch(call, conn, edit->project_id, false);
	return r;
}

int mk_noun_remove(struct mk_call *call, struct mantik *m, const struct mk_noun *noun, int64_t id)
{
	struct edit edit = {.noun = noun, .id = id};

	return mk_domain_write(call, m, MK_DURABLE, remove_untouched, &edit);
}

static int rename_row(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	struct edit *edit = arg;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = look(call, conn, edit);

	if (r < 0)
		return r;
	r = mk_prepare(call, conn, edit->noun->rename, &stmt);
	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, edit->id);
	mk_bind_text(stmt, 2, edit->name);
	mk_bind_int(stmt, 3, mk_now_real());
	r = exec_named(call, stmt, edit);
	if (r == 0)
		r = edit->noun->renamed(call, conn, edit->id);
	if (r == 0 && edit->project_id)
		r = mk_project_touch(call, conn, edit->project_id, edit->noun->in_tables);
	return r;
}

int mk_noun_rename(struct mk_call *call, struct mantik *m, const struct mk_noun *noun, int64_t id,
		   const char *name)
{
	struct edit edit = {.noun = noun, .id = id, .name = name};
	int r = mk_domain_name(call, noun->what, name);

	return r < 0 ? r : mk_domain_write(call, m, MK_DURABLE, rename_row, &edit);
}
