/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rendered texts. A text is immutable and counted: the cache holds the newest of a row, handles
 * hold the one they opened. stat of a row whose length only the text tells renders it once; open
 * and read then find it here, so that what stat said and what read gives is the same text.
 */
#include "row.h"

struct fs_text *fs_text_ref(struct fs_text *text)
{
	if (text)
		atomic_fetch_add(&text->refs, 1);
	return text;
}

void fs_text_unref(struct fs_text *text)
{
	if (!text || atomic_fetch_sub(&text->refs, 1) != 1)
		return;
	free(text->data);
	free(text);
}

static struct fs_text *cached(struct fs_at *at, uint64_t generation)
{
	struct fs_tree *tree = at->tree;
	struct fs_text *text = NULL;

	fs_lock(tree);
	for (size_t i = 0; i < FS_TEXT_SLOTS; i++) {
		struct fs_text_slot *slot = &tree->texts[i];

		if (!slot->text || slot->ino != at->ino)
			continue;
		if (slot->text->generation == generation) {
			slot->used = ++tree->tick;
			text = fs_text_ref(slot->text);
		}
		break;
	}
	fs_unlock(tree);
	return text;
}

static void empty(struct fs_tree *tree, struct fs_text_slot *slot)
{
	tree->text_bytes -= slot->text->len;
	fs_text_unref(slot->text);
	*slot = (struct fs_text_slot){};
}

static void keep(struct fs_at *at, struct fs_text *text)
{
	struct fs_tree *tree = at->tree;
	struct fs_text_slot *to = NULL;

	if (text->len > FS_TEXT_BYTES / 2)
		return;
	fs_lock(tree);
	for (size_t i = 0; i < FS_TEXT_SLOTS; i++) {
		struct fs_text_slot *slot = &tree->texts[i];

		if (slot->text && slot->ino == at->ino) {
			to = slot;
			break;
		}
		if (!to || slot->used < to->used)
			to = slot;
	}
	if (to->text)
		empty(tree, to);
	while (tree->text_bytes + text->len > FS_TEXT_BYTES) {
		struct fs_text_slot *oldest = NULL;

		for (size_t i = 0; i < FS_TEXT_SLOTS; i++)
			if (tree->texts[i].text && (!oldest || tree->texts[i].used < oldest->used))
				oldest = &tree->texts[i];
		empty(tree, oldest);
	}
	*to = (struct fs_text_slot){
		.ino = at->ino,
		.used = ++tree->tick,
		.text = fs_text_ref(text),
	};
	tree->text_bytes += text->len;
	fs_unlock(tree);
}

int fs_text_get(struct fs_at *at, struct fs_stat *st, struct fs_text **ret)
{
	struct fs_text *text = st->generation ? cached(at, st->generation) : NULL;

	if (!text) {
		_cleanup_buf_ struct mk_buf buf = MK_BUF(MK_LIMIT_TABLE);
		/* live: `show` of a table says whether a run in it still lives */
		int r = at->row->show(at, &buf);

		if (r < 0)
			return r;
		if (mk_buf_check(&buf) < 0)
			return mk_fail(at->call, -mk_buf_check(&buf), "%s: the text is too long",
				       at->name);
		atomic_fetch_add(&at->tree->renders, 1);
		text = mk_new(struct fs_text);
		text->refs = 1;
		text->live = st->live || r > 0;
		text->generation = st->generation;
		text->mtime = st->mtime ? st->mtime : at->tree->started;
		text->len = buf.len;
		text->data = mk_buf_steal(&buf);
		if (text->generation)
			keep(at, text);
	}
	st->size = (int64_t)text->len;
	st->live = text->live;
	*ret = text;
	return 0;
}
