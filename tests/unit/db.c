/* SPDX-License-Identifier: Apache-2.0 */
/* core/db: group commit, durability against kill -9, readers of their own, damaged, locked,
 * read-only, newer and full databases. */
#include "db/db.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "db/fstype.h"
#include "test.h"
#include "tmpdir.h"

static const char insert_sql[] = "INSERT INTO settings (key, value) VALUES (?, ?)";
static const char count_sql[] = "SELECT count(*) FROM settings";

struct pair {
	const char *key, *value;
	int fail_with; /* after the insert */
};

static int insert(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct pair *pair = arg;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn, insert_sql, &stmt);

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, pair->key);
	mk_bind_text(stmt, 2, pair->value);
	r = mk_exec(call, stmt);
	if (r == 0 && pair->fail_with)
		r = mk_fail(call, pair->fail_with, "asked to");
	return r;
}

static int put(struct mk_call *call, struct mk_db *db, const char *key, const char *value)
{
	struct pair pair = {.key = key, .value = value};

	return mk_db_write(call, db, MK_DURABLE, insert, &pair);
}

static int64_t count(struct mk_call *call, struct mk_db *db)
{
	struct mk_conn *conn;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;

	if (mk_db_reader(call, db, &conn) < 0 || mk_prepare(call, conn, count_sql, &stmt) < 0 ||
	    mk_step(call, stmt) != 1)
		return -1;
	return mk_col_int(stmt, 0);
}

struct fixture {
	char *dir, *path;
	struct mk_call call;
	struct mk_db *db;
};

static void fixture_done(struct fixture *f)
{
	mk_db_close(f->db);
	mk_call_done(&f->call);
	tmpdir_remove(f->dir);
	free(f->path);
}

static bool fixture_init(struct fixture *f, enum mk_db_journal journal)
{
	*f = (struct fixture){.dir = tmpdir_make()};
	f->path = tmpdir_path(f->dir, "mantik.db");
	mk_call_init(&f->call);

	int r = mk_db_open_as(&f->call, f->path, false, journal, &f->db);

	CHECK_INT(r, 0);
	if (r < 0)
		printf("# %s\n", f->call.error.text);
	return r == 0;
}
#define FIXTURE(f, journal)                       \
	_cleanup_(fixture_done) struct fixture f; \
	NEED(fixture_init(&f, journal))

static void makes_and_opens_again(void)
{
	FIXTURE(f, MK_JOURNAL_AUTO);
	struct stat st;

	CHECK_INT(stat(f.path, &st), 0);
	CHECK_INT(st.st_mode & 0777, 0600);
	CHECK_INT(put(&f.call, f.db, "a", "1"), 0);
	CHECK_INT(count(&f.call, f.db), 1);
	mk_db_close(f.db);
	f.db = NULL;
	NEED(mk_db_open(&f.call, f.path, false, &f.db) == 0);
	CHECK_INT(count(&f.call, f.db), 1);
}

static void failed_write_leaves_nothing(void)
{
	FIXTURE(f, MK_JOURNAL_AUTO);
	struct pair bad = {.key = "x", .value = "1", .fail_with = ENOENT};

	CHECK_INT(mk_db_write(&f.call, f.db, MK_DURABLE, insert, &bad), -ENOENT);
	CHECK_TEXT(f.call.error.text, "asked to");
	CHECK_INT(count(&f.call, f.db), 0);
	CHECK_INT(put(&f.call, f.db, "a", "1"), 0);
	CHECK_INT(put(&f.call, f.db, "a", "2"), -EEXIST);
	CHECK_INT(count(&f.call, f.db), 1);
}

enum { THREADS = 200, WRITES = 10 };

struct worker {
	pthread_t thread;
	struct mk_db *db;
	int number, bad;
};

/* Every third write fails on purpose: it must not take a neighbour of its group with it. */
static void *work(void *arg)
{
	struct worker *w = arg;
	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);
	for (int i = 0; i < WRITES; i++) {
		char key[32];
		struct pair pair = {.key = key, .value = "v", .fail_with = i % 3 == 2 ? EBUSY : 0};

		snprintf(key, sizeof(key), "%d.%d", w->number, i);

		int r = mk_db_write(&call, w->db, i % 2 ? MK_KILLSAFE : MK_DURABLE, insert, &pair);

		w->bad += r != -pair.fail_with;
		w->bad += count(&call, w->db) < 1 && !pair.fail_with;
		(void)mk_db_generation(w->db);
	}
	return NULL;
}

