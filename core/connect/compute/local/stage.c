/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The working directory of a local job, and its end.
 *
 *	<work>/<uid>/            the commit, without what the plan excludes
 *	<work>/<uid>/.mantik/    MANTIK_RUN_DIR: metrics/ params/ tags/ job_script
 *	<record>/launch          what the shepherd is to start, with the whole environment
 *
 * Runs in a lane thread; can be repeated after any interruption because nothing of the job has run.
 */
#include "connect/compute/local/local.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <mantik/code.h>

#include "base/file.h"

static const char *const run_dirs[] = {".mantik", ".mantik/metrics", ".mantik/params",
				       ".mantik/tags"};

static int make_empty(struct mk_call *call, const struct mk_job_order *order, int *ret_fd)
{
	const char *slash = strrchr(order->workdir, '/');
	_cleanup_free_ char *parent = mk_strndup(order->workdir, (size_t)(slash - order->workdir));
	_cleanup_close_ int dir = -1;
	int r = mk_mkdirs(call, parent, 0700);

	if (r < 0)
		return r;
	dir = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return mk_fail(call, errno, "%s: %s", parent, strerror(errno));
	r = mk_remove_tree(call, dir, slash + 1);
	if (r < 0)
		return mk_prefix(call, r, "%s", parent);
	if (mkdirat(dir, slash + 1, 0700) < 0)
		return mk_fail(call, errno, "%s: %s", order->workdir, strerror(errno));

	_cleanup_close_ int fd =
		openat(dir, slash + 1, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return mk_fail(call, errno, "%s: %s", order->workdir, strerror(errno));
	for (size_t i = 0; i < sizeof(run_dirs) / sizeof(*run_dirs); i++)
		if (mkdirat(fd, run_dirs[i], 0700) < 0)
			return mk_fail(call, errno, "%s/%s: %s", order->workdir, run_dirs[i],
				       strerror(errno));
	*ret_fd = mk_steal_fd(&fd);
	return 0;
}

static int export_code(struct mk_call *call, struct mk_site *site,
		       const struct mk_job_order *order, int dir)
{
	_cleanup_list_ struct mk_list exclude = {}, left_out = {};
	struct mk_oid commit;
	int r;

	if (!order->plan->repository_id)
		return 0;
	for (size_t i = 0; i < order->plan->exclude.n; i++)
		if (mk_list_add(&exclude, order->plan->exclude.v[i]) < 0)
			return mk_fail(call, E2BIG, "too many patterns to exclude");
	/* A directory, file or link of that name in the repository must not become ours. */
	if (mk_list_add(&exclude, ".mantik/") < 0 || mk_list_add(&exclude, ".mantik") < 0)
		return mk_fail(call, E2BIG, "too many patterns to exclude");
	r = mk_oid_parse(order->plan->commit ? order->plan->commit : "", &commit);
	if (r < 0)
		return mk_fail(call, EINVAL, "plan: no commit");
	r = mk_code_export(call, site->m, order->plan->repository_id, &commit, NULL, dir, &exclude,
			   &left_out);
	if (r < 0)
		return r;
	if (!order->note)
		return 0;

	_cleanup_free_ char *pinned = mk_strf("commit %s is in %s", order->plan->commit, order->workdir);

	order->note(order->note_arg, pinned);
	for (size_t i = 0; i < left_out.n; i++) {
		_cleanup_free_ char *line = mk_strf("left out: %s", left_out.v[i]);

		order->note(order->note_arg, line);
	}
	return 0;
}

/* The job's directory: in the working directory, whatever links the commit holds. */
static int check_cwd(struct mk_call *call, const struct mk_job_order *order, int dir)
{
	const char *name = order->plan->directory;
	struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC, .resolve = RESOLVE_BENEATH};

	if (!name || !*name)
		return 0;

	_cleanup_close_ int fd = (int)syscall(SYS_openat2, dir, name, &how, sizeof(how));

	if (fd < 0)
		return mk_fail(call, errno == EXDEV ? EINVAL : errno,
			       "%s: cannot run there: %s (is it excluded?)", name, strerror(errno));
	return 0;
}

