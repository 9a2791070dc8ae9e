/* SPDX-License-Identifier: Apache-2.0 */
/* mantikctl submit: a spec from a file, the tree or standard input becomes runs. */
#include "cmd.h"

#include <mantik/run.h>

#include <string.h>

/* Parameters of all -P K=V. */
static int take_parameters(struct ctl *ctl, struct mk_pairs *ret)
{
	const char *given;

	for (size_t i = 0; (given = ctl_option_nth(ctl, "parameter", i)); i++) {
		const char *equals = strchr(given, '=');
		_cleanup_free_ char *key = equals ? mk_strndup(given, (size_t)(equals - given))
						  : NULL;
		int r;

		if (!equals || !*key)
			return ctl_usage(ctl, "submit: -P takes KEY=VALUE, not \"%s\"", given);
		r = mk_pairs_set(ret, key, equals + 1);
		if (r < 0)
			return mk_fail(&ctl->call, -r, "-P %s: %s", given, strerror(-r));
	}
	return 0;
}

/* {"runs": ["a.1a2b3c4d"], "dry_run": false} */
static int print_json(struct ctl *ctl, const char *answer, bool dry_run)
{
	_cleanup_buf_ struct mk_buf json = MK_BUF(MK_LIMIT_BODY);
	_cleanup_free_ char *copy = mk_strdup(answer);
	char *rest = copy;
	int n = 0;

	mk_buf_puts(&json, "{\"runs\": [");
	for (char *line; (line = strsep(&rest, "\n"));) {
		if (!*line)
			continue;
		if (n++)
			mk_buf_puts(&json, ", ");
		ctl_json_text(&json, line);
	}
	mk_buf_printf(&json, "], \"dry_run\": %s}\n", dry_run ? "true" : "false");
	return ctl_print(ctl, mk_buf_text(&json), json.len);
}

static int run(struct ctl *ctl)
{
	const char *spec = ctl->operands[0];
	const char *slash = strrchr(spec, '/');
	_cleanup_buf_ struct mk_buf text = MK_BUF(MK_LIMIT_TEXT), answer = MK_BUF(MK_LIMIT_TEXT);
	_cleanup_pairs_ struct mk_pairs parameters = {};
	int64_t project = 0;
	int r = take_parameters(ctl, &parameters);

	if (r == 0)
		r = ctl_read_text(ctl, spec, &text);
	if (r == 0)
		r = ctl_project(ctl, spec, &project);
	if (r != 0)
		return r;

	const struct mk_submit_options options = {
		.source = strcmp(spec, "-") == 0 ? "standard input" : slash ? slash + 1 : spec,
		.dry_run = ctl_option(ctl, "dry-run"),
		.parameters = parameters,
		.site = ctl_option(ctl, "site"),
	};

	r = mk_submit(&ctl->call, ctl->m, project, mk_buf_text(&text), text.len, &options,
		      &answer);
	if (r < 0)
		return r;
	if (ctl_option(ctl, "json"))
		return print_json(ctl, mk_buf_text(&answer), options.dry_run);
	return ctl_print(ctl, mk_buf_text(&answer), answer.len);
}

const struct cmd cmd_submit = {
	.name = "submit",
	.operands = "SPEC",
	.min = 1,
	.max = 1,
	.needs = CTL_WRITE,
	.help = "checks a spec and submits it",
	.more = "SPEC is a file, a path of the tree (/projects/a/code/r/specs/main/MLproject/main.yaml) or - "
		"for standard input; mantik.yaml(5) describes it. Prints the name of each run. Once it has "
		"returned 0 the runs will be submitted exactly once, whatever happens.\n"
		"The project is that of -p, of SPEC's path, of the working directory, or the only one.",
	.options =
		(const struct cmd_option[]){
			{'P', "parameter", "KEY=VALUE", "sets a parameter, over the spec's; may be repeated"},
			{'s', "site", "SITE", "where to run, over the spec's"},
			{'n', "dry-run", NULL, "checks everything, makes nothing, tells what would be"},
			{'p', "project", "PROJECT", "the project, by name or path"},
			{'j', "json", NULL, "the answer as JSON"},
			{},
		},
	.run = run,
};
