/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of connect/git share with nobody else. */
#ifndef MK_GIT_INTERNAL_H
#define MK_GIT_INTERNAL_H

#include <git2.h>

#include <mantik/lane.h>
#include "connect/git/git.h"

enum {
	POOL = 16, /* libgit2 handles kept per mirror */
	CACHED_TREES = 1024,
	CACHED_ENTRIES = 400000,
	BIG_BLOB = 8 << 20, /* bytes: beyond it a cache file, not memory */
	MISSING = 32,
};

/* A directory of a commit, sorted by name, with true sizes. Fixed, so it is kept and shared. */
struct git_tree {
	int refs; /* under git->lock */
	struct mk_oid oid;
	struct mk_tree_entry *v;
	size_t n;
	struct mk_buf names;
};

struct mk_git {
	char *dir;	 /* <data>/git */
	char *cache_dir; /* <cache>/blobs */
	int64_t cache_limit;
	int64_t timeout;
	bool read_only;
	void (*told)(void *arg, const char *mirror, const struct mk_error *error, bool moved);
	void *told_arg;
	int (*login)(struct mk_call *call, void *arg, const struct mk_origin *origin,
		     struct mk_buf *user, struct mk_buf *password);
	void *login_arg;
	struct mk_lanes *lanes; /* of fetches; those who wait for one sit elsewhere */

	/* Protects what follows, and flights, failures and pools of all mirrors. Held for memory
	 * only. */
	pthread_mutex_t lock;
	struct mk_mirror *mirrors;
	struct git_tree *trees[CACHED_TREES];
	size_t entries; /* in all of them */
	bool ending;	/* nothing is begun any more */
};

struct flight;

struct mk_mirror {
	struct mk_git *git;
	struct mk_mirror *next;
	int refs;
	char *name, *path;
	git_repository *pool[POOL];
	int n_pool;
	struct flight *flight;	/* under way, or NULL */
	struct mk_call *tidying; /* of git_tidy(): cancelled by whoever wants to fetch */
	struct mk_error failed; /* of the last flight; code 0: it worked */
	char *failed_uri;
	int64_t failed_at; /* CLOCK_MONOTONIC */
	bool asked_head;   /* the remote's HEAD was asked for in this process */
	/* Commits the remote was asked for and did not have: not asked again for a minute. */
	struct {
		struct mk_oid oid;
		int64_t at;
	} missing[MISSING];
	int next_missing;
};

void git_failure_clear(struct mk_mirror *mirror);
void git_flights_end(struct mk_git *git);  /* flight.c: cancels what is under way */
void git_tree_drop(struct git_tree *tree); /* tree.c; NULL is fine */
int git_set_answered(struct mk_call *call, struct mk_mirror *mirror,
		     const struct mk_origin *origin) _must_check_;

/* Branches and tags with their full names, not peeled. */
int git_raw_refs(struct mk_call *call, struct mk_mirror *mirror,
		 int (*emit)(void *arg, const char *name, const struct mk_oid *oid),
		 void *arg) _must_check_;
/* HEAD names the remote's default branch, or a likely one where the remote's names none. */
int git_set_head(struct mk_call *call, struct mk_mirror *mirror,
		 const struct mk_remote_refs *refs) _must_check_;

/* A handle of this mirror for this thread, until git_give_back. */
int git_take(struct mk_call *call, struct mk_mirror *mirror, git_repository **ret) _must_check_;
void git_give_back(struct mk_mirror *mirror, git_repository *repo);
/* libgit2's last words as an error of ours; code as its error code. */
int git_fail(struct mk_call *call, struct mk_mirror *mirror, int code, const char *what);

/* A scope that holds a handle. */
struct git_use {
	struct mk_mirror *mirror;
	git_repository *repo;
};
static inline void git_use_end(struct git_use *use)
{
	if (use->repo)
		git_give_back(use->mirror, use->repo);
	use->repo = NULL;
}
#define _cleanup_use_ _cleanup_(git_use_end)

static inline const git_oid *git_of(const struct mk_oid *oid)
{
	return (const git_oid *)(const void *)oid;
}
static inline struct mk_oid git_to(const git_oid *oid)
{
	struct mk_oid to;

	__builtin_memcpy(to.b, oid->id, sizeof(to.b));
	return to;
}

/* Names that would be dangerous as a file: they are never shown and never written. */
bool git_name_is_safe(const char *name);

static inline void git_tree_freep(git_tree **p)
{
	git_tree_free(*p);
}
static inline void git_commit_freep(git_commit **p)
{
	git_commit_free(*p);
}
static inline void git_reference_freep(git_reference **p)
{
	git_reference_free(*p);
}
static inline void git_object_freep(git_object **p)
{
	git_object_free(*p);
}
static inline void git_odb_freep(git_odb **p)
{
	git_odb_free(*p);
}
static inline void git_odb_object_freep(git_odb_object **p)
{
	git_odb_object_free(*p);
}

/* `a//./b/` as `a/b`; false for `..`, which leads nowhere in a commit. */
bool git_tidy_path(const char *path, struct mk_buf *out);

/* remote.c: a git program with our environment, of a mirror or (mirror NULL) anywhere. */
struct git_command {
	const struct mk_origin *origin; /* NULL: local work, no lane */
	const char *const *args;	/* after `git --git-dir=… -c …` */
	const char *const *env;		/* more of it, or NULL */
	const char *dir;
	struct mk_buf *out;
	int out_fd;
	const char *input;
	size_t input_len;
	int64_t idle;
	void (*started)(void *arg, pid_t pid);
	void *started_arg;
	const char *label; /* how errors begin when there is no origin */
};
int git_run(struct mk_call *call, struct mk_mirror *mirror,
	    const struct git_command *command) _must_check_;

/* pins.c: after a fetch; packs them when they are many. */
int git_pack_pins(struct mk_call *call, struct mk_mirror *mirror) _must_check_;
/* A plain command of git in the mirror, under its lock. */
int git_run_plain(struct mk_call *call, struct mk_mirror *mirror, const char *const *args,
		  const struct mk_buf *input) _must_check_;
/* tidy.c: after a fetch that brought something, when nobody waits for it any more. */
void git_tidy(struct mk_mirror *mirror);

/* blob.c: the bytes of a file into a descriptor, by a program. */
int git_cat_to(struct mk_call *call, struct mk_mirror *mirror, const struct mk_oid *blob,
	       int fd) _must_check_;

/* lock.c: one writer of a mirror among all processes. */
struct git_lock {
	struct mk_mirror *mirror;
	int fd; /* -1: not held */
};
int git_lock_take(struct mk_call *call, struct mk_mirror *mirror,
		  struct git_lock *ret) _must_check_;
void git_lock_pid(void *lock, pid_t pid); /* for mk_exec.started */
void git_lock_give(struct git_lock *lock);
#define _cleanup_lock_ _cleanup_(git_lock_give)

#endif