static int write_launch(struct mk_call *call, struct mk_site *site,
			const struct mk_job_order *order, const char *cwd,
			const struct mk_pairs *env)
{
	_cleanup_buf_ struct mk_buf buf = MK_BUF(4 << 20);
	_cleanup_free_ char *path = mk_strf("%s/launch", order->record);

	(void)mk_buf_printf(&buf, "cwd=%s%c", cwd, 0);
	(void)mk_buf_printf(&buf, "script=%s/.mantik/job_script%c", order->workdir, 0);
	(void)mk_buf_printf(&buf, "runtime_ms=%" PRId64 "%c", order->plan->runtime * 1000, 0);
	(void)mk_buf_printf(&buf, "grace_ms=%" PRId64 "%c",
			    mantik_option_duration(site->m, "cancel_grace") / MK_MS, 0);
	(void)mk_buf_printf(&buf, "doorbell=%s/mantikd%c", site->m->run_dir, 0);
	(void)mk_buf_printf(&buf, "data=%s%c", site->m->data_dir, 0);
	(void)mk_buf_printf(&buf, "cache=%s%c", site->m->cache_dir, 0);
	(void)mk_buf_printf(&buf, "config=%s%c", site->m->config_dir, 0);
	(void)mk_buf_putc(&buf, 0);
	for (size_t i = 0; i < env->n; i++)
		(void)mk_buf_printf(&buf, "%s=%s%c", env->v[i].key, env->v[i].value, 0);

	int r = mk_buf_check(&buf);

	if (r < 0)
		return mk_fail(call, -r, "the job's environment is larger than 4 MiB");
	return mk_file_write(call, AT_FDCWD, path, buf.data, buf.len, 0600, false);
}

int mk_local_stage(struct mk_call *call, struct mk_site *site, const struct mk_job_order *order)
{
	const char *sub = order->plan->directory ? order->plan->directory : "";
	_cleanup_free_ char *cwd = mk_strf("%s%s%s", order->workdir, *sub ? "/" : "", sub);
	_cleanup_pairs_ struct mk_pairs env = {};
	_cleanup_close_ int dir = -1;
	int r = make_empty(call, order, &dir);

	if (r < 0)
		return r;
	r = export_code(call, site, order, dir);
	if (r < 0)
		return r;
	r = check_cwd(call, order, dir);
	if (r < 0)
		return r;
	if (!order->plan->script)
		return mk_fail(call, EINVAL, "plan: no script");
	r = mk_file_write(call, dir, ".mantik/job_script", order->plan->script,
			  strlen(order->plan->script), 0700, false);
	if (r < 0)
		return mk_prefix(call, r, "%s", order->workdir);
	r = mk_environment(call, site, order, cwd, &env);
	if (r < 0)
		return r;
	r = mk_venv_prepare(call, site, order, &env);
	if (r < 0)
		return r;
	return write_launch(call, site, order, cwd, &env);
}

int mk_local_clean(struct mk_call *call, struct mk_site *site, const char *key, const char *workdir)
{
	const char *slash = strrchr(workdir, '/');

	/* Only ever a directory named after the run. */
	if (!slash || slash == workdir || strcmp(slash + 1, key) != 0)
		return mk_fail(call, EPERM, "%s is not a working directory of ours", workdir);

	_cleanup_free_ char *parent = mk_strndup(workdir, (size_t)(slash - workdir));
	_cleanup_close_ int dir = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0 && errno == ENOENT)
		return 0;
	if (dir < 0)
		return mk_fail(call, errno, "%s: %s", parent, strerror(errno));

	int r = mk_remove_tree(call, dir, key);

	return r < 0 ? mk_prefix(call, r, "%s", workdir) : 0;
}
