/* SPDX-License-Identifier: Apache-2.0 */
/* See blobs.h. A stream is a flight that nobody boards: readers wait for blocks, not for its end. */
#include "cache/blobs.h"

#include <errno.h>
#include <string.h>

#include <mantik/lane.h>

#include "cache/blob_disk.h"

enum {
	JUMP = 1 << 20,		/* fetched for a first read, or one out of order */
	SMALL = 4 << 20,	/* what is left of a file at a first read and not worth two requests */
	GAIT = 16 << 20,	/* then, for who reads on: `file` and `head` never come that far */
	AHEAD = 64 << 20,	/* of the last read */
	THREADS = 4,
	TRIM = 64 << 20,	/* bytes that come between two looks at the size of the cache */
};
static const int64_t lonely = 5 * MK_SEC;

struct stream {
	struct mk_lane_work work;
	struct blob *blob;
	struct mk_call call;
	int64_t begin, end; /* what was asked for */
	int64_t need;	    /* … and waited for by who asked: until then nobody stops it */
	_Atomic int64_t at; /* bytes came up to here */
	int64_t begun;	    /* realtime */
	char *etag;	    /* of what comes; NULL: whatever there is */
	char *fill;	    /* the block that is not whole yet */
	size_t filled;
};

struct blob { /* one of these bytes, shared by all who have it open */
	struct blob *next;
	struct mk_blobs *all;
	_Atomic int refs; /* each open one, and the stream; the last goes under all->lock */
	char *identity, *label, *remote;
	struct mk_source source;
	int64_t limit; /* of the cache */

	pthread_mutex_t lock; /* protects what follows */
	pthread_cond_t moved;
	struct mk_blob_disk disk; /* its descriptor stays the same */
	struct stream *stream;
	int64_t last_read;    /* up to where anybody read last */
	int64_t ended;	      /* up to where the last stream came */
	int64_t walked;	      /* bytes of the streams that went on from each other, up to there */
	int64_t last_waited;  /* mono */
	int waiting;
	struct mk_error error; /* of the last stream, until one succeeds */
	_Atomic bool stale;    /* the source has another version: what is missing never comes */
	bool fetched;
};

struct mk_blobs {
	struct mk_lanes *lanes;
	pthread_mutex_t lock; /* protects first */
	struct blob *first;
	_Atomic int64_t until_trim; /* bytes to come; at first none, so that a short life does it */
};

struct mk_cached {
	struct blob *blob;
};

struct mk_blobs *mk_blobs_new(void)
{
	struct mk_blobs *all = mk_new(struct mk_blobs);

	all->lanes = mk_lanes_new(THREADS);
	pthread_mutex_init(&all->lock, NULL);
	return all;
}

void mk_blobs_free(struct mk_blobs *all)
{
	if (!all)
		return;
	pthread_mutex_lock(&all->lock);
	for (struct blob *blob = all->first; blob; blob = blob->next) {
		pthread_mutex_lock(&blob->lock);
		if (blob->stream)
			mk_call_cancel(&blob->stream->call);
		pthread_mutex_unlock(&blob->lock);
	}
	pthread_mutex_unlock(&all->lock);
	mk_lanes_free(all->lanes);
	pthread_mutex_destroy(&all->lock);
	free(all);
}

/* --- open ones ----------------------------------------------------------------------------- */

/* Who has it open keeps what is there; what is missing never comes. Under the lock. */
static void retire(struct blob *blob)
{
	blob->stale = true;
	mk_blob_disk_retire(&blob->disk);
}

/* After bytes have come, now and then. */
static void trim(struct blob *blob, int64_t came)
{
	if (atomic_fetch_sub(&blob->all->until_trim, came) - came > 0)
		return;
	atomic_store(&blob->all->until_trim, blob->limit / 16 < TRIM ? blob->limit / 16 : TRIM);
	mk_blob_disk_trim(&blob->disk, blob->limit);
}

static void blob_free(struct blob *blob)
{
	if (blob->fetched) {
		mk_blob_disk_let_go(&blob->disk); /* it may go, too */
		trim(blob, 0);
	}
	if (blob->source.drop)
		blob->source.drop(blob->source.arg);
	mk_blob_disk_close(&blob->disk);
	free(blob->identity);
	free(blob->label);
	free(blob->remote);
	free(blob->error.text);
	pthread_mutex_destroy(&blob->lock);
	pthread_cond_destroy(&blob->moved);
	free(blob);
}

