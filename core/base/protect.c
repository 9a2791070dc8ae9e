/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Programs that hold secrets: no core file, no debugger, nothing in /proc/PID/environ. What they
 * change for themselves a job must not inherit: the limits they were started with travel through
 * mantikd to the shepherd in MANTIK_LIMITS, which no job gets to see.
 */
#include "base/protect.h"

#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <mantik/mantik.h>

static const struct {
	const char *name;
	int resource;
} limits[] = {
	{"core", RLIMIT_CORE},
	{"nofile", RLIMIT_NOFILE},
};
enum { N_LIMITS = sizeof(limits) / sizeof(*limits) };

/* Secret ones of the environment; written once, before there are threads. */
static struct {
	const char *name;
	char *value;
} taken[] = {
	{"MLFLOW_TRACKING_PASSWORD", NULL},
	{"MLFLOW_TRACKING_TOKEN", NULL},
};
enum { N_TAKEN = sizeof(taken) / sizeof(*taken) };

static void note_limits(void)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF(200);

	if (getenv("MANTIK_LIMITS")) /* of who started us */
		return;
	for (int i = 0; i < N_LIMITS; i++) {
		struct rlimit limit;

		if (getrlimit((__rlimit_resource_t)limits[i].resource, &limit) == 0)
			(void)mk_buf_printf(&text, "%s=%llu ", limits[i].name,
					    (unsigned long long)limit.rlim_cur);
	}
	(void)setenv("MANTIK_LIMITS", mk_buf_text(&text), 1);
}

void mk_limits_restore(void)
{
	const char *text = getenv("MANTIK_LIMITS");

	for (int i = 0; text && i < N_LIMITS; i++) {
		const char *at = strstr(text, limits[i].name);
		unsigned long long was;
		struct rlimit limit;
		size_t len = strlen(limits[i].name);

		if (!at || at[len] != '=' || sscanf(at + len + 1, "%llu", &was) != 1 ||
		    getrlimit((__rlimit_resource_t)limits[i].resource, &limit) < 0)
			continue;
		limit.rlim_cur = was < limit.rlim_max ? (rlim_t)was : limit.rlim_max;
		(void)setrlimit((__rlimit_resource_t)limits[i].resource, &limit);
	}
}

void mantik_protect(void)
{
	struct rlimit core;

	note_limits();
	(void)prctl(PR_SET_DUMPABLE, 0);
	if (getrlimit(RLIMIT_CORE, &core) == 0) {
		core.rlim_cur = 0; /* the hard limit is left for the jobs */
		(void)setrlimit(RLIMIT_CORE, &core);
	}
}

void mantik_protect_environment(void)
{
	for (int i = 0; i < N_TAKEN; i++) {
		char *value = getenv(taken[i].name);

		if (!value)
			continue;
		free(taken[i].value);
		taken[i].value = mk_strdup(value);
		explicit_bzero(value, strlen(value)); /* where /proc/PID/environ reads it */
		(void)unsetenv(taken[i].name);
	}
}

const char *mk_protected(const char *name)
{
	for (int i = 0; i < N_TAKEN; i++)
		if (strcmp(taken[i].name, name) == 0 && taken[i].value)
			return taken[i].value;
	return getenv(name);
}
