/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A submission from its acknowledgement to its final record.
 *
 *   ACCEPTED -turn-> STAGING -> STAGED -> SUBMITTING -> SUBMITTED -> RUNNING -> ENDED
 *       |               |         |                                              |
 *       +--- cancel, a failed `after:`, a refusal: recorded and done             v
 *                                            DONE <- COLLECTED <- HARVESTED <----+
 *
 * Each arrow is one transaction and may be the last thing a mantikd ever does: the next one goes on
 * from the step it finds (job.resumed). Runs in the loop's thread.
 */
#include "engine/engine.h"

#include <errno.h>
#include <string.h>

#include "base/file.h"
#include "domain/domain.h"

/* Ends a run that no site has heard of. */
int submit_refuse(struct engine *e, int64_t run_id, enum mk_status status, const char *reason)
{
	struct mk_run_change change = {
		.run_id = run_id,
		.visible = true,
		.set_status = true,
		.status = status,
		.reason = reason,
		.ended = mk_now_real(),
	};

	e->look = true; /* others may wait for it */
	return mk_journal_write(&e->call, e->m, MK_STEP_DONE, &change);
}

/* What cannot even be looked at is the run's failure; a database that is busy is not. */
static int job_refused(struct engine *e, const struct mk_intent *intent, int r)
{
	if (r != -EUCLEAN && r != -EINVAL && r != -ENOENT)
		return r;

	_cleanup_free_ char *reason = mk_strdup(e->call.error.text);

	mk_error_clear(&e->call);
	return submit_refuse(e, intent->run_id, MK_FAILED, reason);
}

static int resume_one(void *arg, const struct mk_intent *intent)
{
	struct engine *e = arg;
	struct job *job;
	int r = job_make(e, intent, &job);

	if (r < 0)
		return job_refused(e, intent, r);
	job->resumed = true;
	job->due = mk_now_mono();
	return 0;
}

static int clean_again(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	return mk_domain_run(call, conn,
			     "UPDATE intents SET try_at = 0 WHERE verb = 'clean' AND try_at > ?1", 0,
			     0);
}

int submit_resume(struct engine *e)
{
	/* A clean was put off only while it was at work. */
	int r = mk_db_write(&e->call, e->m->db, MK_KILLSAFE, clean_again, NULL);

	if (r < 0)
		return r;
	return mk_journal_list(&e->call, e->m, "submit", true, resume_one, e);
}

/* --- whose turn it is ----------------------------------------------------------------------- */

static int64_t free_slots(struct engine *e, const struct mk_site *site)
{
	int64_t used = 0;

	if (!site->compute->caps.has_slots)
		return INT64_MAX;
	for (struct job *job = e->jobs; job; job = job->next)
		used += strcmp(job->site.name, site->name) == 0 && job->step < MK_STEP_ENDED;
	return site->slots - used;
}

static int begin(struct engine *e, const struct mk_intent *intent)
{
	struct job *job;
	int r = job_make(e, intent, &job);

	if (r < 0)
		return job_refused(e, intent, r);

	struct mk_run_change change = {.visible = true, .workdir = job->workdir, .reason = ""};

	engine_note(job, "scheduler", "its turn has come");
	if (job_step(e, job, MK_STEP_STAGING, &change) == 0)
		engine_advance(e, job);
	return 0;
}

/* The runs whose turn it is at one site, first come first served. Those waiting for another run,
 * for a time, or held stand aside and stop nobody. */
