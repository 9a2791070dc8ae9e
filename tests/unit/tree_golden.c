/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole tree of a prepared platform (a project, a repository, an experiment, an ended and a
 * live run with keys that nest, models) against tests/tree/golden.txt, and that of a tracking store
 * (tests/lib/store.h) against tests/tree/store.txt: every name with its type, rights, class of
 * freshness and where a link leads; of the store's files the size, too. A change of the visible tree
 * shows up there.
 *
 * MANTIK_TEST_GOLDEN=DIR writes what they are now into DIR, to be looked at and copied.
 */
#include <spawn.h>
#include <sys/wait.h>

#include "base/file.h"

#include "domain/track/artifact.h"
#include "domain/track/logged_model.h"
#include "domain/track/registry.h"
#include "store.h"

#include "fsclient.h"

extern char **environ;

static const char *const class_names[] = {"fixed", "ours", "ended", "slow", "live"};

static bool sh(const char *script, const char *dir)
{
	const char *argv[] = {"sh", "-c", script, "sh", dir, NULL};
	pid_t pid;
	int status;

	return posix_spawnp(&pid, "sh", NULL, NULL, (char **)argv, environ) == 0 &&
	       waitpid(pid, &status, 0) == pid && status == 0;
}

/* The same commit every time: who and when are given. */
static const char make_repository[] =
	"set -e; export HOME=$1 GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b"
	" GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b GIT_AUTHOR_DATE='1700000000 +0000'"
	" GIT_COMMITTER_DATE='1700000000 +0000'; git init -q -b main \"$1/git\"; cd \"$1/git\";"
	" printf 'entry_points:\\n  main:\\n    command: echo hi\\n  train:\\n    command: echo ho\\n'"
	" > MLproject; mkdir scripts; echo x > scripts/run.sh; chmod +x scripts/run.sh;"
	" ln -s scripts/run.sh link; echo 1 > 'a%41'; echo b > .gitignore; git add -A; git commit -q -m one;"
	" git branch feature/x; git tag v1";

/* What a job of uncommitted code left behind: files and links, in and out of the artifacts. */
static const char make_record[] =
	"set -e; cd \"$1/data/runs\"; mkdir -p 0000000a000000000000000000000000/artifacts/ckpt/best;"
	" cd 0000000a000000000000000000000000; echo +1 > code.diff; cd artifacts; echo w > ckpt/best/w;"
	" ln -s best ckpt/latest; ln -s ../../../spec.yaml out; ln -s /etc/hostname whole";

struct golden {
	struct mk_buf text;
	bool sizes; /* nothing in it hangs on the machine */
};

static void line(struct client *c, const char *path, struct fs_node *node,
		 const struct fs_attr *attr, struct golden *golden)
{
	struct mk_buf *out = &golden->text;
	struct fs_at at;
	mode_t mode = attr->st.st_mode;

	fs_at_node(c->call, node, c->tree, &at);
	/* What people change shows in another mount within a second. */
	if (at.row->class != FS_FIXED && at.row->class != FS_SLOW)
		CHECK(attr->attr_timeout <= 1);
	(void)mk_buf_printf(out, "%c%03o %-5s %s", S_ISDIR(mode) ? 'd' : S_ISLNK(mode) ? 'l' : '-',
			    (unsigned)mode & 0777, class_names[at.row->class], path);
	if (S_ISREG(mode) && attr->attr_timeout == 0 && at.row->class != FS_LIVE)
		(void)mk_buf_puts(out, " (live now)");
	if (S_ISREG(mode) && golden->sizes && at.row->class != FS_LIVE)
		(void)mk_buf_printf(out, " %lld", (long long)attr->st.st_size);
	if (S_ISLNK(mode)) {
		_cleanup_free_ char *target = client_readlink(c, path);

		(void)mk_buf_printf(out, " -> %s",
				    !target ? "?" : target[0] == '/' ? "(a real path)" : target);
		if (target)
			CHECK_INT(strlen(target), attr->st.st_size);
	}
	(void)mk_buf_putc(out, '\n');
}

