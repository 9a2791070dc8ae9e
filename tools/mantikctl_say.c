/* SPDX-License-Identifier: Apache-2.0 */
/* What more than one command of mantikctl reads, prints, asks, waits for or starts. */
#include "ctl.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

extern char **environ;

enum { READ_CHUNK = 1 << 17 };

void ctl_json_text(struct mk_buf *buf, const char *text)
{
	if (!text) {
		mk_buf_puts(buf, "null");
		return;
	}
	mk_buf_putc(buf, '"');
	for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
		if (*c == '"' || *c == '\\')
			mk_buf_printf(buf, "\\%c", *c);
		else if (*c < 0x20 || *c == 0x7f)
			mk_buf_printf(buf, "\\u%04x", *c);
		else
			mk_buf_putc(buf, (char)*c);
	}
	mk_buf_putc(buf, '"');
}

void ctl_complain(struct ctl *ctl, int r)
{
	const struct mk_error *e = &ctl->call.error;

	if (e->text)
		fprintf(stderr, "mantikctl: %s\n", e->text);
	else
		fprintf(stderr, "mantikctl: %s\n", strerror(-r));
	if (e->detail && *e->detail)
		fprintf(stderr, "%s%s%s\n", e->remote ? e->remote : "", e->remote ? " said: " : "",
			e->detail);
}

bool ctl_confirm(const struct ctl *ctl, const char *fmt, ...)
{
	char answer[16] = "";
	va_list ap;

	if (ctl_option(ctl, "yes") || !isatty(STDIN_FILENO))
		return true;
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputs(" [y/N] ", stderr);
	return fgets(answer, sizeof(answer), stdin) && (*answer == 'y' || *answer == 'Y');
}

int ctl_print(struct ctl *ctl, const char *text, size_t len)
{
	if (fwrite(text, 1, len, stdout) != len || fflush(stdout) != 0)
		return mk_fail(&ctl->call, errno, "standard output: %s", strerror(errno));
	return 0;
}

int ctl_wait_change(struct ctl *ctl, uint64_t *generation, int ms)
{
	const int64_t until = mk_now_mono() + ms * MK_MS;

	mantik_keep(ctl->m);
	/* The generation costs no I/O, so that looking every 50 ms is cheaper than being told. */
	for (;;) {
		const uint64_t now = mantik_generation(ctl->m);
		struct pollfd fd = {.fd = mk_call_cancel_fd(&ctl->call), .events = POLLIN};
		int r = mk_call_check(&ctl->call, "a change");

		if (r < 0)
			return r;
		if (now != *generation || mk_now_mono() >= until) {
			*generation = now;
			return 0;
		}
		(void)poll(&fd, fd.fd >= 0, 50);
	}
}

int ctl_read_fd(struct ctl *ctl, const char *name, int fd, struct mk_buf *ret)
{
	_cleanup_free_ char *chunk = mk_alloc(READ_CHUNK);

	for (;;) {
		ssize_t n = read(fd, chunk, READ_CHUNK);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return mk_fail(&ctl->call, errno, "%s: %s", name, strerror(errno));
		if (n == 0)
			return 0;
		if (mk_buf_put(ret, chunk, (size_t)n) < 0)
			return mk_fail(&ctl->call, EFBIG, "%s: more than %zu bytes", name,
				       ret->limit);
	}
}

int ctl_spawn(struct ctl *ctl, const char *const *argv)
{
	posix_spawnattr_t attr;
	sigset_t none;
	pid_t pid;
	int status, r;

	sigemptyset(&none);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	posix_spawnattr_setsigmask(&attr, &none);
	r = posix_spawnp(&pid, argv[0], NULL, &attr, (char *const *)argv, environ);
	posix_spawnattr_destroy(&attr);
	if (r != 0)
		return mk_fail(&ctl->call, r, "%s: cannot be started: %s", argv[0], strerror(r));
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return mk_fail(&ctl->call, errno, "%s: %s", argv[0], strerror(errno));
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

char *ctl_program(const char *name)
{
	static const char *const beside[] = {"", "../fs/fuse/", "../fs/"};
	char self[4096];
	const ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n > 0) {
		self[n] = '\0';
		char *slash = strrchr(self, '/');

		for (size_t i = 0; slash && i < sizeof(beside) / sizeof(*beside); i++) {
			_cleanup_buf_ struct mk_buf path = MK_BUF(8192);

			mk_buf_printf(&path, "%.*s/%s%s", (int)(slash - self), self, beside[i],
				      name);
			if (access(mk_buf_text(&path), X_OK) == 0)
				return mk_buf_steal(&path);
		}
	}
	return mk_strdup(name);
}
