/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nodes: what the kernel holds by number. A node is found by its number or by its edge (parent and
 * name); it lives while the kernel has looked it up, or a child, handle or operation refers to it.
 *
 *	lookup   edge there and still the same object -> that node, else a new one
 *	unlink, rename over, another object of the name -> the old node is detached: it keeps its
 *	         number, row and object until forgotten, but no name leads to it
 *
 * Numbers count up and are never used again. There may be millions: see the static assert in row.h.
 */
#include "row.h"

static size_t edge_hash(const struct fs_node *parent, const char *name)
{
	uint64_t hash = (uintptr_t)parent * UINT64_C(0x9e3779b97f4a7c15);

	for (; *name; name++)
		hash = (hash ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
	return hash ^ hash >> 29;
}

static struct fs_node **id_bucket(struct fs_tree *tree, uint64_t id)
{
	return &tree->by_id[id & (tree->n_buckets - 1)];
}

static struct fs_node **edge_bucket(struct fs_tree *tree, const struct fs_node *parent,
				    const char *name)
{
	return &tree->by_edge[edge_hash(parent, name) & (tree->n_buckets - 1)];
}

static void link_edge(struct fs_tree *tree, struct fs_node *node)
{
	struct fs_node **bucket = edge_bucket(tree, node->parent, node->name);

	node->next_edge = *bucket;
	*bucket = node;
}

static void unlink_edge(struct fs_tree *tree, struct fs_node *node)
{
	struct fs_node **p = edge_bucket(tree, node->parent, node->name);

	while (*p && *p != node)
		p = &(*p)->next_edge;
	assert(*p);
	*p = node->next_edge;
	node->next_edge = NULL;
}

/* Twice as many buckets; when there is no memory for it, the chains get longer. */
static void grow(struct fs_tree *tree)
{
	size_t n = tree->n_buckets ? tree->n_buckets * 2 : 1024;
	struct fs_node **by_id = calloc(n, sizeof(*by_id));
	struct fs_node **by_edge = calloc(n, sizeof(*by_edge));
	struct fs_node **old = tree->by_id;
	size_t n_old = tree->n_buckets;

	if (!by_id || !by_edge) {
		free(by_id);
		free(by_edge);
		return;
	}
	free(tree->by_edge);
	tree->by_id = by_id;
	tree->by_edge = by_edge;
	tree->n_buckets = n;
	for (size_t i = 0; i < n_old; i++) {
		for (struct fs_node *node = old[i], *next; node; node = next) {
			struct fs_node **bucket = id_bucket(tree, node->id);

			next = node->next_id;
			node->next_id = *bucket;
			*bucket = node;
			if (node->parent && !node->detached)
				link_edge(tree, node);
		}
	}
	free(old);
}

static struct fs_node *new_node(struct fs_tree *tree)
{
	if (tree->n_nodes >= tree->n_buckets)
		grow(tree);

	struct fs_node *node = tree->n_buckets ? calloc(1, sizeof(*node)) : NULL;

	if (!node)
		return NULL;
	node->id = ++tree->last_id;

	struct fs_node **bucket = id_bucket(tree, node->id);

	node->next_id = *bucket;
	*bucket = node;
	tree->n_nodes++;
	return node;
}

static bool owns_name(const struct fs_node *node)
{
	return node->name != node->row->name;
}

static void unref_locked(struct fs_tree *tree, struct fs_node *node);

/* Nothing refers to it any more. */
static void free_node(struct fs_tree *tree, struct fs_node *node)
{
	struct fs_node **p = id_bucket(tree, node->id);
	struct fs_node *parent = node->parent;

	if (parent && !node->detached)
		unlink_edge(tree, node);
	while (*p != node)
		p = &(*p)->next_id;
	*p = node->next_id;
	if (owns_name(node))
		free(node->name);
	if (node->row >= fs_scratch_rows && node->row < fs_scratch_rows + 3)
		fs_scratch_unref_locked(tree, node->aux);
	else
		free(node->aux);
	free(node);
	tree->n_nodes--;
	if (parent)
		unref_locked(tree, parent);
}

static void unref_locked(struct fs_tree *tree, struct fs_node *node)
{
	assert(node->refs > 0);
	if (--node->refs == 0 && node->lookups == 0)
		free_node(tree, node);
}

void fs_node_unref(struct fs_tree *tree, struct fs_node *node)
{
	if (!node)
		return;
	fs_lock(tree);
	unref_locked(tree, node);
	fs_unlock(tree);
}

struct fs_node *fs_node_edge(struct fs_tree *tree, struct fs_node *parent, const char *name)
{
	struct fs_node *node = *edge_bucket(tree, parent, name);

	while (node && (node->parent != parent || strcmp(node->name, name) != 0))
		node = node->next_edge;
	return node;
}

static void detach_locked(struct fs_tree *tree, struct fs_node *node)
{
	unlink_edge(tree, node);
	node->detached = 1;
}

void fs_node_detach(struct fs_tree *tree, struct fs_node *parent, const char *name)
{
	fs_lock(tree);

	struct fs_node *node = fs_node_edge(tree, parent, name);

	if (node)
		detach_locked(tree, node);
	fs_unlock(tree);
}

void fs_node_move(struct fs_tree *tree, struct fs_node *node, struct fs_node *parent,
		  const char *name)
{
	fs_lock(tree);

	struct fs_node *there = fs_node_edge(tree, parent, name);
	struct fs_node *old = node->parent;

	for (const struct fs_node *above = parent; above; above = above->parent) {
		if (above == node) { /* two renames at once: never its own ancestor */
			fs_unlock(tree);
			return;
		}
	}
	if (there && there != node)
		detach_locked(tree, there);
	if (!node->detached)
		unlink_edge(tree, node);
	node->detached = 0;
	parent->refs++;
	node->parent = parent;
	if (owns_name(node))
		free(node->name);
	node->name = mk_strdup(name);
	link_edge(tree, node);
	if (old)
		unref_locked(tree, old);
	fs_unlock(tree);
}

/* The same thing as the node is: else its name leads elsewhere now. */
static bool same(const struct fs_node *node, const struct fs_at *at)
{
	if (node->row != at->row || node->object != at->object || node->ino != at->ino)
		return false;
	if (at->scratch)
		return node->aux == at->scratch;
	if (at->has_git)
		return memcmp(&((struct fs_git *)node->aux)->oid, &at->git.oid,
			      sizeof(at->git.oid)) == 0;
	return true;
}

int fs_node_get(struct fs_at *at, struct fs_node **ret)
{
	struct fs_tree *tree = at->tree;
	int r = 0;

	fs_lock(tree);

	struct fs_node *node = fs_node_edge(tree, at->parent, at->name);

	if (node && !same(node, at)) {
		detach_locked(tree, node);
		node = NULL;
	}
	if (!node) {
		node = tree->n_nodes < FS_NODES ? new_node(tree) : NULL;
		if (!node) {
			r = mk_fail(at->call, tree->n_nodes < FS_NODES ? ENOMEM : ENFILE,
				    "%s: too many files are known to the kernel", at->name);
			goto out;
		}
		node->row = at->row;
		node->object = at->object;
		node->ino = at->ino;
		node->name = fs_is_placeholder(at->row) || strcmp(at->row->name, at->name) != 0 ?
				     mk_strdup(at->name) :
				     (char *)at->row->name;
		node->parent = at->parent;
		node->parent->refs++;
		if (at->scratch) {
			node->aux = at->scratch;
			at->scratch->refs++;
		} else if (at->has_git) {
			struct fs_git *git = mk_new(struct fs_git);

			*git = at->git;
			node->aux = git;
		}
		link_edge(tree, node);
	}
	node->lookups++;
	*ret = node;
out:
	fs_unlock(tree);
	return r;
}

void fs_forget(struct fs_tree *tree, struct fs_node *node, uint64_t n)
{
	fs_lock(tree);
	assert(node->lookups >= n);
	node->lookups -= n;
	if (n && node->lookups == 0 && node->refs == 0)
		free_node(tree, node);
	fs_unlock(tree);
}

uint64_t fs_node_id(const struct fs_node *node)
{
	return node->id;
}

struct fs_node *fs_node_by_id(struct fs_tree *tree, uint64_t id)
{
	fs_lock(tree);

	struct fs_node *node = *id_bucket(tree, id);

	while (node && node->id != id)
		node = node->next_id;
	fs_unlock(tree);
	return node;
}

char *fs_node_path(struct fs_tree *tree, struct fs_node *node)
{
	struct mk_buf path = MK_BUF(64 << 10);
	const struct fs_node *chain[64];
	size_t n = 0;
	bool detached = false;

	fs_lock(tree);
	for (; node->parent && n < 64; node = node->parent) {
		detached |= node->detached;
		chain[n++] = node;
	}
	if (!n)
		(void)mk_buf_putc(&path, '/');
	while (n--)
		(void)mk_buf_printf(&path, "/%s", chain[n]->name);
	fs_unlock(tree);
	if (detached)
		(void)mk_buf_puts(&path, " (deleted)");
	return mk_buf_steal(&path);
}

/* At the end: without regard to references, which the kernel does not give back at unmount. */
static void free_nodes(struct fs_tree *tree)
{
	for (size_t i = 0; i < tree->n_buckets; i++) {
		for (struct fs_node *node = tree->by_id[i], *next; node; node = next) {
			next = node->next_id;
			if (owns_name(node))
				free(node->name);
			if (!(node->row >= fs_scratch_rows && node->row < fs_scratch_rows + 3))
				free(node->aux);
			free(node);
		}
	}
	free(tree->by_id);
	free(tree->by_edge);
}

struct fs_node *fs_tree_root(struct fs_tree *tree)
{
	return tree->root;
}

int fs_tree_new(struct mk_call *call, struct mantik *m, const struct fs_tree_options *options,
		struct fs_tree **ret)
{
	struct fs_tree *tree = mk_new(struct fs_tree);

	tree->m = m;
	tree->mountpoint = mk_strdup(options->mountpoint);
	tree->read_only = options->read_only;
	tree->uid = options->uid;
	tree->gid = options->gid;
	tree->started = mk_now_real();
	pthread_mutex_init(&tree->lock, NULL);
	grow(tree);
	tree->root = new_node(tree);
	if (!tree->root) {
		fs_tree_free(tree);
		return mk_fail(call, ENOMEM, "out of memory");
	}
	tree->root->row = &fs_root_row;
	tree->root->name = (char *)fs_root_row.name;
	tree->root->ino = 1;
	tree->root->refs = 1;
	fs_log_line(tree, "mantikfs " MANTIK_VERSION " started%s%s%s",
		    options->mountpoint ? " at " : "",
		    options->mountpoint ? options->mountpoint : "",
		    options->read_only ? ", read-only" : "");
	*ret = tree;
	return 0;
}

void fs_tree_mounted(struct fs_tree *tree, unsigned minor)
{
	atomic_store(&tree->device, minor);
}

void fs_tree_free(struct fs_tree *tree)
{
	if (!tree)
		return;
	mk_trace_to(MK_TRACE_MOUNT, 0, NULL, NULL);
	for (size_t i = 0; i < FS_TEXT_SLOTS; i++)
		fs_text_unref(tree->texts[i].text);
	for (size_t i = 0; i < FS_FILE_BUCKETS; i++) {
		for (struct fs_file *file = tree->files[i], *next; file; file = next) {
			next = file->next;
			fs_text_unref(file->text);
			free(file);
		}
	}
	for (size_t i = 0; i < FS_ANSWERS; i++) {
		free(tree->answers[i].text);
		free(tree->answers[i].before);
	}
	fs_run_drop(tree);
	fs_keys_drop(tree);
	fs_keydirs_free(tree);
	free_nodes(tree);
	fs_scratch_free(tree);
	free(tree->log.text);
	free(tree->trace.text);
	free(tree->mountpoint);
	pthread_mutex_destroy(&tree->lock);
	free(tree);
}
