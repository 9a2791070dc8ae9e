/* SPDX-License-Identifier: Apache-2.0 */
/* fs/tree without a mount: nodes, names, sizes, listings and what may be removed. Texts that are
 * written are in tree_write.c. */
#include "fsclient.h"
#include "runs.h"

static int64_t project(struct platform *p, const char *name)
{
	int64_t id = 0;

	CHECK_INT(mk_project_make(&p->call, p->m, name, &id), 0);
	return id;
}

static void lookups_are_counted_and_given_back(void)
{
	PLATFORM(p);
	CLIENT(c, p);
	struct fs_entry a, b;
	struct fs_node *root = fs_tree_root(c.tree);

	CHECK_INT(fs_node_id(root), 1);
	CHECK_INT(fs_lookup(c.call, c.tree, root, "projects", &a), 0);
	CHECK_INT(fs_lookup(c.call, c.tree, root, "projects", &b), 0);
	CHECK(a.node == b.node);
	CHECK(fs_node_by_id(c.tree, fs_node_id(a.node)) == a.node);

	uint64_t id = fs_node_id(a.node);

	fs_forget(c.tree, a.node, 1);
	CHECK(fs_node_by_id(c.tree, id) == a.node);
	fs_forget(c.tree, a.node, 1);
	CHECK(!fs_node_by_id(c.tree, id));

	/* A number is never used again. */
	CHECK_INT(fs_lookup(c.call, c.tree, root, "projects", &a), 0);
	CHECK(fs_node_id(a.node) > id);
	fs_forget(c.tree, a.node, 1);
}

static void a_handle_keeps_its_node(void)
{
	PLATFORM(p);
	CLIENT(c, p);
	struct fs_handle *handle;

	CHECK_INT(client_open(&c, "README.txt", O_RDONLY, &handle), 0);

	uint64_t id = fs_node_id(handle->node);

	CHECK(fs_node_by_id(c.tree, id)); /* client_open has forgotten it */
	CHECK_INT(client_close(&c, handle), 0);
	CHECK(!fs_node_by_id(c.tree, id));
}

static void the_top_is_what_it_is(void)
{
	PLATFORM(p);
	CLIENT(c, p);
	struct fs_attr attr;

	CHECK_LS(&c, "", "README.txt .ignore projects sites connections .mantik");
	CHECK_CAT(&c, ".ignore", "code/\ndata/\nsites/\n.mantik/\n");
	CHECK_CAT(&c, ".mantik/version", MANTIK_VERSION "\n");
	CHECK_INT(client_stat(&c, "README.txt", &attr), 0);

	_cleanup_free_ char *readme = client_cat(&c, "README.txt");

	CHECK_INT(attr.st.st_size, strlen(readme));
	CHECK_INT(attr.st.st_mode, S_IFREG | 0444);
	CHECK_INT(attr.st.st_uid, 1000);
	CHECK(attr.st.st_blocks > 0);
	CHECK(attr.attr_timeout > 60);
	CHECK_INT(client_stat(&c, "nothing", &attr), -ENOENT);
	CHECK_INT(client_stat(&c, "README.txt/x", &attr), -ENOTDIR);
	CHECK_INT(client_write(&c, "README.txt", O_TRUNC, "x"), -EPERM);
	CHECK_INT(client_write(&c, "other.txt", 0, "x"), -EPERM);
	CHECK_INT(client_mkdir(&c, "other"), -EPERM);
	CHECK_INT(client_remove(&c, "README.txt", false), -EPERM);
	CHECK_INT(client_remove(&c, "projects", true), -ENOTEMPTY);
}

static void stats_say_how_long_they_are(void)
{
	PLATFORM(p);
	CLIENT(c, p);
	struct fs_attr attr;

	for (int i = 0; i < 2000; i++) /* numbers get longer, the text does not */
		fs_count(c.tree, FS_OP_LOOKUP);
	fs_gauge(c.tree, "threads", 10);
	CHECK_INT(client_stat(&c, ".mantik/stats.json", &attr), 0);

	_cleanup_free_ char *text = client_cat(&c, ".mantik/stats.json");

	NEED(text);
	CHECK_INT(strlen(text), attr.st.st_size);
	CHECK(strstr(text, "\"lookup\": 2000"));
	CHECK(strstr(text, "\"threads\": 10"));
}

