/* SPDX-License-Identifier: Apache-2.0 */
/* Which way the leaderboard of an experiment goes: by its primary metric, up or down. */
#ifndef MK_GOAL_H
#define MK_GOAL_H

#include "core.h"

/* True: by its name, more of this metric is better. */
bool mk_goal_guess(const char *metric);
/* Inside a transaction: the primary metric is what MLflow's tags of the experiment say, guessed where
 * they do not say which way. An experiment.yaml that somebody wrote has the word before them. */
int mk_goal_follow_tags(struct mk_call *call, struct mk_conn *conn,
			int64_t experiment_id) _must_check_;

#endif
