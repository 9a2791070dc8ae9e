/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a site's connector must offer, and the manual of it. A connector is a `static const struct
 * mk_compute` in a file of its own below core/connect, listed in connect/registry.c; it knows one
 * kind of scheduler and nothing of runs, projects or the database. The engine (core/engine) is the
 * only caller.
 *
 *       mk_job_order           key                      reference
 *   ---- submit ------------------------> site -------------------> status … cancel … files
 *                    <-- find(key): after a crash, has the site got it already? --
 *
 * The one rule that matters: a job is never started twice. `key` (the run's uid) travels with the
 * job, and find(key) tells whether the site knows it: only on its ENOENT a submit that was cut off
 * is repeated.
 *
 * Threads: stage, submit, cancel and clean are called in a thread of the site's lane, which may
 * wait for it, find as well before a submit; status, watch, finish and the find after a status()
 * that knew nothing in the engine's own, which must not wait for anything but a local disk; check,
 * list and queues in the thread of whoever asks. Several threads may be inside one site at a time.
 * watch and finish may be NULL, and check.
 *
 * Errors are passed with mk_fail. The engine tells these kinds apart:
 *   EHOSTUNREACH, ETIMEDOUT, EBUSY, ENOKEY, EKEYEXPIRED   the site is away, full or not logged in:
 *                          the run waits as SCHEDULED with this sentence and is tried again
 *   EINTR                  the call was cancelled; nothing is known about the effect
 *   anything else          the site refused: the run is FAILED with this sentence
 */
#ifndef MANTIK_CONNECTOR_H
#define MANTIK_CONNECTOR_H

#include <mantik/mantik.h>
#include <mantik/run.h>

struct mk_plan; /* core/format/plan.h */
struct mk_site; /* one configured site: its connector and what that keeps */

struct mk_compute_caps {
	const char *kind; /* "local", "slurm" …: the word in site.yaml */
	bool has_slots;	  /* no queue of its own: the engine keeps to site->slots jobs at once */
	int poll_ms;		  /* between two status() of a site that has no watch() */
	bool runs_here;		  /* jobs run on this machine: workdirs are real paths here */
};

/* What is to be run. All owned by the caller, valid during the call. */
struct mk_job_order {
	const char *key;	/* uid of the run: once and for ever this one job */
	int64_t run_id;
	const char *name;	/* for the scheduler's listing */
	const struct mk_plan *plan;
	const char *record;	/* absolute: <data>/runs/<uid>, exists */
	const char *workdir;	/* absolute path of the working directory on the site */
	/* Tells a person what is going on: a line of the submission log. From any thread. */
	void (*note)(void *arg, const char *line);
	void *note_arg;
};

/* What a site says about a job. Texts are owned by the receiver (mk_job_free). */
struct mk_job {
	char *id;	      /* the site's own name of it */
	enum mk_status status;
	char *raw_status;     /* the scheduler's word */
	char *reason;	      /* one line, or NULL */
	char *queue, *nodes;
	int exit_code;	      /* -1 none */
	int signal;	      /* 0 none */
	int64_t submitted;    /* ns realtime, 0 unknown; also below */
	int64_t started;
	int64_t ended;
	bool cancelled;	      /* ended because cancel() asked */
};
void mk_job_free(struct mk_job *job);

struct mk_queue {
	const char *name;
	int64_t slots;	       /* 0 unknown */
	int64_t used;
	int64_t waiting;
	int64_t runtime_limit; /* s, 0 none */
};
typedef int mk_queue_emit(void *arg, const struct mk_queue *queue);
typedef int mk_job_emit(void *arg, const char *key, const struct mk_job *job);

struct mk_compute {
	struct mk_compute_caps caps;

	/* Would this site take it? Asked at submission, without effects, and again before staging:
	 * unknown queue, an environment tool that is not installed. EINVAL/ENOENT with a sentence.
	 * Must not wait. */
	int (*check)(struct mk_call *call, struct mk_site *site, const struct mk_plan *plan);

	/* Makes the working directory with code and script. Repeating it after any interruption
	 * gives the same result: what is there from an attempt before is thrown away. Never called
	 * once submit() may have happened. */
	int (*stage)(struct mk_call *call, struct mk_site *site, const struct mk_job_order *order);

	/* Hands the staged job over. ret_id: the site's name of it. EEXIST: it has this key
	 * already (the engine then calls find). */
	int (*submit)(struct mk_call *call, struct mk_site *site, const struct mk_job_order *order,
		      char **ret_id);

	/* The job with this key. ENOENT: the site has none and will have none, whatever was
	 * submitted before. A site whose listing lags answers EBUSY until it knows. */
	int (*find)(struct mk_call *call, struct mk_site *site, const char *key,
		    struct mk_job *ret);

	/* One round trip for n jobs; ids[i] as submit gave them, keys beside. ret[i].status is
	 * MK_UNKNOWN where the site no longer knows it. */
	int (*status)(struct mk_call *call, struct mk_site *site, const char *const *ids,
		      const char *const *keys, size_t n, struct mk_job *ret);

	/* Optional, local sites: a descriptor that becomes readable when status() may have changed
	 * for good (the job's keeper ended). Owned by the caller. ESRCH: it is over already. */
	int (*watch)(struct mk_call *call, struct mk_site *site, const char *id, const char *key);

	/* Asks the site to end the job; the end is seen by status(). ESRCH: it has ended. */
	int (*cancel)(struct mk_call *call, struct mk_site *site, const char *id, const char *key);

	/* The job is over and its status recorded: what the site need not keep (marks, cgroups) may
	 * go. The working directory stays. */
	void (*finish)(struct mk_site *site, const char *id, const char *key);

	/* Removes the working directory, never anything outside of it. */
	int (*clean)(struct mk_call *call, struct mk_site *site, const char *key,
		     const char *workdir);

	int (*list)(struct mk_call *call, struct mk_site *site, mk_job_emit *emit, void *arg);
	int (*queues)(struct mk_call *call, struct mk_site *site, mk_queue_emit *emit, void *arg);
};

#endif
