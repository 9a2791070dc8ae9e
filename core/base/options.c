/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of options and their values. A value is kept as the text that was written and checked
 * when it is set, so that asking for it later cannot fail.
 */
#include "base/options.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define KIB(n) (INT64_C(n) << 10)
#define GIB(n) (INT64_C(n) << 30)

static const char *const journals[] = {"auto", "wal", "rollback", NULL};
static const char *const keys[] = {"file", "passphrase", "command", NULL};

static const struct mk_option table[] = {
	{
		.name = "data_dir",
		.type = MK_OPTION_PATH,
		.standard = "",
		.help = "directory of the database, the git mirrors and the records of runs; "
			"default "
			"$MANTIK_DATA_DIR, else $XDG_DATA_HOME/mantik",
	},
	{
		.name = "cache_dir",
		.type = MK_OPTION_PATH,
		.standard = "",
		.help = "directory of what may be deleted at any time; default $MANTIK_CACHE_DIR, "
			"else "
			"$XDG_CACHE_HOME/mantik",
	},
	{
		.name = "work_dir",
		.type = MK_OPTION_PATH,
		.standard = "",
		.help = "directory for the working directories of local jobs, $SCRATCH/mantik for "
			"example; default <data_dir>/work",
	},
	{
		.name = "slots",
		.type = MK_OPTION_INT,
		.standard = "0",
		.max = 4096,
		.help = "how many local jobs may run at once; 0 is the number of processors",
	},
	{
		.name = "cancel_grace",
		.type = MK_OPTION_DURATION,
		.standard = "10s",
		.max = 3600 * MK_SEC,
		.help = "how long a cancelled local job has between SIGTERM and SIGKILL",
	},
	{
		.name = "daemon_idle",
		.type = MK_OPTION_DURATION,
		.standard = "30s",
		.max = 86400 * MK_SEC,
		.help = "mantikd goes away when it has had nothing to do for so long",
	},
	{
		.name = "serve_idle",
		.type = MK_OPTION_DURATION,
		.standard = "12h",
		.max = 30 * 86400 * MK_SEC,
		.help = "mantikd stays for so long after its tracking server was last asked",
	},
	{
		.name = "serve_ui",
		.type = MK_OPTION_PATH,
		.standard = "",
		.help = "a virtual environment with mlflow, whose web pages mantikd then shows; default none",
	},
	{
		.name = "submit_wait",
		.type = MK_OPTION_DURATION,
		.standard = "3s",
		.max = 60 * MK_SEC,
		.help = "how long what is written to a tracking server waits to hear whether it was "
			"taken; it is kept and sent in any case",
	},
	{
		.name = "metadata_timeout",
		.type = MK_OPTION_DURATION,
		.standard = "10s",
		.min = 100 * MK_MS,
		.max = 600 * MK_SEC,
		.help = "how long ls, stat and open may wait for a remote",
	},
	{
		.name = "git_refresh",
		.type = MK_OPTION_DURATION,
		.standard = "15s",
		.min = MK_SEC,
		.max = 86400 * MK_SEC,
		.help = "branches looked at this long after the last fetch are fetched again",
	},
	{
		.name = "git_timeout",
		.type = MK_OPTION_DURATION,
		.standard = "60s",
		.min = 100 * MK_MS,
		.max = 86400 * MK_SEC,
		.help = "a git server that says nothing for so long is given up",
	},
	{
		.name = "cache_limit",
		.type = MK_OPTION_SIZE,
		.standard = "10G",
		.min = KIB(1024),
		.max = GIB(1) << 20,
		.help = "how much the cache directory may hold",
	},
	{
		.name = "journal",
		.type = MK_OPTION_CHOICE,
		.standard = "auto",
		.choices = journals,
		.help = "how the database writes: wal needs a local file system, rollback works "
			"everywhere; auto looks at the file system",
	},
	{
		.name = "vault_key",
		.type = MK_OPTION_CHOICE,
		.standard = "file",
		.choices = keys,
		.help = "what opens the vault of passwords and tokens: the file vault.key beside it, "
			"a passphrase (in a file that $MANTIK_VAULT_PASSPHRASE_FILE names, else "
			"mantikctl asks), or what vault_command prints",
	},
	{
		.name = "vault_command",
		.type = MK_OPTION_TEXT,
		.standard = "",
		.help = "a command line for sh that prints the vault's passphrase within 10 s: pass, "
			"secret-tool, systemd-creds",
	},
	{
		.name = "tracking_project",
		.type = MK_OPTION_TEXT,
		.standard = "default",
		.help = "the project of experiments that are made through the tracking server "
			"without naming one",
	},
};
enum { N_OPTIONS = sizeof(table) / sizeof(*table) };

