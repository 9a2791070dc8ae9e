/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything that is said about commands, made from their tables: --help, the generated sections of
 * mantikctl(1), the completions, and a plain listing that a test compares them by.
 */
#include "ctl.h"

#include <mantik/connection.h>
#include <mantik/option.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct {
	int status;
	const char *help;
} statuses[] = {
	{CTL_OK, "It is done. For wait: every run FINISHED."},
	{CTL_FAILED, "It did not work. For doctor: something needs a remedy."},
	{CTL_USAGE, "The command line is wrong."},
	{CTL_NOT_FOUND, "There is no such run, project or file."},
	{CTL_INVALID, "The input is not valid; the text names the line. Or the path is that of another kind of file."},
	{CTL_REMOTE, "A remote did not answer, or not in time."},
	{CTL_REFUSED, "Not allowed here, or not now: read-only, busy, in use elsewhere, ended already, no space."},
	{CTL_RUN_FAILED, "wait: the run ended FAILED."},
	{CTL_RUN_KILLED, "wait: the run ended KILLED."},
	{CTL_RUN_UNKNOWN, "wait: the run ended UNKNOWN."},
	{CTL_TIMEOUT, "wait: --timeout passed before the end."},
	{CTL_INTERRUPTED, "Interrupted."},
};

/* Errors that mean more than "did not work". */
static const struct {
	int code, status;
} codes[] = {
	{ENOENT, CTL_NOT_FOUND},      {ESRCH, CTL_REFUSED},
	{EINVAL, CTL_INVALID},	      {EOPNOTSUPP, CTL_INVALID},
	{EFBIG, CTL_INVALID},	      {EEXIST, CTL_INVALID},
	{EISDIR, CTL_INVALID},	      {ENOTDIR, CTL_INVALID},
	{ENAMETOOLONG, CTL_INVALID},  {ELOOP, CTL_INVALID},
	{EXDEV, CTL_REFUSED},
	{EHOSTUNREACH, CTL_REMOTE},   {ETIMEDOUT, CTL_REMOTE},
	{EREMOTEIO, CTL_REMOTE},      {ENOKEY, CTL_REMOTE},
	{EKEYEXPIRED, CTL_REMOTE},    {EROFS, CTL_REFUSED},
	{EPERM, CTL_REFUSED},	      {EACCES, CTL_REFUSED},
	{EBUSY, CTL_REFUSED},	      {ENOTEMPTY, CTL_REFUSED},
	{ENOSPC, CTL_REFUSED},	      {EDQUOT, CTL_REFUSED},
	{EINTR, CTL_INTERRUPTED},
};

int ctl_status_of(int code)
{
	for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++)
		if (codes[i].code == code)
			return codes[i].status;
	return CTL_FAILED;
}

static void print_options(const struct cmd_option *table)
{
	for (const struct cmd_option *o = table; o->name; o++) {
		char left[64];

		snprintf(left, sizeof(left), "%c%c%s--%s%s%s", o->letter ? '-' : ' ',
			 o->letter ? o->letter : ' ', o->letter ? ", " : "  ", o->name,
			 o->value ? " " : "", o->value ? o->value : "");
		printf("  %-28s %s\n", left, o->help);
	}
}

void ctl_help(void)
{
	puts("usage: mantikctl [OPTION ...] COMMAND [ARGUMENT ...]\n"
	     "The experiment platform from a command line, with or without a mount.\n");
	for (const struct cmd *const *c = ctl_commands; *c; c++)
		printf("  %-12s %s\n", (*c)->name, (*c)->help);
	puts("\noptions:");
	print_options(ctl_global_options);
	puts("\nmantikctl COMMAND --help tells more, as does mantikctl(1).");
}

/* Words of a paragraph, lines of at most 80. */
static void print_wrapped(const char *text)
{
	size_t column = 0;

	while (*text) {
		const size_t len = strcspn(text, " \n");

		if (column && column + 1 + len > 80) {
			putchar('\n');
			column = 0;
		}
		printf("%s%.*s", column ? " " : "", (int)len, text);
		column += len + (column > 0);
		text += len;
		if (*text == '\n') {
			fputs("\n\n", stdout);
			column = 0;
		}
		text += *text != '\0';
	}
	putchar('\n');
}

void ctl_help_command(const struct cmd *cmd)
{
	printf("usage: mantikctl %s%s%s%s\n%s.\n", cmd->name,
	       cmd->options->name ? " [OPTION ...]" : "", *cmd->operands ? " " : "", cmd->operands,
	       cmd->help);
	if (cmd->more) {
		putchar('\n');
		print_wrapped(cmd->more);
	}
	puts("\noptions:");
	print_options(cmd->options);
	puts("  -h, --help                   this text");
}

/* --- mantikctl(1) --- */

/* Text as mdoc reads it: no line begins with a control character, no escapes. */
static void mdoc_text(const char *text)
{
	bool begin = true;

	for (const char *c = text; *c; c++) {
		if (begin && (*c == '.' || *c == '\''))
			fputs("\\&", stdout);
		begin = *c == '\n';
		if (*c == '\n')
			fputs(c[1] && c[1] != '\n' ? "\n.Pp\n" : "\n", stdout);
		else if (*c == '\\')
			fputs("\\e", stdout);
		else if (*c == '-')
			fputs("\\-", stdout);
		else if (*c == '.' && c[1] == ' ' && c[2] >= 'A' && c[2] <= 'Z') {
			fputs(".\n", stdout); /* a sentence begins a line */
			c++;
			begin = true;
		}
		else
			putchar(*c);
	}
	putchar('\n');
}