static void mkdir_makes_projects_and_rmdir_only_untouched_ones(void)
{
	PLATFORM(p);
	CLIENT(c, p);
	struct fs_attr a, b;

	CHECK_INT(client_mkdir(&c, "projects/rain"), 0);
	CHECK_INT(client_mkdir(&c, "projects/rain"), -EEXIST);
	CHECK_INT(client_mkdir(&c, "projects/a%2Fb"), 0);
	CHECK_INT(client_mkdir(&c, "projects/a%41"), -EINVAL);
	CHECK(strstr(c.why, "a%2541"));
	CHECK_INT(client_mkdir(&c, "projects/rain/experiments/one"), 0);
	CHECK_INT(client_mkdir(&c, "projects/rain/other"), -EPERM);
	CHECK_INT(client_remove(&c, "projects/rain", true), -ENOTEMPTY);
	CHECK_INT(client_remove(&c, "projects/rain/experiments", true), -ENOTEMPTY);
	CHECK_INT(client_remove(&c, "projects/a%2Fb", true), 0);
	CHECK_INT(client_stat(&c, "projects/a%2Fb", &a), -ENOENT);
	CHECK_INT(client_remove(&c, "projects/rain/experiments/one", true), 0);

	/* A renamed project is the same object. */
	CHECK_INT(client_stat(&c, "projects/rain", &a), 0);
	CHECK_INT(client_rename(&c, "projects/rain", "projects/snow"), 0);
	CHECK_INT(client_stat(&c, "projects/snow", &b), 0);
	CHECK_INT(a.st.st_ino, b.st.st_ino);
	CHECK_INT(client_stat(&c, "projects/rain", &b), -ENOENT);
	CHECK_INT(client_rename(&c, "projects/snow", "sites/snow"), -EPERM);
	CHECK_INT(client_rename(&c, "projects/snow/runs", "projects/snow/r"), -EPERM);
}

static void a_new_object_of_an_old_name_is_another_node(void)
{
	PLATFORM(p);
	CLIENT(c, p);
	struct fs_node *projects;
	struct fs_entry old, new;
	int64_t id = project(&p, "rain");

	NEED(client_walk(&c, "projects", &projects, NULL) == 0);
	NEED(fs_lookup(c.call, c.tree, projects, "rain", &old) == 0);
	CHECK_INT(mk_project_remove(c.call, p.m, id), 0);
	(void)project(&p, "rain");
	NEED(fs_lookup(c.call, c.tree, projects, "rain", &new) == 0);
	CHECK(old.node != new.node);
	CHECK(old.attr.st.st_ino != new.attr.st.st_ino);

	_cleanup_free_ char *path = fs_node_path(c.tree, old.node);

	CHECK_TEXT(path, "/projects/rain (deleted)");
	fs_forget(c.tree, old.node, 1);
	fs_forget(c.tree, new.node, 1);
	client_forget(&c, projects);
}

