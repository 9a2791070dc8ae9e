/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the pending signals of a waiting thread mean for its request. The kernel sends INTERRUPT for
 * every signal, once per request; EINTR for a timer's signal would make Python ask again for ever
 * and surprise C programs. So only signals by which somebody wants the wait to end count.
 */
#include "op.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct masks {
	uint64_t pending, shared, blocked, ignored, caught;
};

#define BIT(sig) (UINT64_C(1) << ((sig) - 1))

/* Somebody wants the wait to end, whether or not the program has a handler. */
static const uint64_t wanted = BIT(SIGHUP) | BIT(SIGINT) | BIT(SIGQUIT) | BIT(SIGTERM) |
			       BIT(SIGTSTP) | BIT(SIGKILL);
/* Uncaught, these do not end a program. */
static const uint64_t harmless = BIT(SIGCHLD) | BIT(SIGCONT) | BIT(SIGURG) | BIT(SIGWINCH) |
				 BIT(SIGSTOP) | BIT(SIGTSTP) | BIT(SIGTTIN) | BIT(SIGTTOU);

/* False when the thread is gone. */
static bool read_masks(pid_t tid, struct masks *ret)
{
	char path[64], line[256];
	static const struct {
		const char *key;
		size_t at;
	} keys[] = {
		{"SigPnd:", offsetof(struct masks, pending)},
		{"ShdPnd:", offsetof(struct masks, shared)},
		{"SigBlk:", offsetof(struct masks, blocked)},
		{"SigIgn:", offsetof(struct masks, ignored)},
		{"SigCgt:", offsetof(struct masks, caught)},
	};

	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)tid);

	FILE *file = fopen(path, "re");

	if (!file)
		return false;
	*ret = (struct masks){};
	while (fgets(line, sizeof(line), file))
		for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
			if (strncmp(line, keys[i].key, strlen(keys[i].key)) == 0)
				*(uint64_t *)((char *)ret + keys[i].at) =
					strtoull(line + strlen(keys[i].key), NULL, 16);
	(void)fclose(file);
	return true;
}

enum asker asker_look(pid_t tid)
{
	struct masks masks;

	/* Of another pid namespace: its signals cannot be known, and it must not wait for ever. */
	if (tid == 0)
		return ASKER_INTERRUPTED;
	if (!read_masks(tid, &masks))
		return ASKER_DYING;

	uint64_t comes = (masks.pending | masks.shared) & ~masks.blocked & ~masks.ignored;

	if ((comes & BIT(SIGKILL)) || (comes & ~masks.caught & ~harmless))
		return ASKER_DYING;
	return comes & wanted ? ASKER_INTERRUPTED : ASKER_WAITS;
}
