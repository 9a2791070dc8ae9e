/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs: one submission of a spec, from SCHEDULED to its final status, with what it logged.
 *
 *            submit                job starts             job ends
 *   (spec) ----------> SCHEDULED -----------> RUNNING -------------> FINISHED  exit 0
 *                          |  cancel             |  cancel           FAILED    else, or lost
 *                          +-------> KILLED <----+                   KILLED    cancelled
 *
 * UNKNOWN: the site no longer knows the job and nobody can say how it ended.
 * A run's row is written by mk_submit() and then by mantikd alone; everybody reads it.
 */
#ifndef MANTIK_RUN_H
#define MANTIK_RUN_H

#include <mantik/mantik.h>

enum mk_status {
	MK_SCHEDULED,
	MK_RUNNING,
	MK_FINISHED,
	MK_FAILED,
	MK_KILLED,
	MK_UNKNOWN,
};

const char *mk_status_name(enum mk_status status); /* "SCHEDULED" … */
static inline bool mk_status_final(enum mk_status status)
{
	return status >= MK_FINISHED;
}

/* An immutable snapshot of a run; absent texts are NULL, absent times 0. Freed with mk_run_free. */
struct mk_run {
	int64_t id; /* row, never reused: the key everywhere in our programs */
	char uid[33]; /* 32 hex digits: the key everywhere outside; travels with the job */
	int64_t project_id;
	int64_t experiment_id;
	char *project;
	char *experiment;
	char *name;
	char *dir; /* <name>.<8 or more hex>: the name in runs/, fixed for ever, already escaped */
	enum mk_status status;
	char *reason;	  /* one line */
	char *raw_status; /* the scheduler's own word */
	char *site;
	char *job_id;
	char *queue;
	char *account;
	char *nodes;
	int exit_code; /* -1 none */
	int signal;    /* 0 none */
	int64_t submitted; /* ns, realtime */
	int64_t started;
	int64_t ended;
	int64_t changed; /* last change of the row or of anything it logged */
	int64_t as_of;
	char *user;
	char *repository;
	char *branch;
	char *commit; /* 40 hex */
	bool dirty;
	char *mlproject; /* path in the repository */
	char *entry_point;
	char *environment;    /* system | python_env.yaml | conda.yaml | apptainer … one line */
	char *infrastructure; /* one line: host, cpus, memory */
	char *rerun_of;	      /* dir of another run */
	char *workdir;	      /* absolute path on this machine, NULL when none or cleaned */
	bool cancel_asked;
	bool deleted;
	uint64_t generation; /* counts up with every change of the row, its tags or params */
	size_t spec_len;     /* bytes of spec.yaml */
	size_t script_len;   /* bytes of job_script */
	char *remote_id; /* of a run mirrored from a tracking store: its id there; NULL: ours */
	char *artifact_uri;
	char *parent; /* the id of the run it is nested in: the store's, or a uid of ours */
	bool api;     /* one of ours that a program made through MLflow's API: no spec, no job */
};

void mk_run_free(struct mk_run *run);

/*
 * Runs of a project that shows a tracking store (mantik/outbox.h): what lists, finds or reads them may
 * return MK_PUNT for the lane of its connection, unless it says that nobody is asked; verbs put a row
 * into the outbox and never wait.
 */

/* A mirrored run that was last asked about longer ago than 2 s (30 s when it has ended). */
bool mk_run_is_old(const struct mk_run *run);
/* By the row. ENOENT. A mirrored run that is old is asked for first (MK_PUNT); when its store does
 * not answer it is what it was, as_of says when. */
int mk_run_get(struct mk_call *call, struct mantik *m, int64_t id,
	       struct mk_run *ret) _must_check_;
/* The same as it is known, whatever its age: nobody is asked. */
int mk_run_peek(struct mk_call *call, struct mantik *m, int64_t id,
		struct mk_run *ret) _must_check_;
/* By exact directory name in runs/ (or runs/deleted/). ENOENT. *ret_id only: one index probe. */
int mk_run_find(struct mk_call *call, struct mantik *m, int64_t project_id, const char *dir,
		bool deleted, int64_t *ret_id) _must_check_;
/* By anything that opens a run: `<text>.<8 or more hex>`, a full uid, a site's job id.
 * project_id 0: any project (mantikctl). ENOENT; EEXIST when it fits several, naming two. */
int mk_run_resolve(struct mk_call *call, struct mantik *m, int64_t project_id, const char *name,
		   int64_t *ret_id) _must_check_;
