/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Migrations, seen from two versions ahead: this program has a table of its own, and a database that
 * a real program of version 1 has left (data/version-1.sql). SQL function step(n) is where things go
 * wrong: the process is killed there, or the disk gets full.
 */
#include "db/migrations.h"

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "db/db_internal.h"
#include "test.h"
#include "tmpdir.h"

const struct mk_migration mk_migrations[] = {
	{1, mk_schema_001},
	{2, "SELECT step(1); ALTER TABLE runs ADD COLUMN stars INTEGER NOT NULL DEFAULT 0;"
	    "SELECT step(2); UPDATE runs SET stars = 5; SELECT step(3);"},
	/* As SQLite wants a column changed: a table made anew under the old name. */
	{3, "CREATE TABLE new_projects (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,"
	    " title TEXT, site TEXT, created INTEGER NOT NULL, changed INTEGER NOT NULL,"
	    " touched INTEGER NOT NULL DEFAULT 0, runs_generation INTEGER NOT NULL DEFAULT 0) STRICT;"
	    "SELECT step(4);"
	    "INSERT INTO new_projects SELECT id, name, upper(name), site, created, changed, touched,"
	    " runs_generation FROM projects; DROP TABLE projects; SELECT step(5);"
	    "ALTER TABLE new_projects RENAME TO projects; SELECT step(6);"},
	{},
};
enum { NEWEST = 3, STEPS = 6 };

static int kill_at; /* the step of the next migration where this process ends; 0: none */
static int fill_at; /* where it writes more than the disk holds */

static void do_step(sqlite3_context *context, int n, sqlite3_value **values)
{
	const int step = sqlite3_value_int(values[0]);

	(void)n;
	if (step == kill_at)
		raise(SIGKILL);
	if (step == fill_at)
		sqlite3_result_error_code(
			context, sqlite3_exec(sqlite3_context_db_handle(context),
					      "INSERT INTO settings VALUES ('big', hex(zeroblob(4000000)))",
					      NULL, NULL, NULL));
}

static int add_step(sqlite3 *sql, char **error, const sqlite3_api_routines *api)
{
	(void)error, (void)api;
	return sqlite3_create_function(sql, "step", 1, SQLITE_UTF8, NULL, do_step, NULL, NULL);
}

static int raw_text(void *arg, int n, char **values, char **names)
{
	char *out = arg;

	(void)names;
	snprintf(out, 200, "%s", n && values[0] ? values[0] : "");
	return 0;
}

/* The first value of a question to a database as it is; "error …" when it cannot be asked. */
static const char *raw(const char *path, const char *sql)
{
	static char out[200];
	sqlite3 *db = NULL;

	snprintf(out, sizeof(out), "nothing");
	if (sqlite3_open(path, &db) != SQLITE_OK || sqlite3_exec(db, sql, raw_text, out, NULL))
		snprintf(out, sizeof(out), "error: %s", sqlite3_errmsg(db));
	sqlite3_close(db);
	return out;
}

static const char version_sql[] = "PRAGMA user_version";
static bool make_version_1(const char *path)
{
	FILE *f = fopen(SOURCE_ROOT "/tests/unit/data/version-1.sql", "re");
	char *text = NULL;
	size_t cap = 0;
	const ssize_t len = f ? getdelim(&text, &cap, 0, f) : -1;
	sqlite3 *db = NULL;
	bool good = len > 0 && sqlite3_open(path, &db) == SQLITE_OK &&
		    sqlite3_exec(db, text, NULL, NULL, NULL) == SQLITE_OK;

	if (!good)
		printf("# version-1.sql: %s\n", db ? sqlite3_errmsg(db) : strerror(errno));
	sqlite3_close(db);
	free(text);
	if (f)
		fclose(f);
	return good && chmod(path, 0600) == 0;
}

struct fixture {
	char *dir, *path, *copy;
	struct mk_call call;
	struct mk_db *db;
};

static void fixture_done(struct fixture *f)
{
	mk_db_close(f->db);
	mk_call_done(&f->call);
	tmpdir_remove(f->dir);
	free(f->path);
	free(f->copy);
}

