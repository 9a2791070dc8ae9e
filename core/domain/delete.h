/* SPDX-License-Identifier: Apache-2.0 */
/* Inside a transaction: what is deleted and holds a run that is not comes back. */
#ifndef MK_DELETE_H
#define MK_DELETE_H

#include "core.h"

/* Of one experiment (0: all) of the project, and the project itself. */
int mk_deleted_back(struct mk_call *call, struct mk_conn *conn, int64_t project_id,
		    int64_t experiment_id) _must_check_;

#endif
