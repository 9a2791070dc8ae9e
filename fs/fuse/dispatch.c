/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The funnel: everything the kernel asks passes here and is checked, counted, traced, run, answered
 * and, when it fails, recorded, once. A worker of libfuse runs the verb inline and never waits
 * (call.may_wait is NULL). What has to wait is run again from its beginning, either in the lane of
 * the remote it named (MK_PUNT) or, holding no thread meanwhile, after an event (MK_PARK).
 */
#include "op.h"

#include <mantik/trace.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_PUNTS = 16, BUFFER_STEP = 128 << 10 };

const char INLINE_LANE[] = "(inline)";

/* --- buffers --------------------------------------------------------------------------------- */

struct buffer {
	char *data;
	size_t len;
};

static pthread_key_t buffer_key;

static void free_buffer(void *arg)
{
	struct buffer *buffer = arg;

	free(buffer->data);
	free(buffer);
}

static void make_buffer_key(void)
{
	if (pthread_key_create(&buffer_key, free_buffer))
		abort();
}

char *thread_buffer(size_t len)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, make_buffer_key);

	struct buffer *buffer = pthread_getspecific(buffer_key);

	if (!buffer) {
		buffer = mk_new(struct buffer);
		pthread_setspecific(buffer_key, buffer);
	}
	if (buffer->len < len) {
		size_t rounded = (len + BUFFER_STEP - 1) / BUFFER_STEP * BUFFER_STEP;
		char *data = malloc(rounded);

		if (!data)
			return NULL;
		free(buffer->data);
		*buffer = (struct buffer){data, rounded};
	}
	return buffer->data;
}

/* --- open files ------------------------------------------------------------------------------ */

struct file *file_new(struct mount *mount, struct fs_handle *handle, struct fs_node *node)
{
	struct file *file = mk_new(struct file);

	*file = (struct file){mount, handle, node, 1};
	pthread_mutex_lock(&mount->files_lock);
	file->next = mount->files;
	if (file->next)
		file->next->prev = file;
	mount->files = file;
	pthread_mutex_unlock(&mount->files_lock);
	return file;
}

void file_ref(struct file *file)
{
	atomic_fetch_add(&file->refs, 1);
}

struct release {
	struct mk_lane_work work; /* first */
	struct file *file;
};

static void unlist_file(struct file *file)
{
	struct mount *mount = file->mount;

	pthread_mutex_lock(&mount->files_lock);
	if (file->prev)
		file->prev->next = file->next;
	else
		mount->files = file->next;
	if (file->next)
		file->next->prev = file->prev;
	pthread_mutex_unlock(&mount->files_lock);
}

static void release_now(struct file *file, const char *may_wait)
{
	struct mount *mount = file->mount;
	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);
	call.pid = call.tgid = 0;
	call.may_wait = may_wait;
	fs_release(&call, mount->tree, file->handle);
	unlist_file(file);
	free(file);
	atomic_fetch_sub(&mount->busy, 1);
}

static void run_release(struct mk_lane_work *work)
{
	struct release *release = (struct release *)work;

	release_now(release->file, MK_ANY);
	free(release);
}

void file_unref(struct file *file)
{
	if (atomic_fetch_sub(&file->refs, 1) != 1)
		return;
	atomic_fetch_add(&file->mount->busy, 1);
	if (!fs_release_may_wait(file->handle)) {
		release_now(file, NULL);
		return;
	}

	struct release *release = mk_new(struct release);

	release->work.run = run_release;
	release->file = file;
	if (mk_lane_run(file->mount->lanes, "(release)", &release->work) < 0)
		run_release(&release->work); /* no thread to be had: better late than never */
}

/* --- ops ------------------------------------------------------------------------------------- */

static void run_in_lane(struct mk_lane_work *work);

struct op *op_new(struct mount *mount, fuse_req_t req, const struct verb *verb)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct op *op = mk_new(struct op);

	mk_call_init(&op->call);
	op->call.uid = ctx->uid;
	op->call.gid = ctx->gid;
	op->call.pid = ctx->pid;
	op->call.tgid = 0;
	op->call.may_wait = NULL;
	op->call.number = atomic_fetch_add(&mount->number, 1) + 1;
	op->work.run = run_in_lane;
	op->mount = mount;
	op->verb = verb;
	op->req = req;
	op->refs = 1;
	op->arrived = mk_now_mono();
	if (verb->flags & VERB_META)
		op->call.deadline = op->arrived + mount->metadata_timeout;
	atomic_fetch_add(&mount->busy, 1);
	fs_count(mount->tree, verb->count);
	return op;
}

