/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is in a run. All of it comes from one snapshot of the row, kept while the database has not
 * changed: opening and reading `status` of an ended run asks the database at most once.
 */
#include "../noun.h"

void fs_run_unref(struct fs_run *run)
{
	if (!run || atomic_fetch_sub(&run->refs, 1) != 1)
		return;
	mk_run_free(&run->run);
	free(run);
}

static int get(struct fs_at *at, int64_t id, bool old_will_do, struct fs_run **ret)
{
	struct fs_tree *tree = at->tree;
	struct fs_run_slot *slot = &tree->runs[(uint64_t)id % FS_RUN_SLOTS];
	/* Asked for before reading: what changes in between makes the snapshot old, never new. */
	uint64_t generation = mantik_generation(at->m);
	struct fs_run *run = NULL;

	fs_lock(tree);
	if (slot->run && slot->id == id && slot->generation == generation &&
	    (old_will_do || !mk_run_is_old(&slot->run->run))) {
		run = slot->run;
		atomic_fetch_add(&run->refs, 1);
	}
	fs_unlock(tree);
	if (!run) {
		run = mk_new(struct fs_run);
		run->refs = 2; /* the slot's and the caller's */

		int r = old_will_do ? mk_run_peek(at->call, at->m, id, &run->run) :
				      mk_run_get(at->call, at->m, id, &run->run);

		if (r < 0) {
			free(run);
			return r;
		}

		fs_lock(tree);

		struct fs_run *old = slot->run;

		*slot = (struct fs_run_slot){id, generation, run};
		fs_unlock(tree);
		fs_run_unref(old);
	}
	*ret = run;
	return 0;
}

int fs_run_get(struct fs_at *at, int64_t id, struct fs_run **ret)
{
	return get(at, id, false, ret);
}

int fs_run_peek(struct fs_at *at, int64_t id, struct fs_run **ret)
{
	return get(at, id, true, ret);
}

void fs_run_keep(struct fs_at *at, const struct fs_run *run)
{
	if (!mk_status_final(run->run.status) && !run->run.remote_id)
		mantik_keep(at->m);
}

void fs_run_drop(struct fs_tree *tree)
{
	for (size_t i = 0; i < FS_RUN_SLOTS; i++) {
		fs_lock(tree);

		struct fs_run *run = tree->runs[i].run;

		tree->runs[i] = (struct fs_run_slot){};
		fs_unlock(tree);
		fs_run_unref(run);
	}
}

/* The directory, and those below it: `ls -l` of ten thousand runs asks for none of them. */
int fs_run_stat(struct fs_at *at, struct fs_stat *st)
{
	_cleanup_run_ struct fs_run *run = NULL;
	int r = fs_run_peek(at, at->object, &run);

	if (r < 0)
		return r;
	st->size = 0;
	st->mtime = run->run.changed;
	return 0;
}

/* What only a run that was submitted here has: logs/ … */
int fs_own_run_stat(struct fs_at *at, struct fs_stat *st)
{
	_cleanup_run_ struct fs_run *run = NULL;
	int r = fs_run_peek(at, at->object, &run);

	if (r < 0)
		return r;
	if (run->run.remote_id || run->run.api)
		return -ENOENT;
	st->size = 0;
	st->mtime = run->run.changed;
	return 0;
}

int fs_spec_stat(struct fs_at *at, struct fs_stat *st)
{
	_cleanup_run_ struct fs_run *run = NULL;
	int r = fs_run_get(at, at->object, &run);

	if (r < 0)
		return r;
	if (run->run.remote_id || run->run.api)
		return -ENOENT;
	st->size = (int64_t)(at->row->which == MK_RUN_SPEC ? run->run.spec_len :
							     run->run.script_len);
	st->mtime = run->run.submitted;
	st->generation = 1 + (uint64_t)st->size; /* fixed at submission */
	return 0;
}

int fs_spec_show(struct fs_at *at, struct mk_buf *text)
{
	return mk_run_text(at->call, at->m, at->object, at->row->which, text);
}

int fs_status_stat(struct fs_at *at, struct fs_stat *st)
{
	_cleanup_run_ struct fs_run *run = NULL;
	int r = fs_run_get(at, at->object, &run);

	if (r < 0)
		return r;
	st->size = (int64_t)strlen(mk_status_name(run->run.status)) + 1;
	st->mtime = run->run.ended	? run->run.ended
		    : run->run.started	? run->run.started
					: run->run.submitted;
	st->generation = 1 + (uint64_t)run->run.status;
	st->live = !mk_status_final(run->run.status);
	return 0;
}

