/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The clients of the benches that a script would be too slow for:
 *	orc rate SECONDS PROCESSES FILE…   open+read+close of the files in turn: files a second
 *	orc stat COUNT FILE…               that many stat(2): seconds
 *	orc sync COUNT FILE                write+fdatasync of one page: milliseconds each (median)
 *	orc seq FILE                       read to the end with 1 MiB reads: MB a second
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void read_one(const char *file)
{
	char buf[65536];
	int fd = open(file, O_RDONLY);

	if (fd < 0)
		die(file);

	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0)
		;
	if (n < 0)
		die(file);
	close(fd);
}

static int rate(int argc, char **argv)
{
	double seconds = strtod(argv[0], NULL);
	int processes = (int)strtol(argv[1], NULL, 10);
	char **files = argv + 2;
	int n = argc - 2;
	uint64_t *counts = mmap(NULL, sizeof(*counts) * (size_t)processes, PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (counts == MAP_FAILED)
		die("mmap");

	double begin = now();

	for (int p = 0; p < processes; p++)
		if (fork() == 0) {
			for (uint64_t i = (uint64_t)p; now() - begin < seconds; i++, counts[p]++)
				read_one(files[i % (uint64_t)n]);
			_exit(0);
		}

	int status, bad = 0;

	while (wait(&status) > 0)
		bad |= status;

	double took = now() - begin;
	uint64_t sum = 0;

	for (int p = 0; p < processes; p++)
		sum += counts[p];
	printf("%.1f\n", (double)sum / took);
	return bad != 0;
}

static int stats(int argc, char **argv)
{
	long count = strtol(argv[0], NULL, 10);
	struct stat st;
	double begin = now();

	for (long i = 0; i < count; i++)
		if (stat(argv[1 + i % (argc - 1)], &st) < 0)
			die(argv[1 + i % (argc - 1)]);
	printf("%.4f\n", now() - begin);
	return 0;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static int syncs(char **argv)
{
	long count = strtol(argv[0], NULL, 10);
	static char page[4096];
	int fd = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (fd < 0 || count < 1 || count > 10000)
		die(argv[1]);

	double *took = calloc((size_t)count, sizeof(*took));

	for (long i = 0; i < count; i++) {
		double begin = now();

		if (write(fd, page, sizeof(page)) != sizeof(page) || fdatasync(fd) < 0)
			die(argv[1]);
		took[i] = (now() - begin) * 1000;
	}
	qsort(took, (size_t)count, sizeof(*took), compare);
	printf("%.3f\n", took[count / 2]);
	free(took);
	return 0;
}

static int seq(char **argv)
{
	size_t size = 1 << 20;
	char *buf = malloc(size);
	int fd = open(argv[0], O_RDONLY);
	double begin = now(), sum = 0;
	ssize_t n;

	if (fd < 0)
		die(argv[0]);
	while ((n = read(fd, buf, size)) > 0)
		sum += (double)n;
	if (n < 0)
		die(argv[0]);
	printf("%.1f\n", sum / 1e6 / (now() - begin));
	free(buf);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc >= 5 && strcmp(argv[1], "rate") == 0)
		return rate(argc - 2, argv + 2);
	if (argc >= 4 && strcmp(argv[1], "stat") == 0)
		return stats(argc - 2, argv + 2);
	if (argc == 4 && strcmp(argv[1], "sync") == 0)
		return syncs(argv + 2);
	if (argc == 3 && strcmp(argv[1], "seq") == 0)
		return seq(argv + 2);
	fprintf(stderr, "usage: orc rate|stat|sync|seq …\n");
	return 2;
}
