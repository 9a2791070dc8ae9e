/* SPDX-License-Identifier: Apache-2.0 */
/* Pages of searches: how many, from where, and the word a client comes back with for the next. */
#ifndef MK_SERVE_PAGING_H
#define MK_SERVE_PAGING_H

#include "serve/serve.h"

/* max_results (`standard` when absent, 0: then it is an error) and page_token. */
int serve_page(struct serve_request *rq, int64_t standard, int64_t most, int64_t *ret_limit,
	       int64_t *ret_offset) _must_check_;
/* The token of the page that begins with number `offset`. */
char *serve_page_token(int64_t offset);
/* What a token says, in base64 as MLflow's: EINVAL. The bytes are text. */
int serve_token_read(struct serve_request *rq, const char *token, struct mk_buf *ret) _must_check_;
char *serve_token_make(const char *text);

/* JSON into rq->out. */
void serve_put_text(struct mk_buf *out, const char *text);
void serve_put_number(struct mk_buf *out, double value);

/*
 * `[{info, data, inputs, outputs}, …]` of runs, row by row, without holding more than the text:
 * what serve_run() says of one. zero: the row of experiment 0.
 */
int serve_put_runs(struct serve_request *rq, const int64_t *ids, size_t n, int64_t zero,
		   struct mk_buf *out) _must_check_;

#endif
