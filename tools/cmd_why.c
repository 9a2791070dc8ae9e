/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mantikctl why: the full reason of an error, and of a run's status. The kernel passes an errno on
 * and nothing else, so the front ends keep the sentences (also in .mantik/errors); this finds those
 * of a path. Why a run waits or how it ended is its own reason, as info.yaml has it.
 */
#include "cmd.h"

#include <mantik/error.h>
#include <mantik/name.h>
#include <mantik/outbox.h>
#include <mantik/run.h>

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

/* The run an operand names or lies in, if any: 1, and its path unless the operand is one. */
static int find_run(struct ctl *ctl, const char *operand, struct mk_run *ret, char **path)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF(MK_LIMIT_TEXT);
	int64_t id;
	int r = ctl_run(ctl, operand, &id);

	if (r == -ENOENT) {
		mk_error_clear(&ctl->call);
		return 0;
	}
	if (r == 0)
		r = mk_run_get(&ctl->call, ctl->m, id, ret);
	if (r < 0)
		return r;
	if (strchr(operand, '/') || *operand == '.')
		return 1;
	r = mk_buf_puts(&text, "/projects/");
	if (r == 0)
		r = mk_name_escape(&text, ret->project, strlen(ret->project));
	if (r == 0)
		r = mk_buf_printf(&text, "/runs/%s%s", ret->deleted ? "deleted/" : "", ret->dir);
	if (r == 0)
		*path = mk_buf_steal(&text);
	return r < 0 ? r : 1;
}

static int put_reason(struct ctl *ctl, struct request *q, const struct mk_run *run)
{
	_cleanup_free_ char *waits = NULL;
	int r = mk_run_waits(&ctl->call, ctl->m, run, &waits);
	const char *reason = waits ? waits : run->reason;

	if (r < 0 || !reason || !*reason)
		return r < 0 ? r : 0;
	q->n++;
	return mk_buf_printf(&q->out, "%s is %s: %s\n", run->dir, mk_status_name(run->status),
			     reason);
}

/* What is shown and not yet there is a reason to wonder, too. */
static int wait_for_server(void *arg, const struct mk_unsent *unsent)
{
	struct request *q = arg;
	char when[32];

	mk_time_text(unsent->since, false, when);
	mk_buf_printf(&q->out, "%s  %s: not sent yet, %s %lld time%s%s%s\n", when, unsent->path,
		      unsent->refused ? "refused, tried" : "tried", (long long)unsent->tries,
		      unsent->tries == 1 ? "" : "s", unsent->text ? ": " : "",
		      unsent->text ? unsent->text : "");
	if (unsent->refused)
		mk_buf_puts(&q->out, "  it is kept here and tried again after a day; `mantikctl discard` of the "
				     "path gives it up\n");
	else if (unsent->tries)
		mk_buf_puts(&q->out, "  it is tried again; `mantikctl discard` of the path gives it up\n");
	q->n++;
	return mk_buf_check(&q->out);
}

static int run(struct ctl *ctl)
{
	_cleanup_(free_request) struct request q = {
		.all = ctl_option(ctl, "all"),
		.out = MK_BUF(MK_LIMIT_TABLE),
	};
	_cleanup_(mk_run_free) struct mk_run run = {};
	_cleanup_free_ char *path = NULL;
	const char *operand = ctl->n_operands ? ctl->operands[0] : NULL;
	int found = operand ? find_run(ctl, operand, &run, &path) : 0;
	int r = found;

	if (r >= 0 && operand && !path)
		r = ctl_need_tree_path(ctl, operand, &path);
	if (r >= 0)
		r = mk_error_list(&ctl->call, ctl->m, path && strcmp(path, "/") != 0 ? path : NULL,
				  take, &q);
	if (r == 0 && found)
		r = put_reason(ctl, &q, &run);
	if (r == 0 && path)
		r = mk_unsent_list(&ctl->call, ctl->m, path, wait_for_server, &q);
	if (r < 0)
		return r;
	if (q.n == 0)
		return mk_fail(&ctl->call, ENOENT, "no error is known of %s",
			       path ? path : "this platform");
	return ctl_print(ctl, mk_buf_text(&q.out), q.out.len);
}

const struct cmd cmd_why = {
	.name = "why",
	.operands = "[PATH | RUN]",
	.max = 1,
	.needs = CTL_READ,
	.help = "tells the full reason of the last error, or of the status of a run",
	.more = "A program that fails in a mount shows an errno; this shows the sentence that belongs to it: "
		"file, line, what the remote said, what to do. Of PATH or below it, else of anything. Of a RUN, by "
		"any of its names or a path in it, also why it waits or how it ended.",
	.options =
		(const struct cmd_option[]){
			{'a', "all", NULL, "all errors that are kept, oldest first"},
			{},
		},
	.run = run,
};
