/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Completions of bash, zsh and fish, made from the tables of commands and options. Each shell first
 * finds the command: the first word that is neither a global option nor the value of one.
 */
#include "ctl.h"

#include <mantik/option.h>

#include <stdio.h>
#include <string.h>

static void words_of(const struct cmd_option *table)
{
	for (const struct cmd_option *o = table; o->name; o++) {
		if (o->letter)
			printf(" -%c", o->letter);
		printf(" --%s", o->name);
	}
}

/* What may stand where a command's operands are, besides files. */
static void operands_of(const char *command)
{
	size_t n;
	const struct mk_option *table = mk_option_table(&n);

	if (strcmp(command, "config") == 0)
		for (size_t i = 0; i < n; i++)
			printf(" %s", table[i].name);
}

static void commands(void)
{
	for (const struct cmd *const *c = ctl_commands; *c; c++)
		printf(" %s", (*c)->name);
}

/* Global options that take a word. */
static void taking(const char *between)
{
	const char *comma = "";

	for (const struct cmd_option *o = ctl_global_options; o->name; o++) {
		if (!o->value)
			continue;
		if (o->letter)
			printf("%s-%c", comma, o->letter);
		printf("%s--%s", o->letter ? between : comma, o->name);
		comma = between;
	}
}

void ctl_complete_bash(void)
{
	puts("# bash completion for mantikctl, made from its tables\n"
	     "_mantikctl() {\n"
	     "\tlocal cur=${COMP_WORDS[COMP_CWORD]} words= more= i\n"
	     "\tfor ((i = 1; i < COMP_CWORD; i++)); do\n"
	     "\t\tcase ${COMP_WORDS[i]} in");
	fputs("\t\t", stdout);
	taking(" | ");
	puts(") ((i++)); [[ ${COMP_WORDS[i]} != = ]] || ((i++)) ;;\n"
	     "\t\t-*) ;;\n"
	     "\t\t*) break ;;\n"
	     "\t\tesac\n"
	     "\tdone\n"
	     "\tif ((i == COMP_CWORD)); then");
	fputs("\t\tmore='", stdout);
	commands();
	fputs("' words=$more'", stdout);
	words_of(ctl_global_options);
	puts("'\n\telif ((i < COMP_CWORD)); then\n\t\tcase ${COMP_WORDS[i]} in");
	for (const struct cmd *const *c = ctl_commands; *c; c++) {
		printf("\t\t%s) words='--help", (*c)->name);
		words_of((*c)->options);
		fputs("' more='", stdout);
		operands_of((*c)->name);
		puts("' ;;");
	}
	fputs("\t\thelp) more='", stdout);
	commands();
	puts("' ;;\n"
	     "\t\tesac\n"
	     "\t\t[[ $cur == -* ]] || words=$more\n"
	     "\tfi\n"
	     "\tCOMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
	     "\t((${#COMPREPLY[@]})) || compopt -o default\n"
	     "}\n"
	     "complete -F _mantikctl mantikctl");
}

/* Within '…' of zsh and fish. */
static void quoted(const char *text, const char *also)
{
	for (const char *c = text; *c; c++) {
		if (*c == '\'')
			fputs("'\\''", stdout);
		else if (strchr(also, *c))
			printf("\\%c", *c);
		else
			putchar(*c);
	}
}

static void zsh_options(const struct cmd_option *table, const char *indent)
{
	for (const struct cmd_option *o = table; o->name; o++) {
		for (int k = o->letter ? 0 : 1; k < 2; k++) {
			printf("%s'*", indent);
			if (k == 0)
				printf("-%c", o->letter);
			else
				printf("--%s", o->name);
			putchar('[');
			quoted(o->help, "[]:");
			putchar(']');
			if (o->value)
				printf(":%s:_files", o->value);
			puts("' \\");
		}
	}
}

void ctl_complete_zsh(void)
{
	puts("#compdef mantikctl\n"
	     "# zsh completion for mantikctl, made from its tables\n"
	     "_mantikctl() {\n"
	     "\tlocal -a commands\n"
	     "\tlocal state line\n"
	     "\tcommands=(");
	for (const struct cmd *const *c = ctl_commands; *c; c++) {
		printf("\t\t'%s:", (*c)->name);
		quoted((*c)->help, ":");
		puts("'");
	}
	puts("\t)\n\t_arguments -C \\");
	zsh_options(ctl_global_options, "\t\t");
	puts("\t\t'1: :->command' '*::argument:->argument'\n"
	     "\tcase $state in\n"
	     "\tcommand) _describe command commands ;;\n"
	     "\targument)\n"
	     "\t\tcase $words[1] in");
	for (const struct cmd *const *c = ctl_commands; *c; c++) {
		printf("\t\t%s) _arguments \\\n", (*c)->name);
		zsh_options((*c)->options, "\t\t\t");
		fputs("\t\t\t'--help[this text]'", stdout);
		if (strcmp((*c)->name, "config") == 0) {
			fputs(" '1:option:(", stdout);
			operands_of((*c)->name);
			fputs(")'", stdout);
		}
		puts(" '*:argument:_files' ;;");
	}
	puts("\t\thelp) _describe command commands ;;\n"
	     "\t\tesac ;;\n\tesac\n}\n_mantikctl \"$@\"");
}

static void fish_options(const struct cmd_option *table, const char *condition)
{
	for (const struct cmd_option *o = table; o->name; o++) {
		printf("complete -c mantikctl -n '%s' -l %s", condition, o->name);
		if (o->letter)
			printf(" -s %c", o->letter);
		if (o->value)
			fputs(" -r", stdout);
		fputs(" -d '", stdout);
		quoted(o->help, "");
		puts("'");
	}
}

/* Fish's own __fish_use_subcommand takes the value of -D for the command. */
static void fish_functions(void)
{
	puts("function __mantikctl_command\n"
	     "\tset -l words (commandline -opc) ''\n"
	     "\tset -e words[1]\n"
	     "\twhile set -q words[1]\n"
	     "\t\tswitch $words[1]");
	fputs("\t\tcase ", stdout);
	taking(" ");
	puts("\n\t\t\tset -e words[1]\n"
	     "\t\tcase '-*'\n"
	     "\t\tcase '*'\n"
	     "\t\t\techo $words[1]\n"
	     "\t\t\treturn\n"
	     "\t\tend\n"
	     "\t\tset -e words[1]\n"
	     "\tend\n"
	     "\techo value\n"
	     "end\n"
	     "function __mantikctl_is\n"
	     "\ttest (__mantikctl_command) = \"$argv[1]\"\n"
	     "end");
}

void ctl_complete_fish(void)
{
	puts("# fish completion for mantikctl, made from its tables");
	fish_functions();
	fish_options(ctl_global_options, "__mantikctl_is \"\"");
	for (const struct cmd *const *c = ctl_commands; *c; c++) {
		char condition[64];

		for (int help = 0; help < 2; help++) {
			printf("complete -c mantikctl -f -n '__mantikctl_is \"%s\"' -a %s -d '",
			       help ? "help" : "", (*c)->name);
			quoted((*c)->help, "");
			puts("'");
		}
		snprintf(condition, sizeof(condition), "__mantikctl_is %s", (*c)->name);
		fish_options((*c)->options, condition);
		printf("complete -c mantikctl -n '%s' -l help -d 'this text'\n", condition);
		if (strcmp((*c)->name, "config") == 0) {
			printf("complete -c mantikctl -f -n '%s' -a '", condition);
			operands_of((*c)->name);
			puts("'");
		}
	}
}
