/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Experiments and runs as MLflow's API makes and changes them: the domain below core/serve. What
 * is made here are experiments and runs of ours, in the same tables, shown in the tree like all
 * others. A run made here (`api`) has no spec and no job: it is RUNNING until its program says
 * otherwise. A run of our own engine takes params, metrics and tags, but how it ended is the
 * engine's word: a status for it is heard and not followed.
 *
 * scope: a project whose names are meant, or 0: all projects of ours. Then an experiment is called
 * `<project>/<experiment>`, but for those of the default project (option tracking_project), which
 * have their plain names. An experiment's id is its row in decimal; `0` is the one called `Default`
 * of the scope's project, which is made when it is first asked for. Mirrored projects are not here.
 *
 * Every change is one transaction, durable against a kill when it returns (what makes or deletes an
 * experiment also against loss of power). Texts of errors are MLflow's. Errors: ENOENT there is no
 * such run, experiment or tag; EINVAL what MLflow calls INVALID_PARAMETER_VALUE; EEXIST; EPERM what
 * it calls INVALID_STATE; EBUSY a job of ours is in the way.
 *
 * Times are ns; those that came in ms have passed mk_track_time().
 */
#ifndef MK_TRACK_H
#define MK_TRACK_H

#include <mantik/run.h>

#include "db/db.h"
#include "domain/logged.h"

#define MK_TRACK_DEFAULT "Default" /* experiment 0 */

/* ms to ns. False: beyond what 64 bits hold (the years 1677 … 2262). */
bool mk_track_time(int64_t ms, int64_t *ret);

/* --- experiments --------------------------------------------------------------------------- */

struct mk_track_experiment {
	int64_t id, project_id;
	char shown[24]; /* its id in this scope: "0", "17" */
	char *name;	/* as this scope calls it */
	char *artifact_location;
	int64_t created, updated;
	bool deleted;
	struct mk_pairs tags;
};
void mk_track_experiment_free(struct mk_track_experiment *experiment);

/* The project of names without one: the scope's, else the default project, made if missing. */
int mk_track_project(struct mk_call *call, struct mantik *m, int64_t scope,
		     int64_t *ret) _must_check_;
/* Experiment 0 of the scope: made if missing, or 0 when it is not there and `make` is false. */
int mk_track_default(struct mk_call *call, struct mantik *m, int64_t scope, bool make,
		     int64_t *ret) _must_check_;
/* An id as a client wrote it, deleted ones too. "" and "0" mean the default one. */
int mk_track_experiment_id(struct mk_call *call, struct mantik *m, int64_t scope, const char *text,
			   int64_t *ret) _must_check_;
int mk_track_experiment_get(struct mk_call *call, struct mantik *m, int64_t scope, int64_t id,
			    struct mk_track_experiment *ret) _must_check_;
/* By name, deleted ones too. ENOENT. */
int mk_track_experiment_find(struct mk_call *call, struct mantik *m, int64_t scope,
			     const char *name, int64_t *ret) _must_check_;
int mk_track_experiment_make(struct mk_call *call, struct mantik *m, int64_t scope,
			     const char *name, const char *artifact_location,
			     const struct mk_pairs *tags, int64_t *ret) _must_check_;
int mk_track_experiment_rename(struct mk_call *call, struct mantik *m, int64_t scope, int64_t id,
			       const char *name) _must_check_;
/* With all its runs. EBUSY one of them is a job of ours that has not ended. */
int mk_track_experiment_delete(struct mk_call *call, struct mantik *m, int64_t id) _must_check_;
int mk_track_experiment_restore(struct mk_call *call, struct mantik *m, int64_t id) _must_check_;
/* value NULL: takes the tag away (ENOENT). */
int mk_track_experiment_tag(struct mk_call *call, struct mantik *m, int64_t id, const char *key,
			    const char *value) _must_check_;

/* --- runs ---------------------------------------------------------------------------------- */

/* The row of a run of ours by its uid, deleted ones too. */
int mk_track_run(struct mk_call *call, struct mantik *m, int64_t scope, const char *uid,
		 int64_t *ret) _must_check_;
/* Where its artifacts are: `mlflow-artifacts:/<experiment>/<uid>/artifacts` for what lies here
 * (experiment: the row in decimal, whatever the scope), else below the experiment's location.
 * location: the experiment's, NULL: here. */
