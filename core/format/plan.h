/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A plan: everything a site needs to run one validated run, with all defaults, parameters and
 * configs applied. Made at submission (domain/submit/), kept as JSON with the run, read by mantikd
 * (connect/compute). Holds no secret.
 */
#ifndef MK_PLAN_H
#define MK_PLAN_H

#include <mantik/buf.h>
#include <mantik/call.h>

struct mk_plan {
	int64_t repository_id; /* 0: no code, an empty working directory */
	char *commit;	       /* 40 hex, or NULL */
	char *directory;       /* of the MLproject in the repository: the job's cwd; "" = top */
	char *script;	       /* the whole job script, begins with #! */
	struct mk_pairs variables; /* over the built environment of the job */
	struct mk_list exclude;	   /* not exported */
	struct mk_list artifacts;  /* globs, copied out of the cwd when the run ends */
	char *python_env;	   /* path in the repository of a python_env.yaml, or NULL */
	char *conda_env;	   /* path of a conda.yaml, or NULL */
	int64_t runtime;	   /* limit in s, 0 = none */
	char *queue;		   /* NULL: the site's default */
};

void mk_plan_free(struct mk_plan *plan);
#define _cleanup_plan_ _cleanup_(mk_plan_free)
int mk_plan_write(struct mk_call *call, const struct mk_plan *plan, struct mk_buf *ret) _must_check_;
/* EINVAL: not a plan (our own bug or a damaged database). */
int mk_plan_read(struct mk_call *call, const char *json, struct mk_plan *ret) _must_check_;

#endif
