/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Git as core/domain sees it: mirrors that are filled by `git fetch` (a program, so that it can be
 * killed) and read by libgit2 (local objects only; it can neither time out nor be cancelled).
 *
 *	struct mk_git      all mirrors of this process, one per struct mantik
 *	struct mk_mirror   one bare repository <data>/git/<name>, with a pool of libgit2 handles
 *	struct mk_origin   where it comes from: checked, with secrets apart
 *	flight             the one fetch of a mirror that is under way in this process
 *
 * Names of mirrors are ours (never a user's), so they are safe as file names.
 */
#ifndef MK_GIT_H
#define MK_GIT_H

#include <pthread.h>

#include <mantik/code.h>

struct mk_git;
struct mk_mirror;

/* --- uri.c ------------------------------------------------------------------------------- */

struct mk_origin {
	char *label; /* `project rain, repository a2`: how errors begin */
	char *uri;   /* for git: no secret in it, it stands in argv */
	char *shown; /* for people: as written, secrets as *** */
	char *host;  /* NULL: a local path */
	char *path;  /* a local path, or NULL */
	char *lane;  /* `git:<host>` or `git:file` */
	char *user;  /* with password, or NULL: given to git by a credential helper */
	char *password;
	char *connection; /* that logs in; NULL: the one the uri lies below, if any */
};
void mk_origin_free(struct mk_origin *origin);
void mk_origin_copy(struct mk_origin *to, const struct mk_origin *from);
#define _cleanup_origin_ _cleanup_(mk_origin_free)
/* EINVAL with the reason: transports that run programs, hosts or paths beginning with `-`,
 * relative paths. Touches no file. */
int mk_origin_parse(struct mk_call *call, const char *label, const char *uri,
		    struct mk_origin *ret) _must_check_;
/* --- mirror.c ---------------------------------------------------------------------------- */

struct mk_git_options {
	const char *data_dir; /* <data>/git lies below */
	const char *cache_dir;
	int64_t cache_limit; /* bytes below <cache>/blobs; 0: no limit */
	int64_t timeout; /* ns: the remote must answer, and a fetch must move */
	bool read_only;
	/* Told by the flight's thread: the remote answered (error NULL), and whether any ref moved;
	 * or why it did not. */
	void (*told)(void *arg, const char *mirror, const struct mk_error *error, bool moved);
	void *told_arg;
	/* Who logs in at an http(s) origin that names nobody: 1, or 0 nobody does. Asked before each
	 * program, in the lane of the origin; the buffers are wiped. NULL: nobody. */
	int (*login)(struct mk_call *call, void *arg, const struct mk_origin *origin,
		     struct mk_buf *user, struct mk_buf *password);
	void *login_arg;
};
struct mk_git *mk_git_new(const struct mk_git_options *options);
/* Ends fetches under way and waits for them. All mirrors must have been given back. */
void mk_git_free(struct mk_git *git);

/* The mirror of that name; made on disk when `make`. Counted: mk_mirror_unref. */
int mk_mirror_get(struct mk_call *call, struct mk_git *git, const char *name, bool make,
		  struct mk_mirror **ret) _must_check_;
/* Makes it on disk unless it is there. */
int mk_mirror_make(struct mk_call *call, struct mk_mirror *mirror) _must_check_;
void mk_mirror_unref(struct mk_mirror *mirror);
static inline void mk_mirror_unrefp(struct mk_mirror **mirror)
{
	mk_mirror_unref(*mirror);
	*mirror = NULL;
}
#define _cleanup_mirror_ _cleanup_(mk_mirror_unrefp)
/* When the remote of that origin last answered (ns, realtime), for all processes; 0 never. */
int64_t mk_mirror_answered(struct mk_mirror *mirror, const struct mk_origin *origin);

/* --- flight.c ---------------------------------------------------------------------------- */

enum mk_flight_stage { MK_ASKED, MK_FETCHED };
/* Joins the fetch under way or begins one, and waits for that stage. `again`: asks even if it has
 * just failed. Punts for origin->lane. The fetch goes on when the asker leaves. */
int mk_mirror_fetch(struct mk_call *call, struct mk_mirror *mirror, const struct mk_origin *origin,
		    enum mk_flight_stage stage, bool again) _must_check_;
/* Begins one in the background unless one is under way; never waits, tells nobody of errors. */
void mk_mirror_fetch_begin(struct mk_mirror *mirror, const struct mk_origin *origin);

/* --- remote.c: the program, in the calling thread ------------------------------------------ */

struct mk_remote_ref {
	char *name; /* full: refs/heads/x */
	struct mk_oid oid;
};
struct mk_remote_refs {
	struct mk_remote_ref *v; /* refs/heads and refs/tags, sorted */
	size_t n, cap;
	char *head; /* branch the remote's HEAD names, or NULL */
	bool asked_head;
};
void mk_remote_refs_free(struct mk_remote_refs *refs);
/* ls-remote: what the remote has at this moment. */
int mk_remote_ask(struct mk_call *call, struct mk_mirror *mirror, const struct mk_origin *origin,
		  bool head, struct mk_remote_refs *ret) _must_check_;
/* Whether the call's error is what a remote has said for good: there is no such repository, this
 * login may not read it. Not: it is away, slow, or said something nobody knows. */
bool mk_remote_refused(const struct mk_call *call);
/* Branches and tags as they are; refs/mantik is never touched. Takes the mirror's file lock. */
int mk_remote_fetch(struct mk_call *call, struct mk_mirror *mirror,
		    const struct mk_origin *origin) _must_check_;
/* One commit by its id, where the server gives what no branch shows. */
int mk_remote_fetch_commit(struct mk_call *call, struct mk_mirror *mirror,
			   const struct mk_origin *origin,
			   const struct mk_oid *commit) _must_check_;

/* --- read.c, tree.c: libgit2 ----------------------------------------------------------------- */

/* Whether the remote said within the last minute that it has not this commit; `note`: it has. */
bool mk_mirror_missing(struct mk_mirror *mirror, const struct mk_oid *commit, bool note);
bool mk_mirror_has(struct mk_mirror *mirror, const struct mk_oid *commit);
/* prefix: "refs/heads/", "refs/tags/", "refs/mantik/runs/"; names are given without it. Only what
 * leads to a commit. */
int mk_mirror_refs(struct mk_call *call, struct mk_mirror *mirror, const char *prefix,
		   mk_ref_emit *emit, void *arg) _must_check_;
int mk_mirror_ref(struct mk_call *call, struct mk_mirror *mirror, const char *prefix,
		  const char *name, struct mk_oid *ret) _must_check_; /* ENOENT */
/* The branch HEAD names; NULL when there is none. */
char *mk_mirror_head(struct mk_mirror *mirror);
int mk_mirror_commit(struct mk_call *call, struct mk_mirror *mirror, const struct mk_oid *commit,
		     struct mk_oid *ret_tree, int64_t *ret_time) _must_check_; /* ENOENT */
/* The one commit that begins with these hex digits. ENOENT; EINVAL when several do. */
int mk_mirror_abbreviated(struct mk_call *call, struct mk_mirror *mirror, const char *digits,
			  struct mk_oid *ret) _must_check_;
int mk_mirror_log(struct mk_call *call, struct mk_mirror *mirror, const struct mk_oid *from,
		  struct mk_buf *ret) _must_check_;
/* --- pins.c ------------------------------------------------------------------------------ */

int mk_mirror_pin(struct mk_call *call, struct mk_mirror *mirror,
		  const struct mk_oid *commit) _must_check_;
/* Takes away the pins of all commits but `used` (40 hex digits each, sorted) and those that were
 * asked for within the last hour. No object goes. *ret: how many. */
int mk_mirror_unpin(struct mk_call *call, struct mk_mirror *mirror, const struct mk_list *used,
		    int *ret) _must_check_;

/* --- tree.c, blob.c ---------------------------------------------------------------------- */

int mk_mirror_tree(struct mk_call *call, struct mk_mirror *mirror, const struct mk_oid *tree,
		   mk_tree_emit *emit, void *arg) _must_check_;
int mk_mirror_tree_find(struct mk_call *call, struct mk_mirror *mirror, const struct mk_oid *tree,
			const char *name, struct mk_tree_entry *ret) _must_check_;
int mk_mirror_file(struct mk_call *call, struct mk_mirror *mirror, const struct mk_oid *commit,
		   const char *path, struct mk_buf *ret) _must_check_;
int mk_mirror_mlprojects(struct mk_call *call, struct mk_mirror *mirror,
			 const struct mk_oid *commit, struct mk_list *ret) _must_check_;
/* A blob: either its bytes (owned by the caller) or, when big, a descriptor of a cache file. */
struct mk_blob_source {
	char *data; /* NULL: fd */
	int fd;
	int64_t size;
};
int mk_mirror_blob(struct mk_call *call, struct mk_mirror *mirror, const struct mk_oid *blob,
		   struct mk_blob_source *ret) _must_check_;
/* Is this the text that Git-LFS keeps in place of a file? */
bool mk_is_lfs_pointer(const char *data, size_t len);

/* --- export.c, snapshot.c ------------------------------------------------------------------ */

int mk_mirror_export(struct mk_call *call, struct mk_mirror *mirror, const struct mk_oid *commit,
		     const char *subdir, int dirfd, const struct mk_list *exclude,
		     struct mk_list *left_out) _must_check_;
int mk_mirror_snapshot(struct mk_call *call, struct mk_mirror *mirror, const char *label,
		       const char *path, struct mk_oid *ret_commit, char **ret_head,
		       struct mk_buf *ret_diff, bool *ret_dirty) _must_check_;
/* Whether there is a folder to make one of: asked before a mirror is made for it. */
int mk_snapshot_check(struct mk_call *call, const char *label, const char *path) _must_check_;

#endif
