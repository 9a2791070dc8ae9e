/* SPDX-License-Identifier: Apache-2.0 */
/* Every command of mantikctl, in the order of --help and the manual; each in its cmd_*.c. */
#ifndef CMD_H
#define CMD_H

#include "ctl.h"

#define CTL_COMMANDS(X) X(mount) X(umount) X(config) X(backup) X(takeover)

#define X(name) extern const struct cmd cmd_##name;
CTL_COMMANDS(X)
#undef X

#endif
