/* SPDX-License-Identifier: Apache-2.0 */
/* Errors that users met: kept, found by path, the last 1000 of them. */
#include <mantik/answer.h>
#include <mantik/error.h>

#include "runs.h"

static int add_text(void *arg, const struct mk_error_entry *entry)
{
	return mk_list_add(arg, entry->text);
}

static void record(struct mantik *m, const char *path, int code, const char *text)
{
	const struct mk_error error = {.code = code, .text = (char *)text};

	mk_error_record(m, path, &error);
}

static void errors_are_found_by_path(void)
{
	PLATFORM(p);
	_cleanup_list_ struct mk_list all = {}, some = {};

	record(p.m, "/projects/a/runs/new", EINVAL, "runs/new:4: no");
	record(p.m, "/projects/ab", EPERM, "not here");
	record(p.m, "/projects/a", EBUSY, NULL);
	record(p.m, "/projects/a", 0, "nothing happened");
	CHECK_INT(mk_error_list(&p.call, p.m, NULL, add_text, &all), 0);
	CHECK_INT(all.n, 3);
	CHECK_INT(mk_error_list(&p.call, p.m, "/projects/a", add_text, &some), 0);
	NEED(some.n == 2);
	CHECK_TEXT(some.v[0], "runs/new:4: no");
	CHECK_TEXT(some.v[1], strerror(EBUSY));
}

static void table_escapes_and_names(void)
{
	PLATFORM(p);
	_cleanup_buf_ struct mk_buf table = MK_BUF(MK_LIMIT_TEXT);
	const struct mk_error error = {
		.code = EREMOTEIO,
		.text = (char *)"a\tb",
		.remote = (char *)"git:x",
		.detail = (char *)"two\nlines",
	};

	mk_error_record(p.m, "/x", &error);
	CHECK_INT(mk_error_table(&p.call, p.m, &table), 0);
	CHECK(strstr(mk_buf_text(&table), "\t/x\tEREMOTEIO\ta\\tb\tgit:x\ttwo\\nlines\n"));
}

static void only_the_last_1000_are_kept(void)
{
	PLATFORM(p);
	_cleanup_list_ struct mk_list all = {};
	char text[32];

	for (int i = 0; i < 1010; i++) {
		snprintf(text, sizeof(text), "error %d", i);
		record(p.m, "/x", EIO, text);
	}
	CHECK_INT(mk_error_list(&p.call, p.m, NULL, add_text, &all), 0);
	NEED(all.n == 1000);
	CHECK_TEXT(all.v[0], "error 10");
	CHECK_TEXT(all.v[999], "error 1009");
}

/* What lay on the stack before is nothing to free. */
static __attribute__((noinline)) void dirty_stack(void)
{
	volatile char bytes[16384];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = 0x5a;
}

static void a_reader_keeps_none(void)
{
	PLATFORM(p);
	struct mantik_options options = {
		.data_dir = p.data,
		.cache_dir = p.cache,
		.config_dir = p.config,
		.read_only = true,
	};
	_cleanup_(mantik_closep) struct mantik *reader = NULL;
	_cleanup_list_ struct mk_list all = {};

	NEED(mantik_open(&p.call, &options, &reader) == 0);
	dirty_stack();
	record(reader, "/projects", EROFS, "open for reading only");
	dirty_stack();
	record(p.m, "/projects", 0, "nothing happened");
	CHECK_INT(mk_error_list(&p.call, reader, NULL, add_text, &all), 0);
	CHECK_INT(all.n, 0);

	const struct mk_answer_place place = {.ino = 7, .sid = 1};
	_cleanup_order_answer_ struct mk_answer answer = {};

	dirty_stack();
	mk_answer_put(reader, &place, 1, "not kept");
	CHECK_INT(mk_answer_get(&p.call, reader, &place, &answer), 0);
}

/* The session's own answer first, else the newest of the user; a thousand are kept. */
static void answers_to_orders(void)
{
	PLATFORM(p);
	const struct mk_answer_place mine = {.ino = UINT64_MAX, .uid = 5, .sid = 10};
	const struct mk_answer_place other = {.ino = UINT64_MAX, .uid = 5, .sid = 11};
	const struct mk_answer_place third = {.ino = UINT64_MAX, .uid = 5, .sid = 12};
	const struct mk_answer_place stranger = {.ino = UINT64_MAX, .uid = 6, .sid = 10};

	mk_answer_put(p.m, &mine, 1, "first");
	mk_answer_put(p.m, &mine, 2, "mine");
	mk_answer_put(p.m, &other, 3, "other");
	for (int i = 0; i < 3; i++) {
		_cleanup_order_answer_ struct mk_answer answer = {};

		CHECK_INT(mk_answer_get(&p.call, p.m, i == 0 ? &mine : i == 1 ? &other : &third, &answer),
			  1);
		CHECK_TEXT(answer.text, i == 0 ? "mine" : "other");
		CHECK_INT(answer.is_of_session, i < 2);
		CHECK_INT(answer.time, i == 0 ? 2 : 3);
	}

	_cleanup_order_answer_ struct mk_answer none = {};

	CHECK_INT(mk_answer_get(&p.call, p.m, &stranger, &none), 0);
	for (int i = 0; i < 1000; i++)
		mk_answer_put(p.m, &(struct mk_answer_place){.ino = (uint64_t)i, .uid = 1}, 4, "x");
	CHECK_INT(mk_answer_get(&p.call, p.m, &mine, &none), 0);
}

int main(void)
{
	return RUN(TEST(errors_are_found_by_path), TEST(table_escapes_and_names),
		   TEST(only_the_last_1000_are_kept), TEST(a_reader_keeps_none),
		   TEST(answers_to_orders));
}
