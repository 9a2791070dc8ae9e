/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The local site as a connector: jobs of this machine, each with a shepherd of its own. What is
 * true about a job stands in its record directory (local.h); here it is judged.
 *
 * Who may be judged: a job of this host. Of this boot: by the shepherd's pid and start. Of another
 * boot: it is gone. Of another host: it is left as it was.
 */
#include "connect/compute/local/local.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "base/file.h"
#include "connect/compute/local/cgroup.h"
#include "net/spawn.h"

static int open_record(struct mk_call *call, struct mk_site *site, const char *key, int *ret)
{
	_cleanup_free_ char *path = mk_strf("%s/runs/%s", site->m->data_dir, key);
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return mk_fail(call, errno, "%s: %s", path, strerror(errno));
	*ret = fd;
	return 0;
}

/* The state if there is one, else the claim. ENOENT: nobody ever took the job. */
static int read_state(struct mk_call *call, int record, struct mk_state *ret)
{
	int r = mk_state_read(call, record, "state", ret);

	if (r == -ENOENT)
		r = mk_state_read(call, record, "claim", ret);
	return r;
}

static bool exists(int record, const char *name)
{
	return faccessat(record, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Nothing of the job ever ran and nobody is about to: it is as if it had not been submitted. */
static void forget_attempt(int record)
{
	(void)unlinkat(record, "state", 0);
	(void)unlinkat(record, "claim", 0);
}

static void judge_end(const struct mk_state *s, struct mk_job *ret)
{
	ret->ended = s->ended;
	ret->exit_code = s->exit_code;
	ret->signal = s->signal;
	switch (s->cause) {
	case MK_CAUSE_EXIT:
		ret->status = s->exit_code == 0 ? MK_FINISHED : MK_FAILED;
		if (s->signal)
			ret->reason = mk_strf("ended by signal %d (%s)", s->signal,
					      strsignal(s->signal));
		else if (s->exit_code)
			ret->reason = mk_strf("exit code %d", s->exit_code);
		break;
	case MK_CAUSE_CANCEL:
		ret->status = MK_KILLED;
		ret->cancelled = true;
		ret->reason = mk_strdup("cancelled");
		break;
	case MK_CAUSE_RUNTIME:
		ret->status = MK_FAILED;
		ret->reason = mk_strdup("runtime limit reached");
		break;
	case MK_CAUSE_STOPPED:
		ret->status = MK_FAILED;
		ret->reason = mk_strdup("stopped from outside: the session or the machine was "
					"shut down");
		break;
	case MK_CAUSE_EXEC:
		ret->status = MK_FAILED;
		ret->exit_code = -1;
		ret->reason = mk_strf("could not be started: %s", s->text ? s->text : "?");
		break;
	}
}

/* Something of the job is left though its shepherd is gone. */
static bool orphans(const struct mk_state *s, const char *key)
{
	return (s->cgroup && mk_cgroup_populated(s->cgroup)) || mk_process_signal_all(0, 0, key, 0) > 0;
}

/* -ENOENT when it never ran and may be submitted. */
static int judge(struct mk_call *call, int record, const char *key, struct mk_job *ret)
{
	_cleanup_state_ struct mk_state s = {.exit_code = -1};
	_cleanup_free_ char *host = mk_local_host();
	_cleanup_free_ char *boot = mk_local_boot();
	int r = read_state(call, record, &s);

	if (r < 0)
		return r;
	*ret = (struct mk_job){
		.id = mk_strf("%d@%llu", (int)s.shepherd.pid, (unsigned long long)s.shepherd.start),
		.status = s.phase == MK_PHASE_CLAIMED ? MK_SCHEDULED : MK_RUNNING,
		.exit_code = -1,
		.started = s.started,
		.nodes = mk_strdup(s.host),
	};
	if (s.phase == MK_PHASE_ENDED) {
		judge_end(&s, ret);
		ret->raw_status = mk_strdup("ended");
		return 0;
	}
	if (strcmp(s.host, host) != 0) {
		ret->raw_status = mk_strf("on %s, which alone can tell", s.host);
		return 0;
	}
	if (strcmp(s.boot_id, boot) == 0 && mk_process_alive(&s.shepherd)) {
		ret->raw_status = mk_strdup(s.phase == MK_PHASE_RUNNING ? "running" : "starting");
		return 0;
	}
	/* The end may have been written between reading the state and looking at the process. */
	mk_state_free(&s);
	r = read_state(call, record, &s);
	if (r < 0)
		return r;
	if (s.phase == MK_PHASE_ENDED) {
		mk_job_free(ret);
		return judge(call, record, key, ret);
	}
	if (!exists(record, "started")) {
		mk_job_free(ret);
		forget_attempt(record);
		return mk_fail(call, ENOENT, "the job was never started");
	}
	if (strcmp(s.boot_id, boot) != 0) {
		ret->status = MK_FAILED;
		ret->raw_status = mk_strdup("lost");
		ret->reason = mk_strdup("lost: the machine restarted");
		return 0;
	}
	if (orphans(&s, key)) {
		ret->status = MK_RUNNING;
		ret->raw_status = mk_strdup("running unwatched");
		return 0;
	}
	ret->status = exists(record, "cancel") ? MK_KILLED : MK_UNKNOWN;
	ret->cancelled = ret->status == MK_KILLED;
	ret->raw_status = mk_strdup("lost");
	ret->reason = mk_strdup(ret->cancelled ? "cancelled" :
						 "lost: the process that watched the job was "
						 "killed; nobody knows how the job ended");
	return 0;
}

static int local_find(struct mk_call *call, struct mk_site *site, const char *key,
		      struct mk_job *ret)
{
	_cleanup_close_ int record = -1;
	int r = open_record(call, site, key, &record);

	return r < 0 ? r : judge(call, record, key, ret);
}

static int parse_id(const char *id, struct mk_process *ret)
{
	int pid;
	unsigned long long start;

	if (!id || sscanf(id, "%d@%llu", &pid, &start) != 2 || pid <= 0)
		return -EINVAL;
	*ret = (struct mk_process){.pid = pid, .start = start};
	return 0;
}

static int local_status(struct mk_call *call, struct mk_site *site, const char *const *ids,
			const char *const *keys, size_t n, struct mk_job *ret)
{
	for (size_t i = 0; i < n; i++) {
		ret[i] = (struct mk_job){.status = MK_UNKNOWN, .exit_code = -1};

		int r = local_find(call, site, keys[i], &ret[i]);
		struct mk_process shepherd;

		if (r == 0)
			continue;
		/* Just started, it has not taken its claim yet. */
		if (r == -ENOENT && parse_id(ids[i], &shepherd) == 0 &&
		    mk_process_alive(&shepherd)) {
			ret[i].status = MK_SCHEDULED;
			ret[i].id = mk_strdup(ids[i]);
			ret[i].raw_status = mk_strdup("starting");
			mk_error_clear(call);
			continue;
		}
		/* Its record was removed by hand, or it says nonsense. */
		ret[i] = (struct mk_job){
			.status = MK_UNKNOWN,
			.exit_code = -1,
			.reason = mk_strf("lost: %s", call->error.text),
		};
		mk_error_clear(call);
	}
	return 0;
}

static int local_submit(struct mk_call *call, struct mk_site *site,
			const struct mk_job_order *order, char **ret_id)
{
	const char *const argv[] = {"mantikd", "--shepherd", order->record, NULL};
	/* Until it asks for them its signals wait: a cancel must not kill a shepherd being born. */
	struct mk_spawn spawn = {
		.path = "/proc/self/exe",
		.argv = argv,
		.keep_stderr = true,
		.hold_signals = true,
	};
	pid_t pid;
	int r = mk_spawn(call, &spawn, &pid);

	if (r < 0)
		return mk_prefix(call, r, "shepherd");
	*ret_id = mk_strf("%d@%llu", (int)pid, (unsigned long long)mk_process_start(pid));
	return 0;
}

/* The pidfd of the shepherd: readable when it has ended, and then the state is final. */
static int local_watch(struct mk_call *call, struct mk_site *site, const char *id, const char *key)
{
	struct mk_process shepherd;

	if (parse_id(id, &shepherd) < 0)
		return mk_fail(call, ESRCH, "job \"%s\" has no process", id ? id : "");

	int fd = mk_process_fd(&shepherd);

	return fd < 0 ? mk_fail(call, ESRCH, "process %d is gone", (int)shepherd.pid) : fd;
}

/* What a dead shepherd left behind: nobody else will do it. */
static int end_orphans(struct mk_call *call, struct mk_site *site, const struct mk_state *s,
		       const char *key)
{
	int64_t kill_at = mk_now_mono() + mantik_option_duration(site->m, "cancel_grace");

	(void)mk_process_signal_all(0, 0, key, SIGTERM);
	(void)mk_process_signal_all(0, 0, key, SIGCONT);
	while (orphans(s, key)) {
		int r = mk_call_check(call, "the job's processes");

		if (r < 0)
			return r;
		if (mk_now_mono() >= kill_at) {
			if (s->cgroup)
				mk_cgroup_kill(s->cgroup);
			(void)mk_process_signal_all(0, 0, key, SIGKILL);
		}
		/* They are nobody's children of ours: there is no event to wait for. */
		usleep(50000);
	}
	return 0;
}

static int local_cancel(struct mk_call *call, struct mk_site *site, const char *id, const char *key)
{
	_cleanup_state_ struct mk_state s = {.exit_code = -1};
	_cleanup_close_ int record = -1;
	struct mk_process shepherd;
	int r = open_record(call, site, key, &record);

	if (r < 0)
		return r;
	r = mk_file_append(call, record, "cancel", "", 0);
	if (r < 0)
		return r;
	if (parse_id(id, &shepherd) == 0 && mk_process_signal(&shepherd, SIGTERM) == 0)
		return 0;
	r = read_state(call, record, &s);
	if (r < 0)
		return r;
	if (s.phase == MK_PHASE_ENDED)
		return mk_fail(call, ESRCH, "the job has ended");

	_cleanup_free_ char *host = mk_local_host();

	if (strcmp(s.host, host) != 0)
		return mk_fail(call, EHOSTUNREACH, "the job is on %s: cancel it there", s.host);
	if (mk_process_signal(&s.shepherd, SIGTERM) == 0)
		return 0;
	return end_orphans(call, site, &s, key);
}

static void local_finish(struct mk_site *site, const char *id, const char *key)
{
	_cleanup_call_ struct mk_call call;
	_cleanup_state_ struct mk_state s = {.exit_code = -1};
	_cleanup_close_ int record = -1;
	struct mk_process shepherd;

	mk_call_init(&call);
	/* Our own child, if this mantikd started it. */
	if (parse_id(id, &shepherd) == 0)
		(void)waitpid(shepherd.pid, NULL, WNOHANG);
	if (open_record(&call, site, key, &record) < 0 || read_state(&call, record, &s) < 0)
		return;
	if (s.cgroup)
		mk_cgroup_remove(s.cgroup);
}

static int local_check(struct mk_call *call, struct mk_site *site, const struct mk_plan *plan)
{
	if (plan->queue && strcmp(plan->queue, "default") != 0)
		return mk_fail(call, ENOENT, "site local has no queue \"%s\"; there is: default",
			       plan->queue);
	return mk_venv_check(call, plan);
}

void mk_daemon_leave_job(void)
{
	mk_cgroup_leave();
}

const struct mk_compute mk_compute_local = {
	.caps =
		{
			.kind = "local",
			.has_slots = true,
			.poll_ms = 1000,
			.runs_here = true,
		},
	.check = local_check,
	.stage = mk_local_stage,
	.submit = local_submit,
	.find = local_find,
	.status = local_status,
	.watch = local_watch,
	.cancel = local_cancel,
	.finish = local_finish,
	.clean = mk_local_clean,
	.list = mk_local_list,
	.queues = mk_local_queues,
};
