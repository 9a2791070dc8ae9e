/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cuts a filter into words as an SQL lexer of MLflow's kind does. What it knows of SQL beyond the
 * words of a filter is only enough to see that something is none.
 *
 * Each read_…() looks at the place it is given and says how many bytes belong to it, 0: it is
 * something else.
 */
#include "format/filter_lex.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/utf8.h"

struct text {
	const char *s;
	size_t len;
};

static uint32_t char_at(const struct text *t, size_t i, size_t *ret_len)
{
	uint32_t c = 0;
	size_t n = i < t->len ? mk_utf8_char(t->s + i, t->len - i, &c) : 0;

	*ret_len = n ? n : i < t->len;
	return n ? c : 0;
}

static bool is_digit(const struct text *t, size_t i)
{
	return i < t->len && t->s[i] >= '0' && t->s[i] <= '9';
}

/* Letters a number may not run into: those of Latin-1, and `_`. */
static bool is_latin(uint32_t c)
{
	return (c < 128 && (isalpha((int)c) || c == '_')) || (c >= 0xC0 && c <= 0xFC && c != 0xF7 &&
							      c != 0xDF);
}

/* Punctuation and signs are told from letters by their blocks. */
static bool is_word(uint32_t c)
{
	static const struct { uint32_t from, to; } not[] = {
		{0x80, 0xA9}, {0xAB, 0xB1}, {0xB4, 0xB4}, {0xB6, 0xB8}, {0xBB, 0xBB}, {0xBF, 0xBF},
		{0xD7, 0xD7}, {0xF7, 0xF7}, {0x1680, 0x1680}, {0x2000, 0x206F}, {0x20A0, 0x20CF},
		{0x2190, 0x245F}, {0x2500, 0x2775}, {0x2794, 0x2BFF}, {0x3000, 0x3004},
		{0x3008, 0x3020}, {0xD800, 0xF8FF}, {0xFE00, 0xFE6F}, {0xFF01, 0xFF0F},
		{0x1F000, 0x1F0FF}, {0x1F300, 0x1FAFF}, {0xE0000, 0x10FFFF},
	};

	if (c < 128)
		return isalnum((int)c) || c == '_';
	for (size_t i = 0; i < sizeof(not) / sizeof(not[0]); i++)
		if (c >= not[i].from && c <= not[i].to)
			return false;
	return true;
}

