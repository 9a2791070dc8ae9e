/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Backend configs, read key by key (backend.h). The tables at the head say which keys stand where
 * and what old or misplaced ones should have been; everything else is one small function a key.
 */
#include "format/backend_read.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Every key of the format with its level. */
static const struct {
	const char *level; /* "" = top */
	const char *key;
} known[] = {
	{"", "UnicoreApiUrl"},
	{"", "Firecrest"},
	{"", "SSH"},
	{"", "Resources"},
	{"", "Environment"},
	{"", "Exclude"},
	{"Firecrest", "ApiUrl"},
	{"Firecrest", "TokenUrl"},
	{"Firecrest", "Machine"},
	{"SSH", "Hostname"},
	{"SSH", "Port"},
	{"Resources", "Queue"},
	{"Resources", "Runtime"},
	{"Resources", "Nodes"},
	{"Resources", "TotalCPUs"},
	{"Resources", "CPUsPerNode"},
	{"Resources", "GPUsPerNode"},
	{"Resources", "MemoryPerNode"},
	{"Resources", "Reservation"},
	{"Resources", "NodeConstraints"},
	{"Resources", "QoS"},
	{"Environment", "Apptainer"},
	{"Environment", "Python"},
	{"Environment", "Modules"},
	{"Environment", "Variables"},
	{"Environment", "PreRunCommandOnLoginNode"},
	{"Environment", "PreRunCommandOnComputeNode"},
	{"Environment", "PostRunCommandOnComputeNode"},
	{"Environment", "PostRunCommandOnLoginNode"},
	{"Environment", "PreRunCommand"},
	{"Environment", "PostRunCommand"},
	{"Environment.Apptainer", "Path"},
	{"Environment.Apptainer", "Type"},
	{"Environment.Apptainer", "Options"},
	{"Environment.Python", "Path"},
};

/* Keys that were or could have been: what to write instead. %s is the value when it is a text. */
static const struct {
	const char *level;
	const char *key;
	const char *instead;
} old_keys[] = {
	{"", "SingularityImage", "Environment: {Apptainer: {Path: %s}}"},
	{"", "Singularity", "Environment: {Apptainer: {Path: %s}}"},
	{"", "DockerImage",
	 "Environment: {Apptainer: {Path: IMAGE.sif}} with an image made by "
	 "`apptainer build`"},
	{"Environment", "SingularityImage", "Apptainer: {Path: %s}"},
	{"Environment", "Singularity", "Apptainer: {Path: %s}"},
	{"Environment", "DockerImage",
	 "Apptainer: {Path: IMAGE.sif} with an image made by "
	 "`apptainer build`"},
	{"Environment", "Environment", "Variables:"},
	{"Environment", "EnvironmentVariables", "Variables:"},
	{"", "Project", "account: %s in the run's spec"},
	{"", "Account", "account: %s in the run's spec"},
	{"Resources", "Project", "account: %s in the run's spec"},
	{"Resources", "Account", "account: %s in the run's spec"},
	{"Resources", "CPUs", "TotalCPUs: %s"},
	{"Resources", "GPUs", "GPUsPerNode: %s"},
	{"Resources", "Memory", "MemoryPerNode: %s"},
	{"Resources", "Partition", "Queue: %s"},
	{"Resources", "Time", "Runtime: %s"},
	{"Resources", "Walltime", "Runtime: %s"},
	{"", "Include", "nothing: everything but Exclude goes along"},
};

void mk_backend_free(struct mk_backend *backend)
{
	free(backend->url);
	free(backend->token_url);
	free(backend->machine);
	free(backend->hostname);
	free(backend->port);
	free(backend->site);
	free(backend->queue);
	free(backend->memory_per_node);
	free(backend->reservation);
	free(backend->node_constraints);
	free(backend->qos);
	free(backend->image);
	mk_list_free(&backend->image_options);
	free(backend->python);
	mk_list_free(&backend->modules);
	mk_pairs_free(&backend->variables);
	mk_list_free(&backend->pre_login);
	mk_list_free(&backend->pre_compute);
	mk_list_free(&backend->post_compute);
	mk_list_free(&backend->post_login);
	mk_list_free(&backend->exclude);
	mk_list_free(&backend->notes);
	*backend = (struct mk_backend){};
}

int mk_backend_note(struct mk_backend_reader *r, const struct mk_doc *at, const char *fmt, ...)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF(MK_LIMIT_TEXT);
	va_list ap;

	(void)mk_buf_printf(&text, "%s:%d: ", at->source ? at->source : r->source, at->line);
	va_start(ap, fmt);
	(void)mk_buf_vprintf(&text, fmt, ap);
	va_end(ap);
	return mk_list_add(&r->backend->notes, mk_buf_text(&text));
}

