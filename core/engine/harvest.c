/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a job logs by files under MANTIK_RUN_DIR:
 *
 *	metrics/KEY   appended lines; each byte is taken in once, by the offset that is kept in the
 *		      same transaction as the points (domain/logged.h)
 *	params/KEY    the whole file is the value, without its last newline
 *	tags/KEY      the same
 *
 * A value is complete when the file was closed after writing or renamed into place, has not changed
 * for a second, or the job is over; a metric line when it has its newline, or the job is over. KEY
 * may contain `/` and is written as the tree writes it: `train%` where there is a directory train/ is
 * the key `train`, `%2Ehidden` is `.hidden`; what is no name of the tree's (`top5%`) is a key as it
 * stands. Names beginning with `.` or ending in `~` are editors' and ours.
 *
 * The files are the job's: opened without following links, regular ones only, with limits. What is
 * refused is told once, in the submission log. Runs in the loop's thread: a look ends after
 * LOOK_MS and goes on later where it stopped, so that a job of many keys makes nobody wait.
 */
#include "engine/engine.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <string.h>
#include <sys/stat.h>

#include <mantik/name.h>

#include "base/file.h"
#include "domain/domain.h"
#include "domain/logged.h"

enum {
	PORTION = 1 << 20, /* of one file in one look */
	MAX_VALUE = 65536,
	MAX_FILES = 20000, /* of one run */
	MAX_DEPTH = 16,
	MAX_BAD = 10, /* lines of one file that are told in full */
	QUIET_MS = 1000,
	LOOK_MS = 20,
};

enum kind { METRICS, PARAMS, TAGS };
static const char *const dirs[] = {[METRICS] = "metrics", [PARAMS] = "params", [TAGS] = "tags"};

struct file {
	char *path; /* "metrics/loss" */
	char *key;
	enum kind kind;
	bool known;	/* offset was read from the database */
	int64_t offset; /* METRICS: bytes taken in. Else: mtime of the value taken in, ns */
	int64_t size;	/* when last looked at; -1 never */
	bool closed;	/* PARAMS, TAGS: complete */
	bool refused;	/* told that it is shorter than what was taken in, or the like */
	int bad;
};

struct harvest {
	void *files; /* tsearch(3) of struct file, by path */
	size_t n;
	bool too_many;
	size_t skip; /* files that the look before has dealt with */
	bool final;  /* the looks of the end have begun */
};

struct pass {
	struct engine *e;
	struct job *job;
	struct harvest *h;
	bool final;
	bool more;
	bool stopped; /* its time is over */
	size_t seen;
	int64_t now;   /* realtime */
	int64_t until; /* mono */
};

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct file *)a)->path, ((const struct file *)b)->path);
}

static void file_free(void *arg)
{
	struct file *f = arg;

	free(f->path);
	free(f->key);
	free(f);
}

void harvest_free(struct harvest *h)
{
	if (!h)
		return;
	tdestroy(h->files, file_free);
	free(h);
}

static struct file *find(struct harvest *h, const char *path)
{
	struct file key = {.path = (char *)path};
	struct file **found = tfind(&key, &h->files, by_path);

	return found ? *found : NULL;
}

/* name: below metrics/ …; its last part is in dir. */
static char *key_of(int dir, const char *name)
{
	_cleanup_buf_ struct mk_buf key = MK_BUF(8192);
	_cleanup_free_ char *plain = mk_strdup(name);
	char *last = strrchr(plain, '/') ? strrchr(plain, '/') + 1 : plain;
	size_t len = strlen(last);
	struct stat st;

	if (len > 1 && last[len - 1] == '%') {
		last[len - 1] = 0;
		if (fstatat(dir, last, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode))
			last[len - 1] = '%';
	}
	return mk_strdup(mk_key_unescape(&key, plain) == 0 ? mk_buf_text(&key) : name);
}

static struct file *get(struct pass *p, const char *path, enum kind kind, int dir)
{
	struct harvest *h = p->h;
	struct file *f = find(h, path);

	if (f)
		return f;
	if (h->n >= MAX_FILES) {
		if (!h->too_many)
			engine_note(p->job, "submission",
				    "%s: not taken in: a run may log %d keys", path, MAX_FILES);
		h->too_many = true;
		return NULL;
	}
	f = mk_new(struct file);
	*f = (struct file){.path = mk_strdup(path), .kind = kind, .size = -1};
	f->key = key_of(dir, f->path + strlen(dirs[kind]) + 1);
	if (!tsearch(f, &h->files, by_path)) {
		file_free(f);
		return NULL;
	}
	h->n++;
	return f;
}

