/* SPDX-License-Identifier: Apache-2.0 */
/* struct mantik for the rooms of core. Outside core it is opaque. */
#ifndef MK_CORE_H
#define MK_CORE_H

#include <pthread.h>
#include <stdatomic.h>

#include <mantik/mantik.h>

#include "db/db.h"

struct mk_blobs;
struct mk_git;
struct mk_index;
struct mk_options;
struct mk_vault;

struct mantik {
	struct mk_db *db;
	char *data_dir;
	char *cache_dir;
	char *config_dir;
	char *run_dir;
	char *work_dir;
	bool read_only;
	bool no_daemon;
	char *read_only_why;
	_Atomic int64_t kept_at; /* mono: mantik_keep() looked */
	_Atomic bool keeping;	 /* … and its thread is at work; set under the lock */
	pthread_mutex_t keep_lock; /* protects the next two */
	pthread_t keeper;	   /* starts a mantikd, which may take a moment; joined by the next */
	bool has_keeper;
	struct mk_options *options; /* core/base/options.c */
	struct mk_vault *vault;	    /* core/vault/vault.c */
	struct mk_blobs *blobs;	    /* core/cache/blobs.c */
	struct mk_index *index;	    /* core/domain/index/index.c */
	struct mk_git *git;	    /* core/connect/git, made on first use under once */
};

#endif
