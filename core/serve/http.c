/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request from its first line to the end of its answer, as libmicrohttpd tells it: heard() is
 * called with the head, with each piece of the body, at its end, and again whenever the connection
 * had been suspended. frame.h has the picture of which thread does what.
 *
 *	HEAD ----> BEGIN -+-> BODY <-> DATA
 *	  |	  (sink)  |	|
 *	  +---------------+	v
 *	  |		       RUN (handler, or the sink's end) ---> READY ---> answered
 *	  +-> REFUSED: its body is read and thrown away, then it is told
 *
 * A refusal is told after the body because a client that still sends would meet a closed
 * connection instead of the sentence.
 */
#include "serve/frame.h"

#include <errno.h>
#include <microhttpd.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <mantik/trace.h>

enum { PIECE = 1 << 20, POLL_THREADS = 2, MAX_OUT = 256 << 20 };

/* Back to its poll thread, which may be done with x before this returns. Leaving the list and being
 * resumed is one thing for serve_http_stop(). */
static void give_back(struct exchange *x)
{
	struct serve *serve = x->serve;
	struct exchange **p = &serve->at_work;

	pthread_mutex_lock(&serve->lock);
	while (*p != x)
		p = &(*p)->next_at_work;
	*p = x->next_at_work;
	MHD_resume_connection(x->conn);
	pthread_mutex_unlock(&serve->lock);
}

/* The worker's side. */

static int read_json(struct exchange *x)
{
	json_error_t error;

	if (!x->body.len) {
		x->rq.in = json_object();
		return x->rq.in ? 0 : mk_fail(&x->call, ENOMEM, "out of memory");
	}
	x->rq.in = json_loadb(x->body.data, x->body.len, 0, &error);
	mk_buf_free(&x->body);
	if (!x->rq.in)
		return serve_fail(&x->rq, "BAD_REQUEST", "the body is not JSON: %s (byte %d)",
				  error.text, error.position);
	if (!json_is_object(x->rq.in))
		return serve_fail(&x->rq, "BAD_REQUEST", "the body is not a JSON object");
	return 0;
}

/* From a path's /projects/<name>; at the beginning of each, since it may be renamed. */
static int find_project(struct exchange *x)
{
	struct mk_stmt *stmt = NULL;
	const char *name = x->where.project;

	if (!name)
		return 0;

	int r = mk_db_read(&x->call, x->serve->m->db,
			   "SELECT id, connection FROM projects WHERE name = ? AND deleted = 0",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, name);
	r = mk_step(&x->call, stmt);
	if (r == 1 && !mk_col_null(stmt, 1))
		r = serve_fail(&x->rq, "RESOURCE_DOES_NOT_EXIST",
			       "project %s is shown from %s, which has a server of its own", name,
			       mk_col_text(stmt, 1));
	else if (r == 1)
		x->rq.project_id = mk_col_int(stmt, 0);
	else if (r == 0)
		r = serve_fail(&x->rq, "RESOURCE_DOES_NOT_EXIST", "there is no project %s", name);
	mk_reset(&stmt);
	return r < 0 ? r : 0;
}

static int run_handler(struct exchange *x)
{
	const struct serve_sink *sink = x->route->sink;
	int r;

	if (sink) {
		r = x->body.len ? sink->data(&x->rq, x->state, x->body.data, x->body.len) : 0;
		x->begun = false;
		if (r < 0) {
			json_t *none = NULL;

			(void)sink->end(&x->rq, x->state, false, &none);
			json_decref(none);
			return r;
		}
		return sink->end(&x->rq, x->state, true, &x->ret);
	}
	if (!x->rq.in) {
		r = read_json(x);
		if (r < 0)
			return r;
	}
	r = find_project(x);
	if (r == 0)
		r = serve_job_before(x);
	if (r == 0)
		r = x->route->run(&x->rq, &x->ret);
	if (r == 0)
		serve_job_after(x);
	return r;
}

static int begin_sink(struct exchange *x)
{
	int r = find_project(x);

	if (r < 0)
		return r;
	r = x->route->sink->begin(&x->rq, x->length, &x->state);
	x->begun = r >= 0;
	return r;
}

static void do_work(struct serve_work *work)
{
	struct exchange *x = (struct exchange *)work;
	int r = 0;

	switch (x->step) {
	case STEP_BEGIN:
		r = begin_sink(x);
		x->step = STEP_BODY;
		break;
	case STEP_DATA:
		r = x->route->sink->data(&x->rq, x->state, x->body.data, x->body.len);
		mk_buf_truncate(&x->body, 0);
		x->step = STEP_BODY;
		break;
	default:
		r = run_handler(x);
		x->step = STEP_READY;
		break;
	}
	if (r < 0) {
		x->result = r;
		if (x->step != STEP_READY)
			x->step = STEP_REFUSED;
	}
	give_back(x);
}

/* The poll thread's side. */

static enum MHD_Result hand_over(struct exchange *x, enum serve_step step)
{
	struct serve *serve = x->serve;

	x->step = step;
	x->call.deadline = mk_now_mono() + serve->limits.request;
	serve_link_set(&serve->sweep, x->link, LINK_WORK);
	MHD_suspend_connection(x->conn);
	pthread_mutex_lock(&serve->lock);
	x->next_at_work = serve->at_work;
	serve->at_work = x;
	pthread_mutex_unlock(&serve->lock);
	serve_pool_run(&serve->pool, &x->work);
	return MHD_YES;
}

static enum MHD_Result answer(struct exchange *x)
{
	int status = 0;
	struct MHD_Response *response =
		x->result < 0 ? serve_answer_error(&x->rq, x->result, &status) :
				serve_answer(&x->rq, x->conn, x->ret, &status);

	if (!response)
		return MHD_NO;
	serve_link_set(&x->serve->sweep, x->link, LINK_WORK);
	(void)MHD_add_response_header(response, "X-Request-ID", x->id);
	(void)MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
	(void)MHD_add_response_header(response, "Cache-Control",
				      x->file.is_page ? "private, no-cache" : "no-store");
	/* Whatever else is opened in a browser (an artifact somebody wrote) runs nothing as us. */
	(void)MHD_add_response_header(response, "Content-Security-Policy",
				      x->file.is_page ? "frame-ancestors 'self'" :
							"default-src 'none'; sandbox");
	if (atomic_load(&x->serve->stopping))
		(void)MHD_add_response_header(response, "Connection", "close");
	x->status = status;

	enum MHD_Result r = MHD_queue_response(x->conn, (unsigned)status, response);

	MHD_destroy_response(response);
	return r;
}

static struct exchange *exchange_new(struct serve *serve, struct MHD_Connection *conn,
				     const char *method)
{
	struct exchange *x = calloc(1, sizeof(*x));
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(conn, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	if (!x)
		return NULL;
	x->work.run = do_work;
	x->serve = serve;
	x->conn = conn;
	x->link = info->socket_context;
	x->query = mk_steal(&x->link->query);
	x->since = mk_now_mono();
	x->body = MK_BUF(serve->limits.body);
	x->out = MK_BUF(MAX_OUT);
	x->file.fd = -1;
	mk_call_init(&x->call);
	x->rq = (struct serve_request){
		.call = &x->call,
		.m = serve->m,
		.method = strcmp(method, "HEAD") == 0 ? "GET" : method,
		.rest = "",
		.path = "",
		.scope = "",
		.file = &x->file,
		.out = &x->out,
	};
	x->length = serve_announced(x);
	serve_name_request(x);
	atomic_fetch_add(&serve->under_way, 1);
	return x;
}

static void let_go(struct exchange *x)
{
	atomic_fetch_sub(&x->serve->held, x->held);
	x->held = 0;
}

static enum MHD_Result refuse(struct exchange *x, int r)
{
	x->result = r;
	x->step = STEP_REFUSED;
	mk_buf_free(&x->body);
	let_go(x);
	return MHD_YES;
}

/* Who waits to be told to send; or more than is worth waiting for. */
static bool not_worth_hearing(struct exchange *x)
{
	return serve_header(x, MHD_HTTP_HEADER_EXPECT) || x->length > x->serve->limits.swallow;
}

static enum MHD_Result head(struct exchange *x, const char *raw)
{
	int r = serve_may_ask(x, raw);

	if (r == 0)
		r = serve_find_route(x, raw);
	if (r == 0)
		r = serve_check_body(x);
	serve_link_set(&x->serve->sweep, x->link, LINK_BODY);
	if (r < 0) {
		(void)refuse(x, r);
		return not_worth_hearing(x) ? answer(x) : MHD_YES;
	}
	x->step = STEP_BODY;
	if (x->route->sink)
		x->body.limit = PIECE + SERVE_MEMORY;
	return x->route->sink ? hand_over(x, STEP_BEGIN) : MHD_YES;
}

static enum MHD_Result keep(struct exchange *x, const char *data, size_t len)
{
	struct serve *serve = x->serve;

	if (x->body.len + len > serve->limits.body)
		return refuse(x, serve_too_big(x));
	x->held += (int64_t)len;
	if (atomic_fetch_add(&serve->held, (int64_t)len) + (int64_t)len >
	    (int64_t)serve->limits.bodies)
		return refuse(x, serve_fail(&x->rq, "REQUEST_LIMIT_EXCEEDED",
					    "too much is being sent to this server at once"));
	if (mk_buf_put(&x->body, data, len) < 0)
		return refuse(x, mk_fail(&x->call, ENOMEM, "out of memory"));
	return MHD_YES;
}

static enum MHD_Result piece(struct exchange *x, const char *data, size_t *len)
{
	size_t n = *len;

	x->came += (int64_t)n;
	serve_link_moved(&x->serve->sweep, x->link, n);
	*len = 0;
	if (x->step == STEP_REFUSED)
		return x->came > x->serve->limits.swallow ? MHD_NO : MHD_YES;
	if (!x->route->sink)
		return keep(x, data, n);
	if (mk_buf_put(&x->body, data, n) < 0)
		return refuse(x, mk_fail(&x->call, ENOMEM, "out of memory"));
	return x->body.len >= PIECE ? hand_over(x, STEP_DATA) : MHD_YES;
}

static enum MHD_Result heard(void *cls, struct MHD_Connection *conn, const char *url,
			     const char *method, const char *version, const char *data, size_t *len,
			     void **ret)
{
	struct exchange *x = *ret;

	if (!x) {
		x = *ret = exchange_new(cls, conn, method);
		return x && serve_head_fits(x, url) ? head(x, url) : MHD_NO;
	}
	if (x->step == STEP_READY)
		return answer(x);
	if (x->route && x->route->sink && !x->resumed && x->step != STEP_HEAD && !*len &&
	    (x->begun || x->result < 0)) {
		x->resumed = true; /* the head once more, after BEGIN */
		if (x->step == STEP_REFUSED && not_worth_hearing(x))
			return answer(x);
		serve_link_set(&x->serve->sweep, x->link, LINK_BODY);
		return MHD_YES;
	}
	if (*len) {
		if (x->link->state != LINK_BODY)
			serve_link_set(&x->serve->sweep, x->link, LINK_BODY);
		return piece(x, data, len);
	}
	return x->step == STEP_REFUSED ? answer(x) : hand_over(x, STEP_RUN);
}

static void trace(struct exchange *x, enum MHD_RequestTerminationCode why)
{
	if (mk_tracing(MK_TRACE_SERVE))
		mk_trace(MK_TRACE_SERVE, x->call.number, "%s %s %d %lld us%s%s", x->rq.method,
			 x->rq.path, x->status, (long long)(mk_now_mono() - x->since) / 1000,
			 why == MHD_REQUEST_TERMINATED_COMPLETED_OK ? "" : ", cut off",
			 x->call.error.text && x->result < 0 ? ": an error" : "");
}

/* The answer is sent, or the connection is gone. */
static void completed(void *cls, struct MHD_Connection *conn, void **con_cls,
		      enum MHD_RequestTerminationCode why)
{
	struct serve *serve = cls;
	struct exchange *x = *con_cls;

	if (!x)
		return;
	*con_cls = NULL;
	if (x->begun) {
		json_t *none = NULL;

		(void)x->route->sink->end(&x->rq, x->state, false, &none);
		json_decref(none);
	}
	trace(x, why);
	serve_link_set(&serve->sweep, x->link, LINK_WAITING);
	let_go(x);
	json_decref(x->ret);
	json_decref(x->rq.in);
	mk_buf_free(&x->body);
	mk_buf_free(&x->out);
	mk_closep(&x->file.fd);
	free(x->file.name);
	serve_where_free(&x->where);
	free(x->query);
	mk_call_done(&x->call);
	free(x);
	atomic_fetch_sub(&serve->under_way, 1);
}

static void connected(void *cls, struct MHD_Connection *conn, void **context,
		      enum MHD_ConnectionNotificationCode what)
{
	struct serve *serve = cls;

	if (what == MHD_CONNECTION_NOTIFY_STARTED) {
		const union MHD_ConnectionInfo *info =
			MHD_get_connection_info(conn, MHD_CONNECTION_INFO_CONNECTION_FD);

		*context = serve_link_new(&serve->sweep, info->connect_fd);
	} else if (*context) {
		serve_link_free(&serve->sweep, *context);
		*context = NULL;
	}
}

/* We decode ourselves (ask.c). */
static size_t leave_escaped(void *cls, struct MHD_Connection *conn, char *text)
{
	return strlen(text);
}

static void no_log(void *cls, const char *fmt, va_list ap)
{
}

int serve_http_start(struct mk_call *call, struct serve *serve, int fd)
{
	/* Not its epoll: 0.9.75 takes a piece that fills no buffer for all there is, and never hears of
	 * the end of a connection that came with it. */
	serve->daemon = MHD_start_daemon(
		MHD_USE_POLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL,
		NULL, heard, serve, MHD_OPTION_EXTERNAL_LOGGER, no_log, NULL,
		MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_THREAD_POOL_SIZE, (unsigned)POLL_THREADS,
		MHD_OPTION_CONNECTION_LIMIT, serve->limits.connections,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)SERVE_MEMORY, MHD_OPTION_CONNECTION_TIMEOUT,
		(unsigned)(serve->limits.idle / MK_SEC), MHD_OPTION_NOTIFY_COMPLETED, completed,
		serve, MHD_OPTION_NOTIFY_CONNECTION, connected, serve,
		MHD_OPTION_UNESCAPE_CALLBACK, leave_escaped, NULL, MHD_OPTION_URI_LOG_CALLBACK,
		serve_take_query, NULL, MHD_OPTION_END);
	if (!serve->daemon) {
		close(fd);
		return mk_fail(call, ENOMEM, "the tracking server cannot be started");
	}
	return 0;
}

static void wait_until(struct serve *serve, int64_t end)
{
	while (atomic_load(&serve->under_way) && mk_now_mono() < end)
		(void)poll(NULL, 0, 10); /* a count has no event, and this is once in a life */
}

bool serve_http_stop(struct serve *serve)
{
	bool clean;
	int fd = MHD_quiesce_daemon(serve->daemon);

	if (fd >= 0)
		close(fd);
	atomic_store(&serve->stopping, true);
	wait_until(serve, mk_now_mono() + serve->limits.stop);
	pthread_mutex_lock(&serve->lock);
	for (struct exchange *x = serve->at_work; x; x = x->next_at_work)
		mk_call_cancel(&x->call);
	clean = !serve->at_work;
	pthread_mutex_unlock(&serve->lock);
	for (int64_t end = mk_now_mono() + serve->limits.stop; !clean && mk_now_mono() < end;) {
		(void)poll(NULL, 0, 10);
		pthread_mutex_lock(&serve->lock);
		clean = !serve->at_work;
		pthread_mutex_unlock(&serve->lock);
	}
	/* libmicrohttpd aborts the process when a connection is suspended still. */
	if (clean)
		MHD_stop_daemon(serve->daemon);
	return clean;
}
