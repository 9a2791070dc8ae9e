/* SPDX-License-Identifier: Apache-2.0 */
/* What store.c (what is logged, while it is) and store_files.c (files and models, at the end) share. */
#ifndef MK_ENGINE_STORE_H
#define MK_ENGINE_STORE_H

#include "connect/tracking/tracking.h"
#include "engine/engine.h"

struct store_source {
	const struct mk_tracking_ops *ops;
	struct mk_tracking *t;
};
struct store {
	struct store_source sources[2]; /* mlflow.db, mlruns */
	void *taken;			/* tsearch(3) */
	struct mk_pairs values;		/* "<kind>/<key>": as they were written last */
	struct mk_list told;
	const struct job *job;
};

/* A run of the store, as far as it is needed. */
struct store_run {
	char *id, *name, *parent;
	int64_t started;
	char *prefix; /* "": it is the job's own; or "NAME.ID/" */
};
struct store_runs {
	struct store_run *v;
	size_t n;
	int64_t since;
	bool more; /* than are taken in */
};
void store_runs_free(struct store_runs **runs);

/* Those the job began. */
int store_find(struct mk_call *call, struct mantik *m, const struct job *job,
	       const struct store_source *source, struct store_runs *ret) _must_check_;
/* A line of the submission log, once each. arg: a struct store. */
void store_tell(void *arg, const char *text);
/* An mlruns/ beside a mlflow.db may hold nothing but its artifacts. */
bool store_is_beside(const struct store *store, size_t i);

#endif
