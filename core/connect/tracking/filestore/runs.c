/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Experiments and runs. A page of runs is cut out of all runs of its experiments, sorted by start,
 * which costs a look at each meta.yaml; params, tags and metrics are read of those on the page. The
 * token is the last run given: `<start> <id>`.
 *
 * Asked for runs since a time, also those are given that began before it but have changed: another
 * meta.yaml, another key (a folder's time). A folder copied in with old times is seen by that, too.
 */
#include "filestore.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

enum { PAGE = 1000, MOST_EXPERIMENTS = 100000 };

static const char *either(const char *a, const char *b)
{
	return *a ? a : b;
}

static const char *tag(const struct mk_t_pair *tags, size_t n, const char *key)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(tags[i].key, key) == 0)
			return tags[i].value;
	return "";
}

/* --- experiments ----------------------------------------------------------------------------- */

struct experiments {
	struct mk_call *call;
	struct mk_tracking *t;
	int root;
	size_t found;
	mk_t_experiment_emit *emit;
	void *arg;
};

/* path: "12" or ".trash/12" */
static int take_experiment(struct experiments *e, const char *path, const char *id, bool deleted)
{
	_cleanup_arena_ struct mk_arena arena = {};
	_cleanup_(mk_doc_freep) struct mk_doc *meta = NULL;
	_cleanup_free_ char *file = mk_strf("%s/meta.yaml", path);
	_cleanup_close_ int dir = -1;
	struct mk_t_pair *tags = NULL;
	struct mk_t_experiment experiment = {.id = id, .deleted = deleted};
	int r = mk_fs_meta(e->call, e->t, e->root, file, path, "name", &meta);

	if (r <= 0)
		return r;
	if (strcmp(mk_fs_text(meta, "experiment_id"), id) != 0) {
		mk_local_refuse(&e->t->local, path, "meta.yaml is that of experiment %.60s",
				mk_fs_text(meta, "experiment_id"));
		return 0;
	}
	dir = mk_local_open(e->root, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
	if (dir < 0)
		return 0;
	r = mk_fs_pairs(e->call, e->t, dir, "tags", path, &arena, &tags, &experiment.n_tags);
	if (r < 0)
		return r;
	experiment.name = mk_fs_text(meta, "name");
	if (!*experiment.name || strlen(experiment.name) > 2000) {
		mk_local_refuse(&e->t->local, path, "a name of %zu bytes", strlen(experiment.name));
		return 0;
	}
	experiment.artifact_location = mk_fs_text(meta, "artifact_location");
	experiment.created = mk_fs_ms(meta, "creation_time");
	experiment.updated = mk_fs_ms(meta, "last_update_time");
	experiment.deleted |= strcmp(mk_fs_text(meta, "lifecycle_stage"), "deleted") == 0;
	experiment.tags = tags;
	e->found++;
	return e->emit(e->arg, &experiment);
}

static int take_folder(struct experiments *e, const char *folder, bool deleted)
{
	_cleanup_list_ struct mk_list names = {};
	int r = mk_fs_dirs(e->call, e->t, e->root, folder, &names);

	for (size_t i = 0; r >= 0 && i < names.n && i < MOST_EXPERIMENTS; i++) {
		_cleanup_free_ char *path =
			deleted ? mk_strf("%s/%s", folder, names.v[i]) : mk_strdup(names.v[i]);

		/* What is no folder of an experiment has no meta.yaml: artifacts of others, say. */
		if (!mk_local_is_id(names.v[i]) || (!deleted && strcmp(path, "models") == 0))
			continue;
		r = take_experiment(e, path, names.v[i], deleted);
		if (r == -EBUSY) {
			mk_error_clear(e->call);
			r = 0;
		}
	}
	return r;
}

static int fail_empty(struct mk_call *call, const struct mk_tracking *t, int root)
{
	_cleanup_close_ int models = mk_local_open(root, "models", O_PATH | O_DIRECTORY | O_NOFOLLOW);

	if (models >= 0)
		return 0;
	return mk_fail(call, EREMOTEIO,
		       "%s: %s holds no experiment of MLflow (no folder in it has a meta.yaml): does the "
		       "store lie in another folder, or in a mlflow.db beside it (url sqlite:///…)?",
		       t->local.connection, t->local.path);
}

static int experiments(struct mk_call *call, struct mk_tracking *t, char **token,
		       mk_t_experiment_emit *emit, void *arg)
{
	_cleanup_close_ int root = -1;
	struct experiments e = {call, t, -1, 0, emit, arg};
	int r = mk_local_root(call, &t->local, &root);

	mk_freep(token);
	e.root = root;
	if (r == 0)
		r = take_folder(&e, ".", false);
	if (r == 0)
		r = take_folder(&e, ".trash", true);
	return r == 0 && !e.found ? fail_empty(call, t, root) : r;
}

int mk_fs_experiments(struct mk_call *call, struct mk_tracking *t, char **token,
		      mk_t_experiment_emit *emit, void *arg)
{
	int64_t began = mk_now_mono();

	return mk_local_note(call, &t->local, experiments(call, t, token, emit, arg), began);
}

/* --- one run --------------------------------------------------------------------------------- */

struct entry {
	char *path; /* "12/<id>" */
	const char *id;
	int64_t started;
};

static int take_dataset(struct mk_call *call, struct mk_tracking *t, int experiment,
			const char *where, const struct mk_doc *input, struct mk_arena *arena,
			struct mk_t_run *run, size_t *cap)
{
	const char *id = mk_fs_text(input, "source_id");
	_cleanup_free_ char *path = mk_strf("datasets/%s/meta.yaml", id);
	_cleanup_free_ char *label = mk_strf("%s: dataset %.60s", where, id);
	_cleanup_(mk_doc_freep) struct mk_doc *meta = NULL;
	struct mk_doc *tags = NULL;
	struct mk_t_dataset *datasets = (struct mk_t_dataset *)run->datasets, *to;
	int r;

	if (!mk_local_is_id(id))
		return 0;
	r = mk_fs_meta(call, t, experiment, path, label, "source_type", &meta);
	if (r <= 0)
		return r;
	to = mk_arena_grow(arena, &datasets, &run->n_datasets, cap, sizeof(*to));
	if (!to)
		return -ENOMEM;
	run->datasets = datasets;
	for (size_t i = 0; i < input->n; i++)
		if (strcmp(input->keys[i]->text, "tags") == 0)
			tags = input->items[i];

	const char *texts[] = {mk_fs_text(meta, "name"), mk_fs_text(meta, "digest"),
			       mk_fs_text(meta, "source_type"), mk_fs_text(meta, "source"),
			       mk_fs_text(tags, "mlflow.data.context")};
	const char **to_text[] = {&to->name, &to->digest, &to->source_type, &to->source, &to->context};

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		*to_text[i] = mk_arena_text(arena, texts[i], strlen(texts[i]));
		if (!*to_text[i])
			return -ENOMEM;
	}
	return 0;
}

