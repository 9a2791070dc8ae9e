/* SPDX-License-Identifier: Apache-2.0 */
/* Resources of a backend config, and what of them the site `local` can use (backend.h). */
#include "format/backend_read.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static int64_t unit_seconds(char unit)
{
	switch (unit) {
	case 's':
		return 1;
	case 'm':
		return 60;
	case 'h':
		return 3600;
	case 'd':
		return 86400;
	default:
		return 0;
	}
}

static void put_runtime(struct mk_buf *buf, int64_t seconds)
{
	static const char units[] = "dhms";

	for (const char *unit = units; *unit; unit++) {
		if (seconds % unit_seconds(*unit))
			continue;
		(void)mk_buf_printf(buf, "%" PRId64 "%c", seconds / unit_seconds(*unit), *unit);
		return;
	}
}

static int64_t digits(const char **p)
{
	int64_t value = 0;

	while (**p >= '0' && **p <= '9' && value < INT64_C(10000000000))
		value = value * 10 + *(*p)++ - '0';
	return value;
}

/* `1h30m`, `2-12:00:00`, `12:00:00`, `90:00`: what they mean in s, -1 nothing. */
static int64_t other_runtime(const char *text)
{
	const char *p = text;
	int64_t sum = 0;

	if (!strpbrk(text, ":-")) {
		while (*p >= '0' && *p <= '9') {
			int64_t number = digits(&p);

			while (*p == ' ')
				p++;

			int64_t unit = unit_seconds(*p);

			if (!unit)
				return -1;
			p++;
			while (*p == ' ')
				p++;
			sum += number * unit;
		}
		return *p ? -1 : sum;
	}

	int64_t days = 0, part[3] = {0, 0, 0};
	int n = 0;

	if (strchr(text, '-')) {
		days = digits(&p);
		if (*p++ != '-')
			return -1;
	}
	while (n < 3 && *p >= '0' && *p <= '9') {
		part[n++] = digits(&p);
		if (*p != ':')
			break;
		p++;
	}
	if (*p || n < 2)
		return -1;
	if (n == 2 && !days) /* m:s */
		return part[0] * 60 + part[1];
	return days * 86400 + part[0] * 3600 + part[1] * 60 + part[2];
}

static int read_runtime(struct mk_backend_reader *r, struct mk_doc *resources)
{
	struct mk_doc *value = NULL;
	int e = mk_backend_value(r, resources, "Resources", "Runtime", &value);

	if (e <= 0)
		return e;

	const char *p = value->text;
	int64_t number = digits(&p);

	if (p > value->text && !*p) {
		if (number == 0)
			return 0;
		return fail(r, value,
			    "Resources.Runtime: %s has no unit, write %sm for minutes or %sh for "
			    "hours",
			    value->text, value->text, value->text);
	}

	int64_t unit = p > value->text ? unit_seconds(*p) : 0;

	if (unit && !p[1]) {
		r->backend->runtime = number * unit;
		return 1;
	}

	int64_t seconds = other_runtime(value->text);
	_cleanup_buf_ struct mk_buf text = MK_BUF(64);

	if (seconds <= 0)
		return fail(r, value,
			    "Resources.Runtime: \"%s\" is not a number with one of the "
			    "units s, m, h, d, such as 30m",
			    value->text);
	put_runtime(&text, seconds);
	return fail(r, value, "Resources.Runtime: \"%s\" is not one number with one unit, write %s",
		    value->text, mk_buf_text(&text));
}

static int read_memory(struct mk_backend_reader *r, struct mk_doc *resources)
{
	struct mk_doc *value = NULL;
	int e = mk_backend_value(r, resources, "Resources", "MemoryPerNode", &value);

	if (e <= 0)
		return e;

	const char *p = value->text;

	(void)digits(&p);
	if (*p == '.') {
		p++;
		(void)digits(&p);
	}
	p += strspn(p, " ");
	if (p == value->text || strspn(value->text, "0123456789") == 0)
		p = "?";
	if (*p && strchr("kKMGTP", *p))
		p++;
	if (*p == 'i')
		p++;
	if (*p == 'B')
		p++;
	if (*p)
		return fail(r, value, "Resources.MemoryPerNode: \"%s\" is not a size such as 12GiB",
			    value->text);
	r->backend->memory_per_node = mk_strdup(value->text);
	return 1;
}

