/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors that users met, kept for `.mantik/errors` and `mantikctl why`: the kernel hands on an errno
 * and nothing else, the sentence that belongs to it waits here. The last 1000 are kept.
 */
#ifndef MANTIK_ERROR_H
#define MANTIK_ERROR_H

#include <mantik/mantik.h>

/* Keeps an error of a path of the tree; nothing when error->code is 0 or the platform is read-only.
 * Waits for the database at most 200 ms: what cannot be kept then is lost. */
void mk_error_record(struct mantik *m, const char *path, const struct mk_error *error);

struct mk_error_entry {
	int64_t time; /* ns, realtime */
	const char *path;
	const char *name; /* "EINVAL" */
	const char *text;
	const char *remote; /* or NULL */
	const char *detail; /* or NULL */
};
typedef int mk_error_emit(void *arg, const struct mk_error_entry *entry);
/* Errors of path and what is below it (NULL: all), oldest first. Entries are valid during emit. */
int mk_error_list(struct mk_call *call, struct mantik *m, const char *path, mk_error_emit *emit,
		  void *arg) _must_check_;
/* .mantik/errors: a table of time path errno text remote detail. */
int mk_error_table(struct mk_call *call, struct mantik *m, struct mk_buf *ret) _must_check_;

#endif
