/* SPDX-License-Identifier: Apache-2.0 */
/* Files of a tracking store, against a store of our own making that counts what it is asked. */
#include <stdio.h>
#include <string.h>

#include "connect/tracking/tracking.h"
#include "domain/index.h"
#include "domain/index_files.h"
#include "runs.h"

enum { BIG = 3000000 };

struct mk_tracking {
	int fails;
	bool live, no_sizes, no_totals, ignores_ranges;
	char version; /* of all bytes */
	int64_t big;  /* bytes of big.bin */
	_Atomic int asked, asked_files, asked_bytes;
};

/* Of the run and, with other bytes, of the others. */
static const struct {
	const char *path;
	bool is_dir;
	int64_t size;
} tree[] = {
	{"big.bin", false, BIG},
	{"empty", false, 0},
	{"plots", true, -1},
	{"plots/a b%20c+d.png", false, 70000},
	{"plots/deep", true, -1},
	{"plots/deep/größe.txt", false, 5},
	{"..", true, -1}, /* what no store should say */
	{"plots/../../etc", false, 3},
	{"plots/.", false, 3},
	{"", false, 3},
};

static int answer(struct mk_call *call, struct mk_tracking *t)
{
	atomic_fetch_add(&t->asked, 1);
	return t->fails ? mk_fail(call, t->fails, "fake: does not answer") : 0;
}

static void store_close(struct mk_tracking *t)
{
	(void)t;
}

static int store_experiments(struct mk_call *call, struct mk_tracking *t, char **token,
			     mk_t_experiment_emit *emit, void *arg)
{
	int r = answer(call, t);

	free(mk_steal(token));
	return r < 0 ? r : emit(arg, &(struct mk_t_experiment){.id = "1", .name = "rain"});
}

static int store_run(struct mk_call *call, struct mk_tracking *t, const char *id,
		     mk_t_run_emit *emit, void *arg)
{
	const struct mk_t_run run = {
		.id = "0000000000000000000000000000000a",
		.experiment_id = "1",
		.name = "train",
		.user = "ana",
		.status = t->live ? MK_RUNNING : MK_FINISHED,
		.started = 1000 * MK_SEC,
		.ended = 2000 * MK_SEC,
	};
	int r = answer(call, t);

	(void)id;
	return r < 0 ? r : emit(arg, &run);
}

static int store_runs(struct mk_call *call, struct mk_tracking *t, const struct mk_t_query *query,
		      char **token, mk_t_run_emit *emit, void *arg)
{
	free(mk_steal(token));
	return query->deleted ? answer(call, t) : store_run(call, t, "", emit, arg);
}

static bool is_in(const char *dir, const char *path)
{
	size_t len = strlen(dir);

	if (!len)
		return !strchr(path, '/');
	return strncmp(path, dir, len) == 0 && path[len] == '/' &&
	       (!strchr(path + len + 1, '/') || strstr(path, ".."));
}

/* Three a page. */
static int store_files(struct mk_call *call, struct mk_tracking *t, const struct mk_t_place *place,
		       const char *path, char **token, mk_t_file_emit *emit, void *arg)
{
	size_t begin = *token ? strtoul(*token, NULL, 10) : 0, n = 0, i;
	int r = answer(call, t);

	(void)place;
	atomic_fetch_add(&t->asked_files, 1);
	free(mk_steal(token));
	for (i = begin; r == 0 && i < sizeof(tree) / sizeof(*tree) && n < 3; i++) {
		struct mk_t_file file = {tree[i].path, tree[i].is_dir, tree[i].size};

		if (!is_in(path, tree[i].path))
			continue;
		if (strcmp(file.path, "big.bin") == 0)
			file.size = t->big;
		if (t->no_sizes)
			file.size = -1;
		r = emit(arg, &file);
		n++;
	}
	if (r == 0 && n == 3) {
		char text[16];

		(void)snprintf(text, sizeof(text), "%zu", i);
		*token = mk_strdup(text);
	}
	return r;
}

