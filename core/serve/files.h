/* SPDX-License-Identifier: Apache-2.0 */
/* Artifacts as answers: a listing, the bytes of a file. */
#ifndef MK_SERVE_FILES_H
#define MK_SERVE_FILES_H

#include "domain/track/artifact.h"
#include "serve/serve.h"

/* Paths are names only (of the artifact proxy), or from the root, which is named. */
enum serve_list { SERVE_LIST_NAMES, SERVE_LIST_ROOTED };

/* A directory; of a file, and of what is not there, the list is empty, as MLflow's is. */
int serve_artifact_list(struct serve_request *rq, const struct mk_artifact *artifact,
			enum serve_list how, json_t **ret) _must_check_;
/* A file, into rq->file. */
int serve_artifact_open(struct serve_request *rq, const struct mk_artifact *artifact) _must_check_;

#endif