/* The newest run submitted by this user, else the newest that a program of his logged; 0 = none.
 * project_id 0: in any project. */
int mk_run_latest(struct mk_call *call, struct mantik *m, int64_t project_id,
		  int64_t *ret_id) _must_check_;

/* Light entries for a listing of 100 000, in order of id, beginning after `after`. */
struct mk_run_entry {
	int64_t id;
	const char *dir; /* valid during emit */
	int64_t changed;
	enum mk_status status;
};
struct mk_run_query {
	int64_t project_id;    /* 0: all projects */
	int64_t experiment_id; /* 0: all of the project */
	bool deleted;	       /* those in deleted/ instead */
	bool live;	       /* only those that have not ended */
	int64_t after;
	int limit; /* 0: all */
};
typedef int mk_run_emit(void *arg, const struct mk_run_entry *entry);
int mk_run_list(struct mk_call *call, struct mantik *m, const struct mk_run_query *query,
		mk_run_emit *emit, void *arg) _must_check_;

/* Long texts that are fixed at submission. */
enum mk_run_text { MK_RUN_SPEC, MK_RUN_SCRIPT };
int mk_run_text(struct mk_call *call, struct mantik *m, int64_t id, enum mk_run_text which,
		struct mk_buf *ret) _must_check_;
/* What a run that was logged through an API, here or at a store, has beside its row. */
struct mk_dataset {
	char *name, *digest, *source, *context;
};
struct mk_run_more {
	char *parent;		 /* dir of the run it is nested in, else the store's id of it */
	struct mk_list children; /* dirs of the runs that are nested in it, in the order they began */
	struct mk_dataset *datasets;
	size_t n_datasets;
	int64_t unsent; /* changes made here that its store has not taken yet */
	char *waits;	/* why it has not begun (mk_run_waits), or NULL */
};
void mk_run_more_free(struct mk_run_more *more);
int mk_run_more(struct mk_call *call, struct mantik *m, const struct mk_run *run,
		struct mk_run_more *ret) _must_check_;
/* 1: why a SCHEDULED run without a reason has not begun, as the queue is now ("waits for a slot of
 * local (1 of 1 taken by a.12345678)"); *ret is the caller's. 0: nothing holds it up. Never waits. */
int mk_run_waits(struct mk_call *call, struct mantik *m, const struct mk_run *run,
		 char **ret) _must_check_;
/* info.yaml and info.json of a snapshot. more: NULL leaves it out. */
int mk_run_info(const struct mk_run *run, const struct mk_run_more *more, bool json,
		struct mk_buf *ret) _must_check_;

/* --- what a run logged ------------------------------------------------------------------- */

enum mk_value_kind { MK_PARAM, MK_TAG };
/* All, sorted by key. */
int mk_run_values(struct mk_call *call, struct mantik *m, int64_t id, enum mk_value_kind kind,
		  struct mk_pairs *ret) _must_check_;
/* One; ENOENT. */
int mk_run_value(struct mk_call *call, struct mantik *m, int64_t id, enum mk_value_kind kind,
		 const char *key, struct mk_buf *ret) _must_check_;
/* Sets one. A param that has another value already: EEXIST (as MLflow). EINVAL: bad key (empty,
 * over 250 bytes, no UTF-8, a part `.` or `..`, a control character) or value (over 8000 bytes, no
 * UTF-8). EROFS: the run is deleted. ENOENT. */
int mk_run_value_set(struct mk_call *call, struct mantik *m, int64_t id, enum mk_value_kind kind,
		     const char *key, const char *value) _must_check_;

/* Takes a tag away. ENOENT; EROFS the run is deleted. (Params stay as they are, as MLflow's.) */
int mk_run_tag_remove(struct mk_call *call, struct mantik *m, int64_t id,
		      const char *key) _must_check_;

struct mk_point {
	int64_t step;
	double value;
	int64_t time; /* ns, realtime */
};
/* One metric key with its summary: a line of metrics.tsv, and the size of metrics/<key>. */
struct mk_metric {
	char *key;
	int64_t count;
	int64_t bytes; /* length of the rendered history; -1: a store's, mk_run_metric() fetches it */
	struct mk_point last;
	double min, max; /* of the values that are numbers; NAN when none is */
	int64_t min_step, max_step;
};
struct mk_metrics {
	struct mk_metric *v;
	size_t n;
};
void mk_metrics_free(struct mk_metrics *metrics);
/* All keys, sorted. */
int mk_run_metrics(struct mk_call *call, struct mantik *m, int64_t id,
		   struct mk_metrics *ret) _must_check_;
