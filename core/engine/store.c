/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a job logs with MLflow and no server: an mlruns/ or mlflow.db in its directory is read while it
 * runs, a second after the look before, and once more when it has ended.
 *
 *	params, tags, points	  into the run's own; what is there is not logged twice, because it is
 *				  there: after a kill the points of a key are compared with what the
 *				  store has
 *	artifacts		  copied with those of the spec when the job has ended
 *
 * Runs of the store that began before the job was submitted are none of it: a store may have come
 * with the code. One run is ours. Of several the one that the others are nested in is, else the one
 * that began first; the others are folders of keys and files, NAME.ID/. In a lane thread, one at a
 * time for a job.
 */
#include "engine/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <search.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "connect/tracking/local.h"
#include "domain/domain.h"
#include "domain/logged.h"

enum { MOST_RUNS = 1000, PART = 1 << 16, MAX_FILES = 100000, MAX_DEPTH = 64, WAIT_S = 8 };
static const int64_t clocks = 2 * MK_SEC; /* a file's time may be a little behind */

/* A metric that was taken in: how many points, and the last one in the store's order. */
struct taken {
	char *path; /* "<run>/<key>" */
	int64_t n;
	struct mk_point last;
};

struct source {
	const struct mk_tracking_ops *ops;
	struct mk_tracking *t;
};

struct store {
	struct source sources[2]; /* mlflow.db, mlruns */
	void *taken;		  /* tsearch(3) */
	struct mk_pairs values;	  /* "params/<key>": as they were written last */
	struct mk_list told;
	const struct job *job;
};

/* A run of the store, as far as it is needed. */
struct found {
	char *id, *name, *parent;
	int64_t started;
	char *prefix; /* "" or "NAME.ID/" */
};
struct runs {
	struct found v[MOST_RUNS];
	size_t n;
	int64_t since;
};

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct taken *)a)->path, ((const struct taken *)b)->path);
}

static void drop(void *arg)
{
	struct taken *taken = arg;

	free(taken->path);
	free(taken);
}

void store_free(struct store *store)
{
	if (!store)
		return;
	for (size_t i = 0; i < 2; i++)
		if (store->sources[i].t)
			store->sources[i].ops->close(store->sources[i].t);
	tdestroy(store->taken, drop);
	mk_pairs_free(&store->values);
	mk_list_free(&store->told);
	free(store);
}

static void runs_free(struct runs **runs)
{
	for (size_t i = 0; *runs && i < (*runs)->n; i++) {
		free((*runs)->v[i].id);
		free((*runs)->v[i].name);
		free((*runs)->v[i].parent);
		free((*runs)->v[i].prefix);
	}
	mk_freep(runs);
}

/* Once each. */
static void tell(void *arg, const char *text)
{
	struct store *store = arg;

	if (mk_list_has(&store->told, text) || store->told.n > 50)
		return;
	(void)!mk_list_add(&store->told, text);
	engine_note(store->job, "submission", "%s", text);
}

/* --- where it is ----------------------------------------------------------------------------- */

static char *path_of(const struct job *job, const char *name)
{
	const char *sub = job->plan.directory && *job->plan.directory ? job->plan.directory : ".";

	return strcmp(sub, ".") == 0 ? mk_strf("%s/%s", job->workdir, name)
				     : mk_strf("%s/%s/%s", job->workdir, sub, name);
}

