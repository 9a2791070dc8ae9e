/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as lines of a metric in an mlruns/, and as the address of a store: an address that is
 * taken is kept in one form, and its path leads nowhere by `..`. */
#include <stdio.h>
#include <string.h>

#include "connect/tracking/filestore/filestore.h"
#include "fuzz.h"
#include "net/url_local.h"

static void lines(const char *data, size_t size)
{
	while (size) {
		const char *eol = memchr(data, '\n', size);
		size_t len = eol ? (size_t)(eol - data) : size;
		struct mk_point point = {.time = -1};

		if (mk_fs_point(data, len, &point))
			FUZZ_CHECK(point.time >= 0);
		else
			FUZZ_CHECK(point.time == -1);
		len += eol != NULL;
		data += len;
		size -= len;
	}
}

static void address(const char *text)
{
	_cleanup_free_ char *url = NULL, *again = NULL, *path = NULL;
	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);
	if (!mk_url_is_local(text) || mk_url_local(&call, text, &url) < 0)
		return;
	FUZZ_CHECK(mk_url_is_sqlite(url) == mk_url_is_sqlite(text));
	path = mk_url_local_path(url);
	FUZZ_CHECK(path[0] == '/' && !strstr(path, "/../") && !strstr(path, "//"));
	if (strcmp(path, "/") != 0) {
		FUZZ_CHECK(mk_url_local(&call, url, &again) == 0);
		FUZZ_CHECK(strcmp(url, again) == 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = mk_strndup((const char *)data, size);

	lines((const char *)data, size);
	address(text);
	return 0;
}
