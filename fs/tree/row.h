/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside fs/tree: what a row is, what a node is, and how the generic code and the nouns talk.
 *
 *	table.c      the rows: what is where, with which verbs     <- read this first
 *	nouns/       the verbs: small functions over <mantik/…>
 *	node.c       nodes, edges, references                      at.c      places, stat, lookup
 *	text.c       rendered texts and their cache                list.c    directories
 *	open.c       handles: open, create, let go                 file.c    read, write, release
 *	commit.c     whole texts and lines that are written, answers
 *	scratch.c    files of editors, in memory                   dir.c     mkdir rmdir unlink rename
 *	staged.c     files on their way to a tracking store, on disk
 *	who.c        what /proc says about the asker               stats.c   counters, log
 *	remover.c    who takes a run apart
 *
 * tree->lock protects everything of the tree that is marked so below. It is never held while a
 * verb runs; a handle's own lock is taken before it, never after, and is not held over a verb
 * either.
 */
#ifndef FS_ROW_H
#define FS_ROW_H

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include <mantik/answer.h>
#include <mantik/blob.h>
#include <mantik/code.h>
#include <mantik/mantik.h>
#include <mantik/model.h>
#include <mantik/name.h>
#include <mantik/project.h>
#include <mantik/run.h>
#include <mantik/site.h>
#include <mantik/trace.h>
#include <mantik/upload.h>

#include "tree.h"

/* --- rows ---------------------------------------------------------------------------------- */

/* How fresh (times: class_times in at.c). LIVE is also what a row becomes whose stat says `live`. */
enum fs_class { FS_FIXED, FS_OURS, FS_ENDED, FS_SLOW, FS_LIVE };

/* What a row's object is; 0: its parent's. */
enum fs_kind {
	FS_PLAIN,
	FS_PROJECT,
	FS_EXPERIMENT,
	FS_REPOSITORY,
	FS_RUN,
	FS_MODEL,
	FS_VERSION,
};

enum {
	FS_HIDDEN = 1,	/* opens by name, is not listed */
	FS_PAGED = 2,	/* list gives cookies of its own and begins after one */
	FS_SCRATCH = 4, /* editors may put their files here */
	FS_ORDER = 8,	/* an order is written, not a text kept: `new`, `ctl` */
	FS_LINE = 16,	/* … of one line, done as soon as the line ends */
	FS_REMOTE = 32, /* attributes may cost a remote: a listing does without */
	FS_KEYS = 64,	/* top directory of keys: the names below it, joined by `/`, are the key */
	FS_VALUE = 128, /* `a%` is the value of the key `a` */
	FS_SECRET = 256, /* what is written may hold secrets: never read back, wiped from memory */
	FS_STAGED = 512, /* cp -p and tar set modes and times here: nothing comes of it */
};

struct fs_at;
struct fs_child;

/* What a verb `stat` knows without rendering. */
struct fs_stat {
	int64_t size;	     /* bytes; -1: only the text itself tells */
	int64_t mtime;	     /* ns; 0: the start of the mount */
	uint64_t generation; /* differs when the text differs; 0: unknown, render each time */
	bool live;	     /* may change while it is read */
	mode_t mode;	     /* 0: the row's */
};

struct fs_commit {
	const char *text; /* NUL-terminated */
	size_t len;
	uint64_t seen;	       /* generation the writer had read, 0 not checked */
	struct mk_buf *answer; /* for who reads back */
};

typedef int fs_emit(void *arg, const struct fs_child *child);

/* One row of the visible tree. Verbs return 0, -ENOENT for what is not there (now), MK_PUNT… */
struct fs_row {
	const char *name; /* or "{placeholder}"; NULL ends a table */
	const char *title; /* in sentences, where the name alone says little; NULL: the name */
	const char *hint;  /* what to do instead of making or writing here; NULL: the parent's */
	mode_t mode;	  /* type and rights */
	enum fs_class class;
	enum fs_kind kind;
	int flags;
	int which; /* tells verbs apart that serve several rows */
	const struct fs_row *children;

