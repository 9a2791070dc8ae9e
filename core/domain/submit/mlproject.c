/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The MLproject of a submission: which file of the commit, which entry point, and the environment
 * it asks for.
 */
#include "domain/submit/submit.h"

#include <errno.h>
#include <string.h>

/* A path below the repository's top without `./`; EINVAL for one that leads out of it. */
int mk_submission_path(struct mk_call *call, const struct submission *s, const struct mk_doc *at,
		       const char *what, const char *path, char **ret)
{
	_cleanup_buf_ struct mk_buf clean = MK_BUF(MK_LIMIT_TEXT);

	if (*path == '/')
		return mk_doc_fail(call, s->source, at,
				   "%s must be a path in the repository, not the absolute \"%s\"",
				   what, path);
	for (const char *p = path; *p;) {
		size_t n = strcspn(p, "/");

		if (n == 2 && memcmp(p, "..", 2) == 0)
			return mk_doc_fail(call, s->source, at,
					   "%s \"%s\" leads out of the repository", what, path);
		if (n && !(n == 1 && *p == '.')) {
			if (clean.len)
				(void)mk_buf_putc(&clean, '/');
			(void)mk_buf_put(&clean, p, n);
		}
		p += n + (p[n] == '/');
	}
	*ret = mk_buf_steal(&clean);
	return 0;
}

char *mk_path_dir(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? mk_strndup(path, (size_t)(slash - path)) : mk_strdup("");
}

char *mk_path_beside(const char *dir, const char *name)
{
	_cleanup_buf_ struct mk_buf path = MK_BUF(MK_LIMIT_TEXT);

	if (strncmp(name, "./", 2) == 0)
		name += 2;
	(void)mk_buf_printf(&path, "%s%s%s", dir, *dir ? "/" : "", name);
	return mk_buf_steal(&path);
}

/* The MLproject a spec names, or the only one of the commit. */
static int find_mlproject(struct mk_call *call, struct submission *s, struct common *c,
			  struct mk_buf *text)
{
	const struct mk_doc *given = c->spec.mlproject;
	_cleanup_list_ struct mk_list all = {};
	_cleanup_buf_ struct mk_buf words = MK_BUF(MK_LIMIT_TEXT);
	int r;

	if (given) {
		r = mk_submission_path(call, s, given, "mlproject", given->text, &c->mlproject);
		if (r == 0 && !*c->mlproject) { /* `.`: the folder, as MLflow has it */
			free(c->mlproject);
			c->mlproject = mk_strdup("MLproject");
		}
		if (r < 0)
			return r;
		r = mk_code_file(call, s->m, c->code->repository_id, &c->code->oid, c->mlproject,
				 text);
		if (r != -ENOENT && r != -EISDIR)
			return mk_submission_blame(call, given, r);
	}
	r = mk_code_mlprojects(call, s->m, c->code->repository_id, &c->code->oid, &all);
	if (r < 0)
		return mk_submission_blame(call, given ? given : c->spec.doc, r);
	mk_list_words(&words, &all);
	if (given) {
		_cleanup_free_ char *inside = mk_path_beside(c->mlproject, "MLproject");
		const char *nearest =
			mk_list_has(&all, inside) ? inside : mk_nearest(c->mlproject, &all);

		if (nearest)
			return mk_doc_fail(call, s->source, given,
					   "commit %.8s has no file %s, did you mean \"%s\"?",
					   c->code->commit, c->mlproject, nearest);
		return mk_doc_fail(call, s->source, given,
				   "commit %.8s has no file %s; its MLproject files: %s",
				   c->code->commit, c->mlproject,
				   all.n ? mk_buf_text(&words) : "none");
	}
	if (!all.n)
		return mk_doc_fail(call, s->source, c->spec.doc,
				   "commit %.8s has no file MLproject; command: runs without one",
				   c->code->commit);
	if (all.n > 1)
		return mk_doc_fail(call, s->source, c->spec.doc,
				   "mlproject: is needed: commit %.8s has %s", c->code->commit,
				   mk_buf_text(&words));
	c->mlproject = mk_strdup(all.v[0]);
	return mk_code_file(call, s->m, c->code->repository_id, &c->code->oid, c->mlproject, text);
}

/* 1 when the commit has the file beside the MLproject. */
static int has_beside(struct mk_call *call, struct submission *s, const struct common *c,
		      const char *name)
{
	_cleanup_free_ char *dir = mk_path_dir(c->mlproject);
	_cleanup_free_ char *path = mk_path_beside(dir, name);
	_cleanup_buf_ struct mk_buf text = MK_BUF(MK_LIMIT_TEXT);
	int r = mk_code_file(call, s->m, c->code->repository_id, &c->code->oid, path, &text);

	if (r == -ENOENT) {
		mk_error_clear(call);
		return 0;
	}
	return r < 0 ? r : 1;
}

/* What the MLproject asks for must be in the commit; what it does not ask for is found as MLflow
 * finds it. */
static int find_environment(struct mk_call *call, struct submission *s, struct common *c)
{
	struct mk_mlproject *p = &c->project;
	const char *named = p->python_env ? p->python_env : p->conda_env;
	int r;

	if (p->docker_image)
		return 0;
	if (named) {
		r = has_beside(call, s, c, named);
		if (r == 0)
			return mk_fail(call, EINVAL, "%s:%d: commit %.8s has no file %s beside it",
				       c->mlproject, p->environment_line, c->code->commit, named);
		return r < 0 ? r : 0;
	}
	r = has_beside(call, s, c, "python_env.yaml");
	if (r > 0)
		p->python_env = mk_strdup("python_env.yaml");
	if (r)
		return r < 0 ? r : 0;
	r = has_beside(call, s, c, "conda.yaml");
	if (r > 0)
		p->conda_env = mk_strdup("conda.yaml");
	return r < 0 ? r : 0;
}

int mk_submission_mlproject(struct mk_call *call, struct submission *s, struct common *c)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF(MK_LIMIT_TEXT);
	const struct mk_doc *at = c->spec.entry_point;
	int r = find_mlproject(call, s, c, &text);

	if (r < 0)
		return r;
	r = mk_mlproject_parse(call, c->mlproject, mk_buf_text(&text), text.len, &c->project);
	if (r < 0)
		return r;
	r = mk_mlproject_entry(call, &c->project, mk_spec_text(at), &c->entry);
	if (r < 0)
		return mk_submission_blame(call, at ? at : c->spec.doc, r);
	return find_environment(call, s, c);
}
