/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The visible tree from a command line: fs/tree without a mount. Paths are walked part by part; a
 * link that leads out of the tree (a working directory, a site's files) goes on in the local file
 * system, as the kernel would.
 */
#include "ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include <tree/tree.h>

enum { MAX_LINKS = 40, CHUNK = 1 << 17 };

int ctl_tree(struct ctl *ctl, struct fs_tree **ret)
{
	const struct fs_tree_options options = {
		.read_only = ctl->options.read_only,
		.uid = getuid(),
		.gid = getgid(),
	};

	if (!ctl->tree) {
		int r = fs_tree_new(&ctl->call, ctl->m, &options, &ctl->tree);

		if (r < 0)
			return r;
	}
	*ret = ctl->tree;
	return 0;
}

void ctl_tree_done(struct ctl *ctl)
{
	if (ctl->tree)
		fs_tree_free(ctl->tree);
	ctl->tree = NULL;
}

int ctl_park(struct ctl *ctl)
{
	uint64_t generation = mantik_generation(ctl->m);
	int64_t left = 200 * MK_MS;

	if (ctl->call.park.until && ctl->call.park.until - mk_now_mono() < left)
		left = ctl->call.park.until - mk_now_mono();
	return ctl_wait_change(ctl, &generation, left < 0 ? 0 : (int)(left / MK_MS) + 1);
}

void ctl_place_free(struct ctl_place *place)
{
	if (place->node && !place->is_root)
		fs_forget(place->ctl->tree, place->node, 1);
	free(place->local);
	free(place->path);
	*place = (struct ctl_place){.ctl = place->ctl};
}

/* One directory on the way, its path, and the reference we hold (root: none). */
struct step {
	struct fs_node *node;
	size_t path_len;
};

struct walk {
	struct ctl *ctl;
	struct fs_tree *tree;
	struct step *steps; /* steps[0] is the root */
	size_t n, cap;
	struct mk_buf path;
	char *rest; /* what is still to be walked */
	int links;
};

static void walk_done(struct walk *w)
{
	while (w->n > 1)
		fs_forget(w->tree, w->steps[--w->n].node, 1);
	free(w->steps);
	free(w->rest);
	mk_buf_free(&w->path);
}

static void push(struct walk *w, struct fs_node *node)
{
	if (w->n == w->cap) {
		struct step *more = mk_alloc((w->cap * 2 + 16) * sizeof(*more));

		for (size_t i = 0; i < w->n; i++)
			more[i] = w->steps[i];
		free(w->steps);
		w->steps = more;
		w->cap = w->cap * 2 + 16;
	}
	w->steps[w->n++] = (struct step){node, w->path.len};
}

static void pop(struct walk *w)
{
	if (w->n <= 1)
		return;
	fs_forget(w->tree, w->steps[--w->n].node, 1);
	mk_buf_truncate(&w->path, w->steps[w->n - 1].path_len);
}

/* Goes on at a link's target: 1 when that is a local path. */
static int follow_link(struct walk *w, struct fs_node *node, char **ret_local)
{
	_cleanup_buf_ struct mk_buf target = MK_BUF(MK_LIMIT_TEXT), rest = MK_BUF(MK_LIMIT_TEXT);
	int r;

	if (++w->links > MAX_LINKS)
		return mk_fail(&w->ctl->call, ELOOP, "%s: too many links", mk_buf_text(&w->path));
	CTL_AGAIN(w->ctl, r, fs_readlink(&w->ctl->call, w->tree, node, &target));
	if (r < 0)
		return r;
	mk_buf_printf(&rest, "%s/%s", mk_buf_text(&target), w->rest ? w->rest : "");
	r = mk_buf_check(&rest);
	if (r < 0)
		return mk_fail(&w->ctl->call, -r, "%s: path too long", mk_buf_text(&w->path));
	if (*mk_buf_text(&target) == '/') {
		*ret_local = mk_buf_steal(&rest);
		return 1;
	}
	free(w->rest);
	w->rest = mk_buf_steal(&rest);
	return 0;
}

/* Takes the next part off w->rest. */
static char *next_part(struct walk *w)
{
	char *begin = w->rest ? w->rest + strspn(w->rest, "/") : NULL;
	size_t len = begin ? strcspn(begin, "/") : 0;
	char *part, *rest;

	if (!len)
		return NULL;
	part = mk_strndup(begin, len);
	rest = mk_strdup(begin + len);
	free(w->rest);
	w->rest = rest;
	return part;
}

static int step_into(struct walk *w, const char *part, bool follow, char **ret_local)
{
	struct fs_entry entry = {};
	int r;

	if (strcmp(part, ".") == 0)
		return 0;
	if (strcmp(part, "..") == 0) {
		pop(w);
		return 0;
	}
	CTL_AGAIN(w->ctl, r,
		  fs_lookup(&w->ctl->call, w->tree, w->steps[w->n - 1].node, part, &entry));
	if (r == -ENOENT)
		return mk_fail(&w->ctl->call, ENOENT, "%s/%s: no such file or directory",
			       mk_buf_text(&w->path), part);
	if (r < 0)
		return r;
	if (S_ISLNK(entry.attr.st.st_mode) && (follow || w->rest[strspn(w->rest, "/")])) {
		r = follow_link(w, entry.node, ret_local);
		fs_forget(w->tree, entry.node, 1);
		return r;
	}
	mk_buf_printf(&w->path, "/%s", part);
	push(w, entry.node);
	return 0;
}

int ctl_walk(struct ctl *ctl, const char *path, bool follow, struct ctl_place *ret)
{
	_cleanup_(walk_done) struct walk w = {.ctl = ctl, .path = MK_BUF(MK_LIMIT_TEXT)};
	_cleanup_free_ char *local = NULL;
	int r = ctl_tree(ctl, &w.tree);

	if (r < 0)
		return r;
	w.rest = mk_strdup(path);
	push(&w, fs_tree_root(w.tree));
	for (_cleanup_free_ char *part = NULL; (part = next_part(&w)); mk_freep(&part)) {
		r = step_into(&w, part, follow, &local);
		if (r < 0)
			return r;
		if (r == 1) {
			ret->local = mk_steal(&local);
			return 0;
		}
	}
	ret->path = w.path.len ? mk_strdup(mk_buf_text(&w.path)) : mk_strdup("/");
	ret->node = w.steps[w.n - 1].node;
	ret->is_root = w.n == 1;
	if (!ret->is_root)
		w.n--; /* its reference goes to the caller */
	return 0;
}

int ctl_read_node(struct ctl *ctl, struct fs_node *node, ctl_sink *sink, void *arg)
{
	_cleanup_free_ char *chunk = mk_alloc(CHUNK);
	struct fs_open_reply reply = {};
	struct fs_handle *handle = NULL;
	int64_t offset = 0;
	int r;

	CTL_AGAIN(ctl, r, fs_open(&ctl->call, ctl->tree, node, O_RDONLY, &handle, &reply));
	while (r >= 0) {
		ssize_t n;

		CTL_AGAIN(ctl, n, fs_read(&ctl->call, ctl->tree, handle, chunk, CHUNK, offset));
		if (n <= 0) {
			r = (int)n;
			break;
		}
		r = sink(ctl, arg, chunk, (size_t)n);
		offset += n;
	}
	if (handle)
		fs_release(&ctl->call, ctl->tree, handle);
	return r;
}

static int into_buf(struct ctl *ctl, void *arg, const char *data, size_t len)
{
	struct mk_buf *buf = arg;

	if (mk_buf_put(buf, data, len) < 0)
		return mk_fail(&ctl->call, EFBIG, "more than %zu bytes", buf->limit);
	return 0;
}

int ctl_read_text(struct ctl *ctl, const char *operand, struct mk_buf *ret)
{
	_cleanup_free_ char *path = strcmp(operand, "-") == 0 ? NULL : ctl_tree_path(operand);
	_cleanup_close_ int fd = -1;
	const char *local = operand;
	_cleanup_(ctl_place_free) struct ctl_place place = {.ctl = ctl};
	int r = 0;

	if (strcmp(operand, "-") == 0)
		return ctl_read_fd(ctl, "standard input", STDIN_FILENO, ret);
	if (path) {
		r = ctl_walk(ctl, path, true, &place);
		if (r < 0)
			return r;
		local = place.local;
		if (!local)
			r = ctl_read_node(ctl, place.node, into_buf, ret);
	}
	if (local) {
		fd = open(local, O_RDONLY | O_CLOEXEC);
		r = fd < 0 ? mk_fail(&ctl->call, errno, "%s: %s", local, strerror(errno))
			   : ctl_read_fd(ctl, local, fd, ret);
	}
	return r;
}
