/* SPDX-License-Identifier: Apache-2.0 */
/* Editable texts inside core/domain: what a text means, found out before it is stored. */
#ifndef MK_TEXTS_H
#define MK_TEXTS_H

#include <mantik/text.h>

#include "db/db.h"

/* What the database keeps of a text beside it. Freed with mk_meaning_free. */
struct mk_meaning {
	char *site;   /* project.yaml */
	char *metric; /* experiment.yaml, and the next two */
	char *note;
	bool maximize, best;
	char *uri, *platform, *connection, *default_branch; /* repository.yaml */
};
void mk_meaning_free(struct mk_meaning *meaning);
#define _cleanup_meaning_ _cleanup_(mk_meaning_free)

const char *mk_text_name(enum mk_text_kind kind); /* "project.yaml" */
/* EINVAL `project.yaml:3: …`, EFBIG. (text_check.c) */
int mk_text_check(struct mk_call *call, enum mk_text_kind kind, const char *text, size_t len,
		  struct mk_meaning *ret) _must_check_;
/* What a fresh owner shows; name and id are its own. (text_template.c) */
void mk_text_template(enum mk_text_kind kind, const char *name, int64_t id, struct mk_buf *ret);
/* 1 and the text, when it is made from what a tracking store says; 0: it is ours; ENOENT: what such
 * an owner does not have. (text_store.c) */
struct mantik;
int mk_text_of_store(struct mk_call *call, struct mantik *m, enum mk_text_kind kind, int64_t owner,
		     struct mk_text *ret) _must_check_;
/* The note of an experiment of ours, in its text and in MLflow's tag (text_note.c). NULL or "": none.
 * mk_note_put: 1 the text was changed. mk_note_get: 1 there is one. */
int mk_note_put(struct mk_buf *text, const char *note);
int mk_note_get(struct mk_call *call, struct mk_conn *conn, int64_t experiment_id,
		char **ret) _must_check_;
int mk_note_to_tag(struct mk_call *call, struct mk_conn *conn, int64_t experiment_id,
		   const char *note) _must_check_;
int mk_note_to_text(struct mk_call *call, struct mk_conn *conn, int64_t experiment_id,
		    const char *note) _must_check_;
/* The experiment.yaml of a store, changed: goes into the outbox. */
int mk_text_put_store(struct mk_call *call, struct mantik *m, int64_t experiment_id, const char *text,
		      size_t len) _must_check_;

#endif
