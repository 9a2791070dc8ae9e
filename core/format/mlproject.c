/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MLproject files (mlproject.h). The shape must be right (a map of entry points, each with a
 * command and a map of parameters); what MLflow would pass over in silence is a warning.
 */
#include "format/mlproject.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/doc.h"

static void free_parameter(struct mk_parameter *parameter)
{
	free(parameter->name);
	free(parameter->type);
	free(parameter->value);
}

static void free_entry(struct mk_entry_point *entry)
{
	for (size_t i = 0; i < entry->n_parameters; i++)
		free_parameter(&entry->parameters[i]);
	free(entry->parameters);
	free(entry->name);
	free(entry->command);
}

void mk_mlproject_free(struct mk_mlproject *project)
{
	for (size_t i = 0; i < project->n_entry_points; i++)
		free_entry(&project->entry_points[i]);
	free(project->entry_points);
	free(project->name);
	free(project->source);
	free(project->python_env);
	free(project->conda_env);
	free(project->docker_image);
	mk_list_free(&project->warnings);
	*project = (struct mk_mlproject){};
}

/* What is being read; every function below writes into ->project. */
struct reader {
	struct mk_call *call;
	const char *source;
	struct mk_mlproject *project;
};

static int warn(struct reader *r, const struct mk_doc *at, const char *fmt, ...) _printf_(3, 4);
static int warn(struct reader *r, const struct mk_doc *at, const char *fmt, ...)
{
	_cleanup_buf_ struct mk_buf text = MK_BUF(MK_LIMIT_TEXT);
	va_list ap;

	(void)mk_buf_printf(&text, "%s:%d: ", r->source, at->line);
	va_start(ap, fmt);
	(void)mk_buf_vprintf(&text, fmt, ap);
	va_end(ap);
	return mk_list_add(&r->project->warnings, mk_buf_text(&text));
}

/* `{type: int, default 100}` has a key "default 100": what was meant, or NULL. */
static const char *glued_key(const char *key)
{
	static const char *const keys[] = {"default", "type"};

	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		size_t n = strlen(keys[i]);

		if (strncmp(key, keys[i], n) == 0 && (key[n] == ' ' || key[n] == ':') && key[n + 1])
			return keys[i];
	}
	return NULL;
}

/* A warning for each key of a map that nobody reads. where: "" or "parameter lr: ". */
static int unknown_keys(struct reader *r, const struct mk_doc *map, const char *where,
			const char *const *known)
{
	_cleanup_list_ struct mk_list names = {};

	for (size_t i = 0; known[i]; i++) {
		int e = mk_list_add(&names, known[i]);

		if (e < 0)
			return e;
	}
	for (size_t i = 0; i < map->n; i++) {
		const char *key = map->keys[i]->text;

		if (mk_list_has(&names, key))
			continue;

		const char *glued = glued_key(key);
		const char *near = mk_nearest(key, &names);
		int e;

		if (glued) {
			const char *value = key + strlen(glued) + 1;

			e = warn(r, map->keys[i],
				 "%s\"%s\" is no key and is ignored, write \"%s: %s\"", where, key,
				 glued, value + strspn(value, " "));
		} else if (near) {
			e = warn(r, map->keys[i],
				 "%sunknown key \"%s\" is ignored, did you mean \"%s\"?", where,
				 key, near);
		} else {
			e = warn(r, map->keys[i], "%sunknown key \"%s\" is ignored", where, key);
		}
		if (e < 0)
			return e;
	}
	return 0;
}

static int read_parameter(struct reader *r, const struct mk_doc *key, struct mk_doc *doc,
			  struct mk_parameter *ret)
{
	static const char *const known[] = {"type", "default", "description", NULL};

	*ret = (struct mk_parameter){.name = mk_strdup(key->text), .line = key->line};
	switch (doc->type) {
	case MK_DOC_NULL:
		return 0;
	case MK_DOC_SCALAR:
		ret->type = mk_strdup(doc->text);
		return 0;
	case MK_DOC_LIST:
		return mk_doc_fail(r->call, r->source, doc,
				   "parameter %s: a list, not a type or "
				   "{type: …, default: …}",
				   ret->name);
	case MK_DOC_MAP:
		break;
	}

