/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The texts of specs we write: spec.yaml of a run, and what defaults.yaml begins with.
 *
 * spec.yaml names everything a run depends on, and says null where nothing was given, so that what
 * is written into defaults.yaml later does not change what `cp spec.yaml ../new` runs.
 */
#include "format/spec.h"

#include <string.h>

/* Prose begins with ## and each other line is one whole key, so that taking away "# " is always
 * valid. */
const char mk_spec_defaults_text[] =
	"## What every run of this project begins with. A key that is set here, a spec may leave "
	"out;\n"
	"## what a spec sets, replaces it (parameters and override are merged key by key).\n"
	"## Take away the # of the lines you want. A parameter set here is left out of runs whose\n"
	"## entry point does not have it.\n"
	"# name: deberta-lr-{learning_rate}         # {parameter} and {site} are filled in\n"
	"# experiment: rain-classifier              # created if missing\n"
	"# code: {repository: a2, branch: develop}  # or commit: <sha>; or path: /abs/dir\n"
	"# mlproject: scripts/deberta/MLproject     # default: the only one there is\n"
	"# entry_point: train                       # default: main\n"
	"# parameters: {batch_size: 16, learning_rate: 1e-5}\n"
	"# site: local                              # or a list: one run on each\n"
	"# account: deepacf                         # compute budget\n"
	"# backend_config: configs/{site}.yaml      # path in the repository, or the mapping "
	"itself\n"
	"# override: {Resources: {Runtime: 2h}}     # over the backend config; null removes\n"
	"# artifacts: [predictions.csv, \"ckpt/best*\"]  # copied out when the run ends\n";

static void put_key(struct mk_buf *buf, const char *key, const char *text)
{
	if (!text)
		return;
	(void)mk_buf_printf(buf, "%s: ", key);
	mk_yaml_scalar(buf, text, false);
	(void)mk_buf_putc(buf, '\n');
}

/* A key with a copied value; a map or list on the lines below. */
static void put_doc(struct mk_buf *buf, const char *key, const struct mk_doc *value)
{
	struct mk_doc name = {.type = MK_DOC_SCALAR, .text = (char *)key};
	struct mk_doc *names[] = {&name}, *values[] = {(struct mk_doc *)value};
	struct mk_doc map = {.type = MK_DOC_MAP, .keys = names, .items = values, .n = 1};

	if (value)
		mk_yaml_node(buf, &map, 0);
}

static void put_code(struct mk_buf *buf, const struct mk_spec_pinned *p)
{
	if (!p->repository && !p->path) {
		(void)mk_buf_puts(buf, "code: {}\n");
		return;
	}
	(void)mk_buf_puts(buf, "code:\n");
	if (p->path) {
		/* With a commit it is the snapshot that was taken, not a new one. */
		(void)mk_buf_puts(buf, "  ");
		put_key(buf, "path", p->path);
	} else {
		(void)mk_buf_puts(buf, "  ");
		put_key(buf, "repository", p->repository);
		if (p->branch) {
			(void)mk_buf_puts(buf, "  ");
			put_key(buf, "branch", p->branch);
		}
	}
	(void)mk_buf_puts(buf, "  ");
	put_key(buf, "commit", p->commit);
}

void mk_spec_write(struct mk_buf *buf, const struct mk_spec_pinned *p)
{
	put_key(buf, "name", p->name);
	put_key(buf, "experiment", p->experiment);
	put_code(buf, p);
	put_key(buf, "mlproject", p->mlproject);
	put_key(buf, "entry_point", p->entry_point);
	put_doc(buf, "command", p->command);
	put_doc(buf, "script", p->script);
	if (p->parameters->n)
		(void)mk_buf_puts(buf, "parameters:\n");
	for (size_t i = 0; i < p->parameters->n; i++) {
		(void)mk_buf_puts(buf, "  ");
		mk_yaml_scalar(buf, p->parameters->v[i].key, false);
		(void)mk_buf_puts(buf, ": ");
		/* A parameter is text whatever it looks like; 7e-6 is read back as 7e-6. Only the
		 * words for nothing need their quotes. */
		mk_yaml_scalar(buf, p->parameters->v[i].value,
			       strspn(p->parameters->v[i].value, "+-.0123456789") > 0);
		(void)mk_buf_putc(buf, '\n');
	}
	if (p->after->n)
		(void)mk_buf_puts(buf, "after:\n");
	for (size_t i = 0; i < p->after->n; i++) {
		(void)mk_buf_puts(buf, "  - ");
		mk_yaml_scalar(buf, p->after->v[i], false);
		(void)mk_buf_putc(buf, '\n');
	}
	put_key(buf, "site", p->site);
	put_key(buf, "account", p->account);
	put_key(buf, "backend_config", p->backend_config);
	put_doc(buf, "backend_config", p->backend_map);
	put_doc(buf, "override", p->override);
	put_doc(buf, "artifacts", p->artifacts);

	const struct {
		const char *key;
		bool is_set;
	} rest[] = {
		{"sweep", false},	   {"after", p->after->n > 0},
		{"account", p->account},   {"backend_config", p->backend_config || p->backend_map},
		{"override", p->override}, {"artifacts", p->artifacts},
	};

	(void)mk_buf_puts(buf, "# not set; null keeps later defaults out\n");
	for (size_t i = 0; i < sizeof(rest) / sizeof(*rest); i++)
		if (!rest[i].is_set)
			(void)mk_buf_printf(buf, "%s: null\n", rest[i].key);
}
