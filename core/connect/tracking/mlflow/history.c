/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The points of a metric, taken from the answer as it comes in: servers before 3.4 give all of them
 * whatever page is asked for (1 000 000 points are 120 MB), so the answer is never kept.
 *
 * max_results is always sent: servers 3.4 to 3.13 give an empty page without it, newer ones
 * everything.
 */
#include "mlflow.h"

#include <errno.h>
#include <math.h>
#include <string.h>

enum { PAGE = 25000, MAX_POINTS = 50 * 1000 * 1000, TRIES = 3 };

struct taking {
	struct mk_point **points;
	size_t *n, cap;
};

static int take(void *arg, json_t *m)
{
	struct taking *taking = arg;

	if (*taking->n == MAX_POINTS)
		return -EFBIG;
	if (*taking->n >= taking->cap) {
		size_t cap = *taking->n < 1000 ? 1000 : *taking->n + *taking->n / 2;
		struct mk_point *more = realloc(*taking->points, cap * sizeof(*more));

		if (!more)
			return -ENOMEM;
		*taking->points = more;
		taking->cap = cap;
	}
	(*taking->points)[(*taking->n)++] = (struct mk_point){
		.step = mk_mlflow_number(m, "step", 0),
		.value = mk_mlflow_double(m, "value"),
		.time = mk_mlflow_time(m, "timestamp"),
	};
	return 0;
}

/* The token of an open-source server is base64 of {"offset": N}: a question may begin there. */
static void put_offset(struct mk_buf *query, int64_t offset)
{
	_cleanup_free_ char *text = mk_strf("{\"offset\": %lld}", (long long)offset);
	_cleanup_buf_ struct mk_buf token = MK_BUF(200);

	mk_mlflow_base64(&token, text, strlen(text));
	mk_mlflow_arg(query, "page_token", mk_buf_text(&token));
}

static int ask(struct mk_call *call, struct mk_tracking *t, const char *run_id, const char *key,
	       const char *token, int64_t offset, struct taking *taking, json_t **ret)
{
	_cleanup_buf_ struct mk_buf query = {};
	_cleanup_free_ char *what = mk_strf("metric %.100s of run %.40s", key, run_id);
	_cleanup_free_ char *page = mk_strf("%d", PAGE);
	size_t before = *taking->n;
	int r = -EREMOTEIO;

	mk_mlflow_arg(&query, "run_id", run_id);
	mk_mlflow_arg(&query, "metric_key", key);
	mk_mlflow_arg(&query, "max_results", page);
	if (token)
		mk_mlflow_arg(&query, "page_token", token);
	else if (offset > 0)
		put_offset(&query, offset);

	/* A half answer is asked for again here: mk_http_send does not, once a part was taken. */
	for (int i = 0; i < TRIES && r == -EREMOTEIO; i++) {
		*taking->n = before;
		r = mk_mlflow_ask(call, t,
				  &(struct mk_mlflow_ask){
					  .what = what,
					  .route = "mlflow/metrics/get-history",
					  .query = &query,
					  .list = "metrics",
					  .element = take,
					  .arg = taking,
					  .stream = true,
				  },
				  ret);
	}
	if (r < 0)
		*taking->n = before;
	if (r == -EFBIG)
		return mk_fail(call, EFBIG, "%s: %s: more than %d points", t->peer.remote, what,
			       MAX_POINTS);
	return r;
}

int mk_mlflow_history(struct mk_call *call, struct mk_tracking *t, const char *run_id,
		      const char *key, char **token, struct mk_point **points, size_t *n)
{
	struct taking taking = {points, n, *n};
	_cleanup_json_ json_t *answer = NULL;
	int r = ask(call, t, run_id, key, *token, 0, &taking, &answer);

	return r < 0 ? r : mk_mlflow_next(call, t, answer, token);
}

/* Bit for bit, and a NaN is a NaN. */
static bool is_same(const struct mk_point *a, const struct mk_point *b)
{
	return a->step == b->step && a->time == b->time &&
	       ((a->value == b->value && signbit(a->value) == signbit(b->value)) ||
		(a->value != a->value && b->value != b->value));
}

/* Where the point after `last` is in what came: the answer began with it, or (a server that gives
 * everything always) with the very first. -1: it is not where it should be. */
static int64_t find_next(const struct mk_point *points, size_t n, int64_t known,
			 const struct mk_point *last)
{
	if (n > 0 && is_same(&points[0], last))
		return 1;
	if ((int64_t)n >= known && is_same(&points[known - 1], last))
		return known;
	return -1;
}

int mk_mlflow_tail(struct mk_call *call, struct mk_tracking *t, const char *run_id, const char *key,
		   int64_t known, const struct mk_point *last, struct mk_point **points, size_t *n)
{
	_cleanup_free_ char *token = NULL;
	_cleanup_free_ struct mk_point *got = NULL;
	size_t n_got = 0;
	struct taking taking = {&got, &n_got, 0};
	int r;

	if (known < 1)
		return mk_fail(call, EINVAL, "%s: the end of nothing", t->peer.remote);
	do {
		_cleanup_json_ json_t *answer = NULL;

		r = ask(call, t, run_id, key, token, token ? 0 : known - 1, &taking, &answer);
		if (r == 0)
			r = mk_mlflow_next(call, t, answer, &token);
	} while (r == 0 && token);

	int64_t next = r == 0 ? find_next(got, n_got, known, last) : -1;

	/* EINVAL: a server whose tokens are not made like this. */
	if (r == -EINVAL || (r == 0 && next < 0))
		return mk_fail(call, ESTALE,
			       "%s: metric %.100s of run %.40s does not go on where "
			       "it ended",
			       t->peer.remote, key, run_id);
	if (r < 0)
		return r;

	size_t more = n_got - (size_t)next;
	struct mk_point *all = realloc(*points, (*n + more + 1) * sizeof(*all));

	if (!all)
		return -ENOMEM;
	memcpy(all + *n, got + next, more * sizeof(*all));
	*points = all;
	*n += more;
	return 0;
}
