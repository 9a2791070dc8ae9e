/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Editable texts: project.yaml, README.md, experiment.yaml, repository.yaml, defaults.yaml. The
 * text the user wrote is kept to the letter (comments too); what it means is parsed beside it.
 */
#ifndef MANTIK_TEXT_H
#define MANTIK_TEXT_H

#include <mantik/mantik.h>

enum mk_text_kind {
	MK_TEXT_PROJECT,    /* owner: project id */
	MK_TEXT_README,	    /* owner: project id */
	MK_TEXT_DEFAULTS,   /* owner: project id */
	MK_TEXT_EXPERIMENT, /* owner: experiment id */
	MK_TEXT_REPOSITORY, /* owner: repository id */
	MK_TEXT_KINDS,
};

struct mk_text {
	char *text; /* may hold any bytes, len counts; NUL-terminated */
	size_t len;
	uint64_t generation; /* counts up with every change of this text */
	int64_t changed;     /* ns, realtime */
	char *who;	     /* `ana@login01 (pid 123)` of the last change */
	bool fixed;	     /* made from what a tracking server says: not to be written here */
};

void mk_text_free(struct mk_text *text);

/* ENOENT when the owner is gone, or has no such text (defaults.yaml of a tracking server's project).
 * Never waits for a remote. */
int mk_text_get(struct mk_call *call, struct mantik *m, enum mk_text_kind kind, int64_t owner,
		struct mk_text *ret) _must_check_;
/* Length, generation and time only. */
int mk_text_stat(struct mk_call *call, struct mantik *m, enum mk_text_kind kind, int64_t owner,
		 struct mk_text *ret) _must_check_;
/*
 * Validates and stores a whole text. `seen` is the generation the writer had read (0: do not
 * check). Nothing is changed on error:
 * EINVAL  not valid: `project.yaml:3: unknown key "onwer", did you mean "owner"?`
 * EFBIG   over 1 MiB
 * EBUSY   somebody else changed it since: who and when
 * EROFS   the platform is open for reading only, or the text is `fixed`
 * Storing the same text again is 0 and changes nothing. A repository.yaml pokes its fetch.
 */
int mk_text_put(struct mk_call *call, struct mantik *m, enum mk_text_kind kind, int64_t owner,
		const char *text, size_t len, uint64_t seen) _must_check_;

#endif
