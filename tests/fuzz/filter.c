/* SPDX-License-Identifier: Apache-2.0 */
/* Any text as a filter and as an order of everything that can be searched. */
#include "format/filter.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fuzz.h"

static void check_filter(const struct mk_filter *filter)
{
	FUZZ_CHECK(filter->n <= MK_FILTER_CLAUSES);
	for (size_t i = 0; i < filter->n; i++) {
		const struct mk_filter_clause *c = &filter->v[i];
		bool list = c->op == MK_OP_IN || c->op == MK_OP_NOT_IN;
		bool none = c->op == MK_OP_NULL || c->op == MK_OP_NOT_NULL;

		FUZZ_CHECK(c->field.key && list == (c->is == MK_VALUE_LIST));
		FUZZ_CHECK(none == (c->is == MK_VALUE_NONE));
		FUZZ_CHECK(c->is != MK_VALUE_TEXT || c->text);
		FUZZ_CHECK(list == (c->list.n > 0));
		FUZZ_CHECK(c->field.kind != MK_FIELD_METRIC || c->is == MK_VALUE_REAL);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = mk_strndup((const char *)data, size);

	for (int of = MK_SEARCH_RUNS; of <= MK_SEARCH_LOGGED; of++) {
		_cleanup_(mk_filter_free) struct mk_filter filter = {};
		_cleanup_(mk_order_free) struct mk_order order = {};
		_cleanup_call_ struct mk_call call;

		mk_call_init(&call);

		int r = mk_filter_parse(&call, (enum mk_searched)of, text, &filter);

		FUZZ_CHECK(r == 0 || (r == -EINVAL && call.error.text && !filter.v));
		check_filter(&filter);
		if (of == MK_SEARCH_LOGGED) {
			r = mk_order_logged(&call, text, &order.field);
		} else {
			r = mk_order_parse(&call, (enum mk_searched)of, text, &order);
		}
		FUZZ_CHECK(r == 0 || (r == -EINVAL && call.error.text));
		FUZZ_CHECK((r == 0) == (order.field.key != NULL));
	}
	return 0;
}
