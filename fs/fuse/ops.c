/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's requests as libfuse hands them over, in one of its workers: each becomes an op.
 * What is not here (xattrs, locks, fallocate, copy_file_range, lseek, ioctl, poll) libfuse answers
 * ENOSYS: the kernel remembers that for the whole mount and does it by itself or refuses without
 * asking again. `ls -l` asks for two xattrs an entry.
 */
#include "op.h"

#include <errno.h>

enum { MAX_BACKGROUND = 64, MAX_IO = 1 << 20 };

static struct mount *mount_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

static struct file *file_of(const struct fuse_file_info *info)
{
	return info ? (struct file *)(uintptr_t)info->fh : NULL;
}

/* An op on a node; NULL and answered when the kernel asks for one that it has forgotten. */
static struct op *begin(fuse_req_t req, const struct verb *verb, fuse_ino_t id)
{
	struct mount *mount = mount_of(req);
	struct fs_node *node = fs_node_by_id(mount->tree, id);

	if (!node) {
		fs_count(mount->tree, verb->count);
		(void)fuse_reply_err(req, ESTALE);
		return NULL;
	}

	struct op *op = op_new(mount, req, verb);

	op->node = node;
	return op;
}

static struct op *begin_file(fuse_req_t req, const struct verb *verb, struct fuse_file_info *info)
{
	struct op *op = op_new(mount_of(req), req, verb);

	op->file = file_of(info);
	op->node = op->file->node;
	return op;
}

static void do_init(void *data, struct fuse_conn_info *conn)
{
	struct mount *mount = data;

	conn->max_background = MAX_BACKGROUND;
	conn->congestion_threshold = MAX_BACKGROUND * 3 / 4;
	conn->max_write = MAX_IO;
	conn->max_readahead = MAX_IO;
	/* At 128 KiB splicing halves the speed of reads. */
	conn->want &= ~(unsigned)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE |
				  FUSE_CAP_SPLICE_MOVE);
	if (mount->ready)
		mount->ready(mount->ready_arg);
}

static void do_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct op *op = begin(req, &verb_lookup, parent);

	if (!op)
		return;
	op->name = name;
	op_dispatch(op);
}

static void forget(struct mount *mount, fuse_ino_t id, uint64_t n)
{
	fs_count(mount->tree, FS_OP_FORGET);
	sweeper_forget(mount->sweeper, id, n);
}

static void do_forget(fuse_req_t req, fuse_ino_t id, uint64_t n)
{
	forget(mount_of(req), id, n);
	fuse_reply_none(req);
}

static void do_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		forget(mount_of(req), forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

static void do_getattr(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *info)
{
	struct op *op = begin(req, &verb_getattr, id);

	if (!op)
		return;
	op->file = file_of(info);
	op_dispatch(op);
}

static void do_setattr(fuse_req_t req, fuse_ino_t id, struct stat *st, int to_set,
		       struct fuse_file_info *info)
{
	static const struct {
		int kernel, tree;
	} bits[] = {
		{FUSE_SET_ATTR_SIZE, FS_SET_SIZE},	 {FUSE_SET_ATTR_MODE, FS_SET_MODE},
		{FUSE_SET_ATTR_MTIME, FS_SET_MTIME},	 {FUSE_SET_ATTR_MTIME_NOW, FS_SET_MTIME},
		{FUSE_SET_ATTR_UID, FS_SET_OWNER},	 {FUSE_SET_ATTR_GID, FS_SET_OWNER},
	};
	struct op *op = begin(req, &verb_setattr, id);

	if (!op)
		return;
	op->file = file_of(info);
	op->st = *st;
	for (size_t i = 0; i < sizeof(bits) / sizeof(*bits); i++)
		if (to_set & bits[i].kernel)
			op->set |= bits[i].tree;
	if (to_set & FUSE_SET_ATTR_MTIME_NOW)
		clock_gettime(CLOCK_REALTIME, &op->st.st_mtim);
	/* What is not given stays: -1 as in chown(2). */
	if (!(to_set & FUSE_SET_ATTR_UID))
		op->st.st_uid = (uid_t)-1;
	if (!(to_set & FUSE_SET_ATTR_GID))
		op->st.st_gid = (gid_t)-1;
	op_dispatch(op);
}

static void do_access(fuse_req_t req, fuse_ino_t id, int mask)
{
	struct op *op = begin(req, &verb_access, id);

	if (!op)
		return;
	op->flags = mask;
	op_dispatch(op);
}

static void do_readlink(fuse_req_t req, fuse_ino_t id)
{
	struct op *op = begin(req, &verb_readlink, id);

	if (op)
		op_dispatch(op);
}

static void do_refuse(fuse_req_t req)
{
	(void)fuse_reply_err(req, EPERM);
}

static void do_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t dev)
{
	(void)parent, (void)name, (void)mode, (void)dev;
	do_refuse(req);
}

static void do_link(fuse_req_t req, fuse_ino_t id, fuse_ino_t parent, const char *name)
{
	(void)id, (void)parent, (void)name;
	do_refuse(req);
}

