/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An mlruns/ folder, as MLflow 1.30 to 3.x writes it, read while it is written:
 *
 *	mlruns/<experiment>/meta.yaml  tags/<key>  datasets/<id>/meta.yaml
 *	       <experiment>/<run>/meta.yaml  metrics/<key>  params/<key>  tags/<key>  artifacts/
 *	                          inputs/<id>/meta.yaml  outputs/<model>/meta.yaml
 *	       <experiment>/models/<model>/meta.yaml  params/  tags/  artifacts/
 *	       .trash/<experiment>/…    deleted ones          models/<registered>/…
 *
 * Nothing locks there. A meta.yaml is complete when it ends with a line and holds the key that is
 * written last (MLflow sorts them); else it is waited for a moment, and what it said before stays
 * true. A line of a metric is a point once it has its newline.
 *
 *	store.c    opening, what is remembered of files      meta.c     one meta.yaml
 *	keys.c     params and tags: a file is a value        metrics.c  points
 *	runs.c     experiments and runs                      models.c   models, files of all
 */
#ifndef MK_FILESTORE_H
#define MK_FILESTORE_H

#include "base/doc.h"
#include "connect/tracking/local.h"

struct mk_tracking {
	struct mk_local local; /* first */
	pthread_mutex_t lock;  /* protects seen */
	void *seen;	       /* tsearch(3) of struct mk_fs_seen, by path */
	size_t n_seen;
};

/* What is remembered of a file or a run, by its path in the store. */
struct mk_fs_seen {
	char *path;
	/* A metric: the point with the highest step so far, up to `offset`. */
	struct mk_point last;
	bool has_last;
	int64_t offset;
	uint64_t inode;
	char tail[24]; /* the bytes before offset: is it still the same file? */
	/* A run: as it was when it was given last. */
	uint64_t signature;
	/* A meta.yaml: its text when it was complete, and of which version of the file. */
	char *text;
	size_t len;
	int64_t mtime, size;
};
/* Calls fn with what is remembered of a path (zeroes the first time), alone. */
void mk_fs_seen(struct mk_tracking *t, const char *path,
		void (*fn)(struct mk_fs_seen *seen, void *arg), void *arg);

/* --- meta.c ---------------------------------------------------------------------------------- */

/*
 * dir/path, whose complete form has the key `last`. where: for sentences. 1 the document, 0 there is
 * none or it is refused (told), -EBUSY it is being written and was never seen complete.
 */
int mk_fs_meta(struct mk_call *call, struct mk_tracking *t, int dir, const char *path,
	       const char *where, const char *last, struct mk_doc **ret) _must_check_;
/* "" when there is none; a number is its digits. */
const char *mk_fs_text(const struct mk_doc *meta, const char *key);
int64_t mk_fs_ms(const struct mk_doc *meta, const char *key); /* as ns */

/* --- keys.c ---------------------------------------------------------------------------------- */

/* Each regular file below dir/name, sorted by path, `a/b` too. emit: a negative result ends it. */
typedef int mk_fs_file(void *arg, int dir, const char *path);
int mk_fs_walk(struct mk_call *call, struct mk_tracking *t, int dir, const char *name,
	       const char *where, mk_fs_file *emit, void *arg) _must_check_;
/* Names of directories in dir/name, sorted; links and what begins with a dot left out. */
int mk_fs_dirs(struct mk_call *call, struct mk_tracking *t, int dir, const char *name,
	       struct mk_list *ret) _must_check_;
/* The files below dir/name as keys and values. where: of the folder, for sentences. */
int mk_fs_pairs(struct mk_call *call, struct mk_tracking *t, int dir, const char *name,
		const char *where, struct mk_arena *arena, struct mk_t_pair **ret,
		size_t *ret_n) _must_check_;

/* --- metrics.c ------------------------------------------------------------------------------- */

/* A line without its newline. false: it is none. */
bool mk_fs_point(const char *line, size_t len, struct mk_point *ret);
/* The last point of each metric below dir/metrics. where: of the run. */
int mk_fs_metrics(struct mk_call *call, struct mk_tracking *t, int dir, const char *where,
		  struct mk_arena *arena, struct mk_t_metric **ret, size_t *ret_n) _must_check_;
int mk_fs_history(struct mk_call *call, struct mk_tracking *t, const char *run_id,
		  const char *key, char **token, struct mk_point **points, size_t *n) _must_check_;
int mk_fs_tail(struct mk_call *call, struct mk_tracking *t, const char *run_id, const char *key,
	       int64_t known, const struct mk_point *last, struct mk_point **points,
	       size_t *n) _must_check_;

/* --- runs.c ---------------------------------------------------------------------------------- */

int mk_fs_experiments(struct mk_call *call, struct mk_tracking *t, char **token,
		      mk_t_experiment_emit *emit, void *arg) _must_check_;
int mk_fs_runs(struct mk_call *call, struct mk_tracking *t, const struct mk_t_query *query,
	       char **token, mk_t_run_emit *emit, void *arg) _must_check_;
int mk_fs_run(struct mk_call *call, struct mk_tracking *t, const char *id, mk_t_run_emit *emit,
	      void *arg) _must_check_;
/* The folder of a run, "123/<id>" or ".trash/123/<id>"; kind "": runs, "models/": logged models.
 * ENOENT. */
int mk_fs_find(struct mk_call *call, struct mk_tracking *t, int root, const char *kind,
	       const char *id, char **ret) _must_check_;

/* --- models.c -------------------------------------------------------------------------------- */

int mk_fs_models(struct mk_call *call, struct mk_tracking *t, char **token,
		 mk_t_model_emit *emit, void *arg) _must_check_;
int mk_fs_versions(struct mk_call *call, struct mk_tracking *t, const char *model, char **token,
		   mk_t_version_emit *emit, void *arg) _must_check_;
int mk_fs_logged(struct mk_call *call, struct mk_tracking *t, const char *id,
		 mk_t_logged_emit *emit, void *arg) _must_check_;
int mk_fs_files(struct mk_call *call, struct mk_tracking *t, const struct mk_t_place *place,
		const char *path, char **token, mk_t_file_emit *emit, void *arg) _must_check_;
int mk_fs_read(struct mk_call *call, struct mk_tracking *t, const struct mk_t_place *place,
	       const char *path, int64_t offset, int64_t len, char **etag,
	       int (*sink)(void *arg, const void *data, size_t len), void *arg,
	       int64_t *ret_total) _must_check_;

#endif
