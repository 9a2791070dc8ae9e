/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What waits in the outbox as a person sees it, by the files that were written to, and giving it up:
 * a server that answers one request with an error for ever would keep its row for ever.
 */
#include <errno.h>
#include <string.h>

#include "base/file.h"
#include "domain/domain.h"
#include "domain/outbox/change.h"
#include "domain/outbox/upload.h"
#include "domain/tsv.h"

/* Rows of an object, a key and a verb have one path. */
static const char groups[] =
	"SELECT object, verb, key, project_id, count(*), min(created), max(tries),"
	" ifnull(max(text), (SELECT text FROM outbox_away a WHERE a.project_id = o.project_id)),"
	" max(refused) FROM outbox o WHERE code = 0 GROUP BY object, verb, key ORDER BY min(id)";

struct group {
	struct mk_out row;
	struct mk_unsent unsent;
};
typedef int group_fn(void *arg, const struct group *group);

static bool is_below(const char *path, const char *top)
{
	size_t len = top ? strlen(top) : 0;

	return !len || (strncmp(path, top, len) == 0 && (!path[len] || path[len] == '/'));
}

/* Those at and below a path (NULL: all), the oldest first. */
static int each_group(struct mk_call *call, struct mk_conn *conn, const char *path, group_fn *fn,
		      void *arg)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn, groups, &stmt);

	while (r == 0 && (r = mk_step(call, stmt)) > 0) {
		const char *object = mk_col_text(stmt, 0), *colon = strchr(object, ':');
		_cleanup_buf_ struct mk_buf where = MK_BUF(16 << 10);
		struct group group = {
			.row = {
				.object = (char *)object,
				.of = colon ? strtoll(colon + 1, NULL, 10) : 0,
				.verb = (enum mk_out_verb)mk_col_int(stmt, 1),
				.key = (char *)mk_col_text(stmt, 2),
				.project_id = mk_col_int(stmt, 3),
			},
			.unsent = {
				.n = mk_col_int(stmt, 4),
				.since = mk_col_int(stmt, 5),
				.tries = mk_col_int(stmt, 6),
				.text = mk_col_text(stmt, 7),
				.refused = mk_col_int(stmt, 8) != 0,
			},
		};

		r = mk_out_path(call, conn, &group.row, &where);
		group.unsent.path = mk_buf_text(&where);
		if (r == 0 && is_below(group.unsent.path, path))
			r = fn(arg, &group);
	}
	return r;
}

struct listing {
	mk_unsent_emit *emit;
	void *arg;
};

static int list_group(void *arg, const struct group *group)
{
	const struct listing *listing = arg;

	return listing->emit(listing->arg, &group->unsent);
}

int mk_unsent_list(struct mk_call *call, struct mantik *m, const char *path, mk_unsent_emit *emit,
		   void *arg)
{
	struct listing listing = {emit, arg};
	struct mk_conn *conn;
	int r = mk_db_reader(call, m->db, &conn);

	return r < 0 ? r : each_group(call, conn, path, list_group, &listing);
}

static int put_line(void *arg, const struct mk_unsent *unsent)
{
	struct mk_buf *out = arg;
	char when[32];

	mk_time_text(unsent->since, true, when);
	(void)mk_buf_printf(out, "%s\t", when);
	mk_tsv_put(out, unsent->path);
	(void)mk_buf_printf(out, "\t%lld\t%lld\t%s", (long long)unsent->n, (long long)unsent->tries,
			    unsent->refused ? "refused: " : "");
	mk_tsv_put(out, unsent->text);
	return mk_buf_putc(out, '\n');
}

int mk_unsent_table(struct mk_call *call, struct mantik *m, struct mk_buf *ret)
{
	(void)mk_buf_puts(ret, "since\tpath\tcount\ttries\treason\n");
	return mk_unsent_list(call, m, NULL, put_line, ret);
}

/* --- given up ------------------------------------------------------------------------------- */

struct giving {
	const char *path;
	char *who;
	int n;
	struct mk_list files; /* bytes that nobody needs any more */
};

/* Keeps of each what mk_outbox_rows() needs. */
static int add_group(void *arg, const struct group *group)
{
	struct mk_outs *all = arg;
	struct mk_out *v = reallocarray(all->v, all->n + 1, sizeof(*v));

	if (!v)
		return -ENOMEM;
	all->v = v;
	v[all->n++] = (struct mk_out){
		.object = mk_strdup(group->row.object),
		.key = mk_strdup(group->row.key),
		.verb = group->row.verb,
	};
	return 0;
}

static int give_up(struct mk_call *call, struct mk_conn *conn, const struct mk_out *group,
		   struct giving *giving)
{
	_cleanup_outs_ struct mk_outs rows = {};
	bool asked = false;
	int r = mk_outbox_rows(call, conn, group->object, group->key, group->verb, &rows);

	if (r < 0 || !rows.n) /* it went with what was given up before */
		return r;
	for (size_t i = 0; i < rows.n; i++) {
		asked |= !rows.v[i].refused && (rows.v[i].asked > 0 || rows.v[i].tries > 0);
		if (group->verb == MK_OUT_FILE)
			r = mk_list_add(&giving->files, rows.v[i].value);
		if (r < 0)
			return mk_fail(call, -r, "out of memory for what is given up");
	}

	_cleanup_free_ char *text =
		mk_strf("given up by %s%s", giving->who,
			asked ? "; it was sent and not answered: if its tracking server took it, that "
				"shows when it is asked again"
			      : "");

	giving->n++;
	return mk_out_undo(call, conn, &rows,
			   &(struct mk_error){.code = ECANCELED, .text = text}, false);
}

/* First looked for, then undone: that changes what is looked at. */
static int write_discard(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	struct giving *giving = arg;
	_cleanup_outs_ struct mk_outs all = {};
	int r = each_group(call, conn, giving->path, add_group, &all);

	if (r == -ENOMEM)
		return mk_fail(call, ENOMEM, "out of memory for what is given up");
	for (size_t i = all.n; r == 0 && i-- > 0;) /* the newest is on top */
		r = give_up(call, conn, &all.v[i], giving);
	return r;
}

int mk_unsent_discard(struct mk_call *call, struct mantik *m, const char *path)
{
	_cleanup_free_ char *who = mk_domain_who(call);
	struct giving giving = {.path = path, .who = who};
	int r = mk_domain_write(call, m, MK_DURABLE, write_discard, &giving);

	for (size_t i = 0; r == 0 && i < giving.files.n; i++)
		mk_upload_forget(m, giving.files.v[i]);
	mk_list_free(&giving.files);
	if (r == 0 && !giving.n)
		return mk_fail(call, ENOENT, "%s: nothing of it waits to be sent", path);
	return r < 0 ? r : giving.n;
}
