/* SPDX-License-Identifier: Apache-2.0 */
/* core/base/lane.c: a hung remote fills its own lane and nothing else. */
#include <mantik/lane.h>

#include <mantik/call.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <time.h>

#include "test.h"

struct job {
	struct mk_lane_work work;
	sem_t *gate;		/* waits here, NULL: does not wait */
	_Atomic int *running;	/* how many have begun */
	_Atomic int *done;	/* how many have returned */
	int order;		/* its place among the done ones */
};

static void run_job(struct mk_lane_work *work)
{
	struct job *job = (struct job *)work;

	atomic_fetch_add(job->running, 1);
	if (job->gate)
		while (sem_wait(job->gate) < 0)
			;
	job->order = atomic_fetch_add(job->done, 1);
}

static bool reaches(_Atomic int *value, int want)
{
	int64_t until = mk_now_mono() + 10 * MK_SEC;

	while (atomic_load(value) != want)
		if (mk_now_mono() > until)
			return false;
		else
			nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	return true;
}

static void hung_remote_fills_its_own_lane_only(void)
{
	struct mk_lanes *lanes = mk_lanes_new(4);
	_Atomic int hung = 0, hung_done = 0, other = 0, other_done = 0;
	struct job stuck[100], quick[10];
	sem_t gate;

	sem_init(&gate, 0, 0);
	for (int i = 0; i < 100; i++) {
		stuck[i] = (struct job){{run_job}, &gate, &hung, &hung_done};
		CHECK_INT(mk_lane_run(lanes, "hung", &stuck[i].work), 0);
	}
	CHECK(reaches(&hung, 4));
	for (int i = 0; i < 10; i++) {
		quick[i] = (struct job){{run_job}, NULL, &other, &other_done};
		CHECK_INT(mk_lane_run(lanes, "other", &quick[i].work), 0);
	}
	CHECK(reaches(&other_done, 10));
	CHECK_INT(atomic_load(&hung), 4);
	CHECK(mk_lanes_threads(lanes) <= 8);
	for (int i = 0; i < 100; i++)
		sem_post(&gate);
	mk_lanes_free(lanes); /* drops nothing */
	CHECK_INT(atomic_load(&hung_done), 100);
	sem_destroy(&gate);
}

static void one_thread_keeps_the_order(void)
{
	struct mk_lanes *lanes = mk_lanes_new(1);
	_Atomic int running = 0, done = 0;
	struct job jobs[50];

	for (int i = 0; i < 50; i++) {
		jobs[i] = (struct job){{run_job}, NULL, &running, &done};
		CHECK_INT(mk_lane_run(lanes, "r", &jobs[i].work), 0);
	}
	mk_lanes_free(lanes);
	for (int i = 0; i < 50; i++)
		CHECK_INT(jobs[i].order, i);
}

static void queued_work_comes_back_and_begun_work_does_not(void)
{
	struct mk_lanes *lanes = mk_lanes_new(1);
	_Atomic int running = 0, done = 0;
	struct job jobs[4];
	sem_t gate;

	sem_init(&gate, 0, 0);
	for (int i = 0; i < 4; i++) {
		jobs[i] = (struct job){{run_job}, i ? NULL : &gate, &running, &done, -1};
		CHECK_INT(mk_lane_run(lanes, "r", &jobs[i].work), 0);
	}
	CHECK(reaches(&running, 1));
	CHECK(!mk_lane_take_back(lanes, "r", &jobs[0].work));
	CHECK(!mk_lane_take_back(lanes, "s", &jobs[1].work));
	CHECK(mk_lane_take_back(lanes, "r", &jobs[3].work)); /* the last: the queue's end moves */
	CHECK(mk_lane_take_back(lanes, "r", &jobs[1].work));
	CHECK(!mk_lane_take_back(lanes, "r", &jobs[1].work));
	CHECK_INT(mk_lane_run(lanes, "r", &jobs[3].work), 0);
	sem_post(&gate);
	mk_lanes_free(lanes);
	CHECK_INT(atomic_load(&done), 3);
	CHECK_INT(jobs[1].order, -1);
	CHECK_INT(jobs[3].order, 2);
	sem_destroy(&gate);
}

static void stuck_threads_are_replaced_up_to_the_bound(void)
{
	struct mk_lanes *lanes = mk_lanes_new(2);
	_Atomic int running = 0, done = 0;
	struct job jobs[60];
	sem_t gate;

	sem_init(&gate, 0, 0);
	for (int i = 0; i < 60; i++) {
		jobs[i] = (struct job){{run_job}, &gate, &running, &done};
		CHECK_INT(mk_lane_run(lanes, "r", &jobs[i].work), 0);
	}
	CHECK(reaches(&running, 2));
	mk_lane_replace_thread(lanes, "r", &jobs[0].work);
	mk_lane_replace_thread(lanes, "r", &jobs[0].work); /* the same one again: no more */
	mk_lane_replace_thread(lanes, "r", &jobs[50].work); /* not running */
	CHECK(reaches(&running, 3));
	CHECK_INT(mk_lanes_threads(lanes), 3);
	for (int i = 1; i < 60; i++) {
		if (i < 30)
			CHECK(reaches(&running, i + 2));
		mk_lane_replace_thread(lanes, "r", &jobs[i].work);
	}
	CHECK(reaches(&running, MK_LANE_MAX_THREADS));
	CHECK_INT(mk_lanes_threads(lanes), MK_LANE_MAX_THREADS);
	for (int i = 0; i < 60; i++)
		sem_post(&gate);
	mk_lanes_free(lanes); /* all were stuck, yet what was queued is done */
	CHECK_INT(atomic_load(&done), 60);
	sem_destroy(&gate);
}

static _Atomic int again_left;
static struct mk_lanes *again_lanes;
static void run_again(struct mk_lane_work *work)
{
	if (atomic_fetch_sub(&again_left, 1) > 1 &&
	    mk_lane_run(again_lanes, atomic_load(&again_left) % 2 ? "a" : "b", work) < 0)
		abort();
}

/* Work that goes from lane to lane by itself: lanes come and go, ended threads are joined. */
static void work_travels_between_lanes(void)
{
	struct mk_lane_work work = {run_again};

	again_left = 2000;
	again_lanes = mk_lanes_new(2);
	CHECK_INT(mk_lane_run(again_lanes, "a", &work), 0);
	CHECK(reaches(&again_left, 0));
	CHECK(mk_lanes_threads(again_lanes) <= 4);
	mk_lanes_free(again_lanes);
}

int main(void)
{
	return RUN(TEST(hung_remote_fills_its_own_lane_only), TEST(one_thread_keeps_the_order),
		   TEST(queued_work_comes_back_and_begun_work_does_not),
		   TEST(stuck_threads_are_replaced_up_to_the_bound),
		   TEST(work_travels_between_lanes));
}
