/* SPDX-License-Identifier: Apache-2.0 */
/* Artifacts and models of ours as the tracking API makes them: hostile paths, uploads that are cut,
 * what the tree then shows, what gc takes. */
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>

#include <mantik/blob.h>
#include <mantik/model.h>

#include "base/file.h"
#include "domain/track/artifact.h"
#include "domain/track/logged_model.h"
#include "domain/track/registry.h"
#include "platform.h"
#include "runs.h"

static const char uid[] = "1a2b3c4d00000000000000000000000f";

static int64_t make_run(struct platform *p)
{
	return make_runs(p, (struct made_run){.project_id = make_project(p, "p"),
					      .experiment = "e",
					      .name = "a",
					      .status = MK_FINISHED,
					      .uid = uid});
}

/* path: below the artifacts of the run. */
static int find(struct platform *p, const char *path, struct mk_artifact *ret)
{
	_cleanup_free_ char *whole = mk_strf("1/%s/artifacts%s%s", uid, *path ? "/" : "", path);

	mk_error_clear(&p->call);
	return mk_artifact_find(&p->call, p->m, 0, whole, ret);
}

static int put(struct platform *p, const char *path, const char *text, bool keep)
{
	_cleanup_artifact_ struct mk_artifact artifact = {};
	struct mk_incoming *upload;
	int r = find(p, path, &artifact);

	if (r == 0)
		r = mk_incoming_begin(&p->call, p->m, &artifact, (int64_t)strlen(text), &upload);
	if (r < 0)
		return r;
	CHECK_INT(mk_incoming_write(&p->call, upload, text, strlen(text)), 0);
	return mk_incoming_end(&p->call, upload, keep);
}

static int emit(void *arg, const struct mk_dirent *entry)
{
	(void)mk_buf_printf(arg, "%s%s ", entry->name, entry->is_dir ? "/" : "");
	return 0;
}

/* What the tree shows, "" when nothing. */
static const char *shown(struct platform *p, int64_t run, const char *path, struct mk_buf *text)
{
	mk_buf_truncate(text, 0);
	CHECK_INT(mk_run_artifact_list(&p->call, p->m, run, path, emit, text), 0);
	return mk_buf_text(text);
}

static int64_t size_of(struct platform *p, int64_t run, const char *path)
{
	struct mk_dirent entry;
	int r = mk_run_artifact_stat(&p->call, p->m, run, path, &entry);

	return r < 0 ? r : entry.size;
}

static size_t left_over(struct platform *p)
{
	_cleanup_free_ char *path = mk_strf("%s/incoming", p->data);
	_cleanup_free_ char *command = mk_strf("ls -A %s | wc -l", path);
	FILE *f = popen(command, "r");
	int n = -1;

	CHECK(f && fscanf(f, "%d", &n) == 1);
	if (f)
		pclose(f);
	return (size_t)n;
}

static void a_file_is_there_when_it_is_whole(void)
{
	PLATFORM(p);
	_cleanup_buf_ struct mk_buf text = MK_BUF(4096);
	int64_t run = make_run(&p);

	CHECK_INT(put(&p, "d/e/f.txt", "hello", true), 0);
	CHECK_TEXT(shown(&p, run, "d/e", &text), "f.txt ");
	CHECK_INT(size_of(&p, run, "d/e/f.txt"), 5);
	CHECK_INT(put(&p, "d/e/f.txt", "other text", false), 0); /* cut */
	CHECK_INT(size_of(&p, run, "d/e/f.txt"), 5);
	CHECK_INT(put(&p, "d/g.txt", "cut", false), 0);
	CHECK_TEXT(shown(&p, run, "d", &text), "e/ ");
	CHECK_INT(put(&p, "d/e/f.txt", "other text", true), 0); /* replaced */
	CHECK_INT(size_of(&p, run, "d/e/f.txt"), 10);
	CHECK_INT(left_over(&p), 0);
	/* to the byte */
	static const char *const names[] = {"100%25.txt", "a b", " ", "\xc3\xbc\xe6\x97\xa5", "%2e%2e", "a\\b",
					    "#x?y&z=+", "-rf", ".hidden", "..."};
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		CHECK_INT(put(&p, names[i], "1", true), 0);
		CHECK_INT(size_of(&p, run, names[i]), 1);
	}
}

