/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A YAML or JSON text as a tree that remembers lines. Every scalar is the text that was written
 * (`7e-6` stays `7e-6`) until a typed getter asks. Built on libyaml's parser (JSON is read as the
 * flow style of YAML), with limits: 1 MiB of text, depth 64, 100 000 nodes, no aliases that would
 * multiply (an alias is refused unless it names a scalar), no tags but the core ones, no tabs as
 * indentation, UTF-8 without NUL, 10 000 keys in a map. Duplicate keys are errors.
 *
 * Reading is strict by consumption: each getter marks its key as used; mk_doc_leftover() then
 * refuses the first key nobody asked for, naming the nearest one that was asked for.
 */
#ifndef MK_DOC_H
#define MK_DOC_H

#include <mantik/buf.h>
#include <mantik/call.h>

enum mk_doc_type { MK_DOC_NULL, MK_DOC_SCALAR, MK_DOC_LIST, MK_DOC_MAP };

struct mk_doc {
	enum mk_doc_type type;
	int line, column; /* from 1; 0: of no text that has lines */
	char *text;	  /* SCALAR: value; NULL type: as written ("", "null", "~") */
	bool quoted;	  /* SCALAR: was quoted or a block: always text, never null/bool/number */
	char style;	  /* SCALAR: how it was written: 0 plain, ' " | (literal) > (folded) */
	size_t begin, end; /* SCALAR: where it stands in the text, in characters (not bytes) */
	struct mk_doc **items; /* LIST and MAP values */
	struct mk_doc **keys;  /* MAP: SCALAR nodes */
	size_t n;
	bool *used; /* MAP: which keys a getter asked for */
	struct mk_list asked; /* MAP: every key a getter asked for: "did you mean" */
	const char *source; /* borrowed; what errors begin with, instead of the name given; or NULL */
};

/* name is what errors begin with: `spec.yaml:3: …`. EINVAL, EFBIG. An empty text is type NULL. */
int mk_doc_parse(struct mk_call *call, const char *name, const char *text, size_t len,
		 struct mk_doc **ret) _must_check_;
/* All documents of a `---` stream, at most 1000. Lines count through the whole text. */
int mk_doc_parse_all(struct mk_call *call, const char *name, const char *text, size_t len,
		     struct mk_doc ***ret, size_t *ret_n) _must_check_;
void mk_doc_free(struct mk_doc *doc);
static inline void mk_doc_freep(struct mk_doc **doc)
{
	mk_doc_free(*doc);
	*doc = NULL;
}

/* From now on errors in this tree begin with source (not copied), wherever its nodes are merged to:
 * a value of defaults.yaml is blamed on defaults.yaml. */
void mk_doc_set_source(struct mk_doc *doc, const char *source);

/* `-EINVAL` with `name:LINE: what`. at NULL: without line. */
int mk_doc_fail(struct mk_call *call, const char *name, const struct mk_doc *at, const char *fmt,
		...) _printf_(4, 5);

/* The value of a key, or NULL; marks it used. map NULL or of type NULL gives NULL. */
struct mk_doc *mk_doc_get(struct mk_doc *map, const char *key);
/* Typed getters: 1 found, 0 absent (or null), -EINVAL wrong type with line, key and what was
 * expected. ret untouched unless 1. Texts are owned by the doc. */
int mk_doc_text(struct mk_call *call, const char *name, struct mk_doc *map, const char *key,
		const char **ret) _must_check_;
int mk_doc_bool(struct mk_call *call, const char *name, struct mk_doc *map, const char *key,
		bool *ret) _must_check_; /* true/false/yes/no/on/off, any case, as YAML 1.1 */
int mk_doc_map(struct mk_call *call, const char *name, struct mk_doc *map, const char *key,
	       struct mk_doc **ret) _must_check_;
/* A list of scalars or one scalar, added to ret. */
int mk_doc_texts(struct mk_call *call, const char *name, struct mk_doc *map, const char *key,
		 struct mk_list *ret) _must_check_;
/* EINVAL for the first key of the map nobody asked for: `name:3: unknown key "onwer", did you mean
 * "owner"?` (nearest by edit distance, at most a third of its length). Not recursive. */
int mk_doc_leftover(struct mk_call *call, const char *name, struct mk_doc *map) _must_check_;

/* Edit distance helper for all "did you mean": the nearest of the list, or NULL. */
const char *mk_nearest(const char *word, const struct mk_list *list);

/* Writing. A scalar in the plainest style that reads back as the same text (quoted where YAML 1.1
 * or 1.2 would read something else than a string, unless `plain` says it was plain already). */
void mk_yaml_scalar(struct mk_buf *buf, const char *text, bool was_plain);
/* A whole node as block style at an indentation of `indent` blanks, ends with newline. */
void mk_yaml_node(struct mk_buf *buf, const struct mk_doc *doc, int indent);
/* A text as a JSON string with quotes; bytes that are not UTF-8 become U+FFFD. */
void mk_json_string(struct mk_buf *buf, const char *text);

/* Deep copy, and: maps merge, null removes, anything else replaces (override:). Merging takes
 * base (NULL or type NULL: begins empty) and gives it back changed; over is copied from. */
struct mk_doc *mk_doc_copy(const struct mk_doc *doc);
struct mk_doc *mk_doc_merge(struct mk_doc *base, const struct mk_doc *over);

#endif
