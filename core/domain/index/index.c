/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See index.h: which question to ask, whether to ask it at all, and what a failure means. The
 * asking is fly.c, the rows are store.c.
 */
#include "domain/index/index.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <mantik/connection.h>

#include "connect/connect.h"
#include "domain/domain.h"
#include "domain/index/ask.h"
#include "domain/index/fly.h"
#include "domain/index/store.h"
#include "domain/outbox/outbox.h"
#include "vault/credentials.h"

enum { THREADS = 4, MOST_STORES = 64 };
const int64_t mk_fresh_list = 30 * MK_SEC;
static const int64_t fresh_live = 2 * MK_SEC;
/* Who has something to show waits so long for something newer. */
static const int64_t patient = 3 * MK_SEC;

struct store {
	char *connection;
	uint64_t generation; /* of the connection's file and secrets when it was opened; 0: it has none */
	const struct mk_tracking_ops *ops;
	struct mk_tracking *tracking;
};

struct mk_index {
	struct mk_flights *flights;
	pthread_mutex_t lock; /* protects stores; not held over anything that waits */
	struct store stores[MOST_STORES];
	size_t n_stores;
	/* Of connections that were changed since: questions under way still use them. */
	struct store *retired;
	size_t n_retired;
};

struct mk_index *mk_index_new(void)
{
	struct mk_index *index = mk_new(struct mk_index);

	index->flights = mk_flights_new(THREADS);
	pthread_mutex_init(&index->lock, NULL);
	return index;
}

static void close_store(struct store *store)
{
	store->ops->close(store->tracking);
	free(store->connection);
}

void mk_index_free(struct mk_index *index)
{
	if (!index)
		return;
	mk_flights_free(index->flights);
	for (size_t i = 0; i < index->n_stores; i++)
		close_store(&index->stores[i]);
	for (size_t i = 0; i < index->n_retired; i++)
		close_store(&index->retired[i]);
	free(index->retired);
	pthread_mutex_destroy(&index->lock);
	free(index);
}

/* --- stores -------------------------------------------------------------------------------- */

/* The one of a connection as it is now; one that was opened before a change is not found again. */
static bool find_store(struct mk_index *index, const char *connection, uint64_t generation,
		       struct store *ret)
{
	bool found = false;

	pthread_mutex_lock(&index->lock);
	for (size_t i = 0; i < index->n_stores && !found; i++) {
		struct store *store = &index->stores[i];

		if (strcmp(store->connection, connection) != 0)
			continue;
		if (store->generation == generation || !store->generation) {
			*ret = *store;
			found = true;
			continue;
		}

		void *more = realloc(index->retired,
				     (index->n_retired + 1) * sizeof(*index->retired));

		if (!more) /* the old one goes on */
			continue;
		index->retired = more;
		index->retired[index->n_retired++] = *store;
		*store = index->stores[--index->n_stores];
		break;
	}
	pthread_mutex_unlock(&index->lock);
	return found;
}

/* Kept for the life of the platform, unless somebody was faster. */
static int keep_store(struct mk_call *call, struct mk_index *index, struct store *store)
{
	struct store there;

	if (find_store(index, store->connection, store->generation, &there)) {
		store->ops->close(store->tracking);
		*store = there;
		return 0;
	}
	pthread_mutex_lock(&index->lock);

	bool room = index->n_stores < MOST_STORES;

	if (room) {
		index->stores[index->n_stores] = *store;
		index->stores[index->n_stores++].connection = mk_strdup(store->connection);
	}
	pthread_mutex_unlock(&index->lock);
	if (room)
		return 0;
	store->ops->close(store->tracking);
	return mk_fail(call, EMFILE, "%s: more than %d tracking connections", store->connection,
		       MOST_STORES);
}

int mk_index_add(struct mk_call *call, struct mantik *m, const char *connection,
		 const struct mk_tracking_ops *ops, struct mk_tracking *tracking)
{
	struct store store = {(char *)connection, 0, ops, tracking};

	return keep_store(call, m->index, &store);
}

int mk_index_store(struct mk_call *call, struct mantik *m, const char *connection,
		   const struct mk_tracking_ops **ret_ops, struct mk_tracking **ret)
{
	uint64_t generation = mk_credentials_generation(m, connection);
	struct store store = {.generation = generation};

	if (!find_store(m->index, connection, generation, &store)) {
		_cleanup_(mk_connection_free) struct mk_connection it = {};
		int r = mk_connection_find(call, m, connection, &it);

		if (r == -ENOENT) /* it was removed: what was seen of it stays */
			return mk_fail(call, EHOSTUNREACH,
				       "%s: there is no connection of that name any more", connection);
		if (r == 0)
			r = mk_tracking_find(call, it.kind, it.url, &store.ops);
		if (r == 0)
			r = store.ops->open(call, m, connection, &store.tracking);
		if (r < 0)
			return r;
		store.connection = (char *)connection;
		r = keep_store(call, m->index, &store);
		if (r < 0)
			return r;
	}
	*ret_ops = store.ops;
	*ret = store.tracking;
	return 0;
}

