/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The journal: how far each acknowledged submission has come. One row of `intents` per run, from
 * the acknowledgement until everything about the run is recorded; its step says what a mantikd
 * that finds it has to do next. Every step may be repeated after a kill; the one that may not
 * (handing the job over) is guarded by find(key) and, for local jobs, by claims on disk.
 *
 * Each writing of a step passes mk_journal_write(), which is also where tests may kill:
 * MK_ABORT_AT=NAME raises SIGKILL right after step NAME was recorded, MK_ABORT_AT=before:NAME right
 * before, when its work is done and not yet recorded. So no step can be without an abort point.
 */
#ifndef MK_JOURNAL_H
#define MK_JOURNAL_H

#include "core.h"
#include <mantik/run.h>

enum mk_journal_step {
	MK_STEP_ACCEPTED,   /* acknowledged; waits for its turn */
	MK_STEP_STAGING,    /* its turn has come; the working directory is being made */
	MK_STEP_STAGED,	    /* complete; the site has heard nothing yet */
	MK_STEP_SUBMITTING, /* is being handed over: only find(key) knows whether it was */
	MK_STEP_SUBMITTED,  /* the site has it */
	MK_STEP_RUNNING,    /* the site says it runs */
	MK_STEP_ENDED,	    /* the site says how it ended; logs are complete */
	MK_STEP_HARVESTED,  /* everything it logged is in the database */
	MK_STEP_COLLECTED,  /* artifacts are copied */
	MK_STEP_DONE,	    /* final status recorded; the row is gone */
	MK_STEPS,
};

/* "ACCEPTED" …; NULL beyond the last. */
const char *mk_journal_step_name(enum mk_journal_step step);

/* What a step changes of its run. Texts: NULL unchanged, "" none. Times: 0 unchanged. */
struct mk_run_change {
	int64_t run_id;
	bool visible; /* anything below is set: the row's generation counts up */
	bool set_status;
	enum mk_status status;
	const char *reason;
	const char *raw_status;
	const char *job_id;
	const char *queue;
	const char *nodes;
	const char *workdir;
	const char *environment;
	const char *infrastructure;
	int64_t started;
	int64_t ended;
	bool set_exit;
	int exit_code; /* -1 none */
	int signal;    /* 0 none */
};

/* Records a step and what it changes in one transaction. DONE takes the intents of the run away,
 * except `clean`. */
int mk_journal_write(struct mk_call *call, struct mantik *m, enum mk_journal_step step,
		     const struct mk_run_change *change) _must_check_;
/* Changes the row alone. */
int mk_journal_change(struct mk_call *call, struct mantik *m,
		      const struct mk_run_change *change) _must_check_;
/* Takes one verb of a run away. */
int mk_journal_close(struct mk_call *call, struct mantik *m, int64_t run_id,
		     const char *verb) _must_check_;
/* Not now: again at try_at (ns, realtime), with the reason shown. */
int mk_journal_later(struct mk_call *call, struct mantik *m, int64_t run_id, const char *verb,
		     int64_t try_at, const char *reason) _must_check_;

/* An open intent with what the engine needs of its run. Texts are valid during emit. */
struct mk_intent {
	int64_t run_id;
	const char *verb;
	enum mk_journal_step step;
	int64_t try_at;
	int tries;
	const char *uid, *name, *dir, *site, *job_id, *workdir;
	enum mk_status status;
	bool cancel_asked;
};
typedef int mk_intent_emit(void *arg, const struct mk_intent *intent);
/* Of one verb. begun: only steps after ACCEPTED (submit). In order of acceptance. */
int mk_journal_list(struct mk_call *call, struct mantik *m, const char *verb, bool begun,
		    mk_intent_emit *emit, void *arg) _must_check_;

#endif
