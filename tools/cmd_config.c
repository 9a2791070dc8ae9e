/* SPDX-License-Identifier: Apache-2.0 */
/* mantikctl config: the options in force and where each comes from. */
#include "cmd.h"

#include <mantik/option.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct request {
	struct ctl *ctl;
	const char *name; /* NULL: all */
	bool found;
	struct mk_buf out;
};

static void free_request(struct request *request)
{
	mk_buf_free(&request->out);
}

static void put_json(struct request *q, const struct mk_option *option, const char *value,
		     const char *where)
{
	mk_buf_puts(&q->out, q->out.len ? ",\n " : "[");
	mk_buf_puts(&q->out, "{\"name\": ");
	ctl_json_text(&q->out, option->name);
	mk_buf_puts(&q->out, ", \"value\": ");
	ctl_json_text(&q->out, value);
	mk_buf_puts(&q->out, ", \"from\": ");
	ctl_json_text(&q->out, where);
	mk_buf_puts(&q->out, ", \"default\": ");
	ctl_json_text(&q->out, option->standard);
	mk_buf_puts(&q->out, "}");
}

/* The directories are known only when the platform is open. */
static const char *directory(const struct mantik *m, const char *name)
{
	if (strcmp(name, "data_dir") == 0)
		return mantik_data_dir(m);
	if (strcmp(name, "cache_dir") == 0)
		return mantik_cache_dir(m);
	if (strcmp(name, "work_dir") == 0)
		return mantik_work_dir(m);
	return "";
}

static int show(void *arg, const struct mk_option *option, const char *value, const char *where)
{
	struct request *q = arg;
	_cleanup_buf_ struct mk_buf range = MK_BUF(4096);

	if (q->name && strcmp(q->name, option->name) != 0)
		return 0;
	q->found = true;
	if (option->type == MK_OPTION_PATH)
		value = directory(q->ctl->m, option->name);
	if (ctl_option(q->ctl, "json")) {
		put_json(q, option, value, where);
		return 0;
	}
	if (q->name && !ctl_option(q->ctl, "verbose"))
		return mk_buf_printf(&q->out, "%s\n", value);
	mk_buf_printf(&q->out, "%s\t%s\t%s\n", option->name, value, where);
	if (ctl_option(q->ctl, "verbose")) {
		mk_option_range(option, &range);
		mk_buf_printf(&q->out, "\t%s%s%s%s\n", option->help, range.len ? " (" : "",
			      mk_buf_text(&range), range.len ? ")" : "");
	}
	return 0;
}

static int run(struct ctl *ctl)
{
	_cleanup_(free_request) struct request q = {
		.ctl = ctl,
		.name = ctl->n_operands ? ctl->operands[0] : NULL,
		.out = MK_BUF(MK_LIMIT_TEXT),
	};
	int r = mk_option_list(ctl->m, show, &q);

	if (r < 0)
		return r;
	if (!q.found)
		return mk_fail(&ctl->call, ENOENT, "there is no option %s; mantikctl config lists them",
			       q.name);
	if (ctl_option(ctl, "json"))
		mk_buf_puts(&q.out, "]\n");
	return ctl_print(ctl, mk_buf_text(&q.out), q.out.len);
}

const struct cmd cmd_config = {
	.name = "config",
	.operands = "[NAME]",
	.max = 1,
	.needs = CTL_READ,
	.help = "shows the configuration in force",
	.more = "A line is name, value and the file it comes from, parted by tabs; for one NAME the value "
		"alone. Options are set in ~/.config/mantik/config.yaml, see mantik.yaml(5).",
	.options =
		(const struct cmd_option[]){
			{'v', "verbose", NULL, "with what each option means and its range"},
			{'j', "json", NULL, "as JSON"},
			{},
		},
	.run = run,
};
