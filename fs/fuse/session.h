/* SPDX-License-Identifier: Apache-2.0 */
/* A mounted tree from mount to unmount. */
#ifndef FS_FUSE_SESSION_H
#define FS_FUSE_SESSION_H

#include "options.h"

#include "tree/tree.h"

struct session_plan {
	const struct fs_options *options;
	const char *mountpoint; /* resolved */
	struct mantik *m;
	struct fs_tree *tree;
	int64_t metadata_timeout; /* ns */
	void (*ready)(void *arg); /* called once, in some thread, when the mount works */
	void *arg;
};

/*
 * Mounts, serves until it is unmounted or SIGTERM, SIGINT or SIGHUP comes, unmounts. Called by the
 * main thread; signals must be blocked and no other thread running. *ret_clean: nothing uses tree
 * and m any more; false when a thread is stuck in something that cannot be cancelled: then exit
 * without freeing them.
 */
int session_serve(struct mk_call *call, const struct session_plan *plan, bool *ret_clean)
	_must_check_;

#endif
