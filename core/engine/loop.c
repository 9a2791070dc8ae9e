/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mantikd's loop: waits for the doorbell, ended jobs, finished tasks, changed files and the time,
 * and does what follows. It polls nothing that can tell by itself.
 */
#include "engine/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>

#include "base/file.h"
#include "base/utf8.h"
#include "db/lease.h"
#include "domain/outbox/outbox.h"
#include "domain/outbox/upload.h"
#include "engine/poke.h"

enum { THREADS = 4, EVENTS = 64, MAX_LINE = 4096 };

void engine_log(const char *fmt, ...)
{
	_cleanup_buf_ struct mk_buf line = MK_BUF(MAX_LINE);
	char now[32];
	va_list ap;

	mk_time_text(mk_now_real(), true, now);
	(void)mk_buf_printf(&line, "%s ", now);
	va_start(ap, fmt);
	(void)mk_buf_vprintf(&line, fmt, ap);
	va_end(ap);
	(void)mk_buf_putc(&line, '\n');
	(void)!write(2, mk_buf_text(&line), line.len);
}

/* Names and lines of a job may hold anything: what would break a line or a terminal, or is no
 * UTF-8, is written as \xNN. */
static void put_clean(struct mk_buf *out, const char *text)
{
	for (const char *s = text; *s;) {
		uint32_t c;
		size_t n = mk_utf8_char(s, 4, &c);

		if (n == 0 || c < 0x20 || (c >= 0x7f && c < 0xa0)) {
			(void)mk_buf_printf(out, "\\x%02x", (unsigned char)*s++);
			continue;
		}
		(void)mk_buf_put(out, s, n);
		s += n;
	}
}

void engine_note(const struct job *job, const char *log, const char *fmt, ...)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF(MAX_LINE), line = MK_BUF(4 * MAX_LINE);
	_cleanup_free_ char *path = mk_strf("%s/%s", job->record, log);
	_cleanup_call_ struct mk_call quiet;
	char now[32];
	va_list ap;

	mk_call_init(&quiet);
	mk_time_text(mk_now_real(), false, now);
	(void)mk_buf_printf(&line, "%s ", now);
	va_start(ap, fmt);
	(void)mk_buf_vprintf(&text, fmt, ap);
	va_end(ap);
	put_clean(&line, mk_buf_text(&text));
	(void)mk_buf_putc(&line, '\n');
	if (mk_file_append(&quiet, AT_FDCWD, path, mk_buf_text(&line), line.len) < 0)
		engine_log("%s", quiet.error.text);
}

int engine_poll_add(struct engine *e, int fd, struct job *job)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = job ? (uint64_t)job->run_id : 0};

	if (epoll_ctl(e->poll, EPOLL_CTL_ADD, fd, &event) < 0)
		return mk_fail(&e->call, errno, "epoll: %s", strerror(errno));
	return 0;
}

void engine_poll_remove(struct engine *e, int fd)
{
	(void)epoll_ctl(e->poll, EPOLL_CTL_DEL, fd, NULL);
}

static void come_back(struct task *task)
{
	struct engine *e = task->engine;

	pthread_mutex_lock(&e->lock);
	task->next = e->done;
	e->done = task;
	pthread_mutex_unlock(&e->lock);
	(void)eventfd_write(e->done_fd, 1);
}

void engine_sent(struct engine *e, int64_t project_id, bool files)
{
	struct task *task = mk_new(struct task);

	task->kind = TASK_SENT;
	task->engine = e;
	task->project_id = project_id;
	task->files = files;
	come_back(task);
}

static int order_and(struct task *task, const struct mk_compute *compute,
		     const struct mk_job_order *order)
{
	struct job *job = task->job;

	if (task->kind == TASK_STAGE)
		return compute->stage(&task->call, &job->site, order);
	if (task->ask_first) {
		struct mk_job found = {};
		int r = compute->find(&task->call, &job->site, job->uid, &found);

		if (r == 0)
			task->id = mk_steal(&found.id);
		mk_job_free(&found);
		if (r != -ENOENT)
			return r;
		mk_error_clear(&task->call);
	}
	return compute->submit(&task->call, &job->site, order, &task->id);
}

static void note_line(void *arg, const char *line)
{
	engine_note(arg, "submission", "%s", line);
}

