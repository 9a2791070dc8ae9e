/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pins: refs/mantik/runs/<commit>, one for each commit that a run was made from, so that neither a
 * forced push nor a `git gc` of somebody takes it away. One a commit, not one a run: git compares
 * all refs at each fetch, and runs are many.
 *
 * A pin is set before its run is durable, so its age counts: it is touched whenever it is asked for,
 * and only one that nobody has asked for within the last hour may go. Many loose refs make every
 * look at a mirror slow (10 000: 0.6 s): they are packed when a fetch finds too many.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "connect/git/internal.h"

enum { LOOSE_PINS = 500, YOUNG_S = 3600 };

static const char pins[] = "refs/mantik/runs/";

static char *pin_path(const struct mk_mirror *mirror, const char *hash)
{
	return mk_strf("%s/%s%s", mirror->path, pins, hash);
}

/* A loose ref, as git writes them: with libgit2 a packed one would stay as old as it is. */
int mk_mirror_pin(struct mk_call *call, struct mk_mirror *mirror, const struct mk_oid *commit)
{
	char hash[42];
	int r;

	mk_oid_text(commit, hash);

	_cleanup_free_ char *dir = pin_path(mirror, "");
	_cleanup_free_ char *path = pin_path(mirror, hash);

	if (utimensat(AT_FDCWD, path, NULL, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	r = mk_mkdirs(call, dir, 0700);
	hash[40] = '\n';
	return r < 0 ? r : mk_file_write(call, AT_FDCWD, path, hash, 41, 0600, true);
}

/* --- tidying ------------------------------------------------------------------------------- */

int git_run_plain(struct mk_call *call, struct mk_mirror *mirror, const char *const *args,
		  const struct mk_buf *input)
{
	_cleanup_lock_ struct git_lock lock = {.fd = -1};
	int r = git_lock_take(call, mirror, &lock);

	if (r < 0)
		return r;
	return git_run(call, mirror,
		       &(struct git_command){
			       .args = args,
			       .input = input ? mk_buf_text(input) : NULL,
			       .input_len = input ? input->len : 0,
			       .started = git_lock_pid,
			       .started_arg = &lock,
			       .label = mirror->name,
		       });
}

int git_pack_pins(struct mk_call *call, struct mk_mirror *mirror)
{
	static const char *const args[] = {"pack-refs", "--all", NULL};
	_cleanup_free_ char *path = pin_path(mirror, "");
	DIR *dir = opendir(path);
	int n = 0;

	if (!dir)
		return 0; /* nothing was ever pinned */
	while (n <= LOOSE_PINS && readdir(dir))
		n++;
	closedir(dir);
	return n > LOOSE_PINS ? git_run_plain(call, mirror, args, NULL) : 0;
}

struct stale {
	struct mk_mirror *mirror;
	const struct mk_list *used;
	struct mk_buf *orders; /* for git update-ref */
	int64_t packed;	       /* when the packed refs were written, s */
	int n;
};

static int64_t written(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? (int64_t)st.st_mtim.tv_sec : 0;
}

static int compare_hashes(const void *a, const void *b)
{
	return strcmp(a, *(char *const *)b);
}

static int look_at_pin(void *arg, const char *hash, const struct mk_oid *commit, int64_t time)
{
	struct stale *stale = arg;
	_cleanup_free_ char *path = pin_path(stale->mirror, hash);
	int64_t at = written(path), now = mk_now_real() / MK_SEC;
	char value[41];

	if (now - (at ? at : stale->packed) < YOUNG_S ||
	    (stale->used->n && bsearch(hash, stale->used->v, stale->used->n,
				       sizeof(*stale->used->v), compare_hashes)))
		return 0;
	stale->n++;
	mk_oid_text(commit, value);
	return mk_buf_printf(stale->orders, "delete %s%s %s\n", pins, hash, value);
}

int mk_mirror_unpin(struct mk_call *call, struct mk_mirror *mirror, const struct mk_list *used,
		    int *ret)
{
	static const char *const args[] = {"update-ref", "--stdin", NULL};
	_cleanup_buf_ struct mk_buf orders = MK_BUF(64 << 20);
	_cleanup_free_ char *packed = mk_strf("%s/packed-refs", mirror->path);
	struct stale stale = {mirror, used, &orders, written(packed), 0};
	int r = mk_mirror_refs(call, mirror, pins, look_at_pin, &stale);

	if (r < 0)
		return call->error.code == -r ? r
					      : mk_fail(call, -r, "mirror %s: too many pins",
							mirror->name);
	if (stale.n)
		r = git_run_plain(call, mirror, args, &orders);
	if (r == 0)
		*ret = stale.n;
	return r;
}
