/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Environment of a backend config (backend.h): commands, modules, variables, Apptainer, Python.
 * What becomes shell text is looked at here, so that a slip is found before the job waits in a
 * queue and not after.
 */
#include "format/backend_read.h"

#include <string.h>

#include "format/shell.h"

/* `ends` is a word that ends a command, so that the next one begins another. */
static bool ends_command(const char *word, size_t n)
{
	static const char *const words[] = {"then", "do", "else", "{", "(", "!", "sudo", "time"};

	if (n == 0 || strchr(";|&(", word[n - 1]))
		return true;
	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		if (strlen(words[i]) == n && strncmp(words[i], word, n) == 0)
			return true;
	return false;
}

static bool is_word(const char *word, size_t n, const char *text)
{
	return strlen(text) == n && strncmp(word, text, n) == 0;
}

/* Slips that no parser can see: they run, and do something else. */
static int note_slips(struct mk_backend_reader *r, const char *key, const struct mk_doc *item)
{
	const char *before = "";
	size_t n_before = 0;
	bool modules = false;

	for (const char *p = item->text + strspn(item->text, " \t\n"); *p;) {
		size_t n = strcspn(p, " \t\n");
		bool first = ends_command(before, n_before);
		int e = 0;

		if (is_word(p, n, "module"))
			modules = true;
		if (first && n > 7 && strncmp(p, "source/", 7) == 0)
			e = mk_backend_note(r, item,
					    "%s: a blank is missing after \"source\" in \"%.*s\"",
					    key, (int)n, p);
		else if (item->style == '>' && !first &&
			 (is_word(p, n, "module") || is_word(p, n, "source") ||
			  is_word(p, n, "export")))
			e = mk_backend_note(r, item,
					    "%s: \"%.*s\" stands in the middle of a command; a "
					    "folded block (>) "
					    "is one line: write ; or && between commands, or use |",
					    key, (int)n, p);
		if (e < 0)
			return e;

		/* parallel/20210722GCC/11.2.0: a version that goes on with a name */
		const char *slash = modules ? memchr(p, '/', n) : NULL;
		const char *second =
			slash ? memchr(slash + 1, '/', n - (size_t)(slash + 1 - p)) : NULL;

		if (second && slash[1] >= '0' && slash[1] <= '9' && second[1] >= '0' &&
		    second[1] <= '9' && second[-1] >= 'A') {
			e = mk_backend_note(r, item,
					    "%s: \"%.*s\" looks like two modules without a blank "
					    "between them",
					    key, (int)n, p);
			if (e < 0)
				return e;
		}
		if (n && strchr(";|&", p[n - 1]))
			modules = false;
		before = p;
		n_before = n;
		p += n;
		if (strchr(item->style == '>' ? "" : "\n", *p) && *p)
			n_before = 0;
		p += strspn(p, " \t\n");
	}
	return 0;
}

static int add_command(struct mk_backend_reader *r, const char *key, const struct mk_doc *item,
		       struct mk_list *list)
{
	size_t n = strlen(item->text);
	const char *unclosed = mk_shell_check(item->text);

	if (unclosed)
		return fail(r, item, "Environment.%s: the command holds %s", key, unclosed);
	while (n && strchr(" \t\r\n", item->text[n - 1]))
		n--;
	if (!n)
		return fail(r, item, "Environment.%s: a command is empty", key);

	int e = note_slips(r, key, item);

	if (e < 0)
		return e;
	return mk_list_add_n(list, item->text, n);
}

static int add_modules(struct mk_backend_reader *r, const char *key, const struct mk_doc *item,
		       struct mk_list *list)
{
	const char *p = item->text + strspn(item->text, " \t\n");

	if (!*p)
		return fail(r, item, "Environment.Modules: a name is empty");
	while (*p) {
		size_t n = strcspn(p, " \t\n");
		size_t bad = strcspn(p, ";&|<>()$`\"'\\*?[]{}#!~");

		if (bad < n)
			return fail(r, item, "Environment.Modules: the name \"%.*s\" holds a %c",
				    (int)n, p, p[bad]);
		if (*p == '-')
			return fail(r, item,
				    "Environment.Modules: \"%.*s\" is an option, not a name",
				    (int)n, p);

		int e = mk_list_add_n(list, p, n);

		if (e < 0)
			return e;
		p += n;
		p += strspn(p, " \t\n");
	}
	return 0;
}

static int add_option(struct mk_backend_reader *r, const char *key, const struct mk_doc *item,
		      struct mk_list *list)
{
	struct mk_shell shell = {};
	bool redirects = false;

	for (const char *p = item->text; *p; p++) {
		redirects |= mk_shell_bare(&shell) && shell.depth == 0 && strchr("<>()#&", *p);
		mk_shell_feed(&shell, *p);
	}

	const char *unclosed = mk_shell_open(&shell);

