/* SPDX-License-Identifier: Apache-2.0 */
/*
 * include/mantik/code.h from a command line, for tests with real git servers where no mount is
 * needed: codectl VERB REPOSITORY ARGS… on the platform of the environment, project `p`.
 *
 * Prints what it was told; an error as `ECODE text` and `detail: …` on stderr, exit 1.
 * CODECTL_DEADLINE and CODECTL_CANCEL (ms) bound or cancel the call; the last line on stderr is
 * `ms=` how long it took.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <mantik/code.h>
#include <mantik/project.h>

#include "domain/domain.h"
#include "memory.h"

static struct mk_call call;
static struct mantik *m;
static int64_t project, repository;

static int parse(const char *text, struct mk_oid *ret)
{
	return mk_oid_parse(text, ret) < 0 ? mk_fail(&call, EINVAL, "not an id: %s", text) : 0;
}

static int set_uri(struct mk_call *c, struct mk_conn *conn, void *arg)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	char **argv = arg;
	int r = mk_prepare(c, conn,
			   "UPDATE repositories SET uri = ?2, default_branch = ?3, touched = 1 "
			   "WHERE id = ?1",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, repository);
	mk_bind_text(stmt, 2, argv[0]);
	mk_bind_text(stmt, 3, argv[0] ? argv[1] : NULL);
	return mk_exec(c, stmt);
}

/* add NAME [URI [DEFAULT_BRANCH]] */
static int add(char **argv)
{
	return *argv ? mk_db_write(&call, m->db, MK_DURABLE, set_uri, argv) : 0;
}

static int remove_it(char **argv)
{
	return mk_repository_remove(&call, m, repository);
}

static int rename_it(char **argv)
{
	return mk_repository_rename(&call, m, repository, argv[0]);
}

static int show(char **argv)
{
	_cleanup_(mk_repository_free) struct mk_repository it = {};
	int r = mk_repository_get(&call, m, repository, &it);

	if (r == 0)
		printf("fetched=%d touched=%d error=%s\n", it.fetched > 0, it.touched,
		       it.error ? it.error : "");
	return r;
}

static int refresh(char **argv)
{
	return mk_code_refresh(&call, m, repository);
}

static int put_ref(void *arg, const char *name, const struct mk_oid *commit, int64_t time)
{
	char hash[41];

	mk_oid_text(commit, hash);
	printf("%s %s\n", hash, name);
	return 0;
}

static int branches(char **argv)
{
	return mk_code_refs(&call, m, repository, MK_BRANCHES, put_ref, NULL);
}

static int tags(char **argv)
{
	return mk_code_refs(&call, m, repository, MK_TAGS, put_ref, NULL);
}

static int commits(char **argv)
{
	return mk_code_commits(&call, m, repository, put_ref, NULL);
}

/* Looks at a branch until it is COMMIT, as somebody with `ls` in a loop would. */
static int watch(char **argv)
{
	call.may_wait = NULL; /* as a thread of the mount that waits for nobody */
	for (;;) {
		struct mk_oid oid;
		char hash[41] = "";
		int r = mk_code_ref(&call, m, repository, MK_BRANCHES, argv[0], &oid);

		if (r < 0 && r != -ENOENT)
			return r;
		if (r == 0)
			mk_oid_text(&oid, hash);
		if (strcmp(hash, argv[1]) == 0)
			return 0;
		r = mk_call_check(&call, "the branch to move");
		if (r < 0)
			return r;
		usleep(20000);
	}
}

/* resolve BRANCH|- COMMIT|- */
static int resolve(char **argv)
{
	_cleanup_free_ char *branch = NULL;
	struct mk_oid oid;
	char hash[41];
	int r = mk_code_resolve(&call, m, repository, strcmp(argv[0], "-") ? argv[0] : NULL,
				strcmp(argv[1], "-") ? argv[1] : NULL, &oid, &branch);

	if (r < 0)
		return r;
	mk_oid_text(&oid, hash);
	printf("%s %s\n", hash, branch ? branch : "-");
	return 0;
}

static int pin(char **argv)
{
	struct mk_oid oid;
	int r = parse(argv[0], &oid);

	return r < 0 ? r
		     : mk_code_pin(&call, m, repository, &oid, "00000000000000000000000000000000");
}

