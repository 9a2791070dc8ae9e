/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an operand names. People paste whatever is at hand: a path of the mount, a path of the tree,
 * a run's directory name, a short or full id, a site's job id. Paths are taken apart as texts: a
 * mount that hangs must not hang the command that could repair it.
 */
#include "ctl.h"

#include <mantik/name.h>
#include <mantik/project.h>
#include <mantik/run.h>

#include <errno.h>
#include <limits.h>
#include <string.h>

char *ctl_tree_path(const char *operand)
{
	static const char *const tops[] = {"/projects", "/sites", "/connections", "/.mantik",
					   "/README.txt"};
	_cleanup_free_ char *path = ctl_absolute(operand);
	_cleanup_buf_ struct mk_buf usual = MK_BUF(PATH_MAX);
	const char *inside = ctl_below_a_mount(path), *home = getenv("HOME");

	if (!inside && home) {
		mk_buf_printf(&usual, "%s/mantik", home);
		inside = ctl_below(path, mk_buf_text(&usual));
		/* A folder of that name with something else in it is the user's own. */
		if (inside && access(path, F_OK) == 0 && strcmp(inside, "/") != 0)
			inside = NULL;
	}
	if (inside)
		return mk_strdup(inside);
	for (size_t i = 0; *operand == '/' && i < sizeof(tops) / sizeof(*tops); i++)
		if (ctl_below(path, tops[i]))
			return mk_steal(&path);
	return NULL;
}

int ctl_need_tree_path(struct ctl *ctl, const char *operand, char **ret)
{
	char *path = ctl_tree_path(operand);

	if (!path && *operand == '/')
		path = ctl_absolute(operand);
	if (!path)
		return mk_fail(&ctl->call, EINVAL,
			       "%s: not in the tree: write it as /projects/... or below the mount",
			       operand);
	*ret = path;
	return 0;
}

/* Splits the first part off: "/a/b" gives "a" and leaves "/b". NULL at the end. */
static char *first_part(const char **path)
{
	const char *begin = *path + strspn(*path, "/");
	const size_t len = strcspn(begin, "/");

	*path = begin + len;
	return len ? mk_strndup(begin, len) : NULL;
}

static int find_project(struct ctl *ctl, const char *name, bool deleted, struct mk_project *ret)
{
	return deleted ? mk_project_find_deleted(&ctl->call, ctl->m, name, ret)
		       : mk_project_find(&ctl->call, ctl->m, name, ret);
}

int ctl_project_named(struct ctl *ctl, const char *entry, bool deleted, int64_t *ret_id)
{
	_cleanup_(mk_project_free) struct mk_project project = {};
	_cleanup_buf_ struct mk_buf name = MK_BUF(4096);
	int r;

	/* A name as a person gave it, or as a directory shows it. */
	r = find_project(ctl, entry, deleted, &project);
	if (r == -ENOENT && mk_name_unescape(&name, entry, strlen(entry)) == 0)
		r = find_project(ctl, mk_buf_text(&name), deleted, &project);
	if (r == -ENOENT)
		return mk_fail(&ctl->call, ENOENT, "there is no project %s", entry);
	if (r < 0)
		return r;
	*ret_id = project.id;
	return 0;
}

int ctl_project_of(struct ctl *ctl, const char **path, int64_t *ret_id)
{
	_cleanup_free_ char *top = first_part(path), *project = NULL;
	int r;

	if (!top || strcmp(top, "projects") != 0)
		return 0;
	project = first_part(path);
	if (!project)
		return 0;
	r = ctl_project_named(ctl, project, false, ret_id);
	return r < 0 ? r : 1;
}

struct projects {
	struct mk_buf names;
	int64_t id;
	int n;
};

static void free_projects(struct projects *all)
{
	mk_buf_free(&all->names);
}

static int note_project(void *arg, const struct mk_project *project)
{
	struct projects *all = arg;

	mk_buf_printf(&all->names, "%s%s", all->n ? ", " : "", project->name);
	all->id = project->id;
	all->n++;
	return all->n >= 8;
}

static int only_project(struct ctl *ctl, int64_t *ret_id)
{
	_cleanup_(free_projects) struct projects all = {.names = MK_BUF(MK_LIMIT_TEXT)};
	int r = mk_project_list(&ctl->call, ctl->m, note_project, &all);

	if (r < 0)
		return r;
	if (all.n == 0)
		return mk_fail(&ctl->call, ENOENT,
			       "there is no project yet: mkdir one below projects/ in the mount, or "
			       "mantikctl cp a repository.yaml to /projects/NAME/code/REPOSITORY/");
	if (all.n > 1)
		return mk_fail(&ctl->call, EINVAL, "which project? -p with one of: %s%s",
			       mk_buf_text(&all.names), all.n >= 8 ? ", ..." : "");
	*ret_id = all.id;
	return 0;
}

