/* SPDX-License-Identifier: Apache-2.0 */
/* Every command of mantikctl, in the order of --help and the manual; each in its cmd_*.c. */
#ifndef CMD_H
#define CMD_H

#include "ctl.h"

#define CTL_COMMANDS(X)                                                                 \
	X(mount) X(umount) X(submit) X(status) X(log) X(wait) X(cancel) X(rerun) X(delete) \
	X(discard) X(restore) X(gc) X(du) X(ls) X(cat) X(cp) X(mkdir) X(login) X(why) X(doctor) X(config) X(log_metric) \
	X(log_param) X(set_tag) X(env) X(serve) X(backup) X(takeover)

#define X(name) extern const struct cmd cmd_##name;
CTL_COMMANDS(X)
#undef X

#endif
