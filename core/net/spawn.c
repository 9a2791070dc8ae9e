/* SPDX-License-Identifier: Apache-2.0 */
/* Starting what outlives us; see spawn.h. From any thread: posix_spawn copies no memory. */
#include "net/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>

extern char **environ;

int mk_spawn(struct mk_call *call, const struct mk_spawn *spawn, pid_t *ret)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t mask, all;
	pid_t pid;

	sigemptyset(&mask);
	if (spawn->hold_signals) {
		sigaddset(&mask, SIGTERM);
		sigaddset(&mask, SIGINT);
		sigaddset(&mask, SIGHUP);
	}
	sigfillset(&all);
	posix_spawn_file_actions_init(&files);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &mask);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
						POSIX_SPAWN_SETSID);
	posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
	if (!spawn->keep_stderr)
		posix_spawn_file_actions_addopen(&files, 2, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_addclosefrom_np(&files, 3);

	int r = posix_spawn(&pid, spawn->path, &files, &attr, (char *const *)spawn->argv,
			    spawn->env ? spawn->env : environ);

	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attr);
	if (r == EAGAIN || r == ENOMEM)
		return mk_fail(call, EBUSY, "cannot start a process now: %s", strerror(r));
	if (r)
		return mk_fail(call, r, "cannot start %s: %s", spawn->path, strerror(r));
	*ret = pid;
	return 0;
}
