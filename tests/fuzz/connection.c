/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as connections/NAME.yaml: refused without a word of the secret, or what is shown says
 * the same, holds `(set)` for each secret, and shows as itself again.
 */
#include "domain/connection_text.h"

#include <stdio.h>
#include <string.h>

#include "base/doc.h"
#include "fuzz.h"

static int parse(struct mk_call *call, const char *text, size_t len, struct mk_doc **doc,
		 struct mk_secret *secrets)
{
	_cleanup_(mk_credentials_freep) struct mk_credentials *credentials = NULL;

	return mk_connection_parse(call, "fuzz", text, len, doc, &credentials, secrets);
}

/* The name of a key is no value, though it may be one in the wrong place. */
static bool tells(const struct mk_call *call)
{
	const char *text = call->error.text;

	return text && strstr(text, "hunter2") && !strstr(text, "key");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_call_ struct mk_call call;
	_cleanup_(mk_connection_doc_free) struct mk_doc *doc = NULL, *again = NULL;
	_cleanup_buf_ struct mk_buf shown = MK_BUF(MK_CONNECTION_MAX), lines = MK_BUF(MK_LIMIT_BODY);
	_cleanup_buf_ struct mk_buf twice = MK_BUF(MK_CONNECTION_MAX);
	struct mk_secret secrets[MK_CONNECTION_KEYS], after[MK_CONNECTION_KEYS];
	_cleanup_buf_ struct mk_buf input = MK_BUF(1 << 20);

	mk_call_init(&call);
	FUZZ_CHECK(mk_buf_put(&input, data, size) == 0);

	const char *text = mk_buf_text(&input);

	mk_connection_hide_lines(text, size, &lines);
	FUZZ_CHECK(mk_buf_check(&lines) == 0);
	if (parse(&call, text, size, &doc, secrets) < 0 ||
	    mk_connection_hide(&call, "fuzz", text, size, doc, &shown) < 0) {
		FUZZ_CHECK(call.error.text && !tells(&call));
		return 0;
	}
	FUZZ_CHECK(parse(&call, mk_buf_text(&shown), shown.len, &again, after) == 0);
	for (int i = 0; i < MK_CONNECTION_KEYS; i++) {
		FUZZ_CHECK(!after[i].value);
		FUZZ_CHECK(after[i].is_set == (secrets[i].is_set || secrets[i].value));
	}
	FUZZ_CHECK(mk_connection_hide(&call, "fuzz", mk_buf_text(&shown), shown.len, again, &twice) ==
		   0);
	FUZZ_CHECK(twice.len == shown.len && memcmp(twice.data, shown.data, shown.len) == 0);
	return 0;
}
