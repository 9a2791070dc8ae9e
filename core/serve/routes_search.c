/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Searches of MLflow's API: what a request says becomes a struct mk_search, and the rows it finds
 * the messages a client reads. Rows and what is told of them are of one moment (a snapshot).
 */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "domain/search.h"
#include "domain/track.h"
#include "serve/paging.h"
#include "serve/serve.h"
#include "serve/tracked.h"

#define AT "/api/2.0/mlflow/"

enum { RUNS_STANDARD = 1000, RUNS_MOST = 50000, EXPERIMENTS_MOST = 50000 };

struct asked {
	struct mk_search search;
	int64_t *experiments;
};

static void asked_done(struct asked *asked)
{
	mk_list_free(&asked->search.order_by);
	free(asked->experiments);
}

/* A list of texts, copied. */
static int texts_of(struct serve_request *rq, const char *name, struct mk_list *ret)
{
	json_t *list = NULL, *item;
	size_t i;
	int r = serve_list(rq, name, false, &list);

	if (r <= 0)
		return r;
	json_array_foreach(list, i, item) {
		const char *text = json_string_value(item);

		if (!text || strlen(text) != json_string_length(item))
			return serve_fail(rq, "INVALID_PARAMETER_VALUE",
					  "Invalid value for parameter '%s' supplied: item %zu is not "
					  "a string",
					  name, i);
		r = mk_list_add(ret, text);
		if (r < 0)
			return mk_fail(rq->call, -r, "parameter '%s': too many items", name);
	}
	return 0;
}

/* By name or by number; what is neither is as absent, as with every enum of MLflow's. */
static int view_of(struct serve_request *rq, const char *name, enum mk_search_view *ret)
{
	static const char *const names[] = {"ACTIVE_ONLY", "DELETED_ONLY", "ALL"};
	const json_t *value = json_object_get(rq->in, name);
	const char *text = json_string_value(value);

	for (int i = 0; i < 3; i++)
		if ((json_is_integer(value) && json_integer_value(value) == i + 1) ||
		    (text && (strcmp(text, names[i]) == 0 ||
			      (text[0] == '1' + i && text[1] == '\0'))))
			*ret = (enum mk_search_view)i;
	if (value && !json_is_integer(value) && !text && !json_is_null(value))
		return serve_fail(rq, "INVALID_PARAMETER_VALUE",
				  "Invalid value for parameter '%s' supplied: it is a name such as "
				  "ACTIVE_ONLY",
				  name);
	return 0;
}

/* Filter, order, view and page: what all searches have. */
static int asked_of(struct serve_request *rq, enum mk_searched of, const char *view,
		    int64_t standard, int64_t most, struct asked *ret)
{
	struct mk_search *s = &ret->search;
	int r;

	s->of = of;
	s->scope = rq->project_id;
	r = serve_text(rq, "filter", false, &s->filter);
	if (r >= 0)
		r = texts_of(rq, "order_by", &s->order_by);
	if (r >= 0 && view)
		r = view_of(rq, view, &s->view);
	return r < 0 ? r : serve_page(rq, standard, most, &s->limit, &s->offset);
}

static int id_of(struct serve_request *rq, const char *text, int64_t *ret)
{
	char *end;

	errno = 0;
	*ret = strtoll(text, &end, 10);
	if (end == text || end[strspn(end, " \t\r\n\f\v")])
		return serve_fail(rq, "INVALID_PARAMETER_VALUE",
				  "Invalid experiment ID '%.100s'. Experiment ID must be a valid "
				  "integer.",
				  text);
	return 0;
}

/* Rows of the experiments a request names; those there are not find nothing. */
static int experiments_of(struct serve_request *rq, int64_t zero, struct asked *ret)
{
	_cleanup_list_ struct mk_list ids = {};
	int r = texts_of(rq, "experiment_ids", &ids);

	if (r < 0)
		return r;
	ret->experiments = mk_alloc((ids.n + 1) * sizeof(*ret->experiments));
	for (size_t i = 0; i < ids.n; i++) {
		int64_t id;

		r = id_of(rq, ids.v[i], &id);
		if (r < 0)
			return r;
		ret->experiments[ret->search.n_experiments++] = id == 0 ? zero : id;
	}
	ret->search.experiments = ret->experiments;
	return 0;
}