static void mdoc_options(const struct cmd_option *table)
{
	if (!table->name)
		return;
	puts(".Bl -tag -width Ds");
	for (const struct cmd_option *o = table; o->name; o++) {
		fputs(".It ", stdout);
		if (o->letter)
			printf("Fl %c , ", o->letter);
		printf("Fl \\-%s", o->name);
		if (o->value)
			printf(" Ar %s", o->value);
		putchar('\n');
		mdoc_text(o->help);
	}
	puts(".El");
}

/* Operands as mdoc: "[RUN ...]" is `Op Ar RUN ...`. */
static void mdoc_operands(const char *operands)
{
	_cleanup_free_ char *copy = mk_strdup(operands);
	char *rest = copy;

	for (char *word; (word = strsep(&rest, " "));) {
		size_t len = strlen(word);

		if (strcmp(word, "...") == 0 || strcmp(word, "...]") == 0)
			continue;
		if (*word == '[') {
			bool more = word[len - 1] != ']';

			if (!more)
				word[len - 1] = '\0';
			printf(" Oo Ar %s%s Oc", word + 1, more ? " ..." : "");
		} else if (len) {
			bool more = rest && strncmp(rest, "...", 3) == 0;

			printf(" Ar %s%s", word, more ? " ..." : "");
		}
	}
}

static void generate_mdoc(void)
{
	puts(".Sh OPTIONS");
	mdoc_options(ctl_global_options);
	puts(".Sh COMMANDS");
	for (const struct cmd *const *c = ctl_commands; *c; c++) {
		printf(".Ss %s\n.Nm %s", (*c)->name, (*c)->name);
		if ((*c)->options->name)
			fputs(" Oo Ar OPTION ... Oc", stdout);
		mdoc_operands((*c)->operands);
		puts("\n.Pp");
		mdoc_text((*c)->help);
		if ((*c)->more) {
			puts(".Pp");
			mdoc_text((*c)->more);
		}
		mdoc_options((*c)->options);
	}
}

static void generate_status(void)
{
	puts(".Sh EXIT STATUS\n.Bl -tag -width 1234 -compact");
	for (size_t i = 0; i < sizeof(statuses) / sizeof(*statuses); i++) {
		printf(".It %d\n", statuses[i].status);
		mdoc_text(statuses[i].help);
	}
	puts(".El");
}

/* The options of config.yaml, for mantik.yaml(5). */
static void generate_options(void)
{
	size_t n;
	const struct mk_option *table = mk_option_table(&n);

	puts(".Bl -tag -width Ds");
	for (size_t i = 0; i < n; i++) {
		_cleanup_buf_ struct mk_buf range = MK_BUF(4096);

		mk_option_range(&table[i], &range);
		printf(".It Cm %s Pq %s\n", table[i].name, mk_option_type_name(table[i].type));
		mdoc_text(table[i].help);
		if (*table[i].standard)
			printf("Default %s.\n", table[i].standard);
		if (range.len) {
			fputs("Range: ", stdout);
			mdoc_text(mk_buf_text(&range));
		}
	}
	puts(".El");
}

/* The keys of connections/NAME.yaml, kind by kind. */
static void generate_connections(void)
{
	static const char *const types[] = {
		[MK_CONNECTION_TEXT] = "text",	     [MK_CONNECTION_URL] = "url",
		[MK_CONNECTION_PATH] = "path",	     [MK_CONNECTION_SECRET] = "secret",
		[MK_CONNECTION_COMMAND] = "command",
	};
	const char *kind;

	for (size_t k = 0; (kind = mk_connection_kind(k)); k++) {
		size_t n = 0;
		const struct mk_connection_key *keys = mk_connection_keys(kind, &n);

		printf(".Ss kind: %s\n.Bl -tag -width token_command\n", kind);
		for (size_t i = 0; i < n; i++) {
			printf(".It Cm %s Pq %s%s\n", keys[i].name, types[keys[i].type],
			       keys[i].needed ? ", needed" : "");
			mdoc_text(keys[i].help);
		}
		puts(".El");
	}
}

static void generate_table(void)
{
	for (const struct cmd_option *o = ctl_global_options; o->name; o++)
		printf("\t--%s\t%s\n", o->name, o->value ? o->value : "");
	for (const struct cmd *const *c = ctl_commands; *c; c++) {
		printf("%s\t\t%s\n", (*c)->name, (*c)->operands);
		for (const struct cmd_option *o = (*c)->options; o->name; o++)
			printf("%s\t--%s\t%s\n", (*c)->name, o->name, o->value ? o->value : "");
	}
}

static const struct {
	const char *name;
	void (*generate)(void);
} generators[] = {
	{"bash", ctl_complete_bash}, {"zsh", ctl_complete_zsh}, {"fish", ctl_complete_fish},
	{"mdoc", generate_mdoc}, {"status", generate_status},
	{"options", generate_options}, {"connections", generate_connections},
	{"table", generate_table},
};

int ctl_generate(const char *what)
{
	for (size_t i = 0; i < sizeof(generators) / sizeof(*generators); i++) {
		if (strcmp(generators[i].name, what) == 0) {
			generators[i].generate();
			return 0;
		}
	}
	fprintf(stderr, "mantikctl: --generate takes bash, zsh, fish, mdoc, status, options, "
			"connections or table\n");
	return CTL_USAGE;
}
