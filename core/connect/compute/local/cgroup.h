/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MK_CGROUP_H
#define MK_CGROUP_H

#include <stdbool.h>
#include <sys/types.h>

/* Makes (or finds) the group of a run below our own; its absolute path, or NULL: not possible. */
char *mk_cgroup_make(const char *uid);
int mk_cgroup_join(const char *group, pid_t pid);
/* SIGKILL to all in it, by the kernel, whatever they do meanwhile. */
void mk_cgroup_kill(const char *group);
bool mk_cgroup_populated(const char *group);
void mk_cgroup_remove(const char *group);
/* Goes up out of the group of a run, if we were started in one. */
void mk_cgroup_leave(void);

#endif
