/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who does the platform's work: the record <data>/lease, written by mantikd, beside the database.
 *
 *   free ------ take -----> held by this host ------ release, or its process is gone ----> free
 *                                |
 *              seen from another host: it reads only, `in use on login02 since …`
 *                                |  no heartbeat for MK_LEASE_SILENT
 *                              silent: still in use, until `mantikctl takeover` -------> free
 *
 * On one host a lock decides (two mantikd cannot both hold it); between hosts the record does,
 * because locks of network file systems cannot be trusted.
 */
#ifndef MK_LEASE_H
#define MK_LEASE_H

#include "core.h"

#define MK_LEASE_BEAT	(10 * MK_SEC)  /* how often the holder calls mk_lease_beat */
#define MK_LEASE_SILENT (120 * MK_SEC) /* without a beat for so long it may be taken over */

enum mk_lease_state {
	MK_LEASE_FREE,
	MK_LEASE_HERE, /* a living process of this machine holds it */
	MK_LEASE_AWAY, /* another machine does */
	MK_LEASE_GONE, /* another machine did and is silent */
};

struct mk_lease_info {
	enum mk_lease_state state;
	char *host;
	char *boot_id;
	pid_t pid;
	uint64_t pid_start; /* ticks since boot, of /proc/PID/stat: pids are used again */
	int64_t since;	    /* ns, realtime */
	int64_t heartbeat;  /* ns, realtime */
};
void mk_lease_info_free(struct mk_lease_info *info);
#define _cleanup_lease_info_ _cleanup_(mk_lease_info_free)

/* Reads the record and judges it. A damaged one is FREE only if nobody here holds the lock: it
 * is an error (EUCLEAN). Absent = FREE. */
int mk_lease_look(struct mk_call *call, const char *data_dir,
		  struct mk_lease_info *ret) _must_check_;
/* `in use on login02 since 2026-11-21T12:00:00Z…`; "" when FREE. */
void mk_lease_text(const struct mk_lease_info *info, struct mk_buf *ret);

struct mk_lease;
/* EBUSY with that sentence when somebody has it. */
int mk_lease_take(struct mk_call *call, struct mantik *m, struct mk_lease **ret) _must_check_;
/* Says "still alive". ESTALE: another host took it over; stop all work at once. */
int mk_lease_beat(struct mk_call *call, struct mk_lease *lease) _must_check_;
/* Removes the record if it is still ours; NULL is fine. */
void mk_lease_release(struct mk_lease *lease);
/* Removes the record of a silent holder. EBUSY: it is alive; 0 also when it was free. */
int mk_lease_takeover(struct mk_call *call, struct mantik *m) _must_check_;

#endif
