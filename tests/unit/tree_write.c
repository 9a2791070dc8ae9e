/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing into fs/tree without a mount: whole texts and when they are committed, orders and their
 * answers, appended metrics, and what editors do.
 */
#include <sys/wait.h>

#include "fsclient.h"
#include "runs.h"

#define RUN_DIR "projects/rain/runs/x.0000000a"

/* A project `rain` with one run. */
static int64_t prepare(struct platform *p, enum mk_status status)
{
	return make_runs(p, (struct made_run){.project_id = make_project(p, "rain"),
					      .experiment = "e",
					      .name = "x",
					      .status = status,
					      .uid = "0000000a000000000000000000000000"});
}

static void a_tag_is_written_and_read(void)
{
	PLATFORM(p);
	CLIENT(c, p);
	struct fs_attr attr;

	prepare(&p, MK_FINISHED);
	CHECK_INT(client_write(&c, RUN_DIR "/tags/review", O_TRUNC, "good\n"), 0);
	CHECK_CAT(&c, RUN_DIR "/tags/review", "good\n");
	CHECK_INT(client_stat(&c, RUN_DIR "/tags/review", &attr), 0);
	CHECK_INT(attr.st.st_size, 5);
	CHECK_INT(client_write(&c, RUN_DIR "/tags/review", O_TRUNC, "bad"), 0);
	CHECK_CAT(&c, RUN_DIR "/tags/review", "bad\n");
	CHECK_LS(&c, RUN_DIR "/tags", "review");
	CHECK_INT(client_write(&c, RUN_DIR "/tags/empty", 0, ""), 0);
	CHECK_CAT(&c, RUN_DIR "/tags/empty", "\n");
	CHECK_INT(client_remove(&c, RUN_DIR "/tags/empty", false), 0);
	CHECK_LS(&c, RUN_DIR "/tags", "review");
	CHECK_INT(client_remove(&c, RUN_DIR "/tags/empty", false), -ENOENT);
	CHECK_INT(client_remove(&c, RUN_DIR "/tags", true), -ENOTEMPTY);

	/* Who was at the whole run, or was refused something of it, takes nothing away. */
	CHECK_INT(client_remove(&c, RUN_DIR "/tags/review", false), -EPERM);
	CHECK_CAT(&c, RUN_DIR "/tags/review", "bad\n");

	/* A directory of keys is there once it is made, until it is removed or has its first key. */
	CHECK_INT(client_mkdir(&c, RUN_DIR "/tags/d"), 0);
	CHECK_INT(client_mkdir(&c, RUN_DIR "/tags/d/e"), 0);
	CHECK_LS(&c, RUN_DIR "/tags", "review d");
	CHECK_LS(&c, RUN_DIR "/tags/d", "e");
	CHECK_INT(client_remove(&c, RUN_DIR "/tags/d", true), -ENOTEMPTY);
	CHECK_INT(client_remove(&c, RUN_DIR "/tags/d/e", true), 0);
	CHECK_INT(client_write(&c, RUN_DIR "/tags/d/key", 0, "1"), 0);
	CHECK_INT(client_remove(&c, RUN_DIR "/tags/d", true), -ENOTEMPTY);
	CHECK_LS(&c, RUN_DIR "/tags", "d review");
	CHECK_INT(client_mkdir(&c, RUN_DIR "/metrics/none"), 0);
	CHECK_INT(client_remove(&c, RUN_DIR "/metrics/none", true), 0);
	CHECK_LS(&c, RUN_DIR "/metrics", "");
	CHECK_INT(client_write(&c, RUN_DIR "/tags/a/b", 0, "1\n"), -ENOENT);
	CHECK_INT(client_write(&c, RUN_DIR "/params/lr", 0, "1\n"), 0);
	CHECK_INT(client_write(&c, RUN_DIR "/params/lr", O_TRUNC, "2\n"), -EEXIST);
	CHECK_CAT(&c, RUN_DIR "/params/lr", "1\n");
}

