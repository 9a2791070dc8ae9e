/* SPDX-License-Identifier: Apache-2.0 */
/* The upper 128 bits of 10^k, rounded up, for k from -292 on; made by powers.py. */
#ifndef MK_POWERS_H
#define MK_POWERS_H

#include <stdint.h>

extern const uint64_t mk_powers_of_ten[][2];

#endif
