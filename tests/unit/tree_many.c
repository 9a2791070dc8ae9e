/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many: 100 000 runs, 1 000 000 lookups none of which the kernel forgets, complete listings. Memory
 * is checked in builds without sanitizers, which get a twentieth of it all.
 */
#include "fsclient.h"
#include "runs.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { RUNS = 5000, SANITIZED = 1 };
#else
enum { RUNS = 100000, SANITIZED = 0 };
#endif

static long resident_mib(void)
{
	char text[128] = "";
	_cleanup_close_ int fd = open("/proc/self/statm", O_RDONLY);

	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		return -1;

	char *end;

	(void)strtol(text, &end, 10);
	return strtol(end, NULL, 10) * sysconf(_SC_PAGESIZE) >> 20;
}

static void a_million_lookups_stay_small(void)
{
	static const char *const files[] = {"spec.yaml", "status", "info.yaml", "ctl", "logs",
					    "params", "tags", "metrics", "artifacts"};
	PLATFORM(p);
	CLIENT(c, p);
	struct client_ls ls;
	struct fs_node *runs;
	struct fs_node **nodes = calloc((size_t)RUNS * 10, sizeof(*nodes));
	size_t n = 0;
	int64_t begin;

	NEED(nodes);
	make_runs(&p, (struct made_run){.project_id = make_project(&p, "rain"), .experiment = "e",
					.name = "x", .status = MK_FINISHED, .n = RUNS});
	begin = mk_now_mono();
	CHECK_INT(client_list(&c, "projects/rain/runs", true, 500, &ls), 0);
	CHECK_INT(ls.names.n, RUNS + 5);
	printf("# listed in %lld ms\n", (long long)((mk_now_mono() - begin) / MK_MS));
	NEED(client_walk(&c, "projects/rain/runs", &runs, NULL) == 0);
	begin = mk_now_mono();
	for (size_t i = 5; i < ls.names.n; i++) {
		struct fs_entry run, entry;

		if (fs_lookup(c.call, c.tree, runs, ls.names.v[i], &run) < 0)
			break;
		nodes[n++] = run.node;
		for (size_t f = 0; f < sizeof(files) / sizeof(*files); f++)
			if (fs_lookup(c.call, c.tree, run.node, files[f], &entry) == 0)
				nodes[n++] = entry.node;
	}
	CHECK_INT(n, (size_t)RUNS * 10);
	printf("# %zu lookups in %lld ms, %zu nodes, %ld MiB resident\n", n,
	       (long long)((mk_now_mono() - begin) / MK_MS), c.tree->n_nodes, resident_mib());
	if (!SANITIZED)
		CHECK(resident_mib() < 256);
	CHECK_INT(c.tree->n_nodes, n + 4); /* and the way there */
	while (n)
		fs_forget(c.tree, nodes[--n], 1);
	client_forget(&c, runs);
	mk_list_free(&ls.names);
	free(nodes);
}

int main(void)
{
	return RUN(TEST(a_million_lookups_stay_small));
}
