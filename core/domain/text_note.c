/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The note of an experiment of ours, which is two things: `note` in its experiment.yaml, and MLflow's
 * tag mlflow.note.content. Whoever writes the one has written the other: a saved text sets the tag, a
 * tag that a client sets is put into the text, whose other lines and comments stay.
 */
#include "domain/texts.h"

#include <errno.h>
#include <string.h>

#include "base/doc.h"
#include "domain/domain.h"

#define NOTE "mlflow.note.content"

static const char key[] = "note:", hint[] = "# note:";

static size_t line_end(const char *text, size_t len, size_t at)
{
	const char *nl = memchr(text + at, '\n', len - at);

	return nl ? (size_t)(nl - text) + 1 : len;
}

/* The line that begins so; len: none. */
static size_t find_line(const char *text, size_t len, const char *begins)
{
	size_t n = strlen(begins);

	for (size_t at = 0; at < len; at = line_end(text, len, at))
		if (len - at >= n && memcmp(text + at, begins, n) == 0)
			return at;
	return len;
}

/* Behind a value: its further lines are indented, or blank between such. */
static size_t value_end(const char *text, size_t len, size_t at)
{
	size_t end = line_end(text, len, at);

	for (size_t next = end; next < len && strchr(" \t\n", text[next]);) {
		bool blank = text[next] == '\n';

		next = line_end(text, len, next);
		if (!blank)
			end = next;
	}
	return end;
}

/* Does it say this, as YAML is read? */
static bool says(const char *text, size_t len, const char *note)
{
	struct mk_call call;
	_cleanup_(mk_doc_freep) struct mk_doc *doc = NULL;
	const char *is = NULL;

	mk_call_init(&call);

	int r = mk_doc_parse(&call, "experiment.yaml", text, len, &doc);

	if (r == 0 && doc->type == MK_DOC_MAP)
		r = mk_doc_text(&call, "experiment.yaml", doc, "note", &is);
	mk_call_done(&call);
	return r >= 0 && (is && *is ? note && strcmp(is, note) == 0 : !note || !*note);
}

int mk_note_put(struct mk_buf *text, const char *note)
{
	_cleanup_buf_ struct mk_buf to = MK_BUF(MK_LIMIT_TEXT);
	const char *from = mk_buf_text(text);
	size_t len = text->len;

	if (says(from, len, note))
		return 0;

	size_t at = find_line(from, len, key), end = at;

	if (at < len)
		end = value_end(from, len, at);
	else if ((at = find_line(from, len, hint)) < len)
		end = line_end(from, len, at);
	(void)mk_buf_put(&to, from, at);
	if (at && from[at - 1] != '\n')
		(void)mk_buf_putc(&to, '\n');
	if (note && *note) {
		(void)mk_buf_printf(&to, "%s ", key);
		mk_yaml_scalar(&to, note, false);
		(void)mk_buf_putc(&to, '\n');
	}
	(void)mk_buf_put(&to, from + end, len - end);
	/* A way of writing it that is not understood here: the text stays its writer's. */
	if (mk_buf_check(&to) < 0 || !says(mk_buf_text(&to), to.len, note))
		return 0;
	mk_buf_free(text);
	*text = to;
	to = MK_BUF(0);
	return 1;
}

int mk_note_get(struct mk_call *call, struct mk_conn *conn, int64_t experiment_id, char **ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_domain_row(call, conn,
			      "SELECT value FROM experiment_tags WHERE experiment_id = ?1"
			      " AND key = '" NOTE "' AND value <> ''",
			      experiment_id, &stmt);

	if (r > 0)
		*ret = mk_col_dup(stmt, 0);
	return r;
}

int mk_note_to_tag(struct mk_call *call, struct mk_conn *conn, int64_t experiment_id, const char *note)
{
	return mk_experiment_tag_set(call, conn, experiment_id, NOTE, note && *note ? note : NULL);
}

/* Of a text that was never written the template shows the tag (text.c). */
int mk_note_to_text(struct mk_call *call, struct mk_conn *conn, int64_t experiment_id, const char *note)
{
	_cleanup_stmt_ struct mk_stmt *get = NULL, *put = NULL;
	_cleanup_buf_ struct mk_buf text = MK_BUF(MK_LIMIT_TEXT);
	size_t len;
	int r = mk_domain_row(call, conn, "SELECT text FROM texts WHERE kind = 3 AND owner = ?1",
			      experiment_id, &get);

	if (r <= 0)
		return r;

	const void *data = mk_col_blob(get, 0, &len);

	if (mk_buf_put(&text, data, len) < 0 || mk_note_put(&text, note) == 0)
		return 0;
	r = mk_prepare(call, conn,
		       "UPDATE texts SET text = ?2, generation = generation + 1,"
		       " changed = max(changed + 1, ?3), who = 'a client of MLflow''s API'"
		       " WHERE kind = 3 AND owner = ?1",
		       &put);
	if (r < 0)
		return r;
	mk_bind_int(put, 1, experiment_id);
	mk_bind_blob(put, 2, text.data, text.len);
	mk_bind_int(put, 3, mk_now_real());
	return mk_exec(call, put);
}
