/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The code of a run: which commit a branch, an abbreviated id or a folder of this machine stands
 * for, a pin that keeps it, and its files in a working directory.
 */
#include <mantik/project.h>

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "base/doc.h"
#include "domain/code.h"

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

	/* `origin/x`, `refs/heads/x`: what git calls it elsewhere. */
	for (const char *p = strchr(branch, '/'); p && !near; p = strchr(p + 1, '/'))
		near = mk_list_has(&names, p + 1) ? p + 1 : NULL;
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
	r = mk_code_need(call, code, &ref->oid);
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
	int r = mk_code_open(call, m, repository_id, &code);

	if (r < 0)
		return r;
	if (!code.hidden && !code.origin.uri)
		return mk_code_no_uri(call, &code);
	if (!commit)
		return code.hidden
			       ? mk_fail(call, EINVAL, "%s: a snapshot has no branches", code.label)
			       : resolve_branch(call, &code, branch, ret, ret_branch);
	r = parse_commit(call, &code, commit, &oid);
	if (r == 0)
		r = mk_code_need(call, &code, &oid);
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
	int r = mk_code_open(call, m, repository_id, &code);

	if (r == 0)
		r = mk_mirror_pin(call, code.mirror, commit);
	return mk_prefix(call, r, "run %.8s", run_uid);
}

int mk_code_export(struct mk_call *call, struct mantik *m, int64_t repository_id,
		   const struct mk_oid *commit, const char *subdir, int dirfd,
		   const struct mk_list *exclude, struct mk_list *left_out)
{
	_cleanup_code_ struct code code = {};
	int r = mk_code_open(call, m, repository_id, &code);

	if (r == 0)
		r = mk_code_need(call, &code, commit);
	return r < 0 ? r
		     : mk_mirror_export(call, code.mirror, commit, subdir, dirfd, exclude,
					left_out);
}

/* Before anything is made for it; the project is named as mk_code_open() does. */
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

	/* Whatever hangs below that path is waited for by those who named it, and nobody else.
	 * (Cut, because mk_call.punt holds no more.) */
	(void)mk_buf_printf(&lane, "disk:%.100s", path);
	r = mk_call_may_wait(call, mk_buf_text(&lane));
	if (r < 0)
		return r;
	r = check_folder(call, m, project_id, path);
	if (r == 0)
		r = mk_repository_ensure_hidden(call, m, project_id, &id);
	if (r == 0)
		r = mk_code_open(call, m, id, &code);
	if (r == 0)
		r = mk_mirror_snapshot(call, code.mirror, code.label, path, ret_commit, ret_head,
				       ret_diff, ret_dirty);
	if (r == 0)
		*ret_repository = id;
	return r;
}