/* --- projects of connections --------------------------------------------------------------- */

static int collect(void *arg, const struct mk_connection *connection)
{
	struct mk_list *names = arg;

	return mk_tracking_kind(connection->kind) ? mk_list_add(names, connection->name) : 0;
}

static int has_project(struct mk_call *call, struct mantik *m, const char *connection)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db, "SELECT 1 FROM projects WHERE connection = ?1", &stmt);

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, connection);
	return mk_step(call, stmt);
}

/* Named like the connection; where that is a project of ours, `name@connection`. */
static int make_project(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const char *connection = arg;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	_cleanup_buf_ struct mk_buf other = MK_BUF(1024);
	int64_t now = mk_now_real();
	int r = mk_prepare(call, conn,
			   "INSERT INTO projects (name, created, changed, touched, connection)"
			   " SELECT iif(EXISTS (SELECT 1 FROM projects WHERE name = ?1), ?2, ?1),"
			   " ?3, ?3, 1, ?1 WHERE NOT EXISTS"
			   " (SELECT 1 FROM projects WHERE connection = ?1)",
			   &stmt);

	if (r == 0)
		r = mk_buf_printf(&other, "%s@%s", connection, connection);
	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, connection);
	mk_bind_text(stmt, 2, mk_buf_text(&other));
	mk_bind_int(stmt, 3, now);
	r = mk_exec(call, stmt);
	return r < 0 ? r : mk_db_changed(call, conn, "project", mk_last_id(conn));
}

int mk_index_connections(struct mk_call *call, struct mantik *m)
{
	_cleanup_list_ struct mk_list names = {};
	int r = mk_connection_list(call, m, collect, &names);

	for (size_t i = 0; r >= 0 && i < names.n; i++) {
		r = has_project(call, m, names.v[i]);
		if (r == 0 && !m->read_only)
			r = mk_domain_write(call, m, MK_DURABLE, make_project, names.v[i]);
	}
	return r < 0 ? r : 0;
}

/* --- asking -------------------------------------------------------------------------------- */

static int connection_of(struct mk_call *call, struct mantik *m, int64_t project_id, char **ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db,
			   "SELECT connection FROM projects WHERE id = ?1 AND connection IS NOT NULL",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, project_id);
	r = mk_step(call, stmt);
	if (r > 0)
		*ret = mk_col_dup(stmt, 0);
	return r;
}

/* Was it answered with something we can go on with, though it could not be asked now? */
static bool may_be_old(int r)
{
	return r != -EINTR && r != -ENOENT && r != -ENOMEM && r != MK_PUNT && r != MK_PARK;
}

int mk_index_ask(struct mk_call *call, struct mantik *m, struct mk_question *q, bool seen,
		 mk_flight_fn *fn)
{
	_cleanup_buf_ struct mk_buf key = MK_BUF(64 << 10);
	_cleanup_free_ char *remote = mk_strdup(q->connection);
	int r = mk_call_may_wait(call, q->connection);

	/* Should mantikd have been killed: whoever looks keeps it at sending. */
	if (r == 0 && mk_outbox_any(call, m, q->project_id) > 0)
		mantik_keep(m);
	if (r == 0 && m->read_only)
		r = mk_fail(call, EROFS, "%s: %s", q->connection,
			    m->read_only_why ? m->read_only_why : "open for reading only");
	if (r == 0)
		r = mk_index_store(call, m, q->connection, &q->ops, &q->store);
	if (r == 0)
		r = mk_buf_printf(&key, "%lld:%s", (long long)q->project_id, q->what);
	if (r < 0)
		mk_question_drop(q);
	else
		r = mk_flight_board(call, m->index->flights, remote, mk_buf_text(&key),
				    seen ? patient : 0, fn, q, mk_question_drop);
	if (r < 0 && seen && may_be_old(r)) {
		mk_error_clear(call);
		return 0;
	}
	return r;
}

struct mk_question *mk_index_question(struct mantik *m, int64_t project_id, char **connection,
				      const char *what)
{
	struct mk_question *q = mk_new(struct mk_question);

	*q = (struct mk_question){
		.m = m,
		.project_id = project_id,
		.connection = mk_steal(connection),
		.what = mk_strdup(what),
	};
	return q;
}

int mk_index_is_fresh(struct mk_call *call, struct mantik *m, int64_t project_id, const char *what,
		      int64_t fresh, bool *ret_seen)
{
	struct mk_mark mark = {};
	int r = mk_mark_get(call, m, project_id, what, &mark);

	free(mark.value);
	*ret_seen = mark.time != 0;
	if (r < 0)
		return r;

	int64_t age = mk_now_real() - mark.time;

	return mark.time && age >= 0 && age < fresh;
}

static int ask_list(struct mk_call *call, struct mantik *m, int64_t project_id, const char *what,
		    int64_t object, mk_flight_fn *fn)
{
	_cleanup_free_ char *connection = NULL;
	bool seen;
	int r = connection_of(call, m, project_id, &connection);

	if (r <= 0)
		return r;
	r = mk_index_is_fresh(call, m, project_id, what, mk_fresh_list, &seen);
	if (r)
		return r < 0 ? r : 0;

	struct mk_question *q = mk_index_question(m, project_id, &connection, what);

	q->object = object;
	return mk_index_ask(call, m, q, seen, fn);
}

