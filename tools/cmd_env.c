/* SPDX-License-Identifier: Apache-2.0 */
/* mantikctl env: lines for a shell's eval, so that programs started by hand find the platform or log
 * into a run. */
#include "cmd.h"

#include <pwd.h>

#include <mantik/project.h>
#include <mantik/run.h>
#include <mantik/serve.h>

/* export NAME='value'; also where the value holds quotes. */
static void put(struct mk_buf *out, const char *name, const char *value)
{
	mk_buf_printf(out, "export %s='", name);
	for (const char *c = value; *c; c++) {
		if (*c == '\'')
			mk_buf_puts(out, "'\\''");
		else
			mk_buf_putc(out, *c);
	}
	mk_buf_puts(out, "'\n");
}

static void put_run(const struct mk_run *run, struct mk_buf *out)
{
	_cleanup_buf_ struct mk_buf dir = MK_BUF(MK_LIMIT_TEXT);

	put(out, "MANTIK_RUN_ID", run->uid);
	put(out, "MANTIK_RUN_NAME", run->dir);
	put(out, "MANTIK_PROJECT", run->project);
	if (run->workdir && !mk_status_final(run->status)) {
		mk_buf_printf(&dir, "%s/.mantik", run->workdir);
		put(out, "MANTIK_RUN_DIR", mk_buf_text(&dir));
	}
}

static const char *own(const void *arg, const char *name)
{
	return getenv(name);
}

/*
 * What MLflow's clients read. User and password are said besides the token, because else those of
 * ~/.mlflow/credentials would be sent instead of it; the user is also the one of runs they make.
 */
static int put_tracking(struct ctl *ctl, const struct mk_run *run, const char *project,
			struct mk_buf *out)
{
	_cleanup_buf_ struct mk_buf url = MK_BUF(MK_LIMIT_TEXT);
	_cleanup_wipe_ struct mk_buf token = MK_BUF_SECRET(1024);
	const struct passwd *user = getpwuid(getuid());
	_cleanup_free_ char *spared = NULL;
	int r = mantik_serving(&ctl->call, ctl->m, project, &url, &token);

	if (r < 0)
		return r;
	if (run->id) /* as a job's: the server knows who asks */
		(void)mk_buf_printf(&token, ".%s", run->uid);
	put(out, "MLFLOW_TRACKING_URI", mk_buf_text(&url));
	put(out, "MLFLOW_TRACKING_TOKEN", mk_buf_text(&token));
	put(out, "MLFLOW_TRACKING_USERNAME", user ? user->pw_name : "mantik");
	put(out, "MLFLOW_TRACKING_PASSWORD", mk_buf_text(&token));
	if (mantik_serving_no_proxy(own, NULL, &spared) > 0)
		put(out, "no_proxy", spared);
	if (run->id)
		put(out, "MLFLOW_RUN_ID", run->uid);
	else
		(void)mk_buf_puts(out, "unset MLFLOW_RUN_ID MLFLOW_EXPERIMENT_ID\n");
	return 0;
}

/* The run of the operand, and the project that is meant: its, or that of -p. */
static int find(struct ctl *ctl, struct mk_run *run, struct mk_project *project)
{
	int64_t id = 0;
	int r = 0;

	if (ctl->n_operands) {
		r = ctl_run(ctl, ctl->operands[0], &id);
		return r < 0 ? r : mk_run_get(&ctl->call, ctl->m, id, run);
	}
	if (ctl_option(ctl, "project"))
		r = ctl_project(ctl, NULL, &id);
	return r < 0 || !id ? r : mk_project_get(&ctl->call, ctl->m, id, project);
}

static int run(struct ctl *ctl)
{
	_cleanup_(mk_run_free) struct mk_run found = {};
	_cleanup_(mk_project_free) struct mk_project project = {};
	_cleanup_wipe_ struct mk_buf out = MK_BUF_SECRET(MK_LIMIT_TEXT);
	int r = find(ctl, &found, &project);

	if (r < 0)
		return r;
	put(&out, "MANTIK_CONFIG_DIR", mantik_config_dir(ctl->m));
	put(&out, "MANTIK_DATA_DIR", mantik_data_dir(ctl->m));
	put(&out, "MANTIK_CACHE_DIR", mantik_cache_dir(ctl->m));
	if (found.id)
		put_run(&found, &out);
	/* Without the server the rest is as good. */
	r = put_tracking(ctl, &found, found.id ? found.project : project.name, &out);
	if (r < 0)
		ctl_complain(ctl, r);
	return ctl_print(ctl, mk_buf_text(&out), out.len);
}

const struct cmd cmd_env = {
	.name = "env",
	.operands = "[RUN]",
	.max = 1,
	.needs = CTL_READ,
	.help = "prints variables for a shell",
	.more = "eval \"$(mantikctl env)\" makes programs started by hand use the same platform: ours, and MLflow's "
		"clients, which log into it through the server of mantikd; with a live RUN into that run. "
		"Experiments of a client are those of all projects, written PROJECT/EXPERIMENT, or with -p of "
		"one.",
	.options =
		(const struct cmd_option[]){
			{'p', "project", "PROJECT", "MLflow's clients see one project"},
			{},
		},
	.run = run,
};
