/* SPDX-License-Identifier: Apache-2.0 */
/* Private to backend*.c: reading one key of a config after the other. */
#ifndef MK_BACKEND_READ_H
#define MK_BACKEND_READ_H

#include "format/backend.h"

struct mk_backend_reader {
	struct mk_call *call;
	const char *source;
	struct mk_backend *backend;
};

#define fail(r, at, ...) mk_doc_fail((r)->call, (r)->source, at, __VA_ARGS__)

/* A line for the submission log: `config.yaml:7: …`. */
int mk_backend_note(struct mk_backend_reader *r, const struct mk_doc *at, const char *fmt, ...)
	_printf_(3, 4);

/* Before anything is read of a map: every key must be one of its level ("" = top). */
int mk_backend_keys(struct mk_backend_reader *r, const char *level, struct mk_doc *map);

/* 1 and the value, 0 absent, -EINVAL null or of another type. */
int mk_backend_value(struct mk_backend_reader *r, struct mk_doc *map, const char *level,
		     const char *key, struct mk_doc **ret);
int mk_backend_text(struct mk_backend_reader *r, struct mk_doc *map, const char *level,
		    const char *key, char **ret);
int mk_backend_number(struct mk_backend_reader *r, struct mk_doc *map, const char *level,
		      const char *key, int64_t min, int64_t *ret);

/* A list of texts, or one text as a list of one; null is an empty list. `add` checks one item and
 * adds it. */
typedef int mk_backend_add(struct mk_backend_reader *r, const char *key,
			   const struct mk_doc *item, struct mk_list *list);
int mk_backend_items(struct mk_backend_reader *r, struct mk_doc *map, const char *level,
		     const char *key, mk_backend_add *add, struct mk_list *ret);

int mk_backend_resources(struct mk_backend_reader *r, struct mk_doc *map);
int mk_backend_environment(struct mk_backend_reader *r, struct mk_doc *map);

#endif
