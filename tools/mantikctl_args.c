/* SPDX-License-Identifier: Apache-2.0 */
/* Command lines by table: builds getopt_long's own tables from a command's, keeps what it finds. */
#include "ctl.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

const char *ctl_option_nth(const struct ctl *ctl, const char *name, size_t i)
{
	for (size_t k = 0; k < ctl->n_given; k++)
		if (strcmp(ctl->given[k].option->name, name) == 0 && i-- == 0)
			return ctl->given[k].value;
	return NULL;
}

const char *ctl_option(const struct ctl *ctl, const char *name)
{
	const char *value = NULL, *next;

	for (size_t i = 0; (next = ctl_option_nth(ctl, name, i)); i++)
		value = next;
	return value;
}

int ctl_usage(const struct ctl *ctl, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("mantikctl: ", stderr);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	if (ctl->cmd)
		fprintf(stderr, "\nmantikctl %s --help tells how to use it\n", ctl->cmd->name);
	else
		fputs("\nmantikctl --help tells how to use it\n", stderr);
	return CTL_USAGE;
}

/* `-0.5` is a number, not five options: getopt gets it with a blank before. */
static bool is_number(const char *word)
{
	return word[0] == '-' && (word[1] == '.' || (word[1] >= '0' && word[1] <= '9'));
}

static char *plain(char *word, struct mk_list *numbers)
{
	for (size_t i = 0; i < numbers->n; i++)
		if (word == numbers->v[i])
			return word + 1;
	return word;
}

int ctl_parse(struct ctl *ctl, const char *prog, const struct cmd_option *table, int argc,
	      char **argv, bool first_only)
{
	size_t n = 0;

	while (table[n].name)
		n++;
	_cleanup_free_ struct option *longs = mk_alloc((n + 1) * sizeof(*longs));
	_cleanup_free_ char *shorts = mk_alloc(2 * n + 4);
	char *s = shorts;

	for (int i = 0; i < argc; i++) {
		_cleanup_buf_ struct mk_buf word = MK_BUF(MK_LIMIT_TEXT);

		if (is_number(argv[i])) {
			mk_buf_printf(&word, " %s", argv[i]);
			if (mk_list_add(&ctl->numbers, mk_buf_text(&word)) < 0)
				return ctl_usage(ctl, "too many numbers");
			argv[i] = ctl->numbers.v[ctl->numbers.n - 1];
		}
	}
	*s++ = first_only ? '+' : '-'; /* '-': operands come as option 1, in their order */
	*s++ = ':';
	for (size_t i = 0; i < n; i++) {
		longs[i] = (struct option){
			.name = table[i].name,
			.has_arg = table[i].value ? required_argument : no_argument,
			.val = 256 + (int)i,
		};
		if (table[i].letter) {
			*s++ = table[i].letter;
			if (table[i].value)
				*s++ = ':';
		}
	}
	ctl->given = mk_alloc((ctl->n_given + (size_t)argc) * sizeof(*ctl->given) + 1);
	ctl->operands = mk_alloc(((size_t)argc + 1) * sizeof(*ctl->operands));
	optind = 0; /* glibc: begin anew */
	opterr = 0;
	for (int c; (c = getopt_long(argc, argv, shorts, longs, NULL)) != -1;) {
		const struct cmd_option *option = NULL;

		if (c == 1) {
			ctl->operands[ctl->n_operands++] = plain(optarg, &ctl->numbers);
			continue;
		}
		if (c == ':')
			return ctl_usage(ctl, "%s: %s needs a value", prog, argv[optind - 1]);
		if (c == '?' && optopt && optopt < 256)
			return ctl_usage(ctl, "%s: unknown option -%c", prog, optopt);
		if (c == '?')
			return ctl_usage(ctl, "%s: unknown, ambiguous or valueless option %s", prog,
					 argv[optind - 1]);
		for (size_t i = 0; i < n; i++)
			if (c == 256 + (int)i || (c < 256 && c == table[i].letter))
				option = &table[i];
		ctl->given[ctl->n_given++] = (struct ctl_given){
			option, optarg ? plain(optarg, &ctl->numbers) : ""};
	}
	while (optind < argc)
		ctl->operands[ctl->n_operands++] = plain(argv[optind++], &ctl->numbers);
	return 0;
}
