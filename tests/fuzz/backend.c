/* SPDX-License-Identifier: Apache-2.0 */
/* Backend configs: parsed, fitted to local, and turned into a job script. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/script.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_backend_ struct mk_backend backend = {};
	_cleanup_buf_ struct mk_buf text = MK_BUF(8 * MK_LIMIT_TEXT);
	_cleanup_free_ char *environment = NULL;
	_cleanup_call_ struct mk_call call;
	struct mk_script script = {.title = "t", .command = "run", .backend = &backend};

	mk_call_init(&call);
	if (mk_backend_parse_text(&call, "config.yaml", (const char *)data, size, &backend) < 0) {
		FUZZ_CHECK(call.error.text && !strchr(call.error.text, '\n'));
		return 0;
	}
	FUZZ_CHECK(!(backend.image && backend.python));
	FUZZ_CHECK(mk_environment_choose(&call, NULL, &backend, &script.environment,
					 &environment) == 0);
	FUZZ_CHECK(mk_script_write(&call, &script, &text) == 0);
	FUZZ_CHECK(mk_backend_localize(&call, "config.yaml", &backend) == 0);
	return 0;
}
