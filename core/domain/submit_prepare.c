/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a text to runs that can be made: each spec is laid over the defaults, its code and MLproject
 * found (submit_code.c, submit_mlproject.c), its backend config read from that commit, each
 * combination of its sweep checked. The first thing that is wrong ends it, with the line that is to
 * blame.
 */
#include "domain/submit.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include <mantik/site.h>

#include "base/program.h"
#include "connect/connect.h"
#include "format/command.h"
#include "format/plan.h"
#include "format/script.h"
#include "format/sweep.h"

enum { MAX_BYTES = 256 << 20 /* of all texts of one write */ };

static void common_free(struct common *c)
{
	mk_spec_free(&c->spec);
	free(c->mlproject);
	mk_mlproject_free(&c->project);
	mk_list_free(&c->after);
	free(c->after_ids);
	free(c->waits_for);
	free(c->backend_key);
	free(c->backend_path);
	free(c->site);
	mk_backend_free(&c->backend);
}

static void new_run_free(struct new_run *run)
{
	free(run->name);
	free(run->experiment);
	free(run->site);
	free(run->account);
	free(run->queue);
	free(run->mlproject);
	free(run->entry_point);
	free(run->environment);
	mk_pairs_free(&run->params);
	free(run->after);
	free(run->waits_for);
	free(run->spec);
	free(run->script);
	free(run->plan);
	mk_list_free(&run->notes);
	free(run->dir);
}

void mk_submission_free(struct submission *s)
{
	for (size_t i = 0; i < s->n_runs; i++)
		new_run_free(&s->runs[i]);
	free(s->runs);
	for (size_t i = 0; i < s->n_codes; i++) {
		free(s->codes[i]->key);
		free(s->codes[i]->repository);
		free(s->codes[i]->path);
		free(s->codes[i]->branch);
		free(s->codes[i]->diff);
		free(s->codes[i]->head);
		free(s->codes[i]);
	}
	free(s->codes);
	mk_project_free(&s->project);
}

static void note(struct mk_list *notes, const char *text)
{
	(void)!mk_list_add(notes, text); /* out of memory: told nothing more */
}

static void add_notes(struct mk_list *to, const struct mk_list *from)
{
	for (size_t i = 0; i < from->n; i++)
		note(to, from->v[i]);
}

/* --- after ------------------------------------------------------------------------------- */

static int resolve_after(struct mk_call *call, struct submission *s, struct common *c)
{
	size_t n = mk_spec_count(c->spec.after);
	_cleanup_buf_ struct mk_buf words = MK_BUF(MK_LIMIT_TEXT);

	c->after_ids = mk_alloc((n + 1) * sizeof(*c->after_ids));
	for (size_t i = 0; i < n; i++) {
		const struct mk_doc *item = mk_spec_item(c->spec.after, i);
		_cleanup_(mk_run_free) struct mk_run other = {};
		int64_t id = 0;
		int r = mk_run_resolve(call, s->m, s->project_id, item->text, &id);

		if (r == 0)
			r = mk_run_get(call, s->m, id, &other);
		if (r < 0)
			return mk_submission_blame(call, item, mk_prefix(call, r, "after"));
		if (other.deleted)
			return mk_doc_fail(call, s->source, item, "after: %s is deleted",
					   other.dir);
		if (mk_status_final(other.status) && other.status != MK_FINISHED)
			return mk_doc_fail(call, s->source, item,
					   "after: %s is %s: it will never have FINISHED",
					   other.dir, mk_status_name(other.status));
		if (mk_list_has(&c->after, other.dir))
			continue;
		c->after_ids[c->after.n] = id;
		if (mk_list_add(&c->after, other.dir) < 0)
			return mk_fail(call, ENOMEM, "out of memory");
	}
	if (!c->after.n)
		return 0;
	(void)mk_buf_puts(&words, "waits until FINISHED: ");
	mk_list_words(&words, &c->after);
	c->waits_for = mk_buf_steal(&words);
	return 0;
}

