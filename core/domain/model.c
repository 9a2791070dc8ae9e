/* SPDX-License-Identifier: Apache-2.0 */
/* Models and their versions, as the mirror has them (index/models.c brings it up to date). */
#include <mantik/model.h>

#include <errno.h>
#include <string.h>

#include "base/doc.h"
#include "domain/domain.h"
#include "domain/index/index.h"
#include "domain/logged.h"
#include "domain/outbox/model_out.h"

/* --- models -------------------------------------------------------------------------------- */

#define MODEL "SELECT id, name, description, changed FROM models "

void mk_model_free(struct mk_model *model)
{
	free(model->name);
	free(model->description);
	*model = (struct mk_model){};
}

static void copy_model(struct mk_stmt *stmt, struct mk_model *ret)
{
	*ret = (struct mk_model){
		.id = mk_col_int(stmt, 0),
		.name = mk_col_dup(stmt, 1),
		.description = mk_col_dup(stmt, 2),
		.changed = mk_col_int(stmt, 3),
	};
}

int mk_model_list(struct mk_call *call, struct mantik *m, int64_t project_id, mk_model_emit *emit,
		  void *arg)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_index_models(call, m, project_id);

	if (r == 0)
		r = mk_db_read(call, m->db,
			       MODEL "WHERE project_id = ?1 AND gone = 0 ORDER BY name", &stmt);
	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, project_id);
	while ((r = mk_step(call, stmt)) > 0) {
		_cleanup_(mk_model_free) struct mk_model model = {};

		copy_model(stmt, &model);
		r = emit(arg, &model);
		if (r)
			return r;
	}
	return r;
}

int mk_models_any(struct mk_call *call, struct mantik *m, int64_t project_id)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db,
			   "SELECT 1 FROM projects WHERE id = ?1 AND (connection IS NOT NULL OR EXISTS"
			   " (SELECT 1 FROM models WHERE project_id = ?1 AND gone = 0))",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, project_id);
	return mk_step(call, stmt);
}

int mk_model_find(struct mk_call *call, struct mantik *m, int64_t project_id, const char *name,
		  struct mk_model *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_index_models(call, m, project_id);

	if (r == 0)
		r = mk_db_read(call, m->db,
			       MODEL "WHERE project_id = ?1 AND name = ?2 AND gone = 0", &stmt);
	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, project_id);
	mk_bind_text(stmt, 2, name);
	r = mk_step(call, stmt);
	if (r <= 0)
		return r < 0 ? r : mk_fail(call, ENOENT, "model \"%s\": there is none", name);
	copy_model(stmt, ret);
	return 0;
}

int mk_model_get(struct mk_call *call, struct mantik *m, int64_t id, struct mk_model *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_domain_read(call, m, MODEL "WHERE id = ?1", "model", id, &stmt);

	if (r == 0)
		copy_model(stmt, ret);
	return r;
}

/* --- versions ------------------------------------------------------------------------------ */

/* The aliases of a store's stand in its row, those of ours are rows. */
#define ALIASES(v)                                                                             \
	v ".aliases || ifnull((SELECT group_concat(alias, char(10)) FROM (SELECT alias FROM"   \
	" model_aliases WHERE version_id = " v ".id ORDER BY alias)), '')"
#define VERSION                                                        \
	"SELECT id, version, changed, " ALIASES("model_versions") " FROM" \
	" model_versions "

void mk_version_free(struct mk_version *version)
{
	free(version->version);
	mk_list_free(&version->aliases);
	*version = (struct mk_version){};
}

int mk_lines(struct mk_call *call, const char *text, struct mk_list *ret)
{
	int r = 0;

	for (const char *s = text; *s && r == 0;) {
		size_t len = strcspn(s, "\n");

		r = mk_list_add_n(ret, s, len);
		s += len + (s[len] == '\n');
	}
	return r < 0 ? mk_fail(call, -r, "out of memory for the aliases of a version") : 0;
}

static int copy_version(struct mk_call *call, struct mk_stmt *stmt, struct mk_version *ret)
{
	int r;

	*ret = (struct mk_version){
		.id = mk_col_int(stmt, 0),
		.version = mk_col_dup(stmt, 1),
		.changed = mk_col_int(stmt, 2),
	};
	r = mk_lines(call, mk_col_text(stmt, 3), &ret->aliases);
	if (r < 0)
		mk_version_free(ret);
	return r;
}

int mk_version_list(struct mk_call *call, struct mantik *m, int64_t model_id,
		    mk_version_emit *emit, void *arg)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_index_versions(call, m, model_id);

	if (r == 0)
		r = mk_db_read(call, m->db,
			       VERSION "WHERE model_id = ?1 AND gone = 0 ORDER BY id", &stmt);
	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, model_id);
	while ((r = mk_step(call, stmt)) > 0) {
		_cleanup_(mk_version_free) struct mk_version version = {};

		r = copy_version(call, stmt, &version);
		if (r == 0)
			r = emit(arg, &version);
		if (r)
			return r;
	}
	return r;
}

