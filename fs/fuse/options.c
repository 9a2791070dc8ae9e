/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line: one table for words behind -o, one for switches; --help and the test of the man
 * page read the same tables. mount(8) calls mount.mantikfs SOURCE DIR [-sfnvrw] [-o …], mount.fuse3
 * calls mantikfs SOURCE DIR -o …: so a source before the mount point is taken and ignored.
 */
#include "options.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <mantik/call.h>
#include <mantik/trace.h>

enum kind { YES, TEXT, DURATION, TRACE, KERNEL, IGNORED };

struct word {
	const char *name;
	enum kind kind;
	size_t at;	  /* of the member in struct fs_options */
	const char *value; /* how help calls it, NULL: none */
	const char *help; /* NULL: known to mount(8) alone */
};

#define AT(member) offsetof(struct fs_options, member)
static const struct word words[] = {
	{"ro", KERNEL, AT(read_only), NULL, "nothing can be changed"},
	{"data", TEXT, AT(data_dir), "DIR", "the platform's data"},
	{"cache", TEXT, AT(cache_dir), "DIR", "what may be deleted at any time"},
	{"config", TEXT, AT(config_dir), "DIR", "config.yaml and connections"},
	{"metadata_timeout", DURATION, AT(metadata_timeout), "TIME",
	 "a listing or stat that takes longer fails (10s, 500ms)"},
	{"allow_other", KERNEL, AT(allow_other), NULL,
	 "other users may enter; modes are checked by the kernel then"},
	{"auto_unmount", KERNEL, 0, NULL, "unmount even if the daemon is killed"},
	{"no_daemon", YES, AT(no_daemon), NULL, "never start mantikd"},
	{"trace", TRACE, AT(trace), "WHAT", "a line to the log for all that fuse:exec:db:http do"},
	{"log", TEXT, AT(log_file), "FILE", "where the daemon writes its messages"},
	{"tracking", TEXT, AT(tracking), "URL",
	 "an MLflow server, mlruns/ or mlflow.db to show, too"},
	{"nosuid", IGNORED}, {"nodev", IGNORED}, {"noatime", IGNORED}, /* always set */
	{"noexec", KERNEL},
	{"rw", IGNORED}, {"suid", IGNORED}, {"dev", IGNORED}, {"exec", IGNORED},
	{"async", IGNORED}, {"atime", IGNORED}, {"auto", IGNORED}, {"noauto", IGNORED},
	{"defaults", IGNORED}, {"user", IGNORED}, {"users", IGNORED}, {"nofail", IGNORED},
	{"_netdev", IGNORED}, {"relatime", IGNORED},
};

/* Switches, long and short; `word` is what they stand for (with its value, if it takes one: `--x V` or
 * `--x=V`), NULL: a flag of the program. */
static const struct toggle {
	const char *name, *letter, *word;
	size_t at;
	const char *help;
} toggles[] = {
	{"--foreground", "-f", NULL, AT(foreground), "do not go into the background"},
	{"--trace", NULL, "trace", 0, "the same as -o trace=all"},
	{"--tracking", NULL, "tracking", 0, "the same as -o tracking=URL"},
	{"--read-only", "-r", "ro", 0, "the same as -o ro"},
	{"--help", "-h", NULL, AT(help), "show this"},
	{"--version", "-V", NULL, AT(version), "show the version"},
	{NULL, "-n", "rw", 0, NULL}, /* of mount(8) */
	{NULL, "-s", "rw", 0, NULL},
	{NULL, "-v", "rw", 0, NULL},
	{NULL, "-w", "rw", 0, NULL},
};

static int refuse(struct mk_buf *why, const char *fmt, const char *what)
{
	mk_buf_truncate(why, 0);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	(void)mk_buf_printf(why, fmt, what);
#pragma GCC diagnostic pop
	return -EINVAL;
}

static int parse_duration(const char *text, int64_t *ret)
{
	static const struct {
		const char *unit;
		double ns;
	} units[] = {{"", 1e9}, {"s", 1e9}, {"ms", 1e6}, {"m", 60e9}};
	char *end;
	double value = strtod(text, &end);

	for (size_t i = 0; end != text && i < sizeof(units) / sizeof(*units); i++)
		if (strcmp(end, units[i].unit) == 0 && value > 0 && value <= 86400) {
			*ret = (int64_t)(value * units[i].ns);
			return 0;
		}
	return -EINVAL;
}

static const struct word *find_word(const char *name)
{
	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		if (strcmp(words[i].name, name) == 0)
			return &words[i];
	return NULL;
}

static int take_word(struct fs_options *options, const char *name, const char *value,
		     struct mk_buf *why)
{
	const struct word *word = find_word(name);

	if (strncmp(name, "x-", 2) == 0 || strncmp(name, "comment", 7) == 0)
		return 0; /* of fstab and systemd */
	if (!word)
		return refuse(why, "unknown option -o %s; see mantikfs --help", name);
	if (word->kind == TRACE && !value)
		value = "all";
	if (!!word->value != !!(value && *value))
		return refuse(why, word->value ? "-o %s needs a value" : "-o %s takes no value",
			      name);

	void *member = (char *)options + word->at;