/* --- backend config ---------------------------------------------------------------------- */

/* The config as one document with override: over it, each value blamed on its own text. */
static int read_backend_doc(struct mk_call *call, struct submission *s, struct common *c,
			    const char *path, struct mk_doc **ret)
{
	const struct mk_doc *given = c->spec.backend_config;
	_cleanup_(mk_doc_freep) struct mk_doc *doc = NULL;
	_cleanup_buf_ struct mk_buf text = MK_BUF(MK_LIMIT_TEXT);

	if (path && !c->code->repository_id)
		return mk_doc_fail(
			call, s->source, given,
			"backend_config is a path in the repository, and this run has none");
	if (path) {
		int r = mk_code_file(call, s->m, c->code->repository_id, &c->code->oid, path,
				     &text);

		if (r == -ENOENT)
			return mk_doc_fail(call, s->source, given, "commit %.8s has no file %s",
					   c->code->commit, path);
		if (r < 0)
			return mk_submission_blame(call, given, r);
		r = mk_doc_parse(call, path, mk_buf_text(&text), text.len, &doc);
		if (r < 0)
			return r;
	} else if (given) {
		doc = mk_doc_copy(given);
	}
	doc = mk_doc_merge(doc, c->spec.override);
	if (!doc) {
		int r = mk_doc_parse(call, s->source, "", 0, &doc);

		if (r < 0)
			return r;
	}
	*ret = mk_steal(&doc);
	return 0;
}

/* tree.md: the site the backend config names, else the project's, else local. */
static int choose_site(struct mk_call *call, struct submission *s, const struct common *c,
		       const char *source, const struct mk_backend *backend,
		       const struct mk_doc *given, const char **ret)
{
	const char *named = mk_backend_site(backend);

	if (given) {
		*ret = given->text;
		return mk_submission_blame(call, given, mk_site_exists(call, s->m, given->text));
	}
	if (!named) {
		*ret = s->project.site ? s->project.site : "local";
		return mk_submission_blame(call, c->spec.doc, mk_site_exists(call, s->m, *ret));
	}

	int r = mk_site_exists(call, s->m, named);

	if (r == -ENOENT)
		return mk_fail(call, EINVAL,
			       "%s names the site %s, which is not connected here; "
			       "\"site: local\" in the spec runs it on this machine",
			       source, named);
	*ret = named;
	return r;
}

/* Backend config and site of a run, into the cache of c. */
static int get_backend(struct mk_call *call, struct submission *s, struct common *c,
		       const struct mk_pairs *values, const struct mk_doc *site)
{
	const struct mk_doc *given = c->spec.backend_config;
	const char *guess = site ? site->text : s->project.site ? s->project.site : "local";
	_cleanup_buf_ struct mk_buf path = MK_BUF(4096), key = MK_BUF(8192);
	_cleanup_(mk_doc_freep) struct mk_doc *doc = NULL;
	_cleanup_free_ char *clean = NULL;
	const char *source = s->source, *chosen;
	int r;

	if (given && given->type == MK_DOC_SCALAR) {
		r = mk_spec_fill(call, given, "backend_config", given->text, values, guess, &path);
		if (r == 0)
			r = mk_submission_path(call, s, given, "backend_config", mk_buf_text(&path),
					       &clean);
		if (r < 0)
			return r;
		source = clean;
	}
	(void)mk_buf_printf(&key, "%s|%s", clean ? clean : "", site ? site->text : "");
	if (c->backend_key && strcmp(c->backend_key, mk_buf_text(&key)) == 0)
		return 0;

	_cleanup_backend_ struct mk_backend backend = {};

	r = read_backend_doc(call, s, c, clean, &doc);
	if (r == 0)
		r = mk_backend_parse(call, source, doc, &backend);
	if (r == 0)
		r = choose_site(call, s, c, source, &backend, site, &chosen);
	if (r < 0)
		return r;

	_cleanup_free_ char *site_name = mk_strdup(chosen);

	if (strcmp(site_name, "local") == 0) {
		r = mk_backend_localize(call, source, &backend);
		if (r == 0)
			r = mk_backend_check_local(call, source, &backend, mk_program_exists);
		if (r < 0)
			return mk_submission_blame(call, NULL, r);
	}
	free(c->backend_key);
	free(c->backend_path);
	free(c->site);
	mk_backend_free(&c->backend);
	c->backend = backend;
	backend = (struct mk_backend){};
	c->backend_key = mk_buf_steal(&key);
	c->backend_path = mk_steal(&clean);
	c->site = mk_steal(&site_name);
	return 0;
}

