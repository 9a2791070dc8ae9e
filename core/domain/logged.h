/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logging inside a writing transaction: what the engine's harvest and the tracking server use, and
 * the functions of run.h are made of.
 */
#ifndef MK_LOGGED_H
#define MK_LOGGED_H

#include <mantik/run.h>

#include "db/db.h"

/* EINVAL: empty, over 250 bytes, not UTF-8, a control character, a part empty, `.` or `..`. */
int mk_key_check(struct mk_call *call, const char *noun, const char *key) _must_check_;
int mk_value_check(struct mk_call *call, enum mk_value_kind kind, const char *key,
		   const char *value) _must_check_;
/* ENOENT no such run; EROFS it is deleted, or mirrored from a tracking store. */
int mk_logging_allowed(struct mk_call *call, struct mk_conn *conn, int64_t run_id) _must_check_;

/* mk_run_value_set inside a transaction; key and value have been checked. */
int mk_value_set(struct mk_call *call, struct mk_conn *conn, int64_t id, enum mk_value_kind kind,
		 const char *key, const char *value) _must_check_;

/* A line as parsed: what was left out is filled in when it is appended. */
struct mk_logged {
	double value; /* never -0.0: what is logged here is a number, a store's is to the last bit */
	int64_t step;
	int64_t time; /* 0: now, unless has_time */
	bool has_step, has_time;
};
/* 0, or -EINVAL with why in *ret_why (static). */
int mk_metric_parse(const char *line, size_t len, struct mk_logged *ret,
		    const char **ret_why) _must_check_;
/* Appends points to a key in order; MK_TOUCH_LOGGED included. EINVAL: step or count overflows. */
int mk_metric_append(struct mk_call *call, struct mk_conn *conn, int64_t run_id, const char *key,
		     const struct mk_logged *points, size_t n) _must_check_;
/* The same without the touch and, like MLflow's stores, without the points that are there already:
 * same step, time and value. */
int mk_metric_append_new(struct mk_call *call, struct mk_conn *conn, int64_t run_id,
			 const char *key, const struct mk_logged *points, size_t n) _must_check_;

/*
 * Harvest: `data` are the bytes at `offset` of the file `path` (relative to MANTIK_RUN_DIR) that
 * logs `key`. Its whole lines are appended and the position is advanced over them in the same
 * transaction, so that a kill neither doubles nor loses a point. An unfinished last line stays for
 * later, unless `last` (the job has ended) or it is longer than 64 KiB. Bad lines are given to
 * `bad` (may be NULL), in the writer thread, and skipped.
 *
 * Returns how many bytes were consumed. ESTALE: the position is not `offset` (somebody else was
 * faster): read it again with mk_harvest_offset(). ENOENT, EROFS as above.
 */
typedef void mk_harvest_bad(void *arg, int64_t offset, const char *line, size_t len,
			    const char *why);
struct mk_harvest {
	int64_t run_id;
	const char *key, *path;
	int64_t offset;
	const char *data;
	size_t len;
	bool last;
	mk_harvest_bad *bad;
	void *arg;
};
int mk_metric_append_harvest(struct mk_call *call, struct mk_conn *conn,
			     const struct mk_harvest *harvest) _must_check_;
/* The same as one write of its own (MK_KILLSAFE). */
int mk_metric_harvest(struct mk_call *call, struct mantik *m,
		      const struct mk_harvest *harvest) _must_check_;
/* 0 when nothing was read yet. */
int mk_harvest_offset(struct mk_call *call, struct mk_conn *conn, int64_t run_id, const char *path,
		      int64_t *ret) _must_check_;
int mk_harvest_advance(struct mk_call *call, struct mk_conn *conn, int64_t run_id, const char *path,
		       int64_t offset) _must_check_;

/* A value in the database: NULL is NaN, and -0.0 has a mark beside it. */
enum { MK_MINUS_LAST = 1, MK_MINUS_MIN = 2, MK_MINUS_MAX = 4 };
bool mk_is_minus_zero(double value);
void mk_bind_value(struct mk_stmt *stmt, int i, double value);
/* The mark of one value: 1, or NULL. */
void mk_bind_minus(struct mk_stmt *stmt, int i, double value);
double mk_col_value(struct mk_stmt *stmt, int i);
/* minus: the column of the mark, and the bits of it that count; looked at if the value is 0. */
double mk_col_value_minus(struct mk_stmt *stmt, int i, int minus, int64_t bits);

/* The line a point is shown as (`step\tvalue\ttime\n`), at most 96 bytes. Keeps the text of the
 * day between calls. */
struct mk_point_writer {
	int64_t day;
	char date[16];
};
/* mk_time_text(time, true) without the NUL: 24 bytes; time is above 0. */
size_t mk_time_put(struct mk_point_writer *writer, int64_t time, char *out);
size_t mk_point_write(struct mk_point_writer *writer, const struct mk_point *point, char *out);

#endif
