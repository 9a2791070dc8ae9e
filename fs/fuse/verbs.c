/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each request runs in the tree, how its good result is told to the kernel, and how the result
 * is taken back when nobody gets it (the asker was interrupted, or the kernel did not take it). A
 * run may happen several times, in different threads; reply and undo happen at most once, in the
 * thread of the last run.
 */
#include "op.h"

#include <errno.h>
#include <string.h>

static struct fuse_entry_param kernel_entry(const struct fs_entry *entry)
{
	return (struct fuse_entry_param){
		.ino = entry->node ? fs_node_id(entry->node) : 0,
		.attr = entry->attr.st,
		.attr_timeout = entry->attr.attr_timeout,
		.entry_timeout = entry->attr.entry_timeout,
	};
}

static int reply_ok(struct op *op)
{
	return fuse_reply_err(op->req, 0);
}

/* --- entries --------------------------------------------------------------------------------- */

static int reply_entry(struct op *op)
{
	struct fuse_entry_param param = kernel_entry(&op->entry);

	return fuse_reply_entry(op->req, &param);
}

static void undo_entry(struct op *op)
{
	if (op->entry.node)
		fs_forget(op->mount->tree, op->entry.node, 1);
}

static int run_lookup(struct op *op)
{
	op->entry = (struct fs_entry){};

	int r = fs_lookup(&op->call, op->mount->tree, op->node, op->name, &op->entry);

	/* That there is nothing of this name may be remembered, too. */
	if (r == -ENOENT && op->entry.attr.entry_timeout > 0) {
		op->entry.node = NULL;
		return 0;
	}
	return r;
}

static int run_mkdir(struct op *op)
{
	return fs_mkdir(&op->call, op->mount->tree, op->node, op->name, &op->entry);
}

static int run_symlink(struct op *op)
{
	return fs_symlink(&op->call, op->mount->tree, op->node, op->name, op->new_name, &op->entry);
}

const struct verb verb_lookup = {
	"lookup", FS_OP_LOOKUP, VERB_META, run_lookup, reply_entry, undo_entry};
const struct verb verb_mkdir = {
	"mkdir", FS_OP_MKDIR, VERB_META | VERB_CHANGES, run_mkdir, reply_entry, undo_entry};
const struct verb verb_symlink = {
	"symlink", FS_OP_SYMLINK, VERB_META | VERB_CHANGES, run_symlink, reply_entry, undo_entry};

static int run_unlink(struct op *op)
{
	return fs_unlink(&op->call, op->mount->tree, op->node, op->name);
}

static int run_rmdir(struct op *op)
{
	return fs_rmdir(&op->call, op->mount->tree, op->node, op->name);
}

static int run_rename(struct op *op)
{
	return fs_rename(&op->call, op->mount->tree, op->node, op->name, op->new_node, op->new_name,
			 (unsigned)op->flags);
}

const struct verb verb_unlink = {
	"unlink", FS_OP_UNLINK, VERB_META | VERB_CHANGES, run_unlink, reply_ok, NULL};
const struct verb verb_rmdir = {
	"rmdir", FS_OP_RMDIR, VERB_META | VERB_CHANGES, run_rmdir, reply_ok, NULL};
const struct verb verb_rename = {
	"rename", FS_OP_RENAME, VERB_META | VERB_CHANGES, run_rename, reply_ok, NULL};

/* --- attributes ------------------------------------------------------------------------------ */

static int reply_attr(struct op *op)
{
	return fuse_reply_attr(op->req, &op->attr.st, op->attr.attr_timeout);
}

static struct fs_handle *handle_of(const struct op *op)
{
	return op->file ? op->file->handle : NULL;
}

static int run_getattr(struct op *op)
{
	return fs_getattr(&op->call, op->mount->tree, op->node, handle_of(op), &op->attr);
}

static int run_setattr(struct op *op)
{
	return fs_setattr(&op->call, op->mount->tree, op->node, handle_of(op), op->set, &op->st,
			  &op->attr);
}

static int run_access(struct op *op)
{
	return fs_access(&op->call, op->mount->tree, op->node, op->flags);
}