struct mk_options {
	struct {
		char *text;
		char *where;
		int64_t number;
	} v[N_OPTIONS];
};

const struct mk_option *mk_option_table(size_t *ret_n)
{
	*ret_n = N_OPTIONS;
	return table;
}

struct unit {
	const char *name;
	int64_t factor;
};
static const struct unit durations[] = {
	{"d", 86400 * MK_SEC}, {"h", 3600 * MK_SEC}, {"m", 60 * MK_SEC}, {"s", MK_SEC},
	{"", MK_SEC},	       {"ms", MK_MS},	     {NULL, 0},
};
static const struct unit sizes[] = {
	{"", 1},	 {"K", KIB(1)},	     {"M", KIB(1024)}, {"G", GIB(1)},	   {"T", GIB(1024)},
	{"KiB", KIB(1)}, {"MiB", KIB(1024)}, {"GiB", GIB(1)},  {"TiB", GIB(1024)}, {NULL, 0},
};

/* A decimal number and a unit, with or without a blank between ("1.5m"): 0 and ns or bytes. */
static int parse_unit(const char *text, const struct unit *units, int64_t *ret)
{
	char *end;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;

	size_t digits = strspn(text, "0123456789.");
	double number = strtod(text, &end);

	if (end != text + digits)
		return -EINVAL;
	while (*end == ' ')
		end++;
	for (const struct unit *unit = units; unit->name; unit++) {
		if (strcmp(end, unit->name) != 0)
			continue;

		double value = number * (double)unit->factor;

		if (!(value < 9e18))
			return -EINVAL;
		*ret = (int64_t)llround(value);
		return 0;
	}
	return -EINVAL;
}

const char *mk_option_type_name(enum mk_option_type type)
{
	static const char *const names[] = {"path", "number",	"duration",
					    "size", "choice", "text"};

	return names[type];
}

static void put_number(struct mk_buf *ret, enum mk_option_type type, int64_t number)
{
	const struct unit *units = type == MK_OPTION_DURATION ? durations : sizes;

	if (type == MK_OPTION_INT || (type == MK_OPTION_SIZE && !number)) {
		(void)mk_buf_printf(ret, "%lld", (long long)number);
		return;
	}
	if (!number) {
		(void)mk_buf_puts(ret, "0s");
		return;
	}

	/* the largest unit that divides it */
	const struct unit *best = NULL;

	for (const struct unit *unit = units; unit->name; unit++)
		if (number % unit->factor == 0 && strlen(unit->name) < 3 &&
		    (!best || unit->factor > best->factor))
			best = unit;
	(void)mk_buf_printf(ret, "%lld%s", (long long)(number / best->factor), best->name);
}

void mk_option_range(const struct mk_option *option, struct mk_buf *ret)
{
	if (option->type == MK_OPTION_CHOICE) {
		for (size_t i = 0; option->choices[i]; i++)
			(void)mk_buf_printf(ret, "%s%s", i ? " | " : "", option->choices[i]);
	} else if (option->type != MK_OPTION_PATH && option->type != MK_OPTION_TEXT) {
		put_number(ret, option->type, option->min);
		(void)mk_buf_puts(ret, " … ");
		put_number(ret, option->type, option->max);
	}
}

static int find(const char *name)
{
	for (int i = 0; i < N_OPTIONS; i++)
		if (strcmp(table[i].name, name) == 0)
			return i;
	return -1;
}

static int must_find(const char *name)
{
	int i = find(name);

	assert(i >= 0);
	return i;
}

static int parse_int(const char *text, int64_t *ret)
{
	char *end;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	*ret = strtoll(text, &end, 10);
	return errno || *end ? -EINVAL : 0;
}

/* `~/` at the beginning, $NAME and ${NAME} anywhere. */
static int fill_path(struct mk_call *call, const char *where, const char *name, const char *text,
		     char **ret)
{
	_cleanup_buf_ struct mk_buf path = MK_BUF(4095);

	if (strcmp(text, "~") == 0 || strncmp(text, "~/", 2) == 0) {
		const char *home = getenv("HOME");

		if (!home || !*home)
			return mk_fail(call, EINVAL, "%s: %s: HOME is not set", where, name);
		(void)mk_buf_puts(&path, home);
		text++;
	}
	while (*text) {
		if (*text != '$') {
			(void)mk_buf_putc(&path, *text++);
			continue;
		}

		bool braces = text[1] == '{';

		text += 1 + braces;

		size_t n = 0;

		while (isalnum((unsigned char)text[n]) || text[n] == '_')
			n++;

		_cleanup_free_ char *variable = mk_strndup(text, n);
		const char *value = n ? getenv(variable) : NULL;

		text += n;
		if (!value || (braces && *text++ != '}'))
			return mk_fail(call, EINVAL, "%s: %s: the variable $%s is not set", where,
				       name, variable);
		(void)mk_buf_puts(&path, value);
	}
	if (mk_buf_check(&path) < 0)
		return mk_fail(call, ENAMETOOLONG, "%s: %s: the path is too long", where, name);
	if (mk_buf_text(&path)[0] != '/')
		return mk_fail(call, EINVAL, "%s: %s: \"%s\" is not an absolute path", where, name,
			       mk_buf_text(&path));
	*ret = mk_buf_steal(&path);
	return 0;
}

