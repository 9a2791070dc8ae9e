/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asking a tracking store, page by page, and writing what comes. A page is copied, then written in
 * one transaction, by a thread of its own while the next is asked for: nothing of the database is held
 * while the store is waited for.
 *
 * Runs of experiments, the first time: all, newest first. Later: those that started since an hour
 * before the newest we have (clocks differ), those that live here, and those that are deleted; of
 * those that were, and are no more among them, whether they were restored; once a day all again, for
 * what came with an old date.
 */
#include "domain/index/fly.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "domain/domain.h"
#include "domain/index/another.h"
#include "domain/index/ask.h"
#include "domain/index/store.h"

enum {
	MOST_PAGES = 10000,
	IDS_AT_ONCE = 100,    /* experiments, or runs, of one question */
	LOST_ONES = 50,	      /* asked one by one */
};
static const int64_t overlap = 3600 * MK_SEC, all_again = 86400 * MK_SEC, just_now = 2 * MK_SEC;

void mk_question_drop(void *question)
{
	struct mk_question *q = question;

	free(q->connection);
	free(q->what);
	free(q->remote_id);
	free(q->key);
	free(q->version);
	free(q->place);
	free(q);
}

/* --- writing ------------------------------------------------------------------------------- */

struct put {
	const struct mk_question *q;
	const struct mk_page *page;
	const char *value; /* of the mark */
	bool mark;	   /* the question is answered */
};

static int put_experiments(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct put *put = arg;
	int r = mk_index_put_experiments(call, conn, put->q->project_id, put->page);

	return r < 0 ? r : mk_mark_set(call, conn, put->q->project_id, put->q->what, put->q->asked, NULL);
}

static int put_runs(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct put *put = arg;
	int r = mk_index_put_runs(call, conn, put->q->project_id, put->q->connection, put->page);

	if (r == 0 && put->mark)
		r = mk_mark_set(call, conn, put->q->project_id, put->q->what, put->q->asked,
				put->value);
	return r;
}

static int write_page(struct mk_call *call, const struct mk_question *q, const struct mk_page *page)
{
	struct put put = {.q = q, .page = page};

	return mk_domain_write(call, q->m, MK_KILLSAFE, put_runs, &put);
}

/* --- experiments --------------------------------------------------------------------------- */

/* One more page, or an error: a store that never ends is one. */
static int turn(struct mk_call *call, struct mk_flight *flight, const struct mk_question *q, int page)
{
	mk_flight_moved(flight);
	return page < MOST_PAGES ? 0
				 : mk_fail(call, EREMOTEIO, "%s: a list of more than %d pages",
					   q->connection, MOST_PAGES);
}

int mk_fly_experiments(struct mk_call *call, struct mk_flight *flight, void *arg)
{
	struct mk_question *q = arg;
	_cleanup_page_ struct mk_page page = {};
	_cleanup_free_ char *token = NULL;
	struct put put = {.q = q, .page = &page};
	int r = 0, n = 0;

	q->asked = page.asked = mk_now_real();
	do {
		r = q->ops->experiments(call, q->store, &token, mk_page_add_experiment, &page);
		if (r == 0)
			r = turn(call, flight, q, ++n);
	} while (r == 0 && token);
	if (r == 0)
		r = mk_index_is_another(call, q->m, q->project_id, q->connection, &page);
	if (r > 0)
		r = mk_index_forget(call, q->m, q->project_id);
	return r < 0 ? r : mk_domain_write(call, q->m, MK_KILLSAFE, put_experiments, &put);
}

int mk_fly_who(struct mk_call *call, struct mk_flight *flight, const struct mk_question *q, int64_t fresh)
{
	char what[] = "experiments";
	struct mk_question who = *q;
	struct mk_mark mark = {};
	int r = mk_mark_get(call, q->m, q->project_id, what, &mark);
	int64_t age = mk_now_real() - mark.time;

	free(mark.value);
	if (r < 0 || (mark.time && age >= 0 && age < fresh))
		return r;
	who.what = what;
	return mk_fly_experiments(call, flight, &who);
}

/* --- runs ---------------------------------------------------------------------------------- */

