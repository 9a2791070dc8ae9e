/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a tracking store emitted, copied so that it can be written in one transaction: a page of
 * runs or of experiments. All texts live in the page's own memory, freed at once.
 */
#ifndef MK_INDEX_PAGE_H
#define MK_INDEX_PAGE_H

#include "base/arena.h"
#include "connect/tracking/tracking.h"

struct mk_page_model {
	struct mk_t_model model;
	struct mk_t_version *versions;
	size_t n_versions, cap_versions;
};

struct mk_page {
	struct mk_arena arena;
	struct mk_t_run *runs;
	size_t n_runs, cap_runs;
	struct mk_t_experiment *experiments;
	size_t n_experiments, cap_experiments;
	struct mk_page_model *models;
	size_t n_models, cap_models;
	size_t model;  /* whose versions are being added */
	int64_t asked; /* when the store was: as_of of what came */
};
void mk_page_free(struct mk_page *page);
#define _cleanup_page_ _cleanup_(mk_page_free)

/* Emitters for the store; arg is a struct mk_page. -ENOMEM. */
int mk_page_add_run(void *arg, const struct mk_t_run *run);
int mk_page_add_experiment(void *arg, const struct mk_t_experiment *experiment);
int mk_page_add_model(void *arg, const struct mk_t_model *model);
int mk_page_add_version(void *arg, const struct mk_t_version *version);

/* 63 bits over everything a run holds: equal when nothing changed. Never 0. */
int64_t mk_page_digest(const struct mk_t_run *run);
/* The same over the tags of an experiment. */
int64_t mk_page_tags_digest(const struct mk_t_experiment *experiment);

#endif
