/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A job from its turn to its final record.
 *
 *   STAGING -> STAGED -> SUBMITTING -> SUBMITTED -> RUNNING -> ENDED
 *      |         |                                              |
 *      +---------+-- cancel, refusal: recorded and done         v
 *                          DONE <- COLLECTED <- HARVESTED <-----+
 *
 * Each arrow is one transaction and may be the last thing a mantikd ever does: the next one goes on
 * from the step it finds (job.resumed). engine_advance() does what can be done now and is called
 * after every event; it runs in the loop's thread.
 */
#include "engine/engine.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "base/file.h"

enum {
	RETRY_DB_MS = 1000,
	RETRY_FIRST_MS = 2000, /* a site that is away: doubled each time … */
	RETRY_MOST_MS = 60000, /* … up to this */
	STORE_MS = 1000,       /* between two looks at what MLflow wrote */
	MAX_STARTS = 3,	       /* a job that never came to life */
};

void task_free(struct task *task)
{
	mk_call_done(&task->call);
	free(task->id);
	free(task->uid);
	free(task->workdir);
	mk_site_close(&task->site);
	free(task);
}

struct task *task_new(enum task_kind kind, struct job *job)
{
	struct task *task = mk_new(struct task);

	task->kind = kind;
	task->job = job;
	mk_call_init(&task->call);
	return task;
}

void job_free(struct engine *e, struct job *job)
{
	for (struct job **p = &e->jobs; *p; p = &(*p)->next)
		if (*p == job) {
			*p = job->next;
			break;
		}
	watch_end(e, job);
	if (job->watch_fd >= 0)
		engine_poll_remove(e, job->watch_fd);
	mk_closep(&job->watch_fd);
	harvest_free(job->harvest);
	store_free(job->store);
	mk_job_free(&job->result);
	mk_plan_free(&job->plan);
	mk_site_close(&job->site);
	free(job->uid);
	free(job->name);
	free(job->record);
	free(job->workdir);
	free(job->id);
	free(job);
}

static void later(struct job *job, int64_t ms)
{
	int64_t due = mk_now_mono() + ms * MK_MS;

	if (!job->due || due < job->due)
		job->due = due;
}

/* Records a step; when the database does not take it, the step is tried again. */
int job_step(struct engine *e, struct job *job, enum mk_journal_step to,
	     struct mk_run_change *change)
{
	struct mk_run_change none = {};

	if (!change)
		change = &none;
	change->run_id = job->run_id;

	int r = mk_journal_write(&e->call, e->m, to, change);

	if (r < 0) {
		engine_log("%s: %s: %s", job->uid, mk_journal_step_name(to), e->call.error.text);
		mk_error_clear(&e->call);
		later(job, RETRY_DB_MS);
		return r;
	}
	job->step = to;
	return 0;
}

/* --- a run becomes a job ------------------------------------------------------------------- */

static int read_plan(struct mk_call *call, struct mantik *m, int64_t run_id, struct mk_plan *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db, "SELECT plan FROM run_texts WHERE run_id = ?1", &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, run_id);
	r = mk_step(call, stmt);
	if (r < 0)
		return r;
	if (r == 0)
		return mk_fail(call, EUCLEAN, "the run has no plan");
	return mk_plan_read(call, mk_col_text(stmt, 0), ret);
}

int job_make(struct engine *e, const struct mk_intent *intent, struct job **ret)
{
	struct job *job = mk_new(struct job);
	int r;

	job->run_id = intent->run_id;
	job->uid = mk_strdup(intent->uid);
	job->name = mk_strdup(intent->dir);
	job->record = mk_strf("%s/runs/%s", e->m->data_dir, intent->uid);
	job->workdir = intent->workdir ? mk_strdup(intent->workdir) :
					 mk_strf("%s/%s", e->m->work_dir, intent->uid);
	job->step = intent->step;
	job->id = mk_strdup(intent->job_id);
	job->cancel = intent->cancel_asked;
	job->watch_fd = -1;
	job->result.exit_code = -1;
	job->next = e->jobs;
	e->jobs = job;
	r = mk_mkdirs(&e->call, job->record, 0700);
	if (r >= 0)
		r = mk_site_open(&e->call, e->m, intent->site, &job->site);
	if (r >= 0)
		r = read_plan(&e->call, e->m, job->run_id, &job->plan);
	if (r < 0) {
		job_free(e, job);
		return r;
	}
	*ret = job;
	return 0;
}

/* --- the steps ------------------------------------------------------------------------------ */

/* After a step: wait for an event (or job.due), do the next at once, or the job is no more. */
enum next { WAIT, AGAIN, GONE };

/* Ends a job the site has not got. */
static enum next drop(struct engine *e, struct job *job, enum mk_status status, const char *reason)
{
	int r = submit_refuse(e, job->run_id, status, reason);

