/* SPDX-License-Identifier: Apache-2.0 */
/* MLproject files: parsed, each entry point turned into a command and into a spec that reads back. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/doc.h"
#include "format/command.h"
#include "format/mlproject.h"
#include "format/shell.h"
#include "fuzz.h"

static const char hostile[] = "$(x); \"'`\\\n";

static void command_of(const struct mk_entry_point *entry, const char *value)
{
	_cleanup_pairs_ struct mk_pairs given = {}, values = {};
	_cleanup_list_ struct mk_list warnings = {};
	_cleanup_free_ char *command = NULL;
	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);
	for (size_t i = 0; i < entry->n_parameters; i++)
		FUZZ_CHECK(mk_pairs_set(&given, entry->parameters[i].name, value) == 0);

	int r = mk_command_entry(&call, "MLproject", entry, &given, &values, &command, &warnings);

	FUZZ_CHECK(r == 0 ? command && *command : !command && call.error.text);
	FUZZ_CHECK(r < 0 || !mk_shell_check(command));
}

/* What a copied spec gives back is what the MLproject says. */
static void spec_of(const struct mk_entry_point *entry)
{
	const struct mk_entry_spec spec = {.repository = "r", .branch = "b", .mlproject = "m",
					   .experiment = "e", .site = "local"};
	_cleanup_buf_ struct mk_buf text = MK_BUF(8 * MK_LIMIT_TEXT);
	_cleanup_(mk_doc_freep) struct mk_doc *doc = NULL;
	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);
	FUZZ_CHECK(mk_entry_spec_write(&call, &spec, entry, &text) == 0);
	if (text.len > MK_LIMIT_TEXT)
		return;
	if (mk_doc_parse(&call, "spec", mk_buf_text(&text), text.len, &doc) < 0) {
		fprintf(stderr, "%s\n%s\n", call.error.text, mk_buf_text(&text));
		FUZZ_CHECK(!"the spec reads back");
	}

	struct mk_doc *parameters = mk_doc_get(doc, "parameters");

	for (size_t i = 0; i < entry->n_parameters; i++) {
		const struct mk_parameter *parameter = &entry->parameters[i];
		struct mk_doc *value = mk_doc_get(parameters, parameter->name);

		FUZZ_CHECK(!value == !parameter->value);
		FUZZ_CHECK(!value || strcmp(value->text, parameter->value) == 0);
	}
	FUZZ_CHECK(strcmp(mk_doc_get(doc, "entry_point")->text, entry->name) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_mlproject_ struct mk_mlproject project = {};
	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);
	if (mk_mlproject_parse(&call, "MLproject", (const char *)data, size, &project) < 0) {
		FUZZ_CHECK(call.error.text && !strchr(call.error.text, '\n'));
		return 0;
	}
	for (size_t i = 0; i < project.n_entry_points; i++) {
		command_of(&project.entry_points[i], "plain");
		command_of(&project.entry_points[i], hostile);
		spec_of(&project.entry_points[i]);
	}
	return 0;
}