static void runs_open_by_any_of_their_names(void)
{
	PLATFORM(p);
	CLIENT(c, p);
	int64_t id = project(&p, "rain");
	struct fs_attr attr;

	make_runs(&p, (struct made_run){.project_id = id, .experiment = "e", .name = "train",
					.status = MK_FINISHED, .job_id = "4711",
					.uid = "1a2b3c4d00000000000000000000000f"});
	CHECK_LS(&c, "projects/rain/runs",
		 "new defaults.yaml latest runs.tsv deleted train.1a2b3c4d");
	CHECK_CAT(&c, "projects/rain/runs/train.1a2b3c4d/status", "FINISHED\n");
	CHECK_CAT(&c, "projects/rain/runs/train.1a2b3c4d/wait", "FINISHED\n");
	CHECK_CAT(&c, "projects/rain/runs/train.1a2b3c4d/spec.yaml", "a: 1\n");
	CHECK_INT(client_stat(&c, "projects/rain/runs/train.1a2b3c4d/workdir", &attr), -ENOENT);
	for (size_t i = 0; i < 3; i++) {
		static const char *const names[] = {"4711", "x.1a2b3c4d",
						    "1a2b3c4d00000000000000000000000f"};
		char path[128];

		snprintf(path, sizeof(path), "projects/rain/runs/%s", names[i]);

		_cleanup_free_ char *target = client_readlink(&c, path);

		CHECK_TEXT(target, "train.1a2b3c4d");
	}

	_cleanup_free_ char *latest = client_readlink(&c, "projects/rain/runs/latest");
	_cleanup_free_ char *link =
		client_readlink(&c, "projects/rain/experiments/e/runs/train.1a2b3c4d");

	CHECK_TEXT(latest, "train.1a2b3c4d");
	CHECK_TEXT(link, "../../../runs/train.1a2b3c4d");
	CHECK_INT(client_stat(&c, "projects/rain/experiments/e/runs/train.1a2b3c4d", &attr), 0);
	CHECK_INT(attr.st.st_size, strlen(link));
	CHECK_INT(client_stat(&c, "projects/rain/runs/train.ffffffff", &attr), -ENOENT);
	CHECK_LS(&c, "projects/rain/experiments/e/runs", "train.1a2b3c4d");
}

static void live_texts_have_no_time_and_ended_ones_do(void)
{
	PLATFORM(p);
	CLIENT(c, p);
	int64_t id = project(&p, "rain");
	struct fs_attr attr;
	struct fs_node *node;
	struct fs_handle *handle;
	struct fs_open_reply reply;
	static const struct {
		const char *path;
		bool live;
	} cases[] = {{"projects/rain/runs/live.0000000a/status", true},
		     {"projects/rain/runs/done.0000000b/status", false}};

	make_runs(&p, (struct made_run){.project_id = id, .experiment = "e", .name = "live",
					.status = MK_RUNNING,
					.uid = "0000000a000000000000000000000000"});
	make_runs(&p, (struct made_run){.project_id = id, .experiment = "e", .name = "done",
					.status = MK_FINISHED,
					.uid = "0000000b000000000000000000000000"});
	for (size_t i = 0; i < 2; i++) {
		NEED(client_walk(&c, cases[i].path, &node, &attr) == 0);
		CHECK(cases[i].live ? attr.attr_timeout == 0 : attr.attr_timeout == 1);
		CHECK_INT(fs_open(c.call, c.tree, node, O_RDONLY, &handle, &reply), 0);
		CHECK_INT(reply.direct_io, cases[i].live);
		CHECK(reply.noflush);
		CHECK_INT(client_close(&c, handle), 0);
		client_forget(&c, node);
	}

	/* wait of a live run parks on that run. */
	CHECK_INT(client_open(&c, "projects/rain/runs/live.0000000a/wait", O_RDONLY, &handle), 0);

	char buf[16];

	CHECK_INT(fs_read(c.call, c.tree, handle, buf, sizeof(buf), 0), MK_PARK);
	CHECK(c.call->park.key > 0);
	CHECK_INT(client_close(&c, handle), 0);

	/* … and is not listed. */
	_cleanup_free_ char *names = client_ls(&c, "projects/rain/runs/live.0000000a");

	CHECK_TEXT(names, "spec.yaml job_script status info.yaml info.json ctl logs params tags "
			  "metrics metrics.tsv artifacts");
}

static void mtime_carries_the_generation(void)
{
	PLATFORM(p);
	CLIENT(c, p);
	int64_t id = project(&p, "rain");
	struct fs_attr a, b;

	make_runs(&p, (struct made_run){.project_id = id, .experiment = "e", .name = "x",
					.status = MK_FAILED,
					.uid = "0000000a000000000000000000000000"});
	make_runs(&p, (struct made_run){.project_id = id, .experiment = "e", .name = "x",
					.status = MK_KILLED,
					.uid = "0000000b000000000000000000000000"});
	CHECK_INT(client_stat(&c, "projects/rain/runs/x.0000000a/status", &a), 0);
	CHECK_INT(client_stat(&c, "projects/rain/runs/x.0000000b/status", &b), 0);
	CHECK_INT(a.st.st_size, b.st.st_size);
	CHECK(a.st.st_mtim.tv_nsec % 1000 != b.st.st_mtim.tv_nsec % 1000);
}

