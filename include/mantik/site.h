/* SPDX-License-Identifier: Apache-2.0 */
/* Sites: where runs are computed. `local` (this machine) always exists. */
#ifndef MANTIK_SITE_H
#define MANTIK_SITE_H

#include <mantik/mantik.h>

typedef int mk_site_emit(void *arg, const char *name);
int mk_site_list(struct mk_call *call, struct mantik *m, mk_site_emit *emit,
		 void *arg) _must_check_;
/* ENOENT, with the names there are. */
int mk_site_exists(struct mk_call *call, struct mantik *m, const char *site) _must_check_;

enum mk_site_text {
	MK_SITE_YAML,	/* kind, health, limits */
	MK_SITE_QUEUES, /* queues.tsv: queue slots used waiting runtime_limit */
	MK_SITE_JOBS,	/* jobs.tsv: job_id run status queue submitted started */
};
/* Of a site that is not this machine: may return MK_PUNT, naming it. ENOENT. */
int mk_site_text(struct mk_call *call, struct mantik *m, const char *site,
		 enum mk_site_text which, struct mk_buf *ret) _must_check_;
/* Real paths for files/: adds home and scratch, each with its absolute path. ENOENT. */
int mk_site_files(struct mk_call *call, struct mantik *m, const char *site,
		  struct mk_pairs *ret) _must_check_;

#endif
