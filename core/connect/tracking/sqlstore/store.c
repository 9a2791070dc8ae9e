/* SPDX-License-Identifier: Apache-2.0 */
/* See sqlstore.h. */
#include "sqlstore.h"

#include <errno.h>
#include <string.h>

#include "base/file.h"
#include "core.h"

enum { MOST = 512 << 20 }; /* of what is read for one question */

static void close_store(struct mk_tracking *t)
{
	if (!t)
		return;
	mk_foreign_free(t->db);
	mk_local_done(&t->local);
	free(t);
}

struct mk_tracking *mk_sqlstore_at(struct mantik *m, const char *path, mk_local_told *told, void *arg)
{
	struct mk_tracking *t = mk_new(struct mk_tracking);
	_cleanup_free_ char *scratch = mk_strf("%s/foreign", m->cache_dir);

	mk_local_init_at(&t->local, m, path, true, told, arg);
	t->db = mk_foreign_new(path, scratch);
	return t;
}

static int open_store(struct mk_call *call, struct mantik *m, const char *connection,
		      struct mk_tracking **ret)
{
	struct mk_tracking *t = mk_new(struct mk_tracking);
	int r = mk_local_init(call, &t->local, m, connection);

	if (r < 0) {
		free(t);
		return r;
	}

	_cleanup_free_ char *scratch = mk_strf("%s/foreign", m->cache_dir);

	t->db = mk_foreign_new(t->local.path, scratch);
	*ret = t;
	return 0;
}

/* --- one question ---------------------------------------------------------------------------- */

struct question {
	struct mk_tracking *t;
	struct mk_arena *arena;
	mk_sql_fn *fn;
	void *arg;
};

/* 1 there is one, 0 not. column NULL: the table, "": an index of that name. */
static int has(struct mk_call *call, struct mk_conn *conn, const char *table, const char *column)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = column && *column
			? mk_prepare(call, conn, "SELECT 1 FROM pragma_table_info(?1) WHERE name = ?2",
				     &stmt)
			: mk_prepare(call, conn,
				     "SELECT 1 FROM sqlite_schema WHERE name = ?1 AND type = ?2", &stmt);

	if (r < 0)
		return r;
	mk_bind_text(stmt, 1, table);
	mk_bind_text(stmt, 2, !column ? "table" : *column ? column : "index");
	return mk_step(call, stmt);
}

static char *schema_version(struct mk_call *call, struct mk_conn *conn)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;

	if (has(call, conn, "alembic_version", NULL) <= 0 ||
	    mk_prepare(call, conn, "SELECT substr(version_num, 1, 40) FROM alembic_version", &stmt) < 0 ||
	    mk_step(call, stmt) <= 0)
		return mk_strdup("none");
	return mk_col_dup(stmt, 0);
}

static int look(struct mk_call *call, struct mk_conn *conn, struct mk_tracking *t,
		struct mk_sql_schema *ret)
{
	/* What is read without asking first. */
	static const char *const needed[][2] = {
		{"experiments", "lifecycle_stage"}, {"experiments", "last_update_time"},
		{"runs", "name"},		    {"runs", "lifecycle_stage"},
		{"metrics", "is_nan"},		    {"latest_metrics", "step"},
		{"params", "run_uuid"},		    {"tags", "run_uuid"},
		{"experiment_tags", "value"},	    {"registered_models", "description"},
		{"model_versions", "source"},	    {"model_version_tags", "value"},
	};
	const struct {
		const char *table, *column;
		bool *to;
	} wanted[] = {
		{"inputs", NULL, &ret->datasets},
		{"registered_model_aliases", NULL, &ret->aliases},
		{"logged_models", NULL, &ret->logged},
		{"experiments", "workspace", &ret->workspaces},
		{"index_metrics_run_uuid_key_step", "", &ret->step_index},
	};

