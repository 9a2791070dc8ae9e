/* SPDX-License-Identifier: Apache-2.0 */
/* The cache of remote bytes, against a source of our own making. */
#include <string.h>
#include <sys/stat.h>

#include "cache/blobs.h"
#include "platform.h"

struct remote {
	int64_t size;	  /* as it is; what was opened says */
	int64_t cut_at;	  /* > 0: an answer ends there */
	int fails;
	char version;
	int piece;
	_Atomic int asked;
	_Atomic int64_t sent;
	_Atomic int64_t len; /* asked for last; -1: to the end */
};

static char byte_at(const struct remote *remote, int64_t at)
{
	return (char)((at * 31 + at / 65536) ^ remote->version);
}

static int fetch(struct mk_call *call, void *arg, int64_t offset, int64_t len, char **etag,
		 int (*sink)(void *sink_arg, const void *data, size_t len), void *sink_arg,
		 int64_t *ret_total)
{
	struct remote *remote = arg;
	const char version[] = {'"', remote->version, '"', 0};
	int64_t end = len < 0 || offset + len > remote->size ? remote->size : offset + len;
	char data[100000];

	atomic_fetch_add(&remote->asked, 1);
	atomic_store(&remote->len, len);
	if (remote->fails)
		return mk_fail(call, remote->fails, "remote: no");
	if (*etag && strcmp(*etag, version) != 0)
		return mk_fail(call, ESTALE, "remote: another version");
	free(*etag);
	*etag = mk_strdup(version);
	*ret_total = remote->size;
	for (int64_t at = offset; at < end;) {
		size_t n = (size_t)(end - at) < sizeof(data) ? (size_t)(end - at) : sizeof(data);
		int r = mk_call_check(call, "remote");

		if (remote->cut_at && at >= remote->cut_at)
			return mk_fail(call, EREMOTEIO, "remote: half a body");
		for (size_t i = 0; i < n; i++)
			data[i] = byte_at(remote, at + (int64_t)i);
		if (r < 0)
			return r;
		atomic_fetch_add(&remote->sent, (int64_t)n);
		r = sink(sink_arg, data, n); /* who waits for it looks at once */
		if (r < 0)
			return r;
		at += (int64_t)n;
	}
	return 0;
}

static int open_named(struct platform *p, struct remote *remote, const char *name, int64_t size,
		      int64_t good_since, struct mk_cached **ret)
{
	const struct mk_source source = {
		.remote = "r",
		.identity = name,
		.label = "file",
		.size = size,
		.good_since = good_since,
		.fetch = fetch,
		.arg = remote,
	};

	return mk_cached_open(&p->call, p->m, &source, ret);
}

static int open_it(struct platform *p, struct remote *remote, int64_t size, struct mk_cached **ret)
{
	return open_named(p, remote, "r/run/file", size, 0, ret);
}

/* Bytes that are not what they should be, or a negative errno. */
static int64_t compare(struct platform *p, struct mk_cached *cached, const struct remote *remote,
		       int64_t from, int64_t to, size_t step)
{
	_cleanup_free_ char *buf = mk_alloc(step);
	int64_t wrong = 0;

	while (from < to) {
		ssize_t n = mk_cached_read(&p->call, cached, buf, step, from);

		if (n < 0)
			return n;
		if (n == 0)
			return -ENODATA;
		for (ssize_t i = 0; i < n && from + i < to; i++)
			wrong += buf[i] != byte_at(remote, from + i);
		from += n;
	}
	return wrong;
}

