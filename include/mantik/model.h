/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registered models of a project and their versions, and the models a run logged: what a tracking
 * store has of them, or what came by our own tracking server. Their files are in <mantik/blob.h>.
 *
 * All may return MK_PUNT for the lane of the project's connection; what was seen before is there
 * when the store does not answer.
 */
#ifndef MANTIK_MODEL_H
#define MANTIK_MODEL_H

#include <mantik/mantik.h>

struct mk_model {
	int64_t id; /* row, never reused */
	char *name;
	char *description;
	int64_t changed; /* ns */
};
void mk_model_free(struct mk_model *model);

/* 1: the project may have models (a store's always may), 0: one of ours that has none. */
int mk_models_any(struct mk_call *call, struct mantik *m, int64_t project_id) _must_check_;
typedef int mk_model_emit(void *arg, const struct mk_model *model);
int mk_model_list(struct mk_call *call, struct mantik *m, int64_t project_id, mk_model_emit *emit,
		  void *arg) _must_check_;
int mk_model_find(struct mk_call *call, struct mantik *m, int64_t project_id, const char *name,
		  struct mk_model *ret) _must_check_; /* ENOENT */
int mk_model_get(struct mk_call *call, struct mantik *m, int64_t id,
		 struct mk_model *ret) _must_check_; /* ENOENT */

struct mk_version {
	int64_t id; /* row, never reused */
	char *version;
	int64_t changed;
	struct mk_list aliases;
};
void mk_version_free(struct mk_version *version);

typedef int mk_version_emit(void *arg, const struct mk_version *version);
/* In the order they came. */
int mk_version_list(struct mk_call *call, struct mantik *m, int64_t model_id,
		    mk_version_emit *emit, void *arg) _must_check_;
int mk_version_find(struct mk_call *call, struct mantik *m, int64_t model_id, const char *version,
		    struct mk_version *ret) _must_check_; /* ENOENT */
int mk_version_get(struct mk_call *call, struct mantik *m, int64_t id,
		   struct mk_version *ret) _must_check_; /* ENOENT */
/* model.yaml: what it is, which run it is of and how good that was. */
int mk_version_yaml(struct mk_call *call, struct mantik *m, int64_t id,
		    struct mk_buf *ret) _must_check_;

/* Differs when the text does; never 0. */
uint64_t mk_version_generation(const struct mk_buf *text);
/*
 * A whole model.yaml in: its description, model_description and aliases are what the store is told
 * (mantik/outbox.h: the caller waits for its answer); keys that are left out stay. `seen` as in
 * mk_text_put(). EINVAL something else is another one than it was, EBUSY, ENOENT, EROFS.
 */
int mk_version_put(struct mk_call *call, struct mantik *m, int64_t id, const char *text, size_t len,
		   uint64_t seen) _must_check_;

/* The models a run logged: what they are called here, each with the store's id of it. Those of one
 * name have the first digits of the id behind it. */
int mk_run_models(struct mk_call *call, struct mantik *m, int64_t run_id,
		  struct mk_pairs *ret) _must_check_;
/* 1 there are some, 0 not; asks nobody. */
int mk_run_models_any(struct mk_call *call, struct mantik *m, int64_t run_id) _must_check_;

#endif