static void many_threads(enum mk_db_journal journal)
{
	FIXTURE(f, journal);
	static struct worker workers[THREADS];
	uint64_t before = mk_db_generation(f.db);
	int bad = 0;

	for (int i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){.db = f.db, .number = i};
		NEED(pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(workers[i].thread, NULL);
		bad += workers[i].bad;
	}
	CHECK_INT(bad, 0);
	CHECK_INT(count(&f.call, f.db), THREADS * 7);
	CHECK(mk_db_generation(f.db) != before);
}

static void many_threads_share_commits(void)
{
	many_threads(MK_JOURNAL_WAL);
}

static void many_threads_with_a_rollback_journal(void)
{
	many_threads(MK_JOURNAL_ROLLBACK);
}

/* Blocks the writer until told, so that what comes after stays queued. */
struct gate {
	int entered[2], leave[2];
};

static int wait_at_gate(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	struct gate *gate = arg;
	char c = 0;

	return write(gate->entered[1], &c, 1) == 1 && read(gate->leave[0], &c, 1) == 1 ? 0 : -EIO;
}

struct late {
	pthread_t thread;
	struct mk_db *db;
	struct mk_call call;
	mk_db_fn *fn;
	void *arg;
	int result;
};

static void *late_write(void *arg)
{
	struct late *late = arg;

	late->result = mk_db_write(&late->call, late->db, MK_DURABLE, late->fn, late->arg);
	return NULL;
}

static void start(struct late *late, struct mk_db *db, mk_db_fn *fn, void *arg, int64_t deadline)
{
	*late = (struct late){.db = db, .fn = fn, .arg = arg};
	mk_call_init(&late->call);
	late->call.deadline = deadline;
	if (pthread_create(&late->thread, NULL, late_write, late) != 0)
		abort();
}

static void queued_write_can_be_taken_back(void)
{
	FIXTURE(f, MK_JOURNAL_AUTO);
	struct gate gate;
	struct late first, cancelled, timed_out;
	struct pair pair = {.key = "never", .value = "1"};
	char c = 0;

	NEED(pipe2(gate.entered, O_CLOEXEC) == 0 && pipe2(gate.leave, O_CLOEXEC) == 0);
	start(&first, f.db, wait_at_gate, &gate, 0);
	NEED(read(gate.entered[0], &c, 1) == 1);
	start(&timed_out, f.db, insert, &pair, mk_now_mono() + 50 * MK_MS);
	start(&cancelled, f.db, insert, &pair, 0);
	mk_call_cancel(&cancelled.call);
	pthread_join(cancelled.thread, NULL);
	pthread_join(timed_out.thread, NULL);
	CHECK_INT(cancelled.result, -EINTR);
	CHECK_INT(timed_out.result, -ETIMEDOUT);
	mk_call_cancel(&first.call); /* has begun: its result is the truth */
	NEED(write(gate.leave[1], &c, 1) == 1);
	pthread_join(first.thread, NULL);
	CHECK_INT(first.result, 0);
	CHECK_INT(count(&f.call, f.db), 0);
	mk_call_done(&first.call);
	mk_call_done(&cancelled.call);
	mk_call_done(&timed_out.call);
	for (int i = 0; i < 2; i++) {
		close(gate.entered[i]);
		close(gate.leave[i]);
	}
}

/* The child says each key it was told is durable; the parent kills it in the middle. */
static void *tell_acknowledged(void *arg)
{
	struct worker *w = arg;
	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);
	for (int i = 0;; i++) {
		char key[32] = {0};
		struct pair pair = {.key = key, .value = "v"};

		snprintf(key, sizeof(key), "%d.%d", w->number, i);
		if (mk_db_write(&call, w->db, i % 2 ? MK_KILLSAFE : MK_DURABLE, insert, &pair) < 0)
			_exit(3);
		if (write(w->bad, key, sizeof(key)) != sizeof(key))
			_exit(4);
	}
	return NULL;
}

