/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Just enough of the shell's grammar to know, at every place of a command, which quotes a value
 * needs there, and where a value cannot be made safe by quoting. A text is fed byte by byte; a
 * value is written with mk_shell_value(). What is not followed exactly (case, here-documents, quotes
 * in ${…}) makes the rest of the text unsafe rather than guessed.
 */
#ifndef MK_SHELL_H
#define MK_SHELL_H

#include <mantik/buf.h>

/* A text as one shell word, exactly as Python's shlex.quote. */
void mk_shell_quote(struct mk_buf *buf, const char *text);
/* A text between double quotes in which $NAME, ${…} and $(…) are left to the shell. */
void mk_shell_expand(struct mk_buf *buf, const char *text);
/* NULL, or what mk_shell_expand() would leave open: "$( without )". */
const char *mk_shell_expand_check(const char *text);

enum mk_shell_context {
	MK_SHELL_BARE, /* also inside $(…) and (…) */
	MK_SHELL_PAREN,
	MK_SHELL_COMMAND,    /* $(…) */
	MK_SHELL_SINGLE,     /* '…' */
	MK_SHELL_DOUBLE,     /* "…" */
	MK_SHELL_ANSI,	     /* $'…' */
	MK_SHELL_BACKTICK,   /* `…` */
	MK_SHELL_BRACE,	     /* ${…} */
	MK_SHELL_ARITHMETIC, /* $((…)) and ((…)) */
	MK_SHELL_COMMENT,
};

enum { MK_SHELL_DEPTH = 32 };

struct mk_shell {
	struct mk_shell_frame {
		enum mk_shell_context context;
		int parens;	  /* ARITHMETIC: open ones */
		bool has_program; /* the running simple command has its first word */
		bool shell_seen;  /* it names a shell */
		bool interpreter; /* the last word but options was python, perl, … */
		const char *second; /* … and this makes its texts read twice; NULL not */
	} frame[MK_SHELL_DEPTH];
	size_t depth; /* index of the innermost */
	char word[32]; /* begin of the running bare word */
	size_t word_len;
	bool escape; /* the last byte was a backslash that quotes the next */
	bool dollar; /* the last byte was a $ that begins an expansion */
	bool ampersand; /* the last byte was the first & of a pair */
	int less;	/* how many < in a row */
	const char *lost; /* from here on nothing is safe: why; NULL not */
	bool operators;	  /* a list or pipe operator stood outside of everything */
};

void mk_shell_feed(struct mk_shell *shell, char c);
/* Is the next byte in no quotes, so that a newline ends a command? */
bool mk_shell_bare(const struct mk_shell *shell);
/* Writes a value as the text of one word at this place. NULL, or why this value cannot be put here:
 * "stands inside ${…}". */
const char *mk_shell_value(struct mk_shell *shell, struct mk_buf *buf, const char *value);
/* NULL when a text may end here, else what is open: "a \" is not closed". */
const char *mk_shell_open(const struct mk_shell *shell);
/* The same for a whole text. */
const char *mk_shell_check(const char *text);

#endif
