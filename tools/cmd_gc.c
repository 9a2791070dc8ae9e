/* SPDX-License-Identifier: Apache-2.0 */
/* mantikctl gc: ends deleted runs, experiments and projects for good, the one command that destroys. */
#include "cmd.h"

#include <mantik/code.h>
#include <mantik/project.h>
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

static int64_t age; /* of --older, ns */
static int n_gone, n_experiments, n_projects;

struct ids {
	int64_t *v;
	size_t n, cap;
};

static void ids_free(struct ids *ids)
{
	free(ids->v);
}

static int keep(void *arg, const struct mk_run_entry *entry)
{
	struct ids *ids = arg;

	if (ids->n == ids->cap) {
		size_t cap = ids->cap * 2 + 64;
		int64_t *v = reallocarray(ids->v, cap, sizeof(*v));

		if (!v)
			return -ENOMEM;
		ids->v = v;
		ids->cap = cap;
	}
	ids->v[ids->n++] = entry->id;
	return 0;
}

/* Experiments and projects that are deleted and have no run left. */
static int gc_nouns(struct ctl *ctl, int64_t project, int64_t experiment)
{
	int experiments = 0, projects = 0;
	int r = mk_project_gc(&ctl->call, ctl->m, project, experiment, age, &experiments,
			      &projects);

	n_experiments += experiments;
	n_projects += projects;
	return r;
}

/* One that was named must go; of many, those that were deleted that long ago. */
static int gc(struct ctl *ctl, const struct ctl_runs *runs)
{
	_cleanup_(ids_free) struct ids ids = {};
	int r;

	if (runs->run)
		r = mk_run_gc(&ctl->call, ctl->m, runs->run, age);
	else
		r = mk_run_list(&ctl->call, ctl->m,
				&(struct mk_run_query){.project_id = runs->project,
						       .experiment_id = runs->experiment,
						       .deleted = true},
				keep, &ids);
	for (size_t i = 0; r >= 0 && i < ids.n; i++) {
		r = mk_run_gc(&ctl->call, ctl->m, ids.v[i], age);
		if (r == -EBUSY && age) {
			mk_error_clear(&ctl->call);
			r = 0;
		}
		if (r > 0)
			n_gone += r;
	}
	if (r > 0 && runs->run)
		n_gone += r;
	if (r >= 0 && runs->itself)
		r = gc_nouns(ctl, runs->project, runs->experiment);
	return r < 0 ? r : 0;
}

/* What the code of those that are gone has left behind. */
static int gc_code(struct ctl *ctl)
{
	int mirrors = 0, pins = 0;
	int r = mk_code_gc(&ctl->call, ctl->m, &mirrors, &pins);

	if (mirrors)
		printf("%d mirror%s of removed repositories gone\n", mirrors,
		       mirrors == 1 ? "" : "s");
	if (pins)
		printf("%d pinned commit%s of runs that are gone released\n", pins,
		       pins == 1 ? "" : "s");
	return r;
}

static int run(struct ctl *ctl)
{
	const char *older = ctl_option(ctl, "older");
	int r;

	if (older) {
		r = parse_age(ctl, older, &age);
		if (r != 0)
			return r;
	}
	if (!ctl_confirm(ctl, ctl->n_operands ? "end the deleted runs named for good?"
					      : "end all deleted runs for good?"))
		return CTL_FAILED;
	if (ctl->n_operands) {
		r = ctl_each_runs(ctl, true, gc);
	} else {
		r = mk_run_gc(&ctl->call, ctl->m, 0, age);
		n_gone = r > 0 ? r : 0;
		if (r >= 0)
			r = gc_nouns(ctl, 0, 0);
	}
	if (r >= 0 || n_gone)
		printf("%d run%s gone\n", n_gone, n_gone == 1 ? "" : "s");
	if (n_experiments)
		printf("%d experiment%s gone\n", n_experiments, n_experiments == 1 ? "" : "s");
	if (n_projects)
		printf("%d project%s gone\n", n_projects, n_projects == 1 ? "" : "s");
	if (r >= 0 && !ctl->n_operands)
		r = gc_code(ctl);
	return ctl->n_operands ? r : r < 0 ? r : 0;
}

const struct cmd cmd_gc = {
	.name = "gc",
	.operands = "[PATH ...]",
	.max = -1,
	.needs = CTL_WRITE,
	.help = "ends deleted runs, experiments and projects for good",
	.more = "Removes their rows, logs, artifacts and working directories. PATH is a deleted run, by any of "
		"its names, or the path of an experiment or of a project: all its runs that are deleted, and itself "
		"if it is deleted and no run is left in it. "
		"Without PATH: all that are deleted anywhere, then the mirrors of repositories that were "
		"removed and the pins of commits that no run was made from any more. On a terminal it "
		"asks first. A run stays as long as a version of a registered model is made of its files.",
	.options =
		(const struct cmd_option[]){
			{'o', "older", "AGE", "only those deleted longer ago than 30d, 12h, 90m or 45s"},
			{'y', "yes", NULL, "does not ask"},
			{},
		},
	.run = run,
};
