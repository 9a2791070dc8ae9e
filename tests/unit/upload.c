/* SPDX-License-Identifier: Apache-2.0 */
/* Files on their way to a tracking store: kept, shown, read, sent, refused. */
#include <dirent.h>
#include <fcntl.h>
#include <mantik/blob.h>
#include <mantik/error.h>
#include <mantik/outbox.h>

#include "base/file.h"
#include "domain/outbox/send.h"
#include "domain/outbox/upload.h"
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

static const char *list(struct platform *p, int64_t run, const char *path)
{
	static struct names names;

	names = (struct names){};
	return mk_run_artifact_list(&p->call, p->m, run, path, add_name, &names) < 0 ? "(fails)"
										     : names.text;
}

/* The whole of a small file, or "(fails)". */
static const char *text_of(struct platform *p, int64_t run, const char *path)
{
	_cleanup_(mk_blob_closep) struct mk_blob *blob = NULL;
	static char buf[100];
	ssize_t n = mk_run_artifact_open(&p->call, p->m, run, path, &blob);

	if (n == 0)
		n = mk_blob_read(&p->call, blob, buf, sizeof(buf) - 1, 0);
	buf[n < 0 ? 0 : n] = 0;
	return n < 0 ? "(fails)" : buf;
}

/* How many files lie in the folder of uploads; -1: there is no folder. */
static int kept(struct platform *p)
{
	_cleanup_free_ char *path = NULL;
	struct dirent *entry;
	int n = 0;

	if (asprintf(&path, "%s/uploads", p->m->data_dir) < 0)
		return -2;

	DIR *dir = opendir(path);

	if (!dir)
		return -1;
	while ((entry = readdir(dir)))
		n += entry->d_name[0] != '.';
	closedir(dir);
	return n;
}

static int put(struct platform *p, int64_t run, const char *path, const char *text)
{
	struct mk_staged *staged = NULL;
	int r = mk_staged_new(&p->call, p->m, &staged);

	if (r == 0 && mk_staged_write(&p->call, staged, text, strlen(text), 0) < 0)
		r = -EIO;
	if (r == 0)
		r = mk_upload_put(&p->call, p->m, run, path, staged);
	mk_staged_free(staged);
	return r;
}

/* What mantikd does; seen: what it has asked for before. */
static int send_with(struct platform *p, struct mk_out_seen *seen)
{
	_cleanup_free_ struct mk_out_queue *queues = NULL;
	size_t n = 0;
	int64_t due;
	int r = mk_outbox_queues(&p->call, p->m, &queues, &n);

	if (r < 0 || !n)
		return r < 0 ? r : -ENODATA;
	CHECK(queues[0].files);
	return mk_outbox_send(&p->call, p->m, &queues[0], seen, &due);
}

static int send_all(struct platform *p)
{
	struct mk_out_seen seen = {};
	int r = send_with(p, &seen);

	mk_out_seen_free(&seen);
	return r;
}

/* For another try, the time has come. */
static int hurry(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	(void)arg;
	return mk_domain_run(call, conn, "UPDATE outbox SET try_at = 0 WHERE ?1 = 0", 0, 0);
}

#define ROOT "big.bin:3000000 empty:0 model.yaml:4 plots:-2"

/* --- tests --------------------------------------------------------------------------------- */

static void it_is_an_artifact_before_it_is_sent(void)
{
	STORE(p, t);
	struct mk_dirent entry;

	CHECK_INT(put(&p, run, "new.txt", "hello"), 0);
	CHECK_INT(kept(&p), 1);
	CHECK_TEXT(list(&p, run, ""), ROOT " new.txt:5");
	CHECK_TEXT(text_of(&p, run, "new.txt"), "hello");
	CHECK_INT(mk_run_artifact_stat(&p.call, p.m, run, "new.txt", &entry), 0);
	CHECK_INT(entry.size, 5);
	/* the store is away: it is there all the same */
	later(&p);
	t.fails = EHOSTUNREACH;
	CHECK_TEXT(list(&p, run, ""), ROOT " new.txt:5");
	CHECK_TEXT(text_of(&p, run, "new.txt"), "hello");
	CHECK_INT(t.puts, 0);
}

