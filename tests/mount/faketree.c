/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tree whose files misbehave as their names say: the permanent test of fs/fuse. Linked with
 * fs/fuse in place of fs/tree and of the platform it makes the program mantikfs-fake.
 *
 *	/README          a text, always inline
 *	/cached/f0 … f49 the same in a directory
 *	/OP:BEHAVIOUR:ARGS[#anything]
 *	                 a node (a directory if OP is lookup, readdir, opendir, else a file) of which
 *	                 the operation OP does this first; any name in it exists
 *	    inline           nothing
 *	    hang:LANE        waits in that lane until cancelled
 *	    stuck:LANE       waits there and hears nothing until `release` is written to /ctl
 *	    delay:LANE:MS    waits there for so long, or until cancelled
 *	    twice:A:B        waits a moment in lane A, then in lane B
 *	    park             parks until `wake` is written to /ctl
 *	    parkms:MS        parks for so long
 *	    durable          parks; something durable has happened: cancelled it answers 0
 *	    fail:ERRNO       fails with a text
 *	    loop:LANE        wants that lane, again and again
 *	/ctl             write `wake`, `release`; read: counters, one `name value` a line
 *	/errors          what was recorded: `path<TAB>errno<TAB>text`
 *
 * What is written to any other file is its text from then on.
 */
#include "tree/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { MAX_ARGS = 4, N_CACHED = 50 };

struct fs_node {
	struct fs_node *next; /* of all */
	struct fs_node *parent;
	uint64_t id, refs;
	char *name;
	char *part[MAX_ARGS]; /* OP, BEHAVIOUR, ARGS */
	char *text;
	uint64_t woken; /* wakes when it parked; 0: not parked */
	int64_t until;
	bool parked;
};

struct fs_handle {
	struct fs_node *node;
	char *text; /* what this handle reads */
};

struct fs_tree {
	pthread_mutex_t lock; /* everything here and in nodes */
	pthread_cond_t released;
	struct fs_node *nodes;
	uint64_t ids;
	uint64_t wakes, releases;
	int n_nodes, n_handles, n_stuck;
	uint64_t ops[FS_OP_COUNT];
	int64_t gauges[8];
	const char *gauge_names[8];
	struct mk_buf errors;
};

/* --- the platform ---------------------------------------------------------------------------- */

struct mantik {
	_Atomic uint64_t generation;
	char *dir;
};

static struct mantik *the_platform; /* written through /ctl */

int mantik_open(struct mk_call *call, const struct mantik_options *options, struct mantik **ret)
{
	struct mantik *m = mk_new(struct mantik);
	const char *dir = options->data_dir ? options->data_dir : getenv("XDG_RUNTIME_DIR");

	(void)call;
	m->generation = 1;
	m->dir = mk_strdup(dir ? dir : "/nowhere");
	the_platform = m;
	*ret = m;
	return 0;
}

void mantik_close(struct mantik *m)
{
	if (!m)
		return;
	the_platform = NULL;
	free(m->dir);
	free(m);
}

uint64_t mantik_generation(struct mantik *m)
{
	return m->generation;
}

int64_t mantik_option_duration(const struct mantik *m, const char *key)
{
	(void)m, (void)key;
	return 10 * MK_SEC;
}

const char *mantik_data_dir(const struct mantik *m)
{
	return m->dir;
}

const char *mantik_cache_dir(const struct mantik *m)
{
	return m->dir;
}

const char *mantik_config_dir(const struct mantik *m)
{
	return m->dir;
}

const char *mantik_run_dir(const struct mantik *m)
{
	return m->dir;
}

const char *mantik_work_dir(const struct mantik *m)
{
	return m->dir;
}

/* --- nodes ----------------------------------------------------------------------------------- */

static bool is(const struct fs_node *node, const char *name)
{
	return strcmp(node->name, name) == 0;
}

static bool is_dir(const struct fs_node *node)
{
	const char *op = node->part[0] ? node->part[0] : "";

	return node->id == 1 || (node->parent->id == 1 && is(node, "cached")) ||
	       strcmp(op, "lookup") == 0 || strcmp(op, "readdir") == 0 ||
	       strcmp(op, "opendir") == 0;
}

static void parse(struct fs_node *node)
{
	const char *at = node->name;

	if (!strchr(at, ':'))
		return;
	for (int i = 0; i < MAX_ARGS && *at; i++) {
		size_t n = strcspn(at, ":#");

		node->part[i] = mk_strndup(at, n);
		at += n;
		if (*at != ':')
			break;
		at++;
	}
}

static struct fs_node *find(struct fs_tree *tree, const struct fs_node *parent, const char *name)
{
	for (struct fs_node *node = tree->nodes; node; node = node->next)
		if (node->parent == parent && strcmp(node->name, name) == 0)
			return node;
	return NULL;
}

/* With one reference more. Called with the lock held. */
static struct fs_node *get(struct fs_tree *tree, struct fs_node *parent, const char *name)
{
	struct fs_node *node = find(tree, parent, name);

	if (!node) {
		node = mk_new(struct fs_node);
		node->id = ++tree->ids;
		node->name = mk_strdup(name);
		node->parent = parent;
		node->text = mk_strdup("a text\n");
		parse(node);
		if (parent)
			parent->refs++;
		node->next = tree->nodes;
		tree->nodes = node;
		tree->n_nodes++;
	}
	node->refs++;
	return node;
}

static void free_node(struct fs_node *node)
{
	for (int i = 0; i < MAX_ARGS; i++)
		free(node->part[i]);
	free(node->text);
	free(node->name);
	free(node);
}

static void put(struct fs_tree *tree, struct fs_node *node, uint64_t n)
{
	if (node->refs < n) {
		(void)fprintf(stderr, "BUG: %s: %llu references, %llu given back\n", node->name,
			      (unsigned long long)node->refs, (unsigned long long)n);
		abort();
	}
	node->refs -= n;
	if (node->refs)
		return;

	struct fs_node **at = &tree->nodes, *parent = node->parent;

	while (*at != node)
		at = &(*at)->next;
	*at = node->next;
	tree->n_nodes--;
	free_node(node);
	if (parent)
		put(tree, parent, 1);
}

int fs_tree_new(struct mk_call *call, struct mantik *m, const struct fs_tree_options *options,
		struct fs_tree **ret)
{
	struct fs_tree *tree = mk_new(struct fs_tree);

	(void)call, (void)m, (void)options;
	pthread_mutex_init(&tree->lock, NULL);
	pthread_cond_init(&tree->released, NULL);
	tree->errors = MK_BUF(1 << 20);
	(void)get(tree, NULL, "");
	*ret = tree;
	return 0;
}

void fs_tree_mounted(struct fs_tree *tree, unsigned minor)
{
	(void)tree;
	(void)minor;
}

void fs_tree_free(struct fs_tree *tree)
{
	if (!tree)
		return;
	while (tree->nodes) {
		struct fs_node *next = tree->nodes->next;

		free_node(tree->nodes);
		tree->nodes = next;
	}
	mk_buf_free(&tree->errors);
	free(tree);
}

struct fs_node *fs_node_by_id(struct fs_tree *tree, uint64_t id)
{
	struct fs_node *node;

	pthread_mutex_lock(&tree->lock);
	for (node = tree->nodes; node && node->id != id; node = node->next)
		;
	pthread_mutex_unlock(&tree->lock);
	return node;
}

struct fs_node *fs_tree_root(struct fs_tree *tree)
{
	return fs_node_by_id(tree, 1);
}

uint64_t fs_node_id(const struct fs_node *node)
{
	return node->id;
}

char *fs_node_path(struct fs_tree *tree, struct fs_node *node)
{
	struct mk_buf path = MK_BUF(4096);

	(void)tree;
	if (node->id == 1)
		return mk_strdup("/");
	if (node->parent->id != 1) {
		(void)mk_buf_putc(&path, '/');
		(void)mk_buf_puts(&path, node->parent->name);
	}
	(void)mk_buf_putc(&path, '/');
	(void)mk_buf_puts(&path, node->name);
	return mk_buf_steal(&path);
}

void fs_forget(struct fs_tree *tree, struct fs_node *node, uint64_t n)
{
	pthread_mutex_lock(&tree->lock);
	put(tree, node, n);
	pthread_mutex_unlock(&tree->lock);
}

/* --- behaviour ------------------------------------------------------------------------------- */

/* Waits until cancelled or for so long. */
static int wait_cancelled(struct mk_call *call, int64_t ms)
{
	struct pollfd p = {.fd = mk_call_cancel_fd(call), .events = POLLIN};

	(void)poll(&p, 1, mk_call_left_ms(call, (int)ms));
	return mk_call_check(call, "the fake");
}

static int wait_released(struct fs_tree *tree)
{
	pthread_mutex_lock(&tree->lock);

	uint64_t releases = tree->releases;

	tree->n_stuck++;
	while (tree->releases == releases)
		pthread_cond_wait(&tree->released, &tree->lock);
	tree->n_stuck--;
	pthread_mutex_unlock(&tree->lock);
	return 0;
}

static int park_here(struct mk_call *call, struct fs_tree *tree, struct fs_node *node, int64_t ms,
		     bool durable)
{
	if (atomic_load(&call->cancelled) && durable)
		return 0;

	int r = mk_call_check(call, "an event");

	if (r < 0)
		return r;
	pthread_mutex_lock(&tree->lock);
	if (!node->parked) {
		node->parked = true;
		node->woken = tree->wakes;
		node->until = ms ? mk_now_mono() + ms * MK_MS : 0;
	}

	bool done = ms ? mk_now_mono() >= node->until : tree->wakes != node->woken;

	call->park.until = node->until;
	if (done)
		node->parked = false;
	pthread_mutex_unlock(&tree->lock);
	return done ? 0 : MK_PARK;
}

static int act(struct mk_call *call, struct fs_tree *tree, struct fs_node *node, const char *op)
{
	const char *what = node->part[1], *a = node->part[2], *b = node->part[3];

	if (!node->part[0] || !what || strcmp(node->part[0], op) != 0)
		return 0;
	if (strcmp(what, "fail") == 0)
		return mk_fail(call, a ? (int)strtol(a, NULL, 10) : EIO, "%s fails as asked", op);
	if (strcmp(what, "park") == 0)
		return park_here(call, tree, node, 0, false);
	if (strcmp(what, "parkms") == 0)
		return park_here(call, tree, node, a ? strtol(a, NULL, 10) : 100, false);
	if (strcmp(what, "durable") == 0)
		return park_here(call, tree, node, 0, true);
	if (!a)
		return 0;
	if (strcmp(what, "loop") == 0) {
		call->may_wait = NULL;
		return mk_call_may_wait(call, a);
	}
	if (strcmp(what, "twice") == 0 && b && call->may_wait && strcmp(call->may_wait, b) == 0)
		return wait_cancelled(call, 20) == 0 ? 0 : -EINTR;

	int r = mk_call_may_wait(call, a);

	if (r < 0)
		return r;
	if (strcmp(what, "hang") == 0)
		return wait_cancelled(call, 1 << 30);
	if (strcmp(what, "stuck") == 0)
		return wait_released(tree);
	if (strcmp(what, "delay") == 0)
		return wait_cancelled(call, b ? strtol(b, NULL, 10) : 100);
	if (strcmp(what, "twice") == 0 && b) {
		r = wait_cancelled(call, 20);
		return r < 0 ? r : mk_call_may_wait(call, b);
	}
	return 0;
}

/* --- operations ------------------------------------------------------------------------------ */

static void fill(const struct fs_node *node, struct fs_attr *ret)
{
	bool live = node->parent && node->parent->id == 1 && (is(node, "ctl") || is(node, "errors"));

	*ret = (struct fs_attr){
		.st = {
			.st_ino = node->id + 1000,
			.st_mode = is_dir(node) ? S_IFDIR | 0755 : S_IFREG | 0644,
			.st_nlink = 1,
			.st_uid = getuid(),
			.st_gid = getgid(),
			.st_size = live || is_dir(node) ? 0 : (off_t)strlen(node->text),
		},
		.attr_timeout = live ? 0 : 1,
		.entry_timeout = 1,
	};
}

static bool exists(const struct fs_node *parent, const char *name)
{
	if (parent->id != 1)
		return !is(parent, "cached") || (name[0] == 'f' && strtol(name + 1, NULL, 10) < N_CACHED);
	return strchr(name, ':') || strcmp(name, "README") == 0 || strcmp(name, "cached") == 0 ||
	       strcmp(name, "ctl") == 0 || strcmp(name, "errors") == 0;
}

int fs_lookup(struct mk_call *call, struct fs_tree *tree, struct fs_node *parent, const char *name,
	      struct fs_entry *ret)
{
	int r = act(call, tree, parent, "lookup");

	if (r < 0)
		return r;
	if (!exists(parent, name)) {
		ret->attr.entry_timeout = 1;
		return -ENOENT;
	}
	pthread_mutex_lock(&tree->lock);
	ret->node = get(tree, parent, name);
	fill(ret->node, &ret->attr);
	pthread_mutex_unlock(&tree->lock);
	return 0;
}

int fs_getattr(struct mk_call *call, struct fs_tree *tree, struct fs_node *node,
	       struct fs_handle *handle, struct fs_attr *ret)
{
	int r = act(call, tree, node, "getattr");

	(void)handle;
	if (r < 0)
		return r;
	pthread_mutex_lock(&tree->lock);
	fill(node, ret);
	pthread_mutex_unlock(&tree->lock);
	return 0;
}

int fs_setattr(struct mk_call *call, struct fs_tree *tree, struct fs_node *node,
	       struct fs_handle *handle, int set, const struct stat *st, struct fs_attr *ret)
{
	(void)set, (void)st;
	return fs_getattr(call, tree, node, handle, ret);
}

int fs_access(struct mk_call *call, struct fs_tree *tree, struct fs_node *node, int mask)
{
	(void)mask;
	return act(call, tree, node, "access");
}

int fs_readlink(struct mk_call *call, struct fs_tree *tree, struct fs_node *node,
		struct mk_buf *ret)
{
	(void)tree, (void)node, (void)ret;
	return mk_fail(call, EINVAL, "not a link");
}

static struct fs_handle *make_handle(struct fs_tree *tree, struct fs_node *node)
{
	struct fs_handle *handle = mk_new(struct fs_handle);

	handle->node = node;
	node->refs++;
	tree->n_handles++;
	return handle;
}

int fs_opendir(struct mk_call *call, struct fs_tree *tree, struct fs_node *node,
	       struct fs_handle **ret)
{
	int r = act(call, tree, node, "opendir");

	if (r < 0)
		return r;
	pthread_mutex_lock(&tree->lock);
	*ret = make_handle(tree, node);
	pthread_mutex_unlock(&tree->lock);
	return 0;
}

int fs_readdir(struct mk_call *call, struct fs_tree *tree, struct fs_handle *dir, uint64_t offset,
	       bool plus, fs_dirent_emit *emit, void *arg)
{
	int r = act(call, tree, dir->node, "readdir");
	uint64_t n = dir->node->id == 1 ? 2 : N_CACHED;

	for (uint64_t i = offset; r == 0 && i < n; i++) {
		char name[16];
		struct fs_dirent entry = {.name = name, .next = i + 1};

		(void)snprintf(name, sizeof(name), "f%llu", (unsigned long long)i);
		if (dir->node->id == 1)
			entry.name = i ? "cached" : "README";
		pthread_mutex_lock(&tree->lock);
		entry.entry.node = get(tree, dir->node, entry.name);
		fill(entry.entry.node, &entry.entry.attr);
		if (!plus)
			put(tree, mk_steal(&entry.entry.node), 1);
		pthread_mutex_unlock(&tree->lock);
		if (emit(arg, &entry)) {
			if (entry.entry.node)
				fs_forget(tree, entry.entry.node, 1);
			break;
		}
	}
	return r;
}

static void counters(struct fs_tree *tree, struct mk_buf *out)
{
	static const char *const names[FS_OP_COUNT] = {
		"lookup", "forget", "getattr", "setattr", "readlink", "opendir", "readdir",
		"releasedir", "open", "create", "read", "write", "flush", "fsync", "release",
		"mkdir", "symlink", "unlink", "rmdir", "rename", "statfs", "access", "interrupt"};

	(void)mk_buf_printf(out, "nodes %d\nhandles %d\nstuck %d\n", tree->n_nodes,
			    tree->n_handles, tree->n_stuck);
	for (int i = 0; i < FS_OP_COUNT; i++)
		(void)mk_buf_printf(out, "%s %llu\n", names[i], (unsigned long long)tree->ops[i]);
	for (int i = 0; i < 8 && tree->gauge_names[i]; i++)
		(void)mk_buf_printf(out, "%s %lld\n", tree->gauge_names[i],
				    (long long)tree->gauges[i]);
}

int fs_open(struct mk_call *call, struct fs_tree *tree, struct fs_node *node, int flags,
	    struct fs_handle **ret, struct fs_open_reply *reply)
{
	struct mk_buf text = MK_BUF(1 << 20);
	int r = act(call, tree, node, "open");

	if (r < 0)
		return r;
	pthread_mutex_lock(&tree->lock);
	*ret = make_handle(tree, node);
	if (is(node, "ctl"))
		counters(tree, &text);
	else if (is(node, "errors"))
		(void)mk_buf_puts(&text, mk_buf_text(&tree->errors));
	else
		(void)mk_buf_puts(&text, flags & O_TRUNC ? "" : node->text);
	(*ret)->text = mk_buf_steal(&text);
	pthread_mutex_unlock(&tree->lock);
	/* So that each read is a request: what happens in it is what is tested. */
	reply->direct_io = node->part[0] || is(node, "ctl") || is(node, "errors");
	return 0;
}

int fs_create(struct mk_call *call, struct fs_tree *tree, struct fs_node *parent, const char *name,
	      mode_t mode, int flags, struct fs_entry *ret, struct fs_handle **ret_handle,
	      struct fs_open_reply *reply)
{
	int r = fs_lookup(call, tree, parent, name, ret);

	(void)mode;
	if (r == -ENOENT)
		return mk_fail(call, EPERM, "this name is not known");
	if (r < 0)
		return r;
	r = fs_open(call, tree, ret->node, flags, ret_handle, reply);
	if (r < 0)
		fs_forget(tree, mk_steal(&ret->node), 1);
	return r;
}

ssize_t fs_read(struct mk_call *call, struct fs_tree *tree, struct fs_handle *handle, void *buf,
		size_t len, int64_t offset)
{
	int r = offset ? 0 : act(call, tree, handle->node, "read"); /* the end comes at once */
	size_t size = strlen(handle->text);

	if (r < 0)
		return r;
	if ((size_t)offset >= size)
		return 0;
	len = size - (size_t)offset < len ? size - (size_t)offset : len;
	memcpy(buf, handle->text + offset, len);
	return (ssize_t)len;
}

int fs_read_where(struct fs_tree *tree, struct fs_handle *handle, size_t len, int64_t offset,
		  const char **ret_mem, size_t *ret_len, int *ret_fd)
{
	size_t size = strlen(handle->text);

	(void)tree, (void)ret_fd;
	if (handle->node->part[0])
		return 0;
	*ret_mem = handle->text + ((size_t)offset < size ? (size_t)offset : size);
	size = strlen(*ret_mem);
	*ret_len = size < len ? size : len;
	return 1;
}

static void command(struct fs_tree *tree, const char *text, size_t len)
{
	if (len >= 4 && memcmp(text, "wake", 4) == 0) {
		tree->wakes++;
		atomic_fetch_add(&the_platform->generation, 1);
	}
	if (len >= 7 && memcmp(text, "release", 7) == 0) {
		tree->releases++;
		pthread_cond_broadcast(&tree->released);
	}
}

ssize_t fs_write(struct mk_call *call, struct fs_tree *tree, struct fs_handle *handle,
		 const void *data, size_t len, int64_t offset)
{
	int r = act(call, tree, handle->node, "write");

	(void)offset;
	if (r < 0)
		return r;
	pthread_mutex_lock(&tree->lock);
	if (is(handle->node, "ctl"))
		command(tree, data, len);
	free(handle->node->text);
	handle->node->text = mk_strndup(data, len);
	pthread_mutex_unlock(&tree->lock);
	return (ssize_t)len;
}

int fs_flush(struct mk_call *call, struct fs_tree *tree, struct fs_handle *handle)
{
	return act(call, tree, handle->node, "flush");
}

int fs_fsync(struct mk_call *call, struct fs_tree *tree, struct fs_handle *handle)
{
	return act(call, tree, handle->node, "fsync");
}

void fs_release(struct mk_call *call, struct fs_tree *tree, struct fs_handle *handle)
{
	(void)act(call, tree, handle->node, "release");
	fs_drop(tree, handle);
}

void fs_drop(struct fs_tree *tree, struct fs_handle *handle)
{
	pthread_mutex_lock(&tree->lock);
	put(tree, handle->node, 1);
	tree->n_handles--;
	pthread_mutex_unlock(&tree->lock);
	free(handle->text);
	free(handle);
}

bool fs_release_may_wait(struct fs_handle *handle)
{
	return handle->node->part[0] && strcmp(handle->node->part[0], "release") == 0;
}

int fs_mkdir(struct mk_call *call, struct fs_tree *tree, struct fs_node *parent, const char *name,
	     struct fs_entry *ret)
{
	(void)tree, (void)parent, (void)name, (void)ret;
	return mk_fail(call, EPERM, "no directory of this name");
}

int fs_symlink(struct mk_call *call, struct fs_tree *tree, struct fs_node *parent,
	       const char *name, const char *target, struct fs_entry *ret)
{
	(void)tree, (void)parent, (void)name, (void)target, (void)ret;
	return mk_fail(call, EPERM, "no links");
}

/* Of the node behind the name: `unlink:hang:a`. */
static int act_on_name(struct mk_call *call, struct fs_tree *tree, struct fs_node *parent,
		       const char *name, const char *op)
{
	pthread_mutex_lock(&tree->lock);

	struct fs_node *node = get(tree, parent, name);

	pthread_mutex_unlock(&tree->lock);

	int r = act(call, tree, node, op);

	fs_forget(tree, node, 1);
	return r < 0 ? r : mk_fail(call, EPERM, "%s is refused", op);
}

int fs_unlink(struct mk_call *call, struct fs_tree *tree, struct fs_node *parent,
	      const char *name)
{
	return act_on_name(call, tree, parent, name, "unlink");
}

int fs_rmdir(struct mk_call *call, struct fs_tree *tree, struct fs_node *parent, const char *name)
{
	return act_on_name(call, tree, parent, name, "rmdir");
}

int fs_rename(struct mk_call *call, struct fs_tree *tree, struct fs_node *parent,
	      const char *name, struct fs_node *new_parent, const char *new_name, unsigned flags)
{
	(void)new_parent, (void)new_name, (void)flags;
	return act_on_name(call, tree, parent, name, "rename");
}

void fs_statfs(struct fs_tree *tree, struct statvfs *ret)
{
	(void)tree;
	*ret = (struct statvfs){.f_bsize = 4096, .f_frsize = 4096, .f_blocks = 1000, .f_bfree = 500,
				.f_bavail = 500, .f_namemax = 255};
}

/* --- what the front end tells ---------------------------------------------------------------- */

void fs_record_error(struct fs_tree *tree, const char *path, const struct mk_error *error)
{
	pthread_mutex_lock(&tree->lock);
	(void)mk_buf_printf(&tree->errors, "%s\t%s\t%s\n", path, strerrorname_np(error->code),
			    error->text);
	pthread_mutex_unlock(&tree->lock);
}

void fs_count(struct fs_tree *tree, enum fs_op op)
{
	pthread_mutex_lock(&tree->lock);
	tree->ops[op]++;
	pthread_mutex_unlock(&tree->lock);
}

void fs_gauge(struct fs_tree *tree, const char *name, int64_t value)
{
	pthread_mutex_lock(&tree->lock);
	for (int i = 0; i < 8; i++)
		if (!tree->gauge_names[i] || tree->gauge_names[i] == name) {
			tree->gauge_names[i] = name;
			tree->gauges[i] = value;
			break;
		}
	pthread_mutex_unlock(&tree->lock);
}
