/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The runs one spec makes: one for each site and each combination of the swept values. Sites
 * outermost, the last key of `sweep:` fastest. Nothing is stored: the i-th run is computed.
 */
#ifndef MK_SWEEP_H
#define MK_SWEEP_H

#include "format/spec.h"

/* EINVAL: more than MK_SPEC_MAX_RUNS. */
int mk_sweep_count(struct mk_call *call, const struct mk_spec *spec, size_t *ret) _must_check_;
/* Parameters (added to ret, `parameters:` first) and site (NULL: not given) of run i. */
int mk_sweep_at(struct mk_call *call, const struct mk_spec *spec, size_t i, struct mk_pairs *ret,
		const struct mk_doc **ret_site) _must_check_;

#endif
