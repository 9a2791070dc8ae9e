/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A repository in use: its row, its mirror and where it comes from, for the verbs of code.c
 * (looking) and code_resolve.c (submitting). What is here is when the remote is asked:
 *
 *	looking  (refs, log)    the mirror answers; never fetched: wait for the first fetch; older
 *	                        than git_refresh: a fetch begins behind our back
 *	commits                 fixed; one the mirror lacks is asked for by its id
 *	submitting (resolve)    a branch is asked for at the remote, now; a commit only if missing
 */
#include "domain/code.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "domain/domain.h"
#include "vault/credentials.h"

struct told {
	const char *mirror, *error;
	bool moved;
};

static int note(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	struct told *told = arg;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int64_t id = 0, now = mk_now_real();
	int r = mk_prepare(call, conn, "SELECT id FROM repositories WHERE mirror = ?1", &stmt);

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, told->mirror);
	r = mk_step(call, stmt);
	if (r <= 0)
		return r;
	id = mk_col_int(stmt, 0);
	mk_reset(&stmt);
	r = mk_prepare(call, conn,
		       "UPDATE repositories SET error = ?2, "
		       "fetched = CASE WHEN ?2 IS NULL THEN ?3 ELSE fetched END, "
		       "changed = CASE WHEN ?4 THEN max(changed + 1, ?3) ELSE changed END "
		       "WHERE id = ?1",
		       &stmt);
	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	mk_bind_text(stmt, 2, told->error);
	mk_bind_int(stmt, 3, now);
	mk_bind_int(stmt, 4, told->moved);
	r = mk_exec(call, stmt);
	return r < 0 ? r : mk_db_changed(call, conn, "repository", id);
}

/* In the fetch's thread. Only what is news is written: looking must not become writing. */
static void fetch_told(void *arg, const char *mirror, const struct mk_error *error, bool moved)
{
	struct mantik *m = arg;
	_cleanup_call_ struct mk_call call;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	struct told told = {.mirror = mirror, .error = error ? error->text : NULL, .moved = moved};

	mk_call_init(&call);
	if (mk_db_read(&call, m->db, "SELECT error, fetched FROM repositories WHERE mirror = ?1",
		       &stmt) < 0)
		return;
	mk_bind_text(stmt, 1, mirror);
	if (mk_step(&call, stmt) <= 0)
		return;

	const char *was = mk_col_text(stmt, 0);
	bool same = (!was && !told.error) || (was && told.error && strcmp(was, told.error) == 0);
	bool news = moved || !same || (!error && !mk_col_int(stmt, 1));

	mk_reset(&stmt);
	if (news)
		(void)!mk_db_write(&call, m->db, MK_KILLSAFE, note, &told);
}

/* Who logs in, as connections/ says. */
static int git_login(struct mk_call *call, void *arg, const struct mk_origin *origin,
		     struct mk_buf *user, struct mk_buf *password)
{
	_cleanup_(mk_credentials_freep) struct mk_credentials *c = NULL;
	int r = mk_credentials_for_git(call, arg, origin->uri, origin->connection, &c);

	return r > 0 ? mk_credentials_login(call, c, user, password) : r;
}

static struct mk_git *git_of_platform(struct mantik *m)
{
	static pthread_mutex_t once = PTHREAD_MUTEX_INITIALIZER; /* protects m->git */
	struct mk_git *git;

	pthread_mutex_lock(&once);
	if (!m->git)
		m->git = mk_git_new(&(struct mk_git_options){
			.data_dir = m->data_dir,
			.cache_dir = m->cache_dir,
			.cache_limit = mantik_option_int(m, "cache_limit"),
			.timeout = mantik_option_duration(m, "git_timeout"),
			.read_only = m->read_only,
			.told = fetch_told,
			.told_arg = m,
			.login = git_login,
			.login_arg = m,
		});
	git = m->git;
	pthread_mutex_unlock(&once);
	return git;
}

void mk_code_close(struct mantik *m)
{
	mk_git_free(mk_steal(&m->git));
}

void mk_code_done(struct code *code)
{
	mk_mirror_unref(code->mirror);
	mk_origin_free(&code->origin);
	free(code->label);
	free(code->default_branch);
	free(code->uri);
}

