/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files and models of the runs a job logged with MLflow and no server, when it has ended: artifacts
 * are copied with those of the spec, a model that a run of 3.x logged becomes one of the job's run,
 * under the id it has. In a lane thread; done again from the beginning after a kill in between.
 */
#include "engine/store.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "domain/domain.h"
#include "domain/track/artifact.h"
#include "domain/track/logged_model.h"
#include "domain/track/track.h"

enum { MAX_FILES = 100000, MODEL_ID = 34 };

/* --- a tree of files ------------------------------------------------------------------------- */

struct copy {
	struct mk_call *call;
	const struct store_source *source;
	const struct mk_t_place *place;
	int *files; /* of all there is to copy */
	struct mk_list paths, dirs;
};

static void copy_done(struct copy *c)
{
	mk_list_free(&c->paths);
	mk_list_free(&c->dirs);
}

static int add_path(void *arg, const struct mk_t_file *file)
{
	struct copy *c = arg;

	if ((size_t)*c->files + c->paths.n + c->dirs.n > MAX_FILES)
		return mk_fail(c->call, E2BIG, "artifacts: more than %d files", MAX_FILES);
	return mk_list_add(file->is_dir ? &c->dirs : &c->paths, file->path);
}

static int find_files(struct copy *c)
{
	_cleanup_free_ char *token = NULL;
	int r = mk_list_add(&c->dirs, "");

	for (size_t i = 0; r == 0 && i < c->dirs.n; i++)
		r = c->source->ops->files(c->call, c->source->t, c->place, c->dirs.v[i], &token,
					  add_path, c);
	*c->files += r == 0 ? (int)c->paths.n : 0;
	return r;
}

/* --- artifacts ------------------------------------------------------------------------------- */

struct target {
	struct mk_call *call;
	int fd;
};

