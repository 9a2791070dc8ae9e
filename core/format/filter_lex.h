/* SPDX-License-Identifier: Apache-2.0 */
/* Words of a filter: where each begins and ends in the text. Only for core/format/filter*.c. */
#ifndef MK_FILTER_LEX_H
#define MK_FILTER_LEX_H

#include <mantik/mantik.h>

enum mk_lex {
	LEX_NAME,   /* a word, `…` or […] */
	LEX_SYMBOL, /* "…" */
	LEX_STRING, /* '…' */
	LEX_INT,
	LEX_FLOAT,
	LEX_COMPARE, /* = != < … LIKE, NOT LIKE */
	LEX_DOT,
	LEX_STAR,
	LEX_OPEN,
	LEX_CLOSE,
	LEX_AND,
	LEX_IN,
	LEX_NOT,
	LEX_IS,
	LEX_NULL,
	LEX_NOT_NULL,
	LEX_ORDER, /* ASC, DESC, either with NULLS FIRST or LAST */
	LEX_OTHER, /* no filter has it outside of a list: commas, operators, comments */
	LEX_END,   /* behind the last */
};

struct mk_token {
	enum mk_lex is;
	size_t begin, end; /* offsets in the text */
};

struct mk_tokens {
	struct mk_token *v; /* v[n] is LEX_END */
	size_t n;
};

/* What is no word is LEX_OTHER. text is UTF-8. ENOMEM. */
int mk_filter_lex(const char *text, size_t len, struct mk_tokens *ret) _must_check_;
void mk_tokens_free(struct mk_tokens *tokens);

#endif