/* In a lane thread. The loop changes nothing of a job that has a task but its `cancel`. */
static void run_task(struct mk_lane_work *work)
{
	struct task *task = (struct task *)work;
	struct job *job = task->job;

	if (task->kind == TASK_CLEAN) {
		task->result = task->site.compute->clean(&task->call, &task->site, task->uid,
							 task->workdir);
	} else if (task->kind == TASK_CANCEL) {
		task->result = job->site.compute->cancel(&task->call, &job->site, job->id, job->uid);
	} else if (task->kind == TASK_COLLECT) {
		task->result = store_harvest(&task->call, task->engine->m, job);
		if (task->result == 0)
			task->result = artifacts_collect(&task->call, job);
	} else if (task->kind == TASK_STORE) {
		task->result = store_harvest(&task->call, task->engine->m, job);
	} else {
		struct mk_job_order order = {
			.key = job->uid,
			.run_id = job->run_id,
			.name = job->name,
			.plan = &job->plan,
			.record = job->record,
			.workdir = job->workdir,
			.note = note_line,
			.note_arg = job,
		};

		task->result = order_and(task, job->site.compute, &order);
	}
	come_back(task);
}

void engine_task_run(struct engine *e, struct task *task)
{
	const char *lane = task->job ? task->job->site.name : task->site.name;

	task->engine = e;
	task->work.run = run_task;
	if (task->job)
		task->job->task = task;
	if (mk_lane_run(e->lanes, lane, &task->work) < 0)
		run_task(&task->work);
}

static void take_done(struct engine *e)
{
	eventfd_t count;

	(void)eventfd_read(e->done_fd, &count);
	for (;;) {
		pthread_mutex_lock(&e->lock);

		struct task *task = e->done;

		if (task)
			e->done = task->next;
		pthread_mutex_unlock(&e->lock);
		if (!task)
			return;
		if (task->kind == TASK_SENT) {
			outbox_done(e, &(struct mk_out_queue){task->project_id, task->files});
			free(task);
		} else {
			engine_task_done(e, task);
		}
	}
}

static void take_rings(struct engine *e)
{
	char bytes[16];

	while (read(e->doorbell, bytes, sizeof(bytes)) >= 0)
		e->look = true;
}

static void job_event(struct engine *e, int64_t run_id)
{
	for (struct job *job = e->jobs; job; job = job->next)
		if (job->run_id == run_id) {
			engine_advance(e, job);
			return;
		}
}

/* What is due by the clock; gives when the next thing is. */
static int64_t clock_work(struct engine *e)
{
	int64_t now = mk_now_mono();
	int64_t next = e->next_try;

	if (e->next_try && e->next_try <= now) {
		e->look = true;
		e->next_try = next = 0;
	}
	for (struct job *job = e->jobs, *after; job; job = after) {
		after = job->next;
		if (job->due && job->due <= now) {
			job->due = 0;
			engine_advance(e, job); /* may end the job, never another one */
		}
	}
	for (struct job *job = e->jobs; job; job = job->next)
		if (job->due && (!next || job->due < next))
			next = job->due;
	return next;
}

static int left_ms(int64_t until, int most)
{
	int64_t ms = (until - mk_now_mono() + MK_MS - 1) / MK_MS;

	return ms < 0 ? 0 : ms < most ? (int)ms : most;
}

/*
 * Nothing to do for `idle`: go. The doorbell is taken away first and the journal read once more, so
 * that who commits now either is seen here or finds nobody (poke.c).
 */
static bool go(struct engine *e)
{
	mk_poke_unbind(e->m);
	engine_poll_remove(e, e->doorbell);
	mk_closep(&e->doorbell);
	if (submit_idle(e) && outbox_idle(e))
		return true;
	if (mk_poke_bind(&e->call, e->m, &e->doorbell) < 0 ||
	    engine_poll_add(e, e->doorbell, NULL) < 0) {
		engine_log("%s", e->call.error.text);
		return true;
	}
	e->look = true;
	e->busy_until = mk_now_mono();
	return false;
}

/* Until when there is something to stay for, as far as is known: the end of the last work, or of the
 * time the service may still be asked in. */
static int64_t stay_until(const struct engine *e)
{
	int64_t last = e->serving ? e->options->service->last(e->serving) : 0;
	int64_t work = e->options->idle == INT64_MAX ? INT64_MAX : e->busy_until + e->options->idle;
	int64_t asked = last ? last + e->serve_idle : 0;

	return asked > work ? asked : work;
}