void harvest_closed(struct job *job, const char *path)
{
	struct file *f = job->harvest ? find(job->harvest, path) : NULL;

	/* Not seen yet: it is looked at next and may be taken for unfinished for a second. */
	if (f)
		f->closed = true;
}

static void refuse(struct pass *p, struct file *f, const char *why)
{
	if (!f->refused)
		engine_note(p->job, "submission", "%s: %s", f->path, why);
	f->refused = true;
}

static int known_offset(struct pass *p, struct file *f)
{
	struct mk_conn *conn;
	int r = mk_db_reader(&p->e->call, p->e->m->db, &conn);

	if (r >= 0)
		r = mk_harvest_offset(&p->e->call, conn, p->job->run_id, f->path, &f->offset);
	if (r >= 0)
		f->known = true;
	return r;
}

struct bad {
	struct pass *pass;
	struct file *file;
};

static void bad_line(void *arg, int64_t offset, const char *line, size_t len, const char *why)
{
	struct bad *b = arg;

	if (b->file->bad++ < MAX_BAD)
		engine_note(b->pass->job, "submission", "%s: at byte %lld: %s: \"%.*s\"",
			    b->file->path, (long long)offset, why, (int)(len < 80 ? len : 80), line);
	else if (b->file->bad == MAX_BAD + 1)
		engine_note(b->pass->job, "submission", "%s: more lines like that are not told",
			    b->file->path);
}

static int take_metric(struct pass *p, struct file *f, int fd, const struct stat *st)
{
	struct mk_call *call = &p->e->call;

	if (st->st_size < f->offset) {
		refuse(p, f, "it has become shorter; metrics are appended, new lines are taken in "
			     "when it is longer than before");
		return 0;
	}
	if (st->st_size == f->offset || (st->st_size == f->size && !p->final))
		return 0;

	size_t len = (size_t)(st->st_size - f->offset);

	if (len > PORTION)
		len = PORTION;

	_cleanup_free_ char *data = malloc(len);
	ssize_t n = data ? pread(fd, data, len, f->offset) : -1;

	if (n < 0)
		return mk_fail(call, data ? errno : ENOMEM, "%s: cannot be read", f->path);

	struct bad bad = {.pass = p, .file = f};
	struct mk_harvest harvest = {
		.run_id = p->job->run_id,
		.key = f->key,
		.path = f->path,
		.offset = f->offset,
		.data = data,
		.len = (size_t)n,
		.last = p->final && f->offset + n == st->st_size,
		.bad = bad_line,
		.arg = &bad,
	};
	int r = mk_metric_harvest(call, p->e->m, &harvest);

	if (r == -EINVAL || r == -EROFS || r == -EFBIG) {
		refuse(p, f, call->error.text);
		mk_error_clear(call);
		f->size = st->st_size;
		return 0;
	}
	if (r < 0)
		return r;
	f->offset += r;
	if (f->offset < st->st_size && r > 0)
		p->more = true;
	f->size = st->st_size;
	return 0;
}

struct value_write {
	int64_t run_id;
	enum mk_value_kind kind;
	const struct file *file;
	const char *value;
	int64_t mtime;
	char *why;
};

static int write_value(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	struct value_write *w = arg;
	int r = mk_value_set(call, conn, w->run_id, w->kind, w->file->key, w->value);

	/* Refused for good: the file is dealt with all the same. */
	if (r == -EEXIST || r == -EROFS) {
		free(w->why);
		w->why = mk_strdup(call->error.text);
		mk_error_clear(call);
		r = 0;
	}
	return r < 0 ? r : mk_harvest_advance(call, conn, w->run_id, w->file->path, w->mtime);
}