static void kill_during_group_commit(enum mk_db_journal journal)
{
	enum { CHILD_THREADS = 8, ENOUGH = 200 };
	_cleanup_(tmpdir_removep) char *dir = tmpdir_make();
	_cleanup_free_ char *path = tmpdir_path(dir, "mantik.db");
	int fds[2];

	NEED(pipe2(fds, O_CLOEXEC) == 0);

	pid_t child = fork();

	if (child == 0) {
		struct worker workers[CHILD_THREADS];
		struct mk_call call;
		struct mk_db *db;

		mk_call_init(&call);
		if (mk_db_open_as(&call, path, false, journal, &db) < 0)
			_exit(2);
		for (int i = 0; i < CHILD_THREADS; i++) {
			workers[i] = (struct worker){.db = db, .number = i, .bad = fds[1]};
			pthread_create(&workers[i].thread, NULL, tell_acknowledged, &workers[i]);
		}
		pause();
	}
	close(fds[1]);

	char keys[4096][32];
	int n = 0;

	while (n < 4096 && read(fds[0], keys[n], 32) == 32)
		if (++n == ENOUGH)
			kill(child, SIGKILL);
	close(fds[0]);

	int status;

	waitpid(child, &status, 0);
	CHECK(WIFSIGNALED(status));
	CHECK(n >= ENOUGH);

	_cleanup_call_ struct mk_call call;
	struct mk_db *db = NULL;
	int missing = 0;

	mk_call_init(&call);
	NEED(mk_db_open_as(&call, path, false, journal, &db) == 0);

	struct mk_conn *conn;

	NEED(mk_db_reader(&call, db, &conn) == 0);
	for (int i = 0; i < n; i++) {
		_cleanup_stmt_ struct mk_stmt *stmt = NULL;

		NEED(mk_prepare(&call, conn, "SELECT 1 FROM settings WHERE key = ?", &stmt) == 0);
		mk_bind_text(stmt, 1, keys[i]);
		missing += mk_step(&call, stmt) != 1;
	}
	CHECK_INT(missing, 0);
	mk_db_close(db);
}

static void acknowledged_survives_a_kill(void)
{
	kill_during_group_commit(MK_JOURNAL_WAL);
}

static void acknowledged_survives_a_kill_without_wal(void)
{
	kill_during_group_commit(MK_JOURNAL_ROLLBACK);
}

static void reader_sees_one_state(void)
{
	FIXTURE(f, MK_JOURNAL_WAL);
	struct mk_conn *conn;

	NEED(mk_db_reader(&f.call, f.db, &conn) == 0);
	CHECK_INT(mk_db_snapshot_begin(&f.call, conn), 0);
	CHECK_INT(count(&f.call, f.db), 0);
	CHECK_INT(put(&f.call, f.db, "a", "1"), 0);
	CHECK_INT(count(&f.call, f.db), 0);
	mk_db_snapshot_end(conn);
	CHECK_INT(count(&f.call, f.db), 1);
}

static void generation_counts_foreign_commits(void)
{
	FIXTURE(f, MK_JOURNAL_AUTO);
	struct mk_db *other = NULL;

	NEED(mk_db_open(&f.call, f.path, false, &other) == 0);

	uint64_t g = mk_db_generation(f.db);

	CHECK_INT(mk_db_generation(f.db), g);
	CHECK_INT(put(&f.call, other, "a", "1"), 0);
	CHECK(mk_db_generation(f.db) != g);
	g = mk_db_generation(f.db);
	CHECK_INT(put(&f.call, f.db, "b", "1"), 0);
	CHECK(mk_db_generation(f.db) != g);
	g = mk_db_generation(f.db);
	CHECK_INT(mk_db_generation(f.db), g);
	mk_db_close(other);
}

static void reader_may_not_write(void)
{
	FIXTURE(f, MK_JOURNAL_AUTO);
	struct mk_conn *conn;
	struct pair pair = {.key = "a", .value = "1"};

	NEED(mk_db_reader(&f.call, f.db, &conn) == 0);
	CHECK_INT(insert(&f.call, conn, &pair), -EROFS);
}

