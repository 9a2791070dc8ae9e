/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a text to runs that can be made: each spec is laid over the defaults, its code and MLproject
 * found (code.c, mlproject.c), what it waits for, and each combination of its sweep
 * becomes a run (run.c). The first thing that is wrong ends it, with the line that is to
 * blame.
 */
#include "domain/submit/submit.h"

#include <errno.h>
#include <string.h>

#include "domain/domain.h"
#include "format/sweep.h"

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

static int resolve_after(struct mk_call *call, struct submission *s, struct common *c)
{
	size_t n = mk_spec_count(c->spec.after);
	_cleanup_buf_ struct mk_buf words = MK_BUF(MK_LIMIT_TEXT);

	c->after_ids = mk_alloc((n + 1) * sizeof(*c->after_ids));
	for (size_t i = 0; i < n; i++) {
		const struct mk_doc *item = mk_spec_item(c->spec.after, i);
		_cleanup_(mk_run_free) struct mk_run other = {};
		int64_t id = 0;
		int r = strcmp(item->text, "latest") == 0
				? mk_run_latest(call, s->m, s->project_id, &id)
				: mk_run_resolve(call, s->m, s->project_id, item->text, &id);

		if (r == 0 && !id)
			r = -ENOENT;
		if (r == 0)
			r = mk_run_get(call, s->m, id, &other);
		if (r == -ENOENT)
			return mk_doc_fail(call, s->source, item,
					   "after: no run \"%s\" in this project: write its name in "
					   "runs/, NAME.xxxxxxxx",
					   item->text);
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

static int add_spec(struct mk_call *call, struct submission *s, struct common *c)
{
	size_t n = 0;
	int r = mk_sweep_count(call, &c->spec, &n);

	if (r < 0)
		return r;
	if (s->n_runs + n > MK_SPEC_MAX_RUNS)
		return mk_fail(call, EINVAL, "%s: more than %d runs in one write", s->source,
			       MK_SPEC_MAX_RUNS);
	if (c->spec.experiment) {
		r = mk_domain_name(call, "experiment", c->spec.experiment->text);
		if (r < 0)
			return mk_submission_blame(call, c->spec.experiment, r);
	}
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
		r = mk_submission_run(call, s, c, i, &s->runs[s->n_runs - 1]);
		if (r == 0 && i % 64 == 63)
			r = mk_call_check(call, "the submission");
		if (r < 0)
			return r;
	}
	return 0;
}

static void forget_lines(struct mk_doc *doc)
{
	doc->line = 0;
	for (size_t i = 0; i < doc->n; i++) {
		if (doc->keys)
			doc->keys[i]->line = 0;
		forget_lines(doc->items[i]);
	}
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
	int r = mk_spec_read_defaults(call, "command line", mk_buf_text(&text), text.len, ret);

	if (r == 0)
		forget_lines(*ret);
	return r;
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
