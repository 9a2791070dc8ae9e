/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What MLflow allows in names, keys and values (mlflow/utils/validation.py), in its words, for the
 * handlers of experiments, runs, metrics and models. `path` says where in the request it stands:
 * "key", "metrics[3].name".
 */
#ifndef MK_SERVE_CHECK_H
#define MK_SERVE_CHECK_H

#include <mantik/run.h>

#include "serve/serve.h"

enum {
	SERVE_KEY_MAX = 250, /* characters, like all of these */
	SERVE_PARAM_MAX = 6000,
	SERVE_TAG_MAX = 8000,
	SERVE_EXPERIMENT_NAME_MAX = 500,
	SERVE_EXPERIMENT_TAG_MAX = 20000,
	SERVE_LIST_MAX = 1000, /* tags, datasets, … of a request: each is looked for among the others */
};

/* Letters of any script, digits, _ - . : blank and /; no path that a file system would read as
 * another one; at most 250 characters. `what` is what the limit is told for: "Metric name". */
int serve_check_key(struct serve_request *rq, const char *what, const char *path,
		    const char *key) _must_check_;
int serve_check_length(struct serve_request *rq, const char *what, const char *text,
		       size_t limit) _must_check_;
int serve_check_experiment_name(struct serve_request *rq, const char *name) _must_check_;
int serve_check_run_id(struct serve_request *rq, const char *id) _must_check_;
/* A list (NULL: none) of at most SERVE_LIST_MAX. */
int serve_check_count(struct serve_request *rq, const char *what,
		      const json_t *list) _must_check_;
/* The bytes of its first `limit` characters: longer params and tags are cut, as MLflow does. */
size_t serve_cut(const char *text, size_t limit);
size_t serve_characters(const char *text);

/* An error of the domain's that is MLflow's INVALID_STATE and not worth asking again for. */
int serve_state(struct serve_request *rq, int r) _must_check_;

/* A list of {key, value}. Long values are cut to `limit` characters. */
enum {
	SERVE_PAIRS_TAGS = 1,	/* keys are checked; of one key the last counts */
	SERVE_PAIRS_PARAMS = 2, /* keys are checked; a second of one key is an error */
	SERVE_PAIRS_ANY = 3,	/* keys are taken as they are */
};
int serve_pairs(struct serve_request *rq, const char *name, int kind, size_t limit,
		struct mk_pairs *ret) _must_check_;

/* An argument of one item of a list (a metric of a batch): as serve_text() and so on, the error
 * says `list[i]`. */
struct serve_item {
	struct serve_request *rq, sub;
};
int serve_item(struct serve_request *rq, const char *list, size_t i, json_t *item,
	       struct serve_item *ret) _must_check_;
/* Hands r on, with the error of the item's argument. */
int serve_item_end(struct serve_item *item, int r) _must_check_;

#endif
