/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A mlflow.db, as MLflow 2.9 to 3.x keeps it, read as db/foreign.h says: not written, not migrated,
 * nothing appears beside it. What tables and columns there are is asked for each time: the one
 * program that upgrades the schema is MLflow.
 *
 *	store.c    opening, one question, the schema       runs.c     experiments and runs
 *	history.c  points in the store's order             models.c   models     files.c  their files
 *
 * A question is read whole into memory, and given when it is known to be one state of the database.
 */
#ifndef MK_SQLSTORE_H
#define MK_SQLSTORE_H

#include "connect/tracking/local.h"
#include "db/foreign.h"

struct mk_tracking {
	struct mk_local local; /* first */
	struct mk_foreign *db;
};

struct mk_sql_schema {
	bool datasets;	 /* from 2.4 */
	bool aliases;	 /* from 2.3 */
	bool logged;	 /* from 3.0 */
	bool workspaces; /* from 3.10 */
	bool step_index; /* of metrics, by run and key */
};

/* What a question is asked with. */
struct mk_sql {
	struct mk_call *call;
	struct mk_conn *conn;
	struct mk_tracking *t;
	struct mk_sql_schema schema;
	const char *workspace;
	struct mk_arena *arena; /* for what is read; empty when fn begins */
};
typedef int mk_sql_fn(struct mk_sql *sql, void *arg);

/* fn may be run several times: what it has set before, it sets again. */
int mk_sql_read(struct mk_call *call, struct mk_tracking *t, struct mk_arena *arena, mk_sql_fn *fn,
		void *arg) _must_check_;

/* A column as a safe text in the arena, "" for NULL; NULL: out of memory. */
const char *mk_sql_text(struct mk_sql *sql, struct mk_stmt *stmt, int i);
/* Milliseconds as ns. */
int64_t mk_sql_time(struct mk_stmt *stmt, int i);
/* Rows of key and value of a statement that is bound. */
int mk_sql_pairs(struct mk_sql *sql, struct mk_stmt *stmt, struct mk_t_pair **ret,
		 size_t *ret_n) _must_check_;
/* Room for one more. -ENOMEM, or EFBIG: a question whose answer is over the limit. */
int mk_sql_grow(struct mk_sql *sql, void *items, size_t *n, size_t *cap, size_t size,
		void *ret) _must_check_;

int mk_sql_experiments(struct mk_call *call, struct mk_tracking *t, char **token,
		       mk_t_experiment_emit *emit, void *arg) _must_check_;
int mk_sql_runs(struct mk_call *call, struct mk_tracking *t, const struct mk_t_query *query,
		char **token, mk_t_run_emit *emit, void *arg) _must_check_;
int mk_sql_run(struct mk_call *call, struct mk_tracking *t, const char *id, mk_t_run_emit *emit,
	       void *arg) _must_check_;
int mk_sql_history(struct mk_call *call, struct mk_tracking *t, const char *run_id,
		   const char *key, char **token, struct mk_point **points, size_t *n) _must_check_;
int mk_sql_tail(struct mk_call *call, struct mk_tracking *t, const char *run_id, const char *key,
		int64_t known, const struct mk_point *last, struct mk_point **points,
		size_t *n) _must_check_;
int mk_sql_models(struct mk_call *call, struct mk_tracking *t, char **token,
		  mk_t_model_emit *emit, void *arg) _must_check_;
int mk_sql_versions(struct mk_call *call, struct mk_tracking *t, const char *model, char **token,
		    mk_t_version_emit *emit, void *arg) _must_check_;
int mk_sql_logged(struct mk_call *call, struct mk_tracking *t, const char *id,
		  mk_t_logged_emit *emit, void *arg) _must_check_;
int mk_sql_files(struct mk_call *call, struct mk_tracking *t, const struct mk_t_place *place,
		 const char *path, char **token, mk_t_file_emit *emit, void *arg) _must_check_;
int mk_sql_bytes(struct mk_call *call, struct mk_tracking *t, const struct mk_t_place *place,
		 const char *path, int64_t offset, int64_t len, char **etag,
		 int (*sink)(void *arg, const void *data, size_t len), void *arg,
		 int64_t *ret_total) _must_check_;

#endif