static void paths_stay_below(void)
{
	PLATFORM(p);
	_cleanup_artifact_ struct mk_artifact artifact = {};
	int64_t run = make_run(&p);
	char longest[600];

	memset(longest, 'x', 256);
	longest[256] = 0;

	const char *const bad[] = {"..",    "../x",   "a/../b", "./x",	    "a//b",  "/x",
				   longest, "a/./b", "\xff",	"a/\xc3/b", "../../x"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		CHECK_INT(put(&p, bad[i], "x", true), -EINVAL);
	CHECK_INT(put(&p, "", "x", true), -EINVAL);
	longest[255] = 0;
	CHECK_INT(put(&p, longest, "x", true), 0);

	static const char *const nothing[] = {
		"1",
		"1/1a2b3c4d00000000000000000000000f",
		"1/1a2b3c4d00000000000000000000000f/logs/x",
		"1/00000000000000000000000000000000/artifacts/x",
		"1a2b3c4d00000000000000000000000f/artifacts/x",
		"1/models/m-0/artifacts/x",
		"1/models",
		"artifacts",
		"",
	};
	for (size_t i = 0; i < sizeof(nothing) / sizeof(*nothing); i++)
		CHECK_INT(mk_artifact_find(&p.call, p.m, 0, nothing[i], &artifact), -ENOENT);
	CHECK_INT(mk_artifact_find(&p.call, p.m, 0, "team/a/1a2b3c4d00000000000000000000000f/artifacts/x",
				   &artifact),
		  0);
	CHECK_TEXT(artifact.path, "x");
	mk_artifact_free(&artifact);
	/* another project's scope */
	CHECK_INT(mk_artifact_of_run(&p.call, p.m, make_project(&p, "q"), uid, "x", &artifact),
		  -ENOENT);
	/* files are no directories, directories no files */
	CHECK_INT(put(&p, "d/f", "x", true), 0);
	CHECK_INT(put(&p, "d", "x", true), -EISDIR);
	CHECK_INT(put(&p, "d/f/g", "x", true), -ENOTDIR);
	CHECK_INT(size_of(&p, run, "d/f"), 1);
	CHECK_INT(left_over(&p), 0);
}

/* A job's links are read through, as far as they stay below, and never written through. */
static void links_lead_nowhere(void)
{
	PLATFORM(p);
	_cleanup_artifact_ struct mk_artifact artifact = {};
	_cleanup_(mk_blob_closep) struct mk_blob *blob = NULL;
	_cleanup_free_ char *top = mk_strf("%s/runs/%s/artifacts", p.data, uid);
	_cleanup_free_ char *out = mk_strf("%s/out", top), *in = mk_strf("%s/in", top);
	struct mk_dirent entry;
	struct stat st;

	make_run(&p);
	CHECK_INT(put(&p, "d/f", "x", true), 0);
	CHECK_INT(symlink(p.dir, out), 0);
	CHECK_INT(symlink("d", in), 0);
	CHECK_INT(put(&p, "out/x", "x", true), -ENOTDIR);
	CHECK_INT(put(&p, "in/x", "x", true), -ENOTDIR);
	CHECK_INT(put(&p, "in", "x", true), -EISDIR);
	CHECK_INT(find(&p, "in/f", &artifact), 0);
	CHECK_INT(mk_kept_open(&p.call, &artifact.kept, artifact.path, &blob), 0);
	CHECK_INT(mk_kept_stat(&p.call, &artifact.kept, "out/data", &entry), -ENOENT);
	CHECK_INT(mk_kept_stat(&p.call, &artifact.kept, "in", &entry), 0);
	CHECK(entry.is_dir);
	mk_artifact_free(&artifact);
	/* what is removed is the link */
	CHECK_INT(find(&p, "out", &artifact), 0);
	CHECK_INT(mk_artifact_remove(&p.call, p.m, &artifact), 0);
	CHECK(stat(p.data, &st) == 0);
	CHECK(lstat(out, &st) < 0);
}

static void removing(void)
{
	PLATFORM(p);
	_cleanup_buf_ struct mk_buf text = MK_BUF(4096);
	int64_t run = make_run(&p);
	static const char *const order[] = {"nothing", "d/e", "nothing/at/all", ""};

	CHECK_INT(put(&p, "d/e/f", "x", true), 0);
	CHECK_INT(put(&p, "d/g", "x", true), 0);
	for (size_t i = 0; i < sizeof(order) / sizeof(*order); i++) {
		_cleanup_artifact_ struct mk_artifact artifact = {};

		(void)shown(&p, run, "d", &text);
		CHECK(!strstr(mk_buf_text(&text), "e/ ") == (i >= 2));
		CHECK(strstr(mk_buf_text(&text), "g "));
		CHECK_INT(find(&p, order[i], &artifact), 0);
		CHECK_INT(mk_artifact_remove(&p.call, p.m, &artifact), 0);
	}
	CHECK_TEXT(shown(&p, run, "", &text), "");
	CHECK_INT(left_over(&p), 0);
	CHECK_INT(put(&p, "again", "x", true), 0);
}

/* What a kill leaves in uploads/ is gone with the next one, but for what somebody works on. */
static void leftovers_are_swept(void)
{
	PLATFORM(p);
	_cleanup_free_ char *dir = mk_strf("%s/incoming", p.data);
	_cleanup_free_ char *file = mk_strf("%s/incoming/0123", p.data);
	_cleanup_free_ char *tree = mk_strf("%s/incoming/4567", p.data);

	make_run(&p);
	CHECK_INT(mkdir(dir, 0700), 0);
	CHECK_INT(mkdir(tree, 0700), 0);
	close(open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	CHECK_INT(left_over(&p), 2);
	CHECK_INT(put(&p, "x", "x", true), 0);
	CHECK_INT(left_over(&p), 0);
}

static int emit_model(void *arg, const struct mk_model *model)
{
	(void)mk_buf_printf(arg, "%s ", model->name);
	return 0;
}

static void a_registered_model_is_in_the_tree(void)
{
	PLATFORM(p);
	_cleanup_buf_ struct mk_buf text = MK_BUF(1 << 20);
	_cleanup_(mk_version_free) struct mk_version version = {};
	_cleanup_free_ char *source = mk_strf("mlflow-artifacts:/1/%s/artifacts/model", uid);
	int64_t run = make_run(&p), project = 1, model = 0, first = 0, second = 0, again = 0;
	struct mk_version_new new = {
		.source = source,
		.storage = source,
		.run_id = uid,
		.run_link = "",
		.description = "it rains",
		.logged = "",
	};

	(void)run;
	CHECK_INT(put(&p, "model/MLmodel", "flavors:\n", true), 0);
	CHECK_INT(mk_models_any(&p.call, p.m, project), 0);
	CHECK_INT(mk_registered_make(&p.call, p.m, project, "rain", "", NULL, &model), 0);
	CHECK_INT(mk_registered_make(&p.call, p.m, project, "rain", "", NULL, &again), -EEXIST);
	CHECK_INT(mk_models_any(&p.call, p.m, project), 1);
	new.model_id = model;
	CHECK_INT(mk_registered_version_make(&p.call, p.m, &new, &first), 0);
	CHECK_INT(mk_registered_version_make(&p.call, p.m, &new, &second), 0);
	CHECK_INT(mk_registered_alias(&p.call, p.m, model, "best", first), 0);
	CHECK_INT(mk_registered_version_tag(&p.call, p.m, first, "a b", "c"), 0);
	CHECK_INT(mk_model_list(&p.call, p.m, project, emit_model, &text), 0);
	CHECK_TEXT(mk_buf_text(&text), "rain ");
	CHECK_INT(mk_version_find(&p.call, p.m, model, "1", &version), 0);
	CHECK(version.aliases.n == 1 && strcmp(version.aliases.v[0], "best") == 0);
	mk_buf_truncate(&text, 0);
	CHECK_INT(mk_version_yaml(&p.call, p.m, first, &text), 0);
	CHECK(strstr(mk_buf_text(&text), "run: a.1a2b3c4d\n"));
	CHECK(strstr(mk_buf_text(&text), "aliases: [best]\n"));
	CHECK(strstr(mk_buf_text(&text), "tags:\n  a b: c\n"));
	CHECK(strstr(mk_buf_text(&text), "description: it rains\n"));

	struct mk_files files = {.of = MK_FILES_VERSION, .id = first};

	mk_buf_truncate(&text, 0);
	CHECK_INT(mk_files_list(&p.call, p.m, &files, "", emit, &text), 0);
	CHECK_TEXT(mk_buf_text(&text), "MLmodel ");
	/* numbers are not given again */
	CHECK_INT(mk_registered_version_remove(&p.call, p.m, second), 0);
	CHECK_INT(mk_registered_version_make(&p.call, p.m, &new, &again), 0);
	CHECK_INT(mk_registered_version_find(&p.call, p.m, model, "rain", 3, &second), 0);
	CHECK_INT(mk_registered_version_find(&p.call, p.m, model, "rain", 2, &second), -ENOENT);
	CHECK_INT(mk_registered_remove(&p.call, p.m, model), 0);
	CHECK_INT(mk_models_any(&p.call, p.m, project), 0);
	CHECK_INT(mk_registered_make(&p.call, p.m, project, "rain", "", NULL, &model), 0);
}

/* In the scope of all, a model of another project is called <project>.<model>. */
static void names_in_a_scope(void)
{
	PLATFORM(p);
	_cleanup_registered_ struct mk_registered got = {};
	int64_t one = make_project(&p, "one"), a = 0, b = 0, id = 0;

	CHECK_INT(mk_registered_make(&p.call, p.m, one, "m", "", NULL, &a), 0);
	CHECK_INT(mk_registered_make(&p.call, p.m, 0, "m", "", NULL, &b), 0);
	CHECK_INT(mk_registered_find(&p.call, p.m, 0, "m", &id), 0);
	CHECK_INT(id, b);
	CHECK_INT(mk_registered_find(&p.call, p.m, 0, "one.m", &id), 0);
	CHECK_INT(id, a);
	CHECK_INT(mk_registered_find(&p.call, p.m, one, "m", &id), 0);
	CHECK_INT(id, a);
	CHECK_INT(mk_registered_find(&p.call, p.m, one, "one.m", &id), -ENOENT);
	CHECK_INT(mk_registered_get(&p.call, p.m, 0, a, &got), 0);
	CHECK_TEXT(got.name, "one.m");
}

static void a_logged_model_is_below_its_run(void)
{
	PLATFORM(p);
	_cleanup_buf_ struct mk_buf text = MK_BUF(4096);
	_cleanup_artifact_ struct mk_artifact artifact = {};
	_cleanup_pairs_ struct mk_pairs names = {}, params = {};
	_cleanup_logged_model_ struct mk_logged_model model = {};
	_cleanup_free_ char *id = NULL;
	int64_t run = make_run(&p);
	struct mk_incoming *upload;
	struct mk_logged_new new = {
		.experiment_id = 1, .name = "net", .model_type = "", .source_run = uid};

	CHECK_INT(mk_run_models_any(&p.call, p.m, run), 0);
	CHECK_INT(mk_logged_model_make(&p.call, p.m, &new, &id), 0);
	NEED(id);
	CHECK_INT(mk_artifact_of_model(&p.call, p.m, 0, id, "MLmodel", &artifact), 0);
	CHECK_INT(mk_incoming_begin(&p.call, p.m, &artifact, -1, &upload), 0);
	CHECK_INT(mk_incoming_write(&p.call, upload, "abc", 3), 0);
	CHECK_INT(mk_incoming_end(&p.call, upload, true), 0);
	CHECK_INT(mk_run_models_any(&p.call, p.m, run), 1);
	CHECK_INT(mk_run_models(&p.call, p.m, run, &names), 0);
	CHECK_TEXT(mk_pairs_get(&names, "net"), id);

	struct mk_files files = {.of = MK_FILES_RUN_MODEL, .id = run, .name = "net"};

	CHECK_INT(mk_files_list(&p.call, p.m, &files, "", emit, &text), 0);
	CHECK_TEXT(mk_buf_text(&text), "MLmodel ");
	CHECK_INT(mk_pairs_set(&params, "a", "1"), 0);
	CHECK_INT(mk_logged_model_params(&p.call, p.m, 0, id, &params), 0);
	CHECK_INT(mk_logged_model_params(&p.call, p.m, 0, id, &params), 0);
	CHECK_INT(mk_pairs_set(&params, "a", "2"), 0);
	CHECK_INT(mk_logged_model_params(&p.call, p.m, 0, id, &params), -EINVAL);
	CHECK_INT(mk_logged_model_finish(&p.call, p.m, 0, id, MK_LOGGED_READY), 0);
	CHECK_INT(mk_logged_model_get(&p.call, p.m, 0, id, false, &model), 0);
	CHECK_INT(model.status, MK_LOGGED_READY);
	CHECK_INT(mk_logged_model_delete(&p.call, p.m, 0, id), 0);
	CHECK_INT(mk_run_models_any(&p.call, p.m, run), 0);
	mk_logged_model_free(&model);
	CHECK_INT(mk_logged_model_get(&p.call, p.m, 0, id, false, &model), -ENOENT);
	CHECK_INT(mk_run_gc(&p.call, p.m, 0, 0), 0);

	_cleanup_free_ char *gone = mk_strf("%s/models/%s", p.data, id);
	struct stat st;

	CHECK(stat(gone, &st) < 0);
	CHECK_INT(mk_logged_model_get(&p.call, p.m, 0, id, true, &model), -ENOENT);
}

static int add_bad(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	return mk_domain_run(call, conn,
			     "INSERT INTO run_models (run_id, model_id, name)"
			     " VALUES (?1, '../runs', '')",
			     *(int64_t *)arg, 0);
}

/* A client may say that its run wrote a model of any id. */
static void an_id_that_is_none(void)
{
	PLATFORM(p);
	_cleanup_buf_ struct mk_buf text = MK_BUF(4096);
	int64_t run = make_run(&p);
	struct mk_files files = {.of = MK_FILES_RUN_MODEL, .id = run, .name = "../runs"};

	CHECK_INT(mk_db_write(&p.call, p.m->db, MK_KILLSAFE, add_bad, &run), 0);
	CHECK_INT(mk_run_models_any(&p.call, p.m, run), 0);
	CHECK_INT(mk_files_list(&p.call, p.m, &files, "", emit, &text), -ENOENT);
}

static void gc_keeps_what_a_version_needs(void)
{
	PLATFORM(p);
	_cleanup_free_ char *source = mk_strf("mlflow-artifacts:/1/%s/artifacts/model", uid);
	int64_t run = make_run(&p), model = 0, version = 0;
	struct mk_version_new new = {.source = source,
				     .storage = source,
				     .run_id = uid,
				     .run_link = "",
				     .description = "",
				     .logged = ""};

	CHECK_INT(put(&p, "model/MLmodel", "x", true), 0);
	CHECK_INT(mk_registered_make(&p.call, p.m, 1, "rain", "", NULL, &model), 0);
	new.model_id = model;
	CHECK_INT(mk_registered_version_make(&p.call, p.m, &new, &version), 0);
	CHECK_INT(mk_run_delete(&p.call, p.m, run), 0);
	CHECK_INT(put(&p, "model/more", "x", true), -EROFS);
	CHECK_INT(mk_run_gc(&p.call, p.m, 0, 0), 0);
	CHECK_INT(mk_run_gc(&p.call, p.m, run, 0), -EBUSY);
	CHECK(strstr(p.call.error.text, "registered model"));
	CHECK_INT(size_of(&p, run, "model/MLmodel"), 1);
	CHECK_INT(mk_registered_version_remove(&p.call, p.m, version), 0);
	CHECK_INT(mk_run_gc(&p.call, p.m, 0, 0), 1);
}

enum { THREADS = 8, FILES = 20 };

static void *upload_some(void *arg)
{
	struct platform *p = arg;
	_cleanup_call_ struct mk_call call;
	static _Atomic int serial;

	mk_call_init(&call);
	for (int i = 0; i < FILES; i++) {
		_cleanup_artifact_ struct mk_artifact artifact = {};
		_cleanup_free_ char *path =
			mk_strf("1/%s/artifacts/d%d/f%d", uid, i % 3, serial++);
		struct mk_incoming *upload;
		int r = mk_artifact_find(&call, p->m, 0, path, &artifact);

		if (r == 0)
			r = mk_incoming_begin(&call, p->m, &artifact, 1, &upload);
		if (r == 0) {
			r = mk_incoming_write(&call, upload, "x", 1);
			r = mk_incoming_end(&call, upload, r == 0);
		}
		if (r < 0)
			return "failed";
	}
	return NULL;
}

static void many_at_once(void)
{
	PLATFORM(p);
	_cleanup_buf_ struct mk_buf text = MK_BUF(1 << 16);
	pthread_t threads[THREADS];
	int64_t run = make_run(&p);
	size_t n = 0;

	for (int i = 0; i < THREADS; i++)
		CHECK_INT(pthread_create(&threads[i], NULL, upload_some, &p), 0);
	for (int i = 0; i < THREADS; i++) {
		void *bad;

		pthread_join(threads[i], &bad);
		CHECK(!bad);
	}
	for (int i = 0; i < 3; i++) {
		_cleanup_free_ char *dir = mk_strf("d%d", i);

		for (const char *s = shown(&p, run, dir, &text); *s; s++)
			n += *s == ' ';
	}
	CHECK_INT(n, THREADS * FILES);
	CHECK_INT(left_over(&p), 0);
}

int main(void)
{
	return RUN(TEST(a_file_is_there_when_it_is_whole), TEST(paths_stay_below),
		   TEST(links_lead_nowhere), TEST(removing), TEST(leftovers_are_swept),
		   TEST(a_registered_model_is_in_the_tree), TEST(names_in_a_scope),
		   TEST(a_logged_model_is_below_its_run), TEST(an_id_that_is_none),
		   TEST(gc_keeps_what_a_version_needs), TEST(many_at_once));
}
