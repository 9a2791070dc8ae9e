/* SPDX-License-Identifier: Apache-2.0 */
/* What searches of models have of their own: prompts that are none, metrics of logged models and
 * the data sets these were measured on. */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "domain/track/search_sql.h"

#define PROMPT "mlflow.prompt.is_prompt"

bool mk_query_is_prompt(const struct mk_filter_clause *clause)
{
	return clause->field.kind == MK_FIELD_TAG && strcmp(clause->field.key, PROMPT) == 0;
}

/* The first clause about the tag decides. */
static bool asks_for_prompts(const struct mk_filter *filter)
{
	for (size_t i = 0; i < filter->n; i++) {
		const struct mk_filter_clause *c = &filter->v[i];

		if (mk_query_is_prompt(c))
			return (c->op == MK_OP_EQ && strcasecmp(c->text, "true") == 0) ||
			       (c->op == MK_OP_NE && strcasecmp(c->text, "false") == 0);
	}
	return false;
}

void mk_query_prompts(struct mk_query *query, const struct mk_filter *filter, const char *tags,
		      bool *ret_skip)
{
	*ret_skip = !asks_for_prompts(filter);
	if (*ret_skip)
		(void)mk_buf_printf(&query->where,
				    " AND NOT EXISTS (SELECT 1 FROM %s AND x.key = '" PROMPT
				    "' AND x.value = 'true')",
				    tags);
}

/* `(x.dataset_name = ?4 AND x.dataset_digest = ?5 OR …)`, nothing when none is asked for. */
static int put_datasets(struct mk_query *q, struct mk_buf *out,
			const struct mk_search_dataset *datasets, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		size_t name, digest;
		int r = mk_query_own(q, datasets[i].name, &name);

		if (r < 0)
			return r;
		(void)mk_buf_printf(out, "%s(x.dataset_name = ?%zu", i ? " OR " : " AND (", name);
		if (datasets[i].digest) {
			r = mk_query_own(q, datasets[i].digest, &digest);
			if (r < 0)
				return r;
			(void)mk_buf_printf(out, " AND x.dataset_digest = ?%zu", digest);
		}
		(void)mk_buf_putc(out, ')');
	}
	if (n)
		(void)mk_buf_putc(out, ')');
	return 0;
}

/* Any point that was logged, not the last one only: as MLflow has it. */
int mk_query_model_metric(struct mk_query *q, const struct mk_filter_clause *c)
{
	int r;

	mk_query_exists(q, "model_points x WHERE x.model_id = l.model_id AND x.key = ?%zu AND ",
			c->field.key);
	r = mk_query_compare(q, "x.value", c);
	if (r == 0)
		r = put_datasets(q, &q->where, q->search->datasets, q->search->n_datasets);
	(void)mk_buf_puts(&q->where, ")");
	return r;
}

int mk_query_datasets(struct mk_query *q)
{
	(void)mk_buf_puts(&q->where, " AND EXISTS (SELECT 1 FROM model_points x"
				     " WHERE x.model_id = l.model_id");

	int r = put_datasets(q, &q->where, q->search->datasets, q->search->n_datasets);

	(void)mk_buf_puts(&q->where, ")");
	return r;
}

int mk_query_model_order(struct mk_query *q, const struct mk_search_order *o)
{
	_cleanup_buf_ struct mk_buf expr = MK_BUF(4096);
	size_t key;
	int r = mk_query_own(q, o->field.key, &key);

	if (r < 0)
		return r;
	(void)mk_buf_printf(&expr,
			    "(SELECT x.value FROM model_points x WHERE x.model_id = l.model_id"
			    " AND x.key = ?%zu",
			    key);
	r = put_datasets(q, &expr, &o->dataset, o->dataset.name != NULL);
	(void)mk_buf_puts(&expr, " ORDER BY x.time DESC, x.step DESC LIMIT 1)");
	if (r == 0 && mk_buf_check(&expr) < 0)
		r = mk_fail(q->call, EINVAL, "Invalid search: too long");
	if (r == 0)
		mk_query_order(q, mk_buf_text(&expr), o->descending);
	return r;
}
