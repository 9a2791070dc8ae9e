/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small files and directories of our own: read whole, replaced atomically, removed without ever
 * leaving the place. Local disk only; no call waits for anything else.
 */
#ifndef MK_FILE_H
#define MK_FILE_H

#include <mantik/buf.h>
#include <mantik/call.h>

/* printf into a new string; aborts when out of memory: for paths and lines of our own. */
char *mk_strf(const char *fmt, ...) _printf_(1, 2) __attribute__((returns_nonnull));

/* A whole regular file, never through a symbolic link as last part. ENOENT, ELOOP, EFBIG over the
 * buffer's limit, EINVAL not a regular file. */
int mk_file_read(struct mk_call *call, int dirfd, const char *path,
		 struct mk_buf *ret) _must_check_;
/* Replaces a file: readers see the old or the new bytes, never a part. `sync`: it survives power
 * loss. */
int mk_file_write(struct mk_call *call, int dirfd, const char *path, const void *data, size_t len,
		  mode_t mode, bool sync) _must_check_;
/* Appends in one write(2); makes the file (0600). */
int mk_file_append(struct mk_call *call, int dirfd, const char *path, const char *text,
		   size_t len) _must_check_;
/* mkdir -p. */
int mk_mkdirs(struct mk_call *call, const char *path, mode_t mode) _must_check_;
/*
 * rm -rf of one name in a directory: follows no link, enters no other file system (a mount inside:
 * EXDEV, and it stays), makes directories of its owner writable first. Not there: 0.
 */
int mk_remove_tree(struct mk_call *call, int dirfd, const char *name) _must_check_;

#endif
