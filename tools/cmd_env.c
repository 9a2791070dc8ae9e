/* SPDX-License-Identifier: Apache-2.0 */
/* mantikctl env: lines for a shell's eval, so that programs started by hand find the platform or log
 * into a run. */
#include "cmd.h"

#include <mantik/run.h>

/* export NAME='value', also where the value holds quotes. */
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

static int put_run(struct ctl *ctl, struct mk_buf *out)
{
	_cleanup_(mk_run_free) struct mk_run run = {};
	_cleanup_buf_ struct mk_buf dir = MK_BUF(MK_LIMIT_TEXT);
	int64_t id = 0;
	int r = ctl_run(ctl, ctl->operands[0], &id);

	if (r == 0)
		r = mk_run_get(&ctl->call, ctl->m, id, &run);
	if (r < 0)
		return r;
	put(out, "MANTIK_RUN_ID", run.uid);
	put(out, "MANTIK_RUN_NAME", run.dir);
	put(out, "MANTIK_PROJECT", run.project);
	if (run.workdir && !mk_status_final(run.status)) {
		mk_buf_printf(&dir, "%s/.mantik", run.workdir);
		put(out, "MANTIK_RUN_DIR", mk_buf_text(&dir));
	}
	return 0;
}

static int run(struct ctl *ctl)
{
	_cleanup_buf_ struct mk_buf out = MK_BUF(MK_LIMIT_TEXT);
	int r = 0;

	put(&out, "MANTIK_CONFIG_DIR", mantik_config_dir(ctl->m));
	put(&out, "MANTIK_DATA_DIR", mantik_data_dir(ctl->m));
	put(&out, "MANTIK_CACHE_DIR", mantik_cache_dir(ctl->m));
	if (ctl->n_operands)
		r = put_run(ctl, &out);
	return r < 0 ? r : ctl_print(ctl, mk_buf_text(&out), out.len);
}

const struct cmd cmd_env = {
	.name = "env",
	.operands = "[RUN]",
	.max = 1,
	.needs = CTL_READ,
	.help = "prints variables for a shell",
	.more = "eval \"$(mantikctl env)\" makes programs started by hand use the same platform; with a live RUN "
		"they log into it, too.",
	.options = CTL_NO_OPTIONS,
	.run = run,
};