static int loop(struct engine *e, int signals, int (*beat)(struct mk_call *call, void *arg),
		void *arg)
{
	int64_t next_beat = 0;

	e->busy_until = mk_now_mono();
	while (!e->stop) {
		int r;

		if (mk_now_mono() >= next_beat) {
			r = beat ? beat(&e->call, arg) : 0;
			if (r < 0)
				return r;
			next_beat = mk_now_mono() + MK_LEASE_BEAT;
		}
		if (e->look) {
			e->look = false;
			r = submit_look(e);
			if (r >= 0)
				r = outbox_look(e);
			if (r < 0) {
				engine_log("journal: %s", e->call.error.text);
				e->next_try = mk_now_mono() + MK_SEC;
			}
		}

		bool sending = false;
		int64_t next = clock_work(e), then = outbox_clock(e, &sending);
		int wait = left_ms(next_beat, MK_LEASE_BEAT / MK_MS);

		if (e->look)
			continue;
		if (next)
			wait = left_ms(next, wait);
		if (then)
			wait = left_ms(then, wait);
		if (e->jobs || next || sending) {
			e->busy_until = mk_now_mono();
		} else {
			if (mk_now_mono() >= stay_until(e) && go(e))
				return 0;
			wait = left_ms(stay_until(e), wait);
		}

		struct epoll_event events[EVENTS];
		int n = epoll_wait(e->poll, events, EVENTS, wait);

		for (int i = 0; i < n; i++)
			if (events[i].data.u64)
				job_event(e, (int64_t)events[i].data.u64);
		/* The loop's own descriptors share 0: each is asked without waiting. */
		struct signalfd_siginfo info;

		if (n > 0) {
			take_rings(e);
			take_done(e);
			watch_events(e);
			if (read(signals, &info, sizeof(info)) == sizeof(info))
				e->stop = true;
		}
	}
	return 0;
}

static int setup(struct engine *e, int signals)
{
	e->poll = epoll_create1(EPOLL_CLOEXEC);
	e->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	e->notify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (e->poll < 0 || e->done_fd < 0 || e->notify < 0)
		return mk_fail(&e->call, errno, "mantikd: %s", strerror(errno));

	int r = mk_poke_bind(&e->call, e->m, &e->doorbell);

	for (int i = 0; r >= 0 && i < 4; i++)
		r = engine_poll_add(
			e, (const int[]){e->doorbell, e->done_fd, e->notify, signals}[i], NULL);
	return r;
}

/* Without it jobs go on all the same, unless somebody wanted just it. */
static int start_service(struct engine *e)
{
	const struct mk_daemon_options *options = e->options;
	int r = 0;

	if (!options->service)
		return 0;
	e->serve_idle = mantik_option_duration(e->m, options->service->idle);
	r = options->service->start(&e->call, e->m, options->port, &e->serving);
	if (r < 0 && !options->port) {
		engine_log("%s: %s", options->service->name, e->call.error.text);
		return 0;
	}
	if (r == 0 && options->ready)
		options->ready(options->ready_arg, options->service->port(e->serving));
	return r;
}

int mk_engine_run(struct mk_call *call, struct mantik *m, const struct mk_daemon_options *options,
		  int (*beat)(struct mk_call *call, void *arg), void *arg)
{
	struct engine e = {
		.m = m,
		.poll = -1,
		.doorbell = -1,
		.done_fd = -1,
		.notify = -1,
		.look = true,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.options = options,
	};
	sigset_t wanted;
	int r;

	mk_call_init(&e.call);
	sigemptyset(&wanted);
	sigaddset(&wanted, SIGTERM);
	sigaddset(&wanted, SIGINT);
	/* Blocked in all threads: mantikd's main did that before the first. */
	pthread_sigmask(SIG_BLOCK, &wanted, NULL);

	_cleanup_close_ int signals = signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK);

	e.lanes = mk_lanes_new(THREADS);
	/* Before the first job, which has its address, and before anybody can ring: who has rung finds
	 * the address of this mantikd, not of one before it (serving.c). */
	r = start_service(&e);
	if (r >= 0)
		r = setup(&e, signals);
	if (r >= 0)
		r = submit_resume(&e);
	if (r >= 0)
		mk_upload_sweep(&e.call, m);
	if (r >= 0)
		r = loop(&e, signals, beat, arg);
	if (r < 0)
		mk_error_move(call, &e.call);

	if (e.serving)
		options->service->stop(e.serving);
	/* Jobs go on without us; tasks are told to stop and waited for. */
	for (struct job *job = e.jobs; job; job = job->next)
		if (job->task)
			mk_call_cancel(&job->task->call);
	outbox_cancel(&e);
	mk_lanes_free(e.lanes);
	if (e.doorbell >= 0)
		mk_poke_unbind(m);
	while (e.done) {
		struct task *task = e.done;

		e.done = task->next;
		if (task->job)
			task->job->task = NULL;
		if (task->kind == TASK_SENT)
			free(task);
		else
			task_free(task);
	}
	outbox_free(&e);
	while (e.jobs)
		job_free(&e, e.jobs);
	free(e.watches);
	mk_closep(&e.doorbell);
	mk_closep(&e.notify);
	mk_closep(&e.done_fd);
	mk_closep(&e.poll);
	mk_call_done(&e.call);
	return r;
}
