/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/connect/tracking/tracking.h from a command line, for tests with real servers:
 * trackctl CONNECTION VERB ARG… on the platform of the environment.
 *
 * Prints a line of JSON for each thing that was emitted, numbers of metrics as hexadecimal doubles,
 * then one with what it took; `read` prints the bytes themselves, and the line on stderr. An error
 * is a line with `error` and `text`, exit 1. `put TEXT` makes the connection.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <mantik/connection.h>

#include "base/doc.h"
#include "connect/connect.h"
#include "connect/tracking/tracking.h"
#include "memory.h"
#include "net/health.h"

static struct mk_call call;
static const struct mk_tracking_ops *ops;
static const char *connection;
static struct mk_tracking *t;
static struct mantik *platform;
static struct mk_buf out = {.limit = MK_LIMIT_TABLE};
static int pages;

static void flush(FILE *to)
{
	fwrite(mk_buf_text(&out), 1, out.len, to);
	fputc('\n', to);
	mk_buf_truncate(&out, 0);
}

static void put(const char *key, const char *value)
{
	(void)mk_buf_printf(&out, "%s\"%s\": ", out.len && out.data[out.len - 1] == '{' ? "" : ", ",
			    key);
	if (value)
		mk_json_string(&out, value);
	else
		(void)mk_buf_puts(&out, "null");
}

static void put_int(const char *key, int64_t value)
{
	(void)mk_buf_printf(&out, ", \"%s\": %lld", key, (long long)value);
}

static void put_bool(const char *key, bool value)
{
	(void)mk_buf_printf(&out, ", \"%s\": %s", key, value ? "true" : "false");
}

static void put_pairs(const char *key, const struct mk_t_pair *pairs, size_t n)
{
	(void)mk_buf_printf(&out, ", \"%s\": [", key);
	for (size_t i = 0; i < n; i++) {
		(void)mk_buf_puts(&out, i ? ", [" : "[");
		mk_json_string(&out, pairs[i].key);
		(void)mk_buf_puts(&out, ", ");
		mk_json_string(&out, pairs[i].value);
		(void)mk_buf_putc(&out, ']');
	}
	(void)mk_buf_putc(&out, ']');
}

static void put_texts(const char *key, const char *const *texts, size_t n)
{
	(void)mk_buf_printf(&out, ", \"%s\": [", key);
	for (size_t i = 0; i < n; i++) {
		(void)mk_buf_puts(&out, i ? ", " : "");
		mk_json_string(&out, texts[i]);
	}
	(void)mk_buf_putc(&out, ']');
}

static void put_point(const struct mk_point *point)
{
	(void)mk_buf_printf(&out, "[%lld, \"%a\", %lld]", (long long)point->step, point->value,
			    (long long)point->time);
}

static int show_experiment(void *arg, const struct mk_t_experiment *e)
{
	(void)mk_buf_putc(&out, '{');
	put("id", e->id);
	put("name", e->name);
	put("artifact_location", e->artifact_location);
	put_int("created", e->created);
	put_int("updated", e->updated);
	put_bool("deleted", e->deleted);
	put_pairs("tags", e->tags, e->n_tags);
	(void)mk_buf_putc(&out, '}');
	flush(stdout);
	return 0;
}

static int show_run(void *arg, const struct mk_t_run *r)
{
	(void)mk_buf_putc(&out, '{');
	put("id", r->id);
	put("experiment_id", r->experiment_id);
	put("name", r->name);
	put("user", r->user);
	put("status", mk_status_name(r->status));
	put("artifact_uri", r->artifact_uri);
	put_int("started", r->started);
	put_int("ended", r->ended);
	put_bool("deleted", r->deleted);
	put_pairs("params", r->params, r->n_params);
	put_pairs("tags", r->tags, r->n_tags);
	put_texts("models", r->models, r->n_models);
	(void)mk_buf_puts(&out, ", \"metrics\": {");
	for (size_t i = 0; i < r->n_metrics; i++) {
		(void)mk_buf_puts(&out, i ? ", " : "");
		mk_json_string(&out, r->metrics[i].key);
		(void)mk_buf_puts(&out, ": ");
		put_point(&r->metrics[i].last);
	}
	(void)mk_buf_puts(&out, "}, \"datasets\": [");
	for (size_t i = 0; i < r->n_datasets; i++) {
		(void)mk_buf_puts(&out, i ? ", {" : "{");
		put("name", r->datasets[i].name);
		put("digest", r->datasets[i].digest);
		put("source_type", r->datasets[i].source_type);
		put("source", r->datasets[i].source);
		put("context", r->datasets[i].context);
		(void)mk_buf_putc(&out, '}');
	}
	(void)mk_buf_puts(&out, "]}");
	flush(stdout);
	return 0;
}

