/* SPDX-License-Identifier: Apache-2.0 */
/* Where repositories come from, and one mirror under many threads. With servers: tests/git. */
#include <pthread.h>
#include <sys/stat.h>

#include "connect/git/git.h"
#include "net/exec.h"
#include "test.h"
#include "tmpdir.h"

static void reads_uris(void)
{
	static const struct {
		const char *uri, *git, *shown, *lane, *user, *password;
	} good[] = {
		{"https://github.com/a/b.git", "https://github.com/a/b.git",
		 "https://github.com/a/b.git", "git:github.com", NULL, NULL},
		{"https://ana@host:8443/x", "https://ana@host:8443/x", "https://ana@host:8443/x",
		 "git:host", NULL, NULL},
		{"https://ana:p%40ss@host/x", "https://host/x", "https://ana:***@host/x",
		 "git:host", "ana", "p@ss"},
		{"https://ghp_abcdef@github.com/x", "https://github.com/x",
		 "https://***@github.com/x", "git:github.com", "ghp_abcdef", ""},
		{"git@gitlab.jsc.fz-juelich.de:group/x.git",
		 "git@gitlab.jsc.fz-juelich.de:group/x.git",
		 "git@gitlab.jsc.fz-juelich.de:group/x.git", "git:gitlab.jsc.fz-juelich.de", NULL,
		 NULL},
		{"ssh://git@host:2222/~/x", "ssh://git@host:2222/~/x", "ssh://git@host:2222/~/x",
		 "git:host", NULL, NULL},
		{"git://[::1]:9418/x", "git://[::1]:9418/x", "git://[::1]:9418/x", "git:[::1]",
		 NULL, NULL},
		{"/srv/git/x y", "/srv/git/x y", "/srv/git/x y", "git:file", NULL, NULL},
		{"file:///srv/a%20b", "/srv/a b", "file:///srv/a%20b", "git:file", NULL, NULL},
		{"/srv/a:b", "/srv/a:b", "/srv/a:b", "git:file", NULL, NULL},
	};
	static const struct {
		const char *uri, *text;
	} bad[] = {
		{"", "r: uri is empty"},
		{"ext::sh -c id",
		 "r: uri ext::sh -c id: remote helpers (ext::) are not allowed: use "
		 "https, ssh, git or a path"},
		{"ftp://host/x",
		 "r: uri ftp://…: not one of https, http, ssh, git, file or a path"},
		{"-oProxyCommand=id:x", "r: uri -oProxyCommand=id:x: cannot begin with -"},
		{"ssh://-oProxyCommand=id/x",
		 "r: uri ssh://-oProxyCommand=id/x: a host cannot begin with -"},
		{"git@-oProxyCommand=id:x",
		 "r: uri git@-oProxyCommand=id:x: a host cannot begin with -"},
		{"ssh://-x@host/y", "r: uri ssh://-x@host/y: a user cannot begin with -"},
		{"ssh://u:secret@host/y",
		 "r: uri ssh://u:***@host/y: ssh takes no password: use a key"},
		{"https:///x", "r: uri https:///x names no host"},
		{"https://a$(id)b/x", "r: uri https://a$(id)b/x: not a host name"},
		{"host:", "r: uri host: names no path"},
		{"../x", "r: uri ../x: the path of a local repository must be absolute"},
		{"file://x", "r: uri file://x: the path of a local repository must be absolute"},
		{"https://h/\n", "r: uri holds a control character"},
	};
	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		_cleanup_origin_ struct mk_origin origin = {};

		CHECK_INT(mk_origin_parse(&call, "r", good[i].uri, &origin), 0);
		CHECK_TEXT(origin.uri, good[i].git);
		CHECK_TEXT(origin.shown, good[i].shown);
		CHECK_TEXT(origin.lane, good[i].lane);
		CHECK_TEXT(origin.user, good[i].user);
		CHECK_TEXT(origin.password, good[i].password);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct mk_origin origin = {};

		CHECK_INT(mk_origin_parse(&call, "r", bad[i].uri, &origin), -EINVAL);
		CHECK_TEXT(call.error.text, bad[i].text);
	}
}

