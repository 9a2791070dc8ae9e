/* SPDX-License-Identifier: Apache-2.0 */
/* mantikctl login: a password or token of a connection, typed or piped, never a word of the command
 * line, which everybody on the machine can read. */
#include "cmd.h"

#include <mantik/connection.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int run(struct ctl *ctl)
{
	_cleanup_wipe_ struct mk_buf secret = MK_BUF_SECRET(1 << 16);
	_cleanup_buf_ struct mk_buf prompt = MK_BUF(1000);
	_cleanup_(mk_connection_free) struct mk_connection connection = {};
	const char *name = ctl->operands[0], *key = NULL;
	int r = mk_connection_find(&ctl->call, ctl->m, name, &connection);

	if (r == -ENOENT)
		return mk_fail(
			&ctl->call, ENOENT,
			"there is no connection %s; write connections/%s.yaml first, with kind, "
			"url and, for a password, user",
			name, name);
	if (r < 0)
		return r;
	if (ctl_option(ctl, "token") && ctl_option(ctl, "password"))
		return ctl_usage(ctl, "login: a token or a password");
	if (ctl_option(ctl, "token") || ctl_option(ctl, "password"))
		key = ctl_option(ctl, "token") ? "token" : "password";
	else
		r = mk_connection_login_key(&ctl->call, ctl->m, name, &key);
	if (r < 0)
		return r;
	mk_buf_printf(&prompt, "%s for %s (not shown)", key, connection.url);
	r = ctl_ask_secret(ctl, mk_buf_text(&prompt), &secret);
	if (r == 0 && !secret.len)
		r = mk_fail(&ctl->call, EINVAL, "no %s was given; nothing was changed", key);
	if (r == 0)
		r = mk_connection_secret(&ctl->call, ctl->m, name, key, mk_buf_text(&secret));
	return r;
}

const struct cmd cmd_login = {
	.name = "login",
	.operands = "CONNECTION",
	.min = 1,
	.max = 1,
	.needs = CTL_WRITE,
	.help = "sets the password or token of a connection",
	.more = "Asks on the terminal without showing what is typed, or takes the first line of "
		"standard input. What the connection asks for is set: a password when it names a "
		"user, else a token. It goes into the vault; connections/CONNECTION.yaml then shows "
		"(set).",
	.options =
		(const struct cmd_option[]){
			{0, "password", NULL, "a password, whatever the connection asks for"},
			{0, "token", NULL, "a token, whatever the connection asks for"},
			{},
		},
	.run = run,
};
