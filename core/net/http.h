/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The only place that speaks HTTP. One request is one call of mk_http_send(): it waits, so it is
 * made in a thread that may wait for `remote`, honours the call's deadline and cancel, and comes
 * back with an answer or an error. libcurl does the work; each thread keeps a multi handle of its
 * own (a curl handle belongs to one thread), so connections are used again within a lane.
 *
 *	mk_http_send ---> health: given up a moment ago? ---> auth hook ---> the wire
 *	                     EHOSTUNREACH at once               401: once more, with `again`
 *	             ---> 429; and 408 502 503 504 or no answer, to what may be repeated: again, after
 *	                  Retry-After or 0.5 s, 1 s, 2 s … with jitter, within the deadline (6 s for a
 *	                  call that has none), 7 times
 *
 * Nobody there (name, refused, TLS) is not tried again: it opens the breaker. A Retry-After beyond
 * the deadline, or of more than 2 minutes, is not waited for: the 429 is the answer.
 *
 * An HTTP answer of any status is a success of mk_http_send(); mk_http_fail() makes the error of
 * one that was not wanted. Redirects are followed (at most 5) within the same origin only; one to
 * another origin is the error EREMOTEIO that names it: credentials and bodies never leave the
 * origin that was configured. TLS certificates are always verified. Only http and https are spoken.
 *
 * Limits: a header line 16 KiB, headers 64 KiB, a body that is kept 8 MiB unless `limit` says
 * otherwise; one that is sunk has none. Given up is who is not connected in 5 s, begins no answer in
 * 120 s, or moves less than 1 KiB/s of a body over 30 s.
 */
#ifndef MK_HTTP_H
#define MK_HTTP_H

#include <mantik/buf.h>
#include <mantik/call.h>

/*
 * Writes the value of the Authorization header (empty: none) for a request to `origin`
 * (`https://host:port`). again: what it gave before was answered with 401. May wait for `remote`;
 * errors (ENOKEY, EKEYEXPIRED) are those of the request. The buffer is wiped by the caller.
 */
typedef int mk_http_auth(struct mk_call *call, void *arg, const char *origin, bool again,
			 struct mk_buf *ret);

/* Whom requests go to, fixed for a connection. Texts are borrowed. */
struct mk_http_peer {
	const char *remote;	    /* lane, and name in errors: "mlflow" of connections/mlflow.yaml */
	const char *ca_file;	    /* PEM bundle instead of the system's, or NULL */
	const char *client_cert;    /* PEM, certificate and key in one file or … */
	const char *client_key;	    /* … the key, or NULL */
	const char *const *headers; /* "Name: value", NULL-terminated, or NULL */
	mk_http_auth *auth;	    /* NULL: none */
	void *auth_arg;
};

struct mk_http_answer {
	int status;
	char *type;	       /* Content-Type without parameters, lower case; "" */
	char *etag;	       /* with its quotes; NULL */
	char *last_modified;   /* NULL */
	int64_t length;	       /* Content-Length; -1 unknown */
	int64_t range_begin;   /* of a 206; -1 */
	int64_t total;	       /* size of the whole thing, of a 206 or 416; -1 unknown */
	int64_t retry_after;   /* s; -1 not said */
	bool authorized;       /* an Authorization header was sent */
	struct mk_buf body;    /* what was not sunk */
};
void mk_http_answer_free(struct mk_http_answer *answer);
#define _cleanup_answer_ _cleanup_(mk_http_answer_free)

struct mk_http_request {
	const struct mk_http_peer *peer;
	const char *method;	  /* NULL: GET */
	const char *url;	  /* absolute, encoded (mk_url_*) */
	const char *content_type; /* of body */
	const void *body;
	size_t body_len;
	/* Instead of body: exactly source_len bytes, from the beginning each time it is sent. */
	ssize_t (*source)(void *arg, int64_t offset, void *buf, size_t len);
	void *source_arg;
	int64_t source_len;
	int64_t range_from;	   /* with range_len > 0: one range is asked for */
	int64_t range_len;	   /* INT64_MAX: to the end */
	const char *if_none_match; /* an etag */
	size_t limit;		   /* of the kept body; 0: 8 MiB */
	/* Takes the body of a 2xx piece by piece (an empty one: once, len 0); the answer's head is
	 * complete. A negative result ends the request and is its result. It must not send. Other
	 * statuses keep their body (64 KiB of it). */
	int (*sink)(void *arg, const struct mk_http_answer *head, const void *data, size_t len);
	void *sink_arg;
	bool repeatable; /* sending it twice does no harm; GET and HEAD always are. Not used once
			  * a byte was sunk. */
};

/*
 * 0 with an answer. MK_PUNT: this thread may not wait for the remote.
 * EHOSTUNREACH  no connection (name, refused, TLS), or given up a moment ago (health)
 * ETIMEDOUT     no answer within the deadline, or it does not move
 * EINTR         cancelled
 * EREMOTEIO     half a body, no HTTP, a redirect to another origin
 * EFBIG         the body is over its limit
 * The text names the remote and the URL without its query; never a header.
 */
int mk_http_send(struct mk_call *call, const struct mk_http_request *request,
		 struct mk_http_answer *ret) _must_check_;

/* The error of an unwanted status: what architecture 8 says (404 ENOENT, 401 EACCES or ENOKEY, 403
 * EACCES, 400 and 422 EINVAL, 409 EBUSY, 429 and 503 EBUSY, 413 EFBIG, 504 ETIMEDOUT, 501 EOPNOTSUPP,
 * other 5xx EREMOTEIO). words: the server's own explanation, NULL: the first line of a text body. */
int mk_http_fail(struct mk_call *call, const struct mk_http_request *request,
		 const struct mk_http_answer *answer, const char *what, const char *words);

/* --- URLs ---------------------------------------------------------------------------------- */

/* Checks a configured base URL: http or https, a host, no user, query or fragment; without slashes
 * at its end. EINVAL with the reason. */
int mk_url_base(struct mk_call *call, const char *url, char **ret) _must_check_;
/* scheme://host:port of a URL, in lower case and always with its port; NULL: it is none. */
char *mk_url_origin(const char *url);
/* Is it this machine's own: localhost, 127.*, ::1? Such a URL is never asked for by a proxy. */
bool mk_url_is_loopback(const char *url);
/* Appends a text percent-encoded; slash: `/` stays (a path). */
void mk_url_put(struct mk_buf *url, const char *text, bool slash);

#endif
