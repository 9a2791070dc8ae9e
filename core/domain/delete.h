/* SPDX-License-Identifier: Apache-2.0 */
/* Inside a transaction: one experiment is deleted or comes back. */
#ifndef MK_DELETE_H
#define MK_DELETE_H

#include "core.h"

/* time: 0 it is not deleted. It alone; one that is deleted keeps the time when it was. */
int mk_experiment_mark(struct mk_call *call, struct mk_conn *conn, int64_t id,
		       int64_t time) _must_check_;
/* It takes its runs along, and brings back all of them, as MLflow's servers do. since: of the deleted
 * ones only those that went then (0: all). */
int mk_experiment_move(struct mk_call *call, struct mk_conn *conn, int64_t id, int64_t time,
		       int64_t since) _must_check_;

/* What is deleted and holds a run that is not comes back: of one experiment (0: all) of the project,
 * and the project itself. */
int mk_deleted_back(struct mk_call *call, struct mk_conn *conn, int64_t project_id,
		    int64_t experiment_id) _must_check_;

#endif
