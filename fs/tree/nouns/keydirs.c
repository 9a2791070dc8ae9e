/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories of keys without a key: what mkdir made in params/, tags/ and metrics/, and what a tag
 * that was removed left empty. The platform knows keys only, so they are this mount's and live in
 * memory, the newest FS_KEYDIRS of them; the first key in one makes it real, rmdir ends it.
 */
#include "../noun.h"

static struct fs_keydir *find(struct fs_at *at, const char *key)
{
	for (size_t i = 0; i < FS_KEYDIRS; i++) {
		struct fs_keydir *d = &at->tree->keydirs[i];

		if (d->key && d->object == at->object && d->which == at->row->which &&
		    strcmp(d->key, key) == 0)
			return d;
	}
	return NULL;
}

void fs_keydir_add(struct fs_at *at, const char *key)
{
	struct fs_tree *tree = at->tree;

	fs_lock(tree);
	if (!find(at, key)) {
		struct fs_keydir *d = &tree->keydirs[tree->next_keydir++ % FS_KEYDIRS];

		free(d->key);
		*d = (struct fs_keydir){at->object, at->row->which, mk_strdup(key)};
	}
	fs_unlock(tree);
}

bool fs_keydir_is(struct fs_at *at, const char *key)
{
	fs_lock(at->tree);

	bool is = find(at, key);

	fs_unlock(at->tree);
	return is;
}

void fs_keydir_remove(struct fs_at *at, const char *key)
{
	fs_lock(at->tree);

	struct fs_keydir *d = find(at, key);

	if (d) {
		free(d->key);
		*d = (struct fs_keydir){};
	}
	fs_unlock(at->tree);
}

/* Those right below a prefix (empty, or ending in `/`), by the last part of their name. */
int fs_keydirs(struct fs_at *at, const char *prefix, struct mk_list *ret)
{
	size_t len = strlen(prefix);
	int r = 0;

	fs_lock(at->tree);
	for (size_t i = 0; i < FS_KEYDIRS && r == 0; i++) {
		const struct fs_keydir *d = &at->tree->keydirs[i];

		if (d->key && d->object == at->object && d->which == at->row->which &&
		    strncmp(d->key, prefix, len) == 0 && d->key[len] && !strchr(d->key + len, '/'))
			r = mk_list_add(ret, d->key + len);
	}
	fs_unlock(at->tree);
	return r;
}

void fs_keydirs_free(struct fs_tree *tree)
{
	for (size_t i = 0; i < FS_KEYDIRS; i++)
		free(tree->keydirs[i].key);
}
