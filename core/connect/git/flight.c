/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One fetch of a mirror at a time in this process, whoever asks. It has a thread of its own (lane
 * `git:<host>` of mk_git), its own call and its own deadline, so that an asker may leave:
 *
 *	asker --- begin or join ---> wait for ASKED ---> wait for FETCHED
 *	flight:   ls-remote ------------> asked -- fetch if anything moved --> fetched
 *
 * A flight that failed answers those who come within FORGET_NS without asking again: a silent
 * remote must not make every lookup wait.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>

#include "connect/git/internal.h"

static const int64_t forget_ns = 5 * MK_SEC;

struct flight {
	struct mk_lane_work work;
	int refs; /* under git->lock: the thread and each asker */
	struct mk_mirror *mirror;
	struct mk_origin origin;
	struct mk_call call;
	bool head;
	int asked_fd, done_fd; /* readable for good once that is so */
	/* Under git->lock. */
	bool asked, done;
	struct mk_error error; /* once done */
};

static void copy_error(struct mk_error *to, const struct mk_error *from)
{
	*to = (struct mk_error){
		.code = from->code,
		.text = mk_strdup(from->text),
		.remote = mk_strdup(from->remote),
		.status = from->status,
		.detail = mk_strdup(from->detail),
		.origin = from->origin,
	};
}

static void flight_unref(struct flight *flight)
{
	struct mk_git *git = flight->mirror->git;

	pthread_mutex_lock(&git->lock);

	int left = --flight->refs;

	pthread_mutex_unlock(&git->lock);
	if (left)
		return;
	mk_mirror_unref(flight->mirror);
	mk_origin_free(&flight->origin);
	mk_call_done(&flight->call);
	mk_closep(&flight->asked_fd);
	mk_closep(&flight->done_fd);
	free(flight->error.text);
	free(flight->error.remote);
	free(flight->error.detail);
	free(flight);
}

static void set_asked(struct flight *flight)
{
	pthread_mutex_lock(&flight->mirror->git->lock);
	flight->asked = true;
	flight->mirror->asked_head |= flight->head;
	pthread_mutex_unlock(&flight->mirror->git->lock);
	(void)eventfd_write(flight->asked_fd, 1);
}

static void set_done(struct flight *flight, int r)
{
	struct mk_mirror *mirror = flight->mirror;
	struct mk_git *git = mirror->git;

	pthread_mutex_lock(&git->lock);
	git_failure_clear(mirror);
	if (r < 0) {
		copy_error(&flight->error, &flight->call.error);
		copy_error(&mirror->failed, &flight->call.error);
		mirror->failed_uri = mk_strdup(flight->origin.uri);
		mirror->failed_at = mk_now_mono();
	}
	flight->done = true;
	mirror->flight = NULL;
	pthread_mutex_unlock(&git->lock);
	(void)eventfd_write(flight->done_fd, 1);
}

struct known {
	const struct mk_remote_refs *remote;
	size_t n, same;
};

