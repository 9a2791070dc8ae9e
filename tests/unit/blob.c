/* SPDX-License-Identifier: Apache-2.0 */
/* What a run left behind was written by a job: it is opened beneath the run's record, links are
 * shown as links and lead nowhere. */
#include <fcntl.h>
#include <sys/stat.h>

#include <mantik/blob.h>

#include "platform.h"
#include "runs.h"

static const char uid[] = "1a2b3c4d00000000000000000000000f";

static int64_t make_run(struct platform *p, enum mk_status status)
{
	int64_t project = 0;

	CHECK_INT(mk_project_make(&p->call, p->m, "p", &project), 0);
	return make_runs(p, (struct made_run){.project_id = project,
					      .experiment = "e",
					      .name = "a",
					      .status = status,
					      .uid = uid});
}

static int record(const struct platform *p)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/runs/%s", p->data, uid);
	(void)mkdir(path, 0700);
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void put(int dir, const char *name, const char *text, int flags)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0600);

	CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

static int count(void *arg, const struct mk_dirent *entry)
{
	struct mk_buf *text = arg;

	(void)mk_buf_printf(text, "%s%s:%lld ", entry->name,
			    entry->is_dir    ? "/"
			    : entry->is_link ? "@"
					     : "",
			    (long long)entry->size);
	return 0;
}

static void artifacts_stay_beneath(void)
{
	PLATFORM(p);
	int64_t run = make_run(&p, MK_FINISHED);
	_cleanup_(mk_blob_closep) struct mk_blob *blob = NULL;
	_cleanup_buf_ struct mk_buf text = MK_BUF(1000);
	struct mk_dirent entry;
	char data[100] = "";

	CHECK_INT(mk_run_artifact_list(&p.call, p.m, run, "", count, &text), 0);
	CHECK_INT(text.len, 0);

	_cleanup_close_ int dir = record(&p);

	NEED(dir >= 0);
	put(dir, "secret", "s3cret", 0);
	CHECK_INT(mkdirat(dir, "artifacts", 0700), 0);
	CHECK_INT(mkdirat(dir, "artifacts/d", 0700), 0);
	put(dir, "artifacts/d/f", "hello", 0);
	CHECK_INT(symlinkat("/etc", dir, "artifacts/d/etc"), 0);
	CHECK_INT(symlinkat("../secret", dir, "artifacts/up"), 0);
	CHECK_INT(mk_run_artifact_list(&p.call, p.m, run, "d", count, &text), 0);
	CHECK(strstr(mk_buf_text(&text), "f:5 "));
	CHECK(strstr(mk_buf_text(&text), "etc@:4 "));
	CHECK_INT(mk_run_artifact_open(&p.call, p.m, run, "d/f", &blob), 0);
	NEED(blob);
	CHECK_INT(mk_blob_read(&p.call, blob, data, sizeof(data), 1), 4);
	CHECK_TEXT(data, "ello");
	CHECK_INT(mk_run_artifact_stat(&p.call, p.m, run, "up", &entry), 0);
	CHECK(entry.is_link);
	mk_blob_closep(&blob);
	memset(data, 0, sizeof(data));
	/* The link is its text, never what it leads to. */
	CHECK_INT(mk_run_artifact_open(&p.call, p.m, run, "up", &blob), 0);
	NEED(blob);
	CHECK_INT(mk_blob_read(&p.call, blob, data, sizeof(data), 0), 9);
	CHECK_TEXT(data, "../secret");
	mk_blob_closep(&blob);
	static const char *const ways[] = {"d/etc/passwd", "../secret", "d/../../secret",
					   "/etc/passwd",  "none",	"d/f/g"};
	for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
		int r = mk_run_artifact_open(&p.call, p.m, run, ways[i], &blob);

		if (r != -ENOENT)
			printf("# %s: %d\n", ways[i], r);
		CHECK_INT(r, -ENOENT);
	}
	CHECK_INT(mk_run_artifact_list(&p.call, p.m, run, "d/etc", count, &text), -ENOTDIR);
	CHECK_INT(mk_run_artifact_open(&p.call, p.m, run, "d", &blob), -EISDIR);
	CHECK_INT(mk_run_artifact_list(&p.call, p.m, run + 100, "", count, &text), -ENOENT);
}

static void logs_grow_and_are_no_links(void)
{
	PLATFORM(p);
	int64_t run = make_run(&p, MK_RUNNING);
	_cleanup_(mk_blob_closep) struct mk_blob *blob = NULL;
	struct mk_blob_stat st;
	char data[100] = "";
	_cleanup_close_ int dir = record(&p);

	CHECK_INT(mk_run_log_stat(&p.call, p.m, run, MK_LOG_STDOUT, &st), 0);
	CHECK(st.size == 0 && st.growing);
	put(dir, "stdout", "one\n", 0);
	CHECK_INT(mk_run_log_open(&p.call, p.m, run, MK_LOG_STDOUT, &blob), 0);
	NEED(blob);
	put(dir, "stdout", "two\n", O_APPEND);
	CHECK_INT(mk_blob_stat(&p.call, blob, &st), 0);
	CHECK(st.size == 8 && st.growing);
	CHECK_INT(mk_blob_read(&p.call, blob, data, sizeof(data), 4), 4);
	CHECK_TEXT(data, "two\n");
	mk_blob_closep(&blob);
	CHECK_INT(symlinkat("/etc/passwd", dir, "stderr"), 0);
	CHECK(mk_run_log_open(&p.call, p.m, run, MK_LOG_STDERR, &blob) < 0);
	CHECK(mk_run_log_stat(&p.call, p.m, run, MK_LOG_STDERR, &st) < 0);
}

int main(void)
{
	return RUN(TEST(artifacts_stay_beneath), TEST(logs_grow_and_are_no_links));
}