/* --- runs ------------------------------------------------------------------------------------ */

static int find_runs(struct serve_request *rq, const struct asked *asked, int64_t zero)
{
	_cleanup_(mk_found_free) struct mk_found found = {};
	int r = mk_search(rq->call, rq->m, &asked->search, &found);

	if (r < 0)
		return r;
	(void)mk_buf_putc(rq->out, '{');
	if (found.n) {
		(void)mk_buf_puts(rq->out, "\"runs\":");
		r = serve_put_runs(rq, found.ids, found.n, zero, rq->out);
	}
	if (r == 0 && found.more) {
		_cleanup_free_ char *token =
			serve_page_token(asked->search.offset + asked->search.limit);

		(void)mk_buf_puts(rq->out, ",\"next_page_token\":");
		serve_put_text(rq->out, token);
	}
	(void)mk_buf_putc(rq->out, '}');
	if (r < 0)
		mk_buf_truncate(rq->out, 0);
	return r;
}

static int search_runs(struct serve_request *rq, json_t **ret)
{
	_cleanup_(asked_done) struct asked asked = {};
	struct mk_conn *conn;
	int64_t zero = 0;
	int r = asked_of(rq, MK_SEARCH_RUNS, "run_view_type", RUNS_STANDARD, RUNS_MOST, &asked);

	(void)ret;
	if (r == 0)
		r = mk_track_default(rq->call, rq->m, rq->project_id, false, &zero);
	if (r == 0)
		r = experiments_of(rq, zero, &asked);
	if (r == 0)
		r = mk_db_reader(rq->call, rq->m->db, &conn);
	if (r == 0)
		r = mk_db_snapshot_begin(rq->call, conn);
	if (r < 0)
		return r;
	r = find_runs(rq, &asked, zero);
	mk_db_snapshot_end(conn);
	return r;
}

/* --- experiments ----------------------------------------------------------------------------- */

static int put_experiments(struct serve_request *rq, const struct mk_found *found, json_t *list)
{
	for (size_t i = 0; i < found->n; i++) {
		_cleanup_(mk_track_experiment_free) struct mk_track_experiment experiment = {};
		int r = mk_track_experiment_get(rq->call, rq->m, rq->project_id, found->ids[i],
						&experiment);

		if (r < 0)
			return r;
		if (json_array_append_new(list, serve_experiment_json(&experiment)) < 0)
			return serve_made(rq, NULL);
	}
	return 0;
}

static int find_experiments(struct serve_request *rq, const struct asked *asked, json_t **ret)
{
	_cleanup_(mk_found_free) struct mk_found found = {};
	int r = mk_search(rq->call, rq->m, &asked->search, &found);

	if (r < 0)
		return r;

	json_t *list = json_array(), *answer = json_object();

	r = list && answer ? put_experiments(rq, &found, list) : serve_made(rq, NULL);
	if (r == 0 && found.n && json_object_set(answer, "experiments", list) < 0)
		r = serve_made(rq, NULL);
	if (r == 0 && found.more) {
		_cleanup_free_ char *token =
			serve_page_token(asked->search.offset + asked->search.limit);

		if (json_object_set_new(answer, "next_page_token", json_string(token)) < 0)
			r = serve_made(rq, NULL);
	}
	json_decref(list);
	if (r < 0)
		json_decref(answer);
	else
		*ret = answer;
	return r;
}

static int search_experiments(struct serve_request *rq, json_t **ret)
{
	_cleanup_(asked_done) struct asked asked = {};
	struct mk_conn *conn;
	int r = asked_of(rq, MK_SEARCH_EXPERIMENTS, "view_type", 0, EXPERIMENTS_MOST, &asked);

	if (r == 0)
		r = mk_db_reader(rq->call, rq->m->db, &conn);
	if (r == 0)
		r = mk_db_snapshot_begin(rq->call, conn);
	if (r < 0)
		return r;
	r = find_experiments(rq, &asked, ret);
	mk_db_snapshot_end(conn);
	return r;
}

const struct serve_route serve_search[] = {
	{"POST", AT "runs/search", search_runs},
	{"POST", AT "experiments/search", search_experiments},
	{"GET", AT "experiments/search", search_experiments},
	{},
};
