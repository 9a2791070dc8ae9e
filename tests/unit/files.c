/* SPDX-License-Identifier: Apache-2.0 */
/* Files of a tracking store, against a store of our own making that counts what it is asked. */
#include <mantik/blob.h>

#include "store.h"

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
	CHECK_TEXT(names.text, "big.bin:3000000 empty:0 model.yaml:4 plots:-2");
	CHECK_INT(t.asked_files, 3); /* three pages */
	CHECK_INT(mk_run_artifact_stat(&p.call, p.m, run, "big.bin", &entry), 0);
	CHECK_INT(entry.size, BIG);
	CHECK_INT(entry.mtime, 2000 * MK_SEC);
	CHECK_INT(mk_run_artifact_stat(&p.call, p.m, run, "nothing", &entry), -ENOENT);
	CHECK_INT(mk_run_artifact_stat(&p.call, p.m, run, "", &entry), 0);
	CHECK(entry.is_dir);
	CHECK_INT(t.asked_files, 3);
	/* never listed: the lookup lists it */
	CHECK_INT(mk_run_artifact_stat(&p.call, p.m, run, "plots/deep", &entry), 0);
	CHECK(entry.is_dir);
	CHECK_INT(t.asked_files, 5); /* two pages */
	CHECK_INT(list(&p, run, "plots", &names), 0);
	CHECK_TEXT(names.text, "a b%20c+d.png:70000 deep:-2");
	CHECK_INT(t.asked_files, 5); /* two pages */
	later(&p);
	CHECK_INT(list(&p, run, "plots", &names), 0);
	CHECK_INT(t.asked_files, 7);
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
	CHECK_INT(t.asked_files, 3);
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
	CHECK_TEXT(names.text, "big.bin:3000000 empty:0 model.yaml:4 plots:-2");
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
	CHECK_TEXT(names.text, "big.bin:-1 empty:-1 model.yaml:-1 plots:-2");
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
