/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of a project's code share, and what ends with the platform. */
#ifndef MK_DOMAIN_CODE_H
#define MK_DOMAIN_CODE_H

#include <mantik/code.h>

#include "connect/git/git.h"

/* A repository in use. */
struct code {
	struct mk_mirror *mirror;
	struct mk_origin origin; /* uri NULL: hidden, or repository.yaml is still to be written */
	char *label, *default_branch;
	char *uri; /* as it stands in repository.yaml, or NULL */
	bool hidden;
};

/* Its row, mirror and origin; ENOENT, EINVAL for a uri that cannot be read. */
int mk_code_open(struct mk_call *call, struct mantik *m, int64_t id,
		 struct code *code) _must_check_;
void mk_code_done(struct code *code);
#define _cleanup_code_ _cleanup_(mk_code_done)
/* For looking: 1 the mirror has refs to show, 0 there is no remote and so there are none. */
int mk_code_ready(struct mk_call *call, struct mantik *m, struct code *code) _must_check_;
/* Brings a commit into the mirror that no fetched branch shows. ENOENT: the remote has none. */
int mk_code_need(struct mk_call *call, struct code *code, const struct mk_oid *commit) _must_check_;
/* ENOENT, in words. */
int mk_code_no_uri(struct mk_call *call, const struct code *code) _must_check_;

/* The hidden repository of a project whose mirror keeps `code: path` snapshots. */
int mk_repository_ensure_hidden(struct mk_call *call, struct mantik *m, int64_t project_id,
				int64_t *ret_id) _must_check_;
/* For mantik_close(), before the database: ends fetches under way. */
void mk_code_close(struct mantik *m);

#endif
