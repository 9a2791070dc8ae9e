/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unit tests: a program is a table of named functions; each check that does not hold prints where
 * and what, the program goes on with the next test. Prints TAP, which meson counts.
 *
 *	static void parses_numbers(void) { CHECK_INT(f("7"), 7); }
 *	int main(void) { return RUN(TEST(parses_numbers)); }
 */
#ifndef TEST_H
#define TEST_H

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int test_bad; /* checks of the running test that did not hold */
static const char *test_skipped;

#define CHECK(cond)                                                                     \
	do {                                                                            \
		if (!(cond)) {                                                          \
			test_bad++;                                                     \
			printf("# %s:%d: not true: %s\n", __FILE__, __LINE__, #cond);   \
		}                                                                       \
	} while (0)
#define CHECK_INT(got, want)                                                            \
	do {                                                                            \
		long long g_ = (long long)(got), w_ = (long long)(want);                \
		if (g_ != w_) {                                                         \
			test_bad++;                                                     \
			printf("# %s:%d: %s is %lld, not %lld\n", __FILE__, __LINE__,   \
			       #got, g_, w_);                                           \
		}                                                                       \
	} while (0)
#define CHECK_TEXT(got, want)                                                           \
	do {                                                                            \
		const char *g_ = (got), *w_ = (want);                                   \
		if ((!g_ != !w_) || (g_ && strcmp(g_, w_) != 0)) {                      \
			test_bad++;                                                     \
			printf("# %s:%d: %s is\n#   [%s], not\n#   [%s]\n", __FILE__,   \
			       __LINE__, #got, g_ ? g_ : "(null)", w_ ? w_ : "(null)"); \
		}                                                                       \
	} while (0)
/* Ends the running test when going on makes no sense. */
#define NEED(cond)                                                                      \
	do {                                                                            \
		if (!(cond)) {                                                          \
			CHECK(cond);                                                    \
			return;                                                         \
		}                                                                       \
	} while (0)
#define SKIP(why)                      \
	do {                           \
		test_skipped = (why);  \
		return;                \
	} while (0)

struct test {
	const char *name;
	void (*run)(void);
};
#define TEST(f) {#f, f}
#define RUN(...)                                                                 \
	test_run((const struct test[]){__VA_ARGS__},                             \
		 sizeof((const struct test[]){__VA_ARGS__}) / sizeof(struct test))

static int test_run(const struct test *tests, size_t n)
{
	int failed = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("1..%zu\n", n);
	for (size_t i = 0; i < n; i++) {
		test_bad = 0;
		test_skipped = NULL;
		tests[i].run();
		failed += test_bad > 0;
		printf("%s %zu - %s%s%s\n", test_bad ? "not ok" : "ok", i + 1, tests[i].name,
		       test_skipped ? " # SKIP " : "", test_skipped ? test_skipped : "");
	}
	return failed > 0;
}

#endif
