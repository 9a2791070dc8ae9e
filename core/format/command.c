/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parameters into commands (command.h has the rules and their reasons). One pass over the command
 * as it was written does three things at once, because each needs the other two: literal braces
 * and placeholders of Python's str.format, the joining of lines, and the shell's quoting.
 */
#include "format/command.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/doc.h"
#include "format/shell.h"

/* A command being filled in. */
struct fill {
	struct mk_call *call;
	const char *source; /* for errors: source:line: entry point NAME: … */
	int line;
	const char *entry; /* NULL: `command:` of a spec */
	char style;
	const struct mk_pairs *values; /* as they go into the command */
	bool *used;		       /* one for each of values */
	struct mk_shell shell;
	struct mk_buf *out;
	size_t blanks;	 /* how many bytes at the end of out are bare blanks */
	size_t indent;	 /* of the command's first line */
	bool was_deeper; /* the running line was indented deeper than the first */
};

static int fail(struct fill *f, const char *fmt, ...) _printf_(2, 3);
static int fail(struct fill *f, const char *fmt, ...)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF(MK_LIMIT_TEXT);
	va_list ap;

	va_start(ap, fmt);
	(void)mk_buf_vprintf(&text, fmt, ap);
	va_end(ap);
	return mk_fail(f->call, EINVAL, "%s:%d: %s%s: %s", f->source, f->line,
		       f->entry ? "entry point " : "command", f->entry ? f->entry : "",
		       mk_buf_text(&text));
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static void put(struct fill *f, char c)
{
	bool bare = mk_shell_bare(&f->shell);

	if (is_blank(c) && bare)
		f->blanks++;
	else
		f->blanks = 0;
	(void)mk_buf_putc(f->out, c);
	mk_shell_feed(&f->shell, c);
}

static void drop_blanks(struct fill *f)
{
	mk_buf_truncate(f->out, f->out->len - f->blanks);
	f->blanks = 0;
}

/* The nearest name among the values, or NULL. */
static const char *nearest(const struct mk_pairs *values, const char *name, struct mk_list *names)
{
	for (size_t i = 0; i < values->n; i++)
		if (mk_list_add(names, values->v[i].key) < 0)
			return NULL;
	return mk_nearest(name, names);
}

static int undefined(struct fill *f, const char *name)
{
	_cleanup_list_ struct mk_list names = {};
	const char *near = nearest(f->values, name, &names);

	if (near)
		return fail(f, "{%s} is no parameter, did you mean {%s}?", name, near);
	if (f->shell.dollar)
		return fail(f,
			    "{%s} is no parameter; for a variable of the shell write ${{%s}}, "
			    "with two braces",
			    name, name);
	return fail(f, "{%s} is no parameter; a brace of the command itself is written {{ or }}",
		    name);
}

static ssize_t value_index(const struct mk_pairs *values, const char *name)
{
	for (size_t i = 0; i < values->n; i++)
		if (strcmp(values->v[i].key, name) == 0)
			return (ssize_t)i;
	return -1;
}

static int put_value(struct fill *f, const char *name)
{
	ssize_t i = value_index(f->values, name);

	if (i < 0) {
		_cleanup_free_ char *begin = mk_strndup(name, strcspn(name, "!:.["));

		if (!*name)
			return fail(f, "{} names no parameter; a brace of the command itself is "
				       "written {{ or }}");
		if (*begin && value_index(f->values, begin) >= 0)
			return fail(f,
				    "{%s}: only a parameter's name can stand in the braces: {%s}",
				    name, begin);
		return undefined(f, name);
	}

	const char *why = mk_shell_value(&f->shell, f->out, f->values->v[i].value);

	if (why)
		return fail(f,
			    "{%s} %s, where a value may hold only letters, digits and "
			    "@%%+=:,./_- but it is %s",
			    name, why, f->values->v[i].value);
	f->used[i] = true;
	f->blanks = 0;
	return 0;
}

/*
 * Does the line that begins at `next` (after one or more newlines from `end` on) go on with the
 * command? See command.h.
 */
static bool goes_on(const struct fill *f, const char *end, const char *next, bool backslash)
{
	const char *word = next + strspn(next, " \t");
	size_t indent = (size_t)(word - next);
	bool deeper = indent > f->indent;

	if (backslash || *word == '-')
		return true;
	if (f->style == '>')
		return end + 1 == next ? deeper || f->was_deeper || indent > 0 : deeper;
	return deeper && word[0] == '{' && word[1] != '{';
}

/* At a newline outside of quotes, or at the backslash before it. Returns where to go on. */
static const char *line_end(struct fill *f, const char *p)
{
	bool backslash = *p == '\\';
	const char *end = backslash ? p + 1 + strspn(p + 1, " \t\r") : p;
	const char *next = end;

	while (*next) {
		const char *line = next + strspn(next, " \t\r");

		if (*line != '\n')
			break;
		next = line + 1;
	}

	const char *word = next + strspn(next, " \t\r");

	drop_blanks(f);
	if (!*word)
		return word;
	if (goes_on(f, end, next, backslash)) {
		f->was_deeper = (size_t)(word - next) > f->indent;
		if (f->out->len)
			put(f, ' ');
		return word;
	}
	f->was_deeper = false;
	put(f, '\n');
	return next;
}

