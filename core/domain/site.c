/* SPDX-License-Identifier: Apache-2.0 */
/* Sites as the tree shows them: site.yaml, queues.tsv, jobs.tsv, files/. Any thread; a site that is
 * not this machine is asked in its own lane. */
#include <mantik/site.h>

#include <inttypes.h>

#include "base/file.h"
#include "connect/connect.h"

int mk_site_list(struct mk_call *call, struct mantik *m, mk_site_emit *emit, void *arg)
{
	_cleanup_list_ struct mk_list names = {};
	int r = mk_site_names(call, m, &names);

	for (size_t i = 0; r >= 0 && i < names.n; i++) {
		r = emit(arg, names.v[i]);
		if (r)
			return r;
	}
	return r;
}

int mk_site_exists(struct mk_call *call, struct mantik *m, const char *site)
{
	struct mk_site s = {};
	int r = mk_site_open(call, m, site, &s);

	if (r < 0)
		return r;
	mk_site_close(&s);
	return 0;
}

/* A TSV cell: tab, newline and backslash are written \t \n \\. */
static void cell(struct mk_buf *buf, const char *text, char end)
{
	for (const char *p = text ? text : ""; *p; p++) {
		if (*p == '\t')
			(void)mk_buf_puts(buf, "\\t");
		else if (*p == '\n')
			(void)mk_buf_puts(buf, "\\n");
		else if (*p == '\\')
			(void)mk_buf_puts(buf, "\\\\");
		else
			(void)mk_buf_putc(buf, *p);
	}
	(void)mk_buf_putc(buf, end);
}

struct rows {
	struct mk_call *call;
	struct mantik *m;
	struct mk_buf *buf;
};

static int queue_row(void *arg, const struct mk_queue *queue)
{
	struct rows *rows = arg;

	cell(rows->buf, queue->name, '\t');
	(void)mk_buf_printf(rows->buf, "%" PRId64 "\t%" PRId64 "\t%" PRId64 "\t", queue->slots,
			    queue->used, queue->waiting);
	if (queue->runtime_limit)
		(void)mk_buf_printf(rows->buf, "%" PRId64, queue->runtime_limit);
	(void)mk_buf_putc(rows->buf, '\n');
	return mk_buf_check(rows->buf);
}

/* The run a job belongs to, as its directory is named. */
static char *run_dir(struct rows *rows, const char *uid)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;

	if (mk_db_read(rows->call, rows->m->db, "SELECT dir FROM runs WHERE uid = ?1", &stmt) < 0)
		return NULL;
	mk_bind_text(stmt, 1, uid);
	return mk_step(rows->call, stmt) > 0 ? mk_col_dup(stmt, 0) : NULL;
}

static int job_row(void *arg, const char *key, const struct mk_job *job)
{
	struct rows *rows = arg;
	_cleanup_free_ char *dir = run_dir(rows, key);
	char time[32];

	cell(rows->buf, job->id, '\t');
	cell(rows->buf, dir ? dir : key, '\t');
	cell(rows->buf, mk_status_name(job->status), '\t');
	cell(rows->buf, job->queue, '\t');
	mk_time_text(job->submitted, false, time);
	cell(rows->buf, time, '\t');
	mk_time_text(job->started, false, time);
	cell(rows->buf, time, '\n');
	return mk_buf_check(rows->buf);
}

static int site_yaml(struct mk_call *call, const struct mk_site *site, struct mk_buf *ret)
{
	(void)mk_buf_printf(ret, "kind: %s\nhealth: ok\n", site->compute->caps.kind);
	(void)mk_buf_puts(ret, "limits:\n");
	if (site->compute->caps.has_slots)
		(void)mk_buf_printf(ret, "  slots: %" PRId64 "\n", site->slots);
	if (site->compute->caps.runs_here) {
		double memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
		char host[256] = "";

		(void)gethostname(host, sizeof(host) - 1);
		(void)mk_buf_printf(ret, "  cpus: %ld\n  memory: %.0f\nhost: %s\n",
				    sysconf(_SC_NPROCESSORS_ONLN), memory, host);
	}
	return mk_buf_check(ret);
}

int mk_site_text(struct mk_call *call, struct mantik *m, const char *site, enum mk_site_text which,
		 struct mk_buf *ret)
{
	struct rows rows = {.call = call, .m = m, .buf = ret};
	struct mk_site s = {};
	int r = mk_site_open(call, m, site, &s);

	if (r < 0)
		return r;
	if (!s.compute->caps.runs_here)
		r = mk_call_may_wait(call, site);
	if (r == 0) {
		switch (which) {
		case MK_SITE_YAML:
			r = site_yaml(call, &s, ret);
			break;
		case MK_SITE_QUEUES:
			(void)mk_buf_puts(ret, "queue\tslots\tused\twaiting\truntime_limit\n");
			r = s.compute->queues(call, &s, queue_row, &rows);
			break;
		case MK_SITE_JOBS:
			(void)mk_buf_puts(ret, "job_id\trun\tstatus\tqueue\tsubmitted\tstarted\n");
			r = s.compute->list(call, &s, job_row, &rows);
			break;
		}
	}
	mk_site_close(&s);
	if (r < 0 && !call->error.code && r != MK_PUNT)
		return mk_fail(call, -r, "sites/%s: too large", site);
	return r;
}

int mk_site_files(struct mk_call *call, struct mantik *m, const char *site, struct mk_pairs *ret)
{
	const char *home = getenv("HOME");
	const char *scratch = getenv("SCRATCH");
	int r = mk_site_exists(call, m, site);

	if (r < 0)
		return r;
	if (home && *home == '/')
		r = mk_pairs_set(ret, "home", home);
	if (r >= 0)
		r = mk_pairs_set(ret, "scratch", scratch && *scratch == '/' ? scratch : m->work_dir);
	return r < 0 ? mk_fail(call, -r, "sites/%s/files: out of memory", site) : 0;
}
