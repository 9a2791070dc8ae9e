/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths as texts, and the mounts of this machine: never touches a path in a mount, because one that
 * hangs must not hang the command that could repair it (ctl_is_mount asks for a single stat).
 */
#include "ctl.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

char *ctl_absolute(const char *operand)
{
	_cleanup_list_ struct mk_list parts = {};
	_cleanup_buf_ struct mk_buf whole = MK_BUF(MK_LIMIT_TEXT), path = MK_BUF(MK_LIMIT_TEXT);
	char cwd[PATH_MAX];
	char *rest, *part;

	if (*operand != '/' && getcwd(cwd, sizeof(cwd)))
		mk_buf_printf(&whole, "%s/", cwd);
	mk_buf_puts(&whole, operand);
	mk_buf_puts(&whole, "");
	rest = whole.data;
	while (rest && (part = strsep(&rest, "/"))) {
		if (strcmp(part, "..") == 0 && parts.n > 0)
			free(parts.v[--parts.n]);
		else if (*part && strcmp(part, ".") != 0 && strcmp(part, "..") != 0)
			(void)!mk_list_add(&parts, part);
	}
	for (size_t i = 0; i < parts.n; i++)
		mk_buf_printf(&path, "/%s", parts.v[i]);
	return path.len ? mk_buf_steal(&path) : mk_strdup("/");
}

const char *ctl_below(const char *path, const char *top)
{
	const size_t len = strlen(top);

	if (strncmp(path, top, len) != 0 || (path[len] && path[len] != '/'))
		return NULL;
	return path[len] ? path + len : "/";
}

/* mountinfo writes blanks as \040. */
static void unescape_octal(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] && s[3]) {
			*to++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

/* Calls f for each mantikfs mount of this machine until it gives true. */
static bool any_mount(bool (*f)(void *arg, const char *where), void *arg)
{
	_cleanup_free_ char *line = NULL;
	bool found = false;
	size_t cap = 0;
	FILE *f_mounts = fopen("/proc/self/mounts", "re");

	while (f_mounts && !found && getline(&line, &cap, f_mounts) > 0) {
		char *rest = line;
		char *source = strsep(&rest, " "), *where = strsep(&rest, " ");
		char *type = strsep(&rest, " ");

		if (!source || !where || !type || strcmp(type, "fuse.mantikfs") != 0)
			continue;
		unescape_octal(where);
		found = f(arg, where);
	}
	if (f_mounts)
		fclose(f_mounts);
	return found;
}

struct search {
	const char *path;
	const char *inside; /* what follows the innermost mount point */
};

static bool look_below(void *arg, const char *where)
{
	struct search *search = arg;
	const char *inside = ctl_below(search->path, where);

	if (inside && (!search->inside || inside > search->inside))
		search->inside = inside;
	return false;
}

const char *ctl_below_a_mount(const char *path)
{
	struct search search = {.path = path};

	any_mount(look_below, &search);
	return search.inside;
}

static bool is_same(void *arg, const char *where)
{
	return strcmp(arg, where) == 0;
}

int ctl_is_mount(const char *path)
{
	_cleanup_free_ char *whole = ctl_absolute(path);
	_cleanup_free_ char *real = realpath(path, NULL);
	struct stat st;

	if (!any_mount(is_same, whole) && !(real && any_mount(is_same, real)))
		return 0;
	return stat(whole, &st) < 0 && errno == ENOTCONN ? -1 : 1;
}

