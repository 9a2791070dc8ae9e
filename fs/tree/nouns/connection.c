/* SPDX-License-Identifier: Apache-2.0 */
/* connections/NAME.yaml, whose secrets are written and never read, and .mantik/connections/NAME. */
#include "../noun.h"

#include <mantik/connection.h>

/* `x.yaml` is the file of x; NULL: of none. */
static char *name_of(const char *entry)
{
	size_t len = strlen(entry);

	if (len <= 5 || strcmp(entry + len - 5, ".yaml") != 0)
		return NULL;
	return mk_strndup(entry, len - 5);
}

struct emitting {
	fs_emit *emit;
	void *arg;
	const struct fs_row *row;
	const char *end; /* of an entry */
};

static int emit_connection(void *arg, const struct mk_connection *connection)
{
	struct emitting *e = arg;
	_cleanup_buf_ struct mk_buf entry = MK_BUF(4096);

	if (mk_buf_printf(&entry, "%s%s", connection->name, e->end) < 0)
		return 0;

	struct fs_child child = {.row = e->row, .name = mk_buf_text(&entry)};

	return e->emit(e->arg, &child);
}

int fs_connections_list(struct fs_at *at, uint64_t after, fs_emit *emit, void *arg)
{
	struct emitting e = {emit, arg, fs_placeholder(at->row, 0), ".yaml"};

	return mk_connection_list(at->call, at->m, emit_connection, &e);
}

static int get(struct fs_at *at, const char *entry, struct mk_text *ret)
{
	_cleanup_free_ char *name = name_of(entry);

	return name ? mk_connection_get(at->call, at->m, name, ret) : -ENOENT;
}

int fs_connections_find(struct fs_at *at, const char *name, struct fs_child *child)
{
	_cleanup_(mk_text_free) struct mk_text text = {};
	int r = get(at, name, &text);

	if (r == -ENOENT)
		mk_error_clear(at->call);
	child->row = fs_placeholder(at->row, 0);
	return r;
}

int fs_connections_create(struct fs_at *at, const char *entry, struct fs_child *child)
{
	_cleanup_free_ char *name = name_of(entry);

	if (!name)
		return mk_fail(at->call, EPERM, "%s: a connection is a file NAME.yaml", entry);
	child->row = fs_placeholder(at->row, 0);
	return mk_connection_name_check(at->call, name);
}

int fs_connection_stat(struct fs_at *at, struct fs_stat *st)
{
	_cleanup_(mk_text_free) struct mk_text text = {};
	int r = get(at, at->name, &text);

	if (r < 0)
		return r;
	st->size = (int64_t)text.len;
	st->mtime = text.changed;
	st->generation = text.generation;
	return 0;
}

int fs_connection_show(struct fs_at *at, struct mk_buf *buf)
{
	_cleanup_(mk_text_free) struct mk_text text = {};
	int r = get(at, at->name, &text);

	return r < 0 ? r : mk_buf_put(buf, text.text, text.len);
}

int fs_connection_commit(struct fs_at *at, struct fs_commit *commit)
{
	_cleanup_free_ char *name = name_of(at->name);

	if (!name)
		return -ENOENT;
	return mk_connection_put(at->call, at->m, name, commit->text, commit->len, commit->seen);
}

int fs_connection_remove(struct fs_at *at)
{
	_cleanup_free_ char *name = name_of(at->name);

	if (!name)
		return -ENOENT;
	if (fs_remover_is(at, FS_TOP))
		return mk_fail(
			at->call, EPERM,
			"connection %s stays: this program was at the whole mount a moment ago, "
			"which is not taken apart; rm connections/%s alone removes it",
			name, at->name);
	return mk_connection_remove(at->call, at->m, name);
}

int fs_connection_rename(struct fs_at *at, struct fs_at *to, const char *name)
{
	return mk_fail(
		at->call, EPERM,
		"%s: a connection keeps its name, its project and its secrets hang on it: write "
		"another one and remove this",
		at->name);
}

/* --- .mantik/connections/ ----------------------------------------------------------------- */

int fs_healths_list(struct fs_at *at, uint64_t after, fs_emit *emit, void *arg)
{
	struct emitting e = {emit, arg, fs_placeholder(at->row, 0), ""};

	return mk_connection_list(at->call, at->m, emit_connection, &e);
}

int fs_healths_find(struct fs_at *at, const char *name, struct fs_child *child)
{
	_cleanup_(mk_text_free) struct mk_text text = {};
	int r = mk_connection_get(at->call, at->m, name, &text);

	if (r == -ENOENT)
		mk_error_clear(at->call);
	child->row = fs_placeholder(at->row, 0);
	return r;
}

int fs_health_show(struct fs_at *at, struct mk_buf *text)
{
	return mk_connection_health(at->call, at->m, at->name, text);
}