int mk_index_foreign(struct mk_call *call, struct mantik *m, int64_t project_id)
{
	_cleanup_free_ char *connection = NULL;

	return connection_of(call, m, project_id, &connection);
}

int mk_index_ours(struct mk_call *call, struct mantik *m, int64_t project_id, const char *what)
{
	_cleanup_free_ char *connection = NULL;
	int r = connection_of(call, m, project_id, &connection);

	return r <= 0 ? r : mk_fail(call, EOPNOTSUPP,
				    "this project shows the tracking server of connections/%s.yaml: "
				    "%s there, not here", connection, what);
}

int mk_index_experiments(struct mk_call *call, struct mantik *m, int64_t project_id)
{
	return ask_list(call, m, project_id, "experiments", 0, mk_fly_experiments);
}

int mk_index_models(struct mk_call *call, struct mantik *m, int64_t project_id)
{
	return ask_list(call, m, project_id, "models", 0, mk_fly_models);
}

int mk_index_runs(struct mk_call *call, struct mantik *m, int64_t project_id, int64_t experiment_id)
{
	char what[64] = "runs";
	bool seen = false;
	int r = mk_index_experiments(call, m, project_id);

	if (r == 0 && experiment_id) /* all of the project are fresh: so are these */
		r = mk_index_is_fresh(call, m, project_id, what, mk_fresh_list, &seen);
	if (r)
		return r < 0 ? r : 0;
	if (experiment_id && !seen)
		(void)snprintf(what, sizeof(what), "runs:%lld", (long long)experiment_id);
	else
		experiment_id = 0;
	return ask_list(call, m, project_id, what, experiment_id, mk_fly_runs);
}

/* --- one run ------------------------------------------------------------------------------- */

struct row {
	int64_t project_id;
	char *remote_id, *connection;
};

static void row_free(struct row *row)
{
	free(row->remote_id);
	free(row->connection);
}

/* 1 a foreign run, 0 ours or none. */
static int get_row(struct mk_call *call, struct mantik *m, int64_t run_id, struct row *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db,
			   "SELECT r.project_id, r.remote_id, p.connection FROM runs r"
			   " JOIN projects p ON p.id = r.project_id"
			   " WHERE r.id = ?1 AND r.remote_id IS NOT NULL AND p.connection IS NOT NULL",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, run_id);
	r = mk_step(call, stmt);
	if (r > 0)
		*ret = (struct row){
			.project_id = mk_col_int(stmt, 0),
			.remote_id = mk_col_dup(stmt, 1),
			.connection = mk_col_dup(stmt, 2),
		};
	return r;
}

bool mk_run_is_old(const struct mk_run *run)
{
	int64_t age = mk_now_real() - run->as_of;

	return run->remote_id && (!run->as_of || age < 0 ||
				  age >= (mk_status_final(run->status) ? mk_fresh_list : fresh_live));
}

int mk_index_run(struct mk_call *call, struct mantik *m, int64_t run_id)
{
	_cleanup_(row_free) struct row row = {};
	char what[64];
	int r = get_row(call, m, run_id, &row);

	if (r <= 0)
		return r;

	(void)snprintf(what, sizeof(what), "run:%lld", (long long)run_id);

	struct mk_question *q = mk_index_question(m, row.project_id, &row.connection, what);

	q->object = run_id;
	q->remote_id = mk_steal(&row.remote_id);
	return mk_index_ask(call, m, q, true, mk_fly_run);
}

int mk_index_history(struct mk_call *call, struct mantik *m, int64_t run_id, const char *key)
{
	_cleanup_(row_free) struct row row = {};
	_cleanup_buf_ struct mk_buf what = MK_BUF(4096);
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = get_row(call, m, run_id, &row);

	if (r <= 0)
		return r;
	r = mk_db_read(call, m->db, "SELECT whole, count FROM metrics WHERE run_id = ?1 AND key = ?2",
		       &stmt);
	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, run_id);
	mk_bind_text(stmt, 2, key);
	r = mk_step(call, stmt);
	if (r <= 0 || mk_col_int(stmt, 0))
		return r < 0 ? r : 0;

	bool seen = mk_col_int(stmt, 1) > 0;

	mk_reset(&stmt);
	r = mk_buf_printf(&what, "history:%lld/%s", (long long)run_id, key);
	if (r < 0)
		return mk_fail(call, EINVAL, "a key of %zu bytes", strlen(key));

	struct mk_question *q = mk_index_question(m, row.project_id, &row.connection, mk_buf_text(&what));

	q->object = run_id;
	q->remote_id = mk_steal(&row.remote_id);
	q->key = mk_strdup(key);
	/* File contents are never served old: but what was logged before is still true of a live
	 * metric, which only grows. */
	return mk_index_ask(call, m, q, seen, mk_fly_history);
}
