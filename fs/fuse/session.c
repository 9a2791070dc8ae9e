/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From mount(2) to unmount. The order of the end matters: the loop of libfuse has stopped, the
 * sweeper answers what is left, and only then is the descriptor closed, because a late reply would
 * be written to whatever file has got its number. What blocked in the mount then sees ENOTCONN.
 */
#include "session.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <mantik/mountpoint.h>

#include "op.h"

enum { LANE_THREADS = 4, WORKERS = 10, IDLE_WORKERS = 10, READAHEAD_KB = 1024, END_SECONDS = 5 };

/* --- mounting -------------------------------------------------------------------------------- */

/* The last thing libfuse said: the reason when mounting does not work. Only before the loop. */
static char last_words[512];

static void remember(enum fuse_log_level level, const char *fmt, va_list ap)
{
	(void)level;
	(void)vsnprintf(last_words, sizeof(last_words), fmt, ap);
	last_words[strcspn(last_words, "\n")] = 0;
}

static void complain(enum fuse_log_level level, const char *fmt, va_list ap)
{
	(void)level;
	(void)vfprintf(stderr, fmt, ap);
}

static const char otherwise[] = "`mantikctl` does the same without a mount";

/* Can this user mount at all? Says what to do if not. */
static int check_device(struct mk_call *call)
{
	_cleanup_close_ int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		return 0;
	switch (errno) {
	case ENOENT:
	case ENODEV:
	case ENXIO:
		return mk_fail(call, ENODEV,
			       "/dev/fuse is missing: run `modprobe fuse` as root, or start the "
			       "container with `--device /dev/fuse --cap-add SYS_ADMIN`; %s",
			       otherwise);
	case EACCES:
	case EPERM:
		return mk_fail(call, EACCES,
			       "/dev/fuse may not be opened by you: ask the administrator for "
			       "`chmod 0666 /dev/fuse`, or in a container for `--device "
			       "/dev/fuse`; %s",
			       otherwise);
	default:
		return mk_fail(call, errno, "/dev/fuse: %s; %s", strerror(errno), otherwise);
	}
}

static struct fuse_session *make_session(struct mount *mount, const struct session_plan *plan)
{
	_cleanup_buf_ struct mk_buf options = MK_BUF(16384);
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	struct fuse_session *session = NULL;

	(void)mk_buf_printf(&options, "fsname=mantikfs,subtype=mantikfs,nosuid,nodev,noatime%s%s",
			    mk_buf_text(&plan->options->kernel),
			    /* Modes decide only where others may come in; a site may have ACLs. */
			    plan->options->allow_other ? ",default_permissions" : "");
	if (mk_buf_check(&options) == 0 && fuse_opt_add_arg(&args, "mantikfs") == 0 &&
	    fuse_opt_add_arg(&args, "-o") == 0 && fuse_opt_add_arg(&args, options.data) == 0)
		session = fuse_session_new(&args, &fuse_ops, sizeof(fuse_ops), mount);
	fuse_opt_free_args(&args);
	return session;
}

static int mount_it(struct mk_call *call, struct mount *mount, const struct session_plan *plan)
{
	int r = check_device(call);

	if (r < 0)
		return r;
	fuse_set_log_func(remember);
	last_words[0] = 0;
	mount->session = make_session(mount, plan);
	if (!mount->session)
		return mk_fail(call, EINVAL, "the options were refused: %s", last_words);
	if (fuse_session_mount(mount->session, plan->mountpoint) != 0) {
		int error = errno ? errno : EPERM;

		fuse_session_destroy(mk_steal(&mount->session));
		return mk_fail(call, error, "%s: cannot be mounted: %s (%sa container needs --device "
			       "/dev/fuse --cap-add SYS_ADMIN; `mantikctl doctor` looks further); %s",
			       plan->mountpoint, *last_words ? last_words : "see above",
			       getuid() == 0 ? "" : "needs the package fuse3 and a directory of your "
						    "own; ",
			       otherwise);
	}
	fuse_set_log_func(complain);
	return 0;
}

/* The kernel reads ahead 128 KiB for FUSE whatever is asked for; root may raise it. */
static void raise_readahead(unsigned minor)
{
	char path[64];

	if (getuid() != 0)
		return;
	(void)snprintf(path, sizeof(path), "/sys/class/bdi/0:%u/read_ahead_kb", minor);

	FILE *file = fopen(path, "we");

	if (!file)
		return;
	(void)fprintf(file, "%d\n", READAHEAD_KB);
	(void)fclose(file);
}

