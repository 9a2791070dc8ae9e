/* SPDX-License-Identifier: Apache-2.0 */
/* mantikctl config: the options in force and where each comes from; sets one, or takes it out. It
 * opens no platform, so that it also mends a data_dir that cannot be opened. */
#include "cmd.h"

#include <mantik/option.h>

#include <errno.h>
#include <string.h>

struct request {
	struct ctl *ctl;
	const char *name; /* NULL: all */
	bool is_written;  /* shown with where it is now */
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

static int show(void *arg, const struct mk_option *option, const char *value, const char *where)
{
	struct request *q = arg;
	_cleanup_buf_ struct mk_buf range = MK_BUF(4096);

	if (q->name && strcmp(q->name, option->name) != 0)
		return 0;
	q->found = true;
	if (ctl_option(q->ctl, "json")) {
		put_json(q, option, value, where);
		return 0;
	}
	if (q->name && !q->is_written && !ctl_option(q->ctl, "verbose"))
		return mk_buf_printf(&q->out, "%s\n", value);
	mk_buf_printf(&q->out, "%s\t%s\t%s\n", option->name, value, where);
	if (ctl_option(q->ctl, "verbose")) {
		mk_option_range(option, &range);
		mk_buf_printf(&q->out, "\t%s%s%s%s\n", option->help, range.len ? " (" : "",
			      mk_buf_text(&range), range.len ? ")" : "");
	}
	return 0;
}

/* What is in force after it, and from where: the machine's own file may go on saying something. */
static int write_option(struct ctl *ctl, const char *name, const char *value)
{
	int r = mk_option_write(&ctl->call, &ctl->options, name, value);

	if (r == -EINVAL || r == -ENOENT)
		return mk_prefix(&ctl->call, r, "nothing was written");
	return r;
}

static int run(struct ctl *ctl)
{
	const char *unset = ctl_option(ctl, "unset");
	const char *name = unset ? unset : ctl->n_operands ? ctl->operands[0] : NULL;
	_cleanup_(free_request) struct request q = {
		.ctl = ctl,
		.name = name,
		.is_written = unset || ctl->n_operands == 2,
		.out = MK_BUF(MK_LIMIT_TEXT),
	};
	int r = 0;

	if (unset && ctl->n_operands)
		return ctl_usage(ctl, "config: --unset %s takes no value", unset);
	if (q.is_written)
		r = write_option(ctl, name, unset ? NULL : ctl->operands[1]);
	if (r == 0)
		r = mk_option_look(&ctl->call, &ctl->options, show, &q);
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
	.operands = "[NAME] [VALUE]",
	.max = 2,
	.needs = CTL_NOTHING,
	.help = "shows the configuration, or changes it",
	.more = "A line is name, value, and the file and line it comes from, parted by tabs; for one NAME "
		"the value alone. NAME and VALUE set an option in ~/.config/mantik/config.yaml once the "
		"value is found good, and show the line that is in force then; comments and all else in "
		"that file stay. mantik.yaml(5) describes the options. Mounts and a mantikd that run "
		"keep what they have read when they began.",
	.options =
		(const struct cmd_option[]){
			{'u', "unset", "NAME", "takes NAME out of that file again"},
			{'v', "verbose", NULL, "with what each option means and its range"},
			{'j', "json", NULL, "as JSON"},
			{},
		},
	.run = run,
};
