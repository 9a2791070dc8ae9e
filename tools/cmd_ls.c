/* SPDX-License-Identifier: Apache-2.0 */
/* mantikctl ls: directories of the tree, as ls(1) shows them. */
#include "cmd.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

#include <tree/tree.h>

/* Names are few enough to hold: 100 000 runs are 5 MiB. */
struct names {
	struct mk_list list;
	bool all;
};

static int take_name(void *arg, const struct fs_dirent *entry)
{
	struct names *names = arg;

	if (*entry->name == '.' && !names->all)
		return 0;
	return mk_list_add(&names->list, entry->name) < 0;
}

/* Like ls -l: mode, links, owner, group, size, time, name. */
static void print_long(struct ctl *ctl, const char *name, struct fs_node *node,
		       const struct stat *st)
{
	static const char types[] = "?pc?d?b?-?l?s???", bits[] = "rwxrwxrwx";
	const struct passwd *owner = getpwuid(st->st_uid);
	const struct group *group = getgrgid(st->st_gid);
	_cleanup_buf_ struct mk_buf target = MK_BUF(MK_LIMIT_TEXT);
	char mode[11] = "", when[32];
	int r;

	mode[0] = types[(st->st_mode & S_IFMT) >> 12];
	for (int i = 0; i < 9; i++)
		mode[i + 1] = st->st_mode & (0400u >> i) ? bits[i] : '-';
	mk_time_text(st->st_mtim.tv_sec * MK_SEC, false, when);
	printf("%s %2lu %s %s %10lld %20s %s", mode, (unsigned long)st->st_nlink,
	       owner ? owner->pw_name : "?", group ? group->gr_name : "?",
	       (long long)st->st_size, when, name);
	if (S_ISLNK(st->st_mode)) {
		CTL_AGAIN(ctl, r, fs_readlink(&ctl->call, ctl->tree, node, &target));
		if (r == 0)
			printf(" -> %s", mk_buf_text(&target));
	}
	putchar('\n');
}

static int list(struct ctl *ctl, const char *operand, struct fs_node *dir)
{
	_cleanup_list_ struct mk_list owned = {};
	struct names names = {.all = ctl_option(ctl, "all")};
	struct fs_handle *handle = NULL;
	int r;

	CTL_AGAIN(ctl, r, fs_opendir(&ctl->call, ctl->tree, dir, &handle));
	if (r < 0)
		return r;
	CTL_AGAIN(ctl, r,
		  fs_readdir(&ctl->call, ctl->tree, handle, 0, false, take_name, &names));
	fs_release(&ctl->call, ctl->tree, handle);
	owned = names.list;
	if (r < 0)
		return r;
	mk_list_sort(&owned);
	for (size_t i = 0; i < owned.n; i++) {
		struct fs_entry entry = {};

		if (!ctl_option(ctl, "long")) {
			puts(owned.v[i]);
			continue;
		}
		CTL_AGAIN(ctl, r, fs_lookup(&ctl->call, ctl->tree, dir, owned.v[i], &entry));
		if (r == -ENOENT)
			continue; /* gone meanwhile */
		if (r < 0)
			return mk_prefix(&ctl->call, r, "%s/%s", operand, owned.v[i]);
		print_long(ctl, owned.v[i], entry.node, &entry.attr.st);
		fs_forget(ctl->tree, entry.node, 1);
	}
	return 0;
}

static int list_local(struct ctl *ctl, const char *path)
{
	const char *argv[8] = {"ls"};
	int n = 1;

	if (ctl_option(ctl, "long"))
		argv[n++] = "-l";
	if (ctl_option(ctl, "all"))
		argv[n++] = "-A";
	if (ctl_option(ctl, "directory"))
		argv[n++] = "-d";
	argv[n++] = "--";
	argv[n++] = path;
	(void)!fflush(stdout);
	return ctl_spawn(ctl, argv);
}

static int list_place(struct ctl *ctl, const char *operand, struct ctl_place *place)
{
	struct fs_attr attr = {};
	int r;

	if (place->local)
		return list_local(ctl, place->local);
	CTL_AGAIN(ctl, r, fs_getattr(&ctl->call, ctl->tree, place->node, NULL, &attr));
	if (r < 0)
		return r;
	if (S_ISDIR(attr.st.st_mode) && !ctl_option(ctl, "directory"))
		return list(ctl, operand, place->node);
	if (ctl_option(ctl, "long"))
		print_long(ctl, operand, place->node, &attr.st);
	else
		puts(operand);
	return 0;
}

static int run(struct ctl *ctl)
{
	static char root[] = "/", *top[] = {root};
	char **operands = ctl->n_operands ? ctl->operands : top;
	const int n = ctl->n_operands ? ctl->n_operands : 1;
	/* As ls: -l and -d show a link itself unless a slash follows. */
	const bool as_is = ctl_option(ctl, "long") || ctl_option(ctl, "directory");

	for (int i = 0; i < n; i++) {
		const size_t len = strlen(operands[i]);
		_cleanup_(ctl_place_free) struct ctl_place place = {.ctl = ctl};
		_cleanup_free_ char *path = NULL;
		int r = ctl_need_tree_path(ctl, operands[i], &path);

		if (r == 0)
			r = ctl_walk(ctl, path, !as_is || (len && operands[i][len - 1] == '/'),
				     &place);
		if (r == 0 && n > 1)
			printf("%s%s:\n", i ? "\n" : "", operands[i]);
		if (r == 0)
			r = list_place(ctl, operands[i], &place);
		if (r != 0)
			return r;
	}
	return 0;
}

const struct cmd cmd_ls = {
	.name = "ls",
	.operands = "[PATH ...]",
	.max = -1,
	.needs = CTL_READ,
	.help = "lists directories of the tree",
	.more = "A PATH is one of the tree (/projects/a/runs) or of a mount (~/mantik/projects/a/runs). No "
		"mount is needed.",
	.options =
		(const struct cmd_option[]){
			{'a', "all", NULL, "also names that begin with a dot"},
			{'d', "directory", NULL, "the directory itself, not what is in it"},
			{'l', "long", NULL, "with mode, owner, size and time"},
			{},
		},
	.run = run,
};
