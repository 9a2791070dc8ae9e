/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files of a tracking store: the artifacts of a run, the files of a model it logged, those of a
 * registered model's version. Directories are mirrored one by one as they are looked at; bytes go
 * through core/cache/blobs.h.
 *
 *	who asks                      what is fresh enough           else, at most
 *	a directory, a name in it     3 s where things still change, 1 request (a page)
 *	                              30 s elsewhere
 *	a size the list did not tell  as the directory               1 request
 *
 * As in index.h: one asks for all, MK_PUNT for the lane of the connection, what was listed before
 * is there when the store does not answer.
 */
#ifndef MK_INDEX_FILES_H
#define MK_INDEX_FILES_H

#include <mantik/blob.h>

#include "connect/tracking/tracking.h"
#include "core.h"

/* Where files are. */
struct mk_place {
	int64_t project_id;
	char *connection;
	enum mk_t_root root;
	char *id;      /* the store's: of the run, of the model, name of the registered model */
	char *version; /* MK_T_VERSION, else NULL */
	char *uri;     /* MK_T_RUN: its artifact_uri; NULL */
	char *key;     /* all that in one word: `run/<id>`, `model/<id>`, `version/<name>/<n>` */
	int64_t mtime; /* of the files: the store tells none */
	bool live;     /* they may change */
};
void mk_place_free(struct mk_place *place);
#define _cleanup_place_ _cleanup_(mk_place_free)

/* 1: a run of a store; 0: one of ours, or none. */
int mk_place_of_run(struct mk_call *call, struct mantik *m, int64_t run_id,
		    struct mk_place *ret) _must_check_;
/* By their rows. ENOENT. */
int mk_place_of_run_model(struct mk_call *call, struct mantik *m, int64_t run_id,
			  const char *name, struct mk_place *ret) _must_check_;
int mk_place_of_version(struct mk_call *call, struct mantik *m, int64_t version_id,
			struct mk_place *ret) _must_check_;

/* As mk_run_artifact_list() and its sisters. The name of an entry is the end of path. */
int mk_index_files_list(struct mk_call *call, struct mantik *m, const struct mk_place *place,
			const char *path, mk_dirent_emit *emit, void *arg) _must_check_;
int mk_index_files_stat(struct mk_call *call, struct mantik *m, const struct mk_place *place,
			const char *path, struct mk_dirent *ret) _must_check_;
int mk_index_files_open(struct mk_call *call, struct mantik *m, const struct mk_place *place,
			const char *path, struct mk_blob **ret) _must_check_;

#endif
