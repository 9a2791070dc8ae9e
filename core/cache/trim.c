/* SPDX-License-Identifier: Apache-2.0 */
/* See trim.h. A file of a commit may go while it is open, it is complete; a remote file that is open
 * still grows: who has it holds a lock on a byte far behind its end. */
#include "cache/trim.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <mantik/cleanup.h>

enum { OF_COMMIT = 40, REMOTE = 64 };

struct kept {
	char name[REMOTE + 1];
	struct timespec used;
	int64_t size;
};

static struct flock in_use(short type)
{
	return (struct flock){
		.l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)1 << 62, .l_len = 1};
}

bool mk_cache_hold(int fd)
{
	struct flock lock = in_use(F_RDLCK);
	struct stat st;

	(void)fcntl(fd, F_OFD_SETLKW, &lock);
	return fstat(fd, &st) == 0 && st.st_nlink > 0;
}

/* true: it is gone. */
static bool drop(int dir, const struct kept *file)
{
	struct flock lock = in_use(F_WRLCK);

	if (strlen(file->name) == OF_COMMIT)
		return unlinkat(dir, file->name, 0) == 0;

	_cleanup_close_ int fd = openat(dir, file->name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

	return fd >= 0 && fcntl(fd, F_OFD_SETLK, &lock) == 0 && unlinkat(dir, file->name, 0) == 0;
}

static int compare(const void *a, const void *b)
{
	const struct timespec *x = &((const struct kept *)a)->used;
	const struct timespec *y = &((const struct kept *)b)->used;

	if (x->tv_sec != y->tv_sec)
		return x->tv_sec < y->tv_sec ? -1 : 1;
	return x->tv_nsec < y->tv_nsec ? -1 : x->tv_nsec > y->tv_nsec;
}

/* Whether it is one of ours; what is known of it. */
static bool look(int dir, const char *name, struct kept *ret)
{
	size_t len = strlen(name);
	struct stat st;

	if ((len != OF_COMMIT && len != REMOTE) ||
	    fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
		return false;
	memcpy(ret->name, name, len + 1);
	ret->used = len == OF_COMMIT ? st.st_mtim : st.st_atim;
	ret->size = len == OF_COMMIT ? st.st_size : (int64_t)st.st_blocks * 512; /* with holes */
	return true;
}

void mk_cache_trim(const char *path, int64_t limit, int64_t more)
{
	DIR *dir = limit > 0 ? opendir(path) : NULL;
	struct kept *v = NULL;
	struct dirent *entry;
	int64_t sum = more;
	size_t n = 0, cap = 0;

	while (dir && (entry = readdir(dir))) {
		if (n == cap) {
			struct kept *p = realloc(v, (cap = cap ? 2 * cap : 64) * sizeof(*v));

			if (!p)
				break;
			v = p;
		}
		if (look(dirfd(dir), entry->d_name, &v[n]))
			sum += v[n++].size;
	}
	if (n)
		qsort(v, n, sizeof(*v), compare);
	for (size_t i = 0; i < n && sum > limit; i++)
		if (drop(dirfd(dir), &v[i]))
			sum -= v[i].size;
	free(v);
	if (dir)
		closedir(dir);
}
