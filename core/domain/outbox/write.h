/* SPDX-License-Identifier: Apache-2.0 */
/* What the verbs of a store's runs and experiments share: write.c, experiment.c. */
#ifndef MK_OUTBOX_WRITE_H
#define MK_OUTBOX_WRITE_H

#include "domain/outbox/outbox.h"

struct mk_out_edit {
	int64_t id; /* of the run or experiment */
	struct mk_out row;
	const struct mk_logged *points;
	size_t n;
	bool remove;
	const struct mk_pairs *pairs;
	int64_t made;
};

/* 1: sql finds a row of `id`: it is a store's. */
int mk_out_is_store(struct mk_call *call, struct mantik *m, const char *sql,
		    int64_t id) _must_check_;
/* EROFS: the store is only read. Else fn in a transaction, and mantikd is told: 1. */
int mk_out_write(struct mk_call *call, struct mantik *m, enum mk_durable durable, mk_db_fn *fn,
		 struct mk_out_edit *edit) _must_check_;
/* In fn: the row is put, and what is shown changes. */
int mk_out_put(struct mk_call *call, struct mk_conn *conn, struct mk_out *row) _must_check_;

#endif