int mk_backend_resources(struct mk_backend_reader *r, struct mk_doc *map)
{
	struct mk_backend *b = r->backend;
	const char *level = "Resources";
	const struct {
		const char *key;
		char **text;
		int64_t *number;
		int64_t min;
	} fields[] = {
		{"Queue", .text = &b->queue},
		{"Nodes", .number = &b->nodes, .min = 1},
		{"TotalCPUs", .number = &b->total_cpus, .min = 1},
		{"CPUsPerNode", .number = &b->cpus_per_node, .min = 1},
		{"GPUsPerNode", .number = &b->gpus_per_node, .min = 0},
		{"Reservation", .text = &b->reservation},
		{"NodeConstraints", .text = &b->node_constraints},
		{"QoS", .text = &b->qos},
	};
	int e = mk_backend_keys(r, level, map);

	if (e < 0)
		return e;
	for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++) {
		if (fields[i].text)
			e = mk_backend_text(r, map, level, fields[i].key, fields[i].text);
		else
			e = mk_backend_number(r, map, level, fields[i].key, fields[i].min,
					      fields[i].number);
		if (e < 0)
			return e;
	}
	e = read_runtime(r, map);
	if (e < 0)
		return e;
	return read_memory(r, map);
}

/* --- the site `local` ------------------------------------------------------------------- */

static void drop_text(struct mk_buf *names, const char *key, char **text)
{
	if (!*text)
		return;
	(void)mk_buf_printf(names, "%s%s %s", names->len ? ", " : "", key, *text);
	free(mk_steal(text));
}

static void drop_number(struct mk_buf *names, const char *key, int64_t *number, int64_t usual)
{
	if (*number > usual)
		(void)mk_buf_printf(names, "%s%s %" PRId64, names->len ? ", " : "", key, *number);
	*number = 0;
}

int mk_backend_localize(struct mk_call *call, const char *source, struct mk_backend *backend)
{
	_cleanup_buf_ struct mk_buf names = MK_BUF(MK_LIMIT_TEXT);
	_cleanup_buf_ struct mk_buf text = MK_BUF(MK_LIMIT_TEXT);

	if (backend->kind != MK_BACKEND_ANY)
		drop_text(&names, "Queue", &backend->queue);
	drop_number(&names, "Nodes", &backend->nodes, 1);
	drop_number(&names, "TotalCPUs", &backend->total_cpus, 0);
	drop_number(&names, "CPUsPerNode", &backend->cpus_per_node, 0);
	drop_number(&names, "GPUsPerNode", &backend->gpus_per_node, 0);
	drop_text(&names, "MemoryPerNode", &backend->memory_per_node);
	drop_text(&names, "Reservation", &backend->reservation);
	drop_text(&names, "NodeConstraints", &backend->node_constraints);
	drop_text(&names, "QoS", &backend->qos);

	if (backend->site) {
		(void)mk_buf_printf(&text, "%s: is for %s; this run is computed on local", source,
				    backend->site);

		int r = mk_list_add(&backend->notes, mk_buf_text(&text));

		if (r < 0)
			return r;
		mk_buf_truncate(&text, 0);
	}
	if (!names.len)
		return 0;
	(void)mk_buf_printf(&text, "%s: local does not use Resources: %s", source,
			    mk_buf_text(&names));
	return mk_list_add(&backend->notes, mk_buf_text(&text));
}

int mk_backend_check_local(struct mk_call *call, const char *source,
			   const struct mk_backend *backend, mk_program_check *exists)
{
	/* modules and pre-commands may bring the program: then the script checks */
	if (!backend->image || backend->modules.n || backend->pre_compute.n || exists("apptainer"))
		return 0;
	return mk_fail(call, ENOENT,
		       "%s: the image %s needs the program apptainer, which this machine does not "
		       "have: install the package apptainer, or run without it by override: "
		       "{Environment: {Apptainer: null}}",
		       source, backend->image);
}
