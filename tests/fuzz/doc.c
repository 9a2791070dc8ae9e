/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a document: refused, or what is written of it reads back as the same tree. */
#include "base/doc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

static bool same(const struct mk_doc *a, const struct mk_doc *b)
{
	if (a->type != b->type || a->n != b->n)
		return false;
	if (a->type == MK_DOC_SCALAR)
		return strcmp(a->text, b->text) == 0;
	for (size_t i = 0; i < a->n; i++) {
		if (a->keys && strcmp(a->keys[i]->text, b->keys[i]->text) != 0)
			return false;
		if (!same(a->items[i], b->items[i]))
			return false;
	}
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_call_ struct mk_call call;
	_cleanup_(mk_doc_freep) struct mk_doc *doc = NULL, *again = NULL;
	_cleanup_buf_ struct mk_buf text = MK_BUF(MK_LIMIT_BODY);

	mk_call_init(&call);

	int r = mk_doc_parse(&call, "fuzz", (const char *)data, size, &doc);

	if (r < 0) {
		FUZZ_CHECK(!doc && call.error.text && call.error.code == -r);
		return 0;
	}
	mk_yaml_node(&text, doc, 0);
	/* Written out it may be longer than what is read, and nested maps deeper. */
	if (mk_buf_check(&text) < 0 || text.len > MK_LIMIT_TEXT)
		return 0;
	r = mk_doc_parse(&call, "fuzz", text.data, text.len, &again);
	FUZZ_CHECK(r == 0);
	FUZZ_CHECK(same(doc, again));

	/* Laying a tree over itself changes nothing but takes nulls away. */
	struct mk_doc *merged = mk_doc_merge(mk_doc_copy(doc), again);

	mk_doc_free(merged);
	return 0;
}