/* The experiments of the question that are there. */
static int find_experiments(struct mk_call *call, const struct mk_question *q, struct mk_list *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, q->m->db,
			   "SELECT remote_id FROM experiments WHERE project_id = ?1"
			   " AND remote_id IS NOT NULL AND (deleted = 0 OR id = ?2)"
			   " AND (?2 = 0 OR id = ?2) ORDER BY id",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, q->project_id);
	mk_bind_int(stmt, 2, q->object);
	while ((r = mk_step(call, stmt)) > 0) {
		r = mk_list_add(ret, mk_col_text(stmt, 0));
		if (r < 0)
			return mk_fail(call, -r, "%s: too many experiments", q->connection);
	}
	return r;
}

/* A page that is written while the next is asked for. */
struct behind {
	const struct mk_question *q;
	struct mk_page page;
	struct mk_call call;
	pthread_t thread;
	bool running;
	int result;
};

static void *write_behind(void *arg)
{
	struct behind *b = arg;

	b->result = write_page(&b->call, b->q, &b->page);
	return NULL;
}

static int behind_wait(struct mk_call *call, struct behind *b)
{
	if (!b->running)
		return 0;
	pthread_join(b->thread, NULL);
	b->running = false;
	if (b->result < 0)
		mk_error_move(call, &b->call);
	mk_call_done(&b->call);
	mk_page_free(&b->page);
	return b->result;
}

/* Takes the page; those before it are written by then. */
static int behind_put(struct mk_call *call, struct behind *b, struct mk_page *page)
{
	int r = behind_wait(call, b);

	if (r < 0)
		return r;
	mk_call_init(&b->call);
	b->call.may_wait = MK_ANY;
	b->page = *page;
	b->running = pthread_create(&b->thread, NULL, write_behind, b) == 0;
	if (b->running) {
		*page = (struct mk_page){};
		return 0;
	}
	b->page = (struct mk_page){};
	mk_call_done(&b->call);
	return write_page(call, b->q, page);
}

/* All pages of one query; came, if not NULL: the ids of the runs in them. */
static int ask_runs(struct mk_call *call, struct mk_flight *flight, const struct mk_question *q,
		    const struct mk_t_query *query, struct mk_list *came)
{
	_cleanup_free_ char *token = NULL;
	struct behind behind = {.q = q};
	int r, n = 0;

	do {
		_cleanup_page_ struct mk_page page = {.asked = mk_now_real()};

		r = q->ops->runs(call, q->store, query, &token, mk_page_add_run, &page);
		if (r == 0)
			r = turn(call, flight, q, ++n);
		for (size_t i = 0; r == 0 && came && i < page.n_runs; i++)
			r = mk_list_add(came, page.runs[i].id);
		if (r == 0)
			r = behind_put(call, &behind, &page);
	} while (r == 0 && token);
	if (r < 0) { /* the words of what failed first; what came before it stays */
		_cleanup_call_ struct mk_call other;

		mk_call_init(&other);
		(void)!behind_wait(&other, &behind);
		return r;
	}
	return behind_wait(call, &behind);
}

/* A number about the runs of the question, 0: none. */
static int ask_db(struct mk_call *call, const struct mk_question *q, const char *sql, int64_t *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, q->m->db, sql, &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, q->project_id);
	mk_bind_int(stmt, 2, q->object);
	r = mk_step(call, stmt);
	*ret = r > 0 ? mk_col_int(stmt, 0) : 0;
	return r < 0 ? r : 0;
}

/* Runs that live here and were not asked about in the last half minute: an end is no new start, so the
 * listing may not have told it. */
static int ask_lost(struct mk_call *call, struct mk_flight *flight, struct mk_question *q)
{
	static const char sql[] = "SELECT remote_id FROM runs WHERE project_id = ?1"
				  " AND remote_id IS NOT NULL AND (?2 = 0 OR experiment_id = ?2)"
				  " AND status < 2 AND deleted = 0 AND ifnull(as_of, 0) < ?3"
				  " ORDER BY id DESC LIMIT ?4";
	_cleanup_list_ struct mk_list lost = {};
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, q->m->db, sql, &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, q->project_id);
	mk_bind_int(stmt, 2, q->object);
	mk_bind_int(stmt, 3, q->asked - 30 * MK_SEC);
	mk_bind_int(stmt, 4, LOST_ONES);
	while ((r = mk_step(call, stmt)) > 0)
		if (mk_list_add(&lost, mk_col_text(stmt, 0)) < 0)
			break;
	mk_reset(&stmt);
	for (size_t i = 0; r >= 0 && i < lost.n; i++) {
		struct mk_question one = *q;

		one.remote_id = lost.v[i];
		r = mk_fly_run(call, flight, &one);
		if (r == -ENOENT)
			r = 0;
	}
	return r < 0 ? r : 0;
}

