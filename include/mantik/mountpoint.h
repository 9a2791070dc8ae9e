/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mount points of mantikfs, looked at from outside. Nothing here steps into a mount in this
 * process: one whose daemon hangs would hold us in an uninterruptible sleep.
 */
#ifndef MANTIK_MOUNTPOINT_H
#define MANTIK_MOUNTPOINT_H

#include <stdbool.h>

#include <mantik/call.h>

enum mk_mount_state {
	MK_MOUNT_NONE,	 /* nothing is mounted there */
	MK_MOUNT_LIVE,	 /* a mantikfs that answers */
	MK_MOUNT_STALE,	 /* a mantikfs whose daemon is gone (ENOTCONN) */
	MK_MOUNT_SILENT, /* a mantikfs that did not answer for two seconds */
	MK_MOUNT_OTHER,	 /* another file system is mounted there */
};

/* The absolute path of a mount point without links; the mount itself is not entered. ENOENT of the
 * directory above it; EXDEV: it lies inside a mantikfs mount. */
int mk_mount_resolve(struct mk_call *call, const char *path, char **ret) _must_check_;
/* path: from mk_mount_resolve. Asks a mantikfs whether it answers, by a child, for 2 s at most. */
int mk_mount_look(struct mk_call *call, const char *path, enum mk_mount_state *ret) _must_check_;
/* The minor number of the device of what is mounted there (major 0). ENOENT: nothing is. */
int mk_mount_device(struct mk_call *call, const char *path, unsigned *ret) _must_check_;
/* Unmounts: as root by itself, else with fusermount3. lazy: though it is in use or stale. EBUSY;
 * EINVAL: nothing is mounted there; EPERM. */
int mk_mount_remove(struct mk_call *call, const char *path, bool lazy) _must_check_;
/* Takes a stale mount away. 1: there was one, 0: there was none. */
int mk_mount_clean(struct mk_call *call, const char *path) _must_check_;

#endif