static int64_t size_of(const struct mk_tracking *t, const char *path)
{
	for (size_t i = 0; i < sizeof(tree) / sizeof(*tree); i++)
		if (strcmp(tree[i].path, path) == 0 && !tree[i].is_dir)
			return strcmp(path, "big.bin") == 0 ? t->big : tree[i].size;
	return -1;
}

static char byte_at(const struct mk_tracking *t, const char *path, int64_t at)
{
	return (char)((at * 31 + at / 65536) ^ t->version ^ path[0]);
}

static int store_read(struct mk_call *call, struct mk_tracking *t, const struct mk_t_place *place,
		      const char *path, int64_t offset, int64_t len, char **etag,
		      int (*sink)(void *arg, const void *data, size_t len), void *arg,
		      int64_t *ret_total)
{
	const char version[] = {t->version, 0};
	int64_t size = size_of(t, path), end = len < 0 || offset + len > size ? size : offset + len;
	char data[10000];
	int r = answer(call, t);

	(void)place;
	atomic_fetch_add(&t->asked_bytes, 1);
	if (r < 0)
		return r;
	if (size < 0)
		return mk_fail(call, ENOENT, "fake: no such file");
	if (*etag && strcmp(*etag, version) != 0)
		return mk_fail(call, ESTALE, "fake: another version");
	free(*etag);
	*etag = mk_strdup(version);
	*ret_total = t->no_totals ? -1 : size;
	while (r == 0 && offset < end) {
		size_t n = (size_t)(end - offset) < sizeof(data) ? (size_t)(end - offset)
								  : sizeof(data);

		for (size_t i = 0; i < n; i++)
			data[i] = byte_at(t, path, offset + (int64_t)i);
		r = sink(arg, data, n);
		offset += (int64_t)n;
	}
	return r;
}

static const struct mk_tracking_ops fake = {
	.kind = "fake",
	.close = store_close,
	.experiments = store_experiments,
	.runs = store_runs,
	.run = store_run,
	.files = store_files,
	.read = store_read,
};

static int insert(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	(void)arg;
	int r = mk_domain_run(call, conn,
			      "INSERT INTO projects (name, created, changed, connection)"
			      " VALUES ('p', ?1, ?1, 'fake')",
			      1, 0);

	return r < 0 ? r : (int)mk_last_id(conn);
}

static int age(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	(void)arg;
	int r = mk_domain_run(call, conn, "UPDATE marks SET time = time - 60000000000 WHERE ?1 = 0",
			      0, 0);

	return r < 0 ? r
		     : mk_domain_run(call, conn,
				     "UPDATE runs SET as_of = as_of - 60000000000 WHERE ?1 = 0", 0,
				     0);
}

/* A minute goes by. */
static void later(struct platform *p)
{
	CHECK_INT(mk_db_write(&p->call, p->m->db, MK_KILLSAFE, age, NULL), 0);
}

static int64_t first_run(struct platform *p, struct mk_tracking *t)
{
	int64_t id = 0;
	int project;

	if (mk_index_add(&p->call, p->m, "fake", &fake, t) < 0)
		return 0;
	project = mk_db_write(&p->call, p->m->db, MK_KILLSAFE, insert, NULL);
	if (project <= 0 ||
	    mk_run_find(&p->call, p->m, project, "train.00000000", false, &id) < 0)
		return 0;
	t->asked = 0;
	return id;
}

#define STORE(p, t, ...)                                                                     \
	PLATFORM(p);                                                                         \
	struct mk_tracking t = {__VA_ARGS__};                                                \
	t.version = 'a';                                                                     \
	t.big = t.big ? t.big : BIG;                                                         \
	int64_t run = first_run(&p, &t);                                                     \
	NEED(run > 0)

struct names {
	char text[400];
};

static int add_name(void *arg, const struct mk_dirent *entry)
{
	struct names *names = arg;
	size_t len = strlen(names->text);

	(void)snprintf(names->text + len, sizeof(names->text) - len, "%s%s:%lld", len ? " " : "",
		       entry->name, (long long)(entry->is_dir ? -2 : entry->size));
	return 0;
}

static int list(struct platform *p, int64_t run, const char *path, struct names *names)
{
	*names = (struct names){};
	return mk_run_artifact_list(&p->call, p->m, run, path, add_name, names);
}

