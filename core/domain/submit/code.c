/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The code of a submission: which repository, which commit. A branch is asked for at its remote,
 * once for all specs of a write that name it.
 */
#include "domain/submit/submit.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "domain/code.h"
#include "domain/domain.h"

enum { MAX_WORDS = 8 };

void mk_list_words(struct mk_buf *buf, const struct mk_list *list)
{
	for (size_t i = 0; i < list->n; i++) {
		if (i == MAX_WORDS) {
			(void)mk_buf_printf(buf, " and %zu more", list->n - i);
			return;
		}
		(void)mk_buf_printf(buf, "%s%s", i ? ", " : "", list->v[i]);
	}
}

int mk_submission_blame(struct mk_call *call, const struct mk_doc *at, int r)
{
	if (r >= 0 || r == MK_PUNT || r == MK_PARK)
		return r;
	if (r == -ENOENT || r == -EEXIST || r == -EISDIR || r == -ENOTDIR || r == -ELOOP) {
		call->error.code = EINVAL;
		r = -EINVAL;
	}
	if (!at || !at->source)
		return r;
	return at->line ? mk_prefix(call, r, "%s:%d", at->source, at->line)
			: mk_prefix(call, r, "%s", at->source);
}

static int add_name(void *arg, const struct mk_repository *repository)
{
	return mk_list_add(arg, repository->name);
}

/* The repository a spec names, or the only one. *ret_id 0: there is none and none is needed. */
static int find_repository(struct mk_call *call, struct submission *s, const struct mk_spec *spec,
			   int64_t *ret_id, char **ret_name)
{
	_cleanup_list_ struct mk_list names = {};
	_cleanup_buf_ struct mk_buf words = MK_BUF(8192);
	_cleanup_(mk_repository_free) struct mk_repository repository = {};
	const char *name = mk_spec_text(spec->repository);
	int r = mk_repository_list(call, s->m, s->project_id, add_name, &names);

	if (r < 0)
		return r;
	mk_list_sort(&names);
	mk_list_words(&words, &names);
	if (name && !mk_list_has(&names, name)) {
		const char *nearest = mk_nearest(name, &names);

		if (nearest)
			return mk_doc_fail(
				call, s->source, spec->repository,
				"the project has no repository \"%s\", did you mean \"%s\"?", name,
				nearest);
		return mk_doc_fail(call, s->source, spec->repository,
				   "the project has no repository \"%s\"; there %s: %s", name,
				   names.n == 1 ? "is" : "are",
				   names.n ? mk_buf_text(&words) : "none");
	}
	if (!name && names.n > 1)
		return mk_doc_fail(call, s->source, spec->doc,
				   "code: {repository: …} is needed: the project has %s",
				   mk_buf_text(&words));
	if (!name && !names.n) {
		if (spec->command || spec->script) {
			*ret_id = 0;
			return 0;
		}
		return mk_doc_fail(
			call, s->source, spec->doc,
			"the project has no repository: mkdir code/NAME and set uri in its "
			"repository.yaml, or say code: {path: DIR} or command:");
	}
	r = mk_repository_find(call, s->m, s->project_id, name ? name : names.v[0], &repository);
	if (r < 0)
		return mk_submission_blame(call, spec->repository, r);
	*ret_id = repository.id;
	*ret_name = mk_steal(&repository.name);
	return 0;
}

static struct code_source *add_code(struct submission *s, const char *key)
{
	struct code_source *code = mk_new(struct code_source);

	code->key = mk_strdup(key);
	s->codes = reallocarray(s->codes, s->n_codes + 1, sizeof(*s->codes));
	if (!s->codes)
		abort(); /* a few pointers */
	s->codes[s->n_codes++] = code;
	return code;
}

/*
 * Whatever was asked for in this lane would be asked for again in the next, and back: two remotes
 * cannot be waited for by one write of a front end.
 */
static int check_lane(struct mk_call *call, struct submission *s, const struct mk_doc *at, int r)
{
	if (r != MK_PUNT || !call->may_wait)
		return r;
	for (size_t i = 0; i < s->n_codes; i++)
		if (s->codes[i]->asked)
			return mk_doc_fail(
				call, s->source, at,
				"branches of two git servers, or two directories, in one "
				"write: submit them one after the other");
	return r;
}