int mk_version_find(struct mk_call *call, struct mantik *m, int64_t model_id, const char *version,
		    struct mk_version *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_index_versions(call, m, model_id);

	if (r == 0)
		r = mk_db_read(call, m->db,
			       VERSION "WHERE model_id = ?1 AND version = ?2 AND gone = 0", &stmt);
	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, model_id);
	mk_bind_text(stmt, 2, version);
	r = mk_step(call, stmt);
	if (r <= 0)
		return r < 0 ? r : mk_fail(call, ENOENT, "version \"%s\": there is none", version);
	return copy_version(call, stmt, ret);
}

int mk_version_get(struct mk_call *call, struct mantik *m, int64_t id, struct mk_version *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_domain_read(call, m, VERSION "WHERE id = ?1", "version", id, &stmt);

	return r < 0 ? r : copy_version(call, stmt, ret);
}

/* --- model.yaml ---------------------------------------------------------------------------- */

static void put_line(struct mk_buf *ret, const char *key, const char *value)
{
	(void)mk_buf_printf(ret, "%s:", key);
	if (value && *value) {
		(void)mk_buf_putc(ret, ' ');
		mk_yaml_scalar(ret, value, false);
	}
	(void)mk_buf_putc(ret, '\n');
}

static void put_time(struct mk_buf *ret, const char *key, int64_t time)
{
	char text[32];

	mk_time_text(time, true, text);
	put_line(ret, key, text);
}

/* The aliases are one a line. */
static void put_aliases(struct mk_buf *ret, const char *aliases)
{
	(void)mk_buf_puts(ret, "aliases: [");
	for (const char *s = aliases; *s;) {
		size_t len = strcspn(s, "\n");
		_cleanup_free_ char *alias = mk_strndup(s, len);

		if (s != aliases)
			(void)mk_buf_puts(ret, ", ");
		mk_yaml_scalar(ret, alias, false);
		s += len + (s[len] == '\n');
	}
	(void)mk_buf_puts(ret, "]\n");
}

static void put_tags(struct mk_buf *ret, const char *tags, size_t len)
{
	const char *end = tags + len;

	(void)mk_buf_puts(ret, len ? "tags:\n" : "tags: {}\n");
	while (tags < end) {
		const char *value = tags + strlen(tags) + 1;

		(void)mk_buf_puts(ret, "  ");
		mk_yaml_scalar(ret, tags, false);
		(void)mk_buf_puts(ret, ": ");
		mk_yaml_scalar(ret, value, false);
		(void)mk_buf_putc(ret, '\n');
		tags = value + strlen(value) + 1;
	}
}

/* Those of a version of ours, which are rows, as a store's are in theirs: key NUL value NUL. */
static int own_tags(struct mk_call *call, struct mantik *m, int64_t id, struct mk_buf *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db,
			   "SELECT key, value FROM version_tags WHERE version_id = ?1 ORDER BY key",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	while ((r = mk_step(call, stmt)) > 0)
		for (int i = 0; i < 2; i++)
			(void)mk_buf_put(ret, mk_col_text(stmt, i),
					 strlen(mk_col_text(stmt, i)) + 1);
	return r < 0 ? r : mk_buf_check(ret) < 0 ? mk_fail(call, EFBIG, "too many tags") : 0;
}

/* The last values of the run it is of, when that is mirrored. */
static int put_metrics(struct mk_call *call, struct mantik *m, int64_t run_id, struct mk_buf *ret)
{
	_cleanup_(mk_metrics_free) struct mk_metrics metrics = {};
	int r = mk_run_metrics(call, m, run_id, &metrics);

	if (r < 0)
		return r;
	(void)mk_buf_puts(ret, metrics.n ? "metrics:\n" : "metrics: {}\n");
	for (size_t i = 0; i < metrics.n; i++) {
		char value[32];

		(void)mk_double_put(metrics.v[i].last.value, value);
		(void)mk_buf_puts(ret, "  ");
		mk_yaml_scalar(ret, metrics.v[i].key, false);
		(void)mk_buf_printf(ret, ": %s\n", value);
	}
	return 0;
}

