/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mantikctl doctor: looks at everything the platform needs and prints a line for each, with the
 * remedy where something is wrong. It opens the platform itself, for reading first, so that looking
 * changes nothing.
 */
#include "cmd.h"

#include <mantik/code.h>
#include <mantik/connection.h>
#include <mantik/outbox.h>
#include <mantik/project.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { REMOTE_SECONDS = 10, MIN_FREE = 64 << 20 };

struct doctor {
	struct ctl *ctl;
	struct mantik *m; /* open for reading, NULL when it cannot be */
	int n_bad;
	char *project; /* of the repositories being looked at */
};

static void _printf_(2, 3) good(const char *what, const char *fmt, ...)
{
	va_list ap;

	printf("ok    %-10s ", what);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

/* The text, and on a line of its own the remedy. */
static void _printf_(4, 5)
	bad(struct doctor *d, const char *what, const char *remedy, const char *fmt, ...)
{
	va_list ap;

	d->n_bad++;
	printf("FAIL  %-10s ", what);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n      remedy: %s\n", remedy);
}

static const char *error_text(struct doctor *d)
{
	const char *text = d->ctl->call.error.text;

	return text ? text : "unknown error";
}

static void look_at_fuse(struct doctor *d)
{
	_cleanup_close_ int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (fd >= 0 && geteuid() && access("/etc/mtab", R_OK) < 0)
		bad(d, "fuse", "as root: ln -s ../proc/self/mounts /etc/mtab",
		    "/etc/mtab is missing, so an ordinary user can mount but not unmount");
	else if (fd >= 0)
		good("fuse", "/dev/fuse");
	else if (errno == ENOENT)
		bad(d, "fuse", "\"modprobe fuse\" as root; a container needs --device /dev/fuse. "
			       "Without it mantikctl ls, cat and cp do the whole job",
		    "/dev/fuse does not exist, so nothing can be mounted");
	else
		bad(d, "fuse", "ask for access to /dev/fuse (chmod 666, the usual mode). Without it "
			       "mantikctl ls, cat and cp do the whole job",
		    "/dev/fuse: %s", strerror(errno));
}

/* Programs by PATH: what is missing makes this and that impossible. */
static void look_at_programs(struct doctor *d)
{
	static const struct {
		const char *name, *package, *use;
	} programs[] = {
		{"fusermount3", "fuse3", "mounting as an ordinary user"},
		{"git", "git", "code"},
	};

	for (size_t i = 0; i < sizeof(programs) / sizeof(*programs); i++) {
		_cleanup_free_ char *paths = mk_strdup(getenv("PATH"));
		_cleanup_buf_ struct mk_buf remedy = MK_BUF(4096);
		char *rest = paths;
		bool found = false;

		for (char *dir; !found && (dir = strsep(&rest, ":"));) {
			_cleanup_buf_ struct mk_buf path = MK_BUF(8192);

			mk_buf_printf(&path, "%s/%s", dir, programs[i].name);
			found = access(mk_buf_text(&path), X_OK) == 0;
		}
		mk_buf_printf(&remedy, "install the package %s", programs[i].package);
		if (found)
			good("programs", "%s", programs[i].name);
		else
			bad(d, "programs", mk_buf_text(&remedy), "%s is missing, needed for %s",
			    programs[i].name, programs[i].use);
	}
}

static void look_at_lease(struct doctor *d)
{
	struct mk_call *call = &d->ctl->call;
	_cleanup_buf_ struct mk_buf holder = MK_BUF(4096);
	const char *why = mantik_read_only_why(d->m);
	int r = mantik_holder(call, d->m, &holder);

	if (r == -EUCLEAN) {
		bad(d, "lease", "remove the file \"lease\" in the data directory if no mantikd runs on any host",
		    "%s", error_text(d));
		mk_error_clear(call);
	} else if (r < 0) {
		bad(d, "lease", "see the data directory", "%s", error_text(d));
		mk_error_clear(call);
	} else if (why) {
		bad(d, "lease", "work on that host, or when it is gone for good: mantikctl takeover",
		    "%s", why);
	} else {
		good("lease", "%s", holder.len ? mk_buf_text(&holder) : "nobody works, nothing to do");
	}
}

static void look_at_database(struct doctor *d)
{
	struct mk_call *call = &d->ctl->call;
	struct mantik_options options = d->ctl->options;
	struct mantik *writable = NULL;
	int r;

	options.read_only = true;
	options.no_daemon = true;
	r = mantik_open(call, &options, &d->m);
	if (r == -EROFS && call->error.text && strstr(call->error.text, "older schema")) {
		bad(d, "database", "end mounts of the older version (mantikctl umount), then run "
				   "mantikctl status: it brings the schema up to date and keeps "
				   "the old database beside it as mantik.db.schema<N>",
		    "%s", error_text(d));
	} else if (r == -EROFS || r == -ENOENT) {
		/* Nothing was ever written here: the first command that writes makes it. */
		mk_error_clear(call);
		options.read_only = false;
		r = mantik_open(call, &options, &d->m);
		if (r < 0 && !d->m)
			bad(d, "database", "make the data directory writable", "%s",
			    error_text(d));
	} else if (r == -EPROTO) {
		bad(d, "database", "use the newer version of mantikfs; this one changes nothing",
		    "%s", error_text(d));
	} else if (r == -EUCLEAN) {
		bad(d, "database", "stop all mounts, keep the file, put a backup in its place "
				   "(mantikctl backup makes them)",
		    "%s", error_text(d));
	} else if (r < 0 && !d->m) {
		bad(d, "database", "see the data directory", "%s", error_text(d));
	}
	mk_error_clear(call);
	if (!d->m)
		return;
	if (mantik_read_only(d->m) && !mantik_read_only_why(d->m)) {
		options.read_only = false;
		r = mantik_open(call, &options, &writable);
		if (r < 0 && !writable) {
			bad(d, "database", "make the data directory and mantik.db writable for you; is its "
					   "file system mounted read-only?",
			    "%s", error_text(d));
			mk_error_clear(call);
			return;
		}
		mk_error_clear(call);
		mantik_close(d->m);
		d->m = writable;
	}
	good("database", "%s/mantik.db", mantik_data_dir(d->m));
}

static void look_at_disk(struct doctor *d, const char *what, const char *path, const char *remedy)
{
	struct statvfs st;

	if (statvfs(path, &st) < 0) {
		bad(d, what, "make the directory, or name another in config.yaml", "%s: %s", path,
		    strerror(errno));
		return;
	}

	const uint64_t free_bytes = (uint64_t)st.f_bavail * st.f_frsize;
	const uint64_t size = (uint64_t)st.f_blocks * st.f_frsize;
	const uint64_t least = size / 20 < MIN_FREE ? size / 20 : MIN_FREE;

	if (size && free_bytes < least)
		bad(d, what, remedy, "%s: the disk is full (%llu KiB of %llu MiB free)", path,
		    (unsigned long long)(free_bytes >> 10), (unsigned long long)(size >> 20));
	else if (st.f_files && st.f_favail < 100)
		bad(d, what, remedy, "%s: no more files fit on the disk", path);
	else
		good(what, "%s (%llu MiB free)", path, (unsigned long long)(free_bytes >> 20));
}

static int look_at_repository(void *arg, const struct mk_repository *repository)
{
	struct doctor *d = arg;
	struct mk_call *call = &d->ctl->call;
	_cleanup_buf_ struct mk_buf remedy = MK_BUF(8192);
	int r;

	if (!repository->uri)
		return 0;
	call->deadline = mk_now_mono() + REMOTE_SECONDS * MK_SEC;
	r = mk_code_refresh(call, d->m, repository->id);
	call->deadline = 0;
	if (r == -EINTR)
		return r;
	if (r == 0) {
		good("git", "%s/%s: %s", d->project, repository->name, repository->uri);
		return 0;
	}
	mk_buf_printf(&remedy, "try \"git ls-remote %s\"; correct uri in projects/%s/code/%s/"
			       "repository.yaml. Pinned commits in the mirror go on working",
		      repository->uri, d->project, repository->name);
	bad(d, "git", mk_buf_text(&remedy), "%s/%s: %s", d->project, repository->name,
	    error_text(d));
	mk_error_clear(call);
	return 0;
}

static int look_at_project(void *arg, const struct mk_project *project)
{
	struct doctor *d = arg;

	free(d->project);
	d->project = mk_strdup(project->name);
	return mk_repository_list(&d->ctl->call, d->m, project->id, look_at_repository, d);
}

/* What a server that answers does not take. One that is away has a line of its own. */
static int look_at_unsent(void *arg, const struct mk_unsent *unsent)
{
	enum { TRIES = 5 };
	struct doctor *d = arg;

	if (unsent->refused)
		bad(d, "unsent", "it is kept here: copy it elsewhere or under another name, then "
				 "\"mantikctl discard PATH\" gives it up; it is tried again after a day",
		    "%s: refused: %s", unsent->path, unsent->text);
	else if (unsent->tries >= TRIES)
		bad(d, "unsent", "mantikctl cat .mantik/unsent lists what waits; it is tried again every minute; "
				 "\"mantikctl discard PATH\" gives it up",
		    "%s: tried %lld times: %s", unsent->path, (long long)unsent->tries,
		    unsent->text ? unsent->text : "no answer");
	return 0;
}

/* Jobs end with the last session of their user where the machine is set so. */
static void look_at_logout(struct doctor *d)
{
	_cleanup_free_ char *line = NULL;
	size_t cap = 0;
	FILE *f = fopen("/etc/systemd/logind.conf", "re");

	while (f && getline(&line, &cap, f) > 0)
		if (strncmp(line, "KillUserProcesses=yes", 21) == 0)
			bad(d, "logout", "loginctl enable-linger, or ask the administrator for "
					 "KillUserProcesses=no",
			    "this machine ends all programs of a user at logout "
			    "(KillUserProcesses=yes), local jobs too");
	if (f)
		fclose(f);
}

static int look_at_connection(void *arg, const struct mk_connection *connection)
{
	struct doctor *d = arg;

	if (mk_connection_check(&d->ctl->call, d->m, connection->name) == 0)
		good("connection", "%s: %s, %s", connection->name, connection->kind,
		     connection->url);
	else
		bad(d, "connection",
		    "edit connections/, or mantikctl login NAME; mantik.yaml(5) tells of both and of "
		    "the vault",
		    "%s", error_text(d));
	mk_error_clear(&d->ctl->call);
	return 0;
}

static int run(struct ctl *ctl)
{
	struct doctor d = {.ctl = ctl};
	int r = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	look_at_fuse(&d);
	look_at_programs(&d);
	look_at_logout(&d);
	look_at_database(&d);
	if (d.m) {
		look_at_lease(&d);
		look_at_disk(&d, "data", mantik_data_dir(d.m),
			     "free space: mantikctl du tells what takes it, mantikctl gc ends deleted runs");
		look_at_disk(&d, "work", mantik_work_dir(d.m),
			     "free space, or set work_dir in config.yaml to another disk");
		look_at_disk(&d, "cache", mantik_cache_dir(d.m),
			     "free space (the cache may be deleted at any time), or set cache_dir in "
			     "config.yaml to another disk");
		r = mk_unsent_list(&ctl->call, d.m, NULL, look_at_unsent, &d);
		mk_connection_asker(d.m, ctl_ask_passphrase, ctl);
		if (r == 0)
			r = mk_connection_list(&ctl->call, d.m, look_at_connection, &d);
		if (r == 0)
			r = mk_project_list(&ctl->call, d.m, look_at_project, &d);
	}
	free(d.project);
	mantik_close(d.m);
	if (r < 0)
		return r;
	return d.n_bad ? CTL_FAILED : CTL_OK;
}

const struct cmd cmd_doctor = {
	.name = "doctor",
	.operands = "",
	.needs = CTL_NOTHING,
	.help = "looks for what is wrong, and tells the remedy",
	.more = "Looks at /dev/fuse, the programs needed, the database, who works on it, the disks, the "
		"connections and the vault, what tracking servers do not take, and asks every git "
		"remote. A line each, beginning with ok or FAIL; the exit status is 1 if any failed.",
	.options = CTL_NO_OPTIONS,
	.run = run,
};
