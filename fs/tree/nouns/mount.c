/* SPDX-License-Identifier: Apache-2.0 */
/* .mantik/: about the mount itself. */
#include "../noun.h"

#include <mantik/error.h>
#include <mantik/option.h>
#include <mantik/outbox.h>

int fs_errors_show(struct fs_at *at, struct mk_buf *text)
{
	return mk_error_table(at->call, at->m, text);
}

int fs_unsent_show(struct fs_at *at, struct mk_buf *text)
{
	return mk_unsent_table(at->call, at->m, text);
}

/* which: 0 log, 1 trace */
static struct fs_log *log_of(struct fs_at *at)
{
	return at->row->which ? &at->tree->trace : &at->tree->log;
}

int fs_log_stat(struct fs_at *at, struct fs_stat *st)
{
	const struct fs_log *log = log_of(at);

	fs_lock(at->tree);
	st->size = (int64_t)log->len;
	st->generation = log->generation;
	st->mtime = log->changed;
	fs_unlock(at->tree);
	return 0;
}

int fs_log_show(struct fs_at *at, struct mk_buf *text)
{
	const struct fs_log *log = log_of(at);

	fs_lock(at->tree);

	int r = mk_buf_put(text, log->text, log->len);

	fs_unlock(at->tree);
	return r;
}

int fs_stats_show(struct fs_at *at, struct mk_buf *text)
{
	return fs_stats_render(at->tree, text);
}

static int option_line(void *arg, const struct mk_option *option, const char *value,
		       const char *where)
{
	struct mk_buf *text = arg;

	(void)mk_buf_printf(text, "# %s (%s, from %s)\n%s: ", option->help,
			    mk_option_type_name(option->type), where, option->name);
	/* Quoted as YAML wants it: paths may hold anything. */
	(void)mk_buf_putc(text, '"');
	for (const char *p = value; *p; p++) {
		if (*p == '"' || *p == '\\')
			(void)mk_buf_putc(text, '\\');
		if ((unsigned char)*p < 0x20)
			(void)mk_buf_printf(text, "\\x%02x", (unsigned char)*p);
		else
			(void)mk_buf_putc(text, *p);
	}
	(void)mk_buf_puts(text, "\"\n");
	return mk_buf_check(text);
}

int fs_config_show(struct fs_at *at, struct mk_buf *text)
{
	return mk_option_list(at->m, option_line, text);
}

int fs_mount_ctl_stat(struct fs_at *at, struct fs_stat *st)
{
	return 0;
}

int fs_mount_ctl_show(struct fs_at *at, struct mk_buf *text)
{
	(void)mk_buf_puts(text, "words: refresh forget\n");
	return fs_answer_get(at, text);
}

static bool is_word(const struct fs_commit *commit, const char *word)
{
	size_t len = commit->len;

	while (len && (commit->text[len - 1] == '\n' || commit->text[len - 1] == ' '))
		len--;
	return strlen(word) == len && memcmp(commit->text, word, len) == 0;
}

int fs_mount_ctl_commit(struct fs_at *at, struct fs_commit *commit)
{
	if (is_word(commit, "refresh")) {
		int r = mantik_poke(at->call, at->m);

		return r < 0 ? r : mk_buf_puts(commit->answer, "done: mantikd looks for work now\n");
	}
	if (is_word(commit, "forget")) { /* what was rendered and may be made again */
		fs_run_drop(at->tree);
		fs_keys_drop(at->tree);
		fs_lock(at->tree);
		for (size_t i = 0; i < FS_TEXT_SLOTS; i++) {
			fs_text_unref(at->tree->texts[i].text);
			at->tree->texts[i] = (struct fs_text_slot){};
		}
		at->tree->text_bytes = 0;
		fs_unlock(at->tree);
		return mk_buf_puts(commit->answer, "done: memory given back\n");
	}
	return mk_fail(at->call, EINVAL, ".mantik/ctl: unknown word, it takes: refresh forget");
}

/* What there is stays to be read when it is switched off. */
int fs_trace_commit(struct fs_at *at, struct fs_commit *commit)
{
	unsigned components;

	if (mk_trace_parse(commit->text, commit->len, &components) < 0)
		return mk_fail(at->call, EINVAL,
			       ".mantik/trace: unknown word, it takes: on off %s", mk_trace_names());
	mk_trace_to(MK_TRACE_MOUNT, components, fs_trace_line, at->tree);
	return 0;
}