static void statement_in_use_is_made_twice(void)
{
	FIXTURE(f, MK_JOURNAL_AUTO);
	struct mk_conn *conn;
	static const char sql[] = "SELECT key FROM settings ORDER BY key";

	CHECK_INT(put(&f.call, f.db, "a", "1"), 0);
	CHECK_INT(put(&f.call, f.db, "b", "1"), 0);
	NEED(mk_db_reader(&f.call, f.db, &conn) == 0);

	_cleanup_stmt_ struct mk_stmt *outer = NULL, *inner = NULL;

	NEED(mk_prepare(&f.call, conn, sql, &outer) == 0 && mk_step(&f.call, outer) == 1);
	NEED(mk_prepare(&f.call, conn, sql, &inner) == 0 && mk_step(&f.call, inner) == 1);
	CHECK_TEXT(mk_col_text(inner, 0), "a");
	mk_reset(&inner);
	CHECK_INT(mk_step(&f.call, outer), 1);
	CHECK_TEXT(mk_col_text(outer, 0), "b");
}

static void damaged_file_is_kept(void)
{
	_cleanup_(tmpdir_removep) char *dir = tmpdir_make();
	_cleanup_free_ char *path = tmpdir_path(dir, "mantik.db");
	_cleanup_call_ struct mk_call call;
	struct mk_db *db = NULL;
	char text[8192], after[8192];

	memset(text, 'x', sizeof(text));
	mk_call_init(&call);
	NEED(tmpdir_write(path, text, sizeof(text)));
	CHECK_INT(mk_db_open(&call, path, false, &db), -EUCLEAN);
	CHECK(strstr(call.error.text, "damaged") && strstr(call.error.text, "kept"));

	int fd = open(path, O_RDONLY | O_CLOEXEC);

	CHECK_INT(read(fd, after, sizeof(after)), sizeof(text));
	CHECK(memcmp(text, after, sizeof(text)) == 0);
	close(fd);
}

static void damage_inside_is_told(void)
{
	FIXTURE(f, MK_JOURNAL_ROLLBACK);
	char zeros[3 * 4096];

	CHECK_INT(put(&f.call, f.db, "a", "1"), 0);
	mk_db_close(f.db);
	f.db = NULL;

	int fd = open(f.path, O_WRONLY | O_CLOEXEC);
	struct stat st;

	memset(zeros, 0x5a, sizeof(zeros));
	NEED(fstat(fd, &st) == 0);
	for (off_t at = 4096; at < st.st_size; at += sizeof(zeros))
		NEED(pwrite(fd, zeros, sizeof(zeros), at) > 0);
	close(fd);
	CHECK_INT(mk_db_open(&f.call, f.path, false, &f.db) < 0 ? f.call.error.code
		  : put(&f.call, f.db, "b", "1") < 0		? f.call.error.code
								: 0,
		  EUCLEAN);
}

