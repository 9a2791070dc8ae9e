/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shell's quoting, followed through a text (shell.h). A stack of contexts; each bare context
 * keeps what is known of its running simple command, because `bash -c "echo {x}"` reads x twice.
 */
#include "format/shell.h"

#include <string.h>

static bool is_plain(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c && strchr("@%+=:,./_-", c));
}

/* Only letters, digits and @%+=:,./_- : the same in every context. "" is not plain. */
static bool all_plain(const char *text)
{
	for (const char *p = text; *p; p++)
		if (!is_plain(*p))
			return false;
	return *text != 0;
}

/* Between '…' already: leave, write the quote, come back. */
static void put_single(struct mk_buf *buf, const char *text)
{
	for (const char *p = text; *p; p++) {
		if (*p == '\'')
			(void)mk_buf_puts(buf, "'\"'\"'");
		else
			(void)mk_buf_putc(buf, *p);
	}
}

static void put_double(struct mk_buf *buf, const char *text)
{
	for (const char *p = text; *p; p++) {
		if (strchr("$`\"\\", *p))
			(void)mk_buf_putc(buf, '\\');
		(void)mk_buf_putc(buf, *p);
	}
}

void mk_shell_quote(struct mk_buf *buf, const char *text)
{
	if (all_plain(text)) {
		(void)mk_buf_puts(buf, text);
		return;
	}
	(void)mk_buf_putc(buf, '\'');
	put_single(buf, text);
	(void)mk_buf_putc(buf, '\'');
}

static struct mk_shell_frame *top(struct mk_shell *shell)
{
	return &shell->frame[shell->depth];
}

static void push(struct mk_shell *shell, enum mk_shell_context context)
{
	if (shell->depth + 1 >= MK_SHELL_DEPTH) {
		shell->lost = "stands after very deep nesting";
		return;
	}
	shell->depth++;
	*top(shell) = (struct mk_shell_frame){.context = context};
	shell->word_len = 0;
	shell->word[0] = 0;
}

static void pop(struct mk_shell *shell)
{
	if (shell->depth > 0)
		shell->depth--;
	/* what was quoted is part of the word; its text does not matter */
	shell->word_len = 1;
	shell->word[0] = '"';
	shell->word[1] = 0;
}

static void word_add(struct mk_shell *shell, char c)
{
	if (shell->word_len + 1 < sizeof(shell->word)) {
		shell->word[shell->word_len++] = c;
		shell->word[shell->word_len] = 0;
	}
}

/* Programs that read their arguments as shell text (or arithmetic, which runs $(…) too). */
static const char *const second_readers[] = {"eval", "let",   "trap",	 "ssh",
					     "[[",   "watch", "parallel"};
static const char *const shells[] = {"sh", "bash", "dash", "zsh", "ksh", "su"};
static const char *const interpreters[] = {"python", "python3", "perl", "ruby", "node", "Rscript"};
/* What starts another program, so that the next word is one. */
static const char *const launchers[] = {"env",	 "exec", "srun", "mpirun",  "time",
					"nohup", "sudo", "nice", "command", "timeout"};

static bool is_one_of(const char *word, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(word, list[i]) == 0)
			return true;
	return false;
}

#define IS_ONE_OF(word, list) is_one_of(word, list, sizeof(list) / sizeof(*(list)))

/* Looks at a word of the running simple command: does what follows get read as code? */
static void judge_word(struct mk_shell *shell, struct mk_shell_frame *frame)
{
	const char *word = shell->word;
	const char *slash = strrchr(word, '/');
	const char *base = slash ? slash + 1 : word;
	size_t n = shell->word_len;
	bool is_option = word[0] == '-';

	if (IS_ONE_OF(base, second_readers))
		frame->second = "stands in a text that is read as shell code once more";
	/* `$SHELL -c`, `"$(which bash)" -c`: it may be one */
	if (IS_ONE_OF(base, shells) || (!frame->has_program && strchr("$\"", word[0])))
		frame->shell_seen = true;
	if (is_option && word[1] != '-' && n >= 2 && frame->shell_seen && word[n - 1] == 'c')
		frame->second = "stands in a text that a second shell reads (-c)";
	if (is_option && frame->interpreter && (word[1] == 'c' || word[1] == 'e'))
		frame->second = "stands in a program's text (-c)";
	if (strncmp(word, "--wrap", 6) == 0)
		frame->second = "stands in a text that a second shell reads (--wrap)";
	if (strcmp(word, "case") == 0)
		shell->lost = "stands after a case";
	if (IS_ONE_OF(base, interpreters))
		frame->interpreter = true;
	else if (!is_option)
		frame->interpreter = false;
	if (!is_option && !strchr(word, '=') && !IS_ONE_OF(base, launchers))
		frame->has_program = true;
}

static void word_end(struct mk_shell *shell)
{
	if (shell->word_len)
		judge_word(shell, top(shell));
	shell->word_len = 0;
	shell->word[0] = 0;
}