	/* of a file or link (and of a directory: stat, rename, remove); remove: unlink, rmdir */
	int (*stat)(struct fs_at *at, struct fs_stat *st);
	int (*show)(struct fs_at *at, struct mk_buf *text); /* 1: live, though stat did not say */
	int (*link)(struct fs_at *at, struct mk_buf *target);
	int (*bytes)(struct fs_at *at, struct mk_blob **ret);
	int (*commit)(struct fs_at *at, struct fs_commit *commit);
	int (*append)(struct fs_at *at, const char *lines, size_t len);
	int (*wait)(struct fs_at *at, struct mk_buf *text); /* MK_PARK until there is a text */
	int (*remove)(struct fs_at *at);
	/* to: the directory it goes to; name: as a directory entry */
	int (*rename)(struct fs_at *at, struct fs_at *to, const char *name);

	/* of a directory with placeholders */
	int (*list)(struct fs_at *at, uint64_t after, fs_emit *emit, void *arg);
	int (*find)(struct fs_at *at, const char *name, struct fs_child *child);
	int (*make)(struct fs_at *at, const char *name, struct fs_child *child);   /* mkdir */
	int (*create)(struct fs_at *at, const char *name, struct fs_child *child); /* a new file */
	/* … whose bytes are staged on disk (staged.c): may it be made, and here it is, whole. A
	 * name NULL: is anything taken here at all? */
	int (*may_put)(struct fs_at *at, const char *name);
	int (*put)(struct fs_at *at, const char *name, struct mk_staged *staged);
};

extern const struct fs_row fs_root_row;
extern const struct fs_row fs_scratch_rows[3]; /* file, directory, link */

static inline bool fs_is_placeholder(const struct fs_row *row)
{
	return row->name[0] == '{';
}
/* The nth placeholder among the children. */
const struct fs_row *fs_placeholder(const struct fs_row *row, int n);

/* --- places -------------------------------------------------------------------------------- */

struct fs_git { /* of a file or directory of a commit */
	struct mk_oid oid;
	mode_t mode;
	int64_t time;
	int64_t size;
};

/* A child as list, find and make give it. */
struct fs_child {
	const struct fs_row *row;
	const char *name;
	uint64_t cookie; /* paged lists: where to go on after it */
	int64_t object;	 /* 0: the parent's */
	struct fs_git git;
	bool has_git;
	struct fs_scratch *scratch;
	bool known; /* stat is complete */
	struct fs_stat stat;
};

/* One place in the tree, for the length of an operation: a node, or a child that has none. */
struct fs_at {
	struct mk_call *call;
	struct fs_tree *tree;
	struct mantik *m;
	const struct fs_row *row;
	struct fs_node *node;	/* NULL: a child without a node */
	struct fs_node *parent; /* of such a child */
	const char *name;
	int64_t object;
	uint64_t ino;
	struct fs_git git;
	bool has_git;
	struct fs_scratch *scratch;
	char name_buf[MK_NAME_MAX + 1];
};

static inline void fs_name_copy(char out[MK_NAME_MAX + 1], const char *name)
{
	size_t len = strnlen(name, MK_NAME_MAX);

	memcpy(out, name, len);
	out[len] = 0;
}
void fs_at_node(struct mk_call *call, struct fs_node *node, struct fs_tree *tree,
		struct fs_at *ret);
static inline const char *fs_at_title(const struct fs_at *at)
{
	return at->row->title ? at->row->title : at->name;
}
void fs_at_child(const struct fs_at *dir, const struct fs_child *child, struct fs_at *ret);
/* Object of the nearest row of this kind, the place itself included; 0 none. */
int64_t fs_at_object(const struct fs_at *at, enum fs_kind kind);
/* The hint of the nearest row that has one; never NULL. */
const char *fs_at_hint(const struct fs_at *at);
/* The names below the nearest FS_KEYS directory, joined by `/`; name: one more, or NULL. */
int fs_at_below(const struct fs_at *at, const char *name, struct mk_buf *path);
/* The name of the nth directory above (0: itself), unescaped. ENOENT for one nobody could give. */
int fs_at_name(const struct fs_at *at, int up, struct mk_buf *name);
/* Resolves a name in a directory; -ENOENT. */
int fs_at_find(struct fs_at *dir, const char *name, struct fs_child *child);
/* Complete: size is never -1 afterwards. */
int fs_at_stat(struct fs_at *at, struct fs_stat *st);
/* Of size and generation, never 0. */
uint32_t fs_digest(const struct fs_stat *st);
void fs_attr_fill(const struct fs_at *at, const struct fs_stat *st, struct fs_attr *ret);

