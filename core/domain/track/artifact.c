/* SPDX-License-Identifier: Apache-2.0 */
/* Where paths of the tracking API lead: see artifact.h. */
#include "domain/track/artifact.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "base/file.h"
#include "base/utf8.h"

enum { UID = 32 };

void mk_artifact_free(struct mk_artifact *artifact)
{
	mk_kept_free(&artifact->kept);
	free(artifact->path);
	free(artifact->uri);
	free(artifact->id);
	*artifact = (struct mk_artifact){};
}

/* "" is the directory itself; a slash at the end is left away. */
int mk_artifact_check(struct mk_call *call, const char *path)
{
	size_t len = strlen(path);

	if (len >= PATH_MAX - 256)
		return mk_fail(call, EINVAL, "Invalid path: it has %zu bytes", len);
	if (mk_utf8_bad(path, len) != len)
		return mk_fail(call, EINVAL, "Invalid path: it is not UTF-8");
	for (const char *s = path; *s;) {
		size_t part = strcspn(s, "/");

		if (part == 0 || (part == 1 && *s == '.') || (part == 2 && strncmp(s, "..", 2) == 0))
			return mk_fail(call, EINVAL, "Invalid path"); /* MLflow's words, no more */
		if (part > NAME_MAX)
			return mk_fail(call, EINVAL, "Invalid path: a name of %zu bytes, at most %d"
						     " are possible",
				       part, NAME_MAX);
		s += part;
		s += *s == '/';
	}
	return 0;
}

static char *without_slash(const char *path)
{
	size_t len = strlen(path);

	return mk_strndup(path, len && path[len - 1] == '/' ? len - 1 : len);
}

static bool is_here(const char *uri)
{
	return strncmp(uri, MK_ARTIFACT_SCHEME, strlen(MK_ARTIFACT_SCHEME)) == 0;
}

int mk_artifact_of_run(struct mk_call *call, struct mantik *m, int64_t project_id, const char *uid,
		       const char *path, struct mk_artifact *ret)
{
	static const char sql[] =
		"SELECT r.id, r.uid, r.experiment_id, r.project_id, r.deleted, r.artifact_uri"
		" FROM runs r JOIN projects p ON p.id = r.project_id"
		" WHERE r.uid = ?1 AND p.connection IS NULL AND (?2 = 0 OR p.id = ?2)";
	_cleanup_artifact_ struct mk_artifact found = {};
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_artifact_check(call, path);

	if (r == 0)
		r = mk_db_read(call, m->db, sql, &stmt);
	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, uid);
	mk_bind_int(stmt, 2, project_id);
	r = mk_step(call, stmt);
	if (r <= 0)
		return r < 0 ? r : mk_fail(call, ENOENT, "Run with id=%s not found", uid);
	if (mk_col_text(stmt, 5) && !is_here(mk_col_text(stmt, 5)))
		return mk_fail(call, EOPNOTSUPP,
			       "run %.8s: its artifacts are at %s, as its experiment's"
			       " artifact_location says; mantikd does not reach them",
			       uid, mk_col_text(stmt, 5));
	found = (struct mk_artifact){
		.path = without_slash(path),
		.uri = mk_col_text(stmt, 5)
			       ? mk_col_dup(stmt, 5)
			       : mk_strf(MK_ARTIFACT_SCHEME "%lld/%s/artifacts",
					 (long long)mk_col_int(stmt, 2), mk_col_text(stmt, 1)),
		.id = mk_col_dup(stmt, 1),
		.project_id = mk_col_int(stmt, 3),
		.deleted = mk_col_int(stmt, 4) != 0,
	};

	int64_t id = mk_col_int(stmt, 0);

	mk_reset(&stmt);
	r = mk_kept_of_run(call, m, id, &found.kept);
	if (r < 0)
		return r;
	found.kept.follow = true;
	*ret = found;
	found = (struct mk_artifact){};
	return 0;
}

