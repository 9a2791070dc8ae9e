/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The outbox: what was written here to tracking stores and is not there yet. A row is put in the
 * transaction that changes what is shown (write.c), sent by mantikd in order per object
 * (engine/outbox.c), and ends in one of two transactions: done or refused (change.c).
 *
 *	put        the mirror shows it, with the row as the reason
 *	asked      it is being sent: from now on only the store knows whether it has it
 *	done       the row is gone. The mirror is what the store will say; what it said before
 *	           (`written`) is not stored any more
 *	refused    the row is gone, the mirror shows what was there before the row. A file whose
 *	           writer was told that it is safe stays, and so does its row (`refused`): tried
 *	           again a day later, until somebody gives it up
 *
 * While there is a row, whatever the store says is mirrored with the row on top of it (overlay), so
 * a refresh never takes back what is unsent. Points that are unsent are not in `points`: readers
 * see them behind, and a history that already holds some of them is stored without (subtract).
 */
#ifndef MK_OUTBOX_H
#define MK_OUTBOX_H

#include <mantik/outbox.h>
#include <mantik/run.h>

#include "core.h"

enum mk_out_verb { /* in databases: append only */
	MK_OUT_POINT,
	MK_OUT_PARAM,
	MK_OUT_TAG,
	MK_OUT_TAG_REMOVE,
	MK_OUT_DELETE,
	MK_OUT_RESTORE,
	MK_OUT_EXPERIMENT_MAKE,
	MK_OUT_EXPERIMENT_RENAME,
	MK_OUT_EXPERIMENT_TAG,
	MK_OUT_FILE, /* object "file:<id of uploads>" */
	MK_OUT_ALIAS_SET, /* object "model:<id>", and the next */
	MK_OUT_ALIAS_REMOVE,
	MK_OUT_MODEL_DESCRIBE,
	MK_OUT_VERSION_DESCRIBE,
	MK_OUT_EXPERIMENT_DELETE, /* with its runs; a value: only if it has none */
	MK_OUT_EXPERIMENT_RESTORE,
	MK_OUT_VERBS,
};

enum mk_out_noun { MK_OUT_OF_RUN, MK_OUT_OF_EXPERIMENT, MK_OUT_OF_MODEL, MK_OUT_OF_FILE };

struct mk_out {
	int64_t id, project_id;
	enum mk_out_verb verb;
	char *object;	 /* "run:12", "experiment:3", "model:1", "file:7" */
	int64_t of;	 /* … the number of it */
	char *remote_id; /* … the store's name of it; NULL: it has none yet */
	char *key;
	char *value, *before; /* NULL: none */
	struct mk_point point;
	int64_t created; /* ns, realtime, as the next two */
	int64_t wanted;	 /* 0: nobody waits */
	int64_t asked;	 /* 0: it was never sent */
	int tries;
	int refused; /* a file that was, with nobody waiting: the errno */
};
/* Rows of one object and one verb, in order. */
struct mk_outs {
	struct mk_out *v;
	size_t n;
};
void mk_outs_free(struct mk_outs *rows);
#define _cleanup_outs_ _cleanup_(mk_outs_free)

enum mk_out_noun mk_out_noun(const struct mk_out *row);

/* In the transaction that changes what is shown. Sets row->id; one that is wanted is added to what
 * the call waits for. */
int mk_outbox_put(struct mk_call *call, struct mk_conn *conn, struct mk_out *row) _must_check_;
/* One that a person writes: durable, and its answer is waited for. row: what fn puts, or a part of it
 * (its `wanted` is set). 1: written. */
int mk_outbox_write(struct mk_call *call, struct mantik *m, enum mk_durable durable, mk_db_fn *fn,
		    void *arg, struct mk_out *row) _must_check_;
/* All rows of an object, a key and a verb, in order. */
int mk_outbox_rows(struct mk_call *call, struct mk_conn *conn, const char *object, const char *key,
		   enum mk_out_verb verb, struct mk_outs *rows) _must_check_;
/* How much of a run is unsent, its files as well. */
int mk_outbox_count(struct mk_call *call, struct mantik *m, int64_t run_id,
		    int64_t *ret) _must_check_;
/* 1: something of the project is, and does not rest. */
int mk_outbox_any(struct mk_call *call, struct mantik *m, int64_t project_id) _must_check_;

/* --- the mirror (change.c), inside transactions ------------------------------------- */

