/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mk_submit: a text becomes runs that exist and will be submitted exactly once.
 *
 *   prepare    read, resolve, check everything for all runs   nothing is written; may punt
 *   pin        a ref for each commit, notes in the records    harmless if what follows fails
 *   insert     one transaction, durable: runs, their texts,   a kill before: nothing happened
 *              params, intents('submit'), the answer          a kill after: mantikd does the rest
 *   poke       wakes mantikd                                  a failure is made good by the next
 *
 * Asked again with the same text by the same process within 10 s, it gives the same answer.
 */
#include "domain/submit/submit.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include <mantik/name.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/proc.h"
#include "domain/domain.h"
#include "domain/index/index.h"

enum { SAME_SECONDS = 10, KEEP_SECONDS = 60 };

struct insert {
	struct submission *s;
	char digest[65];
	char *asker; /* NULL: nobody can repeat it */
	struct mk_buf *answer;
};

/* --- who asks ---------------------------------------------------------------------------- */

static char *find_asker(const struct mk_call *call)
{
	pid_t pid = call->tgid ? call->tgid : call->pid;
	uint64_t start = mk_proc_start(pid);
	char boot[37];

	if (!start || mk_boot_id(boot) < 0)
		return NULL;
	return mk_strf("%s %d %llu", boot, (int)pid, (unsigned long long)start);
}

/* The text and everything it was submitted with. */
static void digest_of(const char *text, size_t len, const struct mk_submit_options *options,
		      char out[65])
{
	_cleanup_buf_ struct mk_buf all = MK_BUF(4 * MK_LIMIT_TEXT);

	(void)mk_buf_put(&all, text, len);
	(void)mk_buf_putc(&all, 0);
	(void)mk_buf_puts(&all, options->site ? options->site : "");
	for (size_t i = 0; i < options->parameters.n; i++) {
		(void)mk_buf_putc(&all, 0);
		(void)mk_buf_puts(&all, options->parameters.v[i].key);
		(void)mk_buf_putc(&all, 0);
		(void)mk_buf_puts(&all, options->parameters.v[i].value);
	}
	mk_sha256_hex(mk_buf_text(&all), all.len, out);
}

/* 1 and the answer of the same submission a moment ago, 0 there is none. */
static int same_before(struct mk_call *call, struct mk_conn *conn, const struct insert *in)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r;

	if (!in->asker)
		return 0;
	r = mk_prepare(call, conn,
		       "SELECT answer FROM submissions WHERE project_id = ?1 AND digest = ?2"
		       " AND asker = ?3 AND time > ?4 ORDER BY id DESC LIMIT 1",
		       &stmt);
	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, in->s->project_id);
	mk_bind_text(stmt, 2, in->digest);
	mk_bind_text(stmt, 3, in->asker);
	mk_bind_int(stmt, 4, mk_now_real() - SAME_SECONDS * MK_SEC);
	r = mk_step(call, stmt);
	if (r <= 0)
		return r;
	r = mk_buf_puts(in->answer, mk_col_text(stmt, 0));
	return r < 0 ? r : 1;
}

/* --- the transaction --------------------------------------------------------------------- */

static int insert_row(struct mk_call *call, struct mk_conn *conn, const struct submission *s,
		      const struct new_run *run, int64_t experiment_id, int64_t *ret_id)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	const struct code_source *code = run->code;
	int64_t now = mk_now_real();
	int r = mk_prepare(
		call, conn,
		"INSERT INTO runs (uid, project_id, experiment_id, name, dir, status,"
		" reason, site, queue, account, submitted, changed, user, repository_id,"
		" repository, branch, commit_id, dirty, mlproject, entry_point,"
		" environment, rerun_of, spec_len, script_len) VALUES (?1, ?2, ?3, ?4, ?5,"
		" ?6, ?7, ?8, ?9, ?10, ?11, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19,"
		" ?20, ?21, ?22, ?23)",
		&stmt);

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, run->uid);
	mk_bind_int(stmt, 2, s->project_id);
	mk_bind_int(stmt, 3, experiment_id);
	mk_bind_text(stmt, 4, run->name);
	mk_bind_text(stmt, 5, run->dir);
	mk_bind_int(stmt, 6, MK_SCHEDULED);
	mk_bind_text(stmt, 7, run->waits_for);
	mk_bind_text(stmt, 8, run->site);
	mk_bind_text(stmt, 9, run->queue);
	mk_bind_text(stmt, 10, run->account);
	mk_bind_int(stmt, 11, now);
	mk_bind_text(stmt, 12, mk_domain_user());
	if (code->repository_id)
		mk_bind_int(stmt, 13, code->repository_id);
	mk_bind_text(stmt, 14, code->repository);
	mk_bind_text(stmt, 15, code->branch);
	mk_bind_text(stmt, 16, code->repository_id ? code->commit : NULL);
	mk_bind_int(stmt, 17, code->dirty);
	mk_bind_text(stmt, 18, run->mlproject);
	mk_bind_text(stmt, 19, run->entry_point);
	mk_bind_text(stmt, 20, run->environment);
	mk_bind_text(stmt, 21, s->options->rerun_of);
	mk_bind_int(stmt, 22, (int64_t)strlen(run->spec));
	mk_bind_int(stmt, 23, (int64_t)strlen(run->script));
	r = mk_exec(call, stmt);
	if (r == 0)
		*ret_id = mk_last_id(conn);
	return r;
}