static void command_end(struct mk_shell *shell)
{
	word_end(shell);
	top(shell)->shell_seen = false;
	top(shell)->interpreter = false;
	top(shell)->has_program = false;
	top(shell)->second = NULL;
}

static void feed_bare(struct mk_shell *shell, char c, bool dollar)
{
	switch (c) {
	case '\\':
		shell->escape = true;
		word_add(shell, c);
		return;
	case '\'':
		push(shell, dollar ? MK_SHELL_ANSI : MK_SHELL_SINGLE);
		return;
	case '"':
		push(shell, MK_SHELL_DOUBLE);
		return;
	case '`':
		push(shell, MK_SHELL_BACKTICK);
		return;
	case '$':
		shell->dollar = true;
		word_add(shell, c);
		return;
	case '{':
		if (dollar)
			push(shell, MK_SHELL_BRACE);
		else
			word_add(shell, c);
		return;
	case '(':
		/* $(( and (( at once are arithmetic; `$( (` is not */
		if (!dollar && shell->word_len == 0 && top(shell)->parens == 1 &&
		    (top(shell)->context == MK_SHELL_COMMAND ||
		     top(shell)->context == MK_SHELL_PAREN)) {
			top(shell)->context = MK_SHELL_ARITHMETIC;
			top(shell)->parens = 2;
			return;
		}
		word_end(shell);
		push(shell, dollar ? MK_SHELL_COMMAND : MK_SHELL_PAREN);
		top(shell)->parens = 1;
		return;
	case ')':
		command_end(shell);
		pop(shell);
		return;
	case '#':
		if (shell->word_len == 0)
			push(shell, MK_SHELL_COMMENT);
		else
			word_add(shell, c);
		return;
	case ' ':
	case '\t':
		word_end(shell);
		break;
	case '&':
		/* `2>&1` and `&>log` end no command, and a lone & is not worth telling apart */
		word_end(shell);
		shell->ampersand = !shell->ampersand;
		if (shell->ampersand) {
			top(shell)->parens = 0;
			return;
		}
		command_end(shell);
		if (shell->depth == 0)
			shell->operators = true;
		break;
	case ';':
	case '|':
	case '\n':
		command_end(shell);
		if (shell->depth == 0)
			shell->operators = true;
		break;
	case '<':
	case '>':
		word_end(shell);
		break;
	default:
		word_add(shell, c);
	}
	/* any byte but a second ( makes `$(` an ordinary one */
	top(shell)->parens = 0;
}

void mk_shell_feed(struct mk_shell *shell, char c)
{
	bool dollar = shell->dollar;
	enum mk_shell_context context = top(shell)->context;

	shell->dollar = false;
	if (c != '&')
		shell->ampersand = false;
	if (shell->escape) {
		shell->escape = false;
		if (context <= MK_SHELL_COMMAND)
			word_add(shell, c);
		return;
	}
	if (context <= MK_SHELL_COMMAND) {
		if (shell->less == 2 && c != '<')
			shell->lost = "stands after a here-document";
		shell->less = c == '<' ? shell->less + 1 : 0;
	}

	switch (context) {
	case MK_SHELL_BARE:
	case MK_SHELL_PAREN:
	case MK_SHELL_COMMAND:
		feed_bare(shell, c, dollar);
		break;
	case MK_SHELL_SINGLE:
		if (c == '\'')
			pop(shell);
		break;
	case MK_SHELL_DOUBLE:
		if (c == '\\') {
			shell->escape = true;
		} else if (c == '"') {
			pop(shell);
		} else if (c == '`') {
			push(shell, MK_SHELL_BACKTICK);
		} else if (c == '$') {
			shell->dollar = true;
		} else if (c == '{' && dollar) {
			push(shell, MK_SHELL_BRACE);
		} else if (c == '(' && dollar) {
			push(shell, MK_SHELL_COMMAND);
			top(shell)->parens = 1;
		}
		break;
	case MK_SHELL_ANSI:
		if (c == '\\')
			shell->escape = true;
		else if (c == '\'')
			pop(shell);
		break;
	case MK_SHELL_BACKTICK:
		if (c == '\\')
			shell->escape = true;
		else if (c == '`')
			pop(shell);
		break;
	case MK_SHELL_BRACE:
		if (c == '\\')
			shell->escape = true;
		else if (c == '}')
			pop(shell);
		else if (c == '$')
			shell->dollar = true;
		else if (c == '{' && dollar)
			push(shell, MK_SHELL_BRACE);
		else if (strchr("'\"`(", c))
			shell->lost = "stands after quotes in ${…}";
		break;
	case MK_SHELL_ARITHMETIC:
		if (c == '(')
			top(shell)->parens++;
		else if (c == ')' && --top(shell)->parens == 0)
			pop(shell);
		break;
	case MK_SHELL_COMMENT:
		if (c == '\n') {
			pop(shell);
			mk_shell_feed(shell, c);
		}
		break;
	}
}