static bool fixture_init(struct fixture *f)
{
	*f = (struct fixture){.dir = tmpdir_make()};
	f->path = tmpdir_path(f->dir, "mantik.db");
	f->copy = tmpdir_path(f->dir, "mantik.db.schema1");
	mk_call_init(&f->call);
	return make_version_1(f->path);
}
#define FIXTURE(f)                                \
	_cleanup_(fixture_done) struct fixture f; \
	NEED(fixture_init(&f))

static int open_db(struct fixture *f)
{
	int r = mk_db_open(&f->call, f->path, false, &f->db);

	if (r < 0)
		printf("# %s\n", f->call.error.text);
	return r;
}

static void close_db(struct fixture *f)
{
	mk_db_close(f->db);
	f->db = NULL;
}

static void is_version_1(const char *path)
{
	CHECK_TEXT(raw(path, version_sql), "1");
	CHECK_TEXT(raw(path, "PRAGMA integrity_check"), "ok");
	CHECK_TEXT(raw(path, "SELECT group_concat(dir, ' ') FROM (SELECT dir FROM runs ORDER BY id)"),
		   "lr-0.02.4281442d lr-0.05.f270a5a4 command.8367d216");
	CHECK_TEXT(raw(path, "SELECT count(*) FROM points"), "8");
	CHECK_TEXT(raw(path, "SELECT count(*) FROM pragma_table_info('runs') WHERE name = 'stars'"),
		   "0");
	CHECK_TEXT(raw(path, "SELECT count(*) FROM sqlite_schema WHERE name = 'new_projects'"), "0");
}

static void is_newest(const char *path)
{
	CHECK_TEXT(raw(path, version_sql), "3");
	CHECK_TEXT(raw(path, "PRAGMA integrity_check"), "ok");
	CHECK_TEXT(raw(path, "PRAGMA foreign_key_check"), "nothing");
	CHECK_TEXT(raw(path, "SELECT group_concat(dir || stars, ' ') FROM (SELECT dir, stars FROM runs ORDER BY id)"),
		   "lr-0.02.4281442d5 lr-0.05.f270a5a45 command.8367d2165");
	CHECK_TEXT(raw(path, "SELECT name || title FROM projects"), "rainRAIN");
	CHECK_TEXT(raw(path, "SELECT count(*) FROM points"), "8");
}