	if (r < 0) {
		engine_log("%s: %s", job->uid, e->call.error.text);
		mk_error_clear(&e->call);
		later(job, RETRY_DB_MS);
		return WAIT;
	}
	engine_note(job, "scheduler", "%s: %s", mk_status_name(status), reason);
	job_free(e, job);
	return GONE;
}

static bool is_away(int r)
{
	return r == -EHOSTUNREACH || r == -ETIMEDOUT || r == -EBUSY || r == -ENOKEY ||
	       r == -EKEYEXPIRED;
}

/* The site cannot take it now: the run waits, and says why. */
static void put_off(struct engine *e, struct job *job, const char *reason)
{
	int64_t ms = RETRY_FIRST_MS;

	for (int i = 0; i < job->tries && ms < RETRY_MOST_MS; i++)
		ms *= 2;
	if (ms > RETRY_MOST_MS)
		ms = RETRY_MOST_MS;
	job->tries++;
	engine_note(job, "scheduler", "waits: %s", reason);

	struct mk_run_change change = {.run_id = job->run_id, .visible = true, .reason = reason};

	if (mk_journal_change(&e->call, e->m, &change) < 0)
		mk_error_clear(&e->call);
	later(job, ms);
}

static void run_for(struct engine *e, struct job *job, enum task_kind kind)
{
	struct task *task = task_new(kind, job);

	task->ask_first = kind == TASK_SUBMIT && job->resumed;
	engine_task_run(e, task);
}

static char *infrastructure(void)
{
	char host[256] = "";
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	double memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);

	(void)gethostname(host, sizeof(host) - 1);
	return mk_strf("%s, %ld cpus, %.1f GiB memory", host, cpus, memory / (1 << 30));
}

static void set_watch(struct engine *e, struct job *job)
{
	const struct mk_compute *compute = job->site.compute;

	if (job->watch_fd >= 0)
		return;
	if (compute->watch)
		job->watch_fd = compute->watch(&e->call, &job->site, job->id, job->uid);
	if (job->watch_fd >= 0 && engine_poll_add(e, job->watch_fd, job) < 0)
		mk_closep(&job->watch_fd);
	if (job->watch_fd < 0) {
		mk_error_clear(&e->call);
		later(job, compute->caps.poll_ms);
	}
}

/* It never came to life: to the site it is as if it had not been handed over. */
static enum next start_again(struct engine *e, struct job *job)
{
	if (job->watch_fd >= 0)
		engine_poll_remove(e, job->watch_fd);
	mk_closep(&job->watch_fd);
	if (job->cancel)
		return drop(e, job, MK_KILLED, "cancelled");
	if (++job->tries > MAX_STARTS)
		return drop(e, job, MK_FAILED, "lost: the job could not be brought to life");
	job->resumed = true;
	return job_step(e, job, MK_STEP_STAGED, NULL) == 0 ? AGAIN : WAIT;
}

/* Asks the site. 1: the job has ended (job.result), 0: not yet, -ENOENT: it never began. */
static int ask(struct engine *e, struct job *job)
{
	const struct mk_compute *compute = job->site.compute;
	struct mk_job now = {};
	int r = compute->status(&e->call, &job->site, (const char *const *)&job->id,
				(const char *const *)&job->uid, 1, &now);

	if (r >= 0 && now.status == MK_UNKNOWN) {
		mk_job_free(&now);
		r = compute->find(&e->call, &job->site, job->uid, &now);
	}
	if (r < 0) {
		if (r != -ENOENT)
			engine_log("%s: %s", job->uid, e->call.error.text);
		mk_error_clear(&e->call);
		return r;
	}
	mk_job_free(&job->result);
	job->result = now;
	if (now.id && (!job->id || strcmp(now.id, job->id) != 0)) {
		free(job->id);
		job->id = mk_strdup(now.id);
		if (job->watch_fd >= 0)
			engine_poll_remove(e, job->watch_fd);
		mk_closep(&job->watch_fd);
	}
	return mk_status_final(now.status);
}

/* What was waited for has happened: if the job goes on all the same, there is nothing to watch. */
static void forget_watch(struct engine *e, struct job *job)
{
	struct pollfd p = {.fd = job->watch_fd, .events = POLLIN};

	if (job->watch_fd < 0 || poll(&p, 1, 0) <= 0)
		return;
	engine_poll_remove(e, job->watch_fd);
	mk_closep(&job->watch_fd);
	/* Who was told to cancel may have been killed before it could. */
	job->cancelling = false;
}

