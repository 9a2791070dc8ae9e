/* SPDX-License-Identifier: Apache-2.0 */
/* Between run.c and log.c: a run's row inside a writing transaction. */
#ifndef MK_TRACK_ROW_H
#define MK_TRACK_ROW_H

#include "domain/track/track.h"

struct mk_track_row {
	int64_t id;
	char uid[33];
	enum mk_status status;
	bool deleted, api;
	int64_t project_id, experiment_id;
};
/* ENOENT; with `active` EINVAL for one that is deleted. */
int mk_track_look(struct mk_call *call, struct mk_conn *conn, int64_t id, bool active,
		  struct mk_track_row *ret) _must_check_;
/* Sets a tag, and what the row says of it. */
int mk_track_put_tag(struct mk_call *call, struct mk_conn *conn, const struct mk_track_row *run,
		     const char *key, const char *value) _must_check_;

#endif
