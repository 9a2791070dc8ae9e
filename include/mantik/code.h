/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Code of a project: git repositories, mirrored bare by `git fetch`, read by libgit2 without a
 * checkout. A commit is fixed for ever; branches and tags point at commits and move.
 *
 * What must ask the remote returns MK_PUNT naming `git:<host>` (local paths: `git:file`), unless
 * the call may wait for it.
 */
#ifndef MANTIK_CODE_H
#define MANTIK_CODE_H

#include <mantik/blob.h>
#include <mantik/text.h>

struct mk_oid {
	unsigned char b[20];
};
void mk_oid_text(const struct mk_oid *oid, char out[41]);
/* EINVAL unless exactly 40 lower-case hex digits. */
int mk_oid_parse(const char *text, struct mk_oid *ret) _must_check_;

struct mk_repository {
	int64_t id;
	int64_t project_id;
	char *name;
	char *uri;	      /* NULL until repository.yaml was written */
	char *default_branch; /* NULL: the remote's HEAD */
	int64_t created;
	int64_t changed;
	int64_t fetched; /* last time the remote answered, ns; 0 never */
	char *error;	 /* why the last fetch did not work, or NULL */
	bool touched;
};
void mk_repository_free(struct mk_repository *repository);
typedef int mk_repository_emit(void *arg, const struct mk_repository *repository);

/* As projects (mantik/project.h); a repository that something was written to is never removed: ENOTEMPTY.
 * None of these asks the remote. */
int mk_repository_list(struct mk_call *call, struct mantik *m, int64_t project_id,
		       mk_repository_emit *emit, void *arg) _must_check_;
int mk_repository_find(struct mk_call *call, struct mantik *m, int64_t project_id,
		       const char *name, struct mk_repository *ret) _must_check_;
int mk_repository_get(struct mk_call *call, struct mantik *m, int64_t id,
		      struct mk_repository *ret) _must_check_;
int mk_repository_make(struct mk_call *call, struct mantik *m, int64_t project_id,
		       const char *name, int64_t *ret_id) _must_check_;
int mk_repository_remove(struct mk_call *call, struct mantik *m, int64_t id) _must_check_;
int mk_repository_rename(struct mk_call *call, struct mantik *m, int64_t id,
			 const char *name) _must_check_;

/* Whether a uri may be used at all, without asking anybody: EINVAL with `where: uri …: why`. */
int mk_code_check_uri(struct mk_call *call, const char *where, const char *uri) _must_check_;

/*
 * Before repository.yaml is stored: asks a new uri for its refs, in the bounds of the call's
 * deadline. An error only when the remote has refused for good (no such repository, login refused,
 * no git at all): EACCES, EREMOTEIO, ENOENT …; 0 when it answered, does not answer, or the uri is
 * the one that is stored. A text that is not valid is left to mk_text_put().
 */
int mk_code_check_remote(struct mk_call *call, struct mantik *m, int64_t repository_id,
			 const char *text, size_t len) _must_check_;

/*
 * After repository.yaml was committed: asks the remote for its refs. 0 when it answered; the
 * caller bounds the wait with the call's deadline (5 s) and treats ETIMEDOUT as "still
 * under way". EHOSTUNREACH, EACCES, EREMOTEIO with git's own words in the detail.
 */
int mk_code_refresh(struct mk_call *call, struct mantik *m, int64_t repository_id) _must_check_;

/*
 * Branches or tags from the mirror. Never fetched yet: waits for the first fetch (punts) or fails
 * with its error; never an empty listing for "could not ask". Looked at more than `git_refresh`
 * (15 s) after the last fetch, a fetch is begun in the background and the known refs are given.
 */
enum mk_refs { MK_BRANCHES, MK_TAGS };
typedef int mk_ref_emit(void *arg, const char *name, const struct mk_oid *commit, int64_t time);
int mk_code_refs(struct mk_call *call, struct mantik *m, int64_t repository_id,
		 enum mk_refs kind, mk_ref_emit *emit, void *arg) _must_check_;
int mk_code_ref(struct mk_call *call, struct mantik *m, int64_t repository_id, enum mk_refs kind,
		const char *name, struct mk_oid *ret) _must_check_; /* ENOENT */
/* Branch heads, tags and commits that runs pinned, each once. */
int mk_code_commits(struct mk_call *call, struct mantik *m, int64_t repository_id,
		    mk_ref_emit *emit, void *arg) _must_check_;

