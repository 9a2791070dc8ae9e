/* SPDX-License-Identifier: Apache-2.0 */
/* Any text as a Content-Range and as a URL. */
#include <stdio.h>
#include <string.h>

#include "fuzz.h"
#include "net/http_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mk_http_answer answer = {.range_begin = -1, .total = -1};
	_cleanup_free_ char *text = mk_strndup((const char *)data, size), *base = NULL,
			    *again = NULL;
	_cleanup_free_ char *origin = mk_url_origin(text);
	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);
	mk_wire_read_range(text, &answer);
	FUZZ_CHECK(answer.range_begin >= -1 && answer.total >= -1);
	FUZZ_CHECK(answer.total < 0 || answer.range_begin < answer.total);
	(void)mk_url_is_loopback(text);

	int r = mk_url_base(&call, text, &base);

	if (r < 0) {
		FUZZ_CHECK(!base && call.error.text);
		return 0;
	}
	/* What was taken is taken again as it is, and has an origin. */
	FUZZ_CHECK(mk_url_base(&call, base, &again) == 0 && strcmp(base, again) == 0);
	free(origin);
	origin = mk_url_origin(base);
	FUZZ_CHECK(origin && strncmp(origin, "http", 4) == 0);
	return 0;
}
