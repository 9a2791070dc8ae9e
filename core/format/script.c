/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The job script (script.h). Example of what comes out:
 *
 *	#!/bin/bash
 *	# MLproject, entry point train. Runs in the directory of the MLproject.
 *
 *	# Environment.Variables
 *	export OMP_NUM_THREADS=1
 *
 *	# Environment.Modules
 *	(how to find `module`, see module_setup)
 *	module load Python/3.9.6
 *	mantik_check $? 'module load Python/3.9.6'
 *
 *	# The command
 *	python train.py --lr 7e-6
 *	mantik_status=$?
 *
 *	exit "$mantik_status"
 *
 * Only what is needed is written. What a step exports stays for the next ones, as on the platform;
 * commands for the login node run in a shell of their own, because there they run elsewhere.
 */
#include "format/script.h"

#include <errno.h>
#include <string.h>

#include "format/shell.h"

int mk_environment_choose(struct mk_call *call, const struct mk_mlproject *project,
			  const struct mk_backend *backend, enum mk_environment *ret,
			  char **ret_text)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF(MK_LIMIT_TEXT);

	if (backend && backend->image) {
		*ret = MK_ENV_APPTAINER;
		(void)mk_buf_printf(&text, "apptainer %s", backend->image);
	} else if (project && project->docker_image) {
		return mk_fail(call, EINVAL,
			       "%s:%d: docker_env: the image %s would need Docker, which runs are "
			       "not computed with: give an Apptainer image in the backend config "
			       "(Environment: {Apptainer: {Path: …}})",
			       project->source, project->environment_line, project->docker_image);
	} else if (backend && backend->python) {
		*ret = MK_ENV_VENV;
		(void)mk_buf_printf(&text, "venv %s", backend->python);
	} else if (project && project->python_env) {
		*ret = MK_ENV_PYTHON_ENV;
		(void)mk_buf_puts(&text, project->python_env);
	} else if (project && project->conda_env) {
		*ret = MK_ENV_CONDA_ENV;
		(void)mk_buf_puts(&text, project->conda_env);
	} else {
		*ret = MK_ENV_SYSTEM;
		(void)mk_buf_puts(&text, "system");
	}
	*ret_text = mk_buf_steal(&text);
	return 0;
}

/* A step that failed stops the job before its command has started. */
static const char check_function[] =
	"# Ends the job when a step before the command did not work.\n"
	"mantik_check() {\n"
	"\t[ \"$1\" -eq 0 ] && return\n"
	"\techo \"mantik: $2: exit code $1, the command was not started\" >&2\n"
	"\texit \"$1\"\n"
	"}\n";

/*
 * `module` is a function that login shells define; a job's shell is none. The files of profile.d
 * come first because they also say where the machine's modules are; a MODULEPATH of the config
 * stays in front.
 */
static const char module_setup[] =
	"for mantik_init in /etc/profile.d/lmod.sh /etc/profile.d/z00_lmod.sh \\\n"
	"\t/etc/profile.d/modules.sh \"${LMOD_PKG:-/usr/share/lmod/lmod}/init/bash\" \\\n"
	"\t\"${MODULESHOME:-/usr/share/modules}/init/bash\"; do\n"
	"\ttype module >/dev/null 2>&1 && break\n"
	"\t[ -r \"$mantik_init\" ] && . \"$mantik_init\"\n"
	"done\n"
	"type module >/dev/null 2>&1\n"
	"mantik_check $? 'Environment.Modules: this machine has no module command (install "
	"lmod or environment-modules)'\n";

static void put_check(struct mk_buf *out, const char *what)
{
	(void)mk_buf_puts(out, "mantik_check $? ");
	mk_shell_quote(out, what);
	(void)mk_buf_putc(out, '\n');
}

static void put_variables(struct mk_buf *out, const struct mk_pairs *variables)
{
	if (!variables->n)
		return;
	(void)mk_buf_puts(out, "\n# Environment.Variables\n");
	for (size_t i = 0; i < variables->n; i++) {
		const char *value = variables->v[i].value;

		(void)mk_buf_printf(out, "export %s=", variables->v[i].key);
		if (!strpbrk(value, "$`"))
			mk_shell_quote(out, value);
		else
			mk_shell_expand(out, value);
		(void)mk_buf_putc(out, '\n');
	}
}

static void put_modules(struct mk_buf *out, const struct mk_list *modules)
{
	_cleanup_buf_ struct mk_buf load = MK_BUF(MK_LIMIT_TEXT);

	if (!modules->n)
		return;
	(void)mk_buf_puts(&load, "module load");
	for (size_t i = 0; i < modules->n; i++) {
		(void)mk_buf_putc(&load, ' ');
		mk_shell_quote(&load, modules->v[i]);
	}
	(void)mk_buf_printf(out, "\n# Environment.Modules\n%s%s\n", module_setup,
			    mk_buf_text(&load));
	put_check(out, mk_buf_text(&load));
}

