/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mantikd from inside. One thread, the loop's, owns everything below and writes the journal; what
 * may take time (staging, handing over, copying artifacts) is a task in a lane thread that touches
 * nothing but its own copy and comes back through `done`.
 *
 *	loop.c	    the events			     submit.c	  whose turn it is
 *	journal.c   the transactions		     job.c	  a job's steps
 *	watch.c	    inotify: state, logged files     harvest.c	  what a job logs by files
 *	outbox.c    writes to tracking stores	     artifacts.c  copied when it has ended
 *	store.c	    what it logs with MLflow
 */
#ifndef MK_ENGINE_H
#define MK_ENGINE_H

#include "connect/connect.h"
#include "engine/journal.h"
#include "format/plan.h"

#include <mantik/daemon.h>
#include <mantik/lane.h>

struct engine;
struct harvest; /* harvest.c */
struct sender;	/* outbox.c */
struct store;	/* store.c */

/* A run that is being worked on: its turn has come and it is not recorded to the end. */
struct job {
	struct job *next;
	int64_t run_id;
	char *uid;
	char *name;
	char *record;  /* <data>/runs/<uid> */
	char *workdir;
	struct mk_site site;
	struct mk_plan plan;
	enum mk_journal_step step;
	char *id;	 /* the site's name of it, from SUBMITTED on */
	bool resumed;	 /* found in the journal: what happened since must be asked */
	bool cancel;	 /* somebody asked */
	bool cancelling; /* the site was told */
	bool killed;	 /* cancelled before the site had it */
	int tries;
	int64_t due;	 /* mono: look at it then; 0: only when something happens */
	int watch_fd;	 /* of the connector, -1 none */
	struct task *task; /* at work for it, or NULL */
	struct mk_job result; /* what the site said last */
	struct harvest *harvest;
	struct store *store;  /* touched by its tasks only */
	int64_t store_due;    /* mono: the next look at it */
	bool watched;	 /* by inotify */
	bool poll_files; /* … not completely */
	size_t n_watches;
	int64_t looked;	 /* mono: last look at its files */
};

enum task_kind {
	TASK_STAGE,
	TASK_SUBMIT,
	TASK_CANCEL,
	TASK_COLLECT,
	TASK_STORE,
	TASK_CLEAN,
	TASK_SENT,
};

struct task {
	struct mk_lane_work work; /* first */
	struct task *next;	  /* in engine.done */
	struct engine *engine;
	enum task_kind kind;
	struct job *job; /* NULL with CLEAN */
	bool ask_first;	 /* SUBMIT: find(key) before */
	struct mk_call call;
	int result;
	char *id;	     /* SUBMIT */
	int64_t project_id;  /* SENT: only news of the outbox */
	bool files;
	int64_t run_id;	     /* CLEAN: and the next two */
	char *uid;
	char *workdir;
	struct mk_site site; /* CLEAN: owned */
};

struct engine {
	struct mantik *m;
	struct mk_call call; /* of the loop's own transactions */
	struct mk_lanes *lanes;
	struct job *jobs;
	int poll; /* epoll */
	int doorbell;
	int done_fd; /* eventfd: something is in `done` */
	int notify;  /* inotify */
	struct watch *watches; /* watch.c */
	size_t n_watches;
	int64_t busy_until; /* mono: idle since then; 0 = something is left to do */
	int64_t next_try;   /* mono: an intent put off is due; 0 none */
	bool look;	    /* the journal may hold news */
	bool stop;
	pthread_mutex_t lock; /* protects `done` */
	struct task *done;
	const struct mk_daemon_options *options;
	void *serving; /* options->service, or NULL */
	int64_t serve_idle;
	struct sender *senders; /* outbox.c */
};

/* One line to mantikd's log, with the time. */
void engine_log(const char *fmt, ...) _printf_(1, 2);
/* A line to a run's log `scheduler` or `submission`. From any thread. */
void engine_note(const struct job *job, const char *log, const char *fmt, ...) _printf_(3, 4);

/* loop.c */
/* What mk_daemon_run() does with the lease held. */
int mk_engine_run(struct mk_call *call, struct mantik *m, const struct mk_daemon_options *options,
		  int (*beat)(struct mk_call *call, void *arg), void *arg) _must_check_;
/* Watches a descriptor for a job; NULL: one of the loop's own. */
int engine_poll_add(struct engine *e, int fd, struct job *job) _must_check_;
void engine_poll_remove(struct engine *e, int fd);
/* Hands a task to its lane; on failure it is run here. */
void engine_task_run(struct engine *e, struct task *task);

/* From a lane thread: the sender of a project is done. */
void engine_sent(struct engine *e, int64_t project_id, bool files);

/* outbox.c */
int outbox_look(struct engine *e) _must_check_;
struct mk_out_queue;
void outbox_done(struct engine *e, const struct mk_out_queue *queue);
int64_t outbox_clock(struct engine *e, bool *ret_busy);
bool outbox_idle(struct engine *e); /* nothing that mantikd would stay for */
void outbox_cancel(struct engine *e);
void outbox_free(struct engine *e);

/* job.c */
int job_make(struct engine *e, const struct mk_intent *intent, struct job **ret) _must_check_;
void job_free(struct engine *e, struct job *job);
/* Records a step of a job. When the database does not take it, it is tried again. */
int job_step(struct engine *e, struct job *job, enum mk_journal_step to,
	     struct mk_run_change *change) _must_check_;
/* Does what can be done for a job now. It may be gone afterwards. */
void engine_advance(struct engine *e, struct job *job);
void engine_task_done(struct engine *e, struct task *task);
struct task *task_new(enum task_kind kind, struct job *job);
void task_free(struct task *task);

/* submit.c */
/* Ends a run that no site has heard of. */
int submit_refuse(struct engine *e, int64_t run_id, enum mk_status status,
		  const char *reason) _must_check_;
/* All that a mantikd before us left unfinished. */
int submit_resume(struct engine *e) _must_check_;
/* News in the journal: cancels, cleans, and whose turn it is. */
int submit_look(struct engine *e) _must_check_;
bool submit_idle(struct engine *e); /* nothing in the journal that could ever be due */

/* watch.c */
/* From now on what the job writes is noticed. */
void watch_begin(struct engine *e, struct job *job);
void watch_end(struct engine *e, struct job *job);
void watch_events(struct engine *e);
/* Its files were looked at now. */
void watch_looked(struct job *job);

/* harvest.c */
/* Takes in what the job has logged by now. final: the job is over, so a last line is complete.
 * Returns 1 when there is more at once, 0, or an error of the database (try again). */
int harvest_pass(struct engine *e, struct job *job, bool final) _must_check_;
/* A file under MANTIK_RUN_DIR was closed after writing, or moved there: it is complete. */
void harvest_closed(struct job *job, const char *path);
void harvest_free(struct harvest *harvest);

/* store.c: an mlruns/ or mlflow.db the job made */
bool store_is_there(const struct job *job);
/* Takes in what was logged since; in a lane thread. What cannot be read now is read later. */
int store_harvest(struct mk_call *call, struct mantik *m, struct job *job) _must_check_;
/* Copies its artifacts into the directory `to`, counting the files. */
int store_copy(struct mk_call *call, const struct job *job, int to, int *files) _must_check_;
void store_free(struct store *store);

/* artifacts.c: copies what the plan's globs match; in a lane thread. Complete or not at all; what
 * could not be copied is a line of the submission log. */
int artifacts_collect(struct mk_call *call, const struct job *job) _must_check_;

#endif
