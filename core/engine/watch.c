/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What mantikd is told about a job's files, by one inotify for all jobs:
 *
 *	<record>	`state` replaced: the job has begun
 *	.mantik/metrics .mantik/params .mantik/tags, and directories below (keys with `/`)
 *
 * An event only says "look" (job.due); what there is, the files tell. Where no watch can be had
 * (too many, or a file system without), the job's files are looked at every 200 ms instead.
 */
#include "engine/engine.h"

#include <errno.h>
#include <stddef.h>
#include <sys/inotify.h>

#include "base/file.h"

enum {
	LOOK_MS = 30,	/* many events in a row are one look */
	POLL_MS = 200,	/* without inotify */
	MAX_WATCHES_OF_A_JOB = 4096,
};

struct watch {
	int wd;
	int64_t run_id;
	char *path; /* relative to MANTIK_RUN_DIR; NULL: the record */
};

static int add(struct engine *e, struct job *job, const char *dir, const char *path)
{
	uint32_t mask = path ? IN_MODIFY | IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE : IN_MOVED_TO;
	int wd = inotify_add_watch(e->notify, dir, mask | IN_ONLYDIR | IN_DONT_FOLLOW);

	if (wd < 0)
		return -errno;
	for (size_t i = 0; i < e->n_watches; i++)
		if (e->watches[i].wd == wd)
			return 0;

	struct watch *v = reallocarray(e->watches, e->n_watches + 1, sizeof(*v));

	if (!v) {
		(void)inotify_rm_watch(e->notify, wd);
		return -ENOMEM;
	}
	e->watches = v;
	v[e->n_watches++] = (struct watch){
		.wd = wd, .run_id = job->run_id, .path = path ? mk_strdup(path) : NULL};
	job->n_watches++;
	return 0;
}

/* A directory below MANTIK_RUN_DIR ("metrics", "metrics/train"). */
static void watch_directory(struct engine *e, struct job *job, const char *path)
{
	_cleanup_free_ char *dir = mk_strf("%s/.mantik/%s", job->workdir, path);

	if (job->n_watches >= MAX_WATCHES_OF_A_JOB || add(e, job, dir, path) < 0)
		job->poll_files = true;
}

void watch_begin(struct engine *e, struct job *job)
{
	static const char *const dirs[] = {"metrics", "params", "tags"};

	if (add(e, job, job->record, NULL) < 0)
		job->poll_files = true;
	for (size_t i = 0; i < sizeof(dirs) / sizeof(*dirs); i++)
		watch_directory(e, job, dirs[i]);
	job->watched = true;
}

void watch_end(struct engine *e, struct job *job)
{
	size_t kept = 0;

	for (size_t i = 0; i < e->n_watches; i++) {
		struct watch *w = &e->watches[i];

		if (w->run_id != job->run_id) {
			e->watches[kept++] = *w;
			continue;
		}
		(void)inotify_rm_watch(e->notify, w->wd);
		free(w->path);
	}
	e->n_watches = kept;
	job->n_watches = 0;
	job->watched = false;
}

static void event(struct engine *e, const struct inotify_event *event)
{
	struct watch *w = NULL;
	struct job *job = e->jobs;
	int64_t due = mk_now_mono();

	for (size_t i = 0; i < e->n_watches && !w; i++)
		if (e->watches[i].wd == event->wd)
			w = &e->watches[i];
	if (!w)
		return;
	while (job && job->run_id != w->run_id)
		job = job->next;
	if (!job)
		return;
	if (w->path && event->len) {
		_cleanup_free_ char *path = mk_strf("%s/%s", w->path, event->name);

		/* A directory may have got files before we watch it: the look follows. */
		if (event->mask & IN_ISDIR)
			watch_directory(e, job, path);
		else if (event->mask & (IN_CLOSE_WRITE | IN_MOVED_TO))
			harvest_closed(job, path);
		if (job->looked + LOOK_MS * MK_MS > due)
			due = job->looked + LOOK_MS * MK_MS;
	}
	if (!job->due || due < job->due)
		job->due = due;
}

void watch_events(struct engine *e)
{
	char space[16384] __attribute__((aligned(__alignof__(struct inotify_event))));

	for (;;) {
		ssize_t n = read(e->notify, space, sizeof(space));

		if (n <= 0)
			return;
		for (char *p = space; p < space + n;) {
			const struct inotify_event *one = (const struct inotify_event *)p;

			/* The kernel dropped some: all jobs are looked at. */
			if (one->mask & IN_Q_OVERFLOW)
				for (struct job *job = e->jobs; job; job = job->next)
					job->due = mk_now_mono();
			else
				event(e, one);
			p += sizeof(*one) + one->len;
		}
	}
}

void watch_looked(struct job *job)
{
	job->looked = mk_now_mono();
	if (job->poll_files) {
		int64_t due = job->looked + POLL_MS * MK_MS;

		if (!job->due || due < job->due)
			job->due = due;
	}
}
