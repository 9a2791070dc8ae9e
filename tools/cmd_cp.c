/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mantikctl cp: between the tree and this machine, without a mount. Into the tree a file is one
 * whole text, committed at its end, as a close in a mount does; `cp SPEC /projects/x/runs/new`
 * submits and prints the answer.
 */
#include "cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include <tree/tree.h>

static const char *last_part(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static char *join(const char *dir, const char *name)
{
	_cleanup_buf_ struct mk_buf path = MK_BUF(MK_LIMIT_TEXT);

	mk_buf_printf(&path, "%s/%s", strcmp(dir, "/") == 0 ? "" : dir, name);
	return mk_buf_steal(&path);
}

/* --- into the tree --- */

static int open_target(struct ctl *ctl, const char *path, struct fs_handle **ret)
{
	_cleanup_(ctl_place_free) struct ctl_place place = {.ctl = ctl};
	_cleanup_free_ char *above = mk_strndup(path, (size_t)(last_part(path) - path));
	struct fs_open_reply reply = {};
	struct fs_entry entry = {};
	struct fs_attr attr = {};
	int r = ctl_walk(ctl, path, true, &place);

	if (r == -ENOENT) {
		mk_error_clear(&ctl->call);
		r = ctl_walk(ctl, above, true, &place);
		if (r < 0)
			return r;
		if (place.local)
			return mk_fail(&ctl->call, EXDEV, "%s lies in %s: use cp there", path,
				       place.local);
		CTL_AGAIN(ctl, r,
			  fs_create(&ctl->call, ctl->tree, place.node, last_part(path), 0600,
				    O_RDWR | O_CREAT, &entry, ret, &reply));
		if (r == 0)
			fs_forget(ctl->tree, entry.node, 1);
		return r;
	}
	if (r < 0)
		return r;
	if (place.local)
		return mk_fail(&ctl->call, EXDEV, "%s is %s: use cp there", path, place.local);
	CTL_AGAIN(ctl, r, fs_getattr(&ctl->call, ctl->tree, place.node, NULL, &attr));
	if (r < 0)
		return r;
	if (S_ISDIR(attr.st.st_mode))
		return mk_fail(&ctl->call, EISDIR, "%s: is a directory", path);
	CTL_AGAIN(ctl, r,
		  fs_open(&ctl->call, ctl->tree, place.node, O_RDWR | O_TRUNC, ret, &reply));
	return r;
}

/* Whole text into a file; what can be read back through the same handle is the answer. */
static int put(struct ctl *ctl, const char *path, const struct mk_buf *text, bool answer)
{
	struct fs_handle *handle = NULL;
	size_t done = 0;
	int r = open_target(ctl, path, &handle);

	while (r >= 0 && done < text->len) {
		ssize_t n;

		CTL_AGAIN(ctl, n,
			  fs_write(&ctl->call, ctl->tree, handle, text->data + done,
				   text->len - done, (int64_t)done));
		r = n < 0 ? (int)n : 0;
		done += n < 0 ? 0 : (size_t)n;
	}
	if (r >= 0)
		CTL_AGAIN(ctl, r, fs_flush(&ctl->call, ctl->tree, handle));
	if (r >= 0 && answer) {
		char chunk[4096];
		int64_t offset = 0;
		ssize_t n;

		for (;;) {
			CTL_AGAIN(ctl, n,
				  fs_read(&ctl->call, ctl->tree, handle, chunk, sizeof(chunk),
					  offset));
			if (n <= 0)
				break;
			offset += n;
			r = ctl_print(ctl, chunk, (size_t)n);
			if (r < 0)
				break;
		}
		if (n < 0)
			r = (int)n;
	}
	if (r < 0)
		fs_record_error(ctl->tree, path, &ctl->call.error);
	if (handle)
		fs_release(&ctl->call, ctl->tree, handle);
	return r;
}

static bool is_new(const char *path)
{
	const size_t len = strlen(path);

	return len > 9 && strcmp(path + len - 9, "/runs/new") == 0;
}

static int into_tree(struct ctl *ctl, const char *source, const char *target)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF_SECRET(MK_LIMIT_TEXT); /* a connection, perhaps */
	_cleanup_(ctl_place_free) struct ctl_place place = {.ctl = ctl};
	_cleanup_free_ char *inside = NULL;
	struct fs_attr attr = {};
	int r = ctl_read_text(ctl, source, &text);

	if (r < 0)
		return ctl_named(ctl, source, r);
	r = ctl_walk(ctl, target, true, &place);
	if (r == 0 && place.node) {
		CTL_AGAIN(ctl, r, fs_getattr(&ctl->call, ctl->tree, place.node, NULL, &attr));
		if (r == 0 && S_ISDIR(attr.st.st_mode))
			inside = join(target, last_part(source));
	}
	mk_error_clear(&ctl->call);
	return put(ctl, inside ? inside : target, &text, is_new(target));
}