static void directories_come_with_their_files(void)
{
	STORE(p, t);
	struct mk_dirent entry;
	int asked;

	CHECK_TEXT(list(&p, run, ""), ROOT);
	asked = t.asked_files;
	CHECK_INT(put(&p, run, "a/b/c", "1"), 0);
	CHECK_INT(put(&p, run, "a/b2", "22"), 0);
	CHECK_INT(put(&p, run, "a/größe x/c", "333"), 0);
	CHECK_INT(t.asked_files, asked); /* what the store has not is not asked for */
	CHECK_TEXT(list(&p, run, ""), ROOT " a:-2");
	CHECK_TEXT(list(&p, run, "a"), "b2:2 b:-2 größe x:-2");
	CHECK_TEXT(list(&p, run, "a/b"), "c:1");
	CHECK_INT(mk_run_artifact_stat(&p.call, p.m, run, "a/größe x", &entry), 0);
	CHECK(entry.is_dir);
	CHECK_INT(mk_run_artifact_stat(&p.call, p.m, run, "a/gr", &entry), -ENOENT);
	CHECK_INT(put(&p, run, "a/b", "x"), -EEXIST);
	CHECK_INT(put(&p, run, "a/b2/d", "x"), -ENOTDIR);
	CHECK_INT(kept(&p), 3);
	CHECK_INT(t.puts, 0);
}

static void what_is_there_stays(void)
{
	STORE(p, t);

	CHECK_INT(put(&p, run, "empty", "x"), -EEXIST);
	CHECK_INT(put(&p, run, "plots", "x"), -EEXIST);
	CHECK_INT(put(&p, run, "empty/x", "x"), -ENOTDIR);
	CHECK_INT(put(&p, run, "100%25", "x"), -EINVAL);
	CHECK(strstr(p.call.error.text, "a name with %"));
	CHECK_INT(put(&p, run, "new", "1"), 0);
	CHECK_INT(put(&p, run, "new", "2"), -EEXIST);
	CHECK_TEXT(text_of(&p, run, "new"), "1");
	CHECK_INT(kept(&p), 1);
}

/* Never a moment in which it is not listed, whichever listing comes when. */
static void it_is_sent(void)
{
	STORE(p, t);

	CHECK_TEXT(list(&p, run, ""), ROOT);
	CHECK_INT(put(&p, run, "new", "abc"), 0);

	t.fails = EHOSTUNREACH;
	CHECK_INT(send_all(&p), -EHOSTUNREACH);
	CHECK_INT(kept(&p), 1);
	t.fails = 0;
	CHECK_INT(mk_db_write(&p.call, p.m->db, MK_KILLSAFE, hurry, NULL), 0);
	CHECK_INT(send_all(&p), 0);
	CHECK_TEXT(t.put_path, "new");
	CHECK_TEXT(t.put_bytes, "abc");
	CHECK_INT(kept(&p), 0);
	/* the listing we have is older */
	CHECK_TEXT(list(&p, run, ""), ROOT " new:3");
	CHECK_INT(put(&p, run, "new", "x"), -EEXIST);
	CHECK_INT(send_all(&p), -ENODATA); /* again: nothing */
	CHECK_INT(t.puts, 1); /* who is away when he is asked is sent nothing */
	/* and this one is newer: from now on the store's word counts */
	later(&p);
	CHECK_TEXT(list(&p, run, ""), "big.bin:3000000 empty:0 model.yaml:4 new:3 plots:-2");
	t.put_path[0] = 0;
	later(&p);
	CHECK_TEXT(list(&p, run, ""), ROOT);
}

static void it_is_refused(void)
{
	STORE(p, t, .put_fails = EFBIG);

	CHECK_INT(put(&p, run, "new", "abc"), 0);
	CHECK_TEXT(list(&p, run, ""), ROOT " new:3");
	CHECK_INT(send_all(&p), 0);
	/* the bytes go when whoever waits for it is told */
	CHECK_INT(kept(&p), 1);
	CHECK_INT(mk_outbox_wait(&p.call, p.m), -EFBIG);
	CHECK(strstr(p.call.error.text, "takes no file"));
	CHECK_TEXT(list(&p, run, ""), ROOT);
	CHECK_INT(kept(&p), 0);
	CHECK_INT(send_all(&p), -ENODATA);
	t.put_fails = 0;
	CHECK_INT(put(&p, run, "new", "x"), 0);
}