/* Its own, not a link to one that others use, too. */
static bool is_own(const struct job *job, const char *name, mode_t type)
{
	_cleanup_close_ int workdir = open(job->workdir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_free_ char *path = path_of(job, name);
	_cleanup_close_ int fd = workdir < 0 ? -1
					     : mk_local_open(workdir, path + strlen(job->workdir) + 1,
							     O_RDONLY | O_NOFOLLOW);
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 && (st.st_mode & S_IFMT) == type;
}

bool store_is_there(const struct job *job)
{
	return job->site.compute->caps.runs_here &&
	       (is_own(job, "mlruns", S_IFDIR) || is_own(job, "mlflow.db", S_IFREG));
}

static void open_sources(struct mantik *m, struct job *job)
{
	_cleanup_free_ char *db = path_of(job, "mlflow.db"), *runs = path_of(job, "mlruns");
	struct store *s = job->store;

	if (!s) {
		s = job->store = mk_new(struct store);
		s->job = job;
	}
	if (!s->sources[0].t && is_own(job, "mlflow.db", S_IFREG))
		s->sources[0] = (struct source){&mk_tracking_sqlstore, mk_sqlstore_at(m, db, tell, s)};
	if (!s->sources[1].t && is_own(job, "mlruns", S_IFDIR))
		s->sources[1] = (struct source){&mk_tracking_filestore, mk_filestore_at(m, runs, tell, s)};
}

/* --- its runs -------------------------------------------------------------------------------- */

static int add_id(void *arg, const struct mk_t_experiment *experiment)
{
	struct mk_list *ids = arg;

	return experiment->deleted || ids->n == 100 ? 0 : mk_list_add(ids, experiment->id);
}

static int add_run(void *arg, const struct mk_t_run *run)
{
	struct runs *runs = arg;
	const char *parent = NULL;

	if (run->started < runs->since || runs->n == MOST_RUNS)
		return 0;
	for (size_t i = 0; i < run->n_tags; i++)
		if (strcmp(run->tags[i].key, "mlflow.parentRunId") == 0)
			parent = run->tags[i].value;
	runs->v[runs->n++] = (struct found){
		.id = mk_strdup(run->id),
		.name = mk_strdup(*run->name ? run->name : "run"),
		.parent = mk_strdup(parent),
		.started = run->started,
	};
	return 0;
}

static bool is_before(const struct found *a, const struct found *b)
{
	if (!a->parent != !b->parent)
		return !a->parent;
	return a->started != b->started ? a->started < b->started : strcmp(a->id, b->id) < 0;
}

/* A part of a key: what one cannot hold as `_`. */
static char *prefix_of(const struct found *run)
{
	char *prefix = mk_strf("%.60s.%.8s/", run->name, run->id);

	for (char *c = prefix; c[1]; c++)
		if (*c == '/' || (unsigned char)*c < 0x20)
			*c = '_';
	return prefix;
}

static int find_runs(struct mk_call *call, const struct source *source, int64_t since,
		     struct runs *ret)
{
	_cleanup_list_ struct mk_list ids = {};
	_cleanup_free_ char *token = NULL;
	struct mk_t_query query = {.started_since = since};
	size_t ours = 0;
	int r = source->ops->experiments(call, source->t, &token, add_id, &ids);

	ret->since = since;
	query.experiment_ids = (const char *const *)ids.v;
	query.n_experiments = ids.n;
	do {
		if (r == 0)
			r = source->ops->runs(call, source->t, &query, &token, add_run, ret);
	} while (r == 0 && token);
	for (size_t i = 1; i < ret->n; i++)
		if (is_before(&ret->v[i], &ret->v[ours]))
			ours = i;
	for (size_t i = 0; i < ret->n; i++)
		ret->v[i].prefix = i == ours ? mk_strdup("") : prefix_of(&ret->v[i]);
	return r;
}

static int submitted(struct mk_call *call, struct mantik *m, int64_t run_id, int64_t *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db, "SELECT submitted FROM runs WHERE id = ?1", &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, run_id);
	r = mk_step(call, stmt);
	*ret = r > 0 ? mk_col_int(stmt, 0) : INT64_MAX;
	return r < 0 ? r : 0;
}

/* --- points ---------------------------------------------------------------------------------- */

struct append {
	int64_t run_id;
	const char *key;
	const struct mk_point *v; /* new ones; with compare: all that the store has */
	size_t n;
	bool compare;
};

static int by_point(const void *a, const void *b)
{
	const struct mk_point *x = a, *y = b;
	uint64_t i, j;

	if (x->time != y->time)
		return x->time < y->time ? -1 : 1;
	if (x->step != y->step)
		return x->step < y->step ? -1 : 1;
	memcpy(&i, &x->value, sizeof(i));
	memcpy(&j, &y->value, sizeof(j));
	return i < j ? -1 : i > j;
}

/* What is compared: one NaN, one zero, and a time. */
static struct mk_point plain(struct mk_point point)
{
	if (isnan(point.value))
		point.value = NAN;
	if (point.value == 0)
		point.value = 0;
	if (!point.time)
		point.time = 1;
	return point;
}

