/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tracking store of our own making that counts what it is asked: experiment `rain` with the runs
 * `train` (files, datasets, a logged model) and `fold`, which is nested in it; the registered
 * model `net` with two versions. Its project is called `p`.
 */
#ifndef TEST_STORE_H
#define TEST_STORE_H

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "connect/tracking/tracking.h"
#include "domain/index/index.h"
#include "runs.h"

enum { BIG = 3000000 };

struct mk_tracking {
	_Atomic int fails;
	bool live, no_models, no_sizes, no_totals, ignores_ranges;
	bool no_goal; /* its primary metric is "val/acc", and no tag says which way */
	_Atomic char version; /* of all bytes; a stream of before may still go on */
	_Atomic int64_t big;  /* bytes of big.bin */
	_Atomic int asked, asked_files, asked_bytes;
	int put_fails; /* errno of the next files */
	int put_status; /* … of HTTP, by somebody in front of it */
	_Atomic int puts;
	char put_path[64], put_bytes[64]; /* the last file that was taken */
};

/* Of the run and, with other bytes, of the others. */
static const struct {
	const char *path;
	bool is_dir;
	int64_t size;
} store_tree[] = {
	{"big.bin", false, BIG},
	{"empty", false, 0},
	{"model.yaml", false, 4},
	{"plots", true, -1},
	{"plots/a b%20c+d.png", false, 70000},
	{"plots/deep", true, -1},
	{"plots/deep/größe.txt", false, 5},
	{"..", true, -1}, /* what no store should say */
	{"plots/../../etc", false, 3},
	{"plots/.", false, 3},
	{"", false, 3},
};

static inline int answer(struct mk_call *call, struct mk_tracking *t)
{
	atomic_fetch_add(&t->asked, 1);
	return t->fails ? mk_fail(call, t->fails, "fake: does not answer") : 0;
}

static inline void store_close(struct mk_tracking *t)
{
	(void)t;
}

static inline int store_experiments(struct mk_call *call, struct mk_tracking *t, char **token,
			     mk_t_experiment_emit *emit, void *arg)
{
	const struct mk_t_pair tags[] = {
		{"mlflow.note.content", "what we want to know:\n1. all"},
		{"team", "a: b"},
		{"mlflow.experiment.primaryMetric.name", t->no_goal ? "val/acc" : "loss"},
		{"mlflow.experiment.primaryMetric.greaterIsBetter", "False"},
	};
	const struct mk_t_experiment experiment = {
		.id = "1", .name = "rain", .tags = tags, .n_tags = t->no_models ? 0 : t->no_goal ? 3 : 4};
	int r = answer(call, t);

	free(mk_steal(token));
	return r < 0 ? r : emit(arg, &experiment);
}

#define RUN_ID(c) "0000000000000000000000000000000" c

static inline int store_run(struct mk_call *call, struct mk_tracking *t, const char *id,
			    mk_t_run_emit *emit, void *arg)
{
	static const struct mk_t_pair params[] = {{"lr", "0.1"}};
	static const struct mk_t_pair tags[] = {{"mlflow.parentRunId", RUN_ID("a")}};
	static const struct mk_t_metric metrics[] = {{"loss", {9, 0.25, 1500 * MK_SEC}}};
	static const struct mk_t_dataset datasets[] = {
		{"tweets", "d1", "http", "{\"url\": \"http://x/y\"}", "training"},
		{"more: #1", "d2", "local", "", ""},
	};
	static const char *const models[] = {"m-0123456789", "m-1", "m-2"};
	bool is_fold = strcmp(id, RUN_ID("b")) == 0;
	const struct mk_t_run run = {
		.id = is_fold ? RUN_ID("b") : RUN_ID("a"),
		.experiment_id = "1",
		.name = is_fold ? "fold" : "train",
		.user = "ana",
		.status = t->live ? MK_RUNNING : MK_FINISHED,
		.started = 1000 * MK_SEC,
		.ended = 2000 * MK_SEC,
		.artifact_uri = "mlflow-artifacts:/1/a/artifacts",
		.params = params,
		.n_params = 1,
		.tags = tags,
		.n_tags = is_fold,
		.metrics = metrics,
		.n_metrics = 1,
		.datasets = datasets,
		.n_datasets = is_fold ? 0 : 2,
		.models = models,
		.n_models = is_fold ? 0 : 3,
	};
	int r = answer(call, t);

	return r < 0 ? r : emit(arg, &run);
}

static inline int store_runs(struct mk_call *call, struct mk_tracking *t,
			     const struct mk_t_query *query, char **token, mk_t_run_emit *emit,
			     void *arg)
{
	int r = 0;

	free(mk_steal(token));
	if (query->deleted)
		return answer(call, t);
	r = store_run(call, t, RUN_ID("b"), emit, arg);
	return r < 0 ? r : store_run(call, t, RUN_ID("a"), emit, arg);
}

