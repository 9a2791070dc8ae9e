/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many runs as JSON. One at a time would be serve_run() (tracked.c), which makes a tree of objects
 * first: for a page of 10 000 runs that is 200 MB and most of the time. Here the text is written
 * as the rows come, with seven statements that are prepared once a page.
 */
#include "serve/paging.h"

#include <string.h>

#include "domain/logged.h"
#include "domain/track/search.h"
#include "domain/track/track.h"

/* What is told of a run besides its row: each a list of rows of one statement. */
static const struct part {
	const char *open;  /* what stands before the part; `{` and so on when an object begins */
	const char *name;
	const char *close; /* what stands behind it */
	const char *sql;
	void (*put)(struct mk_buf *out, struct mk_stmt *row);
} parts[];

static int64_t ms_of(int64_t ns)
{
	return ns / MK_MS - (ns % MK_MS < 0);
}

static void put_int(struct mk_buf *out, const char *name, int64_t value)
{
	char text[24], *at = text + sizeof(text);
	uint64_t v = value < 0 ? -(uint64_t)value : (uint64_t)value;

	do
		*--at = (char)('0' + v % 10);
	while (v /= 10);
	if (value < 0)
		*--at = '-';
	(void)mk_buf_puts(out, name);
	(void)mk_buf_put(out, at, (size_t)(text + sizeof(text) - at));
}

static void put_named(struct mk_buf *out, const char *name, const char *text)
{
	(void)mk_buf_puts(out, name);
	serve_put_text(out, text ? text : "");
}

static void put_metric(struct mk_buf *out, struct mk_stmt *row)
{
	put_named(out, "{\"key\":", mk_col_text(row, 0));
	(void)mk_buf_puts(out, ",\"value\":");
	if (mk_col_null(row, 1))
		(void)mk_buf_puts(out, "\"NaN\"");
	else
		serve_put_number(out, mk_col_value_minus(row, 1, 4, MK_MINUS_LAST));
	put_int(out, ",\"timestamp\":", ms_of(mk_col_int(row, 2)));
	put_int(out, ",\"step\":", mk_col_int(row, 3));
	(void)mk_buf_putc(out, '}');
}

static void put_pair(struct mk_buf *out, const char *key, const char *value)
{
	put_named(out, "{\"key\":", key);
	put_named(out, ",\"value\":", value);
	(void)mk_buf_putc(out, '}');
}

static void put_value(struct mk_buf *out, struct mk_stmt *row)
{
	put_pair(out, mk_col_text(row, 0), mk_col_text(row, 1));
}

/* key NUL value NUL … */
static void put_packed(struct mk_buf *out, const char *at, size_t len)
{
	const char *end = at + len;
	bool first = true;

	while (at && at < end) {
		const char *value = at + strnlen(at, (size_t)(end - at)) + 1;

		if (value >= end || !memchr(value, 0, (size_t)(end - value)))
			break;
		(void)mk_buf_puts(out, first ? "\"tags\":[" : ",");
		put_pair(out, at, value);
		first = false;
		at = value + strlen(value) + 1;
	}
	if (!first)
		(void)mk_buf_puts(out, "],");
}

static void put_dataset(struct mk_buf *out, struct mk_stmt *row)
{
	static const char *const names[] = {"{\"name\":", ",\"digest\":", ",\"source_type\":",
					    ",\"source\":", ",\"schema\":", ",\"profile\":"};
	size_t len;
	const char *tags = mk_col_blob(row, 6, &len);

	(void)mk_buf_putc(out, '{');
	put_packed(out, tags, len);
	(void)mk_buf_puts(out, "\"dataset\":");
	for (int i = 0; i < 6; i++)
		if (i < 4 || *mk_col_text(row, i))
			put_named(out, names[i], mk_col_text(row, i));
	(void)mk_buf_puts(out, "}}");
}

static void put_model_in(struct mk_buf *out, struct mk_stmt *row)
{
	put_named(out, "{\"model_id\":", mk_col_text(row, 0));
	(void)mk_buf_putc(out, '}');
}

static void put_model_out(struct mk_buf *out, struct mk_stmt *row)
{
	put_named(out, "{\"model_id\":", mk_col_text(row, 0));
	put_int(out, ",\"step\":", mk_col_int(row, 1));
	(void)mk_buf_putc(out, '}');
}

static const struct part parts[] = {
	{",\"data\":{", "metrics", "",
	 "SELECT key, last_value, last_time, last_step, minus FROM metrics WHERE run_id = ?"
	 " ORDER BY key",
	 put_metric},
	{"", "params", "", "SELECT key, value FROM params WHERE run_id = ? ORDER BY key", put_value},
	{"", "tags", "}", "SELECT key, value FROM tags WHERE run_id = ? ORDER BY key", put_value},
	{",\"inputs\":{", "dataset_inputs", "",
	 "SELECT name, digest, source_type, source, schema, profile, tags FROM run_datasets"
	 " WHERE run_id = ? ORDER BY seq",
	 put_dataset},
	{"", "model_inputs", "}",
	 "SELECT model_id FROM run_model_inputs WHERE run_id = ? ORDER BY model_id", put_model_in},
	{",\"outputs\":{", "model_outputs", "}",
	 "SELECT model_id, step FROM run_models WHERE run_id = ? ORDER BY model_id", put_model_out},
};

