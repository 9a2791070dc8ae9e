/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a platform: directories, options, leases of this and of another host. */
#include <mantik/option.h>

#include <sys/stat.h>
#include <sys/wait.h>

#include "base/options.h"
#include "base/path.h"
#include "base/proc.h"
#include "db/lease.h"
#include "platform.h"

static void directories_are_made_for_the_user_alone(void)
{
	PLATFORM(p);
	struct stat st;
	_cleanup_free_ char *runs = tmpdir_path(p.data, "runs");

	CHECK_TEXT(mantik_data_dir(p.m), p.data);
	CHECK_TEXT(mantik_cache_dir(p.m), p.cache);
	CHECK(strncmp(mantik_run_dir(p.m), p.run, strlen(p.run)) == 0);
	CHECK(strncmp(mantik_work_dir(p.m), p.data, strlen(p.data)) == 0);
	CHECK(stat(p.data, &st) == 0 && (st.st_mode & 07777) == 0700);
	CHECK(stat(p.cache, &st) == 0 && (st.st_mode & 07777) == 0700);
	CHECK(stat(runs, &st) == 0 && S_ISDIR(st.st_mode));
	CHECK(!mantik_read_only(p.m));
	CHECK_INT(mantik_option_duration(p.m, "cancel_grace"), 10 * MK_SEC);
	CHECK_INT(mantik_option_int(p.m, "slots"), 0);
}

static void options_have_ranges(void)
{
	static const struct {
		const char *name, *value;
		int result;
		int64_t number;
	} cases[] = {
		{"cancel_grace", "500ms", 0, 500 * MK_MS},
		{"cancel_grace", "2", 0, 2 * MK_SEC},
		{"cancel_grace", "1m", 0, 60 * MK_SEC},
		{"cancel_grace", "61m", -EINVAL, 0},
		{"cancel_grace", "-1s", -EINVAL, 0},
		{"cancel_grace", "3 s", 0, 3 * MK_SEC},
		{"cancel_grace", "3x", -EINVAL, 0},
		{"cancel_grace", "", -EINVAL, 0},
		{"cancel_grace", "nan", -EINVAL, 0},
		{"slots", "8", 0, 8},
		{"slots", "1.5", -EINVAL, 0},
		{"slots", "99999999999999999999", -EINVAL, 0},
		{"cache_limit", "1.5G", 0, INT64_C(3) << 29},
		{"cache_limit", "10", -EINVAL, 0},
		{"nothing", "10", -ENOENT, 0},
	};
	_cleanup_(mk_options_freep) struct mk_options *options = mk_options_new();
	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		CHECK_INT(mk_options_set(&call, options, "config.yaml:1", cases[i].name,
					 cases[i].value),
			  cases[i].result);
		if (cases[i].result == 0)
			CHECK_INT(mk_options_number(options, cases[i].name), cases[i].number);
	}
	CHECK_INT(mk_options_set(&call, options, "config.yaml:3", "cancel_grace", "2h"), -EINVAL);
	CHECK_TEXT(call.error.text,
		   "config.yaml:3: cancel_grace: \"2h\" is not a duration of 0s … 1h");
	CHECK_INT(mk_options_set(&call, options, "c:1", "journal", "paper"), -EINVAL);
	CHECK_TEXT(call.error.text,
		   "c:1: journal: \"paper\" is not a choice of auto | wal | rollback");
	CHECK_TEXT(mk_options_where(options, "journal"), "default");
	setenv("SCRATCH_FOR_TEST", "/scratch/ana", 1);
	CHECK_INT(mk_options_set(&call, options, "c:1", "work_dir", "$SCRATCH_FOR_TEST/m"), 0);
	CHECK_TEXT(mk_options_text(options, "work_dir"), "/scratch/ana/m");
	CHECK_INT(mk_options_set(&call, options, "c:1", "work_dir", "${SCRATCH_FOR_TEST}/n"), 0);
	CHECK_TEXT(mk_options_text(options, "work_dir"), "/scratch/ana/n");
	CHECK_INT(mk_options_set(&call, options, "c:1", "work_dir", "$NOT_SET_AT_ALL/m"), -EINVAL);
	CHECK_INT(mk_options_set(&call, options, "c:1", "work_dir", "relative"), -EINVAL);
	CHECK_TEXT(mk_options_where(options, "work_dir"), "c:1");
}

static void paths_are_resolved(void)
{
	_cleanup_(tmpdir_removep) char *dir = tmpdir_make();
	_cleanup_free_ char *link = tmpdir_path(dir, "link"), *loop = tmpdir_path(dir, "loop");
	_cleanup_free_ char *real = tmpdir_path(dir, "real"), *want = tmpdir_path(dir, "real/x/y");
	_cleanup_free_ char *asked = tmpdir_path(dir, "link/./x/../x//y/"), *got = NULL;
	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);
	NEED(mkdir(real, 0700) == 0 && symlink("real", link) == 0 && symlink("loop", loop) == 0);
	CHECK_INT(mk_path_resolve(&call, asked, &got), 0);
	CHECK_TEXT(got, want);
	free(mk_steal(&got));
	CHECK_INT(mk_path_resolve(&call, loop, &got), -ELOOP);
	CHECK_INT(mk_path_resolve(&call, "/", &got), 0);
	CHECK_TEXT(got, "/");
}

