/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One option of config.yaml changed as a careful person would: the one line is edited, comments and
 * everything else stay to the letter. The edit is a simple one on purpose; what it made is parsed
 * again, and unless exactly that option changed, the file is left as it is and the error says where
 * to do it by hand.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/doc.h"
#include "base/file.h"
#include "base/options.h"
#include "base/path.h"

enum { LOCK_TRIES = 100, LOCK_WAIT_MS = 50 };

struct edit {
	const char *path, *name, *value;
	struct mk_buf old, text;
	struct mk_options *before, *after;
	int line; /* of the key, 0 when the file does not have it */
	int column;
};

static void edit_done(struct edit *e)
{
	mk_buf_free(&e->old);
	mk_buf_free(&e->text);
	mk_options_free(e->before);
	mk_options_free(e->after);
}

/* What a text says; *ret_at: the value's node of the key, when it is there. */
static int parse(struct mk_call *call, struct edit *e, struct mk_buf *text,
		 struct mk_options *options, bool find)
{
	_cleanup_(mk_doc_freep) struct mk_doc *doc = NULL;
	int r = mk_doc_parse(call, e->path, mk_buf_text(text), text->len, &doc);

	if (r == 0)
		r = mk_options_take(call, options, e->path, doc);
	for (size_t i = 0; r == 0 && find && doc->type == MK_DOC_MAP && i < doc->n; i++) {
		if (strcmp(doc->keys[i]->text, e->name) != 0)
			continue;
		e->line = doc->keys[i]->line;
		e->column = doc->items[i]->line == e->line ? doc->items[i]->column : 0;
	}
	return r;
}

/* The comment at the end of a line, with the blanks before it; its end when there is none. */
static const char *comment_of(const char *line, const char *end, int column)
{
	const char *s = line + (column ? column - 1 : 0);

	if (s < end && (*s == '\'' || *s == '"')) {
		const char quote = *s++;

		while (s < end && *s != quote)
			s += 1 + (quote == '"' && *s == '\\');
	}
	for (; s < end; s++) {
		if (*s != '#' || s == line || (s[-1] != ' ' && s[-1] != '\t'))
			continue;
		while (s > line && (s[-1] == ' ' || s[-1] == '\t'))
			s--;
		return s;
	}
	return end;
}

static void put_setting(struct edit *e)
{
	(void)mk_buf_printf(&e->text, "%s: ", e->name);
	/* A number or a duration stays plain; a path that YAML would read otherwise is quoted. */
	mk_yaml_scalar(&e->text, e->value, e->value[0] >= '0' && e->value[0] <= '9');
}

static void edit_line(struct edit *e)
{
	const char *text = mk_buf_text(&e->old), *line = text;

	for (int i = 1; i < e->line; i++)
		line = strchr(line, '\n') + 1;

	const char *end = line + strcspn(line, "\r\n"), *next = end + strspn(end, "\r");

	next += *next == '\n';
	(void)mk_buf_put(&e->text, text, (size_t)(line - text));
	if (e->value) {
		const char *comment = comment_of(line, end, e->column);

		put_setting(e);
		(void)mk_buf_put(&e->text, comment, (size_t)(next - comment));
	}
	(void)mk_buf_puts(&e->text, next);
}

static void append_line(struct edit *e)
{
	(void)mk_buf_put(&e->text, mk_buf_text(&e->old), e->old.len);
	if (e->old.len && e->old.data[e->old.len - 1] != '\n')
		(void)mk_buf_putc(&e->text, '\n');
	put_setting(e);
	(void)mk_buf_putc(&e->text, '\n');
}

/* Exactly the one option is another one. */
static bool is_right(const struct edit *e)
{
	size_t n;
	const struct mk_option *table = mk_option_table(&n);

	for (size_t i = 0; i < n; i++) {
		const char *name = table[i].name;
		const bool is_set = strcmp(mk_options_where(e->after, name), "default") != 0;
		const bool was_set = strcmp(mk_options_where(e->before, name), "default") != 0;

		if (is_set != was_set || strcmp(mk_options_text(e->after, name),
						mk_options_text(e->before, name)) != 0)
			return false;
	}
	return true;
}

/* e->before becomes what the file shall say, e->after what the edited text says. */
static int make_text(struct mk_call *call, struct edit *e)
{
	int r = mk_options_file(call, e->path, &e->old);

	if (r >= 0)
		r = parse(call, e, &e->old, e->before, true);
	if (r < 0)
		return r;
	if (!e->value && !e->line)
		return mk_fail(call, ENOENT, "%s: %s is not set there", e->path, e->name);
	if (e->value)
		r = mk_options_set(call, e->before, e->path, e->name, e->value);
	else
		mk_options_unset(e->before, e->name);
	if (r < 0)
		return r;
	if (e->line)
		edit_line(e);
	else
		append_line(e);
	r = mk_buf_check(&e->text);
	if (r < 0)
		return mk_fail(call, -r, "%s: is over 1 MiB", e->path);
	r = parse(call, e, &e->text, e->after, false);
	mk_error_clear(call);
	if (r == 0 && is_right(e))
		return 0;
	return mk_fail(call, EINVAL,
		       "%s:%d: %s cannot be changed there without a change to other lines; edit "
		       "the file by hand",
		       e->path, e->line ? e->line : 1, e->name);
}

/* Two who write at once: one after the other. */
static int lock_dir(struct mk_call *call, const char *dir, int *ret_fd)
{
	_cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return mk_fail(call, errno, "%s: %s", dir, strerror(errno));
	for (int i = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; i++) {
		if (errno != EWOULDBLOCK) /* no locks there: the rename alone has to do */
			break;

		struct pollfd p = {.fd = mk_call_cancel_fd(call), .events = POLLIN};
		int r = mk_call_check(call, dir);

		if (r < 0)
			return r;
		if (i == LOCK_TRIES)
			return mk_fail(call, EBUSY, "%s: somebody else is writing there", dir);
		(void)poll(&p, 1, LOCK_WAIT_MS);
	}
	*ret_fd = fd;
	fd = -1;
	return 0;
}

int mk_options_write(struct mk_call *call, const char *path, const char *name, const char *value)
{
	_cleanup_(edit_done) struct edit e = {
		.path = path,
		.name = name,
		.value = value,
		.old = MK_BUF(MK_LIMIT_TEXT),
		.text = MK_BUF(MK_LIMIT_TEXT),
		.before = mk_options_new(),
		.after = mk_options_new(),
	};
	_cleanup_free_ char *dir = mk_strdup(path), *real = NULL;
	_cleanup_close_ int lock = -1;
	struct stat st = {.st_mode = 0600};
	char *slash = strrchr(dir, '/');
	int r;

	if (!slash || slash == dir)
		return mk_fail(call, EINVAL, "%s: has no directory of its own", path);
	*slash = '\0';
	r = mk_options_check(call, path, name, value); /* before anything is made */
	if (r == 0)
		r = mk_path_make(call, dir);
	if (r == 0)
		r = lock_dir(call, dir, &lock);
	if (r == 0)
		r = make_text(call, &e);
	if (r == 0)
		r = mk_path_resolve(call, path, &real); /* a link into a folder of dotfiles stays */
	if (r < 0)
		return r;
	(void)!stat(real, &st);
	return mk_file_write(call, AT_FDCWD, real, mk_buf_text(&e.text), e.text.len,
			     st.st_mode & 07777, true);
}