static void from_the_beginning(void)
{
	PLATFORM(p);
	struct remote remote = {.size = 20000001, .version = 'a'};
	struct mk_cached *cached;
	char buf[10];

	NEED(open_it(&p, &remote, remote.size, &cached) == 0);
	CHECK(!mk_cached_whole(cached));
	CHECK_INT(compare(&p, cached, &remote, 0, remote.size, 131072), 0);
	CHECK_INT(mk_cached_read(&p.call, cached, buf, 10, remote.size), 0);
	CHECK(mk_cached_whole(cached));
	CHECK(remote.asked <= 3);
	CHECK_INT(remote.sent, remote.size);
	remote.fails = EHOSTUNREACH; /* from now on from the disk */
	CHECK_INT(compare(&p, cached, &remote, 0, remote.size, 1000000), 0);
	mk_cached_close(cached);
	NEED(open_it(&p, &remote, remote.size, &cached) == 0);
	CHECK_INT(compare(&p, cached, &remote, 7, remote.size, 1000000), 0);
	mk_cached_close(cached);
}

static void here_and_there(void)
{
	PLATFORM(p);
	struct remote remote = {.size = 300 << 20, .version = 'a'};
	struct mk_cached *cached;

	NEED(open_it(&p, &remote, remote.size, &cached) == 0);
	for (int64_t at = 290 << 20; at > 0; at -= 40 << 20)
		CHECK_INT(compare(&p, cached, &remote, at, at + 5000, 5000), 0);
	CHECK(remote.sent < 20 << 20);
	mk_cached_close(cached);
}

/* `head` and `file` of a big file are a look, not its bytes. */
static void the_first_look_is_short(void)
{
	PLATFORM(p);
	struct remote remote = {.size = 300 << 20, .version = 'a'};
	struct mk_cached *cached;

	NEED(open_it(&p, &remote, remote.size, &cached) == 0);
	CHECK_INT(compare(&p, cached, &remote, 0, 8192, 8192), 0);
	CHECK_INT(remote.len, 1 << 20);
	CHECK_INT(compare(&p, cached, &remote, 8192, 900000, 131072), 0);
	CHECK_INT(remote.asked, 1);
	CHECK_INT(compare(&p, cached, &remote, 1 << 20, 2 << 20, 131072), 0);
	CHECK_INT(remote.len, 16 << 20);
	CHECK_INT(compare(&p, cached, &remote, 2 << 20, 18 << 20, 131072), 0);
	CHECK_INT(remote.asked, 3); /* the last read looked over the edge */
	CHECK_INT(remote.len, -1);
	CHECK_INT(compare(&p, cached, &remote, 200 << 20, (200 << 20) + 10, 10), 0);
	CHECK_INT(remote.len, 1 << 20);
	mk_cached_close(cached);
}

static void an_empty_file(void)
{
	PLATFORM(p);
	struct remote remote = {.version = 'a'};
	struct mk_cached *cached;
	char buf[10];

	NEED(open_it(&p, &remote, 0, &cached) == 0);
	CHECK_INT(mk_cached_read(&p.call, cached, buf, 10, 0), 0);
	CHECK(mk_cached_whole(cached));
	CHECK_INT(remote.asked, 0);
	mk_cached_close(cached);
}

static void what_was_cut_is_gone_on_with(void)
{
	PLATFORM(p);
	struct remote remote = {.size = 5000000, .version = 'a', .cut_at = 2000000};
	struct mk_cached *cached;

	NEED(open_it(&p, &remote, remote.size, &cached) == 0);
	CHECK_INT(compare(&p, cached, &remote, 0, remote.size, 100000), -EREMOTEIO);
	CHECK(strstr(p.call.error.text, "half a body") != NULL);
	remote.cut_at = 0;

	int64_t before = remote.sent;

	CHECK_INT(compare(&p, cached, &remote, 0, remote.size, 100000), 0);
	CHECK(remote.sent - before < 3200000);
	mk_cached_close(cached);
}

