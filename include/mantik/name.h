/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names between what a person gave and what a directory shows (mantikfs(7), Names).
 *
 *	person's name      entry               because
 *	feature/x          feature%2Fx         a file name holds no `/`
 *	.hidden            %2Ehidden           a leading `.` would hide it, and `.` `..` are taken
 *	50%                50%
 *	50%20              50%2520             `%20` would be read as a blank
 *	two<newline>lines  two%0Alines         control characters would break `ls` and TSV
 *	300 bytes          <cut>%~<16 hex>     ends in a hash of the whole; not reversible
 *
 * One name has one entry and the other way round: what mk_name_escape() would not have made is no
 * entry of ours. Bytes that are not UTF-8 stay as they are (git branches hold such).
 */
#ifndef MANTIK_NAME_H
#define MANTIK_NAME_H

#include <mantik/buf.h>

enum { MK_NAME_MAX = 255 };

/* Adds the entry for a name of len bytes; "" gives "%". Errors are the buffer's. */
int mk_name_escape(struct mk_buf *buf, const char *name, size_t len);
/*
 * Adds the name an entry stands for. Nothing is added unless 0.
 * -EINVAL  no name gives this entry (`%41`, `.x`, over 255 bytes): a lookup says ENOENT, a mkdir
 *          EINVAL and how to write it
 * -ENOENT  a cut name: find it by escaping the names there are (mk_name_is)
 */
int mk_name_unescape(struct mk_buf *buf, const char *entry, size_t len) _must_check_;
/* Whether the entry is the one of this name. */
bool mk_name_is(const char *entry, const char *name);

/*
 * Keys of params, tags and metrics: `/` parts directories, each part is escaped as above, and a
 * trailing `%` of a part becomes `%25`, because `a%` is how the value of `a` is shown beside the
 * directory of `a/b`.
 */
int mk_key_escape(struct mk_buf *buf, const char *key);
/* -EINVAL no key gives this path, -ENOENT a part of it was cut. Does not know of `a%`. */
int mk_key_unescape(struct mk_buf *buf, const char *path) _must_check_;
/* One part (len bytes, no `/`) as an entry; marked: `a%`, of at most 255 bytes as well. */
int mk_key_part(struct mk_buf *buf, const char *part, size_t len, bool marked);
/* The way back, without the mark. -EINVAL none gives it; -ENOENT it was cut: then what its part
 * begins with was added, and it is that of those keys whose mk_key_part() is the entry. */
int mk_key_part_read(struct mk_buf *buf, const char *entry, size_t len) _must_check_;

/* The directory of a run: the escaped name, `.`, the first `digits` (8…32) hex digits of its uid;
 * cut so that all fits 255 bytes. */
int mk_name_run_dir(struct mk_buf *buf, const char *name, const char *uid, int digits);

#endif
