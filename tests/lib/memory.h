/* SPDX-License-Identifier: Apache-2.0 */
/* How much memory this program ever held. */
#ifndef TEST_MEMORY_H
#define TEST_MEMORY_H

#include <stdio.h>
#include <stdlib.h>

/* KiB. Not getrusage(2)'s ru_maxrss: exec keeps in it what the program that
 * forked us had held (here a Python with a large file in its hands). */
static inline long memory_peak_kib(void)
{
	FILE *f = fopen("/proc/self/status", "re");
	char line[256];
	long kib = -1;

	while (f && kib < 0 && fgets(line, sizeof(line), f))
		if (sscanf(line, "VmHWM: %ld kB", &kib) != 1)
			kib = -1;
	if (kib < 0)
		abort();
	fclose(f);
	return kib;
}

#endif
