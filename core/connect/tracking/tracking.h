/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a tracking store must offer, and the manual of it. One implementation a file or folder
 * below core/connect/tracking (mlflow: the REST API of a server; filestore, sqlstore: mlruns/ and
 * mlflow.db of this machine, read-only), listed in registry.c. It knows
 * one kind of store and nothing of our database; core/domain/index/index.c is the only caller and
 * mirrors what comes.
 *
 * Everything waits for the remote (lane: the connection's name) and honours the call. Lists are
 * paged by an opaque token: *token is NULL for the first page and NULL after the last; the
 * implementation frees and replaces it. What is emitted is valid during emit; a negative result of
 * emit ends the page and is passed on.
 *
 * Foreign texts have been made safe when they come here: UTF-8 without NUL, numbers in range,
 * lists limited. Errors: ENOENT gone at the server; EACCES, ENOKEY, EKEYEXPIRED not allowed; EBUSY
 * throttled; EINVAL refused; EREMOTEIO nonsense; EHOSTUNREACH, ETIMEDOUT, EINTR.
 *
 * Writing. Of a verb that changes something there are three results:
 *
 *	0			the store has it
 *	mk_t_maybe(r)		nobody knows: the answer was lost, the server is busy, or has an
 *				error inside. Ask what is there before it is said again.
 *	any other errno		the store has not got it, and said why
 *
 * What may be said twice without harm is repeated in here (within the deadline) and says so below:
 * *idempotent*. What may not is sent once.
 */
#ifndef MK_TRACKING_H
#define MK_TRACKING_H

#include <errno.h>

#include <mantik/run.h>

struct mk_tracking; /* one opened connection; several threads may use it at a time */

struct mk_t_pair {
	const char *key, *value;
};
struct mk_t_metric { /* the last point of a key */
	const char *key;
	struct mk_point last; /* value as double; time in ns */
};
struct mk_t_experiment {
	const char *id, *name;
	const char *artifact_location;
	int64_t created, updated; /* ns, 0 unknown */
	bool deleted;
	const struct mk_t_pair *tags;
	size_t n_tags;
};
struct mk_t_dataset { /* an input of a run */
	const char *name, *digest, *source_type, *source, *context;
};
struct mk_t_run {
	const char *id, *experiment_id, *name, *user;
	enum mk_status status;
	int64_t started, ended; /* ns, 0 none */
	bool deleted;
	const char *artifact_uri;
	const struct mk_t_pair *params, *tags;
	size_t n_params, n_tags;
	const struct mk_t_metric *metrics;
	size_t n_metrics;
	const struct mk_t_dataset *datasets;
	size_t n_datasets;
	const char *const *models; /* ids of logged models (outputs) */
	size_t n_models;
};
struct mk_t_file {
	const char *path; /* relative to the root that was asked */
	bool is_dir;
	int64_t size; /* -1 unknown */
};
struct mk_t_version {
	const char *version, *run_id, *stage, *status, *description, *source;
	int64_t created, updated;
	const char *const *aliases;
	size_t n_aliases;
	const struct mk_t_pair *tags;
	size_t n_tags;
};
struct mk_t_model { /* registered */
	const char *name, *description;
	int64_t created, updated;
	const struct mk_t_pair *tags;
	size_t n_tags;
};

struct mk_t_logged { /* a model a run logged */
	const char *id, *name, *type, *status, *run_id, *experiment_id;
	int64_t created, updated;
	const struct mk_t_pair *params, *tags;
	size_t n_params, n_tags;
};

typedef int mk_t_experiment_emit(void *arg, const struct mk_t_experiment *experiment);
typedef int mk_t_run_emit(void *arg, const struct mk_t_run *run);
typedef int mk_t_file_emit(void *arg, const struct mk_t_file *file);
typedef int mk_t_model_emit(void *arg, const struct mk_t_model *model);
typedef int mk_t_version_emit(void *arg, const struct mk_t_version *version);
typedef int mk_t_logged_emit(void *arg, const struct mk_t_logged *logged);

struct mk_t_query {
	const char *const *experiment_ids; /* at least one, at most 100 */
	size_t n_experiments;
	bool deleted;		/* only deleted ones; else only active ones */
	int64_t started_since;	/* ns; > 0: only runs that started at or after it */
	bool live;		/* only SCHEDULED and RUNNING */
	const char *const *run_ids; /* n_ids > 0: only these, at most 100 (a store may give more) */
	size_t n_ids;
	int limit;		/* of a page: 1000 unless smaller */
};

/* Where the bytes of a run's, a logged model's or a version's files are asked for. */
enum mk_t_root { MK_T_RUN, MK_T_LOGGED_MODEL, MK_T_VERSION };
struct mk_t_place {
	enum mk_t_root root;
	const char *id;	     /* run id, model id, or name of the registered model */
	const char *version; /* MK_T_VERSION */
	const char *uri;     /* MK_T_RUN: its artifact_uri, where it is known, else NULL */
};

/* --- what is written ------------------------------------------------------------------------- */

/* What a store takes; more than this is refused here, for a server would cut it and say nothing.
 * Lengths in characters. Times are kept in milliseconds, rounded down. */
enum {
	MK_T_MAX_POINTS = 1000, /* of one batch */
	MK_T_MAX_PARAMS = 100,
	MK_T_MAX_TAGS = 100,
	MK_T_MAX_TOGETHER = 1000,     /* points, params and tags */
	MK_T_MAX_REQUEST = 1000000,   /* bytes of a batch as it is sent: else E2BIG */
	MK_T_MAX_KEY = 250,
	MK_T_MAX_PARAM = 6000,
	MK_T_MAX_TAG = 8000,
	MK_T_MAX_NOTE = 5000, /* a tag of an experiment */
	MK_T_MAX_NAME = 500,  /* of an experiment */
};
#define MK_T_TICK (1000 * 1000) /* ns: a time comes back as a multiple of it */

/* RUNNING … as MLflow names them, or 1 … as clones and old stores number them; else MK_UNKNOWN. */
enum mk_status mk_t_status(const char *text);

/* Is it unknown whether the store has what was written? */
static inline bool mk_t_maybe(int r)
{
	return r == -ETIMEDOUT || r == -EHOSTUNREACH || r == -EREMOTEIO || r == -EBUSY ||
	       r == -EINTR || r == -ECANCELED;
}

struct mk_t_logged_point {
	const char *key;
	struct mk_point point;
};
struct mk_t_batch {
	const struct mk_t_logged_point *points;
	const struct mk_t_pair *params, *tags;
	size_t n_points, n_params, n_tags;
};

struct mk_tracking_ops {
	const char *kind; /* of the connection: "mlflow" */
	/* Reads the configuration and opens nothing: never waits. */
	int (*open)(struct mk_call *call, struct mantik *m, const char *connection,
		    struct mk_tracking **ret);
	void (*close)(struct mk_tracking *t);

	int (*experiments)(struct mk_call *call, struct mk_tracking *t, char **token,
			   mk_t_experiment_emit *emit, void *arg); /* deleted ones, too */
	int (*runs)(struct mk_call *call, struct mk_tracking *t, const struct mk_t_query *query,
		    char **token, mk_t_run_emit *emit, void *arg); /* newest start first */
	int (*run)(struct mk_call *call, struct mk_tracking *t, const char *id,
		   mk_t_run_emit *emit, void *arg);
	/* Points in the server's order, appended to *points (malloc; the caller frees). */
	int (*history)(struct mk_call *call, struct mk_tracking *t, const char *run_id,
		       const char *key, char **token, struct mk_point **points, size_t *n);
	/*
	 * The points after the first `known` ones, of which *last is the last: appended, all of
	 * them. ESTALE: the store's history does not go on from there (a point was logged before
	 * others, or the store cannot say): it has to be asked for whole.
	 */
	int (*tail)(struct mk_call *call, struct mk_tracking *t, const char *run_id,
		    const char *key, int64_t known, const struct mk_point *last,
		    struct mk_point **points, size_t *n);
	/* One directory level below path ("" the root). A missing path emits nothing. */
	int (*files)(struct mk_call *call, struct mk_tracking *t, const struct mk_t_place *place,
		     const char *path, char **token, mk_t_file_emit *emit, void *arg);
	/* Bytes from offset on, len < 0: to the end. The sink gets them in order, from exactly
	 * offset (a server that ignores ranges is read from the beginning and cut). *ret_total: size
	 * of the whole file if the answer told it, else -1. etag: NULL, or the version that must
	 * still be there (ESTALE); set to the one that comes before the first bytes are given. */
	int (*read)(struct mk_call *call, struct mk_tracking *t, const struct mk_t_place *place,
		    const char *path, int64_t offset, int64_t len, char **etag,
		    int (*sink)(void *arg, const void *data, size_t len), void *arg,
		    int64_t *ret_total);
	int (*models)(struct mk_call *call, struct mk_tracking *t, char **token,
		      mk_t_model_emit *emit, void *arg);
	int (*versions)(struct mk_call *call, struct mk_tracking *t, const char *model,
			char **token, mk_t_version_emit *emit, void *arg);
	/* One logged model. EOPNOTSUPP: the store has no such thing. */
	int (*logged)(struct mk_call *call, struct mk_tracking *t, const char *id,
		      mk_t_logged_emit *emit, void *arg);

	/* --- writing; all of them NULL: a store that can only be read ------------------------- */

	/*
	 * One request, sent once. Points keep their order per key; NaN and infinities are points
	 * (a store on SQL gives an infinity back as the largest double). E2BIG, with nothing sent:
	 * over MK_T_MAX_REQUEST, to be split. A param that has another value already: EINVAL. A
	 * batch that is refused was not taken when it is of one kind (points, params or tags); of a
	 * mixed one the params may have been. A store that is asked twice may have points twice:
	 * settle by reading the history back.
	 */
	int (*log)(struct mk_call *call, struct mk_tracking *t, const char *run_id,
		   const struct mk_t_batch *batch);
	int (*tag_set)(struct mk_call *call, struct mk_tracking *t, const char *run_id,
		       const char *key, const char *value); /* idempotent */
	/* ENOENT: there is none (also when it was this that removed it, and the answer was lost). */
	int (*tag_remove)(struct mk_call *call, struct mk_tracking *t, const char *run_id,
			  const char *key);
	/* Idempotent. A deleted run takes no other change: EINVAL. */
	int (*run_rename)(struct mk_call *call, struct mk_tracking *t, const char *run_id,
			  const char *name);
	int (*run_delete)(struct mk_call *call, struct mk_tracking *t, const char *run_id);
	int (*run_restore)(struct mk_call *call, struct mk_tracking *t, const char *run_id);

	/* Sent once. EEXIST: one has the name, perhaps a deleted one (the text says so). */
	int (*experiment_make)(struct mk_call *call, struct mk_tracking *t, const char *name,
			       char **ret_id);
	/* Idempotent. EEXIST as above. */
	int (*experiment_rename)(struct mk_call *call, struct mk_tracking *t, const char *id,
				 const char *name);
	/* Idempotent. The note people read is the tag mlflow.note.content. */
	int (*experiment_tag)(struct mk_call *call, struct mk_tracking *t, const char *id,
			      const char *key, const char *value);
	int (*experiment_delete)(struct mk_call *call, struct mk_tracking *t, const char *id);
	int (*experiment_restore)(struct mk_call *call, struct mk_tracking *t, const char *id);

	/* May a file of this name be put where a run says its artifacts are (mk_t_run; "": not
	 * known)? Never waits. EINVAL, EOPNOTSUPP with the reason. */
	int (*put_check)(struct mk_call *call, struct mk_tracking *t, const char *artifact_uri,
			 const char *path);
	/*
	 * Sends a file of `size` bytes from fd (read with pread, from 0) to path below place, over
	 * what is there; directories come by themselves. 0: the store lists it with that size.
	 * Idempotent. EOPNOTSUPP: this server takes no files, or not there.
	 */
	int (*put)(struct mk_call *call, struct mk_tracking *t, const struct mk_t_place *place,
		   const char *path, int fd, int64_t size);

	/* All idempotent; version "" never. alias_remove: 0 also when there is none. */
	int (*alias_set)(struct mk_call *call, struct mk_tracking *t, const char *model,
			 const char *alias, const char *version);
	int (*alias_remove)(struct mk_call *call, struct mk_tracking *t, const char *model,
			    const char *alias);
	int (*model_describe)(struct mk_call *call, struct mk_tracking *t, const char *model,
			      const char *text);
	int (*version_describe)(struct mk_call *call, struct mk_tracking *t, const char *model,
				const char *version, const char *text);
};

extern const struct mk_tracking_ops mk_tracking_mlflow;
extern const struct mk_tracking_ops mk_tracking_filestore; /* url file:///… */
extern const struct mk_tracking_ops mk_tracking_sqlstore;  /* url sqlite:////… */

#endif
