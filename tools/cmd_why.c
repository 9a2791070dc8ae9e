/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mantikctl why: the full reason of an error. The kernel passes an errno on and nothing else, so the
 * front ends keep the sentences (also in .mantik/errors); this finds those of a path.
 */
#include "cmd.h"

#include <mantik/error.h>

#include <errno.h>
#include <string.h>

struct request {
	bool all;
	int n;
	struct mk_buf out; /* of the last one, or of all */
};

static void free_request(struct request *request)
{
	mk_buf_free(&request->out);
}

static int take(void *arg, const struct mk_error_entry *entry)
{
	struct request *q = arg;
	char when[32];

	if (!q->all)
		mk_buf_truncate(&q->out, 0);
	q->n++;
	mk_time_text(entry->time, false, when);
	mk_buf_printf(&q->out, "%s  %s: %s\n  %s\n", when, entry->path, entry->name, entry->text);
	if (entry->detail)
		mk_buf_printf(&q->out, "  %s%s%s\n", entry->remote ? entry->remote : "",
			      entry->remote ? " said: " : "", entry->detail);
	return mk_buf_check(&q->out);
}

static int run(struct ctl *ctl)
{
	_cleanup_(free_request) struct request q = {
		.all = ctl_option(ctl, "all"),
		.out = MK_BUF(MK_LIMIT_TABLE),
	};
	_cleanup_free_ char *path = NULL;
	int r = 0;

	if (ctl->n_operands)
		r = ctl_need_tree_path(ctl, ctl->operands[0], &path);
	if (r == 0)
		r = mk_error_list(&ctl->call, ctl->m, path && strcmp(path, "/") != 0 ? path : NULL,
				  take, &q);
	if (r < 0)
		return r;
	if (q.n == 0)
		return mk_fail(&ctl->call, ENOENT, "no error is known of %s",
			       path ? path : "this platform");
	return ctl_print(ctl, mk_buf_text(&q.out), q.out.len);
}

const struct cmd cmd_why = {
	.name = "why",
	.operands = "[PATH]",
	.max = 1,
	.needs = CTL_READ,
	.help = "tells the full reason of the last error",
	.more = "A program that fails in a mount shows an errno; this shows the sentence that belongs to it: "
		"file, line, what the remote said, what to do. Of PATH or below it, else of anything.",
	.options =
		(const struct cmd_option[]){
			{'a', "all", NULL, "all errors that are kept, oldest first"},
			{},
		},
	.run = run,
};