/* --- keys ------------------------------------------------------------------------------- */

/* The path of an old image key, which was a text or a map {Path, Type}. */
static void put_old_value(struct mk_buf *buf, struct mk_doc *value)
{
	if (value->type == MK_DOC_SCALAR) {
		mk_yaml_scalar(buf, value->text, !value->quoted);
		return;
	}

	struct mk_doc *path = mk_doc_get(value, "Path");
	struct mk_doc *type = mk_doc_get(value, "Type");

	if (!path || path->type != MK_DOC_SCALAR) {
		(void)mk_buf_puts(buf, "…");
		return;
	}
	mk_yaml_scalar(buf, path->text, !path->quoted);
	if (type && type->type == MK_DOC_SCALAR) {
		(void)mk_buf_puts(buf, ", Type: ");
		mk_yaml_scalar(buf, type->text, !type->quoted);
	}
}

/* Read, but not offered to anybody. */
static bool is_old_command(const char *key)
{
	return strcmp(key, "PreRunCommand") == 0 || strcmp(key, "PostRunCommand") == 0;
}

/* The key of this level that may have been meant, or NULL. */
static const char *nearest_key(const char *level, const char *key)
{
	_cleanup_list_ struct mk_list here = {};
	const char *longer = NULL;

	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
		if (strcmp(known[i].level, level) != 0 || is_old_command(known[i].key))
			continue;
		if (strncasecmp(known[i].key, key, strlen(known[i].key)) == 0)
			longer = known[i].key;
		if (mk_list_add(&here, known[i].key) < 0)
			return longer;
	}

	const char *near = mk_nearest(key, &here);

	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (near && strcmp(known[i].key, near) == 0)
			return known[i].key; /* not the list's own */
	return longer;
}

static int refuse_key(struct mk_backend_reader *r, const char *level, struct mk_doc *key,
		      struct mk_doc *value)
{
	const char *below = *level ? " below " : "";
	const char *near = nearest_key(level, key->text);

	for (size_t i = 0; i < sizeof(old_keys) / sizeof(*old_keys); i++) {
		_cleanup_buf_ struct mk_buf text = MK_BUF(MK_LIMIT_TEXT);
		const char *instead = old_keys[i].instead;
		const char *hole = strstr(instead, "%s");

		if (strcmp(old_keys[i].level, level) != 0 ||
		    strcasecmp(old_keys[i].key, key->text) != 0)
			continue;
		(void)mk_buf_put(&text, instead, hole ? (size_t)(hole - instead) : strlen(instead));
		if (hole) {
			put_old_value(&text, value);
			(void)mk_buf_puts(&text, hole + 2);
		}
		return fail(r, key, "unknown key \"%s\"%s%s: write %s", key->text, below, level,
			    mk_buf_text(&text));
	}
	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
		if (strcasecmp(known[i].key, key->text) != 0 || strcmp(known[i].key, "Path") == 0 ||
		    strcmp(known[i].level, level) == 0)
			continue;
		if (!*known[i].level)
			return fail(r, key, "\"%s\" stands below %s, but belongs at the top",
				    key->text, level);
		return fail(r, key, "\"%s\" stands %s%s, but belongs below %s", key->text,
			    *level ? "below " : "at the top", level, known[i].level);
	}
	if (near)
		return fail(r, key, "unknown key \"%s\"%s%s, did you mean \"%s\"?", key->text,
			    below, level, near);
	return fail(r, key, "unknown key \"%s\"%s%s", key->text, below, level);
}

static bool is_known(const char *level, const char *key)
{
	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (strcmp(known[i].level, level) == 0 && strcmp(known[i].key, key) == 0)
			return true;
	return false;
}

/* Before anything else is read of a map: every key must be one of its level. */
int mk_backend_keys(struct mk_backend_reader *r, const char *level, struct mk_doc *map)
{
	for (size_t i = 0; map && i < map->n; i++) {
		if (is_known(level, map->keys[i]->text))
			continue;
		return refuse_key(r, level, map->keys[i], map->items[i]);
	}
	return 0;
}

/* --- values ----------------------------------------------------------------------------- */

/* 1 and the value, 0 absent, -EINVAL null or of another type. */
int mk_backend_value(struct mk_backend_reader *r, struct mk_doc *map, const char *level,
		     const char *key, struct mk_doc **ret)
{
	struct mk_doc *value = mk_doc_get(map, key);

	if (!value)
		return 0;
	if (value->type == MK_DOC_NULL || (value->type == MK_DOC_SCALAR && !*value->text))
		return fail(r, value, "%s%s%s has no value: write one or leave the line out", level,
			    *level ? "." : "", key);
	if (value->type != MK_DOC_SCALAR)
		return fail(r, value, "%s%s%s is a %s, not a text", level, *level ? "." : "", key,
			    value->type == MK_DOC_LIST ? "list" : "map");
	*ret = value;
	return 1;
}