static int show_file(void *arg, const struct mk_t_file *f)
{
	(void)mk_buf_putc(&out, '{');
	put("path", f->path);
	put_bool("is_dir", f->is_dir);
	put_int("size", f->size);
	(void)mk_buf_putc(&out, '}');
	flush(stdout);
	return 0;
}

static int show_model(void *arg, const struct mk_t_model *m)
{
	(void)mk_buf_putc(&out, '{');
	put("name", m->name);
	put("description", m->description);
	put_int("created", m->created);
	put_int("updated", m->updated);
	put_pairs("tags", m->tags, m->n_tags);
	(void)mk_buf_putc(&out, '}');
	flush(stdout);
	return 0;
}

static int show_version(void *arg, const struct mk_t_version *v)
{
	(void)mk_buf_putc(&out, '{');
	put("version", v->version);
	put("run_id", v->run_id);
	put("stage", v->stage);
	put("status", v->status);
	put("description", v->description);
	put("source", v->source);
	put_int("created", v->created);
	put_int("updated", v->updated);
	put_texts("aliases", v->aliases, v->n_aliases);
	put_pairs("tags", v->tags, v->n_tags);
	(void)mk_buf_putc(&out, '}');
	flush(stdout);
	return 0;
}

static int show_logged_model(void *arg, const struct mk_t_logged *l)
{
	(void)mk_buf_putc(&out, '{');
	put("id", l->id);
	put("name", l->name);
	put("type", l->type);
	put("status", l->status);
	put("run_id", l->run_id);
	put("experiment_id", l->experiment_id);
	put_int("created", l->created);
	put_int("updated", l->updated);
	put_pairs("params", l->params, l->n_params);
	put_pairs("tags", l->tags, l->n_tags);
	(void)mk_buf_putc(&out, '}');
	flush(stdout);
	return 0;
}

static int write_out(void *arg, const void *data, size_t len)
{
	fwrite(data, 1, len, stdout);
	return 0;
}

/* --- verbs ----------------------------------------------------------------------------------- */

static int show_experiments(char **argv)
{
	_cleanup_free_ char *token = NULL;
	int r;

	do {
		pages++;
		r = ops->experiments(&call, t, &token, show_experiment, NULL);
	} while (r == 0 && token);
	return r;
}

static int show_runs(char **argv)
{
	const char *ids[200];
	struct mk_t_query query = {.experiment_ids = ids};
	_cleanup_free_ char *token = NULL;
	int r;

	for (; *argv; argv++) {
		if (strcmp(*argv, "deleted") == 0)
			query.deleted = true;
		else if (strcmp(*argv, "live") == 0)
			query.live = true;
		else if (strncmp(*argv, "since=", 6) == 0)
			query.started_since = strtoll(*argv + 6, NULL, 10);
		else if (strncmp(*argv, "limit=", 6) == 0)
			query.limit = (int)strtol(*argv + 6, NULL, 10);
		else if (query.n_experiments < 200)
			ids[query.n_experiments++] = *argv;
	}
	do {
		pages++;
		r = ops->runs(&call, t, &query, &token, show_run, NULL);
	} while (r == 0 && token);
	return r;
}

static int show_one_run(char **argv)
{
	pages++;
	return ops->run(&call, t, argv[0], show_run, NULL);
}