/* --- nodes --------------------------------------------------------------------------------- */

struct fs_node {
	uint64_t id;
	uint64_t ino;
	const struct fs_row *row;
	struct fs_node *parent; /* one reference; NULL: root */
	char *name;		/* the row's own for a fixed one, else owned */
	int64_t object;
	void *aux; /* struct fs_git *, or struct fs_scratch * of a scratch row */
	struct fs_node *next_id, *next_edge;
	uint64_t lookups;  /* of the kernel */
	uint32_t refs;	   /* of children, handles and operations */
	uint32_t detached; /* its name leads elsewhere now */
	_Atomic uint32_t told;	 /* digest of the size and generation last told as attributes */
	_Atomic uint32_t served; /* digest of the text last opened through the page cache; both are
				  * hints of their own, ordered with nothing */
};
static_assert(sizeof(struct fs_node) <= 128, "a node stays small: there are millions");

/* A node for a resolved child, with one lookup more. ENFILE at the table's bound. */
int fs_node_get(struct fs_at *at, struct fs_node **ret);
void fs_node_unref(struct fs_tree *tree, struct fs_node *node);
/* The name in this directory leads elsewhere from now on. */
void fs_node_detach(struct fs_tree *tree, struct fs_node *parent, const char *name);
/* It has another name (and directory) from now on. */
void fs_node_move(struct fs_tree *tree, struct fs_node *node, struct fs_node *parent,
		  const char *name);
/* The attached node of an edge, without a reference, lock held; NULL. */
struct fs_node *fs_node_edge(struct fs_tree *tree, struct fs_node *parent, const char *name);

/* --- texts --------------------------------------------------------------------------------- */

/* A rendered text: immutable, shared by the cache and handles. */
struct fs_text {
	_Atomic int refs;
	bool live;
	uint64_t generation;
	int64_t mtime;
	size_t len;
	char *data;
};

struct fs_text *fs_text_ref(struct fs_text *text);
void fs_text_unref(struct fs_text *text);
static inline void fs_text_unrefp(struct fs_text **text)
{
	fs_text_unref(*text);
	*text = NULL;
}
/* The text of a row with `show`, from the cache when its generation is known. st: what stat said;
 * afterwards size and live are the text's. */
int fs_text_get(struct fs_at *at, struct fs_stat *st, struct fs_text **ret);

enum { FS_TEXT_SLOTS = 512, FS_TEXT_BYTES = 96 << 20 };
struct fs_text_slot {
	uint64_t ino;
	uint64_t used;
	struct fs_text *text;
};

/* --- scratch ------------------------------------------------------------------------------- */

struct fs_scratch {
	int refs; /* list, nodes, operations; under tree->lock */
	int64_t id;
	struct fs_node *parent; /* one reference; NULL when unlinked */
	char *name;
	mode_t mode; /* type and rights */
	int64_t mtime;
	char *data; /* of a file; target of a link */
	size_t len, cap;
	struct mk_staged *file; /* its bytes are on disk; NULL: data. Set once, while it is made */
	bool busy, put;		/* … it is being put, it was */
	int opens;		/* … handles of it */
	struct fs_scratch *next;
};
enum {
	FS_SCRATCH_FILES = 1024,
	FS_SCRATCH_BYTES = 64 << 20, /* all together */
	FS_SCRATCH_FILE = 16 << 20,
};

