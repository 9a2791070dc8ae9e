/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the frame share and handlers have nothing to do with.
 *
 * A request, by thread:
 *
 *	poll thread (libmicrohttpd)		worker
 *	  head: who asks, which route
 *	  [a sink: suspend]	  ------------>	  begin
 *	  body: kept up to a limit	<-------  resume
 *	  [a sink: suspend each MiB] ---------->  data
 *	  whole: suspend	  ------------>	  handler, or end
 *	  answer			<-------  resume
 *
 * So a slow client costs a connection and never a thread, and a slow handler keeps nobody else's
 * bytes waiting. An exchange belongs to one of the two at a time; what hands it over also orders
 * what they wrote.
 */
#ifndef MK_SERVE_FRAME_H
#define MK_SERVE_FRAME_H

#include <pthread.h>

#include "serve/serve.h"

struct MHD_Connection;
struct MHD_Daemon;

/* Why these: see listen.c, which has the values. Tests have their own. */
struct serve_limits {
	size_t body;	       /* of one request that is not a sink */
	size_t bodies;	       /* of all requests together */
	int64_t swallow;       /* read and thrown away before a refusal is told */
	unsigned connections;
	int64_t idle;	       /* ns: a connection without a request */
	int64_t head;	       /* ns: the same of one that has not shown the token */
	int64_t window;	       /* ns: a body moves at least rate in … */
	int64_t rate;	       /* bytes each second */
	int64_t request;       /* ns: deadline of a handler */
	int64_t stop;	       /* ns: what is under way at the end */
};

/* ask.c */
/* What a path as it came means. */
struct serve_where {
	char *scope;   /* "/projects/<name>" as it came, or "" */
	char *project; /* of the scope, decoded, or NULL */
	char *path;    /* decoded, after the scope; /ajax-api/ is /api/ */
};
void serve_where_free(struct serve_where *where);
/* EINVAL and why in *ret_why (static): `..`, NUL, no UTF-8. */
int serve_where_read(const char *raw, struct serve_where *ret,
		     const char **ret_why) _must_check_;
/* %XX to bytes; a `%` that is not one stays. EINVAL: a NUL, or not UTF-8. */
int serve_decode(const char *raw, size_t len, struct mk_buf *ret) _must_check_;
/* A Host, or an Origin without its http://, that is this machine's loopback with our port. */
bool serve_host_ours(const char *host, int port);
bool serve_origin_ours(const char *origin, int port);
/* In a time that does not depend on where they differ. */
bool serve_same_secret(const char *ours, const char *theirs);
/* `bytes=…` of a file: 1 a part, 0 all of it (none, several, not bytes), ERANGE beyond the end. */
int serve_range(const char *range, int64_t size, int64_t *ret_from, int64_t *ret_len) _must_check_;

/* route.c */
struct serve_routes;
/* tables: NULL-terminated. */
struct serve_routes *serve_routes_new(const struct serve_route *const *tables);
void serve_routes_free(struct serve_routes *routes);
/* NULL: none. *ret_rest points into path. *ret_other: the path has a route for another method. */
const struct serve_route *serve_routes_find(const struct serve_routes *routes, const char *method,
					    const char *path, const char **ret_rest,
					    bool *ret_other);
extern const struct serve_route *const serve_tables[];
/* One of serve_tables, without a `*`; NULL. */
const struct serve_route *serve_route_of(const char *method, const char *path);
/* What an unknown path is told. */
int serve_unknown(struct serve_request *rq, bool other) _must_check_;

/* error.c */
/* Status and body of what a handler refused with r. The caller frees. */
int serve_error_body(const struct serve_request *rq, int r, char **ret);

/* work.c: a queue and its threads. */
struct serve_work {
	struct serve_work *next;
	void (*run)(struct serve_work *work);
};
struct serve_pool {
	pthread_mutex_t lock; /* protects the rest */
	pthread_cond_t wake;
	struct serve_work *first, **last;
	pthread_t threads[16];
	int n_threads, n_idle;
	bool stop;
};
int serve_pool_init(struct mk_call *call, struct serve_pool *pool) _must_check_;
/* Begins another thread when none is free; there is at least one. */
void serve_pool_run(struct serve_pool *pool, struct serve_work *work);
/* Ends once the queue is empty. */
void serve_pool_done(struct serve_pool *pool);

/* sweep.c: all connections, and who of them is shown the door. */
enum serve_link_state { LINK_WAITING, LINK_BODY, LINK_WORK };
struct serve_link {
	struct serve_link *next, *prev;
	int fd;
	enum serve_link_state state;
	bool known;	/* has shown the token */
	bool told;	/* shut down */
	int64_t since;	/* mono: in this state; a body: this window */
	int64_t bytes;	/* of the body in this window */
	char *query;	/* of the request whose head is being read, the poll thread's */
};
struct serve_sweep {
	pthread_mutex_t lock; /* protects all links, and their descriptors against being closed */
	pthread_cond_t wake;
	struct serve_link *links; /* the oldest last */
	unsigned n;
	bool stop;
	bool running;
	pthread_t thread;
	const struct serve_limits *limits;
};
int serve_sweep_init(struct mk_call *call, struct serve_sweep *sweep,
		     const struct serve_limits *limits) _must_check_;
void serve_sweep_done(struct serve_sweep *sweep);
struct serve_link *serve_link_new(struct serve_sweep *sweep, int fd);
void serve_link_free(struct serve_sweep *sweep, struct serve_link *link);
void serve_link_set(struct serve_sweep *sweep, struct serve_link *link,
		    enum serve_link_state state);