static int check(struct mk_call *call, const struct mk_option *option, const char *where,
		 const char *value, int64_t *ret)
{
	int r = -EINVAL;

	*ret = 0;
	if (option->type == MK_OPTION_TEXT) {
		for (const char *c = value; *c; c++)
			if ((unsigned char)*c < 0x20)
				return mk_fail(call, EINVAL, "%s: %s: is not one line", where,
					       option->name);
		return 0;
	}
	if (option->type == MK_OPTION_INT)
		r = parse_int(value, ret);
	else if (option->type == MK_OPTION_DURATION)
		r = parse_unit(value, durations, ret);
	else if (option->type == MK_OPTION_SIZE)
		r = parse_unit(value, sizes, ret);
	else
		for (size_t i = 0; option->choices[i]; i++)
			if (strcmp(option->choices[i], value) == 0)
				return 0;
	if (r == 0 && *ret >= option->min && *ret <= option->max)
		return 0;

	_cleanup_buf_ struct mk_buf range = MK_BUF(1024);

	mk_option_range(option, &range);
	return mk_fail(call, EINVAL, "%s: %s: \"%s\" is not a %s of %s", where, option->name, value,
		       mk_option_type_name(option->type), mk_buf_text(&range));
}

int mk_options_set(struct mk_call *call, struct mk_options *options, const char *where,
		   const char *name, const char *value)
{
	int i = find(name);
	_cleanup_free_ char *text = NULL;
	int64_t number = 0;
	int r;

	if (i < 0)
		return mk_fail(call, ENOENT, "%s: unknown option \"%s\"", where, name);
	if (table[i].type == MK_OPTION_PATH) {
		r = fill_path(call, where, name, value, &text);
	} else {
		r = check(call, &table[i], where, value, &number);
		text = mk_strdup(value);
	}
	if (r < 0)
		return r;
	free(options->v[i].text);
	free(options->v[i].where);
	options->v[i].text = mk_steal(&text);
	options->v[i].where = mk_strdup(where);
	options->v[i].number = number;
	return 0;
}

static void set_standard(struct mk_options *options, int i)
{
	_cleanup_call_ struct mk_call call;
	int r = 0;

	mk_call_init(&call);
	if (table[i].type != MK_OPTION_PATH)
		r = check(&call, &table[i], "", table[i].standard, &options->v[i].number);
	assert(r == 0);
	(void)r;
	options->v[i].text = mk_strdup(table[i].standard);
	options->v[i].where = NULL;
}

void mk_options_unset(struct mk_options *options, const char *name)
{
	int i = must_find(name);

	free(options->v[i].text);
	free(options->v[i].where);
	set_standard(options, i);
}

int mk_options_check(struct mk_call *call, const char *where, const char *name, const char *value)
{
	_cleanup_(mk_options_freep) struct mk_options *options = NULL;

	if (find(name) < 0)
		return mk_fail(call, ENOENT, "there is no option %s; mantikctl config lists them",
			       name);
	if (!value)
		return 0;
	options = mk_options_new();
	return mk_options_set(call, options, where, name, value);
}

struct mk_options *mk_options_new(void)
{
	struct mk_options *options = mk_new(struct mk_options);

	for (int i = 0; i < N_OPTIONS; i++)
		set_standard(options, i);
	return options;
}

void mk_options_free(struct mk_options *options)
{
	if (!options)
		return;
	for (int i = 0; i < N_OPTIONS; i++) {
		free(options->v[i].text);
		free(options->v[i].where);
	}
	free(options);
}

const char *mk_options_text(const struct mk_options *options, const char *name)
{
	return options->v[must_find(name)].text;
}

const char *mk_options_where(const struct mk_options *options, const char *name)
{
	const char *where = options->v[must_find(name)].where;

	return where ? where : "default";
}

int64_t mk_options_number(const struct mk_options *options, const char *name)
{
	int i = must_find(name);

	assert(table[i].type != MK_OPTION_PATH && table[i].type != MK_OPTION_CHOICE &&
	       table[i].type != MK_OPTION_TEXT);
	return options->v[i].number;
}