static int write_all(void *arg, const void *data, size_t len)
{
	const struct target *to = arg;

	for (size_t done = 0; done < len;) {
		ssize_t n = write(to->fd, (const char *)data + done, len - done);

		if (n < 0 && errno != EINTR)
			return mk_fail(to->call, errno, "artifacts: %s", strerror(errno));
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

static int copy_file(struct copy *c, const char *prefix, const char *path, int to_dir)
{
	_cleanup_free_ char *to = mk_strf("%s%s", prefix, path), *etag = NULL;
	struct target target = {.call = c->call};
	int64_t total;
	int r = make_dirs(c->call, to_dir, to);

	if (r < 0)
		return r;
	/* What the spec's `artifacts:` copied under that name stays. */
	target.fd = openat(to_dir, to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (target.fd < 0)
		return errno == EEXIST ? 0
				       : mk_fail(c->call, errno, "artifacts: %s: %s", to, strerror(errno));
	r = c->source->ops->read(c->call, c->source->t, c->place, path, 0, -1, &etag, write_all, &target,
				 &total);
	if (r == 0 && fsync(target.fd) < 0)
		r = mk_fail(c->call, errno, "artifacts: %s: %s", to, strerror(errno));
	mk_closep(&target.fd);
	return r;
}

static int copy_run(struct mk_call *call, const struct store_source *source,
		    const struct store_run *run, int to, int *files)
{
	const struct mk_t_place place = {.root = MK_T_RUN, .id = run->id};
	_cleanup_(copy_done) struct copy c = {
		.call = call, .source = source, .place = &place, .files = files};
	int r = find_files(&c);

	for (size_t i = 0; r == 0 && i < c.paths.n; i++)
		r = copy_file(&c, run->prefix, c.paths.v[i], to);
	return r;
}

/* --- logged models --------------------------------------------------------------------------- */

struct incoming {
	struct mk_call *call;
	struct mk_incoming *file;
};

static int take_bytes(void *arg, const void *data, size_t len)
{
	const struct incoming *to = arg;

	return mk_incoming_write(to->call, to->file, data, len);
}

static int copy_model_file(struct copy *c, struct mantik *m, const char *path)
{
	_cleanup_artifact_ struct mk_artifact artifact = {};
	_cleanup_free_ char *etag = NULL;
	struct incoming to = {.call = c->call};
	int64_t total;
	int r = mk_artifact_of_model(c->call, m, 0, c->place->id, path, &artifact);

	if (r == 0)
		r = mk_incoming_begin(c->call, m, &artifact, -1, &to.file);
	if (r < 0)
		return r;
	r = c->source->ops->read(c->call, c->source->t, c->place, path, 0, -1, &etag, take_bytes, &to,
				 &total);

	int end = mk_incoming_end(c->call, to.file, r == 0);

	return r < 0 ? r : end;
}

/* Its id is a directory's name: it has to be one of MLflow's. */
static bool is_model_id(const char *id)
{
	return strlen(id) == MODEL_ID && strncmp(id, "m-", 2) == 0 &&
	       strspn(id + 2, "0123456789abcdef") == MODEL_ID - 2;
}

struct modelling {
	struct mk_call *call;
	const struct job *job;
	struct mk_list ids;
	enum mk_logged_status status; /* of the one at hand, as its store says */
	bool is_there;		      /* made before a kill */
};

static int add_models(void *arg, const struct mk_t_run *run)
{
	struct modelling *to = arg;
	int r = 0;

	for (size_t i = 0; r == 0 && i < run->n_models; i++)
		if (is_model_id(run->models[i]) && !mk_list_has(&to->ids, run->models[i]))
			r = mk_list_add(&to->ids, run->models[i]);
	return r;
}

static int put_all(struct mk_pairs *to, const struct mk_t_pair *pairs, size_t n)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++)
		r = mk_pairs_set(to, pairs[i].key, pairs[i].value);
	return r;
}

static int make_model(void *arg, const struct mk_t_logged *logged)
{
	struct modelling *to = arg;
	struct mantik *m = to->job->site.m;
	_cleanup_pairs_ struct mk_pairs tags = {}, params = {};
	_cleanup_free_ char *id = NULL;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	struct mk_logged_new new = {
		.id = logged->id,
		.name = *logged->name ? logged->name : logged->id,
		.model_type = logged->type,
		.source_run = to->job->uid,
		.tags = &tags,
		.params = &params,
	};
	int r;

	to->status = strstr(logged->status, "READY")  ? MK_LOGGED_READY
		     : strstr(logged->status, "FAIL") ? MK_LOGGED_FAILED
						      : MK_LOGGED_PENDING;
	if (to->is_there)
		return 0;
	if (put_all(&tags, logged->tags, logged->n_tags) < 0 ||
	    put_all(&params, logged->params, logged->n_params) < 0)
		return mk_fail(to->call, ENOMEM, "out of memory");
	r = mk_domain_read(to->call, m, "SELECT experiment_id FROM runs WHERE id = ?1", "run",
			   to->job->run_id, &stmt);
	if (r < 0)
		return r;
	new.experiment_id = mk_col_int(stmt, 0);
	mk_reset(&stmt);
	return mk_logged_model_make(to->call, m, &new, &id);
}

/* Unfinished is what a kill interrupted. What has this id and is not this run's stays as it is. */
static int take_model(struct modelling *to, const struct store_source *source, const char *id, int *files)
{
	const struct mk_t_place place = {.root = MK_T_LOGGED_MODEL, .id = id};
	const struct mk_track_model output = {.model_id = id};
	struct mantik *m = to->job->site.m;
	_cleanup_logged_model_ struct mk_logged_model have = {};
	_cleanup_(copy_done) struct copy c = {
		.call = to->call, .source = source, .place = &place, .files = files};
	int r = mk_logged_model_get(to->call, m, 0, id, true, &have);

	if (r == 0 && (have.deleted || have.status != MK_LOGGED_PENDING ||
		       strcmp(have.source_run, to->job->uid) != 0))
		return 0;
	if (r < 0 && r != -ENOENT)
		return r;
	mk_error_clear(to->call);
	to->is_there = r == 0;
	r = source->ops->logged(to->call, source->t, id, make_model, to);
	if (r == 0)
		r = find_files(&c);
	for (size_t i = 0; r == 0 && i < c.paths.n; i++)
		r = copy_model_file(&c, m, c.paths.v[i]);
	if (r == 0)
		r = mk_track_outputs(to->call, m, to->job->run_id, &output, 1);
	if (r == 0 && to->status != MK_LOGGED_PENDING)
		r = mk_logged_model_finish(to->call, m, 0, id, to->status);
	return r;
}

static int take_models(struct mk_call *call, const struct job *job, const struct store_source *source,
		       const struct store_runs *runs)
{
	struct modelling to = {.call = call, .job = job};
	int r = 0, files = 0;

	for (size_t i = 0; r == 0 && i < runs->n; i++)
		r = source->ops->run(call, source->t, runs->v[i].id, add_models, &to);
	for (size_t i = 0; r == 0 && i < to.ids.n; i++)
		r = take_model(&to, source, to.ids.v[i], &files);
	mk_list_free(&to.ids);
	return r;
}

/* --- all of it ------------------------------------------------------------------------------- */

int store_copy(struct mk_call *call, const struct job *job, int to, int *files)
{
	int r = 0;

	for (size_t i = 0; job->store && r == 0 && i < 2; i++) {
		const struct store_source *source = &job->store->sources[i];
		_cleanup_(store_runs_free) struct store_runs *runs = mk_new(struct store_runs);

		if (!source->t)
			continue;
		r = store_find(call, job->site.m, job, source, runs);
		for (size_t k = 0; r == 0 && k < runs->n; k++)
			r = copy_run(call, source, &runs->v[k], to, files);
		if (r == 0)
			r = take_models(call, job, source, runs);
		if (r < 0 && r != -EINTR && r != -ENOSPC && r != -EDQUOT) {
			if (!store_is_beside(job->store, i))
				engine_note(job, "submission", "artifacts of MLflow: %s",
					    call->error.text ? call->error.text : strerror(-r));
			mk_error_clear(call);
			r = 0;
		}
	}
	return r;
}
