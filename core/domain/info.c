/* SPDX-License-Identifier: Apache-2.0 */
/* info.yaml and info.json: one table of fields, written two ways. */
#include <mantik/run.h>

#include <stddef.h>
#include <stdio.h>

#include "base/doc.h"

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

int mk_run_info(const struct mk_run *run, bool json, struct mk_buf *ret)
{
	if (json)
		(void)mk_buf_puts(ret, "{\n");
	for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++) {
		char out[32];
		bool plain;
		const char *value = value_of(run, &fields[i], out, &plain);

		if (json)
			put_json(ret, fields[i].name, value, plain, i == 0);
		else
			put_yaml(ret, fields[i].name, value, plain);
	}
	if (json)
		(void)mk_buf_puts(ret, "\n}\n");
	return mk_buf_check(ret);
}
