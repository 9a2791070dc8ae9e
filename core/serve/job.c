/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A job that calls mlflow.set_experiment() before mlflow.start_run(). Its MLFLOW_RUN_ID makes
 * start_run() go on with the job's own run, and the client refuses to when that run is not in the
 * experiment that was set; it says nothing of that to a server. So the run goes where the job wants
 * it. What a client asks then, in both calls, of all releases:
 *
 *	GET  experiments/get-by-name	x; or it makes x: POST experiments/create
 *	...				 what else the program asks
 *	GET  runs/get			 its own run: told to be in x
 *	POST runs/update RUNNING	 its own run: now it is
 *
 * Each alone may be asked for another reason, and then nothing happens: the run goes only when the
 * last of these comes after the others. An experiment whose runs were searched in between was looked
 * up to be read. Of several that were looked up nobody knows which was set: the truth is told, and
 * the client goes on when that is where it wants to be. Which job asks is said by the end of its
 * token: <token>.<run id>. Kept in memory only: after a restart of mantikd in between, the client
 * refuses as it would anywhere.
 */
#include "serve/frame.h"

#include <errno.h>
#include <string.h>

#include "domain/track/track.h"

#define AT "/api/2.0/mlflow/"

void serve_jobs_init(struct serve_jobs *jobs)
{
	pthread_mutex_init(&jobs->lock, NULL);
}

void serve_jobs_done(struct serve_jobs *jobs)
{
	pthread_mutex_destroy(&jobs->lock);
}

/* With the lock held: the job's own place, or with `make` that of who was silent longest. */
static struct serve_job *place_of(struct serve_jobs *jobs, const char *uid, bool make)
{
	struct serve_job *oldest = &jobs->v[0];

	for (size_t i = 0; i < SERVE_JOBS; i++) {
		if (strcmp(jobs->v[i].uid, uid) == 0)
			return &jobs->v[i];
		if (jobs->v[i].used < oldest->used)
			oldest = &jobs->v[i];
	}
	if (!make)
		return NULL;
	*oldest = (struct serve_job){};
	memcpy(oldest->uid, uid, strlen(uid) + 1);
	return oldest;
}

/* What is known of the job that asks; false: nothing. */
static bool known(struct exchange *x, struct serve_job *ret)
{
	struct serve_jobs *jobs = &x->serve->jobs;
	const struct serve_job *job;

	pthread_mutex_lock(&jobs->lock);
	job = place_of(jobs, x->job, false);
	if (job)
		*ret = *job;
	pthread_mutex_unlock(&jobs->lock);
	return job;
}

static void forget(struct exchange *x)
{
	struct serve_jobs *jobs = &x->serve->jobs;
	struct serve_job *job;

	pthread_mutex_lock(&jobs->lock);
	job = place_of(jobs, x->job, false);
	if (job)
		*job = (struct serve_job){};
	pthread_mutex_unlock(&jobs->lock);
}

static void named(struct exchange *x, const char *experiment)
{
	struct serve_jobs *jobs = &x->serve->jobs;
	struct serve_job *job;

	pthread_mutex_lock(&jobs->lock);
	job = place_of(jobs, x->job, true);
	job->several = job->several || (*job->experiment && strcmp(job->experiment, experiment) != 0);
	job->told = false;
	job->used = mk_now_mono();
	memset(job->experiment, 0, sizeof(job->experiment));
	memcpy(job->experiment, experiment, strnlen(experiment, sizeof(job->experiment) - 1));
	pthread_mutex_unlock(&jobs->lock);
}

static void told(struct exchange *x)
{
	struct serve_jobs *jobs = &x->serve->jobs;
	struct serve_job *job;

	pthread_mutex_lock(&jobs->lock);
	job = place_of(jobs, x->job, false);
	if (job)
		job->told = true;
	pthread_mutex_unlock(&jobs->lock);
}

static bool asks(const struct exchange *x, const char *what)
{
	return strncmp(x->rq.path, AT, strlen(AT)) == 0 && strcmp(x->rq.path + strlen(AT), what) == 0;
}

static const char *text_of(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "";
}

static bool of_own_run(const struct exchange *x)
{
	const char *id = text_of(x->rq.in, "run_id");

	return strcmp(*id ? id : text_of(x->rq.in, "run_uuid"), x->job) == 0;
}

static bool is_among(const json_t *list, const char *text)
{
	const json_t *one;
	size_t i;

	json_array_foreach(list, i, one)
		if (json_is_string(one) && strcmp(json_string_value(one), text) == 0)
			return true;
	return json_is_string(list) && strcmp(json_string_value(list), text) == 0;
}

/* It goes there. What refuses that (the experiment was deleted meanwhile) refuses the update. */
static int move(struct exchange *x, const char *experiment)
{
	int64_t id, experiment_id;
	int r = mk_track_run(&x->call, x->rq.m, x->rq.project_id, x->job, &id);

	if (r == 0)
		r = mk_track_experiment_id(&x->call, x->rq.m, x->rq.project_id, experiment,
					   &experiment_id);
	return r < 0 ? r : mk_track_run_move(&x->call, x->rq.m, id, experiment_id);
}

int serve_job_before(struct exchange *x)
{
	struct serve_job job;

	if (!*x->job || !known(x, &job))
		return 0;
	if (asks(x, "runs/search") &&
	    is_among(json_object_get(x->rq.in, "experiment_ids"), job.experiment)) {
		forget(x);
		return 0;
	}
	if (!asks(x, "runs/update") || !of_own_run(x))
		return 0;
	forget(x);
	return job.told && strcmp(text_of(x->rq.in, "status"), "RUNNING") == 0
		       ? move(x, job.experiment)
		       : 0;
}

/* Its own run, which it is about to go on with. */
static void tell(struct exchange *x)
{
	json_t *info = json_object_get(json_object_get(x->ret, "run"), "info");
	struct serve_job job;

	if (known(x, &job) && !job.several &&
	    strcmp(text_of(info, "experiment_id"), job.experiment) != 0 &&
	    json_object_set_new(info, "experiment_id", json_string(job.experiment)) == 0)
		told(x);
}

void serve_job_after(struct exchange *x)
{
	if (!*x->job || !x->ret)
		return;
	if (asks(x, "experiments/create"))
		named(x, text_of(x->ret, "experiment_id"));
	else if (asks(x, "experiments/get-by-name"))
		named(x, text_of(json_object_get(x->ret, "experiment"), "experiment_id"));
	else if (asks(x, "runs/get") && of_own_run(x))
		tell(x);
}
