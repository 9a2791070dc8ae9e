/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An entry point as a run spec (mlproject.h): what code/<repository>/specs/ offers to copy. Values
 * are written so that they read back as the texts of the MLproject.
 */
#include "format/mlproject.h"

#include <errno.h>
#include <string.h>

#include "base/doc.h"

enum { COMMENT_COLUMN = 36 };

/* A foreign text inside a comment: one line. */
static void put_words(struct mk_buf *out, const char *text)
{
	for (const char *p = text; *p; p++)
		(void)mk_buf_putc(out, (unsigned char)*p < ' ' || *p == 0x7f ? ' ' : *p);
}

/* Ends a line that began at `begin` with a comment. */
static void put_comment(struct mk_buf *out, size_t begin, const char *comment)
{
	do
		(void)mk_buf_putc(out, ' ');
	while (mk_buf_check(out) == 0 && out->len < begin + COMMENT_COLUMN);
	(void)mk_buf_puts(out, "# ");
	put_words(out, comment);
	(void)mk_buf_putc(out, '\n');
}

static void put_line(struct mk_buf *out, const char *key, const char *value, bool was_plain,
		     const char *comment)
{
	size_t begin = out->len;

	(void)mk_buf_printf(out, "%s: ", key);
	mk_yaml_scalar(out, value, was_plain);
	if (comment)
		put_comment(out, begin, comment);
	else
		(void)mk_buf_putc(out, '\n');
}

static void put_parameter(struct mk_buf *out, const struct mk_parameter *parameter)
{
	_cleanup_buf_ struct mk_buf comment = MK_BUF(MK_LIMIT_TEXT);
	_cleanup_buf_ struct mk_buf key = MK_BUF(MK_LIMIT_TEXT);
	size_t begin = out->len;

	(void)mk_buf_puts(&comment, parameter->type ? parameter->type : "string");
	mk_yaml_scalar(&key, parameter->name, false);
	if (parameter->value) {
		(void)mk_buf_printf(out, "  %s: ", mk_buf_text(&key));
		mk_yaml_scalar(out, parameter->value, parameter->value_plain);
	} else {
		(void)mk_buf_puts(out, "  # ");
		put_words(out, mk_buf_text(&key));
		(void)mk_buf_puts(out, ":");
		(void)mk_buf_puts(&comment, ", needs a value");
	}
	put_comment(out, begin, mk_buf_text(&comment));
}

/* The name of a run may hold {parameter}: braces of an entry point's own name are not that. */
static char *run_name(const struct mk_entry_spec *spec, const struct mk_entry_point *entry)
{
	if (strcmp(entry->name, "main") == 0 || strpbrk(entry->name, "{}"))
		return mk_strdup(spec->repository);
	return mk_strdup(entry->name);
}

int mk_entry_spec_write(struct mk_call *call, const struct mk_entry_spec *spec,
			const struct mk_entry_point *entry, struct mk_buf *ret)
{
	_cleanup_free_ char *name = run_name(spec, entry);

	(void)mk_buf_puts(ret, "# Entry point ");
	put_words(ret, entry->name);
	(void)mk_buf_puts(ret, " of ");
	put_words(ret, spec->mlproject);
	(void)mk_buf_puts(ret,
			  " as a complete run spec: cp it into the project's runs/new as it is,\n"
			  "# or change it first.\n\n");
	put_line(ret, "name", name, false, "{parameter} and {site} are filled in");
	if (spec->experiment)
		put_line(ret, "experiment", spec->experiment, false, "made if missing");
	(void)mk_buf_puts(ret, "code:\n");
	put_line(ret, "  repository", spec->repository, false, NULL);
	if (spec->branch)
		put_line(ret, "  branch", spec->branch, false, "or commit: <sha>, which stays");
	else
		put_line(ret, "  commit", spec->commit, false, NULL);
	put_line(ret, "mlproject", spec->mlproject, false, NULL);
	put_line(ret, "entry_point", entry->name, false, NULL);
	if (entry->n_parameters)
		(void)mk_buf_puts(ret, "parameters:\n");
	for (size_t i = 0; i < entry->n_parameters; i++)
		put_parameter(ret, &entry->parameters[i]);
	if (spec->site)
		put_line(ret, "site", spec->site, false, NULL);
	if (spec->backend_config)
		put_line(ret, "backend_config", spec->backend_config, false,
			 "a path in the repository, or the mapping itself");
	if (mk_buf_check(ret) < 0)
		return mk_fail(call, EFBIG, "%s: the spec of entry point %s is too long",
			       spec->mlproject, entry->name);
	return 0;
}