static void blob_unref(struct blob *blob)
{
	struct mk_blobs *all = blob->all;

	pthread_mutex_lock(&all->lock);

	bool last = atomic_fetch_sub(&blob->refs, 1) == 1;

	for (struct blob **at = &all->first; last && *at; at = &(*at)->next)
		if (*at == blob) {
			*at = blob->next;
			break;
		}
	pthread_mutex_unlock(&all->lock);
	if (last)
		blob_free(blob);
}

static struct blob *new_blob(struct mk_blobs *all, const struct mk_source *source)
{
	struct blob *blob = mk_new(struct blob);
	pthread_condattr_t monotonic;

	*blob = (struct blob){
		.all = all,
		.refs = 1,
		.identity = mk_strdup(source->identity),
		.label = mk_strdup(source->label),
		.remote = mk_strdup(source->remote),
		.source = *source,
		.disk = {.fd = -1, .size = source->size},
	};
	pthread_mutex_init(&blob->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&blob->moved, &monotonic);
	pthread_condattr_destroy(&monotonic);
	return blob;
}

static struct blob *find_open(struct mk_blobs *all, const struct mk_source *source)
{
	for (struct blob *blob = all->first; blob; blob = blob->next)
		if (strcmp(blob->identity, source->identity) == 0 && blob->disk.size == source->size &&
		    !blob->stale) {
			atomic_fetch_add(&blob->refs, 1);
			return blob;
		}
	return NULL;
}

static int discard(void *arg, const void *data, size_t len)
{
	(void)arg, (void)data, (void)len;
	return -ECANCELED;
}

/* Has the source still what is here? 0: yes, or it does not answer; -ESTALE: no, and the blob is
 * retired; MK_PUNT. */
static int renew(struct mk_call *call, struct blob *blob, int64_t good_since)
{
	_cleanup_free_ char *etag = NULL;
	int64_t now = mk_now_real(), total = -1;

	pthread_mutex_lock(&blob->lock);

	bool good = blob->disk.missing == mk_blob_disk_blocks(&blob->disk) ||
		    blob->disk.asked >= good_since;

	if (*blob->disk.etag)
		etag = mk_strdup(blob->disk.etag);
	pthread_mutex_unlock(&blob->lock);
	if (good)
		return 0;

	int r = mk_call_may_wait(call, blob->remote);

	if (r < 0)
		return r;
	r = blob->source.fetch(call, blob->source.arg, 0, 1, &etag, discard, NULL, &total);
	if (r == -ECANCELED)
		r = 0;
	if (r >= 0 && total >= 0 && total != blob->disk.size)
		r = -ESTALE;
	pthread_mutex_lock(&blob->lock);
	if (r == -ESTALE) {
		retire(blob);
	} else if (r >= 0) {
		mk_blob_disk_note_version(&blob->disk, now, NULL);
	}
	pthread_mutex_unlock(&blob->lock);
	if (r < 0 && r != -EINTR)
		mk_error_clear(call);
	return r == -ESTALE || r == -EINTR ? r : 0;
}

/* Found among those that are open, or opened. Takes the source's arg. */
static int get_blob(struct mk_call *call, struct mantik *m, const struct mk_source *source,
		    struct blob **ret)
{
	struct mk_blobs *all = m->blobs;
	int r = 0;

	pthread_mutex_lock(&all->lock);

	struct blob *blob = find_open(all, source);

	if (blob) {
		if (source->drop)
			source->drop(source->arg);
	} else {
		blob = new_blob(all, source);
		blob->limit = mantik_option_int(m, "cache_limit");
		r = mk_blob_disk_open(call, m, blob->identity, &blob->disk);
		if (r == 0) {
			blob->next = all->first;
			all->first = blob;
		}
	}
	pthread_mutex_unlock(&all->lock);
	if (r < 0)
		blob_free(blob);
	else
		*ret = blob;
	return r;
}

int mk_cached_open(struct mk_call *call, struct mantik *m, const struct mk_source *source,
		   struct mk_cached **ret)
{
	struct blob *blob;
	int r;

	if (source->size < 0) {
		if (source->drop)
			source->drop(source->arg);
		return mk_fail(call, EREMOTEIO, "%s: its size is not known", source->label);
	}
	r = get_blob(call, m, source, &blob);
	if (r < 0)
		return r;
	r = renew(call, blob, source->good_since);
	if (r == -ESTALE)
		(void)mk_fail(call, ESTALE, "%s: has changed", source->label);
	if (r < 0) {
		blob_unref(blob);
		return r;
	}
	*ret = mk_new(struct mk_cached);
	(*ret)->blob = blob;
	return 0;
}

void mk_cached_close(struct mk_cached *cached)
{
	if (!cached)
		return;
	blob_unref(cached->blob);
	free(cached);
}

int64_t mk_cached_size(const struct mk_cached *cached)
{
	return cached->blob->disk.size;
}