	if (unclosed)
		return fail(r, item, "Environment.Apptainer.Options: \"%s\" holds %s", item->text,
			    unclosed);
	if (shell.operators || redirects || shell.escape)
		return fail(r, item, "Environment.Apptainer.Options: \"%s\" is not only options",
			    item->text);
	if (strncmp(item->text, "-B ", 3) == 0 || strncmp(item->text, "--bind ", 7) == 0) {
		const char *from = strchr(item->text, ' ');

		from += strspn(from, " ");

		const char *to = strpbrk(from, " :");

		if (to && *to == ' ' && to[strspn(to, " ")] == '/')
			return fail(r, item,
				    "Environment.Apptainer.Options: \"%s\" has a blank where a "
				    "colon belongs: %.*s:%s",
				    item->text, (int)(to - item->text), item->text,
				    to + strspn(to, " "));
	}
	return mk_list_add(list, item->text);
}

static int read_apptainer(struct mk_backend_reader *r, struct mk_doc *environment)
{
	struct mk_backend *b = r->backend;
	const char *level = "Environment.Apptainer";
	struct mk_doc *doc = mk_doc_get(environment, "Apptainer");
	struct mk_doc *path = NULL, *type = NULL;

	if (!doc)
		return 0;
	if (doc->type == MK_DOC_SCALAR)
		return fail(r, doc, "%s is a text, write Apptainer: {Path: %s}", level, doc->text);
	if (doc->type != MK_DOC_MAP)
		return fail(r, doc, "%s names no image, write Apptainer: {Path: …}", level);

	int e = mk_backend_keys(r, level, doc);

	if (e < 0)
		return e;
	e = mk_backend_value(r, doc, level, "Path", &path);
	if (e < 0)
		return e;
	if (e == 0)
		return fail(r, doc, "%s needs the key \"Path\"", level);
	e = mk_backend_value(r, doc, level, "Type", &type);
	if (e < 0)
		return e;
	if (type && strcasecmp(type->text, "remote") == 0)
		b->image_remote = true;
	else if (type && strcasecmp(type->text, "local") != 0)
		return fail(r, type, "%s.Type: \"%s\" is neither local nor remote", level,
			    type->text);
	if (b->image_remote && !strchr("/$", *path->text))
		return fail(r, path,
			    "%s.Path: \"%s\" is not absolute, as the path of a remote "
			    "image has to be",
			    level, path->text);
	if (*path->text == '-')
		return fail(r, path, "%s.Path: \"%s\" looks like an option, write ./%s", level,
			    path->text, path->text);
	if (strpbrk(path->text, "\n\r"))
		return fail(r, path, "%s.Path holds a line end", level);
	b->image = mk_strdup(path->text);
	return mk_backend_items(r, doc, level, "Options", add_option, &b->image_options);
}

/* `source /x/bin/activate;` and `/x/bin/activate` are the venv /x. */
static int check_python(struct mk_backend_reader *r, const struct mk_doc *path)
{
	static const char activate[] = "/bin/activate";
	const char *begin = path->text;
	size_t n;

	if (strncmp(begin, "source ", 7) == 0)
		begin += 7;
	else if (strncmp(begin, ". ", 2) == 0)
		begin += 2;
	begin += strspn(begin, " ");
	n = strcspn(begin, " ;&|\n");
	if (n > strlen(activate) &&
	    strncmp(begin + n - strlen(activate), activate, strlen(activate)) == 0)
		n -= strlen(activate);
	if (begin != path->text || begin[n])
		return fail(r, path,
			    "Environment.Python: \"%s\" is not the folder of a venv, write "
			    "%.*s",
			    path->text, (int)n, begin);
	if (!strchr("/$", *path->text))
		return fail(r, path,
			    "Environment.Python: \"%s\" is not absolute, as the folder of a "
			    "venv has to be",
			    path->text);
	return 0;
}

static int read_python(struct mk_backend_reader *r, struct mk_doc *environment)
{
	struct mk_doc *doc = mk_doc_get(environment, "Python");
	struct mk_doc *path = NULL;
	int e;

	if (!doc)
		return 0;
	if (doc->type == MK_DOC_MAP) {
		e = mk_backend_keys(r, "Environment.Python", doc);
		if (e < 0)
			return e;
		e = mk_backend_value(r, doc, "Environment.Python", "Path", &path);
		if (e < 0)
			return e;
		if (e == 0)
			return fail(r, doc, "Environment.Python needs the key \"Path\"");
	} else {
		e = mk_backend_value(r, environment, "Environment", "Python", &path);
		if (e < 0)
			return e;
	}
	e = check_python(r, path);
	if (e < 0)
		return e;
	r->backend->python = mk_strdup(path->text);
	return 0;
}

static bool is_name(const char *text)
{
	if (!*text || (*text >= '0' && *text <= '9'))
		return false;
	return text[strspn(text,
			   "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")] == 0;
}

