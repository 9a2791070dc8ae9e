/* SPDX-License-Identifier: Apache-2.0 */
/* mantikctl status: one word a run; without operands all live runs of all projects as a table. */
#include "cmd.h"

#include <mantik/run.h>

#include <string.h>

struct ids {
	int64_t *v;
	size_t n, cap;
};

static void free_ids(struct ids *ids)
{
	free(ids->v);
}

static int take_id(void *arg, const struct mk_run_entry *entry)
{
	struct ids *ids = arg;

	if (ids->n == ids->cap) {
		int64_t *more = mk_alloc((ids->cap * 2 + 64) * sizeof(*more));

		if (ids->n)
			memcpy(more, ids->v, ids->n * sizeof(*more));
		free(ids->v);
		ids->v = more;
		ids->cap = ids->cap * 2 + 64;
	}
	ids->v[ids->n++] = entry->id;
	return 0;
}

/* A value of a table: as in *.tsv, tab and newline are escaped. */
static void put_field(struct mk_buf *out, const char *value, char end)
{
	for (const char *c = value ? value : ""; *c; c++) {
		if (*c == '\t' || *c == '\n' || *c == '\\')
			mk_buf_printf(out, "\\%c", *c == '\t' ? 't' : *c == '\n' ? 'n' : '\\');
		else
			mk_buf_putc(out, *c);
	}
	mk_buf_putc(out, end);
}

static int put_row(struct ctl *ctl, struct mk_buf *out, const struct mk_run *run)
{
	_cleanup_free_ char *waits = NULL;
	char submitted[32], started[32];
	int r = mk_run_waits(&ctl->call, ctl->m, run, &waits);

	if (r < 0)
		return r;
	mk_time_text(run->submitted, false, submitted);
	mk_time_text(run->started, false, started);
	put_field(out, run->project, '\t');
	put_field(out, run->dir, '\t');
	put_field(out, mk_status_name(run->status), '\t');
	put_field(out, run->site, '\t');
	put_field(out, submitted, '\t');
	put_field(out, started, '\t');
	put_field(out, waits ? waits : run->reason, '\n');
	return mk_buf_check(out);
}

static int put_info(struct ctl *ctl, struct mk_buf *out, const struct mk_run *run, bool json)
{
	_cleanup_(mk_run_more_free) struct mk_run_more more = {};
	int r = mk_run_more(&ctl->call, ctl->m, run, &more);

	return r < 0 ? r : mk_run_info(run, &more, json, out);
}

static int put_json(struct ctl *ctl, struct mk_buf *out, const struct mk_run *run, bool first)
{
	if (!first)
		mk_buf_puts(out, ",\n");
	return put_info(ctl, out, run, true);
}

static int all_live(struct ctl *ctl)
{
	const bool json = ctl_option(ctl, "json");
	struct mk_run_query query = {.live = true};
	_cleanup_(free_ids) struct ids ids = {};
	_cleanup_buf_ struct mk_buf out = MK_BUF(MK_LIMIT_TABLE);
	int r = 0;

	if (ctl_option(ctl, "project"))
		r = ctl_project(ctl, NULL, &query.project_id);
	if (r == 0)
		r = mk_run_list(&ctl->call, ctl->m, &query, take_id, &ids);
	if (r < 0)
		return r;
	mk_buf_puts(&out, json ? "[" : "project\trun\tstatus\tsite\tsubmitted\tstarted\treason\n");
	for (size_t i = 0; i < ids.n; i++) {
		_cleanup_(mk_run_free) struct mk_run run = {};

		r = mk_run_get(&ctl->call, ctl->m, ids.v[i], &run);
		if (r < 0)
			return r;
		if (json)
			r = put_json(ctl, &out, &run, i == 0);
		else
			r = put_row(ctl, &out, &run);
		if (r < 0)
			return r;
	}
	if (json)
		mk_buf_puts(&out, "]\n");
	return ctl_print(ctl, mk_buf_text(&out), out.len);
}

static int one(struct ctl *ctl, int64_t id)
{
	_cleanup_(mk_run_free) struct mk_run run = {};
	_cleanup_buf_ struct mk_buf out = MK_BUF(MK_LIMIT_BODY);
	int r = mk_run_get(&ctl->call, ctl->m, id, &run);

	if (r < 0)
		return r;
	if (ctl_option(ctl, "json") || ctl_option(ctl, "verbose"))
		r = put_info(ctl, &out, &run, ctl_option(ctl, "json"));
	else if (ctl->n_operands > 1)
		mk_buf_printf(&out, "%s\t%s\n", run.dir, mk_status_name(run.status));
	else
		mk_buf_printf(&out, "%s\n", mk_status_name(run.status));
	return r < 0 ? r : ctl_print(ctl, mk_buf_text(&out), out.len);
}

static int run(struct ctl *ctl)
{
	return ctl->n_operands ? ctl_each_run(ctl, one) : all_live(ctl);
}

const struct cmd cmd_status = {
	.name = "status",
	.operands = "[RUN ...]",
	.max = -1,
	.needs = CTL_READ,
	.help = "tells how runs are",
	.more = "For one RUN the status alone: SCHEDULED, RUNNING, FINISHED, FAILED, KILLED or UNKNOWN. For "
		"several: name, tab, status. Without RUN: a table of all that have not ended.",
	.options =
		(const struct cmd_option[]){
			{'v', "verbose", NULL, "everything that info.yaml tells"},
			{'j', "json", NULL, "the same as JSON"},
			{'p', "project", "PROJECT", "only this project"},
			{},
		},
	.run = run,
};