static inline int store_history(struct mk_call *call, struct mk_tracking *t, const char *run_id,
				const char *key, char **token, struct mk_point **points, size_t *n)
{
	int r = answer(call, t);

	(void)run_id;
	(void)key;
	free(mk_steal(token));
	if (r < 0)
		return r;
	*points = mk_alloc(10 * sizeof(**points));
	for (*n = 0; *n < 10; ++*n)
		(*points)[*n] = (struct mk_point){(int64_t)*n, 0.25, 1500 * MK_SEC};
	return 0;
}

static inline int store_models(struct mk_call *call, struct mk_tracking *t, char **token,
			       mk_t_model_emit *emit, void *arg)
{
	int r = answer(call, t);

	free(mk_steal(token));
	if (r == 0 && !t->no_models)
		r = emit(arg, &(struct mk_t_model){.name = "net",
						   .description = "all of it",
						   .created = 3000 * MK_SEC});
	return r < 0 || t->no_models
		       ? r
		       : emit(arg, &(struct mk_t_model){.name = ".odd/name", .created = MK_SEC});
}

static inline int store_logged(struct mk_call *call, struct mk_tracking *t, const char *id,
			       mk_t_logged_emit *emit, void *arg)
{
	int r = answer(call, t);

	return r < 0 ? r
		     : emit(arg, &(struct mk_t_logged){
					 .id = id,
					 .name = strcmp(id, "m-1") == 0 ? "net/a" : "twin"});
}

static inline int store_versions(struct mk_call *call, struct mk_tracking *t, const char *model,
				 char **token, mk_t_version_emit *emit, void *arg)
{
	static const char *const aliases[] = {"champion", "best one"};
	static const struct mk_t_pair tags[] = {{"a: b", "x\ty\nz"}};
	const struct mk_t_version versions[] = {
		{.version = "1", .run_id = RUN_ID("f"), .stage = "None", .status = "READY",
		 .created = 3000 * MK_SEC},
		{.version = "2", .run_id = RUN_ID("a"), .stage = "Production", .status = "READY",
		 .description = "two lines\nof it", .source = "runs:/" RUN_ID("a") "/net",
		 .created = 3000 * MK_SEC, .updated = 4000 * MK_SEC, .aliases = aliases,
		 .n_aliases = 2, .tags = tags, .n_tags = 1},
	};
	int r = answer(call, t);

	free(mk_steal(token));
	for (int i = 0; r == 0 && i < 2 && strcmp(model, "net") == 0; i++)
		r = emit(arg, &versions[i]);
	return r;
}

static inline bool is_in(const char *dir, const char *path)
{
	size_t len = strlen(dir);

	if (!len)
		return !strchr(path, '/');
	return strncmp(path, dir, len) == 0 && path[len] == '/' &&
	       (!strchr(path + len + 1, '/') || strstr(path, ".."));
}

/* Three a page. */
static inline int store_files(struct mk_call *call, struct mk_tracking *t, const struct mk_t_place *place,
		       const char *path, char **token, mk_t_file_emit *emit, void *arg)
{
	size_t begin = *token ? strtoul(*token, NULL, 10) : 0, n = 0, i;
	int r = answer(call, t);

	(void)place;
	atomic_fetch_add(&t->asked_files, 1);
	free(mk_steal(token));
	for (i = begin; r == 0 && i < sizeof(store_tree) / sizeof(*store_tree) && n < 3; i++) {
		struct mk_t_file file = {store_tree[i].path, store_tree[i].is_dir, store_tree[i].size};

		if (!is_in(path, store_tree[i].path))
			continue;
		if (strcmp(file.path, "big.bin") == 0)
			file.size = t->big;
		if (t->no_sizes)
			file.size = -1;
		r = emit(arg, &file);
		n++;
	}
	if (r == 0 && n < 3 && *t->put_path && is_in(path, t->put_path))
		r = emit(arg, &(struct mk_t_file){t->put_path, false,
						  (int64_t)strlen(t->put_bytes)});
	if (r == 0 && n == 3) {
		char text[16];

		(void)snprintf(text, sizeof(text), "%zu", i);
		*token = mk_strdup(text);
	}
	return r;
}

static inline int64_t size_of(const struct mk_tracking *t, const char *path)
{
	for (size_t i = 0; i < sizeof(store_tree) / sizeof(*store_tree); i++)
		if (strcmp(store_tree[i].path, path) == 0 && !store_tree[i].is_dir)
			return strcmp(path, "big.bin") == 0 ? t->big : store_tree[i].size;
	return -1;
}

