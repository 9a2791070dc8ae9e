/* SPDX-License-Identifier: Apache-2.0 */
/* The table of file systems: see fstype.h. Magics from linux/magic.h and the file systems' own
 * sources (Lustre lustre_user.h, GPFS gpfs.h, BeeGFS, ZFS). */
#include "db/fstype.h"

#include <errno.h>
#include <string.h>
#include <sys/vfs.h>

static const struct mk_fstype types[] = {
	{.name = "ext4", .magic = 0xEF53, .is_local = true},
	{.name = "xfs", .magic = 0x58465342, .is_local = true},
	{.name = "btrfs", .magic = 0x9123683E, .is_local = true},
	{.name = "tmpfs", .magic = 0x01021994, .is_local = true},
	{.name = "ramfs", .magic = 0x858458F6, .is_local = true},
	{.name = "overlay", .magic = 0x794C7630, .is_local = true},
	{.name = "zfs", .magic = 0x2FC12FC1, .is_local = true},
	{.name = "f2fs", .magic = 0xF2F52010, .is_local = true},
	{.name = "bcachefs", .magic = 0xCA451A4E, .is_local = true},
	{.name = "jfs", .magic = 0x3153464A, .is_local = true},
	{.name = "reiserfs", .magic = 0x52654973, .is_local = true},
	{.name = "nilfs", .magic = 0x3434, .is_local = true},
	{.name = "vfat", .magic = 0x4D44, .is_local = true},
	{.name = "exfat", .magic = 0x2011BAB0, .is_local = true},
	{.name = "ntfs3", .magic = 0x7366746E, .is_local = true},
	{.name = "squashfs", .magic = 0x73717368, .is_local = true},
	{.name = "iso9660", .magic = 0x9660, .is_local = true},
	{.name = "fuse", .magic = 0x65735546},
	{.name = "nfs", .magic = 0x6969},
	{.name = "smb", .magic = 0x517B},
	{.name = "smb2", .magic = 0xFE534D42},
	{.name = "cifs", .magic = 0xFF534D42},
	{.name = "lustre", .magic = 0x0BD00BD0},
	{.name = "gpfs", .magic = 0x47504653},
	{.name = "beegfs", .magic = 0x19830326},
	{.name = "ceph", .magic = 0x00C36400},
	{.name = "afs", .magic = 0x5346414F},
	{.name = "afs", .magic = 0x6B414653},
	{.name = "coda", .magic = 0x73757245},
	{.name = "panfs", .magic = 0xAAD7AAEA},
	{.name = "orangefs", .magic = 0x20030528},
	{.name = "gfs2", .magic = 0x01161970},
	{.name = "ocfs2", .magic = 0x7461636F},
	{.name = "9p", .magic = 0x01021997},
	{.name = "vboxsf", .magic = 0x786F4256},
};

struct mk_fstype mk_fstype_of(long magic)
{
	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++)
		if ((uint32_t)types[i].magic == (uint32_t)magic)
			return types[i];
	return (struct mk_fstype){.name = "unknown", .magic = magic};
}

int mk_fstype(struct mk_call *call, const char *path, struct mk_fstype *ret)
{
	struct statfs fs;

	if (statfs(path, &fs) < 0)
		return mk_fail(call, errno, "%s: %s", path, strerror(errno));
	*ret = mk_fstype_of((long)fs.f_type);
	return 0;
}