/* As unsent and errors show it. */
static int unsent_has(struct platform *p, const char *words)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF(10000);

	return mk_unsent_table(&p->call, p->m, &text) == 0 && strstr(mk_buf_text(&text), words);
}

static int errors_with(struct platform *p, const char *words)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF(10000);
	int n = 0;

	if (mk_error_table(&p->call, p->m, &text) < 0)
		return -1;
	for (const char *s = mk_buf_text(&text); (s = strstr(s, words)); s++)
		n++;
	return n;
}

/* Its close said that it is safe: it is. */
static void refused_later_it_is_kept(void)
{
	STORE(p, t, .put_fails = EFBIG);

	CHECK_INT(put(&p, run, "d/new", "abc"), 0);
	p.call.unsent.until = 0; /* he has waited long enough */
	CHECK_INT(mk_outbox_wait(&p.call, p.m), 0);
	for (int day = 1; day <= 2; day++) {
		CHECK_INT(send_all(&p), 0);
		CHECK_INT(t.puts, day);
		CHECK_TEXT(text_of(&p, run, "d/new"), "abc");
		CHECK_TEXT(list(&p, run, "d"), "new:3");
		CHECK_INT(kept(&p), 1);
		CHECK(unsent_has(&p, "/artifacts/d/new"));
		CHECK(unsent_has(&p, "refused: "));
		CHECK(unsent_has(&p, "takes no file"));
		CHECK_INT(errors_with(&p, "refused, and kept here"), 1);
		/* it rests, and keeps nobody busy */
		CHECK_INT(send_all(&p), -ENODATA);
		CHECK_INT(put(&p, run, "d/new", "x"), -EEXIST);
		CHECK_INT(mk_db_write(&p.call, p.m->db, MK_KILLSAFE, hurry, NULL), 0); /* a day later */
	}
	t.put_fails = 0;
	CHECK_INT(send_all(&p), 0);
	CHECK_TEXT(t.put_bytes, "abc");
	CHECK_INT(kept(&p), 0);
	CHECK(!unsent_has(&p, "new"));
}

static void refused_later_it_is_given_up(void)
{
	STORE(p, t, .put_fails = EFBIG);

	CHECK_INT(put(&p, run, "new", "abc"), 0);
	p.call.unsent.until = 0;
	CHECK_INT(mk_outbox_wait(&p.call, p.m), 0);
	CHECK_INT(send_all(&p), 0);
	CHECK_INT(mk_unsent_discard(&p.call, p.m, "/projects"), 1);
	CHECK_INT(errors_with(&p, "given up by"), 1);
	CHECK_INT(errors_with(&p, "not answered"), 0);
	CHECK_INT(kept(&p), 0);
	CHECK(!unsent_has(&p, "new"));
	CHECK_TEXT(list(&p, run, ""), ROOT);
	CHECK_INT(put(&p, run, "new", "x"), 0);
}

static int age_wanted(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	(void)arg;
	return mk_domain_run(call, conn, "UPDATE outbox SET wanted = wanted - 60000000000 WHERE ?1 = 0",
			     0, 0);
}

/* Refused in time, but whoever waited is gone: nobody knows what he was told. */
static void refused_and_unheard_it_is_kept(void)
{
	STORE(p, t, .put_fails = EFBIG);

	CHECK_INT(put(&p, run, "new", "abc"), 0);
	CHECK_INT(send_all(&p), 0);
	CHECK_INT(mk_outbox_unclaimed(&p.call, p.m), 0);
	CHECK(!unsent_has(&p, "new")); /* he may still come */
	CHECK_INT(mk_db_write(&p.call, p.m->db, MK_KILLSAFE, age_wanted, NULL), 0);
	CHECK_INT(mk_outbox_unclaimed(&p.call, p.m), 0);
	CHECK(unsent_has(&p, "takes no file"));
	CHECK_INT(errors_with(&p, "refused, and kept here"), 1);
	CHECK_TEXT(text_of(&p, run, "new"), "abc");
	CHECK_INT(kept(&p), 1);
	CHECK_INT(send_all(&p), -ENODATA);
}

