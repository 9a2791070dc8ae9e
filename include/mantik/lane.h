/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lanes: a few threads per remote (default 4) for work that waits for that remote. A hung remote
 * fills its own lane and nothing else. Threads are started when needed and end
 * after 30 s idle. All functions are thread-safe and never wait for a remote themselves.
 */
#ifndef MANTIK_LANE_H
#define MANTIK_LANE_H

#include <stdbool.h>

#include <mantik/cleanup.h>

struct mk_lanes;
struct mk_lane_work {
	void (*run)(struct mk_lane_work *work); /* called in a lane thread; owns work from then */
	struct mk_lane_work *next;		/* the lane's */
};

enum { MK_LANE_MAX_THREADS = 32 }; /* of one lane, stuck ones included */

struct mk_lanes *mk_lanes_new(int threads_per_lane);
/* Runs what is queued, waits for running work to return (cancel the calls first). NULL is fine. */
void mk_lanes_free(struct mk_lanes *lanes);
/* Queues work for a remote, behind what is there. -EAGAIN when the lane has no thread and none can
 * be started: the caller keeps the work. */
int mk_lane_run(struct mk_lanes *lanes, const char *remote, struct mk_lane_work *work)
	_must_check_;
/* Takes queued work back: true if it had not begun (the caller owns it again). */
bool mk_lane_take_back(struct mk_lanes *lanes, const char *remote, struct mk_lane_work *work);
/*
 * The thread that runs `work` is stuck in something that cannot be cancelled: the lane gets another
 * one, up to MK_LANE_MAX_THREADS, and the stuck one ends when its work returns. Nothing happens if
 * the work is not running. work is only compared, never read.
 */
void mk_lane_replace_thread(struct mk_lanes *lanes, const char *remote,
			    const struct mk_lane_work *work);
int mk_lanes_threads(struct mk_lanes *lanes); /* alive now */

#endif
