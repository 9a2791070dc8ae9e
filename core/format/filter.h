/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The language of MLflow's searches: `metrics.loss < 0.1 AND tags.team = 'wind'`, and one entry of
 * an order, `metrics.loss DESC`. Texts in, clauses out; what the keys mean in our tables is
 * core/domain/track/search.c's business.
 *
 *	filter   = [AND] clause { [AND] clause } [AND]
 *	clause   = field op value | field [NOT] IN (text, …) | field IS [NOT] NULL
 *	field    = key | entity . key		a key alone is an attribute
 *	key      = word | `…` | "…" | '…'
 *	value    = number | '…' | "…"
 *	order    = field [ASC | DESC]
 *
 * A text has no escapes: one that holds a quote is put in quotes of the other kind. What may stand
 * in a field, and with which operators, is a table for each kind of thing that is searched.
 *
 * MLflow reads these with an SQL parser. What a user writes by intention means the same here, to
 * the odd corners (AND may be left out between comparisons, a key may be empty); what only such a
 * parser makes sense of (casts, subscripts, aliases, calls) is an error.
 */
#ifndef MK_FILTER_H
#define MK_FILTER_H

#include <mantik/mantik.h>

enum mk_searched {
	MK_SEARCH_RUNS,
	MK_SEARCH_EXPERIMENTS,
	MK_SEARCH_MODELS,   /* registered models */
	MK_SEARCH_VERSIONS, /* of them */
	MK_SEARCH_LOGGED,   /* logged models */
};

enum mk_field_kind { MK_FIELD_ATTRIBUTE, MK_FIELD_METRIC, MK_FIELD_PARAM, MK_FIELD_TAG,
		     MK_FIELD_DATASET };

struct mk_field {
	enum mk_field_kind kind;
	char *key; /* of an attribute its one name: `start_time` for `Created` */
};

enum mk_filter_op {
	MK_OP_EQ,
	MK_OP_NE,
	MK_OP_LT,
	MK_OP_LE,
	MK_OP_GT,
	MK_OP_GE,
	MK_OP_LIKE,  /* % and _, letters as they are */
	MK_OP_ILIKE, /* ASCII letters of either case */
	MK_OP_IN,
	MK_OP_NOT_IN,
	MK_OP_NULL,
	MK_OP_NOT_NULL,
};

enum mk_value_is { MK_VALUE_NONE, MK_VALUE_TEXT, MK_VALUE_LIST, MK_VALUE_INT, MK_VALUE_REAL };

struct mk_filter_clause {
	struct mk_field field;
	enum mk_filter_op op;
	enum mk_value_is is;
	char *text;
	struct mk_list list; /* never empty */
	bool numbers;	     /* of a list: its texts are whole numbers */
	int64_t integer;
	double real; /* may be infinite; NaN only of a logged model's metric */
};

struct mk_filter {
	struct mk_filter_clause *v;
	size_t n;
};

struct mk_order {
	struct mk_field field;
	bool descending;
};

enum { MK_FILTER_CLAUSES = 200 };

/* EINVAL and why, in MLflow's words where it has some. NULL and "" have no clauses. */
int mk_filter_parse(struct mk_call *call, enum mk_searched of, const char *text,
		    struct mk_filter *ret) _must_check_;
void mk_filter_free(struct mk_filter *filter);
/* Not for logged models, which have no such texts. EINVAL. */
int mk_order_parse(struct mk_call *call, enum mk_searched of, const char *text,
		   struct mk_order *ret) _must_check_;
void mk_order_free(struct mk_order *order);
/* The field of an order of logged models: an attribute, or `metrics.<key>`. EINVAL. */
int mk_order_logged(struct mk_call *call, const char *name, struct mk_field *ret) _must_check_;

#endif
