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

#endif