static int compare_known(void *arg, const char *name, const struct mk_oid *oid)
{
	struct known *known = arg;
	size_t low = 0, high = known->remote->n;

	known->n++;
	while (low < high) {
		size_t mid = (low + high) / 2;
		int c = strcmp(name, known->remote->v[mid].name);

		if (c == 0) {
			known->same += memcmp(oid, &known->remote->v[mid].oid, sizeof(*oid)) == 0;
			return 0;
		}
		if (c < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return 0;
}

/* Does the mirror have exactly the branches and tags the remote has? */
static int is_current(struct flight *flight, const struct mk_remote_refs *remote)
{
	struct known known = {.remote = remote};
	int r = git_raw_refs(&flight->call, flight->mirror, compare_known, &known);

	if (r < 0)
		return r;
	return known.n == remote->n && known.same == remote->n;
}

static int fly(struct flight *flight, bool *ret_moved)
{
	struct mk_call *call = &flight->call;
	struct mk_mirror *mirror = flight->mirror;
	_cleanup_(mk_remote_refs_free) struct mk_remote_refs refs = {};
	int r = mk_remote_ask(call, mirror, &flight->origin, flight->head, &refs);

	if (r < 0)
		return r;
	set_asked(flight);
	r = is_current(flight, &refs);
	if (r < 0)
		return r;
	*ret_moved = !r;
	if (*ret_moved) {
		r = mk_remote_fetch(call, mirror, &flight->origin);
		if (r == 0)
			r = git_pack_pins(call, mirror);
		if (r < 0)
			return r;
	}
	if (refs.asked_head) {
		r = git_set_head(call, mirror, &refs);
		if (r < 0)
			return r;
	}
	return git_set_answered(call, mirror, &flight->origin);
}

static void run(struct mk_lane_work *work)
{
	struct flight *flight = (struct flight *)work; /* its first member */
	struct mk_mirror *mirror = flight->mirror;
	bool moved = false;
	int r = fly(flight, &moved);

	if (mirror->git->told && r != -EINTR)
		mirror->git->told(mirror->git->told_arg, mirror->name,
				  r < 0 ? &flight->call.error : NULL, moved);
	set_done(flight, r);
	if (r == 0 && moved)
		git_tidy(mirror);
	flight_unref(flight);
}

static struct flight *new_flight(struct mk_mirror *mirror, const struct mk_origin *origin,
				 bool head)
{
	struct flight *flight = mk_new(struct flight);

	flight->work.run = run;
	flight->refs = 2; /* the thread's and the beginner's */
	flight->mirror = mirror;
	mirror->refs++;
	mk_origin_copy(&flight->origin, origin);
	mk_call_init(&flight->call);
	flight->head = head;
	flight->asked_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	flight->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return flight;
}

/* The flight under way or a new one; the caller has a reference. */
static int board(struct mk_call *call, struct mk_mirror *mirror, const struct mk_origin *origin,
		 bool again, struct flight **ret)
{
	struct mk_git *git = mirror->git;
	struct flight *flight, *begun = NULL;
	int r = 0;

	if (git->read_only)
		return mk_fail(call, EROFS, "%s: the platform is open for reading only",
			       origin->label);
	pthread_mutex_lock(&git->lock);
	flight = mirror->flight;
	if (flight) {
		flight->refs++;
	} else if (!again && mirror->failed.code && mirror->failed_uri &&
		   strcmp(mirror->failed_uri, origin->uri) == 0 &&
		   mk_now_mono() - mirror->failed_at < forget_ns) {
		r = mk_fail(call, mirror->failed.code, "%s", mirror->failed.text);
		mk_error_detail(call, mirror->failed.remote, mirror->failed.status,
				mirror->failed.detail);
	} else {
		bool head = again || !mirror->asked_head || !mk_mirror_answered(mirror, origin);

		flight = begun = new_flight(mirror, origin, head);
		mirror->flight = flight;
		if (mirror->tidying) /* it can wait */
			mk_call_cancel(mirror->tidying);
	}
	pthread_mutex_unlock(&git->lock);
	if (r < 0)
		return r;
	if (begun) {
		r = begun->asked_fd < 0 || begun->done_fd < 0
			    ? -EMFILE
			    : mk_lane_run(git->lanes, origin->lane, &begun->work);
		if (r < 0) {
			(void)mk_fail(&begun->call, -r, "%s: no thread for the fetch: %s",
				      origin->label, strerror(-r));
			set_done(begun, r);
			flight_unref(begun);
		}
	}
	*ret = flight;
	return 0;
}

static int await(struct mk_call *call, struct flight *flight, enum mk_flight_stage stage)
{
	struct mk_git *git = flight->mirror->git;
	_cleanup_buf_ struct mk_buf what = MK_BUF(8192);

	(void)mk_buf_printf(&what, "%s (%s, %s)", flight->origin.shown, flight->origin.label,
			    flight->origin.lane);
	for (;;) {
		pthread_mutex_lock(&git->lock);

		bool done = flight->done || (stage == MK_ASKED && flight->asked);
		int code = flight->done ? flight->error.code : 0;

		pthread_mutex_unlock(&git->lock);
		if (done && code) {
			(void)mk_fail(call, code, "%s", flight->error.text);
			mk_error_detail(call, flight->error.remote, flight->error.status,
					flight->error.detail);
			return -code;
		}
		if (done)
			return 0;

		int r = mk_call_check(call, mk_buf_text(&what));
		if (r < 0)
			return r;

		int cancel = mk_call_cancel_fd(call);
		struct pollfd fds[] = {
			{.fd = cancel, .events = POLLIN},
			{.fd = flight->done_fd, .events = POLLIN},
			{.fd = stage == MK_ASKED ? flight->asked_fd : -1, .events = POLLIN},
		};

		(void)poll(fds, 3, mk_call_left_ms(call, cancel < 0 ? 100 : 60000));
	}
}

int mk_mirror_fetch(struct mk_call *call, struct mk_mirror *mirror, const struct mk_origin *origin,
		    enum mk_flight_stage stage, bool again)
{
	struct flight *flight = NULL;
	int r = mk_call_may_wait(call, origin->lane);

	if (r < 0)
		return r;
	for (;;) {
		r = board(call, mirror, origin, again, &flight);
		if (r < 0)
			return r;

		/* Bound for where the repository came from before its uri was changed? */
		bool stray = strcmp(flight->origin.uri, origin->uri) != 0;

		if (stray)
			mk_call_cancel(&flight->call);
		r = await(call, flight, stray ? MK_FETCHED : stage);

		bool over = !stray || atomic_load(&call->cancelled) || r == -ETIMEDOUT;

		flight_unref(flight);
		if (over)
			return r;
	}
}

void mk_mirror_fetch_begin(struct mk_mirror *mirror, const struct mk_origin *origin)
{
	struct mk_call call;
	struct flight *flight = NULL;

	mk_call_init(&call);
	if (board(&call, mirror, origin, false, &flight) == 0)
		flight_unref(flight);
	mk_call_done(&call);
}

void git_flights_end(struct mk_git *git)
{
	pthread_mutex_lock(&git->lock);
	git->ending = true;
	for (struct mk_mirror *mirror = git->mirrors; mirror; mirror = mirror->next) {
		if (mirror->flight)
			mk_call_cancel(&mirror->flight->call);
		if (mirror->tidying)
			mk_call_cancel(mirror->tidying);
	}
	pthread_mutex_unlock(&git->lock);
}
