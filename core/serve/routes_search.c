/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Searches of MLflow's API: what a request says becomes a struct mk_search, and the rows it finds
 * the messages a client reads. Rows and what is told of them are of one moment (a snapshot).
 */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "domain/track/logged_model.h"
#include "domain/track/search.h"
#include "domain/track/track.h"
#include "serve/models.h"
#include "serve/paging.h"
#include "serve/serve.h"
#include "serve/tracked.h"

#define AT "/api/2.0/mlflow/"

enum {
	RUNS_STANDARD = 1000,
	RUNS_MOST = 50000,
	EXPERIMENTS_MOST = 50000,
	MODELS_STANDARD = 100,
	MODELS_MOST = 1000,
	VERSIONS_MOST = 200000,
	LOGGED_STANDARD = 100,
	LOGGED_MOST = 10000,
};

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

/* --- rows as objects, and experiments -------------------------------------------------------- */

static int experiment_row(struct serve_request *rq, int64_t id, json_t **ret)
{
	_cleanup_(mk_track_experiment_free) struct mk_track_experiment experiment = {};
	int r = mk_track_experiment_get(rq->call, rq->m, rq->project_id, id, &experiment);

	if (r < 0)
		return r;
	*ret = serve_experiment_json(&experiment);
	return serve_made(rq, *ret);
}

static int version_row(struct serve_request *rq, int64_t id, json_t **ret)
{
	return serve_version_json(rq, id, true, ret);
}

static int logged_row(struct serve_request *rq, int64_t serial, json_t **ret)
{
	_cleanup_free_ char *id = NULL;
	int r = mk_logged_model_by_serial(rq->call, rq->m, serial, &id);

	return r < 0 ? r : serve_logged_json(rq, id, false, ret);
}

typedef int row_json(struct serve_request *rq, int64_t id, json_t **ret);

static int put_rows(struct serve_request *rq, const struct mk_found *found, row_json *row,
		    json_t *list)
{
	for (size_t i = 0; i < found->n; i++) {
		json_t *object = NULL;
		int r = row(rq, found->ids[i], &object);

		if (r == 0 && json_array_append_new(list, object) < 0)
			r = serve_made(rq, NULL);
		if (r == 0 && i % 256 == 0)
			r = mk_call_check(rq->call, "the page");
		if (r < 0)
			return r;
	}
	return 0;
}

/* {name: [rows], next_page_token}; the token says what token() makes of the next offset. */
static int find(struct serve_request *rq, const struct asked *asked, const char *name, row_json *row,
		char *(*token)(struct serve_request *rq, int64_t offset), json_t **ret)
{
	_cleanup_(mk_found_free) struct mk_found found = {};
	int r = mk_search(rq->call, rq->m, &asked->search, &found);

	if (r < 0)
		return r;

	json_t *list = json_array(), *answer = json_object();

	r = list && answer ? put_rows(rq, &found, row, list) : serve_made(rq, NULL);
	if (r == 0 && found.n && json_object_set(answer, name, list) < 0)
		r = serve_made(rq, NULL);
	if (r == 0 && found.more) {
		_cleanup_free_ char *text = token(rq, asked->search.offset + asked->search.limit);

		if (json_object_set_new(answer, "next_page_token", json_string(text)) < 0)
			r = serve_made(rq, NULL);
	}
	json_decref(list);
	if (r < 0)
		json_decref(answer);
	else
		*ret = answer;
	return r;
}

/* The same of one moment. */
static int find_at_once(struct serve_request *rq, const struct asked *asked, const char *name,
			row_json *row, char *(*token)(struct serve_request *rq, int64_t offset),
			json_t **ret)
{
	struct mk_conn *conn;
	int r = mk_db_reader(rq->call, rq->m->db, &conn);

	if (r == 0)
		r = mk_db_snapshot_begin(rq->call, conn);
	if (r < 0)
		return r;
	r = find(rq, asked, name, row, token, ret);
	mk_db_snapshot_end(conn);
	return r;
}

static char *plain_token(struct serve_request *rq, int64_t offset)
{
	(void)rq;
	return serve_page_token(offset);
}

