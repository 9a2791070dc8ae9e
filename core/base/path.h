/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Local paths we are given (data and cache directory, `code: path`): where they really lead,
 * found out without one step into a mantikfs mount. A lookup in our own mount by a thread of the
 * same mount would wait for itself in an uninterruptible sleep.
 */
#ifndef MK_PATH_H
#define MK_PATH_H

#include <mantik/call.h>

/* The absolute path without links, `.` and `..`; what does not exist yet stays as it is written.
 * EXDEV: it lies in a mantikfs mount; ELOOP; EACCES and the like of a directory on the way. */
int mk_path_resolve(struct mk_call *call, const char *path, char **ret) _must_check_;
/* Makes a directory and those above it, mode 0700. What exists is left as it is; ENOTDIR. */
int mk_path_make(struct mk_call *call, const char *path) _must_check_;
/* "\040" and the like of /proc/PID/mountinfo, in place. */
void mk_mountinfo_unescape(char *s);

#endif
