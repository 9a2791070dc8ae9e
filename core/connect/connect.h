/* SPDX-License-Identifier: Apache-2.0 */
/* The list of connectors, and a site as they see it. */
#ifndef MK_CONNECT_H
#define MK_CONNECT_H

#include <mantik/connector.h>

#include "core.h"

struct mk_site {
	char *name;
	const struct mk_compute *compute;
	struct mantik *m;
	int64_t slots; /* with caps.has_slots: jobs at once */
};

void mk_site_close(struct mk_site *site);
/* A site by name. ENOENT with the names there are. */
int mk_site_open(struct mk_call *call, struct mantik *m, const char *name,
		 struct mk_site *ret) _must_check_;
/* All names, in the order they are shown. */
int mk_site_names(struct mk_call *call, struct mantik *m, struct mk_list *ret) _must_check_;
/* Would the site take this plan? For mk_submit, before anything is written; never waits. */
int mk_site_check(struct mk_call *call, struct mantik *m, const char *site,
		  const struct mk_plan *plan) _must_check_;

extern const struct mk_compute mk_compute_local;

/* The implementation for a kind of connection with this url. EOPNOTSUPP: it keeps no experiments. */
struct mk_tracking_ops;
int mk_tracking_find(struct mk_call *call, const char *kind, const char *url,
		     const struct mk_tracking_ops **ret) _must_check_;
bool mk_tracking_kind(const char *kind);

#endif
