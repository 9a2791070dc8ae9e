/* SPDX-License-Identifier: Apache-2.0 */
/* Counters, gauges and the logs of the mount: what .mantik/stats.json, log and trace show. */
#include "row.h"

#include <mantik/error.h>

static const char *const op_names[FS_OP_COUNT] = {
	[FS_OP_LOOKUP] = "lookup",	 [FS_OP_FORGET] = "forget",
	[FS_OP_GETATTR] = "getattr",	 [FS_OP_SETATTR] = "setattr",
	[FS_OP_READLINK] = "readlink",	 [FS_OP_OPENDIR] = "opendir",
	[FS_OP_READDIR] = "readdir",	 [FS_OP_RELEASEDIR] = "releasedir",
	[FS_OP_OPEN] = "open",		 [FS_OP_CREATE] = "create",
	[FS_OP_READ] = "read",		 [FS_OP_WRITE] = "write",
	[FS_OP_FLUSH] = "flush",	 [FS_OP_FSYNC] = "fsync",
	[FS_OP_RELEASE] = "release",	 [FS_OP_MKDIR] = "mkdir",
	[FS_OP_SYMLINK] = "symlink",	 [FS_OP_UNLINK] = "unlink",
	[FS_OP_RMDIR] = "rmdir",	 [FS_OP_RENAME] = "rename",
	[FS_OP_STATFS] = "statfs",	 [FS_OP_ACCESS] = "access",
	[FS_OP_INTERRUPT] = "interrupt",
};

void fs_count(struct fs_tree *tree, enum fs_op op)
{
	atomic_fetch_add_explicit(&tree->ops[op], 1, memory_order_relaxed);
}

void fs_gauge(struct fs_tree *tree, const char *name, int64_t value)
{
	fs_lock(tree);
	for (size_t i = 0; i < FS_GAUGES; i++) {
		struct fs_gauge *gauge = &tree->gauges[i];

		if (gauge->name && strcmp(gauge->name, name) != 0)
			continue;
		*gauge = (struct fs_gauge){name, value};
		break;
	}
	fs_unlock(tree);
}

enum { STATS_SIZE = 4096 };

/* Blanks at the end make it always the same length: what stat says is true though each stat
 * counts. */
int fs_stats_render(struct fs_tree *tree, struct mk_buf *ret)
{
	fs_lock(tree);
	(void)mk_buf_puts(ret, "{\"requests\": {");
	for (int i = 0; i < FS_OP_COUNT; i++)
		(void)mk_buf_printf(ret, "%s\"%s\": %llu", i ? ", " : "", op_names[i],
				    (unsigned long long)atomic_load(&tree->ops[i]));
	(void)mk_buf_printf(ret,
			    "},\n \"nodes\": %zu, \"handles\": %zu, \"texts_bytes\": %zu, "
			    "\"renders\": %llu, \"editor_files\": %zu",
			    tree->n_nodes, tree->n_handles, tree->text_bytes,
			    (unsigned long long)atomic_load(&tree->renders), tree->n_scratch);
	for (size_t i = 0; i < FS_GAUGES && tree->gauges[i].name; i++)
		(void)mk_buf_printf(ret, ",\n \"%s\": %lld", tree->gauges[i].name,
				    (long long)tree->gauges[i].value);
	fs_unlock(tree);
	(void)mk_buf_putc(ret, '}');
	while (ret->len < STATS_SIZE - 1)
		if (mk_buf_putc(ret, ' ') < 0)
			break;
	return mk_buf_putc(ret, '\n');
}

static void add_line(struct fs_tree *tree, struct fs_log *log, const char *line, size_t len)
{
	fs_lock(tree);
	if (!log->text)
		log->text = mk_alloc(FS_LOG_BYTES);
	if (log->len + len > FS_LOG_BYTES) { /* the older half goes */
		char *cut = memchr(log->text + log->len / 2, '\n', log->len / 2);

		cut = cut ? cut + 1 : log->text + log->len;
		log->len -= (size_t)(cut - log->text);
		memmove(log->text, cut, log->len);
	}
	memcpy(log->text + log->len, line, len);
	log->len += len;
	log->generation++;
	log->changed = mk_now_real();
	fs_unlock(tree);
}

void fs_log_line(struct fs_tree *tree, const char *fmt, ...)
{
	_cleanup_buf_ struct mk_buf line = MK_BUF(16 << 10);
	char now[32];
	va_list ap;

	mk_time_text(mk_now_real(), true, now);
	(void)mk_buf_printf(&line, "%s ", now);
	va_start(ap, fmt);
	(void)mk_buf_vprintf(&line, fmt, ap);
	va_end(ap);
	line.error = 0;
	for (size_t i = 0; i < line.len; i++)
		if ((unsigned char)line.data[i] < ' ')
			line.data[i] = ' ';
	(void)mk_buf_putc(&line, '\n');
	add_line(tree, &tree->log, line.data, line.len);
}

void fs_trace_line(void *arg, const char *line, size_t len)
{
	struct fs_tree *tree = arg;

	if (len < FS_LOG_BYTES / 2)
		add_line(tree, &tree->trace, line, len);
}

void fs_record_error(struct fs_tree *tree, const char *path, const struct mk_error *error)
{
	if (!error->code)
		return;
	fs_log_line(tree, "%s: %s: %s", path, strerror(error->code),
		    error->text ? error->text : "");
	mk_error_record(tree->m, path, error);
}
