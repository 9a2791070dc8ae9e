/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mantik's backend config (YAML or JSON): the site, the resources, the environment and what is
 * not uploaded. Read strictly: each key nobody knows, or at the wrong level, or in an old spelling
 * is EINVAL with the right one, because a client that ignores them runs the job without its modules
 * or outside its container. Text where a list belongs is a list of one. The only old form that is
 * translated is Environment.{Pre,Post}RunCommand: {Command, ExecuteOnLoginNode}, which says exactly
 * what it means; a note tells so.
 *
 * `override:` of a spec is merged by mk_doc_merge() before this is called. No I/O.
 */
#ifndef MK_BACKEND_H
#define MK_BACKEND_H

#include "base/doc.h"

enum mk_backend_kind {
	MK_BACKEND_ANY,	      /* names no site */
	MK_BACKEND_UNICORE,   /* UnicoreApiUrl */
	MK_BACKEND_FIRECREST, /* Firecrest: {ApiUrl, TokenUrl, Machine} */
	MK_BACKEND_SSH,	      /* SSH: {Hostname, Port} */
};

struct mk_backend {
	enum mk_backend_kind kind;
	char *url; /* UnicoreApiUrl or Firecrest.ApiUrl */
	char *token_url;
	char *machine;
	char *hostname;
	char *port;
	char *site; /* how people call it: mk_backend_site() */

	/* Resources; NULL and 0: the site's default */
	char *queue;
	int64_t runtime; /* s */
	int64_t nodes;
	int64_t total_cpus;
	int64_t cpus_per_node;
	int64_t gpus_per_node;
	char *memory_per_node; /* as written */
	char *reservation;
	char *node_constraints;
	char *qos;

	/* Environment */
	char *image;		 /* Apptainer.Path; may hold $NAME, which the job's shell expands */
	bool image_remote;	 /* Type: remote = absolute path on the site, else below the MLproject */
	struct mk_list image_options; /* shell words as written: `--nv`, `-B a:b` */
	char *python;		 /* folder of a venv on the site; may hold $NAME */
	struct mk_list modules;
	struct mk_pairs variables; /* values as written; $NAME, ${…}, $(…) are the job's shell's */
	struct mk_list pre_login;  /* items of PreRunCommandOnLoginNode, … */
	struct mk_list pre_compute;
	struct mk_list post_compute;
	struct mk_list post_login;

	struct mk_list exclude;
	struct mk_list notes; /* whole lines for the submission log */
};

void mk_backend_free(struct mk_backend *backend);
#define _cleanup_backend_ _cleanup_(mk_backend_free)

/* `source` is what errors begin with. A doc of type NULL is a config that says nothing. EINVAL. */
int mk_backend_parse(struct mk_call *call, const char *source, struct mk_doc *doc,
		     struct mk_backend *ret) _must_check_;
/* Text and parse in one. EINVAL, EFBIG. */
int mk_backend_parse_text(struct mk_call *call, const char *source, const char *text, size_t len,
			  struct mk_backend *ret) _must_check_;

/* How people call the site the config names: "https://…/JUWELS/rest/core", "daint at https://…",
 * a host; NULL when it names none. Owned by the backend. */
static inline const char *mk_backend_site(const struct mk_backend *backend)
{
	return backend->site;
}

/*
 * Fits a config to the site `local`: what belongs to another site (its queue) or means nothing
 * here (several nodes, constraints) is removed, each with a note. A queue of a config that names
 * no site stays: the submitter checks it against the local queues.
 */
int mk_backend_localize(struct mk_call *call, const char *source,
			struct mk_backend *backend) _must_check_;

/* Whether a program can be started here: mk_program_exists() (base/program.h), another in tests. */
typedef bool mk_program_check(const char *program);
/*
 * Before a submission to `local`: ENOENT with what to install when the config needs a program this
 * machine lacks and neither modules nor a pre-command could bring it.
 */
int mk_backend_check_local(struct mk_call *call, const char *source,
			   const struct mk_backend *backend, mk_program_check *exists) _must_check_;

#endif