static void mv_to_deleted_and_back(void)
{
	PLATFORM(p);
	CLIENT(c, p);
	int64_t id = project(&p, "rain");
	struct fs_attr a, b;

	make_runs(&p, (struct made_run){.project_id = id, .experiment = "e", .name = "done",
					.status = MK_FINISHED,
					.uid = "0000000a000000000000000000000000"});
	make_runs(&p, (struct made_run){.project_id = id, .experiment = "e", .name = "live",
					.status = MK_RUNNING,
					.uid = "0000000b000000000000000000000000"});
	CHECK_INT(client_stat(&c, "projects/rain/runs/done.0000000a", &a), 0);
	CHECK_INT(client_rename(&c, "projects/rain/runs/done.0000000a",
				"projects/rain/runs/other.0000000a"),
		  -EPERM);
	CHECK_INT(client_rename(&c, "projects/rain/runs/live.0000000b",
				"projects/rain/runs/deleted/live.0000000b"),
		  -EBUSY);
	CHECK_INT(client_rename(&c, "projects/rain/runs/done.0000000a",
				"projects/rain/runs/deleted/done.0000000a"),
		  0);
	CHECK_LS(&c, "projects/rain/runs/deleted", "done.0000000a");
	CHECK_INT(client_stat(&c, "projects/rain/runs/done.0000000a", &b), -ENOENT);
	CHECK_INT(client_stat(&c, "projects/rain/runs/deleted/done.0000000a", &b), 0);
	CHECK_INT(a.st.st_ino, b.st.st_ino);
	CHECK_CAT(&c, "projects/rain/runs/deleted/done.0000000a/status", "FINISHED\n");
	CHECK_INT(client_rename(&c, "projects/rain/runs/deleted/done.0000000a",
				"projects/rain/runs/done.0000000a"),
		  0);
	CHECK_CAT(&c, "projects/rain/runs/done.0000000a/status", "FINISHED\n");
	CHECK_INT(client_remove(&c, "projects/rain/runs/done.0000000a", true), -ENOTEMPTY);
	CHECK_INT(client_remove(&c, "projects/rain/runs/done.0000000a/status", false), -EPERM);
}

static void keys_nest(void)
{
	PLATFORM(p);
	CLIENT(c, p);
	int64_t id = project(&p, "rain");
	int64_t run = make_runs(&p, (struct made_run){.project_id = id, .experiment = "e",
						      .name = "x", .status = MK_FINISHED,
						      .uid = "0000000a000000000000000000000000"});
	struct fs_attr attr;
	static const struct {
		const char *key, *value;
	} params[] = {{"a", "1"}, {"a-b", "2"}, {"a/b", "3"}, {"a/c/d", "4"}, {".x", "5"}, {"50%", "6"}};

	for (size_t i = 0; i < sizeof(params) / sizeof(*params); i++)
		CHECK_INT(mk_run_value_set(c.call, p.m, run, MK_PARAM, params[i].key,
					   params[i].value),
			  0);
	CHECK_LS(&c, "projects/rain/runs/x.0000000a/params", "%2Ex 50%25 a% a-b a");
	CHECK_LS(&c, "projects/rain/runs/x.0000000a/params/a", "b c");
	CHECK_LS(&c, "projects/rain/runs/x.0000000a/params/a/c", "d");
	CHECK_CAT(&c, "projects/rain/runs/x.0000000a/params/a%", "1\n");
	CHECK_CAT(&c, "projects/rain/runs/x.0000000a/params/a/b", "3\n");
	CHECK_CAT(&c, "projects/rain/runs/x.0000000a/params/a/c/d", "4\n");
	CHECK_CAT(&c, "projects/rain/runs/x.0000000a/params/%2Ex", "5\n");
	CHECK_CAT(&c, "projects/rain/runs/x.0000000a/params/50%25", "6\n");
	CHECK_INT(client_stat(&c, "projects/rain/runs/x.0000000a/params/a", &attr), 0);
	CHECK(S_ISDIR(attr.st.st_mode));
	CHECK_INT(client_stat(&c, "projects/rain/runs/x.0000000a/params/a-b%", &attr), -ENOENT);
	CHECK_INT(client_stat(&c, "projects/rain/runs/x.0000000a/params/.x", &attr), -ENOENT);
}

