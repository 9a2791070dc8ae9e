/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MLproject files and backend configs, each understood or refused with the sentence that stands in
 * a table: tests/cases/own/table.tsv for files of our own, always; tests/cases/table.tsv for files
 * of other people, which are read in place from $MANTIK_CASES (or a folder `cases` with an INDEX.tsv
 * beside the checkout) and are not part of this project.
 *
 * A table has the columns case, file, kind, verdict, text. kind: mlproject, backend, yaml (only that
 * it can be read). verdict: accepted, refused (the sentence), note (a line of the submission log),
 * command (own files: entry point, blank, final command; \n is a line end). An entry point is tried
 * with its defaults, and `x`, `1` or `https://x` by its type where there is none.
 *
 *	test_cases --print DIR KIND FILE	prints the rows of a file, to be judged and copied
 */
#include <glob.h>

#include "format/backend.h"
#include "format/command.h"
#include "test.h"
#include "tmpdir.h"

static const char *cases_dir; /* of the running table */

static int read_file(const char *path, struct mk_buf *ret)
{
	FILE *file = fopen(path, "rb");

	if (!file)
		return -errno;
	for (int c; (c = getc(file)) != EOF;)
		(void)mk_buf_putc(ret, (char)c);
	fclose(file);
	return mk_buf_check(ret);
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* A row's verdict and text; `\n` for a line end. */
static void add(struct mk_list *rows, const char *verdict, const char *text)
{
	_cleanup_buf_ struct mk_buf row = MK_BUF(MK_LIMIT_TEXT);

	(void)mk_buf_printf(&row, "%s\t", verdict);
	for (const char *p = text ? text : ""; *p; p++) {
		if (*p == '\n')
			(void)mk_buf_puts(&row, "\\n");
		else
			(void)mk_buf_putc(&row, *p);
	}
	if (mk_list_add(rows, mk_buf_text(&row)) < 0)
		abort();
}

static int try_entry(struct mk_call *call, const char *source, const struct mk_entry_point *entry,
		     struct mk_list *rows)
{
	_cleanup_pairs_ struct mk_pairs given = {}, values = {};
	_cleanup_list_ struct mk_list warnings = {};
	_cleanup_free_ char *command = NULL;
	_cleanup_buf_ struct mk_buf text = MK_BUF(MK_LIMIT_TEXT);

	for (size_t i = 0; i < entry->n_parameters; i++) {
		const struct mk_parameter *p = &entry->parameters[i];
		const char *type = p->type ? p->type : "string";
		const char *value = strcmp(type, "uri") == 0 ? "https://x"
				    : strcmp(type, "int") == 0 || strcmp(type, "float") == 0 ? "1"
											     : "x";

		if (!p->value && mk_pairs_set(&given, p->name, value) < 0)
			abort();
	}

	int r = mk_command_entry(call, source, entry, &given, &values, &command, &warnings);

	if (r < 0)
		return r;
	for (size_t i = 0; i < warnings.n; i++)
		add(rows, "note", warnings.v[i]);
	(void)mk_buf_printf(&text, "%s %s", entry->name, command);
	add(rows, "command", mk_buf_text(&text));
	return 0;
}

static int try_mlproject(struct mk_call *call, const char *source, const struct mk_buf *text,
			 struct mk_list *rows)
{
	_cleanup_mlproject_ struct mk_mlproject project = {};
	int r = mk_mlproject_parse(call, source, mk_buf_text(text), text->len, &project);

	for (size_t i = 0; r == 0 && i < project.warnings.n; i++)
		add(rows, "note", project.warnings.v[i]);
	for (size_t i = 0; r == 0 && i < project.n_entry_points; i++)
		r = try_entry(call, source, &project.entry_points[i], rows);
	return r;
}

static int try_backend(struct mk_call *call, const char *source, const struct mk_buf *text,
		       struct mk_list *rows)
{
	_cleanup_backend_ struct mk_backend backend = {};
	int r = mk_backend_parse_text(call, source, mk_buf_text(text), text->len, &backend);

	for (size_t i = 0; r == 0 && i < backend.notes.n; i++)
		add(rows, "note", backend.notes.v[i]);
	return r;
}

static int try_yaml(struct mk_call *call, const char *source, const struct mk_buf *text)
{
	_cleanup_(mk_doc_freep) struct mk_doc *doc = NULL;

	return mk_doc_parse(call, source, mk_buf_text(text), text->len, &doc);
}

/* All rows of a file, the verdict first. */
static void judge(const char *path, const char *kind, struct mk_list *ret)
{
	_cleanup_call_ struct mk_call call;
	_cleanup_buf_ struct mk_buf text = MK_BUF(MK_LIMIT_TEXT);
	_cleanup_list_ struct mk_list rows = {};
	const char *source = base_name(path);
	int r = read_file(path, &text);

	mk_call_init(&call);
	if (r < 0)
		(void)mk_fail(&call, -r, "%s: %s", path, strerror(-r));
	else if (strcmp(kind, "mlproject") == 0)
		r = try_mlproject(&call, source, &text, &rows);
	else if (strcmp(kind, "backend") == 0)
		r = try_backend(&call, source, &text, &rows);
	else
		r = try_yaml(&call, source, &text);
	add(ret, r < 0 ? "refused" : "accepted", call.error.text);
	for (size_t i = 0; r == 0 && i < rows.n; i++)
		if (mk_list_add(ret, rows.v[i]) < 0)
			abort();
}

/* --- tables ----------------------------------------------------------------------------- */

struct row {
	char *key; /* case, file, kind */
	char *want; /* verdict and text */
};
struct table {
	struct row v[1000];
	size_t n;
};

static void read_table(const char *path, struct table *ret)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF(MK_LIMIT_TEXT);
	char *save = NULL;

	CHECK_INT(read_file(path, &text), 0);
	(void)mk_buf_putc(&text, '\n');
	for (char *line = strtok_r(text.data, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		char *p = line;

		if (*line == '#')
			continue;
		for (int i = 0; i < 3 && p; i++)
			p = strchr(p + (i > 0), '\t');
		if (!p || ret->n == 1000) {
			printf("# %s: %s\n", path, line);
			CHECK(!"a row of five columns");
			continue;
		}
		ret->v[ret->n++] = (struct row){.key = mk_strndup(line, (size_t)(p - line)),
						.want = mk_strdup(p + 1)};
	}
}

static void free_table(struct table *table)
{
	for (size_t i = 0; i < table->n; i++) {
		free(table->v[i].key);
		free(table->v[i].want);
	}
}

/* The rows from `first` on that have the same key; returns where the next file begins. */
static size_t check_file(const struct table *table, size_t first, bool commands)
{
	const char *key = table->v[first].key;
	const char *file = strchr(key, '\t') + 1;
	const char *kind = strchr(file, '\t') + 1;
	_cleanup_list_ struct mk_list rows = {};
	_cleanup_buf_ struct mk_buf path = MK_BUF(4096);
	size_t next = first;

	(void)mk_buf_printf(&path, "%s/%.*s/%.*s", cases_dir, (int)(file - key - 1), key,
			    (int)(kind - file - 1), file);
	judge(mk_buf_text(&path), kind, &rows);
	for (size_t i = 0; i < rows.n; i++) {
		if (!commands && strncmp(rows.v[i], "command\t", 8) == 0)
			continue;

		bool is_known = next < table->n && strcmp(table->v[next].key, key) == 0;

		CHECK_TEXT(rows.v[i], is_known ? table->v[next].want : NULL);
		if (!is_known || strcmp(rows.v[i], table->v[next].want) != 0)
			printf("# in %s\n", mk_buf_text(&path));
		next += is_known;
	}
	while (next < table->n && strcmp(table->v[next].key, key) == 0) {
		CHECK_TEXT(NULL, table->v[next].want);
		next++;
	}
	return next;
}

static size_t check_table(const struct table *table, bool commands)
{
	size_t n = 0;

	for (size_t i = 0; i < table->n; n++)
		i = check_file(table, i, commands);
	return n;
}

static void own_files(void)
{
	static struct table table;

	cases_dir = CASES_DIR "/own";
	table.n = 0;
	read_table(CASES_DIR "/own/table.tsv", &table);
	CHECK(check_table(&table, true) > 30);
	free_table(&table);
}

/* Every file that the index names has rows. */
static void check_index(const struct table *table)
{
	_cleanup_free_ char *path = tmpdir_path(cases_dir, "INDEX.tsv");
	_cleanup_buf_ struct mk_buf text = MK_BUF(MK_LIMIT_TEXT);
	char *save = NULL;

	CHECK_INT(read_file(path, &text), 0);
	(void)mk_buf_putc(&text, '\n');
	(void)strtok_r(text.data, "\n", &save);
	for (char *line; (line = strtok_r(NULL, "\n", &save));) {
		char *tab = strchr(line, '\t');
		char *file = tab;
		bool found = false;

		for (int i = 0; i < 2 && file; i++)
			file = strchr(file + 1, '\t');
		if (!file)
			continue;
		file++;
		for (size_t i = 0; i < table->n && !found; i++)
			found = strncmp(table->v[i].key, line, (size_t)(tab - line) + 1) == 0 &&
				strncmp(strchr(table->v[i].key, '\t') + 1, file,
					strcspn(file, "\t") + 1) == 0;
		if (!found)
			printf("# %s\n", line);
		CHECK(found);
	}
}

static void other_peoples_files(void)
{
	static struct table table;
	glob_t found = {};
	_cleanup_free_ char *dir = mk_strdup(getenv("MANTIK_CASES"));

	if (!dir && glob(CASES_DIR "/../../../*/cases/INDEX.tsv", 0, NULL, &found) == 0) {
		char *slash = strrchr(found.gl_pathv[0], '/');

		dir = mk_strndup(found.gl_pathv[0], (size_t)(slash - found.gl_pathv[0]));
	}
	globfree(&found);
	if (!dir)
		SKIP("no collection of other people's files: name it by MANTIK_CASES");
	cases_dir = dir;
	table.n = 0;
	read_table(CASES_DIR "/table.tsv", &table);
	CHECK(check_table(&table, false) > 30);
	check_index(&table);
	free_table(&table);
}

int main(int argc, char **argv)
{
	if (argc == 5 && strcmp(argv[1], "--print") == 0) {
		_cleanup_list_ struct mk_list rows = {};

		judge(argv[4], argv[3], &rows);
		for (size_t i = 0; i < rows.n; i++)
			printf("%s\t%s\t%s\n", argv[2], argv[3], rows.v[i]);
		return 0;
	}
	return RUN(TEST(own_files), TEST(other_peoples_files));
}
