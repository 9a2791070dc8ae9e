/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Experiments and runs as JSON, the way MLflow's server writes its messages: what is empty is
 * absent, int64 are numbers, what no number can say is "NaN", "Infinity", "-Infinity".
 */
#ifndef MK_SERVE_TRACKED_H
#define MK_SERVE_TRACKED_H

#include "domain/track/track.h"
#include "serve/serve.h"

/* 0, or ENOMEM when nothing was made. */
int serve_made(struct serve_request *rq, const json_t *made) _must_check_;
const char *serve_id(int64_t id, char out[24]);
json_t *serve_number(double value);
/* ns to ms, downwards. */
json_t *serve_time(int64_t ns);
json_t *serve_experiment_json(const struct mk_track_experiment *experiment);

/* The run a request names by run_id (or run_uuid). */
int serve_run_of(struct serve_request *rq, int64_t *ret) _must_check_;
/* RunInfo, and all of a run: {info, data, inputs, outputs}. */
int serve_run_info(struct serve_request *rq, int64_t id, json_t **ret) _must_check_;
int serve_run(struct serve_request *rq, int64_t id, json_t **ret) _must_check_;

#endif
