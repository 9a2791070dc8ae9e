/* SPDX-License-Identifier: Apache-2.0 */
/* A statement that is put together, with what is bound to it. Only for core/domain/search*.c. */
#ifndef MK_SEARCH_SQL_H
#define MK_SEARCH_SQL_H

#include "core.h"
#include "domain/track/search.h"

struct mk_query_bind {
	enum { BIND_INT, BIND_REAL, BIND_TEXT } is;
	int64_t integer;
	double real;
	const char *text;
};

struct mk_query {
	struct mk_call *call;
	const struct mk_search *search;
	struct mk_buf joins, where, order;
	struct mk_query_bind *binds;
	size_t n_binds;
	struct mk_list own; /* texts that are bound and nobody else's */
};

void mk_query_free(struct mk_query *query);
/* The number of a new parameter: `?NUMBER`. */
size_t mk_query_int(struct mk_query *query, int64_t value);
size_t mk_query_real(struct mk_query *query, double value);
size_t mk_query_text(struct mk_query *query, const char *text); /* must live as long as the query */
int mk_query_own(struct mk_query *query, const char *text, size_t *ret) _must_check_;
/* A list of texts or numbers as a parameter for json_each(). */
int mk_query_texts(struct mk_query *query, const struct mk_list *list, size_t *ret) _must_check_;
int mk_query_ints(struct mk_query *query, const int64_t *v, size_t n, size_t *ret) _must_check_;

/* AND what a clause says of the value `expr`: `expr LIKE ?7`. */
int mk_query_compare(struct mk_query *query, const char *expr,
		     const struct mk_filter_clause *clause) _must_check_;

/* `EXISTS (SELECT 1 FROM <table> …`, which ends in `key = ?%zu`: the caller closes it. */
void mk_query_exists(struct mk_query *query, const char *table, const char *key);
/* A term of the order; what is NULL comes last, whatever the direction. */
void mk_query_order(struct mk_query *query, const char *expr, bool descending);

/* search_models.c */
/* Prompts are models with a tag, and found only by a filter that says so. *ret_skip: the filter's
 * clauses about that tag say nothing. tags: FROM … WHERE … of the tags. */
void mk_query_prompts(struct mk_query *query, const struct mk_filter *filter, const char *tags,
		      bool *ret_skip);
bool mk_query_is_prompt(const struct mk_filter_clause *clause);
int mk_query_model_metric(struct mk_query *query,
			  const struct mk_filter_clause *clause) _must_check_;
/* There is a metric of one of the data sets. */
int mk_query_datasets(struct mk_query *query) _must_check_;
int mk_query_model_order(struct mk_query *query,
			 const struct mk_search_order *order) _must_check_;

/* Runs SELECT <id> FROM <from> joins WHERE where ORDER BY order, one page of it. */
int mk_query_run(struct mk_query *query, struct mantik *m, const char *id, const char *from,
		 struct mk_found *ret) _must_check_;

#endif
