/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operands of delete, restore and gc: a run, or an experiment or a project with all its runs; their
 * directory `runs` means only these.
 */
#include "ctl.h"

#include <mantik/name.h>
#include <mantik/outbox.h>
#include <mantik/project.h>
#include <mantik/run.h>

#include <errno.h>
#include <string.h>

static int find_experiment(struct ctl *ctl, int64_t project, const char *entry, bool deleted,
			   int64_t *ret_id)
{
	_cleanup_(mk_experiment_free) struct mk_experiment experiment = {};
	_cleanup_buf_ struct mk_buf name = MK_BUF(4096);
	int r = mk_name_unescape(&name, entry, strlen(entry));

	if (r == 0)
		r = mk_experiment_find(&ctl->call, ctl->m, project, mk_buf_text(&name),
				       &experiment);
	if (r == -ENOENT && deleted && name.len) {
		mk_error_clear(&ctl->call);
		r = mk_experiment_find_deleted(&ctl->call, ctl->m, project, mk_buf_text(&name),
					       &experiment);
	}
	if (r == 0)
		*ret_id = experiment.id;
	return r;
}

/* 1: an experiment or a project, 0: something else, which may be a run. */
static int many(struct ctl *ctl, const char *operand, bool deleted, struct ctl_runs *ret)
{
	_cleanup_free_ char *path = ctl_tree_path(operand);
	_cleanup_list_ struct mk_list parts = {};
	_cleanup_free_ char *copy = NULL;
	int r;

	/* A bare word is a run's name, wherever one stands. */
	if (!path || (!strchr(operand, '/') && *operand != '.'))
		return 0;
	copy = mk_strdup(path);
	for (char *next = copy, *part; (part = strsep(&next, "/"));)
		if (*part && mk_list_add(&parts, part) < 0)
			return mk_fail(&ctl->call, ENOMEM, "%s", operand);
	if (parts.n < 2 || strcmp(parts.v[0], "projects") != 0)
		return 0;
	r = ctl_project_named(ctl, parts.v[1], false, &ret->project);
	if (r == -ENOENT && deleted) {
		mk_error_clear(&ctl->call);
		r = ctl_project_named(ctl, parts.v[1], true, &ret->project);
	}
	ret->itself = parts.n == 2;
	if (r < 0 || parts.n == 2)
		return r < 0 ? r : 1;
	if (strcmp(parts.v[2], "experiments") == 0) {
		if (parts.n == 4 || (parts.n == 5 && strcmp(parts.v[4], "runs") == 0)) {
			r = find_experiment(ctl, ret->project, parts.v[3], deleted,
					    &ret->experiment);
			ret->itself = parts.n == 4;
			return r < 0 ? r : 1;
		}
		return parts.n == 3;
	}
	return strcmp(parts.v[2], "runs") == 0 &&
	       (parts.n == 3 || (parts.n == 4 && strcmp(parts.v[3], "deleted") == 0));
}

int ctl_runs(struct ctl *ctl, const char *operand, bool deleted, struct ctl_runs *ret)
{
	struct ctl_runs runs = {};
	int r = many(ctl, operand, deleted, &runs);

	if (r == 0) {
		runs = (struct ctl_runs){};
		r = ctl_run(ctl, operand, &runs.run);
	}
	if (r < 0)
		return r;
	*ret = runs;
	return 0;
}

int ctl_each_runs(struct ctl *ctl, bool deleted, ctl_runs_verb *verb)
{
	int result = 0;

	for (int i = 0; i < ctl->n_operands; i++) {
		struct ctl_runs runs;
		int r = ctl_runs(ctl, ctl->operands[i], deleted, &runs);

		if (r == 0)
			r = verb(ctl, &runs);
		if (r >= 0 && mk_outbox_waits(&ctl->call))
			r = mk_outbox_wait(&ctl->call, ctl->m);
		r = ctl_named(ctl, ctl->operands[i], r);
		if (r == -EINTR)
			return r;
		if (r < 0) {
			ctl_complain(ctl, r);
			mk_error_clear(&ctl->call);
			result = result ? result : ctl_status_of(-r);
		}
	}
	return result;
}

static int count_one(void *arg, const struct mk_run_entry *entry)
{
	int *n = arg;

	(void)entry;
	++*n;
	return 0;
}

int ctl_count_runs(struct ctl *ctl, int *ret_runs, int *ret_others)
{
	int n = 0, others = 0;

	for (int i = 0; i < ctl->n_operands; i++) {
		struct ctl_runs runs;
		int r = ctl_runs(ctl, ctl->operands[i], false, &runs);

		others += r == 0 && runs.itself;
		if (r == 0 && !runs.run)
			r = mk_run_list(&ctl->call, ctl->m,
					&(struct mk_run_query){.project_id = runs.project,
							       .experiment_id = runs.experiment},
					count_one, &n);
		else if (r == 0)
			n++;
		if (r == -EINTR)
			return r;
		mk_error_clear(&ctl->call);
	}
	*ret_runs = n;
	*ret_others = others;
	return 0;
}
