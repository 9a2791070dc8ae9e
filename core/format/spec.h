/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Run specs (mantik.yaml(5), RUN SPEC): what a person writes into runs/new, into runs/defaults.yaml and
 * what is kept as a run's spec.yaml. Texts in, checked documents out; no I/O, no waiting.
 *
 * A text becomes one document a spec. Each is laid over the defaults (spec, defaults.yaml, the
 * site's defaults, built-in) by merging; every value keeps the text and line it came from, so that
 * an error blames the right file.
 *
 * Laying one over another, beyond mk_doc_merge() (maps merge, null removes, else replaces):
 *   code                  keeps only `repository` of what is below it: a branch of the defaults
 *                         never mixes with a commit of the spec; {} is no code at all. With branch
 *                         and commit the commit counts; path with commit is a snapshot taken before
 *   command, script,      whichever is given takes the others of below away
 *   entry_point+mlproject
 *   sweep, backend_config replace as a whole; a parameter takes its sweep of below away and the
 *                         other way round
 *
 * A batch script (`#!`) is a spec with nothing but `script:`. Its `#SBATCH` lines stay in it as
 * comments; nothing of them is read: what they ask for is said in the submission log to be left to
 * the site, and everything else comes from the defaults.
 */
#ifndef MK_SPEC_H
#define MK_SPEC_H

#include "base/doc.h"

enum { MK_SPEC_MAX_RUNS = 10000 /* of one write */ };

/* The documents of one write, each checked by itself. */
struct mk_specs {
	struct mk_doc **v;
	size_t n;
};
void mk_specs_free(struct mk_specs *specs);
#define _cleanup_specs_ _cleanup_(mk_specs_free)

/* source must outlive the result. EINVAL with line; EFBIG; EOPNOTSUPP `not supported yet: data
 * (line 4)`. An empty text is EINVAL. */
int mk_specs_read(struct mk_call *call, const char *source, const char *text, size_t len,
		  struct mk_specs *ret) _must_check_;
/* A document of defaults: the same keys; empty is fine (*ret of type NULL). */
int mk_spec_read_defaults(struct mk_call *call, const char *source, const char *text, size_t len,
			  struct mk_doc **ret) _must_check_;
/* For whoever stores defaults.yaml: only checks. name is what errors begin with. */
int mk_spec_check_defaults(struct mk_call *call, const char *name, const char *text,
			   size_t len) _must_check_;
/* One document, any source: EINVAL with the line, EOPNOTSUPP for what is not there yet. */
int mk_spec_check(struct mk_call *call, const char *source, struct mk_doc *doc) _must_check_;
/* The commented text defaults.yaml begins with. */
extern const char mk_spec_defaults_text[];

/* A spec with its defaults. Nodes point into doc; NULL: not given anywhere. */
struct mk_spec {
	struct mk_doc *doc;
	const struct mk_doc *name, *experiment, *mlproject, *entry_point, *command, *script;
	const struct mk_doc *repository, *branch, *commit, *path; /* code: */
	bool no_code;						  /* code: {} */
	const struct mk_doc *parameters, *sweep;		  /* maps */
	const struct mk_doc *after, *site, *artifacts;		  /* a text or a list of texts */
	const struct mk_doc *account;
	const struct mk_doc *backend_config; /* a text (path) or a map */
	const struct mk_doc *override;	     /* a map */
};
void mk_spec_free(struct mk_spec *spec);
#define _cleanup_spec_ _cleanup_(mk_spec_free)

/* Lays documents over each other, layers[0] lowest; NULL ones are skipped. EINVAL for what only
 * together makes no sense. */
int mk_spec_merge(struct mk_call *call, const struct mk_doc *const *layers, size_t n,
		  struct mk_spec *ret) _must_check_;

/* Text of a node, NULL for none. */
static inline const char *mk_spec_text(const struct mk_doc *node)
{
	return node ? node->text : NULL;
}
/* How many texts a node that is a text or a list of texts has, and the i-th. */
size_t mk_spec_count(const struct mk_doc *node);
const struct mk_doc *mk_spec_item(const struct mk_doc *node, size_t i);

/*
 * Fills {parameter} and {site} into a template; `{{` and `}}` are braces. what names the template
 * in the error, at its line. EINVAL: no such parameter, with the nearest name.
 */
int mk_spec_fill(struct mk_call *call, const struct mk_doc *at, const char *what,
		 const char *template_text, const struct mk_pairs *values, const char *site,
		 struct mk_buf *ret) _must_check_;
/* The name of a run: not empty, at most 1000 bytes, no control characters. */
int mk_spec_check_name(struct mk_call *call, const struct mk_doc *at,
		       const char *name) _must_check_;

/* What is kept with a run: everything pinned, so that it runs again exactly. NULL: not there. */
struct mk_spec_pinned {
	const char *name;
	const char *experiment;
	const char *repository; /* or path: a snapshot */
	const char *branch;
	const char *commit;
	const char *path;
	const char *mlproject;
	const char *entry_point;
	const struct mk_doc *command;
	const struct mk_doc *script;
	const struct mk_pairs *parameters;
	const struct mk_list *after;
	const char *site;
	const char *account;
	const char *backend_config; /* path in the repository */
	const struct mk_doc *backend_map;
	const struct mk_doc *override;
	const struct mk_doc *artifacts;
};
void mk_spec_write(struct mk_buf *buf, const struct mk_spec_pinned *pinned);

#endif
