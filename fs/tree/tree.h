/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The visible tree (mantikfs(7)) as a file system without FUSE: what fs/fuse, mantikctl ls|cat|cp,
 * golden trees and fuzzers use. Rows of a table (table.c) say what is where; nouns/ render it.
 *
 * Every function takes a call and may return MK_PUNT or MK_PARK unless said otherwise; then nothing
 * has happened and the same function with the same arguments is run again. Functions are
 * thread-safe; one handle is used by several threads.
 *
 * Lifetimes: fs_lookup, fs_create, fs_mkdir and a READDIRPLUS entry add one reference to a node,
 * fs_forget(n) takes n back. A handle holds its node.
 */
#ifndef FS_TREE_H
#define FS_TREE_H

#include <sys/stat.h>
#include <sys/statvfs.h>

#include <mantik/mantik.h>

struct fs_tree;
struct fs_node;
struct fs_handle;

struct fs_tree_options {
	const char *mountpoint; /* for texts and symlinks into the tree; NULL: none */
	bool read_only;
	uid_t uid;
	gid_t gid;
};

int fs_tree_new(struct mk_call *call, struct mantik *m, const struct fs_tree_options *options,
		struct fs_tree **ret) _must_check_;
/* It is mounted, on the device 0:minor. */
void fs_tree_mounted(struct fs_tree *tree, unsigned minor);
void fs_tree_free(struct fs_tree *tree); /* all nodes and handles must be gone or are dropped */

struct fs_node *fs_tree_root(struct fs_tree *tree); /* a reference of the tree's own */
/* Node id for the kernel: a counter, never reused; root is 1. */
uint64_t fs_node_id(const struct fs_node *node);
struct fs_node *fs_node_by_id(struct fs_tree *tree, uint64_t id); /* NULL after forget; no ref */
/* Its path below the mount point ("/projects/a"), for errors; detached nodes end in " (deleted)". */
char *fs_node_path(struct fs_tree *tree, struct fs_node *node);

struct fs_attr {
	struct stat st;	       /* st_ino, mode, nlink, size, times, blocks */
	double attr_timeout;   /* s */
	double entry_timeout;  /* s */
};
struct fs_entry {
	struct fs_node *node; /* NULL: a negative entry, good for attr.entry_timeout */
	struct fs_attr attr;
};

/* ENOENT (then *ret is the negative entry with its time-out), ENOTDIR, ENAMETOOLONG, EREMOTE…:
 * "could not ask" never becomes ENOENT. */
int fs_lookup(struct mk_call *call, struct fs_tree *tree, struct fs_node *parent,
	      const char *name, struct fs_entry *ret) _must_check_;
void fs_forget(struct fs_tree *tree, struct fs_node *node, uint64_t n);
/* handle: NULL, or the open file fstat came through. */
int fs_getattr(struct mk_call *call, struct fs_tree *tree, struct fs_node *node,
	       struct fs_handle *handle, struct fs_attr *ret) _must_check_;
enum { FS_SET_SIZE = 1, FS_SET_MODE = 2, FS_SET_MTIME = 4, FS_SET_OWNER = 8 };
int fs_setattr(struct mk_call *call, struct fs_tree *tree, struct fs_node *node,
	       struct fs_handle *handle, int set, const struct stat *st,
	       struct fs_attr *ret) _must_check_;
int fs_access(struct mk_call *call, struct fs_tree *tree, struct fs_node *node,
	      int mask) _must_check_;
int fs_readlink(struct mk_call *call, struct fs_tree *tree, struct fs_node *node,
		struct mk_buf *ret) _must_check_;

/* Lists what may change meanwhile, which may wait for a remote: MK_PUNT, ETIMEDOUT … as fs_readdir,
 * which then does not. */
int fs_opendir(struct mk_call *call, struct fs_tree *tree, struct fs_node *node,
	       struct fs_handle **ret) _must_check_;
/*
 * Emits entries from `offset` (0 = begin) on; each has the offset of the next. emit returns 0 to
 * go on or 1 when its buffer is full: that entry was not taken. `plus`: entry->node may be set (with one
 * reference, given back when emit refuses) and attr is complete; node NULL = name and type only
 * (attr.st.st_mode, st_ino), because attributes would cost a remote.
 */
struct fs_dirent {
	const char *name;
	uint64_t next;
	struct fs_entry entry;
};
typedef int fs_dirent_emit(void *arg, const struct fs_dirent *entry);
int fs_readdir(struct mk_call *call, struct fs_tree *tree, struct fs_handle *dir, uint64_t offset,
	       bool plus, fs_dirent_emit *emit, void *arg) _must_check_;