/* What was kept with the first run of this snapshot that still has it. */
static int earlier_diff(struct mk_call *call, struct submission *s, const char *commit,
			struct mk_buf *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	struct mk_conn *conn;
	int r = mk_db_reader(call, s->m->db, &conn);

	if (r == 0)
		r = mk_prepare(call, conn,
			       "SELECT uid FROM runs WHERE project_id = ? AND commit_id = ? AND dirty"
			       " ORDER BY id LIMIT 8",
			       &stmt);
	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, s->project_id);
	mk_bind_text(stmt, 2, commit);
	while ((r = mk_step(call, stmt)) > 0) {
		_cleanup_free_ char *path =
			mk_strf("%s/runs/%s/code.diff", s->m->data_dir, mk_col_text(stmt, 0));

		r = mk_file_read(call, AT_FDCWD, path, ret);
		if (r != -ENOENT)
			return r;
		mk_error_clear(call);
	}
	return r;
}

static int take_snapshot(struct mk_call *call, struct submission *s, const struct mk_spec *spec,
			 struct code_source *ret)
{
	const char *commit = mk_spec_text(spec->commit);
	_cleanup_buf_ struct mk_buf diff = MK_BUF(MK_LIMIT_BODY);
	int r;

	ret->path = mk_strdup(spec->path->text);
	if (commit) {
		/* The snapshot an earlier run was made from. */
		r = mk_repository_ensure_hidden(call, s->m, s->project_id, &ret->repository_id);
		if (r == 0)
			r = mk_code_resolve(call, s->m, ret->repository_id, NULL, commit, &ret->oid,
					    NULL);
		ret->dirty = true;
		if (r < 0)
			return mk_submission_blame(call, spec->commit, r);

		char hex[41];

		mk_oid_text(&ret->oid, hex);
		r = earlier_diff(call, s, hex, &diff);
		ret->diff = diff.len ? mk_buf_steal(&diff) : NULL;
		return r < 0 ? r : 0;
	}
	r = mk_code_snapshot(call, s->m, s->project_id, spec->path->text, &ret->repository_id,
			     &ret->oid, &ret->head, &diff, &ret->dirty);
	if (r < 0)
		return mk_submission_blame(call, spec->path, check_lane(call, s, spec->path, r));
	/* A run from a directory is marked dirty, whatever git says of it. */
	ret->dirty = true;
	ret->diff = diff.len ? mk_buf_steal(&diff) : NULL;
	ret->asked = true;
	return 0;
}

static int resolve(struct mk_call *call, struct submission *s, const struct mk_spec *spec,
		   struct code_source *ret)
{
	const char *branch = mk_spec_text(spec->branch), *commit = mk_spec_text(spec->commit);
	const struct mk_doc *at = commit	 ? spec->commit
				  : spec->branch ? spec->branch
						 : spec->repository;
	int r = mk_code_resolve(call, s->m, ret->repository_id, branch, commit, &ret->oid,
				&ret->branch);

	if (r < 0)
		return mk_submission_blame(call, at ? at : spec->doc, check_lane(call, s, at, r));
	ret->asked = !commit;
	return 0;
}

int mk_submission_code(struct mk_call *call, struct submission *s, const struct mk_spec *spec,
		       const struct code_source **ret)
{
	_cleanup_buf_ struct mk_buf key = MK_BUF(3 * MK_LIMIT_TEXT);
	_cleanup_free_ char *name = NULL;
	int64_t id = 0;
	int r = 0;

	if (!spec->path && !spec->no_code)
		r = find_repository(call, s, spec, &id, &name);
	if (r < 0)
		return r;
	if (!id && !spec->path && !spec->command && !spec->script)
		return mk_doc_fail(call, s->source, spec->doc,
				   "an entry point needs code; command: needs none");
	(void)mk_buf_printf(
		&key, "%lld|%s|%s|%s", (long long)id, spec->path ? spec->path->text : "",
		spec->branch ? spec->branch->text : "", spec->commit ? spec->commit->text : "");
	for (size_t i = 0; i < s->n_codes; i++)
		if (strcmp(s->codes[i]->key, mk_buf_text(&key)) == 0) {
			*ret = s->codes[i];
			return 0;
		}

	struct code_source *code = add_code(s, mk_buf_text(&key));

	code->repository_id = id;
	code->repository = mk_steal(&name);
	if (spec->path)
		r = take_snapshot(call, s, spec, code);
	else if (id)
		r = resolve(call, s, spec, code);
	if (r < 0)
		return r;
	if (code->repository_id)
		mk_oid_text(&code->oid, code->commit);
	*ret = code;
	return 0;
}
