/* SPDX-License-Identifier: Apache-2.0 */
/* mantikctl takeover: ends the lease of another host that has gone silent. */
#include "cmd.h"

static int run(struct ctl *ctl)
{
	return mantik_takeover(&ctl->call, ctl->m);
}

const struct cmd cmd_takeover = {
	.name = "takeover",
	.operands = "",
	.needs = CTL_READ,
	.help = "takes the platform over from a host that is silent",
	.more = "Where the home directory is shared by several hosts, one of them does the work and the "
		"others read. When that one has been silent for two minutes, this makes the platform "
		"writable here. A host that is alive is never taken over.",
	.options = CTL_NO_OPTIONS,
	.run = run,
};
