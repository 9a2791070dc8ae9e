/* SPDX-License-Identifier: Apache-2.0 */
/* mantikd between main() and the loop: exactly one works, by the lease. */
#include <mantik/daemon.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "db/lease.h"
#include "engine/engine.h"
#include "engine/poke.h"

enum { LEASE_WAIT_MS = 10000, LEASE_AGAIN_MS = 20, MAX_LOG = 4 << 20 };

const char *mk_daemon_step(int i)
{
	return i < 0 ? NULL : mk_journal_step_name((enum mk_journal_step)i);
}

struct beat {
	struct mk_lease *lease;
	bool own_log;
};

static int beat(struct mk_call *call, void *arg)
{
	struct beat *b = arg;
	struct stat st;

	/* The log of a long life: begun anew in place, because shepherds write to it, too. */
	if (b->own_log && fstat(2, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > MAX_LOG)
		(void)!ftruncate(2, 0);
	return mk_lease_beat(call, b->lease);
}

/* It ends as at any SIGTERM: requests under way are answered, jobs go on. */
static void end_other(struct mk_call *call, struct mantik *m)
{
	_cleanup_lease_info_ struct mk_lease_info info = {};

	if (mk_lease_look(call, m->data_dir, &info) == 0 && info.state == MK_LEASE_HERE &&
	    info.pid > 1 && info.pid != getpid())
		(void)kill(info.pid, SIGTERM);
}

/*
 * Another one holds it: if it answers its doorbell, it does our work (and was rung now, so that it
 * looks); if it does not, it is going, or was killed and is judged dead by the lease.
 */
static int take(struct mk_call *call, struct mantik *m, bool replace, struct mk_lease **ret)
{
	int64_t end = mk_now_mono() + LEASE_WAIT_MS * MK_MS;

	for (;;) {
		int r = mk_lease_take(call, m, ret);

		if (r != -EBUSY || mk_now_mono() >= end)
			return r;
		if (replace)
			end_other(call, m);
		else if (mk_poke_ring(m) == 0)
			return r;
		mk_error_clear(call);
		(void)poll(NULL, 0, LEASE_AGAIN_MS); /* a lock file has no event */
	}
}

int mk_daemon_run(struct mk_call *call, struct mantik *m, const struct mk_daemon_options *options)
{
	struct beat b = {.own_log = options->own_log};
	int r;

	if (mantik_read_only(m))
		return mk_fail(call, EROFS, "%s", mantik_read_only_why(m) ? mantik_read_only_why(m) :
									   "opened for reading");
	r = take(call, m, options->replace, &b.lease);
	if (r < 0)
		return r;
	r = mk_engine_run(call, m, options, beat, &b);
	mk_lease_release(b.lease);
	return r;
}
