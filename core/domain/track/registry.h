/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registered models of ours and their versions, as MLflow's API makes and changes them. They are
 * rows of the tables that mirrored ones have, and shown in the tree (models/ of the project) like
 * these.
 *
 * scope: a project, or 0: all of ours. Then the models of the default project have their plain
 * names, all others are called `<project>.<model>`; a new one is the default project's.
 *
 * Every change is one transaction, on the disk when it returns. Texts of errors are MLflow's. ENOENT:
 * there is no such model, version or alias; EEXIST; EINVAL what it calls INVALID_PARAMETER_VALUE.
 */
#ifndef MK_REGISTRY_H
#define MK_REGISTRY_H

#include <mantik/model.h>

#include "core.h"

/* --- models -------------------------------------------------------------------------------- */

struct mk_registered {
	int64_t id, project_id;
	char *name; /* as the scope calls it */
	char *description;
	int64_t created, changed;
	struct mk_pairs tags;	 /* sorted */
	struct mk_pairs aliases; /* … with the version */
};
void mk_registered_free(struct mk_registered *model);
#define _cleanup_registered_ _cleanup_(mk_registered_free)

int mk_registered_find(struct mk_call *call, struct mantik *m, int64_t scope, const char *name,
		       int64_t *ret) _must_check_;
int mk_registered_get(struct mk_call *call, struct mantik *m, int64_t scope, int64_t id,
		      struct mk_registered *ret) _must_check_;
int mk_registered_make(struct mk_call *call, struct mantik *m, int64_t scope, const char *name,
		       const char *description, const struct mk_pairs *tags,
		       int64_t *ret) _must_check_;
int mk_registered_describe(struct mk_call *call, struct mantik *m, int64_t id,
			   const char *description) _must_check_;
int mk_registered_rename(struct mk_call *call, struct mantik *m, int64_t id,
			 const char *name) _must_check_;
/* With its versions. */
int mk_registered_remove(struct mk_call *call, struct mantik *m, int64_t id) _must_check_;
/* value NULL: takes it away; not there is fine. */
int mk_registered_tag(struct mk_call *call, struct mantik *m, int64_t id, const char *key,
		      const char *value) _must_check_;
/* version_id 0: takes it away; not there is fine. */
int mk_registered_alias(struct mk_call *call, struct mantik *m, int64_t id, const char *alias,
			int64_t version_id) _must_check_;

/* --- versions ------------------------------------------------------------------------------ */

struct mk_registered_version {
	int64_t id, model_id;
	char *name; /* of the model, as the scope calls it */
	char *version, *stage, *description, *source, *storage, *run_id, *run_link, *logged;
	int64_t created, changed;
	struct mk_pairs tags;
	struct mk_list aliases;
};
void mk_registered_version_free(struct mk_registered_version *version);
#define _cleanup_registered_version_ _cleanup_(mk_registered_version_free)

/* ENOENT also for one that was deleted. name: of the model, for the error. */
int mk_registered_version_find(struct mk_call *call, struct mantik *m, int64_t model_id,
			       const char *name, int64_t version, int64_t *ret) _must_check_;
/* EINVAL, as MLflow has it, when there is no such alias; `latest` is the highest version. */
int mk_registered_version_by_alias(struct mk_call *call, struct mantik *m, int64_t model_id,
				   const char *name, const char *alias,
				   int64_t *ret) _must_check_;
int mk_registered_version_get(struct mk_call *call, struct mantik *m, int64_t scope, int64_t id,
			      struct mk_registered_version *ret) _must_check_;
/* The highest version of each stage; the stages in the order of their lowest. */
typedef int mk_id_emit(void *arg, int64_t id);
int mk_registered_latest(struct mk_call *call, struct mantik *m, int64_t model_id,
			 mk_id_emit *emit, void *arg) _must_check_;

struct mk_version_new {
	int64_t model_id;
	const char *source, *storage, *run_id, *run_link, *description;
	const char *logged;	 /* "": of no logged model */
	const char *logged_name; /* the name of the registered model as a JSON text, for the tag
				    mlflow.modelVersions of the logged one */
	const struct mk_pairs *tags;
};
int mk_registered_version_make(struct mk_call *call, struct mantik *m,
			       const struct mk_version_new *version, int64_t *ret) _must_check_;
int mk_registered_version_describe(struct mk_call *call, struct mantik *m, int64_t id,
				   const char *description) _must_check_;
/* archive: others of this stage are Archived. */
int mk_registered_version_stage(struct mk_call *call, struct mantik *m, int64_t id,
				const char *stage, bool archive) _must_check_;
/* Its number is not given again; aliases of it go. */
int mk_registered_version_remove(struct mk_call *call, struct mantik *m, int64_t id) _must_check_;
int mk_registered_version_tag(struct mk_call *call, struct mantik *m, int64_t id, const char *key,
			      const char *value) _must_check_;

/* Rows of key and value (or alias and version …) for id, added to ret. */
int mk_registry_pairs(struct mk_call *call, struct mantik *m, const char *sql, int64_t id,
		      struct mk_pairs *ret) _must_check_;

#endif
