/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client of fs/tree without a mount: what the kernel does for cat, echo, ls, mv and editors, as
 * functions over paths. Keeps no node between calls, so that at the end every reference must be
 * back: client_done() checks that only the root is left.
 */
#ifndef TEST_FSCLIENT_H
#define TEST_FSCLIENT_H

#include <fcntl.h>
#include <stdio.h>

#include "platform.h"
#include "tree/row.h"

struct client {
	struct platform *p;
	struct mk_call *call;
	struct fs_tree *tree;
	char why[512]; /* text of the last error */
};

static inline int client_result(struct client *c, int r)
{
	snprintf(c->why, sizeof(c->why), "%s",
		 r < 0 && c->call->error.text ? c->call->error.text : "");
	mk_error_clear(c->call);
	return r;
}

static inline bool client_init(struct client *c, struct platform *p)
{
	const struct fs_tree_options options = {.uid = 1000, .gid = 100};

	*c = (struct client){.p = p, .call = &p->call};
	return fs_tree_new(c->call, p->m, &options, &c->tree) == 0;
}

static inline void client_done(struct client *c)
{
	if (!c->tree)
		return;
	/* Editors' files hold their directories. */
	for (struct fs_scratch *s = c->tree->scratch; s;) {
		if (!s->parent) {
			s = s->next;
			continue;
		}
		fs_scratch_remove(c->tree, s);
		s = c->tree->scratch;
	}
	CHECK_INT(c->tree->n_nodes, 1);
	CHECK_INT(c->tree->n_handles, 0);
	fs_tree_free(c->tree);
}

#define CLIENT(c, p)                             \
	_cleanup_(client_done) struct client c = {}; \
	NEED(client_init(&c, &p))

/* The node of a path with one lookup, to be forgotten; 0 or an error. attr may be NULL. */
static inline int client_walk(struct client *c, const char *path, struct fs_node **ret,
			      struct fs_attr *attr)
{
	struct fs_node *node = fs_tree_root(c->tree);
	bool looked_up = false;

	while (*path == '/')
		path++;
	if (!*path && attr) {
		int r = fs_getattr(c->call, c->tree, node, NULL, attr);

		if (r < 0)
			return client_result(c, r);
	}
	while (*path) {
		size_t len = strcspn(path, "/");
		char *name = strndup(path, len);
		struct fs_entry entry;
		int r = fs_lookup(c->call, c->tree, node, name, &entry);

		free(name);
		if (looked_up)
			fs_forget(c->tree, node, 1);
		if (r < 0)
			return client_result(c, r);
		node = entry.node;
		looked_up = true;
		if (attr)
			*attr = entry.attr;
		path += len;
		while (*path == '/')
			path++;
	}
	*ret = node;
	return 0;
}

static inline void client_forget(struct client *c, struct fs_node *node)
{
	if (node && node != fs_tree_root(c->tree))
		fs_forget(c->tree, node, 1);
}

/* Splits a path into its directory's node and the last name. */
static inline int client_parent(struct client *c, const char *path, struct fs_node **ret,
				const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	char *dir = strndup(path, slash ? (size_t)(slash - path) : 0);
	int r = client_walk(c, dir, ret, NULL);

	free(dir);
	*ret_name = slash ? slash + 1 : path;
	return r;
}

static inline int client_stat(struct client *c, const char *path, struct fs_attr *attr)
{
	struct fs_node *node;
	int r = client_walk(c, path, &node, attr);

	if (r == 0)
		client_forget(c, node);
	return r;
}

/* Opens or creates; the caller closes. */
static inline int client_open(struct client *c, const char *path, int flags,
			      struct fs_handle **ret)
{
	struct fs_open_reply reply;
	struct fs_node *node;
	int r = client_walk(c, path, &node, NULL);

	if (r == 0) {
		r = flags & O_CREAT && flags & O_EXCL ?
			    -EEXIST :
			    fs_open(c->call, c->tree, node, flags & ~O_CREAT, ret, &reply);
		client_forget(c, node);
		return client_result(c, r);
	}
	if (r != -ENOENT || !(flags & O_CREAT))
		return r;

