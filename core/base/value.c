/* SPDX-License-Identifier: Apache-2.0 */
/* How single values are written in the tree: times and inode numbers; numbers are in double.c. */
#include <mantik/mantik.h>

#include <stdio.h>
#include <string.h>
#include <time.h>

uint64_t mk_ino(const char *identity, size_t len)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < len; i++) {
		hash ^= (unsigned char)identity[i];
		hash *= UINT64_C(0x100000001b3);
	}
	return hash > 1 ? hash : hash + 2;
}

void mk_time_text(int64_t ns, bool ms, char out[32])
{
	out[0] = 0;
	if (!ns)
		return;

	time_t s = (time_t)(ns / MK_SEC);
	int64_t rest = ns % MK_SEC;
	struct tm tm;

	if (rest < 0) {
		rest += MK_SEC;
		s--;
	}
	if (!gmtime_r(&s, &tm))
		return;

	size_t n = strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &tm);

	if (ms)
		(void)snprintf(out + n, 32 - n, ".%03dZ", (int)(rest / MK_MS));
	else
		(void)snprintf(out + n, 32 - n, "Z");
}
