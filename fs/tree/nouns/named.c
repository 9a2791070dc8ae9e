/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a person makes by mkdir and calls by a name: projects, experiments and repositories. Their
 * directories list, find, make, rename and remove alike; the table says which call of the platform
 * does it. The noun is the kind of the row (of a listing: the kind of its placeholder).
 */
#include "../noun.h"

struct thing {
	int64_t id;
	int64_t changed;
};
typedef int thing_emit(void *arg, const char *name, const struct thing *thing);

struct listing {
	thing_emit *emit;
	void *arg;
};

struct named {
	const char *stays;
	int (*list)(struct fs_at *at, struct listing *listing);
	int (*find)(struct fs_at *at, const char *name, struct thing *ret);
	int (*get)(struct fs_at *at, int64_t id, struct thing *ret);
	int (*make)(struct fs_at *at, const char *name, int64_t *ret_id);
	int (*remove)(struct mk_call *call, struct mantik *m, int64_t id);
	int (*rename)(struct mk_call *call, struct mantik *m, int64_t id, const char *name);
};

/* --- projects/ ------------------------------------------------------------------------------ */

static int emit_project(void *arg, const struct mk_project *project)
{
	struct listing *l = arg;

	return l->emit(l->arg, project->name, &(struct thing){project->id, project->changed});
}

static int list_projects(struct fs_at *at, struct listing *listing)
{
	return mk_project_list(at->call, at->m, emit_project, listing);
}

static int find_project(struct fs_at *at, const char *name, struct thing *ret)
{
	_cleanup_(mk_project_free) struct mk_project project = {};
	int r = mk_project_find(at->call, at->m, name, &project);

	if (r == 0)
		*ret = (struct thing){project.id, project.changed};
	return r;
}

static int get_project(struct fs_at *at, int64_t id, struct thing *ret)
{
	_cleanup_(mk_project_free) struct mk_project project = {};
	int r = mk_project_get(at->call, at->m, id, &project);

	if (r == 0)
		*ret = (struct thing){project.id, project.changed};
	return r;
}

static int make_project(struct fs_at *at, const char *name, int64_t *ret_id)
{
	return mk_project_make(at->call, at->m, name, ret_id);
}

/* --- experiments/ --------------------------------------------------------------------------- */

static int emit_experiment(void *arg, const struct mk_experiment *experiment)
{
	struct listing *l = arg;

	return l->emit(l->arg, experiment->name,
		       &(struct thing){experiment->id, experiment->changed});
}

static int list_experiments(struct fs_at *at, struct listing *listing)
{
	return mk_experiment_list(at->call, at->m, at->object, emit_experiment, listing);
}

static int find_experiment(struct fs_at *at, const char *name, struct thing *ret)
{
	_cleanup_(mk_experiment_free) struct mk_experiment experiment = {};
	int r = mk_experiment_find(at->call, at->m, at->object, name, &experiment);

	if (r == 0)
		*ret = (struct thing){experiment.id, experiment.changed};
	return r;
}

static int get_experiment(struct fs_at *at, int64_t id, struct thing *ret)
{
	_cleanup_(mk_experiment_free) struct mk_experiment experiment = {};
	int r = mk_experiment_get(at->call, at->m, id, &experiment);

	if (r == 0)
		*ret = (struct thing){experiment.id, experiment.changed};
	return r;
}

static int make_experiment(struct fs_at *at, const char *name, int64_t *ret_id)
{
	return mk_experiment_make(at->call, at->m, at->object, name, ret_id);
}

/* --- code/ ---------------------------------------------------------------------------------- */

static int emit_repository(void *arg, const struct mk_repository *repository)
{
	struct listing *l = arg;

	return l->emit(l->arg, repository->name,
		       &(struct thing){repository->id, repository->changed});
}

static int list_repositories(struct fs_at *at, struct listing *listing)
{
	return mk_repository_list(at->call, at->m, at->object, emit_repository, listing);
}

static int find_repository(struct fs_at *at, const char *name, struct thing *ret)
{
	_cleanup_(mk_repository_free) struct mk_repository repository = {};
	int r = mk_repository_find(at->call, at->m, at->object, name, &repository);

	if (r == 0)
		*ret = (struct thing){repository.id, repository.changed};
	return r;
}

static int get_repository(struct fs_at *at, int64_t id, struct thing *ret)
{
	_cleanup_(mk_repository_free) struct mk_repository repository = {};
	int r = mk_repository_get(at->call, at->m, id, &repository);

	if (r == 0)
		*ret = (struct thing){repository.id, repository.changed};
	return r;
}

static int make_repository(struct fs_at *at, const char *name, int64_t *ret_id)
{
	return mk_repository_make(at->call, at->m, at->object, name, ret_id);
}

