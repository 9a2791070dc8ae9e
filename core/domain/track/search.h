/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Searches as MLflow's API makes them, over our own experiments, runs and models (those mirrored
 * from other stores have a server that searches them). A filter and an order become one SQL
 * statement: texts of the caller are bound, never part of it. It answers with rows in order; what
 * is told of them is the caller's business.
 *
 * Values compare as in MLflow's SQL store: a metric is its latest value, NaN is different from
 * everything and stands behind the numbers in an order, what has no such key behind that; texts
 * compare by their bytes. A page begins where the last one ended by number (offset), so what comes
 * or goes between two pages may show twice or never, as it does there.
 */
#ifndef MK_SEARCH_H
#define MK_SEARCH_H

#include "core.h"
#include "format/filter.h"

/* Of logged models: metrics of one data set. */
struct mk_search_dataset {
	const char *name, *digest; /* digest NULL: of any */
};
struct mk_search_order {
	struct mk_field field;
	bool descending;
	struct mk_search_dataset dataset; /* of a metric; name NULL: of any */
};

enum mk_search_view { MK_VIEW_ACTIVE, MK_VIEW_DELETED, MK_VIEW_ALL };

struct mk_search {
	enum mk_searched of;
	int64_t scope;	    /* a project, 0: all of ours (core/domain/track/track.h) */
	const char *filter; /* NULL or "": none */
	struct mk_list order_by; /* but for logged models */
	const struct mk_search_order *orders; /* of logged models */
	size_t n_orders;
	const struct mk_search_dataset *datasets; /* their metrics are of one of these */
	size_t n_datasets;
	/* Rows of experiments: of runs and logged models, whose searches name them. */
	const int64_t *experiments;
	size_t n_experiments;
	enum mk_search_view view; /* runs and experiments */
	int64_t limit;		  /* at least 1 */
	int64_t offset;
};

struct mk_found {
	int64_t *ids; /* rows; of logged models their serials */
	size_t n;
	bool more; /* there is at least one behind them */
};

/* EINVAL: the filter or the order, in MLflow's words. */
int mk_search(struct mk_call *call, struct mantik *m, const struct mk_search *search,
	      struct mk_found *ret) _must_check_;
void mk_found_free(struct mk_found *found);

/* A start_time as the API tells it, of a runs row called r, in ms: a job's before it starts is when
 * it was submitted. */
#define MK_SQL_RUN_START                                                              \
	"(coalesce(nullif(r.started, 0), CASE r.api WHEN 0 THEN r.submitted ELSE 0 END)" \
	" / 1000000)"
/* The URI of its artifacts (mk_track_artifacts). */
#define MK_SQL_RUN_ARTIFACTS                                                         \
	"coalesce(r.artifact_uri, 'mlflow-artifacts:/' || r.experiment_id || '/' ||" \
	" r.uid || '/artifacts')"

#endif
