/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a job logs with MLflow and no server: an mlruns/ or mlflow.db in its directory is read while it
 * runs, a second after the look before, and once more when it has ended.
 *
 *	params, tags, points	  into the run's own; what is there is not logged twice, because it is
 *				  there: after a kill the points of a key are compared with what the
 *				  store has
 *	datasets, the name	  likewise; a name that MLflow made up is none. How the job ended is
 *				  not the store's to say
 *	artifacts, models	  store_files.c, when the job has ended
 *
 * Runs of the store that began before the job was submitted are none of it: a store may have come
 * with the code. One run is ours. Of several the one that the others are nested in is, else the one
 * that began first; the others are folders of keys and files, NAME.ID/. In a lane thread, one at a
 * time for a job.
 */
#include "engine/store.h"

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
#include "domain/track/track.h"

enum { WAIT_S = 8, MOST_RUNS = 10000, EXPERIMENTS_AT_ONCE = 100 };
static const int64_t clocks = 2 * MK_SEC; /* a file's time may be a little behind */

/* A metric that was taken in: how many points, and the last one in the store's order. */
struct taken {
	char *path; /* "<run>/<key>" */
	int64_t n;
	struct mk_point last;
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

void store_runs_free(struct store_runs **runs)
{
	for (size_t i = 0; *runs && i < (*runs)->n; i++) {
		free((*runs)->v[i].id);
		free((*runs)->v[i].name);
		free((*runs)->v[i].parent);
		free((*runs)->v[i].prefix);
	}
	if (*runs)
		free((*runs)->v);
	mk_freep(runs);
}

/* Once each. */
void store_tell(void *arg, const char *text)
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
		s->sources[0] = (struct store_source){&mk_tracking_sqlstore, mk_sqlstore_at(m, db, store_tell, s)};
	if (!s->sources[1].t && is_own(job, "mlruns", S_IFDIR))
		s->sources[1] = (struct store_source){&mk_tracking_filestore, mk_filestore_at(m, runs, store_tell, s)};
}

/* --- its runs -------------------------------------------------------------------------------- */

static int add_id(void *arg, const struct mk_t_experiment *experiment)
{
	struct mk_list *ids = arg;

	return experiment->deleted ? 0 : mk_list_add(ids, experiment->id);
}

static int add_run(void *arg, const struct mk_t_run *run)
{
	struct store_runs *runs = arg;
	const char *parent = NULL;

	if (run->started < runs->since)
		return 0;
	runs->more = runs->n == MOST_RUNS;
	if (runs->more)
		return 0;
	if (runs->n % 256 == 0) {
		void *v = reallocarray(runs->v, runs->n + 256, sizeof(*runs->v));

		if (!v)
			return -ENOMEM;
		runs->v = v;
	}
	for (size_t i = 0; i < run->n_tags; i++)
		if (strcmp(run->tags[i].key, "mlflow.parentRunId") == 0)
			parent = run->tags[i].value;
	runs->v[runs->n++] = (struct store_run){
		.id = mk_strdup(run->id),
		.name = mk_strdup(*run->name ? run->name : "run"),
		.parent = mk_strdup(parent),
		.started = run->started,
	};
	return 0;
}

static bool is_before(const struct store_run *a, const struct store_run *b)
{
	if (!a->parent != !b->parent)
		return !a->parent;
	return a->started != b->started ? a->started < b->started : strcmp(a->id, b->id) < 0;
}

/* A part of a key: what one cannot hold as `_`. */
static char *prefix_of(const struct store_run *run)
{
	char *prefix = mk_strf("%.60s.%.8s/", run->name, run->id);

	for (char *c = prefix; c[1]; c++)
		if (*c == '/' || (unsigned char)*c < 0x20)
			*c = '_';
	return prefix;
}

static int find_runs(struct mk_call *call, const struct store_source *source, int64_t since,
		     struct store_runs *ret)
{
	_cleanup_list_ struct mk_list ids = {};
	_cleanup_free_ char *token = NULL;
	size_t ours = 0;
	int r = source->ops->experiments(call, source->t, &token, add_id, &ids);

	ret->since = since;
	for (size_t i = 0; r == 0 && i < ids.n; i += EXPERIMENTS_AT_ONCE) {
		const struct mk_t_query query = {
			.started_since = since,
			.experiment_ids = (const char *const *)ids.v + i,
			.n_experiments = ids.n - i < EXPERIMENTS_AT_ONCE ? ids.n - i : EXPERIMENTS_AT_ONCE,
		};

		do
			r = source->ops->runs(call, source->t, &query, &token, add_run, ret);
		while (r == 0 && token);
	}
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

int store_find(struct mk_call *call, struct mantik *m, const struct job *job,
	       const struct store_source *source, struct store_runs *ret)
{
	int64_t since = 0;
	int r = submitted(call, m, job->run_id, &since);

	if (r == 0)
		r = find_runs(call, source, since - clocks, ret);
	if (r == 0 && ret->more) {
		_cleanup_free_ char *text = mk_strf("MLflow: of more than %d runs in the job's own store the "
						    "others stay there", MOST_RUNS);

		store_tell(job->store, text);
	}
	return r;
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
		       const struct store_source *source, const struct store_run *run, const char *name)
{
	_cleanup_free_ char *key = mk_strf("%s%s", run->prefix, name), *token = NULL;
	_cleanup_free_ struct mk_point *points = NULL;
	struct taken *taken = get_taken(job->store, run->id, name);
	struct append a = {.run_id = job->run_id, .key = key};
	size_t n = 0;
	int r = mk_key_check(call, "metric", key);

	if (r < 0) {
		store_tell(job->store, call->error.text);
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
		       const struct store_run *run, enum mk_value_kind kind,
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
			store_tell(job->store, call->error.text);
			mk_error_clear(call);
			r = 0;
		}
		if (r < 0)
			return r;
		(void)!mk_pairs_set(&job->store->values, what, v.value);
	}
	return 0;
}