static int show_history(char **argv)
{
	_cleanup_free_ char *token = NULL;
	_cleanup_free_ struct mk_point *points = NULL;
	size_t n = 0;
	int r;

	do {
		pages++;
		r = ops->history(&call, t, argv[0], argv[1], &token, &points, &n);
	} while (r == 0 && token);
	if (r < 0)
		return r;
	(void)mk_buf_puts(&out, "[");
	for (size_t i = 0; i < n && (!argv[2] || i < 10); i++) {
		(void)mk_buf_puts(&out, i ? ", " : "");
		put_point(&points[i]);
	}
	(void)mk_buf_puts(&out, "]");
	flush(stdout);
	return (int)n;
}

/* RUN KEY KNOWN STEP VALUE TIME */
static int show_tail(char **argv)
{
	struct mk_point last = {
		.step = strtoll(argv[3], NULL, 10),
		.value = strtod(argv[4], NULL),
		.time = strtoll(argv[5], NULL, 10),
	};
	_cleanup_free_ struct mk_point *points = NULL;
	size_t n = 0;
	int r = ops->tail(&call, t, argv[0], argv[1], strtoll(argv[2], NULL, 10), &last, &points,
			  &n);

	if (r < 0)
		return r;
	(void)mk_buf_puts(&out, "[");
	for (size_t i = 0; i < n; i++) {
		(void)mk_buf_puts(&out, i ? ", " : "");
		put_point(&points[i]);
	}
	(void)mk_buf_puts(&out, "]");
	flush(stdout);
	return (int)n;
}

static int show_logged(char **argv)
{
	return ops->logged(&call, t, argv[0], show_logged_model, NULL);
}

static struct mk_t_place place_of(char **argv)
{
	/* Of a run, instead of a version: its artifact_uri. */
	bool is_uri = strncmp(argv[2], "mlflow-artifacts:", 17) == 0;

	return (struct mk_t_place){
		.uri = is_uri ? argv[2] : NULL,
		.root = strcmp(argv[0], "run") == 0	? MK_T_RUN
			: strcmp(argv[0], "model") == 0 ? MK_T_LOGGED_MODEL
							: MK_T_VERSION,
		.id = argv[1],
		.version = argv[2],
	};
}

static int show_files(char **argv)
{
	struct mk_t_place place = place_of(argv);
	_cleanup_free_ char *token = NULL;
	int r;

	do {
		pages++;
		r = ops->files(&call, t, &place, argv[3], &token, show_file, NULL);
	} while (r == 0 && token);
	return r;
}

static int show_bytes(char **argv)
{
	struct mk_t_place place = place_of(argv);
	_cleanup_free_ char *etag = argv[6] ? mk_strdup(argv[6]) : NULL;
	int64_t total = -2;
	int r = ops->read(&call, t, &place, argv[3], strtoll(argv[4], NULL, 10),
			  strtoll(argv[5], NULL, 10), &etag, write_out, NULL, &total);

	fflush(stdout);
	if (r < 0)
		return r;
	(void)mk_buf_putc(&out, '{');
	put("etag", etag);
	put_int("total", total);
	(void)mk_buf_putc(&out, '}');
	flush(stderr);
	return 0;
}

static int show_models(char **argv)
{
	_cleanup_free_ char *token = NULL;
	int r;

	do {
		pages++;
		r = ops->models(&call, t, &token, show_model, NULL);
	} while (r == 0 && token);
	return r;
}

static int show_versions(char **argv)
{
	_cleanup_free_ char *token = NULL;
	int r;

	do {
		pages++;
		r = ops->versions(&call, t, argv[0], &token, show_version, NULL);
	} while (r == 0 && token);
	return r;
}

/* URL: the connection is changed while the process runs, as a person does, and opened anew. */
static int show_models_after(char **argv)
{
	int r = show_models(argv);
	_cleanup_free_ char *text = NULL;

	if (r == 0 || asprintf(&text, "kind: mlflow\nurl: %s\n", argv[0]) < 0)
		return mk_fail(&call, EINVAL, "it was there");
	r = mk_connection_put(&call, platform, connection, text, strlen(text), 0);
	if (r < 0)
		return r;
	ops->close(t);
	t = NULL;
	r = ops->open(&call, platform, connection, &t);
	return r < 0 ? r : show_models(argv);
}

