/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing whole texts: specs into `new`, words into `ctl`, editable files.
 *
 *	open   the text is staged: empty, or the present one to be changed
 *	write  changes the staged text; nobody else sees it
 *	flush  of the opener's thread group, not killed, something written: commit. Another
 *	       process's flush (a child of the shell's `{ a; b; } > f`) waits for the opener's
 *	release  commits what no flush of the opener's saw, unless the writer was killed
 *
 * A refusal throws the staged text away; what was there before is still there. An order (FS_ORDER)
 * is answered: on the handle itself, and to whoever reads the file later in the same session.
 * No lock is held while the verb runs: `busy` keeps a second commit of one handle away.
 */
#include "row.h"

#include <fcntl.h>

#include <mantik/outbox.h>

static void record(struct fs_at *at)
{
	_cleanup_free_ char *path = fs_node_path(at->tree, at->node);

	fs_record_error(at->tree, path, &at->call->error);
}

/* What a ctl says then; the same whether the answer came or not. */
static int wait_for_store(struct fs_at *at, struct mk_buf *answer)
{
	int r = mk_outbox_wait(at->call, at->m);

	if (r == 0 && at->row->flags & FS_ORDER && !answer->len)
		(void)mk_buf_puts(answer, "done\n");
	return r;
}

int fs_commit_text(struct fs_at *at, const char *text, size_t len, uint64_t seen,
		   struct mk_buf *answer)
{
	struct fs_commit commit = {.text = text, .len = len, .seen = seen, .answer = answer};
	int r = fs_may_write(at->call, at->tree);

	if (r < 0)
		return r;
	if (mk_outbox_waits(at->call)) /* done in an earlier run: only the store's answer is missing */
		return wait_for_store(at, answer);
	if (at->row->flags & FS_ORDER && fs_answer_is(at, text, len))
		return fs_answer_get(at, answer);
	r = at->row->commit(at, &commit);
	return r < 0 ? r : wait_for_store(at, answer);
}

int fs_commit_open(struct fs_at *at, struct fs_handle *handle)
{
	struct fs_stat st = {};
	uint64_t was;
	int r;

	if (at->row->flags & FS_ORDER || (handle->flags & O_ACCMODE) == O_RDONLY)
		return 0;

	bool away = fs_away_take(at->tree, at->ino, &was);

	r = at->row->stat ? at->row->stat(at, &st) : 0;
	if (r == -ENOENT) { /* created: a tag or parameter on its way */
		mk_error_clear(at->call);
		return 0;
	}
	if (r < 0)
		return r;
	if (st.mode && !(st.mode & 0222))
		return mk_fail(at->call, EROFS, "%s is its tracking server's: it is only read here",
			       fs_at_title(at));
	/* What this process has read last, else what is there now: it overwrites no other. */
	handle->seen = away ? was : fs_reader_seen(at);
	if (!handle->seen)
		handle->seen = st.generation;
	if (handle->flags & O_TRUNC || away) {
		handle->truncated = true;
		return 0;
	}
	r = at->row->show(at, &handle->staged);
	if (r < 0)
		return r;
	handle->loaded = true;
	return 0;
}

/* The staged text leaves the handle for the time of the commit. false: nothing to do, or another
 * thread is at it (*ret_busy). */
static bool take(struct fs_handle *handle, struct mk_buf *text, bool *ret_busy)
{
	bool taken = false;

	pthread_mutex_lock(&handle->lock);
	*ret_busy = handle->busy;
	if (!handle->busy) {
		if (mk_buf_put(text, handle->staged.data, handle->staged.len) == 0) {
			handle->busy = true;
			taken = true;
		}
	}
	pthread_mutex_unlock(&handle->lock);
	return taken;
}

static void give_answer(struct fs_at *at, struct fs_handle *handle, const char *text)
{
	free(handle->answer);
	handle->answer = mk_strdup(text);
	handle->answer_read = false;
	fs_answer_put(at, text);
}