/* Nothing is kept where nothing is. */
static void without_its_bytes_it_goes(void)
{
	STORE(p, t);
	_cleanup_free_ char *path = NULL;

	CHECK_INT(put(&p, run, "new", "abc"), 0);
	p.call.unsent.until = 0;
	CHECK_INT(mk_outbox_wait(&p.call, p.m), 0);
	path = mk_strf("%s/uploads", p.m->data_dir);
	CHECK_INT(mk_remove_tree(&p.call, AT_FDCWD, path), 0);
	CHECK_INT(send_all(&p), 0);
	CHECK_INT(errors_with(&p, "taken back"), 1);
	CHECK(!unsent_has(&p, "new"));
	CHECK_TEXT(list(&p, run, ""), ROOT);
}

static void logged_by_another(struct mk_tracking *t, const char *path, const char *text)
{
	(void)snprintf(t->put_path, sizeof(t->put_path), "%s", path);
	(void)snprintf(t->put_bytes, sizeof(t->put_bytes), "%s", text);
}

static void what_others_logged_since_stays(void)
{
	STORE(p, t);

	CHECK_TEXT(list(&p, run, ""), ROOT);
	CHECK_INT(put(&p, run, "new", "abc"), 0);
	logged_by_another(&t, "new", "theirs");
	CHECK_INT(send_all(&p), 0);
	CHECK_INT(t.puts, 0);
	CHECK_INT(mk_outbox_wait(&p.call, p.m), -EEXIST);
	CHECK(strstr(p.call.error.text, "somebody else has logged new"));
	CHECK_INT(kept(&p), 0);
	/* theirs is there at once */
	CHECK_TEXT(list(&p, run, ""), "big.bin:3000000 empty:0 model.yaml:4 new:6 plots:-2");
	/* and of one that is safe by now ours is seen until it is given up */
	CHECK_INT(put(&p, run, "newer", "abc"), 0);
	p.call.unsent.until = 0;
	CHECK_INT(mk_outbox_wait(&p.call, p.m), 0);
	logged_by_another(&t, "newer", "theirs");
	for (int day = 1; day <= 2; day++) {
		CHECK_INT(send_all(&p), 0);
		CHECK_INT(t.puts, 0);
		CHECK(unsent_has(&p, "somebody else has logged newer"));
		later(&p);
		CHECK_TEXT(list(&p, run, ""), ROOT " newer:3");
		CHECK_TEXT(text_of(&p, run, "newer"), "abc");
		CHECK_INT(mk_db_write(&p.call, p.m->db, MK_KILLSAFE, hurry, NULL), 0);
	}
	CHECK_INT(mk_unsent_discard(&p.call, p.m, "/projects"), 1);
	CHECK_TEXT(list(&p, run, ""), "big.bin:3000000 empty:0 model.yaml:4 newer:6 plots:-2");
}

/* cp -r: a directory is asked for once, whatever is copied into it. */
static void a_directory_is_asked_for_once(void)
{
	STORE(p, t);
	struct mk_out_seen seen = {};
	int asked;

	CHECK_INT(put(&p, run, "a/1", "x"), 0);
	CHECK_INT(put(&p, run, "a/2", "x"), 0);
	CHECK_INT(put(&p, run, "b/1", "x"), 0);
	asked = t.asked_files;
	CHECK_INT(send_with(&p, &seen), 0);
	CHECK_INT(t.puts, 3);
	CHECK_INT(t.asked_files - asked, 2);
	CHECK_INT(put(&p, run, "b/2", "x"), 0);
	asked = t.asked_files;
	CHECK_INT(send_with(&p, &seen), 0);
	CHECK_INT(t.asked_files, asked);
	seen.files.until = 1; /* a minute later */
	CHECK_INT(put(&p, run, "b/3", "x"), 0);
	asked = t.asked_files;
	logged_by_another(&t, "b/3", "theirs");
	CHECK_INT(send_with(&p, &seen), 0);
	CHECK_INT(t.asked_files - asked, 1);
	CHECK_INT(t.puts, 4);
	CHECK_INT(mk_outbox_wait(&p.call, p.m), -EEXIST);
	mk_out_seen_free(&seen);
}

