/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories and files of a commit. A directory is read once with the true size of every file
 * (from the object's header, no content is unpacked) and kept: trees are fixed for ever.
 */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "connect/git/internal.h"

enum {
	MAX_NAMES = 256 << 20, /* bytes of names in one directory */
	MAX_DEPTH = 64,	       /* of a search for MLproject files */
	MAX_VISITED = 1000000, /* entries looked at by it: trees may repeat each other */
	MAX_MLPROJECTS = 1000,
};

/* A checkout would refuse them too: they lead out of the tree, or into git's own files. */
bool git_name_is_safe(const char *name)
{
	return *name && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
	       strcasecmp(name, ".git") != 0 && !strchr(name, '/') && strlen(name) <= 4096;
}

bool mk_is_lfs_pointer(const char *data, size_t len)
{
	static const char begin[] = "version https://git-lfs.github.com/spec/v1\n";

	return len < 1024 && len >= sizeof(begin) - 1 &&
	       memcmp(data, begin, sizeof(begin) - 1) == 0;
}

void git_tree_drop(struct git_tree *tree)
{
	if (!tree)
		return;
	mk_buf_free(&tree->names);
	free(tree->v);
	free(tree);
}

static int compare_entries(const void *a, const void *b)
{
	return strcmp(((const struct mk_tree_entry *)a)->name,
		      ((const struct mk_tree_entry *)b)->name);
}

static int entry_type(const git_tree_entry *entry)
{
	switch (git_tree_entry_filemode(entry)) {
	case GIT_FILEMODE_TREE:
		return MK_TREE_DIR;
	case GIT_FILEMODE_BLOB_EXECUTABLE:
		return MK_TREE_EXEC;
	case GIT_FILEMODE_LINK:
		return MK_TREE_LINK;
	case GIT_FILEMODE_COMMIT:
		return MK_TREE_SUBMODULE;
	default:
		return MK_TREE_FILE;
	}
}

static int fill(struct mk_call *call, struct mk_mirror *mirror, git_odb *odb, git_tree *from,
		struct git_tree *tree)
{
	size_t n = git_tree_entrycount(from);

	tree->names = MK_BUF(MAX_NAMES);
	tree->v = calloc(n ? n : 1, sizeof(*tree->v));
	if (!tree->v)
		return mk_fail(call, ENOMEM, "a directory of %zu files: out of memory", n);
	for (size_t i = 0; i < n; i++) {
		const git_tree_entry *entry = git_tree_entry_byindex(from, i);
		const char *name = git_tree_entry_name(entry);
		struct mk_tree_entry *to = &tree->v[tree->n];
		size_t size = 0;
		git_object_t type;

		if (!git_name_is_safe(name))
			continue;
		if (i % 256 == 0) {
			int r = mk_call_check(call, "a directory of a commit");
			if (r < 0)
				return r;
		}
		*to = (struct mk_tree_entry){.oid = git_to(git_tree_entry_id(entry)),
					     .type = entry_type(entry)};
		if (to->type != MK_TREE_DIR && to->type != MK_TREE_SUBMODULE) {
			int r = git_odb_read_header(&size, &type, odb, git_tree_entry_id(entry));
			if (r < 0)
				return git_fail(call, mirror, r == GIT_ENOTFOUND ? GIT_ERROR : r,
						name);
			to->size = (int64_t)size;
		}
		/* An offset while the buffer may move. */
		to->name = (const char *)(uintptr_t)tree->names.len;
		if (mk_buf_put(&tree->names, name, strlen(name) + 1) < 0)
			return mk_fail(call, EFBIG, "a directory of %zu files: too big", n);
		tree->n++;
	}
	for (size_t i = 0; i < tree->n; i++)
		tree->v[i].name = tree->names.data + (uintptr_t)tree->v[i].name;
	if (tree->n)
		qsort(tree->v, tree->n, sizeof(*tree->v), compare_entries);
	return 0;
}

/* Oids are evenly spread already. */
static struct git_tree **slot_of(struct mk_git *git, const struct mk_oid *oid)
{
	unsigned n;

	memcpy(&n, oid->b, sizeof(n));
	return &git->trees[n % CACHED_TREES];
}

static void release(struct mk_git *git, struct git_tree *tree)
{
	if (!tree)
		return;
	pthread_mutex_lock(&git->lock);

	int left = --tree->refs;

	pthread_mutex_unlock(&git->lock);
	if (left == 0)
		git_tree_drop(tree);
}

static struct git_tree *find_cached(struct mk_git *git, const struct mk_oid *oid)
{
	struct git_tree *tree;

	pthread_mutex_lock(&git->lock);
	tree = *slot_of(git, oid);
	if (tree && memcmp(&tree->oid, oid, sizeof(*oid)) == 0)
		tree->refs++;
	else
		tree = NULL;
	pthread_mutex_unlock(&git->lock);
	return tree;
}

/* Under git->lock. Takes the slot's tree out; the caller releases it. */
static struct git_tree *take_out(struct mk_git *git, struct git_tree **slot)
{
	struct git_tree *old = mk_steal(slot);

	if (old)
		git->entries -= old->n;
	return old;
}

/* One tree a slot, the newer wins; when all of them are too many, the cache begins anew. */
static void keep(struct mk_git *git, struct git_tree *tree)
{
	struct git_tree *old[CACHED_TREES];
	size_t n = 0;

	pthread_mutex_lock(&git->lock);
	old[n++] = take_out(git, slot_of(git, &tree->oid));
	for (size_t i = 0; git->entries + tree->n > CACHED_ENTRIES && i < CACHED_TREES; i++)
		if (git->trees[i])
			old[n++] = take_out(git, &git->trees[i]);
	tree->refs++;
	git->entries += tree->n;
	*slot_of(git, &tree->oid) = tree;
	pthread_mutex_unlock(&git->lock);
	for (size_t i = 0; i < n; i++)
		release(git, old[i]);
}

static int read_tree(struct mk_call *call, struct mk_mirror *mirror, const struct mk_oid *oid,
		     struct git_tree **ret)
{
	_cleanup_use_ struct git_use use = {.mirror = mirror};
	_cleanup_(git_tree_freep) git_tree *from = NULL;
	_cleanup_(git_odb_freep) git_odb *odb = NULL;
	struct git_tree *tree = find_cached(mirror->git, oid);
	char hash[41];
	int r;

	if (tree) {
		*ret = tree;
		return 0;
	}
	r = git_take(call, mirror, &use.repo);
	if (r < 0)
		return r;
	mk_oid_text(oid, hash);
	r = git_tree_lookup(&from, use.repo, git_of(oid));
	if (r == 0)
		r = git_repository_odb(&odb, use.repo);
	if (r < 0)
		return git_fail(call, mirror, r, hash);
	tree = mk_new(struct git_tree);
	tree->refs = 1;
	tree->oid = *oid;
	r = fill(call, mirror, odb, from, tree);
	if (r < 0) {
		git_tree_drop(tree);
		return r;
	}
	keep(mirror->git, tree);
	*ret = tree;
	return 0;
}

int mk_mirror_tree(struct mk_call *call, struct mk_mirror *mirror, const struct mk_oid *oid,
		   mk_tree_emit *emit, void *arg)
{
	struct git_tree *tree = NULL;
	int r = read_tree(call, mirror, oid, &tree);

	for (size_t i = 0; r == 0 && i < tree->n; i++)
		r = emit(arg, &tree->v[i]);
	release(mirror->git, tree);
	return r;
}

int mk_mirror_tree_find(struct mk_call *call, struct mk_mirror *mirror, const struct mk_oid *oid,
			const char *name, struct mk_tree_entry *ret)
{
	struct git_tree *tree = NULL;
	struct mk_tree_entry key = {.name = name}, *found = NULL;
	int r = read_tree(call, mirror, oid, &tree);

	if (r < 0)
		return r;
	if (tree->n)
		found = bsearch(&key, tree->v, tree->n, sizeof(*tree->v), compare_entries);
	if (found) {
		*ret = *found;
		ret->name = name;
	}
	release(mirror->git, tree);
	return found ? 0
		     : mk_fail(call, ENOENT, "no file %s in this directory of the commit", name);
}

/* `a//./b/` as `a/b`; false for `..`, which leads nowhere in a commit. */
bool git_tidy_path(const char *path, struct mk_buf *out)
{
	while (*path) {
		size_t n = strcspn(path, "/");

		if (n == 2 && strncmp(path, "..", 2) == 0)
			return false;
		if (n && !(n == 1 && *path == '.'))
			(void)mk_buf_printf(out, "%s%.*s", out->len ? "/" : "", (int)n, path);
		path += n;
		path += *path == '/';
	}
	return true;
}

static int commit_tree(struct mk_call *call, struct mk_mirror *mirror, git_repository *repo,
		       const struct mk_oid *commit, git_tree **ret)
{
	_cleanup_(git_commit_freep) git_commit *found = NULL;
	char hash[41];
	int r = git_commit_lookup(&found, repo, git_of(commit));

	if (r == 0)
		r = git_commit_tree(ret, found);
	mk_oid_text(commit, hash);
	return r < 0 ? git_fail(call, mirror, r, hash) : 0;
}

int mk_mirror_file(struct mk_call *call, struct mk_mirror *mirror, const struct mk_oid *commit,
		   const char *path, struct mk_buf *ret)
{
	_cleanup_use_ struct git_use use = {.mirror = mirror};
	_cleanup_(git_tree_freep) git_tree *top = NULL;
	_cleanup_buf_ struct mk_buf clean = MK_BUF(65536);
	git_tree_entry *entry = NULL;
	git_blob *blob = NULL;
	size_t size;
	git_object_t type;
	_cleanup_(git_odb_freep) git_odb *odb = NULL;
	int r = git_take(call, mirror, &use.repo);

	if (r < 0)
		return r;
	r = commit_tree(call, mirror, use.repo, commit, &top);
	if (r < 0)
		return r;
	if (!git_tidy_path(path, &clean) || mk_buf_check(&clean) < 0)
		return mk_fail(call, ENOENT, "%s: leads out of the repository", path);
	if (!clean.len)
		return mk_fail(call, EISDIR, "%s is a directory", *path ? path : "the top");
	r = git_tree_entry_bypath(&entry, top, mk_buf_text(&clean));
	if (r == GIT_ENOTFOUND)
		return mk_fail(call, ENOENT, "no file %s in this commit", path);
	if (r < 0)
		return git_fail(call, mirror, r, path);

	git_oid id = *git_tree_entry_id(entry);
	int kind = entry_type(entry);

	git_tree_entry_free(entry);
	if (kind == MK_TREE_DIR || kind == MK_TREE_SUBMODULE)
		return mk_fail(call, EISDIR, "%s is a %s", path,
			       kind == MK_TREE_DIR ? "directory" : "submodule");
	if (kind == MK_TREE_LINK)
		return mk_fail(call, ELOOP, "%s is a symbolic link: name the file itself", path);
	r = git_repository_odb(&odb, use.repo);
	if (r == 0)
		r = git_odb_read_header(&size, &type, odb, &id);
	if (r < 0)
		return git_fail(call, mirror, GIT_ERROR, path);
	if (size > ret->limit)
		return mk_fail(call, EFBIG, "%s has %zu bytes, more than %zu", path, size,
			       ret->limit);
	r = git_blob_lookup(&blob, use.repo, &id);
	if (r < 0)
		return git_fail(call, mirror, GIT_ERROR, path);
	if (mk_is_lfs_pointer(git_blob_rawcontent(blob), size))
		r = mk_fail(call, EREMOTEIO,
			    "%s is kept in Git LFS: only its pointer is in the repository", path);
	else if (mk_buf_put(ret, git_blob_rawcontent(blob), size) < 0)
		r = mk_fail(call, EFBIG, "%s: more than %zu bytes", path, ret->limit);
	git_blob_free(blob);
	return r;
}

struct search {
	struct mk_call *call;
	struct mk_mirror *mirror;
	git_repository *repo;
	struct mk_list *found;
	int visited;
};

static int search_tree(struct search *search, const git_tree *tree, const char *prefix, int depth)
{
	size_t n = git_tree_entrycount(tree);
	int r = mk_call_check(search->call, "the files of a commit");

	for (size_t i = 0; r == 0 && i < n; i++) {
		const git_tree_entry *entry = git_tree_entry_byindex(tree, i);
		const char *name = git_tree_entry_name(entry);
		int kind = entry_type(entry);
		_cleanup_(git_tree_freep) git_tree *sub = NULL;
		_cleanup_buf_ struct mk_buf path = MK_BUF(1 << 20);

		if (++search->visited > MAX_VISITED || search->found->n >= MAX_MLPROJECTS)
			return 0;
		if (!git_name_is_safe(name))
			continue;
		if (kind == MK_TREE_DIR && depth < MAX_DEPTH) {
			if (mk_buf_printf(&path, "%s%s/", prefix, name) < 0)
				continue;
			r = git_tree_lookup(&sub, search->repo, git_tree_entry_id(entry));
			if (r < 0)
				return git_fail(search->call, search->mirror, GIT_ERROR, name);
			r = search_tree(search, sub, mk_buf_text(&path), depth + 1);
		} else if ((kind == MK_TREE_FILE || kind == MK_TREE_EXEC) &&
			   strcasecmp(name, "MLproject") == 0) {
			(void)mk_buf_printf(&path, "%s%s", prefix, name);
			r = mk_list_add(search->found, mk_buf_text(&path));
			if (r < 0)
				return mk_fail(search->call, -r, "too many MLproject files");
		}
	}
	return r;
}

int mk_mirror_mlprojects(struct mk_call *call, struct mk_mirror *mirror,
			 const struct mk_oid *commit, struct mk_list *ret)
{
	_cleanup_use_ struct git_use use = {.mirror = mirror};
	_cleanup_(git_tree_freep) git_tree *top = NULL;
	int r = git_take(call, mirror, &use.repo);

	if (r < 0)
		return r;
	r = commit_tree(call, mirror, use.repo, commit, &top);
	if (r < 0)
		return r;

	struct search search = {.call = call, .mirror = mirror, .repo = use.repo, .found = ret};

	r = search_tree(&search, top, "", 0);
	if (r == 0)
		mk_list_sort(ret);
	return r;
}
