/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mantikctl serve: the tracking server in this terminal. It is part of mantikd, of which there is
 * one: so this becomes a mantikd that ends the one in the background and stays until Ctrl-C.
 */
#include "cmd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <mantik/daemon.h>
#include <mantik/option.h>
#include <mantik/project.h>

/* Options of mantikd with their values; texts are borrowed. */
struct words {
	const char *v[16];
	size_t n;
};

static void add(struct words *words, const char *option, const char *value)
{
	if (value) {
		words->v[words->n++] = option;
		words->v[words->n++] = value;
	}
}

static int run(struct ctl *ctl)
{
	_cleanup_(mk_project_free) struct mk_project project = {};
	_cleanup_buf_ struct mk_buf holder = MK_BUF(MK_LIMIT_TEXT);
	_cleanup_free_ char *path = mantik_daemon_path();
	const char *port = ctl_option(ctl, "port");
	char *end = NULL;
	int64_t id = 0;
	int r = 0;

	if (port && (strtol(port, &end, 10) < 1 || strtol(port, NULL, 10) > 65535 || *end))
		return ctl_usage(ctl, "--port %s: is not 1 … 65535", port);
	if (!path)
		return mk_fail(&ctl->call, ENOENT, "mantikd is not installed beside this program");
	if (ctl_option(ctl, "ui")) {
		_cleanup_free_ char *ui = ctl_absolute(ctl_option(ctl, "ui"));

		r = mk_option_write(&ctl->call, &ctl->options, "serve_ui", ui);
	}
	if (r == 0 && ctl_option(ctl, "project"))
		r = ctl_project(ctl, NULL, &id);
	if (r == 0 && id)
		r = mk_project_get(&ctl->call, ctl->m, id, &project);
	if (r == 0)
		r = mantik_holder(&ctl->call, ctl->m, &holder);
	if (r < 0)
		return r;
	if (holder.len) {
		(void)printf("%s; it is ended first, jobs go on\n", mk_buf_text(&holder));
		(void)fflush(stdout);
	}

	_cleanup_free_ char *data = mk_strdup(mantik_data_dir(ctl->m));
	_cleanup_free_ char *cache = mk_strdup(mantik_cache_dir(ctl->m));
	_cleanup_free_ char *config = mk_strdup(mantik_config_dir(ctl->m));
	struct words words = {.v = {path, "--serve"}, .n = 2};

	add(&words, "--data", data);
	add(&words, "--cache", cache);
	add(&words, "--config", config);
	add(&words, "--port", port);
	add(&words, "--project", project.name);
	mantik_close(mk_steal(&ctl->m));
	(void)execv(path, (char *const *)words.v);
	return mk_fail(&ctl->call, errno, "%s: %s", path, strerror(errno));
}

const struct cmd cmd_serve = {
	.name = "serve",
	.operands = "",
	.needs = CTL_READ,
	.help = "answers MLflow's clients in this terminal",
	.more = "mantikd does that in the background by itself while there is something to do or it was asked "
		"within serve_idle (see mantik.yaml(5)); this one stays until Ctrl-C. It takes the place of a "
		"mantikd that runs; jobs go on. The port is kept for the next time.\n"
		"A browser asks for a user, any, and a password, the text of the file serve.token; it need not "
		"ask at http://x:TOKEN@127.0.0.1:PORT/login.",
	.options =
		(const struct cmd_option[]){
			{0, "port", "N", "the port of 127.0.0.1, else the one of last time"},
			{'p', "project", "PROJECT", "says the address of one project"},
			{0, "ui", "DIR",
			 "MLflow's web pages: a virtual environment with mlflow; kept as serve_ui"},
			{},
		},
	.run = run,
};