static int put_entry(void *arg, const struct mk_tree_entry *entry)
{
	static const char types[] = "dfxls";

	printf("%c %lld %s%c", types[entry->type], (long long)entry->size, entry->name,
	       *(char *)arg);
	return 0;
}

/* The entry at `path` below a commit's top. */
static int walk(const char *commit, char *path, struct mk_tree_entry *ret)
{
	struct mk_oid oid;
	char *rest = NULL;
	int r = parse(commit, &oid);

	*ret = (struct mk_tree_entry){.type = MK_TREE_DIR};
	if (r == 0)
		r = mk_code_commit(&call, m, repository, &oid, &ret->oid, NULL);
	while (r == 0 && path && *path) {
		rest = strchr(path, '/');
		if (rest)
			*rest++ = 0;
		if (ret->type != MK_TREE_DIR)
			return mk_fail(&call, ENOTDIR, "%s", path);

		struct mk_oid tree = ret->oid;

		r = mk_code_tree_find(&call, m, repository, &tree, path, ret);
		path = rest;
	}
	return r;
}

/* ls COMMIT [PATH]: type size name, each ended by NUL with -0 */
static int ls(char **argv)
{
	struct mk_tree_entry at;
	char end = argv[1] && argv[2] ? 0 : '\n';
	int r = walk(argv[0], argv[1], &at);

	return r < 0 ? r : mk_code_tree(&call, m, repository, &at.oid, put_entry, &end);
}

/* cat COMMIT PATH, through mk_blob in pieces of odd size */
static int cat(char **argv)
{
	struct mk_tree_entry at;
	struct mk_blob_stat st;
	_cleanup_(mk_blob_closep) struct mk_blob *blob = NULL;
	static char data[1000003];
	int64_t offset = 0;
	ssize_t n;
	int r = walk(argv[0], argv[1], &at);

	if (r == 0)
		r = mk_code_blob_open(&call, m, repository, &at.oid, &blob);
	if (r == 0)
		r = mk_blob_stat(&call, blob, &st);
	if (r < 0)
		return r;
	while ((n = mk_blob_read(&call, blob, data, sizeof(data), offset)) > 0) {
		fwrite(data, 1, (size_t)n, stdout);
		offset += n;
	}
	if (n == 0 && (offset != st.size || offset != at.size))
		return mk_fail(&call, EIO, "size %lld, stat %lld, read %lld", (long long)at.size,
			       (long long)st.size, (long long)offset);
	return (int)n;
}

static int file(char **argv)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF(MK_LIMIT_TEXT);
	struct mk_oid oid;
	int r = parse(argv[0], &oid);

	if (r == 0)
		r = mk_code_file(&call, m, repository, &oid, argv[1], &text);
	if (r == 0)
		fwrite(mk_buf_text(&text), 1, text.len, stdout);
	return r;
}

static int show_log(char **argv)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF(MK_LIMIT_TEXT);
	int r = mk_code_log(&call, m, repository, &text);

	fputs(mk_buf_text(&text), stdout);
	return r;
}

static int mlprojects(char **argv)
{
	_cleanup_list_ struct mk_list list = {};
	struct mk_oid oid;
	int r = parse(argv[0], &oid);

	if (r == 0)
		r = mk_code_mlprojects(&call, m, repository, &oid, &list);
	for (size_t i = 0; r == 0 && i < list.n; i++)
		puts(list.v[i]);
	return r;
}

/* export COMMIT DIR [SUBDIR [EXCLUDE…]]: prints what was left out */
static int export(char **argv)
{
	_cleanup_list_ struct mk_list exclude = {}, left_out = {};
	struct mk_oid oid;
	int r = parse(argv[0], &oid);
	_cleanup_close_ int dir = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const char *subdir = argv[2] ? argv[2] : "";

	if (r < 0)
		return r;
	if (dir < 0)
		return mk_fail(&call, errno, "%s", argv[1]);
	for (char **p = argv[2] ? argv + 3 : argv + 2; *p; p++)
		if (mk_list_add(&exclude, *p) < 0)
			abort();
	r = mk_code_export(&call, m, repository, &oid, subdir, dir, &exclude, &left_out);
	for (size_t i = 0; r == 0 && i < left_out.n; i++)
		puts(left_out.v[i]);
	return r;
}