static int run_readlink(struct op *op)
{
	mk_buf_free(&op->text);
	op->text = MK_BUF(MK_LIMIT_TEXT);
	return fs_readlink(&op->call, op->mount->tree, op->node, &op->text);
}

static int reply_readlink(struct op *op)
{
	return fuse_reply_readlink(op->req, mk_buf_text(&op->text));
}

const struct verb verb_getattr = {
	"getattr", FS_OP_GETATTR, VERB_META, run_getattr, reply_attr, NULL};
const struct verb verb_setattr = {
	"setattr", FS_OP_SETATTR, VERB_META | VERB_CHANGES, run_setattr, reply_attr, NULL};
const struct verb verb_access = {"access", FS_OP_ACCESS, VERB_META, run_access, reply_ok, NULL};
const struct verb verb_readlink = {
	"readlink", FS_OP_READLINK, VERB_META, run_readlink, reply_readlink, NULL};

/* --- directories ----------------------------------------------------------------------------- */

/* op->text collects the nodes whose references the kernel gets with the reply. */
static void undo_readdir(struct op *op)
{
	struct fs_node **nodes = (struct fs_node **)op->text.data;

	for (size_t i = 0; i < op->text.len / sizeof(*nodes); i++)
		fs_forget(op->mount->tree, nodes[i], 1);
	mk_buf_truncate(&op->text, 0);
}

struct sink {
	struct op *op;
	char *at;
	size_t left;
	bool plus;
};

static bool is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static int emit(void *arg, const struct fs_dirent *entry)
{
	struct sink *sink = arg;
	struct fs_entry e = entry->entry;
	/* The kernel counts no reference for these two. */
	struct fs_node *node = is_dots(entry->name) ? NULL : e.node;
	size_t need;

	if (sink->plus) {
		e.node = node;

		struct fuse_entry_param param = kernel_entry(&e);

		need = fuse_add_direntry_plus(NULL, sink->at, sink->left, entry->name, &param,
					      (off_t)entry->next);
	} else {
		need = fuse_add_direntry(NULL, sink->at, sink->left, entry->name, &e.attr.st,
					 (off_t)entry->next);
	}
	if (need > sink->left)
		return 1;
	if (node && sink->plus && mk_buf_put(&sink->op->text, &node, sizeof(node)) < 0)
		return 1;
	if (entry->entry.node && !(node && sink->plus))
		fs_forget(sink->op->mount->tree, entry->entry.node, 1);
	sink->at += need;
	sink->left -= need;
	return 0;
}

static int list(struct op *op, bool plus)
{
	char *buffer = thread_buffer(op->len);

	if (!buffer)
		return mk_fail(&op->call, ENOMEM, "out of memory for a listing");

	struct sink sink = {op, buffer, op->len, plus};

	mk_buf_free(&op->text);
	op->text = MK_BUF(MK_LIMIT_BODY);

	int r = fs_readdir(&op->call, op->mount->tree, op->file->handle, (uint64_t)op->offset, plus,
			   emit, &sink);

	op->out = buffer;
	op->out_len = (size_t)(sink.at - buffer);
	/* What was emitted is an answer; the rest is asked for next, and fails or waits then. */
	return op->out_len ? 0 : r;
}

static int run_readdir(struct op *op)
{
	return list(op, false);
}

static int run_readdirplus(struct op *op)
{
	return list(op, true);
}

static int reply_bytes(struct op *op)
{
	return fuse_reply_buf(op->req, op->out, op->out_len);
}

const struct verb verb_readdir = {
	"readdir", FS_OP_READDIR, VERB_META, run_readdir, reply_bytes, undo_readdir};
const struct verb verb_readdirplus = {
	"readdirplus", FS_OP_READDIR, VERB_META, run_readdirplus, reply_bytes, undo_readdir};

/* --- open files ------------------------------------------------------------------------------ */

static struct file *take_handle(struct op *op, struct fs_node *node)
{
	return file_new(op->mount, mk_steal(&op->handle), node);
}

static struct fuse_file_info kernel_file(const struct op *op, struct file *file)
{
	return (struct fuse_file_info){
		.fh = (uint64_t)(uintptr_t)file,
		.direct_io = op->open.direct_io,
		.keep_cache = op->open.keep_cache,
		.noflush = op->open.noflush,
		.nonseekable = op->open.nonseekable,
	};
}