/* --- what it read, and its name --------------------------------------------------------------- */

static int take_datasets(struct mk_call *call, struct mantik *m, struct job *job,
			 const struct mk_t_dataset *datasets, size_t n)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++) {
		_cleanup_free_ char *what = mk_strf("dataset/%s/%s", datasets[i].name, datasets[i].digest);
		_cleanup_pairs_ struct mk_pairs tags = {};
		const struct mk_track_dataset dataset = {
			.name = datasets[i].name,
			.digest = datasets[i].digest,
			.source_type = datasets[i].source_type,
			.source = datasets[i].source,
			.tags = &tags,
		};

		if (mk_pairs_get(&job->store->values, what))
			continue;
		if (datasets[i].context && *datasets[i].context)
			r = mk_pairs_set(&tags, "mlflow.data.context", datasets[i].context);
		if (r == 0)
			r = mk_track_inputs(call, m, job->run_id, &dataset, 1, NULL, 0);
		if (r == 0)
			(void)!mk_pairs_set(&job->store->values, what, "");
	}
	return r;
}

/* Nobody gave it: MLflow's own are like quiet-heron-417. */
static bool is_made_up(const char *name)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz";
	size_t how = strspn(name, letters), what, number;

	if (!how || name[how] != '-')
		return false;
	name += how + 1;
	what = strspn(name, letters);
	if (!what || name[what] != '-')
		return false;
	name += what + 1;
	number = strspn(name, "0123456789");
	return number && number <= 3 && !name[number];
}

static int take_name(struct mk_call *call, struct mantik *m, struct job *job, const char *name)
{
	const char *before = mk_pairs_get(&job->store->values, "name");
	int r;

	if (!*name || is_made_up(name) || (before && strcmp(before, name) == 0))
		return 0;
	r = mk_track_run_update(call, m, job->run_id, &(struct mk_track_update){.name = name});
	if (r == 0)
		(void)!mk_pairs_set(&job->store->values, "name", name);
	return r;
}

/* --- all of it ------------------------------------------------------------------------------- */

struct taking {
	struct mk_call *call;
	struct mantik *m;
	struct job *job;
	const struct store_source *source;
	const struct store_run *run;
	struct mk_list keys;
};

static int take_run(void *arg, const struct mk_t_run *run)
{
	struct taking *t = arg;
	int r = take_values(t->call, t->m, t->job, t->run, MK_PARAM, run->params, run->n_params);

	if (r == 0)
		r = take_values(t->call, t->m, t->job, t->run, MK_TAG, run->tags, run->n_tags);
	if (r == 0)
		r = take_datasets(t->call, t->m, t->job, run->datasets, run->n_datasets);
	if (r == 0 && !*t->run->prefix)
		r = take_name(t->call, t->m, t->job, run->name);
	for (size_t i = 0; r == 0 && i < run->n_metrics; i++)
		r = mk_list_add(&t->keys, run->metrics[i].key);
	return r;
}

static int take_source(struct mk_call *call, struct mantik *m, struct job *job,
		       const struct store_source *source)
{
	_cleanup_(store_runs_free) struct store_runs *runs = mk_new(struct store_runs);
	int r = store_find(call, m, job, source, runs);

	for (size_t i = 0; r == 0 && i < runs->n; i++) {
		struct taking t = {call, m, job, source, &runs->v[i], {}};

		r = source->ops->run(call, source->t, runs->v[i].id, take_run, &t);
		for (size_t k = 0; r == 0 && k < t.keys.n; k++)
			r = take_metric(call, m, job, source, &runs->v[i], t.keys.v[k]);
		mk_list_free(&t.keys);
	}
	return r;
}

bool store_is_beside(const struct store *store, size_t i)
{
	return i == 1 && store->sources[0].t;
}

int store_harvest(struct mk_call *call, struct mantik *m, struct job *job)
{
	int r = 0;

	if (!store_is_there(job))
		return 0;
	open_sources(m, job);
	for (size_t i = 0; r == 0 && i < 2; i++) {
		int64_t deadline = call->deadline;

		if (!job->store->sources[i].t)
			continue;
		call->deadline = mk_now_mono() + WAIT_S * MK_SEC;
		r = take_source(call, m, job, &job->store->sources[i]);
		call->deadline = deadline;
		/* It may be just being made; what is broken is told when the job has ended. */
		if (r < 0 && r != -EINTR) {
			if (job->step > MK_STEP_RUNNING && !store_is_beside(job->store, i))
				store_tell(job->store, call->error.text ? call->error.text : strerror(-r));
			mk_error_clear(call);
			r = 0;
		}
	}
	return r;
}
