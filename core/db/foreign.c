/* SPDX-License-Identifier: Apache-2.0 */
/* See foreign.h. */
#include "db/foreign.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/path.h"
#include "db/db_internal.h"

enum {
	TRIES = 12,	  /* without a lock */
	TRY_MS = 15,
	ROUNDS = 4,
	JOURNAL_MS = 400, /* one that has not changed for so long is nobody's */
	HEADER = 100,
	LOG_HEADER = 32,
	PART = 1 << 20,
	MOST_TEXT = 64 << 20,
};

/* SQLite's locks are the process's: closing any descriptor of the file drops them. Who reads with a
 * lock is alone, the others are together. */
static pthread_rwlock_t descriptors = PTHREAD_RWLOCK_INITIALIZER;

/* What lies there at one time. */
struct state {
	struct stat db;
	unsigned char header[HEADER];
	bool has_journal, has_log;
	struct stat journal, log;
	unsigned char log_header[LOG_HEADER];
};

struct mk_foreign {
	char *path, *scratch;
	pthread_mutex_t lock; /* protects what follows, and the copy while it is read */
	char *copy;	      /* folder of the copy, or NULL */
	struct state copied;  /* what it is a copy of */
};

/* --- looking --------------------------------------------------------------------------------- */

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
	       a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static bool same(const struct state *a, const struct state *b)
{
	return same_file(&a->db, &b->db) && memcmp(a->header, b->header, HEADER) == 0 &&
	       a->has_journal == b->has_journal && a->has_log == b->has_log &&
	       (!a->has_journal || same_file(&a->journal, &b->journal)) &&
	       (!a->has_log || (same_file(&a->log, &b->log) &&
				memcmp(a->log_header, b->log_header, LOG_HEADER) == 0));
}

/* The file beside it with something in it; its first bytes into head. */
static bool look_beside(const struct mk_foreign *f, const char *suffix, struct stat *st, void *head,
			size_t len)
{
	_cleanup_free_ char *path = mk_strf("%s%s", f->path, suffix);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
	static const unsigned char none[LOG_HEADER];

	memset(head, 0, len);
	if (fd < 0 || fstat(fd, st) < 0 || !S_ISREG(st->st_mode) || st->st_size < (off_t)len ||
	    pread(fd, head, len, 0) != (ssize_t)len)
		return false;
	/* A journal that was ended by writing zeros over its head. */
	return memcmp(head, none, len < LOG_HEADER ? len : LOG_HEADER) != 0;
}

static int fail_there(struct mk_call *call, const struct mk_foreign *f, int code)
{
	return mk_fail(call, code == EACCES ? EACCES : EHOSTUNREACH, "%s: %s", f->path,
		       strerror(code));
}

static int look(struct mk_call *call, const struct mk_foreign *f, struct state *ret)
{
	_cleanup_close_ int fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	unsigned char head[8];
	ssize_t n;

	*ret = (struct state){};
	if (fd < 0 || fstat(fd, &ret->db) < 0)
		return fail_there(call, f, errno);
	if (!S_ISREG(ret->db.st_mode))
		return mk_fail(call, EREMOTEIO, "%s: is no file%s", f->path,
			       S_ISDIR(ret->db.st_mode) ? " but a folder: an mlruns? then its url "
							  "begins with file:///"
							: "");
	n = pread(fd, ret->header, HEADER, 0);
	ret->has_log = look_beside(f, "-wal", &ret->log, ret->log_header, LOG_HEADER);
	ret->has_journal = look_beside(f, "-journal", &ret->journal, head, sizeof(head));
	if (n < 0)
		return fail_there(call, f, errno);
	if (n < HEADER && (n == 0 || ret->has_journal || ret->has_log))
		return mk_fail(call, EBUSY, "%s: is being made", f->path);
	if (n < HEADER || memcmp(ret->header, "SQLite format 3", 16) != 0)
		return mk_fail(call, EREMOTEIO, "%s: is no SQLite database", f->path);
	return 0;
}

static bool in_log_mode(const struct state *s)
{
	return s->header[18] == 2 || s->header[19] == 2;
}

/* --- a connection ---------------------------------------------------------------------------- */

enum how { IMMUTABLE, LOCKED, COPY };

/* No call waits longer than its own limits; without any a statement would run for ever. */
static int while_running(void *arg)
{
	struct mk_conn *conn = arg;

	return conn->call && (conn->call->cancelled || mk_call_left_ms(conn->call, 1) == 0);
}