/* A text that was renamed away and is to be created anew: absent for a moment. */
struct fs_away {
	uint64_t ino;
	uint64_t seen; /* generation it had */
	int64_t until;
};

/* staged.c */
int fs_staged_make(struct fs_at *dir, const char *name, mode_t mode, int flags,
		   struct fs_child *child);
ssize_t fs_staged_write(struct fs_at *at, struct fs_handle *handle, const void *data, size_t len,
			int64_t offset);
int fs_staged_resize(struct fs_at *at, struct fs_handle *handle, int64_t size);
int fs_staged_flush(struct fs_at *at, struct fs_handle *handle);
void fs_staged_release(struct fs_at *at, struct fs_handle *handle);
/* A staged file to another name: of a temporary one, or of what it is to be. */
int fs_staged_rename(struct fs_at *from, struct fs_at *to_dir, const char *name);
/* Mode, owner and times may be set, and nothing comes of it. */
bool fs_staged_lenient(struct fs_at *at);

bool fs_scratch_name(const char *name);
bool fs_scratch_random(const char *name); /* also a person's, unless made with O_EXCL */
/* Under the lock: the scratch of that name; NULL. */
struct fs_scratch *fs_scratch_find(struct fs_tree *tree, struct fs_node *parent,
				   const char *name);
int fs_scratch_make(struct fs_at *dir, const char *name, mode_t mode, struct fs_child *child);
void fs_scratch_unref_locked(struct fs_tree *tree, struct fs_scratch *scratch);
int fs_scratch_list(struct fs_at *dir, uint64_t after, fs_emit *emit, void *arg);
void fs_scratch_stat(struct fs_at *at, struct fs_stat *st);
int fs_scratch_resize(struct mk_call *call, struct fs_tree *tree, struct fs_scratch *scratch,
		      size_t len);
ssize_t fs_scratch_write(struct mk_call *call, struct fs_tree *tree, struct fs_scratch *scratch,
			 const void *data, size_t len, int64_t offset);
ssize_t fs_scratch_read(struct fs_tree *tree, struct fs_scratch *scratch, void *buf, size_t len,
			int64_t offset);
/* A copy of its bytes. */
int fs_scratch_copy(struct mk_call *call, struct fs_tree *tree, struct fs_scratch *scratch,
		    struct mk_buf *ret);
int fs_scratch_set(struct mk_call *call, struct fs_tree *tree, struct fs_scratch *scratch,
		   const char *data, size_t len);
void fs_scratch_remove(struct fs_tree *tree, struct fs_scratch *scratch);
int fs_scratch_rename(struct mk_call *call, struct fs_tree *tree, struct fs_scratch *scratch,
		      struct fs_node *parent, const char *name);
void fs_scratch_free(struct fs_tree *tree);

void fs_away_set(struct fs_tree *tree, uint64_t ino, uint64_t seen);
bool fs_away_is(struct fs_tree *tree, uint64_t ino);
bool fs_away_take(struct fs_tree *tree, uint64_t ino, uint64_t *ret_seen);

/* --- answers and readers ------------------------------------------------------------------- */

struct fs_answer { /* to an order, for who reads it later */
	uint64_t ino;
	pid_t sid;
	uid_t uid;
	uint64_t used;
	int64_t time;
	char *text;
	char *before; /* the one before it, or NULL */
};
struct fs_reader { /* which version of a text a process has read */
	uint64_t ino;
	pid_t tgid;
	uint64_t generation;
};
struct fs_remover { /* who was at a run a moment ago: remover.c */
	int64_t run;
	int64_t until;
	pid_t pid[8];
	bool several;
};
enum { FS_REMOVERS = 1024, FS_REMOVER_PIDS = 8, FS_TOP = -1 };
/* The asker lists this run's directory, or was refused a removal in it; FS_TOP: the whole mount, or
 * a removal in no run. */
void fs_remover_note(struct fs_at *at, int64_t run);
/* It did so in the last seconds: it may be taking the whole run apart. */
bool fs_remover_is(struct fs_at *at, int64_t run);