static void another_version_is_stale(void)
{
	PLATFORM(p);
	struct remote remote = {.size = 100 << 20, .version = 'a'};
	struct mk_cached *cached, *anew;

	NEED(open_it(&p, &remote, remote.size, &cached) == 0);
	CHECK_INT(compare(&p, cached, &remote, 50 << 20, (50 << 20) + 10, 10), 0);
	remote.version = 'b';
	CHECK_INT(compare(&p, cached, &remote, 90 << 20, (90 << 20) + 10, 10), -ESTALE);
	remote.version = 'a'; /* what was read of it stays */
	CHECK_INT(compare(&p, cached, &remote, 50 << 20, (50 << 20) + 10, 10), 0);
	CHECK_INT(compare(&p, cached, &remote, 70 << 20, (70 << 20) + 10, 10), -ESTALE);
	remote.version = 'b';
	NEED(open_it(&p, &remote, remote.size, &anew) == 0);
	CHECK_INT(compare(&p, anew, &remote, 50 << 20, (50 << 20) + 10, 10), 0);
	mk_cached_close(anew);
	mk_cached_close(cached);
}

static void sizes_must_be_true(void)
{
	PLATFORM(p);
	struct remote remote = {.size = 1000, .version = 'a'};
	struct mk_cached *cached;

	NEED(open_it(&p, &remote, 900, &cached) == 0);
	CHECK_INT(compare(&p, cached, &remote, 0, 900, 900), -ESTALE);
	mk_cached_close(cached);
	NEED(open_it(&p, &remote, 2000, &cached) == 0);
	CHECK_INT(compare(&p, cached, &remote, 0, 2000, 2000), -ESTALE);
	mk_cached_close(cached);
}

static void who_may_not_wait_is_sent_away(void)
{
	PLATFORM(p);
	struct remote remote = {.size = 100000, .version = 'a'};
	struct mk_cached *cached;
	char buf[10];

	NEED(open_it(&p, &remote, remote.size, &cached) == 0);
	p.call.may_wait = NULL;
	CHECK_INT(mk_cached_read(&p.call, cached, buf, 10, 0), MK_PUNT);
	CHECK_TEXT(p.call.punt, "r");
	p.call.may_wait = "r";
	CHECK_INT(mk_cached_read(&p.call, cached, buf, 10, 0), 10);
	p.call.may_wait = NULL;
	CHECK_INT(mk_cached_read(&p.call, cached, buf, 10, 0), 10);
	mk_cached_close(cached);
}

struct reader {
	struct platform *p;
	struct mk_cached *cached;
	const struct remote *remote;
	int64_t from, wrong;
	int64_t len; /* 0: to the end */
};

static void *read_along(void *arg)
{
	struct reader *reader = arg;
	struct platform own = *reader->p;

	mk_call_init(&own.call);
	reader->wrong = compare(&own, reader->cached, reader->remote, reader->from,
				reader->len ? reader->from + reader->len : reader->remote->size,
				131072);
	mk_call_done(&own.call);
	return NULL;
}

static void several_read_at_once(void)
{
	PLATFORM(p);
	struct remote remote = {.size = 30000000, .version = 'a'};
	struct mk_cached *cached;
	struct reader readers[6];
	pthread_t threads[6];

	NEED(open_it(&p, &remote, remote.size, &cached) == 0);
	for (int i = 0; i < 6; i++) {
		readers[i] = (struct reader){&p, cached, &remote, i * 131072, 1, 0};
		NEED(pthread_create(&threads[i], NULL, read_along, &readers[i]) == 0);
	}
	for (int i = 0; i < 6; i++) {
		(void)pthread_join(threads[i], NULL);
		CHECK_INT(readers[i].wrong, 0);
	}
	mk_cached_close(cached);
}

/* Two who read in places far apart: none stops the other before it has what it waits for. */
static void in_two_places_at_once(void)
{
	PLATFORM(p);
	struct remote remote = {.size = 400 << 20, .version = 'a'};
	struct mk_cached *cached;
	struct reader readers[3];
	pthread_t threads[3];

	NEED(open_it(&p, &remote, remote.size, &cached) == 0);
	for (int i = 0; i < 3; i++) {
		readers[i] = (struct reader){&p, cached, &remote, (int64_t)i * (150 << 20), 1, 3 << 20};
		NEED(pthread_create(&threads[i], NULL, read_along, &readers[i]) == 0);
	}
	for (int i = 0; i < 3; i++) {
		(void)pthread_join(threads[i], NULL);
		CHECK_INT(readers[i].wrong, 0);
	}
	CHECK(remote.asked <= 3 * 3 * 8 + 3); /* at worst each read of 128 KiB its own */
	mk_cached_close(cached);
}

