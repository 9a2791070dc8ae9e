/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writer thread: the only one that changes the database in this process. It takes all writes
 * that are queued, runs each in a savepoint of one transaction, commits once and then tells the
 * callers:
 *
 *   caller   queue -> wait ............................... result
 *   writer            BEGIN | fn fn fn … | COMMIT (one fsync) -> tell all
 *
 * While it commits the next group gathers, so the group grows with the load and a lone writer
 * waits for nobody. A caller that is cancelled takes its write out of the queue; what has begun is
 * waited for.
 *
 * Durability: a group with a MK_DURABLE write commits with synchronous=FULL. One without commits
 * without an fsync, and the log is synced by this thread within a second.
 */
#include "db/db_internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <mantik/trace.h>

enum {
	GROUP_MAX = 256,
	COMMIT_TRIES = 3, /* each waits for readers of a rollback journal up to BUSY_LIMIT_MS */
};

/* --- the writer's side -------------------------------------------------------------------- */

static int set_synchronous(struct mk_call *call, struct mk_db *db, bool full)
{
	int want = full ? 2 : 1;

	if (db->synchronous == want)
		return 0;

	int r = mk_conn_run(call, db->writer,
			    full ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL");

	if (r == 0)
		db->synchronous = want;
	return r;
}

static bool in_transaction(struct mk_db *db)
{
	return !sqlite3_get_autocommit(db->writer->sql);
}

static int run_statement(struct mk_call *call, struct mk_conn *conn, const char *sql)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn, sql, &stmt);

	return r < 0 ? r : mk_exec(call, stmt);
}

/* Errors like a full disk make SQLite roll the whole transaction back: run_group sees that by
 * in_transaction(), and all of the group fail with this error. */
static int run_one(struct mk_db *db, struct mk_write *write)
{
	struct mk_conn *conn = db->writer;
	int r = run_statement(write->call, conn, "SAVEPOINT w");

	if (r < 0)
		return r;
	r = write->fn(write->call, conn, write->arg);
	if (!in_transaction(db))
		return r < 0 ? r
			     : mk_fail(write->call, EIO, "%s: the change was rolled back",
				       db->path);

	_cleanup_call_ struct mk_call own; /* keeps the error of fn */
	int end = 0;

	mk_call_init(&own);
	if (r < 0)
		end = run_statement(&own, conn, "ROLLBACK TO w");
	if (end == 0)
		end = run_statement(&own, conn, "RELEASE w");
	if (end < 0 && r >= 0) {
		mk_error_move(write->call, &own);
		return end;
	}
	return r;
}

static void copy_error(struct mk_call *to, const struct mk_call *from)
{
	if (to == from)
		return;
	mk_error_clear(to);
	to->error.code = from->error.code;
	to->error.origin = from->error.origin;
	to->error.text = mk_strdup(from->error.text);
}

/* All that had not failed by themselves get the error of the group. */
static void fail_group(struct mk_write *group, const struct mk_call *why, int r)
{
	for (struct mk_write *write = group; write; write = write->next)
		if (write->result >= 0) {
			write->result = r;
			copy_error(write->call, why);
		}
}

static int commit(struct mk_call *call, struct mk_db *db)
{
	int r = 0;

	for (int i = 0; i < COMMIT_TRIES; i++) {
		r = run_statement(call, db->writer, "COMMIT");
		if (r != -EBUSY)
			break;
	}
	if (in_transaction(db))
		(void)sqlite3_exec(db->writer->sql, "ROLLBACK", NULL, NULL, NULL);
	return r;
}

static void trace_group(const struct mk_write *group, int64_t began)
{
	uint64_t number = group->call->number;
	int n = 0, failed = 0;
	bool durable = false;

	for (; group; group = group->next) {
		n++;
		failed += group->result < 0;
		durable = durable || group->durable == MK_DURABLE;
	}
	mk_trace(MK_TRACE_DB, number, "%d writes%s %lld us: %d refused", n,
		 durable ? ", durable" : "", (long long)(mk_now_mono() - began) / 1000, failed);
}

