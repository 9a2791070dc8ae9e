/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mantikfs: mounts the platform. Without -f it forks first; the child opens, mounts, reaches INIT
 * and then reports `ready`, or the line that says why not, through a pipe; only then does the
 * parent return, so that `mantikfs DIR && ls DIR` works or fails with a sentence.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <mantik/connection.h>
#include <mantik/mountpoint.h>
#include <mantik/trace.h>

#include "options.h"
#include "session.h"

enum { EXIT_USAGE = 2, LOCK_WAIT_MS = 5000 };

struct start {
	struct fs_options options;
	int report; /* the pipe to the parent; -1 in the foreground */
};

/* --- reporting ------------------------------------------------------------------------------- */

/* sd_notify(3): a datagram to the socket systemd names. */
static void tell_systemd(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = -1;

	if (!path || (path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof(to.sun_path))
		return;
	memcpy(to.sun_path, path, strlen(path));
	if (to.sun_path[0] == '@')
		to.sun_path[0] = 0;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0)
		(void)sendto(fd, "READY=1", 7, MSG_NOSIGNAL, (struct sockaddr *)&to,
			     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path)));
}

static void leave_terminal(const struct fs_options *options)
{
	_cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	_cleanup_close_ int log = -1;

	if (options->log_file)
		log = open(options->log_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (null < 0)
		return;
	(void)!chdir("/"); /* whatever was mounted there may be unmounted */
	(void)dup2(null, STDIN_FILENO);
	(void)dup2(log >= 0 ? log : null, STDOUT_FILENO);
	(void)dup2(log >= 0 ? log : null, STDERR_FILENO);
}

/* The mount works. */
static void report_ready(void *arg)
{
	struct start *start = arg;

	tell_systemd();
	if (start->report < 0)
		return;
	leave_terminal(&start->options);
	(void)!write(start->report, "ready\n", 6);
	mk_closep(&start->report);
}

static void report_error(struct start *start, const char *text)
{
	if (start->report < 0)
		(void)fprintf(stderr, "mantikfs: %s\n", text);
	else
		(void)!write(start->report, text, strlen(text));
	mk_closep(&start->report);
}

/* --- checks before mounting ------------------------------------------------------------------ */

/* Is path below (or the same as) folder? Both resolved. */
static bool is_below(const char *path, const char *folder)
{
	size_t len = strlen(folder);

	return strncmp(path, folder, len) == 0 &&
	       (path[len] == '/' || path[len] == 0 || strcmp(folder, "/") == 0);
}

static int check_outside(struct mk_call *call, const char *what, const char *path,
			 const char *mountpoint)
{
	_cleanup_free_ char *real = NULL;

	if (!path)
		return 0;

	int r = mk_mount_resolve(call, path, &real);

	if (r == -ENOENT) /* then it is not below the mount point, which exists */
		return 0;
	if (r < 0)
		return r;
	if (!is_below(real, mountpoint))
		return 0;
	return mk_fail(call, EXDEV,
		       "%s: the %s directory lies inside the mount point %s; choose one outside "
		       "(-o data=DIR, -o cache=DIR)",
		       path, what, mountpoint);
}

static int check_mountpoint(struct mk_call *call, const char *path)
{
	enum mk_mount_state state;
	struct stat st;
	int r = mk_mount_look(call, path, &state);

	if (r < 0)
		return r;
	switch (state) {
	case MK_MOUNT_STALE: /* its daemon is gone */
		r = mk_mount_remove(call, path, true);
		if (r < 0)
			return r;
		break;
	case MK_MOUNT_LIVE:
		return mk_fail(call, EBUSY,
			       "%s: mantikfs is mounted there already; `fusermount3 -u %s` "
			       "unmounts it",
			       path, path);
	case MK_MOUNT_SILENT:
		return mk_fail(call, EBUSY,
			       "%s: a mantikfs that does not answer is mounted there; "
			       "`fusermount3 -uz %s` takes it away",
			       path, path);
	case MK_MOUNT_NONE:
	case MK_MOUNT_OTHER:
		break;
	}
	if (stat(path, &st) < 0)
		return mk_fail(call, errno, "%s: %s", path,
			       errno == ENOENT ? "there is no such directory; make it first"
					       : strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return mk_fail(call, ENOTDIR, "%s: is not a directory", path);
	return 0;
}

/* Two daemons started at the same moment: one of them gets the lock of the mount point. One that was
 * unmounted just now lets go of it when it has answered everybody. */
static int lock_mountpoint(struct mk_call *call, struct mantik *m, const char *path, int *ret)
{
	_cleanup_buf_ struct mk_buf name = MK_BUF(8192);

	(void)mk_buf_printf(&name, "%s/mount-%016llx.lock", mantik_run_dir(m),
			    (unsigned long long)mk_ino(path, strlen(path)));

	_cleanup_close_ int fd =
		open(mk_buf_text(&name), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return mk_fail(call, errno, "%s: %s", mk_buf_text(&name), strerror(errno));

	int64_t until = mk_now_mono() + LOCK_WAIT_MS * MK_MS;

	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (mk_now_mono() >= until)
			return mk_fail(call, EBUSY, "%s: another mantikfs is about to use it", path);
		(void)poll(NULL, 0, 10);
	}
	*ret = mk_steal_fd(&fd);
	return 0;
}

/* --- serving --------------------------------------------------------------------------------- */

static int open_platform(struct mk_call *call, const struct fs_options *options,
			 struct mantik **ret)
{
	const struct mantik_options platform = {
		.data_dir = options->data_dir,
		.cache_dir = options->cache_dir,
		.config_dir = options->config_dir,
		.read_only = options->read_only,
		.no_daemon = options->no_daemon,
	};
	int r = mantik_open(call, &platform, ret);

	if (r == -EBUSY && *ret) /* another host has the lease: reading is possible */
		return 0;
	return r;
}

static int check_platform(struct mk_call *call, struct mantik *m, const char *mountpoint)
{
	const struct {
		const char *what, *path;
	} dirs[] = {
		{"data", mantik_data_dir(m)},
		{"cache", mantik_cache_dir(m)},
		{"configuration", mantik_config_dir(m)},
		{"work", mantik_work_dir(m)},
		{"run", mantik_run_dir(m)},
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(dirs) / sizeof(*dirs); i++)
		r = check_outside(call, dirs[i].what, dirs[i].path, mountpoint);
	return r;
}

/* What --tracking names becomes a connection, if it is none yet. */
static int add_tracking(struct mk_call *call, struct mantik *m, const char *url)
{
	_cleanup_free_ char *name = NULL;

	return url ? mk_prefix(call, mk_connection_tracking(call, m, url, &name), "--tracking") : 0;
}

/* Everything a thread that is stuck may still use lives here and is not freed then. */
static int serve(struct mk_call *call, struct start *start, const char *mountpoint)
{
	const struct fs_options *options = &start->options;
	_cleanup_close_ int lock = -1;
	struct mantik *m = NULL;
	struct fs_tree *tree = NULL;
	bool clean = true;
	int r = open_platform(call, options, &m);

	if (r < 0)
		return r;
	r = check_platform(call, m, mountpoint);
	if (r == 0)
		r = add_tracking(call, m, options->tracking);
	if (r == 0)
		r = lock_mountpoint(call, m, mountpoint, &lock);
	if (r == 0)
		r = check_mountpoint(call, mountpoint);
	if (r == 0) {
		const struct fs_tree_options of_tree = {
			.mountpoint = mountpoint,
			.read_only = options->read_only,
			.uid = getuid(),
			.gid = getgid(),
		};

		r = fs_tree_new(call, m, &of_tree, &tree);
	}
	if (r == 0) {
		const struct session_plan plan = {
			.options = options,
			.mountpoint = mountpoint,
			.m = m,
			.tree = tree,
			.metadata_timeout = options->metadata_timeout
						    ? options->metadata_timeout
						    : mantik_option_duration(m, "metadata_timeout"),
			.ready = report_ready,
			.arg = start,
		};

		r = session_serve(call, &plan, &clean);
	}
	if (!clean)
		_exit(r < 0);
	fs_tree_free(tree);
	mantik_close(m);
	return r;
}

static int run(struct start *start)
{
	const struct fs_options *options = &start->options;
	_cleanup_call_ struct mk_call call;
	_cleanup_free_ char *mountpoint = NULL;
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	mk_call_init(&call);

	int r = mk_mount_resolve(&call, options->mountpoint, &mountpoint);

	if (r == 0)
		r = check_outside(&call, "data", options->data_dir, mountpoint);
	if (r == 0)
		r = check_outside(&call, "cache", options->cache_dir, mountpoint);
	if (r == 0)
		r = check_mountpoint(&call, mountpoint);
	if (r == 0)
		r = serve(&call, start, mountpoint);
	if (r < 0)
		report_error(start, call.error.text ? call.error.text : strerror(-r));
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* The parent: waits for the child's line. */
static int wait_for_child(int from)
{
	char line[8192];
	size_t len = 0;
	ssize_t n;

	while (len < sizeof(line) - 1 && (n = read(from, line + len, sizeof(line) - 1 - len)) != 0)
		if (n > 0)
			len += (size_t)n;
		else if (errno != EINTR)
			break;
	line[len] = 0;
	if (strcmp(line, "ready\n") == 0)
		return EXIT_SUCCESS;
	(void)fprintf(stderr, "mantikfs: %s\n", len ? line : "ended before it was mounted");
	return EXIT_FAILURE;
}

static int start_child(struct start *start)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0) {
		perror("mantikfs: pipe");
		return EXIT_FAILURE;
	}

	pid_t child = fork();

	if (child < 0) {
		perror("mantikfs: fork");
		return EXIT_FAILURE;
	}
	if (child > 0) {
		close(ends[1]);
		return wait_for_child(ends[0]);
	}
	close(ends[0]);
	start->report = ends[1];
	(void)setsid();
	return run(start);
}

static void block_signals(void)
{
	sigset_t set;

	/* One thread waits for these; the others, and threads of libraries, never see them. */
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
}

int main(int argc, char **argv)
{
	struct start start = {.report = -1};
	_cleanup_buf_ struct mk_buf text = MK_BUF(1 << 16);
	int r = fs_options_parse(&start.options, argc, argv, &text);
	int code = EXIT_SUCCESS;

	mantik_protect();
	mantik_protect_environment();
	if (r < 0) {
		(void)fprintf(stderr, "mantikfs: %s\n", mk_buf_text(&text));
		code = EXIT_USAGE;
	} else if (start.options.help) {
		fs_options_help(&text);
		(void)fputs(mk_buf_text(&text), stdout);
	} else if (start.options.version) {
		(void)puts("mantikfs " MANTIK_VERSION);
	} else {
		block_signals();
		mk_trace_to(MK_TRACE_LOG, start.options.trace, mk_trace_stderr, NULL);
		code = start.options.foreground ? run(&start) : start_child(&start);
	}
	fs_options_free(&start.options);
	return code;
}