void op_unref(struct op *op)
{
	if (atomic_fetch_sub(&op->refs, 1) != 1)
		return;

	struct mount *mount = op->mount;

	if (op->file)
		file_unref(op->file);
	mk_buf_free(&op->text);
	mk_call_done(&op->call);
	free(op->own);
	free(op);
	atomic_fetch_sub(&mount->busy, 1);
}

/* Copies what belongs to libfuse's buffer, which is used again when the worker returns. */
static int own_arguments(struct op *op)
{
	size_t name = op->name ? strlen(op->name) + 1 : 0;
	size_t new_name = op->new_name ? strlen(op->new_name) + 1 : 0;
	size_t data = op->data ? op->len : 0;

	if (op->own || !(name + new_name + data))
		return 0;

	char *own = malloc(name + new_name + data);

	if (!own)
		return mk_fail(&op->call, ENOMEM, "out of memory");
	op->own = own;
	if (op->name)
		op->name = memcpy(own, op->name, name);
	if (op->new_name)
		op->new_name = memcpy(own + name, op->new_name, new_name);
	if (op->data)
		op->data = memcpy(own + name + new_name, op->data, data);
	return 0;
}

/* --- answers --------------------------------------------------------------------------------- */

/* Everyday answers that nobody asks about later: verb (-1: any) and errno. */
static const struct quiet {
	int count;
	int error;
} quiets[] = {
	{-1, EINTR},
	{-1, ENOSYS},
	{-1, ENODATA},
	{FS_OP_LOOKUP, ENOENT},
	{FS_OP_GETATTR, ENOENT},
	{FS_OP_UNLINK, ENOENT},
	{FS_OP_RMDIR, ENOENT},
	{FS_OP_RENAME, ENOENT},
	{FS_OP_ACCESS, EACCES},
	{FS_OP_ACCESS, EROFS},
	{FS_OP_CREATE, EEXIST},
	{FS_OP_MKDIR, EEXIST},
	{FS_OP_SYMLINK, EEXIST},
	{FS_OP_READLINK, EINVAL},
};

static bool is_quiet(const struct op *op, int error)
{
	for (size_t i = 0; i < sizeof(quiets) / sizeof(*quiets); i++)
		if (quiets[i].error == error &&
		    (quiets[i].count < 0 || quiets[i].count == (int)op->verb->count))
			return true;
	return false;
}

static char *op_path(struct op *op)
{
	struct fs_node *node = op->file ? op->file->node : op->node;
	char *folder = node ? fs_node_path(op->mount->tree, node) : mk_strdup("");
	struct mk_buf path = MK_BUF(1 << 16);

	if (!op->name)
		return folder;
	(void)mk_buf_puts(&path, folder && strcmp(folder, "/") != 0 ? folder : "");
	(void)mk_buf_putc(&path, '/');
	(void)mk_buf_puts(&path, op->name);
	free(folder);
	return mk_buf_steal(&path);
}

static void trace(struct op *op, int r)
{
	if (!mk_tracing(MK_TRACE_FUSE))
		return;

	_cleanup_free_ char *path = op_path(op);

	trace_op(op, r, path);
}

static void record(struct op *op, int r, struct mk_error *error)
{
	enum flood flood = flood_look(op->mount, op, -r);
	_cleanup_free_ char *path = flood == FLOOD_HIDE ? NULL : op_path(op);
	_cleanup_buf_ struct mk_buf text = MK_BUF(16 << 10);
	struct mk_error shown = {.code = -r, .text = strerror(-r), .origin = __FILE__};

	if (flood == FLOOD_HIDE)
		return;
	if (error->code == -r && error->text)
		shown = *error;
	if (flood == FLOOD_LAST &&
	    mk_buf_printf(&text, "%s (what else this process is refused to remove is not listed)",
			  shown.text) == 0)
		shown.text = (char *)mk_buf_text(&text);
	fs_record_error(op->mount->tree, path, &shown);
}

void op_reply_error(struct op *op, int r, struct mk_error *error)
{
	/* Codes the kernel would not take, or that mean something else to it, are our own bugs. */
	if (r >= 0 || r <= -512) {
		error->code = 0;
		r = -EIO;
	}
	trace(op, r);
	if (!is_quiet(op, -r))
		record(op, r, error);
	(void)fuse_reply_err(op->req, -r);
}

