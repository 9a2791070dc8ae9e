/* SPDX-License-Identifier: Apache-2.0 */
/* Local paths: see path.h. The kernel's list of mounts tells where ours are without asking them. */
#include "base/path.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <mantik/buf.h>

enum { MAX_LINKS = 40, MAX_PATH = 8192 };

void mk_mountinfo_unescape(char *s)
{
	char *out = s;

	for (; *s; s++)
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] && s[3]) {
			*out++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
			s += 3;
		} else {
			*out++ = *s;
		}
	*out = 0;
}

/* Mount points of type fuse.mantikfs. proc(5): the 5th field is the mount point, the type follows
 * the lone "-". */
static int our_mounts(struct mk_call *call, struct mk_list *ret)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	_cleanup_free_ char *line = NULL;
	size_t size = 0;
	int r = 0;

	if (!f)
		return mk_fail(call, errno, "/proc/self/mountinfo: %s", strerror(errno));
	while (r == 0 && getline(&line, &size, f) > 0) {
		char *type = strstr(line, " - ");
		char *field = line, *rest;

		if (!type || strncmp(type + 3, "fuse.mantikfs ", 14) != 0)
			continue;
		for (int i = 0; field && i < 4; i++) {
			field = strchr(field, ' ');
			field = field ? field + 1 : NULL;
		}
		rest = field ? strchr(field, ' ') : NULL;
		if (!rest)
			continue;
		*rest = 0;
		mk_mountinfo_unescape(field);
		r = mk_list_add(ret, field);
	}
	(void)fclose(f);
	return r < 0 ? mk_fail(call, -r, "/proc/self/mountinfo: %s", strerror(-r)) : 0;
}

/* text := text + "/" + name */
static void push(struct mk_buf *text, const char *name, size_t len)
{
	(void)mk_buf_putc(text, '/');
	(void)mk_buf_put(text, name, len);
}

static void pop(struct mk_buf *text)
{
	const char *slash = strrchr(mk_buf_text(text), '/');

	if (slash)
		mk_buf_truncate(text, (size_t)(slash - text->data));
}

/* todo := target + "/" + rest */
static int follow(struct mk_call *call, struct mk_buf *done, struct mk_buf *todo, size_t at)
{
	char target[4096];
	ssize_t n = readlink(mk_buf_text(done), target, sizeof(target));
	struct mk_buf next = MK_BUF(MAX_PATH);

	if (n < 0 || (size_t)n >= sizeof(target))
		return mk_fail(call, n < 0 ? errno : ENAMETOOLONG, "%s: cannot be followed",
			       mk_buf_text(done));
	(void)mk_buf_put(&next, target, (size_t)n);
	(void)mk_buf_putc(&next, '/');
	(void)mk_buf_puts(&next, mk_buf_text(todo) + at);
	mk_buf_free(todo);
	*todo = next;
	if (target[0] == '/')
		mk_buf_truncate(done, 0);
	else
		pop(done);
	return 0;
}

static int start(struct mk_call *call, const char *path, struct mk_buf *todo)
{
	char here[4096];

	if (path[0] != '/') {
		if (!getcwd(here, sizeof(here)))
			return mk_fail(call, errno, "%s: the current directory: %s", path,
				       strerror(errno));
		(void)mk_buf_puts(todo, here);
		(void)mk_buf_putc(todo, '/');
	}
	(void)mk_buf_puts(todo, path);
	return 0;
}

int mk_path_resolve(struct mk_call *call, const char *path, char **ret)
{
	_cleanup_list_ struct mk_list mounts = {};
	_cleanup_buf_ struct mk_buf todo = MK_BUF(MAX_PATH), done = MK_BUF(MAX_PATH);
	bool exists = true;
	int links = 0;
	int r = our_mounts(call, &mounts);

	if (r == 0)
		r = start(call, path, &todo);
	if (r < 0)
		return r;
	for (size_t at = 0; !mk_buf_check(&todo) && mk_buf_text(&todo)[at];) {
		const char *name = mk_buf_text(&todo) + at;
		size_t len = strcspn(name, "/");
		struct stat st;

		at += len + (name[len] == '/');
		if (len == 0 || (len == 1 && name[0] == '.'))
			continue;
		if (len == 2 && name[0] == '.' && name[1] == '.') {
			pop(&done);
			continue;
		}
		push(&done, name, len);
		if (mk_list_has(&mounts, mk_buf_text(&done)))
			return mk_fail(call, EXDEV,
				       "%s: lies in the mantikfs mount %s; choose a "
				       "directory outside",
				       path, mk_buf_text(&done));
		if (!exists || mk_buf_check(&done) < 0)
			continue;
		if (lstat(mk_buf_text(&done), &st) < 0) {
			if (errno != ENOENT)
				return mk_fail(call, errno, "%s: %s", mk_buf_text(&done),
					       strerror(errno));
			exists = false;
		} else if (S_ISLNK(st.st_mode)) {
			if (++links > MAX_LINKS)
				return mk_fail(call, ELOOP, "%s: too many symbolic links", path);
			r = follow(call, &done, &todo, at);
			if (r < 0)
				return r;
			at = 0;
		}
	}
	if (mk_buf_check(&todo) < 0 || mk_buf_check(&done) < 0)
		return mk_fail(call, ENAMETOOLONG, "%s: the path is too long", path);
	if (!done.len)
		(void)mk_buf_putc(&done, '/');
	*ret = mk_buf_steal(&done);
	return 0;
}

int mk_path_make(struct mk_call *call, const char *path)
{
	_cleanup_free_ char *part = mk_strdup(path);
	struct stat st;

	for (char *s = part + 1;; s++) {
		if (*s && *s != '/')
			continue;

		char end = *s;

		*s = 0;

		const int code = mkdir(part, 0700) < 0 ? errno : 0;

		if (code && code != EEXIST && stat(part, &st) < 0)
			return mk_fail(call, code, "%s: cannot be made: %s", part, strerror(code));
		if (!end)
			break;
		*s = end;
	}
	if (stat(path, &st) < 0)
		return mk_fail(call, errno, "%s: %s", path, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return mk_fail(call, ENOTDIR, "%s: is not a directory", path);
	return 0;
}