/* --- verbs that change something -------------------------------------------------------------- */

/* RUN, then `KEY STEP VALUE TIME` of points; or `param KEY VALUE`, `tag KEY VALUE`; `many KEY N` is
 * N points, of steps and values 0, 1, 2 …; `wide N`: a param of N characters. */
static int log_batch(char **argv)
{
	struct mk_t_logged_point *points = mk_alloc(2000 * sizeof(*points));
	struct mk_t_pair params[200], tags[200];
	struct mk_t_batch batch = {.points = points, .params = params, .tags = tags};
	const char *run = *argv++;
	int r;

	while (*argv && batch.n_points < 2000) {
		if (strcmp(*argv, "param") == 0) {
			params[batch.n_params++ % 200] = (struct mk_t_pair){argv[1], argv[2]};
			argv += 3;
		} else if (strcmp(*argv, "tag") == 0) {
			tags[batch.n_tags++ % 200] = (struct mk_t_pair){argv[1], argv[2]};
			argv += 3;
		} else if (strcmp(*argv, "many") == 0) {
			long n = strtol(argv[2], NULL, 10);

			for (long i = 0; i < n && batch.n_points < 2000; i++)
				points[batch.n_points++] = (struct mk_t_logged_point){
					argv[1], {.step = i, .value = (double)i, .time = i * MK_MS}};
			argv += 3;
		} else {
			points[batch.n_points++] = (struct mk_t_logged_point){
				argv[0],
				{.step = strtoll(argv[1], NULL, 10),
				 .value = strtod(argv[2], NULL),
				 .time = strtoll(argv[3], NULL, 10)}};
			argv += 4;
		}
	}
	r = ops->log(&call, t, run, &batch);
	free(points);
	return r;
}

static int tag_set(char **argv)
{
	return ops->tag_set(&call, t, argv[0], argv[1], argv[2]);
}

static int tag_remove(char **argv)
{
	return ops->tag_remove(&call, t, argv[0], argv[1]);
}

static int run_rename(char **argv)
{
	return ops->run_rename(&call, t, argv[0], argv[1]);
}

static int run_delete(char **argv)
{
	return ops->run_delete(&call, t, argv[0]);
}

static int run_restore(char **argv)
{
	return ops->run_restore(&call, t, argv[0]);
}

static int experiment_make(char **argv)
{
	_cleanup_free_ char *id = NULL;
	int r = ops->experiment_make(&call, t, argv[0], &id);

	if (r < 0)
		return r;
	(void)mk_buf_putc(&out, '{');
	put("id", id);
	(void)mk_buf_putc(&out, '}');
	flush(stdout);
	return 0;
}

static int experiment_rename(char **argv)
{
	return ops->experiment_rename(&call, t, argv[0], argv[1]);
}

static int experiment_tag(char **argv)
{
	return ops->experiment_tag(&call, t, argv[0], argv[1], argv[2]);
}

static int experiment_delete(char **argv)
{
	return ops->experiment_delete(&call, t, argv[0]);
}

static int experiment_restore(char **argv)
{
	return ops->experiment_restore(&call, t, argv[0]);
}

