/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Code of a project. Each verb finds the repository's row, its mirror and where it comes from, and
 * asks connect/git; what this file adds is when to ask the remote:
 *
 *	looking  (refs, log)    the mirror answers; never fetched: wait for the first fetch; older
 *	                        than git_refresh: a fetch begins behind our back
 *	commits                 fixed; one the mirror lacks is asked for by its id
 *	submitting (resolve)    a branch is asked for at the remote, now; a commit only if missing
 */
#include <mantik/project.h>

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/doc.h"
#include "connect/git/git.h"
#include "domain/blob.h"
#include "domain/code.h"
#include "domain/domain.h"

static const char *const prefixes[] = {
	[MK_BRANCHES] = "refs/heads/",
	[MK_TAGS] = "refs/tags/",
};
static const char pins[] = "refs/mantik/runs/";

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
	struct mk_conn *conn;

	mk_call_init(&call);
	if (mk_db_reader(&call, m->db, &conn) < 0 ||
	    mk_prepare(&call, conn, "SELECT error, fetched FROM repositories WHERE mirror = ?1",
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
		});
	git = m->git;
	pthread_mutex_unlock(&once);
	return git;
}

void mk_code_close(struct mantik *m)
{
	mk_git_free(mk_steal(&m->git));
}

/* A repository in use. */
struct code {
	struct mk_mirror *mirror;
	struct mk_origin origin; /* uri NULL: hidden, or repository.yaml is still to be written */
	char *label, *default_branch;
	bool hidden;
};

static void code_done(struct code *code)
{
	mk_mirror_unref(code->mirror);
	mk_origin_free(&code->origin);
	free(code->label);
	free(code->default_branch);
}
#define _cleanup_code_ _cleanup_(code_done)

static int open_code(struct mk_call *call, struct mantik *m, int64_t id, struct code *code)
{
	struct mk_conn *conn;
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	_cleanup_free_ char *uri = NULL, *mirror = NULL;
	struct mk_buf label = MK_BUF(4096);
	int r = mk_db_reader(call, m->db, &conn);

	if (r == 0)
		r = mk_prepare(call, conn,
			       "SELECT r.uri, r.mirror, r.default_branch, r.hidden, r.name, p.name "
			       "FROM repositories r JOIN projects p ON p.id = r.project_id "
			       "WHERE r.id = ?1",
			       &stmt);
	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	r = mk_step(call, stmt);
	if (r < 0)
		return r;
	if (r == 0)
		return mk_fail(call, ENOENT, "repository %lld: there is none", (long long)id);
	uri = mk_col_dup(stmt, 0);
	mirror = mk_col_dup(stmt, 1);
	code->default_branch = mk_col_dup(stmt, 2);
	code->hidden = mk_col_int(stmt, 3);
	if (code->hidden)
		(void)mk_buf_printf(&label, "project %s", mk_col_text(stmt, 5));
	else
		(void)mk_buf_printf(&label, "project %s, repository %s", mk_col_text(stmt, 5),
				    mk_col_text(stmt, 4));
	code->label = mk_buf_steal(&label);
	mk_reset(&stmt);
	if (uri && *uri && !code->hidden) {
		r = mk_origin_parse(call, code->label, uri, &code->origin);
		if (r < 0)
			return r;
	}
	return mk_mirror_get(call, git_of_platform(m), mirror, code->hidden || code->origin.uri,
			     &code->mirror);
}

int mk_code_check_uri(struct mk_call *call, const char *where, const char *uri)
{
	_cleanup_origin_ struct mk_origin origin = {};

	return mk_origin_parse(call, where, uri, &origin);
}

static int no_uri(struct mk_call *call, const struct code *code)
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

/* For looking: 1 the mirror has refs to show, 0 there is no remote and so there are none. */
static int ready(struct mk_call *call, struct mantik *m, struct code *code)
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

int mk_code_refresh(struct mk_call *call, struct mantik *m, int64_t repository_id)
{
	_cleanup_code_ struct code code = {};
	int r = open_code(call, m, repository_id, &code);

	if (r < 0)
		return r;
	if (!code.origin.uri)
		return code.hidden ? 0 : no_uri(call, &code);
	return mk_mirror_fetch(call, code.mirror, &code.origin, MK_ASKED, true);
}

int mk_code_refs(struct mk_call *call, struct mantik *m, int64_t repository_id, enum mk_refs kind,
		 mk_ref_emit *emit, void *arg)
{
	_cleanup_code_ struct code code = {};
	int r = open_code(call, m, repository_id, &code);

	if (r == 0)
		r = ready(call, m, &code);
	return r > 0 ? mk_mirror_refs(call, code.mirror, prefixes[kind], emit, arg) : r;
}