bool mk_shell_bare(const struct mk_shell *shell)
{
	return !shell->escape && !shell->lost &&
	       shell->frame[shell->depth].context <= MK_SHELL_COMMAND;
}

/* NULL, or why only a plain value is the same whatever reads it here. */
static const char *why_unsafe(struct mk_shell *shell)
{
	static const char *const contexts[] = {
		[MK_SHELL_ANSI] = "stands inside $'…'",
		[MK_SHELL_BACKTICK] = "stands inside `…` (write $(…))",
		[MK_SHELL_BRACE] = "stands inside ${…}",
		[MK_SHELL_ARITHMETIC] = "stands inside arithmetic",
		[MK_SHELL_COMMENT] = "stands inside a comment",
	};

	if (shell->lost)
		return shell->lost;
	if (shell->escape)
		return "stands behind a backslash";
	if (shell->dollar)
		return "stands behind a $ (for a variable of the shell write ${{NAME}})";
	if (shell->less == 2)
		return "names the end of a here-document";
	if (contexts[top(shell)->context])
		return contexts[top(shell)->context];
	if (top(shell)->context <= MK_SHELL_COMMAND && shell->word_len) {
		/* `--wrap={x}`: the word is not ended yet */
		struct mk_shell_frame frame = *top(shell);
		struct mk_shell copy = *shell;

		judge_word(&copy, &frame);
		if (frame.second)
			return frame.second;
	}
	for (size_t i = 0; i <= shell->depth; i++)
		if (shell->frame[i].second)
			return shell->frame[i].second;
	return NULL;
}

const char *mk_shell_value(struct mk_shell *shell, struct mk_buf *buf, const char *value)
{
	const char *why = why_unsafe(shell);

	if (why) {
		if (!all_plain(value))
			return why;
		(void)mk_buf_puts(buf, value);
	} else if (top(shell)->context == MK_SHELL_SINGLE) {
		put_single(buf, value);
	} else if (top(shell)->context == MK_SHELL_DOUBLE) {
		put_double(buf, value);
	} else {
		mk_shell_quote(buf, value);
	}

	if (shell->less == 2)
		shell->lost = "stands after a here-document";
	shell->escape = false;
	shell->dollar = false;
	shell->ampersand = false;
	shell->less = 0;
	if (top(shell)->context <= MK_SHELL_COMMAND) {
		top(shell)->parens = 0;
		/* `{tool} -c "…"`: the value may be the name of a shell */
		if (!*value)
			word_add(shell, '"');
		for (const char *p = value; *p; p++)
			word_add(shell, *p);
	}
	return NULL;
}

const char *mk_shell_open(const struct mk_shell *shell)
{
	static const char *const unclosed[] = {
		[MK_SHELL_COMMAND] = "$( without )",
		[MK_SHELL_PAREN] = "( without )",
		[MK_SHELL_SINGLE] = "a ' that is not closed",
		[MK_SHELL_DOUBLE] = "a \" that is not closed",
		[MK_SHELL_ANSI] = "a $' that is not closed",
		[MK_SHELL_BACKTICK] = "a ` that is not closed",
		[MK_SHELL_BRACE] = "${ without }",
		[MK_SHELL_ARITHMETIC] = "(( without ))",
		[MK_SHELL_COMMENT] = NULL,
	};

	return shell->lost ? NULL : unclosed[shell->frame[shell->depth].context];
}

const char *mk_shell_check(const char *text)
{
	struct mk_shell shell = {};

	for (const char *p = text; *p; p++)
		mk_shell_feed(&shell, *p);
	return mk_shell_open(&shell);
}

/* A " of the text itself is quoted, one inside $(…) belongs to that command. A backslash stays. */
static void expand(struct mk_shell *shell, struct mk_buf *buf, const char *text)
{
	mk_shell_feed(shell, '"');
	for (const char *p = text; *p; p++) {
		if (*p == '"' && shell->depth == 1 && !shell->escape) {
			(void)mk_buf_puts(buf, "\\\"");
			continue;
		}
		(void)mk_buf_putc(buf, *p);
		mk_shell_feed(shell, *p);
	}
	if (shell->escape)
		(void)mk_buf_putc(buf, '\\');
}

void mk_shell_expand(struct mk_buf *buf, const char *text)
{
	struct mk_shell shell = {};

	if (all_plain(text)) {
		(void)mk_buf_puts(buf, text);
		return;
	}
	(void)mk_buf_putc(buf, '"');
	expand(&shell, buf, text);
	(void)mk_buf_putc(buf, '"');
}

const char *mk_shell_expand_check(const char *text)
{
	_cleanup_buf_ struct mk_buf buf = MK_BUF(strlen(text) * 2 + 2);
	struct mk_shell shell = {};

	expand(&shell, &buf, text);
	return shell.depth == 1 ? NULL : mk_shell_open(&shell);
}
