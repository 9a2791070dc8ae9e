/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mirrors of this process: found by name, counted, each with a few libgit2 handles. A handle
 * is used by one thread at a time; packs are shared by libgit2 below them.
 *
 * On disk a mirror is <data>/git/<name>: a bare repository without hooks, templates or remotes.
 * Its file `mantik-origin` holds the uri of the last answer (without secrets); its mtime is when
 * that was, so that all processes know without writing to the database.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "connect/git/internal.h"

static char *path_of(const char *dir, const char *name)
{
	struct mk_buf path = MK_BUF(65536);

	(void)mk_buf_printf(&path, "%s/%s", dir, name);
	return mk_buf_steal(&path);
}

struct mk_git *mk_git_new(const struct mk_git_options *options)
{
	struct mk_git *git = mk_new(struct mk_git);

	git->dir = path_of(options->data_dir, "git");
	git->cache_dir = path_of(options->cache_dir, "blobs");
	git->cache_limit = options->cache_limit;
	git->timeout = options->timeout > 0 ? options->timeout : 60 * MK_SEC;
	git->read_only = options->read_only;
	git->told = options->told;
	git->told_arg = options->told_arg;
	git->login = options->login;
	git->login_arg = options->login_arg;
	git->lanes = mk_lanes_new(4);
	pthread_mutex_init(&git->lock, NULL);
	git_libgit2_init();
	/* Our own directories; who may read them is the file system's business. */
	git_libgit2_opts(GIT_OPT_SET_OWNER_VALIDATION, 0);
	git_libgit2_opts(GIT_OPT_ENABLE_FSYNC_GITDIR, 1);
	return git;
}

void git_failure_clear(struct mk_mirror *mirror)
{
	free(mirror->failed.text);
	free(mirror->failed.remote);
	free(mirror->failed.detail);
	free(mirror->failed_uri);
	mirror->failed_uri = NULL;
	mirror->failed = (struct mk_error){};
}

static void free_mirror(struct mk_mirror *mirror)
{
	for (int i = 0; i < mirror->n_pool; i++)
		git_repository_free(mirror->pool[i]);
	git_failure_clear(mirror);
	free(mirror->name);
	free(mirror->path);
	free(mirror);
}

void mk_git_free(struct mk_git *git)
{
	if (!git)
		return;
	git_flights_end(git);
	mk_lanes_free(git->lanes);
	for (struct mk_mirror *m = git->mirrors, *next; m; m = next) {
		next = m->next;
		free_mirror(m);
	}
	for (size_t i = 0; i < CACHED_TREES; i++)
		git_tree_drop(git->trees[i]);
	pthread_mutex_destroy(&git->lock);
	free(git->dir);
	free(git->cache_dir);
	free(git);
	git_libgit2_shutdown();
}

int git_fail(struct mk_call *call, struct mk_mirror *mirror, int code, const char *what)
{
	const git_error *error = git_error_last();
	const char *words = error && error->message ? error->message : "no reason given";
	int number = code == GIT_ENOTFOUND ? ENOENT : EIO;

	if (error && error->klass == GIT_ERROR_NOMEMORY)
		number = ENOMEM;
	if (error && error->klass == GIT_ERROR_OS && strstr(words, "No space left"))
		number = ENOSPC;
	return mk_fail(call, number, "mirror %s: %s: %s", mirror->name, what, words);
}

/* A mirror nobody holds keeps its handles: the next `ls` is a moment away. */
void mk_mirror_unref(struct mk_mirror *mirror)
{
	if (!mirror)
		return;
	pthread_mutex_lock(&mirror->git->lock);
	mirror->refs--;
	pthread_mutex_unlock(&mirror->git->lock);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)remove(path);
	return 0;
}