/* Nothing tells when MLflow has logged something: it is looked at each second. */
static void look_at_store(struct engine *e, struct job *job)
{
	int64_t left = job->store_due - mk_now_mono();

	if (!job->site.compute->caps.runs_here)
		return;
	if (left > 0) {
		later(job, left / MK_MS + 1);
		return;
	}
	job->store_due = mk_now_mono() + STORE_MS * MK_MS;
	if (store_is_there(job))
		run_for(e, job, TASK_STORE);
	else
		later(job, STORE_MS);
}

static enum next look_at(struct engine *e, struct job *job)
{
	forget_watch(e, job);

	int r = ask(e, job);

	if (r == -ENOENT)
		return start_again(e, job);
	if (r < 0) {
		later(job, job->site.compute->caps.poll_ms);
		return WAIT;
	}
	if ((r == 1 || job->result.status == MK_RUNNING) && job->step < MK_STEP_RUNNING) {
		_cleanup_free_ char *where = infrastructure();
		struct mk_run_change change = {
			.visible = true,
			.set_status = true,
			.status = MK_RUNNING,
			.reason = "",
			.job_id = job->id,
			.raw_status = job->result.raw_status,
			.nodes = job->result.nodes,
			.started = job->result.started,
			.infrastructure = job->site.compute->caps.runs_here ? where : NULL,
		};

		if (job_step(e, job, MK_STEP_RUNNING, &change) < 0)
			return WAIT;
		if (job->result.started)
			engine_note(job, "scheduler", "running as %s", job->id);
	}
	if (r == 1) {
		e->look = true; /* its slot is free */
		return job_step(e, job, MK_STEP_ENDED, NULL) == 0 ? AGAIN : WAIT;
	}
	if (job->watch_fd < 0) {
		set_watch(e, job);
		/* It may have ended before anybody watched. */
		if (job->watch_fd >= 0)
			return AGAIN;
	}
	if (job->cancel && !job->cancelling) {
		job->cancelling = true;
		engine_note(job, "scheduler", "cancel was asked for");
		run_for(e, job, TASK_CANCEL);
		return WAIT;
	}
	watch_looked(job);
	r = harvest_pass(e, job, false);
	if (r != 0)
		later(job, r < 0 ? RETRY_DB_MS : 0);
	if (r < 0)
		mk_error_clear(&e->call);
	look_at_store(e, job);
	return WAIT;
}

static enum next last_harvest(struct engine *e, struct job *job)
{
	if (job->resumed && ask(e, job) < 0)
		job->result.status = MK_UNKNOWN;
	job->resumed = false;
	watch_end(e, job);

	int r = harvest_pass(e, job, true);

	if (r < 0) {
		engine_log("%s: harvest: %s", job->uid, e->call.error.text);
		mk_error_clear(&e->call);
	}
	if (r != 0) {
		later(job, r < 0 ? RETRY_DB_MS : 0);
		return WAIT;
	}
	/* May take as long as they are big, and the run is not over before. */
	struct mk_run_change change = {
		.visible = job->plan.artifacts.n > 0,
		.reason = "the job has ended, its artifacts are being copied",
	};

	return job_step(e, job, MK_STEP_HARVESTED, &change) == 0 ? AGAIN : WAIT;
}

static enum next record_end(struct engine *e, struct job *job)
{
	struct mk_job *end = &job->result;

	if (job->resumed && ask(e, job) < 0)
		end->status = MK_UNKNOWN;
	job->resumed = false;

	struct mk_run_change change = {
		.visible = true,
		.set_status = true,
		.status = end->status,
		.reason = end->reason ? end->reason : "",
		.raw_status = end->raw_status,
		.job_id = job->id,
		.started = end->started,
		.ended = end->ended ? end->ended : mk_now_real(),
		.set_exit = true,
		.exit_code = end->exit_code,
		.signal = end->signal,
	};

	if (job_step(e, job, MK_STEP_DONE, &change) < 0)
		return WAIT;
	engine_note(job, "scheduler", "%s%s%s", mk_status_name(end->status), end->reason ? ": " : "",
		    end->reason ? end->reason : "");
	if (job->site.compute->finish)
		job->site.compute->finish(&job->site, job->id, job->uid);
	e->look = true; /* others may wait for it */
	job_free(e, job);
	return GONE;
}

