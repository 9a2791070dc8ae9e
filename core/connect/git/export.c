/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A commit written out as files, for a working directory. What is there already is replaced name
 * by name, so that a second try after a crash ends in the same tree; nothing is ever written
 * through a link, neither one that lay there nor one of the commit itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <string.h>
#include <sys/stat.h>

#include "connect/git/internal.h"

enum { MAX_DEPTH = 128, MAX_FILES = 5000000, MAX_LEFT_OUT = 1000 };

struct export
{
	struct mk_call *call;
	struct mk_mirror *mirror;
	git_repository *repo;
	git_odb *odb;
	const struct mk_list *exclude;
	struct mk_list *left_out;
	int files;
};

/* As the official client: a pattern is matched with a file's name in its own folder, `folder/`
 * (with the slash) leaves out that folder wherever it is. */
static bool is_excluded(const struct mk_list *exclude, const char *path, const char *name,
			bool is_dir)
{
	for (size_t i = 0; exclude && i < exclude->n; i++) {
		const char *pattern = exclude->v[i];
		size_t n = strlen(pattern);

		if (n > 1 && pattern[n - 1] == '/') {
			if (is_dir &&
			    ((strlen(name) == n - 1 && strncmp(pattern, name, n - 1) == 0) ||
			     (strlen(path) == n - 1 && strncmp(pattern, path, n - 1) == 0)))
				return true;
		} else if (!is_dir && fnmatch(pattern, name, 0) == 0) {
			return true;
		}
	}
	return false;
}

static int fail(struct export *e, const char *path)
{
	int code = errno;

	return mk_fail(e->call, code, "%s: %s", path, strerror(code));
}

static void leave_out(struct export *e, const char *path, const char *why)
{
	struct mk_buf text = MK_BUF(65536);

	if (!e->left_out || e->left_out->n >= MAX_LEFT_OUT)
		return;
	(void)mk_buf_printf(&text, "%s (%s)", path, why);

	_cleanup_free_ char *line = mk_buf_steal(&text);

	(void)!mk_list_add(e->left_out, line);
}

static int write_all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Exclusive, so that no link that lies there is followed; what lies there goes first. */
static int create(int dir, const char *name, mode_t mode)
{
	int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
	int fd = openat(dir, name, flags, mode);

	if (fd < 0 && errno == EEXIST && unlinkat(dir, name, 0) == 0)
		fd = openat(dir, name, flags, mode);
	return fd;
}

static int write_file(struct export *e, int dir, const char *name, const char *path,
		      const git_oid *id, bool executable)
{
	_cleanup_(git_odb_object_freep) git_odb_object *object = NULL;
	git_object_t type;
	size_t size;
	int r = git_odb_read_header(&size, &type, e->odb, id);

	if (r < 0)
		return git_fail(e->call, e->mirror, GIT_ERROR, path);

	_cleanup_close_ int fd = create(dir, name, executable ? 0777 : 0666);

	if (fd < 0)
		return fail(e, path);
	if (size > BIG_BLOB) {
		struct mk_oid oid = git_to(id);

		return git_cat_to(e->call, e->mirror, &oid, fd);
	}
	r = git_odb_read(&object, e->odb, id);
	if (r < 0)
		return git_fail(e->call, e->mirror, GIT_ERROR, path);
	if (write_all(fd, git_odb_object_data(object), size) < 0)
		return fail(e, path);
	if (mk_is_lfs_pointer(git_odb_object_data(object), size))
		leave_out(e, path, "in Git LFS, only its pointer is here");
	return 0;
}

static int write_link(struct export *e, int dir, const char *name, const char *path,
		      const git_oid *id)
{
	git_blob *blob = NULL;
	int r = git_blob_lookup(&blob, e->repo, id);

	if (r < 0)
		return git_fail(e->call, e->mirror, GIT_ERROR, path);

	_cleanup_free_ char *target =
		mk_strndup(git_blob_rawcontent(blob), (size_t)git_blob_rawsize(blob));

	git_blob_free(blob);
	if (symlinkat(target, dir, name) < 0 &&
	    (errno != EEXIST || unlinkat(dir, name, 0) < 0 || symlinkat(target, dir, name) < 0))
		return fail(e, path);
	return 0;
}

static int enter(struct export *e, int dir, const char *name, const char *path, int *ret)
{
	int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

	if (mkdirat(dir, name, 0777) < 0 && errno != EEXIST)
		return fail(e, path);
	*ret = openat(dir, name, flags);
	if (*ret < 0 && (errno == ENOTDIR || errno == ELOOP) && unlinkat(dir, name, 0) == 0 &&
	    mkdirat(dir, name, 0777) == 0)
		*ret = openat(dir, name, flags);
	return *ret < 0 ? fail(e, path) : 0;
}

static int write_tree(struct export *e, const git_tree *tree, int dir, const char *prefix,
		      int depth);