static int search_experiments(struct serve_request *rq, json_t **ret)
{
	_cleanup_(asked_done) struct asked asked = {};
	int64_t zero;
	int r = asked_of(rq, MK_SEARCH_EXPERIMENTS, "view_type", 0, EXPERIMENTS_MOST, &asked);

	/* Experiment 0 is there before anybody asks for it; a project is only looked at. */
	if (r >= 0)
		r = mk_track_default(rq->call, rq->m, rq->project_id, !rq->project_id, &zero);
	return r < 0 ? r
		     : find_at_once(rq, &asked, "experiments", experiment_row, plain_token, ret);
}

/* --- registered models and their versions ------------------------------------------------------ */

static int search_models(struct serve_request *rq, json_t **ret)
{
	_cleanup_(asked_done) struct asked asked = {};
	int r = asked_of(rq, MK_SEARCH_MODELS, NULL, MODELS_STANDARD, MODELS_MOST, &asked);

	return r < 0 ? r
		     : find_at_once(rq, &asked, "registered_models", serve_registered_json,
				    plain_token, ret);
}

static int search_versions(struct serve_request *rq, json_t **ret)
{
	_cleanup_(asked_done) struct asked asked = {};
	int r = asked_of(rq, MK_SEARCH_VERSIONS, NULL, VERSIONS_MOST, VERSIONS_MOST, &asked);

	return r < 0 ? r
		     : find_at_once(rq, &asked, "model_versions", version_row, plain_token, ret);
}

/* --- logged models ----------------------------------------------------------------------------- */

/* Its token names the search it goes on with; another one refuses it. */
static const char *const of_token[] = {"experiment_ids", "filter", "order_by", "datasets"};

static json_t *token_json(struct serve_request *rq, int64_t offset)
{
	json_t *token = json_pack("{s:I}", "offset", (json_int_t)offset);

	for (size_t i = 0; i < sizeof(of_token) / sizeof(of_token[0]); i++) {
		json_t *value = json_object_get(rq->in, of_token[i]);
		bool none = !value || json_is_null(value) ||
			    (json_is_string(value) && !json_string_length(value)) ||
			    (json_is_array(value) && !json_array_size(value));

		if (!none)
			(void)json_object_set(token, of_token[i], value);
	}
	return token;
}

static char *logged_token(struct serve_request *rq, int64_t offset)
{
	json_t *json = token_json(rq, offset);
	_cleanup_free_ char *text = json_dumps(json, JSON_COMPACT);

	json_decref(json);
	return serve_token_make(text ? text : "");
}

static int read_logged_token(struct serve_request *rq, const char *token, int64_t *ret)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF(4 << 20);
	int r = serve_token_read(rq, token, &text);

	if (r < 0)
		return r;

	json_t *was = json_loadb(mk_buf_text(&text), text.len, 0, NULL);
	json_t *offset = json_object_get(was, "offset");
	json_t *is = token_json(rq, json_integer_value(offset));

	if (!json_is_integer(offset) || json_integer_value(offset) < 0 || !json_equal(was, is))
		r = serve_fail(rq, "INVALID_PARAMETER_VALUE",
			       "Invalid page token: it is of another search");
	else
		*ret = json_integer_value(offset);
	json_decref(was);
	json_decref(is);
	return r;
}

struct wanted {
	struct mk_search_order *orders;
	struct mk_search_dataset *datasets;
	size_t n_orders;
};

static void wanted_done(struct wanted *wanted)
{
	for (size_t i = 0; i < wanted->n_orders; i++)
		free(wanted->orders[i].field.key);
	free(wanted->orders);
	free(wanted->datasets);
}

/* "" is none. */
static const char *text_in(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text && *text ? text : NULL;
}