static enum next one_step(struct engine *e, struct job *job)
{
	if (job->cancel && job->step < MK_STEP_SUBMITTING)
		return drop(e, job, MK_KILLED, "cancelled");
	switch (job->step) {
	case MK_STEP_STAGING:
		run_for(e, job, TASK_STAGE);
		return WAIT;
	case MK_STEP_STAGED:
		return job_step(e, job, MK_STEP_SUBMITTING, NULL) == 0 ? AGAIN : WAIT;
	case MK_STEP_SUBMITTING:
		if (!job->watched)
			watch_begin(e, job);
		run_for(e, job, TASK_SUBMIT);
		return WAIT;
	case MK_STEP_SUBMITTED:
	case MK_STEP_RUNNING:
		if (!job->watched)
			watch_begin(e, job);
		job->resumed = false;
		return look_at(e, job);
	case MK_STEP_ENDED:
		return last_harvest(e, job);
	case MK_STEP_HARVESTED:
		run_for(e, job, TASK_COLLECT);
		return WAIT;
	case MK_STEP_COLLECTED:
		return record_end(e, job);
	default:
		return WAIT;
	}
}

void engine_advance(struct engine *e, struct job *job)
{
	if (job->task) {
		/* Staging can take long (an environment is built) and is not worth finishing. */
		if (job->cancel && job->task->kind == TASK_STAGE)
			mk_call_cancel(&job->task->call);
		return;
	}
	while (one_step(e, job) == AGAIN)
		;
}

/* --- what a task brought back ---------------------------------------------------------------- */

static void staged(struct engine *e, struct job *job, struct task *task)
{
	if (task->result == 0) {
		(void)!job_step(e, job, MK_STEP_STAGED, NULL);
	} else if (is_away(task->result)) {
		put_off(e, job, task->call.error.text);
		return;
	} else if (task->result != -EINTR) {
		engine_note(job, "submission", "%s", task->call.error.text);
		(void)drop(e, job, MK_FAILED, task->call.error.text);
		return;
	} else if (!job->cancel) {
		return; /* mantikd is told to go */
	}
	engine_advance(e, job);
}

static void submitted(struct engine *e, struct job *job, struct task *task)
{
	if (task->result == 0) {
		struct mk_run_change change = {.visible = true, .job_id = task->id};

		job->id = mk_steal(&task->id);
		job->resumed = false;
		/* If it is not recorded, find(key) will bring it back. */
		if (job_step(e, job, MK_STEP_SUBMITTED, &change) < 0) {
			job->resumed = true;
			return;
		}
	} else if (is_away(task->result) || task->result == -EEXIST || task->result == -EINTR) {
		job->resumed = true;
		put_off(e, job, task->call.error.text);
		return;
	} else {
		engine_note(job, "submission", "%s", task->call.error.text);
		(void)drop(e, job, MK_FAILED, task->call.error.text);
		return;
	}
	engine_advance(e, job);
}

static void cancelled(struct engine *e, struct job *job, struct task *task)
{
	/* ESRCH: it was over already, which shows by itself. */
	if (task->result < 0 && task->result != -ESRCH) {
		job->cancelling = false;
		put_off(e, job, task->call.error.text);
		return;
	}
	engine_advance(e, job);
}

static void stored(struct engine *e, struct job *job, struct task *task)
{
	if (task->result == -EINTR)
		return; /* mantikd is told to go */
	if (task->result < 0)
		engine_log("%s: MLflow's store: %s", job->uid, task->call.error.text);
	job->store_due = mk_now_mono() + STORE_MS * MK_MS;
	engine_advance(e, job);
}

static void collected(struct engine *e, struct job *job, struct task *task)
{
	if (task->result < 0 && task->result == -EINTR)
		return; /* mantikd is told to go */
	if (task->result < 0)
		engine_note(job, "submission", "artifacts: %s", task->call.error.text);
	if (job_step(e, job, MK_STEP_COLLECTED, NULL) == 0)
		engine_advance(e, job);
}

static void cleaned(struct engine *e, struct task *task)
{
	struct mk_run_change change = {.run_id = task->run_id, .visible = true, .workdir = ""};
	int r = task->result;

	if (r == 0)
		r = mk_journal_change(&e->call, e->m, &change);
	else
		engine_log("%s: clean: %s", task->uid, task->call.error.text);
	/* What cannot be removed now is asked for again by a person, who is told why. */
	if (r < 0) {
		change.workdir = NULL;
		change.reason = task->call.error.text;
		r = mk_journal_change(&e->call, e->m, &change);
	}
	if (r >= 0)
		r = mk_journal_close(&e->call, e->m, task->run_id, "clean");
	if (r < 0)
		mk_error_clear(&e->call);
}

void engine_task_done(struct engine *e, struct task *task)
{
	static void (*const back[])(struct engine *e, struct job *job, struct task *task) = {
		[TASK_STAGE] = staged,
		[TASK_SUBMIT] = submitted,
		[TASK_CANCEL] = cancelled,
		[TASK_COLLECT] = collected,
		[TASK_STORE] = stored,
	};

	if (task->kind == TASK_CLEAN) {
		cleaned(e, task);
	} else {
		task->job->task = NULL;
		back[task->kind](e, task->job, task);
	}
	task_free(task);
}
