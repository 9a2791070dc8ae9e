/* SPDX-License-Identifier: Apache-2.0 */
/* config.yaml into the table of options; config_write.c is the way back. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/doc.h"
#include "base/options.h"

int mk_options_file(struct mk_call *call, const char *path, struct mk_buf *ret)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;

	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	if (fd < 0 || fstat(fd, &st) < 0)
		return mk_fail(call, errno, "%s: cannot be read: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return mk_fail(call, EINVAL, "%s: is not a file", path);
	for (;;) {
		char *room = mk_buf_room(ret, 4096);
		ssize_t n = room ? read(fd, room, 4096) : -1;

		if (!room)
			return mk_fail(call, -ret->error, "%s: is over 1 MiB", path);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return mk_fail(call, errno, "%s: cannot be read: %s", path,
				       strerror(errno));
		if (n == 0)
			return mk_buf_puts(ret, "") < 0 ? -EFBIG : 1; /* ends it with a NUL */
		ret->len += (size_t)n;
	}
}

int mk_options_take(struct mk_call *call, struct mk_options *options, const char *path,
		    struct mk_doc *doc)
{
	size_t n;
	const struct mk_option *table = mk_option_table(&n);

	if (doc->type == MK_DOC_NULL)
		return 0;
	if (doc->type != MK_DOC_MAP)
		return mk_doc_fail(call, path, doc, "must be `key: value` lines");
	for (size_t i = 0; i < n; i++) {
		const char *value;
		_cleanup_buf_ struct mk_buf where = MK_BUF(8192);
		int r = mk_doc_text(call, path, doc, table[i].name, &value);

		if (r < 0)
			return r;
		if (r == 0)
			continue;
		(void)mk_buf_printf(&where, "%s:%d", path, mk_doc_get(doc, table[i].name)->line);
		r = mk_options_set(call, options, mk_buf_text(&where), table[i].name, value);
		if (r < 0)
			return r;
	}
	return mk_doc_leftover(call, path, doc);
}

int mk_options_read(struct mk_call *call, struct mk_options *options, const char *path)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF(MK_LIMIT_TEXT);
	_cleanup_(mk_doc_freep) struct mk_doc *doc = NULL;
	int r = mk_options_file(call, path, &text);

	if (r <= 0)
		return r;
	r = mk_doc_parse(call, path, mk_buf_text(&text), text.len, &doc);
	return r < 0 ? r : mk_options_take(call, options, path, doc);
}
