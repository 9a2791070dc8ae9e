/* SPDX-License-Identifier: Apache-2.0 */
/* What the rooms of models share, and search shows: models as MLflow's JSON, and their arguments. */
#ifndef MK_SERVE_MODELS_H
#define MK_SERVE_MODELS_H

#include "serve/serve.h"

/* {name, creation_timestamp, …, latest_versions, tags, aliases} of a row of models. ENOENT. */
int serve_registered_json(struct serve_request *rq, int64_t id, json_t **ret) _must_check_;
/* Of a row of model_versions; MLflow leaves the aliases out in some answers. */
int serve_version_json(struct serve_request *rq, int64_t id, bool aliases,
		       json_t **ret) _must_check_;
/* {info, data} of a logged model of the scope. deleted: also of one that is. */
int serve_logged_json(struct serve_request *rq, const char *model_id, bool deleted,
		      json_t **ret) _must_check_;
/* {key: value} as an answer; takes over value (NULL: ENOMEM). */
int serve_wrapped(struct serve_request *rq, const char *key, json_t *value,
		 json_t **ret) _must_check_;

/* The registered model that `name` of the request means; *ret_name as the client wrote it. */
int serve_model_arg(struct serve_request *rq, int64_t *ret, const char **ret_name) _must_check_;
/* … and its version `version`. */
int serve_version_arg(struct serve_request *rq, int64_t *ret_model, const char **ret_name,
		      int64_t *ret) _must_check_;
int serve_model_name(struct serve_request *rq, const char *name) _must_check_;
/* A tag's key and value, within the registry's limits. */
int serve_tag_check(struct serve_request *rq, const char *key, const char *value) _must_check_;
/* [{key, value}] of argument `name`; of a key that is there twice the last wins. */
int serve_model_pairs(struct serve_request *rq, const char *name, struct mk_pairs *ret) _must_check_;

#endif
