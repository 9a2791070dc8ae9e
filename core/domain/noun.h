/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What mkdir makes and a person calls by a name: projects, experiments, repositories. They are
 * found, made, renamed and removed alike; a table of statements says what is each one's own.
 */
#ifndef MK_NOUN_H
#define MK_NOUN_H

#include "core.h"

struct mk_noun {
	const char *what;      /* as in errors and mk_db_changed() */
	const char *find;      /* ?1 project (0: it is one), ?2 name */
	const char *get;       /* ?1 id */
	const char *make;      /* ?1 project, ?2 name, ?3 now; no row: there is no such project */
	const char *restore;   /* ?1 project, ?2 name: a deleted one comes back, a row: its id; or NULL */
	const char *rename;    /* ?1 id, ?2 name, ?3 now */
	const char *look;      /* ?1 id: whether something was put in since mkdir, project or 0 */
	const char *remove;    /* ?1 id */
	const char *not_empty; /* why one with something in it stays */
	bool in_tables;	       /* runs.tsv of the project shows its name */
	/* A row of find and get; the texts of *ret are its own. */
	void (*copy)(struct mk_stmt *stmt, void *ret);
	/* Renamed, or back: mk_db_changed() and whatever else shows the name, but for its project. */
	int (*renamed)(struct mk_call *call, struct mk_conn *conn, int64_t id);
};

/* Errors of all: as include/mantik/project.h says of the verb. */
int mk_noun_find(struct mk_call *call, struct mantik *m, const struct mk_noun *noun,
		 int64_t project_id, const char *name, void *ret) _must_check_;
int mk_noun_get(struct mk_call *call, struct mantik *m, const struct mk_noun *noun, int64_t id,
		void *ret) _must_check_;
/* Who makes one of the name of a deleted one gets that; what was in it stays deleted. */
int mk_noun_make(struct mk_call *call, struct mantik *m, const struct mk_noun *noun,
		 int64_t project_id, const char *name, int64_t *ret_id) _must_check_;
int mk_noun_remove(struct mk_call *call, struct mantik *m, const struct mk_noun *noun,
		   int64_t id) _must_check_;
int mk_noun_rename(struct mk_call *call, struct mantik *m, const struct mk_noun *noun, int64_t id,
		   const char *name) _must_check_;
/* mk_noun_make() inside a transaction. */
int mk_noun_insert(struct mk_call *call, struct mk_conn *conn, const struct mk_noun *noun,
		   int64_t project_id, const char *name, int64_t *ret_id) _must_check_;

#endif
