/* SPDX-License-Identifier: Apache-2.0 */
/* The questions the index asks: each is flown by one thread for all who want to know. */
#ifndef MK_INDEX_FLY_H
#define MK_INDEX_FLY_H

#include "cache/flight.h"
#include "connect/tracking/tracking.h"
#include "core.h"

struct mk_question {
	struct mantik *m;
	const struct mk_tracking_ops *ops;
	struct mk_tracking *store; /* the index's, lives as long as the platform */
	int64_t project_id;
	char *connection;
	char *what;	   /* of the mark */
	int64_t object;	   /* experiment (0: all), run or model */
	char *remote_id;   /* of the run; name of the model */
	char *key;	   /* of the metric; path of a file or directory */
	enum mk_t_root root; /* of a path: where it begins, with remote_id and, of a model's */
	char *version;
	char *place; /* … all of that in one word */
	int64_t asked;	   /* ns realtime, set when it takes off */
};
void mk_question_drop(void *question);

/* Within another flight: lists are believed only of the server we know. 0 it is, by its experiments as of
 * so many ns ago at most. */
int mk_fly_who(struct mk_call *call, struct mk_flight *flight, const struct mk_question *q,
	       int64_t fresh) _must_check_;

mk_flight_fn mk_fly_experiments; /* struct mk_question * each */
mk_flight_fn mk_fly_runs;
mk_flight_fn mk_fly_run;
mk_flight_fn mk_fly_history;
mk_flight_fn mk_fly_models; /* models.c, and the next */
mk_flight_fn mk_fly_versions;
mk_flight_fn mk_fly_logged;
mk_flight_fn mk_fly_files; /* files.c, and the next */
mk_flight_fn mk_fly_size;

#endif