static int run_opendir(struct op *op)
{
	return fs_opendir(&op->call, op->mount->tree, op->node, &op->handle);
}

static int run_open(struct op *op)
{
	op->open = (struct fs_open_reply){};
	return fs_open(&op->call, op->mount->tree, op->node, op->flags, &op->handle, &op->open);
}

static int reply_open(struct op *op)
{
	struct file *file = take_handle(op, op->node);
	struct fuse_file_info info = kernel_file(op, file);

	if (fuse_reply_open(op->req, &info) < 0)
		file_unref(file); /* the kernel knows of no file to release */
	return 0;
}

static void undo_open(struct op *op)
{
	file_unref(take_handle(op, op->node));
}

static int run_create(struct op *op)
{
	op->open = (struct fs_open_reply){};
	return fs_create(&op->call, op->mount->tree, op->node, op->name, op->mode, op->flags,
			 &op->entry, &op->handle, &op->open);
}

static int reply_create(struct op *op)
{
	struct fuse_entry_param param = kernel_entry(&op->entry);
	struct file *file = take_handle(op, op->entry.node);
	struct fuse_file_info info = kernel_file(op, file);

	if (fuse_reply_create(op->req, &param, &info) < 0) {
		file_unref(file);
		undo_entry(op);
	}
	return 0;
}

static void undo_create(struct op *op)
{
	file_unref(take_handle(op, op->entry.node));
	undo_entry(op);
}

const struct verb verb_opendir = {
	"opendir", FS_OP_OPENDIR, VERB_META, run_opendir, reply_open, undo_open};
const struct verb verb_open = {"open", FS_OP_OPEN, 0, run_open, reply_open, undo_open};
const struct verb verb_create = {
	"create", FS_OP_CREATE, VERB_META | VERB_CHANGES, run_create, reply_create, undo_create};

/* --- bytes ----------------------------------------------------------------------------------- */

static ssize_t read_fd(struct op *op, int fd, char *buffer, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(fd, buffer + done, len - done, op->offset + (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return mk_fail(&op->call, errno, "a local copy: %s", strerror(errno));
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

static int run_read(struct op *op)
{
	struct fs_handle *handle = op->file->handle;
	size_t len = op->len;
	int fd = -1;
	int where = fs_read_where(op->mount->tree, handle, op->len, op->offset, &op->out, &len, &fd);

	if (where == 1) {
		op->out_len = len;
		return 0;
	}

	char *buffer = thread_buffer(op->len);

	if (!buffer)
		return mk_fail(&op->call, ENOMEM, "out of memory for a read");

	ssize_t n = where == 2 ? read_fd(op, fd, buffer, len < op->len ? len : op->len)
			       : fs_read(&op->call, op->mount->tree, handle, buffer, op->len,
					 op->offset);

	if (n < 0)
		return (int)n;
	op->out = buffer;
	op->out_len = (size_t)n;
	return 0;
}

static int run_write(struct op *op)
{
	ssize_t n = fs_write(&op->call, op->mount->tree, op->file->handle, op->data, op->len,
			     op->offset);

	if (n < 0)
		return (int)n;
	op->out_len = (size_t)n;
	return 0;
}

static int reply_write(struct op *op)
{
	return fuse_reply_write(op->req, op->out_len);
}

static int run_flush(struct op *op)
{
	return fs_flush(&op->call, op->mount->tree, op->file->handle);
}

static int run_fsync(struct op *op)
{
	return fs_fsync(&op->call, op->mount->tree, op->file->handle);
}

const struct verb verb_read = {"read", FS_OP_READ, 0, run_read, reply_bytes, NULL};
const struct verb verb_write = {"write", FS_OP_WRITE, VERB_CHANGES, run_write, reply_write, NULL};
const struct verb verb_flush = {"flush", FS_OP_FLUSH, VERB_CHANGES, run_flush, reply_ok, NULL};
const struct verb verb_fsync = {"fsync", FS_OP_FSYNC, VERB_CHANGES, run_fsync, reply_ok, NULL};
