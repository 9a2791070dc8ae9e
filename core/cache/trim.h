/* SPDX-License-Identifier: Apache-2.0 */
/* Keeping <cache>/blobs within the option cache_limit: files of commits (40 hex digits, written
 * whole) and remote files (64 hex digits, core/cache/blobs.h) share it. */
#ifndef MK_TRIM_H
#define MK_TRIM_H

#include <stdbool.h>
#include <stdint.h>

/* Makes room for `more` bytes: what was not used for longest goes, what is open stays. What cannot
 * be listed or removed is left: a cache that is too big harms less than a refused read. limit 0:
 * none. Local disk only. */
void mk_cache_trim(const char *dir, int64_t limit, int64_t more);
/* Says of a remote file's descriptor that it is in use, as long as it is open. false: it was
 * removed meanwhile, open it again. */
bool mk_cache_hold(int fd);

#endif
