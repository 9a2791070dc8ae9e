/* SPDX-License-Identifier: Apache-2.0 */
/* What a program that holds secrets does to itself first (mantik_protect), and how a job is freed
 * of it again. */
#ifndef MK_PROTECT_H
#define MK_PROTECT_H

/* A variable of the environment, also one that mantik_protect() took out of it. NULL. */
const char *mk_protected(const char *name);

/* In a job's process before exec: the limits that the first of our programs was started with. */
void mk_limits_restore(void);

#endif
