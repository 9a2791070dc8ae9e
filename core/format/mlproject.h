/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An MLproject file: entry points, their parameters and commands, and the environment they ask
 * for. Read as people really write it: a declared type is advice, a default is the text that was
 * written (`7e-6`, `None`, `--nocache`), an odd extra key is a warning. What cannot be understood
 * is EINVAL with the line. No I/O, no waiting.
 */
#ifndef MK_MLPROJECT_H
#define MK_MLPROJECT_H

#include <mantik/buf.h>
#include <mantik/call.h>

struct mk_parameter {
	char *name;
	char *type;	  /* as written; NULL none, which means string */
	char *value;	  /* the default; NULL: a value must be given */
	bool value_plain; /* the default was written without quotes */
	int line;
};

struct mk_entry_point {
	char *name;
	struct mk_parameter *parameters; /* in the order of the file */
	size_t n_parameters;
	char *command; /* as written, NULL none; see command.h */
	char style;    /* how the command was written: 0 plain, ' " | > (struct mk_doc) */
	int line;
	int command_line;
};

struct mk_mlproject {
	char *name;	/* NULL none */
	char *source;	/* what its errors begin with: the path in the repository */
	struct mk_entry_point *entry_points;
	size_t n_entry_points;
	/* At most one is set. None: the submitter looks for python_env.yaml, then conda.yaml, beside
	 * the MLproject, as MLflow does. */
	char *python_env;
	char *conda_env;
	char *docker_image;
	int environment_line;
	struct mk_list warnings; /* whole lines for the submission log */
};

void mk_mlproject_free(struct mk_mlproject *project);
#define _cleanup_mlproject_ _cleanup_(mk_mlproject_free)

/* `source` is what errors begin with. EINVAL, EFBIG. */
int mk_mlproject_parse(struct mk_call *call, const char *source, const char *text, size_t len,
		       struct mk_mlproject *ret) _must_check_;
/* An entry point by name (NULL: main). EINVAL with the nearest name, or all of them when few. The
 * result is owned by the project. */
int mk_mlproject_entry(struct mk_call *call, const struct mk_mlproject *project, const char *name,
		       const struct mk_entry_point **ret) _must_check_;
const struct mk_parameter *mk_entry_parameter(const struct mk_entry_point *entry,
					      const char *name);

/*
 * The text of code/<repository>/specs/<branch>/<MLproject>/<entry point>.yaml: a run spec with
 * every default filled in and the types as comments, to be copied into runs/new as it is.
 */
struct mk_entry_spec {
	const char *repository;
	const char *branch;	/* or NULL: commit */
	const char *commit;	/* 40 hex */
	const char *mlproject;	/* path in the repository */
	const char *experiment; /* or NULL: left to the defaults */
	const char *site;	/* or NULL: left to the defaults */
	const char *backend_config; /* path in the repository, or NULL: none */
};
int mk_entry_spec_write(struct mk_call *call, const struct mk_entry_spec *spec,
			const struct mk_entry_point *entry, struct mk_buf *ret) _must_check_;

#endif
