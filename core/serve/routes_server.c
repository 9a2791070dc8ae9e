/* SPDX-License-Identifier: Apache-2.0 */
/* What the server says of itself. /health and /version are told to anybody (http.c). */
#include "serve/serve.h"

#include <errno.h>

static int health(struct serve_request *rq, json_t **ret)
{
	rq->type = "text/plain; charset=utf-8";
	return mk_buf_puts(rq->out, "OK");
}

static int version(struct serve_request *rq, json_t **ret)
{
	rq->type = "text/plain; charset=utf-8";
	return mk_buf_puts(rq->out, "mantikfs " MANTIK_VERSION);
}

const struct serve_route serve_server[] = {
	{"GET", "/health", health},
	{"GET", "/version", version},
	{},
};