/* --- the end --------------------------------------------------------------------------------- */

struct watcher {
	struct mount *mount;
	pthread_t main;
	_Atomic bool ended; /* the loop has returned */
};

static void sleep_ms(long ms)
{
	(void)nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

static void wake_up(int sig)
{
	(void)sig;
}

/* Waits for a signal, ends the loop. libfuse looks at its flag only when a wait of the main thread
 * is interrupted, and may have looked just before: so it is poked until it has gone. */
static void *watch_signals(void *arg)
{
	struct watcher *watcher = arg;
	sigset_t set;
	int sig;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	while (sigwait(&set, &sig) != 0)
		;
	if (!atomic_load(&watcher->ended))
		fuse_session_exit(watcher->mount->session);
	while (!atomic_load(&watcher->ended)) {
		(void)pthread_kill(watcher->main, SIGUSR1);
		sleep_ms(20);
	}
	return NULL;
}

/* The loop of libfuse; returns when it is unmounted or a signal has come. */
static int loop(struct mk_call *call, struct mount *mount)
{
	struct watcher watcher = {.mount = mount, .main = pthread_self()};
	struct fuse_loop_config *config = fuse_loop_cfg_create();
	struct sigaction action = {.sa_handler = wake_up};
	sigset_t usr1;
	pthread_t thread;

	if (!config || pthread_create(&thread, NULL, watch_signals, &watcher))
		return mk_fail(call, EAGAIN, "no thread can be started");
	(void)sigaction(SIGUSR1, &action, NULL);
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	pthread_sigmask(SIG_UNBLOCK, &usr1, NULL);
	fuse_loop_cfg_set_clone_fd(config, 0);
	fuse_loop_cfg_set_max_threads(config, WORKERS);
	fuse_loop_cfg_set_idle_threads(config, IDLE_WORKERS);

	int r = fuse_session_loop_mt(mount->session, config);

	atomic_store(&watcher.ended, true);
	(void)pthread_kill(thread, SIGTERM);
	(void)pthread_join(thread, NULL);
	fuse_loop_cfg_destroy(config);
	/* Positive: a signal ended it. */
	return r < 0 ? mk_fail(call, -r, "/dev/fuse: %s", strerror(-r)) : 0;
}

/* True when no thread of ours holds anything of the tree any more. */
static bool all_back(struct mount *mount)
{
	int64_t until = mk_now_mono() + END_SECONDS * MK_SEC;

	while (atomic_load(&mount->busy) > 0 && mk_now_mono() < until)
		sleep_ms(5);
	return atomic_load(&mount->busy) == 0;
}

/* What was open when the mount went: the kernel releases nothing then. */
static void drop_files(struct mount *mount)
{
	while (mount->files) {
		struct file *next = mount->files->next;

		fs_drop(mount->tree, mount->files->handle);
		free(mount->files);
		mount->files = next;
	}
}

int session_serve(struct mk_call *call, const struct session_plan *plan, bool *ret_clean)
{
	struct mount mount = {
		.m = plan->m,
		.tree = plan->tree,
		.metadata_timeout = plan->metadata_timeout,
		.ready = plan->ready,
		.ready_arg = plan->arg,
		.files_lock = PTHREAD_MUTEX_INITIALIZER,
	};

	unsigned minor;

	*ret_clean = true;

	int r = mount_it(call, &mount, plan);

	if (r < 0)
		return r;
	if (mk_mount_device(call, plan->mountpoint, &minor) == 0) {
		fs_tree_mounted(mount.tree, minor);
		raise_readahead(minor);
	}
	mount.lanes = mk_lanes_new(LANE_THREADS);
	mount.sweeper = sweeper_new(&mount);
	r = loop(call, &mount);
	sweeper_stop(mount.sweeper);
	while (atomic_load(&mount.answering) > 0) /* replies on their way to /dev/fuse */
		sleep_ms(1);
	fuse_session_unmount(mount.session);
	*ret_clean = all_back(&mount);
	if (!*ret_clean)
		return r; /* what the stuck thread uses stays until exit */
	mk_lanes_free(mount.lanes);
	sweeper_free(mount.sweeper);
	drop_files(&mount);
	fuse_session_destroy(mount.session);
	return r;
}
