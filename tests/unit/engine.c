/* SPDX-License-Identifier: Apache-2.0 */
/* core/engine: the journal's steps, and mantikd as mantik_poke() starts it. */
#include <dirent.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>

#include "base/file.h"
#include "db/lease.h"
#include "engine/journal.h"
#include "engine/poke.h"
#include "platform.h"
#include "test.h"

static void every_step_has_a_name_of_its_own(void)
{
	for (int i = 0; i < MK_STEPS; i++) {
		NEED(mk_journal_step_name((enum mk_journal_step)i) != NULL);
		for (int k = 0; k < i; k++)
			CHECK(strcmp(mk_journal_step_name((enum mk_journal_step)i),
				     mk_journal_step_name((enum mk_journal_step)k)) != 0);
	}
	CHECK(mk_journal_step_name(MK_STEPS) == NULL);
}

/* mantikd of the same build: tests/unit/test_engine -> tools/mantikd. */
static bool find_daemon(void)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	_cleanup_free_ char *path = NULL;

	if (n <= 0)
		return false;
	self[n] = 0;
	for (int i = 0; i < 3 && strrchr(self, '/'); i++)
		*strrchr(self, '/') = 0;
	path = mk_strf("%s/tools/mantikd", self);
	setenv("MANTIKD", path, 1);
	return access(path, X_OK) == 0;
}

/* A platform whose mantikd may be started. */
static int reopen(struct platform *p)
{
	struct mantik_options options = {
		.data_dir = p->data, .cache_dir = p->cache, .config_dir = p->config};

	mantik_close(mk_steal(&p->m));
	return mantik_open(&p->call, &options, &p->m);
}

static bool eventually(bool (*is)(struct platform *p), struct platform *p)
{
	for (int i = 0; i < 2000; i++) {
		if (is(p))
			return true;
		poll(NULL, 0, 10);
	}
	return false;
}

static bool rings(struct platform *p)
{
	return mk_poke_ring(p->m) == 0;
}

static bool is_free(struct platform *p)
{
	_cleanup_lease_info_ struct mk_lease_info info = {};

	return mk_lease_look(&p->call, p->data, &info) == 0 && info.state == MK_LEASE_FREE;
}

static pid_t holder(struct platform *p)
{
	_cleanup_lease_info_ struct mk_lease_info info = {};

	return mk_lease_look(&p->call, p->data, &info) == 0 ? info.pid : 0;
}

/* Processes that were started for this platform and still are. */
static int n_left(struct platform *p)
{
	DIR *dir = opendir("/proc");
	int n = 0;

	for (struct dirent *e; dir && (e = readdir(dir));) {
		_cleanup_free_ char *path = mk_strf("/proc/%.20s/cmdline", e->d_name);
		_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
		char line[4096];
		ssize_t len = fd < 0 ? -1 : read(fd, line, sizeof(line));

		n += len > 0 && memmem(line, (size_t)len, p->data, strlen(p->data)) != NULL;
	}
	if (dir)
		closedir(dir);
	return n;
}

/* Twice: one that forks on (mantikd detaches) while the first look goes on can be missed by it: gone
 * before it was read, and its child not yet in the list. */
static bool one_is_left(struct platform *p)
{
	return n_left(p) == 1 && n_left(p) == 1;
}

static char *link_of(pid_t pid, const char *name)
{
	_cleanup_free_ char *path = mk_strf("/proc/%d/%s", (int)pid, name);
	char target[PATH_MAX];
	ssize_t n = readlink(path, target, sizeof(target));

	return mk_strndup(n > 0 ? target : "", n > 0 ? (size_t)n : 0);
}

/* Who came second has gone by now, or it would step in for the one we end. */
static void end(struct platform *p, pid_t pid)
{
	CHECK(eventually(one_is_left, p));
	CHECK_INT(kill(pid, SIGTERM), 0);
	CHECK(eventually(is_free, p));
	CHECK_INT(mk_poke_ring(p->m), -ENOENT);
}

static void a_poke_starts_it_detached(void)
{
	if (!find_daemon())
		SKIP("tools/mantikd is not built");
	PLATFORM(p);
	NEED(reopen(&p) == 0);

	_cleanup_free_ char *mark = tmpdir_path(p.dir, "leaked");
	int leak = open(mark, O_RDWR | O_CREAT, 0600); /* without CLOEXEC, on purpose */

	CHECK_INT(mantik_poke(&p.call, p.m), 0);
	CHECK(eventually(rings, &p));

	pid_t pid = holder(&p);

	NEED(pid > 0);
	CHECK(getsid(pid) != getsid(0) && getsid(pid) != pid);

	_cleanup_free_ char *cwd = link_of(pid, "cwd");

	CHECK_TEXT(cwd, "/");
	for (int fd = 0; fd < 64; fd++) {
		_cleanup_free_ char *name = mk_strf("fd/%d", fd);
		_cleanup_free_ char *target = link_of(pid, name);

		CHECK(strcmp(target, mark) != 0);
	}
	close(leak);
	/* A second poke finds it. */
	CHECK_INT(mantik_poke(&p.call, p.m), 0);
	CHECK_INT(holder(&p), pid);
	end(&p, pid);
}

static void its_log_stays_small(void)
{
	if (!find_daemon())
		SKIP("tools/mantikd is not built");
	PLATFORM(p);
	NEED(reopen(&p) == 0);

	_cleanup_free_ char *log = tmpdir_path(p.data, "mantikd.log");
	_cleanup_free_ char *old = tmpdir_path(p.data, "mantikd.log.1");
	struct stat st;

	CHECK(tmpdir_write(log, "", 0));
	CHECK_INT(truncate(log, 5 << 20), 0);
	CHECK_INT(mantik_poke(&p.call, p.m), 0);
	CHECK(eventually(rings, &p));
	CHECK(stat(log, &st) == 0 && st.st_size < 1 << 20);
	CHECK(stat(old, &st) == 0 && st.st_size == 5 << 20);
	end(&p, holder(&p));
}

static void without_mantikd_the_poke_says_so(void)
{
	PLATFORM(p);
	NEED(reopen(&p) == 0);
	setenv("MANTIKD", "/nowhere/mantikd", 1);

	int r = mantik_poke(&p.call, p.m);

	/* An installed one is found all the same. */
	if (r == 0) {
		CHECK(eventually(rings, &p));
		end(&p, holder(&p));
		SKIP("mantikd is installed on this machine");
	}
	CHECK_INT(r, -EIO);
	CHECK(strstr(p.call.error.text, "mantikd is not installed") != NULL);
	unsetenv("MANTIKD");
}

static void many_pokes_at_once_start_one(void)
{
	if (!find_daemon())
		SKIP("tools/mantikd is not built");
	PLATFORM(p);
	NEED(reopen(&p) == 0);
	for (int i = 0; i < 5; i++)
		CHECK_INT(mantik_poke(&p.call, p.m), 0);
	CHECK(eventually(rings, &p));

	pid_t pid = holder(&p);

	for (int i = 0; i < 5; i++)
		CHECK_INT(mantik_poke(&p.call, p.m), 0);
	CHECK_INT(holder(&p), pid);
	end(&p, pid);
}

int main(void)
{
	return RUN(TEST(every_step_has_a_name_of_its_own), TEST(a_poke_starts_it_detached),
		   TEST(its_log_stays_small), TEST(without_mantikd_the_poke_says_so),
		   TEST(many_pokes_at_once_start_one));
}