static void lease_is_held_once(void)
{
	PLATFORM(p);
	struct mk_lease *lease = NULL, *second = NULL;
	_cleanup_lease_info_ struct mk_lease_info info = {};

	CHECK_INT(mk_lease_look(&p.call, p.data, &info), 0);
	CHECK_INT(info.state, MK_LEASE_FREE);
	NEED(mk_lease_take(&p.call, p.m, &lease) == 0);
	CHECK_INT(mk_lease_take(&p.call, p.m, &second), -EBUSY);
	mk_lease_info_free(&info);
	CHECK_INT(mk_lease_look(&p.call, p.data, &info), 0);
	CHECK_INT(info.state, MK_LEASE_HERE);
	CHECK_INT(info.pid, getpid());
	CHECK_INT(mk_lease_beat(&p.call, lease), 0);
	CHECK_INT(mk_lease_takeover(&p.call, p.m), -EBUSY);
	CHECK_INT(platform_open(&p), 0); /* this host goes on writing */
	CHECK(!mantik_read_only(p.m));
	mk_lease_release(lease);
	mk_lease_info_free(&info);
	CHECK_INT(mk_lease_look(&p.call, p.data, &info), 0);
	CHECK_INT(info.state, MK_LEASE_FREE);
}

static void lease_of_a_dead_process_is_free(void)
{
	PLATFORM(p);
	_cleanup_lease_info_ struct mk_lease_info info = {};
	struct mk_lease *lease = NULL;
	pid_t child = fork();

	if (child == 0)
		_exit(mk_lease_take(&p.call, p.m, &lease) == 0 ? 0 : 1);

	int status = -1;

	NEED(waitpid(child, &status, 0) == child && status == 0);
	CHECK_INT(mk_lease_look(&p.call, p.data, &info), 0);
	CHECK_INT(info.pid, child);
	CHECK_INT(info.state, MK_LEASE_FREE);
	CHECK_INT(mk_lease_take(&p.call, p.m, &lease), 0);
	mk_lease_release(lease);
}

/* The record of another machine, `age` ns old. */
static void write_foreign(struct platform *p, int64_t age)
{
	_cleanup_free_ char *path = tmpdir_path(p->data, "lease");
	_cleanup_buf_ struct mk_buf text = MK_BUF(4096);
	int64_t then = mk_now_real() - age;
	struct timespec times[2] = {{.tv_sec = then / MK_SEC}, {.tv_sec = then / MK_SEC}};

	mk_buf_printf(&text,
		      "host: login02\nboot_id: 00000000-0000-0000-0000-000000000000\npid: 7\n"
		      "pid_start: 9\nsince: 1700000000000000000\nheartbeat: %lld\n",
		      (long long)then);
	CHECK(tmpdir_write(path, text.data, text.len));
	CHECK_INT(utimensat(AT_FDCWD, path, times, 0), 0);
}

/* A pid that is none, and a start of 0 that "no such process" would answer to for ever. */
static void damaged_record_is_refused(void)
{
	static const char *const numbers[] = {"pid: 4294967297\npid_start: 9",
					      "pid: 1\npid_start: 0", "pid: -1\npid_start: 9",
					      "pid: x\npid_start: 9"};
	PLATFORM(p);
	_cleanup_free_ char *path = tmpdir_path(p.data, "lease");
	char boot[37];

	NEED(mk_boot_id(boot) == 0);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
		_cleanup_buf_ struct mk_buf text = MK_BUF(4096);
		_cleanup_lease_info_ struct mk_lease_info info = {};

		mk_buf_printf(&text, "host: here\nboot_id: %s\n%s\nsince: 1\nheartbeat: 1\n", boot,
			      numbers[i]);
		CHECK(tmpdir_write(path, text.data, text.len));
		CHECK_INT(mk_lease_look(&p.call, p.data, &info), -EUCLEAN);
	}
	NEED(unlink(path) == 0);
}

static void another_host_makes_a_reader(void)
{
	PLATFORM(p);
	int64_t id;

	(void)id;
	write_foreign(&p, 5 * MK_SEC);
	CHECK_INT(platform_open(&p), -EBUSY);
	CHECK_TEXT(p.call.error.text, "in use on login02 since 2023-11-14T22:13:20Z");
	NEED(p.m != NULL);
	CHECK(mantik_read_only(p.m));
	CHECK_TEXT(mantik_read_only_why(p.m), "in use on login02 since 2023-11-14T22:13:20Z");
	CHECK_INT(mantik_takeover(&p.call, p.m), -EBUSY);

	struct mk_lease *lease = NULL;

	CHECK_INT(mk_lease_take(&p.call, p.m, &lease), -EBUSY);
	write_foreign(&p, 3600 * MK_SEC);
	CHECK_INT(platform_open(&p), -EBUSY);
	CHECK(strstr(p.call.error.text, "`mantikctl takeover`") != NULL);
	NEED(p.m != NULL);
	CHECK_INT(mantik_takeover(&p.call, p.m), 0);
	CHECK_INT(platform_open(&p), 0);
	CHECK(!mantik_read_only(p.m));
}

static void taken_over_lease_is_lost(void)
{
	PLATFORM(p);
	struct mk_lease *lease = NULL;

	NEED(mk_lease_take(&p.call, p.m, &lease) == 0);
	write_foreign(&p, 0);
	CHECK_INT(mk_lease_beat(&p.call, lease), -ESTALE);
	CHECK_TEXT(p.call.error.text, "the platform was taken over by login02");
	mk_lease_release(NULL);
	mk_lease_release(lease); /* leaves the other's record alone */
	CHECK_INT(platform_open(&p), -EBUSY);
}

int main(void)
{
	return RUN(TEST(directories_are_made_for_the_user_alone), TEST(options_have_ranges),
		   TEST(paths_are_resolved), TEST(lease_is_held_once),
		   TEST(lease_of_a_dead_process_is_free), TEST(damaged_record_is_refused),
		   TEST(another_host_makes_a_reader), TEST(taken_over_lease_is_lost));
}