static int insert_texts(struct mk_call *call, struct mk_conn *conn, const struct new_run *run,
			int64_t id)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn,
			   "INSERT INTO run_texts (run_id, spec, script, plan) VALUES (?, ?, ?, ?)",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	mk_bind_text(stmt, 2, run->spec);
	mk_bind_text(stmt, 3, run->script);
	mk_bind_text(stmt, 4, run->plan);
	return mk_exec(call, stmt);
}

static int insert_params(struct mk_call *call, struct mk_conn *conn, const struct new_run *run,
			 int64_t id)
{
	for (size_t i = 0; i < run->params.n; i++) {
		_cleanup_stmt_ struct mk_stmt *stmt = NULL;
		int r = mk_prepare(call, conn,
				   "INSERT INTO params (run_id, key, value) VALUES (?, ?, ?)",
				   &stmt);

		if (r < 0)
			return r;
		mk_bind_int(stmt, 1, id);
		mk_bind_text(stmt, 2, run->params.v[i].key);
		mk_bind_text(stmt, 3, run->params.v[i].value);
		r = mk_exec(call, stmt);
		if (r < 0)
			return r;
	}
	return 0;
}

static int insert_after(struct mk_call *call, struct mk_conn *conn, const struct new_run *run,
			int64_t id)
{
	for (size_t i = 0; i < run->n_after; i++) {
		_cleanup_stmt_ struct mk_stmt *stmt = NULL;
		int r = mk_prepare(call, conn,
				   "INSERT INTO run_after (run_id, other_id) VALUES (?, ?)", &stmt);

		if (r < 0)
			return r;
		mk_bind_int(stmt, 1, id);
		mk_bind_int(stmt, 2, run->after[i]);
		r = mk_exec(call, stmt);
		if (r < 0)
			return r;
	}
	return 0;
}

static int insert_intent(struct mk_call *call, struct mk_conn *conn, const struct submission *s,
			 int64_t id)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	/* step 0: accepted */
	int r = mk_prepare(call, conn,
			   "INSERT INTO intents (run_id, verb, step, held, created)"
			   " VALUES (?, 'submit', 0, ?, ?)",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	mk_bind_int(stmt, 2, s->options->held);
	mk_bind_int(stmt, 3, mk_now_real());
	return mk_exec(call, stmt);
}

static int insert_run(struct mk_call *call, struct mk_conn *conn, struct insert *in,
		      struct new_run *run, int64_t *ret_experiment)
{
	int64_t id = 0;
	int r = mk_experiment_ensure(call, conn, in->s->project_id, run->experiment,
				     ret_experiment);

	if (r == 0)
		r = mk_run_choose_dir(call, conn, in->s->project_id, run->name, run->uid,
					      &run->dir);
	if (r == 0)
		r = insert_row(call, conn, in->s, run, *ret_experiment, &id);
	if (r == 0)
		r = insert_texts(call, conn, run, id);
	if (r == 0)
		r = insert_params(call, conn, run, id);
	if (r == 0)
		r = insert_after(call, conn, run, id);
	if (r == 0)
		r = insert_intent(call, conn, in->s, id);
	if (r == 0)
		r = mk_db_changed(call, conn, "run", id);
	if (r < 0)
		return r;
	run->id = id;
	if (mk_buf_printf(in->answer, "%s\n", run->dir) < 0)
		return mk_fail(call, EFBIG, "the names of the runs do not fit into the answer");
	return 0;
}

