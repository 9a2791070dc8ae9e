/* SPDX-License-Identifier: Apache-2.0 */
/* core/base: bounded buffers, values, calls and their errors. */
#include <mantik/mantik.h>

#include <math.h>
#include <poll.h>

#include "test.h"

static void buffer_keeps_its_limit(void)
{
	_cleanup_buf_ struct mk_buf buf = MK_BUF(5);

	CHECK_INT(mk_buf_puts(&buf, "hello"), 0);
	CHECK_INT(mk_buf_putc(&buf, '!'), -EFBIG);
	CHECK_INT(mk_buf_puts(&buf, ""), -EFBIG);
	CHECK_TEXT(mk_buf_text(&buf), "hello");
	CHECK_INT(mk_buf_check(&buf), -EFBIG);
}

static void buffer_prints_long_texts(void)
{
	_cleanup_buf_ struct mk_buf buf = MK_BUF(4096);

	CHECK_INT(mk_buf_printf(&buf, "%0300d|", 7), 0);
	CHECK_INT(buf.len, 301);
	CHECK_INT(buf.data[299], '7');
	mk_buf_truncate(&buf, 2);
	CHECK_TEXT(mk_buf_text(&buf), "00");
}

static void a_secret_buffer_grows(void)
{
	struct mk_buf buf = MK_BUF_SECRET(4096);

	for (int i = 0; i < 100; i++)
		CHECK_INT(mk_buf_printf(&buf, "%04d|", i), 0);
	CHECK_INT(mk_buf_printf(&buf, "%0300d|", 7), 0);
	CHECK_INT(buf.len, 801);
	CHECK_INT(strncmp(buf.data + 495, "0099|0000", 9), 0);
	mk_buf_wipe(&buf);
	CHECK(!buf.data && !buf.len && buf.secret);
	mk_buf_wipe(&buf);
}

static void pairs_keep_order_and_replace(void)
{
	_cleanup_pairs_ struct mk_pairs pairs = {};

	CHECK_INT(mk_pairs_set(&pairs, "b", "1"), 0);
	CHECK_INT(mk_pairs_set(&pairs, "a", "2"), 0);
	CHECK_INT(mk_pairs_set(&pairs, "b", "3"), 0);
	CHECK_INT(pairs.n, 2);
	CHECK_TEXT(pairs.v[0].key, "b");
	CHECK_TEXT(mk_pairs_get(&pairs, "b"), "3");
	CHECK_TEXT(mk_pairs_get(&pairs, "c"), NULL);
}

static void numbers_read_back(void)
{
	static const double values[] = {0, 0.1, 1e-5, 1.0 / 3, 1e300, -2.5, 123456789.125};
	char out[32];

	for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++) {
		(void)mk_double_put(values[i], out);
		CHECK(strtod(out, NULL) == values[i]);
	}
	(void)mk_double_put(0.1, out);
	CHECK_TEXT(out, "0.1");
	(void)mk_double_put(NAN, out);
	CHECK_TEXT(out, "nan");
	(void)mk_double_put(-INFINITY, out);
	CHECK_TEXT(out, "-inf");
}

static void times_are_utc(void)
{
	char out[32];

	mk_time_text(INT64_C(1700000000123456789), true, out);
	CHECK_TEXT(out, "2023-11-14T22:13:20.123Z");
	mk_time_text(INT64_C(1700000000123456789), false, out);
	CHECK_TEXT(out, "2023-11-14T22:13:20Z");
	mk_time_text(0, false, out);
	CHECK_TEXT(out, "");
	mk_time_text(-1, true, out);
	CHECK_TEXT(out, "1969-12-31T23:59:59.999Z");
}

static void errors_are_one_line_and_prefixed(void)
{
	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);
	CHECK_INT(mk_fail(&call, EINVAL, "line\n%d\033", 3), -EINVAL);
	CHECK_TEXT(call.error.text, "line 3 ");
	CHECK_INT(mk_prefix(&call, -EINVAL, "spec.yaml"), -EINVAL);
	CHECK_TEXT(call.error.text, "spec.yaml: line 3 ");
	CHECK_INT(call.error.code, EINVAL);
}

static void cancel_wakes_a_poll(void)
{
	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);

	struct pollfd p = {.fd = mk_call_cancel_fd(&call), .events = POLLIN};

	CHECK_INT(poll(&p, 1, 0), 0);
	mk_call_cancel(&call);
	CHECK_INT(poll(&p, 1, 0), 1);
	CHECK_INT(mk_call_check(&call, "the test"), -EINTR);
}

static void punts_name_the_remote(void)
{
	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);
	CHECK_INT(mk_call_may_wait(&call, "git:x"), 0);
	call.may_wait = NULL;
	CHECK_INT(mk_call_may_wait(&call, "git:x"), MK_PUNT);
	CHECK_TEXT(call.punt, "git:x");
	call.may_wait = "git:x";
	CHECK_INT(mk_call_may_wait(&call, "git:x"), 0);
	CHECK_INT(mk_call_may_wait(&call, "db"), MK_PUNT);
}

int main(void)
{
	return RUN(TEST(buffer_keeps_its_limit), TEST(buffer_prints_long_texts), TEST(a_secret_buffer_grows),
		   TEST(pairs_keep_order_and_replace), TEST(numbers_read_back), TEST(times_are_utc),
		   TEST(errors_are_one_line_and_prefixed), TEST(cancel_wakes_a_poll),
		   TEST(punts_name_the_remote));
}
