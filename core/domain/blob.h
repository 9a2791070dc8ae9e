/* SPDX-License-Identifier: Apache-2.0 */
/* Making sources of bytes, for the nouns of core/domain. */
#ifndef MK_BLOB_H
#define MK_BLOB_H

#include <mantik/blob.h>

/* All take over what they are given. */
struct mk_blob *mk_blob_of_memory(char *data, size_t len);
/* `growing`: may get longer, its size is asked for each time; else it is `size` for good. */
struct mk_blob *mk_blob_of_fd(int fd, int64_t size, bool growing);
struct mk_cached;
/* Of a remote file; the bytes come when they are read. live: another one may open another version. */
struct mk_blob *mk_blob_of_cached(struct mk_cached *cached, int64_t mtime, bool live);

#endif
