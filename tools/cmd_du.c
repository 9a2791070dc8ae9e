/* SPDX-License-Identifier: Apache-2.0 */
/* mantikctl du: what the platform, or single runs, take on disk. */
#include "cmd.h"

#include <mantik/run.h>

#include <errno.h>
#include <fts.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Bytes on disk below a path, not across file systems; hard links count once. 0 when absent. */
static int measure(struct ctl *ctl, const char *path, int64_t *ret)
{
	_cleanup_free_ char *copy = mk_strdup(path);
	char *paths[] = {copy, NULL};
	FTS *fts = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, NULL);
	int64_t sum = 0;
	int r = 0;

	if (!fts)
		return mk_fail(&ctl->call, errno, "%s: %s", path, strerror(errno));
	for (FTSENT *e; r == 0 && (e = fts_read(fts));) {
		const bool is_dir = e->fts_info == FTS_D || e->fts_info == FTS_DP;

		if (e->fts_info != FTS_DP && e->fts_info != FTS_NS && e->fts_info != FTS_DNR &&
		    e->fts_info != FTS_ERR)
			sum += (int64_t)e->fts_statp->st_blocks * 512 /
			       (is_dir || e->fts_statp->st_nlink == 0 ? 1
								     : e->fts_statp->st_nlink);
		r = mk_call_check(&ctl->call, "du");
	}
	fts_close(fts);
	*ret = sum;
	return r;
}

static void print_size(struct ctl *ctl, int64_t bytes, const char *what, const char *path)
{
	static const char units[] = "BKMGTP";
	double n = (double)bytes;
	int unit = 0;

	if (!ctl_option(ctl, "human")) {
		printf("%lld\t%s\t%s\n", (long long)bytes, what, path);
		return;
	}
	while (n >= 1000 && units[unit + 1]) {
		n /= 1024;
		unit++;
	}
	printf("%.*f%c\t%s\t%s\n", n < 10 && unit ? 1 : 0, n, units[unit], what, path);
}

static int report(struct ctl *ctl, const char *what, const char *path)
{
	int64_t bytes = 0;
	int r = measure(ctl, path, &bytes);

	if (r == 0)
		print_size(ctl, bytes, what, path);
	return r;
}

/* With what SQLite has beside it: its log, or its rollback journal. */
static int database(struct ctl *ctl)
{
	static const char *const ends[] = {"", "-wal", "-shm", "-journal"};
	_cleanup_buf_ struct mk_buf path = MK_BUF(MK_LIMIT_TEXT);
	int64_t sum = 0;
	int r = mk_buf_printf(&path, "%s/mantik.db", mantik_data_dir(ctl->m));
	size_t len = path.len;

	for (size_t i = 0; r == 0 && i < sizeof(ends) / sizeof(*ends); i++) {
		int64_t bytes = 0;

		mk_buf_truncate(&path, len);
		r = mk_buf_puts(&path, ends[i]);
		if (r == 0)
			r = measure(ctl, mk_buf_text(&path), &bytes);
		sum += bytes;
	}
	mk_buf_truncate(&path, len);
	if (r == 0)
		print_size(ctl, sum, "database", mk_buf_text(&path));
	return r;
}

static int one_run(struct ctl *ctl, int64_t id)
{
	_cleanup_buf_ struct mk_buf record = MK_BUF(MK_LIMIT_TEXT);
	_cleanup_(mk_run_free) struct mk_run run = {};
	int r = mk_run_get(&ctl->call, ctl->m, id, &run);

	if (r < 0)
		return r;
	mk_buf_printf(&record, "%s/runs/%s", mantik_data_dir(ctl->m), run.uid);
	r = report(ctl, "record", mk_buf_text(&record));
	if (r == 0 && run.workdir)
		r = report(ctl, "workdir", run.workdir);
	return r;
}

static int run(struct ctl *ctl)
{
	static const struct {
		const char *what, *below;
	} parts[] = {{"records", "runs"}, {"models", "models"}, {"uploads", "uploads"},
		     {"mirrors", "git"}};
	int r;

	if (ctl->n_operands)
		return ctl_each_run(ctl, one_run);
	r = database(ctl);
	for (size_t i = 0; r == 0 && i < sizeof(parts) / sizeof(*parts); i++) {
		_cleanup_buf_ struct mk_buf path = MK_BUF(MK_LIMIT_TEXT);

		mk_buf_printf(&path, "%s/%s", mantik_data_dir(ctl->m), parts[i].below);
		r = report(ctl, parts[i].what, mk_buf_text(&path));
	}
	if (r == 0)
		r = report(ctl, "workdirs", mantik_work_dir(ctl->m));
	if (r == 0)
		r = report(ctl, "cache", mantik_cache_dir(ctl->m));
	return r;
}

const struct cmd cmd_du = {
	.name = "du",
	.operands = "[RUN ...]",
	.max = -1,
	.needs = CTL_READ,
	.help = "tells what is taken on disk",
	.more = "Bytes, what, path, parted by tabs. Of a RUN its record (logs, artifacts) and its working "
		"directory, which echo clean > ctl removes; else of all the platform: database, records of runs, "
		"models that were logged, files on their way to tracking servers, mirrors of git, working "
		"directories and the cache, which may be deleted at any time.",
	.options =
		(const struct cmd_option[]){
			{'H', "human", NULL, "sizes as 12K, 3.4M, 5.6G"},
			{},
		},
	.run = run,
};
