/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `code: {path: DIR}`: the files of a checkout as they are now, as a commit of ours. Git is asked
 * which files count (tracked, and untracked that are not ignored); we read them ourselves, byte by
 * byte, into the private mirror. The checkout is only read: no index is refreshed, no filter or
 * hook runs, no object is written there.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/path.h"
#include "connect/git/internal.h"

enum {
	MAX_LISTING = 256 << 20,
	MAX_FILES = 1000000,
	MAX_DEPTH = 64,
	MAX_FILE = 1 << 30, /* one file of a snapshot: it is copied for every change */
};

struct snapshot {
	struct mk_call *call;
	struct mk_mirror *mirror;
	const char *label;
	const char *path; /* as given, for people */
	char *root;	  /* absolute */
	char *prefix;	  /* of root in its checkout: "", or "part/" */
	int root_fd;
	git_repository *repo;
	git_odb *odb;
	git_index *index; /* in memory only */
	int files;
};

static int fail(struct snapshot *s, const char *name)
{
	int code = errno;

	return mk_fail(s->call, code, "%s: %s/%s: %s", s->label, s->path, name, strerror(code));
}

/* A git command in the checkout that may look but not touch. */
static int ask(struct snapshot *s, const char *const *args, const char *const *env,
	       struct mk_buf *out)
{
	const char *prefix[16] = {"-c", "safe.directory=*"};
	size_t n = 2;

	for (size_t i = 0; args[i] && n < 15; i++)
		prefix[n++] = args[i];
	prefix[n] = NULL;
	return git_run(s->call, NULL,
		       &(struct git_command){
			       .args = prefix,
			       .env = env,
			       .dir = s->root,
			       .out = out,
			       .label = s->label,
		       });
}

/* Beneath the root and through no link: a directory swapped for a link leads nowhere. */
static int open_beneath(const struct snapshot *s, const char *name)
{
	struct open_how how = {
		.flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};

	return (int)syscall(SYS_openat2, s->root_fd, name, &how, sizeof(how));
}

/* Content of a regular file into the object store, streamed. */
static int store_file(struct snapshot *s, const char *name, int fd, off_t size, git_oid *ret)
{
	git_odb_stream *stream = NULL;
	off_t done = 0;
	char data[65536];
	int r;

	if (size > MAX_FILE)
		return mk_fail(s->call, EFBIG,
			       "%s: %s/%s has more than 1 GiB: ignore it (.gitignore) or commit it",
			       s->label, s->path, name);
	r = git_odb_open_wstream(&stream, s->odb, size, GIT_OBJECT_BLOB);
	if (r < 0)
		return git_fail(s->call, s->mirror, r, name);
	while (r == 0 && done < size) {
		size_t want =
			size - done < (off_t)sizeof(data) ? (size_t)(size - done) : sizeof(data);
		ssize_t n = read(fd, data, want);

		if (n <= 0) {
			r = n < 0 ? fail(s, name)
				  : mk_fail(s->call, EBUSY,
					    "%s: %s/%s became shorter while it was read", s->label,
					    s->path, name);
			break;
		}
		if (git_odb_stream_write(stream, data, (size_t)n) < 0)
			r = git_fail(s->call, s->mirror, GIT_ERROR, name);
		done += n;
		if (r == 0)
			r = mk_call_check(s->call, s->path);
	}
	if (r == 0 && git_odb_stream_finalize_write(ret, stream) < 0)
		r = git_fail(s->call, s->mirror, GIT_ERROR, name);
	git_odb_stream_free(stream);
	return r;
}

static int add_to_index(struct snapshot *s, const char *name, const git_oid *id, uint32_t mode)
{
	git_index_entry entry = {.mode = mode, .id = *id, .path = name};

	if (++s->files > MAX_FILES)
		return mk_fail(s->call, EFBIG, "%s: %s has more than %d files", s->label, s->path,
			       MAX_FILES);
	if (git_index_add(s->index, &entry) < 0)
		return git_fail(s->call, s->mirror, GIT_ERROR, name);
	return 0;
}

