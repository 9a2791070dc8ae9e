/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of mantikfs and mount.mantikfs. */
#ifndef FS_FUSE_OPTIONS_H
#define FS_FUSE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include <mantik/buf.h>

struct fs_options {
	char *mountpoint; /* as it was given */
	char *data_dir, *cache_dir, *config_dir;
	char *log_file;		  /* of the daemon; NULL: none */
	char *tracking;		  /* URL of a tracking server to be shown; NULL: none */
	int64_t metadata_timeout; /* ns, 0: the configured one */
	unsigned trace; /* components */
	bool foreground, read_only, allow_other, no_daemon;
	bool help, version;
	struct mk_buf kernel; /* options for the kernel and fusermount3: ",ro,nosuid" */
};

/* 0, or -EINVAL and *ret_why is one line. */
int fs_options_parse(struct fs_options *options, int argc, char **argv, struct mk_buf *ret_why)
	_must_check_;
void fs_options_free(struct fs_options *options);
void fs_options_help(struct mk_buf *ret);

#endif