static int take_inputs(struct mk_call *call, struct mk_tracking *t, int experiment, int dir,
		       const char *where, struct mk_arena *arena, struct mk_t_run *run)
{
	_cleanup_list_ struct mk_list names = {};
	size_t cap = 0;
	int r = mk_fs_dirs(call, t, dir, "inputs", &names);

	for (size_t i = 0; r >= 0 && i < names.n; i++) {
		_cleanup_free_ char *path = mk_strf("inputs/%s/meta.yaml", names.v[i]);
		_cleanup_free_ char *label = mk_strf("%s: input %.60s", where, names.v[i]);
		_cleanup_(mk_doc_freep) struct mk_doc *meta = NULL;

		r = mk_fs_meta(call, t, dir, path, label, "tags", &meta);
		if (r > 0 && strcmp(mk_fs_text(meta, "source_type"), "DATASET") == 0)
			r = take_dataset(call, t, experiment, where, meta, arena, run, &cap);
	}
	return r < 0 ? r : 0;
}

/* outputs/<model>/ */
static int take_outputs(struct mk_call *call, struct mk_tracking *t, int dir,
			struct mk_arena *arena, struct mk_t_run *run)
{
	_cleanup_list_ struct mk_list names = {};
	const char **models = NULL;
	size_t cap = 0;
	int r = mk_fs_dirs(call, t, dir, "outputs", &names);

	for (size_t i = 0; r >= 0 && i < names.n; i++) {
		const char **to;

		if (!mk_local_is_id(names.v[i]))
			continue;
		to = mk_arena_grow(arena, &models, &run->n_models, &cap, sizeof(*models));
		if (to)
			*to = mk_arena_text(arena, names.v[i], strlen(names.v[i]));
		if (!to || !*to)
			return -ENOMEM;
	}
	run->models = models;
	return r < 0 ? r : 0;
}