/* --- out of the tree --- */

static int to_fd(struct ctl *ctl, void *arg, const char *data, size_t len)
{
	const int *fd = arg;

	while (len > 0) {
		ssize_t n = write(*fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return mk_fail(&ctl->call, errno, "%s", strerror(errno));
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

static int copy_file(struct ctl *ctl, struct fs_node *node, const struct stat *st,
		     const char *target)
{
	const struct timespec times[] = {{.tv_nsec = UTIME_OMIT}, st->st_mtim};
	_cleanup_close_ int fd = open(target, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
				      0666 & (st->st_mode | 0600));
	int r;

	if (fd < 0)
		return mk_fail(&ctl->call, errno, "%s: %s", target, strerror(errno));
	r = ctl_read_node(ctl, node, to_fd, &fd);
	if (r < 0)
		return mk_prefix(&ctl->call, r, "%s", target);
	if (ctl_option(ctl, "recursive"))
		(void)futimens(fd, times);
	return 0;
}

struct children {
	struct mk_list list;
};

static int take_child(void *arg, const struct fs_dirent *entry)
{
	struct children *children = arg;

	if (strcmp(entry->name, ".") == 0 || strcmp(entry->name, "..") == 0)
		return 0;
	return mk_list_add(&children->list, entry->name) < 0;
}

static int copy_node(struct ctl *ctl, struct fs_node *node, const char *path, const char *target);

static int copy_dir(struct ctl *ctl, struct fs_node *node, const char *path, const char *target)
{
	_cleanup_list_ struct mk_list owned = {};
	struct children children = {};
	struct fs_handle *handle = NULL;
	int r;

	if (!ctl_option(ctl, "recursive"))
		return mk_fail(&ctl->call, EISDIR, "%s: is a directory (-r copies it)", path);
	if (mkdir(target, 0777) < 0 && errno != EEXIST)
		return mk_fail(&ctl->call, errno, "%s: %s", target, strerror(errno));
	CTL_AGAIN(ctl, r, fs_opendir(&ctl->call, ctl->tree, node, &handle));
	if (r < 0)
		return r;
	CTL_AGAIN(ctl, r,
		  fs_readdir(&ctl->call, ctl->tree, handle, 0, false, take_child, &children));
	fs_release(&ctl->call, ctl->tree, handle);
	owned = children.list;
	for (size_t i = 0; r >= 0 && i < owned.n; i++) {
		_cleanup_free_ char *from = join(path, owned.v[i]);
		_cleanup_free_ char *to = join(target, owned.v[i]);
		struct fs_entry entry = {};

		CTL_AGAIN(ctl, r, fs_lookup(&ctl->call, ctl->tree, node, owned.v[i], &entry));
		if (r < 0)
			return mk_prefix(&ctl->call, r, "%s", from);
		r = copy_node(ctl, entry.node, from, to);
		fs_forget(ctl->tree, entry.node, 1);
	}
	return r;
}

static int copy_node(struct ctl *ctl, struct fs_node *node, const char *path, const char *target)
{
	_cleanup_buf_ struct mk_buf link = MK_BUF(MK_LIMIT_TEXT);
	struct fs_attr attr = {};
	int r;

	CTL_AGAIN(ctl, r, fs_getattr(&ctl->call, ctl->tree, node, NULL, &attr));
	if (r < 0)
		return mk_prefix(&ctl->call, r, "%s", path);
	if (S_ISDIR(attr.st.st_mode))
		return copy_dir(ctl, node, path, target);
	if (!S_ISLNK(attr.st.st_mode))
		return copy_file(ctl, node, &attr.st, target);
	CTL_AGAIN(ctl, r, fs_readlink(&ctl->call, ctl->tree, node, &link));
	if (r < 0)
		return mk_prefix(&ctl->call, r, "%s", path);
	if (symlink(mk_buf_text(&link), target) < 0 && errno != EEXIST)
		return mk_fail(&ctl->call, errno, "%s: %s", target, strerror(errno));
	return 0;
}

static int out_of_tree(struct ctl *ctl, const char *source, const char *target)
{
	_cleanup_(ctl_place_free) struct ctl_place place = {.ctl = ctl};
	_cleanup_free_ char *inside = NULL;
	struct stat st;
	int r = ctl_walk(ctl, source, true, &place);

	if (r < 0)
		return r;
	if (place.local && strcmp(target, "-") == 0)
		return ctl_spawn(ctl, (const char *[]){"cat", "--", place.local, NULL});
	if (place.local)
		return ctl_spawn(ctl, (const char *[]){"cp", ctl_option(ctl, "recursive") ? "-r" : "-f",
						       "--", place.local, target, NULL});
	if (strcmp(target, "-") == 0) {
		r = ctl_read_node(ctl, place.node, to_fd, &(int){STDOUT_FILENO});
		return ctl_named(ctl, source, r);
	}
	if (stat(target, &st) == 0 && S_ISDIR(st.st_mode))
		inside = join(target, last_part(source));
	return copy_node(ctl, place.node, source, inside ? inside : target);
}

/* Several into one file would leave the last alone. `runs/new` takes as many as come. */
static int must_be_dir(struct ctl *ctl, const char *operand, const char *target)
{
	_cleanup_(ctl_place_free) struct ctl_place place = {.ctl = ctl};
	struct fs_attr attr = {};
	struct stat st = {};
	int r;

	if (target ? is_new(target) : strcmp(operand, "-") == 0)
		return 0;
	if (!target) {
		r = stat(operand, &st) < 0 ? -errno : 0;
	} else {
		r = ctl_walk(ctl, target, true, &place);
		if (r == 0 && place.node) {
			CTL_AGAIN(ctl, r, fs_getattr(&ctl->call, ctl->tree, place.node, NULL, &attr));
			st = attr.st;
		}
		if (r < 0)
			return r;
	}
	if (r == 0 && S_ISDIR(st.st_mode))
		return 0;
	return mk_fail(&ctl->call, r < 0 ? -r : ENOTDIR, "%s: is no directory, so only one can be copied there",
		       operand);
}

static int run(struct ctl *ctl)
{
	const char *last = ctl->operands[ctl->n_operands - 1];
	_cleanup_free_ char *target = strcmp(last, "-") == 0 ? NULL : ctl_tree_path(last);
	int r = ctl->n_operands > 2 ? must_be_dir(ctl, last, target) : 0;

	for (int i = 0; r == 0 && i < ctl->n_operands - 1; i++) {
		_cleanup_free_ char *source = ctl_tree_path(ctl->operands[i]);

		if (target)
			r = into_tree(ctl, ctl->operands[i], target);
		else if (source)
			r = out_of_tree(ctl, source, last);
		else
			r = mk_fail(&ctl->call, EINVAL,
				    "%s: neither this nor %s is in the tree (/projects/...)",
				    ctl->operands[i], last);
	}
	return r;
}

const struct cmd cmd_cp = {
	.name = "cp",
	.operands = "SOURCE ... TARGET",
	.min = 2,
	.max = -1,
	.needs = CTL_READ,
	.help = "copies into the tree or out of it",
	.more = "Into the tree a file is one whole text, checked and stored at its end: cp SPEC "
		"/projects/NAME/runs/new submits and prints the run's name. - is standard input, and as "
		"TARGET standard output.\n"
		"Out of the tree -r copies directories; links stay links, so that no working directory "
		"is copied by accident.",
	.options =
		(const struct cmd_option[]){
			{'r', "recursive", NULL, "directories, too (out of the tree)"},
			{},
		},
	.run = run,
};
