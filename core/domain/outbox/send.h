/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MK_OUTBOX_SEND_H
#define MK_OUTBOX_SEND_H

#include "domain/outbox/outbox.h"

/*
 * Sends all that can be sent now of a queue of the outbox; the call may wait for its store. 0: nothing
 * is left that could be sent before *ret_due (ns, realtime; 0: nothing is left). EHOSTUNREACH,
 * ENOKEY, EKEYEXPIRED, ETIMEDOUT …: the store does not answer; everything stays.
 */
struct mk_upload_seen;
int mk_outbox_send(struct mk_call *call, struct mantik *m, const struct mk_out_queue *queue,
		   struct mk_upload_seen *seen, int64_t *ret_due) _must_check_;

#endif