/* Every file is read: what stat said is how long it is. */
static void check_size(struct client *c, const char *path, const struct fs_attr *attr)
{
	static char buf[1 << 16];
	struct fs_handle *handle;
	int64_t all = 0;
	ssize_t n = client_open(c, path, O_RDONLY, &handle);

	if (n == 0) {
		while ((n = client_pread(c, handle, buf, sizeof(buf), all)) > 0)
			all += n;
		client_close(c, handle);
	}
	if (n < 0 || all != attr->st.st_size)
		printf("# %s: %s\n", path, n < 0 ? c->why : "is not as long as stat said");
	CHECK_INT(n, 0);
	CHECK_INT(all, attr->st.st_size);
}

static void walk(struct client *c, const char *path, struct golden *golden)
{
	struct client_ls ls, plain;
	int r = client_list(c, path, true, 5, &ls);

	if (r < 0)
		printf("# ls %s: %s\n", path, c->why);
	CHECK_INT(r, 0);

	/* With and without attributes, in big and small buffers, the listing is the same. */
	CHECK_INT(client_list(c, path, false, 1000, &plain), 0);
	CHECK_INT(plain.names.n, ls.names.n);
	mk_list_free(&plain.names);
	mk_list_sort(&ls.names);
	for (size_t i = 0; i < ls.names.n; i++) {
		_cleanup_free_ char *child = NULL;
		struct fs_node *node;
		struct fs_attr attr;

		if (asprintf(&child, "%s%s%s", path, *path ? "/" : "", ls.names.v[i]) < 0)
			abort();
		r = client_walk(c, child, &node, &attr);
		if (r < 0)
			printf("# stat %s: %s\n", child, c->why);
		CHECK_INT(r, 0);
		if (r < 0)
			continue;
		line(c, child, node, &attr, golden);
		client_forget(c, node);
		if (S_ISDIR(attr.st.st_mode))
			walk(c, child, golden);
		else if (S_ISREG(attr.st.st_mode) && !strstr(child, "/new"))
			check_size(c, child, &attr);
	}
	mk_list_free(&ls.names);
}

/* A version made of the run's artifacts, and a model it logged. */
static void make_models(struct platform *p, int64_t project, const char *uid)
{
	_cleanup_free_ char *storage = mk_strf("mlflow-artifacts:/1/%s/artifacts/ckpt", uid);
	_cleanup_free_ char *id = NULL;
	_cleanup_artifact_ struct mk_artifact artifact = {};
	struct mk_version_new version = {.source = storage, .storage = storage, .run_id = uid,
					 .run_link = "", .description = "", .logged = ""};
	struct mk_logged_new logged = {.experiment_id = 1, .name = "net/a", .model_type = "",
				       .source_run = uid};
	struct mk_incoming *upload;
	int64_t first = 0;

	CHECK_INT(mk_registered_make(&p->call, p->m, project, "net", "", NULL, &version.model_id), 0);
	CHECK_INT(mk_registered_version_make(&p->call, p->m, &version, &first), 0);
	CHECK_INT(mk_registered_alias(&p->call, p->m, version.model_id, "best one", first), 0);
	CHECK_INT(mk_logged_model_make(&p->call, p->m, &logged, &id), 0);
	NEED(id);
	CHECK_INT(mk_artifact_of_model(&p->call, p->m, 0, id, "MLmodel", &artifact), 0);
	CHECK_INT(mk_incoming_begin(&p->call, p->m, &artifact, -1, &upload), 0);
	CHECK_INT(mk_incoming_write(&p->call, upload, "abc", 3), 0);
	CHECK_INT(mk_incoming_end(&p->call, upload, true), 0);
}