/* A descriptor that was refused something says why until it is closed, and takes nothing more. */
static void a_refused_write_keeps_its_reason(void)
{
	PLATFORM(p);
	CLIENT(c, p);
	static const char why[] = "runs/new: holds a NUL byte, which no text does";
	struct fs_handle *handle;

	prepare(&p, MK_FINISHED);
	NEED(client_open(&c, "projects/rain/runs/new", O_WRONLY, &handle) == 0);
	CHECK_INT(fs_write(c.call, c.tree, handle, "a\0b", 3, 0), -EINVAL);
	CHECK_TEXT(c.call->error.text, why);
	mk_error_clear(c.call);
	CHECK_INT(fs_write(c.call, c.tree, handle, "command: true\n", 14, 3), -EINVAL);
	CHECK_TEXT(c.call->error.text, why);
	mk_error_clear(c.call);
	CHECK_INT(fs_flush(c.call, c.tree, handle), -EINVAL);
	CHECK_TEXT(c.call->error.text, why);
	client_close(&c, handle);
	CHECK_LS(&c, "projects/rain/runs", "new defaults.yaml latest runs.tsv deleted x.0000000a");
}

static void metrics_are_appended_line_by_line(void)
{
	PLATFORM(p);
	CLIENT(c, p);
	struct fs_handle *handle;
	struct fs_attr attr;

	prepare(&p, MK_RUNNING);
	CHECK_INT(client_write(&c, RUN_DIR "/metrics/loss", O_APPEND, "0 0.5 1700000000\n"), 0);
	CHECK_CAT(&c, RUN_DIR "/metrics/loss", "0\t0.5\t2023-11-14T22:13:20.000Z\n");
	CHECK_INT(client_write(&c, RUN_DIR "/metrics/loss", O_TRUNC, "1\n"), -EPERM);
	CHECK_INT(client_stat(&c, RUN_DIR "/metrics/loss", &attr), 0);
	CHECK_INT(attr.st.st_size, strlen("0\t0.5\t2023-11-14T22:13:20.000Z\n"));
	CHECK_INT(attr.attr_timeout, 0);

	/* Half a line waits for its rest; what is not a value refuses its whole write. */
	NEED(client_open(&c, RUN_DIR "/metrics/loss", O_WRONLY | O_APPEND, &handle) == 0);
	CHECK_INT(fs_write(c.call, c.tree, handle, "1 0.", 4, 0), 4);
	CHECK_INT(fs_write(c.call, c.tree, handle, "25\n2 0.1", 8, 0), 8);
	CHECK_INT(fs_write(c.call, c.tree, handle, "\nwhat\n", 6, 0), -EINVAL);
	mk_error_clear(c.call);
	CHECK_INT(fs_write(c.call, c.tree, handle, "25", 2, 0), 2);
	CHECK_INT(client_close(&c, handle), 0);

	_cleanup_free_ char *text = client_cat(&c, RUN_DIR "/metrics/loss");

	NEED(text);
	CHECK(strstr(text, "1\t0.25\t"));
	CHECK(strstr(text, "2\t0.125\t"));
	CHECK(!strstr(text, "what"));

	/* A bad half line is told when it is closed. */
	CHECK_INT(client_write(&c, RUN_DIR "/metrics/loss", O_APPEND, "nonsense"), -EINVAL);
}

static void a_handle_follows_what_is_appended(void)
{
	PLATFORM(p);
	CLIENT(c, p);
	struct fs_handle *handle;
	int64_t run = prepare(&p, MK_RUNNING);
	char buf[64];
	static const char first[] = "0\t1\t2023-11-14T22:13:20.000Z\n";

	CHECK_INT(mk_run_log_metric(c.call, p.m, run, "m", "0 1 1700000000\n", 15), 0);
	NEED(client_open(&c, RUN_DIR "/metrics/m", O_RDONLY, &handle) == 0);
	CHECK_INT(fs_read(c.call, c.tree, handle, buf, sizeof(buf), 0), sizeof(first) - 1);
	CHECK_INT(fs_read(c.call, c.tree, handle, buf, sizeof(buf), sizeof(first) - 1), 0);
	CHECK_INT(mk_run_log_metric(c.call, p.m, run, "m", "1 2 1700000000\n", 15), 0);
	CHECK_INT(fs_read(c.call, c.tree, handle, buf, sizeof(buf), sizeof(first) - 1),
		  sizeof(first) - 1);
	CHECK_INT(buf[0], '1');
	CHECK_INT(client_close(&c, handle), 0);
}