struct fs_keydir { /* a directory of keys that has none: nouns/keydirs.c */
	int64_t object;
	int which;
	char *key;
};
enum { FS_KEYDIRS = 256 };

enum { FS_ANSWERS = 256, FS_READERS = 256, FS_AWAYS = 64 };

void fs_answer_put(struct fs_at *at, const char *text);
void fs_answer_refused(struct fs_at *at); /* why, as the call's error says */
/* Of this session, else of this user, else none: adds nothing. Also what another mount or mantikctl
 * was answered. */
int fs_answer_get(struct fs_at *at, struct mk_buf *ret);
/* Whether a text is what this user was answered lately: an editor whose write was refused copies
 * back what it had read, and that is no order. */
bool fs_answer_is(struct fs_at *at, const char *text, size_t len);
void fs_reader_note(struct fs_at *at, uint64_t generation);
uint64_t fs_reader_seen(struct fs_at *at); /* 0 unknown */

pid_t fs_who_group(struct mk_call *call);   /* thread group of the asker; 0 unknown */
bool fs_who_killed(struct mk_call *call);   /* it is dying by a signal */
/* How many descriptors of this file in this mount the asker's process has open for writing. */
int fs_who_writes(struct fs_at *at);

/* --- handles ------------------------------------------------------------------------------- */

enum fs_handle_kind { FS_H_DIR, FS_H_TEXT, FS_H_COMMIT, FS_H_APPEND, FS_H_BLOB, FS_H_SCRATCH,
		      FS_H_WAIT };

/* Open files of one node that are read through the page cache: all see one text. */
struct fs_file {
	struct fs_node *node;
	int opens;
	struct fs_text *text;
	struct fs_file *next;
};
enum { FS_FILE_BUCKETS = 256 };

struct fs_dirname;

struct fs_handle {
	struct fs_node *node; /* one reference */
	enum fs_handle_kind kind;
	int flags; /* of open */
	pid_t opener;
	struct fs_handle *next_writer; /* tree->writers; protected by tree->lock */
	bool closed;		       /* its opener's last close was seen; tree->lock */
	pthread_mutex_t lock; /* protects what follows */

	struct fs_text *text; /* snapshot for reading */
	bool cached;	      /* … through the page cache */
	struct fs_file *file; /* then */
	bool read_once;
	struct mk_blob *blob;

	struct mk_buf staged; /* commit: the text; append: a line without its end */
	bool loaded;	      /* staged began as the present text */
	bool written;	      /* bytes came since the last commit */
	bool truncated;	      /* made empty since */
	bool created;	      /* by this open, and nothing was committed since */
	bool killed;	      /* its writer was */
	int spoiled;	      /* a write was refused with this: what came is half a text */
	char *spoiled_text;   /* … and why */
	bool busy;	      /* a commit runs */
	int failed;	      /* result of a commit that close has not told yet */
	char *failed_text;
	uint64_t seen;
	char *answer; /* to what this handle wrote */
	int64_t answer_at;
	bool answer_read;

	struct fs_dirname *names; /* snapshot of an unpaged directory */
	size_t n_names;
	bool listed;
	bool unread; /* … at open, and not read from the beginning since: that reads it, a second
		      * time takes another */
};

int fs_handle_new(struct fs_at *at, enum fs_handle_kind kind, int flags, struct fs_handle **ret);
void fs_dir_close(struct fs_handle *handle);

/* Is this close the last of its process, of the descriptors it has of this file? */
bool fs_is_last_close(struct fs_at *at, struct fs_handle *handle);
/* dir.c: the node of a name that was renamed, if the kernel knows it; row NULL: it stays the same. */
void fs_move_node(struct fs_at *from, struct fs_at *to_dir, const char *new_name,
		  const struct fs_row *row);
int fs_commit_open(struct fs_at *at, struct fs_handle *handle);
ssize_t fs_commit_read(struct fs_at *at, struct fs_handle *handle, void *buf, size_t len,
		       int64_t offset);
ssize_t fs_commit_write(struct fs_at *at, struct fs_handle *handle, const void *data, size_t len,
			int64_t offset);
