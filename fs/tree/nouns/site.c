/* SPDX-License-Identifier: Apache-2.0 */
/* sites/: where runs are computed. */
#include "../noun.h"

struct emitting {
	fs_emit *emit;
	void *arg;
	const struct fs_row *row;
};

static int emit_site(void *arg, const char *name)
{
	struct emitting *e = arg;
	_cleanup_buf_ struct mk_buf entry = MK_BUF(4096);

	if (mk_name_escape(&entry, name, strlen(name)) < 0)
		return 0;

	struct fs_child child = {.row = e->row, .name = mk_buf_text(&entry)};

	return e->emit(e->arg, &child);
}

int fs_sites_list(struct fs_at *at, uint64_t after, fs_emit *emit, void *arg)
{
	struct emitting e = {emit, arg, fs_placeholder(at->row, 0)};

	return mk_site_list(at->call, at->m, emit_site, &e);
}

int fs_sites_find(struct fs_at *at, const char *name, struct fs_child *child)
{
	_cleanup_buf_ struct mk_buf real = MK_BUF(4096);

	if (mk_name_unescape(&real, name, strlen(name)) < 0)
		return -ENOENT;
	child->row = fs_placeholder(at->row, 0);
	return mk_site_exists(at->call, at->m, mk_buf_text(&real));
}

int fs_site_text_show(struct fs_at *at, struct mk_buf *text)
{
	_cleanup_buf_ struct mk_buf site = MK_BUF(4096);
	int r = fs_at_name(at, 1, &site);

	return r < 0 ? r :
		       mk_site_text(at->call, at->m, mk_buf_text(&site), at->row->which, text);
}

/* `up`: levels from here to the site's directory. */
static int files(struct fs_at *at, int up, struct mk_pairs *ret)
{
	_cleanup_buf_ struct mk_buf site = MK_BUF(4096);
	int r = fs_at_name(at, up, &site);

	return r < 0 ? r : mk_site_files(at->call, at->m, mk_buf_text(&site), ret);
}

int fs_site_files_list(struct fs_at *at, uint64_t after, fs_emit *emit, void *arg)
{
	_cleanup_pairs_ struct mk_pairs pairs = {};
	int r = files(at, 1, &pairs);

	for (size_t i = 0; i < pairs.n && r == 0; i++) {
		struct fs_child child = {
			.row = fs_placeholder(at->row, 0),
			.name = pairs.v[i].key,
			.known = true,
			.stat = {.size = (int64_t)strlen(pairs.v[i].value),
				 .mtime = at->tree->started},
		};

		r = emit(arg, &child);
	}
	return r;
}

int fs_site_files_find(struct fs_at *at, const char *name, struct fs_child *child)
{
	_cleanup_pairs_ struct mk_pairs pairs = {};
	int r = files(at, 1, &pairs);

	if (r < 0)
		return r;
	child->row = fs_placeholder(at->row, 0);
	return mk_pairs_get(&pairs, name) ? 0 : -ENOENT;
}

int fs_site_file_link(struct fs_at *at, struct mk_buf *target)
{
	_cleanup_pairs_ struct mk_pairs pairs = {};
	int r = files(at, 2, &pairs);

	if (r < 0)
		return r;

	const char *path = mk_pairs_get(&pairs, at->name);

	return path ? mk_buf_puts(target, path) : -ENOENT;
}