/* PLACE ID VERSION PATH FILE */
static int put_file(char **argv)
{
	struct mk_t_place place = place_of(argv);
	int fd = open(argv[4], O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return mk_fail(&call, errno, "%s", argv[4]);

	int r = ops->put(&call, t, &place, argv[3], fd, st.st_size);

	close(fd);
	return r;
}

static int alias_set(char **argv)
{
	return ops->alias_set(&call, t, argv[0], argv[1], argv[2]);
}

static int alias_remove(char **argv)
{
	return ops->alias_remove(&call, t, argv[0], argv[1]);
}

static int model_describe(char **argv)
{
	return ops->model_describe(&call, t, argv[0], argv[1]);
}

static int version_describe(char **argv)
{
	return ops->version_describe(&call, t, argv[0], argv[1], argv[2]);
}

static const struct {
	const char *name;
	int args;
	int (*run)(char **argv);
} verbs[] = {
	{"experiments", 0, show_experiments},
	{"runs", 1, show_runs},
	{"run", 1, show_one_run},
	{"history", 2, show_history},
	{"files", 4, show_files},
	{"read", 6, show_bytes},
	{"models", 0, show_models},
	{"versions", 1, show_versions},
	{"models-after", 1, show_models_after},
	{"tail", 6, show_tail},
	{"logged", 1, show_logged},
	{"log", 1, log_batch},
	{"tag-set", 3, tag_set},
	{"tag-remove", 2, tag_remove},
	{"run-rename", 2, run_rename},
	{"run-delete", 1, run_delete},
	{"run-restore", 1, run_restore},
	{"experiment-make", 1, experiment_make},
	{"experiment-rename", 2, experiment_rename},
	{"experiment-tag", 3, experiment_tag},
	{"experiment-delete", 1, experiment_delete},
	{"experiment-restore", 1, experiment_restore},
	{"put-file", 5, put_file},
	{"alias-set", 3, alias_set},
	{"alias-remove", 2, alias_remove},
	{"model-describe", 2, model_describe},
	{"version-describe", 3, version_describe},
};

static int run(int argc, char **argv)
{
	for (size_t i = 0; i < sizeof(verbs) / sizeof(*verbs); i++)
		if (strcmp(argv[2], verbs[i].name) == 0 && argc - 3 >= verbs[i].args)
			return verbs[i].run(argv + 3);
	return mk_fail(&call, EINVAL, "trackctl: %s", argv[2]);
}

/* By kind and url, as the index does. */
static int open_connection(void)
{
	_cleanup_(mk_connection_free) struct mk_connection it = {};
	int r = mk_connection_find(&call, platform, connection, &it);

	if (r == 0)
		r = mk_tracking_find(&call, it.kind, it.url, &ops);
	return r < 0 ? r : ops->open(&call, platform, connection, &t);
}

static void *cancel_later(void *arg)
{
	usleep((useconds_t)(intptr_t)arg * 1000);
	mk_call_cancel(&call);
	return NULL;
}

int main(int argc, char **argv)
{
	const char *deadline = getenv("TRACKCTL_DEADLINE"), *cancel = getenv("TRACKCTL_CANCEL");
	struct mantik_options options = {.no_daemon = true};
	struct mk_health health;
	pthread_t thread;
	int64_t began;

	if (argc < 3)
		return 2;
	connection = argv[1];
	mk_call_init(&call);

	int r = mantik_open(&call, &options, &platform);

	if (r == 0 && strcmp(argv[2], "put") == 0 && argc == 4)
		return mk_connection_put(&call, platform, connection, argv[3], strlen(argv[3]), 0) <
				       0
			       ? (fprintf(stderr, "%s\n", call.error.text), 1)
			       : 0;
	if (r == 0)
		r = open_connection();
	if (deadline)
		call.deadline = mk_now_mono() + strtoll(deadline, NULL, 10) * MK_MS;
	if (cancel && pthread_create(&thread, NULL, cancel_later,
				     (void *)(intptr_t)strtol(cancel, NULL, 10)) == 0)
		pthread_detach(thread);
	began = mk_now_mono();
	if (r == 0)
		r = run(argc, argv);
	mk_health_get(connection, &health);
	mk_buf_truncate(&out, 0);
	(void)mk_buf_putc(&out, '{');
	put("error", r < 0 ? strerrorname_np(-r) : NULL);
	put("text", r < 0 ? call.error.text : NULL);
	put("detail", r < 0 ? call.error.detail : NULL);
	put_bool("maybe", mk_t_maybe(r));
	put_int("n", r > 0 ? r : 0);
	put_int("pages", pages);
	put_int("requests", health.requests);
	put_int("ms", (mk_now_mono() - began) / MK_MS);
	put_int("kib", memory_peak_kib());
	(void)mk_buf_putc(&out, '}');
	flush(argc > 2 && strcmp(argv[2], "read") == 0 ? stderr : stdout);
	if (t)
		ops->close(t);
	mantik_close(platform);
	mk_buf_free(&out);
	mk_call_done(&call);
	return r < 0;
}