/* --- one run ----------------------------------------------------------------------------- */

/* Whether a parameter that stands in defaults alone has a use in this run. */
static bool has_use(const struct common *c, const char *key)
{
	_cleanup_buf_ struct mk_buf hole = MK_BUF(4096);

	if (c->entry)
		return mk_entry_parameter(c->entry, key);
	(void)mk_buf_printf(&hole, "{%s}", key);
	return c->spec.command && strstr(c->spec.command->text, mk_buf_text(&hole));
}

static int drop_unused_defaults(struct mk_call *call, const struct submission *s,
				const struct common *c, const struct mk_pairs *all,
				struct mk_pairs *ret)
{
	const struct mk_doc *map = c->spec.parameters;

	for (size_t i = 0; i < all->n; i++) {
		bool drop = false;

		for (size_t k = 0; map && k < map->n; k++)
			if (strcmp(map->keys[k]->text, all->v[i].key) == 0 &&
			    strcmp(map->items[k]->source, "defaults.yaml") == 0)
				drop = !has_use(c, all->v[i].key);
		if (!drop && mk_pairs_set(ret, all->v[i].key, all->v[i].value) < 0)
			return mk_fail(call, ENOMEM, "out of memory");
	}
	return 0;
}

/* The final command and parameters. */
static int make_command(struct mk_call *call, struct submission *s, struct common *c,
			const struct mk_pairs *given, struct new_run *run, char **ret)
{
	const struct mk_spec *spec = &c->spec;
	const struct mk_doc *at = spec->parameters ? spec->parameters
				  : spec->sweep	   ? spec->sweep
						   : spec->doc;
	int r;

	if (c->entry) {
		r = mk_command_entry(call, c->mlproject, c->entry, given, &run->params, ret,
				     &run->notes);
		return mk_submission_blame(call, at, r);
	}
	for (size_t i = 0; i < given->n; i++)
		if (mk_pairs_set(&run->params, given->v[i].key, given->v[i].value) < 0)
			return mk_fail(call, ENOMEM, "out of memory");
	if (spec->script) {
		if (given->n)
			return mk_doc_fail(
				call, s->source, at,
				"a script has no parameters, command: and MLproject have");
		*ret = mk_strdup(spec->script->text);
		return 0;
	}
	return mk_command_plain(call, spec->command->source, spec->command->line,
				spec->command->text, spec->command->style, given, ret);
}

static int make_name(struct mk_call *call, const struct common *c, struct new_run *run)
{
	const struct mk_spec *spec = &c->spec;
	_cleanup_buf_ struct mk_buf name = MK_BUF(8192);
	int r = 0;

	if (spec->name)
		r = mk_spec_fill(call, spec->name, "name", spec->name->text, &run->params, c->site,
				 &name);
	else
		(void)mk_buf_puts(&name, c->entry	? c->entry->name
					 : spec->script ? "script"
							: "command");
	if (r == 0)
		r = mk_spec_check_name(call, spec->name, mk_buf_text(&name));
	run->name = mk_buf_steal(&name);
	return r;
}

