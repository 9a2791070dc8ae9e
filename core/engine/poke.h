/* SPDX-License-Identifier: Apache-2.0 */
/* mantikd's doorbell: a datagram socket `mantikd` in the run directory. The datagram says nothing;
 * what there is to do stands in the journal. */
#ifndef MK_POKE_H
#define MK_POKE_H

#include "core.h"

/* mantikd's end: binds it, replacing what a dead one left. Only with the lease held. */
int mk_poke_bind(struct mk_call *call, struct mantik *m, int *ret_fd) _must_check_;
void mk_poke_unbind(struct mantik *m);
/* Rings. ENOENT: nobody is there. */
int mk_poke_ring(struct mantik *m);

#endif
