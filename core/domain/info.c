/* SPDX-License-Identifier: Apache-2.0 */
/*
 * info.yaml and info.json: one table of fields, written two ways, and behind them what a run that
 * was logged through an API has more: the run it is nested in, those nested in it, its datasets.
 */
#include <mantik/run.h>

#include <errno.h>
#include <stddef.h>
#include <stdio.h>

#include "base/doc.h"
#include "domain/outbox/outbox.h"

enum type { TEXT, UID, STATUS, TIME, EXIT, SIGNAL, BOOL };

static const struct field {
	const char *name;
	enum type type;
	size_t offset;
} fields[] = {
#define FIELD(name_, type_, member)                           \
	{                                                     \
		name_, type_, offsetof(struct mk_run, member) \
	}
	FIELD("status", STATUS, status),
	FIELD("reason", TEXT, reason),
	FIELD("as_of", TIME, as_of),
	FIELD("id", UID, uid),
	FIELD("name", TEXT, name),
	FIELD("run", TEXT, dir),
	FIELD("rerun_of", TEXT, rerun_of),
	FIELD("project", TEXT, project),
	FIELD("experiment", TEXT, experiment),
	FIELD("site", TEXT, site),
	FIELD("job_id", TEXT, job_id),
	FIELD("raw_status", TEXT, raw_status),
	FIELD("queue", TEXT, queue),
	FIELD("account", TEXT, account),
	FIELD("nodes", TEXT, nodes),
	FIELD("exit_code", EXIT, exit_code),
	FIELD("signal", SIGNAL, signal),
	FIELD("submitted", TIME, submitted),
	FIELD("started", TIME, started),
	FIELD("ended", TIME, ended),
	FIELD("user", TEXT, user),
	FIELD("repository", TEXT, repository),
	FIELD("branch", TEXT, branch),
	FIELD("commit", TEXT, commit),
	FIELD("dirty", BOOL, dirty),
	FIELD("mlproject", TEXT, mlproject),
	FIELD("entry_point", TEXT, entry_point),
	FIELD("environment", TEXT, environment),
	FIELD("infrastructure", TEXT, infrastructure),
	FIELD("workdir", TEXT, workdir),
	FIELD("cancel_asked", BOOL, cancel_asked),
	FIELD("deleted", BOOL, deleted),
#undef FIELD
};

/* The value as text; NULL: absent. *ret_plain: a number or a truth value, not a string. */
static const char *value_of(const struct mk_run *run, const struct field *field, char out[32],
			    bool *ret_plain)
{
	const char *at = (const char *)run + field->offset;
	int number;

	*ret_plain = false;
	switch (field->type) {
	case TEXT:
		return *(char *const *)at;
	case UID:
		return at;
	case STATUS:
		return mk_status_name(*(const enum mk_status *)at);
	case TIME:
		mk_time_text(*(const int64_t *)at, true, out);
		return *out ? out : NULL;
	case BOOL:
		*ret_plain = true;
		return *(const bool *)at ? "true" : "false";
	case EXIT:
	case SIGNAL:
		*ret_plain = true;
		number = *(const int *)at;
		if (field->type == EXIT ? number < 0 : number == 0)
			return NULL;
		(void)snprintf(out, 32, "%d", number);
		return out;
	}
	return NULL;
}

static void put_json(struct mk_buf *ret, const char *name, const char *value, bool plain,
		     bool first)
{
	(void)mk_buf_printf(ret, "%s  \"%s\": ", first ? "" : ",\n", name);
	if (!value)
		(void)mk_buf_puts(ret, "null");
	else if (plain)
		(void)mk_buf_puts(ret, value);
	else
		mk_json_string(ret, value);
}

static void put_yaml(struct mk_buf *ret, const char *name, const char *value, bool plain)
{
	(void)mk_buf_printf(ret, "%s:", name);
	if (value) {
		(void)mk_buf_putc(ret, ' ');
		mk_yaml_scalar(ret, value, plain);
	}
	(void)mk_buf_putc(ret, '\n');
}

