/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random operations on fs/tree, as a careless or hostile program would send them: any verb on any
 * place with any name, several handles open at a time. The sanitizers see memory; this checks that
 * every refusal has a sentence, that nothing of what was made before is lost, and that every node
 * and handle is given back at the end.
 *
 * Runs a fixed number of steps from fixed seeds; MANTIK_FUZZ_SEED and MANTIK_FUZZ_STEPS look for
 * more. The first line names the seed of a failure.
 */
#include "fsclient.h"
#include "runs.h"

enum { HANDLES = 16 };

struct fuzz {
	struct client c;
	struct fs_handle *open[HANDLES];
	uint64_t state;
};

static uint32_t next(struct fuzz *f, uint32_t below)
{
	f->state = f->state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(f->state >> 33) % below;
}

static const char *const dirs[] = {
	"", "projects", "projects/rain", "projects/rain/runs", "projects/rain/runs/deleted",
	"projects/rain/experiments", "projects/rain/experiments/e", "projects/rain/experiments/e/runs",
	"projects/rain/code", "projects/rain/runs/x.0000000a", "projects/rain/runs/x.0000000a/tags",
	"projects/rain/runs/x.0000000a/metrics", "projects/rain/runs/x.0000000a/params/a",
	"projects/rain/runs/x.0000000a/logs", "sites", ".mantik", "projects/rain/.ipynb_checkpoints",
};
static const char *const names[] = {
	"new", "ctl", "README.md", "project.yaml", "experiment.yaml", "defaults.yaml", "x.0000000a",
	"y.0000000b", "a", "a%", "b", "status", "runs.tsv", "rain", "snow", "e", "f", ".x.swp",
	"README.md~", "4913", "sedAbCd12", ".README.md.AbCd12", ".ipynb_checkpoints", "..", ".",
	"%2E", "a%41", "\xff\xfe", "wait", "loss", "stats.json", "latest", "00000000", "",
};
static const char *const texts[] = {
	"", "x", "# comment\n", "cancel\n", "delete\n", "restore\n", "1 2\n", "nan\n", "0.5",
	"summary: rain\n", "a: [\n", "\n\n", "primary_metric: {name: loss, goal: minimize}\n",
};

#define ONE_OF(f, list) list[next(f, sizeof(list) / sizeof(*(list)))]

#define RUN_ "projects/rain/runs/x.0000000a"

static void path(struct fuzz *f, char out[256])
{
	static const char *const likely[] = {
		"projects/rain/README.md", "projects/rain/README.md~", "projects/rain/.x.swp",
		"projects/rain/project.yaml", "projects/rain/runs/new", RUN_ "/ctl", RUN_ "/tags/a",
		RUN_ "/metrics/loss", RUN_ "/status", RUN_ "/wait", "projects/rain/runs/deleted/x.0000000a/ctl",
		"projects/rain/runs/runs.tsv", "projects/rain/experiments/e/experiment.yaml", RUN_,
		"projects/rain/sedAbCd12", "projects/rain/runs/deleted/x.0000000a",
	};
	const char *dir = ONE_OF(f, dirs);

	if (next(f, 2)) {
		snprintf(out, 256, "%s", ONE_OF(f, likely));
		return;
	}
	snprintf(out, 256, "%s%s%s", dir, *dir ? "/" : "", ONE_OF(f, names));
}

/* What came back: an error has a sentence, or it came from the client itself. */
static void check(struct fuzz *f, int r, const char *what, const char *where)
{
	if (r >= 0 || r == MK_PUNT || r == MK_PARK || f->c.why[0])
		return;
	printf("# %s %s: %s without a sentence\n", what, where, strerror(-r));
	CHECK(f->c.why[0]);
}