int fs_commit_resize(struct fs_at *at, struct fs_handle *handle, int64_t size);
int fs_commit_flush(struct fs_at *at, struct fs_handle *handle, bool sync);
void fs_commit_release(struct fs_at *at, struct fs_handle *handle);
/* A whole text in, without a handle: rename-over, truncate. */
int fs_commit_text(struct fs_at *at, const char *text, size_t len, uint64_t seen,
		   struct mk_buf *answer);

ssize_t fs_append_write(struct fs_at *at, struct fs_handle *handle, const void *data, size_t len);
int fs_append_flush(struct fs_at *at, struct fs_handle *handle);
void fs_append_release(struct fs_at *at, struct fs_handle *handle);

/* --- the tree ------------------------------------------------------------------------------ */

struct fs_run_slot { /* a run as last read, good while the database has not changed */
	int64_t id;
	uint64_t generation;
	struct fs_run *run;
};
struct fs_keys;
struct fs_keys_slot {
	int64_t id;
	int which;
	uint64_t generation;
	struct fs_keys *keys;
};
enum { FS_RUN_SLOTS = 1024, FS_KEYS_SLOTS = 64, FS_GAUGES = 32, FS_LOG_BYTES = 256 << 10,
       FS_NODES = 8 << 20 };

struct fs_gauge {
	const char *name;
	int64_t value;
};

struct fs_log { /* lines, the newest FS_LOG_BYTES */
	char *text;
	size_t len;
	uint64_t generation;
	int64_t changed;
};

struct fs_tree {
	struct mantik *m;
	char *mountpoint;
	_Atomic unsigned device; /* minor number of the mount; 0: not mounted */
	bool read_only;
	uid_t uid;
	gid_t gid;
	int64_t started; /* realtime */
	_Atomic uint64_t ops[FS_OP_COUNT];
	_Atomic uint64_t renders; /* texts made: `ls` of runs must not count here */

	pthread_mutex_t lock; /* protects all that follows */
	struct fs_handle *writers; /* whole texts that are being written */
	struct fs_node *root;
	struct fs_node **by_id, **by_edge; /* n_buckets each */
	size_t n_buckets, n_nodes;
	uint64_t last_id;
	struct fs_text_slot texts[FS_TEXT_SLOTS];
	size_t text_bytes;
	uint64_t tick;
	struct fs_file *files[FS_FILE_BUCKETS];
	struct fs_scratch *scratch;
	size_t n_scratch, scratch_bytes;
	int64_t last_scratch;
	struct fs_away away[FS_AWAYS];
	struct fs_answer answers[FS_ANSWERS];
	struct fs_reader readers[FS_READERS];
	size_t next_reader;
	struct fs_remover removers[FS_REMOVERS];
	struct fs_keydir keydirs[FS_KEYDIRS];
	size_t next_keydir;
	struct fs_run_slot runs[FS_RUN_SLOTS];
	struct fs_keys_slot keys[FS_KEYS_SLOTS];
	struct fs_gauge gauges[FS_GAUGES];
	struct fs_log log, trace;
	size_t n_handles;
};

static inline void fs_lock(struct fs_tree *tree)
{
	pthread_mutex_lock(&tree->lock);
}
static inline void fs_unlock(struct fs_tree *tree)
{
	pthread_mutex_unlock(&tree->lock);
}

int fs_stats_render(struct fs_tree *tree, struct mk_buf *ret);
/* Takes what .mantik/trace shows (mantik/trace.h). */
mk_trace_line fs_trace_line;
void fs_log_line(struct fs_tree *tree, const char *fmt, ...) _printf_(2, 3);

/* nouns/run.c and nouns/keys.c: snapshots kept in the tree. */
void fs_run_drop(struct fs_tree *tree);
void fs_keys_drop(struct fs_tree *tree);
void fs_keydirs_free(struct fs_tree *tree);

/* EROFS with the reason when this tree or platform is for reading. */
int fs_may_write(struct mk_call *call, struct fs_tree *tree);

#endif