static int remember(struct mk_call *call, struct mk_conn *conn, const struct insert *in)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int64_t now = mk_now_real();
	int r = mk_domain_run(call, conn, "DELETE FROM submissions WHERE time < ?1",
			      now - KEEP_SECONDS * MK_SEC, 0);

	if (r < 0 || !in->asker)
		return r;
	r = mk_prepare(call, conn,
		       "INSERT INTO submissions (project_id, digest, asker, time, answer)"
		       " VALUES (?, ?, ?, ?, ?)",
		       &stmt);
	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, in->s->project_id);
	mk_bind_text(stmt, 2, in->digest);
	mk_bind_text(stmt, 3, in->asker);
	mk_bind_int(stmt, 4, now);
	mk_bind_text(stmt, 5, mk_buf_text(in->answer));
	return mk_exec(call, stmt);
}

static int insert(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	struct insert *in = arg;
	struct submission *s = in->s;
	int64_t experiment = 0, touched = 0, there;
	int r = mk_domain_int(call, conn, "SELECT id FROM projects WHERE id = ?1 AND deleted = 0",
			      s->project_id, 0, &there);

	if (r == 0)
		return mk_fail(call, ENOENT, "project %s is gone", s->project.name);
	if (r < 0)
		return r;
	mk_buf_truncate(in->answer, 0);
	r = same_before(call, conn, in);
	if (r)
		return r < 0 ? r : 0;
	for (size_t i = 0; i < s->n_runs; i++) {
		r = insert_run(call, conn, in, &s->runs[i], &experiment);
		if (r == 0 && experiment != touched)
			r = mk_experiment_touch(call, conn, experiment, true);
		if (r == 0 && experiment != touched)
			r = mk_domain_run(call, conn,
					  "UPDATE experiments SET touched = 1 WHERE id = ?1",
					  experiment, 0);
		if (r < 0)
			return r;
		touched = experiment;
	}
	r = mk_project_touch(call, conn, s->project_id, true);
	if (r == 0)
		r = mk_domain_run(call, conn, "UPDATE projects SET touched = 1 WHERE id = ?1",
				  s->project_id, 0);
	return r < 0 ? r : remember(call, conn, in);
}

/* --- before it --------------------------------------------------------------------------- */

/* So that a force-push or gc at the remote takes no commit away from a run. Once a commit. */
static int pin(struct mk_call *call, struct submission *s)
{
	for (size_t i = 0; i < s->n_codes; i++) {
		if (!s->codes[i]->repository_id)
			continue;

		int r = mk_code_pin(call, s->m, s->codes[i]->repository_id, &s->codes[i]->oid,
				    s->runs[0].uid);

		if (r < 0)
			return r;
	}
	return 0;
}

/* What a person should know of how a run was understood: the head of its submission log, and the
 * diff of a snapshot. */
static int write_notes(struct mk_call *call, const struct submission *s, const struct new_run *run)
{
	const struct code_source *code = run->code;
	_cleanup_free_ char *record = NULL;
	_cleanup_buf_ struct mk_buf text = MK_BUF(MK_LIMIT_BODY);
	int r;

	if (!run->notes.n && !code->path)
		return 0;
	record = mk_strf("%s/runs/%s", s->m->data_dir, run->uid);
	r = mk_mkdirs(call, record, 0700);
	if (r < 0)
		return r;

	_cleanup_free_ char *log = mk_strf("%s/submission", record);
	_cleanup_free_ char *diff = mk_strf("%s/code.diff", record);

	if (code->path)
		(void)mk_buf_printf(
			&text, "code: a snapshot of %s%s%s%s\n", code->path,
			code->head ? ", checked out at " : "", code->head ? code->head : "",
			code->diff ? ", the difference is kept in code.diff" : "");
	for (size_t i = 0; i < run->notes.n; i++)
		(void)mk_buf_printf(&text, "%s\n", run->notes.v[i]);
	if (code->diff)
		r = mk_file_write(call, AT_FDCWD, diff, code->diff, strlen(code->diff), 0600,
				  false);
	if (r == 0 && text.len)
		r = mk_file_append(call, AT_FDCWD, log, mk_buf_text(&text), text.len);
	return r < 0 ? r : 0;
}

