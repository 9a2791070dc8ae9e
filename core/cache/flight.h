/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One asks for all: a question to a remote that is under way is joined by whoever has the same one.
 * A flight has a thread of its own, in a lane of the remote's name that is the flights' own, and
 * its own call; who waits for it may leave.
 *
 *	board(key) ---> under way? join : begin ---> wait ---> its result
 *	                                                |
 *	   each mk_flight_moved() gives who waits the time again that their call had left at boarding
 *
 * When the last one has left, a flight has five more seconds and then is cancelled: what came until
 * then is kept by whoever flies it.
 */
#ifndef MK_FLIGHT_H
#define MK_FLIGHT_H

#include <mantik/call.h>

struct mk_flights;
struct mk_flight;

/* Asks the remote. call may wait for it, has no deadline (mk_flight_moved() is the sign of life)
 * and is cancelled when nobody waits any more. */
typedef int mk_flight_fn(struct mk_call *call, struct mk_flight *flight, void *arg);

/* threads: of one remote. */
struct mk_flights *mk_flights_new(int threads);
/* Cancels and waits for all. NULL is fine. */
void mk_flights_free(struct mk_flights *flights);

/*
 * Waits until the question `key` (unique among all remotes) is answered, by a flight under way or a
 * new one. arg belongs to the flight from now on and ends with drop(arg), whatever happens.
 * Returns what fn returned, with its error. EINTR, ETIMEDOUT: the asker left. EAGAIN: no thread.
 * patience: ns after which the asker leaves though its call has more time; 0: as long as it has.
 * The caller's thread may wait for the remote (mk_call_may_wait was asked).
 */
int mk_flight_board(struct mk_call *call, struct mk_flights *flights, const char *remote,
		    const char *key, int64_t patience, mk_flight_fn *fn, void *arg,
		    void (*drop)(void *arg)) _must_check_;
/* By fn: a page has come. */
void mk_flight_moved(struct mk_flight *flight);

#endif
