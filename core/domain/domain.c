/* SPDX-License-Identifier: Apache-2.0 */
/* What all nouns share: see domain.h. */
#include "domain/domain.h"

#include <errno.h>
#include <pthread.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/utf8.h"

int mk_domain_write(struct mk_call *call, struct mantik *m, enum mk_durable durable, mk_db_fn *fn,
		    void *arg)
{
	if (m->read_only)
		return mk_fail(call, EROFS, "the platform is open for reading only%s%s",
			       m->read_only_why ? ": " : "",
			       m->read_only_why ? m->read_only_why : "");
	return mk_db_write(call, m->db, durable, fn, arg);
}

int mk_domain_name(struct mk_call *call, const char *what, const char *name)
{
	size_t len = strlen(name);

	if (len == 0)
		return mk_fail(call, EINVAL, "%s: the name is empty", what);
	if (len > 255)
		return mk_fail(call, EINVAL, "%s: the name has %zu bytes, at most 255 are possible",
			       what, len);
	if (mk_utf8_bad(name, len) != len)
		return mk_fail(call, EINVAL, "%s: the name is not UTF-8", what);
	for (const char *s = name; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			return mk_fail(call, EINVAL,
				       "%s \"%s\": the name holds a control character", what, name);
	return 0;
}

static char user_name[256];

static void find_user(void)
{
	struct passwd entry, *found = NULL;
	char *buf = mk_alloc(16384);

	if (getpwuid_r(geteuid(), &entry, buf, 16384, &found) == 0 && found && *found->pw_name)
		(void)snprintf(user_name, sizeof(user_name), "%s", found->pw_name);
	else
		(void)snprintf(user_name, sizeof(user_name), "%d", (int)geteuid());
	free(buf);
}

const char *mk_domain_user(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, find_user);
	return user_name;
}

char *mk_domain_who(const struct mk_call *call)
{
	_cleanup_buf_ struct mk_buf who = MK_BUF(1024);
	char host[256] = "";

	(void)gethostname(host, sizeof(host) - 1);
	if (call->uid == geteuid())
		(void)mk_buf_puts(&who, mk_domain_user());
	else
		(void)mk_buf_printf(&who, "user %d", (int)call->uid);
	(void)mk_buf_printf(&who, "@%s", host);
	if (call->pid)
		(void)mk_buf_printf(&who, " (pid %d)", (int)(call->tgid ? call->tgid : call->pid));
	return mk_buf_steal(&who);
}

int mk_domain_uid(struct mk_call *call, char out[33])
{
	static const char digits[] = "0123456789abcdef";
	unsigned char bytes[16];

	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		return mk_fail(call, EIO, "no random number for a run: %s", strerror(errno));
	for (size_t i = 0; i < 16; i++) {
		out[2 * i] = digits[bytes[i] >> 4];
		out[2 * i + 1] = digits[bytes[i] & 15];
	}
	out[32] = 0;
	return 0;
}

int mk_domain_run(struct mk_call *call, struct mk_conn *conn, const char *sql, int64_t a, int64_t b)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn, sql, &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, a);
	if (strstr(sql, "?2"))
		mk_bind_int(stmt, 2, b);
	return mk_exec(call, stmt);
}

int mk_domain_row(struct mk_call *call, struct mk_conn *conn, const char *sql, int64_t id,
		  struct mk_stmt **ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn, sql, &stmt);

	if (r < 0)
		return r;
	mk_bind_int(stmt, 1, id);
	r = mk_step(call, stmt);
	if (r > 0)
		*ret = mk_steal(&stmt);
	return r;
}

int mk_domain_need(struct mk_call *call, struct mk_conn *conn, const char *sql, const char *what,
		   int64_t id, struct mk_stmt **ret)
{
	int r = mk_domain_row(call, conn, sql, id, ret);

	if (r == 0)
		return mk_fail(call, ENOENT, "%s %lld: there is none", what, (long long)id);
	return r < 0 ? r : 0;
}

int mk_domain_read(struct mk_call *call, struct mantik *m, const char *sql, const char *what,
		   int64_t id, struct mk_stmt **ret)
{
	struct mk_conn *conn;
	int r = mk_db_reader(call, m->db, &conn);

	return r < 0 ? r : mk_domain_need(call, conn, sql, what, id, ret);
}

int mk_domain_int(struct mk_call *call, struct mk_conn *conn, const char *sql, int64_t a, int64_t b,
		  int64_t *ret)
{
	_cleanup_stmt_ struct mk_stmt *stmt = NULL;
	int r = mk_prepare(call, conn, sql, &stmt);

	if (r < 0)
		return r;
	if (strstr(sql, "?1"))
		mk_bind_int(stmt, 1, a);
	if (strstr(sql, "?2"))
		mk_bind_int(stmt, 2, b);
	r = mk_step(call, stmt);
	if (r > 0)
		*ret = mk_col_int(stmt, 0);
	return r;
}

int mk_run_touch(struct mk_call *call, struct mk_conn *conn, int64_t run_id, enum mk_touch touch)
{
	static const char *const row[] = {
		[MK_TOUCH_ROW] = "UPDATE runs SET changed = max(changed + 1, ?2),"
				 " generation = generation + 1 WHERE id = ?1",
		[MK_TOUCH_LOGGED] = "UPDATE runs SET changed = max(changed + 1, ?2) WHERE id = ?1",
	};
	static const char *const tables[] = {
		"UPDATE projects SET runs_generation = max(runs_generation + 1, ?2)"
		" WHERE id = (SELECT project_id FROM runs WHERE id = ?1)",
		"UPDATE experiments SET runs_generation = max(runs_generation + 1, ?2)"
		" WHERE id = (SELECT experiment_id FROM runs WHERE id = ?1)",
	};
	int64_t now = mk_now_real();
	int r = mk_domain_run(call, conn, row[touch], run_id, now);

	for (size_t i = 0; r == 0 && i < 2; i++)
		r = mk_domain_run(call, conn, tables[i], run_id, now);
	return r < 0 ? r : mk_db_changed(call, conn, "run", run_id);
}

int mk_project_touch(struct mk_call *call, struct mk_conn *conn, int64_t id, bool tables)
{
	static const char *const sql[] = {
		"UPDATE projects SET changed = max(changed + 1, ?2) WHERE id = ?1",
		"UPDATE projects SET changed = max(changed + 1, ?2),"
		" runs_generation = max(runs_generation + 1, ?2) WHERE id = ?1",
	};
	int r = mk_domain_run(call, conn, sql[tables], id, mk_now_real());

	return r < 0 ? r : mk_db_changed(call, conn, "project", id);
}

int mk_experiment_touch(struct mk_call *call, struct mk_conn *conn, int64_t id, bool tables)
{
	static const char *const sql[] = {
		"UPDATE experiments SET changed = max(changed + 1, ?2) WHERE id = ?1",
		"UPDATE experiments SET changed = max(changed + 1, ?2),"
		" runs_generation = max(runs_generation + 1, ?2) WHERE id = ?1",
	};
	int r = mk_domain_run(call, conn, sql[tables], id, mk_now_real());

	return r < 0 ? r : mk_db_changed(call, conn, "experiment", id);
}