static int answer_dry(struct mk_call *call, const struct submission *s, struct mk_buf *answer)
{
	for (size_t i = 0; i < s->n_runs; i++) {
		const struct new_run *run = &s->runs[i];

		(void)mk_buf_printf(answer, "%s: experiment %s, site %s%s%s%s%s%s%s%s%s\n",
				    run->name, run->experiment, run->site,
				    run->queue ? ", queue " : "", run->queue ? run->queue : "",
				    run->code->repository_id ? ", commit " : "",
				    run->code->repository_id ? run->code->commit : "",
				    run->code->dirty ? " (a snapshot)" : "",
				    run->entry_point ? ", entry point " : "",
				    run->entry_point ? run->entry_point : "",
				    run->waits_for ? ", waits for others" : "");
		for (size_t k = 0; k < run->notes.n; k++)
			(void)mk_buf_printf(answer, "  %s\n", run->notes.v[k]);
	}
	if (mk_buf_check(answer) < 0)
		return mk_fail(call, EFBIG, "the answer does not fit");
	return 0;
}

/* --- after it ---------------------------------------------------------------------------- */

struct stuck {
	struct submission *s;
	const char *why;
};

static int mark_stuck(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	struct stuck *stuck = arg;
	int r = 0;

	for (size_t i = 0; r == 0 && i < stuck->s->n_runs; i++) {
		_cleanup_stmt_ struct mk_stmt *stmt = NULL;
		int64_t id = stuck->s->runs[i].id;

		if (!id)
			continue;
		r = mk_prepare(call, conn,
			       "UPDATE runs SET reason = ?1 WHERE id = ?2 AND status = 0"
			       " AND reason IS NULL",
			       &stmt);
		if (r < 0)
			return r;
		mk_bind_text(stmt, 1, stuck->why);
		mk_bind_int(stmt, 2, id);
		r = mk_exec(call, stmt);
		if (r == 0)
			r = mk_run_touch(call, conn, id, MK_TOUCH_ROW);
	}
	return r;
}

/*
 * From here on it is done, whatever happens: mantikd does the rest. If it cannot be started the
 * runs say so as long as they wait; the next poke of anybody tries again.
 */
static void poke(struct mk_call *call, struct submission *s)
{
	if (mantik_poke(call, s->m) >= 0)
		return;

	_cleanup_free_ char *why = mk_strdup(call->error.text);
	struct stuck stuck = {.s = s, .why = why};

	(void)!mk_domain_write(call, s->m, MK_KILLSAFE, mark_stuck, &stuck);
	mk_error_clear(call);
}

int mk_submit(struct mk_call *call, struct mantik *m, int64_t project_id, const char *text,
	      size_t len, const struct mk_submit_options *options, struct mk_buf *answer)
{
	_cleanup_(mk_submission_free) struct submission s = {
		.m = m,
		.project_id = project_id,
		.source = options->source ? options->source : "spec",
		.options = options,
	};
	_cleanup_buf_ struct mk_buf names = MK_BUF(MK_LIMIT_BODY);
	struct insert in = {.s = &s, .answer = &names};
	struct mk_conn *conn;
	int r = mk_db_reader(call, m->db, &conn);

	if (r < 0)
		return r;
	if (m->read_only && !options->dry_run)
		return mk_fail(call, EROFS, "the platform is open for reading only%s%s",
			       m->read_only_why ? ": " : "",
			       m->read_only_why ? m->read_only_why : "");

	r = mk_index_ours(call, m, project_id, "runs are made");
	if (r < 0)
		return r;

	/* A rerun is asked for by its word: twice is two. */
	_cleanup_free_ char *asker =
		options->rerun_of || options->dry_run ? NULL : find_asker(call);

	in.asker = asker;
	digest_of(text, len, options, in.digest);
	r = same_before(call, conn, &in);
	if (r == 0)
		r = mk_submission_prepare(call, &s, text, len);
	else if (r > 0)
		return mk_buf_put(answer, mk_buf_text(&names), names.len);
	if (r == 0 && options->dry_run)
		return answer_dry(call, &s, answer);
	if (r == 0)
		r = pin(call, &s);
	for (size_t i = 0; r == 0 && i < s.n_runs; i++)
		r = write_notes(call, &s, &s.runs[i]);
	if (r == 0)
		r = mk_domain_write(call, m, MK_DURABLE, insert, &in);
	if (r < 0)
		return r;
	poke(call, &s);
	if (mk_buf_put(answer, mk_buf_text(&names), names.len) < 0)
		return mk_buf_check(answer);
	return 0;
}