static void listing_runs_renders_nothing(void)
{
	enum { N = 3000 };
	PLATFORM(p);
	CLIENT(c, p);
	struct client_ls ls;

	make_runs(&p, (struct made_run){.project_id = project(&p, "rain"), .experiment = "e",
					.name = "x", .status = MK_FINISHED, .n = N});
	CHECK_INT(client_list(&c, "projects/rain/runs", true, 100, &ls), 0);
	CHECK_INT(ls.names.n, 5 + N);
	CHECK(ls.n_attr >= N + 2);
	CHECK_INT(c.tree->renders, 0);
	mk_list_free(&ls.names);
}

/* What appears while a listing is read in pieces moves nobody: each old name comes once. */
static void a_listing_stands_insertions(void)
{
	enum { N = 200 };
	PLATFORM(p);
	CLIENT(c, p);
	int64_t id = project(&p, "rain");
	struct fs_node *node;
	struct fs_handle *dir;
	struct client_ls ls = {.c = &c};

	make_runs(&p, (struct made_run){.project_id = id, .experiment = "e", .name = "x",
					.status = MK_FINISHED, .n = N});
	NEED(client_walk(&c, "projects/rain/runs", &node, NULL) == 0);
	NEED(fs_opendir(c.call, c.tree, node, &dir) == 0);
	client_forget(&c, node);
	for (uint64_t before = UINT64_MAX; ls.next != before && ls.names.n < 10 * N;) {
		before = ls.next;
		ls.left = 20;
		CHECK_INT(fs_readdir(c.call, c.tree, dir, ls.next, true, client_emit, &ls), 0);
		if (ls.names.n < N)
			make_runs(&p, (struct made_run){.project_id = id, .experiment = "e",
							.name = "late", .status = MK_FINISHED});
	}
	fs_release(c.call, c.tree, dir);
	mk_list_sort(&ls.names);

	size_t twice = 0, old = 0;

	for (size_t i = 0; i < ls.names.n; i++) {
		old += strncmp(ls.names.v[i], "x-", 2) == 0;
		twice += i && strcmp(ls.names.v[i], ls.names.v[i - 1]) == 0;
	}
	CHECK_INT(twice, 0);
	CHECK_INT(old, N);
	mk_list_free(&ls.names);
}

static void read_only_trees_refuse(void)
{
	PLATFORM(p);
	struct fs_tree *tree;
	struct fs_entry entry;
	const struct fs_tree_options options = {.read_only = true};

	NEED(fs_tree_new(&p.call, p.m, &options, &tree) == 0);
	CHECK_INT(fs_lookup(&p.call, tree, fs_tree_root(tree), "projects", &entry), 0);
	CHECK_INT(entry.attr.st.st_mode & 0222, 0);

	struct fs_entry made;

	CHECK_INT(fs_mkdir(&p.call, tree, entry.node, "x", &made), -EROFS);
	fs_forget(tree, entry.node, 1);
	fs_tree_free(tree);
}

int main(void)
{
	return RUN(TEST(lookups_are_counted_and_given_back), TEST(a_handle_keeps_its_node),
		   TEST(the_top_is_what_it_is), TEST(stats_say_how_long_they_are),
		   TEST(mkdir_makes_projects_and_rmdir_only_untouched_ones),
		   TEST(a_new_object_of_an_old_name_is_another_node),
		   TEST(runs_open_by_any_of_their_names),
		   TEST(live_texts_have_no_time_and_ended_ones_do),
		   TEST(mtime_carries_the_generation), TEST(mv_to_deleted_and_back),
		   TEST(keys_nest), TEST(listing_runs_renders_nothing),
		   TEST(a_listing_stands_insertions), TEST(read_only_trees_refuse));
}
