/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 of bytes in memory, as lower-case hex. */
#ifndef MK_HASH_H
#define MK_HASH_H

#include <stddef.h>

void mk_sha256_hex(const void *data, size_t len, char out[65]);

#endif
