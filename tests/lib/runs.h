/* SPDX-License-Identifier: Apache-2.0 */
/* Runs put straight into the database, as a submission would have left them. */
#ifndef TEST_RUNS_H
#define TEST_RUNS_H

#include <stdio.h>

#include "db/db.h"
#include "domain/domain.h"
#include "platform.h"

struct made_run {
	int64_t project_id;
	const char *experiment;
	const char *name;
	enum mk_status status;
	int n;		 /* how many, NAME-0 … ; 0: one called NAME */
	const char *uid; /* NULL: made up */
	const char *job_id;
	int64_t id; /* of the last one */
};

static inline int made_run_insert(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	static int serial;
	struct made_run *a = arg;
	int64_t experiment, now = mk_now_real();
	int r = mk_experiment_ensure(call, conn, a->project_id, a->experiment, &experiment);

	for (int i = 0; r == 0 && i < (a->n ? a->n : 1); i++) {
		_cleanup_stmt_ struct mk_stmt *stmt = NULL, *text = NULL;
		char uid[33], name[64], dir[128];

		serial++;
		snprintf(uid, sizeof(uid), "%08x%024x", 0x1000000 + serial * 17, serial);
		snprintf(name, sizeof(name), a->n ? "%s-%d" : "%s", a->name, i);
		snprintf(dir, sizeof(dir), "%s.%.8s", name, a->uid ? a->uid : uid);
		r = mk_prepare(
			call, conn,
			"INSERT INTO runs (uid, project_id, experiment_id, name, dir, status,"
			" site, job_id, submitted, started, ended, changed, user, spec_len,"
			" exit_code) VALUES"
			" (?, ?, ?, ?, ?, ?, 'local', ?, ?, ?, ?, ?, ?, 5, ?)",
			&stmt);
		if (r < 0)
			break;
		mk_bind_text(stmt, 1, a->uid ? a->uid : uid);
		mk_bind_int(stmt, 2, a->project_id);
		mk_bind_int(stmt, 3, experiment);
		mk_bind_text(stmt, 4, name);
		mk_bind_text(stmt, 5, dir);
		mk_bind_int(stmt, 6, a->status);
		mk_bind_text(stmt, 7, a->job_id);
		mk_bind_int(stmt, 8, now);
		if (a->status >= MK_RUNNING)
			mk_bind_int(stmt, 9, now + 2 * MK_SEC);
		if (mk_status_final(a->status)) {
			mk_bind_int(stmt, 10, now + 5 * MK_SEC + 500 * MK_MS);
			mk_bind_int(stmt, 13, a->status == MK_FINISHED ? 0 : 1);
		}
		mk_bind_int(stmt, 11, now);
		mk_bind_text(stmt, 12, mk_domain_user());
		r = mk_exec(call, stmt);
		if (r < 0)
			break;
		a->id = mk_last_id(conn);
		r = mk_prepare(call, conn,
			       "INSERT INTO run_texts (run_id, spec, plan)"
			       " VALUES (?, 'a: 1\n', '{}')",
			       &text);
		if (r < 0)
			break;
		mk_bind_int(text, 1, a->id);
		r = mk_exec(call, text);
	}
	return r < 0 ? r : mk_project_touch(call, conn, a->project_id, true);
}

/* The id of the (last) run, 0 when it did not work. */
static inline int64_t make_runs(struct platform *p, struct made_run a)
{
	int r = mk_db_write(&p->call, p->m->db, MK_KILLSAFE, made_run_insert, &a);

	if (r < 0)
		printf("# making a run: %s\n", p->call.error.text);
	return r < 0 ? 0 : a.id;
}

static inline int64_t make_project(struct platform *p, const char *name)
{
	int64_t id = 0;

	CHECK_INT(mk_project_make(&p->call, p->m, name, &id), 0);
	return id;
}

/* The project `p` of a tracking store whose connection is called `fake`. */
static inline int store_project_insert(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	(void)arg;
	int r = mk_domain_run(call, conn,
			      "INSERT INTO projects (name, created, changed, connection)"
			      " VALUES ('p', ?1, ?1, 'fake')",
			      1, 0);

	return r < 0 ? r : (int)mk_last_id(conn);
}

#endif