struct fs_open_reply {
	bool direct_io;
	bool keep_cache;
	bool noflush; /* read-only: the kernel need not send FLUSH */
	bool nonseekable;
};
int fs_open(struct mk_call *call, struct fs_tree *tree, struct fs_node *node, int flags,
	    struct fs_handle **ret, struct fs_open_reply *reply) _must_check_;
int fs_create(struct mk_call *call, struct fs_tree *tree, struct fs_node *parent,
	      const char *name, mode_t mode, int flags, struct fs_entry *ret,
	      struct fs_handle **ret_handle, struct fs_open_reply *reply) _must_check_;
/* Bytes at offset into buf (a whole text of a handle is kept until release). Gives how many, fewer
 * only at the end. */
ssize_t fs_read(struct mk_call *call, struct fs_tree *tree, struct fs_handle *handle, void *buf,
		size_t len, int64_t offset) _must_check_;
/* Where the bytes of a read lie already, so that they need not be copied: gives a pointer good
 * until fs_release, or a descriptor and offset. 0: use fs_read; 1: *ret_mem/len; 2: *ret_fd. */
int fs_read_where(struct fs_tree *tree, struct fs_handle *handle, size_t len, int64_t offset,
		  const char **ret_mem, size_t *ret_len, int *ret_fd);
ssize_t fs_write(struct mk_call *call, struct fs_tree *tree, struct fs_handle *handle,
		 const void *data, size_t len, int64_t offset) _must_check_;
/*
 * close(2) of one descriptor: where a whole text is committed (commit.c). call->pid may be
 * 0. Errors go to whoever closes. fs_release: the last reference; commits what is left, no error
 * can be told (it is recorded); never punts: it may wait and is called where it may.
 */
int fs_flush(struct mk_call *call, struct fs_tree *tree, struct fs_handle *handle) _must_check_;
int fs_fsync(struct mk_call *call, struct fs_tree *tree, struct fs_handle *handle) _must_check_;
void fs_release(struct mk_call *call, struct fs_tree *tree, struct fs_handle *handle);
bool fs_release_may_wait(struct fs_handle *handle); /* then call it in a lane */
/* Lets go of a handle whose mount has gone; what was not committed is dropped, and whoever closes
 * it is told so by the kernel (ENOTCONN). Never waits. */
void fs_drop(struct fs_tree *tree, struct fs_handle *handle);

int fs_mkdir(struct mk_call *call, struct fs_tree *tree, struct fs_node *parent, const char *name,
	     struct fs_entry *ret) _must_check_;
int fs_symlink(struct mk_call *call, struct fs_tree *tree, struct fs_node *parent,
	       const char *name, const char *target, struct fs_entry *ret) _must_check_;
int fs_unlink(struct mk_call *call, struct fs_tree *tree, struct fs_node *parent,
	      const char *name) _must_check_;
int fs_rmdir(struct mk_call *call, struct fs_tree *tree, struct fs_node *parent,
	     const char *name) _must_check_;
/* flags: RENAME_NOREPLACE honoured, RENAME_EXCHANGE is EINVAL. */
int fs_rename(struct mk_call *call, struct fs_tree *tree, struct fs_node *parent,
	      const char *name, struct fs_node *new_parent, const char *new_name,
	      unsigned flags) _must_check_;
void fs_statfs(struct fs_tree *tree, struct statvfs *ret); /* from memory, never waits */

/* Records an error for .mantik/errors and `mantikctl why`; called once per failed operation by the
 * front end. */
void fs_record_error(struct fs_tree *tree, const char *path, const struct mk_error *error);

/* Counters shown in .mantik/stats.json: the front end adds to them. */
enum fs_op {
	FS_OP_LOOKUP, FS_OP_FORGET, FS_OP_GETATTR, FS_OP_SETATTR, FS_OP_READLINK, FS_OP_OPENDIR,
	FS_OP_READDIR, FS_OP_RELEASEDIR, FS_OP_OPEN, FS_OP_CREATE, FS_OP_READ, FS_OP_WRITE,
	FS_OP_FLUSH, FS_OP_FSYNC, FS_OP_RELEASE, FS_OP_MKDIR, FS_OP_SYMLINK, FS_OP_UNLINK,
	FS_OP_RMDIR, FS_OP_RENAME, FS_OP_STATFS, FS_OP_ACCESS, FS_OP_INTERRUPT, FS_OP_COUNT,
};
void fs_count(struct fs_tree *tree, enum fs_op op);
/* Gauges for stats.json, set by the front end: threads, parked, running … name is static. */
void fs_gauge(struct fs_tree *tree, const char *name, int64_t value);

#endif
