/* SPDX-License-Identifier: Apache-2.0 */
/* Any text as a request's path, Host, Origin, range and secret. */
#include <string.h>

#include "base/utf8.h"
#include "fuzz.h"
#include "serve/frame.h"

static void path(const char *text)
{
	_cleanup_(serve_where_free) struct serve_where where = {};
	const char *why = NULL;

	if (serve_where_read(text, &where, &why) < 0) {
		FUZZ_CHECK(why && !where.path && !where.project);
		return;
	}
	/* What is let through cannot climb, and is text. */
	_cleanup_free_ char *slashed = mk_alloc(strlen(where.path) + 3);

	slashed[0] = '/';
	memcpy(slashed + 1, where.path, strlen(where.path));
	slashed[strlen(where.path) + 1] = '/';
	FUZZ_CHECK(!strstr(slashed, "/../") && !strstr(slashed, "/./"));
	FUZZ_CHECK(mk_utf8_bad(where.path, strlen(where.path)) == strlen(where.path));
	FUZZ_CHECK(strncmp(where.path, "/ajax-api/", 10) != 0 || strstr(text, "%"));
}

static void range(const char *text)
{
	static const int64_t sizes[] = {0, 1, 10, INT64_MAX};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		int64_t from = -1, len = -1;
		int r = serve_range(text, sizes[i], &from, &len);

		if (r == 1)
			FUZZ_CHECK(from >= 0 && len > 0 && from <= sizes[i] - len);
		else
			FUZZ_CHECK(from == -1 && len == -1);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = mk_strndup((const char *)data, size);
	_cleanup_buf_ struct mk_buf decoded = MK_BUF(1 << 17);

	path(text);
	range(text);
	if (serve_host_ours(text, 5000))
		FUZZ_CHECK(strlen(text) < 20 && strstr(text, ":5000"));
	if (serve_origin_ours(text, 5000))
		FUZZ_CHECK(strncmp(text, "http://", 7) == 0);
	FUZZ_CHECK(serve_same_secret("0123", text) == (strcmp(text, "0123") == 0));
	/* Whatever bytes: decoding makes nothing longer, and a NUL is refused. */
	if (serve_decode((const char *)data, size, &decoded) == 0)
		FUZZ_CHECK(decoded.len <= size && strlen(mk_buf_text(&decoded)) == decoded.len);
	return 0;
}