int mk_backend_text(struct mk_backend_reader *r, struct mk_doc *map, const char *level,
		    const char *key, char **ret)
{
	struct mk_doc *value = NULL;
	int e = mk_backend_value(r, map, level, key, &value);

	if (e > 0)
		*ret = mk_strdup(value->text);
	return e;
}

static int read_required(struct mk_backend_reader *r, struct mk_doc *map, const char *level,
			 const char *key, char **ret)
{
	int e = mk_backend_text(r, map, level, key, ret);

	if (e)
		return e;
	return fail(r, map, "%s needs the key \"%s\"", level, key);
}

int mk_backend_number(struct mk_backend_reader *r, struct mk_doc *map, const char *level,
		      const char *key, int64_t min, int64_t *ret)
{
	struct mk_doc *value = NULL;
	int e = mk_backend_value(r, map, level, key, &value);
	char *end;

	if (e <= 0)
		return e;
	errno = 0;

	long long number = strtoll(value->text, &end, 10);

	if (errno || end == value->text || *end || number < min || number > 1000000000)
		return fail(r, value, "%s.%s: \"%s\" is not a whole number from %" PRId64 " on",
			    level, key, value->text, min);
	*ret = number;
	return 1;
}

int mk_backend_items(struct mk_backend_reader *r, struct mk_doc *map, const char *level,
		     const char *key, mk_backend_add *add, struct mk_list *ret)
{
	struct mk_doc *value = mk_doc_get(map, key);

	if (!value || value->type == MK_DOC_NULL)
		return 0;
	if (value->type == MK_DOC_SCALAR)
		return add(r, key, value, ret);
	if (value->type == MK_DOC_MAP)
		return fail(r, value, "%s%s%s is a map, not a list of texts", level,
			    *level ? "." : "", key);
	for (size_t i = 0; i < value->n; i++) {
		const struct mk_doc *item = value->items[i];

		if (item->type != MK_DOC_SCALAR)
			return fail(r, item, "%s%s%s: item %zu is not a text", level,
				    *level ? "." : "", key, i + 1);

		int e = add(r, key, item, ret);

		if (e < 0)
			return e;
	}
	return 0;
}

/* --- the rest --------------------------------------------------------------------------- */

static int add_exclude(struct mk_backend_reader *r, const char *key, const struct mk_doc *item,
		       struct mk_list *list)
{
	const char *text = item->text;
	const char *slash = strchr(text, '/');
	int e = 0;

	if (!*text)
		return fail(r, item, "Exclude: a pattern is empty");
	if (strspn(text, "*") == strlen(text))
		e = mk_backend_note(r, item, "Exclude: \"%s\" leaves out every file", text);
	else if (slash && slash[1])
		e = mk_backend_note(
			r, item,
			"Exclude: \"%s\" leaves out nothing: patterns are for file names, "
			"a folder is written \"%.*s/\"",
			text, (int)(slash - text), text);
	else if (!slash && !strpbrk(text, "*?[."))
		e = mk_backend_note(r, item,
				    "Exclude: \"%s\" leaves out files of that name; the folder is "
				    "written \"%s/\"",
				    text, text);
	if (e < 0)
		return e;
	return mk_list_add(list, text);
}

static int check_url(struct mk_backend_reader *r, struct mk_doc *map, const char *key,
		     const char *url)
{
	if (strncmp(url, "https://", 8) == 0 || strncmp(url, "http://", 7) == 0)
		return 0;
	return fail(r, mk_doc_get(map, key),
		    "%s: \"%s\" is not an address that begins with "
		    "https://",
		    key, url);
}

static int read_unicore(struct mk_backend_reader *r, struct mk_doc *top)
{
	struct mk_backend *b = r->backend;
	int e = mk_backend_text(r, top, "", "UnicoreApiUrl", &b->url);

	if (e <= 0)
		return e;
	b->kind = MK_BACKEND_UNICORE;
	b->site = mk_strdup(b->url);
	return check_url(r, top, "UnicoreApiUrl", b->url);
}

