/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeping a mirror small: each fetch leaves loose objects or one more pack, thousands of which cost
 * inodes (quotas of homes count those) and make every look slower. When they pile up, `git repack` puts
 * them together, small packs first (geometric: the big one of the first fetch is not written anew each
 * time).
 *
 * Nothing is ever thrown away: a commit that no branch shows any more opens by its name as before, and
 * what pins name is reachable by refs of our own. So this is no `git gc`, which prunes.
 *
 * Runs in the thread of the fetch when that has been answered; a deadline, the end of the program and
 * the next fetch stop it, what git leaves behind then is cleaned up with the lock (lock.c). At most once
 * an hour, whether it worked or not: <mirror>/mantik-tidied.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/file.h"
#include "connect/git/internal.h"

enum {
	LOOSE_SAMPLE = 27, /* in one of 256 directories: 6700 in all, where `git gc --auto` begins */
	PACKS = 50,
	OFTEN_S = 3600,
	DEADLINE_S = 60,
};

static int count(const struct mk_mirror *mirror, const char *below, const char *ending)
{
	_cleanup_free_ char *path = mk_strf("%s/objects/%s", mirror->path, below);
	size_t end = strlen(ending);
	DIR *dir = opendir(path);
	int n = 0;

	for (struct dirent *e; dir && (e = readdir(dir));) {
		size_t len = strlen(e->d_name);

		n += e->d_name[0] != '.' && len >= end && strcmp(e->d_name + len - end, ending) == 0;
	}
	if (dir)
		closedir(dir);
	return n;
}

/* Is it time? Notes that it was tried. */
static bool is_due(const struct mk_mirror *mirror)
{
	_cleanup_free_ char *path = mk_strf("%s/mantik-tidied", mirror->path);
	struct stat st;

	if (count(mirror, "17", "") < LOOSE_SAMPLE && count(mirror, "pack", ".pack") <= PACKS)
		return false;
	if (stat(path, &st) == 0 && time(NULL) - st.st_mtime < OFTEN_S && st.st_mtime <= time(NULL))
		return false;

	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	return fd >= 0 && futimens(fd, NULL) == 0;
}

void git_tidy(struct mk_mirror *mirror)
{
	static const char *const args[] = {"repack", "-d", "-q", "--geometric=2", NULL};
	struct mk_git *git = mirror->git;

	if (!is_due(mirror))
		return;

	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);
	call.deadline = mk_now_mono() + DEADLINE_S * MK_SEC;
	pthread_mutex_lock(&git->lock);

	bool mine = !mirror->tidying && !mirror->flight && !git->ending;

	if (mine)
		mirror->tidying = &call;
	pthread_mutex_unlock(&git->lock);
	if (!mine)
		return;
	/* Nobody is waiting: a failure is the next time's affair. */
	(void)!git_run_plain(&call, mirror, args, NULL);
	pthread_mutex_lock(&git->lock);
	mirror->tidying = NULL;
	pthread_mutex_unlock(&git->lock);
}