static int take_run(struct mk_call *call, struct mk_tracking *t, int root, const char *path,
		    const struct mk_doc *meta, mk_t_run_emit *emit, void *arg)
{
	_cleanup_arena_ struct mk_arena arena = {};
	_cleanup_close_ int dir = mk_local_open(root, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
	_cleanup_close_ int experiment = -1;
	_cleanup_free_ char *above = mk_strndup(path, (size_t)(strrchr(path, '/') - path));
	const char *status = mk_fs_text(meta, "status");
	struct mk_t_pair *params = NULL, *tags = NULL;
	struct mk_t_metric *metrics = NULL;
	struct mk_t_run run = {
		.id = strrchr(path, '/') + 1,
		.experiment_id = strrchr(above, '/') ? strrchr(above, '/') + 1 : above,
		.status = *status ? mk_t_status(status) : MK_RUNNING,
		.started = mk_fs_ms(meta, "start_time"),
		.ended = mk_fs_ms(meta, "end_time"),
		.deleted = strcmp(mk_fs_text(meta, "lifecycle_stage"), "deleted") == 0,
		.artifact_uri = mk_fs_text(meta, "artifact_uri"),
	};
	int r;

	experiment = mk_local_open(root, above, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
	if (dir < 0 || experiment < 0)
		return mk_fail(call, dir == -ENOENT ? ENOENT : EREMOTEIO, "%s: run %s: %s",
			       t->local.connection, path, strerror(dir < 0 ? -dir : -experiment));
	r = mk_fs_pairs(call, t, dir, "params", path, &arena, &params, &run.n_params);
	if (r == 0)
		r = mk_fs_pairs(call, t, dir, "tags", path, &arena, &tags, &run.n_tags);
	if (r == 0)
		r = mk_fs_metrics(call, t, dir, path, &arena, &metrics, &run.n_metrics);
	if (r == 0)
		r = take_inputs(call, t, experiment, dir, path, &arena, &run);
	if (r == 0)
		r = take_outputs(call, t, dir, &arena, &run);
	if (r < 0)
		return r == -ENOMEM ? mk_fail(call, ENOMEM, "out of memory for a run") : r;
	run.name = either(mk_fs_text(meta, "run_name"), tag(tags, run.n_tags, "mlflow.runName"));
	run.user = either(mk_fs_text(meta, "user_id"), tag(tags, run.n_tags, "mlflow.user"));
	run.params = params;
	run.tags = tags;
	run.metrics = metrics;
	return emit(arg, &run);
}

/* Its meta.yaml if it is a run's, and of the run it lies with: 1, 0 none. */
static int get_meta(struct mk_call *call, struct mk_tracking *t, int root, const char *path,
		    struct mk_doc **ret)
{
	_cleanup_(mk_doc_freep) struct mk_doc *meta = NULL;
	_cleanup_free_ char *file = mk_strf("%s/meta.yaml", path), *above = NULL;
	const char *id = strrchr(path, '/') + 1, *experiment;
	int r = mk_fs_meta(call, t, root, file, path, "user_id", &meta);

	if (r <= 0)
		return r;
	above = mk_strndup(path, (size_t)(id - 1 - path));
	experiment = strrchr(above, '/') ? strrchr(above, '/') + 1 : above;
	if (strcmp(either(mk_fs_text(meta, "run_id"), mk_fs_text(meta, "run_uuid")), id) != 0 ||
	    strcmp(mk_fs_text(meta, "experiment_id"), experiment) != 0) {
		mk_local_refuse(&t->local, path, "meta.yaml is that of run %.60s of experiment %.60s",
				either(mk_fs_text(meta, "run_id"), mk_fs_text(meta, "run_uuid")),
				mk_fs_text(meta, "experiment_id"));
		return 0;
	}
	*ret = mk_steal(&meta);
	return 1;
}

int mk_fs_find(struct mk_call *call, struct mk_tracking *t, int root, const char *kind,
	       const char *id, char **ret)
{
	static const char *const folders[] = {".", ".trash"};

	for (size_t f = 0; mk_local_is_id(id) && f < 2; f++) {
		_cleanup_list_ struct mk_list names = {};
		int r = mk_fs_dirs(call, t, root, folders[f], &names);

		if (r < 0)
			return r;
		for (size_t i = 0; i < names.n; i++) {
			_cleanup_free_ char *path = mk_strf("%s%s/%s%s", f ? ".trash/" : "", names.v[i],
							    kind, id);
			_cleanup_free_ char *meta = mk_strf("%s/meta.yaml", path);
			_cleanup_close_ int fd = mk_local_open(root, meta, O_PATH | O_NOFOLLOW);

			/* A path, not a model's: mlruns/models/<name> is a registered one. */
			if (fd < 0 || strncmp(path, "models/", 7) == 0)
				continue;
			*ret = mk_steal(&path);
			return 0;
		}
	}
	return mk_fail(call, ENOENT, "%s: %s %.60s: there is none", t->local.connection,
		       *kind ? "logged model" : "run", id);
}

static int one_run(struct mk_call *call, struct mk_tracking *t, const char *id, mk_t_run_emit *emit,
		   void *arg)
{
	_cleanup_(mk_doc_freep) struct mk_doc *meta = NULL;
	_cleanup_close_ int root = -1;
	_cleanup_free_ char *path = NULL;
	int r = mk_local_root(call, &t->local, &root);

	if (r == 0)
		r = mk_fs_find(call, t, root, "", id, &path);
	if (r < 0)
		return r;
	r = get_meta(call, t, root, path, &meta);
	if (r == 0) /* not ENOENT: it is there */
		return mk_fail(call, EREMOTEIO,
			       "%s: run %s is broken: .mantik/errors says how", t->local.connection,
			       path);
	return r < 0 ? r : take_run(call, t, root, path, meta, emit, arg);
}

int mk_fs_run(struct mk_call *call, struct mk_tracking *t, const char *id, mk_t_run_emit *emit,
	      void *arg)
{
	int64_t began = mk_now_mono();

	return mk_local_note(call, &t->local, one_run(call, t, id, emit, arg), began);
}

/* --- a page ---------------------------------------------------------------------------------- */

struct page {
	struct mk_call *call;
	struct mk_tracking *t;
	const struct mk_t_query *query;
	int root;
	struct entry *v;
	size_t n, cap;
};

static void page_free(struct page *page)
{
	for (size_t i = 0; i < page->n; i++)
		free(page->v[i].path);
	free(page->v);
}

static void mix(uint64_t *hash, uint64_t value)
{
	for (int i = 0; i < 8; i++, value >>= 8)
		*hash = (*hash ^ (value & 0xff)) * UINT64_C(0x100000001b3);
}

/* Over what tells cheaply that a run has changed. *ret_ctime: its newest change, as the disk has it. */
static uint64_t signature(int root, const char *path, int64_t *ret_ctime)
{
	static const char *const parts[] = {"meta.yaml", "params", "tags", "metrics"};
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	*ret_ctime = 0;
	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
		_cleanup_free_ char *part = mk_strf("%s/%s", path, parts[i]);
		_cleanup_close_ int fd = mk_local_open(root, part, O_PATH | O_NOFOLLOW);
		struct stat st = {};
		int64_t ctime;

		if (fd >= 0)
			(void)fstat(fd, &st);
		ctime = st.st_ctim.tv_sec * MK_SEC + st.st_ctim.tv_nsec;
		mix(&hash, st.st_ino);
		mix(&hash, (uint64_t)st.st_size);
		mix(&hash, (uint64_t)ctime);
		if (ctime > *ret_ctime)
			*ret_ctime = ctime;
	}
	return hash ? hash : 1;
}

static void recall_signature(struct mk_fs_seen *seen, void *arg)
{
	*(uint64_t *)arg = seen->signature;
}

static void remember_signature(struct mk_fs_seen *seen, void *arg)
{
	seen->signature = *(uint64_t *)arg;
}

static bool has_changed(struct page *page, const char *path)
{
	int64_t ctime;
	uint64_t before = 0, now = signature(page->root, path, &ctime);

	mk_fs_seen(page->t, path, recall_signature, &before);
	return before ? before != now : ctime >= page->query->started_since;
}

static bool is_wanted(struct page *page, const char *path, const struct mk_doc *meta)
{
	const struct mk_t_query *query = page->query;
	const char *status = mk_fs_text(meta, "status");
	bool deleted = strcmp(mk_fs_text(meta, "lifecycle_stage"), "deleted") == 0;

	if (deleted != query->deleted)
		return false;
	if (query->live && *status && mk_status_final(mk_t_status(status)))
		return false;
	return !query->started_since || mk_fs_ms(meta, "start_time") >= query->started_since ||
	       (!query->live && has_changed(page, path));
}

static int add_entry(struct page *page, const char *path, const struct mk_doc *meta)
{
	if (page->n == page->cap) {
		size_t cap = page->cap ? page->cap * 2 : 256;
		struct entry *v = realloc(page->v, cap * sizeof(*v));

		if (!v)
			return mk_fail(page->call, ENOMEM, "out of memory for runs");
		page->v = v;
		page->cap = cap;
	}

	struct entry *e = &page->v[page->n++];

	e->path = mk_strdup(path);
	e->id = strrchr(e->path, '/') + 1;
	e->started = mk_fs_ms(meta, "start_time");
	return 0;
}

static int collect(struct page *page, const char *experiment)
{
	static const char *const reserved[] = {"tags", "datasets", "traces", "models"};
	_cleanup_list_ struct mk_list names = {};
	int r = mk_fs_dirs(page->call, page->t, page->root, experiment, &names);

	for (size_t i = 0; r >= 0 && i < names.n; i++) {
		_cleanup_free_ char *path = mk_strf("%s/%s", experiment, names.v[i]);
		_cleanup_(mk_doc_freep) struct mk_doc *meta = NULL;
		bool is_reserved = !mk_local_is_id(names.v[i]);

		for (size_t k = 0; k < sizeof(reserved) / sizeof(*reserved); k++)
			is_reserved |= strcmp(names.v[i], reserved[k]) == 0;
		if (is_reserved)
			continue;
		r = mk_call_check(page->call, experiment);
		if (r == 0)
			r = get_meta(page->call, page->t, page->root, path, &meta);
		if (r == -EBUSY) { /* it comes with the next look */
			mk_error_clear(page->call);
			r = 0;
		}
		if (r > 0 && is_wanted(page, path, meta))
			r = add_entry(page, path, meta);
	}
	return r < 0 ? r : 0;
}

/* Newest start first. */
static int by_start(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	if (x->started != y->started)
		return x->started > y->started ? -1 : 1;
	return strcmp(x->id, y->id);
}

static int give(struct page *page, const char *path, mk_t_run_emit *emit, void *arg)
{
	_cleanup_(mk_doc_freep) struct mk_doc *meta = NULL;
	int64_t ctime;
	uint64_t now = signature(page->root, path, &ctime);
	int r = get_meta(page->call, page->t, page->root, path, &meta);

	if (r > 0)
		r = take_run(page->call, page->t, page->root, path, meta, emit, arg);
	if (r == 0 && meta)
		mk_fs_seen(page->t, path, remember_signature, &now);
	if (r == -EBUSY || r == -ENOENT) { /* it went, or is being written just now */
		mk_error_clear(page->call);
		r = 0;
	}
	return r;
}

static int runs(struct mk_call *call, struct mk_tracking *t, const struct mk_t_query *query,
		char **token, mk_t_run_emit *emit, void *arg)
{
	_cleanup_close_ int root = -1;
	_cleanup_(page_free) struct page page = {.call = call, .t = t, .query = query};
	size_t limit = query->limit > 0 && query->limit < PAGE ? (size_t)query->limit : PAGE, at = 0;
	int r = mk_local_root(call, &t->local, &root);

	page.root = root;
	for (size_t i = 0; r == 0 && i < query->n_experiments; i++) {
		_cleanup_free_ char *trash = mk_strf(".trash/%s", query->experiment_ids[i]);

		if (!mk_local_is_id(query->experiment_ids[i]))
			continue;
		r = collect(&page, query->experiment_ids[i]);
		if (r == 0)
			r = collect(&page, trash);
	}
	if (r < 0)
		return r;
	if (page.n)
		qsort(page.v, page.n, sizeof(*page.v), by_start);
	if (*token) {
		const char *id = strchr(*token, ' ');
		struct entry last = {.id = id ? id + 1 : "", .started = strtoll(*token, NULL, 10)};

		while (at < page.n && by_start(&page.v[at], &last) <= 0)
			at++;
	}
	mk_freep(token);
	for (size_t n = 0; r == 0 && n < limit && at < page.n; n++, at++)
		r = give(&page, page.v[at].path, emit, arg);
	if (r == 0 && at < page.n)
		*token = mk_strf("%lld %s", (long long)page.v[at - 1].started, page.v[at - 1].id);
	return r;
}

int mk_fs_runs(struct mk_call *call, struct mk_tracking *t, const struct mk_t_query *query,
	       char **token, mk_t_run_emit *emit, void *arg)
{
	int64_t began = mk_now_mono();

	return mk_local_note(call, &t->local, runs(call, t, query, token, emit, arg), began);
}
