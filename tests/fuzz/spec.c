/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as what is written to runs/new: refused with a sentence, or specs whose runs can be
 * counted, named and written down. */
#include "format/sweep.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

static const char defaults[] =
	"entry_point: main\nparameters: {a: 1, b: 2}\nsweep: {c: [1, 2]}\n"
	"code: {repository: r, branch: main}\noverride: {Resources: {Nodes: 2}}\n";

static void check_spec(struct mk_call *call, const struct mk_spec *spec)
{
	_cleanup_pairs_ struct mk_pairs values = {};
	_cleanup_list_ struct mk_list after = {};
	_cleanup_buf_ struct mk_buf text = MK_BUF(MK_LIMIT_BODY), name = MK_BUF(4096);
	_cleanup_specs_ struct mk_specs again = {};
	const struct mk_doc *site = NULL;
	size_t n = 0;

	if (mk_sweep_count(call, spec, &n) < 0)
		return;
	FUZZ_CHECK(n >= 1 && n <= MK_SPEC_MAX_RUNS);
	FUZZ_CHECK(mk_sweep_at(call, spec, n - 1, &values, &site) == 0);
	if (spec->name)
		(void)!mk_spec_fill(call, spec->name, "name", spec->name->text, &values, "local",
				    &name);
	mk_spec_write(&text, &(struct mk_spec_pinned){
				     .name = "n",
				     .experiment = mk_spec_text(spec->experiment),
				     .repository = mk_spec_text(spec->repository),
				     .commit = "0123456789012345678901234567890123456789",
				     .command = spec->command,
				     .script = spec->script,
				     .parameters = &values,
				     .after = &after,
				     .override = spec->override,
				     .artifacts = spec->artifacts,
			     });
	if (text.len > MK_LIMIT_TEXT)
		return;
	if (mk_specs_read(call, "again", mk_buf_text(&text), text.len, &again) < 0) {
		fprintf(stderr, "%s\n%s", call->error.text, mk_buf_text(&text));
		abort();
	}
	FUZZ_CHECK(again.n == 1);
	if (spec->script)
		FUZZ_CHECK(strcmp(mk_doc_get(again.v[0], "script")->text, spec->script->text) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_call_ struct mk_call call;
	_cleanup_(mk_doc_freep) struct mk_doc *low = NULL;
	_cleanup_specs_ struct mk_specs specs = {};

	mk_call_init(&call);
	FUZZ_CHECK(mk_spec_read_defaults(&call, "defaults.yaml", defaults, strlen(defaults),
					 &low) == 0);

	int r = mk_specs_read(&call, "fuzz", (const char *)data, size, &specs);

	if (r < 0) {
		FUZZ_CHECK(call.error.text && call.error.code == -r);
		return 0;
	}
	for (size_t i = 0; i < specs.n; i++) {
		const struct mk_doc *layers[] = {low, specs.v[i]};
		_cleanup_spec_ struct mk_spec spec = {};

		if (mk_spec_merge(&call, layers, 2, &spec) == 0)
			check_spec(&call, &spec);
	}
	return 0;
}