/* What the store said of an object has just been mirrored: the unsent rows again on top. */
int mk_outbox_overlay(struct mk_call *call, struct mk_conn *conn, const char *noun,
		      int64_t id) _must_check_;
/* Takes out of a history the points that were sent and are not yet known to be there. */
int mk_outbox_subtract(struct mk_call *call, struct mk_conn *conn, int64_t run_id, const char *key,
		       struct mk_point *points, size_t *n) _must_check_;
/* The same point, as far as a store can tell: times in ms, infinities as the largest number. */
bool mk_out_same(const struct mk_point *a, const struct mk_point *b);
/* Applies a row to what is shown; not for points. */
int mk_outbox_apply(struct mk_call *call, struct mk_conn *conn, const struct mk_out *row) _must_check_;

/* --- the sender ---------------------------------------------------------------------------- */

/* What is sent side by side: the files of a project, which may take long, and everything else. */
struct mk_out_queue {
	int64_t project_id;
	bool files;
};
/* Those that have rows to be sent, now or soon: not those that were refused and rest. */
int mk_outbox_queues(struct mk_call *call, struct mantik *m, struct mk_out_queue **ret,
		     size_t *ret_n) _must_check_;
/*
 * What is next of a queue: rows of one object and, but for points (at most `most`, of one key if
 * `one_key`), one. 0 rows: nothing now; *ret_due: when there is (realtime), 0 never.
 */
int mk_outbox_next(struct mk_call *call, struct mantik *m, const struct mk_out_queue *queue,
		   size_t most, bool one_key, struct mk_outs *ret, int64_t *ret_due) _must_check_;
/* About to be sent: 1, or 0 when somebody has taken it back. Or it turned out that nothing was sent. */
int mk_outbox_asked(struct mk_call *call, struct mantik *m, const struct mk_outs *rows,
		    bool asked) _must_check_;
/* Taken. remote_id: of what was made. Frees nothing. */
int mk_outbox_done(struct mk_call *call, struct mantik *m, const struct mk_out *rows, size_t n,
		   const char *remote_id) _must_check_;
/* Refused with the error. A file of which the bytes are here is kept for its writer. */
int mk_outbox_refused(struct mk_call *call, struct mantik *m, const struct mk_outs *rows,
		      const struct mk_error *error) _must_check_;
/* No answer: this object again at try_at. words: why; NULL as it was. */
int mk_outbox_later(struct mk_call *call, struct mantik *m, const struct mk_out *row,
		    int64_t try_at, const char *words) _must_check_;
/* The store does not answer at all. done and refused say that it does. */
int mk_outbox_away(struct mk_call *call, struct mantik *m, int64_t project_id,
		   const char *text) _must_check_;
/* Refusals nobody came for become errors. */
int mk_outbox_unclaimed(struct mk_call *call, struct mantik *m) _must_check_;
/* The points we have of a key that the store is known to have: how many, and the last. */
int mk_outbox_known(struct mk_call *call, struct mantik *m, int64_t run_id, const char *key,
		    int64_t *ret_n, struct mk_point *ret_last) _must_check_;

/* --- what is written (write.c): 1 it is a store's and was written, 0 it is ours ------- */

int mk_store_value_set(struct mk_call *call, struct mantik *m, int64_t run_id,
		       enum mk_value_kind kind, const char *key, const char *value) _must_check_;
int mk_store_tag_remove(struct mk_call *call, struct mantik *m, int64_t run_id,
			const char *key) _must_check_;
struct mk_logged;
int mk_store_log(struct mk_call *call, struct mantik *m, int64_t run_id, const char *key,
		 const struct mk_logged *points, size_t n) _must_check_;
int mk_store_run_move(struct mk_call *call, struct mantik *m, int64_t run_id,
		      bool deleted) _must_check_;
int mk_store_experiment_make(struct mk_call *call, struct mantik *m, int64_t project_id,
			     const char *name, int64_t *ret_id) _must_check_;
int mk_store_experiment_rename(struct mk_call *call, struct mantik *m, int64_t id,
			       const char *name) _must_check_;
/* With its runs. empty: only one that no run and no tag was put in. */
int mk_store_experiment_move(struct mk_call *call, struct mantik *m, int64_t id, bool deleted,
			     bool empty) _must_check_;
/* Several at once; the pairs that are the same already change nothing. */
int mk_store_experiment_tags(struct mk_call *call, struct mantik *m, int64_t id,
			     const struct mk_pairs *tags) _must_check_;

#endif
