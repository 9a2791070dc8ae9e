/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The job script of a run: a bash text a person can read, in the order in which the platform does
 * things: variables, modules, pre-commands, environment, the command, post-commands after success.
 * Its exit code is the command's (or of the step that stopped it). It runs in the directory of the
 * MLproject. No I/O.
 */
#ifndef MK_SCRIPT_H
#define MK_SCRIPT_H

#include "format/backend.h"
#include "format/mlproject.h"

/* What the command runs in. An environment made from python_env or conda_env is active already when
 * the script begins (VIRTUAL_ENV or CONDA_PREFIX names its folder); the script only puts it before
 * what modules have added to PATH. */
enum mk_environment {
	MK_ENV_SYSTEM,
	MK_ENV_APPTAINER,  /* backend config: Apptainer */
	MK_ENV_VENV,	   /* backend config: Python */
	MK_ENV_PYTHON_ENV, /* MLproject: python_env, made by the engine */
	MK_ENV_CONDA_ENV,  /* MLproject: conda_env, made by the engine */
};

/*
 * The environment of a run: the backend config's Apptainer or Python first, then the MLproject's.
 * EINVAL: docker_env without Apptainer in the backend config, which nothing here can run.
 * project and backend may be NULL. ret_text: one line for info.yaml: `apptainer image.sif`,
 * `venv /p/x`, `python_env.yaml`, `conda.yaml`, `system`.
 */
int mk_environment_choose(struct mk_call *call, const struct mk_mlproject *project,
			  const struct mk_backend *backend, enum mk_environment *ret,
			  char **ret_text) _must_check_;

struct mk_script {
	const char *title;   /* one line: "MLproject, entry point train" */
	const char *command; /* final: mk_command_entry() or mk_command_plain() */
	const struct mk_backend *backend; /* or NULL */
	enum mk_environment environment;
};

int mk_script_write(struct mk_call *call, const struct mk_script *script,
		    struct mk_buf *ret) _must_check_;

#endif
