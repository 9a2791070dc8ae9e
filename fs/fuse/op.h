/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request of the kernel on its way through fs/fuse.
 *
 *	ops.c       makes an op of the request and hands it to
 *	dispatch.c  runs its verb: inline, in a lane, after parking; answers it once
 *	verbs.c     what each verb runs, replies, and takes back when nobody wants the result
 *	sweeper.c   answers ops that are interrupted or out of time, wakes parked ones
 *
 * States of an op that was not answered inline; changed only under the sweeper's lock:
 *
 *	          +------------------ punted again ------------------+
 *	          v                                                  |
 *	running -> queued(lane) -> running(lane) -> answered <- swept (any state)
 *	   |                          |
 *	   +--------> parked <--------+      parked -> queued(inline lane) by an event or its time
 *
 * References: one of whoever runs, queues or parks it (the runner), one of the sweeper's list.
 * Who takes the op to `answered` replies; the other one drops what it has.
 */
#ifndef FS_FUSE_OP_H
#define FS_FUSE_OP_H

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>

#include <pthread.h>
#include <stdatomic.h>

#include <mantik/lane.h>
#include <mantik/mantik.h>

#include "tree/tree.h"

struct sweeper;

enum { FLOODS = 16 };

/* A mounted tree. Made by main, constant while the loop runs. */
struct mount {
	struct mantik *m;
	struct fs_tree *tree;
	struct fuse_session *session;
	struct mk_lanes *lanes;
	struct sweeper *sweeper;
	int64_t metadata_timeout; /* ns */
	void (*ready)(void *arg); /* called once, when the kernel has sent INIT */
	void *ready_arg;
	_Atomic uint64_t number; /* of the last op */
	_Atomic int busy;	 /* ops and releases that hold something of the tree */
	_Atomic int answering;	 /* replies between their claim and /dev/fuse */

	pthread_mutex_t files_lock; /* the list; the kernel does not release all at the end */
	struct file *files;
	struct flood_of { /* refused removals of one process: flood.c; also under files_lock */
		pid_t pid;
		int n;
		int64_t until;
	} floods[FLOODS];
	size_t next_flood;
};

/* An open file or directory. The kernel's reference ends with RELEASE, each op holds one: a late op
 * may outlive the kernel's. */
struct file {
	struct mount *mount;
	struct fs_handle *handle; /* holds the node */
	struct fs_node *node;
	_Atomic int refs;
	struct file *prev, *next; /* of the mount's */
};

void file_ref(struct file *file);
void file_unref(struct file *file); /* the last one releases the handle, in a lane if it may wait */
struct file *file_new(struct mount *mount, struct fs_handle *handle, struct fs_node *node);

enum op_state { OP_RUNNING, OP_QUEUED, OP_PARKED, OP_ANSWERED };

/* Flags of a verb. */
enum {
	VERB_META = 1,	 /* has the deadline of metadata: the kernel may hold a directory's lock */
	VERB_CHANGES = 2, /* may do something durable: while it runs, only a dying asker is answered
			   * for it, because nobody sees that answer */
};

struct op;
struct verb {
	const char *name;
	enum fs_op count;
	unsigned flags;
	int (*run)(struct op *op);   /* 0 or positive, negative errno, MK_PUNT, MK_PARK */
	int (*reply)(struct op *op); /* the good answer; negative: the kernel did not take it */
	void (*undo)(struct op *op); /* a good result that nobody gets; may be NULL */
};

struct op {
	struct mk_lane_work work; /* first */
	struct mount *mount;
	const struct verb *verb;
	fuse_req_t req; /* gone once answered */
	struct mk_call call;

	/* What is asked for. name, new_name, data belong to libfuse until `own` holds copies. */
	struct fs_node *node; /* the parent, where there is a name */
	struct fs_node *new_node;
	struct file *file;
	const char *name;
	const char *new_name; /* or a symlink's target */
	const char *data;
	size_t len;
	int64_t offset;
	int flags;
	mode_t mode;
	int set;
	struct stat st;
	void *own;

	/* The result. */
	struct fs_entry entry;
	struct fs_attr attr;
	struct fs_handle *handle;
	struct fs_open_reply open;
	const char *out; /* of this thread, or good as long as the file */
	size_t out_len;
	struct mk_buf text;

	_Atomic int refs;
	_Atomic bool interrupted; /* set by libfuse's callback */
	int64_t arrived;
	int punts;

	/* Under the sweeper's lock once listed. */
	bool listed;
	enum op_state state;
	char lane[sizeof(((struct mk_call *)NULL)->punt)];
	bool rerun;	     /* queued by an event: runs in the inline lane, may wait for nothing */
	bool dying;	     /* its asker is ending: nobody sees the answer */
	bool timed_out;	     /* cancelled by its deadline, not by its asker */
	int64_t cancelled_at; /* 0: not yet */
	int64_t next_look;    /* at the asker's signals */
	uint64_t generation;  /* of the database before its last run */
	struct op *prev, *next;
};

/* dispatch.c */
struct op *op_new(struct mount *mount, fuse_req_t req, const struct verb *verb);
void op_unref(struct op *op);
void op_dispatch(struct op *op); /* takes the runner's reference */
/* Replies with an error and records it; the op has been claimed. */
void op_reply_error(struct op *op, int r, struct mk_error *error);
/* Queues an op whose state is OP_QUEUED; the caller holds no lock. */
void op_queue(struct op *op);
extern const char INLINE_LANE[];
/* A thread's own buffer for answers, at least len bytes; NULL when out of memory. */
char *thread_buffer(size_t len);

/* verbs.c */
extern const struct verb verb_lookup, verb_getattr, verb_setattr, verb_access, verb_readlink,
	verb_opendir, verb_readdir, verb_readdirplus, verb_open, verb_create, verb_read, verb_write,
	verb_flush, verb_fsync, verb_mkdir, verb_symlink, verb_unlink, verb_rmdir, verb_rename;

/* ops.c */
extern const struct fuse_lowlevel_ops fuse_ops;

/* sweeper.c */
struct sweeper *sweeper_new(struct mount *mount);
/* Answers everything that is left; then no op touches the session any more. */
void sweeper_stop(struct sweeper *sweeper);
void sweeper_free(struct sweeper *sweeper);
/* The following change an op's state; they give false when it was answered meanwhile. */
bool sweeper_queued(struct sweeper *sweeper, struct op *op, const char *lane);
bool sweeper_running(struct sweeper *sweeper, struct op *op);
bool sweeper_parked(struct sweeper *sweeper, struct op *op);
bool sweeper_claim(struct sweeper *sweeper, struct op *op); /* to answer it */
/* An op's interrupted flag was set. Takes no lock. */
void sweeper_interrupt(struct sweeper *sweeper);
/* An op came back after it had been answered by the sweeper. */
void sweeper_late_done(struct sweeper *sweeper);
/* fs_forget, later if a late op may still use the node. */
void sweeper_forget(struct sweeper *sweeper, uint64_t node, uint64_t n);

/* signals.c: what the signals of a thread that waits for us mean for its request. */
enum asker { ASKER_WAITS, ASKER_INTERRUPTED, ASKER_DYING };
enum asker asker_look(pid_t tid);

/* flood.c: is this error one too many of its sort? LAST: shown, with that said. */
enum flood { FLOOD_SHOW, FLOOD_LAST, FLOOD_HIDE };
enum flood flood_look(struct mount *mount, const struct op *op, int error);

/* trace.c */
void trace_op(const struct op *op, int r, const char *path);

#endif
