/* SPDX-License-Identifier: Apache-2.0 */
/* Editable texts (which: enum mk_text_kind; the owner is the row's object). */
#include "../noun.h"

int fs_editable_stat(struct fs_at *at, struct fs_stat *st)
{
	_cleanup_(mk_text_free) struct mk_text text = {};
	int r = mk_text_stat(at->call, at->m, at->row->which, at->object, &text);

	if (r < 0)
		return r;
	st->size = (int64_t)text.len;
	st->mtime = text.changed;
	st->generation = text.generation;
	if (text.fixed)
		st->mode = S_IFREG | 0444;
	return 0;
}

int fs_editable_show(struct fs_at *at, struct mk_buf *buf)
{
	_cleanup_(mk_text_free) struct mk_text text = {};
	int r = mk_text_get(at->call, at->m, at->row->which, at->object, &text);

	return r < 0 ? r : mk_buf_put(buf, text.text, text.len);
}

int fs_editable_commit(struct fs_at *at, struct fs_commit *commit)
{
	return mk_text_put(at->call, at->m, at->row->which, at->object, commit->text, commit->len,
			   commit->seen);
}