static int write_entry(struct export *e, const git_tree_entry *entry, int dir, const char *prefix,
		       int depth)
{
	const char *name = git_tree_entry_name(entry);
	const git_oid *id = git_tree_entry_id(entry);
	git_filemode_t mode = git_tree_entry_filemode(entry);
	_cleanup_buf_ struct mk_buf text = MK_BUF(1 << 20);
	_cleanup_(git_tree_freep) git_tree *sub = NULL;
	_cleanup_close_ int fd = -1;
	int r;

	(void)mk_buf_printf(&text, "%s%s", prefix, name);

	const char *path = mk_buf_text(&text);

	if (!git_name_is_safe(name)) {
		leave_out(e, path, "not a file name");
		return 0;
	}
	if (++e->files > MAX_FILES || depth > MAX_DEPTH)
		return mk_fail(e->call, EFBIG, "%s: the commit has too many files or is too deep",
			       path);
	if (is_excluded(e->exclude, path, name, mode == GIT_FILEMODE_TREE))
		return 0;
	switch (mode) {
	case GIT_FILEMODE_COMMIT:
		leave_out(e, path, "a submodule");
		return enter(e, dir, name, path, &fd);
	case GIT_FILEMODE_LINK:
		return write_link(e, dir, name, path, id);
	case GIT_FILEMODE_TREE:
		r = git_tree_lookup(&sub, e->repo, id);
		if (r < 0)
			return git_fail(e->call, e->mirror, GIT_ERROR, path);
		r = enter(e, dir, name, path, &fd);
		if (r < 0)
			return r;
		(void)mk_buf_putc(&text, '/');
		return write_tree(e, sub, fd, mk_buf_text(&text), depth + 1);
	default:
		return write_file(e, dir, name, path, id, mode == GIT_FILEMODE_BLOB_EXECUTABLE);
	}
}

static int write_tree(struct export *e, const git_tree *tree, int dir, const char *prefix,
		      int depth)
{
	size_t n = git_tree_entrycount(tree);
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++) {
		if (i % 16 == 0)
			r = mk_call_check(e->call, "the files of a commit");
		if (r == 0)
			r = write_entry(e, git_tree_entry_byindex(tree, i), dir, prefix, depth);
	}
	return r;
}

/* The tree of `subdir` ("": all). */
static int find_tree(struct export *e, const struct mk_oid *commit, const char *subdir,
		     git_tree **ret)
{
	_cleanup_(git_commit_freep) git_commit *found = NULL;
	_cleanup_(git_tree_freep) git_tree *top = NULL;
	git_tree_entry *entry = NULL;
	_cleanup_buf_ struct mk_buf path = MK_BUF(65536);
	char hash[41];
	int r = git_commit_lookup(&found, e->repo, git_of(commit));

	if (r == 0)
		r = git_commit_tree(&top, found);
	mk_oid_text(commit, hash);
	if (r < 0)
		return git_fail(e->call, e->mirror, r, hash);
	if (!git_tidy_path(subdir, &path))
		return mk_fail(e->call, ENOENT, "%s: leads out of the repository", subdir);
	if (!path.len) {
		*ret = mk_steal(&top);
		return 0;
	}
	r = git_tree_entry_bypath(&entry, top, mk_buf_text(&path));
	if (r == GIT_ENOTFOUND)
		return mk_fail(e->call, ENOENT, "no directory %s in commit %s", subdir, hash);
	if (r < 0)
		return git_fail(e->call, e->mirror, r, subdir);
	if (git_tree_entry_type(entry) != GIT_OBJECT_TREE)
		r = mk_fail(e->call, ENOTDIR, "%s in commit %s is no directory", subdir, hash);
	else if (git_tree_lookup(ret, e->repo, git_tree_entry_id(entry)) < 0)
		r = git_fail(e->call, e->mirror, GIT_ERROR, subdir);
	git_tree_entry_free(entry);
	return r;
}

int mk_mirror_export(struct mk_call *call, struct mk_mirror *mirror, const struct mk_oid *commit,
		     const char *subdir, int dirfd, const struct mk_list *exclude,
		     struct mk_list *left_out)
{
	_cleanup_use_ struct git_use use = {.mirror = mirror};
	_cleanup_(git_odb_freep) git_odb *odb = NULL;
	_cleanup_(git_tree_freep) git_tree *tree = NULL;
	int r = git_take(call, mirror, &use.repo);

	if (r < 0)
		return r;
	r = git_repository_odb(&odb, use.repo);
	if (r < 0)
		return git_fail(call, mirror, r, "its objects");

	struct export e = {
		.call = call,
		.mirror = mirror,
		.repo = use.repo,
		.odb = odb,
		.exclude = exclude,
		.left_out = left_out,
	};

	r = find_tree(&e, commit, subdir ? subdir : "", &tree);
	return r < 0 ? r : write_tree(&e, tree, dirfd, "", 0);
}
