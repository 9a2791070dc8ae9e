/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file of one cached blob: its bytes, sparse, and behind them, at a whole block, which blocks
 * are there and of what version. A block counts once it is whole and noted; another process may
 * note its neighbours in the same file meanwhile.
 *
 *	| bytes, up to the last whole block ... | head | a bit for each block |
 *
 * Not locked here: one thread at a time, but for mk_blob_disk_write() and _read() of other blocks.
 */
#ifndef MK_BLOB_DISK_H
#define MK_BLOB_DISK_H

#include "core.h"

enum { MK_BLOCK = 64 << 10, MK_ETAG_MAX = 255 };

struct mk_blob_disk {
	int fd; /* -1: not open */
	char *path;
	int64_t size;
	int64_t missing; /* blocks */
	unsigned char *bits;

	/* Of what is there; kept by mk_blob_disk_note_version(). */
	int64_t asked; /* ns realtime: the source had this version then */
	char etag[MK_ETAG_MAX + 1];
};

/* ret: with size set and fd -1. The caller's mk_blob_disk_close() also after an error. */
int mk_blob_disk_open(struct mk_call *call, struct mantik *m, const char *identity,
		      struct mk_blob_disk *ret) _must_check_;
/* Closed as read just now: the last one to be trimmed. */
void mk_blob_disk_close(struct mk_blob_disk *disk);
/* Only the descriptor: from now on it may be trimmed. */
void mk_blob_disk_let_go(struct mk_blob_disk *disk);

int64_t mk_blob_disk_blocks(const struct mk_blob_disk *disk);
/* Are all blocks of [offset, offset + len) there? *ret_missing: the first that is not. */
bool mk_blob_disk_has(const struct mk_blob_disk *disk, int64_t offset, int64_t len,
		      int64_t *ret_missing);
/* A whole block (the last: what there is of it) to the disk; it does not count yet. */
int mk_blob_disk_write(struct mk_call *call, struct mk_blob_disk *disk, const char *label,
		       int64_t block, const void *data, size_t len) _must_check_;
/* … and now it counts. */
void mk_blob_disk_note(struct mk_blob_disk *disk, int64_t block);
/* asked: 0 leaves it; etag: NULL leaves it. */
void mk_blob_disk_note_version(struct mk_blob_disk *disk, int64_t asked, const char *etag);
/* Exactly len bytes. EIO: somebody cut the file. */
int mk_blob_disk_read(struct mk_call *call, const struct mk_blob_disk *disk, const char *label,
		      void *buf, size_t len, int64_t offset) _must_check_;
/* The next one to open it begins with a file of its own. */
void mk_blob_disk_retire(const struct mk_blob_disk *disk);
/* Brings the directory it is in down to the limit. */
void mk_blob_disk_trim(const struct mk_blob_disk *disk, int64_t limit);

#endif
