/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files: listed a directory at a time, read by one range.
 *
 *	GET …/mlflow-artifacts/artifacts/…     first, for a run whose artifact_uri is there: since 3.17
 *	    206                                ten times as fast as the next. Else this route of the
 *	                                       server is not asked again
 *	GET /get-artifact?run_id=…&path=…      206 from the offset; 200: read and cut
 *	    404 without JSON                   no such route (--static-prefix): the proxied one
 *	    400, 500                           a directory, missing (before 3.17), or an error:
 *	                                       the listing of its parent tells
 *
 * ETags are compared between answers of one route only: one of the first is marked, and what began
 * there goes on there. Where the server fetches the file from an
 * object store for each request, each answer has another one: a read that is gone on with then
 * says ESTALE and has to begin again.
 */
#include "mlflow.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

enum { MAX_LIST = 32 << 20, STOP = -ECANCELED, ELSEWHERE = -ENOTSUP };

/* Of an etag of the proxied route; none begins so by itself. */
static const char mark[] = "proxied ";

/* --- listing --------------------------------------------------------------------------------- */

struct listing {
	const struct mk_mlflow_where *where;
	const char *path;
	mk_t_file_emit *emit;
	void *arg;
};

/* The name of an entry: its path is that of the whole store, of the place, or (proxied) a name
 * alone. NULL: nothing one could name a file. */
static const char *name_of(const struct listing *l, const char *path)
{
	_cleanup_free_ char *folder = mk_mlflow_join(l->where->prefix, l->path);
	size_t len = strlen(folder);

	if (l->where->kind != PROXIED && len) {
		if (strncmp(path, folder, len) != 0 || path[len] != '/')
			return NULL;
		path += len + 1;
	}
	if (!*path || strchr(path, '/') || strcmp(path, ".") == 0 || strcmp(path, "..") == 0)
		return NULL;
	return path;
}

static int take(void *arg, json_t *f)
{
	struct listing *l = arg;
	const char *name = name_of(l, mk_mlflow_text(f, "path"));
	bool is_dir = json_is_true(json_object_get(f, "is_dir"));

	if (!name)
		return 0;

	_cleanup_free_ char *path = mk_mlflow_join(l->path, name);
	struct mk_t_file file = {
		.path = path,
		.is_dir = is_dir,
		/* An empty file has none: what is 0 is left out. */
		.size = is_dir ? -1 : mk_mlflow_number(f, "file_size", 0),
	};

	return l->emit(l->arg, &file);
}

static int list(struct mk_call *call, struct mk_tracking *t, const struct mk_mlflow_where *where,
		const char *path, char **token, mk_t_file_emit *emit, void *arg)
{
	struct listing listing = {where, path, emit, arg};
	_cleanup_free_ char *folder = mk_mlflow_join(where->prefix, path), *route = NULL;
	_cleanup_free_ char *what =
		mk_strf("files of %.60s %.200s", where->id ? where->id : "it", folder);
	_cleanup_buf_ struct mk_buf query = {};
	_cleanup_json_ json_t *answer = NULL;

	switch (where->kind) {
	case IN_RUN:
		route = mk_strdup("mlflow/artifacts/list");
		mk_mlflow_arg(&query, "run_id", where->id);
		if (*folder)
			mk_mlflow_arg(&query, "path", folder);
		break;
	case IN_MODEL:
		route = mk_strf("mlflow/logged-models/%s/artifacts/directories", where->id);
		if (*folder)
			mk_mlflow_arg(&query, "artifact_directory_path", folder);
		break;
	case PROXIED:
		route = mk_strdup("mlflow-artifacts/artifacts");
		mk_mlflow_arg(&query, "path", folder);
		break;
	case BY_VERSION:
		return mk_fail(
			call, EOPNOTSUPP,
			"%s: the files of model %s version %s are in a store the server does "
			"not list",
			t->peer.remote, where->id, where->version);
	}
	if (*token)
		mk_mlflow_arg(&query, "page_token", *token);

	int r = mk_mlflow_ask(call, t,
			      &(struct mk_mlflow_ask){
				      .what = what,
				      .route = route,
				      .query = &query,
				      .limit = MAX_LIST,
				      .optional = where->kind != IN_RUN,
				      .list = "files",
				      .element = take,
				      .arg = &listing,
			      },
			      &answer);

	return r < 0 ? r : mk_mlflow_next(call, t, answer, token);
}