	struct mk_doc *type = mk_doc_get(doc, "type");
	struct mk_doc *value = mk_doc_get(doc, "default");
	_cleanup_buf_ struct mk_buf where = MK_BUF(MK_LIMIT_TEXT);

	if (type && type->type != MK_DOC_NULL && type->type != MK_DOC_SCALAR)
		return mk_doc_fail(r->call, r->source, type,
				   "type of the parameter %s is not a word", ret->name);
	if (type && type->type == MK_DOC_SCALAR)
		ret->type = mk_strdup(type->text);
	if (value && value->type != MK_DOC_NULL) {
		if (value->type != MK_DOC_SCALAR)
			return mk_doc_fail(r->call, r->source, value,
					   "default of the parameter %s is a %s: write it as one "
					   "text in quotes, as the command shall get it",
					   ret->name, value->type == MK_DOC_LIST ? "list" : "map");
		ret->value = mk_strdup(value->text);
		ret->value_plain = !value->quoted;
	}
	(void)mk_buf_printf(&where, "parameter %s: ", ret->name);
	return unknown_keys(r, doc, mk_buf_text(&where), known);
}

static int read_entry(struct reader *r, const struct mk_doc *key, struct mk_doc *doc,
		      struct mk_entry_point *ret)
{
	static const char *const known[] = {"parameters", "command", NULL};

	*ret = (struct mk_entry_point){.name = mk_strdup(key->text), .line = key->line};
	if (doc->type == MK_DOC_NULL)
		return 0;
	if (doc->type != MK_DOC_MAP)
		return mk_doc_fail(
			r->call, r->source, doc,
			"entry point %s is not a map with command: and parameters:", ret->name);

	struct mk_doc *command = mk_doc_get(doc, "command");
	struct mk_doc *parameters = NULL;
	int e = mk_doc_map(r->call, r->source, doc, "parameters", &parameters);

	if (e < 0)
		return e;
	if (command && command->type != MK_DOC_NULL) {
		if (command->type != MK_DOC_SCALAR)
			return mk_doc_fail(r->call, r->source, command,
					   "command of the entry point %s is not a text (commands "
					   "are joined by && or ;)",
					   ret->name);
		ret->command = mk_strdup(command->text);
		ret->style = command->style;
		ret->command_line = command->line;
	}
	if (parameters && parameters->n) {
		ret->parameters = mk_alloc(parameters->n * sizeof(*ret->parameters));
		for (size_t i = 0; i < parameters->n; i++) {
			ret->n_parameters = i + 1;
			e = read_parameter(r, parameters->keys[i], parameters->items[i],
					   &ret->parameters[i]);
			if (e < 0)
				return e;
		}
	}

	_cleanup_buf_ struct mk_buf where = MK_BUF(MK_LIMIT_TEXT);

	(void)mk_buf_printf(&where, "entry point %s: ", ret->name);
	return unknown_keys(r, doc, mk_buf_text(&where), known);
}

static int read_environment(struct reader *r, struct mk_doc *top)
{
	struct mk_mlproject *project = r->project;
	static const char *const keys[] = {"python_env", "conda_env", "docker_env"};
	const char *seen = NULL;

	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		struct mk_doc *doc = mk_doc_get(top, keys[i]);
		struct mk_doc *map = NULL;
		const char *text = NULL;
		int e;

		if (!doc || doc->type == MK_DOC_NULL)
			continue;
		if (seen)
			return mk_doc_fail(r->call, r->source, doc,
					   "both %s and %s: a project has "
					   "one environment",
					   seen, keys[i]);
		seen = keys[i];
		project->environment_line = doc->line;
		if (strcmp(keys[i], "docker_env") == 0) {
			e = mk_doc_map(r->call, r->source, top, keys[i], &map);
			if (e < 0)
				return e;
			e = mk_doc_text(r->call, r->source, map, "image", &text);
			if (e < 0)
				return e;
			if (e == 0)
				return mk_doc_fail(r->call, r->source, doc,
						   "docker_env names no image");
			project->docker_image = mk_strdup(text);
			continue;
		}
		e = mk_doc_text(r->call, r->source, top, keys[i], &text);
		if (e < 0)
			return e;
		if (!e || !*text)
			return mk_doc_fail(r->call, r->source, doc, "%s names no file", keys[i]);
		if (text[0] == '/')
			return mk_doc_fail(r->call, r->source, doc,
					   "%s: \"%s\" is not a path "
					   "beside the MLproject",
					   keys[i], text);
		*(i == 0 ? &project->python_env : &project->conda_env) = mk_strdup(text);
	}
	return 0;
}