char *mk_track_artifacts(const char *location, int64_t experiment_id, const char *uid);

struct mk_track_new {
	int64_t experiment_id;
	const char *name; /* NULL or "": the tag mlflow.runName, else one is made up */
	const char *user;
	int64_t start; /* 0: not told */
	const struct mk_pairs *tags;
};
int mk_track_run_make(struct mk_call *call, struct mantik *m, const struct mk_track_new *run,
		      int64_t *ret) _must_check_;

struct mk_track_update {
	const char *name;  /* NULL or "": stays */
	bool has_status, has_end;
	enum mk_status status;
	int64_t end;
};
int mk_track_run_update(struct mk_call *call, struct mantik *m, int64_t id,
			const struct mk_track_update *update) _must_check_;
/* EBUSY: a job of ours that has not ended. Both are fine when it is so already. */
int mk_track_run_delete(struct mk_call *call, struct mantik *m, int64_t id) _must_check_;
int mk_track_run_restore(struct mk_call *call, struct mantik *m, int64_t id) _must_check_;
int mk_track_tag_remove(struct mk_call *call, struct mantik *m, int64_t id,
			const char *key) _must_check_;
/* Into another experiment of its project; its files stay where they are. EINVAL: of another project,
 * or deleted. */
int mk_track_run_move(struct mk_call *call, struct mantik *m, int64_t id,
		      int64_t experiment_id) _must_check_;

struct mk_track_metric {
	const char *key;
	struct mk_point point;
	const char *model_id, *dataset_name, *dataset_digest; /* NULL: none */
};
struct mk_track_batch {
	int64_t run_id;
	const struct mk_track_metric *metrics;
	size_t n_metrics;
	const struct mk_pairs *params, *tags; /* NULL: none. Keys and values have been checked */
	bool one_param; /* it is log-parameter's: its error reads otherwise */
};
/* All of it or nothing. A point that is there already (same key, step, time and value) is not
 * logged twice, so a client may repeat a request whose answer it lost. */
int mk_track_log(struct mk_call *call, struct mantik *m,
		 const struct mk_track_batch *batch) _must_check_;

struct mk_track_dataset {
	const char *name, *digest, *source_type, *source, *schema, *profile;
	const struct mk_pairs *tags;
};
struct mk_track_model {
	const char *model_id;
	int64_t step;
};
/* What a run read: a dataset it has already (name and digest) stays as it is. */
int mk_track_inputs(struct mk_call *call, struct mantik *m, int64_t id,
		    const struct mk_track_dataset *datasets, size_t n_datasets,
		    const struct mk_track_model *models, size_t n_models) _must_check_;
/* What the runs of an experiment read, deleted ones too: each name, digest and context (or "") once,
 * in their order, at most `limit`. emit returns 0 to go on. */
typedef int mk_track_seen(void *arg, const char *name, const char *digest, const char *context);
int mk_track_datasets(struct mk_call *call, struct mantik *m, int64_t experiment_id, int64_t limit,
		      mk_track_seen *emit, void *arg) _must_check_;
/* The models it wrote. */
int mk_track_outputs(struct mk_call *call, struct mantik *m, int64_t id,
		     const struct mk_track_model *models, size_t n_models) _must_check_;

/* --- histories ----------------------------------------------------------------------------- */

/* In order of time, step and value, beginning with number `offset`. emit returns 0 to go on. An
 * unknown key has no points. */
typedef int mk_track_point(void *arg, const struct mk_point *point);
int mk_track_history(struct mk_call *call, struct mantik *m, int64_t run_id, const char *key,
		     int64_t offset, int64_t limit, mk_track_point *emit, void *arg) _must_check_;
/* At most `limit` of them, evenly over what there is, in order of step, time and value: the first
 * and the last among them. With has_steps only those of steps first … last. */
struct mk_track_sample {
	int64_t limit;
	bool has_steps;
	int64_t first, last;
};
int mk_track_sample(struct mk_call *call, struct mantik *m, int64_t run_id, const char *key,
		    const struct mk_track_sample *sample, mk_track_point *emit,
		    void *arg) _must_check_;

#endif