int mk_mlflow_files(struct mk_call *call, struct mk_tracking *t, const struct mk_t_place *place,
		    const char *path, char **token, mk_t_file_emit *emit, void *arg)
{
	_cleanup_(mk_mlflow_where_free) struct mk_mlflow_where where = {};
	int r = mk_mlflow_check_path(call, t, path);

	if (r < 0)
		return r;
	r = mk_mlflow_find(call, t, place, &where);
	if (r < 0)
		return r;
	return list(call, t, &where, path, token, emit, arg);
}

/* --- reading --------------------------------------------------------------------------------- */

struct reading {
	struct mk_call *call;
	struct mk_tracking *t;
	const char *path;
	int64_t offset, len; /* asked for; len < 0: to the end */
	char **etag;
	int (*sink)(void *arg, const void *data, size_t len);
	void *arg;
	int64_t at; /* of the next byte in the file; -1 before the first answer */
	int64_t delivered;
	int64_t total;
	bool ended; /* by us: there is more than was asked for */
	bool parts; /* the proxied route is tried: ELSEWHERE if it gives no parts */
};

/* Is this the version that was read before? */
static int check_version(struct reading *x, const struct mk_http_answer *head)
{
	if (!x->etag)
		return 0;

	_cleanup_free_ char *etag =
		head->etag ? mk_strf("%s%s", x->parts ? mark : "", head->etag) : NULL;

	if (!*x->etag) {
		*x->etag = mk_steal(&etag);
		return 0;
	}
	if (etag && strcmp(*x->etag, etag) == 0)
		return 0;
	return mk_fail(x->call, ESTALE, "%s: %s has changed while it was read", x->t->peer.remote,
		       x->path);
}

static int begin(struct reading *x, const struct mk_http_answer *head)
{
	if (x->parts && head->status != 206)
		return ELSEWHERE;

	int r = check_version(x, head);

	if (r < 0)
		return r;
	x->at = head->status == 206 ? head->range_begin : 0;
	x->total = head->status == 206 ? head->total : head->length;
	if (x->at < 0 || x->at > x->offset)
		return mk_fail(x->call, EREMOTEIO,
			       "%s: %s: another part of it came than was asked "
			       "for",
			       x->t->peer.remote, x->path);
	return 0;
}

static int take_piece(void *arg, const struct mk_http_answer *head, const void *data, size_t len)
{
	struct reading *x = arg;
	const char *bytes = data;

	if (x->at < 0) {
		int r = begin(x, head);

		if (r < 0)
			return r;
	}
	if (x->at < x->offset) { /* before what was asked for */
		size_t skip = x->offset - x->at < (int64_t)len ? (size_t)(x->offset - x->at) : len;

		x->at += (int64_t)skip;
		bytes += skip;
		len -= skip;
	}
	if (x->len >= 0 && (int64_t)len > x->len - x->delivered) {
		len = (size_t)(x->len - x->delivered);
		x->ended = true;
	}
	if (len) {
		int r = x->sink(x->arg, bytes, len);

		if (r < 0)
			return r;
	}
	x->at += (int64_t)len;
	x->delivered += (int64_t)len;
	return x->ended ? STOP : 0;
}