static void another_version_of_the_same_size(void)
{
	PLATFORM(p);
	struct remote remote = {.size = 300000, .version = 'a'};
	struct mk_cached *old, *cached;

	NEED(open_it(&p, &remote, remote.size, &old) == 0);
	CHECK_INT(compare(&p, old, &remote, 0, remote.size, 100000), 0);
	NEED(open_named(&p, &remote, "r/run/file", remote.size, mk_now_real(), &cached) == 0);
	mk_cached_close(cached); /* it was asked: the same */
	remote.fails = EHOSTUNREACH;
	NEED(open_named(&p, &remote, "r/run/file", remote.size, mk_now_real(), &cached) == 0);
	mk_cached_close(cached); /* nobody can say: as good as before */
	remote.fails = 0;
	remote.version = 'b';
	p.call.may_wait = NULL;
	CHECK_INT(open_named(&p, &remote, "r/run/file", remote.size, mk_now_real(), &cached), MK_PUNT);
	p.call.may_wait = MK_ANY;
	CHECK_INT(open_named(&p, &remote, "r/run/file", remote.size, mk_now_real(), &cached), -ESTALE);
	NEED(open_named(&p, &remote, "r/run/file", remote.size, mk_now_real(), &cached) == 0);
	CHECK_INT(compare(&p, cached, &remote, 0, remote.size, 100000), 0);
	mk_cached_close(cached);
	remote.version = 'a'; /* who had it open reads it to its end */
	CHECK_INT(compare(&p, old, &remote, 0, remote.size, 100000), 0);
	mk_cached_close(old);
}

static bool is_there(struct platform *p, struct remote *remote, const char *name)
{
	struct mk_cached *cached;
	int asked = remote->asked;
	bool there = open_named(p, remote, name, remote->size, 0, &cached) == 0 &&
		     mk_cached_whole(cached);

	mk_cached_close(cached);
	return there && remote->asked == asked;
}

static void the_cache_has_a_limit(void)
{
	PLATFORM(p);
	struct remote remote = {.size = 400000, .version = 'a'};
	struct mk_cached *held, *cached;
	_cleanup_free_ char *config = tmpdir_path(p.config, "config.yaml");
	FILE *f = mkdir(p.config, 0700) < 0 && errno != EEXIST ? NULL : fopen(config, "w");

	NEED(f != NULL);
	fputs("cache_limit: 1M\n", f);
	fclose(f);
	NEED(platform_open(&p) == 0);
	NEED(open_named(&p, &remote, "held", remote.size, 0, &held) == 0);
	CHECK_INT(compare(&p, held, &remote, 0, remote.size, 100000), 0);
	for (char name[] = "1"; name[0] <= '4'; name[0]++) {
		NEED(open_named(&p, &remote, name, remote.size, 0, &cached) == 0);
		CHECK_INT(compare(&p, cached, &remote, 0, remote.size, 100000), 0);
		mk_cached_close(cached);
	}
	CHECK_INT(compare(&p, held, &remote, 0, remote.size, 100000), 0);
	mk_cached_close(held);
	CHECK(is_there(&p, &remote, "held"));
	CHECK(is_there(&p, &remote, "4"));
	CHECK(!is_there(&p, &remote, "1"));
	CHECK(!is_there(&p, &remote, "2"));
}

int main(void)
{
	return RUN(TEST(from_the_beginning), TEST(here_and_there),
		   TEST(the_first_look_is_short), TEST(in_two_places_at_once), TEST(an_empty_file),
		   TEST(what_was_cut_is_gone_on_with), TEST(another_version_is_stale),
		   TEST(sizes_must_be_true), TEST(who_may_not_wait_is_sent_away),
		   TEST(several_read_at_once),
		   TEST(another_version_of_the_same_size), TEST(the_cache_has_a_limit));
}