/* snapshot PATH: `<commit> <head> <dirty>`, then the diff; the hidden repository as REPOSITORY of
 * later calls is `#<id>` */
static int snapshot(char **argv)
{
	_cleanup_buf_ struct mk_buf diff = MK_BUF(MK_LIMIT_TEXT);
	_cleanup_free_ char *head = NULL;
	struct mk_oid oid;
	char hash[41];
	int64_t id;
	bool dirty;
	int r = mk_code_snapshot(&call, m, project, argv[0], &id, &oid, &head, &diff, &dirty);

	if (r < 0)
		return r;
	mk_oid_text(&oid, hash);
	printf("#%lld %s %s %s\n%s", (long long)id, hash, head ? head : "-",
	       dirty ? "dirty" : "clean", mk_buf_text(&diff));
	return 0;
}

static const struct verb {
	const char *name;
	int args; /* least */
	int (*run)(char **argv);
} verbs[] = {
	{"add", 0, add},
	{"remove", 0, remove_it},
	{"rename", 1, rename_it},
	{"show", 0, show},
	{"refresh", 0, refresh},
	{"branches", 0, branches},
	{"tags", 0, tags},
	{"commits", 0, commits},
	{"watch", 2, watch},
	{"resolve", 2, resolve},
	{"pin", 1, pin},
	{"ls", 1, ls},
	{"cat", 2, cat},
	{"file", 2, file},
	{"log", 0, show_log},
	{"export", 2, export},
	{"mlprojects", 1, mlprojects},
	{"snapshot", 1, snapshot},
};

static int find(const char *name, bool make)
{
	_cleanup_(mk_project_free) struct mk_project p = {};
	_cleanup_(mk_repository_free) struct mk_repository it = {};
	int r = mk_project_find(&call, m, "p", &p);

	project = p.id;
	if (r == -ENOENT)
		r = mk_project_make(&call, m, "p", &project);
	if (r < 0)
		return r;
	if (name[0] == '#') {
		repository = strtoll(name + 1, NULL, 10);
		return 0;
	}
	if (strcmp(name, "-") == 0)
		return 0;
	r = mk_repository_find(&call, m, project, name, &it);
	repository = it.id;
	return r == -ENOENT && make ? mk_repository_make(&call, m, project, name, &repository) : r;
}

static void *cancel_later(void *arg)
{
	usleep((useconds_t)strtol(arg, NULL, 10) * 1000);
	mk_call_cancel(&call);
	return NULL;
}

static int run(const struct verb *verb, char **argv)
{
	const char *deadline = getenv("CODECTL_DEADLINE"), *cancel = getenv("CODECTL_CANCEL");
	pthread_t thread;
	int r = mantik_open(&call, &(struct mantik_options){.no_daemon = true}, &m);

	if (r == 0)
		r = find(argv[2], strcmp(verb->name, "add") == 0);
	if (r < 0)
		return r;
	if (deadline)
		call.deadline = mk_now_mono() + strtol(deadline, NULL, 10) * MK_MS;
	if (cancel && pthread_create(&thread, NULL, cancel_later, (char *)cancel) == 0)
		pthread_detach(thread);

	int64_t begin = mk_now_mono();

	r = verb->run(argv + 3);
	fflush(stdout);
	fprintf(stderr, "ms=%lld kib=%ld\n", (long long)((mk_now_mono() - begin) / MK_MS),
		memory_peak_kib());
	return r;
}

int main(int argc, char **argv)
{
	int r = -EINVAL;

	mk_call_init(&call);
	for (size_t i = 0; argc > 2 && i < sizeof(verbs) / sizeof(*verbs); i++)
		if (strcmp(verbs[i].name, argv[1]) == 0 && argc - 3 >= verbs[i].args)
			r = run(&verbs[i], argv);
	mantik_close(m);
	if (r < 0)
		fprintf(stderr, "%s %s\n", strerrorname_np(-r),
			call.error.text ? call.error.text : "(no text)");
	if (r < 0 && call.error.detail)
		fprintf(stderr, "detail: %s\n", call.error.detail);
	mk_call_done(&call);
	return r < 0;
}
