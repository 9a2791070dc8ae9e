/* SPDX-License-Identifier: Apache-2.0 */
/* Texts of a filter: what a pair of quotes holds, and lists of them. Only for core/format/filter*.c. */
#ifndef MK_FILTER_LIST_H
#define MK_FILTER_LIST_H

#include <mantik/mantik.h>

/* Whether a pair of this quote encloses text. */
bool mk_is_quoted(const char *text, size_t len, char quote);
/*
 * `('a', "b")`, from bracket to bracket: a list of texts as Python writes them, with its escapes;
 * texts that stand side by side are one. EINVAL.
 */
int mk_filter_list(struct mk_call *call, const char *text, size_t len,
		   struct mk_list *ret) _must_check_;

#endif