static void url_of(const struct mk_tracking *t, const struct mk_mlflow_where *where,
		   const char *path, struct mk_buf *url)
{
	_cleanup_free_ char *whole = mk_mlflow_join(where->prefix, path);

	switch (where->kind) {
	case IN_RUN:
		mk_mlflow_url(t, url, "/get-artifact?run_id=");
		mk_url_put(url, where->id, false);
		(void)mk_buf_puts(url, "&path=");
		mk_url_put(url, whole, false);
		break;
	case IN_MODEL:
		mk_mlflow_url(t, url, "/ajax-api/2.0/mlflow/logged-models/");
		mk_url_put(url, where->id, false);
		(void)mk_buf_puts(url, "/artifacts/files?artifact_file_path=");
		mk_url_put(url, whole, false);
		break;
	case PROXIED:
		mk_mlflow_url(t, url,
			      atomic_load(&t->ajax) ? "/ajax-api/2.0/mlflow-artifacts/artifacts/"
						    : "/api/2.0/mlflow-artifacts/artifacts/");
		mk_url_put(url, whole, true);
		break;
	case BY_VERSION:
		mk_mlflow_url(t, url, "/model-versions/get-artifact?name=");
		mk_url_put(url, where->id, false);
		(void)mk_buf_puts(url, "&version=");
		mk_url_put(url, where->version, false);
		(void)mk_buf_puts(url, "&path=");
		mk_url_put(url, whole, false);
		break;
	}
}

struct looking {
	const char *path;
	bool found, is_dir;
};

static int look(void *arg, const struct mk_t_file *file)
{
	struct looking *looking = arg;

	if (strcmp(file->path, looking->path) != 0)
		return 0;
	looking->found = true;
	looking->is_dir = file->is_dir;
	return 0;
}

/* An answer of 400 or 500: before 3.17 that is what a directory and a missing file are, too. */
static int judge(struct reading *x, const struct mk_mlflow_where *where,
		 const struct mk_http_request *request, const struct mk_http_answer *answer)
{
	const char *slash = strrchr(x->path, '/');
	_cleanup_free_ char *folder = mk_strndup(x->path, slash ? (size_t)(slash - x->path) : 0);
	_cleanup_free_ char *token = NULL;
	struct looking looking = {.path = x->path};

	do {
		int r = where->kind == BY_VERSION
				? -EOPNOTSUPP
				: list(x->call, x->t, where, folder, &token, look, &looking);

		if (r == -EINTR)
			return r;
		if (r < 0)
			return mk_mlflow_fail(x->call, x->t, request, answer, x->path);
	} while (token && !looking.found);
	if (!looking.found)
		return mk_fail(x->call, ENOENT, "%s: %s: there is no such file", x->t->peer.remote,
			       x->path);
	if (looking.is_dir)
		return mk_fail(x->call, EISDIR, "%s: %s is a directory", x->t->peer.remote,
			       x->path);
	return mk_mlflow_fail(x->call, x->t, request, answer, x->path);
}

/* Everything that was promised has come? */
static int check_size(struct reading *x, int64_t *ret_total)
{
	int64_t want = x->total > x->offset ? x->total - x->offset : 0;

	if (x->len >= 0 && x->len < want)
		want = x->len;
	if (x->total >= 0 && x->delivered < want)
		return mk_fail(x->call, EREMOTEIO, "%s: %s: %lld bytes came of %lld",
			       x->t->peer.remote, x->path, (long long)x->delivered,
			       (long long)want);
	*ret_total = x->total;
	return 0;
}

/* The other route says what it thinks of it: of a directory, a missing file, who may read it. */
static bool may_be_elsewhere(const struct mk_http_answer *answer, int r)
{
	static const int statuses[] = {400, 403, 404, 405, 500};

	for (size_t i = 0; r == 0 && i < sizeof(statuses) / sizeof(*statuses); i++)
		if (answer->status == statuses[i])
			return true;
	return r == ELSEWHERE;
}

