/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request on the wire, once: what mk_http_send() repeats, redirects and authorises. Used by
 * http.c alone.
 */
#ifndef MK_HTTP_WIRE_H
#define MK_HTTP_WIRE_H

#include "http.h"

struct mk_wire {
	/* What is asked. */
	const struct mk_http_request *request;
	const char *label;	   /* `mlflow: GET http://host/path`, what errors begin with */
	const char *url;	   /* the request's, or where that was redirected to */
	const char *method;
	bool with_body;
	const char *authorization; /* "" none */

	/* What came of it, also of an error. */
	struct mk_http_answer answer;
	char *redirect;	 /* absolute URL of a redirect; NULL */
	bool unanswered; /* nothing came back, or half of it: may be repeated if that does no harm */
	bool unreachable; /* for health: nobody was there, or did not answer in time */
	bool sunk;	 /* the sink has seen a byte */
	int64_t ms;
	int64_t bytes;	 /* of body, both ways */
};

void mk_wire_free(struct mk_wire *wire);
/* 0 with ->answer, or the error of mk_http_send(). */
int mk_wire_send(struct mk_call *call, struct mk_wire *wire) _must_check_;

/* How long things may take; tests shorten them. */
struct mk_wire_limits {
	int64_t connect; /* ns, to be connected */
	int64_t silence; /* ns, from the request to the first byte of its answer */
	int64_t idle;	 /* ns, in which at least 1 KiB/s of a body must move */
};
extern struct mk_wire_limits mk_wire_limits;

#endif
