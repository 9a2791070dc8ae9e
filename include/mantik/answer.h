/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was answered to an order that was written into `runs/new` or a `ctl`, kept so that who
 * reads the file later is told, through whichever program: the session that wrote the order reads its
 * own answer, another reads the newest of the same user. The last 1000 are kept.
 */
#ifndef MANTIK_ANSWER_H
#define MANTIK_ANSWER_H

#include <mantik/mantik.h>

/* A file and who is at it. */
struct mk_answer_place {
	uint64_t ino; /* of the file, in every tree of this platform the same */
	uid_t uid;
	pid_t sid; /* session, 0 unknown */
};

struct mk_answer {
	char *text;
	int64_t time; /* ns, realtime */
	bool is_of_session;
};
void mk_answer_free(struct mk_answer *answer);
#define _cleanup_order_answer_ _cleanup_(mk_answer_free)

/* Replaces what this session was answered there before; nothing when the platform is read-only.
 * Waits for the database at most 200 ms: what cannot be kept then is lost. */
void mk_answer_put(struct mantik *m, const struct mk_answer_place *place, int64_t time,
		   const char *text);
/* 1 and the answer (free it), 0 none; EBUSY, EIO as every question to the database. */
int mk_answer_get(struct mk_call *call, struct mantik *m, const struct mk_answer_place *place,
		  struct mk_answer *ret) _must_check_;

#endif