int fs_status_show(struct fs_at *at, struct mk_buf *text)
{
	_cleanup_run_ struct fs_run *run = NULL;
	int r = fs_run_get(at, at->object, &run);

	if (r < 0)
		return r;
	fs_run_keep(at, run);
	return mk_buf_printf(text, "%s\n", mk_status_name(run->run.status));
}

/* which: 0 info.yaml, 1 info.json, 2 metrics.tsv */
int fs_info_stat(struct fs_at *at, struct fs_stat *st)
{
	_cleanup_run_ struct fs_run *run = NULL;
	int r = fs_run_get(at, at->object, &run);

	if (r < 0)
		return r;
	st->mtime = run->run.changed;
	st->generation = at->row->which == 2 ? (uint64_t)run->run.changed :
			 run->run.generation + (uint64_t)(run->run.remote_id ? run->run.as_of : 0);
	/* Runs that are nested in a store's run come and go without one word about it. */
	st->live = !mk_status_final(run->run.status) ||
		   (run->run.remote_id && at->row->which != 2);
	if (st->live) {
		st->generation = 0; /* as_of moves on without one */
	} else if (at->row->which == 2 && run->run.remote_id) {
		r = mk_run_metrics_complete(at->call, at->m, at->object);
		if (r < 0)
			return r;
		st->generation = st->generation * 2 + (uint64_t)r;
	}
	return 0;
}

int fs_info_show(struct fs_at *at, struct mk_buf *text)
{
	_cleanup_run_ struct fs_run *run = NULL;
	_cleanup_(mk_run_more_free) struct mk_run_more more = {};
	int r = fs_run_get(at, at->object, &run);

	if (r < 0)
		return r;
	fs_run_keep(at, run);
	r = mk_run_more(at->call, at->m, &run->run, &more);
	return r < 0 ? r : mk_run_info(&run->run, &more, at->row->which == 1, text);
}

int fs_wait_stat(struct fs_at *at, struct fs_stat *st)
{
	_cleanup_run_ struct fs_run *run = NULL;
	int r = fs_run_get(at, at->object, &run);

	if (r < 0)
		return r;
	st->live = true;
	st->mtime = run->run.changed;
	st->size = 0; /* while there is nothing to read yet */
	if (mk_status_final(run->run.status))
		st->size = (int64_t)strlen(mk_status_name(run->run.status)) + 1;
	return 0;
}

int fs_wait_wait(struct fs_at *at, struct mk_buf *text)
{
	_cleanup_run_ struct fs_run *run = NULL;
	int r = fs_run_get(at, at->object, &run);

	if (r < 0)
		return r;
	fs_run_keep(at, run);
	if (!mk_status_final(run->run.status)) {
		at->call->park.key = at->object;
		/* Nobody tells when a store's run ends: it is asked now and then. */
		at->call->park.until = mk_now_mono() +
				       (run->run.remote_id ? 3 * MK_SEC : MK_KEEP + MK_SEC);
		return MK_PARK;
	}
	return mk_buf_printf(text, "%s\n", mk_status_name(run->run.status));
}

int fs_workdir_stat(struct fs_at *at, struct fs_stat *st)
{
	_cleanup_run_ struct fs_run *run = NULL;
	int r = fs_run_get(at, at->object, &run);

	if (r < 0)
		return r;
	if (!run->run.workdir)
		return -ENOENT;
	st->size = (int64_t)strlen(run->run.workdir);
	st->mtime = run->run.submitted;
	return 0;
}

int fs_workdir_link(struct fs_at *at, struct mk_buf *target)
{
	_cleanup_run_ struct fs_run *run = NULL;
	int r = fs_run_get(at, at->object, &run);

	if (r < 0)
		return r;
	return run->run.workdir ? mk_buf_puts(target, run->run.workdir) : -ENOENT;
}

/* --- ctl ----------------------------------------------------------------------------------- */

static int do_cancel(struct fs_at *at, struct mk_buf *answer)
{
	int r = mk_run_cancel(at->call, at->m, at->object);

	return r < 0 ? r : mk_buf_puts(answer, "cancel: asked\n");
}

