/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Typing what nobody shall see: on the terminal itself, echo off, and back on whatever happens. The
 * first interrupt ends the question; the terminal is as it was before the program goes on.
 */
#include "ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>

enum { MAX_LINE = 1 << 16 };

/* One line of fd, byte by byte: what follows is not ours. */
static int read_line(struct ctl *ctl, int fd, struct mk_buf *ret)
{
	for (;;) {
		struct pollfd p[] = {
			{.fd = fd, .events = POLLIN},
			{.fd = mk_call_cancel_fd(&ctl->call), .events = POLLIN},
		};
		char c;
		ssize_t n;
		int r = mk_call_check(&ctl->call, "what was asked for");

		if (r < 0)
			return r;
		if (poll(p, 2, 1000) <= 0 || !p[0].revents)
			continue;
		n = read(fd, &c, 1);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			return mk_fail(&ctl->call, errno, "%s", strerror(errno));
		if (n == 0 || c == '\n')
			return 0;
		r = mk_buf_putc(ret, c);
		if (r < 0)
			return mk_fail(&ctl->call, EFBIG, "more than %d bytes in a line", MAX_LINE);
	}
}

static int on_terminal(struct ctl *ctl, int tty, const char *prompt, struct mk_buf *ret)
{
	struct termios was, silent;
	int r;

	if (tcgetattr(tty, &was) < 0)
		return mk_fail(&ctl->call, ENOTTY, "the terminal: %s", strerror(errno));
	silent = was;
	silent.c_lflag &= ~(tcflag_t)(ECHO | ECHONL);
	if (tcsetattr(tty, TCSAFLUSH, &silent) < 0)
		return mk_fail(&ctl->call, ENOTTY, "the terminal cannot be made silent: %s",
			       strerror(errno));
	(void)dprintf(tty, "%s: ", prompt);
	r = read_line(ctl, tty, ret);
	(void)tcsetattr(tty, TCSAFLUSH, &was);
	(void)dprintf(tty, "\n");
	return r;
}

int ctl_ask_secret(struct ctl *ctl, const char *prompt, struct mk_buf *ret)
{
	_cleanup_close_ int tty = -1;
	int r;

	if (isatty(STDIN_FILENO))
		tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
	r = tty >= 0 ? on_terminal(ctl, tty, prompt, ret) : read_line(ctl, STDIN_FILENO, ret);
	if (r == 0 && ret->len && ret->data[ret->len - 1] == '\r')
		mk_buf_truncate(ret, ret->len - 1);
	return r;
}

int ctl_ask_passphrase(struct mk_call *call, void *arg, bool fresh, struct mk_buf *ret)
{
	_cleanup_wipe_ struct mk_buf again = MK_BUF_SECRET(MAX_LINE);
	_cleanup_close_ int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
	struct ctl *ctl = arg;
	int r;

	if (tty < 0)
		return mk_fail(
			call, ENOKEY,
			"the vault needs its passphrase and there is no terminal to ask for it: "
			"name a file of mode 0600 that holds it in MANTIK_VAULT_PASSPHRASE_FILE");
	r = on_terminal(ctl, tty, fresh ? "new passphrase of the vault" : "passphrase of the vault",
			ret);
	if (r == 0 && fresh)
		r = on_terminal(ctl, tty, "the same again", &again);
	if (r == 0 && fresh && strcmp(mk_buf_text(ret), mk_buf_text(&again)) != 0)
		r = mk_fail(call, EINVAL, "the two passphrases differ; nothing was changed");
	return r;
}
