/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the nouns of core/domain share with each other and with the engine: the same verbs inside a
 * writing transaction (they take the writer's conn), and the rules every change keeps.
 */
#ifndef MK_DOMAIN_H
#define MK_DOMAIN_H

#include "core.h"

/* mk_db_write, refused with EROFS and the reason when the platform is open for reading only. */
int mk_domain_write(struct mk_call *call, struct mantik *m, enum mk_durable durable, mk_db_fn *fn,
		    void *arg) _must_check_;

/* Name of a project, experiment or repository: `what` names the noun in the error. EINVAL. */
int mk_domain_name(struct mk_call *call, const char *what, const char *name) _must_check_;

/* The user of this process (login name, else the number): what runs.user holds. Never waits for
 * a name service again after the first call. */
const char *mk_domain_user(void);
/* A new run's id: 32 hex digits. */
int mk_domain_uid(struct mk_call *call, char out[33]) _must_check_;
/* `ana@login01 (pid 123)` of the asker. */
char *mk_domain_who(const struct mk_call *call);

/*
 * After every change of a run's row, params, tags (or of what it logged: `logged`, which leaves
 * its generation alone): its `changed`, the generation of the tables it stands in, the row in
 * `changes`. Engine and verbs call it as the last statement of their transaction.
 *
 * runs_generation is a time in ns that only grows (a later change in the same instant adds 1), so
 * that it also dates the tables.
 */
enum mk_touch { MK_TOUCH_ROW, MK_TOUCH_LOGGED };
int mk_run_touch(struct mk_call *call, struct mk_conn *conn, int64_t run_id,
		 enum mk_touch touch) _must_check_;
/* A run, experiment or repository came, went or was renamed. `tables`: runs.tsv shows it. */
int mk_project_touch(struct mk_call *call, struct mk_conn *conn, int64_t id,
		     bool tables) _must_check_;
int mk_experiment_touch(struct mk_call *call, struct mk_conn *conn, int64_t id,
			bool tables) _must_check_;

/* The project of this name, made if missing. EEXIST: it is a tracking store's. */
int mk_project_ensure(struct mk_call *call, struct mk_conn *conn, const char *name,
		      int64_t *ret_id) _must_check_;
/* The experiment of this name, made if missing (a spec's `experiment:`); a deleted one comes back. */
int mk_experiment_ensure(struct mk_call *call, struct mk_conn *conn, int64_t project_id,
			 const char *name, int64_t *ret_id) _must_check_;

/* A tag of it; value: NULL takes it away (mk_rows_changed() tells whether it was there). The goal of its
 * leaderboard follows by mk_goal_follow_tags(). */
int mk_experiment_tag_set(struct mk_call *call, struct mk_conn *conn, int64_t id, const char *key,
			  const char *value) _must_check_;

/* A name in runs/ nobody has: more digits of the uid until it is free. *dir is replaced. */
int mk_run_choose_dir(struct mk_call *call, struct mk_conn *conn, int64_t project_id,
		      const char *name, const char *uid, char **dir) _must_check_;

/* Everything that is kept of a run, but for files; whether it may go is for who calls. */
int mk_run_remove_rows(struct mk_call *call, struct mk_conn *conn, int64_t id) _must_check_;

/* mk_run_get through a given connection. */
struct mk_run;
int mk_run_get_in(struct mk_call *call, struct mk_conn *conn, int64_t id,
		  struct mk_run *ret) _must_check_;

/* mk_error_record() inside a transaction; the path is one of ours. */
int mk_error_put(struct mk_call *call, struct mk_conn *conn, const char *path,
		 const struct mk_error *error) _must_check_;

/* Runs sql with one or two ids bound as ?1 and ?2. */
int mk_domain_run(struct mk_call *call, struct mk_conn *conn, const char *sql, int64_t a,
		  int64_t b) _must_check_;
/* The row that sql finds for id (?1); *ret stands on it: 1, or 0 there is none. */
int mk_domain_row(struct mk_call *call, struct mk_conn *conn, const char *sql, int64_t id,
		  struct mk_stmt **ret) _must_check_;
/* The same where there has to be one: 0, or ENOENT, `<what> <id>: there is none`. */
int mk_domain_need(struct mk_call *call, struct mk_conn *conn, const char *sql, const char *what,
		   int64_t id, struct mk_stmt **ret) _must_check_;
/* The same by this thread's reader. */
int mk_domain_read(struct mk_call *call, struct mantik *m, const char *sql, const char *what,
		   int64_t id, struct mk_stmt **ret) _must_check_;
/* The first column of the first row for up to two ids: 1 found, 0 no row. */
int mk_domain_int(struct mk_call *call, struct mk_conn *conn, const char *sql, int64_t a, int64_t b,
		  int64_t *ret) _must_check_;

#endif
