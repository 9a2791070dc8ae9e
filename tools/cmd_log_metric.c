/* SPDX-License-Identifier: Apache-2.0 */
/* mantikctl log-metric: one point, or lines of points from standard input. */
#include "cmd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool is_number(const char *text)
{
	char *end;

	strtod(text, &end);
	return end != text && !*end;
}

static int run(struct ctl *ctl)
{
	_cleanup_buf_ struct mk_buf lines = MK_BUF(MK_LIMIT_TEXT);
	const char *key = ctl->operands[0], *value = ctl->operands[1];
	const char *step = ctl->n_operands > 2 ? ctl->operands[2] : NULL;
	int r;

	if (strcmp(value, "-") == 0 && !step) {
		r = ctl_read_fd(ctl, "standard input", STDIN_FILENO, &lines);
		if (r < 0)
			return r;
	} else {
		if (!is_number(value))
			return mk_fail(&ctl->call, EINVAL, "%s: \"%s\" is not a number", key,
				       value);
		if (step && (!*step || step[strspn(step, "-0123456789")]))
			return mk_fail(&ctl->call, EINVAL, "%s: the step \"%s\" is not a whole number",
				       key, step);
		mk_buf_printf(&lines, "%s%s%s\n", step ? step : "", step ? " " : "", value);
	}
	return ctl_log_lines(ctl, key, mk_buf_text(&lines), lines.len);
}

const struct cmd cmd_log_metric = {
	.name = "log-metric",
	.operands = "KEY VALUE [STEP]",
	.min = 2,
	.max = 3,
	.needs = CTL_NOTHING,
	.help = "logs a point of a metric",
	.more = "STEP is the last one plus 1 when left out. With - as VALUE lines are read from standard "
		"input: value, step value, or step value time. In a job the run is the job's own.",
	.options =
		(const struct cmd_option[]){
			{'r', "run", "RUN", "the run, outside of its job"},
			{},
		},
	.run = run,
};
