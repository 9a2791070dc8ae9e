/* SPDX-License-Identifier: Apache-2.0 */
/* A platform with one run of a store that can be written to (writable_store.h), and what a test asks of
 * it: what is shown, what waits, what its writer is told. */
#ifndef TEST_OUTBOX_H
#define TEST_OUTBOX_H

#include <stdio.h>
#include <string.h>

#include "domain/index/index.h"
#include "domain/outbox/outbox.h"
#include "domain/outbox/send.h"
#include "runs.h"
#include "writable_store.h"

#include <mantik/error.h>

static inline int age(struct mk_call *call, struct mk_conn *conn, void *arg)
{
	static const char *const sql[] = {
		"UPDATE marks SET time = time - 60000000000 WHERE ?1 = 0",
		"UPDATE runs SET as_of = as_of - 60000000000, written = written - 60000000000"
		" WHERE ?1 = 0",
		"UPDATE outbox SET try_at = 0, created = created - 60000000000,"
		" asked = max(0, asked - 60000000000), wanted = max(0, wanted - 60000000000)"
		" WHERE ?1 = 0",
	};
	int r = 0;

	(void)arg;
	for (size_t i = 0; r == 0 && i < 3; i++)
		r = mk_domain_run(call, conn, sql[i], 0, 0);
	return r;
}

/* A minute goes by. */
static inline void later(struct platform *p)
{
	CHECK_INT(mk_db_write(&p->call, p->m->db, MK_KILLSAFE, age, NULL), 0);
}

static inline int64_t first_run(struct platform *p, struct mk_tracking *t)
{
	int64_t id = 0;
	int project;

	(void)snprintf(t->names[t->n_names++], 64, "rain");
	(void)set(t->tags, &t->n_tags, "team", "a", false);
	if (mk_index_add(&p->call, p->m, "fake", the_ops, t) < 0)
		return 0;
	project = mk_db_write(&p->call, p->m->db, MK_KILLSAFE, store_project_insert, NULL);
	CHECK_INT(mk_run_find(&p->call, p->m, project, "train.00000000", false, &id), 0);
	return id;
}

#define STORE(p, t)                                                  \
	PLATFORM(p);                                                 \
	struct mk_tracking *t = calloc(1, sizeof(*t));               \
	_cleanup_free_ void *free_##t = t;                           \
	int64_t run = first_run(&p, t);                              \
	const int64_t project = 1;                                   \
	(void)project;                                               \
	(void)free_##t;                                              \
	NEED(run > 0)

static inline int send(struct platform *p)
{
	_cleanup_call_ struct mk_call call;
	struct mk_out_seen seen = {};
	int64_t due;

	mk_call_init(&call);
	call.may_wait = MK_ANY;
	return mk_outbox_send(&call, p->m, &(struct mk_out_queue){1, false}, &seen, &due);
}

static inline int64_t unsent(struct platform *p, int64_t run)
{
	int64_t n = -1;

	CHECK_INT(mk_outbox_count(&p->call, p->m, run, &n), 0);
	return n;
}

static inline const char *value(struct platform *p, int64_t run, enum mk_value_kind kind, const char *key)
{
	static char text[100];
	_cleanup_buf_ struct mk_buf buf = MK_BUF(1000);
	int r = mk_run_value(&p->call, p->m, run, kind, key, &buf);

	mk_error_clear(&p->call);
	(void)snprintf(text, sizeof(text), "%s", r < 0 ? "(none)" : mk_buf_text(&buf));
	return text;
}

/* metrics/KEY without the times. */
static inline char *history(struct platform *p, int64_t run, const char *key)
{
	_cleanup_(mk_metric_free) struct mk_metric metric = {};
	_cleanup_buf_ struct mk_buf text = MK_BUF(1 << 20), out = MK_BUF(1 << 20);
	int r = mk_run_metric(&p->call, p->m, run, key, &metric);

	if (r == 0)
		r = mk_run_history(&p->call, p->m, run, key, metric.bytes, &text);
	if (r < 0)
		return mk_strdup(strerrorname_np(-r));
	CHECK_INT(text.len, metric.bytes);

	char *rest = (char *)mk_buf_text(&text);
	int64_t lines = 0;

	for (char *line; (line = strsep(&rest, "\n")) && *line; lines++) {
		char *second = strchr(strchr(line, '\t') + 1, '\t');

		(void)mk_buf_printf(&out, "%.*s ", (int)(second - line), line);
	}
	CHECK_INT(lines, metric.count);
	return mk_strdup(mk_buf_text(&out));
}
#define CHECK_HISTORY(p, run, key, text)                           \
	do {                                                       \
		_cleanup_free_ char *h_ = history(p, run, key);    \
		CHECK_TEXT(h_, text);                              \
	} while (0)

static inline int log_lines(struct platform *p, int64_t run, const char *key, const char *lines)
{
	return mk_run_log_metric(&p->call, p->m, run, key, lines, strlen(lines));
}

/* What the operation would be told. */
static inline int told(struct platform *p)
{
	return mk_outbox_wait(&p->call, p->m);
}

static inline int count_error(void *arg, const struct mk_error_entry *entry)
{
	char *text = arg;

	(void)snprintf(text, 300, "%s %s %s", entry->path, entry->name, entry->text);
	return 0;
}

static inline const char *last_error(struct platform *p)
{
	static char text[300];

	*text = 0;
	CHECK_INT(mk_error_list(&p->call, p->m, NULL, count_error, text), 0);
	return text;
}

#endif
