/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Artifacts of ours as the tracking API names and changes them. A path of the API is
 *
 *	<experiment>/<run>/artifacts[/<path>]
 *	<experiment>/models/<m-…>/artifacts[/<path>]
 *
 * (what stands before the run is for people to read, and may be several names where the experiment
 * has an artifact_location) and `mlflow-artifacts:/` before it makes it a URI. Names are kept to the
 * byte.
 *
 * A file comes into being in <data>/incoming and is renamed when it is complete and on the disk, so
 * that whoever looks sees the old one, or the new one, and a kill leaves nothing of it: a file
 * without a name where the file system can do that, else one that the next upload takes away.
 */
#ifndef MK_ARTIFACT_H
#define MK_ARTIFACT_H

#include "domain/kept.h"

#define MK_ARTIFACT_SCHEME "mlflow-artifacts:/"

struct mk_artifact {
	struct mk_kept kept;
	char *path; /* below kept; "" is the directory itself */
	char *uri;  /* of kept: mlflow-artifacts:/… */
	char *id;   /* uid of the run, or id of the model */
	int64_t project_id;
	bool model;
	bool deleted; /* softly: may be read, not written */
};
void mk_artifact_free(struct mk_artifact *artifact);
#define _cleanup_artifact_ _cleanup_(mk_artifact_free)

/*
 * By a path of the API. project_id 0: of any project of ours. ENOENT: there is no such run or model
 * (not: no such file). EOPNOTSUPP: its experiment has them elsewhere (s3://…). EINVAL: no path of
 * this form, or one with a part that is empty, `.` or `..`, too long or no UTF-8.
 */
int mk_artifact_find(struct mk_call *call, struct mantik *m, int64_t project_id, const char *path,
		     struct mk_artifact *ret) _must_check_;
/* The same by the uid of a run, or the id of a logged model, and a path below its artifacts. */
int mk_artifact_of_run(struct mk_call *call, struct mantik *m, int64_t project_id, const char *uid,
		       const char *path, struct mk_artifact *ret) _must_check_;
int mk_artifact_of_model(struct mk_call *call, struct mantik *m, int64_t project_id,
			 const char *model_id, const char *path,
			 struct mk_artifact *ret) _must_check_;

/* A path below artifacts: EINVAL as above. */
int mk_artifact_check(struct mk_call *call, const char *path) _must_check_;
/* The directory a URI of ours means: mlflow-artifacts:/… as above, runs:/<uid>/…. EXDEV: its files
 * are not here; ENOENT, EINVAL as mk_artifact_find(). */
int mk_artifact_of_uri(struct mk_call *call, struct mantik *m, const char *uri,
		       struct mk_kept *ret) _must_check_;

/* One file. EROFS: the run or model is deleted; EINVAL: the path names no file; ENOSPC (before a
 * byte was sent, when length is known; -1 is not), EFBIG. */
struct mk_incoming;
int mk_incoming_begin(struct mk_call *call, struct mantik *m, const struct mk_artifact *artifact,
		      int64_t length, struct mk_incoming **ret) _must_check_;
int mk_incoming_write(struct mk_call *call, struct mk_incoming *upload, const void *data,
		      size_t len) _must_check_;
/* Frees it. keep: the file is there, on the disk, under its name, in place of an older one. EISDIR,
 * ENOTDIR: a directory has this name, or a file that of a directory. Else nothing is left. */
int mk_incoming_end(struct mk_call *call, struct mk_incoming *upload, bool keep) _must_check_;

/* A file, or a directory with all in it, at once for whoever looks. Not there: 0. EROFS. */
int mk_artifact_remove(struct mk_call *call, struct mantik *m,
		       const struct mk_artifact *artifact) _must_check_;

#endif
