/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index: what foreign tracking stores hold, mirrored in our database, so that listing, finding
 * and the tables of a foreign project are those of our own. A project with a connection is foreign:
 * its experiments and runs come from there and from nowhere else.
 *
 *	who asks                        what is fresh enough          else, at most
 *	experiments/, find one          30 s                          1 request a page
 *	runs/, runs.tsv, find one       30 s                          new ones since the newest start,
 *	                                                              those that live, those deleted
 *	a run's files                   live 2 s; ended: 30 s         1 request
 *	metrics/<key>                   ended: once and for all;      1 request a page of 25 000; a
 *	                                live: as the run              live one from where we are
 *	artifacts/ (files.h)      3 s live, 30 s ended          1 request a directory
 *	models/, one of them            30 s                          1 request a page; 2 with aliases
 *
 * Each function brings the mirror up to date and then says nothing about what is in it: the caller
 * reads the database. For what is not foreign they return 0 at once (one look at memory). They
 * return MK_PUNT for the lane of the connection when it must be asked.
 *
 * One asks for all: a question under way is waited for by everybody who has it (flight), and goes
 * on in a thread of its own when they leave. A long listing is taken page by page, each page in a
 * transaction of its own; who waits for it has 10 s for each page, not for all.
 *
 * The remote does not answer: what was seen before is served as it is, dated by `as_of` (0 is
 * returned); what was never seen is the remote's error. What it answered wins over what we had,
 * but for answers to questions asked before a change of our own.
 */
#ifndef MK_INDEX_H
#define MK_INDEX_H

#include "core.h"

/* Rows of projects for the tracking connections there are: local disk only. */
int mk_index_connections(struct mk_call *call, struct mantik *m) _must_check_;
int mk_index_experiments(struct mk_call *call, struct mantik *m, int64_t project_id) _must_check_;
/* experiment_id 0: all of the project. */
int mk_index_runs(struct mk_call *call, struct mantik *m, int64_t project_id,
		  int64_t experiment_id) _must_check_;
/* 1: the project is that of a store, 0: ours. Never waits. */
int mk_index_foreign(struct mk_call *call, struct mantik *m, int64_t project_id) _must_check_;
/* 0 for one of ours, else EOPNOTSUPP: what (`an experiment is made`) happens at the store. */
int mk_index_ours(struct mk_call *call, struct mantik *m, int64_t project_id,
		  const char *what) _must_check_;
/* mk_run_is_old() is for the caller to ask. */
int mk_index_run(struct mk_call *call, struct mantik *m, int64_t run_id) _must_check_;
int mk_index_history(struct mk_call *call, struct mantik *m, int64_t run_id,
		     const char *key) _must_check_;
/* Registered models of the project, and the versions of one. */
int mk_index_models(struct mk_call *call, struct mantik *m, int64_t project_id) _must_check_;
int mk_index_versions(struct mk_call *call, struct mantik *m, int64_t model_id) _must_check_;
/* The name of a model that a run logged; once and for all. */
int mk_index_logged(struct mk_call *call, struct mantik *m, int64_t project_id,
		    const char *model_id) _must_check_;

/* The store of a connection, opened once per process. ENOENT no such connection. */
struct mk_tracking;
struct mk_tracking_ops;
int mk_index_store(struct mk_call *call, struct mantik *m, const char *connection,
		   const struct mk_tracking_ops **ret_ops, struct mk_tracking **ret) _must_check_;
/* A store under a name, as if a connection said so; closed with the index (tests). */
int mk_index_add(struct mk_call *call, struct mantik *m, const char *connection,
		 const struct mk_tracking_ops *ops, struct mk_tracking *tracking) _must_check_;

struct mk_index *mk_index_new(void);
void mk_index_free(struct mk_index *index);

#endif
