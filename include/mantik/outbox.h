/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing to a project that shows a tracking store. A verb (mk_run_value_set, mk_run_delete,
 * mk_experiment_make …) changes what is shown here and puts a row of intent into the outbox, in one
 * durable transaction; no verb waits. mantikd sends the rows, in order for each run. Who wrote may
 * then wait a moment for what the store says:
 *
 *	write   ->  row + what is shown here, durable  ->  mantikd  ->  the store
 *	   |                                                              |
 *	mk_outbox_wait() <---- taken: 0        refused: its words; what was there is back
 *	                 <---- no answer: 0; the row stays until it is answered. Refused later: what
 *	                       was there is back, and .mantik/errors tells
 */
#ifndef MANTIK_OUTBOX_H
#define MANTIK_OUTBOX_H

#include <mantik/mantik.h>

/*
 * At the end of an operation that may have written (call->unsent tells): 0, or what the store
 * refused it with. Waits at most `submit_wait`, and not at all for a store that is known not to
 * answer; a call that may wait for anything does so in here, any other gets MK_PARK: run again,
 * the operation comes straight back here and repeats nothing. An interrupted one is 0: what was
 * written stays.
 */
int mk_outbox_wait(struct mk_call *call, struct mantik *m) _must_check_;
static inline bool mk_outbox_waits(const struct mk_call *call)
{
	return call->unsent.first != 0;
}

/* What waits, by the file it was written to. */
struct mk_unsent {
	const char *path; /* /projects/p/runs/r.12345678/tags/key */
	int64_t n;	  /* how much: points */
	int64_t since;	  /* ns, realtime */
	int64_t tries;	  /* without an answer */
	const char *text; /* why it is not there yet, as far as somebody said so; or NULL */
	bool refused;	  /* a file, after its close: it is kept, and tried once a day */
};
typedef int mk_unsent_emit(void *arg, const struct mk_unsent *unsent);
/* Of path and below it (NULL: all), oldest first. Valid during emit. */
int mk_unsent_list(struct mk_call *call, struct mantik *m, const char *path, mk_unsent_emit *emit,
		   void *arg) _must_check_;
/* .mantik/unsent: a table of since path count tries reason. */
int mk_unsent_table(struct mk_call *call, struct mantik *m, struct mk_buf *ret) _must_check_;
/*
 * Gives up what was written to path and below it and is not sent: what was there before is shown
 * again, .mantik/errors tells, and the store is asked anew (it may have taken what it did not
 * answer). Files that wait are lost. How many paths; ENOENT none.
 */
int mk_unsent_discard(struct mk_call *call, struct mantik *m, const char *path) _must_check_;

#endif
