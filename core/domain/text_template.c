/* SPDX-License-Identifier: Apache-2.0 */
/* What a text shows before anybody wrote it: every key that can be set, commented out by `# `;
 * uncommenting one gives a valid text (tested). `##` is prose, `{}` the owner's name, `{id}` its
 * number. */
#include "domain/texts.h"

#include <string.h>

#include "format/spec.h"

static const char *const templates[MK_TEXT_KINDS] = {
	[MK_TEXT_PROJECT] =
		"## project.yaml of {}: remove a # to set a value.\n"
		"# name: a title for people\n"
		"# summary: one line about the project\n"
		"# public: false\n"
		"# owner: ana\n"
		"# labels: [domain/weather, method/classification]\n"
		"# members: {ben: Researcher}  # Guest, Reporter, Researcher, Maintainer or Owner\n"
		"# site: local  # where runs go that do not say otherwise\n",
	[MK_TEXT_README] = "# {}\n",
	[MK_TEXT_EXPERIMENT] =
		"## experiment.yaml of {}, id {id}: remove a # to set a value.\n"
		"# note: what this experiment is to find out\n"
		"# labels: [method/finetuning]\n"
		"# primary_metric: {name: accuracy, goal: maximize, of: last}  # minimize; best; "
		"without goal it is guessed from the name\n",
	[MK_TEXT_REPOSITORY] =
		"## repository.yaml of {}: where its code comes from. Only uri is needed.\n"
		"uri:\n"
		"# platform: github\n"
		"# connection: github\n"
		"# default_branch: main\n"
		"# labels: [language/python]\n",
};

/* Puts the text up to this hole; what comes after it. */
static const char *up_to(const char *text, const char *hole, struct mk_buf *ret)
{
	const char *at = strstr(text, hole);

	if (!at)
		return NULL;
	(void)mk_buf_put(ret, text, (size_t)(at - text));
	return at + strlen(hole);
}

void mk_text_template(enum mk_text_kind kind, const char *name, int64_t id, struct mk_buf *ret)
{
	const char *text = kind == MK_TEXT_DEFAULTS ? mk_spec_defaults_text : templates[kind];
	const char *rest = up_to(text, "{}", ret);

	if (rest) {
		(void)mk_buf_puts(ret, name);
		text = rest;
	}
	rest = up_to(text, "{id}", ret);
	if (rest) {
		(void)mk_buf_printf(ret, "%lld", (long long)id);
		text = rest;
	}
	(void)mk_buf_puts(ret, text);
}