static int commit(struct fs_at *at, struct fs_handle *handle)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF(MK_LIMIT_TEXT), answer = MK_BUF(MK_LIMIT_TEXT);
	bool busy = false;
	int r;

	text.secret = at->row->flags & FS_SECRET;
	if (!take(handle, &text, &busy)) {
		if (!busy)
			return mk_fail(at->call, ENOMEM, "out of memory for the text");
		at->call->park.key = 0;
		at->call->park.until = mk_now_mono() + 20 * MK_MS;
		return MK_PARK;
	}
	r = fs_commit_text(at, mk_buf_text(&text), text.len, handle->seen, &answer);

	uint64_t generation = 0;

	if (r >= 0 && !(at->row->flags & FS_ORDER) && at->row->stat) {
		struct fs_stat st = {};

		if (at->row->stat(at, &st) == 0)
			generation = st.generation;
		else
			mk_error_clear(at->call);
		fs_reader_note(at, generation);
	}
	pthread_mutex_lock(&handle->lock);
	handle->busy = false;
	if (r == MK_PUNT || r == MK_PARK)
		goto out;
	handle->written = handle->truncated = handle->created = false;
	if (at->row->flags & FS_ORDER || r < 0)
		mk_buf_truncate(&handle->staged, 0);
	if (at->row->flags & FS_ORDER) {
		if (r < 0) {
			_cleanup_buf_ struct mk_buf why = MK_BUF(16 << 10);

			(void)mk_buf_printf(&why, "error: %s\n",
					    at->call->error.text ? at->call->error.text :
								   strerror(-r));
			give_answer(at, handle, mk_buf_text(&why));
		} else {
			give_answer(at, handle, mk_buf_text(&answer));
		}
	} else if (r >= 0) {
		handle->seen = generation;
	}
out:
	pthread_mutex_unlock(&handle->lock);
	return r;
}

/* Remembered for a close after an fsync or read that already told: editors look only at close. */
static int remember(struct fs_at *at, struct fs_handle *handle, int r)
{
	if (r >= 0 || r == MK_PUNT || r == MK_PARK)
		return r;
	pthread_mutex_lock(&handle->lock);
	handle->failed = r;
	free(handle->failed_text);
	handle->failed_text = mk_strdup(at->call->error.text);
	pthread_mutex_unlock(&handle->lock);
	return r;
}

/*
 * Is this close the last of its process? The kernel does not say which descriptor was closed: those
 * that are left are its own copies if there are more of them than other open files of this text.
 */
bool fs_is_last_close(struct fs_at *at, struct fs_handle *handle)
{
	int left = fs_who_writes(at), others = 0;

	fs_lock(at->tree);
	for (struct fs_handle *h = at->tree->writers; h; h = h->next_writer)
		others += h != handle && h->node == handle->node && h->opener == handle->opener &&
			  !h->closed;
	if (left <= others)
		handle->closed = true;
	fs_unlock(at->tree);
	return left <= others;
}

/* `touch params/x`: no value came, so there is none. Told at the close, which alone knows. */
static int made_nothing(struct fs_at *at, struct fs_handle *handle)
{
	if (!handle->created || at->row->remove || !fs_is_last_close(at, handle))
		return 0;
	return mk_fail(at->call, EINVAL,
		       "%s: a param or metric exists from its first value on and none was written: "
		       "nothing was made", at->name);
}

int fs_commit_flush(struct fs_at *at, struct fs_handle *handle, bool sync)
{
	pid_t group = fs_who_group(at->call);
	int r = 0;

	pthread_mutex_lock(&handle->lock);

	/* `touch tags/x` makes an empty tag; a param would keep it for ever. */
	bool made = handle->created && at->row->remove;
	bool written = handle->written || (made && !sync);

	if (!sync && group && handle->opener && group != handle->opener) {
		written = false; /* its own close is not the end of the text */
	} else if (written && fs_who_killed(at->call)) {
		handle->killed = true;
		written = false;
	} else if (written && !sync && !fs_is_last_close(at, handle)) {
		written = false; /* bash's dup2 in `{ a; b >&2; c; } > new` closes a copy */
	}
	if (!written && !sync && handle->failed && (!group || group == handle->opener)) {
		r = mk_fail(at->call, -handle->failed, "%s",
			    handle->failed_text ? handle->failed_text : "refused");
		handle->failed = 0;
	}

	bool none = !handle->written && !sync && (!group || group == handle->opener);

	pthread_mutex_unlock(&handle->lock);
	if (!written)
		return r < 0 || !none ? r : made_nothing(at, handle);
	r = commit(at, handle);
	return sync ? remember(at, handle, r) : r;
}

void fs_commit_release(struct fs_at *at, struct fs_handle *handle)
{
	bool order = at->row->flags & FS_ORDER;

	if (handle->killed) {
		(void)mk_fail(at->call, EINTR, "writer was killed, nothing %s",
			      order ? "submitted" : "saved");
		if (order)
			fs_answer_put(at, "error: writer was killed, nothing submitted\n");
		record(at);
		return;
	}
	if (handle->written ||
	    ((handle->truncated || (handle->created && at->row->remove)) && !order)) {
		int r = commit(at, handle);

		if (r < 0 && at->call->error.code)
			record(at);
	}
}

