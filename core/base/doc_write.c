/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing documents as YAML, texts as JSON: see doc.h.
 *
 * What is written reads back as the same tree, by YAML 1.1 and 1.2 readers alike: a text either
 * could take for a number, a truth or nothing is quoted, unless it was written plain before.
 */
#include "base/doc.h"

#include <ctype.h>
#include <string.h>

#include "base/utf8.h"

/* Characters a YAML reader takes as they are and as no line break. */
static bool is_printable(uint32_t code)
{
	if (code < 0x20 || (code >= 0x7f && code < 0xa0))
		return false;
	return code != 0x2028 && code != 0x2029 && code != 0xfeff && code != 0xfffe &&
	       code != 0xffff;
}

static bool all_printable(const char *text, const char *besides)
{
	uint32_t code = 0;

	for (size_t n; *text; text += n) {
		n = mk_utf8_char(text, 4, &code);
		if (!n)
			return false;
		if (!is_printable(code) && (code > 0x7f || !strchr(besides, (char)code)))
			return false;
	}
	return true;
}

/* Whether it can stand without quotes anywhere, also between brackets. */
static bool is_plain(const char *text)
{
	size_t n = strlen(text);

	if (!n || text[0] == ' ' || text[n - 1] == ' ' || text[n - 1] == ':')
		return false;
	if (strchr("!\"#%&'*,-:>?@[]`{|}", text[0])) {
		/* `-x` is plain, and only what was plain before gets here. */
		if (text[0] != '-' || n == 1 || strchr(" -", text[1]))
			return false;
	}
	if (strncmp(text, "...", 3) == 0 || strpbrk(text, ",[]{}"))
		return false;
	return !strstr(text, ": ") && !strstr(text, " #") && all_printable(text, "");
}

/* Whether some reader takes the plain text for something else than a text. */
static bool is_special(const char *text)
{
	static const char *const words[] = {"null", "true", "false", "yes", "no", "on", "off",
					    "y",    "n",    ".inf",  ".nan", "+.inf", "-.inf",
					    "~",    "=",    "<<"};
	const char *digits = text + strspn(text, "+-.");

	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		if (strcasecmp(text, words[i]) == 0)
			return true;
	/* Numbers of any base, times and dates; and more than those, which does no harm. */
	return isdigit((unsigned char)*digits) &&
	       !digits[strspn(digits, "0123456789abcdefABCDEFxXoO_.:+-TtZz ")];
}

/* A text in double quotes: YAML and JSON differ in what they escape besides, and how. */
static void put_double_quoted(struct mk_buf *buf, const char *text, bool json)
{
	uint32_t code = 0;

	(void)mk_buf_putc(buf, '"');
	for (size_t n; *text; text += n) {
		n = mk_utf8_char(text, 4, &code);
		if (!n) {
			n = 1;
			(void)mk_buf_puts(buf, json ? "\\ufffd" : "\\uFFFD");
		} else if (code == '"' || code == '\\') {
			(void)mk_buf_printf(buf, "\\%c", (char)code);
		} else if (code == '\n') {
			(void)mk_buf_puts(buf, "\\n");
		} else if (code == '\t') {
			(void)mk_buf_puts(buf, "\\t");
		} else if (json && (code < 0x20 || code == 0x7f)) {
			(void)mk_buf_printf(buf, "\\u%04x", code);
		} else if (!json && !is_printable(code)) {
			(void)mk_buf_printf(buf, code < 0x100 ? "\\x%02X" : "\\u%04X", code);
		} else {
			(void)mk_buf_put(buf, text, n);
		}
	}
	(void)mk_buf_putc(buf, '"');
}

void mk_json_string(struct mk_buf *buf, const char *text)
{
	put_double_quoted(buf, text, true);
}

void mk_yaml_scalar(struct mk_buf *buf, const char *text, bool was_plain)
{
	if (is_plain(text) && (was_plain || (text[0] != '-' && !is_special(text)))) {
		(void)mk_buf_puts(buf, text);
		return;
	}
	if (!all_printable(text, "")) {
		put_double_quoted(buf, text, false);
		return;
	}
	(void)mk_buf_putc(buf, '\'');
	for (; *text; text++) {
		if (*text == '\'')
			(void)mk_buf_putc(buf, '\'');
		(void)mk_buf_putc(buf, *text);
	}
	(void)mk_buf_putc(buf, '\'');
}

