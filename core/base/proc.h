/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What /proc tells of a process of this machine. A pid is used again; with the time its process
 * began and the boot it names one process for good.
 */
#ifndef MK_PROC_H
#define MK_PROC_H

#include <stdint.h>
#include <sys/types.h>

struct mk_proc {
	char state; /* as in ps(1): Z is dead and not yet reaped */
	pid_t parent;
	uint64_t start; /* clock ticks since boot */
};

/* -ESRCH: there is no such process. */
int mk_proc_look(pid_t pid, struct mk_proc *ret);
/* Its start, also of a dead one that is not reaped; 0: there is no such process. */
uint64_t mk_proc_start(pid_t pid);
/* Of this boot of the machine: 36 characters. 0 or a negative errno. */
int mk_boot_id(char ret[37]);

#endif