static inline char byte_at(const struct mk_tracking *t, const char *path, int64_t at)
{
	return (char)((at * 31 + at / 65536) ^ t->version ^ path[0]);
}

static inline int store_read(struct mk_call *call, struct mk_tracking *t, const struct mk_t_place *place,
		      const char *path, int64_t offset, int64_t len, char **etag,
		      int (*sink)(void *arg, const void *data, size_t len), void *arg,
		      int64_t *ret_total)
{
	const char version[] = {t->version, 0};
	int64_t size = size_of(t, path), end = len < 0 || offset + len > size ? size : offset + len;
	char data[10000];
	int r = answer(call, t);

	(void)place;
	atomic_fetch_add(&t->asked_bytes, 1);
	if (r < 0)
		return r;
	if (size < 0)
		return mk_fail(call, ENOENT, "fake: no such file");
	if (*etag && strcmp(*etag, version) != 0)
		return mk_fail(call, ESTALE, "fake: another version");
	free(*etag);
	*etag = mk_strdup(version);
	*ret_total = t->no_totals ? -1 : size;
	while (r == 0 && offset < end) {
		size_t n = (size_t)(end - offset) < sizeof(data) ? (size_t)(end - offset)
								  : sizeof(data);

		for (size_t i = 0; i < n; i++)
			data[i] = byte_at(t, path, offset + (int64_t)i);
		r = sink(arg, data, n);
		offset += (int64_t)n;
	}
	return r;
}

static inline int store_log(struct mk_call *call, struct mk_tracking *t, const char *run_id,
			    const struct mk_t_batch *batch)
{
	(void)run_id;
	(void)batch;
	return answer(call, t);
}

static inline int store_put_check(struct mk_call *call, struct mk_tracking *t,
				  const char *artifact_uri, const char *path)
{
	(void)t;
	(void)artifact_uri;
	return strchr(path, '%') ? mk_fail(call, EINVAL, "fake: a name with %%") : 0;
}

/* Small ones. */
static inline int store_put(struct mk_call *call, struct mk_tracking *t,
			    const struct mk_t_place *place, const char *path, int fd, int64_t size)
{
	int r = answer(call, t);

	(void)place;
	atomic_fetch_add(&t->puts, 1);
	if (r < 0)
		return r;
	if (t->put_fails) {
		r = mk_fail(call, t->put_fails, "fake: takes no file");
		mk_error_detail(call, NULL, t->put_status, NULL);
		return r;
	}
	memset(t->put_bytes, 0, sizeof(t->put_bytes));
	if (pread(fd, t->put_bytes, sizeof(t->put_bytes) - 1, 0) != size)
		return mk_fail(call, EIO, "fake: another size");
	(void)snprintf(t->put_path, sizeof(t->put_path), "%s", path);
	return 0;
}

static const struct mk_tracking_ops fake = {
	.kind = "fake",
	.close = store_close,
	.experiments = store_experiments,
	.runs = store_runs,
	.run = store_run,
	.history = store_history,
	.files = store_files,
	.read = store_read,
	.models = store_models,
	.versions = store_versions,
	.log = store_log,
	.logged = store_logged,
	.put_check = store_put_check,
	.put = store_put,
};

static inline int age(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	(void)arg;
	int r = mk_domain_run(call, conn, "UPDATE marks SET time = time - 60000000000 WHERE ?1 = 0",
			      0, 0);

	return r < 0 ? r
		     : mk_domain_run(call, conn,
				     "UPDATE runs SET as_of = as_of - 60000000000 WHERE ?1 = 0", 0,
				     0);
}

/* A minute goes by. */
static inline void later(struct platform *p)
{
	CHECK_INT(mk_db_write(&p->call, p->m->db, MK_KILLSAFE, age, NULL), 0);
}

static inline int64_t first_run(struct platform *p, struct mk_tracking *t)
{
	int64_t id = 0;
	int project;

	if (mk_index_add(&p->call, p->m, "fake", &fake, t) < 0)
		return 0;
	project = mk_db_write(&p->call, p->m->db, MK_KILLSAFE, store_project_insert, NULL);
	if (project <= 0 ||
	    mk_run_find(&p->call, p->m, project, "train.00000000", false, &id) < 0)
		return 0;
	t->asked = 0;
	return id;
}

#define STORE(p, t, ...)                                                                     \
	PLATFORM(p);                                                                         \
	struct mk_tracking t = {__VA_ARGS__};                                                \
	t.version = 'a';                                                                     \
	t.big = t.big ? t.big : BIG;                                                         \
	int64_t run = first_run(&p, &t);                                                     \
	NEED(run > 0)

#endif