static int read_firecrest(struct mk_backend_reader *r, struct mk_doc *map)
{
	struct mk_backend *b = r->backend;
	_cleanup_buf_ struct mk_buf site = MK_BUF(MK_LIMIT_TEXT);
	int e = mk_backend_keys(r, "Firecrest", map);

	if (e < 0)
		return e;
	e = read_required(r, map, "Firecrest", "ApiUrl", &b->url);
	if (e < 0)
		return e;
	e = read_required(r, map, "Firecrest", "TokenUrl", &b->token_url);
	if (e < 0)
		return e;
	e = read_required(r, map, "Firecrest", "Machine", &b->machine);
	if (e < 0)
		return e;
	b->kind = MK_BACKEND_FIRECREST;
	(void)mk_buf_printf(&site, "%s at %s", b->machine, b->url);
	b->site = mk_buf_steal(&site);
	e = check_url(r, map, "ApiUrl", b->url);
	if (e < 0)
		return e;
	return check_url(r, map, "TokenUrl", b->token_url);
}

static int read_ssh(struct mk_backend_reader *r, struct mk_doc *map)
{
	struct mk_backend *b = r->backend;
	int64_t port = 0;
	int e = mk_backend_keys(r, "SSH", map);

	if (e < 0)
		return e;
	e = read_required(r, map, "SSH", "Hostname", &b->hostname);
	if (e < 0)
		return e;
	if (*b->hostname == '-')
		return fail(r, mk_doc_get(map, "Hostname"), "SSH.Hostname: \"%s\" is no host",
			    b->hostname);
	e = mk_backend_number(r, map, "SSH", "Port", 1, &port);
	if (e < 0)
		return e;
	if (port > 65535)
		return fail(r, mk_doc_get(map, "Port"), "SSH.Port: %" PRId64 " is over 65535",
			    port);
	if (port)
		b->port = mk_strdup(mk_doc_get(map, "Port")->text);
	b->kind = MK_BACKEND_SSH;
	b->site = mk_strdup(b->hostname);
	return 0;
}

static int read_site(struct mk_backend_reader *r, struct mk_doc *top, struct mk_doc *firecrest,
		     struct mk_doc *ssh)
{
	int e = read_unicore(r, top);

	if (e < 0)
		return e;
	if (firecrest && r->backend->kind != MK_BACKEND_ANY)
		return fail(r, firecrest,
			    "both UnicoreApiUrl and Firecrest: a config names one site");
	if (firecrest) {
		e = read_firecrest(r, firecrest);
		if (e < 0)
			return e;
	}
	if (!ssh)
		return 0;
	if (r->backend->kind != MK_BACKEND_ANY)
		return fail(r, ssh, "both %s and SSH: a config names one site",
			    firecrest ? "Firecrest" : "UnicoreApiUrl");
	return read_ssh(r, ssh);
}

static int read_top(struct mk_backend_reader *r, struct mk_doc *top)
{
	struct mk_backend *b = r->backend;
	const char *const sections[] = {"Firecrest", "SSH", "Resources", "Environment"};
	struct mk_doc *section[4] = {};

	if (top->type == MK_DOC_NULL)
		return 0;
	if (top->type != MK_DOC_MAP)
		return fail(r, top,
			    "not a backend config, which is a map with Resources: and "
			    "Environment:");

	int e = mk_backend_keys(r, "", top);

	if (e < 0)
		return e;
	for (size_t i = 0; i < 4; i++) {
		e = mk_doc_map(r->call, r->source, top, sections[i], &section[i]);
		if (e < 0)
			return e;
	}
	e = read_site(r, top, section[0], section[1]);
	if (e < 0)
		return e;
	if (section[2]) {
		e = mk_backend_resources(r, section[2]);
		if (e < 0)
			return e;
	}
	if (section[3]) {
		e = mk_backend_environment(r, section[3]);
		if (e < 0)
			return e;
	}
	if (b->kind == MK_BACKEND_FIRECREST && (b->pre_login.n || b->post_login.n))
		return fail(r, section[3],
			    "commands on the login node are not possible with "
			    "Firecrest: write %sRunCommandOnComputeNode",
			    b->pre_login.n ? "Pre" : "Post");
	return mk_backend_items(r, top, "", "Exclude", add_exclude, &b->exclude);
}

int mk_backend_parse(struct mk_call *call, const char *source, struct mk_doc *doc,
		     struct mk_backend *ret)
{
	_cleanup_backend_ struct mk_backend backend = {};
	struct mk_backend_reader reader = {.call = call, .source = source, .backend = &backend};
	int r = read_top(&reader, doc);

	if (r < 0)
		return r;
	*ret = backend;
	backend = (struct mk_backend){};
	return 0;
}

int mk_backend_parse_text(struct mk_call *call, const char *source, const char *text, size_t len,
			  struct mk_backend *ret)
{
	_cleanup_(mk_doc_freep) struct mk_doc *doc = NULL;
	int r = mk_doc_parse(call, source, text, len, &doc);

	if (r < 0)
		return r;
	return mk_backend_parse(call, source, doc, ret);
}
