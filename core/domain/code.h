/* SPDX-License-Identifier: Apache-2.0 */
/* What code.c and repository.c share, and what ends with the platform. */
#ifndef MK_CODE_H
#define MK_CODE_H

#include <mantik/code.h>

/* The hidden repository of a project whose mirror keeps `code: path` snapshots. */
int mk_repository_ensure_hidden(struct mk_call *call, struct mantik *m, int64_t project_id,
				int64_t *ret_id) _must_check_;
/* For mantik_close(), before the database: ends fetches under way. */
void mk_code_close(struct mantik *m);

#endif