/* A script is run as it is: what the config would put around a command has no place. */
static int check_script(struct mk_call *call, const struct submission *s, const struct common *c,
			struct new_run *run)
{
	const struct mk_backend *b = &c->backend;
	const char *what =
		b->image       ? "Apptainer"
		: b->python    ? "Python"
		: b->modules.n ? "Modules"
		: b->pre_login.n || b->pre_compute.n || b->post_compute.n || b->post_login.n
			? "pre- and post-commands"
			: NULL;

	if (what)
		return mk_doc_fail(
			call, s->source, c->spec.script,
			"%s of the backend config cannot apply to a script: it is run as it "
			"is",
			what);
	if (strstr(c->spec.script->text, "\n#SBATCH"))
		note(&run->notes,
		     "the #SBATCH lines of the script are comments here: what they ask "
		     "for is set by backend_config or override");
	return 0;
}

static int make_script(struct mk_call *call, const struct common *c, const char *command,
		       enum mk_environment environment, char **ret)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF(4 * MK_LIMIT_TEXT), title = MK_BUF(MK_LIMIT_TEXT);

	if (c->spec.script) {
		*ret = mk_strdup(command);
		return 0;
	}
	if (c->entry)
		(void)mk_buf_printf(&title, "%s, entry point %s", c->mlproject, c->entry->name);
	else
		(void)mk_buf_puts(&title, "command of the spec");

	int r = mk_script_write(call,
				&(struct mk_script){.title = mk_buf_text(&title),
						    .command = command,
						    .backend = &c->backend,
						    .environment = environment},
				&text);

	if (r < 0)
		return r;
	if (mk_buf_check(&text) < 0)
		return mk_fail(call, EFBIG, "the job script is too long");
	*ret = mk_buf_steal(&text);
	return 0;
}

static int copy_list(struct mk_list *to, const struct mk_list *from)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < from->n; i++)
		r = mk_list_add(to, from->v[i]);
	return r;
}

static int make_plan(struct mk_call *call, struct submission *s, const struct common *c,
		     enum mk_environment environment, struct new_run *run)
{
	_cleanup_buf_ struct mk_buf json = MK_BUF(16 * MK_LIMIT_TEXT);
	_cleanup_plan_ struct mk_plan plan = {
		.repository_id = c->code->repository_id,
		.commit = c->code->repository_id ? mk_strdup(c->code->commit) : NULL,
		.directory = c->mlproject ? mk_path_dir(c->mlproject) : mk_strdup(""),
		.script = mk_strdup(run->script),
		.runtime = c->backend.runtime,
		.queue = mk_strdup(c->backend.queue),
	};
	int r = copy_list(&plan.exclude, &c->backend.exclude);

	for (size_t i = 0; r == 0 && i < mk_spec_count(c->spec.artifacts); i++)
		r = mk_list_add(&plan.artifacts, mk_spec_item(c->spec.artifacts, i)->text);
	/* A command's variables stand in its job script. */
	for (size_t i = 0; r == 0 && c->spec.script && i < c->backend.variables.n; i++)
		r = mk_pairs_set(&plan.variables, c->backend.variables.v[i].key,
				 c->backend.variables.v[i].value);
	if (r < 0)
		return mk_fail(call, -r, "the plan of a run does not fit into memory");
	if (environment == MK_ENV_PYTHON_ENV)
		plan.python_env = mk_path_beside(plan.directory, c->project.python_env);
	if (environment == MK_ENV_CONDA_ENV)
		plan.conda_env = mk_path_beside(plan.directory, c->project.conda_env);
	r = mk_site_check(call, s->m, c->site, &plan);
	if (r < 0)
		return mk_submission_blame(
			call, c->spec.override ? c->spec.override : c->spec.backend_config, r);
	r = mk_plan_write(call, &plan, &json);
	if (r < 0)
		return r;
	run->queue = mk_strdup(plan.queue);
	run->plan = mk_buf_steal(&json);
	return 0;
}