static bool is_line_end(const struct fill *f, const char *p)
{
	if (!mk_shell_bare(&f->shell))
		return false;
	if (*p == '\n')
		return true;
	if (*p != '\\')
		return false;

	const char *rest = p + 1 + strspn(p + 1, " \t\r");

	return !*rest || *rest == '\n';
}

/* `python x \ --a`: a backslash line end that YAML folded into the line. As shell text it would be
 * an argument that begins with a blank, which nobody means. */
static bool is_folded_backslash(const struct fill *f, const char *p)
{
	return *p == '\\' && is_blank(p[1]) && (f->style == '>' || f->style == 0) &&
	       mk_shell_bare(&f->shell) && f->blanks > 0;
}

static int fill(struct fill *f, const char *command)
{
	const char *p = command + strspn(command, "\n");

	f->indent = strspn(p, " \t");
	p += strspn(p, " \t\r\n");
	while (*p) {
		if (is_line_end(f, p)) {
			p = line_end(f, p);
		} else if (*p == '\r' && p[1] == '\n') {
			p++;
		} else if (is_folded_backslash(f, p)) {
			p++;
			p += strspn(p, " \t");
		} else if ((*p == '{' || *p == '}') && p[1] == *p) {
			put(f, *p);
			p += 2;
		} else if (*p == '}') {
			return fail(f, "a single } in the command; a brace of the command itself "
				       "is written }}");
		} else if (*p == '{') {
			size_t n = strcspn(p + 1, "{}\n");

			if (p[1 + n] != '}')
				return fail(f, "a single { in the command; a brace of the command "
					       "itself is written {{");

			_cleanup_free_ char *name = mk_strndup(p + 1, n);
			int r = put_value(f, name);

			if (r < 0)
				return r;
			p += n + 2;
		} else {
			put(f, *p++);
		}
	}
	drop_blanks(f);
	if (f->out->len == 0)
		return fail(f, "the command is empty");

	const char *unclosed = mk_shell_open(&f->shell);

	if (unclosed)
		return fail(f, "the command holds %s", unclosed);
	if (mk_buf_check(f->out) < 0)
		return mk_fail(f->call, EFBIG, "%s:%d: the command is over 1 MiB", f->source,
			       f->line);
	return 0;
}

/* --- values ---------------------------------------------------------------------------- */

static bool has_scheme(const char *text)
{
	const char *p = text;

	if (!isalpha((unsigned char)*p))
		return false;
	while (isalnum((unsigned char)*p) || (*p && strchr("+.-", *p)))
		p++;
	return *p == ':';
}

static bool is_type(const char *type, const char *one, const char *two)
{
	return strcmp(type, one) == 0 || strcmp(type, two) == 0;
}

/* A sentence when a value is not what its type says; types are advice. */
static const char *type_doubt(const char *type, const char *value)
{
	char *end;

	if (!type || !*value || strcmp(value, "None") == 0)
		return NULL;
	if (is_type(type, "int", "integer")) {
		(void)strtoll(value, &end, 10);
		return *end || end == value ? "no whole number" : NULL;
	}
	if (is_type(type, "float", "double")) {
		(void)strtod(value, &end);
		return *end || end == value ? "no number" : NULL;
	}
	if (is_type(type, "bool", "boolean")) {
		static const char *const words[] = {"true", "false", "yes", "no",
						    "on",   "off",   "0",   "1"};

		for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
			if (strcasecmp(value, words[i]) == 0)
				return NULL;
		return "neither true nor false";
	}
	return NULL;
}

/* The text of a value in the command: `path` takes file:///x as /x. */
static int command_value(struct mk_call *call, const struct mk_entry_point *entry,
			 const struct mk_parameter *parameter, const char *value, const char **ret)
{
	*ret = value;
	if (!parameter->type)
		return 0;
	if (strcmp(parameter->type, "uri") == 0 && !has_scheme(value))
		return mk_fail(call, EINVAL,
			       "entry point %s: the parameter %s is a uri and needs an address "
			       "such as https://…, not \"%s\"",
			       entry->name, parameter->name, value);
	if (strcmp(parameter->type, "path") == 0 && has_scheme(value)) {
		if (strncmp(value, "file:///", 8) != 0)
			return mk_fail(call, EOPNOTSUPP,
				       "not supported yet: an address as value of the path "
				       "parameter %s: %s",
				       parameter->name, value);
		*ret = value + 7;
	}
	return 0;
}

static int missing(struct mk_call *call, const char *source, const struct mk_entry_point *entry,
		   const struct mk_pairs *given)
{
	_cleanup_buf_ struct mk_buf names = MK_BUF(4096);
	size_t n = 0;

	for (size_t i = 0; i < entry->n_parameters; i++) {
		const struct mk_parameter *parameter = &entry->parameters[i];

		if (parameter->value || (given && mk_pairs_get(given, parameter->name)))
			continue;
		(void)mk_buf_printf(&names, "%s%s", n++ ? ", " : "", parameter->name);
	}
	if (!n)
		return 0;
	return mk_fail(call, EINVAL, "entry point %s of %s: no value for the parameter%s %s",
		       entry->name, source, n > 1 ? "s" : "", mk_buf_text(&names));
}

