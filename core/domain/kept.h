/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files of ours on the local disk: what a run left behind or logged, and the files of a model.
 *
 *	<data>/runs/<uid>/artifacts/...
 *	<data>/models/<m-…>/artifacts/...
 *
 * Jobs and clients wrote them, so they are foreign: whatever path is asked, nothing outside the
 * directory is ever opened.
 */
#ifndef MK_KEPT_H
#define MK_KEPT_H

#include <mantik/blob.h>

#include "core.h"

struct mk_kept {
	char *record; /* <data>/runs/<uid> or <data>/models/<m-…>; may not exist yet */
	char *below;  /* "artifacts", or a directory in it */
	char *what;   /* for errors: "run 1a2b3c4d", "model m-1a2b3c4d" */
	int64_t run_id; /* row of the run, 0: a model's */
	bool live;	/* files may still change */
	bool follow;	/* links in it lead on (never out of it); else they are shown as links */
};
void mk_kept_free(struct mk_kept *kept);
#define _cleanup_kept_ _cleanup_(mk_kept_free)

/* By the row of a run. ENOENT. */
int mk_kept_of_run(struct mk_call *call, struct mantik *m, int64_t run_id,
		    struct mk_kept *ret) _must_check_;
/* Of a logged model of ours. */
void mk_kept_of_model(struct mantik *m, const char *model_id, struct mk_kept *ret);
/* A directory in it, or the one it shows when path is "". */
void mk_kept_down(struct mk_kept *kept, const char *path);

/* As mk_run_artifact_list() and its sisters; of what was never written "" is an empty directory. */
int mk_kept_list(struct mk_call *call, const struct mk_kept *kept, const char *path,
		  mk_dirent_emit *emit, void *arg) _must_check_;
int mk_kept_stat(struct mk_call *call, const struct mk_kept *kept, const char *path,
		  struct mk_dirent *ret) _must_check_;
int mk_kept_open(struct mk_call *call, const struct mk_kept *kept, const char *path,
		  struct mk_blob **ret) _must_check_;

/* A descriptor of dir/name, which cannot lead out of dir; with `links` it may go through links.
 * -1 and errno. */
int mk_open_beneath(int dir, const char *name, uint64_t flags, bool links);

#endif