static int take_value(struct pass *p, struct file *f, int dir, const char *name,
		      const struct stat *st)
{
	struct mk_call *call = &p->e->call;
	int64_t mtime = st->st_mtim.tv_sec * MK_SEC + st->st_mtim.tv_nsec;
	_cleanup_buf_ struct mk_buf value = MK_BUF(MAX_VALUE);
	int r;

	if (mtime == f->offset)
		return 0;
	if (!p->final && !f->closed && p->now - mtime < QUIET_MS * MK_MS && p->now >= mtime) {
		p->job->due = p->job->due ? p->job->due : mk_now_mono() + QUIET_MS * MK_MS;
		return 0;
	}
	f->closed = false;
	r = mk_file_read(call, dir, name, &value);
	if (r < 0) {
		refuse(p, f, call->error.text);
		mk_error_clear(call);
		f->offset = mtime;
		return 0;
	}
	if (value.len && value.data[value.len - 1] == '\n')
		mk_buf_truncate(&value, value.len - 1);

	struct value_write w = {
		.run_id = p->job->run_id,
		.kind = f->kind == PARAMS ? MK_PARAM : MK_TAG,
		.file = f,
		.value = mk_buf_text(&value),
		.mtime = mtime,
	};

	if (strlen(w.value) != value.len)
		r = mk_fail(call, EINVAL, "the value holds a NUL byte");
	if (r == 0)
		r = mk_value_check(call, w.kind, f->key, w.value);
	if (r < 0) {
		engine_note(p->job, "submission", "%s: %s", f->path, call->error.text);
		mk_error_clear(call);
		f->offset = mtime;
		return 0;
	}
	r = mk_db_write(call, p->e->m->db, MK_KILLSAFE, write_value, &w);
	if (r == 0) {
		f->offset = mtime;
		if (w.why)
			engine_note(p->job, "submission", "%s: %s", f->path, w.why);
	}
	free(w.why);
	return r;
}

/* Nothing new since it was looked at, told without opening it. */
static bool is_same(const struct pass *p, const struct file *f, int dir, const char *name)
{
	struct stat st;

	return f->known && f->kind == METRICS && !p->final &&
	       fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
	       st.st_size == f->size;
}

/* Is it this file's turn in this look? At least one is taken in. */
static bool its_turn(struct pass *p)
{
	size_t nth = p->seen++;

	if (nth < p->h->skip)
		return false;
	if (nth > p->h->skip && mk_now_mono() >= p->until) {
		p->h->skip = nth;
		p->stopped = p->more = true;
	}
	return !p->stopped;
}

static int take(struct pass *p, int dir, const char *name, const char *path, enum kind kind)
{
	if (!its_turn(p))
		return 0;

	struct file *f = get(p, path, kind, dir);

	if (!f || is_same(p, f, dir, name))
		return 0;

	_cleanup_close_ int fd =
		openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	int r = 0;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		refuse(p, f, "not a regular file of its own");
		return 0;
	}
	if (!f->known)
		r = known_offset(p, f);
	if (r < 0)
		return r;
	return kind == METRICS ? take_metric(p, f, fd, &st) : take_value(p, f, dir, name, &st);
}

static bool ours(const char *name)
{
	size_t len = strlen(name);

	return name[0] == '.' || name[len - 1] == '~';
}

static int walk(struct pass *p, int parent, const char *name, const char *path, enum kind kind,
		int depth)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	int r = 0;

	/* The job may remove what is its own. */
	if (!dir) {
		mk_closep(&fd);
		return 0;
	}
	for (struct dirent *e; r >= 0 && !p->stopped && (e = readdir(dir));) {
		if (ours(e->d_name))
			continue;

		_cleanup_free_ char *child = mk_strf("%s/%s", path, e->d_name);
		struct stat st = {};
		bool is_dir = e->d_type == DT_DIR;

		if (e->d_type == DT_UNKNOWN)
			is_dir = fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
				 S_ISDIR(st.st_mode);
		if (!is_dir)
			r = take(p, fd, e->d_name, child, kind);
		else if (depth < MAX_DEPTH)
			r = walk(p, fd, e->d_name, child, kind, depth + 1);
	}
	closedir(dir);
	return r;
}

int harvest_pass(struct engine *e, struct job *job, bool final)
{
	_cleanup_free_ char *root = mk_strf("%s/.mantik", job->workdir);
	_cleanup_close_ int fd = open(root, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct pass p = {.e = e, .job = job, .final = final, .now = mk_now_real()};

	p.until = mk_now_mono() + LOOK_MS * MK_MS;
	if (!job->harvest)
		job->harvest = mk_new(struct harvest);
	p.h = job->harvest;
	/* The looks of the end see every file once more. */
	if (final && !p.h->final)
		p.h->skip = 0;
	p.h->final = final;
	if (fd < 0)
		return 0;
	for (enum kind kind = METRICS; kind <= TAGS && !p.stopped; kind++) {
		int r = walk(&p, fd, dirs[kind], dirs[kind], kind, 0);

		if (r < 0)
			return r;
	}
	if (!p.stopped)
		p.h->skip = 0;
	return p.more;
}