/* What lies there after a try whose answer was lost is half of ours. */
static void a_half_of_ours_is_no_obstacle(void)
{
	STORE(p, t, .put_fails = ETIMEDOUT);

	CHECK_INT(put(&p, run, "new", "abc"), 0);
	CHECK_INT(send_all(&p), 0);
	CHECK_INT(t.puts, 1);
	logged_by_another(&t, "new", "ab");
	t.put_fails = 0;
	CHECK_INT(mk_db_write(&p.call, p.m->db, MK_KILLSAFE, hurry, NULL), 0);
	CHECK_INT(send_all(&p), 0);
	CHECK_TEXT(t.put_bytes, "abc");
	CHECK_INT(kept(&p), 0);
	CHECK(!unsent_has(&p, "new"));
}

/* A door that lets questions in and no files: what is there when it opens is not ours. */
static void what_did_not_get_in_is_asked_for_again(void)
{
	STORE(p, t, .put_fails = EACCES, .put_status = 403);

	CHECK_INT(put(&p, run, "new", "abc"), 0);
	CHECK_INT(send_all(&p), -EKEYEXPIRED);
	CHECK_INT(mk_outbox_wait(&p.call, p.m), 0);
	CHECK_INT(t.puts, 1);
	logged_by_another(&t, "new", "theirs");
	t.put_fails = 0;
	CHECK_INT(mk_db_write(&p.call, p.m->db, MK_KILLSAFE, hurry, NULL), 0);
	CHECK_INT(send_all(&p), 0);
	CHECK_INT(t.puts, 1);
	CHECK(unsent_has(&p, "somebody else has logged new"));
	CHECK_TEXT(text_of(&p, run, "new"), "abc");
}

static void what_is_not_put_is_gone(void)
{
	STORE(p, t);
	struct mk_staged *staged = NULL;
	struct mk_staged_stat st;
	char buf[10];

	CHECK_INT(mk_staged_new(&p.call, p.m, &staged), 0);
	CHECK_INT(mk_staged_write(&p.call, staged, "xyz", 3, 5), 3);
	CHECK_INT(mk_staged_read(&p.call, staged, buf, 10, 4), 4);
	CHECK_INT(memcmp(buf, "\0xyz", 4), 0);
	CHECK_INT(mk_staged_resize(&p.call, staged, 6), 0);
	mk_staged_touch(staged, 1700000000 * MK_SEC + 5);
	mk_staged_stat(staged, &st);
	CHECK_INT(st.size, 6);
	CHECK_INT(st.mtime, 1700000000 * MK_SEC + 5);
	CHECK_INT(mk_staged_write(&p.call, staged, "x", 1, -1), -EFBIG);
	mk_staged_free(staged);
	CHECK_INT(kept(&p), 0);
}

static void runs_of_ours_take_nothing(void)
{
	STORE(p, t);

	CHECK_INT(mk_upload_check(&p.call, p.m, run + 10, "x"), -EPERM);
	CHECK_INT(mk_upload_takes(&p.call, p.m, run + 10), 0);
	CHECK_INT(mk_upload_takes(&p.call, p.m, run), 1);
	/* the disk is not waited for where nobody may wait */
	CHECK_TEXT(list(&p, run, ""), ROOT);
	p.call.may_wait = NULL;
	CHECK_INT(put(&p, run, "x", "x"), MK_PUNT);
	CHECK_TEXT(p.call.punt, "disk:uploads");
	/* there the store is not asked: it would send us back */
	later(&p);
	CHECK_INT(put(&p, run, "x", "x"), MK_PUNT);
	CHECK_TEXT(p.call.punt, "fake");
	p.call.may_wait = "disk:uploads";
	CHECK_INT(put(&p, run, "x", "x"), 0);
	CHECK_INT(put(&p, run, "empty", "x"), -EEXIST);
}

int main(void)
{
	return RUN(TEST(it_is_an_artifact_before_it_is_sent),
		   TEST(directories_come_with_their_files), TEST(what_is_there_stays),
		   TEST(it_is_sent), TEST(it_is_refused), TEST(refused_later_it_is_kept),
		   TEST(refused_later_it_is_given_up), TEST(refused_and_unheard_it_is_kept),
		   TEST(without_its_bytes_it_goes), TEST(what_others_logged_since_stays),
		   TEST(a_directory_is_asked_for_once),
		   TEST(a_half_of_ours_is_no_obstacle),
		   TEST(what_did_not_get_in_is_asked_for_again), TEST(what_is_not_put_is_gone),
		   TEST(runs_of_ours_take_nothing));
}