static int check_given(struct mk_call *call, const char *source, const struct mk_entry_point *entry,
		       const struct mk_pairs *given)
{
	for (size_t i = 0; given && i < given->n; i++) {
		const char *name = given->v[i].key;
		_cleanup_list_ struct mk_list names = {};

		if (mk_entry_parameter(entry, name))
			continue;
		for (size_t k = 0; k < entry->n_parameters; k++)
			if (mk_list_add(&names, entry->parameters[k].name) < 0)
				break;

		const char *near = mk_nearest(name, &names);

		if (near)
			return mk_fail(call, EINVAL,
				       "entry point %s of %s has no parameter \"%s\", did you "
				       "mean \"%s\"?",
				       entry->name, source, name, near);
		return mk_fail(call, EINVAL, "entry point %s of %s has no parameter \"%s\"",
			       entry->name, source, name);
	}
	return 0;
}

static int warn(struct mk_list *warnings, const char *fmt, ...) _printf_(2, 3);
static int warn(struct mk_list *warnings, const char *fmt, ...)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF(MK_LIMIT_TEXT);
	va_list ap;

	va_start(ap, fmt);
	(void)mk_buf_vprintf(&text, fmt, ap);
	va_end(ap);
	return mk_list_add(warnings, mk_buf_text(&text));
}

int mk_command_entry(struct mk_call *call, const char *source, const struct mk_entry_point *entry,
		     const struct mk_pairs *given, struct mk_pairs *ret_values, char **ret_command,
		     struct mk_list *warnings)
{
	int r = check_given(call, source, entry, given);

	if (r < 0)
		return r;
	r = missing(call, source, entry, given);
	if (r < 0)
		return r;
	if (!entry->command)
		return mk_fail(call, EINVAL, "%s:%d: entry point %s has no command", source,
			       entry->line, entry->name);

	_cleanup_pairs_ struct mk_pairs values = {};
	_cleanup_pairs_ struct mk_pairs in_command = {};

	for (size_t i = 0; i < entry->n_parameters; i++) {
		const struct mk_parameter *parameter = &entry->parameters[i];
		const char *value = given ? mk_pairs_get(given, parameter->name) : NULL;
		const char *text;

		if (!value)
			value = parameter->value;

		const char *doubt = type_doubt(parameter->type, value);

		if (doubt) {
			r = warn(warnings,
				 "%s:%d: entry point %s: %s is declared %s, but its value is %s",
				 source, parameter->line, entry->name, parameter->name,
				 parameter->type, doubt);
			if (r < 0)
				return r;
		}
		r = command_value(call, entry, parameter, value, &text);
		if (r < 0)
			return r;
		r = mk_pairs_set(&values, parameter->name, value);
		if (r < 0)
			return r;
		r = mk_pairs_set(&in_command, parameter->name, text);
		if (r < 0)
			return r;
	}

	_cleanup_buf_ struct mk_buf out = MK_BUF(MK_LIMIT_TEXT);
	_cleanup_free_ bool *used = mk_alloc(in_command.n + 1);
	struct fill f = {.call = call,
			 .source = source,
			 .line = entry->command_line,
			 .entry = entry->name,
			 .style = entry->style,
			 .values = &in_command,
			 .used = used,
			 .out = &out};

	r = fill(&f, entry->command);
	if (r < 0)
		return r;
	for (size_t i = 0; i < in_command.n; i++) {
		if (used[i])
			continue;
		r = warn(warnings,
			 "%s:%d: entry point %s: the command does not use the parameter %s", source,
			 entry->parameters[i].line, entry->name, in_command.v[i].key);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < values.n; i++) {
		r = mk_pairs_set(ret_values, values.v[i].key, values.v[i].value);
		if (r < 0)
			return r;
	}
	*ret_command = mk_buf_steal(&out);
	return 0;
}

int mk_command_plain(struct mk_call *call, const char *source, int line, const char *command,
		     char style, const struct mk_pairs *given, char **ret_command)
{
	static const struct mk_pairs none;
	const struct mk_pairs *values = given ? given : &none;
	_cleanup_buf_ struct mk_buf out = MK_BUF(MK_LIMIT_TEXT);
	_cleanup_free_ bool *used = mk_alloc(values->n + 1);
	struct fill f = {.call = call,
			 .source = source,
			 .line = line,
			 .style = style,
			 .values = values,
			 .used = used,
			 .out = &out};
	int r = fill(&f, command);

	if (r < 0)
		return r;
	for (size_t i = 0; i < values->n; i++)
		if (!used[i])
			return fail(&f, "it does not use the parameter {%s}", values->v[i].key);
	*ret_command = mk_buf_steal(&out);
	return 0;
}