static void step(struct fuzz *f)
{
	struct client *c = &f->c;
	struct fs_handle **h = &f->open[next(f, HANDLES)];
	char a[256], b[256], buf[512];
	const char *text = ONE_OF(f, texts);
	struct fs_attr attr;
	struct client_ls ls;
	ssize_t n;
	int r;

	path(f, a);
	path(f, b);
	c->call->tgid = next(f, 8) ? getpid() : getppid();
	switch (next(f, 14)) {
	case 0:
		check(f, client_stat(c, a, &attr), "stat", a);
		break;
	case 1:
		r = client_list(c, ONE_OF(f, dirs), next(f, 2), 1 + next(f, 9), &ls);
		check(f, r, "ls", a);
		mk_list_free(&ls.names);
		break;
	case 2:
		r = client_mkdir(c, a);
		check(f, r, "mkdir", a);
		break;
	case 3:
		check(f, client_remove(c, a, next(f, 2)), "rm", a);
		break;
	case 4:
		check(f, client_rename(c, a, b), "mv", a);
		break;
	case 5:
	case 6:
		if (*h) {
			check(f, client_close(c, *h), "close", a);
			*h = NULL;
		}
		r = client_open(c, a,
				(int)next(f, 3) | (next(f, 2) ? O_TRUNC : 0) |
					(next(f, 2) ? O_CREAT : 0) | (next(f, 4) ? 0 : O_APPEND),
				h);
		check(f, r, "open", a);
		break;
	case 7:
	case 8:
		if (!*h)
			break;
		n = fs_write(c->call, c->tree, *h, text, strlen(text), next(f, 3) * 5);
		client_result(c, (int)n);
		check(f, (int)n, "write", a);
		break;
	case 9:
		if (!*h)
			break;
		n = fs_read(c->call, c->tree, *h, buf, next(f, sizeof(buf)), next(f, 40));
		client_result(c, (int)n);
		check(f, (int)n, "read", a);
		break;
	case 10:
		if (!*h)
			break;
		attr = (struct fs_attr){.st.st_size = next(f, 3) * 7};
		check(f,
		      client_result(c, fs_setattr(c->call, c->tree, (*h)->node, *h, FS_SET_SIZE,
						  &attr.st, &attr)),
		      "truncate", a);
		break;
	case 11:
		if (!*h)
			break;
		check(f, client_result(c, fs_flush(c->call, c->tree, *h)), "flush", a);
		break;
	case 12: {
		_cleanup_free_ char *target = client_readlink(c, a);

		if (!target)
			check(f, -errno, "readlink", a);
		break;
	}
	default:
		if (!*h)
			break;
		check(f, client_close(c, *h), "close", a);
		*h = NULL;
	}
}

static void fuzz(uint64_t seed, long steps)
{
	PLATFORM(p);
	struct fuzz f = {.state = seed};
	struct mk_project project = {};
	int64_t id = make_project(&p, "rain"), run;
	int bad = test_bad;

	NEED(client_init(&f.c, &p));
	run = make_runs(&p, (struct made_run){.project_id = id, .experiment = "e", .name = "x",
					      .status = MK_FINISHED,
					      .uid = "0000000a000000000000000000000000"});
	make_runs(&p, (struct made_run){.project_id = id, .experiment = "e", .name = "y",
					.status = MK_RUNNING,
					.uid = "0000000b000000000000000000000000"});
	CHECK_INT(mk_run_value_set(&p.call, p.m, run, MK_PARAM, "a/b", "1"), 0);
	for (long i = 0; i < steps && test_bad == bad; i++)
		step(&f);
	p.call.tgid = getpid();
	for (size_t i = 0; i < HANDLES; i++)
		if (f.open[i])
			client_close(&f.c, f.open[i]);
	if (test_bad != bad)
		printf("# seed %llu\n", (unsigned long long)seed);

	/* Whatever was tried: the project and its runs are there. */
	CHECK_INT(mk_project_get(&p.call, p.m, id, &project), 0);
	mk_project_free(&project);

	struct mk_run left = {};

	CHECK_INT(mk_run_get(&p.call, p.m, run, &left), 0);
	mk_run_free(&left);
	client_done(&f.c);
}

static void random_operations(void)
{
	const char *seed = getenv("MANTIK_FUZZ_SEED"), *steps = getenv("MANTIK_FUZZ_STEPS");
	long n = steps ? strtol(steps, NULL, 10) : 1500;

	if (seed) {
		fuzz(strtoull(seed, NULL, 10), n);
		return;
	}
	for (uint64_t s = 1; s <= 4; s++)
		fuzz(s, n);
}

/* The same from four threads at one tree: what the thread sanitizer is run over. */
struct thread {
	pthread_t thread;
	struct fuzz f;
	struct mk_call call;
	long steps;
};

static void *in_thread(void *arg)
{
	struct thread *t = arg;

	for (long i = 0; i < t->steps; i++)
		step(&t->f);
	t->call.tgid = getpid();
	for (size_t i = 0; i < HANDLES; i++)
		if (t->f.open[i])
			client_close(&t->f.c, t->f.open[i]);
	return NULL;
}

static void random_operations_in_threads(void)
{
	enum { THREADS = 4 };
	const char *steps = getenv("MANTIK_FUZZ_STEPS");
	PLATFORM(p);
	CLIENT(c, p);
	struct thread threads[THREADS] = {};
	int64_t id = make_project(&p, "rain");

	make_runs(&p, (struct made_run){.project_id = id, .experiment = "e", .name = "x",
					.status = MK_FINISHED,
					.uid = "0000000a000000000000000000000000"});
	for (size_t i = 0; i < THREADS; i++) {
		struct thread *t = &threads[i];

		t->f = (struct fuzz){.c = c, .state = 100 + i};
		t->f.c.call = &t->call;
		t->steps = steps ? strtol(steps, NULL, 10) : 1000;
		mk_call_init(&t->call);
		CHECK_INT(pthread_create(&t->thread, NULL, in_thread, t), 0);
	}
	for (size_t i = 0; i < THREADS; i++) {
		pthread_join(threads[i].thread, NULL);
		mk_call_done(&threads[i].call);
	}
}

int main(void)
{
	return RUN(TEST(random_operations), TEST(random_operations_in_threads));
}
