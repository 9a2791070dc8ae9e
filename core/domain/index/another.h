/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a server is the one whose runs are mirrored here. */
#ifndef MK_INDEX_ANOTHER_H
#define MK_INDEX_ANOTHER_H

#include "core.h"
#include "domain/index/page.h"

/*
 * page: experiments as the store lists them now. 0: the one we know, as far as can be told (stores
 * before MLflow 1.29 do not say when an experiment was made); 1: another, and nothing of ours waits for
 * the one we know; EHOSTUNREACH: another, while something does.
 */
int mk_index_is_another(struct mk_call *call, struct mantik *m, int64_t project_id,
			const char *connection, const struct mk_page *page) _must_check_;
/* Everything mirrored of the project's store goes, a few hundred runs at a time; the project stays.
 * EHOSTUNREACH: something was written for it meanwhile, and what is not gone yet stays. */
int mk_index_forget(struct mk_call *call, struct mantik *m, int64_t project_id) _must_check_;

#endif
