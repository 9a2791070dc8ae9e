/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of the mirror: what a page says becomes rows of our tables, inside a transaction. */
#ifndef MK_INDEX_STORE_H
#define MK_INDEX_STORE_H

#include "core.h"
#include "domain/index/page.h"

/* When a question was answered, and how far. */
struct mk_mark {
	int64_t time; /* ns realtime of the question; 0: never */
	char *value;  /* NULL: none */
};
int mk_mark_get(struct mk_call *call, struct mantik *m, int64_t project_id, const char *what,
		struct mk_mark *ret) _must_check_;
int mk_mark_set(struct mk_call *call, struct mk_conn *conn, int64_t project_id, const char *what,
		int64_t time, const char *value) _must_check_;

/* Experiments of a complete listing: those it does not name are deleted. */
int mk_index_put_experiments(struct mk_call *call, struct mk_conn *conn, int64_t project_id,
			     const struct mk_page *page) _must_check_;
/* The row of a store's experiment: 1, or 0 there is none. */
int mk_index_experiment_id(struct mk_call *call, struct mk_conn *conn, int64_t project_id,
			   const char *remote_id, int64_t *ret) _must_check_;
/* One page of runs; a run of an unknown experiment is left out. site: shown as their site. */
int mk_index_put_runs(struct mk_call *call, struct mk_conn *conn, int64_t project_id,
		      const char *site, const struct mk_page *page) _must_check_;

#endif
