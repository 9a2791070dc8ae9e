/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Run specs that are offered ready to copy: code/<repository>/specs/<branch>/<MLproject path>/
 * <entry point>.yaml. mk_code_mlprojects() (code.h) gives the MLproject paths of a commit.
 */
#ifndef MANTIK_SPEC_H
#define MANTIK_SPEC_H

#include <mantik/code.h>

/* Names of the entry points in the order of the file. ENOENT no such MLproject in the commit;
 * EINVAL it is not valid: `scripts/MLproject:4: …`. */
int mk_spec_entry_points(struct mk_call *call, struct mantik *m, int64_t repository_id,
			 const struct mk_oid *commit, const char *mlproject,
			 struct mk_list *ret) _must_check_;
/*
 * A complete run spec with every default filled in, types as comments. branch NULL: the spec names
 * the commit. A parameter without default stands there as a comment that asks for a value: the copy
 * is refused until it has one. ENOENT also for an entry point that does not exist.
 */
int mk_spec_template(struct mk_call *call, struct mantik *m, int64_t repository_id,
		     const char *branch, const struct mk_oid *commit, const char *mlproject,
		     const char *entry_point, struct mk_buf *ret) _must_check_;

#endif