struct missed {
	const struct mk_question *q;
	const struct mk_list *ids, *came;
};

static bool is_among(const struct mk_list *list, const char *text)
{
	for (size_t i = 0; i < list->n; i++)
		if (strcmp(list->v[i], text) == 0)
			return true;
	return false;
}

/* Runs that are deleted here and were not among the deleted: they were restored, or are gone for good.
 * Only what has plain ids can be asked for. */
static int find_missed(struct mk_call *call, const struct mk_question *q, struct mk_list *ret)
{
	static const char sql[] = "SELECT remote_id FROM runs WHERE project_id = ?1"
				  " AND remote_id IS NOT NULL AND (?2 = 0 OR experiment_id = ?2)"
				  " AND deleted <> 0 AND remote_digest <> 0 AND ifnull(as_of, 0) < ?3"
				  " AND written < ?3"
				  " AND remote_id NOT GLOB '*[^0-9a-z_-]*' AND experiment_id IN"
				  " (SELECT id FROM experiments WHERE project_id = ?1 AND deleted = 0)"
				  " ORDER BY id DESC LIMIT ?4";
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, q->m->db, sql, &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, q->project_id);
	mk_bind_int(stmt, 2, q->object);
	mk_bind_int(stmt, 3, q->asked);
	mk_bind_int(stmt, 4, IDS_AT_ONCE);
	while ((r = mk_step(call, stmt)) > 0)
		if (mk_list_add(ret, mk_col_text(stmt, 0)) < 0)
			break;
	return r < 0 ? r : 0;
}

/* Who was asked for and did not come is gone; it is not asked for again. */
static int put_missed(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	static const char gone[] = "UPDATE runs SET as_of = ?3, reason = 'gone at the server',"
				   " generation = generation + 1, remote_digest = 0"
				   " WHERE project_id = ?1 AND remote_id = ?2 AND deleted <> 0";
	const struct missed *missed = arg;
	bool changed = false;
	int r = 0;

	for (size_t i = 0; r == 0 && i < missed->ids->n; i++) {
		_cleanup_stmt_ struct mk_stmt *stmt = NULL;

		if (is_among(missed->came, missed->ids->v[i]))
			continue;
		r = mk_prepare(call, conn, gone, &stmt);
		if (r < 0)
			return r;
		mk_bind_int(stmt, 1, missed->q->project_id);
		mk_bind_text(stmt, 2, missed->ids->v[i]);
		mk_bind_int(stmt, 3, missed->q->asked);
		r = mk_exec(call, stmt);
		changed |= mk_rows_changed(conn) > 0;
	}
	return r == 0 && changed ? mk_project_touch(call, conn, missed->q->project_id, true) : r;
}

/* One question for a hundred of them; more wait for the next time somebody looks. */
static int ask_missed(struct mk_call *call, struct mk_flight *flight, const struct mk_question *q,
		      const struct mk_list *experiments)
{
	_cleanup_list_ struct mk_list ids = {};
	_cleanup_list_ struct mk_list came = {};
	struct missed missed = {q, &ids, &came};
	int r = find_missed(call, q, &ids);

	for (size_t i = 0; r == 0 && ids.n && i < experiments->n; i += IDS_AT_ONCE) {
		size_t left = experiments->n - i;
		const struct mk_t_query query = {
			.experiment_ids = (const char *const *)experiments->v + i,
			.n_experiments = left < IDS_AT_ONCE ? left : IDS_AT_ONCE,
			.run_ids = (const char *const *)ids.v,
			.n_ids = ids.n,
			.limit = 1000,
		};

		r = ask_runs(call, flight, q, &query, &came);
	}
	if (r < 0 || ids.n == 0)
		return r;
	return mk_domain_write(call, q->m, MK_KILLSAFE, put_missed, &missed);
}

static int ask_chunk(struct mk_call *call, struct mk_flight *flight, const struct mk_question *q,
		     const struct mk_list *ids, size_t from, int64_t since)
{
	size_t n = ids->n - from < IDS_AT_ONCE ? ids->n - from : IDS_AT_ONCE;
	struct mk_t_query query = {
		.experiment_ids = (const char *const *)ids->v + from,
		.n_experiments = n,
		.started_since = since,
		.limit = 1000,
	};
	int r = ask_runs(call, flight, q, &query, NULL);

	if (r < 0)
		return r;
	query.deleted = true;
	query.started_since = 0;
	return ask_runs(call, flight, q, &query, NULL);
}

