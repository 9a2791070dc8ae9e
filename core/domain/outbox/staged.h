/* SPDX-License-Identifier: Apache-2.0 */
/* A staged file as upload.c sees it. */
#ifndef MK_STAGED_H
#define MK_STAGED_H

#include <mantik/upload.h>

#include "core.h"

struct mk_staged {
	int fd;
	char *folder;
	char *path; /* to be removed with it; NULL: it has no name, or is somebody's */
	char *file; /* its name in the folder, once kept */
};

/* Where they lie; made. */
int mk_staged_folder(struct mk_call *call, struct mantik *m, char **ret) _must_check_;
/* Survives power loss under a name of its own, for as long as it is not freed. */
int mk_staged_keep(struct mk_call *call, struct mk_staged *staged) _must_check_;
/* The name is a row's now: freeing leaves it. */
void mk_staged_give(struct mk_staged *staged);

#endif