int mk_code_ref(struct mk_call *call, struct mantik *m, int64_t repository_id, enum mk_refs kind,
		const char *name, struct mk_oid *ret)
{
	_cleanup_code_ struct code code = {};
	int r = open_code(call, m, repository_id, &code);

	if (r == 0)
		r = ready(call, m, &code);
	if (r == 0)
		return no_uri(call, &code);
	if (r < 0)
		return r;
	r = mk_mirror_ref(call, code.mirror, prefixes[kind], name, ret);
	return r == -ENOENT ? mk_prefix(call, r, "%s", code.label) : r;
}

/* Each commit once, sorted by id. */
struct commits {
	struct commit {
		struct mk_oid oid;
		int64_t time;
	} * v;
	size_t n, cap;
};

static void commits_done(struct commits *commits)
{
	free(commits->v);
}

static int add_commit(void *arg, const char *name, const struct mk_oid *oid, int64_t time)
{
	struct commits *commits = arg;

	if (commits->n == commits->cap) {
		size_t cap = commits->cap ? 2 * commits->cap : 64;
		void *v = realloc(commits->v, cap * sizeof(*commits->v));

		if (!v)
			return -ENOMEM;
		commits->v = v;
		commits->cap = cap;
	}
	commits->v[commits->n++] = (struct commit){.oid = *oid, .time = time};
	return 0;
}

static int compare_commits(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct mk_oid));
}

int mk_code_commits(struct mk_call *call, struct mantik *m, int64_t repository_id,
		    mk_ref_emit *emit, void *arg)
{
	static const char *const shown[] = {"refs/heads/", "refs/tags/", pins};
	_cleanup_code_ struct code code = {};
	_cleanup_(commits_done) struct commits commits = {};
	int r = open_code(call, m, repository_id, &code);

	if (r == 0)
		r = ready(call, m, &code);
	if (r <= 0)
		return r;
	r = 0;
	for (size_t i = 0; r == 0 && i < 3; i++)
		r = mk_mirror_refs(call, code.mirror, shown[i], add_commit, &commits);
	if (r == -ENOMEM)
		return mk_fail(call, ENOMEM, "%s: %zu commits: out of memory", code.label,
			       commits.n);
	if (r < 0)
		return r;
	if (commits.n)
		qsort(commits.v, commits.n, sizeof(*commits.v), compare_commits);
	for (size_t i = 0; r == 0 && i < commits.n; i++) {
		char hash[41];

		if (i && compare_commits(&commits.v[i - 1], &commits.v[i]) == 0)
			continue;
		mk_oid_text(&commits.v[i].oid, hash);
		r = emit(arg, hash, &commits.v[i].oid, commits.v[i].time);
	}
	return r;
}

/* Brings a commit into the mirror that no fetched branch shows. */
static int need_commit(struct mk_call *call, struct code *code, const struct mk_oid *commit)
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

int mk_code_commit(struct mk_call *call, struct mantik *m, int64_t repository_id,
		   const struct mk_oid *commit, struct mk_oid *ret_tree, int64_t *ret_time)
{
	_cleanup_code_ struct code code = {};
	int r = open_code(call, m, repository_id, &code);

	if (r == 0)
		r = need_commit(call, &code, commit);
	return r < 0 ? r : mk_mirror_commit(call, code.mirror, commit, ret_tree, ret_time);
}

int mk_code_tree(struct mk_call *call, struct mantik *m, int64_t repository_id,
		 const struct mk_oid *tree, mk_tree_emit *emit, void *arg)
{
	_cleanup_code_ struct code code = {};
	int r = open_code(call, m, repository_id, &code);

	return r < 0 ? r : mk_mirror_tree(call, code.mirror, tree, emit, arg);
}

int mk_code_tree_find(struct mk_call *call, struct mantik *m, int64_t repository_id,
		      const struct mk_oid *tree, const char *name, struct mk_tree_entry *ret)
{
	_cleanup_code_ struct code code = {};
	int r = open_code(call, m, repository_id, &code);

	return r < 0 ? r : mk_mirror_tree_find(call, code.mirror, tree, name, ret);
}

int mk_code_blob_open(struct mk_call *call, struct mantik *m, int64_t repository_id,
		      const struct mk_oid *blob, struct mk_blob **ret)
{
	_cleanup_code_ struct code code = {};
	struct mk_blob_source source;
	int r = open_code(call, m, repository_id, &code);

	if (r == 0)
		r = mk_mirror_blob(call, code.mirror, blob, &source);
	if (r < 0)
		return r;
	*ret = source.data ? mk_blob_of_memory(source.data, (size_t)source.size)
			   : mk_blob_of_fd(source.fd, source.size, false);
	return 0;
}

