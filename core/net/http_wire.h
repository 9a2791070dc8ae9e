/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request on the wire, once: what mk_http_send() repeats, redirects and authorises. Used by
 * http.c alone; http_head.c and http_error.c are parts of http_wire.c.
 */
#ifndef MK_HTTP_WIRE_H
#define MK_HTTP_WIRE_H

#include "http.h"

struct mk_wire {
	/* What is asked. */
	const struct mk_http_request *request;
	const char *label; /* `mlflow: GET http://host/path`, what errors begin with */
	const char *url;   /* the request's, or where that was redirected to */
	const char *method;
	bool with_body;
	const char *authorization; /* "" none */

	/* What came of it, also of an error. */
	struct mk_http_answer answer;
	char *redirect;	  /* absolute URL of a redirect; NULL */
	bool unanswered;  /* nothing came back, or half of it: may be repeated if that does no harm
			   */
	bool unreachable; /* for health: nobody was there, or did not answer in time */
	bool sunk;	  /* the sink has seen a byte */
	int64_t ms;
	int64_t bytes; /* of body, both ways */
};

void mk_wire_free(struct mk_wire *wire);
/* 0 with ->answer, or the error of mk_http_send(). */
int mk_wire_send(struct mk_call *call, struct mk_wire *wire) _must_check_;

/* curl_handle, curl_code: a CURL and a CURLcode; words: its own. */
void mk_wire_read_head(void *curl_handle, struct mk_http_answer *answer);
int mk_wire_fail(struct mk_call *call, struct mk_wire *wire, void *curl_handle, int curl_code,
		 const char *words);
/* A Content-Range: `bytes 0-99/1000`; a star stands for what is not known, and for the range of a
 * 416. What is no such thing changes nothing. value may be NULL. */
void mk_wire_read_range(const char *value, struct mk_http_answer *answer);

/* How long things may take; tests shorten them. */
struct mk_wire_limits {
	int64_t connect; /* ns, to be connected */
	int64_t silence; /* ns, from the request to the first byte of its answer */
	int64_t idle;	 /* ns, in which at least 1 KiB/s of a body must move */
};
extern struct mk_wire_limits mk_wire_limits;

#endif
