/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Uploads as the index and the outbox see them (mantik/upload.h): rows of the table `uploads`.
 *
 *	waiting (sent = 0)   <data>/uploads/<file> holds the bytes; shown and read from there
 *	sent                 the store has it; the row stands in for the listings that were asked
 *	                     for before, and goes with the first that was asked for after
 *	refused              while its writer waits: its close fails, then row and file are gone.
 *	                     Later: it stays as it waited (outbox.h: `refused`), for the close said
 *	                     that it is safe
 */
#ifndef MK_UPLOAD_H
#define MK_UPLOAD_H

#include <mantik/blob.h>
#include <mantik/upload.h>

#include "core.h"
#include "domain/index/files.h"

/* Of a path that is on its way: 1 found (*ret_file: its bytes are there, NULL: the store's), 0 not. A
 * directory is one when something in it is on its way. */
int mk_upload_find(struct mk_call *call, struct mantik *m, const struct mk_place *place,
		   const char *path, struct mk_dirent *ret, char **ret_file) _must_check_;
/* Those in a directory that wait, over what its mirror has, and those that it has not; directories, too. */
int mk_upload_list(struct mk_call *call, struct mantik *m, const struct mk_place *place,
		   const char *dir, mk_dirent_emit *emit, void *arg) _must_check_;
/* In the transaction that stores a listing: forgets what was sent before it was asked for. */
int mk_upload_settle(struct mk_call *call, struct mk_conn *conn, int64_t project_id,
		     const char *place, const char *dir, int64_t asked) _must_check_;
/* A waiting one's bytes. */
int mk_upload_open(struct mk_call *call, struct mantik *m, const char *file,
		   int64_t size, struct mk_blob **ret) _must_check_;

/* --- for the sender -------------------------------------------------------------------------- */

/* The directory of a run that was asked for last: a copy of many files asks once, not for each of them.
 * Of one sender, {} at first. */
struct mk_upload_seen {
	int64_t run_id, until; /* mono: then it is asked for again */
	char *dir;
	struct mk_list paths;
};
void mk_upload_seen_free(struct mk_upload_seen *seen);

/* Before it is sent first: EEXIST when somebody else has logged a file, or directory, of its name since
 * we looked; the store is asked for a directory at most once a minute. 0 also of one that is gone. */
int mk_upload_ask(struct mk_call *call, struct mantik *m, int64_t id,
		  struct mk_upload_seen *seen) _must_check_;
/* Sends one; of one that was sent or is gone: 0. The result is that of tracking.h's put. */
int mk_upload_send(struct mk_call *call, struct mantik *m, int64_t id) _must_check_;
/* It ends unsent: in the transaction that says so, and after it. */
int mk_upload_out_take_back(struct mk_call *call, struct mk_conn *conn, int64_t id) _must_check_;
void mk_upload_forget(struct mantik *m, const char *file);
/* Its bytes are here. */
bool mk_upload_is_kept(struct mantik *m, const char *file);
/* Where it is in the tree. */
int mk_upload_out_path(struct mk_call *call, struct mk_conn *conn, int64_t id,
		       struct mk_buf *ret) _must_check_;
/* Files nobody knows of: left by a power cut, or by who was killed. For mantikd. */
void mk_upload_sweep(struct mk_call *call, struct mantik *m);

#endif
