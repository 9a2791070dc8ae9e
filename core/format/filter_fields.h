/* SPDX-License-Identifier: Apache-2.0 */
/* What may stand in a filter or an order of each thing. Only for core/format/filter*.c. */
#ifndef MK_FILTER_FIELDS_H
#define MK_FILTER_FIELDS_H

#include "format/filter.h"

struct mk_attribute {
	const char *name;
	const char *as;	  /* its one name, NULL: this is it */
	bool number;
	bool list;	  /* IN and NOT IN */
	enum { ASK_BOTH, ASK_FILTER, ASK_ORDER } where;
};

/* Of runs, experiments, …: ends with a row without a name. */
extern const struct mk_attribute *const mk_attributes[];

/* Which operators a value of a field may have. */
bool mk_field_has(enum mk_searched of, const struct mk_field *field,
		  const struct mk_attribute *attribute, enum mk_filter_op op);

/*
 * A field as it stands in the text, to clause->field. order: in an order. *ret_attribute: its row,
 * NULL for what is no attribute. EINVAL.
 */
int mk_field_read(struct mk_call *call, enum mk_searched of, const char *text, size_t len,
		  bool order, struct mk_field *ret,
		  const struct mk_attribute **ret_attribute) _must_check_;

#endif
