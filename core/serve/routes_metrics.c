/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metrics of MLflow's API: one, a batch with params and tags, the history of a key in pages, of
 * several runs, and sampled. Histories are written as text: a page may have 25 000 points.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/doc.h"
#include "domain/track/track.h"
#include "serve/check.h"
#include "serve/tracked.h"

#define AT "/api/2.0/mlflow/"

enum {
	BATCH_METRICS = 1000,
	BATCH_PAIRS = 100,
	BATCH_ALL = 1000,
	BULK_RUNS = 100,
	BULK_POINTS = 25000,
	INTERVAL_POINTS = 2500,
};

/* --- logging ------------------------------------------------------------------------------- */

/* rq->in is the metric. */
static int read_metric(struct serve_request *rq, const char *path, struct mk_track_metric *to)
{
	int64_t ms = 0;
	int r = serve_text(rq, "key", true, &to->key);

	if (r >= 0)
		r = serve_double(rq, "value", true, &to->point.value);
	if (r >= 0)
		r = serve_int(rq, "timestamp", true, &ms);
	if (r >= 0)
		r = serve_int(rq, "step", false, &to->point.step);
	if (r >= 0)
		r = serve_text(rq, "model_id", false, &to->model_id);
	if (r >= 0)
		r = serve_text(rq, "dataset_name", false, &to->dataset_name);
	if (r >= 0)
		r = serve_text(rq, "dataset_digest", false, &to->dataset_digest);
	if (r >= 0)
		r = serve_check_key(rq, "Metric name", path, to->key);
	if (r < 0)
		return r;
	if (ms < 0 || !mk_track_time(ms, &to->point.time))
		return serve_fail(rq, "INVALID_PARAMETER_VALUE",
				  "Invalid value %lld for parameter 'timestamp' supplied: metric '%s' "
				  "(value=%g). Timestamp must be a nonnegative number of milliseconds "
				  "since 1970, at most the year 2262",
				  (long long)ms, to->key, to->point.value);
	if (to->model_id && !*to->model_id)
		to->model_id = NULL;
	return 0;
}

static int log_metric(struct serve_request *rq, json_t **ret)
{
	struct mk_track_metric metric = {};
	struct mk_track_batch batch = {.metrics = &metric, .n_metrics = 1};
	const char *uid;
	int r = serve_text(rq, "run_id", true, &uid);

	if (r >= 0)
		r = read_metric(rq, "name", &metric);
	if (r == 0)
		r = serve_run_of(rq, &batch.run_id);
	return r < 0 ? r : mk_track_log(rq->call, rq->m, &batch);
}

static int read_metrics(struct serve_request *rq, struct mk_track_metric **ret, size_t *ret_n)
{
	json_t *list = NULL, *one;
	size_t i;
	int r = serve_list(rq, "metrics", false, &list);

	if (r <= 0)
		return r;
	*ret = calloc(json_array_size(list) + 1, sizeof(**ret));
	if (!*ret)
		return serve_made(rq, NULL);
	json_array_foreach(list, i, one) {
		struct serve_item item;
		char path[48];

		(void)snprintf(path, sizeof(path), "metrics[%zu].name", i);
		r = serve_item(rq, "metrics", i, one, &item);
		if (r == 0)
			r = serve_item_end(&item, read_metric(&item.sub, path, &(*ret)[i]));
		if (r < 0)
			return r;
	}
	*ret_n = json_array_size(list);
	return 0;
}

static int check_limit(struct serve_request *rq, const char *what, size_t limit, size_t n)
{
	if (n <= limit)
		return 0;
	return serve_fail(rq, "INVALID_PARAMETER_VALUE",
			  "A batch logging request can contain at most %zu %s. Got %zu %s. Please split "
			  "up %s across multiple requests and try again.",
			  limit, what, n, what, what);
}

