/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What kind of file system a path lies on. Only those known to be local count as local: WAL needs
 * memory shared by all who open the file, which no network file system gives.
 */
#ifndef MK_FSTYPE_H
#define MK_FSTYPE_H

#include <mantik/call.h>

struct mk_fstype {
	const char *name; /* "ext4", "nfs"; "0x1234abcd" is "unknown" */
	long magic;
	bool is_local;
};

/* May hang where the file system does. */
int mk_fstype(struct mk_call *call, const char *path, struct mk_fstype *ret) _must_check_;
/* By statfs's f_type, for tests and doctor. */
struct mk_fstype mk_fstype_of(long magic);

#endif