static void run_group(struct mk_db *db, struct mk_write *group)
{
	_cleanup_call_ struct mk_call own;
	bool durable = false;
	bool any = false;
	int r;

	mk_call_init(&own);
	for (struct mk_write *write = group; write; write = write->next) {
		write->result = 0;
		durable = durable || write->durable == MK_DURABLE;
	}
	r = set_synchronous(&own, db, durable);
	if (r == 0)
		r = run_statement(&own, db->writer, "BEGIN IMMEDIATE");
	if (r == 0) {
		r = mk_migrate_check(&own, db->writer);
		if (r < 0)
			(void)sqlite3_exec(db->writer->sql, "ROLLBACK", NULL, NULL, NULL);
	}
	if (r < 0) {
		fail_group(group, &own, r);
		return;
	}
	for (struct mk_write *write = group; write; write = write->next) {
		write->result = run_one(db, write);
		any = any || write->result >= 0;
		if (!in_transaction(db)) {
			copy_error(&own, write->call);
			fail_group(group, &own, write->result);
			return;
		}
	}
	if (!any) {
		(void)sqlite3_exec(db->writer->sql, "ROLLBACK", NULL, NULL, NULL);
		return;
	}
	r = commit(&own, db);
	if (r < 0) {
		fail_group(group, &own, r);
		return;
	}
	db->generation++;
	if (durable)
		db->unsynced_since = 0;
	else if (!db->unsynced_since)
		db->unsynced_since = mk_now_mono();
}

/* The log carries no locks, so it may be opened and closed beside SQLite. */
static void sync_log(struct mk_db *db)
{
	_cleanup_buf_ struct mk_buf name = MK_BUF(8192);
	_cleanup_close_ int fd = -1;

	db->unsynced_since = 0;
	if (db->network || mk_buf_printf(&name, "%s-wal", db->path) < 0)
		return;
	fd = open(mk_buf_text(&name), O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		(void)fdatasync(fd);
}

static void tell(struct mk_db *db, struct mk_write *group)
{
	static const uint64_t one = 1;

	pthread_mutex_lock(&db->lock);
	for (struct mk_write *w = group, *next; w; w = next) {
		next = w->next; /* with state DONE the caller may return and *w is gone */
		w->state = WRITE_DONE;
		/* With the lock held: the caller cannot be gone before it has seen the state. */
		if (w->done_fd >= 0)
			(void)!write(w->done_fd, &one, sizeof(one));
	}
	pthread_mutex_unlock(&db->lock);
}

/* With the lock: waits for writes; NULL = stop. */
static struct mk_write *take_group(struct mk_db *db)
{
	while (!db->queue && !db->stop) {
		if (!db->unsynced_since) {
			pthread_cond_wait(&db->wake, &db->lock);
			continue;
		}

		int64_t until = db->unsynced_since + MK_SEC;
		struct timespec ts = {.tv_sec = until / MK_SEC, .tv_nsec = until % MK_SEC};

		if (pthread_cond_timedwait(&db->wake, &db->lock, &ts) == ETIMEDOUT) {
			pthread_mutex_unlock(&db->lock);
			sync_log(db);
			pthread_mutex_lock(&db->lock);
		}
	}

	struct mk_write *group = db->queue;
	struct mk_write *last = group;

	for (int n = 1; last; last = last->next, n++) {
		last->state = WRITE_BEGUN;
		if (!last->next || n == GROUP_MAX)
			break;
	}
	if (last) {
		db->queue = last->next;
		last->next = NULL;
		if (!db->queue)
			db->queue_end = &db->queue;
	}
	return group;
}

static void *writer(void *arg)
{
	struct mk_db *db = arg;

	for (;;) {
		pthread_mutex_lock(&db->lock);

		struct mk_write *group = take_group(db);

		pthread_mutex_unlock(&db->lock);
		if (!group)
			break;

		int64_t began = mk_now_mono();

		run_group(db, group);
		if (mk_tracing(MK_TRACE_DB))
			trace_group(group, began);
		tell(db, group);
		if (db->unsynced_since && mk_now_mono() - db->unsynced_since > MK_SEC)
			sync_log(db);
	}
	if (db->unsynced_since)
		sync_log(db);
	return NULL;
}

int mk_writer_start(struct mk_call *call, struct mk_db *db)
{
	db->writer->is_writer = true;

	sigset_t all, before;

	sigfillset(&all); /* signals are the front end's */
	pthread_sigmask(SIG_SETMASK, &all, &before);

	int r = pthread_create(&db->thread, NULL, writer, db);

	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r != 0)
		return mk_fail(call, r, "%s: no thread for writing: %s", db->path, strerror(r));
	db->has_thread = true;
	return 0;
}