/* One name git listed: a file, a link, a submodule's directory, or gone by now. */
static int add(struct snapshot *s, const char *name)
{
	struct stat st;
	git_oid id;
	int r;

	if (fstatat(s->root_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : fail(s, name);
	if (S_ISLNK(st.st_mode)) {
		char target[4096];
		ssize_t n = readlinkat(s->root_fd, name, target, sizeof(target));

		if (n < 0)
			return fail(s, name);
		r = git_odb_write(&id, s->odb, target, (size_t)n, GIT_OBJECT_BLOB);
		return r < 0 ? git_fail(s->call, s->mirror, r, name)
			     : add_to_index(s, name, &id, GIT_FILEMODE_LINK);
	}
	if (!S_ISREG(st.st_mode))
		return 0; /* submodules, sockets, devices: not code */

	_cleanup_close_ int fd = open_beneath(s, name);

	if (fd < 0)
		return errno == ENOENT || errno == ELOOP ? 0 : fail(s, name);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return 0;
	r = store_file(s, name, fd, st.st_size, &id);
	return r < 0 ? r
		     : add_to_index(s, name, &id,
				    st.st_mode & 0100 ? GIT_FILEMODE_BLOB_EXECUTABLE
						      : GIT_FILEMODE_BLOB);
}

static int add_listed(struct snapshot *s)
{
	const char *const args[] = {
		"ls-files",	 "-z", "--cached", "--others", "--exclude-standard",
		"--deduplicate", NULL};
	_cleanup_buf_ struct mk_buf out = MK_BUF(MAX_LISTING);
	int r = ask(s, args, NULL, &out);

	for (size_t i = 0; r == 0 && i < out.len; i += strlen(out.data + i) + 1)
		r = add(s, out.data + i);
	return r;
}

/* A folder that is no checkout: everything in it. */
static int add_all(struct snapshot *s, int dirfd, const char *prefix, int depth)
{
	DIR *dir = fdopendir(dirfd);
	struct dirent *entry;
	int r = 0;

	if (!dir) {
		r = fail(s, prefix);
		close(dirfd);
		return r;
	}
	while (r == 0 && (entry = readdir(dir))) {
		_cleanup_buf_ struct mk_buf name = MK_BUF(1 << 20);
		struct stat st;

		if (!git_name_is_safe(entry->d_name))
			continue;
		(void)mk_buf_printf(&name, "%s%s", prefix, entry->d_name);
		if (fstatat(dirfd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		if (!S_ISDIR(st.st_mode)) {
			r = add(s, mk_buf_text(&name));
			continue;
		}
		if (depth >= MAX_DEPTH) {
			r = mk_fail(s->call, EFBIG, "%s: %s/%s is too deep", s->label, s->path,
				    mk_buf_text(&name));
			break;
		}

		int fd = open_beneath(s, mk_buf_text(&name));

		if (fd < 0) {
			r = fail(s, mk_buf_text(&name));
			break;
		}
		(void)mk_buf_putc(&name, '/');
		r = add_all(s, fd, mk_buf_text(&name), depth + 1);
	}
	closedir(dir);
	return r;
}

/* 1 a checkout, with its HEAD (NULL: nothing committed yet) and object directory; 0 a folder. */
static int look(struct snapshot *s, char **ret_head, char **ret_objects)
{
	const char *const inside[] = {"rev-parse", "--is-inside-work-tree", NULL};
	const char *const where[] = {"rev-parse", "--path-format=absolute", "--git-path", "objects",
				     NULL};
	const char *const prefix[] = {"rev-parse", "--show-prefix", NULL};
	const char *const head[] = {"rev-parse", "--verify", "--quiet", "HEAD^{commit}", NULL};
	_cleanup_buf_ struct mk_buf out = MK_BUF(65536);
	int r = ask(s, inside, NULL, &out);

	if (r == -EREMOTEIO && s->call->error.text &&
	    strstr(s->call->error.text, "not a git repository"))
		return 0;
	if (r < 0)
		return r;
	if (strncmp(mk_buf_text(&out), "true", 4) != 0)
		return 0;
	mk_buf_truncate(&out, 0);
	r = ask(s, where, NULL, &out);
	if (r < 0)
		return r;
	*ret_objects = mk_strndup(mk_buf_text(&out), strcspn(mk_buf_text(&out), "\n"));
	mk_buf_truncate(&out, 0);
	r = ask(s, prefix, NULL, &out);
	if (r < 0)
		return r;
	s->prefix = mk_strndup(mk_buf_text(&out), strcspn(mk_buf_text(&out), "\n"));
	mk_buf_truncate(&out, 0);
	r = ask(s, head, NULL, &out);
	if (r == 0)
		*ret_head = mk_strndup(mk_buf_text(&out), strcspn(mk_buf_text(&out), "\n"));
	else if (r != -EREMOTEIO)
		return r;
	mk_error_clear(s->call);
	return 1;
}

/* From HEAD to the snapshot, new files too. HEAD's objects are lent for the time of the diff. */
static int diff(struct snapshot *s, const char *head, const char *objects, const git_oid *tree,
		struct mk_buf *ret)
{
	static const char empty[] = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
	_cleanup_buf_ struct mk_buf lent = MK_BUF(65536), from = MK_BUF(65536);
	char to[GIT_OID_HEXSZ + 1];

	(void)mk_buf_printf(&lent, "GIT_ALTERNATE_OBJECT_DIRECTORIES=%s", objects);
	(void)mk_buf_printf(&from, "%s:%s", head ? head : "", s->prefix);
	git_oid_tostr(to, sizeof(to), tree);

	const char *const env[] = {mk_buf_text(&lent), NULL};
	const char *const there[] = {"cat-file", "-e", mk_buf_text(&from), NULL};
	struct git_command command = {.args = there, .env = env, .label = s->label};
	/* A folder that HEAD does not have is new as a whole. */
	bool is_new = !head || git_run(s->call, s->mirror, &command) < 0;
	const char *const args[] = {
		"diff-tree",
		"-p",
		"--binary",
		"--no-ext-diff",
		"--no-textconv",
		"--no-color",
		is_new ? empty : mk_buf_text(&from),
		to,
		NULL,
	};

	mk_error_clear(s->call);
	int r = git_run(
		s->call, s->mirror,
		&(struct git_command){.args = args, .env = env, .out = ret, .label = s->label});

	if (r != -EFBIG)
		return r;
	/* The commit has it all; the text is for reading. */
	mk_error_clear(s->call);
	mk_buf_truncate(ret, 0);
	ret->error = 0;
	(void)mk_buf_printf(ret, "The changes have more than %zu bytes.\n", ret->limit);
	return 0;
}

static int commit(struct snapshot *s, const char *head, const git_oid *tree_id, git_oid *ret)
{
	_cleanup_(git_tree_freep) git_tree *tree = NULL;
	_cleanup_buf_ struct mk_buf text = MK_BUF(65536);
	git_signature *who = NULL;
	int r = git_tree_lookup(&tree, s->repo, tree_id);

	(void)mk_buf_printf(&text, "Snapshot of %s\n\n", s->path);
	if (head)
		(void)mk_buf_printf(&text, "HEAD: %s\n", head);
	if (r == 0)
		r = git_signature_now(&who, "mantikfs", "mantikfs@localhost");
	if (r == 0)
		r = git_commit_create(ret, s->repo, NULL, who, who, "UTF-8", mk_buf_text(&text),
				      tree, 0, NULL);
	git_signature_free(who);
	return r < 0 ? git_fail(s->call, s->mirror, r, "the snapshot's commit") : 0;
}

static int take(struct snapshot *s, struct mk_oid *ret_commit, char **ret_head,
		struct mk_buf *ret_diff, bool *ret_dirty)
{
	_cleanup_free_ char *head = NULL, *objects = NULL;
	git_oid tree, id;
	int r = look(s, &head, &objects);

	if (r < 0)
		return r;

	bool checkout = r;

	if (checkout) {
		r = add_listed(s);
	} else {
		int fd = openat(s->root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		r = fd < 0 ? fail(s, "") : add_all(s, fd, "", 0);
	}
	if (r < 0)
		return r;
	r = git_index_write_tree_to(&tree, s->index, s->repo);
	if (r < 0)
		return git_fail(s->call, s->mirror, r, "the snapshot's tree");
	if (checkout) {
		r = diff(s, head, objects, &tree, ret_diff);
		if (r < 0)
			return r;
	}
	r = commit(s, head, &tree, &id);
	if (r < 0)
		return r;
	*ret_commit = git_to(&id);
	*ret_dirty = !head || ret_diff->len > 0;
	*ret_head = mk_steal(&head);
	return 0;
}

static int open_folder(struct mk_call *call, const char *label, const char *path, char **ret_root,
		       int *ret_fd)
{
	_cleanup_free_ char *root = NULL;

	if (path[0] != '/')
		return mk_fail(call, EINVAL, "%s: code path %s must be absolute", label, path);

	int r = mk_path_resolve(call, path, &root);

	if (r < 0)
		return mk_prefix(call, r, "%s: code path", label);

	int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return mk_fail(call, errno, "%s: code path %s: %s", label, path, strerror(errno));
	*ret_root = mk_steal(&root);
	*ret_fd = fd;
	return 0;
}

int mk_snapshot_check(struct mk_call *call, const char *label, const char *path)
{
	_cleanup_free_ char *root = NULL;
	_cleanup_close_ int fd = -1;

	return open_folder(call, label, path, &root, &fd);
}

int mk_mirror_snapshot(struct mk_call *call, struct mk_mirror *mirror, const char *label,
		       const char *path, struct mk_oid *ret_commit, char **ret_head,
		       struct mk_buf *ret_diff, bool *ret_dirty)
{
	_cleanup_use_ struct git_use use = {.mirror = mirror};
	_cleanup_(git_odb_freep) git_odb *odb = NULL;
	_cleanup_free_ char *root = NULL;
	_cleanup_close_ int fd = -1;
	int r = open_folder(call, label, path, &root, &fd);

	if (r < 0)
		return r;
	r = git_take(call, mirror, &use.repo);
	if (r < 0)
		return r;

	struct snapshot s = {
		.call = call,
		.mirror = mirror,
		.label = label,
		.path = path,
		.root = root,
		.root_fd = fd,
		.repo = use.repo,
	};

	r = git_repository_odb(&odb, use.repo);
	if (r == 0)
		r = git_index_new(&s.index);
	if (r < 0)
		return git_fail(call, mirror, r, "its objects");
	s.odb = odb;
	r = take(&s, ret_commit, ret_head, ret_diff, ret_dirty);
	git_index_free(s.index);
	free(s.prefix);
	return r;
}
