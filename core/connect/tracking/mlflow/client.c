/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection to a tracking server, and one question with its answer.
 *
 *	mk_mlflow_ask: {"max_results": 1000} -> POST url/api/2.0/mlflow/runs/search -> JSON, or the
 *	error of tracking.h in words of what was asked
 *
 * A server started with --static-prefix has its API at <prefix>/ajax-api (and at /api without the
 * prefix), one behind a proxy that takes the prefix off at <prefix>/api: what the first answer is
 * decides, once for the connection.
 */
#include "mlflow.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "base/utf8.h"
#include "net/health.h"

enum { MAX_WORDS = 300, MAX_TOKEN = 4096 };

/* --- opening --------------------------------------------------------------------------------- */

static void close_store(struct mk_tracking *t)
{
	if (!t)
		return;
	mk_credentials_free(t->credentials);
	mk_mlflow_env_free(t->env);
	free(t->workspace_header);
	free(t->ca_file);
	free(t->client_cert);
	free(t);
}

static int open_store(struct mk_call *call, struct mantik *m, const char *connection,
		      struct mk_tracking **ret)
{
	_cleanup_(mk_credentials_freep) struct mk_credentials *credentials = NULL;
	int r = mk_credentials_open(call, m, connection, &credentials);

	if (r < 0)
		return r;

	struct mk_tracking *t = mk_new(struct mk_tracking);

	t->credentials = mk_steal(&credentials);
	mk_credentials_peer(t->credentials, &t->peer);
	/* A server without workspaces refuses the header. */
	if (t->credentials->workspace) {
		t->workspace_header = mk_strf("X-MLFLOW-WORKSPACE: %s", t->credentials->workspace);
		t->headers[0] = t->workspace_header;
		t->peer.headers = t->headers;
	}
	mk_mlflow_env(t);
	mk_health_reset(connection); /* opened anew: it may have another url now */
	*ret = t;
	return 0;
}

/* --- URLs ------------------------------------------------------------------------------------ */

void mk_mlflow_url(const struct mk_tracking *t, struct mk_buf *url, const char *path)
{
	*url = MK_BUF(64 << 10);
	(void)mk_buf_puts(url, t->credentials->url);
	(void)mk_buf_puts(url, path);
}

void mk_mlflow_arg(struct mk_buf *query, const char *key, const char *value)
{
	if (!query->limit)
		*query = MK_BUF(64 << 10);
	(void)mk_buf_puts(query, query->len ? "&" : "");
	(void)mk_buf_puts(query, key);
	(void)mk_buf_putc(query, '=');
	mk_url_put(query, value, false);
}

int mk_mlflow_next(struct mk_call *call, struct mk_tracking *t, json_t *answer, char **token)
{
	const char *next = mk_mlflow_text(answer, "next_page_token");

	if (strlen(next) > MAX_TOKEN)
		return mk_fail(call, EREMOTEIO, "%s: a page token of %zu bytes", t->peer.remote,
			       strlen(next));
	if (*next && *token && strcmp(next, *token) == 0)
		return mk_fail(call, EREMOTEIO, "%s: its pages do not go on", t->peer.remote);
	free(*token);
	*token = *next ? mk_strdup(next) : NULL;
	return 0;
}

/* --- errors ---------------------------------------------------------------------------------- */

/* What MLflow calls it, where that says more than the status. */
static const struct {
	const char *code;
	int error;
} codes[] = {
	{"RESOURCE_DOES_NOT_EXIST", ENOENT},
	{"NOT_FOUND", ENOENT},
	{"ENDPOINT_NOT_FOUND", EOPNOTSUPP},
	{"NOT_IMPLEMENTED", EOPNOTSUPP},
	{"FEATURE_DISABLED", EOPNOTSUPP},
	{"RESOURCE_ALREADY_EXISTS", EEXIST},
	{"ALREADY_EXISTS", EEXIST},
	{"PERMISSION_DENIED", EACCES},
	{"CUSTOMER_UNAUTHORIZED", EACCES},
	{"INVALID_PARAMETER_VALUE", EINVAL},
	{"INVALID_STATE", EINVAL}, /* of an experiment that is deleted */
	{"BAD_REQUEST", EINVAL},
	{"RESOURCE_CONFLICT", EBUSY},
	{"ABORTED", EBUSY},
	{"REQUEST_LIMIT_EXCEEDED", EBUSY},
	{"RESOURCE_EXHAUSTED", EBUSY},
	{"TEMPORARILY_UNAVAILABLE", EBUSY},
	{"DEADLINE_EXCEEDED", ETIMEDOUT},
};

/* The first line: a message may hold the SQL of a statement that failed, with all its values. */
static char *first_line(const char *message)
{
	size_t len = strcspn(message, "\r\n");
	bool cut = len > MAX_WORDS;

	len = mk_utf8_bad(message, cut ? MAX_WORDS : len);
	return mk_strf("%.*s%s", (int)len, message, cut ? "…" : "");
}

