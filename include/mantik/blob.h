/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A source of bytes: a log, an artifact, a file of a commit. One open blob reads one version to
 * its end (a growing one only gets longer) or fails with ESTALE.
 */
#ifndef MANTIK_BLOB_H
#define MANTIK_BLOB_H

#include <mantik/mantik.h>

struct mk_blob;

struct mk_blob_stat {
	int64_t size;
	int64_t mtime; /* ns, realtime; 0 = the caller knows better */
	bool growing;  /* may get longer, or be another one when it is opened next */
	bool executable;
};

int mk_blob_stat(struct mk_call *call, struct mk_blob *blob,
		 struct mk_blob_stat *ret) _must_check_;
/* Bytes read: fewer than len only at the end. */
ssize_t mk_blob_read(struct mk_call *call, struct mk_blob *blob, void *buf, size_t len,
		     int64_t offset) _must_check_;
/* A descriptor of the same bytes for splicing or passing on, or -1. Owned by the blob. */
int mk_blob_fd(struct mk_blob *blob);
void mk_blob_close(struct mk_blob *blob);
static inline void mk_blob_closep(struct mk_blob **blob)
{
	mk_blob_close(*blob);
	*blob = NULL;
}

enum mk_log { MK_LOG_STDOUT, MK_LOG_STDERR, MK_LOG_SCHEDULER, MK_LOG_SUBMISSION, MK_LOG_DIFF };
/*
 * Logs are there from submission on (empty until written). MK_LOG_DIFF is how the code of a dirty
 * run differs from its commit, fixed at submission: ENOENT for a run that has none. ENOENT no such
 * run.
 */
int mk_run_log_open(struct mk_call *call, struct mantik *m, int64_t run_id, enum mk_log log,
		    struct mk_blob **ret) _must_check_;
int mk_run_log_stat(struct mk_call *call, struct mantik *m, int64_t run_id, enum mk_log log,
		    struct mk_blob_stat *ret) _must_check_;

/*
 * artifacts/<path>: path "" is the directory itself. Names are as the job wrote them. ENOENT, also for a
 * run that is not there; list: ENOTDIR for a file (of a job: ENOENT); open: EISDIR. Of a tracking
 * store's: MK_PUNT for the lane of its connection, EHOSTUNREACH … for what was never seen, ESTALE when
 * it became another file.
 */
struct mk_dirent {
	const char *name; /* valid during emit */
	bool is_dir;
	bool is_link; /* a symbolic link: never followed; opened it gives its text */
	bool executable;
	int64_t size; /* bytes; -1 not known without reading */
	int64_t mtime;
};
typedef int mk_dirent_emit(void *arg, const struct mk_dirent *entry);
int mk_run_artifact_list(struct mk_call *call, struct mantik *m, int64_t run_id,
			 const char *path, mk_dirent_emit *emit, void *arg) _must_check_;
int mk_run_artifact_stat(struct mk_call *call, struct mantik *m, int64_t run_id,
			 const char *path, struct mk_dirent *ret) _must_check_;
int mk_run_artifact_open(struct mk_call *call, struct mantik *m, int64_t run_id,
			 const char *path, struct mk_blob **ret) _must_check_;
/* Files of models, in the same way. */
enum mk_files_of {
	MK_FILES_RUN_MODEL, /* id: run; name: of a model it logged */
	MK_FILES_VERSION,   /* id: version of a registered model */
};
struct mk_files {
	enum mk_files_of of;
	int64_t id;
	const char *name;
};
int mk_files_list(struct mk_call *call, struct mantik *m, const struct mk_files *files,
		  const char *path, mk_dirent_emit *emit, void *arg) _must_check_;
int mk_files_stat(struct mk_call *call, struct mantik *m, const struct mk_files *files,
		  const char *path, struct mk_dirent *ret) _must_check_;
int mk_files_open(struct mk_call *call, struct mantik *m, const struct mk_files *files,
		  const char *path, struct mk_blob **ret) _must_check_;

#endif
