/* SPDX-License-Identifier: Apache-2.0 */
/* See filestore.h: opening, and what is remembered, so that a look costs what has changed since. */
#include "filestore.h"

#include <search.h>
#include <string.h>

enum { MOST_SEEN = 400000 }; /* then all is forgotten: it costs time, not truth */

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct mk_fs_seen *)a)->path, ((const struct mk_fs_seen *)b)->path);
}

static void drop(void *arg)
{
	struct mk_fs_seen *seen = arg;

	free(seen->path);
	free(seen->text);
	free(seen);
}

void mk_fs_seen(struct mk_tracking *t, const char *path,
		void (*fn)(struct mk_fs_seen *seen, void *arg), void *arg)
{
	struct mk_fs_seen key = {.path = (char *)path}, **found;

	pthread_mutex_lock(&t->lock);
	if (t->n_seen == MOST_SEEN) {
		tdestroy(t->seen, drop);
		t->seen = NULL;
		t->n_seen = 0;
	}
	found = tfind(&key, &t->seen, by_path);
	if (!found) {
		struct mk_fs_seen *seen = mk_new(struct mk_fs_seen);

		seen->path = mk_strdup(path);
		found = tsearch(seen, &t->seen, by_path);
		if (!found)
			drop(seen);
		else
			t->n_seen++;
	}
	if (found)
		fn(*found, arg);
	else
		fn(&key, arg);
	pthread_mutex_unlock(&t->lock);
}

static void close_store(struct mk_tracking *t)
{
	if (!t)
		return;
	mk_local_done(&t->local);
	tdestroy(t->seen, drop);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

struct mk_tracking *mk_filestore_at(struct mantik *m, const char *path, mk_local_told *told, void *arg)
{
	struct mk_tracking *t = mk_new(struct mk_tracking);

	mk_local_init_at(&t->local, m, path, false, told, arg);
	pthread_mutex_init(&t->lock, NULL);
	return t;
}

static int open_store(struct mk_call *call, struct mantik *m, const char *connection,
		      struct mk_tracking **ret)
{
	struct mk_tracking *t = mk_new(struct mk_tracking);
	int r = mk_local_init(call, &t->local, m, connection);

	if (r < 0) {
		free(t);
		return r;
	}
	pthread_mutex_init(&t->lock, NULL);
	*ret = t;
	return 0;
}

const struct mk_tracking_ops mk_tracking_filestore = {
	.kind = "mlflow",
	.open = open_store,
	.close = close_store,
	.experiments = mk_fs_experiments,
	.runs = mk_fs_runs,
	.run = mk_fs_run,
	.history = mk_fs_history,
	.tail = mk_fs_tail,
	.files = mk_fs_files,
	.read = mk_fs_read,
	.models = mk_fs_models,
	.versions = mk_fs_versions,
	.logged = mk_fs_logged,
};