static int log_batch(struct serve_request *rq, json_t **ret)
{
	_cleanup_pairs_ struct mk_pairs params = {}, tags = {};
	_cleanup_free_ struct mk_track_metric *metrics = NULL;
	struct mk_track_batch batch = {.params = &params, .tags = &tags};
	const char *uid = "";
	int r = serve_text(rq, "run_id", true, &uid);

	if (r >= 0)
		r = serve_check_run_id(rq, uid);
	if (r >= 0)
		r = read_metrics(rq, &metrics, &batch.n_metrics);
	if (r >= 0)
		r = serve_pairs(rq, "params", SERVE_PAIRS_PARAMS, SERVE_PARAM_MAX, &params);
	if (r >= 0)
		r = serve_pairs(rq, "tags", SERVE_PAIRS_TAGS, SERVE_TAG_MAX, &tags);
	if (r >= 0)
		r = check_limit(rq, "metrics", BATCH_METRICS, batch.n_metrics);
	if (r == 0)
		r = check_limit(rq, "params", BATCH_PAIRS, params.n);
	if (r == 0)
		r = check_limit(rq, "tags", BATCH_PAIRS, tags.n);
	if (r == 0)
		r = check_limit(rq, "metrics, params, and tags", BATCH_ALL,
				batch.n_metrics + params.n + tags.n);
	if (r == 0)
		r = mk_track_run(rq->call, rq->m, rq->project_id, uid, &batch.run_id);
	batch.metrics = metrics;
	return r < 0 ? r : mk_track_log(rq->call, rq->m, &batch);
}

/* --- histories ----------------------------------------------------------------------------- */

/* The rows of an answer. */
struct page {
	struct mk_buf *out;
	const char *key;
	const char *uid; /* NULL: rows do not name their run */
	const char *nan; /* how what is no number is written */
	int64_t n, limit; /* limit < 0: none */
	bool more;
};

static void put_value(struct page *page, double value)
{
	char text[32];

	if (isnan(value))
		(void)mk_buf_puts(page->out, page->nan ? "NaN" : "\"NaN\"");
	else if (isinf(value))
		(void)mk_buf_printf(page->out, page->nan ? "%sInfinity" : "\"%sInfinity\"",
				    value < 0 ? "-" : "");
	else {
		mk_double_put(value, text);
		/* A double stays one: 1.0 is not 1. */
		(void)mk_buf_printf(page->out, "%s%s", text, strpbrk(text, ".eE") ? "" : ".0");
	}
}

static int put_point(void *arg, const struct mk_point *point)
{
	struct page *page = arg;

	if (page->limit >= 0 && page->n == page->limit) {
		page->more = true;
		return 1;
	}
	(void)mk_buf_puts(page->out, page->n++ ? ",{\"key\":" : "{\"key\":");
	mk_json_string(page->out, page->key);
	(void)mk_buf_puts(page->out, ",\"value\":");
	put_value(page, point->value);
	(void)mk_buf_printf(page->out, ",\"timestamp\":%lld,\"step\":%lld",
			    (long long)(point->time / MK_MS - (point->time % MK_MS < 0)),
			    (long long)point->step);
	if (page->uid)
		(void)mk_buf_printf(page->out, ",\"run_id\":\"%s\"", page->uid);
	return mk_buf_putc(page->out, '}');
}

static int end_page(struct serve_request *rq, int r)
{
	if (r >= 0)
		r = mk_buf_check(rq->out);
	return r < 0 && !rq->call->error.text ?
		       mk_fail(rq->call, -r, "The answer is too long: ask for fewer points") :
		       r;
}

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* base64 of {"offset": n}, as MLflow's tokens are. */
static void put_token(struct mk_buf *out, int64_t offset)
{
	char text[48];
	size_t n = (size_t)snprintf(text, sizeof(text), "{\"offset\": %lld}", (long long)offset);

	for (size_t i = 0; i < n; i += 3) {
		uint32_t v = 0;

		for (size_t k = 0; k < 3; k++)
			v = v << 8 | (i + k < n ? (unsigned char)text[i + k] : 0);
		for (size_t k = 0; k < 4; k++)
			(void)mk_buf_putc(out, k > n - i ? '=' : digits[v >> (18 - 6 * k) & 63]);
	}
}

static int read_token(struct serve_request *rq, const char *token, int64_t *ret)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF(4096);
	uint32_t v = 0;
	int bits = 0; /* of v that are not in the text yet */

	for (const char *s = token; *s && *s != '='; s++) {
		const char *digit = strchr(digits, *s);

		if (!digit)
			return serve_fail(rq, "INVALID_PARAMETER_VALUE",
					  "Invalid page token, could not base64-decode");
		v = v << 6 | (uint32_t)(digit - digits);
		bits += 6;
		if (bits >= 8) {
			bits -= 8;
			(void)mk_buf_putc(&text, (char)(v >> bits & 0xff));
		}
	}

	json_t *json = json_loads(mk_buf_text(&text), 0, NULL);
	const json_t *offset = json_object_get(json, "offset");
	int r = 0;

	if (json_is_integer(offset) && json_integer_value(offset) > 0)
		*ret = json_integer_value(offset);
	else
		r = serve_fail(rq, "INVALID_PARAMETER_VALUE",
			       "Invalid page token, decoded value=%s", mk_buf_text(&text));
	json_decref(json);
	return r;
}

