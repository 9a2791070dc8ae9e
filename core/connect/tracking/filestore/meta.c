/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One meta.yaml. MLflow writes it in place, or beside it and moves it (which is a copy when /tmp is
 * another file system): it may be read empty or in part. Such a file is looked at again for a tenth
 * of a second; then what it said before counts, else it is being written (its time is new) or broken.
 */
#include "filestore.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

enum { MOST = MK_LIMIT_TEXT, TRIES = 6, TRY_MS = 20 };
static const int64_t young = 5 * MK_SEC;

struct version {
	char *text;
	size_t len;
	int64_t mtime, size;
	bool fits; /* the remembered one is of this version */
};

static void recall(struct mk_fs_seen *seen, void *arg)
{
	struct version *v = arg;

	v->fits = seen->text && seen->mtime == v->mtime && seen->size == v->size;
	if (seen->text) {
		v->text = mk_strndup(seen->text, seen->len);
		v->len = seen->len;
	}
}

static void remember(struct mk_fs_seen *seen, void *arg)
{
	const struct version *v = arg;

	free(seen->text);
	seen->text = mk_strndup(v->text, v->len);
	seen->len = v->len;
	seen->mtime = v->mtime;
	seen->size = v->size;
}

static struct mk_doc *get(const struct mk_doc *meta, const char *key)
{
	for (size_t i = 0; meta && meta->type == MK_DOC_MAP && i < meta->n; i++)
		if (strcmp(meta->keys[i]->text, key) == 0)
			return meta->items[i];
	return NULL;
}

const char *mk_fs_text(const struct mk_doc *meta, const char *key)
{
	const struct mk_doc *value = get(meta, key);

	return value && value->type == MK_DOC_SCALAR ? value->text : "";
}

int64_t mk_fs_ms(const struct mk_doc *meta, const char *key)
{
	const char *text = mk_fs_text(meta, key);
	char *end;
	int64_t ms;

	errno = 0;
	ms = strtoll(text, &end, 10);
	return errno || end == text || (*end && *end != '.') ? 0 : mk_local_time(ms);
}

/* 0 complete, -EAGAIN not yet, -EINVAL never: with the parser's sentence in quiet. */
static int parse(struct mk_call *quiet, const char *text, size_t len, const char *last,
		 struct mk_doc **ret)
{
	_cleanup_(mk_doc_freep) struct mk_doc *doc = NULL;
	int r;

	if (!len || text[len - 1] != '\n')
		return mk_fail(quiet, EAGAIN, "it ends in the middle of a line");
	r = mk_doc_parse(quiet, "meta.yaml", text, len, &doc);
	if (r < 0)
		return r;
	if (doc->type != MK_DOC_MAP || !get(doc, last))
		return mk_fail(quiet, EAGAIN, "it has no %s", last);
	*ret = mk_steal(&doc);
	return 0;
}

static int take(struct mk_call *quiet, int dir, const char *path, const char *last,
		struct version *v, struct mk_buf *text, struct mk_doc **ret)
{
	_cleanup_close_ int fd = mk_local_open(dir, path, O_RDONLY | O_NOFOLLOW);
	struct stat st, now;
	ssize_t n = 0;

	if (fd < 0)
		return mk_fail(quiet, -fd, "%s",
			       fd == -EXDEV || fd == -ELOOP ? "it is a link" : strerror(-fd));
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return mk_fail(quiet, EINVAL, "it is no file");
	v->mtime = st.st_mtim.tv_sec * MK_SEC + st.st_mtim.tv_nsec;
	v->size = st.st_size;
	if (st.st_size > MOST)
		return mk_fail(quiet, EINVAL, "it has %lld bytes", (long long)st.st_size);
	mk_buf_truncate(text, 0);
	do {
		char *room = mk_buf_room(text, 4096);

		if (!room)
			return mk_fail(quiet, EINVAL, "it is too long");
		n = read(fd, room, 4096);
		text->len += n > 0 ? (size_t)n : 0;
	} while (n > 0);
	if (n < 0)
		return mk_fail(quiet, errno, "%s", strerror(errno));
	(void)mk_buf_puts(text, "");
	if (fstat(fd, &now) < 0 || now.st_size != st.st_size ||
	    now.st_mtim.tv_nsec != st.st_mtim.tv_nsec || now.st_mtim.tv_sec != st.st_mtim.tv_sec)
		return mk_fail(quiet, EAGAIN, "it changes all the time");
	return parse(quiet, mk_buf_text(text), text->len, last, ret);
}

/* Is the version that was seen complete still the file's? Then it need not be read. */
static bool is_same(struct mk_tracking *t, int dir, const char *path, const char *where,
		    struct version *v)
{
	_cleanup_close_ int fd = mk_local_open(dir, path, O_PATH | O_NOFOLLOW);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return false;
	v->mtime = st.st_mtim.tv_sec * MK_SEC + st.st_mtim.tv_nsec;
	v->size = st.st_size;
	mk_fs_seen(t, where, recall, v);
	return v->fits && mk_now_real() - v->mtime > young;
}

int mk_fs_meta(struct mk_call *call, struct mk_tracking *t, int dir, const char *path,
	       const char *where, const char *last, struct mk_doc **ret)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF(MOST + 8192);
	_cleanup_call_ struct mk_call quiet;
	struct version v = {}, was = {};
	int r = -EAGAIN;

	mk_call_init(&quiet);
	if (is_same(t, dir, path, where, &was))
		r = parse(&quiet, was.text, was.len, last, ret);
	for (int i = 0; r < 0 && i < TRIES; i++) {
		r = take(&quiet, dir, path, last, &v, &text, ret);
		/* Half a document may be no YAML, too. */
		if (r != -EAGAIN && !(r == -EINVAL && mk_now_real() - v.mtime < young))
			break;
		if (i + 1 < TRIES)
			(void)poll(NULL, 0, mk_call_left_ms(call, TRY_MS));
	}
	if (r == 0 && text.len) {
		v.text = text.data;
		v.len = text.len;
		mk_fs_seen(t, where, remember, &v);
	} else if (r < 0 && r != -ENOENT && r != -ENOTDIR && was.text &&
		   mk_now_real() - v.mtime < young) {
		r = parse(&quiet, was.text, was.len, last, ret);
	}
	free(was.text);
	if (r == 0)
		return 1;
	if (r == -ENOENT || r == -ENOTDIR)
		return 0;
	if (r == -EAGAIN && mk_now_real() - v.mtime < young)
		return mk_fail(call, EBUSY, "%s: %s: is being written", t->local.connection, where);
	mk_local_refuse(&t->local, where, "meta.yaml: %s", quiet.error.text);
	return 0;
}
