/* SPDX-License-Identifier: Apache-2.0 */
/* The runs one spec makes: see sweep.h. */
#include "format/sweep.h"

int mk_sweep_count(struct mk_call *call, const struct mk_spec *spec, size_t *ret)
{
	size_t n = spec->site ? mk_spec_count(spec->site) : 1;

	for (size_t i = 0; spec->sweep && i < spec->sweep->n; i++) {
		/* Both at most 100 000: no overflow. */
		n *= mk_spec_count(spec->sweep->items[i]);
		if (n > MK_SPEC_MAX_RUNS)
			return mk_doc_fail(call, "spec", spec->sweep,
					   "the sweep makes more than %d runs", MK_SPEC_MAX_RUNS);
	}
	if (n > MK_SPEC_MAX_RUNS)
		return mk_doc_fail(call, "spec", spec->site, "more than %d sites",
				   MK_SPEC_MAX_RUNS);
	*ret = n;
	return 0;
}

int mk_sweep_at(struct mk_call *call, const struct mk_spec *spec, size_t i, struct mk_pairs *ret,
		const struct mk_doc **ret_site)
{
	const struct mk_doc *given = spec->parameters, *sweep = spec->sweep;
	int r = 0;

	for (size_t k = 0; given && r == 0 && k < given->n; k++)
		r = mk_pairs_set(ret, given->keys[k]->text, given->items[k]->text);
	for (size_t k = sweep ? sweep->n : 0; r == 0 && k > 0; k--) {
		const struct mk_doc *values = sweep->items[k - 1];
		size_t n = mk_spec_count(values);

		r = mk_pairs_set(ret, sweep->keys[k - 1]->text, mk_spec_item(values, i % n)->text);
		i /= n;
	}
	if (r < 0)
		return mk_fail(call, -r, "the parameters of a run do not fit into memory");
	*ret_site = spec->site ? mk_spec_item(spec->site, i) : NULL;
	return 0;
}