static int load(struct mk_call *call, struct mk_conn *conn, const struct append *a,
		struct mk_point **ret, size_t *n)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	size_t cap = 0;
	int r = mk_prepare(call, conn,
			   "SELECT step, value, time FROM points WHERE metric_id ="
			   " (SELECT id FROM metrics WHERE run_id = ?1 AND key = ?2)", &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, a->run_id);
	mk_bind_text(stmt, 2, a->key);
	while ((r = mk_step(call, stmt)) > 0) {
		if (*n == cap) {
			cap = cap ? cap * 2 : 1024;

			void *v = realloc(*ret, cap * sizeof(**ret));

			if (!v)
				return -ENOMEM;
			*ret = v;
		}
		(*ret)[(*n)++] = plain((struct mk_point){
			.step = mk_col_int(stmt, 0),
			.value = mk_col_null(stmt, 1) ? NAN : mk_col_double(stmt, 1),
			.time = mk_col_int(stmt, 2),
		});
	}
	return r;
}

/* Is this one of those that are here? Each counts once. */
static bool is_here(struct mk_point *have, bool *used, size_t n, const struct mk_point *point)
{
	const struct mk_point *at = n ? bsearch(point, have, n, sizeof(*have), by_point) : NULL;
	size_t i;

	if (!at)
		return false;
	for (i = (size_t)(at - have); i > 0 && by_point(&have[i - 1], point) == 0; i--)
		;
	for (; i < n && by_point(&have[i], point) == 0; i++)
		if (!used[i]) {
			used[i] = true;
			return true;
		}
	return false;
}

static int append(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct append *a = arg;
	_cleanup_free_ struct mk_point *have = NULL;
	_cleanup_free_ struct mk_logged *points = malloc((a->n + 1) * sizeof(*points));
	_cleanup_free_ bool *used = NULL;
	size_t n = 0, k = 0;
	int r = points ? mk_logging_allowed(call, conn, a->run_id) : -ENOMEM;

	if (r == 0 && a->compare)
		r = load(call, conn, a, &have, &n);
	used = r == 0 ? calloc(n + 1, sizeof(*used)) : NULL;
	if (r == 0 && !used)
		r = -ENOMEM;
	if (r == 0 && n)
		qsort(have, n, sizeof(*have), by_point);
	for (size_t i = 0; r == 0 && i < a->n; i++) {
		struct mk_point point = plain(a->v[i]);

		if (!is_here(have, used, n, &point))
			points[k++] = (struct mk_logged){a->v[i].value, point.step, point.time, true};
	}
	return r < 0 ? r : mk_metric_append(call, conn, a->run_id, a->key, points, k);
}

static struct taken *get_taken(struct store *store, const char *run, const char *key)
{
	_cleanup_free_ char *path = mk_strf("%s/%s", run, key);
	struct taken like = {.path = path}, **found = tfind(&like, &store->taken, by_path);
	struct taken *taken;

	if (found)
		return *found;
	taken = mk_new(struct taken);
	taken->path = mk_steal(&path);
	(void)tsearch(taken, &store->taken, by_path);
	return taken;
}

static int take_metric(struct mk_call *call, struct mantik *m, struct job *job,
		       const struct source *source, const struct found *run, const char *name)
{
	_cleanup_free_ char *key = mk_strf("%s%s", run->prefix, name), *token = NULL;
	_cleanup_free_ struct mk_point *points = NULL;
	struct taken *taken = get_taken(job->store, run->id, name);
	struct append a = {.run_id = job->run_id, .key = key};
	size_t n = 0;
	int r = mk_key_check(call, "metric", key);

	if (r < 0) {
		tell(job->store, call->error.text);
		mk_error_clear(call);
		return 0;
	}
	r = taken->n ? source->ops->tail(call, source->t, run->id, name, taken->n, &taken->last, &points, &n)
		     : -ESTALE;
	if (r == -ESTALE) {
		mk_error_clear(call);
		a.compare = true;
		n = 0;
		do {
			r = source->ops->history(call, source->t, run->id, name, &token, &points, &n);
		} while (r == 0 && token);
	}
	if (r < 0 || n == 0)
		return r;
	a.v = points;
	a.n = n;
	r = mk_domain_write(call, m, MK_KILLSAFE, append, &a);
	if (r == 0) {
		taken->n = a.compare ? (int64_t)n : taken->n + (int64_t)n;
		taken->last = points[n - 1];
	}
	return r;
}