int mk_artifact_of_model(struct mk_call *call, struct mantik *m, int64_t project_id,
			 const char *model_id, const char *path, struct mk_artifact *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_artifact_check(call, path);

	if (r == 0)
		r = mk_db_read(call, m->db,
			       "SELECT model_id, experiment_id, project_id, deleted"
			       " FROM logged_models WHERE model_id = ?1"
			       " AND experiment_id IS NOT NULL AND (?2 = 0 OR project_id = ?2)",
			       &stmt);
	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, model_id);
	mk_bind_int(stmt, 2, project_id);
	r = mk_step(call, stmt);
	if (r <= 0)
		return r < 0 ? r
			     : mk_fail(call, ENOENT, "Logged model with ID '%s' not found.",
				       model_id);
	*ret = (struct mk_artifact){
		.path = without_slash(path),
		.uri = mk_strf(MK_ARTIFACT_SCHEME "%lld/models/%s/artifacts",
			       (long long)mk_col_int(stmt, 1), mk_col_text(stmt, 0)),
		.id = mk_col_dup(stmt, 0),
		.project_id = mk_col_int(stmt, 2),
		.model = true,
		.deleted = mk_col_int(stmt, 3) != 0,
	};
	mk_kept_of_model(m, mk_col_text(stmt, 0), &ret->kept);
	return 0;
}

/* The part up to the next slash, behind which *s is afterwards. */
static char *take_part(const char **s)
{
	size_t len = strcspn(*s, "/");
	char *part = mk_strndup(*s, len);

	*s += len;
	*s += **s == '/';
	return part;
}

/* Over what an experiment is called, or where its artifact_location says its runs are, to the run or
 * to `models`. False: there is neither. */
static bool skip_location(const char **s)
{
	for (size_t parts = 0; **s; parts++) {
		size_t len = strcspn(*s, "/");

		if (parts && ((len == UID && strspn(*s, "0123456789abcdef") == UID) ||
			      (len == 6 && strncmp(*s, "models/", 7) == 0)))
			return true;
		*s += len;
		*s += **s == '/';
	}
	return false;
}

int mk_artifact_find(struct mk_call *call, struct mantik *m, int64_t project_id, const char *path,
		     struct mk_artifact *ret)
{
	const char *s = path;
	int r = mk_artifact_check(call, path);

	if (r < 0)
		return r;
	if (!skip_location(&s))
		return mk_fail(call, ENOENT, "No such artifact: '%s'", path);

	_cleanup_free_ char *id = take_part(&s);
	bool model = strcmp(id, "models") == 0;

	if (model) {
		free(id);
		id = take_part(&s);
	}

	_cleanup_free_ char *word = take_part(&s);

	/* Whose it is comes first: a path of nothing at all must not look like an empty one. */
	r = model ? mk_artifact_of_model(call, m, project_id, id, s, ret)
		  : mk_artifact_of_run(call, m, project_id, id, s, ret);
	if (r == 0 && strcmp(word, "artifacts") != 0) {
		mk_artifact_free(ret);
		r = mk_fail(call, ENOENT, "No such artifact: '%s'", path);
	}
	return r;
}

int mk_artifact_of_uri(struct mk_call *call, struct mantik *m, const char *uri, struct mk_kept *ret)
{
	static const char runs[] = "runs:/";
	_cleanup_artifact_ struct mk_artifact artifact = {};
	int r;

	if (strncmp(uri, MK_ARTIFACT_SCHEME, strlen(MK_ARTIFACT_SCHEME)) == 0) {
		const char *path = uri + strlen(MK_ARTIFACT_SCHEME);

		r = mk_artifact_find(call, m, 0, path + strspn(path, "/"), &artifact);
	} else if (strncmp(uri, runs, strlen(runs)) == 0) {
		const char *path = uri + strlen(runs);

		path += strspn(path, "/");

		_cleanup_free_ char *uid = take_part(&path);

		r = mk_artifact_of_run(call, m, 0, uid, path, &artifact);
	} else {
		return mk_fail(call, EXDEV, "%s: its files are not here", uri);
	}
	if (r < 0)
		return r;
	mk_kept_down(&artifact.kept, artifact.path);
	/* Shown as what they are, links as links. */
	artifact.kept.follow = false;
	*ret = artifact.kept;
	artifact.kept = (struct mk_kept){};
	return 0;
}