static int make_spec(struct mk_call *call, const struct common *c, struct new_run *run)
{
	const struct mk_spec *spec = &c->spec;
	_cleanup_buf_ struct mk_buf text = MK_BUF(8 * MK_LIMIT_TEXT);

	mk_spec_write(&text, &(struct mk_spec_pinned){
				     .name = run->name,
				     .experiment = run->experiment,
				     .repository = c->code->repository,
				     .branch = c->code->branch,
				     .commit = c->code->commit,
				     .path = c->code->path,
				     .mlproject = c->mlproject,
				     .entry_point = c->entry ? c->entry->name : NULL,
				     .command = spec->command,
				     .script = spec->script,
				     .parameters = &run->params,
				     .after = &c->after,
				     .site = c->site,
				     .account = run->account,
				     .backend_config = c->backend_path,
				     .backend_map = c->backend_path ? NULL : spec->backend_config,
				     .override = spec->override,
				     .artifacts = spec->artifacts,
			     });
	if (mk_buf_check(&text) < 0 || text.len > MK_LIMIT_TEXT)
		return mk_fail(call, EFBIG,
			       "run %s: with everything filled in its spec has over 1 MiB",
			       run->name);
	run->spec = mk_buf_steal(&text);
	return 0;
}

static int make_uid(struct mk_call *call, char out[33])
{
	static const char digits[] = "0123456789abcdef";
	unsigned char bytes[16];

	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		return mk_fail(call, EIO, "no random number for a run: %s", strerror(errno));
	for (size_t i = 0; i < 16; i++) {
		out[2 * i] = digits[bytes[i] >> 4];
		out[2 * i + 1] = digits[bytes[i] & 15];
	}
	out[32] = 0;
	return 0;
}

/* Names go where a person reads them on one line. */
static void fill_texts(const struct common *c, struct new_run *run)
{
	const struct mk_spec *spec = &c->spec;

	run->code = c->code;
	run->experiment = mk_strdup(spec->experiment ? spec->experiment->text : "default");
	run->site = mk_strdup(c->site);
	run->account = mk_strdup(mk_spec_text(spec->account));
	run->mlproject = mk_strdup(c->mlproject);
	run->entry_point = mk_strdup(c->entry ? c->entry->name : NULL);
	run->n_after = c->after.n;
	run->after = mk_alloc((c->after.n + 1) * sizeof(*run->after));
	memcpy(run->after, c->after_ids, c->after.n * sizeof(*run->after));
	run->waits_for = mk_strdup(c->waits_for);
}

static int make_run(struct mk_call *call, struct submission *s, struct common *c, size_t i,
		    struct new_run *run)
{
	_cleanup_pairs_ struct mk_pairs all = {}, given = {};
	_cleanup_free_ char *command = NULL;
	const struct mk_doc *site = NULL;
	enum mk_environment environment = MK_ENV_SYSTEM;
	int r = mk_sweep_at(call, &c->spec, i, &all, &site);

	if (r == 0)
		r = drop_unused_defaults(call, s, c, &all, &given);
	if (r == 0)
		r = make_command(call, s, c, &given, run, &command);
	if (r == 0)
		r = get_backend(call, s, c, &run->params, site);
	if (r == 0)
		r = mk_environment_choose(call, c->entry ? &c->project : NULL, &c->backend,
					  &environment, &run->environment);
	if (r == 0)
		r = make_name(call, c, run);
	if (r == 0 && c->spec.script)
		r = check_script(call, s, c, run);
	if (r == 0)
		r = make_script(call, c, command, environment, &run->script);
	if (r == 0)
		r = make_uid(call, run->uid);
	if (r < 0)
		return r;
	fill_texts(c, run);
	r = make_plan(call, s, c, environment, run);
	if (r == 0)
		r = make_spec(call, c, run);
	if (r < 0)
		return r;
	if (c->entry)
		add_notes(&run->notes, &c->project.warnings);
	add_notes(&run->notes, &c->backend.notes);
	s->n_bytes += strlen(run->spec) + strlen(run->plan) + strlen(run->script);
	if (s->n_bytes > MAX_BYTES)
		return mk_fail(call, EFBIG, "%s: the runs of this write have texts of over %d MiB",
			       s->source, MAX_BYTES >> 20);
	return 0;
}