static const struct named nouns[] = {
	[FS_PROJECT] = {"a project stays in projects/", list_projects, find_project, get_project,
			make_project, mk_project_remove, mk_project_rename},
	[FS_EXPERIMENT] = {"an experiment stays in its project", list_experiments, find_experiment,
			   get_experiment, make_experiment, mk_experiment_remove,
			   mk_experiment_rename},
	[FS_REPOSITORY] = {"a repository stays in its project", list_repositories, find_repository,
			   get_repository, make_repository, mk_repository_remove,
			   mk_repository_rename},
};

static const struct named *children_of(const struct fs_at *at)
{
	return &nouns[fs_placeholder(at->row, 0)->kind];
}

/* --- what they share ------------------------------------------------------------------------ */

/* The name a directory entry to be made stands for. EINVAL with how to write it. */
static int new_name(struct fs_at *at, const char *entry, struct mk_buf *ret)
{
	_cleanup_buf_ struct mk_buf right = MK_BUF(4096);
	int r = mk_name_unescape(ret, entry, strlen(entry));

	if (r == 0)
		return 0;
	if (r != -EINVAL && r != -ENOENT)
		return mk_fail(at->call, -r, "%s: no name can be made of it", entry);
	(void)mk_name_escape(&right, entry, strlen(entry));
	return mk_fail(at->call, EINVAL, "%s: to make this very name write %s", entry,
		       mk_buf_text(&right));
}

static void found(struct fs_at *at, const struct thing *thing, struct fs_child *child)
{
	child->row = fs_placeholder(at->row, 0);
	child->object = thing->id;
	child->known = true;
	child->stat = (struct fs_stat){.size = 0, .mtime = thing->changed};
}

struct emitting {
	struct fs_at *at;
	fs_emit *emit;
	void *arg;
};

static int emit_thing(void *arg, const char *given, const struct thing *thing)
{
	struct emitting *e = arg;
	_cleanup_buf_ struct mk_buf name = MK_BUF(4096);
	struct fs_child child = {};
	int r = mk_name_escape(&name, given, strlen(given));

	if (r < 0)
		return r;
	found(e->at, thing, &child);
	child.name = mk_buf_text(&name);
	return e->emit(e->arg, &child);
}

int fs_named_list(struct fs_at *at, uint64_t after, fs_emit *emit, void *arg)
{
	struct emitting e = {at, emit, arg};

	(void)after;
	return children_of(at)->list(at, &(struct listing){emit_thing, &e});
}

struct seeking { /* a cut name is found by comparing */
	const char *entry;
	struct thing thing;
};

static int seek_thing(void *arg, const char *name, const struct thing *thing)
{
	struct seeking *s = arg;

	if (mk_name_is(s->entry, name))
		s->thing = *thing;
	return 0;
}

int fs_named_find(struct fs_at *at, const char *name, struct fs_child *child)
{
	_cleanup_buf_ struct mk_buf real = MK_BUF(4096);
	struct seeking s = {.entry = name};
	int r = mk_name_unescape(&real, name, strlen(name));

	if (r == -EINVAL)
		return -ENOENT;
	if (r == -ENOENT) {
		r = children_of(at)->list(at, &(struct listing){seek_thing, &s});
		if (r == 0 && !s.thing.id)
			return -ENOENT;
	} else if (r == 0) {
		r = children_of(at)->find(at, mk_buf_text(&real), &s.thing);
	}
	if (r < 0)
		return r;
	found(at, &s.thing, child);
	return 0;
}

int fs_named_make(struct fs_at *at, const char *name, struct fs_child *child)
{
	_cleanup_buf_ struct mk_buf real = MK_BUF(4096);
	int r = new_name(at, name, &real);

	if (r < 0)
		return r;
	child->row = fs_placeholder(at->row, 0);
	return children_of(at)->make(at, mk_buf_text(&real), &child->object);
}

int fs_named_stat(struct fs_at *at, struct fs_stat *st)
{
	struct thing thing;
	int r = nouns[at->row->kind].get(at, at->object, &thing);

	if (r < 0)
		return r;
	st->mtime = thing.changed;
	return 0;
}

int fs_named_remove(struct fs_at *at)
{
	return nouns[at->row->kind].remove(at->call, at->m, at->object);
}

int fs_named_rename(struct fs_at *at, struct fs_at *to, const char *name)
{
	const struct named *noun = &nouns[at->row->kind];
	_cleanup_buf_ struct mk_buf real = MK_BUF(4096);

	if (to->node != at->parent)
		return mk_fail(at->call, EPERM, "%s", noun->stays);

	int r = new_name(at, name, &real);

	if (r == -EINVAL) { /* which mv takes for "into itself" */
		_cleanup_free_ char *why = mk_strdup(at->call->error.text);

		return mk_fail(at->call, EPERM, "%s", why ? why : name);
	}
	return r < 0 ? r : noun->rename(at->call, at->m, at->object, mk_buf_text(&real));
}