static int read_project(struct reader *r, struct mk_doc *top)
{
	static const char *const known[] = {"name",	 "entry_points", "python_env",
					    "conda_env", "docker_env",	 NULL};
	struct mk_mlproject *project = r->project;
	struct mk_doc *entries = NULL;
	const char *name = NULL;

	if (top->type != MK_DOC_MAP)
		return mk_doc_fail(r->call, r->source, top,
				   "not an MLproject, which is a map with entry_points:");

	int e = mk_doc_text(r->call, r->source, top, "name", &name);

	if (e < 0)
		return e;
	if (e)
		project->name = mk_strdup(name);
	e = read_environment(r, top);
	if (e < 0)
		return e;
	e = mk_doc_map(r->call, r->source, top, "entry_points", &entries);
	if (e < 0)
		return e;
	if (entries && entries->n) {
		project->entry_points = mk_alloc(entries->n * sizeof(*project->entry_points));
		for (size_t i = 0; i < entries->n; i++) {
			project->n_entry_points = i + 1;
			e = read_entry(r, entries->keys[i], entries->items[i],
				       &project->entry_points[i]);
			if (e < 0)
				return e;
		}
	}
	return unknown_keys(r, top, "", known);
}

int mk_mlproject_parse(struct mk_call *call, const char *source, const char *text, size_t len,
		       struct mk_mlproject *ret)
{
	_cleanup_mlproject_ struct mk_mlproject project = {};
	_cleanup_(mk_doc_freep) struct mk_doc *top = NULL;
	struct reader reader = {.call = call, .source = source, .project = &project};
	int r = mk_doc_parse(call, source, text, len, &top);

	if (r < 0)
		return r;
	project.source = mk_strdup(source);
	r = read_project(&reader, top);
	if (r < 0)
		return r;
	*ret = project;
	project = (struct mk_mlproject){};
	return 0;
}

const struct mk_parameter *mk_entry_parameter(const struct mk_entry_point *entry, const char *name)
{
	for (size_t i = 0; i < entry->n_parameters; i++)
		if (strcmp(entry->parameters[i].name, name) == 0)
			return &entry->parameters[i];
	return NULL;
}

int mk_mlproject_entry(struct mk_call *call, const struct mk_mlproject *project, const char *name,
		       const struct mk_entry_point **ret)
{
	_cleanup_list_ struct mk_list names = {};
	_cleanup_buf_ struct mk_buf all = MK_BUF(400);

	if (!name)
		name = "main";
	for (size_t i = 0; i < project->n_entry_points; i++) {
		const char *known = project->entry_points[i].name;

		if (strcmp(known, name) == 0) {
			*ret = &project->entry_points[i];
			return 0;
		}
		int r = mk_list_add(&names, known);

		if (r < 0)
			return r;
		(void)mk_buf_printf(&all, "%s%s", i ? ", " : "", known);
	}

	const char *near = mk_nearest(name, &names);
	const char *dot = strrchr(name, '.');

	if (!names.n)
		return mk_fail(call, EINVAL, "%s has no entry points", project->source);
	if (near)
		return mk_fail(call, EINVAL, "%s has no entry point \"%s\", did you mean \"%s\"?",
			       project->source, name, near);
	if (dot && (strcmp(dot, ".py") == 0 || strcmp(dot, ".sh") == 0))
		return mk_fail(call, EINVAL,
			       "%s has no entry point \"%s\"; a script is run by `command: %s %s`",
			       project->source, name, dot[1] == 'p' ? "python" : "bash", name);
	if (mk_buf_check(&all) < 0)
		return mk_fail(call, EINVAL, "%s has no entry point \"%s\"", project->source, name);
	return mk_fail(call, EINVAL, "%s has no entry point \"%s\", it has %s", project->source,
		       name, mk_buf_text(&all));
}