/* Who edits 001.sql breaks every database there is: a change is a new row of the table. */
static void version_1_is_frozen(void)
{
	FIXTURE(f);
	_cleanup_free_ char *fresh = tmpdir_path(f.dir, "fresh.db"), *old = NULL;
	sqlite3 *db = NULL;

	old = strdup(raw(f.path, "SELECT count(*) FROM sqlite_schema"));
	NEED(sqlite3_open(fresh, &db) == SQLITE_OK);
	CHECK_INT(sqlite3_exec(db, mk_schema_001, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	CHECK_TEXT(raw(fresh, "SELECT count(*) FROM sqlite_schema"), old);

	_cleanup_free_ char *sql = NULL;

	if (asprintf(&sql,
		     "ATTACH '%s' AS old; SELECT group_concat(name) FROM (SELECT name, sql FROM"
		     " main.sqlite_schema EXCEPT SELECT name, sql FROM old.sqlite_schema)",
		     f.path) < 0)
		abort();
	CHECK_TEXT(raw(fresh, sql), "");
}

static void version_1_becomes_the_newest(void)
{
	FIXTURE(f);
	struct stat st;

	NEED(open_db(&f) == 0);
	close_db(&f);
	is_newest(f.path);
	/* what was there before is kept, for the user alone */
	is_version_1(f.copy);
	CHECK(stat(f.copy, &st) == 0 && (st.st_mode & 07777) == 0600);

	/* the second time there is nothing to do */
	CHECK_INT(unlink(f.copy), 0);
	NEED(open_db(&f) == 0);
	CHECK(access(f.copy, F_OK) < 0);
}

static void only_what_is_missing_is_done(void)
{
	FIXTURE(f);
	_cleanup_free_ char *copy = tmpdir_path(f.dir, "mantik.db.schema2");

	raw(f.path, "ALTER TABLE runs ADD COLUMN stars INTEGER NOT NULL DEFAULT 0;"
		    "UPDATE runs SET stars = 5; PRAGMA user_version = 2");
	NEED(open_db(&f) == 0);
	is_newest(f.path);
	CHECK_TEXT(raw(copy, version_sql), "2");
	CHECK(access(f.copy, F_OK) < 0);
}

static void a_new_database_has_no_copy(void)
{
	FIXTURE(f);

	CHECK_INT(unlink(f.path), 0);
	NEED(open_db(&f) == 0);
	CHECK_TEXT(raw(f.path, version_sql), "3");
	CHECK(access(f.copy, F_OK) < 0);
}

/* In a child that a kill may end: its wait status. */
static int open_in_child(struct fixture *f)
{
	pid_t child;
	int status = -1;

	fflush(stdout);
	child = fork();
	if (child == 0)
		_exit(mk_db_open(&f->call, f->path, false, &f->db) < 0);
	waitpid(child, &status, 0);
	return status;
}

static void killed_half_way(void)
{
	FIXTURE(f);

	for (kill_at = 1; kill_at <= STEPS; kill_at++) {
		const int status = open_in_child(&f);

		CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		is_version_1(f.path); /* SQLite rolls back what it finds */
	}
	kill_at = 0;
	NEED(open_db(&f) == 0);
	close_db(&f);
	is_newest(f.path);
	is_version_1(f.copy); /* that of a killed try is replaced */
}

static void several_at_once(void)
{
	enum { N = 6 };
	FIXTURE(f);
	pid_t children[N];

	fflush(stdout);
	for (int i = 0; i < N; i++) {
		children[i] = fork();
		if (children[i] == 0)
			_exit(mk_db_open(&f.call, f.path, false, &f.db) < 0);
	}
	for (int i = 0; i < N; i++) {
		int status = -1;

		waitpid(children[i], &status, 0);
		CHECK_INT(status, 0);
	}
	is_newest(f.path);
	is_version_1(f.copy);
}

/* Another program copies a large database before it brings the schema up: that takes its time. */
static void a_slow_one_is_waited_for(void)
{
	FIXTURE(f);
	sqlite3 *other = NULL;
	int status = -1, go[2];
	char byte;

	/* SQLite knows the locks of its own process: the child comes before them. */
	NEED(pipe(go) == 0);
	fflush(stdout);

	const pid_t child = fork();

	if (child == 0)
		_exit(read(go[0], &byte, 1) != 1 ||
		      mk_db_open(&f.call, f.path, false, &f.db) < 0);
	NEED(sqlite3_open(f.path, &other) == SQLITE_OK);
	NEED(!sqlite3_exec(other, "PRAGMA journal_mode=WAL; BEGIN IMMEDIATE", NULL, NULL, NULL));
	NEED(write(go[1], "", 1) == 1);
	(void)poll(NULL, 0, BUSY_LIMIT_MS + 1000);
	CHECK_INT(waitpid(child, &status, WNOHANG), 0);
	NEED(!sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL));
	sqlite3_close(other);
	waitpid(child, &status, 0);
	close(go[0]);
	close(go[1]);
	CHECK_INT(status, 0);
	is_newest(f.path);
}

static void reading_changes_nothing(void)
{
	FIXTURE(f);
	char text[256];

	CHECK_INT(mk_db_open(&f.call, f.path, true, &f.db), -EROFS);
	snprintf(text, sizeof(text), "%s: has the older schema 1; open it for writing once", f.path);
	CHECK_TEXT(f.call.error.text, text);
	is_version_1(f.path);
	CHECK(access(f.copy, F_OK) < 0);
}

static int refuse(struct mk_call *call, void *arg)
{
	++*(int *)arg;
	return mk_fail(call, EBUSY, "in use by process 42");
}

static void guarded(void)
{
	FIXTURE(f);
	int asked = 0;
	char text[256];

	CHECK_INT(mk_db_open_guarded(&f.call, f.path, false, MK_JOURNAL_AUTO, refuse, &asked, &f.db),
		  -EBUSY);
	snprintf(text, sizeof(text), "%s has the older schema 1, which cannot be brought to 3 now: "
		 "in use by process 42", f.path);
	CHECK_TEXT(f.call.error.text, text);
	CHECK_INT(asked, 1);
	is_version_1(f.path);
	NEED(open_db(&f) == 0);
	close_db(&f);
	/* nobody is asked where nothing is to be changed */
	CHECK_INT(mk_db_open_guarded(&f.call, f.path, false, MK_JOURNAL_AUTO, refuse, &asked, &f.db), 0);
	CHECK_INT(asked, 1);
}

static int write_setting(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	(void)arg;
	return mk_conn_run(call, conn, "INSERT INTO settings VALUES ('a', 'b')");
}

static void an_older_program_stops_writing(void)
{
	FIXTURE(f);

	NEED(open_db(&f) == 0);
	raw(f.path, "PRAGMA user_version = 4"); /* a newer program came */
	CHECK_INT(mk_db_write(&f.call, f.db, MK_DURABLE, write_setting, NULL), -EPROTO);
	CHECK(strstr(f.call.error.text, "was brought to schema 4 by another version") != NULL);
	CHECK_TEXT(raw(f.path, "SELECT count(*) FROM settings WHERE key = 'a'"), "0");
	raw(f.path, "PRAGMA user_version = 3");
	CHECK_INT(mk_db_write(&f.call, f.db, MK_DURABLE, write_setting, NULL), 0);
}

/* In a namespace of its own, on a disk of 2 MiB: 0 good, 1 bad, 77 cannot here. */
static int on_a_small_disk(bool room_for_copy)
{
	_cleanup_(tmpdir_removep) char *dir = tmpdir_make();
	int status = -1;

	fflush(stdout);
	pid_t child = fork();

	if (child == 0) {
		struct fixture f = {.dir = dir, .path = tmpdir_path(dir, "mantik.db"),
				    .copy = tmpdir_path(dir, "mantik.db.schema1")};
		_cleanup_free_ char *filler = tmpdir_path(dir, "filler");

		if ((geteuid() != 0 && unshare(CLONE_NEWUSER) < 0) || unshare(CLONE_NEWNS) < 0 ||
		    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		    mount("none", dir, "tmpfs", 0, "size=2m") < 0)
			_exit(77);
		mk_call_init(&f.call);
		if (!make_version_1(f.path))
			_exit(1);
		if (!room_for_copy) {
			FILE *file = fopen(filler, "we");

			for (int i = 0; file && i < 4096 && fputs("0123456789abcdef", file) >= 0; i++)
				for (int k = 0; k < 63; k++)
					fputs("0123456789abcdef", file);
			if (file)
				fclose(file);
		}
		fill_at = room_for_copy ? 5 : 0;
		CHECK_INT(mk_db_open(&f.call, f.path, false, &f.db), -ENOSPC);
		CHECK(f.call.error.text && strstr(f.call.error.text, "no space left on its disk"));
		is_version_1(f.path);
		fill_at = 0;
		(void)unlink(filler);
		CHECK_INT(open_db(&f), 0);
		close_db(&f);
		is_newest(f.path);
		fflush(stdout);
		_exit(test_bad ? 1 : 0);
	}
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static void full_disk_half_way(void)
{
	const int r = on_a_small_disk(true);

	if (r == 77)
		SKIP("no mount namespaces");
	CHECK_INT(r, 0);
}

static void full_disk_before_it(void)
{
	const int r = on_a_small_disk(false);

	if (r == 77)
		SKIP("no mount namespaces");
	CHECK_INT(r, 0);
}

int main(void)
{
	sqlite3_auto_extension((void (*)(void))add_step);
	return RUN(TEST(version_1_is_frozen), TEST(version_1_becomes_the_newest),
		   TEST(only_what_is_missing_is_done), TEST(a_new_database_has_no_copy),
		   TEST(killed_half_way), TEST(several_at_once), TEST(a_slow_one_is_waited_for),
		   TEST(reading_changes_nothing), TEST(guarded), TEST(an_older_program_stops_writing), TEST(full_disk_half_way),
		   TEST(full_disk_before_it));
}
