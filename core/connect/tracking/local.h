/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the stores without a server have in common (filestore, sqlstore): what they hold is foreign
 * and may be hostile, and their artifacts are directories of this machine.
 *
 * Nothing of a store is ever opened for writing. What lies in it is opened below the folder it
 * belongs to (openat2, RESOLVE_BENEATH): no link leads out of it, and no mount is crossed, so that
 * nobody waits for a mantikfs of ours. The one way out is a run's artifact_uri: followed only to a
 * directory that is named as MLflow names it, <run id>/artifacts, and not through a mount of ours.
 *
 * What is refused (broken, hostile) is left out with a sentence, and the rest is shown: the
 * sentence stands in .mantik/errors, once for each thing and process, and the last one as last_error
 * in .mantik/connections/<name>.
 */
#ifndef MK_LOCAL_H
#define MK_LOCAL_H

#include <stdarg.h>

#include <sys/stat.h>

#include "base/arena.h"
#include "connect/tracking/tracking.h"

/* Who is told what is left out, instead of .mantik/errors, when the store is no connection's. */
typedef void mk_local_told(void *arg, const char *text);

struct mk_refused;
struct mk_local {
	struct mantik *m;
	char *connection;
	char *path;	 /* of the folder, or of the database: absolute, as the url says it */
	char *folder;	 /* the folder, or the one the database is in */
	char *workspace; /* of a database; NULL: the default one */
	mk_local_told *told;	    /* NULL: a connection's */
	void *told_arg;
	pthread_mutex_t lock;	    /* protects refused */
	struct mk_refused *refused; /* told already */
	size_t n_refused;
};

/* Opens nothing. ENOENT no such connection. */
int mk_local_init(struct mk_call *call, struct mk_local *local, struct mantik *m,
		  const char *connection) _must_check_;
/* A store at an absolute path that is no connection's. */
void mk_local_init_at(struct mk_local *local, struct mantik *m, const char *path, bool is_file,
		      mk_local_told *told, void *arg);
void mk_local_done(struct mk_local *local);
/* Such stores, opened: for mk_tracking_filestore and mk_tracking_sqlstore. */
struct mk_tracking *mk_filestore_at(struct mantik *m, const char *path, mk_local_told *told,
				    void *arg);
struct mk_tracking *mk_sqlstore_at(struct mantik *m, const char *path, mk_local_told *told,
				   void *arg);

/*
 * The folder of the store, or the one the database is in, for openat2 below it. EHOSTUNREACH when
 * it is not there (it was unmounted, moved): never ENOENT, which would mean that a run is gone.
 */
int mk_local_root(struct mk_call *call, const struct mk_local *local, int *ret) _must_check_;

/* A descriptor below dir, or a negative errno: -EXDEV it leads out or is a mount; -ELOOP it is a link
 * (flags with O_NOFOLLOW: no link anywhere in the path). */
int mk_local_open(int dir, const char *path, int flags) _must_check_;

/* Says, once, why something is not shown. what: where in the store. */
void mk_local_refuse(struct mk_local *local, const char *what, const char *fmt, ...)
	_printf_(3, 4);

/* What came of an operation, for .mantik/connections/<name>. Gives r back. */
int mk_local_note(struct mk_call *call, struct mk_local *local, int r, int64_t began);

/* [A-Za-z0-9][A-Za-z0-9_-]{0,255}, as the ids of experiments, runs and logged models are. */
bool mk_local_is_id(const char *text);
/* Milliseconds since 1970 as ns, within what that can say; 0 none. */
int64_t mk_local_time(int64_t ms);
/* A text without NUL, what is no UTF-8 replaced (U+FFFD). NULL: out of memory. */
const char *mk_local_text(struct mk_arena *arena, const char *text, size_t len);

/* --- files (local_files.c) ------------------------------------------------------------------- */

/* Where artifacts are, as a store says it. All borrowed. */
struct mk_local_place {
	const char *uri;      /* artifact_uri, artifact_location */
	const char *id;	      /* whose: the uri ends in <id>/artifacts */
	int inside_dir;	      /* where they are when the uri leads nowhere on this machine (the store */
	const char *inside;   /* was copied): below this descriptor; NULL: not known */
	const char *prefix;   /* begin there, "" for all */
	const char *label;    /* for errors: "run 3f…" */
};
/* As in tracking.h. */
int mk_local_files(struct mk_call *call, struct mk_local *local, const struct mk_local_place *place,
		   const char *path, mk_t_file_emit *emit, void *arg) _must_check_;
int mk_local_read(struct mk_call *call, struct mk_local *local, const struct mk_local_place *place,
		  const char *path, int64_t offset, int64_t len, char **etag,
		  int (*sink)(void *arg, const void *data, size_t len), void *arg,
		  int64_t *ret_total) _must_check_;

/*
 * Whose files a model version's source names: runs:/<id>/path, models:/<id>, or a path with
 * <run id>/artifacts or models/<model id>/artifacts in it. EOPNOTSUPP with a sentence.
 */
struct mk_local_source {
	bool is_model;
	char *id, *prefix; /* owned */
};
int mk_local_source(struct mk_call *call, const struct mk_local *local, const char *source,
		    const char *run_id, struct mk_local_source *ret) _must_check_;
void mk_local_source_free(struct mk_local_source *source);

#endif
