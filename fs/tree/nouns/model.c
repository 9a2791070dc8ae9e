/* SPDX-License-Identifier: Apache-2.0 */
/*
 * models/ of a project: registered models, their versions, and their aliases as links to versions;
 * models/ of a run: what it logged. Neither is there where there can be none. The files in them are
 * in bytes.c.
 */
#include "../noun.h"

struct emitting {
	struct fs_at *at;
	fs_emit *emit;
	void *arg;
};

/* The name a directory entry stands for; -ENOENT for an entry nobody could give. */
static int real_name(const char *entry, struct mk_buf *ret)
{
	int r = mk_name_unescape(ret, entry, strlen(entry));

	return r == -EINVAL ? -ENOENT : r;
}

static int emit_named(struct emitting *e, const char *name, struct fs_child *child)
{
	_cleanup_buf_ struct mk_buf entry = MK_BUF(4096);
	int r = mk_name_escape(&entry, name, strlen(name));

	if (r < 0)
		return r;
	child->name = mk_buf_text(&entry);
	return e->emit(e->arg, child);
}

/* --- models/ of a project ------------------------------------------------------------------ */

int fs_models_stat(struct fs_at *at, struct fs_stat *st)
{
	_cleanup_(mk_project_free) struct mk_project project = {};
	int r = mk_project_get(at->call, at->m, at->object, &project);

	if (r == 0)
		r = mk_models_any(at->call, at->m, at->object);
	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	st->size = 0;
	st->mtime = project.changed;
	return 0;
}

static void fill_model(struct fs_at *at, const struct mk_model *model, struct fs_child *child)
{
	child->row = fs_placeholder(at->row, 0);
	child->object = model->id;
	child->known = true;
	child->stat = (struct fs_stat){.size = 0, .mtime = model->changed};
}

static int emit_model(void *arg, const struct mk_model *model)
{
	struct emitting *e = arg;
	struct fs_child child = {};

	fill_model(e->at, model, &child);
	return emit_named(e, model->name, &child);
}

int fs_models_list(struct fs_at *at, uint64_t after, fs_emit *emit, void *arg)
{
	struct emitting e = {at, emit, arg};

	(void)after;
	return mk_model_list(at->call, at->m, at->object, emit_model, &e);
}

struct seeking { /* a cut name is found by comparing */
	const char *entry;
	int64_t id;
};

static int seek_model(void *arg, const struct mk_model *model)
{
	struct seeking *s = arg;

	if (mk_name_is(s->entry, model->name))
		s->id = model->id;
	return 0;
}

int fs_models_find(struct fs_at *at, const char *name, struct fs_child *child)
{
	_cleanup_(mk_model_free) struct mk_model model = {};
	_cleanup_buf_ struct mk_buf real = MK_BUF(4096);
	struct seeking s = {.entry = name};
	int r = mk_name_unescape(&real, name, strlen(name));

	if (r == -EINVAL)
		return -ENOENT;
	if (r == -ENOENT) {
		r = mk_model_list(at->call, at->m, at->object, seek_model, &s);
		if (r == 0 && !s.id)
			return -ENOENT;
		if (r == 0)
			r = mk_model_get(at->call, at->m, s.id, &model);
	} else if (r == 0) {
		r = mk_model_find(at->call, at->m, at->object, mk_buf_text(&real), &model);
	}
	if (r < 0)
		return r;
	fill_model(at, &model, child);
	return 0;
}

int fs_model_stat(struct fs_at *at, struct fs_stat *st)
{
	_cleanup_(mk_model_free) struct mk_model model = {};
	int r = mk_model_get(at->call, at->m, at->object, &model);

	if (r < 0)
		return r;
	st->size = 0;
	st->mtime = model.changed;
	return 0;
}

/* --- a model: versions and aliases --------------------------------------------------------- */

static void fill_version(struct fs_at *at, const struct mk_version *version,
			 struct fs_child *child)
{
	child->row = fs_placeholder(at->row, 0);
	child->object = version->id;
	child->known = true;
	child->stat = (struct fs_stat){.size = 0, .mtime = version->changed};
}

static void fill_alias(struct fs_at *at, const struct mk_version *version, struct fs_child *child)
{
	child->row = fs_placeholder(at->row, 1);
	child->object = version->id;
}

static int emit_version(void *arg, const struct mk_version *version)
{
	struct emitting *e = arg;
	struct fs_child child = {};
	int r;

	fill_version(e->at, version, &child);
	r = emit_named(e, version->version, &child);
	for (size_t i = 0; r == 0 && i < version->aliases.n; i++) {
		child = (struct fs_child){};
		fill_alias(e->at, version, &child);
		r = emit_named(e, version->aliases.v[i], &child);
	}
	return r;
}