static int fail_host_check(struct mk_call *call, struct mk_tracking *t)
{
	const char *host = strstr(t->credentials->origin, "://") + 3;
	int len = (int)strcspn(host, ":");

	if (*host == '[')
		len = (int)strcspn(host, "]") + 1;
	return mk_fail(
		call, EACCES,
		"%s: the server does not let itself be called %.*s (its host check): start it "
		"with --allowed-hosts %.*s, or go through a tunnel (ssh -L) and use 127.0.0.1 "
		"in the url of connections/%s.yaml",
		t->peer.remote, len, host, len, host, t->peer.remote);
}

static bool is_json(const struct mk_http_answer *answer)
{
	return answer->type && strcmp(answer->type, "application/json") == 0;
}

/* Somebody else's page: a login in front, another service, a wrong path. */
static int fail_page(struct mk_call *call, struct mk_tracking *t,
		     const struct mk_http_answer *answer, const char *what)
{
	(void)mk_fail(call, EREMOTEIO,
		      "%s: %s: %s answers, but not as MLflow does (%d, %s): is the url of "
		      "connections/%s.yaml right, and does nothing in front of it want a login?",
		      t->peer.remote, what, t->credentials->url, answer->status,
		      answer->type && *answer->type ? answer->type : "no type", t->peer.remote);
	mk_error_detail(call, t->peer.remote, answer->status, mk_buf_text(&answer->body));
	return -EREMOTEIO;
}

/* No JSON: of a login or a proxy in front, a host check, another service; then the error has a status
 * and no remote. MLflow itself says so only that somebody may not. */
static int fail_text(struct mk_call *call, struct mk_tracking *t,
		     const struct mk_http_request *request, const struct mk_http_answer *answer,
		     const char *what)
{
	const char *body = mk_buf_text(&answer->body);
	bool own = answer->status == 413 ||
		   (answer->status == 403 && strncmp(body, "Permission denied", 17) == 0);
	int r;

	if (answer->status == 403 && strstr(body, "Invalid Host header"))
		r = fail_host_check(call, t);
	else if (answer->status == 404 || answer->status == 405)
		r = fail_page(call, t, answer, what);
	else
		r = mk_http_fail(call, request, answer, what, NULL);
	if (!own)
		mk_error_detail(call, NULL, answer->status, body);
	return r;
}

int mk_mlflow_fail(struct mk_call *call, struct mk_tracking *t,
		   const struct mk_http_request *request, const struct mk_http_answer *answer,
		   const char *what)
{
	const char *body = mk_buf_text(&answer->body), *why;
	_cleanup_json_ json_t *json = mk_mlflow_parse(body, answer->body.len, &why);
	const char *code = mk_mlflow_text(json, "error_code");

	if (!json || !*code)
		return fail_text(call, t, request, answer, what);

	_cleanup_free_ char *line = first_line(mk_mlflow_text(json, "message"));

	int error = 0;

	for (size_t i = 0; i < sizeof(codes) / sizeof(*codes) && answer->status != 401; i++)
		if (strcmp(codes[i].code, code) == 0)
			error = codes[i].error;
	if (error)
		(void)mk_fail(call, error, "%s: %s: %s", t->peer.remote, what, *line ? line : code);
	else
		error = -mk_http_fail(call, request, answer, what, *line ? line : code);
	mk_error_detail(call, t->peer.remote, answer->status, mk_mlflow_text(json, "message"));
	return -error;
}

/* --- a question ------------------------------------------------------------------------------ */

struct asking {
	struct mk_call *call;
	struct mk_tracking *t;
	const struct mk_mlflow_ask *ask;
	struct mk_mlflow_split split;
	bool is_json;
};

static int fail_json(struct asking *a, int r)
{
	if (r != -EBADMSG && !(r == -EFBIG && a->split.why))
		return r;
	return mk_fail(a->call, r == -EFBIG ? EFBIG : EREMOTEIO, "%s: %s: its answer is %s",
		       a->t->peer.remote, a->ask->what, a->split.why ? a->split.why : "no JSON");
}

static int take_piece(void *arg, const struct mk_http_answer *head, const void *data, size_t len)
{
	struct asking *a = arg;

	if (!is_json(head))
		return fail_page(a->call, a->t, head, a->ask->what);
	return fail_json(a, mk_mlflow_split_feed(&a->split, data, len));
}

/* Some servers have nothing more to say of a change: no body, or the text of the status. */
static bool is_mere_ok(const struct mk_http_answer *answer)
{
	return answer->body.len == 0 || strcmp(mk_buf_text(&answer->body), "200 OK") == 0;
}

/* The whole answer, or the end of a streamed one. */
static int read_answer(struct asking *a, const struct mk_http_answer *answer, json_t **ret)
{
	int r = 0;

	if (a->ask->changes && is_mere_ok(answer)) {
		*ret = json_object();
		return 0;
	}
	if (!is_json(answer))
		return fail_page(a->call, a->t, answer, a->ask->what);
	if (!a->ask->stream) {
		r = mk_mlflow_split_feed(&a->split, mk_buf_text(&answer->body), answer->body.len);
		if (r < 0)
			return fail_json(a, r);
	}

	json_t *json = mk_mlflow_split_end(&a->split);

	if (!json)
		return fail_json(a, -EBADMSG);
	*ret = json;
	return 0;
}

