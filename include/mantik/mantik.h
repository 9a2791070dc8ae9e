/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The platform of one user: the database, the mirrors and the records of runs, opened by each of
 * our programs (mantikfs, mantikctl, mantikd). They meet in the database; none talks to another
 * except for mantik_poke().
 *
 *   <data>/mantik.db            everything durable and ours
 *   <data>/lease                who holds the work: host, boot, pid, start, heartbeat
 *   <data>/runs/<uid>/          a run's record: stdout stderr scheduler submission state artifacts/
 *   <data>/models/<m-...>/      files of logged models; <data>/incoming/ is empty between uploads
 *   <data>/git/<repository>.git bare mirrors
 *   <work>/<uid>/               working directories of local jobs (default <data>/work)
 *   <cache>/                    may be deleted at any time
 *   <run>/                      sockets and locks, $XDG_RUNTIME_DIR/mantik/<8 hex of the data
 *                               directory>: two platforms of one user do not meet
 */
#ifndef MANTIK_MANTIK_H
#define MANTIK_MANTIK_H

#include <stdbool.h>
#include <stdint.h>

#include <mantik/buf.h>
#include <mantik/call.h>

#define MANTIK_VERSION "0.1.0"

struct mantik;

struct mantik_options {
	const char *data_dir;	/* NULL: config, else $MANTIK_DATA_DIR, else $XDG_DATA_HOME/mantik */
	const char *cache_dir;	/* NULL: config, else $MANTIK_CACHE_DIR, else $XDG_CACHE_HOME/mantik */
	const char *config_dir; /* NULL: $MANTIK_CONFIG_DIR, else $XDG_CONFIG_HOME/mantik */
	bool read_only;		/* writes fail with EROFS */
	bool no_daemon;		/* never start mantikd (tests, mantikd itself) */
};

/*
 * What a program of ours does first, before there are threads: it leaves no core file and lets
 * nobody trace it, since secrets pass through its memory. The limits it changes are given back to
 * jobs. mantik_protect_environment() also takes MLFLOW_TRACKING_PASSWORD and _TOKEN out of the
 * environment, where /proc would show them and children inherit them; mk_connection_tracking()
 * still finds them.
 */
void mantik_protect(void);
void mantik_protect_environment(void);

/*
 * Opens (and creates, mode 0700) the platform. Blocks on local disk only. A database with an older
 * schema is brought to this program's, a copy of it is kept as mantik.db.schema<N>.
 * EROFS   the database cannot be written and read_only was not asked for
 * EBUSY   another host holds the lease: the platform is opened for reading, *ret is set and the
 *         text says `in use on login02 since …`; every write then fails with EROFS and that text
 *         (*ret not set: the database has an older schema and an older mantikd works on it)
 * EPROTO  the database has a newer schema than this program
 * EUCLEAN the database is damaged: the file is kept, the text says how to go on
 * EXDEV   a directory lies inside a mantikfs mount of ours
 */
int mantik_open(struct mk_call *call, const struct mantik_options *options,
		struct mantik **ret) _must_check_;
void mantik_close(struct mantik *m);
static inline void mantik_closep(struct mantik **m)
{
	mantik_close(*m);
	*m = NULL;
}

const char *mantik_data_dir(const struct mantik *m);
const char *mantik_cache_dir(const struct mantik *m);
const char *mantik_config_dir(const struct mantik *m);
const char *mantik_run_dir(const struct mantik *m);
const char *mantik_work_dir(const struct mantik *m);
bool mantik_read_only(const struct mantik *m);
/* NULL, or why it is read-only: `in use on login02 since …`. */
const char *mantik_read_only_why(const struct mantik *m);

/* Who does the platform's work: `in use by process 42 of this machine since …`; "" = nobody. */
int mantik_holder(struct mk_call *call, const struct mantik *m, struct mk_buf *ret) _must_check_;
/* Ends the lease of another host that has been silent for two minutes, so that the platform can be
 * opened for writing here. EBUSY: it is alive. */
int mantik_takeover(struct mk_call *call, struct mantik *m) _must_check_;
/* Writes the whole database as one consistent state to a new file while others read and write it.
 * EEXIST; EXDEV: in a mantikfs mount. */
int mantik_backup(struct mk_call *call, struct mantik *m, const char *path) _must_check_;

/* An option of the configuration (or its default). The table of options is in
 * core/base/options.c; asking for a key it does not have is a bug (assert). */
int64_t mantik_option_int(const struct mantik *m, const char *key);
/* Durations are "3s", "500ms", "2m", "1h" or a number of seconds; result in ns. */
int64_t mantik_option_duration(const struct mantik *m, const char *key);

/*
 * A number that changes whenever anybody (this process or another) has committed a change to the
 * database. Cheap (no I/O beyond a shared page), never waits. Used to re-run parked operations.
 */
uint64_t mantik_generation(struct mantik *m);

/* Tells mantikd that there is work, starting it detached if it does not run (unless no_daemon).
 * Never waits for it to do anything; failing to start it is an error with a text (EIO). */
int mantik_poke(struct mk_call *call, struct mantik *m);

/*
 * Whoever looks at a run that has not ended keeps it going: starts mantikd anew when it was killed.
 * At most every MK_KEEP, else free; never waits (a thread starts it, which mantik_close() waits
 * for); has no errors: the next look tries again.
 */
#define MK_KEEP (2 * MK_SEC)
void mantik_keep(struct mantik *m);

/* Value for st_ino: 64-bit FNV-1a of a durable identity; never 0 or 1. */
uint64_t mk_ino(const char *identity, size_t len);

/* 2026-11-21T12:00:00Z (ms: …00.123Z) into out[32]; 0 ns gives "". */
void mk_time_text(int64_t ns, bool ms, char out[32]);

/* Shortest decimal text that reads back as the same double; nan, inf, -inf. Gives its length. */
size_t mk_double_put(double value, char out[32]);

#endif