static int next_runs(struct engine *e, const struct mk_site *site, int64_t slots)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(
		&e->call, e->m->db,
		"SELECT i.run_id, r.uid, r.name, r.dir, r.site, r.workdir"
		" FROM intents i JOIN runs r ON r.id = i.run_id"
		" WHERE i.verb = 'submit' AND i.step = 0 AND i.held = 0 AND i.try_at <= ?1"
		" AND r.site = ?2 AND r.cancel_asked = 0"
		" AND NOT EXISTS (SELECT 1 FROM run_after a JOIN runs o ON o.id = a.other_id"
		"  WHERE a.run_id = i.run_id AND o.status != 2)"
		" AND NOT EXISTS (SELECT 1 FROM settings WHERE key = 'queue_paused'"
		"  AND value NOT IN ('', '0'))"
		" ORDER BY i.id LIMIT ?3",
		&stmt);

	if (r < 0)
		return r;

	struct {
		int64_t run_id;
		char *text[5];
	} *found = NULL;
	size_t n = 0;

	mk_bind_int(stmt, 1, mk_now_real());
	mk_bind_text(stmt, 2, site->name);
	mk_bind_int(stmt, 3, slots < 64 ? slots : 64);
	/* Taken out first: beginning one writes, and a reader should not look on meanwhile. */
	while ((r = mk_step(&e->call, stmt)) > 0) {
		void *more = reallocarray(found, n + 1, sizeof(*found));

		if (!more) {
			r = -ENOMEM;
			break;
		}
		found = more;
		found[n].run_id = mk_col_int(stmt, 0);
		for (int i = 0; i < 5; i++)
			found[n].text[i] = mk_col_dup(stmt, i + 1);
		n++;
	}
	mk_reset(&stmt);
	if (n == 64)
		e->look = true;
	for (size_t i = 0; i < n; i++) {
		struct mk_intent intent = {
			.run_id = found[i].run_id,
			.verb = "submit",
			.uid = found[i].text[0],
			.name = found[i].text[1],
			.dir = found[i].text[2],
			.site = found[i].text[3],
			.workdir = found[i].text[4],
		};

		if (r >= 0)
			r = begin(e, &intent);
		for (int k = 0; k < 5; k++)
			free(found[i].text[k]);
	}
	free(found);
	return r;
}

/* Runs whose `after:` can no longer be fulfilled. */
static int failed_after(struct engine *e)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(
		&e->call, e->m->db,
		"SELECT i.run_id, o.dir, o.status FROM intents i"
		" JOIN run_after a ON a.run_id = i.run_id JOIN runs o ON o.id = a.other_id"
		" WHERE i.verb = 'submit' AND i.step = 0 AND o.status > 2 LIMIT 1",
		&stmt);

	if (r < 0)
		return r;
	r = mk_step(&e->call, stmt);
	if (r <= 0)
		return r;

	int64_t run_id = mk_col_int(stmt, 0);
	static const char *const became[] = {
		[MK_FAILED] = "failed",
		[MK_KILLED] = "was cancelled",
		[MK_UNKNOWN] = "is UNKNOWN: nobody knows how it ended",
	};
	int64_t status = mk_col_int(stmt, 2);
	bool killed = status == MK_KILLED;
	_cleanup_free_ char *reason =
		mk_strf("after: %s %s", mk_col_text(stmt, 1),
			became[status == MK_FAILED || killed ? status : MK_UNKNOWN]);

	mk_reset(&stmt);
	return submit_refuse(e, run_id, killed ? MK_KILLED : MK_FAILED, reason);
}

static struct job *find_job(struct engine *e, int64_t run_id)
{
	for (struct job *job = e->jobs; job; job = job->next)
		if (job->run_id == run_id)
			return job;
	return NULL;
}

struct asked {
	int64_t run_id;
	enum mk_status status;
	char *uid, *site, *workdir;
	bool clean;
};
struct asked_list {
	struct asked *v;
	size_t n;
};

static int collect_asked(void *arg, const struct mk_intent *intent)
{
	struct asked_list *list = arg;
	if (intent->try_at > mk_now_real())
		return 0;

	struct asked *v = reallocarray(list->v, list->n + 1, sizeof(*v));

	if (!v)
		return -ENOMEM;
	list->v = v;
	list->v[list->n++] = (struct asked){
		.run_id = intent->run_id,
		.status = intent->status,
		.uid = mk_strdup(intent->uid),
		.site = mk_strdup(intent->site),
		.workdir = mk_strdup(intent->workdir),
		.clean = strcmp(intent->verb, "clean") == 0,
	};
	return 0;
}

