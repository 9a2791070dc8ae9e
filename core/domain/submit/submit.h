/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the rooms of a submission: prepare.c turns a text into runs that are complete and
 * checked, with the others' help (code.c, mlproject.c: what the runs of a spec share;
 * run.c, backend.c: each run), submit.c makes them durable. Nothing here is written
 * before the one transaction, but for what is harmless when unused: a pinned commit, a snapshot,
 * notes in the record of a run that was never made.
 */
#ifndef MK_SUBMIT_H
#define MK_SUBMIT_H

#include <mantik/code.h>
#include <mantik/project.h>
#include <mantik/run.h>

#include "core.h"
#include "format/backend.h"
#include "format/mlproject.h"
#include "format/spec.h"

/* Where a run's code comes from. repository_id 0: no code. */
struct code_source {
	char *key; /* what was asked for, to find it again */
	int64_t repository_id;
	char *repository; /* NULL: a snapshot */
	char *path;	  /* of a snapshot */
	char *branch;
	struct mk_oid oid;
	char commit[41];
	bool dirty;
	char *diff; /* of a dirty snapshot, or NULL */
	char *head; /* of its checkout, or NULL */
	bool asked; /* a remote or another disk was waited for */
};

/* A run ready to be made. */
struct new_run {
	char uid[33];
	char *name;
	char *experiment;
	char *site;
	char *account;
	char *queue;
	char *mlproject;
	char *entry_point;
	char *environment;
	const struct code_source *code; /* of the submission */
	struct mk_pairs params;
	int64_t *after;
	size_t n_after;
	char *waits_for; /* a sentence, NULL: nothing */
	char *spec;
	char *script;
	char *plan;
	struct mk_list notes;
	char *dir;  /* given in the transaction */
	int64_t id; /* likewise; 0: not made */
};

struct submission {
	struct mantik *m;
	int64_t project_id;
	const char *source;
	const struct mk_submit_options *options;
	struct mk_project project;
	struct code_source **codes;
	size_t n_codes;
	struct new_run *runs;
	size_t n_runs;
	size_t n_bytes; /* of all texts of the runs */
};

/* What the runs of one spec share. */
struct common {
	struct mk_spec spec;
	const struct code_source *code;
	char *mlproject; /* path in the repository, or NULL */
	struct mk_mlproject project;
	const struct mk_entry_point *entry;
	struct mk_list after; /* directories of the runs */
	int64_t *after_ids;
	char *waits_for;
	/* The backend config of the last site: the same for most runs of a sweep. */
	char *backend_key;
	char *backend_path; /* in the repository, or NULL */
	char *site;
	struct mk_backend backend;
};

void mk_submission_free(struct submission *s);
/* Reads and checks everything; fills runs. Errors as mk_submit(). */
int mk_submission_prepare(struct mk_call *call, struct submission *s, const char *text,
			  size_t len) _must_check_;
/* The code a spec asks for. *ret is owned by s. (code.c) */
int mk_submission_code(struct mk_call *call, struct submission *s, const struct mk_spec *spec,
		       const struct code_source **ret) _must_check_;
/* MLproject, entry point and environment into c. (mlproject.c) */
int mk_submission_mlproject(struct mk_call *call, struct submission *s,
			    struct common *c) _must_check_;
/* Run i of the spec's sweep. (run.c) */
int mk_submission_run(struct mk_call *call, struct submission *s, struct common *c, size_t i,
		      struct new_run *run) _must_check_;
/* Backend config and site of a run into c; `site` is the sweep's, or NULL. (backend.c) */
int mk_submission_backend(struct mk_call *call, struct submission *s, struct common *c,
			  const struct mk_pairs *values, const struct mk_doc *site) _must_check_;
/* A path below the repository's top without `./`; EINVAL for one that leads out of it. */
int mk_submission_path(struct mk_call *call, const struct submission *s, const struct mk_doc *at,
		       const char *what, const char *path, char **ret) _must_check_;
/* The folder of a path in a repository, "" = top; a name in such a folder. Owned by the caller. */
char *mk_path_dir(const char *path);
char *mk_path_beside(const char *dir, const char *name);
/* Blames an error on a value of the text: `runs/new:4: …`. What is not there (ENOENT, EEXIST of an
 * ambiguous name) is a mistake of the text: EINVAL. at NULL: only the latter. */
int mk_submission_blame(struct mk_call *call, const struct mk_doc *at, int r);
/* `a, b, c`, of long lists the first and how many more. */
void mk_list_words(struct mk_buf *buf, const struct mk_list *list);

#endif
