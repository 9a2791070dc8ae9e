/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A parser of foreign bytes under any bytes. A driver is one function; it is linked with libFuzzer
 * where the compiler has it (clang -fsanitize=fuzzer), and always with main.c,
 * which runs the corpus and a fixed number of mutations of it as an ordinary test.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An invariant of the driver: aborts, so that libFuzzer keeps the input. */
#define FUZZ_CHECK(cond)                                                               \
	do {                                                                           \
		if (!(cond)) {                                                         \
			fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #cond); \
			abort();                                                       \
		}                                                                      \
	} while (0)

#endif
