/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One run of a spec: the parameters of its place in the sweep, and all that follows from them and
 * is fixed for ever: command, environment, name, job script, plan, pinned spec.
 */
#include "domain/submit/submit.h"

#include <errno.h>
#include <string.h>

#include "connect/connect.h"
#include "domain/domain.h"
#include "format/command.h"
#include "format/plan.h"
#include "format/script.h"
#include "format/sweep.h"

enum { MAX_BYTES = 256 << 20 /* of all texts of one write */ };

static void note(struct mk_list *notes, const char *text)
{
	(void)!mk_list_add(notes, text); /* out of memory: told nothing more */
}

static void add_notes(struct mk_list *to, const struct mk_list *from)
{
	for (size_t i = 0; i < from->n; i++)
		note(to, from->v[i]);
}

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

int mk_submission_run(struct mk_call *call, struct submission *s, struct common *c, size_t i,
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
		r = mk_submission_backend(call, s, c, &run->params, site);
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
		r = mk_domain_uid(call, run->uid);
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