int mk_version_yaml(struct mk_call *call, struct mantik *m, int64_t id, struct mk_buf *ret)
{
	static const char sql[] =
		"SELECT o.name, o.description, v.version, v.run_id, v.stage, v.status,"
		" v.description, v.source, " ALIASES("v") ", v.tags, v.created, v.changed, r.dir,"
		" r.id FROM model_versions v JOIN models o ON o.id = v.model_id"
		" LEFT JOIN runs r ON r.id = ifnull((SELECT id FROM runs WHERE project_id ="
		" o.project_id AND remote_id = v.run_id), (SELECT n.id FROM runs n JOIN projects p"
		" ON p.id = n.project_id WHERE n.uid = v.run_id AND p.connection IS NULL))"
		" WHERE v.id = ?1";
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	size_t tags_len;
	int r = mk_domain_read(call, m, sql, "version", id, &stmt);

	if (r < 0)
		return r;
	put_line(ret, "model", mk_col_text(stmt, 0));
	put_line(ret, "version", mk_col_text(stmt, 2));
	put_line(ret, "run", mk_col_text(stmt, 12) ? mk_col_text(stmt, 12) : mk_col_text(stmt, 3));
	put_line(ret, "stage", mk_col_text(stmt, 4));
	put_aliases(ret, mk_col_text(stmt, 8));
	put_line(ret, "status", mk_col_text(stmt, 5));
	put_line(ret, "description", mk_col_text(stmt, 6));
	put_line(ret, "model_description", mk_col_text(stmt, 1));
	put_line(ret, "source", mk_col_text(stmt, 7));
	put_time(ret, "created", mk_col_int(stmt, 10));
	put_time(ret, "changed", mk_col_int(stmt, 11));

	const char *tags = mk_col_blob(stmt, 9, &tags_len);
	_cleanup_buf_ struct mk_buf ours = MK_BUF(MK_LIMIT_TABLE);

	r = own_tags(call, m, id, &ours);
	if (r < 0)
		return r;
	put_tags(ret, tags_len ? tags : mk_buf_text(&ours), tags_len ? tags_len : ours.len);
	r = mk_col_int(stmt, 13) ? put_metrics(call, m, mk_col_int(stmt, 13), ret) : 0;
	if (r < 0)
		return r;
	return mk_buf_check(ret) < 0 ? mk_fail(call, EFBIG, "model.yaml is too long") : 0;
}

/* --- logged by a run ----------------------------------------------------------------------- */

enum { SHORT_ID = 10 }; /* m- and 8 digits */

/* Ids and, beside them, what they are called. One of ours is there from the moment it is made, not
 * only when the run says that it wrote it. */
static int load(struct mk_call *call, struct mantik *m, int64_t run_id, int64_t *ret_project,
		struct mk_list *ids, struct mk_list *names)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db,
			   "SELECT r.project_id, o.model_id, ifnull(l.name, '') FROM"
			   " (SELECT run_id, model_id FROM run_models WHERE run_id = ?1 UNION"
			   " SELECT n.id, d.model_id FROM runs n JOIN logged_models d"
			   " ON d.source_run = n.uid AND d.experiment_id IS NOT NULL"
			   " WHERE n.id = ?1 AND n.remote_id IS NULL) o"
			   " JOIN runs r ON r.id = o.run_id LEFT JOIN logged_models l"
			   " ON l.project_id = r.project_id AND l.model_id = o.model_id"
			   " WHERE r.remote_id IS NOT NULL"
			   " OR (l.experiment_id IS NOT NULL AND l.deleted = 0)"
			   " ORDER BY ifnull(l.name, o.model_id), o.model_id",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, run_id);
	while ((r = mk_step(call, stmt)) > 0) {
		*ret_project = mk_col_int(stmt, 0);
		r = mk_list_add(ids, mk_col_text(stmt, 1));
		if (r == 0)
			r = mk_list_add(names, mk_col_text(stmt, 2));
		if (r < 0)
			return mk_fail(call, -r, "out of memory for the models of a run");
	}
	return r;
}

int mk_run_models_any(struct mk_call *call, struct mantik *m, int64_t run_id)
{
	_cleanup_list_ struct mk_list ids = {}, names = {};
	int64_t project;
	int r = load(call, m, run_id, &project, &ids, &names);

	return r < 0 ? r : ids.n > 0;
}

/* Names stand beside each other when they are sorted. */
static bool is_twin(const struct mk_list *names, size_t i)
{
	return (i > 0 && strcmp(names->v[i - 1], names->v[i]) == 0) ||
	       (i + 1 < names->n && strcmp(names->v[i + 1], names->v[i]) == 0);
}

int mk_run_models(struct mk_call *call, struct mantik *m, int64_t run_id, struct mk_pairs *ret)
{
	_cleanup_list_ struct mk_list ids = {}, names = {}, again = {}, known = {};
	int64_t project = 0;
	int r = load(call, m, run_id, &project, &ids, &names);

	for (size_t i = 0; r == 0 && i < ids.n; i++)
		r = *names.v[i] ? 0 : mk_index_logged(call, m, project, ids.v[i]);
	if (r == 0)
		r = load(call, m, run_id, &project, &again, &known);
	for (size_t i = 0; r == 0 && i < again.n; i++) {
		_cleanup_buf_ struct mk_buf name = MK_BUF(64 << 10);
		const char *called = *known.v[i] ? known.v[i] : again.v[i];

		(void)mk_buf_puts(&name, called);
		if (is_twin(&known, i))
			(void)mk_buf_printf(&name, ".%.*s", SHORT_ID, again.v[i]);
		r = mk_buf_check(&name);
		if (r == 0)
			r = mk_pairs_set(ret, mk_buf_text(&name), again.v[i]);
		if (r < 0)
			return mk_fail(call, -r, "out of memory for the models of a run");
	}
	return r;
}
