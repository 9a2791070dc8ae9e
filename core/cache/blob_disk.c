/* SPDX-License-Identifier: Apache-2.0 */
/* See blob_disk.h. */
#include "cache/blob_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "base/path.h"
#include "cache/trim.h"

enum { MAGIC = 0x6d6b6232 };

/* What stands behind the bytes; the bits of the blocks follow. Host byte order: a cache. */
struct head {
	uint32_t magic, block;
	int64_t size;
	int64_t asked;
	char etag[MK_ETAG_MAX + 1];
};

/* --- blocks -------------------------------------------------------------------------------- */

int64_t mk_blob_disk_blocks(const struct mk_blob_disk *disk)
{
	return (disk->size + MK_BLOCK - 1) / MK_BLOCK;
}

static bool has(const struct mk_blob_disk *disk, int64_t block)
{
	return disk->bits[block / 8] & 1 << block % 8;
}

bool mk_blob_disk_has(const struct mk_blob_disk *disk, int64_t offset, int64_t len,
		      int64_t *ret_missing)
{
	for (int64_t b = offset / MK_BLOCK; b * MK_BLOCK < offset + len; b++)
		if (!has(disk, b)) {
			*ret_missing = b;
			return false;
		}
	return true;
}

static off_t head_at(const struct mk_blob_disk *disk)
{
	return mk_blob_disk_blocks(disk) * MK_BLOCK;
}

static void count_missing(struct mk_blob_disk *disk)
{
	disk->missing = 0;
	for (int64_t b = 0; b < mk_blob_disk_blocks(disk); b++)
		disk->missing += !has(disk, b);
}

static struct flock lock_head(const struct mk_blob_disk *disk, short type)
{
	return (struct flock){
		.l_type = type, .l_whence = SEEK_SET, .l_start = head_at(disk), .l_len = 1};
}

void mk_blob_disk_note(struct mk_blob_disk *disk, int64_t block)
{
	struct flock lock = lock_head(disk, F_WRLCK);
	off_t at = head_at(disk) + (off_t)sizeof(struct head) + block / 8;
	unsigned char byte = 0, before = disk->bits[block / 8];

	if (has(disk, block))
		return;
	(void)fcntl(disk->fd, F_OFD_SETLKW, &lock);
	if (pread(disk->fd, &byte, 1, at) == 1)
		disk->bits[block / 8] |= byte;
	disk->bits[block / 8] |= (unsigned char)(1 << block % 8);
	(void)!pwrite(disk->fd, &disk->bits[block / 8], 1, at);
	lock.l_type = F_UNLCK;
	(void)fcntl(disk->fd, F_OFD_SETLK, &lock);
	disk->missing -= __builtin_popcount(disk->bits[block / 8] ^ before);
}

int mk_blob_disk_write(struct mk_call *call, struct mk_blob_disk *disk, const char *label,
		       int64_t block, const void *data, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pwrite(disk->fd, (const char *)data + done, len - done,
				   block * MK_BLOCK + (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return mk_fail(call, errno, "%s: the cache: %s", label, strerror(errno));
		done += (size_t)n;
	}
	return 0;
}

int mk_blob_disk_read(struct mk_call *call, const struct mk_blob_disk *disk, const char *label,
		      void *buf, size_t len, int64_t offset)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(disk->fd, (char *)buf + done, len - done, offset + (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0)
			return mk_fail(call, EIO, "%s: the cache was cut", label);
		if (n < 0)
			return mk_fail(call, errno, "%s: the cache: %s", label, strerror(errno));
		done += (size_t)n;
	}
	return 0;
}

/* --- the file ------------------------------------------------------------------------------ */

static void write_head(const struct mk_blob_disk *disk)
{
	struct head head = {
		.magic = MAGIC, .block = MK_BLOCK, .size = disk->size, .asked = disk->asked};

	memcpy(head.etag, disk->etag, sizeof(head.etag));
	(void)!pwrite(disk->fd, &head, sizeof(head), head_at(disk));
}

void mk_blob_disk_note_version(struct mk_blob_disk *disk, int64_t asked, const char *etag)
{
	if (asked)
		disk->asked = asked;
	if (etag && strlen(etag) <= MK_ETAG_MAX)
		memcpy(disk->etag, etag, strlen(etag) + 1);
	write_head(disk);
}

/* What is there, or nothing yet. */
static void load(struct mk_blob_disk *disk)
{
	struct flock lock = lock_head(disk, F_WRLCK);
	struct head head = {};
	size_t n = (size_t)mk_blob_disk_blocks(disk) / 8 + 1;
	off_t at = head_at(disk);

	disk->bits = mk_alloc(n);
	memset(disk->bits, 0, n);
	(void)fcntl(disk->fd, F_OFD_SETLKW, &lock);
	if (pread(disk->fd, &head, sizeof(head), at) != sizeof(head) || head.magic != MAGIC ||
	    head.block != MK_BLOCK || head.size != disk->size ||
	    memchr(head.etag, 0, sizeof(head.etag)) == NULL) {
		(void)!ftruncate(disk->fd, 0);
		write_head(disk);
	} else {
		disk->asked = head.asked;
		memcpy(disk->etag, head.etag, sizeof(disk->etag));
		(void)!pread(disk->fd, disk->bits, n, at + (off_t)sizeof(head));
	}
	lock.l_type = F_UNLCK;
	(void)fcntl(disk->fd, F_OFD_SETLK, &lock);
	count_missing(disk);
}

/* The last to go, whatever the file system thinks of access times. */
static void read_now(const struct mk_blob_disk *disk)
{
	const struct timespec now[] = {{.tv_nsec = UTIME_NOW}, {.tv_nsec = UTIME_OMIT}};

	(void)futimens(disk->fd, now);
}

int mk_blob_disk_open(struct mk_call *call, struct mantik *m, const char *identity,
		      struct mk_blob_disk *ret)
{
	_cleanup_buf_ struct mk_buf path = MK_BUF(8192);
	char hex[65];

	mk_sha256_hex(identity, strlen(identity), hex);
	(void)mk_buf_printf(&path, "%s/blobs", m->cache_dir);

	int r = mk_path_make(call, mk_buf_text(&path));

	if (r < 0)
		return r;
	(void)mk_buf_printf(&path, "/%s", hex);
	ret->path = mk_buf_steal(&path);
	do {
		mk_closep(&ret->fd);
		ret->fd = open(ret->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (ret->fd < 0)
			return mk_fail(call, errno, "%s: %s", ret->path, strerror(errno));
	} while (!mk_cache_hold(ret->fd));
	read_now(ret);
	load(ret);
	return 0;
}

void mk_blob_disk_let_go(struct mk_blob_disk *disk)
{
	if (disk->fd >= 0)
		read_now(disk);
	mk_closep(&disk->fd);
}

void mk_blob_disk_close(struct mk_blob_disk *disk)
{
	mk_blob_disk_let_go(disk);
	free(disk->path);
	free(disk->bits);
}

void mk_blob_disk_retire(const struct mk_blob_disk *disk)
{
	struct stat here, there;

	if (fstat(disk->fd, &here) == 0 && lstat(disk->path, &there) == 0 &&
	    here.st_ino == there.st_ino)
		(void)unlink(disk->path);
}

void mk_blob_disk_trim(const struct mk_blob_disk *disk, int64_t limit)
{
	_cleanup_free_ char *dir =
		mk_strndup(disk->path, (size_t)(strrchr(disk->path, '/') - disk->path));

	mk_cache_trim(dir, limit, 0);
}