static void prepare(struct platform *p, struct client *c)
{
	int64_t project = make_project(p, "rain");
	int64_t run = make_runs(p, (struct made_run){.project_id = project, .experiment = "e/1",
						     .name = "done", .status = MK_FINISHED,
						     .uid = "0000000a000000000000000000000000"});
	_cleanup_free_ char *uri = NULL;

	make_runs(p, (struct made_run){.project_id = project, .experiment = "e/1", .name = "live",
				       .status = MK_RUNNING,
				       .uid = "0000000b000000000000000000000000"});
	CHECK_INT(mk_run_log_metric(c->call, p->m, run, "train/loss", "0 1 1700000000\n", 15), 0);
	CHECK_INT(mk_run_log_metric(c->call, p->m, run, "train", "0 nan 1700000000\n", 17), 0);
	CHECK_INT(mk_run_value_set(c->call, p->m, run, MK_PARAM, "lr", "1e-5"), 0);
	CHECK_INT(mk_run_value_set(c->call, p->m, run, MK_TAG, ".hidden", "a\nb"), 0);
	NEED(sh(make_repository, p->dir));
	NEED(sh(make_record, p->dir));
	make_models(p, project, "0000000a000000000000000000000000");
	CHECK_INT(client_mkdir(c, "projects/rain/code/model"), 0);
	if (asprintf(&uri, "uri: %s/git\n", p->dir) < 0)
		abort();
	CHECK_INT(client_write(c, "projects/rain/code/model/repository.yaml", O_TRUNC, uri), 0);
	CHECK_INT(client_write(c, "connections/forge.yaml", O_TRUNC,
			       "kind: git\nurl: https://forge.example\ntoken: hunter2\n"),
		  0);
}

/* Line by line, so that a difference can be read. */
static void compare(const struct golden *golden, const char *file)
{
	_cleanup_buf_ struct mk_buf want = MK_BUF(1 << 20);
	_cleanup_free_ char *path = mk_strf("%s/tests/tree/%s", SOURCE_ROOT, file);
	const char *to = getenv("MANTIK_TEST_GOLDEN");

	if (to) {
		_cleanup_free_ char *now = mk_strf("%s/%s", to, file);

		CHECK(tmpdir_write(now, mk_buf_text(&golden->text), golden->text.len));
	}

	_cleanup_close_ int fd = open(path, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, mk_buf_room(&want, 1 << 19), 1 << 19);

	NEED(n > 0);
	want.data[want.len = (size_t)n] = 0;

	const char *a = mk_buf_text(&golden->text), *b = mk_buf_text(&want);

	while (*a || *b) {
		size_t la = strcspn(a, "\n"), lb = strcspn(b, "\n");
		_cleanup_free_ char *x = strndup(a, la), *y = strndup(b, lb);

		CHECK_TEXT(x, y);
		if (strcmp(x, y) != 0)
			break;
		a += la + (a[la] != 0);
		b += lb + (b[lb] != 0);
	}
}

static void the_tree_is_the_golden_one(void)
{
	PLATFORM(p);
	CLIENT(c, p);
	struct golden golden = {.text = MK_BUF(1 << 20)};

	prepare(&p, &c);
	walk(&c, "", &golden);
	compare(&golden, "golden.txt");
	mk_buf_free(&golden.text);
}

/* A project of a tracking store, and the connection that leads there. */
static void that_of_a_store(void)
{
	STORE(p, t);
	CLIENT(c, p);
	struct golden golden = {.text = MK_BUF(1 << 20), .sizes = true};

	(void)run;
	CHECK_INT(client_write(&c, "connections/fake.yaml", O_TRUNC,
			       "kind: mlflow\nurl: http://store.example\nuser: ana\n"
			       "password: hunter2\n"),
		  0);
	walk(&c, "connections", &golden);
	walk(&c, ".mantik/connections", &golden);
	walk(&c, "projects/p", &golden);
	compare(&golden, "store.txt");
	mk_buf_free(&golden.text);
}

int main(void)
{
	return RUN(TEST(the_tree_is_the_golden_one), TEST(that_of_a_store));
}