	const char *name;
	struct fs_entry entry;

	r = client_parent(c, path, &node, &name);
	if (r < 0)
		return r;
	r = client_result(c, fs_create(c->call, c->tree, node, name, 0644, flags, &entry, ret,
				       &reply));
	if (r == 0)
		fs_forget(c->tree, entry.node, 1);
	client_forget(c, node);
	return r;
}

/* close(2): the result of its flush. */
static inline int client_close(struct client *c, struct fs_handle *handle)
{
	int r = client_result(c, fs_flush(c->call, c->tree, handle));
	char why[sizeof(c->why)];

	memcpy(why, c->why, sizeof(why));
	fs_release(c->call, c->tree, handle);
	mk_error_clear(c->call);
	memcpy(c->why, why, sizeof(why));
	return r;
}

/* Whole text of a handle, in pieces; the caller frees. NULL and errno. */
static inline ssize_t client_pread(struct client *c, struct fs_handle *handle, void *buf, size_t len,
				   int64_t offset)
{
	ssize_t n = fs_read(c->call, c->tree, handle, buf, len, offset);

	return n < 0 ? client_result(c, (int)n) : n;
}

static inline char *client_read(struct client *c, struct fs_handle *handle, size_t piece)
{
	struct mk_buf all = MK_BUF(64 << 20);
	char *buf = malloc(piece);

	for (;;) {
		ssize_t n = fs_read(c->call, c->tree, handle, buf, piece, (int64_t)all.len);

		if (n < 0) {
			errno = (int)-n;
			client_result(c, (int)n);
			mk_buf_free(&all);
			free(buf);
			return NULL;
		}
		if (!n)
			break;
		mk_buf_put(&all, buf, (size_t)n);
	}
	free(buf);
	return mk_buf_steal(&all);
}

static inline char *client_cat(struct client *c, const char *path)
{
	struct fs_handle *handle;
	int r = client_open(c, path, O_RDONLY, &handle);

	if (r < 0) {
		errno = -r;
		return NULL;
	}

	char *text = client_read(c, handle, 4096);

	client_close(c, handle);
	return text;
}

/* What `> path` (O_TRUNC) or `>> path` (O_APPEND) does with a text; the first error of open, write,
 * close. */
static inline int client_write(struct client *c, const char *path, int flags, const char *text)
{
	struct fs_handle *handle;
	struct fs_attr attr = {};
	int r = client_open(c, path, O_WRONLY | O_CREAT | flags, &handle);

	if (r < 0)
		return r;
	if (flags & O_APPEND && fs_getattr(c->call, c->tree, handle->node, handle, &attr) < 0)
		mk_error_clear(c->call);

	ssize_t n = fs_write(c->call, c->tree, handle, text, strlen(text), attr.st.st_size);

	if (n < 0) {
		client_result(c, (int)n);

		char why[sizeof(c->why)];

		memcpy(why, c->why, sizeof(why));
		client_close(c, handle);
		memcpy(c->why, why, sizeof(why));
		return (int)n;
	}
	return client_close(c, handle);
}

static inline int client_mkdir(struct client *c, const char *path)
{
	struct fs_node *dir;
	struct fs_entry entry;
	const char *name;
	int r = client_parent(c, path, &dir, &name);

	if (r < 0)
		return r;
	r = client_result(c, fs_mkdir(c->call, c->tree, dir, name, &entry));
	if (r == 0)
		fs_forget(c->tree, entry.node, 1);
	client_forget(c, dir);
	return r;
}

static inline int client_remove(struct client *c, const char *path, bool dir)
{
	struct fs_node *parent;
	const char *name;
	int r = client_parent(c, path, &parent, &name);

	if (r < 0)
		return r;
	r = dir ? fs_rmdir(c->call, c->tree, parent, name) :
		  fs_unlink(c->call, c->tree, parent, name);
	client_forget(c, parent);
	return client_result(c, r);
}

