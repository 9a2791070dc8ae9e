/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why a run that was accepted has not begun. Nobody writes it down, because it changes with every
 * run that ends: who asks gets it from the journal and the queue as they are now. Whose turn it is
 * decides engine/submit.c, by the same three questions.
 */
#include <mantik/run.h>

#include <errno.h>

#include "connect/connect.h"

enum { NAMED = 2 }; /* runs that are told by name */

/* "a, b and 3 more" of rows of a dir, and a status if it is to be told; gives how many there are. */
static int put_names(struct mk_call *call, struct mk_stmt *stmt, bool status, struct mk_buf *ret)
{
	int n = 0, r;

	while ((r = mk_step(call, stmt)) > 0) {
		if (++n > NAMED)
			continue;
		(void)mk_buf_printf(ret, "%s%s", n > 1 ? ", " : "", mk_col_text(stmt, 0));
		if (status)
			(void)mk_buf_printf(ret, " (%s)",
					    mk_status_name((enum mk_status)mk_col_int(stmt, 1)));
	}
	if (n > NAMED)
		(void)mk_buf_printf(ret, " and %d more", n - NAMED);
	return r < 0 ? r : n;
}

/* 1: its turn may come at any time; 0: not, *ret says why if there is anything to say. */
static int may_begin(struct mk_call *call, struct mantik *m, int64_t id, struct mk_buf *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db,
			   "SELECT held, EXISTS (SELECT 1 FROM settings WHERE key = 'queue_paused'"
			   " AND value NOT IN ('', '0')) FROM intents"
			   " WHERE run_id = ?1 AND verb = 'submit' AND step = 0",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	r = mk_step(call, stmt);
	if (r <= 0)
		return r;
	if (mk_col_int(stmt, 1))
		return mk_buf_puts(ret, "the queue is paused");
	return mk_col_int(stmt, 0) ? mk_buf_puts(ret, "is held back") : 1;
}

static int after_others(struct mk_call *call, struct mantik *m, int64_t id, struct mk_buf *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	_cleanup_buf_ struct mk_buf names = MK_BUF(4096);
	int r = mk_db_read(call, m->db,
			   "SELECT o.dir, o.status FROM run_after a JOIN runs o ON o.id = a.other_id"
			   " WHERE a.run_id = ?1 AND o.status != 2 ORDER BY o.id",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	r = put_names(call, stmt, true, &names);
	if (r > 0)
		(void)mk_buf_printf(ret, "waits for %s", mk_buf_text(&names));
	return r < 0 ? r : 0;
}

static int for_a_slot(struct mk_call *call, struct mantik *m, const struct mk_site *site,
		      struct mk_buf *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	_cleanup_buf_ struct mk_buf names = MK_BUF(4096);
	/* From the beginning of the work (STAGING) until the site says that it ended (ENDED). */
	int r = mk_db_read(call, m->db,
			   "SELECT r.dir FROM intents i JOIN runs r ON r.id = i.run_id"
			   " WHERE i.verb = 'submit' AND i.step BETWEEN 1 AND 5 AND r.site = ?1"
			   " ORDER BY i.id",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, site->name);
	r = put_names(call, stmt, false, &names);
	if (r >= site->slots)
		(void)mk_buf_printf(ret, "waits for a slot of %s (%d of %lld taken by %s)",
				    site->name, r, (long long)site->slots, mk_buf_text(&names));
	return r < 0 ? r : 0;
}

static int waits(struct mk_call *call, struct mantik *m, const struct mk_run *run,
		 struct mk_buf *ret)
{
	struct mk_site site = {};
	int r = may_begin(call, m, run->id, ret);

	if (r <= 0)
		return r;
	r = after_others(call, m, run->id, ret);
	if (r < 0 || ret->len)
		return r;
	r = mk_site_open(call, m, run->site, &site);
	if (r == -ENOENT) { /* mantikd will say so */
		mk_error_clear(call);
		return 0;
	}
	if (r == 0 && site.compute->caps.has_slots)
		r = for_a_slot(call, m, &site, ret);
	mk_site_close(&site);
	return r;
}

int mk_run_waits(struct mk_call *call, struct mantik *m, const struct mk_run *run, char **ret)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF(16384);
	int r;

	if (run->status != MK_SCHEDULED || run->remote_id || run->api || run->cancel_asked ||
	    (run->reason && *run->reason))
		return 0;
	r = waits(call, m, run, &text);
	if (r < 0 || !text.len)
		return r;
	*ret = mk_buf_steal(&text);
	return 1;
}
