/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operands of delete, restore and gc: a run, or an experiment or a project, which means all its
 * runs. The experiment and the project themselves stay; only runs are deleted.
 */
#include "ctl.h"

#include <mantik/name.h>
#include <mantik/outbox.h>
#include <mantik/project.h>
#include <mantik/run.h>

#include <errno.h>
#include <string.h>

static int find_experiment(struct ctl *ctl, int64_t project, const char *entry, int64_t *ret_id)
{
	_cleanup_(mk_experiment_free) struct mk_experiment experiment = {};
	_cleanup_buf_ struct mk_buf name = MK_BUF(4096);
	int r = mk_name_unescape(&name, entry, strlen(entry));

	if (r == 0)
		r = mk_experiment_find(&ctl->call, ctl->m, project, mk_buf_text(&name),
				       &experiment);
	if (r == 0)
		*ret_id = experiment.id;
	return r;
}

/* 1: an experiment or a project, 0: something else, which may be a run. */
static int many(struct ctl *ctl, const char *operand, struct ctl_runs *ret)
{
	_cleanup_free_ char *path = ctl_tree_path(operand);
	_cleanup_list_ struct mk_list parts = {};
	_cleanup_free_ char *copy = NULL;
	const char *rest = path;
	int r;

	/* A bare word is a run's name, wherever one stands. */
	if (!path || (!strchr(operand, '/') && *operand != '.'))
		return 0;
	r = ctl_project_of(ctl, &rest, &ret->project);
	if (r <= 0)
		return r;
	copy = mk_strdup(rest);
	for (char *next = copy, *part; (part = strsep(&next, "/"));)
		if (*part && mk_list_add(&parts, part) < 0)
			return mk_fail(&ctl->call, ENOMEM, "%s", operand);
	if (parts.n && strcmp(parts.v[0], "experiments") == 0) {
		if (parts.n == 2 || (parts.n == 3 && strcmp(parts.v[2], "runs") == 0)) {
			r = find_experiment(ctl, ret->project, parts.v[1], &ret->experiment);
			return r < 0 ? r : 1;
		}
		return parts.n == 1;
	}
	if (parts.n && strcmp(parts.v[0], "runs") == 0)
		return parts.n == 1 || (parts.n == 2 && strcmp(parts.v[1], "deleted") == 0);
	return parts.n == 0;
}

int ctl_runs(struct ctl *ctl, const char *operand, struct ctl_runs *ret)
{
	struct ctl_runs runs = {};
	int r = many(ctl, operand, &runs);

	if (r == 0) {
		runs = (struct ctl_runs){};
		r = ctl_run(ctl, operand, &runs.run);
	}
	if (r < 0)
		return r;
	*ret = runs;
	return 0;
}

int ctl_each_runs(struct ctl *ctl, ctl_runs_verb *verb)
{
	int result = 0;

	for (int i = 0; i < ctl->n_operands; i++) {
		struct ctl_runs runs;
		int r = ctl_runs(ctl, ctl->operands[i], &runs);

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

int ctl_count_runs(struct ctl *ctl, bool deleted, int *ret)
{
	int n = 0;

	for (int i = 0; i < ctl->n_operands; i++) {
		struct ctl_runs runs;
		int r = ctl_runs(ctl, ctl->operands[i], &runs);

		if (r == 0 && !runs.run)
			r = mk_run_list(&ctl->call, ctl->m,
					&(struct mk_run_query){.project_id = runs.project,
							       .experiment_id = runs.experiment,
							       .deleted = deleted},
					count_one, &n);
		else if (r == 0)
			n++;
		if (r == -EINTR)
			return r;
		mk_error_clear(&ctl->call);
	}
	*ret = n;
	return 0;
}