static inline int client_rename(struct client *c, const char *from, const char *to)
{
	struct fs_node *a, *b;
	const char *name, *new_name;
	int r = client_parent(c, from, &a, &name);

	if (r < 0)
		return r;
	r = client_parent(c, to, &b, &new_name);
	if (r == 0) {
		r = client_result(c, fs_rename(c->call, c->tree, a, name, b, new_name, 0));
		client_forget(c, b);
	}
	client_forget(c, a);
	return r;
}

static inline char *client_readlink(struct client *c, const char *path)
{
	struct mk_buf target = MK_BUF(64 << 10);
	struct fs_node *node;
	int r = client_walk(c, path, &node, NULL);

	if (r == 0) {
		r = client_result(c, fs_readlink(c->call, c->tree, node, &target));
		client_forget(c, node);
	}
	errno = -r;
	if (r < 0) {
		mk_buf_free(&target);
		return NULL;
	}
	return mk_buf_steal(&target);
}

struct client_ls {
	struct client *c;
	struct mk_list names;
	bool with_attr;
	size_t left;   /* entries the buffer still takes */
	size_t n_attr; /* entries that came with attributes */
	uint64_t next;
	bool full;
};

static inline int client_emit(void *arg, const struct fs_dirent *entry)
{
	struct client_ls *ls = arg;

	if (!ls->left) {
		ls->full = true;
		return 1;
	}
	ls->left--;
	ls->next = entry->next;
	if (entry->entry.node) {
		ls->n_attr++;
		fs_forget(ls->c->tree, entry->entry.node, 1);
	}
	if (strcmp(entry->name, ".") != 0 && strcmp(entry->name, "..") != 0)
		(void)!mk_list_add(&ls->names, entry->name);
	return 0;
}

/* All names, `buffer` at a time, in the order of the tree. */
static inline int client_list(struct client *c, const char *path, bool plus, size_t buffer,
			      struct client_ls *ls)
{
	struct fs_node *node;
	struct fs_handle *handle;
	int r = client_walk(c, path, &node, NULL);

	*ls = (struct client_ls){.c = c};
	if (r < 0)
		return r;
	r = client_result(c, fs_opendir(c->call, c->tree, node, &handle));
	client_forget(c, node);
	if (r < 0)
		return r;
	for (uint64_t before = UINT64_MAX; ls->next != before && r == 0;) {
		before = ls->next;
		ls->left = buffer;
		ls->full = false;
		r = client_result(c, fs_readdir(c->call, c->tree, handle, ls->next, plus,
						client_emit, ls));
	}
	fs_release(c->call, c->tree, handle);
	return r;
}

/* The names, joined by blanks; the caller frees. */
static inline char *client_ls(struct client *c, const char *path)
{
	struct mk_buf text = MK_BUF(64 << 20);
	struct client_ls ls;

	if (client_list(c, path, true, 7, &ls) < 0) {
		mk_list_free(&ls.names);
		return NULL;
	}
	for (size_t i = 0; i < ls.names.n; i++)
		mk_buf_printf(&text, "%s%s", i ? " " : "", ls.names.v[i]);
	mk_list_free(&ls.names);
	return mk_buf_steal(&text);
}

#define CHECK_CAT(c, path, want)                               \
	do {                                                   \
		_cleanup_free_ char *got_ = client_cat(c, path); \
		CHECK_TEXT(got_, want);                        \
	} while (0)
#define CHECK_LINK(c, path, want)                                   \
	do {                                                        \
		_cleanup_free_ char *got_ = client_readlink(c, path); \
		CHECK_TEXT(got_, want);                             \
	} while (0)
#define CHECK_LS(c, path, want)                                 \
	do {                                                    \
		_cleanup_free_ char *got_ = client_ls(c, path); \
		CHECK_TEXT(got_, want);                         \
	} while (0)

#endif