static int while_busy(void *arg, int tries)
{
	struct mk_conn *conn = arg;

	if (while_running(conn) || tries > 200)
		return 0;
	(void)poll(NULL, 0, tries < 10 ? 2 : 25);
	return 1;
}

static int open_conn(struct mk_call *call, const char *path, enum how how, struct mk_conn **ret)
{
	_cleanup_(mk_conn_closep) struct mk_conn *conn = mk_new(struct mk_conn);
	_cleanup_buf_ struct mk_buf uri = MK_BUF(32768);

	conn->path = mk_strdup(path);
	(void)mk_buf_puts(&uri, "file:");
	for (const char *s = path; *s; s++)
		if (strchr("?#%", *s))
			(void)mk_buf_printf(&uri, "%%%02x", (unsigned char)*s);
		else
			(void)mk_buf_putc(&uri, *s);
	(void)mk_buf_puts(&uri, how == IMMUTABLE ? "?immutable=1" : how == LOCKED ? "?mode=ro" : "");
	if (mk_buf_check(&uri) < 0)
		return mk_fail(call, ENAMETOOLONG, "%s: the path is too long", path);

	int rc = sqlite3_open_v2(mk_buf_text(&uri), &conn->sql,
				 (how == COPY ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY) |
					 SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_URI,
				 NULL);

	if (rc == SQLITE_OK) {
		sqlite3_extended_result_codes(conn->sql, 1);
		sqlite3_busy_handler(conn->sql, while_busy, conn);
		sqlite3_progress_handler(conn->sql, 20000, while_running, conn);
		(void)sqlite3_db_config(conn->sql, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
		(void)sqlite3_db_config(conn->sql, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
		(void)sqlite3_db_config(conn->sql, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
		(void)sqlite3_db_config(conn->sql, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
		(void)sqlite3_limit(conn->sql, SQLITE_LIMIT_LENGTH, MOST_TEXT);
		conn->call = call;
		rc = sqlite3_exec(conn->sql,
				  "PRAGMA cell_size_check=ON;PRAGMA mmap_size=0;PRAGMA cache_size=-8192",
				  NULL, NULL, NULL);
		/* The snapshot begins with the first look. */
		if (rc == SQLITE_OK)
			rc = sqlite3_exec(conn->sql, "BEGIN;SELECT 1 FROM sqlite_schema", NULL, NULL,
					  NULL);
		conn->call = NULL;
	}
	if (rc != SQLITE_OK)
		return mk_conn_fail(call, conn, rc);
	*ret = mk_steal(&conn);
	return 0;
}

/* What our own database's sentences would be wrong for. */
static int judge(struct mk_call *call, const char *path, int r)
{
	if (r == -EUCLEAN)
		return mk_fail(call, EREMOTEIO, "%s: is no SQLite database, or damaged", path);
	if (r == -EBUSY || r == -EROFS)
		return mk_fail(call, EBUSY, "%s: kept locked by who writes it", path);
	return r;
}

static int run(struct mk_call *call, const char *path, enum how how, mk_db_fn *fn, void *arg)
{
	_cleanup_(mk_conn_closep) struct mk_conn *conn = NULL;
	int r = open_conn(call, path, how, &conn);

	return r < 0 ? r : fn(call, conn, arg);
}

/* --- a copy ---------------------------------------------------------------------------------- */

static int copy_file(struct mk_call *call, const char *from, const char *to)
{
	_cleanup_close_ int in = open(from, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
	_cleanup_close_ int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	_cleanup_free_ char *part = NULL;
	off_t at = 0;

	if (in < 0 || out < 0)
		return mk_fail(call, errno, "%s: %s", in < 0 ? from : to, strerror(errno));
	for (;;) {
		int r = mk_call_check(call, from);
		ssize_t n = r < 0 ? r : part ? -1 : copy_file_range(in, NULL, out, NULL, 8 << 20, 0);

		if (r < 0)
			return r;
		if (n == 0)
			return 0;
		if (n > 0) {
			at += n;
			continue;
		}
		if (!part && errno != EXDEV && errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP)
			return mk_fail(call, errno, "%s: %s", to, strerror(errno));
		if (!part)
			part = malloc(PART);
		n = part ? pread(in, part, PART, at) : -1;
		if (n == 0)
			return 0;
		if (n < 0 || pwrite(out, part, (size_t)n, at) != n)
			return mk_fail(call, errno ? errno : ENOSPC, "%s: %s", to, strerror(errno));
		at += n;
	}
}

/*
 * A journal may end with the name of another file, which SQLite removes when it has rolled back (a
 * transaction over several databases). MLflow has none, and a hostile one names what it likes.
 */
static int check_journal(struct mk_call *call, const char *path)
{
	static const unsigned char magic[8] = {0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7};
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	unsigned char end[8];
	off_t size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);

	if (size < 16 || pread(fd, end, 8, size - 8) != 8)
		return mk_fail(call, EREMOTEIO, "%s: cannot be read", path);
	if (memcmp(end, magic, 8) == 0)
		return mk_fail(call, EREMOTEIO, "%s-journal: is one of several databases", path);
	return 0;
}

static void remove_copy(struct mk_foreign *f)
{
	_cleanup_call_ struct mk_call quiet;

	mk_call_init(&quiet);
	if (f->copy)
		(void)!mk_remove_tree(&quiet, AT_FDCWD, f->copy);
	mk_freep(&f->copy);
}

/* A folder of ours for the copy. With f->lock. */
static int make_folder(struct mk_call *call, struct mk_foreign *f)
{
	_cleanup_free_ char *folder = mk_strf("%s/foreign-%d-XXXXXX", f->scratch, (int)getpid());
	int r = mk_mkdirs(call, f->scratch, 0700);

	if (r < 0)
		return r;
	remove_copy(f);
	if (!mkdtemp(folder))
		return mk_fail(call, errno, "%s: %s", f->scratch, strerror(errno));
	f->copy = mk_steal(&folder);
	return 0;
}

/* -EAGAIN: it changed meanwhile. With f->lock. */
static int make_copy(struct mk_call *call, struct mk_foreign *f, const struct state *before)
{
	_cleanup_free_ char *db = NULL, *beside = NULL, *from = NULL;
	const char *suffix = before->has_log ? "-wal" : "-journal";
	struct state after;
	int r;

	if (f->copy && same(&f->copied, before))
		return 0;
	r = make_folder(call, f);
	if (r < 0)
		return r;
	db = mk_strf("%s/copy.db", f->copy);
	beside = mk_strf("%s%s", db, suffix);
	from = mk_strf("%s%s", f->path, suffix);
	r = copy_file(call, f->path, db);
	if (r == 0)
		r = copy_file(call, from, beside);
	if (r == 0 && !before->has_log)
		r = check_journal(call, beside);
	if (r == 0)
		r = look(call, f, &after);
	/* A log may have grown, and been moved into the database; it must be the same log. */
	if (r == 0 && (before->has_log ? !after.has_log || memcmp(before->log_header, after.log_header,
								  LOG_HEADER) != 0
				       : !same(before, &after)))
		r = -EAGAIN;
	if (r == -ENOENT)
		r = -EAGAIN;
	if (r < 0)
		remove_copy(f);
	f->copied = *before;
	return r;
}

static int read_copy(struct mk_call *call, struct mk_foreign *f, const struct state *state,
		     mk_db_fn *fn, void *arg)
{
	int r;

	pthread_mutex_lock(&f->lock);
	pthread_rwlock_rdlock(&descriptors);
	r = make_copy(call, f, state);
	pthread_rwlock_unlock(&descriptors);
	if (r == 0) {
		_cleanup_free_ char *db = mk_strf("%s/copy.db", f->copy);

		r = judge(call, f->path, run(call, db, COPY, fn, arg));
		if (r < 0)
			remove_copy(f);
	}
	pthread_mutex_unlock(&f->lock);
	return r;
}

/* --- reading --------------------------------------------------------------------------------- */

/* Without a lock: -EAGAIN when somebody wrote meanwhile. */
static int read_quiet(struct mk_call *call, struct mk_foreign *f, const struct state *before,
		      mk_db_fn *fn, void *arg)
{
	_cleanup_call_ struct mk_call quiet;
	struct state after;
	int r = run(call, f->path, IMMUTABLE, fn, arg), seen;

	mk_call_init(&quiet);
	seen = look(&quiet, f, &after);
	/* Also an error may be that of a state that never was. */
	if (seen < 0 || !same(before, &after))
		return r == -EINTR || r == -ETIMEDOUT ? r : -EAGAIN;
	return judge(call, f->path, r);
}

/* A journal that stays as it is for a while: its writer is gone. */
static bool is_left(const struct state *s)
{
	int64_t age = mk_now_real() - (s->journal.st_mtim.tv_sec * MK_SEC + s->journal.st_mtim.tv_nsec);

	return age > JOURNAL_MS * MK_MS;
}

static int try_once(struct mk_call *call, struct mk_foreign *f, mk_db_fn *fn, void *arg,
		    bool *ret_log)
{
	struct state state;
	int r;

	pthread_rwlock_rdlock(&descriptors);
	r = look(call, f, &state);
	*ret_log = r == 0 && in_log_mode(&state);
	if (r == 0 && !state.has_log && !state.has_journal)
		r = read_quiet(call, f, &state, fn, arg);
	else if (r == 0)
		r = 1;
	pthread_rwlock_unlock(&descriptors);
	if (r == -EBUSY)
		r = -EAGAIN;
	if (r <= 0)
		return r;
	if (!state.has_log && !is_left(&state))
		return -EAGAIN;
	return read_copy(call, f, &state, fn, arg);
}

static int read_locked(struct mk_call *call, struct mk_foreign *f, mk_db_fn *fn, void *arg)
{
	struct state state;
	int r;

	pthread_rwlock_wrlock(&descriptors);
	r = look(call, f, &state);
	if (r == 0 && in_log_mode(&state))
		r = mk_fail(call, EBUSY, "%s: is being changed to keep a log", f->path);
	if (r == 0)
		r = judge(call, f->path, run(call, f->path, LOCKED, fn, arg));
	pthread_rwlock_unlock(&descriptors);
	return r;
}

/* -EAGAIN: it is written all the time. */
static int read_unlocked(struct mk_call *call, struct mk_foreign *f, mk_db_fn *fn, void *arg,
			 bool *ret_log)
{
	int r = -EAGAIN;

	for (int i = 0; r == -EAGAIN && i < TRIES; i++) {
		if (i) {
			r = mk_call_check(call, f->path);
			if (r < 0)
				return r;
			(void)poll(NULL, 0, mk_call_left_ms(call, TRY_MS));
		}
		mk_error_clear(call);
		r = try_once(call, f, fn, arg, ret_log);
	}
	if (r == -EAGAIN)
		mk_error_clear(call);
	return r;
}

int mk_foreign_read(struct mk_call *call, struct mk_foreign *f, mk_db_fn *fn, void *arg)
{
	_cleanup_free_ char *real = NULL;
	bool log = false;
	int r = mk_path_resolve(call, f->path, &real); /* not through a mount of ours */

	if (r < 0)
		return r == -EXDEV ? r : fail_there(call, f, -r);
	/* Whose lock is in the way may be a journal that is not old enough to be nobody's. */
	for (int i = 0; i < ROUNDS; i++) {
		r = read_unlocked(call, f, fn, arg, &log);
		if (r == -EAGAIN && !log)
			r = read_locked(call, f, fn, arg);
		if (r != -EAGAIN && r != -EBUSY)
			return r;
	}
	return r == -EBUSY ? r : mk_fail(call, EBUSY, "%s: its log begins anew all the time", f->path);
}

/* --- opening --------------------------------------------------------------------------------- */

/* Folders of processes that are gone. */
static void sweep(const char *scratch)
{
	DIR *dir = opendir(scratch);
	_cleanup_call_ struct mk_call quiet;

	mk_call_init(&quiet);
	for (struct dirent *e; dir && (e = readdir(dir));) {
		int pid;

		if (sscanf(e->d_name, "foreign-%d-", &pid) == 1 && pid > 0 && kill(pid, 0) < 0 &&
		    errno == ESRCH)
			(void)!mk_remove_tree(&quiet, dirfd(dir), e->d_name);
	}
	if (dir)
		closedir(dir);
}

struct mk_foreign *mk_foreign_new(const char *path, const char *scratch)
{
	struct mk_foreign *f = mk_new(struct mk_foreign);

	f->path = mk_strdup(path);
	f->scratch = mk_strdup(scratch);
	pthread_mutex_init(&f->lock, NULL);
	sweep(scratch);
	return f;
}

void mk_foreign_free(struct mk_foreign *f)
{
	if (!f)
		return;
	remove_copy(f);
	pthread_mutex_destroy(&f->lock);
	free(f->path);
	free(f->scratch);
	free(f);
}