/* --- a write ----------------------------------------------------------------------------- */

static int add_spec(struct mk_call *call, struct submission *s, struct common *c)
{
	size_t n = 0;
	int r = mk_sweep_count(call, &c->spec, &n);

	if (r < 0)
		return r;
	if (s->n_runs + n > MK_SPEC_MAX_RUNS)
		return mk_fail(call, EINVAL, "%s: more than %d runs in one write", s->source,
			       MK_SPEC_MAX_RUNS);
	r = mk_submission_code(call, s, &c->spec, &c->code);
	if (r == 0 && !c->spec.command && !c->spec.script)
		r = mk_submission_mlproject(call, s, c);
	if (r == 0)
		r = resolve_after(call, s, c);
	if (r < 0)
		return r;

	struct new_run *runs = reallocarray(s->runs, s->n_runs + n, sizeof(*runs));

	if (!runs)
		return mk_fail(call, ENOMEM, "out of memory");
	s->runs = runs;
	for (size_t i = 0; i < n; i++) {
		s->runs[s->n_runs] = (struct new_run){};
		s->n_runs++;
		r = make_run(call, s, c, i, &s->runs[s->n_runs - 1]);
		if (r == 0 && i % 64 == 63)
			r = mk_call_check(call, "the submission");
		if (r < 0)
			return r;
	}
	return 0;
}

/* What the command line says, as a document over the spec. NULL when it says nothing. */
static int read_options(struct mk_call *call, const struct mk_submit_options *options,
			struct mk_doc **ret)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF(MK_LIMIT_TEXT);

	if (!options->site && !options->parameters.n)
		return 0;
	if (options->parameters.n)
		(void)mk_buf_puts(&text, "parameters:\n");
	for (size_t i = 0; i < options->parameters.n; i++) {
		(void)mk_buf_puts(&text, "  ");
		mk_yaml_scalar(&text, options->parameters.v[i].key, false);
		(void)mk_buf_puts(&text, ": ");
		mk_yaml_scalar(&text, options->parameters.v[i].value, false);
		(void)mk_buf_putc(&text, '\n');
	}
	if (options->site) {
		(void)mk_buf_puts(&text, "site: ");
		mk_yaml_scalar(&text, options->site, false);
		(void)mk_buf_putc(&text, '\n');
	}
	return mk_spec_read_defaults(call, "options", mk_buf_text(&text), text.len, ret);
}

static int read_defaults(struct mk_call *call, struct submission *s, struct mk_doc **ret)
{
	struct mk_text text = {};
	int r = mk_text_get(call, s->m, MK_TEXT_DEFAULTS, s->project_id, &text);

	if (r < 0)
		return r;
	r = mk_spec_read_defaults(call, "defaults.yaml", text.text, text.len, ret);
	mk_text_free(&text);
	return r;
}

int mk_submission_prepare(struct mk_call *call, struct submission *s, const char *text, size_t len)
{
	_cleanup_(mk_doc_freep) struct mk_doc *defaults = NULL, *over = NULL;
	_cleanup_specs_ struct mk_specs specs = {};
	int r = mk_project_get(call, s->m, s->project_id, &s->project);

	if (r == 0)
		r = mk_specs_read(call, s->source, text, len, &specs);
	if (r == 0)
		r = read_defaults(call, s, &defaults);
	if (r == 0)
		r = read_options(call, s->options, &over);
	for (size_t i = 0; r == 0 && i < specs.n; i++) {
		const struct mk_doc *layers[] = {defaults, specs.v[i], over};
		struct common c = {};

		r = mk_spec_merge(call, layers, 3, &c.spec);
		if (r == 0)
			r = add_spec(call, s, &c);
		common_free(&c);
	}
	return r;
}