/* A directory or file of a commit. */
struct mk_tree_entry {
	const char *name; /* valid during emit; raw git bytes, never `/` */
	struct mk_oid oid;
	enum { MK_TREE_DIR, MK_TREE_FILE, MK_TREE_EXEC, MK_TREE_LINK, MK_TREE_SUBMODULE } type;
	int64_t size; /* of a file: true size; else 0 */
};
typedef int mk_tree_emit(void *arg, const struct mk_tree_entry *entry);
/* Root tree and commit time. ENOENT: not in the mirror (a fetch of that commit is tried first). */
int mk_code_commit(struct mk_call *call, struct mantik *m, int64_t repository_id,
		   const struct mk_oid *commit, struct mk_oid *ret_tree,
		   int64_t *ret_time) _must_check_;
int mk_code_tree(struct mk_call *call, struct mantik *m, int64_t repository_id,
		 const struct mk_oid *tree, mk_tree_emit *emit, void *arg) _must_check_;
int mk_code_tree_find(struct mk_call *call, struct mantik *m, int64_t repository_id,
		      const struct mk_oid *tree, const char *name,
		      struct mk_tree_entry *ret) _must_check_; /* ENOENT; ret->name = name */
/* Small blobs from memory, big ones through a cache file. */
int mk_code_blob_open(struct mk_call *call, struct mantik *m, int64_t repository_id,
		      const struct mk_oid *blob, struct mk_blob **ret) _must_check_;
/* A file by path, whole, for MLproject and configs. ENOENT, EFBIG over the buffer's limit,
 * ELOOP a link, EISDIR. A Git-LFS pointer is EREMOTEIO and says so. */
int mk_code_file(struct mk_call *call, struct mantik *m, int64_t repository_id,
		 const struct mk_oid *commit, const char *path, struct mk_buf *ret) _must_check_;
/* `log`: `<sha> <ISO time> <author>  <subject>` of the default branch, newest first, at most 200. */
int mk_code_log(struct mk_call *call, struct mantik *m, int64_t repository_id,
		struct mk_buf *ret) _must_check_;
/* Paths of all MLproject files of a commit, sorted; at most 1000. */
int mk_code_mlprojects(struct mk_call *call, struct mantik *m, int64_t repository_id,
		       const struct mk_oid *commit, struct mk_list *ret) _must_check_;

/*
 * For a submission: the commit a branch has at the remote now (ls-remote, then fetched and in the
 * mirror), or a pinned commit if it is in the mirror (fetched if not). branch NULL and commit NULL:
 * the default branch, its name in *ret_branch (owned by the caller).
 * EHOSTUNREACH/EACCES/…: the remote did not answer. ENOENT: no such branch or commit, with the
 * nearest name.
 */
int mk_code_resolve(struct mk_call *call, struct mantik *m, int64_t repository_id,
		    const char *branch, const char *commit, struct mk_oid *ret,
		    char **ret_branch) _must_check_;
/* Own ref refs/mantik/runs/<commit>, so that a force-push or gc never loses the commit. One ref a
 * commit, not one a run: each fetch compares all refs, and runs are many. */
int mk_code_pin(struct mk_call *call, struct mantik *m, int64_t repository_id,
		const struct mk_oid *commit, const char *run_uid) _must_check_;
/* Writes the tree of a commit (below subdir, "" = all) into an existing directory. Links are made
 * as they are but never written through; submodules become empty directories and are listed in
 * `left_out` with LFS pointers, which stay pointers. `exclude`: a pattern is matched with a file's
 * name in its own folder, `folder/` leaves out that folder wherever it is. */
int mk_code_export(struct mk_call *call, struct mantik *m, int64_t repository_id,
		   const struct mk_oid *commit, const char *subdir, int dirfd,
		   const struct mk_list *exclude, struct mk_list *left_out) _must_check_;
/*
 * `code: {path: DIR}`: a snapshot of tracked and untracked, not ignored files of a git checkout
 * (a folder that is no checkout: all files) as a commit in a private mirror of the project.
 * Gives the repository to use from now on, the commit, HEAD of the checkout and the diff.
 */
int mk_code_snapshot(struct mk_call *call, struct mantik *m, int64_t project_id, const char *path,
		     int64_t *ret_repository, struct mk_oid *ret_commit, char **ret_head,
		     struct mk_buf *ret_diff, bool *ret_dirty) _must_check_;

/*
 * Ends what git keeps for nobody: mirrors of removed repositories, pins of commits whose runs are
 * gone for good (mk_run_gc). Commits that a run was made from stay, also a deleted one's; so does a
 * pin that was asked for within the last hour.
 */
int mk_code_gc(struct mk_call *call, struct mantik *m, int *ret_mirrors,
	       int *ret_pins) _must_check_;

#endif