bool mk_cached_whole(struct mk_cached *cached)
{
	struct blob *blob = cached->blob;

	pthread_mutex_lock(&blob->lock);

	bool whole = blob->disk.missing == 0;

	pthread_mutex_unlock(&blob->lock);
	return whole;
}

/* --- a stream ------------------------------------------------------------------------------ */

/* Nobody wants what comes: then it is not worth coming. */
static bool unwanted(struct stream *stream)
{
	struct blob *blob = stream->blob;

	return !blob->waiting && stream->at > blob->last_read + AHEAD &&
	       mk_now_mono() - blob->last_waited > lonely;
}

/* With the first block, so that no other version's is ever put beside it. Under the lock. */
static void note_version(struct blob *blob, const char *etag)
{
	if (!*blob->disk.etag && etag)
		mk_blob_disk_note_version(&blob->disk, 0, etag);
}

/* Sets ->missing right and wakes who waits; the block's bytes are on disk. */
static int put_block(struct stream *stream)
{
	struct blob *blob = stream->blob;
	int64_t block = stream->at / MK_BLOCK - (stream->at % MK_BLOCK == 0);
	int r = mk_blob_disk_write(&stream->call, &blob->disk, blob->label, block, stream->fill,
				   stream->filled);

	if (r < 0)
		return r;
	stream->filled = 0;
	pthread_mutex_lock(&blob->lock);
	note_version(blob, stream->etag);
	mk_blob_disk_note(&blob->disk, block);
	blob->fetched = true;
	pthread_cond_broadcast(&blob->moved);

	bool stop = unwanted(stream);

	pthread_mutex_unlock(&blob->lock);
	trim(blob, MK_BLOCK);
	return stop ? -ECANCELED : 0;
}

static int take(void *arg, const void *data, size_t len)
{
	struct stream *stream = arg;
	const char *from = data;

	while (len) {
		size_t room = MK_BLOCK - stream->filled, n = len < room ? len : room;

		if (stream->at + (int64_t)n > stream->blob->disk.size)
			return mk_fail(&stream->call, ESTALE, "%s: has become longer", stream->blob->label);
		memcpy(stream->fill + stream->filled, from, n);
		stream->filled += n;
		stream->at += (int64_t)n;
		from += n;
		len -= n;
		if (stream->filled == MK_BLOCK || stream->at == stream->blob->disk.size) {
			int r = put_block(stream);

			if (r < 0)
				return r;
		}
	}
	return 0;
}

static int fetch(struct stream *stream)
{
	struct blob *blob = stream->blob;
	int64_t total = -1, len = stream->end >= blob->disk.size ? -1 : stream->end - stream->begin;

	pthread_mutex_lock(&blob->lock);
	if (*blob->disk.etag)
		stream->etag = mk_strdup(blob->disk.etag);
	pthread_mutex_unlock(&blob->lock);

	int r = blob->source.fetch(&stream->call, blob->source.arg, stream->begin, len, &stream->etag, take,
				   stream, &total);

	if (r == -ECANCELED)
		return 0;
	if (r >= 0 && total >= 0 && total != blob->disk.size)
		r = mk_fail(&stream->call, ESTALE, "%s: has %lld bytes now, not %lld", blob->label,
			    (long long)total, (long long)blob->disk.size);
	if (r >= 0 && stream->at < stream->end)
		r = mk_fail(&stream->call, EIO, "%s: only %lld of %lld bytes came", blob->label,
			    (long long)stream->at, (long long)stream->end);
	return r < 0 ? r : 0;
}

static void run(struct mk_lane_work *work)
{
	struct stream *stream = (struct stream *)work;
	struct blob *blob = stream->blob;
	int r = fetch(stream);

	pthread_mutex_lock(&blob->lock);
	blob->stream = NULL;
	blob->ended = stream->at - (int64_t)stream->filled; /* whole blocks */
	blob->walked += blob->ended - stream->begin;
	free(mk_steal(&blob->error.text));
	blob->error.code = 0;
	if (r < 0 && r != -EINTR) { /* cancelled for another one: no fault of the remote's */
		blob->error.code = -r;
		blob->error.text = mk_strdup(stream->call.error.text ? stream->call.error.text
								     : strerror(-r));
	}
	if (r == -ESTALE)
		retire(blob);
	if (r == 0)
		mk_blob_disk_note_version(&blob->disk, stream->begun, NULL);
	pthread_cond_broadcast(&blob->moved);
	pthread_mutex_unlock(&blob->lock);
	mk_call_done(&stream->call);
	free(stream->etag);
	free(stream->fill);
	free(stream);
	blob_unref(blob);
}