/* --- values ---------------------------------------------------------------------------------- */

struct value {
	int64_t run_id;
	enum mk_value_kind kind;
	const char *key, *value;
};

static int put_value(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct value *v = arg;

	return mk_value_set(call, conn, v->run_id, v->kind, v->key, v->value);
}

static int take_values(struct mk_call *call, struct mantik *m, struct job *job,
		       const struct found *run, enum mk_value_kind kind,
		       const struct mk_t_pair *pairs, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		_cleanup_free_ char *key = mk_strf("%s%s", run->prefix, pairs[i].key);
		_cleanup_free_ char *what = mk_strf("%d/%s", kind, key);
		const char *before = mk_pairs_get(&job->store->values, what);
		struct value v = {job->run_id, kind, key, pairs[i].value};
		int r = before && strcmp(before, v.value) == 0 ? 1 : 0;

		if (r)
			continue;
		r = mk_value_check(call, kind, key, v.value);
		if (r == 0)
			r = mk_domain_write(call, m, MK_KILLSAFE, put_value, &v);
		if (r == -EINVAL || r == -EEXIST || r == -EFBIG) {
			tell(job->store, call->error.text);
			mk_error_clear(call);
			r = 0;
		}
		if (r < 0)
			return r;
		(void)!mk_pairs_set(&job->store->values, what, v.value);
	}
	return 0;
}

/* --- all of it ------------------------------------------------------------------------------- */

struct taking {
	struct mk_call *call;
	struct mantik *m;
	struct job *job;
	const struct source *source;
	const struct found *run;
	struct mk_list keys;
};

static int take_run(void *arg, const struct mk_t_run *run)
{
	struct taking *t = arg;
	int r = take_values(t->call, t->m, t->job, t->run, MK_PARAM, run->params, run->n_params);

	if (r == 0)
		r = take_values(t->call, t->m, t->job, t->run, MK_TAG, run->tags, run->n_tags);
	for (size_t i = 0; r == 0 && i < run->n_metrics; i++)
		r = mk_list_add(&t->keys, run->metrics[i].key);
	return r;
}

static int take_source(struct mk_call *call, struct mantik *m, struct job *job,
		       const struct source *source, int64_t since)
{
	_cleanup_(runs_free) struct runs *runs = mk_new(struct runs);
	int r = find_runs(call, source, since, runs);

	for (size_t i = 0; r == 0 && i < runs->n; i++) {
		struct taking t = {call, m, job, source, &runs->v[i], {}};

		r = source->ops->run(call, source->t, runs->v[i].id, take_run, &t);
		for (size_t k = 0; r == 0 && k < t.keys.n; k++)
			r = take_metric(call, m, job, source, &runs->v[i], t.keys.v[k]);
		mk_list_free(&t.keys);
	}
	return r;
}

/* An mlruns/ beside a mlflow.db may hold nothing but its artifacts. */
static bool is_beside(const struct store *store, size_t i)
{
	return i == 1 && store->sources[0].t;
}

int store_harvest(struct mk_call *call, struct mantik *m, struct job *job)
{
	int64_t since = 0;
	int r;

	if (!store_is_there(job))
		return 0;
	open_sources(m, job);
	r = submitted(call, m, job->run_id, &since);
	for (size_t i = 0; r == 0 && i < 2; i++) {
		int64_t deadline = call->deadline;

		if (!job->store->sources[i].t)
			continue;
		call->deadline = mk_now_mono() + WAIT_S * MK_SEC;
		r = take_source(call, m, job, &job->store->sources[i], since - clocks);
		call->deadline = deadline;
		/* It may be just being made; what is broken is told when the job has ended. */
		if (r < 0 && r != -EINTR) {
			if (job->step > MK_STEP_RUNNING && !is_beside(job->store, i))
				tell(job->store, call->error.text ? call->error.text : strerror(-r));
			mk_error_clear(call);
			r = 0;
		}
	}
	return r;
}