/* Bytes that are not what they should be, or a negative errno. */
static int64_t read_all(struct platform *p, int64_t run, struct mk_tracking *t, const char *path)
{
	_cleanup_(mk_blob_closep) struct mk_blob *blob = NULL;
	struct mk_blob_stat st;
	char buf[50000];
	int64_t at = 0, wrong = 0;
	int r = mk_run_artifact_open(&p->call, p->m, run, path, &blob);

	if (r == 0)
		r = mk_blob_stat(&p->call, blob, &st);
	if (r < 0)
		return r;
	for (;;) {
		ssize_t n = mk_blob_read(&p->call, blob, buf, sizeof(buf), at);

		if (n < 0)
			return n;
		if (n == 0)
			return at == st.size && at == size_of(t, path) ? wrong : -ENODATA;
		for (ssize_t i = 0; i < n; i++)
			wrong += buf[i] != byte_at(t, path, at + i);
		at += n;
	}
}

/* --- tests --------------------------------------------------------------------------------- */

static void a_directory_costs_a_request(void)
{
	STORE(p, t);
	struct names names;
	struct mk_dirent entry;

	CHECK_INT(list(&p, run, "", &names), 0);
	CHECK_TEXT(names.text, "big.bin:3000000 empty:0 plots:-2");
	CHECK_INT(t.asked_files, 2); /* two pages */
	CHECK_INT(mk_run_artifact_stat(&p.call, p.m, run, "big.bin", &entry), 0);
	CHECK_INT(entry.size, BIG);
	CHECK_INT(entry.mtime, 2000 * MK_SEC);
	CHECK_INT(mk_run_artifact_stat(&p.call, p.m, run, "nothing", &entry), -ENOENT);
	CHECK_INT(mk_run_artifact_stat(&p.call, p.m, run, "", &entry), 0);
	CHECK(entry.is_dir);
	CHECK_INT(t.asked_files, 2);
	/* never listed: the lookup lists it */
	CHECK_INT(mk_run_artifact_stat(&p.call, p.m, run, "plots/deep", &entry), 0);
	CHECK(entry.is_dir);
	CHECK_INT(t.asked_files, 4); /* two pages */
	CHECK_INT(list(&p, run, "plots", &names), 0);
	CHECK_TEXT(names.text, "a b%20c+d.png:70000 deep:-2");
	CHECK_INT(t.asked_files, 4); /* two pages */
	later(&p);
	CHECK_INT(list(&p, run, "plots", &names), 0);
	CHECK_INT(t.asked_files, 6);
}

static void what_is_no_directory(void)
{
	STORE(p, t);
	struct names names;

	CHECK_INT(list(&p, run, "nothing", &names), -ENOENT);
	CHECK_INT(list(&p, run, "empty", &names), -ENOTDIR);
	CHECK_INT(read_all(&p, run, &t, "plots"), -EISDIR);
	CHECK_INT(read_all(&p, run, &t, "nothing"), -ENOENT);
	CHECK_INT(list(&p, run + 1, "", &names), -ENOENT);
}

static void a_live_run_is_looked_at_again(void)
{
	STORE(p, t, .live = true);
	struct names names;

	CHECK_INT(list(&p, run, "", &names), 0);
	t.big = 7;
	CHECK_INT(list(&p, run, "", &names), 0);
	CHECK(strstr(names.text, "big.bin:3000000"));
	CHECK_INT(t.asked_files, 2);
	CHECK_INT(mk_db_write(&p.call, p.m->db, MK_KILLSAFE, age, NULL), 0);
	CHECK_INT(list(&p, run, "", &names), 0);
	CHECK(strstr(names.text, "big.bin:7"));
}