int mk_code_open(struct mk_call *call, struct mantik *m, int64_t id, struct code *code)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	_cleanup_free_ char *mirror = NULL, *connection = NULL;
	struct mk_buf label = MK_BUF(4096);
	int r = mk_domain_read(call, m,
			       "SELECT r.uri, r.mirror, r.default_branch, r.hidden, r.name, p.name,"
			       " r.connection FROM repositories r"
			       " JOIN projects p ON p.id = r.project_id WHERE r.id = ?1",
			       "repository", id, &stmt);

	if (r < 0)
		return r;
	code->uri = mk_col_dup(stmt, 0);
	mirror = mk_col_dup(stmt, 1);
	code->default_branch = mk_col_dup(stmt, 2);
	code->hidden = mk_col_int(stmt, 3);
	connection = mk_col_dup(stmt, 6);
	if (code->hidden)
		(void)mk_buf_printf(&label, "project %s", mk_col_text(stmt, 5));
	else
		(void)mk_buf_printf(&label, "project %s, repository %s", mk_col_text(stmt, 5),
				    mk_col_text(stmt, 4));
	code->label = mk_buf_steal(&label);
	mk_reset(&stmt);
	if (code->uri && *code->uri && !code->hidden) {
		r = mk_origin_parse(call, code->label, code->uri, &code->origin);
		if (r < 0)
			return r;
		code->origin.connection = mk_steal(&connection);
	}
	return mk_mirror_get(call, git_of_platform(m), mirror, code->hidden || code->origin.uri,
			     &code->mirror);
}

int mk_code_no_uri(struct mk_call *call, const struct code *code)
{
	return mk_fail(call, ENOENT, "%s: repository.yaml has no uri yet", code->label);
}

/* A program that ends after one look would end a fetch behind its back, too: it waits, a little. */
static int look_again(struct mk_call *call, struct code *code)
{
	enum { PATIENCE_S = 5 };
	int64_t deadline = call->deadline, limit = mk_now_mono() + PATIENCE_S * MK_SEC;
	int r;

	if (call->may_wait != MK_ANY) {
		mk_mirror_fetch_begin(code->mirror, &code->origin);
		return 0;
	}
	if (!deadline || deadline > limit)
		call->deadline = limit;
	r = mk_mirror_fetch(call, code->mirror, &code->origin, MK_FETCHED, false);
	call->deadline = deadline;
	if (r == -EINTR)
		return r;
	mk_error_clear(call); /* what is known is shown */
	return 0;
}

int mk_code_ready(struct mk_call *call, struct mantik *m, struct code *code)
{
	if (code->hidden)
		return 1;
	if (!code->origin.uri)
		return 0;

	int64_t answered = mk_mirror_answered(code->mirror, &code->origin);

	if (!answered) {
		int r = mk_mirror_fetch(call, code->mirror, &code->origin, MK_FETCHED, false);
		return r < 0 ? r : 1;
	}
	if (mk_now_real() - answered > mantik_option_duration(m, "git_refresh") && !m->read_only) {
		int r = look_again(call, code);
		if (r < 0)
			return r;
	}
	return 1;
}

int mk_code_need(struct mk_call *call, struct code *code, const struct mk_oid *commit)
{
	char hash[41];
	int r;

	if (code->mirror && (code->hidden || code->origin.uri) &&
	    mk_mirror_has(code->mirror, commit))
		return 0;
	mk_oid_text(commit, hash);
	if (!code->origin.uri)
		return mk_fail(call, ENOENT, "%s: no commit %s", code->label, hash);
	if (mk_mirror_missing(code->mirror, commit, false))
		return mk_fail(call, ENOENT, "%s: no commit %s at %s", code->label, hash,
			       code->origin.shown);
	if (!mk_mirror_answered(code->mirror, &code->origin)) {
		r = mk_mirror_fetch(call, code->mirror, &code->origin, MK_FETCHED, false);
		if (r < 0)
			return r;
		if (mk_mirror_has(code->mirror, commit))
			return 0;
	}
	r = mk_remote_fetch_commit(call, code->mirror, &code->origin, commit);
	if (r == 0 && mk_mirror_has(code->mirror, commit))
		return 0;
	/* The words of upload-pack for an object it has not, or does not give. */
	if (r == 0 || (r == -EREMOTEIO && call->error.detail &&
		       (strstr(call->error.detail, "not our ref") ||
			strstr(call->error.detail, "unadvertised object")))) {
		(void)mk_mirror_missing(code->mirror, commit, true);
		return mk_fail(call, ENOENT, "%s: no commit %s at %s", code->label, hash,
			       code->origin.shown);
	}
	return r;
}