static void do_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct op *op = begin(req, &verb_mkdir, parent);

	if (!op)
		return;
	op->name = name;
	op->mode = mode;
	op_dispatch(op);
}

static void do_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	struct op *op = begin(req, &verb_symlink, parent);

	if (!op)
		return;
	op->name = name;
	op->new_name = target;
	op_dispatch(op);
}

static void remove_name(fuse_req_t req, const struct verb *verb, fuse_ino_t parent,
			const char *name)
{
	struct op *op = begin(req, verb, parent);

	if (!op)
		return;
	op->name = name;
	op_dispatch(op);
}

static void do_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	remove_name(req, &verb_unlink, parent, name);
}

static void do_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	remove_name(req, &verb_rmdir, parent, name);
}

static void do_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
		      const char *new_name, unsigned flags)
{
	struct op *op = begin(req, &verb_rename, parent);

	if (!op)
		return;
	op->name = name;
	op->new_name = new_name;
	op->flags = (int)flags;
	op->new_node = fs_node_by_id(op->mount->tree, new_parent);
	if (!op->new_node) {
		(void)fuse_reply_err(req, ESTALE);
		op_unref(op);
		return;
	}
	op_dispatch(op);
}

static void do_opendir(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *info)
{
	struct op *op = begin(req, &verb_opendir, id);

	(void)info;
	if (op)
		op_dispatch(op);
}

static void do_open(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *info)
{
	struct op *op = begin(req, &verb_open, id);

	if (!op)
		return;
	op->flags = info->flags;
	op_dispatch(op);
}

static void do_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
		      struct fuse_file_info *info)
{
	struct op *op = begin(req, &verb_create, parent);

	if (!op)
		return;
	op->name = name;
	op->mode = mode;
	op->flags = info->flags;
	op_dispatch(op);
}

static void read_some(fuse_req_t req, const struct verb *verb, size_t size, off_t offset,
		      struct fuse_file_info *info)
{
	struct op *op = begin_file(req, verb, info);

	op->len = size;
	op->offset = offset;
	op_dispatch(op);
}

static void do_readdir(fuse_req_t req, fuse_ino_t id, size_t size, off_t offset,
		       struct fuse_file_info *info)
{
	(void)id;
	read_some(req, &verb_readdir, size, offset, info);
}

static void do_readdirplus(fuse_req_t req, fuse_ino_t id, size_t size, off_t offset,
			   struct fuse_file_info *info)
{
	(void)id;
	read_some(req, &verb_readdirplus, size, offset, info);
}

static void do_read(fuse_req_t req, fuse_ino_t id, size_t size, off_t offset,
		    struct fuse_file_info *info)
{
	(void)id;
	read_some(req, &verb_read, size, offset, info);
}

static void do_write(fuse_req_t req, fuse_ino_t id, const char *data, size_t size, off_t offset,
		     struct fuse_file_info *info)
{
	struct op *op = begin_file(req, &verb_write, info);

	(void)id;
	op->data = data;
	op->len = size;
	op->offset = offset;
	op_dispatch(op);
}

static void do_flush(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *info)
{
	(void)id;
	op_dispatch(begin_file(req, &verb_flush, info));
}

static void do_fsync(fuse_req_t req, fuse_ino_t id, int datasync, struct fuse_file_info *info)
{
	(void)id, (void)datasync;
	op_dispatch(begin_file(req, &verb_fsync, info));
}

/* Nobody waits for the answer. */
static void release(fuse_req_t req, enum fs_op count, struct fuse_file_info *info)
{
	struct file *file = file_of(info);

	fs_count(file->mount->tree, count);
	file_unref(file);
	(void)fuse_reply_err(req, 0);
}

static void do_release(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *info)
{
	(void)id;
	release(req, FS_OP_RELEASE, info);
}

static void do_releasedir(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *info)
{
	(void)id;
	release(req, FS_OP_RELEASEDIR, info);
}

static void do_statfs(fuse_req_t req, fuse_ino_t id)
{
	struct mount *mount = mount_of(req);
	struct statvfs st = {};

	(void)id;
	fs_count(mount->tree, FS_OP_STATFS);
	fs_statfs(mount->tree, &st);
	(void)fuse_reply_statfs(req, &st);
}

const struct fuse_lowlevel_ops fuse_ops = {
	.init = do_init,
	.lookup = do_lookup,
	.forget = do_forget,
	.forget_multi = do_forget_multi,
	.getattr = do_getattr,
	.setattr = do_setattr,
	.access = do_access,
	.readlink = do_readlink,
	.mknod = do_mknod,
	.link = do_link,
	.mkdir = do_mkdir,
	.symlink = do_symlink,
	.unlink = do_unlink,
	.rmdir = do_rmdir,
	.rename = do_rename,
	.opendir = do_opendir,
	.readdir = do_readdir,
	.readdirplus = do_readdirplus,
	.releasedir = do_releasedir,
	.open = do_open,
	.create = do_create,
	.read = do_read,
	.write = do_write,
	.flush = do_flush,
	.fsync = do_fsync,
	.release = do_release,
	.statfs = do_statfs,
};
