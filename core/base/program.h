/* SPDX-License-Identifier: Apache-2.0 */
/* Is a program installed here? Starting one is core/net/exec.h. */
#ifndef MK_PROGRAM_H
#define MK_PROGRAM_H

#include <stdbool.h>

/* Looks for an executable file through PATH; a name with a `/` is looked at directly. Local disk
 * only. */
bool mk_program_exists(const char *program);

#endif