static bool is_space(uint32_t c)
{
	return (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
	       c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
	       c == 0x202F || c == 0x205F || c == 0x3000;
}

static size_t skip_space(const struct text *t, size_t i)
{
	size_t n;

	while (i < t->len && is_space(char_at(t, i, &n)))
		i += n;
	return i;
}

static size_t skip_word(const struct text *t, size_t i, const char *more)
{
	size_t n;

	while (i < t->len) {
		uint32_t c = char_at(t, i, &n);

		if (!is_word(c) && !(c && c < 128 && strchr(more, (int)c)))
			break;
		i += n;
	}
	return i;
}

/* The whole word at i, letters of either case. */
static size_t read_keyword(const struct text *t, size_t i, const char *word)
{
	size_t end = skip_word(t, i, "");

	return end - i == strlen(word) && strncasecmp(t->s + i, word, end - i) == 0 ? end - i : 0;
}

/* One word after the other with space between them. */
static size_t read_two(const struct text *t, size_t i, const char *first, const char *second)
{
	size_t n = read_keyword(t, i, first);
	size_t next = skip_space(t, i + n);

	if (!n || next == i + n)
		return 0;
	n = read_keyword(t, next, second);
	return n ? next + n - i : 0;
}

/*
 * A doubled quote, and one behind a backslash, do not end a text, unless nothing else does: then
 * the last of them is its end.
 */
static size_t read_quoted(const struct text *t, size_t i, char quote, bool backslash)
{
	size_t other = 0;

	for (size_t at = i + 1; at < t->len; at++) {
		if (backslash && t->s[at] == '\\' && at + 1 < t->len && t->s[at + 1] == quote) {
			other = ++at;
			continue;
		}
		if (t->s[at] != quote)
			continue;
		if (at + 1 >= t->len || t->s[at + 1] != quote)
			return at + 1 - i;
		other = at++;
	}
	return other ? other + 1 - i : 0;
}

static size_t read_bracket(const struct text *t, size_t i)
{
	if (i > 0 && (t->s[i - 1] == ']' || t->s[i - 1] == ')' ||
		      (unsigned char)t->s[i - 1] >= 128 || isalnum((unsigned char)t->s[i - 1]) ||
		      t->s[i - 1] == '_'))
		return 0;
	for (size_t at = i + 1; at < t->len && t->s[at] != '['; at++)
		if (t->s[at] == ']')
			return at > i + 1 ? at + 1 - i : 0;
	return 0;
}

static size_t skip_digits(const struct text *t, size_t i)
{
	while (is_digit(t, i))
		i++;
	return i;
}

/* A number, `-` included. One that runs into a letter is none. */
static size_t read_number(const struct text *t, size_t i, enum mk_lex *ret)
{
	size_t at = i + (t->s[i] == '-'), n;
	size_t whole = skip_digits(t, at);
	size_t end = whole;

	if (end < t->len && t->s[end] == '.')
		end = skip_digits(t, end + 1);
	if (end == at || (whole == at && end == at + 1))
		return 0;

	bool fraction = end > whole;

	/* 1e5, 1.5E-3; not 1.e5, .5e3. */
	if (whole > at && end < t->len && (t->s[end] == 'e' || t->s[end] == 'E') &&
	    (!fraction || end > whole + 1)) {
		size_t e = end + 1 + (end + 1 < t->len && t->s[end + 1] == '-');

		if (is_digit(t, e)) {
			*ret = LEX_FLOAT;
			return skip_digits(t, e) - i;
		}
	}
	if (is_latin(char_at(t, end, &n)))
		return 0;
	*ret = fraction ? LEX_FLOAT : LEX_INT;
	return end - i;
}

/* Words that are never names without quotes, not even behind a dot. */
static bool is_reserved(const struct text *t, size_t i)
{
	static const char *const words[] = {"case", "values", "using", "from", "as"};

	for (size_t w = 0; w < sizeof(words) / sizeof(words[0]); w++)
		if (read_keyword(t, i, words[w]))
			return true;
	return false;
}

static bool is_called(const struct text *t, size_t end)
{
	return end < t->len && t->s[end] == '(';
}

/* A word that is no name because of what it is. */
static size_t read_special(const struct text *t, size_t i, enum mk_lex *ret)
{
	static const struct { const char *first, *second; enum mk_lex is; } words[] = {
		{"not", "null", LEX_NOT_NULL}, {"not", "like", LEX_COMPARE},
		{"not", "ilike", LEX_COMPARE}, {"not", "rlike", LEX_COMPARE},
		{"not", "regexp", LEX_COMPARE}, {"like", NULL, LEX_COMPARE},
		{"ilike", NULL, LEX_COMPARE}, {"rlike", NULL, LEX_COMPARE},
		{"regexp", NULL, LEX_COMPARE}, {"and", NULL, LEX_AND}, {"not", NULL, LEX_NOT},
		{"is", NULL, LEX_IS}, {"null", NULL, LEX_NULL}, {"asc", NULL, LEX_ORDER},
		{"desc", NULL, LEX_ORDER}, {"or", NULL, LEX_OTHER}, {"where", NULL, LEX_OTHER},
		{"between", NULL, LEX_OTHER}, {"order", NULL, LEX_OTHER},
	};

	for (size_t w = 0; w < sizeof(words) / sizeof(words[0]); w++) {
		size_t n = words[w].second ? read_two(t, i, words[w].first, words[w].second)
					   : read_keyword(t, i, words[w].first);

		if (!n)
			continue;
		*ret = words[w].is;
		if (words[w].is == LEX_ORDER) {
			size_t nulls = skip_space(t, i + n), more;

			more = read_two(t, nulls, "nulls", "first");
			if (!more)
				more = read_two(t, nulls, "nulls", "last");
			if (more && nulls > i + n)
				n = nulls + more - i;
		}
		return n;
	}
	return 0;
}

static size_t read_word(const struct text *t, size_t i, enum mk_lex *ret)
{
	size_t n, end = skip_word(t, i, "");
	bool latin = is_latin(char_at(t, i, &n)) && t->s[i] != '_';

	if (read_keyword(t, i, "in")) {
		*ret = LEX_IN;
		return 2;
	}
	if (is_reserved(t, i)) {
		*ret = LEX_OTHER;
		return end - i;
	}

	size_t dot = skip_space(t, end);
	bool before_dot = dot < t->len && t->s[dot] == '.' && !is_digit(t, dot + 1);
	bool name = latin && (before_dot || (i > 0 && t->s[i - 1] == '.') || is_called(t, end));

	if (!name) {
		n = read_special(t, i, ret);
		if (n)
			return n;
		end = skip_word(t, i, "$#");
	}
	*ret = LEX_NAME;
	return end - i;
}

static size_t read_compare(const struct text *t, size_t i)
{
	return strspn(t->s + i, "<>=~!");
}

/* The next token: its length, never 0. A comment takes the rest. */
static size_t read_token(const struct text *t, size_t i, enum mk_lex *ret)
{
	size_t n, left = t->len - i;
	uint32_t c = char_at(t, i, &n);

	*ret = LEX_OTHER;
	if (left > 1 && (memcmp(t->s + i, "--", 2) == 0 || memcmp(t->s + i, "# ", 2) == 0 ||
			 memcmp(t->s + i, "/*", 2) == 0))
		return left;
	if (c == '-' || c == '.' || is_digit(t, i)) {
		size_t number = read_number(t, i, ret);

		if (number)
			return number;
		/* .1a is a dot and a name, .12a nothing at all. */
		if (c == '.' && is_digit(t, i + 1) && is_digit(t, i + 2))
			return 1;
	}

	size_t quoted = 0;

	switch (c) {
	case '\'':
		quoted = read_quoted(t, i, '\'', true);
		*ret = quoted ? LEX_STRING : LEX_OTHER;
		return quoted ? quoted : left;
	case '"':
		quoted = read_quoted(t, i, '"', true);
		*ret = quoted ? LEX_SYMBOL : LEX_OTHER;
		return quoted ? quoted : left;
	case '`':
		quoted = read_quoted(t, i, '`', false);
		*ret = quoted ? LEX_NAME : LEX_OTHER;
		return quoted ? quoted : left;
	case '[':
		quoted = read_bracket(t, i);
		*ret = quoted ? LEX_NAME : LEX_OTHER;
		return quoted ? quoted : left;
	case '.':
		*ret = LEX_DOT;
		return 1;
	case '*':
		*ret = LEX_STAR;
		return 1;
	case '(':
		*ret = LEX_OPEN;
		return 1;
	case ')':
		*ret = LEX_CLOSE;
		return 1;
	case '<':
	case '>':
	case '=':
	case '~':
	case '!':
		if (c == '<' && left > 1 && t->s[i + 1] == '@')
			return 2;
		*ret = LEX_COMPARE;
		return read_compare(t, i);
	}
	if (is_word(c))
		return read_word(t, i, ret);
	return n;
}

int mk_filter_lex(const char *text, size_t len, struct mk_tokens *ret)
{
	struct text t = {.s = text, .len = len};
	_cleanup_(mk_tokens_free) struct mk_tokens tokens = {};
	size_t cap = 16, i = skip_space(&t, 0);

	tokens.v = mk_alloc(cap * sizeof(tokens.v[0]));
	while (i < len) {
		enum mk_lex is;
		size_t n = read_token(&t, i, &is);

		if (tokens.n + 2 > cap) {
			struct mk_token *v = reallocarray(tokens.v, cap *= 2, sizeof(*v));

			if (!v)
				return -ENOMEM;
			tokens.v = v;
		}
		tokens.v[tokens.n++] = (struct mk_token){is, i, i + n};
		i = skip_space(&t, i + n);
	}
	tokens.v[tokens.n] = (struct mk_token){LEX_END, len, len};
	*ret = tokens;
	tokens = (struct mk_tokens){};
	return 0;
}

void mk_tokens_free(struct mk_tokens *tokens)
{
	free(tokens->v);
	*tokens = (struct mk_tokens){};
}
