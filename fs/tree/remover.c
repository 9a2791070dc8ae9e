/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is taking a run apart? `rm tags/x` removes a tag; `rm -rf RUN`, `find -delete` and their like
 * leave the run whole, its tags too. What tells them apart: a recursive remover lists the run's
 * directory before it reaches anything below, or has just been refused something of that run.
 *
 * For ten seconds after either, that process removes nothing in the run. Askers are kept as the
 * kernel names them (threads); only a removal looks them up in /proc. Where more of them that still
 * live were at a run than are kept, nobody removes anything there for that time.
 */
#include "row.h"

#include <signal.h>

enum { QUIET_S = 10 };

static struct fs_remover *slot_of(struct fs_tree *tree, int64_t run)
{
	return &tree->removers[(uint64_t)run % FS_REMOVERS];
}

void fs_remover_note(struct fs_at *at, int64_t run)
{
	struct fs_tree *tree = at->tree;
	int64_t now = mk_now_mono();

	fs_lock(tree);

	struct fs_remover *slot = slot_of(tree, run);
	size_t i = 0;

	if (slot->until < now)
		*slot = (struct fs_remover){.run = run};
	slot->several |= slot->run != run;
	slot->until = now + QUIET_S * MK_SEC;
	while (i < FS_REMOVER_PIDS && slot->pid[i] && slot->pid[i] != at->call->pid)
		i++;
	if (i == FS_REMOVER_PIDS) /* in place of one that has gone */
		for (i = 0; i < FS_REMOVER_PIDS && kill(slot->pid[i], 0) == 0;)
			i++;
	if (i < FS_REMOVER_PIDS)
		slot->pid[i] = at->call->pid;
	else
		slot->several = true;
	fs_unlock(tree);
}

bool fs_remover_is(struct fs_at *at, int64_t run)
{
	struct fs_tree *tree = at->tree;
	pid_t group = fs_who_group(at->call);

	fs_lock(tree);

	struct fs_remover slot = *slot_of(tree, run);

	fs_unlock(tree);
	if (slot.until < mk_now_mono())
		return false;
	if (slot.several || !group)
		return true;
	if (slot.run != run)
		return false;
	for (size_t i = 0; i < FS_REMOVER_PIDS && slot.pid[i]; i++) {
		struct mk_call other = {.pid = slot.pid[i]};

		if (slot.pid[i] == at->call->pid || fs_who_group(&other) == group)
			return true;
	}
	return false;
}
