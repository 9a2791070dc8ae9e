/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The embedded tracking server: MLflow's REST API over our own database, served by mantikd on
 * loopback. This header is what its rooms share:
 *
 *	listen.c       the listener: port, token, beginning and end
 *	http.c	       libmicrohttpd: a request from its first line to the end of its answer
 *	head.c	       who asks, for what
 *	job.c	       a job that puts its own run into another experiment
 *	ask.c	       what a path, a host, a range, a secret say; pure functions
 *	sweep.c	       connections that take too long to say something
 *	work.c	       the threads handlers run in
 *	answer.c       answers: JSON, texts, files and parts of them
 *	route.c	       which handler a method and path belong to
 *	args.c	       typed arguments of a request, in MLflow's words when one is missing or wrong
 *	error.c	       errno and error_code to status and MLflow's error body
 *	routes_<x>.c   the handlers, a table of routes each
 *
 * A handler runs in a thread of the server's pool (16 at most) while its connection rests; it may
 * block on the database and the local disk, never on a remote. It is answered after what it did is
 * durable against a kill. The calls of a sink follow each other, not always in the same thread.
 *
 * Scope: the address `http://127.0.0.1:PORT` shows all projects of ours, their experiments as
 * `<project>/<experiment>`, but for the default project (option `tracking_project`) whose
 * experiments have their plain names, and experiment 0 is its `Default`.
 * `http://127.0.0.1:PORT/projects/<project>` shows one project with plain names; 0 is its `Default`.
 * An experiment's id is our row's in decimal, a run's its uid. Projects mirrored from other
 * tracking stores are not shown: they have a server.
 */
#ifndef MK_SERVE_H
#define MK_SERVE_H

#include <jansson.h>

#include "core.h"

struct serve_request {
	struct mk_call *call; /* who asks, deadline, the error */
	struct mantik *m;
	const char *method; /* "GET" (also of a HEAD), "POST", "PUT", "PATCH", "DELETE" */
	const char *path;   /* after the scope, decoded: /api/2.0/mlflow/runs/get (/ajax-api is /api) */
	const char *rest;   /* what the `*` at the end of the route's path stands for, else "" */
	json_t *in;	    /* object: the JSON body; of a GET, of a file that is sent (a sink) and
			       of a DELETE without a body the query's arguments as texts, those given
			       several times as a list of texts. Owned by the server */
	const char *list;   /* `in` is an item of this list (check.h), its number; else NULL */
	size_t list_i;
	int64_t project_id; /* the scope, 0: all */
	const char *scope;  /* as it was written: "/projects/my%20demo", else "" */
	bool to_scope;	    /* a handler's answer: go to the scope's first page (303) */
	struct serve_file *file; /* what a handler fills to answer with bytes; its fd is -1 until
				    then. Closed by the server */
	struct mk_buf *out;	 /* or it writes the answer's text itself, instead of *ret (pages of
				    many rows); at most 256 MiB */
	const char *type;	 /* of `out`; NULL: application/json */
	int status;	    /* of an error answer once error_code is set */
	const char *error_code; /* "RESOURCE_DOES_NOT_EXIST", …: set by serve_fail */
};

/*
 * Answers with *ret (owned by the server afterwards; left NULL: `{}`), or with an error: a negative
 * errno with the call's text, which error.c maps (ENOENT RESOURCE_DOES_NOT_EXIST 404, EINVAL
 * INVALID_PARAMETER_VALUE 400, EEXIST RESOURCE_ALREADY_EXISTS 400, EROFS INVALID_STATE 400, …, else
 * INTERNAL_ERROR 500), or what serve_fail() says.
 */
typedef int serve_handler(struct serve_request *rq, json_t **ret);

/* A body that is not JSON (artifacts) goes to these as it comes; it is never held whole. `end` with
 * complete=false: the client went away or too much came: undo. */
struct serve_sink {
	int (*begin)(struct serve_request *rq, int64_t length, void **ret_state); /* -1 unknown */
	int (*data)(struct serve_request *rq, void *state, const void *data, size_t len);
	int (*end)(struct serve_request *rq, void *state, bool complete, json_t **ret);
};

struct serve_route {
	const char *method;
	const char *path; /* "/api/2.0/mlflow/runs/get"; a `*` at the end: anything, in rq->rest */
	serve_handler *run;
	const struct serve_sink *sink; /* instead of run */
};

/* Tables end with a row without a path. route.c lists them. */
extern const struct serve_route serve_server[];	     /* routes_server.c: health, version */
extern const struct serve_route serve_ui[];	     /* routes_ui.c: MLflow's web pages */
extern const struct serve_route serve_graphql[];     /* routes_graphql.c: what only they ask */
extern const struct serve_route serve_experiments[]; /* routes_experiments.c */
extern const struct serve_route serve_runs[];	     /* routes_runs.c: runs, params, tags, inputs */
extern const struct serve_route serve_metrics[];     /* routes_metrics.c: log, batch, history */
extern const struct serve_route serve_search[];	     /* routes_search.c: runs/search, experiments/search */
extern const struct serve_route serve_artifacts[];   /* routes_artifacts.c */
extern const struct serve_route serve_models[];	     /* routes_models.c: registered, aliases */
extern const struct serve_route serve_versions[];    /* routes_versions.c: theirs */
extern const struct serve_route serve_logged[];	     /* routes_logged.c: logged models */

/* An error in MLflow's words: "RESOURCE_DOES_NOT_EXIST", … with its status; gives a negative errno. */
int serve_fail(struct serve_request *rq, const char *error_code, const char *fmt, ...)
	_printf_(3, 4) _must_check_;

/*
 * Arguments. 1: there, 0: absent (*ret untouched; with `required` that is an error), negative: of a
 * wrong type, in the words of MLflow's own validation. Numbers come as JSON numbers or as texts.
 * What is returned lives as long as the request.
 */
int serve_text(struct serve_request *rq, const char *name, bool required,
	       const char **ret) _must_check_;
int serve_int(struct serve_request *rq, const char *name, bool required,
	      int64_t *ret) _must_check_;
int serve_double(struct serve_request *rq, const char *name, bool required,
		 double *ret) _must_check_; /* also "NaN", "Infinity", "-Infinity" */
int serve_bool(struct serve_request *rq, const char *name, bool *ret) _must_check_;
/* A value as Python's json.dumps() writes it in MLflow's messages; NULL: out of memory. */
char *serve_shown(const json_t *value);
/* A list (one text of a GET is a list of one). */
int serve_list(struct serve_request *rq, const char *name, bool required,
	       json_t **ret) _must_check_;

/*
 * Answers with the bytes of an open regular file (closed by the server). A Range of one piece, HEAD
 * and If-None-Match are obeyed.
 */
struct serve_file {
	int fd;
	int64_t size;
	const char *type; /* MIME, static; NULL: application/octet-stream */
	bool is_page;	  /* of the web pages: a browser may run and keep it */
	char *name;	  /* what a browser saves it as, or NULL; freed by the server */
};

/*
 * In mantikd: listens until serve_stop. `wanted`: this port or none (EADDRINUSE, EACCES); 0: the one
 * of last time, or, when somebody else has it, another one, which is remembered (vault/serving.h).
 * EMFILE, ENOMEM.
 */
struct serve;
int serve_start(struct mk_call *call, struct mantik *m, int wanted,
		struct serve **ret) _must_check_;
void serve_stop(struct serve *serve); /* lets what is under way end, at most 5 s; NULL is fine */
int serve_port(const struct serve *serve);
/* Mono time of the last request that had the token, now while one is under way; 0 never. */
int64_t serve_last(const struct serve *serve);

#endif
