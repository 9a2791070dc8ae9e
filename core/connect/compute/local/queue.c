/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What there is to see of the local queue: one queue, `default`, whose waiting jobs are the
 * accepted submissions in the journal and whose slots are the option `slots`. Whose turn it is
 * decides the engine (engine/submit.c); here it is only told. Any thread.
 */
#include "connect/compute/local/local.h"

int mk_local_queues(struct mk_call *call, struct mk_site *site, mk_queue_emit *emit, void *arg)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, site->m->db,
			   "SELECT coalesce(sum(i.step BETWEEN 1 AND 5), 0)," /* until ENDED */
			   " coalesce(sum(i.step = 0), 0)"
			   " FROM intents i JOIN runs r ON r.id = i.run_id"
			   " WHERE i.verb = 'submit' AND r.site = ?1",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, site->name);
	r = mk_step(call, stmt);
	if (r < 0)
		return r;

	struct mk_queue queue = {
		.name = "default",
		.slots = site->slots,
		.used = mk_col_int(stmt, 0),
		.waiting = mk_col_int(stmt, 1),
	};

	return emit(arg, &queue);
}

int mk_local_list(struct mk_call *call, struct mk_site *site, mk_job_emit *emit, void *arg)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(
		call, site->m->db,
		"SELECT r.uid, r.job_id, r.status, r.raw_status, r.reason, r.submitted, r.started"
		" FROM runs r WHERE r.status < 2 AND r.site = ?1"
		" AND r.remote_id IS NULL ORDER BY r.id",
		&stmt);

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, site->name);
	while ((r = mk_step(call, stmt)) > 0) {
		struct mk_job job = {
			.id = mk_col_dup(stmt, 1),
			.status = (enum mk_status)mk_col_int(stmt, 2),
			.raw_status = mk_col_dup(stmt, 3),
			.reason = mk_col_dup(stmt, 4),
			.queue = mk_strdup("default"),
			.exit_code = -1,
			.submitted = mk_col_int(stmt, 5),
			.started = mk_col_int(stmt, 6),
		};

		r = emit(arg, mk_col_text(stmt, 0), &job);
		mk_job_free(&job);
		if (r)
			return r;
	}
	return r;
}