static int read_from(struct reading *x, struct mk_mlflow_where *where, int64_t *ret_total)
{
	_cleanup_buf_ struct mk_buf url = {};
	_cleanup_answer_ struct mk_http_answer answer = {};

	url_of(x->t, where, x->path, &url);
	if (mk_buf_check(&url) < 0)
		return mk_fail(x->call, ENAMETOOLONG, "%s: %s: a name too long to ask for",
			       x->t->peer.remote, x->path);

	struct mk_http_request request = {
		.peer = &x->t->peer,
		.url = mk_buf_text(&url),
		.range_from = x->offset,
		.range_len = x->len > 0	     ? x->len
			     : x->offset > 0 || x->parts ? INT64_MAX
							 : 0,
		.sink = take_piece,
		.sink_arg = x,
	};
	int r = mk_http_send(x->call, &request, &answer);

	if (r == STOP && x->ended) {
		mk_error_clear(x->call);
		r = 0;
	} else if (x->parts && may_be_elsewhere(&answer, r)) {
		mk_error_clear(x->call);
		return ELSEWHERE;
	} else if (r == 0 && answer.status == 416) {
		x->total = answer.total;
	} else if (r == 0 && answer.status == 404 && strcmp(answer.type, "application/json") != 0 &&
		   where->kind == IN_RUN) {
		r = mk_mlflow_find_proxied(x->call, x->t, where);
		if (r < 0)
			return r;
		atomic_store(&x->t->no_get_artifact, true);
		return read_from(x, where, ret_total);
	} else if (r == 0 && (answer.status == 400 || answer.status == 500)) {
		r = judge(x, where, &request, &answer);
	} else if (r == 0 && answer.status != 200 && answer.status != 206) {
		r = mk_mlflow_fail(x->call, x->t, &request, &answer, x->path);
	}
	return r < 0 ? r : check_size(x, ret_total);
}

/* Is it read by the proxied route? What began elsewhere goes on there. */
static bool is_in_parts(struct mk_tracking *t, const struct mk_t_place *place, char **etag)
{
	_cleanup_free_ char *root = place->uri ? mk_mlflow_proxied(place->uri) : NULL;

	if (!root)
		return false;
	if (etag && *etag)
		return strncmp(*etag, mark, strlen(mark)) == 0;
	return !atomic_load(&t->no_ranges);
}

/* ELSEWHERE: nothing came of it. */
static int read_parts(struct reading *x, const struct mk_mlflow_where *in_run, const char *uri,
		      int64_t *ret_total)
{
	_cleanup_free_ char *root = mk_mlflow_proxied(uri);
	_cleanup_(mk_mlflow_where_free) struct mk_mlflow_where where = {
		.kind = PROXIED, .prefix = mk_mlflow_join(root, in_run->prefix)};
	int r;

	x->parts = true;
	r = read_from(x, &where, ret_total);
	x->parts = false;
	return r;
}

int mk_mlflow_read(struct mk_call *call, struct mk_tracking *t, const struct mk_t_place *place,
		   const char *path, int64_t offset, int64_t len, char **etag,
		   int (*sink)(void *arg, const void *data, size_t len), void *arg,
		   int64_t *ret_total)
{
	_cleanup_(mk_mlflow_where_free) struct mk_mlflow_where where = {};
	struct reading x = {
		.call = call,
		.t = t,
		.path = path,
		.offset = offset,
		.len = len,
		.etag = etag,
		.sink = sink,
		.arg = arg,
		.at = -1,
		.total = -1,
	};
	int r = mk_mlflow_check_path(call, t, path);

	if (r < 0)
		return r;
	if (!*path)
		return mk_fail(call, EISDIR, "%s: the root of its files is a directory",
			       t->peer.remote);
	if (offset < 0 || len == 0)
		return mk_fail(call, EINVAL, "%s: %s: nothing to read", t->peer.remote, path);
	r = mk_mlflow_find(call, t, place, &where);
	if (r < 0)
		return r;

	bool elsewhere = false;

	if (where.kind == IN_RUN && is_in_parts(t, place, etag)) {
		r = read_parts(&x, &where, place->uri, ret_total);
		elsewhere = r == ELSEWHERE;
		if (!elsewhere)
			return r;
	}
	if (where.kind == IN_RUN && atomic_load(&t->no_get_artifact)) {
		r = mk_mlflow_find_proxied(call, t, &where);
		if (r < 0)
			return r;
	}
	r = read_from(&x, &where, ret_total);
	if (r == 0 && elsewhere) /* there it is, and not in the proxied route */
		atomic_store(&t->no_ranges, true);
	return r;
}
