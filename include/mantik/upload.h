/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files on their way to a tracking store: what is copied into artifacts/ of a run of one.
 *
 *	mk_upload_check  may a file of this name be put there?        before a byte is copied
 *	mk_staged_*      the bytes, in a file of our own              nobody else sees them
 *	mk_upload_put    durable: the file and the intent to send it  mantikd sends it
 *
 * A staged file has no name until it is put: what is not put is gone with its last descriptor,
 * however its writer ends. A put one is an artifact at once: it is listed and read from here until
 * the store has it. The store's answer is waited for up to `submit_wait`; what is refused within is
 * taken back and is the error of the put, what is refused later is taken back and recorded.
 */
#ifndef MANTIK_UPLOAD_H
#define MANTIK_UPLOAD_H

#include <mantik/mantik.h>

/*
 * path: below artifacts/; NULL: any. 0, or why not: EPERM a run of ours, EINVAL a name that is another one at
 * the store, EOPNOTSUPP the store takes no files, EEXIST (artifacts are kept as they were logged),
 * ENOTDIR below a file, EROFS. MK_PUNT: to list the directory.
 */
int mk_upload_check(struct mk_call *call, struct mantik *m, int64_t run_id,
		    const char *path) _must_check_;
/* Is it a run of a store that takes files at all? 1 yes, 0 one of ours, or it cannot. Never waits. */
int mk_upload_takes(struct mk_call *call, struct mantik *m, int64_t run_id) _must_check_;

struct mk_staged; /* used by several threads */
struct mk_staged_stat {
	int64_t size, mtime; /* ns */
};
int mk_staged_new(struct mk_call *call, struct mantik *m, struct mk_staged **ret) _must_check_;
void mk_staged_free(struct mk_staged *staged); /* NULL is fine */
/* Lets go of its bytes now, whoever still knows it: it is empty from then on. */
void mk_staged_empty(struct mk_staged *staged);
/* ENOSPC already while there is room for the database. All of len or nothing counts. */
ssize_t mk_staged_write(struct mk_call *call, struct mk_staged *staged, const void *data,
			size_t len, int64_t offset) _must_check_;
ssize_t mk_staged_read(struct mk_call *call, struct mk_staged *staged, void *buf, size_t len,
		       int64_t offset) _must_check_;
int mk_staged_resize(struct mk_call *call, struct mk_staged *staged, int64_t size) _must_check_;
void mk_staged_touch(struct mk_staged *staged, int64_t mtime);
void mk_staged_stat(struct mk_staged *staged, struct mk_staged_stat *ret);

/*
 * What is staged becomes the artifact `path`; it is not changed afterwards. The errors of
 * mk_upload_check(), ENOSPC, EIO. May return MK_PUNT (the disk), MK_PARK (the store's answer):
 * called again with the same arguments it goes on.
 */
int mk_upload_put(struct mk_call *call, struct mantik *m, int64_t run_id, const char *path,
		  struct mk_staged *staged) _must_check_;

#endif