	for (size_t i = 0; i < sizeof(needed) / sizeof(*needed); i++) {
		int r = has(call, conn, needed[i][0], needed[i][1]);

		if (r == 0) {
			_cleanup_free_ char *version = schema_version(call, conn);

			return mk_fail(call, EOPNOTSUPP,
				       "%s: %s: is no database of MLflow 2.9 to 3.x: it has no %s.%s "
				       "(schema %s); a copy of it can be upgraded: `mlflow db upgrade`",
				       t->local.connection, t->local.path, needed[i][0], needed[i][1],
				       version);
		}
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++) {
		int r = has(call, conn, wanted[i].table, wanted[i].column);

		if (r < 0)
			return r;
		*wanted[i].to = r > 0;
	}
	return 0;
}

static int ask(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	const struct question *q = arg;
	struct mk_sql sql = {
		.call = call,
		.conn = conn,
		.t = q->t,
		.workspace = q->t->local.workspace ? q->t->local.workspace : "default",
		.arena = q->arena,
	};
	int r;

	mk_arena_free(q->arena);
	r = look(call, conn, q->t, &sql.schema);
	if (r == 0)
		r = q->fn(&sql, q->arg);
	return r == -ENOMEM ? mk_fail(call, ENOMEM, "%s: out of memory", q->t->local.connection) : r;
}

int mk_sql_read(struct mk_call *call, struct mk_tracking *t, struct mk_arena *arena, mk_sql_fn *fn,
		void *arg)
{
	struct question q = {t, arena, fn, arg};
	int64_t began = mk_now_mono();
	int r = mk_foreign_read(call, t->db, ask, &q);

	return mk_local_note(call, &t->local, r, began);
}

const char *mk_sql_text(struct mk_sql *sql, struct mk_stmt *stmt, int i)
{
	size_t len;
	const char *text;

	if (mk_col_null(stmt, i))
		return "";
	text = mk_col_text(stmt, i);
	(void)mk_col_blob(stmt, i, &len);
	return text ? mk_local_text(sql->arena, text, len) : "";
}

int64_t mk_sql_time(struct mk_stmt *stmt, int i)
{
	return mk_local_time(mk_col_int(stmt, i));
}

int mk_sql_grow(struct mk_sql *sql, void *items, size_t *n, size_t *cap, size_t size, void *ret)
{
	void *it = mk_arena_grow(sql->arena, items, n, cap, size);

	if (!it)
		return -ENOMEM;
	if (sql->arena->total > MOST)
		return mk_fail(sql->call, EFBIG, "%s: an answer of more than %d MiB",
			       sql->t->local.connection, MOST >> 20);
	memcpy(ret, &it, sizeof(it));
	return 0;
}

int mk_sql_pairs(struct mk_sql *sql, struct mk_stmt *stmt, struct mk_t_pair **ret, size_t *ret_n)
{
	struct mk_t_pair *v = NULL, *pair;
	size_t n = 0, cap = 0;
	int r;

	while ((r = mk_step(sql->call, stmt)) > 0) {
		r = mk_sql_grow(sql, &v, &n, &cap, sizeof(*v), &pair);
		if (r < 0)
			return r;
		pair->key = mk_sql_text(sql, stmt, 0);
		pair->value = mk_sql_text(sql, stmt, 1);
		if (!pair->key || !pair->value)
			return -ENOMEM;
		if (!*pair->key)
			n--;
	}
	*ret = v;
	*ret_n = n;
	return r;
}

const struct mk_tracking_ops mk_tracking_sqlstore = {
	.kind = "mlflow",
	.open = open_store,
	.close = close_store,
	.experiments = mk_sql_experiments,
	.runs = mk_sql_runs,
	.run = mk_sql_run,
	.history = mk_sql_history,
	.tail = mk_sql_tail,
	.files = mk_sql_files,
	.read = mk_sql_bytes,
	.models = mk_sql_models,
	.versions = mk_sql_versions,
	.logged = mk_sql_logged,
};
