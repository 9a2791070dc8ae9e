/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lanes: a few threads per remote (default 4) for work that waits for that remote. A hung remote
 * fills its own lane and nothing else (architecture 6). Threads are started when needed and end
 * after 30 s idle.
 */
#ifndef MK_LANE_H
#define MK_LANE_H

#include <mantik/call.h>

struct mk_lanes;
struct mk_lane_work {
	void (*run)(struct mk_lane_work *work); /* called in a lane thread; owns work from then */
	struct mk_lane_work *next;		 /* the lane's */
};

struct mk_lanes *mk_lanes_new(int threads_per_lane);
/* Waits for running work to return (cancel the calls first), drops nothing. */
void mk_lanes_free(struct mk_lanes *lanes);
/* Queues work for a remote. ENOMEM/EAGAIN when no thread can be had and none is running. */
int mk_lane_run(struct mk_lanes *lanes, const char *remote, struct mk_lane_work *work)
	_must_check_;
/* Takes queued work back: true if it had not begun (the caller owns it again). */
bool mk_lane_take_back(struct mk_lanes *lanes, const char *remote, struct mk_lane_work *work);
/* A thread of this lane is stuck in something uninterruptible: one more thread, up to a bound
 * (32 per lane). */
void mk_lane_replace_thread(struct mk_lanes *lanes, const char *remote);
int mk_lanes_threads(struct mk_lanes *lanes); /* alive now */

#endif