ssize_t fs_commit_read(struct fs_at *at, struct fs_handle *handle, void *buf, size_t len,
		       int64_t offset)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF(MK_LIMIT_TABLE);
	int64_t from = 0;
	int r = 0;

	pthread_mutex_lock(&handle->lock);

	bool written = handle->written;
	bool stored = at->row->flags & FS_SECRET && !written && !handle->truncated;

	text.secret = at->row->flags & FS_SECRET;
	if (!(at->row->flags & FS_ORDER) && !stored) /* its own staged text */
		r = mk_buf_put(&text, handle->staged.data, handle->staged.len);
	pthread_mutex_unlock(&handle->lock);
	if (r < 0)
		return mk_fail(at->call, -r, "out of memory");
	if (stored) { /* not even who wrote it reads a secret back */
		r = at->row->show(at, &text);
		if (r < 0)
			return r;
	}
	if (at->row->flags & FS_ORDER) {
		if (written) {
			r = remember(at, handle, commit(at, handle));
			if (r < 0)
				return r;
		}
		pthread_mutex_lock(&handle->lock);

		bool own = handle->answer;

		if (own) {
			/* The position is behind what was written: the answer begins there. */
			if (!handle->answer_read || offset < handle->answer_at)
				handle->answer_at = offset;
			handle->answer_read = true;
			from = handle->answer_at;
			(void)mk_buf_puts(&text, handle->answer);
		}
		pthread_mutex_unlock(&handle->lock);
		if (!own) {
			r = at->row->show(at, &text);
			if (r < 0)
				return r;
		}
	}
	if (offset - from >= (int64_t)text.len)
		return 0;
	if (len > text.len - (size_t)(offset - from))
		len = text.len - (size_t)(offset - from);
	memcpy(buf, mk_buf_text(&text) + (offset - from), len);
	return (ssize_t)len;
}

/* Puts data at an offset of the staged text. Lock held. */
static int stage(struct fs_handle *handle, const void *data, size_t len, size_t offset)
{
	struct mk_buf *staged = &handle->staged;
	size_t end = offset + len;

	while (staged->len < offset) {
		int r = mk_buf_putc(staged, 0);

		if (r < 0)
			return r;
	}
	if (end > staged->len) {
		size_t old = staged->len;

		if (!mk_buf_room(staged, end - old))
			return mk_buf_check(staged);
		staged->len = end;
	}
	memcpy(staged->data + offset, data, len);
	staged->data[staged->len] = 0;
	return 0;
}

/* A refused write: what was staged is half a text and is never committed. Whatever is written to
 * this handle later, and its close, is told the same reason again. */
static int spoil(struct fs_at *at, struct fs_handle *handle, int r)
{
	pthread_mutex_lock(&handle->lock);
	handle->spoiled = r;
	free(handle->spoiled_text);
	handle->spoiled_text = mk_strdup(at->call->error.text);
	handle->written = handle->truncated = handle->created = false;
	mk_buf_truncate(&handle->staged, 0);
	pthread_mutex_unlock(&handle->lock);
	if (at->row->flags & FS_ORDER)
		fs_answer_refused(at);
	return remember(at, handle, r);
}

ssize_t fs_commit_write(struct fs_at *at, struct fs_handle *handle, const void *data, size_t len,
			int64_t offset)
{
	bool order = at->row->flags & FS_ORDER;
	int r = 0;

	if (!len)
		return 0;
	if (offset < 0)
		return mk_fail(at->call, EINVAL, "%s: bad offset", at->name);
	if (order && memchr(data, 0, len)) {
		r = mk_fail(at->call, EINVAL, "%s: holds a NUL byte, which no text does", fs_at_title(at));
		return spoil(at, handle, r);
	}
	pthread_mutex_lock(&handle->lock);
	if (handle->spoiled) {
		r = mk_fail(at->call, -handle->spoiled, "%s",
			    handle->spoiled_text ? handle->spoiled_text : "refused");
		pthread_mutex_unlock(&handle->lock);
		return remember(at, handle, r);
	}

	size_t old = handle->staged.len;
	bool was_written = handle->written;

	/* An order has nothing before it: it is written from where the writer happens to be. */
	if (order && (!handle->written || handle->flags & O_APPEND)) {
		handle->answer_at = handle->flags & O_APPEND ? 0 : offset;
		offset = (int64_t)handle->staged.len;
	} else if (order) {
		offset -= handle->answer_at;
	}
	if (offset < 0 || (uint64_t)offset + len > MK_LIMIT_TEXT) {
		r = -EFBIG;
	} else {
		r = stage(handle, data, len, (size_t)offset);
		if (r < 0) {
			handle->staged.error = 0;
			mk_buf_truncate(&handle->staged, old);
		} else {
			handle->written = true;
			handle->failed = 0;
		}
	}

	bool now = r == 0 && at->row->flags & FS_LINE && handle->staged.len &&
		   handle->staged.data[handle->staged.len - 1] == '\n';

	pthread_mutex_unlock(&handle->lock);
	if (r < 0) {
		r = mk_fail(at->call, -r, "%s: a text has at most 1 MiB", fs_at_title(at));
		return spoil(at, handle, r);
	}
	if (now) {
		/* Done in write(2), whose error every program shows; bash loses that of close. */
		r = commit(at, handle);
		if (r == MK_PUNT || r == MK_PARK) {
			pthread_mutex_lock(&handle->lock);
			mk_buf_truncate(&handle->staged, old); /* the write is run again */
			handle->written = was_written;
			pthread_mutex_unlock(&handle->lock);
		}
		if (r < 0)
			return r;
	}
	return (ssize_t)len;
}