/* One key; ENOENT. */
int mk_run_metric(struct mk_call *call, struct mantik *m, int64_t id, const char *key,
		  struct mk_metric *ret) _must_check_;
void mk_metric_free(struct mk_metric *metric);
/* The rendered history (`step\tvalue\ttime\n` in the order logged), exactly the first `bytes` of
 * it: what mk_metric.bytes said at open. */
int mk_run_history(struct mk_call *call, struct mantik *m, int64_t id, const char *key,
		   int64_t bytes, struct mk_buf *ret) _must_check_;
/*
 * Logs lines `value`, `step value` or `step value time` (blanks or tabs; time ISO 8601 or seconds,
 * or milliseconds, since 1970); step: last + 1, time: now. All or none, durable against a kill.
 * EINVAL with line number and reason; ENOENT no such run. `deleted` runs: EROFS.
 */
int mk_run_log_metric(struct mk_call *call, struct mantik *m, int64_t id, const char *key,
		      const char *lines, size_t len) _must_check_;
/* 1: metrics.tsv tells minimum, maximum and count: the run is ours, or has ended and all its histories
 * came from its store already. 0: the store tells the last points only. Asks nobody. */
int mk_run_metrics_complete(struct mk_call *call, struct mantik *m, int64_t id) _must_check_;
/* metrics.tsv */
int mk_run_metrics_table(struct mk_call *call, struct mantik *m, int64_t id,
			 struct mk_buf *ret) _must_check_;

/* --- verbs ------------------------------------------------------------------------------- */

/*
 * Intents: one durable row, then mantikd acts. All return 0 once durable (and poke).
 * cancel   ESRCH when it has ended already; EOPNOTSUPP it has no job of ours
 * delete   EBUSY while live;  restore  ENOENT when not deleted
 * clean    removes the working directory; EBUSY while live; EOPNOTSUPP a tracking store's
 */
int mk_run_cancel(struct mk_call *call, struct mantik *m, int64_t id) _must_check_;
int mk_run_delete(struct mk_call *call, struct mantik *m, int64_t id) _must_check_;
int mk_run_restore(struct mk_call *call, struct mantik *m, int64_t id) _must_check_;
int mk_run_clean(struct mk_call *call, struct mantik *m, int64_t id) _must_check_;
/* The same for all runs of an experiment, or of a project (experiment_id 0), in one transaction (those
 * of a tracking store one by one): how many. delete: EBUSY names one that is live, and then none is
 * deleted. */
int mk_run_delete_all(struct mk_call *call, struct mantik *m, int64_t project_id,
		      int64_t experiment_id) _must_check_;
int mk_run_restore_all(struct mk_call *call, struct mantik *m, int64_t project_id,
		       int64_t experiment_id) _must_check_;
/* Ends deleted runs for good: rows, records and working directories, if they were deleted longer
 * than `older` ns ago. id 0: all such, and logged models that were deleted by themselves. A run that
 * a version of a registered model is made of stays. EBUSY: the one named is live, not deleted, or such.
 * Returns how many. */
int mk_run_gc(struct mk_call *call, struct mantik *m, int64_t id, int64_t older) _must_check_;

struct mk_submit_options {
	const char *source; /* name of the text in errors: "runs/new", "spec.yaml" */
	const char *rerun_of; /* dir of a run, or NULL */
	bool dry_run;	      /* validate everything, make nothing; the answer says what would be */
	struct mk_pairs parameters; /* over the spec's: submit -P */
	const char *site;	    /* over the spec's, or NULL */
	bool held; /* not worked off until queue is released (tests, bench) */
};
/*
 * Validates and submits a text: a spec, several with `---`, or a `#!` script. On success `answer`
 * holds a run's directory name a line. Success means the runs exist and will be submitted exactly
 * once, whatever happens.
 *
 * May return MK_PUNT (before anything durable) for the lane `git:<host>` when a branch head must
 * be asked for, or `disk:<device>` for a snapshot of `code: path`. On any error nothing was made.
 * EINVAL with `runs/new:4: …`; EHOSTUNREACH the git remote did not answer; EROFS; EFBIG; ENOENT
 * the project is gone; EOPNOTSUPP `not supported yet: data (line 4)`.
 */
int mk_submit(struct mk_call *call, struct mantik *m, int64_t project_id, const char *text,
	      size_t len, const struct mk_submit_options *options,
	      struct mk_buf *answer) _must_check_;

#endif
