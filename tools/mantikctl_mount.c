/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths as texts, and the mounts of this machine: never touches a path in a mount, because one that
 * hangs must not hang the command that could repair it.
 */
#include "ctl.h"

#include <mantik/mountpoint.h>

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

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

/* The mount points of mantikfs, as the kernel has them. */
static void list_mounts(struct mk_list *ret)
{
	_cleanup_free_ char *line = NULL;
	size_t cap = 0;
	FILE *mounts = fopen("/proc/self/mounts", "re");

	while (mounts && getline(&line, &cap, mounts) > 0) {
		char *rest = line;
		char *source = strsep(&rest, " "), *where = strsep(&rest, " ");
		char *type = strsep(&rest, " ");

		if (!source || !where || !type || strcmp(type, "fuse.mantikfs") != 0)
			continue;
		unescape_octal(where);
		(void)!mk_list_add(ret, where);
	}
	if (mounts)
		fclose(mounts);
}

/* A HOME that is a link: the part of the path that leads to a mount, found without entering it. */
static const char *below_by_links(const char *path, const struct mk_list *mounts)
{
	_cleanup_call_ struct mk_call call;

	mk_call_init(&call);
	for (const char *end = path + strcspn(path + 1, "/") + 1;;
	     end += 1 + strcspn(end + 1, "/")) {
		_cleanup_free_ char *prefix = mk_strndup(path, (size_t)(end - path)), *real = NULL;

		if (mk_mount_resolve(&call, prefix, &real) < 0)
			return NULL;
		for (size_t i = 0; i < mounts->n; i++)
			if (strcmp(real, mounts->v[i]) == 0)
				return *end ? end : "/";
		if (!*end)
			return NULL;
	}
}

const char *ctl_below_a_mount(const char *path)
{
	_cleanup_list_ struct mk_list mounts = {};
	const char *found = NULL;

	list_mounts(&mounts);
	for (size_t i = 0; i < mounts.n; i++) {
		const char *inside = ctl_below(path, mounts.v[i]);

		if (inside && (!found || inside > found))
			found = inside;
	}
	return found || !mounts.n ? found : below_by_links(path, &mounts);
}

int ctl_mount_point(struct ctl *ctl, char **ret)
{
	_cleanup_buf_ struct mk_buf usual = MK_BUF(PATH_MAX);
	const char *home = getenv("HOME");

	if (ctl->n_operands)
		return mk_mount_resolve(&ctl->call, ctl->operands[0], ret);
	if (!home || *home != '/')
		return mk_fail(&ctl->call, EINVAL, "HOME is not set: name a directory");
	mk_buf_printf(&usual, "%s/mantik", home);
	if (mk_buf_check(&usual) < 0)
		return mk_fail(&ctl->call, ENAMETOOLONG, "%s: too long", home);
	return mk_mount_resolve(&ctl->call, mk_buf_text(&usual), ret);
}