enum { N_PARTS = sizeof(parts) / sizeof(parts[0]) };

static const char info_sql[] =
	"SELECT r.uid, r.name, r.experiment_id, r.user, r.status, " MK_SQL_RUN_START
	", r.ended, " MK_SQL_RUN_ARTIFACTS ", r.deleted > 0 FROM runs r WHERE r.id = ?";

struct page {
	struct serve_request *rq;
	struct mk_buf *out;
	int64_t zero;
	struct mk_stmt *info, *parts[N_PARTS];
};

static void page_done(struct page *page)
{
	mk_reset(&page->info);
	for (size_t i = 0; i < N_PARTS; i++)
		mk_reset(&page->parts[i]);
}

static void put_info(struct mk_buf *out, struct mk_stmt *row, int64_t zero)
{
	int64_t experiment = mk_col_int(row, 2);
	enum mk_status status = (enum mk_status)mk_col_int(row, 4);

	put_named(out, "{\"info\":{\"run_id\":", mk_col_text(row, 0));
	put_named(out, ",\"run_uuid\":", mk_col_text(row, 0));
	put_named(out, ",\"run_name\":", mk_col_text(row, 1));
	put_int(out, ",\"experiment_id\":\"", experiment == zero ? 0 : experiment);
	put_named(out, "\",\"user_id\":", mk_col_text(row, 3));
	/* MLflow has no word for a job nobody knows any more. */
	put_named(out, ",\"status\":", mk_status_name(status == MK_UNKNOWN ? MK_FAILED : status));
	put_int(out, ",\"start_time\":", mk_col_int(row, 5));
	if (mk_col_int(row, 6))
		put_int(out, ",\"end_time\":", ms_of(mk_col_int(row, 6)));
	put_named(out, ",\"artifact_uri\":", mk_col_text(row, 7));
	(void)mk_buf_puts(out, mk_col_int(row, 8) ? ",\"lifecycle_stage\":\"deleted\"}"
						  : ",\"lifecycle_stage\":\"active\"}");
}

/* A list of the rows, left out when there are none. *inside: something stands in its object. */
static int put_part(struct page *page, size_t i, int64_t id, bool *inside)
{
	struct mk_stmt *stmt = page->parts[i];
	int r;
	bool any = false;

	(void)mk_buf_puts(page->out, parts[i].open);
	if (*parts[i].open)
		*inside = false;
	mk_rewind(stmt);
	mk_bind_int(stmt, 1, id);
	while ((r = mk_step(page->rq->call, stmt)) > 0) {
		if (any)
			(void)mk_buf_putc(page->out, ',');
		else
			(void)mk_buf_printf(page->out, "%s\"%s\":[", *inside ? "," : "",
					    parts[i].name);
		any = true;
		parts[i].put(page->out, stmt);
	}
	if (any) {
		(void)mk_buf_putc(page->out, ']');
		*inside = true;
	}
	(void)mk_buf_puts(page->out, parts[i].close);
	return r;
}

static int put_run(struct page *page, int64_t id, bool first)
{
	bool inside = false;

	mk_rewind(page->info);
	mk_bind_int(page->info, 1, id);

	int r = mk_step(page->rq->call, page->info);

	if (r <= 0)
		return r;
	if (!first)
		(void)mk_buf_putc(page->out, ',');
	put_info(page->out, page->info, page->zero);
	for (size_t i = 0; r >= 0 && i < N_PARTS; i++)
		r = put_part(page, i, id, &inside);
	(void)mk_buf_putc(page->out, '}');
	return r;
}

int serve_put_runs(struct serve_request *rq, const int64_t *ids, size_t n, int64_t zero,
		   struct mk_buf *out)
{
	_cleanup_(page_done) struct page page = {.rq = rq, .out = out, .zero = zero};
	int r = mk_db_read(rq->call, rq->m->db, info_sql, &page.info);

	for (size_t i = 0; r == 0 && i < N_PARTS; i++)
		r = mk_db_read(rq->call, rq->m->db, parts[i].sql, &page.parts[i]);
	(void)mk_buf_putc(out, '[');
	for (size_t i = 0; r >= 0 && i < n; i++) {
		r = put_run(&page, ids[i], i == 0);
		if (r >= 0)
			r = mk_buf_check(out);
		if (r >= 0 && i % 256 == 0)
			r = mk_call_check(rq->call, "the page of runs");
	}
	(void)mk_buf_putc(out, ']');
	if (mk_buf_check(out) < 0)
		return serve_fail(rq, "INVALID_PARAMETER_VALUE",
				  "the page is larger than %zu MiB: ask with a smaller max_results",
				  out->limit >> 20);
	return r < 0 ? r : 0;
}
