/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logged models of ours (MLflow 3: m-…): each belongs to an experiment and, mostly, to the run that
 * made it, below whose models/ the tree shows it. Its files: artifact.h. Metrics a run logged
 * with its id are rows of model_points (track.h).
 *
 * Every change is one transaction, safe against a kill when it returns. ENOENT: there is no such
 * model, or it is deleted.
 */
#ifndef MK_LOGGED_MODEL_H
#define MK_LOGGED_MODEL_H

#include <mantik/model.h>

#include "core.h"

enum mk_logged_status { MK_LOGGED_UNSPECIFIED, MK_LOGGED_PENDING, MK_LOGGED_READY, MK_LOGGED_FAILED };

struct mk_logged_model {
	char *id; /* m-<32 hex> */
	int64_t project_id, experiment_id;
	char *name, *source_run, *model_type;
	enum mk_logged_status status;
	int64_t created, changed;
	bool deleted;
	struct mk_pairs tags, params; /* sorted */
};
void mk_logged_model_free(struct mk_logged_model *model);
#define _cleanup_logged_model_ _cleanup_(mk_logged_model_free)

/* deleted: one that is deleted is found, too. */
int mk_logged_model_get(struct mk_call *call, struct mantik *m, int64_t scope, const char *id,
			bool deleted, struct mk_logged_model *ret) _must_check_;

struct mk_logged_new {
	const char *id;	       /* NULL: a new one; else one that no other has */
	int64_t experiment_id; /* its row, of ours */
	const char *name;      /* NULL: one is made up */
	const char *model_type, *source_run;
	const struct mk_pairs *tags, *params;
};
/* *ret_id: freed by the caller. ENOENT no such experiment; EINVAL it is deleted. */
int mk_logged_model_make(struct mk_call *call, struct mantik *m, const struct mk_logged_new *model,
			 char **ret_id) _must_check_;
int mk_logged_model_finish(struct mk_call *call, struct mantik *m, int64_t scope, const char *id,
			   enum mk_logged_status status) _must_check_;
/* Softly: `mantikctl gc` ends it. */
int mk_logged_model_delete(struct mk_call *call, struct mantik *m, int64_t scope,
			   const char *id) _must_check_;
int mk_logged_model_tag(struct mk_call *call, struct mantik *m, int64_t scope, const char *id,
			const struct mk_pairs *tags) _must_check_;
int mk_logged_model_untag(struct mk_call *call, struct mantik *m, int64_t scope, const char *id,
			  const char *key) _must_check_;
/* The same value again is fine, another one EINVAL. */
int mk_logged_model_params(struct mk_call *call, struct mantik *m, int64_t scope, const char *id,
			   const struct mk_pairs *params) _must_check_;

/* Its metrics: the first 100 000 points, by key, step and time. value NAN: not a number. */
struct mk_model_metric {
	const char *key, *run, *dataset_name, *dataset_digest;
	double value;
	int64_t time, step;
};
typedef int mk_model_metric_emit(void *arg, const struct mk_model_metric *metric);
int mk_logged_model_metrics(struct mk_call *call, struct mantik *m, const char *id,
			    mk_model_metric_emit *emit, void *arg) _must_check_;

/* The id of the one with this serial (logged_models.serial), which a search gives. ENOENT. */
int mk_logged_model_by_serial(struct mk_call *call, struct mantik *m, int64_t serial,
			      char **ret_id) _must_check_;

/* Ends those that were deleted before `until`, with their files, unless a registered version is
 * made of them: how many. */
int mk_logged_model_gc(struct mk_call *call, struct mantik *m, int64_t until) _must_check_;

#endif
