/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes of remote files, kept on the local disk block by block: <cache>/blobs/<key> holds the bytes
 * (sparse) and behind them which blocks of 64 KiB are there, and of what version. When the cache
 * holds more than the option cache_limit, those read longest ago go, never an open one.
 *
 *	read ---> all blocks there? pread : wait for the stream that brings them
 *	stream --> one request, from the first missing block: 1 MiB for a first read or a jump, then
 *	           16 MiB, then to the end of the file for who reads on from where he was; stopped
 *	           when it is 64 MiB ahead of everybody and nobody has waited for 5 s. A read
 *	           elsewhere waits until a stream has brought what it was begun for, and stops it
 *
 * One version is read to its end: a stream whose version (etag) or size is another one makes reads
 * fail with ESTALE, and the next open begins anew with a file of its own: what is there of the
 * old version stays readable for who has it open. A block counts when it is whole, so a stream that
 * was cut is gone on with where it ended, by another process, too. Any thread.
 */
#ifndef MK_BLOBS_H
#define MK_BLOBS_H

#include "core.h"

struct mk_blobs;  /* the cache of this platform */
struct mk_cached; /* an open one */

struct mk_source {
	const char *remote;   /* lane */
	const char *identity; /* of the bytes: what else has the same has the same bytes */
	const char *label;    /* for errors */
	int64_t size;
	/* What came before this (ns, realtime) is asked about when it is opened: one byte, to see
	 * whether it is that version still. 0: it never changes. */
	int64_t good_since;
	/* Brings [offset, offset + len) in order (len < 0: to the end) to the sink, from exactly
	 * offset. *etag: NULL or the version to insist on (ESTALE); set to the one that comes
	 * before the first bytes are given. */
	int (*fetch)(struct mk_call *call, void *arg, int64_t offset, int64_t len, char **etag,
		     int (*sink)(void *sink_arg, const void *data, size_t len), void *sink_arg,
		     int64_t *ret_total);
	void *arg;
	void (*drop)(void *arg);
};

struct mk_blobs *mk_blobs_new(void);
void mk_blobs_free(struct mk_blobs *blobs); /* NULL is fine; all must be closed */

/* Local disk only, but for what good_since says: MK_PUNT then; when the source does not answer,
 * what is there is as good as before; ESTALE: it has another version, open it again. arg belongs to
 * it from now on, whatever happens. ENOSPC, EACCES of the cache directory with a text. */
int mk_cached_open(struct mk_call *call, struct mantik *m, const struct mk_source *source,
		   struct mk_cached **ret) _must_check_;
/* Bytes read, fewer than len only at the end. MK_PUNT for source.remote when they must be fetched.
 * ESTALE, EIO (the bytes that came are not as many as the size says), and the remote's errors. */
ssize_t mk_cached_read(struct mk_call *call, struct mk_cached *cached, void *buf, size_t len,
		       int64_t offset) _must_check_;
/* Are all bytes there? */
bool mk_cached_whole(struct mk_cached *cached);
int64_t mk_cached_size(const struct mk_cached *cached);
void mk_cached_close(struct mk_cached *cached); /* NULL is fine */

#endif