static int read_variables(struct mk_backend_reader *r, struct mk_doc *environment)
{
	struct mk_doc *doc = mk_doc_get(environment, "Variables");

	if (!doc || doc->type == MK_DOC_NULL)
		return 0;
	if (doc->type != MK_DOC_MAP)
		return fail(r, doc, "Environment.Variables is not a map of NAME: value");
	for (size_t i = 0; i < doc->n; i++) {
		const char *name = doc->keys[i]->text;
		struct mk_doc *value = doc->items[i];

		if (!is_name(name))
			return fail(r, doc->keys[i],
				    "Environment.Variables: \"%s\" cannot be the "
				    "name of a variable",
				    name);
		if (value->type == MK_DOC_NULL)
			return fail(r, value,
				    "Environment.Variables.%s has no value: write '' for "
				    "an empty one",
				    name);
		if (value->type != MK_DOC_SCALAR)
			return fail(r, value, "Environment.Variables.%s is a %s, not a text", name,
				    value->type == MK_DOC_LIST ? "list" : "map");

		const char *unclosed = mk_shell_expand_check(value->text);

		if (unclosed)
			return fail(r, value, "Environment.Variables.%s holds %s", name, unclosed);

		int e = mk_pairs_set(&r->backend->variables, name, value->text);

		if (e < 0)
			return e;
	}
	return 0;
}

/* The old PreRunCommand: {Command: …, ExecuteOnLoginNode: bool}. */
static int read_old_command(struct mk_backend_reader *r, struct mk_doc *environment,
			    const char *key, struct mk_list *login, struct mk_list *compute)
{
	struct mk_doc *doc = mk_doc_get(environment, key);
	struct mk_doc *at = doc;
	_cleanup_buf_ struct mk_buf level = MK_BUF(256);
	struct mk_list *list;
	bool on_login = false;

	if (!doc)
		return 0;
	for (size_t n = 0; n < environment->n; n++)
		if (environment->items[n] == doc)
			at = environment->keys[n];
	if (doc->type != MK_DOC_MAP)
		return fail(r, at,
			    "unknown key \"%s\" below Environment: write %sOnComputeNode or "
			    "%sOnLoginNode",
			    key, key, key);
	(void)mk_buf_printf(&level, "Environment.%s", key);
	for (size_t i = 0; i < doc->n; i++)
		if (strcmp(doc->keys[i]->text, "Command") != 0 &&
		    strcmp(doc->keys[i]->text, "ExecuteOnLoginNode") != 0)
			return fail(r, doc->keys[i], "unknown key \"%s\" below %s",
				    doc->keys[i]->text, mk_buf_text(&level));

	int e = mk_doc_bool(r->call, r->source, doc, "ExecuteOnLoginNode", &on_login);

	if (e < 0)
		return e;
	if (e == 0)
		return fail(r, at,
			    "%s does not say where it runs: write %sOnComputeNode or "
			    "%sOnLoginNode",
			    mk_buf_text(&level), key, key);
	if (!mk_doc_get(doc, "Command"))
		return fail(r, at, "%s needs the key \"Command\"", mk_buf_text(&level));
	list = on_login ? login : compute;
	if (list->n)
		return fail(r, at, "both %s and %sOn%sNode", key, key,
			    on_login ? "Login" : "Compute");
	e = mk_backend_note(r, at, "Environment.%s is an old spelling, read as %sOn%sNode", key,
			    key, on_login ? "Login" : "Compute");
	if (e < 0)
		return e;
	return mk_backend_items(r, doc, mk_buf_text(&level), "Command", add_command, list);
}

int mk_backend_environment(struct mk_backend_reader *r, struct mk_doc *map)
{
	struct mk_backend *b = r->backend;
	const struct {
		const char *key;
		mk_backend_add *add;
		struct mk_list *list;
	} lists[] = {
		{"Modules", add_modules, &b->modules},
		{"PreRunCommandOnLoginNode", add_command, &b->pre_login},
		{"PreRunCommandOnComputeNode", add_command, &b->pre_compute},
		{"PostRunCommandOnComputeNode", add_command, &b->post_compute},
		{"PostRunCommandOnLoginNode", add_command, &b->post_login},
	};
	int e = mk_backend_keys(r, "Environment", map);

	if (e < 0)
		return e;
	for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++) {
		e = mk_backend_items(r, map, "Environment", lists[i].key, lists[i].add,
				     lists[i].list);
		if (e < 0)
			return e;
	}
	e = read_old_command(r, map, "PreRunCommand", &b->pre_login, &b->pre_compute);
	if (e < 0)
		return e;
	e = read_old_command(r, map, "PostRunCommand", &b->post_login, &b->post_compute);
	if (e < 0)
		return e;
	e = read_variables(r, map);
	if (e < 0)
		return e;
	e = read_apptainer(r, map);
	if (e < 0)
		return e;
	e = read_python(r, map);
	if (e < 0)
		return e;
	if (b->image && b->python)
		return fail(r, map,
			    "Environment has both Apptainer and Python: at most one of them");
	return 0;
}
