/* SPDX-License-Identifier: Apache-2.0 */
/*
 * final_command MLPROJECT ENTRY_POINT [NAME=VALUE]…: prints the command of a run, or the error on
 * stderr with exit code 1. What test_mlflow.py compares with MLflow.
 *
 * final_command --each NAME MLPROJECT ENTRY_POINT: the same for each of the values in stdin, which
 * end in NUL; prints commands or `!` and the error, ending in NUL.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "format/command.h"

static int read_file(const char *path, struct mk_buf *ret)
{
	FILE *file = fopen(path, "rb");

	if (!file)
		return -errno;
	for (int c; (c = getc(file)) != EOF;)
		(void)mk_buf_putc(ret, (char)c);
	fclose(file);
	return mk_buf_check(ret);
}

static int run(struct mk_call *call, int argc, char **argv)
{
	_cleanup_mlproject_ struct mk_mlproject project = {};
	_cleanup_pairs_ struct mk_pairs given = {}, values = {};
	_cleanup_list_ struct mk_list warnings = {};
	_cleanup_buf_ struct mk_buf text = MK_BUF(MK_LIMIT_TEXT);
	_cleanup_free_ char *command = NULL;
	const struct mk_entry_point *entry = NULL;
	int r = read_file(argv[1], &text);

	if (r < 0)
		return mk_fail(call, -r, "%s: %s", argv[1], strerror(-r));
	for (int i = 3; i < argc; i++) {
		char *equal = strchr(argv[i], '=');

		if (!equal)
			return mk_fail(call, EINVAL, "%s is not NAME=VALUE", argv[i]);
		*equal = 0;
		r = mk_pairs_set(&given, argv[i], equal + 1);
		if (r < 0)
			return r;
	}
	r = mk_mlproject_parse(call, "MLproject", mk_buf_text(&text), text.len, &project);
	if (r < 0)
		return r;
	r = mk_mlproject_entry(call, &project, argv[2], &entry);
	if (r < 0)
		return r;
	r = mk_command_entry(call, "MLproject", entry, &given, &values, &command, &warnings);
	if (r < 0)
		return r;
	fputs(command, stdout);
	return 0;
}

static int run_each(char **argv)
{
	_cleanup_free_ char *value = NULL;
	size_t size = 0;

	for (ssize_t n; (n = getdelim(&value, &size, 0, stdin)) > 0;) {
		_cleanup_call_ struct mk_call call;
		_cleanup_buf_ struct mk_buf given = MK_BUF(MK_LIMIT_TEXT);
		char *args[] = {argv[0], argv[3], argv[4], NULL, NULL};

		mk_call_init(&call);
		(void)mk_buf_printf(&given, "%s=%s", argv[2], value);
		args[3] = given.data;
		if (run(&call, 4, args) < 0)
			printf("!%s", call.error.text ? call.error.text : "?");
		putchar(0);
	}
	return 0;
}

int main(int argc, char **argv)
{
	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);
	if (argc == 5 && strcmp(argv[1], "--each") == 0)
		return run_each(argv);
	if (argc < 3) {
		fprintf(stderr, "usage: final_command MLPROJECT ENTRY_POINT [NAME=VALUE]...\n");
		return 2;
	}
	if (run(&call, argc, argv) < 0) {
		fprintf(stderr, "%s\n", call.error.text ? call.error.text : "?");
		return 1;
	}
	return 0;
}
