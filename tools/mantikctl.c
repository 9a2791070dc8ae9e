/* SPDX-License-Identifier: Apache-2.0 */
/* The list of commands and the one way each of them is run. */
#include "ctl.h"
#include "cmd.h"

#include <mantik/connection.h>
#include <mantik/outbox.h>

#include <errno.h>
#include <locale.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

const struct cmd *const ctl_commands[] = {
#define X(name) &cmd_##name,
	CTL_COMMANDS(X)
#undef X
	NULL,
};

const struct cmd_option ctl_global_options[] = {
	{'C', "config-dir", "DIR", "configuration, instead of ~/.config/mantik"},
	{'D', "data-dir", "DIR", "database, records and mirrors, instead of ~/.local/share/mantik"},
	{0, "cache-dir", "DIR", "what may be deleted, instead of ~/.cache/mantik"},
	{'h', "help", NULL, "this text"},
	{'V', "version", NULL, "the version"},
	{0, "generate", "WHAT", "prints completions (bash, zsh, fish), mdoc or the table of options"},
	{},
};

static void *handle_signals(void *arg)
{
	struct mk_call *call = arg;
	sigset_t set;
	int sig;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	for (int n = 0; sigwait(&set, &sig) == 0; n++) {
		if (n > 0)
			_exit(CTL_INTERRUPTED);
		mk_call_cancel(call);
	}
	return NULL;
}

/* Blocked before any thread starts, so that only the thread of signals gets them. */
static void watch_signals(struct mk_call *call)
{
	pthread_t thread;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	if (pthread_create(&thread, NULL, handle_signals, call) == 0)
		pthread_detach(thread);
	else
		pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static int open_platform(struct ctl *ctl)
{
	int r;

	if (ctl->cmd->needs == CTL_NOTHING)
		return 0;
	r = mantik_open(&ctl->call, &ctl->options, &ctl->m);
	if (r == -EROFS && ctl->cmd->needs == CTL_READ) {
		ctl->options.read_only = true;
		r = mantik_open(&ctl->call, &ctl->options, &ctl->m);
	}
	if (r == -EBUSY && ctl->m) { /* another host has the lease: open for reading */
		if (ctl->cmd->needs == CTL_WRITE)
			return r;
		r = 0;
	}
	return r;
}

static int run_command(struct ctl *ctl)
{
	int r;

	if (ctl->n_operands < ctl->cmd->min)
		return ctl_usage(ctl, "%s: needs %s", ctl->cmd->name, ctl->cmd->operands);
	if (ctl->cmd->max >= 0 && ctl->n_operands > ctl->cmd->max)
		return ctl_usage(ctl, "%s: too many operands, from \"%s\" on", ctl->cmd->name,
				 ctl->operands[ctl->cmd->max]);
	if (ctl->cmd->needs != CTL_NOTHING) /* else they are for mantikfs, which mount starts */
		mantik_protect_environment();
	watch_signals(&ctl->call);
	r = open_platform(ctl);
	if (r >= 0 && ctl->m)
		mk_connection_asker(ctl->m, ctl_ask_passphrase, ctl);
	if (r >= 0)
		r = ctl->cmd->run(ctl);
	if (r >= 0 && ctl->m) {
		int taken = mk_outbox_wait(&ctl->call, ctl->m);

		r = taken < 0 ? taken : r;
	}
	if (r < 0) {
		ctl_complain(ctl, r);
		r = ctl_status_of(-r);
	}
	if (fflush(stdout) != 0 && r == 0) {
		fprintf(stderr, "mantikctl: standard output: %s\n", strerror(errno));
		r = CTL_FAILED;
	}
	return r;
}

static const struct cmd *find_command(const char *name)
{
	for (const struct cmd *const *c = ctl_commands; *c; c++)
		if (strcmp((*c)->name, name) == 0)
			return *c;
	return NULL;
}

/* The options a command understands: its own and --help. */
static struct cmd_option *with_help(const struct cmd_option *table)
{
	static const struct cmd_option help = {'h', "help", NULL, ""};
	size_t n = 0;

	while (table[n].name)
		n++;
	struct cmd_option *all = mk_alloc((n + 2) * sizeof(*all));
	for (size_t i = 0; i < n; i++)
		all[i] = table[i];
	all[n] = help;
	return all;
}

static int command_line(struct ctl *ctl, int argc, char **argv)
{
	_cleanup_free_ char **rest = NULL;
	_cleanup_free_ struct cmd_option *options = NULL;
	_cleanup_free_ struct ctl_given *global = NULL;
	int n, r = ctl_parse(ctl, "mantikctl", ctl_global_options, argc, argv, true);

	if (r != 0)
		return r;
	ctl->options = (struct mantik_options){
		.data_dir = ctl_option(ctl, "data-dir"),
		.cache_dir = ctl_option(ctl, "cache-dir"),
		.config_dir = ctl_option(ctl, "config-dir"),
	};
	if (ctl_option(ctl, "version")) {
		puts("mantikctl " MANTIK_VERSION);
		return 0;
	}
	if (ctl_option(ctl, "generate"))
		return ctl_generate(ctl_option(ctl, "generate"));
	const bool help = ctl->n_operands && strcmp(ctl->operands[0], "help") == 0;

	if (help && ctl->n_operands > 1) {
		const struct cmd *about = find_command(ctl->operands[1]);

		if (!about)
			return ctl_usage(ctl, "unknown command \"%s\"", ctl->operands[1]);
		ctl_help_command(about);
		return 0;
	}
	if (ctl_option(ctl, "help") || help) {
		ctl_help();
		return 0;
	}
	if (ctl->n_operands == 0)
		return ctl_usage(ctl, "no command");
	ctl->cmd = find_command(ctl->operands[0]);
	if (!ctl->cmd)
		return ctl_usage(ctl, "unknown command \"%s\"", ctl->operands[0]);

	global = mk_steal(&ctl->given);
	rest = mk_steal(&ctl->operands);
	n = ctl->n_operands;
	ctl->n_given = 0;
	ctl->n_operands = 0;
	options = with_help(ctl->cmd->options);
	r = ctl_parse(ctl, ctl->cmd->name, options, n, rest, false);
	if (r != 0)
		return r;
	if (ctl_option(ctl, "help")) {
		ctl_help_command(ctl->cmd);
		return 0;
	}
	return run_command(ctl);
}

int main(int argc, char **argv)
{
	static struct ctl ctl; /* the thread of signals may use its call until the process is gone */
	int r;

	mantik_protect();
	setlocale(LC_CTYPE, "");
	mk_call_init(&ctl.call);
	ctl.call.may_wait = MK_ANY;
	r = command_line(&ctl, argc, argv);
	ctl_tree_done(&ctl);
	mantik_close(ctl.m);
	free(ctl.given);
	free(ctl.operands);
	mk_list_free(&ctl.numbers);
	return r;
}