int ctl_project(struct ctl *ctl, const char *hint, int64_t *ret_id)
{
	const char *named = ctl_option(ctl, "project");
	_cleanup_free_ char *hint_path = hint ? ctl_tree_path(hint) : NULL;
	_cleanup_free_ char *here = ctl_tree_path(".");
	const char *places[] = {hint_path, here};
	int r;

	if (named) {
		_cleanup_free_ char *path = strchr(named, '/') ? ctl_tree_path(named) : NULL;
		const char *p = path;

		if (!path)
			return ctl_project_named(ctl, named, false, ret_id);
		r = ctl_project_of(ctl, &p, ret_id);
		return r == 0 ? mk_fail(&ctl->call, ENOENT, "%s: not a project", named)
			      : r < 0 ? r : 0;
	}
	for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
		const char *p = places[i];

		r = p ? ctl_project_of(ctl, &p, ret_id) : 0;
		if (r != 0)
			return r < 0 ? r : 0;
	}
	return only_project(ctl, ret_id);
}

int ctl_run(struct ctl *ctl, const char *operand, int64_t *ret_id)
{
	_cleanup_free_ char *path = ctl_tree_path(operand);
	const char *p = path;
	int64_t project = 0;
	int r;

	if (!path || strchr(operand, '/') == NULL) {
		/* A bare name is a run's, unless it is a directory of the mount we stand in. */
		if (strcmp(operand, ".") != 0 && strcmp(operand, "..") != 0) {
			if (ctl_option(ctl, "project")) {
				r = ctl_project(ctl, NULL, &project);
				if (r < 0)
					return r;
			}
			if (strcmp(operand, "latest") == 0)
				r = mk_run_latest(&ctl->call, ctl->m, project, ret_id);
			else
				r = mk_run_resolve(&ctl->call, ctl->m, project, operand, ret_id);
			if (r == 0 && *ret_id == 0)
				return mk_fail(&ctl->call, ENOENT, "you have submitted no run yet");
			if (r == -ENOENT)
				return mk_fail(&ctl->call, ENOENT, "there is no run %s", operand);
			return r;
		}
		if (!path)
			return mk_fail(&ctl->call, ENOENT, "%s: not below a mount", operand);
	}

	/* /projects/P/runs[/deleted]/R/… or /projects/P/experiments/E/runs/R/… */
	r = ctl_project_of(ctl, &p, &project);
	if (r < 0)
		return r;
	for (_cleanup_free_ char *part = NULL; r == 1 && (part = first_part(&p));) {
		const bool is_runs = strcmp(part, "runs") == 0;

		mk_freep(&part);
		if (!is_runs)
			continue;
		part = first_part(&p);
		if (part && strcmp(part, "deleted") == 0) {
			mk_freep(&part);
			part = first_part(&p);
		}
		if (!part)
			break;
		if (strcmp(part, "latest") == 0)
			r = mk_run_latest(&ctl->call, ctl->m, project, ret_id);
		else
			r = mk_run_resolve(&ctl->call, ctl->m, project, part, ret_id);
		if (r == -ENOENT || (r == 0 && *ret_id == 0))
			return mk_fail(&ctl->call, ENOENT, "%s: there is no such run", operand);
		return r;
	}
	return mk_fail(&ctl->call, ENOENT, "%s: not a run", operand);
}

int ctl_named(struct ctl *ctl, const char *operand, int r)
{
	const char *text = ctl->call.error.text;

	if (r >= 0 || !text || strncmp(text, operand, strlen(operand)) == 0)
		return r;
	return mk_prefix(&ctl->call, r, "%s", operand);
}

int ctl_each_run(struct ctl *ctl, ctl_run_verb *verb)
{
	int result = 0;

	for (int i = 0; i < ctl->n_operands; i++) {
		int64_t id = 0;
		int r = ctl_run(ctl, ctl->operands[i], &id);

		if (r == 0)
			r = ctl_named(ctl, ctl->operands[i], verb(ctl, id));
		if (r == -EINTR)
			return r;
		if (r < 0) {
			ctl_complain(ctl, r);
			mk_error_clear(&ctl->call);
			result = result ? result : ctl_status_of(-r);
		}
	}
	return result;
}
