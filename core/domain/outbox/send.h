/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MK_OUTBOX_SEND_H
#define MK_OUTBOX_SEND_H

#include "domain/outbox/outbox.h"
#include "domain/outbox/upload.h"

/* What a sender has seen of its store, and need not ask for again soon; {} at first. */
struct mk_out_seen {
	int64_t same_until; /* mono: it was the server we know */
	struct mk_upload_seen files;
};
void mk_out_seen_free(struct mk_out_seen *seen);

/*
 * Sends all that can be sent now of a queue of the outbox; the call may wait for its store. 0: nothing
 * is left that could be sent before *ret_due (ns, realtime; 0: nothing is left). EHOSTUNREACH,
 * ENOKEY, EKEYEXPIRED, ETIMEDOUT …: the store does not answer; everything stays.
 */
int mk_outbox_send(struct mk_call *call, struct mantik *m, const struct mk_out_queue *queue,
		   struct mk_out_seen *seen, int64_t *ret_due) _must_check_;

#endif