static void ctl_acts_in_write_and_remembers(void)
{
	PLATFORM(p);
	CLIENT(c, p);
	struct fs_attr attr;

	prepare(&p, MK_FINISHED);
	CHECK_INT(client_write(&c, RUN_DIR "/ctl", O_TRUNC, "explode\n"), -EINVAL);
	CHECK(strstr(c.why, "cancel rerun refresh"));

	_cleanup_free_ char *said = client_cat(&c, RUN_DIR "/ctl");

	CHECK(said && strstr(said, "words: cancel"));
	CHECK(said && strstr(said, "error: ctl: unknown word"));
	CHECK_INT(client_stat(&c, RUN_DIR "/ctl", &attr), 0);
	CHECK_INT(attr.st.st_size, strlen(said));
	CHECK_INT(client_write(&c, RUN_DIR "/ctl", 0, "delete"), 0); /* without newline: at close */
	CHECK_INT(client_stat(&c, RUN_DIR, &attr), -ENOENT);
	CHECK_INT(client_write(&c, "projects/rain/runs/deleted/x.0000000a/ctl", 0, "restore\n"), 0);
	CHECK_INT(client_stat(&c, RUN_DIR, &attr), 0);
}

/* --- editable texts ------------------------------------------------------------------------ */

#define README "projects/rain/README.md"

static void a_text_is_committed_when_its_opener_closes(void)
{
	PLATFORM(p);
	CLIENT(c, p);
	struct fs_handle *handle;

	prepare(&p, MK_FINISHED);
	CHECK_INT(client_write(&c, README, O_TRUNC, "one\n"), 0);
	CHECK_CAT(&c, README, "one\n");
	CHECK_INT(client_write(&c, README, O_APPEND, "two\n"), 0);
	CHECK_CAT(&c, README, "one\ntwo\n");

	/* Staged text is seen by nobody; the close of a child of the opener commits nothing. */
	NEED(client_open(&c, README, O_WRONLY | O_TRUNC, &handle) == 0);
	CHECK_INT(fs_write(c.call, c.tree, handle, "half", 4, 0), 4);
	CHECK_CAT(&c, README, "one\ntwo\n");
	c.call->tgid = getppid();
	CHECK_INT(fs_flush(c.call, c.tree, handle), 0);
	c.call->tgid = getpid();
	CHECK_CAT(&c, README, "one\ntwo\n");
	CHECK_INT(client_close(&c, handle), 0);
	CHECK_CAT(&c, README, "half");

	/* An empty flush before the data (`>` of a shell, dd) is none. */
	NEED(client_open(&c, README, O_WRONLY | O_TRUNC, &handle) == 0);
	CHECK_INT(fs_flush(c.call, c.tree, handle), 0);
	CHECK_CAT(&c, README, "half");
	CHECK_INT(fs_write(c.call, c.tree, handle, "full\n", 5, 0), 5);
	CHECK_INT(client_close(&c, handle), 0);
	CHECK_CAT(&c, README, "full\n");

	/* ftruncate alone is an edit, O_TRUNC alone is one when nobody has the file open any more. */
	struct fs_attr attr = {.st.st_size = 2};

	NEED(client_open(&c, README, O_WRONLY, &handle) == 0);
	CHECK_INT(fs_setattr(c.call, c.tree, handle->node, handle, FS_SET_SIZE, &attr.st, &attr), 0);
	CHECK_INT(attr.st.st_size, 5); /* what is committed */
	CHECK_INT(client_close(&c, handle), 0);
	CHECK_CAT(&c, README, "fu");

	/* fsync commits. */
	NEED(client_open(&c, README, O_WRONLY | O_TRUNC, &handle) == 0);
	CHECK_INT(fs_write(c.call, c.tree, handle, "synced\n", 7, 0), 7);
	CHECK_INT(fs_fsync(c.call, c.tree, handle), 0);
	CHECK_CAT(&c, README, "synced\n");
	CHECK_INT(client_close(&c, handle), 0);
}

