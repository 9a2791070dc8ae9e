/* SPDX-License-Identifier: Apache-2.0 */
/* mantikctl gc: ends deleted runs for good, the one command that destroys. */
#include "cmd.h"

#include <mantik/run.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "30d", "12h", "90m", "45s" or days. */
static int parse_age(struct ctl *ctl, const char *text, int64_t *ret)
{
	static const struct {
		const char *unit;
		int64_t seconds;
	} units[] = {{"", 86400}, {"d", 86400}, {"h", 3600}, {"m", 60}, {"s", 1}};
	char *end;
	long n;

	errno = 0;
	n = strtol(text, &end, 10);
	for (size_t i = 0; end != text && !errno && i < sizeof(units) / sizeof(*units); i++) {
		if (strcmp(end, units[i].unit) == 0 && n >= 0 && n < 100000000) {
			*ret = n * units[i].seconds * MK_SEC;
			return 0;
		}
	}
	return ctl_usage(ctl, "gc: --older takes 30d, 12h, 90m or 45s, not \"%s\"", text);
}

static int gc_one(struct ctl *ctl, int64_t id)
{
	int r = mk_run_gc(&ctl->call, ctl->m, id, 0);

	return r < 0 ? r : 0;
}

static int run(struct ctl *ctl)
{
	const char *older = ctl_option(ctl, "older");
	int64_t age = 0;
	int r;

	if (older) {
		r = parse_age(ctl, older, &age);
		if (r != 0)
			return r;
	}
	if (!ctl_confirm(ctl, ctl->n_operands ? "end the deleted runs named for good?"
					      : "end all deleted runs for good?"))
		return CTL_FAILED;
	if (ctl->n_operands)
		return ctl_each_run(ctl, gc_one);
	r = mk_run_gc(&ctl->call, ctl->m, 0, age);
	if (r < 0)
		return r;
	printf("%d run%s gone\n", r, r == 1 ? "" : "s");
	return 0;
}

const struct cmd cmd_gc = {
	.name = "gc",
	.operands = "[RUN ...]",
	.max = -1,
	.needs = CTL_WRITE,
	.help = "ends deleted runs for good",
	.more = "Removes their rows, logs, artifacts and working directories. On a terminal it asks first. "
		"Without RUN: all that were deleted.",
	.options =
		(const struct cmd_option[]){
			{'o', "older", "AGE", "only those deleted longer ago than 30d, 12h, 90m or 45s"},
			{'y', "yes", NULL, "does not ask"},
			{},
		},
	.run = run,
};
