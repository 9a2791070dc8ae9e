/* SPDX-License-Identifier: Apache-2.0 */
/* The context of one operation: waiting, cancelling, and the error that goes back. */
#include <mantik/call.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

#include <mantik/buf.h>

const char MK_ANY[] = "*";

enum { MAX_ERROR_TEXT = 4096, MAX_ERROR_DETAIL = 4096 };

static int64_t now(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (int64_t)ts.tv_sec * MK_SEC + ts.tv_nsec;
}

int64_t mk_now_mono(void)
{
	return now(CLOCK_MONOTONIC);
}

int64_t mk_now_real(void)
{
	return now(CLOCK_REALTIME);
}

void mk_call_init(struct mk_call *call)
{
	*call = (struct mk_call){
		.uid = getuid(),
		.gid = getgid(),
		.pid = getpid(),
		.tgid = getpid(),
		.may_wait = MK_ANY,
		.cancel_fd = -1,
	};
	pthread_mutex_init(&call->lock, NULL);
}

void mk_call_done(struct mk_call *call)
{
	mk_error_clear(call);
	mk_closep(&call->cancel_fd);
	pthread_mutex_destroy(&call->lock);
}

void mk_call_cancel(struct mk_call *call)
{
	/* Under the lock, so that a descriptor made at the same moment is written by one of us. */
	pthread_mutex_lock(&call->lock);
	atomic_store(&call->cancelled, true);
	if (call->cancel_fd >= 0)
		(void)eventfd_write(call->cancel_fd, 1);
	pthread_mutex_unlock(&call->lock);
}

int mk_call_cancel_fd(struct mk_call *call)
{
	pthread_mutex_lock(&call->lock);
	if (call->cancel_fd < 0)
		call->cancel_fd = eventfd(atomic_load(&call->cancelled), EFD_CLOEXEC | EFD_NONBLOCK);

	int fd = call->cancel_fd;

	pthread_mutex_unlock(&call->lock);
	return fd;
}

int mk_call_check(struct mk_call *call, const char *what)
{
	if (atomic_load(&call->cancelled))
		return mk_fail(call, EINTR, "interrupted while waiting for %s", what);
	if (call->deadline && mk_now_mono() >= call->deadline)
		return mk_fail(call, ETIMEDOUT, "no answer in time from %s", what);
	return 0;
}

int mk_call_left_ms(const struct mk_call *call, int most)
{
	if (!call->deadline)
		return most;

	int64_t left = call->deadline - mk_now_mono();

	if (left <= 0)
		return 0;
	left = (left + MK_MS - 1) / MK_MS;
	return left < most ? (int)left : most;
}

int mk_call_may_wait(struct mk_call *call, const char *remote)
{
	if (call->may_wait == MK_ANY)
		return 0;
	if (call->may_wait && strcmp(call->may_wait, remote) == 0)
		return 0;
	(void)snprintf(call->punt, sizeof(call->punt), "%s", remote);
	return MK_PUNT;
}

void mk_error_clear(struct mk_call *call)
{
	free(call->error.text);
	free(call->error.remote);
	free(call->error.detail);
	call->error = (struct mk_error){};
}

void mk_error_move(struct mk_call *to, struct mk_call *from)
{
	mk_error_clear(to);
	to->error = from->error;
	from->error = (struct mk_error){};
}

/* One line: what came from outside may hold anything. */
static void flatten(char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			*s = ' ';
}

int mk_fail_at(struct mk_call *call, const char *origin, int code, const char *fmt, ...)
{
	struct mk_buf text = MK_BUF(MAX_ERROR_TEXT);
	va_list ap;

	va_start(ap, fmt);
	if (mk_buf_vprintf(&text, fmt, ap) < 0 && !text.len) {
		text.error = 0;
		(void)mk_buf_puts(&text, strerror(code));
	}
	va_end(ap);
	mk_error_clear(call);
	call->error.code = code;
	call->error.origin = origin;
	call->error.text = mk_buf_steal(&text);
	flatten(call->error.text);
	return -code;
}

int mk_prefix(struct mk_call *call, int r, const char *fmt, ...)
{
	struct mk_buf text = MK_BUF(MAX_ERROR_TEXT);
	va_list ap;

	if (!call->error.text)
		return r;
	va_start(ap, fmt);
	(void)mk_buf_vprintf(&text, fmt, ap);
	va_end(ap);
	(void)mk_buf_puts(&text, ": ");
	(void)mk_buf_puts(&text, call->error.text);
	if (mk_buf_check(&text) < 0) { /* too long: the cause matters more */
		mk_buf_free(&text);
		return r;
	}
	free(call->error.text);
	call->error.text = mk_buf_steal(&text);
	flatten(call->error.text);
	return r;
}

void mk_error_detail(struct mk_call *call, const char *remote, int status, const char *detail)
{
	free(call->error.remote);
	free(call->error.detail);
	call->error.remote = mk_strdup(remote);
	call->error.status = status;
	call->error.detail = mk_strndup(detail, MAX_ERROR_DETAIL);
}