static int get_history(struct serve_request *rq, json_t **ret)
{
	const char *uid = "", *key = "", *token = "";
	struct page page = {.out = rq->out, .limit = -1};
	int64_t id = 0, offset = 0;
	int r = serve_text(rq, "run_id", true, &uid);

	if (r >= 0)
		r = serve_text(rq, "metric_key", true, &key);
	if (r >= 0)
		r = serve_text(rq, "page_token", false, &token);
	if (r >= 0)
		r = serve_int(rq, "max_results", false, &page.limit);
	if (r > 0 && page.limit <= 0)
		return serve_fail(rq, "INVALID_PARAMETER_VALUE",
				  "Invalid value %lld for parameter 'max_results' supplied. It must be "
				  "a positive integer.",
				  (long long)page.limit);
	if (r >= 0 && *token)
		r = read_token(rq, token, &offset);
	if (r >= 0)
		r = mk_track_run(rq->call, rq->m, rq->project_id, uid, &id);
	if (r == -ENOENT) { /* as MLflow: no points */
		mk_error_clear(rq->call);
		return 0;
	}
	if (r < 0)
		return r;
	page.key = key;
	(void)mk_buf_puts(rq->out, "{\"metrics\":[");
	r = mk_track_history(rq->call, rq->m, id, key, offset,
			     page.limit < 0 || page.limit == INT64_MAX ? -1 : page.limit + 1,
			     put_point, &page);
	if (!page.n)
		mk_buf_truncate(rq->out, 1); /* an empty list is absent */
	else
		(void)mk_buf_putc(rq->out, ']');
	if (page.more) {
		(void)mk_buf_puts(rq->out, ",\"next_page_token\":\"");
		put_token(rq->out, offset + page.limit);
		(void)mk_buf_putc(rq->out, '"');
	}
	(void)mk_buf_putc(rq->out, '}');
	return end_page(rq, r);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* What a list of none is told, and one of too many. */
static const struct words {
	const char *none, *too_many, *end;
} of_bulk = {
	"GetMetricHistoryBulk request must specify at least one run_id.",
	"GetMetricHistoryBulk request cannot specify more than",
	"",
}, of_interval = {
	"Missing value for required parameter 'run_ids'.",
	"GetMetricHistoryBulkInterval request must specify at most",
	" See the API docs for more information about request parameters.",
};

/* The names of runs of a list, at most BULK_RUNS. *ret is the caller's to free. */
static int read_runs(struct serve_request *rq, const char *name, const struct words *words,
		     const char ***ret, size_t *ret_n)
{
	json_t *list = NULL, *one;
	size_t i;
	int r = serve_list(rq, name, false, &list);

	if (r < 0)
		return r;
	if (!r || !json_array_size(list))
		return serve_fail(rq, "INVALID_PARAMETER_VALUE", "%s%s", words->none, words->end);
	if (json_array_size(list) > BULK_RUNS)
		return serve_fail(rq, "INVALID_PARAMETER_VALUE",
				  "%s %d run_ids. Received %zu run_ids.%s", words->too_many, BULK_RUNS,
				  json_array_size(list), words->end);
	*ret = mk_alloc(BULK_RUNS * sizeof(**ret));
	json_array_foreach(list, i, one) {
		if (!json_is_string(one))
			return serve_fail(rq, "INVALID_PARAMETER_VALUE",
					  "Invalid value for parameter '%s' supplied.", name);
		(*ret)[(*ret_n)++] = json_string_value(one);
	}
	return 0;
}

/* 1 and the row; 0: there is no such run here, so it has no points. */
static int find_run(struct serve_request *rq, const char *uid, int64_t *ret)
{
	int r = mk_track_run(rq->call, rq->m, rq->project_id, uid, ret);

	if (r == -ENOENT) {
		mk_error_clear(rq->call);
		return 0;
	}
	return r < 0 ? r : 1;
}

/* Not a message of MLflow's API: NaN stands bare in it, and max_results is of all runs together. */
static int get_bulk(struct serve_request *rq, json_t **ret)
{
	_cleanup_free_ const char **uids = NULL;
	struct page page = {.out = rq->out, .nan = "NaN", .limit = BULK_POINTS};
	const char *key = "";
	size_t n = 0;
	int r = read_runs(rq, "run_id", &of_bulk, &uids, &n);

	if (r < 0)
		return r;
	r = serve_text(rq, "metric_key", false, &key);
	if (r == 0)
		return serve_fail(rq, "INVALID_PARAMETER_VALUE",
				  "GetMetricHistoryBulk request must specify a metric_key.");
	if (r > 0)
		r = serve_int(rq, "max_results", false, &page.limit);
	if (r < 0)
		return r;
	page.limit = page.limit < 0 ? 0 : page.limit > BULK_POINTS ? BULK_POINTS : page.limit;
	page.key = key;
	qsort(uids, n, sizeof(*uids), by_text);
	(void)mk_buf_puts(rq->out, "{\"metrics\":[");
	for (size_t i = 0; i < n && page.n < page.limit; i++) {
		int64_t id;

		if (i && strcmp(uids[i], uids[i - 1]) == 0)
			continue;
		page.uid = uids[i];
		r = find_run(rq, uids[i], &id);
		if (r > 0)
			r = mk_track_history(rq->call, rq->m, id, key, 0, page.limit - page.n,
					     put_point, &page);
		if (r < 0)
			return end_page(rq, r);
	}
	(void)mk_buf_puts(rq->out, "]}");
	return end_page(rq, 0);
}

static int read_range(struct serve_request *rq, struct mk_track_sample *to)
{
	int first = serve_int(rq, "start_step", false, &to->first), last, r;

	if (first < 0)
		return first;
	last = serve_int(rq, "end_step", false, &to->last);
	if (last < 0)
		return last;
	if (first != last)
		return serve_fail(rq, "INVALID_PARAMETER_VALUE",
				  "If either start step or end step are specified, both must be "
				  "specified.");
	to->has_steps = first;
	if (first && to->first > to->last)
		return serve_fail(rq, "INVALID_PARAMETER_VALUE",
				  "end_step must be greater than start_step. Found start_step=%lld and "
				  "end_step=%lld.",
				  (long long)to->first, (long long)to->last);
	r = serve_int(rq, "max_results", false, &to->limit);
	if (r > 0 && (to->limit < 1 || to->limit > INTERVAL_POINTS))
		return serve_fail(rq, "INVALID_PARAMETER_VALUE",
				  "max_results must be between 1 and %d. See the API docs for more "
				  "information about request parameters.",
				  INTERVAL_POINTS);
	return r;
}

static int get_interval(struct serve_request *rq, json_t **ret)
{
	_cleanup_free_ const char **uids = NULL;
	struct mk_track_sample sample = {.limit = INTERVAL_POINTS};
	struct page page = {.out = rq->out, .limit = -1};
	size_t n = 0;
	int r = read_runs(rq, "run_ids", &of_interval, &uids, &n);

	if (r >= 0)
		r = serve_text(rq, "metric_key", true, &page.key);
	if (r >= 0)
		r = read_range(rq, &sample);
	if (r < 0)
		return r;
	(void)mk_buf_puts(rq->out, "{\"metrics\":[");
	for (size_t i = 0; i < n; i++) {
		int64_t id;

		page.uid = uids[i];
		r = find_run(rq, uids[i], &id);
		if (r > 0)
			r = mk_track_sample(rq->call, rq->m, id, page.key, &sample, put_point,
					    &page);
		if (r < 0)
			return end_page(rq, r);
	}
	if (!page.n)
		mk_buf_truncate(rq->out, 1);
	(void)mk_buf_puts(rq->out, page.n ? "]}" : "}");
	return end_page(rq, 0);
}

const struct serve_route serve_metrics[] = {
	{"POST", AT "runs/log-metric", log_metric, NULL},
	{"POST", AT "runs/log-batch", log_batch, NULL},
	{"GET", AT "metrics/get-history", get_history, NULL},
	{"GET", AT "metrics/get-history-bulk", get_bulk, NULL},
	{"GET", AT "metrics/get-history-bulk-interval", get_interval, NULL},
	{},
};