/* --- more ---------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	size_t offset;
} dataset_fields[] = {
	{"name", offsetof(struct mk_dataset, name)},
	{"digest", offsetof(struct mk_dataset, digest)},
	{"source", offsetof(struct mk_dataset, source)},
	{"context", offsetof(struct mk_dataset, context)},
};
enum { N_DATASET_FIELDS = sizeof(dataset_fields) / sizeof(*dataset_fields) };

static const char *dataset_value(const struct mk_dataset *dataset, size_t field)
{
	return *(char *const *)((const char *)dataset + dataset_fields[field].offset);
}

static void json_more(const struct mk_run_more *more, struct mk_buf *ret)
{
	char unsent[32];

	(void)snprintf(unsent, sizeof(unsent), "%lld", (long long)more->unsent);
	put_json(ret, "unsent", unsent, true, false);
	put_json(ret, "parent", more->parent, false, false);
	(void)mk_buf_puts(ret, ",\n  \"children\": [");
	for (size_t i = 0; i < more->children.n; i++) {
		(void)mk_buf_puts(ret, i ? ", " : "");
		mk_json_string(ret, more->children.v[i]);
	}
	(void)mk_buf_puts(ret, "],\n  \"datasets\": [");
	for (size_t i = 0; i < more->n_datasets; i++) {
		(void)mk_buf_puts(ret, i ? ", {" : "{");
		for (size_t f = 0; f < N_DATASET_FIELDS; f++) {
			(void)mk_buf_printf(ret, "%s\"%s\": ", f ? ", " : "",
					    dataset_fields[f].name);
			mk_json_string(ret, dataset_value(&more->datasets[i], f));
		}
		(void)mk_buf_putc(ret, '}');
	}
	(void)mk_buf_putc(ret, ']');
}

static void yaml_more(const struct mk_run_more *more, struct mk_buf *ret)
{
	(void)mk_buf_printf(ret, "unsent: %lld\n", (long long)more->unsent);
	put_yaml(ret, "parent", more->parent, false);
	(void)mk_buf_puts(ret, more->children.n ? "children:\n" : "children: []\n");
	for (size_t i = 0; i < more->children.n; i++) {
		(void)mk_buf_puts(ret, "  - ");
		mk_yaml_scalar(ret, more->children.v[i], false);
		(void)mk_buf_putc(ret, '\n');
	}
	(void)mk_buf_puts(ret, more->n_datasets ? "datasets:\n" : "datasets: []\n");
	for (size_t i = 0; i < more->n_datasets; i++) {
		for (size_t f = 0; f < N_DATASET_FIELDS; f++) {
			const char *value = dataset_value(&more->datasets[i], f);

			(void)mk_buf_puts(ret, f ? "    " : "  - ");
			put_yaml(ret, dataset_fields[f].name, *value ? value : NULL, false);
		}
	}
}

void mk_run_more_free(struct mk_run_more *more)
{
	free(more->parent);
	free(more->waits);
	mk_list_free(&more->children);
	for (size_t i = 0; i < more->n_datasets; i++)
		for (size_t f = 0; f < N_DATASET_FIELDS; f++)
			free((char *)dataset_value(&more->datasets[i], f));
	free(more->datasets);
	*more = (struct mk_run_more){};
}

static int get_parent(struct mk_call *call, struct mantik *m, const struct mk_run *run,
		      struct mk_run_more *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	static const char of_store[] = "SELECT dir FROM runs WHERE project_id = ?1"
				       " AND remote_id = ?2",
			  of_ours[] = "SELECT dir FROM runs WHERE project_id = ?1 AND uid = ?2";
	int r = mk_db_read(call, m->db, run->remote_id ? of_store : of_ours, &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, run->project_id);
	mk_bind_text(stmt, 2, run->parent);
	r = mk_step(call, stmt);
	if (r >= 0)
		ret->parent = r > 0 ? mk_col_dup(stmt, 0) : mk_strdup(run->parent);
	return r < 0 ? r : 0;
}

static int get_children(struct mk_call *call, struct mantik *m, const struct mk_run *run,
			struct mk_run_more *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db,
			   "SELECT dir FROM runs WHERE project_id = ?1 AND parent = ?2"
			   " AND deleted = 0 ORDER BY started, dir",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, run->project_id);
	mk_bind_text(stmt, 2, run->remote_id ? run->remote_id : run->uid);
	while ((r = mk_step(call, stmt)) > 0) {
		r = mk_list_add(&ret->children, mk_col_text(stmt, 0));
		if (r < 0)
			return mk_fail(call, -r, "%s: too many runs are nested in it", run->dir);
	}
	return r;
}

static int get_datasets(struct mk_call *call, struct mantik *m, const struct mk_run *run,
			struct mk_run_more *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_db_read(call, m->db,
			   "SELECT name, digest, source, context FROM run_datasets"
			   " WHERE run_id = ?1 ORDER BY seq",
			   &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, run->id);
	while ((r = mk_step(call, stmt)) > 0) {
		struct mk_dataset *v =
			realloc(ret->datasets, (ret->n_datasets + 1) * sizeof(*v));

		if (!v)
			return mk_fail(call, ENOMEM, "out of memory for the datasets of a run");
		ret->datasets = v;
		v[ret->n_datasets++] = (struct mk_dataset){
			.name = mk_col_dup(stmt, 0),
			.digest = mk_col_dup(stmt, 1),
			.source = mk_col_dup(stmt, 2),
			.context = mk_col_dup(stmt, 3),
		};
	}
	return r;
}

int mk_run_more(struct mk_call *call, struct mantik *m, const struct mk_run *run,
		struct mk_run_more *ret)
{
	_cleanup_(mk_run_more_free) struct mk_run_more more = {};
	int r = run->parent ? get_parent(call, m, run, &more) : 0;

	if (r == 0)
		r = get_children(call, m, run, &more);
	if (r == 0)
		r = get_datasets(call, m, run, &more);
	if (r == 0 && run->remote_id)
		r = mk_outbox_count(call, m, run->id, &more.unsent);
	if (r == 0)
		r = mk_run_waits(call, m, run, &more.waits);
	if (more.unsent) /* should mantikd have been killed */
		mantik_keep(m);
	if (r < 0)
		return r;
	*ret = more;
	more = (struct mk_run_more){};
	return 0;
}

/* --- the texts ----------------------------------------------------------------------------- */

int mk_run_info(const struct mk_run *run, const struct mk_run_more *more, bool json,
		struct mk_buf *ret)
{
	struct mk_run seen = *run; /* owns nothing */

	if (more && more->waits)
		seen.reason = more->waits;
	if (json)
		(void)mk_buf_puts(ret, "{\n");
	for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++) {
		char out[32];
		bool plain;
		const char *value = value_of(&seen, &fields[i], out, &plain);

		if (json)
			put_json(ret, fields[i].name, value, plain, i == 0);
		else
			put_yaml(ret, fields[i].name, value, plain);
	}
	/* A job has them only if it logged through an API. */
	if (more && (run->remote_id || run->api || more->parent || more->children.n ||
		     more->n_datasets))
		(json ? json_more : yaml_more)(more, ret);
	if (json)
		(void)mk_buf_puts(ret, "\n}\n");
	return mk_buf_check(ret);
}