static void newer_schema_is_refused(void)
{
	FIXTURE(f, MK_JOURNAL_AUTO);
	sqlite3 *sql;

	mk_db_close(f.db);
	f.db = NULL;
	NEED(sqlite3_open(f.path, &sql) == SQLITE_OK);
	CHECK_INT(sqlite3_exec(sql, "PRAGMA user_version=99", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(sql);
	CHECK_INT(mk_db_open(&f.call, f.path, false, &f.db), -EPROTO);
	CHECK(strstr(f.call.error.text, "newer mantikfs (schema 99, this program knows 2)") !=
	      NULL);
}

static void foreign_database_is_refused(void)
{
	_cleanup_(tmpdir_removep) char *dir = tmpdir_make();
	_cleanup_free_ char *path = tmpdir_path(dir, "mantik.db");
	_cleanup_call_ struct mk_call call;
	struct mk_db *db = NULL;
	sqlite3 *sql;

	mk_call_init(&call);
	NEED(sqlite3_open(path, &sql) == SQLITE_OK);
	CHECK_INT(sqlite3_exec(sql, "CREATE TABLE t (a)", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(sql);
	CHECK_INT(mk_db_open(&call, path, false, &db), -EUCLEAN);
	CHECK(strstr(call.error.text, "another program") != NULL);
}

static void locked_database_says_so(void)
{
	FIXTURE(f, MK_JOURNAL_ROLLBACK);
	sqlite3 *sql;

	NEED(sqlite3_open(f.path, &sql) == SQLITE_OK);
	CHECK_INT(sqlite3_exec(sql, "BEGIN EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);

	int64_t before = mk_now_mono();

	f.call.deadline = before + 200 * MK_MS;
	CHECK_INT(count(&f.call, f.db), -1);
	CHECK_INT(f.call.error.code, ETIMEDOUT);
	f.call.deadline = 0;
	CHECK_INT(put(&f.call, f.db, "a", "1"), -EBUSY);
	CHECK(strstr(f.call.error.text, "locked by another program") != NULL);
	CHECK(mk_now_mono() - before < 12 * MK_SEC);
	CHECK_INT(sqlite3_exec(sql, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(sql);
	CHECK_INT(put(&f.call, f.db, "a", "1"), 0);
}

static void opens_for_reading_only(void)
{
	FIXTURE(f, MK_JOURNAL_AUTO);
	struct mk_db *reader = NULL;

	CHECK_INT(put(&f.call, f.db, "a", "1"), 0);
	NEED(mk_db_open(&f.call, f.path, true, &reader) == 0);
	CHECK_INT(count(&f.call, reader), 1);
	CHECK_INT(put(&f.call, reader, "b", "1"), -EROFS);
	CHECK_INT(put(&f.call, f.db, "b", "1"), 0);
	CHECK_INT(count(&f.call, reader), 2);
	mk_db_close(reader);
}

static void network_punts(void)
{
	FIXTURE(f, MK_JOURNAL_ROLLBACK);
	struct mk_conn *conn;
	struct pair pair = {.key = "a", .value = "1"};

	f.call.may_wait = NULL;
	CHECK_INT(mk_db_reader(&f.call, f.db, &conn), MK_PUNT);
	CHECK_INT(mk_db_write(&f.call, f.db, MK_DURABLE, insert, &pair), MK_PUNT);
	CHECK_TEXT(f.call.punt, "db");
	f.call.may_wait = "git:file"; /* needs the database in the middle of its work */
	CHECK_INT(mk_db_reader(&f.call, f.db, &conn), 0);
	f.call.may_wait = "db";
	CHECK_INT(mk_db_write(&f.call, f.db, MK_DURABLE, insert, &pair), 0);
	CHECK_INT(count(&f.call, f.db), 1);
}

static void full_disk_changes_nothing(void)
{
	FIXTURE(f, MK_JOURNAL_WAL);
	_cleanup_free_ char *big = malloc(4 << 20);
	struct rlimit before, small = {1 << 20, RLIM_INFINITY};

	/* A file that may not grow; the really full disk is a mounted test. */
	memset(big, 'x', 4 << 20);
	big[(4 << 20) - 1] = 0;
	CHECK_INT(put(&f.call, f.db, "a", "1"), 0);
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &before);
	small.rlim_max = before.rlim_max;
	setrlimit(RLIMIT_FSIZE, &small);
	CHECK(put(&f.call, f.db, "big", big) < 0);
	setrlimit(RLIMIT_FSIZE, &before);
	CHECK_INT(count(&f.call, f.db), 1);
	CHECK_INT(put(&f.call, f.db, "b", "1"), 0);
	CHECK_INT(count(&f.call, f.db), 2);
}

/* Runs a test on a small tmpfs nobody else sees; -1: namespaces or mounts are not allowed here. */
static int on_small_disk(const char *dir, bool (*test)(const char *path))
{
	_cleanup_free_ char *path = tmpdir_path(dir, "mantik.db");
	pid_t child;
	int status;

	fflush(stdout);
	child = fork();
	if (child == 0) {
		if ((geteuid() != 0 && unshare(CLONE_NEWUSER) < 0) || unshare(CLONE_NEWNS) < 0 ||
		    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		    mount("none", dir, "tmpfs", 0, "size=2m") < 0)
			_exit(77);

		bool good = test(path);

		fflush(stdout);
		_exit(good && !test_bad ? 0 : 1);
	}
	if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status))
		return 1;
	return WEXITSTATUS(status) == 77 ? -1 : WEXITSTATUS(status);
}

static bool fill_the_disk(const char *path)
{
	_cleanup_call_ struct mk_call call;
	struct mk_db *db = NULL;
	static char big[4 << 20];
	char text[200];

	mk_call_init(&call);
	memset(big, 'x', sizeof(big) - 1);
	if (mk_db_open(&call, path, false, &db) < 0)
		return false;
	CHECK(!mk_db_network(db));
	CHECK_INT(put(&call, db, "a", "1"), 0);
	CHECK_INT(put(&call, db, "big", big), -ENOSPC);
	snprintf(text, sizeof(text), "%s: no space left on its disk; nothing was changed", path);
	CHECK_TEXT(call.error.text, text);
	CHECK_INT(count(&call, db), 1);
	CHECK_INT(put(&call, db, "b", "1"), 0);
	CHECK_INT(count(&call, db), 2);
	mk_db_close(db);
	return true;
}

static void a_really_full_disk(void)
{
	_cleanup_(tmpdir_removep) char *dir = tmpdir_make();
	int r = on_small_disk(dir, fill_the_disk);

	if (r < 0)
		SKIP("no mount namespaces");
	CHECK_INT(r, 0);
}

static bool read_from_read_only_medium(const char *path)
{
	_cleanup_call_ struct mk_call call;
	_cleanup_free_ char *dir = strndup(path, (size_t)(strrchr(path, '/') - path));
	struct mk_db *db = NULL;

	mk_call_init(&call);
	if (mk_db_open(&call, path, false, &db) < 0)
		return false;
	CHECK_INT(put(&call, db, "a", "1"), 0);
	mk_db_close(db);
	db = NULL;
	if (mount("none", dir, NULL, MS_REMOUNT | MS_RDONLY, NULL) < 0)
		return false;
	CHECK_INT(mk_db_open(&call, path, false, &db), -EROFS);
	CHECK(call.error.text && strstr(call.error.text, "open the platform for reading only"));
	CHECK_INT(mk_db_open(&call, path, true, &db), 0);
	if (db)
		CHECK_INT(count(&call, db), 1);
	mk_db_close(db);
	return true;
}

static void a_read_only_medium(void)
{
	_cleanup_(tmpdir_removep) char *dir = tmpdir_make();
	int r = on_small_disk(dir, read_from_read_only_medium);

	if (r < 0)
		SKIP("no mount namespaces");
	CHECK_INT(r, 0);
}

static void backup_while_writing(void)
{
	FIXTURE(f, MK_JOURNAL_AUTO);
	_cleanup_free_ char *copy = tmpdir_path(f.dir, "it's a copy");
	struct mk_db *db = NULL;
	struct stat st;

	CHECK_INT(put(&f.call, f.db, "a", "1"), 0);
	CHECK_INT(mk_db_backup(&f.call, f.db, copy), 0);
	CHECK_INT(stat(copy, &st), 0);
	CHECK_INT(st.st_mode & 0777, 0600);
	CHECK_INT(put(&f.call, f.db, "b", "1"), 0);
	CHECK_INT(mk_db_backup(&f.call, f.db, copy), -EEXIST);
	NEED(mk_db_open(&f.call, copy, false, &db) == 0);
	CHECK_INT(count(&f.call, db), 1);
	mk_db_close(db);
}

static void unknown_file_systems_are_network(void)
{
	CHECK(mk_fstype_of(0xEF53).is_local);
	CHECK(!mk_fstype_of(0x0BD00BD0).is_local);
	CHECK_TEXT(mk_fstype_of(0x47504653).name, "gpfs");
	CHECK_TEXT(mk_fstype_of((int)0xFF534D42).name, "cifs"); /* f_type may be sign-extended */
	CHECK(!mk_fstype_of(0x65735546).is_local); /* fuse */
	CHECK(!mk_fstype_of(0x12345).is_local);
	CHECK_TEXT(mk_fstype_of(0x12345).name, "unknown");
}

int main(void)
{
	return RUN(TEST(makes_and_opens_again), TEST(failed_write_leaves_nothing),
		   TEST(many_threads_share_commits), TEST(many_threads_with_a_rollback_journal),
		   TEST(queued_write_can_be_taken_back), TEST(acknowledged_survives_a_kill),
		   TEST(acknowledged_survives_a_kill_without_wal), TEST(reader_sees_one_state),
		   TEST(generation_counts_foreign_commits), TEST(reader_may_not_write),
		   TEST(statement_in_use_is_made_twice), TEST(damaged_file_is_kept),
		   TEST(damage_inside_is_told), TEST(newer_schema_is_refused),
		   TEST(foreign_database_is_refused), TEST(locked_database_says_so),
		   TEST(opens_for_reading_only), TEST(network_punts),
		   TEST(full_disk_changes_nothing), TEST(a_really_full_disk),
		   TEST(a_read_only_medium), TEST(backup_while_writing),
		   TEST(unknown_file_systems_are_network));
}
