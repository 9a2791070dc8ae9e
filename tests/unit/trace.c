/* SPDX-License-Identifier: Apache-2.0 */
/* What is traced, where it goes, and what never stands in it. */
#include <mantik/trace.h>

#include <errno.h>
#include <string.h>

#include "test.h"

static void collect(void *arg, const char *line, size_t len)
{
	(void)mk_buf_put(arg, line, len);
}

static void words(void)
{
	static const struct {
		const char *text;
		int result;
		unsigned components;
	} cases[] = {
		{"on", 0, MK_TRACE_ALL},
		{"all\n", 0, MK_TRACE_ALL},
		{"off\n", 0, 0},
		{"fuse", 0, MK_TRACE_FUSE},
		{" exec db\n", 0, MK_TRACE_EXEC | MK_TRACE_DB},
		{"exec:db", 0, MK_TRACE_EXEC | MK_TRACE_DB},
		{"http serve", 0, MK_TRACE_HTTP | MK_TRACE_SERVE},
		{"exec,fuse", 0, MK_TRACE_EXEC | MK_TRACE_FUSE},
		{"", -EINVAL, 0},
		{"\n", -EINVAL, 0},
		{"fusee", -EINVAL, 0},
		{"db maybe", -EINVAL, 0},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		unsigned components = 99;
		int r = mk_trace_parse(cases[i].text, strlen(cases[i].text), &components);

		CHECK_INT(r, cases[i].result);
		CHECK_INT(components, r < 0 ? 99 : cases[i].components);
	}
}

static void each_sink_gets_what_it_wants(void)
{
	_cleanup_buf_ struct mk_buf a = MK_BUF(10000), b = MK_BUF(10000);

	CHECK(!mk_tracing(MK_TRACE_FUSE));
	mk_trace_to(MK_TRACE_LOG, MK_TRACE_FUSE, collect, &a);
	mk_trace_to(MK_TRACE_MOUNT, MK_TRACE_ALL, collect, &b);
	mk_trace(MK_TRACE_FUSE, 17, "read %s", "x");
	mk_trace(MK_TRACE_DB, 0, "1 write");
	CHECK(strstr(mk_buf_text(&a), " fuse #17 read x\n") != NULL);
	CHECK(strstr(mk_buf_text(&a), "write") == NULL);
	CHECK(strstr(mk_buf_text(&b), " db 1 write\n") != NULL);
	mk_trace_to(MK_TRACE_MOUNT, 0, NULL, NULL);
	CHECK(mk_tracing(MK_TRACE_FUSE) && !mk_tracing(MK_TRACE_DB));
	mk_trace_to(MK_TRACE_LOG, 0, NULL, NULL);
	CHECK(!mk_tracing(MK_TRACE_ALL));
}

static void a_line_is_one_line_without_secrets(void)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF(10000);

	mk_trace_to(MK_TRACE_LOG, MK_TRACE_ALL, collect, &text);
	mk_trace(MK_TRACE_EXEC, 1, "git fetch https://ana:s3cret@h/a@b ssh://u@h\n\x1b[1m");
	mk_trace_to(MK_TRACE_LOG, 0, NULL, NULL);
	CHECK(strstr(mk_buf_text(&text), "git fetch https://**********@h/a@b ssh://*@h  [1m\n") !=
	      NULL);
	CHECK(strstr(mk_buf_text(&text), "s3cret") == NULL);
}

int main(void)
{
	return RUN(TEST(words), TEST(each_sink_gets_what_it_wants),
		   TEST(a_line_is_one_line_without_secrets));
}
