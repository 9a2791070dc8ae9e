/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_NAME FILE…: runs a driver over files and over mutations of them. The mutations are the same
 * in each run; the input being tried stands in the mapped file /var/tmp/fuzz-crash.PID, NULs
 * behind it, which stays when the driver ends there.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"

enum { LIMIT = 1 << 16, MUTATIONS = 1000 };

static uint64_t state = 88172645463325252u;

static uint64_t next(uint64_t below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return below ? state % below : 0;
}

/* Pieces that mean something to YAML, to commands or to the shell. */
static const char *const pieces[] = {
	"{", "}", "[", "]", ":", ": ", "- ", "\n", "\n  ", "\t", "'", "\"", "|", ">", "&a ", "*a",
	"!!str ", "~", "null", "#", "$(", ")", "${", "`", "\\", "\\\n", "{x}", "{{", "}}", "<<EOF\n",
	"eval ", "bash -c '", "case ", "[[ ", "((", "$'", "command: ", "default: ", "parameters:\n",
	"entry_points:\n", "Environment:\n", "Variables: ", "Options: ", "Runtime: ", "Path: ",
	"PreRunCommand: {Command: a, ExecuteOnLoginNode: no}\n", "\xff", "\xc3\xa4", "---\n", "1h30m",
};

static size_t mutate(uint8_t *data, size_t len)
{
	for (uint64_t i = 0, n = 1 + next(6); i < n; i++) {
		size_t at = next(len + 1);
		const char *piece = pieces[next(sizeof(pieces) / sizeof(*pieces))];
		size_t add = strlen(piece), cut = next(30);

		switch (next(4)) {
		case 0:
			if (at < len)
				data[at] = (uint8_t)next(256);
			break;
		case 1:
			cut = cut > len - at ? len - at : cut;
			memmove(data + at, data + at + cut, len - at - cut);
			len -= cut;
			break;
		case 2:
			cut = cut > len - at ? len - at : cut;
			if (len + cut > LIMIT)
				break;
			memmove(data + at + cut, data + at, len - at);
			len += cut;
			break;
		default:
			if (len + add > LIMIT)
				break;
			memmove(data + at + add, data + at, len - at);
			memcpy(data + at, piece, add);
			len += add;
		}
	}
	return len;
}

/* A copy of its own size, so that reading past the end is seen. */
static void run(const uint8_t *data, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);

	if (!copy)
		abort();
	memcpy(copy, data, len);
	(void)LLVMFuzzerTestOneInput(copy, len);
	free(copy);
}

static size_t read_input(const char *path, uint8_t *data)
{
	FILE *file = fopen(path, "rb");
	size_t len;

	if (!file) {
		perror(path);
		exit(1);
	}
	len = fread(data, 1, LIMIT, file);
	fclose(file);
	return len;
}

int main(int argc, char **argv)
{
	static uint8_t seed[LIMIT], data[LIMIT];
	char path[64];
	size_t n = 0;

	(void)snprintf(path, sizeof(path), "/var/tmp/fuzz-crash.%d", (int)getpid());

	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	uint8_t *crash = fd >= 0 && ftruncate(fd, LIMIT) == 0
				 ? mmap(NULL, LIMIT, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
				 : MAP_FAILED;

	if (crash == MAP_FAILED) {
		perror(path);
		return 1;
	}
	printf("1..1\n");
	for (int i = 1; i < argc; i++) {
		size_t len = read_input(argv[i], seed);

		run(seed, len);
		for (int k = 0; k < MUTATIONS; k++, n++) {
			memcpy(data, seed, len);

			size_t mutated = mutate(data, len);
			memcpy(crash, data, mutated);
			memset(crash + mutated, 0, LIMIT - mutated);
			run(data, mutated);
		}
	}
	unlink(path);
	printf("ok 1 - %zu inputs from %d files\n", n, argc - 1);
	return 0;
}
