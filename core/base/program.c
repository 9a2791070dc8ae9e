/* SPDX-License-Identifier: Apache-2.0 */
/* Looking for programs before a run needs them. */
#include "base/program.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <mantik/buf.h>

static bool is_executable(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

bool mk_program_exists(const char *program)
{
	if (strchr(program, '/'))
		return is_executable(program);

	const char *path = getenv("PATH");

	if (!path || !*path)
		path = "/usr/local/bin:/usr/bin:/bin";
	while (*path) {
		_cleanup_buf_ struct mk_buf file = MK_BUF(4096);
		size_t n = strcspn(path, ":");

		(void)mk_buf_put(&file, path, n);
		(void)mk_buf_printf(&file, "/%s", program);
		if (n && mk_buf_check(&file) == 0 && is_executable(mk_buf_text(&file)))
			return true;
		path += n + (path[n] == ':');
	}
	return false;
}