static void bytes_stay_without_the_store(void)
{
	STORE(p, t);
	struct names names;

	CHECK_INT(read_all(&p, run, &t, "big.bin"), 0);
	CHECK_INT(read_all(&p, run, &t, "empty"), 0);
	CHECK_INT(t.asked_bytes, 1);
	later(&p);
	t.fails = EHOSTUNREACH;
	CHECK_INT(read_all(&p, run, &t, "big.bin"), 0);
	CHECK_INT(list(&p, run, "", &names), 0);
	CHECK_TEXT(names.text, "big.bin:3000000 empty:0 plots:-2");
	/* never seen: the store's word */
	CHECK_INT(list(&p, run, "plots", &names), -EHOSTUNREACH);
	CHECK_INT(read_all(&p, run, &t, "plots/deep/größe.txt"), -EHOSTUNREACH);
	t.fails = 0;
	CHECK_INT(read_all(&p, run, &t, "plots/deep/größe.txt"), 0);
	CHECK_INT(read_all(&p, run, &t, "plots/a b%20c+d.png"), 0);
}

static void sizes_that_the_list_does_not_tell(void)
{
	STORE(p, t, .no_sizes = true);
	struct names names;
	struct mk_dirent entry;

	CHECK_INT(list(&p, run, "", &names), 0);
	CHECK_TEXT(names.text, "big.bin:-1 empty:-1 plots:-2");
	CHECK_INT(t.asked_bytes, 0);
	CHECK_INT(mk_run_artifact_stat(&p.call, p.m, run, "big.bin", &entry), 0);
	CHECK_INT(entry.size, BIG);
	CHECK_INT(mk_run_artifact_stat(&p.call, p.m, run, "big.bin", &entry), 0);
	CHECK_INT(t.asked_bytes, 1);
	t.no_totals = true;
	CHECK_INT(mk_run_artifact_stat(&p.call, p.m, run, "plots/a b%20c+d.png", &entry), 0);
	CHECK_INT(entry.size, 70000);
	CHECK_INT(read_all(&p, run, &t, "plots/a b%20c+d.png"), 0);
	CHECK_INT(mk_run_artifact_stat(&p.call, p.m, run, "empty", &entry), 0);
	CHECK_INT(entry.size, 0);
}

static void changed_while_it_is_read(void)
{
	STORE(p, t, .live = true, .big = 200 << 20);
	_cleanup_(mk_blob_closep) struct mk_blob *blob = NULL, *anew = NULL;
	char buf[100];

	NEED(mk_run_artifact_open(&p.call, p.m, run, "big.bin", &blob) == 0);
	CHECK_INT(mk_blob_read(&p.call, blob, buf, 100, 100 << 20), 100);
	t.version = 'b';
	CHECK_INT(mk_blob_read(&p.call, blob, buf, 100, 10 << 20), -ESTALE);
	NEED(mk_run_artifact_open(&p.call, p.m, run, "big.bin", &anew) == 0);
	CHECK_INT(mk_blob_read(&p.call, anew, buf, 100, 100 << 20), 100);
	CHECK_INT(buf[5], byte_at(&t, "big.bin", (100 << 20) + 5));
}

static void who_may_not_wait_is_sent_to_the_lane(void)
{
	STORE(p, t);
	_cleanup_(mk_blob_closep) struct mk_blob *blob = NULL;
	struct names names;
	char buf[10];

	p.call.may_wait = NULL;
	CHECK_INT(list(&p, run, "", &names), MK_PUNT);
	CHECK_TEXT(p.call.punt, "fake");
	CHECK_INT(t.asked, 0);
	p.call.may_wait = "fake";
	CHECK_INT(list(&p, run, "", &names), 0);
	p.call.may_wait = NULL;
	CHECK_INT(list(&p, run, "", &names), 0); /* fresh: inline */
	NEED(mk_run_artifact_open(&p.call, p.m, run, "big.bin", &blob) == 0);
	CHECK_INT(mk_blob_read(&p.call, blob, buf, 10, 0), MK_PUNT);
	p.call.may_wait = "fake";
	CHECK_INT(mk_blob_read(&p.call, blob, buf, 10, 0), 10);
}

int main(void)
{
	return RUN(TEST(a_directory_costs_a_request), TEST(what_is_no_directory),
		   TEST(a_live_run_is_looked_at_again), TEST(bytes_stay_without_the_store),
		   TEST(sizes_that_the_list_does_not_tell), TEST(changed_while_it_is_read),
		   TEST(who_may_not_wait_is_sent_to_the_lane));
}