/* A process that is killed closes its files, too; its parent has not waited for it yet. */
static void a_killed_writer_commits_nothing(void)
{
	PLATFORM(p);
	CLIENT(c, p);
	struct fs_handle *handle;
	pid_t child = fork();
	siginfo_t info;

	if (child == 0)
		alarm(20);
	if (child == 0)
		for (;;)
			pause();
	prepare(&p, MK_FINISHED);
	CHECK_INT(client_write(&c, README, O_TRUNC, "whole\n"), 0);
	c.call->tgid = c.call->pid = child;
	NEED(client_open(&c, README, O_WRONLY | O_TRUNC, &handle) == 0);
	CHECK_INT(fs_write(c.call, c.tree, handle, "ha", 2, 0), 2);
	kill(child, SIGKILL);
	CHECK_INT(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
	CHECK_INT(fs_flush(c.call, c.tree, handle), 0);
	fs_release(c.call, c.tree, handle);
	mk_error_clear(c.call);
	c.call->tgid = c.call->pid = getpid();
	CHECK_CAT(&c, README, "whole\n");
	waitpid(child, NULL, 0);
}

static void a_refused_save_leaves_the_old_text(void)
{
	PLATFORM(p);
	CLIENT(c, p);

	prepare(&p, MK_FINISHED);

	_cleanup_free_ char *before = client_cat(&c, "projects/rain/project.yaml");

	CHECK_INT(client_write(&c, "projects/rain/project.yaml", O_TRUNC, "onwer: ana\n"), -EINVAL);
	CHECK(strstr(c.why, "owner"));
	CHECK_CAT(&c, "projects/rain/project.yaml", before);

	/* Too long is told in write(2). */
	_cleanup_free_ char *big = malloc((2 << 20) + 1);

	memset(big, 'a', 2 << 20);
	big[2 << 20] = 0;
	CHECK_INT(client_write(&c, README, O_TRUNC, big), -EFBIG);

	/* … and the part before it is half a text: close does not keep it, but says so again. */
	struct fs_handle *handle;

	_cleanup_free_ char *readme = client_cat(&c, README);

	NEED(client_open(&c, README, O_WRONLY | O_TRUNC, &handle) == 0);
	CHECK_INT(fs_write(c.call, c.tree, handle, big, 1 << 20, 0), 1 << 20);
	CHECK_INT(fs_write(c.call, c.tree, handle, big, 1 << 20, 1 << 20), -EFBIG);
	CHECK_INT(client_close(&c, handle), -EFBIG);
	CHECK_CAT(&c, README, readme);
}

static void a_save_over_another_one_is_refused(void)
{
	PLATFORM(p);
	CLIENT(c, p);
	struct fs_handle *handle;
	pid_t me = getpid();

	prepare(&p, MK_FINISHED);
	CHECK_INT(client_write(&c, README, O_TRUNC, "one\n"), 0);
	NEED(client_open(&c, README, O_WRONLY | O_TRUNC, &handle) == 0);
	CHECK_INT(fs_write(c.call, c.tree, handle, "mine\n", 5, 0), 5);
	c.call->tgid = getppid(); /* somebody else meanwhile */
	CHECK_INT(client_write(&c, README, O_TRUNC, "theirs\n"), 0);
	c.call->tgid = me;
	CHECK_INT(client_close(&c, handle), -EBUSY);
	CHECK_CAT(&c, README, "theirs\n");

	/* Now it has been read. */
	CHECK_INT(client_write(&c, README, O_TRUNC, "mine\n"), 0);
	CHECK_CAT(&c, README, "mine\n");
}

static void vim_saves(void)
{
	PLATFORM(p);
	CLIENT(c, p);
	struct fs_attr attr;

	prepare(&p, MK_FINISHED);
	CHECK_INT(client_write(&c, README, O_TRUNC, "a longer text before\n"), 0);
	CHECK_INT(client_write(&c, "projects/rain/.README.md.swp", O_EXCL, "swap"), 0);
	CHECK_INT(client_write(&c, "projects/rain/4913", O_EXCL, ""), 0);
	CHECK_INT(client_remove(&c, "projects/rain/4913", false), 0);
	CHECK_INT(client_rename(&c, README, README "~"), 0);
	CHECK_INT(client_stat(&c, README, &attr), -ENOENT);
	CHECK_CAT(&c, README "~", "a longer text before\n");
	CHECK_INT(client_write(&c, README, 0, "short\n"), 0); /* O_CREAT, no O_TRUNC */
	CHECK_CAT(&c, README, "short\n");
	CHECK_INT(client_remove(&c, README "~", false), 0);
	CHECK_INT(client_remove(&c, "projects/rain/.README.md.swp", false), 0);
	CHECK_LS(&c, "projects/rain", "project.yaml README.md code experiments runs");
}

static void rename_over_is_an_edit(void)
{
	PLATFORM(p);
	CLIENT(c, p);
	struct fs_attr a, b;

	prepare(&p, MK_FINISHED);
	CHECK_INT(client_stat(&c, README, &a), 0);
	CHECK_INT(client_write(&c, "projects/rain/sedAb12Cd", O_EXCL, "by sed\n"), 0);
	CHECK_INT(client_rename(&c, "projects/rain/sedAb12Cd", README), 0);
	CHECK_CAT(&c, README, "by sed\n");
	CHECK_INT(client_stat(&c, README, &b), 0);
	CHECK_INT(a.st.st_ino, b.st.st_ino);
	CHECK_INT(client_stat(&c, "projects/rain/sedAb12Cd", &b), -ENOENT);

	/* A refused one leaves both. */
	CHECK_INT(client_write(&c, "projects/rain/.project.yaml.AbCd12", O_EXCL, "a: [\n"), 0);
	CHECK_INT(client_rename(&c, "projects/rain/.project.yaml.AbCd12",
				"projects/rain/project.yaml"),
		  -EINVAL);
	CHECK_INT(client_stat(&c, "projects/rain/.project.yaml.AbCd12", &b), 0);
	CHECK_INT(client_rename(&c, README, "projects/rain/other.md"), -EPERM);
	CHECK_INT(client_rename(&c, "projects/rain/.project.yaml.AbCd12",
				RUN_DIR "/status"),
		  -EPERM);
	CHECK_INT(client_remove(&c, "projects/rain/.project.yaml.AbCd12", false), 0);
}

static void files_of_editors_are_files(void)
{
	PLATFORM(p);
	CLIENT(c, p);
	struct fs_node *dir;
	struct fs_entry entry;

	prepare(&p, MK_FINISHED);
	CHECK_INT(client_mkdir(&c, "projects/rain/.ipynb_checkpoints"), 0);
	CHECK_INT(client_write(&c, "projects/rain/.ipynb_checkpoints/a.ipynb", O_EXCL, "x"), 0);
	CHECK_INT(client_remove(&c, "projects/rain/.ipynb_checkpoints", true), -ENOTEMPTY);
	CHECK_LS(&c, "projects/rain/.ipynb_checkpoints", "a.ipynb");
	CHECK_INT(client_rename(&c, "projects/rain/.ipynb_checkpoints",
				"projects/rain/.ipynb_checkpoints/x"),
		  -EINVAL);
	CHECK_INT(client_remove(&c, "projects/rain/.ipynb_checkpoints/a.ipynb", false), 0);
	CHECK_INT(client_remove(&c, "projects/rain/.ipynb_checkpoints", true), 0);
	NEED(client_walk(&c, "projects/rain", &dir, NULL) == 0);
	CHECK_INT(fs_symlink(c.call, c.tree, dir, ".#README.md", "ana@host.1:2", &entry), 0);
	fs_forget(c.tree, entry.node, 1);
	client_forget(&c, dir);

	_cleanup_free_ char *target = client_readlink(&c, "projects/rain/.#README.md");

	CHECK_TEXT(target, "ana@host.1:2");
	CHECK_INT(client_remove(&c, "projects/rain/.#README.md", false), 0);
	CHECK_INT(client_write(&c, "projects/rain/.DS_Store", 0, "x"), 0);
	CHECK_INT(client_remove(&c, "projects/rain/.DS_Store", false), 0);
	CHECK_INT(client_write(&c, RUN_DIR "/.status.swp", 0, "x"), -EPERM);
	CHECK_INT(client_write(&c, "projects/rain/new.md", 0, "x"), -EPERM);
}

static void names_of_editors(void)
{
	static const struct {
		const char *name;
		bool is;
	} cases[] = {
		{".f.swp", true},	{".f.swx", true},	{".f.swo", true},
		{"4913", true},		{"5036", true},		{"4914", false},
		{"f~", true},		{"~", false},		{".#f", true},
		{"#f#", true},		{"##", false},		{"sedAbCd12", true},
		{"sedAbCd123", false},	{".f.AbCd12", true},	{".f.AbCd1", false},
		{".DS_Store", true},	{".Trash-1000", true},	{".nfs0001", true},
		{".git", false},	{"README.md", false},	{"new", false},
		{".ipynb_checkpoints", true}, {"f.swp", false},
		{"XXJiV9S4", true},	{"f.yaml.o2ZYHlP", true}, {"f.x2ZYHlP", false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		bool is = fs_scratch_name(cases[i].name) || fs_scratch_random(cases[i].name);

		if (is != cases[i].is)
			printf("# %s\n", cases[i].name);
		CHECK_INT(is, cases[i].is);
	}
	/* What a person may mean is the editor's only if it asks for a new file. */
	static const char *const both[] = {"sediments", "5036", "v1.release", "XXlarge1"};
	PLATFORM(p);
	CLIENT(c, p);
	char path[200];

	prepare(&p, MK_FINISHED);
	for (size_t i = 0; i < sizeof(both) / sizeof(*both); i++) {
		CHECK(!fs_scratch_name(both[i]));
		(void)snprintf(path, sizeof(path), RUN_DIR "/params/%s", both[i]);
		CHECK_INT(client_write(&c, path, O_TRUNC, "v\n"), 0);
		CHECK_CAT(&c, path, "v\n");
	}
	CHECK_LS(&c, RUN_DIR "/params", "5036 XXlarge1 sediments v1.release");
	CHECK_INT(client_mkdir(&c, RUN_DIR "/params/sediment1"), 0);
	CHECK_INT(client_write(&c, RUN_DIR "/params/sediment1/x", 0, "v\n"), 0);
	CHECK_INT(client_write(&c, "projects/rain/sedAbCd12", O_EXCL, "v\n"), 0);
	CHECK_INT(client_write(&c, "projects/rain/sedAbCd13", O_TRUNC, "v\n"), -EPERM);
}

static void editors_files_are_bounded(void)
{
	PLATFORM(p);
	CLIENT(c, p);
	char path[64];
	int made = 0, r = 0;

	prepare(&p, MK_FINISHED);
	for (int i = 0; i < FS_SCRATCH_FILES + 10 && r == 0; i++) {
		snprintf(path, sizeof(path), "projects/rain/f%d~", i);
		r = client_write(&c, path, 0, "x");
		made += r == 0;
	}
	CHECK_INT(r, -ENOSPC);
	CHECK_INT(made, FS_SCRATCH_FILES);
}

int main(void)
{
	return RUN(TEST(a_tag_is_written_and_read), TEST(a_refused_write_keeps_its_reason),
		   TEST(metrics_are_appended_line_by_line),
		   TEST(a_handle_follows_what_is_appended), TEST(ctl_acts_in_write_and_remembers),
		   TEST(a_text_is_committed_when_its_opener_closes),
		   TEST(a_killed_writer_commits_nothing), TEST(a_refused_save_leaves_the_old_text),
		   TEST(a_save_over_another_one_is_refused), TEST(vim_saves),
		   TEST(rename_over_is_an_edit), TEST(files_of_editors_are_files),
		   TEST(names_of_editors), TEST(editors_files_are_bounded));
}
