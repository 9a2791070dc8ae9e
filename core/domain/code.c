/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking at the code of a project: each verb opens the repository (code_open.c says when the
 * remote is asked) and passes what connect/git finds in the mirror.
 */
#include <mantik/project.h>

#include <errno.h>
#include <string.h>

#include "domain/blob.h"
#include "domain/code.h"
#include "domain/texts.h"
#include "vault/credentials.h"

static const char *const prefixes[] = {
	[MK_BRANCHES] = "refs/heads/",
	[MK_TAGS] = "refs/tags/",
};
static const char pins[] = "refs/mantik/runs/";

int mk_code_check_uri(struct mk_call *call, const char *where, const char *uri)
{
	_cleanup_origin_ struct mk_origin origin = {};

	return mk_origin_parse(call, where, uri, &origin);
}

int mk_code_check_remote(struct mk_call *call, struct mantik *m, int64_t repository_id,
			 const char *text, size_t len)
{
	_cleanup_meaning_ struct mk_meaning meaning = {};
	_cleanup_code_ struct code code = {};
	_cleanup_origin_ struct mk_origin origin = {};
	_cleanup_(mk_remote_refs_free) struct mk_remote_refs refs = {};
	int r = mk_text_check(call, MK_TEXT_REPOSITORY, text, len, &meaning);

	if (r < 0) { /* whoever stores it says so, and a template need not be valid */
		mk_error_clear(call);
		return 0;
	}
	r = mk_code_open(call, m, repository_id, &code);
	if (r == 0)
		r = mk_origin_parse(call, code.label, meaning.uri, &origin);
	if (r == 0 && meaning.connection && strncmp(meaning.uri, "http", 4) == 0) {
		_cleanup_(mk_credentials_freep) struct mk_credentials *c = NULL;

		r = mk_credentials_for_git(call, m, meaning.uri, meaning.connection, &c);
		if (r < 0)
			return mk_prefix(call, r, "repository.yaml: connection");
		r = 0;
		origin.connection = mk_strdup(meaning.connection);
	}
	if (r < 0 || (code.uri && strcmp(code.uri, meaning.uri) == 0))
		return r;
	r = mk_mirror_make(call, code.mirror);
	if (r < 0)
		return r;
	r = mk_remote_ask(call, code.mirror, &origin, false, &refs);
	if (r == 0 || r == MK_PUNT || r == MK_PARK || r == -EINTR || mk_remote_refused(call))
		return r;
	mk_error_clear(call);
	return 0;
}

int mk_code_refresh(struct mk_call *call, struct mantik *m, int64_t repository_id)
{
	_cleanup_code_ struct code code = {};
	int r = mk_code_open(call, m, repository_id, &code);

	if (r < 0)
		return r;
	if (!code.origin.uri)
		return code.hidden ? 0 : mk_code_no_uri(call, &code);
	return mk_mirror_fetch(call, code.mirror, &code.origin, MK_ASKED, true);
}

int mk_code_refs(struct mk_call *call, struct mantik *m, int64_t repository_id, enum mk_refs kind,
		 mk_ref_emit *emit, void *arg)
{
	_cleanup_code_ struct code code = {};
	int r = mk_code_open(call, m, repository_id, &code);

	if (r == 0)
		r = mk_code_ready(call, m, &code);
	return r > 0 ? mk_mirror_refs(call, code.mirror, prefixes[kind], emit, arg) : r;
}

int mk_code_ref(struct mk_call *call, struct mantik *m, int64_t repository_id, enum mk_refs kind,
		const char *name, struct mk_oid *ret)
{
	_cleanup_code_ struct code code = {};
	int r = mk_code_open(call, m, repository_id, &code);

	if (r == 0)
		r = mk_code_ready(call, m, &code);
	if (r == 0)
		return mk_code_no_uri(call, &code);
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
	int r = mk_code_open(call, m, repository_id, &code);

	if (r == 0)
		r = mk_code_ready(call, m, &code);
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

int mk_code_commit(struct mk_call *call, struct mantik *m, int64_t repository_id,
		   const struct mk_oid *commit, struct mk_oid *ret_tree, int64_t *ret_time)
{
	_cleanup_code_ struct code code = {};
	int r = mk_code_open(call, m, repository_id, &code);

	if (r == 0)
		r = mk_code_need(call, &code, commit);
	return r < 0 ? r : mk_mirror_commit(call, code.mirror, commit, ret_tree, ret_time);
}

int mk_code_tree(struct mk_call *call, struct mantik *m, int64_t repository_id,
		 const struct mk_oid *tree, mk_tree_emit *emit, void *arg)
{
	_cleanup_code_ struct code code = {};
	int r = mk_code_open(call, m, repository_id, &code);

	return r < 0 ? r : mk_mirror_tree(call, code.mirror, tree, emit, arg);
}

int mk_code_tree_find(struct mk_call *call, struct mantik *m, int64_t repository_id,
		      const struct mk_oid *tree, const char *name, struct mk_tree_entry *ret)
{
	_cleanup_code_ struct code code = {};
	int r = mk_code_open(call, m, repository_id, &code);

	return r < 0 ? r : mk_mirror_tree_find(call, code.mirror, tree, name, ret);
}

int mk_code_blob_open(struct mk_call *call, struct mantik *m, int64_t repository_id,
		      const struct mk_oid *blob, struct mk_blob **ret)
{
	_cleanup_code_ struct code code = {};
	struct mk_blob_source source;
	int r = mk_code_open(call, m, repository_id, &code);

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
	int r = mk_code_open(call, m, repository_id, &code);

	if (r == 0)
		r = mk_code_need(call, &code, commit);
	return r < 0 ? r : mk_mirror_file(call, code.mirror, commit, path, ret);
}

int mk_code_mlprojects(struct mk_call *call, struct mantik *m, int64_t repository_id,
		       const struct mk_oid *commit, struct mk_list *ret)
{
	_cleanup_code_ struct code code = {};
	int r = mk_code_open(call, m, repository_id, &code);

	if (r == 0)
		r = mk_code_need(call, &code, commit);
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
	int r = mk_code_open(call, m, repository_id, &code);

	if (r == 0)
		r = mk_code_ready(call, m, &code);
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
