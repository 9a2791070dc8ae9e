/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Specs that are offered ready to copy (mantik/spec.h): the MLproject is read from a commit, what
 * the project's defaults.yaml says already is left out, so that a copy does not override it. Waits
 * only as mk_code_file() does.
 */
#include <mantik/spec.h>

#include <errno.h>
#include <string.h>

#include <mantik/project.h>

#include "base/doc.h"
#include "format/mlproject.h"

static int read_project(struct mk_call *call, struct mantik *m, int64_t repository_id,
			const struct mk_oid *commit, const char *path, struct mk_mlproject *ret)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF(MK_LIMIT_TEXT);
	int r = mk_code_file(call, m, repository_id, commit, path, &text);

	if (r < 0)
		return r;
	return mk_mlproject_parse(call, path, mk_buf_text(&text), text.len, ret);
}

int mk_spec_entry_points(struct mk_call *call, struct mantik *m, int64_t repository_id,
			 const struct mk_oid *commit, const char *mlproject, struct mk_list *ret)
{
	_cleanup_mlproject_ struct mk_mlproject project = {};
	int r = read_project(call, m, repository_id, commit, mlproject, &project);

	if (r < 0)
		return r;
	for (size_t i = 0; i < project.n_entry_points; i++) {
		r = mk_list_add(ret, project.entry_points[i].name);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The project's defaults.yaml as a tree; NULL when there is none or it cannot be read (submitting
 * says why). */
static struct mk_doc *read_defaults(struct mantik *m, int64_t project_id)
{
	_cleanup_call_ struct mk_call call;
	struct mk_text text = {};
	struct mk_doc *doc = NULL;

	mk_call_init(&call);
	if (mk_text_get(&call, m, MK_TEXT_DEFAULTS, project_id, &text) < 0)
		return NULL;
	if (mk_doc_parse(&call, "defaults.yaml", text.text, text.len, &doc) < 0)
		doc = NULL;
	mk_text_free(&text);
	return doc;
}

static bool has_default(struct mk_doc *defaults, const char *key)
{
	return defaults && defaults->type == MK_DOC_MAP && mk_doc_get(defaults, key);
}

int mk_spec_template(struct mk_call *call, struct mantik *m, int64_t repository_id,
		     const char *branch, const struct mk_oid *commit, const char *mlproject,
		     const char *entry_point, struct mk_buf *ret)
{
	_cleanup_mlproject_ struct mk_mlproject project = {};
	_cleanup_(mk_repository_free) struct mk_repository repository = {};
	_cleanup_(mk_project_free) struct mk_project owner = {};
	_cleanup_(mk_doc_freep) struct mk_doc *defaults = NULL;
	const struct mk_entry_point *entry = NULL;
	char sha[41];
	int r = read_project(call, m, repository_id, commit, mlproject, &project);

	if (r < 0)
		return r;
	for (size_t i = 0; i < project.n_entry_points; i++)
		if (strcmp(project.entry_points[i].name, entry_point) == 0)
			entry = &project.entry_points[i];
	if (!entry)
		return mk_fail(call, ENOENT, "%s has no entry point \"%s\"", mlproject,
			       entry_point);
	r = mk_repository_get(call, m, repository_id, &repository);
	if (r < 0)
		return r;
	r = mk_project_get(call, m, repository.project_id, &owner);
	if (r < 0)
		return r;
	defaults = read_defaults(m, repository.project_id);
	mk_oid_text(commit, sha);

	const struct mk_entry_spec spec = {
		.repository = repository.name,
		.branch = branch,
		.commit = sha,
		.mlproject = mlproject,
		.experiment = has_default(defaults, "experiment") ? NULL
			      : project.name			  ? project.name
								  : repository.name,
		.site = has_default(defaults, "site") ? NULL
			: owner.site		      ? owner.site
						      : "local",
	};

	return mk_entry_spec_write(call, &spec, entry, ret);
}