static int send(struct asking *a, bool ajax, struct mk_http_request *request,
		struct mk_http_answer *answer)
{
	_cleanup_buf_ struct mk_buf url = {};
	_cleanup_free_ char *body = a->ask->body ? json_dumps(a->ask->body, JSON_COMPACT) : NULL;

	mk_mlflow_url(a->t, &url, ajax ? "/ajax-api/2.0/" : "/api/2.0/");
	(void)mk_buf_puts(&url, a->ask->route);
	if (a->ask->query && a->ask->query->len)
		(void)mk_buf_printf(&url, "?%s", mk_buf_text(a->ask->query));
	if (mk_buf_check(&url) < 0 || (a->ask->query && mk_buf_check(a->ask->query) < 0))
		return mk_fail(a->call, ENAMETOOLONG, "%s: %s: a name too long to ask for",
			       a->t->peer.remote, a->ask->what);
	*request = (struct mk_http_request){
		.peer = &a->t->peer,
		.url = mk_buf_text(&url),
		.method = a->ask->method ? a->ask->method
			  : a->ask->body ? "POST"
					 : "GET",
		.content_type = a->ask->body ? "application/json" : NULL,
		.body = body,
		.body_len = body ? strlen(body) : 0,
		.limit = a->ask->limit,
		.repeatable = !a->ask->once,
		.sink = a->ask->stream ? take_piece : NULL,
		.sink_arg = a,
	};

	int r = mk_http_send(a->call, request, answer);

	request->url = a->t->credentials->url; /* for errors: the one here goes */
	request->body = NULL;
	return r;
}

static int no_element(void *arg, json_t *element)
{
	return 0;
}

int mk_mlflow_ask(struct mk_call *call, struct mk_tracking *t, const struct mk_mlflow_ask *ask,
		  json_t **ret)
{
	struct asking a = {.call = call, .t = t, .ask = ask};
	_cleanup_answer_ struct mk_http_answer answer = {};
	struct mk_http_request request;
	bool ajax = atomic_load(&t->ajax);
	int r;

	mk_mlflow_split_init(&a.split, ask->list ? ask->list : "",
			     ask->element ? ask->element : no_element, ask->arg);
	r = send(&a, ajax, &request, &answer);
	if (r == 0 && answer.status == 404 && !is_json(&answer) && !ajax) {
		struct mk_http_answer other = {};

		r = send(&a, true, &request, &other);
		if (r == 0 && (is_json(&other) || other.status < 400)) {
			atomic_store(&t->ajax, true);
			mk_http_answer_free(&answer);
			answer = other;
		} else {
			mk_http_answer_free(&other);
		}
	}
	if (r == 0 && answer.status == 404 && !is_json(&answer) && ask->optional)
		r = mk_fail(call, EOPNOTSUPP, "%s: %s: this version of MLflow does not have it",
			    t->peer.remote, ask->what);
	else if (r == 0 && answer.status != 200)
		r = mk_mlflow_fail(call, t, &request, &answer, ask->what);
	else if (r == 0)
		r = read_answer(&a, &answer, ret);
	mk_mlflow_split_free(&a.split);
	return r;
}

const struct mk_tracking_ops mk_tracking_mlflow = {
	.kind = "mlflow",
	.open = open_store,
	.close = close_store,
	.experiments = mk_mlflow_experiments,
	.runs = mk_mlflow_runs,
	.run = mk_mlflow_run,
	.history = mk_mlflow_history,
	.tail = mk_mlflow_tail,
	.files = mk_mlflow_files,
	.read = mk_mlflow_read,
	.models = mk_mlflow_models,
	.versions = mk_mlflow_versions,
	.logged = mk_mlflow_logged,
	.log = mk_mlflow_log,
	.tag_set = mk_mlflow_tag_set,
	.tag_remove = mk_mlflow_tag_remove,
	.run_rename = mk_mlflow_run_rename,
	.run_delete = mk_mlflow_run_delete,
	.run_restore = mk_mlflow_run_restore,
	.experiment_make = mk_mlflow_experiment_make,
	.experiment_rename = mk_mlflow_experiment_rename,
	.experiment_tag = mk_mlflow_experiment_tag,
	.experiment_delete = mk_mlflow_experiment_delete,
	.experiment_restore = mk_mlflow_experiment_restore,
	.put_check = mk_mlflow_put_check,
	.put = mk_mlflow_put,
	.alias_set = mk_mlflow_alias_set,
	.alias_remove = mk_mlflow_alias_remove,
	.model_describe = mk_mlflow_model_describe,
	.version_describe = mk_mlflow_version_describe,
};