void mk_writer_stop(struct mk_db *db)
{
	if (!db->has_thread)
		return;
	pthread_mutex_lock(&db->lock);
	db->stop = true;
	pthread_cond_signal(&db->wake);
	pthread_mutex_unlock(&db->lock);
	pthread_join(db->thread, NULL);
	db->has_thread = false;
}

/* --- the callers' side -------------------------------------------------------------------- */

static pthread_key_t event_key; /* value: the thread's eventfd + 1 */

static void close_event(void *value)
{
	close((int)(intptr_t)value - 1);
}

static void make_event_key(void)
{
	if (pthread_key_create(&event_key, close_event) != 0)
		abort();
}

/* One per thread, kept: a write costs no descriptor of its own. -1: none can be had. */
static int done_event(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	void *had;

	pthread_once(&once, make_event_key);
	had = pthread_getspecific(event_key);
	if (had)
		return (int)(intptr_t)had - 1;

	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (fd >= 0 && pthread_setspecific(event_key, (void *)(intptr_t)(fd + 1)) != 0) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static void enqueue(struct mk_db *db, struct mk_write *write)
{
	*db->queue_end = write;
	db->queue_end = &write->next;
	pthread_cond_signal(&db->wake);
}

/* With the lock. True if it had not begun. */
static bool take_back(struct mk_db *db, struct mk_write *write)
{
	if (write->state != WRITE_QUEUED)
		return false;

	struct mk_write **p = &db->queue;

	while (*p != write)
		p = &(*p)->next;
	*p = write->next;
	if (!write->next)
		db->queue_end = p;
	return true;
}

/* Until something may have happened; spurious returns are fine. */
static void wait_event(struct mk_call *call, int done_fd, bool begun)
{
	int ms = done_fd < 0 ? 1 : -1;
	struct pollfd p[2] = {{.fd = done_fd, .events = POLLIN}, {.fd = -1, .events = POLLIN}};

	if (!begun) {
		p[1].fd = mk_call_cancel_fd(call);
		ms = mk_call_left_ms(call, p[1].fd < 0 || done_fd < 0 ? 1 : 1000);
	}
	(void)poll(p, 2, ms);
}

int mk_db_write(struct mk_call *call, struct mk_db *db, enum mk_durable durable, mk_db_fn *fn,
		void *arg)
{
	struct mk_write write = {
		.call = call,
		.fn = fn,
		.arg = arg,
		.durable = durable,
		.state = WRITE_QUEUED,
	};
	int r;

	if (!db->has_thread)
		return mk_fail(call, EROFS, "%s: open for reading only", db->path);
	assert(!pthread_equal(pthread_self(), db->thread));
	r = mk_db_may_wait(call, db);
	if (r < 0)
		return r;
	r = mk_call_check(call, "the database");
	if (r < 0)
		return r;
	write.done_fd = done_event();
	pthread_mutex_lock(&db->lock);
	enqueue(db, &write);
	while (write.state != WRITE_DONE) {
		bool begun = write.state == WRITE_BEGUN;

		pthread_mutex_unlock(&db->lock);
		wait_event(call, write.done_fd, begun);
		/* While it is begun the call is the writer's. */
		r = begun ? 0 : call->cancelled || mk_call_left_ms(call, 1) == 0 ? -EINTR : 0;
		pthread_mutex_lock(&db->lock);
		if (r < 0 && take_back(db, &write)) {
			pthread_mutex_unlock(&db->lock);
			return mk_call_check(call, "the database");
		}
	}
	pthread_mutex_unlock(&db->lock);

	uint64_t count;

	if (write.done_fd >= 0)
		(void)!read(write.done_fd, &count, sizeof(count));
	return write.result;
}