static int do_clean(struct engine *e, struct asked *a)
{
	if (!mk_status_final(a->status) || find_job(e, a->run_id))
		return 0; /* when it has ended */
	if (!a->workdir)
		return mk_journal_close(&e->call, e->m, a->run_id, "clean");

	struct task *task = task_new(TASK_CLEAN, NULL);
	int r = mk_site_open(&e->call, e->m, a->site, &task->site);

	if (r < 0) {
		task_free(task);
		return mk_journal_close(&e->call, e->m, a->run_id, "clean");
	}
	task->run_id = a->run_id;
	task->uid = mk_steal(&a->uid);
	task->workdir = mk_steal(&a->workdir);
	/* Not to be begun twice while it is at work. */
	r = mk_journal_later(&e->call, e->m, a->run_id, "clean",
			     mk_now_real() + 3600 * MK_SEC, NULL);
	engine_task_run(e, task);
	return r;
}

static int do_cancel(struct engine *e, struct asked *a)
{
	struct job *job = find_job(e, a->run_id);

	if (job) {
		if (!job->cancel) {
			job->cancel = true;
			engine_advance(e, job);
		}
		return 0;
	}
	if (mk_status_final(a->status))
		return mk_journal_close(&e->call, e->m, a->run_id, "cancel");
	return submit_refuse(e, a->run_id, MK_KILLED, "cancelled");
}

static int do_asked(struct engine *e)
{
	struct asked_list list = {};
	int r = mk_journal_list(&e->call, e->m, "cancel", false, collect_asked, &list);

	if (r >= 0)
		r = mk_journal_list(&e->call, e->m, "clean", false, collect_asked, &list);
	for (size_t i = 0; i < list.n; i++) {
		if (r >= 0)
			r = list.v[i].clean ? do_clean(e, &list.v[i]) : do_cancel(e, &list.v[i]);
		free(list.v[i].uid);
		free(list.v[i].site);
		free(list.v[i].workdir);
	}
	free(list.v);
	return r;
}

/* When the next intent that was put off is due. */
static int next_try(struct engine *e)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(&e->call, e->m->db, "SELECT min(try_at) FROM intents WHERE try_at > ?1",
			   &stmt);

	if (r < 0)
		return r;

	int64_t now = mk_now_real();

	mk_bind_int(stmt, 1, now);
	r = mk_step(&e->call, stmt);
	if (r > 0 && !mk_col_null(stmt, 0))
		e->next_try = mk_now_mono() + (mk_col_int(stmt, 0) - now);
	return r < 0 ? r : 0;
}

int submit_look(struct engine *e)
{
	_cleanup_list_ struct mk_list names = {};
	int r = do_asked(e);

	if (r >= 0)
		r = failed_after(e);
	if (r >= 0)
		r = mk_site_names(&e->call, e->m, &names);
	for (size_t i = 0; r >= 0 && i < names.n; i++) {
		struct mk_site site = {};

		r = mk_site_open(&e->call, e->m, names.v[i], &site);
		if (r < 0)
			break;

		int64_t slots = free_slots(e, &site);

		if (slots > 0)
			r = next_runs(e, &site, slots);
		mk_site_close(&site);
	}
	if (r >= 0)
		r = next_try(e);
	return r;
}

bool submit_idle(struct engine *e)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int64_t n = 0;

	/* What is held waits for somebody who will ring. */
	if (mk_db_read(&e->call, e->m->db,
		       "SELECT count(*) FROM intents i JOIN runs r ON r.id = i.run_id"
		       " WHERE i.verb != 'submit' OR i.step > 0 OR (i.held = 0"
		       " AND NOT EXISTS (SELECT 1 FROM settings WHERE key = 'queue_paused'"
		       "  AND value NOT IN ('', '0')))",
		       &stmt) < 0)
		return true;
	if (mk_step(&e->call, stmt) > 0)
		n = mk_col_int(stmt, 0);
	return n == 0;
}