/* A text of several lines that a `|` block holds to the letter: no line of blanks alone, none that
 * would be taken for the block's indentation. */
static bool is_block(const char *text)
{
	if (!strchr(text, '\n') || strchr(" \t\n", text[0]) || !all_printable(text, "\n\t"))
		return false;
	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';

		size_t blanks = strspn(line, " \t");

		if (blanks && (!line[blanks] || line[blanks] == '\n'))
			return false;
	}
	return true;
}

static void put_blanks(struct mk_buf *buf, int n)
{
	(void)mk_buf_printf(buf, "%*s", n, "");
}

/* In a folded block a single line end between lines that are not indented reads as a blank: such
 * lines are set apart by one more. */
static void put_fold(struct mk_buf *buf, const char *text, const char *line_end)
{
	const char *line = line_end;

	while (line > text && line[-1] != '\n')
		line--;
	if (line_end == line || *line == ' ' || *line == '\t')
		return;
	line_end += strspn(line_end, "\n");
	if (*line_end && *line_end != ' ' && *line_end != '\t')
		(void)mk_buf_putc(buf, '\n');
}

static void put_block(struct mk_buf *buf, const char *text, int indent, bool folded)
{
	size_t n = strlen(text);
	const char *begin = text;

	(void)mk_buf_putc(buf, folded ? '>' : '|');
	(void)mk_buf_puts(buf, text[n - 1] != '\n'			? "-\n"
			       : n > 1 && text[n - 2] == '\n'	? "+\n"
								: "\n");
	while (*text) {
		size_t len = strcspn(text, "\n");

		if (len)
			put_blanks(buf, indent);
		(void)mk_buf_put(buf, text, len);
		(void)mk_buf_putc(buf, '\n');
		if (folded)
			put_fold(buf, begin, text + len);
		text += len + (text[len] == '\n');
	}
}

static void put_node(struct mk_buf *buf, const struct mk_doc *doc, int indent, bool begun);

/* What stands behind `key:` or `-`, up to the newline. */
static void put_value(struct mk_buf *buf, const struct mk_doc *doc, int indent, bool is_item)
{
	if ((doc->type == MK_DOC_LIST || doc->type == MK_DOC_MAP) && doc->n) {
		if (is_item) {
			(void)mk_buf_putc(buf, ' ');
			put_node(buf, doc, indent + 2, true);
		} else {
			(void)mk_buf_putc(buf, '\n');
			put_node(buf, doc, indent + 2, false);
		}
		return;
	}
	(void)mk_buf_putc(buf, ' ');
	put_node(buf, doc, indent, true);
}

/* begun: the first line's indentation is there already. */
static void put_node(struct mk_buf *buf, const struct mk_doc *doc, int indent, bool begun)
{
	if (!begun)
		put_blanks(buf, indent);
	switch (doc->type) {
	case MK_DOC_NULL:
		(void)mk_buf_puts(buf, "null\n");
		return;
	case MK_DOC_SCALAR:
		if (is_block(doc->text)) {
			put_block(buf, doc->text, indent + 2, doc->style == '>');
			return;
		}
		mk_yaml_scalar(buf, doc->text, !doc->quoted);
		(void)mk_buf_putc(buf, '\n');
		return;
	case MK_DOC_LIST:
	case MK_DOC_MAP:
		break;
	}
	if (!doc->n)
		(void)mk_buf_puts(buf, doc->type == MK_DOC_LIST ? "[]\n" : "{}\n");
	for (size_t i = 0; i < doc->n; i++) {
		if (i)
			put_blanks(buf, indent);
		if (doc->type == MK_DOC_LIST) {
			(void)mk_buf_putc(buf, '-');
		} else {
			/* A key is a text whatever it looks like; 1024 bytes is what readers take. */
			bool is_long = strlen(doc->keys[i]->text) > 250;

			if (is_long)
				(void)mk_buf_puts(buf, "? ");
			mk_yaml_scalar(buf, doc->keys[i]->text, !doc->keys[i]->quoted);
			if (is_long) {
				(void)mk_buf_putc(buf, '\n');
				put_blanks(buf, indent);
			}
			(void)mk_buf_putc(buf, ':');
		}
		put_value(buf, doc->items[i], indent, doc->type == MK_DOC_LIST);
	}
}

void mk_yaml_node(struct mk_buf *buf, const struct mk_doc *doc, int indent)
{
	put_node(buf, doc, indent, false);
}