static int read_orders(struct serve_request *rq, struct asked *asked, struct wanted *wanted)
{
	json_t *list = NULL, *item;
	size_t i;
	int r = serve_list(rq, "order_by", false, &list);

	if (r <= 0)
		return r;
	wanted->orders = mk_alloc((json_array_size(list) + 1) * sizeof(*wanted->orders));
	asked->search.orders = wanted->orders;
	json_array_foreach(list, i, item) {
		struct mk_search_order *o = &wanted->orders[i];
		const char *name = text_in(item, "field_name");

		if (!name)
			return serve_fail(rq, "INVALID_PARAMETER_VALUE",
					  "`field_name` in the `order_by` clause must be specified.");
		r = mk_order_logged(rq->call, name, &o->field);
		if (r < 0)
			return r;
		asked->search.n_orders = ++wanted->n_orders;
		o->descending = json_is_false(json_object_get(item, "ascending"));
		o->dataset.name = text_in(item, "dataset_name");
		o->dataset.digest = o->dataset.name ? text_in(item, "dataset_digest") : NULL;
	}
	return 0;
}

static int read_datasets(struct serve_request *rq, struct asked *asked, struct wanted *wanted)
{
	json_t *list = NULL, *item;
	size_t i;
	int r = serve_list(rq, "datasets", false, &list);

	if (r <= 0)
		return r;
	wanted->datasets = mk_alloc((json_array_size(list) + 1) * sizeof(*wanted->datasets));
	asked->search.datasets = wanted->datasets;
	asked->search.n_datasets = json_array_size(list);
	if (asked->search.n_datasets > MK_FILTER_CLAUSES)
		return serve_fail(rq, "INVALID_PARAMETER_VALUE", "`datasets` has more than %d items",
				  MK_FILTER_CLAUSES);
	json_array_foreach(list, i, item) {
		wanted->datasets[i] = (struct mk_search_dataset){
			text_in(item, "dataset_name"), text_in(item, "dataset_digest")};
		if (!wanted->datasets[i].name)
			return serve_fail(rq, "INVALID_PARAMETER_VALUE",
					  "`dataset_name` in the `datasets` clause must be "
					  "specified.");
	}
	return 0;
}

static int logged_page(struct serve_request *rq, struct mk_search *search)
{
	const char *token = "";
	int r;

	search->limit = LOGGED_STANDARD;
	r = serve_int(rq, "max_results", false, &search->limit);
	if (r < 0)
		return r;
	if (search->limit == 0)
		search->limit = LOGGED_STANDARD;
	if (search->limit < 0 || search->limit > LOGGED_MOST)
		return serve_fail(rq, "INVALID_PARAMETER_VALUE",
				  "Invalid value %lld for parameter 'max_results' supplied. It must be "
				  "from 1 to %d",
				  (long long)search->limit, LOGGED_MOST);
	r = serve_text(rq, "page_token", false, &token);
	return r < 0 || !*token ? r : read_logged_token(rq, token, &search->offset);
}

static int search_logged(struct serve_request *rq, json_t **ret)
{
	_cleanup_(asked_done) struct asked asked = {
		.search = {.of = MK_SEARCH_LOGGED, .scope = rq->project_id}};
	_cleanup_(wanted_done) struct wanted wanted = {};
	json_t *ids = NULL;
	int64_t zero = 0;
	/* It has to be there, and may be empty. */
	int r = serve_list(rq, "experiment_ids",
			   !json_is_array(json_object_get(rq->in, "experiment_ids")), &ids);

	if (r >= 0)
		r = serve_text(rq, "filter", false, &asked.search.filter);
	if (r >= 0)
		r = read_orders(rq, &asked, &wanted);
	if (r >= 0)
		r = read_datasets(rq, &asked, &wanted);
	if (r >= 0)
		r = logged_page(rq, &asked.search);
	if (r >= 0)
		r = mk_track_default(rq->call, rq->m, rq->project_id, false, &zero);
	if (r >= 0)
		r = experiments_of(rq, zero, &asked);
	return r < 0 ? r : find_at_once(rq, &asked, "models", logged_row, logged_token, ret);
}

const struct serve_route serve_search[] = {
	{"POST", AT "runs/search", search_runs},
	{"POST", AT "experiments/search", search_experiments},
	{"GET", AT "experiments/search", search_experiments},
	{"GET", AT "registered-models/search", search_models},
	{"GET", AT "model-versions/search", search_versions},
	{"POST", AT "logged-models/search", search_logged},
	{},
};