void serve_link_known(struct serve_sweep *sweep, struct serve_link *link);
void serve_link_moved(struct serve_sweep *sweep, struct serve_link *link, size_t bytes);

/* job.c: what jobs are about to do with their runs. */
enum { SERVE_JOBS = 64 };
struct serve_job {
	char uid[33];
	char experiment[24]; /* that it asked for by name last, as its scope calls it; "": none */
	bool several;	     /* and others before */
	bool told;	     /* that its run is there */
	int64_t used;	     /* mono */
};
struct serve_jobs {
	pthread_mutex_t lock; /* protects v */
	struct serve_job v[SERVE_JOBS];
};
struct exchange;
void serve_jobs_init(struct serve_jobs *jobs);
void serve_jobs_done(struct serve_jobs *jobs);
/* Around the handler of a request whose scope is known. */
int serve_job_before(struct exchange *x) _must_check_;
void serve_job_after(struct exchange *x);

struct serve {
	struct mantik *m;
	struct serve_limits limits;
	struct serve_routes *routes;
	struct MHD_Daemon *daemon;
	int port;
	char *token;
	struct serve_pool pool;
	struct serve_sweep sweep;
	struct serve_jobs jobs;
	_Atomic uint64_t number;
	_Atomic int64_t last;	  /* mono: of the last request that had the right to ask */
	_Atomic int under_way;	  /* requests begun and not answered */
	_Atomic bool stopping;
	_Atomic int64_t held;	  /* bytes of bodies */
	pthread_mutex_t lock;	  /* protects at_work */
	struct exchange *at_work; /* with a worker: what serve_stop() cancels */
};

enum { SERVE_MAX_ID = 64 };
enum serve_step { STEP_HEAD, STEP_BEGIN, STEP_BODY, STEP_DATA, STEP_RUN, STEP_READY, STEP_REFUSED };

struct exchange {
	struct serve_work work; /* first */
	struct exchange *next_at_work;
	struct serve *serve;
	struct MHD_Connection *conn;
	struct serve_link *link;
	struct mk_call call;
	struct serve_request rq;
	struct serve_where where;
	char *query; /* what stands behind the `?`, as it came, or NULL */
	struct serve_file file;
	struct mk_buf out;
	const struct serve_route *route;
	enum serve_step step;
	bool resumed;	   /* BEGIN is over: libmicrohttpd tells the head once more */
	bool begun;	   /* the sink has a state */
	void *state;
	struct mk_buf body; /* or the next piece of a sink's */
	int64_t held;	   /* of serve->held */
	int64_t length;	   /* as announced, -1 unknown */
	int64_t came;
	json_t *ret;
	int result;
	int status;	   /* of the answer, for the trace */
	int64_t since;
	char job[33];	   /* the run of the job that asks, or "" */
	char id[SERVE_MAX_ID + 1]; /* X-Request-ID */
};

enum { SERVE_MEMORY = 160 << 10 }; /* of a connection: its head, the next piece of its body */

/* head.c: errors are told to the client as a handler's are. */
const char *serve_header(struct exchange *x, const char *name);
/* Host, Origin, token. */
int serve_may_ask(struct exchange *x, const char *raw) _must_check_;
int serve_find_route(struct exchange *x, const char *raw) _must_check_;
/*
 * libmicrohttpd's callback before it takes a request line apart. It would keep 64 bytes of a
 * connection's memory for each argument, and where that is used up 0.9.75 answers nothing at all; so
 * it is shown no query, and we keep it: as long as a request line may be, there is an answer.
 */
void *serve_take_query(void *cls, const char *uri, struct MHD_Connection *conn);
/* False: the head takes so much of the connection's memory that no answer would fit beside it (told
 * already, past libmicrohttpd, which would only close the connection). More than that it refuses
 * itself, with 414 or 431. */
bool serve_head_fits(struct exchange *x, const char *url) _must_check_;
/* Of a route that is no sink: the arguments of a GET are read, else a JSON body of a bearable size is
 * announced. */
int serve_check_body(struct exchange *x) _must_check_;
int serve_too_big(struct exchange *x);
/* Bytes of the body, -1 unknown. */
int64_t serve_announced(struct exchange *x);
/* A number that a log and a client's own can be joined by. */
void serve_name_request(struct exchange *x);

/* http.c */
/* Listens with an open socket (owned from now on). */
int serve_http_start(struct mk_call *call, struct serve *serve, int fd) _must_check_;
/* No new connections; those under way have until the deadline. False: some are stuck, and what they
 * use must stay. */
bool serve_http_stop(struct serve *serve);

/* listen.c */
/* What serve_start() does, on any port that is free: for tests. Remembers nothing. */
int serve_open(struct mk_call *call, struct mantik *m, const struct serve_limits *limits,
	       const struct serve_route *const *tables, int fd, const char *token,
	       struct serve **ret) _must_check_;
extern const struct serve_limits serve_limits;

/* answer.c */
struct MHD_Response;
/* The response of what a handler left: rq->file, rq->out or ret. *ret_status is set. NULL: ENOMEM. */
struct MHD_Response *serve_answer(struct serve_request *rq, struct MHD_Connection *conn, json_t *ret,
				  int *ret_status);
struct MHD_Response *serve_answer_error(struct serve_request *rq, int r, int *ret_status);

#endif