/* A lane's name must fit mk_call.punt whole, else it would be punted to for ever. */
static void lanes_fit_a_punt(void)
{
	_cleanup_call_ struct mk_call call;
	_cleanup_origin_ struct mk_origin origin = {};
	char uri[300] = "https://";

	memset(uri + 8, 'h', 250);
	memcpy(uri + 258, "/x", 3);
	mk_call_init(&call);
	CHECK_INT(mk_origin_parse(&call, "r", uri, &origin), 0);
	call.may_wait = NULL;
	CHECK_INT(mk_call_may_wait(&call, origin.lane), MK_PUNT);
	CHECK_TEXT(call.punt, origin.lane);
}

enum { THREADS = 12 };

struct crowd {
	struct mk_git *git;
	struct mk_origin origin;
	int bad, branches;
};

static int count_ref(void *arg, const char *name, const struct mk_oid *commit, int64_t time)
{
	__atomic_add_fetch(&((struct crowd *)arg)->branches, 1, __ATOMIC_RELAXED);
	return 0;
}

static void *ask(void *arg)
{
	struct crowd *crowd = arg;
	_cleanup_call_ struct mk_call call;
	_cleanup_mirror_ struct mk_mirror *mirror = NULL;
	int r;

	mk_call_init(&call);
	r = mk_mirror_get(&call, crowd->git, "m.git", true, &mirror);
	if (r == 0)
		r = mk_mirror_fetch(&call, mirror, &crowd->origin, MK_FETCHED, false);
	if (r == 0)
		r = mk_mirror_refs(&call, mirror, "refs/heads/", count_ref, crowd);
	if (r < 0) {
		printf("# %s\n", call.error.text);
		__atomic_add_fetch(&crowd->bad, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* All ask at once: they share a flight and each sees the branches. */
static void serves_a_crowd(void)
{
	char *dir = tmpdir_make();
	_cleanup_free_ char *up = tmpdir_path(dir, "up"), *cache = tmpdir_path(dir, "cache");
	_cleanup_call_ struct mk_call call;
	struct crowd crowd = {};
	pthread_t threads[THREADS];

	mk_call_init(&call);
	const char *const make[] = {
		"sh",
		"-c",
		"git init -q -b main \"$0\" && cd \"$0\" && git -c user.name=a -c user.email=a@b "
		"commit -q --allow-empty -m one",
		up,
		NULL,
	};
	CHECK_INT(mk_exec_run(&call, &(struct mk_exec){.argv = make}), 0);
	crowd.git = mk_git_new(&(struct mk_git_options){.data_dir = dir, .cache_dir = cache});
	CHECK_INT(mk_origin_parse(&call, "r", up, &crowd.origin), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, ask, &crowd);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	CHECK_INT(crowd.bad, 0);
	CHECK_INT(crowd.branches, THREADS);
	mk_origin_free(&crowd.origin);
	mk_git_free(crowd.git);
	tmpdir_remove(dir);
}

/* The platform closes while a remote is silent: the fetch is ended, nobody waits for it. */
static void ends_with_a_fetch_under_way(void)
{
	char *dir = tmpdir_make();
	_cleanup_free_ char *cache = tmpdir_path(dir, "cache");
	_cleanup_call_ struct mk_call call;
	_cleanup_origin_ struct mk_origin origin = {};
	struct mk_git *git;
	struct mk_mirror *mirror;
	int64_t begin = mk_now_mono();

	mk_call_init(&call);
	call.deadline = begin + 300 * MK_MS;
	setenv("GIT_SSH_COMMAND", "sleep 100; :", 1);
	git = mk_git_new(&(struct mk_git_options){.data_dir = dir, .cache_dir = cache});
	CHECK_INT(mk_origin_parse(&call, "r", "ssh://silent.example/x", &origin), 0);
	CHECK_INT(mk_mirror_get(&call, git, "m.git", true, &mirror), 0);
	CHECK_INT(mk_mirror_fetch(&call, mirror, &origin, MK_FETCHED, false), -ETIMEDOUT);
	CHECK_TEXT(call.error.text,
		   "no answer in time from ssh://silent.example/x (r, git:silent.example)");
	mk_mirror_unref(mirror);
	mk_git_free(git);
	CHECK((mk_now_mono() - begin) / MK_MS < 3000);
	unsetenv("GIT_SSH_COMMAND");
	tmpdir_remove(dir);
}

int main(void)
{
	return RUN(TEST(reads_uris), TEST(lanes_fit_a_punt), TEST(serves_a_crowd),
		   TEST(ends_with_a_fetch_under_way));
}