int mk_code_file(struct mk_call *call, struct mantik *m, int64_t repository_id,
		 const struct mk_oid *commit, const char *path, struct mk_buf *ret)
{
	_cleanup_code_ struct code code = {};
	int r = open_code(call, m, repository_id, &code);

	if (r == 0)
		r = need_commit(call, &code, commit);
	return r < 0 ? r : mk_mirror_file(call, code.mirror, commit, path, ret);
}

int mk_code_mlprojects(struct mk_call *call, struct mantik *m, int64_t repository_id,
		       const struct mk_oid *commit, struct mk_list *ret)
{
	_cleanup_code_ struct code code = {};
	int r = open_code(call, m, repository_id, &code);

	if (r == 0)
		r = need_commit(call, &code, commit);
	return r < 0 ? r : mk_mirror_mlprojects(call, code.mirror, commit, ret);
}

/* The branch that counts when none is named; owned by the caller, NULL when there is none. */
static char *standard_branch(const struct code *code)
{
	return code->default_branch && *code->default_branch ? mk_strdup(code->default_branch)
							     : mk_mirror_head(code->mirror);
}

int mk_code_log(struct mk_call *call, struct mantik *m, int64_t repository_id, struct mk_buf *ret)
{
	_cleanup_code_ struct code code = {};
	struct mk_oid head;
	int r = open_code(call, m, repository_id, &code);

	if (r == 0)
		r = ready(call, m, &code);
	if (r <= 0)
		return r;

	_cleanup_free_ char *branch = standard_branch(&code);

	if (!branch)
		return 0; /* nothing was ever committed */
	r = mk_mirror_ref(call, code.mirror, "refs/heads/", branch, &head);
	if (r < 0)
		return mk_prefix(call, r, "%s", code.label);
	return mk_mirror_log(call, code.mirror, &head, ret);
}

/* The full id of `commit` as people write it: any case, 4 digits or more. */
static int parse_commit(struct mk_call *call, struct code *code, const char *commit,
			struct mk_oid *ret)
{
	char text[41];
	size_t n = strlen(commit);

	for (size_t i = 0; i < n && i < 40; i++)
		text[i] = (char)tolower((unsigned char)commit[i]);
	text[n < 40 ? n : 40] = 0;
	if (n < 4 || n > 40 || strspn(text, "0123456789abcdef") != n)
		return mk_fail(call, EINVAL,
			       "%s: commit %s: not a commit id (40 hex digits, or the first few)",
			       code->label, commit);
	if (n == 40)
		return mk_oid_parse(text, ret);

	int r = mk_mirror_abbreviated(call, code->mirror, text, ret);

	/* Not seen here yet: the remote may have it in a branch. */
	if (r == -ENOENT && code->origin.uri) {
		r = mk_mirror_fetch(call, code->mirror, &code->origin, MK_FETCHED, true);
		if (r == 0)
			r = mk_mirror_abbreviated(call, code->mirror, text, ret);
	}
	return mk_prefix(call, r, "%s", code->label);
}

static const struct mk_remote_ref *find_ref(const struct mk_remote_refs *refs, const char *prefix,
					    const char *name)
{
	size_t n = strlen(prefix);

	for (size_t i = 0; i < refs->n; i++)
		if (strncmp(refs->v[i].name, prefix, n) == 0 &&
		    strcmp(refs->v[i].name + n, name) == 0)
			return &refs->v[i];
	return NULL;
}

static int no_branch(struct mk_call *call, const struct code *code,
		     const struct mk_remote_refs *refs, const char *branch)
{
	_cleanup_list_ struct mk_list names = {};

	if (find_ref(refs, "refs/tags/", branch))
		return mk_fail(call, ENOENT,
			       "%s: %s is a tag, not a branch: write its commit (ls tags/)",
			       code->label, branch);
	for (size_t i = 0; i < refs->n; i++)
		if (strncmp(refs->v[i].name, "refs/heads/", 11) == 0)
			(void)!mk_list_add(&names, refs->v[i].name + 11);

	const char *near = mk_nearest(branch, &names);

	return near ? mk_fail(call, ENOENT, "%s: no branch \"%s\" at %s, did you mean \"%s\"?",
			      code->label, branch, code->origin.shown, near)
		    : mk_fail(call, ENOENT, "%s: no branch \"%s\" at %s", code->label, branch,
			      code->origin.shown);
}

/* At this moment: a fetch that began earlier may not know of the last push. */
static int resolve_branch(struct mk_call *call, struct code *code, const char *asked,
			  struct mk_oid *ret, char **ret_branch)
{
	_cleanup_(mk_remote_refs_free) struct mk_remote_refs refs = {};
	_cleanup_free_ char *branch = mk_strdup(asked ? asked : code->default_branch);
	int r = mk_remote_ask(call, code->mirror, &code->origin, !branch, &refs);