/* The end of a run: answers, unless the sweeper has done so. Gives back the runner's reference. */
static void answer_now(struct op *op, int r)
{
	if (op->listed) {
		if (!sweeper_claim(op->mount->sweeper, op)) {
			if (r >= 0 && op->verb->undo)
				op->verb->undo(op);
			sweeper_late_done(op->mount->sweeper);
			return;
		}
		/* Waits for a callback that runs, so that none comes when op is gone. */
		fuse_req_interrupt_func(op->req, NULL, NULL);
		if (r == -EINTR && op->timed_out && !op->interrupted)
			r = mk_fail(&op->call, ETIMEDOUT, "no answer in time from %s", op->lane);
	}
	if (r < 0) {
		op_reply_error(op, r, &op->call.error);
	} else {
		trace(op, r);
		if (op->verb->reply(op) < 0 && op->verb->undo)
			op->verb->undo(op);
	}
}

/* Counted, because libfuse closes /dev/fuse when it unmounts: a reply that is on its way then would
 * be written to whatever has that number by that time. */
static void answer(struct op *op, int r)
{
	struct mount *mount = op->mount;

	atomic_fetch_add(&mount->answering, 1);
	answer_now(op, r);
	atomic_fetch_sub(&mount->answering, 1);
	op_unref(op);
}

/* --- running --------------------------------------------------------------------------------- */

/* Called with libfuse's lock of the request held: sets a flag and wakes. */
static void on_interrupt(fuse_req_t req, void *arg)
{
	struct op *op = arg;

	(void)req;
	fs_count(op->mount->tree, FS_OP_INTERRUPT);
	atomic_store(&op->interrupted, true);
	sweeper_interrupt(op->mount->sweeper);
}

static void to_lane(struct op *op)
{
	int r = own_arguments(op);

	if (r == 0 && op->punts >= MOST_PUNTS)
		r = mk_fail(&op->call, EIO, "BUG: %s wants %s again and again", op->verb->name,
			    op->call.punt);
	if (r < 0) {
		answer(op, r);
		return;
	}
	if (!op->listed)
		fuse_req_interrupt_func(op->req, on_interrupt, op);
	if (sweeper_queued(op->mount->sweeper, op, op->call.punt)) {
		op_queue(op);
	} else {
		sweeper_late_done(op->mount->sweeper);
		op_unref(op);
	}
}

static void park(struct op *op)
{
	int r = own_arguments(op);

	if (r < 0) {
		answer(op, r);
		return;
	}
	if (atomic_load(&op->call.cancelled) || /* it was run again to hear just that */
	    (op->call.deadline && mk_now_mono() >= op->call.deadline)) {
		answer(op, mk_call_check(&op->call, "what it waits for"));
		return;
	}
	if (!op->listed)
		fuse_req_interrupt_func(op->req, on_interrupt, op);
	if (!sweeper_parked(op->mount->sweeper, op)) {
		sweeper_late_done(op->mount->sweeper);
		op_unref(op);
	}
}

static void run(struct op *op, const char *may_wait)
{
	op->call.may_wait = may_wait;
	op->call.punt[0] = 0;
	op->call.park.key = 0;
	op->call.park.until = 0;
	mk_error_clear(&op->call);
	/* What was never parked does not pay for asking: parked with 0 it is run once more at once. */
	op->generation = op->listed ? mantik_generation(op->mount->m) : 0;

	int r = op->verb->run(op);

	if (r == MK_PUNT)
		to_lane(op);
	else if (r == MK_PARK)
		park(op);
	else
		answer(op, r);
}

static void run_in_lane(struct mk_lane_work *work)
{
	struct op *op = (struct op *)work;

	if (!sweeper_running(op->mount->sweeper, op)) {
		op_unref(op); /* answered while it was queued */
		return;
	}
	run(op, op->rerun ? NULL : op->lane);
}

void op_queue(struct op *op)
{
	const char *lane = op->rerun ? INLINE_LANE : op->lane;

	if (mk_lane_run(op->mount->lanes, lane, &op->work) == 0)
		return;
	if (!sweeper_running(op->mount->sweeper, op)) {
		op_unref(op);
		return;
	}
	answer(op, mk_fail(&op->call, EAGAIN, "no thread can be started to wait for %s", lane));
}

void op_dispatch(struct op *op)
{
	if (op->file)
		file_ref(op->file);
	run(op, NULL);
}
