/* SPDX-License-Identifier: Apache-2.0 */
/* What the files share that change the mirror for a row of the outbox, and take it back: change.c,
 * points.c, refused.c, unsent.c, the models' and the index. All of it inside transactions. */
#ifndef MK_OUTBOX_CHANGE_H
#define MK_OUTBOX_CHANGE_H

#include "domain/outbox/outbox.h"

bool mk_out_is_run(const struct mk_out *row);
/* Has no row among runs and experiments. */
bool mk_out_is_apart(const struct mk_out *row);
/* What shows the row's object is another one now. */
int mk_out_touch(struct mk_call *call, struct mk_conn *conn, const struct mk_out *row) _must_check_;
/* The store has said something of it: what it said until now is older. */
int mk_out_answered(struct mk_call *call, struct mk_conn *conn,
		    const struct mk_out *row) _must_check_;

/* value: NULL none */
int mk_out_set_pair(struct mk_call *call, struct mk_conn *conn, const struct mk_out *row,
		    const char *value) _must_check_;
/* A row is taken back: 1 a later unsent change of the same thing is on top, and will not find this one
 * below it; 0 there is none, what was before has to be there again. */
int mk_out_is_covered(struct mk_call *call, struct mk_conn *conn, const struct mk_out *row) _must_check_;
int mk_out_set_name(struct mk_call *call, struct mk_conn *conn, int64_t id,
		    const char *name) _must_check_;
/* A run. time: 0 it is not deleted */
int mk_out_set_deleted(struct mk_call *call, struct mk_conn *conn, int64_t id,
		       int64_t time) _must_check_;

/* refused.c: the file that the row was written to, /projects/p/runs/r.12345678/tags/key. */
int mk_out_path(struct mk_call *call, struct mk_conn *conn, const struct mk_out *row,
		struct mk_buf *ret) _must_check_;
/* Rows of one object and verb are no more, those of them that are still there: what was there before
 * them is shown. The error goes to .mantik/errors, or (`asker`) is kept for who waits. */
int mk_out_undo(struct mk_call *call, struct mk_conn *conn, const struct mk_outs *rows,
		const struct mk_error *error, bool asker) _must_check_;
/* The store is asked anew, whatever it said last. */
int mk_out_forget_said(struct mk_call *call, struct mk_conn *conn,
		       const struct mk_out *row) _must_check_;

/* points.c: the last point of each metric, by all that is known here. */
int mk_out_points_last(struct mk_call *call, struct mk_conn *conn, int64_t run_id) _must_check_;
int mk_out_point_taken(struct mk_call *call, struct mk_conn *conn,
		       const struct mk_out *row) _must_check_;
int mk_out_point_refused(struct mk_call *call, struct mk_conn *conn,
			 const struct mk_out *row) _must_check_;

#endif