	if (r == MK_PUNT || r == -EINTR)
		return r;
	if (r < 0)
		return mk_prefix(call, r,
				 "the head of %s%s must be asked for (a pinned `commit:` need not)",
				 branch ? "branch " : "the default branch", branch ? branch : "");
	if (!branch)
		branch = mk_strdup(refs.head);
	if (!branch && refs.n)
		branch = mk_mirror_head(code->mirror);
	if (!branch)
		return mk_fail(call, ENOENT, "%s: %s has no branch yet: push a commit", code->label,
			       code->origin.shown);

	const struct mk_remote_ref *ref = find_ref(&refs, "refs/heads/", branch);

	if (!ref)
		return no_branch(call, code, &refs, branch);
	if (!mk_mirror_has(code->mirror, &ref->oid)) {
		r = mk_mirror_fetch(call, code->mirror, &code->origin, MK_FETCHED, true);
		if (r < 0)
			return r;
	}
	r = need_commit(call, code, &ref->oid);
	if (r < 0)
		return r;
	*ret = ref->oid;
	if (ret_branch)
		*ret_branch = mk_steal(&branch);
	return 0;
}

int mk_code_resolve(struct mk_call *call, struct mantik *m, int64_t repository_id,
		    const char *branch, const char *commit, struct mk_oid *ret, char **ret_branch)
{
	_cleanup_code_ struct code code = {};
	struct mk_oid oid;
	int r = open_code(call, m, repository_id, &code);

	if (r < 0)
		return r;
	if (!code.hidden && !code.origin.uri)
		return no_uri(call, &code);
	if (!commit)
		return code.hidden
			       ? mk_fail(call, EINVAL, "%s: a snapshot has no branches", code.label)
			       : resolve_branch(call, &code, branch, ret, ret_branch);
	r = parse_commit(call, &code, commit, &oid);
	if (r == 0)
		r = need_commit(call, &code, &oid);
	if (r < 0)
		return r;
	*ret = oid;
	if (ret_branch)
		*ret_branch = mk_strdup(branch);
	return 0;
}

int mk_code_pin(struct mk_call *call, struct mantik *m, int64_t repository_id,
		const struct mk_oid *commit, const char *run_uid)
{
	_cleanup_code_ struct code code = {};
	int r = open_code(call, m, repository_id, &code);

	if (r == 0)
		r = mk_mirror_pin(call, code.mirror, commit);
	return mk_prefix(call, r, "run %.8s", run_uid);
}

int mk_code_export(struct mk_call *call, struct mantik *m, int64_t repository_id,
		   const struct mk_oid *commit, const char *subdir, int dirfd,
		   const struct mk_list *exclude, struct mk_list *left_out)
{
	_cleanup_code_ struct code code = {};
	int r = open_code(call, m, repository_id, &code);

	if (r == 0)
		r = need_commit(call, &code, commit);
	return r < 0 ? r
		     : mk_mirror_export(call, code.mirror, commit, subdir, dirfd, exclude,
					left_out);
}

/* Before anything is made for it; the project is named as open_code() does. */
static int check_folder(struct mk_call *call, struct mantik *m, int64_t project_id,
			const char *path)
{
	_cleanup_buf_ struct mk_buf label = MK_BUF(4096);
	struct mk_project project = {};
	int r = mk_project_get(call, m, project_id, &project);

	if (r < 0)
		return r;
	(void)mk_buf_printf(&label, "project %s", project.name);
	mk_project_free(&project);
	return mk_snapshot_check(call, mk_buf_text(&label), path);
}

int mk_code_snapshot(struct mk_call *call, struct mantik *m, int64_t project_id, const char *path,
		     int64_t *ret_repository, struct mk_oid *ret_commit, char **ret_head,
		     struct mk_buf *ret_diff, bool *ret_dirty)
{
	_cleanup_code_ struct code code = {};
	_cleanup_buf_ struct mk_buf lane = MK_BUF(8192);
	int64_t id;
	int r;

	/* (Cut, because mk_call.punt holds no more.) Whatever hangs below that path is waited for by those who named it, and nobody else. */
	(void)mk_buf_printf(&lane, "disk:%.100s", path);
	r = mk_call_may_wait(call, mk_buf_text(&lane));
	if (r < 0)
		return r;
	r = check_folder(call, m, project_id, path);
	if (r == 0)
		r = mk_repository_ensure_hidden(call, m, project_id, &id);
	if (r == 0)
		r = open_code(call, m, id, &code);
	if (r == 0)
		r = mk_mirror_snapshot(call, code.mirror, code.label, path, ret_commit, ret_head,
				       ret_diff, ret_dirty);
	if (r == 0)
		*ret_repository = id;
	return r;
}
