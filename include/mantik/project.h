/* SPDX-License-Identifier: Apache-2.0 */
/* Projects and their experiments: nouns of the tree that mkdir creates. */
#ifndef MANTIK_PROJECT_H
#define MANTIK_PROJECT_H

#include <mantik/text.h>

struct mk_project {
	int64_t id; /* never reused */
	char *name;
	char *site;	 /* default site or NULL */
	int64_t created; /* ns */
	int64_t changed; /* ns; also when a run or experiment came or went */
	bool touched;	 /* something was written since mkdir */
	char *connection; /* of the tracking store it shows; NULL: ours */
};

struct mk_experiment {
	int64_t id;
	int64_t project_id;
	char *name;
	int64_t created;
	int64_t changed;
	bool touched;
	char *metric;	     /* primary metric or NULL */
	bool maximize;	     /* goal of the primary metric */
	bool best;	     /* of: best (else last) */
};

void mk_project_free(struct mk_project *project);
void mk_experiment_free(struct mk_experiment *experiment);

/* A listing calls emit for each; emit returns 0 to go on, anything else ends the listing and is
 * returned. Names are what a person gave; fs escapes them. */
typedef int mk_project_emit(void *arg, const struct mk_project *project);
typedef int mk_experiment_emit(void *arg, const struct mk_experiment *experiment);

int mk_project_list(struct mk_call *call, struct mantik *m, mk_project_emit *emit,
		    void *arg) _must_check_;
int mk_project_find(struct mk_call *call, struct mantik *m, const char *name,
		    struct mk_project *ret) _must_check_; /* ENOENT */
int mk_project_get(struct mk_call *call, struct mantik *m, int64_t id,
		   struct mk_project *ret) _must_check_; /* ENOENT */
/* Brings a deleted one of this name back. EEXIST; EINVAL for a name that is empty, too long, not UTF-8
 * or holds a control character. */
int mk_project_make(struct mk_call *call, struct mantik *m, const char *name,
		    int64_t *ret_id) _must_check_;
/* Only what a mkdir left untouched: else ENOTEMPTY. */
int mk_project_remove(struct mk_call *call, struct mantik *m, int64_t id) _must_check_;
/* EEXIST; EINVAL as mk_project_make(); ENOENT. */
int mk_project_rename(struct mk_call *call, struct mantik *m, int64_t id,
		      const char *name) _must_check_;

/* The same of experiments. Of a project that shows a tracking store: listing and finding may return
 * MK_PUNT for the lane of its connection; make and rename go through the outbox (mantik/outbox.h);
 * remove is EOPNOTSUPP. make: ENOENT the project is gone. */
int mk_experiment_list(struct mk_call *call, struct mantik *m, int64_t project_id,
		       mk_experiment_emit *emit, void *arg) _must_check_;
int mk_experiment_find(struct mk_call *call, struct mantik *m, int64_t project_id,
		       const char *name, struct mk_experiment *ret) _must_check_;
int mk_experiment_get(struct mk_call *call, struct mantik *m, int64_t id,
		      struct mk_experiment *ret) _must_check_;
int mk_experiment_make(struct mk_call *call, struct mantik *m, int64_t project_id,
		       const char *name, int64_t *ret_id) _must_check_;
/* Only what a mkdir left untouched: else ENOTEMPTY. */
int mk_experiment_remove(struct mk_call *call, struct mantik *m, int64_t id) _must_check_;
int mk_experiment_rename(struct mk_call *call, struct mantik *m, int64_t id,
			 const char *name) _must_check_;

/* Those that are deleted. ENOENT. */
int mk_project_find_deleted(struct mk_call *call, struct mantik *m, const char *name,
			    struct mk_project *ret) _must_check_;
int mk_experiment_find_deleted(struct mk_call *call, struct mantik *m, int64_t project_id,
			       const char *name, struct mk_experiment *ret) _must_check_;
/*
 * Deletes an experiment (or, experiment_id 0, the project) and all below it, or brings all back, in
 * one transaction: how many runs. What is deleted is in no listing until it is brought back, by this,
 * by one of its runs, or by making one of its name. EBUSY: a run is live, or a model is registered in
 * the project, and nothing is deleted. An experiment of a tracking server is deleted there, softly as
 * MLflow does it, and comes back with all its runs, also those that were deleted before (restore:
 * ENOENT it is not deleted). EOPNOTSUPP: a whole server.
 */
int mk_project_delete(struct mk_call *call, struct mantik *m, int64_t project_id,
		      int64_t experiment_id) _must_check_;
int mk_project_restore(struct mk_call *call, struct mantik *m, int64_t project_id,
		       int64_t experiment_id) _must_check_;
/* Ends deleted experiments and projects for good, if they were deleted longer than `older` ns ago and
 * no run is left in them: all (project_id 0), those of a project and it, or one (experiment_id). */
int mk_project_gc(struct mk_call *call, struct mantik *m, int64_t project_id,
		  int64_t experiment_id, int64_t older, int *ret_experiments,
		  int *ret_projects) _must_check_;

/*
 * The tables (mantikfs(7), Tables: TSV, header, \t \n \\ escaped). Rendered from one snapshot.
 * *ret_live: a run in it is not ended (its text may change within seconds). ENOENT; MK_PUNT as the
 * listing of its runs.
 */
enum mk_table {
	MK_TABLE_PROJECT_RUNS,	  /* id: project */
	MK_TABLE_EXPERIMENT_RUNS, /* id: experiment */
	MK_TABLE_LEADERBOARD,	  /* id: experiment */
};
int mk_table_render(struct mk_call *call, struct mantik *m, enum mk_table table, int64_t id,
		    struct mk_buf *ret, bool *ret_live) _must_check_;
/* Changes exactly when the rendered table may have changed. */
int mk_table_generation(struct mk_call *call, struct mantik *m, enum mk_table table, int64_t id,
			uint64_t *ret, int64_t *ret_changed) _must_check_;

#endif