	switch (word->kind) {
	case TEXT:
		free(*(char **)member);
		*(char **)member = mk_strdup(value);
		break;
	case DURATION:
		if (parse_duration(value, member) < 0)
			return refuse(why, "-o metadata_timeout=%s: not a time, say 10s or 500ms",
				      value);
		break;
	case TRACE:
		if (mk_trace_parse(value, strlen(value), member) < 0)
			return refuse(why, "-o trace=%s: not a list of fuse:exec:db:http, all or off",
				      value);
		break;
	case KERNEL:
		(void)mk_buf_printf(&options->kernel, ",%s", name);
		if (word->at)
			*(bool *)member = true;
		break;
	case YES:
		*(bool *)member = true;
		break;
	case IGNORED:
		break;
	}
	return 0;
}

/* a,b=c,d=e\,f */
static int take_words(struct fs_options *options, const char *text, struct mk_buf *why)
{
	while (*text) {
		_cleanup_buf_ struct mk_buf word = MK_BUF(8192);

		for (; *text && *text != ','; text++) {
			if (*text == '\\' && text[1])
				text++;
			(void)mk_buf_putc(&word, *text);
		}
		text += *text == ',';
		if (!word.len)
			continue;

		char *value = strchr(word.data, '=');

		if (value)
			*value++ = 0;

		int r = take_word(options, word.data, value, why);

		if (r < 0)
			return r;
	}
	return 0;
}

/* next: the argument behind it, NULL none; *used: it was its value. */
static int take_switch(struct fs_options *options, const char *arg, const char *next, bool *used,
		       struct mk_buf *why)
{
	const char *equals = strchr(arg, '=');
	size_t len = equals ? (size_t)(equals - arg) : strlen(arg);

	for (size_t i = 0; i < sizeof(toggles) / sizeof(*toggles); i++) {
		const struct toggle *t = &toggles[i];
		bool is_long = t->name && strlen(t->name) == len && strncmp(arg, t->name, len) == 0;

		if (!is_long && !(t->letter && strcmp(arg, t->letter) == 0))
			continue;

		const struct word *word = t->word ? find_word(t->word) : NULL;

		if (word && word->value) {
			bool may_go_without = word->kind == TRACE;

			*used = !equals && next && !may_go_without;
			return take_word(options, t->word,
					 equals		  ? equals + 1
					 : may_go_without ? NULL
							  : next,
					 why);
		}
		if (equals)
			return refuse(why, "%s takes no value", t->name);
		if (t->word)
			return take_word(options, t->word, NULL, why);
		*(bool *)((char *)options + t->at) = true;
		return 0;
	}
	return refuse(why, "unknown option %s; see mantikfs --help", arg);
}

int fs_options_parse(struct fs_options *options, int argc, char **argv, struct mk_buf *ret_why)
{
	const char *places[2] = {NULL, NULL};
	size_t n = 0;
	bool only_places = false;

	*options = (struct fs_options){.kernel = MK_BUF(8192)};
	for (int i = 1; i < argc; i++) {
		const char *arg = argv[i];
		int r = 0;

		if (only_places || arg[0] != '-' || !arg[1]) {
			if (n == 2)
				return refuse(ret_why, "one argument too many: %s", arg);
			places[n++] = arg;
		} else if (strcmp(arg, "--") == 0) {
			only_places = true;
		} else if (strncmp(arg, "-o", 2) == 0) {
			if (!arg[2] && ++i == argc)
				return refuse(ret_why, "%s needs a value", arg);
			r = take_words(options, arg[2] ? arg + 2 : argv[i], ret_why);
		} else {
			bool used = false;

			r = take_switch(options, arg, i + 1 < argc ? argv[i + 1] : NULL, &used,
					ret_why);
			i += used;
		}
		if (r < 0)
			return r;
	}
	if (n == 0 && !options->help && !options->version)
		return refuse(ret_why, "%s", "no mount point given; see mantikfs --help");
	options->mountpoint = mk_strdup(n ? places[n - 1] : NULL);
	return 0;
}

void fs_options_free(struct fs_options *options)
{
	free(options->mountpoint);
	free(options->data_dir);
	free(options->cache_dir);
	free(options->config_dir);
	free(options->log_file);
	free(options->tracking);
	mk_buf_free(&options->kernel);
}

void fs_options_help(struct mk_buf *ret)
{
	(void)mk_buf_puts(ret, "usage: mantikfs [OPTION]… MOUNTPOINT\n"
			       "       mount -t mantikfs none MOUNTPOINT [-o …]\n\n"
			       "Mounts your experiment platform as a file system.\n\n");
	for (size_t i = 0; i < sizeof(toggles) / sizeof(*toggles); i++)
		if (toggles[i].help)
			(void)mk_buf_printf(ret, "  %-3s %-24s %s\n",
					    toggles[i].letter ? toggles[i].letter : "",
					    toggles[i].name, toggles[i].help);
	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
		char name[64];

		if (!words[i].help)
			continue;
		(void)snprintf(name, sizeof(name), "%s%s%s", words[i].name,
			       words[i].value ? "=" : "", words[i].value ? words[i].value : "");
		(void)mk_buf_printf(ret, "  -o  %-24s %s\n", name, words[i].help);
	}
	(void)mk_buf_puts(ret, "\nUnmount with `fusermount3 -u MOUNTPOINT` or `mantikctl umount`; "
			       "see mantikfs(1), mantikfs(7).\n");
}
