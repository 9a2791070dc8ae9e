/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The local site: jobs of this machine. A job's record directory <data>/runs/<uid>/ is all that
 * mantikd and the job's shepherd share:
 *
 *	launch	  what to run: written by mantikd, read by the shepherd
 *	claim	  taken by the one shepherd of the run (made whole by link(2), so exactly one)
 *	started	  taken by the job's process right before exec: without it nothing ever ran
 *	cancel	  left by mantikd before it signals the shepherd
 *	state	  how far it is; replaced atomically by the shepherd
 *	stdout stderr
 */
#ifndef MK_LOCAL_H
#define MK_LOCAL_H

#include <signal.h>

#include <mantik/daemon.h>

#include "connect/connect.h"
#include "format/plan.h"

/* A process for good: its id may be used again, together with its start it may not. */
struct mk_process {
	pid_t pid;
	uint64_t start; /* clock ticks since boot, field 22 of /proc/PID/stat */
};

enum mk_phase {
	MK_PHASE_CLAIMED, /* a shepherd has it */
	MK_PHASE_RUNNING, /* the job's process exists */
	MK_PHASE_ENDED,	  /* nothing of it is left */
};
enum mk_cause {
	MK_CAUSE_EXIT,	  /* by itself */
	MK_CAUSE_CANCEL,
	MK_CAUSE_RUNTIME, /* the limit of the spec */
	MK_CAUSE_STOPPED, /* the shepherd was told to stop by somebody else: logout, shutdown */
	MK_CAUSE_EXEC,	  /* could not be started; text says why */
};

struct mk_state {
	enum mk_phase phase;
	char *host;
	char *boot_id;
	struct mk_process shepherd;
	struct mk_process job; /* leader; pid 0 before RUNNING */
	int64_t started;       /* ns realtime */
	int64_t ended;
	enum mk_cause cause;
	int exit_code; /* -1 none */
	int signal;
	char *text; /* with MK_CAUSE_EXEC */
	char *cgroup; /* absolute path or NULL */
};
void mk_state_free(struct mk_state *state);
#define _cleanup_state_ _cleanup_(mk_state_free)
/* Writes <dirfd>/<name> atomically. */
int mk_state_write(struct mk_call *call, int dirfd, const char *name, const struct mk_state *state,
		   bool sync) _must_check_;
/* ENOENT: none yet (or cut off by a power loss). EINVAL: damaged. */
int mk_state_read(struct mk_call *call, int dirfd, const char *name,
		  struct mk_state *ret) _must_check_;

/* This machine's name and boot. Tests may stand in another boot id by MK_BOOT_ID_FILE. */
char *mk_local_host(void);
char *mk_local_boot(void);

/* --- processes (process.c) --- */
/* Start of a process, 0 when it does not exist (or is a zombie). */
uint64_t mk_process_start(pid_t pid);
bool mk_process_alive(const struct mk_process *process);
/* Sends a signal to exactly this process. ESRCH when it is gone. */
int mk_process_signal(const struct mk_process *process, int sig);
/* A pidfd of exactly this process, or -ESRCH. */
int mk_process_fd(const struct mk_process *process);
/*
 * Signals every process of a run: descendants of `root` (the shepherd itself, a subreaper, so that
 * nobody escapes by double fork or setsid; 0 = none) and processes whose environment holds
 * MANTIK_RUN_ID=<uid> (NULL = do not look). Never init, itself, or a process of another user; nor a
 * mantikd or shepherd that the job's own mantikctl started, with all below it: they work for the
 * user, not for the run. `leader`: the job's first process, which until exec looks like one.
 * Returns how many there were. sig 0 only counts.
 */
int mk_process_signal_all(pid_t root, pid_t leader, const char *uid, int sig);
/* Below root there are such mantikds and nothing else. */
bool mk_process_only_daemons(pid_t root, pid_t leader);

/* --- the job's environment (environment.c) --- */
/* All of it, nothing inherited: the table in environment.c, then the plan's variables. */
int mk_environment(struct mk_call *call, struct mk_site *site, const struct mk_job_order *order,
		   const char *cwd, struct mk_pairs *ret) _must_check_;

/* --- python_env.yaml and conda.yaml (venv.c) --- */
/* Builds (once, for all runs with the same file) or finds the environment and sets PATH and the
 * like in `env`. A failed build is EREMOTEIO with the tool's last words. Cancellable. */
int mk_venv_prepare(struct mk_call *call, struct mk_site *site, const struct mk_job_order *order,
		    struct mk_pairs *env) _must_check_;
/* Is what the plan needs installed? Never waits. */
int mk_venv_check(struct mk_call *call, const struct mk_plan *plan) _must_check_;

/* --- staging (stage.c) --- */
int mk_local_stage(struct mk_call *call, struct mk_site *site,
		   const struct mk_job_order *order) _must_check_;
int mk_local_clean(struct mk_call *call, struct mk_site *site, const char *key,
		   const char *workdir) _must_check_;

/* --- the queue (queue.c) --- */
int mk_local_queues(struct mk_call *call, struct mk_site *site, mk_queue_emit *emit,
		    void *arg) _must_check_;
int mk_local_list(struct mk_call *call, struct mk_site *site, mk_job_emit *emit,
		  void *arg) _must_check_;


#endif
