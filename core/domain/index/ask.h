/* SPDX-License-Identifier: Apache-2.0 */
/* How the parts of the index put a question (index.c). */
#ifndef MK_INDEX_ASK_H
#define MK_INDEX_ASK_H

#include "domain/index/fly.h"

/* Takes the connection. */
struct mk_question *mk_index_question(struct mantik *m, int64_t project_id, char **connection,
				      const char *what);
/* Asks and waits; `seen`: there is something to show when it cannot be asked. Takes the question. */
int mk_index_ask(struct mk_call *call, struct mantik *m, struct mk_question *q, bool seen,
		 mk_flight_fn *fn) _must_check_;
/* 1 the mark of this name is newer than `fresh`, 0 not. *ret_seen: there is one. */
int mk_index_is_fresh(struct mk_call *call, struct mantik *m, int64_t project_id, const char *what,
		      int64_t fresh, bool *ret_seen) _must_check_;
/* … for lists: 30 s. */
extern const int64_t mk_fresh_list;

#endif
