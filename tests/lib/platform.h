/* SPDX-License-Identifier: Apache-2.0 */
/* A platform in a directory of its own, opened without mantikd, for C tests. */
#ifndef TEST_PLATFORM_H
#define TEST_PLATFORM_H

#include <mantik/mantik.h>
#include <mantik/project.h>
#include <mantik/run.h>

#include "test.h"
#include "tmpdir.h"

struct platform {
	char *dir, *data, *cache, *config, *run;
	struct mk_call call;
	struct mantik *m;
};

static inline int platform_open(struct platform *p)
{
	struct mantik_options options = {
		.data_dir = p->data,
		.cache_dir = p->cache,
		.config_dir = p->config,
		.no_daemon = true,
	};

	setenv("XDG_RUNTIME_DIR", p->run, 1);
	mantik_close(mk_steal(&p->m));
	return mantik_open(&p->call, &options, &p->m);
}

static inline void platform_done(struct platform *p)
{
	mantik_close(p->m);
	mk_call_done(&p->call);
	tmpdir_remove(p->dir);
	free(p->data);
	free(p->cache);
	free(p->config);
	free(p->run);
}

static inline bool platform_init(struct platform *p)
{
	*p = (struct platform){.dir = tmpdir_make()};
	p->data = tmpdir_path(p->dir, "data");
	p->cache = tmpdir_path(p->dir, "cache");
	p->config = tmpdir_path(p->dir, "config");
	p->run = tmpdir_path(p->dir, "run");
	mk_call_init(&p->call);

	int r = platform_open(p);

	CHECK_INT(r, 0);
	if (r < 0)
		printf("# %s\n", p->call.error.text);
	return r == 0;
}

#define PLATFORM(p)                                 \
	_cleanup_(platform_done) struct platform p; \
	NEED(platform_init(&p))

#endif