/* --- artifacts ------------------------------------------------------------------------------- */

struct copy {
	struct mk_call *call;
	const struct source *source;
	const struct found *run;
	int to;
	int *files;
	struct mk_list paths, dirs;
	int fd;
};

static int add_path(void *arg, const struct mk_t_file *file)
{
	struct copy *c = arg;

	return mk_list_add(file->is_dir ? &c->dirs : &c->paths, file->path);
}

static int write_all(void *arg, const void *data, size_t len)
{
	const struct copy *c = arg;

	for (size_t done = 0; done < len;) {
		ssize_t n = write(c->fd, (const char *)data + done, len - done);

		if (n < 0 && errno != EINTR)
			return mk_fail(c->call, errno, "artifacts: %s", strerror(errno));
		done += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

static int make_dirs(struct mk_call *call, int to, const char *path)
{
	for (const char *slash = path; (slash = strchr(slash, '/')); slash++) {
		_cleanup_free_ char *dir = mk_strndup(path, (size_t)(slash - path));

		if (mkdirat(to, dir, 0700) < 0 && errno != EEXIST)
			return mk_fail(call, errno, "artifacts: %s: %s", dir, strerror(errno));
	}
	return 0;
}

static int copy_file(struct copy *c, const char *path)
{
	_cleanup_free_ char *to = mk_strf("%s%s", c->run->prefix, path), *etag = NULL;
	const struct mk_t_place place = {MK_T_RUN, c->run->id, NULL};
	int64_t total;
	int r = make_dirs(c->call, c->to, to);

	if (r < 0)
		return r;
	if (++*c->files > MAX_FILES)
		return mk_fail(c->call, E2BIG, "artifacts: more than %d files", MAX_FILES);
	/* What the spec's `artifacts:` copied under that name stays. */
	c->fd = openat(c->to, to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (c->fd < 0)
		return errno == EEXIST ? 0 : mk_fail(c->call, errno, "artifacts: %s: %s", to, strerror(errno));
	r = c->source->ops->read(c->call, c->source->t, &place, path, 0, -1, &etag, write_all, c, &total);
	if (r == 0 && fsync(c->fd) < 0)
		r = mk_fail(c->call, errno, "artifacts: %s: %s", to, strerror(errno));
	mk_closep(&c->fd);
	return r;
}

static int copy_run(struct mk_call *call, const struct source *source, const struct found *run, int to,
		    int *files)
{
	const struct mk_t_place place = {MK_T_RUN, run->id, NULL};
	struct copy c = {.call = call, .source = source, .run = run, .to = to, .files = files, .fd = -1};
	_cleanup_free_ char *token = NULL;
	int r = mk_list_add(&c.dirs, "");

	for (size_t i = 0; r == 0 && i < c.dirs.n; i++)
		r = source->ops->files(call, source->t, &place, c.dirs.v[i], &token, add_path, &c);
	for (size_t i = 0; r == 0 && i < c.paths.n; i++)
		r = copy_file(&c, c.paths.v[i]);
	mk_list_free(&c.dirs);
	mk_list_free(&c.paths);
	return r;
}

int store_copy(struct mk_call *call, const struct job *job, int to, int *files)
{
	int64_t since = 0;
	int r = 0;

	for (size_t i = 0; job->store && r == 0 && i < 2; i++) {
		const struct source *source = &job->store->sources[i];
		_cleanup_(runs_free) struct runs *runs = mk_new(struct runs);

		if (!source->t)
			continue;
		r = submitted(call, job->site.m, job->run_id, &since);
		if (r == 0)
			r = find_runs(call, source, since - clocks, runs);
		for (size_t k = 0; r == 0 && k < runs->n; k++)
			r = copy_run(call, source, &runs->v[k], to, files);
		if (r < 0 && r != -EINTR && r != -ENOSPC && r != -EDQUOT) {
			if (!is_beside(job->store, i))
				engine_note(job, "submission", "artifacts of MLflow: %s",
					    call->error.text);
			mk_error_clear(call);
			r = 0;
		}
	}
	return r;
}