int fs_commit_resize(struct fs_at *at, struct fs_handle *handle, int64_t size)
{
	int r = 0;

	if (size < 0 || size > MK_LIMIT_TEXT)
		return mk_fail(at->call, EFBIG, "%s: a text has at most 1 MiB", fs_at_title(at));
	if (at->row->flags & FS_ORDER)
		return 0;
	pthread_mutex_lock(&handle->lock);
	if ((size_t)size < handle->staged.len) {
		mk_buf_truncate(&handle->staged, (size_t)size);
		handle->written = true; /* said explicitly, unlike O_TRUNC: truncate(1) */
	}
	while (handle->staged.len < (size_t)size && r == 0) {
		r = mk_buf_putc(&handle->staged, 0);
		handle->written = true;
	}
	pthread_mutex_unlock(&handle->lock);
	return r < 0 ? mk_fail(at->call, -r, "%s: out of memory", at->name) : 0;
}

/* --- append: metrics ----------------------------------------------------------------------- */

enum { LINE_LIMIT = 4096 };

/* Every write(2) is one transaction of its whole lines; what follows the last newline waits for
 * the rest of its line. On an error nothing of this write was taken. */
ssize_t fs_append_write(struct fs_at *at, struct fs_handle *handle, const void *data, size_t len)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF(4 << 20);
	const char *last = memrchr(data, '\n', len);
	size_t whole = last ? (size_t)(last + 1 - (const char *)data) : 0;
	int r;

	if (len - whole > LINE_LIMIT)
		return mk_fail(at->call, EINVAL, "%s: a line of over %d bytes is no value", at->name,
			       LINE_LIMIT);
	pthread_mutex_lock(&handle->lock);
	r = handle->busy ? -EBUSY : mk_buf_put(&text, handle->staged.data, handle->staged.len);
	if (r == 0)
		handle->busy = true;
	pthread_mutex_unlock(&handle->lock);
	if (r < 0)
		return mk_fail(at->call, -r, "%s: two writers on one descriptor", at->name);
	if (mk_buf_put(&text, data, len) < 0)
		r = mk_fail(at->call, EFBIG, "%s: too much in one write", at->name);
	else if (!whole && text.len > LINE_LIMIT)
		r = mk_fail(at->call, EINVAL, "%s: a line of over %d bytes is no value", at->name,
			    LINE_LIMIT);
	else if (whole)
		r = at->row->append(at, mk_buf_text(&text), text.len - (len - whole));
	pthread_mutex_lock(&handle->lock);
	handle->busy = false;
	if (r >= 0) {
		size_t rest = whole ? len - whole : text.len;

		handle->created = false;
		mk_buf_truncate(&handle->staged, 0);
		(void)mk_buf_put(&handle->staged, mk_buf_text(&text) + text.len - rest, rest);
	}
	pthread_mutex_unlock(&handle->lock);
	return r < 0 ? r : (ssize_t)len;
}

/* The line that has no end yet is judged as it is. */
static int append_rest(struct fs_at *at, struct fs_handle *handle)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF(LINE_LIMIT + 1);
	int r;

	pthread_mutex_lock(&handle->lock);

	bool none = !handle->staged.len || handle->busy;

	if (!none)
		(void)mk_buf_put(&text, handle->staged.data, handle->staged.len);
	pthread_mutex_unlock(&handle->lock);
	if (none)
		return 0;
	r = at->row->append(at, mk_buf_text(&text), text.len);
	if (r == MK_PUNT || r == MK_PARK)
		return r;
	pthread_mutex_lock(&handle->lock);
	mk_buf_truncate(&handle->staged, 0);
	pthread_mutex_unlock(&handle->lock);
	return r < 0 ? r : 0;
}

int fs_append_flush(struct fs_at *at, struct fs_handle *handle)
{
	pid_t group = fs_who_group(at->call);

	if (group && handle->opener && group != handle->opener)
		return 0;
	if (handle->staged.len && fs_who_killed(at->call)) {
		pthread_mutex_lock(&handle->lock);
		handle->killed = true;
		pthread_mutex_unlock(&handle->lock);
		return 0;
	}
	if (handle->created)
		return made_nothing(at, handle);
	return append_rest(at, handle);
}

void fs_append_release(struct fs_at *at, struct fs_handle *handle)
{
	if (!handle->killed && append_rest(at, handle) < 0)
		record(at);
}
