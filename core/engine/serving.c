/* SPDX-License-Identifier: Apache-2.0 */
/* See mantik/serve.h. The client's side: what a command line does before it tells others where the
 * server is. */
#include <mantik/serve.h>

#include <errno.h>
#include <poll.h>

#include "engine/poke.h"
#include "net/http.h"
#include "vault/serving.h"

enum { WAIT_S = 10, AGAIN_MS = 10, MAX_HEADER = 256 };

/* 1 it listens, 0 not (yet). A mantikd that answers its doorbell has remembered its port; before that
 * the port is one of the past, and maybe another's. */
static int listens(struct mk_call *call, struct mantik *m)
{
	int port = 0;

	if (mk_poke_ring(m) < 0)
		return 0;

	int r = mk_serving_port(call, m, &port);

	return r == -ENOENT ? 0 : r < 0 ? r : mk_serving_listens(call, port);
}

static int until_it_listens(struct mk_call *call, struct mantik *m)
{
	int64_t end = mk_now_mono() + WAIT_S * MK_SEC;

	for (;;) {
		int r = listens(call, m);

		if (r == 1)
			return 0;
		if (mk_now_mono() >= end)
			return r < 0 ? r :
				       mk_fail(call, ETIMEDOUT,
					       "mantikd does not serve; see %s/mantikd.log",
					       mantik_data_dir(m));
		mk_error_clear(call);
		r = mk_call_check(call, "mantikd");
		if (r < 0)
			return r;
		(void)poll(NULL, 0, AGAIN_MS); /* another program's listening has no event */
	}
}

/* Any answer does: from now on it was asked. */
static int ask(struct mk_call *call, const char *url, const char *token)
{
	_cleanup_wipe_ struct mk_buf header = MK_BUF_SECRET(MAX_HEADER);
	_cleanup_buf_ struct mk_buf version = MK_BUF(MAX_HEADER);
	_cleanup_answer_ struct mk_http_answer answer = {};

	(void)mk_buf_printf(&header, "Authorization: Bearer %s", token);
	(void)mk_buf_printf(&version, "%s/version", url);

	const char *const headers[] = {mk_buf_text(&header), NULL};
	struct mk_http_peer peer = {.remote = "mantikd", .headers = headers};
	struct mk_http_request request = {.peer = &peer, .url = mk_buf_text(&version)};

	return mk_http_send(call, &request, &answer);
}

int mantik_serving(struct mk_call *call, struct mantik *m, const char *project,
		   struct mk_buf *ret_url, struct mk_buf *ret_token)
{
	_cleanup_buf_ struct mk_buf base = MK_BUF(MAX_HEADER);
	int r;

	if (mantik_read_only_why(m))
		return mk_fail(call, EROFS, "the tracking server: %s", mantik_read_only_why(m));
	r = mantik_poke(call, m);
	if (r == 0)
		r = until_it_listens(call, m);
	if (r == 0)
		r = mk_serving_url(call, m, project, ret_url);
	if (r == 0)
		r = mk_serving_token(call, m, ret_token);
	if (r == 0)
		r = mk_serving_url(call, m, NULL, &base);
	return r < 0 ? r : ask(call, mk_buf_text(&base), mk_buf_text(ret_token));
}