/* Under the lock. From the block, as far as it pays. */
static int begin(struct mk_call *call, struct blob *blob, int64_t block, int64_t offset, int64_t len)
{
	struct stream *stream = mk_new(struct stream);
	int64_t begin = block * MK_BLOCK, want = offset + len - begin, size = blob->disk.size;
	bool reads_on = begin == blob->ended || (offset <= blob->last_read + MK_BLOCK &&
						 offset + len >= blob->last_read);

	if (!reads_on)
		blob->walked = 0;
	if (reads_on && !blob->walked && size - begin <= SMALL)
		size = SMALL;
	else if (blob->walked < GAIT)
		size = blob->walked ? GAIT : JUMP;
	stream->work.run = run;
	stream->blob = blob;
	stream->begin = begin;
	stream->at = begin;
	stream->begun = mk_now_real();
	stream->need = offset + len;
	stream->end = begin + (want > size ? want : size);
	if (stream->end > blob->disk.size)
		stream->end = blob->disk.size;
	stream->end += -stream->end % MK_BLOCK + (stream->end % MK_BLOCK ? MK_BLOCK : 0);
	if (stream->end > blob->disk.size)
		stream->end = blob->disk.size;
	stream->fill = mk_alloc(MK_BLOCK);
	mk_call_init(&stream->call);
	atomic_fetch_add(&blob->refs, 1);
	blob->stream = stream;

	int r = mk_lane_run(blob->all->lanes, blob->remote, &stream->work);

	if (r == 0)
		return 0;
	blob->stream = NULL;
	mk_call_done(&stream->call);
	free(stream->etag);
	free(stream->fill);
	free(stream);
	atomic_fetch_sub(&blob->refs, 1); /* the reader has another */
	return mk_fail(call, EAGAIN, "%s: no thread can be started to fetch it", blob->label);
}

/* --- reading ------------------------------------------------------------------------------- */

static void sleep_on(struct blob *blob)
{
	struct timespec until;
	int64_t t = mk_now_mono() + 100 * MK_MS;

	until = (struct timespec){t / MK_SEC, t % MK_SEC};
	(void)pthread_cond_timedwait(&blob->moved, &blob->lock, &until);
}

/* Under the lock: until the blocks are there. */
static int await(struct mk_call *call, struct blob *blob, int64_t offset, int64_t len)
{
	bool tried = false;
	int64_t block;

	while (!mk_blob_disk_has(&blob->disk, offset, len, &block)) {
		int r = mk_call_check(call, blob->label);

		if (r == 0 && blob->stale)
			r = mk_fail(call, ESTALE, "%s: changed while it was read", blob->label);
		if (r == 0 && !blob->stream && tried && blob->error.code)
			r = mk_fail(call, blob->error.code, "%s", blob->error.text);
		if (r < 0)
			return r;

		const struct stream *stream = blob->stream;
		/* In its range, or right behind it. */
		bool comes = stream && block * MK_BLOCK >= stream->begin &&
			     block * MK_BLOCK <= stream->end &&
			     block * MK_BLOCK + MK_BLOCK >= stream->at &&
			     block * MK_BLOCK <= stream->at + AHEAD;

		if (!stream) {
			r = begin(call, blob, block, offset, len);
			if (r < 0)
				return r;
		} else if (!comes && (stream->at >= stream->need || blob->waiting == 1)) {
			/* It is elsewhere, and nobody waits for the rest of it as we do. */
			mk_call_cancel(&blob->stream->call);
		}
		tried = true;
		blob->last_waited = mk_now_mono();
		sleep_on(blob);
	}
	return 0;
}

ssize_t mk_cached_read(struct mk_call *call, struct mk_cached *cached, void *buf, size_t len,
		       int64_t offset)
{
	struct blob *blob = cached->blob;
	int64_t block;
	int r = 0;

	if (offset >= blob->disk.size)
		return 0;
	if ((uint64_t)len > (uint64_t)(blob->disk.size - offset))
		len = (size_t)(blob->disk.size - offset);
	pthread_mutex_lock(&blob->lock);
	if (!mk_blob_disk_has(&blob->disk, offset, (int64_t)len, &block)) {
		r = mk_call_may_wait(call, blob->remote);
		if (r == 0) {
			blob->waiting++;
			r = await(call, blob, offset, (int64_t)len);
			blob->waiting--;
		}
	}
	if (r == 0)
		blob->last_read = offset + (int64_t)len;
	pthread_mutex_unlock(&blob->lock);
	if (r == 0)
		r = mk_blob_disk_read(call, &blob->disk, blob->label, buf, len, offset);
	return r < 0 ? r : (ssize_t)len;
}