static int do_rerun(struct fs_at *at, struct mk_buf *answer)
{
	_cleanup_buf_ struct mk_buf spec = MK_BUF(MK_LIMIT_TEXT), names = MK_BUF(MK_LIMIT_TEXT);
	_cleanup_run_ struct fs_run *run = NULL;
	int r = fs_run_get(at, at->object, &run);

	if (r < 0)
		return r;
	r = mk_run_text(at->call, at->m, at->object, MK_RUN_SPEC, &spec);
	if (r < 0)
		return r;

	const struct mk_submit_options options = {.source = "spec.yaml", .rerun_of = run->run.dir};

	r = mk_submit(at->call, at->m, run->run.project_id, mk_buf_text(&spec), spec.len, &options,
		      &names);
	return r < 0 ? r : mk_buf_printf(answer, "rerun: %s", mk_buf_text(&names));
}

static int do_refresh(struct fs_at *at, struct mk_buf *answer)
{
	int r = mantik_poke(at->call, at->m);

	return r < 0 ? r : mk_buf_puts(answer, "refresh: asked\n");
}

static int do_clean(struct fs_at *at, struct mk_buf *answer)
{
	int r = mk_run_clean(at->call, at->m, at->object);

	return r < 0 ? r : mk_buf_puts(answer, "clean: asked\n");
}

static int do_delete(struct fs_at *at, struct mk_buf *answer)
{
	int r = mk_run_delete(at->call, at->m, at->object);

	return r < 0 ? r : mk_buf_puts(answer, "delete: moved to runs/deleted/\n");
}

static int do_restore(struct fs_at *at, struct mk_buf *answer)
{
	int r = mk_run_restore(at->call, at->m, at->object);

	return r < 0 ? r : mk_buf_puts(answer, "restore: back in runs/\n");
}

static const struct {
	const char *word;
	int (*act)(struct fs_at *at, struct mk_buf *answer);
	bool job; /* only of a run of ours that has a job */
} words[] = {
	{"cancel", do_cancel, true}, {"rerun", do_rerun, true},	  {"refresh", do_refresh, false},
	{"clean", do_clean, true},   {"delete", do_delete, false}, {"restore", do_restore, false},
};

/* The words this run takes, parted by blanks. *ret_other: what it is that has no job of ours, or NULL. */
static int words_of(struct fs_at *at, struct mk_buf *ret, const char **ret_other)
{
	_cleanup_run_ struct fs_run *run = NULL;
	int r = fs_run_get(at, at->object, &run);

	if (r < 0)
		return r;
	*ret_other = run->run.remote_id ? "its tracking server's" :
		     run->run.api	? "logged by a program and has no job" :
					  NULL;
	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		if (!*ret_other || !words[i].job)
			(void)mk_buf_printf(ret, "%s%s", ret->len ? " " : "", words[i].word);
	return mk_buf_check(ret);
}

int fs_ctl_stat(struct fs_at *at, struct fs_stat *st)
{
	int r = fs_run_stat(at, st);

	st->size = -1;
	return r;
}

int fs_ctl_show(struct fs_at *at, struct mk_buf *text)
{
	_cleanup_buf_ struct mk_buf all = MK_BUF(4096);
	const char *other;
	int r = words_of(at, &all, &other);

	if (r < 0)
		return r;
	(void)mk_buf_printf(text, "words: %s\n", mk_buf_text(&all));
	return fs_answer_get(at, text);
}

int fs_ctl_commit(struct fs_at *at, struct fs_commit *commit)
{
	_cleanup_buf_ struct mk_buf all = MK_BUF(4096);
	size_t len = commit->len;
	const char *text = commit->text;
	const char *other;
	int r = words_of(at, &all, &other);

	if (r < 0)
		return r;
	while (len && strchr(" \t\r\n", text[len - 1]))
		len--;
	while (len && strchr(" \t\r\n", *text)) {
		text++;
		len--;
	}
	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		if (strlen(words[i].word) == len && memcmp(words[i].word, text, len) == 0) {
			if (!other || !words[i].job)
				return words[i].act(at, commit->answer);
			return mk_fail(at->call, EOPNOTSUPP, "ctl: %s: the run is %s, here it takes: %s",
				       words[i].word, other, mk_buf_text(&all));
		}
	return mk_fail(at->call, EINVAL, "ctl: unknown word \"%.*s\", it takes: %s",
		       (int)(len < 40 ? len : 40), text, mk_buf_text(&all));
}