int mk_fly_runs(struct mk_call *call, struct mk_flight *flight, void *arg)
{
	struct mk_question *q = arg;
	struct mk_mark mark = {};
	_cleanup_list_ struct mk_list ids = {};
	long long newest = 0, complete = 0;
	int64_t live = 0, newest_now = 0;
	char value[64];
	int r = mk_fly_who(call, flight, q, mk_fresh_list);

	if (r == 0)
		r = mk_mark_get(call, q->m, q->project_id, q->what, &mark);
	q->asked = mk_now_real();
	if (mark.value && sscanf(mark.value, "%lld %lld", &newest, &complete) != 2)
		complete = 0;
	free(mark.value);
	if (r == 0)
		r = find_experiments(call, q, &ids);
	if (r < 0)
		return r;

	bool whole = !complete || q->asked - complete > all_again;
	int64_t since = whole || newest < overlap ? 0 : newest - overlap;

	for (size_t i = 0; r == 0 && i < ids.n; i += IDS_AT_ONCE)
		r = ask_chunk(call, flight, q, &ids, i, since);
	if (r == 0 && !whole)
		r = ask_db(call, q,
			   "SELECT count(*) FROM runs WHERE project_id = ?1 AND remote_id IS NOT NULL"
			   " AND (?2 = 0 OR experiment_id = ?2) AND status < 2 AND deleted = 0",
			   &live);
	if (r == 0 && live)
		r = ask_lost(call, flight, q);
	if (r == 0 && !whole)
		r = ask_missed(call, flight, q, &ids);
	if (r == 0)
		r = ask_db(call, q,
			   "SELECT max(started) FROM runs WHERE project_id = ?1"
			   " AND remote_id IS NOT NULL AND (?2 = 0 OR experiment_id = ?2)",
			   &newest_now);
	if (r < 0)
		return r;
	(void)snprintf(value, sizeof(value), "%lld %lld", (long long)newest_now,
		       whole ? (long long)q->asked : complete);

	struct mk_page none = {};
	struct put put = {.q = q, .page = &none, .value = value, .mark = true};

	return mk_domain_write(call, q->m, MK_KILLSAFE, put_runs, &put);
}

/* --- one run ------------------------------------------------------------------------------- */

struct put_run {
	const struct mk_question *q;
	const struct mk_page *page;
	bool gone;
};

static int put_run(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	static const char seen[] = "UPDATE runs SET as_of = ?3 WHERE project_id = ?1 AND remote_id = ?2"
				   " AND written < ?3";
	static const char gone[] = "UPDATE runs SET as_of = ?3, deleted = iif(deleted, deleted, ?3),"
				   " reason = 'gone at the server', generation = generation + 1,"
				   " remote_digest = 0, status = iif(status < 2, 5, status)"
				   " WHERE project_id = ?1 AND remote_id = ?2 AND deleted = 0";
	const struct put_run *put = arg;
	const struct mk_question *q = put->q;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_index_put_runs(call, conn, q->project_id, q->connection, put->page);

	if (r == 0)
		r = put->gone ? mk_prepare(call, conn, gone, &stmt) :
				mk_prepare(call, conn, seen, &stmt);
	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, q->project_id);
	mk_bind_text(stmt, 2, q->remote_id);
	mk_bind_int(stmt, 3, q->asked);
	r = mk_exec(call, stmt);
	if (r == 0 && put->gone && mk_rows_changed(conn))
		r = mk_project_touch(call, conn, q->project_id, true);
	return r;
}

int mk_fly_run(struct mk_call *call, struct mk_flight *flight, void *arg)
{
	struct mk_question *q = arg;
	_cleanup_page_ struct mk_page page = {};
	struct put_run put = {.q = q, .page = &page};
	int r;

	q->asked = page.asked = mk_now_real();
	r = q->ops->run(call, q->store, q->remote_id, mk_page_add_run, &page);
	mk_flight_moved(flight);
	put.gone = r == -ENOENT;
	if (put.gone) { /* or is it another server that does not know it? */
		mk_error_clear(call);
		r = mk_fly_who(call, flight, q, just_now);
	}
	if (r < 0)
		return r;
	return mk_domain_write(call, q->m, MK_KILLSAFE, put_run, &put);
}
