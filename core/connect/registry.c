/* SPDX-License-Identifier: Apache-2.0 */
/* Which connectors there are, and which site uses which. Any thread. */
#include "connect/connect.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

#include "connect/tracking/tracking.h"

/* Sites that exist without being configured. */
static const struct {
	const char *name;
	const struct mk_compute *compute;
} built_in[] = {
	{"local", &mk_compute_local},
};

void mk_job_free(struct mk_job *job)
{
	free(job->id);
	free(job->raw_status);
	free(job->reason);
	free(job->queue);
	free(job->nodes);
	*job = (struct mk_job){};
}

void mk_site_close(struct mk_site *site)
{
	free(site->name);
	*site = (struct mk_site){};
}

/* Option `slots`: 0 is the number of processors this process may use. */
static int64_t slots(const struct mantik *m)
{
	int64_t asked = mantik_option_int(m, "slots");
	cpu_set_t cpus;

	if (asked > 0)
		return asked;
	if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0 && CPU_COUNT(&cpus) > 0)
		return CPU_COUNT(&cpus);
	return 1;
}

int mk_site_open(struct mk_call *call, struct mantik *m, const char *name, struct mk_site *ret)
{
	for (size_t i = 0; i < sizeof(built_in) / sizeof(*built_in); i++) {
		if (strcmp(built_in[i].name, name) != 0)
			continue;
		*ret = (struct mk_site){
			.name = mk_strdup(name),
			.compute = built_in[i].compute,
			.m = m,
			.slots = built_in[i].compute->caps.has_slots ? slots(m) : 0,
		};
		return 0;
	}
	return mk_fail(call, ENOENT, "no site \"%s\"; there is: local", name);
}

int mk_site_names(struct mk_call *call, struct mantik *m, struct mk_list *ret)
{
	for (size_t i = 0; i < sizeof(built_in) / sizeof(*built_in); i++) {
		int r = mk_list_add(ret, built_in[i].name);

		if (r < 0)
			return mk_fail(call, -r, "too many sites");
	}
	return 0;
}

int mk_site_check(struct mk_call *call, struct mantik *m, const char *site,
		  const struct mk_plan *plan)
{
	struct mk_site s = {};
	int r = mk_site_open(call, m, site, &s);

	if (r < 0)
		return r;
	if (s.compute->check)
		r = s.compute->check(call, &s, plan);
	mk_site_close(&s);
	return r;
}

/* What a url begins with decides; the last one takes what is left. */
static const struct {
	const char *scheme;
	const struct mk_tracking_ops *ops;
} trackings[] = {
	{"file:", &mk_tracking_filestore},
	{"sqlite:", &mk_tracking_sqlstore},
	{"", &mk_tracking_mlflow},
};

static const struct mk_tracking_ops *tracking(const char *kind, const char *url)
{
	for (size_t i = 0; i < sizeof(trackings) / sizeof(*trackings); i++)
		if (strcmp(trackings[i].ops->kind, kind) == 0 &&
		    strncmp(trackings[i].scheme, url, strlen(trackings[i].scheme)) == 0)
			return trackings[i].ops;
	return NULL;
}

bool mk_tracking_kind(const char *kind)
{
	return tracking(kind, "") != NULL;
}

int mk_tracking_find(struct mk_call *call, const char *kind, const char *url,
		     const struct mk_tracking_ops **ret)
{
	const struct mk_tracking_ops *ops = tracking(kind, url);

	if (!ops)
		return mk_fail(call, EOPNOTSUPP, "a connection of kind %s keeps no experiments", kind);
	*ret = ops;
	return 0;
}