static void put_environment(struct mk_buf *out, const struct mk_script *script)
{
	const struct mk_backend *b = script->backend;

	switch (script->environment) {
	case MK_ENV_VENV:
		(void)mk_buf_puts(out, "\n# Environment.Python\n. ");
		mk_shell_expand(out, b->python);
		(void)mk_buf_puts(out, "/bin/activate\n");
		put_check(out, "Environment.Python: the venv cannot be activated");
		break;
	case MK_ENV_PYTHON_ENV:
	case MK_ENV_CONDA_ENV:
		if (!b || (!b->modules.n && !b->pre_compute.n))
			break;
		(void)mk_buf_puts(
			out, "\n# The project's environment goes first again\n"
			     "export PATH=\"${VIRTUAL_ENV:-${CONDA_PREFIX:-/usr}}/bin:$PATH\"\n");
		break;
	case MK_ENV_APPTAINER:
		(void)mk_buf_puts(out, "\n# Environment.Apptainer\n"
				       "type apptainer >/dev/null 2>&1\n");
		put_check(out, "Environment.Apptainer: no program apptainer (a module that brings "
			       "it?)");
		if (strstr(b->image, "://")) /* docker://, which apptainer fetches */
			break;
		(void)mk_buf_puts(out, "[ -e ");
		mk_shell_expand(out, b->image);
		(void)mk_buf_puts(out, " ]\n");
		put_check(out, "Environment.Apptainer.Path: no such image");
		break;
	case MK_ENV_SYSTEM:
		break;
	}
}

/* Steps before the command: each must work. */
static void put_before(struct mk_buf *out, const char *key, const struct mk_list *commands,
		       bool own_shell)
{
	if (!commands->n)
		return;
	(void)mk_buf_printf(out, "\n# Environment.%s\n", key);
	for (size_t i = 0; i < commands->n; i++) {
		if (own_shell)
			(void)mk_buf_printf(out, "(\n%s\n)\n", commands->v[i]);
		else
			(void)mk_buf_printf(out, "%s\n", commands->v[i]);
		put_check(out, key);
	}
}

/* Steps after it: only after success; the first that fails gives the exit code. */
static void put_after(struct mk_buf *out, const char *key, const struct mk_list *commands,
		      bool own_shell)
{
	if (!commands->n)
		return;
	(void)mk_buf_printf(out, "\n# Environment.%s, after success\n", key);
	for (size_t i = 0; i < commands->n; i++) {
		(void)mk_buf_puts(out, "if [ \"$mantik_status\" -eq 0 ]; then\n");
		if (own_shell)
			(void)mk_buf_printf(out, "(\n%s\n)\n", commands->v[i]);
		else
			(void)mk_buf_printf(out, "%s\n", commands->v[i]);
		(void)mk_buf_puts(out, "mantik_status=$?\nfi\n");
	}
}

static bool has_operators(const char *command)
{
	struct mk_shell shell = {};

	for (const char *p = command; *p; p++)
		mk_shell_feed(&shell, *p);
	return shell.operators;
}

static void put_command(struct mk_buf *out, const struct mk_script *script)
{
	const struct mk_backend *b = script->backend;

	(void)mk_buf_puts(out, "\n# The command\n");
	if (script->environment == MK_ENV_APPTAINER) {
		if (has_operators(script->command))
			(void)mk_buf_puts(out, "# (as on the platform, what stands behind | ; && || "
					       "runs outside of the container)\n");
		(void)mk_buf_puts(out, "apptainer run ");
		for (size_t i = 0; i < b->image_options.n; i++)
			(void)mk_buf_printf(out, "%s ", b->image_options.v[i]);
		mk_shell_expand(out, b->image);
		(void)mk_buf_putc(out, ' ');
	}
	(void)mk_buf_printf(out, "%s\nmantik_status=$?\n", script->command);
}

/* One line, no surprise: what a comment may hold. */
static void put_title(struct mk_buf *out, const char *title)
{
	(void)mk_buf_puts(out, "# ");
	for (const char *p = title; *p; p++)
		(void)mk_buf_putc(out, (unsigned char)*p < ' ' ? ' ' : *p);
	(void)mk_buf_putc(out, '\n');
}

int mk_script_write(struct mk_call *call, const struct mk_script *script, struct mk_buf *ret)
{
	static const struct mk_backend none;
	const struct mk_backend *b = script->backend ? script->backend : &none;
	bool checks = b->modules.n || b->pre_login.n || b->pre_compute.n ||
		      script->environment == MK_ENV_VENV || script->environment == MK_ENV_APPTAINER;

	(void)mk_buf_puts(ret, "#!/bin/bash\n");
	put_title(ret, script->title);
	(void)mk_buf_puts(ret, "# Runs in the directory of the MLproject.\n");
	if (checks)
		(void)mk_buf_printf(ret, "\n%s", check_function);
	put_variables(ret, &b->variables);
	put_before(ret, "PreRunCommandOnLoginNode", &b->pre_login, true);
	put_modules(ret, &b->modules);
	put_before(ret, "PreRunCommandOnComputeNode", &b->pre_compute, false);
	put_environment(ret, script);
	put_command(ret, script);
	put_after(ret, "PostRunCommandOnComputeNode", &b->post_compute, false);
	put_after(ret, "PostRunCommandOnLoginNode", &b->post_login, true);
	(void)mk_buf_puts(ret, "\nexit \"$mantik_status\"\n");
	if (mk_buf_check(ret) < 0)
		return mk_fail(call, EFBIG, "the job script is too long");
	return 0;
}