static void remove_tree(const char *path)
{
	(void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Made aside and renamed: a mirror is whole or not there. */
int mk_mirror_make(struct mk_call *call, struct mk_mirror *mirror)
{
	git_repository_init_options options = GIT_REPOSITORY_INIT_OPTIONS_INIT;
	git_repository *repo = NULL;
	_cleanup_free_ char *head = path_of(mirror->path, "HEAD");
	struct mk_buf name = MK_BUF(65536);

	if (access(head, F_OK) == 0)
		return 0;
	if (mirror->git->read_only)
		return mk_fail(call, EROFS, "mirror %s: the platform is open for reading only",
			       mirror->name);
	if (mkdir(mirror->git->dir, 0700) < 0 && errno != EEXIST)
		return mk_fail(call, errno, "%s: %s", mirror->git->dir, strerror(errno));
	(void)mk_buf_printf(&name, "%s.new.%d.%lx", mirror->path, (int)getpid(),
			    (unsigned long)pthread_self());

	_cleanup_free_ char *fresh = mk_buf_steal(&name);

	options.flags = GIT_REPOSITORY_INIT_BARE | GIT_REPOSITORY_INIT_MKDIR |
			GIT_REPOSITORY_INIT_NO_REINIT;
	options.initial_head = "main";

	int r = git_repository_init_ext(&repo, fresh, &options);

	git_repository_free(repo);
	if (r < 0) {
		remove_tree(fresh);
		return git_fail(call, mirror, r, "cannot be made");
	}
	if (rename(fresh, mirror->path) < 0) {
		r = errno;
		remove_tree(fresh);
		if (r != EEXIST && r != ENOTEMPTY) /* else another process was quicker */
			return mk_fail(call, r, "%s: %s", mirror->path, strerror(r));
	}
	return 0;
}

int mk_mirror_get(struct mk_call *call, struct mk_git *git, const char *name, bool make,
		  struct mk_mirror **ret)
{
	struct mk_mirror *mirror;

	if (!*name || *name == '.' || strchr(name, '/'))
		return mk_fail(call, EINVAL, "mirror %s: not a name of ours", name);
	pthread_mutex_lock(&git->lock);
	for (mirror = git->mirrors; mirror; mirror = mirror->next)
		if (strcmp(mirror->name, name) == 0)
			break;
	if (!mirror) {
		mirror = mk_new(struct mk_mirror);
		mirror->git = git;
		mirror->name = mk_strdup(name);
		mirror->path = path_of(git->dir, name);
		mirror->next = git->mirrors;
		git->mirrors = mirror;
	}
	mirror->refs++;
	pthread_mutex_unlock(&git->lock);

	int r = make ? mk_mirror_make(call, mirror) : 0;

	if (r < 0) {
		mk_mirror_unref(mirror);
		return r;
	}
	*ret = mirror;
	return 0;
}

int git_take(struct mk_call *call, struct mk_mirror *mirror, git_repository **ret)
{
	git_repository *repo = NULL;

	pthread_mutex_lock(&mirror->git->lock);
	if (mirror->n_pool)
		repo = mirror->pool[--mirror->n_pool];
	pthread_mutex_unlock(&mirror->git->lock);
	if (!repo) {
		int r = git_repository_open_bare(&repo, mirror->path);
		if (r < 0)
			return git_fail(call, mirror, r, "cannot be opened");
	}
	*ret = repo;
	return 0;
}

void git_give_back(struct mk_mirror *mirror, git_repository *repo)
{
	pthread_mutex_lock(&mirror->git->lock);
	if (mirror->n_pool < POOL) {
		mirror->pool[mirror->n_pool++] = repo;
		repo = NULL;
	}
	pthread_mutex_unlock(&mirror->git->lock);
	git_repository_free(repo);
}

int64_t mk_mirror_answered(struct mk_mirror *mirror, const struct mk_origin *origin)
{
	_cleanup_free_ char *path = path_of(mirror->path, "mantik-origin");
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = strlen(origin->uri);
	struct stat st;
	char uri[4200];

	if (fd < 0 || fstat(fd, &st) < 0 || (size_t)st.st_size != len || len > sizeof(uri))
		return 0;
	if (pread(fd, uri, len, 0) != (ssize_t)len || memcmp(uri, origin->uri, len) != 0)
		return 0;
	return (int64_t)st.st_mtim.tv_sec * MK_SEC + st.st_mtim.tv_nsec;
}

int git_set_answered(struct mk_call *call, struct mk_mirror *mirror, const struct mk_origin *origin)
{
	_cleanup_free_ char *path = path_of(mirror->path, "mantik-origin");
	_cleanup_free_ char *fresh = path_of(mirror->path, "mantik-origin.new");
	size_t len = strlen(origin->uri);

	if (mk_mirror_answered(mirror, origin) && utimensat(AT_FDCWD, path, NULL, 0) == 0)
		return 0;

	_cleanup_close_ int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, origin->uri, len) != (ssize_t)len || fsync(fd) < 0 ||
	    rename(fresh, path) < 0)
		return mk_fail(call, errno, "%s: %s", path, strerror(errno));
	return 0;
}