int fs_versions_list(struct fs_at *at, uint64_t after, fs_emit *emit, void *arg)
{
	struct emitting e = {at, emit, arg};

	(void)after;
	return mk_version_list(at->call, at->m, at->object, emit_version, &e);
}

struct finding {
	struct fs_at *at;
	const char *alias;
	struct fs_child *child;
	bool found;
};

static int find_alias(void *arg, const struct mk_version *version)
{
	struct finding *f = arg;

	if (!f->found && mk_list_has(&version->aliases, f->alias)) {
		fill_alias(f->at, version, f->child);
		f->found = true;
	}
	return 0;
}

int fs_versions_find(struct fs_at *at, const char *name, struct fs_child *child)
{
	_cleanup_(mk_version_free) struct mk_version version = {};
	_cleanup_buf_ struct mk_buf real = MK_BUF(4096);
	int r = real_name(name, &real);

	if (r < 0)
		return r;
	r = mk_version_find(at->call, at->m, at->object, mk_buf_text(&real), &version);
	if (r == 0)
		fill_version(at, &version, child);
	if (r != -ENOENT)
		return r;
	mk_error_clear(at->call);

	struct finding finding = {.at = at, .alias = mk_buf_text(&real), .child = child};

	r = mk_version_list(at->call, at->m, at->object, find_alias, &finding);
	return r < 0 ? r : finding.found ? 0 : -ENOENT;
}

/* The directory, and model.yaml in it: what stands there changes without any number telling so. */
int fs_version_stat(struct fs_at *at, struct fs_stat *st)
{
	_cleanup_(mk_version_free) struct mk_version version = {};
	int r = mk_version_get(at->call, at->m, at->object, &version);

	if (r < 0)
		return r;
	st->mtime = version.changed;
	return 0;
}

/* model.yaml: its generation is that of its text, so that nobody saves over what he has not read. */
int fs_model_yaml_stat(struct fs_at *at, struct fs_stat *st)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF(MK_LIMIT_TEXT);
	int r = fs_version_stat(at, st);

	if (r == 0)
		r = mk_version_yaml(at->call, at->m, at->object, &text);
	if (r < 0)
		return r;
	st->size = (int64_t)text.len;
	st->generation = mk_version_generation(&text);
	return 0;
}

int fs_model_yaml_commit(struct fs_at *at, struct fs_commit *commit)
{
	return mk_version_put(at->call, at->m, at->object, commit->text, commit->len, commit->seen);
}

int fs_version_show(struct fs_at *at, struct mk_buf *text)
{
	return mk_version_yaml(at->call, at->m, at->object, text);
}

int fs_alias_link(struct fs_at *at, struct mk_buf *target)
{
	_cleanup_(mk_version_free) struct mk_version version = {};
	int r = mk_version_get(at->call, at->m, at->object, &version);

	return r < 0 ? r : mk_name_escape(target, version.version, strlen(version.version));
}

/* --- models/ of a run ---------------------------------------------------------------------- */

int fs_run_models_stat(struct fs_at *at, struct fs_stat *st)
{
	_cleanup_run_ struct fs_run *run = NULL;
	int r = fs_run_get(at, at->object, &run);

	if (r == 0)
		r = mk_run_models_any(at->call, at->m, at->object);
	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	st->size = 0;
	st->mtime = run->run.changed;
	return 0;
}

int fs_run_models_list(struct fs_at *at, uint64_t after, fs_emit *emit, void *arg)
{
	_cleanup_pairs_ struct mk_pairs names = {};
	struct emitting e = {at, emit, arg};
	int r = mk_run_models(at->call, at->m, at->object, &names);

	(void)after;
	for (size_t i = 0; r == 0 && i < names.n; i++) {
		struct fs_child child = {.row = fs_placeholder(at->row, 0)};

		r = emit_named(&e, names.v[i].key, &child);
	}
	return r;
}

int fs_run_models_find(struct fs_at *at, const char *name, struct fs_child *child)
{
	_cleanup_pairs_ struct mk_pairs names = {};
	_cleanup_buf_ struct mk_buf real = MK_BUF(4096);
	int r = real_name(name, &real);

	if (r == 0)
		r = mk_run_models(at->call, at->m, at->object, &names);
	if (r < 0)
		return r;
	if (!mk_pairs_get(&names, mk_buf_text(&real)))
		return -ENOENT;
	child->row = fs_placeholder(at->row, 0);
	return 0;
}
